"""The plan of a run, made from names and their status before any picture is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from poolcli.errors import PoolError
from poolcli.formats import Format, all_suffixes, by_name, by_suffix
from poolcli.formats.saving import Saving
from poolcli.storage import DASH, Place, place_at, place_of


class Job(NamedTuple):
    """One picture to pool: from where to where.

    Attributes:
        source: where the picture is read.
        target: where the result is written.
        format: the format to write, or None for the input's own.
        bytes: the size of the input as far as the plan knows it.
        skip: whether there is nothing to do, since the result exists.
        refusal: why this picture fails without being opened; empty if it doesn't.
        remedy: what to do about that.
        again: whether a worker died while it worked on it, and may have written it already.
    """

    source: Place
    target: Place
    format: Format | None
    bytes: int = 0
    skip: bool = False
    refusal: str = ""
    remedy: str = ""
    again: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known without opening anything."""
        return self.skip or bool(self.refusal)


class Refusal(NamedTuple):
    """One reason for which a plan is refused.

    Attributes:
        reason: what is wrong with all of the names.
        remedy: the option or the change that would allow it.
        names: the paths that it concerns.
    """

    reason: str
    remedy: str
    names: list[str]


class PlanError(PoolError):
    """A plan that is refused for several reasons; nothing was written.

    Attributes:
        refusals: every reason, each with all of its names.
    """

    def __init__(self, refusals: list[Refusal]) -> None:
        """Keep all reasons; the message is that of the first."""
        super().__init__(refusals[0].reason, refusals[0].remedy)
        self.refusals = refusals


class NothingMatchedError(PoolError):
    """A plan without any picture."""


class Policy(NamedTuple):
    """What a plan may do, and how it names outputs.

    Attributes:
        format: the name of the format to write, or None to go by suffixes.
        overwrite: whether existing files may be replaced.
        skip_existing: whether inputs whose output exists are left out.
        recursive: whether folders in folders are walked too.
        include: globs of which a found file must match one, if there are any.
        exclude: globs of which a found file must match none.
        files_from: a file that lists inputs, "-" for standard input, or None.
        null: whether the list is separated by NUL rather than by newlines.
        relative_to: the folder to which listed files are relative; the working folder if None.
        rename: from an input's path to its output's name without suffix; None keeps the name.
        saving: how results are written; checked against the formats.
    """

    format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files_from: str | None = None
    null: bool = False
    relative_to: str | None = None
    rename: Callable[[str], str] | None = None
    saving: Saving = Saving()


def make_plan(paths: tuple[str, ...], policy: Policy) -> list[Job]:
    """Return the jobs that paths on a command line mean, sorted; the last path is the output.

    Raises:
        PoolError: they mean nothing, or something that is refused.
        PlanError: it is refused for reasons that concern several names.
        NothingMatchedError: folders or lists hold no picture.
    """
    # Without paths a pipe or a file on standard input is meant, but not a terminal.
    if not paths and policy.files_from is None and place_of(DASH).look().kind == "stream":
        paths = (DASH, DASH)
    _check_number(paths, policy)
    if "" in paths:
        raise PoolError("a path is empty", "name a file, or - for a pipe")
    *inputs, output = paths
    target = place_at(output)
    if target.is_stream or not _is_folder(inputs, target, policy):
        jobs, refusals = _single(inputs, target, policy)
    else:
        from poolcli.plan.batch import Batch  # which builds on this module

        jobs, refusals = Batch(output, policy).jobs(inputs)
    if policy.saving != Saving():
        refusals += _saving_refusals(jobs, policy.saving)
    if refusals:
        raise PlanError(refusals)
    if not jobs:
        raise NothingMatchedError(
            "no picture was found", "check the names, --include and --exclude"
        )
    return jobs


def _check_number(paths: tuple[str, ...], policy: Policy) -> None:
    """Refuse too few paths, too many beside a list, and a list's options without one."""
    if policy.files_from is not None:
        if len(paths) != 1:
            raise PoolError("with --files-from the only path is OUTPUT", "put inputs in the list")
    elif policy.null or policy.relative_to is not None:
        option = "--null" if policy.null else "--relative-to"
        raise PoolError(f"{option} needs a list of files", "name one with --files-from")
    elif not paths:
        raise PoolError("no picture is named", "name an INPUT and an OUTPUT, or pipe one in")
    elif len(paths) == 1:
        raise PoolError(f"{paths[0]} is the only path", "name the output too, or - for a pipe")


def _is_folder(inputs: list[str], target: Place, policy: Policy) -> bool:
    """Return whether OUTPUT is a folder: it exists as one, ends in a slash, or has to be one."""
    output = target.path
    if output.endswith(os.sep) or target.look().kind == "folder":
        return True
    is_single = len(inputs) < 2 and policy.files_from is None
    if is_single and not any(place_of(path).look().kind == "folder" for path in inputs):
        return False
    if target.existing().kind != "missing":
        raise PoolError(f"{output} is a file", "name a folder for several pictures")
    if by_suffix(os.path.splitext(output)[1]) is not None:
        raise PoolError(f"{output} looks like a picture", f"end it in {os.sep} to mean a folder")
    return True


def _single(inputs: list[str], target: Place, policy: Policy) -> tuple[list[Job], list[Refusal]]:
    """Return the job of one input, and of one output that is a stream or a file."""
    if len(inputs) != 1 or place_of(inputs[0]).look().kind == "folder":
        raise PoolError(f"{target.path} takes one picture", "name a folder for several")
    if policy.rename is not None:
        raise PoolError(
            "--name needs a folder as OUTPUT", f"end it in {os.sep}, or leave --name out"
        )
    source = place_at(inputs[0])
    if source.is_stream:
        source.check_readable()
    # Names don't tell: a link may lead to the input, and so may a redirected standard output.
    status, existing = source.look(), target.existing()
    if status.identity is not None and status.identity == existing.identity:
        raise PoolError(f"{target.path} is the input itself", "choose another name for the output")
    form = _format_of(target, policy)
    target.check_writable()
    exists = existing.kind != "missing" and not target.is_stream
    job = Job(source, target, form, status.size or 0, skip=exists and policy.skip_existing)
    if not exists or policy.overwrite or policy.skip_existing:
        return [job], []
    remedy = "use --overwrite or --skip-existing"
    return [job], [Refusal(f"{target.path} exists already", remedy, [])]


def _format_of(target: Place, policy: Policy) -> Format | None:
    """Return the format in which an output is written; None for a stream of the input's format.

    Raises:
        PoolError: neither the suffix of a file nor an option names one, or it can only be read.
    """
    suffix = os.path.splitext(target.path)[1]
    if policy.format or target.is_stream:
        return by_name(policy.format) if policy.format else None
    form = by_suffix(suffix)
    if form is None:
        raise PoolError(
            f"{target.path}: {f'the suffix {suffix} names no format' if suffix else 'no suffix'}",
            f"end it in one of {all_suffixes()}, or give --format",
        )
    if not form.modes:
        message = f"{target.path}: {form.refusal().message}"
        raise PoolError(message, f"end it in one of {all_suffixes()}")
    return form


def _saving_refusals(jobs: list[Job], saving: Saving) -> list[Refusal]:
    """Refuse options that fit no output's format, and values that a format doesn't know."""
    written = {job.format.name: job.format for job in jobs if job.format is not None}
    if not written:
        return []  # the own format of a picture is known, and checked, when it is opened
    misfits = set.intersection(*(set(saving.misfits(form)) for form in written.values()))
    names = ", ".join(sorted(written))
    refusals = [
        Refusal(f"{misfit} has no effect on {names}", "leave it out", [])
        for misfit in sorted(misfits)
    ]
    for form in written.values():
        try:
            saving.for_format(form)
        except PoolError as refusal:
            refusals.append(Refusal(refusal.message, refusal.remedy, []))
    return refusals
