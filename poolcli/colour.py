"""A picture pooled: which channels, by which weight, in which light, on which background."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.codec import Decoded, Picture
from poolcli.engine.kernels import rounded_quotient
from poolcli.engine.pooling import Axes, NanPolicy, average, extreme, table_average
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import MODE_NAMES, OPAQUE, SHALLOW

Method: TypeAlias = Literal["max", "min", "avg"]
Alpha: TypeAlias = Literal["weighted", "straight"]
Colour: TypeAlias = tuple[int, int, int]
Pool: TypeAlias = Callable[..., NDArray[Any]]

COLOURED: Final = {"LA": "RGB", "LA;16": "RGB;16"}
"""What grey with alpha becomes on a background that isn't grey."""

LINEAR: Final = ("1", "L", "LA", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16")
"""The modes whose values mean light, by the curve of sRGB."""

SRGB_DECODE_FROM: Final = 0.04045
SRGB_ENCODE_FROM: Final = 0.0031308
ROWS_AT_ONCE: Final = 64

SLAB_BYTES = 1 << 21
"""Bytes of the rows that are copied out of a decoded picture to be pooled together."""

SLAB_SPANS: Final = 8
"""How many times as high as a window they are at least: one span is copied for two slabs."""


class Choices(NamedTuple):
    """What is computed.

    Attributes:
        method: "max", "min" or "avg".
        window: the window.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        linear: whether light is averaged rather than its sRGB code.
        alpha: "weighted" lets a pixel's alpha say how much its colour counts.
        nan: as in `avg_pool`.
        background: the 8-bit colour under pictures with alpha, which then lose it.
    """

    method: Method
    window: Window
    count_include_pad: bool = False
    divisor_override: int | None = None
    linear: bool = False
    alpha: Alpha = "weighted"
    nan: NanPolicy = "omit"
    background: Colour | None = None

    def mode(self, mode: str) -> str:
        """The mode of the pooled picture, from that of the picture.

        Raises:
            PoolError: such pictures can't be averaged in linear light.
        """
        if self.linear and mode not in LINEAR:
            raise PoolError(f"--linear means nothing for {MODE_NAMES[mode]}", "leave it out")
        if mode == "1" and self.method == "avg":
            return "L"
        if self.background is None or mode not in OPAQUE:
            return mode
        grey = len(set(self.background)) == 1
        return OPAQUE[mode] if grey else COLOURED.get(mode, OPAQUE[mode])


def pool(picture: Decoded | Picture, choices: Choices) -> Picture:
    """The picture pooled; it keeps its depth, its metadata and its size on paper.

    Raises:
        PoolError: the window does not fit the picture, or its mode does not fit the choices.
    """
    mode = choices.mode(picture.mode)
    array = _pool_slabs(picture, choices)
    if choices.background is not None and picture.mode in OPAQUE:
        array = _flatten(array, choices.background, picture.maxval)
    return Picture(
        array,
        mode,
        255 if mode == "L" else picture.maxval,
        picture.metadata.pooled(choices.window.stride),
        picture.source,
        picture.duration,
    )


def shallow(picture: Picture) -> Picture:
    """The picture in 8 bits: v′ = round(v·255/maxval), ties to even."""
    wide = picture.array.astype(np.uint32) * 255
    array = rounded_quotient(wide, picture.maxval).astype(np.uint8)
    return picture._replace(array=array, mode=SHALLOW[picture.mode], maxval=255)


def _pool_slabs(picture: Decoded | Picture, choices: Choices) -> NDArray[Any]:
    """The pooled pixels; rows that still have to be copied are so while they are in the cache."""
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    rows, columns = choices.window.axes((height, width))
    if isinstance(pixels, np.ndarray):
        return _pool_channels(pixels, picture.mode, (rows, columns), choices)
    row_bytes = math.prod(pixels.shape[1:]) * pixels.dtype.itemsize
    high = max(SLAB_BYTES // row_bytes, SLAB_SPANS * rows.span)
    step = max(1, (high - rows.span) // rows.stride + 1)
    channels = tuple(channels + pixels.spare for channels in pixels.shape[2:])
    grey = pixels.dtype == np.bool_ and choices.method == "avg"
    whole = np.empty((rows.out, columns.out, *channels), np.uint8 if grey else pixels.dtype)
    for first in range(0, rows.out, step):
        stop = min(first + step, rows.out)
        seen, part = rows.part(first, stop)
        whole[first:stop] = _pool_channels(pixels[seen], picture.mode, (part, columns), choices)
    return whole[..., :-1] if pixels.spare else whole


def _pool_channels(array: NDArray[Any], mode: str, axes: Axes, choices: Choices) -> NDArray[Any]:
    """Every channel on its own, but for colour under alpha."""
    divided: dict[str, Any] = {}
    plain: Pool
    if choices.method == "avg":
        plain = partial(average, axes=axes, nan=choices.nan)
        divided["count_include_pad"] = choices.count_include_pad
        divided["divisor_override"] = choices.divisor_override
    else:
        plain = partial(extreme, choices.method, axes=axes, nan=choices.nan)
    coloured: Pool = partial(_linear_avg, axes=axes) if choices.linear else plain
    if mode not in OPAQUE:
        return coloured(array, **divided)
    colour, alpha = array[..., :-1], array[..., -1]
    if choices.alpha == "straight":
        pooled = coloured(colour, **divided)
    elif choices.method == "avg":
        pooled = coloured(colour, weights=alpha)
    else:
        pooled = coloured(colour, where=alpha > 0)
    return _joined(pooled, plain(alpha, **divided))


def _joined(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Colour and alpha side by side; NumPy's own way copies pixel by pixel."""
    array = np.empty((*alpha.shape, colour.shape[-1] + 1), alpha.dtype)
    for channel in range(colour.shape[-1]):
        array[..., channel] = colour[..., channel]
    array[..., -1] = alpha
    return array


def _linear_avg(array: NDArray[Any], axes: Axes, **options: Any) -> NDArray[Any]:
    """The average of light: decoded by a table, averaged in float64, encoded, rounded once."""
    if array.dtype == np.bool_:
        array, table, full = array.view(np.uint8), np.array([0.0, 1.0]), 255
    else:
        full = int(np.iinfo(array.dtype).max)
        table = srgb_decoded(np.arange(full + 1) / full)
    light = table_average(array, table, axes, **options)
    result = np.empty(light.shape, array.dtype)
    for top in range(0, len(light), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        np.rint(np.clip(srgb_encoded(light[rows]), 0, 1) * full, out=result[rows], casting="unsafe")
    return result


def srgb_decoded(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light from sRGB's code, both in 0…1 (IEC 61966-2-1)."""
    return np.where(code <= SRGB_DECODE_FROM, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def srgb_encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give sRGB's code of light, both in 0…1 (IEC 61966-2-1)."""
    return np.where(light <= SRGB_ENCODE_FROM, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _flatten(array: NDArray[Any], background: Colour, full: int) -> NDArray[Any]:
    """Colour over a background: c′ = (αc + (A-α)b)/A, rounded once to nearest."""
    wide = np.uint32 if full < 1 << 16 else np.uint64
    alpha: NDArray[Any] = array[..., -1:].astype(wide)
    grey = len(set(background)) == 1 and array.shape[-1] == 2
    under: NDArray[Any] = np.array(background[:1] if grey else background, wide) * (full // 255)
    total = alpha * array[..., :-1] + (full - alpha) * under
    flat = rounded_quotient(total, full).astype(array.dtype)
    return flat[..., 0] if grey else flat
