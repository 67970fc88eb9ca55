"""Which pixels max and min pooling take, and what unpooling makes of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli import (
    PoolError,
    max_pool,
    max_pool_with_indices,
    min_pool,
    min_pool_with_indices,
    unpool,
)
from poolcli.engine.adaptive import OutputSize
from poolcli.engine.places import PlaceTuning, extreme_places
from poolcli.engine.window import Window
from tests import oracle
from tests.engine_calls import DTYPES, same
from tests.engine_strategies import geometries, options, pictures

GOLDEN = json.loads((Path(__file__).parent / "golden-indices.json").read_text("utf-8"))["cases"]
POOLS: dict[str, Any] = {"max": max_pool_with_indices, "min": min_pool_with_indices}
PLAIN: dict[str, Any] = {"max": max_pool, "min": min_pool}
TUNINGS = [PlaceTuning(1, 1), PlaceTuning(200, 3), PlaceTuning()]
NAN = math.nan


def first_place(method: str, window: list[tuple[int, Any, bool]], nan: str, nodata: Any) -> int:
    """Return the index of the winner among (index, value, whether it takes part), by the rules."""
    some = [one for one in window if one[2]]
    for part in (some, window) if some else (window,):
        if nan == "propagate":
            for index, value, _ in part:
                if value != value:
                    return index
        numbers = [(index, value) for index, value, _ in part if value == value]
        data = [(index, value) for index, value in numbers if nodata is None or value != nodata]
        if data:
            best = (max if method == "max" else min)(value for _, value in data)
            return next(index for index, value in data if value == best)
        if numbers:
            return numbers[0][0]
    return window[0][0]


def by_loop(method: str, array: NDArray[Any], **more: Any) -> NDArray[np.int64]:
    """Return the indices by a nested loop over windows."""
    nan, nodata = more.pop("nan", "omit"), more.pop("nodata", None)
    where = more.pop("where", None)
    where = np.ones(array.shape[:2], np.bool_) if where is None else where
    rows, columns = oracle.lines(array.shape, **more)
    stack = array if array.ndim == 3 else array[..., None]
    found = np.empty((len(rows.windows), len(columns.windows), stack.shape[2]), np.int64)
    for i, j, channel in np.ndindex(found.shape):
        window = [
            (y * array.shape[1] + x, stack[y, x, channel].item(), bool(where[y, x]))
            for y in rows.inside(rows.windows[i])
            for x in columns.inside(columns.windows[j])
        ]
        found[i, j, channel] = first_place(method, window, nan, nodata)
    return found.reshape(found.shape[: array.ndim])


def taken(array: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[Any]:
    """Return the samples at some indices."""
    stack = array.reshape(array.shape[0] * array.shape[1], -1)
    channels = np.arange(stack.shape[1])
    return stack[indices.reshape(-1, len(channels)), channels].reshape(indices.shape)


@pytest.mark.parametrize("method", sorted(POOLS))
def test_indices_are_those_of_a_nested_loop_and_values_stand_there(method: str) -> None:
    @settings(max_examples=200)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        array = data.draw(pictures(DTYPES, ["few", "any", "ends"]))
        geometry = data.draw(geometries())
        more = data.draw(options(method, array, []))
        if not all(line.fits for line in oracle.lines(array.shape, **geometry)):
            return
        axes = "HWC"[: array.ndim]
        values, indices = POOLS[method](array, **geometry, **more, axes=axes)
        assert same(values, PLAIN[method](array, **geometry, **more, axes=axes))
        assert values.dtype == array.dtype
        wanted = by_loop(method, array, **geometry, **more)
        np.testing.assert_array_equal(indices, wanted)
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(taken(array, indices), values)
        window = Window.of(**geometry).axes((array.shape[0], array.shape[1]))
        tuned = extreme_places(
            "max" if method == "max" else "min",
            array,
            window,
            **more,
            tuning=data.draw(st.sampled_from(TUNINGS)),
        )
        np.testing.assert_array_equal(tuned[1], wanted)
        assert same(tuned[0], values)

    check()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['by']}-{case['method']}")
def test_pytorch_and_onnx_runtime_gave_the_same(case: Any) -> None:
    array = np.array(case["input"], np.float64)
    names = ("size", "stride", "padding", "dilation", "ceil_mode")
    window = {name: value for name, value in case.items() if name in names}
    window |= {name: tuple(value) for name, value in window.items() if isinstance(value, list)}
    values, indices = POOLS[case["method"]](array, **window)
    np.testing.assert_array_equal(values, case["values"])
    np.testing.assert_array_equal(indices, case["indices"])
    np.testing.assert_array_equal(unpool(values, indices, array.shape), case["unpooled"])


@pytest.mark.parametrize(
    ("window", "more", "wanted"),
    [
        ([1, 1, 1, 1], {}, (0, 0)),
        ([1, 2, 2, 1], {}, (1, 0)),
        ([NAN, 1, 2, 2], {}, (2, 1)),
        ([NAN, NAN, NAN, NAN], {}, (0, 0)),
        ([1, NAN, 2, NAN], {"nan": "propagate"}, (1, 1)),
        ([9, 1, 2, 9], {"nodata": 9}, (2, 1)),
        ([9, 9, 9, 9], {"nodata": 9}, (0, 0)),
        ([NAN, 9, 9, NAN], {"nodata": 9}, (1, 1)),
        ([1, 5, 3, 0], {"where": [1, 0, 1, 0]}, (2, 0)),
        ([1, 5, 3, 0], {"where": [0, 0, 0, 0]}, (1, 3)),
        ([1, 9, 3, 0], {"where": [0, 1, 0, 0], "nodata": 9}, (1, 1)),
        ([-0.0, 0.0, 0.0, -0.0], {}, (0, 0)),
    ],
    ids=str,
)
def test_one_window(window: Any, more: Any, wanted: Any) -> None:
    array = np.array(window, np.float32).reshape(2, 2)
    if "where" in more:
        more = more | {"where": np.array(more["where"], np.bool_).reshape(2, 2)}
    found = [POOLS[method](array, 2, **more)[1].item() for method in ("max", "min")]
    assert tuple(found) == wanted


@pytest.mark.parametrize("method", sorted(POOLS))
@pytest.mark.parametrize("out", [(3, 4), (4, 3), (7, 11), (1, 1)])
def test_windows_of_an_output_size(method: str, out: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 9, (7, 11, 3)).astype(np.int16)
    values, indices = POOLS[method](array, output_size=out)
    assert same(values, PLAIN[method](array, output_size=out))
    np.testing.assert_array_equal(taken(array, indices), values)
    axes = OutputSize(*out).axes((7, 11))
    for tuning in TUNINGS:
        places = extreme_places("max" if method == "max" else "min", array, axes, tuning=tuning)
        np.testing.assert_array_equal(places[1], indices)
    height, width = -(-7 // out[0]), -(-11 // out[1])
    first = np.argmax if method == "max" else np.argmin
    row, column = divmod(int(first(array[:height, :width, 0])), width)
    assert indices[0, 0, 0] == row * 11 + column


@pytest.mark.parametrize("axes", ["NCHW", "NHWC", "HWCN", "WHNC"])
def test_each_picture_of_a_batch_is_counted_on_its_own(axes: str) -> None:
    extents = {"N": 2, "C": 3, "H": 6, "W": 8}
    shape = tuple(extents[letter] for letter in axes)
    array = np.random.default_rng(1).integers(0, 5, shape).astype(np.uint8)
    values, indices = max_pool_with_indices(array, 2, axes=axes)
    order = [axes.index(letter) for letter in "NCHW"]
    for n, c in np.ndindex(2, 3):
        picture = array.transpose(order)[n, c]
        wanted = max_pool_with_indices(picture, 2)
        np.testing.assert_array_equal(values.transpose(order)[n, c], wanted[0])
        np.testing.assert_array_equal(indices.transpose(order)[n, c], wanted[1])
        back = unpool(values, indices, shape, axes=axes).transpose(order)[n, c]
        np.testing.assert_array_equal(back, unpool(*wanted, picture.shape))


@settings(max_examples=60)
@given(pictures(DTYPES, ["few", "any"]), st.integers(1, 4), st.integers(1, 4))
def test_unpooling_and_pooling_again_keeps_what_is_above_zero(
    array: Any, size: int, stride: int
) -> None:
    axes = "HWC"[: array.ndim]
    if min(array.shape[:2]) < size:
        return
    values, indices = max_pool_with_indices(array, size, stride, axes=axes)
    whole = unpool(values, indices, array.shape, axes=axes)
    assert (whole.shape, whole.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(taken(whole, indices), values)
    untouched = np.ones(whole.size, np.bool_)
    flat = indices.reshape(-1, math.prod(array.shape[2:])) * math.prod(array.shape[2:])
    untouched[(flat + np.arange(flat.shape[1])).ravel()] = False
    assert not whole.ravel()[untouched].any()


def test_indices_of_2_to_the_31_fit_although_windows_begin_in_the_padding() -> None:
    """The second and third pixel lie 2^29 and 2^30 places behind the first one."""
    wide = np.broadcast_to(np.array([[0], [1], [2]], np.uint8), (3, 1 << 29))
    _, indices = max_pool_with_indices(wide, (5, 1), (1, 1 << 29), ((2, 2), (0, 0)))
    assert indices.tolist() == [[1 << 30]] * 3


def test_a_picture_without_channels_is_unpooled() -> None:
    values, indices = max_pool_with_indices(np.zeros((4, 6, 0), np.uint8), 2)
    assert unpool(values, indices, (4, 6, 0)).shape == (4, 6, 0)


@pytest.mark.parametrize(
    ("values", "indices", "shape", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3), int), (4, 4), "do not fit the shape (4, 4)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), (4, 4, 3), "do not fit the shape (4, 4, 3)"),
        (np.zeros((2, 2, 3)), np.zeros((2, 2, 3), int), (6, 6, 4), "do not fit"),
        (np.zeros((2, 2)), np.full((2, 2), 16), (4, 4), "an index is 16, outside a picture of 16"),
        (np.zeros((2, 2)), np.full((2, 2), -1), (4, 4), "an index is -1"),
        (np.zeros((2, 2)), np.full((2, 2), 2**64 - 1, "u8"), (4, 4), "an index is 184467440737"),
        (np.zeros((2, 2)), np.zeros((2, 2)), (4, 4), "the dtype of the indices is float64"),
        (np.zeros((2, 2), complex), np.zeros((2, 2), int), (4, 4), "the dtype of the values"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), [4, 4], "the shape is [4, 4]"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), (4, -4), "shape is -4"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), (4,), "(4,)"),
    ],
)
def test_what_does_not_fit_is_refused(values: Any, indices: Any, shape: Any, message: str) -> None:
    with pytest.raises(PoolError) as refusal:
        unpool(values, indices, shape)
    assert message in refusal.value.message
    assert refusal.value.remedy
