"""EXIF and XMP: what stays true is kept, what pooling makes false goes, damage costs no picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli.formats.exif import describe, packed_exif
from poolcli.formats.saving import Saving
from tests.exif_support import (
    ACROSS,
    ASCII,
    BIAS,
    COMMENT,
    COPYRIGHT,
    DETAILS,
    DOWN,
    EXIF_HEIGHT,
    EXIF_WIDTH,
    EXIFTOOL,
    EXPOSURE,
    FALSE_OF_XMP,
    FULL_EXIF,
    GPS,
    HEIGHT,
    INTEROP,
    LONG,
    MAKE,
    MODEL,
    PLAIN_XMP,
    PROFILE,
    TAKEN,
    THUMBNAIL,
    TRUE_OF_XMP,
    TURN,
    UNIT,
    WIDTH,
    XMP,
    Entry,
    directory,
    exif_block,
    exiftool,
    file_of,
    fractions,
    number,
    text,
)
from tests.jobs import pool, work
from tests.pictures import decoded, encoded, notes_of, opened

BETWEEN = pytest.mark.parametrize(
    ("source", "name"),
    [
        (source, name)
        for source in ("PNG", "JPEG", "WEBP", "AVIF")
        for name in ("png", "jpeg", "webp", "avif", "tiff")
    ],
)


def packed_again(block: bytes, dpi: tuple[float, float] | None = None) -> Image.Exif:
    """What Pillow reads of EXIF that went through."""
    exif, (described, _) = Image.Exif(), describe(block, None)
    assert not described.warnings
    if described.exif is not None:
        exif.load(packed_exif(described.exif, dpi) or b"")
    return exif


def assert_full(exif: Image.Exif) -> None:
    """All that stays true, and nothing that doesn't."""
    details, gps = exif.get_ifd(DETAILS), exif.get_ifd(GPS)
    assert (exif[MAKE], exif[MODEL]) == ("Camera Works", "Model 1")
    assert details[TAKEN] == "2024:02:29 12:34:56"
    assert (details[EXPOSURE], details[BIAS]) == (1 / 250, pytest.approx(-1 / 3))
    assert details[COMMENT] == b"ASCII\0\0\0hello"
    assert (gps[1], gps[2], gps[3], gps[4]) == ("N", (52, 31, 12.34), "E", (13, 24, 0))
    assert {EXIF_WIDTH, EXIF_HEIGHT}.isdisjoint(details)
    assert not exif.get_ifd(1)


def test_what_stays_true_is_kept_and_the_rest_goes() -> None:
    exif = packed_again(FULL_EXIF)
    assert_full(exif)
    assert {TURN, WIDTH, HEIGHT, ACROSS, DOWN, UNIT}.isdisjoint(exif)
    assert THUMBNAIL not in exif.tobytes()


@BETWEEN
def test_exif_xmp_and_profile_go_from_file_to_file(source: str, name: str) -> None:
    octets = file_of(source, exif=FULL_EXIF, icc_profile=PROFILE, xmp=PLAIN_XMP)
    found = pool(decoded(octets), work("avg", 2))
    result, notes = encoded(found, name), notes_of(found, name)
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


@pytest.mark.skipif(not EXIFTOOL, reason="exiftool is not installed")
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


@pytest.mark.parametrize(("unit", "inch"), [(2, 1.0), (3, 2.54)], ids=["inch", "centimetre"])
@pytest.mark.parametrize("more", [(), (text(MAKE, "x"),)], ids=["alone", "with more"])
def test_the_resolution_is_written_as_it_is_now(
    unit: int, inch: float, more: tuple[Entry, ...]
) -> None:
    block = exif_block(
        fractions(ACROSS, 300, 1), fractions(DOWN, 120, 1), number(UNIT, unit), *more
    )
    assert describe(block, None)[0].dpi == pytest.approx((120 * inch, 300 * inch))
    exif = packed_again(block, dpi=(60 * inch, 100 * inch))
    assert (exif[ACROSS], exif[DOWN], exif[UNIT]) == pytest.approx((100 * inch, 60 * inch, 2))
    assert not {ACROSS, DOWN, UNIT} & set(packed_again(block))


def test_no_resolution_is_made_up() -> None:
    assert describe(exif_block(text(MAKE, "x")), None)[0].dpi is None
    assert dict(packed_again(exif_block(text(MAKE, "x")))) == {MAKE: "x"}


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM"])
def test_no_format_makes_up_a_resolution(source: str) -> None:
    arguments: dict[str, Any] = {"dpi": (0, 0)} if source == "BMP" else {}
    plain = decoded(file_of(source, **arguments))
    assert plain.metadata.dpi is None
    if plain.metadata.exif is None and source not in ("GIF", "BMP", "PPM"):
        described = decoded(file_of(source, exif=exif_block(text(MAKE, "x"))))
        assert described.metadata.dpi is None
        assert ACROSS not in opened(encoded(described, "webp")).getexif()


@pytest.mark.parametrize("dpi", [(0, 300), (300, 0), (0, 0)])
def test_a_resolution_of_0_is_none(dpi: tuple[int, int]) -> None:
    for source in ("PNG", "JPEG", "BMP"):
        assert decoded(file_of(source, dpi=dpi)).metadata.dpi is None


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none"])
def test_exif_stands_in_a_tiff_of_any_compression(compression: str) -> None:
    found = decoded(file_of("JPEG", exif=FULL_EXIF))
    saving = Saving(options=(("compression", compression),))
    image = opened(encoded(found, "tiff", saving))
    assert image.size == (60, 40)
    assert_full(image.getexif())


@pytest.mark.parametrize("value", ["© Ängström".encode(), "© Ängström".encode("latin-1")])
def test_names_outside_ascii_keep_their_bytes(value: bytes) -> None:
    described, _ = describe(exif_block(text(COPYRIGHT, value)), None)
    assert described.exif is not None
    assert value in (packed_exif(described.exif, (72, 72)) or b"")


# Profiles

GREY_PROFILE = PROFILE[:16] + b"GRAY" + PROFILE[20:]


@pytest.mark.parametrize(
    ("mode", "profile", "name", "stays"),
    [
        *[("L", GREY_PROFILE, name, name in ("png", "jpeg")) for name in ("png", "jpeg", "webp")],
        *[("RGB", GREY_PROFILE, name, False) for name in ("png", "jpeg", "webp", "avif")],
        *[("L", PROFILE, name, name != "png") for name in ("png", "jpeg", "webp", "avif")],
        *[("RGB", PROFILE, name, True) for name in ("png", "jpeg", "webp", "avif")],
    ],
)
def test_a_profile_of_other_channels_is_left_out_and_that_is_told(
    mode: str, profile: bytes, name: str, stays: bool
) -> None:
    found = decoded(file_of("PNG", mode, icc_profile=profile))
    assert ("icc_profile" in opened(encoded(found, name)).info) is stays
    told = [note for note in notes_of(found, name) if "colour profile is not for" in note]
    assert bool(told) is not stays


# Damage

WHOLE = exif_block(text(MAKE, "Camera Works"), text(MODEL, "Model 1"), text(COPYRIGHT, "somebody"))
UNREADABLE = {
    "cut in its table": WHOLE[:30],
    "cut in its values": WHOLE[:-20],
    "cut in its head": WHOLE[:10],
    "garbage": b"Exif\0\0" + bytes(range(7, 60)),
    "a table of garbage": WHOLE[:14] + b"\xff" * 60,
    "a table out of reach": b"Exif\0\0II*\0\xff\xff\0\0" + bytes(20),
}
ODD = {
    "details at the table itself": exif_block(text(MAKE, "x"), number(DETAILS, 8, LONG)),
    "GPS at the table itself": exif_block(text(MAKE, "x"), number(GPS, 8, LONG)),
    "a table after itself": b"Exif\0\0II*\0\x08\0\0\0" + directory([text(MAKE, "x")], 8, 8),
    "details out of reach": exif_block(text(MAKE, "x"), number(DETAILS, 99_999, LONG)),
    "GPS out of reach": exif_block(text(MAKE, "x"), number(GPS, 99_999, LONG)),
    "details that are text": exif_block(text(MAKE, "x"), text(DETAILS, "hello")),
    "a make that is a number": exif_block(number(MAKE, 1)),
    "an unknown type": exif_block((MAKE, 77, 1, b"abcd")),
    "a fraction over 0": exif_block(
        fractions(ACROSS, 1, 0), fractions(DOWN, 0, 0), number(UNIT, 2)
    ),
    "a value of 2 GB": exif_block((MAKE, ASCII, 2**31, b"\x10\0\0\0")),
    "an orientation in words": exif_block(text(TURN, "left")),
    "a place that points on": exif_block(text(MAKE, "x"), gps=[number(DETAILS, 99_999, LONG)]),
    "details that point to a place": exif_block(text(MAKE, "x"), details=[number(GPS, 8, LONG)]),
    "another use of a pointer": exif_block(text(MAKE, "x"), number(INTEROP, 99_999, LONG)),
    "nothing": b"Exif\0\0",
}


@pytest.mark.parametrize("block", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_exif_is_dropped_with_a_warning(block: bytes) -> None:
    described, orientation = describe(block, None)
    assert (described.exif, orientation, described.dpi) == (None, 1, None)
    assert [warning for warning in described.warnings if "EXIF is damaged" in warning]


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("block", (ODD | UNREADABLE).values(), ids=ODD | UNREADABLE)
def test_broken_exif_never_costs_the_picture(source: str, block: bytes) -> None:
    found = decoded(file_of(source, exif=block))
    np.testing.assert_array_equal(found.array, decoded(file_of(source)).array)
    for name in ("png", "jpeg", "webp", "tiff"):
        assert opened(encoded(found, name)).size == (60, 40)


@pytest.mark.parametrize(
    "broken",
    [
        number(GPS, 99_999, LONG),
        number(DETAILS, 8, LONG),
        (DETAILS, 77, 9, b"abcd"),
        text(WIDTH, "sixty"),
        text(ACROSS, "72"),
    ],
)
def test_the_orientation_is_found_in_broken_exif(broken: Entry) -> None:
    assert describe(exif_block(number(TURN, 6), text(MAKE, "x"), broken), None)[1] == 6


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.integers(6, 300), st.integers(0, 255), min_size=1, max_size=4))
def test_no_damage_to_exif_raises(changes: dict[int, int]) -> None:
    block = bytearray(FULL_EXIF)
    for place, value in changes.items():
        block[place] = value
    described, _ = describe(bytes(block), None)
    if described.exif is not None:
        packed_exif(described.exif, described.dpi)


# Orientation


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", [b" tiff:Orientation='%d'", b' tiff:Orientation = "%d"'])
def test_the_orientation_is_that_of_exif_or_else_of_xmp(turn: int, form: bytes) -> None:
    xmp = XMP % (form % turn)
    assert describe(None, xmp)[1] == turn
    assert describe(exif_block(text(MAKE, "x")), xmp)[1] == turn
    assert describe(exif_block(number(TURN, 3)), xmp)[1] == 3
    assert b"Orientation" not in (describe(None, xmp)[0].xmp or b"")


@pytest.mark.parametrize("turn", [0, 9, 65535])
def test_an_orientation_without_a_meaning_is_upright(turn: int) -> None:
    assert describe(exif_block(number(TURN, turn)), None)[1] == 1


# XMP


@pytest.mark.parametrize(
    ("xmp", "why"),
    [
        (PLAIN_XMP.decode().encode("utf-16"), "not UTF-8"),
        (b"\0" + PLAIN_XMP, "not UTF-8"),
        (b"<" * (1 << 25), "too long"),
    ],
    ids=["UTF-16", "a NUL", "huge"],
)
def test_xmp_that_cannot_be_used_is_dropped_with_a_warning(xmp: bytes, why: str) -> None:
    described, _ = describe(None, xmp)
    assert described.xmp is None
    assert [warning for warning in described.warnings if f"XMP is {why}" in warning]


@pytest.mark.parametrize("xmp", [None, b"", "text"])
def test_no_xmp_is_none(xmp: Any) -> None:
    assert describe(None, xmp) == describe(None, None)
