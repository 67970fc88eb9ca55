"""Decode the pixel data of a PNG by bands of rows, and check all of it (PNG, sections 7 to 10).

Pillow's own reader stops when the rows are full, so that it reads neither the last CRC nor zlib's
checksum, and leaves missing rows black. Here the standard library, or that of the extra `fast`,
decompresses the data, and only the filters are undone by Pillow's decoder, which is fed with
uncompressed deflate blocks. That is as fast (benchmarks/README.md), and takes the memory of a band
instead of that of the picture. On several CPUs a thread decompresses ahead of the decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from importlib import import_module
from itertools import chain, islice
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import _imaging

from poolcli.cpus import usable_threads
from poolcli.errors import PoolError
from poolcli.formats.png_chunks import (
    CHANNELS,
    CUT_OFF,
    DAMAGED,
    GREY,
    PALETTE,
    Header,
)
from poolcli.picture import FrameInfo, Metadata
from poolcli.threads import ahead

BLOCK_BYTES: Final = 1 << 21
"""The most bytes that are decompressed at once."""

BLOCKS_AHEAD: Final = 4
"""The most blocks that are decompressed before they are needed."""

PIECES_JOINED: Final = 16
"""The most pieces of the file that are decompressed at once."""

BAND_BYTES: Final = 1 << 22
"""The most bytes of rows that are decoded at once, if a row isn't larger."""

ROWS_SKIPPED: Final = 64
"""The most rows that are decoded at once where no row is needed."""

BYTE_MODES: Final = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's 8-bit mode with so many bytes a pixel."""

Octets: TypeAlias = bytes | memoryview

STORED_HEAD: Final = b"\x78\x01"
STORED_BLOCK: Final = struct.Struct("<BHH")
MOST_STORED: Final = 0xFFFF
"""The most bytes of an uncompressed block of deflate (RFC 1951, 3.2.4)."""


class PixelData:
    """The pixel data of one picture, decompressed block by block."""

    def __init__(self, pieces: Iterator[bytes], size: int = 0) -> None:
        """Keep the arguments; nothing is read yet.

        Args:
            pieces: the compressed pieces.
            size: the size of all blocks, if large ones may be decompressed in a thread, else 0;
                then `close` must be called.
        """
        is_large = size > BLOCK_BYTES
        self._blocks = _decompressed(pieces, fast_zlib() if is_large else zlib)
        if is_large and usable_threads(2) > 1:
            self._blocks = ahead(self._blocks, BLOCKS_AHEAD)
        self._rest = memoryview(b"")

    def read(self, size: int) -> list[memoryview]:
        """Return the next ``size`` bytes, in parts.

        Raises:
            PoolError: the data is damaged or cut off, or there are fewer bytes.
        """
        found = []
        while size:
            part = self._rest or next(self._blocks, memoryview(b""))
            if not part:
                raise PoolError("it has fewer rows of pixels than its header states", DAMAGED)
            part, self._rest = part[:size], part[size:]
            found.append(part)
            size -= len(part)
        return found

    def finish(self, surplus: int) -> None:
        """Check the rest: zlib's checksum and the CRCs of all chunks.

        Args:
            surplus: the number of further bytes that is refused. A few bytes more than the rows
                need do no harm, and libpng ignores them too.

        Raises:
            PoolError: the data is damaged or cut off, or is so much longer.
        """
        for octets in chain((self._rest,), self._blocks):
            surplus -= len(octets)
            if surplus <= 0:
                raise PoolError("it has more rows of pixels than its header states", DAMAGED)

    def close(self) -> None:
        """End the thread, if there is one."""
        self._blocks.close()


@cache
def fast_zlib() -> Any:
    """Return the module of the extra `fast`, which takes half of the time of zlib, or else zlib."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return zlib


def _decompressed(pieces: Iterator[bytes], library: Any) -> Generator[memoryview, None, None]:
    """Yield the decompressed data in blocks; at the end, all checksums are right.

    Args:
        pieces: the compressed pieces.
        library: zlib, or a module with the same functions.

    Raises:
        PoolError: the data is damaged or cut off.
    """
    unpacking = library.decompressobj()
    while not unpacking.eof:
        # A thread that decompresses small pieces would wait for Python's lock most of the time.
        piece = unpacking.unconsumed_tail or b"".join(islice(pieces, PIECES_JOINED))
        try:
            octets = unpacking.decompress(piece, BLOCK_BYTES)
        except library.error:
            raise PoolError("its pixel data is damaged", DAMAGED) from None
        if octets:
            yield memoryview(octets)
        elif not piece:
            raise PoolError("its pixel data breaks off", CUT_OFF)
    for _ in pieces:
        pass


class RowDecoder:
    """Decode the rows of a picture that is not interlaced, or of one pass, from top to bottom."""

    def __init__(self, data: PixelData, header: Header, key: bytes) -> None:
        """Keep the arguments.

        Args:
            data: the pixel data, from the first row on.
            header: the header of the picture or pass.
            key: the transparent colour, as in tRNS, or nothing.
        """
        self.at = 0
        self._data, self._header, self._key = data, header, key
        self._last_row = b""

    def take(self, count: int) -> NDArray[Any]:
        """Return the samples of the next ``count`` rows, as `samples_of` does."""
        row_bytes = self._header.row_bytes
        step = max(1, BAND_BYTES // row_bytes)
        if count > step:
            first = self.take(step)
            array = np.empty((count, *first.shape[1:]), first.dtype)
            array[:step] = first
            for top in range(step, count, step):
                array[top : top + step] = self.take(min(step, count - top))
            return array
        octets = np.empty((0, row_bytes), np.uint8)
        if count:
            filtered = self._data.read(count * (1 + row_bytes))
            octets = unfiltered(filtered, count, self._header, self._last_row)
            self._last_row = octets[-1].tobytes()
            self.at += count
        samples = samples_of(octets, self._header)
        return with_key(samples, self._header, self._key) if self._key else samples

    def finish(self) -> None:
        """Check what follows the rows."""
        self._data.finish(1 + self._header.row_bytes)


class PngFrame:
    """The frame of a still picture; its rows are decoded when they are needed.

    Only the latest band is kept, and an earlier row is decoded again from the top. An interlaced
    picture is decoded and kept as a whole, because its last pass has pixels of the second row.
    """

    def __init__(
        self,
        info: FrameInfo,
        header: Header,
        key: bytes,
        open_data: Callable[[], PixelData],
        metadata: Callable[[], Metadata],
    ) -> None:
        """Keep the arguments; nothing is decoded yet.

        Args:
            info: the contents of the header.
            header: the header.
            key: the transparent colour, as in tRNS, or nothing.
            open_data: returns the pixel data from its beginning.
            metadata: reads the metadata.
        """
        self.info, self.metadata = info, metadata
        self._header, self._key, self._open_data = header, key, open_data
        self._top = -1
        self._whole: NDArray[Any] | None = None
        self._data: PixelData | None = None

    def close(self) -> None:
        """End the thread that decompresses the pixel data, if there is one."""
        if self._data is not None:
            self._data.close()

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop.

        The last row also checks what follows the pixels.

        Raises:
            PoolError: the pixel data is damaged, or has not as many rows as the header states.
        """
        if self._header.interlace:
            if self._whole is None:
                self._whole = whole_picture(self._open_again(), self._header, self._key)
            return self._whole[start:stop]
        if self._top < 0 or start < self._top:
            self._decoder, self._top = RowDecoder(self._open_again(), self._header, self._key), 0
            self._band = self._decoder.take(0)
        decoder, top, self._top = self._decoder, self._top, -1  # after a failure it begins again
        while decoder.at < start:
            top = decoder.at
            self._band = decoder.take(min(ROWS_SKIPPED, start - decoder.at))
        band = self._band[start - top :]
        if decoder.at < stop:
            more = decoder.take(stop - decoder.at)
            band = np.concatenate((band, more)) if len(band) else more
        if decoder.at == self._header.height:
            decoder.finish()
        self._top, self._band = start, band
        return band[: stop - start]

    def _open_again(self) -> PixelData:
        """Return the pixel data from its beginning."""
        self.close()
        self._data = self._open_data()
        return self._data


def whole_picture(data: PixelData, header: Header, key: bytes) -> NDArray[Any]:
    """Decode all rows of a picture, interlaced or not, and check all of its data."""
    if not header.interlace:
        array = RowDecoder(data, header, key).take(header.height)
    else:
        parts = [(place, RowDecoder(data, one, key), one) for place, one in header.passes()]
        sample = parts[0][1].take(0)
        array = np.empty((header.height, header.width, *sample.shape[2:]), sample.dtype)
        for place, decoder, one in parts:
            array[place] = decoder.take(one.height)
    data.finish(1 + header.row_bytes)
    return array


def unfiltered(
    filtered: Sequence[Octets], count: int, header: Header, above: bytes
) -> NDArray[np.uint8]:
    """Undo the filters of some rows; return their bytes as (count, `Header.row_bytes`).

    Filters combine bytes of the same place in neighbouring pixels, so that pixels of 6 or 8 bytes,
    for which Pillow has no mode, can be split into two parts.

    Args:
        filtered: the rows, each after the byte that names its filter, in parts of any length.
        count: the number of rows.
        header: the header.
        above: the bytes of the row above; empty at the top.
    """
    pixel_bytes, row_bytes = max(1, header.pixel_bits // 8), header.row_bytes
    if above:  # the filter 0 leaves this row as it is
        filtered, count = (b"\0", above, *filtered), count + 1
    if pixel_bytes in BYTE_MODES:
        octets = _unfiltered(filtered, count, row_bytes, pixel_bytes)
    else:
        octets = np.empty((count, row_bytes), np.uint8)
        rows = np.frombuffer(b"".join(filtered), np.uint8).reshape(count, -1)
        split = rows[:, 1:].reshape(count, header.width, 2, pixel_bytes // 2)
        whole = octets.reshape(split.shape)
        for half in range(2):
            part = np.hstack((rows[:, :1], split[:, :, half].reshape(count, -1)))
            one = _unfiltered((part.data.cast("B"),), count, row_bytes // 2, pixel_bytes // 2)
            whole[:, :, half] = one.reshape(whole[:, :, half].shape)
    return octets[1:] if above else octets


def _unfiltered(
    filtered: Sequence[Octets], count: int, row_bytes: int, pixel_bytes: int
) -> NDArray[np.uint8]:
    """Undo the filters of rows whose pixels have 1 to 4 bytes, by Pillow's decoder for deflate."""
    mode = BYTE_MODES[pixel_bytes]
    area = (0, 0, row_bytes // pixel_bytes, count)
    image = _imaging.new(mode, area[2:])
    decoder = _imaging.zip_decoder(mode, mode, 0)
    decoder.setimage(image, area)
    parts: list[Octets] = [STORED_HEAD]
    for part in filtered:
        for at in range(0, len(part), MOST_STORED):
            block = part[at : at + MOST_STORED]
            parts += [STORED_BLOCK.pack(0, len(block), len(block) ^ MOST_STORED), block]
    _, fault = decoder.decode(b"".join(parts))
    if fault:
        raise PoolError("one of its rows has an unknown filter", DAMAGED)
    encoder = _imaging.raw_encoder(mode, mode, 0, 1)
    encoder.setimage(image, area)
    _, _, octets = encoder.encode(count * row_bytes)
    return np.frombuffer(octets, np.uint8).reshape(count, row_bytes)


def samples_of(octets: NDArray[np.uint8], header: Header) -> NDArray[Any]:
    """Return the samples in rows of bytes: (rows, W) or (rows, W, C).

    Grey samples of 2 and 4 bits are widened to 0…255; palette indices are not. Grey samples of 1
    bit become bool.
    """
    depth, count, width = header.depth, len(octets), header.width
    if depth == 16:
        deep = np.ascontiguousarray(octets).view(">u2").astype(np.uint16)
        return _in_channels(deep, header)
    if depth == 8:
        return _in_channels(octets, header)
    full = (1 << depth) - 1
    if depth == 1:
        samples = np.unpackbits(octets, axis=1, count=width)
    else:
        shifts = np.arange(8 - depth, -1, -depth).astype(np.uint8)
        samples = octets[:, :, None] >> shifts & np.uint8(full)
        samples = samples.reshape(count, octets.shape[1] * len(shifts))[:, :width]
    if header.colour_type == PALETTE:
        return samples
    return samples.view(np.bool_) if depth == 1 else samples * np.uint8(255 // full)


def _in_channels(samples: NDArray[Any], header: Header) -> NDArray[Any]:
    """Return rows of samples as (rows, W) or (rows, W, C)."""
    channels = CHANNELS[header.colour_type]
    shape = (len(samples), header.width)
    return samples.reshape((*shape, channels) if channels > 1 else shape)


def with_key(samples: NDArray[Any], header: Header, key: bytes) -> NDArray[Any]:
    """Add alpha: 0 for the pixels of a transparent colour, full for the others.

    Args:
        samples: (rows, W) or (rows, W, 3), as `samples_of` returns them.
        header: the header of the picture.
        key: the body of tRNS, 16 bits for each sample.
    """
    full = (1 << header.depth) - 1
    numbers = np.frombuffer(key, ">u2", CHANNELS[header.colour_type]) & full
    if samples.dtype == np.bool_:
        samples = samples * np.uint8(255)
    if header.colour_type == GREY and header.depth < 8:
        numbers = numbers * (255 // full)
    colours = samples if samples.ndim == 3 else samples[..., None]
    array = np.empty((*samples.shape[:2], colours.shape[2] + 1), samples.dtype)
    array[..., :-1] = colours
    most = np.iinfo(samples.dtype).max
    array[..., -1] = np.where((colours == numbers.astype(samples.dtype)).all(axis=2), 0, most)
    return array
