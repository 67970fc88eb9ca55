"""What stands beside the pixels of a PNG: found wherever it is, kept, dropped where damaged."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from poolcli.picture import Metadata, Resolution
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
    everywhere,
    flipped,
    plain,
    png_with,
    pooled,
    warnings_of,
)
from tests.support.tools import needs

XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation='6' dc:title='t'/></x:xmpmeta>"
)
DAMAGED: Final = "its metadata is damaged, and was dropped"
NO_END: Final = "its end is missing or damaged: metadata there may be lost"
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
PNGCHECK: Final = shutil.which("pngcheck") or ""


def test_texts_stay_as_they_are_and_are_told_to_be_lost_elsewhere() -> None:
    for octets in (png_with(*TEXTS), png_with(behind=TEXTS)):
        result, notes = pooled(octets)
        assert [one for one in chunks_of(result) if one[0] in dict(TEXTS)] == [*TEXTS]
        assert notes == []
    _, notes = pooled(png_with(*TEXTS, *COLOUR), "jpeg")
    assert [note.split(" for the ")[1] for note in notes] == ["colour chunks", "text"]


def test_chunks_about_colours_stay_even_when_stripped() -> None:
    for strip in (False, True):
        result, _ = pooled(png_with(*COLOUR, *TEXTS), strip=strip)
        names = [name for name, _ in chunks_of(result)]
        assert set(COLOUR) <= set(chunks_of(result))
        assert max(map(names.index, dict(COLOUR))) < names.index(b"IDAT")
        assert (b"tEXt" in names) is not strip


def xmp_part(xmp: bytes, *, is_packed: bool = False) -> Part:
    body = zlib.compress(xmp) if is_packed else xmp
    return b"iTXt", XMP_KEYWORD + b"\0" + bytes([is_packed, 0]) + b"\0\0" + body


def raw_profile(kind: bytes, body: bytes, *, is_packed: bool = False) -> Part:
    """Return a profile as ImageMagick writes it."""
    lines = b"\n".join(re.findall(rb".{1,72}", body.hex().encode()))
    words = b"\n%b\n%8d\n%b\n" % (kind, len(body), lines)
    keyword = b"Raw profile type " + kind + b"\0"
    packed = (b"zTXt", keyword + b"\0" + zlib.compress(words))
    return packed if is_packed else (b"tEXt", keyword + words)


EXIF: Final = b"Exif\0\0" + exif_of({TURN: 6, MAKE: "Works"})
CARRIERS: Final = {
    "XMP": (xmp_part, XMP),
    "raw XMP": (partial(raw_profile, b"xmp"), XMP),
    "raw APP1 of XMP": (partial(raw_profile, b"APP1"), b"http://ns.adobe.com/xap/1.0/\0" + XMP),
    "raw EXIF": (partial(raw_profile, b"exif"), EXIF),
    "raw APP1 of EXIF": (partial(raw_profile, b"APP1"), EXIF),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize(("make", "body"), CARRIERS.values(), ids=CARRIERS)
def test_xmp_and_exif_are_found_wherever_they_are_and_turn_once(
    make: Callable[..., Part], body: bytes, is_packed: bool
) -> None:
    for octets in everywhere(make(body, is_packed=is_packed)):
        assert first_info(octets).orientation == 6
        for name in ("png", "jpeg"):
            result, _ = pooled(octets, name)
            image = opened(result)
            assert image.size == (10, 15)
            assert b"Raw profile" not in result
            assert b"Orientation" not in result
            assert TURN not in image.getexif()
            assert (image.getexif().get(MAKE) == "Works") is (body is EXIF)
            assert (b"dc:title='t'" in image.info.get("xmp", b"")) is (body is not EXIF)


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
PACKED: Final = zlib.compress(PROFILE)
UNUSABLE: Final[dict[str, tuple[Part, str]]] = {
    "XMP that is not packed": ((b"iTXt", XMP_KEYWORD + b"\0\1\0\0\0garbage"), "XMP"),
    "XMP that is cut off": ((b"iTXt", xmp_part(XMP, is_packed=True)[1][:-9]), "XMP"),
    "XMP without fields": ((b"iTXt", XMP_KEYWORD + b"\0\0\0"), "XMP"),
    "XMP of nothing": ((b"iTXt", XMP_KEYWORD + b"\0"), "XMP"),
    "XMP that is a bomb": (
        (b"iTXt", XMP_KEYWORD + b"\0\1\0\0\0" + BOMB),
        "XMP is longer than 16777216 bytes",
    ),
    "XMP of no digits": ((b"tEXt", b"Raw profile type xmp\0\n\n\nno digits"), "XMP"),
    "EXIF of half a digit": ((b"tEXt", b"Raw profile type exif\0\n\n\nabc"), "EXIF"),
    "EXIF that is a bomb": ((b"zTXt", b"Raw profile type exif\0\0" + BOMB), "EXIF"),
    "a profile that is not packed": ((b"iCCP", b"bogus\0\0garbage"), "colour profile"),
    "a profile that is cut off": ((b"iCCP", b"cut\0\0" + PACKED[:-9]), "colour profile"),
    "a profile packed in another way": ((b"iCCP", b"odd\0\1" + PACKED), "colour profile"),
    "a profile that is a bomb": ((b"iCCP", b"bomb\0\0" + BOMB), "colour profile"),
}


@pytest.mark.parametrize(("part", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_dropped_with_a_warning(part: Part, words: str) -> None:
    octets = png_with(part)
    (warning,) = warnings_of(octets)
    assert words in warning
    assert part[1] not in pooled(octets)[0]


def test_texts_of_any_length_are_carried_without_being_unpacked() -> None:
    texts = [
        (b"zTXt", b"Title\0\0" + BOMB),
        (b"tEXt", b"Title\0" + bytes(5_000_000)),
        (b"iTXt", b"Title\0\1\0\0\0" + BOMB),
    ]
    octets = png_with(*texts, (b"tEXt", b"Raw profile type exif\0"))
    assert warnings_of(octets) == ()
    assert set(texts) <= set(chunks_of(pooled(octets)[0]))


@pytest.mark.parametrize("name", [b"tEXt", b"gAMA", b"iCCP", b"pHYs", b"eXIf", b"tIME", b"prVt"])
def test_a_damaged_chunk_that_pixels_do_not_need_is_dropped(name: bytes) -> None:
    for octets in everywhere((name, b"Title\0damaged")):
        assert_dropped(name, flipped(octets, name))


@pytest.mark.parametrize("name", [b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs"])
def test_a_chunk_of_another_length_than_it_must_have_is_dropped(name: bytes) -> None:
    assert_dropped(name, png_with((name, b"\0\0\1")))


def assert_dropped(name: bytes, octets: bytes) -> None:
    assert warnings_of(octets) == (DAMAGED,)
    assert name not in dict(chunks_of(pooled(octets)[0]))


def test_damage_costs_neither_the_picture_nor_another_chunk() -> None:
    cut_off = png_with(behind=TEXTS[:2])[: -12 - 9]
    assert warnings_of(cut_off) == (NO_END,)
    assert decoded(cut_off).metadata.texts == TEXTS[:1]
    whole = plain(icc_profile=PROFILE, exif=exif_of({TURN: 6}), dpi=(300, 150))
    found = decoded(flipped(png_with(TEXTS[0], octets=whole), b"tEXt"))
    np.testing.assert_array_equal(found.array, np.rot90(noise("RGB", SIDE), -1))
    assert found.metadata.icc_profile == PROFILE
    assert found.metadata.resolution is not None
    assert found.metadata.resolution[:2] == pytest.approx((300, 150), abs=0.1)
    assert found.metadata.warnings == (DAMAGED,)


@needs("pngcheck")
@pytest.mark.parametrize(
    "octets", [png_with(*COLOUR[:3], *TEXTS), ANIMATED], ids=["still", "moving"]
)
def test_pngcheck_finds_no_fault(octets: bytes, tmp_path: Path) -> None:
    parts = chunk(b"iCCP", b"a\0\0" + PACKED) + chunk(b"eXIf", exif_of({MAKE: "Works"}))
    (tmp_path / "out.png").write_bytes(pooled(octets[:33] + parts + octets[33:])[0])
    done = subprocess.run([PNGCHECK, tmp_path / "out.png"], capture_output=True, check=False)
    assert done.stdout.startswith(b"OK")


@pytest.mark.parametrize("words", ["hello", "Jürgen", "日本"])
def test_a_comment_becomes_a_text_and_a_comment_again(words: str) -> None:
    given = noisy("RGB")._replace(metadata=Metadata(comment=words.encode()))
    octets = encoded(given, "png")
    assert opened(octets).info["Comment"] == words
    if words.isascii():
        assert opened(encoded(decoded(octets), "jpeg")).info["comment"] == words.encode()


def test_a_profile_of_megabytes_goes_through_and_stands_instead_of_srgb() -> None:
    profile = PROFILE + np.random.default_rng(0).bytes(5_000_000)
    octets = png_with(*COLOUR[:3], octets=plain(icc_profile=profile))
    found = dict(chunks_of(pooled(octets)[0]))
    assert zlib.decompress(found[b"iCCP"].split(b"\0\0", 1)[1]) == profile
    assert {b"gAMA", b"cHRM"} <= set(found)
    assert b"sRGB" not in found


@pytest.mark.parametrize(
    ("density", "dpi"),
    [
        ((11811, 5906, 1), (150, 300)),
        ((0, 5906, 1), None),
        ((11811, 0, 1), None),
    ],
)
def test_the_resolution_is_that_of_metres(
    density: tuple[int, ...], dpi: tuple[int, ...] | None
) -> None:
    octets = png_with((b"pHYs", struct.pack(">IIB", *density)))
    result = opened(pooled(octets)[0]).info.get("dpi")
    if dpi is None:
        assert decoded(octets).metadata.resolution is result is None
    else:
        assert (decoded(octets).metadata.resolution or ())[:2] == pytest.approx(dpi, rel=1e-4)
        assert result == pytest.approx((dpi[1] / 2, dpi[0] / 2), rel=1e-3)


def test_a_resolution_that_cannot_be_stated_is_told_to_be_lost() -> None:
    given = noisy("RGB")._replace(metadata=Metadata(resolution=Resolution(3e8, 72)))
    assert notes_of(given, "png") == ["PNG has no place for the resolution"]
    assert "dpi" not in opened(encoded(given, "png")).info
