"""EXIF and XMP: what stays true is kept, what pooling makes false goes, damage costs no picture."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli.formats.exif import describe, packed_exif
from poolcli.formats.saving import Saving
from poolcli.picture import Placement, Resolution
from tests.exif_support import (
    ACROSS,
    BROKEN_BESIDE,
    COPYRIGHT,
    DETAILS,
    DOWN,
    EXIF_WIDTH,
    FALSE_OF_XMP,
    FULL_EXIF,
    HEIGHT,
    LONG,
    MAKE,
    NAMED,
    ODD,
    PLAIN_XMP,
    PROFILE,
    THUMBNAIL,
    TRUE_OF_XMP,
    TURN,
    UNIT,
    UNREADABLE,
    WIDTH,
    XMP,
    Entry,
    assert_full,
    exif_block,
    exiftool,
    file_of,
    fractions,
    number,
    text,
)
from tests.jobs import pool, work
from tests.pictures import decoded, encoded, opened, written
from tests.support.tools import needs

PLAIN = Resolution(1, 1, "")


def packed_again(block: bytes, resolution: Resolution | None = None) -> Image.Exif:
    """What Pillow reads of EXIF that went through."""
    exif, (described, _) = Image.Exif(), describe(block, None)
    assert not described.warnings
    if described.exif is not None:
        exif.load(packed_exif(described.exif, resolution) or b"")
    return exif


def test_what_stays_true_is_kept_and_the_rest_goes() -> None:
    exif = packed_again(FULL_EXIF)
    assert_full(exif)
    assert {TURN, WIDTH, HEIGHT, ACROSS, DOWN, UNIT}.isdisjoint(exif)
    assert THUMBNAIL not in exif.tobytes()


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "avif", "tiff"])
def test_exif_xmp_and_profile_go_from_file_to_file(source: str, name: str) -> None:
    octets = file_of(source, exif=FULL_EXIF, icc_profile=PROFILE, xmp=PLAIN_XMP)
    result, notes = written([pool(decoded(octets), work("avg", 2))], name)
    image = opened(result)
    exif, xmp = image.getexif(), image.info["xmp"]
    assert_full(exif)
    assert (exif[ACROSS], exif[DOWN]) == (36, 36)
    assert name == "tiff" or {TURN, WIDTH, HEIGHT}.isdisjoint(exif)
    assert THUMBNAIL not in result
    assert image.info["icc_profile"] == PROFILE
    assert all(one in xmp for one in TRUE_OF_XMP)
    assert not [one for one in FALSE_OF_XMP if one in xmp]
    assert not [note for note in notes if "no place" in note]


@needs("exiftool")
@pytest.mark.parametrize(
    ("source", "name"),
    [("PNG", "jpeg"), ("JPEG", "webp"), ("WEBP", "png"), ("JPEG", "jpeg"), ("JPEG", "avif")],
)
def test_exiftool_reads_the_same(source: str, name: str) -> None:
    octets = file_of(source, exif=FULL_EXIF, icc_profile=PROFILE)
    before, after = exiftool(octets), exiftool(encoded(pool(decoded(octets), work()), name))
    kept = [tag for tag in before if tag.startswith(("GPS:", "ExifIFD:")) and "Image" not in tag]
    kept += ["IFD0:Make", "IFD0:Model", "ICC_Profile:ProfileDescription"]
    assert {tag: after.get(tag) for tag in kept} == {tag: before[tag] for tag in kept}
    assert after["Composite:ImageSize"] == "30 20"
    assert not [tag for tag in after if tag.startswith("IFD1:") or tag.endswith(":Warning")]
    gone = {"IFD0:Orientation", "IFD0:ImageWidth", "ExifIFD:ExifImageWidth"}
    assert gone <= set(before)
    assert gone.isdisjoint(after)


def test_exif_that_holds_nothing_true_goes_whole() -> None:
    assert describe(exif_block(number(TURN, 1), number(WIDTH, 60)), None)[0].exif is None
    assert describe(b"", None)[0].exif is describe(None, None)[0].exif is None
    left = packed_again(exif_block(number(TURN, 1), details=(number(EXIF_WIDTH, 60, LONG),)))
    assert set(left) <= {DETAILS}
    assert not left.get_ifd(DETAILS)


@pytest.mark.parametrize(("number_of_unit", "unit"), [(1, ""), (2, "inch"), (3, "cm")])
@pytest.mark.parametrize("more", [(), (text(MAKE, "x"),)], ids=["alone", "with more"])
def test_the_resolution_is_written_as_it_is_now(
    number_of_unit: int, unit: Any, more: tuple[Entry, ...]
) -> None:
    resolution = (fractions(ACROSS, 300, 1), fractions(DOWN, 120, 1), number(UNIT, number_of_unit))
    block = exif_block(*resolution, *more)
    assert describe(block, None)[0].resolution == Resolution(120, 300, unit)
    exif = packed_again(block, resolution=Resolution(60, 100, unit))
    assert (exif[ACROSS], exif[DOWN], exif[UNIT]) == (100, 60, number_of_unit)
    assert not {ACROSS, DOWN, UNIT} & set(packed_again(block))


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM"])
def test_no_format_makes_up_a_resolution(source: str) -> None:
    more: dict[str, Any] = {"dpi": (0, 0)} if source == "BMP" else {}
    assert (decoded(file_of(source, **more)).metadata.resolution or PLAIN).is_plain
    if source not in ("GIF", "BMP", "PPM"):
        described = decoded(file_of(source, exif=exif_block(text(MAKE, "x"))))
        assert (described.metadata.resolution or PLAIN).is_plain
        exif = opened(encoded(described, "webp")).getexif()
        assert source == "TIFF" or dict(exif) == {MAKE: "x"}


@pytest.mark.parametrize("dpi", [(0, 300), (300, 0), (0, 0)])
def test_a_resolution_of_0_is_none(dpi: tuple[int, int]) -> None:
    for source in ("PNG", "JPEG", "BMP"):
        assert (decoded(file_of(source, dpi=dpi)).metadata.resolution or PLAIN).is_plain


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none"])
def test_exif_stands_in_a_tiff_of_any_compression(compression: str) -> None:
    saving = Saving(options=(("compression", compression),))
    image = opened(encoded(decoded(file_of("JPEG", exif=FULL_EXIF)), "tiff", saving))
    assert image.size == (60, 40)
    assert_full(image.getexif())


@pytest.mark.parametrize("value", ["© Ängström".encode(), "© Ängström".encode("latin-1")])
def test_names_outside_ascii_keep_their_bytes(value: bytes) -> None:
    described, _ = describe(exif_block(text(COPYRIGHT, value)), None)
    assert described.exif is not None
    assert value in (packed_exif(described.exif, Resolution(72, 72)) or b"")


# Profiles

GREY_PROFILE = PROFILE[:16] + b"GRAY" + PROFILE[20:]


@pytest.mark.parametrize(
    ("mode", "profile", "kept_in", "lost_in"),
    [
        ("L", GREY_PROFILE, ["png", "jpeg"], ["webp", "avif"]),
        ("RGB", GREY_PROFILE, [], ["png", "jpeg", "webp", "avif"]),
        ("L", PROFILE, ["jpeg", "webp", "avif"], ["png"]),
        ("P", PROFILE, ["webp"], ["png"]),
        ("RGB", PROFILE, ["png", "jpeg", "webp", "avif"], []),
    ],
)
def test_a_profile_of_other_channels_is_left_out_and_that_is_told(
    mode: str, profile: bytes, kept_in: list[str], lost_in: list[str]
) -> None:
    found = decoded(file_of("PNG", mode, icc_profile=profile))
    for name in (*kept_in, *lost_in):
        octets, notes = written([found], name)
        assert ("icc_profile" in opened(octets).info) is (name in kept_in)
        told = [note for note in notes if "colour profile is not for" in note]
        assert bool(told) is (name in lost_in)


# Damage


@pytest.mark.parametrize("block", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_exif_is_dropped_with_a_warning(block: bytes) -> None:
    described, orientation = describe(block, None)
    assert (described.exif, orientation, described.resolution) == (None, 1, None)
    assert [warning for warning in described.warnings if "EXIF is damaged" in warning]


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("block", (ODD | UNREADABLE).values(), ids=ODD | UNREADABLE)
def test_broken_exif_never_costs_the_picture(source: str, block: bytes) -> None:
    found = decoded(file_of(source, exif=block))
    np.testing.assert_array_equal(found.array, decoded(file_of(source)).array)
    for name in ("png", "jpeg", "webp", "tiff"):
        assert opened(encoded(found, name)).size == (60, 40)


@pytest.mark.parametrize("broken", BROKEN_BESIDE)
def test_the_orientation_is_found_in_broken_exif(broken: Entry) -> None:
    assert describe(exif_block(number(TURN, 6), NAMED, broken), None)[1] == 6


@settings(max_examples=150)
@given(st.dictionaries(st.integers(6, 300), st.integers(0, 255), min_size=1, max_size=4))
def test_no_damage_to_exif_raises(changes: dict[int, int]) -> None:
    block = bytearray(FULL_EXIF)
    for place, value in changes.items():
        block[place] = value
    described, _ = describe(bytes(block), None)
    if described.exif is not None:
        packed_exif(described.exif, described.resolution)


# Orientation


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", [b" tiff:Orientation='%d'", b' tiff:Orientation = "%d"'])
def test_the_orientation_is_that_of_exif_or_else_of_xmp(turn: int, form: bytes) -> None:
    xmp = XMP % (form % turn)
    described, orientation = describe(None, xmp)
    assert orientation == describe(exif_block(NAMED), xmp)[1] == turn
    assert describe(exif_block(number(TURN, 3)), xmp)[1] == 3
    assert b"Orientation" not in (described.xmp or b"")


@pytest.mark.parametrize("turn", [0, 9, 65535])
def test_an_orientation_without_a_meaning_is_upright(turn: int) -> None:
    assert describe(exif_block(number(TURN, turn)), None)[1] == 1


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1e300])
def test_a_place_of_the_subject_that_is_no_pixel_costs_only_itself(value: float) -> None:
    subject = 37396, 12, 2, struct.pack("<2d", value, 1)
    block = exif_block(text(MAKE, "maker"), details=[subject])
    described, _ = describe(block, None)
    exif = Image.Exif()
    exif.load(packed_exif(described.exif or b"", None, (), Placement((2, 2), (0, 0))) or b"")
    assert exif[MAKE] == "maker"
    assert exif.get_ifd(DETAILS).get(37396) in (None, (0, 0))


# XMP


UNUSABLE_XMP = {
    "UTF-16": (PLAIN_XMP.decode().encode("utf-16"), "not UTF-8"),
    "a NUL": (b"\0" + PLAIN_XMP, "not UTF-8"),
    "huge": (b"<" * (1 << 25), "longer than"),
}


@pytest.mark.parametrize(("xmp", "why"), UNUSABLE_XMP.values(), ids=UNUSABLE_XMP)
def test_xmp_that_cannot_be_used_is_dropped_with_a_warning(xmp: bytes, why: str) -> None:
    described, _ = describe(None, xmp)
    assert described.xmp is None
    assert [warning for warning in described.warnings if f"XMP is {why}" in warning]


@pytest.mark.parametrize("xmp", [None, b"", "text"])
def test_no_xmp_is_none(xmp: Any) -> None:
    assert describe(None, xmp) == describe(None, None)


@pytest.mark.parametrize("form", [b" tiff:%b='%b'", b' tiff:%b="%b"'])
def test_the_resolution_of_xmp_counts_where_exif_has_none(form: bytes) -> None:
    numbers = {b"XResolution": b"300/1", b"YResolution": b"1200/10", b"ResolutionUnit": b"3"}
    xmp = b"<a%b/>" % b"".join(form % one for one in numbers.items())
    stated = fractions(ACROSS, 72, 1), fractions(DOWN, 36, 1)
    assert describe(None, xmp)[0].resolution == Resolution(120, 300, "cm")
    assert describe(exif_block(*stated), xmp)[0].resolution == Resolution(36, 72)
    assert describe(None, xmp.replace(b"300/1", b"1/0"))[0].resolution is None
