"""Find which pixel is the maximum or minimum of each window, and put values back to such places."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.extremes import UFUNCS, Extreme
from poolcli.engine.gather import Mask, Region, read_regions
from poolcli.engine.kernels import NanPolicy, Scratch
from poolcli.engine.tiles import restored, with_channels
from poolcli.engine.window import Axes, Axis
from poolcli.errors import PoolError

OUTSIDE, ABSENT, WITHOUT_DATA, WITH_DATA, PROPAGATED = range(5)
"""The priorities of samples: beyond the picture, omitted NaN, nodata, others, and NaN that wins.

A sample of a higher priority wins over all values of a lower one."""

CHOSEN: Final = 4
"""It is added to the priorities of pixels that take part if others do not; never to omitted NaN."""


class PlaceTuning(NamedTuple):
    """Sizes that change the speed of `extreme_places`, but never its results.

    Attributes:
        pixel_bytes: the size of the pixels of a region, roughly.
        narrowest: the least width of a region, in windows.
    """

    pixel_bytes: int = 1 << 20
    narrowest: int = 16


TUNED: Final = PlaceTuning()


def extreme_places(
    which: Extreme,
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: Mask | None = None,
    nodata: float | None = None,
    tuning: PlaceTuning = TUNED,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Pool an array like `max_pool_with_indices`, over windows that are computed already.

    Args:
        which: "max" or "min".
        array: as in `max_pool`, and so are ``nan``, ``where`` and ``nodata``.
        axes: the windows.
        nan: as in `max_pool`.
        where: as in `max_pool`.
        nodata: as in `max_pool`, a value of the array's type.
        tuning: sizes of the working set.
    """
    picture = with_channels(array)
    width = picture.shape[1]
    rows, columns = (axis.trimmed() for axis in axes)
    dtype = picture.dtype.newbyteorder("=")
    values = np.empty((rows.out, columns.out, picture.shape[2]), dtype)
    places = np.empty(values.shape, np.int64)
    pixel = max(1, dtype.itemsize * picture.shape[2])
    read = min(rows.size, rows.stride) * min(columns.size, columns.stride)
    windows = max(1, tuning.pixel_bytes // (read * pixel))
    widest = max(windows, tuning.narrowest)
    # Windows may begin far before the picture, so that offsets in them exceed its pixels.
    word = np.int32 if rows.span * width + columns.span < 1 << 31 else np.int64
    search = Search(UFUNCS[which][0], np.greater if which == "max" else np.less, Scratch())
    for region, pixels, marked in read_regions(picture, where, (rows, columns), windows, widest):
        priorities = _priorities(pixels, marked, nodata, omits_nan=nan == "omit")
        with np.errstate(invalid="ignore"):
            found = search.winners(region, pixels, priorities)
        values[region.tile] = found.values
        starts = _starts(rows, region.tile.rows)[:, None] * width
        starts = starts + _starts(columns, region.tile.columns).repeat(picture.shape[2])
        # Small offsets, and starts that are repeated for each channel instead of broadcast to
        # them, take half the time of sums of int64.
        offsets = np.multiply(found.rows, rows.dilation * width, dtype=word)
        offsets += np.multiply(found.columns, columns.dilation, dtype=word)
        np.add(offsets, starts.reshape(offsets.shape), out=places[region.tile])
    return restored(values, array, array.dtype), restored(places, array, np.dtype(np.int64))


class Candidates(NamedTuple):
    """The best sample of each window up to now, or a tap of each window.

    Attributes:
        values: the samples.
        priorities: their priorities; None if all are equal.
        columns: the numbers of the taps along the width; None before these are compared.
    """

    # Arrays or None, but a caller knows which: the parts of one search are alike.
    values: Any
    priorities: Any = None
    columns: Any = None


class Found(NamedTuple):
    """The winner of each window of a region, (rows, columns, C).

    Attributes:
        values: its value.
        rows: the number of its tap along the height.
        columns: the number of its tap along the width.
    """

    values: NDArray[Any]
    rows: NDArray[Any]
    columns: NDArray[Any]


class Search(NamedTuple):
    """Find the first of the largest or smallest samples of windows.

    First the leftmost winner of each row of a window is found, and then the topmost of these. The
    rows are thus compared once where windows overlap.

    Attributes:
        better: returns the better one of two samples.
        beats: returns whether the first sample is better.
        scratch: memory for intermediate results.
    """

    better: np.ufunc
    beats: np.ufunc
    scratch: Scratch

    def winners(
        self, region: Region, pixels: NDArray[Any], priorities: NDArray[np.uint8] | None
    ) -> Found:
        """Return the winner of each window of a region.

        Args:
            region: the windows.
            pixels: the pixels of the region, (h, w, C).
            priorities: their priorities, or None if all are equal.
        """
        if priorities is None and not region.is_full:
            priorities = np.full(pixels.shape, WITH_DATA, np.uint8)
        values = region.filled(pixels, pixels.dtype.type(0))
        if priorities is not None:
            priorities = region.filled(priorities, OUTSIDE)
        taps = _down(region, self._across(region, values, priorities))
        first = next(taps)
        best = Candidates(*(None if part is None else part.copy() for part in first))
        rows = np.zeros(best.values.shape, np.min_scalar_type(region.rows.size))
        for number, tap in enumerate(taps, 1):
            self._compare(best, tap, rows, number)
        return Found(best.values, rows, best.columns)

    def _across(
        self, region: Region, values: NDArray[Any], priorities: NDArray[np.uint8] | None
    ) -> Candidates:
        """Return the winner of each row of pixels in each window, (h, columns, C)."""
        shape = (len(values), region.columns.out, values.shape[2])

        def taken(part: NDArray[Any], number: int, name: str) -> NDArray[Any]:
            out = self.scratch.take(name, shape, part.dtype)
            region.column_tap(part.reshape(len(part), -1), number, out)
            return out

        def tap(number: int, name: str) -> Candidates:
            priority = None if priorities is None else taken(priorities, number, f"{name} priority")
            return Candidates(taken(values, number, name), priority)

        best = tap(0, "best")
        columns = self.scratch.take("columns", shape, np.min_scalar_type(region.columns.size))
        columns[...] = 0
        for number in range(1, region.columns.size):
            self._compare(best, tap(number, "tap"), columns, number)
        return best._replace(columns=columns)

    def _compare(
        self, best: Candidates, tap: Candidates, numbers: NDArray[Any], number: int
    ) -> None:
        """Replace the best samples by those of a tap that are better, and note its number."""
        is_better = self.beats(tap.values, best.values)
        if tap.priorities is None:
            self.better(best.values, tap.values, out=best.values)
        else:
            is_better &= tap.priorities == best.priorities
            is_better |= tap.priorities > best.priorities
            np.copyto(best.values, tap.values, where=is_better)
            np.maximum(best.priorities, tap.priorities, out=best.priorities)
        # The numbers grow from tap to tap, and a maximum is faster than a copy with a mask.
        np.maximum(numbers, is_better * numbers.dtype.type(number), out=numbers)
        if best.columns is not None:
            # This is faster than a copy with a mask too.
            best.columns[...] ^= (best.columns ^ tap.columns) * is_better


def _down(region: Region, candidates: Candidates) -> Iterator[Candidates]:
    """Yield a view (rows, columns, C) of candidates (h, columns, C) for each tap of the height."""
    size = region.rows.size
    taps = (
        [None] * size
        if part is None
        else [tap.reshape(-1, *part.shape[1:]) for tap in region.row_taps(part)]
        for part in candidates
    )
    for parts in zip(*taps, strict=True):
        yield Candidates(*parts)


def _priorities(
    pixels: NDArray[Any], where: Mask | None, nodata: float | None, *, omits_nan: bool
) -> NDArray[np.uint8] | None:
    """Return the priorities of pixels (h, w, C); None if all are equal.

    Args:
        pixels: the pixels.
        where: the pixels that take part, (h, w, 1), or None for all.
        nodata: the value of samples without data, or None.
        omits_nan: whether NaN takes no part; otherwise it wins.
    """
    is_nan = np.isnan(pixels) if pixels.dtype.kind == "f" else None
    has_nan = is_nan is not None and is_nan.any()
    if where is None and nodata is None and not has_nan:
        return None
    priorities = np.full(pixels.shape, WITH_DATA, np.uint8)
    if nodata is not None:
        priorities[pixels == nodata] = WITHOUT_DATA
    if has_nan and not omits_nan:
        priorities[is_nan] = PROPAGATED
    if where is not None:
        priorities += CHOSEN * where.view(np.uint8)
    if has_nan and omits_nan:
        priorities[is_nan] = ABSENT
    return priorities


def _starts(axis: Axis | Spans, windows: slice) -> NDArray[np.int64]:
    """Return the positions of the first taps of some windows."""
    if isinstance(axis, Spans):
        return np.array(axis.starts[windows], np.int64)
    numbers = np.arange(windows.start, windows.stop, dtype=np.int64)
    return numbers * axis.stride - axis.before


def check_shapes(
    values: tuple[int, ...],
    indices: tuple[int, ...],
    shape: tuple[int, ...],
    sides: tuple[int, ...] = (0, 1),
) -> None:
    """Refuse values and indices whose shapes do not fit each other or the shape of the result.

    Args:
        values: the shape of the values.
        indices: the shape of the indices.
        shape: the shape of the result.
        sides: the axes of height and width, which alone may differ.

    Raises:
        PoolError: the shapes do not fit.
    """
    others = [number for number in range(len(shape)) if number not in sides]
    fits = len(values) == len(shape) and all(values[at] == shape[at] for at in others)
    if values != indices or not fits:
        raise PoolError(
            f"values {values} and indices {indices} do not fit the shape {shape}",
            "give those of one picture, which differ in height and width alone",
        )


def check_range(indices: NDArray[Any], pixels: int) -> None:
    """Refuse indices that are not those of a picture with so many pixels.

    Raises:
        PoolError: one is negative or too large.
    """
    if not indices.size:
        return
    for index in (int(indices.min()), int(indices.max())):
        if not 0 <= index < pixels:
            raise PoolError(
                f"an index is {index}, outside a picture of {pixels} pixels",
                "give the indices and the shape of the same picture",
            )


def put(values: NDArray[Any], indices: NDArray[Any], out: NDArray[Any]) -> None:
    """Write values to their places in a picture (H, W) or (H, W, C), which is contiguous."""
    if not values.size:
        return
    channels = math.prod(out.shape[2:])
    places = indices.reshape(-1, channels).astype(np.intp) * channels
    places += np.arange(channels)
    out.reshape(-1)[places.reshape(-1)] = values.reshape(-1)
