"""Files on this machine, written whole or not at all."""

from __future__ import annotations

import os
import re
import select
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from operator import attrgetter
from typing import BinaryIO, Final

from poolcli.errors import PoolError
from poolcli.storage import CheckStart, Kind, Output, Place, Status

try:
    import fcntl
except ImportError:  # Windows has no such locks: stale temporaries stay there
    fcntl = None  # type: ignore[assignment]

CHECK_NAME: Final = "check the name and its permissions"
TEMPORARY: Final = re.compile(r"\.poolcli-[0-9a-f]{8}\.tmp")
TRIES: Final = 5
"""How often a file is written whose folder, or hidden name, another process has removed."""

PERMISSIONS: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
"""The mode bits that are taken over: not those that lend a program its owner's rights."""

KINDS: Final[dict[int, Kind]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
}


class LocalFile(Place):
    """A file or folder that the operating system knows by its name, or a FIFO that is read."""

    __slots__ = ()

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Open a file, or read a FIFO or device to its end."""
        try:
            stream = open(self.path, "rb")  # noqa: SIM115  # the caller closes it
            if stream.seekable():
                return stream
            from poolcli.storage.streams import read_whole

            with stream:
                return read_whole(stream.fileno(), check_start)
        except OSError as fault:
            raise unreadable(fault) from None

    def look(self) -> Status:
        """Return what a path leads to."""
        return status_of(self.path)

    def existing(self) -> Status:
        """Return what stands under a name; that of a link is one too where it leads nowhere."""
        status = status_of(self.path, follow_links=False)
        return self.look()._replace(kind="link") if status.kind == "link" else status

    def walk(self) -> Iterator[tuple[str, Status | None]]:
        """Yield a folder's entries: its listing alone tells folders from the rest."""
        try:
            with os.scandir(self.path) as entries:
                found = sorted(entries, key=attrgetter("name"))
        except OSError as fault:
            reason = f"the folder can't be read: {fault.strerror}"
            raise PoolError(reason, CHECK_NAME) from None
        for entry in found:
            is_folder = entry.is_dir(follow_symlinks=False)
            yield entry.name, status_of(entry.path) if is_folder else None

    def absolute(self) -> str:
        """Return the path from the root."""
        return os.path.abspath(self.path)

    def folds_names(self) -> bool:
        """Ask the nearest folder that exists by its own name in the other case."""
        path = self.absolute()
        while os.path.dirname(path) != path:
            above, name = os.path.split(path)
            swapped = os.path.join(above, name.swapcase())
            if swapped != path and os.path.isdir(path):
                return os.path.isdir(swapped) and os.path.samefile(path, swapped)
            path = above
        return False

    def check_writable(self) -> None:
        """Refuse a name in a folder that isn't there."""
        folder = os.path.dirname(self.path) or os.curdir
        if not os.path.isdir(folder):
            import shlex  # few runs need it

            raise PoolError(
                f"{self.path}: there is no folder {folder}",
                f"make it: mkdir -p {shlex.quote(folder)}",
            )

    def create(
        self, *, overwrite: bool = False, like: Place | None = None, again: bool = False
    ) -> Output:
        """Begin a file that gets its name when it is complete."""
        return LocalOutput(self, overwrite, like, again)

    def sync(self) -> None:
        """Write everything that the system holds back to its disks."""
        if hasattr(os, "sync"):
            os.sync()

    def tidy(self, *, once: bool = False) -> None:
        """Remove stale temporaries from the folder of a file."""
        remove = _remove_stale_once if once else _remove_stale
        remove(os.path.dirname(self.path) or os.curdir)


class LocalOutput(Output):
    """A file that is written under a hidden name, and gets its own only when it is complete."""

    def __init__(self, place: LocalFile, overwrite: bool, like: Place | None, again: bool) -> None:
        """Keep what was chosen."""
        super().__init__()
        self.path, self.in_folder = place
        self.overwrite, self.again = overwrite, again
        self.like = like.look().attributes if like else None
        self.folder = os.path.dirname(self.path) or os.curdir

    def commit(self) -> int:
        """Write the file; after a failure neither a part of it nor a new folder is left."""
        content = self.getvalue()  # BytesIO shares its bytes: this copies nothing
        if self.again and _holds(self.path, content):
            return len(content)
        for tries_left in reversed(range(TRIES)):
            missing = list(_missing_folders(self.folder)) if self.in_folder else []
            try:
                for one in reversed(missing):
                    with suppress(FileExistsError):  # another worker was faster
                        os.mkdir(one)
                self._write(content)
                break
            except BaseException as fault:
                for one in missing:
                    with suppress(OSError):  # others may have written there
                        os.rmdir(one)
                # A worker that fails removes the folders it made, perhaps before we write there.
                if not (tries_left and isinstance(fault, FileNotFoundError | FileExistsError)):
                    raise
        return len(content)

    def _write(self, content: bytes) -> None:
        """Write, copy attributes, sync and name a file, in that order."""
        _remove_stale_once(self.folder)
        old = status_of(self.path).attributes if self.overwrite else None
        model = self.like or old
        # Until it has the mode bits of another file, it is its owner's alone.
        create = partial(os.open, mode=0o600 if model else 0o666)
        hidden = os.path.join(self.folder, f".poolcli-{os.urandom(4).hex()}.tmp")
        try:
            with open(hidden, "xb", buffering=0, opener=create) as file:
                descriptor = file.fileno()
                if fcntl is not None:
                    with suppress(OSError):  # a file system without locks
                        fcntl.flock(descriptor, fcntl.LOCK_EX)  # so that nobody takes it for stale
                write_all(descriptor, content)
                if model and fcntl is not None:
                    _copy_attributes(descriptor, model, owner=self.like is None)
                if self.in_folder:
                    # Some network file systems tell only at a close that they are full.
                    os.close(os.dup(descriptor))
                else:
                    os.fsync(descriptor)
                if fcntl is None:  # Windows renames no file that is open
                    file.close()
                if self.overwrite:
                    os.replace(hidden, self.path)
                else:
                    _name_exclusively(hidden, self.path)
        finally:
            with suppress(FileNotFoundError):  # it was renamed
                os.unlink(hidden)
        if not self.in_folder:
            _sync_folder(self.folder)


def status_of(where: str | int, *, follow_links: bool = True) -> Status:
    """Return what the operating system finds at a path, or behind a descriptor."""
    try:
        found = os.stat(where, follow_symlinks=follow_links)
    except (OSError, ValueError) as fault:
        return Status("missing", problem=unreadable(fault).message)
    kind, identity = KINDS.get(stat.S_IFMT(found.st_mode), "stream"), (found.st_dev, found.st_ino)
    if kind == "file":
        return Status(kind, found.st_size, identity, attributes=found)
    # Pipes and devices get no identity: to read from one and write to it is no mistake.
    return Status(kind, identity=identity if kind == "folder" else None)


def unreadable(fault: OSError | ValueError) -> PoolError:
    """Return the error that says why a path can't be read."""
    if isinstance(fault, IsADirectoryError):
        return PoolError("it is a folder", "name a picture")
    reason = fault.strerror if isinstance(fault, OSError) else fault
    return PoolError(f"it can't be read: {reason}", CHECK_NAME)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however few each call takes."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _missing_folders(folder: str) -> Iterator[str]:
    """Yield a folder and those above it that don't exist, the deepest first."""
    while folder and not os.path.isdir(folder):
        yield folder
        folder = os.path.dirname(folder)


def _copy_attributes(descriptor: int, model: os.stat_result, *, owner: bool) -> None:
    """Copy the mode bits, and with them either the owner or the times."""
    if owner:
        with suppress(OSError):  # only root may give files away
            os.fchown(descriptor, model.st_uid, model.st_gid)
    else:
        os.utime(descriptor, ns=(model.st_atime_ns, model.st_mtime_ns))
    os.fchmod(descriptor, model.st_mode & PERMISSIONS)


def _remove_stale(folder: str) -> None:
    """Remove the temporaries of dead runs: those whose lock is free."""
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "r+b", 0) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


_remove_stale_once = cache(_remove_stale)


def _name_exclusively(hidden: str, path: str) -> None:
    """Give a file its final name, unless another file has it.

    Raises:
        PoolError: the name is taken.
    """
    with suppress(OSError, AttributeError):  # no hard links; or the name is taken, as will show
        os.link(hidden, path)
        return
    try:
        with _signals_delayed():  # or the file that reserves the name might stay
            reserved = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.close(reserved)
                os.replace(hidden, path)
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError:
        raise PoolError("it exists already", "use --overwrite to replace it") from None


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Delay the signals that end a run until the block is through, but on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _holds(path: str, content: bytes) -> bool:
    """Return whether a file has exactly these bytes."""
    with suppress(OSError), open(path, "rb") as stream:
        return stream.read() == content
    return False


def _sync_folder(folder: str) -> None:
    """Make a new name durable, where the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
