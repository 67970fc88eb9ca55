"""The arithmetic on blocks against counting, slicing and fractions."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli.engine.kernels import (
    Reduction,
    Scratch,
    cast,
    doubling_steps,
    rounded_quotient,
    slide,
    subsample,
    van_herk,
)
from poolcli.engine.means import integer_sum

Array = NDArray[Any]


def narrowest(taps: int) -> np.dtype[Any]:
    """The type of a sum of bytes."""
    return np.dtype(np.uint8 if taps == 1 else np.uint16 if taps < 5 else np.uint32)


SUM = Reduction(np.add, 0, False, narrowest)
WHOLE_SUM = SUM._replace(invertible=True)
MAX = Reduction(np.maximum, 0, True, lambda _: np.dtype(np.uint8))
LENGTHS = (*range(1, 130), 255, 256, 257, 1000, 1023, 1025)
SEEDS = st.integers(0, 2**32 - 1)
WHOLE = [np.dtype(f"{kind}{width}") for kind in "iu" for width in (2, 4, 8)]

# doubling_steps and slide


def taps_after(taps: int, *, idempotent: bool, invertible: bool = False) -> Counter[int]:
    """How often each tap is counted after all steps."""
    reached = Counter([0])
    for action, by in doubling_steps(taps, idempotent, invertible):
        other = reached if action == "double" else Counter([0])
        shifted = Counter({tap + by: times for tap, times in other.items()})
        reached = reached - shifted if action == "subtract" else reached + shifted
    return reached


def test_few_steps_count_every_tap_once_or_for_a_maximum_at_least_once() -> None:
    for taps in LENGTHS:
        for invertible in (False, True):
            counted = taps_after(taps, idempotent=False, invertible=invertible)
            assert counted == Counter(range(taps))
        assert set(taps_after(taps, idempotent=True)) == set(range(taps))
    for taps in (*LENGTHS, 10**6, 10**30, 2**64 - 1):
        added = len(doubling_steps(taps, idempotent=False))
        assert len(doubling_steps(taps, idempotent=True)) <= (taps - 1).bit_length()
        assert len(doubling_steps(taps, idempotent=False, invertible=True)) <= added
        assert added <= 2 * (taps.bit_length() - 1)
    steps = doubling_steps(31, idempotent=False, invertible=True)  # 2, 4, 8, 16, 31 + 1, 31
    assert (len(steps), len(doubling_steps(31, idempotent=False))) == (6, 8)


@st.composite
def slides(draw: st.DrawFn) -> tuple[Array, int, int]:
    """A block, taps and shift, with at least one run in each row of the block."""
    rng = np.random.default_rng(draw(SEEDS))
    taps, shift = draw(st.integers(1, 20)), draw(st.integers(1, 5))
    along = (taps - 1) * shift + 1 + draw(st.integers(0, 9))
    return rng.integers(0, 256, (draw(st.integers(1, 5)), along), np.uint8), taps, shift


@given(slides(), st.sampled_from([SUM, WHOLE_SUM, MAX]))
def test_a_slide_reduces_shifted_slices(slid: Any, reduction: Reduction) -> None:
    block, taps, shift = slid
    before = block.copy()
    wanted = reduction.ufunc.reduce(runs(block, taps, shift), axis=-1)
    got = slide(block, reduction, taps, shift, Scratch())
    assert np.array_equal(got[:, : wanted.shape[1]], wanted)
    assert (got.shape, got.dtype) == (block.shape, reduction.dtype(taps))
    assert np.array_equal(block, before)
    assert np.shares_memory(got, block) == (taps == 1)


def test_a_slide_over_sums_makes_room_for_their_taps_too() -> None:
    block = np.full((1, 4), 4 * 255, np.uint16)  # sums of four
    got = slide(block, SUM, 3, 1, Scratch(), held=4)
    assert got[:, :2].tolist() == [[12 * 255] * 2]
    assert got.dtype == narrowest(12)


def runs(block: Array, taps: int, shift: int) -> Array:
    """Every run of taps, by NumPy's own view."""
    span = (taps - 1) * shift + 1
    whole: Array = np.lib.stride_tricks.sliding_window_view(block, span, 1)
    return whole[..., ::shift]


@pytest.mark.parametrize("taps", [1, 2, 5])
def test_a_slide_fills_the_array_it_is_given_and_no_more(taps: int) -> None:
    block = np.random.default_rng(taps).integers(0, 256, (4, 9), np.uint8)
    frame = np.full((6, 6), 7, narrowest(taps))
    wanted = runs(block, taps, 1).sum(axis=-1)[:, :4]
    out = frame[1:5, 1:5]
    assert slide(block, WHOLE_SUM, taps, 1, Scratch(), out=out) is out
    assert np.array_equal(out, wanted)
    out[...] = 7
    assert (frame == 7).all()


# van_herk and subsample


@given(st.integers(2, 20), st.integers(1, 70), st.integers(1, 4), SEEDS)
def test_van_herk_reduces_every_window(taps: int, windows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 256, (windows + taps - 1, columns)).astype(np.int64)
    before, frame = block.copy(), np.full((windows + 2, columns), -1)
    for ufunc in (np.maximum, np.minimum, np.add):
        van_herk(block, ufunc, taps, frame[1:-1], Scratch())
        wanted = [ufunc.reduce(block[top : top + taps]) for top in range(windows)]
        assert np.array_equal(frame[1:-1], wanted)
        assert np.array_equal(block, before)
        assert (frame[[0, -1]] == -1).all()


def test_what_one_row_holds_changes_no_window_without_it() -> None:
    block = np.ones((40, 3), np.float64)
    block[20], block[30] = np.nan, 1e300
    out = np.empty((36, 3))
    van_herk(block, np.add, 5, out, Scratch())
    lost = np.flatnonzero(np.isnan(out).any(axis=1))
    assert lost.tolist() == [16, 17, 18, 19, 20]
    assert (out[:16] == 5).all()
    assert (out[31:] == 5).all()


@pytest.mark.parametrize("taps", [7, 31, 101])
def test_van_herk_takes_three_operations_a_row(taps: int) -> None:
    rows = 0

    def counted(first: Array, second: Array, out: Array) -> Array:
        nonlocal rows
        rows += len(out)
        return np.add(first, second, out=out)

    windows = 4 * taps
    out = np.empty((windows, 1))
    van_herk(np.ones((windows + taps - 1, 1)), counted, taps, out, Scratch())  # type: ignore[arg-type]
    assert (out == taps).all()
    assert rows < 3 * windows


@pytest.mark.parametrize("channels", range(1, 7))
@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "O"])
@pytest.mark.parametrize("spare", [0, 1])
def test_every_nth_pixel_is_copied(channels: int, stride: int, dtype: str, spare: int) -> None:
    rows, columns = 3, 4
    width = (columns + spare) * stride * channels
    block = np.arange(rows * width).reshape(rows, width).astype(dtype)
    wanted = [[[block[row, column * stride * channels + c] for c in range(channels)]
               for column in range(columns)] for row in range(rows)]  # fmt: skip
    frame = np.full((rows + 1, columns + 2, channels), 99, dtype)
    subsample(block, stride, channels, frame[:rows, 1:-1])
    assert frame[:rows, 1:-1].tolist() == np.array(wanted, dtype).tolist()
    assert set(frame[rows:].flat) | set(frame[:, 0].flat) | set(frame[:, -1].flat) == {99}
    converted = np.empty((rows, columns, channels), np.float64)
    if dtype != "O":
        subsample(block, stride, channels, converted)
        assert converted.tolist() == np.array(wanted, np.float64).tolist()


# rounded_quotient and Scratch


@st.composite
def quotients(draw: st.DrawFn, dtype: np.dtype[Any]) -> tuple[list[int], list[int]]:
    """Totals and divisors with room for their sum, ties among them."""
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    count = draw(st.integers(1, 6))
    sizes = st.integers(1, 12) | st.integers(1, most // 2)
    divisors = draw(st.lists(sizes, min_size=count, max_size=count))
    near = st.integers(max(least, -30), 30)
    totals = [draw(near | st.integers(least, most - divisor)) for divisor in divisors]
    return totals, divisors


def quotient(totals: list[int], divisors: Any, dtype: Any) -> list[int]:
    rounded: list[int] = rounded_quotient(np.array(totals, dtype), divisors).tolist()
    return rounded


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@given(data=st.data())
def test_a_quotient_is_rounded_as_a_fraction(dtype: np.dtype[Any], data: st.DataObject) -> None:
    totals, divisors = data.draw(quotients(dtype))
    wanted = [round(Fraction(s, d)) for s, d in zip(totals, divisors, strict=True)]
    assert quotient(totals, np.array(divisors, dtype), dtype) == wanted
    number = min(divisors)
    assert quotient(totals, number, dtype) == [round(Fraction(s, number)) for s in totals]


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_every_remainder_is_rounded_right(dtype: np.dtype[Any]) -> None:
    for divisor in (*range(1, 11), 255):
        totals = list(range(-3 * divisor if dtype.kind == "i" else 0, 4 * divisor))
        wanted = [round(Fraction(total, divisor)) for total in totals]
        assert quotient(totals, divisor, dtype) == wanted
        assert quotient(totals, np.full(len(totals), divisor, dtype), dtype) == wanted


@given(st.lists(st.integers(-(10**40), 10**40), min_size=1), st.integers(1, 10**25))
def test_pythons_integers_have_no_limit(totals: list[int], divisor: int) -> None:
    wanted = [round(Fraction(total, divisor)) for total in totals]
    assert quotient(totals, divisor, object) == wanted
    assert quotient(totals, np.array([divisor] * len(totals), object), object) == wanted


@settings(max_examples=300)
@given(
    st.sampled_from(["u1", "i1"]),
    st.sampled_from([15, 16, 22, 23, 24, 25, 31, 32, 52, 53, 54, 63, 64, 65]),
    st.integers(-3, 3),
    st.integers(1, 300),
    st.integers(1, 1 << 30),
)
def test_the_type_of_a_sum_holds_it_and_divides_it_as_a_fraction(
    kind: str, bits: int, beside: int, divisor: int, less: int
) -> None:
    peak = max(1, (1 << bits) + beside - divisor)
    dtype = integer_sum(kind[0], peak, divisor).dtype(1)
    totals = [peak, peak - less % peak, peak // 2 // divisor * divisor + divisor // 2 % peak]
    totals += [-total for total in totals] if kind == "i1" else []
    held = np.array(totals, dtype)
    assert [int(total) for total in held] == totals
    wanted = [round(Fraction(total, divisor)) for total in totals]
    assert [int(mean) for mean in rounded_quotient(held, divisor, Scratch())] == wanted


def test_a_buffer_is_reused_for_whatever_fits_it_and_grows_for_what_does_not() -> None:
    scratch, byte = Scratch(), np.dtype(np.uint8)
    first = scratch.take("rows", (4, 5), byte)
    for shape in ((4, 5), (5, 4), (2, 3), (20,), (1,), (3, 0, 2)):
        again = scratch.take("rows", shape, byte)
        assert again.shape == shape
        assert again.flags.c_contiguous
        assert np.shares_memory(again, first) == (again.size > 0)
    wider = scratch.take("rows", (8,), np.dtype(np.uint16))
    assert wider.dtype == np.uint16
    for other in (wider, scratch.take("columns", (8,), byte)):
        assert not np.shares_memory(other, scratch.take("rows", (4, 5), byte))
    larger = scratch.take("rows", (7, 9), byte)
    assert larger.shape == (7, 9)
    assert np.shares_memory(scratch.take("rows", (4, 5), byte), larger)


@pytest.mark.parametrize("of", ["u2", "i8", "f4", "O"])
def test_a_cast_keeps_whole_numbers_and_objects_are_integers(of: str) -> None:
    block = np.array([[1.0, 2.0, 3.0]])
    converted = cast(block, np.dtype(of), "wide", Scratch())
    assert converted.dtype == of
    assert repr(converted.tolist()) == ("[[1.0, 2.0, 3.0]]" if of == "f4" else "[[1, 2, 3]]")
