"""Hypothesis strategies for calls of the engine: arrays, windows and options."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.engine_calls import (
    DTYPES,
    FLOATS,
    INTEGERS,
    LAYOUTS,
    METHODS,
    TUNINGS,
    TUNINGS_OF,
    Array,
    Call,
    random_values,
)

Strategy = st.SearchStrategy[Any]
KINDS = ["few", "any", "ends"]
WEIGHTS = ["u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"]


def generators() -> Strategy:
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def pictures(draw: st.DrawFn, dtypes: list[np.dtype[Any]], kinds: list[str]) -> Array:
    """Arrays (H, W) and (H, W, C) of any memory layout and byte order, some with NaN."""
    rng = draw(generators())
    sides = st.integers(1, 11)
    shape = draw(st.tuples(sides, sides) | st.tuples(sides, sides, st.integers(1, 6)))
    dtype = draw(st.sampled_from(dtypes))
    values = random_values(rng, dtype, draw(st.sampled_from(kinds)), shape)
    special = draw(st.sampled_from([[], [np.nan], [np.inf], [np.nan, np.inf, -np.inf]]))
    if dtype.kind == "f" and special:
        places = rng.random(shape) < draw(st.sampled_from([0.05, 0.3, 0.8]))
        values[places] = rng.choice(special, shape)[places]
    values = values.astype(dtype.newbyteorder(draw(st.sampled_from("=S"))))
    return draw(st.sampled_from(LAYOUTS))(values)


def one_or_two(numbers: Strategy) -> Strategy:
    """A number for both axes, or one for each."""
    return numbers | st.tuples(numbers, numbers)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of a window; some do not fit."""
    size = draw(one_or_two(st.sampled_from([1, 2, 2, 3, 3, 4, 5, 6, 7, 9, 12])))
    dilation = draw(one_or_two(st.sampled_from([1, 1, 1, 2, 3])))
    most = (np.broadcast_to(dilation, 2) * (np.broadcast_to(size, 2) - 1)).tolist()
    height, width = (st.integers(0, limit) for limit in most)
    padding = (
        st.sampled_from(["valid", "same", "same_lower"])
        | st.integers(0, min(most))
        | st.tuples(height, width)
        | st.tuples(one_or_two(height), one_or_two(width))
    )
    return {
        "size": size,
        "stride": draw(st.none() | one_or_two(st.sampled_from([1, 1, 1, 2, 3, 5]))),
        "padding": draw(padding),
        "dilation": dilation,
        "ceil_mode": draw(st.booleans()),
    }


@st.composite
def options(draw: st.DrawFn, method: str, array: Array, weights: list[str]) -> Any:
    """Which pixels take part, or what the sum is divided by."""
    rng, shape = draw(generators()), array.shape[:2]
    mask = rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.4, 0.9]))
    choices: dict[str, Any] = {"nan": draw(st.sampled_from(["omit", "propagate"]))}
    names = ["", "where", "weights", "both", "divisor"] if method == "avg" else ["", "where"]
    name = draw(st.sampled_from(names))
    if name in ("where", "both"):
        choices["where"] = mask
    if name in ("weights", "both"):
        dtype = np.dtype(draw(st.sampled_from(weights)))
        kind = draw(st.sampled_from(KINDS))
        values = random_values(rng, dtype.newbyteorder("="), kind, shape)
        choices["weights"] = (values * (rng.random(shape) < 0.8)).astype(dtype)
    if draw(st.booleans()) and array.size:
        # Mostly one of the values; NaN is none.
        value = rng.choice(array.ravel())
        choices["nodata"] = 1 if value != value else value.item()
    if method == "median":
        quantiles = [0.5, 0, 1, 0.07, "0.95", Fraction(1, 3), Decimal("0.25")]
        choices["quantile"] = draw(st.sampled_from(quantiles))
    if name == "divisor":
        choices["count_include_pad"] = draw(st.booleans())
        choices["divisor_override"] = draw(st.sampled_from([None, 1, 2, 3, 7, 1000, 2**70]))
    return choices


@st.composite
def calls(
    draw: st.DrawFn,
    methods: Any = METHODS,
    dtypes: Any = DTYPES,
    kinds: Any = KINDS,
    weights: Any = WEIGHTS,
) -> Call:
    """Calls of the engine; some do not fit."""
    method = draw(st.sampled_from(methods))
    array = draw(pictures(dtypes, kinds))
    chosen = draw(options(method, array, weights))
    tuning = draw(st.sampled_from(TUNINGS_OF.get(method, TUNINGS)))
    return Call(method, array, draw(geometries()), chosen, tuning)


def fitting(**choices: Any) -> Strategy:
    """Calls that fit."""
    return calls(**choices).filter(Call.fits)


def exact(**choices: Any) -> Strategy:
    """Calls that fit, of float values so few and small that float64 sums have no error."""
    return st.one_of(
        fitting(dtypes=[np.dtype(np.bool_), *INTEGERS], **choices),
        fitting(dtypes=FLOATS, kinds=["few"], weights=["u1"], **choices),
    )
