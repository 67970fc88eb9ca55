"""BMP: every depth and palette that Pillow reads right, and those that it doesn't are refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import check_depth
from poolcli.picture import Metadata, Resolution, Stored
from tests.pictures import bmp, decoded, encoded, first_info, noisy, reader_of, saved

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
    assert np.abs(found.array[0] - exact).max() < 1


def version_4(masks: Sequence[int], bits: int, row: bytes) -> bytes:
    """A BMP of one pixel whose header has room for a mask of alpha."""
    fields = (108, 1, 1, 1, bits, 3, len(row), 0, 0, 0, 0, *masks)
    head = struct.pack("<2sIHHI", b"BM", 122 + len(row), 0, 0, 122)
    return head + struct.pack("<IiiHHIIiiII4I", *fields).ljust(108, b"\0") + row


def test_alpha_of_8_bits_is_kept_and_one_bit_that_would_be_lost_is_refused() -> None:
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    found = decoded(version_4(masks, 32, bytes([3, 2, 1, 77])))
    assert (found.info.mode, found.info.stored.channels) == ("RGBA", 4)
    assert found.array.tolist() == [[[1, 2, 3, 77]]]
    octets = version_4((*FIVE, 0x8000), 16, b"\xff\xff\0\0")
    with pytest.raises(PoolError, match="4 channels"):
        check_depth(first_info(octets), allow_loss=True)


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


def test_a_palette_that_is_read_wrongly_is_refused() -> None:
    with pytest.raises(PoolError, match="16 greys") as refusal:
        reader_of(paletted(GREYS[:16], 4, b"\x12"))
    assert refusal.value.remedy
    octets = paletted([(0,) * 3, (255,) * 3], 8, b"\0\1")
    with pytest.raises(PoolError, match="8-bit unsigned samples would be read as 1 of bool"):
        check_depth(first_info(octets), allow_loss=True)


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
    with pytest.raises(PoolError, match=r"as a picture: [\w ]+; is") as refusal:
        reader_of(bmp([bytes(6)], 2, 24)[:cut])
    assert refusal.value.remedy == "is the file complete?"
