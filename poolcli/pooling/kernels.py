"""The arithmetic of pooling on blocks that fit a cache: no geometry, no choices.

A block is a 2-D array of rows, its last axis contiguous; one row holds the pixels of a picture
row side by side, channels interleaved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Block: TypeAlias = NDArray[Any]
PIXEL_WORDS: Final = {width: np.dtype(f"u{width}") for width in (1, 2, 4, 8)}


class Reduction(NamedTuple):
    """How two values become one: an associative, commutative ufunc and its neutral element.

    Attributes:
        ufunc: the binary NumPy ufunc.
        neutral: the value that changes nothing; it stands where a window has no pixel.
        idempotent: whether a value may be counted twice (maximum: yes; sum: no).
    """

    ufunc: np.ufunc
    neutral: Any
    idempotent: bool


class Scratch:
    """Buffers that are made once and used again, one for each name."""

    def __init__(self) -> None:
        """Begin with no buffer."""
        self._buffers: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """An uninitialised array that shares its memory with the last one of that name."""
        count = 1
        for extent in shape:
            count *= extent
        buffer = self._buffers.get(name)
        if buffer is None or buffer.dtype != dtype or buffer.size < count:
            buffer = self._buffers[name] = np.empty(count, dtype)
        return buffer[:count].reshape(shape)


def steps(taps: int, idempotent: bool) -> Iterator[tuple[bool, int]]:
    """The shortest way from 1 tap to ``taps``: (whether to double, by how many taps to shift).

    Doubling combines what there is with itself, shifted; the other step, which only a sum
    needs, adds one more tap of the block it began with. At most ⌈log2 taps⌉ steps where taps
    may count twice, else at most 2·⌊log2 taps⌋.
    """
    if taps < 2:
        return
    if idempotent or taps % 2 == 0:
        half = -(-taps // 2)
        yield from steps(half, idempotent)
        yield True, taps - half
    else:
        yield from steps(taps - 1, idempotent)
        yield False, taps - 1


def slide(
    block: Block,
    reduction: Reduction,
    taps: int,
    shift: int,
    axis: int,
    dtype: np.dtype[Any],
    scratch: Scratch,
) -> Block:
    """Reduce every run of ``taps`` elements that lie ``shift`` apart, at stride 1.

    Cost: one pass over the block a step (see `steps`), so it grows with log taps. The result
    is `block` itself for one tap, else scratch; two buffers take turns, since NumPy copies an
    operand that overlaps its output.
    """
    if taps == 1:
        return block
    current, names = block, ["slide a", "slide b"]
    for doubles, by in steps(taps, reduction.idempotent):
        other = current if doubles else block
        length = min(current.shape[axis], other.shape[axis] - by * shift)
        here, there = (
            (current[:length], other[by * shift : by * shift + length])
            if axis == 0
            else (current[:, :length], other[:, by * shift : by * shift + length])
        )
        target = scratch.take(names[0], here.shape, dtype)
        reduction.ufunc(here, there, out=target, dtype=dtype)
        current = target
        names.reverse()
    return current


def pick(block: Block, stride: int, channels: int, out: NDArray[Any]) -> None:
    """Copy every ``stride``-th pixel of each row into ``out``, (rows, columns, channels).

    Cost: one strided copy of the result, a whole pixel at a time where it fits a machine word,
    else a channel at a time.
    """
    rows, columns, _ = out.shape
    if stride == 1:
        out.reshape(rows, -1)[...] = block[:, : columns * channels]
        return
    word = PIXEL_WORDS.get(channels * block.itemsize)
    if word is not None and not block.dtype.hasobject and out.dtype == block.dtype:
        pixels = block[:, : block.shape[1] // channels * channels].view(word)
        out.view(word)[..., 0] = pixels[:, ::stride][:, :columns]
    elif channels > 4:
        pixels = block[:, : block.shape[1] // channels * channels]
        out[...] = pixels.reshape(rows, -1, channels)[:, ::stride][:, :columns]
    else:
        for channel in range(channels):
            out[..., channel] = block[:, channel :: stride * channels][:, :columns]


def rounded_quotient(total: NDArray[Any], divisor: NDArray[Any] | int) -> NDArray[Any]:
    """Exact integer ``total / divisor``, rounded once to nearest, ties to even.

    With q, r = divmod(S, D) and h = (D-1)//2, (S+h)//D rounds ties down, and (S+h+1)//D up;
    which of them is asked by q's last bit, and only an even D knows ties. Changes ``total``.

    Args:
        total: signed, unsigned or Python integers, with room for total + divisor.
        divisor: positive, a number or an array that broadcasts against total.
    """
    if isinstance(divisor, int):
        if divisor == 1:
            return total
        divisor = total.dtype.type(divisor) if total.dtype != object else divisor
    even = 1 - divisor % 2
    if np.any(even):
        odd_quotient = total // divisor
        odd_quotient &= even
        total += odd_quotient
    total += (divisor - 1) // 2
    total //= divisor
    return total
