"""Whole processes against other tools: `python benchmarks/processes.py [--rounds 5]`.

Halves a picture of 12 MP from file to file with every tool that is on the machine, on its own
settings, in turn; prints the least seconds, the bytes written, and ours divided by theirs. Each
has one CPU, which all its threads and all parts of a pipe share; how long it takes with all CPUs
of the machine stands beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from measure import POOLCLI, Array, Cost, at_hand, least, machine, photograph, version
from PIL import Image

WIDTH, HEIGHT = 4000, 3000
PILLOW: Final = {"png": "compress_level=4", "jpg": "quality=90"}
"""What a script of Pillow alone asks, as poolcli does: the floor of what poolcli can take."""
Bounds: TypeAlias = tuple[float | None, float | None]
TOOLS: Final = ("vips", "convert", "gm", "pamscale", "gdal_translate", "ffmpeg")
NEAR: Final = 3.0  # mean levels between two outputs: the tools round and filter in their own ways


class Peer(NamedTuple):
    """Another way to do the same.

    Attributes:
        tool: the program that must be on the machine.
        title: what the table calls it.
        command: a shell command.
        time: our seconds divided by its must be at most that, where promised.
        bytes: our bytes divided by its must be at most that, where promised.
    """

    tool: str
    title: str
    command: str
    time: float | None = None
    bytes: float | None = None


class Job(NamedTuple):
    """One picture and what becomes of it.

    Attributes:
        title: in a few words.
        suffix: the format of input and output.
        ours: our arguments.
        peers: the other ways.
    """

    title: str
    suffix: str
    ours: str
    peers: tuple[Peer, ...]


def averages(suffix: str, bounds: Mapping[str, Bounds]) -> tuple[Peer, ...]:
    """Every tool's way to average two by two pixels."""
    read, write = {"png": ("pngtopnm", "pnmtopng"), "jpg": ("jpegtopnm", "pnmtojpeg")}[suffix]
    pair = f"in.{suffix} out.{suffix}"
    commands = {
        "vips": f"vips shrink {pair} 2 2",
        "convert": f"convert in.{suffix} -scale 50% out.{suffix}",
        "gm": f"gm convert in.{suffix} -scale 50% out.{suffix}",
        "pamscale": f"{read} in.{suffix} | pamscale -reduce 2 | {write} > out.{suffix}",
        "gdal_translate": f"gdal_translate -q -of {'PNG' if suffix == 'png' else 'JPEG'} "
        f"-outsize 50% 50% -r average {pair}",
        "ffmpeg": f"ffmpeg -nostdin -y -i in.{suffix} -vf scale=iw/2:ih/2:flags=area out.{suffix}",
    }
    script = (
        f"from PIL import Image; "
        f"Image.open('in.{suffix}').reduce(2).save('out.{suffix}', {PILLOW[suffix]})"
    )
    commands["python"] = f'{sys.executable} -c "{script}"'
    names = {
        "convert": "ImageMagick",
        "gm": "GraphicsMagick",
        "pamscale": "netpbm",
        "python": "bare Pillow",
    }
    return tuple(
        Peer(tool, names.get(tool, tool), command, *bounds.get(tool, (None, None)))
        for tool, command in commands.items()
    )


JOBS: Final = (
    Job(
        "12 MP PNG, avg 2",
        "png",
        "avg --size 2",
        averages(
            "png",
            {
                "vips": (1.25, 0.6),
                "ffmpeg": (0.85, None),
                **dict.fromkeys(("convert", "gm", "pamscale", "gdal_translate"), (0.5, None)),
            },
        ),
    ),
    Job("12 MP JPEG, avg 2", "jpg", "avg --size 2", averages("jpg", {"vips": (1.5, None)})),
    Job(
        "12 MP PNG, max 2",
        "png",
        "max --size 2",
        (
            Peer(
                "convert",
                "ImageMagick -statistic Maximum",
                "convert in.png -statistic Maximum 2x2 -sample 50% out.png",
                0.25,
            ),
        ),
    ),
)


def written(folder: Path, suffix: str) -> tuple[Array, int]:
    """The output's pixels and bytes."""
    path = folder / f"out.{suffix}"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16), path.stat().st_size


def compare(job: Job, folder: Path, rounds: int) -> list[str]:
    """Print the table of one job; the promised bounds that were passed."""
    found = [peer for peer in job.peers if at_hand(peer.tool)]
    mine = f"{POOLCLI} {job.ours} --overwrite -q in.{job.suffix} out.{job.suffix}"
    commands = {"poolcli": mine} | {peer.title: peer.command for peer in found}
    sizes: dict[str, int] = {}
    least({"poolcli": mine}, 1, folder)
    wanted, _ = written(folder, job.suffix)
    for title, command in commands.items():
        least({title: command}, 1, folder)
        pixels, sizes[title] = written(folder, job.suffix)
        distance = np.abs(pixels - wanted).mean() if pixels.shape == wanted.shape else np.inf
        if distance > NEAR:
            raise SystemExit(f"{job.title}: {title} does something else ({distance:.1f} levels)")
    costs = least(commands, rounds, folder, one_cpu=True)
    free = least(commands, rounds, folder)
    heads = f"{'seconds':>8} {'ratio':>6} {'MB':>7} {'ratio':>6} {'peak MB':>8}"
    print(f"\n{job.title:32} {heads} {'all CPUs':>9} {'ratio':>6}  at most")
    return [line for peer in (None, *found) for line in _row(job, peer, costs, free, sizes)]


def _row(
    job: Job,
    peer: Peer | None,
    costs: dict[str, Cost],
    free: dict[str, Cost],
    sizes: dict[str, int],
) -> list[str]:
    """Print one row; the bounds that it passes."""
    title = peer.title if peer else "poolcli"
    seconds, peak = costs[title]
    ratios = costs["poolcli"].seconds / seconds, sizes["poolcli"] / sizes[title]
    bounds = (peer.time, peer.bytes) if peer else (None, None)
    over = [
        f"{job.title} / {title}: {what}"
        for what, ratio, bound in zip(("time", "bytes"), ratios, bounds, strict=True)
        if bound is not None and ratio > bound
    ]
    told = ", ".join(
        f"{what} {bound}"
        for what, bound in zip(("time", "bytes"), bounds, strict=True)
        if bound is not None
    )
    print(
        f"  {title:30} {seconds:8.2f} {ratios[0]:6.2f} {sizes[title] / 1e6:7.2f} {ratios[1]:6.2f} "
        f"{peak / 1e6:8.0f} {free[title].seconds:9.2f} "
        f"{free['poolcli'].seconds / free[title].seconds:6.2f}  {told}{'  OVER' if over else ''}",
        flush=True,
    )
    return over


def main() -> None:
    """Print all tables; exit 1 if a promised bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(machine())
    print(", ".join(version(tool) for tool in TOOLS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = Image.fromarray(photograph(WIDTH, HEIGHT))
        image.save(folder / "in.png", compress_level=6)
        image.save(folder / "in.jpg", quality=90)
        over = [one for job in JOBS for one in compare(job, folder, rounds)]
    if over:
        sys.exit(f"over the bound: {'; '.join(over)}")


if __name__ == "__main__":
    main()
