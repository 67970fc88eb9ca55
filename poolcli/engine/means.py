"""Averages of windows: exact sums, one division, one rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, Reduction, always, rounded_quotient
from poolcli.engine.tiles import BlockReader, Grid, Tile, array_reader
from poolcli.engine.window import Axis

FLOAT64: Final = np.dtype(np.float64)
FLOAT_SUM: Final = Reduction(np.add, 0, False, always(FLOAT64))

FLOATS_FOR: Final = {"u2": "f4", "i2": "f4", "u4": "f8", "i4": "f8"}
"""Floats that hold the sums of `integer_sum` and divide by an array many times faster."""


class Divisors(NamedTuple):
    """The divisor of each window: the product of its numbers of taps along both axes.

    Attributes:
        rows: the windows along the height; taps on its pixels count.
        columns: the windows along the width, likewise.
        override: the divisor of every window instead, if given.
    """

    rows: Axis
    columns: Axis
    override: int | None = None

    @classmethod
    def of(
        cls, rows: Axis, columns: Axis, count_include_pad: bool = False, override: int | None = None
    ) -> Divisors:
        """Let the taps on pixels count, or those on explicit padding too."""
        if count_include_pad:
            rows, columns = rows.padded(), columns.padded()
        return cls(rows, columns, override)

    @property
    def largest(self) -> int:
        """A number that no divisor exceeds."""
        return self.override or self.rows.most_taps * self.columns.most_taps

    def parts(self, tile: Tile, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Any]]:
        """Cut a tile's columns where divisors begin to differ: yield (its columns, divisor).

        A divisor is one number in the interior of the picture, which NumPy divides by much
        faster, else an array (rows, columns, 1) of ``dtype``.
        """
        number = _number_of(dtype)
        if self.override is not None:
            yield slice(None), number(self.override)
            return
        first, last = tile.columns.start, tile.columns.stop
        inner_rows, inner = self.rows.interior, self.columns.interior
        left, right = (min(max(edge, first), last) for edge in (inner.start, inner.stop))
        if tile.rows.start < inner_rows.start or tile.rows.stop > inner_rows.stop:
            left = right = last
        full = number(self.rows.size * self.columns.size) if left < right else None
        for start, stop, divisor in ((first, left, None), (left, right, full), (right, last, None)):
            if start < stop:
                part = Tile(tile.rows, slice(start, stop))
                yield slice(start - first, stop - first), divisor or self.product(part, dtype)

    def product(self, tile: Tile, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the divisor of every window of a tile: (rows, columns, 1)."""
        rows = _taps_of(self.rows, tile.rows, dtype)
        columns = _taps_of(self.columns, tile.columns, dtype)
        product: NDArray[Any] = rows[:, None, None] * columns[:, None]
        return product


class IntegerMean(NamedTuple):
    """Averages of integers without weights, exact and rounded once to nearest, ties to even.

    Attributes:
        read: gives the pixels.
        grid: the windows.
        divisors: what their sums are divided by.
        total: the sum of integers.
        scale: multiplies every sum.
    """

    read: BlockReader
    grid: Grid
    divisors: Divisors
    total: Reduction
    scale: int

    def fill(self, tile: Tile, out: NDArray[Any]) -> None:
        """Fill ``out`` with the averages of one tile."""
        grid, dtype = self.grid, self.total.dtype(_taps(self.grid))
        for rows, block in grid.bands(tile, self.read, self.total):
            target = out[rows]
            sums = grid.scratch.take("sums", target.shape, dtype)
            room = grid.scratch.take("quotients", target.shape, dtype)
            grid.reduce_columns(block, self.total, sums)
            if self.scale != 1:
                sums *= self.scale
            for columns, divisor in self.divisors.parts(tile.part(rows), dtype):
                mean = quotient(sums[:, columns], divisor, room[:, columns])
                if self.divisors.override is not None:  # no other average leaves the type's range
                    limits = np.iinfo(out.dtype)
                    mean = np.clip(mean, limits.min, limits.max)
                np.copyto(target[:, columns], mean, casting="unsafe")


class FloatMean(NamedTuple):
    """Averages of floats without weights, summed and divided in float64.

    Attributes:
        read: gives the pixels.
        grid: the windows.
        divisors: what their sums are divided by.
        omit: whether NaN is left out of sums and divisors.
    """

    read: BlockReader
    grid: Grid
    divisors: Divisors
    omit: bool

    def fill(self, tile: Tile, out: NDArray[Any]) -> None:
        """Fill ``out`` with the averages of one tile, rounded once to its type."""
        grid = self.grid
        for rows, block in grid.bands(tile, self.read, FLOAT_SUM):
            sums = grid.scratch.take("sums", out[rows].shape, FLOAT64)
            grid.reduce_columns(block, FLOAT_SUM, sums)
            # One NaN makes the sum of all sums NaN, which is found faster than by looking at
            # each; infinities of both signs make it NaN too, so these are looked at then.
            if self.omit and np.isnan(sums.sum()) and np.isnan(sums).any():
                self._fill_without_nan(tile, out)
                return
            for columns, divisor in self.divisors.parts(tile.part(rows), FLOAT64):
                sums[:, columns] /= divisor
            np.copyto(out[rows], sums, casting="same_kind")

    def _fill_without_nan(self, tile: Tile, out: NDArray[Any]) -> None:
        """Fill ``out`` with the averages of a tile that holds NaN."""
        read, grid, divisors = self.read, self.grid, self.divisors
        missing, total = np.empty(out.shape, FLOAT64), np.empty(out.shape, FLOAT64)
        grid.reduce(tile, lambda *part: np.isnan(read(*part)), FLOAT_SUM, missing)
        grid.reduce(tile, lambda *part: _nan_to_zero(read(*part)), FLOAT_SUM, total)
        for columns, divisor in divisors.parts(tile, FLOAT64):
            counted = divisor if divisors.override else divisor - missing[:, columns]
            out[:, columns] = total[:, columns] / counted
        out[missing == Divisors.of(grid.rows, grid.columns).product(tile, FLOAT64)] = np.nan


def integer_mean(
    array: NDArray[Any],
    weights: NDArray[Any] | None,
    grid: Grid,
    divisors: Divisors,
    scale: int,
    out: NDArray[Any],
) -> None:
    """Fill ``out`` with Σwx/Σw of integers, times ``scale``, rounded once, half to even.

    ``divisors`` holds for all windows without weights, else for those whose weights sum to 0.
    """
    total = integer_sum(array.dtype, _peak(array) * scale, divisors.largest)
    plain = IntegerMean(array_reader(array), grid, divisors, total, scale)
    if weights is not None:
        _weighted_integer_mean(array, weights, plain, out)
        return
    for tile in grid.tiles(total.dtype(grid.rows.size).itemsize):
        plain.fill(tile, out[tile])


def float_mean(plain: FloatMean, weights: NDArray[Any] | None, out: NDArray[Any]) -> None:
    """Fill ``out`` with Σwx/Σw of floats, in float64, rounded once to its type."""
    if weights is not None:
        _weighted_float_mean(plain, weights, out)
        return
    for tile in plain.grid.tiles(FLOAT64.itemsize):
        plain.fill(tile, out[tile])


def integer_sum(dtype: np.dtype[Any], peak: int, divisor: int) -> Reduction:
    """Return the sum of integers of magnitudes up to ``peak``, with room to divide it.

    A sum is held by 16-bit integers, else by floats that divide it exactly (see `quotient`), else
    by wider integers: floats are rounded in fewer passes than integers, and 64-bit integers are
    slow to divide.

    Args:
        dtype: of the integers.
        peak: the largest magnitude of one.
        divisor: the largest number that sums are divided by.
    """
    signed = dtype.kind == "i"
    limits = {
        f"{dtype.kind}2": 1 << (16 - signed),
        "f4": 1 << 23,
        f"{dtype.kind}4": 1 << (32 - signed),
        "f8": 1 << 52,
        f"{dtype.kind}8": 1 << (64 - signed),
    }

    @cache
    def narrowest(taps: int) -> np.dtype[Any]:
        most = taps * peak + divisor
        return np.dtype(next((name for name, limit in limits.items() if most < limit), object))

    return Reduction(np.add, 0, False, narrowest, invertible=True)


def quotient(total: NDArray[Any], divisor: Any, room: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return whole numbers divided and rounded once to nearest, ties to even.

    ``total`` is overwritten. Floats of p bits give the exact result for S < 2^(p-1): S/D is
    either a tie, which a float holds, or at least 1/(2D) away from any tie, whereas its float is
    at most S/D/2^p away from S/D. Cost: two passes.
    """
    if total.dtype.kind != "f":
        return rounded_quotient(total, divisor, room)
    total /= divisor
    np.rint(total, out=total)
    return total


def _weighted_integer_mean(
    array: NDArray[Any], weights: NDArray[Any], plain: IntegerMean, out: NDArray[Any]
) -> None:
    """Fill ``out`` with Σwx/Σw of integers, and with ``plain`` where Σw is 0.

    Channels are pooled one after the other, each as a plane: weights for interleaved channels
    would be multiplied in steps of a pixel, which is not contiguous.
    """
    grid, scale = plain.grid, plain.scale
    product = (_peak(array) * scale + 1) * max(1, _peak(weights))
    exact = integer_sum(array.dtype, product, product)
    # Sums are divided by an array, which integers do slowly: floats hold them where they can.
    dtype = exact.dtype(_taps(grid))
    dtype = np.dtype(FLOATS_FOR.get(dtype.str[1:], dtype))
    # A product needs less room than a sum: it is cast when rows are added.
    narrow = exact.dtype(1) if dtype.kind == "f" else dtype
    total = Reduction(np.add, 0, False, always(dtype), invertible=True)
    plane = grid.with_channels(1)
    kept: dict[tuple[int, int, int, int], Block] = {}

    def read_weights(rows: slice, columns: slice) -> Block:
        # Weights are mostly the alpha channel, which is not contiguous. A copy that serves all
        # channels of a tile is 10 to 20 % faster than reading them again for each.
        key = rows.start, rows.stop, columns.start, columns.stop
        if key not in kept:
            kept[key] = np.ascontiguousarray(weights[rows, columns])
        return kept[key]

    def weighted_reader(channel: NDArray[Any]) -> BlockReader:
        def read(rows: slice, columns: slice) -> Block:
            part: Block = channel[rows, columns].astype(narrow)
            np.multiply(part, read_weights(rows, columns), out=part, casting="unsafe")
            return part

        return read

    for tile in plane.tiles(dtype.itemsize + weights.itemsize * grid.rows.stride):
        kept.clear()
        target = out[tile]
        divisor = plane.scratch.take("divisor", (*tile.shape, 1), dtype)
        plane.reduce(tile, read_weights, total, divisor)
        empty = divisor == 0
        divisor[empty] = 1  # integers can't be divided by 0, and these windows are filled below
        sums = plane.scratch.take("sums", divisor.shape, dtype)
        for channel in range(grid.channels):
            plane.reduce(tile, weighted_reader(array[..., channel]), total, sums)
            if scale != 1:
                sums *= scale
            np.copyto(target[..., channel : channel + 1], quotient(sums, divisor), "unsafe")
        _fill_where(empty, plain, tile, target)


def _fill_where(
    empty: NDArray[np.bool_], plain: IntegerMean | FloatMean, tile: Tile, out: NDArray[Any]
) -> None:
    """Replace the averages of windows whose weights sum to 0 by those without weights."""
    if out.size and empty.any():
        unweighted = np.empty_like(out)
        plain.fill(tile, unweighted)
        np.copyto(out, unweighted, where=empty)


def _weighted_float_mean(plain: FloatMean, weights: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill ``out`` with Σwx/Σw in float64, and with ``plain`` where Σw is 0."""
    read, grid = plain.read, plain.grid

    def read_weights(rows: slice, columns: slice) -> Block:
        part = weights[rows, columns].astype(FLOAT64).repeat(grid.channels, axis=1)
        if plain.omit:
            part[np.isnan(read(rows, columns))] = 0
        return part

    def read_weighted(rows: slice, columns: slice) -> Block:
        part = read_weights(rows, columns)
        # NaN and infinity times a weight of 0 would be NaN.
        return np.multiply(read(rows, columns), part, out=part, where=part > 0)

    for tile in grid.tiles(2 * FLOAT64.itemsize):  # pixels and weights are in use together
        target = out[tile]
        total, divisor = np.empty(target.shape, FLOAT64), np.empty(target.shape, FLOAT64)
        grid.reduce(tile, read_weights, FLOAT_SUM, divisor)
        grid.reduce(tile, read_weighted, FLOAT_SUM, total)
        empty = divisor == 0
        target[...] = np.divide(total, divisor, out=total)
        _fill_where(empty, plain, tile, target)


def _nan_to_zero(block: Block) -> Block:
    """Return the block with 0 in place of NaN."""
    return np.where(np.isnan(block), 0, block)


def _number_of(dtype: np.dtype[Any]) -> Callable[[int], int | float]:
    """Return the function that makes a Python number for a type of counts."""
    return _to_float if dtype.kind == "f" else int


def _to_float(count: int) -> float:
    """Return a count as a float; one beyond the range of floats as infinity."""
    try:
        return float(count)
    except OverflowError:
        return np.inf


def _taps_of(axis: Axis, windows: slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the number of taps on pixels of some of the windows."""
    number, (first, stop) = _number_of(dtype), (windows.start, windows.stop)
    taps: NDArray[Any] = np.full(stop - first, number(axis.most_taps), dtype)
    interior = axis.interior  # its windows, nearly all of them, need no counting one by one
    edges = range(first, min(interior.start, stop)), range(max(interior.stop, first), stop)
    for index in chain(*edges):
        taps[index - first] = number(axis.taps_inside(index))
    return taps


def _taps(grid: Grid) -> int:
    """Return the most pixels that one window can hold."""
    return grid.rows.size * grid.columns.size


def _peak(array: NDArray[Any]) -> int:
    """Return the largest magnitude of integers: their type's, or their own if that is huge.

    Sums of 64-bit integers would need Python's integers, which are slow, though most arrays of
    that type hold small values.
    """
    if array.dtype.itemsize < 8:
        limits = np.iinfo(array.dtype)
        return max(-int(limits.min), int(limits.max))
    return max(-int(array.min(initial=0)), int(array.max(initial=0)))
