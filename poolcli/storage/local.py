"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from typing import Final, TypeAlias

from poolcli.errors import PoolError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks: stale temporaries stay there
    fcntl = None  # type: ignore[assignment]

TEMPORARY: Final = re.compile(r"\.poolcli-[0-9a-f]{8}\.tmp")
READ_BYTES: Final = 1 << 20
START_BYTES: Final = 16
"""By which a file can be known for what it is not."""

PERMISSIONS: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
"""The mode bits that are taken over: not those that lend a program its owner's rights."""

TRIES: Final = 5
"""How often a folder is made anew that other workers have taken away: each had failed in it."""
FOLDER_GONE: Final = (errno.ENOENT, errno.EPERM)
"""What is said of a folder that goes just then: the latter by ext4."""
Octets: TypeAlias = bytes | bytearray | memoryview


def write_all(descriptor: int, octets: Octets) -> None:
    """Write every byte, however short each write falls."""
    rest = memoryview(octets).cast("B")
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def read_all(descriptor: int, check_start: Callable[[bytes], None] | None = None) -> bytes:
    """Read to the end, however long a pipe that doesn't block stays empty.

    Args:
        descriptor: what is read.
        check_start: is given the first bytes, at least `START_BYTES`, and raises if the end,
            which may never come, isn't worth waiting for; what is shorter has an end.
    """
    parts: list[bytes] = []
    while True:
        if check_start and sum(map(len, parts)) >= START_BYTES:
            check_start(b"".join(parts))
            check_start = None
        try:
            part = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)


def write_file(
    path: str, octets: Octets, *, overwrite: bool, like: os.stat_result | None, alone: bool
) -> None:
    """Write a file under a hidden name, and give it its own only when it is complete.

    Args:
        path: its name.
        octets: its content.
        overwrite: whether a file of that name may be replaced.
        like: the status of a file whose times and mode bits are taken over.
        alone: whether it is synced to disk at once; if not, its folder is made if it must be.

    Raises:
        PoolError: the name is taken.
        OSError: it can't be written; neither a part nor a new folder is left then.
    """
    folder = os.path.dirname(path) or os.curdir
    for tries_left in reversed(range(1 if alone else TRIES)):
        made: list[str] = []
        try:
            if not alone:
                _make_folders(folder, made)
            if not _write_hidden(path, folder, octets, overwrite, like, alone, named=overwrite):
                _write_hidden(path, folder, octets, overwrite, like, alone, named=True)
        except BaseException as fault:
            _remove_folders(made)
            if not (tries_left and isinstance(fault, OSError) and fault.errno in FOLDER_GONE):
                raise
        else:
            return


def _write_hidden(
    path: str,
    folder: str,
    octets: Octets,
    overwrite: bool,
    like: os.stat_result | None,
    syncs: bool,
    *,
    named: bool,
) -> bool:
    """Write, dress, sync and name a file, in that order; false if it must have a name at once."""
    _sweep_once(folder)
    old = _status(path) if overwrite else None
    model = like or old
    with _hidden(folder, named=named, private=model is not None) as (file, name):
        descriptor = file.fileno()
        write_all(descriptor, octets)
        _dress(descriptor, model, times=like is not None)
        if syncs:
            os.fsync(descriptor)
        else:  # some network file systems tell only when a file is closed that they are full
            os.close(os.dup(descriptor))
        if fcntl is None:  # nor are there locks to hold: Windows renames no file that is open
            file.close()
        if name is None:
            if not _linked(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor):
                return False
        elif overwrite:
            os.replace(name, path)
        else:
            _link_temporary(name, path)
    if syncs:
        _sync_folder(folder)
    return True


def _make_folders(folder: str, made: list[str]) -> None:
    """Make a folder and those above it, and note each one that is new."""
    missing = []
    while folder and not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for one in reversed(missing):
        made.append(one)  # first, lest a signal comes in between
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
def _hidden(folder: str, *, named: bool, private: bool) -> Iterator[tuple[FileIO, str | None]]:
    """A new file that nobody sees: without a name where that can be had, else a temporary one.

    A private one is its owner's alone until it gets the mode bits of another file.
    """
    mode = 0o600 if private else 0o666
    descriptor = None if named or fcntl is None else _unnamed(folder, mode)
    name = None
    if descriptor is None:
        descriptor, name = _temporary(folder, mode)
    file = FileIO(descriptor, "w")
    try:
        yield file, name
    finally:
        if fcntl is None:
            file.close()
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name)
        file.close()


def _unnamed(folder: str, mode: int) -> int | None:
    """A file without a name, which vanishes unless it is given one; None where there are none."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, flag | os.O_WRONLY, mode)
    except OSError as fault:
        if fault.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _temporary(folder: str, mode: int) -> tuple[int, str]:
    """A temporary file, locked for as long as it is open, so that nobody sweeps it away."""
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
    """Lock a new file, unless somebody has swept it away before."""
    if fcntl is None:
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return _still_named(descriptor, name)


def holds(path: str, octets: Octets) -> bool:
    """Whether a file has exactly these bytes."""
    with suppress(OSError), open(path, "rb") as stream:
        return stream.read() == octets
    return False


@cache
def _sweep_once(folder: str) -> None:
    """Sweep a folder the first time that something is written into it."""
    sweep(folder)


def sweep(folder: str) -> None:
    """Remove the temporaries of dead runs: those whose lock is free."""
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unlocked(entry.path)


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
    """Whether a name still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except OSError:
        return False


def _link_temporary(name: str, path: str) -> None:
    """Give a temporary file its final name, unless somebody has it.

    Raises:
        PoolError: the name is taken.
    """
    if _linked(name, path):
        return
    with _undisturbed():  # without hard links: reserve the name, then replace the reservation
        try:
            reserved = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            raise _taken() from None
        try:
            os.close(reserved)
            os.replace(name, path)
        except BaseException:
            os.unlink(path)
            raise


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal come in between: it is answered a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _linked(name: str, path: str, src_dir_fd: int | None = None) -> bool:
    """Give a file one more name, where the system and the file system know such.

    Only with a dir_fd does Python ask for a link in /proc to be followed.

    Raises:
        PoolError: the name is taken.
    """
    if not hasattr(os, "link"):
        return False
    try:
        os.link(name, path, src_dir_fd=src_dir_fd, follow_symlinks=True)
    except FileExistsError:
        raise _taken() from None
    except OSError as fault:
        if fault.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise
    return True


def _taken() -> PoolError:
    """The refusal of a name that somebody has."""
    return PoolError("it exists already", "use --overwrite to replace it")


def _status(path: str) -> os.stat_result | None:
    """The status of a file that may not exist."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _dress(descriptor: int, like: os.stat_result | None, times: bool) -> None:
    """Give a file the owner and mode bits, and perhaps the times, of another."""
    if like is None or not hasattr(os, "fchmod"):
        return
    if not times and hasattr(os, "fchown"):
        with suppress(OSError):  # only root may give files away
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & PERMISSIONS)
    if times and os.utime in os.supports_fd:
        os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def _sync_folder(folder: str) -> None:
    """Make a new name last, where the file system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
