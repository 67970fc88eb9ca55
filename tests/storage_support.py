"""Storages under test: one in memory, and for each a place whose bytes the tests can reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from poolcli.errors import PoolError
from poolcli.storage import LOCAL, STREAMS, Source, Target
from poolcli.storage.contract import (
    CheckStart,
    Entry,
    Identity,
    Output,
    Status,
    Storage,
    WriteOptions,
)


class MemoryStorage(Storage):
    """Files by their paths; whatever precedes a slash in one of them is a folder."""

    def __init__(self, *paths: str) -> None:
        self.files = dict.fromkeys(paths, b"")
        self.folds = False

    def open(self, path: str, check_start: CheckStart | None = None) -> BinaryIO:  # noqa: ARG002
        if path not in self.files:
            raise PoolError("there is no such object", "check its name")
        return BytesIO(self.files[path])

    def look(self, path: str) -> Status:
        identity = ("memory", path.rstrip("/"))
        if path in self.files:
            return Status("file", len(self.files[path]), identity)
        if any(one.startswith(f"{path.rstrip('/')}/") for one in self.files):
            return Status("folder", identity=identity)
        return Status("missing", problem="there is no such object")

    def existing(self, path: str, below: str = "") -> Status:  # noqa: ARG002
        return self.look(path)

    def walk(self, folder: str, without: Identity | None = None) -> Iterator[Entry]:
        prefix = f"{folder.rstrip('/')}/"
        inside = (one.removeprefix(prefix) for one in self.files if one.startswith(prefix))
        for name in sorted({one.partition("/")[0] for one in inside}):
            status = self.look(prefix + name)
            if status.identity != without:
                yield Entry(name, prefix + name, status.kind, status)

    def folds_names(self, folder: str) -> bool:  # noqa: ARG002
        return self.folds

    def create(self, path: str, options: WriteOptions) -> Output:
        return MemoryOutput(self.files, path, options)


class MemoryOutput(Output):
    def __init__(self, files: dict[str, bytes], path: str, options: WriteOptions) -> None:
        super().__init__()
        self.files, self.path, self.options = files, path, options

    def _store(self, content: bytes) -> None:
        same = self.options.again and self.files.get(self.path) == content
        if self.path in self.files and not (self.options.overwrite or same):
            raise PoolError("it exists already", "use --overwrite to replace it")
        self.files[self.path] = content


class Place(NamedTuple):
    """A path in a storage, and a way to its bytes that isn't the storage's own."""

    storage: Storage
    target: Target
    source: Source
    put: Callable[[bytes], object]
    stored: Callable[[], bytes]


def place_of_files(folder: Path) -> Place:
    """A free name in an empty folder; all of its files count, so that temporaries would show."""
    path = folder / "out.png"
    return Place(
        LOCAL,
        Target.at(str(path)),
        Source(str(path)),
        path.write_bytes,
        lambda: b"".join(one.read_bytes() for one in folder.iterdir()),
    )


def place_in_memory(memory: MemoryStorage) -> Place:
    path = "memory://folder/out.png"
    return Place(
        memory,
        Target.at(path),
        Source(path),
        partial(memory.files.__setitem__, path),
        lambda: b"".join(memory.files.values()),
    )


@contextmanager
def pipe() -> Iterator[Place]:
    """Both ends of a pipe, named by their descriptors."""
    reads, writes = os.pipe()
    os.set_blocking(reads, False)

    def put(content: bytes) -> None:
        os.write(writes, content)
        os.close(writes)

    def stored() -> bytes:
        with suppress(BlockingIOError):
            return os.read(reads, 1 << 16)
        return b""

    target, source = Target.at(f"/dev/fd/{writes}"), Source(f"/dev/fd/{reads}")
    yield Place(STREAMS, target, source, put, stored)
    for end in (reads, writes):
        with suppress(OSError):
            os.close(end)
