"""Test poolcli with damaged files and random calls of the engine: `python benchmarks/fuzz.py`.

    python benchmarks/fuzz.py --seconds 600          files and calls for 10 minutes, with a new seed
    python benchmarks/fuzz.py --cases 5000 --seed 1  5000 damaged files, the same ones every time
    python benchmarks/fuzz.py --calls 500 --seed 1   500 calls of the engine
    python benchmarks/fuzz.py --seed 1 --only 17     damaged file 17 again; it is kept

A damaged file must end with exit code 0 and an output, or with exit code 1, one line on standard
error and no output. A call of the engine must return the same as the nested loop of the tests. The
cases run in a child process: a case that kills it or takes too long is reported as a failure too,
with its seed and number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from damage import Case, Random, case, samples  # noqa: E402

import poolcli  # noqa: E402  # from this clone
from tests.engine_calls import (  # noqa: E402
    DTYPES,
    LAYOUTS,
    METHODS,
    TUNINGS,
    TUNINGS_OF,
    Call,
    random_values,
)
from tests.support.words import foreign_words  # noqa: E402

MEMORY: Final = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  # no disk to wait for
SECONDS_A_CASE: Final = 20
"""The CPU time that a case may take. It is no wall-clock time, since the machine may be busy."""

ADDRESS_SPACE: Final = 6 << 30
MOST_FAILURES: Final = 10


# One case


class Room:
    """An empty working folder in which cases run, with their output captured in two files.

    Attributes:
        folder: the folder.
        reached: the number of cases whose headers were accepted, so that pixels were decoded.
    """

    def __init__(self, folder: str) -> None:
        """Change to the folder, and redirect standard output and error until the process ends."""
        self.folder = folder
        self.reached = 0
        os.chdir(folder)
        self._files = {}
        for number in (1, 2):
            self._files[number] = os.open(f"{folder}.{number}", os.O_RDWR | os.O_CREAT)
            os.dup2(self._files[number], number)

    def printed(self, number: int) -> str:
        """Return what was printed since the last call on standard output or error."""
        file = self._files[number]
        text = os.pread(file, 1 << 20, 0)
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        return text.decode("utf-8", "replace")

    def run(self, case: Case) -> str:
        """Run a case; return what is wrong with its end, in words, or an empty text."""
        from poolcli import cli
        from poolcli.formats import contract
        from poolcli.run import output

        source = case.arguments[-2]
        Path(source).write_bytes(case.data)
        opened = []

        def counted(*words: Any, real: Callable[..., Any] = contract.open_writer) -> Any:
            opened.append(words)  # the headers have been accepted: pixels are decoded next
            return real(*words)

        code: Any = None
        with (
            mock.patch.object(sys, "argv", ["poolcli", *case.arguments]),
            mock.patch.object(output, "open_writer", counted),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except BaseException:  # noqa: BLE001  # an exception that escapes is a failure
                code = traceback.format_exc()
        self.reached += bool(opened)
        left = {one.name for one in os.scandir()} - {source}
        problem = _verdict(case, code, self.printed(1), self.printed(2), left)
        for name in {*left, source}:
            os.unlink(name)
        return problem


def _verdict(case: Case, code: Any, out: str, err: str, left: set[str]) -> str:
    """Return what is wrong with the end of a case, in words, or an empty text."""
    wanted = {case.arguments[-1]} if code == 0 and "--dry-run" not in case.arguments else set()
    if code not in (0, 1):
        return f"exit {code}: {err}"
    if left != wanted:
        return f"exit {code}, but the folder holds {sorted(left)}"
    if len(err.splitlines()) != code or not err.startswith("poolcli: "[: 9 * code]):
        return f"exit {code}, but standard error holds {err!r}"
    if words := foreign_words(err.replace(case.arguments[-2], "")):
        return f"exit {code}, with words of others {words}: {err!r}"
    if "--json" in case.arguments:
        with contextlib.suppress(ValueError):
            out = "" if [json.loads(line) for line in out.splitlines()][1:] else out
    if out:
        return f"exit {code}, but standard output holds {out!r}"
    if wanted and (size := os.path.getsize(case.arguments[-1])) < 8:
        return f"the output has {size} bytes"
    return ""


# Calls of the engine


def check_call(rng: Random) -> tuple[bool, str]:
    """Run a random call of the engine, and compare it with the nested loop of the tests.

    Returns:
        Whether the window fits the array, and what is wrong with the result, in words.
    """
    method = str(rng.choice(METHODS))
    array = _array(rng)
    geometry, options = _geometry(rng), _options(rng, method, array.shape[:2])
    tunings = TUNINGS_OF.get(method, TUNINGS)
    tuning = tunings[rng.integers(len(tunings))]
    call = Call(method, array, geometry, options, tuning)
    title = f"{method} of {array.shape} {array.dtype.str}, {geometry}, {options}, {tuning}"
    fits = call.fits()
    try:
        differs = call.mismatches() if fits else [f"not refused: {call.run()}"]
    except poolcli.PoolError as refusal:
        differs = [f"refused, {refusal}"] if fits else []
    except Exception:  # noqa: BLE001  # any exception but PoolError is a failure
        differs = [traceback.format_exc()]
    return fits, f"{title}: {differs[:3]}" if differs else ""


def _array(rng: Random) -> NDArray[Any]:
    """Return a random array of any type, byte order and layout, also with NaN and infinity."""
    dtype, shape = DTYPES[rng.integers(len(DTYPES))], tuple(rng.integers(1, 12, rng.integers(2, 4)))
    values = random_values(rng, dtype, str(rng.choice(["few", "any", "ends"])), shape)
    if dtype.kind == "f":
        values[rng.random(shape) < rng.choice([0, 0.1, 0.8])] = rng.choice([np.nan, np.inf])
    if rng.random() < 0.5:
        values = values.astype(dtype.newbyteorder("S"))
    return LAYOUTS[rng.integers(len(LAYOUTS))](values)


def _pair(rng: Random, least: int, most: int) -> Any:
    """Return a random number for both axes, or one for each."""
    down, across = (int(value) for value in rng.integers(least, most + 1, 2))
    return down if rng.random() < 0.5 else (down, across)


def _geometry(rng: Random) -> dict[str, Any]:
    """Return random arguments of a window, which may not fit the array."""
    size, dilation = _pair(rng, 1, 6), _pair(rng, 1, 3 if rng.random() < 0.4 else 1)
    spans = np.broadcast_to(dilation, 2) * (np.broadcast_to(size, 2) - 1)
    paddings = [
        *("valid", "same", "same_lower"),
        0,
        int(rng.integers(0, spans.min() + 1)),
        tuple(tuple(int(one) for one in rng.integers(0, span + 1, 2)) for span in spans),
    ]
    return {
        "size": size,
        "stride": None if rng.random() < 0.4 else _pair(rng, 1, 5),
        "padding": paddings[rng.integers(len(paddings))],
        "dilation": dilation,
        "ceil_mode": bool(rng.random() < 0.5),
    }


def _options(rng: Random, method: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return random options: NaN, the pixels that take part, weights or the divisor."""
    options: dict[str, Any] = {"nan": str(rng.choice(["omit", "propagate"]))}
    kind = rng.integers(4)
    if kind in (1, 2):
        options["where"] = rng.random(shape) < rng.choice([0, 0.3, 0.9])
    if method == "avg" and kind == 2:
        weights = rng.integers(0, rng.choice([2, 256]), shape)
        options["weights"] = weights.astype(str(rng.choice(["u1", ">u2", "<u4", "u8"])))
    if method == "avg" and kind == 3:
        options["count_include_pad"] = bool(rng.random() < 0.5)
        options["divisor_override"] = [None, 1, 3, 7, 2**70][rng.integers(5)]
    return options


# Many cases in a child process


class Plan(NamedTuple):
    """Which cases are run: from the number ``first``, at most ``most``, and for ``seconds``."""

    kind: str
    seed: int
    first: int
    most: int | None
    seconds: float | None


def child(plan: Plan, progress: str) -> None:
    """Run the cases of a plan in this process; print each failure and the totals as JSON Lines.

    Args:
        plan: which cases.
        progress: a file that always holds the number of the case that runs, so that the parent
            knows which one has killed this process.
    """
    words = os.fdopen(os.dup(1), "w", 1)
    marker = os.open(progress, os.O_WRONLY)
    samples_by_name = samples() if plan.kind == "files" else {}
    _limit_memory()
    end = None if plan.seconds is None else time.monotonic() + plan.seconds
    done = 0
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        room = Room(folder)
        while (plan.most is None or done < plan.most) and (end is None or time.monotonic() < end):
            number = plan.first + done
            os.pwrite(marker, b"%20d %20d" % (number, room.reached), 0)
            signal.setitimer(signal.ITIMER_PROF, SECONDS_A_CASE)
            problem = _problem(plan, number, room, samples_by_name)
            if problem:
                words.write(json.dumps({"number": number, "problem": problem}) + "\n")
            done += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        words.write(json.dumps({"done": done, "reached": room.reached}) + "\n")
        for number in (1, 2):
            os.unlink(f"{folder}.{number}")
        os.chdir("/")


def _problem(plan: Plan, number: int, room: Room, samples_by_name: dict[str, bytes]) -> str:
    """Run one case; return what is wrong, in words, or an empty text."""
    try:
        if plan.kind == "calls":
            fits, problem = check_call(np.random.default_rng((plan.seed, number)))
            room.reached += fits
            return problem
        one = case(plan.seed, number, samples_by_name)
        problem = room.run(one)
    except Exception:  # noqa: BLE001  # a fault of this program is reported like others
        return traceback.format_exc()
    return f"{one.title} ({' '.join(one.arguments)}): {problem}" if problem else ""


def _limit_memory() -> None:
    """Limit the memory of this process, so that a huge allocation fails here."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Totals(NamedTuple):
    """The results of a plan."""

    done: int
    reached: int
    failures: list[dict[str, Any]]


def hunt(plan: Plan) -> Totals:
    """Run the cases of a plan in a child process; start another one after a case that kills it."""
    done, reached = 0, 0
    failures: list[dict[str, Any]] = []
    started = time.monotonic()
    while len(failures) < MOST_FAILURES:
        left = None if plan.seconds is None else plan.seconds - (time.monotonic() - started)
        most = None if plan.most is None else plan.most - done
        rest = plan._replace(first=plan.first + done, most=most, seconds=left)
        lines, death, mark = _one_child(rest)
        found = [json.loads(line) for line in lines]
        failures += [one for one in found if "problem" in one]
        totals = next((one for one in found if "done" in one), None)
        if totals is not None:
            done, reached = done + totals["done"], reached + totals["reached"]
            break
        if not mark:
            raise RuntimeError(f"the child process didn't run any case: {death}")
        number, more = mark
        failures.append({"number": number, "problem": f"the process died: {death}"})
        done, reached = number + 1 - plan.first, reached + more
    return Totals(done, reached, failures)


def _one_child(plan: Plan) -> tuple[list[str], str, tuple[int, int] | None]:
    """Run a child process; return its output, how it ended, and the last case that it began."""
    with tempfile.NamedTemporaryFile(dir=MEMORY) as progress:
        words = [f"--{key}={value}" for key, value in plan._asdict().items() if value is not None]
        finished = subprocess.run(
            [sys.executable, __file__, "--child", progress.name, *words],
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        mark = progress.read().split()
    code = finished.returncode
    death = f"signal {-code}" if code < 0 else f"exit {code}, {finished.stderr.decode()[-2000:]}"
    return (
        finished.stdout.decode().splitlines(),
        death,
        (int(mark[0]), int(mark[1])) if mark else None,
    )


# The command


def main() -> int:
    """Run the cases of the command line; return 1 if any fails."""
    args = _parser().parse_args()
    if args.child:
        child(Plan(args.kind, args.seed, args.first, args.most, args.seconds), args.child)
        return 0
    seed = args.seed if args.seed is not None else int(time.time())
    if args.only is not None:
        return _repeat(seed, args.only)
    share = None if args.seconds is None else args.seconds / 2
    plans = [Plan("files", seed, 0, args.cases, share), Plan("calls", seed, 0, args.calls, share)]
    if args.seconds is None:
        plans = [plan for plan in plans if plan.most is not None]
    if not plans:
        _parser().error("give --seconds, --cases or --calls")
    code = 0
    for plan in plans:
        found = hunt(plan)
        for failure in found.failures:
            print(f"FAILED {plan.kind} --seed {seed} --only {failure['number']}")
            print(f"  {failure['problem']}")
        totals = {"kind": plan.kind, "seed": seed, "done": found.done, "reached": found.reached}
        print(json.dumps({**totals, "failures": len(found.failures)}))
        code = code or bool(found.failures)
    return int(code)


def _repeat(seed: int, number: int) -> int:
    """Write one damaged file into a new folder, and run poolcli on it without capturing."""
    one = case(seed, number, samples())
    folder = Path(tempfile.mkdtemp(prefix="poolcli-fuzz-"))
    (folder / one.arguments[-2]).write_bytes(one.data)
    print(f"{one.title}\ncd {folder} && poolcli {' '.join(one.arguments)}", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "poolcli", *one.arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="how long, half for files and half for calls")
    parser.add_argument("--cases", type=int, help="number of damaged files")
    parser.add_argument("--calls", type=int, help="number of calls of the engine")
    parser.add_argument("--seed", type=int, help="repeat the run of this seed (default: a new one)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one damaged file again")
    for hidden, kind in (("--child", str), ("--kind", str), ("--first", int), ("--most", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
