"""Plan many inputs into a folder: find them, name their outputs, check these against each other."""

from __future__ import annotations

import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Hashable, Iterator
from fnmatch import fnmatchcase
from itertools import chain, groupby
from typing import Final, NamedTuple

from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import INDICES_SUFFIX, by_name, by_suffix
from poolcli.plan import WITHOUT_INDICES, Job, Policy, Refusal
from poolcli.plan.existing import existing_outputs, indices_folder, kept, skips
from poolcli.plan.left_out import NO_PICTURE, LeftOut, cure_of
from poolcli.storage import DASH, Place, Progress, Status, ignore, place_at, place_of

OUTPUT_FOLDER: Final = "in the output folder"
NO_FILES: Final = {
    "folder": "a link to a folder",
    "device": "a device",
    "stream": "a FIFO or socket",
}
NO_SUFFIX: Final = "it has no suffix, which would tell the format to write"
NAME_BYTES: Final = 255
"""The longest file name that common file systems allow."""


class Found(NamedTuple):
    """An input that was named, listed or found in a folder.

    Attributes:
        source: where it is read.
        below: the path of its output below the output folder, still with the input's name.
        status: the status of the source.
    """

    source: Place
    below: str
    status: Status


class Batch:
    """The plan of many inputs into a folder, while it is being made.

    Attributes:
        output: the output folder.
        policy: which inputs are taken, and how outputs are named and checked.
        format: the format of ``--format``, or None.
        output_id: the identity of the output folder; None if it doesn't exist yet.
        folds: whether names that differ only in case are one file there.
        progress: called if the listing of a folder takes long.
        modified: when each input was last changed, by its path; only for ``--update``.
        indices: the folder of the indices, or None.
    """

    def __init__(
        self, output: str, policy: Policy, left_out: LeftOut, progress: Progress = ignore
    ) -> None:
        """Read the status of the output folder, and begin a refusal for each reason."""
        self.output = place_of(output)
        self.policy = policy
        self.format = by_name(policy.format) if policy.format else None
        self.output_id = self.output.status().identity
        self.folds = self.output.folds_names()
        self.outside = Refusal("listed outside --relative-to", "give --relative-to DIR", [])
        self.nameless = Refusal("can't name an output", "choose another --name", [])
        self.inputs = Refusal("would overwrite an input", "choose another output folder", [])
        self.clashes = Refusal("inputs with one output", "tell them apart with --name", [])
        self.without_indices = WITHOUT_INDICES._replace(names=[])
        self.exists = Refusal("exists already", policy.existing_remedy, [])
        self.indices = None if policy.indices is None else indices_folder(policy.indices)
        self.left_out = left_out
        self.progress = progress
        self.modified: dict[str, int | None] = {}
        self.tells_apart = policy.format is not None or policy.output_stem is not None

    def jobs(self, inputs: list[str]) -> tuple[list[Job], list[Refusal]]:
        """Find all inputs and name their outputs; return the jobs and the reasons to refuse them.

        Args:
            inputs: the INPUT paths of the command line.
        """
        named = chain.from_iterable(map(self._named, inputs))
        files_from = self.policy.files_from
        sources = named if files_from is None else self._listed(files_from)
        jobs: list[Job] = []
        by_output: dict[str, Job] = {}
        identities = set()
        levels: tuple[Window | None, ...] = self.policy.levels or (None,)
        pairs = ((one, level) for one in sources for level in levels)
        made = ((found, self._job(found, window)) for found, window in pairs)
        is_same = any(map(self._is_output, inputs)) if self.tells_apart else False
        for found, job in self._without_outputs([*made]) if is_same else made:
            jobs.append(job)
            if job.refusal:
                continue
            if self.policy.update:
                self.modified[job.source.path] = found.status.modified
            identity = found.status.identity
            places = filter(None, (job.target, job.indices))
            owners = [by_output.setdefault(self._key(place.path), job) for place in places]
            if others := [owner for owner in owners if owner is not job]:
                other = others[0]
                is_twice = identity and identity == other.source.status().identity
                if is_twice and job.window == other.window:
                    jobs.pop()  # the same file is named twice, which does no harm
                else:
                    self.clashes.names.append(f"{other.source.path} and {job.source.path}")
            identities.add(identity)
        if self.output_id is not None or self.indices is not None:
            lookups = [
                None if folder is None else folder.lookup(self.progress)
                for folder in (self.output, self.indices)
            ]
            jobs = [self._against(existing_outputs(job, *lookups), job, identities) for job in jobs]
        refusals = [self.outside, self.nameless, self.inputs, self.clashes, self.exists]
        refusals.append(self.without_indices)
        if self.policy.levels:
            jobs = [_together([*group]) for _, group in groupby(jobs, lambda job: job.source)]
        return jobs, [refusal for refusal in refusals if refusal.names]

    def _is_output(self, path: str) -> bool:
        """Return whether an INPUT is the output folder."""
        return self.output_id is not None and place_of(path).status().identity == self.output_id

    def _without_outputs(self, made: list[tuple[Found, Job]]) -> list[tuple[Found, Job]]:
        """Leave out files that are the output of another one: those of an earlier run."""
        sources: dict[str, set[str]] = {}
        for _, job in made:
            sources.setdefault(self._key(job.target.path), set()).add(job.source.path)
        kept = []
        for found, job in made:
            own = self._key(os.path.join(self.output.path, found.below))
            if sources.get(own, set()) - {job.source.path}:
                self.left_out.outputs.append(job.source.path)
            else:
                kept.append((found, job))
        return kept

    def _job(self, found: Found, window: Window | None) -> Job:
        """Return the job of one input and one level, not yet compared with existing files."""
        source, below, status = found
        folder, base = os.path.split(below)
        stem, suffix = os.path.splitext(base)
        fmt = self.format or by_suffix(suffix)
        if status.kind == "device":
            place_at(source.path).check_readable()
        refusal = status.problem
        remedy = refusal and "check the name and its permissions"
        if status.kind == "folder":
            refusal, remedy = "it is a folder", "name the pictures in it"
        elif fmt is None and not refusal:
            refusal = f"the suffix {suffix} names no format" if suffix else NO_SUFFIX
            remedy = "give --format"
        elif fmt is not None and not refusal and not fmt.modes:
            refusal, remedy = fmt.refusal().args
        # A suffix of the right format keeps its spelling, such as .JPG or .jpeg.
        new_suffix = suffix if not fmt or suffix.lower() in fmt.suffixes else fmt.suffixes[0]
        if self.policy.output_stem is not None:
            stem = self.policy.output_stem(source.path, window)
        if not (refusal or _is_name(stem, new_suffix)):
            self.nameless.names.append(f"{source.path} ({stem}{new_suffix})")
        path = os.path.join(self.output.path, folder, f"{stem}{new_suffix}")
        # Outputs of a batch are files: an existing FIFO of that name is refused or replaced too.
        target = self.output._replace(path=path, in_folder=True)
        size = status.size or 0
        job = Job(source, target, fmt, size, refusal=refusal, remedy=remedy, window=window)
        if self.indices is None:
            return job
        path = os.path.join(self.indices.path, folder, f"{stem}{INDICES_SUFFIX}")
        return job._replace(indices=self.indices._replace(path=path, in_folder=True))

    def _key(self, path: str) -> str:
        """Return a key that is equal for two outputs if the storage takes them for one file."""
        if not self.folds:
            return path
        from unicodedata import normalize  # few runs need it, and each import delays the start

        return normalize("NFC", normalize("NFC", path).casefold())

    def _against(self, existing: dict[str, Status], job: Job, inputs: set[Hashable]) -> Job:
        """Skip or refuse a job whose output exists.

        An output that is an input of this run, perhaps under another name, is always refused. All
        inputs must be known for that, so this is the last check.

        Args:
            existing: what its outputs would replace, by their paths.
            job: the job.
            inputs: the identities of all inputs.
        """
        if job.refusal or not existing:
            return job
        found = ((path, status.identity) for path, status in existing.items())
        self.inputs.names.extend(path for path, one in found if one and one in inputs)
        if skips(job, self.policy, existing, self.modified.get(job.source.path)):
            return job._replace(skip=True)
        refusal = self.without_indices if self.policy.skip_existing else self.exists
        refusal.names.extend(kept(job, self.policy, existing))
        return job

    def _named(self, path: str) -> Iterator[Found]:
        """Yield the files of one INPUT of the command line."""
        if path == DASH:
            raise PoolError("- is one picture, not for a folder", "name an output file, or -")
        source = place_of(path)
        status = source.status()
        if status.kind != "folder":
            yield Found(source, source.name, status)
        elif status.identity == self.output_id and not self.tells_apart:
            raise PoolError(
                f"{path} is both input and output",
                "choose another output folder, or tell the outputs apart with --name or --format",
            )
        else:
            yield from self._walk(Found(source, "", status))

    def _walk(self, folder: Found) -> Iterator[Found]:
        """Yield the pictures of a folder and of the folders inside it, sorted by name."""
        # A recursive function would exceed Python's recursion limit in very deep trees.
        stack = [self._entries(folder)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif found.status.kind == "folder":
                stack.append(self._entries(found))
            else:
                yield found

    def _entries(self, folder: Found) -> Iterator[Found]:
        """Yield the pictures in a folder, and the folders in it that are to be searched."""
        try:
            listing = folder.source.walk(deep=self.policy.recursive, progress=self.progress)
            for name, listed in listing:
                below = os.path.join(folder.below, name)
                is_folder = listed is not None and listed.kind == "folder"
                source = folder.source._replace(path=os.path.join(folder.source.path, name))
                why = self._unwanted(below, is_folder=is_folder)
                if why and (why != NO_PICTURE or source.is_remote):
                    self.left_out.add(source.path, why)
                    continue
                status = listed or source.status()
                # The outputs of an earlier run are no inputs.
                if is_folder and status.identity == self.output_id:
                    self.left_out.add(source.path, OUTPUT_FOLDER)
                # Links to folders are not followed: they could lead in a circle. A broken link is
                # yielded, so that it fails by name instead of being left out silently.
                elif not is_folder and status.kind in NO_FILES:
                    self.left_out.add(source.path, NO_FILES[status.kind])
                elif why:
                    self.left_out.add(source.path, why)
                else:
                    yield Found(source, below, status)
        except PoolError as fault:
            status = Status("missing", problem=fault.message)
            yield folder._replace(below=folder.below or os.curdir, status=status)

    def _unwanted(self, below: str, *, is_folder: bool) -> str:
        """Return why a file or folder is left out because of its name; empty if it isn't.

        Case is ignored in globs, as it is in suffixes: cameras write IMG_0001.JPG.
        """
        path, name = below.lower(), os.path.basename(below).lower()

        def matches(glob: str) -> bool:
            return fnmatchcase(path if "/" in glob else name, glob.lower())

        if name.startswith("."):
            return "a hidden name"
        if is_folder:
            return "" if self.policy.recursive else "a folder in a folder"
        row = by_suffix(os.path.splitext(name)[1])
        # Without another format to write, a format that can only be read has no outputs.
        if row is None or (not row.modes and (self.format is None or cure_of(row.name, True))):
            return NO_PICTURE
        if any(map(matches, self.policy.exclude)):
            return "excluded"
        is_included = not self.policy.include or any(map(matches, self.policy.include))
        return "" if is_included else "not included"

    def _listed(self, files_from: str) -> Iterator[Found]:
        """Yield the files in a list, each with its path relative to ``--relative-to``."""
        base = os.path.join(place_of(self.policy.relative_to or os.curdir).absolute(), "")
        output = os.path.join(self.output.absolute(), "")
        # The outputs of an earlier run are no inputs: `find` may have listed them too.
        prunes = output.startswith(base) and output != base
        for path in dict.fromkeys(_read_list(files_from, self.policy.null)):
            # In a list "-" is a file of that name, not standard input.
            source = place_of(os.path.join(os.curdir, path) if path == DASH else path)
            full = source.absolute()
            if prunes and full.startswith(output):
                self.left_out.add(path, OUTPUT_FOLDER)
                continue
            if full.startswith(base):
                # Only `--update` needs the time of each.
                status = source.status() if self.policy.update else source.listed()
                yield Found(source, full.removeprefix(base), status)
            else:
                self.outside.names.append(path)


def _read_list(files_from: str, null: bool) -> Iterator[str]:
    """Yield the paths in a list. They need not be valid UTF-8.

    Raises:
        PoolError: it can't be read.
    """
    place = place_of(files_from)
    if files_from != DASH and place.status().kind == "folder":
        raise PoolError(f"--files-from {files_from} is a folder", "give it as INPUT")
    try:
        with place.open() as stream:
            content = stream.read()
    except PoolError as refusal:
        raise PoolError(f"--files-from {files_from}: {refusal.message}", refusal.remedy) from None
    for line in content.split(b"\0") if null else _lines(content):
        if line:
            yield os.fsdecode(line)


def _lines(content: bytes) -> list[bytes]:
    """Return the lines of a list, also of one that an editor or a shell of Windows has written.

    A byte order mark is left out. A carriage return is part of a name, unless all lines end in one.
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        content = content.decode("utf-16", "replace").encode()
    lines = content.removeprefix(BOM_UTF8).split(b"\n")
    if all(line.endswith(b"\r") for line in lines[:-1]):
        return [line.removesuffix(b"\r") for line in lines]
    return lines


def _together(levels: list[Job]) -> Job:
    """Return the job of all levels of one source."""
    first, *others = levels
    return first._replace(levels=tuple(others))


def _is_name(stem: str, suffix: str) -> bool:
    """Return whether a stem and a suffix make a valid file name, not a path."""
    is_valid = stem not in ("", os.curdir, os.pardir) and os.sep not in stem and "\0" not in stem
    return is_valid and len(os.fsencode(f"{stem}{suffix}")) <= NAME_BYTES
