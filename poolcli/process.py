"""What is global to a process: set once, at the entry of one that is ours, and nowhere else."""

from __future__ import annotations

import errno
import faulthandler
import logging
import os
import sys
import warnings
from contextlib import suppress
from io import FileIO, TextIOWrapper
from typing import Final

STDERR_FD: Final = 2
CLOSED: Final = -1
PRINTED_BYTES: Final = 1 << 12
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES: Final = 32 << 20
"""What is freed in blocks up to this size, and as much at the end of the heap, stays with us."""

_stderr = STDERR_FD
_captures = False
_entered = False


def enter() -> None:
    """Set up a process that is ours: the command, or a worker. Later calls do nothing.

    Descriptor 2 becomes a file without a name, in which C libraries may print what they like;
    what people shall read goes through a duplicate of it. Python's warnings and the log records
    of libraries, which are about strangers' files, are silenced.
    """
    global _entered
    if _entered:
        return
    _entered = True
    _take_descriptor()
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    _keep_memory()


def stderr_descriptor() -> int:
    """Return the descriptor that leads to standard error; -1 if it was closed at the start."""
    return _stderr


def printed() -> list[str]:
    """Return the first lines that C libraries have printed since the last call, and forget them.

    In a process that is not ours nothing is captured.
    """
    if not _captures or not os.fstat(STDERR_FD).st_size:
        return []
    text = os.pread(STDERR_FD, PRINTED_BYTES, 0)
    os.ftruncate(STDERR_FD, 0)
    os.lseek(STDERR_FD, 0, os.SEEK_SET)
    return text.decode("utf-8", "replace").splitlines()


def _take_descriptor() -> None:
    """Give standard error a descriptor of its own, and number 2 to what C libraries print.

    Where number 2 is closed it is taken too, or the next file that is opened would get it, and
    be filled with what they print.
    """
    global _stderr, _captures
    low = []
    try:
        while (duplicate := os.dup(STDERR_FD)) <= STDERR_FD:
            low.append(duplicate)  # standard input or output is closed: these numbers mean more
    except OSError as fault:
        if fault.errno != errno.EBADF:  # no descriptor is left: number 2 stays what it is
            return
        duplicate = CLOSED
    for number in low:
        os.close(number)
    try:
        capture = _nameless_file()
    except OSError:  # there is no room for one
        if duplicate != CLOSED:
            os.close(duplicate)
        return
    before = sys.stderr
    if isinstance(before, TextIOWrapper) and before.fileno() == STDERR_FD:
        before.flush()
        sys.stderr = sys.__stderr__ = TextIOWrapper(  # type: ignore[misc]  # Rich asks the latter
            FileIO(duplicate, "w", closefd=False),  # unbuffered, as Python's own
            before.encoding,
            before.errors,
            line_buffering=True,
            write_through=True,
        )
        if faulthandler.is_enabled():
            faulthandler.enable(duplicate)
    if capture != STDERR_FD:
        os.dup2(capture, STDERR_FD)
        os.close(capture)
    _stderr, _captures = duplicate, True


def _nameless_file() -> int:
    """Return the descriptor of a new file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("poolcli-stderr")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _keep_memory() -> None:
    """Let the next step, and the next picture, have the memory of the last.

    The C library of Linux would give it back to the kernel after each, which has to zero every
    page of it anew: a quarter of the time of a folder of JPEGs of 1 MP.
    """
    if sys.platform != "linux":
        return
    with suppress(AttributeError, ImportError, OSError):  # another C library, or no ctypes
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
