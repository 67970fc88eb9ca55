"""What the tests of folders share: trees, processes that may be killed, faults on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import pytest
from PIL import Image

Done = subprocess.CompletedProcess[bytes]
Process = subprocess.Popen[bytes]
Value = TypeVar("Value")

HALVE = ("max", "--size", 2)
PATIENCE = 60.0
NOBODY = 65534
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  # no disk to wait for

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux's /proc")
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)

HEAR_SIGNALS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
BECOME_NOBODY = f"""
import io, json, os, shlex, traceback
import poolcli.cli, poolcli.run, poolcli.console
import poolcli.executors.cpus, poolcli.executors.processes
from PIL import Image
from rich.console import Console
from rich.table import Table
Image.init()
Console(file=io.StringIO()).print(Table("what is imported late"))
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
"""


# Trees


def paint(path: Path, side: int = 8, mode: str = "RGB", seed: int | None = None) -> Path:
    """A picture of noise, in a folder that is made if it must be."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(seed if seed is not None else len(str(path)))
    shape = (side, side) if channels == 1 else (side, side, channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).save(path)
    return path


def paint_all(folder: Path, *names: str, side: int = 8) -> Path:
    """A folder of different pictures."""
    for seed, name in enumerate(names):
        paint(folder / name, side, seed=seed)
    return folder


def grow(folder: Path, *names: str) -> Path:
    """Empty files and, where a name ends in a slash, empty folders."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path; nothing if there is no such folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether anything below a folder was touched."""
    statuses = {str(path): path.lstat() for path in folder.rglob("*")}
    return {
        path: (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ino)
        for path, one in statuses.items()
    }


@contextmanager
def new_folder() -> Iterator[Path]:
    """A new working folder for a while, in memory where that can be had."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


# Processes


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would colour the answer."""
    ours = ("POOLCLI", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_", "CLICOLOR")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"TERM": "xterm-256color"} | dict(more)


@contextmanager
def started(
    *words: object, cwd: Path, first: str = "", variables: Mapping[str, str] = {}, **options: Any
) -> Iterator[Process]:
    """A running poolcli in a session of its own, of which nothing is left in the end.

    ``first`` is Python that its process runs beforehand.
    """
    program = "\n".join((HEAR_SIGNALS, first, "from poolcli.cli import main; main()"))
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    process: Process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=cwd,
        env=environment(variables),
        start_new_session=True,
        **(streams | options),
    )
    watchdog = threading.Timer(PATIENCE, kill_all, [process])
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        kill_all(process)
        process.communicate()


def finish(process: Process) -> Done:
    """Wait for a process, but not for ever."""
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.args, process.returncode, out or b"", err or b"")


def run_after(first: str, *words: object, **options: Any) -> Done:
    """Run poolcli in a process that runs some Python beforehand."""
    with started(*words, first=first, **options) as process:
        return finish(process)


def kill_all(process: Process) -> None:
    """End a process and all that it started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def family(process: Process) -> dict[int, int]:
    """The living processes of a session: from the number of each to its parent's."""
    parents = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            state, parent, _, session = _status_of(name)
            if int(session) == process.pid and state not in "ZX":
                parents[int(name)] = int(parent)
    return parents


def _status_of(number: str) -> list[str]:
    text = Path("/proc", number, "stat").read_bytes().decode("ascii", "replace")
    return text.rpartition(")")[2].split()[:4]


def workers_of(process: Process) -> list[int]:
    """The worker processes: the children of its fork server."""
    parents = family(process)
    return [one for one, parent in parents.items() if parents.get(parent) == process.pid]


def until(condition: Callable[[], Value], pause: float = 0.02) -> Value:
    """What a condition becomes once it is true."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(pause)
    return value


def asleep(process: Process) -> bool:
    """Whether a process sits in a system call, where a signal reaches it at once.

    One that comes just before the call is answered by Python only after it (PEP 475).
    """

    def switches() -> str:
        return Path(f"/proc/{process.pid}/status").read_text().split("\nvoluntary")[1]

    before = switches()
    time.sleep(0.1)
    return switches() == before


def gone(process: Process) -> bool:
    """Whether nothing of a session lives any more."""
    return process.poll() is not None and not family(process)


# Faults on demand


@contextmanager
def held(fifo: Path) -> Iterator[int]:
    """The end to write to of a FIFO that somebody has begun to read, and waits for."""

    def opened() -> list[int]:
        with suppress(OSError):  # nobody reads yet
            return [os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)]
        return []

    (descriptor,) = until(opened)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def readers_of(fifo: Path, process: Process) -> list[int]:
    """The processes of a session that have a FIFO open."""
    return [one for one in family(process) if str(fifo) in _open_files(one)]


def _open_files(number: int) -> list[str]:
    names = []
    with suppress(OSError):
        folder = f"/proc/{number}/fd"
        names = [os.readlink(f"{folder}/{one}") for one in os.listdir(folder)]
    return names


def sabotage(folder: Path, python: str) -> dict[str, str]:
    """Variables under which every Python process begins with some code, workers included."""
    home = folder / "sabotage"
    home.mkdir()
    (home / "sitecustomize.py").write_text(python)
    return {"PYTHONPATH": os.pathsep.join((str(home), os.environ.get("PYTHONPATH", "")))}


# What is said


def objects(text: bytes) -> list[dict[str, Any]]:
    """JSON Lines, strictly: ASCII, no NaN, no empty line."""
    return [json.loads(line, parse_constant=_never) for line in text.decode("ascii").splitlines()]


def _never(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def statuses(done: Done) -> dict[str, str]:
    """What became of each input, by the name of its file."""
    *outcomes, _ = objects(done.stdout)
    return {os.path.basename(one["input"]): one["status"] for one in outcomes}


def has_only_printable_lines(text: str) -> bool:
    """Whether nothing in a text could do anything to a terminal."""
    return not any(
        unicodedata.category(letter).startswith(("C", "Zl", "Zp"))
        for letter in text
        if letter != "\n"
    )
