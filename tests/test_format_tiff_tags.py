"""Tags of TIFFs: what people know of a picture is carried, what pooling makes false is dropped."""

from __future__ import annotations

import json
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile
from PIL import Image

from poolcli.formats.saving import Saving
from poolcli.picture import Metadata, Resolution
from tests import jobs
from tests.exif_support import (
    ASCII,
    DETAILS,
    EXIFTOOL,
    GPS,
    INTEROP,
    LONG,
    PROFILE,
    SHORT,
    SIGNED_RATIONAL,
    UNDEFINED,
    Entry,
    fractions,
    number,
    text,
)
from tests.pictures import (
    decoded,
    encoded,
    noise,
    noisy,
    opened,
    picture,
    pictures_in,
    read_tiff,
    written,
)
from tests.support.processes import Run
from tests.support.tools import needs
from tests.tiff_support import block_of, samples, tags_of, tiff_of, tiff_with

XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:ImageWidth='60' b='\xc3\xbc'/></x:xmpmeta>"
)
TEXTS: Final = {
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
BLOCK: Final = block_of(
    text(271, "Camera Works"),
    (
        DETAILS,
        [
            text(0x9003, "2024:02:29 12:34:56"),
            fractions(0x829A, 1, 250),
            fractions(0x9204, -1, 3, kind=SIGNED_RATIONAL),
            (0x9286, UNDEFINED, 13, b"ASCII\0\0\0hello"),
            (INTEROP, [text(1, "R98"), (2, UNDEFINED, 4, b"0100")]),
        ],
    ),
    (GPS, [text(1, "N"), fractions(2, 52, 1, 31, 1, 617, 50)]),
)


def reread(octets: bytes, name: str = "tiff", **more: Any) -> tuple[bytes, list[str]]:
    """The pages of a file written as they are."""
    return written(list(pictures_in(octets)), name, Saving(**more))


def pooled(octets: bytes, size: int | tuple[int, int] = 2) -> bytes:
    return written([jobs.pool(one, jobs.work("max", size)) for one in pictures_in(octets)], "tiff")[
        0
    ]


# From file to file


LAYOUTS: Final = [
    ({}, "deflate"),
    ({"byteorder": ">"}, "lzw"),
    ({"bigtiff": True}, "none"),
    ({"bigtiff": True, "byteorder": ">"}, "packbits"),
]


@pytest.mark.parametrize(("layout", "compression"), LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
def test_tags_that_stay_true_are_carried_from_any_file_and_samples(
    layout: dict[str, Any], compression: str, dtype: str
) -> None:
    more: list[Any] = [(tag, 2, len(value) + 1, value, True) for tag, value in TEXTS.items()]
    more += [(254, LONG, 1, 2, True), (700, 1, len(XMP), XMP, True)]
    given: dict[str, Any] = {"extratags": more, "iccprofile": PROFILE}
    given |= {"resolution": (300, 120), "resolutionunit": 3}
    octets = tiff_of(samples(dtype, 3), photometric="rgb", **layout, **given)
    result, notes = reread(octets, options=(("compression", compression),))
    tags = tags_of(result)
    assert {tag: tags[tag] for tag in TEXTS} == TEXTS
    assert (tags[254], tags[34675], tags[296]) == (2, PROFILE, 3)
    assert (tags[282], tags[283]) == ((300, 1), (120, 1))
    assert tags[700] == XMP.replace(b" tiff:ImageWidth='60'", b"")
    assert notes == []
    np.testing.assert_array_equal(read_tiff(result), read_tiff(octets))
    for name in ("jpeg", "png", "webp") if decoded(octets).info.mode == "RGB" else ():
        exif = opened(reread(octets, name)[0]).getexif()
        assert {tag: exif[tag] for tag in TEXTS} == TEXTS
        assert 254 not in exif


@pytest.mark.parametrize("compression", ["deflate", "none"])
@pytest.mark.parametrize("mode", ["RGB", "RGB;16"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_other_formats_becomes_tags_and_directories(
    mode: str, compression: str, order: str
) -> None:
    exif = Image.Exif()
    exif.load(BLOCK)
    exif.endian = order
    metadata = Metadata(exif=exif.tobytes()[6:], resolution=Resolution(50, 100))
    saving = Saving(options=(("compression", compression),))
    octets = encoded(picture(noise(mode), mode, metadata), "tiff", saving)
    tags = tags_of(octets)
    assert (tags[271], tags[282], tags[283]) == ("Camera Works", (100, 1), (50, 1))
    details, place = tags[DETAILS], tags[GPS]
    assert (details["DateTimeOriginal"], details["ExposureTime"]) == (
        "2024:02:29 12:34:56",
        (1, 250),
    )
    assert details["ExposureBiasValue"] == (-1, 3)
    assert place["GPSLatitude"] == (52, 1, 31, 1, 617, 50)
    seen = opened(encoded(noisy("L", metadata=metadata), "tiff", saving)).getexif()
    assert seen.get_ifd(INTEROP)[1] == "R98"
    np.testing.assert_array_equal(read_tiff(octets), noise(mode))
    assert decoded(octets).metadata.exif == decoded(encoded(decoded(octets), "tiff")).metadata.exif


@needs("exiftool")
@pytest.mark.parametrize("mode", ["RGB", "RGB;16"])
def test_exiftool_reads_the_exif_without_a_warning(mode: str) -> None:
    octets = encoded(noisy(mode, metadata=Metadata(exif=BLOCK, xmp=XMP, comment=b"mine")), "tiff")
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-n", "-"], input=octets, capture_output=True, check=True
    )
    (tags,) = json.loads(done.stdout)
    wanted = {
        "IFD0:Make": "Camera Works",
        "IFD0:ImageDescription": "mine",
        "ExifIFD:DateTimeOriginal": "2024:02:29 12:34:56",
        "ExifIFD:ExposureTime": 0.004,
        "ExifIFD:UserComment": "hello",
        "GPS:GPSLatitudeRef": "N",
    }
    assert {tag: tags.get(tag) for tag in wanted} == wanted
    assert tags["GPS:GPSLatitude"] == pytest.approx(52.5200, abs=1e-3)
    assert not [tag for tag in tags if tag.endswith(":Warning")]


@pytest.mark.parametrize("words", [b"hello", "J\xfcrgen".encode(), b"caf\xe9"])
def test_texts_are_kept_byte_for_byte_and_a_comment_unless_there_is_a_description(
    words: bytes,
) -> None:
    octets = encoded(noisy("RGB", metadata=Metadata(comment=words)), "tiff")
    with tifffile.TiffFile(BytesIO(octets)) as file:
        assert file.pages.first.tags[270].count == len(words) + 1
    assert words + b"\0" in octets
    exif = block_of(text(270, "a description"), (315, ASCII, len(words) + 1, words + b"\0"))
    octets = encoded(noisy("RGB", metadata=Metadata(comment=b"mine", exif=exif)), "tiff")
    assert tags_of(octets)[270] == "a description"
    assert words + b"\0" in octets


def test_every_page_keeps_its_own_tags_and_resolution() -> None:
    blocks = [block_of(text(271, "Scanner")), block_of(text(285, "two")), None]
    modes = ("RGB", "I;16", "RGB;16")
    pages = [
        noisy(
            mode,
            (9, 8 + at),
            metadata=Metadata(exif=blocks[at], resolution=Resolution(72 * (at + 1), 100)),
        )
        for at, mode in enumerate(modes)
    ]
    first = written(pages, "tiff")[0]
    for octets in (first, reread(first)[0]):
        seen = [tags_of(octets, page) for page in range(3)]
        assert [(one.get(271), one.get(285)) for one in seen] == [
            ("Scanner", None),
            (None, "two"),
            (None, None),
        ]
        assert [one[283][0] / one[283][1] for one in seen] == [72, 144, 216]
        for page, found in zip(pages, pictures_in(octets), strict=True):
            np.testing.assert_array_equal(found.array, page.array)
    halved = pooled(first, (2, 1))
    assert [tags_of(halved, page)[283][0] for page in range(3)] == [36, 72, 108]


# What would be false

GEO: Final = [(33550, 12, 3, struct.pack("<3d", 1, 1, 0)), (33922, 12, 6, bytes(48))]
FALSE: Final[dict[str, tuple[list[Entry], str]]] = {
    **{
        f"a description that begins with {words[:6]}": (
            [text(270, words)],
            "its description of axes and sizes would be false, and was dropped",
        )
        for words in ('<?xml version="1.0"?><a/>', '{"shape": [40, 60], "axes": "YX"}')
    },
    "a description of nothing but sizes": ([text(270, '{"shape": [40, 60, 3]}')], ""),
    "IPTC as numbers": ([(33723, LONG, 2, bytes(8))], ""),
}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("entries", "warning"), FALSE.values(), ids=FALSE)
def test_tags_that_would_be_false_are_dropped_alone(
    entries: list[Entry], warning: str, bits: int
) -> None:
    iptc = [(33723, UNDEFINED, 8, b"\x1c\2\5\0\3abc")] if entries[0][0] != 33723 else []
    found = decoded(tiff_with(bits, text(315, "J. Doe"), *iptc, *entries))
    assert found.metadata.warnings == ((warning,) if warning else ())
    tags = tags_of(encoded(found, "tiff"))
    assert tags[315] == "J. Doe"
    assert (33723 in tags) == bool(iptc)
    assert {entry[0] for entry in entries}.isdisjoint(tags)


# Damage

DAMAGED: Final[dict[str, Entry]] = {
    "EXIF before the file": (DETAILS, 9, 1, struct.pack("<i", -6)),
    "GPS before the file": (GPS, 9, 1, struct.pack("<i", -112)),
    "EXIF behind the file": number(DETAILS, 10**8, LONG),
    "EXIF at the page itself": number(DETAILS, 8, LONG),
    "EXIF that is text": text(DETAILS, "hello"),
    "EXIF at infinity": (DETAILS, 11, 1, struct.pack("<f", np.inf)),
    "two orientations": (274, SHORT, 2, struct.pack("<2H", 1, 1)),
    "an orientation in words": (274, ASCII, 2, b"6\0"),
    "two units": (296, SHORT, 2, struct.pack("<2H", 2, 2)),
    "a whole resolution": number(282, 72),
    "two resolutions": (282, 5, 2, struct.pack("<4I", 72, 1, 72, 1)),
    "a resolution over 0": fractions(282, 72, 0),
    "an unknown type": (271, 77, 1, b"abcd"),
    "a make of 2 GB": (271, ASCII, 2**31, b"\x10\0\0\0"),
    "a profile behind the file": (34675, UNDEFINED, 5000, b"\xff\xff\xff\0"),
    "XMP behind the file": (700, 1, 5000, b"\xff\xff\xff\0"),
    "XMP in UTF-16": (700, 1, 8, "<xmp".encode("utf-16-le")),
}
LOSING_EXIF: Final = (
    "EXIF before",
    "EXIF behind",
    "EXIF that",
    "EXIF at infinity",
    "a make of 2 GB",
)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_tag_that_is_damaged_costs_no_pixel(name: str, bits: int) -> None:
    entry, xmp = DAMAGED[name], (700, 1, len(XMP), XMP)
    others = [fractions(282, 72, 1), fractions(283, 72, 1), text(315, "J. Doe"), xmp]
    others = [one for one in others if one[0] != entry[0]]
    found, whole = decoded(tiff_with(bits, *others, entry)), decoded(tiff_with(bits))
    told = " ".join(found.metadata.warnings)
    assert (found.metadata.xmp is None) == ("its XMP is" in told) == name.startswith("XMP")
    assert ("its colour profile is damaged" in told) == name.startswith("a profile")
    if name.startswith(LOSING_EXIF):
        assert found.metadata.exif is None
        assert "its EXIF is damaged (" in told
    for one in (found, *(decoded(encoded(found, to)) for to in ("png", "tiff"))):
        np.testing.assert_array_equal(one.array, whole.array)


def test_tags_that_overlap_are_not_read_over_and_over() -> None:
    found = decoded(tiff_with(8, *((tag, ASCII, 6000, b"\x08\0\0\0") for tag in (305, 315))))
    assert found.metadata.warnings == ("its EXIF is damaged (its tags overlap)",)


# From the command line


def test_warnings_are_shown_and_the_picture_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(tiff_with(8, *GEO))
    done = run("avg", "-k", 2, "in.tif", "out.png")
    assert done.returncode == 0
    assert b"in.tif: warning: PNG has no place for the geo tags" in done.stderr
