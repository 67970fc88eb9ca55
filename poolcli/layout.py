"""Name the axes of arrays by letters, such as "NCHW"."""

from __future__ import annotations

from math import prod
from typing import Final, NamedTuple

from poolcli.errors import PoolError

Shape = tuple[int, ...]

LETTERS: Final = {"HY": "height", "WX": "width", "CS": "channels", "ZD": "planes"}
"""The letters of the axes that have a meaning; all others are batch axes."""

FEW: Final = 4
"""An axis that is at most so long looks like channels."""


class Layout(NamedTuple):
    """The meaning of the axes of an array; each axis is given by its number, from 0.

    Attributes:
        axes: a capital letter for each axis.
        height: the axis of rows.
        width: the axis of columns.
        channels: the axis whose elements are the samples of one pixel, or None.
        planes: the axis of the planes of a stack, or None.
        batch: the other axes.
    """

    axes: str
    height: int
    width: int
    channels: int | None
    planes: int | None
    batch: tuple[int, ...]

    @classmethod
    def of(cls, axes: str, shape: Shape) -> Layout:
        """Return the meaning of the axes of an array of ``shape``.

        Raises:
            PoolError: a letter is missing or repeated, or their number is wrong.

        >>> Layout.of("NCHW", (2, 3, 12, 16)).batch
        (0,)
        """
        form = 'give a letter for each axis, such as "CHW"'
        if not isinstance(axes, str) or not (axes.isascii() and axes.isalpha()):
            raise PoolError(f"axes is {axes!r}", form)
        letters = axes.upper()
        found: dict[str, int] = {}
        batch = []
        for number, letter in enumerate(letters):
            name = next((name for pair, name in LETTERS.items() if letter in pair), letter)
            if name in found:
                raise PoolError(f"axes is {axes!r}, which names {name} twice", form)
            found[name] = number
            if name == letter:
                batch.append(number)
        if "height" not in found or "width" not in found:
            raise PoolError(f"axes is {axes!r}", "name the height H or Y, and the width W or X")
        if len(letters) != len(shape):
            raise PoolError(f"axes is {axes!r}, but the shape is {shape}", form)
        channels, planes = found.get("channels"), found.get("planes")
        return cls(letters, found["height"], found["width"], channels, planes, tuple(batch))

    def order(self, *, whole_pixels: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the axes over which pictures are counted, and those of each picture.

        Args:
            whole_pixels: whether the channels always belong to the picture. Otherwise they do if
                they are the last axis; else each channel is a picture, contiguous in memory.
        """
        outer = [number for number in (*self.batch, self.planes) if number is not None]
        inner = [self.height, self.width]
        if self.channels is not None:
            is_last = self.channels == len(self.axes) - 1
            (inner if is_last or whole_pixels else outer).append(self.channels)
        return tuple(outer), tuple(inner)

    @property
    def in_blocks(self) -> bool:
        """Return whether each (H, W), or (H, W, C) if channels are last, is contiguous."""
        outer, inner = self.order()
        return inner == tuple(range(len(outer), len(self.axes)))

    def result_shape(self, shape: Shape, height: int, width: int, planes: int = 1) -> Shape:
        """Return the shape of the result: ``shape`` with another height and width.

        Args:
            shape: the shape of the array.
            height: the number of rows of the result.
            width: the number of columns of the result.
            planes: the number of planes that are pooled together.
        """
        sides = list(shape)
        sides[self.height], sides[self.width] = height, width
        if self.planes is not None:
            sides[self.planes] //= planes
        return tuple(sides)


class Pictures(NamedTuple):
    """The pictures of an array: for each place in the batch and among the planes, one.

    Attributes:
        layout: the meaning of the axes.
        shape: the shape of the array.
    """

    layout: Layout
    shape: Shape

    @property
    def outer(self) -> Shape:
        """The extents of the axes over which pictures are counted."""
        return tuple(self.shape[number] for number in self.layout.order(whole_pixels=True)[0])

    @property
    def picture(self) -> Shape:
        """The shape of one picture: (H, W) or (H, W, C)."""
        return tuple(self.shape[number] for number in self.layout.order(whole_pixels=True)[1])

    @property
    def block(self) -> Shape:
        """The shape of a block in memory: (H, W), or (H, W, C) if the channels are last."""
        return tuple(self.shape[number] for number in self.layout.order()[1])

    @property
    def number(self) -> int:
        """The number of pictures."""
        return prod(self.outer)

    def blocks(self, number: int) -> list[int]:
        """Return the numbers of the blocks in memory that form a picture, one for each channel.

        Args:
            number: the number of the picture; the last of the ``outer`` axes counts fastest.
        """
        place = {}
        for axis in reversed(self.layout.order(whole_pixels=True)[0]):
            number, place[axis] = divmod(number, self.shape[axis])
        lead, channels = range(len(self.layout.order()[0])), self.layout.channels
        places = [place]
        if channels is not None and channels in lead:
            places = [place | {channels: sample} for sample in range(self.shape[channels])]
        blocks = []
        for each in places:
            block = 0
            for axis in lead:
                block = block * self.shape[axis] + each[axis]
            blocks.append(block)
        return blocks


def likely_axes(shape: Shape) -> str | None:
    """Return the axes that an array of more than two axes probably has, other than (H, W, C).

    >>> likely_axes((3, 12, 16)), likely_axes((7, 12, 16)), likely_axes((2, 3, 12, 16))
    ('CHW', 'ZYX', 'NCHW')
    """
    match shape:
        case (first, _, _):
            return "CHW" if first <= FEW else "ZYX"
        case (_, second, _, last):
            return "NHWC" if last <= FEW < second else "NCHW" if second <= FEW else "NZYX"
        case (_, _, _, _, last):
            return "NZYXC" if last <= FEW else "NCZYX"
    return None


def unlike_hwc(shape: Shape, remedy: str) -> PoolError:
    """Return the error for an array that is not (H, W) or (H, W, C), or probably isn't.

    Args:
        shape: its shape.
        remedy: how axes are given; ``{axes}`` stands for them.
    """
    axes = likely_axes(shape)
    if axes is None:
        return PoolError(f"its shape is {shape}", "give (H, W), (H, W, C) or the axes of a batch")
    letters = ", ".join(axes)
    or_else = f", or {remedy.format(axes='HWC')} if it is (H, W, C)" if len(shape) == 3 else ""
    return PoolError(
        f"its shape is {shape}, which looks like ({letters})",
        f"give {remedy.format(axes=axes)}{or_else}",
    )
