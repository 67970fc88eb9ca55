"""Reductions of blocks that fit a cache. They know nothing of pictures, edges or options.

A block is a 2-D array of rows, its last axis contiguous. One row holds the pixels of a picture
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

from poolcli.engine.window import ceil_div

Block: TypeAlias = NDArray[Any]
NanPolicy: TypeAlias = Literal["omit", "propagate"]
WORDS: Final = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
LITTLE_ENDIAN: Final = sys.byteorder == "little"


class Reduction(NamedTuple):
    """An associative, commutative operation that makes one value of many.

    Attributes:
        ufunc: the binary NumPy ufunc.
        neutral: the value that changes no result; it stands where a window has no pixel.
        idempotent: whether a value may be counted twice (maximum: yes; sum: no).
        dtype: gives the narrowest type that holds the result of so many values.
        invertible: whether a value may be subtracted again (sums without rounding: yes).
    """

    ufunc: np.ufunc
    neutral: Any
    idempotent: bool
    dtype: Callable[[int], np.dtype[Any]]
    invertible: bool = False


class Scratch(dict[tuple[str, np.dtype[Any]], NDArray[Any]]):
    """Buffers that are allocated once and reused, one for each name and type.

    Fresh memory costs a page fault for every 4 KB that is first written to.
    """

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an uninitialised array in the buffer of that name and type."""
        count = math.prod(shape)
        buffer = self.get((name, dtype))
        if buffer is None or buffer.size < count:
            buffer = self[name, dtype] = np.empty(count, dtype)
        return buffer[:count].reshape(shape)


class Step(NamedTuple):
    """One pass of `slide`.

    Attributes:
        action: "double" combines the block with itself, "add" with one more tap of the original;
            "subtract" takes away one tap of the original, which two halves had in common.
        by: the number of taps by which the other operand is shifted.
    """

    action: Literal["double", "add", "subtract"]
    by: int


@cache
def doubling_steps(taps: int, idempotent: bool, invertible: bool = False) -> tuple[Step, ...]:
    """Return the passes that lead from windows of 1 tap to windows of ``taps``.

    There are at most ⌈log2 taps⌉ where a tap may count twice, since two halves may then overlap,
    else at most 2·⌊log2 taps⌋.
    """
    if taps < 2:
        return ()
    half = ceil_div(taps, 2)
    doubled = *doubling_steps(half, idempotent, invertible), Step("double", taps - half)
    if idempotent or taps % 2 == 0:
        return doubled
    added = *doubling_steps(taps - 1, idempotent, invertible), Step("add", taps - 1)
    # 31 taps, for example, take 8 passes by additions, but 6 as twice 16 less one.
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
    """Reduce, at stride 1, every run of ``taps`` elements of a row that lie ``shift`` apart.

    Cost: one contiguous pass over the block for each of `doubling_steps`, so it grows with the
    logarithm of ``taps``; each pass is in the narrowest type that holds its results.

    Args:
        block: the elements; each is already the reduction of ``held`` pixels.
        reduction: the operation.
        taps: elements of a run.
        shift: from one element of a run to the next.
        scratch: memory for intermediate results.
        held: see ``block``.
        out: receives the result: as many rows as the block, any length.

    Returns:
        ``out``, or a block of the shape of ``block``: each element is the reduction of the run
        that begins there. The last (taps - 1)·shift elements of its rows are undefined.
    """
    first, current, current_taps = block, block, 1
    # Two buffers take turns: NumPy copies an operand that overlaps its output, and a window of
    # 31 at stride 1 over 12 MP took 96 ms in place against 19 ms.
    names = ["slide a", "slide b"]
    steps = doubling_steps(taps, reduction.idempotent, reduction.invertible)
    for number, (action, by) in enumerate(steps, 1):
        current_taps += {"double": by, "add": 1, "subtract": 0}[action]
        dtype = reduction.dtype(held * current_taps)
        if current.dtype != dtype:
            current = cast(current, dtype, names[1], scratch)
        if action != "double" and first.dtype != dtype:
            first = cast(first, dtype, "first", scratch)
        target = out if number == len(steps) else None  # the last pass saves a copy
        if target is None:
            target = scratch.take(names[0], block.shape, dtype)
        length = min(target.shape[1], block.shape[1] - (current_taps - 1) * shift)
        other = current if action == "double" else first
        ufunc = np.subtract if action == "subtract" else reduction.ufunc
        shifted = slice(by * shift, by * shift + length)
        ufunc(current[:, :length], other[:, shifted], out=target[:, :length])
        current = target
        names.reverse()
    if out is not None and not steps:
        np.copyto(out, block[:, : out.shape[1]], casting="unsafe")
    return current if out is None else out


def van_herk(block: Block, ufunc: np.ufunc, taps: int, out: Block, scratch: Scratch) -> None:
    """Reduce, at stride 1, every run of ``taps`` rows of a block into the rows of ``out``.

    Up to ``taps`` neighbouring windows have rows in common. Each of them is the reduction of a
    suffix of the rows before, and of a prefix of the rows after, a border that all of them cross
    (van Herk, 1992; Gil and Werman, 1993). One pass works on such groups of windows side by side.

    Cost: three operations for a row, however many taps. Nothing is ever subtracted, so that it
    serves sums of floats too: a running sum would spread one NaN, and every rounding error, to
    all rows that follow.

    Args:
        block: taps - 1 more rows than ``out``, of the same type.
        ufunc: an associative operation.
        taps: rows of a window, at least 2.
        out: receives the result.
        scratch: memory for one row of each group.
    """
    group = min(taps, len(out))
    whole = len(out) // group * group  # the windows in complete groups

    def read(offset: int) -> Block:
        return block[offset : offset + whole : group]

    def written(offset: int) -> Block:
        return out[offset:whole:group]

    # The border follows the last row of a group's first window. Suffixes grow upwards from it ...
    last = written(group - 1)
    np.copyto(last, read(group - 1))
    for offset in range(group, taps):
        ufunc(last, read(offset), out=last)
    for offset in reversed(range(group - 1)):
        ufunc(written(offset + 1), read(offset), out=written(offset))
    # ... and prefixes downwards. Every window but the first of its group gets one.
    room = scratch.take("prefix", last.shape, out.dtype)
    prefix = read(taps)
    for offset in range(1, group):
        if offset > 1:
            prefix = ufunc(prefix, read(taps + offset - 1), out=room)
        ufunc(written(offset), prefix, out=written(offset))
    if whole < len(out):
        van_herk(block[whole:], ufunc, taps, out[whole:], scratch)


def cast(block: Block, dtype: np.dtype[Any], name: str, scratch: Scratch) -> Block:
    """Return the block in another type, in the scratch buffer ``name``.

    One cast of the whole block takes half as long as a ufunc that casts its operands in pieces.
    """
    if dtype.hasobject and block.dtype.kind == "f":
        block = block.astype(np.int64)  # otherwise the objects would be floats, which round
    converted = scratch.take(name, block.shape, dtype)
    np.copyto(converted, block, casting="unsafe")  # floats hold whole numbers here
    return converted


def subsample(block: Block, stride: int, channels: int, out: NDArray[Any]) -> None:
    """Copy every ``stride``-th pixel of each row into ``out``, (rows, columns, channels).

    Cost: one contiguous cast where a pixel, and a stride of pixels, each fill a machine word;
    otherwise one strided copy, by whole pixels where these fill a word, else by channels.
    """
    rows, columns, _ = out.shape
    pixel = WORDS.get(channels * block.itemsize)
    group = WORDS.get(channels * block.itemsize * stride)
    if pixel is not None and not block.dtype.hasobject and out.dtype == block.dtype:
        words = out.view(pixel)[..., 0]
        if LITTLE_ENDIAN and group is not None:
            # A narrowing cast keeps the low bytes, which are the first pixel of each group.
            np.copyto(words, block.view(group)[:, :columns], casting="unsafe")
        else:
            words[...] = block.view(pixel)[:, ::stride][:, :columns]
    elif channels > 4:
        out[...] = block.reshape(rows, -1, channels)[:, ::stride][:, :columns]
    else:
        # Pixels of 3 bytes are copied a channel at a time: a void type of 3 bytes took twice as
        # long, a slice over the last axis four times.
        for channel in range(channels):
            out[..., channel] = block[:, channel :: stride * channels][:, :columns]


def rounded_quotient(
    total: NDArray[Any], divisor: NDArray[Any] | float, scratch: Scratch | None = None
) -> NDArray[Any]:
    """Return ``total / divisor`` of whole numbers, rounded once to nearest, ties to even.

    With h = (D-1)//2, (S+h)//D rounds a tie down and (S+h+1)//D rounds it up. Which of them is
    even, the last bit of S//D tells; only an even D has ties. Cost: two passes for an odd divisor,
    five for an even one; a power of two is a shift.

    Floats of p bits give the exact result for S < 2^(p-1): S/D is either a tie, which a float
    holds, or at least 1/(2D) away from any tie, whereas its float is at most S/D/2^p away from
    S/D. Cost: two passes.

    Args:
        total: signed, unsigned or Python integers, with room for total + divisor, or whole floats
            of at most p - 1 bits; overwritten.
        divisor: positive, a number or an array that broadcasts against total.
        scratch: memory for intermediate results.

    >>> rounded_quotient(np.array([1, 3, 5, 7]), 2)
    array([0, 2, 2, 4])
    """
    if total.dtype.kind == "f":
        total /= divisor
        np.rint(total, out=total)
        return total
    floor: np.ufunc = np.floor_divide
    by, even = divisor, 1 - divisor % 2
    if isinstance(divisor, int) and divisor & (divisor - 1) == 0:
        floor, by = np.right_shift, divisor.bit_length() - 1
    if np.any(even):
        room = scratch.take("quotients", total.shape, total.dtype) if scratch is not None else None
        quotient = floor(total, by, out=room)
        quotient &= even  # 1 where the quotient is odd, so that a tie is rounded up
        total += quotient
    total += (divisor - 1) // 2
    floor(total, by, out=total)
    return total
