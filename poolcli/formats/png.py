"""Read and write PNG and animated PNG.

Pillow decodes 8-bit pixels and imagecodecs 16-bit ones. Chunks and animations are handled here,
because Pillow keeps all frames in memory, in 8 bits, and its blending gives too low alpha.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats import Format, animation, pillow, png_chunks
from poolcli.formats.animation import AnimationWriter, Part, Region, Shown
from poolcli.formats.carried import WORDS, no_place
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.extras import library
from poolcli.formats.png_chunks import Data, chunk
from poolcli.formats.png_metadata import ancillary_chunks, density, metadata_of
from poolcli.formats.png_pixels import PixelData, PngFrame
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import Encoding, Frame, FrameInfo, Metadata, Picture, Stored, info_in_mode

WITH_ALPHA: Final = {"1": "LA", "L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}
PALETTE_BITS: Final = 8
DISPOSALS: Final[dict[int, animation.Dispose]] = {1: "clear", 2: "restore"}
BLENDS: Final = 1

HEAD_BYTES: Final = len(png_chunks.SIGNATURE) + png_chunks.HEADER.size + 12
"""The bytes up to the end of IHDR, which is always the first chunk."""

LEVEL: Final = 4
"""The default compression level (`benchmarks/levels.py`)."""

RUNS_ALONE: Final = 3
"""zlib's strategy Z_RLE, which only finds runs of one byte."""

RUNS_SLACK: Final = 1.01
"""How much larger than usual the sample compressed by Z_RLE may be."""

SAMPLE_BYTES: Final = 3 << 14
"""Bytes of a band of rows in the sample: more than the 32 KB in which deflate finds matches."""

SAMPLED, LEAST_SAMPLES = 32, 4
"""The sample is a 32nd of the picture, in at least 4 bands."""


def end(stream: BinaryIO) -> int | None:
    """Return the position after the picture, or None if the file is cut off."""
    return next((at + 4 for name, at, _ in png_chunks.walk(stream) if name == b"IEND"), None)


class PngReader:
    """The reader of a still or animated PNG."""

    format = "png"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read all chunks except the pixels.

        Raises:
            PoolError: a chunk is damaged or refused, or the picture is too large.
        """
        self._chunks = chunks = png_chunks.read_chunks(stream, limits.check)
        self._header = header = chunks.header
        has_alpha = header.colour_type in png_chunks.ALPHA_TYPES
        self._transparency = None if has_alpha else chunks.bodies.get(b"tRNS")
        is_key = self._transparency is not None and header.colour_type != png_chunks.PALETTE
        self._key = self._transparency or b"" if is_key else b""
        self._metadata, self._orientation = Metadata(), 1
        if chunks.texts or chunks.warnings or chunks.bodies.keys() & png_chunks.METADATA:
            self._metadata, self._orientation = metadata_of(chunks)
        self._info = self._info_of(on_canvas=False)
        self._regions: list[Region] = []
        if b"acTL" in chunks.bodies:
            self._find_regions(limits)
        self.count = len(self._regions) or 1

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order."""
        if self._regions:
            info = self._canvas_info
            yield from animation.frames_of(self._regions, info, info, self.metadata)
        else:
            yield self._picture(self._chunks.data or self._chunks.frames[0][1])

    def metadata(self) -> Metadata:
        """Return the metadata, which is the same for all frames."""
        return self._metadata

    def _info_of(self, *, on_canvas: bool) -> FrameInfo:
        """Return the `FrameInfo` of the still picture, or of the canvas of an animation."""
        header, key, palette = self._header, self._transparency, None
        kind, bits = header.colour_type, header.depth
        if kind == png_chunks.PALETTE:
            entries, bits = self._chunks.bodies[b"PLTE"], PALETTE_BITS
            mode = pillow.palette_mode(entries, has_alpha=key is not None)
            palette = None if on_canvas else pillow.palette_pixels(entries, key or b"", mode)
        else:
            mode = "1" if bits == 1 else png_chunks.SAMPLE_MODES[kind][bits == 16]
            mode = mode if key is None else WITH_ALPHA[mode]
        size = header.height, header.width
        if on_canvas and animation.has_transparency(self._regions, *size):
            mode = WITH_ALPHA.get(mode, mode)
        return info_in_mode(
            size,
            mode,
            Stored("unsigned", bits, (1 << bits) - 1, png_chunks.CHANNELS[kind]),
            orientation=self._orientation,
            palette=palette,
            encoding=Encoding(self.format),
            notes=pillow.conversions(
                kind == png_chunks.PALETTE, key is not None, self._orientation
            ),
        )

    def _find_regions(self, limits: Limits) -> None:
        """Find the region of each frame; none if the file shows only a still picture.

        A still picture before the animation, for viewers without animations, is ignored.

        Raises:
            PoolError: frames are missing, or a frame is too large.
        """
        stated, plays = struct.unpack(">II", self._chunks.bodies[b"acTL"])
        self._metadata = self._metadata._replace(plays=plays)
        frames = self._chunks.frames[:stated]
        if not frames or (stated == 1 and not self._chunks.data):
            return
        if len(frames) < stated or not self._chunks.is_complete:
            raise PoolError(
                f"the animation breaks off after {len(frames)} frames", "is the file complete?"
            )
        self._regions = [self._region(*one) for one in frames]
        for one in self._regions:
            limits.check(one.height, one.width)
        self._canvas_info = self._info_of(on_canvas=True)

    def _region(self, control: bytes, data: Data) -> Region:
        """Return the region of a frame; fcTL states the delay as a fraction of a second."""
        _, *place, delay, unit, dispose, blend = png_chunks.CONTROL.unpack(control)
        width, height, left, top = place
        if not width * height:
            raise PoolError(f"one of its frames has {height}×{width} pixels", png_chunks.DAMAGED)
        return Region(
            top=top,
            left=left,
            height=height,
            width=width,
            duration=Fraction(1000 * delay, unit or 100),
            dispose=DISPOSALS.get(dispose, "keep"),
            blends=blend == BLENDS,
            decode=partial(self._decoded_region, height, width, data),
        )

    def _decoded_region(self, height: int, width: int, data: Data) -> animation.ReadRows:
        """Return what decodes rows of the region of a frame in the mode of the canvas."""
        header = self._header._replace(height=height, width=width)
        open_data = partial(self._open_data, data)
        still = PngFrame(self._info, header, self._key, open_data, self.metadata)
        keeps_mode = self._canvas_info.mode == self._info.mode
        palette = self._info.palette

        def rows(start: int, stop: int) -> NDArray[Any]:
            pixels = still.rows(start, stop)
            if palette is not None:
                pixels = np.take(palette, pixels, axis=0)
            return pixels if keeps_mode else _with_full_alpha(pixels)

        return rows

    def _picture(self, data: Data) -> Frame:
        """Return the frame of a still picture, whose pixels are in ``data``."""
        open_data = partial(self._open_data, data)
        return PngFrame(self._info, self._header, self._key, open_data, self.metadata)

    def _open_data(self, data: Data) -> PixelData:
        """Return the pixel data at some positions, from its beginning."""
        return PixelData(png_chunks.compressed_pieces(self._chunks.stream, data))


class PngWriter(WholeFrameWriter):
    """The writer of a still PNG."""

    def write_frame(self, picture: Picture) -> None:
        """Write the header, the metadata and the pixels."""
        pixels = self.encoded(picture)
        self.file.write(pixels[:HEAD_BYTES])
        self.write_metadata(picture)
        self.file.write(pixels[HEAD_BYTES:])

    def write_metadata(self, picture: Picture) -> None:
        """Write the metadata chunks; note what PNG can't store."""
        held = self.held(picture.info, picture.metadata, grey_excludes_colour=True)
        if "resolution" in held and density(held["resolution"]) is None:
            self.note(no_place(self.row, WORDS["resolution"]))
        if held:
            self.file.write(ancillary_chunks(held))

    def encoded(self, picture: Picture) -> memoryview:
        """Return the picture as a PNG without metadata."""
        chosen, mode = self.saving.for_format(self.row), picture.info.mode
        options = {"compress_level": LEVEL, **chosen}
        if mode not in pillow.PILLOW_MODES:
            png_encode = library("imagecodecs", "deep").png_encode
            array = np.ascontiguousarray(picture.array)
            return memoryview(png_encode(array, level=options["compress_level"]))
        image = pillow.to_image(picture, mode)
        if not chosen and runs_suffice(image):
            options["compress_type"] = RUNS_ALONE
        return pillow.encoded(image, "PNG", **options)


class PngAnimationWriter(AnimationWriter, PngWriter):
    """The writer of an animated PNG."""

    timing = Timing(Fraction(1), longest=0xFFFF, most_plays=(1 << 31) - 1, coarse=1000)

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin with no frame written."""
        super().__init__(file, row, saving)
        self._written, self._plays, self._sequence = 0, 0, itertools.count()

    def shown(self, picture: Picture) -> Shown:
        """Return a frame unchanged: PNG stores every pixel exactly."""
        height, width = picture.array.shape[:2]
        return Shown(height, width, lambda start, stop: picture.array[start:stop], picture)

    def write_end(self) -> None:
        """Write the last frame, and overwrite acTL with the number of frames."""
        super().write_end()
        self.file.write(chunk(b"IEND", b""))
        self.file.seek(HEAD_BYTES)
        self.file.write(chunk(b"acTL", struct.pack(">II", self._written, self._plays)))
        self.file.seek(0, 2)

    def write_region(self, shown: Shown, part: Part, ticks: int, _following: Shown | None) -> bool:
        """Write the changed region of a frame, as IDAT for the first frame and fdAT for others."""
        picture: Picture = shown.image
        rows, columns = part
        pixels = self.encoded(picture._replace(array=picture.array[part]))
        if not self._written:
            self._plays = self.timeline.plays(picture.metadata.plays)
            self.file.write(pixels[:HEAD_BYTES])
            # The number of frames may not be known yet: `write_end` writes it here.
            self.file.write(chunk(b"acTL", bytes(8)))
            self.write_metadata(picture)
        place = (columns.stop - columns.start, rows.stop - rows.start, columns.start, rows.start)
        # A duration that is too long for milliseconds is in whole seconds.
        delay = (ticks, 1000) if ticks <= self.timing.longest else (ticks // 1000, 1)
        numbers = next(self._sequence), *place, *delay, 0, 0
        self.file.write(chunk(b"fcTL", png_chunks.CONTROL.pack(*numbers)))
        stream = BytesIO(pixels)
        for name, _, length in png_chunks.walk(stream, HEAD_BYTES):
            if name == b"IDAT" and not self._written:
                self.file.write(chunk(name, stream.read(length)))
            elif name == b"IDAT":
                number = struct.pack(">I", next(self._sequence))
                self.file.write(chunk(b"fdAT", number + stream.read(length)))
        self._written += 1
        return False


read = PngReader


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> PngWriter:
    """Return the writer of a PNG, animated unless there is one frame."""
    return (PngWriter if frames == 1 else PngAnimationWriter)(file, row, saving)


def runs_suffice(image: Image.Image) -> bool:
    """Return whether a sample of rows compresses as well with zlib's strategy Z_RLE.

    It does for photographs, in which longer matches are rare, and Z_RLE is more than twice as
    fast (`benchmarks/levels.py`). Cost: about a thirtieth of the picture is compressed twice.
    """
    width, height = image.size
    row_bytes = width * len(image.getbands()) * (1 + (image.mode == "I;16"))
    rows = -(-SAMPLE_BYTES // row_bytes)
    count = max(LEAST_SAMPLES, height // (rows * SAMPLED))
    if rows * count > height:
        return False
    usual = runs = 0
    for number in range(count):
        # The bands are spread evenly, away from the top and bottom, which are often uniform.
        top = (height - rows) * (2 * number + 1) // (2 * count)
        band = image.crop((0, top, width, top + rows))
        usual += len(pillow.encoded(band, "PNG", compress_level=LEVEL))
        runs += len(pillow.encoded(band, "PNG", compress_level=LEVEL, compress_type=RUNS_ALONE))
    return runs <= usual * RUNS_SLACK


def _with_full_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels with an added channel of full alpha; convert bilevel pixels to grey."""
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    alpha = np.full_like(colours[..., :1], np.iinfo(pixels.dtype).max)
    return np.concatenate((colours, alpha), axis=-1)
