"""Read and write the chunks of a PNG (PNG, Third Edition, sections 5 and 11)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
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
    b"mDCV": 24,
    b"cLLI": 8,
}
"""The length of the chunks that have a fixed one."""

TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
NEEDED: Final = (b"PLTE", b"tRNS", b"acTL", b"fcTL")
"""The chunks that change how the pixels look, beside IHDR and the pixel data."""

COLOUR: Final = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""The chunks that define the colours and are copied byte for byte."""

METADATA: Final = frozenset((*COLOUR, b"pHYs", b"iCCP", b"eXIf"))
"""The metadata chunks, without the texts."""

KEPT: Final = {b"IHDR", *NEEDED, *METADATA}
"""The chunks whose bodies are kept."""

Data: TypeAlias = list[range]
"""The positions of the pixel data of a picture: each range covers whole chunks of one name."""

LONGEST: Final = {b"PLTE": 3 * 256, b"tRNS": 256}
"""The most bytes of the chunks of a palette."""

PASSES: Final = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""The passes of an interlaced picture: first row, first column, step of rows, step of columns."""

DAMAGED, CUT_OFF = "is the file damaged?", "is the file complete?"
"""The question to the user if a file is refused."""

MOST_METADATA: Final = 1 << 26
"""The most bytes of all metadata chunks together; further ones are left out."""

MOST_CHUNKS: Final = 1 << 16
"""The most chunks without pixels, such as metadata and the headers of frames."""

LEAST_DATA: Final = 256
"""The bytes of decompressed pixels that a chunk must have on average, if there are many chunks."""

PIECE_BYTES: Final = 1 << 16
"""The most bytes of a chunk that are read at once, unless all are kept."""


class Header(NamedTuple):
    """The body of IHDR."""

    width: int
    height: int
    depth: int
    colour_type: int
    compression: int
    filters: int
    interlace: int

    @property
    def pixel_bits(self) -> int:
        """The number of bits of a pixel."""
        return CHANNELS[self.colour_type] * self.depth

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, without the byte in front that names its filter."""
        return (self.width * self.pixel_bits + 7) // 8

    @property
    def data_bytes(self) -> int:
        """Bytes of the decompressed pixel data."""
        if self.interlace:
            return sum(one.data_bytes for _, one in self.passes())
        return self.height * (1 + self.row_bytes)

    def passes(self) -> Iterator[tuple[tuple[slice, slice], Header]]:
        """Yield the rows and columns of each pass of an interlaced picture, and its header."""
        for top, left, down, across in PASSES:
            height, width = len(range(top, self.height, down)), len(range(left, self.width, across))
            if height and width:
                place = slice(top, None, down), slice(left, None, across)
                yield place, self._replace(height=height, width=width, interlace=0)


class Chunks:
    """The chunks of a file.

    Attributes:
        stream: the file.
        header: the body of IHDR.
        bodies: the body of the first chunk of each name in `KEPT`.
        texts: the text chunks: (name, body).
        frames: the body of fcTL and the pixel data of each frame of an animation.
        data: the pixel data before the first fcTL; it belongs to no frame of an animation.
        picture: the pixel data of the picture for viewers without animations.
        is_ordered: whether the chunks of an animation are numbered in their order.
        has_pixels: whether there is pixel data.
        is_complete: whether the file has an intact IEND chunk.
        warnings: what is damaged or left out, in words.
    """

    has_pixels = is_complete = False
    is_ordered = True
    _next_number = 0
    _chunks_left = _pixel_chunks_left = MOST_CHUNKS
    _metadata_left = MOST_METADATA

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        """Keep the arguments; no chunk is read yet."""
        self.stream, self.header = stream, header
        self.bodies: dict[bytes, bytes] = {}
        self.texts: list[tuple[bytes, bytes]] = []
        self.frames: list[tuple[bytes, Data]] = []
        self.data: Data = []
        self.picture: Data = []
        self.warnings: dict[str, None] = {}

    def expect(self, header: Header) -> None:
        """Allow the chunks of pixels that a picture or frame of some size may need."""
        self._pixel_chunks_left += header.data_bytes // LEAST_DATA

    def add_pixels(self, name: bytes, begin: int, length: int) -> None:
        """Add a chunk of pixel data to the still picture or the latest frame.

        Raises:
            PoolError: there are more chunks than so many pixels need.
        """
        self.has_pixels = True
        self._pixel_chunks_left -= 1
        if self._pixel_chunks_left < 0:
            raise PoolError("its pixels are split into far too many chunks", DAMAGED)
        place = range(begin - 8, begin + length + 4)
        _extend(self.frames[-1][1] if self.frames else self.data, place)
        if name == b"IDAT":
            _extend(self.picture, place)
        else:
            self._count(self.stream.read(4))

    def add(self, name: bytes, length: int) -> None:
        """Add another chunk; the stream is at its body.

        Raises:
            PoolError: a chunk that the pixels depend on is damaged, repeated or unknown, or there
                are too many chunks.
        """
        self._chunks_left -= 1
        if self._chunks_left < 0:
            raise PoolError(f"it has more than {MOST_CHUNKS} chunks without pixels", DAMAGED)
        if not is_needed(name):
            self._metadata_left -= length
            if self._metadata_left < 0:
                self.warnings["it has too much metadata, and some of it was dropped"] = None
                return
        body = self.read(name, length)
        if is_needed(name):
            self._check_needed(name, body)
        elif body is None:
            self.warnings["its metadata is damaged, and was dropped"] = None
        if body is not None:
            self._keep(name, body)

    def read(self, name: bytes, length: int) -> bytes | None:
        """Read and check the body of a chunk; return it, or None if it is damaged.

        Bodies that are not kept are read in pieces, and an empty body is returned.
        """
        if length != LENGTHS.get(name, length) or length > LONGEST.get(name, length):
            return None
        step = max(1, length) if name in KEPT or name in TEXTS else PIECE_BYTES
        checksum, body = zlib.crc32(name), b""
        for left in range(length, 0, -step):
            body = self.stream.read(min(step, left))
            checksum = zlib.crc32(body, checksum)
        is_intact = self.stream.read(4) == struct.pack(">I", checksum)
        return body if is_intact else None

    def check(self) -> None:
        """Refuse a file without pixels, or without a chunk that its colour type needs.

        Raises:
            PoolError: there are none.
        """
        kind, bodies = self.header.colour_type, self.bodies
        if not self.has_pixels:
            raise PoolError("it has no pixels", CUT_OFF)
        if kind == PALETTE and b"PLTE" not in bodies:
            raise PoolError("it has no palette", DAMAGED)
        if len(bodies.get(b"tRNS", bytes(6))) < KEY_BYTES.get(kind, 0):
            raise PoolError("its tRNS chunk with the transparent colour is too short", DAMAGED)
        if not self.is_complete:
            self.warnings["its end is missing or damaged: metadata there may be lost"] = None

    def _check_needed(self, name: bytes, body: bytes | None) -> None:
        """Refuse a damaged, repeated or unknown chunk that the pixels depend on."""
        title = name.decode()
        if body is None or (name == b"PLTE" and (not body or len(body) % 3)):
            raise PoolError(f"its {title} chunk is damaged", DAMAGED)
        if name == b"IHDR" or (name == b"PLTE" and name in self.bodies):
            raise PoolError(f"it has two {title} chunks", DAMAGED)
        if name not in KEPT:
            raise PoolError(f"its chunk {title} is unknown, but needed to read it", DAMAGED)

    def _keep(self, name: bytes, body: bytes) -> None:
        """Keep the body of an intact chunk, unless it has no meaning at its place."""
        self.is_ordered &= name != b"acTL" or name not in self.bodies
        if name == b"fcTL":
            self._count(body[:4])
            _, width, height, *_ = CONTROL.unpack(body)
            self.expect(self.header._replace(width=width, height=height))
            self.frames.append((body, []))
        elif name in TEXTS:
            self.texts.append((name, body))
        # The palette, tRNS and acTL are only valid before the pixels.
        elif name in KEPT and not (name in NEEDED and self.has_pixels):
            self.bodies.setdefault(name, body)

    def _count(self, number: bytes) -> None:
        """Compare the number of a chunk of an animation with that of the chunk before."""
        self.is_ordered &= number == struct.pack(">I", self._next_number)
        self._next_number += 1


def _extend(data: Data, place: range) -> None:
    """Add the position of a chunk.

    Adjacent chunks become one range, because a file may have very many of them.
    """
    is_next = data and data[-1].stop == place.start
    data.append(range(data.pop().start if is_next else place.start, place.stop))


def read_chunks(stream: BinaryIO, check_size: Callable[[int, int], None]) -> Chunks:
    """Read the chunks of a file; of the pixel data only the positions.

    Damaged metadata chunks are left out, with a warning.

    Args:
        stream: the file.
        check_size: refuses a picture of too large a height and width.

    Raises:
        PoolError: a chunk that the pixels depend on is damaged or missing, or the picture is
            refused.
    """
    parts = walk(stream)
    chunks = Chunks(stream, _read_header(stream, next(parts, (b"", 0, 0))))
    check_size(chunks.header.height, chunks.header.width)
    chunks.expect(chunks.header)
    for name, begin, length in parts:
        if name in (b"IDAT", b"fdAT"):
            chunks.add_pixels(name, begin, length)
        elif name == b"IEND":
            chunks.is_complete = chunks.read(name, length) is not None
        else:
            chunks.add(name, length)
    chunks.check()
    return chunks


def _read_header(stream: BinaryIO, part: tuple[bytes, int, int]) -> Header:
    """Read and check the first chunk.

    Raises:
        PoolError: it is not IHDR, it is damaged, or PNG has no such pictures.
    """
    name, _, length = part
    body = stream.read(length + 4) if name == b"IHDR" and length == HEADER.size else b""
    if not name:
        raise PoolError("it has no pixels", CUT_OFF)
    if chunk(b"IHDR", body[:-4])[8:] != body:
        raise PoolError("its IHDR chunk is damaged or missing", DAMAGED)
    header = Header(*HEADER.unpack(body[:-4]))
    kind, depth = header.colour_type, header.depth
    faults = {
        f"it has {header.height}×{header.width} pixels": not header.height * header.width,
        f"PNG has no {depth}-bit samples of colour type {kind}": (
            kind not in CHANNELS or depth not in DEPTHS.get(kind, USUAL_DEPTHS)
        ),
        f"PNG has no compression, filter and interlace methods {header[4:]}": (
            any(header[4:6]) or header.interlace > 1
        ),
    }
    for fault, applies in faults.items():
        if applies:
            raise PoolError(fault, DAMAGED)
    return header


def is_needed(name: bytes) -> bool:
    """Return whether pixels depend on a chunk of this name, which is not pixel data itself."""
    return name in NEEDED or (name[:1].isupper() and name != b"IEND")


def compressed_pieces(stream: BinaryIO, data: Data) -> Iterator[bytes]:
    """Yield the compressed pixel data in pieces, and check the CRC of every chunk.

    Raises:
        PoolError: a chunk is damaged.
    """
    for place in data:
        for name, begin, length in walk(stream, place.start, place.stop):
            checksum, at, end = zlib.crc32(name), begin, begin + length
            if name == b"fdAT":  # a sequence number precedes the data
                checksum, at = zlib.crc32(stream.read(4), checksum), begin + 4
            while at < end:
                stream.seek(at)
                piece = stream.read(min(PIECE_BYTES, end - at))
                checksum = zlib.crc32(piece, checksum)
                at += len(piece)
                yield piece
            stream.seek(end)
            if stream.read(4) != struct.pack(">I", checksum):
                raise PoolError(f"its {name.decode()} chunk is damaged", DAMAGED)


def walk(
    stream: BinaryIO, at: int = len(SIGNATURE), end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, the position of its body, and the length of its body.

    The stream is left at the body.

    Args:
        stream: the file.
        at: the position of the first chunk.
        end: the end of the last chunk; None for the end of the file.

    Raises:
        PoolError: the file ends within a chunk that the pixels depend on.
    """
    end = stream.seek(0, 2) if end is None else end
    while at + 8 <= end:
        stream.seek(at)
        length, name = struct.unpack(">I4s", stream.read(8))
        if not name.isalpha():
            return
        at += 12 + length
        if at > end:
            if is_needed(name) or name == b"fdAT":
                raise PoolError(f"it breaks off in its {name.decode()} chunk", CUT_OFF)
            return
        yield name, at - 4 - length, length
        if name == b"IEND":
            return


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    checksum = zlib.crc32(body, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum)))
