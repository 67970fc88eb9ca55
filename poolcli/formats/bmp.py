"""Read and write BMP.

Pillow is not used: it drops alpha and profiles, and rounds samples of 5 and 6 bits down.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.bmp_header import RLE_BITS, Header, read_header, row_bytes, written_header
from poolcli.formats.bmp_rle import unpacked
from poolcli.formats.carried import no_place
from poolcli.formats.contract import FrameWriter, Limits
from poolcli.formats.exif import checked_resolution
from poolcli.formats.indexed import (
    colours_and_alphas,
    packed_indices,
    palette_mode,
    palette_pixels,
)
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import (
    METRES_IN_AN_INCH,
    Encoding,
    FrameInfo,
    Metadata,
    Pair,
    Resolution,
    Stored,
    info_in_mode,
)

BITS: Final = {"1": 1, "L": 8, "RGB": 24, "RGBA": 32}
"""The bits of a pixel that are written, by mode."""

GREYS: Final = {"1": (0, 255), "L": tuple(range(256))}
CHANNELS: Final = {1: "L", 3: "RGB", 4: "RGBA"}
USUAL_DENSITY: Final = (3780, 3780)
"""The density that is written if none is known, 96 pixels per inch, as most programs do."""

USUAL_BITS: Final = 8
WIDE: Final = 16
"""The most bits of a channel that are used; more would not change the 8 bits of the result."""


def read(stream: BinaryIO, limits: Limits) -> BmpReader:
    """Open a BMP."""
    return BmpReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> BmpWriter:
    """Return the writer of a BMP."""
    return BmpWriter(file, row, saving)


def end(stream: BinaryIO) -> int:
    """Return the position after the picture."""
    return read_header(stream).end


class BmpReader:
    """A BMP: both the reader and its only frame; it reads rows when they are asked for."""

    format, count = "bmp", 1

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read the header.

        Raises:
            PoolError: it is damaged, the picture is too large, or rows are missing.
        """
        self._stream, self._header = stream, read_header(stream)
        header, self._warnings = self._header, list[str]()
        most = max(mask.bit_count() for mask in header.masks)
        if most > USUAL_BITS:
            self._warnings.append(f"its channels of {most} bits were rounded to {USUAL_BITS}")
        limits.check(*header.size)
        self.info = _palette_info(header) if header.bits <= 8 else _colour_info(header)
        there = (stream.seek(0, 2) - header.offset + header.filler) // header.stride
        if header.compression not in RLE_BITS and there < header.size[0]:
            raise PoolError(
                f"it ends after {max(there, 0)} of {header.size[0]} rows", "is the file complete?"
            )

    def frames(self) -> Iterator[BmpReader]:
        """Yield the picture."""
        yield self

    def metadata(self) -> Metadata:
        """Return the resolution and the profile."""
        header = self._header
        across, down = (number * METRES_IN_AN_INCH for number in header.density)
        return Metadata(
            resolution=checked_resolution(across, down),
            icc_profile=header.profile,
            dropped=header.lost,
            warnings=self._warnings,
        )

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop; they are usually stored from bottom to top."""
        header = self._header
        height, width = header.size
        first = start if header.is_top_down else height - stop
        if header.compression in RLE_BITS:
            rows = self._unpacked[first : first + stop - start]
        else:
            self._stream.seek(header.offset + first * header.stride)
            length = (stop - start) * header.stride
            octets = self._stream.read(length).ljust(length, b"\0")  # the filler may be missing
            stored = np.frombuffer(octets, np.uint8).reshape(stop - start, header.stride)
            if header.bits <= 8:
                rows = _indices(stored, header.bits, width)
            elif header.bits == 24:
                rows = stored[:, : 3 * width].reshape(stop - start, width, 3)[..., ::-1]
            else:
                words = stored.view(f"<u{header.bits // 8}")[:, :width]
                rows = _channels(words, header.masks)
        rows = rows if header.is_top_down else rows[::-1]
        return rows != 0 if self.info.mode == "1" else np.ascontiguousarray(rows)

    @cached_property
    def _unpacked(self) -> NDArray[np.uint8]:
        """The palette indices of a compressed picture."""
        header = self._header
        self._stream.seek(header.offset)
        octets = self._stream.read(header.end - header.offset)
        indices, is_whole = unpacked(octets, header.size, RLE_BITS[header.compression])
        if not is_whole:
            self._warnings.append("it ends before its last pixel: the rest has the first colour")
        return indices


class BmpWriter(FrameWriter):
    """The writer of a BMP; it writes each band of rows immediately."""

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header, and the profile at the end."""
        held = self.held(info, metadata)
        self._mode = self.row.modes[info.mode]
        height, width = info.shape[:2]
        bits, entries = BITS[self._mode], [(grey,) * 3 for grey in GREYS.get(self._mode, ())]
        self._bits = 0
        if info.palette is not None:
            colours, _ = colours_and_alphas(info.palette)
            entries = [(red, green, blue) for red, green, blue in colours.tolist()]
            bits = self._bits = next(bits for bits in (1, 4, 8) if len(entries) <= 1 << bits)
        self._stride = row_bytes(width, bits)
        profile, density = held.get("icc_profile"), self._density(held.get("resolution"))
        self.file.write(written_header((height, width), bits, entries, density, profile))
        # The rows are stored from bottom to top: the first band is the end of the pixels.
        self._end = self.file.tell() + height * self._stride
        if profile:
            self.file.seek(self._end)
            self.file.write(profile)

    def rows(self, band: NDArray[Any]) -> None:
        """Write some rows."""
        stored = np.zeros((len(band), self._stride), np.uint8)
        pixels = self._packed(band[::-1])
        stored[:, : pixels.shape[1]] = pixels
        self._end -= stored.nbytes
        self.file.seek(self._end)
        self.file.write(stored.data)

    def finish(self) -> list[str]:
        """Return the notes."""
        return list(self.notes)

    def _packed(self, band: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bytes of some rows, without their fillers."""
        if self._bits:
            return packed_indices(band, self._bits)
        if self._mode == "1":
            return np.packbits(band, axis=1)
        if band.ndim == 2:
            return np.asarray(band, np.uint8)
        if band.shape[2] == 2:
            band = band[..., [0, 0, 0, 1]]
        order = [2, 1, 0, 3][: band.shape[2]]
        return np.asarray(band[..., order], np.uint8).reshape(len(band), -1)

    def _density(self, resolution: Resolution | None) -> Pair:
        """Return pixels per metre: (across, down)."""
        if resolution is not None and not resolution.unit:
            self.note(no_place(self.row, "ratio of its resolutions"))
        if resolution is None or not resolution.unit:
            return USUAL_DENSITY
        inch = resolution.per_inch()
        return round(inch.across / METRES_IN_AN_INCH), round(inch.down / METRES_IN_AN_INCH)


def _palette_info(header: Header) -> FrameInfo:
    """Return the `FrameInfo` of a picture with a palette."""
    entries = np.frombuffer(header.palette, np.uint8)
    entries = entries[: len(entries) // header.entry_bytes * header.entry_bytes]
    colours = entries.reshape(-1, header.entry_bytes)[:, 2::-1].tobytes()
    mode = palette_mode(colours, has_alpha=False)
    if header.bits == 1 and colours == bytes(3) + b"\xff" * 3:
        return info_in_mode(header.size, "1", Stored("unsigned", 1, 1, 1), encoding=Encoding("bmp"))
    palette = palette_pixels(colours, b"", mode)
    is_plain = mode == "L" and np.array_equal(palette, np.arange(256))
    return info_in_mode(
        header.size,
        mode,
        Stored("unsigned", 8, 255, 1),
        palette=None if is_plain else palette,
        entries=0 if is_plain else len(colours) // 3,
        encoding=Encoding("bmp"),
    )


def _colour_info(header: Header) -> FrameInfo:
    """Return the `FrameInfo` of a picture without a palette.

    Its channels are values of a display of 8 bits, whatever their own bits: those of 5 and 6 are
    widened, and the few files with more are rounded.
    """
    channels = 3 + bool(header.masks[3])
    bits = 8
    if header.bits != 24:
        bits = min(8, max(mask.bit_count() for mask in header.masks))
    stored = Stored("unsigned", bits, (1 << bits) - 1, channels)
    return info_in_mode(header.size, CHANNELS[channels], stored, encoding=Encoding("bmp"))


def _indices(stored: NDArray[np.uint8], bits: int, width: int) -> NDArray[np.uint8]:
    """Return the palette indices of some rows, several of which may share a byte."""
    if bits == 8:
        return stored[:, :width]
    if bits == 1:
        return np.unpackbits(stored, axis=1, count=width)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    shared = stored[..., np.newaxis] >> shifts & np.uint8((1 << bits) - 1)
    return shared.reshape(len(stored), -1)[:, :width]


def _channels(words: NDArray[Any], masks: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the channels of some rows as values of 8 bits, to nearest."""
    used = masks if masks[3] else masks[:3]
    rows = np.zeros((*words.shape, len(used)), np.uint8)
    for channel, mask in enumerate(used):
        bits, shift = mask.bit_count(), (mask & -mask).bit_length() - 1
        if not mask:
            continue
        shift += max(0, bits - WIDE)
        bits = min(bits, WIDE)
        values = (words & words.dtype.type(mask)) >> words.dtype.type(shift)
        if bits != 8:
            # No value lies exactly between two levels, as both numbers are odd.
            levels = np.rint(np.arange(1 << bits) * 255 / ((1 << bits) - 1))
            values = levels.astype(np.uint8)[values]
        rows[..., channel] = values
    return rows
