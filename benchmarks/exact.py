"""Pool small pictures by a nested loop in exact fractions, for comparison with other frameworks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[Pair, Pair] | str
Rows: TypeAlias = list[list[float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One picture and how a framework pools it; all pairs are (height, width)."""

    by: str
    method: str
    size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None
    dtype: str
    nan: str | None
    image: Rows

    @property
    def extent(self) -> Pair:
        """Height and width of the picture."""
        return len(self.image), len(self.image[0])


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows of one axis.

    Attributes:
        n: the extent of the image.
        end: the position after the padding at the end.
        windows: the positions that each window reads, its taps.
        shortened: whether ceil mode left out a last window that would start past the image.
    """

    n: int
    end: int
    windows: list[list[int]]
    shortened: bool

    def inside(self, taps: list[int]) -> list[int]:
        """Return the taps that lie on the image."""
        return [t for t in taps if 0 <= t < self.n]

    @property
    def overhangs(self) -> bool:
        """Whether the last window reaches beyond the padding."""
        return self.windows[-1][-1] >= self.end

    @property
    def drops(self) -> bool:
        """Whether no window reads the pixels at the end."""
        return self.windows[-1][-1] < self.n - 1


def axis_of(case: Case, axis: int) -> Axis:
    """Return the windows of one axis.

    Args:
        case: The case.
        axis: 0 for height, 1 for width.

    Returns:
        The axis; it has no windows if the window does not fit.
    """
    n, k = case.extent[axis], case.size[axis]
    s, d = case.stride[axis], case.dilation[axis]
    span = d * (k - 1) + 1
    shortened = False
    if case.padding in ("same", "same_lower"):
        count = -(-n // s)
        total = max(0, (count - 1) * s + span - n)
        small, large = total // 2, total - total // 2
        before, after = (small, large) if case.padding == "same" else (large, small)
    else:
        before, after = (0, 0) if isinstance(case.padding, str) else case.padding[axis]
        room = n + before + after - span
        count = (-(-room // s) if case.ceil_mode else room // s) + 1
        shortened = case.ceil_mode and (count - 1) * s >= n + before
        count -= shortened
    starts = [i * s - before for i in range(count)]
    windows = [[start + j * d for j in range(k)] for start in starts]
    return Axis(n, n + after, windows, shortened)


def expected(case: Case) -> Rows | None:
    """Pool with a nested loop and exact fractions.

    Returns:
        The output, rounded once to the case's type, or None where there is no output or a window
        holds no pixel.
    """
    high, wide = axis_of(case, 0), axis_of(case, 1)
    if not all(a.windows and all(map(a.inside, a.windows)) for a in (high, wide)):
        return None
    return [[_pixel(case, high, wide, rows, cols) for cols in wide.windows]
            for rows in high.windows]  # fmt: skip


def _pixel(case: Case, high: Axis, wide: Axis, rows: list[int], cols: list[int]) -> float:
    """Pool the window whose taps are `rows` times `cols`."""
    held = [case.image[y][x] for y in high.inside(rows) for x in wide.inside(cols)]
    if case.method != "avg":
        if any(map(math.isnan, held)):
            return math.nan
        return max(held) if case.method == "max" else min(held)
    divisor = len(held)
    if case.divisor_override is not None:
        divisor = case.divisor_override
    elif case.count_include_pad:
        divisor = sum(t < high.end for t in rows) * sum(t < wide.end for t in cols)
    return float(np.dtype(case.dtype).type(float(sum(map(Fraction, held), Fraction()) / divisor)))
