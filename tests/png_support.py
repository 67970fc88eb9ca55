"""Makers of PNGs with chunks of all kinds."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from poolcli.formats.saving import Saving
from tests.animations import Region, apng_of, chunks_of
from tests.jobs import pool, work
from tests.pictures import chunk, decoded, noise, pictures_in, saved, written

SIDE: Final = (20, 30)
PROFILE: Final = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
MAKE, TURN = 271, 274

Part = tuple[bytes, bytes]
TEXTS: Final[tuple[Part, ...]] = (
    (b"tEXt", b"Title\0pooled"),
    (b"tEXt", b"Title\0twice"),
    (b"zTXt", b"Description\0\0" + zlib.compress(b"long " * 100)),
    (b"iTXt", b"Author\0\0\0de\0Autor\0J\xc3\xbcrgen"),
)
COLOUR: Final[tuple[Part, ...]] = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    (b"sRGB", b"\0"),
    (b"cICP", b"\x01\x0d\0\x01"),
    (b"mDCV", struct.pack(">8H2I", *range(13250, 13258), 10_000_000, 50)),
    (b"cLLI", struct.pack(">2I", 9_990_000, 1_000_000)),
)


def plain(mode: str = "RGB", **arguments: Any) -> bytes:
    """A picture of 20×30 pixels as Pillow writes it."""
    return saved(Image.fromarray(noise("RGB", SIDE)).convert(mode), "PNG", **arguments)


def png_with(*parts: Part, behind: Iterable[Part] = (), octets: bytes = plain()) -> bytes:
    """Return a picture with more chunks before its pixels, or behind them."""
    front, back = (b"".join(chunk(*one) for one in some) for some in (parts, behind))
    return octets[:33] + front + octets[33:-12] + back + octets[-12:]


def everywhere(part: Part) -> list[bytes]:
    """Return pictures with a chunk before the pixels and behind them."""
    return [png_with(part), png_with(behind=[part])]


def pooled(octets: bytes, name: str = "png", *, strip: bool = False) -> tuple[bytes, list[str]]:
    """Return the file that comes out, and its notes."""
    pictures = [pool(one, work("avg", 2)) for one in pictures_in(octets)]
    return written(pictures, name, Saving(strip=strip))


def warnings_of(octets: bytes) -> tuple[str, ...]:
    """Return the warnings, once the pixels have been found to be undamaged."""
    found = decoded(octets)
    np.testing.assert_array_equal(found.array, noise("RGB", SIDE))
    return tuple(found.metadata.warnings)


def flipped(octets: bytes, name: bytes) -> bytes:
    """Return a file with one bit of a chunk's body flipped."""
    at = octets.index(name) + 4
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def with_data(octets: bytes, data: bytes, name: bytes = b"IDAT") -> bytes:
    """Return a file whose first chunk of pixels has another body, and a true CRC."""
    parts, is_done = [], False
    for found, body in chunks_of(octets):
        replaces = found == name and not is_done
        parts.append(chunk(found, data if replaces else body))
        is_done |= replaces
    return octets[:8] + b"".join(parts)


ANIMATED: Final = apng_of([Region(noise("RGBA", (4, 4), seed)) for seed in range(3)], 4, 4)
