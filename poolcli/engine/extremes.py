"""Maximum and minimum of windows."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, NanPolicy, Reduction
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
from poolcli.engine.window import Axes

Extreme = Literal["max", "min"]

UFUNCS: Final[dict[Extreme, tuple[np.ufunc, np.ufunc]]] = {
    "max": (np.maximum, np.fmax),
    "min": (np.minimum, np.fmin),
}
"""The ufunc that lets NaN win, and the one by which every number wins over NaN."""


def extreme(
    which: Extreme,
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool like `max_pool` or `min_pool`, with windows that are laid over the array already."""
    stack, grid = prepare(array, axes, tuning)
    out = grid.empty(stack.dtype)
    omit = nan == "omit" and out.dtype.kind == "f"
    reduction, read = reduction_for(which, out.dtype, omit), array_reader(stack)
    with np.errstate(all="ignore"):
        for tile in grid.tiles(out.itemsize):
            if where is None:
                grid.reduce(tile, read, reduction, out[tile])
            else:
                _reduce_masked(grid, tile, read, where, reduction, out[tile])
    return restored(out, array, array.dtype)


def reduction_for(which: Extreme, dtype: np.dtype[Any], omit: bool) -> Reduction:
    """Return the ufunc of an extreme and the value that never wins.

    Where NaN is omitted this value is NaN, not an infinity: ``fmax(NaN, -inf)`` is -inf, which
    may stand in no window.
    """
    ordinary, ignoring_nan = UFUNCS[which]
    if omit:
        return Reduction(ignoring_nan, np.nan, True, lambda _: dtype)
    limits = np.iinfo(dtype) if dtype.kind != "f" else None
    least, most = (limits.min, limits.max) if limits else (-np.inf, np.inf)
    return Reduction(ordinary, least if which == "max" else most, True, lambda _: dtype)


def _reduce_masked(
    grid: Grid,
    tile: Tile,
    read: BlockReader,
    where: NDArray[np.bool_],
    reduction: Reduction,
    out: NDArray[Any],
) -> None:
    """Reduce the pixels of a tile that take part.

    A window in which none does, by ``where`` or as NaN that is omitted, is pooled as if all did.
    """

    def read_masked(rows: slice, columns: slice) -> Block:
        taking_part = where[rows, columns].repeat(grid.channels, axis=1)
        return np.where(taking_part, read(rows, columns), reduction.neutral)

    grid.reduce(tile, read_masked, reduction, out)
    if out.dtype.kind == "f" and np.isnan(reduction.neutral):
        empty = np.isnan(out)
    else:
        # The neutral value may also be a pixel's own, so pixels have to be counted.
        count = Reduction(np.logical_or, False, True, lambda _: where.dtype)
        empty = np.empty((*out.shape[:2], 1), np.bool_)
        grid.planes().reduce(tile, array_reader(where[..., None]), count, empty)
        np.logical_not(empty, out=empty)
    if empty.any():
        pooled = np.empty_like(out)
        grid.reduce(tile, read, reduction, pooled)
        np.copyto(out, pooled, where=empty.repeat(out.shape[2] // empty.shape[2], axis=2))
