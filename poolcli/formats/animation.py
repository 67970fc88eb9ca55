"""Read and write animations: draw regions on a canvas, round durations, run pulling encoders."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolcli.formats import Format
from poolcli.formats.contract import WholeFrameWriter
from poolcli.formats.saving import Saving
from poolcli.picture import MODES, FrameInfo, Metadata, Picture

Dispose = Literal["keep", "clear", "restore"]
Drawn: TypeAlias = "Iterator[tuple[int, NDArray[Any]]]"
"""The number of each frame, and the canvas as it looks while that frame is shown."""

Item = TypeVar("Item")
MILLISECONDS_A_DAY: Final = 86_400_000

BLENDED_PIXELS: Final = 1 << 16
"""Pixels that are blended at once; the 64-bit intermediate results take much memory."""


class Region(NamedTuple):
    """The part of the canvas that one frame of an animation draws.

    Attributes:
        top: its first row on the canvas.
        left: its first column on the canvas.
        height: its number of rows.
        width: its number of columns.
        duration: how long the frame is shown, in milliseconds.
        dispose: the disposal after the frame: the region is kept, cleared to transparent, or
            restored to its pixels from before the frame.
        blends: whether its pixels are blended with the canvas by alpha; otherwise they replace it.
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
    """Return whether the transparent canvas may be visible beside or behind the frames."""
    first = regions[0]
    covers = first.top <= 0 and first.left <= 0
    covers &= first.top + first.height >= height and first.left + first.width >= width
    is_cleared = any(one.dispose == "clear" for one in regions[:-1])
    # Restoring what was there before the first frame gives the empty, transparent canvas.
    return not covers or is_cleared or (len(regions) > 1 and first.dispose == "restore")


class CanvasFrame:
    """One frame of an animation, as it is seen on the canvas."""

    def __init__(
        self, drawn: Drawn, number: int, info: FrameInfo, metadata: Callable[[], Metadata]
    ) -> None:
        """Keep the arguments.

        Args:
            drawn: yields the canvas of each frame; all frames of a pass share this iterator.
            number: the number of this frame.
            info: its `FrameInfo`.
            metadata: reads the metadata.
        """
        self.info, self.metadata = info, metadata
        self._drawn, self._number = drawn, number
        self._canvas: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop; the first call draws all frames up to this one."""
        if self._canvas is None:
            self._canvas = next(one for number, one in self._drawn if number == self._number)
        return self._canvas[start:stop]


def frames_of(
    regions: Sequence[Region], info: FrameInfo, metadata: Callable[[], Metadata]
) -> Iterator[CanvasFrame]:
    """Yield the frames of an animation, each as the whole canvas.

    Args:
        regions: the region that each frame draws.
        info: shape, mode and type of the canvas, which all frames share.
        metadata: reads the metadata.
    """
    drawn = _draw(regions, info)
    for number, region in enumerate(regions):
        yield CanvasFrame(drawn, number, info._replace(duration=region.duration), metadata)


def _draw(regions: Sequence[Region], info: FrameInfo) -> Drawn:
    """Yield the number of each frame and the canvas; the next step overwrites the same array."""
    canvas = np.zeros(info.shape, info.dtype)
    for number, one in enumerate(regions):
        part = canvas[one.top : one.top + one.height, one.left : one.left + one.width]
        before = part.copy() if one.dispose == "restore" else None
        # A region may lie partly outside the canvas.
        pixels = one.read()[: part.shape[0], : part.shape[1]]
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
    """Blend pixels over others by their straight alpha, in place; each sample is rounded once.

    This is the operator "over" of Porter and Duff, 1984. With the alphas a above and b below, the
    colours c above and d below, and full alpha A, the result has the alpha a + b(A-a)/A and the
    colour (a·A·c + b(A-a)·d) / (a·A + b(A-a)).

    Args:
        below: (H, W, C) with alpha in the last channel; overwritten by the result.
        above: the pixels to blend over them, in the same form.
        full: the value of full alpha, A.
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


class Timing(NamedTuple):
    """The durations and the numbers of plays that a format can state.

    Attributes:
        tick: the unit of durations, in milliseconds.
        longest: the longest duration of a frame, in units.
        most_plays: the largest number of plays; 0 if it can only state endless repetition.
        coarse: the number of ticks in the coarser unit that longer durations may have.
        longest_sum: the longest duration of all frames, in ticks; None if there is no limit.
    """

    tick: Fraction
    longest: int
    most_plays: int
    coarse: int = 1
    longest_sum: int | None = None

    def pieces(self, ticks: int) -> Iterator[int]:
        """Split a duration into the longest ones that can be stated; their sum is exact."""
        while True:
            piece = ticks
            if ticks > self.longest:
                piece = min(ticks // self.coarse, self.longest) * self.coarse
            yield piece
            ticks -= piece
            if not ticks:
                return


class Timeline:
    """The durations and the number of plays of an animation, as its format can state them.

    Durations are rounded to whole ticks without changing their sum: the rounding error of a frame
    is carried over to the next.
    """

    def __init__(self, timing: Timing, title: str, warn: Callable[[str], None]) -> None:
        """Keep the arguments.

        Args:
            timing: the limits of the format.
            title: the name of the format in warnings.
            warn: takes a warning for what can't be stated.
        """
        self.timing, self._title, self._warn = timing, title, warn
        self._rounding_error, self._sum = Fraction(0), 0

    def ticks(self, duration: Fraction | int) -> int:
        """Return the duration of the next frame in ticks."""
        self._rounding_error += duration / self.timing.tick
        ticks = round(self._rounding_error)
        self._rounding_error -= ticks
        return ticks

    def split(self, ticks: int) -> Iterator[int]:
        """Split a duration that is too long for one frame; warn of it."""
        self._check(ticks, "are written several times")
        return self.timing.pieces(ticks)

    def clamped(self, ticks: int) -> int:
        """Shorten a duration that is too long for one frame or for the animation; warn of it."""
        self._check(ticks, "were shortened")
        ticks = min(ticks, self.timing.longest)
        left = self.timing.longest_sum
        if left is not None and self._sum + ticks > left:
            days = float(left * self.timing.tick) / MILLISECONDS_A_DAY
            self._warn(f"{self._title} shows an animation for at most {days:.1f} days")
            ticks = left - self._sum
        self._sum += ticks
        return ticks

    def plays(self, plays: int) -> int:
        """Return a number of plays that the format can state; warn if it is another one."""
        most = self.timing.most_plays
        if plays > most:
            states = f"at most {most}" if most else "only endless repetition"
            self._warn(f"the number of plays is {plays}, and {self._title} can state {states}")
        return min(plays, most)

    def _check(self, ticks: int, what: str) -> None:
        """Warn of a duration that is too long for one frame."""
        if ticks > self.timing.longest * self.timing.coarse:
            seconds = float(self.timing.longest * self.timing.coarse * self.timing.tick) / 1000
            self._warn(f"{self._title} shows a frame for at most {seconds:g} s: longer ones {what}")


class Shown(NamedTuple):
    """A frame that waits to be written.

    Attributes:
        pixels: the visible pixels, by which frames are compared.
        image: the object that the format encodes; its type depends on the format.
    """

    pixels: NDArray[Any]
    image: Any


class AnimationWriter(WholeFrameWriter):
    """The base class of writers that encode only the changed region of each frame.

    A frame that equals the previous one only extends its duration. A frame with a longer duration
    than the format can state is written several times.

    Attributes:
        timing: the durations and the numbers of plays that the format can state.
    """

    timing: Timing
    _held: tuple[Shown, int] | None = None

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin with no frame."""
        super().__init__(file, row, saving)
        self.timeline = Timeline(self.timing, row.title, self.warn)

    def shown(self, picture: Picture) -> Shown:
        """Return a frame as it will look after encoding."""
        raise NotImplementedError

    def write_region(self, shown: Shown, ticks: int, following: Shown | None) -> None:
        """Write the changed region of a frame; ``following`` is the next frame, None at the end."""
        raise NotImplementedError

    def write_frame(self, picture: Picture) -> None:
        """Hold a frame back; write the previous one unless both look the same."""
        shown = self.shown(picture)
        ticks = self.timeline.ticks(picture.info.duration)
        if self._held is not None and np.array_equal(self._held[0].pixels, shown.pixels):
            shown, ticks = self._held[0], self._held[1] + ticks
        else:
            self.write_held(shown)
        self._held = shown, ticks

    def write_held(self, following: Shown | None) -> None:
        """Write the frame that is held back, if there is one."""
        if self._held is None:
            return
        shown, ticks = self._held
        *pieces, last = self.timeline.split(ticks)
        for piece in pieces:
            self.write_region(shown, piece, shown)
        self.write_region(shown, last, following)


def changed_part(before: NDArray[Any] | None, after: NDArray[Any]) -> tuple[slice, slice]:
    """Return the bounding box of the pixels that differ, as rows and columns; at least one pixel.

    Args:
        before: the previous frame; None to return the whole of the next one.
        after: the next frame.
    """
    if before is None:
        return slice(0, after.shape[0]), slice(0, after.shape[1])
    changed = before != after
    if changed.ndim == 3:
        changed = changed.any(axis=2)
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    if not len(rows):
        return slice(0, 1), slice(0, 1)  # formats can't store an empty region
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


class Bridge(Generic[Item]):
    """A bridge from frames that are pushed to an encoder that pulls them from an iterator.

    The encoder runs in a thread. The queue holds one frame, so that memory stays bounded.
    """

    def __init__(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Start the encoder's thread.

        Args:
            encode: encodes all frames of the iterator that it is given.
        """
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(encode,), daemon=True)
        self._thread.start()

    def push(self, item: Item) -> None:
        """Pass a frame to the encoder; wait until it has taken the previous one.

        Raises:
            Exception: the exception that the encoder raised.
        """
        self._queue.put(item)
        if self._fault is not None:
            self.finish()

    def finish(self) -> None:
        """Wait until the encoder has finished.

        Raises:
            Exception: the exception that the encoder raised.
        """
        self.discard()
        if self._fault is not None:
            raise self._fault

    def discard(self) -> None:
        """End the frames, and wait for the encoder; ignore its exception."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Run the encoder, then take the remaining frames."""
        frames = iter(self._queue.get, None)
        try:
            encode(frames)
        except BaseException as fault:  # noqa: BLE001  # `push` and `finish` raise it
            self._fault = fault
        # After a failure `push` would otherwise block for ever on the full queue.
        for _ in frames:
            pass
