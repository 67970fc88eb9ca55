"""The plan of a run, made from names and `stat` alone, before any picture is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from poolcli import endpoints
from poolcli.endpoints import DASH, Source, Target
from poolcli.errors import PoolError
from poolcli.formats import Format, Saving, all_suffixes, by_name, by_suffix

NAME_BYTES: Final = 255
FileId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Job:
    """From where to where.

    Attributes:
        source: where the picture is read.
        target: where the result is written.
        format: the format to write, or None for the input's own.
        bytes: the size of the input as far as the plan knows it.
        skip: whether there is nothing to do, since the result exists.
        refusal: why this picture fails without being opened; empty if it doesn't.
        again: whether a worker died over it before, and may have written it already.
    """

    source: Source
    target: Target
    format: Format | None
    bytes: int = 0
    skip: bool = False
    refusal: str = ""
    again: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether what becomes of it is known without opening anything."""
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
    """A plan that is refused; nothing was written.

    Attributes:
        refusals: every reason, each with all of its names.
    """

    def __init__(self, *refusals: Refusal) -> None:
        """Keep all reasons; the message is that of the first."""
        super().__init__(refusals[0].reason, refusals[0].remedy)
        self.refusals = refusals


class NothingMatchedError(PoolError):
    """No picture is left to work on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a plan may do, and how it names what it makes.

    Attributes:
        format: the name of the format to write, or None to go by suffixes.
        overwrite: whether existing files may be replaced.
        skip_existing: whether inputs whose output exists are left out.
        recursive: whether folders are walked to their depths.
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
    saving: Saving = field(default_factory=Saving)


class Found(NamedTuple):
    """An input, and where below the output folder its result belongs."""

    path: str
    place: str
    refusal: str = ""


def plan(paths: tuple[str, ...], policy: Policy) -> list[Job]:
    """The jobs that paths on a command line mean, in a settled order; the last is the output.

    Raises:
        PlanError: they mean nothing, or something that is refused.
        NothingMatchedError: folders or lists hold no picture.
    """
    if not paths and policy.files_from is None and endpoints.stdin_is_piped():
        paths = (DASH, DASH)
    if policy.files_from is not None:
        if len(paths) != 1:
            raise _refuse("with --files-from the only path is OUTPUT", "put the inputs in the list")
    elif not paths:
        raise _refuse("no picture is named", "name an INPUT and an OUTPUT, or pipe one in")
    elif len(paths) == 1:
        raise _refuse(f"{paths[0]} is the only path", "name the output too, or - for a pipe")
    if "" in paths:
        raise _refuse("a path is empty", "name a file, or - for a pipe")
    *inputs, output = paths
    target = Target.at(output)
    if target.is_stream or not _is_folder(inputs, output, policy):
        jobs, refusals = _single(inputs, target, policy)
    else:
        jobs, refusals = _Batch(output, policy).jobs(inputs)
    refusals += _saving_refusals(jobs, policy.saving)
    if refusals:
        raise PlanError(*refusals)
    if not jobs:
        raise NothingMatchedError(
            "no picture was found", "check the names, --include and --exclude"
        )
    return jobs


def _refuse(reason: str, remedy: str, names: Iterable[str] = ()) -> PlanError:
    """A plan refused for one reason."""
    return PlanError(Refusal(reason, remedy, list(names)))


def _is_folder(inputs: list[str], output: str, policy: Policy) -> bool:
    """Whether OUTPUT is a folder: because it is, says so, or must be."""
    if output.endswith(os.sep) or os.path.isdir(output):
        return True
    if len(inputs) < 2 and policy.files_from is None and not any(map(os.path.isdir, inputs)):
        return False
    if os.path.lexists(output):
        raise _refuse(f"{output} is a file", "name a folder for several pictures")
    if by_suffix(os.path.splitext(output)[1]) is not None:
        raise _refuse(f"{output} looks like a picture", f"end it in {os.sep} to mean a folder")
    return True


def _single(inputs: list[str], target: Target, policy: Policy) -> tuple[list[Job], list[Refusal]]:
    """One input, one output that is a stream or a file."""
    if len(inputs) != 1 or os.path.isdir(inputs[0]):
        raise _refuse(f"{target.path} takes one picture", "name a folder for several")
    if policy.rename is not None:
        raise _refuse("--name needs a folder as OUTPUT", f"end it in {os.sep}, or leave --name out")
    (path,) = inputs
    source = Source(path)
    try:
        source.check()
        if target.is_stream:
            target.check()
    except PoolError as refusal:
        raise _refuse(refusal.message, refusal.remedy) from None
    if endpoints.same_file(source.status(), target.status()):
        raise _refuse(f"{target.path} is the input itself", "choose another name for the output")
    form = by_name(policy.format) if policy.format else None
    if target.is_stream:
        return [Job(source, target, form)], []
    form = form or by_suffix(os.path.splitext(target.path)[1])
    if form is None:
        suffix = os.path.splitext(target.path)[1]
        raise _refuse(
            f"{target.path}: {f'the suffix {suffix} names no format' if suffix else 'no suffix'}",
            f"end it in one of {all_suffixes()}, or give --format",
        )
    folder = os.path.dirname(target.path) or os.curdir
    if not os.path.isdir(folder):
        raise _refuse(f"{target.path}: there is no folder {folder}", f"make it: mkdir -p {folder}")
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


class _Batch:
    """Many inputs into a folder."""

    def __init__(self, output: str, policy: Policy) -> None:
        """Look at the output folder once."""
        self.output = output
        self.policy = policy
        self.format = by_name(policy.format) if policy.format else None
        self.output_id = _file_id(output)
        self.folds = endpoints.folds_names(output)
        self.nameless: list[str] = []
        self.outside: list[str] = []
        self.taken: list[Target] = []

    def jobs(self, inputs: list[str]) -> tuple[list[Job], list[Refusal]]:
        """Find and name everything, and check it; all refusals are told together."""
        if self.policy.files_from is not None:
            found = self._listed(self.policy.files_from)
        else:
            found = (one for path in inputs for one in self._named(path))
        jobs = [self._job(one) for one in found]
        clashes = self._clashes(jobs)
        exists: list[str] = []
        if self.output_id is not None:
            jobs = [self._against_existing(job, exists) for job in jobs]
        refusals = [
            Refusal("listed outside --relative-to", "give --relative-to DIR", self.outside),
            Refusal("can't name an output", "choose another --name", self.nameless),
            Refusal("would overwrite an input", "choose another output folder", self._inputs(jobs)),
            Refusal("inputs with one output", "tell them apart with --name", clashes),
            Refusal("exists already", "use --overwrite or --skip-existing", exists),
        ]
        return jobs, [one for one in refusals if one.names]

    def _job(self, found: Found) -> Job:
        """One input's job, not yet compared with what exists."""
        folder, base = os.path.split(found.place)
        stem, suffix = os.path.splitext(base)
        own = by_suffix(suffix)
        form = self.format or own
        refusal, size = found.refusal, 0
        try:
            status = os.stat(found.path)
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else str(fault)
            refusal = refusal or f"it can't be read: {reason}"
        if form is None and not refusal:
            refusal = f"the suffix {suffix} names no format" if suffix else "it has no suffix"
        kept = suffix if form is None or own is form else form.suffixes[0]
        if self.policy.rename is not None:
            stem = self.policy.rename(found.path)
        name = f"{stem}{kept}"
        if not refusal and (_is_no_name(stem) or len(os.fsencode(name)) > NAME_BYTES):
            self.nameless.append(f"{found.path} ({name})")
        path = os.path.join(self.output, folder, name)
        target = Target(path, is_stream=False, in_folder=True)
        return Job(Source(found.path), target, form, size, refusal=refusal)

    def _clashes(self, jobs: list[Job]) -> list[str]:
        """Inputs that would have one output; the same input twice is left out once instead."""
        taken: set[str] = set()
        clashing: list[int] = []
        for number, job in enumerate(jobs):
            key = self._key(job)
            if job.refusal:
                continue
            if key in taken:
                clashing.append(number)
            taken.add(key)
        if not clashing:
            return []
        first: dict[str, Job] = {}
        for job in jobs:
            if not job.refusal:
                first.setdefault(self._key(job), job)
        clashes = []
        for number in reversed(clashing):
            job, other = jobs[number], first[self._key(jobs[number])]
            if endpoints.same_file(job.source.status(), other.source.status()):
                del jobs[number]
            else:
                clashes.append(f"{other.source.path} and {job.source.path}")
        return clashes[::-1]

    def _key(self, job: Job) -> str:
        """What the output's file system knows a name by."""
        return endpoints.folded(job.target.path) if self.folds else job.target.path

    def _against_existing(self, job: Job, exists: list[str]) -> Job:
        """The job, to be skipped or refused if something has its output's name."""
        if job.refusal or not os.path.lexists(job.target.path):
            return job
        self.taken.append(job.target)
        if self.policy.skip_existing:
            return replace(job, skip=True)
        if not self.policy.overwrite:
            exists.append(job.target.path)
        return job

    def _inputs(self, jobs: list[Job]) -> list[str]:
        """The outputs that exist and are inputs, under whatever name."""
        taken = {}
        for target in self.taken:
            status = target.status()
            if status is not None:
                taken[status.st_dev, status.st_ino] = target.path
        if not taken:
            return []
        found = []
        for job in jobs:
            status = job.source.status()
            if status is not None and (status.st_dev, status.st_ino) in taken:
                found.append(taken[status.st_dev, status.st_ino])
        return found

    def _named(self, path: str) -> Iterator[Found]:
        """What an INPUT of the command line stands for."""
        if path == DASH:
            raise _refuse("- stands only for one picture", "name an output file, or - again")
        if not os.path.isdir(path):
            yield Found(path, os.path.basename(path.rstrip(os.sep)))
            return
        if self.output_id is not None and _file_id(path) == self.output_id:
            raise _refuse(f"{path} is both input and output", "choose another output folder")
        yield from self._walk(path)

    def _walk(self, folder: str) -> Iterator[Found]:
        """The pictures of a folder and of those below it, in sorted order, however deep."""
        open_folders = [self._inside(folder, "")]
        while open_folders:
            for one in open_folders[-1]:
                if isinstance(one, Found):
                    yield one
                else:
                    open_folders.append(self._inside(*one))
                    break
            else:
                open_folders.pop()

    def _inside(self, folder: str, place: str) -> Iterator[Found | tuple[str, str]]:
        """The pictures in a folder, and the folders (path, place) to go into."""
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as fault:
            yield Found(folder, place or os.curdir, f"the folder can't be read: {fault.strerror}")
            return
        for entry in inside:
            if entry.name.startswith("."):
                continue
            below = os.path.join(place, entry.name)
            if entry.is_dir(follow_symlinks=False):
                if self.policy.recursive and not self._is_output(entry):
                    yield entry.path, below
            elif (
                by_suffix(os.path.splitext(entry.name)[1])
                and self._wanted(below)
                and _is_picture_file(entry)
            ):
                yield Found(entry.path, below)

    def _is_output(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder is OUTPUT's own."""
        return (
            self.output_id is not None
            and entry.inode() == self.output_id[1]
            and _file_id(entry.path) == self.output_id
        )

    def _wanted(self, place: str) -> bool:
        """Whether a found file passes --include and --exclude."""

        def matches(glob: str) -> bool:
            return fnmatchcase(place if "/" in glob else os.path.basename(place), glob)

        if any(map(matches, self.policy.exclude)):
            return False
        return not self.policy.include or any(map(matches, self.policy.include))

    def _listed(self, files_from: str) -> Iterator[Found]:
        """What a list of files names, each at its path below --relative-to."""
        base = os.path.abspath(self.policy.relative_to or os.curdir)
        output = os.path.abspath(self.output)
        prunes = output.startswith(os.path.join(base, ""))
        seen = set()
        for path in _read_list(files_from, self.policy.null):
            full = os.path.abspath(path)
            if full in seen or (prunes and full.startswith(os.path.join(output, ""))):
                continue
            seen.add(full)
            if not full.startswith(os.path.join(base, "")):
                self.outside.append(path)
                continue
            safe = os.path.join(os.curdir, path) if path == DASH else path
            yield Found(safe, os.path.relpath(full, base))


def _read_list(files_from: str, null: bool) -> Iterator[str]:
    """The paths that a list holds, byte for byte.

    Raises:
        PlanError: it can't be read.
    """
    try:
        with Source(files_from).open() as stream:
            content = stream.read()
    except PoolError as refusal:
        raise _refuse(f"--files-from {files_from}: {refusal.message}", refusal.remedy) from None
    for line in content.split(b"\0" if null else b"\n"):
        if line:
            yield os.fsdecode(line)


def _is_picture_file(entry: os.DirEntry[str]) -> bool:
    """Whether a found name is a regular file, or a link that isn't to anything else."""
    if not entry.is_symlink():
        return entry.is_file(follow_symlinks=False)
    try:
        return stat.S_ISREG(os.stat(entry.path).st_mode)  # entry.stat() would keep half a KB
    except OSError:
        return True  # a broken link: to be tried, and to fail by name


def _is_no_name(stem: str) -> bool:
    """Whether text can't be one path component."""
    return stem in ("", os.curdir, os.pardir) or os.sep in stem or "\0" in stem


def _file_id(path: str) -> FileId | None:
    """Device and inode of what a path leads to, or None where it leads nowhere."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
