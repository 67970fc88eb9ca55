"""Measure how time and memory grow: `python benchmarks/growth.py [--quick] [--plot growth.svg]`.

One quantity grows at a time: the size of the picture, of the window, the number of channels, of
files. Each has a table and a plot with two logarithmic axes. The grey line in the plot has slope 1,
which means growth in proportion.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from measure import POOLCLI, ROOT, Cost, cost, least, machine, photograph
from PIL import Image

MEGAPIXELS: Final = (1, 2, 5, 12, 25, 50, 100, 200)
SIZES: Final = (2, 3, 5, 9, 17, 33, 65, 101)
CHANNELS: Final = (1, 2, 3, 4, 8)
FILES: Final = (100, 1000, 5000, 20_000)
PLANNED: Final = (1000, 10_000, 100_000)
PLAN_SECONDS: Final = 2.0
"""The promised bound of the time of a plan beyond a walk of the tree."""

FILE_BYTES: Final = 1000
"""The promised bound of the memory that a plan holds per file."""

ROUNDS: Final = 3
PANEL: Final = (300, 220)

PLANNING: Final = """
import json, os, sys, time, tracemalloc
from poolcli import plan as jobs
tree = sys.argv[1]
def walk():
    return sorted(os.path.join(top, name) for top, _, names in os.walk(tree) for name in names)
def plan():
    return jobs.make_plan((tree, tree + "-out/"), jobs.Policy())
def least(work):
    times = []
    for _ in range(3):
        began = time.perf_counter(); work(); times.append(time.perf_counter() - began)
    return min(times)
walked, planned = least(walk), least(plan)
tracemalloc.start(); made = plan()
print(json.dumps([walked, planned, tracemalloc.get_traced_memory()[0], len(made)]))
"""


class Point(NamedTuple):
    """One measurement.

    Attributes:
        amount: the value of the quantity that grows.
        seconds: the least time of several runs.
        cpu: the least CPU seconds.
        peak: the resident memory in bytes.
    """

    amount: float
    seconds: float
    cpu: float
    peak: int


class Series(NamedTuple):
    """The measurements of one quantity that grows.

    Attributes:
        title: the quantity, and what is done.
        unit: the unit of the quantity.
        points: the measurements, from small to large.
    """

    title: str
    unit: str
    points: list[Point]


def best(command: str, folder: Path) -> Cost:
    """Return the least costs of a few runs."""
    return least({"": command}, ROUNDS, folder)[""]


def of_pictures(folder: Path, quick: bool) -> Series:
    """Measure pictures from small to large."""
    points = []
    for megapixels in MEGAPIXELS[: 4 if quick else None]:
        width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
        Image.fromarray(photograph(width, width * 3 // 4)).save(folder / "in.jpg", quality=90)
        limit = f"--max-pixels {int(megapixels * 2e6)}"
        words = f"{POOLCLI} avg --size 2 -q --overwrite {limit} in.jpg out.jpg"
        points.append(Point(megapixels, *best(words, folder)))
    return Series("picture (JPEG, avg 2)", "MP", points)


def of_windows(folder: Path, method: str, step: str) -> Series:
    """Measure windows from small to large, on an array of 12 MP, which is read and written fast."""
    if not (folder / "in.npy").exists():
        np.save(folder / "in.npy", photograph(4000, 3000))
    points = []
    for size in SIZES:
        stride = 1 if step == "1" else size
        words = f"{POOLCLI} {method} --size {size} --stride {stride} -q --overwrite in.npy out.npy"
        points.append(Point(size, *best(words, folder)))
    return Series(f"window ({method}, stride {step}, 12 MP)", "pixels", points)


def of_channels(folder: Path) -> Series:
    """Measure arrays of 4 MP with few and with many channels."""
    points = []
    for channels in CHANNELS:
        shape = (2000, 2000, channels)
        np.save(folder / "in.npy", np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        words = f"{POOLCLI} avg --size 2 -q --overwrite in.npy out.npy"
        points.append(Point(channels, *best(words, folder)))
    (folder / "in.npy").unlink()
    return Series("channels (array of 4 MP, avg 2)", "channels", points)


def of_files(folder: Path, quick: bool) -> Series:
    """Measure folders of few and of many small files, with two workers."""
    tree, points = folder / "many", []
    tree.mkdir()
    Image.fromarray(photograph(64, 48)).save(tree / "0.png")
    octets = (tree / "0.png").read_bytes()
    made = 1
    for count in FILES[: 2 if quick else None]:
        for number in range(made, count):
            (tree / f"{number}.png").write_bytes(octets)
        made = count
        words = f"{POOLCLI} avg --size 2 -q -j 2 many/ out-{count}/"
        points.append(Point(count, *cost(words, folder)))
    return Series("files (64 × 48 PNG, avg 2, -j 2)", "files", points)


def of_plans(folder: Path, quick: bool) -> tuple[Series, list[str]]:
    """Measure plans alone; return the measurements and the bounds that are exceeded.

    The time is that beyond a walk of the tree by `os.walk`, the memory what the plan holds.
    """
    tree, points, exceeded, made = folder / "planned", [], [], 0
    for count in PLANNED[: 2 if quick else None]:
        for number in range(made, count):
            if number % 1000 == 0:
                (tree / f"{number // 1000:03}").mkdir(parents=True)
            (tree / f"{number // 1000:03}" / f"{number:06}.png").touch()
        made = count
        done = subprocess.run(
            [sys.executable, "-c", PLANNING, tree], capture_output=True, check=True, cwd=ROOT
        )
        walked, planned, held, planned_files = json.loads(done.stdout)
        if planned_files != count:
            raise SystemExit(f"the plan has {planned_files} files of {count}")
        points.append(Point(count, planned - walked, planned - walked, held))
        exceeded += ["plan: seconds"] * (planned - walked > PLAN_SECONDS)
        exceeded += ["plan: bytes a file"] * (held > FILE_BYTES * count)
    return Series("plan, beyond a walk of the tree; bytes that it holds", "files", points), exceeded


def table(series: Series) -> Iterator[str]:
    """Yield the lines of a table, with what one unit more costs from each point to the next."""
    yield f"\n{series.title}"
    heads = f"{'seconds':>9} {'MB':>8} {'ms a unit more':>15} {'KB a unit more':>15}"
    yield f"  {series.unit:>10} {heads}"
    last = None
    for point in series.points:
        more = ""
        if last is not None:
            units = point.amount - last.amount
            more = f"{(point.seconds - last.seconds) / units * 1e3:15.3f} "
            more += f"{(point.peak - last.peak) / units / 1e3:15.3f}"
        yield f"  {point.amount:10g} {point.seconds:9.3f} {point.peak / 1e6:8.1f} {more}"
        last = point


def plot(every: list[Series]) -> str:
    """Return an SVG with a plot for each series; both axes are logarithmic."""
    width, height = PANEL
    columns = 3
    rows = -(-len(every) // columns)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width}" '
        f'height="{rows * height}" font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, series in enumerate(every):
        left, top = number % columns * width, number // columns * height
        parts += [f'<g transform="translate({left} {top})">', *_panel(series), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(series: Series) -> Iterator[str]:
    """Yield a plot: seconds in blue, memory in orange, growth in proportion in grey."""
    width, height, margin = *PANEL, 30
    first, last = series.points[0], series.points[-1]
    decades = np.log10(last.amount / first.amount)

    def place(amount: float, growth: float) -> str:
        across = np.log10(amount / first.amount) / decades
        up = np.log10(max(growth, 1e-3)) / decades
        x = margin + across * (width - 2 * margin)
        return f"{x:.1f},{height - margin - up * (height - 2.5 * margin):.1f}"

    yield f'<text x="{width / 2}" y="18" text-anchor="middle">{series.title}</text>'
    yield f'<text x="{margin}" y="{height - 10}">{first.amount:g} {series.unit}</text>'
    yield f'<text x="{width - margin}" y="{height - 10}" text-anchor="end">{last.amount:g}</text>'
    ends = place(first.amount, 1), place(last.amount, last.amount / first.amount)
    yield f'<polyline points="{" ".join(ends)}" stroke="#ccc" fill="none"/>'
    for side, colour in (("seconds", "#1f77b4"), ("peak", "#ff7f0e")):
        base = getattr(first, side)
        line = (place(one.amount, getattr(one, side) / base) for one in series.points)
        yield f'<polyline points="{" ".join(line)}" stroke="{colour}" fill="none"/>'


def main() -> None:
    """Print the tables and write the plot; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the largest amounts out")
    parser.add_argument("--plot", type=Path, help="where to write an SVG")
    args = parser.parse_args()
    print(machine())
    every = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every.append(of_pictures(folder, args.quick))
        every.append(of_windows(folder, "max", "1"))
        every.append(of_windows(folder, "avg", "1"))
        every.append(of_windows(folder, "max", "size"))
        every.append(of_channels(folder))
        every.append(of_files(folder, args.quick))
        plans, exceeded = of_plans(folder, args.quick)
        every.append(plans)
    for series in every:
        print("\n".join(table(series)), flush=True)
    if args.plot is not None:
        args.plot.write_text(plot(every), "utf-8")
    if exceeded:
        sys.exit(f"over the bound: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
