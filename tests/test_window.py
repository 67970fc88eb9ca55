"""The arithmetic of windows against counting taps one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from poolcli import PoolError, output_shape
from poolcli.engine.window import Axis, Window
from tests import oracle

Laid = tuple[Axis, oracle.Line]
HUGE = 10**30


def one(n: int, k: int, s: int, padding: Any = "valid", d: int = 1, ceil: bool = False) -> Axis:
    """The axis of a window, seen along the width."""
    sides: Any = padding if isinstance(padding, str) else (0, padding)
    window = Window.of((1, k), (1, s), sides, (1, d), ceil_mode=ceil)
    return window.axes((1, n))[1]


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """The numbers of one axis; some do not fit."""
    n, k, s, d = (draw(st.integers(1, most)) for most in (30, 12, 9, 5))
    side = st.integers(0, d * (k - 1))
    padding = draw(st.sampled_from(["valid", "same", "same_lower"]) | st.tuples(side, side))
    return {"n": n, "k": k, "s": s, "padding": padding, "d": d, "ceil": draw(st.booleans())}


def line_of(choice: dict[str, Any]) -> oracle.Line:
    return oracle.line(*(choice[name] for name in ("n", "k", "s", "d", "padding", "ceil")))


def laid() -> st.SearchStrategy[Laid]:
    """Axes that fit, and the same windows counted out."""
    fitting = choices().filter(lambda choice: line_of(choice).fits)
    return fitting.map(lambda choice: (one(**choice), line_of(choice)))


@settings(max_examples=400)
@given(choices())
@example({"n": 4, "k": 2, "s": 1, "padding": (5, 5), "d": 6, "ceil": False})  # only in the middle
def test_a_window_is_refused_exactly_where_one_would_hold_no_pixel(choice: dict[str, Any]) -> None:
    if line_of(choice).fits:
        assert one(**choice).out == len(line_of(choice).windows)
    else:
        with pytest.raises(PoolError):
            one(**choice)


@settings(max_examples=300)
@given(laid())
def test_windows_and_their_taps_are_where_counting_finds_them(both: Laid) -> None:
    axis, line = both
    windows, inside = line.windows, [line.inside(window) for window in line.windows]
    assert (axis.before, axis.after) == (line.before, line.after)
    assert axis.span == windows[0][-1] - windows[0][0] + 1
    assert axis.dropped == len([at for at in range(line.extent) if at > windows[-1][-1]])
    interior = [i for i, window in enumerate(windows) if inside[i] == list(window)]
    assert list(axis.interior) == interior
    assert all(window[0] < 0 for window in windows[: axis.interior.start])
    most = max(map(len, inside))
    assert axis.most_taps == most if interior else axis.most_taps >= most
    padded = axis.padded()
    for i, window in enumerate(windows):
        assert (axis.start(i), axis.taps_inside(i)) == (window[0], len(inside[i]))
        assert padded.taps_inside(i) == line.padded(window)
    for tap in range(axis.size):
        reading, pixels = axis.pixels_at(tap)
        found = range(axis.out)[reading], range(axis.extent)[pixels]
        wanted = {i: window[tap] for i, window in enumerate(windows) if window[tap] in inside[i]}
        assert dict(zip(*found, strict=True)) == wanted
    assert windows[-1][0] < axis.extent + (0 if axis.dilation == 1 else line.after)


@settings(max_examples=500)
@given(laid())
@example((one(3, 2, 1, (1, 0), 3), oracle.line(3, 2, 1, 3, (1, 0), False)))
@example((one(3, 2, 1, (0, 1), 3), oracle.line(3, 2, 1, 3, (0, 1), False)))
def test_there_are_gaps_where_a_pixel_between_taps_is_in_no_window(both: Laid) -> None:
    axis, line = both
    first, last = line.windows[0][0], line.windows[-1][-1]
    unseen = set(range(line.extent)).difference(*map(line.inside, line.windows))
    assert axis.has_gaps == bool(unseen & {*range(first, last + 1)})
    assert bool(unseen) == (axis.dropped > 0 or axis.has_gaps)


@settings(max_examples=300)
@given(laid())
def test_a_trimmed_axis_has_the_same_pixels_in_every_window(both: Laid) -> None:
    axis, line = both
    trimmed = axis.trimmed()
    windows = [range(trimmed.start(i), trimmed.start(i) + trimmed.span, trimmed.dilation)
               for i in range(trimmed.out)]  # fmt: skip
    assert [line.inside(window) for window in windows] == list(map(line.inside, line.windows))
    assert trimmed.trimmed() == trimmed
    for tap in (0, trimmed.size - 1):
        assert any(0 <= window[tap] < axis.extent for window in windows)


def test_a_trimmed_window_is_about_twice_the_picture() -> None:
    for stride, padding in ((1, "same"), (HUGE, "same_lower"), (HUGE, "valid"), (1, (HUGE - 1, 0))):
        trimmed = one(7, HUGE, stride, padding, ceil=padding == "valid").trimmed()
        assert max(trimmed.size, trimmed.span) <= 2 * 7 + 1
    assert one(5, HUGE, HUGE, ceil=True).trimmed() == Axis(5, 5, 1, 1, 0, 0, 1)
    with pytest.raises(PoolError, match="too far beyond a width of 7"):
        one(7, HUGE, HUGE - 1, (HUGE - 1, HUGE - 1))


# Named paddings, ceil_mode, dropped pixels and gaps


@given(choices())
def test_a_named_padding_is_some_padding_in_numbers(choice: dict[str, Any]) -> None:
    named = [choice | {"padding": name} for name in ("same", "same_lower", "valid")]
    assume(all(line_of(one).fits for one in named))
    same, lower, valid = (one(**each) for each in named)
    assert (same.before, same.after) == (lower.after, lower.before)
    assert 0 <= same.after - same.before <= 1
    for axis in (same, lower):
        assert axis.out == -(-axis.extent // axis.stride)
        assert one(**choice | {"padding": (axis.before, axis.after), "ceil": False}) == axis
    assert one(**choice | {"padding": "same", "ceil": not choice["ceil"]}) == same
    assert one(**choice | {"padding": (0, 0)}) == valid


@pytest.mark.parametrize(
    ("n", "k", "s", "d", "same", "out"),
    [
        *((7, 2, 2, 1, (0, 1), 4), (7, 3, 1, 1, (1, 1), 7), (8, 3, 2, 1, (0, 1), 4)),
        *((9, 4, 1, 1, (1, 2), 9), (9, 2, 5, 1, (0, 0), 2), (9, 3, 4, 3, (3, 3), 3)),
        (1, 5, 1, 1, (2, 2), 1),
    ],
)
def test_same_is_that_of_tensorflow(n: int, k: int, s: int, d: int, same: Any, out: int) -> None:
    axis = one(n, k, s, "same", d)
    assert (axis.before, axis.after, axis.out) == (*same, out)


@pytest.mark.parametrize(
    ("n", "k", "s", "padding", "floor", "ceil"),
    [
        *((7, 2, 2, (0, 0), 3, 4), (8, 2, 2, (0, 0), 4, 4), (5, 3, 3, (1, 1), 2, 2)),
        *((4, 1, 3, (0, 0), 2, 2), (3, 2, 3, (1, 1), 2, 2), (5, 2, 4, (0, 0), 1, 2)),
        *((6, 2, 5, (1, 1), 2, 2), (5, 2, 5, (0, 0), 1, 1), (4, 4, 4, (0, 0), 1, 1)),
    ],
)
def test_ceil_mode_adds_a_window_only_where_it_starts_on_a_pixel(
    n: int, k: int, s: int, padding: tuple[int, int], floor: int, ceil: int
) -> None:
    assert (one(n, k, s, padding).out, one(n, k, s, padding, ceil=True).out) == (floor, ceil)


def test_dropped_pixels_and_gaps_are_counted() -> None:
    axes = [one(7, 2, 2), one(7, 2, 2, ceil=True), one(7, 2, 2, "same"), one(9, 2, 5, "same")]
    assert [axis.dropped for axis in (*axes, one(7, 2, 2, (0, 1)))] == [1, 0, 0, 2, 0]
    without = [one(8, 2, 2), one(2, 2, 3), one(9, 3, 1, d=2)]
    assert not any(axis.has_gaps for axis in without)
    assert all(axis.has_gaps for axis in (one(8, 2, 3), one(5, 3, 1, d=2), one(9, 2, 2, d=2)))


# Window


def test_a_window_is_a_value_and_its_stride_is_its_size() -> None:
    assert Window.of(3, 2, 1) == Window.of((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert len({Window.of(3), Window.of(3, 3)}) == 1
    assert Window.of((2, 3)).stride == (2, 3)


@pytest.mark.parametrize(
    ("padding", "settled"),
    [
        *((1, ((1, 1), (1, 1))), ((1, 2), ((1, 1), (2, 2))), ([1, 2], ((1, 1), (2, 2)))),
        *((((0, 1), (2, 0)), ((0, 1), (2, 0))), (((0, 1), 2), ((0, 1), (2, 2)))),
        *((name, name) for name in ("valid", "same", "same_lower")),
    ],
)
def test_every_form_of_padding_becomes_sides_or_a_name(padding: Any, settled: Any) -> None:
    assert Window.of(3, padding=padding).padding == settled


def test_height_comes_before_width() -> None:
    rows, columns = Window.of((2, 3), (1, 4), (1, 2), (5, 1)).axes((20, 30))
    assert (rows.extent, rows.size, rows.stride, rows.before, rows.dilation) == (20, 2, 1, 1, 5)
    assert (columns.extent, columns.size, columns.stride, columns.before) == (30, 3, 4, 2)


def test_under_ceil_mode_a_window_may_be_larger_by_less_than_its_stride() -> None:
    assert one(4, 7, 4, ceil=True).out == 1
    with pytest.raises(PoolError):
        one(4, 8, 4, ceil=True)


@given(st.integers(1, 20), st.integers(1, 10**9), st.integers(1, 10**9))
def test_under_same_every_window_fits(n: int, size: int, stride: int) -> None:
    assert one(n, size, stride, "same").out >= 1


# output_shape


def test_output_shape_keeps_channels_and_takes_every_choice() -> None:
    shapes = [output_shape((7, 9, *channels), 2) for channels in ((), (3,), (0,))]
    assert shapes == [(3, 4), (3, 4, 3), (3, 4, 0)]
    assert output_shape((7, 9), (2, 3), (3, 1), ((1, 0), (2, 2)), (1, 2), ceil_mode=True) == (3, 9)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        *((shape, f"the shape is {shape}") for shape in ([7, 9], 7)),
        ((7,), "its shape is (7,)"),
        *(((7, width), f"shape is {width}") for width in (9.0, True, -1)),
        ((0, 9), "the picture's height is 0"),
        ((7, 0), "the picture's width is 0"),
    ],
    ids=str,
)
def test_a_shape_of_the_wrong_form_is_refused(shape: Any, message: str) -> None:
    with pytest.raises(PoolError) as caught:
        output_shape(shape, 1)
    assert caught.value.message == message
    assert caught.value.remedy.startswith("give ")


@given(laid(), st.data())
def test_a_part_of_an_axis_has_the_same_windows(both: Laid, data: st.DataObject) -> None:
    axis, _ = both
    first = data.draw(st.integers(0, axis.out - 1))
    stop = data.draw(st.integers(first + 1, axis.out))
    seen, part = axis.part(first, stop)
    assert part.out == stop - first
    assert 0 <= seen.start < seen.stop <= axis.extent
    assert part.extent == seen.stop - seen.start
    for index in range(part.out):
        whole = axis.start(first + index)
        assert seen.start + part.start(index) == whole
        assert part.taps_inside(index) == axis.taps_inside(first + index)
        assert part.padded().taps_inside(index) == axis.padded().taps_inside(first + index)
