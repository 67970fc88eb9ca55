"""Read and write still and animated AVIF with Pillow.

Depth and durations are parsed from the boxes here, because Pillow does not tell them.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import chain, islice, repeat
from typing import Any, BinaryIO, Final

from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.boxes import PROPERTIES, read_boxes
from poolcli.formats.contract import Limits
from poolcli.formats.pillow import PillowReader, open_image, require_support
from poolcli.formats.pillow_animation import PulledWriter, reader_of
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timing
from poolcli.picture import Encoding, FrameInfo, Metadata, Stored

MEDIA: Final = (b"moov", b"trak", b"mdia")
SAMPLES: Final = (*MEDIA, b"minf", b"stbl")
"""The paths to the boxes of an animation's header, and to the tables of its frames."""

DEPTH_FLAGS: Final = 0x60
BITS: Final = {0x00: 8, 0x20: 8, 0x40: 10, 0x60: 12}
"""The bits of a sample, by `DEPTH_FLAGS` in the third byte of av1C (AV1 in ISO media, 2.3.3)."""

QUALITY: Final = 80


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open an AVIF."""
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    image = open_image(AvifImageFile, stream)
    limits.check(image.height, image.width)
    bits = _bits(stream)
    stored = Stored("unsigned", bits, (1 << bits) - 1, len(image.getbands()))
    durations = _durations(stream, image.n_frames) if image.n_frames > 1 else [Fraction(0)]
    return reader_of(image, stream, stored, Encoding("avif", lossy=True), durations)


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> AvifWriter:
    """Return the writer of an AVIF."""
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    return AvifWriter(file, row, saving, frames)


class AvifWriter(PulledWriter):
    """The writer of an AVIF; Pillow's encoder can't state a number of plays."""

    plugin = "AVIF"
    timing = Timing(Fraction(1), longest=(1 << 32) - 1, most_plays=0)

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return the arguments of Pillow's `save`."""
        held = self.held(info, metadata)
        self.note("AVIF is written with loss")
        if self.frames != 1:
            self.timeline.plays(metadata.plays)
        return {"quality": QUALITY, **held, **self.saving.for_format(self.row)}


def _bits(stream: BinaryIO) -> int:
    """Return the bits of a sample; if no box states them, assume 12, the most that AVIF allows."""
    paths = ((*PROPERTIES, b"av1C"), (*SAMPLES, b"stsd", b"av01", b"av1C"))
    boxes = (box for path in paths for box in read_boxes(stream, *path) if len(box) > 2)
    return max((BITS[box[2] & DEPTH_FLAGS] for box in boxes), default=12)


def _durations(stream: BinaryIO, count: int) -> list[Fraction]:
    """Return the duration of each frame, in whole milliseconds as in Pillow.

    The last entry of the table is repeated if there are more frames.

    Raises:
        PoolError: the file has no table of durations.
    """
    header = next(read_boxes(stream, *MEDIA, b"mdhd"), b"")
    table = next(read_boxes(stream, *SAMPLES, b"stts"), b"")
    if not header or not table:
        raise PoolError("the durations of its frames are missing", "is the file complete?")
    (scale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
    entries = list(struct.iter_unpack(">II", table[8 : len(table) - len(table) % 8]))
    runs = [
        (length, Fraction(round(1000 * (delta / scale)))) for length, delta in entries or [(1, 1)]
    ]
    endless = chain(*(repeat(lasts, length) for length, lasts in runs), repeat(runs[-1][1]))
    return list(islice(endless, count))
