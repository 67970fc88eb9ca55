"""Read and write local files. An output gets its name only when it is complete."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import BufferedReader, BytesIO, FileIO
from operator import attrgetter
from pickle import PickleBuffer
from typing import Any, BinaryIO, Final

from poolcli.errors import PoolError
from poolcli.storage import (
    BeforeName,
    CheckStart,
    Kind,
    Output,
    Place,
    Progress,
    Status,
    ignore,
)
from poolcli.storage.folders import is_full, nearest_folder
from poolcli.storage.hidden import (
    HAS_UNNAMED,
    TEMPORARY,
    HiddenFile,
    UnnamedFile,
    locked,
    remove_stale,
    remove_stale_once,
)

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

CHECK_NAME: Final = "check the name and its permissions"
TRIES: Final = 5
"""The number of times that `commit` tries to write a file. Another process may remove its new
folder or its hidden file meanwhile."""

MOST_IN_MEMORY: Final = 1 << 25
"""Bytes of an output up to which it is kept in memory until it is complete."""

READ_AT_ONCE: Final = 1 << 16
"""The most bytes of a file that is read at once. Readers ask for parts of a file in many steps,
which took a tenth of the time of tiny pictures, most of it in system calls."""

MOST_COMPARED: Final = 1 << 20
"""The most bytes of two files that are compared at once."""

PERMISSIONS: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
"""The mode bits that are copied: without setuid and setgid, which would let an output run with the
rights of another user."""

KINDS: Final[dict[int, Kind]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
}


class LocalFile(Place):
    """A local file or folder, or a FIFO that is read."""

    __slots__ = ()

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Open a file; read a FIFO or device to its end."""
        try:
            file = FileIO(self.path)
            if file.seekable():
                return _from_memory(file) or BufferedReader(file)
            from poolcli.storage.streams import open_pipe

            with file:
                return open_pipe(file.fileno(), check_start)
        except OSError as fault:
            raise unreadable(fault) from None

    def status(self) -> Status:
        """Return the status of a path; links are followed."""
        return status_of(self.path)

    def existing(self) -> Status:
        """Return the status of a name; a broken link exists too."""
        status = status_of(self.path, follow_links=False)
        return self.status()._replace(kind="link") if status.kind == "link" else status

    def walk(
        self,
        *,
        deep: bool = False,  # noqa: ARG002
        progress: Progress = ignore,  # noqa: ARG002
    ) -> Iterator[tuple[str, Status | None]]:
        """Yield the names in a folder, sorted, and the status of folders."""
        try:
            with os.scandir(self.path) as entries:
                found = sorted(entries, key=attrgetter("name"))
        except OSError as fault:
            reason = f"the folder can't be read: {fault.strerror}"
            raise PoolError(reason, CHECK_NAME) from None
        # The listing tells which entries are folders, so that files need no `os.stat` here.
        for entry in found:
            is_folder = entry.is_dir(follow_symlinks=False)
            yield entry.name, status_of(entry.path) if is_folder else None

    def absolute(self) -> str:
        """Return the absolute path."""
        return os.path.abspath(self.path)

    def folds_names(self) -> bool:
        """Return whether the nearest existing folder is also found with its case swapped."""
        path = self.absolute()
        while os.path.dirname(path) != path:
            parent, name = os.path.split(path)
            swapped = os.path.join(parent, name.swapcase())
            if swapped != path and os.path.isdir(path):
                return os.path.isdir(swapped) and os.path.samefile(path, swapped)
            path = parent
        return False

    def check_writable(self) -> None:
        """Refuse a name in a folder that doesn't exist."""
        folder = os.path.dirname(self.path) or os.curdir
        if not os.path.isdir(folder):
            import shlex  # few runs need it, and each import delays the start

            nearest_folder(os.path.abspath(folder))
            raise PoolError(
                f"{self.path}: there is no folder {folder}",
                f"make it: mkdir -p {shlex.quote(folder)}",
            )

    def check_folder(self) -> None:
        """Refuse a folder that can't be written to; one that is missing is made in its parent."""
        path = self.absolute()
        folder = path if os.path.isdir(path) else nearest_folder(os.path.dirname(path))
        by_owner = os.access in os.supports_effective_ids
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=by_owner):
            raise PoolError(
                f"{self.path}: no file can be made in the folder {folder}",
                "choose another output folder, or change its permissions",
            )

    def check_room(self) -> None:
        """Write a block into a file without a name, in the nearest folder that exists."""
        folder = nearest_folder(os.path.dirname(self.absolute()))
        if is_full(folder):
            raise PoolError(
                f"{self.path}: no space is left in the folder {folder}",
                "choose another output folder, or make room",
            )

    def create(
        self, *, overwrite: bool = False, like: Place | None = None, retry: bool = False
    ) -> Output:
        """Begin an output that gets its name when it is complete."""
        return LocalOutput(self, overwrite, like, retry)

    def keep(self) -> BinaryIO | None:
        """Lock a file that is named like a hidden file of a run, as its run would."""
        path = os.path.realpath(self.path) if os.path.islink(self.path) else self.path
        return locked(path) if TEMPORARY.fullmatch(os.path.basename(path)) else None

    def sync(self) -> None:
        """Write the system's whole cache to its disks."""
        # One call for a batch of thousands of files is much faster than `fsync` for each.
        if hasattr(os, "sync"):
            os.sync()

    def remove_stale(self, *, once: bool = False) -> None:
        """Remove the hidden files of killed runs from the folder of this file."""
        remove = remove_stale_once if once else remove_stale
        remove(os.path.dirname(self.path) or os.curdir)


class LocalOutput(Output):
    """An output that is written under a hidden name, and renamed when it is complete.

    It is kept in memory while it is small, so that most outputs are written at once. A larger one
    goes on in the hidden file, which every write checks.
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
        """Copy attributes to the hidden file, sync it and rename it, in that order."""
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


def _from_memory(file: FileIO) -> BytesIO | None:
    """Return the content of a small file, and close it; return None for a larger one."""
    content = file.read(READ_AT_ONCE + 1)
    if len(content) > READ_AT_ONCE:
        file.seek(0)
        return None
    file.close()
    return BytesIO(content)


def status_of(where: str | int, *, follow_links: bool = True) -> Status:
    """Return the status of a path or a descriptor."""
    try:
        found = os.stat(where, follow_symlinks=follow_links)
    except (OSError, ValueError) as fault:
        return _missing(str(fault.strerror if isinstance(fault, OSError) else fault))
    kind, identity = KINDS.get(stat.S_IFMT(found.st_mode), "stream"), (found.st_dev, found.st_ino)
    if kind == "file":
        return Status(kind, found.st_size, identity, "", found, found.st_mtime_ns)
    # Pipes and devices get no identity: one may be both input and output of a run.
    return Status(kind, identity=identity if kind == "folder" else None)


@cache
def _missing(reason: str) -> Status:
    """Return the status of a path that can't be read: one object for many missing files."""
    return Status("missing", problem=f"it can't be read: {reason}")


def access_mode(descriptor: int) -> int | None:
    """Return for what a descriptor was opened, such as `os.O_RDONLY`; None if that is unknown."""
    if fcntl is not None:
        with suppress(OSError):  # it is closed
            return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    return None


def unreadable(fault: OSError | ValueError) -> PoolError:
    """Return the error for a path that can't be read."""
    if isinstance(fault, IsADirectoryError):
        return PoolError("it is a folder", "name a picture")
    reason = fault.strerror if isinstance(fault, OSError) else fault
    return PoolError(f"it can't be read: {reason}", CHECK_NAME)


def write_all(descriptor: int, data: bytes | memoryview) -> int:
    """Write all bytes to a descriptor and return their number; `os.write` may write fewer."""
    rest = PickleBuffer(data).raw()  # of any array, unlike `memoryview.cast`
    count = len(rest)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # a full pipe that doesn't block: wait until it has room
            select.select([], [descriptor], [])
    return count


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
