"""Ranks and votes: which kernel runs for which windows, and scratch memory that stays small."""

from __future__ import annotations

import math
import tracemalloc
from functools import partial
from typing import Any

import numpy as np
import pytest

from poolcli import median_pool, mode_pool
from poolcli.engine.counting import nth_bit
from poolcli.engine.gather import regions
from poolcli.engine.kernels import Scratch
from poolcli.engine.window import Window
from tests.engine_calls import Call, functions_of

KERNELS = {
    "by_network",
    "by_partition",
    "by_counting",
    "nth_bit",
    "by_label",
    "sorted_by_network",
    "sorted_taps",
}
LABELS = np.random.default_rng(1).integers(0, 3, (120, 130)).astype(np.uint8)
NOISE = np.random.default_rng(2).integers(0, 1 << 16, (120, 130)).astype(np.uint16)
BYTES = (NOISE >> 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("method", "array", "size", "stride", "kernel"),
    [
        ("median", BYTES, 3, 3, {"by_network"}),
        ("median", BYTES, 8, 1, {"by_network"}),
        ("median", BYTES, 20, 20, {"by_partition"}),
        ("median", BYTES, 20, 4, {"by_partition"}),
        ("median", BYTES, 20, 1, {"by_counting"}),
        ("median", NOISE, 12, 1, {"by_partition"}),
        ("median", NOISE, 20, 1, {"by_counting", "nth_bit"}),
        ("median", BYTES.astype(np.uint16), 20, 1, {"by_counting"}),
        ("mode", BYTES, 3, 3, {"sorted_by_network"}),
        ("mode", LABELS, 9, 9, {"by_label"}),
        ("mode", BYTES, 9, 9, {"sorted_taps"}),
    ],
)
def test_each_kernel_runs_for_its_windows(
    method: str, array: Any, size: int, stride: int, kernel: set[str]
) -> None:
    call = Call(method, array, {"size": size, "stride": stride})
    assert functions_of(call) & KERNELS == kernel
    small = call.but(array=array[: size + 2, : size + 3])
    assert small.mismatches() == []


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(20, 1, 1), ((40, 13), (2, 1), 1), ((7, 61), 1, (2, 1))]
)
@pytest.mark.parametrize("share", [0, 500])
def test_counted_windows_have_the_rank_of_their_sorted_pixels(
    dtype: Any, size: Any, stride: Any, dilation: Any, share: int
) -> None:
    """Regions have several parts of several words; none or half of the pixels are equal."""
    rng = np.random.default_rng(4)
    array = (rng.normal(size=(150, 170)).cumsum(axis=1) * 100).astype(dtype)
    array[rng.integers(0, 1000, array.shape) < share] = 7
    call = Call("median", array, {"size": size, "stride": stride, "dilation": dilation})
    assert "by_counting" in functions_of(call)
    height, width = (side.windows for side in call.lines())
    for quantile in (0, 0.03, 0.5, 1):
        result = call.but(options={"quantile": quantile}).run()
        for i, j in rng.integers(0, (len(height), len(width)), (60, 2)):
            taps = np.sort(array[np.ix_(list(height[i]), list(width[j]))], axis=None)
            assert result[i, j] == taps[max(0, math.ceil(quantile * taps.size) - 1)]


def test_a_bit_is_found_by_its_number() -> None:
    words = np.random.default_rng(5).integers(0, 1 << 64, 200, np.uint64)
    words[:3] = 1, 1 << 63, (1 << 64) - 1
    for word in words.tolist():
        places = [place for place in range(64) if word >> place & 1]
        found = nth_bit(np.full(len(places), word, np.uint64), np.arange(len(places)))
        assert found.tolist() == places


def test_windows_of_more_than_2_to_the_31_pixels_are_counted() -> None:
    side = 1 << 16
    (region,) = regions(Window.of(side).axes((side, side)), 1, 1)
    assert region.counts(None, Scratch()).tolist() == [[[side * side]]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [2, 9, 31, 101])
def test_scratch_memory_does_not_grow_with_the_window(size: int, dtype: Any) -> None:
    array = np.random.default_rng(3).integers(0, 200, (600, 500)).astype(dtype)
    pools = [partial(pool, array, size) for pool in (median_pool, mode_pool)]
    for pool in (*pools, partial(median_pool, array, size, 1)):
        pool()
        tracemalloc.start()
        pool()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (24 << 20) + array.nbytes
