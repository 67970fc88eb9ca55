"""Read and write streams: standard input and output, other descriptors, FIFOs and devices.

They are written in place. No other module uses standard input and output.
"""

from __future__ import annotations

import os
import re
import select
from contextlib import suppress
from io import BufferedReader, BytesIO, RawIOBase
from typing import Any, BinaryIO, ClassVar, Final

from poolcli import process
from poolcli.errors import PoolError
from poolcli.storage import DASH, BeforeName, CheckStart, Output, Place, Status
from poolcli.storage.hidden import locked
from poolcli.storage.local import (
    LocalFile,
    access_mode,
    status_of,
    unreadable,
    write_all,
)

STDIN_FD, STDOUT_FD = STANDARD = 0, 1
STREAM_NAME: Final = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)")
STREAM_NAMES: Final = {DASH: 1, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
READ_BYTES: Final = 1 << 20
START_BYTES: Final = 16
"""The number of bytes that must be there before a stream is refused that begins no picture."""


class Stream(Place):
    """A place that is read and written through a descriptor and can't be replaced.

    "-" is standard input when it is read, and standard output when it is written.
    """

    __slots__ = ()
    is_stream: ClassVar[bool] = True

    @property
    def _read_end(self) -> str | int:
        """The path or descriptor to read."""
        return STDIN_FD if self.path == DASH else self.path

    @property
    def _write_end(self) -> str | int:
        """The descriptor to write, or the path of a FIFO or device."""
        number = descriptor_of(self.path)
        return self.path if number is None else number

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Read standard input; a file behind a path is opened instead."""
        if self.path != DASH:
            return LocalFile(self.path).open(check_start)
        try:
            return open_pipe(STDIN_FD, check_start)
        except OSError as fault:
            raise unreadable(fault) from None

    def status(self) -> Status:
        """Return the status of a stream, with the size and identity of a file behind it."""
        number = STDIN_FD if self.path == DASH else descriptor_of(self.path)
        return _of_stream(status_of(self._read_end), number, os.O_WRONLY)

    def existing(self) -> Status:
        """Return the status of the stream that would be written."""
        return _of_stream(status_of(self._write_end), descriptor_of(self.path), os.O_RDONLY)

    def keep(self) -> BinaryIO | None:
        """Lock a file behind a stream: its name, which is unknown, may be that of a hidden file."""
        end = self._read_end
        if status_of(end).kind != "file":
            return None
        # Opened anew, since a lock of the descriptor itself would outlive this process.
        return locked(f"/dev/fd/{end}" if isinstance(end, int) else end)

    def create(self, **_: object) -> Output:
        """Begin an output that is written in place: nothing is replaced or preserved."""
        return StreamOutput(self._write_end)

    def check_readable(self) -> None:
        """Refuse a terminal, and standard input that is closed."""
        if self.path == DASH and self.status().kind == "missing":
            raise PoolError("standard input is closed", "name a file")
        _refuse_terminal(self._read_end, "read from", "pipe one in with < in.png, or name a file")

    def check_writable(self) -> None:
        """Refuse a terminal, and a stream that is closed."""
        if self.existing().kind == "missing":
            raise PoolError("the output stream is closed", "redirect it to a file")
        remedy = "name an output file, or redirect with > out.png or a pipe"
        _refuse_terminal(self._write_end, "written to", remedy)


class StreamOutput(Output):
    """An output that is written through a descriptor when a picture or all are complete."""

    def __init__(self, end: str | int) -> None:
        """Store the path or descriptor."""
        super().__init__()
        self._end = end
        self._descriptor: int | None = None
        self._written = 0

    def pass_on(self) -> None:
        """Write all bytes at the current position of the stream, and forget them."""
        if self._descriptor is None:
            # A FIFO stays open until the end: closing it would tell its reader that all is there.
            end = self._end
            self._descriptor = os.open(end, os.O_WRONLY) if isinstance(end, str) else os.dup(end)
        self._written += write_all(self._descriptor, self.getvalue())
        self.seek(0)
        self.truncate()

    def commit(self, before: BeforeName = None) -> int:
        """Write what was not passed on yet; return the number of all bytes."""
        if before is not None:
            before()
        self.pass_on()
        return self._written

    def close(self) -> None:
        """Close the descriptor."""
        super().close()
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def descriptor_of(path: str) -> int | None:
    """Return the number of the descriptor that the path of an output names, or None."""
    if os.path.isabs(path):
        # `normpath` keeps two slashes at the start, to which POSIX gives no fixed meaning.
        path = os.path.normpath(f"{os.sep}{path.lstrip(os.sep)}")
    match = STREAM_NAME.fullmatch(path)
    number = int(match[1] or match[2]) if match else STREAM_NAMES.get(path)
    # Number 2 may be the file that captures what C libraries print.
    return process.stderr_descriptor() if number == process.STDERR_FD else number


class Pipe(RawIOBase):
    """A descriptor that is read on demand, after bytes that were read from it already."""

    def __init__(self, descriptor: int, start: bytes) -> None:
        """Duplicate the descriptor, which the caller may close then."""
        self._descriptor = os.dup(descriptor)
        self._start = start
        self._read = 0

    def readable(self) -> bool:
        """Return True, as `io.BufferedReader` asks for it."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of a buffer; return the number of bytes, 0 at the end."""
        whole = memoryview(buffer)
        part, self._start = self._start[: len(whole)], self._start[len(whole) :]
        part = part or read_part(self._descriptor, len(whole))
        whole[: len(part)] = part
        self._read += len(part)
        return len(part)

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._read

    def close(self) -> None:
        """Close the duplicate."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_pipe(descriptor: int, check_start: CheckStart | None = None) -> BinaryIO:
    """Return a stream of the bytes that come through a descriptor.

    Args:
        descriptor: the descriptor.
        check_start: called with at least `START_BYTES` bytes, or all. It raises if they begin no
            picture: the end of such a stream might never come. If it returns True, the rest is
            read on demand, else all is read into memory now.
    """
    start = b""
    while len(start) < START_BYTES and (part := read_part(descriptor, READ_BYTES)):
        start += part
    if check_start and len(start) >= START_BYTES and check_start(start):
        return BufferedReader(Pipe(descriptor, start), READ_BYTES)
    whole = BytesIO()
    part = start
    while part:
        whole.write(part)
        part = read_part(descriptor, READ_BYTES)
    whole.seek(0)
    return whole


def read_part(descriptor: int, count: int) -> bytes:
    """Read some bytes, at most ``count``; wait for them if the pipe is empty but not closed."""
    while True:
        try:
            return os.read(descriptor, count)
        except BlockingIOError:  # a pipe that doesn't block is empty
            select.select([descriptor], [], [])


def is_stdout(path: str) -> bool:
    """Return whether the path of an output is a name of standard output."""
    return descriptor_of(path) == STDOUT_FD


def stdout_is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return os.isatty(STDOUT_FD)


def write_line(text: str) -> None:
    """Write a line of ASCII to standard output, unbuffered."""
    write_all(STDOUT_FD, text.encode("ascii") + b"\n")


def silence_stdout() -> None:
    """Redirect a closed standard output to the null device.

    Python flushes it at the exit, and would print another error.
    """
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT_FD)


def _of_stream(status: Status, number: int | None, wrong_mode: int) -> Status:
    """Return the status of a stream: even if it leads to a file, it is written in place.

    Args:
        status: the status of what the stream leads to.
        number: its descriptor, or None.
        wrong_mode: the mode of access in which a standard stream is useless. `process.set_up`
            opens those that are closed in that mode.
    """
    if number in STANDARD and access_mode(number) == wrong_mode:
        return Status("missing", problem="it can't be read: it is closed")
    return status._replace(kind="stream") if status.kind == "file" else status


def _refuse_terminal(end: str | int, action: str, remedy: str) -> None:
    """Refuse a descriptor or path that is a terminal.

    Raises:
        PoolError: it is one.
    """
    if _is_terminal(end):
        raise PoolError(f"a picture would be {action} the terminal", remedy)


def _is_terminal(end: str | int) -> bool:
    """Return whether a descriptor, or the device at a path, is a terminal."""
    if isinstance(end, int):
        return os.isatty(end)
    # A FIFO is not opened to find out: its reader would see that, and later an end of the stream.
    if status_of(end).kind != "device":
        return False
    # The terminal must not become that of this process, and opening a device must not block.
    flags = getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)
    with suppress(OSError):
        opened = os.open(end, os.O_WRONLY | flags)
        try:
            return os.isatty(opened)
        finally:
            os.close(opened)
    return False
