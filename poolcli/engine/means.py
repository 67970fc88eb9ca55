"""Averages over windows: exact sums, one division, one rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, Reduction, Scratch, always, rounded_quotient
from poolcli.engine.tiles import Grid, Term, Tile, pixels
from poolcli.engine.window import Axis

WIDE: Final = np.dtype(np.float64)
FLOAT_SUM: Final = Reduction(np.add, 0, False, always(WIDE))


WIDER: Final = {"u2": "f4", "i2": "f4", "u4": "f8", "i4": "f8"}
"""The floats that hold sums in integers' place, and divide them by arrays many times faster."""


class Counts(NamedTuple):
    """How many taps of each window along one axis count.

    Attributes:
        size: taps of a window.
        full: the windows, all side by side, of which all taps count.
        before: the taps that count in each window before these.
        after: the taps that count in each window after them.
    """

    size: int
    full: range
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, axis: Axis, count_include_pad: bool) -> Counts:
        """Count the taps on pixels, or on pixels and explicit padding."""
        count = axis.taps_padded if count_include_pad else axis.taps_inside
        start, stop = axis.inside.start, max(axis.inside.start, axis.inside.stop)
        before, after = [*map(count, range(start))], [*map(count, range(stop, axis.out))]
        while before and before[-1] == axis.size:
            before.pop()
        while after and after[0] == axis.size:
            after.pop(0)
        return cls(axis.size, range(len(before), axis.out - len(after)), before, after)

    @property
    def largest(self) -> int:
        """The most taps that count in a window."""
        return self.size if self.full else max(self.before + self.after)

    def of_windows(self, windows: slice) -> list[int]:
        """The taps that count in some of the windows."""
        full = range(*windows.indices(self.full.stop))[max(0, self.full.start - windows.start) :]
        after = slice(*(max(0, at - self.full.stop) for at in (windows.start, windows.stop)))
        return [*self.before[windows], *[self.size] * len(full), *self.after[after]]


class Divisors(NamedTuple):
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
        return self.override or self.rows.largest * self.columns.largest

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
                yield part, self.rows.size * self.columns.size
            else:
                yield part, self.product(Tile(rows, slice(start, stop)), dtype)

    def product(self, tile: Tile, dtype: np.dtype[Any]) -> NDArray[Any]:
        """The divisor of every window of a tile: (rows, columns, 1)."""
        number = _float if dtype.kind == "f" else int
        counts = (
            np.array([number(taps) for taps in axis.of_windows(windows)], dtype)
            for axis, windows in ((self.rows, tile.rows), (self.columns, tile.columns))
        )
        product: NDArray[Any] = np.multiply.outer(*counts)
        return product[..., None]


def integer_sum(dtype: np.dtype[Any], peak: int, divisor: int) -> Reduction:
    """The sum of integers of magnitudes up to ``peak``, with room to divide it.

    A sum is held by 16-bit integers, else by a float that divides it rightly (see `quotient`),
    else by wider integers: floats are rounded in fewer passes, and sooner than 64-bit integers.

    Args:
        dtype: of the integers.
        peak: the largest magnitude of one.
        divisor: the largest that sums are divided by.
    """
    kind = "i" if dtype.kind == "i" else "u"
    signed = kind == "i"
    limits = {
        f"{kind}2": 1 << (16 - signed),
        "f4": 1 << 23,
        f"{kind}4": 1 << (32 - signed),
        "f8": 1 << 52,
        f"{kind}8": 1 << (64 - signed),
    }

    @cache
    def narrowest(taps: int) -> np.dtype[Any]:
        most = taps * peak + divisor
        return np.dtype(next((name for name, limit in limits.items() if most < limit), object))

    return Reduction(np.add, 0, False, narrowest, invertible=True)


def integer_mean(
    array: NDArray[Any], grid: Grid, divisors: Divisors, out: NDArray[Any], scale: int = 1
) -> None:
    """Fill ``out`` with the averages of integers, times ``scale``, rounded half to even."""
    total = integer_sum(array.dtype, _peak(array) * scale, divisors.largest)
    every = pixels(array)
    for tile in grid.tiles(total.dtype(grid.rows.size).itemsize):
        _plain_integers(tile, every, grid, divisors, total, scale, out[tile])


def _plain_integers(
    tile: Tile,
    term: Term,
    grid: Grid,
    divisors: Divisors,
    total: Reduction,
    scale: int,
    out: NDArray[Any],
) -> None:
    """One tile of `integer_mean`."""
    dtype = total.dtype(_taps(grid))
    for rows, block in grid.bands(tile, term, total):
        target = out[rows]
        sums = grid.scratch.take("sums", target.shape, dtype)
        room = grid.scratch.take("quotients", target.shape, dtype)
        grid.reduce_columns(block, total, sums)
        if scale != 1:
            sums *= scale
        for columns, divisor in divisors.parts(tile.part(rows), dtype):
            mean = quotient(sums[:, columns], divisor, room[:, columns])
            if divisors.override is not None:
                limits = np.iinfo(out.dtype)
                mean = np.clip(mean, limits.min, limits.max)
            np.copyto(target[:, columns], mean, casting="unsafe")


def quotient(
    total: NDArray[Any], divisor: NDArray[Any] | int, room: NDArray[Any] | None = None
) -> NDArray[Any]:
    """``total / divisor``, rounded once to nearest, ties to even; changes ``total``.

    A float of p bits divides S < 2^(p-1) rightly: S/D is a tie, and held exactly, or at least
    1/(2D) from any, and its float at most S/D/2^p from S/D. Cost: two passes.
    """
    if total.dtype.kind != "f":
        return rounded_quotient(total, divisor, room)
    total /= divisor
    np.rint(total, out=total)
    return total


def weighted_integer_mean(
    array: NDArray[Any], weights: NDArray[Any], grid: Grid, out: NDArray[Any], scale: int = 1
) -> None:
    """Fill ``out`` with Σwx/Σw, each rounded once; Σw = 0 is averaged with weight 1.

    Cost: one plane after the other, since a weight for several channels would be multiplied in
    steps of a pixel; in floats where `quotient` allows, as an array of integers divides slowly.
    """
    peak, taps = _peak(array) * scale, _taps(grid)
    product = (peak + 1) * max(1, _peak(weights))
    exact = integer_sum(array.dtype, product, product)
    dtype = np.dtype(WIDER.get(exact.dtype(taps).str[1:], exact.dtype(taps)))
    divisors, plain = Divisors.of(grid.rows, grid.columns), None
    total, single = Reduction(np.add, 0, False, always(dtype), invertible=True), grid.of(1)
    narrow = exact.dtype(1) if dtype.kind == "f" else dtype
    held = _Held(weights)
    planes = [
        _weighted(array[..., channel], held, narrow, single.scratch)
        for channel in range(grid.channels)
    ]
    for tile in single.tiles(dtype.itemsize + weights.itemsize * grid.rows.stride):
        held.blocks.clear()
        divisor = single.scratch.take("divisor", (*tile.shape, 1), dtype)
        single.reduce(tile, held, total, divisor)
        empty = divisor == 0
        divisor[empty] = 1
        sums = single.scratch.take("sums", divisor.shape, dtype)
        for channel, weighted in enumerate(planes):
            single.reduce(tile, weighted, total, sums)
            if scale != 1:
                sums *= scale
            np.copyto(out[tile][..., channel : channel + 1], quotient(sums, divisor), "unsafe")
        if empty.any():
            plain = plain or integer_sum(array.dtype, peak, divisors.largest)
            unweighted = np.empty((*tile.shape, grid.channels), out.dtype)
            _plain_integers(tile, pixels(array), grid, divisors, plain, scale, unweighted)
            np.copyto(out[tile], unweighted, where=empty)


class _Held:
    """Weights that every channel reads, side by side in memory until the next tile."""

    def __init__(self, weights: NDArray[Any]) -> None:
        """Hold nothing yet."""
        self.weights = weights
        self.blocks: dict[tuple[int, int, int, int], Block] = {}

    def __call__(self, rows: slice, columns: slice) -> Block:
        """The weights of some pixels, a `Term`."""
        key = rows.start, rows.stop, columns.start, columns.stop
        if key not in self.blocks:
            self.blocks[key] = np.ascontiguousarray(self.weights[rows, columns])
        return self.blocks[key]


def _weighted(plane: NDArray[Any], weights: Term, dtype: np.dtype[Any], scratch: Scratch) -> Term:
    """The pixels of one channel, each times its weight, in a type that holds the product.

    Two buffers take turns, as two rows are added at a time.
    """
    names = cycle(("weighted a", "weighted b"))

    def weighted(rows: slice, columns: slice) -> Block:
        seen = plane[rows, columns]
        part = scratch.take(next(names), seen.shape, dtype)
        np.copyto(part, seen, casting="unsafe")
        np.multiply(part, weights(rows, columns), out=part, casting="unsafe")
        return part

    return weighted


def float_mean(every: Term, grid: Grid, divisors: Divisors, omit: bool, out: NDArray[Any]) -> None:
    """Fill ``out`` with averages summed and divided in float64, rounded once to its type."""
    for tile in grid.tiles(8):
        _plain_floats(tile, every, grid, divisors, omit, out[tile])


def _plain_floats(
    tile: Tile, term: Term, grid: Grid, divisors: Divisors, omit: bool, out: NDArray[Any]
) -> None:
    """One tile of `float_mean`: NaN is looked for only where the sum of all sums is none."""
    for rows, block in grid.bands(tile, term, FLOAT_SUM):
        sums = grid.scratch.take("sums", out[rows].shape, WIDE)
        grid.reduce_columns(block, FLOAT_SUM, sums)
        if omit and np.isnan(sums.sum()) and np.isnan(sums).any():
            break
        for columns, exact in divisors.parts(tile.part(rows), WIDE):
            sums[:, columns] /= _float(exact) if isinstance(exact, int) else exact
        np.copyto(out[rows], sums, casting="same_kind")
    else:
        return
    _omitting(tile, term, grid, divisors, out)


def _omitting(tile: Tile, term: Term, grid: Grid, divisors: Divisors, out: NDArray[Any]) -> None:
    """One tile of `float_mean` of which some windows hold NaN, which don't count."""
    missing, total = np.empty(out.shape, WIDE), np.empty(out.shape, WIDE)
    grid.reduce(tile, _then(term, np.isnan), FLOAT_SUM, missing)
    grid.reduce(tile, _then(term, _without_nan), FLOAT_SUM, total)
    for columns, exact in divisors.parts(tile, WIDE):
        divisor = _float(exact) if isinstance(exact, int) else exact
        counted = divisor if divisors.override else divisor - missing[:, columns]
        out[:, columns] = total[:, columns] / counted
    out[missing == Divisors.of(grid.rows, grid.columns).product(tile, WIDE)] = np.nan


def weighted_float_mean(
    every: Term, weights: NDArray[Any], grid: Grid, omit: bool, out: NDArray[Any]
) -> None:
    """Fill ``out`` with Σwx/Σw in float64; Σw = 0 is averaged with weight 1."""
    divisors = Divisors.of(grid.rows, grid.columns)

    def weight_of(rows: slice, columns: slice) -> Block:
        given = weights[rows, columns].astype(WIDE).repeat(grid.channels, axis=1)
        if omit:
            given[np.isnan(every(rows, columns))] = 0
        return given

    def weighted(rows: slice, columns: slice) -> Block:
        given = weight_of(rows, columns)
        return np.multiply(every(rows, columns), given, out=given, where=given > 0)

    for tile in grid.tiles(2 * WIDE.itemsize):  # since weights and pixels are held at once
        target = out[tile]
        total, divisor = np.empty(target.shape, WIDE), np.empty(target.shape, WIDE)
        grid.reduce(tile, weight_of, FLOAT_SUM, divisor)
        grid.reduce(tile, weighted, FLOAT_SUM, total)
        empty = divisor == 0
        target[...] = np.divide(total, divisor, out=total)
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


def _then(term: Term, change: Callable[[Block], Block]) -> Term:
    """A term whose blocks are changed."""
    return lambda rows, columns: change(term(rows, columns))


def _without_nan(block: Block) -> Block:
    """The block with 0 in place of NaN."""
    return np.where(np.isnan(block), 0, block)
