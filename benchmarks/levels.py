"""Compare the compression of PNG by poolcli and Pillow: `python benchmarks/levels.py [--rounds 3]`.

Kinds of pictures are encoded by poolcli and at some of Pillow's levels. The table has the least CPU
seconds of all threads and the bytes, both divided by those of Pillow's default, level 6.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import Final

import numpy as np
from measure import SCENE, machine, photograph
from PIL import Image, ImageDraw

from poolcli.formats import by_name
from poolcli.formats.contract import open_writer
from poolcli.formats.saving import Saving
from poolcli.picture import Metadata, Stored, info_in_mode

OURS, BASE = 0, 6
LEVELS: Final = (OURS, 1, 4, BASE, 9)
"""poolcli's default, and levels of Pillow."""

EXTENT: Final = (2000, 1500)
BAND: Final = 100


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


def ragged_map() -> Image.Image:
    """Return a map of 64 flat colours with ragged borders, in RGB."""
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
    return image.convert("RGB")


def halved() -> Image.Image:
    """Return a photograph of twice the size, averaged by 2: it has little grain."""
    return Image.fromarray(photograph(2 * EXTENT[0], 2 * EXTENT[1])).reduce(2)


def gradient() -> Image.Image:
    """Return smooth slopes of three colours in different directions."""
    rows, columns = np.mgrid[0 : EXTENT[1], 0 : EXTENT[0]]
    slopes = (columns / EXTENT[0], rows / EXTENT[1], (rows + columns) / sum(EXTENT))
    return Image.fromarray(np.stack([255 * one for one in slopes], axis=-1).astype(np.uint8))


def text() -> Image.Image:
    """Return lines of random words in shades of grey."""
    image, rng = Image.new("L", EXTENT, 255), np.random.default_rng(5)
    draw = ImageDraw.Draw(image)
    for y in range(10, EXTENT[1], 13):
        words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(60)]
        draw.text((20, y), " ".join(words), fill=int(rng.integers(0, 60)))
    return image


def sample(name: str, resampling: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """Return an enlarged sample picture."""
    with Image.open(SCENE.parent / name) as image:
        return image.convert("RGBA" if name == "logo.png" else "RGB").resize(EXTENT, resampling)


def uniform() -> Image.Image:
    """Return one colour."""
    return Image.new("RGB", EXTENT, (77, 80, 90))


def random() -> Image.Image:
    """Return random bytes, which can't be compressed."""
    rng = np.random.default_rng(6)
    return Image.fromarray(rng.integers(0, 256, (EXTENT[1], EXTENT[0], 3), np.uint8))


def deep_grey() -> Image.Image:
    """Return 16-bit grey: a smooth field with noise in the low bits, as from a scanner."""
    rows, columns = np.mgrid[0 : EXTENT[1], 0 : EXTENT[0]]
    smooth = 30000 + 20000 * np.sin(rows / 300) * np.cos(columns / 400)
    noise = np.random.default_rng(4).normal(0, 90, smooth.shape)
    return Image.fromarray((smooth + noise).astype(np.uint16))


PICTURES: Final[dict[str, Callable[[], Image.Image]]] = {
    "photograph": picture,
    "grey photograph": lambda: picture().convert("L"),
    "averaged photo": halved,
    "enlarged scene": partial(sample, "scene.jpg"),
    "gradient": gradient,
    "screenshot": screenshot,
    "line art": line_art,
    "map": ragged_map,
    "text": text,
    "averaged text": lambda: text().reduce(2),
    "1-bit text": lambda: text().point(lambda value: 255 * (value > 127), "1"),
    "dithered photo": lambda: picture().convert("1"),
    "logo with alpha": partial(sample, "logo.png"),
    "chart": partial(sample, "chart.png", Image.Resampling.NEAREST),
    "smooth chart": partial(sample, "chart.png"),
    "16-bit grey": deep_grey,
    "one colour": uniform,
    "random bytes": random,
}


def encoded(image: Image.Image, level: int) -> tuple[float, int]:
    """Return the CPU seconds that encoding takes, and the bytes that it makes."""
    stream, array = BytesIO(), np.asarray(image)
    began = time.process_time()
    if level == OURS:
        writer = open_writer(stream, by_name("png"), Saving(), 1)
        stored = Stored("unsigned", 8 * array.itemsize, 0, len(image.getbands()))
        writer.begin(info_in_mode(array.shape[:2], image.mode, stored), Metadata())
        for top in range(0, len(array), BAND):
            writer.rows(array[top : top + BAND])
        writer.finish()
    else:
        image.save(stream, "PNG", compress_level=level)
    return time.process_time() - began, len(stream.getvalue())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(machine())
    width, height = EXTENT
    print(f"\nCPU seconds × / bytes × those of Pillow's level {BASE}, {width} × {height} pixels")
    print(f"{'':16}" + "".join(f"{level or 'poolcli':>13}" for level in LEVELS))
    every: list[Mapping[int, tuple[float, ...]]] = []
    for title, make in PICTURES.items():
        image = make()
        found = [{level: encoded(image, level) for level in LEVELS} for _ in range(rounds)]
        best = {level: min(one[level] for one in found) for level in LEVELS}
        base = best[BASE]
        ratios = {level: (best[level][0] / base[0], best[level][1] / base[1]) for level in LEVELS}
        every.append(ratios)
        print(f"{title:16}{_cells(ratios)}  ({base[0]:.2f} s, {base[1] / 1e6:.2f} MB)", flush=True)
    means = {
        level: tuple(
            statistics.geometric_mean(one[level][side] for one in every) for side in (0, 1)
        )
        for level in LEVELS
    }
    print(f"{'mean':16}{_cells(means)}")


def _cells(ratios: Mapping[int, tuple[float, ...]]) -> str:
    return "".join(f"{f'{time:.2f} / {size:.2f}':>13}" for time, size in ratios.values())


if __name__ == "__main__":
    main()
