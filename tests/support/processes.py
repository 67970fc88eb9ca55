"""poolcli as a process: started from nothing, watched, interrupted and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

Done = subprocess.CompletedProcess[bytes]
Process = subprocess.Popen[bytes]
Run = Callable[..., Done]
Words = tuple[object, ...]
Value = TypeVar("Value")

POOLCLI: Final = (sys.executable, "-m", "poolcli")
HALVE: Final = ("max", "--size", 2)
PATIENCE: Final = 120.0
"""Seconds after which a process hangs, however busy the machine is."""

FORCE: Final = ("-j", 2, "--timeout", 600)
"""What makes a small batch use workers."""

EXECUTORS: Final[dict[str, Words]] = {
    "in this process": ("-j", 1),
    "by two workers": FORCE,
}

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux's /proc and /dev")
root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
either_executor = pytest.mark.parametrize("flags", EXECUTORS.values(), ids=EXECUTORS)

TAKE_SIGNALS: Final = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
"""
"""Take the signals that are ignored where the tests run in the background of a shell."""


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """Return our environment without what would change the output."""
    ours = ("POOLCLI", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_", "CLICOLOR")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"TERM": "xterm-256color", "OPENBLAS_NUM_THREADS": "1"} | dict(more)


@contextmanager
def started(
    *words: object, cwd: Path, first: str = "", variables: Mapping[str, str] = {}, **options: Any
) -> Iterator[Process]:
    """Start poolcli in a session of its own, of which nothing is left in the end.

    ``first`` is Python that its process runs beforehand.
    """
    program = "\n".join((TAKE_SIGNALS, first, "from poolcli.cli import main; main()"))
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
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        process.wait()


def finish(process: Process, given: bytes | None = None) -> Done:
    """Give a process the rest of its input, and wait for its end."""
    out, err = process.communicate(given, timeout=PATIENCE)
    return Done(process.args, process.returncode, out or b"", err or b"")


def run_after(first: str, *words: object, **options: Any) -> Done:
    """Run poolcli from nothing, in a process that runs some Python beforehand."""
    with started(*words, first=first, **options) as process:
        return finish(process)


def run_redirected(redirections: str, *words: object, cwd: Path) -> Done:
    """Run poolcli from a shell, under redirections in its language."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *POOLCLI, *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


def kill_all(process: Process) -> None:
    """Kill a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def interrupt_all(process: Process) -> None:
    """Do what a terminal does on Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def family(process: Process) -> dict[int, int]:
    """Return the living processes of a session: from the number of each to its parent's."""
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
    """Return the worker processes: the children of its fork server."""
    parents = family(process)
    return [one for one, parent in parents.items() if parents.get(parent) == process.pid]


def servers_here() -> list[int]:
    """Return the fork servers that this very process has started and not waited for."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            command = Path("/proc", name, "cmdline").read_bytes()
            if int(_status_of(name)[1]) == os.getpid() and b"executors.server" in command:
                found.append(int(name))
    return found


def until(condition: Callable[[], Value], pause: float = 0.02) -> Value:
    """Wait for a condition to be true, and return what it is."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(pause)
    return value


def asleep(process: Process) -> bool:
    """Return whether a process waits in a system call, where a signal reaches it at once.

    One that comes just before the call is answered by Python only after it (PEP 475).
    """

    def switches() -> str:
        return Path(f"/proc/{process.pid}/status").read_text().split("\nvoluntary")[1]

    before = switches()
    time.sleep(0.1)
    return switches() == before and _status_of(str(process.pid))[0] == "S"


def gone(process: Process) -> bool:
    """Return whether nothing of a session lives any more."""
    return process.poll() is not None and not family(process)


@contextmanager
def held(fifo: Path) -> Iterator[int]:
    """Yield the end to write to of a FIFO, once somebody has opened it to read."""

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
    """Return the processes of a session that have a FIFO open."""
    return [one for one in family(process) if str(fifo) in _open_files(one)]


def _open_files(number: int) -> list[str]:
    names = []
    with suppress(OSError):
        folder = f"/proc/{number}/fd"
        names = [os.readlink(f"{folder}/{one}") for one in os.listdir(folder)]
    return names


def sabotage(folder: Path, python: str) -> dict[str, str]:
    """Return variables under which every Python process, workers too, begins with some code."""
    home = folder / "sabotage"
    home.mkdir()
    (home / "sitecustomize.py").write_text(python)
    return {"PYTHONPATH": os.pathsep.join((str(home), os.environ.get("PYTHONPATH", "")))}
