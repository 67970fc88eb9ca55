"""WebP, still and animated, through Pillow; alpha and durations are read from the chunks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO, Final

from PIL import WebPImagePlugin
from PIL.WebPImagePlugin import WebPImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits
from poolcli.formats.exif import describe
from poolcli.formats.pillow import PillowReader, info_of, open_image, require_support
from poolcli.formats.pulled import PulledWriter
from poolcli.formats.saving import Saving
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Stored

RIFF_HEAD: Final = 12
FRAME_HEAD: Final = 16
"""Bytes of an ANMF chunk before the chunks of its picture."""

EXTENDED: Final = b"VP8X"
ANIMATED, ALPHA = 0x02, 0x10
"""Flags in the extended header."""


@dataclass
class _Header:
    """What the chunks say (RFC 9649).

    Attributes:
        width: of the canvas.
        height: of the canvas.
        is_animated: whether there may be several frames.
        has_alpha: whether there is an alpha channel.
        is_lossy: whether any frame is coded with loss.
        durations: how long each frame of an animation is shown, in milliseconds.
    """

    width: int = 0
    height: int = 0
    is_animated: bool = False
    has_alpha: bool = False
    is_lossy: bool = False
    durations: list[Fraction] = field(default_factory=list)

    def take(self, name: bytes, head: bytes) -> None:
        """Take note of a chunk, of which the first bytes are given."""
        match name:
            case b"VP8X" if len(head) >= 10:
                self.is_animated, self.has_alpha = bool(head[0] & ANIMATED), bool(head[0] & ALPHA)
                self._set_size(1 + _number(head, 4), 1 + _number(head, 7))
            case b"VP8 " if len(head) >= 10:
                self.is_lossy = True
                self._set_size(*(one & 0x3FFF for one in struct.unpack_from("<2H", head, 6)))
            case b"VP8L" if len(head) >= 5:
                (bits,) = struct.unpack_from("<I", head, 1)
                self._set_size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
                if not self.is_animated:  # the whole animation's flag stands in VP8X
                    self.has_alpha = bool(bits >> 28 & 1)
            case b"ALPH":
                self.has_alpha |= not self.is_animated
            case b"ANMF" if len(head) == FRAME_HEAD:
                self.durations.append(Fraction(_number(head, 12)))

    def _set_size(self, width: int, height: int) -> None:
        """Set the canvas, of which the first chunk tells the size."""
        if not self.width:
            self.width, self.height = width, height


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open a WebP."""
    require_support("WebP", supported=WebPImagePlugin.SUPPORTED)
    header = _Header()
    for name, head in _chunks(stream):
        header.take(name, head)
    # The decoder allocates the whole canvas as soon as it is opened.
    limits.check(header.height, header.width)
    image = open_image(WebPImageFile, stream)
    described = describe(image.info.get("exif"), image.info.get("xmp"))
    stored = Stored("unsigned", 8, 255, 4 if header.has_alpha else 3)
    encoding = Encoding("webp", lossy=header.is_lossy)
    info = info_of(image, stored, encoding, described.orientation)
    durations = header.durations if image.n_frames > 1 else [Fraction(0)]
    if len(durations) != image.n_frames:
        raise PoolError(
            f"it states {len(durations)} frames, and {image.n_frames} were found",
            "is the file complete?",
        )
    metadata = Metadata(
        icc_profile=image.info.get("icc_profile"),
        exif=described.exif,
        dpi=described.dpi,
        xmp=described.xmp,
        plays=image.info.get("loop", 0),
        warnings=described.warnings,
    )
    reopen = partial(open_image, WebPImageFile, stream)
    return PillowReader(info, metadata, image, reopen, durations)


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> WebPWriter:
    """Begin to write a WebP."""
    require_support("WebP", supported=WebPImagePlugin.SUPPORTED)
    return WebPWriter(file, row, saving, frames)


class WebPWriter(PulledWriter):
    """A WebP that is written: without loss, unless the source had lost something already."""

    plugin = "WEBP"

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return what Pillow is asked for; colours that can't be seen are kept."""
        saving = self.saving
        held, notes = carried(metadata, self.row, info.mode, strip=saving.strip)
        self.note(*notes)
        lossless = not info.encoding.lossy and saving.quality is None
        return {"exact": True, "lossless": lossless, **held, **saving.for_format(self.row)}

    def animation_arguments(self, metadata: Metadata) -> dict[str, Any]:
        """Return the number of plays."""
        return {"loop": metadata.plays}

    def repair(self, content: memoryview, info: FrameInfo) -> None:
        """Set the flag of alpha: libwebp forgets it where the canvas is only cleared."""
        if MODES[info.mode].without_alpha and bytes(content[12:16]) == EXTENDED:
            content[20] |= ALPHA


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and first bytes of every chunk, those in frames among them."""
    at, end = RIFF_HEAD, stream.seek(0, 2)
    while at + 8 <= end:
        stream.seek(at)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield name, stream.read(min(length, FRAME_HEAD))
        at += 8 + (FRAME_HEAD if name == b"ANMF" else length + length % 2)


def _number(octets: bytes, at: int) -> int:
    """Return the number of three bytes at a position."""
    return int.from_bytes(octets[at : at + 3], "little")
