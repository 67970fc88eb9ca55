"""Read and write PBM, PGM, PPM and PFM of any maxval.

Pillow is not used, because it rescales and rounds samples unless maxval is 255 or 65535.
See pbm(5), pgm(5), ppm(5) and pfm(5) of Netpbm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.contract import DecodedReader, Limits, WholeFrameWriter
from poolcli.formats.pillow import to_image
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, FrameInfo, Metadata, Picture, Stored, full_scale

SPACE: Final = rb"(?:\s|#[^\r\n]*[\r\n])+"
HEADER: Final = re.compile(
    rb"P(?:(?P<bits>[14])|(?P<samples>[2356])|(?P<floats>f))%b(?P<width>\d{1,10})"
    rb"%b(?P<height>\d{1,10})(?(samples)%b(?P<maxval>\d{1,10}))"
    rb"(?(floats)%b(?P<sign>[-+]?)(?=[.\d]*[1-9])[.\d]+(?:[eE][-+]?\d+)?)\s" % ((SPACE,) * 4)
)
"""The header of any of the formats; only the sign of a PFM's scale is used, for the byte order."""

HEAD_BYTES, MORE_BYTES = 1 << 12, 1 << 16
"""The bytes that are read for the header; the second part only if comments make it long."""

COMMENT: Final = re.compile(rb"#[^\r\n]*")
PLAIN: Final = (b"P1", b"P2", b"P3")
"""The formats whose samples are decimal numbers."""


def read(stream: BinaryIO, limits: Limits) -> DecodedReader | BinaryReader:
    """Open a PBM, PGM, PPM or PFM; bytes after the first picture are ignored."""
    header = _read_header(stream)
    info = _info(header)
    limits.check(*info.shape)
    if not all(info.shape):
        raise PoolError("it has no pixels", "is the file damaged?")
    if header[0][:2] in PLAIN:
        return DecodedReader(info, partial(_plain, stream, header.end(), info), Metadata)
    sample = info.dtype.newbyteorder("<" if header["sign"] == b"-" else ">")
    row = np.dtype((sample, info.shape[1:]))
    if header["bits"]:
        row = np.dtype((np.uint8, -(-info.shape[1] // 8)))
    return BinaryReader(stream, header.end(), row, info)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> PnmWriter:
    """Return the writer of a PBM, PGM, PPM or PFM in binary form."""
    return PnmWriter(file, row, saving)


class BinaryReader:
    """The reader of a binary file, and its only frame; it reads rows when they are asked for."""

    count = 1
    metadata = Metadata

    def __init__(self, stream: BinaryIO, begin: int, row: np.dtype[Any], info: FrameInfo) -> None:
        """Check that all samples are there.

        Args:
            stream: the file.
            begin: the position of the first sample.
            row: the NumPy type of a whole row in the file; PBM packs eight pixels into a byte.
            info: the contents of the header.

        Raises:
            PoolError: samples are missing.
        """
        self.format, self.info = info.encoding.format, info
        self._stream, self._begin, self._row = stream, begin, row
        there = stream.seek(0, 2) - begin
        if there < info.shape[0] * row.itemsize:
            raise _too_short(there * math.prod(info.shape[1:]) // row.itemsize, info)

    def frames(self) -> Iterator[BinaryReader]:
        """Yield the picture."""
        yield self

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from start to stop; a PFM stores them from bottom to top.

        Raises:
            PoolError: a sample is above maxval.
        """
        info = self.info
        first = info.shape[0] - stop if info.mode == "F" else start
        self._stream.seek(self._begin + first * self._row.itemsize)
        rows = np.frombuffer(self._stream.read((stop - start) * self._row.itemsize), self._row)
        if info.mode == "1":
            return np.equal(np.unpackbits(rows, axis=1, count=info.shape[1]), 0)
        if info.maxval < full_scale(info.dtype):
            _check_range(rows, info)
        rows = rows.astype(info.dtype, copy=False)
        return rows[::-1] if info.mode == "F" else rows


class PnmWriter(WholeFrameWriter):
    """The writer of a PBM, PGM, PPM or PFM."""

    def write_frame(self, picture: Picture) -> None:
        """Write the header and the samples; a PFM stores its rows from bottom to top."""
        array, info, metadata = picture
        mode = self.row.modes[info.mode]
        self.held(info, metadata)
        if mode != info.mode:
            array = np.asarray(to_image(picture, mode))
        maxval = info.maxval if mode == info.mode else 255
        kind, scale = "6" if array.ndim == 3 else "5", f"{maxval}\n"
        if mode == "1":
            kind, scale, array = "4", "", np.packbits(~array, axis=1)
        elif mode == "F":
            kind, scale, array = "f", "-1.0\n", array[::-1].astype("<f4")
        else:
            array = array.astype(np.uint8 if maxval < 256 else ">u2", copy=False)
        height, width = info.shape[:2]
        self.file.write(f"P{kind}\n{width} {height}\n{scale}".encode())
        self.file.write(array.tobytes())


def _read_header(stream: BinaryIO) -> re.Match[bytes]:
    """Match the header at the start of the file.

    Raises:
        PoolError: there is no valid header.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    match = HEADER.match(head) or HEADER.match(head + stream.read(MORE_BYTES))
    if match is None:
        raise PoolError("its header can't be read", "is the file damaged?")
    return match


def _info(header: re.Match[bytes]) -> FrameInfo:
    """Return the `FrameInfo` for a header.

    Raises:
        PoolError: maxval is out of range.
    """
    size, channels = (int(header["height"]), int(header["width"])), 1
    if header["floats"]:
        stored = Stored("float", 32, 0, 1)
        return FrameInfo(size, np.dtype("f4"), "F", 0, stored, encoding=Encoding("pfm"))
    maxval = int(header["maxval"] or 1)
    if not 0 < maxval < 1 << 16:
        raise PoolError(f"its maxval is {maxval}", "it must be from 1 to 65535")
    mode = "1" if header["bits"] else {255: "L", 65535: "I;16"}.get(maxval, "L;M")
    if header["samples"] in (b"3", b"6"):
        mode, channels = {255: "RGB", 65535: "RGB;16"}.get(maxval, "RGB;M"), 3
    dtype = np.dtype(bool if header["bits"] else np.uint8 if maxval < 256 else np.uint16)
    shape = (*size, 3) if channels == 3 else size
    stored = Stored("unsigned", maxval.bit_length(), maxval, channels)
    return FrameInfo(shape, dtype, mode, maxval, stored, encoding=Encoding("pnm"))


def _plain(stream: BinaryIO, begin: int, info: FrameInfo) -> NDArray[Any]:
    """Parse all samples from text; the bits of a PBM need no white space between them.

    Raises:
        PoolError: a sample is missing, out of range, or not a number.
    """
    stream.seek(begin)
    text = COMMENT.sub(b"", stream.read())
    count = math.prod(info.shape)
    # An iterator is used because a list of all words would take much memory.
    words = re.finditer(rb"\S" if info.mode == "1" else rb"\S+", text)
    try:
        samples = np.fromiter((int(word[0]) for word in islice(words, count)), np.uint32)
    except (ValueError, OverflowError) as fault:
        raise PoolError(f"a sample is no whole number: {fault}", "is the file damaged?") from None
    if samples.size < count:
        raise _too_short(samples.size, info)
    _check_range(samples, info)
    samples = samples.reshape(info.shape)
    return np.equal(samples, 0) if info.mode == "1" else samples.astype(info.dtype)


def _check_range(samples: NDArray[Any], info: FrameInfo) -> None:
    """Refuse samples above maxval.

    Raises:
        PoolError: there is such a sample.
    """
    if (most := samples.max()) > info.maxval:
        raise PoolError(f"a sample is {most}, above maxval {info.maxval}", "is the file damaged?")


def _too_short(found: int, info: FrameInfo) -> PoolError:
    """Return the error for a file in which samples are missing."""
    return PoolError(
        f"it ends after {found} of {math.prod(info.shape)} samples", "is the file complete?"
    )
