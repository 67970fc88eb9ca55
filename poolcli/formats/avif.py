"""AVIF, still and animated, through Pillow; depth and durations are read from the boxes."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import partial
from itertools import chain, islice, repeat
from typing import Any, BinaryIO, Final

from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.boxes import PROPERTIES, find_boxes, has_alpha, read_boxes
from poolcli.formats.carried import carried, no_place
from poolcli.formats.contract import Limits
from poolcli.formats.exif import describe
from poolcli.formats.pillow import PillowReader, info_of, open_image, require_support
from poolcli.formats.pulled import PulledWriter
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, FrameInfo, Metadata, Stored

TRACK: Final = (b"moov", b"trak")
SAMPLES: Final = (b"mdia", b"minf", b"stbl")
"""The way from a track to the tables of its frames."""

HIGH_DEPTH, TWELVE_BITS, MONOCHROME = 0x40, 0x20, 0x10
"""Flags in the third byte of an av1C box (AV1 in ISO media, 2.3.3)."""

QUALITY: Final = 80


def read(stream: BinaryIO, limits: Limits) -> PillowReader:
    """Open an AVIF."""
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    image = open_image(AvifImageFile, stream)
    limits.check(image.height, image.width)
    described = describe(image.info.get("exif"), image.info.get("xmp"))
    encoding = Encoding("avif", lossy=True)
    info = info_of(image, _stored(stream), encoding, described.orientation)
    metadata = Metadata(
        icc_profile=image.info.get("icc_profile"),
        exif=described.exif,
        dpi=described.dpi,
        xmp=described.xmp,
        warnings=described.warnings,
    )
    durations = _durations(stream, image.n_frames) if image.n_frames > 1 else [Fraction(0)]
    reopen = partial(open_image, AvifImageFile, stream)
    return PillowReader(info, metadata, image, reopen, durations)


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> AvifWriter:
    """Begin to write an AVIF."""
    require_support("AVIF", supported=AvifImagePlugin.SUPPORTED)
    return AvifWriter(file, row, saving, frames)


class AvifWriter(PulledWriter):
    """An AVIF that is written."""

    plugin = "AVIF"

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return what Pillow is asked for."""
        held, notes = carried(metadata, self.row, info.mode, strip=self.saving.strip)
        self.note(*notes, "AVIF is written with loss")
        return {"quality": QUALITY, **held, **self.saving.for_format(self.row)}

    def animation_arguments(self, metadata: Metadata) -> dict[str, Any]:
        """Return nothing; the number of plays is lost."""
        if metadata.plays:
            self.note(no_place(self.row, "number of plays"))
        return {}


def _stored(stream: BinaryIO) -> Stored:
    """Read depth and channels; where no box states the depth, it may be any that AVIF has."""
    paths = ((*PROPERTIES, b"av1C"), (*TRACK, *SAMPLES, b"stsd", b"av01", b"av1C"))
    flags = [box[2] for path in paths for box in read_boxes(stream, *path) if len(box) > 2]
    bits = max(map(_bits, flags), default=12)
    colours = 1 if flags and all(one & MONOCHROME for one in flags) else 3
    return Stored("unsigned", bits, (1 << bits) - 1, colours + has_alpha(stream))


def _bits(flags: int) -> int:
    """Return the bits of a sample by the flags of an av1C box."""
    if flags & HIGH_DEPTH:
        return 12 if flags & TWELVE_BITS else 10
    return 8


def _durations(stream: BinaryIO, count: int) -> list[Fraction]:
    """Read how long each frame is shown, in whole milliseconds, as Pillow states it.

    Raises:
        PoolError: no track tells it.
    """
    for track in find_boxes(stream, *TRACK):
        auxiliary = any(find_boxes(stream, b"tref", b"auxl", within=track))
        header = next(read_boxes(stream, b"mdia", b"mdhd", within=track), b"")
        table = next(read_boxes(stream, *SAMPLES, b"stts", within=track), b"")
        if auxiliary or not header or not table:
            continue
        (scale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
        entries = list(struct.iter_unpack(">II", table[8 : len(table) - len(table) % 8]))
        runs = [
            (length, Fraction(round(1000 * (delta / scale))))
            for length, delta in entries or [(1, 1)]
        ]
        endless = chain(*(repeat(lasts, length) for length, lasts in runs), repeat(runs[-1][1]))
        return list(islice(endless, count))
    raise PoolError("the durations of its frames are missing", "is the file complete?")
