"""Streams: standard input and output, other descriptors, FIFOs and devices, written in place.

Alone in touching standard input and output.
"""

from __future__ import annotations

import os
import re
import select
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, ClassVar, Final

from poolcli import process
from poolcli.errors import PoolError
from poolcli.storage import DASH, CheckStart, Output, Place, Status
from poolcli.storage.local import LocalFile, status_of, unreadable, write_all

STDIN_FD, STDOUT_FD = 0, 1
STREAM_NAME: Final = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)")
STREAM_NAMES: Final = {DASH: 1, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
READ_BYTES: Final = 1 << 20
START_BYTES: Final = 16
"""How many bytes are enough to see that a file is no picture."""


class Stream(Place):
    """A place that has a descriptor, but no name that could be replaced.

    "-" is standard input where it is read, and standard output where it is written.
    """

    __slots__ = ()
    is_stream: ClassVar[bool] = True

    @property
    def _read_end(self) -> str | int:
        """The path or descriptor that is read."""
        return STDIN_FD if self.path == DASH else self.path

    @property
    def _write_end(self) -> str | int:
        """The descriptor that is written, or the path of a FIFO or device."""
        number = descriptor_of(self.path)
        return self.path if number is None else number

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Read a stream to its end, unless it can seek."""
        if self.path != DASH:
            return LocalFile(self.path).open(check_start)
        try:
            return read_whole(STDIN_FD, check_start)
        except OSError as fault:
            raise unreadable(fault) from None

    def look(self) -> Status:
        """Return the kind of a stream, and the size and identity of a file behind it."""
        return _of_stream(status_of(self._read_end))

    def existing(self) -> Status:
        """Return what stands behind a stream that is written."""
        return _of_stream(status_of(self._write_end))

    def create(self, **_: object) -> Output:
        """Begin a result that is written in place: there is nothing to replace or preserve."""
        return StreamOutput(self._write_end)

    def check_readable(self) -> None:
        """Refuse a terminal, and standard input that is closed."""
        if self.path == DASH and self.look().kind == "missing":
            raise PoolError("standard input is closed", "name a file")
        _refuse_terminal(self._read_end, "read from", "pipe one in with < in.png, or name a file")

    def check_writable(self) -> None:
        """Refuse a terminal, and a stream that is closed."""
        if self.existing().kind == "missing":
            raise PoolError("the output stream is closed", "redirect it to a file")
        remedy = "name an output file, or redirect with > out.png or a pipe"
        _refuse_terminal(self._write_end, "written to", remedy)


class StreamOutput(Output):
    """A result that is written through a descriptor once it is complete."""

    def __init__(self, end: str | int) -> None:
        """Keep the path or descriptor."""
        super().__init__()
        self.end = end

    def commit(self) -> int:
        """Write all bytes where the stream stands."""
        content, end = self.getvalue(), self.end
        descriptor = os.open(end, os.O_WRONLY) if isinstance(end, str) else os.dup(end)
        try:
            write_all(descriptor, content)
        finally:
            os.close(descriptor)
        return len(content)


def descriptor_of(path: str) -> int | None:
    """Return the number of the descriptor that an output's path names, or None."""
    if os.path.isabs(path):
        path = os.path.normpath(f"{os.sep}{path.lstrip(os.sep)}")  # POSIX lets two slashes stand
    match = STREAM_NAME.fullmatch(path)
    number = int(match[1] or match[2]) if match else STREAM_NAMES.get(path)
    # Number 2 may be what C libraries print on by now.
    return process.stderr_descriptor() if number == process.STDERR_FD else number


def read_whole(descriptor: int, check_start: CheckStart | None = None) -> BytesIO:
    """Read to the end, however long a pipe that doesn't block stays empty.

    Args:
        descriptor: what is read.
        check_start: is called with the first bytes, at least `START_BYTES`, and raises if the
            end, which may never come, isn't worth waiting for; what is shorter has an end.
    """
    whole = BytesIO()
    while True:
        try:
            part = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        if not part:
            whole.seek(0)
            return whole
        whole.write(part)
        if check_start and whole.tell() >= START_BYTES:
            check_start(whole.getvalue())
            check_start = None


def is_stdout(path: str) -> bool:
    """Return whether an output's path is one of the names of standard output."""
    return descriptor_of(path) == STDOUT_FD


def stdout_is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return os.isatty(STDOUT_FD)


def print_line(text: str) -> None:
    """Write a line of ASCII on standard output, at once."""
    write_all(STDOUT_FD, text.encode("ascii") + b"\n")


def silence_stdout() -> None:
    """Point a broken standard output at the null device, so that Python's own flush succeeds."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT_FD)


def _of_stream(status: Status) -> Status:
    """Return the status of a stream: a file behind a descriptor is one, and written in place."""
    return status._replace(kind="stream") if status.kind == "file" else status


def _refuse_terminal(end: str | int, action: str, remedy: str) -> None:
    """Refuse a descriptor or path that is a terminal."""
    if _is_terminal(end):
        raise PoolError(f"a picture would be {action} the terminal", remedy)


def _is_terminal(end: str | int) -> bool:
    """Return whether a descriptor, or the device of a path, is a terminal."""
    if isinstance(end, int):
        return os.isatty(end)
    if status_of(end).kind != "device":
        return False  # to open a pipe would be noticed at its other end
    harmless = getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)
    with suppress(OSError):
        opened = os.open(end, os.O_WRONLY | harmless)
        try:
            return os.isatty(opened)
        finally:
            os.close(opened)
    return False
