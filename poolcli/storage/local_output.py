"""Write local files, which get their names only when they are complete."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from poolcli.storage import BeforeName, Output, Place
from poolcli.storage.hidden import HAS_UNNAMED, HiddenFile, UnnamedFile, remove_stale_once
from poolcli.storage.local import LocalFile, status_of, write_all

try:
    import fcntl
except ImportError:  # Windows can't change owners and modes of open files
    fcntl = None  # type: ignore[assignment]

TRIES: Final = 5
"""The number of times that `commit` tries to write a file. Another process may remove its new
folder or its hidden file meanwhile."""

MOST_IN_MEMORY: Final = 1 << 25
"""Bytes of an output up to which it is kept in memory until it is complete."""

MOST_COMPARED: Final = 1 << 20
"""The most bytes of two files that are compared at once."""

PERMISSIONS: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
"""The mode bits that are copied: without setuid and setgid, which would let an output run with the
rights of another user."""


class LocalOutput(Output):
    """An output that is written into a `HiddenFile` or an `UnnamedFile`, and named when complete.

    It is kept in memory while it is small, so that most outputs are written at once. A larger one
    goes on in a hidden file, and every write checks that all bytes are there.
    """

    def __init__(
        self,
        place: LocalFile,
        overwrite: bool,
        like: Place | None,
        retry: bool,
        most_in_memory: int = MOST_IN_MEMORY,
    ) -> None:
        """Store the arguments of `LocalFile.create`, and the most bytes that are kept in memory."""
        super().__init__()
        self.path, self.in_folder = place
        self.overwrite, self.retry = overwrite, retry
        self._is_new = False
        self.like = like.status().attributes if like else None
        self.folder = os.path.dirname(self.path) or os.curdir
        self._most_in_memory = most_in_memory
        self._hidden: HiddenFile | UnnamedFile | None = None
        self._made_folders: list[str] = []

    def write(self, octets: Any, /) -> int:
        """Write all bytes, in memory or into the hidden file."""
        count = memoryview(octets).nbytes
        if self._hidden is None:
            if self.tell() + count <= self._most_in_memory:
                return super().write(octets)
            self._move_to_file()
        assert self._hidden is not None  # noqa: S101  # it was opened above
        return write_all(self._hidden.descriptor, octets)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Change the position and return it."""
        if self._hidden is None:
            return super().seek(offset, whence)
        return os.lseek(self._hidden.descriptor, offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return super().tell() if self._hidden is None else self.seek(0, os.SEEK_CUR)

    def read(self, count: int | None = -1, /) -> bytes:
        """Return some bytes, or all to the end."""
        if self._hidden is None:
            return super().read(count)
        with open(self._hidden.descriptor, "rb", buffering=0, closefd=False) as file:
            return file.read(-1 if count is None else count) or b""

    def truncate(self, size: int | None = None, /) -> int:
        """Change the size, by default to the position; return it."""
        if self._hidden is None:
            return super().truncate(size)
        size = self.tell() if size is None else size
        os.ftruncate(self._hidden.descriptor, size)
        return size

    def withdraw(self) -> None:
        """Remove the file, if it replaced none."""
        if self._is_new:
            with suppress(OSError):  # somebody has removed it already
                os.unlink(self.path)

    def commit(self, before: BeforeName = None) -> int:
        """Write the file; after a failure remove its hidden file and the folders made for it."""
        if self._hidden is not None:
            size = os.fstat(self._hidden.descriptor).st_size
            if not (self.retry and _are_equal(self._hidden.descriptor, self.path)):
                self._name(before)
            elif before is not None:
                before()
            return size
        content = self.getvalue()  # this makes no copy: BytesIO shares its buffer
        # An output that may be replaced gets a new modification time, which --update asks for.
        if self.retry and not self.overwrite and _holds(self.path, content):
            if before is not None:
                before()
            return len(content)
        may_be_unnamed = HAS_UNNAMED and self.in_folder and not self.overwrite
        for tries_left in reversed(range(TRIES)):
            try:
                write_all(self._open_hidden(may_be_unnamed), content)
                self._name(before)
                break
            except BaseException as fault:
                # The system may be unable to name it, for instance without /proc.
                was_unnamed = isinstance(self._hidden, UnnamedFile) and isinstance(fault, OSError)
                may_be_unnamed = False
                self._discard()
                # Another worker that failed may have removed a folder that this one needs.
                is_passing = isinstance(fault, FileNotFoundError | FileExistsError) or was_unnamed
                if not (tries_left and is_passing):
                    raise
        return len(content)

    def close(self) -> None:
        """Remove the hidden file if it was not renamed, and the folders made for it."""
        self._discard()
        super().close()

    def _move_to_file(self) -> None:
        """Go on in the hidden file, at the same position."""
        content, position = self.getvalue(), self.tell()
        write_all(self._open_hidden(), content)
        super().seek(0)
        super().truncate(0)
        self.seek(position)

    def _open_hidden(self, may_be_unnamed: bool = False) -> int:
        """Make the hidden file, or one without a name, and its folders; return its descriptor."""
        missing = list(_missing_folders(self.folder)) if self.in_folder else []
        self._made_folders = missing
        for folder in reversed(missing):
            with suppress(FileExistsError):  # another worker has made it meanwhile
                os.mkdir(folder)
        remove_stale_once(self.folder)
        if may_be_unnamed:
            with suppress(OSError):  # this file system has none: network file systems, for instance
                self._hidden = UnnamedFile(self.folder)
                return self._hidden.descriptor
        # Nobody else may open the file before it has the mode bits of its model. Without a model
        # it gets those of any new file: `mkstemp` would make it unreadable for others.
        self._hidden = HiddenFile(self.folder, 0o600 if self._model() else 0o666)
        return self._hidden.descriptor

    def _model(self) -> os.stat_result | None:
        """Return the status of the file whose attributes the output gets, or None."""
        return self.like or (status_of(self.path).attributes if self.overwrite else None)

    def _name(self, before: BeforeName) -> None:
        """Copy attributes to the file, sync it and give it its name, in that order."""
        hidden, model = self._hidden, self._model()
        assert hidden is not None  # noqa: S101  # the caller has opened it
        if model and fcntl is not None:
            _copy_attributes(hidden.descriptor, model, owner=self.like is None)
        if self.in_folder:
            # Some network file systems report only on close that they are full, so a duplicate is
            # closed before the file is renamed.
            os.close(os.dup(hidden.descriptor))
        else:
            os.fsync(hidden.descriptor)
        if before is not None:
            before()
        hidden.rename(self.path, overwrite=self.overwrite)
        self._is_new = not self.overwrite
        self._made_folders = []
        self._discard()
        if not self.in_folder:
            _sync_folder(self.folder)

    def _discard(self) -> None:
        """Remove the hidden file, unless it was renamed, and the folders made for it."""
        hidden, self._hidden = self._hidden, None
        if hidden is not None:
            hidden.remove()
        for folder in self._made_folders:
            with suppress(OSError):  # it isn't empty: another worker has written there
                os.rmdir(folder)
        self._made_folders = []


def _missing_folders(folder: str) -> Iterator[str]:
    """Yield the folder and its parents that don't exist, the innermost first."""
    while folder and not os.path.isdir(folder):
        yield folder
        folder = os.path.dirname(folder)


def _copy_attributes(descriptor: int, model: os.stat_result, *, owner: bool) -> None:
    """Copy the mode bits of another file, and either its owner or its times.

    A file that replaces another keeps the owner of that; ``--preserve`` copies the times of the
    input.
    """
    if owner:
        with suppress(OSError):  # only root may change the owner
            os.fchown(descriptor, model.st_uid, model.st_gid)
    else:
        os.utime(descriptor, ns=(model.st_atime_ns, model.st_mtime_ns))
    os.fchmod(descriptor, model.st_mode & PERMISSIONS)


def _holds(path: str, content: bytes) -> bool:
    """Return whether a file exists and has exactly these bytes."""
    with suppress(OSError), open(path, "rb") as stream:
        return stream.read() == content
    return False


def _are_equal(descriptor: int, path: str) -> bool:
    """Return whether a file exists and has exactly the bytes of an open one."""
    with suppress(OSError), open(path, "rb", 0) as other:
        if os.fstat(descriptor).st_size != os.fstat(other.fileno()).st_size:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        while part := os.read(descriptor, MOST_COMPARED):
            if other.read(len(part)) != part:
                return False
        return True
    return False


def _sync_folder(folder: str) -> None:
    """Write the entries of a folder to the disk, so that a new name survives a power loss."""
    with suppress(OSError):  # not all file systems support it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
