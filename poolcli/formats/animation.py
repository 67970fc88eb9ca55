"""Animations: regions drawn on a canvas, durations in whole ticks, encoders that pull frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolcli.formats.contract import WholeFrameWriter
from poolcli.picture import MODES, FrameInfo, Metadata, Picture

Dispose = Literal["keep", "clear", "restore"]
Drawn: TypeAlias = "Iterator[tuple[int, NDArray[Any]]]"
"""The number of each frame, and the canvas while it is shown."""

Item = TypeVar("Item")
MOST_TICKS: Final = 65535
"""The most ticks that one frame may be shown: formats have 16 bits for them."""

BLENDED_PIXELS: Final = 1 << 16
"""Pixels that are blended at a time: it takes many times the memory of their samples."""


class Region(NamedTuple):
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


def has_transparency(regions: Sequence[Region], height: int, width: int) -> bool:
    """Return whether the canvas, transparent at first, may be seen beside or behind the frames."""
    first = regions[0]
    covers = first.top <= 0 and first.left <= 0
    covers &= first.top + first.height >= height and first.left + first.width >= width
    is_cleared = any(one.dispose == "clear" for one in regions[:-1])
    # Before the first frame there is the bare canvas to be restored.
    return not covers or is_cleared or (len(regions) > 1 and first.dispose == "restore")


class CanvasFrame:
    """One frame of an animation, as it is seen on the canvas."""

    def __init__(
        self, drawn: Drawn, number: int, info: FrameInfo, metadata: Callable[[], Metadata]
    ) -> None:
        """Keep where it comes from."""
        self.info, self.metadata = info, metadata
        self._drawn, self._number = drawn, number
        self._canvas: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call draws the frame and those before it."""
        if self._canvas is None:
            self._canvas = next(one for number, one in self._drawn if number == self._number)
        return self._canvas[start:stop]


def frames_of(
    regions: Sequence[Region], info: FrameInfo, metadata: Callable[[], Metadata]
) -> Iterator[CanvasFrame]:
    """Yield the frames of an animation as they are seen.

    Args:
        regions: what each of them draws.
        info: what all frames have in common: shape, mode and type of the canvas.
        metadata: reads what stands beside the pixels.
    """
    drawn = _draw(regions, info)
    for number, region in enumerate(regions):
        yield CanvasFrame(drawn, number, info._replace(duration=region.duration), metadata)


def _draw(regions: Sequence[Region], info: FrameInfo) -> Drawn:
    """Yield the canvas as it is while each frame is shown; it changes with the next one."""
    canvas = np.zeros(info.shape, info.dtype)
    for number, one in enumerate(regions):
        part = canvas[one.top : one.top + one.height, one.left : one.left + one.width]
        before = part.copy() if one.dispose == "restore" else None
        pixels = one.read()[: part.shape[0], : part.shape[1]]  # it may lie outside in part
        if one.blends and MODES[info.mode].without_alpha:
            blend(part, pixels, info.maxval)
        else:
            part[...] = pixels
        yield number, canvas
        if before is not None:
            part[...] = before
        elif one.dispose == "clear":
            part[...] = 0


def blend(below: NDArray[Any], above: NDArray[Any], full: int) -> None:
    """Blend pixels with alpha over others, in place, rounded once to nearest.

    With alphas a above and b below, both of full A: alpha a + b(A-a)/A, colour
    (a·A·c + b(A-a)·d) / (a·A + b(A-a)), the operator "over" of Porter and Duff, 1984.
    """
    step = max(1, BLENDED_PIXELS // max(1, below.shape[1]))
    for top in range(0, len(below), step):
        under, over = below[top : top + step], above[top : top + step]
        opaque = over[..., -1] == full
        under[opaque] = over[opaque]
        partial = ~opaque & (over[..., -1] > 0)
        upper, lower = over[partial].astype(np.uint64), under[partial].astype(np.uint64)
        weight_above = upper[:, -1:] * full
        weight_below = lower[:, -1:] * (full - upper[:, -1:])
        total = weight_above + weight_below
        colour = weight_above * upper[:, :-1] + weight_below * lower[:, :-1]
        lower[:, :-1] = (colour + total // 2) // total
        lower[:, -1:] = (total + full // 2) // full
        under[partial] = lower


class Shown(NamedTuple):
    """A frame as an animation shows it.

    Attributes:
        pixels: what is seen.
        image: what is encoded, in whatever form the format has it.
    """

    pixels: NDArray[Any]
    image: Any


class AnimationWriter(WholeFrameWriter):
    """The base of writers of animations, of whose frames the regions are written that change.

    Durations are written in whole ticks, of which the sum stays that of the animation. Frames that
    look the same as the one before become one with it, and what is shown for more ticks than a
    file can say is written several times.

    Attributes:
        tick: milliseconds of a tick.
    """

    tick = Fraction(1)
    _owed = Fraction(0)
    _held: tuple[Shown, int] | None = None

    def shown(self, picture: Picture) -> Shown:
        """Return a frame as the format shows it."""
        raise NotImplementedError

    def write_region(self, shown: Shown, ticks: int, following: Shown | None) -> None:
        """Write a frame that is followed by another one, or by the end."""
        raise NotImplementedError

    def write_frame(self, picture: Picture) -> None:
        """Take a frame; the one before is written if it looks otherwise."""
        shown = self.shown(picture)
        self._owed += picture.info.duration / self.tick
        ticks = round(self._owed)
        self._owed -= ticks
        if self._held is not None and np.array_equal(self._held[0].pixels, shown.pixels):
            shown, ticks = self._held[0], self._held[1] + ticks
        else:
            self.write_held(shown)
        self._held = shown, ticks

    def write_held(self, following: Shown | None) -> None:
        """Write the frame that is held, if there is one."""
        if self._held is None:
            return
        shown, ticks = self._held
        while ticks > MOST_TICKS:
            self.write_region(shown, MOST_TICKS, shown)
            ticks -= MOST_TICKS
        self.write_region(shown, ticks, following)


def changed_part(before: NDArray[Any] | None, after: NDArray[Any]) -> tuple[slice, slice]:
    """Return the rows and columns outside of which two pictures are equal; at least one pixel.

    Args:
        before: the first picture, or None where all of the other has changed.
        after: the other picture.
    """
    if before is None:
        return slice(0, after.shape[0]), slice(0, after.shape[1])
    changed = before != after
    if changed.ndim == 3:
        changed = changed.any(axis=2)
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


class Bridge(Generic[Item]):
    """Frames pushed to an encoder that pulls them: it runs in a thread, behind a queue of one."""

    def __init__(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Start the encoder.

        Args:
            encode: takes an iterator over all frames.
        """
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
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
        self.discard()
        if self._fault is not None:
            raise self._fault

    def discard(self) -> None:
        """Let the encoder end, whatever it makes of the frames it has."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Encode; after a failure go on taking frames, so that nobody waits for room."""
        frames = iter(self._queue.get, None)
        try:
            encode(frames)
        except BaseException as fault:  # noqa: BLE001  # it is raised where frames are pushed
            self._fault = fault
        for _ in frames:
            pass
