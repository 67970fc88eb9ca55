"""Find a rank of large windows that overlap, by counts of pixels.

The pixels of a window that are not larger than some value are counted by sums of a mask, whose
cost hardly depends on the size of the window. As many values are counted together as fit the
cache, since calls of NumPy for one value would take longer than the sums.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.gather import Region
from poolcli.engine.kernels import COUNT, Block, Scratch, ascending, slide, van_herk
from poolcli.engine.window import Axis, ceil_div

RADIX: Final = 8
"""The number of parts into which values are divided at a time."""

PARTS: Final = 64
"""Of many values, counting finds one of so many parts, and bits mark its pixels in a window."""

WORD: Final = 64
"""The number of bits of a word."""

MASK_BYTES: Final = 1 << 21
"""The size of the masks that are summed together along the height."""

BAND_BYTES: Final = 1 << 18
"""The size of a band of their sums, which are summed along the width."""


def by_counting(
    region: Region, pixels: NDArray[Any], index: NDArray[Any], scratch: Scratch, *, few: int
) -> NDArray[Any]:
    """Return the value at an index of the sorted pixels of each window; see `ranks.Kernel`.

    The other argument is `ranks.RankTuning.few`.
    """
    out = np.empty((region.rows.out, region.columns.out, pixels.shape[2]), pixels.dtype)
    for channel in range(out.shape[2]):
        plane = np.ascontiguousarray(pixels[..., channel])
        wanted = index[..., min(channel, index.shape[2] - 1)]
        windows = Channel(plane, region.rows, region.columns, wanted, scratch)
        out[..., channel] = windows.ranked(few)
    return out


class Parts(NamedTuple):
    """Parts of sorted values, one of which holds the result of each window.

    Attributes:
        starts: the position of the first value of each part.
        found: the number of the part of each window, (rows, columns).
        below: the number of pixels of each window with values before this part, or None.
    """

    starts: NDArray[np.intp]
    found: NDArray[Any]
    below: NDArray[Any] | None = None

    @property
    def used(self) -> NDArray[np.intp]:
        """The numbers of the parts that hold a result."""
        return np.flatnonzero(np.bincount(self.found.ravel(), minlength=len(self.starts)))


class Channel(NamedTuple):
    """One channel of a region.

    Attributes:
        pixels: (h, w), filled where a tap is on no pixel.
        rows: the windows along the height, none of them in padding.
        columns: the windows along the width, likewise.
        wanted: the index of the result among the sorted pixels of each window, (rows, columns), or
            (1, 1) for all windows.
        scratch: memory for intermediate results.
    """

    pixels: Block
    rows: Axis
    columns: Axis
    wanted: NDArray[Any]
    scratch: Scratch

    def ranked(self, few: int) -> NDArray[Any]:
        """Return the result of each window, (rows, columns).

        Args:
            few: the most different values that are told apart by counts alone.
        """
        ordered, is_last = ascending(self.pixels)
        if np.count_nonzero(is_last) <= few:
            values = ordered[is_last]
            parts = self.narrowed(values, 1)
            result: NDArray[Any] = values[parts.starts][parts.found]
            return result
        size = ceil_div(len(ordered), PARTS * WORD) * WORD
        kind: Any = "stable" if self.pixels.itemsize < 3 else None  # as `ascending` does
        order = np.argsort(self.pixels, axis=None, kind=kind)
        return Choice.of(self, order, ordered, self.narrowed(ordered, size), size).results()

    def narrowed(self, values: NDArray[Any], size: int) -> Parts:
        """Return parts of a size of some values in ascending order.

        A value may occur several times. The result of a window is greater than all values before
        its part, and not greater than the last value of the part.
        """
        shape = self.rows.out, self.columns.out
        none = np.zeros(shape, np.uint8)
        parts = Parts(np.zeros(1, np.intp), none, none)
        steps = [size]
        while steps[-1] < len(values):
            steps.append(steps[-1] * RADIX)
        for step in reversed(steps[:-1]):
            starts = (parts.starts[parts.used][:, None] + step * np.arange(RADIX)).ravel()
            starts = starts[(starts > 0) & (starts < len(values))]
            found = np.zeros(shape, np.min_scalar_type(len(starts)))
            below = np.zeros(shape, self.count_type) if step == size > 1 else None
            parts = Parts(np.append(0, starts), found, below)
            together = max(1, MASK_BYTES // self.pixels.size)
            for first in range(0, len(starts), together):
                self.compare(values[starts[first : first + together] - 1], parts)
        return parts

    @property
    def count_type(self) -> np.dtype[Any]:
        """The type of counts of a window's pixels."""
        return COUNT.dtype(self.rows.size * self.columns.size)

    def compare(self, values: NDArray[Any], parts: Parts) -> None:
        """Add the number of values that are less than the result of each window to its part."""
        width, columns = self.pixels.shape[1], self.columns
        index = self.wanted.astype(self.count_type)[:, None]
        sums = self.column_sums(values)
        band = max(1, BAND_BYTES // (sums.shape[1] * self.count_type.itemsize))
        taken = slice(0, (columns.out - 1) * columns.stride + 1, columns.stride)
        for top in range(0, len(sums), band):
            rows = slice(top, min(top + band, len(sums)))
            slid = slide(
                sums[rows], COUNT, columns.size, columns.dilation, self.scratch, self.rows.size
            )
            counts = slid.reshape(-1, len(values), width)[..., taken]
            is_less = self.scratch.take("is less", counts.shape, np.dtype(np.bool_))
            np.less_equal(counts, index if len(index) == 1 else index[rows], out=is_less)
            parts.found[rows] += np.add.reduce(is_less, axis=1, dtype=parts.found.dtype)
            if parts.below is not None:
                below = self.scratch.take("below", counts.shape, counts.dtype)
                np.multiply(counts, is_less, out=below)
                np.maximum(parts.below[rows], below.max(axis=1), out=parts.below[rows])

    def column_sums(self, values: NDArray[Any]) -> Block:
        """Return the number of pixels that are not larger, for each column of a window.

        Returns:
            (rows, values · w): a row of the pixels' width for each value.
        """
        (height, width), rows = self.pixels.shape, self.rows
        masks = self.scratch.take("masks", (height, len(values), width), np.dtype(np.bool_))
        np.less_equal(self.pixels[:, None], values[:, None], out=masks)
        dtype = COUNT.dtype(rows.size)
        block = masks.view(np.uint8).astype(dtype, copy=False).reshape(height, -1)
        sums = self.scratch.take("sums", (height - rows.span + 1, block.shape[1]), dtype)
        for phase in range(min(rows.dilation, len(sums))):
            apart = slice(phase, None, rows.dilation)
            van_herk(block[apart], np.add, rows.size, sums[apart], self.scratch)
        return sums[:: rows.stride]


class Choice(NamedTuple):
    """The candidates for the results: pixels in parts of the sorted pixels.

    Attributes:
        values: the candidates of each part that holds a result, in ascending order.
        last: the largest value of each part, which is the result if no candidate is. It is no
            candidate, nor are pixels of equal value, or with values before the part.
        down: bits (rows, parts, words) that mark candidates in the rows of a window.
        across: bits (columns, parts, words) that mark pixels in the columns of a window.
        part: the number of the part that holds the result of each window, (rows, columns).
        wanted: the index of the result among the candidates of its window, likewise.
    """

    values: NDArray[Any]
    last: NDArray[Any]
    down: NDArray[np.uint64]
    across: NDArray[np.uint64]
    part: NDArray[np.intp]
    wanted: NDArray[Any]

    @classmethod
    def of(
        cls,
        channel: Channel,
        order: NDArray[np.intp],
        ordered: NDArray[Any],
        parts: Parts,
        size: int,
    ) -> Choice:
        """Return the candidates of a channel.

        Args:
            channel: the pixels and windows.
            order: the places of the pixels in ascending order of their values.
            ordered: their values in this order.
            parts: the part that holds the result of each window.
            size: the pixels of a part.
        """
        used = parts.used
        starts = parts.starts[used]
        places = np.minimum(starts[:, None] + np.arange(size), len(ordered) - 1)
        values, last = ordered[places], ordered[np.minimum(starts + size, len(ordered)) - 1]
        is_candidate = values < last[:, None]
        is_candidate &= (values > ordered[starts - 1][:, None]) | (starts == 0)[:, None]
        y, x = np.divmod(order[places], channel.pixels.shape[1])
        number = np.zeros(len(parts.starts), np.intp)
        number[used] = np.arange(len(used))
        down, across = marked(y, channel.rows, is_candidate), marked(x, channel.columns)
        index = np.broadcast_to(channel.wanted, parts.found.shape) - parts.below
        return cls(
            values, last, down, across, number[parts.found], index.astype(channel.count_type)
        )

    def results(self) -> NDArray[Any]:
        """Return the result of each window, (rows, columns)."""
        shape = rows, columns = self.part.shape
        number = np.zeros(shape, np.intp)
        words, before = np.empty(shape, np.uint64), np.zeros(shape, self.wanted.dtype)
        down, across = (bits.reshape(-1, bits.shape[2]) for bits in (self.down, self.across))
        parts, length = self.values.shape[0], down.shape[1]
        band = max(1, BAND_BYTES // (columns * length * down.itemsize))
        for top in range(0, rows, band):
            at = slice(top, min(top + band, rows))
            first = np.arange(at.start, at.stop)[:, None] * parts
            marks = np.take(down, self.part[at] + first, axis=0)
            marks &= np.take(across, self.part[at] + np.arange(columns) * parts, axis=0)
            total = np.zeros(marks.shape[:2], self.wanted.dtype)
            for counts in np.ascontiguousarray(np.bitwise_count(marks).transpose(2, 0, 1)):
                total += counts
                is_less = total <= self.wanted[at]
                number[at] += is_less
                np.maximum(before[at], total * is_less, out=before[at])
            places = np.minimum(number[at], length - 1)
            words[at] = np.take_along_axis(marks, places[..., None], axis=2)[..., 0]
        is_last = number == length
        number[is_last] = 0
        places = number * WORD + nth_bit(words, self.wanted - before)
        result: NDArray[Any] = self.values[self.part, np.minimum(places, length * WORD - 1)]
        np.copyto(result, self.last[self.part], where=is_last)
        return result


def marked(
    places: NDArray[np.intp], axis: Axis, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint64]:
    """Return bits (windows, parts, words) that mark the places that a window has a tap on.

    Args:
        places: positions along an axis, (parts, places), a multiple of `WORD` of them.
        axis: the windows.
        valid: which places to mark; None for all.
    """
    bits = np.empty((axis.out, len(places), places.shape[1] // WORD), np.uint64)
    word = np.dtype(np.uint16 if axis.extent <= 1 << 15 else np.uint32)
    places = places.astype(word)
    starts = (np.arange(axis.out) * axis.stride).astype(word)[:, None, None]
    step = max(1, BAND_BYTES // places.nbytes)
    for first in range(0, axis.out, step):
        # Offsets before the window are large, because unsigned numbers wrap around.
        offsets = places - starts[first : first + step]
        is_inside = offsets < axis.span
        if axis.dilation > 1:
            is_inside &= offsets % axis.dilation == 0
        if valid is not None:
            is_inside &= valid
        packed = np.packbits(is_inside, axis=2, bitorder="little")
        bits[first : first + step] = packed.view("<u8")
    return bits


def nth_bit(words: NDArray[np.uint64], number: NDArray[Any]) -> NDArray[np.intp]:
    """Return the place of the bit of a number among the bits that are set, from the lowest on.

    >>> nth_bit(np.array([0b10110], np.uint64), np.array([2]))
    array([4])
    """
    words, place = words.copy(), np.zeros(words.shape, np.intp)
    for width in (32, 16, 8, 4, 2, 1):
        counts = np.bitwise_count(words & np.uint64((1 << width) - 1))
        is_above = counts <= number
        number = number - counts * is_above
        shift = is_above * np.uint64(width)
        words >>= shift
        place += shift.astype(np.intp)
    return place
