"""Compute the most frequent pixel of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.extremes import extreme
from poolcli.engine.gather import Mask, Region, chosen, read_regions
from poolcli.engine.kernels import COUNT, NanPolicy, Scratch, ascending
from poolcli.engine.networks import run, selection
from poolcli.engine.tiles import TUNED as TILES
from poolcli.engine.tiles import Grid, Tile, restored, with_channels
from poolcli.engine.window import Axes

Decode: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


class VoteTuning(NamedTuple):
    """Sizes that change the speed of `vote`, but never its results.

    Attributes:
        tap_bytes: the size of the taps of a region, all of which are in memory at a time.
        network_taps: the most taps of a window that a network sorts.
        labels: in larger windows, the pixels of each label are counted if there are at most so
            many labels for each window that a pixel belongs to; otherwise the taps are sorted.
        narrowest: the least width of a region, in windows.
    """

    tap_bytes: int = 1 << 21
    network_taps: int = 36
    labels: int = 32
    narrowest: int = 16


TUNED: Final = VoteTuning()


class Winners(NamedTuple):
    """The most frequent key of every window.

    Attributes:
        keys: (rows, columns); the smallest of several equally frequent ones.
        counts: how often they occur; 0 in windows in which no pixel takes part.
    """

    keys: NDArray[Any]
    counts: NDArray[Any]

    def but(self, others: Winners, where: Mask) -> Winners:
        """Return these winners, and others in some windows."""
        keys = np.where(where, others.keys, self.keys)
        return Winners(keys, np.where(where, others.counts, self.counts))


def vote(
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: Mask | None = None,
    nodata: float | None = None,
    has_alpha: bool = False,
    merges_clear: bool = False,
    tuning: VoteTuning = TUNED,
) -> NDArray[Any]:
    """Pool an array like `mode_pool`, over windows that are computed already.

    Args:
        array: as in `mode_pool`, and so are ``nan``, ``where`` and ``nodata``.
        axes: the windows.
        nan: as in `mode_pool`.
        where: as in `mode_pool`.
        nodata: as in `mode_pool`, a value of the array's type.
        has_alpha: whether the last channel is alpha, which is not compared with ``nodata``.
        merges_clear: whether all pixels with alpha 0 are one candidate, whose value is the
            smallest of them in a window.
        tuning: sizes of the working set.
    """
    picture = with_channels(array)
    rows, columns = (axis.trimmed() for axis in axes)
    dtype = picture.dtype.newbyteorder("=")
    out = np.empty((rows.out, columns.out, picture.shape[2]), dtype)
    pixel = dtype.itemsize * picture.shape[2]
    windows = max(1, tuning.tap_bytes // (rows.size * columns.size * max(1, pixel)))
    widest = max(windows, tuning.narrowest)
    votes = Votes(nan == "omit", nodata, has_alpha, merges_clear, tuning, Scratch())
    for region, pixels, marked in read_regions(picture, where, (rows, columns), windows, widest):
        out[region.tile] = votes.pooled(region, pixels, marked)
    return restored(out, array, array.dtype)


class Votes(NamedTuple):
    """The computation of one kind of vote.

    Attributes:
        omits_nan: whether pixels with NaN take no part; otherwise a window with one becomes NaN.
        nodata: the value of all channels of pixels that take no part, or None.
        has_alpha: whether the last channel is alpha.
        merges_clear: whether pixels whose last channel is 0 are one candidate.
        tuning: sizes of the working set.
        scratch: memory for intermediate results.
    """

    omits_nan: bool
    nodata: float | None
    has_alpha: bool
    merges_clear: bool
    tuning: VoteTuning
    scratch: Scratch

    def pooled(self, region: Region, pixels: NDArray[Any], where: Mask | None) -> NDArray[Any]:
        """Return the result of a region, (rows, columns, C).

        Args:
            region: the windows.
            pixels: the pixels of the region, (h, w, C).
            where: the pixels that take part, (h, w, 1), or None for all.
        """
        keys, decode = encoded(pixels)
        clear = pixels[..., -1] == 0 if self.merges_clear else None
        is_nodata = None
        if self.nodata is not None:
            colours = pixels[..., :-1] if self.has_alpha else pixels
            is_nodata = (colours == self.nodata).all(axis=2, keepdims=True)
        absent = None
        if pixels.dtype.kind == "f":
            absent = np.isnan(pixels).any(axis=2, keepdims=True)
        if absent is None or not absent.any():
            masks = chosen(where, None, is_nodata)
            return decode(self._among(region, keys, masks, clear).keys)
        masks = chosen(where, ~absent if self.omits_nan else None, is_nodata)
        winners = self._among(region, keys, masks, clear)
        result = decode(winners.keys)
        if self.omits_nan:
            result[winners.counts == 0] = np.nan
        else:
            result[region.holds(absent, where, self.scratch)[..., 0]] = np.nan
        return result

    def _among(
        self,
        region: Region,
        keys: NDArray[Any],
        masks: Iterator[Mask | None],
        clear: Mask | None,
    ) -> Winners:
        """Return the winners among the pixels of the first mask that marks any in a window."""
        planes = (None if mask is None else mask[..., 0] for mask in masks)
        winners = self._with_clear(region, keys, next(planes), clear)
        for plane in planes:
            if winners.counts.all():
                break
            others = self._with_clear(region, keys, plane, clear)
            winners = winners.but(others, winners.counts == 0)
        return winners

    def _with_clear(
        self, region: Region, keys: NDArray[Any], mask: Mask | None, clear: Mask | None
    ) -> Winners:
        """Return the winners among the pixels of a mask, where clear pixels are one candidate."""
        if clear is None or not clear.any():
            return self._winners(region, keys, mask)
        opaque, none = ~clear, clear
        if mask is not None:
            opaque, none = opaque & mask, clear & mask
        winners = self._winners(region, keys, opaque)
        largest = np.iinfo(keys.dtype).max
        filled = region.filled(np.where(none, keys, largest)[..., None], largest)[..., 0]
        smallest = extreme("min", filled, region.filled_axes(filled.shape))
        counts = region.counts(none[..., None], self.scratch)[..., 0]
        is_tie = (counts == winners.counts) & (smallest < winners.keys)
        wins = (counts > 0) & ((counts > winners.counts) | is_tie)
        return winners.but(Winners(smallest, counts), wins)

    def _winners(self, region: Region, keys: NDArray[Any], mask: Mask | None) -> Winners:
        """Return the winners among the pixels of a mask, or of all pixels."""
        taps = region.taps
        if taps > self.tuning.network_taps:
            ordered, is_last = ascending(keys if mask is None else keys[mask])
            labels = ordered[is_last]
            steps = region.rows.stride * region.columns.stride
            if len(labels) * steps <= self.tuning.labels * max(taps, steps):
                return by_label(region, keys, mask, labels)
        largest = np.iinfo(keys.dtype).max
        marked = None if mask is None else mask[..., None]
        counts = None
        if mask is not None or not region.is_full:
            keys = keys if mask is None else np.where(mask, keys, keys.dtype.type(largest))
            counts = np.broadcast_to(
                region.counts(marked, self.scratch)[..., 0], (region.rows.out, region.columns.out)
            )
        filled = region.filled(keys[..., None], largest)
        if taps <= self.tuning.network_taps:
            return longest_run(sorted_by_network(region, filled, self.scratch), counts)
        return longest_run(sorted_taps(region, filled), counts)


def by_label(
    region: Region, keys: NDArray[Any], mask: Mask | None, labels: NDArray[Any]
) -> Winners:
    """Count the pixels of one label after the other in every window."""
    filled = region.filled(keys[..., None], keys.dtype.type(0))
    valid = None
    if mask is not None or not region.is_full:
        inside = mask if mask is not None else np.ones(keys.shape, np.bool_)
        valid = region.filled(inside[..., None], fill=False)
    rows, columns = region.filled_axes(filled.shape)
    grid = Grid(filled, (rows, columns), TILES)
    tile = Tile(slice(0, rows.out), slice(0, columns.out))
    shape = (rows.out, columns.out, 1)
    best = Winners(
        np.zeros(shape, keys.dtype), np.zeros(shape, COUNT.dtype(rows.size * columns.size))
    )
    counts = np.empty_like(best.counts)
    for label in labels:
        is_label = filled == label
        if valid is not None:
            is_label &= valid
        ones = is_label.view(np.uint8)[..., 0]
        grid.reading(partial(_part, ones), 1).reduce(tile, COUNT, counts)
        is_better = counts > best.counts
        np.copyto(best.keys, label, where=is_better)
        np.copyto(best.counts, counts, where=is_better)
    return Winners(best.keys[..., 0], best.counts[..., 0])


def _part(pixels: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    """Return some rows and columns of pixels (h, w)."""
    return pixels[rows, columns]


def sorted_by_network(
    region: Region, keys: NDArray[Any], scratch: Scratch
) -> Sequence[NDArray[Any]]:
    """Return the sorted taps of all windows, an array (rows, columns) for each position."""
    rows, columns = region.rows, region.columns
    sorting = selection((1,) * rows.size, tuple(range(rows.size)), overwrite=False)
    by_row = run(sorting, region.row_taps(keys), scratch, "row")
    taps = []
    for number in range(columns.size):
        for place, row in enumerate(by_row):
            tap = scratch.take(f"tap {number} {place}", (rows.out, columns.out, 1), keys.dtype)
            region.column_tap(row, number, tap)
            taps.append(tap)
    merging = selection((rows.size,) * columns.size, tuple(range(region.taps)), overwrite=True)
    return [tap[..., 0] for tap in run(merging, taps, scratch, "merged")]


def sorted_taps(region: Region, keys: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """Return what `sorted_by_network` does; the taps of every window are copied side by side."""
    windows = region.windows(keys)
    # NumPy sorts 8-bit integers ten times as slowly as 32-bit ones, for which it uses SIMD.
    dtype = np.dtype(np.uint32) if keys.itemsize == 1 else keys.dtype
    taps = np.array(windows, dtype, order="C").reshape(-1, region.taps)
    taps.sort(axis=1)
    shape = (region.taps, region.rows.out, region.columns.out)
    ordered: NDArray[Any] = np.ascontiguousarray(taps.T, keys.dtype).reshape(shape)
    return list(ordered)


def longest_run(taps: Sequence[NDArray[Any]], counts: NDArray[Any] | None) -> Winners:
    """Return the value that occurs most often in sorted taps; the first one of several.

    Args:
        taps: the taps in their order, an array (rows, columns) for each position.
        counts: the number of taps of each window that count, which are the first ones; None if
            all do.
    """
    first = taps[0]
    numbers = np.min_scalar_type(len(taps))
    best, run_length = first.copy(), np.ones(first.shape, numbers)
    longest = run_length.copy() if counts is None else (counts > 0).astype(numbers)
    for place, (before, tap) in enumerate(pairwise(taps), 1):
        is_same = before == tap
        run_length *= is_same
        run_length += 1
        is_longer = run_length > longest
        if counts is not None:
            is_longer &= counts > place
        np.copyto(best, tap, where=is_longer)
        np.copyto(longest, run_length, where=is_longer)
    return Winners(best, longest)


def encoded(pixels: NDArray[Any]) -> tuple[NDArray[Any], Decode]:
    """Return an unsigned number for each pixel (h, w, C), and a function that undoes it.

    The numbers are ordered as the pixels are, compared channel by channel.
    """
    channels = pixels.shape[2]
    ordered = _unsigned(pixels)
    bits = 8 * ordered.itemsize
    if channels == 1:
        return ordered[..., 0], lambda keys: _signed(keys[..., None], pixels.dtype)
    if bits * channels > 64:
        return _numbered(ordered, pixels.dtype)
    word = np.dtype(f"u{next(size for size in (2, 4, 8) if size * 8 >= bits * channels)}")
    keys = ordered[..., 0].astype(word)
    for channel in range(1, channels):
        keys <<= word.type(bits)
        keys |= ordered[..., channel]

    def decode(found: NDArray[Any]) -> NDArray[Any]:
        samples = np.empty((*found.shape, channels), ordered.dtype)
        for channel in range(channels):
            shift = word.type(bits * (channels - 1 - channel))
            samples[..., channel] = (found >> shift).astype(ordered.dtype)
        return _signed(samples, pixels.dtype)

    return keys, decode


def _numbered(ordered: NDArray[Any], dtype: np.dtype[Any]) -> tuple[NDArray[Any], Decode]:
    """Number the pixels by their rank, since all channels together exceed 64 bits."""
    flat = ordered.reshape(-1, ordered.shape[2])
    order = np.lexsort(flat.T[::-1])
    pixels = flat[order]
    is_new = np.ones(len(flat), np.bool_)
    is_new[1:] = (pixels[1:] != pixels[:-1]).any(axis=1)
    keys = np.empty(len(flat), np.uint32)
    keys[order] = np.cumsum(is_new) - 1
    table = _signed(pixels[is_new], dtype)
    # A window without pixels that take part has the largest key, which stands for no pixel.
    return keys.reshape(ordered.shape[:2]), lambda found: table[np.minimum(found, len(table) - 1)]


def _unsigned(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers in the order of the samples; -0.0 counts as 0.0."""
    word = np.dtype(f"u{pixels.itemsize}")
    if pixels.dtype.kind == "u":
        return pixels
    top = word.type(1 << (8 * pixels.itemsize - 1))
    if pixels.dtype.kind == "i":
        codes: NDArray[Any] = pixels.view(word) ^ top
        return codes
    codes = (pixels + 0).view(word)
    return np.where(codes & top, ~codes, codes | top)


def _signed(codes: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo `_unsigned`."""
    if dtype.kind == "u":
        return codes
    top = codes.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        samples: NDArray[Any] = (codes ^ top).view(dtype)
        return samples
    return np.where(codes & top, codes ^ top, ~codes).view(dtype)
