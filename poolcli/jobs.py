"""The plan of a run, made from names and `stat` alone, before any picture is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from poolcli.endpoints import DASH, Source, Target, same_file, stdin_is_piped, stdin_is_terminal
from poolcli.errors import PoolError
from poolcli.formats import Format, Saving, all_suffixes, by_name, by_suffix


@dataclass(frozen=True, slots=True)
class Job:
    """From where to where.

    Attributes:
        source: where the picture is read.
        target: where the result is written.
        format: the format to write, or None for the input's own.
        skip: whether there is nothing to do, since the result exists.
    """

    source: Source
    target: Target
    format: Format | None
    skip: bool = False


class PlanError(PoolError):
    """A plan that is refused: nothing was written."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a plan may do.

    Attributes:
        format: the name of the format to write, or None to go by the output's suffix.
        overwrite: whether existing files may be replaced.
        skip_existing: whether inputs whose output exists are left out.
        saving: how results are written; checked against the format.
    """

    format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    saving: Saving = field(default_factory=Saving)


def plan(paths: tuple[str, ...], policy: Policy) -> list[Job]:
    """The jobs that paths on a command line mean; the last path is the output.

    Raises:
        PlanError: they mean nothing, or something that is refused.
    """
    if not paths and stdin_is_piped():
        paths = (DASH, DASH)
    if not paths:
        raise PlanError("no picture is named", "name an INPUT and an OUTPUT, or pipe one in")
    if len(paths) == 1:
        raise PlanError(f"{paths[0]} is the only path", "name the output too, or - for a pipe")
    if len(paths) > 2:
        raise PlanError("several inputs can't be pooled yet", "name one INPUT and one OUTPUT")
    source, output = paths
    return [_single(source, output, policy)]


def _single(source: str, output: str, policy: Policy) -> Job:
    """One input, one output."""
    if source == DASH and stdin_is_terminal():
        raise PlanError(
            "a picture would be read from the terminal", "pipe one in with < in.png, or name a file"
        )
    if source != DASH and os.path.isdir(source):
        raise PlanError(f"{source} is a folder", "name a picture")
    target = Target.at(output)
    if target.is_stream:
        try:
            target.check()
        except PoolError as refusal:
            raise PlanError(refusal.message, refusal.remedy) from None
        job = Job(Source(source), target, by_name(policy.format) if policy.format else None)
    else:
        job = _to_file(source, output, policy)
    _check_saving(job, policy.saving)
    return job


def _to_file(source: str, output: str, policy: Policy) -> Job:
    """One input into a file, or under its own name into a folder."""
    if output.endswith(os.sep) or os.path.isdir(output):
        if source == DASH:
            raise PlanError(f"{output} is a folder", "name the output file for a pipe")
        output = os.path.join(output, os.path.basename(source))
    suffix = os.path.splitext(output)[1]
    form = by_name(policy.format) if policy.format else by_suffix(suffix)
    if form is None:
        raise PlanError(
            f"{output}: the suffix {suffix!r} names no format"
            if suffix
            else f"{output} has no suffix",
            f"end it in one of {all_suffixes()}, or give --format",
        )
    folder = os.path.dirname(output) or os.curdir
    if not os.path.isdir(folder):
        raise PlanError(
            f"{output}: the folder {folder} does not exist", f"make it: mkdir -p {folder}"
        )
    if same_file(source, output):
        raise PlanError(f"{output} is the input itself", "choose another name for the output")
    exists = os.path.lexists(output)
    if exists and not (policy.overwrite or policy.skip_existing):
        raise PlanError(f"{output} exists already", "use --overwrite or --skip-existing")
    return Job(Source(source), Target.at(output), form, skip=exists and policy.skip_existing)


def _check_saving(job: Job, saving: Saving) -> None:
    """Refuse options that the output's format has no use for, or values that are none."""
    form = job.format or by_suffix(os.path.splitext(job.source.path)[1])
    if form is None:
        return
    misfit = saving.misfit(form)
    if misfit is not None:
        raise PlanError(f"{misfit} means nothing for {form.name}", "leave it out")
    try:
        saving.for_format(form)
    except PoolError as refusal:
        raise PlanError(refusal.message, refusal.remedy) from None
