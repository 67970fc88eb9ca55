"""JPEG: tables that are repeated, segments that are read, cut, damaged or too small."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from poolcli.formats.saving import Saving
from poolcli.picture import Metadata, Placement, Resolution, Stored, turned
from tests.exif_support import (
    ACROSS,
    DOWN,
    MAKE,
    PLAIN_XMP,
    PROFILE,
    TRUE_OF_XMP,
    TURN,
    UNIT,
    XMP,
    exif_block,
    file_of,
    number,
    text,
)
from tests.pictures import decoded, encoded, notes_of, opened, picture, ramp, saved
from tests.support.tools import needs

DJPEG = shutil.which("djpeg") or ""


def jpeg(subsampling: int = 0, mode: str = "RGB", **arguments: Any) -> bytes:
    image = Image.fromarray(ramp()).convert(mode)
    more = {} if mode == "L" else {"subsampling": subsampling}
    return saved(image, "JPEG", **{"quality": 37, **more, **arguments})


def facts_of(octets: bytes) -> tuple[Any, int]:
    """The tables and the subsampling."""
    image = opened(octets)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return image.quantization, JpegImagePlugin.get_sampling(image)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(octets: bytes, *segments: bytes) -> bytes:
    return octets[:2] + b"".join(segments) + octets[2:]


# What is repeated


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_tables_and_subsampling_are_repeated_unless_others_are_wanted(
    mode: str, subsampling: int
) -> None:
    source = decoded(jpeg(subsampling, mode))
    facts = facts_of(jpeg(subsampling, mode))
    assert facts_of(encoded(source, "jpeg")) == facts
    plain = saved(Image.fromarray(ramp()).convert(mode), "JPEG", quality=80)
    assert facts_of(encoded(source, "jpeg", Saving(quality=80)))[0] == facts_of(plain)[0]
    if mode == "RGB":
        saving = Saving(options=(("subsampling", "4:2:0"),))
        assert facts_of(encoded(source, "jpeg", saving)) == (facts[0], 2)


def test_the_tables_have_no_effect_on_other_formats() -> None:
    found = decoded(jpeg(2))
    encoding = found.info.encoding._replace(details={})
    plain = picture(found.array, "RGB", encoding=encoding)
    for name in ("png", "webp", "tiff", "avif"):
        assert encoded(found, name) == encoded(plain, name)


def test_without_a_jpeg_as_source_the_quality_is_90_and_progressive_is_as_asked() -> None:
    octets = encoded(picture(ramp(), "RGB"), "jpeg")
    assert facts_of(octets) == facts_of(saved(Image.fromarray(ramp()), "JPEG", quality=90))
    for asked in (True, False):
        saving = Saving(options=(("progressive", "yes" if asked else "no"),))
        octets = encoded(picture(ramp(), "RGB"), "jpeg", saving)
        assert (b"\xff\xc2" in octets) is asked
        np.testing.assert_array_equal(decoded(octets).array, np.asarray(opened(octets)))


# What the header states


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 4)])
def test_precision_and_components_are_those_of_the_frame_header(mode: str, channels: int) -> None:
    for progressive in (False, True):
        found = decoded(jpeg(0, mode, progressive=progressive))
        assert found.info.stored == Stored("unsigned", 8, 255, channels)
        assert (found.info.mode, found.info.encoding.lossy) == (mode, True)


def test_junk_and_fill_between_segments_have_no_effect() -> None:
    octets = jpeg()
    for junk in (b"junk", b"\xff\xff\xff", b"\xff\0\xff\0", b"\xff\xd0\xff\x01"):
        odd = octets[:20] + junk + octets[20:]
        np.testing.assert_array_equal(decoded(odd).array, decoded(octets).array)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["EXIF", "XMP"])
def test_a_picture_is_turned_upright(turn: int, kind: str) -> None:
    more: dict[str, Any] = {"exif": exif_block(number(TURN, turn))}
    if kind == "XMP":
        more = {"xmp": XMP % b" tiff:Orientation='%d'" % turn}
    octets = jpeg(dpi=(300, 120), **more)
    found = decoded(octets)
    np.testing.assert_array_equal(found.array, turned(np.asarray(opened(octets)), turn))
    assert found.metadata.resolution == (Resolution(120, 300) if turn < 5 else Resolution(300, 120))
    assert opened(encoded(found, "jpeg")).getexif().get(TURN, 1) == 1


# Resolution, and what is too long


STATED = (
    (1, (300, 120), Resolution(120, 300)),
    (2, (100, 50), Resolution(50, 100, "cm")),
    (0, (4, 3), Resolution(3, 4, "")),
)
UNKNOWN = ((3, (4, 3), None), (1, (0, 300), None), (1, (0, 0), None))


@pytest.mark.parametrize(("unit", "density", "resolution"), [*STATED, *UNKNOWN])
def test_the_resolution_is_that_of_jfif_where_there_is_one(
    unit: int, density: Any, resolution: Any
) -> None:
    octets = bytearray(jpeg())
    struct.pack_into(">BHH", octets, octets.index(b"JFIF\0") + 7, unit, *density)
    assert decoded(bytes(octets)).metadata.resolution == resolution


@pytest.mark.parametrize("dpi", [(300_000, 300_000), (300, 300_000), (1, 1)])
@pytest.mark.parametrize("exif", [None, exif_block(text(MAKE, "x"))[6:]], ids=["no EXIF", "EXIF"])
def test_a_resolution_that_jfif_cannot_state_stands_in_exif(dpi: Any, exif: bytes | None) -> None:
    metadata = Metadata(resolution=Resolution(*dpi), exif=exif).pooled(Placement((3, 3), (1, 1)))
    given = picture(ramp(), "RGB", metadata)
    image = opened(encoded(given, "jpeg"))
    assert not image.info["jfif_unit"]
    assert not notes_of(given, "jpeg")
    found = (image.getexif()[DOWN] * 3, image.getexif()[ACROSS] * 3)
    assert found == pytest.approx(dpi, rel=1e-3)
    octets = encoded(picture(ramp(), "RGB", Metadata(resolution=Resolution(42.4, 75.6))), "jpeg")
    assert opened(octets).info["jfif_density"] == (76, 42)


PROFILE_OF_MANY_PARTS = PROFILE + np.random.default_rng(0).bytes(3_000_000)
TOO_LONG = [
    ("exif", "EXIF", exif_block(text(MAKE, "x" * 70_000))[6:], b""),
    ("xmp", "XMP", PLAIN_XMP + b" " * 70_000, b"x" * 65504),
    ("comment", "comment", b"x" * 65534, b"x" * 65533),
    ("icc_profile", "colour profile", PROFILE + bytes(255 * 65519), PROFILE_OF_MANY_PARTS),
]


@pytest.mark.parametrize(("key", "words", "long", "fits"), TOO_LONG, ids=range(4))
def test_what_is_too_long_is_told_to_be_lost(key: str, words: str, long: Any, fits: Any) -> None:
    given = picture(ramp(), "RGB", Metadata(**{key: long}))
    assert key not in opened(encoded(given, "jpeg")).info
    assert notes_of(given, "jpeg") == [f"JPEG has no place for the {words}, which is too long"]
    if fits:
        given = picture(ramp(), "RGB", Metadata(**{key: fits}))
        octets = encoded(given, "jpeg")
        assert opened(octets).info[key] == getattr(decoded(octets).metadata, key) == fits
        assert notes_of(given, "jpeg") == []


def test_a_second_part_of_xmp_is_told_to_be_lost_and_not_named() -> None:
    named = b" xmlns:xmpNote='http://ns.adobe.com/xmp/note/' xmpNote:HasExtendedXMP='%b'"
    octets = jpeg(xmp=XMP % (named % (b"A" * 32)))
    body = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">2I", 3, 0) + b"<x>"
    found = decoded(with_segments(octets, segment(0xE1, body)))
    assert notes_of(found, "jpeg") == ["JPEG has no place for the second part of its XMP"]
    xmp = opened(encoded(found, "jpeg")).info["xmp"]
    assert TRUE_OF_XMP[0] in xmp
    assert b"HasExtended" not in xmp


# Comments and damage


@pytest.mark.parametrize(
    ("words", "text"),
    [(b"first", "first"), ("J\xfcrgen".encode(), "J\xfcrgen"), (b"caf\xe9", "caf\xe9")],
)
@pytest.mark.parametrize("name", ["jpeg", "gif", "png"])
def test_all_comments_are_read_and_written_as_one(name: str, words: bytes, text: str) -> None:
    octets = with_segments(jpeg(comment=words), segment(0xFE, b"second"))
    found = decoded(octets)
    assert found.metadata.comment == b"second\n" + words
    image = opened(encoded(found, name))
    if name in ("jpeg", "gif"):
        assert image.info["comment"] == b"second\n" + words
    elif name == "png":
        assert image.info["Comment"] == f"second\n{text}"
    assert not [note for note in notes_of(found, name) if "comment" in note]


@needs("djpeg")
def test_djpeg_reads_the_comment() -> None:
    octets = encoded(picture(ramp(), "RGB", Metadata(comment=b"hello there")), "jpeg")
    command = [DJPEG, "-verbose", "-verbose"]
    done = subprocess.run(command, input=octets, capture_output=True, check=True)
    assert b"hello there" in done.stderr


PHOTOSHOP = b"Photoshop 3.0\0" + b"8BIM\4\4"
DAMAGED = [(0xE0, b"JFIF\0"), (0xE2, b"ICC_PROFILE\0"), (0xED, PHOTOSHOP)]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(("marker", "body"), DAMAGED, ids=["JFIF", "ICC", "Photoshop"])
def test_damaged_descriptive_segments_cost_no_picture(mode: str, marker: int, body: bytes) -> None:
    whole = file_of("JPEG", mode)
    found = decoded(with_segments(whole, segment(marker, body)))
    np.testing.assert_array_equal(found.array, decoded(whole).array)
    assert "its metadata is damaged, and was dropped" in found.metadata.warnings


def test_a_resolution_in_words_is_damage_to_exif_alone() -> None:
    exif = exif_block(text(ACROSS, "7"), number(UNIT, 2), text(MAKE, "x"))
    octets = jpeg(comment=b"kept")
    found = decoded(with_segments(octets, segment(0xE1, exif)))
    (warning,) = found.metadata.warnings
    assert "its EXIF is damaged" in warning
    assert found.metadata.comment == b"kept"
    np.testing.assert_array_equal(found.array, decoded(octets).array)


def test_a_profile_of_which_a_part_is_missing_is_dropped_and_garbage_is_carried() -> None:
    octets = jpeg(icc_profile=PROFILE + bytes(100_000))
    begin = octets.index(b"ICC_PROFILE\0\2") - 4
    (length,) = struct.unpack_from(">H", octets, begin + 2)
    found = decoded(octets[:begin] + octets[begin + 2 + length :])
    assert found.metadata.icc_profile is None
    assert "its colour profile is damaged, and was dropped" in found.metadata.warnings
    given = decoded(jpeg(icc_profile=b"no profile at all"))
    assert opened(encoded(given, "jpeg")).info["icc_profile"] == b"no profile at all"
