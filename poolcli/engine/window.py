"""Compute the positions of sliding windows along each axis, in integers.

The terms are those of PyTorch's ``MaxPool2d``: a window of ``size`` taps, ``dilation`` pixels
apart, moves in steps of ``stride`` pixels over the picture, which ``padding`` extends on both
sides. A tap is one position that a window reads. Height and width are independent axes.
"""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

from poolcli.errors import PoolError
from poolcli.layout import FEW, Layout, unlike_hwc

if TYPE_CHECKING:
    from poolcli.engine.adaptive import Spans

Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[Pair, Pair]
NamedPadding: TypeAlias = Literal["valid", "same", "same_lower"]
SizeLike: TypeAlias = int | Pair
PaddingLike: TypeAlias = int | Pair | Sides | NamedPadding

NAMED_PADDING: Final[tuple[NamedPadding, ...]] = get_args(NamedPadding)

_cached = lru_cache(maxsize=64)
"""Keep the last results of a method of small values. Of most pictures windows are asked several
times, and folders hold many pictures of one size."""

MOST_TAPS: Final = 1 << 16
"""The most taps of a trimmed window, unless the picture's extent is more than half of this."""


def ceil_div(dividend: int, divisor: int) -> int:
    """Return the quotient, rounded towards positive infinity."""
    return -(-dividend // divisor)


class Axis(NamedTuple):
    """The windows along one axis of a picture.

    Attributes:
        extent: pixels along the axis (n).
        size: taps of a window (k).
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
    def pitch(self) -> float:
        """The pixels from one window to the next."""
        return self.stride

    @property
    def span(self) -> int:
        """The number of pixels from the first tap to the last, both included: d·(k-1)+1."""
        return self.dilation * (self.size - 1) + 1

    @property
    def interior(self) -> range:
        """The windows that have all their taps on pixels."""
        first = min(ceil_div(self.before, self.stride), self.out)
        stop = (self.extent + self.before - self.span) // self.stride + 1
        return range(first, max(first, min(stop, self.out)))

    @property
    def most_taps(self) -> int:
        """An upper bound of a window's taps on pixels; `interior` windows reach it."""
        return min(self.size, ceil_div(self.extent, self.dilation))

    @property
    def dropped(self) -> int:
        """The number of pixels after the last tap of the last window."""
        return max(0, self.extent - self.start(self.out - 1) - self.span)

    @property
    @_cached
    def has_gaps(self) -> bool:
        """True if no window reads some pixel between the first tap and the last one."""
        # With stride and dilation there is no simple formula, so the pixels read are marked.
        axis, read = self.trimmed(), bytearray(self.extent)
        for tap in range(axis.size):
            windows, pixels = axis.pixels_at(tap)
            read[pixels] = b"\1" * (windows.stop - windows.start)
        return 0 in read[max(0, self.start(0)) : self.start(self.out - 1) + self.span]

    def start(self, index: int) -> int:
        """Return the position of the first tap of window ``index``; negative if in the padding."""
        return index * self.stride - self.before

    def taps_inside(self, index: int) -> int:
        """Return the number of taps of window ``index`` on pixels."""
        start = self.start(index)
        stop = min(self.size, ceil_div(self.extent - start, self.dilation))
        return stop - max(0, ceil_div(-start, self.dilation))

    def pixels_at(self, tap: int) -> tuple[slice, slice]:
        """Return the windows that have this tap on a pixel, and the pixel of each of them."""
        ahead = self.before - tap * self.dilation
        first = max(0, ceil_div(ahead, self.stride))
        stop = max(first, min(self.out, ceil_div(ahead + self.extent, self.stride)))
        start = first * self.stride - ahead
        pixels = slice(start, start + (stop - first) * self.stride, self.stride)
        return slice(first, stop), pixels

    @_cached
    def trimmed(self) -> Axis:
        """Return the same windows without the taps that no window has on a pixel.

        With padding or ceil mode a window may be far larger than the picture. A trimmed window
        has at most about twice as many taps as the picture has pixels.
        """
        # Every window has a tap on a pixel, so these bounds lie between 0 and the size.
        skipped = max(0, ceil_div(-self.start(self.out - 1), self.dilation))
        kept = min(self.size, ceil_div(self.extent - self.start(0), self.dilation)) - skipped
        return self._replace(
            size=kept,
            # A single window has no use for its stride, which would only make blocks longer.
            stride=self.stride if self.out > 1 else 1,
            dilation=self.dilation if kept > 1 else 1,
            before=self.before - skipped * self.dilation,
            after=0,
        )

    def padded(self) -> Axis:
        """Return the same windows over an extent that includes the padding as pixels."""
        return self._replace(extent=self.before + self.extent + self.after, before=0, after=0)

    @_cached
    def part(self, first: int, stop: int) -> tuple[slice, Axis]:
        """Return the pixels that windows ``first`` to ``stop`` span, and the axis of this part.

        In the axis of the part, windows and pixels are counted from 0.
        """
        start, end = self.start(first), self.start(stop - 1) + self.span
        seen = slice(max(0, start), min(self.extent, end))
        part = self._replace(
            extent=seen.stop - seen.start,
            before=seen.start - start,
            after=self.extent + self.after - seen.stop,
            out=stop - first,
        )
        return seen, part


Axes: TypeAlias = "tuple[Axis | Spans, Axis | Spans]"
"""The windows along the height and along the width."""


class Window(NamedTuple):
    """Size, stride, padding, dilation and ceil mode, checked. Build it with `Window.of`.

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
        """Check the arguments, and return a window with a value for each axis or side.

        Args:
            size: taps, one number for both axes or (height, width).
            stride: pixels between windows, likewise; ``size`` if None.
            padding: pixels around the picture, which take no part: one number,
                (height, width), ((top, bottom), (left, right)), or a name: "valid" is 0; "same"
                and "same_lower" give ⌈extent / stride⌉ windows, an odd pixel of padding after
                or before the picture (TensorFlow's SAME, ONNX's SAME_UPPER and SAME_LOWER).
            dilation: pixels between taps, one number or (height, width).
            ceil_mode: round the number of windows up instead of down; a window that would start
                after the last pixel is left out.

        Raises:
            PoolError: an argument is of the wrong type or out of range; padding is at most
                dilation · (size - 1).

        >>> Window.of(3, 2, "same").stride
        (2, 2)
        """
        if not isinstance(ceil_mode, bool):
            raise PoolError(f"ceil_mode is {ceil_mode!r}", "give True or False")
        sizes = per_axis("size", size)
        dilations = per_axis("dilation", dilation)
        sides = _padding(padding)
        if not isinstance(sides, str):
            for k, d, pair in zip(sizes, dilations, sides, strict=True):
                most, found = d * (k - 1), max(pair)
                if found > most:
                    raise PoolError(
                        f"padding {found} is too large for a window that spans {most + 1}",
                        f"give a padding of at most {most}, or a larger size",
                    )
        strides = sizes if stride is None else per_axis("stride", stride)
        return cls(sizes, strides, sides, dilations, ceil_mode)

    @_cached
    def axes(self, extents: Pair) -> tuple[Axis, Axis]:
        """Return the windows over a picture of ``extents`` = (height, width) pixels.

        Raises:
            PoolError: the window does not fit, or at some position it contains no pixel.

        >>> [axis.out for axis in Window.of(2).axes((7, 9))]
        [3, 4]
        """
        return self._axis(0, extents[0]), self._axis(1, extents[1])

    def _axis(self, number: int, n: int) -> Axis:
        """Return the windows along one axis, by PyTorch's formulas and TensorFlow's for "same"."""
        k, s, d = self.size[number], self.stride[number], self.dilation[number]
        span = d * (k - 1) + 1
        name = ("height", "width")[number]
        if n < 1:
            raise PoolError(f"the picture's {name} is {n}", "give a picture with pixels")
        if self.padding in ("same", "same_lower"):
            out = ceil_div(n, s)
            total = max(0, (out - 1) * s + span - n)
            before = total // 2 if self.padding == "same" else ceil_div(total, 2)
            after = total - before
        else:
            before, after = (0, 0) if isinstance(self.padding, str) else self.padding[number]
            room = n + before + after - span
            out = (ceil_div(room, s) if self.ceil_mode else room // s) + 1
            if self.ceil_mode and (out - 1) * s >= n + before:
                out -= 1  # the last window would start after the last pixel
        if out < 1:
            padded = f" ({n + before + after} with padding)" if before + after else ""
            raise PoolError(
                f"the window spans {span} pixels but the picture's {name} is {n}{padded}",
                "choose a smaller size or dilation, or use ceil mode or padding same",
            )
        axis = Axis(n, k, s, d, before, after, out)
        if d > n:
            _refuse_empty_windows(axis, name)
        # Two huge windows that are far apart can both touch the picture. Then nothing can be
        # trimmed, and time and memory would grow with the window.
        if axis.trimmed().size > max(2 * n, MOST_TAPS):
            raise PoolError(
                f"windows of size {k}, {s} apart, reach too far beyond a {name} of {n}",
                "choose a smaller size, stride or padding",
            )
        return axis


def layout_of(axes: str | None, shape: tuple[int, ...]) -> Layout:
    """Return the meaning of the axes of an array; by default it is (H, W) or (H, W, C).

    Raises:
        PoolError: the axes don't fit the shape, or are not given for an array that is probably
            neither of these.
    """
    if axes is not None:
        return Layout.of(axes, shape)
    looks_like_chw = len(shape) == 3 and 1 <= shape[0] <= FEW < min(shape[1:])
    if len(shape) not in (2, 3) or looks_like_chw:
        raise unlike_hwc(shape, 'axes="{axes}"')
    return Layout.of("HWC"[: len(shape)], shape)


def _refuse_empty_windows(axis: Axis, name: str) -> None:
    """Refuse an axis with a window that has no tap on a pixel; its dilation exceeds its extent.

    No window begins after the picture or ends before it. So it suffices to test the first tap
    that is not before the picture: its position is the window's start modulo the dilation.

    Raises:
        PoolError: there is such a window.
    """
    # These positions repeat after at most ``dilation`` windows.
    for index in range(min(axis.out, ceil_div(axis.before, axis.stride), axis.dilation)):
        if axis.start(index) % axis.dilation >= axis.extent:
            raise PoolError(
                f"window {index} along the {name} of {axis.extent} holds no pixel: "
                f"its taps, {axis.dilation} apart, all lie outside",
                "choose a smaller dilation, or other padding",
            )


def whole_number(name: str, value: Any, least: int) -> int:
    """Return ``value`` as an integer; refuse bools, floats, text and less than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise PoolError(f"{name} is {value!r}", f"give a whole number of at least {least}")
    return number


def positive(text: str) -> int:
    """Return a whole number of at least 1 from its digits.

    Raises:
        PoolError: it is none.
    """
    if text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise PoolError(f"{text!r} is no such number", "give a whole number of at least 1")


def _pair(name: str, value: Any, form: str) -> tuple[Any, Any]:
    """Return the two items of a sequence, or one value twice; the message names ``form``."""
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise PoolError(f"{name} is {value!r}", f"give {form}")
    return pair[0], pair[1]


def per_axis(name: str, value: Any) -> Pair:
    """Return (height, width) from one number or two, each at least 1."""
    height, width = _pair(name, value, "one number or (height, width)")
    return whole_number(name, height, 1), whole_number(name, width, 1)


def _padding(value: Any) -> Sides | NamedPadding:
    """Return a padding in any accepted form as four sides of at least 0, or as a name."""
    if isinstance(value, str):
        if value not in NAMED_PADDING:
            raise PoolError(f"padding is {value!r}", f"give numbers or {', '.join(NAMED_PADDING)}")
        return value
    top, bottom, left, right = (
        whole_number("padding", side, 0)
        for axis in _pair("padding", value, "one number, (h, w) or ((top, bottom), (left, right))")
        for side in _pair("padding of one axis", axis, "(before, after)")
    )
    return (top, bottom), (left, right)
