"""Compare poolcli with other tools on folders of pictures: `python benchmarks/folders.py`.

It makes 200 JPEGs and 200 PNGs of about 1 MP from the sample scene. Each installed tool halves the
JPEGs and 70 of the PNGs, several times in turn. The table has the median seconds, and those of
poolcli divided by those of the tool. poolcli has two workers, the tools their default settings.

Then 20,000 tiny pictures are halved, also by a loop over Pillow in one process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from measure import MIB, SCENE, Cost, cost, is_installed, machine, version
from PIL import Image

MADE: Final = 200
COUNTS: Final = {"jpg": 200, "png": 70}
TWO_OVER_ONE: Final = 1.7
"""The promised speed of two workers, as a multiple of one worker's, on all PNGs."""

EXTENT: Final = (1160, 870)
TINY_COUNT: Final = 20_000
TINY_SIDES: Final = {"png": 64, "jpg": 32}
TINY_BOUND: Final = 1.3
"""The promised time of two workers for tiny pictures, divided by that of the loop over Pillow."""

LOOP: Final = """
import os, sys
from PIL import Image
source, target = sys.argv[1:]
for name in sorted(os.listdir(source)):
    with Image.open(os.path.join(source, name)) as image:
        image.reduce(2).save(os.path.join(target, name))
"""
Command = Callable[[Path, Path], str]


class Peer(NamedTuple):
    """Another program that halves a folder of pictures.

    Attributes:
        tool: the name of the program.
        title: its name in the table.
        command: returns a shell command, from the input and the output folder.
        bounds: for each suffix the largest ratio that is promised.
    """

    tool: str
    title: str
    command: Command
    bounds: dict[str, float]


PEERS: Final = (
    Peer(
        "mogrify",
        "ImageMagick mogrify -scale 50%",
        lambda source, target: f"mogrify -path {target} -scale 50% {source}/*",
        {"jpg": 0.5, "png": 1 / 3},
    ),
    Peer(
        "vipsthumbnail",
        "vipsthumbnail",
        lambda source, target: (
            f"vipsthumbnail --size 580x435 -o {target}/%s.{source.name} {source}/*"
        ),
        {},
    ),
    Peer(
        "vips",
        "vips shrink, one process a file, xargs -P 2",
        lambda source, target: (
            f"ls {source} | xargs -P 2 -I@ vips shrink {source}/@ {target}/@ 2 2"
        ),
        {},
    ),
    Peer(
        "convert",
        "ImageMagick convert, one process a file, xargs -P 2",
        lambda source, target: (
            f"ls {source} | xargs -P 2 -I@ convert {source}/@ -scale 50% {target}/@"
        ),
        {},
    ),
)


def make_pictures(folder: Path) -> None:
    """Write the pictures; each is the scene, shifted and with other noise, so that all differ."""
    generator = np.random.default_rng(0)
    with Image.open(SCENE) as scene:
        base = np.asarray(scene.resize(EXTENT)).astype(int)
    for suffix in COUNTS:
        (folder / suffix).mkdir()
        for number in range(MADE):
            grain = generator.normal(0, 3, base.shape[:2])[..., None]
            pixels = np.clip(np.roll(base, number * 5, axis=1) + grain, 0, 255).astype(np.uint8)
            options: dict[str, Any] = {"quality": 88} if suffix == "jpg" else {"compress_level": 3}
            Image.fromarray(pixels).save(folder / suffix / f"{number:03}.{suffix}", **options)


def part_of(folder: Path, suffix: str, count: int) -> Path:
    """Return a folder with the first ``count`` pictures of a suffix."""
    part = folder / str(count) / suffix
    if not part.exists():
        part.mkdir(parents=True)
        for path in sorted((folder / suffix).iterdir())[:count]:
            os.link(path, part / path.name)
    return part


def ours(source: Path, target: Path, workers: int) -> str:
    """Return the command of poolcli."""
    return f"{sys.executable} -m poolcli avg --size 2 -q --jobs {workers} {source} {target}/"


def seconds(command: str, target: Path) -> float:
    """Run a shell command that writes into an empty folder; return its seconds."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    started = time.perf_counter()
    subprocess.run(["/bin/sh", "-c", command], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def medians(commands: dict[str, str], target: Path, rounds: int) -> dict[str, float]:
    """Return the median seconds of each command; they are run in turn."""
    times: dict[str, list[float]] = {title: [] for title in commands}
    for _ in range(rounds):
        for title, command in commands.items():
            times[title].append(seconds(command, target))
    return {title: statistics.median(values) for title, values in times.items()}


def compare(folder: Path, suffix: str, rounds: int) -> list[str]:
    """Print the table of one format; return the rows whose bound is exceeded."""
    source, target = part_of(folder, suffix, COUNTS[suffix]), folder / "out"
    commands = {"poolcli -j 2": ours(source, target, 2), "poolcli -j 1": ours(source, target, 1)}
    found = [peer for peer in PEERS if is_installed(peer.tool)]
    commands |= {peer.title: peer.command(source, target) for peer in found}
    bounds = {peer.title: peer.bounds.get(suffix) for peer in found}
    result = medians(commands, target, rounds)
    print(f"\n{COUNTS[suffix]} × {suffix:48} seconds  ratio  at most")
    exceeded = []
    for title, value in result.items():
        ratio, bound = result["poolcli -j 2"] / value, bounds.get(title)
        passed = bound is not None and ratio > bound
        exceeded += [f"{suffix}: {title}"] * passed
        bound_text = "" if bound is None else f"{bound:.2f}{'  OVER' if passed else ''}"
        print(f"  {title:52} {value:7.2f} {ratio:6.2f}  {bound_text}")
    return exceeded


def two_workers(folder: Path, rounds: int) -> list[str]:
    """Print how much faster two workers are on all PNGs; return the bound if it is not kept."""
    source, target = folder / "png", folder / "out"
    result = medians({count: ours(source, target, int(count)) for count in "12"}, target, rounds)
    gain = result["1"] / result["2"]
    kept = gain >= TWO_OVER_ONE
    print(
        f"\n{MADE} × png: {result['1']:.2f} s with one worker, {result['2']:.2f} with two, "
        f"{gain:.2f} times as fast, at least {TWO_OVER_ONE}{'' if kept else '  OVER'}"
    )
    return [] if kept else ["png: two workers over one"]


def make_tiny(folder: Path, suffix: str, count: int) -> None:
    """Write tiny pictures: random parts of the scene."""
    generator, side = np.random.default_rng(0), TINY_SIDES[suffix]
    folder.mkdir()
    with Image.open(SCENE) as scene:
        for number in range(count):
            left, top = (int(generator.integers(extent - side)) for extent in scene.size)
            part = scene.crop((left, top, left + side, top + side))
            part.save(folder / f"{number:05}.{suffix}")


def tiny(folder: Path, suffix: str, count: int, rounds: int) -> list[str]:
    """Print the table of tiny pictures of one format; return the bound if it is not kept."""
    source, target, script = folder / f"tiny-{suffix}", folder / "out", folder / "loop.py"
    make_tiny(source, suffix, count)
    script.write_text(LOOP)
    os.sync()
    commands = {"poolcli -j 2": ours(source, target, 2), "poolcli -j 1": ours(source, target, 1)}
    loop = "a loop over Pillow"
    commands[loop] = f"{sys.executable} {script} {source} {target}"
    found: dict[str, list[Cost]] = {title: [] for title in commands}
    for _ in range(rounds):
        for title, command in commands.items():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            found[title].append(cost(command))
    costs = {title: Cost(*map(min, zip(*one, strict=True))) for title, one in found.items()}
    title = f"{count} × {suffix} of {TINY_SIDES[suffix]}×{TINY_SIDES[suffix]}"
    print(f"\n{title:32} µs each  ratio   CPU µs each  ratio")
    for name, one in costs.items():
        each, cpu = (1e6 * value / count for value in one[:2])
        ratio, cpu_ratio = one.seconds / costs[loop].seconds, one.cpu / costs[loop].cpu
        print(f"  {name:30} {each:7.0f} {ratio:6.2f} {cpu:13.0f} {cpu_ratio:6.2f}")
    is_over = costs["poolcli -j 2"].seconds > TINY_BOUND * costs[loop].seconds
    return [f"tiny {suffix}: more than {TINY_BOUND}"] * is_over


def peak_memory(folder: Path) -> None:
    """Print the peak memory of the largest process, for few and for all pictures."""
    for count in (20, MADE):
        command = ours(part_of(folder, "jpg", count), folder / f"out-{count}", 2)
        print(f"  peak memory, {count:3} JPEGs: {cost(command).peak / MIB:.0f} MiB")


def main() -> None:
    """Print all tables; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", type=int, default=TINY_COUNT, help="how many tiny pictures")
    options = parser.parse_args()
    rounds = options.rounds
    print(machine())
    print(", ".join(version(tool) for tool in dict.fromkeys(peer.tool for peer in PEERS)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(folder)
        os.sync()  # poolcli syncs its outputs, and would wait for these pictures too
        passed = [one for suffix in COUNTS for one in compare(folder, suffix, rounds)]
        passed += two_workers(folder, rounds)
        for suffix in TINY_SIDES:
            passed += tiny(folder, suffix, options.tiny, options.rounds)
        print()
        peak_memory(folder)
    if passed:
        sys.exit(f"over the bound: {'; '.join(passed)}")


if __name__ == "__main__":
    main()
