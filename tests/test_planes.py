"""Stacks: windows that are several planes deep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import PoolError, avg_pool, max_pool, min_pool, output_shape
from poolcli.engine.extremes import extreme
from poolcli.engine.planes import Deep
from poolcli.engine.window import Window
from poolcli.picture import Metadata
from poolcli.run.stacks import DeepFrame
from tests.engine_calls import METHODS, POOLS, same
from tests.pictures import info_of
from tests.support.stacks import by_taps

GOLDEN = json.loads((Path(__file__).parent / "golden-planes.json").read_text("utf-8"))["cases"]
GEOMETRIES: list[dict[str, Any]] = [
    {"size": 2},
    {"size": (3, 2), "stride": (2, 1), "padding": ((1, 0), (1, 1)), "ceil_mode": True},
    {"size": 3, "stride": 1, "padding": "same"},
    {"size": (2, 3), "stride": 2, "dilation": (3, 2), "padding": (2, 1)},
    {"size": 5, "stride": 1, "padding": 2},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("planes", [2, 3, 7])
@pytest.mark.parametrize("dtype", ["u1", ">i4", "u8", "f8"])
@pytest.mark.parametrize("method", METHODS)
def test_a_window_is_several_planes_deep(
    method: str, dtype: str, planes: int, geometry: dict[str, Any]
) -> None:
    rng = np.random.default_rng(planes)
    stack = rng.integers(0, 99, (7, 11, 9)).astype(dtype)
    if dtype == "f8":
        stack[rng.random(stack.shape) < 0.3] = np.nan
    for where in (None, rng.random((11, 9)) < 0.2, rng.random(stack.shape) < 0.2):
        pooled = POOLS[method](stack, **geometry, axes="ZYX", planes=planes, where=where)
        wanted = by_taps(method, stack, planes, where, **geometry)
        assert pooled.dtype == wanted.dtype
        np.testing.assert_allclose(pooled, wanted, rtol=1e-15 if dtype == "f8" else 0)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['by']} {case['method']}")
def test_frameworks_pool_stacks_alike(case: dict[str, Any]) -> None:
    window = {name: tuple(case[name]) for name in ("size", "stride", "padding", "dilation")}
    more: dict[str, Any] = {"ceil_mode": case["ceil_mode"]}
    if case["method"] == "avg":
        more["count_include_pad"] = case["count_include_pad"]
    stack = np.array(case["input"], np.float64)
    pooled = POOLS[case["method"]](stack, **window, **more, axes="CZHW", planes=case["planes"])
    wanted = np.array(case["output"])
    assert pooled.shape == wanted.shape
    # ONNX Runtime averages in float32.
    np.testing.assert_allclose(pooled, wanted, rtol=1e-6, atol=1e-5)


class Plane:
    """A frame of one plane, whose rows are read in any order."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array, self.info, self.metadata = array, info_of(array, "I"), Metadata

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        return self.array[start:stop]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("lines", [1, 4, 5, 9, 1000])
def test_rows_of_all_planes_are_read_in_any_parts(geometry: dict[str, Any], lines: int) -> None:
    stack = np.random.default_rng(lines).integers(0, 99, (3, 11, 9))
    deep = Deep.of(Window.of(**geometry).axes((11, 9)), 3)
    wanted = max_pool(stack, **geometry, axes="ZYX", planes=3)[0]
    read = deep.ordered(DeepFrame([Plane(plane) for plane in stack.astype(np.int32)]).rows)
    rows, columns = deep.axes
    for first in range(0, rows.out, lines):
        stop = min(first + lines, rows.out)
        seen, part = rows.part(first, stop)
        laid = read(seen.start, seen.stop)
        assert np.array_equal(laid, deep.laid(stack)[seen])
        pooled = extreme("max", laid, (part, columns), nan="omit")
        assert np.array_equal(pooled, wanted[first:stop])


def test_a_projection_is_a_window_of_size_1_and_all_planes() -> None:
    stack = np.random.default_rng(0).integers(0, 2**16, (2, 30, 4, 5, 3)).astype(np.uint16)
    for pool, wanted in ((max_pool, stack.max(1)), (min_pool, stack.min(1))):
        assert same(pool(stack, 1, axes="NZHWC", planes="all"), wanted[:, None])
    mean = avg_pool(stack.astype(np.float64), 1, axes="NZHWC", planes="all")
    np.testing.assert_allclose(mean[:, 0], stack.mean(1))


def test_planes_stand_anywhere_and_batches_are_stacks_of_their_own() -> None:
    stack = np.random.default_rng(1).integers(0, 99, (2, 6, 3, 8, 10)).astype(np.int16)
    pooled = max_pool(stack, 2, axes="NZCYX", planes=3)
    wanted = stack.reshape(2, 2, 3, 3, 4, 2, 5, 2).max((2, 5, 7))
    assert same(pooled, wanted)
    turned = stack.transpose(3, 1, 4, 0, 2)
    assert same(max_pool(turned, 2, axes="YZXNC", planes=3), wanted.transpose(3, 1, 4, 0, 2))
    assert pooled.shape == output_shape(stack.shape, 2, axes="NZCYX", planes=3)


def test_the_padding_of_every_plane_counts_in_the_divisor() -> None:
    stack = np.full((3, 6, 6), 8.0)
    for more in ({}, {"dilation": 2, "padding": 2}):
        one: dict[str, Any] = {"size": 3, "stride": 2, "padding": 1, **more}
        wanted = avg_pool(stack[0], **one, count_include_pad=True)
        pooled = avg_pool(stack, **one, count_include_pad=True, axes="ZYX", planes=3)
        np.testing.assert_allclose(pooled[0], wanted)


def test_nodata_and_an_output_size_go_with_planes() -> None:
    stack = np.arange(4 * 7 * 5, dtype=np.uint8).reshape(4, 7, 5)
    pooled = min_pool(stack, output_size=(3, 2), axes="ZYX", planes=2, nodata=0)
    each = [min_pool(plane, output_size=(3, 2), nodata=0) for plane in stack]
    assert same(pooled[1], np.minimum(each[2], each[3]))
    assert pooled[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("planes", "axes", "message"),
    [
        (2, "NHW", "no axis has planes"),
        ("all", None, "no axis has planes"),
        (8, "ZYX", "planes is 8, but there are 7"),
        *((bad, "ZYX", "planes is") for bad in (0, -1, 1.5, True, "every", None)),
    ],
)
def test_bad_planes_are_refused(planes: Any, axes: Any, message: str) -> None:
    stack = np.zeros((7, 11, 9))
    for call in (
        lambda: max_pool(stack, 2, axes=axes, planes=planes),
        lambda: output_shape(stack.shape, 2, axes=axes, planes=planes),
    ):
        with pytest.raises(PoolError) as refusal:
            call()
        assert message in refusal.value.message
        assert refusal.value.remedy
