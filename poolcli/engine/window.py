"""The sliding window and its arithmetic: pure integers, no arrays, no files.

Terms as in PyTorch's ``MaxPool2d``: a window of ``size`` taps, ``dilation`` apart, moves by
``stride`` over an extent that ``padding`` lengthens on both sides; each axis on its own.
"""

from __future__ import annotations

import operator
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from poolcli.errors import PoolError

Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[Pair, Pair]
NamedPadding: TypeAlias = Literal["valid", "same", "same_lower"]
SizeLike: TypeAlias = int | Pair
PaddingLike: TypeAlias = int | Pair | Sides | NamedPadding

MOST_TAPS: Final = 1 << 16
"""Taps that a window may have beyond twice the picture; far apart, none of them can be left out."""

NAMED_PADDING: Final[tuple[NamedPadding, ...]] = get_args(NamedPadding)


class Axis(NamedTuple):
    """One axis of a window laid over an extent of pixels: every number is settled.

    Attributes:
        extent: pixels along the axis (n).
        size: taps of the window (k).
        stride: pixels from one window to the next (s).
        dilation: pixels from one tap to the next (d).
        before: padding before the first pixel (p0).
        after: padding after the last pixel (p1).
        out: number of windows (o).
    """

    extent: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int

    @property
    def span(self) -> int:
        """The pixels from a window's first tap to its last, both included: d·(k-1)+1."""
        return self.dilation * (self.size - 1) + 1

    def start(self, index: int) -> int:
        """Position of the first tap of window ``index``; negative inside the padding."""
        return index * self.stride - self.before

    def taps_before(self, index: int, limit: int) -> int:
        """How many taps of window ``index`` stand before position ``limit``."""
        return min(self.size, max(0, -((self.start(index) - limit) // self.dilation)))

    def taps_inside(self, index: int) -> int:
        """How many taps of window ``index`` stand on a pixel."""
        return self.taps_before(index, self.extent) - self.taps_before(index, 0)

    def taps_padded(self, index: int) -> int:
        """How many taps stand on a pixel or on padding; ceil-mode overhang does not count."""
        return self.taps_before(index, self.extent + self.after)

    @property
    def inside(self) -> range:
        """The windows that stand on pixels alone."""
        first = -(-self.before // self.stride)
        stop = (self.extent + self.before - self.span) // self.stride + 1
        return range(min(first, self.out), max(min(stop, self.out), min(first, self.out)))

    @property
    def dropped(self) -> int:
        """The pixels after the last window, which no window reads."""
        return max(0, self.extent - (self.start(self.out - 1) + self.span))

    @property
    def has_gaps(self) -> bool:
        """Whether a pixel between the first tap and the last is read by no window."""
        if self.dilation == 1:
            return self.out > 1 and self.stride > self.size
        axis = self.trimmed()
        last = axis.start(axis.out - 1)
        reach = min(self.start(self.out - 1) + self.span, self.extent)
        read = bytearray(reach)
        for offset in range(0, axis.span, axis.dilation):
            first = axis.start(0) + offset
            if first < 0:
                first %= axis.stride
            taken = range(first, min(last + offset + 1, reach), axis.stride)
            read[taken.start : taken.stop : taken.step] = b"\1" * len(taken)
        return 0 in read[max(0, self.start(0)) :]

    def trimmed(self) -> Axis:
        """The same windows without the taps that no window has on a pixel.

        A window may be far larger than the picture (padding, ceil mode): what is left has at
        most about twice the extent in taps, and a stride that is 1 where there is one window.
        """
        skipped = self.taps_before(self.out - 1, 0)
        kept = self.taps_before(0, self.extent) - skipped
        before = self.before - skipped * self.dilation
        return Axis(
            extent=self.extent,
            size=kept,
            stride=self.stride if self.out > 1 else 1,
            dilation=self.dilation if kept > 1 else 1,
            before=before,
            after=0,
            out=self.out,
        )

    def part(self, first: int, stop: int) -> tuple[slice, Axis]:
        """Some of the windows over no more than the pixels that they span: (these pixels, axis)."""
        start, end = self.start(first), self.start(stop - 1) + self.span
        seen = slice(max(0, start), min(self.extent, end))
        part = Axis(
            extent=seen.stop - seen.start,
            size=self.size,
            stride=self.stride,
            dilation=self.dilation,
            before=seen.start - start,
            after=self.extent + self.after - seen.stop,
            out=stop - first,
        )
        return seen, part


class Window(NamedTuple):
    """The choices that make a window, checked: build it with `Window.of`.

    Attributes:
        size: (height, width) in taps.
        stride: (height, width) in pixels.
        padding: ((top, bottom), (left, right)) in pixels, or "valid", "same", "same_lower".
        dilation: (height, width) in pixels.
        ceil_mode: whether a last window may hang over the end.
    """

    size: Pair
    stride: Pair
    padding: Sides | NamedPadding
    dilation: Pair
    ceil_mode: bool

    @classmethod
    def of(
        cls,
        size: SizeLike,
        stride: SizeLike | None = None,
        padding: PaddingLike = 0,
        dilation: SizeLike = 1,
        *,
        ceil_mode: bool = False,
    ) -> Window:
        """Check the choices and complete them: one number serves both axes.

        Raises:
            PoolError: a choice is of the wrong type or out of range.

        >>> Window.of(3, 2, "same").stride
        (2, 2)
        """
        if not isinstance(ceil_mode, bool):
            raise PoolError(f"ceil_mode is {ceil_mode!r}", "give True or False")
        checked = _pair("size", size)
        window = cls(
            size=checked,
            stride=checked if stride is None else _pair("stride", stride),
            padding=_padding(padding),
            dilation=_pair("dilation", dilation),
            ceil_mode=ceil_mode,
        )
        if not isinstance(window.padding, str):
            for k, d, (p0, p1) in zip(window.size, window.dilation, window.padding, strict=True):
                if max(p0, p1) > d * (k - 1):
                    raise PoolError(
                        f"padding {max(p0, p1)} is too large for a window that spans "
                        f"{d * (k - 1) + 1}",
                        f"give a padding of at most {d * (k - 1)}, or a larger size",
                    )
        return window

    def axes(self, extents: Pair) -> tuple[Axis, Axis]:
        """Lay the window over a picture of (height, width) pixels.

        Raises:
            PoolError: the window does not fit, or one of its places holds no pixel.
        """
        rows, columns = (self._axis(number, extents[number]) for number in (0, 1))
        return rows, columns

    def _axis(self, number: int, n: int) -> Axis:
        """One axis; the formulas of PyTorch, and of TensorFlow for ``same``."""
        k, s, d = self.size[number], self.stride[number], self.dilation[number]
        span = d * (k - 1) + 1
        name = ("height", "width")[number]
        if n < 1:
            raise PoolError(f"the picture's {name} is {n}", "give a picture with pixels")
        if self.padding in ("same", "same_lower"):
            out = -(-n // s)
            total = max(0, (out - 1) * s + span - n)
            before = total // 2 if self.padding == "same" else -(-total // 2)
            after = total - before
        else:
            before, after = (0, 0) if isinstance(self.padding, str) else self.padding[number]
            room = n + before + after - span
            out = (-(-room // s) if self.ceil_mode else room // s) + 1
            if self.ceil_mode and (out - 1) * s >= n + before:
                out -= 1
        if out < 1:
            padded = f" ({n + before + after} with padding)" if before + after else ""
            raise PoolError(
                f"the window spans {span} pixels but the picture's {name} is {n}{padded}",
                "choose a smaller size or dilation, or use ceil mode or padding same",
            )
        axis = Axis(n, k, s, d, before, after, out)
        _check_windows(axis, name)
        if axis.trimmed().size > max(2 * n, MOST_TAPS):
            raise PoolError(
                f"windows of size {k}, {s} apart, reach too far beyond a {name} of {n}",
                "choose a smaller size, stride or padding",
            )
        return axis


def output_shape(
    shape: tuple[int, ...],
    size: SizeLike,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
) -> tuple[int, ...]:
    """The shape that pooling an array of ``shape``, (H, W) or (H, W, C), gives.

    Raises:
        PoolError: as `poolcli.max_pool` would with these parameters.

    >>> output_shape((7, 9, 3), 2)
    (3, 4, 3)
    """
    if not isinstance(shape, tuple) or len(shape) not in (2, 3):
        raise PoolError(f"the shape is {shape!r}", "give (height, width) or (height, width, C)")
    height, width, *channels = (_index("shape", extent, 0) for extent in shape)
    rows, columns = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode).axes(
        (height, width)
    )
    return (rows.out, columns.out, *channels)


def _check_windows(axis: Axis, name: str) -> None:
    """Refuse a window without a pixel: only taps apart (d > 1) can miss all of them."""
    if axis.dilation == 1:
        return
    inside = axis.inside
    for index in (*range(inside.start), *range(inside.stop, axis.out)):
        if axis.taps_inside(index) == 0:
            raise PoolError(
                f"window {index} along the {name} of {axis.extent} holds no pixel: "
                f"its taps, {axis.dilation} apart, all lie outside",
                "choose a smaller dilation, or other padding",
            )


def _index(name: str, value: Any, least: int) -> int:
    """``value`` as an integer of at least ``least``; neither a bool nor a float nor text."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise PoolError(f"{name} is {value!r}", f"give whole numbers of at least {least}")
    return number


def _pair(name: str, value: Any) -> Pair:
    """One number for both axes, or (height, width)."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise PoolError(f"{name} is {value!r}", "give one number or (height, width)")
        return _index(name, value[0], 1), _index(name, value[1], 1)
    number = _index(name, value, 1)
    return number, number


def _padding(value: Any) -> Sides | NamedPadding:
    """Every accepted way to write padding, as four sides or a name."""
    if isinstance(value, str):
        for name in NAMED_PADDING:
            if value == name:
                return name
        raise PoolError(f"padding is {value!r}", f"give numbers or {', '.join(NAMED_PADDING)}")
    axes = value if isinstance(value, tuple | list) else (value, value)
    if len(axes) != 2:
        raise PoolError(
            f"padding is {value!r}", "give one number, (h, w) or ((top, bottom), (left, right))"
        )
    return _sides(axes[0]), _sides(axes[1])


def _sides(value: Any) -> Pair:
    """One number for both sides of an axis, or (before, after)."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise PoolError(f"padding of one axis is {value!r}", "give (before, after)")
        return _index("padding", value[0], 0), _index("padding", value[1], 0)
    number = _index("padding", value, 0)
    return number, number
