"""How time and memory grow: `python benchmarks/growth.py [--quick] [--plot growth.svg]`.

One thing grows at a time: the picture, the window, the channels, the files. A table, and a plot
of each on two logarithmic axes beside a line of slope 1, which is growth in proportion.
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
from measure import POOLCLI, ROOT, Cost, cost, machine, photograph
from PIL import Image

MEGAPIXELS: Final = (1, 2, 5, 12, 25, 50, 100, 200)
SIZES: Final = (2, 3, 5, 9, 17, 33, 65, 101)
CHANNELS: Final = (1, 2, 3, 4, 8)
FILES: Final = (100, 1000, 5000, 20_000)
PLANNED: Final = (1000, 10_000, 100_000)
PLAN_SECONDS: Final = 2.0
FILE_BYTES: Final = 1000
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
        amount: of what grows.
        seconds: least of several runs.
        peak: resident bytes.
    """

    amount: float
    seconds: float
    peak: int


class Series(NamedTuple):
    """Measurements of one thing that grows.

    Attributes:
        title: what grows, and what is done with it.
        unit: of its amount.
        points: in order.
    """

    title: str
    unit: str
    points: list[Point]


def best(command: str, folder: Path) -> Cost:
    """The least cost of a few runs."""
    found = [cost(command, folder) for _ in range(ROUNDS)]
    return Cost(min(one.seconds for one in found), min(one.peak for one in found))


def of_pictures(folder: Path, quick: bool) -> Series:
    """Pictures from small to large."""
    points = []
    for megapixels in MEGAPIXELS[: 4 if quick else None]:
        width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
        Image.fromarray(photograph(width, width * 3 // 4)).save(folder / "in.jpg", quality=90)
        limit = f"--max-pixels {int(megapixels * 2e6)}"
        words = f"{POOLCLI} avg --size 2 -q --overwrite {limit} in.jpg out.jpg"
        points.append(Point(megapixels, *best(words, folder)))
    return Series("picture (JPEG, avg 2)", "MP", points)


def of_windows(folder: Path, method: str, step: str) -> Series:
    """Windows from small to large over an array of 12 MP, which is read and written fast."""
    if not (folder / "in.npy").exists():
        np.save(folder / "in.npy", photograph(4000, 3000))
    points = []
    for size in SIZES:
        stride = 1 if step == "1" else size
        words = f"{POOLCLI} {method} --size {size} --stride {stride} -q --overwrite in.npy out.npy"
        points.append(Point(size, *best(words, folder)))
    return Series(f"window ({method}, stride {step}, 12 MP)", "pixels", points)


def of_channels(folder: Path) -> Series:
    """Channels of an array of 4 MP."""
    points = []
    for channels in CHANNELS:
        shape = (2000, 2000, channels)
        np.save(folder / "in.npy", np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        words = f"{POOLCLI} avg --size 2 -q --overwrite in.npy out.npy"
        points.append(Point(channels, *best(words, folder)))
    (folder / "in.npy").unlink()
    return Series("channels (array of 4 MP, avg 2)", "channels", points)


def of_files(folder: Path, quick: bool) -> Series:
    """Folders from few to many small files, with two workers."""
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
    """Plans alone: seconds beyond a walk of the tree, bytes that they hold; bounds passed."""
    tree, points, over, made = folder / "planned", [], [], 0
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
        points.append(Point(count, planned - walked, held))
        over += ["plan: seconds"] * (planned - walked > PLAN_SECONDS)
        over += ["plan: bytes a file"] * (held > FILE_BYTES * count)
    return Series("plan, beyond a walk of the tree; bytes that it holds", "files", points), over


def told(series: Series) -> Iterator[str]:
    """The lines of a table: also what one unit more costs, from each point to the next."""
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
    """One panel for each series, both axes logarithmic: an SVG."""
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
    """Seconds in blue, memory in orange, and a grey line of growth in proportion."""
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
    """Print the tables and write the plot; exit 1 if a promised bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the largest amounts out")
    parser.add_argument("--plot", type=Path, help="where to write an SVG")
    asked = parser.parse_args()
    print(machine())
    every = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every.append(of_pictures(folder, asked.quick))
        every.append(of_windows(folder, "max", "1"))
        every.append(of_windows(folder, "avg", "1"))
        every.append(of_windows(folder, "max", "size"))
        every.append(of_channels(folder))
        every.append(of_files(folder, asked.quick))
        plans, over = of_plans(folder, asked.quick)
        every.append(plans)
    for series in every:
        print("\n".join(told(series)), flush=True)
    if asked.plot is not None:
        asked.plot.write_text(plot(every), "utf-8")
    if over:
        sys.exit(f"over the bound: {', '.join(over)}")


if __name__ == "__main__":
    main()
