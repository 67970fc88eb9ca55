"""EXIF and XMP made by hand, files that hold them, and exiftool."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.pictures import chunk, saved

MAKE, MODEL, TURN, COPYRIGHT = 0x010F, 0x0110, 0x0112, 0x8298
WIDTH, HEIGHT, ACROSS, DOWN, UNIT = 0x0100, 0x0101, 0x011A, 0x011B, 0x0128
DETAILS, GPS, INTEROP = 0x8769, 0x8825, 0xA005
EXPOSURE, TAKEN, BIAS, COMMENT = 0x829A, 0x9003, 0x9204, 0x9286
EXIF_WIDTH, EXIF_HEIGHT = 0xA002, 0xA003
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 2, 3, 4, 5, 7, 10
EXIFTOOL = shutil.which("exiftool") or ""
PROFILE: Final = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())

Entry = tuple[int, int, int, bytes]
"""Tag, type, count and value."""


def text(tag: int, value: str | bytes) -> Entry:
    raw = (value.encode() if isinstance(value, str) else value) + b"\0"
    return tag, ASCII, len(raw), raw


def number(tag: int, value: int, kind: int = SHORT) -> Entry:
    return tag, kind, 1, struct.pack("<H" if kind == SHORT else "<I", value)


def fractions(tag: int, *values: int, kind: int = RATIONAL) -> Entry:
    code = "i" if kind == SIGNED_RATIONAL else "I"
    return tag, kind, len(values) // 2, struct.pack(f"<{len(values)}{code}", *values)


def directory(entries: Sequence[Entry], at: int, following: int = 0) -> bytes:
    """Return one IFD and the values that it points to."""
    table, values = struct.pack("<H", len(entries)), b""
    for tag, kind, count, raw in sorted(entries):
        if len(raw) > 4:
            place = at + 2 + 12 * len(entries) + 4 + len(values)
            values, raw = values + raw + b"\0" * (len(raw) % 2), struct.pack("<I", place)
        table += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
    return table + struct.pack("<I", following) + values


def exif_block(
    *entries: Entry,
    details: Sequence[Entry] = (),
    gps: Sequence[Entry] = (),
    thumbnail: bytes = b"",
) -> bytes:
    """Return a whole block of EXIF, as JPEG stores it."""
    branches = [(tag, branch) for tag, branch in ((DETAILS, details), (GPS, gps)) if branch]
    blank = [number(tag, 0, LONG) for tag, _ in branches]
    at = 8 + len(directory((*entries, *blank), 8))
    pointers, tail = [], b""
    for tag, branch in branches:
        pointers.append(number(tag, at + len(tail), LONG))
        tail += directory(branch, at + len(tail))
    following = at + len(tail) if thumbnail else 0
    if thumbnail:
        start = following + 2 + 2 * 12 + 4
        place, length = number(0x0201, start, LONG), number(0x0202, len(thumbnail), LONG)
        tail += directory((place, length), following) + thumbnail
    head = b"Exif\0\0II*\0\x08\0\0\0"
    return head + directory((*entries, *pointers), 8, following) + tail


THUMBNAIL: Final = saved(Image.new("RGB", (8, 6), (200, 100, 50)), "JPEG")
FULL_EXIF: Final = exif_block(
    text(MAKE, "Camera Works"),
    text(MODEL, "Model 1"),
    number(TURN, 1),
    number(WIDTH, 60),
    number(HEIGHT, 40),
    fractions(ACROSS, 72, 1),
    fractions(DOWN, 72, 1),
    number(UNIT, 2),
    details=(
        text(TAKEN, "2024:02:29 12:34:56"),
        fractions(EXPOSURE, 1, 250),
        fractions(BIAS, -1, 3, kind=SIGNED_RATIONAL),
        (COMMENT, UNDEFINED, 13, b"ASCII\0\0\0hello"),
        number(EXIF_WIDTH, 60, LONG),
        number(EXIF_HEIGHT, 40, LONG),
    ),
    gps=(
        text(1, "N"),
        fractions(2, 52, 1, 31, 1, 1234, 100),
        text(3, "E"),
        fractions(4, 13, 1, 24, 1, 0, 1),
    ),
    thumbnail=THUMBNAIL,
)

XMP: Final = b"""<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/'
 xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:exif='http://ns.adobe.com/exif/1.0/'
 xmlns:xmp='http://ns.adobe.com/xap/1.0/' dc:format='image/x' tiff:ImageWidth='60'
 exif:PixelXDimension="60" tiff:XResolution='72/1'%s>
<dc:creator><rdf:Seq><rdf:li>J\xc3\xbcrgen</rdf:li></rdf:Seq></dc:creator>
<tiff:ImageLength>40</tiff:ImageLength><tiff:Make>Camera Works</tiff:Make>
<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"""
PLAIN_XMP: Final = XMP % b""
TRUE_OF_XMP: Final = ("J\xfcrgen".encode(), b"<tiff:Make>Camera Works</tiff:Make>", b"image/x")
FALSE_OF_XMP: Final = (b"ImageWidth", b"ImageLength", b"Dimension", b"Resolution", b"Thumb")


def file_of(pillow: str, mode: str = "RGB", xmp: bytes = b"", **arguments: Any) -> bytes:
    """Return a picture of 40×60 pixels as Pillow writes it."""
    y, x = np.indices((40, 60))
    image = Image.fromarray((x + 3 * y).astype(np.uint8)).convert(mode)
    if pillow == "PNG":
        octets = saved(image, pillow, **arguments)
        part = chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp) if xmp else b""
        return octets[:33] + part + octets[33:]
    arguments |= {"xmp": xmp} if xmp else {}
    defaults: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "AVIF": {"speed": 10}}
    arguments |= defaults.get(pillow, {})
    return saved(image, pillow, **arguments)


def exiftool(octets: bytes) -> dict[str, Any]:
    """Return every tag that exiftool finds, by group and name."""
    command = [EXIFTOOL, "-json", "-G1", "-n", "-"]
    done = subprocess.run(command, input=octets, capture_output=True, check=True)
    return dict(json.loads(done.stdout)[0])


def assert_full(exif: Image.Exif) -> None:
    """Look for all that stays true, and nothing that doesn't."""
    details, gps = exif.get_ifd(DETAILS), exif.get_ifd(GPS)
    assert (exif[MAKE], exif[MODEL]) == ("Camera Works", "Model 1")
    assert details[TAKEN] == "2024:02:29 12:34:56"
    assert (details[EXPOSURE], details[BIAS]) == (1 / 250, pytest.approx(-1 / 3))
    assert details[COMMENT] == b"ASCII\0\0\0hello"
    assert (gps[1], gps[2], gps[3], gps[4]) == ("N", (52, 31, 12.34), "E", (13, 24, 0))
    assert {EXIF_WIDTH, EXIF_HEIGHT}.isdisjoint(details)
    assert not exif.get_ifd(1)


WHOLE = exif_block(text(MAKE, "Camera Works"), text(MODEL, "Model 1"), text(COPYRIGHT, "somebody"))


HEAD = b"Exif\0\0II*\0\x08\0\0\0"


NAMED = text(MAKE, "x")


UNREADABLE = {
    "cut in its table": WHOLE[:30],
    "cut in its values": WHOLE[:-20],
    "cut in its head": WHOLE[:10],
    "garbage": b"Exif\0\0" + bytes(range(7, 60)),
    "a table of garbage": WHOLE[:14] + b"\xff" * 60,
    "a table out of reach": b"Exif\0\0II*\0\xff\xff\0\0" + bytes(20),
}


OVER_0 = fractions(ACROSS, 1, 0), fractions(DOWN, 0, 0), number(UNIT, 2)


ODD = {
    "details at the table itself": exif_block(NAMED, number(DETAILS, 8, LONG)),
    "GPS at the table itself": exif_block(NAMED, number(GPS, 8, LONG)),
    "a table after itself": HEAD + directory([NAMED], 8, 8),
    "details out of reach": exif_block(NAMED, number(DETAILS, 99_999, LONG)),
    "GPS out of reach": exif_block(NAMED, number(GPS, 99_999, LONG)),
    "details that are text": exif_block(NAMED, text(DETAILS, "hello")),
    "a make that is a number": exif_block(number(MAKE, 1)),
    "an unknown type": exif_block((MAKE, 77, 1, b"abcd")),
    "a fraction over 0": exif_block(*OVER_0),
    "a value of 2 GB": exif_block((MAKE, ASCII, 2**31, b"\x10\0\0\0")),
    "an orientation in words": exif_block(text(TURN, "left")),
    "a place that points on": exif_block(NAMED, gps=[number(DETAILS, 99_999, LONG)]),
    "details that point to a place": exif_block(NAMED, details=[number(GPS, 8, LONG)]),
    "another use of a pointer": exif_block(NAMED, number(INTEROP, 99_999, LONG)),
    "nothing": b"Exif\0\0",
}


BROKEN_BESIDE = [
    *(number(GPS, 99_999, LONG), number(DETAILS, 8, LONG), (DETAILS, 77, 9, b"abcd")),
    *(text(WIDTH, "sixty"), text(ACROSS, "72")),
]
