"""Calls of the engine beside the nested loop, and arrays of every type and memory layout."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolcli import avg_pool, max_pool, median_pool, min_pool, mode_pool
from poolcli.engine.extremes import extreme
from poolcli.engine.means import average
from poolcli.engine.quantile import exact_quantile
from poolcli.engine.ranks import RankTuning, rank
from poolcli.engine.tiles import Tuning
from poolcli.engine.votes import VoteTuning, vote
from poolcli.engine.window import Window
from tests import oracle

Array = NDArray[Any]

POOLS: dict[str, Callable[..., Array]] = {
    "max": max_pool,
    "min": min_pool,
    "avg": avg_pool,
    "median": median_pool,
    "mode": mode_pool,
}
METHODS = sorted(POOLS)
BY_CHANNEL = [name for name in METHODS if name != "mode"]
SEPARABLE = ["avg", "max", "min"]
"""Methods that reduce rows first and then columns."""
INTEGERS = [np.dtype(f"{kind}{width}") for kind in "iu" for width in (1, 2, 4, 8)]
FLOATS = [np.dtype(f"f{width}") for width in (2, 4, 8)]
DTYPES = [np.dtype(np.bool_), *INTEGERS, *FLOATS]
TUNINGS = [
    None,
    Tuning(1, 1, 1),
    Tuning(64, 64, 1),
    Tuning(300, 300, 2000, 0),
    Tuning(2000, 9000, 300, 99),
]
"""Tiles down to one window, and either kernel for all windows; None calls the public function."""

RANK_TUNINGS = [
    None,
    RankTuning(1, 1000, narrowest=1),
    RankTuning(network_taps=0, overlap=0, byte_overlap=0),
    RankTuning(network_taps=0, overlap=0, byte_overlap=0, few=0),
    RankTuning(network_taps=0, overlap=10**9, byte_overlap=10**9),
    RankTuning(300, 9, 0, 0, few=7, counted=(3, 4), narrowest=2),
]
VOTE_TUNINGS = [
    None,
    VoteTuning(1, 100, narrowest=1),
    VoteTuning(network_taps=0, labels=0),
    VoteTuning(network_taps=0, labels=10**9),
    VoteTuning(300, 0, 10**9, narrowest=4),
]
TUNINGS_OF: dict[str, list[Any]] = {"median": RANK_TUNINGS, "mode": VOTE_TUNINGS}
"""Each kernel for all windows, and regions down to one window."""


@dataclass(frozen=True)
class Call:
    """One call of the engine."""

    method: str
    array: Array
    geometry: dict[str, Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuning: Any = None

    def run(self) -> Array:
        if self.tuning is None:
            # Without axes, few rows of many channels would be taken for (C, H, W).
            letters = "HWC"[: self.array.ndim]
            return POOLS[self.method](self.array, **self.geometry, **self.options, axes=letters)
        height, width = self.array.shape[:2]
        axes = Window.of(**self.geometry).axes((height, width))
        return pool_tuned(self.method, self.array, axes, {**self.options, "tuning": self.tuning})

    def mismatches(self) -> list[str]:
        """Where the result differs from the nested loop's."""
        wanted = oracle.pool(self.method, self.array, **self.geometry, **self.options)
        return oracle.mismatches(self.run(), wanted)

    def lines(self) -> tuple[oracle.Line, oracle.Line]:
        rows, columns = oracle.lines(self.array.shape, **self.geometry)
        return rows, columns

    def fits(self) -> bool:
        return all(line.fits for line in self.lines())

    def but(self, **changes: Any) -> Call:
        return dataclasses.replace(self, **changes)


def pool_tuned(method: str, array: Array, axes: Any, options: dict[str, Any]) -> Array:
    """Pool over windows that are computed already, with sizes of the working set."""
    if method == "avg":
        where = options.pop("where", None)
        if where is not None:
            options["weights"] = options.get("weights", np.uint8(1)) * where
        return average(array, axes, **options)
    if method == "median":
        quantile = exact_quantile(options.pop("quantile", 0.5))
        return rank(array, axes, quantile, **options)
    if method == "mode":
        return vote(array, axes, **options)
    return extreme("max" if method == "max" else "min", array, axes, **options)


def functions_of(call: Call) -> set[str]:
    """The names of the engine's functions that a call runs through."""
    names: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and "engine" in frame.f_code.co_filename:
            names.add(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call.run()
    finally:
        sys.setprofile(before)
    return names


def same(one: Array, other: Array) -> bool:
    """Whether shape, type and every value are equal; NaN equals NaN."""
    equal = np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one.dtype == other.dtype and equal


def random_values(rng: np.random.Generator, dtype: np.dtype[Any], kind: str, shape: Any) -> Array:
    """Values of native byte order: few different ones, any, or the ends of the type."""
    values: Array
    if dtype.kind == "b" or kind == "few":
        values = rng.integers(-2 if dtype.kind in "if" else 0, 4, shape)
        return (values % 2 if dtype.kind == "b" else values).astype(dtype)
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)  # so that sums leave float64
        if kind == "ends":
            return np.asarray(rng.choice([-largest, largest], shape), dtype)
        return np.asarray(rng.normal(size=shape) * 10.0 ** rng.integers(-5, 5, shape), dtype)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if kind == "ends":
        return np.asarray(rng.choice(np.array([least, least + 1, most - 1, most], dtype), shape))
    return np.asarray(rng.integers(least, most, shape, dtype, endpoint=True))


# Memory layouts of equal values


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def every_other_pixel(array: Array) -> Array:
    height, width = array.shape[:2]
    roomy = np.zeros((2 * height, 2 * width, *array.shape[2:]), array.dtype)
    roomy[::2, 1::2] = array
    return roomy[::2, 1::2]


def unaligned(array: Array) -> Array:
    memory = np.frombuffer(b"\0" + array.tobytes(), np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


LAYOUTS: list[Callable[[Array], Array]] = [
    *(np.ascontiguousarray, np.asfortranarray, read_only, every_other_pixel, unaligned),
    lambda array: np.flip(np.flip(array).copy()),
    lambda array: array[::-1].copy()[::-1],  # upside down
    lambda array: np.concatenate((array, array), axis=1)[:, : array.shape[1]],  # of wider rows
    lambda array: np.moveaxis(np.moveaxis(array, -1, 0).copy(), 0, -1),  # planes first
]
