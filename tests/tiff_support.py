"""Makers of TIFFs: samples of any type through tifffile, and tags made by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tests.exif_support import LONG, Entry, number

Branch = tuple[int, list[Any]]
"""A tag that points to a directory, and what is in it."""


def samples(dtype: str, channels: int, shape: tuple[int, int] = (18, 22)) -> NDArray[Any]:
    """Noise with the extremes of its type."""
    rng, kind = np.random.default_rng(channels), np.dtype(dtype)
    whole = shape if channels == 1 else (*shape, channels)
    if kind.kind == "f":
        return (rng.normal(size=whole) * 100).astype(kind)
    limits = np.iinfo(kind)
    array = rng.integers(limits.min, limits.max, whole, kind, endpoint=True)
    array[0, 0], array[0, 1] = limits.min, limits.max
    return array


def tiff_of(
    *arrays: NDArray[Any], byteorder: Any = None, bigtiff: bool = False, **more: Any
) -> bytes:
    """Pages as tifffile writes them, their samples described as they are."""
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=byteorder, bigtiff=bigtiff) as file:
        for array in arrays:
            described: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
            if array.ndim == 3 and "planarconfig" not in more:
                described["planarconfig"] = "contig"
            file.write(array, contiguous=False, software=False, **(described | more))
    return buffer.getvalue()


def directory(entries: Iterable[Entry | Branch], at: int) -> bytes:
    """One directory, little-endian, and the values and directories that it points to."""
    entries = sorted(entries, key=lambda one: one[0])
    table, values = struct.pack("<H", len(entries)), b""
    for one in entries:
        value: tuple[Any, ...] = one[1:]
        place = at + 2 + 12 * len(entries) + 4 + len(values)
        if len(value) == 1:
            value = (LONG, 1, directory(value[0], place))
        kind, count, raw = value
        if len(raw) > 4:
            values, raw = values + raw + b"\0" * (len(raw) % 2), struct.pack("<I", place)
        table += struct.pack("<HHI", one[0], kind, count) + raw.ljust(4, b"\0")
    return table + bytes(4) + values


def block_of(*entries: Entry | Branch) -> bytes:
    """EXIF as metadata holds it."""
    return b"II*\0\x08\0\0\0" + directory(entries, 8)


def tiff_with(bits: int, *more: Entry) -> bytes:
    """An uncompressed TIFF of 40×60 pixels in RGB, with more tags."""
    pixels = np.arange(40 * 60 * 3).astype(f"<u{bits // 8}").tobytes()
    layout = {256: 60, 257: 40, 259: 1, 262: 2, 277: 3, 278: 40, 279: len(pixels)}
    entries = [number(tag, value, LONG) for tag, value in layout.items()]
    entries += [(258, 3, 3, struct.pack("<3H", bits, bits, bits)), *more]
    begin = 8 + len(directory([*entries, number(273, 0, LONG)], 8))
    return b"II*\0\x08\0\0\0" + directory([*entries, number(273, begin, LONG)], 8) + pixels


def tags_of(octets: bytes, page: int = 0) -> dict[int, Any]:
    """Every tag of a page as tifffile reads it."""
    with tifffile.TiffFile(BytesIO(octets)) as file:
        tags = file.pages[page].tags  # type: ignore[union-attr]  # frames are not asked for
        return {tag.code: tag.value for tag in tags}
