"""The resolution in every form: divided by the stride, as exiftool reads it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from poolcli.formats.exif import describe, rational, whole_ratio
from poolcli.formats.saving import Saving
from poolcli.picture import Placement, Resolution
from tests.exif_support import (
    ACROSS,
    DOWN,
    MAKE,
    TURN,
    UNIT,
    exif_block,
    exiftool,
    file_of,
    fractions,
    number,
    text,
)
from tests.jobs import pool, work
from tests.pictures import chunk, decoded, written
from tests.support.tools import needs
from tests.tiff_support import tiff_with

UNITS = {"": 0, "inch": 1, "cm": 2}


def jfif(across: int, down: int, unit: str, **more: Any) -> bytes:
    """A JPEG whose first segment states a density."""
    octets = bytearray(file_of("JPEG", **more))
    struct.pack_into(">BHH", octets, octets.index(b"JFIF\0") + 7, UNITS[unit], across, down)
    return bytes(octets)


def phys(across: int, down: int, unit: int) -> bytes:
    octets = file_of("PNG")
    return octets[:33] + chunk(b"pHYs", struct.pack(">IIB", across, down, unit)) + octets[33:]


def gif(aspect: int) -> bytes:
    octets = bytearray(file_of("GIF"))
    octets[12] = aspect
    return bytes(octets)


def tiff(across: int, down: int, unit: str) -> bytes:
    return tiff_with(8, *stated(across, down, unit))


def stated(across: int, down: int, unit: str) -> list[Any]:
    resolution = fractions(ACROSS, across, 1), fractions(DOWN, down, 1)
    return [*resolution, number(UNIT, UNITS[unit] + 1)]


def seen(octets: bytes) -> dict[str, tuple[Any, ...]]:
    """Every resolution that exiftool finds: (across, down, number of the unit)."""
    tags = exiftool(octets)
    found = {
        group: tuple(tags.get(f"{group}:{name}") for name in names)
        for group, names in {
            "JFIF": ("XResolution", "YResolution", "ResolutionUnit"),
            "IFD0": ("XResolution", "YResolution", "ResolutionUnit"),
            "GIF": ("PixelAspectRatio",),
            "PNG-pHYs": ("PixelsPerUnitX", "PixelsPerUnitY", "PixelUnits"),
        }.items()
    }
    return {group: numbers for group, numbers in found.items() if any(numbers)}


JPEG_DENSITY = jfif(1, 2, "")
MADE = exif_block(text(MAKE, "x"))
CASES: dict[str, tuple[bytes, Any, str, dict[str, tuple[Any, ...]]]] = {
    "JFIF 1:2 by 2": (JPEG_DENSITY, 2, "jpeg", {"JFIF": (1, 2, 0)}),
    "JFIF 1:2 by 4x1": (JPEG_DENSITY, (1, 4), "jpeg", {"JFIF": (1, 8, 0)}),
    "JFIF 1:1 by 3x1": (jfif(1, 1, ""), (1, 3), "jpeg", {"JFIF": (1, 3, 0)}),
    "JFIF 1:2 into PNG": (JPEG_DENSITY, (1, 4), "png", {"PNG-pHYs": (1, 8, 0)}),
    "JFIF 1:2 into TIFF": (JPEG_DENSITY, 2, "tiff", {"IFD0": (0.5, 1, 1)}),
    "JFIF 1:2 into WebP": (JPEG_DENSITY, 2, "webp", {"IFD0": (0.5, 1, 1)}),
    "JFIF with EXIF": (
        jfif(1, 2, "", exif=exif_block(*stated(72, 72, "inch"))),
        *(2, "jpeg", {"JFIF": (1, 2, 0), "IFD0": (0.5, 1, 1)}),
    ),
    "JFIF that says nothing with EXIF": (
        jfif(1, 1, "", exif=exif_block(*stated(300, 150, "inch"))),
        *(2, "jpeg", {"JFIF": (150, 75, 1), "IFD0": (150, 75, 2)}),
    ),
    "JFIF in centimetres": (jfif(100, 50, "cm"), 2, "jpeg", {"JFIF": (50, 25, 2)}),
    "JFIF in odd centimetres": (jfif(100, 50, "cm"), 8, "jpeg", {"JFIF": (32, 16, 1)}),
    "JFIF into AVIF": (jfif(300, 150, "inch"), 2, "avif", {"IFD0": (150, 75, 2)}),
    "pHYs 1:2 by 2": (phys(1, 2, 0), 2, "png", {"PNG-pHYs": (1, 2, 0)}),
    "pHYs 1:2 by 4x1": (phys(1, 2, 0), (1, 4), "png", {"PNG-pHYs": (1, 8, 0)}),
    "pHYs 1:2 into JPEG": (phys(1, 2, 0), 2, "jpeg", {"JFIF": (1, 2, 0)}),
    "pHYs in metres": (phys(1000, 500, 1), 2, "png", {"PNG-pHYs": (500, 250, 1)}),
    "pHYs in metres into TIFF": (phys(10000, 5000, 1), 2, "tiff", {"IFD0": (127, 63.5, 2)}),
    "GIF 1:2 by 2": (gif(113), 2, "gif", {"GIF": (2,)}),
    "GIF 1:2 by 1x2": (gif(113), (2, 1), "gif", {}),
    "GIF 1:2 by 2x1": (gif(113), (1, 2), "gif", {"GIF": (4,)}),
    "GIF 1:2 into PNG": (gif(113), (1, 2), "png", {"PNG-pHYs": (1, 4, 0)}),
    "JFIF 1:2 into GIF": (JPEG_DENSITY, 2, "gif", {"GIF": (2,)}),
    "TIFF without a unit": (tiff(2, 4, ""), 2, "tiff", {"IFD0": (1, 2, 1)}),
    "TIFF without a unit into PNG": (tiff(2, 4, ""), 2, "png", {"PNG-pHYs": (1, 2, 0)}),
    "TIFF in centimetres": (tiff(100, 50, "cm"), 3, "tiff", {"IFD0": (100 / 3, 50 / 3, 3)}),
    "TIFF in inches into JPEG": (tiff(300, 150, "inch"), 2, "jpeg", {"JFIF": (150, 75, 1)}),
    "a large number in JPEG": (tiff(300_000, 150_000, "inch"), 2, "jpeg", {
        "JFIF": (1, 1, 0), "IFD0": (150_000, 75_000, 2)
    }),
}  # fmt: skip


@needs("exiftool")
@pytest.mark.parametrize(("octets", "size", "name", "wanted"), CASES.values(), ids=CASES)
def test_the_resolution_is_divided_by_the_stride_in_every_form(
    octets: bytes, size: Any, name: str, wanted: dict[str, tuple[Any, ...]]
) -> None:
    result, notes = written([pool(decoded(octets), work("max", size))], name)
    found = seen(result)
    assert found.pop("JFIF", None) == wanted.get("JFIF", (1, 1, 0) if name == "jpeg" else None)
    for group in wanted.keys() - {"JFIF"}:
        assert found.pop(group) == pytest.approx(wanted[group])
    assert set(found) <= {"IFD0"}
    assert not [note for note in notes if "resolution" in note]


def test_square_pixels_need_no_statement_and_a_format_without_ratio_says_so() -> None:
    result, notes = written([pool(decoded(file_of("JPEG")), work("max", 2))], "png")
    assert b"pHYs" not in result
    assert not notes
    for name, size in (("bmp", 2), ("gif", (1, 4))):
        notes = written([pool(decoded(JPEG_DENSITY), work("max", size))], name)[1]
        assert [note for note in notes if "resolution" in note]
    assert not written([decoded(JPEG_DENSITY)], "webp", Saving(strip=True))[1]


@pytest.mark.parametrize("unit", ["", "inch", "cm"])
def test_numbers_are_kept_as_near_as_the_formats_allow(unit: Any) -> None:
    pooled = Resolution(0.001, 12345.678, unit).pooled(Placement((7, 3), (0, 0)))
    assert pooled == Resolution(0.001 / 7, 12345.678 / 3, unit)
    for number_ in pooled[:2]:
        assert float(rational(number_)) == pytest.approx(number_, rel=1e-6)
        assert max(rational(number_).as_integer_ratio()) < 1 << 32
    assert whole_ratio(Resolution(0.75, 0.5, ""), 65535) == (2, 3)
    assert whole_ratio(Resolution(1e-9, 1, ""), 65535) == (65535, 1)


# Places on the picture and on the sensor

SUBJECT_AREA, SUBJECT_LOCATION, FOCAL_ACROSS, FOCAL_DOWN = 37396, 41492, 41486, 41487


def camera_file(source: str, *area: int, turn: int = 1) -> bytes:
    """A picture of 40×60 pixels whose EXIF tells of its subject and of the sensor."""
    shorts = [(SUBJECT_AREA, area), (SUBJECT_LOCATION, (31, 20))]
    details = [
        fractions(FOCAL_ACROSS, 3000, 2), fractions(FOCAL_DOWN, 1000, 1),
        *((tag, 3, len(one), struct.pack(f"<{len(one)}H", *one)) for tag, one in shorts),
    ]  # fmt: skip
    return file_of(source, exif=exif_block(number(TURN, turn), details=details))


@needs("exiftool")
@pytest.mark.parametrize("to", ["jpeg", "webp", "tiff", "png"])
@pytest.mark.parametrize(
    ("area", "size", "wanted"),
    [
        ((30, 20), 2, "15 10"),
        ((30, 20, 10), 2, "15 10 5"),
        ((30, 20, 10), (2, 5), "6 10 2 5"),
        ((30, 20, 10, 8), (2, 5), "6 10 2 4"),
    ],
)
def test_the_subject_and_the_density_of_the_sensor_are_those_of_the_result(
    area: tuple[int, ...], size: Any, wanted: str, to: str
) -> None:
    down, across = size if isinstance(size, tuple) else (size, size)
    pooled = pool(decoded(camera_file("JPEG", *area)), work("max", size))
    tags = exiftool(written([pooled], to)[0])
    assert tags["ExifIFD:SubjectArea"] == wanted
    assert tags["ExifIFD:SubjectLocation"] == f"{31 // across} {20 // down}"
    density = tags["ExifIFD:FocalPlaneXResolution"], tags["ExifIFD:FocalPlaneYResolution"]
    assert density == (1500 / across, 1000 / down)


@needs("exiftool")
@pytest.mark.parametrize("source", ["JPEG", "TIFF"])
def test_a_turned_picture_loses_its_subject_and_exchanges_the_densities(source: str) -> None:
    found = decoded(camera_file("JPEG", 30, 20, turn=6))
    tags = exiftool(written([pool(found, work("max", 2))], source.lower())[0])
    assert not [tag for tag in tags if "Subject" in tag]
    density = tags["ExifIFD:FocalPlaneXResolution"], tags["ExifIFD:FocalPlaneYResolution"]
    assert density == (500, 750)


def test_places_in_xmp_go() -> None:
    xmp = (
        b"<a exif:FocalPlaneXResolution='3/2' b='1'><exif:SubjectArea><rdf:Seq><rdf:li>3</rdf:li>"
        b"</rdf:Seq></exif:SubjectArea><c/></a>"
    )
    assert describe(None, xmp)[0].xmp == b"<a b='1'><c/></a>"
