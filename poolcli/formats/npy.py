"""NPY: arrays in NumPy's own format, without pickles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.carried import carried
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Stored, full_scale

KINDS: Final[dict[str, Literal["unsigned", "signed", "float"]]] = {
    "b": "unsigned",
    "u": "unsigned",
    "i": "signed",
    "f": "float",
}
PLAIN_MODES: Final = ("1", "L", "RGB", "I;16", "RGB;16", "I", "F")
"""The modes of arrays of their type and channels: no channel is taken for alpha."""


def read(stream: BinaryIO, limits: Limits) -> NpyReader:
    """Open an array."""
    return NpyReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> NpyWriter:
    """Begin to write an array."""
    return NpyWriter(file, row, saving)


class NpyReader:
    """An array in a file; as a frame it is the only one, and valid as long as the file is open."""

    count = 1
    format = "npy"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        """Read the header, and check it against the bytes that follow.

        Raises:
            PoolError: it is no single array of numbers of 2 or 3 axes, not all of it is there, or
                it is too large.
            ValueError: the header is broken.
        """
        version = npy_format.read_magic(stream)
        read_header = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, self._is_fortran, dtype = read_header(stream)
        self._stream, self._begin = stream, stream.tell()
        _check(shape, dtype, stream.seek(0, 2) - self._begin)
        limits.check(*shape)
        channels = shape[2] if len(shape) == 3 else 1
        bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize
        maxval = full_scale(dtype)
        self.info = FrameInfo(
            shape=shape,
            dtype=dtype,
            mode=_mode(shape, dtype),
            maxval=maxval,
            stored=Stored(KINDS[dtype.kind], bits, maxval, channels),
            encoding=Encoding("npy"),
        )

    def frames(self) -> Iterator[NpyReader]:
        """Yield the array."""
        yield self

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows, read from the file; of columns in Fortran's order it reads all."""
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
        """Return nothing: an array stands alone."""
        return Metadata()


class NpyWriter:
    """An array that is written; its rows go on to the file at once."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Write nothing yet."""
        self._file, self._row, self._saving = file, row, saving
        self._notes: list[str] = []

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the header."""
        self._dtype = info.dtype
        _, self._notes = carried(metadata, self._row, info.mode, strip=self._saving.strip)
        header = {
            "shape": info.shape,
            "fortran_order": False,
            "descr": npy_format.dtype_to_descr(info.dtype),
        }
        npy_format.write_array_header_1_0(self._file, header)

    def rows(self, band: NDArray[Any]) -> None:
        """Write some rows."""
        self._file.write(np.ascontiguousarray(band, self._dtype).data)

    def finish(self) -> list[str]:
        """Return what could not be held."""
        return self._notes

    def discard(self) -> None:
        """Do nothing: nothing is held."""


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    """Refuse what can't be pooled, or isn't followed by as many bytes as it asks for.

    Raises:
        PoolError: so it is.
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


def _mode(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """Return the mode of an array, which says nothing of its channels."""
    channels = shape[2] if len(shape) == 3 else 1
    if shape[2:] == (1,):
        return ARRAY
    for mode in PLAIN_MODES:
        if (MODES[mode].dtype, MODES[mode].channels) == (dtype.name, channels):
            return mode
    return ARRAY
