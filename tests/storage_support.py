"""Storages under test: one in memory, and for each a place whose bytes the tests can reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple

import pytest

from poolcli.errors import PoolError
from poolcli.storage import (
    SCHEMES,
    BeforeName,
    CheckStart,
    ExistsError,
    Output,
    Place,
    Progress,
    Status,
    ignore,
    objects,
    place_of,
    remote,
)
from poolcli.storage.local import LocalFile
from poolcli.storage.local_output import LocalOutput
from tests.support.object_store import Bucket
from tests.support.tools import extra


class Memory(Place):
    """Files by their paths; whatever precedes a slash in one of them is a folder."""

    __slots__ = ()
    files: ClassVar[dict[str, bytes]] = {}
    folds: ClassVar[bool] = False

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:  # noqa: ARG002
        if self.path not in self.files:
            raise PoolError("there is no such object", "check its name")
        return BytesIO(self.files[self.path])

    def status(self) -> Status:
        identity = ("memory", self.path.rstrip("/"))
        if self.path in self.files:
            return Status("file", len(self.files[self.path]), identity)
        if any(one.startswith(f"{self.path.rstrip('/')}/") for one in self.files):
            return Status("folder", identity=identity)
        return Status("missing", problem="there is no such object")

    def existing(self) -> Status:
        return self.status()

    def walk(
        self,
        *,
        deep: bool = False,  # noqa: ARG002
        progress: Progress = ignore,  # noqa: ARG002
    ) -> Iterator[tuple[str, Status | None]]:
        prefix = f"{self.path.rstrip('/')}/"
        inside = (one.removeprefix(prefix) for one in self.files if one.startswith(prefix))
        for name in sorted({one.partition("/")[0] for one in inside}):
            yield name, Memory(prefix + name).status()

    def folds_names(self) -> bool:
        return self.folds

    def create(
        self,
        *,
        overwrite: bool = False,
        like: Place | None = None,  # noqa: ARG002
        retry: bool = False,
    ) -> Output:
        return MemoryOutput(self, overwrite, retry)


class MemoryOutput(Output):
    def __init__(self, place: Memory, overwrite: bool, retry: bool) -> None:
        super().__init__()
        self.place, self.overwrite, self.retry = place, overwrite, retry
        self.is_new = False

    def withdraw(self) -> None:
        if self.is_new:
            del self.place.files[self.place.path]

    def commit(self, before: BeforeName = None) -> int:
        if before is not None:
            before()
        path, files, content = self.place.path, self.place.files, self.getvalue()
        same = self.retry and files.get(path) == content
        if path in files and not (self.overwrite or same):
            raise ExistsError("it exists already", "use --overwrite to replace it")
        self.is_new = path not in files
        files[path] = content
        return len(content)


class LargeFile(LocalFile):
    """A file whose outputs are too large to be kept in memory."""

    __slots__ = ()

    def create(
        self, *, overwrite: bool = False, like: Place | None = None, retry: bool = False
    ) -> Output:
        return LocalOutput(self, overwrite, like, retry, most_in_memory=3)


def use_memory(patch: pytest.MonkeyPatch, *paths: str, folds: bool = False) -> dict[str, bytes]:
    """Let URLs of memory lead to files in memory, at first empty ones; return them by path."""
    files = dict.fromkeys(paths, b"")
    patch.setitem(SCHEMES, "memory", Memory)
    patch.setattr(Memory, "files", files)
    patch.setattr(Memory, "folds", folds)
    return files


class PlaceUnderTest(NamedTuple):
    """A place, and a way to its bytes that isn't its own."""

    target: Place
    source: Place
    put: Callable[[bytes], object]
    stored: Callable[[], bytes]


def file_in(folder: Path) -> PlaceUnderTest:
    """A free name in an empty folder; all of its files count, so that temporaries would show."""
    path = folder / "out.png"
    return PlaceUnderTest(
        place_of(str(path)),
        place_of(str(path)),
        path.write_bytes,
        lambda: b"".join(one.read_bytes() for one in folder.iterdir()),
    )


def large_file_in(folder: Path) -> PlaceUnderTest:
    """A free name of an output that is written into its hidden file at once."""
    path = folder / "out.png"
    place = LargeFile(str(path))
    return PlaceUnderTest(
        place, place, path.write_bytes, lambda: path.read_bytes() if path.exists() else b""
    )


def place_in_memory(files: dict[str, bytes]) -> PlaceUnderTest:
    place = place_of("memory://folder/out.png")
    return PlaceUnderTest(
        place, place, partial(files.__setitem__, place.path), lambda: b"".join(files.values())
    )


def object_in_memory(patch: pytest.MonkeyPatch) -> PlaceUnderTest:
    """An object in obstore's own storage in memory, and obstore itself to reach its bytes."""
    obstore = extra("obstore", "remote")
    extra("obstore.store", "remote")
    patch.setitem(SCHEMES, "memory", remote.remote_place)
    store = obstore.store.MemoryStore()
    patch.setattr(objects, "store_of", lambda _scheme, _bucket: store)

    def stored() -> bytes:
        keys = [one["path"] for page in obstore.list(store) for one in page]
        return b"".join(bytes(obstore.get(store, key).bytes()) for key in keys)

    place = place_of("memory://bucket/folder/out.png")
    return PlaceUnderTest(place, place, partial(obstore.put, store, "folder/out.png"), stored)


def object_in_bucket(bucket: Bucket) -> PlaceUnderTest:
    place = place_of(f"{bucket.url}/folder/out.png")
    put = partial(bucket.put, "folder/out.png")
    return PlaceUnderTest(place, place, put, lambda: b"".join(bucket.objects().values()))


@contextmanager
def pipe() -> Iterator[PlaceUnderTest]:
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

    yield PlaceUnderTest(place_of(f"/dev/fd/{writes}"), place_of(f"/dev/fd/{reads}"), put, stored)
    for end in (reads, writes):
        with suppress(OSError):
            os.close(end)
