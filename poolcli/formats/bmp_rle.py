"""Decode the run-length encoding of BMP (BI_RLE8 and BI_RLE4 of the Windows API)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from poolcli.picture import Pair

END_OF_ROW, END_OF_BITMAP, DELTA = 0, 1, 2
LOW: Final = 0x0F


def unpacked(octets: bytes, size: Pair, bits: int) -> tuple[NDArray[np.uint8], bool]:
    """Return the palette index of each pixel, from the first row of the file on.

    Pixels that are skipped, or that the file doesn't reach, have the index 0. What goes beyond a
    row or the picture is left out, as all decoders do.

    Args:
        octets: the compressed pixels.
        size: (H, W).
        bits: 8 or 4 bits of an index.

    Returns:
        The indices, (H, W), and whether the file reaches the last pixel and its own end.
    """
    height, width = size
    indices = np.zeros(size, np.uint8)
    at, row, column = 0, 0, 0
    while at + 2 <= len(octets) and row < height:
        count, value = octets[at], octets[at + 1]
        at += 2
        if count:
            stop = min(column + count, width)
            indices[row, column:stop] = _run(value, stop - column, bits)
            column = stop
        elif value == END_OF_ROW:
            row, column = row + 1, 0
        elif value == END_OF_BITMAP:
            return indices, row == height - 1 and column == width
        elif value == DELTA:
            across, up = octets[at : at + 2].ljust(2, b"\0")
            at, row, column = at + 2, row + up, min(column + across, width)
        else:
            length = value * bits // 8 + value * bits % 8 // 4
            found = _literal(octets[at : at + length], bits)[: min(value, width - column)]
            indices[row, column : column + len(found)] = found
            column += len(found)
            at += length + length % 2
    return indices, row >= height


def _run(value: int, count: int, bits: int) -> NDArray[np.uint8] | int:
    """Return the indices of a run, in which two of 4 bits alternate."""
    if bits == 8:
        return value
    pair = np.array([value >> 4, value & LOW], np.uint8)
    return np.resize(pair, count) if count else pair[:0]


def _literal(octets: bytes, bits: int) -> NDArray[np.uint8]:
    """Return indices that are stored one by one."""
    found = np.frombuffer(octets, np.uint8)
    return found if bits == 8 else np.stack((found >> 4, found & LOW), axis=-1).ravel()
