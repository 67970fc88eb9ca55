"""Moving pictures: what a frame draws where, and what is seen of it when and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Dispose = Literal["keep", "clear", "restore"]
Seen = TypeVar("Seen")
BAND_PIXELS: Final = 1 << 16
"""Pixels that are laid over others at a time."""


@dataclass(frozen=True, slots=True)
class Patch:
    """What one frame of a film draws.

    Attributes:
        top: its first row on the canvas.
        left: its first column on the canvas.
        height: its rows.
        width: its columns.
        duration: how long it is seen, in milliseconds.
        dispose: what becomes of its rectangle afterwards: it stays, becomes transparent, or
            what it was before.
        over: whether it is laid over the canvas by its alpha, or replaces it.
        still: the same as the file of a picture of its own.
    """

    top: int
    left: int
    height: int
    width: int
    duration: Fraction
    dispose: Dispose
    over: bool
    still: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Film:
    """A canvas and what is drawn on it, one after the other.

    Attributes:
        height: of the canvas.
        width: of the canvas.
        plays: how often it is shown; 0 for ever.
        patches: the frames.
    """

    height: int
    width: int
    plays: int
    patches: tuple[Patch, ...]

    @property
    def shows_through(self) -> bool:
        """Whether the canvas, transparent at first, may be seen beside or behind the frames."""
        first = self.patches[0]
        full = first.top <= 0 and first.left <= 0
        full &= first.top + first.height >= self.height and first.left + first.width >= self.width
        cleared = any(one.dispose == "clear" for one in self.patches[:-1])
        # What was before the first is the bare canvas.
        return not full or cleared or (len(self.patches) > 1 and first.dispose == "restore")


class Shot(NamedTuple):
    """What is seen for a while.

    Attributes:
        array: (H, W) or (H, W, C).
        duration: how long, in milliseconds.
    """

    array: NDArray[Any]
    duration: Fraction


@dataclass(frozen=True, slots=True)
class Drawing:
    """One frame to be written.

    Attributes:
        still: the file of it alone, in the film's format.
        top: its first row on the canvas.
        left: its first column on the canvas.
        ticks: how long it is seen, in the format's unit.
        clears: whether its rectangle becomes transparent afterwards.
    """

    still: bytes
    top: int
    left: int
    ticks: int
    clears: bool = False


def composite(
    film: Film,
    read: Callable[[BinaryIO], NDArray[Any]],
    canvas: NDArray[Any],
    full: int,
) -> Iterator[Shot]:
    """Draw one frame after the other.

    Args:
        film: what to draw.
        read: decodes a still to an array of the canvas's type and channels.
        canvas: (H, W) or (H, W, C), all 0; it is drawn on.
        full: the value of full alpha, which is the last channel; 0 where there is none.
    """
    for patch in film.patches:
        top, left = min(patch.top, film.height), min(patch.left, film.width)
        region = canvas[top : patch.top + patch.height, left : patch.left + patch.width]
        pixels = read(patch.still())[: region.shape[0], : region.shape[1]]
        before = region.copy() if patch.dispose == "restore" else None
        if patch.over and full:
            lay_over(region, pixels, full)
        else:
            region[...] = pixels
        yield Shot(canvas.copy(), patch.duration)
        if before is not None:
            region[...] = before
        elif patch.dispose == "clear":
            region[...] = 0


def lay_over(below: NDArray[Any], above: NDArray[Any], full: int) -> None:
    """Lay pixels with alpha over others, in place, rounded once to nearest.

    With alphas a above and b below, both of full A: alpha a + b(A-a)/A, colour
    (a·A·c + b(A-a)·d) / (a·A + b(A-a)), the operator "over" of Porter and Duff, 1984.
    """
    step = max(1, BAND_PIXELS // below.shape[1]) if below.size else 1
    for top in range(0, len(below), step):
        _lay_rows_over(below[top : top + step], above[top : top + step], full)


def _lay_rows_over(below: NDArray[Any], above: NDArray[Any], full: int) -> None:
    """The same for some rows: it takes many times the memory of their pixels."""
    opaque = above[..., -1] == full
    below[opaque] = above[opaque]
    partial = ~opaque & (above[..., -1] > 0)
    if not partial.any():
        return
    upper = above[partial].astype(np.uint64)
    lower = below[partial].astype(np.uint64)
    weight_above = upper[:, -1:] * full
    weight_below = lower[:, -1:] * (full - upper[:, -1:])
    total = weight_above + weight_below
    colour = weight_above * upper[:, :-1] + weight_below * lower[:, :-1]
    lower[:, :-1] = (colour + total // 2) // total
    lower[:, -1:] = (total + full // 2) // full
    below[partial] = lower


def ticked(
    shots: Iterable[tuple[Seen, Fraction]],
    tick: Fraction,
    most: int,
    same: Callable[[Seen, Seen], bool],
) -> Iterator[tuple[Seen, int]]:
    """Give every duration in whole ticks, of which the sum stays that of the film.

    What looks the same as the one before is one with it, and what is seen for more ticks than a
    file can say is given several times.

    Args:
        shots: what is seen, and for how many milliseconds.
        tick: milliseconds.
        most: the most ticks at a time.
        same: whether two look the same.
    """
    owed, ticks, shown = Fraction(0), 0, None
    for seen, duration in shots:
        owed += duration / tick
        more = round(owed)
        owed -= more
        if shown is not None and same(shown, seen):
            ticks += more
            continue
        if shown is not None:
            yield from _parts(shown, ticks, most)
        shown, ticks = seen, more
    if shown is not None:
        yield from _parts(shown, ticks, most)


def _parts(seen: Seen, ticks: int, most: int) -> Iterator[tuple[Seen, int]]:
    """One time, or as often as it takes."""
    while ticks > most:
        yield seen, most
        ticks -= most
    yield seen, ticks
