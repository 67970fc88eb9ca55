"""Read and write PNG and animated PNG.

Of Pillow only the decoder of the filters is used: it decodes no more than 8 bits of colour, checks
only some checksums, holds whole pictures, and its blending of animations gives too low alpha.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import animation, indexed, png_chunks
from poolcli.formats.animation import AnimationWriter, Part, Region, Regions, Shown
from poolcli.formats.carried import WORDS, no_place
from poolcli.formats.contract import FrameWriter, Limits
from poolcli.formats.png_chunks import Data, chunk
from poolcli.formats.png_encoder import RowEncoder
from poolcli.formats.png_pixels import PixelData, PngFrame
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import Encoding, Frame, FrameInfo, Metadata, Picture, Stored, info_in_mode

WITH_ALPHA: Final = {"1": "LA", "L": "LA", "RGB": "RGBA", "I;16": "LA;16", "RGB;16": "RGBA;16"}
PALETTE_BITS: Final = 8
DISPOSALS: Final[dict[int, animation.Dispose]] = {1: "clear", 2: "restore"}
BLENDS: Final = 1

HEAD_BYTES: Final = len(png_chunks.SIGNATURE) + png_chunks.HEADER.size + 12
"""The bytes up to the end of IHDR, which is always the first chunk."""

BEST_LEVEL: Final = 9
"""The level of zlib for the option ``optimize``."""

DISORDERED: Final = "the chunks of its animation are not in order: only its still picture was taken"

STORED_AS: Final = {
    "1": (1, png_chunks.GREY),
    **{one: (8, kind) for kind, (one, _) in png_chunks.SAMPLE_MODES.items()},
    **{one: (16, kind) for kind, (_, one) in png_chunks.SAMPLE_MODES.items()},
}
"""The bits of a sample and the colour type of each mode."""


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
            from poolcli.formats.png_metadata import metadata_of  # delays the start of the others

            self._metadata, self._orientation = metadata_of(chunks)
        self._info = self._info_of(on_canvas=False)
        self._regions = Regions(self._region, 0)
        if b"acTL" in chunks.bodies:
            self._find_regions(limits)
        self.count = len(self._regions) or 1

    def frames(self) -> Generator[Frame, None, None]:
        """Yield the frames in order."""
        if self._regions:
            info = self._canvas_info
            yield from animation.frames_of(self._regions, info, info, self.metadata)
        else:
            frame = self._picture(self._chunks.picture)
            try:
                yield frame
            finally:
                frame.close()

    def metadata(self) -> Metadata:
        """Return the metadata, which is the same for all frames."""
        return self._metadata

    def _info_of(self, *, on_canvas: bool) -> FrameInfo:
        """Return the `FrameInfo` of the still picture, or of the canvas of an animation."""
        header, key, palette = self._header, self._transparency, None
        kind, bits, entries = header.colour_type, header.depth, b""
        if kind == png_chunks.PALETTE:
            entries, bits = self._chunks.bodies[b"PLTE"], PALETTE_BITS
            mode = indexed.palette_mode(entries, has_alpha=key is not None)
            palette = None if on_canvas else indexed.palette_pixels(entries, key or b"", mode)
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
            entries=len(entries) // 3,
            encoding=Encoding(self.format),
            notes=indexed.conversions(
                on_canvas and kind == png_chunks.PALETTE,
                key is not None and palette is None,
                self._orientation,
            ),
        )

    def _find_regions(self, limits: Limits) -> None:
        """Find the region of each frame; none if the file shows only a still picture.

        A still picture before the animation, for viewers without animations, is ignored; it is
        taken if the chunks of the animation are not in order (PNG, Third Edition, 13.2).

        Raises:
            PoolError: frames are missing, or a frame is too large.
        """
        if not self._chunks.is_ordered and self._chunks.picture:
            warnings = (*self._metadata.warnings, DISORDERED)
            self._metadata = self._metadata._replace(warnings=warnings)
            return
        stated, plays = struct.unpack(">II", self._chunks.bodies[b"acTL"])
        self._metadata = self._metadata._replace(plays=plays)
        found = min(len(self._chunks.frames), stated)
        if not found or (stated == 1 and not self._chunks.data):
            return
        if found < stated or not self._chunks.is_complete:
            raise PoolError(
                f"the animation breaks off after {found} frames", "is the file complete?"
            )
        self._regions = Regions(self._region, stated)
        for one in self._regions:
            limits.check(one.height, one.width)
        self._canvas_info = self._info_of(on_canvas=True)

    def _region(self, number: int) -> Region:
        """Return the region of a frame; fcTL states the delay as a fraction of a second."""
        control, data = self._chunks.frames[number]
        from fractions import Fraction  # only animations need it

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

    def _picture(self, data: Data) -> PngFrame:
        """Return the frame of a still picture, whose pixels are in ``data``."""
        open_data = partial(self._open_data, data, self._header.data_bytes)
        return PngFrame(self._info, self._header, self._key, open_data, self.metadata)

    def _open_data(self, data: Data, size: int = 0) -> PixelData:
        """Return the pixel data at some positions, from its beginning; see there for ``size``."""
        return PixelData(png_chunks.compressed_pieces(self._chunks.stream, data), size)


class PngParts(FrameWriter):
    """The parts that a still and an animated PNG have in common."""

    _latest: RowEncoder | None = None

    def write_start(self, info: FrameInfo, metadata: Metadata, more: bytes = b"") -> None:
        """Write the signature, IHDR, more chunks, and the metadata; note what PNG can't store."""
        depth, kind = _stored_as(info)
        header = png_chunks.Header(info.shape[1], info.shape[0], depth, kind, 0, 0, 0)
        body = png_chunks.HEADER.pack(*header)
        self.file.write(png_chunks.SIGNATURE + chunk(b"IHDR", body) + more)
        held = self.held(info, metadata, grey_excludes_colour=info.palette is None)
        if held:
            from poolcli.formats.png_metadata import ancillary_chunks, density

            if "resolution" in held and density(held["resolution"]) is None:
                self.note(no_place(self.row, WORDS["resolution"]))
            self.file.write(ancillary_chunks(held))
        if info.palette is not None:
            colours, alphas = indexed.colours_and_alphas(info.palette)
            self.file.write(chunk(b"PLTE", colours.tobytes()))
            if alphas is not None:
                self.file.write(chunk(b"tRNS", alphas.tobytes()))

    def encoder(self, info: FrameInfo, write: Callable[[bytes], object]) -> RowEncoder:
        """Return an encoder of rows of some shape and mode, packed by `packed_rows`."""
        depth, kind = _stored_as(info)
        bits = depth * png_chunks.CHANNELS[kind]
        size = info.shape[0], (info.shape[1] * bits + 7) // 8
        chosen = self.saving.for_format(self.row)
        level = BEST_LEVEL if chosen.get("optimize") else chosen.get("compress_level")
        level = None if level is None else int(level)
        self._latest = encoder = RowEncoder(size, max(1, bits // 8), level, write)
        return encoder

    def discard(self) -> None:
        """Wait for the threads, and release the memory."""
        super().discard()
        if self._latest is not None:
            self._latest.discard()


class PngWriter(PngParts):
    """The writer of a still PNG; it compresses the rows as they come."""

    _encoder: RowEncoder

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write what precedes the pixels."""
        self.write_start(info, metadata)
        self._bits = _stored_as(info)[0] if info.palette is not None else 0
        self._encoder = self.encoder(info, lambda body: self.file.write(chunk(b"IDAT", body)))

    def rows(self, band: NDArray[Any]) -> None:
        """Compress the next rows."""
        octets = indexed.packed_indices(band, self._bits) if self._bits else packed_rows(band)
        self._encoder.rows(octets)

    def finish(self) -> list[str]:
        """Write the rest of the pixels and the end of the file; return the notes."""
        self._encoder.finish()
        self.file.write(chunk(b"IEND", b""))
        return list(self.notes)


class PngAnimationWriter(AnimationWriter, PngParts):
    """The writer of an animated PNG."""

    timing = Timing(1, longest=0xFFFF, most_plays=(1 << 31) - 1, coarse=1000)

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
        """Write the changed region of a frame."""
        picture: Picture = shown.image
        rows, columns = part
        if not self._written:
            self._plays = self.timeline.plays(picture.metadata.plays)
            # The number of frames may not be known yet: `write_end` writes it here.
            self.write_start(picture.info, picture.metadata, chunk(b"acTL", bytes(8)))
        place = (columns.stop - columns.start, rows.stop - rows.start, columns.start, rows.start)
        # A duration that is too long for milliseconds is in whole seconds.
        delay = (ticks, 1000) if ticks <= self.timing.longest else (ticks // 1000, 1)
        numbers = next(self._sequence), *place, *delay, 0, 0
        self.file.write(chunk(b"fcTL", png_chunks.CONTROL.pack(*numbers)))
        pixels = picture.array[part]
        encoder = self.encoder(picture.info._replace(shape=pixels.shape), self._write_data)
        encoder.rows(packed_rows(pixels))
        encoder.finish()
        self._written += 1
        return False

    def _write_data(self, body: bytes) -> None:
        """Write compressed pixels as IDAT for the first frame, and as fdAT for the others."""
        if self._written:
            number = struct.pack(">I", next(self._sequence))
            self.file.write(chunk(b"fdAT", number + body))
        else:
            self.file.write(chunk(b"IDAT", body))


read = PngReader


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> PngParts:
    """Return the writer of a PNG, animated unless there is one frame."""
    return (PngWriter if frames == 1 else PngAnimationWriter)(file, row, saving)


def _stored_as(info: FrameInfo) -> tuple[int, int]:
    """Return the bits of a sample, or of a palette index, and the colour type."""
    if info.palette is None:
        return STORED_AS[info.mode]
    bits = next(bits for bits in (1, 2, 4, 8) if len(info.palette) <= 1 << bits)
    return bits, png_chunks.PALETTE


def packed_rows(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """Return rows as the bytes that PNG stores: (rows, bytes of a row)."""
    if rows.dtype == np.bool_:
        return np.packbits(rows, axis=1)
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2")
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)


def _with_full_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels with an added channel of full alpha; convert bilevel pixels to grey."""
    if pixels.dtype == np.bool_:
        pixels = pixels * np.uint8(255)
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    alpha = np.full_like(colours[..., :1], np.iinfo(pixels.dtype).max)
    return np.concatenate((colours, alpha), axis=-1)
