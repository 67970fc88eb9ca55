"""Write TIFF and BigTIFF strip by strip, whatever the type and number of the samples.

The strips of all pages come first and the directories last. Only then is it known whether 32-bit
offsets suffice, or whether the file must be a BigTIFF.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from poolcli.cpus import usable_threads
from poolcli.formats.contract import FrameWriter
from poolcli.formats.pillow import LAB_SIGNS
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_layout import COMPRESSION, NODATA, ROWS_PER_STRIP, STRIP_TABLES
from poolcli.formats.tiff_page_tags import (
    DESCRIPTION,
    bits_of,
    channels_of,
    layout_tags,
    longs,
    metadata_tags,
    shorts,
)
from poolcli.formats.tiff_place import description_of, geo_tags
from poolcli.formats.tiff_tags import (
    ASCII,
    LONG,
    LONG8,
    Directory,
    TagFile,
    Tags,
    Value,
    packed,
)
from poolcli.picture import FrameInfo, Metadata
from poolcli.threads import Calls

CODES: Final = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773, "zstd": 50000}
"""The number of each compression of ``--save-option``."""

PILLOW_NAMES: Final = {"lzw": "tiff_lzw"}
DEFAULT_COMPRESSION: Final = "deflate"
STRIP_BYTES: Final = 1 << 18
"""The bytes of a strip before compression: with 64 KB, files are 2 to 10 % larger."""

MOST_THREADS: Final = 4
"""More threads would wait for the calling one, which pools the rows."""

HEAD_BYTES: Final = 16
"""The length of the header of a BigTIFF; that of a classic TIFF is padded to it."""

MOST_BYTES: Final = (1 << 32) - 1
"""The most bytes of a classic TIFF."""


class Page(NamedTuple):
    """The facts of a page; pages that have all of them in common share one.

    Attributes:
        info: what is known of its pixels, without a palette, which is among the tags.
        tags: its tags, apart from those for the strips.
        bits: bits of a sample in the file.
        strips: the number of its strips.
    """

    info: FrameInfo
    tags: Tags
    bits: int
    strips: int

    def packed_rows(self, band: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bytes of rows as the file stores them, little-endian: (rows, bytes)."""
        if self.info.mode == "LAB":
            band = band ^ LAB_SIGNS
        if self.bits < 8 * band.dtype.itemsize or band.dtype == np.bool_:
            return _packed_bits(band, self.bits)
        little = np.ascontiguousarray(band, band.dtype.newbyteorder("<"))
        return little.view(np.uint8).reshape(len(band), -1)

    def largest_directory(self) -> int:
        """Return the most bytes that the directory of a classic TIFF takes."""
        return len(packed(self.tags, "<", 0)) + 8 * self.strips + 64

    def directory(self, at: int, offsets: array[int], counts: array[int], *, is_big: bool) -> bytes:
        """Return the directory as it is stored at an offset; no page follows.

        Args:
            at: the offset of the directory.
            offsets: the offsets of its strips.
            counts: the lengths of its strips.
            is_big: whether it is one of a BigTIFF.
        """
        kind, code = (LONG8, "Q") if is_big else (LONG, "I")
        strips = {
            tag: Value(kind, np.array(numbers, f"<u{struct.calcsize(code)}").tobytes())
            for tag, numbers in zip(STRIP_TABLES, (offsets, counts), strict=True)
        }
        return packed(self.tags | strips, "<", at, is_big=is_big)


class TiffWriter(FrameWriter):
    """The writer of a TIFF, page by page and strip by strip.

    The directories follow at the end, since the descriptions in them tell about all pages. Until
    then a page takes little memory: stacks may have tens of thousands.
    """

    def __init__(
        self,
        file: BinaryIO,
        row: Format,
        saving: Saving,
        most_bytes: int = MOST_BYTES,
        strip_bytes: int = STRIP_BYTES,
        threads: int | None = None,
    ) -> None:
        """Leave room for the header.

        Args:
            file: the output.
            row: the format.
            saving: the user's options.
            most_bytes: the most bytes of a classic TIFF; larger files become a BigTIFF.
            strip_bytes: the bytes of a strip before compression, roughly.
            threads: how many strips are compressed at the same time; None for one for each CPU.
        """
        super().__init__(file, row, saving)
        self._most_bytes, self._strip_bytes, self._threads = most_bytes, strip_bytes, threads
        self._compression = str(saving.for_format(row).get("compression", DEFAULT_COMPRESSION))
        self._pages: list[Page] = []
        self._placed: list[tuple[int, Metadata]] = []
        self._offsets, self._counts = array("Q"), array("Q")  # of the strips of all pages
        self._strip = np.empty((0, 0), np.uint8)
        self._filled = 0
        self._calls = Calls[bytes](1)
        file.write(bytes(HEAD_BYTES))

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Begin a page: write the rest of the previous one, and keep the tags."""
        self._end_strip()
        bits = bits_of(info)
        height, width = info.shape[:2]
        row_bytes = -(-width * channels_of(info) * bits // 8)
        rows = min(height, max(1, self._strip_bytes // row_bytes))
        if self._strip.shape != (rows, row_bytes):
            self._strip = np.empty((rows, row_bytes), np.uint8)
        self._calls.threads = 1
        # Of the compressions only deflate releases the interpreter's lock.
        if rows < height and self._compression_of(info) == "deflate":
            self._calls.threads = self._threads or usable_threads(MOST_THREADS)
        tags = layout_tags(info, bits) | metadata_tags(self.held(info, metadata))
        tags |= {
            COMPRESSION: shorts(CODES[self._compression_of(info)]),
            ROWS_PER_STRIP: longs(rows),
        }
        if metadata.place and not self.saving.strip:
            tags |= geo_tags(metadata.place, metadata.placement)
            self._placed.append((len(self._pages), metadata))
        if info.nodata:
            tags[NODATA] = Value(ASCII, info.nodata.encode() + b"\0")
        page = Page(info._replace(palette=None), tags, bits, -(-height // rows))
        is_same = bool(self._pages) and page == self._pages[-1]
        self._pages.append(self._pages[-1] if is_same else page)

    def rows(self, band: NDArray[Any]) -> None:
        """Write the strips that the next rows complete."""
        page = self._pages[-1]
        rest = page.packed_rows(band)
        while len(rest):
            taken = min(len(rest), len(self._strip) - self._filled)
            self._strip[self._filled : self._filled + taken] = rest[:taken]
            self._filled += taken
            rest = rest[taken:]
            if self._filled == len(self._strip):
                self._end_strip()

    def finish(self) -> list[str]:
        """Write the directories and the header; return the notes."""
        self._end_strip()
        while self._calls:
            self._write_strip()
        self._describe()
        end = self.file.tell()
        is_big = end + sum(page.largest_directory() for page in self._pages) > self._most_bytes
        number, pointer = (8, "<Q") if is_big else (2, "<I")
        at = first = end + -end % 8
        self.file.write(bytes(at - end))
        strip, pages_left = 0, len(self._pages)
        for page in self._pages:
            strips = slice(strip, strip := strip + page.strips)
            octets = bytearray(
                page.directory(at, self._offsets[strips], self._counts[strips], is_big=is_big)
            )
            octets += bytes(-len(octets) % 8)
            if pages_left := pages_left - 1:
                entries = len(page.tags) + 2
                place = number + entries * (20 if is_big else 12)
                struct.pack_into(pointer, octets, place, at + len(octets))
            self.file.write(octets)
            at += len(octets)
        self.file.seek(0)
        self.file.write(
            struct.pack("<2sHHHQ", b"II", 43, 8, 0, first)
            if is_big
            else struct.pack("<2sHI", b"II", 42, first)
        )
        self.file.seek(0, 2)
        return list(self.notes)

    def _compression_of(self, info: FrameInfo) -> str:
        """Return a key of `CODES`; libtiff's readers would convert compressed YCbCr to RGB."""
        return "none" if info.mode == "YCbCr" else self._compression

    def _describe(self) -> None:
        """Add the descriptions that tell about all pages, now that these are known."""
        pages = [page.info for page in self._pages]
        for number, metadata in self._placed:
            text = description_of(metadata.place, metadata.placement, pages, self.note, self.warn)
            if text:
                page = self._pages[number]
                tags = page.tags | {DESCRIPTION: Value(ASCII, text)}
                self._pages[number] = page._replace(tags=tags)

    def discard(self) -> None:
        """Wait for the threads."""
        self._calls.close()

    def _end_strip(self) -> None:
        """Begin to compress the strip that is being filled, if it has rows."""
        if not self._filled:
            return
        compression = self._compression_of(self._pages[-1].info)
        self._calls.start(compressed, self._strip[: self._filled].copy(), compression)
        self._filled = 0
        while len(self._calls) >= self._calls.threads:
            self._write_strip()

    def _write_strip(self) -> None:
        """Wait for the oldest strip, and write it."""
        octets = self._calls.take()
        self._offsets.append(self.file.tell())
        self._counts.append(len(octets))
        self.file.write(octets)


def compressed(rows: NDArray[np.uint8], compression: str) -> bytes:
    """Return the bytes of a strip, compressed.

    Args:
        rows: (rows, bytes).
        compression: a key of `CODES`.
    """
    if compression == "none":
        return rows.tobytes()
    if compression == "deflate":
        return zlib.compress(rows.data)
    # libtiff compresses any bytes as those of a grey picture.
    buffer, name = BytesIO(), PILLOW_NAMES.get(compression, compression)
    image = Image.frombuffer("L", rows.shape[::-1], rows, "raw", "L", 0, 1)
    image.save(buffer, TiffImageFile.format, compression=name, strip_size=rows.nbytes)
    file = TagFile(buffer)
    page = Directory(file, file.page_offsets()[0])
    return file.read(*(page.number(tag) for tag in STRIP_TABLES))


def _packed_bits(band: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return samples of fewer bits than their type, packed from the highest bit; rows are padded.

    Args:
        band: unsigned integers or bools.
        bits: bits of a sample.
    """
    rows = band.reshape(len(band), -1)
    if bits == 1:
        return np.packbits(rows, axis=1)
    big = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">")).view(np.uint8)
    kept = np.unpackbits(big.reshape(*rows.shape, -1), axis=2)[..., -bits:]
    return np.packbits(kept.reshape(len(rows), -1), axis=1)
