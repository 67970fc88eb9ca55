"""The blocks of a GIF (CompuServe, GIF89a, 1990), read in one pass."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from poolcli.errors import PoolError
from poolcli.formats.palettes import GREY_RAMP

SIGNATURE: Final = b"GIF89a"
HEAD_BYTES: Final = 13
EXTENSION, IMAGE, TRAILER = b"!", b",", b";"
CONTROL, COMMENT, APPLICATION = b"\xf9", b"\xfe", b"\xff"
LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
"""The application extensions that say how often an animation is shown again."""

HAS_PALETTE, IS_INTERLACED, PALETTE_SIZE = 0x80, 0x40, 0x07
"""Flags of a palette, or of an image, and the exponent of a palette's size among them."""

HAS_KEY: Final = 1


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """One image of a GIF, and where it is in the file.

    Attributes:
        control: the four bytes of its graphic control extension.
        place: left, top, width and height.
        flags: those of its descriptor, as if its palette were its own.
        palette: red, green and blue of each entry; the global one if it has none of its own, or
            nothing.
        begin: where its pixels begin.
        end: where its pixels end.
    """

    control: bytes
    place: tuple[int, int, int, int]
    flags: int
    palette: bytes
    begin: int
    end: int

    @property
    def colours(self) -> bytes:
        """Red, green and blue of each entry; without a palette indices are greys."""
        return GREY_RAMP if GREY_RAMP.startswith(self.palette) else self.palette

    @property
    def alphas(self) -> bytes | None:
        """The alpha of the palette's first entries; None if all are opaque."""
        return b"\xff" * self.control[3] + b"\0" if self.control[0] & HAS_KEY else None

    def head(self, left: int, top: int, control: bytes) -> bytes:
        """Return what comes before the pixels, for some place and control."""
        place = struct.pack("<4HB", left, top, *self.place[2:], self.flags)
        return b"".join((EXTENSION, CONTROL, b"\4", control, b"\0", IMAGE, place, self.palette))


@dataclass(slots=True)
class Blocks:
    """The blocks of a GIF.

    Attributes:
        screen: its width and height.
        palette: the global palette.
        palette_flags: those that announce it.
        control: what applies to the image that is read next.
        plays: how often it is shown; 0 for ever.
        images: its images.
        comments: its comments.
    """

    screen: tuple[int, int]
    palette: bytes
    palette_flags: int
    control: bytes = bytes(4)
    plays: int = 1
    images: list[ImageBlock] = field(default_factory=list)
    comments: list[bytes] = field(default_factory=list)

    def add_extension(self, stream: BinaryIO) -> None:
        """Read an extension."""
        label, parts = stream.read(1), _sub_blocks(stream)
        if label == COMMENT:
            self.comments.append(b"".join(parts))
        first, second = next(parts, b""), next(parts, b"")
        if label == CONTROL and len(first) >= 4:
            self.control = first[:4]
        elif label == APPLICATION and first in LOOPS and len(second) >= 3 and second[0] == 1:
            loops = int.from_bytes(second[1:3], "little")
            self.plays = loops + 1 if loops else 0
        for _ in parts:
            pass

    def add_image(self, stream: BinaryIO) -> None:
        """Read an image, but for its pixels."""
        left, top, width, height, flags = struct.unpack("<4HB", _exactly(stream, 9))
        palette = _exactly(stream, _palette_bytes(flags))
        palette_flags = flags if palette else self.palette_flags
        flags = flags & IS_INTERLACED | palette_flags & (HAS_PALETTE | PALETTE_SIZE)
        begin = stream.tell()
        _exactly(stream, 1)  # the size of its first codes
        while length := _exactly(stream, 1)[0]:
            stream.seek(length, 1)
        place, palette = (left, top, width, height), palette or self.palette
        image = ImageBlock(self.control, place, flags, palette, begin, stream.tell())
        self.images.append(image)
        self.control = bytes(4)


def read_blocks(stream: BinaryIO) -> Blocks:
    """Read the blocks of a file, but for the pixels.

    Raises:
        PoolError: it has no image, or breaks off in one.
    """
    stream.seek(0)
    head = _exactly(stream, HEAD_BYTES)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    blocks = Blocks((width, height), _exactly(stream, _palette_bytes(flags)), flags)
    while (kind := stream.read(1)) not in (b"", TRAILER):
        if kind == EXTENSION:
            blocks.add_extension(stream)
        elif kind == IMAGE:
            blocks.add_image(stream)
    if not blocks.images:
        raise PoolError("it has no image", "is the file complete?")
    return blocks


def packed(part: bytes) -> bytes:
    """Return a part of an extension with its length."""
    return bytes((len(part),)) + part


def _palette_bytes(flags: int) -> int:
    """Return the length of a palette, from the flags that announce it."""
    return 3 << (flags & PALETTE_SIZE) + 1 if flags & HAS_PALETTE else 0


def _sub_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the parts of an extension, until its end."""
    while (length := stream.read(1)) and length[0]:
        yield stream.read(length[0])


def _exactly(stream: BinaryIO, count: int) -> bytes:
    """Return so many bytes.

    Raises:
        PoolError: there are fewer.
    """
    octets = stream.read(count)
    if len(octets) < count:
        raise PoolError("it breaks off before its end", "is the file complete?")
    return octets
