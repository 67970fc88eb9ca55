"""The plan of a run, made from names and `stat` alone, before any picture is opened."""

from __future__ import annotations

import os

from poolcli import storage
from poolcli.errors import PoolError
from poolcli.formats import all_suffixes, by_name, by_suffix
from poolcli.formats.saving import Saving
from poolcli.plan.batch import Batch
from poolcli.plan.terms import Job, NothingMatchedError, PlanError, Policy, Refusal, check, refuse
from poolcli.storage import DASH, Source, Target

__all__ = ["Job", "NothingMatchedError", "PlanError", "Policy", "Refusal", "make_plan"]


def make_plan(paths: tuple[str, ...], policy: Policy) -> list[Job]:
    """The jobs that paths on a command line mean, in a settled order; the last is the output.

    Raises:
        PlanError: they mean nothing, or something that is refused.
        NothingMatchedError: folders or lists hold no picture.
    """
    if not paths and policy.files_from is None and storage.stdin_is_piped():
        paths = (DASH, DASH)
    _check_number(paths, policy)
    if "" in paths:
        raise refuse("a path is empty", "name a file, or - for a pipe")
    *inputs, output = paths
    target = Target.at(output)
    if target.is_stream or not _is_folder(inputs, output, policy):
        jobs, refusals = _single(inputs, target, policy)
    else:
        jobs, refusals = Batch(output, policy).jobs(inputs)
    refusals += _saving_refusals(jobs, policy.saving)
    if refusals:
        raise PlanError(*refusals)
    if not jobs:
        raise NothingMatchedError(
            "no picture was found", "check the names, --include and --exclude"
        )
    return jobs


def _check_number(paths: tuple[str, ...], policy: Policy) -> None:
    """Refuse too few paths, and too many beside a list; what is said of a list belongs to one."""
    if policy.files_from is not None:
        if len(paths) != 1:
            raise refuse("with --files-from the only path is OUTPUT", "put the inputs in the list")
    elif policy.null or policy.relative_to is not None:
        option = "--null" if policy.null else "--relative-to"
        raise refuse(f"{option} is said of a list", "name one with --files-from, or leave it out")
    elif not paths:
        raise refuse("no picture is named", "name an INPUT and an OUTPUT, or pipe one in")
    elif len(paths) == 1:
        raise refuse(f"{paths[0]} is the only path", "name the output too, or - for a pipe")


def _is_folder(inputs: list[str], output: str, policy: Policy) -> bool:
    """Whether OUTPUT is a folder: because it is, says so, or must be."""
    if output.endswith(os.sep) or os.path.isdir(output):
        return True
    if len(inputs) < 2 and policy.files_from is None and not any(map(os.path.isdir, inputs)):
        return False
    if os.path.lexists(output):
        raise refuse(f"{output} is a file", "name a folder for several pictures")
    if by_suffix(os.path.splitext(output)[1]) is not None:
        raise refuse(f"{output} looks like a picture", f"end it in {os.sep} to mean a folder")
    return True


def _single(inputs: list[str], target: Target, policy: Policy) -> tuple[list[Job], list[Refusal]]:
    """One input, one output that is a stream or a file."""
    if len(inputs) != 1 or os.path.isdir(inputs[0]):
        raise refuse(f"{target.path} takes one picture", "name a folder for several")
    if policy.rename is not None:
        raise refuse("--name needs a folder as OUTPUT", f"end it in {os.sep}, or leave --name out")
    (path,) = inputs
    source = Source(path)
    check(source)
    if target.is_stream:
        check(target)
    if storage.same_file(source.status(), target.status()):
        raise refuse(f"{target.path} is the input itself", "choose another name for the output")
    form = by_name(policy.format) if policy.format else None
    if target.is_stream:
        return [Job(source, target, form)], []
    form = form or by_suffix(os.path.splitext(target.path)[1])
    if form is None:
        suffix = os.path.splitext(target.path)[1]
        raise refuse(
            f"{target.path}: {f'the suffix {suffix} names no format' if suffix else 'no suffix'}",
            f"end it in one of {all_suffixes()}, or give --format",
        )
    folder = os.path.dirname(target.path) or os.curdir
    if not os.path.isdir(folder):
        import shlex

        raise refuse(
            f"{target.path}: there is no folder {folder}",
            f"make it: mkdir -p {shlex.quote(folder)}",
        )
    exists = os.path.lexists(target.path)
    refusals = []
    if exists and not (policy.overwrite or policy.skip_existing):
        remedy = "use --overwrite or --skip-existing"
        refusals.append(Refusal(f"{target.path} exists already", remedy, []))
    skip = exists and policy.skip_existing
    return [Job(source, target, form, source.size() or 0, skip=skip)], refusals


def _saving_refusals(jobs: list[Job], saving: Saving) -> list[Refusal]:
    """Options that no output's format has a use for, and values that are none."""
    written = {job.format.name: job.format for job in jobs if job.format is not None}
    if not written or any(job.format is None and not job.refusal for job in jobs):
        return []
    misfits = set.intersection(*(set(saving.misfits(form)) for form in written.values()))
    names = ", ".join(sorted(written))
    refusals = [
        Refusal(f"{misfit} means nothing for {names}", "leave it out", [])
        for misfit in sorted(misfits)
    ]
    for form in written.values():
        try:
            saving.for_format(form)
        except PoolError as refusal:
            refusals.append(Refusal(refusal.message, refusal.remedy, []))
    return refusals
