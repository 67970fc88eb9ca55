"""Compute the maximum or minimum of windows."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, NanPolicy, Reduction
from poolcli.engine.tiles import TUNED, Grid, Tile, Tuning, restored
from poolcli.engine.window import Axes

Extreme = Literal["max", "min"]

UFUNCS: Final[dict[Extreme, tuple[np.ufunc, np.ufunc]]] = {
    "max": (np.maximum, np.fmax),
    "min": (np.minimum, np.fmin),
}
"""The ufunc that returns NaN if an operand is NaN, and the one that ignores a NaN."""


def extreme(
    which: Extreme,
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool an array like `max_pool` or `min_pool`, over windows that are computed already.

    Args:
        which: "max" or "min".
        array: as in `max_pool`, and so are ``nan`` and ``where``.
        axes: the windows.
        nan: as in `max_pool`.
        where: as in `max_pool`.
        tuning: sizes of the working set.
    """
    grid = Grid(array, axes, tuning)
    dtype = grid.array.dtype.newbyteorder("=")
    reduction = reduction_for(which, dtype, nan == "omit" and dtype.kind == "f")
    out = np.empty((grid.rows.out, grid.columns.out, grid.channels), dtype)
    with np.errstate(all="ignore"):
        for tile in grid.tiles(dtype.itemsize):
            if where is None:
                grid.reduce(tile, reduction, out[tile])
            else:
                _reduce_masked(grid, tile, where, reduction, out[tile])
    return restored(out, array, array.dtype)


def reduction_for(which: Extreme, dtype: np.dtype[Any], omit: bool) -> Reduction:
    """Return the reduction for a maximum or minimum, with its ufunc and neutral value.

    If NaN is omitted, the neutral value is NaN and not an infinity: ``fmax(NaN, -inf)`` is -inf,
    so a window of NaN alone would give a value that none of its pixels has.
    """
    ordinary, ignoring_nan = UFUNCS[which]
    if omit:
        return Reduction(ignoring_nan, np.nan, True, lambda _: dtype)
    limits = np.iinfo(dtype) if dtype.kind != "f" else None
    least, most = (limits.min, limits.max) if limits else (-np.inf, np.inf)
    return Reduction(ordinary, least if which == "max" else most, True, lambda _: dtype)


def _reduce_masked(
    grid: Grid, tile: Tile, where: NDArray[np.bool_], reduction: Reduction, out: NDArray[Any]
) -> None:
    """Reduce only the pixels of a tile for which ``where`` is true.

    A window without such a pixel, or with omitted NaN alone, is pooled as if ``where`` was true.
    """

    def read_masked(rows: slice, columns: slice) -> Block:
        taking_part = where[rows, columns].repeat(grid.channels, axis=1)
        return np.where(taking_part, grid.read(rows, columns), reduction.neutral)

    grid.reading(read_masked, grid.channels).reduce(tile, reduction, out)
    if np.isnan(reduction.neutral):
        empty = np.isnan(out)
    else:
        # A pixel may equal the neutral value, so the result does not tell whether one took part.
        found = np.empty((*out.shape[:2], 1), np.bool_)
        anywhere = Reduction(np.logical_or, False, True, lambda _: found.dtype)
        grid.reading(lambda *part: where[part], 1).reduce(tile, anywhere, found)
        empty = np.repeat(~found, grid.channels, axis=2)
    if empty.any():
        pooled = np.empty_like(out)
        grid.reduce(tile, reduction, pooled)
        np.copyto(out, pooled, where=empty)
