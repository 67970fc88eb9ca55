"""BMP: every depth, palette, mask, header and compression; what is written as others read it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from poolcli.errors import PoolError
from poolcli.formats.contract import check_depth
from poolcli.picture import Metadata, Resolution, Stored
from tests.pictures import (
    bmp,
    decoded,
    encoded,
    first_info,
    imagemagick,
    noisy,
    reader_of,
    saved,
    written,
)
from tests.support.tools import needs

EXIFTOOL = shutil.which("exiftool") or ""
IMAGEMAGICK = imagemagick("convert")
EIGHT = Stored("unsigned", 8, 255, 3)
INDICES = Stored("unsigned", 8, 255, 1)
GREYS = [(one, one, one) for one in range(256)]
COLOURS = [(10, 20, 30), (40, 50, 60)]


def paletted(
    palette: Sequence[Any], bits: int, row: bytes, width: int = 2, packed: int = 0
) -> bytes:
    """A BMP of one row of indices; the palette is red, green and blue."""
    entries = b"".join(bytes((*one[::-1], 0)) for one in palette)
    body = row.ljust(-(-len(row) // 4) * 4, b"\0")
    offset = 54 + len(entries)
    head = struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
    fields = (40, width, 1, 1, bits, packed, len(body), 0, 0, len(palette), 0)
    return head + struct.pack("<IiiHHIIiiII", *fields) + entries + body


def test_24_bits_are_exact_from_the_bottom_up_and_the_filler_of_32_is_no_alpha() -> None:
    rows = [bytes([1, 2, 3, 4, 5, 6]), bytes([7, 8, 9, 250, 251, 252])]
    found = decoded(bmp(rows, 2, 24))
    assert found.info.stored == EIGHT
    assert found.array.tolist() == [[[9, 8, 7], [252, 251, 250]], [[3, 2, 1], [6, 5, 4]]]
    for masks in ((), (0xFF0000, 0xFF00, 0xFF)):
        found = decoded(bmp([bytes([1, 2, 3, 77, 4, 5, 6, 0])], 2, 32, masks))
        assert (found.info.mode, found.info.stored) == ("RGB", EIGHT)
        assert found.array.tolist() == [[[3, 2, 1], [6, 5, 4]]]


FIVE, SIX = (0x7C00, 0x3E0, 0x1F), (0xF800, 0x07E0, 0x001F)


@pytest.mark.parametrize(("bits", "masks"), [((5, 5, 5), ()), ((5, 5, 5), FIVE), ((5, 6, 5), SIX)])
def test_16_bits_are_widened_to_8_a_channel(bits: Any, masks: tuple[int, ...]) -> None:
    red, green, blue = np.random.default_rng(5).integers(0, 32, (3, 64))
    words = (red << (bits[1] + bits[2])) | (green << bits[2]) | blue
    found = decoded(bmp([words.astype("<u2").tobytes()], 64, 16, masks))
    full = np.array([2**count - 1 for count in bits])
    exact = np.stack((red, green, blue), axis=-1) * 255 / full
    assert found.info.mode == "RGB"
    assert found.info.stored == Stored("unsigned", max(bits), 2 ** max(bits) - 1, 3)
    assert not check_depth(found.info, allow_loss=False)
    np.testing.assert_array_equal(found.array[0], np.rint(exact))


def version_4(masks: Sequence[int], bits: int, row: bytes) -> bytes:
    """A BMP of one pixel whose header has room for a mask of alpha."""
    fields = (108, 1, 1, 1, bits, 3, len(row), 0, 0, 0, 0, *masks)
    head = struct.pack("<2sIHHI", b"BM", 122 + len(row), 0, 0, 122)
    return head + struct.pack("<IiiHHIIiiII4I", *fields).ljust(108, b"\0") + row


def test_alpha_of_8_bits_and_of_1_bit_is_kept() -> None:
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    found = decoded(version_4(masks, 32, bytes([3, 2, 1, 77])))
    assert (found.info.mode, found.info.stored.channels) == ("RGBA", 4)
    assert found.array.tolist() == [[[1, 2, 3, 77]]]
    for word, alpha in ((b"\x1f\x80", 255), (b"\x1f\x00", 0)):
        found = decoded(version_4((*FIVE, 0x8000), 16, word + b"\0\0"))
        assert not check_depth(found.info, allow_loss=False)
        assert found.array.tolist() == [[[0, 0, 255, alpha]]]


@pytest.mark.parametrize(
    ("palette", "bits", "row", "mode", "pixels"),
    [
        (COLOURS, 8, b"\0\1", "RGB", COLOURS),
        (COLOURS, 4, b"\1", "RGB", COLOURS),
        (COLOURS, 1, b"\x40", "RGB", COLOURS),
        ([(10, 10, 10), (40, 40, 40)], 8, b"\0\1", "L", [10, 40]),
        ([(255,) * 3, (0,) * 3], 1, b"\x40", "L", [255, 0]),
        (GREYS, 8, b"\7\xc8", "L", [7, 200]),
        ([(0,) * 3, (255,) * 3], 1, b"\x40", "1", [False, True]),
        ([(0,) * 3, (255,) * 3, *COLOURS], 1, b"\x40", "1", [False, True]),
        ([*GREYS, *COLOURS], 8, b"\7\xc8", "L", [7, 200]),
    ],
)
def test_a_palette_is_applied_or_is_the_samples_themselves(
    palette: Any, bits: int, row: bytes, mode: str, pixels: Any
) -> None:
    octets = paletted(palette, bits, row)
    found = decoded(octets)
    assert found.info.stored == (Stored("unsigned", 1, 1, 1) if mode == "1" else INDICES)
    assert not check_depth(first_info(octets), allow_loss=False)
    assert found.info.mode == mode
    assert np.array_equal(found.array, np.array([pixels]))


def test_packed_rows_are_read() -> None:
    for palette, mode in ((COLOURS, "RGB"), (GREYS, "L")):
        found = decoded(paletted(palette, 8, b"\3\1\1\0\0\1", 4, packed=1))
        wanted = np.array(palette, np.uint8)[[1, 1, 1, 0]]
        assert found.info.mode == mode
        np.testing.assert_array_equal(found.array[0], wanted if mode == "RGB" else wanted[:, 0])


@pytest.mark.parametrize(
    ("palette", "bits", "row", "mode", "pixels"),
    [
        (GREYS[:16], 4, b"\x1f", "L", [1, 15]),
        (GREYS[:4], 2, b"\xb0", "L", [2, 3]),
        ([(0,) * 3, (255,) * 3], 8, b"\0\1", "L", [0, 255]),
        (COLOURS, 8, b"\1\7", "RGB", [COLOURS[1], (0, 0, 0)]),
    ],
)
def test_greys_of_few_bits_and_entries_that_are_missing_are_read(
    palette: Any, bits: int, row: bytes, mode: str, pixels: Any
) -> None:
    found = decoded(paletted(palette, bits, row))
    assert (found.info.mode, found.array.tolist()) == (mode, np.array([pixels]).tolist())


@pytest.mark.parametrize("stated", [0, 54])
def test_pixels_follow_the_palette_if_their_offset_leaves_it_out(stated: int) -> None:
    octets = bytearray(paletted(COLOURS, 8, b"\1\0"))
    octets[10:14] = struct.pack("<I", stated)
    with Image.open(BytesIO(octets)) as image:
        np.testing.assert_array_equal(
            decoded(bytes(octets)).array, np.asarray(image.convert("RGB"))
        )


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_file_may_end_before_the_filler_of_its_last_row(width: int) -> None:
    octets = bmp([bytes(range(3 * width)), bytes(range(60, 60 + 3 * width))], width, 24)
    whole, short = (decoded(each).array for each in (octets, octets[:-width]))
    np.testing.assert_array_equal(short, whole)
    with pytest.raises(PoolError, match="it ends after 1 of 2 rows"):
        decoded(octets[: -width - 1])


def test_the_header_of_os_2_is_read() -> None:
    head = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 32)
    core = struct.pack("<IHHHH", 12, 2, 1, 1, 1)
    found = decoded(head + core + bytes([30, 20, 10, 60, 50, 40]) + b"\x40\0\0\0")
    assert found.array.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert found.info.stored == INDICES
    black = decoded(head + core + b"\0\0\0\xff\xff\xff" + b"\x40\0\0\0")
    assert (black.info.mode, black.array.tolist()) == ("1", [[False, True]])


@pytest.mark.parametrize("dpi", [None, (300, 150)])
def test_the_resolution_is_read_and_written(dpi: tuple[int, int] | None) -> None:
    image = Image.new("RGB", (3, 2))
    found = decoded(saved(image, "BMP", **({"dpi": dpi} if dpi else {"dpi": (0, 0)})))
    assert (found.metadata.resolution is None) == (dpi is None)
    if dpi and found.metadata.resolution:
        assert found.metadata.resolution[:2] == pytest.approx(dpi[::-1], abs=0.02)
    wanted = Metadata(resolution=dpi and Resolution(150, 300))
    image = Image.open(BytesIO(encoded(noisy("RGB")._replace(metadata=wanted), "bmp")))
    assert image.info["dpi"] == pytest.approx(dpi or (96, 96), abs=0.02)


@pytest.mark.parametrize("cut", [5, 16, 30, 50])
def test_a_header_that_is_cut_off_is_refused_in_words(cut: int) -> None:
    with pytest.raises(PoolError, match="it ends within its header") as refusal:
        reader_of(bmp([bytes(6)], 2, 24)[:cut])
    assert refusal.value.remedy == "is the file complete?"


def test_masks_of_any_width_are_values_of_8_bits_to_nearest() -> None:
    channels = np.random.default_rng(1).integers(0, 1024, (3, 64))
    words = (channels[0] << 20) | (channels[1] << 10) | channels[2]
    octets = bmp([words.astype("<u4").tobytes()], 64, 32, (0x3FF00000, 0xFFC00, 0x3FF))
    found = decoded(octets)
    np.testing.assert_array_equal(found.array[0], np.rint(channels.T * 255 / 1023))
    assert found.metadata.warnings == ["its channels of 10 bits were rounded to 8"]
    with pytest.raises(PoolError, match="not adjacent"):
        reader_of(bmp([bytes(4)], 1, 32, (0xFF00FF, 0, 0)))


def packed(octets: bytes, bits: int = 8) -> bytes:
    """A compressed BMP of 8 by 4 pixels; entry n of its palette is the grey n."""
    whole = paletted(GREYS[: 1 << bits], bits, octets, 8, {8: 1, 4: 2}[bits])
    return whole[:22] + struct.pack("<i", 4) + whole[26:]


RLE8 = b"\4\12\0\4\1\2\3\4\0\0\2\24\0\2\3\2\3\36\0\1"


def test_packed_rows_that_end_early_are_read_with_a_warning() -> None:
    wanted = [[0] * 3 + [30] * 3 + [0] * 2, [0] * 8, [20] * 2 + [0] * 6, [10] * 4 + [1, 2, 3, 4]]
    wanted[0] = [0] * 5 + [30] * 3
    found = decoded(packed(RLE8))
    assert found.array.tolist() == wanted
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(packed(RLE8)))), wanted)
    assert found.metadata.warnings == []  # its last pixel is there
    for cut in range(2, len(RLE8) - 6, 2):
        assert "ends before its last pixel" in str(decoded(packed(RLE8[:cut])).metadata.warnings)


def test_packed_rows_of_4_bits_are_read_as_by_others() -> None:
    octets = b"\5\x12\0\3\x34\x50\0\0\x08\x77\0\0\0\5\x12\x34\x50\0\3\x6f\0\0\x08\x21\0\1"
    found = decoded(packed(octets, 4))
    np.testing.assert_array_equal(found.array, np.asarray(Image.open(BytesIO(packed(octets, 4)))))
    assert found.metadata.warnings == []


@pytest.mark.parametrize("length", [16, 20, 40, 64])
def test_headers_of_os_2_version_2_may_end_after_any_field(length: int) -> None:
    fields = struct.pack("<IiiHH", length, 2, 1, 1, 24).ljust(length, b"\0")
    offset = 14 + length
    octets = struct.pack("<2sIHHI", b"BM", offset + 8, 0, 0, offset) + fields + b"\3\2\1\6\5\4\0\0"
    assert decoded(octets).array.tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (paletted(GREYS, 7, bytes(4)), "no such pixels of 7 bits"),
        (paletted([], 24, bytes(8), packed=4), "its compression, JPEG, can't be read"),
        (bmp([bytes(6)] * 3, 2, 24)[:-3], "it ends after 2 of 3 rows"),
        (b"BM" + bytes(12) + struct.pack("<I", 1000) + bytes(50), "its header has 1000 bytes"),
    ],
)
def test_what_no_bmp_may_be_is_refused_in_words(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError, match=words):
        reader_of(octets)


@pytest.mark.parametrize("band", [1, 2, None])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_others_read_what_is_written(mode: str, band: int | None) -> None:
    wanted = noisy(mode, (5, 7))
    octets, notes = written([wanted], "bmp", band=band)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(octets))), wanted.array)
    assert notes == []
    if IMAGEMAGICK:
        command = [IMAGEMAGICK, "bmp:-", "-depth", "8", f"{'rgba' if mode == 'RGBA' else 'rgb'}:-"]
        done = subprocess.run(command, input=octets, capture_output=True, check=True)
        seen = np.frombuffer(done.stdout, np.uint8).reshape(5, 7, -1)
        array = wanted.array * np.uint8(255) if mode == "1" else wanted.array
        array = array if array.ndim == 3 else array[..., None].repeat(3, 2)
        np.testing.assert_array_equal(seen, array)


@needs("exiftool")
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_the_profile_is_kept_and_others_find_it(mode: str, tmp_path: Path) -> None:
    profile = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    whole = noisy(mode)._replace(metadata=Metadata(icc_profile=profile))
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(whole, "bmp"))
    assert decoded(path.read_bytes()).metadata.icc_profile == profile
    words = [EXIFTOOL, "-ColorSpace", "-ProfileSize", "-s3", str(path)]
    seen = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\n")
    assert "Embedded" in seen[0]
    assert seen[1] == str(len(profile))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), whole.array)
