"""JPEG XL: what its headers state, and what is only its own."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import check_depth
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, Metadata, Resolution, turned
from tests.jobs import run, work
from tests.pictures import (
    decoded,
    encoded,
    exif_of,
    first_info,
    noise,
    noisy,
    picture,
    reader_of,
    written,
)
from tests.support.tools import needs

EXIFTOOL, VIPS = shutil.which("exiftool") or "", shutil.which("vips") or ""
RGB = noise("RGB", (5, 11))
SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
DISPLAY_P3 = base64.b64decode(
    "/woQUBCQyY0IAgEAuABLGJOOg4OEE9g2W+I/wN5DNhqNBgAA3LHdb/dPkZFxiJGRf1xxxRVXVFVVVVUF"
)
"""5×3 pixels with the primaries of Display P3, by cjxl 0.7."""

WITH_PROFILE = base64.b64decode(
    "/woQUBDCW8OAhHkA1FQSVmSC8zrm2++1zIeYZaFFjNgSCxwyT32EPW8WFQQ0EsKdEXfGnSGxunZCVqvVpRMOIOto64wA"
    "X/FcNTuuMojhFoAB/xeWVnzNYanrxFUuOyt5KAQoWpvKSqeZ6vJb3l9yfkQHclnHN8DRV9hc2dRTVDoswNrZMkBT2dJS"
    "1hxqr5Xzieo0jbNUgKd6+++/85S39U6g/UL677/7hvrvv/2KYJYLBb7WOgEQ3DrMQiCkH9iXALV1CIq9QG89wMVmma/O"
    "0NSEynuCrRncKRRWbo6iyrZ8mAAd9QpS7iDTJjRTDcRovi5yCAIBALgASxiTjoODhBPYNlviP8DeQzYajQYAANyx3W/3"
    "T5GRcYiRkX9cccUVV1RVVVVVBQ=="
)
"""The same with a colour profile that only its bytes describe."""


def jxl(array: NDArray[Any], **options: Any) -> bytes:
    """A file as imagecodecs writes it."""
    return bytes(imagecodecs.jpegxl_encode(array, **{"lossless": True, **options}))


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def boxed(*boxes: bytes) -> bytes:
    return b"".join((SIGNATURE, box(b"ftyp", b"jxl \0\0\0\0jxl "), *boxes))


def pixels(octets: bytes) -> NDArray[Any]:
    return decoded(octets).array


def assert_unreadable(octets: bytes, message: str) -> None:
    with pytest.raises(PoolError, match=message) as refusal:
        check_depth(first_info(octets), allow_loss=False)
    assert refusal.value.remedy


# Headers, written here bit by bit


class Bits:
    """A codestream's header: every number by its value and its bits, the lowest first."""

    def __init__(self) -> None:
        self.value, self.count = 0x0AFF, 16

    def put(self, value: int, count: int = 1) -> Bits:
        self.value |= value << self.count
        self.count += count
        return self

    def chosen(self, value: int, *kinds: tuple[int, int], kind: int | None = None) -> Bits:
        """A number of one of four kinds; of the first that has it, unless one is given."""
        for at, (least, count) in enumerate(kinds):
            if least <= value < least + (1 << count) and kind in (None, at):
                return self.put(at, 2).put(value - least, count)
        raise ValueError(value)

    def side(self, value: int) -> Bits:
        return self.chosen(value, (1, 9), (1, 13), (1, 18), (1, 30))

    def enum(self, value: int) -> Bits:
        return self.chosen(value, (0, 0), (1, 0), (2, 4), (18, 6))

    def depth(self, bits: int, exponent: int = 0) -> Bits:
        if exponent:
            self.put(1).chosen(bits, (32, 0), (16, 0), (24, 0), (1, 6))
            return self.put(exponent - 1, 4)
        return self.put(0).chosen(bits, (8, 0), (10, 0), (12, 0), (1, 6))

    def start(self, height: int = 3, width: int = 5, *, more: bool = False) -> Bits:
        """Size and the flag of fields that are mostly left out."""
        return self.put(0).side(height).put(0, 3).side(width).put(0).put(more)

    def channels(self, count: int = 0) -> Bits:
        return self.put(1).chosen(count, (0, 0), (1, 0), (2, 4), (1, 12))

    def octets(self) -> bytes:
        """The header, as of a file that is not encoded in XYB."""
        self.put(0, 2).put(1)
        self.put(0, -self.count % 8).put(0b1000, 8)  # a frame that is coded without a transform
        return self.value.to_bytes(self.count // 8, "little")


SIDES = st.one_of(st.integers(1, 600), st.integers(1, 1 << 20))
DEPTHS = st.one_of(st.tuples(st.integers(1, 16), st.just(0)), st.sampled_from([(32, 8), (16, 5)]))


@settings(max_examples=200)
@given(st.data(), DEPTHS, st.integers(1, 8), st.booleans(), st.booleans())
def test_every_field_of_a_header_is_read(
    data: st.DataObject, depth: tuple[int, int], orientation: int, grey: bool, alpha: bool
) -> None:
    height, width = data.draw(SIDES), data.draw(SIDES)
    name = data.draw(st.sampled_from([b"", b"alpha", b"a" * 20, b"a" * 1000]))
    bits = Bits().start(height, width, more=True)
    bits.put(orientation - 1, 3).put(1).put(0).side(7).put(3, 3)
    bits.put(0)  # no preview
    bits.put(0).depth(*depth).channels(int(alpha))
    if alpha:
        bits.put(0).enum(0).depth(8).put(0, 2)
        bits.chosen(len(name), (0, 0), (0, 4), (16, 5), (48, 10))
        bits.put(int.from_bytes(name, "little"), 8 * len(name)).put(0)
    bits.put(0).put(0).put(0).enum(int(grey)).enum(1)
    if not grey:
        bits.enum(1)
    bits.put(0).enum(13).enum(1)
    bits.put(0).put(0x5BF8, 16).put(0, 16).put(0).put(0, 16)
    channels = (1 if grey else 3) + alpha
    if alpha and depth[0] not in (8, 16, 32):
        assert_unreadable(bits.octets(), "with alpha of 8 bits can't be read")
        return
    info = next(reader_of(bits.octets(), 1 << 42).frames()).info
    assert info.shape == ((height, width, channels) if channels > 1 else (height, width))
    assert (info.stored.bits, info.stored.channels) == (max(depth[0], 8 * alpha), channels)
    assert (info.stored.kind == "float") == bool(depth[1])
    assert (info.orientation, info.encoding.lossy) == (orientation, False)
    assert not info.unread_colour
    assert not check_depth(info, allow_loss=False)


@pytest.mark.parametrize("height", [1, 8, 100, 256, 264, 1000])
@pytest.mark.parametrize("ratio", [(1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1), (7, 3)])
def test_sizes_are_read_as_another_encoder_states_them(height: int, ratio: tuple[int, int]) -> None:
    array = np.zeros((height, max(1, height * ratio[0] // ratio[1])), np.uint8)
    for lossless in (True, False):
        octets = jxl(array, effort=1, lossless=lossless)
        assert next(reader_of(octets, 1 << 30).frames()).info.shape == array.shape


SRGB_CURVE, LINEAR = 13, 8
ENCODINGS = {
    "sRGB": (1, 1, 13),
    "linear": (1, 1, 8),
    "BT.709": (1, 1, 1),
    "PQ": (1, 9, 16),
    "HLG": (1, 9, 18),
    "P3": (1, 11, 13),
    "DCI": (11, 11, 17),
    "equal energy": (10, 1, 13),
    "own white": (2, 1, 13),
    "own primaries": (1, 2, 13),
}


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ENCODINGS)
def test_only_srgb_is_taken_as_srgb_and_linear_floats_too(name: str, deep: bool) -> None:
    white, primaries, curve = ENCODINGS[name]
    bits = Bits().start().depth(*((32, 8) if deep else (8, 0))).channels()
    bits.put(0).put(0).put(0).enum(0)
    coordinates = ((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
    for named, points in ((white, 1), (primaries, 3)):
        bits.enum(named)
        for value in (600000, 1280000) * points if named == 2 else ():
            bits.chosen(value, *coordinates)
    info = first_info(bits.put(0).enum(curve).enum(1).octets())
    assert bool(info.unread_colour) == (name not in ("sRGB", *(["linear"] if deep else [])))
    assert info.shape == (3, 5, 3)
    assert not info.encoding.lossy


def test_a_gamma_and_xyb_itself_are_not_srgb() -> None:
    gamma, xyb = (Bits().start().depth(8).channels().put(0, 3) for _ in range(2))
    gamma.enum(0).enum(1).enum(1).put(1).put(4545450, 24).enum(1)
    for bits in (gamma, xyb.enum(2).enum(1)):
        assert first_info(bits.octets()).unread_colour


# Depth


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_depth_of_whole_numbers_comes_as_it_is_stored(bits: int, channels: int) -> None:
    most, dtype = (1 << bits) - 1, np.uint8 if bits <= 8 else np.uint16
    shape = (6, 9, channels) if channels > 1 else (6, 9)
    array = np.random.default_rng(bits).integers(0, most, shape, dtype, endpoint=True)
    found = decoded(jxl(array, bitspersample=bits))
    assert found.info.stored == ("unsigned", bits, most, channels)
    assert found.info.maxval == most
    assert not check_depth(found.info, allow_loss=False)
    np.testing.assert_array_equal(found.array, array)
    wanted = ("L", "LA", "RGB", "RGBA")[channels - 1] + {8: "", 16: ";16"}.get(bits, ";M")
    odd = {(16, 1): "I;16", (1, 1): "1"}
    assert found.info.mode == odd.get((bits, channels), wanted)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [16, 32])
def test_floating_point_samples_come_exactly(bits: int, channels: int) -> None:
    shape = (6, 9, channels) if channels > 1 else (6, 9)
    array = np.random.default_rng(0).normal(size=shape).astype(f"f{bits // 8}")
    array[0, :2], array[1, 1] = np.inf, -1e4
    found = decoded(jxl(array))
    assert found.info.stored == ("float", bits, 0, channels)
    assert found.info.mode == ("F" if channels == 1 else ARRAY)
    assert found.array.dtype == (np.float32 if channels == 1 else array.dtype)
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize(
    ("depth", "alpha", "message"),
    [
        ((20, 0), None, "samples of 20 bits"),
        ((31, 0), (8, 0), "samples of 31 bits"),
        ((16, 8), None, "8 of them for an exponent"),
        ((24, 7), None, "24 bits"),
        ((10, 0), (8, 0), "10-bit samples with alpha of 8 bits"),
        ((8, 0), (16, 0), "16-bit samples can only be read as 8 bits"),
        ((8, 0), (32, 8), "32-bit samples can only be read as 8 bits"),
        ((16, 5), (32, 8), "would be read as 4 of float16"),
        ((16, 0), (8, 0), ""),
    ],
)
def test_depths_that_would_be_rounded_are_refused(depth: Any, alpha: Any, message: str) -> None:
    bits = Bits().start().depth(*depth).channels(alpha is not None)
    if alpha is not None:
        bits.put(0).enum(0).depth(*alpha).put(0, 2).put(0, 2).put(0)
    octets = bits.put(0).put(1).octets()
    if message:
        assert_unreadable(octets, message)
    else:
        assert first_info(octets).stored.bits == 16


@pytest.mark.parametrize("name", ["png", "jpeg", "pnm"])
def test_ten_bits_never_come_out_as_eight_unasked(name: str, tmp_path: Path) -> None:
    array = np.full((4, 4, 3), 1023, np.uint16)
    (tmp_path / "in").write_bytes(jxl(array, bitspersample=10))
    linear = Saving(strip=True)  # imagecodecs calls such samples linear
    outcome = run(tmp_path / "in", tmp_path / "out", name, work(saving=linear))
    assert (outcome.status == "done") == (name != "jpeg"), outcome.error
    assert name == "jpeg" or outcome.dtype == "uint16"
    rounding = work(saving=linear, allow_depth_loss=True, overwrite=True)
    outcome = run(tmp_path / "in", tmp_path / "out", name, rounding)
    assert outcome.status == "done", outcome.error


# What can't be read


def test_what_would_be_read_in_part_is_refused() -> None:
    assert_unreadable(jxl(np.zeros((3, 6, 9, 3), np.uint8)), "it is an animation")
    preview = Bits().start(more=True).put(0, 3).put(0).put(1).octets()
    assert_unreadable(preview, "has a preview")
    planes = jxl(np.zeros((3, 6, 9), np.uint8), planar=True, photometric="gray")
    assert_unreadable(planes, "channels beside colour and alpha")
    one = Bits().start().depth(8).channels(1).put(0).enum(1).octets()
    assert_unreadable(one, "channels beside colour and alpha")
    alpha = Bits().start().depth(8).channels(1).put(0).enum(0).depth(8).put(0, 2).put(0, 2).put(1)
    assert_unreadable(alpha.put(0).put(1).octets(), "multiplied by alpha")
    assert_unreadable(jxl(RGB)[:4], "header is cut off")
    for empty in (boxed(), boxed(box(b"jxlc", b""))):
        assert_unreadable(empty, "codestream is missing")


REASONS = {"colour encoding is not that of sRGB": DISPLAY_P3, "profile can't be read": WITH_PROFILE}


@pytest.mark.parametrize("reason", REASONS)
def test_other_colours_are_refused_unless_stripped(reason: str, tmp_path: Path) -> None:
    octets = REASONS[reason]
    (tmp_path / "in").write_bytes(octets)
    for dry_run in (True, False):
        outcome = run(tmp_path / "in", tmp_path / "out", "png", work(size=1, dry_run=dry_run))
        assert outcome.status == "failed"
        assert reason in str(outcome.error)
        assert "--strip" in str(outcome.remedy)
    outcome = run(tmp_path / "in", tmp_path / "out", "png", work(size=1, saving=Saving(strip=True)))
    assert outcome.status == "done"
    assert [one for one in outcome.warnings if reason in one]
    np.testing.assert_array_equal(
        pixels((tmp_path / "out").read_bytes()), imagecodecs.jpegxl_decode(octets)
    )


# Containers


def test_a_codestream_is_found_in_one_box_or_in_several() -> None:
    naked = jxl(RGB)
    parts = (naked[:3], naked[3:20], naked[20:])
    numbered = (struct.pack(">I", at | (at == 2) << 31) + one for at, one in enumerate(parts))
    split = boxed(*(box(b"jxlp", one) for one in numbered))
    whole = boxed(box(b"free", b"ab"), struct.pack(">I4s", 0, b"jxlc") + naked)
    long = boxed(struct.pack(">I4sQ", 1, b"jxlc", 16 + len(naked)) + naked)
    for octets in (naked, split, whole, long):
        np.testing.assert_array_equal(pixels(octets), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_codestream_is_applied_once(orientation: int) -> None:
    octets = turned_file(orientation)
    found = decoded(octets)
    np.testing.assert_array_equal(found.array, imagecodecs.jpegxl_decode(octets))
    np.testing.assert_array_equal(found.array, turned(RGB, orientation))
    assert ("it was turned upright" in found.info.notes) == (orientation != 1)
    assert decoded(boxed(box(b"Exif", bytes(4) + exif_of({274: 3})), box(b"jxlc", octets))).info
    again = decoded(encoded(found, "jxl"))
    np.testing.assert_array_equal(again.array, found.array)


def turned_file(orientation: int) -> bytes:
    """A file of `RGB` whose header asks to be turned: the frame follows at a whole byte."""
    plain = jxl(RGB)
    ours = Bits().start(*RGB.shape[:2], more=True).put(orientation - 1, 3).put(0, 3)
    ours.depth(8).channels().put(0).put(1).put(1).put(0, 2).put(1)
    theirs = Bits().start(*RGB.shape[:2]).depth(8).channels().put(0).put(1).put(0, 2).put(1)
    for one in (ours, theirs):
        one.put(0, -one.count % 8)
    assert plain.startswith(theirs.value.to_bytes(theirs.count // 8, "little"))
    return ours.value.to_bytes(ours.count // 8, "little") + plain[theirs.count // 8 :]


@pytest.mark.parametrize("packed", [False, True])
def test_exif_and_xmp_of_the_container_are_carried(packed: bool) -> None:
    exif = exif_of({271: "Maker", 274: 6, 282: 300.0, 283: 150.0, 296: 2})

    def stored(name: bytes, content: bytes) -> bytes:
        if packed:
            return box(b"brob", name + imagecodecs.brotli_encode(content))
        return box(name, content)

    octets = boxed(
        stored(b"Exif", b"\0\0\0\x02ab" + exif), stored(b"xml ", XMP), box(b"jxlc", jxl(RGB))
    )
    found = decoded(octets)
    assert found.info.orientation == 1  # the codestream's holds, not EXIF's
    assert found.metadata.exif is not None
    assert b"Maker" in found.metadata.exif
    assert found.metadata.resolution == Resolution(150, 300)
    assert found.metadata.xmp == XMP
    assert not found.metadata.warnings


def test_what_of_a_container_is_not_carried_is_told() -> None:
    bomb = imagecodecs.brotli_encode(bytes(1 << 25))
    for packed in (b"Exifx", b"xml " + bomb):
        gain_map = box(b"jhgm", b"x")
        octets = boxed(box(b"jumb", b"x"), box(b"brob", packed), box(b"jxlc", jxl(RGB)), gain_map)
        metadata = decoded(octets).metadata
        assert (metadata.dropped, metadata.xmp, metadata.exif) == (("JUMBF boxes",), None, None)
        assert metadata.warnings == (
            "it is written without its gain map",
            "its compressed metadata is damaged or too long, and was dropped",
        )


# Writing


@needs("exiftool")
def test_exiftool_reads_what_is_written() -> None:
    metadata = Metadata(exif=exif_of({271: "Maker"}), resolution=Resolution(150, 300), xmp=XMP)
    octets = encoded(noisy("RGB", (6, 9))._replace(metadata=metadata), "jxl")
    done = subprocess.run(
        [EXIFTOOL, "-json", "-G1", "-n", "-"], input=octets, capture_output=True, check=True
    )
    (tags,) = json.loads(done.stdout)
    assert (tags["IFD0:Make"], tags["IFD0:XResolution"]) == ("Maker", 300)
    assert tags["IFD0:YResolution"] == 150
    assert not [tag for tag in tags if tag.endswith((":Warning", ":Error"))]


def test_only_what_stands_beside_the_pixels_needs_a_container() -> None:
    with_xmp = noisy("RGB")._replace(metadata=Metadata(xmp=XMP))
    starts = [encoded(one, "jxl")[:2] for one in (noisy("RGB"), noisy("RGB;16"), with_xmp)]
    assert starts == [b"\xff\x0a", SIGNATURE[:2], SIGNATURE[:2]]  # 16 bits: its level stands there


@needs("vips")
@pytest.mark.parametrize("quality", [None, 95])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "RGB;16", "RGBA;16"])
def test_vips_sees_srgb_and_the_samples(mode: str, quality: int | None, tmp_path: Path) -> None:
    across = np.arange(64) * (65535 if mode.endswith("16") else 255) // 63
    dtype = np.uint16 if mode.endswith("16") else np.uint8
    ramp = np.broadcast_to(across[None, :, None], (64, 64, len(mode.removesuffix(";16"))))
    array = np.squeeze(ramp.astype(dtype))  # grey has no axis of channels
    source = tmp_path / "in.jxl"
    source.write_bytes(encoded(picture(array, mode), "jxl", Saving(quality=quality)))
    header = [VIPS + "header", "-f", "icc-profile-data", str(source)]
    described = base64.b64decode(subprocess.run(header, capture_output=True, check=True).stdout)
    assert b"_\0S\0R\0G" in described or b"sRGB" in described
    assert b"L\0i\0n" not in described
    subprocess.run([VIPS, "copy", str(source), str(tmp_path / "out.tif")], check=True)
    found = imagecodecs.imread(str(tmp_path / "out.tif"))
    difference = np.abs(found.astype(float) - array).max() / np.iinfo(dtype).max
    assert difference <= (0.03 if quality else 0)


def test_what_lost_nothing_is_written_without_loss_unless_asked() -> None:
    smooth = picture(np.indices((40, 60)).sum(0).astype(np.uint8), "L")
    for saving, is_lossy in (
        (Saving(), False),
        (Saving(quality=90), True),
        (Saving(quality=90, options=(("lossless", "yes"),)), False),
        (Saving(options=(("lossless", "no"),)), True),
    ):
        found = decoded(encoded(smooth, "jxl", saving))
        assert found.info.encoding.lossy == is_lossy
        assert (found.array == smooth.array).all() or is_lossy
    jpeg = decoded(encoded(smooth, "jpeg"))
    again = decoded(encoded(jpeg, "jxl"))
    assert again.info.encoding.lossy
    assert decoded(encoded(again, "jxl", Saving(options=(("effort", "1"),)))).info.encoding.lossy
    transcoded = bytes(imagecodecs.jpegxl_encode_jpeg(encoded(smooth, "jpeg"), usecontainer=True))
    assert first_info(transcoded).encoding.lossy


def test_floating_point_is_written_without_loss_and_keeps_its_curve() -> None:
    of = noisy("F", (6, 9))
    octets, notes = written([of], "jxl", Saving(quality=50))
    np.testing.assert_array_equal(pixels(octets), of.array)
    assert notes == ["floating-point samples were written without loss"]
    given = first_info(octets).encoding
    assert given.details == {"curve": LINEAR}
    for curve in (SRGB_CURVE, LINEAR):
        kept = picture(of.array, "F", encoding=given._replace(details={"curve": curve}))
        assert first_info(encoded(kept, "jxl")).encoding.details == {"curve": curve}
