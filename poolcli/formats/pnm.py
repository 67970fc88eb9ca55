"""Read and write PBM, PGM, PPM, PAM and PFM of any maxval.

Pillow is not used, because it rescales and rounds samples unless maxval is 255 or 65535.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import START_BYTES, known
from poolcli.formats.contract import DecodedReader, FrameWriter, Limits
from poolcli.formats.pnm_header import BINARY, PBM, PLAIN, SPACE, Header, header_of, read_header
from poolcli.formats.pnm_plain import LEFT_OUT, check_range, plain_samples, too_short
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import MODES, FrameInfo, Metadata, full_scale

MAGIC_BYTES: Final = 2


def read(stream: BinaryIO, limits: Limits) -> DecodedReader | PnmReader:
    """Open a PBM, PGM, PPM, PAM or PFM; a stream that doesn't seek is read on demand."""
    magic = stream.read(MAGIC_BYTES)
    header = _checked_header(stream, magic, limits)
    if magic in PLAIN:
        warnings: list[str] = []
        decode = partial(plain_samples, stream, stream.tell(), header.info, warnings)
        return DecodedReader(header.info, decode, lambda: Metadata(warnings=warnings))
    return PnmReader(stream, header, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> PnmWriter:
    """Return the writer of a PBM, PGM, PPM, PAM or PFM in binary form."""
    return PnmWriter(file, row, saving)


class Piece(NamedTuple):
    """One picture of a file: its header, and the position of its first sample."""

    header: Header
    begin: int


class PnmReader:
    """The reader of one or several binary pictures in a row.

    In a file their number is known, since each header states how many bytes follow. In a pipe it
    is not: there each picture is read when its turn comes.
    """

    def __init__(self, stream: BinaryIO, header: Header, limits: Limits) -> None:
        """Find the pictures of a file.

        Args:
            stream: the file, behind the first header.
            header: the first header.
            limits: the limits on the size of a picture.

        Raises:
            PoolError: samples of the first picture are missing.
        """
        self.format = header.info.encoding.format
        self.count: int | None = None
        self._stream, self._first, self._limits = stream, header, limits
        self._warnings: list[str] = []
        self._pieces: list[Piece] = []
        self._fault: PoolError | None = None
        if stream.seekable():
            self._find_pieces()
            self.count = len(self._pieces) + (self._fault is not None)

    def frames(self) -> Iterator[BinaryFrame]:
        """Yield the pictures in order.

        Raises:
            PoolError: the next picture is damaged.
        """
        if self.count is None:
            yield from self._piped()
        for header, begin in self._pieces:
            read = partial(self._read_at, begin)
            yield BinaryFrame(header, read, self._warnings)
        if self._fault is not None:
            raise self._fault

    def _find_pieces(self) -> None:
        """Find all pictures; one that is damaged ends the list, and fails only if it is taken."""
        header: Header | None = self._first
        begin, size = self._stream.tell(), self._stream.seek(0, 2)
        try:
            while header is not None:
                end = begin + header.octets
                if end > size:
                    raise too_short((size - begin) // header.sample.itemsize, header.info)
                self._pieces.append(Piece(header, begin))
                self._stream.seek(end)
                header = self._next_header()
                begin = self._stream.tell()
        except PoolError as fault:
            if not self._pieces:
                raise
            self._fault = fault

    def _piped(self) -> Iterator[BinaryFrame]:
        """Yield the pictures of a pipe; samples that nobody has asked for are skipped."""
        header: Header | None = self._first
        while header is not None:
            samples = PipedSamples(self._stream, header)
            yield BinaryFrame(header, samples.read, self._warnings)
            samples.load()
            header = self._next_header()

    def _next_header(self) -> Header | None:
        """Return the header of the next picture, or None at the end.

        Raises:
            PoolError: it is damaged, or a picture of another format follows in a pipe.
        """
        magic = self._stream.read(MAGIC_BYTES)
        if self._first.magic in BINARY and magic in BINARY:
            return _checked_header(self._stream, magic, self._limits)
        rest = magic + self._stream.read(START_BYTES - MAGIC_BYTES)
        is_pipe = not self._stream.seekable()
        if is_pipe and (other := known(rest)) is not None:
            raise PoolError(
                f"a picture in {other.title} follows in the stream", "send pictures of one format"
            )
        if rest.strip(SPACE):
            self._warnings.append(LEFT_OUT)
        return None

    def _read_at(self, begin: int, offset: int, count: int) -> bytes:
        """Return some bytes of the samples that begin at a position."""
        self._stream.seek(begin + offset)
        return self._stream.read(count)


class PipedSamples:
    """The samples of a picture in a pipe, which are read together when the first are needed."""

    def __init__(self, stream: BinaryIO, header: Header) -> None:
        """Keep the arguments; nothing is read yet."""
        self._stream, self._header = stream, header
        self._octets: bytes | None = None

    def load(self) -> bytes:
        """Return all bytes.

        Raises:
            PoolError: the pipe has ended before.
        """
        if self._octets is None:
            header, octets = self._header, self._stream.read(self._header.octets)
            if len(octets) < header.octets:
                raise too_short(len(octets) // header.sample.itemsize, header.info)
            self._octets = octets
        return self._octets

    def read(self, offset: int, count: int) -> memoryview:
        """Return some bytes."""
        return memoryview(self.load())[offset : offset + count]


class BinaryFrame:
    """A picture whose rows are read when they are asked for."""

    def __init__(
        self,
        header: Header,
        read: Callable[[int, int], bytes | memoryview],
        warnings: list[str],
    ) -> None:
        """Keep the arguments.

        Args:
            header: the header.
            read: returns bytes of the samples: from an offset, so many.
            warnings: the warnings on the whole file, which grow until its end is read.
        """
        self.info = header.info
        self._header, self._read, self._warnings = header, read, warnings

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from start to stop; a PFM stores them from bottom to top.

        Raises:
            PoolError: a sample is above maxval.
        """
        info, row = self.info, self._header.row
        first = info.shape[0] - stop if info.maxval == 0 else start
        rows = np.frombuffer(self._read(first * row.itemsize, (stop - start) * row.itemsize), row)
        if self._header.magic == PBM:
            return np.equal(np.unpackbits(rows, axis=1, count=info.shape[1]), 0)
        if info.maxval < full_scale(rows.dtype.newbyteorder("=")):
            check_range(rows, info)
        rows = rows.astype(info.dtype, copy=False)
        return rows[::-1] if info.maxval == 0 else rows

    def metadata(self) -> Metadata:
        """Return the warnings; there is no other metadata."""
        return Metadata(warnings=self._warnings)


class PnmWriter(FrameWriter):
    """The writer of a PBM, PGM, PPM, PAM or PFM; it writes each band of rows immediately."""

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header."""
        self.held(info, metadata)
        self._stored = self.row.modes[info.mode]
        self._maxval = info.maxval if self._stored == info.mode else 255
        self.file.write(header_of(info, self._stored, self._maxval, self.row.name))
        # The rows of a PFM are stored from bottom to top: the first band is the end of the file.
        self._end = self.file.tell() + math.prod(info.shape) * info.dtype.itemsize

    def rows(self, band: NDArray[Any]) -> None:
        """Write some rows."""
        octets = self._packed(band)
        if not self._maxval:
            self._end -= octets.nbytes
            self.file.seek(self._end)
        self.file.write(octets.data)

    def finish(self) -> list[str]:
        """Return the notes."""
        return list(self.notes)

    def _packed(self, band: NDArray[Any]) -> NDArray[Any]:
        """Return rows as they are stored."""
        stored, maxval = self._stored, self._maxval
        if not maxval:
            return np.ascontiguousarray(band[::-1], "<f4")
        if stored == "1" and self.row.name != "pam":
            return np.packbits(~band, axis=1)
        if band.dtype == bool:
            band = band * np.uint8(maxval)
        if MODES[stored].channels == 3 and band.ndim == 2:
            band = np.repeat(band[..., np.newaxis], 3, axis=2)
        return np.ascontiguousarray(band, np.uint8 if maxval < 256 else ">u2")


def _checked_header(stream: BinaryIO, magic: bytes, limits: Limits) -> Header:
    """Return the header of a picture, behind its magic letters.

    Raises:
        PoolError: it is damaged, or the picture is empty or too large.
    """
    header = read_header(stream, magic)
    limits.check(*header.info.shape)
    if not all(header.info.shape):
        raise PoolError("it has no pixels", "is the file damaged?")
    return header
