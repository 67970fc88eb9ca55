"""Animations: regions drawn on a canvas, durations in whole ticks, encoders that pull frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolcli.picture import MODES, FrameInfo, Metadata

Dispose = Literal["keep", "clear", "restore"]
Shown = TypeVar("Shown")
Item = TypeVar("Item")
BLENDED_PIXELS: Final = 1 << 16
"""Pixels that are blended at a time: it takes many times the memory of their samples."""


@dataclass(frozen=True, slots=True)
class Region:
    """What one frame of an animation draws, and where.

    Attributes:
        top: its first row on the canvas.
        left: its first column on the canvas.
        height: its rows.
        width: its columns.
        duration: how long the frame is shown, in milliseconds.
        dispose: what becomes of the region afterwards: it stays, is cleared to transparent, or
            restored to what it was before.
        blends: whether its alpha is blended with the canvas, rather than replacing it.
        read: decodes its pixels, (height, width) or (height, width, C), in the mode of the canvas.
    """

    top: int
    left: int
    height: int
    width: int
    duration: Fraction
    dispose: Dispose
    blends: bool
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Animation:
    """A canvas and what is drawn on it, one frame after the other.

    Attributes:
        height: of the canvas.
        width: of the canvas.
        plays: how often it is shown; 0 for ever.
        regions: what each frame draws.
    """

    height: int
    width: int
    plays: int
    regions: tuple[Region, ...]

    @property
    def has_transparency(self) -> bool:
        """Whether the canvas, transparent at first, may be seen beside or behind the frames."""
        first = self.regions[0]
        covers = first.top <= 0 and first.left <= 0
        covers &= first.top + first.height >= self.height
        covers &= first.left + first.width >= self.width
        cleared = any(one.dispose == "clear" for one in self.regions[:-1])
        # Before the first frame there is the bare canvas to be restored.
        return not covers or cleared or (len(self.regions) > 1 and first.dispose == "restore")


class Canvas:
    """The picture that the frames of an animation are drawn on, in turn and only when needed."""

    def __init__(self, animation: Animation, info: FrameInfo) -> None:
        """Keep the animation; the canvas takes no memory until a frame is shown."""
        self._animation, self._info = animation, info
        self._array: NDArray[Any] | None = None
        self._before: NDArray[Any] | None = None
        self._drawn = -1

    def show(self, number: int) -> NDArray[Any]:
        """Return the canvas as it is while a frame is shown; it changes with the next call.

        Args:
            number: of the frame, from 0; not less than in the call before.
        """
        if self._array is None:
            self._array = np.zeros(self._info.shape, self._info.dtype)
        while self._drawn < number:
            self._draw_next(self._array)
        return self._array

    def _draw_next(self, canvas: NDArray[Any]) -> None:
        """Dispose of the frame that is shown, and draw the next one."""
        regions = self._animation.regions
        if self._drawn >= 0:
            shown = regions[self._drawn]
            if self._before is not None:
                self._part(canvas, shown)[...] = self._before
            elif shown.dispose == "clear":
                self._part(canvas, shown)[...] = 0
        self._drawn += 1
        region = regions[self._drawn]
        part = self._part(canvas, region)
        self._before = part.copy() if region.dispose == "restore" else None
        pixels = region.read()[: part.shape[0], : part.shape[1]]
        if region.blends and MODES[self._info.mode].without_alpha:
            blend(part, pixels, self._info.maxval)
        else:
            part[...] = pixels

    def _part(self, canvas: NDArray[Any], region: Region) -> NDArray[Any]:
        """Return the part of the canvas that a region covers; it may lie outside in part."""
        top, left = min(region.top, canvas.shape[0]), min(region.left, canvas.shape[1])
        return canvas[top : region.top + region.height, left : region.left + region.width]


class CanvasFrame:
    """One frame of an animation, as it is seen on the canvas."""

    def __init__(
        self, canvas: Canvas, number: int, info: FrameInfo, metadata: Callable[[], Metadata]
    ) -> None:
        """Keep where it comes from."""
        self.info, self.metadata = info, metadata
        self._canvas, self._number = canvas, number

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call draws the frame and those before it."""
        return self._canvas.show(self._number)[start:stop]


def frames_of(
    animation: Animation, info: FrameInfo, metadata: Callable[[], Metadata]
) -> Iterator[CanvasFrame]:
    """Yield the frames of an animation as they are seen.

    Args:
        animation: what is drawn.
        info: what all frames have in common: shape, mode and type of the canvas.
        metadata: reads what stands beside the pixels.
    """
    canvas = Canvas(animation, info)
    for number, region in enumerate(animation.regions):
        yield CanvasFrame(canvas, number, info._replace(duration=region.duration), metadata)


def blend(below: NDArray[Any], above: NDArray[Any], full: int) -> None:
    """Blend pixels with alpha over others, in place, rounded once to nearest.

    With alphas a above and b below, both of full A: alpha a + b(A-a)/A, colour
    (a·A·c + b(A-a)·d) / (a·A + b(A-a)), the operator "over" of Porter and Duff, 1984.
    """
    step = max(1, BLENDED_PIXELS // below.shape[1]) if below.size else 1
    for top in range(0, len(below), step):
        _blend_rows(below[top : top + step], above[top : top + step], full)


def _blend_rows(below: NDArray[Any], above: NDArray[Any], full: int) -> None:
    """Blend some rows."""
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


class Ticks(Generic[Shown]):
    """Durations in whole ticks, of which the sum stays that of the animation.

    Frames that look the same as the one before become one with it, and what is shown for more
    ticks than a file can say is given several times.
    """

    def __init__(
        self, tick: Fraction, most: int, same: Callable[[Shown, Shown], bool] = lambda _a, _b: False
    ) -> None:
        """Begin without a frame.

        Args:
            tick: milliseconds of a tick.
            most: the most ticks that one frame may be shown.
            same: whether two frames look the same.
        """
        self._tick, self._most, self._same = tick, most, same
        self._owed = Fraction(0)
        self._held: tuple[Shown, int] | None = None

    def push(self, shown: Shown, duration: Fraction) -> list[tuple[Shown, int]]:
        """Take the next frame; return those that are complete, each with its ticks."""
        self._owed += duration / self._tick
        ticks = round(self._owed)
        self._owed -= ticks
        if self._held is not None and self._same(self._held[0], shown):
            self._held = self._held[0], self._held[1] + ticks
            return []
        complete = self.finish()
        self._held = shown, ticks
        return complete

    def finish(self) -> list[tuple[Shown, int]]:
        """Return the last frame."""
        if self._held is None:
            return []
        (shown, ticks), self._held = self._held, None
        parts = []
        while ticks > self._most:
            parts.append((shown, self._most))
            ticks -= self._most
        return [*parts, (shown, ticks)]


class Box(NamedTuple):
    """A rectangle: rows from top to bottom, columns from left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def whole(cls, array: NDArray[Any]) -> Box:
        """Return the box of a whole picture."""
        return cls(0, array.shape[0], 0, array.shape[1])

    @classmethod
    def of_changes(cls, before: NDArray[Any] | None, after: NDArray[Any]) -> Box:
        """Return the smallest box outside of which two pictures are equal; never an empty one."""
        if before is None:
            return cls.whole(after)
        changed = before != after
        if changed.ndim == 3:
            changed = changed.any(axis=2)
        rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
        if not len(rows):
            return cls(0, 1, 0, 1)
        return cls(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


class Bridge(Generic[Item]):
    """Frames pushed to an encoder that pulls them: it runs in a thread, behind a queue of one."""

    def __init__(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Start the encoder.

        Args:
            encode: takes an iterator over all frames.
        """
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, args=(encode,), daemon=True)
        self._thread.start()

    def push(self, item: Item) -> None:
        """Hand on a frame, once the one before has been taken.

        Raises:
            Exception: what the encoder raised.
        """
        self._queue.put(item)
        if self._fault is not None:
            self.finish()

    def finish(self) -> None:
        """Wait until the encoder is done.

        Raises:
            Exception: what the encoder raised.
        """
        self._queue.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def discard(self) -> None:
        """Let the encoder end, whatever it makes of the frames it has."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Encode; after a failure go on taking frames, so that nobody waits for room."""
        try:
            encode(self._frames())
        except BaseException as fault:  # noqa: BLE001  # it is raised where frames are pushed
            self._fault = fault
        while not self._ended:
            next(self._frames(), None)

    def _frames(self) -> Iterator[Item]:
        """Yield what is pushed, until the end."""
        while (item := self._queue.get()) is not None:
            yield item
        self._ended = True
