"""The memory that runs of poolcli take, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.processes import Done, environment
from tests.support.warm import ForkServer

Peak = Callable[..., int]

TELL_PEAK: Final = """
import atexit, ctypes, re
ctypes.CDLL(None).mallopt(-3, 1 << 17)
def tell():
    with open("/proc/self/status") as status, open("peak", "w") as stream:
        stream.write(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
atexit.register(tell)
"""
"""Python that is run beforehand. glibc would put some large blocks into the heap, where it may have
freed memory of the server; with a fixed M_MMAP_THRESHOLD each takes memory of its own."""


def run_measured(server: ForkServer, folder: Path, *words: object) -> tuple[Done, int]:
    """Run poolcli in a folder; return what it does, and the most bytes that it has taken.

    They contain those of the server: only the difference of two runs tells something.
    """
    done = server.run(*words, first=TELL_PEAK, cwd=folder, variables=environment())
    return done, 1024 * int((folder / "peak").read_text())
