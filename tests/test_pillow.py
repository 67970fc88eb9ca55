"""Pixels out of Pillow's images, piece by piece: what `numpy.asarray` gives, sooner."""

from __future__ import annotations

import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from poolcli.errors import PoolError
from poolcli.formats import pillow
from poolcli.picture import MODES
from tests.pictures import LAB_SIGNS, info_of, noisy, saved

SHAPE = (7, 13)
PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I", "F")
COLOURS = np.arange(768, dtype=np.uint8).reshape(256, 3) * np.array([1, 5, 11], np.uint8)
ALPHAS = bytes(range(255, -1, -1))

in_pieces = pytest.mark.parametrize("rows", [1, 3, 7])


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


def paletted(colours: NDArray[np.uint8], keyed: bool = False) -> Image.Image:
    image = Image.frombytes("P", SHAPE[::-1], bytes_of(SHAPE[0] * SHAPE[1]))
    image.putpalette(colours.tobytes())
    if keyed:
        image.info["transparency"] = ALPHAS
    return image


def assert_same(image: Image.Image, mode: str, rows: int, wanted: NDArray[Any]) -> None:
    """In pieces of so many rows, and as a whole."""
    tops = range(0, SHAPE[0], rows)
    pieces = [pillow.rows_of(image, mode, top, min(top + rows, SHAPE[0])) for top in tops]
    for found in (np.concatenate(pieces), pillow.array_of(image, mode)):
        assert found.dtype == MODES[mode].dtype
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted)
    assert pillow.shape_of(image, mode) == wanted.shape


@in_pieces
@pytest.mark.parametrize("mode", PLAIN)
def test_the_pixels_are_those_that_numpy_sees(mode: str, rows: int) -> None:
    image = image_of(mode)
    ours = "I;16" if mode.startswith("I;16") else mode
    assert pillow.mode_of(image) == ours
    assert_same(image, ours, rows, np.asarray(image))


@in_pieces
def test_signs_of_lab_become_an_order_and_signs_again(rows: int) -> None:
    image = image_of("LAB")
    assert_same(image, "LAB", rows, np.asarray(image) ^ LAB_SIGNS)


@in_pieces
def test_bits_become_truth_of_0_and_1(rows: int) -> None:
    image = image_of("L").point(lambda value: value // 128 * 255).convert("1")
    assert_same(image, "1", rows, np.asarray(image.convert("L")) == 255)
    assert set(pillow.rows_of(image, "1", 0, 7).view(np.uint8).ravel()) == {0, 1}


@in_pieces
def test_grey_of_16_bits_that_comes_in_32_is_kept(rows: int) -> None:
    values = np.arange(91, dtype=np.int32).reshape(SHAPE) * 720
    assert_same(Image.fromarray(values), "I;16", rows, values)


@in_pieces
@pytest.mark.parametrize("keyed", [False, True], ids=["opaque", "keyed"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_palettes_are_applied_in_every_piece(grey: bool, keyed: bool, rows: int) -> None:
    colours = COLOURS[:, :1].repeat(3, axis=1) if grey else COLOURS
    image = paletted(colours, keyed)
    indices = np.asarray(image)
    wanted, mode = colours[indices], "RGB"
    if keyed:
        alpha = np.frombuffer(ALPHAS, np.uint8)[indices]
        wanted, mode = np.dstack((wanted, alpha)), "RGBA"
    if grey:
        wanted, mode = (wanted[..., ::3], "LA") if keyed else (wanted[..., 0], "L")

    assert pillow.mode_of(image) == mode
    assert_same(image, mode, rows, wanted)
    palette = pillow.palette_of(image, mode)
    assert palette is not None
    assert palette.shape == (256, *wanted.shape[2:])
    np.testing.assert_array_equal(palette[indices], wanted)
    np.testing.assert_array_equal(np.asarray(image), indices)  # it is as it was


@in_pieces
def test_a_palette_with_alpha_of_its_own_is_applied(rows: int) -> None:
    image = paletted(COLOURS).convert("PA")
    indices = np.asarray(image)
    wanted = np.dstack((COLOURS[indices[..., 0]], indices[..., 1]))
    assert pillow.palette_of(image, "RGBA") is None
    assert_same(image, "RGBA", rows, wanted)


@in_pieces
@pytest.mark.parametrize(
    ("mode", "key", "wanted"),
    [("L", 9, "LA"), ("1", 255, "LA"), ("RGB", (1, 2, 3), "RGBA")],
    ids=["grey", "bilevel", "colour"],
)
def test_a_transparent_key_becomes_alpha_in_every_piece(
    mode: str, key: int | tuple[int, ...], wanted: str, rows: int
) -> None:
    image = image_of(mode)
    image.putpixel((4, 5), key)
    image.info["transparency"] = key
    plain = np.asarray(image.convert("L" if wanted == "LA" else "RGB"))
    clear = (plain.reshape(*SHAPE, -1) == key).all(axis=-1)
    alpha = np.where(clear, 0, 255).astype(np.uint8)

    assert clear.any()
    assert not clear.all()
    assert pillow.mode_of(image) == wanted
    assert_same(image, wanted, rows, np.dstack((plain, alpha)))


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "La", "RGBa"])
def test_modes_that_cannot_be_pooled_are_refused(mode: str) -> None:
    with pytest.raises(PoolError, match=f"mode {mode} can't be pooled") as refusal:
        pillow.mode_of(Image.new(mode, (2, 2)))
    assert refusal.value.remedy


@pytest.mark.parametrize("mode", pillow.PILLOW_MODES)
def test_a_picture_becomes_an_image_and_a_picture_again(mode: str) -> None:
    picture = noisy(mode, SHAPE)
    image = pillow.to_image(picture, mode)
    assert (image.mode, image.size) == (mode, SHAPE[::-1])
    np.testing.assert_array_equal(pillow.array_of(image, mode), picture.array)


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1:]], ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "RGBA", "CMYK", "I;16"])
def test_views_of_any_layout_become_images_as_they_look(mode: str, view: Any) -> None:
    picture = noisy(mode, SHAPE)
    array = picture.array[view]
    image = pillow.to_image(picture._replace(array=array), mode)
    np.testing.assert_array_equal(pillow.array_of(image, mode), array)


def test_a_frame_decodes_with_its_first_rows_and_not_before() -> None:
    octets = saved(image_of("RGB"), "PNG")
    image = pillow.open_image(PngImageFile, BytesIO(octets[:60]))  # no pixels at all
    frame = pillow.PillowFrame(image, info_of(np.asarray(image_of("RGB")), "RGB"))
    assert frame.info.shape == (*SHAPE, 3)
    with pytest.raises(Exception, match=r"truncated|broken|incomplete|EOF|not enough"):
        frame.rows(0, 1)
    whole = pillow.PillowFrame(pillow.open_image(PngImageFile, BytesIO(octets)), frame.info)
    np.testing.assert_array_equal(whole.rows(2, 5), np.asarray(image_of("RGB"))[2:5])


def test_only_a_piece_is_held_beside_the_pixels() -> None:
    image = Image.new("RGB", (1000, 2000))
    tracemalloc.start()
    try:
        array = pillow.array_of(image, "RGB")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < array.nbytes + 3 * pillow.COPIED_BYTES


# Colours


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#f80", (255, 136, 0)),
        ("#ff8800", (255, 136, 0)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_a_colour_has_a_name_or_a_number(text: str, colour: tuple[int, int, int]) -> None:
    assert pillow.parse_color(text) == colour


@pytest.mark.parametrize("text", ["", "whitish", "#ff88", "#ff880080", "rgba(1,2,3,4)", "255"])
def test_anything_else_is_no_opaque_colour(text: str) -> None:
    with pytest.raises(PoolError, match="--background is") as refusal:
        pillow.parse_color(text)
    assert refusal.value.remedy
