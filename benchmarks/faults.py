"""Interrupt and kill runs at random moments: `python benchmarks/faults.py [--scale 1]`.

Every run must leave inputs as they were, only whole outputs, and no process. The moments are spread
over the measured duration of a run. With scale 1 there are 500 interruptions of each kind of run,
200 kills, and 20 rounds of five runs at once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

COMMAND: Final = (sys.executable, "-m", "poolcli", "max", "--size", "2")
WORKERS: Final = ("-j", "2", "--timeout", "600")
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "file": ("--overwrite", "file.png", "out/file.png"),
    "batch": ("--overwrite", *WORKERS, "in", "out"),
    "animation": ("--overwrite", "animation.gif", "out/animation.gif"),
    "stack": ("--overwrite", "stack.tif", "out/stack.tif"),
}
POLICIES: Final = (
    ("--overwrite",),
    ("--overwrite", *WORKERS),
    ("--skip-existing",),
    ("--skip-existing", *WORKERS),
    (),
)
PATIENCE: Final = 300.0


class FaultError(Exception):
    """What a run has left that it must not leave."""


def make(folder: Path) -> None:
    """Make the inputs of all kinds of run."""
    rng = np.random.default_rng(1)

    def noise(side: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))

    (folder / "in").mkdir()
    (folder / "out").mkdir()
    noise(400).save(folder / "file.png")
    for number in range(8):
        noise(60).save(folder / "in" / f"{number}.png")
    for name in ("animation.gif", "stack.tif"):
        first, *others = (noise(60) for _ in range(8))
        first.save(folder / name, save_all=True, append_images=others)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by its path."""
    return {str(one): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def family(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            text = Path("/proc", name, "stat").read_text(errors="replace")
            state, _, _, session = text.rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(name))
    return found


def start(words: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    """Start a run in a session of its own."""
    return subprocess.Popen(
        [*COMMAND, "--quiet", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def end(run: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a run and of all of its processes; return what it printed."""
    try:
        printed = run.communicate(timeout=PATIENCE)[1].decode()
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise FaultError("a run hangs") from None
    began = time.monotonic()
    while left := family(run.pid):
        if time.monotonic() - began > PATIENCE:
            raise FaultError(f"processes stay: {left}")
        time.sleep(0.01)
    return printed


def check(folder: Path, inputs: dict[str, bytes], expected: dict[str, bytes], hidden: bool) -> None:
    """Refuse changed inputs, incomplete outputs and, unless allowed, hidden files."""
    now = contents(folder)
    if any(now.get(path) != content for path, content in inputs.items()):
        raise FaultError("an input has changed")
    for path in now.keys() - inputs.keys():
        if Path(path).name.startswith("."):
            if not hidden:
                raise FaultError(f"{path} stays")
        elif now[path] != expected.get(path):
            raise FaultError(f"{path} is incomplete")


def empty(folder: Path) -> None:
    """Remove all outputs."""
    for path in (folder / "out").iterdir():
        path.unlink()


def timed(words: tuple[str, ...], folder: Path) -> tuple[float, dict[str, bytes]]:
    """Return the seconds of a run without disturbance, and the outputs."""
    began = time.monotonic()
    run = start(words, folder)
    if end(run) or run.returncode:
        raise FaultError("it fails without disturbance")
    seconds, outputs = time.monotonic() - began, contents(folder / "out")
    empty(folder)
    return seconds, outputs


def interruptions(kind: str, rounds: int, folder: Path) -> str:
    """Interrupt runs of one kind, as a terminal does; return how they ended."""
    words, inputs, ends = KINDS[kind], contents(folder), Counter[str]()
    seconds, expected = timed(words, folder)
    for _ in range(rounds):
        run = start(words, folder)
        time.sleep(random.uniform(0, seconds))
        os.killpg(run.pid, signal.SIGINT)
        printed = end(run)
        if "poolcli: " in printed or run.returncode in (0, 130):
            if "Traceback" in printed or run.returncode not in (0, 130):
                raise FaultError(f"exit code {run.returncode}: {printed}")
            ends["done" if run.returncode == 0 else "interrupted"] += 1
        else:
            ends["before poolcli began"] += 1
        check(folder, inputs, expected, hidden=False)
        empty(folder)
    return ", ".join(f"{count} {how}" for how, count in sorted(ends.items()))


def kills(rounds: int, folder: Path) -> str:
    """Kill a process of a run with workers, then do the rest; return who was killed."""
    words, inputs, ends = KINDS["batch"], contents(folder), Counter[str]()
    seconds, expected = timed(words, folder)
    resume = tuple("--skip-existing" if word == "--overwrite" else word for word in words)
    for number in range(rounds):
        run = start(words, folder)
        time.sleep(random.uniform(0, seconds))
        others = [one for one in family(run.pid) if one != run.pid]
        victim = random.choice(others) if others and number % 2 else run.pid
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        printed = end(run)
        ends["parent" if victim == run.pid else "worker or fork server"] += 1
        if "Traceback" in printed or run.returncode not in (0, -signal.SIGKILL):
            raise FaultError(f"exit code {run.returncode}: {printed}")
        check(folder, inputs, expected, hidden=True)
        again = start(resume, folder)
        if end(again) or contents(folder / "out") != expected:
            raise FaultError("the next run doesn't do the rest")
        empty(folder)
    return ", ".join(f"{count} × {who}" for who, count in sorted(ends.items()))


def simultaneous(rounds: int, folder: Path) -> str:
    """Run all policies at once into one folder; return the exit codes."""
    inputs, codes = contents(folder), Counter[int]()
    expected = timed(("in", "out"), folder)[1]
    for _ in range(rounds):
        runs = [start((*policy, "in", "out"), folder) for policy in POLICIES]
        for policy, run in zip(POLICIES, runs, strict=True):
            if "Traceback" in end(run) or run.returncode not in ((0,) if policy else (0, 1, 2)):
                raise FaultError(f"exit code {run.returncode} with {policy}")
            codes[run.returncode] += 1
        check(folder, inputs, expected, hidden=False)
        if contents(folder / "out") != expected:
            raise FaultError("outputs are missing")
        empty(folder)
    return ", ".join(f"{count} × exit code {code}" for code, count in sorted(codes.items()))


def rows(scale: float, folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield what was done, how often, and how it ended."""
    for kind in KINDS:
        rounds = max(4, round(500 * scale))
        yield f"interruptions of: {kind}", rounds, interruptions(kind, rounds, folder)
    rounds = max(4, round(200 * scale))
    yield "kills", rounds, kills(rounds, folder)
    rounds = max(2, round(20 * scale))
    yield "five runs at once", rounds, simultaneous(rounds, folder)


def main() -> None:
    """Print a table; exit with 1 at the first failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    random.seed(options.seed)
    # The runs must take Ctrl-C, which is ignored in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("| what | times | how the runs ended |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        try:
            for what, times, how in rows(options.scale, Path(name)):
                print(f"| {what} | {times} | {how} |", flush=True)
        except FaultError as fault:
            sys.exit(f"seed {options.seed}: {fault}")


if __name__ == "__main__":
    main()
