"""Animated PNG as single pictures, and back (PNG, Third Edition, 11.3.6).

Pillow decodes and encodes the single pictures: its films hold all frames at once, have 8 bits,
and come out too transparent where a half-transparent frame is laid over another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import BinaryIO, Final

from poolcli.codec.chunks import PNG_SIGNATURE, png_chunk, png_chunks, png_places
from poolcli.codec.film import Dispose, Drawing, Film, Patch
from poolcli.errors import PoolError

TICK: Final = Fraction(1)
"""The unit in which durations are written, in milliseconds."""

MOST_TICKS: Final = 65535
DISPOSE: Final[tuple[Dispose, ...]] = ("keep", "clear", "restore")
CONTROL: Final = ">IIIIIHHBB"
"""fcTL: sequence number, width, height, x, y, delay as a fraction, dispose and blend."""

SHARED: Final = (b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"iCCP", b"cICP", b"cHRM")
"""What every frame needs to be decoded as a picture of its own."""


@dataclass(slots=True)
class _Frame:
    """One fcTL and where its pixels lie: (begin, length), without sequence numbers."""

    control: tuple[int, ...]
    places: list[tuple[int, int]]


def split(stream: BinaryIO) -> Film | None:
    """The film that a PNG shows; None where it is a single picture.

    A picture in front that is no part of the film, for viewers that show no films, is left out.

    Raises:
        PoolError: it breaks off.
    """
    head, stated, plays, last = b"", 0, -1, b""
    shared: list[bytes] = []
    frames: list[_Frame] = []
    for name, begin, length in png_places(stream):
        stream.seek(begin)
        if name == b"IHDR":
            head = stream.read(length)
        elif name == b"acTL" and length == 8:
            stated, plays = struct.unpack(">II", stream.read(8))
        elif name == b"fcTL" and length == struct.calcsize(CONTROL):
            frames.append(_Frame(struct.unpack(CONTROL, stream.read(length)), []))
        elif name == b"IDAT" and frames:
            frames[-1].places.append((begin, length))
        elif name == b"fdAT" and frames:
            frames[-1].places.append((begin + 4, length - 4))
        elif name in SHARED:
            shared.append(png_chunk(name, stream.read(length)))
        last = name
    if plays < 0 or not frames:
        return None
    if len(frames) < stated or last != b"IEND":
        raise PoolError(f"the film breaks off after {len(frames)} frames", "is the file complete?")
    width, height = struct.unpack(">II", head[:8])
    patches = (_patch(stream, head, b"".join(shared), one) for one in frames)
    return Film(height, width, plays, tuple(patches))


def has_front(stream: BinaryIO) -> bool:
    """Whether a picture stands in front that is no part of the film."""
    names = (name for name, _, _ in png_places(stream))
    return next(name for name in names if name in (b"IDAT", b"fcTL")) == b"IDAT"


def _patch(stream: BinaryIO, head: bytes, shared: bytes, frame: _Frame) -> Patch:
    """One frame as what it draws."""
    _, width, height, left, top, numerator, denominator, dispose, blend = frame.control
    return Patch(
        top=top,
        left=left,
        height=height,
        width=width,
        duration=Fraction(1000 * numerator, denominator or 100),
        dispose=DISPOSE[dispose] if dispose < len(DISPOSE) else "keep",
        over=blend == 1,
        still=partial(_still, stream, head, shared, frame),
    )


def _still(stream: BinaryIO, head: bytes, shared: bytes, frame: _Frame) -> BinaryIO:
    """One frame as a PNG of its own."""
    size = struct.pack(">II", *frame.control[1:3])
    still = BytesIO()
    still.write(PNG_SIGNATURE + png_chunk(b"IHDR", size + head[8:]) + shared)
    for begin, length in frame.places:
        stream.seek(begin)
        still.write(png_chunk(b"IDAT", stream.read(length)))
    still.write(png_chunk(b"IEND", b""))
    return still


def join(drawings: Iterator[Drawing], plays: int) -> BytesIO:
    """A film of single PNGs of one colour type; the first of them covers the canvas."""
    film, sequence, frames, counted_at = BytesIO(), 0, 0, 0
    film.write(PNG_SIGNATURE)
    for frames, drawing in enumerate(drawings, 1):
        chunks = list(png_chunks(BytesIO(drawing.still)))
        if frames == 1:
            before = [one for one in chunks if one[0] not in (b"IDAT", b"IEND")]
            film.write(png_chunk(*before[0]))
            counted_at = film.tell()
            film.write(png_chunk(b"acTL", bytes(8)))
            film.write(b"".join(png_chunk(*one) for one in before[1:]))
        width, height = struct.unpack(">II", chunks[0][1][:8])
        place = (width, height, drawing.left, drawing.top)
        control = struct.pack(CONTROL, sequence, *place, drawing.ticks, 1000, 0, 0)
        film.write(png_chunk(b"fcTL", control))
        sequence += 1
        for body in (body for name, body in chunks if name == b"IDAT"):
            if frames == 1:
                film.write(png_chunk(b"IDAT", body))
            else:
                film.write(png_chunk(b"fdAT", struct.pack(">I", sequence) + body))
                sequence += 1
    film.write(png_chunk(b"IEND", b""))
    film.seek(counted_at)
    film.write(png_chunk(b"acTL", struct.pack(">II", frames, plays)))
    return film
