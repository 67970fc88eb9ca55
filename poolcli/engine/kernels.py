"""Reduce blocks of rows that fit the cache; edges and options are handled by the callers.

A block is a 2-D array whose last axis is contiguous. Each of its rows holds the pixels of a row
of the picture, with interleaved channels.
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
    """An associative, commutative operation that reduces many values to one.

    Attributes:
        ufunc: the binary NumPy ufunc.
        neutral: the value that changes no result; it fills positions outside of the picture.
        idempotent: whether counting a value twice changes nothing (maximum: yes; sum: no).
        dtype: returns the narrowest type that holds the reduction of a given number of values.
        invertible: whether `np.subtract` exactly undoes the ufunc (exact sums: yes).
    """

    ufunc: np.ufunc
    neutral: Any
    idempotent: bool
    dtype: Callable[[int], np.dtype[Any]]
    invertible: bool = False


COUNT: Final = Reduction(np.add, 0, False, np.min_scalar_type, invertible=True)
"""Counts pixels, by sums of 0 and 1."""


class Scratch(dict[tuple[str, np.dtype[Any]], NDArray[Any]]):
    """Buffers that are allocated once and reused, one for each name and type.

    Reuse is faster, because newly allocated memory causes a page fault for every 4 KB written.
    """

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an uninitialised array in the buffer of this name and type."""
        count = math.prod(shape)
        buffer = self.get((name, dtype))
        if buffer is None or buffer.size < count:
            buffer = self[name, dtype] = np.empty(count, dtype)
        return buffer[:count].reshape(shape)


class Step(NamedTuple):
    """One pass of `slide`.

    Attributes:
        action: "double" combines the result with itself, shifted; "add" combines it with one more
            tap of the original block; "subtract" removes a tap that "double" counted twice.
        by: the number of taps by which the other operand is shifted.
    """

    action: Literal["double", "add", "subtract"]
    by: int


@cache
def doubling_steps(taps: int, idempotent: bool, invertible: bool = False) -> tuple[Step, ...]:
    """Return the passes that extend runs of 1 tap to runs of ``taps``.

    There are at most ⌈log2 taps⌉ for an idempotent reduction, because two halves may overlap;
    otherwise at most 2·⌊log2 taps⌋.
    """
    if taps < 2:
        return ()
    half = ceil_div(taps, 2)
    doubled = *doubling_steps(half, idempotent, invertible), Step("double", taps - half)
    if idempotent or taps % 2 == 0:
        return doubled
    added = *doubling_steps(taps - 1, idempotent, invertible), Step("add", taps - 1)
    # For example, 31 taps take 8 passes with additions, but 6 passes as 2·16 - 1.
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
    logarithm of ``taps``. Each pass uses the narrowest type that holds its results.

    Args:
        block: the elements; each is already the reduction of ``held`` pixels.
        reduction: the operation.
        taps: the number of elements of a run.
        shift: the distance of neighbouring elements of a run.
        scratch: memory for intermediate results.
        held: the number of pixels that each element of ``block`` stands for.
        out: receives the result: as many rows as the block, any length.

    Returns:
        ``out``, or a block of the shape of ``block``: each element is the reduction of the run
        that begins there. The last (taps - 1)·shift elements of each row are undefined.
    """
    first, current, current_taps = block, block, 1
    # Two buffers alternate because NumPy copies an operand that overlaps its output: a window of
    # 31 at stride 1 over 12 megapixels took 96 ms in place and 19 ms with two buffers.
    names = ["slide a", "slide b"]
    steps = doubling_steps(taps, reduction.idempotent, reduction.invertible)
    for number, (action, by) in enumerate(steps, 1):
        current_taps += {"double": by, "add": 1, "subtract": 0}[action]
        dtype = reduction.dtype(held * current_taps)
        if current.dtype != dtype:
            current = cast(current, dtype, names[1], scratch)
        if action != "double" and first.dtype != dtype:
            first = cast(first, dtype, "first", scratch)
        target = out if number == len(steps) else None  # the last pass writes directly to `out`
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

    Windows are handled in groups of up to ``taps`` neighbours. The windows of a group all cross
    one border between rows, so that each is the reduction of a suffix of the rows above the
    border and a prefix of the rows below it (van Herk, 1992; Gil and Werman, 1993). Each call of
    the ufunc handles one row of every group.

    Cost: three operations for each row, independent of the number of taps. Nothing is subtracted,
    so it suits sums of floats too: with a running sum, one NaN and every rounding error would
    stay in all the following rows.

    Args:
        block: the rows, taps - 1 more than in ``out``, of the same type.
        ufunc: an associative operation.
        taps: the number of rows of a window, at least 2.
        out: receives the result.
        scratch: memory for one row of each group.
    """
    group = min(taps, len(out))
    whole = len(out) // group * group  # the windows in complete groups

    def read(offset: int) -> Block:
        return block[offset : offset + whole : group]

    def written(offset: int) -> Block:
        return out[offset:whole:group]

    # The border lies below the last row of a group's first window. The suffixes above it are
    # computed upwards from it, and the prefixes below it downwards.
    last = written(group - 1)
    np.copyto(last, read(group - 1))
    for offset in range(group, taps):
        ufunc(last, read(offset), out=last)
    for offset in reversed(range(group - 1)):
        ufunc(written(offset + 1), read(offset), out=written(offset))
    # The first window of a group ends at the border, so it has no prefix.
    room = scratch.take("prefix", last.shape, out.dtype)
    prefix = read(taps)
    for offset in range(1, group):
        if offset > 1:
            prefix = ufunc(prefix, read(taps + offset - 1), out=room)
        ufunc(written(offset), prefix, out=written(offset))
    if whole < len(out):
        van_herk(block[whole:], ufunc, taps, out[whole:], scratch)


def cast(block: Block, dtype: np.dtype[Any], name: str, scratch: Scratch) -> Block:
    """Return the block converted to another type, in the scratch buffer ``name``.

    Converting the whole block first takes half as long as a ufunc that casts operands in pieces.
    """
    if dtype.hasobject and block.dtype.kind == "f":
        block = block.astype(np.int64)  # the objects must be Python integers, not floats
    converted = scratch.take(name, block.shape, dtype)
    np.copyto(converted, block, casting="unsafe")  # floats hold whole numbers here
    return converted


def ascending(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return values in ascending order, and whether each is the last one of equal ones."""
    # NumPy sorts numbers of up to 16 bits digit by digit, and larger ones by SIMD. `np.unique`
    # takes two to four times as long.
    ordered = np.sort(values, axis=None, kind="stable" if values.itemsize < 3 else None)
    is_last = np.ones(ordered.shape, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_last[:-1])
    return ordered, is_last


def subsample(block: Block, stride: int, channels: int, out: NDArray[Any]) -> None:
    """Copy every ``stride``-th pixel of each row into ``out``, (rows, columns, channels).

    Cost: one contiguous cast if both a pixel and ``stride`` pixels have the size of a machine
    word. Otherwise one strided copy, by whole pixels if a pixel has the size of a word, or else
    by channels.
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

    With S the total, D the divisor and h = (D-1)//2, (S+h)//D rounds a tie down and (S+h+1)//D
    rounds it up. The last bit of S//D tells which of the two is even. Only an even D has ties.
    Cost: two passes for an odd divisor, five for an even one; a power of two is a shift.

    Floats with p bits of precision give the exact result for S < 2^(p-1): S/D is either a tie,
    which a float represents exactly, or at least 1/(2D) away from any tie, whereas the rounding
    error of the division is at most S/D/2^p. Cost: two passes.

    Args:
        total: signed, unsigned or Python integers whose type also holds total + divisor, or
            floats with integer values of at most p - 1 bits; overwritten.
        divisor: a positive number, or an array that broadcasts against total.
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
    if even if isinstance(divisor, int) else np.any(even):
        room = scratch.take("quotients", total.shape, total.dtype) if scratch is not None else None
        quotient = floor(total, by, out=room)
        quotient &= even  # 1 where the quotient is odd, so that a tie is rounded up
        total += quotient
    total += (divisor - 1) // 2
    floor(total, by, out=total)
    return total
