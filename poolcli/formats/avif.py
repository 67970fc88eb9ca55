"""Read and write still and animated AVIF with Pillow; read 10 and 12 bits with imagecodecs.

Depth, durations and the clean aperture are parsed from the boxes here: Pillow does not tell them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile

from poolcli.errors import PoolError
from poolcli.formats.boxes import (
    MEDIA,
    PROPERTIES,
    SRGB_CURVES,
    SRGB_PRIMARIES,
    TABLES,
    find_boxes,
    read_boxes,
    read_items,
    unwritten,
)
from poolcli.formats.boxes import end as end
from poolcli.formats.coded_size import av1_sizes, check_coded
from poolcli.formats.contract import DecodedReader, Limits, Reader
from poolcli.formats.exif import describe
from poolcli.formats.extras import is_installed, library
from poolcli.formats.pillow import info_of, open_image, require_support
from poolcli.formats.pillow_animation import CanvasReader, PulledWriter
from poolcli.formats.row import Extra, Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import Chunks, Encoding, Frame, FrameInfo, Metadata, Pair, Stored

DEPTH_FLAGS: Final = 0x60
BITS: Final = {0x00: 8, 0x20: 8, 0x40: 10, 0x60: 12}
"""The bits of a sample, by `DEPTH_FLAGS` in the third byte of av1C (AV1 in ISO media, 2.3.3)."""

DEEP: Final = {mode: f"{mode};M" for mode in ("L", "LA", "RGB", "RGBA")}
"""The modes of pictures of 10 or 12 bits, by the mode in which Pillow reads them in 8 bits."""

EXTRA: Final = Extra("deep", ("imagecodecs",))
NCLX: Final = b"nclx"
QUALITY: Final = 80


def read(stream: BinaryIO, limits: Limits) -> Reader:
    """Open an AVIF.

    Raises:
        PoolError: it is too large, or its boxes are damaged.
    """
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    primary, items = read_items(stream)
    image = open_image(AvifImageFile, stream)
    size, is_animated = (image.height, image.width), image.n_frames > 1
    limits.check(*size)
    check_coded(av1_sizes(stream, items.values()), *size)
    own = items[primary].properties if primary in items and not is_animated else []
    found = dict(reversed(own))
    if is_animated:
        found[b"clap"] = next(read_boxes(stream, *TABLES, b"stsd", b"av01", b"clap"), b"")
    bits = _bits(stream)
    stored = Stored("unsigned", bits, (1 << bits) - 1, len(image.getbands()))
    durations = _durations(stream, image.n_frames) if is_animated else [Fraction(0)]
    described, orientation = describe(
        image.info.get("exif"), image.info.get("xmp"), unwritten(items.values())
    )
    metadata = described._replace(
        icc_profile=image.info.get("icc_profile"), colour=_colour(found.get(b"colr", b""))
    )
    info = info_of(image, stored, Encoding("avif", lossy=True), orientation)
    reader: Reader = AvifReader(stream, info, metadata, durations)
    if bits > 8 and info.mode in DEEP and not is_animated and is_installed(EXTRA):
        info = info._replace(mode=DEEP[info.mode], dtype=np.dtype(np.uint16), maxval=stored.maxval)
        reader = DecodedReader(info, partial(_decode, stream), lambda: metadata)
    clap = found.get(b"clap")
    return CroppedReader(reader, _aperture(clap, *size)) if clap else reader


class AvifReader(CanvasReader):
    """The reader of an AVIF of 8 bits.

    A frame is taken from the decoder's bytes: `AvifImageFile.load` would make an image of them,
    with four bytes more for each pixel.
    """

    format = "avif"

    def decoded(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of each frame, without keeping them."""
        image = open_image(AvifImageFile, self.stream)
        for number in range(self.count):
            octets, *_ = image._decoder.get_frame(number)
            yield np.frombuffer(octets, np.uint8).reshape(self.info.shape)
            del octets


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> AvifWriter:
    """Return the writer of an AVIF."""
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    return AvifWriter(file, row, saving, frames)


class AvifWriter(PulledWriter):
    """The writer of an AVIF; Pillow's encoder can't state a number of plays."""

    plugin = "AVIF"
    timing = Timing(Fraction(1), longest=(1 << 32) - 1, most_plays=0)

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return the arguments of Pillow's `save`."""
        held = self.held(info, metadata)
        self.note("AVIF is written with loss")
        if self.frames != 1:
            self.timeline.plays(metadata.plays)
        return {"quality": QUALITY, **held, **self.saving.for_format(self.row)}

    def repair(self, content: memoryview, mode: str) -> None:  # noqa: ARG002
        """Clear the times of making, with which the same frames would give different bytes."""
        for path in ((b"moov", b"mvhd"), (b"moov", b"trak", b"tkhd"), (*MEDIA, b"mdhd")):
            for begin, _ in find_boxes(self._buffer, *path):
                size = 16 if content[begin] else 8  # two times, of 64 bits from version 1 on
                content[begin + 4 : begin + 4 + size] = bytes(size)


class Aperture(NamedTuple):
    """The part of the coded picture that is shown: its first and last rows and columns."""

    top: int
    left: int
    bottom: int
    right: int


class CroppedFrame:
    """A frame of which only a part is shown; it is cut out before it is turned upright."""

    def __init__(self, frame: Frame, aperture: Aperture) -> None:
        """Keep the arguments."""
        top, left, bottom, right = aperture
        shape = (bottom - top, right - left, *frame.info.shape[2:])
        self.info, self.metadata = frame.info._replace(shape=shape), frame.metadata
        self._frame, self._aperture = frame, aperture

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the shown part of some rows."""
        top, left, _, right = self._aperture
        return self._frame.rows(top + start, top + stop)[:, left:right]


class CroppedReader:
    """The reader of a file of which only a part of each frame is shown."""

    def __init__(self, reader: Reader, aperture: Aperture) -> None:
        """Keep the arguments."""
        self.format, self.count = reader.format, reader.count
        self._reader, self._aperture = reader, aperture

    def frames(self) -> Iterator[CroppedFrame]:
        """Yield the shown part of each frame."""
        for frame in self._reader.frames():
            yield CroppedFrame(frame, self._aperture)


def _decode(stream: BinaryIO) -> NDArray[Any]:
    """Decode a still in its own depth."""
    stream.seek(0)
    codec = library("imagecodecs", EXTRA.name)
    array: NDArray[Any] = codec.avif_decode(stream.read(), numthreads=1)
    # Pillow, which has told the channels, has no mode for grey with alpha.
    return array[..., [0, 0, 0, 1]] if array.shape[2:] == (2,) else array


def _colour(box: bytes) -> Chunks:
    """Return the colour encoding as a chunk of PNG, which has the same fields; none for sRGB."""
    if box[:4] != NCLX or len(box) < 8:
        return ()
    primaries, curve = struct.unpack_from(">HH", box, 4)
    if primaries in SRGB_PRIMARIES and curve in SRGB_CURVES:
        return ()
    return ((b"cICP", bytes((primaries & 255, curve & 255, 0, 1))),)


def _aperture(box: bytes, height: int, width: int) -> Aperture:
    """Return the clean aperture (ISO/IEC 14496-12, 12.1.4); fractions of pixels are cut off.

    Raises:
        PoolError: it is damaged, or lies outside of the picture.
    """
    found: list[Pair] = []
    with suppress(struct.error, ZeroDivisionError):
        numbers = struct.unpack_from(">IIIIiIiI", box)
        parts = [Fraction(*numbers[at : at + 2]) for at in (0, 2, 4, 6)]
        for extent, size, offset in ((height, parts[1], parts[3]), (width, parts[0], parts[2])):
            first = math.floor(offset + Fraction(extent) / 2 - size / 2)
            found += [(first, first + math.floor(size))] * (0 <= first < first + size <= extent)
    if len(found) != 2:
        raise PoolError("its clean aperture lies outside of the picture", "is the file damaged?")
    (top, bottom), (left, right) = found
    return Aperture(top, left, bottom, right)


def _bits(stream: BinaryIO) -> int:
    """Return the bits of a sample; if no box states them, assume 12, the most that AVIF allows."""
    paths = ((*PROPERTIES, b"av1C"), (*TABLES, b"stsd", b"av01", b"av1C"))
    boxes = (box for path in paths for box in read_boxes(stream, *path) if len(box) > 2)
    return max((BITS[box[2] & DEPTH_FLAGS] for box in boxes), default=12)


def _durations(stream: BinaryIO, count: int) -> list[Fraction]:
    """Return the duration of each frame, in whole milliseconds as in Pillow.

    The last entry of the table is repeated if there are more frames.

    Raises:
        PoolError: the file has no table of durations.
    """
    header = next(read_boxes(stream, *MEDIA, b"mdhd"), b"")
    table = next(read_boxes(stream, *TABLES, b"stts"), b"")
    if not header or not table:
        raise PoolError("the durations of its frames are missing", "is the file complete?")
    (scale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
    entries = list(struct.iter_unpack(">II", table[8 : len(table) - len(table) % 8]))
    runs = [
        (length, Fraction(round(1000 * (delta / scale)))) for length, delta in entries or [(1, 1)]
    ]
    endless = chain(*(repeat(lasts, length) for length, lasts in runs), repeat(runs[-1][1]))
    return list(islice(endless, count))
