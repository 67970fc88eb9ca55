"""Compute averages of windows with exact sums, one division and one rounding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache, lru_cache, partial
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.kernels import Block, NanPolicy, Reduction, Scratch, cast, rounded_quotient
from poolcli.engine.tiles import TUNED, Grid, Tile, Tuning, restored
from poolcli.engine.window import Axes, Axis

FLOAT64: Final = np.dtype(np.float64)
FLOAT_SUM: Final = Reduction(np.add, 0, False, lambda _: FLOAT64)
OVERFLOW_SCALE: Final = 2.0**-200
"""A factor for values whose sum overflows. As a power of two it adds no rounding error, and with
it the sum of 2^64 float64 values, each times a weight below 2^64, is finite."""


def average(
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
    nodata: float | None = None,
    table: NDArray[np.float64] | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool an array like `avg_pool`, over windows that are computed already.

    Args:
        array: as in `avg_pool`, and so are the other arguments.
        axes: the windows.
        nan: as in `avg_pool`.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        weights: as in `avg_pool`.
        nodata: as in `avg_pool`, a value of the array's type.
        table: float64 (N,): average ``table[array]`` without creating this large array; the
            result is float64.
        tuning: sizes of the working set.
    """
    grid = Grid(array, axes, tuning, table)
    dtype = grid.array.dtype if table is None else FLOAT64
    counted = (axes[0].padded(), axes[1].padded()) if count_include_pad else axes
    largest = divisor_override or counted[0].most_taps * counted[1].most_taps
    override = np.inf if dtype.kind == "f" and largest > sys.float_info.max else divisor_override
    scale = 255 if array.dtype == np.bool_ else 1
    plain = products = FLOAT_SUM
    if dtype.kind != "f":
        peak = _peak(grid.array) * scale
        plain = integer_sum(dtype.kind, peak, largest)
        product = (peak + 1) * (1 if weights is None else max(1, _peak(weights)))
        products = integer_sum(dtype.kind, product, max(product, largest), by_array=True)
    nodata = grid.present(nodata)
    mean = Mean(grid, counted, override, plain, products, scale, nan == "omit", nodata)
    out = np.empty((grid.rows.out, grid.columns.out, grid.channels), dtype.newbyteorder("="))
    # Integer casts may also warn, because `slide` leaves undefined elements at the end of rows.
    with np.errstate(all="ignore"):
        if weights is None:
            for tile in grid.tiles(plain.dtype(grid.rows.size).itemsize):
                mean.fill(tile, out[tile])
        else:
            plane = grid.reading(_Weights(weights, products.dtype(1), grid.scratch).read, 1)
            # The weights of a tile are read at once, as many bytes as a tile has when reduced.
            itemsize = products.dtype(grid.rows.size).itemsize
            for tile in plane.tiles(itemsize * grid.rows.stride):
                mean.fill_weighted(tile, plane, out[tile])
    return restored(out, array, dtype)


class Mean(NamedTuple):
    """The computation of the averages of one picture.

    Averages of integers are exact and rounded once, to nearest, ties to even. Floats are summed
    and divided in float64.

    Attributes:
        grid: the picture and its windows.
        counted: the windows along both axes; the divisor is the number of their taps on pixels.
        override: the divisor of every window, or None to use ``counted``.
        plain: the reduction for sums of pixels.
        products: the reduction for sums of weights, and of pixels times weights.
        scale: a factor for every sum: 255 for a bool array, else 1.
        omit: whether NaN is left out of sums and divisors.
        nodata: the value of samples that are left out too, or None.
    """

    grid: Grid
    counted: Axes
    override: float | None
    plain: Reduction
    products: Reduction
    scale: int
    omit: bool
    nodata: Any

    @property
    def may_overflow(self) -> bool:
        """Return whether sums of the finite values of this type may exceed the range of float64."""
        array = self.grid.array
        return self.plain is FLOAT_SUM and self.grid.table is None and array.dtype.itemsize == 8

    def fill(self, tile: Tile, out: NDArray[Any]) -> None:
        """Write the unweighted averages of one tile to ``out``."""
        grid = self.grid
        if self.nodata is not None:
            self._fill_special(tile, None, out)
            return
        for rows, block in grid.bands(tile, self.plain):
            target = out[rows]
            sums = grid.scratch.take("sums", target.shape, self.plain.dtype(grid.most_taps))
            grid.reduce_columns(block, self.plain, sums)
            if self.plain is FLOAT_SUM and self._is_special(sums, nan=self.omit):
                self._fill_special(tile, None, out)
                return
            for columns, divisor in self._divisors(tile.part(rows), sums.dtype):
                self._divide(sums[:, columns], divisor, target[:, columns])

    def _divisors(self, tile: Tile, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Any]]:
        """Split a tile's columns into parts, and yield (columns of the tile, divisor) of each.

        The divisor is one number for a part whose windows all have it: NumPy divides by a number
        much faster than by an array. Otherwise it is an array (rows, columns, 1) of ``dtype``.
        """
        if self.override is not None:
            yield slice(None), self.override
            return
        rows, columns = self.counted
        inner, first, last = columns.interior, tile.columns.start, tile.columns.stop
        is_inner = rows.interior.start <= tile.rows.start and tile.rows.stop <= rows.interior.stop
        edges = (inner.start, inner.stop) if is_inner else ()
        cuts = {first, last, *(min(max(edge, first), last) for edge in edges)}
        for start, stop in pairwise(sorted(cuts)):
            divisor: Any = rows.size * columns.size
            if not is_inner or start not in inner:
                divisor = _taps(self.counted, Tile(tile.rows, slice(start, stop)), dtype)
            yield slice(start - first, stop - first), divisor

    def fill_weighted(self, tile: Tile, weights: Grid, out: NDArray[Any]) -> None:
        """Write Σwx/Σw of one tile to ``out``, or the unweighted average if Σw is 0.

        The channels are pooled one after the other, because multiplying interleaved channels by
        weights would not be contiguous.
        """
        grid, dtype = self.grid, self.products.dtype(1)
        if self.nodata is not None:
            self._fill_special(tile, weights, out)
            return
        divisor = self._sums("divisor", weights, tile)
        empty = divisor == 0
        divisor[empty] = 1

        def product(channel: int, rows: slice, columns: slice) -> Block:
            plane = grid.array[rows, columns, channel]
            block = grid.scratch.take("product", plane.shape, dtype)
            if grid.table is None:
                np.copyto(block, plane, casting="unsafe")
            else:
                np.take(grid.table, plane, out=block, mode="clip")
            block *= weights.read(rows, columns)
            return block

        for channel in range(out.shape[2]):
            sums = self._sums("products", grid.reading(partial(product, channel), 1), tile)
            # Even if NaN is not omitted: infinities of weight 0 have NaN as their product.
            if self.products is FLOAT_SUM and self._is_special(sums, nan=True):
                self._fill_special(tile, weights, out)
                return
            self._divide(sums, divisor, out[..., channel : channel + 1])
        self._fill_empty(empty, tile, out)

    def _is_special(self, sums: NDArray[Any], *, nan: bool) -> bool:
        """Return whether a sum has overflowed or, if ``nan`` is true, is NaN."""
        # The total is not finite if a sum is not, and computing it is faster than testing each
        # sum. Infinities of both signs make it NaN too, so the sums are tested in that case.
        total = sums.sum()
        if np.isfinite(total):
            return False
        if self.may_overflow:
            return not np.isfinite(sums).all()
        return bool(nan and np.isnan(total) and np.isnan(sums).any())

    def _fill_special(self, tile: Tile, weights: Grid | None, out: NDArray[Any]) -> None:
        """Write the averages of a tile to ``out`` that needs a divisor for each sample.

        It holds samples without data, or a sum is NaN or has overflowed.
        """
        grid, part = self.grid, _Part(self, weights)
        divisor = self._sums("divisor", grid.reading(part.weight, grid.channels), tile)
        sums = self._sums("products", grid.reading(part.product, grid.channels), tile)
        empty = divisor == 0
        overflown = ~np.isfinite(sums) if self.may_overflow else None
        if weights is None:
            # The divisor is the number of samples that take part, plus the padding if that
            # counts: the usual divisor less the taps on pixels.
            pixels = _taps((grid.rows, grid.columns), tile, divisor.dtype)
            divisor -= pixels if self.override is None else divisor
            for columns, number in self._divisors(tile, divisor.dtype):
                divisor[:, columns] += number
            if out.dtype.kind == "f":
                sums[empty] = np.nan
        divisor[empty] = 1
        self._divide(sums, divisor, out)
        if overflown is not None and overflown.any():
            self._fill_overflown(tile, part, divisor, overflown, out)
        if self.nodata is not None and empty.any():
            without = self._sums("products", grid.reading(part.nodata_weight, grid.channels), tile)
            is_nodata = empty & (without != 0)
            table = grid.table
            out[is_nodata] = self.nodata * self.scale if table is None else table[self.nodata]
            empty &= ~is_nodata
        if weights is not None:
            self._fill_empty(empty, tile, out)

    def _fill_overflown(
        self,
        tile: Tile,
        part: _Part,
        divisor: NDArray[Any],
        overflown: NDArray[np.bool_],
        out: NDArray[Any],
    ) -> None:
        """Write the averages whose sum has overflowed to ``out``, by sums of scaled values."""
        grid = self.grid

        def scaled(rows: slice, columns: slice) -> Block:
            return part.product(rows, columns, OVERFLOW_SCALE)

        mean = np.divide(self._sums("scaled", grid.reading(scaled, grid.channels), tile), divisor)
        if self.override is None:
            # A mean of finite values is not larger than they are, but rounding may add to it.
            most = np.finfo(FLOAT64).max * OVERFLOW_SCALE
            np.clip(mean, -most, most, out=mean, where=np.isfinite(mean))
        np.divide(mean, OVERFLOW_SCALE, out=out, where=overflown)

    def _fill_empty(self, empty: NDArray[np.bool_], tile: Tile, out: NDArray[Any]) -> None:
        """Replace the averages of windows whose weights sum to 0 by unweighted averages."""
        if out.size and empty.any():
            unweighted = np.empty_like(out)
            self.fill(tile, unweighted)
            np.copyto(out, unweighted, where=empty)

    def _sums(self, name: str, grid: Grid, tile: Tile) -> NDArray[Any]:
        """Return the sums of a tile's windows, in scratch memory."""
        height, width = (side.stop - side.start for side in tile)
        dtype = self.products.dtype(grid.most_taps)
        sums = grid.scratch.take(name, (height, width, grid.channels), dtype)
        grid.reduce(tile, self.products, sums)
        return sums

    def _divide(self, sums: NDArray[Any], divisor: Any, out: NDArray[Any]) -> None:
        """Write sums / divisor to ``out``, rounded for integers; the sums are overwritten."""
        if self.scale != 1:
            sums *= self.scale
        if out.dtype.kind == "f":
            mean = np.divide(sums, divisor, out=sums)
        else:
            mean = rounded_quotient(sums, divisor, self.grid.scratch)
            if self.override is not None:  # other averages can't leave the range of the type
                limits = np.iinfo(out.dtype)
                mean = np.clip(mean, limits.min, limits.max)
        np.copyto(out, mean, casting="unsafe")


class _Weights:
    """Read weights in the type of their products.

    All channels of a tile are multiplied by the same weights, so the last block is kept.
    """

    def __init__(self, array: NDArray[Any], dtype: np.dtype[Any], scratch: Scratch) -> None:
        self.array, self.dtype, self.scratch = array, dtype, scratch
        self.part: tuple[slice, slice] | None = None
        self.block = array

    def read(self, rows: slice, columns: slice) -> Block:
        """Return the weights of some pixels."""
        if self.part != (rows, columns):
            self.part = rows, columns
            self.block = cast(self.array[rows, columns], self.dtype, "weights", self.scratch)
        return self.block


class _Part(NamedTuple):
    """Read the samples that take part in averages, and their weights.

    Attributes:
        mean: the computation of the averages.
        weights: the weight of each pixel, or None.
    """

    mean: Mean
    weights: Grid | None

    def weight(self, rows: slice, columns: slice) -> Block:
        """Return the weight of each sample; it is 0 for omitted NaN and for nodata."""
        mean, grid = self.mean, self.mean.grid
        raw = _samples(grid, rows, columns)
        takes_part = np.ones(raw.shape, np.bool_)
        if mean.omit and raw.dtype.kind == "f":
            takes_part &= ~np.isnan(raw)
        if mean.nodata is not None:
            takes_part &= raw != mean.nodata
        return self._weighted(takes_part, rows, columns)

    def nodata_weight(self, rows: slice, columns: slice) -> Block:
        """Return the weight of each sample without data, and 0 for the others."""
        is_nodata = _samples(self.mean.grid, rows, columns) == self.mean.nodata
        return self._weighted(is_nodata, rows, columns)

    def product(self, rows: slice, columns: slice, scale: float = 1) -> Block:
        """Return each sample times its weight, and times a scale."""
        by = self.weight(rows, columns)
        block = np.where(by, self.mean.grid.read(rows, columns), 0)
        if scale != 1:
            block *= scale
        if self.weights is None:
            return block
        return np.multiply(block, by, dtype=self.mean.products.dtype(1), casting="unsafe")

    def _weighted(self, mask: NDArray[np.bool_], rows: slice, columns: slice) -> Block:
        """Return the weights where a mask is true, else 0."""
        if self.weights is None:
            return mask
        channels = self.mean.grid.channels
        return self.weights.read(rows, columns).repeat(channels, axis=1) * mask


def _samples(grid: Grid, rows: slice, columns: slice) -> Block:
    """Return a block of the array's own samples, not looked up in a table."""
    return grid.array[rows, columns].reshape(rows.stop - rows.start, -1)


@lru_cache(maxsize=64)
def integer_sum(kind: str, peak: int, divisor: int, *, by_array: bool = False) -> Reduction:
    """Return the reduction for sums of integers; its types also have room for the division.

    Of the types that hold a sum and divide it exactly, the first of these is used: 16-bit
    integers, float32, 32-bit integers, float64, 64-bit integers, Python integers. Floats are
    rounded in fewer passes than integers, and dividing 64-bit integers is slow. Dividing integers
    of any size by an array is slow, so 16-bit and 32-bit integers are not used for such divisors.

    Args:
        kind: "i" for signed integers or "u" for unsigned ones.
        peak: the largest magnitude of an integer.
        divisor: the largest divisor.
        by_array: whether the divisor is an array.
    """
    sign = kind == "i"
    bits = {f"{kind}2": 16 - sign, "f4": 23, f"{kind}4": 32 - sign, "f8": 52, f"{kind}8": 64 - sign}
    names = ["f4", "f8", f"{kind}8"] if by_array else list(bits)

    @cache
    def narrowest(taps: int) -> np.dtype[Any]:
        most = taps * peak + divisor
        return np.dtype(next((name for name in names if most < 1 << bits[name]), object))

    return Reduction(np.add, 0, False, narrowest, invertible=True)


def _taps(axes: Axes, tile: Tile, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the number of taps on pixels for each window of a tile: (rows, columns, 1)."""
    rows, columns = map(_counts, axes, tile, (dtype, dtype))
    taps: NDArray[Any] = rows[:, None, None] * columns[:, None]
    return taps


def _counts(axis: Axis | Spans, windows: slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the number of taps on pixels for some windows along an axis."""
    first, stop = windows.start, windows.stop
    counts = np.full(stop - first, axis.most_taps, dtype)
    inner = axis.interior  # nearly all windows; only those outside of it have to be counted
    edges = range(first, min(inner.start, stop)), range(max(inner.stop, first), stop)
    for index in chain(*edges):
        counts[index - first] = axis.taps_inside(index)
    return counts


def _peak(array: NDArray[Any]) -> int:
    """Return a bound on the magnitude of integers: of their type, or of the values if 64-bit.

    Sums of arbitrary 64-bit integers need Python integers, which are slow, but most such arrays
    hold small values.
    """
    kind, itemsize = array.dtype.kind, array.dtype.itemsize
    if itemsize < 8:
        return (1 << 8 * itemsize) - 1 if kind == "u" else 1 << 8 * itemsize - 1
    return max(-int(array.min(initial=0)), int(array.max(initial=0)))
