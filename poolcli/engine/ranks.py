"""Compute a quantile of windows: the value at a position of the sorted values.

Each of three kernels is the fastest for some windows: a network of comparisons for small ones,
`np.partition` for large ones, and counting for large ones that overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.counting import by_counting
from poolcli.engine.gather import Mask, Region, chosen, read_regions
from poolcli.engine.kernels import NanPolicy, Scratch
from poolcli.engine.networks import run, selection
from poolcli.engine.tiles import restored, with_channels
from poolcli.engine.window import Axes, Axis

Kernel: TypeAlias = Callable[[Region, NDArray[Any], NDArray[Any], Scratch], NDArray[Any]]
"""A function (region, pixels, index, scratch memory) → the sorted value of each window at an index.

Pixels (h, w, C) are filled with the largest value where nothing takes part. The index is (1, 1, 1)
if it is the same for all windows, else (rows, columns, C) or (rows, columns, 1).
"""


class RankTuning(NamedTuple):
    """Sizes that change the speed of `rank`, but never its results.

    Attributes:
        tap_bytes: the size of the taps of a region, all of which are in memory at a time.
        network_taps: the most taps of a window that a network sorts.
        overlap: larger windows are counted if a pixel belongs to more of them than this.
        byte_overlap: the same for 8-bit samples, which are counted faster.
        few: the most different values of a region among which results are found by counts alone.
        counted: the least (height, width) in pixels of regions for which windows are counted.
        narrowest: the least width of other regions, in windows, so that rows do not get too short.
    """

    tap_bytes: int = 1 << 21
    network_taps: int = 64
    overlap: int = 150
    byte_overlap: int = 48
    few: int = 256
    counted: tuple[int, int] = (128, 256)
    narrowest: int = 16

    def kernel(
        self, rows: Axis | Spans, columns: Axis | Spans, itemsize: int, channels: int
    ) -> tuple[Kernel, int, int]:
        """Return the kernel for windows, the most windows of a region and of its rows.

        Args:
            rows: the windows along the height.
            columns: the windows along the width.
            itemsize: the size of a sample in bytes.
            channels: the samples of a pixel.
        """
        taps = rows.size * columns.size
        windows = max(1, self.tap_bytes // (taps * itemsize * max(1, channels)))
        width = max(windows, self.narrowest)
        if taps <= self.network_taps:
            return by_network, windows, width
        shared = taps // (rows.stride * columns.stride)
        if shared <= (self.byte_overlap if itemsize == 1 else self.overlap):
            return by_partition, windows, width
        # The pixels around the windows of a region are counted too; they should not be the most.
        height = max(1, max(self.counted[0], rows.span // 2) // rows.stride)
        width = max(1, max(self.counted[1], columns.span) // columns.stride)
        return partial(by_counting, few=self.few), height * width, width


TUNED: Final = RankTuning()

MOST_PARTITIONS: Final = 4
"""The most positions for which `np.partition` is faster than sorting."""


def rank(
    array: NDArray[Any],
    axes: Axes,
    quantile: Fraction,
    *,
    nan: NanPolicy = "omit",
    where: Mask | None = None,
    nodata: float | None = None,
    tuning: RankTuning = TUNED,
) -> NDArray[Any]:
    """Pool an array like `median_pool`, over windows that are computed already.

    Args:
        array: as in `median_pool`, and so are ``nan``, ``where`` and ``nodata``.
        axes: the windows.
        quantile: 0 to 1; of n sorted values the one at index max(0, ⌈quantile·n⌉ - 1) is taken.
        nan: as in `median_pool`.
        where: as in `median_pool`.
        nodata: as in `median_pool`, a value of the array's type.
        tuning: sizes of the working set.
    """
    picture = with_channels(array)
    rows, columns = (axis.trimmed() for axis in axes)
    dtype = picture.dtype.newbyteorder("=")
    out = np.empty((rows.out, columns.out, picture.shape[2]), dtype)
    kernel, *sizes = tuning.kernel(rows, columns, dtype.itemsize, picture.shape[2])
    ranks = Ranks(quantile, nan == "omit", nodata, kernel, Scratch())
    for region, pixels, marked in read_regions(picture, where, (rows, columns), *sizes):
        out[region.tile] = ranks.pooled(region, pixels, marked)
    return restored(out, array, array.dtype)


class Ranks(NamedTuple):
    """The computation of one quantile.

    Attributes:
        quantile: 0 to 1.
        omits_nan: whether NaN takes no part; otherwise a window with NaN becomes NaN.
        nodata: the value of samples that take no part, or None.
        kernel: how sorted values are found.
        scratch: memory for intermediate results.
    """

    quantile: Fraction
    omits_nan: bool
    nodata: float | None
    kernel: Kernel
    scratch: Scratch

    def pooled(self, region: Region, pixels: NDArray[Any], where: Mask | None) -> NDArray[Any]:
        """Return the result of a region, (rows, columns, C).

        Args:
            region: the windows.
            pixels: the pixels of the region, (h, w, C).
            where: the pixels that take part, (h, w, 1), or None for all.
        """
        is_nodata = None if self.nodata is None else pixels == self.nodata
        absent = np.isnan(pixels) if pixels.dtype.kind == "f" else None
        if absent is None or not absent.any():
            return self._among(region, pixels, chosen(where, None, is_nodata))
        numbers = np.where(absent, np.inf, pixels).astype(pixels.dtype, copy=False)
        if self.omits_nan:
            return self._among(region, numbers, chosen(where, ~absent, is_nodata))
        result = self._among(region, numbers, chosen(where, None, is_nodata))
        result[region.holds(absent, where, self.scratch)] = np.nan
        return result

    def _among(
        self, region: Region, pixels: NDArray[Any], masks: Iterator[Mask | None]
    ) -> NDArray[Any]:
        """Pool the samples of the first mask that marks any in a window; else return NaN."""
        mask = next(masks)
        counts = region.counts(mask, self.scratch)
        result = self._select(region, pixels, mask, counts)
        missing = np.broadcast_to(counts == 0, result.shape)
        for mask in masks:
            if not missing.any():
                break
            # The kernel may return scratch memory, which the next call overwrites.
            result = result.copy()
            counts = region.counts(mask, self.scratch)
            np.copyto(result, self._select(region, pixels, mask, counts), where=missing)
            missing = missing & (counts == 0)
        if missing.any():
            result[missing] = np.nan
        return result

    def _select(
        self, region: Region, pixels: NDArray[Any], mask: Mask | None, counts: NDArray[Any]
    ) -> NDArray[Any]:
        """Return the value of the quantile among the pixels of a mask; windows hold ``counts``."""
        largest = np.inf if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
        if mask is not None:
            pixels = np.where(mask, pixels, pixels.dtype.type(largest))
        found, which = np.unique(counts, return_inverse=True)
        # Python's integers are exact for any quantile, which may have any number of digits.
        index = np.array([index_of(self.quantile, count) for count in found.tolist()])
        indices = index[which].reshape(counts.shape) if len(index) > 1 else index.reshape(1, 1, 1)
        return self.kernel(region, region.filled(pixels, largest), indices, self.scratch)


def index_of(quantile: Fraction, count: int) -> int:
    """Return the index of a quantile in ``count`` sorted values: max(0, ⌈quantile·count⌉ - 1)."""
    return max(0, -(-quantile.numerator * count // quantile.denominator) - 1)


def by_network(
    region: Region, pixels: NDArray[Any], index: NDArray[Any], scratch: Scratch
) -> NDArray[Any]:
    """Sort the taps of all windows by a network of comparisons.

    Columns of a window are sorted first: whole rows are contiguous, and windows side by side share
    columns. Then the sorted columns are merged, only as far as the result needs it.
    """
    rows, columns = region.rows, region.columns
    wanted = tuple(np.unique(index).tolist())
    merging = selection((rows.size,) * columns.size, wanted, overwrite=True)
    needed = tuple(sorted({number % rows.size for number in merging.inputs}))
    sorting = selection((1,) * rows.size, needed, overwrite=False)
    by_row = dict(zip(needed, run(sorting, region.row_taps(pixels), scratch, "row"), strict=True))
    shape = (rows.out, columns.out, pixels.shape[2])
    taps = [scratch.take("unused", (0,), pixels.dtype)] * (rows.size * columns.size)
    for number in merging.inputs:
        tap, row = divmod(number, rows.size)
        taps[number] = scratch.take(f"tap {number}", shape, pixels.dtype)
        region.column_tap(by_row[row], tap, taps[number])
    first, *others = run(merging, taps, scratch, "merged")
    for place, result in zip(wanted[1:], others, strict=True):
        np.copyto(first, result, where=index == place)
    return first


def by_partition(
    region: Region, pixels: NDArray[Any], index: NDArray[Any], _: Scratch
) -> NDArray[Any]:
    """Copy the taps of every window side by side, and partition or sort them."""
    windows = region.windows(pixels)
    # NumPy partitions 8-bit integers ten times as slowly as 32-bit ones, for which it uses SIMD.
    dtype = np.dtype(np.int32) if pixels.itemsize == 1 else pixels.dtype
    taps = np.array(windows, dtype, order="C").reshape(*windows.shape[:3], -1)
    places = np.unique(index)
    if len(places) <= MOST_PARTITIONS:
        taps.partition(places.tolist(), axis=-1)
    else:
        taps.sort(axis=-1)
    where = np.broadcast_to(index, windows.shape[:3])[..., None]
    return np.take_along_axis(taps, where, axis=-1)[..., 0]
