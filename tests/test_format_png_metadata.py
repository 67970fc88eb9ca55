"""What stands beside the pixels of a PNG: found wherever it is, kept, dropped where damaged."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from poolcli.picture import Metadata
from tests.animations import chunks_of
from tests.pictures import (
    chunk,
    decoded,
    encoded,
    exif_of,
    first_info,
    noise,
    noisy,
    notes_of,
    opened,
    saved,
)
from tests.png_support import (
    ANIMATED,
    COLOUR,
    MAKE,
    PROFILE,
    SIDE,
    TEXTS,
    TURN,
    Part,
    flipped,
    plain,
    png_with,
    pooled,
    warnings_of,
)

GREY_PROFILE: Final = PROFILE[:16] + b"GRAY" + PROFILE[20:]
XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation='6' dc:title='t'/></x:xmpmeta>"
)
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
PNGCHECK: Final = shutil.which("pngcheck") or ""


# Texts, XMP and EXIF


@pytest.mark.parametrize("behind", [False, True])
def test_texts_stay_as_they_are(behind: bool) -> None:
    octets = png_with(behind=TEXTS) if behind else png_with(*TEXTS)
    result, notes = pooled(octets)
    assert [one for one in chunks_of(result) if one[0] in dict(TEXTS)] == [*TEXTS]
    assert notes == []


def test_what_is_said_of_colours_stays_even_when_stripped() -> None:
    for strip in (False, True):
        result, _ = pooled(png_with(*COLOUR, *TEXTS), strip=strip)
        names = [name for name, _ in chunks_of(result)]
        assert set(COLOUR) <= set(chunks_of(result))
        assert max(map(names.index, dict(COLOUR))) < names.index(b"IDAT")
        assert (b"tEXt" in names) is not strip


def test_texts_that_a_format_cannot_hold_are_told_to_be_lost() -> None:
    _, notes = pooled(png_with(*TEXTS, *COLOUR), "jpeg")
    assert [note.split(" for the ")[1] for note in notes] == ["colour chunks", "text"]


def xmp_part(xmp: bytes, *, is_packed: bool = False) -> Part:
    body = zlib.compress(xmp) if is_packed else xmp
    return b"iTXt", XMP_KEYWORD + b"\0" + bytes([is_packed, 0]) + b"\0\0" + body


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
def test_xmp_is_found_wherever_it_is(is_packed: bool, behind: bool) -> None:
    part = xmp_part(XMP, is_packed=is_packed)
    octets = png_with(behind=[part]) if behind else png_with(part)
    assert first_info(octets).orientation == 6
    for name in ("png", "jpeg"):
        result, _ = pooled(octets, name)
        assert opened(result).size == (10, 15)
        assert b"dc:title='t'" in opened(result).info["xmp"]
        assert b"Orientation" not in result


def raw_profile(kind: bytes, body: bytes, *, is_packed: bool = False) -> Part:
    """A profile as ImageMagick writes it."""
    lines = b"\n".join(re.findall(rb".{1,72}", body.hex().encode()))
    words = b"\n%b\n%8d\n%b\n" % (kind, len(body), lines)
    keyword = b"Raw profile type " + kind + b"\0"
    return (
        (b"zTXt", keyword + b"\0" + zlib.compress(words))
        if is_packed
        else (b"tEXt", keyword + words)
    )


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("kind", [b"xmp", b"exif", b"APP1", b"APP1 with EXIF"])
def test_raw_profiles_turn_once_and_are_kept(kind: bytes, is_packed: bool, behind: bool) -> None:
    exif = b"Exif\0\0" + exif_of({TURN: 6, MAKE: "Works"})
    body = {b"xmp": XMP, b"APP1": b"http://ns.adobe.com/xap/1.0/\0" + XMP}.get(kind, exif)
    part = raw_profile(kind.split()[0], body, is_packed=is_packed)
    octets = png_with(behind=[part]) if behind else png_with(part)
    assert first_info(octets).orientation == 6
    for name in ("png", "jpeg"):
        result, _ = pooled(octets, name)
        image = opened(result)
        assert image.size == (10, 15)
        assert b"Raw profile" not in result
        assert TURN not in image.getexif()
        assert (image.getexif().get(MAKE) == "Works") is (body is exif)
        assert ("xmp" in image.info) is (body is not exif)


def test_exif_of_its_own_chunk_comes_before_a_raw_profile() -> None:
    raw = raw_profile(b"exif", b"Exif\0\0" + exif_of({TURN: 6}))
    octets = png_with(raw, behind=[(b"eXIf", exif_of({TURN: 3}))])
    assert first_info(octets).orientation == 3


def test_texts_that_repeat_false_exif_are_left_out() -> None:
    false = (b"exif:PixelXDimension\x0060", b"exif:Orientation\x006", b"exif:ImageLength\x0040")
    true = (b"exif:Make\0Works", b"exif:ExposureTime\x001/250")
    octets = png_with(*((b"tEXt", one) for one in (*false, *true)))
    assert [body for name, body in chunks_of(pooled(octets)[0]) if name == b"tEXt"] == [*true]


BOMB: Final = zlib.compress(bytes(1 << 25), 9)
UNUSABLE: Final[dict[str, tuple[Part, str]]] = {
    "XMP that is not packed": ((b"iTXt", XMP_KEYWORD + b"\0\1\0\0\0garbage"), "XMP"),
    "XMP that is cut off": ((b"iTXt", xmp_part(XMP, is_packed=True)[1][:-9]), "XMP"),
    "XMP without fields": ((b"iTXt", XMP_KEYWORD + b"\0\0\0"), "XMP"),
    "XMP of nothing": ((b"iTXt", XMP_KEYWORD + b"\0"), "XMP"),
    "XMP that is a bomb": ((b"iTXt", XMP_KEYWORD + b"\0\1\0\0\0" + BOMB), "XMP is too long"),
    "XMP of no digits": ((b"tEXt", b"Raw profile type xmp\0\n\n\nno digits"), "XMP"),
    "EXIF of half a digit": ((b"tEXt", b"Raw profile type exif\0\n\n\nabc"), "EXIF"),
    "EXIF that is a bomb": ((b"zTXt", b"Raw profile type exif\0\0" + BOMB), "EXIF"),
    "a profile that is not packed": ((b"iCCP", b"bogus\0\0garbage"), "colour profile"),
    "a profile that is cut off": (
        (b"iCCP", b"cut\0\0" + zlib.compress(PROFILE)[:-9]),
        "colour profile",
    ),
    "a profile packed in another way": (
        (b"iCCP", b"odd\0\1" + zlib.compress(PROFILE)),
        "colour profile",
    ),
    "a profile that is a bomb": ((b"iCCP", b"bomb\0\0" + BOMB), "colour profile"),
}


@pytest.mark.parametrize(("part", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_dropped_with_a_warning(part: Part, words: str) -> None:
    octets = png_with(part)
    (warning,) = warnings_of(octets)
    assert words in warning
    assert part[1] not in pooled(octets)[0]


def test_an_empty_raw_profile_is_nothing() -> None:
    assert warnings_of(png_with((b"tEXt", b"Raw profile type exif\0"))) == ()


@pytest.mark.parametrize(
    "part",
    [
        (b"zTXt", b"Title\0\0" + BOMB),
        (b"tEXt", b"Title\0" + bytes(5_000_000)),
        (b"iTXt", b"Title\0\1\0\0\0" + BOMB),
    ],
    ids=["a bomb", "megabytes", "an international bomb"],
)
def test_a_text_of_any_length_is_carried_without_being_unpacked(part: Part) -> None:
    octets = png_with(part)
    assert warnings_of(octets) == ()
    assert part in chunks_of(pooled(octets)[0])


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", [b"tEXt", b"gAMA", b"iCCP", b"pHYs", b"eXIf", b"tIME", b"prVt"])
def test_a_damaged_chunk_that_pixels_do_not_need_is_dropped(name: bytes, behind: bool) -> None:
    part = (name, b"Title\0damaged")
    octets = flipped(png_with(behind=[part]) if behind else png_with(part), name)
    assert warnings_of(octets) == ("its metadata is damaged, and was dropped",)
    assert name not in dict(chunks_of(pooled(octets)[0]))


@pytest.mark.parametrize("name", [b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs"])
def test_a_chunk_of_another_length_than_it_must_have_is_dropped(name: bytes) -> None:
    octets = png_with((name, b"\0\0\1"))
    assert warnings_of(octets) == ("its metadata is damaged, and was dropped",)
    assert name not in dict(chunks_of(pooled(octets)[0]))


def test_a_chunk_that_is_cut_off_behind_the_pixels_costs_no_picture() -> None:
    octets = png_with(behind=TEXTS[:2])[: -12 - 9]
    assert warnings_of(octets) == ("its metadata is damaged, and was dropped",)
    assert decoded(octets).metadata.texts == TEXTS[:1]


def test_damage_costs_no_other_chunk() -> None:
    whole = plain(icc_profile=PROFILE, exif=exif_of({TURN: 6}), dpi=(300, 150))
    found = decoded(flipped(png_with(TEXTS[0], octets=whole), b"tEXt"))
    np.testing.assert_array_equal(found.array, np.rot90(noise("RGB", SIDE), -1))
    assert found.metadata.icc_profile == PROFILE
    assert found.metadata.dpi == pytest.approx((300, 150), abs=0.1)
    assert found.metadata.warnings == ("its metadata is damaged, and was dropped",)


@pytest.mark.skipif(not PNGCHECK, reason="pngcheck is not installed")
@pytest.mark.parametrize(
    "octets", [png_with(*COLOUR[:3], *TEXTS), ANIMATED], ids=["still", "moving"]
)
def test_pngcheck_finds_no_fault(octets: bytes, tmp_path: Path) -> None:
    octets = octets[:33] + chunk(b"eXIf", exif_of({MAKE: "Works"})) + octets[33:]
    octets = octets[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(PROFILE)) + octets[33:]
    (tmp_path / "out.png").write_bytes(pooled(octets)[0])
    done = subprocess.run([PNGCHECK, tmp_path / "out.png"], capture_output=True, check=False)
    assert done.stdout.startswith(b"OK")


# Comments, profiles and resolution


@pytest.mark.parametrize("words", ["hello", "Jürgen", "日本"])
def test_a_comment_becomes_a_text_and_a_comment_again(words: str) -> None:
    given = noisy("RGB")._replace(metadata=Metadata(comment=words.encode()))
    octets = encoded(given, "png")
    assert opened(octets).info["Comment"] == words
    if words.isascii():
        assert opened(encoded(decoded(octets), "jpeg")).info["comment"] == words.encode()


@pytest.mark.parametrize(
    ("mode", "profile", "name", "stays"),
    [
        ("L", GREY_PROFILE, "png", True),
        ("L", GREY_PROFILE, "jpeg", True),
        ("L", GREY_PROFILE, "webp", False),
        ("L", GREY_PROFILE, "avif", False),
        ("P", PROFILE, "png", False),
        ("P", PROFILE, "webp", True),
        ("RGB", PROFILE, "png", True),
    ],
)
def test_a_profile_of_other_channels_is_left_out_and_told(
    mode: str, profile: bytes, name: str, stays: bool
) -> None:
    grey = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    octets, notes = pooled(saved(grey.convert(mode), "PNG", icc_profile=profile), name)
    assert ("icc_profile" in opened(octets).info) is stays
    assert bool([note for note in notes if "colour profile is not for" in note]) is not stays


def test_a_profile_of_megabytes_goes_through() -> None:
    profile = PROFILE + np.random.default_rng(0).bytes(5_000_000)
    ((_, body),) = [
        one for one in chunks_of(pooled(plain(icc_profile=profile))[0]) if one[0] == b"iCCP"
    ]
    assert zlib.decompress(body.split(b"\0\0", 1)[1]) == profile


def test_a_profile_stands_instead_of_srgb() -> None:
    names = [
        name
        for name, _ in chunks_of(
            pooled(png_with(*COLOUR[:3], octets=plain(icc_profile=PROFILE)))[0]
        )
    ]
    assert {b"iCCP", b"gAMA", b"cHRM"} <= set(names)
    assert b"sRGB" not in names


@pytest.mark.parametrize(
    ("density", "dpi"),
    [
        ((11811, 5906, 1), (150, 300)),
        ((11811, 5906, 0), None),
        ((0, 5906, 1), None),
        ((11811, 0, 1), None),
    ],
)
def test_the_resolution_is_that_of_metres(
    density: tuple[int, int, int], dpi: tuple[float, float] | None
) -> None:
    octets = png_with((b"pHYs", struct.pack(">IIB", *density)))
    found = decoded(octets).metadata.dpi
    assert found == (None if dpi is None else pytest.approx(dpi, rel=1e-4))
    result = pooled(octets)[0]
    assert opened(result).info.get("dpi") == (
        None if dpi is None else pytest.approx((dpi[1] / 2, dpi[0] / 2), rel=1e-3)
    )


def test_a_resolution_that_cannot_be_stated_is_told_to_be_lost() -> None:
    given = noisy("RGB")._replace(metadata=Metadata(dpi=(3e8, 72.0)))
    assert notes_of(given, "png") == ["PNG has no place for the resolution"]
    assert "dpi" not in opened(encoded(given, "png")).info
