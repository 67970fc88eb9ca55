"""Maximum and minimum of windows."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Reduction, always
from poolcli.engine.tiles import BlockReader, Grid, Tile, array_reader

Extreme = Literal["max", "min"]

UFUNCS: Final[dict[Extreme, tuple[np.ufunc, np.ufunc]]] = {
    "max": (np.maximum, np.fmax),
    "min": (np.minimum, np.fmin),
}
"""The ufunc that lets NaN win, and the one by which every number wins over NaN."""


def reduction_for(extreme: Extreme, dtype: np.dtype[Any], omit: bool) -> Reduction:
    """Return the ufunc of an extreme and the value that never wins.

    Where NaN is omitted this value is NaN, not an infinity: ``fmax(NaN, -inf)`` is -inf, which
    may stand in no window.
    """
    ordinary, ignoring_nan = UFUNCS[extreme]
    if dtype.kind == "f" and omit:
        return Reduction(ignoring_nan, np.nan, True, always(dtype))
    limits = np.iinfo(dtype) if dtype.kind != "f" else None
    least, most = (limits.min, limits.max) if limits else (-np.inf, np.inf)
    return Reduction(ordinary, least if extreme == "max" else most, True, always(dtype))


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
    read = array_reader(array)
    for tile in grid.tiles(out.itemsize):
        target = out[tile]
        if where is None:
            grid.reduce(tile, read, reduction, target)
            continue
        grid.reduce(tile, _masked_reader(array, where, reduction.neutral), reduction, target)
        if omit and out.dtype.kind == "f":
            empty = np.isnan(target)
        else:
            # The neutral value may also be a pixel's own, so pixels have to be counted.
            empty = ~_any_taking_part(grid, where, tile)
        if empty.any():
            unmasked = np.empty_like(target)
            grid.reduce(tile, read, reduction, unmasked)
            np.copyto(target, unmasked, where=empty)


def _any_taking_part(grid: Grid, where: NDArray[np.bool_], tile: Tile) -> NDArray[np.bool_]:
    """Return which windows of a tile hold a pixel that takes part: (rows, columns, 1)."""
    found = np.empty((*tile.shape, 1), np.uint8)
    read = array_reader(where.view(np.uint8)[..., None])
    grid.with_channels(1).reduce(tile, read, reduction_for("max", found.dtype, False), found)
    return found.view(np.bool_)


def _masked_reader(array: NDArray[Any], where: NDArray[np.bool_], neutral: Any) -> BlockReader:
    """Read the pixels that take part, and the neutral value in place of the others."""
    native = array.dtype.newbyteorder("=")

    def read(rows: slice, columns: slice) -> NDArray[Any]:
        part = np.array(array[rows, columns], native, order="C")
        part[~where[rows, columns]] = neutral
        return part.reshape(part.shape[0], -1)

    return read
