"""Ranks and votes: which kernel runs for which windows, and scratch memory that stays small."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from poolcli import median_pool, mode_pool
from tests.engine_calls import Call, functions_of

KERNELS = {
    "by_network",
    "by_partition",
    "by_counting",
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
        ("median", BYTES, 3, 3, "by_network"),
        ("median", BYTES, 8, 1, "by_network"),
        ("median", BYTES, 20, 20, "by_partition"),
        ("median", BYTES, 20, 1, "by_counting"),
        ("median", NOISE, 20, 1, "by_partition"),
        ("median", NOISE, 70, 1, "by_counting"),
        ("mode", BYTES, 3, 3, "sorted_by_network"),
        ("mode", LABELS, 9, 9, "by_label"),
        ("mode", BYTES, 9, 9, "sorted_taps"),
    ],
)
def test_each_kernel_runs_for_its_windows(
    method: str, array: Any, size: int, stride: int, kernel: str
) -> None:
    call = Call(method, array, {"size": size, "stride": stride})
    assert functions_of(call) & KERNELS == {kernel}
    small = call.but(array=array[: size + 2, : size + 3])
    assert small.mismatches() == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [2, 9, 31, 101])
def test_scratch_memory_does_not_grow_with_the_window(size: int, dtype: Any) -> None:
    array = np.random.default_rng(3).integers(0, 200, (600, 500)).astype(dtype)
    for pool in (median_pool, mode_pool):
        pool(array, size)
        tracemalloc.start()
        pool(array, size)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (24 << 20) + array.nbytes
