"""PBM, PGM, PPM and PFM: headers, rows and samples by ourselves, of any maxval.

Pillow would rescale samples of another maxval than 255 and 65535, and round some of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, FrameInfo, Metadata, Stored, full_scale

SPACE: Final = rb"(?:\s|#[^\r\n]*[\r\n])+"
HEADER: Final = re.compile(
    rb"P(?:(?P<bits>[14])|(?P<samples>[2356])|(?P<floats>f))%b(?P<width>\d{1,10})"
    rb"%b(?P<height>\d{1,10})(?(samples)%b(?P<maxval>\d{1,10}))"
    rb"(?(floats)%b(?P<scale>[-+.\deE]+))\s" % ((SPACE,) * 4)
)
HEAD_BYTES, MORE_BYTES = 1 << 12, 1 << 16
"""As much as is read for the header: usually, and besides where comments make it long."""

COMMENT: Final = re.compile(rb"#[^\r\n]*")
WORD: Final = re.compile(rb"\S+")
WHITE_SPACE: Final = b" \t\n\r\v\f"


class _Header(NamedTuple):
    """What stands before the samples: see pbm(5), pgm(5), ppm(5) and pfm(5) of Netpbm.

    Attributes:
        kind: the character behind the P.
        width: pixels a row.
        height: rows.
        maxval: full scale; 0 for floats.
        order: "<" or ">", the byte order of samples of several bytes.
        begin: where the samples begin.
    """

    kind: bytes
    width: int
    height: int
    maxval: int
    order: str
    begin: int

    @property
    def is_bilevel(self) -> bool:
        """Whether samples are single bits."""
        return self.kind in b"14"

    @property
    def is_plain(self) -> bool:
        """Whether samples are decimal numbers."""
        return self.kind in b"123"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a sample in the file; bits come eight to a byte."""
        kind = "u1" if self.maxval < 256 else "u2"
        return np.dtype(f"{self.order}f4" if self.kind == b"f" else self.order + kind)

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        return (self.height, self.width, *((3,) if self.kind in b"36" else ()))

    @property
    def row_bytes(self) -> int:
        """The bytes of a row, where it is not plain."""
        if self.is_bilevel:
            return -(-self.width // 8)
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def mode(self) -> str:
        """The mode of the picture."""
        if self.is_bilevel or self.kind == b"f":
            return "1" if self.is_bilevel else "F"
        depth = {255: "", 65535: ";16"}.get(self.maxval, ";M")
        if len(self.shape) == 3:
            return f"RGB{depth}"
        return "I;16" if depth == ";16" else f"L{depth}"


def read(stream: BinaryIO, limits: Limits) -> PnmReader:
    """Open a picture of the family."""
    header = _read_header(stream)
    limits.check(*header.shape)
    _check_length(stream, header)
    dtype = np.dtype(bool) if header.is_bilevel else header.dtype.newbyteorder("=")
    channels = 3 if len(header.shape) == 3 else 1
    if dtype.kind == "f":
        stored = Stored("float", 32, 0, channels)
    else:
        stored = Stored("unsigned", header.maxval.bit_length(), header.maxval, channels)
    name = "pfm" if dtype.kind == "f" else "pnm"
    info = FrameInfo(
        header.shape, dtype, header.mode, header.maxval, stored, encoding=Encoding(name)
    )
    return PnmReader(stream, header, info)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> PnmWriter:
    """Begin to write a picture of the family, in its binary form."""
    return PnmWriter(file, row, saving)


class PnmReader:
    """A picture that is read; what follows it in the file is ignored."""

    count = 1

    def __init__(self, stream: BinaryIO, header: _Header, info: FrameInfo) -> None:
        """Keep what the header says."""
        self.format = info.encoding.format
        self._stream, self._header, self._info = stream, header, info

    def frames(self) -> Iterator[PnmFrame]:
        """Yield the picture."""
        yield PnmFrame(self._stream, self._header, self._info)


class PnmFrame:
    """The picture; rows are read from the file when they are asked for, plain ones all at once."""

    def __init__(self, stream: BinaryIO, header: _Header, info: FrameInfo) -> None:
        """Keep where the samples are."""
        self.info = info
        self._stream, self._header = stream, header
        self._plain: NDArray[Any] | None = None

    def metadata(self) -> Metadata:
        """Return nothing: there is none."""
        return Metadata()

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows.

        Raises:
            PoolError: a sample is missing, out of range, or no number.
        """
        if self._header.is_plain:
            if self._plain is None:
                self._plain = self._read_plain()
            return self._plain[start:stop]
        rows = self._read_binary(start, stop)
        if self.info.maxval < full_scale(rows.dtype) and rows.max() > self.info.maxval:
            raise _above(self.info.maxval)
        return rows

    def _read_binary(self, start: int, stop: int) -> NDArray[Any]:
        """Read some rows; those of a PFM stand from the bottom up."""
        header, is_float = self._header, self.info.mode == "F"
        first = header.height - stop if is_float else start
        self._stream.seek(header.begin + first * header.row_bytes)
        octets = self._stream.read((stop - start) * header.row_bytes)
        if header.is_bilevel:
            packed = np.frombuffer(octets, np.uint8).reshape(stop - start, -1)
            bits = np.unpackbits(packed, axis=1, count=header.width)
            return np.equal(bits, 0)
        rows = np.frombuffer(octets, header.dtype).reshape(stop - start, *header.shape[1:])
        rows = rows.astype(self.info.dtype, copy=False)
        return rows[::-1] if is_float else rows

    def _read_plain(self) -> NDArray[Any]:
        """Read all samples from the text."""
        header, count = self._header, math.prod(self.info.shape)
        self._stream.seek(header.begin)
        text = COMMENT.sub(b"", self._stream.read())
        samples = (_digits if header.is_bilevel else _numbers)(text, count)
        if samples.size < count:
            raise _too_short(samples.size, count)
        if samples.max() > header.maxval:
            raise _above(header.maxval)
        if samples.min() < 0:
            raise PoolError("a sample is negative", "is the file sound?")
        samples = samples.reshape(header.shape)
        return np.equal(samples, 0) if header.is_bilevel else samples.astype(self.info.dtype)


class PnmWriter:
    """A picture that is written, band by band."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Keep what every writer is given."""
        self._file, self._row, self._strip = file, row, saving.strip
        self._notes: list[str] = []
        self._mode, self._stored, self._maxval = "", "", 0
        self._upwards: list[bytes] = []

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header."""
        _, self._notes = carried(metadata, self._row, info.mode, strip=self._strip)
        self._mode, self._stored = info.mode, self._row.modes[info.mode]
        self._maxval = info.maxval if self._stored == self._mode else 255
        kind = {"1": "4", "F": "f"}.get(self._stored, "6" if self._stored[:3] == "RGB" else "5")
        scale = {"4": "", "f": "-1.0\n"}.get(kind, f"{self._maxval}\n")
        height, width = info.shape[:2]
        self._file.write(f"P{kind}\n{width} {height}\n{scale}".encode())

    def rows(self, band: NDArray[Any]) -> None:
        """Write the next rows; those of a PFM are kept, because its last row comes first."""
        if self._stored == "F":
            self._upwards.append(band[::-1].astype("<f4").tobytes())
        elif self._stored == "1":
            self._file.write(np.packbits(~band, axis=1).tobytes())
        else:
            self._file.write(self._widened(band).tobytes())

    def finish(self) -> list[str]:
        """Write what was kept, and return the notes."""
        for rows in reversed(self._upwards):
            self._file.write(rows)
        return self._notes

    def discard(self) -> None:
        """Forget what was kept."""
        self._upwards.clear()

    def _widened(self, band: NDArray[Any]) -> NDArray[Any]:
        """Return samples as they are stored, in as many channels."""
        if self._mode == "1":
            band = band * np.uint8(255)
        if self._stored == "RGB" and band.ndim == 2:
            band = np.repeat(band[..., None], 3, axis=2)
        return band.astype(np.uint8 if self._maxval < 256 else ">u2", copy=False)


def _read_header(stream: BinaryIO) -> _Header:
    """Read the header.

    Raises:
        PoolError: there is none, or its numbers are out of range.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    match = HEADER.match(head) or HEADER.match(head + stream.read(MORE_BYTES))
    if match is None:
        raise PoolError("its header can't be read", "is the file sound?")
    kind = match["bits"] or match["samples"] or match["floats"]
    width, height = int(match["width"]), int(match["height"])
    if not width or not height:
        raise PoolError("it has no pixels", "is the file sound?")
    maxval, order = int(match["maxval"] or kind in b"14"), ">"
    if match["samples"] and not 0 < maxval < 1 << 16:
        raise PoolError(f"its maxval is {maxval}", "it must be from 1 to 65535")
    if match["floats"]:
        try:
            scale = float(match["scale"])
        except ValueError:
            scale = 0
        if not scale or not math.isfinite(scale):
            raise PoolError("its scale is no number other than 0", "is the file sound?")
        order = "<" if scale < 0 else ">"
    return _Header(kind, width, height, maxval, order, match.end())


def _check_length(stream: BinaryIO, header: _Header) -> None:
    """Refuse a binary file that is too short.

    Raises:
        PoolError: samples are missing.
    """
    there = stream.seek(0, 2) - header.begin
    if not header.is_plain and there < header.height * header.row_bytes:
        samples_a_row = math.prod(header.shape[1:])
        found = there * samples_a_row // header.row_bytes
        raise _too_short(found, header.height * samples_a_row)


def _digits(text: bytes, count: int) -> NDArray[np.int32]:
    """Return the first digits of a text, which need no white space between them."""
    digits = text.translate(None, WHITE_SPACE)[:count]
    return np.frombuffer(digits, np.uint8).astype(np.int32) - ord("0")


def _numbers(text: bytes, count: int) -> NDArray[np.int32]:
    """Return the first numbers of a text, one by one: a list of all would take much memory."""
    words = (match[0] for match in WORD.finditer(text))
    try:
        return np.fromiter(map(int, islice(words, count)), np.int32)
    except (ValueError, OverflowError) as fault:
        raise PoolError(f"a sample is no number: {fault}", "is the file sound?") from None


def _too_short(found: int, count: int) -> PoolError:
    """Return the refusal of a file in which samples are missing."""
    return PoolError(f"it ends after {found} of {count} samples", "is the file complete?")


def _above(maxval: int) -> PoolError:
    """Return the refusal of a sample that is out of range."""
    return PoolError(f"a sample is above the maxval of {maxval}", "is the file sound?")
