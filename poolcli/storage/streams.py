"""Streams: standard input and output, other descriptors, FIFOs and devices, written in place.

Alone in touching standard input and output.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Final

from poolcli import process
from poolcli.errors import PoolError
from poolcli.storage.contract import (
    Bytes,
    CheckStart,
    Entry,
    Identity,
    Kind,
    Output,
    Status,
    Storage,
    WriteOptions,
)

DASH: Final = "-"
STDIN_FD, STDOUT_FD = 0, 1
STREAM_NAME: Final = re.compile(r"/dev/fd/(\d+)|/proc/self/fd/(\d+)")
STREAM_NAMES: Final = {DASH: 1, "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
READ_BYTES: Final = 1 << 20
START_BYTES: Final = 16
"""How many bytes are enough to see that a file is no picture."""

PERMISSIONS: Final = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
"""The mode bits that are taken over: not those that lend a program its owner's rights."""

CHECK_NAME: Final = "check the name and its permissions"


class StreamStorage(Storage):
    """The storage of all that has a descriptor, but no name that could be replaced.

    "-" is standard input where it is read, and standard output where it is written.
    """

    def open(self, path: str, check_start: CheckStart | None = None) -> BinaryIO:
        """Read a stream to its end, unless it can seek."""
        if path != DASH:
            return open_seekable(path, check_start)
        try:
            return BytesIO(read_all(STDIN_FD, check_start))
        except OSError as fault:
            raise unreadable(fault) from None

    def look(self, path: str) -> Status:
        """Return the kind of a stream, and the size and identity of a file behind it."""
        return _of_stream(status_at(path, STDIN_FD if path == DASH else None))

    def existing(self, path: str, below: str = "") -> Status:  # noqa: ARG002  # the contract's
        """Return what stands behind a stream that is written."""
        return _of_stream(status_at(path, descriptor_of(path)))

    def walk(self, folder: str, without: Identity | None = None) -> Iterator[Entry]:  # noqa: ARG002
        """Refuse: a folder is read by its own name."""
        raise PoolError("a folder can't be read through a descriptor", "name the folder itself")

    def check_readable(self, path: str) -> None:
        """Refuse a terminal, and standard input that is closed."""
        try:
            is_terminal = _is_terminal(path, STDIN_FD if path == DASH else None)
        except (OSError, ValueError):
            if path == DASH:
                raise PoolError("standard input is closed", "name a file") from None
            return  # opening it will tell why
        if is_terminal:
            raise PoolError(
                "a picture would be read from the terminal",
                "pipe one in with < in.png, or name a file",
            )

    def check_writable(self, path: str) -> None:
        """Refuse a terminal, and a stream that is closed."""
        try:
            is_terminal = _is_terminal(path, descriptor_of(path))
        except OSError:
            raise PoolError("the output stream is closed", "redirect it to a file") from None
        if is_terminal:
            raise PoolError(
                "a picture would be written to the terminal",
                "name an output file, or redirect with > out.png or a pipe",
            )

    def create(self, path: str, options: WriteOptions) -> Output:  # noqa: ARG002
        """Begin a result that is written in place: there is nothing to replace or preserve."""
        return StreamOutput(path)


class StreamOutput(Output):
    """A result that is written through a descriptor once it is complete."""

    def __init__(self, path: str) -> None:
        """Keep the name of the stream."""
        super().__init__()
        self.path = path

    def _store(self, content: bytes) -> None:
        """Write all bytes where the stream stands."""
        number = descriptor_of(self.path)
        if number is not None:
            write_all(number, content)
            return
        opened = os.open(self.path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
        try:
            write_all(opened, content)
        finally:
            os.close(opened)


def descriptor_of(path: str) -> int | None:
    """Return the number of the descriptor that an output's path names, or None."""
    if os.path.isabs(path):
        path = os.path.normpath(f"{os.sep}{path.lstrip(os.sep)}")  # POSIX lets two slashes stand
    match = STREAM_NAME.fullmatch(path)
    number = int(match[1] or match[2]) if match else STREAM_NAMES.get(path)
    # Number 2 may be what C libraries print on by now.
    return process.stderr_descriptor() if number == process.STDERR_FD else number


def open_seekable(path: str, check_start: CheckStart | None = None) -> BinaryIO:
    """Open a file, or read whole what can't seek.

    Raises:
        PoolError: it can't be read.
    """
    try:
        stream = open(path, "rb")  # noqa: SIM115  # the caller closes it
        if stream.seekable():
            return stream
        with stream:
            return BytesIO(read_all(stream.fileno(), check_start))
    except OSError as fault:
        raise unreadable(fault) from None


def write_all(descriptor: int, data: Bytes) -> None:
    """Write every byte, however few each call takes."""
    rest = memoryview(data).cast("B")
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def read_all(descriptor: int, check_start: CheckStart | None = None) -> bytes:
    """Read to the end, however long a pipe that doesn't block stays empty.

    Args:
        descriptor: what is read.
        check_start: is called with the first bytes, at least `START_BYTES`, and raises if the
            end, which may never come, isn't worth waiting for; what is shorter has an end.
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


def status_at(path: str, descriptor: int | None = None) -> Status:
    """Return what the operating system finds at a path, or behind a descriptor instead."""
    try:
        return status_of(os.stat(path) if descriptor is None else os.fstat(descriptor))
    except (OSError, ValueError) as fault:
        return Status("missing", problem=unreadable(fault).message)


def status_of(found: os.stat_result) -> Status:
    """Return the status that the operating system's answer amounts to."""
    mode, identity = found.st_mode, (found.st_dev, found.st_ino)
    if stat.S_ISREG(mode):
        return Status(
            "file",
            found.st_size,
            identity,
            mode & PERMISSIONS,
            found.st_atime_ns,
            found.st_mtime_ns,
        )
    if stat.S_ISDIR(mode):
        return Status("folder", identity=identity)
    # Pipes and devices get no identity: to read from one and write to it is no mistake.
    kind: Kind = "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "stream"
    return Status(kind)


def unreadable(fault: OSError | ValueError) -> PoolError:
    """Return the error that says why a path can't be read."""
    if isinstance(fault, IsADirectoryError):
        return PoolError("it is a folder", "name a picture")
    reason = fault.strerror if isinstance(fault, OSError) else fault
    return PoolError(f"it can't be read: {reason}", CHECK_NAME)


def stdout_is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return os.isatty(STDOUT_FD)


def print_line(text: str) -> None:
    """Write a line of ASCII on standard output, at once."""
    write_all(STDOUT_FD, text.encode("ascii") + b"\n")


def flush() -> None:
    """Flush standard output, while a failure can still be reported."""
    if sys.stdout is not None:
        sys.stdout.flush()


def silence_stdout() -> None:
    """Point a broken standard output at the null device, so that Python's own flush succeeds."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT_FD)


def _of_stream(status: Status) -> Status:
    """Return the status of a stream: a file behind a descriptor is one, and written in place."""
    return status._replace(kind="stream") if status.kind == "file" else status


def _is_terminal(path: str, number: int | None) -> bool:
    """Return whether a descriptor, or else the device of a path, is a terminal.

    Raises:
        OSError: there is no such stream.
    """
    if number is not None:
        os.fstat(number)  # it raises if the descriptor is closed
        return os.isatty(number)
    if not stat.S_ISCHR(os.stat(path).st_mode):
        return False
    harmless = getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NONBLOCK", 0)
    opened = os.open(path, os.O_WRONLY | harmless)
    try:
        return os.isatty(opened)
    finally:
        os.close(opened)
