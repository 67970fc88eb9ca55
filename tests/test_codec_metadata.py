"""Colour profile, EXIF and resolution from file to file, read back by Pillow and by exiftool."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from poolcli import codec, colour
from poolcli.engine.window import Window
from poolcli.formats import Saving, by_name

MAKE, MODEL, TURN, COPYRIGHT = 0x010F, 0x0110, 0x0112, 0x8298
WIDTH, HEIGHT, ACROSS, DOWN, UNIT = 0x0100, 0x0101, 0x011A, 0x011B, 0x0128
DETAILS, GPS, INTEROP = 0x8769, 0x8825, 0xA005
EXPOSURE, TAKEN, BIAS, COMMENT = 0x829A, 0x9003, 0x9204, 0x9286
EXIF_WIDTH, EXIF_HEIGHT = 0xA002, 0xA003
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 2, 3, 4, 5, 7, 10
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIFTOOL = shutil.which("exiftool") or ""

Entry = tuple[int, int, int, bytes]
"""Tag, type, count and value."""

BETWEEN = pytest.mark.parametrize(
    ("source", "name"),
    [(source, name) for source in ("PNG", "JPEG", "WEBP") for name in ("png", "jpeg", "webp")],
)
ANY_SOURCE = pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])


# EXIF made by hand


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


def exif_of(
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


def small_jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 6), (200, 100, 50)).save(buffer, "JPEG")
    return buffer.getvalue()


THUMBNAIL = small_jpeg()
LATITUDE = (52, 1, 31, 1, 1234, 100)
KEPT_DETAILS = (
    text(TAKEN, "2024:02:29 12:34:56"),
    fractions(EXPOSURE, 1, 250),
    fractions(BIAS, -1, 3, kind=SIGNED_RATIONAL),
    (COMMENT, UNDEFINED, 13, b"ASCII\0\0\0hello"),
)
FULL_EXIF = exif_of(
    text(MAKE, "Camera Works"),
    text(MODEL, "Model 1"),
    number(TURN, 1),
    number(WIDTH, 60),
    number(HEIGHT, 40),
    fractions(ACROSS, 72, 1),
    fractions(DOWN, 72, 1),
    number(UNIT, 2),
    details=(*KEPT_DETAILS, number(EXIF_WIDTH, 60, LONG), number(EXIF_HEIGHT, 40, LONG)),
    gps=(text(1, "N"), fractions(2, *LATITUDE), text(3, "E"), fractions(4, 13, 1, 24, 1, 0, 1)),
    thumbnail=THUMBNAIL,
)


# From file to file


def file_of(pillow: str, mode: str = "RGB", **arguments: Any) -> bytes:
    """A picture of 40×60 pixels as Pillow writes it."""
    y, x = np.indices((40, 60))
    image = Image.fromarray((x + 3 * y).astype(np.uint8)).convert(mode)
    buffer = BytesIO()
    more = {"lossless": True} if pillow == "WEBP" else {}
    image.save(buffer, pillow, **more, **arguments)
    return buffer.getvalue()


def decoded(octets: bytes) -> codec.Picture:
    return codec.decode(codec.identify(BytesIO(octets), 10**6))


def pooled(
    octets: bytes, name: str, stride: int | tuple[int, int] = 2, *, strip: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """The file that comes out, and its notes."""
    choices = colour.Choices("avg", Window.of(2, stride))
    picture = colour.pool(decoded(octets), choices)
    result, notes = codec.encode(picture, by_name(name), Saving(strip=strip))
    return bytes(result), notes


def opened(octets: bytes) -> Image.Image:
    image = Image.open(BytesIO(octets))
    image.load()
    return image


def resolution(octets: bytes) -> tuple[float, float] | None:
    """Pixels an inch across and down, where the format or its EXIF says them."""
    image = opened(octets)
    if image.format != "JPEG" and "dpi" in image.info:
        across, down = image.info["dpi"]
        return float(across), float(down)
    if image.format == "JPEG" and image.info.get("jfif_unit"):
        across, down = image.info["jfif_density"]
        return float(across), float(down)
    exif = image.getexif()
    if ACROSS not in exif or DOWN not in exif:
        return None
    return float(exif[ACROSS]), float(exif[DOWN])


# Colour profile


@BETWEEN
def test_the_colour_profile_stays_as_it_stood(source: str, name: str) -> None:
    octets, notes = pooled(file_of(source, icc_profile=PROFILE), name)
    assert opened(octets).info["icc_profile"] == PROFILE
    assert notes == ()


@BETWEEN
def test_a_large_colour_profile_stays_whole(source: str, name: str) -> None:
    large = PROFILE + np.random.default_rng(0).bytes(150_000)
    octets, _ = pooled(file_of(source, icc_profile=large), name)
    assert opened(octets).info["icc_profile"] == large


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
def test_where_there_is_no_profile_none_is_added(name: str) -> None:
    octets, _ = pooled(file_of("PNG"), name)
    assert "icc_profile" not in opened(octets).info


# EXIF


@BETWEEN
def test_exif_keeps_what_stays_true(source: str, name: str) -> None:
    octets, notes = pooled(file_of(source, exif=FULL_EXIF), name)
    exif = opened(octets).getexif()
    details, gps = exif.get_ifd(DETAILS), exif.get_ifd(GPS)
    assert (exif[MAKE], exif[MODEL]) == ("Camera Works", "Model 1")
    assert details[TAKEN] == "2024:02:29 12:34:56"
    assert (details[EXPOSURE], details[BIAS]) == (1 / 250, pytest.approx(-1 / 3))
    assert details[COMMENT] == b"ASCII\0\0\0hello"
    assert (gps[1], gps[2], gps[3], gps[4]) == ("N", (52, 31, 12.34), "E", (13, 24, 0))
    assert not [note for note in notes if "EXIF" in note]


@BETWEEN
def test_exif_loses_what_pooling_makes_false(source: str, name: str) -> None:
    octets, _ = pooled(file_of(source, exif=FULL_EXIF), name)
    exif = opened(octets).getexif()
    stale = {TURN, WIDTH, HEIGHT}
    assert stale.isdisjoint(exif)
    assert {EXIF_WIDTH, EXIF_HEIGHT}.isdisjoint(exif.get_ifd(DETAILS))
    assert not exif.get_ifd(1)
    assert THUMBNAIL not in octets
    assert exif.get(ACROSS) != 72


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_exif_that_holds_nothing_but_what_is_stale_goes_whole(source: str) -> None:
    exif = exif_of(number(TURN, 1), number(WIDTH, 60), details=(number(EXIF_WIDTH, 60, LONG),))
    octets, _ = pooled(file_of(source, exif=exif), "png")
    left = opened(octets).getexif()
    assert set(left) <= {DETAILS}
    assert not left.get_ifd(DETAILS)


@ANY_SOURCE
def test_exif_gains_nothing(source: str) -> None:
    octets, _ = pooled(file_of(source, exif=exif_of(text(MAKE, "Camera Works"))), "png")
    assert dict(opened(octets).getexif()) == {MAKE: "Camera Works"}


@ANY_SOURCE
@pytest.mark.parametrize("value", ["© Ängström".encode(), "© Ängström".encode("latin-1")])
def test_names_outside_ascii_keep_their_bytes(source: str, value: bytes) -> None:
    octets, _ = pooled(file_of(source, exif=exif_of(text(COPYRIGHT, value))), source.lower())
    assert value in octets


@pytest.mark.skipif(not EXIFTOOL, reason="exiftool is not installed")
@pytest.mark.parametrize(
    ("source", "name"), [("PNG", "jpeg"), ("JPEG", "webp"), ("WEBP", "png"), ("JPEG", "jpeg")]
)
def test_exiftool_reads_the_same(source: str, name: str) -> None:
    given_ = file_of(source, exif=FULL_EXIF, icc_profile=PROFILE)
    before, after = exiftool(given_), exiftool(pooled(given_, name)[0])
    kept = (
        "IFD0:Make",
        "IFD0:Model",
        "ExifIFD:DateTimeOriginal",
        "ExifIFD:ExposureTime",
        "ExifIFD:ExposureCompensation",
        "ExifIFD:UserComment",
        "GPS:GPSLatitudeRef",
        "GPS:GPSLatitude",
        "GPS:GPSLongitude",
        "ICC_Profile:ProfileDescription",
    )
    assert {tag: after.get(tag) for tag in kept} == {tag: before[tag] for tag in kept}
    assert after["Composite:ImageSize"] == "30 20"
    assert not [tag for tag in after if tag.startswith("IFD1:") or tag.endswith(":Warning")]
    gone = {"IFD0:Orientation", "IFD0:ImageWidth", "ExifIFD:ExifImageWidth"}
    assert gone <= set(before)
    assert gone.isdisjoint(after)


def exiftool(octets: bytes) -> dict[str, Any]:
    """Every tag that exiftool finds, by group and name."""
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-n", "-"], input=octets, capture_output=True, check=True
    )
    (tags,) = json.loads(done.stdout)
    assert isinstance(tags, dict)
    return tags


@ANY_SOURCE
@pytest.mark.parametrize("compression", ["deflate", "lzw", "none"])
def test_a_picture_with_exif_is_written_as_tiff(source: str, compression: str) -> None:
    picture = decoded(file_of(source, exif=FULL_EXIF))
    saving = Saving(options=(("compression", compression),))
    octets, notes = codec.encode(picture, by_name("tiff"), saving)
    image = opened(bytes(octets))
    assert image.size == (60, 40)
    if not [note for note in notes if "EXIF" in note]:
        assert image.getexif()[MAKE] == "Camera Works"
        assert image.getexif().get_ifd(DETAILS)[TAKEN] == "2024:02:29 12:34:56"


@ANY_SOURCE
def test_exif_stays_in_avif(source: str) -> None:
    exif = opened(pooled(file_of(source, exif=FULL_EXIF), "avif")[0]).getexif()
    assert exif[MAKE] == "Camera Works"
    assert exif.get_ifd(DETAILS)[TAKEN] == "2024:02:29 12:34:56"


def test_exif_too_long_for_a_jpeg_is_left_out_and_that_is_said() -> None:
    long = exif_of(text(MAKE, "x" * 70_000))
    octets, notes = pooled(file_of("PNG", exif=long), "jpeg")
    assert opened(octets).size == (30, 20)
    assert [note for note in notes if "EXIF" in note]


def test_a_profile_too_long_for_a_jpeg_is_left_out_and_that_is_said() -> None:
    octets, notes = pooled(file_of("TIFF", icc_profile=PROFILE + bytes(255 * 65519)), "jpeg")
    assert "icc_profile" not in opened(octets).info
    assert [note for note in notes if "colour profile" in note]


# Resolution


@pytest.mark.parametrize(("source", "name"), [("PNG", "png"), ("PNG", "tiff"), ("BMP", "png")])
def test_the_resolution_is_divided_by_the_stride_along_each_axis(source: str, name: str) -> None:
    octets, _ = pooled(file_of(source, dpi=(300, 150)), name, stride=(3, 4))
    assert resolution(octets) == pytest.approx((300 / 4, 150 / 3), abs=0.03)


@pytest.mark.parametrize(
    ("source", "name"), [("PNG", "jpeg"), ("JPEG", "jpeg"), ("JPEG", "png"), ("TIFF", "jpeg")]
)
def test_a_jpeg_states_its_resolution_in_whole_numbers(source: str, name: str) -> None:
    octets, _ = pooled(file_of(source, dpi=(300, 150)), name, stride=(7, 4))
    assert resolution(octets) == pytest.approx((75, 150 / 7), abs=0.5)


@pytest.mark.parametrize("dpi", [(300_000, 300_000), (300, 300_000), (1, 1)])
@pytest.mark.parametrize("exif", [None, exif_of(text(MAKE, "x"))], ids=["no EXIF", "EXIF"])
def test_a_resolution_that_a_jpeg_cannot_state_is_not_stated_falsely(
    dpi: tuple[int, int], exif: bytes | None
) -> None:
    octets, notes = pooled(file_of("PNG", dpi=dpi, exif=exif), "jpeg", stride=3)
    assert not opened(octets).info["jfif_unit"]
    assert ("jpeg has no place for the resolution" in notes) is (exif is None)
    if exif is not None:
        assert resolution(octets) == pytest.approx((dpi[0] / 3, dpi[1] / 3), rel=0.02)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF"])
def test_the_resolution_of_a_turned_picture_turns_with_it(source: str, turn: int) -> None:
    exif = Image.Exif()
    exif[TURN] = turn
    octets, _ = pooled(file_of(source, exif=exif, dpi=(300, 120)), "png", stride=(2, 3))
    across, down = (120, 300) if turn >= 5 else (300, 120)
    assert resolution(octets) == pytest.approx((across / 3, down / 2), abs=0.03)


@ANY_SOURCE
@pytest.mark.parametrize(("unit", "inch"), [(2, 1.0), (3, 2.54)], ids=["inch", "centimetre"])
def test_a_resolution_that_stands_in_exif_alone_is_divided_or_its_loss_is_said(
    source: str, unit: int, inch: float
) -> None:
    exif = exif_of(fractions(ACROSS, 300, 1), fractions(DOWN, 120, 1), number(UNIT, unit))
    octets, notes = pooled(file_of(source, exif=exif), source.lower(), stride=(2, 3))
    stated = resolution(octets)
    if stated is None:
        assert [note for note in notes if "resolution" in note]
    else:
        assert stated == pytest.approx((100 * inch, 60 * inch), abs=0.5)


def test_a_resolution_that_a_format_cannot_state_is_said_to_be_lost() -> None:
    octets, notes = pooled(file_of("PNG", dpi=(300, 300)), "webp")
    stated = resolution(octets)
    assert [note for note in notes if "resolution" in note] or stated == (150, 150)


@pytest.mark.parametrize("exif", [None, exif_of(text(MAKE, "x"))], ids=["no EXIF", "EXIF"])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "PPM", "AVIF"])
def test_where_no_resolution_is_stated_none_is_made_up(source: str, exif: bytes | None) -> None:
    octets = file_of(source) if exif is None else file_of(source, exif=exif)
    assert decoded(octets).metadata.dpi is None
    assert resolution(pooled(octets, "png")[0]) is None


@pytest.mark.parametrize("dpi", [(0, 300), (300, 0), (0, 0)])
def test_a_resolution_of_nothing_is_none(dpi: tuple[int, int]) -> None:
    assert decoded(file_of("PNG", dpi=dpi)).metadata.dpi is None


# Strip, and what a format can't hold


@BETWEEN
def test_strip_keeps_the_colour_profile_alone(source: str, name: str) -> None:
    given_ = file_of(source, exif=FULL_EXIF, icc_profile=PROFILE, dpi=(300, 300))
    octets, _ = pooled(given_, name, strip=True)
    image = opened(octets)
    assert image.info["icc_profile"] == PROFILE
    assert not image.getexif()
    assert resolution(octets) is None
    assert b"Camera Works" not in octets


@pytest.mark.parametrize("name", ["ppm", "gif", "bmp", "webp"])
def test_what_is_stripped_is_not_said_to_be_lost(name: str) -> None:
    given_ = file_of("PNG", exif=exif_of(text(MAKE, "x")), dpi=(300, 300))
    notes = pooled(given_, name, strip=True)[1]
    assert not [note for note in notes if "no place" in note]


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("ppm", {"colour profile", "EXIF", "resolution"}),
        ("gif", {"colour profile", "EXIF", "resolution"}),
        ("bmp", {"colour profile", "EXIF"}),
        ("png", set()),
        ("jpeg", set()),
    ],
)
def test_what_a_format_cannot_hold_is_said_to_be_lost(name: str, lost: set[str]) -> None:
    given_ = file_of("PNG", exif=FULL_EXIF, icc_profile=PROFILE, dpi=(300, 300))
    _, notes = pooled(given_, name)
    notes = tuple(note for note in notes if "256 colours" not in note)
    found = {re.sub(r".* has no place for the ", "", note) for note in notes}
    assert found == lost
    assert all(note.startswith(name) for note in notes)


# Broken EXIF

WHOLE = exif_of(text(MAKE, "Camera Works"), text(MODEL, "Model 1"), text(COPYRIGHT, "somebody"))
UNREADABLE = {
    "cut in its table": WHOLE[:30],
    "cut in its values": WHOLE[:-20],
    "cut in its head": WHOLE[:10],
    "garbage": b"Exif\0\0" + bytes(range(7, 60)),
    "a table of garbage": WHOLE[:14] + b"\xff" * 60,
    "a table out of reach": b"Exif\0\0II*\0\xff\xff\0\0" + bytes(20),
}
ODD = {
    "details at the table itself": exif_of(text(MAKE, "x"), number(DETAILS, 8, LONG)),
    "GPS at the table itself": exif_of(text(MAKE, "x"), number(GPS, 8, LONG)),
    "a table after itself": b"Exif\0\0II*\0\x08\0\0\0" + directory([text(MAKE, "x")], 8, 8),
    "details out of reach": exif_of(text(MAKE, "x"), number(DETAILS, 99_999, LONG)),
    "GPS out of reach": exif_of(text(MAKE, "x"), number(GPS, 99_999, LONG)),
    "details that are text": exif_of(text(MAKE, "x"), text(DETAILS, "hello")),
    "a make that is a number": exif_of(number(MAKE, 1)),
    "an unknown type": exif_of((MAKE, 77, 1, b"abcd")),
    "a fraction over 0": exif_of(fractions(ACROSS, 1, 0), fractions(DOWN, 0, 0), number(UNIT, 2)),
    "a value of 2 GB": exif_of((MAKE, ASCII, 2**31, b"\x10\0\0\0")),
    "an orientation in words": exif_of(text(TURN, "left")),
    "a place that points on": exif_of(text(MAKE, "x"), gps=[number(DETAILS, 99_999, LONG)]),
    "details that point to a place": exif_of(text(MAKE, "x"), details=[number(GPS, 8, LONG)]),
    "another use of a pointer": exif_of(text(MAKE, "x"), number(INTEROP, 99_999, LONG)),
    "nothing": b"Exif\0\0",
}


@ANY_SOURCE
@pytest.mark.parametrize("exif", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_exif_is_dropped_with_a_warning(source: str, exif: bytes) -> None:
    picture = decoded(file_of(source, exif=exif))
    np.testing.assert_array_equal(picture.array, decoded(file_of(source)).array)
    assert [warning for warning in picture.metadata.warnings if "EXIF" in warning]


@ANY_SOURCE
@pytest.mark.parametrize("exif", (ODD | UNREADABLE).values(), ids=ODD | UNREADABLE)
def test_broken_exif_never_costs_the_picture(source: str, exif: bytes) -> None:
    for name in ("png", "jpeg", "webp", "tiff"):
        octets, _ = pooled(file_of(source, exif=exif), name)
        assert opened(octets).size == (30, 20)


@ANY_SOURCE
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
def test_a_picture_with_broken_exif_is_turned_all_the_same(source: str, broken: Entry) -> None:
    octets = file_of(source, exif=exif_of(number(TURN, 6), text(MAKE, "x"), broken))
    upright = np.rot90(decoded(file_of(source)).array, -1)
    np.testing.assert_array_equal(decoded(octets).array, upright)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_no_damage_to_exif_costs_the_picture(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(("PNG", "JPEG", "WEBP")))
    exif = bytearray(FULL_EXIF)
    place = st.integers(6, 300)
    for _ in range(data.draw(st.integers(1, 4))):
        exif[data.draw(place)] = data.draw(st.integers(0, 255))
    octets, _ = pooled(file_of(source, exif=bytes(exif)), source.lower())
    assert sorted(opened(octets).size) == [20, 30]
