"""Files on this machine, written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from operator import attrgetter
from typing import Final

from poolcli.errors import PoolError
from poolcli.storage.contract import Entry, Identity, Kind, Output, Status, Storage, WriteOptions
from poolcli.storage.streams import (
    CHECK_NAME,
    PERMISSIONS,
    open_seekable,
    status_at,
    status_of,
    write_all,
)

try:
    import fcntl
except ImportError:  # Windows has no advisory locks: stale temporaries stay there
    fcntl = None  # type: ignore[assignment]

TEMPORARY: Final = re.compile(r"\.poolcli-[0-9a-f]{8}\.tmp")
TRIES: Final = 5
"""How often a folder is made again that other workers have removed: each had failed in it."""


class LocalStorage(Storage):
    """The storage of files and folders that the operating system knows by their names."""

    open = staticmethod(open_seekable)

    def look(self, path: str) -> Status:
        """Return what a path leads to, FIFOs and devices included."""
        return status_at(path)

    def existing(self, path: str, below: str = "") -> Status:  # noqa: ARG002  # the contract's
        """Return what stands under a name, asked of the file system."""
        try:
            found = os.lstat(path)
        except (OSError, ValueError):
            return Status("missing")
        if stat.S_ISLNK(found.st_mode):
            return Status("link", identity=self.look(path).identity)
        return status_of(found)

    def walk(self, folder: str, without: Identity | None = None) -> Iterator[Entry]:
        """Yield a folder's entries, of which its listing alone tells the kinds."""
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=attrgetter("name"))
        except OSError as fault:
            reason = f"the folder can't be read: {fault.strerror}"
            raise PoolError(reason, CHECK_NAME) from None
        for entry in found:
            kind = _kind_of(entry)
            # The file system is asked only if the inode fits, which may be one of another device.
            may_be_left_out = kind == "folder" and without and entry.inode() == without[1]
            if not (may_be_left_out and self.look(entry.path).identity == without):
                yield Entry(entry.name, entry.path, kind)

    def folds_names(self, folder: str) -> bool:
        """Ask the nearest folder that exists by its own name in the other case."""
        path = os.path.abspath(folder)
        while os.path.dirname(path) != path:
            above, name = os.path.split(path)
            swapped = os.path.join(above, name.swapcase())
            if swapped != path and os.path.isdir(path):
                return os.path.isdir(swapped) and os.path.samefile(path, swapped)
            path = above
        return False

    def check_writable(self, path: str) -> None:
        """Refuse a name in a folder that isn't there."""
        folder = os.path.dirname(path) or os.curdir
        if not os.path.isdir(folder):
            import shlex  # few runs need it

            raise PoolError(
                f"{path}: there is no folder {folder}", f"make it: mkdir -p {shlex.quote(folder)}"
            )

    def create(self, path: str, options: WriteOptions) -> Output:
        """Begin a file that gets its name when it is complete."""
        return LocalOutput(path, options)

    def sync(self) -> None:
        """Write everything that the system holds back to its disks."""
        if hasattr(os, "sync"):
            os.sync()

    def tidy(self, path: str, *, once: bool = False) -> None:
        """Remove stale temporaries from the folder of a file."""
        remove = _remove_stale_temporaries_once if once else remove_stale_temporaries
        remove(os.path.dirname(path) or os.curdir)


class LocalOutput(Output):
    """A file that is written under a hidden name, and gets its own only when it is complete."""

    def __init__(self, path: str, options: WriteOptions) -> None:
        """Keep the name and the options."""
        super().__init__()
        self.path, self.options = path, options
        self.folder = os.path.dirname(path) or os.curdir

    def _store(self, content: bytes) -> None:
        """Write the file; after a failure neither a part of it nor a new folder is left."""
        if self.options.again and _holds(self.path, content):
            return
        for tries_left in reversed(range(TRIES if self.options.in_folder else 1)):
            made: list[str] = []
            try:
                if self.options.in_folder:
                    _make_folders(self.folder, made)
                self._write(content)
            except BaseException as fault:
                _remove_folders(made)
                # A worker that fails removes the folders it made, perhaps before we write there.
                if not (tries_left and isinstance(fault, FileNotFoundError)):
                    raise
            else:
                return

    def _write(self, content: bytes) -> None:
        """Write, copy attributes, sync and name a file, in that order."""
        _remove_stale_temporaries_once(self.folder)
        old = _stat(self.path) if self.options.overwrite else None
        model = self.options.like or old
        with _hidden_file(self.folder, private=model is not None) as (file, hidden):
            descriptor = file.fileno()
            write_all(descriptor, content)
            if model is not None and hasattr(os, "fchmod"):
                _copy_attributes(descriptor, model)
            if self.options.in_folder:
                # Some network file systems tell only when a file is closed that they are full.
                os.close(os.dup(descriptor))
            else:
                os.fsync(descriptor)
            if fcntl is None:  # nor are there locks to hold: Windows renames no file that is open
                file.close()
            if self.options.overwrite:
                os.replace(hidden, self.path)
            else:
                _name_exclusively(hidden, self.path)
        if not self.options.in_folder:
            _sync_folder(self.folder)


def _copy_attributes(descriptor: int, model: Status | os.stat_result) -> None:
    """Copy the mode bits and times of an input, or the owner and mode bits of a replaced file."""
    if isinstance(model, Status):
        if model.permissions is not None:
            os.fchmod(descriptor, model.permissions)
        accessed, modified = model.accessed_ns, model.modified_ns
        if accessed is not None and modified is not None and os.utime in os.supports_fd:
            os.utime(descriptor, ns=(accessed, modified))
    else:
        if hasattr(os, "fchown"):
            with suppress(OSError):  # only root may give files away
                os.fchown(descriptor, model.st_uid, model.st_gid)
        os.fchmod(descriptor, model.st_mode & PERMISSIONS)


def remove_stale_temporaries(folder: str) -> None:
    """Remove the temporaries of dead runs: those whose lock is free."""
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unlocked(entry.path)


@cache
def _remove_stale_temporaries_once(folder: str) -> None:
    """Remove stale temporaries the first time that this process writes into a folder."""
    remove_stale_temporaries(folder)


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    """Return the kind of a folder's entry, for which most file systems need not be asked again."""
    if entry.is_file(follow_symlinks=False):
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "link" if entry.is_symlink() else "stream"


def _make_folders(folder: str, made: list[str]) -> None:
    """Make a folder and those above it, and note each one that is new."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for one in reversed(missing):
        made.append(one)  # before it is made: a signal may come in between
        try:
            os.mkdir(one)
        except FileExistsError:  # another worker was faster
            made.pop()


def _remove_folders(made: list[str]) -> None:
    """Remove new folders that stayed empty, the deepest first."""
    for folder in reversed(made):
        with suppress(OSError):
            os.rmdir(folder)


@contextmanager
def _hidden_file(folder: str, *, private: bool) -> Iterator[tuple[FileIO, str]]:
    """Yield a new file and its hidden name, which it has no longer than the block runs.

    A private one is its owner's alone until it gets the mode bits of another file.
    """
    descriptor, name = _create_locked(folder, 0o600 if private else 0o666)
    file = FileIO(descriptor, "w")
    try:
        yield file, name
    finally:
        if fcntl is None:
            file.close()
        with suppress(FileNotFoundError):  # it was renamed
            os.unlink(name)
        file.close()


def _create_locked(folder: str, mode: int) -> tuple[int, str]:
    """Create a file that is locked for as long as it is open, so that nobody takes it for stale."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        name = os.path.join(folder, f".poolcli-{os.urandom(4).hex()}.tmp")
        try:
            descriptor = os.open(name, flags, mode)
            if _locked(descriptor, name):
                return descriptor, name
        except FileExistsError:
            continue
        except BaseException:  # a signal, and nobody else knows the name yet
            with suppress(OSError):
                os.unlink(name)
            raise
        os.close(descriptor)


def _locked(descriptor: int, name: str) -> bool:
    """Lock a new file, unless another run has removed it before."""
    if fcntl is None:
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return _still_named(descriptor, name)


def _remove_unlocked(name: str) -> None:
    """Remove a temporary that no living run holds."""
    with suppress(OSError):
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _still_named(descriptor, name):
                os.unlink(name)
        finally:
            os.close(descriptor)


def _still_named(descriptor: int, name: str) -> bool:
    """Return whether a name still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except OSError:
        return False


def _name_exclusively(hidden: str, path: str) -> None:
    """Give a file its final name, unless another file has it.

    Raises:
        PoolError: the name is taken.
    """
    try:
        if _linked(hidden, path):
            return
        with _signals_delayed():  # without hard links: reserve the name, replace the reservation
            reserved = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.close(reserved)
                os.replace(hidden, path)
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError:
        raise PoolError("it exists already", "use --overwrite to replace it") from None


def _linked(name: str, path: str) -> bool:
    """Give a file one more name; return False where the file system knows no hard links."""
    if not hasattr(os, "link"):
        return False
    try:
        os.link(name, path)
    except OSError as fault:
        if fault.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise
    return True


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Delay the signals that end a run until the block is through."""
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


def _stat(path: str) -> os.stat_result | None:
    """Return the status of a file that may not exist."""
    with suppress(OSError):
        return os.stat(path)
    return None


def _sync_folder(folder: str) -> None:
    """Make a new name durable, where the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
