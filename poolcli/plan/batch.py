"""Many inputs into a folder: found, named, and compared with what exists."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from fnmatch import fnmatchcase
from itertools import chain
from typing import Final, NamedTuple

from poolcli.errors import PoolError
from poolcli.formats import by_name, by_suffix
from poolcli.plan import Job, Policy, Refusal
from poolcli.storage import DASH, Place, Status, place_at, place_of

NAME_BYTES: Final = 255


class Found(NamedTuple):
    """An input that was named, listed or found by walking.

    Attributes:
        source: where it is read.
        below: where its result belongs, as a path below the output folder.
        status: what stands there.
    """

    source: Place
    below: str
    status: Status


class Batch:
    """Many inputs into a folder."""

    def __init__(self, output: str, policy: Policy) -> None:
        """Look at the output folder once."""
        self.output = place_of(output)
        self.policy = policy
        self.format = by_name(policy.format) if policy.format else None
        self.output_id = self.output.look().identity
        self.folds = self.output.folds_names()
        self.outside = Refusal("listed outside --relative-to", "give --relative-to DIR", [])
        self.nameless = Refusal("can't name an output", "choose another --name", [])
        self.inputs = Refusal("would overwrite an input", "choose another output folder", [])
        self.clashes = Refusal("inputs with one output", "tell them apart with --name", [])
        self.exists = Refusal("exists already", "use --overwrite or --skip-existing", [])

    def jobs(self, inputs: list[str]) -> tuple[list[Job], list[Refusal]]:
        """Find, name and check all inputs; return their jobs and all refusals together."""
        named = chain.from_iterable(map(self._named, inputs))
        files_from = self.policy.files_from
        found = named if files_from is None else self._listed(files_from)
        jobs: list[Job] = []
        first: dict[str, Job] = {}
        identities = set()
        for one in found:
            jobs.append(job := self._job(one))
            if job.refusal:
                continue
            identity = one.status.identity
            other = first.setdefault(self._key(job), job)
            if other is not job:
                if identity and identity == other.source.look().identity:
                    jobs.pop()  # one file that is named twice
                else:
                    self.clashes.names.append(f"{other.source.path} and {job.source.path}")
            identities.add(identity)
        if self.output_id is not None:
            jobs = [self._against_existing(job, identities) for job in jobs]
        refusals = (self.outside, self.nameless, self.inputs, self.clashes, self.exists)
        return jobs, [one for one in refusals if one.names]

    def _job(self, found: Found) -> Job:
        """Return one input's job, not yet compared with what exists."""
        source, below, status = found
        folder, base = os.path.split(below)
        stem, suffix = os.path.splitext(base)
        own = by_suffix(suffix)
        form = self.format or own
        if status.kind == "device":
            place_at(source.path).check_readable()
        refusal = status.problem
        remedy = refusal and "check the name and its permissions"
        if status.kind == "folder":
            refusal, remedy = "it is a folder", "name the pictures in it"
        elif form is None and not refusal:
            refusal = f"the suffix {suffix} names no format" if suffix else "it has no suffix"
            remedy = "name a picture, or give --format"
        elif form is not None and not refusal and not form.modes:
            refusal, remedy = form.refusal().args
        kept = suffix if form is None or own is form else form.suffixes[0]
        if self.policy.rename is not None:
            stem = self.policy.rename(source.path)
        if not (refusal or _is_name(stem, kept)):
            self.nameless.names.append(f"{source.path} ({stem}{kept})")
        path = os.path.join(self.output.path, folder, f"{stem}{kept}")
        # In a batch even what is named like a FIFO is a file.
        target = self.output._replace(path=path, in_folder=True)
        return Job(source, target, form, status.size or 0, refusal=refusal, remedy=remedy)

    def _key(self, job: Job) -> str:
        """Return what the output's storage knows a name by."""
        if not self.folds:
            return job.target.path
        from unicodedata import normalize  # few runs need it

        return normalize("NFC", normalize("NFC", job.target.path).casefold())

    def _against_existing(self, job: Job, inputs: set[Hashable]) -> Job:
        """Return the job, to be skipped if its output exists and may be; note why it is refused.

        An existing output may also be an input, under whatever name: all are known by now.
        """
        if job.refusal or (existing := job.target.existing()).kind == "missing":
            return job
        if existing.identity and existing.identity in inputs:
            self.inputs.names.append(job.target.path)
        if self.policy.skip_existing:
            return job._replace(skip=True)
        if not self.policy.overwrite:
            self.exists.names.append(job.target.path)
        return job

    def _named(self, path: str) -> Iterator[Found]:
        """Yield what an INPUT of the command line stands for."""
        if path == DASH:
            raise PoolError("- stands only for one picture", "name an output file, or - again")
        source = place_of(path)
        status = source.look()
        if status.kind != "folder":
            yield Found(source, os.path.basename(path.rstrip(os.sep)), status)
        elif status.identity == self.output_id:
            raise PoolError(f"{path} is both input and output", "choose another output folder")
        else:
            yield from self._walk(Found(source, "", status))

    def _walk(self, folder: Found) -> Iterator[Found]:
        """Yield the pictures of a folder and of those below it, sorted, however deep.

        The folders on the way are kept in a list: Python's own stack is not deep enough.
        """
        left = [self._entries(folder)]
        while left:
            one = next(left[-1], None)
            if one is None:
                left.pop()
            elif one.status.kind == "folder":
                left.append(self._entries(one))
            else:
                yield one

    def _entries(self, folder: Found) -> Iterator[Found]:
        """Yield the pictures in a folder, and the folders to go into."""
        try:
            for name, told in folder.source.walk():
                below = os.path.join(folder.below, name)
                is_folder = told is not None and told.kind == "folder"
                wanted = self.policy.recursive if is_folder else self._is_wanted(below)
                if name.startswith(".") or not wanted:
                    continue
                source = folder.source._replace(path=os.path.join(folder.source.path, name))
                status = told or source.look()
                # Links to folders are not followed; a broken one is tried, to fail by its name.
                tried = status.kind in ("file", "missing")
                if status.identity != self.output_id if is_folder else tried:
                    yield Found(source, below, status)
        except PoolError as fault:
            status = Status("missing", problem=fault.message)
            yield folder._replace(below=folder.below or os.curdir, status=status)

    def _is_wanted(self, below: str) -> bool:
        """Return whether a found file is a picture by its suffix, and passes the globs."""

        def matches(glob: str) -> bool:
            return fnmatchcase(below if "/" in glob else os.path.basename(below), glob)

        if by_suffix(os.path.splitext(below)[1]) is None or any(map(matches, self.policy.exclude)):
            return False
        return not self.policy.include or any(map(matches, self.policy.include))

    def _listed(self, files_from: str) -> Iterator[Found]:
        """Yield what a list of files names, each at its path below --relative-to."""
        base = os.path.join(place_of(self.policy.relative_to or os.curdir).absolute(), "")
        output = os.path.join(self.output.absolute(), "")
        # As in a walk, OUTPUT's folder is left out only where it lies below the inputs.
        prunes = output.startswith(base) and output != base
        for path in dict.fromkeys(_read_list(files_from, self.policy.null)):
            # In a list a dash is the name of a file.
            source = place_of(os.path.join(os.curdir, path) if path == DASH else path)
            full = source.absolute()
            if prunes and full.startswith(output):
                continue
            if full.startswith(base):
                yield Found(source, full.removeprefix(base), source.look())
            else:
                self.outside.names.append(path)


def _read_list(files_from: str, null: bool) -> Iterator[str]:
    """Yield the paths that a list holds, byte for byte.

    Raises:
        PoolError: it can't be read.
    """
    try:
        with place_of(files_from).open() as stream:
            content = stream.read()
    except PoolError as refusal:
        raise PoolError(f"--files-from {files_from}: {refusal.message}", refusal.remedy) from None
    for line in content.split(b"\0" if null else b"\n"):
        if line:
            yield os.fsdecode(line)


def _is_name(stem: str, suffix: str) -> bool:
    """Return whether text can be the name of a file."""
    is_part = stem not in ("", os.curdir, os.pardir) and os.sep not in stem and "\0" not in stem
    return is_part and len(os.fsencode(f"{stem}{suffix}")) <= NAME_BYTES
