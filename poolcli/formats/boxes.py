"""Read the boxes of ISO media files (ISO/IEC 14496-12), for AVIF, HEIC and JPEG XL."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from poolcli.errors import PoolError
from poolcli.formats import START_BYTES, known

Span: TypeAlias = tuple[int, int]
"""The positions at which the content of a box begins and ends."""

OWN_FIELDS: Final = {b"meta": 4, b"stsd": 8, b"av01": 78, b"iinf": 6}
"""The number of bytes before the first inner box, for boxes that have fields there."""

PROPERTIES: Final = (b"meta", b"iprp", b"ipco")
"""The path to the properties of stills (ISO/IEC 23008-12)."""

MEDIA: Final = (b"moov", b"trak", b"mdia")
TABLES: Final = (*MEDIA, b"minf", b"stbl")
"""The paths to the boxes of an animation's header, and to the tables of its frames."""

SRGB_PRIMARIES: Final = (1, 2)
SRGB_CURVES: Final = (1, 2, 6, 13, 14, 15)
"""The numbers in ITU-T H.273 for sRGB, for curves that are displayed alike, and for unspecified."""

TONE_MAPPED: Final = b"tmap"
"""The kind of items that combine the picture with a gain map (ISO 21496-1)."""

WITHOUT_GAIN_MAP: Final = "it is written without its gain map"

IN_BOX: Final = 1
"""The construction method of items whose data are in the box idat."""


class Item(NamedTuple):
    """An item of a file of stills: a picture, a tile of one, alpha, EXIF and so on.

    Attributes:
        kind: its type, such as av01, hvc1, grid or Exif.
        properties: the name and the content of its properties, in their order.
        extents: the positions of its data.
    """

    kind: bytes
    properties: list[tuple[bytes, bytes]]
    extents: list[Span]


def find_boxes(stream: BinaryIO, *path: bytes) -> Iterator[Span]:
    """Yield the positions of all boxes at a path, which names the outermost box first.

    Those of another picture that follows in the same file are left out.
    """
    *outer, name = path
    parents = iter([(0, end(stream) or stream.seek(0, 2))])
    if outer:
        fields = OWN_FIELDS.get(outer[-1], 0)
        parents = ((begin + fields, stop) for begin, stop in find_boxes(stream, *outer))
    for parent in parents:
        for found, span in _children(stream, parent):
            if found == name:
                yield span


def read_boxes(stream: BinaryIO, *path: bytes) -> Iterator[bytes]:
    """Yield the content of the boxes at a path; see `find_boxes`."""
    for begin, stop in find_boxes(stream, *path):
        stream.seek(begin)
        yield stream.read(stop - begin)


def read_items(stream: BinaryIO) -> tuple[int | None, dict[int, Item]]:
    """Return the number of the primary item, and all items by number (ISO/IEC 14496-12, 8.11).

    Raises:
        PoolError: a box is cut off.
    """
    primary = None
    for box in read_boxes(stream, b"meta", b"pitm"):
        fields = _Fields(box)
        primary = fields.take(2 if fields.version == 0 else 4)
    items = {}
    for box in read_boxes(stream, b"meta", b"iinf", b"infe"):
        fields = _Fields(box)
        number = fields.take(4 if fields.version == 3 else 2)
        fields.take(2)  # the number of its protection scheme
        items[number] = Item(fields.octets(4), [], [])
    _add_properties(stream, items)
    _add_extents(stream, items)
    return primary, items


def unwritten(items: Iterable[Item]) -> tuple[str, ...]:
    """Return warnings on items that change how a picture is displayed, and are not written."""
    return (WITHOUT_GAIN_MAP,) if any(one.kind == TONE_MAPPED for one in items) else ()


def _add_properties(stream: BinaryIO, items: dict[int, Item]) -> None:
    """Add the properties that the boxes ipma assign to items."""
    known = []
    for parent in find_boxes(stream, *PROPERTIES):
        for name, (begin, stop) in _children(stream, parent):
            stream.seek(begin)
            known.append((name, stream.read(stop - begin)))
    for box in read_boxes(stream, b"meta", b"iprp", b"ipma"):
        fields = _Fields(box)
        size = 2 if fields.flags & 1 else 1
        for _ in range(fields.take(4)):
            item = items.get(fields.take(2 if fields.version == 0 else 4))
            for _ in range(fields.take(1)):
                # The highest bit says whether a reader must know the property.
                index = fields.take(size) & ((1 << 8 * size - 1) - 1)
                if item is not None and 0 < index <= len(known):
                    item.properties.append(known[index - 1])


def _add_extents(stream: BinaryIO, items: dict[int, Item]) -> None:
    """Add the positions of the data that the boxes iloc assign to items."""
    inner, _ = next(find_boxes(stream, b"meta", b"idat"), (0, 0))
    for box in read_boxes(stream, b"meta", b"iloc"):
        fields = _Fields(box)
        sizes = fields.take(2)
        offset_size, length_size, base_size = (sizes >> shift & 15 for shift in (12, 8, 4))
        index_size = sizes & 15 if fields.version else 0
        wide = 4 if fields.version == 2 else 2
        for _ in range(fields.take(wide)):
            item = items.get(fields.take(wide))
            method = fields.take(2) & 15 if fields.version else 0
            fields.take(2)  # the number of the file with the data: this one
            base = fields.take(base_size) + (inner if method == IN_BOX else 0)
            count = fields.take(2)
            # Fields without bytes would let a hostile file repeat an extent at no cost.
            for _ in range(count if offset_size + length_size else min(count, 1)):
                fields.take(index_size)
                begin = base + fields.take(offset_size)
                length = fields.take(length_size)
                if item is not None and method <= IN_BOX:
                    item.extents.append((begin, begin + length))


class _Fields:
    """The fields of a box that begins with a version and flags.

    Attributes:
        version: the version of the box.
        flags: the flags of the box.
    """

    def __init__(self, box: bytes) -> None:
        """Read version and flags."""
        self._box, self._at = box, 0
        self.version, self.flags = self.take(1), self.take(3)

    def octets(self, count: int) -> bytes:
        """Return the next ``count`` bytes.

        Raises:
            PoolError: the box is cut off.
        """
        self._at += count
        if self._at > len(self._box):
            raise PoolError("a box of its header is cut off", "is the file complete?")
        return self._box[self._at - count : self._at]

    def take(self, count: int) -> int:
        """Return the next ``count`` bytes as a number."""
        return int.from_bytes(self.octets(count), "big")


def _children(stream: BinaryIO, parent: Span) -> Iterator[tuple[bytes, Span]]:
    """Yield the name and the content's position of each box directly within a parent."""
    at, end = parent
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
        yield name, (begin, stop)
        at = stop


def end(stream: BinaryIO) -> int | None:
    """Return the position at which another picture begins in place of a box, or None.

    No box after the first one begins like a picture.
    """
    boxes = _children(stream, (0, stream.seek(0, 2)))
    at = next((stop for _, (_, stop) in boxes), None)
    while at is not None:
        stream.seek(at)
        if known(stream.read(START_BYTES)):
            return at
        at = next((stop for _, (_, stop) in _children(stream, (at, stream.seek(0, 2)))), None)
    return None
