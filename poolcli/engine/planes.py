"""Pool several planes of a stack together, by laying their rows between each other.

Row y of plane z of K planes becomes row y·K + z of one picture. A window over k rows of K planes
is then one over k·K rows, so that every method and kernel takes stacks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import Spans
from poolcli.engine.window import Axes, Axis

ReadRows: TypeAlias = Callable[[int, int], NDArray[Any]]


class Deep(NamedTuple):
    """Windows over K planes, as windows over the rows of one picture.

    Attributes:
        planes: the number of planes of a window, K.
        axes: the windows over the rows of all planes, and along the width.
        rows: the rows of a plane in the order in which they are laid; None for each once.
    """

    planes: int
    axes: Axes
    rows: list[int] | None = None

    @classmethod
    def of(cls, axes: Axes, planes: int) -> Deep:
        """Return windows that are ``planes`` deep; 1 gives those of one picture.

        The taps of dilated windows would not be evenly spaced, so that their rows are laid window
        by window.
        """
        rows, columns = axes
        if planes == 1:
            return cls(planes, axes)
        if isinstance(rows, Spans):
            starts, stops = (
                tuple(at * planes for at in ends) for ends in (rows.starts, rows.stops)
            )
            return cls(planes, (Spans(rows.extent * planes, starts, stops), columns))
        if rows.dilation == 1 or rows.size == 1:
            deep = Axis(
                extent=rows.extent * planes,
                size=rows.size * planes,
                stride=rows.stride * planes,
                dilation=1,
                before=rows.before * planes,
                after=rows.after * planes,
                out=rows.out,
            )
            return cls(planes, (deep, columns))
        padded = rows.padded()
        order: list[int] = []
        bounds, counts = [0], []
        for index in range(rows.out):
            taps = range(rows.start(index), rows.start(index) + rows.span, rows.dilation)
            order += [tap for tap in taps if 0 <= tap < rows.extent]
            bounds.append(len(order) * planes)
            counts.append(padded.taps_inside(index) * planes)
        spans = Spans(bounds[-1], tuple(bounds[:-1]), tuple(bounds[1:]), tuple(counts))
        return cls(planes, (spans, columns), order)

    def ordered(self, read: ReadRows) -> ReadRows:
        """Return a function that reads rows in the order in which they are laid.

        Args:
            read: reads rows of the picture in which each row of each plane is laid once.
        """
        if self.rows is None:
            return read
        order, depth = np.array(self.rows), self.planes

        def read_laid(start: int, stop: int) -> NDArray[Any]:
            """Return the rows from start to stop, which begin and end with a row of all planes."""
            wanted = order[start // depth : stop // depth]
            first = wanted.min()
            rows = read(int(first) * depth, int(wanted.max() + 1) * depth)
            by_plane = rows.reshape(-1, depth, *rows.shape[1:])
            laid: NDArray[Any] = by_plane[wanted - first]
            return laid.reshape(-1, *rows.shape[1:])

        return read_laid

    def laid(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Return (K, H, W) or (K, H, W, C), or (H, W) for all planes, as one picture."""
        if planes.ndim == 2:
            planes = np.broadcast_to(planes, (self.planes, *planes.shape))
        if self.rows is not None:
            planes = planes[:, self.rows]
        return np.moveaxis(planes, 0, 1).reshape(-1, *planes.shape[2:])
