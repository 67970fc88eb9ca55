"""The blocks of a GIF (CompuServe, GIF89a, 1990), read in one pass."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError

SIGNATURE: Final = b"GIF89a"
HEAD_BYTES: Final = 13
EXTENSION, IMAGE, TRAILER = b"!", b",", b";"
CONTROL, COMMENT, APPLICATION = b"\xf9", b"\xfe", b"\xff"
LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
"""The application extensions that say how often an animation is shown again."""

HAS_PALETTE, IS_INTERLACED, PALETTE_SIZE = 0x80, 0x40, 0x07
"""Flags of a palette, or of an image, and the exponent of a palette's size among them."""

HAS_KEY: Final = 1
NO_CONTROL: Final = bytes(4)
GREY_RAMP: Final = bytes(grey for grey in range(256) for _ in range(3))
"""The palette in which every index is a grey of its own number."""


class ImageBlock(NamedTuple):
    """One image of a GIF, and where it is in the file.

    Attributes:
        control: the four bytes of its graphic control extension.
        place: left, top, width and height.
        flags: those of its descriptor, as if its palette were its own.
        palette: red, green and blue of each entry; the global one if it has none of its own, or
            nothing.
        colours: likewise; greys where there is no palette.
        alphas: the alpha of the palette's first entries; None if all are opaque.
        begin: where its pixels begin.
        end: where its pixels end.
    """

    control: bytes
    place: tuple[int, int, int, int]
    flags: int
    palette: bytes
    colours: bytes
    alphas: bytes | None
    begin: int
    end: int

    def head(self, left: int, top: int, control: bytes) -> bytes:
        """Return what comes before the pixels, for some place and control."""
        place = struct.pack("<4HB", left, top, *self.place[2:], self.flags)
        return extension(CONTROL, control) + IMAGE + place + self.palette


class Blocks(NamedTuple):
    """The blocks of a GIF.

    Attributes:
        width: of its screen.
        height: of its screen.
        plays: how often it is shown; 0 for ever.
        images: its images.
        comments: its comments.
    """

    width: int
    height: int
    plays: int
    images: list[ImageBlock]
    comments: list[bytes]


def read_blocks(stream: BinaryIO) -> Blocks:
    """Read the blocks of a file, but for the pixels.

    Raises:
        PoolError: it has no image, or breaks off in one.
    """
    stream.seek(0)
    head = _exactly(stream, HEAD_BYTES)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    palette = _exactly(stream, _palette_bytes(flags))
    images, comments, plays, control = [], [], 1, NO_CONTROL
    while (kind := stream.read(1)) not in (b"", TRAILER):
        if kind == IMAGE:
            images.append(_image(stream, control, flags, palette))
            control = NO_CONTROL
        if kind != EXTENSION:
            continue
        match stream.read(1), [*_sub_blocks(stream)]:
            case b"\xfe", parts:
                comments.append(b"".join(parts))
            case b"\xf9", [first, *_] if len(first) >= 4:
                control = first[:4]
            case b"\xff", [name, loops, *_] if name in LOOPS and len(loops) >= 3 and loops[0] == 1:
                again = int.from_bytes(loops[1:3], "little")
                plays = again + 1 if again else 0
    if not images:
        raise PoolError("it has no image", "is the file complete?")
    return Blocks(width, height, plays, images, comments)


def extension(label: bytes, *parts: bytes) -> bytes:
    """Return an extension of some parts of up to 255 bytes each."""
    return b"".join((EXTENSION, label, *(bytes((len(one),)) + one for one in parts), b"\0"))


def _palette_bytes(flags: int) -> int:
    """Return the length of a palette, from the flags that announce it."""
    return 3 << (flags & PALETTE_SIZE) + 1 if flags & HAS_PALETTE else 0


def _image(stream: BinaryIO, control: bytes, shared_flags: int, shared: bytes) -> ImageBlock:
    """Read an image, but for its pixels.

    Args:
        stream: behind the byte that announces it.
        control: what applies to it.
        shared_flags: those that announce the global palette.
        shared: the global palette.
    """
    *place, flags = struct.unpack("<4HB", _exactly(stream, 9))
    palette = _exactly(stream, _palette_bytes(flags))
    palette_flags = flags if palette else shared_flags
    flags = flags & IS_INTERLACED | palette_flags & (HAS_PALETTE | PALETTE_SIZE)
    palette = palette or shared
    colours = GREY_RAMP if GREY_RAMP.startswith(palette) else palette
    alphas = b"\xff" * control[3] + b"\0" if control[0] & HAS_KEY else None
    begin = stream.tell()
    _exactly(stream, 1)  # the size of its first codes
    while length := _exactly(stream, 1)[0]:
        stream.seek(length, 1)
    end = stream.tell()
    return ImageBlock(control, tuple(place), flags, palette, colours, alphas, begin, end)


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
