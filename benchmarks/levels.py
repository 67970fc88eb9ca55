"""Compare the compression levels of PNG: `python benchmarks/levels.py [--rounds 3]`.

Five kinds of picture are encoded at every level with Pillow, and as poolcli does by default: at
level 4, or by runs alone if a sample shows that nothing else can be compressed. The table has the
least seconds and the bytes, both divided by those of level 4.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Final

import numpy as np
from measure import machine, photograph
from PIL import Image, ImageDraw

from poolcli.formats.png import LEVEL as DEFAULT
from poolcli.formats.png import RUNS_ALONE, runs_suffice

OURS: Final = 0
LEVELS: Final = (*range(1, 10), OURS)
"""The levels of zlib, and poolcli's default."""

EXTENT: Final = (2000, 1500)


def picture() -> Image.Image:
    """Return a photograph: the enlarged synthetic scene with grain."""
    return Image.fromarray(photograph(*EXTENT))


def screenshot() -> Image.Image:
    """Return a screenshot: windows with shaded title bars, and many lines of small text."""
    image = Image.new("RGB", EXTENT, (236, 236, 240))
    draw = ImageDraw.Draw(image)
    for number in range(6):
        left, top = 60 + number % 3 * 640, 60 + number // 3 * 700
        draw.rectangle((left, top, left + 600, top + 640), (255, 255, 255), (120, 120, 130))
        for y in range(32):
            draw.line((left, top + y, left + 600, top + y), (90 + 3 * y, 120 + 2 * y, 200))
        for line in range(45):
            words = " ".join(f"{number * line * word % 977:x}" for word in range(1, 22))
            draw.text((left + 12, top + 40 + 13 * line), words, (20, 20, 30 + 3 * line))
    return image


def line_art() -> Image.Image:
    """Return thin curves and hatching with smoothed edges."""
    large = Image.new("L", (2 * EXTENT[0], 2 * EXTENT[1]), 255)
    draw = ImageDraw.Draw(large)
    for number in range(140):
        box = (20 + 13 * number, 30 + 7 * number, 700 + 21 * number, 900 + 11 * number)
        draw.ellipse(box, outline=0, width=3)
        draw.line((40 * number, 0, 25 * number + 300, 3000), fill=60, width=2)
    return large.resize(EXTENT, Image.Resampling.BOX)


def palette() -> Image.Image:
    """Return a map of 64 flat colours with ragged borders."""
    rows, columns = np.mgrid[0 : EXTENT[1], 0 : EXTENT[0]]
    rough = np.random.default_rng(3).normal(0, 6, (EXTENT[1] // 4, EXTENT[0] // 4))
    ragged = np.kron(rough, np.ones((4, 4)))
    field = (
        np.sin(rows / 170 + ragged / 40) + np.cos(columns / 230) + np.sin((rows + columns) / 310)
    )
    image = Image.fromarray(((field + 3) / 6 * 63).astype(np.uint8), "L")
    image.putpalette(
        [(37 * number + channel * 91) % 256 for number in range(64) for channel in range(3)]
    )
    return image


def deep_grey() -> Image.Image:
    """Return 16-bit grey: a smooth field with noise in the low bits, as from a scanner."""
    rows, columns = np.mgrid[0 : EXTENT[1], 0 : EXTENT[0]]
    smooth = 30000 + 20000 * np.sin(rows / 300) * np.cos(columns / 400)
    noise = np.random.default_rng(4).normal(0, 90, smooth.shape)
    return Image.fromarray((smooth + noise).astype(np.uint16))


PICTURES: Final[dict[str, Callable[[], Image.Image]]] = {
    "photograph": picture,
    "screenshot": screenshot,
    "line art": line_art,
    "palette": palette,
    "16-bit grey": deep_grey,
}


def encoded(image: Image.Image, level: int) -> tuple[float, int]:
    """Return the seconds that encoding takes, and the bytes that it makes."""
    stream = BytesIO()
    started = time.perf_counter()
    if level != OURS:
        image.save(stream, "PNG", compress_level=level)
    elif runs_suffice(image):
        image.save(stream, "PNG", compress_level=DEFAULT, compress_type=RUNS_ALONE)
    else:
        image.save(stream, "PNG", compress_level=DEFAULT)
    return time.perf_counter() - started, len(stream.getvalue())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(machine())
    print(f"\nseconds × / bytes × those of level {DEFAULT}, {EXTENT[0]} × {EXTENT[1]} pixels")
    print(f"{'':12}" + "".join(f"{level or 'poolcli':>13}" for level in LEVELS))
    every: list[Mapping[int, tuple[float, ...]]] = []
    for title, make in PICTURES.items():
        image = make()
        found = [{level: encoded(image, level) for level in LEVELS} for _ in range(rounds)]
        best = {level: min(one[level] for one in found) for level in LEVELS}
        base = best[DEFAULT]
        ratios = {level: (best[level][0] / base[0], best[level][1] / base[1]) for level in LEVELS}
        every.append(ratios)
        print(f"{title:12}{_cells(ratios)}  ({base[0]:.2f} s, {base[1] / 1e6:.2f} MB)", flush=True)
    means = {
        level: tuple(
            statistics.geometric_mean(one[level][side] for one in every) for side in (0, 1)
        )
        for level in LEVELS
    }
    print(f"{'mean':12}{_cells(means)}")


def _cells(ratios: Mapping[int, tuple[float, ...]]) -> str:
    return "".join(f"{f'{time:.2f} / {size:.2f}':>13}" for time, size in ratios.values())


if __name__ == "__main__":
    main()
