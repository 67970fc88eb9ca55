"""Pooled pictures by exact fractions, window by window, with a geometry of their own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from poolcli import methods
from poolcli.colour import Colour
from poolcli.engine.window import Window
from poolcli.methods import Alpha
from poolcli.methods.avg import Average
from poolcli.picture import Picture
from poolcli.run.work import Work
from tests.jobs import pool
from tests.pictures import noisy
from tests.pictures import picture as made

METHODS = tuple(row.name for row in methods.METHODS)
ALPHAS: tuple[Alpha, ...] = get_args(Alpha)
FULL = {"LA": 255, "RGBA": 255, "LA;16": 65535, "RGBA;16": 65535}
LINEAR = FULL | {"1": 255, "L": 255, "RGB": 255, "I;16": 65535, "RGB;16": 65535}
VISIBLE = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}
SHALLOW = {"I;16": "L", "LA;16": "LA", "RGB;16": "RGB", "RGBA;16": "RGBA"}
SHALLOW |= {"L;M": "L", "RGB;M": "RGB", "LA;M": "LA", "RGBA;M": "RGBA"}
FULL |= {"LA;M": 1000, "RGBA;M": 1000}
VISIBLE |= {"LA;M": "L;M", "RGBA;M": "RGB;M"}
Pixel = tuple[int, ...]


class Taps(NamedTuple):
    """One window along one axis: the pixels it reads, and how many taps count with padding."""

    inside: list[int]
    padded: int


def taps(extent: int, window: Window, axis: int) -> list[Taps]:
    """Return every window along an axis, padding in numbers."""
    (before, after), size = sides(window)[axis], window.size[axis]
    stride, dilation = window.stride[axis], window.dilation[axis]
    span = dilation * (size - 1) + 1
    starts = range(-before, extent + after - span + 1, stride)
    reads = [range(start, start + span, dilation) for start in starts]
    return [Taps([at for at in one if 0 <= at < extent], len(one)) for one in reads]


def both_taps(picture: Picture, window: Any) -> tuple[list[Taps], list[Taps]]:
    height, width = picture.array.shape[:2]
    return taps(height, window, 0), taps(width, window, 1)


def sides(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    assert isinstance(window.padding, tuple)
    rows, columns = window.padding
    assert isinstance(rows, tuple)
    assert isinstance(columns, tuple)
    return rows, columns


def oracle(picture: Picture, how: Work) -> NDArray[Any]:
    """Return every window of an (H, W, C) picture with alpha, by fractions."""
    pixels, full = picture.array.tolist(), FULL[picture.info.mode]
    rows, columns = both_taps(picture, how.window)

    def at(row: Taps, column: Taps) -> Pixel:
        window = [tuple(pixels[y][x]) for y in row.inside for x in column.inside]
        return window_of(window, row.padded * column.padded, how, full)

    wanted = [[at(row, column) for column in columns] for row in rows]
    return np.array(wanted, picture.array.dtype)


def window_of(window: list[Pixel], padded: int, how: Work, full: int) -> Pixel:
    """Pool the pixels of one window; with the padding it has so many taps."""
    if how.method.name == "avg":
        found = averaged(window, padded, how, full)
    else:
        found = (elected if how.method.name == "mode" else ranked)(window, how)
    background = how.pixels.background
    return found if background is None else flattened(found, background, full)


def averaged(window: list[Pixel], padded: int, how: Work, full: int) -> Pixel:
    divisor = divisor_of(how, padded, len(window))
    *colours, alphas = zip(*window, strict=True)
    alpha = min(rounded(sum(alphas), divisor), full)
    if how.pixels.alpha == "straight":
        return (*(min(rounded(sum(one), divisor), full) for one in colours), alpha)
    weights = alphas if any(alphas) else (1,) * len(window)
    sums = [sum(a * c for a, c in zip(weights, one, strict=True)) for one in colours]
    return (*(rounded(one, sum(weights)) for one in sums), alpha)


def divisor_of(how: Work, padded: int, inside: int) -> int:
    assert isinstance(how.method, Average)
    return how.method.divisor_override or (padded if how.method.count_include_pad else inside)


def rounded(dividend: int, divisor: int) -> int:
    """Return the quotient to nearest, ties to even."""
    return round(Fraction(dividend, divisor))


def ranked(window: list[Pixel], how: Work) -> Pixel:
    def pick(values: Sequence[int]) -> int:
        last = len(values) - 1
        return sorted(values)[{"min": 0, "median": last // 2, "max": last}[how.method.name]]

    seen = window
    if how.pixels.alpha == "weighted":
        seen = [one for one in window if one[-1]] or window
    *colours, _ = zip(*seen, strict=True)
    return (*map(pick, colours), pick([one[-1] for one in window]))


def elected(window: list[Pixel], how: Work) -> Pixel:
    clear = [one for one in window if how.pixels.alpha == "weighted" and one[-1] == 0]
    votes = Counter(min(clear) if one in clear else one for one in window)
    return min(one for one in votes if votes[one] == max(votes.values()))


def flattened(pixel: Pixel, background: Colour, full: int) -> Pixel:
    *colour, alpha = pixel
    under = [rounded(value * full, 255) for value in background]
    if len(colour) == 1 and len(set(background)) == 1:
        under = under[:1]
    over = colour * len(under) if len(colour) == 1 else colour
    mixed = zip(over, under, strict=True)
    return tuple(rounded(alpha * c + (full - alpha) * b, full) for c, b in mixed)


def light(code: int, full: int) -> float:
    """Decode by IEC 61966-2-1, in Python's own floats."""
    value = code / full
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def code(mean: float, full: int) -> int:
    value = mean * 12.92 if mean <= 0.0031308 else 1.055 * mean ** (1 / 2.4) - 0.055
    return round(min(value, 1.0) * full)


def linear_oracle(picture: Picture, how: Work) -> NDArray[Any]:
    """Return every window in linear light, summed exactly, channel by channel."""
    array, full = picture.array, LINEAR[picture.info.mode]
    array = array * np.uint8(255) if picture.info.mode == "1" else array
    shaped = array.reshape(*array.shape[:2], -1)
    alpha = shaped[..., -1].tolist() if picture.info.mode in FULL else None
    rows, columns = both_taps(picture, how.window)
    wanted = [
        [linear_window(shaped, alpha, row, column, how, full) for column in columns] for row in rows
    ]
    return np.array(wanted, array.dtype).reshape(len(rows), len(columns), *array.shape[2:])


def linear_window(
    array: NDArray[Any], alpha: Any, row: Taps, column: Taps, how: Work, full: int
) -> list[int]:
    places = [(y, x) for y in row.inside for x in column.inside]
    divisor = divisor_of(how, row.padded * column.padded, len(places))
    weights, weight = [1] * len(places), divisor
    seen = [] if alpha is None else [alpha[y][x] for y, x in places]
    if seen and how.pixels.alpha == "weighted":
        weights = seen if any(seen) else weights
        weight = sum(weights)
    found = []
    for channel in range(array.shape[2] - (alpha is not None)):
        values = [light(int(array[y, x, channel]), full) for y, x in places]
        total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
        found.append(code(total / weight, full))
    return found if alpha is None else [*found, min(rounded(sum(seen), divisor), full)]


def picture_of(mode: str, shape: tuple[int, int] = (5, 6), seed: int = 1) -> Picture:
    return noisy(mode, shape, seed)


def result(pixels: Sequence[Sequence[Pixel]], how: Work) -> Any:
    """Return the pooled pixels as lists."""
    mode = {2: "LA", 4: "RGBA"}[len(pixels[0][0])]
    return pool(made(np.array(pixels, np.uint8), mode), how).array.tolist()
