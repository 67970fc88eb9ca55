"""Arrays whose axes are named: every order, batches, masks and refusals."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import PoolError, avg_pool, max_pool, min_pool, mode_pool, output_shape
from tests.engine_calls import POOLS, same

GEOMETRY: dict[str, Any] = {"size": (2, 3), "stride": 2, "padding": ((1, 0), (1, 1))}
EXTENTS = {"N": 2, "T": 3, "Z": 2, "C": 3, "H": 7, "W": 9}
ANY_METHOD = pytest.mark.parametrize("method", POOLS)


def array_of(axes: str, dtype: str = "i2") -> NDArray[Any]:
    shape = [EXTENTS[letter] for letter in axes]
    return np.random.default_rng(len(axes)).integers(-99, 99, shape).astype(dtype)


def one_by_one(method: str, array: NDArray[Any], axes: str, **choices: Any) -> NDArray[Any]:
    """Pool every plane (H, W) on its own; ``where`` and ``weights`` have the axes but C.

    Under "mode" the channels of a pixel vote together.
    """
    if method == "mode" and "C" in axes:
        return _pictures_one_by_one(array, axes, **choices)
    last = [axes.index(letter) for letter in "HW"]
    outer = [number for number in range(array.ndim) if number not in last]
    planes = array.transpose(*outer, *last)
    shape = [EXTENTS[letter] for letter in axes]
    masks = {}
    for name, mask in choices.items():
        if "C" in axes and mask.ndim < array.ndim:
            mask = np.expand_dims(mask, axes.index("C"))
        masks[name] = np.broadcast_to(mask, shape).transpose(*outer, *last)
    pooled = [
        POOLS[method](planes[at], **GEOMETRY, **{name: mask[at] for name, mask in masks.items()})
        for at in np.ndindex(planes.shape[:-2])
    ]
    stacked = np.array(pooled).reshape(*planes.shape[:-2], *pooled[0].shape)
    return stacked.transpose(np.argsort([*outer, *last]))


def _pictures_one_by_one(
    array: NDArray[Any], axes: str, where: NDArray[Any] | None = None
) -> NDArray[Any]:
    last = [axes.index(letter) for letter in "HWC"]
    outer = [number for number in range(array.ndim) if number not in last]
    pictures = array.transpose(*outer, *last)
    if where is not None:
        where = np.expand_dims(where, axes.index("C")) if where.ndim < array.ndim else where
        where = np.broadcast_to(where, array.shape).transpose(*outer, *last)[..., 0]
    pooled = [
        mode_pool(pictures[at], **GEOMETRY, axes="HWC", where=None if where is None else where[at])
        for at in np.ndindex(pictures.shape[:-3])
    ]
    stacked = np.array(pooled).reshape(*pictures.shape[:-3], *pooled[0].shape)
    return stacked.transpose(np.argsort([*outer, *last]))


@ANY_METHOD
@pytest.mark.parametrize("dtype", ["?", "u1", ">f4"])
@pytest.mark.parametrize("axes", [*map("".join, permutations("NCHW")), "TNHWC", "WH", "CWH", "ZHW"])
def test_every_plane_is_pooled_on_its_own_in_any_order_of_axes(
    method: str, dtype: str, axes: str
) -> None:
    array = array_of(axes, dtype)
    pooled = POOLS[method](array, **GEOMETRY, axes=axes)
    wanted = one_by_one(method, array, axes)
    assert same(pooled, wanted.astype(pooled.dtype))
    assert pooled.shape == output_shape(array.shape, **GEOMETRY, axes=axes)
    assert pooled.dtype == ("u1" if (method, dtype) == ("avg", "?") else dtype)


@pytest.mark.parametrize(("axes", "alike"), [("CYX", "CHW"), ("SHW", "chw"), ("NDHW", "nZYX")])
def test_an_axis_has_two_letters_in_either_case(axes: str, alike: str) -> None:
    array = array_of("NZHW"[-len(axes) :])
    assert same(max_pool(array, 2, axes=axes), max_pool(array, 2, axes=alike))


def test_two_axes_are_height_and_width_and_three_have_channels_last() -> None:
    for axes in ("HW", "HWC"):
        assert same(min_pool(array_of(axes), 2), min_pool(array_of(axes), 2, axes=axes))


@ANY_METHOD
@pytest.mark.parametrize("axes", ["NHWC", "NCHW", "WNCH", "HWN", "CHW"])
def test_a_mask_is_that_of_all_pictures_or_of_each(method: str, axes: str) -> None:
    array, rng = array_of(axes), np.random.default_rng(3)
    own = [EXTENTS[letter] for letter in axes if letter != "C"]
    for shape in ((7, 9), own):
        mask = rng.random(shape) < 0.3
        pooled = POOLS[method](array, **GEOMETRY, axes=axes, where=mask)
        each = mask
        if mask.ndim == 2 and len(own) == 3:
            order = [letter for letter in axes if letter != "C"]
            each = np.broadcast_to(
                mask[..., None].transpose([{"H": 0, "W": 1, "N": 2}[one] for one in order]), own
            )
        assert same(pooled, one_by_one(method, array, axes, where=each))


def test_weights_are_those_of_each_picture_too() -> None:
    array = array_of("NHWC")
    weights = np.random.default_rng(4).integers(0, 9, array.shape[:3]).astype(np.uint8)
    pooled = avg_pool(array, **GEOMETRY, axes="NHWC", weights=weights)
    assert same(pooled, one_by_one("avg", array, "NHWC", weights=weights))


def test_a_mask_in_the_order_of_the_array_comes_before_height_and_width() -> None:
    array = np.arange(36, dtype=np.uint8).reshape(6, 6)
    mask = np.zeros((6, 6), np.bool_)
    mask[0, 1] = True  # column 0, row 1: the array is (W, H)
    assert max_pool(array, 2, axes="WH", where=mask)[0, 0] == array[0, 1]


def test_an_empty_batch_gives_an_empty_batch() -> None:
    assert max_pool(np.zeros((0, 4, 6), ">i2"), 2, axes="NHW").shape == (0, 2, 3)
    assert avg_pool(np.zeros((0, 4, 6), np.bool_), 2, axes="NHW").dtype == np.uint8


@pytest.mark.parametrize(
    ("shape", "axes", "message", "remedy"),
    [
        ((3, 12, 16), None, "looks like (C, H, W)", 'axes="CHW", or axes="HWC" if'),
        ((2, 3, 12, 16), None, "looks like (N, C, H, W)", 'axes="NCHW"'),
        ((2, 12, 16, 3), None, "looks like (N, H, W, C)", 'axes="NHWC"'),
        ((9, 3, 7, 12, 16), None, "looks like (N, C, Z, Y, X)", 'axes="NCZYX"'),
        ((12, 16), "HWC", "but the shape is (12, 16)", "a letter for each axis"),
        ((12, 16), "HY", "names height twice", "a letter for each axis"),
        ((9, 9, 12, 16), "NNHW", "names N twice", "a letter for each axis"),
        ((12, 16), "HN", "axes is 'HN'", "name the height H or Y, and the width W or X"),
        ((12, 16), "H1", "axes is 'H1'", "a letter for each axis"),
        ((12, 16), "", "axes is ''", "a letter for each axis"),
        ((12, 16), ("H", "W"), "axes is ('H', 'W')", "a letter for each axis"),
    ],
)
@ANY_METHOD
def test_axes_that_are_not_clear_are_refused(
    method: str, shape: Any, axes: Any, message: str, remedy: str
) -> None:
    for call in (
        lambda: POOLS[method](np.zeros(shape), 2, axes=axes),
        lambda: output_shape(shape, 2, axes=axes),
    ):
        with pytest.raises(PoolError) as caught:
            call()
        assert message in caught.value.message
        assert remedy in caught.value.remedy


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(PoolError, match="where has shape"):
        max_pool(np.zeros((2, 12, 16)), 2, axes="NHW", where=np.ones((3, 12, 16), np.bool_))
