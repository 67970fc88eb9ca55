"""Palettes: exact for few colours, shared by frames, and else of less error than Pillow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.formats.palettes import ENTRIES, HIDDEN, PaletteMaker
from tests.pictures import noise


def colours(codes: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the colours of codes as an array of RGB."""
    return np.stack([codes >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def squared_error(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    return float(((found.astype(float) - wanted) ** 2).mean())


def smooth_noise(seed: int, side: int = 160) -> NDArray[np.uint8]:
    """Return clouds of colour, as in a photograph."""
    coarse = Image.fromarray(noise("RGB", (9, 9), seed))
    fine = noise("RGB", (side, side), seed).astype(int) // 16
    clouds: NDArray[Any] = np.asarray(coarse.resize((side, side))) + fine
    return clouds.clip(0, 255).astype(np.uint8)


def gradient(dark: int = 1) -> NDArray[np.uint8]:
    down, across = np.indices((120, 200))
    array: NDArray[Any] = np.stack((across, down * 2, 255 - across), axis=-1) // dark
    return array.astype(np.uint8)


@pytest.mark.parametrize(
    "array", [*(smooth_noise(seed) for seed in range(4)), gradient(), gradient(4)]
)
def test_approximated_colours_have_less_error_than_by_median_cut(array: NDArray[np.uint8]) -> None:
    found = PaletteMaker().indexed(array, has_alpha=False)
    assert not found.is_exact
    pillow = Image.fromarray(array).quantize(
        ENTRIES, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    ours = squared_error(colours(found.rows(0, len(array))), array)
    assert ours < squared_error(np.asarray(pillow.convert("RGB")), array)


def test_frames_share_a_palette_as_long_as_their_colours_fit() -> None:
    maker, few = PaletteMaker(), [noise("RGB", (1, 100), seed) for seed in range(4)]
    first, second, third = (maker.indexed(one, has_alpha=False) for one in few[:3])
    np.testing.assert_array_equal(second.codes[: len(first.codes)], first.codes)
    assert (len(second.codes), len(third.codes)) == (200, 100)
    for one, array in zip((first, second, third), few, strict=False):
        assert one.is_exact
        np.testing.assert_array_equal(colours(one.rows(0, 1)), array)
    assert maker.indexed(few[2], has_alpha=False).codes is third.codes
    again = maker.indexed(few[1], has_alpha=False)
    np.testing.assert_array_equal(colours(again.rows(0, 1)), few[1])


def test_a_colour_of_a_palette_that_was_given_up_is_unknown() -> None:
    maker = PaletteMaker()
    for seed, count in ((0, 256), (1, 9), (0, 256), (2, 250), (0, 8), (1, 1)):
        array = noise("RGB", (1, 256), seed)[:, -count:]
        found = maker.indexed(array, has_alpha=False)
        assert found.is_exact
        np.testing.assert_array_equal(colours(found.rows(0, 1)), array)


def test_colours_that_differ_by_one_level_are_told_apart() -> None:
    array = np.stack([np.arange(256) // 4, np.arange(256) % 4, [7] * 256], -1)[None]
    found = PaletteMaker().indexed(array.astype(np.uint8), has_alpha=False)
    assert found.is_exact
    np.testing.assert_array_equal(colours(found.rows(0, 1)), array)


@pytest.mark.parametrize("count", [2, 300])
def test_transparent_pixels_have_an_entry_of_their_own(count: int) -> None:
    array: NDArray[Any] = np.dstack((noise("RGB", (2, count)), np.full((2, count), 255)))
    array[1, :, 3] = 127
    found = PaletteMaker().indexed(array.astype(np.uint8), has_alpha=True)
    assert not found.is_exact
    np.testing.assert_array_equal(found.rows(0, 2) == HIDDEN, array[..., 3] < 128)
    assert np.count_nonzero(found.codes == HIDDEN) == 1
