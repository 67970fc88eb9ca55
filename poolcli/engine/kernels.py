"""The arithmetic of pooling on blocks that fit a cache: no geometry, no choices.

A block is a 2-D array of rows, its last axis contiguous; one row holds the pixels of a picture
row side by side, channels interleaved.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Block: TypeAlias = NDArray[Any]
PIXEL_WORDS: Final = {width: np.dtype(f"u{width}") for width in (1, 2, 4, 8)}
FIRST_IS_LOW: Final = sys.byteorder == "little"
"""Whether the first pixel of a word is what a narrowing cast keeps."""


class Reduction(NamedTuple):
    """How two values become one: an associative, commutative ufunc and its neutral element.

    Attributes:
        ufunc: the binary NumPy ufunc.
        neutral: the value that changes nothing; it stands where a window has no pixel.
        idempotent: whether a value may be counted twice (maximum: yes; sum: no).
        dtype: the narrowest type of the result of so many values.
        invertible: whether a value may be taken away again (sums without rounding: yes).
    """

    ufunc: np.ufunc
    neutral: Any
    idempotent: bool
    dtype: Callable[[int], np.dtype[Any]]
    invertible: bool = False


def always(dtype: np.dtype[Any]) -> Callable[[int], np.dtype[Any]]:
    """One type, however many values: what `Reduction.dtype` is for an extreme."""
    return lambda _: dtype


def new(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Memory that holds whatever it held before."""
    return np.empty(count, dtype)


class Scratch:
    """Buffers that are made once and used again, one for each name and type."""

    def __init__(self) -> None:
        """Begin with no buffer."""
        self._buffers: dict[tuple[str, np.dtype[Any]], NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An uninitialised array: the memory of the last one of that name and type, if it fits."""
        count = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < count:
            buffer = self._buffers[name, dtype] = new(count, dtype)
        return buffer[:count].reshape(shape)


class Step(NamedTuple):
    """One pass of a slide.

    Attributes:
        act: "double" combines what there is with itself, "add" with one more tap of the block
            it began with; "subtract" takes one tap away that two halves had in common.
        by: by how many taps the other operand is shifted.
    """

    act: Literal["double", "add", "subtract"]
    by: int


@cache
def steps(taps: int, idempotent: bool, invertible: bool = False) -> tuple[Step, ...]:
    """The way from 1 tap to ``taps``: two halves, and for a sum what an odd number asks.

    At most ⌈log2 taps⌉ steps where taps may count twice, else at most 2·⌊log2 taps⌋.
    """
    if taps < 2:
        return ()
    half = -(-taps // 2)
    doubled = *steps(half, idempotent, invertible), Step("double", taps - half)
    if idempotent or taps % 2 == 0:
        return doubled
    added = *steps(taps - 1, idempotent, invertible), Step("add", taps - 1)
    if invertible and len(doubled) + 1 < len(added):
        return *doubled, Step("subtract", taps - half)
    return added


def slide(
    block: Block,
    reduction: Reduction,
    taps: int,
    shift: int,
    scratch: Scratch,
    held: int = 1,
    out: Block | None = None,
) -> Block:
    """Reduce every run of ``taps`` elements of a row that lie ``shift`` apart, at stride 1.

    Cost: one pass over the block a step (see `steps`), so it grows with log taps; each in the
    narrowest type that holds its results. Two buffers take turns, since NumPy copies an operand
    that overlaps its output.

    Args:
        block: what is reduced; each element already holds ``held`` taps.
        reduction: how.
        taps: elements of a run.
        shift: from one element of a run to the next.
        scratch: where results are made.
        held: see ``block``.
        out: where the result goes: of as many rows as the block, and as long as is wanted.

    Returns:
        ``out``, or a block like ``block`` whose rows' last (taps - 1)·shift elements have no
        meaning: each element is the reduction of the run that begins there.
    """
    first, current, current_taps = block, block, 1
    names, way = ["slide a", "slide b"], steps(taps, reduction.idempotent, reduction.invertible)
    for number, (act, by) in enumerate(way, 1):
        current_taps += {"double": by, "add": 1, "subtract": 0}[act]
        dtype = reduction.dtype(held * current_taps)
        current = widened(current, dtype, names[1], scratch)
        if act != "double":
            first = widened(first, dtype, "first", scratch)
        target = out if number == len(way) else None
        if target is None:
            target = scratch.take(names[0], block.shape, dtype)
        length = min(target.shape[1], block.shape[1] - (current_taps - 1) * shift)
        other = current if act == "double" else first
        ufunc = np.subtract if act == "subtract" else reduction.ufunc
        there = slice(by * shift, by * shift + length)
        ufunc(current[:, :length], other[:, there], out=target[:, :length])
        current = target
        names.reverse()
    if out is None or current is out:
        return current
    np.copyto(out, current[:, : out.shape[1]], casting="unsafe")
    return out


def share(block: Block, ufunc: np.ufunc, taps: int, out: Block, scratch: Scratch) -> None:
    """Fill each row of ``out`` with the reduction of the ``taps`` rows of a block from there on.

    Up to ``taps`` windows in a row have rows in common. From these, each window is what was
    gathered on the way up to its first row, and what is gathered on the way down to its last
    (van Herk, 1992; Gil and Werman, 1993). Several such groups are worked on at a time.

    Cost: three operations for each row, however many taps: nothing is taken away again, so it
    does for sums of floats as well.

    Args:
        block: as many rows as ``out`` and taps - 1 more, of the same type.
        ufunc: an associative operation.
        taps: rows of a window, at least 2.
        out: the rows of the result.
        scratch: for one row of each group.
    """
    each = min(taps, len(out))
    groups = len(out) // each
    whole = groups * each

    def read(offset: int) -> Block:
        return block[offset : offset + whole : each]

    def kept(offset: int) -> Block:
        return out[offset:whole:each]

    last = kept(each - 1)
    np.copyto(last, read(each - 1))
    for offset in range(each, taps):
        ufunc(last, read(offset), out=last)
    for offset in reversed(range(each - 1)):
        ufunc(kept(offset + 1), read(offset), out=kept(offset))
    below = scratch.take("below", last.shape, out.dtype)
    for offset in range(1, each):
        if offset == 1:
            np.copyto(below, read(taps))
        else:
            ufunc(below, read(taps + offset - 1), out=below)
        ufunc(kept(offset), below, out=kept(offset))
    if whole < len(out):
        share(block[whole:], ufunc, taps, out[whole:], scratch)


def widened(block: Block, dtype: np.dtype[Any], name: str, scratch: Scratch) -> Block:
    """The block in a type: one cast is sooner done than a ufunc casts what it reads."""
    if block.dtype == dtype:
        return block
    if dtype.hasobject and block.dtype.kind == "f":
        block = block.astype(np.int64)  # that Python's integers come of it
    wide = scratch.take(name, block.shape, dtype)
    np.copyto(wide, block, casting="unsafe")  # whole numbers, in floats too
    return wide


def pick(block: Block, stride: int, channels: int, out: NDArray[Any]) -> None:
    """Copy every ``stride``-th pixel of each row into ``out``, (rows, columns, channels).

    Cost: where a pixel and a stride of pixels each fill a machine word, one contiguous cast,
    which keeps the first pixel of the word; else one strided copy of the result, a whole pixel
    at a time where it fits a word, or a channel at a time.
    """
    rows, columns, _ = out.shape
    word = PIXEL_WORDS.get(channels * block.itemsize)
    wide = PIXEL_WORDS.get(channels * block.itemsize * stride)
    if word is not None and not block.dtype.hasobject and out.dtype == block.dtype:
        if FIRST_IS_LOW and wide is not None and columns * stride * channels <= block.shape[1]:
            words = block[:, : columns * stride * channels].view(wide)
            np.copyto(out.view(word)[..., 0], words, casting="unsafe")
            return
        pixels = block[:, : block.shape[1] // channels * channels].view(word)
        out.view(word)[..., 0] = pixels[:, ::stride][:, :columns]
    elif channels > 4:
        pixels = block[:, : block.shape[1] // channels * channels]
        out[...] = pixels.reshape(rows, -1, channels)[:, ::stride][:, :columns]
    else:
        for channel in range(channels):
            out[..., channel] = block[:, channel :: stride * channels][:, :columns]


def rounded_quotient(
    total: NDArray[Any], divisor: NDArray[Any] | int, room: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Exact integer ``total / divisor``, rounded once to nearest, ties to even.

    With q, r = divmod(S, D) and h = (D-1)//2, (S+h)//D rounds ties down, and (S+h+1)//D up;
    which of them is asked by q's last bit, and only an even D knows ties. Changes ``total``.

    Cost: two passes for an odd divisor, five for an even one; a power of two shifts.

    Args:
        total: signed, unsigned or Python integers, with room for total + divisor.
        divisor: positive, a number or an array that broadcasts against total.
        room: scratch like ``total``.
    """
    floor: np.ufunc = np.floor_divide
    by, even = divisor, 1 - divisor % 2
    if isinstance(divisor, int):
        if divisor == 1:
            return total
        if divisor & (divisor - 1) == 0:
            floor, by = np.right_shift, divisor.bit_length() - 1
        by = total.dtype.type(by) if total.dtype != object else by
    if np.any(even):
        odd_quotient = floor(total, by, out=room)
        odd_quotient &= even
        total += odd_quotient
    total += (divisor - 1) // 2
    floor(total, by, out=total)
    return total
