"""Stacks: windows that are several planes deep."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import PoolError, avg_pool, max_pool, min_pool, output_shape
from tests import oracle
from tests.engine_calls import METHODS, POOLS, same

GEOMETRIES: list[dict[str, Any]] = [
    {"size": 2},
    {"size": (3, 2), "stride": (2, 1), "padding": ((1, 0), (1, 1)), "ceil_mode": True},
    {"size": 3, "stride": 1, "padding": "same"},
    {"size": (2, 3), "stride": 2, "dilation": (3, 2), "padding": (2, 1)},
    {"size": 5, "stride": 1, "padding": 2},
]


def by_taps(
    method: str, stack: NDArray[Any], planes: int, where: Any = None, **geometry: Any
) -> NDArray[Any]:
    """Pool (Z, H, W) by the list of taps of each window, in exact numbers."""
    rows, columns = oracle.lines(stack.shape[1:], **geometry)
    depth = stack.shape[0] // planes
    result = np.empty((depth, len(rows.windows), len(columns.windows)), stack.dtype)
    for z, y, x in np.ndindex(result.shape):
        down, across = rows.inside(rows.windows[y]), columns.inside(columns.windows[x])
        taps = np.ix_(range(z * planes, (z + 1) * planes), down, across)
        chosen = np.broadcast_to(True if where is None else where, stack.shape)[taps].ravel()
        pairs = zip(stack[taps].ravel().tolist(), chosen, strict=True)
        held = [(one, takes_part) for one, takes_part in pairs if not math.isnan(one)]
        numbers = [one for one, takes_part in held if takes_part] or [one for one, _ in held]
        if not numbers:
            result[z, y, x] = np.nan
        elif method == "avg":
            mean = sum(map(Fraction, numbers)) / len(numbers)
            result[z, y, x] = float(mean) if stack.dtype.kind == "f" else round(mean)
        elif method == "mode":
            counts = Counter(numbers)
            result[z, y, x] = min(one for one in counts if counts[one] == max(counts.values()))
        else:
            places = {"min": 0, "median": (len(numbers) - 1) // 2, "max": len(numbers) - 1}
            result[z, y, x] = sorted(numbers)[places[method]]
    return result


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
