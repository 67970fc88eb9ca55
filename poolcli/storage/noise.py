"""What C libraries print on file descriptor 2 without asking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

STDERR_FD: Final = 2
HEARD_BYTES: Final = 1 << 12


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Keep what C libraries print off the terminal; afterwards the list holds its first lines.

    What is too much for a pipe is lost rather than waited for. Where that can't be had, or number
    2 is closed, the libraries are left alone.
    """
    said: list[str] = []
    try:
        before = os.dup(STDERR_FD)
    except OSError:
        yield said
        return
    try:
        ears, mouth = os.pipe()
    except OSError:  # too many open files
        os.close(before)
        yield said
        return
    if hasattr(os, "set_blocking"):  # not on Windows before Python 3.12
        os.set_blocking(mouth, False)
        os.set_blocking(ears, False)  # somebody may still hold the other end
        os.dup2(mouth, STDERR_FD)
    try:
        yield said
    finally:
        os.dup2(before, STDERR_FD)
        os.close(before)
        os.close(mouth)
        with suppress(BlockingIOError):  # nothing was said
            said += os.read(ears, HEARD_BYTES).decode("utf-8", "replace").splitlines()
        os.close(ears)
