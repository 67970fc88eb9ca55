"""Moving pictures made and read by hand, and an oracle for what is seen of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KEEP, CLEAR, RESTORE = "keep", "clear", "restore"
GIF_DISPOSAL: Final = {KEEP: 1, CLEAR: 2, RESTORE: 3}
APNG_DISPOSAL: Final = {KEEP: 0, CLEAR: 1, RESTORE: 2}

Pixels = NDArray[Any]
Seen = list[tuple[Pixels, Fraction]]


@dataclass(frozen=True)
class Cel:
    """What one frame draws: an (H, W, 4) array, where, for how long, and how."""

    array: Pixels
    left: int = 0
    top: int = 0
    milliseconds: Fraction = Fraction(100)
    dispose: str = KEEP
    over: bool = True


# The oracle


def shown(cels: Iterable[Cel], width: int, height: int) -> Seen:
    """What is seen of a film, pixel by pixel."""
    canvas: list[list[tuple[int, ...]]] = [[(0, 0, 0, 0)] * width for _ in range(height)]
    seen = []
    for cel in cels:
        before = [list(row) for row in canvas]
        rows, columns = cel.array.shape[:2]
        for y in range(rows):
            for x in range(columns):
                if cel.top + y < height and cel.left + x < width:
                    row = canvas[cel.top + y]
                    pixel = tuple(int(one) for one in cel.array[y, x])
                    full = int(np.iinfo(cel.array.dtype).max)
                    row[cel.left + x] = _over(pixel, row[cel.left + x], full) if cel.over else pixel
        seen.append((np.array(canvas, cel.array.dtype), cel.milliseconds))
        if cel.dispose == RESTORE:
            canvas = before
        elif cel.dispose == CLEAR:
            for y in range(cel.top, min(height, cel.top + rows)):
                for x in range(cel.left, min(width, cel.left + columns)):
                    canvas[y][x] = (0, 0, 0, 0)
    return seen


def _over(above: tuple[int, ...], below: tuple[int, ...], full: int) -> tuple[int, ...]:
    """Porter and Duff's operator in exact fractions, rounded to nearest."""
    upper, lower = Fraction(above[3], full), Fraction(below[3], full)
    if upper == 0:
        return below
    alpha = upper + lower * (1 - upper)
    colours = (
        (upper * a + lower * (1 - upper) * b) / alpha
        for a, b in zip(above[:3], below[:3], strict=True)
    )
    return tuple(int(one + Fraction(1, 2)) for one in (*colours, alpha * full))


def merged(seen: Iterable[tuple[Pixels, Fraction]]) -> Seen:
    """The same with equal frames as one, and nothing under full transparency."""
    result: Seen = []
    for array, milliseconds in seen:
        visible = np.where(array[..., 3:] > 0, array, 0)
        if result and np.array_equal(result[-1][0], visible):
            result[-1] = visible, result[-1][1] + milliseconds
        else:
            result.append((visible, milliseconds))
    return result


def assert_looks_the_same(found: Seen, wanted: Seen, slack: int = 0) -> None:
    """The same pictures at the same times, to the slack in milliseconds at each change."""
    found, wanted = merged(found), merged(wanted)
    assert len(found) == len(wanted)
    clock = other = Fraction(0)
    for (array, lasts), (expected, should_last) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(array, expected)
        clock, other = clock + lasts, other + should_last
        assert abs(clock - other) <= slack


# GIF by hand


def gif_of(
    cels: Sequence[Cel], width: int, height: int, *, loops: int | None = 0, more: bytes = b""
) -> bytes:
    """A GIF of pictures of up to 255 colours; loops as its file says them, None for nothing."""
    octets = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    if loops is not None:
        octets += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loops) + b"\0"
    return octets + more + b"".join(map(_gif_frame, cels)) + b";"


def _gif_frame(cel: Cel) -> bytes:
    rows, columns = cel.array.shape[:2]
    hidden = cel.array[..., 3] == 0
    colours, places = np.unique(cel.array[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    assert len(colours) <= 255
    indices = np.where(hidden.ravel(), 255, places.ravel())
    palette = colours.astype(np.uint8).tobytes().ljust(768, b"\0")
    flags = GIF_DISPOSAL[cel.dispose] << 2 | bool(hidden.any())
    control = struct.pack("<BHB", flags, int(cel.milliseconds / 10), 255)
    place = struct.pack("<4HB", cel.left, cel.top, columns, rows, 0x87)
    return b"!\xf9\x04" + control + b"\0," + place + palette + b"\x08" + _lzw(indices)


def _lzw(indices: Pixels) -> bytes:
    """LZW that never compresses: the table is cleared before its codes of nine bits grow."""
    starts = np.arange(0, len(indices), 200)
    codes = np.append(np.insert(indices, starts, 256), 257)
    body = np.packbits(codes[:, None] >> np.arange(9) & 1, bitorder="little").tobytes()
    blocks = (body[at : at + 255] for at in range(0, len(body), 255))
    return b"".join(bytes([len(one)]) + one for one in blocks) + b"\0"


def read_gif(octets: bytes) -> tuple[Seen, int | None]:
    """What is seen of a GIF, and the number of loops that it states."""
    width, height, flags = struct.unpack("<HHB", octets[6:11])
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    head, control, cels, loops = octets[:at], b"\0" * 4, [], None
    while octets[at] != 0x3B:
        if octets[at] == 0x21:
            label, begin = octets[at + 1], at + 2
            at = _after_blocks(octets, begin)
            if label == 0xF9:
                control = octets[begin + 1 : begin + 5]
            elif octets[begin + 1 : begin + 12] == b"NETSCAPE2.0":
                (loops,) = struct.unpack("<H", octets[begin + 14 : begin + 16])
            continue
        left, top, columns, rows, local = struct.unpack("<4HB", octets[at + 1 : at + 10])
        begin = at + 10
        at = _after_blocks(octets, begin + (3 << (local & 7) + 1 if local & 128 else 0) + 1)
        still = (
            head[:6]
            + struct.pack("<HH", columns, rows)
            + head[10:]
            + b"!\xf9\x04"
            + bytes([control[0] & 1, 0, 0, control[3]])
            + b"\0,"
            + struct.pack("<4HB", 0, 0, columns, rows, local)
            + octets[begin:at]
            + b";"
        )
        array = np.array(Image.open(BytesIO(still)).convert("RGBA"))
        ticks = int.from_bytes(control[1:3], "little")
        dispose = {2: CLEAR, 3: RESTORE}.get(control[0] >> 2 & 7, KEEP)
        cels.append(Cel(array, left, top, Fraction(10 * ticks), dispose))
    return shown(cels, width, height), loops


def _after_blocks(octets: bytes, at: int) -> int:
    while octets[at]:
        at += 1 + octets[at]
    return at + 1


# APNG by hand


def apng_of(
    cels: Sequence[Cel],
    width: int,
    height: int,
    *,
    plays: int = 0,
    fallback: Pixels | None = None,
    more: bytes = b"",
) -> bytes:
    """An animated PNG of RGBA with 8 or 16 bits; the fallback is no part of the film."""
    depth = cels[0].array.dtype.itemsize * 8
    octets = b"\x89PNG\r\n\x1a\n"
    octets += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0))
    octets += chunk(b"acTL", struct.pack(">II", len(cels), plays)) + more
    sequence, is_first = 0, fallback is None
    if fallback is not None:
        octets += chunk(b"IDAT", _rows(fallback))
    for cel in cels:
        rows, columns = cel.array.shape[:2]
        seconds = cel.milliseconds / 1000
        place = (sequence, columns, rows, cel.left, cel.top)
        control = (seconds.numerator, seconds.denominator, APNG_DISPOSAL[cel.dispose], cel.over)
        octets += chunk(b"fcTL", struct.pack(">IIIIIHHBB", *place, *control))
        sequence += 1
        if is_first:
            octets += chunk(b"IDAT", _rows(cel.array))
        else:
            octets += chunk(b"fdAT", struct.pack(">I", sequence) + _rows(cel.array))
            sequence += 1
        is_first = False
    return octets + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def chunks_of(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG, their checksums checked."""
    at = 8
    while at < len(octets):
        (length,) = struct.unpack_from(">I", octets, at)
        name, body = octets[at + 4 : at + 8], octets[at + 8 : at + 8 + length]
        assert chunk(name, body) == octets[at : at + 12 + length]
        yield name, body
        at += 12 + length


def _rows(array: Pixels) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in big))


def read_apng(octets: bytes) -> tuple[Seen, int]:
    """What is seen of an animated PNG of 8 bits, and how often it is played."""
    parts = list(chunks_of(octets))
    head = dict(parts)[b"IHDR"]
    frames, plays = struct.unpack(">II", dict(parts)[b"acTL"])
    width, height = struct.unpack(">II", head[:8])
    cels: list[Cel] = []
    bodies: list[bytes] = []
    numbers = []
    for name, body in parts:
        if name == b"fcTL":
            number, columns, rows, left, top, up, down, dispose, blend = struct.unpack(
                ">IIIIIHHBB", body
            )
            numbers.append(number)
            ways = {number: way for way, number in APNG_DISPOSAL.items()}
            blank = np.zeros((rows, columns, 4), np.uint8)
            seconds = Fraction(up, down or 100)
            cels.append(Cel(blank, left, top, 1000 * seconds, ways[dispose], blend == 1))
            bodies.append(b"")
        elif name == b"IDAT" and cels:
            bodies[-1] += body
        elif name == b"fdAT":
            numbers.append(int.from_bytes(body[:4], "big"))
            bodies[-1] += body[4:]
    assert numbers == list(range(len(numbers)))
    assert len(cels) == frames
    whole = [
        replace(cel, array=_still(head, cel.array.shape, body))
        for cel, body in zip(cels, bodies, strict=True)
    ]
    return shown(whole, width, height), plays


def _still(head: bytes, shape: tuple[int, ...], body: bytes) -> Pixels:
    size = struct.pack(">II", shape[1], shape[0])
    octets = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + head[8:]) + chunk(b"IDAT", body)
    return np.array(Image.open(BytesIO(octets + chunk(b"IEND", b""))).convert("RGBA"))


# Whatever Pillow composites rightly: frames that are whole


def read_whole(octets: bytes) -> tuple[Seen, int]:
    """What is seen of a WebP or AVIF, and how often it is played."""
    image = Image.open(BytesIO(octets))
    seen = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        lasts = Fraction(image.info["duration"]).limit_denominator(1000)
        seen.append((np.array(image.convert("RGBA")), lasts))
    return seen, image.info.get("loop", 0)


READERS: Final[dict[str, Any]] = {
    "gif": read_gif,
    "png": read_apng,
    "webp": read_whole,
    "avif": read_whole,
}
