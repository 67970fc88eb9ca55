"""Read and write arrays in NumPy's format NPY, without pickled objects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Stored, full_scale

KINDS: Final[dict[str, Any]] = {"b": "unsigned", "u": "unsigned", "i": "signed", "f": "float"}
CHANNELS: Final = {(): ("1", "L", "I;16", "I", "F"), (3,): ("RGB", "RGB;16")}
"""The modes of arrays, by their shape after (H, W); the last channel is never taken for alpha."""

PLAIN_MODES: Final = {
    (MODES[mode].dtype, axes): mode for axes, modes in CHANNELS.items() for mode in modes
}


def read(stream: BinaryIO, limits: Limits) -> NpyReader:
    """Open an array."""
    return NpyReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> NpyWriter:
    """Return the writer of an array."""
    return NpyWriter(file, row, saving)


class NpyReader:
    """An array in a file: both the reader and its only frame, valid while the file is open."""

    count = 1
    format = "npy"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read the header, and check that the right number of bytes follows.

        Raises:
            PoolError: the array can't be pooled, is incomplete or is too large.
            ValueError: the header is damaged.
        """
        is_oldest = npy_format.read_magic(stream) == (1, 0)  # its headers are at most 64 KB long
        read_1, read_2 = npy_format.read_array_header_1_0, npy_format.read_array_header_2_0
        shape, self._is_fortran, dtype = (read_1 if is_oldest else read_2)(stream)
        self._stream, self._begin = stream, stream.tell()
        _check(shape, dtype, stream.seek(0, 2) - self._begin)
        limits.check(*shape)
        bits, maxval = 1 if dtype.kind == "b" else 8 * dtype.itemsize, full_scale(dtype)
        stored = Stored(KINDS[dtype.kind], bits, maxval, math.prod(shape[2:]))
        mode = PLAIN_MODES.get((dtype.name, shape[2:]), ARRAY)
        self.info = FrameInfo(shape, dtype, mode, maxval, stored, encoding=Encoding(self.format))

    def frames(self) -> Iterator[NpyReader]:
        """Yield the array."""
        yield self

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from start to stop; an array in Fortran order is read whole."""
        if self._is_fortran:
            self._stream.seek(self._begin)
            flat = np.frombuffer(self._stream.read(), self.info.dtype)
            return flat.reshape(self.info.shape, order="F")[start:stop]
        others = self.info.shape[1:]
        row_bytes = math.prod(others) * self.info.dtype.itemsize
        self._stream.seek(self._begin + start * row_bytes)
        octets = self._stream.read((stop - start) * row_bytes)
        return np.frombuffer(octets, self.info.dtype).reshape(stop - start, *others)

    def metadata(self) -> Metadata:
        """Return no metadata: the format has none."""
        return Metadata()


class NpyWriter:
    """The writer of an array; it writes each band of rows immediately."""

    warnings = ()

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Keep the arguments."""
        self._file, self._row, self._saving = file, row, saving

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header."""
        self._dtype = info.dtype
        _, self._notes = carried(metadata, self._row, info.mode, strip=self._saving.strip)
        header = {"shape": info.shape, "fortran_order": False, "descr": info.dtype.str}
        npy_format.write_array_header_1_0(self._file, header)

    def rows(self, band: NDArray[Any]) -> None:
        """Write some rows."""
        self._file.write(np.ascontiguousarray(band, self._dtype).data)

    def finish(self) -> list[str]:
        """Return the notes on lost metadata."""
        return self._notes

    def discard(self) -> None:
        """Do nothing: no memory is held."""


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    """Refuse an array that can't be pooled, or whose size differs from its header.

    Raises:
        PoolError: the dtype, the shape or the number of bytes is wrong.
    """
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise PoolError(f"its dtype is {dtype}", "save bool, integers or floats up to 64 bits")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise PoolError(f"its shape is {shape}", "save (H, W) or (H, W, C)")
    expected = dtype.itemsize * math.prod(shape)
    if found != expected:
        raise PoolError(
            f"it has {found} bytes of elements, its header asks for {expected}",
            "is it one complete array?",
        )
