"""The public functions against the nested loop: laws, edges and refusals."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli import (
    PoolError,
    avg_pool,
    max_pool,
    median_pool,
    min_pool,
    mode_pool,
    output_shape,
)
from poolcli.engine.means import average
from poolcli.engine.window import Window
from tests import oracle
from tests.engine_calls import (
    BY_CHANNEL,
    DTYPES,
    FLOATS,
    INTEGERS,
    LAYOUTS,
    METHODS,
    POOLS,
    TUNINGS,
    TUNINGS_OF,
    Array,
    Call,
    same,
)
from tests.engine_strategies import calls, exact, fitting, generators

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text("utf-8"))["cases"]
MODES = json.loads((Path(__file__).parent / "golden-modes.json").read_text("utf-8"))["cases"]
NUMBERS = [*INTEGERS, *FLOATS]
ANY_METHOD = pytest.mark.parametrize("method", METHODS)

law = settings(max_examples=50)


def usual_divisor(call: Call) -> Call:
    """The call with the number of pixels, or their weights, as the divisor."""
    names = {"nan", "where", "weights"} & set(call.options)
    return call.but(options={name: call.options[name] for name in names})


# The nested loop


def check(call: Call) -> None:
    """Compare a call with the nested loop, or see it refused where windows do not fit."""
    if call.fits():
        assert call.mismatches() == []
        shape = call.array.shape
        assert call.run().shape == output_shape(shape, **call.geometry, axes="HWC"[: len(shape)])
    else:
        with pytest.raises(PoolError):
            call.run()


@pytest.mark.parametrize("count", [300, pytest.param(1500, marks=pytest.mark.slow)])
def test_every_call_gives_what_the_nested_loop_gives_or_is_refused(count: int) -> None:
    settings(max_examples=count)(given(calls())(check))()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['by']} {case['method']}")
def test_every_golden_case_gives_what_the_frameworks_gave(case: dict[str, Any]) -> None:
    geometry = {name: _tupled(case[name]) for name in ("size", "stride", "padding", "dilation")}
    choices = {"ceil_mode": case["ceil_mode"], "nan": case.get("nan", "omit")}
    if case["method"] == "avg":
        choices |= {name: case[name] for name in ("count_include_pad", "divisor_override")}
    picture, wanted = (np.array(case[name], case["dtype"]) for name in ("input", "output"))
    assert same(POOLS[case["method"]](picture, **geometry, **choices), wanted)


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


# Laws


@law
@given(exact(), st.integers(0, 255))
def test_a_constant_stays_that_constant_at_edges_and_in_overhang_too(call: Call, at: int) -> None:
    call = usual_divisor(call)
    value = call.array.ravel()[at % call.array.size]
    pooled = call.but(array=np.full_like(call.array, value)).run()
    grey = 255 if call.method == "avg" and call.array.dtype.kind == "b" else 1
    assert same(pooled, np.full_like(pooled, value * grey))


@law
@given(calls())
def test_size_1_is_the_identity(call: Call) -> None:
    call = usual_divisor(call.but(geometry={"size": 1, "stride": 1}))
    grey = call.method == "avg" and call.array.dtype.kind == "b"
    wanted = call.array * np.uint8(255) if grey else call.array.copy()
    if call.method == "mode" and wanted.ndim == 3:  # a pixel with NaN in any channel is NaN
        wanted[np.isnan(wanted).any(axis=2)] = np.nan if wanted.dtype.kind == "f" else 0
    assert same(call.run(), wanted)


@law
@given(
    fitting(methods=BY_CHANNEL).filter(lambda call: call.array.ndim == 3),
    st.randoms(use_true_random=False),
)
def test_channels_are_pooled_on_their_own_in_any_order(call: Call, random: Any) -> None:
    pooled = call.run()
    order = random.sample(range(pooled.shape[2]), pooled.shape[2])
    assert same(call.but(array=call.array[..., order]).run(), pooled[..., order])
    for channel in order:
        assert same(call.but(array=call.array[..., channel]).run(), pooled[..., channel])


@law
@given(exact())
def test_the_axes_may_be_swapped_with_their_arguments(call: Call) -> None:
    geometry = {k: v[::-1] if isinstance(v, tuple) else v for k, v in call.geometry.items()}
    options = {k: v.T if isinstance(v, np.ndarray) else v for k, v in call.options.items()}
    swapped = call.but(array=call.array.swapaxes(0, 1), geometry=geometry, options=options)
    assert same(swapped.run().swapaxes(0, 1), call.run())


@law
@given(fitting(), st.sampled_from(LAYOUTS), st.sampled_from("=S"))
def test_memory_layout_changes_no_value(call: Call, layout: Any, order: Any) -> None:
    array = layout(call.array.astype(call.array.dtype.newbyteorder(order)))
    pooled = call.but(array=array).run()
    assert np.array_equal(pooled, call.run(), equal_nan=call.array.dtype.kind == "f")
    if call.method != "avg" or array.dtype.kind != "b":
        assert pooled.dtype == array.dtype


@law
@given(
    fitting(methods=["avg"], dtypes=[np.dtype("u1"), np.dtype("u2")], weights=["u1"]), generators()
)
def test_averaging_through_a_table_is_averaging_its_entries(call: Call, rng: Any) -> None:
    names = {"weights", "count_include_pad", "divisor_override"} & set(call.options)
    chosen = {name: call.options[name] for name in names}
    table = rng.integers(-99, 99, 1 << 16).astype(np.float64)
    height, width = call.array.shape[:2]
    axes = Window.of(**call.geometry).axes((height, width))
    got = average(call.array, axes, table=table, **chosen)
    looked_up = call.but(array=table[call.array], options=chosen, tuning=None)
    assert same(got, looked_up.run())


@law
@given(fitting())
def test_the_input_is_never_changed_and_the_result_is_fresh(call: Call) -> None:
    given_arrays = [call.array, *(v for v in call.options.values() if isinstance(v, np.ndarray))]
    before = [array.tobytes() for array in given_arrays]
    pooled = call.run()
    assert [array.tobytes() for array in given_arrays] == before
    assert not any(np.shares_memory(pooled, array) for array in given_arrays)
    assert pooled.flags.writeable
    assert pooled.flags.c_contiguous


@law
@given(fitting(methods=["max", "min"], dtypes=NUMBERS))
def test_quantile_0_is_the_minimum_and_1_the_maximum(call: Call) -> None:
    quantile = {"min": 0, "max": 1}[call.method]
    ranked = call.but(method="median", options={**call.options, "quantile": quantile}, tuning=None)
    assert same(ranked.run(), call.run())


@law
@given(fitting(methods=["median", "mode"]))
def test_every_result_stands_in_its_window(call: Call) -> None:
    rows, columns = call.lines()
    pooled, array = call.run(), call.array.reshape(*call.array.shape[:2], -1)
    for i, j in np.ndindex(pooled.shape[:2]):
        window = array[np.ix_(rows.inside(rows.windows[i]), columns.inside(columns.windows[j]))]
        for channel, value in enumerate(pooled[i, j].ravel().tolist()):
            values = window[..., channel].ravel().tolist()
            # Under "mode" a pixel with NaN in any channel is NaN in all of them.
            seen = window.ravel().tolist() if call.method == "mode" else values
            assert value in values or (value != value and any(one != one for one in seen))


@law
@given(fitting(methods=["median", "mode"], dtypes=[np.dtype("u1")]), generators())
def test_ranks_and_votes_commute_with_any_map_that_keeps_the_order(call: Call, rng: Any) -> None:
    table = np.sort(rng.choice(1 << 16, 256, replace=False)).astype(np.uint16)
    options = {key: value for key, value in call.options.items() if key != "nodata"}
    mapped = call.but(array=table[call.array], options=options)
    assert same(mapped.run(), table[call.but(options=options).run()])


@pytest.mark.parametrize("quantile", [0, 0.07, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("size", [2, 5, 9, 20])
def test_quantiles_are_those_of_numpy(size: int, quantile: float) -> None:
    array = np.random.default_rng(3).integers(0, 99, (60, 40)).astype(np.uint16)
    blocks = array[: 60 // size * size, : 40 // size * size]
    blocks = blocks.reshape(60 // size, size, 40 // size, size).swapaxes(1, 2)
    wanted = np.quantile(blocks, quantile, axis=(2, 3), method="inverted_cdf")
    assert np.array_equal(median_pool(array, size, quantile=quantile), wanted)


def test_a_quantile_is_read_as_a_decimal_number() -> None:
    array = np.arange(100, dtype=np.uint8).reshape(10, 10)
    for quantile in (0.07, "0.07", "7e-2", Decimal("0.07"), Fraction(7, 100), np.float64(0.07)):
        assert median_pool(array, 10, quantile=quantile).item() == 6
    assert median_pool(array, 10, quantile="0.0" + "6" * 990).item() == 6


@pytest.mark.parametrize("quantile", [-0.1, 1.001, "x", "nan", None, True, "1e-9999", float("inf")])
def test_what_is_no_quantile_is_refused(quantile: Any) -> None:
    error = refusal(median_pool, PICTURE, 2, quantile=quantile)
    assert error.message == f"quantile is {quantile!r}"
    assert "from 0 to 1" in error.remedy


@pytest.mark.parametrize("case", MODES, ids=lambda case: f"{case['dtype']} {case['size']}")
def test_modes_are_those_of_scipy(case: dict[str, Any]) -> None:
    array, wanted = (np.array(case[name], case["dtype"]) for name in ("input", "output"))
    assert same(mode_pool(array, case["size"]), wanted)


def test_a_vote_is_of_whole_pixels_and_invents_no_colour() -> None:
    red, green, olive = (255, 0, 0), (0, 255, 0), (255, 255, 0)
    assert mode_pool(np.array([[red, green], [olive, olive]], np.uint8), 2).tolist() == [[[*olive]]]
    # By channel, red would have three votes for 255, and green two for each.
    tied = np.array([[red, olive], [green, green], [red, olive]], np.uint8)
    assert mode_pool(tied, (3, 2)).tolist() == [[[*green]]]


# Integers at the ends of their types, and ties


EXTREMES = [
    *((255, "u1", 17), (65535, "u2", 257), (65535, ">u2", 257), (2**32 - 1, "u4", 19)),
    *((2**63 - 1, "i8", 5), (-(2**63), "i8", 5), (2**64 - 1, "u8", 5), (2**64 - 3, ">u8", 5)),
    *((127, "i1", 17), (-128, "i1", 17), (-(2**15), "i2", 257)),
    *((2**31 - 1, "i4", 19), (-(2**31), "i4", 19)),
]


@pytest.mark.parametrize(("value", "dtype", "side"), EXTREMES)
@pytest.mark.parametrize("number", [0, -1], ids=["tuned", "other kernels"])
def test_a_window_full_of_an_extreme_gives_it(
    value: int, dtype: str, side: int, number: int
) -> None:
    array, wanted = np.full((side + 1, side + 2), value, dtype), np.full((2, 3), value, dtype)
    options: dict[str, Any] = {"weights": np.full(array.shape, 255, np.uint8)}
    for method, more in (*((name, {}) for name in METHODS), ("avg", options)):
        tuning = TUNINGS_OF.get(method, TUNINGS)[number]
        call = Call(method, array, {"size": side, "stride": 1}, more, tuning)
        assert same(call.run(), wanted)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_the_former_content_of_scratch_memory_has_no_effect(
    monkeypatch: pytest.MonkeyPatch, dtype: np.dtype[Any]
) -> None:
    array = np.random.default_rng(2).integers(0, 100, (44, 42, 2)).astype(dtype)
    each = []
    for side, stride in product((2, 3, 17, 40), (1, 3)):
        geometry = {"size": side, "stride": stride}
        each += [Call(method, array, geometry) for method in METHODS]
        each.append(Call("avg", array, geometry, {"weights": np.ones((44, 42), np.uint8)}))
    wanted = [call.run() for call in each]

    def poisoned(shape: Any, dtype: Any = np.float64, order: Any = "C") -> Array:
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 1, dtype, order)

    monkeypatch.setattr(np, "empty", poisoned)
    for call, result in zip(each, wanted, strict=True):
        assert same(call.run(), result)


@pytest.mark.parametrize(("dtype", "shape"), [("i8", (8, 16)), ("u8", (257, 1))])
def test_heavy_weights_do_not_overflow(dtype: str, shape: Any) -> None:
    weights = np.full(shape, 255, np.uint8)
    for value in (0, 1):
        assert avg_pool(np.full(shape, value, dtype), shape, weights=weights).item() == value
    array = np.full((4, 4), 2**64 - 1, np.uint64)
    assert avg_pool(array, 4, weights=array).item() == 2**64 - 1
    array[0, 0] = 0
    wanted = round(Fraction(15 * (2**64 - 1), 16))
    assert avg_pool(array, 4, weights=np.full_like(array, 2**64 - 1)).item() == wanted


@pytest.mark.parametrize("dtype", [f"{kind}{size}" for kind in "ui" for size in (1, 2, 4, 8)])
@pytest.mark.parametrize("size", [5, 15, 102])
@pytest.mark.parametrize("is_adaptive", [False, True])
def test_sums_of_rows_and_of_windows_may_need_other_types(
    dtype: str, size: int, is_adaptive: bool
) -> None:
    rng, limits, extent = np.random.default_rng(0), np.iinfo(dtype), 3 * size - 4
    choices: dict[str, Any] = {"output_size": 3}
    spans = [slice(extent * at // 3, -(-extent * (at + 1) // 3)) for at in range(3)]
    if not is_adaptive:  # windows that lie apart
        choices = {"size": size, "stride": size + 1}
        spans = [slice(start, start + size) for start in (0, size + 1)]
        extent = 2 * size + 1
    for least in (limits.min, limits.max - limits.max // 2, limits.max - 1):
        array = rng.integers(least, limits.max, (extent, extent), dtype, endpoint=True)
        weights = rng.integers(0, 1 << 32, array.shape, np.uint32)
        pooled = avg_pool(array, **choices)
        weighted = avg_pool(array, **choices, weights=weights)
        for place in np.ndindex(pooled.shape):
            part = spans[place[0]], spans[place[1]]
            values, by = array[part].astype(object), weights[part].astype(object)
            assert pooled[place] == round(Fraction(values.sum(), values.size))
            assert weighted[place] == round(Fraction((values * by).sum(), by.sum()))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_a_sum_on_a_tie_goes_to_the_even_neighbour(dtype: np.dtype[Any]) -> None:
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    below_zero = [-4, -3, -2, -1] if least else []
    lower = [least, least + 1, *below_zero, 0, 1, 2, 3, most // 2, most - 2, most - 1]
    array = np.array([[low, low + 1] for low in lower], dtype)
    wanted = [low + low % 2 for low in lower]
    for weights in (None, np.ones(array.shape, np.uint8)):
        assert avg_pool(array, (1, 2), weights=weights).ravel().tolist() == wanted
    halves = range(-50 if least else 0, 51)
    for divisor in (2, 4) if most < 255 else (2, 4, 6, 10):
        given = np.array(halves, dtype)[:, None] * (divisor // 2)
        pooled = avg_pool(given, 1, divisor_override=divisor).ravel().tolist()
        assert pooled == [round(Fraction(half, 2)) for half in halves]


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"nan": "propagate"},
        {"count_include_pad": True},
        {"weights": np.full((6, 7), 2**64 - 1, np.uint64)},
        {"where": np.arange(42).reshape(6, 7) % 3 > 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("tuning", [None, TUNINGS[1]], ids=["tuned", "tiny tiles"])
def test_finite_values_have_a_finite_mean_where_their_sum_overflows(
    choices: Any, tuning: Any
) -> None:
    largest, rng = float(np.finfo(np.float64).max), np.random.default_rng(5)
    geometry = {"size": 3, "stride": 2, "padding": 1}
    for array in (
        np.full((6, 7), largest),
        rng.choice([largest, 0.9 * largest, -largest, 1e-300], (6, 7, 3)),
        rng.choice([1.7e308, 1e300, np.nan, np.inf], (6, 7), p=[0.6, 0.2, 0.1, 0.1]),
    ):
        call = Call("avg", array, geometry, choices, tuning)
        assert call.mismatches() == []
        assert np.isfinite(call.run()).all() or not np.isfinite(array).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_an_average_halfway_between_two_floats_is_the_even_one(dtype: np.dtype[Any]) -> None:
    one, unit = dtype.type(1), np.finfo(dtype).eps
    odd = one + unit
    array = np.array([[one, odd], [odd, odd + unit], [-one, -odd], [-odd, -odd - unit]], dtype)
    assert avg_pool(array, (1, 2)).ravel().tolist() == [1, odd + unit, -1, -odd - unit]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_an_override_may_be_larger_than_any_type_and_results_are_clipped(dtype: Any) -> None:
    for divisor in (2**31, 2**63, 2**64, 10**30):
        array = np.full((2, 2), 7, dtype)
        assert Call("avg", array, {"size": 2}, {"divisor_override": divisor}).mismatches() == []
    if dtype.kind != "f":
        ends = [np.iinfo(dtype).min, np.iinfo(dtype).max]
        assert avg_pool(np.array([ends] * 2, dtype), (2, 1), divisor_override=1).tolist() == [ends]


# Values by name

NAN, INF = np.nan, np.inf
BOOLS = np.array([[True, False, True, True, False, False]])
STORED = np.array([[0, 1], [2, 255]], np.uint8).view(np.bool_)  # as Pillow gives mode "1"
LAST = np.array([[False, False, False, True]])
BYTES = np.array([[1, 3, 10, 30]], np.uint8)
SECOND = np.array([[False, True]])
STRICT = {"nan": "propagate", "where": SECOND}
LATE = np.array([[NAN, NAN, NAN, 5]])
ENDLESS = np.array([[-INF, 1, 2, INF]])
PADDED = {"stride": 1, "padding": ((0, 0), (1, 0)), "count_include_pad": True}
THREE = (("max", 3), ("min", 1), ("avg", 2))


RULES: list[tuple[str, Array, Any, dict[str, Any], Any]] = [
    # bool: OR, AND, and a grey
    ("max", BOOLS, (1, 2), {}, [[True, True, False]]),
    ("min", BOOLS, (1, 2), {}, [[False, True, False]]),
    ("avg", BOOLS, (1, 2), {}, [[128, 255, 0]]),
    ("avg", STORED, 2, {}, [[191]]),
    ("avg", STORED, (1, 2), {}, [[128], [255]]),
    # a mask counts a pixel once, whatever byte its truth is stored as
    ("avg", np.array([[9, 10], [20, 60]], np.uint8), 2, {"where": STORED}, [[30]]),
    ("avg", np.array([[9.0, 10], [20, 60]]), 2, {"where": STORED}, [[30]]),
    ("max", np.array([[9, 10], [20, 60]], np.uint8), 2, {"where": STORED}, [[60]]),
    # NaN that is omitted leaves the divisor, but not an override
    ("avg", np.array([[NAN, 6.0]]), (1, 2), {}, [[6]]),
    ("avg", np.array([[NAN, 6.0]]), (1, 2), {"divisor_override": 4}, [[1.5]]),
    ("avg", np.array([[NAN, 6.0]]), (1, 3), PADDED, [[3]]),
    # NaN that is all there is
    ("avg", np.full((1, 2), NAN), (1, 2), {"divisor_override": 3}, [[NAN]]),
    *((name, LATE, (1, 2), {}, [[NAN, 5]]) for name in ("max", "avg")),
    ("min", LATE, (1, 2), {"nan": "propagate"}, [[NAN, NAN]]),
    # infinities
    ("max", ENDLESS, (1, 2), {}, [[1, INF]]),
    ("min", ENDLESS, (1, 2), {}, [[-INF, 2]]),
    ("avg", ENDLESS, (1, 2), {}, [[-INF, INF]]),
    ("avg", np.array([[INF, -INF]]), (1, 2), {}, [[NAN]]),
    ("avg", np.array([[INF, -INF]]), (1, 2), {"weights": np.full((1, 2), 3, "u1")}, [[NAN]]),
    # a window in which no pixel takes part is pooled as if all did
    *((name, BYTES, (1, 2), {"where": LAST}, [[one, 30]]) for name, one in THREE),
    ("avg", BYTES, (1, 2), {"weights": LAST.view(np.uint8)}, [[2, 30]]),
    # the value of a pixel that takes part may be the neutral one
    ("max", np.array([[255, 0]], np.uint8), (1, 2), {"where": SECOND}, [[0]]),
    ("min", np.array([[0, 255]], np.uint8), (1, 2), {"where": SECOND}, [[255]]),
    # where and weights together are their product
    ("avg", BYTES[:, 2:], (1, 2), {"where": SECOND, "weights": BYTES[:, :2]}, [[30]]),
    # NaN outside the mask takes no part
    *((name, np.array([[NAN, 4.0]]), (1, 2), STRICT, [[4]]) for name in ("avg", "max")),
    *((name, np.array([[4.0, NAN]]), (1, 2), {"where": SECOND}, [[4]]) for name in ("avg", "max")),
    ("avg", np.array([[4.0, NAN]]), (1, 2), STRICT, [[NAN]]),
    # a divisor at the end of the range of floats
    ("avg", np.full((1, 1), 1e300), 1, {"divisor_override": 2**1023}, [[1e300 / 2.0**1023]]),
    # float16 is summed in float64
    ("avg", np.full((2, 2), 60000, np.float16), 2, {}, [[np.float16(60000)]]),
]


@pytest.mark.parametrize(("method", "array", "size", "options", "wanted"), RULES)
def test_values_are_pooled_by_the_rules(
    method: str, array: Array, size: Any, options: dict[str, Any], wanted: Any
) -> None:
    assert np.array_equal(POOLS[method](array, size, **options), wanted, equal_nan=True)


@ANY_METHOD
def test_nan_and_infinity_stay_in_their_windows(method: str) -> None:
    array = np.ones((6, 6, 3), np.float16)
    array[3, 3, 1] = NAN
    hit = np.isnan(POOLS[method](array, 2, nan="propagate"))
    channels = range(3) if method == "mode" else [1]  # pixels vote as a whole
    assert np.argwhere(hit).tolist() == [[1, 1, channel] for channel in channels]
    for infinity in (INF, -INF):  # padding never wins over it
        assert np.all(POOLS[method](np.full((3, 3), infinity), 3, 1, 2) == infinity)


def test_infinity_stays_in_its_windows_and_a_large_value_leaves_no_trace() -> None:
    array = np.ones((1, 40))
    array[0, 7] = INF
    assert np.isinf(avg_pool(array, (1, 5), 1)[0]).nonzero()[0].tolist() == [3, 4, 5, 6, 7]
    column = np.full((40, 1), 0.1)
    column[0] = 1e17
    assert abs(avg_pool(column, (8, 1), 1)[1:] - 0.1).max() < 1e-16


# Extents

HUGE = 10**30
BEFORE = ((HUGE - 1, 0), (HUGE - 1, 0))


@ANY_METHOD
@pytest.mark.parametrize(
    ("choices", "rows", "columns"),
    [
        ({"padding": "same"}, [3], [4]),
        ({"padding": "same_lower"}, [3], [4]),
        ({"ceil_mode": True}, [3], [4]),
        ({"padding": "same", "stride": 1}, [3] * 3, [4] * 4),
        ({"padding": BEFORE, "stride": 2}, [1, 3], [1, 3]),
    ],
    ids=str,
)
def test_huge_windows_cost_no_more(method: str, choices: Any, rows: Any, columns: Any) -> None:
    array = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    parts = [[array[:row, :column] for column in columns] for row in rows]
    wanted = [
        [oracle.pool(method, part, size=part.shape).values.item() for part in row] for row in parts
    ]
    assert POOLS[method](array, HUGE, **choices).tolist() == wanted


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_a_divisor_beyond_floats_gives_0(dtype: np.dtype[Any]) -> None:
    divisors: list[dict[str, Any]] = [{"count_include_pad": True}, {"divisor_override": 10**400}]
    for choices, side in product(divisors, (HUGE, 10**400)):
        pooled = avg_pool(np.full((2, 2), 100, dtype), side, padding="same", **choices)
        assert float(pooled.item()) == pytest.approx(0, abs=1e-50)


@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype(">u2"), np.dtype(">f8")], ids=str)
@ANY_METHOD
def test_a_picture_without_channels_gives_one(method: str, dtype: np.dtype[Any]) -> None:
    array: Array = np.zeros((5, 7, 0), dtype)
    choices: list[dict[str, Any]] = [{}, {"where": np.zeros((5, 7), np.bool_)}]
    choices += [{"weights": np.zeros((5, 7), np.uint8)}] * (method == "avg")
    wanted: Array = array[:2, :3].astype(np.uint8 if method == "avg" and dtype == "?" else dtype)
    for options in choices:
        assert same(POOLS[method](array, 2, **options), wanted)


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@ANY_METHOD
def test_a_single_pixel_is_itself_under_every_window(method: str, dtype: np.dtype[Any]) -> None:
    pixel = np.array([[[3, 5]]], dtype)
    for choices in ({"size": 1}, {"size": 4, "padding": "same"}, {"size": 3, "ceil_mode": True}):
        assert same(POOLS[method](pixel, **choices), pixel)
    assert same(POOLS[method](pixel, 2, 1, 1), np.broadcast_to(pixel, (2, 2, 2)))


# Refusals

PICTURE = np.ones((4, 5), np.uint8)
BOOL_MASK, BYTE_MASK = np.ones((4, 5), np.bool_), np.ones((4, 5), np.uint8)


def refusal(pool: Callable[..., Array], *arguments: Any, **choices: Any) -> PoolError:
    """The error that a call ends with, which names a remedy."""
    with pytest.raises(PoolError) as caught:
        pool(*arguments, **choices)
    assert str(caught.value) == f"{caught.value.message}; {caught.value.remedy}"
    return caught.value


WHOLE, PAIR = "give a whole number of at least 1", "give one number or (height, width)"
SIDES, MASK, SPANS = (
    "((top, bottom), (left, right))",
    "give a bool array (H, W)",
    "the window spans",
)
UNEVEN = {"size": 2, "padding": ((2, 1), (2, 2)), "dilation": (1, 2)}
NUMBERS_REFUSED = [
    *((value, repr(value), WHOLE) for value in (True, 2.0, "2", 0, -1)),
    *(((2, 0), "0", WHOLE), ((True, 2), "True", WHOLE), ((2, 2.5), "2.5", WHOLE)),
    (np.array([2, 2]), "array", WHOLE),
    *((value, str(value), PAIR) for value in ((2,), (), (2, 2, 2))),
]
BAD: list[tuple[dict[str, Any], str, str]] = [
    *(
        ({name: value}, f"{name} is {shown}", remedy)
        for name in ("size", "stride", "dilation")
        for value, shown, remedy in NUMBERS_REFUSED
    ),
    *(
        ({"padding": value}, f"padding is {value!r}", remedy)
        for values, remedy in (
            (("SAME", ""), "valid, same, same_lower"),
            (((1, 1, 1), (1,)), SIDES),
            ((None, True, 1.0, -1), "at least 0"),
        )
        for value in values
    ),
    ({"padding": ((1, 1, 1), 1)}, "padding of one axis is (1, 1, 1)", "(before, after)"),
    ({"padding": ((0, -1), 0)}, "padding is -1", "at least 0"),
    ({"padding": ("same", 1)}, "padding is 'same'", "at least 0"),
    ({"padding": 3}, "padding 3 is too large for a window that spans 3", "at most 2"),
    ({"padding": ((0, 0), (0, 3))}, "padding 3 is too large", "at most 2"),
    (UNEVEN, "padding 2 is too large for a window that spans 2", "at most 1"),
    ({"ceil_mode": 1}, "ceil_mode is 1", "True or False"),
    *(
        ({"nan": value}, f"nan is {value!r}", '"omit" or "propagate"')
        for value in ("x", None, ["omit"])
    ),
    ({"size": 5}, f"{SPANS} 5 pixels but the picture's height is 4", "size"),
    ({"size": (1, 6)}, f"{SPANS} 6 pixels but the picture's width is 5", "size"),
    ({"dilation": 2}, f"{SPANS} 5 pixels but the picture's height is 4", "size"),
    ({"size": 9, "padding": 2}, "the picture's height is 4 (8 with padding)", "size"),
    ({"size": 9, "stride": 3, "ceil_mode": True}, "spans 9", "size"),
    ({"where": BYTE_MASK}, "where is an array of uint8", MASK),
    ({"where": np.ones((4, 5))}, "where is an array of float64", MASK),
    ({"where": [[True] * 5] * 4}, "where is [[True", MASK),
    ({"where": True}, "where is True", MASK),
]


@pytest.mark.parametrize(("choices", "message", "remedy"), BAD)
@ANY_METHOD
def test_bad_arguments_are_refused(method: str, choices: Any, message: str, remedy: str) -> None:
    error = refusal(POOLS[method], PICTURE, **({"size": 3} | choices))
    assert message in error.message
    assert remedy in error.remedy


BAD_WEIGHTS = [
    *((np.ones((4, 5), np.int8), "an array of int8"), (BOOL_MASK, "an array of bool")),
    *((np.ones((4, 5)), "an array of float64"), ([[1] * 5] * 4, "[[1"), (2, "2")),
]
BOTH = (("where", BOOL_MASK), ("weights", BYTE_MASK))
BAD_OF_AVERAGES: list[tuple[dict[str, Any], str, str]] = [
    *(
        ({"divisor_override": value}, f"divisor_override is {value!r}", "of at least 1")
        for value in (0, -2, True, False, 1.5, 2.0, "2", (2,))
    ),
    *(
        ({"count_include_pad": value}, f"count_include_pad is {value!r}", "True or False")
        for value in (1, None, "yes")
    ),
    *(
        ({"weights": value}, f"weights is {shown}", "give unsigned integers (H, W)")
        for value, shown in BAD_WEIGHTS
    ),
    *(
        (
            {name: np.ones(shape, one.dtype)},
            f"{name} has shape {shape}, the array (4, 5)",
            "a pixel",
        )
        for name, one in BOTH
        for shape in ((5, 4), (4, 5, 1), (4,), (1, 5))
    ),
    *(
        ({name: mask, divisor: 3 if "over" in divisor else True}, name, divisor)
        for name, mask in BOTH
        for divisor in ("count_include_pad", "divisor_override")
    ),
]


@pytest.mark.parametrize(("choices", "message", "remedy"), BAD_OF_AVERAGES)
def test_bad_arguments_of_averages_are_refused(choices: Any, message: str, remedy: str) -> None:
    error = refusal(avg_pool, PICTURE, 2, **choices)
    assert message in error.message
    assert remedy in error.remedy


OTHER_ARRAYS = [
    *(
        (np.empty((4, 4), dtype), f"the array's dtype is {np.dtype(dtype)}", "uint8…64")
        for dtype in (np.object_, np.complex64, np.complex128, "U1", "S1", "M8[s]", "V2")
    ),
    *(
        (np.zeros(shape), f"its shape is {shape}", "(H, W), (H, W, C) or the axes")
        for shape in ((), (4,), (1, 1, 1, 1, 5, 5))
    ),
    *((ragged, "it is not an array", "(H, W)") for ragged in ([[1, 2], [3]], [[[1]], [2]])),
    (np.ma.masked_equal(PICTURE, 1), "masked", "where=~array.mask"),
    *((np.zeros(shape), "the picture's height is 0", "pixels") for shape in ((0, 5), (0, 0, 3))),
    (np.zeros((4, 0)), "the picture's width is 0", "pixels"),
]


@pytest.mark.parametrize(("array", "message", "remedy"), OTHER_ARRAYS)
@ANY_METHOD
def test_other_arrays_are_refused(method: str, array: Any, message: str, remedy: str) -> None:
    error = refusal(POOLS[method], array, 1)
    assert message in error.message
    assert remedy in error.remedy


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
def test_long_doubles_are_refused() -> None:
    assert "dtype" in refusal(max_pool, np.zeros((4, 4), np.longdouble), 2).message


@pytest.mark.parametrize("dilation", [6, 7])
def test_a_window_without_a_pixel_is_refused_also_between_windows_with_some(dilation: int) -> None:
    sides = (dilation - 1, dilation - 1)
    error = refusal(max_pool, np.ones((4, 4), np.uint8), (1, 2), 1, (0, sides), (1, dilation))
    assert error.message.startswith("window 3 along the width of 4 holds no pixel")
    assert f"{dilation} apart" in error.message
    assert re.search("dilation.*padding|padding.*dilation", error.remedy)
    assert min_pool(PICTURE, 2, 1, ((1, 1), (2, 2)), (1, 2)).shape == (5, 7)  # more is allowed


def test_an_error_survives_being_pickled() -> None:
    error = refusal(max_pool, PICTURE, 9)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - what it loads was dumped here
    assert type(copy) is PoolError
    assert (copy.message, copy.remedy, str(copy)) == (error.message, error.remedy, str(error))
    assert isinstance(copy, ValueError)
