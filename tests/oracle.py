"""What pooling gives, the slow and obvious way: a nested loop in exact fractions.

Nothing here comes from poolcli, not even the geometry, so that what the two have in common is the
rules alone.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Exact: TypeAlias = Any
"""A number without error: int or Fraction; a float is only ever NaN or infinite."""

Pixel: TypeAlias = tuple[Exact, int]
"""A value and its weight."""


@dataclass(frozen=True)
class Line:
    """The windows along one axis: the positions that each reads, on the picture or not."""

    extent: int
    before: int
    after: int
    windows: list[range]

    def inside(self, window: range) -> list[int]:
        """The positions of a window that are pixels."""
        return [tap for tap in window if 0 <= tap < self.extent]

    def padded(self, window: range) -> int:
        """How many positions of a window lie before the end of the explicit padding."""
        return sum(tap < self.extent + self.after for tap in window)

    @property
    def fits(self) -> bool:
        """Whether there is a window, and a pixel in each."""
        return bool(self.windows) and all(map(self.inside, self.windows))


class Pooled(NamedTuple):
    """What a call gives: exact values, and how far a float sum may be from each."""

    values: NDArray[Any]
    slack: NDArray[Any]
    dtype: np.dtype[Any]


def line(n: int, k: int, s: int, d: int, padding: Any, ceil_mode: bool) -> Line:
    """Lay windows over ``n`` pixels: PyTorch's formulas, and TensorFlow's for ``same``."""
    span = d * (k - 1) + 1
    if padding in ("same", "same_lower"):
        count = math.ceil(Fraction(n, s))
        total = max(0, (count - 1) * s + span - n)
        less, more = total // 2, total - total // 2
        before, after = (less, more) if padding == "same" else (more, less)
    else:
        before, after = (0, 0) if padding == "valid" else padding
        steps = Fraction(n + before + after - span, s)
        count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (count - 1) * s >= n + before:
            count -= 1
    starts = (i * s - before for i in range(count))
    return Line(n, before, after, [range(at, at + span, d) for at in starts])


def lines(shape: tuple[int, ...], size: Any, ceil_mode: bool = False, **more: Any) -> Any:
    """Lay windows over both axes; every choice may be written in any accepted form."""
    sizes, dilations, stride = _both(size), _both(more.get("dilation", 1)), more.get("stride")
    strides, padding = sizes if stride is None else _both(stride), more.get("padding", 0)
    paddings = (padding, padding) if isinstance(padding, str) else map(_both, _both(padding))
    each = zip(shape[:2], sizes, strides, dilations, paddings, strict=True)
    return tuple(line(*one, ceil_mode) for one in each)


def _both(value: Any) -> Any:
    return value if isinstance(value, tuple) else (value, value)


def pool(
    method: str,
    array: NDArray[Any],
    *,
    nan: str = "omit",
    where: NDArray[Any] | None = None,
    weights: NDArray[Any] | None = None,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    nodata: Exact = None,
    quantile: float | str | Fraction = 0.5,
    **geometry: Any,
) -> Pooled:
    """Pool every window of every channel on its own, but pixels as a whole for "mode"."""
    rows, columns = lines(array.shape, **geometry)
    if method == "mode":
        return _votes(array, rows, columns, nan == "omit", where, nodata)
    stack = array if array.ndim == 3 else array[..., None]
    grey = 255 if method == "avg" and array.dtype == np.bool_ else 1
    pixels = [[[_exact(x) * grey for x in pixel] for pixel in row] for row in stack.tolist()]
    heavy = _weights(array.shape[:2], where, weights)
    dtype = np.dtype(np.uint8) if grey == 255 else array.dtype
    shape = (len(rows.windows), len(columns.windows), stack.shape[2])
    values, slack = np.empty(shape, object), np.full(shape, 0, object)
    for i, j, channel in np.ndindex(shape):
        down, across = rows.windows[i], columns.windows[j]
        places = [(y, x) for y in rows.inside(down) for x in columns.inside(across)]
        held = [(pixels[y][x][channel], heavy[y][x]) for y, x in places]
        if nodata is not None:
            held = _with_data(held, nodata * grey, nan == "omit")
            if not held:
                values[i, j, channel] = nodata * grey
                continue
        if method != "avg":
            q = {"min": Fraction(0), "max": Fraction(1)}.get(method, Fraction(str(quantile)))
            values[i, j, channel] = _ranked(q, held, nan == "omit")
            continue
        taps = rows.padded(down) * columns.padded(across) if count_include_pad else None
        if taps is not None:
            taps -= len(places) - len(held)
        value, within = _average(held, nan == "omit", divisor_override, taps)
        values[i, j, channel] = _settled(value, dtype)
        slack[i, j, channel] = within if dtype.kind == "f" else 0
    outer = shape[: array.ndim]
    return Pooled(values.reshape(outer), slack.reshape(outer), dtype)


def _with_data(held: list[Pixel], nodata: Exact, omit: bool) -> list[Pixel]:
    """Leave out the samples without data of those that have a weight, or of all if none has.

    Where NaN is all that is left beside them, nothing is.
    """
    some = [(x, w) for x, w in held if w]
    for part in (some, [(x, 1) for x, _ in held]):
        kept = [(x, w) for x, w in part if x != nodata]
        if any(not (omit and math.isnan(x)) for x, _ in kept):
            return kept
        if len(kept) < len(part):
            return []
    return held


def _exact(value: float) -> Exact:
    return Fraction(value) if isinstance(value, float) and math.isfinite(value) else value


def _weights(
    shape: tuple[int, ...], where: NDArray[Any] | None, weights: NDArray[Any] | None
) -> list[list[int]]:
    heavy = np.ones(shape, object) if weights is None else weights.astype(object)
    if where is not None:
        heavy[np.logical_not(where)] = 0
    listed: list[list[int]] = heavy.tolist()
    return listed


def _taking_part(held: list[Pixel], omit: bool) -> list[Pixel]:
    """The pixels that count: all of them, with weight 1, where none has a weight."""
    present = [(x, w) for x, w in held if not (omit and math.isnan(x))]
    return [(x, w) for x, w in present if w] or [(x, 1) for x, _ in present]


def _ranked(quantile: Fraction, held: list[Pixel], omit: bool) -> Exact:
    """The value at a quantile of the sorted values, which the window holds."""
    values = sorted(x for x, _ in _taking_part(held, omit))
    if not values or any(map(math.isnan, values)):
        return math.nan
    return values[max(0, math.ceil(quantile * len(values)) - 1)]


def _votes(
    array: NDArray[Any],
    rows: Line,
    columns: Line,
    omit: bool,
    where: NDArray[Any] | None,
    nodata: Exact,
) -> Pooled:
    """The most frequent pixel of every window, of several the smallest."""
    stack = array if array.ndim == 3 else array[..., None]
    pixels = [[tuple(x + 0 for x in pixel) for pixel in row] for row in stack.tolist()]
    heavy = _weights(array.shape[:2], where, None)
    shape = (len(rows.windows), len(columns.windows), stack.shape[2])
    values = np.empty(shape, object)
    for i, j in np.ndindex(shape[:2]):
        down, across = rows.windows[i], columns.windows[j]
        held = [(y, x) for y in rows.inside(down) for x in columns.inside(across)]
        voters = [(pixels[y][x], heavy[y][x]) for y, x in held]
        values[i, j] = _elected(voters, omit, nodata, shape[2])
    outer = shape[: array.ndim]
    return Pooled(values.reshape(outer), np.full(outer, 0, object), array.dtype)


def _elected(
    voters: list[tuple[tuple[Exact, ...], int]], omit: bool, nodata: Exact, channels: int
) -> tuple[Exact, ...]:
    some, every = [x for x, w in voters if w], [x for x, _ in voters]
    without = (nodata,) * channels
    for part in (some, every):
        present = [x for x in part if not (omit and any(map(math.isnan, x)))]
        kept = [x for x in present if nodata is None or x != without]
        if any(math.isnan(x) for pixel in kept for x in pixel):
            break
        if kept or present:
            counts = Counter(kept or present)
            most = max(counts.values())
            return min(x for x, count in counts.items() if count == most)
    return (math.nan,) * channels


def _average(
    held: list[Pixel], omit: bool, override: int | None, taps: int | None
) -> tuple[Exact, Exact]:
    """S/D, and how far from it a sum in float64 may end.

    Every addition, and the division, adds a relative error of at most 2⁻⁵³: n of them. Where
    weights are not all 1, so does each weight, its product and the addition of the weights.
    """
    part = _taking_part(held, omit)
    if not part:
        return math.nan, 0
    endless = {x for x, _ in part if isinstance(x, float)}
    if endless:
        return (endless.pop() if len(endless) == 1 else math.nan), 0
    divisor = sum(w for _, w in part)
    if taps is not None:
        divisor = taps - sum(omit and math.isnan(x) for x, _ in held)
    divisor = override or divisor
    errors = len(held) if {w for _, w in held} <= {0, 1} else 2 * len(held) + 2
    mean = Fraction(sum(w * abs(x) for x, w in part)) / divisor
    return Fraction(sum(w * x for x, w in part)) / divisor, errors * mean / 2**53


def _settled(value: Exact, dtype: np.dtype[Any]) -> Exact:
    """The value, for integers rounded once, ties to even, and clipped."""
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return min(max(round(value), int(limits.min)), int(limits.max))


def mismatches(got: NDArray[Any], wanted: Pooled) -> list[str]:
    """Where an array differs from what it should be, in words; an empty list if nowhere."""
    if got.shape != wanted.values.shape or got.dtype != wanted.dtype:
        return [f"{got.shape} {got.dtype} instead of {wanted.values.shape} {wanted.dtype}"]
    pairs = ((at, got[at].item(), wanted.values[at]) for at in np.ndindex(got.shape))
    return [
        f"at {at}: {value} instead of {exact}"
        for at, value, exact in pairs
        if not _agrees(value, exact, wanted.slack[at], wanted.dtype)
    ]


def _agrees(value: Any, exact: Exact, slack: Exact, dtype: np.dtype[Any]) -> bool:
    """Equal by value, or for the average of floats within the slack and one rounding."""
    if isinstance(exact, float):
        return bool(value == exact) or (math.isnan(exact) and math.isnan(value))
    if not slack:
        return bool(value == exact)
    if math.isnan(value):
        return False
    if math.isinf(value):
        largest = Fraction(float(np.finfo(dtype).max))
        overflown = abs(exact) + slack >= largest + half_unit(largest, dtype)
        return bool(overflown and (value > 0) == (exact > 0))
    return bool(abs(Fraction(value) - exact) <= slack + half_unit(abs(exact) + slack, dtype))


def half_unit(size: Exact, dtype: np.dtype[Any]) -> Fraction:
    """Half a unit in the last place of a float of that size."""
    info = np.finfo(dtype)
    most = Fraction(float(info.max))  # means by an override may be larger
    exponent = max(math.frexp(float(min(size, most)))[1] - 1, int(info.minexp))
    return Fraction(2) ** (exponent - int(info.nmant) - 1)
