"""Give the taps of windows one by one, for operations that need all values of a window at once.

The reductions of `poolcli.engine.tiles` combine rows first and then columns. A rank or a vote can't
be computed from parts of a window, so it reads every tap of it, in regions that fit the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.kernels import Scratch, subsample
from poolcli.engine.tiles import Tile
from poolcli.engine.window import Axes, Axis, ceil_div

Mask: TypeAlias = NDArray[np.bool_]
"""Which pixels or samples of a region take part."""


class Region(NamedTuple):
    """A rectangle of windows, and the pixels that they span.

    Attributes:
        tile: the windows, that is, pixels of the result.
        pixels: the rows and the columns of the picture that the windows span.
        rows: the windows along the height; they and their pixels are counted from 0.
        columns: likewise along the width.
        spans: the windows of each axis if their sizes differ, or None. The pixels of these are
            copied window by window when they are filled, so that `rows` and `columns` are
            windows of the largest size, side by side.
    """

    tile: Tile
    pixels: tuple[slice, slice]
    rows: Axis
    columns: Axis
    spans: tuple[Spans | None, ...]

    @property
    def taps(self) -> int:
        """The number of taps of a window, on pixels or not."""
        return self.rows.size * self.columns.size

    @property
    def is_full(self) -> bool:
        """Return whether all taps of all windows are on pixels."""
        are_uniform = all(len(set(one.sizes)) == 1 for one in self.spans if one is not None)
        sides = (_before_and_after(axis) for axis in (self.rows, self.columns))
        return are_uniform and all(side == (0, 0) for side in sides)

    def filled(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Return pixels (h, w, C) of the region with ``fill`` wherever a tap is on no pixel."""
        for number, spans in enumerate(self.spans):
            if spans is not None:
                values = _apart(values, spans, number, fill)
        if self.is_full:
            return np.ascontiguousarray(values)
        sides = _before_and_after(self.rows), _before_and_after(self.columns)
        height, width, channels = values.shape
        shape = (height + sum(sides[0]), width + sum(sides[1]), channels)
        whole = np.full(shape, fill, values.dtype)
        (top, _), (left, _) = sides
        whole[top : top + height, left : left + width] = values
        return whole

    def filled_axes(self, shape: tuple[int, ...]) -> Axes:
        """Return the windows over filled pixels of a shape (h, w, …), none of them in padding."""
        height, width = shape[:2]
        return (
            self.rows._replace(extent=height, before=0, after=0),
            self.columns._replace(extent=width, before=0, after=0),
        )

    def row_taps(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return a view (rows, width·C) of filled pixels for every tap along the height."""
        flat, axis = values.reshape(len(values), -1), self.rows
        starts = range(0, axis.size * axis.dilation, axis.dilation)
        return [flat[start :: axis.stride][: axis.out] for start in starts]

    def column_tap(self, row: NDArray[Any], tap: int, out: NDArray[Any]) -> None:
        """Copy a tap along the width of every window into ``out``, (rows, columns, C).

        Args:
            row: (rows, width·C), as `row_taps` returns them.
            tap: the number of the tap.
            out: receives the pixels.
        """
        axis, channels = self.columns, out.shape[2]
        start = tap * axis.dilation * channels
        stop = start + axis.out * axis.stride * channels
        if stop <= row.shape[1] or axis.stride == 1:
            subsample(row[:, start:stop], axis.stride, channels, out)
        else:  # the last stride ends after the last pixel, which `subsample` does not allow
            pixels = row.reshape(len(row), -1, channels)
            for channel in range(channels):
                taps = pixels[:, tap * axis.dilation :: axis.stride, channel]
                out[..., channel] = taps[:, : axis.out]

    def windows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view (rows, columns, C, taps down, taps across) of filled pixels."""
        rows, columns = self.rows, self.columns
        shape = (rows.span, columns.span)
        windows = np.lib.stride_tricks.sliding_window_view(values, shape, axis=(0, 1))
        windows = windows[:: rows.stride, :: columns.stride, :, :: rows.dilation]
        return windows[: rows.out, : columns.out, ..., :: columns.dilation]

    def counts(self, mask: Mask | None, scratch: Scratch) -> NDArray[Any]:
        """Return the number of pixels of every window, or of those that a mask (h, w, C) marks.

        Returns:
            (rows, columns, C), or (rows, columns, 1) without a mask.
        """
        dtype = np.dtype(np.int32 if self.taps < 1 << 31 else np.int64)
        if mask is None:
            down, across = map(_taps_inside, (self.rows, self.columns), self.spans)
            return np.multiply.outer(down.astype(dtype), across.astype(dtype))[..., None]
        marked = self.filled(mask, fill=False).view(np.uint8)
        shape = (self.rows.out, self.columns.out, marked.shape[2])
        row = np.zeros((self.rows.out, marked[0].size), dtype)
        for tap in self.row_taps(marked):
            row += tap
        total, taken = np.zeros(shape, dtype), scratch.take("count", shape, dtype)
        for number in range(self.columns.size):
            self.column_tap(row, number, taken)
            total += taken
        return total

    def holds(self, marked: Mask, where: Mask | None, scratch: Scratch) -> Mask:
        """Return which windows hold a marked pixel (h, w, C) among those that take part.

        In a window without pixels for which ``where`` (h, w, 1) is true, all take part.
        """
        anywhere = self.counts(marked, scratch) > 0
        if where is None:
            return anywhere
        found = self.counts(marked & where, scratch) > 0
        return np.where(self.counts(where, scratch) > 0, found, anywhere)


def chosen(
    where: Mask | None,
    present: Mask | None,
    is_nodata: Mask | None,
) -> Iterator[Mask | None]:
    """Yield masks of the samples to pool; a window takes the first one that marks any in it.

    First come the samples with data for which ``where`` is true, then those without data among
    them, and then both without ``where``. None marks all samples.

    Args:
        where: the pixels that take part, (h, w, 1), or None for all.
        present: the samples that are not omitted, (h, w, C), or None for all.
        is_nodata: the samples without data, (h, w, C), or None for none.
    """
    data = None if is_nodata is None else ~is_nodata
    for part in (None,) if where is None else (where, None):
        yield _all_of(part, present, data)
        if is_nodata is not None:
            yield _all_of(part, is_nodata)


def _all_of(*masks: Mask | None) -> Mask | None:
    """Return the samples that all masks mark; None marks all."""
    given = [mask for mask in masks if mask is not None]
    return reduce(np.logical_and, given) if given else None


def read_regions(
    picture: NDArray[Any], where: Mask | None, axes: Axes, windows: int, widest: int
) -> Iterator[tuple[Region, NDArray[Any], Mask | None]]:
    """Yield each region, its pixels in native byte order, and which of them take part.

    Args:
        picture: (H, W, C).
        where: the pixels that take part, (H, W), or None for all.
        axes: as in `regions`.
        windows: as in `regions`.
        widest: as in `regions`.

    Yields:
        The region, its pixels (h, w, C), and ``where`` for these, (h, w, 1).
    """
    if not picture.size:
        return
    dtype = picture.dtype.newbyteorder("=")
    for region in regions(axes, windows, widest):
        pixels = picture[region.pixels].astype(dtype, copy=False)
        yield region, pixels, None if where is None else where[region.pixels][..., None]


def regions(axes: Axes, windows: int, widest: int) -> Iterator[Region]:
    """Split the windows of a picture into regions, full ones apart from those at edges.

    Args:
        axes: the windows of both axes, trimmed.
        windows: the most windows of a region, unless it has one row.
        widest: the most windows of a row of a region.
    """
    rows, columns = axes
    width = min(columns.out, widest)
    height = max(1, windows // width)
    for down in _ranges(rows, height):
        for across in _ranges(columns, width):
            seen_rows, part_rows = rows.part(down.start, down.stop)
            seen_columns, part_columns = columns.part(across.start, across.stop)
            yield Region(
                Tile(down, across),
                (seen_rows, seen_columns),
                _side_by_side(part_rows),
                _side_by_side(part_columns),
                tuple(one if isinstance(one, Spans) else None for one in (part_rows, part_columns)),
            )


def _ranges(axis: Axis | Spans, most: int) -> Iterator[slice]:
    """Split the windows of an axis at the ends of its interior, and then into equal parts."""
    inside = axis.interior
    # The first window starts after the first pixel if `trimmed` has dropped taps before it.
    ends = (0, max(0, inside.start), inside.stop, axis.out) if inside else (0, axis.out)
    for first, stop in pairwise(ends):
        if count := stop - first:
            step = ceil_div(count, ceil_div(count, most))
            for start in range(first, stop, step):
                yield slice(start, min(start + step, stop))


def _before_and_after(axis: Axis) -> tuple[int, int]:
    """Return the number of positions that windows span before and after the pixels."""
    end = axis.start(axis.out - 1) + axis.span
    return axis.before, max(0, end - axis.extent)


def _side_by_side(axis: Axis | Spans) -> Axis:
    """Return windows of one size, which do not share pixels if their sizes differed."""
    if isinstance(axis, Axis):
        return axis
    size, out = axis.size, axis.out
    return Axis(size * out, size, size, 1, 0, 0, out)


def _apart(values: NDArray[Any], spans: Spans, number: int, fill: Any) -> NDArray[Any]:
    """Copy the pixels of windows side by side, with ``fill`` behind the smaller windows."""
    taps = np.array(spans.starts)[:, None] + np.arange(spans.size)
    is_beyond = taps >= np.array(spans.stops)[:, None]
    copied = np.take(values, np.minimum(taps, spans.extent - 1).ravel(), axis=number)
    beyond = is_beyond.ravel()
    copied[(slice(None),) * number + (beyond,)] = fill
    return copied


def _taps_inside(axis: Axis, spans: Spans | None) -> NDArray[np.int64]:
    """Return the number of taps on pixels of every window."""
    if spans is not None:
        return np.array(spans.sizes, np.int64)
    starts = np.arange(axis.out) * axis.stride - axis.before
    first = np.maximum(0, -(starts // axis.dilation))
    stop = np.minimum(axis.size, -((starts - axis.extent) // axis.dilation))
    return (stop - first).astype(np.int64, copy=False)
