"""Compress the rows of a PNG (PNG, Third Edition, section 10).

Rows are collected to pieces, which threads compress side by side: each piece begins with the end of
the piece before as its dictionary, and ends at a byte boundary (as in pigz). Pieces depend on the
picture alone, so that the file is the same for any number of CPUs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.cpus import usable_threads
from poolcli.formats.png_filters import EVERY, SIMPLE, VERTICAL, WITHOUT, filtered
from poolcli.threads import Calls

PIECE_BYTES: Final = 1 << 21
"""The most bytes of a piece: more pieces compress worse, fewer keep fewer CPUs busy."""

MOST_THREADS: Final = 4
"""More threads would wait for the calling one, which filters the rows."""

SAMPLE_BYTES, SAMPLE_BANDS = 1 << 16, 3
"""Bytes of the rows of a piece by which its compression is chosen, and the number of bands."""

SAMPLED: Final = 12
"""The sample is at most so small a part of a piece."""

SMALL_BYTES: Final = 1 << 13
"""The size of a piece up to which only two choices are tried, on the whole: more would take longer
than they are worth, in an animation of very many small frames."""

NOISY: Final = 0.4
"""The part of their size to which rows are compressed from which on they are called noisy: there
neither Paeth nor vertical differences nor matches gain anything."""

WINDOW_BYTES: Final = 1 << 15
"""The most bytes of a dictionary (RFC 1951, 2)."""

UNIFORM: Final = 0.01
"""The part of their size to which rows are compressed below which no trial is worth its time."""

RUNS_SLACK: Final = 1.03
"""The largest result of Z_RLE, which is fast, that is taken, compared with that of `USUAL`."""

PAETH_GAIN: Final = 0.97
"""The largest result with Paeth that is taken, compared with that of the other filters."""

THOROUGH_GAIN: Final = 0.85
"""The largest result of `THOROUGH` that is taken, compared with that of `USUAL`."""

QUICK, USUAL, THOROUGH = 1, 5, 6
"""Levels of zlib. The file "benchmarks/levels.py" compares them."""

WITHOUT_MATCHES: Final = (zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY)
"""The strategies of zlib that don't use a dictionary."""

HEAD: Final = b"\x78\x5e"
"""The header of a zlib stream with a window of 32 KB."""


class Choice(NamedTuple):
    """The compression of a piece.

    Attributes:
        filters: the filters among which the one of each row is chosen.
        level: the level of zlib.
        strategy: the strategy of zlib; Z_RLE finds only runs of one byte, and is fast.
            Z_HUFFMAN_ONLY finds nothing, takes four fifths of its time, and is as good for rows
            without runs.
    """

    filters: tuple[int, ...]
    level: int
    strategy: int = zlib.Z_DEFAULT_STRATEGY


class RowEncoder:
    """Filter and compress rows, which are pushed from top to bottom, to a zlib stream."""

    def __init__(
        self,
        size: tuple[int, int],
        pixel_bytes: int,
        level: int | None,
        write: Callable[[bytes], object],
        piece_bytes: int = PIECE_BYTES,
        threads: int | None = None,
    ) -> None:
        """Keep the arguments.

        Args:
            size: the number of rows, and bytes of a row.
            pixel_bytes: bytes of a pixel; 1 if it has fewer bits.
            level: the level of zlib, or None for what suits the picture.
            write: takes the parts of the stream in order.
            piece_bytes: bytes of a piece.
            threads: how many pieces are compressed at the same time; None for one for each CPU.
        """
        self._rows_left, row_bytes = size
        self._pixel_bytes, self._level, self._write = pixel_bytes, level, write
        pieces = -(-self._rows_left // max(1, piece_bytes // row_bytes))
        height = -(-self._rows_left // pieces)  # all pieces are about equally large
        if threads is None:
            threads = usable_threads(MOST_THREADS) if pieces > 1 else 1
        self._calls = Calls[bytes](threads)
        self._piece = np.empty((height, row_bytes), np.uint8)
        self._filled = 0
        self._above = np.zeros(row_bytes, np.uint8)
        self._dictionary, self._checksum, self._head = b"", 1, HEAD

    def rows(self, band: NDArray[np.uint8]) -> None:
        """Take the next rows, (rows, bytes of a row)."""
        while len(band):
            room = len(self._piece) - self._filled
            part, band = band[:room], band[room:]
            self._piece[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            self._rows_left -= len(part)
            if self._filled == len(self._piece) or not self._rows_left:
                self._compress()

    def finish(self) -> None:
        """Write the rest of the stream; all rows must have been taken."""
        while self._calls:
            self._write(self._calls.take())

    def discard(self) -> None:
        """Wait for the threads, after a failure."""
        self._calls.close()

    def _compress(self) -> None:
        """Filter the rows of the piece, and begin to compress them."""
        piece, is_last = self._piece[: self._filled], not self._rows_left
        sample = Sample(piece, self._above, self._pixel_bytes)
        choice = chosen(sample, self._level)
        if sample.is_whole:
            (octets,) = sample.filtered(choice.filters)
        else:
            octets = filtered(piece, self._above, self._pixel_bytes, choice.filters)
        self._above, self._filled = piece[-1].copy(), 0
        self._checksum = zlib.adler32(octets.data, self._checksum)
        head, self._head = self._head, b""
        tail = struct.pack(">I", self._checksum) if is_last else b""
        if sample.is_whole and head and tail:  # the picture is its own sample
            self._write(head + sample.compressed(choice) + tail)
            return
        if is_last and not self._calls:  # nothing is left to do meanwhile
            self._write(_piece(octets, choice, self._dictionary, (head, tail)))
            return
        self._calls.start(_piece, octets, choice, self._dictionary, (head, tail))
        self._dictionary = octets.reshape(-1)[-WINDOW_BYTES:].tobytes()
        while len(self._calls) >= self._calls.threads:
            self._write(self._calls.take())


def _piece(
    octets: NDArray[np.uint8], choice: Choice, dictionary: bytes, ends: tuple[bytes, bytes]
) -> bytes:
    """Compress one piece.

    Args:
        octets: the filtered rows.
        choice: how they are compressed.
        dictionary: the bytes before them, or nothing.
        ends: what precedes and what follows in the stream; only the last piece has the latter.
    """
    head, tail = ends
    compression = _compression(choice, dictionary)
    body = compression.compress(octets.data)
    end = compression.flush(zlib.Z_FINISH if tail else zlib.Z_SYNC_FLUSH)
    return b"".join((head, body, end, tail))


class Sample:
    """Some bands of rows of a piece, on which choices are tried.

    The rows before a band serve as its dictionary, as they do where the whole piece is compressed:
    otherwise few repetitions would be found in so few rows.
    """

    def __init__(
        self, piece: NDArray[np.uint8], above: NDArray[np.uint8], pixel_bytes: int
    ) -> None:
        """Place the bands evenly.

        Args:
            piece: the rows, (rows, bytes of a row).
            above: the row above them.
            pixel_bytes: bytes of a pixel.
        """
        self.is_whole = piece.size <= SMALL_BYTES
        bands = 1 if self.is_whole else SAMPLE_BANDS
        part = piece.size if self.is_whole else min(SAMPLE_BYTES, piece.size // SAMPLED) // bands
        # Of very long rows only the middle is taken.
        left = max(0, piece.shape[1] - part) // 2 // pixel_bytes * pixel_bytes
        piece, above = piece[:, left : left + part], above[left : left + part]
        height, row_bytes = piece.shape
        high, before = max(1, part // row_bytes), -(-WINDOW_BYTES // row_bytes)
        self.size, self._pixel_bytes = 0, pixel_bytes
        self._parts: list[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]] = []
        for number in range(bands):
            top = (height - high) * (2 * number + 1) // (2 * bands)
            first = max(0, top - before)
            rows = piece[first : top + high]
            self._parts.append((top - first, piece[first - 1] if first else above, rows))
            self.size += high * row_bytes
        self._filtered: dict[tuple[int, ...], list[NDArray[np.uint8]]] = {}
        self._compressed: dict[Choice, bytes] = {}

    def compressed_size(self, choice: Choice) -> int:
        """Return the bytes to which the bands are compressed."""
        return len(self.compressed(choice))

    def compressed(self, choice: Choice) -> bytes:
        """Return the compressed bands, each for itself."""
        if choice in self._compressed:
            return self._compressed[choice]
        parts = []
        for (count, *_), rows in zip(self._parts, self.filtered(choice.filters), strict=True):
            dictionary = b"" if choice.strategy in WITHOUT_MATCHES else rows[:count].tobytes()
            compression = _compression(choice, dictionary[-WINDOW_BYTES:])
            parts += [compression.compress(rows[count:].data), compression.flush()]
        self._compressed[choice] = b"".join(parts)
        return self._compressed[choice]

    def filtered(self, filters: tuple[int, ...]) -> list[NDArray[np.uint8]]:
        """Return the bands, and the rows before each, after the best of some filters."""
        if filters not in self._filtered:
            self._filtered[filters] = [
                filtered(rows, above, self._pixel_bytes, filters) for _, above, rows in self._parts
            ]
        return self._filtered[filters]


def chosen(sample: Sample, level: int | None) -> Choice:
    """Choose filters, level and strategy by compressing a sample of the rows.

    Args:
        sample: some rows of a piece.
        level: the level of zlib, or None to choose it.
    """
    size = sample.compressed_size
    if level is not None:
        matching = [Choice(one, level) for one in (WITHOUT, VERTICAL, SIMPLE)]
        return min((*matching, Choice(EVERY, level, zlib.Z_FILTERED)), key=size)
    runs = Choice(SIMPLE, QUICK, zlib.Z_RLE)
    if sample.is_whole:
        return min((runs, Choice(WITHOUT, USUAL)), key=size)
    least = size(runs)
    if least < UNIFORM * sample.size:
        plain = runs._replace(filters=WITHOUT)
        return plain if size(plain) <= least else runs
    if least > NOISY * sample.size:
        quick = _best_filters(sample, (WITHOUT, SIMPLE), QUICK)
        if size(quick) < least:
            return quick._replace(level=USUAL)
        codes = runs._replace(strategy=zlib.Z_HUFFMAN_ONLY)
        return codes if size(codes) <= least else runs
    paeth = runs._replace(filters=EVERY)
    if size(paeth) < PAETH_GAIN * least:
        runs = paeth
    usual = _best_filters(sample, (WITHOUT, VERTICAL, SIMPLE), USUAL)
    if size(runs) <= RUNS_SLACK * size(usual):
        return runs
    thorough = usual._replace(level=THOROUGH)
    return thorough if size(thorough) < THOROUGH_GAIN * size(usual) else usual


def _best_filters(sample: Sample, candidates: tuple[tuple[int, ...], ...], level: int) -> Choice:
    """Return the choice with the best of some filters at a level."""
    return min((Choice(one, level) for one in candidates), key=sample.compressed_size)


def _compression(choice: Choice, dictionary: bytes = b"") -> Any:
    """Return a compressor of raw deflate data."""
    more = {"zdict": dictionary} if dictionary else {}
    return zlib.compressobj(
        choice.level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, choice.strategy, **more
    )
