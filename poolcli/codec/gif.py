"""GIF films as single pictures, and back (CompuServe, GIF89a, 1990).

Pillow decodes and encodes the single pictures: its films hold all frames at once, and turn what
is cleared behind a frame into a colour, where viewers show what lies below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import BinaryIO, Final

from poolcli.codec.film import Dispose, Drawing, Film, Patch

TICK: Final = Fraction(10)
"""The unit of durations, in milliseconds."""

MOST_TICKS: Final = 65535
DISPOSE: Final[dict[int, Dispose]] = {2: "clear", 3: "restore"}
CLEAR, KEEP = 2, 1
HEAD_BYTES: Final = 13
LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


@dataclass(slots=True)
class _Block:
    """One image of a GIF, where it lies in the file.

    Attributes:
        control: the four bytes of its graphic control extension.
        place: left, top, width and height.
        flags: those of its descriptor.
        begin: where its palette or pixels begin.
        end: where its pixels end.
    """

    control: bytes
    place: tuple[int, int, int, int]
    flags: int
    begin: int
    end: int


@dataclass(slots=True)
class _Parts:
    """A GIF taken apart.

    Attributes:
        head: signature, screen and global palette.
        plays: how often it is shown; 0 for ever.
        blocks: its images.
    """

    head: bytes
    plays: int = 1
    blocks: list[_Block] = field(default_factory=list)


def split(stream: BinaryIO) -> Film:
    """The film that a GIF shows, its canvas as large as the screen or its first frame says."""
    parts = _parts(stream)
    width, height = struct.unpack("<HH", parts.head[6:10])
    left, top, across, down = parts.blocks[0].place
    patches = (_patch(stream, parts.head, one) for one in parts.blocks)
    return Film(max(height, top + down), max(width, left + across), parts.plays, tuple(patches))


def is_keyed(stream: BinaryIO) -> bool:
    """Whether any image of a GIF has a transparent colour."""
    return any(one.control[0] & 1 for one in _parts(stream).blocks)


def _patch(stream: BinaryIO, head: bytes, block: _Block) -> Patch:
    """One image as what it draws."""
    left, top, width, height = block.place
    flags, delay = struct.unpack("<BH", block.control[:3])
    return Patch(
        top=top,
        left=left,
        height=height,
        width=width,
        duration=delay * TICK,
        dispose=DISPOSE.get(flags >> 2 & 7, "keep"),
        over=True,
        still=partial(_still, stream, head, block),
    )


def _still(stream: BinaryIO, head: bytes, block: _Block) -> BinaryIO:
    """One image as a GIF of its own, on a screen of its size."""
    stream.seek(block.begin)
    body = stream.read(block.end - block.begin)
    screen = struct.pack("<HH", *block.place[2:])
    control = bytes((block.control[0] & 1, 0, 0, block.control[3]))
    return BytesIO(
        head[:6]
        + screen
        + head[10:]
        + b"!\xf9\x04%b\0" % control
        + struct.pack("<B4HB", 0x2C, 0, 0, *block.place[2:], block.flags)
        + body
        + b";"
    )


def _parts(stream: BinaryIO) -> _Parts:
    """Hop over a GIF; what is cut off at its end is left to the decoder to refuse."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    parts = _Parts(head + stream.read(_palette_bytes(head[10])))
    control = bytes(4)
    while (kind := stream.read(1)) not in (b"", b";"):
        if kind == b"!":
            label = stream.read(1)
            first = _sub_block(stream)
            if label == b"\xf9" and len(first) >= 4:
                control = first[:4]
            elif label == b"\xff" and first[:11] in LOOPS and (second := _sub_block(stream)):
                if len(second) >= 3 and second[0] == 1:
                    loops = int.from_bytes(second[1:3], "little")
                    parts.plays = loops + 1 if loops else 0
                first = second
            while first:
                first = _sub_block(stream)
        elif kind == b",":
            *place, flags = struct.unpack("<4HB", stream.read(9))
            begin = stream.tell()
            stream.seek(_palette_bytes(flags) + 1, 1)
            while length := stream.read(1):
                if not stream.seek(length[0], 1) or not length[0]:
                    break
            left, top, width, height = place
            parts.blocks.append(
                _Block(control, (left, top, width, height), flags, begin, stream.tell())
            )
            control = bytes(4)
    return parts


def _palette_bytes(flags: int) -> int:
    """The length of a palette, from the flags that announce it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _sub_block(stream: BinaryIO) -> bytes:
    """The next part of an extension; empty at its end."""
    length = stream.read(1)
    return stream.read(length[0]) if length else b""


def join(drawings: Iterator[Drawing], height: int, width: int, plays: int) -> BytesIO:
    """A film of single GIFs; what stands beside the pixels of the first is kept."""
    film = BytesIO()
    film.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0))
    if plays != 1:
        film.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", max(0, plays - 1)) + b"\0")
    for number, drawing in enumerate(drawings):
        stream = BytesIO(drawing.still)
        parts = _parts(stream)
        (block,) = parts.blocks
        if not number:
            film.write(_comments(drawing.still, len(parts.head), block.begin))
        keyed = block.control[0] & 1
        disposal = CLEAR if drawing.clears else KEEP
        control = struct.pack("<BHB", disposal << 2 | keyed, drawing.ticks, block.control[3])
        film.write(b"!\xf9\x04" + control + b"\0")
        palette = parts.head[HEAD_BYTES:]
        flags = block.flags if block.flags & 0x80 else parts.head[10] & 0x87 | block.flags & 0x40
        place = (drawing.left, drawing.top, *block.place[2:])
        film.write(struct.pack("<B4HB", 0x2C, *place, flags))
        film.write(b"" if block.flags & 0x80 else palette)
        film.write(drawing.still[block.begin : block.end])
    film.write(b";")
    return film


def _comments(still: bytes, begin: int, end: int) -> bytes:
    """The comment extensions of a GIF, as they stand between two places."""
    stream, found = BytesIO(still), b""
    stream.seek(begin)
    while (at := stream.tell()) < end and stream.read(1) == b"!":
        label = stream.read(1)
        while _sub_block(stream):
            pass
        if label == b"\xfe":
            found += still[at : stream.tell()]
    return found
