"""The boxes of ISO media files (ISO/IEC 14496-12), such as AVIF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

OWN_FIELDS: Final = {b"meta": 4, b"stsd": 8, b"av01": 78}
"""The bytes before the first inner box, of boxes that have fields of their own there."""

PROPERTIES: Final = (b"meta", b"iprp", b"ipco")
"""The way to the properties of stills (ISO/IEC 23008-12)."""

ALPHA_KINDS: Final = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
    b"urn:mpeg:hevc:2015:auxid:1\0",
)


class Span(NamedTuple):
    """Where the content of a box lies in its file.

    Attributes:
        begin: its first byte.
        stop: the byte after its last one.
    """

    begin: int
    stop: int


def find_boxes(stream: BinaryIO, *path: bytes, within: Span | None = None) -> Iterator[Span]:
    """Yield where the boxes at a path lie.

    Args:
        stream: the file.
        path: the names of the boxes on the way, the outermost first.
        within: the content of the box that holds them; None for the whole file.
    """
    name, *inner = path
    for found, span in _children(stream, within or Span(0, stream.seek(0, 2))):
        if found == name and inner:
            begin = span.begin + OWN_FIELDS.get(name, 0)
            yield from find_boxes(stream, *inner, within=span._replace(begin=begin))
        elif found == name:
            yield span


def read_boxes(stream: BinaryIO, *path: bytes, within: Span | None = None) -> Iterator[bytes]:
    """Yield the content of the boxes at a path; see `find_boxes`."""
    for begin, stop in find_boxes(stream, *path, within=within):
        stream.seek(begin)
        yield stream.read(stop - begin)


def has_alpha(stream: BinaryIO) -> bool:
    """Return whether one of the stills of a file is the alpha of another."""
    kinds = (box[4:] for box in read_boxes(stream, *PROPERTIES, b"auxC"))
    return any(one.startswith(ALPHA_KINDS) for one in kinds)


def _children(stream: BinaryIO, parent: Span) -> Iterator[tuple[bytes, Span]]:
    """Yield the name and place of each box that lies directly in another."""
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
        yield name, Span(begin, stop)
        at = stop
