"""Where pictures come from and go to: files and streams, bytes written whole.

Alone in touching standard input and output.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError
from poolcli.storage.local import Octets, holds, read_all, sweep, write_all, write_file

DASH: Final = "-"
STDIN_FD, STDOUT_FD = 0, 1
STREAM_NAME: Final = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)")
STREAM_NAMES: Final = {DASH: 1, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


class Source(NamedTuple):
    """Where one picture is read.

    Attributes:
        path: the path as given, or "-" for standard input.
    """

    path: str

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.path == DASH

    def open(self, check_start: Callable[[bytes], None] | None = None) -> BinaryIO:
        """A seekable stream; what can't seek is read whole into memory.

        Args:
            check_start: raises if what can't seek begins so that its end isn't worth waiting for.

        Raises:
            PoolError: it can't be read.
        """
        try:
            if self.is_stdin:
                return BytesIO(read_all(STDIN_FD, check_start))
            stream = open(self.path, "rb")  # noqa: SIM115  # the caller closes it
            if stream.seekable():
                return stream
            with stream:
                return BytesIO(read_all(stream.fileno(), check_start))
        except OSError as fault:
            raise _reading(fault) from None

    def check(self) -> None:
        """Refuse to read from a person, or from nowhere.

        Raises:
            PoolError: it is a terminal, or standard input that is closed.
        """
        try:
            terminal = os.isatty(STDIN_FD) if self.is_stdin else _is_terminal_path(self.path)
            if self.is_stdin:
                os.fstat(STDIN_FD)
        except (OSError, ValueError):
            if self.is_stdin:
                raise PoolError("standard input is closed", "name a file") from None
            return
        if terminal:
            raise PoolError(
                "a picture would be read from the terminal",
                "pipe one in with < in.png, or name a file",
            )

    def status(self) -> os.stat_result | None:
        """The status of a regular file, else None."""
        with suppress(OSError, ValueError):
            status = os.fstat(STDIN_FD) if self.is_stdin else os.stat(self.path)
            if stat.S_ISREG(status.st_mode):
                return status
        return None

    def size(self) -> int | None:
        """The bytes of a regular file, else None."""
        status = self.status()
        return None if status is None else status.st_size


class Target(NamedTuple):
    """Where one picture is written.

    Attributes:
        path: the path as given, or "-" for standard output.
        is_stream: whether bytes go through a descriptor or device, which is never replaced.
        in_folder: whether it belongs to a batch: its folder is made with the first file in it,
            and `sync` makes the batch last.
    """

    path: str
    is_stream: bool
    in_folder: bool = False

    @classmethod
    def at(cls, path: str) -> Target:
        """Settle once what a path means."""
        return cls(path, is_stream=_descriptor(path) is not None or _is_device(path))

    @property
    def is_stdout(self) -> bool:
        """Whether it is standard output, under any of its names."""
        return _descriptor(self.path) == STDOUT_FD

    def status(self) -> os.stat_result | None:
        """The status of what is there already, if that is a regular file, else None."""
        number = _descriptor(self.path)
        with suppress(OSError, ValueError):
            status = os.stat(self.path) if number is None else os.fstat(number)
            if stat.S_ISREG(status.st_mode):
                return status
        return None

    def tidy(self) -> None:
        """Remove what a writer that was killed has left beside the file."""
        if not self.is_stream:
            sweep(os.path.dirname(self.path) or os.curdir)

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

    def create(self, *, overwrite: bool, like: Source | None = None, again: bool = False) -> Output:
        """Begin a file or a stream that is written whole when it is committed."""
        return Output(self, overwrite, like, again)

    def write(
        self,
        octets: Octets,
        *,
        overwrite: bool = False,
        like: os.stat_result | None = None,
        again: bool = False,
    ) -> None:
        """Write the bytes, all or none.

        Args:
            octets: the complete content.
            overwrite: whether a file of that name may be replaced.
            like: the status of a file whose times and mode bits are taken over.
            again: whether an earlier try may have written these very bytes already.

        Raises:
            PoolError: the file exists.
            OSError: it can't be written; nothing new stands under its name then.
        """
        if again and not self.is_stream and holds(self.path, octets):
            return
        if not self.is_stream:
            write_file(self.path, octets, overwrite=overwrite, like=like, alone=not self.in_folder)
            return
        number = _descriptor(self.path)
        if number is not None:
            write_all(number, octets)
            return
        descriptor = os.open(self.path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
        try:
            write_all(descriptor, octets)
        finally:
            os.close(descriptor)


class Output:
    """Bytes gathered in memory until they are committed."""

    def __init__(self, target: Target, overwrite: bool, like: Source | None, again: bool) -> None:
        """Begin with no bytes."""
        self.file = BytesIO()
        self._target, self._overwrite, self._like, self._again = target, overwrite, like, again

    def __enter__(self) -> Output:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Forget what was not committed."""

    def commit(self) -> int:
        """Write all bytes; return how many they are."""
        octets = self.file.getbuffer()
        like = self._like.status() if self._like else None
        self._target.write(octets, overwrite=self._overwrite, like=like, again=self._again)
        return len(octets)


def stdin_is_piped() -> bool:
    """Whether standard input is a pipe or a file, so that a picture may be meant by it."""
    try:
        mode = os.fstat(STDIN_FD).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def stdout_is_terminal() -> bool:
    """Whether what is printed on standard output is read by a person at once."""
    return os.isatty(STDOUT_FD)


def same_file(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Whether two are one file, by device and inode."""
    return one is not None and other is not None and os.path.samestat(one, other)


def sync() -> None:
    """Make all that a batch wrote last; one file alone is synced when it is written."""
    if hasattr(os, "sync"):
        os.sync()


def folds_names(folder: str) -> bool:
    """Whether a file system takes names that differ in case for the same, asked without writing.

    The folder need not exist: the nearest one above it is asked by its own name.
    """
    path = os.path.abspath(folder)
    while os.path.dirname(path) != path:
        above, name = os.path.split(path)
        swapped = os.path.join(above, name.swapcase())
        if swapped != path and os.path.isdir(path):
            return os.path.isdir(swapped) and os.path.samefile(path, swapped)
        path = above
    return False


def folded(name: str) -> str:
    """A name as a file system sees it that folds case and normal form."""
    if name.isascii():
        return name.lower()
    import unicodedata  # few names need it

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def print_line(text: str) -> None:
    """A line of ASCII on standard output, at once."""
    write_all(STDOUT_FD, text.encode("ascii") + b"\n")


def flush() -> None:
    """Send what is printed on its way, while a failure can still be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


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
    if os.path.isabs(path):
        path = os.path.normpath(f"{os.sep}{path.lstrip(os.sep)}")  # POSIX lets two slashes stand
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
    harmless = getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_WRONLY | harmless)
    try:
        return os.isatty(descriptor)
    finally:
        os.close(descriptor)


__all__ = [
    "Octets",
    "Source",
    "Target",
    "flush",
    "folded",
    "folds_names",
    "print_line",
    "same_file",
    "silence_stdout",
    "stdin_is_piped",
    "stdout_is_terminal",
    "sync",
]
