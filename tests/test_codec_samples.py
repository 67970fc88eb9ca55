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



# Refused


REFUSED = {
    "12-bit TIFF": (tiff(bytes(3), [12]), "12-bit"),
    "complex TIFF": (tiff(bytes(16), [64], kind=6), "complex64"),
    "float TIFF with white as 0": (
        tiff(numbers("<f", 0, 1), [32], kind=3, photometric=0),
        "white at 0",
    ),
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


# Other ways to store 8 bits

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
"""The first x and y, and the steps along x and y, of six of the seven passes."""

