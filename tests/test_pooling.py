"""The engine against the nested loop, its laws, its edges and its refusals."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli import PoolError, Window, avg_pool, max_pool, min_pool, output_shape
from poolcli.engine import tiles
from poolcli.engine.pooling import table_average
from tests import oracle

Array = NDArray[Any]
Strategy = st.SearchStrategy[Any]
SEEDS = st.integers(0, 2**32 - 1)

POOLS: dict[str, Callable[..., Array]] = {"max": max_pool, "min": min_pool, "avg": avg_pool}
METHODS = sorted(POOLS)
INTEGERS = [np.dtype(f"{kind}{width}") for kind in "iu" for width in (1, 2, 4, 8)]
FLOATS = [np.dtype(f"f{width}") for width in (2, 4, 8)]
DTYPES = [np.dtype(np.bool_), *INTEGERS, *FLOATS]
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text("utf-8"))["cases"]


def reversed_everywhere(array: Array) -> Array:
    backwards = (slice(None, None, -1),) * array.ndim
    return array[backwards].copy()[backwards]


def upside_down(array: Array) -> Array:
    return array[::-1].copy()[::-1]


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def every_other_pixel(array: Array) -> Array:
    height, width = array.shape[:2]
    roomy = np.zeros((2 * height, 2 * width, *array.shape[2:]), array.dtype)
    roomy[::2, 1::2] = array
    return roomy[::2, 1::2]


def cut_from_wider_rows(array: Array) -> Array:
    return np.concatenate((array, array), axis=1)[:, : array.shape[1]]


def planes_first(array: Array) -> Array:
    return np.moveaxis(np.moveaxis(array, -1, 0).copy(), 0, -1)


def unaligned(array: Array) -> Array:
    memory = np.frombuffer(b"\0" + array.tobytes(), np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


LAYOUTS: list[Callable[[Array], Array]] = [
    np.ascontiguousarray,
    np.asfortranarray,
    reversed_everywhere,
    upside_down,
    read_only,
    every_other_pixel,
    cut_from_wider_rows,
    planes_first,
    unaligned,
]
BUDGETS = [(1, 1), (64, 1), (300, 2000), (2000, 300), (tiles.TILE_BYTES, tiles.BAND_BYTES)]
"""Bytes of a tile and of a band: down to a row, or a window, at a time."""


@dataclass(frozen=True)
class Call:
    """One call of the engine, and how small the tiles are in which it works."""

    method: str
    array: Array
    geometry: dict[str, Any]
    options: dict[str, Any]
    budget: tuple[int, int] = BUDGETS[-1]

    def run(self) -> Array:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiles, "TILE_BYTES", self.budget[0])
            patch.setattr(tiles, "SHARED_BYTES", self.budget[0])
            patch.setattr(tiles, "BAND_BYTES", self.budget[1])
            return POOLS[self.method](self.array, **self.geometry, **self.options)

    def wanted(self) -> oracle.Pooled:
        return oracle.pool(self.method, self.array, **self.geometry, **self.options)

    def lines(self) -> tuple[oracle.Line, oracle.Line]:
        return oracle.lines(self.array.shape, **self.geometry)

    def fits(self) -> bool:
        return all(line.fits for line in self.lines())

    def but(self, **changes: Any) -> Call:
        return dataclasses.replace(self, **changes)


def random_values(rng: np.random.Generator, dtype: np.dtype[Any], kind: str, shape: Any) -> Array:
    """Values of native byte order: few different ones, any, or the ends of the type."""
    values: Array
    if dtype.kind == "b" or kind == "few":
        values = rng.integers(-2 if dtype.kind in "if" else 0, 4, shape)
        return (values % 2 if dtype.kind == "b" else values).astype(dtype)
    if dtype.kind == "f":
        return random_floats(rng, dtype, kind, shape)
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if kind == "ends":
        return np.asarray(rng.choice(np.array([least, least + 1, most - 1, most], dtype), shape))
    return np.asarray(rng.integers(least, most, shape, dtype, endpoint=True))


def random_floats(rng: np.random.Generator, dtype: np.dtype[Any], kind: str, shape: Any) -> Array:
    """Values of any size, or as large as the type allows."""
    values: Array
    if kind == "any":
        values = rng.normal(size=shape) * 10.0 ** rng.integers(-5, 5, shape)
    else:
        largest = min(float(np.finfo(dtype).max), 1e280)  # so that no sum leaves float64
        values = rng.choice([-largest, largest], shape)
    return values.astype(dtype)


def sprinkled(rng: np.random.Generator, values: Array, special: list[float], share: float) -> Array:
    """The values with NaN or infinity on a share of them."""
    if special:
        places = rng.random(values.shape) < share
        values[places] = rng.choice(special, values.shape)[places]
    return values


@st.composite
def pictures(draw: st.DrawFn, dtypes: list[np.dtype[Any]], kinds: list[str]) -> Array:
    """Arrays (H, W) and (H, W, C) of any memory layout and byte order."""
    rng = np.random.default_rng(draw(SEEDS))
    sides = st.integers(1, 11)
    shape = draw(st.tuples(sides, sides) | st.tuples(sides, sides, st.integers(1, 6)))
    dtype = draw(st.sampled_from(dtypes))
    values = random_values(rng, dtype, draw(st.sampled_from(kinds)), shape)
    if dtype.kind == "f":
        special = [[], [np.nan], [np.inf], [np.nan, np.inf, -np.inf]]
        shares = st.sampled_from([0.05, 0.3, 0.8])
        values = sprinkled(rng, values, draw(st.sampled_from(special)), draw(shares))
    values = values.astype(dtype.newbyteorder(draw(st.sampled_from("=S"))))
    return draw(st.sampled_from(LAYOUTS))(values)


def one_or_two(numbers: Strategy) -> Strategy:
    """A number for both axes, or one for each."""
    return numbers | st.tuples(numbers, numbers)


@st.composite
def paddings(draw: st.DrawFn, most: tuple[int, int]) -> Any:
    """Every form and name that a padding may have."""
    height, width = (st.integers(0, limit) for limit in most)
    return draw(
        st.sampled_from(["valid", "same", "same_lower"])
        | st.integers(0, min(most))
        | st.tuples(height, width)
        | st.tuples(one_or_two(height), one_or_two(width))
    )


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """How windows lie; some do not fit."""
    size = draw(one_or_two(st.sampled_from([1, 2, 2, 3, 3, 4, 5, 6, 7, 9, 12])))
    dilation = draw(one_or_two(st.sampled_from([1, 1, 1, 2, 3])))
    sizes, dilations = np.broadcast_to(size, 2).tolist(), np.broadcast_to(dilation, 2).tolist()
    most = (dilations[0] * (sizes[0] - 1), dilations[1] * (sizes[1] - 1))
    return {
        "size": size,
        "stride": draw(st.none() | one_or_two(st.sampled_from([1, 1, 1, 2, 3, 5]))),
        "padding": draw(paddings(most)),
        "dilation": dilation,
        "ceil_mode": draw(st.booleans()),
    }


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, ...]) -> Array:
    """Which pixels take part: none, few, most."""
    rng = np.random.default_rng(draw(SEEDS))
    return np.asarray(rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.4, 0.9])))


@st.composite
def weightings(draw: st.DrawFn, shape: tuple[int, ...], dtypes: list[str]) -> Array:
    """Weights of any unsigned type and byte order, some of them 0."""
    rng = np.random.default_rng(draw(SEEDS))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    values = random_values(rng, dtype.newbyteorder("="), draw(st.sampled_from(KINDS)), shape)
    return np.asarray(values * draw(masks(shape)), dtype)


KINDS = ["few", "any", "ends"]
WEIGHTS = ["u1", "<u2", ">u2", "<u4", ">u4", "<u8", ">u8"]


@st.composite
def options(draw: st.DrawFn, method: str, shape: tuple[int, ...], weights: list[str]) -> Any:
    """Who takes part, or what the sum is divided by."""
    choices: dict[str, Any] = {"nan": draw(st.sampled_from(["omit", "propagate"]))}
    names = ["", "where", "weights", "both", "divisor"] if method == "avg" else ["", "where"]
    name = draw(st.sampled_from(names))
    if name in ("where", "both"):
        choices["where"] = draw(masks(shape))
    if name in ("weights", "both"):
        choices["weights"] = draw(weightings(shape, weights))
    if name == "divisor":
        choices["count_include_pad"] = draw(st.booleans())
        choices["divisor_override"] = draw(st.sampled_from([None, 1, 2, 3, 7, 1000, 2**70]))
    return choices


@st.composite
def calls(
    draw: st.DrawFn,
    methods: list[str] = METHODS,
    dtypes: list[np.dtype[Any]] = DTYPES,
    kinds: list[str] = KINDS,
    weights: list[str] = WEIGHTS,
) -> Call:
    """Calls of the engine, also such as do not fit."""
    method = draw(st.sampled_from(methods))
    array = draw(pictures(dtypes, kinds))
    return Call(
        method,
        array,
        draw(geometries()),
        draw(options(method, array.shape[:2], weights)),
        draw(st.sampled_from(BUDGETS)),
    )


def fitting(**choices: Any) -> Strategy:
    """Calls that fit."""
    return calls(**choices).filter(Call.fits)


def exact(**choices: Any) -> Strategy:
    """Calls that fit, of float values so few and small that float64 sums have no error."""
    return st.one_of(
        fitting(dtypes=[np.dtype(np.bool_), *INTEGERS], **choices),
        fitting(dtypes=FLOATS, kinds=["few"], weights=["u1"], **choices),
    )


def same(one: Array, other: Array) -> bool:
    """Whether shape, type and every value are equal; NaN equals NaN."""
    equal = np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return one.dtype == other.dtype and equal


law = settings(deadline=None, max_examples=60)


def usual_divisor(call: Call) -> Call:
    """The call without another divisor than the number of pixels."""
    names = ("nan", "where", "weights")
    return call.but(options={name: call.options[name] for name in names if name in call.options})


# The nested loop


@settings(deadline=None, max_examples=500)
@given(calls())
def test_every_call_gives_what_the_nested_loop_gives_or_is_refused(call: Call) -> None:
    if call.fits():
        assert oracle.mismatches(call.run(), call.wanted()) == []
    else:
        with pytest.raises(PoolError):
            call.run()


@settings(deadline=None, max_examples=100)
@given(fitting(methods=["avg"], dtypes=[*INTEGERS, *FLOATS]), st.booleans(), st.none() | st.just(3))
def test_with_another_divisor_an_average_is_the_sum_over_it(
    call: Call, count_include_pad: bool, divisor_override: int | None
) -> None:
    call = call.but(
        options={"count_include_pad": count_include_pad, "divisor_override": divisor_override}
    )
    assert oracle.mismatches(call.run(), call.wanted()) == []


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
@given(fitting())
def test_the_shape_is_the_one_that_output_shape_foretells(call: Call) -> None:
    assert call.run().shape == output_shape(call.array.shape, **call.geometry)


@law
@given(fitting(methods=["max"]))
def test_every_max_stands_in_its_window(call: Call) -> None:
    assert_stands_in_its_window(call)


@law
@given(fitting(methods=["min"]))
def test_every_min_stands_in_its_window(call: Call) -> None:
    assert_stands_in_its_window(call)


def assert_stands_in_its_window(call: Call) -> None:
    rows, columns = call.lines()
    pooled = call.run()
    for i, j in np.ndindex(pooled.shape[:2]):
        held = np.ix_(rows.inside(rows.windows[i]), columns.inside(columns.windows[j]))
        window = call.array[held].reshape(-1, *pooled.shape[2:])
        found = (window == pooled[i, j]) | ((window != window) & (pooled[i, j] != pooled[i, j]))
        assert found.any(axis=0).all()


@law
@given(exact(methods=["avg"]).filter(lambda call: call.array.dtype.kind != "b"))
def test_an_average_lies_between_min_and_max(call: Call) -> None:
    call = usual_divisor(call)
    where = call.options.get("where", np.True_) & (call.options.get("weights", np.uint8(1)) > 0)
    over = {"nan": call.options["nan"], "where": np.broadcast_to(where, call.array.shape[:2])}
    lowest, highest = (call.but(method=name, options=over).run() for name in ("min", "max"))
    average = call.run()
    assert np.all((lowest <= average) | np.isnan(average))
    assert np.all((average <= highest) | np.isnan(average))


@law
@given(exact(methods=METHODS), st.integers(0, 255))
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
    pooled = call.run()
    if call.method == "avg" and call.array.dtype.kind == "b":
        assert same(pooled, call.array * np.uint8(255))
    else:
        assert same(pooled, call.array)


@law
@given(fitting().filter(lambda call: call.array.ndim == 3), st.randoms(use_true_random=False))
def test_channels_may_be_permuted(call: Call, random: Any) -> None:
    order = random.sample(range(call.array.shape[2]), call.array.shape[2])
    assert same(call.but(array=call.array[..., order]).run(), call.run()[..., order])


@law
@given(fitting().filter(lambda call: call.array.ndim == 3))
def test_every_channel_is_pooled_on_its_own(call: Call) -> None:
    alone = [call.but(array=call.array[..., c]).run() for c in range(call.array.shape[2])]
    assert same(np.stack(alone, axis=2).astype(call.run().dtype), call.run())


@law
@given(exact())
def test_the_axes_may_be_swapped_with_their_choices(call: Call) -> None:
    def swapped(value: Any) -> Any:
        return value[::-1] if isinstance(value, tuple) else value

    turned = call.but(
        array=call.array.swapaxes(0, 1),
        geometry={name: swapped(value) for name, value in call.geometry.items()},
        options={name: np.transpose(value) if name in ("where", "weights") else value
                 for name, value in call.options.items()},
    )  # fmt: skip
    assert same(turned.run().swapaxes(0, 1), call.run())


@law
@given(exact(), st.sampled_from([0, 1]))
def test_an_axis_may_be_flipped_with_its_padding_where_windows_end_flush(
    call: Call, axis: int
) -> None:
    line = call.lines()[axis]
    assume(line.windows[-1][-1] == line.extent + line.after - 1)
    sides = [(each.before, each.after) for each in call.lines()]
    sides[axis] = sides[axis][::-1]
    flipped = call.but(
        array=np.flip(call.array, axis),
        geometry={**call.geometry, "padding": tuple(sides)},
        options={name: np.flip(value, axis) if name in ("where", "weights") else value
                 for name, value in call.options.items()},
    )  # fmt: skip
    assert same(np.flip(flipped.run(), axis), call.run())


@law
@given(exact(methods=["max", "min"]))
def test_min_is_max_seen_in_the_negative(call: Call) -> None:
    other = {"max": "min", "min": "max"}[call.method]
    assert same(negative(call.but(method=other, array=negative(call.array)).run()), call.run())


def negative(array: Array) -> Array:
    """The values in reverse order; the complement, which exists for every integer."""
    turned = np.negative(array) if array.dtype.kind == "f" else np.invert(array)
    return turned.astype(array.dtype)


@law
@given(fitting(), st.sampled_from(LAYOUTS), st.sampled_from("=S"))
def test_memory_layout_and_byte_order_change_no_value(
    call: Call, layout: Callable[[Array], Array], order: Any
) -> None:
    array = layout(call.array.astype(call.array.dtype.newbyteorder(order)))
    assert np.array_equal(
        call.but(array=array).run(), call.run(), equal_nan=call.array.dtype.kind == "f"
    )


@law
@given(exact(), st.sampled_from(BUDGETS))
def test_the_size_of_tiles_changes_no_value(call: Call, budget: tuple[int, int]) -> None:
    assert same(call.but(budget=budget).run(), call.run())


@law
@given(fitting(methods=["avg"], dtypes=[np.dtype("u1"), np.dtype("u2")], weights=["u1"]), SEEDS)
def test_averaging_through_a_table_is_averaging_what_it_says(call: Call, seed: int) -> None:
    names = ("weights", "count_include_pad", "divisor_override")
    chosen = {name: call.options[name] for name in names if name in call.options}
    table = np.random.default_rng(seed).integers(-99, 99, 1 << 16).astype(np.float64)
    height, width = call.array.shape[:2]
    axes = Window.of(**call.geometry).axes((height, width))
    got = table_average(call.array, table, axes, **chosen)
    assert same(got, avg_pool(table[call.array], **call.geometry, **chosen))


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_dtype_is_kept_with_its_byte_order(
    method: str, order: Any, dtype: np.dtype[Any]
) -> None:
    given_type = dtype.newbyteorder(order)
    pooled = POOLS[method](np.ones((3, 3, 2), given_type), 2, 1)
    wanted = np.uint8 if method == "avg" and dtype.kind == "b" else given_type
    assert pooled.dtype == wanted
    assert np.all(pooled == (255 if pooled.dtype != given_type else 1))


@pytest.mark.parametrize("channels", range(1, 7))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pixels_of_every_width_are_picked_right(channels: int, dtype: np.dtype[Any]) -> None:
    rng = np.random.default_rng(channels)
    array = random_values(rng, dtype, "any", (9, 23, channels))
    for method in METHODS:
        call = Call(method, array, {"size": 3, "stride": 2, "padding": 1}, {})
        assert oracle.mismatches(call.run(), call.wanted()) == []


# Integers at the ends of their types


@pytest.mark.parametrize(
    ("value", "dtype", "side"),
    [
        (255, "u1", 17),
        (65535, "u2", 257),
        (65535, ">u2", 257),
        (2**32 - 1, "u4", 19),
        (2**63 - 1, "i8", 5),
        (-(2**63), "i8", 5),
        (2**64 - 1, "u8", 5),
        (2**64 - 3, ">u8", 5),
        (-128, "i1", 17),
        (-(2**15), "i2", 257),
        (-(2**31), "i4", 19),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_window_full_of_the_same_extreme_value_gives_it(
    value: int, dtype: str, side: int, method: str
) -> None:
    array = np.full((side + 1, side + 2), value, dtype)
    wanted = np.full((2, 3), value, dtype)
    assert same(POOLS[method](array, side, 1), wanted)
    if method == "avg":
        ones = np.ones(array.shape, np.uint8)
        assert same(avg_pool(array, side, 1, weights=ones * np.uint8(255)), wanted)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS])
@pytest.mark.parametrize("side", [2, 3, 17, 40])
@pytest.mark.parametrize("stride", [1, 3])
def test_whatever_scratch_memory_held_before_nothing_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, dtype: np.dtype[Any], side: int, stride: int
) -> None:
    def poisoned(count: int, of: np.dtype[Any]) -> NDArray[Any]:
        made: NDArray[Any] = np.full(count, np.nan if of.kind == "f" else 1, of)
        return made

    array = np.random.default_rng(side).integers(0, 100, (60, 50, 3)).astype(dtype)
    weights = np.ones(array.shape[:2], np.uint8)
    wanted = [pool(array, side, stride) for pool in POOLS.values()]
    weighted = avg_pool(array, side, stride, weights=weights)
    monkeypatch.setattr("poolcli.engine.kernels.new", poisoned)

    for pool, result in zip(POOLS.values(), wanted, strict=True):
        assert same(pool(array, side, stride), result)
    assert same(avg_pool(array, side, stride, weights=weights), weighted)


def test_the_heaviest_weights_on_the_largest_values_do_not_overflow() -> None:
    array = np.full((4, 4), 2**64 - 1, np.uint64)
    assert same(avg_pool(array, 4, weights=array), array[:1, :1])
    array[0, 0] = 0
    assert avg_pool(array, 4, weights=np.full_like(array, 2**64 - 1)).item() == round(
        Fraction(15 * (2**64 - 1), 16)
    )


@pytest.mark.parametrize(("dtype", "shape"), [("i8", (8, 16)), ("u8", (257, 1))])
def test_small_values_under_heavy_weights_do_not_overflow(dtype: str, shape: Any) -> None:
    array = np.ones(shape, dtype)
    weights = np.full(shape, 255, np.uint8)
    assert avg_pool(array, shape, weights=weights).tolist() == [[1]]
    assert avg_pool(array * 0, shape, weights=weights).tolist() == [[0]]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_a_sum_exactly_on_a_tie_goes_to_the_even_neighbour(dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    least, most = int(limits.min), int(limits.max)
    lower = [least, least + 1, 0, 1, 2, 3, most // 2, most - 2, most - 1]
    array = np.array([[low, low + 1] for low in lower], dtype)
    wanted = [low + low % 2 for low in lower]
    assert avg_pool(array, (1, 2)).ravel().tolist() == wanted
    assert (
        avg_pool(array, (1, 2), weights=np.ones(array.shape, np.uint8)).ravel().tolist() == wanted
    )


@pytest.mark.parametrize("dtype", [d for d in INTEGERS if d.kind == "i"], ids=str)
def test_a_negative_tie_goes_to_the_even_neighbour(dtype: np.dtype[Any]) -> None:
    array = np.array([[-1, 0], [-2, -1], [-3, -2], [-4, -3]], dtype)
    assert avg_pool(array, (1, 2)).ravel().tolist() == [0, -2, -2, -4]


@pytest.mark.parametrize("divisor", [2, 4, 6, 10])
def test_a_tie_of_an_override_goes_to_the_even_neighbour(divisor: int) -> None:
    array = np.arange(-50, 51, dtype=np.int32)[:, None] * (divisor // 2)
    wanted = [round(Fraction(half, 2)) for half in range(-50, 51)]
    assert avg_pool(array, 1, divisor_override=divisor).ravel().tolist() == wanted


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_an_override_that_leaves_the_type_is_clipped(dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    ends = np.array([[limits.min, limits.max]] * 2, dtype)
    assert avg_pool(ends, (2, 1), divisor_override=1).tolist() == [[limits.min, limits.max]]


@pytest.mark.parametrize("divisor", [2**31, 2**63, 2**64, 10**30])
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS], ids=str)
def test_an_override_may_be_larger_than_any_type(divisor: int, dtype: np.dtype[Any]) -> None:
    call = Call("avg", np.full((2, 2), 7, dtype), {"size": 2}, {"divisor_override": divisor})
    assert oracle.mismatches(call.run(), call.wanted()) == []


# bool


def test_an_average_of_bools_is_a_grey() -> None:
    array = np.array([[True, False, True, True]])
    assert same(avg_pool(array, (1, 2)), np.array([[128, 255]], np.uint8))


def test_max_of_bools_is_or_and_min_is_and() -> None:
    array = np.array([[True, False, True, True, False, False]])
    assert same(max_pool(array, (1, 2)), np.array([[True, True, False]]))
    assert same(min_pool(array, (1, 2)), np.array([[False, True, False]]))


def test_true_is_true_whatever_byte_it_is_stored_as() -> None:
    stored = np.array([[0, 1], [2, 255]], np.uint8).view(np.bool_)  # as Pillow hands out mode "1"
    assert avg_pool(stored, 2).tolist() == [[191]]
    assert avg_pool(stored, (1, 2)).tolist() == [[128], [255]]


def test_a_mask_counts_every_pixel_once_whatever_byte_it_is_stored_as() -> None:
    where = np.array([[0, 1], [2, 255]], np.uint8).view(np.bool_)
    array = np.array([[9, 10], [20, 60]], np.uint8)
    assert avg_pool(array, 2, where=where).tolist() == [[30]]
    assert avg_pool(array.astype(np.float64), 2, where=where).tolist() == [[30.0]]
    assert avg_pool(array, 2, where=where, weights=np.ones_like(array)).tolist() == [[30]]
    assert max_pool(array, 2, where=where).tolist() == [[60]]


# Floats


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("nan", ["omit", "propagate"])
def test_a_window_of_nothing_but_nan_is_nan(method: str, nan: str) -> None:
    array = np.full((4, 4), np.nan, np.float32)
    array[2:, 2:] = 5
    pooled = POOLS[method](array, 2, nan=nan)
    assert np.isnan(pooled).tolist() == [[True, True], [True, False]]


def test_nan_is_nan_under_an_override_and_beside_padding_too() -> None:
    array = np.full((2, 2), np.nan)
    assert np.isnan(avg_pool(array, 2, divisor_override=3)).all()
    assert np.isnan(avg_pool(array, 2, 1, 1, count_include_pad=True)).all()


def test_omitted_nan_is_subtracted_from_the_divisor_but_not_from_an_override() -> None:
    array = np.array([[np.nan, 6.0]])
    assert avg_pool(array, (1, 2)).item() == 6
    assert avg_pool(array, (1, 2), 1, ((0, 0), (1, 0)), count_include_pad=True)[0, 1] == 6
    assert avg_pool(array, (1, 3), 1, ((0, 0), (1, 0)), count_include_pad=True).item() == 3
    assert avg_pool(array, (1, 2), divisor_override=4).item() == 1.5


@pytest.mark.parametrize("method", METHODS)
def test_one_nan_makes_its_window_nan_when_it_propagates_and_no_other(method: str) -> None:
    array = np.ones((6, 6, 3), np.float16)
    array[3, 3, 1] = np.nan
    hit = np.isnan(POOLS[method](array, 2, nan="propagate"))
    assert np.argwhere(hit).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("nan", ["omit", "propagate"])
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_infinities_are_ordinary_values(nan: Any, infinity: float) -> None:
    array = np.array([[infinity, 1.0, 2.0, 3.0]])
    assert max_pool(array, (1, 2), nan=nan).tolist() == [[max(infinity, 1.0), 3.0]]
    assert min_pool(array, (1, 2), nan=nan).tolist() == [[min(infinity, 1.0), 2.0]]
    assert avg_pool(array, (1, 2), nan=nan).tolist() == [[infinity, 2.5]]


@pytest.mark.parametrize("method", METHODS)
def test_padding_never_wins_over_an_infinity(method: str) -> None:
    for infinity in (np.inf, -np.inf):
        array = np.full((3, 3), infinity)
        assert np.all(POOLS[method](array, 3, 1, 2) == infinity)


@pytest.mark.parametrize("weights", [None, np.full((1, 2), 3, np.uint8)])
def test_inf_minus_inf_is_nan_without_a_warning(weights: Array | None) -> None:
    array = np.array([[np.inf, -np.inf]])
    assert np.isnan(avg_pool(array, (1, 2), weights=weights)).all()


def test_a_float16_past_its_range_is_infinite_without_a_warning() -> None:
    array = np.full((2, 2), 60000, np.float16)
    assert avg_pool(array, 2).item() == 60000
    assert avg_pool(array, 2, divisor_override=3).item() == np.inf
    assert avg_pool(-array, 2, divisor_override=3).item() == -np.inf


def test_a_sum_past_the_range_of_float16_still_has_its_average() -> None:
    assert np.all(avg_pool(np.full((40, 40), 65504, np.float16), 33, 1) == 65504)


def test_one_nan_or_infinity_poisons_no_neighbouring_window() -> None:
    array = np.ones((1, 40))
    array[0, 7] = np.inf
    pooled = avg_pool(array, (1, 5), 1, nan="propagate")[0]
    assert np.isinf(pooled).nonzero()[0].tolist() == [3, 4, 5, 6, 7]
    assert np.all(pooled[8:] == 1)


def test_a_large_value_leaves_no_trace_in_windows_without_it() -> None:
    array = np.full((40, 1), 0.1)
    array[0] = 1e17
    assert abs(avg_pool(array, (8, 1), 1)[1:] - 0.1).max() < 1e-16


# where and weights


def test_a_window_in_which_no_pixel_takes_part_is_pooled_as_if_all_did() -> None:
    array = np.array([[1, 3, 10, 30]], np.uint8)
    where = np.array([[False, False, False, True]])
    assert max_pool(array, (1, 2), where=where).tolist() == [[3, 30]]
    assert min_pool(array, (1, 2), where=where).tolist() == [[1, 30]]
    assert avg_pool(array, (1, 2), where=where).tolist() == [[2, 30]]
    assert avg_pool(array, (1, 2), weights=where.view(np.uint8)).tolist() == [[2, 30]]


def test_a_value_that_nobody_may_see_can_be_the_neutral_one() -> None:
    array = np.array([[0, 255]], np.uint8)
    where = np.array([[True, False]])
    assert max_pool(array, (1, 2), where=where).item() == 0
    assert min_pool(array[:, ::-1], (1, 2), where=where).item() == 255


def test_where_and_weights_together_are_their_product() -> None:
    array = np.array([[0, 30, 90]], np.uint8)
    weights = np.array([[1, 2, 7]], np.uint8)
    where = np.array([[True, True, False]])
    assert avg_pool(array, (1, 3), where=where, weights=weights).item() == 20


def test_nan_takes_part_only_where_it_is_let() -> None:
    array = np.array([[np.nan, 4.0]])
    second = np.array([[False, True]])
    for pool in POOLS.values():
        assert pool(array, (1, 2), nan="propagate", where=second).item() == 4
        assert pool(array, (1, 2), nan="omit", where=~second).item() == 4
        assert np.isnan(pool(array, (1, 2), nan="propagate", where=~second)).all()


# Extents


def test_a_divisor_just_inside_the_range_of_floats_divides() -> None:
    pooled = avg_pool(np.full((1, 1), 1e300), 1, divisor_override=2**1023)
    assert pooled.item() == 1e300 / 2.0**1023


@pytest.mark.parametrize("array", [[[1, 2], [3]], [[[1]], [2]]], ids=str)
def test_rows_of_different_lengths_are_refused(array: Any) -> None:
    with pytest.raises(PoolError, match="it is no array"):
        max_pool(array, 1)


HUGE = 10**30
BEFORE = ((HUGE - 1, 0), (HUGE - 1, 0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("choices", "stops"),
    [
        ({"padding": "same"}, ([3], [4])),
        ({"padding": "same_lower"}, ([3], [4])),
        ({"ceil_mode": True}, ([3], [4])),
        ({"padding": "same", "stride": 1}, ([3] * 3, [4] * 4)),
        ({"padding": BEFORE, "stride": 2}, ([1, 3], [1, 3])),
    ],
    ids=str,
)
def test_a_window_beyond_all_bounds_returns_at_once(
    method: str, choices: dict[str, Any], stops: tuple[list[int], list[int]]
) -> None:
    array = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    corners = [[array[:row, :column] for column in stops[1]] for row in stops[0]]
    wanted = [[oracle.pool(method, held, size=held.shape).values.item() for held in row]
              for row in corners]  # fmt: skip
    assert POOLS[method](array, HUGE, **choices).tolist() == wanted


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS], ids=str)
def test_padding_beyond_all_bounds_may_be_counted(dtype: np.dtype[Any]) -> None:
    array = np.full((2, 2), 100, dtype)
    pooled = avg_pool(array, HUGE, padding="same", count_include_pad=True)
    assert float(pooled.item()) == pytest.approx(0, abs=1e-50)


@pytest.mark.parametrize(
    "choices",
    [{"count_include_pad": True}, {"divisor_override": 10**400}],
    ids=["count_include_pad", "divisor_override"],
)
def test_a_divisor_beyond_the_range_of_floats_gives_0(choices: dict[str, Any]) -> None:
    assert avg_pool(np.ones((2, 2), np.uint8), 10**400, padding="same", **choices).item() == 0
    assert avg_pool(np.ones((2, 2)), 10**400, padding="same", **choices).item() == 0


@pytest.mark.parametrize("option", [{}, {"where": np.ones((5, 7), np.bool_)}], ids=["", "where"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [*DTYPES, np.dtype(">u2")], ids=str)
def test_a_picture_without_channels_gives_one(
    option: dict[str, Any], method: str, dtype: np.dtype[Any]
) -> None:
    pooled = POOLS[method](np.zeros((5, 7, 0), dtype), 2, **option)
    assert same(
        pooled, np.zeros((2, 3, 0), np.uint8 if method == "avg" and dtype == "?" else dtype)
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS], ids=str)
def test_a_single_pixel_is_itself_under_every_window_that_fits(
    method: str, dtype: np.dtype[Any]
) -> None:
    pixel = np.array([[[3, 5]]], dtype)
    for choices in ({"size": 1}, {"size": 4, "padding": "same"}, {"size": 3, "ceil_mode": True}):
        assert same(POOLS[method](pixel, **choices), pixel)
    assert same(POOLS[method](pixel, 2, 1, 1), np.broadcast_to(pixel, (2, 2, 2)))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 9, 3), (9, 1, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_a_line_of_pixels_is_pooled_along_itself(method: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    call = Call(method, array, {"size": 3, "stride": 2, "padding": "same"}, {})
    assert oracle.mismatches(call.run(), call.wanted()) == []


# Refusals

PICTURE = np.ones((4, 5), np.uint8)


def refusal(pool: Callable[..., Array], *arguments: Any, **choices: Any) -> PoolError:
    """The error that a call ends with; both of its parts say something."""
    with pytest.raises(PoolError) as caught:
        pool(*arguments, **choices)
    assert str(caught.value) == f"{caught.value.message}; {caught.value.remedy}"
    return caught.value


@pytest.mark.parametrize("pool", [max_pool, min_pool, avg_pool])
@pytest.mark.parametrize("name", ["size", "stride", "dilation"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        (2.0, "2.0"),
        ("2", "'2'"),
        (0, "0"),
        (-1, "-1"),
        ((2, 0), "0"),
        ((True, 2), "True"),
        ((2, 2.5), "2.5"),
        (np.array([2, 2]), "array"),
    ],
    ids=str,
)
def test_a_number_that_is_none_is_refused(
    pool: Callable[..., Array], name: str, value: Any, shown: str
) -> None:
    error = refusal(pool, PICTURE, **({"size": 2} | {name: value}))
    assert error.message.startswith(f"{name} is {shown}")
    assert error.remedy == "give whole numbers of at least 1"


@pytest.mark.parametrize("name", ["size", "stride", "dilation"])
@pytest.mark.parametrize("value", [(2,), (), (2, 2, 2)])
def test_neither_one_number_nor_two_is_refused(name: str, value: Any) -> None:
    error = refusal(max_pool, PICTURE, **({"size": 2} | {name: value}))
    assert error.message == f"{name} is {value}"
    assert error.remedy == "give one number or (height, width)"


@pytest.mark.parametrize(
    ("padding", "message", "remedy"),
    [
        ("SAME", "padding is 'SAME'", "valid, same, same_lower"),
        ("", "padding is ''", "valid, same, same_lower"),
        ((1, 1, 1), "padding is (1, 1, 1)", "((top, bottom), (left, right))"),
        ((1,), "padding is (1,)", "((top, bottom), (left, right))"),
        (((1, 1, 1), 1), "padding of one axis is (1, 1, 1)", "(before, after)"),
        (None, "padding is None", "at least 0"),
        (True, "padding is True", "at least 0"),
        (1.0, "padding is 1.0", "at least 0"),
        (-1, "padding is -1", "at least 0"),
        (((0, -1), 0), "padding is -1", "at least 0"),
        (("same", 1), "padding is 'same'", "at least 0"),
        (3, "padding 3 is too large for a window that spans 3", "at most 2"),
        (((0, 0), (0, 3)), "padding 3 is too large", "at most 2"),
    ],
    ids=str,
)
def test_padding_of_a_wrong_form_or_size_is_refused(
    padding: Any, message: str, remedy: str
) -> None:
    error = refusal(max_pool, PICTURE, 3, padding=padding)
    assert message in error.message
    assert remedy in error.remedy


def test_the_limit_of_padding_grows_with_dilation() -> None:
    assert max_pool(PICTURE, 2, 1, ((1, 1), (2, 2)), (1, 2)).shape == (5, 7)
    error = refusal(max_pool, PICTURE, 2, 1, ((2, 1), (2, 2)), (1, 2))
    assert error.message == "padding 2 is too large for a window that spans 2"


@pytest.mark.parametrize(
    ("choices", "message", "remedy"),
    [
        ({"ceil_mode": 1}, "ceil_mode is 1", "True or False"),
        ({"nan": "x"}, "nan is 'x'", '"omit" or "propagate"'),
        ({"nan": None}, "nan is None", '"omit" or "propagate"'),
        ({"nan": ["omit"]}, "nan is ['omit']", '"omit" or "propagate"'),
    ],
    ids=str,
)
@pytest.mark.parametrize("pool", [max_pool, min_pool, avg_pool])
def test_a_choice_that_does_not_exist_is_refused(
    pool: Callable[..., Array], choices: dict[str, Any], message: str, remedy: str
) -> None:
    error = refusal(pool, PICTURE, 2, **choices)
    assert error.message == message
    assert remedy in error.remedy


@pytest.mark.parametrize("value", [0, -2, True, False, 1.5, 2.0, "2", (2,)], ids=repr)
def test_a_divisor_that_is_no_whole_number_from_1_is_refused(value: Any) -> None:
    error = refusal(avg_pool, PICTURE, 2, divisor_override=value)
    assert error.message == f"divisor_override is {value!r}"
    assert error.remedy == "give a whole number of at least 1"


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_count_include_pad_is_true_or_false(value: Any) -> None:
    error = refusal(avg_pool, PICTURE, 2, count_include_pad=value)
    assert error.message == f"count_include_pad is {value!r}"
    assert error.remedy == "give True or False"


@pytest.mark.parametrize(
    "dtype", [np.object_, np.complex64, np.complex128, np.longdouble, "U1", "S1", "M8[s]", "V2"]
)
def test_pixels_of_a_type_that_has_no_pooling_are_refused(dtype: Any) -> None:
    if np.dtype(dtype) == np.float64:
        pytest.skip("longdouble is float64 here")
    error = refusal(max_pool, np.empty((4, 4), dtype), 2)
    assert error.message == f"the array's dtype is {np.dtype(dtype)}"
    assert "uint8…64" in error.remedy


@pytest.mark.parametrize("shape", [(), (4,), (1, 4, 4, 3)], ids=str)
def test_neither_two_axes_nor_three_are_refused(shape: tuple[int, ...]) -> None:
    error = refusal(max_pool, np.zeros(shape), 1)
    assert str(shape) in error.message
    assert error.remedy == "give (H, W) or (H, W, C)"


@pytest.mark.parametrize("pool", [max_pool, min_pool, avg_pool])
def test_a_masked_array_is_refused_before_its_mask_is_lost(pool: Callable[..., Array]) -> None:
    error = refusal(pool, np.ma.masked_equal(PICTURE, 1), 2)
    assert "masked" in error.message
    assert "where=~array.mask" in error.remedy


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        (np.ones((4, 5), np.uint8), "an array of uint8"),
        (np.ones((4, 5)), "an array of float64"),
        ([[True] * 5] * 4, "[[True"),
        (True, "True"),
    ],
    ids=["uint8", "float64", "list", "bool"],
)
@pytest.mark.parametrize("pool", [max_pool, min_pool, avg_pool])
def test_a_where_that_is_no_array_of_bools_is_refused(
    pool: Callable[..., Array], where: Any, shown: str
) -> None:
    error = refusal(pool, PICTURE, 2, where=where)
    assert error.message.startswith(f"where is {shown}")
    assert error.remedy == "give a bool array (H, W)"


@pytest.mark.parametrize(
    ("weights", "shown"),
    [
        (np.ones((4, 5), np.int8), "an array of int8"),
        (np.ones((4, 5), np.bool_), "an array of bool"),
        (np.ones((4, 5)), "an array of float64"),
        ([[1] * 5] * 4, "[[1"),
        (2, "2"),
    ],
    ids=["int8", "bool", "float64", "list", "number"],
)
def test_weights_that_are_no_unsigned_array_are_refused(weights: Any, shown: str) -> None:
    error = refusal(avg_pool, PICTURE, 2, weights=weights)
    assert error.message.startswith(f"weights are {shown}")
    assert error.remedy == "give unsigned integers (H, W)"


@pytest.mark.parametrize("shape", [(5, 4), (4, 5, 1), (4,), (1, 5)], ids=str)
@pytest.mark.parametrize(("name", "dtype"), [("where", np.bool_), ("weights", np.uint8)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...], name: str, dtype: Any) -> None:
    error = refusal(avg_pool, PICTURE, 2, **{name: np.ones(shape, dtype)})
    assert name in error.message
    assert str(shape) in error.message
    assert "(4, 5)" in error.message
    assert error.remedy == "give one value a pixel"


@pytest.mark.parametrize("name", ["where", "weights"])
@pytest.mark.parametrize("divisor", [{"count_include_pad": True}, {"divisor_override": 3}])
def test_weights_beside_another_divisor_are_refused(name: str, divisor: dict[str, Any]) -> None:
    mask: Array = np.ones((4, 5), np.bool_ if name == "where" else np.uint8)
    error = refusal(avg_pool, PICTURE, 2, **{name: mask}, **divisor)
    assert name in error.message
    assert next(iter(divisor)) in error.remedy


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0, 0, 3)], ids=str)
def test_a_picture_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    error = refusal(max_pool, np.zeros(shape), 1)
    assert ("width" if shape[0] else "height") in error.message
    assert "pixels" in error.remedy


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"size": 5}, "the window spans 5 pixels but the picture's height is 4"),
        ({"size": (1, 6)}, "the window spans 6 pixels but the picture's width is 5"),
        ({"size": 3, "dilation": 2}, "the window spans 5 pixels but the picture's height is 4"),
        ({"size": 9, "padding": 2}, "the picture's height is 4 (8 with padding)"),
        ({"size": 9, "stride": 3, "ceil_mode": True}, "spans 9"),
    ],
    ids=str,
)
def test_a_window_larger_than_the_picture_is_refused(choices: dict[str, Any], message: str) -> None:
    error = refusal(max_pool, PICTURE, **choices)
    assert message in error.message
    assert "size" in error.remedy


@pytest.mark.parametrize("dilation", [6, 7])
def test_a_window_without_a_pixel_is_refused_also_between_windows_with_some(dilation: int) -> None:
    sides = (dilation - 1, dilation - 1)
    error = refusal(max_pool, np.ones((4, 4), np.uint8), (1, 2), 1, (0, sides), (1, dilation))
    assert error.message.startswith("window 3 along the width of 4 holds no pixel")
    assert f"{dilation} apart" in error.message
    assert "dilation" in error.remedy
    assert "padding" in error.remedy


def test_an_error_survives_being_pickled() -> None:
    error = refusal(max_pool, PICTURE, 9)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - what it loads was dumped here
    assert type(copy) is PoolError
    assert (copy.message, copy.remedy, str(copy)) == (error.message, error.remedy, str(error))
    assert isinstance(copy, ValueError)
