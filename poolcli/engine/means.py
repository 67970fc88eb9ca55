"""Averages of windows: exact sums, one division, one rounding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, NanPolicy, Reduction, Scratch, rounded_quotient
from poolcli.engine.tiles import (
    TUNED,
    BlockReader,
    Grid,
    Tile,
    Tuning,
    array_reader,
    prepare,
    restored,
)
from poolcli.engine.window import Axes, Axis

FLOAT64: Final = np.dtype(np.float64)
FLOAT_SUM: Final = Reduction(np.add, 0, False, lambda _: FLOAT64)


def average(
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
    table: NDArray[np.float64] | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool like `avg_pool`, with windows that are laid over the array already.

    Args:
        array: as in `avg_pool`, and so are the other arguments.
        axes: the windows.
        nan: as in `avg_pool`.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        weights: as in `avg_pool`.
        table: float64 (N,): average ``table[array]``, without making that array, which may be
            large; the result is float64.
        tuning: sizes of the working set.
    """
    stack, grid = prepare(array, axes, tuning)
    dtype = stack.dtype if table is None else FLOAT64
    scale = 255 if array.dtype == np.bool_ else 1
    rows, columns = (axis.padded() for axis in axes) if count_include_pad else axes
    most_taps = grid.rows.size * grid.columns.size
    if dtype.kind == "f":
        total = products = FLOAT_SUM
    else:
        largest = divisor_override or rows.most_taps * columns.most_taps
        total = integer_sum(stack.dtype, _peak(stack) * scale, largest)
        products = total if weights is None else _sum_of_products(stack, scale, weights, most_taps)
    mean = Mean(
        array=stack,
        table=table,
        read=array_reader(stack, table),
        grid=grid,
        divisors=Divisors.of(rows, columns, total.dtype(most_taps), divisor_override),
        total=total,
        products=products,
        scale=scale,
        omit=nan == "omit" and stack.dtype.kind == "f",
    )
    out = grid.empty(dtype)
    # Casts of integers may warn too: `slide` leaves undefined elements at the end of its rows.
    with np.errstate(all="ignore"):
        if weights is None:
            for tile in grid.tiles(total.dtype(grid.rows.size).itemsize):
                mean.fill(tile, out[tile])
        else:
            weights = np.ascontiguousarray(weights, weights.dtype.newbyteorder("="))
            itemsize = products.dtype(1).itemsize + weights.itemsize * grid.rows.stride
            for tile in grid.planes().tiles(itemsize):
                mean.fill_weighted(tile, weights, out[tile])
    return restored(out, array, dtype)


class Divisors(NamedTuple):
    """The divisor of each window: the product of its numbers of taps along both axes.

    Attributes:
        rows: the taps that count of every window along the height.
        columns: those along the width.
        inner: the windows along the width that have all their taps on pixels.
        override: the divisor of every window instead, if given.
    """

    rows: NDArray[Any]
    columns: NDArray[Any]
    inner: range
    override: float | None

    @classmethod
    def of(
        cls, rows: Axis, columns: Axis, dtype: np.dtype[Any], override: int | None = None
    ) -> Divisors:
        """Count the taps on pixels, in arrays of a type that holds all divisors."""

        def number(count: int) -> float:
            too_large = dtype.kind == "f" and count > sys.float_info.max
            return np.inf if too_large else count

        counts = []
        for axis in (rows, columns):
            inner = axis.interior  # its windows, nearly all of them, need no counting one by one
            taps = np.full(axis.out, number(axis.most_taps), dtype)
            for index in chain(range(inner.start), range(inner.stop, axis.out)):
                taps[index] = number(axis.taps_inside(index))
            counts.append(taps)
        down, across = counts
        return cls(down, across, columns.interior, override and number(override))

    def parts(self, tile: Tile) -> Iterator[tuple[slice, Any]]:
        """Cut a tile's columns where divisors begin to differ: yield (its columns, divisor).

        A divisor is one number where all windows have it, which NumPy divides by much faster,
        else an array (rows, columns, 1).
        """
        if self.override is not None:
            yield slice(None), self.override
            return
        rows, first, last = self.rows[tile.rows], tile.columns.start, tile.columns.stop
        edges = (min(max(edge, first), last) for edge in (self.inner.start, self.inner.stop))
        for start, stop in pairwise(sorted({first, *edges, last})):
            columns = self.columns[start:stop]
            divisor: Any = rows.item(0) * columns.item(0)
            if rows.min() < rows.max() or columns.min() < columns.max():
                divisor = self.product(Tile(tile.rows, slice(start, stop)))
            yield slice(start - first, stop - first), divisor

    def product(self, tile: Tile) -> NDArray[Any]:
        """Return the divisor of every window of a tile: (rows, columns, 1)."""
        product: NDArray[Any] = self.rows[tile.rows, None, None] * self.columns[tile.columns, None]
        return product


class Mean(NamedTuple):
    """The pixels that one call averages, and how.

    Averages of integers are exact and rounded once, to nearest, ties to even. Floats are summed
    and divided in float64.

    Attributes:
        array: (H, W, C) numbers.
        table: what is averaged in place of these indices into it, if given.
        read: gives the pixels.
        grid: the windows.
        divisors: what sums without weights are divided by.
        total: the sum of pixels.
        products: the sum of pixels times weights, and that of weights.
        scale: multiplies every sum.
        omit: whether NaN is left out of sums and divisors.
    """

    array: NDArray[Any]
    table: NDArray[np.float64] | None
    read: BlockReader
    grid: Grid
    divisors: Divisors
    total: Reduction
    products: Reduction
    scale: int
    omit: bool

    def fill(self, tile: Tile, out: NDArray[Any]) -> None:
        """Fill ``out`` with the averages of one tile, without weights."""
        grid, dtype = self.grid, self.divisors.rows.dtype
        for rows, block in grid.bands(tile, self.read, self.total):
            target = out[rows]
            sums = grid.scratch.take("sums", target.shape, dtype)
            grid.reduce_columns(block, self.total, sums)
            if self.omit and _has_nan(sums):
                self._fill_with_nan(tile, None, out)
                return
            for columns, divisor in self.divisors.parts(tile.part(rows)):
                self._divide(sums[:, columns], divisor, target[:, columns])

    def fill_weighted(self, tile: Tile, weights: NDArray[Any], out: NDArray[Any]) -> None:
        """Fill ``out`` with Σwx/Σw of one tile; where Σw is 0, with averages without weights.

        Channels are pooled one after the other, each as a plane: weights for interleaved channels
        would be multiplied in steps of a pixel, which is not contiguous.
        """
        planes, dtype = self.grid.planes(), self.products.dtype(1)
        divisor = self._sums("divisor", planes, tile, lambda *part: weights[part])
        empty = divisor == 0
        divisor[empty] = 1

        def products(channel: int, rows: slice, columns: slice) -> Block:
            block = self.array[rows, columns, channel]
            block = block if self.table is None else self.table[block]
            return np.multiply(block, weights[rows, columns], dtype=dtype, casting="unsafe")

        for channel in range(out.shape[2]):
            sums = self._sums("products", planes, tile, partial(products, channel))
            if self.array.dtype.kind == "f" and _has_nan(sums):
                self._fill_with_nan(tile, weights, out)
                return
            self._divide(sums, divisor, out[..., channel : channel + 1])
        self._fill_empty(empty, tile, out)

    def _fill_with_nan(self, tile: Tile, weights: NDArray[Any] | None, out: NDArray[Any]) -> None:
        """Fill ``out`` with the averages of a tile that holds NaN, or infinity of weight 0."""
        channels = out.shape[2]

        def weight(rows: slice, columns: slice) -> Any:
            by = True if weights is None else weights[rows, columns].repeat(channels, axis=1)
            return by * ~np.isnan(self.read(rows, columns)) if self.omit else by

        def product(rows: slice, columns: slice) -> Block:
            by = weight(rows, columns)
            block = np.where(by == 0, 0, self.read(rows, columns))
            return np.multiply(block, by, dtype=FLOAT64)

        divisor = self._sums("divisor", self.grid, tile, weight)
        sums = self._sums("products", self.grid, tile, product)
        empty = divisor == 0
        if weights is not None:
            self._divide(sums, divisor, out)
            self._fill_empty(empty, tile, out)
            return
        if self.divisors.override is not None:
            divisor[...] = self.divisors.override
        else:  # padding may count too
            pixels = Divisors.of(self.grid.rows, self.grid.columns, FLOAT64)
            divisor += self.divisors.product(tile) - pixels.product(tile)
        sums[empty] = np.nan
        self._divide(sums, divisor, out)

    def _fill_empty(self, empty: NDArray[np.bool_], tile: Tile, out: NDArray[Any]) -> None:
        """Replace the averages of windows whose weights sum to 0 by those without weights."""
        if out.size and empty.any():
            unweighted = np.empty_like(out)
            self.fill(tile, unweighted)
            np.copyto(out, unweighted, where=empty)

    def _sums(self, name: str, grid: Grid, tile: Tile, read: BlockReader) -> NDArray[Any]:
        """Return the sums of a tile's windows, in scratch memory."""
        height, width = (side.stop - side.start for side in tile)
        shape = height, width, grid.channels
        sums = grid.scratch.take(name, shape, self.products.dtype(1))
        grid.reduce(tile, read, self.products, sums)
        return sums

    def _divide(self, sums: NDArray[Any], divisor: Any, out: NDArray[Any]) -> None:
        """Fill ``out`` with sums, which are overwritten, by their divisor."""
        if self.scale != 1:
            sums *= self.scale
        if out.dtype.kind == "f":
            mean = np.divide(sums, divisor, out=sums)
        else:
            mean = quotient(sums, divisor, self.grid.scratch)
            if self.divisors.override is not None:  # no other average leaves the type's range
                limits = np.iinfo(out.dtype)
                mean = np.clip(mean, limits.min, limits.max)
        np.copyto(out, mean, casting="unsafe")


def integer_sum(dtype: np.dtype[Any], peak: int, divisor: int) -> Reduction:
    """Return the sum of integers of magnitudes up to ``peak``, with room to divide it.

    Args:
        dtype: of the integers.
        peak: the largest magnitude of one.
        divisor: the largest number that sums are divided by.
    """
    kind = dtype.kind
    return Reduction(
        np.add, 0, False, lambda taps: sum_type(kind, taps * peak + divisor), invertible=True
    )


def sum_type(kind: str, most: int, *, by_array: bool = False) -> np.dtype[Any]:
    """Return the type for sums of "i" or "u" integers, where sum plus divisor is up to ``most``.

    A sum is held by 16-bit integers, else by floats that divide it exactly (see `quotient`), else
    by wider integers: floats are rounded in fewer passes than integers, and 64-bit integers are
    slow to divide. By an array all integers are, so that floats hold all sums that they can.
    """
    sign = kind == "i"
    bits = {f"{kind}2": 16 - sign, "f4": 23, f"{kind}4": 32 - sign, "f8": 52, f"{kind}8": 64 - sign}
    names = ["f4", "f8", f"{kind}8"] if by_array else bits
    return np.dtype(next((name for name in names if most < 1 << bits[name]), object))


def quotient(total: NDArray[Any], divisor: Any, scratch: Scratch) -> NDArray[Any]:
    """Return whole numbers divided and rounded once to nearest, ties to even.

    ``total`` is overwritten. Floats of p bits give the exact result for S < 2^(p-1): S/D is
    either a tie, which a float holds, or at least 1/(2D) away from any tie, whereas its float is
    at most S/D/2^p away from S/D. Cost: two passes.
    """
    if total.dtype.kind != "f":
        room = scratch.take("quotients", total.shape, total.dtype)
        return rounded_quotient(total, divisor, room)
    total /= divisor
    np.rint(total, out=total)
    return total


def _sum_of_products(
    array: NDArray[Any], scale: int, weights: NDArray[Any], taps: int
) -> Reduction:
    """Return the sum of integers times weights, with room to divide it by the sum of weights."""
    product = (_peak(array) * scale + 1) * max(1, _peak(weights))
    dtype = sum_type(array.dtype.kind, (taps + 1) * product, by_array=True)
    return Reduction(np.add, 0, False, lambda _: dtype, invertible=True)


def _has_nan(sums: NDArray[Any]) -> bool:
    """Return whether some of the sums are NaN."""
    # One NaN makes the sum of all sums NaN, which is found faster than by looking at each;
    # infinities of both signs make it NaN too, so these are looked at then.
    return bool(np.isnan(sums.sum()) and np.isnan(sums).any())


def _peak(array: NDArray[Any]) -> int:
    """Return the largest magnitude of integers: their type's, or their own if that is huge.

    Sums of 64-bit integers would need Python's integers, which are slow, though most arrays of
    that type hold small values.
    """
    if array.dtype.itemsize < 8:
        limits = np.iinfo(array.dtype)
        return max(-int(limits.min), int(limits.max))
    return max(-int(array.min(initial=0)), int(array.max(initial=0)))
