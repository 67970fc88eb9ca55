"""Where pictures come from and go to: files and streams, bytes written whole.

Alone in touching standard input and output.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import BinaryIO, Final, TypeAlias

from poolcli.errors import PoolError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks: stale temporaries stay there
    fcntl = None  # type: ignore[assignment]

DASH: Final = "-"
STDIN_FD, STDOUT_FD = 0, 1
STREAM_NAME: Final = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)")
STREAM_NAMES: Final = {DASH: 1, "/dev/stdout": 1, "/dev/stderr": 2}
TEMPORARY: Final = re.compile(r"\.poolcli-[0-9a-f]{8}\.tmp")
Octets: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Source:
    """Where one picture is read.

    Attributes:
        path: the path as given, or "-" for standard input.
    """

    path: str

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.path == DASH

    def open(self) -> BinaryIO:
        """A seekable stream; what can't seek is read whole into memory.

        Raises:
            PoolError: it can't be read.
        """
        if self.is_stdin:
            return BytesIO(sys.stdin.buffer.read())
        try:
            stream = open(self.path, "rb")  # noqa: SIM115  # the caller closes it
        except OSError as fault:
            raise _reading(fault) from None
        if stream.seekable():
            return stream
        with stream:
            return BytesIO(stream.read())

    def size(self) -> int | None:
        """The bytes of a regular file, else None."""
        with suppress(OSError):
            status = os.stat(self.path) if not self.is_stdin else None
            if status is not None and stat.S_ISREG(status.st_mode):
                return status.st_size
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """Where one picture is written.

    Attributes:
        path: the path as given, or "-" for standard output.
        is_stream: whether bytes go through a descriptor or device, which is never replaced.
    """

    path: str
    is_stream: bool

    @classmethod
    def at(cls, path: str) -> Target:
        """Settle once what a path means."""
        return cls(path, is_stream=_descriptor(path) is not None or _is_device(path))

    @property
    def is_stdout(self) -> bool:
        """Whether it is standard output, under any of its names."""
        return _descriptor(self.path) == STDOUT_FD

    def check(self) -> None:
        """Refuse a stream that can't take pixels.

        Raises:
            PoolError: it is closed, or a terminal.
        """
        number = _descriptor(self.path)
        try:
            terminal = os.isatty(number) if number is not None else _is_terminal_path(self.path)
            if number is not None:
                os.fstat(number)
        except OSError:
            raise PoolError("the output stream is closed", "redirect it to a file") from None
        if terminal:
            raise PoolError(
                "a picture would be written to the terminal",
                "name an output file, or redirect with > out.png or a pipe",
            )

    def write(
        self, octets: Octets, *, overwrite: bool = False, like: os.stat_result | None = None
    ) -> None:
        """Write the bytes, all or none.

        Args:
            octets: the complete content.
            overwrite: whether a file of that name may be replaced.
            like: the status of a file whose times and mode bits are taken over.

        Raises:
            PoolError: the file exists.
            OSError: it can't be written; nothing new stands under its name then.
        """
        if not self.is_stream:
            _write_file(self.path, octets, overwrite, like)
            return
        number = _descriptor(self.path)
        if number is not None:
            _write_all(number, octets)
            return
        descriptor = os.open(self.path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
        try:
            _write_all(descriptor, octets)
        finally:
            os.close(descriptor)


def stdin_is_terminal() -> bool:
    """Whether standard input is a person, or closed."""
    try:
        return os.isatty(STDIN_FD)
    except OSError:
        return True


def stdin_is_piped() -> bool:
    """Whether standard input is a pipe or a file, so that a picture may be meant by it."""
    try:
        mode = os.fstat(STDIN_FD).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file, by device and inode."""
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False


def print_line(text: str) -> None:
    """A line of ASCII on standard output, at once."""
    _write_all(STDOUT_FD, text.encode("ascii") + b"\n")


def silence_stdout() -> None:
    """Point a broken standard output at nothing, so that Python's own flush says nothing."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT_FD)


def _reading(fault: OSError) -> PoolError:
    """Why a file can't be read."""
    if isinstance(fault, IsADirectoryError):
        return PoolError("it is a folder", "name a picture")
    return PoolError(f"it can't be read: {fault.strerror}", "check the name and its permissions")


def _descriptor(path: str) -> int | None:
    """The number of the descriptor that a path names, or None."""
    if path in STREAM_NAMES:
        return STREAM_NAMES[path]
    match = STREAM_NAME.fullmatch(path)
    return int(match[1] or match[2]) if match else None


def _is_device(path: str) -> bool:
    """Whether a path leads to a FIFO, a device or a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_terminal_path(path: str) -> bool:
    """Whether a device is a terminal."""
    if not stat.S_ISCHR(os.stat(path).st_mode):
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, octets: Octets) -> None:
    """Write every byte, however short each write falls."""
    rest = memoryview(octets).cast("B")
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _write_file(path: str, octets: Octets, overwrite: bool, like: os.stat_result | None) -> None:
    """Write a file under a hidden name, sync it, and only then give it its own name."""
    folder, _ = os.path.split(path)
    folder = folder or os.curdir
    _sweep(folder)
    with _hidden(folder, named=overwrite) as (descriptor, name):
        _write_all(descriptor, octets)
        _dress(descriptor, like or (_status(path) if overwrite else None), times=like is not None)
        os.fsync(descriptor)
        if name is None:
            _link_unnamed(descriptor, path)
        elif overwrite:
            os.replace(name, path)
        else:
            _link_temporary(name, path)
    _sync_folder(folder)


@contextmanager
def _hidden(folder: str, named: bool) -> Iterator[tuple[int, str | None]]:
    """A new file that nobody sees: without a name where that can be had, else a temporary one."""
    descriptor = None if named else _unnamed(folder)
    name = None
    if descriptor is None:
        descriptor, name = _temporary(folder)
    try:
        yield descriptor, name
    finally:
        if name is not None:
            with suppress(FileNotFoundError):
                os.unlink(name)
        os.close(descriptor)


def _unnamed(folder: str) -> int | None:
    """A file without a name, which vanishes unless it is given one; None where there are none."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, flag | os.O_WRONLY, 0o666)
    except OSError as fault:
        if fault.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _temporary(folder: str) -> tuple[int, str]:
    """A temporary file, locked for as long as it is open, so that nobody sweeps it away."""
    while True:
        name = os.path.join(folder, f".poolcli-{secrets.token_hex(4)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(name, flags, 0o666)
        except FileExistsError:
            continue
        if fcntl is None:
            return descriptor, name
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _still_named(descriptor, name):
            return descriptor, name
        os.close(descriptor)


@cache
def _sweep(folder: str) -> None:
    """Remove the temporaries of dead runs, once a run and folder: those whose lock is free."""
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


def _link_unnamed(descriptor: int, path: str) -> None:
    """Give a file without a name its first, unless somebody has it.

    Raises:
        PoolError: the name is taken.
    """
    try:
        # Only with a dir_fd does Python ask for the link in /proc to be followed.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)
    except FileExistsError:
        raise _taken() from None


def _link_temporary(name: str, path: str) -> None:
    """Give a temporary file its final name, unless somebody has it.

    Raises:
        PoolError: the name is taken.
    """
    try:
        os.link(name, path)
        return
    except FileExistsError:
        raise _taken() from None
    except OSError as fault:
        if fault.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    # A file system without hard links: reserve the name, then replace the reservation.
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        raise _taken() from None
    try:
        os.replace(name, path)
    except BaseException:
        os.unlink(path)
        raise


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
    if not times:
        with suppress(OSError):  # only root may give files away
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
    if times:
        os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def _sync_folder(folder: str) -> None:
    """Make a new name last, where the file system knows how."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
