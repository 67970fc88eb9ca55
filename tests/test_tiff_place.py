"""Place and scale in TIFF: rewritten as gdalinfo, tifffile and exiftool read them."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from poolcli.formats.saving import Saving
from poolcli.formats.tiff_place import description_of
from poolcli.picture import Placement
from poolcli.report import Outcome
from tests import jobs
from tests.exif_support import ASCII, SHORT, Entry, text
from tests.pictures import first_info, read_tiff
from tests.support.tools import GDAL_TRANSLATE, GDALINFO, needs
from tests.tiff_support import samples, tags_of, tiff_of, tiff_with

CASES = Path(__file__).parent / "cases"
NO_GDAL = needs("gdalinfo")


def run(
    source: Path | bytes, folder: Path, size: Any = 2, to: str = "tiff", **more: Any
) -> tuple[bytes, Outcome]:
    """Pool a file; return the result and the outcome."""
    if isinstance(source, bytes):
        (folder / "in").write_bytes(source)
        source = folder / "in"
    outcome = jobs.run(source, folder / "out", to, jobs.work("max", size, overwrite=True, **more))
    assert outcome.status == "done", outcome.error
    return (folder / "out").read_bytes(), outcome


# GeoTIFF


def gdalinfo(path: Path) -> dict[str, Any]:
    done = subprocess.run([GDALINFO, "-json", path], capture_output=True, check=True)
    return dict(json.loads(done.stdout))


@NO_GDAL
@pytest.mark.parametrize("kind", ["area", "point"])
def test_the_corners_stay_where_they_are(kind: str, tmp_path: Path) -> None:
    octets, outcome = run(CASES / f"tiff-geo-{kind}.tif", tmp_path)
    before, after = (gdalinfo(one) for one in (CASES / f"tiff-geo-{kind}.tif", tmp_path / "out"))
    assert after["geoTransform"] == [400000, 20, 0, 5500000, 0, -20]
    assert after["cornerCoordinates"] == before["cornerCoordinates"]
    assert after["coordinateSystem"] == before["coordinateSystem"]
    assert after["metadata"][""]["AREA_OR_POINT"] == kind.title()
    tie = tags_of(octets)[33922]
    assert tie[3:5] == ((400000, 5500000) if kind == "area" else (400010, 5499990))
    assert outcome.warnings == []


@NO_GDAL
@pytest.mark.parametrize("kind", ["area", "point"])
@pytest.mark.parametrize(
    ("size", "window", "corner"),
    [
        ((3, 2), {}, (0, 0)),
        (3, {"stride": 2}, (0.5, 0.5)),
        (2, {"stride": 1}, (0.5, 0.5)),
        (4, {"padding": ((1, 0), (3, 2))}, (-1, -3)),
        (2, {"dilation": 3, "stride": 3}, (0.5, 0.5)),
        (5, {"ceil_mode": True}, (0, 0)),
        (5, {"padding": "same"}, (0, -1)),
    ],
)
def test_windows_that_begin_elsewhere_move_the_corner(
    kind: str, size: Any, window: dict[str, Any], corner: tuple[float, float], tmp_path: Path
) -> None:
    """Corners are counted in input pixels of 10 m: (s, E and padding as in SEMANTICS)."""
    run(CASES / f"tiff-geo-{kind}.tif", tmp_path, size, **window)
    left, wide, _, top, _, high = gdalinfo(tmp_path / "out")["geoTransform"]
    down, across = corner
    assert (left, top) == (400000 + 10 * across, 5500000 - 10 * down)
    stride = window.get("stride", size)
    high_, wide_ = stride if isinstance(stride, tuple) else (stride, stride)
    assert (wide, high) == (10 * wide_, -10 * high_)


MATRIX = (10.0, 2.0, 0.0, 400000.0, -3.0, -9.0, 0.0, 5500000.0, *[0.0] * 7, 1.0)
POINTS = (0.0, 0, 0, 10, 50, 0, 60, 0, 0, 20, 50, 0, 0, 40, 0, 10, 40, 0, 60, 40, 0, 20, 40, 0)
IS_AREA, IS_POINT = (
    (34735, SHORT, 8, struct.pack("<8H", 1, 1, 0, 1, 1025, 0, 1, n)) for n in (1, 2)
)


def doubles(tag: int, *numbers: float) -> Entry:
    return tag, 12, len(numbers), struct.pack(f"<{len(numbers)}d", *numbers)


@NO_GDAL
@pytest.mark.parametrize(("keys", "half"), [(IS_AREA, 0), (IS_POINT, 0.5)])
def test_a_rotated_grid_and_ground_control_points_are_moved(
    keys: Entry, half: float, tmp_path: Path
) -> None:
    """GDAL itself tells where pixel (2, 4) of the result lies on the input."""
    source = tiff_with(8, doubles(34264, *MATRIX), keys)
    (tmp_path / "in.tif").write_bytes(source)
    run(tmp_path / "in.tif", tmp_path, (3, 2), padding=((1, 0), (0, 1)))
    one, other = (gdalinfo(tmp_path / name)["geoTransform"] for name in ("in.tif", "out"))
    for x, y in ((0, 0), (4, 2)):
        before = [one[at] + one[at + 1] * 2 * x + one[at + 2] * (3 * y - 1) for at in (0, 3)]
        after = [other[at] + other[at + 1] * x + other[at + 2] * y for at in (0, 3)]
        assert after == pytest.approx(before)
    octets, _ = run(tiff_with(8, doubles(33922, *POINTS), keys), tmp_path, 2)
    points = np.reshape(tags_of(octets)[33922], (-1, 6))
    wanted = np.reshape(POINTS, (-1, 6))
    wanted[:, :2] = (wanted[:, :2] - half) / 2
    np.testing.assert_array_equal(points, wanted)


@NO_GDAL
def test_polynomials_of_satellites_count_from_the_centre_of_the_first_pixel(tmp_path: Path) -> None:
    numbers = [0.0, 0, 20, 30, 1, 2, 3, 40, 50, *range(1, 84)]
    octets, _ = run(tiff_with(8, doubles(50844, *numbers)), tmp_path, (4, 2))
    found = gdalinfo(tmp_path / "out")["metadata"]["RPC"]
    names = ("LINE_OFF", "SAMP_OFF", "LINE_SCALE", "SAMP_SCALE")
    assert [float(found[name]) for name in names] == [18.5 / 4, 29.5 / 2, 10, 25]
    assert list(tags_of(octets)[50844][9:]) == numbers[9:]


def test_statistics_go_and_other_metadata_of_gdal_stays(tmp_path: Path) -> None:
    items = (
        '<GDALMetadata>\n  <Item name="STATISTICS_MAXIMUM" sample="0">255</Item>\n'
        '  <Item name="UNITTYPE" sample="0" role="unittype">m</Item>\n</GDALMetadata>'
    )
    octets, _ = run(tiff_with(8, text(42112, items)), tmp_path)
    kept = tags_of(octets)[42112]
    assert "UNITTYPE" in kept
    assert "STATISTICS" not in kept
    none = items.replace("UNITTYPE", "STATISTICS_MEAN")
    assert 42112 not in tags_of(run(tiff_with(8, text(42112, none)), tmp_path)[0])


@pytest.mark.parametrize(
    "entry", [doubles(33550, 1, 1), doubles(33922, 1), (34264, ASCII, 2, b"a\0")]
)
def test_damaged_geo_tags_are_dropped_with_a_warning(entry: Entry, tmp_path: Path) -> None:
    octets, outcome = run(tiff_with(8, entry), tmp_path)
    assert outcome.warnings == ["its geo tags are damaged, and were dropped"]
    assert entry[0] not in tags_of(octets)


# ImageJ and OME


def test_the_description_of_imagej_follows_the_result(tmp_path: Path) -> None:
    octets, outcome = run(CASES / "tiff-imagej.tif", tmp_path)
    with tifffile.TiffFile(BytesIO(octets)) as file:
        found = file.imagej_metadata
        assert file.series[0].shape == (4, 12, 16)
    assert found is not None
    assert (found["images"], found["slices"], found["unit"], found["spacing"]) == (4, 4, "um", 0.5)
    assert (tags_of(octets)[282], tags_of(octets)[283]) == ((2, 1), (1, 1))
    assert (tags_of(octets)[296], outcome.warnings) == (1, [])


def test_counts_of_imagej_are_those_of_the_frames_taken(tmp_path: Path) -> None:
    octets, outcome = run(CASES / "tiff-imagej.tif", tmp_path, frame=0)
    with tifffile.TiffFile(BytesIO(octets)) as file:
        assert file.imagej_metadata is not None
        assert (file.imagej_metadata["images"], file.series[0].shape) == (1, (12, 16))
    told = ["its ImageJ description counts 4 images, of which 1 were written"]
    assert outcome.warnings == told


def test_overlays_go_with_a_note_and_origins_move(tmp_path: Path) -> None:
    array = samples("u1", 1, (18, 22))
    words = "ImageJ=1.53t\nunit=um\nxorigin=4.0\nyorigin=3.0\n"
    more = [(50838, 4, 1, 4, True), (50839, 1, 4, b"IJIJ", True)]
    source = tiff_of(array, description=words, extratags=more)
    octets, outcome = run(source, tmp_path, 2, padding=((1, 0), (0, 0)))
    assert "its ImageJ overlays were dropped" in outcome.notes
    tags = tags_of(octets)
    assert {50838, 50839}.isdisjoint(tags)
    assert "xorigin=2\n" in tags[270]
    assert tags[270].endswith("yorigin=2")


def pixels_of(octets: bytes) -> dict[str, str]:
    """The attributes of Pixels in OME-XML, which must agree with the pages."""
    with tifffile.TiffFile(BytesIO(octets)) as file:
        xml, shape = file.ome_metadata or "", file.series[0].shape
    (pixels,) = re.findall("<Pixels ([^>]*)>", xml)
    found = dict(re.findall('(\\w+)="([^"]*)"', pixels))
    assert {int(found["SizeY"]), int(found["SizeX"])} <= {*shape}
    return found


def test_ome_follows_the_result(tmp_path: Path) -> None:
    octets, outcome = run(CASES / "tiff-ome.tif", tmp_path)
    found = pixels_of(octets)
    assert (found["SizeX"], found["SizeY"], found["SizeZ"]) == ("16", "12", "4")
    scales = [float(found[f"PhysicalSize{axis}"]) for axis in "XYZ"]
    assert (scales, found["Type"], outcome.warnings) == ([0.5, 1, 2], "uint16", [])
    taken, _ = run(CASES / "tiff-ome.tif", tmp_path, frame=0)
    assert pixels_of(taken)["SizeZ"] == "1"


def test_planes_that_are_pooled_together_change_counts_and_spacing() -> None:
    placement = Placement((2, 2), (0, 0), planes=2)
    told: list[str] = []
    page = first_info(tiff_of(samples("u2", 1, (12, 16))))
    for name, key in (("imagej", "ImageJ description"), ("ome", "OME-XML")):
        place = {key: (tags_of((CASES / f"tiff-{name}.tif").read_bytes())[270]).encode()}
        text_ = description_of(place, placement, [page] * 2, told.append, told.append).decode()
        wanted = ("slices=2\n", "images=2\n", "spacing=1\n")
        if name == "ome":
            wanted = ('SizeZ="2"', 'PhysicalSizeZ="4"', '<TiffData IFD="0" PlaneCount="2"/>')
        assert [one for one in wanted if one not in text_] == []
    assert told == []


def ome(change: tuple[str, str], **more: Any) -> bytes:
    """An OME-TIFF with a change in its XML."""
    buffer = BytesIO()
    tifffile.imwrite(
        buffer, samples("u1", 3), photometric="rgb", ome=True, metadata={"PhysicalSizeX": 0.5}
    )
    xml = tags_of(buffer.getvalue())[270]
    assert change[0] in xml
    xml = xml.replace(*change, 1)
    return tiff_of(samples("u1", 3), photometric="rgb", description=xml.encode(), **more)


@pytest.mark.parametrize(
    ("change", "note", "warning"),
    [
        (("</Image>", "</Image>"), "", ""),
        (
            ("</Image>", '<ROIRef ID="ROI:0"/></Image><ROI ID="ROI:0"><Union/></ROI>'),
            *("its regions of interest were dropped", ""),
        ),
        (("</Image>", ""), "", "OME-XML was dropped: it is damaged"),
        (
            (
                "<TiffData IFD",
                '<TiffData><UUID FileName="b">urn:uuid:12</UUID></TiffData><TiffData IFD',
            ),
            *("", "OME-XML was dropped: it describes several files"),
        ),
        (('SizeZ="1"', 'SizeZ="7"'), "", ""),
        (
            ('SizeT="1"', 'SizeT="many"'),
            "",
            "OME-XML was dropped: SizeT of its pixels is no number",
        ),
        (("<Image", "<BinaryOnly/><Image"), "", "OME-XML was dropped: it describes several files"),
        (
            ('PhysicalSizeX="0.5"', 'PhysicalSizeX="?"'),
            "",
            "PhysicalSizeX of its pixels is no number",
        ),
        (("</Image>", "<!-- <Plane> -->%s</Image>" % ("<!---->" * 30)), "", ""),
    ],
)
def test_what_ome_says_of_other_things_goes_and_that_is_told(
    change: tuple[str, str], note: str, warning: str, tmp_path: Path
) -> None:
    octets, outcome = run(ome(change), tmp_path)
    assert not note or note in outcome.notes
    assert (warning in " ".join(outcome.warnings)) if warning else outcome.warnings == []
    if warning:
        assert "<OME" not in tags_of(octets).get(270, "")
    else:
        found = pixels_of(octets)
        assert (found["SizeX"], found["SizeY"], found["PhysicalSizeX"]) == ("11", "9", "1")
        assert (found["SizeC"], found["SizeZ"]) == ("3", "1")
        assert not re.search("<[^>]*ROI", tags_of(octets)[270])


# Elsewhere


@pytest.mark.parametrize(
    ("name", "what"),
    [("geo-area", "geo tags"), ("imagej", "ImageJ description"), ("ome", "OME-XML")],
)
def test_formats_without_a_place_for_it_say_so(name: str, what: str, tmp_path: Path) -> None:
    for to in ("png", "npy", "pnm"):
        octets, outcome = run(CASES / f"tiff-{name}.tif", tmp_path, to=to, frame=0)
        assert [one for one in outcome.warnings if f"has no place for the {what}" in one]
        assert b"ImageJ=" not in octets
    assert run(CASES / f"tiff-{name}.tif", tmp_path, saving=Saving(strip=True))[1].warnings == []


def as_written(tag: Any) -> Any:
    """The value of a tag as tifffile writes it; text in UTF-8."""
    return tag.value.encode() if isinstance(tag.value, str) else tag.value


@pytest.mark.parametrize("name", ["geo-area", "imagej", "ome"])
def test_turned_pictures_lose_it_with_a_warning(name: str, tmp_path: Path) -> None:
    with tifffile.TiffFile(CASES / f"tiff-{name}.tif") as file:
        channels = file.pages.first.samplesperpixel
        array = file.pages.first.asarray()
        tags = file.pages.first.tags
        extra = [
            (tag.code, tag.dtype, len(as_written(tag)), as_written(tag), True)
            for tag in tags
            if tag.code in (270, 33550, 33922, 34735, 34736, 34737)
        ]
    turned = tiff_of(
        array,
        photometric="rgb" if channels == 3 else "minisblack",
        extratags=[*extra, (274, 3, 1, 6, True)],
    )
    octets_out, outcome = run(turned, tmp_path)
    assert [one for one in outcome.warnings if "can't be turned with the picture" in one]
    assert {33550, 33922, 34735}.isdisjoint(tags_of(octets_out))
    assert "ImageJ" not in tags_of(octets_out).get(270, "")


def test_deep_pages_keep_their_credits_and_kind(tmp_path: Path) -> None:
    octets, outcome = run(CASES / "tiff-deep.tif", tmp_path)
    tags = tags_of(octets)
    assert (tags[315], tags[33432], tags[271]) == ("A. Painter", "nobody", "Own Bytes")
    assert (tags[305], tags[306]) == ("Own Software 1.0", "2021:02:03 04:05:06")
    assert b"Rating" in tags[700]
    assert outcome.warnings == []
    pages, _ = run(CASES / "tiff-pages.tif", tmp_path)
    assert [tags_of(pages, page)[254] for page in range(3)] == [2, 2, 2]
    assert [tags_of(pages, page)[297] for page in range(3)] == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("dtype", "channels", "more"),
    [
        ("f8", 1, {}),
        ("u2", 5, {}),
        ("u1", 5, {"photometric": "separated", "extrasamples": [2]}),
        ("f4", 3, {"photometric": "rgb"}),
    ],
)
def test_tags_of_any_samples_stay(
    dtype: str, channels: int, more: dict[str, Any], tmp_path: Path
) -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    tags: list[Any] = [(700, 1, len(xmp), xmp, True), (254, 4, 1, 2, True), (305, 2, 2, "a", True)]
    array = samples(dtype, channels)
    octets, outcome = run(tiff_of(array, extratags=tags, **more), tmp_path, 1)
    found = tags_of(octets)
    assert (found[700], found[254], found[305]) == (xmp, 2, "a")
    assert not [one for one in outcome.notes if "no place" in one]
    np.testing.assert_array_equal(read_tiff(octets), array)


# Nodata


@pytest.mark.parametrize(
    ("value", "dtype"), [("-9999", "f4"), ("0", "u1"), ("nan", "f8"), ("1e39", "u1")]
)
def test_the_tag_of_nodata_stays(value: str, dtype: str, tmp_path: Path) -> None:
    octets, _ = run(
        tiff_of(samples(dtype, 1), extratags=[(42113, 2, len(value) + 1, value, True)]), tmp_path
    )
    assert tags_of(octets)[42113] == value


@needs("gdal_translate")
@pytest.mark.parametrize("name", ["f32", "u8"])
def test_samples_without_data_take_no_part_as_in_gdal(name: str, tmp_path: Path) -> None:
    source = CASES / f"tiff-nodata-{name}.tif"
    half = "-q", "-outsize", "50%", "50%", "-r", "average"
    words = [GDAL_TRANSLATE, *half, str(source), str(tmp_path / "gdal.tif")]
    subprocess.run(words, capture_output=True, check=True)
    outcome = jobs.run(source, tmp_path / "out.tif", "tiff", jobs.work("avg", 2))
    assert outcome.status == "done", outcome.error
    octets = (tmp_path / "out.tif").read_bytes()
    np.testing.assert_array_equal(
        read_tiff(octets), read_tiff((tmp_path / "gdal.tif").read_bytes())
    )
    assert tags_of(octets)[42113] == {"f32": "-9999", "u8": "0"}[name]


@pytest.mark.parametrize(("nodata", "stated"), [("7", "7"), ("none", "0"), (None, "0")])
def test_the_tag_of_nodata_is_that_of_the_option_or_of_the_file(
    nodata: str | None, stated: str, tmp_path: Path
) -> None:
    octets, _ = run(CASES / "tiff-nodata-u8.tif", tmp_path, nodata=nodata)
    assert tags_of(octets)[42113] == stated
