"""A picture's windows cut into tiles whose working set fits a cache, and reduced one by one.

Rows are reduced first, whole rows at a time; then columns, on the few rows that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, Reduction, Scratch, pick, share, slide, widened
from poolcli.engine.window import Axis

Term: TypeAlias = Callable[[slice, slice], Block]
"""What is reduced: (picture rows, picture columns) → a block of native elements."""

TILE_BYTES = 1 << 21
"""Bytes of one tile between the rows' reduction and the columns'; tests lower it."""

SHARED_BYTES = 1 << 22
"""What a tile may grow to, so that it is as high as a window whose rows are shared."""

BAND_BYTES = 1 << 20
"""Bytes of what a slide goes through again and again."""

ALIGNED: Final = 8
"""Elements that the rows of a block come in, so that each begins at a whole word."""


class Tile(NamedTuple):
    """A rectangle of the result."""

    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Windows along both axes."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def part(self, rows: slice) -> Tile:
        """Some rows of the tile, counted from its first."""
        top = self.rows.start
        return Tile(slice(top + rows.start, top + rows.stop), self.columns)


def pixels(array: NDArray[Any]) -> Term:
    """The pixels of an (H, W, C) array of any layout and byte order.

    Rows that are contiguous and native are seen in place, others are copied part by part.
    """
    channels = array.shape[2]
    native = array.dtype.newbyteorder("=")
    if array[:1].flags.c_contiguous and array.dtype.isnative and array.flags.aligned:
        flat = array.reshape(array.shape[0], -1)
        return lambda rows, columns: flat[rows, columns.start * channels : columns.stop * channels]

    def copied(rows: slice, columns: slice) -> Block:
        part = np.ascontiguousarray(array[rows, columns], native)
        return part.reshape(part.shape[0], -1)

    return copied


def looked_up(array: NDArray[Any], table: NDArray[np.float64]) -> Term:
    """What a table says of each pixel of an (H, W, C) array of its indices."""

    def found(rows: slice, columns: slice) -> Block:
        part: Block = table[array[rows, columns]]
        return part.reshape(part.shape[0], -1)

    return found


class Grid:
    """The windows over one picture of interleaved channels, and the scratch to reduce them.

    Args:
        rows: the windows along the height.
        columns: the windows along the width.
        channels: values of a pixel.
    """

    def __init__(self, rows: Axis, columns: Axis, channels: int) -> None:
        """Trim both axes to the taps that matter."""
        self.rows = rows.trimmed()
        self.columns = columns.trimmed()
        self.channels = channels
        self.scratch = Scratch()

    def of(self, channels: int) -> Grid:
        """The same windows over pixels of another number of channels."""
        return Grid(self.rows, self.columns, channels)

    @property
    def shares(self) -> bool:
        """Whether windows have so many rows in common that `share` beats folding tap by tap."""
        return self.rows.size > 4 * self.rows.stride + 1

    def tiles(self, itemsize: int) -> Iterator[Tile]:
        """Cut the result into tiles that hold about `TILE_BYTES` of ``itemsize`` elements.

        They are as wide as the result; where rows are shared they are made as high as a window,
        first larger and then narrower, lest most rows be read for two tiles.
        """
        rows, columns = self.rows, self.columns
        pixel = itemsize * self.channels
        whole = (columns.out - 1) * columns.stride + columns.span
        high = rows.size // rows.stride if self.shares else 0
        room = max(TILE_BYTES, min(high * whole * pixel, SHARED_BYTES)) // pixel
        high = max(1, min(high, isqrt(room)))
        fitting = (room // high - columns.span) // columns.stride + 1
        widest = min(columns.out, max(1, fitting, -(-columns.span // columns.stride)))
        width = -(-columns.out // -(-columns.out // widest))  # all about the same
        row = _aligned(((width - 1) * columns.stride + columns.span) * self.channels)
        height = max(1, room * self.channels // row)
        if self.shares and height > rows.size:
            height -= height % rows.size  # whole groups
        for top in range(0, rows.out, height):
            for left in range(0, columns.out, width):
                yield Tile(
                    slice(top, min(top + height, rows.out)),
                    slice(left, min(left + width, columns.out)),
                )

    def reduce(self, tile: Tile, term: Term, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce the windows of a tile into ``out``, (rows, columns, channels)."""
        for rows, block in self.bands(tile, term, reduction):
            self.reduce_columns(block, reduction, out[rows])

    def bands(self, tile: Tile, term: Term, reduction: Reduction) -> Iterator[tuple[slice, Block]]:
        """Reduce the rows of a tile's windows: (which of its rows, what is left of them).

        Cost: see `_fold_rows` and `_share_rows`.
        """
        columns, channels = self.columns, self.channels
        left = columns.start(tile.columns.start)
        right = columns.start(tile.columns.stop - 1) + columns.span
        seen = slice(max(left, 0), min(right, columns.extent))
        width = max(right - left, tile.shape[1] * columns.stride) * channels
        shape = tile.shape[0], _aligned(width)
        block = self.scratch.take("rows", shape, reduction.dtype(self.rows.size))
        body = slice((seen.start - left) * channels, (seen.stop - left) * channels)
        block[:, : body.start] = reduction.neutral
        block[:, body.stop :] = reduction.neutral
        reduce_rows = self._share_rows if self.shares else self._fold_rows
        reduce_rows(tile.rows, seen, term, reduction, block[:, body])
        itemsize = reduction.dtype(self.rows.size * columns.size).itemsize
        height = max(1, BAND_BYTES // (shape[1] * itemsize)) if self.shares else len(block)
        for top in range(0, len(block), height):
            rows = slice(top, min(top + height, len(block)))
            yield rows, block[rows]

    def reduce_columns(self, block: Block, reduction: Reduction, out: NDArray[Any]) -> None:
        """Reduce the columns of a band into ``out``, (rows, columns, channels): slide, pick."""
        columns, channels, held = self.columns, self.channels, self.rows.size
        shift = columns.dilation * channels
        flat = out.reshape(len(out), -1) if columns.stride == 1 else None
        slid = slide(block, reduction, columns.size, shift, self.scratch, held, flat)
        if flat is None:
            pick(slid, columns.stride, channels, out)

    def _fold_rows(
        self, windows: slice, columns: slice, term: Term, reduction: Reduction, out: Block
    ) -> None:
        """Combine the rows tap by tap: size - 1 operations for each row of the result.

        What a sum reads is first widened, once for all taps that read it: `numpy.add` would cast
        each operand in pieces, at twice the cost.
        """
        rows = self.rows
        if reduction.idempotent or rows.size < max(2, rows.stride):  # no row is read twice
            self._fold(windows, lambda read: term(read, columns), reduction, out)
            return
        for part, target in self._strips(columns, out, rows.span, TILE_BYTES):
            step = max(1, (TILE_BYTES // target[:1].nbytes - rows.span) // rows.stride + 1)
            for first in range(windows.start, windows.stop, step):
                some = slice(first, min(first + step, windows.stop))
                seen, _ = self._read(some)
                block = widened(term(seen, part), out.dtype, "wide", self.scratch)
                below = target[first - windows.start :]
                self._fold(some, _rows_of(block, seen.start), reduction, below)

    def _strips(
        self, columns: slice, out: Block, height: int, most: int
    ) -> Iterator[tuple[slice, Block]]:
        """Cut columns so that ``height`` rows hold at most so much: (columns, their ``out``)."""
        count = columns.stop - columns.start
        widest = max(1, most // (height * out.itemsize * self.channels))
        strip = -(-count // -(-count // widest))  # all about the same
        for left in range(columns.start, columns.stop, strip):
            part = slice(left, min(left + strip, columns.stop))
            start, stop = ((at - columns.start) * self.channels for at in (part.start, part.stop))
            yield part, out[:, start:stop]

    def _fold(
        self, windows: slice, read: Callable[[slice], Block], reduction: Reduction, out: Block
    ) -> None:
        """Combine, tap by tap, what is read of each row of the picture."""
        rows, ufunc = self.rows, reduction.ufunc
        out = out[: windows.stop - windows.start]
        taps = iter(range(rows.size))
        inside = rows.inside
        if windows.start >= inside.start and windows.stop <= inside.stop and rows.size > 1:
            first, second = (read(self._tapped(windows, next(taps))[1]) for _ in range(2))
            ufunc(first, second, out=out, dtype=out.dtype)
        else:
            out[...] = reduction.neutral
        for tap in taps:
            windows_inside, rows_read = self._tapped(windows, tap)
            target = out[windows_inside]
            if len(target):
                ufunc(target, read(rows_read), out=target, dtype=out.dtype)

    def _tapped(self, windows: slice, tap: int) -> tuple[slice, slice]:
        """Which of the windows have ``tap`` on a row of the picture, and which rows these are."""
        rows = self.rows
        first = rows.start(windows.start) + tap * rows.dilation
        skipped = max(0, -(first // rows.stride)) if first < 0 else 0
        first += skipped * rows.stride
        count = min(
            windows.stop - windows.start - skipped,
            max(0, -((first - rows.extent) // rows.stride)),
        )
        count = max(0, count)
        stop = first + (count - 1) * rows.stride + 1 if count else first
        return slice(skipped, skipped + count), slice(first, stop, rows.stride)

    def _read(self, windows: slice) -> tuple[slice, slice]:
        """The rows of the picture that windows span, and where these would be without its edges."""
        rows = self.rows
        spanned = slice(rows.start(windows.start), rows.start(windows.stop - 1) + rows.span)
        return slice(max(spanned.start, 0), min(spanned.stop, rows.extent)), spanned

    def _share_rows(
        self, windows: slice, columns: slice, term: Term, reduction: Reduction, out: Block
    ) -> None:
        """Combine what windows have in common once (see `share`), in strips of columns.

        It is done at stride 1, for each phase of the dilation by itself.
        """
        rows, dtype = self.rows, out.dtype
        seen, spanned = self._read(windows)
        height = spanned.stop - spanned.start
        for part, target in self._strips(columns, out, height, SHARED_BYTES * 5 // 4):
            block = widened(term(seen, part), dtype, "wide", self.scratch)
            if seen != spanned:
                padded = self.scratch.take("padded", (height, block.shape[1]), dtype)
                padded[: seen.start - spanned.start] = reduction.neutral
                padded[seen.start - spanned.start : seen.stop - spanned.start] = block
                padded[seen.stop - spanned.start :] = reduction.neutral
                block = padded
            every = target
            if rows.stride > 1:
                shape = height - rows.span + 1, block.shape[1]
                every = self.scratch.take("every", shape, dtype)
            for phase in range(min(rows.dilation, len(every))):
                apart = slice(phase, None, rows.dilation)
                share(block[apart], reduction.ufunc, rows.size, every[apart], self.scratch)
            if rows.stride > 1:
                target[...] = every[:: rows.stride]


def _aligned(elements: int) -> int:
    """As many elements as a row of a block has for so many that are wanted."""
    return -(-elements // ALIGNED) * ALIGNED


def _rows_of(block: Block, top: int) -> Callable[[slice], Block]:
    """What a block that begins at a row of the picture holds of some of its rows."""
    return lambda rows: block[rows.start - top : max(rows.stop - top, 0) : rows.step]
