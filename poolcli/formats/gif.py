"""GIF, still and animated (CompuServe, GIF89a, 1990): Pillow codes single images, we all else.

Pillow holds all frames of an animation at once, and turns what is cleared behind a frame into a
colour, where viewers show what lies below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property, partial
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from poolcli.formats import Format
from poolcli.formats.animation import Animation, Box, Dispose, Region, Ticks, frames_of
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.gif_blocks import (
    APPLICATION,
    COMMENT,
    EXTENSION,
    HAS_KEY,
    LOOPS,
    SIGNATURE,
    TRAILER,
    ImageBlock,
    packed,
    read_blocks,
)
from poolcli.formats.palettes import GREY_RAMP, palette_mode, palette_pixels
from poolcli.formats.pillow import PillowFrame, conversions, open_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Frame, FrameInfo, Metadata, Picture, Stored, info_in_mode

TICK: Final = Fraction(10)
"""The unit of durations, in milliseconds."""

MOST_TICKS: Final = 65535
DISPOSALS: Final[dict[int, Dispose]] = {2: "clear", 3: "restore"}
CLEAR, KEEP = 2, 1
DISPOSAL_SHIFT, DISPOSAL_MASK = 2, 0x07
COLOURS: Final = 256
OPAQUE_FROM: Final = 128
OPAQUE: Final = 255
APPROXIMATED: Final = "GIF holds 256 colours and alpha on or off: the rest is approximated"


def read(stream: BinaryIO, limits: Limits) -> GifReader:
    """Open a GIF."""
    return GifReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> GifWriter:
    """Begin to write a GIF."""
    return GifWriter(file, row, saving)


class GifReader:
    """A GIF that is read."""

    format = "gif"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read all but the pixels.

        Raises:
            PoolError: it breaks off, or an image is too large.
        """
        self._stream, self._blocks = stream, read_blocks(stream)
        for one in self._blocks.images:
            limits.check(one.place[3], one.place[2])
        self.count = len(self._blocks.images)
        self._animation = self._as_animation()
        # Around a single image the canvas is transparent, and not of colour 0.
        self._is_still = self.count == 1 and not self._animation.has_transparency
        self._info = self._still_info() if self._is_still else self._canvas_info()
        limits.check(*self._info.shape)

    def frames(self) -> Iterator[Frame]:
        """Yield each frame."""
        if self._is_still:
            yield self._picture(self._blocks.images[0], self._info)
        else:
            yield from frames_of(self._animation, self._info, self.metadata)

    def metadata(self) -> Metadata:
        """Return what stands beside the pixels, for all frames."""
        comments = dict.fromkeys(filter(None, self._blocks.comments))  # some repeat it each frame
        return Metadata(comment=b"\n".join(comments) or None, plays=self._blocks.plays)

    def _as_animation(self) -> Animation:
        """Return what is drawn; the canvas is as large as the screen or the first image."""
        (left, top, across, down), (width, height) = (
            self._blocks.images[0].place,
            self._blocks.screen,
        )
        regions = tuple(map(self._region, self._blocks.images))
        return Animation(
            max(height, top + down), max(width, left + across), self._blocks.plays, regions
        )

    def _region(self, image: ImageBlock) -> Region:
        """Return what an image draws."""
        left, top, width, height = image.place
        flags, delay = struct.unpack("<BH", image.control[:3])
        return Region(
            top=top,
            left=left,
            height=height,
            width=width,
            duration=delay * TICK,
            dispose=DISPOSALS.get(flags >> DISPOSAL_SHIFT & DISPOSAL_MASK, "keep"),
            blends=True,
            read=partial(self._region_pixels, image),
        )

    def _still_info(self) -> FrameInfo:
        """Return what is known of a single image that covers the canvas."""
        image = self._blocks.images[0]
        mode = palette_mode(image.colours, has_alpha=image.alphas is not None)
        return self._info_in(mode, palette_pixels(image.colours, image.alphas or b"", mode))

    def _canvas_info(self) -> FrameInfo:
        """Return what all frames of an animation have in common."""
        is_keyed = any(one.alphas is not None for one in self._blocks.images)
        return self._info_in("RGBA" if is_keyed or self._animation.has_transparency else "RGB")

    def _info_in(self, mode: str, palette: NDArray[Any] | None = None) -> FrameInfo:
        """Return what is known of a frame in a mode."""
        image = self._blocks.images[0]
        has_palette = image.colours != GREY_RAMP
        return info_in_mode(
            (self._animation.height, self._animation.width),
            mode,
            Stored("unsigned", 8, 255, 1),
            palette=palette,
            encoding=Encoding(self.format),
            notes=conversions(has_palette, image.alphas is not None),
        )

    def _region_pixels(self, image: ImageBlock) -> NDArray[Any]:
        """Decode what an image draws, in the mode of the canvas."""
        palette = palette_pixels(image.colours, image.alphas or b"", self._info.mode)
        still = self._picture(image, self._info._replace(palette=palette))
        return np.take(palette, still.rows(0, image.place[3]), axis=0)

    def _picture(self, image: ImageBlock, info: FrameInfo) -> PillowFrame:
        """Return one image as a picture of its own, whose rows are indices."""
        self._stream.seek(image.begin)
        pixels = self._stream.read(image.end - image.begin)
        screen = struct.pack("<HHBBB", *image.place[2:], 0, 0, 0)
        head = image.head(0, 0, bytes((image.control[0] & HAS_KEY, 0, 0, image.control[3])))
        still = BytesIO(b"".join((SIGNATURE, screen, head, pixels, TRAILER)))
        return PillowFrame(open_image(GifImageFile, still), info, self.metadata)


class Shown:
    """A frame as a GIF shows it.

    Attributes:
        image: of up to 256 colours, one of which may be transparent.
        is_exact: whether they are all colours of the frame.
        info: of the frame.
        metadata: of the frame.
    """

    def __init__(self, picture: Picture) -> None:
        """Approximate a picture."""
        self.info, self.metadata = picture.info, picture.metadata
        self.image, self.is_exact = to_palette(to_image(picture, picture.info.mode))

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """Red, green, blue and alpha; all 0 where it is transparent."""
        pixels = np.array(self.image.convert("RGBA"))
        pixels[pixels[..., 3] == 0] = 0
        return pixels

    def uncovers(self, other: Shown) -> bool:
        """Return whether it is transparent where another frame isn't."""
        return bool(((other.pixels[..., 3] > 0) & (self.pixels[..., 3] == 0)).any())


class GifWriter(WholeFrameWriter):
    """A GIF that is written: a still picture, or an animation of more than one frame."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin without a frame."""
        super().__init__(file, row, saving)
        self._ticks: Ticks[Shown] = Ticks(TICK, MOST_TICKS, _look_same)
        self._waiting: tuple[Shown, int] | None = None
        self._before: NDArray[np.uint8] | None = None
        self._pushed, self._is_begun = 0, False

    def write_frame(self, picture: Picture) -> None:
        """Take a frame; those before it that are complete are written."""
        shown = Shown(picture)
        self._pushed += 1
        if not shown.is_exact:
            self.note(APPROXIMATED)
        for complete in self._ticks.push(shown, picture.info.duration):
            self._take(*complete)

    def write_end(self) -> None:
        """Write what is left."""
        rest = self._ticks.finish()
        if self._pushed == 1:
            self.file.write(_encoded(rest[0][0].image, **self._carried(rest[0][0])))
            return
        for complete in rest:
            self._take(*complete)
        if self._waiting is not None:
            self._write_region(*self._waiting, clears=False)
        self.file.write(TRAILER)

    def _take(self, shown: Shown, ticks: int) -> None:
        """Write the frame before: before one that uncovers something, all is cleared."""
        if self._waiting is not None:
            self._write_region(*self._waiting, clears=shown.uncovers(self._waiting[0]))
        self._waiting = shown, ticks

    def _write_region(self, shown: Shown, ticks: int, *, clears: bool) -> None:
        """Write a frame of an animation, as the region that changes."""
        if not self._is_begun:
            self._write_start(shown)
        box = Box.whole(shown.pixels) if clears else Box.of_changes(self._before, shown.pixels)
        encoded = _encoded(_cropped(shown.image, box))
        (image,) = read_blocks(BytesIO(encoded)).images
        disposal = (CLEAR if clears else KEEP) << DISPOSAL_SHIFT
        control = struct.pack(
            "<BHB", disposal | image.control[0] & HAS_KEY, ticks, image.control[3]
        )
        self.file.write(image.head(box.left, box.top, control))
        self.file.write(encoded[image.begin : image.end])
        self._before = None if clears else shown.pixels

    def _write_start(self, shown: Shown) -> None:
        """Write all that comes before the frames of an animation."""
        self._is_begun = True
        height, width = shown.info.shape[:2]
        parts = [SIGNATURE, struct.pack("<HHBBB", width, height, 0, 0, 0)]
        plays = shown.metadata.plays
        if plays != 1:
            loops = struct.pack("<BH", 1, max(0, plays - 1))
            parts += [EXTENSION, APPLICATION, packed(LOOPS[0]), packed(loops), b"\0"]
        if comment := self._carried(shown).get("comment"):
            pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
            parts += [EXTENSION, COMMENT, *map(packed, pieces), b"\0"]
        self.file.write(b"".join(parts))

    def _carried(self, shown: Shown) -> dict[str, Any]:
        """Return what of the metadata is written; what is lost is noted."""
        held, notes = carried(shown.metadata, self.row, shown.info.mode, strip=self.saving.strip)
        self.note(*notes)
        return held


def to_palette(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return what a GIF holds of a picture, and whether that is all of it.

    Up to 256 colours stay themselves; more are approximated by the nearest. Alpha becomes one
    transparent colour for pixels that are less than half opaque.
    """
    if image.mode in ("1", "L"):
        return image, True
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
    if alpha is not None and (alpha == OPAQUE).all():
        image, alpha = image.convert(image.mode[:-1]), None
        if image.mode == "L":
            return image, True
    colour = image.convert("RGB") if alpha is None else _without_hidden(image, alpha)
    opaque = COLOURS if alpha is None else COLOURS - 1
    fits = colour.getcolors(opaque) is not None
    palette = colour.quantize(opaque, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    if alpha is None:
        return palette, fits
    indices = np.array(palette)
    indices[alpha < OPAQUE_FROM] = opaque
    keyed = Image.frombytes("P", palette.size, indices.tobytes())
    keyed.putpalette(palette.getpalette() or [])
    keyed.info["transparency"] = opaque
    return keyed, fits and bool(np.isin(alpha, (0, OPAQUE)).all())


def _without_hidden(image: Image.Image, alpha: NDArray[np.uint8]) -> Image.Image:
    """Return the colours of a picture, those that won't be seen all like one that will."""
    colours = np.array(image.convert("RGB"))
    visible = alpha >= OPAQUE_FROM
    colours[~visible] = colours[visible][0] if visible.any() else 0
    return Image.fromarray(colours)


def _encoded(image: Image.Image, **described: Any) -> bytes:
    """Return a GIF of one image."""
    buffer = BytesIO()
    image.save(buffer, "GIF", **described)
    return buffer.getvalue()


def _cropped(image: Image.Image, box: Box) -> Image.Image:
    """Return part of an image; Pillow's `crop` leaves palettes that its GIF writer gets wrong."""
    part = Image.fromarray(np.asarray(image)[box.top : box.bottom, box.left : box.right])
    if image.mode == "P":
        part.putpalette(image.getpalette() or [])
        part.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    return part


def _look_same(one: Shown, other: Shown) -> bool:
    """Return whether two frames look the same."""
    return np.array_equal(one.pixels, other.pixels)
