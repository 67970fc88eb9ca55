"""Animations made and read by hand, and an oracle for what is seen of them."""

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

from tests.pictures import chunk

KEEP, CLEAR, RESTORE = "keep", "clear", "restore"
GIF_DISPOSAL: Final = {KEEP: 1, CLEAR: 2, RESTORE: 3}
APNG_DISPOSAL: Final = {KEEP: 0, CLEAR: 1, RESTORE: 2}

Pixels = NDArray[Any]
Seen = list[tuple[Pixels, Fraction]]


@dataclass(frozen=True)
class Region:
    """The pixels of a frame, an (H, W, 4) array, where they are, for how long, and how."""

    array: Pixels
    left: int = 0
    top: int = 0
    milliseconds: Fraction = Fraction(100)
    dispose: str = KEEP
    over: bool = True


# The oracle


def shown(regions: Sequence[Region], width: int, height: int) -> Seen:
    """Return every canvas of an animation and its time, composited pixel by pixel."""
    dtype = regions[0].array.dtype
    canvas, seen = np.zeros((height, width, 4), dtype), []
    for region in regions:
        before = canvas.copy()
        rows, columns = region.array.shape[:2]
        below = canvas[region.top : region.top + rows, region.left : region.left + columns]
        for at in np.ndindex(below.shape[:2]):
            pixel = region.array[at].tolist()
            below[at] = (
                _over(pixel, below[at].tolist(), np.iinfo(dtype).max) if region.over else pixel
            )
        seen.append((canvas.copy(), region.milliseconds))
        if region.dispose == CLEAR:
            below[...] = 0
        canvas = before if region.dispose == RESTORE else canvas
    return seen


def _over(above: list[int], below: list[int], full: int) -> list[int]:
    """Return Porter and Duff's "over" in exact fractions, rounded to nearest."""
    if above[3] in (0, full):
        return above if above[3] else below
    upper, lower = Fraction(above[3], full), Fraction(below[3], full)
    alpha = upper + lower * (1 - upper)
    pairs = zip(above[:3], below[:3], strict=True)
    colours = ((upper * a + lower * (1 - upper) * b) / alpha for a, b in pairs)
    return [int(one + Fraction(1, 2)) for one in (*colours, alpha * full)]


def merged(seen: Iterable[tuple[Pixels, Fraction]]) -> Seen:
    """Join equal canvases, and clear the colours under full transparency."""
    result: Seen = []
    for array, milliseconds in seen:
        visible = np.where(array[..., 3:] > 0, array, 0)
        if result and np.array_equal(result[-1][0], visible):
            result[-1] = visible, result[-1][1] + milliseconds
        else:
            result.append((visible, milliseconds))
    return result


def assert_looks_the_same(found: Seen, wanted: Seen, slack: int = 0) -> None:
    """Compare canvases, and their times to the slack in milliseconds at each change."""
    clock = other = Fraction(0)
    for (array, lasts), (expected, should_last) in zip(merged(found), merged(wanted), strict=True):
        np.testing.assert_array_equal(array, expected)
        clock, other = clock + lasts, other + should_last
        assert abs(clock - other) <= slack


# GIF by hand


def gif_of(
    regions: Sequence[Region], width: int, height: int, *, loops: int | None = 0, more: bytes = b""
) -> bytes:
    """Return a GIF of up to 255 colours a frame; its loops as they are stored, or None."""
    octets = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    if loops is not None:
        octets += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loops) + b"\0"
    return octets + more + b"".join(map(_gif_frame, regions)) + b";"


def _gif_frame(region: Region) -> bytes:
    rows, columns = region.array.shape[:2]
    hidden = region.array[..., 3] == 0
    colours, places = np.unique(region.array[..., :3].reshape(-1, 3), axis=0, return_inverse=True)
    assert len(colours) <= 255
    indices = np.where(hidden.ravel(), 255, places.ravel())
    palette = colours.astype(np.uint8).tobytes().ljust(768, b"\0")
    flags = GIF_DISPOSAL[region.dispose] << 2 | bool(hidden.any())
    control = struct.pack("<BHB", flags, int(region.milliseconds / 10), 255)
    place = struct.pack("<4HB", region.left, region.top, columns, rows, 0x87)
    return b"!\xf9\x04" + control + b"\0," + place + palette + b"\x08" + _lzw(indices)


def _lzw(indices: Pixels) -> bytes:
    """Code without compression: the table is cleared before its codes of nine bits grow."""
    starts = np.arange(0, len(indices), 200)
    codes = np.append(np.insert(indices, starts, 256), 257)
    body = np.packbits(codes[:, None] >> np.arange(9) & 1, bitorder="little").tobytes()
    blocks = (body[at : at + 255] for at in range(0, len(body), 255))
    return b"".join(bytes([len(one)]) + one for one in blocks) + b"\0"


def read_gif(octets: bytes) -> tuple[Seen, int | None]:
    """Return what is seen of a GIF, and the number of loops that it states."""
    width, height, flags = struct.unpack("<HHB", octets[6:11])
    at = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    head, control, regions, loops = octets[:at], b"\0" * 4, [], None
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
        extent = struct.pack("<HH", columns, rows)
        key = b"!\xf9\x04" + bytes([control[0] & 1, 0, 0, control[3]]) + b"\0"
        place = b"," + bytes(4) + extent + bytes([local])
        still = head[:6] + extent + head[10:] + key + place + octets[begin:at] + b";"
        array = np.array(Image.open(BytesIO(still)).convert("RGBA"))
        ticks = int.from_bytes(control[1:3], "little")
        dispose = {2: CLEAR, 3: RESTORE}.get(control[0] >> 2 & 7, KEEP)
        regions.append(Region(array, left, top, Fraction(10 * ticks), dispose))
    return shown(regions, width, height), loops


def _after_blocks(octets: bytes, at: int) -> int:
    while octets[at]:
        at += 1 + octets[at]
    return at + 1


# APNG by hand


def apng_of(
    regions: Sequence[Region],
    width: int,
    height: int,
    *,
    plays: int = 0,
    fallback: Pixels | None = None,
    more: bytes = b"",
) -> bytes:
    """Return an animated PNG of RGBA; the fallback is a picture before it that is no frame."""
    depth = regions[0].array.dtype.itemsize * 8
    octets = b"\x89PNG\r\n\x1a\n"
    octets += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0))
    octets += chunk(b"acTL", struct.pack(">II", len(regions), plays)) + more
    if fallback is not None:
        octets += chunk(b"IDAT", _rows(fallback))
    sequence = 0
    for region in regions:
        rows, columns = region.array.shape[:2]
        seconds = region.milliseconds / 1000
        place = (sequence, columns, rows, region.left, region.top)
        ways = (APNG_DISPOSAL[region.dispose], region.over)
        control = struct.pack(">IIIIIHHBB", *place, seconds.numerator, seconds.denominator, *ways)
        octets += chunk(b"fcTL", control)
        sequence += 1
        if sequence == 1 and fallback is None:
            octets += chunk(b"IDAT", _rows(region.array))
        else:
            octets += chunk(b"fdAT", struct.pack(">I", sequence) + _rows(region.array))
            sequence += 1
    return octets + chunk(b"IEND", b"")


def chunks_of(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG, their checksums checked."""
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
    """Return what is seen of an animated PNG of 8 bits, and how often it is played."""
    parts = list(chunks_of(octets))
    head = dict(parts)[b"IHDR"]
    frames, plays = struct.unpack(">II", dict(parts)[b"acTL"])
    ways = {number: way for way, number in APNG_DISPOSAL.items()}
    regions: list[Region] = []
    bodies: list[bytes] = []
    numbers = []
    for name, body in parts:
        if name in (b"fcTL", b"fdAT"):
            numbers.append(int.from_bytes(body[:4], "big"))
        if name == b"fcTL":
            columns, rows, left, top, up, down, *last = struct.unpack(">IIIIHHBB", body[4:])
            lasts = Fraction(1000 * up, down or 100)
            blank = np.zeros((rows, columns, 4), np.uint8)
            regions.append(Region(blank, left, top, lasts, ways[last[0]], last[1] == 1))
            bodies.append(b"")
        elif name in (b"IDAT", b"fdAT") and regions:
            bodies[-1] += body if name == b"IDAT" else body[4:]
    assert numbers == list(range(len(numbers)))
    assert len(regions) == frames
    whole = [
        replace(region, array=_still(head, region.array.shape, body))
        for region, body in zip(regions, bodies, strict=True)
    ]
    return shown(whole, *struct.unpack(">II", head[:8])), plays


def _still(head: bytes, shape: tuple[int, ...], body: bytes) -> Pixels:
    size = struct.pack(">II", shape[1], shape[0])
    octets = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + head[8:]) + chunk(b"IDAT", body)
    return np.array(Image.open(BytesIO(octets + chunk(b"IEND", b""))).convert("RGBA"))


def read_whole(octets: bytes) -> tuple[Seen, int]:
    """Return what Pillow shows of a WebP or AVIF, whose frames are whole, and its plays."""
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
