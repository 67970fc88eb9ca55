"""The chunks of a PNG (PNG, Third Edition, sections 5 and 11), read in one pass."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from poolcli.errors import PoolError

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
HEADER: Final = struct.Struct(">IIBBBBB")
CONTROL: Final = struct.Struct(">IIIIIHHBB")
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
DEPTHS: Final = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
"""The bits that samples may have, by colour type (11.2.1)."""

KEY_BYTES: Final = {GREY: 2, RGB: 6}
"""The length of tRNS where it is a transparent colour."""

LENGTHS: Final = {
    b"IHDR": HEADER.size,
    b"acTL": 8,
    b"fcTL": CONTROL.size,
    b"pHYs": 9,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"cICP": 4,
}
"""The chunks of a fixed length, and that length."""

TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
NEEDED: Final = (b"PLTE", b"tRNS", b"acTL", b"fcTL")
"""The chunks without which the pixels would be others, with IHDR and the pixel data."""

READ: Final = frozenset((*LENGTHS, *TEXTS, *NEEDED, b"iCCP", b"eXIf"))
"""The chunks whose bodies are kept."""

PIECE: Final = 1 << 20
"""Bytes that are read at a time of chunks whose bodies are not kept."""

Place = tuple[bytes, int, int]
"""The name of one or several chunks in a row, and where they begin and end in the file."""


class Header(NamedTuple):
    """The body of IHDR."""

    width: int
    height: int
    depth: int
    colour_type: int
    compression: int
    filters: int
    interlace: int


class Control(NamedTuple):
    """The body of fcTL; the delay is a fraction of a second."""

    sequence: int
    width: int
    height: int
    left: int
    top: int
    delay: int
    delay_unit: int
    dispose: int
    blend: int


@dataclass(slots=True)
class AnimationFrame:
    """One frame of an animation.

    Attributes:
        control: what it draws, and where.
        data: where its pixels are.
    """

    control: Control
    data: list[Place] = field(default_factory=list)


@dataclass(slots=True)
class Chunks:
    """The chunks of a file.

    Attributes:
        stream: the file.
        bodies: the first chunk of each name, texts and frames apart.
        texts: the textual chunks: (name, body).
        frames: the frames of an animation.
        data: where the pixels are that belong to no frame of an animation.
        is_damaged: whether a chunk was left out that the pixels don't need.
        is_complete: whether the file goes on to its end.
    """

    stream: BinaryIO
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    frames: list[AnimationFrame] = field(default_factory=list)
    data: list[Place] = field(default_factory=list)
    is_damaged: bool = False
    is_complete: bool = False

    def add_data(self, name: bytes, begin: int, end: int) -> None:
        """Note where pixels are; neighbouring chunks are noted together."""
        data = self.frames[-1].data if self.frames else self.data
        if data and data[-1][::2] == (name, begin):
            begin = data.pop()[1]
        data.append((name, begin, end))

    def add_body(self, name: bytes, body: bytes) -> None:
        """Keep what is read of another chunk."""
        if name == b"fcTL":
            self.frames.append(AnimationFrame(Control(*CONTROL.unpack(body))))
        elif name in TEXTS:
            self.texts.append((name, body))
        elif name in READ and not (name in NEEDED and self.has_pixels):
            self.bodies.setdefault(name, body)

    @property
    def has_pixels(self) -> bool:
        """Whether any pixels were met; a palette behind them has no effect."""
        return bool(self.data or (self.frames and self.frames[0].data))

    def header(self) -> Header:
        """Return the header.

        Raises:
            PoolError: it is missing, or no picture can have it.
        """
        bodies = self.bodies
        if b"IHDR" not in bodies or not self.has_pixels:
            raise PoolError("it has no pixels", "is the file complete?")
        header = Header(*HEADER.unpack(bodies[b"IHDR"]))
        kind, depth = header.colour_type, header.depth
        faults = {
            f"it has {header.height}×{header.width} pixels": not header.height * header.width,
            f"PNG has no {depth}-bit samples of colour type {kind}": (
                depth not in DEPTHS.get(kind, ())
            ),
            "its pixels are compressed in an unknown way": header.compression or header.filters,
            "it has no palette": kind == PALETTE and b"PLTE" not in bodies,
            "its transparent colour is cut off": (
                len(bodies.get(b"tRNS", bytes(6))) < KEY_BYTES.get(kind, 0)
            ),
        }
        for fault, applies in faults.items():
            if applies:
                raise PoolError(fault, "is the file sound?")
        return header

    def picture(self, header: Header, key: bytes, data: list[Place]) -> JoinedStream:
        """Return a PNG of nothing but the pixels of one frame.

        Decoders refuse a whole picture for large or odd metadata, and so are given none.

        Args:
            header: of the frame.
            key: a tRNS chunk, or nothing.
            data: where the pixels are.
        """
        ihdr = chunk(b"IHDR", HEADER.pack(*header))
        parts = [_whole(SIGNATURE + ihdr + key)]
        for name, begin, end in data:
            part = self.stream, begin, end
            parts.append(part if name == b"IDAT" else _whole(_as_still(*part)))
        # The end of a file that is cut off must not be taken for its last pixels.
        parts.append(_whole(chunk(b"IEND", b"") if self.is_complete else b""))
        return JoinedStream(parts)


class JoinedStream:
    """Parts of other streams as one, so that their bytes need not be copied."""

    def __init__(self, parts: list[tuple[BinaryIO, int, int]]) -> None:
        """Keep the parts: a stream, and where the part begins and ends in it."""
        self._parts, self._at = parts, 0

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, position: int) -> int:
        """Go to a position, counted from the start."""
        self._at = position
        return position

    def read(self, size: int = 1 << 62) -> bytes:
        """Return the next bytes; fewer at the end."""
        found, offset = [], self._at
        for stream, begin, end in self._parts:
            if size and offset < end - begin:
                stream.seek(begin + offset)
                found.append(stream.read(min(size, end - begin - offset)))
                size -= len(found[-1])
                self._at += len(found[-1])
                offset = 0
            else:
                offset = max(0, offset - (end - begin))
        return b"".join(found)


def read_chunks(stream: BinaryIO) -> Chunks:
    """Read the chunks of a file, but for those of its pixels.

    Damaged ones that the pixels don't need are left out.

    Raises:
        PoolError: one is damaged without which the pixels would be others.
    """
    chunks = Chunks(stream)
    for name, begin, length in walk(stream):
        if name in (b"IDAT", b"fdAT"):
            chunks.add_data(name, begin - 8, begin + length + 4)
        elif name == b"IEND":
            chunks.is_complete = True
        elif (body := _intact_body(stream, name, length)) is not None:
            chunks.add_body(name, body)
        elif name[:1].isupper() or name in NEEDED:
            raise PoolError(f"its {name.decode()} chunk is damaged", "is the file complete?")
        else:
            chunks.is_damaged = True
    return chunks


def walk(
    stream: BinaryIO, at: int = len(SIGNATURE), end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, and where its body begins and how long it is.

    The stream is set to the body. The last chunk may be cut off by the end of the file.
    """
    end = stream.seek(0, 2) if end is None else end
    while at + 8 <= end:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if not name.isalpha():
            return
        yield name, at + 8, min(length, max(0, end - at - 12))
        at += length + 12
        if name == b"IEND":
            return


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _intact_body(stream: BinaryIO, name: bytes, length: int) -> bytes | None:
    """Return the body of a chunk, or nothing if it is not kept; None if the chunk is damaged."""
    parts, checksum, left = [], zlib.crc32(name), length
    while left and (part := stream.read(min(left, PIECE))):
        left -= len(part)
        checksum = zlib.crc32(part, checksum)
        if name in READ:
            parts.append(part)
    is_intact = stream.read(4) == struct.pack(">I", checksum)
    return b"".join(parts) if is_intact and LENGTHS.get(name, length) == length else None


def _whole(octets: bytes) -> tuple[BinaryIO, int, int]:
    """Return bytes as a part of a joined stream."""
    return BytesIO(octets), 0, len(octets)


def _as_still(stream: BinaryIO, begin: int, end: int) -> bytes:
    """Return the chunks of a later frame of an animation as those of a picture."""
    return b"".join(
        chunk(b"IDAT", stream.read(length)[4:]) for _, _, length in walk(stream, begin, end)
    )
