"""Read and write still and animated GIF (CompuServe, GIF89a, 1990).

Pillow decodes and encodes single images. Animations are handled here, because Pillow keeps all
frames in memory, and fills regions that are cleared with a colour instead of transparency.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format, animation, gif_blocks, pillow
from poolcli.formats.animation import AnimationWriter, Shown, Timing
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.gif_blocks import (
    HAS_KEY,
    SIGNATURE,
    TRAILER,
    ImageBlock,
    extension,
    read_blocks,
)
from poolcli.formats.saving import Saving
from poolcli.picture import (
    MODES,
    Encoding,
    Frame,
    FrameInfo,
    Metadata,
    Picture,
    Stored,
    info_in_mode,
)

TICK: Final = Fraction(10)
"""The unit of durations, in milliseconds."""

DISPOSALS: Final[dict[int, animation.Dispose]] = {2: "clear", 3: "restore"}
CLEAR, KEEP = 2, 1
DISPOSAL_SHIFT, DISPOSAL_MASK = 2, 0x07
COLOURS: Final = 256
OPAQUE_FROM: Final = 128
OPAQUE: Final = 255
NO_TRAILER: Final = "it ends without a trailer: images at its end may be missing"
APPROXIMATED: Final = "GIF holds 256 colours and alpha on or off: others were approximated"


class GifReader:
    """The reader of a still or animated GIF."""

    format = "gif"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read all blocks except the pixels.

        Raises:
            PoolError: the file is cut off, has no pixels, or an image or the canvas is too large.
        """
        self._stream, self._blocks = stream, read_blocks(stream)
        self._images = self._blocks.images
        self.count = len(self._images)
        for one in self._images:
            limits.check(one.place[3], one.place[2])
        if not any(one.place[2] and one.place[3] for one in self._images):
            raise PoolError("its images have no pixels", "make the file anew")
        # The canvas holds the screen and the whole first image, which may be larger.
        left, top, across, down = self._images[0].place
        size = max(self._blocks.height, top + down), max(self._blocks.width, left + across)
        limits.check(*size)
        self._regions = [self._region(one) for one in self._images]
        shows_canvas = animation.has_transparency(self._regions, *size)
        # A single image that does not cover the canvas is drawn like an animation: the canvas
        # around it is transparent, whereas Pillow would fill it with colour 0.
        self._is_still = self.count == 1 and not shows_canvas
        self._info = self._info_of(size, shows_canvas)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        if self._is_still:
            yield self._picture(self._images[0], self._info)
        else:
            yield from animation.frames_of(self._regions, self._info, self.metadata)

    def metadata(self) -> Metadata:
        """Return the metadata, which is the same for all frames."""
        # Some programs repeat the comment for each frame, so duplicates are removed.
        comments = dict.fromkeys(filter(None, self._blocks.comments))
        return Metadata(
            comment=b"\n".join(comments) or None,
            plays=self._blocks.plays,
            warnings=() if self._blocks.is_complete else (NO_TRAILER,),
        )

    def _info_of(self, size: tuple[int, int], shows_canvas: bool) -> FrameInfo:
        """Return the `FrameInfo` of the still image, or of all frames of an animation."""
        first, palette = self._images[0], None
        if self._is_still:
            mode = pillow.palette_mode(first.colours, has_alpha=first.alphas is not None)
            palette = pillow.palette_pixels(first.colours, first.alphas or b"", mode)
        else:
            is_keyed = any(one.alphas is not None for one in self._images)
            mode = "RGBA" if is_keyed or shows_canvas else "RGB"
        return info_in_mode(
            size,
            mode,
            Stored("unsigned", 8, 255, 1),
            palette=palette,
            encoding=Encoding(self.format),
            notes=pillow.conversions(
                first.colours != gif_blocks.GREY_RAMP, first.alphas is not None
            ),
        )

    def _region(self, image: ImageBlock) -> animation.Region:
        """Return the region that an image draws."""
        left, top, width, height = image.place
        flags, delay = struct.unpack("<BH", image.control[:3])
        return animation.Region(
            top=top,
            left=left,
            height=height,
            width=width,
            duration=delay * TICK,
            dispose=DISPOSALS.get(flags >> DISPOSAL_SHIFT & DISPOSAL_MASK, "keep"),
            blends=True,
            read=partial(self._region_pixels, image),
        )

    def _region_pixels(self, image: ImageBlock) -> NDArray[Any]:
        """Decode an image in the mode of the canvas; an empty image draws nothing."""
        width, height = image.place[2:]
        if not width or not height:
            return np.empty((height, width, MODES[self._info.mode].channels), np.uint8)
        palette = pillow.palette_pixels(image.colours, image.alphas or b"", self._info.mode)
        still = self._picture(image, self._info._replace(palette=palette))
        return np.take(palette, still.rows(0, height), axis=0)

    def _picture(self, image: ImageBlock, info: FrameInfo) -> pillow.PillowFrame:
        """Return a frame of one image, whose rows are palette indices.

        Pillow decodes it from a GIF in memory that holds only this image.
        """
        self._stream.seek(image.begin)
        pixels = self._stream.read(image.end - image.begin)
        screen = struct.pack("<HHBBB", *image.place[2:], 0, 0, 0)
        head = image.head(0, 0, bytes((image.control[0] & HAS_KEY, 0, 0, image.control[3])))
        still = BytesIO(SIGNATURE + screen + head + pixels + TRAILER)
        return pillow.PillowFrame(info, cache(partial(GifImageFile, still)), self.metadata)


class GifWriter(WholeFrameWriter):
    """The writer of a still GIF."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture with its metadata."""
        image = self.to_palette(picture)
        held = self.held(picture.info, picture.metadata)
        self.file.write(pillow.encoded(image, "GIF", **held))

    def to_palette(self, picture: Picture) -> Image.Image:
        """Return a picture with a palette of up to 256 colours, one of which may be transparent.

        If there are more colours, they are approximated (median cut), and this is noted. Pixels
        that are less than half opaque become transparent, the others opaque.
        """
        image = pillow.to_image(picture, picture.info.mode)
        if image.mode in ("1", "L"):
            return image
        alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
        if alpha is not None and (alpha == OPAQUE).all():
            image, alpha = image.convert(image.mode[:-1]), None
            if image.mode == "L":
                return image
        colour = image.convert("RGB") if alpha is None else _without_hidden(image, alpha)
        opaque = COLOURS if alpha is None else COLOURS - 1
        is_exact = colour.getcolors(opaque) is not None
        palette = colour.quantize(opaque, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        if alpha is not None:
            is_exact &= bool(np.isin(alpha, (0, OPAQUE)).all())
            indices = np.array(palette)
            indices[alpha < OPAQUE_FROM] = opaque
            entries, palette = palette.getpalette() or (), Image.fromarray(indices)
            palette.putpalette(entries)
            palette.info["transparency"] = opaque
        if not is_exact:
            self.note(APPROXIMATED)
        return palette


class GifAnimationWriter(AnimationWriter, GifWriter):
    """The writer of an animated GIF."""

    timing = Timing(TICK, longest=0xFFFF, most_plays=1 + 0xFFFF)
    _before: NDArray[np.uint8] | None = None
    _is_begun = False

    def shown(self, picture: Picture) -> Shown:
        """Return a frame with a palette, and its RGBA pixels; transparent ones are all 0."""
        image = self.to_palette(picture)
        if not self._is_begun:
            self._write_start(picture)
        pixels = np.array(image.convert("RGBA"))
        pixels[pixels[..., 3] == 0] = 0
        return Shown(pixels, image)

    def write_end(self) -> None:
        """Write the last frame and the trailer."""
        self.write_held(None)
        self.file.write(TRAILER)

    def write_region(self, shown: Shown, ticks: int, following: Shown | None) -> None:
        """Write the changed region of a frame.

        If the next frame is transparent at a pixel where this one is not, the whole canvas is
        written and cleared afterwards: in GIF a transparent pixel leaves the canvas unchanged.
        """
        pixels, clears = shown.pixels, False
        if following is not None:
            clears = bool(((pixels[..., 3] > 0) & (following.pixels[..., 3] == 0)).any())
        rows, columns = animation.changed_part(None if clears else self._before, pixels)
        octets = pillow.encoded(_cropped(shown.image, rows, columns), "GIF")
        (image,) = read_blocks(BytesIO(octets)).images
        disposal = (CLEAR if clears else KEEP) << DISPOSAL_SHIFT
        flags = disposal | image.control[0] & HAS_KEY
        control = struct.pack("<BHB", flags, ticks, image.control[3])
        self.file.write(image.head(columns.start, rows.start, control))
        self.file.write(octets[image.begin : image.end])
        self._before = None if clears else pixels

    def _write_start(self, picture: Picture) -> None:
        """Write the header, the number of plays and the comment."""
        self._is_begun = True
        height, width = picture.info.shape[:2]
        self.file.write(SIGNATURE + struct.pack("<HHBBB", width, height, 0, 0, 0))
        plays = self.timeline.plays(picture.metadata.plays)
        if plays != 1:
            loops = struct.pack("<BH", 1, max(0, plays - 1))
            self.file.write(extension(gif_blocks.APPLICATION, gif_blocks.LOOPS[0], loops))
        if comment := self.held(picture.info, picture.metadata).get("comment"):
            pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
            self.file.write(extension(gif_blocks.COMMENT, *pieces))


read = GifReader


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> GifWriter:
    """Return the writer of a GIF, animated unless there is one frame."""
    return (GifWriter if frames == 1 else GifAnimationWriter)(file, row, saving)


def _without_hidden(image: Image.Image, alpha: NDArray[np.uint8]) -> Image.Image:
    """Return the colours as RGB; pixels that will be transparent get the colour of a visible one.

    Otherwise invisible colours would take up entries of the palette.
    """
    colours = np.array(image.convert("RGB"))
    visible = alpha >= OPAQUE_FROM
    colours[~visible] = colours[visible][0] if visible.any() else 0
    return Image.fromarray(colours)


def _cropped(image: Image.Image, rows: slice, columns: slice) -> Image.Image:
    """Return part of an image; after Pillow's `crop` its GIF writer would store a wrong palette."""
    part = Image.fromarray(np.asarray(image)[rows, columns])
    if image.mode == "P":
        part.putpalette(image.getpalette() or [])
        part.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    return part
