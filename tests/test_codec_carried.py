"""XMP, comments, texts and tags from file to file, read back by Pillow, exiftool and djpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from poolcli import codec
from tests.films import chunk, chunks_of
from tests.pictures import LIMIT
from tests.test_codec_metadata import (
    EXIFTOOL,
    FULL_EXIF,
    LONG,
    PROFILE,
    TURN,
    Entry,
    decoded,
    directory,
    exif_of,
    exiftool,
    file_of,
    fractions,
    number,
    opened,
    pooled,
    text,
)

Run = Callable[..., subprocess.CompletedProcess[bytes]]
DJPEG, PNGCHECK = shutil.which("djpeg") or "", shutil.which("pngcheck") or ""
SOURCES: Final = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF")
NAMES: Final = ("png", "jpeg", "webp", "avif", "tiff")
BETWEEN = pytest.mark.parametrize(
    ("source", "name"), [(source, name) for source in SOURCES for name in NAMES]
)
XMP: Final = b"""<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>
<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/'
 xmlns:tiff='http://ns.adobe.com/tiff/1.0/' xmlns:exif='http://ns.adobe.com/exif/1.0/'
 xmlns:xmp='http://ns.adobe.com/xap/1.0/' dc:format='image/x' tiff:ImageWidth='60'
 exif:PixelXDimension="60" tiff:XResolution='72/1'%s>
<dc:creator><rdf:Seq><rdf:li>J\xc3\xbcrgen</rdf:li></rdf:Seq></dc:creator>
<tiff:ImageLength>40</tiff:ImageLength><tiff:Make>Camera Works</tiff:Make>
<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"""
PLAIN_XMP: Final = XMP % b""
TRUE_OF_XMP: Final = ("J\xfcrgen".encode(), b"<tiff:Make>Camera Works</tiff:Make>", b"image/x")
FALSE_OF_XMP: Final = (b"ImageWidth", b"ImageLength", b"Dimension", b"Resolution", b"Thumb")


def with_xmp(source: str, xmp: bytes, *, behind: bool = False, packed: bool = False) -> bytes:
    """A picture with XMP; in a PNG perhaps behind the pixels, or compressed."""
    if source == "PNG":
        body = zlib.compress(xmp) if packed else xmp
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"\0\0" + body)
        octets = file_of("PNG")
        at = len(octets) - 12 if behind else 33
        return octets[:at] + text + octets[at:]
    if source == "TIFF":
        tags = ImageFileDirectory_v2()
        tags[700] = xmp
        return file_of("TIFF", tiffinfo=tags)
    return file_of(source, xmp=xmp)


def xmp_of(octets: bytes) -> bytes:
    """The XMP as Pillow finds it."""
    info = opened(octets).info
    found = info.get("xmp") or b""
    return found if isinstance(found, bytes) else bytes(found, "utf-8")


# XMP


@BETWEEN
def test_xmp_keeps_what_stays_true_and_loses_the_rest(source: str, name: str) -> None:
    octets, notes = pooled(with_xmp(source, PLAIN_XMP), name)
    found = xmp_of(octets)
    assert all(one in found for one in TRUE_OF_XMP)
    assert not [one for one in FALSE_OF_XMP if one in found]
    assert not [note for note in notes if "XMP" in note]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", [b" tiff:Orientation='%d'", b' tiff:Orientation = "%d"'])
def test_the_orientation_of_xmp_turns_a_picture_once(source: str, turn: int, form: bytes) -> None:
    octets = with_xmp(source, XMP % (form % turn))
    plain, picture = decoded(file_of(source)).array, decoded(octets)
    header = codec.identify(BytesIO(octets), LIMIT)
    assert header.shape == picture.array.shape
    exif = decoded(file_of(source, exif=exif_of(number(TURN, turn)))) if source == "PNG" else None
    if exif is not None:
        np.testing.assert_array_equal(picture.array, exif.array)
    wanted = {1: plain, 3: plain[::-1, ::-1], 6: np.rot90(plain, -1), 8: np.rot90(plain)}
    if turn in wanted:
        np.testing.assert_array_equal(picture.array, wanted[turn])
    for name in NAMES:
        result, _ = pooled(octets, name)
        assert sorted(opened(result).size) == [20, 30]
        assert b"Orientation" not in xmp_of(result)
        assert TURN not in opened(result).getexif()


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
def test_the_orientation_of_exif_comes_first(source: str) -> None:
    octets = file_of(source, exif=exif_of(number(TURN, 3)))
    if source == "PNG":
        xmp = b"XML:com.adobe.xmp" + bytes(5) + XMP % b" tiff:Orientation='6'"
        octets = octets[:33] + chunk(b"iTXt", xmp) + octets[33:]
    else:
        octets = file_of(source, exif=exif_of(number(TURN, 3)), xmp=XMP % b" tiff:Orientation='6'")
    np.testing.assert_array_equal(decoded(octets).array, decoded(file_of(source)).array[::-1, ::-1])


def test_xmp_too_long_for_a_jpeg_is_left_out_and_that_is_said() -> None:
    octets, notes = pooled(with_xmp("PNG", PLAIN_XMP + b" " * 70_000), "jpeg")
    assert not xmp_of(octets)
    assert [note for note in notes if "XMP, which is too long" in note]


@pytest.mark.parametrize("name", NAMES)
def test_a_second_part_of_xmp_is_said_to_be_lost_and_not_named(name: str) -> None:
    named = b" xmlns:xmpNote='http://ns.adobe.com/xmp/note/' xmpNote:HasExtendedXMP='%b'" % bytes(
        32
    )
    octets = with_xmp("JPEG", (XMP % named).replace(b"\0", b"A"))
    body = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">2I", 3, 0) + b"<x>"
    octets = octets[:2] + struct.pack(">BBH", 255, 0xE1, len(body) + 2) + body + octets[2:]
    result, notes = pooled(octets, name)
    assert f"{name} has no place for the second part of its XMP" in notes
    assert TRUE_OF_XMP[0] in xmp_of(result)
    assert b"HasExtended" not in xmp_of(result)


@pytest.mark.parametrize(
    "xmp",
    [PLAIN_XMP.decode().encode("utf-16"), b"<" * (1 << 25), b"\0" + PLAIN_XMP],
    ids=["UTF-16", "huge", "a NUL"],
)
def test_xmp_that_cannot_be_used_is_dropped_with_a_warning(xmp: bytes) -> None:
    octets = with_xmp("PNG", xmp, behind=True)
    picture = decoded(octets)
    assert [warning for warning in picture.metadata.warnings if "XMP" in warning]
    np.testing.assert_array_equal(picture.array, decoded(file_of("PNG")).array)
    assert not xmp_of(pooled(octets, "png")[0])


# Comments and texts


@pytest.mark.parametrize(
    ("source", "name"),
    [("JPEG", "jpeg"), ("JPEG", "gif"), ("GIF", "jpeg"), ("GIF", "gif"), ("JPEG", "png")],
)
@pytest.mark.parametrize("words", [b"hello", "J\xfcrgen".encode(), b"caf\xe9"])
def test_a_comment_is_kept(source: str, name: str, words: bytes) -> None:
    octets, notes = pooled(file_of(source, comment=words), name)
    if name == "png":
        (text,) = (body for kind, body in chunks_of(octets) if kind in (b"tEXt", b"iTXt"))
        assert text.startswith(b"Comment\0")
        assert Image.open(BytesIO(octets)).info["Comment"] in ("hello", "J\xfcrgen", "caf\xe9")
    else:
        assert opened(octets).info["comment"] == words
    assert not [note for note in notes if "comment" in note]


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "tiff"])
def test_all_comments_of_a_jpeg_are_kept(name: str) -> None:
    octets = file_of("JPEG", comment=b"first")
    octets = octets[:2] + b"\xff\xfe\0\x08second" + octets[2:]
    result, _ = pooled(octets, name)
    assert b"second\nfirst" in result


@pytest.mark.skipif(not DJPEG, reason="djpeg is not installed")
def test_djpeg_reads_the_comment() -> None:
    octets, _ = pooled(file_of("JPEG", comment=b"hello there"), "jpeg")
    done = subprocess.run(
        [DJPEG, "-verbose", "-verbose"], input=octets, capture_output=True, check=True
    )
    assert b"hello there" in done.stderr


TEXTS: Final = (
    (b"tEXt", b"Title\0pooled"),
    (b"tEXt", b"Title\0twice"),
    (b"zTXt", b"Description\0\0" + zlib.compress(b"long " * 100)),
    (b"iTXt", b"Author\0\0\0de\0Autor\0J\xc3\xbcrgen"),
)
COLOUR: Final = (
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    (b"sRGB", b"\0"),
    (b"cICP", b"\x01\x0d\0\x01"),
)


def png_with(*parts: tuple[bytes, bytes], behind: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    octets = file_of("PNG")
    front = b"".join(chunk(*one) for one in parts)
    back = b"".join(chunk(*one) for one in behind)
    return octets[:33] + front + octets[33:-12] + back + octets[-12:]


def test_a_profile_that_is_garbage_is_carried_and_stops_nothing() -> None:
    for source in ("PNG", "JPEG", "WEBP"):
        octets, _ = pooled(file_of(source, icc_profile=b"no profile at all"), "png")
        assert opened(octets).size == (30, 20)


GREY_PROFILE: Final = PROFILE[:16] + b"GRAY" + PROFILE[20:]


def test_a_profile_of_which_a_part_is_missing_is_dropped_with_a_warning() -> None:
    octets = file_of("JPEG", icc_profile=PROFILE + bytes(100_000))
    begin = octets.index(b"ICC_PROFILE\0\2") - 4
    (length,) = struct.unpack_from(">H", octets, begin + 2)
    octets = octets[:begin] + octets[begin + 2 + length :]
    assert [one for one in decoded(octets).metadata.warnings if "colour profile is damaged" in one]
    assert "icc_profile" not in opened(pooled(octets, "jpeg")[0]).info


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    ("marker", "body"),
    [
        (0xE0, b"JFIF\0"),
        (0xE1, exif_of(text(0x011A, "7"), number(0x0128, 2))),
        (0xE2, b"ICC_PROFILE\0"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\4\4"),
    ],
    ids=["JFIF", "EXIF", "ICC", "Photoshop"],
)
def test_a_segment_of_words_that_is_damaged_stops_nothing(
    mode: str, marker: int, body: bytes
) -> None:
    whole = file_of("JPEG", mode)
    segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    picture = decoded(whole[:2] + segment + whole[2:])
    np.testing.assert_array_equal(picture.array, decoded(whole).array)
    assert [warning for warning in picture.metadata.warnings if "metadata is damaged" in warning]


# Tags of TIFF


def tiff_with(tags: dict[int, Any], **more: Any) -> bytes:
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
        if isinstance(value, tuple):
            directory.tagtype[tag] = 12
    return file_of("TIFF", tiffinfo=directory, **more)


def tiff_of(bits: int, *more: Entry) -> bytes:
    """An upright TIFF of 40×60 pixels in RGB, with more tags made by hand."""
    pixels = np.arange(40 * 60 * 3).astype(f"<u{bits // 8}").tobytes()
    layout = {256: 60, 257: 40, 259: 1, 262: 2, 277: 3, 278: 40, 279: len(pixels)}
    entries = [number(tag, value, LONG) for tag, value in layout.items()]
    entries += [(258, 3, 3, struct.pack("<3H", bits, bits, bits)), *more]
    begin = 8 + len(directory([*entries, number(273, 0, LONG)], 8))
    return b"II*\0\x08\0\0\0" + directory([*entries, number(273, begin, LONG)], 8) + pixels


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "entry",
    [
        (34665, 9, 1, struct.pack("<i", -6)),
        (34853, 9, 1, struct.pack("<i", -112)),
        (274, 3, 2, struct.pack("<2H", 1, 1)),
        (274, 2, 2, b"6\0"),
        (296, 3, 2, struct.pack("<2H", 2, 2)),
        (282, 3, 1, struct.pack("<H", 72)),
        (282, 5, 2, struct.pack("<4I", 72, 1, 72, 1)),
        (282, 5, 1, struct.pack("<2I", 72, 0)),
    ],
)
def test_a_tag_that_is_damaged_stops_no_tiff(bits: int, entry: Entry) -> None:
    resolution = [fractions(tag, 72, 1) for tag in (282, 283) if tag != entry[0]]
    octets, whole = tiff_of(bits, *resolution, entry), decoded(tiff_of(bits))
    np.testing.assert_array_equal(decoded(octets).array, whole.array)
    for name in ("png", "tiff"):
        assert codec.identify(BytesIO(pooled(octets, name)[0]), LIMIT).shape == (20, 30, 3)


TAGS: Final = {
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


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none", "packbits"])
def test_tags_that_stay_true_are_kept(compression: str) -> None:
    from poolcli.formats import Saving, by_name

    picture = decoded(tiff_with(TAGS, dpi=(300, 300), icc_profile=PROFILE))
    saving = Saving(options=(("compression", compression),))
    octets, notes = codec.encode(picture, by_name("tiff"), saving)
    image = opened(bytes(octets))
    assert {tag: image.getexif()[tag] for tag in TAGS} == TAGS
    assert image.info["icc_profile"] == PROFILE
    assert notes == ()
    np.testing.assert_array_equal(np.asarray(image), picture.array)


@pytest.mark.skipif(not EXIFTOOL, reason="exiftool is not installed")
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP"])
def test_exiftool_reads_the_exif_of_a_tiff(source: str) -> None:
    octets, notes = pooled(file_of(source, exif=FULL_EXIF), "tiff")
    before, after = exiftool(file_of(source, exif=FULL_EXIF)), exiftool(octets)
    for tag in before:
        if tag.startswith(("ExifIFD:", "GPS:")) and "ExifImage" not in tag:
            assert after[tag] == before[tag]
    assert after["IFD0:Make"] == "Camera Works"
    assert not [tag for tag in after if tag.endswith(":Warning")]
    assert notes == ()


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_tags_of_a_tiff_become_exif(name: str) -> None:
    exif = opened(pooled(tiff_with(TAGS), name)[0]).getexif()
    assert {tag: exif[tag] for tag in TAGS} == TAGS
    assert not set(exif) - set(TAGS)


@pytest.mark.parametrize("name", ["tiff", "jpeg"])
def test_geo_tags_are_dropped_with_a_warning(name: str) -> None:
    octets = tiff_with({33550: (1.0, 1.0, 0.0), 33922: (0.0,) * 6, 315: "J. Doe"})
    picture = decoded(octets)
    assert [warning for warning in picture.metadata.warnings if "geo tags" in warning]
    exif = opened(pooled(octets, name)[0]).getexif()
    assert exif[315] == "J. Doe"
    assert {33550, 33922}.isdisjoint(exif)


@pytest.mark.parametrize("text", ["ImageJ=1.53t\nimages=3\n", '{"shape": [40, 60, 3]}', "<OME/>"])
def test_a_description_of_axes_is_dropped_with_a_warning(text: str) -> None:
    picture = decoded(tiff_with({270: text}))
    assert [warning for warning in picture.metadata.warnings if "description" in warning]
    assert 270 not in opened(pooled(tiff_with({270: text}), "tiff")[0]).getexif()


@pytest.mark.parametrize("name", NAMES)
def test_strip_leaves_no_word_behind(name: str) -> None:
    octets = png_with(*TEXTS)
    octets = octets[:33] + with_xmp("PNG", PLAIN_XMP)[33:].split(b"IDAT")[0][:-4] + octets[33:]
    for given_ in (octets, file_of("JPEG", comment=b"pooled", exif=FULL_EXIF), tiff_with(TAGS)):
        result, notes = pooled(given_, name, strip=True)
        assert not [one for one in (b"pooled", b"Works", b"Doe", b"adobe") if one in result]
        assert not [note for note in notes if "no place" in note]


# From the command line


def test_warnings_are_shown_and_the_picture_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(tiff_with({33550: (1.0, 1.0, 0.0)}))
    done = run("avg", "-k", 2, "in.tif", "out.tif")
    assert done.returncode == 0
    assert b"in.tif: warning: its geo tags would be false, and were dropped" in done.stderr
