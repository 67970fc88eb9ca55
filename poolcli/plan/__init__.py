"""Plan a run: turn the paths on a command line into jobs, before any picture is opened.

Only the names and the status of files are used, so that all refusals are reported together and
nothing has been written yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Literal, NamedTuple

from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import (
    FORMATS,
    all_suffixes,
    by_name,
    by_suffix,
    may_have_axes,
    may_have_planes,
)
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.plan.existing import existing_outputs, indices_file, kept, skips
from poolcli.plan.left_out import LeftOut
from poolcli.storage import DASH, Place, Progress, ignore, place_at, place_of


class Job(NamedTuple):
    """One picture to pool.

    Attributes:
        source: where the picture is read.
        target: where the result is written.
        format: the format to write, or None for the format of the input.
        bytes: the size of the input; 0 if it is unknown.
        skip: whether there is nothing to do, since the output exists.
        refusal: why this picture fails without being opened; empty if it doesn't.
        remedy: what the user can do about that.
        window: the window of a level of ``--levels``; None for the window of the run.
        levels: the jobs of the other levels of the same source, which are run with this one, so
            that the source is decoded once.
        indices: where the indices are written, or None.
        retry: whether an earlier try may have written the output already, before its worker died.
    """

    source: Place
    target: Place
    format: Format | None
    bytes: int = 0
    skip: bool = False
    refusal: str = ""
    remedy: str = ""
    window: Window | None = None
    levels: tuple[Job, ...] = ()
    indices: Place | None = None
    retry: bool = False

    @property
    def is_settled(self) -> bool:
        """Return whether its outcome is known without opening the picture."""
        return all(one.skip or one.refusal for one in self.all_levels())

    def all_levels(self) -> tuple[Job, ...]:
        """Return this job, without other levels, and those of the other levels."""
        return self._replace(levels=()), *self.levels


class Refusal(NamedTuple):
    """One reason why a plan is refused.

    Attributes:
        reason: what is wrong.
        remedy: the option or the change that would allow it.
        names: the paths that the reason applies to; empty if it names its path itself.
    """

    reason: str
    remedy: str
    names: list[str]


WITHOUT_INDICES: Final = Refusal(
    "exists without its indices", "use --overwrite or --update, or leave --indices out", []
)


class PlanError(PoolError):
    """Raised if a plan is refused; nothing was written.

    Attributes:
        refusals: all reasons.
    """

    def __init__(self, refusals: list[Refusal]) -> None:
        """Store all reasons, and use the first as the message."""
        super().__init__(refusals[0].reason, refusals[0].remedy)
        self.refusals = refusals


class NothingMatchedError(PoolError):
    """Raised if a plan has no picture."""


class Policy(NamedTuple):
    """Which inputs a plan takes, and how it names and checks outputs.

    Attributes:
        format: the name of the format to write, or None to choose it by the suffix.
        overwrite: whether existing files may be replaced.
        skip_existing: whether inputs whose output exists are skipped.
        update: whether outputs that are older than their input are replaced, and others skipped.
        recursive: whether folders inside a folder are searched too.
        include: if not empty, a file found in a folder must match one of these globs.
        exclude: a file found in a folder must match none of these globs.
        files_from: the file that lists the inputs, "-" for standard input, or None.
        null: whether the paths in the list are separated by NUL instead of newlines.
        relative_to: listed files keep their path relative to this folder; None for the working
            folder.
        output_stem: returns the name of an output, without suffix, from the path of the input
            and the window of its level; None keeps the name of the input.
        levels: the windows of ``--levels``; empty for the one window of the run.
        preserve: whether outputs get the times and mode bits of their inputs.
        saving: the options of encoding, to be checked against the formats.
        axes: the letters of the axes of arrays; refused if no input can be an array.
        planes: how many planes are pooled together; refused if no input can be a stack.
        indices: the file of indices, or their folder where the output is one; None for no indices.
        existing_remedy: what the user can do about existing outputs.
    """

    format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    update: bool = False
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files_from: str | None = None
    null: bool = False
    relative_to: str | None = None
    output_stem: Callable[[str, Window | None], str] | None = None
    levels: tuple[Window, ...] = ()
    preserve: bool = False
    saving: Saving = Saving()
    axes: str | None = None
    planes: int | Literal["all"] | None = None
    indices: str | None = None
    existing_remedy: str = "use --overwrite, --skip-existing or --update"

    @property
    def replaces(self) -> bool:
        """Return whether existing outputs may be replaced."""
        return self.overwrite or self.update


def make_plan(
    paths: tuple[str, ...],
    policy: Policy,
    left_out: LeftOut | None = None,
    progress: Progress = ignore,
) -> list[Job]:
    """Return the jobs of a command line, those of a folder sorted by name.

    Args:
        paths: the inputs, and last the output.
        policy: which inputs are taken, and how outputs are named and checked.
        left_out: gets what is left out of folders and lists.
        progress: called if the listing of folders takes long.

    Raises:
        PoolError: the command line as a whole is refused.
        PlanError: inputs or outputs are refused.
        NothingMatchedError: no picture was found in the folders or the list.
    """
    try:
        return _jobs(paths, policy, left_out or LeftOut.nothing(), progress)
    except OSError as fault:
        reason = f"the plan can't be made: {fault.strerror}"
        raise PoolError(reason, "does the working folder exist?") from None


def _jobs(
    paths: tuple[str, ...], policy: Policy, left_out: LeftOut, progress: Progress
) -> list[Job]:
    """Return the jobs of a command line; see `make_plan`.

    Raises:
        OSError: the working folder has been removed.
    """
    # Without paths, "- -" is meant if standard input is a pipe or a file, but not a terminal.
    if not paths and policy.files_from is None and place_of(DASH).status().kind == "stream":
        paths = (DASH, DASH)
    _check_number(paths, policy)
    if "" in paths:
        raise PoolError("a path is empty", "name a file, or - for a pipe")
    *inputs, output = paths
    target = place_at(output)
    if policy.levels and target.is_stream:
        raise PoolError("--levels needs a folder as OUTPUT", f"name one, ending in {os.sep}")
    if target.is_stream or not _is_folder(inputs, target, policy):
        jobs, refusals = _single(inputs, target, policy)
    else:
        from poolcli.plan.batch import Batch  # here, since it imports this module

        jobs, refusals = Batch(output, policy, left_out, progress).jobs(inputs)
    refusals += _idle_options(jobs, policy)
    if refusals:
        raise PlanError(refusals)
    if not jobs:
        where, remedy = ", ".join(inputs), "check the names, --include and --exclude"
        if policy.files_from is not None:
            where, remedy = f"the list {policy.files_from}", "check what it names"
        found = f": {what}" if (what := left_out.whole()) else ""
        raise NothingMatchedError(f"no picture was found in {where}{found}", remedy)
    if not all(job.is_settled for job in jobs):
        for place in filter(None, (target, jobs[0].indices)):
            place.check_folder()
    return jobs


def check_room(jobs: list[Job]) -> None:
    """Refuse a plan if no space is left for its first output.

    Raises:
        PoolError: that is so; nothing was decoded.
    """
    job = next((one for one in jobs if not one.is_settled), None)
    for place in () if job is None else (job.target, job.indices):
        if place is not None:
            place.check_room()


@contextmanager
def kept_inputs(jobs: list[Job]) -> Iterator[None]:
    """Keep the inputs of a plan, until the end of the block, from being removed as stale files.

    Somebody may have named an input like a hidden file, or pool one that a killed run has left.
    """
    with ExitStack() as kept:
        for job in jobs:
            if (file := job.source.keep()) is not None:
                kept.enter_context(file)
        yield


def _check_number(paths: tuple[str, ...], policy: Policy) -> None:
    """Refuse a wrong number of paths, and options of ``--files-from`` without it."""
    if policy.files_from is not None:
        if len(paths) != 1:
            raise PoolError(f"--files-from needs one path, not {len(paths)}", "name OUTPUT only")
    elif policy.null or policy.relative_to is not None:
        option = "--null" if policy.null else "--relative-to"
        raise PoolError(f"{option} needs a list of files", "name one with --files-from")
    elif not paths:
        raise PoolError("no picture is named", "name an INPUT and an OUTPUT, or pipe one in")
    elif len(paths) == 1:
        raise PoolError(f"{paths[0]} is the only path", "name the output too, or - for a pipe")


def _is_folder(inputs: list[str], target: Place, policy: Policy) -> bool:
    """Return whether OUTPUT is a folder: it exists, ends in a slash, or there are several inputs.

    Raises:
        PoolError: a folder is needed, but OUTPUT is a file or looks like the name of one.
    """
    output = target.path
    kind, is_named = target.status().kind, output.endswith(os.sep)
    # A slash after the name of a local file makes it missing.
    unslashed = output.rstrip(os.sep) if is_named and kind == "missing" else ""
    if unslashed and place_of(unslashed).existing().kind != "missing":
        raise PoolError(f"{unslashed} is no folder", "name a folder")
    if is_named or kind == "folder":
        return True
    is_single = len(inputs) < 2 and policy.files_from is None and not policy.levels
    if is_single and not any(place_of(path).status().kind == "folder" for path in inputs):
        return False
    if target.existing().kind != "missing":
        several = "--levels" if policy.levels else "several pictures"
        raise PoolError(f"{output} is a file", f"name a folder for {several}")
    if by_suffix(os.path.splitext(output)[1]) is not None:
        raise PoolError(f"{output} looks like a picture", f"end it in {os.sep} to mean a folder")
    return True


def _single(inputs: list[str], target: Place, policy: Policy) -> tuple[list[Job], list[Refusal]]:
    """Return the job of one input and one output, which is a stream or a file."""
    if len(inputs) != 1 or place_of(inputs[0]).status().kind == "folder":
        raise PoolError(f"{target.path} takes one picture", "name a folder for several")
    if policy.output_stem is not None:
        raise PoolError(
            "--name needs a folder as OUTPUT", f"end it in {os.sep}, or leave --name out"
        )
    source = place_at(inputs[0])
    if source.is_stream:
        source.check_readable()
    # Comparing paths is not enough: a link, or a redirected standard output, may be the input.
    status, existing = source.status(), target.existing()
    if status.identity is not None and status.identity == existing.identity:
        raise PoolError(f"{target.path} is the input itself", "choose another name for the output")
    fmt = _format_of(target, policy)
    target.check_writable()
    indices = None if policy.indices is None else indices_file(policy.indices, target, status)
    job = Job(source, target, fmt, status.size or 0, indices=indices)
    outputs = existing_outputs(job)
    if skips(job, policy, outputs, status.modified):
        return [job._replace(skip=True)], []
    if not (names := kept(job, policy, outputs)):
        return [job], []
    if policy.skip_existing:
        return [job], [WITHOUT_INDICES._replace(names=names)]
    return [job], [Refusal(f"{names[0]} exists already", policy.existing_remedy, [])]


def _format_of(target: Place, policy: Policy) -> Format | None:
    """Return the format of an output; None for a stream that gets the format of the input.

    Raises:
        PoolError: neither ``--format`` nor the suffix names a format that can be written.
    """
    suffix = os.path.splitext(target.path)[1]
    if policy.format or target.is_stream:
        return by_name(policy.format) if policy.format else None
    fmt = by_suffix(suffix)
    if fmt is None:
        folder = os.path.join(target.path, "")
        raise PoolError(
            f"{target.path}: {f'the suffix {suffix} names no format' if suffix else 'no suffix'}",
            f"end it in one of {all_suffixes()}, give --format, or write {folder} for a folder",
        )
    if not fmt.modes:
        message = f"{target.path}: {fmt.refusal().message}"
        raise PoolError(message, f"end it in one of {all_suffixes()}")
    return fmt


def _idle_options(jobs: list[Job], policy: Policy) -> Iterator[Refusal]:
    """Yield refusals of options that have no effect on the pictures, or can't be obeyed."""
    if policy.preserve:
        places = (place for job in jobs for place in (job.source, job.target))
        if names := [*dict.fromkeys(one.path for one in places if one.is_remote)]:
            reason = "--preserve copies times and mode bits, which objects don't have"
            yield Refusal(reason, "leave it out", names)
    if policy.saving != Saving():
        yield from _saving_refusals(jobs, policy.saving)
    sources = [job.source.path for job in jobs]
    if sources and policy.axes and not any(map(may_have_axes, sources)):
        yield Refusal("--axes has an effect on arrays only", "leave it out", [])
    if sources and policy.planes and not any(map(may_have_planes, sources)):
        titles = " and ".join(row.title for row in FORMATS if row.has_planes)
        yield Refusal(f"--planes has an effect on {titles} only", "leave it out", [])


def _saving_refusals(jobs: list[Job], saving: Saving) -> list[Refusal]:
    """Refuse options that have no effect on any output, and values that a format doesn't have."""
    written = {job.format.title: job.format for job in jobs if job.format is not None}
    if not written:
        return []  # the format of the input is known, and checked, when it is opened
    misfits = set.intersection(*(set(saving.misfits(fmt)) for fmt in written.values()))
    titles = ", ".join(sorted(written))
    refusals = [
        Refusal(f"{misfit} has no effect on {titles}", "leave it out", [])
        for misfit in sorted(misfits)
    ]
    for fmt in written.values():
        try:
            saving.for_format(fmt)
        except PoolError as refusal:
            refusals.append(Refusal(refusal.message, refusal.remedy, []))
    return refusals
