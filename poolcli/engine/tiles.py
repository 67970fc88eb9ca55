"""Split the windows of a picture into tiles whose working set fits the cache, and reduce them.

Each tile is reduced along the height first, because this combines whole contiguous rows, and then
along the width, where fewer rows are left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from math import isqrt
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.kernels import Block, Reduction, Scratch, cast, slide, subsample, van_herk
from poolcli.engine.window import Axes, Axis, ceil_div

BlockReader: TypeAlias = Callable[[slice, slice], Block]
"""A function (rows, columns of the picture) → block of these pixels, in native byte order."""


class Tuning(NamedTuple):
    """Sizes that change the speed of the engine, but never its results.

    The defaults suit a second-level cache of 1 to 2 MB.

    Attributes:
        tile_bytes: the size of a tile after it is reduced along the height.
        tall_tile_bytes: the same for `van_herk`, if a tile would not be as high as a window.
        band_bytes: the size of a band of rows for `slide`, which makes all its passes over one
            band before the next.
        most_folded: the most operations for each row of the picture up to which rows are combined
            tap by tap. `van_herk` takes three and a copy, independent of the number of taps.
    """

    tile_bytes: int = 1 << 21
    tall_tile_bytes: int = 1 << 22
    band_bytes: int = 1 << 20
    most_folded: int = 4


TUNED: Final = Tuning()


class Tile(NamedTuple):
    """A rectangle of windows, that is, of pixels of the result."""

    rows: slice
    columns: slice

    def part(self, rows: slice) -> Tile:
        """Return the part of the tile with some rows, which are counted from its first row."""
        top = self.rows.start
        return Tile(slice(top + rows.start, top + rows.stop), self.columns)


def zeros_and_ones(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask as 0 and 1: a view, or a copy if it has other bytes, such as Pillow's 255."""
    numbers = mask.view(np.uint8)
    return (numbers != 0).view(np.uint8) if numbers.max(initial=0) > 1 else numbers


def with_channels(array: NDArray[Any]) -> NDArray[Any]:
    """Return a picture (H, W) or (H, W, C) as (H, W, C), with bool as 0 and 1."""
    numbers = zeros_and_ones(array) if array.dtype == np.bool_ else array
    return numbers if numbers.ndim == 3 else numbers[..., None]


def restored(out: NDArray[Any], array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a result in the byte order of a dtype, with as many axes as the pooled array."""
    if not dtype.isnative:
        out.byteswap(inplace=True)
    return out.view(dtype).reshape(out.shape[: array.ndim])


class Grid:
    """A picture with its windows, and the scratch memory to reduce them.

    Args:
        array: (H, W) or (H, W, C), in any layout and byte order.
        axes: the windows.
        tuning: sizes of the working set.
        table: if given, ``table[array]`` is reduced instead of the array.
    """

    read: BlockReader

    def __init__(
        self, array: NDArray[Any], axes: Axes, tuning: Tuning, table: NDArray[Any] | None = None
    ) -> None:
        """Drop the taps that no window has on a pixel, and choose the kernel for the height."""
        self.array = with_channels(array)
        self.channels = self.array.shape[2]
        self.rows, self.columns = (axis.trimmed() for axis in axes)
        self.table, self.tuning, self.scratch = table, tuning, Scratch()
        self.most_taps = self.rows.size * self.columns.size
        # If windows overlap in many rows, `van_herk` takes fewer operations than `_fold`.
        overlap = self.rows.size - 1 > tuning.most_folded * self.rows.stride
        self.uses_van_herk = overlap and not isinstance(self.rows, Spans)
        flags = self.array[:1].flags
        self.is_viewed = array.dtype.isnative and flags.c_contiguous and flags.aligned
        # A bound method would form a reference cycle, which keeps the picture in memory until the
        # garbage collector runs.
        self.read = partial(_read, self.array, table, self.is_viewed, self.scratch)

    def reading(self, read: BlockReader, channels: int) -> Grid:
        """Return a grid with the same windows and scratch memory that reads from a function."""
        grid = copy(self)
        grid.read, grid.channels, grid.is_viewed = read, channels, False
        return grid

    def present(self, value: float | None) -> float | None:
        """Return the value if a sample has it, else None."""
        return None if value is None or not (self.array == value).any() else value

    def tiles(self, itemsize: int) -> Iterator[Tile]:
        """Split the result into tiles of about `Tuning.tile_bytes`.

        Tiles are as wide as the result. With `van_herk` they are at least as high as a window,
        because otherwise most rows would be read for two tiles: they may grow to
        `Tuning.tall_tile_bytes`, and are made narrower if that does not suffice.

        Args:
            itemsize: the size in bytes of an element that is reduced along the height.
        """
        rows, columns, tuning = self.rows, self.columns, self.tuning
        pixel = itemsize * self.channels
        if not pixel:
            return
        high = rows.size // rows.stride if self.uses_van_herk else 0
        tall = high * ((columns.out - 1) * columns.stride + columns.span) * pixel
        room = max(tuning.tile_bytes, min(tall, tuning.tall_tile_bytes)) // pixel
        # Tiles are not higher than wide, because narrow neighbours would read many columns twice.
        high = max(1, min(high, isqrt(room)))
        fitting = (room // high - columns.span) // columns.stride + 1
        widest = max(fitting, ceil_div(columns.span, columns.stride))
        width = ceil_div(columns.out, ceil_div(columns.out, widest))  # tiles of about equal width
        if isinstance(columns, Spans):
            width = columns.out  # `reduce_columns` takes all columns, since they differ
        height = max(1, room // ((width - 1) * columns.stride + columns.span))
        if self.uses_van_herk and height > rows.size:
            height -= height % rows.size  # so that `van_herk` has only complete groups
        for top in range(0, rows.out, height):
            for left in range(0, columns.out, width):
                yield Tile(
                    slice(top, min(top + height, rows.out)),
                    slice(left, min(left + width, columns.out)),
                )

    def reduce(self, tile: Tile, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce the windows of a tile into ``out``, (rows, columns, channels)."""
        for rows, block in self.bands(tile, reduction):
            self.reduce_columns(block, reduction, out[rows])

    def bands(self, tile: Tile, reduction: Reduction) -> Iterator[tuple[slice, Block]]:
        """Reduce a tile along the height, and yield (rows of the tile, block of these rows).

        A block has all columns that the tile's windows span; padding holds the neutral value.
        """
        channels = self.channels
        seen, columns = self.columns.part(tile.columns.start, tile.columns.stop)
        # The width is a multiple of the stride, so that `subsample` can view it as words.
        strides = columns.out - 1 + ceil_div(columns.span, columns.stride)
        width = strides * columns.stride * channels
        if isinstance(columns, Spans):
            width = columns.extent * channels
        height = tile.rows.stop - tile.rows.start
        block = self.scratch.take("rows", (height, width), reduction.dtype(self.rows.size))
        left, right = columns.before * channels, (columns.before + columns.extent) * channels
        block[:, :left] = block[:, right:] = reduction.neutral
        self._reduce_rows(tile.rows, seen, reduction, block[:, left:right])
        if self.uses_van_herk:
            # High windows are mostly wide too. Then `slide` makes many passes over a block, which
            # should stay in the cache.
            itemsize = reduction.dtype(self.most_taps).itemsize
            height = max(1, self.tuning.band_bytes // (width * itemsize))
        for top in range(0, len(block), height):
            rows = slice(top, min(top + height, len(block)))
            yield rows, block[rows]

    def reduce_columns(self, block: Block, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce a block of `bands` along the width into ``out``.

        It is reduced at stride 1 and then subsampled, because contiguous passes over all pixels
        are faster than strided passes over some.
        """
        columns, channels, held = self.columns, self.channels, self.rows.size
        if isinstance(columns, Spans):
            self._reduce_column_spans(block, columns, reduction, out)
            return
        shift = columns.dilation * channels
        flat = out.reshape(len(out), -1) if columns.stride == 1 else None
        slid = slide(block, reduction, columns.size, shift, self.scratch, held, flat)
        if flat is None:
            subsample(slid, columns.stride, channels, out)

    def _reduce_column_spans(
        self, block: Block, columns: Spans, reduction: Reduction, out: NDArray[Any]
    ) -> None:
        """Reduce a block along the width over windows of several sizes.

        All are reduced over the taps that the smallest has, and the further taps are added.
        """
        channels, sizes, starts = self.channels, np.array(columns.sizes), np.array(columns.starts)
        least, pixels = int(sizes.min()), block.reshape(len(block), -1, channels)
        slid = slide(block, reduction, least, channels, self.scratch, self.rows.size)
        picked = slid.reshape(pixels.shape)[:, starts]
        dtype = reduction.dtype(self.most_taps)
        if picked.dtype != dtype:
            picked = cast(picked, dtype, "picked", self.scratch)
        for tap in range(least, int(sizes.max())):
            larger = np.flatnonzero(sizes > tap)
            more = pixels[:, starts[larger] + tap]
            if more.dtype != dtype:  # as in `_reduce_rows`
                more = cast(more, dtype, "more", self.scratch)
            picked[:, larger] = reduction.ufunc(picked[:, larger], more, dtype=dtype)
        np.copyto(out, picked, casting="unsafe")

    def _reduce_rows(self, rows: slice, columns: slice, reduction: Reduction, out: Block) -> None:
        """Reduce windows along the height into ``out``, in parts that fit the cache.

        Args:
            rows: the windows along the height.
            columns: the columns of the picture.
            reduction: the operation.
            out: receives the result, one row for each window.
        """
        axis, room, height = self.rows, self.tuning.tile_bytes, self.rows.span
        combine: Callable[[Block, Any, Reduction, Block], None] = self._fold
        if isinstance(axis, Spans):
            combine = self._reduce_row_spans
        # Casting the block first is faster, unless windows skip pixels that would be cast too.
        overlaps = axis.size >= max(2, axis.stride)
        # `van_herk` takes all windows at once; its input is a little larger than a tall tile.
        if self.uses_van_herk:
            combine, room = self._van_herk, self.tuning.tall_tile_bytes * 5 // 4
            height += (rows.stop - rows.start - 1) * axis.stride
        elif self.is_viewed and (out.dtype == self.array.dtype or not overlaps):
            room = sys.maxsize  # nothing is copied, so no memory limits the parts
        widest = max(1, room // (height * out.itemsize * self.channels))
        extent = columns.stop - columns.start
        widest = ceil_div(extent, ceil_div(extent, widest))
        for left in range(columns.start, columns.stop, widest):
            part_columns = slice(left, min(left + widest, columns.stop))
            start, stop = ((at - columns.start) * self.channels for at in (left, part_columns.stop))
            fitting = room // ((stop - start) * out.itemsize) - axis.span
            step = max(1, fitting // axis.stride + 1)
            for first in range(rows.start, rows.stop, step):
                seen, part = axis.part(first, min(first + step, rows.stop))
                top = first - rows.start
                target = out[top : top + part.out, start:stop]
                block = self.read(seen, part_columns)
                # Ufuncs refuse to cast floats that hold sums of integers, or make objects of them.
                is_narrow_float = block.dtype.kind == "f" != out.dtype.kind
                wants_cast = overlaps or self.uses_van_herk or is_narrow_float
                if wants_cast and block.dtype != out.dtype:
                    block = cast(block, out.dtype, "wide", self.scratch)
                combine(block, part, reduction, target)

    def _reduce_row_spans(
        self, block: Block, rows: Spans, reduction: Reduction, out: Block
    ) -> None:
        """Combine the rows of each window on its own, since windows differ in their sizes."""
        for target, start, stop in zip(out, rows.starts, rows.stops, strict=True):
            reduction.ufunc.reduce(block[start:stop], axis=0, dtype=out.dtype, out=target)

    def _fold(self, block: Block, rows: Axis, reduction: Reduction, out: Block) -> None:
        """Combine rows tap by tap, with size - 1 operations for each row of the result."""
        ufunc, dtype = reduction.ufunc, out.dtype
        taps = [rows.pixels_at(tap) for tap in range(rows.size)]
        if [windows for windows, _ in taps[:2]] == [slice(0, rows.out)] * 2:
            # Combining the first two taps makes filling with the neutral value unnecessary.
            (_, first), (_, second), *taps = taps
            ufunc(block[first], block[second], out=out, dtype=dtype)
        else:
            out[...] = reduction.neutral
        for windows, pixels in taps:
            ufunc(out[windows], block[pixels], out=out[windows], dtype=dtype)

    def _van_herk(self, block: Block, rows: Axis, reduction: Reduction, out: Block) -> None:
        """Combine rows with `van_herk` at stride 1, separately for each phase of the dilation."""
        dtype, height, width = out.dtype, (rows.out - 1) * rows.stride + rows.span, out.shape[1]
        if len(block) < height:
            padded = self.scratch.take("padded", (height, width), dtype)
            bottom = rows.before + rows.extent
            padded[: rows.before] = padded[bottom:] = reduction.neutral
            padded[rows.before : bottom] = block
            block = padded
        every = out  # the result at stride 1, which a larger stride subsamples below
        if rows.stride > 1:
            every = self.scratch.take("every row", (height - rows.span + 1, width), dtype)
        for phase in range(min(rows.dilation, len(every))):
            apart = slice(phase, None, rows.dilation)
            van_herk(block[apart], reduction.ufunc, rows.size, every[apart], self.scratch)
        if rows.stride > 1:
            out[...] = every[:: rows.stride]


def _read(
    array: NDArray[Any],
    table: NDArray[Any] | None,
    is_viewed: bool,
    scratch: Scratch,
    rows: slice,
    columns: slice,
) -> Block:
    """Return the block of some pixels; a view if rows are contiguous and in native byte order."""
    pixels = array[rows, columns]
    if table is not None:
        out = scratch.take("looked up", pixels.shape, table.dtype)
        # Clipping takes half the time of a check of each index, and changes none.
        pixels = np.take(table, pixels, out=out, mode="clip")
    elif not is_viewed:
        pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    return pixels.reshape(len(pixels), -1)
