"""Films and pages as the bytes of a file, a frame or two in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli.codec import apng, gif, modes, tags
from poolcli.codec.encoding import POOR_GIF, Picture, arguments_of, write_bytes, write_pixels
from poolcli.codec.film import Drawing, ticked
from poolcli.codec.metadata import Metadata
from poolcli.codec.names import OPAQUE, PILLOW_NAMES
from poolcli.formats import Format
from poolcli.formats.saving import Saving

MILLISECOND: Final = Fraction(1)
UNLIMITED: Final = 1 << 62
WEBP_EXTENDED: Final = b"VP8X"
WEBP_ALPHA: Final = 0x10
"""The flag in an extended WebP's header that says whether anything may be seen through."""


class Box(NamedTuple):
    """A rectangle: rows from top to bottom, columns from left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def write_all(
    pictures: Iterator[Picture], frames: int, target: Format, saving: Saving
) -> tuple[bytes | bytearray | memoryview, list[str]]:
    """The complete file of several pictures, and what had to be left out or approximated.

    Args:
        pictures: one after the other.
        frames: how many.
        target: a format that holds several.
        saving: how they are written.
    """
    notes: dict[str, None] = {}
    match target.name:
        case "tiff":
            return _write_pages(pictures, saving, target, notes), list(notes)
        case "gif":
            return _write_gif(pictures, saving, target, notes), list(notes)
        case "png":
            return _write_apng(pictures, saving, target, notes), list(notes)
    return _write_reel(pictures, frames, saving, target, notes), list(notes)


def _write_pages(
    pictures: Iterator[Picture], saving: Saving, target: Format, notes: dict[str, None]
) -> bytearray:
    """The pages of a TIFF."""
    from PIL import TiffImagePlugin

    buffer, more = BytesIO(), []
    with TiffImagePlugin.AppendingTiffWriter(buffer, new=True) as pages:
        for picture in pictures:
            octets, remarks = write_pixels(picture, target, saving)
            notes |= dict.fromkeys(remarks)
            more.append(picture.metadata.tags(saving.strip))
            pages.write(octets)
            pages.newFrame()
    file = bytearray(buffer.getbuffer())
    if any(map(len, more)):
        tags.add(file, more)
    return file


def _write_gif(
    pictures: Iterator[Picture], saving: Saving, target: Format, notes: dict[str, None]
) -> memoryview:
    """A GIF, each frame with colours of its own."""
    first, pictures = _peeked(pictures)
    described, lost = first.metadata.arguments(target, saving.strip)
    notes |= dict.fromkeys(f"gif has no place for the {what}" for what in lost)

    def palettes() -> Iterator[tuple[tuple[Image.Image, NDArray[np.uint8]], Fraction]]:
        for picture in pictures:
            stored = target.stored_mode(picture.mode)
            palette, complete = modes.to_palette(
                modes.to_image(picture.array, picture.mode, stored)
            )
            if not complete:
                notes[POOR_GIF] = None
            seen = np.array(palette.convert("RGBA"))
            seen[seen[..., 3] == 0] = 0
            yield (palette, seen), picture.duration

    drawings = _gif_drawings(
        ticked(palettes(), gif.TICK, gif.MOST_TICKS, lambda a, b: np.array_equal(a[1], b[1])),
        described,
    )
    height, width = first.array.shape[:2]
    return gif.join(drawings, height, width, first.metadata.plays).getbuffer()


def _gif_drawings(
    shots: Iterator[tuple[tuple[Image.Image, NDArray[np.uint8]], int]], described: dict[str, Any]
) -> Iterator[Drawing]:
    """What of each frame must be drawn; before one that uncovers something all is cleared."""
    before: NDArray[np.uint8] | None = None
    held: tuple[tuple[Image.Image, NDArray[np.uint8]], int] | None = None
    for shot in shots:
        if held is not None:
            (palette, seen), ticks = held
            clears = bool(((seen[..., 3] > 0) & (shot[0][1][..., 3] == 0)).any())
            box = _whole(seen) if clears else _changed(before, seen)
            yield _gif_drawing(palette, box, ticks, clears, described)
            described = {}
            before = None if clears else seen
        held = shot
    if held is not None:
        (palette, seen), ticks = held
        yield _gif_drawing(palette, _changed(before, seen), ticks, False, described)


def _gif_drawing(
    palette: Image.Image, box: Box, ticks: int, clears: bool, described: dict[str, Any]
) -> Drawing:
    """One frame as Pillow writes it."""
    still = BytesIO()
    _cropped(palette, box).save(still, "GIF", **described)
    return Drawing(still.getvalue(), box.top, box.left, ticks, clears)


def _cropped(palette: Image.Image, box: Box) -> Image.Image:
    """Part of an image; Pillow's own `crop` leaves palettes that its GIF writer gets wrong."""
    part = Image.fromarray(np.asarray(palette)[box.top : box.bottom, box.left : box.right])
    if palette.mode == "P":
        part.putpalette(palette.getpalette() or [])
        part.info = {key: palette.info[key] for key in ("transparency",) if key in palette.info}
    return part


def _write_apng(
    pictures: Iterator[Picture], saving: Saving, target: Format, notes: dict[str, None]
) -> memoryview:
    """An animated PNG, each frame as the rectangle that changes."""
    first, pictures = _peeked(pictures)

    def drawings() -> Iterator[Drawing]:
        before: NDArray[Any] | None = None
        shots = ((picture, picture.duration) for picture in pictures)
        for picture, ticks in ticked(
            shots, apng.TICK, apng.MOST_TICKS, lambda a, b: np.array_equal(a.array, b.array)
        ):
            box = _changed(before, picture.array)
            part = picture.array[box.top : box.bottom, box.left : box.right]
            metadata = picture.metadata if before is None else Metadata()
            octets, remarks = write_bytes(
                picture._replace(array=part, metadata=metadata), target, saving
            )
            notes.update(dict.fromkeys(remarks))
            before = picture.array
            yield Drawing(bytes(octets), box.top, box.left, ticks)

    return apng.join(drawings(), first.metadata.plays).getbuffer()


class _Reel(Image.Image):
    """A film as Pillow takes it: an image that shows one frame after the other.

    Attributes:
        n_frames: how many.
        is_animated: that there are several.
        durations: in milliseconds, of those shown so far.
    """

    def __init__(self, shots: Iterator[tuple[Image.Image, int]], frames: int) -> None:
        """Show the first frame."""
        super().__init__()
        self.n_frames = frames
        self.is_animated = True
        self.durations: list[int] = []
        self._shots = shots
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Show the next frame; there is no way back, and asking for it is no fault."""
        if frame >= self.n_frames:
            raise EOFError("the film is over")
        if frame < len(self.durations):
            return
        image, duration = next(self._shots)
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self.durations.append(duration)

    def tell(self) -> int:
        """The number of the frame that is shown."""
        return len(self.durations) - 1


def _write_reel(
    pictures: Iterator[Picture],
    frames: int,
    saving: Saving,
    target: Format,
    notes: dict[str, None],
) -> memoryview:
    """A film through Pillow, which takes frame after frame from it."""
    first, pictures = _peeked(pictures)
    arguments, remarks = arguments_of(first, target, saving)
    notes |= dict.fromkeys(remarks)
    images = (
        (modes.to_image(one.array, one.mode, target.stored_mode(one.mode)), one.duration)
        for one in pictures
    )
    if target.name == "avif" and first.metadata.plays:
        notes["avif has no place for the number of plays"] = None
    reel = _Reel(ticked(images, MILLISECOND, UNLIMITED, lambda _a, _b: False), frames)
    buffer = BytesIO()
    plays = {"loop": first.metadata.plays} if target.name == "webp" else {}
    reel.save(
        buffer,
        PILLOW_NAMES[target.name],
        save_all=True,
        duration=reel.durations,
        **plays,
        **arguments,
    )
    octets = buffer.getbuffer()
    if first.mode in OPAQUE and bytes(octets[12:16]) == WEBP_EXTENDED:
        octets[20] |= WEBP_ALPHA  # libwebp forgets a canvas that is only cleared between frames
    return octets


def _peeked(pictures: Iterator[Picture]) -> tuple[Picture, Iterator[Picture]]:
    """The first of some pictures, and all of them."""
    first = next(pictures)

    def every() -> Iterator[Picture]:
        yield first
        yield from pictures

    return first, every()


def _whole(array: NDArray[Any]) -> Box:
    """All of it."""
    return Box(0, array.shape[0], 0, array.shape[1])


def _changed(before: NDArray[Any] | None, after: NDArray[Any]) -> Box:
    """The smallest rectangle outside of which two pictures are equal; never an empty one."""
    if before is None:
        return _whole(after)
    unlike = before != after
    if unlike.ndim == 3:
        unlike = unlike.any(axis=2)
    rows, columns = unlike.any(axis=1).nonzero()[0], unlike.any(axis=0).nonzero()[0]
    if not len(rows):
        return Box(0, 1, 0, 1)
    return Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
