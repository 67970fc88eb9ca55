"""Pool the pixels of a frame, with palettes, alpha and background taken into account.

`poolcli.methods` compute one number of a window; this module decides which numbers they get, and
with which weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.extremes import extreme
from poolcli.engine.kernels import NanPolicy, rounded_quotient
from poolcli.engine.nodata import nodata_value
from poolcli.engine.planes import ReadRows
from poolcli.engine.window import Axes, Axis
from poolcli.errors import PoolError
from poolcli.methods import Alpha, Locating, Method
from poolcli.picture import MODES, FrameInfo, Placement, full_scale

Colour: TypeAlias = tuple[int, int, int]
KeepIndices: TypeAlias = Callable[[NDArray[np.int64]], None]

COLOURED: Final = {"LA": "RGB", "LA;16": "RGB;16", "LA;M": "RGB;M"}
"""The mode of a grey picture with alpha on a background that isn't grey."""

WIDE_GREY: Final = "I;16"
"""The mode of grey samples of 16 bits."""

NO_NODATA: Final = "none"
COINCIDES: Final = "averages that happen to be the nodata value stay so"

BAND_BYTES: Final = 1 << 21
"""Bytes of a band: the rows that are read and pooled together while they are in the cache. The
value is the fastest of those measured."""

BAND_SPANS: Final = 8
"""A band is at least so many times as high as the span of a window, if windows overlap. Then
neighbouring bands share up to one span of rows, which is read twice: with 8 that is at most an
eighth of the rows."""

MOST_BAND_BYTES: Final = 1 << 25
"""Bytes of a band above which it has fewer spans, but at least two: large windows in a wide picture
would take hundreds of megabytes."""


class Pixels(NamedTuple):
    """The treatment of alpha and NaN.

    Attributes:
        alpha: "weighted" weights the colour of a pixel by its alpha; "straight" pools alpha as
            one more channel.
        nan: "omit" leaves NaN pixels out of their windows; with "propagate" a window that holds
            NaN becomes NaN.
        background: the 8-bit colour on which pictures with alpha are flattened, or None.
        nodata: the value of samples without data, in text; "none" if there is none; None if the
            file tells.
    """

    alpha: Alpha = "weighted"
    nan: NanPolicy = "omit"
    background: Colour | None = None
    nodata: str | None = None


class Nodata(NamedTuple):
    """The value of samples without data.

    Attributes:
        value: a number of the frame's type, or None if all samples have data.
        text: what the output's file states; empty for nothing.
        note: why the value that the file states is not used, in words; empty if it is.
    """

    value: Any = None
    text: str = ""
    note: str = ""


def nodata_of(info: FrameInfo, pixels: Pixels) -> Nodata:
    """Return the value of samples without data, from the option or else from the file.

    Raises:
        PoolError: the option's value is not one of the frame's type.
    """
    if pixels.nodata is not None and pixels.nodata != NO_NODATA:
        try:
            return Nodata(nodata_value(pixels.nodata, info.dtype), pixels.nodata)
        except PoolError as fault:
            raise PoolError(f"--{fault.message}", fault.remedy) from None
    text = info.nodata.strip()
    if info.palette is not None and text:
        return Nodata(note=f"its nodata value {text} is an index into its palette: it was ignored")
    if pixels.nodata == NO_NODATA or not text or text.lower().lstrip("+-") == "nan":
        return Nodata(text=text)
    try:
        value = nodata_value(text, info.dtype)
    except PoolError:
        kind = info.dtype.name
        return Nodata(note=f"its nodata value {text} is no {kind}: it was ignored", text=text)
    stored = info.stored.maxval
    is_widened = info.maxval and stored and stored != info.maxval
    if stored and value > stored:
        note = f"its nodata value {text} is no {info.stored.bits}-bit sample: it was ignored"
        return Nodata(note=note, text="" if is_widened else text)
    if is_widened:
        value = rescaled(np.array([value]), stored, info).item()
        text = str(value)
    return Nodata(value, text)


def pooled_info(
    info: FrameInfo, axes: Axes, method: Method, pixels: Pixels, *, keeps_palette: bool = False
) -> FrameInfo:
    """Return what is known of the pooled frame, from the header of the frame.

    Args:
        info: the frame.
        axes: the windows of both axes.
        method: what is computed of every window.
        pixels: how alpha and NaN are treated.
        keeps_palette: whether the result has indices of the frame's palette.

    Raises:
        PoolError: the method can't pool pictures of this mode.
    """
    mode, dtype = method.result(info.mode, info.dtype)
    if pixels.background is not None and (without := MODES[mode].without_alpha):
        is_grey = len(set(pixels.background)) == 1
        mode = without if is_grey else COLOURED.get(mode, without)
    rows, columns = axes
    palette = info.palette if keeps_palette else None
    # The mode "array" (0) says nothing about channels: the shape keeps them. Pictures of one
    # channel have no third axis.
    channels = {0: info.shape[2:], 1: ()}.get(MODES[mode].channels, (MODES[mode].channels,))
    return info._replace(
        shape=(rows.out, columns.out, *channels),
        dtype=dtype,
        mode=mode,
        maxval=info.maxval if dtype == info.dtype else full_scale(dtype),
        palette=None if palette is None else palette[: info.entries],
        nodata=nodata_of(info, pixels).text,
    )


def placement(axes: Axes, planes: int = 1) -> Placement:
    """Return where the pooled pixels lie.

    The origin is (span - stride)/2 - padding before. Windows that are given by the size of the
    output cover the picture from its first to its last pixel, so that their origin is 0.

    Args:
        axes: the windows of both axes.
        planes: the number of planes that are pooled together.
    """
    rows, columns = axes
    down, across = (
        0 if isinstance(axis, Spans) else (axis.span - axis.stride) / 2 - axis.before
        for axis in axes
    )
    return Placement((rows.pitch, columns.pitch), (down, across), planes)


def pooled_bands(
    info: FrameInfo,
    read: ReadRows,
    axes: Axes,
    method: Method,
    pixels: Pixels,
    band_bytes: int = BAND_BYTES,
    band_spans: int = BAND_SPANS,
    notes: list[str] | None = None,
    keeps_palette: bool = False,
    keep_indices: KeepIndices | None = None,
) -> Iterator[NDArray[Any]]:
    """Pool a frame and yield the result band by band, from top to bottom.

    Args:
        info: the frame, upright.
        read: returns rows of the frame, as `poolcli.picture.Frame.rows` does.
        axes: the windows of both axes.
        method: what is computed of every window.
        pixels: how alpha and NaN are treated.
        band_bytes: the number of bytes to read at a time, roughly.
        band_spans: the least height of a band, in spans of a window.
        notes: receives what happened to the samples, in words; None to tell nothing.
        keeps_palette: whether to yield indices of the frame's palette.
        keep_indices: takes the indices of each band, in the whole frame; the method must be one
            that tells them. None for no indices.
    """
    rows, columns = axes
    nodata = nodata_of(info, pixels).value
    by_index = method.takes_indices and info.palette is not None
    alpha = pixels.alpha if MODES[info.mode].without_alpha else None
    row_bytes = math.prod(info.shape[1:]) * info.dtype.itemsize
    height = max(band_bytes // row_bytes, least_height(rows, row_bytes, band_spans))
    step = max(1, (height - rows.span) // rows.stride + 1)
    is_scaled = info.dtype.kind == "u" and info.maxval < full_scale(info.dtype)
    for first in range(0, rows.out, step):
        seen, part = rows.part(first, min(first + step, rows.out))
        band = read(seen.start, seen.stop)
        windows = part, columns
        if by_index:
            pooled = method.pool(band, windows)
            if not keeps_palette and info.palette is not None:
                pooled = np.take(info.palette, pooled, axis=0)
        else:
            if info.palette is not None:
                band = np.take(info.palette, band, axis=0)
            options: Any = {"alpha": alpha, "nan": pixels.nan, "nodata": nodata}
            if keep_indices is None:
                pooled = method.pool(band, windows, **options)
            else:
                pooled, places = cast(Locating, method).pool_with_indices(band, windows, **options)
                places += seen.start * info.shape[1]
                keep_indices(places)
        if nodata is not None and notes is not None and method.blends:
            colour = (pooled, band) if alpha is None else (pooled[..., :-1], band[..., :-1])
            where = band[..., -1] > 0 if alpha == "weighted" else None
            if COINCIDES not in notes and _coincides(*colour, windows, pixels.nan, where, nodata):
                notes.append(COINCIDES)
        if is_scaled and pooled.dtype == info.dtype:
            # `--divisor-override` can make an average larger than all samples; the engine keeps it
            # in the range of the type.
            np.minimum(pooled, info.maxval, out=pooled)
        if pixels.background is not None and alpha is not None:
            pooled = _flatten(pooled, pixels.background, info.maxval)
        yield pooled


def least_height(
    rows: Axis | Spans, row_bytes: int, band_spans: int, most_bytes: int = MOST_BAND_BYTES
) -> int:
    """Return the least number of rows of a band.

    Args:
        rows: the windows along the height.
        row_bytes: bytes of a row.
        band_spans: the spans of a band if windows overlap; they share no rows otherwise.
        most_bytes: bytes of a band above which it has fewer spans.
    """
    if rows.span <= rows.stride:
        return rows.span
    spans = most_bytes // (row_bytes * rows.span)
    return rows.span * min(band_spans, max(2, spans))


def rounded_info(info: FrameInfo) -> FrameInfo:
    """Return what is known of a frame after it is rounded to 8 bits."""
    return _rescaled_info(info, MODES[info.mode].rounded)


def _rescaled_info(info: FrameInfo, mode: str) -> FrameInfo:
    """Return what is known of a frame of unsigned samples after it has got another mode."""
    dtype = np.dtype(MODES[mode].dtype)
    result = info._replace(mode=mode, dtype=dtype, maxval=full_scale(dtype), nodata="")
    try:
        value = nodata_value(info.nodata, info.dtype)
    except PoolError:
        return result
    if value > info.maxval:  # no sample has it, but one of the result might
        return result
    return result._replace(nodata=str(rescaled(np.array([value]), info.maxval, result).item()))


def widened_info(info: FrameInfo) -> FrameInfo | None:
    """Return what is known of a frame of 2 to 15 bits after it is widened to 8 or 16 bits.

    Returns:
        None if it has another depth, or a full scale that is not 2^b - 1.
    """
    mode, is_odd, _ = info.mode.partition(";M")
    is_whole = not info.maxval & (info.maxval + 1)
    if not is_odd or not is_whole or info.maxval > full_scale(np.dtype(np.uint16)):
        return None
    if info.maxval > full_scale(np.dtype(np.uint8)):
        mode = WIDE_GREY if mode == "L" else f"{mode};16"
    return _rescaled_info(info, mode)


def rescaled(band: NDArray[Any], maxval: int, info: FrameInfo) -> NDArray[Any]:
    """Scale unsigned samples: v′ = round(v·M/maxval), ties to even, with M the new full scale.

    Args:
        band: samples from 0 to maxval.
        maxval: their full scale; its product with M has at most 32 bits.
        info: the frame with the new full scale and type.
    """
    wide = band.astype(np.uint32) * np.uint32(info.maxval)
    return rounded_quotient(wide, maxval).astype(info.dtype)


def _coincides(
    pooled: NDArray[Any],
    colour: NDArray[Any],
    axes: Axes,
    nan: NanPolicy,
    where: NDArray[np.bool_] | None,
    nodata: Any,
) -> bool:
    """Return whether a window that holds data has got the nodata value as its result."""
    without = pooled == nodata
    if not without.any():
        return False
    # A maximum is the nodata value only where no sample has data.
    largest = extreme("max", colour, axes, nan=nan, where=where, nodata=nodata)
    return bool((without & (largest != nodata)).any())


def _flatten(array: NDArray[Any], background: Colour, full: int) -> NDArray[Any]:
    """Composite onto a background: c′ = (αc + (A-α)b)/A, rounded once, A being full alpha."""
    wide = np.uint32 if full < 1 << 16 else np.uint64
    alpha: NDArray[Any] = array[..., -1:].astype(wide)
    grey = len(set(background)) == 1 and array.shape[-1] == 2
    levels = [full * level for level in (background[:1] if grey else background)]
    under: NDArray[Any] = rounded_quotient(np.array(levels, wide), 255)
    total = alpha * array[..., :-1] + (full - alpha) * under
    flat = rounded_quotient(total, full).astype(array.dtype)
    return flat[..., 0] if grey else flat
