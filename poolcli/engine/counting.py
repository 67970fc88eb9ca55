"""Find a rank of large windows that overlap, by counts of pixels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.gather import Region
from poolcli.engine.kernels import Block, Reduction, Scratch
from poolcli.engine.tiles import TUNED, Grid, Tile
from poolcli.engine.window import ceil_div

BINS: Final = 256
"""The most bins that pixels are counted in. Fewer bins take fewer passes over all pixels, but more
pixels of a bin must then be compared with every window."""

COMPARED: Final = 1 << 20
"""The most pairs of a pixel and a window that are compared at a time."""

COUNT: Final = Reduction(np.add, 0, False, np.min_scalar_type, invertible=True)


def by_counting(
    region: Region, pixels: NDArray[Any], index: NDArray[Any], _: Scratch
) -> NDArray[Any]:
    """Return the value at an index of the sorted pixels of each window; see `ranks.Kernel`.

    For one value after the other, the pixels of every window that are not larger are counted. Such
    counts are sums over windows, whose cost hardly depends on the size of a window. If a region
    has more than `BINS` values, neighbouring ones are counted together, and the result is looked
    for among the pixels of one bin.
    """
    out = np.empty((region.rows.out, region.columns.out, pixels.shape[2]), pixels.dtype)
    indices = np.broadcast_to(index, out.shape)
    for channel in range(out.shape[2]):
        values, keys = np.unique(pixels[..., channel], return_inverse=True)
        keys, wanted = keys.reshape(pixels.shape[:2]), indices[..., channel]
        width = ceil_div(len(values), BINS)
        found, below = _bin_of(region, (keys // width).astype(np.uint8), wanted)
        if width > 1:
            found = _key_of(region, keys, width, found, wanted - below)
        out[..., channel] = values[found]
    return out


def _bin_of(
    region: Region, bins: NDArray[np.uint8], index: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the bin of each window's result, and the number of its pixels in lower bins."""
    rows, columns = region.filled_axes(bins.shape)
    grid = Grid(bins, (rows, columns), TUNED)
    tile = Tile(slice(0, rows.out), slice(0, columns.out))

    def count(last: int) -> NDArray[Any]:
        """Return the number of pixels of each window in bins up to a last one."""

        def read(*part: slice) -> Block:
            return (bins[part] <= last).view(np.uint8)

        counts = np.empty((rows.out, columns.out, 1), COUNT.dtype(rows.size * columns.size))
        grid.reading(read, 1).reduce(tile, COUNT, counts)
        return counts[..., 0]

    # All windows have their results above the bins before the first one for which this is false.
    first, last = 0, int(bins.max())
    while first < last:
        middle = (first + last) // 2
        if (count(middle) <= index).all():
            first = middle + 1
        else:
            last = middle
    found = np.full(index.shape, first, np.uint8)
    below = count(first - 1) if first else np.zeros(index.shape, COUNT.dtype(grid.most_taps))
    for number in range(first, int(bins.max())):
        counts = count(number)
        is_above = counts <= index
        if not is_above.any():
            break
        found += is_above
        np.copyto(below, counts, where=is_above)
    return found, below


def _key_of(
    region: Region,
    keys: NDArray[np.intp],
    width: int,
    found: NDArray[np.uint8],
    index: NDArray[Any],
) -> NDArray[np.intp]:
    """Return the key at an index of the sorted keys that a window has in one bin.

    Args:
        region: the windows.
        keys: the pixels, numbered by value.
        width: the number of keys in a bin.
        found: the bin of each window.
        index: the index among the pixels of that bin.
    """
    order = np.argsort(keys, axis=None, kind="stable")
    ordered = keys.ravel()[order]
    result = np.empty(found.shape, np.intp)
    for number in np.unique(found).tolist():
        start, stop = np.searchsorted(ordered, [number * width, (number + 1) * width]).tolist()
        y, x = np.divmod(order[start:stop], keys.shape[1])
        rows, columns = np.nonzero(found == number)
        step = max(1, COMPARED // (stop - start))
        for at in range(0, len(rows), step):
            row, column = rows[at : at + step], columns[at : at + step]
            # Offsets before the window are negative, and large as unsigned numbers.
            down = (y - row[:, None] * region.rows.stride).view(np.uintp)
            across = (x - column[:, None] * region.columns.stride).view(np.uintp)
            inside = (down < region.rows.span) & (across < region.columns.span)
            for offset, axis in ((down, region.rows), (across, region.columns)):
                if axis.dilation > 1:
                    inside &= offset % axis.dilation == 0
            counts = np.cumsum(inside, axis=1, dtype=np.int32)
            places = (counts <= index[row, column][:, None]).sum(axis=1)
            result[row, column] = ordered[start + places]
    return result
