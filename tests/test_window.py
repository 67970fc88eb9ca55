"""The arithmetic of windows against counting taps one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from poolcli import PoolError, Window, output_shape
from poolcli.engine.window import Axis
from tests import oracle

Laid = tuple[Axis, oracle.Line]


def one(n: int, k: int, s: int, padding: Any = "valid", d: int = 1, ceil: bool = False) -> Axis:
    """The axis of a window, seen along the width."""
    sides: Any = padding if isinstance(padding, str) else (0, padding)
    window = Window.of((1, k), (1, s), sides, (1, d), ceil_mode=ceil)
    return window.axes((1, n))[1]


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """The numbers of one axis; some do not fit."""
    k, d = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    side = st.integers(0, d * (k - 1))
    names = st.sampled_from(["valid", "same", "same_lower"])
    return {
        "n": draw(st.integers(1, 30)),
        "k": k,
        "s": draw(st.integers(1, 9)),
        "padding": draw(names | st.tuples(side, side)),
        "d": d,
        "ceil": draw(st.booleans()),
    }


def line_of(choice: dict[str, Any]) -> oracle.Line:
    return oracle.line(
        choice["n"], choice["k"], choice["s"], choice["d"], choice["padding"], choice["ceil"]
    )


def laid() -> st.SearchStrategy[Laid]:
    """Axes that fit, and the same windows counted out."""
    fitting = choices().filter(lambda choice: line_of(choice).fits)
    return fitting.map(lambda choice: (one(**choice), line_of(choice)))


def seen(line: oracle.Line) -> set[int]:
    """The pixels that some window reads."""
    return {tap for window in line.windows for tap in line.inside(window)}


@settings(deadline=None, max_examples=400)
@given(choices())
@example({"n": 4, "k": 2, "s": 1, "padding": (5, 5), "d": 6, "ceil": False})  # only in the middle
def test_a_window_is_refused_exactly_where_one_would_hold_no_pixel(choice: dict[str, Any]) -> None:
    if line_of(choice).fits:
        assert one(**choice).out == len(line_of(choice).windows)
    else:
        with pytest.raises(PoolError):
            one(**choice)


@settings(deadline=None, max_examples=300)
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
        assert axis.start(i) == window[0]
        assert axis.taps_inside(i) == len(inside[i])
        assert padded.taps_inside(i) == line.padded(window)


@settings(deadline=None)
@given(laid())
def test_the_pixels_at_a_tap_belong_to_the_windows_that_have_one(both: Laid) -> None:
    axis, line = both
    for tap in range(axis.size):
        windows, pixels = axis.pixels_at(tap)
        found = range(axis.out)[windows], range(axis.extent)[pixels]
        wanted = {i: window[tap] for i, window in enumerate(line.windows)
                  if 0 <= window[tap] < axis.extent}  # fmt: skip
        assert dict(zip(*found, strict=True)) == wanted


@settings(deadline=None, max_examples=500)
@given(laid())
@example((one(3, 2, 1, (1, 0), 3), oracle.line(3, 2, 1, 3, (1, 0), False)))
@example((one(3, 2, 1, (0, 1), 3), oracle.line(3, 2, 1, 3, (0, 1), False)))
def test_there_are_gaps_where_a_pixel_between_taps_is_in_no_window(both: Laid) -> None:
    axis, line = both
    first, last = line.windows[0][0], line.windows[-1][-1]
    between = set(range(max(first, 0), min(last + 1, line.extent)))
    assert axis.has_gaps == bool(between - seen(line))


@settings(deadline=None)
@given(laid())
def test_a_pixel_that_no_window_reads_is_dropped_or_in_a_gap(both: Laid) -> None:
    axis, line = both
    unseen = set(range(line.extent)) - seen(line)
    assert bool(unseen) == (axis.dropped > 0 or axis.has_gaps)


@settings(deadline=None, max_examples=300)
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


@pytest.mark.parametrize(
    ("stride", "padding", "ceil"),
    [
        (1, "same", False),
        (10**30, "same_lower", False),
        (10**30, "valid", True),
        (1, (10**30 - 1, 0), False),
    ],
)
def test_a_trimmed_window_is_about_twice_the_picture(stride: int, padding: Any, ceil: bool) -> None:
    trimmed = one(7, 10**30, stride, padding, ceil=ceil).trimmed()
    assert trimmed.size <= 2 * 7 + 1
    assert trimmed.span <= 2 * 7 + 1


def test_huge_windows_that_touch_the_picture_at_their_ends_are_refused() -> None:
    with pytest.raises(PoolError, match="too far beyond a width of 7"):
        one(7, 10**30, 10**30 - 1, (10**30 - 1, 10**30 - 1))


def test_a_single_window_is_trimmed_to_stride_1() -> None:
    assert one(5, 10**30, 10**30, ceil=True).trimmed() == Axis(5, 5, 1, 1, 0, 0, 1)


# same


@settings(deadline=None)
@given(choices(), st.sampled_from(["same", "same_lower"]))
def test_same_gives_extent_over_stride_rounded_up(choice: dict[str, Any], name: str) -> None:
    assume(line_of(choice | {"padding": name}).fits)
    axis = one(**choice | {"padding": name})
    assert axis.out == -(-axis.extent // axis.stride)
    assert axis == one(**choice | {"padding": name, "ceil": not choice["ceil"]})


@settings(deadline=None)
@given(choices())
def test_same_lower_is_same_with_its_sides_swapped(choice: dict[str, Any]) -> None:
    assume(line_of(choice | {"padding": "same"}).fits)
    assume(line_of(choice | {"padding": "same_lower"}).fits)
    same, lower = (one(**choice | {"padding": name}) for name in ("same", "same_lower"))
    assert (same.before, same.after) == (lower.after, lower.before)
    assert 0 <= same.after - same.before <= 1


@settings(deadline=None)
@given(choices(), st.sampled_from(["same", "same_lower", "valid"]))
def test_a_named_padding_is_some_padding_in_numbers(choice: dict[str, Any], name: str) -> None:
    named = choice | {"padding": name, "ceil": False}
    assume(line_of(named).fits)
    axis = one(**named)
    assert one(**named | {"padding": (axis.before, axis.after)}) == axis


@pytest.mark.parametrize(
    ("n", "k", "s", "d", "same", "out"),
    [
        (7, 2, 2, 1, (0, 1), 4),
        (7, 3, 1, 1, (1, 1), 7),
        (8, 3, 2, 1, (0, 1), 4),
        (9, 4, 1, 1, (1, 2), 9),
        (9, 2, 5, 1, (0, 0), 2),
        (9, 3, 4, 3, (3, 3), 3),
        (1, 5, 1, 1, (2, 2), 1),
    ],
)
def test_same_is_that_of_tensorflow(
    n: int, k: int, s: int, d: int, same: tuple[int, int], out: int
) -> None:
    axis = one(n, k, s, "same", d)
    assert (axis.before, axis.after, axis.out) == (*same, out)


# ceil_mode


@pytest.mark.parametrize(
    ("n", "k", "s", "padding", "floor", "ceil"),
    [
        (7, 2, 2, (0, 0), 3, 4),
        (8, 2, 2, (0, 0), 4, 4),
        (5, 3, 3, (1, 1), 2, 2),
        (4, 1, 3, (0, 0), 2, 2),
        (3, 2, 3, (1, 1), 2, 2),
        (5, 2, 4, (0, 0), 1, 2),
        (6, 2, 5, (1, 1), 2, 2),
        (5, 2, 5, (0, 0), 1, 1),
    ],
)
def test_ceil_mode_adds_a_window_only_where_it_starts_on_a_pixel(
    n: int, k: int, s: int, padding: tuple[int, int], floor: int, ceil: int
) -> None:
    assert one(n, k, s, padding).out == floor
    assert one(n, k, s, padding, ceil=True).out == ceil


@settings(deadline=None)
@given(laid())
def test_no_window_starts_beyond_the_picture(both: Laid) -> None:
    axis, line = both
    assert axis.start(axis.out - 1) < axis.extent + (0 if axis.dilation == 1 else line.after)


# Dropped pixels and gaps, by name


@pytest.mark.parametrize(
    ("n", "k", "s", "padding", "ceil", "dropped"),
    [
        (7, 2, 2, "valid", False, 1),
        (7, 2, 2, "valid", True, 0),
        (7, 2, 2, "same", False, 0),
        (9, 2, 5, "same", False, 2),
        (7, 2, 2, (0, 1), False, 0),
    ],
)
def test_pixels_are_dropped_that_no_last_window_reaches(
    n: int, k: int, s: int, padding: Any, ceil: bool, dropped: int
) -> None:
    assert one(n, k, s, padding, ceil=ceil).dropped == dropped


@pytest.mark.parametrize(
    ("n", "k", "s", "d", "gaps"),
    [
        (8, 2, 2, 1, False),
        (8, 2, 3, 1, True),
        (2, 2, 3, 1, False),
        (9, 3, 1, 2, False),
        (5, 3, 1, 2, True),
        (9, 2, 2, 2, True),
        (9, 2, 3, 2, True),
    ],
)
def test_gaps_are_found(n: int, k: int, s: int, d: int, gaps: bool) -> None:
    assert one(n, k, s, d=d).has_gaps == gaps


# Window


def test_stride_defaults_to_size() -> None:
    assert Window.of((2, 3)).stride == (2, 3)


@pytest.mark.parametrize(
    ("padding", "settled"),
    [
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((0, 1), (2, 0)), ((0, 1), (2, 0))),
        (((0, 1), 2), ((0, 1), (2, 2))),
        ("valid", "valid"),
        ("same", "same"),
        ("same_lower", "same_lower"),
    ],
)
def test_every_form_of_padding_becomes_sides_or_a_name(padding: Any, settled: Any) -> None:
    assert Window.of(3, padding=padding).padding == settled


def test_a_window_is_a_value() -> None:
    assert Window.of(3, 2, 1) == Window.of((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert len({Window.of(3), Window.of(3, 3)}) == 1


def test_height_comes_before_width() -> None:
    rows, columns = Window.of((2, 3), (1, 4), (1, 2), (5, 1)).axes((20, 30))
    assert (rows.extent, rows.size, rows.stride, rows.before, rows.dilation) == (20, 2, 1, 1, 5)
    assert (columns.extent, columns.size, columns.stride, columns.before) == (30, 3, 4, 2)


def test_under_ceil_mode_a_window_may_be_larger_by_less_than_its_stride() -> None:
    assert one(4, 7, 4, ceil=True).out == 1
    with pytest.raises(PoolError):
        one(4, 8, 4, ceil=True)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 10**9), st.integers(1, 10**9))
def test_under_same_every_window_fits(n: int, size: int, stride: int) -> None:
    assert one(n, size, stride, "same").out >= 1


# output_shape


@pytest.mark.parametrize(
    ("shape", "pooled"), [((7, 9), (3, 4)), ((7, 9, 3), (3, 4, 3)), ((7, 9, 0), (3, 4, 0))], ids=str
)
def test_output_shape_keeps_channels(shape: tuple[int, ...], pooled: tuple[int, ...]) -> None:
    assert output_shape(shape, 2) == pooled


def test_output_shape_takes_every_choice() -> None:
    assert output_shape((7, 9), (2, 3), (3, 1), ((1, 0), (2, 2)), (1, 2), ceil_mode=True) == (3, 9)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((7,), "the shape is (7,)"),
        ((1, 7, 9, 3), "the shape is (1, 7, 9, 3)"),
        ([7, 9], "the shape is [7, 9]"),
        (7, "the shape is 7"),
        ((7, 9.0), "shape is 9.0"),
        ((7, True), "shape is True"),
        ((7, -1), "shape is -1"),
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


@settings(deadline=None)
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
