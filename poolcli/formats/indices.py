"""Read and write the indices of pooled pixels: several arrays in one file in NumPy's format NPZ.

That format is a ZIP archive of NPY files. Pickled objects are never read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits
from poolcli.formats.refusals import Refusing

START: Final = b"PK"
"""The first bytes of a ZIP archive."""

INDICES: Final = "indices"
OTHERS: Final = {
    "input_shape": "i",
    "size": "i",
    "stride": "i",
    "padding": "i",
    "dilation": "i",
    "ceil_mode": "b",
}
"""The arrays beside the indices, and the kinds of their types."""

MOST_ELEMENTS: Final = 8
"""More than any of the arrays beside the indices has."""

NOT_OURS: Final = "it holds no indices of a pooled picture"
REMEDY: Final = "give a file that --indices has written"


class Indices(NamedTuple):
    """The indices of a pooled picture, and how it was pooled.

    Attributes:
        indices: int64, of the shape of the pooled picture: row · W + column of each value.
        input_shape: the shape of the picture that was pooled, (H, W) or (H, W, C).
        size: (height, width) of the window; empty if the size of the output was given.
        stride: likewise.
        padding: ((top, bottom), (left, right)).
        dilation: (height, width).
    """

    indices: NDArray[np.int64]
    input_shape: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]


class IndicesWriter:
    """Write indices band by band, without compression: pooling is not much slower by it."""

    def __init__(self, file: BinaryIO, shape: tuple[int, ...]) -> None:
        """Begin the array of indices of a shape."""
        self._archive = ZipFile(file, "w")
        self._member = self._archive.open(_entry(INDICES), "w", force_zip64=True)
        header = {"shape": shape, "fortran_order": False, "descr": "<i8"}
        npy_format.write_array_header_1_0(self._member, header)

    def rows(self, band: NDArray[np.int64]) -> None:
        """Write the indices of some rows."""
        self._member.write(np.ascontiguousarray(band, "<i8").data)

    def finish(self, others: Mapping[str, Any]) -> None:
        """Write the arrays of `OTHERS` and the end of the file."""
        self._member.close()
        for name, kind in OTHERS.items():
            with self._archive.open(_entry(name), "w") as member:
                array = np.array(others[name], "<i8" if kind == "i" else np.bool_)
                npy_format.write_array(member, array, version=(1, 0), allow_pickle=False)
        self._archive.close()

    def discard(self) -> None:
        """End the archive after a failure: a `ZipFile` that is not closed complains later."""
        self._member.close()
        self._archive.close()


def check_start(start: bytes) -> bool:
    """Refuse a stream that does not begin like a ZIP archive; return False: it is read whole.

    Raises:
        PoolError: it is another file.
    """
    if not start.startswith(START):
        raise PoolError(NOT_OURS, REMEDY)
    return False


def read(stream: BinaryIO, limits: Limits) -> Indices:
    """Read the indices of a file; whether they lie in the picture is not checked.

    Args:
        stream: seekable.
        limits: the limits on the pictures, pooled and not.

    Raises:
        PoolError: it is no such file, is damaged, or belongs to a picture that is too large.
    """
    check_start(stream.read(len(START)))
    with Refusing("it can't be read: "), ZipFile(stream) as archive:
        names = {entry.filename for entry in archive.infolist()}
        if not names >= {f"{name}.npy" for name in (INDICES, *OTHERS)}:
            raise PoolError(NOT_OURS, REMEDY)
        others = {name: _member(archive, name, kind) for name, kind in OTHERS.items()}
        shape = tuple(others["input_shape"].tolist())
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise PoolError(f"its input_shape is {shape}", REMEDY)
        _check_windows(others)
        limits.check(*shape)
        indices = _member(archive, INDICES, "i", limits)
    return Indices(
        indices,
        shape,
        size=tuple(others["size"].tolist()),
        stride=tuple(others["stride"].tolist()),
        padding=tuple((before, after) for before, after in others["padding"].tolist()),
        dilation=tuple(others["dilation"].tolist()),
    )


def _check_windows(others: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a size, stride, padding or dilation that no window has.

    Raises:
        PoolError: one is of the wrong shape, or out of range.
    """
    for name in ("size", "stride", "dilation", "padding"):
        found = others[name]
        shapes = {"dilation": ((2,),), "padding": ((2, 2),)}.get(name, ((2,), (0,)))
        if found.shape not in shapes or found.min(initial=1) < (name != "padding"):
            raise PoolError(f"its {name} is {found.tolist()}", REMEDY)
    if others["size"].shape != others["stride"].shape:
        raise PoolError("it has only one of size and stride", REMEDY)


def _member(archive: ZipFile, name: str, kind: str, limits: Limits | None = None) -> NDArray[Any]:
    """Read one array of an archive; memory is taken only for as much as its header may state.

    Args:
        archive: the file.
        name: the name of the array.
        kind: the kind of its type.
        limits: the limits on its shape; None for one of at most `MOST_ELEMENTS`.

    Raises:
        PoolError: it is of another type, too large, or not complete.
    """
    with archive.open(f"{name}.npy") as member:
        version = npy_format.read_magic(member)
        read_header = npy_format.read_array_header_1_0
        if version != (1, 0):
            read_header = npy_format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(member)
        if dtype.kind != kind or dtype.itemsize > 8 or min(shape, default=1) < 0:
            raise PoolError(f"its array {name} is of type {dtype}", REMEDY)
        if limits is None and math.prod(shape) > MOST_ELEMENTS:
            raise PoolError(f"its array {name} has the shape {shape}", REMEDY)
        if limits is not None:
            if len(shape) not in (2, 3):
                raise PoolError(f"its array {name} has the shape {shape}", REMEDY)
            limits.check(*shape)
        size = math.prod(shape) * dtype.itemsize
        octets = member.read(size)
        if len(octets) != size or member.read(1):
            raise PoolError(f"its array {name} has not as many bytes as its header states", REMEDY)
    flat = np.frombuffer(octets, dtype)
    array = flat.reshape(shape, order="F" if is_fortran else "C")
    return array.astype(np.int64 if kind == "i" else np.bool_, copy=False)


def _entry(name: str) -> ZipInfo:
    """Return the entry of an array. It has no time, so that equal indices give equal files."""
    return ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
