"""Real shells on a terminal, to which keys are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.processes import PATIENCE
from tests.support.terminal import Terminal

PLAIN: Final[dict[str, tuple[str, ...]]] = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "-i"),
}
"""How each shell is started without anybody's settings."""

OWN_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Python that makes standard input the terminal of its session, and becomes another program."""

TO_START, TO_END = "\x01", "\x05"
"""Ctrl-A and Ctrl-E, which move to the start and to the end of the line."""


def typed(
    shell: str, *lines: str, cwd: Path, variables: Mapping[str, str], set_up: str
) -> list[list[str]]:
    """Return the words of command lines that are typed into a shell; tabs complete them.

    In the end each line is made an argument of a command that prints its words into a file.

    Args:
        shell: its name.
        lines: what is typed.
        cwd: the working folder.
        variables: the environment.
        set_up: a command that is run beforehand.
    """
    files = [cwd / f"{number}.said" for number in range(len(lines))]
    keys = [
        f"{line}{TO_START}printf '%s\\n' {TO_END} > {file.name}"
        for line, file in zip(lines, files, strict=True)
    ]
    terminal = Terminal()
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *PLAIN[shell]],
        cwd=cwd,
        env={**variables, "TERM": "xterm", "HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd)},
        stdin=terminal.theirs,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        start_new_session=True,
    )
    try:
        os.write(terminal.ours, "".join(f"{line}\r" for line in (set_up, *keys, "exit")).encode())
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        text = terminal.all()
        os.close(terminal.ours)
    assert all(file.exists() for file in files), text
    return [file.read_text().splitlines() for file in files]
