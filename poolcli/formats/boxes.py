"""Read the boxes of ISO media files (ISO/IEC 14496-12), for AVIF, HEIC and JPEG XL."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias

Span: TypeAlias = tuple[int, int]
"""The positions at which the content of a box begins and ends."""

OWN_FIELDS: Final = {b"meta": 4, b"stsd": 8, b"av01": 78}
"""The number of bytes before the first inner box, for boxes that have fields there."""

PROPERTIES: Final = (b"meta", b"iprp", b"ipco")
"""The path to the properties of stills (ISO/IEC 23008-12)."""


def find_boxes(stream: BinaryIO, *path: bytes) -> Iterator[Span]:
    """Yield the positions of all boxes at a path, which names the outermost box first."""
    *outer, name = path
    parents = iter([(0, stream.seek(0, 2))])
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
