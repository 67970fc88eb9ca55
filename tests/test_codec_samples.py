"""Depths and kinds of samples: what Pillow's mode would hide is refused, the rest is exact."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from poolcli import codec, colour
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import Saving, by_name
from tests.pictures import (
    GREY,
    bmp,
    decoded,
    identified,
    numbers,
    png,
    saved,
    tiff,
)

AVIF_10_BIT = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAA"
    "AAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAHAAAAChpaW5mAAAAAAABAAAA"
    "GmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAABAAAAAQAAAAQcGl4aQAA"
    "AAADCgoKAAAADGF2MUOBIEAAAAAAE2NvbHJuY2x4AAIAAgAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAJG1kYXQS"
    "AAoIOAR9vAgIGkAyDhlCYwTAADQAABCQP59A"
)
AVIF_12_BIT = base64.b64decode(
    "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOttZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ8AAAAbAAAAKGlpbmYAAAAAAAEAAAAaaW5m"
    "ZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGppcHJwAAAAS2lwY28AAAAUaXNwZQAAAAAAAAAEAAAABAAAABBwaXhpAAAAAAMM"
    "DAwAAAAMYXYxQ4FAYAAAAAATY29scm5jbHgAAgACAAaAAAAAF2lwbWEAAAAAAAAAAQABBAECgwQAAAAjbWRhdBIACghY"
    "BH2tAgIGiDINGUJjBMAANAAEkD+fQA=="
)
"""4×4 pixels of AVIF, made by imagecodecs 2026.10.10: Pillow writes 8 bits only."""


# Refused


REFUSED = {
    "12-bit TIFF": (tiff(bytes(3), [12]), "12-bit"),
    "10-bit AVIF": (AVIF_10_BIT, "10-bit AVIF"),
    "12-bit AVIF": (AVIF_12_BIT, "12-bit AVIF"),
    "complex TIFF": (tiff(bytes(16), [64], kind=6), "complex64"),
    "float TIFF with white as 0": (
        tiff(numbers("<f", 0, 1), [32], kind=3, photometric=0),
        "white at 0",
    ),
    "PFM in colour": (b"PF 1 1 -1\n" + numbers("<f", 1, 2, 3), "no picture of a known format"),
}


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The formats of the images whose pixels were decoded."""
    seen: list[str | None] = []
    load = ImageFile.ImageFile.load

    def noted(self: ImageFile.ImageFile) -> Any:
        seen.append(self.format)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noted)
    return seen


@pytest.mark.parametrize(("octets", "samples"), REFUSED.values(), ids=REFUSED)
def test_samples_that_nothing_can_hold_are_refused_by_name_before_they_are_decoded(
    octets: bytes, samples: str, decodings: list[str | None]
) -> None:
    with pytest.raises(PoolError) as refusal:
        identified(octets)
    assert samples in refusal.value.message
    assert refusal.value.remedy
    assert decodings == []


@pytest.mark.parametrize("octets", [AVIF_10_BIT, AVIF_12_BIT], ids=["10", "12"])
def test_the_depth_of_an_avif_may_be_given_up(octets: bytes) -> None:
    with pytest.raises(PoolError) as refusal:
        identified(octets)
    assert "--allow-depth-loss" in refusal.value.remedy
    picture = codec.decode(identified(octets, allow_depth_loss=True))
    assert (picture.mode, picture.array.shape) == ("RGB", (4, 4, 3))
    assert picture.array.dtype == np.uint8


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_eight_bit_avif_is_read(mode: str) -> None:
    octets = saved(Image.new(mode, (4, 4)), "AVIF")
    assert octets.count(b"av1C") == (2 if mode == "RGBA" else 1)
    assert decoded(octets).array.shape[:2] == (4, 4)


def test_the_mark_of_depth_in_the_metadata_of_an_avif_means_nothing() -> None:
    exif = Image.Exif()
    exif[271] = "av1C\x81\x7f\x7f"
    assert identified(saved(Image.new("RGB", (4, 4)), "AVIF", exif=exif)).mode == "RGB"


# Exact

FOUR = (1, 256, 65534, 65535)
WIDE = (1, 257, 65535, 2, 256, 65534)
EXACT: dict[str, tuple[bytes, str, NDArray[Any]]] = {
    "16-bit RGB TIFF": (
        tiff(numbers("<H", *WIDE), [16] * 3, photometric=2),
        "RGB;16",
        np.array(WIDE, np.uint16).reshape(1, 2, 3),
    ),
    "16-bit RGBA TIFF": (
        tiff(numbers(">H", *FOUR), [16] * 4, width=1, photometric=2, extra=2, order=">"),
        "RGBA;16",
        np.array([[FOUR]], np.uint16),
    ),
    "16-bit RGBA TIFF, premultiplied": (
        tiff(numbers("<H", *FOUR), [16] * 4, width=1, photometric=2, extra=1),
        "array",
        np.array([[FOUR]], np.uint16),
    ),
    "RGBA TIFF, premultiplied": (
        tiff(bytes(range(8)), [8] * 4, photometric=2, extra=1),
        "array",
        np.arange(8, dtype=np.uint8).reshape(1, 2, 4),
    ),
    "16-bit LA TIFF": (
        tiff(numbers("<H", *FOUR), [16] * 2, extra=2),
        "LA;16",
        np.array(FOUR, np.uint16).reshape(1, 2, 2),
    ),
    "uint32 TIFF": (
        tiff(numbers("<I", 1, 2**32 - 1), [32], kind=1),
        "array",
        np.array([[1, 2**32 - 1]], np.uint32),
    ),
    "uint32 TIFF without a kind": (
        tiff(numbers("<I", 1, 2**32 - 1), [32]),
        "array",
        np.array([[1, 2**32 - 1]], np.uint32),
    ),
    "int8 TIFF": (
        tiff(numbers("<b", 1, -3), [8], kind=2),
        "array",
        np.array([[1, -3]], np.int8),
    ),
    "int16 TIFF": (
        tiff(numbers(">h", 1, -3), [16], kind=2, order=">"),
        "array",
        np.array([[1, -3]], np.int16),
    ),
    "float16 TIFF": (
        tiff(numbers("<e", 1, -2.5), [16], kind=3),
        "array",
        np.array([[1, -2.5]], np.float16),
    ),
    "float64 TIFF": (
        tiff(numbers("<d", 1e300, -2.5), [64], kind=3),
        "array",
        np.array([[1e300, -2.5]]),
    ),
    "RGB TIFF with an extra sample": (
        tiff(bytes(range(8)), [8] * 4, photometric=2, extra=0),
        "array",
        np.arange(8, dtype=np.uint8).reshape(1, 2, 4),
    ),
    "grey TIFF with an extra sample": (
        tiff(bytes(range(4)), [8] * 2, extra=0),
        "array",
        np.arange(4, dtype=np.uint8).reshape(1, 2, 2),
    ),
    "16-bit TIFF with white as 0": (
        tiff(numbers("<H", 0, 65534), [16], photometric=0),
        "I;16",
        np.array([[65535, 1]], np.uint16),
    ),
    "CMYK TIFF": (
        tiff(bytes(range(8)), [8] * 4, photometric=5),
        "CMYK",
        np.arange(8, dtype=np.uint8).reshape(1, 2, 4),
    ),
    "YCbCr TIFF": (
        tiff(bytes([1, 2, 3, 250, 251, 252]), [8] * 3, photometric=6, subsampling=(1, 1)),
        "YCbCr",
        np.array([[[1, 2, 3], [250, 251, 252]]], np.uint8),
    ),
    "LAB TIFF, from the least a* and b* up": (
        tiff(bytes([1, 128, 0, 250, 127, 255]), [8] * 3, photometric=8),
        "LAB",
        np.array([[[1, 0, 128], [250, 255, 127]]], np.uint8),
    ),
    "P5 of maxval 65535": (
        b"P5 4 1 65535\n" + numbers(">H", 1, 256, 65534, 65535),
        "I;16",
        np.array([[1, 256, 65534, 65535]], np.uint16),
    ),
    "P2 of maxval 65535": (
        b"P2 4 1 65535\n1 256 65534 65535\n",
        "I;16",
        np.array([[1, 256, 65534, 65535]], np.uint16),
    ),
    "P2 of maxval 255": (b"P2 3 1 255\n0 7 255\n", "L", np.array([[0, 7, 255]], np.uint8)),
    "P3 of maxval 255": (b"P3 1 1 255\n1 2 3\n", "RGB", np.array([[[1, 2, 3]]], np.uint8)),
    "P1": (b"P1 3 1\n0 1 0\n", "1", np.array([[True, False, True]])),
    "P4": (b"P4 3 1\n\x40", "1", np.array([[True, False, True]])),
    "PFM, little-endian": (
        b"Pf 1 2 -1\n" + numbers("<f", 1.5, -2.5),
        "F",
        np.array([[-2.5], [1.5]], np.float32),
    ),
    "PFM, big-endian": (b"Pf 1 1 1\n" + numbers(">f", 1.5), "F", np.array([[1.5]], np.float32)),
    "uint16 TIFF": (
        tiff(numbers("<H", 1, 65534), [16]),
        "I;16",
        np.array([[1, 65534]], np.uint16),
    ),
    "uint16 TIFF, big-endian": (
        tiff(numbers(">H", 1, 65534), [16], order=">"),
        "I;16",
        np.array([[1, 65534]], np.uint16),
    ),
    "int32 TIFF": (
        tiff(numbers("<i", -(2**31), 2**31 - 1), [32], kind=2),
        "I",
        np.array([[-(2**31), 2**31 - 1]], np.int32),
    ),
    "int32 TIFF, big-endian": (
        tiff(numbers(">i", 1, -3), [32], kind=2, order=">"),
        "I",
        np.array([[1, -3]], np.int32),
    ),
    "float32 TIFF": (
        tiff(numbers("<f", 0.5, float("inf")), [32], kind=3),
        "F",
        np.array([[0.5, np.inf]], np.float32),
    ),
    "RGB TIFF": (
        tiff(bytes(range(6)), [8] * 3, photometric=2),
        "RGB",
        np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    ),
    "RGBA TIFF": (
        tiff(bytes(range(8)), [8] * 4, photometric=2, extra=2),
        "RGBA",
        np.arange(8, dtype=np.uint8).reshape(1, 2, 4),
    ),
    "LA TIFF": (
        tiff(bytes(range(4)), [8] * 2, extra=2),
        "LA",
        np.arange(4, dtype=np.uint8).reshape(1, 2, 2),
    ),
    "2-bit TIFF": (tiff(b"\x1b", [2], width=4), "L", np.array([[0, 85, 170, 255]], np.uint8)),
    "4-bit TIFF": (tiff(b"\x1b", [4]), "L", np.array([[17, 187]], np.uint8)),
    "8-bit TIFF with white as 0": (
        tiff(b"\0\1", [8], photometric=0),
        "L",
        np.array([[255, 254]], np.uint8),
    ),
    "2-bit TIFF with white as 0": (
        tiff(b"\x1b", [2], width=4, photometric=0),
        "L",
        np.array([[255, 170, 85, 0]], np.uint8),
    ),
    "bilevel TIFF with white as 0": (
        tiff(b"\x60", [1], width=4, photometric=0),
        "1",
        np.array([[True, False, False, True]]),
    ),
}


@pytest.mark.parametrize(("octets", "mode", "pixels"), EXACT.values(), ids=EXACT)
def test_samples_that_the_mode_can_hold_come_out_exact(
    octets: bytes, mode: str, pixels: NDArray[Any]
) -> None:
    header = identified(octets)
    picture = codec.decode(header)
    assert (header.mode, header.shape) == (mode, pixels.shape)
    assert (picture.mode, picture.array.dtype) == (mode, pixels.dtype)
    np.testing.assert_array_equal(picture.array, pixels)


DEEP_GREY = {
    "png": png(4, [numbers(">H", 1, 300, 65534, 65535)], 16, GREY),
    "pgm": b"P5 4 1 65535\n" + numbers(">H", 1, 300, 65534, 65535),
    "tiff": tiff(numbers("<H", 1, 300, 65534, 65535), [16], width=4),
}


@pytest.mark.parametrize(
    ("method", "pooled"),
    [("max", [[300, 65535]]), ("min", [[1, 65534]]), ("avg", [[150, 65534]])],
)
@pytest.mark.parametrize("target", DEEP_GREY)
@pytest.mark.parametrize("source", DEEP_GREY)
def test_16_bit_grey_stays_exact_from_file_to_file(
    source: str, target: str, method: colour.Method, pooled: list[list[int]]
) -> None:
    choices = colour.Choices(method, Window.of((1, 2)))
    picture = colour.pool(decoded(DEEP_GREY[source]), choices)
    octets, _ = codec.encode(picture, by_name(target), Saving())
    with Image.open(BytesIO(octets)) as image:
        assert np.asarray(image).tolist() == pooled


def test_a_written_pgm_of_16_bits_says_so() -> None:
    octets, _ = codec.encode(decoded(DEEP_GREY["pgm"]), by_name("pgm"), Saving())
    assert bytes(octets).split()[:4] == [b"P5", b"4", b"1", b"65535"]


# Other ways to store 8 bits

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
"""The first x and y, and the steps along x and y, of six of the seven passes."""


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_jpeg_is_the_same_picture(mode: str) -> None:
    ramp = np.add.outer(np.arange(40), 3 * np.arange(50)).astype(np.uint8)
    image = Image.fromarray(ramp).convert(mode)
    plain, progressive = BytesIO(), BytesIO()
    image.save(plain, "JPEG", quality=90)
    image.save(progressive, "JPEG", quality=90, progressive=True)
    assert b"\xff\xc2" in progressive.getvalue()
    np.testing.assert_array_equal(
        decoded(progressive.getvalue()).array, decoded(plain.getvalue()).array
    )


def test_a_24_bit_bmp_is_exact() -> None:
    rows = [bytes([1, 2, 3, 4, 5, 6]), bytes([7, 8, 9, 250, 251, 252])]
    assert decoded(bmp(rows, 2, 24)).array.tolist() == [
        [[9, 8, 7], [252, 251, 250]],
        [[3, 2, 1], [6, 5, 4]],
    ]


def test_the_filler_of_a_32_bit_bmp_is_no_alpha() -> None:
    picture = decoded(bmp([bytes([1, 2, 3, 77, 4, 5, 6, 0])], 2, 32))
    assert (picture.mode, picture.array.tolist()) == ("RGB", [[[3, 2, 1], [6, 5, 4]]])


@pytest.mark.parametrize(
    ("bits", "masks"),
    [((5, 5, 5), ()), ((5, 6, 5), (0xF800, 0x07E0, 0x001F))],
    ids=["5-5-5", "5-6-5"],
)
def test_a_16_bit_bmp_is_widened_to_8_bits(
    bits: tuple[int, int, int], masks: tuple[int, ...]
) -> None:
    red, green, blue = np.random.default_rng(5).integers(0, np.array([32] * 3), (64, 3)).T
    words = (red << (bits[1] + bits[2])) | (green << bits[2]) | blue
    picture = decoded(bmp([words.astype("<u2").tobytes()], 64, 16, masks))
    full = np.array([2**count - 1 for count in bits])
    exact = np.stack((red, green, blue), axis=-1) * 255 / full
    assert picture.mode == "RGB"
    assert np.abs(picture.array[0] - exact).max() < 1
