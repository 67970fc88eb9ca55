"""Read and write arrays in NumPy's format NPY, without pickled objects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import FrameWriter, Limits, Stack
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.layout import FEW, Layout, Pictures, unlike_hwc
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Stored, full_scale

KINDS: Final[dict[str, Any]] = {"b": "unsigned", "u": "unsigned", "i": "signed", "f": "float"}
CHANNELS: Final = {(): ("1", "L", "I;16", "I", "F"), (3,): ("RGB", "RGB;16", "RGB;F")}
"""The modes of arrays, by their shape after (H, W); the last channel is never taken for alpha."""

PLAIN_MODES: Final = {
    (MODES[mode].dtype, axes): mode for axes, modes in CHANNELS.items() for mode in modes
}


def read(stream: BinaryIO, limits: Limits, axes: str | None = None) -> NpyReader:
    """Open an array whose axes have these letters, as in `Layout`; by default (H, W[, C])."""
    return NpyReader(stream, limits, axes)


def write(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> NpyWriter:
    """Return the writer of an array."""
    return NpyWriter(file, row, saving, frames)


class NpyReader:
    """An array in a file, as a sequence of pictures; usually it is one picture."""

    format = "npy"

    def __init__(self, stream: BinaryIO, limits: Limits, axes: str | None = None) -> None:
        """Read the header, and check that the right number of bytes follows.

        Raises:
            PoolError: the array can't be pooled, is incomplete or is too large.
            ValueError: the header is damaged.
        """
        is_oldest = npy_format.read_magic(stream) == (1, 0)  # its headers are at most 64 KB long
        read_1, read_2 = npy_format.read_array_header_1_0, npy_format.read_array_header_2_0
        shape, self._is_fortran, dtype = (read_1 if is_oldest else read_2)(stream)
        self._stream, self._begin = stream, stream.tell()
        layout = _checked(shape, dtype, stream.seek(0, 2) - self._begin, axes)
        self.pictures = Pictures(layout, shape)
        self.count, size = self.pictures.number, self.pictures.picture
        self._array: NDArray[Any] | None = None
        # Joining big-endian arrays returns native ones, so that all pixels are made native here.
        self._stored, dtype = dtype, dtype.newbyteorder("=")
        limits.check(*size)
        bits, maxval = 1 if dtype.kind == "b" else 8 * dtype.itemsize, full_scale(dtype)
        stored = Stored(KINDS[dtype.kind], bits, maxval, math.prod(size[2:]))
        mode = PLAIN_MODES.get((dtype.name, size[2:]), ARRAY)
        details = {} if axes is None else {"pictures": self.pictures}
        encoding = Encoding(self.format, details=details)
        self.info = FrameInfo(size, dtype, mode, maxval, stored, encoding=encoding)

    def frames(self) -> Iterator[NpyFrame]:
        """Yield the pictures."""
        for number in range(self.count):
            yield NpyFrame(self, number)

    def stack(self) -> Stack:
        """Return the number of planes; the last axis over which pictures are counted has them.

        Raises:
            PoolError: no axis has planes.
        """
        planes = self.pictures.layout.planes
        if planes is None:
            raise PoolError("no axis of the array has planes", "name it Z or D in --axes")
        return Stack(self.pictures.shape[planes])

    def rows(self, number: int, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from start to stop of a picture.

        Arrays in Fortran order, and those whose rows are not contiguous, are kept whole.
        """
        if self._is_fortran or not self.pictures.layout.in_blocks:
            outer, inner = self.pictures.layout.order(whole_pixels=True)
            array = self._whole().transpose(*outer, *inner)
            place = np.unravel_index(number, self.pictures.outer)
            picture: NDArray[Any] = array[tuple(map(int, place))]
            return picture[start:stop]
        blocks = [self._block(block, start, stop) for block in self.pictures.blocks(number)]
        return blocks[0] if blocks[0].ndim == len(self.info.shape) else np.stack(blocks, axis=-1)

    def _block(self, block: int, start: int, stop: int) -> NDArray[Any]:
        """Read some rows of a block of memory."""
        height, *others = self.pictures.block
        row_bytes = math.prod(others) * self.info.dtype.itemsize
        self._stream.seek(self._begin + (block * height + start) * row_bytes)
        octets = self._stream.read((stop - start) * row_bytes)
        return self._native(octets).reshape(stop - start, *others)

    def _whole(self) -> NDArray[Any]:
        """Return the whole array."""
        if self._array is None:
            self._stream.seek(self._begin)
            flat = self._native(self._stream.read())
            self._array = flat.reshape(self.pictures.shape, order="F" if self._is_fortran else "C")
        return self._array

    def _native(self, octets: bytes) -> NDArray[Any]:
        """Return elements in the byte order of the machine."""
        return np.frombuffer(octets, self._stored).astype(self.info.dtype, copy=False)


class NpyFrame(NamedTuple):
    """One picture of an array, valid while the file is open."""

    reader: NpyReader
    number: int

    @property
    def info(self) -> FrameInfo:
        """The contents of the header."""
        return self.reader.info

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop."""
        return self.reader.rows(self.number, start, stop)

    def metadata(self) -> Metadata:
        """Return no metadata: the format has none."""
        return Metadata()


class NpyWriter(FrameWriter):
    """The writer of an array; it writes each band of rows immediately.

    The axes stand in the order of the input, if that was an array with named axes. If its rows
    are not contiguous, the array is kept in memory until it is complete.
    """

    def __init__(self, file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> None:
        """Keep the arguments."""
        super().__init__(file, row, saving)
        self._frames = frames or 1
        self._number, self._filled = -1, 0
        self._array: NDArray[Any] | None = None

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header before the first picture, and begin the next one."""
        self._number, self._filled = self._number + 1, 0
        if self._number:
            return
        self._dtype = info.dtype
        self._pictures = _resulting(info, self._frames)
        shape = self._pictures.shape
        self.held(info, metadata)
        header = {"shape": shape, "fortran_order": False, "descr": info.dtype.str}
        npy_format.write_array_header_1_0(self.file, header)
        self._begin = self.file.tell()
        if not self._pictures.layout.in_blocks:
            self._array = np.empty(shape, info.dtype)

    def rows(self, band: NDArray[Any]) -> None:
        """Write some rows."""
        pictures, first = self._pictures, self._filled
        self._filled += len(band)
        if self._array is not None:
            outer, inner = pictures.layout.order(whole_pixels=True)
            place = tuple(map(int, np.unravel_index(self._number, pictures.outer)))
            self._array.transpose(*outer, *inner)[place][first : self._filled] = band
            return
        height, *others = pictures.block
        row_bytes = math.prod(others) * self._dtype.itemsize
        is_split = len(pictures.block) < len(pictures.picture)  # into a block for each channel
        parts = np.moveaxis(band, -1, 0) if is_split else band[None]
        for block, part in zip(pictures.blocks(self._number), parts, strict=True):
            self.file.seek(self._begin + (block * height + first) * row_bytes)
            self.file.write(np.ascontiguousarray(part, self._dtype).data)

    def finish(self) -> list[str]:
        """Write an array that was kept; return the notes on lost metadata."""
        if self._array is not None:
            self.file.write(self._array.data)
        return list(self.notes)

    def discard(self) -> None:
        """Release the memory."""
        self._array = None


def _resulting(info: FrameInfo, frames: int) -> Pictures:
    """Return the shape and the axes of the array that holds some pooled pictures."""
    source: Pictures | None = info.encoding.details.get("pictures")
    if info.encoding.format != NpyReader.format or source is None:
        return Pictures(Layout.of("HWC"[: len(info.shape)], info.shape), info.shape)
    layout = source.layout
    height, width = info.shape[:2]
    shape = layout.result_shape(source.shape, height, width, info.planes)
    result = Pictures(layout, shape)
    if frames == result.number:
        return result
    outer = layout.order(whole_pixels=True)[0]  # of one picture, which --frame has chosen
    return Pictures(layout, tuple(1 if at in outer else side for at, side in enumerate(shape)))


def _checked(shape: Any, dtype: np.dtype[Any], found: int, axes: str | None) -> Layout:
    """Refuse an array that can't be pooled, or whose size differs from its header.

    Returns:
        The meaning of its axes.

    Raises:
        PoolError: the dtype, the shape, the axes or the number of bytes is wrong.
    """
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise PoolError(f"its dtype is {dtype}", "save bool, integers or floats up to 64 bits")
    if len(shape) < 2 or min(shape) < 1:
        raise PoolError(f"its shape is {shape}", "save (H, W) or (H, W, C)")
    expected = dtype.itemsize * math.prod(shape)
    if found != expected:
        raise PoolError(
            f"it has {found} bytes of elements, its header asks for {expected}",
            "is it one complete array?",
        )
    if axes is not None:
        return Layout.of(axes, shape)
    if len(shape) > 3 or (len(shape) == 3 and shape[2] > FEW):
        raise unlike_hwc(shape, "--axes {axes}")
    return Layout.of("HWC"[: len(shape)], shape)
