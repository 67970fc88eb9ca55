"""Read and write the chunks of a PNG (PNG, Third Edition, sections 5 and 11)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from poolcli.errors import PoolError

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
HEADER: Final = struct.Struct(">IIBBBBB")
CONTROL: Final = struct.Struct(">IIIIIHHBB")
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
DEPTHS: Final = {GREY: (1, 2, 4, 8, 16), PALETTE: (1, 2, 4, 8)}
USUAL_DEPTHS: Final = (8, 16)
CHANNELS: Final = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
"""The number of samples of a pixel, by colour type."""

ALPHA_TYPES: Final = (GREY_ALPHA, RGB_ALPHA)
SAMPLE_MODES: Final = {
    GREY: ("L", "I;16"),
    RGB: ("RGB", "RGB;16"),
    GREY_ALPHA: ("LA", "LA;16"),
    RGB_ALPHA: ("RGBA", "RGBA;16"),
}
"""The modes of samples of up to 8 bits and of 16, by colour type."""

KEY_BYTES: Final = {GREY: 2, RGB: 6}
"""The length of a tRNS chunk that holds a transparent colour, by colour type."""

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
"""The length of the chunks that have a fixed one."""

TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
NEEDED: Final = (b"PLTE", b"tRNS", b"acTL", b"fcTL")
"""The chunks that change how the pixels look, beside IHDR and the pixel data."""

METADATA: Final = frozenset((b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"iCCP", b"eXIf"))
"""The metadata chunks, without the texts."""

KEPT: Final = {b"IHDR", *NEEDED, *METADATA}
"""The chunks whose bodies are kept."""

Data: TypeAlias = "list[tuple[bytes, range]]"
"""The positions of the pixel data in the file, each after the name of its chunks.

The range of IDAT covers one or several whole chunks; that of fdAT covers its pixels alone.
"""


class Header(NamedTuple):
    """The body of IHDR."""

    width: int
    height: int
    depth: int
    colour_type: int
    compression: int
    filters: int
    interlace: int


@dataclass(slots=True)
class Chunks:
    """The chunks of a file.

    Attributes:
        stream: the file.
        bodies: the body of the first chunk of each name in `KEPT`.
        texts: the text chunks: (name, body).
        frames: the body of fcTL and the pixel data of each frame of an animation.
        data: the pixel data before the first fcTL; it belongs to no frame of an animation.
        has_pixels: whether there is pixel data.
        is_damaged: whether a damaged metadata chunk was skipped.
        is_complete: whether the file has an IEND chunk.
    """

    stream: BinaryIO
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    frames: list[tuple[bytes, Data]] = field(default_factory=list)
    data: Data = field(default_factory=list)
    has_pixels: bool = False
    is_damaged: bool = False
    is_complete: bool = False

    def header(self) -> Header:
        """Return the checked header.

        Raises:
            PoolError: the header or the pixel data is missing, or PNG has no such pictures.
        """
        bodies = self.bodies
        if b"IHDR" not in bodies or not self.has_pixels:
            raise PoolError("it has no pixels", "is the file complete?")
        header = Header(*HEADER.unpack(bodies[b"IHDR"]))
        kind, depth = header.colour_type, header.depth
        faults = {
            f"it has {header.height}×{header.width} pixels": not header.height * header.width,
            f"PNG has no {depth}-bit samples of colour type {kind}": (
                kind not in CHANNELS or depth not in DEPTHS.get(kind, USUAL_DEPTHS)
            ),
            f"its compression and filter are {header[4:6]}, not (0, 0)": any(header[4:6]),
            "it has no palette": kind == PALETTE and b"PLTE" not in bodies,
            "its tRNS chunk with the transparent colour is too short": (
                len(bodies.get(b"tRNS", bytes(6))) < KEY_BYTES.get(kind, 0)
            ),
        }
        for fault, applies in faults.items():
            if applies:
                raise PoolError(fault, "is the file damaged?")
        return header

    def picture(self, header: Header, key: bytes, data: Data) -> JoinedStream:
        """Return a PNG of one frame without metadata, for the decoder.

        Decoders refuse some files because of large or unusual metadata.

        Args:
            header: the header of the frame.
            key: a tRNS chunk, or nothing.
            data: the positions of its pixel data.
        """
        parts: list[bytes | range] = [SIGNATURE + chunk(b"IHDR", HEADER.pack(*header)) + key]
        for name, place in data:
            if name == b"IDAT":
                parts.append(place)
            else:
                self.stream.seek(place.start)
                parts.append(chunk(b"IDAT", self.stream.read(len(place))))
        # Without IEND the decoder reports a file that is cut off.
        parts.append(chunk(b"IEND", b"") if self.is_complete else b"")
        return JoinedStream(self.stream, parts)


class JoinedStream:
    """A readable stream made of bytes and of ranges of another stream, which are not copied."""

    def __init__(self, stream: BinaryIO, parts: list[bytes | range]) -> None:
        """Keep the parts."""
        self._stream, self._parts, self._at = stream, parts, 0

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, position: int) -> int:
        """Set the position, counted from the start."""
        self._at = position
        return position

    def read(self, size: int = 1 << 62) -> bytes:
        """Return the next ``size`` bytes; fewer at the end."""
        found, offset = [], self._at
        for part in self._parts:
            piece = part[offset : offset + size]
            if isinstance(piece, range):
                self._stream.seek(piece.start)
                piece = self._stream.read(len(piece))
            found.append(piece)
            size -= len(piece)
            offset = max(0, offset - len(part))
        octets = b"".join(found)
        self._at += len(octets)
        return octets


def read_chunks(stream: BinaryIO) -> Chunks:
    """Read the chunks of a file; of the pixel data only the positions.

    Damaged metadata chunks are skipped.

    Raises:
        PoolError: a chunk that the pixels depend on is damaged.
    """
    chunks = Chunks(stream)
    data = chunks.data
    for name, begin, length in walk(stream):
        chunks.has_pixels |= name in (b"IDAT", b"fdAT")
        if name == b"IDAT":
            # Adjacent chunks become one range, because a file may have very many of them.
            is_next = data and data[-1][1].stop == begin - 8
            start = data.pop()[1].start if is_next else begin - 8
            data.append((name, range(start, begin + length + 4)))
            continue
        if name == b"fdAT":  # its pixels follow a sequence number
            data.append((name, range(begin + 4, begin + length)))
            continue
        body = stream.read(length)
        checksum = zlib.crc32(body, zlib.crc32(name))
        is_intact = stream.read(4) == struct.pack(">I", checksum)
        if name == b"IEND":
            chunks.is_complete = True
        elif not is_intact or len(body) != LENGTHS.get(name, len(body)):
            if name[:1].isupper() or name in NEEDED:
                raise PoolError(f"its {name.decode()} chunk is damaged", "is the file complete?")
            chunks.is_damaged = True
        elif name == b"fcTL":
            data = []
            chunks.frames.append((body, data))
        elif name in TEXTS:
            chunks.texts.append((name, body))
        # The palette, tRNS and acTL are only valid before the pixels.
        elif name in KEPT and not (name in NEEDED and chunks.has_pixels):
            chunks.bodies.setdefault(name, body)
    return chunks


def walk(stream: BinaryIO, at: int = len(SIGNATURE)) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, the position of its body, and the length of its body.

    The stream is left at the body. The length is shortened if the file ends within the chunk.

    Args:
        stream: the file.
        at: the position of the first chunk.
    """
    end = stream.seek(0, 2)
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
