"""The parts of container files, found by hopping from length to length."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO, Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS: Final = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""The ancillary chunks without which a PNG would look different."""

JPEG_START: Final = b"\xff\xd8"
MARKER, START_OF_SCAN, COLOUR_TRANSFORM, JPEG_COMMENT = 0xFF, 0xDA, 0xEE, 0xFE
JPEG_WORDS: Final = frozenset(range(0xE0, 0xF0)) - {COLOUR_TRANSFORM} | {JPEG_COMMENT}
"""The segments without which a JPEG would look the same (ITU-T T.81, B.1.1.3)."""

RIFF_BEGIN: Final = 12
ANMF_HEAD: Final = 16
BOX_CONTAINERS: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0}
"""ISO media boxes on the way to a picture's properties, and the bytes before what they hold."""


def png_places(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, beginning and length of the body of every PNG chunk that is whole."""
    at, end = len(PNG_SIGNATURE), stream.seek(0, 2)
    while at + 12 <= end:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if at + 12 + length > end:
            return
        yield name, at + 8, length
        at += length + 12


def png_chunks(stream: BinaryIO, *wanted: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of the PNG chunks of some names, or of all."""
    for name, begin, length in png_places(stream):
        if not wanted or name in wanted:
            stream.seek(begin)
            yield name, stream.read(length)


def find_png(stream: BinaryIO, wanted: bytes) -> bytes | None:
    """The body of the first PNG chunk of a name, or None."""
    return next((body for _, body in png_chunks(stream, wanted)), None)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def without_words(stream: BinaryIO) -> BytesIO | None:
    """A PNG without the damaged chunks that its pixels don't need, or if none is, without any.

    None where it has none. What is kept keeps its checksums.
    """
    kept, doubtful, damaged = [PNG_SIGNATURE], set(), set()
    for place, (name, begin, length) in enumerate(list(png_places(stream)), 1):
        stream.seek(begin - 8)
        kept.append(stream.read(length + 12))
        if name[:1].islower() and name not in PIXEL_CHUNKS:
            doubtful.add(place)
            if zlib.crc32(kept[-1][4:-4]) != int.from_bytes(kept[-1][-4:], "big"):
                damaged.add(place)
    left_out = damaged or doubtful
    if not left_out:
        return None
    return BytesIO(b"".join(part for place, part in enumerate(kept) if place not in left_out))


def jpeg_without_words(stream: BinaryIO) -> BytesIO | None:
    """A JPEG without what its pixels don't need; None where there is nothing else in it."""
    stream.seek(0)
    kept, whole = [stream.read(len(JPEG_START))], True
    while len(head := stream.read(4)) == 4 and head[0] == MARKER and head[1] != START_OF_SCAN:
        segment = head + stream.read(int.from_bytes(head[2:], "big") - 2)
        if head[1] in JPEG_WORDS:
            whole = False
        else:
            kept.append(segment)
    return None if whole else BytesIO(b"".join((*kept, head, stream.read())))


def riff_names(stream: BinaryIO) -> Iterator[bytes]:
    """The names of the chunks of a RIFF file such as WebP, those in its frames among them."""
    at, end = RIFF_BEGIN, stream.seek(0, 2)
    while at + 8 <= end:
        stream.seek(at)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield name
        at += 8 + (ANMF_HEAD if name == b"ANMF" else length + length % 2)


def find_boxes(stream: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """The bodies of all ISO media boxes of a name among the properties of pictures."""
    yield from _boxes(stream, wanted, 0, stream.seek(0, 2))


def _boxes(stream: BinaryIO, wanted: bytes, at: int, end: int) -> Iterator[bytes]:
    """Those between two positions; boxes lie in boxes."""
    while at + 8 <= end:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        begin = at + 8
        if length == 1:
            (length,) = struct.unpack(">Q", stream.read(8).rjust(8, b"\0"))
            begin += 8
        stop = min(end, at + length) if length else end
        if stop < begin:
            return
        if name == wanted:
            stream.seek(begin)
            yield stream.read(stop - begin)
        elif name in BOX_CONTAINERS:
            yield from _boxes(stream, wanted, begin + BOX_CONTAINERS[name], stop)
        at = stop
