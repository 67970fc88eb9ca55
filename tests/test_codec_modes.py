"""Pixels out of Pillow's images, band by band: what `numpy.asarray` gives, sooner."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.codec import modes
from tests.pictures import LAB_SIGNS

SHAPE = (7, 13)
BANDS = (1, 40, 200, 1 << 19)
"""Bytes of a band: one row, a few, and all of them."""

PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I", "F")
COLOURS = np.arange(768, dtype=np.uint8).reshape(256, 3) * np.array([1, 5, 11], np.uint8)
ALPHAS = bytes(range(255, -1, -1))

of_every_band = pytest.mark.usefixtures("_bands")


@pytest.fixture(params=BANDS)
def _bands(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "BAND_BYTES", request.param)


def bytes_of(count: int) -> bytes:
    return np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()


def image_of(mode: str) -> Image.Image:
    """Noise in a mode of Pillow's, by its own raw decoder."""
    height, width = SHAPE
    octets = np.asarray(Image.new(mode, (width, height))).nbytes
    values = bytes_of(octets)
    if mode == "F":
        values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32).tobytes()
    return Image.frombytes(mode, (width, height), values)


def paletted(colours: NDArray[np.uint8]) -> Image.Image:
    image = Image.frombytes("P", SHAPE[::-1], bytes_of(SHAPE[0] * SHAPE[1]))
    image.putpalette(colours.tobytes())
    return image


def assert_same(found: NDArray[Any], wanted: NDArray[Any], dtype: str) -> None:
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted)


@of_every_band
@pytest.mark.parametrize("mode", PLAIN)
def test_the_pixels_are_those_that_numpy_sees(mode: str) -> None:
    wanted = "I;16" if mode.startswith("I;16") else mode
    image = image_of(mode)

    found = modes.to_array(modes.Bands(image, wanted))

    assert_same(found, np.asarray(image), str(modes.DTYPES[wanted]))


@of_every_band
def test_signs_of_lab_become_an_order() -> None:
    image = image_of("LAB")

    found = modes.to_array(modes.Bands(image, "LAB"))

    assert_same(found, np.asarray(image) ^ LAB_SIGNS, "uint8")


@of_every_band
def test_bits_become_truth_of_0_and_1() -> None:
    image = image_of("L").point(lambda value: value // 128 * 255).convert("1")

    found = modes.to_array(modes.Bands(image, "1"))

    assert_same(found, np.asarray(image.convert("L")) == 255, "bool")
    assert set(found.view(np.uint8).ravel()) == {0, 1}


@of_every_band
def test_grey_of_16_bits_that_comes_in_32_is_kept() -> None:
    values = np.arange(91, dtype=np.int32).reshape(SHAPE) * 720

    assert_same(modes.to_array(modes.Bands(Image.fromarray(values), "I;16")), values, "uint16")


@of_every_band
@pytest.mark.parametrize("keyed", [False, True], ids=["opaque", "keyed"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_palettes_are_applied_in_every_band(grey: bool, keyed: bool) -> None:
    colours = COLOURS[:, :1].repeat(3, axis=1) if grey else COLOURS
    image = paletted(colours)
    indices = np.asarray(image)
    wanted = colours[indices]
    mode = "RGB"
    if keyed:
        image.info["transparency"] = ALPHAS
        alpha = np.frombuffer(ALPHAS, np.uint8)[indices]
        wanted, mode = np.dstack((wanted, alpha)), "RGBA"
    if grey:
        wanted, mode = (wanted[..., ::3], "LA") if keyed else (wanted[..., 0], "L")

    assert modes.picture_mode(image) == mode
    assert_same(modes.to_array(modes.Bands(image, mode)), wanted, "uint8")


@of_every_band
def test_a_palette_with_alpha_of_its_own_is_applied() -> None:
    image = paletted(COLOURS).convert("PA")
    indices = np.asarray(image)
    wanted = np.dstack((COLOURS[indices[..., 0]], indices[..., 1]))

    assert_same(modes.to_array(modes.Bands(image, "RGBA")), wanted, "uint8")


@of_every_band
@pytest.mark.parametrize(
    ("mode", "key", "wanted"),
    [("L", 9, "LA"), ("1", 255, "LA"), ("RGB", (1, 2, 3), "RGBA")],
    ids=["grey", "bilevel", "colour"],
)
def test_a_transparent_key_becomes_alpha_in_every_band(
    mode: str, key: int | tuple[int, ...], wanted: str
) -> None:
    image = image_of(mode)
    image.putpixel((4, 5), key)
    image.info["transparency"] = key
    plain = np.asarray(image.convert("L" if wanted == "LA" else "RGB"))
    clear = (plain.reshape(*SHAPE, -1) == key).all(axis=-1)
    alpha = np.where(clear, 0, 255).astype(np.uint8)

    assert clear.any()
    assert not clear.all()
    assert_same(modes.to_array(modes.Bands(image, wanted)), np.dstack((plain, alpha)), "uint8")


def test_only_a_band_is_held_beside_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    band = 1 << 16
    monkeypatch.setattr(modes, "BAND_BYTES", band)
    image = Image.new("RGB", (1000, 2000))
    tracemalloc.start()
    try:
        array = modes.to_array(modes.Bands(image, "RGB"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < array.nbytes + 3 * band
