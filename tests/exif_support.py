"""EXIF and XMP made by hand, files that hold them, and exiftool."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
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
    """Numerators and denominators in turn."""
    code = "i" if kind == SIGNED_RATIONAL else "I"
    return tag, kind, len(values) // 2, struct.pack(f"<{len(values)}{code}", *values)


def directory(entries: Sequence[Entry], at: int, following: int = 0) -> bytes:
    """One IFD and the values that it points to."""
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
    """A whole block of EXIF, as JPEG stores it."""
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
    """A picture of 40×60 pixels as Pillow writes it."""
    y, x = np.indices((40, 60))
    image = Image.fromarray((x + 3 * y).astype(np.uint8)).convert(mode)
    if pillow == "PNG":
        octets = saved(image, pillow, **arguments)
        part = chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp) if xmp else b""
        return octets[:33] + part + octets[33:]
    defaults: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "AVIF": {"speed": 10}}
    more = defaults.get(pillow, {})
    return saved(image, pillow, **more, **({"xmp": xmp} if xmp else {}), **arguments)


def exiftool(octets: bytes) -> dict[str, Any]:
    """Every tag that exiftool finds, by group and name."""
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-n", "-"], input=octets, capture_output=True, check=True
    )
    (tags,) = json.loads(done.stdout)
    assert isinstance(tags, dict)
    return tags
