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
from typing import BinaryIO, Final

from poolcli.errors import PoolError
from poolcli.storage import (
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
    TEMPORARY,
    locked,
    remove_stale,
    remove_stale_once,
)

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

CHECK_NAME: Final = "check the name and its permissions"
READ_AT_ONCE: Final = 1 << 16
"""The most bytes of a file that is read at once. Readers ask for parts of a file in many steps,
which took a tenth of the time of tiny pictures, most of it in system calls."""

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
        """Refuse a name with NUL, and a folder that can't be written to.

        A folder that is missing is made in its parent.
        """
        if "\0" in self.path:  # a shell can't give it, but a Python program, or %00 in a URL
            raise PoolError(f"{self.path}: no name has a NUL character", "choose another name")
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
        from poolcli.storage.local_output import LocalOutput

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


def _from_memory(file: FileIO) -> BytesIO | None:
    """Return the content of a small file, and close it; return None for a larger one."""
    content = b""
    # One call may return only a part of a file: some network file systems do that.
    while part := file.read(READ_AT_ONCE + 1 - len(content)):
        content += part
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
