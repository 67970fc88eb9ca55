"""XMP: what it says of parts of a file that aren't kept goes with them; all else stays."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from poolcli.formats.xmp import cleaned
from poolcli.picture import Metadata
from tests.exif_support import PLAIN_XMP, TRUE_OF_XMP, exiftool, file_of
from tests.pictures import decoded, encoded
from tests.support.tools import needs

DESCRIBED: Final = b"""<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='4' %b>
<xmp:Label>red &gt; blue</xmp:Label>%b</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"""
HDR: Final = b"xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'"
CONTAINER: Final = b"""xmlns:Container='http://ns.google.com/photos/1.0/container/'
 xmlns:Item='http://ns.google.com/photos/1.0/container/item/'"""
CAMERA: Final = b"xmlns:GCamera='http://ns.google.com/photos/1.0/camera/'"
DIRECTORY: Final = b"""<Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>
<Container:Item Item:Semantic='Primary' Item:Mime='image/jpeg'/></rdf:li>
<rdf:li rdf:parseType='Resource'><Container:Item Item:Semantic="a>b" Item:Length='99'/></rdf:li>
</rdf:Seq></Container:Directory>"""
GAIN_MAP: Final = "it is written without its gain map, and its XMP no longer names it"
VIDEO: Final = "it is written without the video of its motion photo, and its XMP no longer names it"
FILES: Final = "it is written without the files appended to it, and its XMP no longer names it"
PARTS: Final = {
    "a gain map": (HDR + b" hdrgm:Version='1.0' hdrgm:GainMapMax=\"2\"", b"", GAIN_MAP),
    "a gain map in elements": (
        HDR,
        b"<hdrgm:GainMapMin><rdf:Seq><rdf:li>0</rdf:li></rdf:Seq></hdrgm:GainMapMin>",
        GAIN_MAP,
    ),
    "a gain map under another prefix": (
        HDR.replace(b"hdrgm", b"other"),
        b"<other:Version>1.0</other:Version><other:X/>",
        GAIN_MAP,
    ),
    "a gain map of a phone": (
        b"xmlns:HDRGainMap='http://ns.apple.com/HDRGainMap/1.0/' HDRGainMap:Headroom='2.1'",
        b"",
        GAIN_MAP,
    ),
    "a list of files": (CONTAINER, DIRECTORY, FILES),
    "a gain map in a list of files": (
        HDR + b" hdrgm:Version='1.0' " + CONTAINER,
        DIRECTORY,
        GAIN_MAP,
    ),
    "a video": (
        CAMERA + b" GCamera:MotionPhoto='1' GCamera:MicroVideoOffset = '88'",
        b"<GCamera:MotionPhotoPresentationTimestampUs>5</GCamera:MotionPhotoPresentationTimestampUs>",
        VIDEO,
    ),
}
TRACES: Final = re.compile(
    rb"hdr-gain|HDRGain|container|Container|Item|Motion|Micro|Headroom|other:"
)


@pytest.mark.parametrize(("attributes", "elements", "warning"), PARTS.values(), ids=PARTS)
def test_what_is_said_of_a_lost_part_goes_and_is_told(
    attributes: bytes, elements: bytes, warning: str
) -> None:
    found, warnings = cleaned(DESCRIBED % (attributes, elements))
    assert found is not None
    assert warnings == (warning,)
    assert not TRACES.search(found)
    assert b"xmp:Rating='4'" in found
    assert b"<xmp:Label>red &gt; blue</xmp:Label>" in found


def test_other_properties_of_a_camera_stay() -> None:
    xmp = DESCRIBED % (CAMERA + b" GCamera:BurstID='7' GCamera:MotionPhoto='1'", b"")
    found, _ = cleaned(xmp)
    assert found == xmp.replace(b" GCamera:MotionPhoto='1'", b"")


def test_xmp_without_such_parts_stays_byte_for_byte_but_for_what_is_false() -> None:
    whole = DESCRIBED % (b"", b"")
    assert cleaned(whole) == (whole, ())
    cut = whole[:-40]  # it isn't well-formed, and says nothing of parts
    assert cleaned(cut) == (cut, ())


DAMAGED: Final = {
    "cut": (DESCRIBED % (HDR, b""))[:-60],
    "entities": b"<!DOCTYPE x [<!ENTITY y 'z'>]>" + DESCRIBED.split(b"?>", 1)[1] % (HDR, b"&y;"),
    "an unknown prefix": DESCRIBED % (HDR, b"<nobody:X/>"),
}


@pytest.mark.parametrize("xmp", DAMAGED.values(), ids=DAMAGED)
def test_damaged_xmp_that_may_name_a_lost_part_is_dropped(xmp: bytes) -> None:
    assert cleaned(xmp) == (None, ("its XMP is damaged, and was dropped",))


def test_deep_and_long_xmp_takes_time_in_step_with_its_length() -> None:
    nested = b"<Item:a>" * 50_000 + b"</Item:a>" * 50_000
    found, _ = cleaned(DESCRIBED % (CONTAINER, nested))
    assert found is not None
    assert b"Item" not in found


@needs("exiftool")
@pytest.mark.parametrize("pillow", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exiftool_finds_the_rest_in_every_format(pillow: str) -> None:
    xmp = DESCRIBED % (HDR + b" hdrgm:Version='1.0' " + CONTAINER, DIRECTORY)
    how: dict[str, Any] = {"tiffinfo": {700: xmp}} if pillow == "TIFF" else {"xmp": xmp}
    found = decoded(file_of(pillow, **how))
    assert found.metadata.warnings == (GAIN_MAP,)
    tags = exiftool(encoded(found, pillow.lower()))
    assert tags["XMP-xmp:Rating"] == 4
    assert not [tag for tag in tags if "hdrgm" in tag or "GContainer" in tag]


def test_metadata_without_parts_has_no_warning() -> None:
    found = decoded(file_of("JPEG", xmp=PLAIN_XMP))
    assert found.metadata.warnings == Metadata().warnings
    assert all(one in (found.metadata.xmp or b"") for one in TRUE_OF_XMP)
