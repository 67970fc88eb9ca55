"""Many inputs into a folder: found, named, and compared with what exists."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from poolcli import storage
from poolcli.errors import PoolError
from poolcli.formats import by_name, by_suffix
from poolcli.plan.terms import Found, Job, Policy, Refusal, check, refuse
from poolcli.storage import DASH, Source, Target

NAME_BYTES: Final = 255
UNREADABLE: Final = "check the name and its permissions"
"""What to do about an input that can't be read."""
FileId: TypeAlias = tuple[int, int]


class Batch:
    """Many inputs into a folder."""

    def __init__(self, output: str, policy: Policy) -> None:
        """Look at the output folder once."""
        self.output = output
        self.policy = policy
        self.format = by_name(policy.format) if policy.format else None
        self.output_id = _file_id(output)
        self.folds = storage.folds_names(output)
        self.nameless: list[str] = []
        self.outside: list[str] = []
        self.sources: set[FileId] = set()
        self.harmed: list[str] = []

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
            Refusal("would overwrite an input", "choose another output folder", self.harmed),
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
        size, refusal, remedy = self._looked_at(found)
        if form is None and not refusal:
            refusal = f"the suffix {suffix} names no format" if suffix else "it has no suffix"
            remedy = "name a picture, or give --format"
        kept = suffix if form is None or own is form else form.suffixes[0]
        if self.policy.rename is not None:
            stem = self.policy.rename(found.path)
        name = f"{stem}{kept}"
        if not refusal and (_is_no_name(stem) or len(os.fsencode(name)) > NAME_BYTES):
            self.nameless.append(f"{found.path} ({name})")
        path = os.path.join(self.output, folder, name)
        target = Target(path, is_stream=False, in_folder=True)
        return Job(Source(found.path), target, form, size, refusal=refusal, remedy=remedy)

    def _looked_at(self, found: Found) -> tuple[int, str, str]:
        """The size of an input; why it fails without being opened, and what to do about that."""
        try:
            status = os.stat(found.path)
        except (OSError, ValueError) as fault:
            reason = fault.strerror if isinstance(fault, OSError) else str(fault)
            return 0, found.refusal or f"it can't be read: {reason}", UNREADABLE
        if found.refusal:
            return 0, found.refusal, UNREADABLE
        if stat.S_ISDIR(status.st_mode):
            return 0, "it is a folder", "name the pictures in it"
        if stat.S_ISCHR(status.st_mode):
            check(Source(found.path))
        if not stat.S_ISREG(status.st_mode):
            return 0, "", ""
        if self.output_id is not None:
            self.sources.add((status.st_dev, status.st_ino))
        return status.st_size, "", ""

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
            if storage.same_file(job.source.status(), other.source.status()):
                del jobs[number]
            else:
                clashes.append(f"{other.source.path} and {job.source.path}")
        return clashes[::-1]

    def _key(self, job: Job) -> str:
        """What the output's file system knows a name by."""
        return storage.folded(job.target.path) if self.folds else job.target.path

    def _against_existing(self, job: Job, exists: list[str]) -> Job:
        """The job, to be skipped or refused if something has its output's name.

        What that is may also be an input, under whatever name: all of them are known by now.
        """
        path = job.target.path
        if job.refusal:
            return job
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return job
        is_link = stat.S_ISLNK(status.st_mode)
        if (_file_id(path) if is_link else (status.st_dev, status.st_ino)) in self.sources:
            self.harmed.append(path)
        if self.policy.skip_existing:
            return Job(job.source, job.target, job.format, job.bytes, skip=True)
        if not self.policy.overwrite:
            exists.append(path)
        return job

    def _named(self, path: str) -> Iterator[Found]:
        """What an INPUT of the command line stands for."""
        if path == DASH:
            raise refuse("- stands only for one picture", "name an output file, or - again")
        if not os.path.isdir(path):
            yield Found(path, os.path.basename(path.rstrip(os.sep)))
            return
        if self.output_id is not None and _file_id(path) == self.output_id:
            raise refuse(f"{path} is both input and output", "choose another output folder")
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
        raise refuse(f"--files-from {files_from}: {refusal.message}", refusal.remedy) from None
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
