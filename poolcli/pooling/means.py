"""Averages over windows: exact sums, one division, one rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.pooling.kernels import Block, Reduction, rounded_quotient
from poolcli.pooling.tiles import Grid, Term, Tile, pixels
from poolcli.window import Axis

SUM = Reduction(np.add, 0, False)


class Counts(NamedTuple):
    """How many taps of each window along one axis count.

    Attributes:
        taps: a number for each window.
        full: the windows, all side by side, of which all taps count.
    """

    taps: tuple[int, ...]
    full: range

    @classmethod
    def of(cls, axis: Axis, count_include_pad: bool) -> Counts:
        """Count the taps on pixels, or on pixels and explicit padding."""
        count = axis.taps_padded if count_include_pad else axis.taps_inside
        inside = axis.inside
        taps = (
            *map(count, range(inside.start)),
            *[axis.size] * len(inside),
            *map(count, range(inside.stop, axis.out)),
        )
        if axis.size not in taps:
            return cls(taps, range(0))
        return cls(taps, range(taps.index(axis.size), axis.out - taps[::-1].index(axis.size)))


@dataclass(frozen=True)
class Divisors:
    """What the sum of each window is divided by: the product of both axes' counts.

    Attributes:
        rows: the taps that count along the height.
        columns: the taps that count along the width.
        override: divides every sum in their place, where given.
    """

    rows: Counts
    columns: Counts
    override: int | None = None

    @classmethod
    def of(
        cls,
        rows: Axis,
        columns: Axis,
        count_include_pad: bool = False,
        override: int | None = None,
    ) -> Divisors:
        """Count along both axes."""
        return cls(
            Counts.of(rows, count_include_pad), Counts.of(columns, count_include_pad), override
        )

    @property
    def largest(self) -> int:
        """The largest of all divisors."""
        return self.override or max(self.rows.taps) * max(self.columns.taps)

    def parts(self, tile: Tile, dtype: np.dtype[Any]) -> Iterator[tuple[slice, int | NDArray[Any]]]:
        """Cut a tile's columns where divisors begin to differ: (columns of it, divisors).

        A divisor is one number inside the picture, else an array (rows, columns, 1).
        """
        if self.override is not None:
            yield slice(None), self.override
            return
        rows, columns = tile
        full = self.columns.full
        edges = [min(max(at, columns.start), columns.stop) for at in (full.start, full.stop)]
        for start, stop in pairwise((columns.start, *edges, columns.stop)):
            if start == stop:
                continue
            part = slice(start - columns.start, stop - columns.start)
            if _within(rows, self.rows.full) and _within(slice(start, stop), full):
                yield part, self.rows.taps[rows.start] * self.columns.taps[start]
            else:
                yield part, self.product(Tile(rows, slice(start, stop)), dtype)

    def product(self, tile: Tile, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The divisor of every window of a tile: (rows, columns, 1)."""
        rows, columns = self.rows.taps[tile.rows], self.columns.taps[tile.columns]
        number = _float if dtype.kind == "f" else int
        counts = (np.array([number(taps) for taps in axis], dtype) for axis in (rows, columns))
        product: NDArray[Any] = np.multiply.outer(*counts)
        return product[..., None]


def integer_mean(
    array: NDArray[Any], grid: Grid, divisors: Divisors, out: NDArray[Any], scale: int = 1
) -> None:
    """Fill ``out`` with the averages of integers, times ``scale``, rounded half to even."""
    peak = _peak(array) * scale
    dtype = _total_dtype(array.dtype, _taps(grid) * peak + divisors.largest)
    every = pixels(array)
    for tile in grid.tiles(dtype.itemsize):
        _plain_integers(tile, every, grid, divisors, dtype, scale, out[tile])


def _plain_integers(
    tile: Tile,
    term: Term,
    grid: Grid,
    divisors: Divisors,
    dtype: np.dtype[Any],
    scale: int,
    out: NDArray[Any],
) -> None:
    """One tile of `integer_mean`."""
    total = grid.scratch.take("total", out.shape, dtype)
    grid.reduce(tile, term, SUM, dtype, total)
    if scale != 1:
        total *= scale
    for columns, divisor in divisors.parts(tile, dtype):
        mean = rounded_quotient(total[:, columns], divisor)
        if divisors.override is not None:
            limits = np.iinfo(out.dtype)
            mean = np.clip(mean, limits.min, limits.max)
        out[:, columns] = mean


def weighted_integer_mean(
    array: NDArray[Any], weights: NDArray[Any], grid: Grid, out: NDArray[Any], scale: int = 1
) -> None:
    """Fill ``out`` with Σwx/Σw, each rounded once; Σw = 0 is averaged with weight 1."""
    peak, most = _peak(array) * scale, max(1, _peak(weights))
    dtype = _total_dtype(array.dtype, _taps(grid) * (peak + 1) * most)
    divisors = Divisors.of(grid.rows, grid.columns)
    every, single = pixels(array), grid.of(1)

    def weighted(rows: slice, columns: slice) -> Block:
        part = array[rows, columns].astype(dtype, order="C")
        part *= weights[rows, columns].astype(dtype)[..., None]
        return part.reshape(part.shape[0], -1)

    weight_of = _then(pixels(weights[..., None]), lambda block: block.astype(dtype, copy=False))
    for tile in grid.tiles(dtype.itemsize):
        target = out[tile]
        divisor = np.empty((*tile.shape, 1), dtype)
        single.reduce(tile, weight_of, SUM, dtype, divisor)
        empty = divisor == 0
        divisor[empty] = 1
        total = np.empty(target.shape, dtype)
        grid.reduce(tile, weighted, SUM, dtype, total)
        if scale != 1:
            total *= scale
        target[...] = rounded_quotient(total, divisor)
        if empty.any():
            plain = np.empty_like(target)
            _plain_integers(tile, every, grid, divisors, dtype, scale, plain)
            np.copyto(target, plain, where=empty)


def float_mean(every: Term, grid: Grid, divisors: Divisors, omit: bool, out: NDArray[Any]) -> None:
    """Fill ``out`` with averages summed and divided in float64, rounded once to its type."""
    for tile in grid.tiles(8):
        _plain_floats(tile, every, grid, divisors, omit, out[tile])


def _plain_floats(
    tile: Tile, term: Term, grid: Grid, divisors: Divisors, omit: bool, out: NDArray[Any]
) -> None:
    """One tile of `float_mean`: NaN is looked for only where the result has some."""
    wide = np.dtype(np.float64)
    total = grid.scratch.take("total", out.shape, wide)
    grid.reduce(tile, term, SUM, wide, total)
    missing = None
    if omit and np.isnan(total).any():
        missing = np.empty(out.shape, wide)
        grid.reduce(tile, _then(term, np.isnan), SUM, wide, missing)
        grid.reduce(tile, _then(term, _without_nan), SUM, wide, total)
    for columns, exact in divisors.parts(tile, wide):
        divisor = _float(exact) if isinstance(exact, int) else exact
        if missing is None:
            out[:, columns] = total[:, columns] / divisor
            continue
        counted = divisor if divisors.override else divisor - missing[:, columns]
        out[:, columns] = total[:, columns] / counted
    if missing is not None:
        pixels_inside = Divisors.of(grid.rows, grid.columns).product(tile, wide)
        out[missing == pixels_inside] = np.nan


def weighted_float_mean(
    every: Term, weights: NDArray[Any], grid: Grid, omit: bool, out: NDArray[Any]
) -> None:
    """Fill ``out`` with Σwx/Σw in float64; Σw = 0 is averaged with weight 1."""
    wide = np.dtype(np.float64)
    divisors = Divisors.of(grid.rows, grid.columns)

    def weight_of(rows: slice, columns: slice) -> Block:
        part = weights[rows, columns].astype(wide)
        given = part.repeat(grid.channels, axis=1)
        if omit:
            given[np.isnan(every(rows, columns))] = 0
        return given

    def weighted(rows: slice, columns: slice) -> Block:
        given = weight_of(rows, columns)
        return np.multiply(every(rows, columns), given, out=given, where=given > 0)

    for tile in grid.tiles(wide.itemsize):
        target = out[tile]
        total, divisor = np.empty(target.shape, wide), np.empty(target.shape, wide)
        grid.reduce(tile, weight_of, SUM, wide, divisor)
        grid.reduce(tile, weighted, SUM, wide, total)
        target[...] = total / divisor
        empty = divisor == 0
        if empty.any():
            plain = np.empty_like(target)
            _plain_floats(tile, every, grid, divisors, omit, plain)
            np.copyto(target, plain, where=empty)


def _float(count: int) -> float:
    """A count as a float; one beyond the range of floats is infinite."""
    try:
        return float(count)
    except OverflowError:
        return np.inf


def _within(part: slice, whole: range) -> bool:
    """Whether a run of windows lies in another."""
    return bool(whole.start <= part.start and part.stop <= whole.stop)


def _taps(grid: Grid) -> int:
    """The most pixels that one window can hold."""
    return grid.rows.size * grid.columns.size


def _peak(array: NDArray[Any]) -> int:
    """The largest magnitude: what the type can hold, or does hold where that is too much."""
    if array.dtype.itemsize < 8:
        limits = np.iinfo(array.dtype)
        return max(-int(limits.min), int(limits.max))
    return max(-int(array.min()), int(array.max()))


def _total_dtype(dtype: np.dtype[Any], limit: int) -> np.dtype[Any]:
    """The smallest type that holds sums up to ``limit``: Python's integers if none else does."""
    signed = dtype.kind == "i"
    for width in (2, 4, 8):
        if limit < 1 << (8 * width - signed):
            return np.dtype(f"{'i' if signed else 'u'}{width}")
    return np.dtype(object)


def _then(term: Term, change: Callable[[Block], Block]) -> Term:
    """A term whose blocks are changed."""
    return lambda rows, columns: change(term(rows, columns))


def _without_nan(block: Block) -> Block:
    """The block with 0 in place of NaN."""
    return np.where(np.isnan(block), 0, block)
