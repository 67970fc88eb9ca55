"""Compare poolcli with other tools on one picture: `python benchmarks/processes.py [--rounds 5]`.

Each installed tool halves a picture of 12 MP from file to file with its default settings, in turn.
The table has the least seconds and the bytes written, and those of poolcli divided by those of the
tool. Each tool has one CPU, which all its threads and all commands of a pipe share; another column
has the seconds with all CPUs of the machine, and one the seconds that the CPU worked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from measure import POOLCLI, Array, Cost, is_installed, least, machine, photograph, version
from PIL import Image

WIDTH, HEIGHT = 4000, 3000
PILLOW: Final = {"png": "compress_level=4", "jpg": "quality=90"}
"""The settings of a script that uses Pillow alone, which are those of poolcli. poolcli also decodes
and encodes by Pillow, so that the time of this script is nearly the least it can take."""
PYVIPS: Final = {"png": "compression=2, filter='all'", "jpg": "Q=75"}
"""The settings of libvips: for PNG, those that are fastest among those with the fewest bytes."""

Bounds: TypeAlias = tuple[float | None, float | None]
TOOLS: Final = ("vips", "convert", "gm", "pamscale", "gdal_translate", "ffmpeg")
NEAR: Final = 3.0
"""The largest mean difference of two outputs, in levels: tools round and filter differently."""


class Peer(NamedTuple):
    """Another program that does the same.

    Attributes:
        tool: the name of the program.
        title: its name in the table.
        command: a shell command.
        time: the promised bound of poolcli's seconds divided by its seconds, or None.
        bytes: the promised bound of poolcli's bytes divided by its bytes, or None.
    """

    tool: str
    title: str
    command: str
    time: float | None = None
    bytes: float | None = None


class Job(NamedTuple):
    """One task that all programs do.

    Attributes:
        title: the task in a few words.
        suffix: the suffix of input and output.
        ours: the arguments of poolcli.
        peers: the other programs.
    """

    title: str
    suffix: str
    ours: str
    peers: tuple[Peer, ...]


def averages(suffix: str, bounds: Mapping[str, Bounds]) -> tuple[Peer, ...]:
    """Return for each tool the command that averages two by two pixels."""
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
    current = (
        f"import pyvips; pyvips.Image.new_from_file('in.{suffix}', access='sequential')"
        f".shrink(2, 2).write_to_file('out.{suffix}', {PYVIPS[suffix]})"
    )
    commands["pyvips"] = f'{sys.executable} -c "{current}"'
    commands["python"] = f'{sys.executable} -c "{script}"'
    names = {
        "convert": "ImageMagick",
        "gm": "GraphicsMagick",
        "pamscale": "netpbm",
        "pyvips": "current libvips, by pyvips",
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
    """Return the pixels of the output, and its size in bytes."""
    path = folder / f"out.{suffix}"
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(np.int16), path.stat().st_size


def compare(job: Job, folder: Path, rounds: int) -> list[str]:
    """Print the table of one task; return the bounds that are exceeded."""
    found = [peer for peer in job.peers if is_installed(peer.tool)]
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
            raise SystemExit(f"{job.title}: {title} differs by {distance:.1f} levels, over {NEAR}")
    costs = least(commands, rounds, folder, one_cpu=True)
    free = least(commands, rounds, folder)
    heads = f"{'seconds':>8} {'ratio':>6} {'MB':>7} {'ratio':>6} {'peak MB':>8}"
    print(f"\n{job.title:32} {heads} {'CPU s':>6} {'all CPUs':>9} {'ratio':>6}  at most")
    return [line for peer in (None, *found) for line in _row(job, peer, costs, free, sizes)]


def _row(
    job: Job,
    peer: Peer | None,
    costs: dict[str, Cost],
    free: dict[str, Cost],
    sizes: dict[str, int],
) -> list[str]:
    """Print one row; return the bounds that it exceeds."""
    title = peer.title if peer else "poolcli"
    seconds, cpu, peak = costs[title]
    ratios = costs["poolcli"].seconds / seconds, sizes["poolcli"] / sizes[title]
    bounds = (peer.time, peer.bytes) if peer else (None, None)
    exceeded = [
        f"{job.title} / {title}: {what}"
        for what, ratio, bound in zip(("time", "bytes"), ratios, bounds, strict=True)
        if bound is not None and ratio > bound
    ]
    text = ", ".join(
        f"{what} {bound}"
        for what, bound in zip(("time", "bytes"), bounds, strict=True)
        if bound is not None
    )
    print(
        f"  {title:30} {seconds:8.2f} {ratios[0]:6.2f} {sizes[title] / 1e6:7.2f} {ratios[1]:6.2f} "
        f"{peak / 1e6:8.0f} {cpu:6.2f} {free[title].seconds:9.2f} "
        f"{free['poolcli'].seconds / free[title].seconds:6.2f}  {text}{'  OVER' * bool(exceeded)}",
        flush=True,
    )
    return exceeded


def main() -> None:
    """Print all tables; exit with 1 if a promised bound is exceeded."""
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
        exceeded = [one for job in JOBS for one in compare(job, folder, rounds)]
    if exceeded:
        sys.exit(f"over the bound: {'; '.join(exceeded)}")


if __name__ == "__main__":
    main()
