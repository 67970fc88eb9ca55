"""Read and write still and animated WebP with Pillow.

Size, lossiness and durations are parsed from the chunks here, because Pillow states them too late
or not at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, Final

from PIL import WebPImagePlugin
from PIL.WebPImagePlugin import WebPImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.animation import Timing
from poolcli.formats.contract import Limits
from poolcli.formats.pillow import PillowReader, open_image, require_support
from poolcli.formats.pillow_animation import PulledWriter, reader_of
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, FrameInfo, Metadata, Pair, Stored

RIFF_HEAD: Final = 12
FRAME_HEAD: Final = 16
"""Bytes of an ANMF chunk before the chunks of its frame."""

EXTENDED: Final = b"VP8X"
ALPHA: Final = 0x10
"""The flag for alpha in the extended header."""


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a WebP."""
    require_support("WebP", supported=WebPImagePlugin.SUPPORTED)
    chunks = list(_chunks(stream))
    # The decoder allocates the whole canvas as soon as it is opened.
    limits.check(*_canvas_size(*chunks[0] if chunks else (b"", b"")))
    image = open_image(WebPImageFile, stream)
    durations = [Fraction(_number(head, 12)) for name, head in chunks if name == b"ANMF"]
    if image.n_frames == 1:
        durations = [Fraction(0)]
    if len(durations) != image.n_frames:
        raise PoolError(
            f"it states {len(durations)} frames, and {image.n_frames} were found",
            "is the file complete?",
        )
    encoding = Encoding("webp", lossy=any(name == b"VP8 " for name, _ in chunks))
    stored = Stored("unsigned", 8, 255, len(image.getbands()))
    return reader_of(image, stream, stored, encoding, durations)


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
        lossless = not info.encoding.lossy and self.saving.quality is None
        plays = 0 if self.frames == 1 else self.timeline.plays(metadata.plays)
        ours = {"exact": True, "lossless": lossless, "loop": plays}
        return ours | held | self.saving.for_format(self.row)

    def repair(self, content: memoryview, mode: str) -> None:
        """Set the alpha flag, which libwebp omits if only a cleared canvas is transparent."""
        if mode == "RGBA" and bytes(content[12:16]) == EXTENDED:
            content[20] |= ALPHA


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and first bytes of every chunk, including those in frames (RFC 9649)."""
    at, end = RIFF_HEAD, stream.seek(0, 2)
    while at + 8 <= end:
        stream.seek(at)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield name, stream.read(min(length, FRAME_HEAD))
        at += 8 + (FRAME_HEAD if name == b"ANMF" else length + length % 2)


def _canvas_size(name: bytes, head: bytes) -> Pair:
    """Return height and width of the canvas from the name and first bytes of the first chunk."""
    if name == EXTENDED:
        return 1 + _number(head, 7), 1 + _number(head, 4)
    if name == b"VP8L":
        bits = _number(head, 1, 4)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    return _number(head, 8, 2) & 0x3FFF, _number(head, 6, 2) & 0x3FFF


def _number(octets: bytes, at: int, count: int = 3) -> int:
    """Return the little-endian number of ``count`` bytes at a position."""
    return int.from_bytes(octets[at : at + count], "little")
