"""Read and write the blocks of a GIF (CompuServe, GIF89a, 1990)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError

SIGNATURE: Final = b"GIF89a"
HEAD_BYTES: Final = 13
EXTENSION, IMAGE, TRAILER = b"!", b",", b";"
CONTROL, COMMENT, APPLICATION = b"\xf9", b"\xfe", b"\xff"
LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
"""The application extensions that hold the number of repetitions of an animation."""

HAS_PALETTE, IS_INTERLACED, PALETTE_SIZE = 0x80, 0x40, 0x07
"""Bits in the flags of the screen and of an image; the last three give the palette's size."""

MOST_TEXT: Final = 1 << 22
"""The most bytes of extensions, all together, apart from `CONTROL_BYTES` of each image."""

CONTROL_BYTES: Final = 6

MOST_JUNK: Final = 1 << 16
"""The most bytes outside of blocks; behind so many the file is taken to have ended."""

PIXEL_BYTES, SPARE_BYTES = 3, 1 << 16
"""The most bytes of compressed pixels: two codes of 12 bits for each, and some for an image."""

HAS_KEY: Final = 1
NO_CONTROL: Final = bytes(4)
GREY_RAMP: Final = bytes(grey for grey in range(256) for _ in range(3))
"""The palette in which entry n is the grey level n."""


class ImageBlock(NamedTuple):
    """One image of a GIF, and the position of its pixels in the file.

    Attributes:
        control: the first four bytes of its graphic control extension; zeros if it has none.
        place: left, top, width and height on the canvas.
        flags: the flags of an image descriptor that is followed by ``palette``.
        palette: red, green and blue of each entry of the local palette, or else of the global
            one; empty if there is neither.
        colours: the same, but `GREY_RAMP` if there is no palette or a part of that ramp.
        alphas: the alpha of the palette's first entries; None if all are opaque.
        begin: the position at which its pixels begin.
        end: the position at which its pixels end.
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
        """Return the bytes before the pixels, for another position and control extension."""
        place = struct.pack("<4HB", left, top, *self.place[2:], self.flags)
        return extension(CONTROL, control) + IMAGE + place + self.palette


class Images:
    """The images of a GIF in order.

    Of each only some numbers are kept, and the rest is read again when it is asked for: there may
    be tens of thousands.
    """

    def __init__(self, stream: BinaryIO, flags: int, palette: bytes) -> None:
        """Begin with no images.

        Args:
            stream: the file.
            flags: the flags of the screen, which describe the global palette.
            palette: the global palette.
        """
        self._stream, self._shared_flags, self._shared = stream, flags, palette
        self._controls, self._places = bytearray(), array("H")
        self._begins, self._ends = array("Q"), array("Q")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ends)

    def add(self, control: bytes) -> None:
        """Add the image whose descriptor begins here, and skip it.

        Args:
            control: the first four bytes of its graphic control extension.
        """
        begin = self._stream.tell()
        image = self._read(control)
        _skip_pixels(self._stream, image)
        self._controls += control
        self._places.extend(image.place)
        self._begins.append(begin)
        self._ends.append(self._stream.tell())

    def control(self, number: int) -> bytes:
        """Return the first four bytes of an image's graphic control extension."""
        return bytes(self._controls[4 * number : 4 * number + 4])

    def place(self, number: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height of an image on the canvas."""
        left, top, width, height = self._places[4 * number : 4 * number + 4]
        return left, top, width, height

    def __getitem__(self, number: int) -> ImageBlock:
        """Return an image."""
        self._stream.seek(self._begins[number])
        return self._read(self.control(number))._replace(end=self._ends[number])

    def _read(self, control: bytes) -> ImageBlock:
        """Read the descriptor and palette of an image; the end of its pixels is not known yet."""
        *place, flags = struct.unpack("<4HB", _read_exactly(self._stream, 9))
        palette = _read_exactly(self._stream, _palette_bytes(flags))
        palette_flags = flags if palette else self._shared_flags
        flags = flags & IS_INTERLACED | palette_flags & (HAS_PALETTE | PALETTE_SIZE)
        palette = palette or self._shared
        colours = GREY_RAMP if GREY_RAMP.startswith(palette) else palette
        alphas = b"\xff" * control[3] + b"\0" if control[0] & HAS_KEY else None
        begin = self._stream.tell()
        return ImageBlock(control, tuple(place), flags, palette, colours, alphas, begin, begin)


class Blocks(NamedTuple):
    """The blocks of a GIF.

    Attributes:
        width: the width of the screen.
        height: the height of the screen.
        plays: how often an animation is played; 0 means for ever.
        images: the images in order.
        comments: the comments in order.
        aspect: the shape of a pixel: 64 times its width by its height, less 15; 0 if not stated.
        is_complete: whether the file ends with a trailer.
    """

    width: int
    height: int
    plays: int
    images: Images
    comments: list[bytes]
    aspect: int
    is_complete: bool


def read_blocks(stream: BinaryIO, most_text: int = MOST_TEXT) -> Blocks:
    """Read the blocks of a file; of the pixels only the positions.

    Raises:
        PoolError: the file has no image, ends within one, or has far more data than it describes.
    """
    stream.seek(0)
    head = _read_exactly(stream, HEAD_BYTES)
    width, height, flags = struct.unpack("<HHB", head[6:11])
    palette = _read_exactly(stream, _palette_bytes(flags))
    images, plays, control = Images(stream, flags, palette), 1, NO_CONTROL
    comments: list[bytes] = []
    text_left, junk_left = most_text, MOST_JUNK
    while (kind := stream.read(1)) not in (b"", TRAILER) and junk_left:
        if kind == IMAGE:
            images.add(control)
            control = NO_CONTROL
            text_left += CONTROL_BYTES
        if kind != EXTENSION:
            junk_left -= kind != IMAGE
            continue
        label, parts = stream.read(1), [*_sub_blocks(stream, text_left)]
        text_left -= sum(map(len, parts)) + len(parts) + 1
        match label, parts:
            case b"\xfe", _:
                comments.append(b"".join(parts))
            case b"\xf9", [first, *_] if len(first) >= 4:
                control = first[:4]
            case b"\xff", [name, loops, *_] if name in LOOPS and len(loops) >= 3 and loops[0] == 1:
                again = int.from_bytes(loops[1:3], "little")
                plays = again + 1 if again else 0
    is_complete = kind == TRAILER
    if not images:
        remedy = "make the file anew" if is_complete else "is the file complete?"
        raise PoolError("it has no image", remedy)
    return Blocks(width, height, plays, images, comments, head[12], is_complete=is_complete)


def extension(label: bytes, *parts: bytes) -> bytes:
    """Return an extension block with some sub-blocks of up to 255 bytes each."""
    return b"".join((EXTENSION, label, *(bytes((len(one),)) + one for one in parts), b"\0"))


def _palette_bytes(flags: int) -> int:
    """Return the length in bytes of the palette that the flags announce."""
    return 3 << (flags & PALETTE_SIZE) + 1 if flags & HAS_PALETTE else 0


def _skip_pixels(stream: BinaryIO, image: ImageBlock) -> None:
    """Skip the pixels of an image, which begin here.

    Raises:
        PoolError: the file ends before, or there are far more data than so many pixels need.
    """
    _read_exactly(stream, 1)  # the initial size of LZW codes
    most = PIXEL_BYTES * image.place[2] * image.place[3] + SPARE_BYTES
    while length := _read_exactly(stream, 1)[0]:
        most -= length + 1
        if most < 0:
            raise PoolError("an image has more data than its pixels can need", "make the file anew")
        stream.seek(length, 1)


def _sub_blocks(stream: BinaryIO, most: int) -> Iterator[bytes]:
    """Yield the sub-blocks of an extension, until the empty one that ends it.

    Raises:
        PoolError: there are more than ``most`` bytes.
    """
    while (length := stream.read(1)) and length[0]:
        most -= length[0] + 1
        if most < 0:
            raise PoolError(f"its extensions have over {MOST_TEXT >> 20} MB", "make the file anew")
        yield stream.read(length[0])


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Return exactly ``count`` bytes.

    Raises:
        PoolError: the file ends before.
    """
    octets = stream.read(count)
    if len(octets) < count:
        raise PoolError("it breaks off before its end", "is the file complete?")
    return octets
