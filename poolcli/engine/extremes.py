"""Maximum and minimum over windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Reduction, always
from poolcli.engine.tiles import Grid, Term, Tile, pixels

Extreme = Literal["max", "min"]


def reduction_for(extreme: Extreme, dtype: np.dtype[Any], omit: bool) -> Reduction:
    """The ufunc of an extreme and the value that never wins: for floats that omit NaN, NaN."""
    ordinary = np.maximum if extreme == "max" else np.minimum
    same = always(dtype)
    if dtype.kind == "f":
        if omit:
            return Reduction(np.fmax if extreme == "max" else np.fmin, np.nan, True, same)
        return Reduction(ordinary, -np.inf if extreme == "max" else np.inf, True, same)
    limits = np.iinfo(dtype)
    return Reduction(ordinary, limits.min if extreme == "max" else limits.max, True, same)


def extreme_pool(
    array: NDArray[Any],
    grid: Grid,
    extreme: Extreme,
    omit: bool,
    where: NDArray[np.bool_] | None,
    out: NDArray[Any],
) -> None:
    """Fill ``out``, (H', W', C) and native, with the extremes of ``array``, (H, W, C).

    A window in which no pixel takes part (by ``where``, or as NaN that is omitted) is pooled as
    if all did.
    """
    reduction = reduction_for(extreme, out.dtype, omit)
    every = pixels(array)
    for tile in grid.tiles(out.itemsize):
        target = out[tile]
        if where is None:
            grid.reduce(tile, every, reduction, target)
            continue
        taking_part = _masked(array, where, reduction.neutral)
        grid.reduce(tile, taking_part, reduction, target)
        empty = np.isnan(target) if omit and out.dtype.kind == "f" else ~present(grid, where, tile)
        if empty.any():
            plain = np.empty_like(target)
            grid.reduce(tile, every, reduction, plain)
            np.copyto(target, plain, where=empty)


def present(grid: Grid, where: NDArray[np.bool_], tile: Tile) -> NDArray[np.bool_]:
    """Which windows of a tile hold a pixel that takes part: (rows, columns, 1)."""
    found = np.empty((*tile.shape, 1), np.uint8)
    anyone = Reduction(np.maximum, 0, True, always(found.dtype))
    grid.of(1).reduce(tile, pixels(where.view(np.uint8)[..., None]), anyone, found)
    return found.view(np.bool_)


def _masked(array: NDArray[Any], where: NDArray[np.bool_], neutral: Any) -> Term:
    """The pixels that take part, and the neutral value in place of the others."""
    native = array.dtype.newbyteorder("=")

    def masked(rows: slice, columns: slice) -> NDArray[Any]:
        part = np.array(array[rows, columns], native, order="C")
        part[~where[rows, columns]] = neutral
        return part.reshape(part.shape[0], -1)

    return masked
