"""Windows that are given by the size of the output, as in PyTorch's adaptive pooling."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

from poolcli.engine.window import (
    Axes,
    Axis,
    PaddingLike,
    Pair,
    SizeLike,
    Window,
    ceil_div,
    layout_of,
    per_axis,
    whole_number,
)
from poolcli.errors import PoolError


class _SpanFields(NamedTuple):
    """The fields of `Spans`. A dataclass would take half a millisecond to import."""

    extent: int
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    counts: tuple[int, ...] | None = None


class _SizeFields(NamedTuple):
    """The fields of `OutputSize`."""

    height: int | None
    width: int | None
    fits: bool = False


class Spans(_SpanFields):
    """Windows along one axis that have a start and a stop each; they have no padding.

    Attributes:
        extent: pixels along the axis.
        starts: the first pixel of each window, never decreasing.
        stops: the pixel after the last one of each window, never decreasing.
        counts: the number of taps of each window that lie on pixels or padding; None if there is
            no padding.
    """

    __slots__ = ()
    dilation: ClassVar[int] = 1
    before: ClassVar[int] = 0
    after: ClassVar[int] = 0
    dropped: ClassVar[int] = 0
    has_gaps: ClassVar[bool] = False

    @classmethod
    def of(cls, n: int, o: int) -> Spans | Axis:
        """Return ``o`` windows over ``n`` pixels; window i reads from ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉."""
        if n % o == 0:  # ordinary windows, which have faster kernels
            return Axis(n, n // o, n // o, 1, 0, 0, o)
        starts = tuple(index * n // o for index in range(o))
        return cls(n, starts, tuple(ceil_div(index * n, o) for index in range(1, o + 1)))

    @property
    def out(self) -> int:
        """The number of windows."""
        return len(self.starts)

    @property
    def size(self) -> int:
        """The number of taps of the largest window."""
        return max(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """The number of taps of each window."""
        return [stop - start for start, stop in zip(self.starts, self.stops, strict=True)]

    @property
    def stride(self) -> int:
        """The pixels from one window to the next, rounded up."""
        return ceil_div(self.extent, self.out)

    @property
    def pitch(self) -> float:
        """The pixels from one window to the next, on average."""
        return self.extent / self.out

    @property
    def span(self) -> int:
        """The number of pixels that the largest window spans."""
        return self.size

    @property
    def most_taps(self) -> int:
        """An upper bound of a window's taps on pixels."""
        return self.size

    @property
    def interior(self) -> range:
        """No windows: each may have another number of taps."""
        return range(0)

    def taps_inside(self, index: int) -> int:
        """Return the number of taps of window ``index``."""
        return self.stops[index] - self.starts[index]

    def trimmed(self) -> Spans:
        """Return the windows themselves: all of their taps are on pixels."""
        return self

    def padded(self) -> Spans:
        """Return windows with as many taps as lie on pixels or padding, to count them."""
        if self.counts is None:
            return self
        return Spans(max(self.counts), (0,) * self.out, self.counts)

    def part(self, first: int, stop: int) -> tuple[slice, Spans]:
        """Return the pixels that windows ``first`` to ``stop`` span, and the axis of this part."""
        start, end = self.starts[first], self.stops[stop - 1]
        starts = tuple(at - start for at in self.starts[first:stop])
        stops = tuple(at - start for at in self.stops[first:stop])
        counts = self.counts and self.counts[first:stop]
        return slice(start, end), Spans(end - start, starts, stops, counts)


class OutputSize(_SizeFields):
    """The size of the output, in place of a window.

    Attributes:
        height: the rows of the output; None to keep the aspect ratio.
        width: the columns of the output; None to keep the aspect ratio.
        fits: whether the size is that of a box: the output is the largest one of the picture's
            aspect ratio that fits into it, and not larger than the picture.
    """

    __slots__ = ()
    size: ClassVar[None] = None
    stride: ClassVar[None] = None
    dilation: ClassVar[Pair] = (1, 1)

    def axes(self, extents: Pair) -> Axes:
        """Return the windows over a picture of ``extents`` = (height, width) pixels.

        Raises:
            PoolError: the picture is smaller than the output.
        """
        out = self.resolved(extents)
        for name, given, n, o in zip(("height", "width"), self[:2], extents, out, strict=True):
            if n < 1:
                raise PoolError(f"the picture's {name} is {n}", "give a picture with pixels")
            # A side that follows from the other one is too large only if that is.
            if given is not None and o > n:
                raise PoolError(
                    f"the output's {name} is {o}, but the picture's is {n}",
                    f"give at most {n}: pooling never enlarges",
                )
        rows, columns = map(Spans.of, extents, out)
        return rows, columns

    def resolved(self, extents: Pair) -> Pair:
        """Return the (height, width) of the output of a picture of ``extents`` pixels."""
        (n_rows, n_columns), height, width = extents, self.height, self.width
        if self.fits and height is not None and width is not None:
            if n_rows <= height and n_columns <= width:
                return extents
            # The side that limits is met exactly; the other one follows from it.
            if height * n_columns <= width * n_rows:
                width = None
            else:
                height = None
        if height is None:
            height = _in_proportion(n_rows, width or 1, n_columns)
        if width is None:
            width = _in_proportion(n_columns, height, n_rows)
        return height, width


def _in_proportion(extent: int, out: int, other: int) -> int:
    """Return extent · out / other, rounded to nearest, ties to even, and at least 1."""
    quotient, rest = divmod(extent * out, other or 1)
    return max(1, quotient + (2 * rest + quotient % 2 > other))


def window_of(
    size: SizeLike | None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    output_size: SizeLike | None = None,
) -> Window | OutputSize:
    """Return the window of a size, or that of an output size.

    Raises:
        PoolError: an argument is not valid, or not exactly one of the two sizes is given.
    """
    if (size is None) == (output_size is None):
        both = size is not None
        found = "both size and output_size are" if both else "neither size nor output_size is"
        raise PoolError(f"{found} given", "give one of the two")
    if size is not None:
        return Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    if (stride, padding, dilation, ceil_mode) != (None, 0, 1, False):
        raise PoolError(
            "output_size decides the windows itself",
            "leave out stride, padding, dilation and ceil_mode",
        )
    return OutputSize(*per_axis("output_size", output_size))


def output_shape(
    shape: tuple[int, ...],
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
) -> tuple[int, ...]:
    """Return the shape of the result of pooling an array of ``shape``.

    An axis with extent n, size k, stride s, dilation d and the paddings p0 and p1 has
    ⌊(n + p0 + p1 - d·(k-1) - 1) / s⌋ + 1 windows; see `Window.of` for ceil mode and "same".

    Args:
        shape: (H, W), (H, W, C), or as ``axes`` says.
        size: as in `max_pool`, and so are the other arguments.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        output_size: as in `max_pool`.
        axes: as in `max_pool`.
        planes: as in `max_pool`.

    Returns:
        The shape with another height and width: (H', W') or (H', W', C), for example.

    Raises:
        PoolError: as `max_pool` would with these arguments.

    >>> output_shape((7, 9, 3), 2)
    (3, 4, 3)
    """
    if not isinstance(shape, tuple):
        raise PoolError(f"the shape is {shape!r}", "give (height, width) or (height, width, C)")
    extents = tuple(whole_number("shape", extent, 0) for extent in shape)
    layout = layout_of(axes, extents)
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    rows, columns = window.axes((extents[layout.height], extents[layout.width]))
    stack = None if layout.planes is None else extents[layout.planes]
    return layout.result_shape(extents, rows.out, columns.out, plane_count(planes, stack))


def plane_count(planes: Any, extent: int | None) -> int:
    """Return the number of planes of a window in a stack of ``extent`` planes.

    Args:
        planes: the argument ``planes``, a number or "all".
        extent: the number of planes; None if the array has no axis of planes.

    Raises:
        PoolError: it is no such number, or there are fewer planes.
    """
    is_all = isinstance(planes, str) and planes == "all"
    count = (extent or 1) if is_all else whole_number("planes", planes, 1)
    if count == 1 and not is_all:
        return 1
    if extent is None:
        raise PoolError(f"planes is {planes!r}, but no axis has planes", "name it Z or D in axes")
    if count > extent:
        raise PoolError(f"planes is {count}, but there are {extent}", f"give at most {extent}")
    return count
