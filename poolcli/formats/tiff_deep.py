"""Read and write TIFF pages whose samples Pillow can't hold, with the optional tifffile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import by_name
from poolcli.formats.contract import DecodedFrame
from poolcli.formats.extras import require_all
from poolcli.formats.pillow import conversions
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Picture, Stored, full_scale

MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, CIELAB = 0, 1, 2, 5, 8
STRAIGHT_ALPHA = (2,)
COMPRESSIONS: Final = {1, 5, 8, 32773, 32946, 34925, 50000}
"""The accepted compressions: none, LZW, deflate (two numbers), PackBits, LZMA and Zstandard.

Their output is limited to the size of a strip or tile. Others, such as JPEG 2000, contain a whole
picture with a size of its own, which could be far larger than `--max-pixels` allows.
"""

WORDS: Final = {"none": None, "deflate": "adobe_deflate"}
"""tifffile's names of compressions, where they differ from those of `--save-option`."""

LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "I;16": {"photometric": MIN_IS_BLACK},
    "LA;16": {"photometric": MIN_IS_BLACK, "extrasamples": STRAIGHT_ALPHA},
    "RGB;16": {"photometric": RGB},
    "RGBA;16": {"photometric": RGB, "extrasamples": STRAIGHT_ALPHA},
}
"""The meaning of the channels of each 16-bit mode, as arguments of tifffile."""


class DeepPages:
    """The pages of a TIFF that tifffile reads; it opens the file once, for the first such page."""

    def __init__(self, stream: BinaryIO) -> None:
        """Keep the file."""
        self._stream = stream
        self._file: Any = None

    def frame(
        self, offset: int, stored: Stored, orientation: int, metadata: Callable[[], Metadata]
    ) -> DecodedFrame:
        """Open the page whose directory begins at an offset.

        Raises:
            PoolError: tifffile is missing, or the page can't be pooled.
        """
        tifffile = _tifffile()
        if self._file is None:
            self._stream.seek(0)
            self._file = tifffile.TiffFile(self._stream)
        # `TiffFile.pages` would walk through all directories before this one for each page.
        self._file.filehandle.seek(offset)
        page = tifffile.TiffPage(self._file, 0)
        _check(page)
        channels, layout = page.samplesperpixel, _layout(page)
        shape = page.imagelength, page.imagewidth, *([channels] if channels > 1 else [])
        encoding, notes = Encoding("tiff", details=layout), conversions(False, False, orientation)
        mode, maxval = _mode(page.dtype, channels, layout), full_scale(page.dtype)
        info = FrameInfo(
            shape, page.dtype, mode, maxval, stored, orientation, encoding=encoding, notes=notes
        )
        return DecodedFrame(info, partial(_decode, page, info.shape), metadata)


def encode(picture: Picture, compression: str, held: Mapping[str, Any]) -> BytesIO:
    """Encode a page of any samples as a TIFF with one page.

    Args:
        picture: the page.
        compression: the value of `--save-option compression`.
        held: the metadata that TIFF can store, as `poolcli.formats.carried.carried` returns it.
    """
    encoding = picture.info.encoding
    own = encoding.details if encoding.format == "tiff" else {}
    array, buffer = picture.array, BytesIO()
    if array.shape[2:] == (1,):
        array = array[..., 0]
    _tifffile().imwrite(
        buffer,
        np.ascontiguousarray(array),
        byteorder="<",
        **(LAYOUTS.get(picture.info.mode) or own or LAYOUTS["I;16"]),
        planarconfig="contig" if array.ndim == 3 else None,
        compression=WORDS.get(compression, compression),
        iccprofile=held.get("icc_profile"),
        metadata=None,
        software=False,
    )
    return buffer


def _tifffile() -> Any:
    """Return the module tifffile, once all packages of the extra are installed.

    Raises:
        PoolError: a package is missing.
    """
    require_all(by_name("tiff").extra)
    return import_module("tifffile")


def _decode(page: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Decode a page to the given shape, with black at 0."""
    array: NDArray[Any] = page.asarray()
    if page.axes == "SYX":  # each channel is stored as a plane of its own
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(shape)
    return np.iinfo(array.dtype).max - array if page.photometric == MIN_IS_WHITE else array


def _check(page: Any) -> None:
    """Refuse a page that can't be pooled.

    Raises:
        PoolError: its size, compression, depth or photometric interpretation is not supported.
    """
    extents = page.imagelength, page.imagewidth, page.samplesperpixel
    if not all(isinstance(one, int) and one > 0 for one in extents):
        raise PoolError("its size is no whole number of pixels", "is the file damaged?")
    bits, dtype = page.bitspersample, page.dtype
    compression, photometric = int(page.compression), int(page.photometric)
    if compression not in COMPRESSIONS:
        raise PoolError(
            f"compression {compression} of such samples can't be read", "save with deflate or LZW"
        )
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise PoolError("a TIFF with volumes can't be pooled", "save each slice as a page")
    if dtype is None or dtype.kind not in "uif" or 8 * dtype.itemsize != bits:
        raise PoolError(
            f"TIFF of {bits}-bit samples, read as {dtype or 'no known type'}, can't be pooled",
            "save integers or floats of 8, 16, 32 or 64 bits",
        )
    if photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, CIELAB):
        raise PoolError(f"such samples of photometric {photometric} can't be read", "save as RGB")
    # Signed numbers and floats have no full scale from which they could be subtracted.
    if photometric == MIN_IS_WHITE and dtype.kind != "u":
        raise PoolError(f"TIFF of {dtype} with white at 0 can't be pooled", "save black at 0")


def _layout(page: Any) -> dict[str, Any]:
    """Return the meaning of a page's channels with black at 0, as arguments of tifffile."""
    layout = {"photometric": int(page.photometric) or MIN_IS_BLACK}
    extra = tuple(int(one) for one in page.extrasamples)
    return {**layout, "extrasamples": extra} if extra else layout


def _mode(dtype: np.dtype[Any], channels: int, layout: Mapping[str, Any]) -> str:
    """Return the mode that describes such samples completely, or else `ARRAY`."""
    modes = [mode for mode, one in LAYOUTS.items() if one == layout and dtype == np.uint16]
    return next((mode for mode in modes if MODES[mode].channels == channels), ARRAY)
