"""A terminal to print on, and what progress displays print on it."""

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

from tests.batch_support import PATIENCE

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
STEERING: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A terminal that is read all the time, so that nobody who prints on it waits."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self._said = b""
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        with suppress(OSError):  # Linux's way to say that nobody is left
            while True:
                self._said += os.read(self.ours, 1 << 16)

    @property
    def so_far(self) -> str:
        """What has been printed up to now."""
        return self._said.decode(errors="ignore")

    def all(self) -> str:
        """All that was printed, once its programs have ended."""
        self.hang_up()
        self._reader.join(PATIENCE)
        return self._said.decode()

    def hang_up(self) -> None:
        """Let the programs' end go."""
        if self.theirs >= 0:
            os.close(self.theirs)
        self.theirs = -1
