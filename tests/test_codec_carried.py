"""XMP, comments, texts and tags from file to file, read back by Pillow, exiftool and djpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from poolcli import codec
from tests.films import chunk, chunks_of
from tests.pictures import LIMIT
from tests.test_codec_metadata import (
    EXIFTOOL,
    FULL_EXIF,
    LONG,
    PROFILE,
    TURN,
    Entry,
    decoded,
    directory,
    exif_of,
    exiftool,
    file_of,
    fractions,
    number,
    opened,
    pooled,
    text,
)

Run = Callable[..., subprocess.CompletedProcess[bytes]]
DJPEG, PNGCHECK = shutil.which("djpeg") or "", shutil.which("pngcheck") or ""
SOURCES: Final = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")
NAMES: Final = ("png", "jpeg", "webp", "avif", "tiff")


# XMP


# Comments and texts


TEXTS: Final = (
    (b"tEXt", b"Title\0pooled"),
    (b"tEXt", b"Title\0twice"),
    (b"zTXt", b"Description\0\0" + zlib.compress(b"long " * 100)),
    (b"iTXt", b"Author\0\0\0de\0Autor\0J\xc3\xbcrgen"),
)
COLOUR: Final = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    (b"sRGB", b"\0"),
    (b"cICP", b"\x01\x0d\0\x01"),
)


def png_with(*parts: tuple[bytes, bytes], behind: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    octets = file_of("PNG")
    front = b"".join(chunk(*one) for one in parts)
    back = b"".join(chunk(*one) for one in behind)
    return octets[:33] + front + octets[33:-12] + back + octets[-12:]


# Tags of TIFF


def tiff_with(tags: dict[int, Any], **more: Any) -> bytes:
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
        if isinstance(value, tuple):
            directory.tagtype[tag] = 12
    return file_of("TIFF", tiffinfo=directory, **more)


def tiff_of(bits: int, *more: Entry) -> bytes:
    """An upright TIFF of 40×60 pixels in RGB, with more tags made by hand."""
    pixels = np.arange(40 * 60 * 3).astype(f"<u{bits // 8}").tobytes()
    layout = {256: 60, 257: 40, 259: 1, 262: 2, 277: 3, 278: 40, 279: len(pixels)}
    entries = [number(tag, value, LONG) for tag, value in layout.items()]
    entries += [(258, 3, 3, struct.pack("<3H", bits, bits, bits)), *more]
    begin = 8 + len(directory([*entries, number(273, 0, LONG)], 8))
    return b"II*\0\x08\0\0\0" + directory([*entries, number(273, begin, LONG)], 8) + pixels


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "entry",
    [
        (34665, 9, 1, struct.pack("<i", -6)),
        (34853, 9, 1, struct.pack("<i", -112)),
        (274, 3, 2, struct.pack("<2H", 1, 1)),
        (274, 2, 2, b"6\0"),
        (296, 3, 2, struct.pack("<2H", 2, 2)),
        (282, 3, 1, struct.pack("<H", 72)),
        (282, 5, 2, struct.pack("<4I", 72, 1, 72, 1)),
        (282, 5, 1, struct.pack("<2I", 72, 0)),
    ],
)
def test_a_tag_that_is_damaged_stops_no_tiff(bits: int, entry: Entry) -> None:
    resolution = [fractions(tag, 72, 1) for tag in (282, 283) if tag != entry[0]]
    octets, whole = tiff_of(bits, *resolution, entry), decoded(tiff_of(bits))
    np.testing.assert_array_equal(decoded(octets).array, whole.array)
    for name in ("png", "tiff"):
        assert codec.identify(BytesIO(pooled(octets, name)[0]), LIMIT).shape == (20, 30, 3)


TAGS: Final = {
    269: "a document",
    270: "what is seen",
    271: "Scanner Works",
    272: "Model 1",
    305: "scanning program",
    306: "2024:02:29 12:34:56",
    315: "J. Doe",
    316: "a machine",
    33432: "(c) somebody",
}


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none", "packbits"])
def test_tags_that_stay_true_are_kept(compression: str) -> None:
    from poolcli.formats import Saving, by_name

    picture = decoded(tiff_with(TAGS, dpi=(300, 300), icc_profile=PROFILE))
    saving = Saving(options=(("compression", compression),))
    octets, notes = codec.encode(picture, by_name("tiff"), saving)
    image = opened(bytes(octets))
    assert {tag: image.getexif()[tag] for tag in TAGS} == TAGS
    assert image.info["icc_profile"] == PROFILE
    assert notes == ()
    np.testing.assert_array_equal(np.asarray(image), picture.array)


@pytest.mark.skipif(not EXIFTOOL, reason="exiftool is not installed")
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
def test_exiftool_reads_the_exif_of_a_tiff(source: str) -> None:
    octets, notes = pooled(file_of(source, exif=FULL_EXIF), "tiff")
    before, after = exiftool(file_of(source, exif=FULL_EXIF)), exiftool(octets)
    for tag in before:
        if tag.startswith(("ExifIFD:", "GPS:")) and "ExifImage" not in tag:
            assert after[tag] == before[tag]
    assert after["IFD0:Make"] == "Camera Works"
    assert not [tag for tag in after if tag.endswith(":Warning")]
    assert notes == ()


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_tags_of_a_tiff_become_exif(name: str) -> None:
    exif = opened(pooled(tiff_with(TAGS), name)[0]).getexif()
    assert {tag: exif[tag] for tag in TAGS} == TAGS
    assert not set(exif) - set(TAGS)


@pytest.mark.parametrize("name", ["tiff", "jpeg"])
def test_geo_tags_are_dropped_with_a_warning(name: str) -> None:
    octets = tiff_with({33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6, 315: "J. Doe"})
    picture = decoded(octets)
    assert [warning for warning in picture.metadata.warnings if "geo tags" in warning]
    exif = opened(pooled(octets, name)[0]).getexif()
    assert exif[315] == "J. Doe"
    assert {33550, 33922}.isdisjoint(exif)


@pytest.mark.parametrize("text", ["ImageJ=1.53t\nimages=3\n", '{"shape": [40, 60, 3]}', "<OME/>"])
def test_a_description_of_axes_is_dropped_with_a_warning(text: str) -> None:
    picture = decoded(tiff_with({270: text}))
    assert [warning for warning in picture.metadata.warnings if "description" in warning]
    assert 270 not in opened(pooled(tiff_with({270: text}), "tiff")[0]).getexif()


@pytest.mark.parametrize("name", NAMES)
def test_strip_leaves_no_word_behind(name: str) -> None:
    octets = png_with(*TEXTS)
    octets = octets[:33] + with_xmp("PNG", PLAIN_XMP)[33:].split(b"IDAT")[0][:-4] + octets[33:]
    for given_ in (octets, file_of("JPEG", comment=b"pooled", exif=FULL_EXIF), tiff_with(TAGS)):
        result, notes = pooled(given_, name, strip=True)
        assert not [one for one in (b"pooled", b"Works", b"Doe", b"adobe") if one in result]
        assert not [note for note in notes if "no place" in note]


# From the command line


def test_warnings_are_shown_and_the_picture_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(tiff_with({33550: (1.0, 1.0, 0.0)}))
    done = run("avg", "-k", 2, "in.tif", "out.tif")
    assert done.returncode == 0
    assert b"in.tif: warning: its geo tags would be false, and were dropped" in done.stderr
