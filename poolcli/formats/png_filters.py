"""Filter the rows of a PNG (PNG, Third Edition, section 9)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE, SUB, UP, AVERAGE, PAETH = range(5)
"""The numbers of the filters."""

WITHOUT: Final = (NONE,)
VERTICAL: Final = (UP,)
SIMPLE: Final = (NONE, SUB, UP, AVERAGE)
EVERY: Final = (*SIMPLE, PAETH)
"""Filters among which the one of each row is chosen. Paeth takes six times as long as the others
together, and only smooth pictures become smaller by it."""

BAND_BYTES: Final = 1 << 17
"""Bytes of the rows that are filtered at once, while they are in the cache."""


def filtered(
    piece: NDArray[np.uint8],
    above: NDArray[np.uint8],
    pixel_bytes: int,
    filters: tuple[int, ...],
) -> NDArray[np.uint8]:
    """Filter rows, each by the filter with the least sum of absolute differences.

    Args:
        piece: the rows, (rows, bytes of a row).
        above: the row above them.
        pixel_bytes: bytes of a pixel.
        filters: the filters to choose from.

    Returns:
        the rows, each after the number of its filter: (rows, 1 + bytes of a row).
    """
    row_bytes = piece.shape[1]
    result = np.empty((len(piece), 1 + row_bytes), np.uint8)
    step = max(1, BAND_BYTES // row_bytes)
    for top in range(0, len(piece), step):
        rows, out = piece[top : top + step], result[top : top + step]
        over = np.vstack((above, rows[:-1]))
        above = rows[-1]
        if len(filters) == 1:
            out[:, 0], out[:, 1:] = filters[0], _differences(rows, over, pixel_bytes, filters[0])
            continue
        found = np.empty((len(filters), *rows.shape), np.uint8)
        for number, differences in zip(filters, found, strict=True):
            differences[...] = _differences(rows, over, pixel_bytes, number)
        best = _sums(found).argmin(axis=0)
        out[:, 0] = np.array(filters)[best]
        out[:, 1:] = found[best, np.arange(len(rows))]
    return result


def _differences(
    rows: NDArray[np.uint8], over: NDArray[np.uint8], pixel_bytes: int, number: int
) -> NDArray[np.uint8]:
    """Return the differences between rows and their prediction by a filter (PNG, 9.2).

    Args:
        rows: some rows.
        over: the row above each of them.
        pixel_bytes: bytes of a pixel.
        number: the filter.
    """
    if number == NONE:
        return rows
    if number == UP:
        return rows - over
    left, upper_left = rows[:, :-pixel_bytes], over[:, :-pixel_bytes]
    predicted: NDArray[np.uint8] = over.copy() if number != AVERAGE else over >> np.uint8(1)
    inner = predicted[:, pixel_bytes:]  # the first pixel has no left neighbour
    if number == SUB:
        predicted[:, :pixel_bytes] = 0
        inner[...] = left
    elif number == AVERAGE:
        inner += (left >> np.uint8(1)) + (left & over[:, pixel_bytes:] & np.uint8(1))
    else:
        _predict_paeth(left, over[:, pixel_bytes:], upper_left, inner)
    return rows - predicted


def _predict_paeth(
    left: NDArray[np.uint8],
    over: NDArray[np.uint8],
    upper_left: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Predict each byte by the neighbour that is nearest to left + over - upper left."""
    a, b, c = (one.astype(np.int16) for one in (left, over, upper_left))
    to_a, to_b = b - c, a - c
    to_c = np.abs(to_a + to_b)
    to_a, to_b = np.abs(to_a), np.abs(to_b)
    np.copyto(out, upper_left, where=to_c < to_b)
    np.copyto(out, left, where=(to_a <= to_b) & (to_a <= to_c))


def _sums(differences: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the sums of the absolute values along the last axis; these are signed bytes."""
    absolute = np.abs(differences.view(np.int8)).view(np.uint8)
    sums: NDArray[np.uint64] = np.add.reduce(absolute, axis=-1, dtype=np.uint64)
    return sums
