"""Many inputs into a folder: found, named, and compared with what exists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from poolcli.errors import PoolError
from poolcli.formats import by_name, by_suffix
from poolcli.plan.records import Found, Job, Policy, Refusal, check, refuse
from poolcli.storage import DASH, Source, Target, absolute, folded, look, storage_of
from poolcli.storage.contract import Entry, Identity, Status, Storage

NAME_BYTES: Final = 255
UNREADABLE: Final = "check the name and its permissions"
"""What to do about an input that can't be read."""


class Batch:
    """Many inputs into a folder."""

    def __init__(self, output: str, policy: Policy) -> None:
        """Look at the output folder once."""
        self.output = output
        self.policy = policy
        self.format = by_name(policy.format) if policy.format else None
        self.storage = storage_of(output)
        self.output_id = self.storage.look(output).identity
        self.folds = self.storage.folds_names(output)
        self.nameless: list[str] = []
        self.outside: list[str] = []
        self.sources: set[Identity] = set()
        self.overwritten_inputs: list[str] = []

    def jobs(self, inputs: list[str]) -> tuple[list[Job], list[Refusal]]:
        """Find, name and check all inputs; return their jobs and all refusals together."""
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
            Refusal(
                "would overwrite an input", "choose another output folder", self.overwritten_inputs
            ),
            Refusal("inputs with one output", "tell them apart with --name", clashes),
            Refusal("exists already", "use --overwrite or --skip-existing", exists),
        ]
        return jobs, [one for one in refusals if one.names]

    def _job(self, found: Found) -> Job:
        """Return one input's job, not yet compared with what exists."""
        folder, base = os.path.split(found.place)
        stem, suffix = os.path.splitext(base)
        own = by_suffix(suffix)
        form = self.format or own
        refusal, remedy = _why_unreadable(found.status)
        if form is None and not refusal:
            refusal = f"the suffix {suffix} names no format" if suffix else "it has no suffix"
            remedy = "name a picture, or give --format"
        elif form is not None and not refusal and (fault := form.refusal()):
            refusal, remedy = fault.message, fault.remedy
        source = Source(found.path)
        if found.status.kind == "device":
            check(source)
        # In a folder that doesn't exist yet no output can be an input: nothing need be kept.
        if self.output_id is not None and not refusal and found.status.identity is not None:
            self.sources.add(found.status.identity)
        kept = suffix if form is None or own is form else form.suffixes[0]
        if self.policy.rename is not None:
            stem = self.policy.rename(found.path)
        name = f"{stem}{kept}"
        if not refusal and (_is_unusable_name(stem) or len(os.fsencode(name)) > NAME_BYTES):
            self.nameless.append(f"{found.path} ({name})")
        path = os.path.join(self.output, folder, name)
        target = Target(path, is_stream=False, in_folder=True)
        size = found.status.size or 0
        return Job(source, target, form, size, refusal=refusal, remedy=remedy)

    def _clashes(self, jobs: list[Job]) -> list[str]:
        """Return inputs that would have one output; leave out once what is named twice."""
        # Nearly all plans are without a clash: only for the others is it noted who came first.
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
            identity = look(job.source.path).identity
            if identity is not None and identity == look(other.source.path).identity:
                del jobs[number]
            else:
                clashes.append(f"{other.source.path} and {job.source.path}")
        return clashes[::-1]

    def _key(self, job: Job) -> str:
        """Return what the output's file system knows a name by."""
        return folded(job.target.path) if self.folds else job.target.path

    def _against_existing(self, job: Job, exists: list[str]) -> Job:
        """Return the job, to be skipped if its output exists and may be; note why it is refused.

        An existing output may also be an input, under whatever name: all are known by now.
        """
        if job.refusal:
            return job
        path = job.target.path
        existing = self.storage.existing(path, self.output)
        if existing.kind == "missing":
            return job
        if existing.identity in self.sources:
            self.overwritten_inputs.append(path)
        if self.policy.skip_existing:
            return Job(job.source, job.target, job.format, job.bytes, skip=True)
        if not self.policy.overwrite:
            exists.append(path)
        return job

    def _named(self, path: str) -> Iterator[Found]:
        """Yield what an INPUT of the command line stands for."""
        if path == DASH:
            raise refuse("- stands only for one picture", "name an output file, or - again")
        status = look(path)
        if status.kind != "folder":
            yield Found(path, os.path.basename(path.rstrip(os.sep)), status)
            return
        if status.identity == self.output_id:
            raise refuse(f"{path} is both input and output", "choose another output folder")
        yield from self._walk(path)

    def _walk(self, folder: str) -> Iterator[Found]:
        """Yield the pictures of a folder and of those below it, sorted, however deep.

        The folders on the way are kept in a list: Python's own stack is not deep enough.
        """
        storage = storage_of(folder)
        open_folders = [self._entries(storage, folder, "")]
        while open_folders:
            for one in open_folders[-1]:
                if isinstance(one, Found):
                    yield one
                else:
                    open_folders.append(self._entries(storage, *one))
                    break
            else:
                open_folders.pop()

    def _entries(
        self, storage: Storage, folder: str, place: str
    ) -> Iterator[Found | tuple[str, str]]:
        """Yield the pictures in a folder, and the folders (path, place) to go into."""
        try:
            for entry in storage.walk(folder, without=self.output_id):
                if entry.name.startswith("."):
                    continue
                below = os.path.join(place, entry.name)
                if entry.kind == "folder":
                    if self.policy.recursive:
                        yield entry.path, below
                elif by_suffix(os.path.splitext(entry.name)[1]) and self._is_wanted(below):
                    status = _picture_status(storage, entry)
                    if status is not None:
                        yield Found(entry.path, below, status)
        except PoolError as fault:
            yield Found(folder, place or os.curdir, Status("folder", problem=fault.message))

    def _is_wanted(self, place: str) -> bool:
        """Return whether a found file passes --include and --exclude."""

        def matches(glob: str) -> bool:
            return fnmatchcase(place if "/" in glob else os.path.basename(place), glob)

        if any(map(matches, self.policy.exclude)):
            return False
        return not self.policy.include or any(map(matches, self.policy.include))

    def _listed(self, files_from: str) -> Iterator[Found]:
        """Yield what a list of files names, each at its path below --relative-to."""
        base = os.path.join(absolute(self.policy.relative_to or os.curdir), "")
        output = os.path.join(absolute(self.output), "")
        # As in a walk, OUTPUT's folder is left out only where it lies below the inputs.
        prunes = output.startswith(base) and output != base
        seen = set()
        for path in _read_list(files_from, self.policy.null):
            # In a list a dash is the name of a file.
            safe = os.path.join(os.curdir, path) if path == DASH else path
            full = absolute(safe)
            if full in seen or (prunes and full.startswith(output)):
                continue
            seen.add(full)
            if full.startswith(base):
                yield Found(safe, full.removeprefix(base), look(safe))
            else:
                self.outside.append(path)


def _read_list(files_from: str, null: bool) -> Iterator[str]:
    """Yield the paths that a list holds, byte for byte.

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


def _picture_status(storage: Storage, entry: Entry) -> Status | None:
    """Return the status of what a walk found, or None if it is no file and no link to one."""
    if entry.kind not in ("file", "link"):
        return None
    status = entry.status or storage.look(entry.path)
    if entry.kind == "link" and status.kind not in ("file", "missing"):
        return None
    return status  # that of a broken link too: it is tried, so that it fails by name


def _why_unreadable(status: Status) -> tuple[str, str]:
    """Return why an input fails without being opened, and what to do about that, if it does."""
    if status.problem:
        return status.problem, UNREADABLE
    if status.kind == "folder":
        return "it is a folder", "name the pictures in it"
    return "", ""


def _is_unusable_name(stem: str) -> bool:
    """Return whether text can't be the name of a file."""
    return stem in ("", os.curdir, os.pardir) or os.sep in stem or "\0" in stem
