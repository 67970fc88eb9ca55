"""Parse what Pillow doesn't tell of a JPEG: frame header, end, scans and further pictures."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError
from poolcli.formats.tiff_tags import Directory, TagFile
from poolcli.picture import Pair

START: Final = b"\xff\xd8\xff"
END: Final = b"\xff\xd9"
SCAN, FILL, COMMENT, COLOUR_TRANSFORM = 0xDA, 0xFF, 0xFE, 0xEE
FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of frame headers, SOF0 to SOF15 (ITU-T T.81, table B.1)."""

LOSSLESS: Final = frozenset((0xC3,))
DECODED: Final = LOSSLESS | {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""The frame headers of lossless pictures, and of all that libjpeg decodes: no hierarchical ones."""

WITHOUT_SEGMENT: Final = frozenset((0x00, 0x01, *range(0xD0, 0xDA), FILL))
"""The markers without a segment, and the bytes after a 0xFF that is not part of a marker."""

DESCRIPTIVE: Final = frozenset(range(0xE0, 0xF0)) - {COLOUR_TRANSFORM} | {COMMENT}
"""The markers of segments that don't change how the picture looks."""

NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker after the coded samples of a scan, which contain restart markers."""

PICTURES: Final = 0xB002
PICTURE: Final = struct.Struct("III4x")
"""The tag of the index of pictures, and one of them: kind, length, offset (CIPA DC-007, 5.2.3)."""

PREVIEWS: Final = (0x010001, 0x010002)
"""The kinds of pictures that only show the first one in a smaller size."""

FILLS: Final = tuple(
    b"".join(bytes([value]) * 64 + bytes([FILL, 0xD0 + number]) for number in range(8))
    for value in (0x00, 0x5A, 0xA6)
)
"""Coded samples and restart markers that are no part of any picture; see `is_whole`."""


class Header(NamedTuple):
    """The frame header of a JPEG.

    Attributes:
        marker: the kind of coding.
        place: the position of the bits of a sample in the file.
        bits: the bits of a sample.
        height: the number of rows.
        width: the number of columns.
        components: the number of each component.
        scan: the position of the first scan.
    """

    marker: int
    place: int
    bits: int
    height: int
    width: int
    components: bytes
    scan: int


def segments(stream: BinaryIO, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield the marker and the first and last position of segments, until the next scan.

    Bytes between segments that belong to none are skipped, as all decoders do.
    """
    size = stream.seek(0, 2)
    while at + 4 <= size:
        stream.seek(at)
        first, marker, length = struct.unpack(">BBH", stream.read(4))
        if first != FILL or marker in WITHOUT_SEGMENT:
            at += 1
            continue
        yield marker, at, min(at + 2 + length, size)
        if marker == SCAN:
            return
        at += 2 + length


def read_header(stream: BinaryIO) -> Header:
    """Read the frame header.

    Raises:
        PoolError: it is missing or cut off, or there are several.
    """
    found, scan = [], 0
    for marker, begin, end in segments(stream):
        if marker in FRAME_HEADERS:
            stream.seek(begin + 4)
            found.append((marker, begin + 4, stream.read(end - begin - 4)))
        scan = begin if marker == SCAN else 0
    if not found or not scan or len(found[0][2]) < 6:
        raise PoolError("its frame header is missing", "is the file complete?")
    if len(found) > 1:
        raise PoolError(f"it has {len(found)} frame headers", "is the file damaged?")
    marker, place, fields = found[0]
    bits, height, width, _ = struct.unpack_from(">BHHB", fields)
    return Header(marker, place, bits, height, width, fields[6::3], scan)


def without_metadata(stream: BinaryIO, scan: int) -> BytesIO:
    """Return a copy of a JPEG without its descriptive segments, for decoders that refuse them."""
    kept = [START[:2]]
    for marker, begin, end in segments(stream):
        if marker not in DESCRIPTIVE and begin < scan:
            stream.seek(begin)
            kept.append(stream.read(end - begin))
    stream.seek(scan)
    return BytesIO(b"".join((*kept, stream.read())))


def further_pictures(stream: BinaryIO, index: bytes, origin: int) -> list[Pair]:
    """Return the positions of the pictures after the first one that an index names.

    Args:
        stream: the file.
        index: the index of pictures (CIPA DC-007), or nothing.
        origin: the position of the index in the file, from which its offsets are counted.

    Raises:
        ValueError: the index is damaged.
    """
    if not index:
        return []
    file = TagFile(BytesIO(index))
    entries = Directory(file, file.number(file.pointer, file.first)).octets(PICTURES)
    found, size = [], stream.seek(0, 2)
    entry = struct.Struct(file.order + PICTURE.format)
    for kind, length, offset in entry.iter_unpack(entries[: len(entries) // 16 * 16]):
        begin, end = origin + offset, origin + offset + length
        stream.seek(begin)
        if not offset or kind & 0xFFFFFF in PREVIEWS:
            continue
        if end > size or stream.read(len(START)) != START:
            raise ValueError("a picture lies outside of the file")
        found.append((begin, end))
    return found


def has_end(stream: BinaryIO, scan: int) -> bool:
    """Return whether a marker ends the picture; bytes may follow it."""
    if stream.seek(0, 2) >= 2:
        stream.seek(-2, 2)
        if stream.read(2) == END:
            return True
    stream.seek(scan)
    return END in stream.read()


def end_of(octets: bytes, scan: int) -> int | None:
    """Return the position after the marker that ends the picture; None if it is missing.

    Args:
        octets: the file.
        scan: the position of the first scan.
    """
    while found := NEXT_MARKER.search(octets, scan):
        if found[0] == END:
            return found.end()
        scan = found.end() + int.from_bytes(octets[found.end() : found.end() + 2], "big")
    return None


def is_whole(octets: bytes, header: Header, checksum: Callable[[BinaryIO], int]) -> bool:
    """Return whether a JPEG without its end has all of its samples.

    A decoder that has got all samples ignores what follows, so different bytes at the end don't
    change the picture; otherwise they are decoded as the missing samples.

    Args:
        octets: the file.
        header: its frame header.
        checksum: decodes a JPEG and returns a checksum of the pixels.
    """
    if not _has_all_scans(octets, header):
        return False
    with suppress(OSError):
        return len({checksum(BytesIO(octets + fill + END)) for fill in (b"", *FILLS)}) == 1
    return False


def _has_all_scans(octets: bytes, header: Header) -> bool:
    """Return whether the scans state all bits of all coefficients, as far as their headers tell."""
    stream, at = BytesIO(octets), 2
    left = {(one, place) for one in header.components for place in range(64)}
    while scans := [one for one in segments(stream, at) if one[0] == SCAN]:
        ((_, begin, end),) = scans
        fields = octets[begin + 4 : end]
        if not fields or len(fields) < 2 * fields[0] + 4:
            return False
        numbers, bounds = fields[1 : 2 * fields[0] : 2], fields[2 * fields[0] + 1 :]
        first, last, approximation = bounds[:3]
        if header.marker in LOSSLESS:
            first, last, approximation = 0, 63, 0  # their fields have another meaning
        if not approximation & 15:
            left -= {(one, at) for one in numbers for at in range(first, last + 1)}
        found = NEXT_MARKER.search(octets, end)
        at = found.start() if found else len(octets)
    return not left
