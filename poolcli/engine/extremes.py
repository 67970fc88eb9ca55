"""Compute the maximum or minimum of windows."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Block, NanPolicy, Reduction
from poolcli.engine.tiles import TUNED, BlockReader, Grid, Tile, Tuning, restored
from poolcli.engine.window import Axes

Extreme = Literal["max", "min"]

UFUNCS: Final[dict[Extreme, tuple[np.ufunc, np.ufunc]]] = {
    "max": (np.maximum, np.fmax),
    "min": (np.minimum, np.fmin),
}
"""The ufunc that returns NaN if an operand is NaN, and the one that ignores a NaN."""

ANYWHERE: Final = Reduction(np.logical_or, False, True, lambda _: np.dtype(np.bool_))


def extreme(
    which: Extreme,
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    nodata: float | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool an array like `max_pool` or `min_pool`, over windows that are computed already.

    Args:
        which: "max" or "min".
        array: as in `max_pool`, and so are the other arguments.
        axes: the windows.
        nan: as in `max_pool`.
        where: as in `max_pool`.
        nodata: as in `max_pool`, a value of the array's type.
        tuning: sizes of the working set.
    """
    grid = Grid(array, axes, tuning)
    dtype = grid.array.dtype.newbyteorder("=")
    reduction = reduction_for(which, dtype, nan == "omit" and dtype.kind == "f")
    out = np.empty((grid.rows.out, grid.columns.out, grid.channels), dtype)
    nodata = grid.present(nodata)
    with np.errstate(all="ignore"):
        for tile in grid.tiles(dtype.itemsize):
            _reduce_part(grid, tile, where, nodata, reduction, out[tile])
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


def _reduce_part(
    grid: Grid,
    tile: Tile,
    where: NDArray[np.bool_] | None,
    nodata: float | None,
    reduction: Reduction,
    out: NDArray[Any],
) -> None:
    """Reduce only the samples of a tile for which ``where`` is true and that are not ``nodata``.

    A window with none of these becomes ``nodata`` if it has a sample of that value where
    ``where`` is true. Otherwise it is pooled as if ``where`` was true everywhere; omitted NaN
    does not take part.
    """
    if where is None and nodata is None:
        grid.reduce(tile, reduction, out)
        return

    part = _Part(grid, where, nodata, reduction.neutral)
    grid.reading(part.read, grid.channels).reduce(tile, reduction, out)
    if np.isnan(reduction.neutral):
        empty = np.isnan(out)
    elif nodata is None and where is not None:
        # A pixel may equal the neutral value, so the result does not tell whether one took part.
        empty = np.repeat(~_anywhere(grid, tile, lambda *at: where[at], 1), grid.channels, axis=2)
    else:
        empty = ~_anywhere(grid, tile, part.takes_part, grid.channels)
    if nodata is not None and empty.any():
        is_nodata = _anywhere(grid, tile, part.has_no_data, grid.channels) & empty
        out[is_nodata] = nodata
        empty &= ~is_nodata
    if where is not None and empty.any():
        pooled = np.empty_like(out)
        _reduce_part(grid, tile, None, nodata, reduction, pooled)
        np.copyto(out, pooled, where=empty)


class _Part(NamedTuple):
    """Read the samples that take part in a reduction.

    Attributes:
        grid: the picture.
        where: bool (H, W), true for pixels that take part, or None.
        nodata: the value of samples that don't, or None.
        neutral: what is read in place of samples that don't.
    """

    grid: Grid
    where: NDArray[np.bool_] | None
    nodata: float | None
    neutral: Any

    def takes_part(self, rows: slice, columns: slice) -> Block:
        """Return whether each sample takes part."""
        if self.nodata is None:
            return self._chosen(rows, columns)
        chosen: Block = self._chosen(rows, columns) & (self.grid.read(rows, columns) != self.nodata)
        return chosen

    def has_no_data(self, rows: slice, columns: slice) -> Block:
        """Return whether each sample is one of ``where`` without data."""
        without: Block = self._chosen(rows, columns) & (
            self.grid.read(rows, columns) == self.nodata
        )
        return without

    def read(self, rows: slice, columns: slice) -> Block:
        """Return the samples that take part, and the neutral value for the others."""
        samples = self.grid.read(rows, columns)
        return np.where(self.takes_part(rows, columns), samples, self.neutral)

    def _chosen(self, rows: slice, columns: slice) -> Block:
        """Return whether each sample is in ``where``."""
        if self.where is None:
            return np.True_  # type: ignore[return-value]  # it broadcasts against any block
        return self.where[rows, columns].repeat(self.grid.channels, axis=1)


def _anywhere(grid: Grid, tile: Tile, read: BlockReader, channels: int) -> NDArray[np.bool_]:
    """Return for each window of a tile whether a bool that is read is true in it."""
    found = np.empty((*(side.stop - side.start for side in tile), channels), np.bool_)
    grid.reading(read, channels).reduce(tile, ANYWHERE, found)
    return found
