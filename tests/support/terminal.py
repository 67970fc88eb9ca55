"""A terminal that programs under test print on."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from contextlib import suppress
from typing import Final

from tests.support.processes import PATIENCE

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
CONTROLS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A pseudoterminal of 40 rows and 200 columns that is read all the time, so that nobody waits.

    Attributes:
        ours: the descriptor that is read.
        theirs: the descriptor for programs.
    """

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # Linux's way to say that nobody is left
            while True:
                self._printed += os.read(self.ours, 1 << 16)

    @property
    def so_far(self) -> str:
        """What has been printed up to now."""
        return self._printed.decode(errors="ignore")

    def all(self) -> str:
        """Let the programs' end go, and return all that was printed, once they have ended."""
        if self.theirs >= 0:
            os.close(self.theirs)
        self.theirs = -1
        self._reader.join(PATIENCE)
        return self._printed.decode()
