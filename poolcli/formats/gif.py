"""Read and write still and animated GIF (CompuServe, GIF89a, 1990).

Pillow decodes and encodes single images. Animations are handled here, because Pillow keeps all
frames in memory, and fills regions that are cleared with a colour instead of transparency.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats import animation, gif_blocks, indexed, pillow
from poolcli.formats.animation import AnimationWriter, Part, Shown
from poolcli.formats.contract import Limits
from poolcli.formats.gif_blocks import (
    SIGNATURE,
    TRAILER,
    ImageBlock,
    extension,
    read_blocks,
)
from poolcli.formats.palettes import HIDDEN, Indexed, PaletteMaker
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import (
    MODES,
    Encoding,
    Frame,
    FrameInfo,
    Metadata,
    Picture,
    Resolution,
    Stored,
    info_in_mode,
)

TICK: Final = Fraction(10)
"""The unit of durations, in milliseconds."""

DISPOSALS: Final[dict[int, animation.Dispose]] = {2: "clear", 3: "restore"}
CLEAR, KEEP = 2, 1
DISPOSAL_SHIFT, DISPOSAL_MASK = 2, 0x07
LEAST_CODE_BITS: Final = 2
ENCODED_BYTES: Final = 1 << 16
NO_TRAILER: Final = "it ends without a trailer: images at its end may be missing"
APPROXIMATED: Final = "GIF holds 256 colours and alpha on or off: others were approximated"


def end(stream: BinaryIO) -> int | None:
    """Return the position after the picture, or None if it has no trailer."""
    return stream.tell() if read_blocks(stream).is_complete else None


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
        has_pixels = False
        for number in range(self.count):
            _, _, across, down = self._images.place(number)
            limits.check(down, across)
            has_pixels |= bool(across and down)
        if not has_pixels:
            raise PoolError("its images have no pixels", "make the file anew")
        # The canvas holds the screen and the whole first image, which may be larger.
        left, top, across, down = self._images.place(0)
        size = max(self._blocks.height, top + down), max(self._blocks.width, left + across)
        limits.check(*size)
        self._regions = animation.Regions(self._region, self.count)
        # A single image that does not cover the canvas is drawn like an animation: the canvas
        # around it is transparent, whereas Pillow would fill it with colour 0.
        shows_canvas = animation.has_transparency(self._regions, *size)
        self._is_still = self.count == 1 and not shows_canvas
        first = self._images[0]
        self._canvas_info = self._info_of(size, "RGBA")
        self._info = self._canvas_info
        if self._is_still:
            mode = indexed.palette_mode(first.colours, has_alpha=first.alphas is not None)
            palette = indexed.palette_pixels(first.colours, first.alphas or b"", mode)
            self._info = self._info_of(size, mode)._replace(
                palette=palette, entries=len(first.palette) // 3, notes=()
            )
        elif not shows_canvas and first.alphas is None:
            # The first image covers all with opaque pixels, and nothing is cleared.
            self._info = self._info_of(size, "RGB")

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        if self._is_still:
            image = cache(partial(self._decoded, self._images[0]))
            yield pillow.PillowFrame(self._info, image, self.metadata)
        else:
            infos = self._info, self._canvas_info
            yield from animation.frames_of(self._regions, *infos, self.metadata)

    def metadata(self) -> Metadata:
        """Return the metadata, which is the same for all frames."""
        # Some programs repeat the comment for each frame, so duplicates are removed.
        comments = dict.fromkeys(filter(None, self._blocks.comments))
        return Metadata(
            comment=b"\n".join(comments) or None,
            resolution=_resolution(self._blocks.aspect),
            plays=self._blocks.plays,
            warnings=() if self._blocks.is_complete else (NO_TRAILER,),
        )

    def _info_of(self, size: tuple[int, int], mode: str) -> FrameInfo:
        """Return the `FrameInfo` of the still image, or of all frames of an animation."""
        first = self._images[0]
        return info_in_mode(
            size,
            mode,
            Stored("unsigned", 8, 255, 1),
            encoding=Encoding(self.format),
            notes=indexed.conversions(
                first.colours != gif_blocks.GREY_RAMP, first.alphas is not None
            ),
        )

    def _region(self, number: int) -> animation.Region:
        """Return the region that an image draws."""
        left, top, width, height = self._images.place(number)
        flags, delay = struct.unpack("<BH", self._images.control(number)[:3])
        return animation.Region(
            top=top,
            left=left,
            height=height,
            width=width,
            duration=delay * TICK,
            dispose=DISPOSALS.get(flags >> DISPOSAL_SHIFT & DISPOSAL_MASK, "keep"),
            blends=True,
            decode=partial(self._decoded_region, number),
        )

    def _decoded_region(self, number: int) -> animation.ReadRows:
        """Return what reads rows of an image as RGBA; an image without pixels draws nothing."""
        image = self._images[number]
        width, height = image.place[2:]
        if not width or not height:
            return lambda start, stop: np.empty((stop - start, width, 4), np.uint8)
        palette = indexed.palette_pixels(image.colours, image.alphas or b"", "RGBA")
        info = self._canvas_info._replace(palette=palette)
        decoded = self._decoded(image)
        still = pillow.PillowFrame(info, lambda: decoded, self.metadata)
        pixels = palette.view(np.uint32)  # one number is taken faster than four

        def rows(start: int, stop: int) -> NDArray[Any]:
            return np.take(pixels, still.rows(start, stop), axis=0).view(np.uint8)

        return rows

    def _decoded(self, image: ImageBlock) -> Image.Image:
        """Decode the palette indices of an image.

        Raises:
            PoolError: its pixels are damaged.
        """
        self._stream.seek(image.begin)
        bits, *_ = self._stream.read(1)
        octets = self._stream.read(image.end - image.begin - 1)
        indices = Image.new("P", image.place[2:])
        interlaced = bool(image.flags & gif_blocks.IS_INTERLACED)
        decoder = Image._getdecoder("P", "gif", (bits, interlaced))
        decoder.setimage(indices.im, (0, 0, *indices.size))
        used, fault = decoder.decode(octets)
        if fault < 0 or used >= 0:
            raise PoolError("the pixels of an image are damaged", "is the file complete?")
        return indices


class GifWriter(AnimationWriter):
    """The writer of a still or animated GIF.

    If a picture has more than 256 colours, they are approximated, and this is noted. The palette of
    the first frame is the global one, and frames with the same palette have none of their own.
    """

    timing = Timing(TICK, longest=0xFFFF, most_plays=1 + 0xFFFF)

    def __init__(self, file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> None:
        """Begin with no frame written."""
        super().__init__(file, row, saving)
        self._is_still = frames == 1
        self._palettes = PaletteMaker()
        self._global_palette = b""

    def shown(self, picture: Picture) -> Shown:
        """Return a frame with a palette; the first one begins the file."""
        if picture.info.palette is not None:
            indexed = Indexed(picture.array, _codes(picture.info.palette), is_exact=True)
        else:
            has_alpha = bool(MODES[picture.info.mode].without_alpha)
            indexed = self._palettes.indexed(picture.array, has_alpha=has_alpha)
        if not indexed.is_exact:
            self.note(APPROXIMATED)
        if not self._global_palette:
            self._global_palette = _palette_bytes(indexed.codes)
            self._write_start(picture)
        height, width = picture.info.shape[:2]
        return Shown(height, width, indexed.rows, indexed)

    def write_region(self, shown: Shown, part: Part, ticks: int, following: Shown | None) -> bool:
        """Write the changed region of a frame; return whether the canvas is cleared afterwards.

        If the next frame is transparent at a pixel where this one is not, the whole canvas is
        written and cleared afterwards: in GIF a transparent pixel leaves the canvas unchanged.
        """
        clears = following is not None and _uncovers(shown, following)
        rows, columns = shown.whole() if clears else part
        indexed: Indexed = shown.image
        hidden = np.flatnonzero(indexed.codes >= HIDDEN)
        if len(hidden) or not self._is_still:
            flags = (CLEAR if clears else KEEP) << DISPOSAL_SHIFT | bool(len(hidden))
            key = int(hidden[0]) if len(hidden) else 0
            self.file.write(extension(gif_blocks.CONTROL, struct.pack("<BHB", flags, ticks, key)))
        palette = _palette_bytes(indexed.codes)
        bits = _palette_bits(len(palette))
        place = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
        is_own = palette != self._global_palette
        flags = gif_blocks.HAS_PALETTE | bits - 1 if is_own else 0
        self.file.write(gif_blocks.IMAGE + struct.pack("<4HB", *place, flags))
        self.file.write(palette if is_own else b"")
        self._write_indices(indexed.indices[rows, columns], max(bits, LEAST_CODE_BITS))
        return clears

    def write_end(self) -> None:
        """Write the last frame and the trailer."""
        super().write_end()
        self.file.write(TRAILER)

    def _write_start(self, picture: Picture) -> None:
        """Write the header, the number of plays and the comment."""
        height, width = picture.info.shape[:2]
        aspect, metadata = _aspect(picture.metadata)
        flags = gif_blocks.HAS_PALETTE | _palette_bits(len(self._global_palette)) - 1
        self.file.write(SIGNATURE + struct.pack("<HHBBB", width, height, flags, 0, aspect))
        self.file.write(self._global_palette)
        plays = 1 if self._is_still else self.timeline.plays(picture.metadata.plays)
        if plays != 1:
            loops = struct.pack("<BH", 1, max(0, plays - 1))
            self.file.write(extension(gif_blocks.APPLICATION, gif_blocks.LOOPS[0], loops))
        if comment := self.held(picture.info, metadata).get("comment"):
            pieces = (comment[at : at + 255] for at in range(0, len(comment), 255))
            self.file.write(extension(gif_blocks.COMMENT, *pieces))

    def _write_indices(self, indices: NDArray[np.uint8], bits: int) -> None:
        """Compress the pixels of an image with LZW, piece by piece."""
        image = Image.fromarray(np.ascontiguousarray(indices)).convert("P")
        self.file.write(bytes((bits,)))
        encoder = Image._getencoder("P", "gif", ("P", bits))
        encoder.setimage(image.im, (0, 0, *image.size))
        fault = 0
        while not fault:
            _, fault, octets = encoder.encode(ENCODED_BYTES)
            self.file.write(octets)
        if fault < 0:
            raise OSError(f"the encoder failed with code {fault}")
        self.file.write(b"\0")


read = GifReader
write = GifWriter


def _resolution(aspect: int) -> Resolution | None:
    """Return the ratio that the header states, or None."""
    return Resolution((aspect + 15) / 64, 1, "") if aspect else None


def _aspect(metadata: Metadata) -> tuple[int, Metadata]:
    """Return the number for the header, 0 for none, and the metadata that it doesn't state."""
    resolution = metadata.resolution
    if resolution is None or resolution.unit or resolution.is_plain:
        return 0, metadata
    aspect = round(64 * resolution.down / resolution.across) - 15
    if aspect not in range(1, 256):
        return 0, metadata
    return aspect, metadata._replace(resolution=None)


def _uncovers(before: Shown, after: Shown) -> bool:
    """Return whether a frame is transparent at a pixel where the one before is not."""
    if HIDDEN not in after.image.codes:
        return False
    step = max(1, animation.COMPARED_PIXELS // after.width)
    bands = ((top, min(top + step, after.height)) for top in range(0, after.height, step))
    return any(
        ((before.rows(*band) != HIDDEN) & (after.rows(*band) == HIDDEN)).any() for band in bands
    )


def _codes(palette: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the code of each entry of a palette; a transparent one keeps its colour in it."""
    colours, alphas = indexed.colours_and_alphas(palette)
    codes = colours.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
    if alphas is not None:
        codes[alphas == 0] |= HIDDEN
    return codes


def _palette_bytes(codes: NDArray[np.uint32]) -> bytes:
    """Return red, green and blue of each entry; the number of entries is a power of two."""
    octets = codes.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return octets.ljust(3 << max(1, (len(codes) - 1).bit_length()), b"\0")


def _palette_bits(length: int) -> int:
    """Return the bits of an index into a palette of ``length`` bytes."""
    return (length // 3).bit_length() - 1
