"""Set what is global to a process: warnings, logging, memory, and standard error.

Only the command line and the workers call `set_up`, once, when they begin. Importing poolcli and
calling its functions from another program changes nothing of these.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import FileIO, TextIOWrapper
from typing import Final

STDERR_FD: Final = 2
CLOSED: Final = -1
CAPTURED_BYTES: Final = 1 << 12
"""The most bytes that are read of what C libraries printed: a damaged file may make them print
endlessly."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # the numbers in <malloc.h>
KEPT_MEMORY: Final = 32 << 20
"""Bytes: freed blocks up to this size, and as much at the end of the heap, are kept for reuse."""

_stderr = STDERR_FD
_captures = False
_is_set_up = False
_waiting: list[Callable[[], object]] = []


def set_up() -> None:
    """Set up the process of the command or of a worker. Later calls do nothing.

    File descriptor 2 is redirected to an unnamed file, which captures what C libraries print.
    poolcli's own messages go to a duplicate of the original descriptor. Python's warnings and the
    log records of libraries are silenced: the user can't mend the code that they are about.
    """
    global _is_set_up
    if _is_set_up:
        return
    _is_set_up = True
    _occupy_descriptors()
    _take_descriptor()
    warnings.simplefilter("ignore")
    _keep_memory()
    while _waiting:
        _waiting.pop()()


def when_set_up(action: Callable[[], object]) -> None:
    """Call a function as soon as this process is set up: now, or never if it is not ours."""
    if _is_set_up:
        action()
    else:
        _waiting.append(action)


def stderr_descriptor() -> int:
    """Return the descriptor of standard error; -1 if it was closed when the process began."""
    return _stderr


def captured_lines() -> list[str]:
    """Return the first lines that C libraries have printed since the last call.

    Without `set_up` nothing is captured, and the list is empty.
    """
    if not _captures or not os.fstat(STDERR_FD).st_size:
        return []
    text = os.pread(STDERR_FD, CAPTURED_BYTES, 0)
    os.ftruncate(STDERR_FD, 0)
    os.lseek(STDERR_FD, 0, os.SEEK_SET)
    return text.decode("utf-8", "replace").splitlines()


def _occupy_descriptors() -> None:
    """Open the null device as standard input and output if these are closed.

    The next file or pipe would get their number otherwise, and JSON Lines would be written into
    it. The input is opened for writing and the output for reading, so that both remain unusable.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                # The new descriptor gets the lowest free number. Workers need it occupied too.
                os.set_inheritable(os.open(os.devnull, flags), True)


def _take_descriptor() -> None:
    """Duplicate standard error to another descriptor, and capture what is printed on number 2.

    Number 2 is taken also if it is closed. The next file that is opened would get it otherwise,
    and C libraries would print into that file.
    """
    global _stderr, _captures
    unsuitable = []
    try:
        # If standard input or output is closed, `dup` returns 0 or 1, which would be taken for
        # these streams.
        while (duplicate := os.dup(STDERR_FD)) <= STDERR_FD:
            unsuitable.append(duplicate)
    except OSError as fault:
        if fault.errno != errno.EBADF:  # too many files are open: capture nothing
            return
        duplicate = CLOSED
    for number in unsuitable:
        os.close(number)
    try:
        capture = _unnamed_file()
    except OSError:  # no memory or disk space is left: capture nothing
        if duplicate != CLOSED:
            os.close(duplicate)
        return
    original = sys.stderr
    if isinstance(original, TextIOWrapper) and original.fileno() == STDERR_FD:
        original.flush()
        # `sys.__stderr__` is replaced too: Rich asks its descriptor for the terminal's width.
        sys.stderr = sys.__stderr__ = TextIOWrapper(  # type: ignore[misc]
            FileIO(duplicate, "w", closefd=False),  # unbuffered, as Python's own
            original.encoding,
            original.errors,
            line_buffering=True,
            write_through=True,
        )
        if faulthandler.is_enabled():
            faulthandler.enable(duplicate)
    if capture != STDERR_FD:
        os.dup2(capture, STDERR_FD)
        os.close(capture)
    else:
        os.set_inheritable(STDERR_FD, True)
    _stderr, _captures = duplicate, True


def _unnamed_file() -> int:
    """Return the descriptor of a new file that has no name and vanishes when it is closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("poolcli-stderr")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _keep_memory() -> None:
    """Let the C library of Linux keep freed memory for the next step and the next picture.

    By default it returns large blocks to the kernel, which has to zero every page before it gives
    it out again. That took a quarter of the time of a folder of JPEGs of 1 MP.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError, ImportError, OSError):  # musl has no mallopt; or no ctypes
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY)
        mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY)
