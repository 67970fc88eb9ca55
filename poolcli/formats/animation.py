"""Read and write animations: draw regions on a canvas, write only what changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.formats.contract import WholeFrameWriter
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timeline, Timing
from poolcli.picture import MODES, FrameInfo, Metadata, Picture

if TYPE_CHECKING:
    from fractions import Fraction

Dispose = Literal["keep", "clear", "restore"]
ReadRows: TypeAlias = "Callable[[int, int], NDArray[Any]]"
"""Returns the rows from start to stop of a decoded region or frame."""

Part: TypeAlias = tuple[slice, slice]
"""Some rows and columns."""

BLENDED_PIXELS: Final = 1 << 16
"""Pixels that are blended at once; the 64-bit intermediate results take much memory."""

COMPARED_PIXELS: Final = 1 << 18
"""Pixels of two frames that are compared at once."""


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
        decode: decodes its pixels, and returns what reads rows of them in the mode of the canvas:
            (rows, width) or (rows, width, C).
    """

    top: int
    left: int
    height: int
    width: int
    duration: Fraction
    dispose: Dispose
    blends: bool
    decode: Callable[[], ReadRows]

    @property
    def rows(self) -> slice:
        """The rows of the canvas that it draws."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """The columns of the canvas that it draws."""
        return slice(self.left, self.left + self.width)


class Regions:
    """The regions of an animation, each of which is made when it is asked for.

    An animation may have tens of thousands of frames, and a `Region` takes half a kilobyte.
    """

    def __init__(self, make: Callable[[int], Region], count: int) -> None:
        """Keep the arguments.

        Args:
            make: makes the region of a frame from its number.
            count: the number of frames.
        """
        self._make, self._count = make, count

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def __getitem__(self, number: int) -> Region:
        """Return the region of a frame."""
        return self._make(number)

    def __iter__(self) -> Iterator[Region]:
        """Yield all regions in order."""
        return map(self._make, range(self._count))


def has_transparency(regions: Regions, height: int, width: int) -> bool:
    """Return whether the transparent canvas may be visible beside or behind the frames."""
    first = regions[0]
    covers = first.top <= 0 and first.left <= 0
    covers &= first.top + first.height >= height and first.left + first.width >= width
    is_cleared = any(one.dispose == "clear" for one in islice(regions, len(regions) - 1))
    # Restoring what was there before the first frame gives the empty, transparent canvas.
    return not covers or is_cleared or (len(regions) > 1 and first.dispose == "restore")


class Canvas:
    """The canvas of an animation, on which the frames are drawn in order.

    It is the only whole picture in memory: a region that will be restored is drawn only on copies
    of the rows that are asked for, so that what is below need not be kept.
    """

    def __init__(self, regions: Regions, info: FrameInfo) -> None:
        """Keep the arguments; memory is allocated when a frame is shown.

        Args:
            regions: the region that each frame draws.
            info: shape, mode and type of the canvas.
        """
        self._regions, self._info = regions, info
        self._pixels: NDArray[Any] = np.empty(0)
        self._shown = -1
        self._read: ReadRows | None = None

    def rows(self, number: int, start: int, stop: int) -> NDArray[Any]:
        """Return rows of the canvas while a frame is shown; frames can't be shown again."""
        while self._shown < number:
            self._show_next()
        band, region = self._pixels[start:stop], self._regions[number]
        if region.dispose != "restore":
            return band
        if self._read is None:
            self._read = region.decode()
        band = band.copy()
        self._draw(region, self._read, band, start)
        return band

    def _show_next(self) -> None:
        """Dispose of the current frame, and draw the next one unless it will be restored."""
        if self._shown < 0:
            self._pixels = np.zeros(self._info.shape, self._info.dtype)
        elif (region := self._regions[self._shown]).dispose == "clear":
            self._pixels[region.rows, region.columns] = 0
        self._read = None
        self._shown += 1
        region = self._regions[self._shown]
        if region.dispose != "restore":
            self._draw(region, region.decode(), self._pixels, 0)

    def _draw(self, region: Region, read: ReadRows, band: NDArray[Any], above: int) -> None:
        """Draw a region on rows of the canvas; it may lie partly outside the canvas.

        Args:
            region: the region.
            read: reads its rows.
            band: rows of the canvas; overwritten.
            above: the number of rows of the canvas above them.
        """
        first, last = max(region.top, above), min(region.rows.stop, above + len(band))
        step = max(1, BLENDED_PIXELS // max(1, region.width))
        for top in range(first, last, step):
            bottom = min(top + step, last)
            part = band[top - above : bottom - above, region.columns]
            pixels = read(top - region.top, bottom - region.top)[:, : part.shape[1]]
            if region.blends and MODES[self._info.mode].without_alpha:
                blend(part, pixels, self._info.maxval)
            else:
                part[...] = pixels
        if above + len(band) == self._info.shape[0] < region.rows.stop:
            # The rows below the canvas are read too: otherwise damage in them would go unnoticed.
            read(region.height - 1, region.height)


class DecodedCanvases:
    """The canvases of a decoder that draws the frames itself; only the current one is kept."""

    def __init__(self, canvases: Iterator[NDArray[Any]]) -> None:
        """Keep the argument.

        Args:
            canvases: yields the canvas of each frame.
        """
        self._canvases, self._shown = canvases, -1
        self._pixels: NDArray[Any] = np.empty(0)

    def rows(self, number: int, start: int, stop: int) -> NDArray[Any]:
        """Return rows of the canvas of a frame; frames can't be shown again."""
        while self._shown < number:
            self._pixels = np.empty(0)  # frees the previous canvas first
            self._pixels = next(self._canvases)
            self._shown += 1
        return self._pixels[start:stop]


class CanvasFrame:
    """One frame of an animation, as it is seen on the canvas."""

    def __init__(
        self,
        canvas: Canvas | DecodedCanvases,
        number: int,
        info: FrameInfo,
        metadata: Callable[[], Metadata],
    ) -> None:
        """Keep the arguments.

        Args:
            canvas: the canvas, which all frames of a pass share.
            number: the number of this frame.
            info: its `FrameInfo`; without alpha, the alpha of the canvas is left out.
            metadata: reads the metadata.
        """
        self.info, self.metadata = info, metadata
        self._canvas, self._number = canvas, number

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop; the first call draws all frames up to this one."""
        band = self._canvas.rows(self._number, start, stop)
        if band.shape[1:] == self.info.shape[1:]:
            return band
        # Channel by channel, because NumPy copies the first three of four slowly.
        colours = np.empty((stop - start, *self.info.shape[1:]), band.dtype)
        for channel in range(colours.shape[2]):
            colours[..., channel] = band[..., channel]
        return colours


def frames_of(
    regions: Regions,
    info: FrameInfo,
    canvas_info: FrameInfo,
    metadata: Callable[[], Metadata],
) -> Iterator[CanvasFrame]:
    """Yield the frames of an animation, each as the whole canvas.

    Args:
        regions: the region that each frame draws.
        info: shape, mode and type of every frame.
        canvas_info: likewise of the canvas, which may have alpha that frames don't need.
        metadata: reads the metadata.
    """
    canvas = Canvas(regions, canvas_info)
    for number, region in enumerate(regions):
        yield CanvasFrame(canvas, number, info._replace(duration=region.duration), metadata)


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
    opaque = above[..., -1] == full
    whole = np.dtype(f"u{below.shape[-1] * below.dtype.itemsize}")  # a pixel as one number
    np.copyto(below.view(whole), above.view(whole), where=opaque[..., None])
    partial = ~opaque & (above[..., -1] > 0)
    if not partial.any():
        return
    upper, lower = above[partial].astype(np.uint64), below[partial].astype(np.uint64)
    weight_above = upper[:, -1:] * full
    weight_below = lower[:, -1:] * (full - upper[:, -1:])
    total = weight_above + weight_below
    colour = weight_above * upper[:, :-1] + weight_below * lower[:, :-1]
    lower[:, :-1] = (colour + total // 2) // total
    lower[:, -1:] = (total + full // 2) // full
    below[partial] = lower


class Shown(NamedTuple):
    """A frame as it will look after encoding.

    Attributes:
        height: its number of rows.
        width: its number of columns.
        rows: reads rows of the visible pixels, by which frames are compared.
        image: the object that the format encodes; its type depends on the format.
    """

    height: int
    width: int
    rows: ReadRows
    image: Any

    def whole(self) -> Part:
        """Return all rows and columns."""
        return slice(0, self.height), slice(0, self.width)


class AnimationWriter(WholeFrameWriter):
    """The base class of writers that encode only the changed region of each frame.

    A frame that equals the previous one only extends its duration. A frame with a longer duration
    than the format can state is written several times.

    Attributes:
        timing: the durations and the numbers of plays that the format can state.
    """

    timing: Timing
    _held: tuple[Shown, Part, int] | None = None

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin with no frame."""
        super().__init__(file, row, saving)
        self.timeline = Timeline(self.timing, row.title, self.warn)

    def shown(self, picture: Picture) -> Shown:
        """Return a frame as it will look after encoding."""
        raise NotImplementedError

    def write_region(self, shown: Shown, part: Part, ticks: int, following: Shown | None) -> bool:
        """Write the changed region of a frame; return whether the canvas is cleared afterwards.

        Args:
            shown: the frame.
            part: the rows and columns that differ from the previous frame.
            ticks: the duration.
            following: the next frame; None at the end.
        """
        raise NotImplementedError

    def write_frame(self, picture: Picture) -> None:
        """Hold a frame back; write the previous one unless both look the same."""
        shown = self.shown(picture)
        ticks = self.timeline.ticks(picture.info.duration)
        part = shown.whole()
        if self._held is not None:
            before, its_part, its_ticks = self._held
            changed = changed_part(before, shown)
            if changed is None:
                self._held = before, its_part, its_ticks + ticks
                return
            if not self._write_held(shown):
                part = changed
        self._held = shown, part, ticks

    def write_end(self) -> None:
        """Write the last frame."""
        self._write_held(None)

    def _write_held(self, following: Shown | None) -> bool:
        """Write the frame that is held back; return whether the canvas is cleared afterwards."""
        if self._held is None:
            return False
        shown, part, ticks = self._held
        *pieces, last = self.timeline.split(ticks)
        for piece in pieces:
            self.write_region(shown, part, piece, shown)
            part = slice(0, 1), slice(0, 1)  # formats can't store an empty region
        return self.write_region(shown, part, last, following)


def changed_part(before: Shown, after: Shown) -> Part | None:
    """Return the bounding box of the pixels that differ, as rows and columns; None if none do.

    Frames are compared band by band, so that this needs little memory.
    """
    tops, bottoms, lefts, rights = [], [], [], []
    step = max(1, COMPARED_PIXELS // after.width)
    for start in range(0, after.height, step):
        stop = min(start + step, after.height)
        changed = before.rows(start, stop) != after.rows(start, stop)
        changed = changed.reshape(stop - start, -1)
        rows = changed.any(axis=1).nonzero()[0]
        if len(rows):
            samples = changed[rows[0] : rows[-1] + 1].any(axis=0)
            columns = samples.reshape(after.width, -1).any(axis=1).nonzero()[0]
            tops.append(start + int(rows[0]))
            bottoms.append(start + int(rows[-1]) + 1)
            lefts.append(int(columns[0]))
            rights.append(int(columns[-1]) + 1)
    return (slice(tops[0], bottoms[-1]), slice(min(lefts), max(rights))) if tops else None
