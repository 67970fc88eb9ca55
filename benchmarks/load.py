"""Run poolcli under heavy load: `python benchmarks/load.py [--scale 0.1] [many flat huge again]`.

    many   20,000 small files in one run
    flat   2 GB of decoded pictures in two workers, whose memory must not grow
    huge   one picture of 500 megapixels
    again  1,000 runs in a row, which must leave no open descriptor, process or temporary file

A scale below 1 makes each part smaller. Linux only: processes are counted in /proc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

ROOT: Final = Path(__file__).resolve().parent.parent
SCENE: Final = ROOT / "sample_images" / "scene.jpg"
MIB: Final = 1 << 20
SMALL_FILES: Final = 20_000
DECODED_BYTES: Final = 2_000_000_000
LARGE: Final = (4000, 3000)
HUGE_PIXELS: Final = 500_000_000
RUNS: Final = 1000
PATIENCE: Final = 60.0


class Row(NamedTuple):
    """One measurement.

    Attributes:
        title: what was measured.
        figure: the result, with its unit.
        bound: the promised bound, in words; empty if nothing is promised.
        kept: whether the bound is kept.
    """

    title: str
    figure: str
    bound: str = ""
    kept: bool = True


# Processes and their memory


MEASURED: Final = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""Run a command, and print the most KiB that any process of it has taken. This is a process of its
own, since a child counts the memory of the process that has forked it."""


class Run(NamedTuple):
    """A successful run of poolcli.

    Attributes:
        seconds: how long it took.
        peak: the resident bytes of its largest process.
    """

    seconds: float
    peak: int


def pooled(folder: Path, *words: object) -> Run:
    """Run poolcli in a folder, and measure it."""
    command = [sys.executable, "-m", "poolcli", *map(str, words)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], cwd=folder, stdout=subprocess.PIPE, check=False
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"poolcli {' '.join(map(str, words))}: exit {done.returncode}")
    return Run(seconds, 1024 * int(done.stdout))


@contextmanager
def room() -> Iterator[Path]:
    """Make a folder that is removed at the end of the block."""
    name = tempfile.mkdtemp(prefix="poolcli-load-")
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name)


# The parts


def many(scale: float) -> list[Row]:
    """Measure many small files in one run."""
    count = max(1, round(SMALL_FILES * scale))
    with room() as folder:
        paint_small(folder / "in", count)
        run = pooled(folder, "max", "-k", 2, "-q", "in", "out")
        written = sum(len(files) for _, _, files in os.walk(folder / "out"))
    title = f"{count:,} PNGs of 16×16"
    return [
        Row(f"{title}: written", f"{written:,}", "all", written == count),
        Row(f"{title}: time", f"{run.seconds:.1f} s, {count / run.seconds:.0f} images/s"),
        Row(
            f"{title}: memory of the largest process",
            f"{run.peak / MIB:.0f} MiB",
            "under 200 MiB",
            run.peak < 200 * MIB,
        ),
    ]


def paint_small(folder: Path, count: int) -> None:
    """Write pictures of noise, a hundred in each folder."""
    rng = np.random.default_rng(1)
    source = folder.parent / "small.png"
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(source)
    octets = source.read_bytes()
    for number in range(count):
        path = folder / f"{number // 100:04}" / f"{number % 100:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)


def flat(scale: float) -> list[Row]:
    """Measure large pictures in two workers, whose memory must not grow."""
    width, height = LARGE
    count = max(16, round(DECODED_BYTES * scale / (width * height * 3)))
    with room() as folder:
        (folder / "in").mkdir()
        with Image.open(SCENE) as scene:
            scene.resize(LARGE).save(folder / "in/0000.jpg")
        for number in range(1, count):
            shutil.copy(folder / "in/0000.jpg", folder / f"in/{number:04}.jpg")
        by_two = ("-j", 2, "--timeout", 600)  # a timeout is enforced by workers, for any files
        run = pooled(folder, "avg", "-k", 4, "-q", *by_two, "in", "out")
        written = len(os.listdir(folder / "out"))
        shutil.rmtree(folder / "out")
        for number in range(count // 2, count):
            (folder / f"in/{number:04}.jpg").unlink()
        half = pooled(folder, "avg", "-k", 4, "-q", *by_two, "in", "out")
    title = f"{count} JPEGs of 12 MP, {count * width * height * 3 / 1e9:.1f} GB decoded"
    return [
        Row(f"{title}: written", f"{written}", "all", written == count),
        Row(f"{title}: time", f"{run.seconds:.1f} s, {count * 12 / run.seconds:.0f} MP/s"),
        Row(
            f"{title}: memory of a worker for half of them and for all",
            f"{half.peak / MIB:.0f} and {run.peak / MIB:.0f} MiB",
            "no growth over 5 %",
            run.peak <= half.peak * 1.05,
        ),
    ]


def huge(scale: float) -> list[Row]:
    """Measure one grey PNG of 500 megapixels."""
    width = 25_000
    height = max(2, round(HUGE_PIXELS * scale / width))
    with room() as folder:
        paint_huge(folder / "in.png", width, height)
        run = pooled(folder, "avg", "-k", 2, "-q", "in.png", "out.png")
        Image.MAX_IMAGE_PIXELS = None
        with Image.open(folder / "out.png") as image:
            fits = image.size == (width // 2, height // 2)
    title = f"a grey PNG of {width * height / 1e6:.0f} MP"
    return [
        Row(f"{title}: written", "yes" if fits else "no", "yes", fits),
        Row(f"{title}: time", f"{run.seconds:.1f} s"),
        Row(
            f"{title}: memory",
            f"{run.peak / MIB:.0f} MiB, {run.peak / (width * height):.1f} bytes a pixel",
        ),
    ]


def paint_huge(path: Path, width: int, height: int) -> None:
    """Write a PNG of repeated noise, row by row, so that it needs little memory."""
    rows = np.random.default_rng(1).integers(0, 256, (64, width), np.uint8) & 0xF0
    packer = zlib.compressobj(1)
    with path.open("wb") as stream:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        stream.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
        for number in range(height):
            if packed := packer.compress(b"\0" + rows[number % 64].tobytes()):
                stream.write(_chunk(b"IDAT", packed))
        stream.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


AGAIN: Final = """
import os, sys
from pathlib import Path
from poolcli import cli
def run(*words):
    sys.argv = ["poolcli", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code
def held():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")
count = int(sys.argv[1])
WAYS = (
    (0, "max", "-k", "2", "-q", "-f", "in/0000/00.png", "out.png"),
    (0, "avg", "-k", "3", "-q", "-f", "in/0000/01.png", "out.tif"),
    (1, "max", "-k", "99", "-q", "-f", "in/0000/02.png", "out.png"),
    (1, "min", "-k", "2", "-q", "-f", "broken.png", "out.png"),
    (2, "min", "-k", "2", "-q", "in/0000/00.png", "out.png"),
    (0, "min", "-k", "2", "-q", "-f", "in/0000", "folder"),
)
WORKERS = (0, "max", "-k", "2", "-q", "-f", "-j", "2", "--timeout", "60", "in/0000", "folder")
before = None
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
for number in range(count):
    code, *words = WORKERS if number % 50 == 49 else WAYS[number % len(WAYS)]
    if run(*words) != code:
        sys.exit(f"{words}: not exit {code}")
    if number == max(50, count // 10):  # by then a fork server runs, which stays until the end
        before = held()
after = held()
print(*before, *after)
"""


def again(scale: float) -> list[Row]:
    """Measure many runs in one process: files, failures, refusals, folders, workers."""
    count = max(150, round(RUNS * scale))
    with room() as folder:
        paint_small(folder / "in", 4)
        (folder / "broken.png").write_bytes((folder / "in/0000/00.png").read_bytes()[:100])
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", AGAIN, str(count)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        output, _ = process.communicate()
        seconds = time.monotonic() - began
        if process.returncode:
            raise RuntimeError(f"a run in a row ended with {process.returncode}")
        processes = _session(process.pid)
        temporaries = list(folder.rglob(".*"))
    files, memory, files_after, memory_after = map(int, output.split())
    title = f"{count:,} runs in a row"
    return [
        Row(f"{title}: time", f"{seconds:.1f} s"),
        _nothing(f"{title}: descriptors left", files_after - files),
        _nothing(f"{title}: processes left", len(processes)),
        _nothing(f"{title}: temporary files left", len(temporaries)),
        Row(
            f"{title}: memory after a tenth and at the end",
            f"{memory / MIB:.0f} and {memory_after / MIB:.0f} MiB",
            "no growth over 10 %",
            memory_after <= memory * 1.1,
        ),
    ]


def _session(number: int) -> list[str]:
    """Return the processes of a session that still run some time after its leader has ended."""
    end = time.monotonic() + PATIENCE
    while (found := _living(number)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _living(number: int) -> list[str]:
    """Return the living processes of a session."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path("/proc", name, "stat").read_text("ascii", "replace").rpartition(")")[2]
            if fields.split()[3] == str(number) and fields.split()[0] not in "ZX":
                found.append(name)
    return found


def _nothing(title: str, count: int) -> Row:
    return Row(title, str(count), "none", count <= 0)


PARTS: Final[dict[str, Callable[[float], list[Row]]]] = {
    "many": many,
    "flat": flat,
    "huge": huge,
    "again": again,
}


def rows(parts: Sequence[str] = tuple(PARTS), scale: float = 1.0) -> list[Row]:
    """Return the measurements of some parts."""
    return [row for part in parts for row in PARTS[part](scale)]


def main() -> int:
    """Measure and print; return 1 if a bound is not kept."""
    args: Any = _parser().parse_args()
    found = rows(args.parts or tuple(PARTS), args.scale)
    print("| what | measured | bound | kept |\n|---|---|---|---|")
    for row in found:
        verdict = ("yes" if row.kept else "**no**") if row.bound else ""
        print(f"| {row.title} | {row.figure} | {row.bound} | {verdict} |")
    return int(not all(row.kept for row in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="size of each part, from 0 to 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
