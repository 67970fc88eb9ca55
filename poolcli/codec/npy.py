"""Arrays in NumPy's own format, without pickles."""

from __future__ import annotations

from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from poolcli.errors import PoolError

MAGIC: Final = npy_format.MAGIC_PREFIX


class Header(NamedTuple):
    """What a .npy file says before its elements."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    begin: int


def read_header(stream: BinaryIO) -> Header:
    """The header, checked against the bytes that follow.

    Raises:
        PoolError: it is no single array of numbers of 2 or 3 axes, or not all of it is there.
        ValueError: the header is broken.
    """
    stream.seek(0)
    version = npy_format.read_magic(stream)
    read = (
        npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read(stream)
    header = Header(shape, is_fortran, dtype, stream.tell())
    if header.dtype.kind not in "biuf" or header.dtype.itemsize > 8:
        raise PoolError(
            f"its dtype is {header.dtype}", "save bool, integers or floats up to 64 bits"
        )
    if len(header.shape) not in (2, 3) or min(header.shape) < 1:
        raise PoolError(f"its shape is {header.shape}", "save (H, W) or (H, W, C)")
    expected = header.dtype.itemsize
    for extent in header.shape:
        expected *= extent
    found = stream.seek(0, 2) - header.begin
    if found != expected:
        raise PoolError(
            f"it has {found} bytes of elements, its header asks for {expected}",
            "is it one complete array?",
        )
    return header


def read(stream: BinaryIO, header: Header) -> NDArray[Any]:
    """The array behind a header; read-only."""
    stream.seek(header.begin)
    flat = np.frombuffer(stream.read(), header.dtype)
    return flat.reshape(header.shape, order="F" if header.is_fortran else "C")


def write(array: NDArray[Any]) -> BytesIO:
    """The complete file."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer
