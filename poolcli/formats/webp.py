"""Read and write still and animated WebP with Pillow.

The headers are parsed from the chunks here, because Pillow's decoder allocates the whole canvas as
soon as it is opened, and tells durations and lossiness too late or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import WebPImagePlugin
from PIL.WebPImagePlugin import WebPImageFile

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits
from poolcli.formats.exif import describe
from poolcli.formats.indexed import conversions
from poolcli.formats.pillow import open_image, require_support
from poolcli.formats.pillow_animation import CanvasReader, PulledWriter
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import Encoding, FrameInfo, Metadata, Pair, Stored, info_in_mode

RIFF_HEAD: Final = 12
FRAME_HEAD: Final = 16
"""Bytes of an ANMF chunk before the chunks of its frame."""

EXTENDED, LOSSY, LOSSLESS, ANIMATION, FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ANIM", b"ANMF"
ANIMATED, ALPHA = 0x02, 0x10
"""The flags for animation and alpha in the extended header."""


class Chunk(NamedTuple):
    """A chunk: its name, the position of its content, the length and the first bytes."""

    name: bytes
    begin: int
    length: int
    head: bytes


def read(stream: BinaryIO, limits: Limits) -> WebPReader:
    """Open a WebP.

    Raises:
        PoolError: it is too large, or it has no picture.
    """
    require_support("WebP", supported=WebPImagePlugin.SUPPORTED)
    chunks = list(_chunks(stream))
    if not chunks or chunks[0].name not in (EXTENDED, LOSSY, LOSSLESS):
        raise PoolError("it has no picture", "is the file complete?")
    if chunks[-1].begin + chunks[-1].length > stream.seek(0, 2):
        raise PoolError("it is cut off", "is the file complete?")
    first = chunks[0]
    size = _canvas_size(first)
    limits.check(*size)
    durations = [Fraction(_number(one.head, 12)) for one in chunks if one.name == FRAME]
    is_animated = first.name == EXTENDED and bool(_number(first.head, 0, 1) & ANIMATED)
    if is_animated and not durations:
        raise PoolError("it has no frames", "is the file complete?")
    metadata, orientation = _metadata(stream, chunks)
    info = info_in_mode(
        size,
        "RGBA" if _has_alpha(first) else "RGB",
        Stored("unsigned", 8, 255, 4 if _has_alpha(first) else 3),
        orientation=orientation,
        encoding=Encoding("webp", lossy=any(one.name == LOSSY for one in chunks)),
        notes=conversions(False, False, orientation),
    )
    if len(durations) == 1 or not is_animated:
        durations = [Fraction(0)]
    return WebPReader(stream, info, metadata, durations)


def end(stream: BinaryIO) -> int:
    """Return the position after the picture."""
    length = int.from_bytes(stream.read(8)[4:], "little")
    return 8 + length + length % 2


class WebPReader(CanvasReader):
    """The reader of a WebP.

    At most 12 bytes are needed for a pixel: the decoder has two canvases of four channels, and
    returns a copy of one. `WebPImageFile.load` would make an image of it, with four bytes more.
    """

    format = "webp"

    def decoded(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of each frame, without keeping them.

        Raises:
            PoolError: the decoder finds another number of frames than the chunks.
        """
        image, (height, width, channels) = open_image(WebPImageFile, self.stream), self.info.shape
        if image.n_frames != self.count:
            raise PoolError(
                f"it states {self.count} frames, and {image.n_frames} were found",
                "is the file complete?",
            )
        for _ in range(self.count):
            pixels = np.frombuffer(image._get_next()[0], np.uint8).reshape(height, width, 4)
            yield pixels[..., :channels]
            del pixels


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> WebPWriter:
    """Return the writer of a WebP."""
    require_support("WebP", supported=WebPImagePlugin.SUPPORTED)
    return WebPWriter(file, row, saving, frames)


class WebPWriter(PulledWriter):
    """The writer of a WebP; by default it is lossless unless the source was lossy."""

    plugin = "WEBP"
    # The sum is limited by libwebp, whose timestamps are signed 32-bit milliseconds.
    timing = Timing(
        Fraction(1), longest=(1 << 24) - 1, most_plays=0xFFFF, longest_sum=(1 << 31) - 1
    )

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return the arguments of Pillow's `save`; the colours of transparent pixels are kept."""
        held = self.held(info, metadata)
        lossless = self.saving.is_lossless(self.row, info.encoding)
        plays = 0 if self.frames == 1 else self.timeline.plays(metadata.plays)
        ours = {"exact": True, "lossless": lossless, "loop": plays}
        return ours | held | self.saving.for_format(self.row)

    def repair(self, content: memoryview, mode: str) -> None:
        """Set the alpha flag, which libwebp omits if only a cleared canvas is transparent."""
        if mode == "RGBA" and bytes(content[12:16]) == EXTENDED:
            content[20] |= ALPHA


def _chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """Yield every chunk, including those in frames (RFC 9649)."""
    size = stream.seek(0, 2)
    stream.seek(0)
    at, stop = RIFF_HEAD, min(size, end(stream))
    while at + 8 <= stop:
        stream.seek(at)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield Chunk(name, at + 8, length, stream.read(min(length, FRAME_HEAD)))
        at += 8 + (FRAME_HEAD if name == FRAME else length + length % 2)


def _canvas_size(chunk: Chunk) -> Pair:
    """Return height and width of the canvas from the first chunk."""
    head = chunk.head
    if chunk.name == EXTENDED:
        return 1 + _number(head, 7), 1 + _number(head, 4)
    if chunk.name == LOSSLESS:
        bits = _number(head, 1, 4)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    return _number(head, 8, 2) & 0x3FFF, _number(head, 6, 2) & 0x3FFF


def _has_alpha(chunk: Chunk) -> bool:
    """Return whether there is alpha, from the first chunk."""
    if chunk.name == LOSSLESS:
        return bool(_number(chunk.head, 4, 1) & ALPHA)
    return chunk.name == EXTENDED and bool(_number(chunk.head, 0, 1) & ALPHA)


def _metadata(stream: BinaryIO, chunks: Sequence[Chunk]) -> tuple[Metadata, int]:
    """Return the metadata of the file, and EXIF's orientation."""
    found: dict[bytes, bytes] = {}
    for name, begin, length, _ in chunks:
        if name in (b"ICCP", b"EXIF", b"XMP ") and name not in found:
            stream.seek(begin)
            found[name] = stream.read(length)
    described, orientation = describe(found.get(b"EXIF"), found.get(b"XMP "))
    plays = next((_number(one.head, 4, 2) for one in chunks if one.name == ANIMATION), 0)
    return described._replace(icc_profile=found.get(b"ICCP"), plays=plays), orientation


def _number(octets: bytes, at: int, count: int = 3) -> int:
    """Return the little-endian number of ``count`` bytes at a position."""
    return int.from_bytes(octets[at : at + count], "little")
