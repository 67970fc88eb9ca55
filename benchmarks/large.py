"""Measure large pictures: `python benchmarks/large.py [--only sizes|vips] [--folder DIR]`.

The first table shows the peak memory of generated pictures of 1 and 10 gigapixels: pixels without
compression are holes in the files, and compressed tiles are all the same one. The second table
compares a TIFF of 300 MP in tiles with libvips, if that is installed. The folder needs 5 GB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from measure import POOLCLI, ROOT, Cost, cost, is_installed, least, machine, photograph, version
from PIL import Image

sys.path[:0] = [str(ROOT)]

from tests.support import large  # noqa: E402

WIDTH: Final = 100_000
HEIGHTS: Final = (10_000, 100_000)
FORMATS: Final[dict[str, tuple[large.Make, str]]] = {
    "NPY": (large.npy, "npy"),
    "PGM": (large.pgm, "pgm"),
    "PNG": (large.png, "png"),
    "BigTIFF in strips": (partial(large.tiff, is_tiled=False, is_big=True), "tif"),
    "BigTIFF in tiles": (partial(large.tiff, is_big=True), "tif"),
    "TIFF in tiles, deflate": (partial(large.tiff, packed=large.compressed_tile("deflate")), "tif"),
    "TIFF in tiles, JPEG": (partial(large.tiff, packed=large.compressed_tile("JPEG")), "tif"),
}
ROUNDS: Final = 2
SIDES: Final = (5000, 3750)
REPEATED: Final = 4
TILES: Final = {
    "uncompressed": "tile,tile-width=256,tile-height=256",
    "deflate": "tile,tile-width=256,tile-height=256,compression=deflate,predictor=horizontal",
}
CURRENT: Final = """
import sys, pyvips
image = pyvips.Image.new_from_file(sys.argv[1], access="sequential")
image.shrink(4, 4).write_to_file(sys.argv[2])
"""


def of_sizes(folder: Path) -> Iterator[str]:
    """Yield the lines of the table of memory."""
    heads = "".join(f"{height * WIDTH / 1e9:9g} GP" for height in HEIGHTS)
    yield f"{'peak MB, max 8':28}{heads}{'CPU s':>12}"
    for title, (make, suffix) in FORMATS.items():
        costs = []
        for height in HEIGHTS:
            make(folder / "in", height, WIDTH)
            limit = f"--max-pixels {WIDTH * height}"
            words = f"{POOLCLI} max --size 8 -q --overwrite {limit} in out.{suffix}"
            costs.append(cost(words, folder))
            (folder / "in").unlink()
            (folder / f"out.{suffix}").unlink()
        peaks = "".join(f"{one.peak / 1e6:12.0f}" for one in costs)
        yield f"  {title:26}{peaks}{costs[-1].cpu:12.1f}"


def commands_for(source: str, current: str | None) -> dict[str, str]:
    """Return what shrinks a picture by 4, by the title of each program.

    Args:
        source: the picture.
        current: a Python with pyvips, or None.
    """
    ours = f"{POOLCLI} avg --size 4 -q --overwrite --save-option compression=none"
    found = {
        "poolcli": f"{ours} {source} ours.tif",
        "vips": f"vips shrink {source} vips.tif 4 4",
    }
    if current is not None:
        found["current libvips, by pyvips"] = f"{current} current.py {source} current.tif"
    return found


def against_vips(folder: Path, current: str | None) -> Iterator[str]:
    """Yield the lines of the table of times."""
    Image.fromarray(photograph(*SIDES)).save(folder / "one.tif")
    (folder / "current.py").write_text(CURRENT, "utf-8")
    yield version("vips")
    megapixels = SIDES[0] * SIDES[1] * REPEATED**2 / 1e6
    for title, tiles in TILES.items():
        cost(f"vips replicate one.tif 'in.tif[{tiles}]' {REPEATED} {REPEATED}", folder)
        yield ""
        heads = "".join(f"{head:>9}" for head in ("seconds", "CPU s", "ratio", "peak MB"))
        yield f"{f'{megapixels:g} MP in {title} tiles, avg 4':44}{heads}{'one CPU':>9}{'ratio':>9}"
        commands = commands_for("in.tif", current)
        every = least(commands, ROUNDS, folder), least(commands, ROUNDS, folder, one_cpu=True)
        for name in commands:
            yield _line(name, *(costs[name] for costs in every), *(c["poolcli"] for c in every))
        (folder / "in.tif").unlink()


def _line(title: str, both: Cost, alone: Cost, ours: Cost, ours_alone: Cost) -> str:
    """Return a line; ratios are poolcli's CPU seconds divided by those of the program."""
    return (
        f"  {title:42}{both.seconds:9.2f}{both.cpu:9.2f}{ours.cpu / both.cpu:9.2f}"
        f"{both.peak / 1e6:9.0f}{alone.seconds:9.2f}{ours_alone.cpu / alone.cpu:9.2f}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("sizes", "vips"), help="one of the tables")
    parser.add_argument("--folder", help="where the pictures are made")
    parser.add_argument("--current", help="a Python that has pyvips with a current libvips")
    args = parser.parse_args()
    print(machine())
    current = args.current or (sys.executable if is_installed("pyvips") else None)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if args.only in (None, "sizes"):
            for line in of_sizes(Path(name)):
                print(line, flush=True)
        if args.only in (None, "vips") and is_installed("vips"):
            for line in against_vips(Path(name), current):
                print(line, flush=True)


if __name__ == "__main__":
    main()
