"""Measure the time and memory around the engine: `python benchmarks/plumbing.py [--rounds 9]`.

Pictures are JPEGs, which Pillow decodes and encodes as a whole; a PNG is decoded, pooled and
encoded band by band. The first table has the time from the end of decoding to the beginning of
encoding, divided by the time of the engine alone on the same array. Each is measured in a new
process, since a first call also gets its memory from the kernel. The second table compares the
peak memory of a whole process with the memory that no program can avoid: the decoded picture, the
result and the written file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
from measure import MIB, POOLCLI, cost, machine, photograph
from PIL import Image, ImageFile

from poolcli import avg_pool, max_pool, process, run
from poolcli.colour import Pixels
from poolcli.engine.window import Window
from poolcli.formats import by_name
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.methods import make
from poolcli.plan import Job
from poolcli.run.work import Work
from poolcli.storage import place_of
from poolcli.storage.local import LocalFile

WIDTH, HEIGHT = 4000, 3000
LARGE: Final = (8000, 6000)
MOST_TIMES: Final = 2.0
"""The promised bound of the ratio of times."""

MOST_MORE: Final = 80 * MIB
"""The promised bound of the memory beyond what is needed."""

POOLS: Final[dict[str, Callable[..., Any]]] = {"max": max_pool, "avg": avg_pool}


def between(path: Path, method: str) -> float:
    """Pool one picture; return the seconds from the end of decoding to the start of encoding."""
    moments: dict[str, float] = {}
    load, save = ImageFile.ImageFile.load, Image.Image.save

    def loading(image: Any) -> Any:
        done = load(image)
        moments.setdefault("decoded", time.perf_counter())
        return done

    def saving(image: Any, *words: Any, **options: Any) -> None:
        moments.setdefault("encoding", time.perf_counter())
        save(image, *words, **options)

    target = LocalFile(str(path.with_name("out.jpg")), in_folder=True)
    job = Job(place_of(str(path)), target, by_name("jpeg"))
    parts = make(method), Window.of(2), Pixels(), Saving(), Limits(10**9)
    work = Work(*parts, overwrite=True)
    with (
        mock.patch.object(ImageFile.ImageFile, "load", loading),
        mock.patch.object(Image.Image, "save", saving),
    ):
        outcome = run.run_job(job, work)
    if outcome.status != "done":
        raise SystemExit(f"{path.name}: {outcome.error}")
    return moments["encoding"] - moments["decoded"]


def alone(array: Path, method: str) -> float:
    """Return the seconds of a first call of the engine."""
    pixels = np.load(array)
    began = time.perf_counter()
    POOLS[method](pixels, 2)
    return time.perf_counter() - began


SIDES: Final = {"between": between, "alone": alone}


def least(side: str, path: Path, method: str, rounds: int) -> float:
    """Return the least seconds of one side of the ratio, each time in a new process."""
    command = [sys.executable, __file__, "--one", side, str(path), method]
    return min(
        float(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(rounds)
    )


def times(folder: Path, rounds: int) -> list[str]:
    """Print the table of times; return the rows whose bound is exceeded."""
    pixels, exceeded = photograph(WIDTH, HEIGHT), []
    np.save(folder / "in.npy", pixels)
    print(f"{'':20} {'between ms':>10} {'engine ms':>10} {'ratio':>6}  at most")
    Image.fromarray(pixels).save(folder / "in.jpg", quality=90)
    for method in POOLS:
        ours = least("between", folder / "in.jpg", method, rounds)
        engine = least("alone", folder / "in.npy", method, rounds)
        passed = ours > MOST_TIMES * engine
        exceeded += [f"{method}: time"] * passed
        print(
            f"12 MP JPEG, {method} 2/2  {ours * 1e3:10.1f} {engine * 1e3:10.1f} "
            f"{ours / engine:6.2f}  {MOST_TIMES}{'  OVER' if passed else ''}",
            flush=True,
        )
    return exceeded


def memory(folder: Path) -> list[str]:
    """Print the table of memory; return the rows whose bound is exceeded."""
    exceeded = []
    print(f"\n{'':20} {'peak MiB':>10} {'needed MiB':>10} {'more':>6}  at most")
    for extents in ((WIDTH, HEIGHT), LARGE):
        image = Image.fromarray(photograph(*extents))
        pixels = extents[0] * extents[1]
        image.save(folder / "in.jpg", quality=90)
        peak = cost(f"{POOLCLI} avg --size 2 -q --overwrite in.jpg out.jpg", folder).peak
        # Pillow stores four bytes per pixel also for three channels.
        needed = pixels * 4 + pixels // 4 * 3 + os.path.getsize(folder / "out.jpg")
        more = peak - needed
        passed = more > MOST_MORE
        exceeded += [f"{pixels / 1e6:.0f} MP: memory"] * passed
        print(
            f"{pixels / 1e6:.0f} MP JPEG, avg 2/2  {peak / MIB:10.0f} "
            f"{needed / MIB:10.0f} {more / MIB:6.0f}  {MOST_MORE // MIB}"
            f"{'  OVER' if passed else ''}",
            flush=True,
        )
    return exceeded


def main() -> None:
    """Print both tables; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "FILE", "METHOD"))
    args = parser.parse_args()
    if args.one:
        side, path, method = args.one
        process.set_up()
        print(SIDES[side](Path(path), method))
        return
    print(f"{machine()}, one thread\n")
    with tempfile.TemporaryDirectory() as name:
        exceeded = times(Path(name), args.rounds) + memory(Path(name))
    if exceeded:
        sys.exit(f"over the bound: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
