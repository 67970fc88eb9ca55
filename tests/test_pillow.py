"""Pixels out of Pillow's images, piece by piece: what `numpy.asarray` gives, sooner."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImagePalette
from PIL.PngImagePlugin import PngImageFile

from poolcli.errors import PoolError
from poolcli.formats import pillow
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Stored
from tests.pictures import LAB_SIGNS, noisy, saved

SHAPE = (7, 13)
PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I", "F")
COLOURS = np.arange(768, dtype=np.uint8).reshape(256, 3) * np.array([1, 5, 11], np.uint8)


def bytes_of(count: int) -> bytes:
    return np.random.default_rng(count).integers(0, 256, count, np.uint8).tobytes()


def image_of(mode: str) -> Image.Image:
    """Return noise in a mode of Pillow's, by its own raw decoder."""
    size = SHAPE[::-1]
    if mode == "F":
        return Image.fromarray(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    return Image.frombytes(mode, size, bytes_of(np.asarray(Image.new(mode, size)).nbytes))


def paletted(colours: NDArray[np.uint8]) -> Image.Image:
    image = Image.frombytes("P", SHAPE[::-1], bytes_of(SHAPE[0] * SHAPE[1]))
    image.putpalette(colours.tobytes())
    return image


def info_of(image: Image.Image) -> FrameInfo:
    return pillow.info_of(image, Stored("unsigned", 8, 255, 3), Encoding("png"))


def assert_same(image: Image.Image, mode: str, wanted: NDArray[Any]) -> None:
    for rows in (1, 3, 7):
        tops = range(0, SHAPE[0], rows)
        pieces = [pillow.rows_of(image, mode, top, min(top + rows, SHAPE[0])) for top in tops]
        assert all(one.flags.c_contiguous and one.dtype == MODES[mode].dtype for one in pieces)
        np.testing.assert_array_equal(np.concatenate(pieces), wanted)


@pytest.mark.parametrize("mode", PLAIN)
def test_the_pixels_are_those_that_numpy_sees(mode: str) -> None:
    image = image_of(mode)
    ours = "I;16" if mode.startswith("I;16") else mode
    assert (info_of(image).mode, info_of(image).shape) == (ours, np.asarray(image).shape)
    assert_same(image, ours, np.asarray(image))


def test_samples_become_those_of_our_modes() -> None:
    lab = image_of("LAB")
    assert_same(lab, "LAB", np.asarray(lab) ^ LAB_SIGNS)
    bits = image_of("L").point(lambda value: value // 128 * 255).convert("1")
    assert_same(bits, "1", np.asarray(bits.convert("L")) == 255)
    assert set(pillow.rows_of(bits, "1", 0, 7).view(np.uint8).ravel()) == {0, 1}
    values = np.arange(91, dtype=np.int32).reshape(SHAPE) * 720
    assert_same(Image.fromarray(values), "I;16", values)
    with_alpha = paletted(COLOURS).convert("PA")
    indices = np.asarray(with_alpha)
    assert (info_of(with_alpha).mode, info_of(with_alpha).palette) == ("RGBA", None)
    assert_same(with_alpha, "RGBA", np.dstack((COLOURS[indices[..., 0]], indices[..., 1])))


@pytest.mark.parametrize("raw_mode", ["RGB", "BGRX", "RGB;L"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_a_palette_is_what_its_indices_mean(grey: bool, raw_mode: str) -> None:
    colours = COLOURS[:, :1].repeat(3, axis=1) if grey else COLOURS
    image, turned = paletted(colours), np.pad(colours[:, ::-1], ((0, 0), (0, 1)))
    entries = {"RGB": colours, "BGRX": turned, "RGB;L": colours.T}[raw_mode]
    image.palette = ImagePalette.raw(raw_mode, entries.tobytes())
    indices, info = np.asarray(image), info_of(image)
    assert info.palette is not None
    assert info.mode == ("L" if grey else "RGB")
    assert info.shape == (*SHAPE, *info.palette.shape[1:])
    np.testing.assert_array_equal(info.palette, colours[:, 0] if grey else colours)
    frame = pillow.PillowFrame(info, lambda: image, Metadata)
    np.testing.assert_array_equal(frame.rows(2, 5), indices[2:5])


@pytest.mark.parametrize(
    ("mode", "key", "wanted"), [("L", 9, "LA"), ("1", 255, "LA"), ("RGB", (1, 2, 3), "RGBA")]
)
def test_a_transparent_key_becomes_alpha_in_every_piece(
    mode: str, key: int | tuple[int, ...], wanted: str
) -> None:
    image = image_of(mode)
    image.putpixel((4, 5), key)
    image.info["transparency"] = key
    plain = np.asarray(image.convert("L" if wanted == "LA" else "RGB"))
    clear = (plain.reshape(*SHAPE, -1) == key).all(axis=-1)
    assert clear.any()
    assert not clear.all()
    assert_same(image, wanted, np.dstack((plain, np.where(clear, 0, 255).astype(np.uint8))))


@pytest.mark.parametrize("mode", ["HSV", "RGBX", "La", "RGBa"])
def test_modes_that_cannot_be_pooled_are_refused(mode: str) -> None:
    with pytest.raises(PoolError, match=f"mode {mode} can't be pooled") as refusal:
        info_of(Image.new(mode, (2, 2)))
    assert refusal.value.remedy


@pytest.mark.parametrize("view", [np.s_[:], np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1:]], ids=str)
@pytest.mark.parametrize("mode", pillow.PILLOW_MODES)
def test_views_of_any_layout_become_images_as_they_look(mode: str, view: Any) -> None:
    picture = noisy(mode, SHAPE)
    array = picture.array[view]
    image = pillow.to_image(picture._replace(array=array), mode)
    assert (image.mode, image.size) == (mode, array.shape[1::-1])
    np.testing.assert_array_equal(pillow.rows_of(image, mode, 0, image.height), array)


def test_a_frame_decodes_with_its_first_rows_and_not_before() -> None:
    octets, wanted = saved(image_of("RGB"), "PNG"), np.asarray(image_of("RGB"))
    cut_off, full = (pillow.open_image(PngImageFile, BytesIO(one)) for one in (octets[:60], octets))
    frame = pillow.PillowFrame(info_of(cut_off), lambda: cut_off, Metadata)
    assert frame.info.shape == wanted.shape
    with pytest.raises(Exception, match=r"truncated|broken|incomplete|EOF|not enough"):
        frame.rows(0, 1)
    found = pillow.PillowFrame(frame.info, lambda: full, Metadata).rows(2, 5)
    np.testing.assert_array_equal(found, wanted[2:5])


def test_a_colour_has_a_name_or_a_number() -> None:
    assert pillow.parse_color("white") == (255, 255, 255)
    assert pillow.parse_color("#f80") == pillow.parse_color("#ff8800") == (255, 136, 0)
    assert pillow.parse_color("rgb(1, 2, 3)") == (1, 2, 3)


@pytest.mark.parametrize("text", ["", "whitish", "#ff88", "#ff880080", "rgba(1,2,3,4)", "255"])
def test_anything_else_is_no_opaque_colour(text: str) -> None:
    with pytest.raises(PoolError, match="--background is") as refusal:
        pillow.parse_color(text)
    assert refusal.value.remedy
