"""Samples that Pillow can't hold, through the optional imagecodecs and tifffile.

Both are imported only when such a picture comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.codec.chunks import PNG_SIGNATURE, png_chunk, png_chunks
from poolcli.codec.names import ARRAY
from poolcli.errors import PoolError

OWN_CHUNKS: Final = (b"IHDR", b"IDAT", b"PLTE", b"IEND", b"tRNS")
MODES_16: Final = {1: "I;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, CIELAB = 0, 1, 2, 5, 8
ASSOCIATED, UNASSOCIATED = 1, 2
ICC_PROFILE, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, ORIENTATION = 34675, 282, 283, 296, 274
INCH, CENTIMETRE = 2, 3
TILE_LENGTH, TILE_WIDTH, TILE_DEPTH = 323, 322, 32998
COMPRESSIONS: Final = {1, 5, 8, 32773, 32946, 34925, 50000}
"""None, LZW, deflate (twice), PackBits, LZMA and Zstandard: what can't unpack to more than asked.

The others, such as JPEG 2000, are pictures of their own in the TIFF, of whatever size.
"""


class Tiff(NamedTuple):
    """A page of a TIFF, not decoded yet.

    Attributes:
        page: tifffile's page.
        mode: the mode of the picture; `ARRAY` where no other fits.
        shape: (H, W) or (H, W, C), as stored.
        dtype: the type of a sample.
        layout: what says how the channels are meant, as tifffile's arguments.
    """

    page: Any
    mode: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: dict[str, Any]

    def read(self) -> NDArray[Any]:
        """The samples, black at 0."""
        array: NDArray[Any] = self.page.asarray()
        if self.page.axes == "SYX":
            array = np.moveaxis(array, 0, -1)
        array = array.reshape(self.shape)
        if int(self.page.photometric) == MIN_IS_WHITE:
            array = np.iinfo(array.dtype).max - array
        return array

    def tag(self, number: int, default: Any = None) -> Any:
        """The value of a tag."""
        return self.page.tags.valueof(number, default)

    @property
    def tile(self) -> tuple[object, object, int]:
        """Height, width and channels of the tiles, which are decoded whole; 0 for strips."""
        channels = self.shape[2] if len(self.shape) == 3 else 1
        return self.tag(TILE_LENGTH, 0), self.tag(TILE_WIDTH, 0), channels

    @property
    def dpi(self) -> tuple[float, float] | None:
        """Pixels an inch along (height, width), as stored."""
        try:
            unit = {INCH: 1.0, CENTIMETRE: 2.54}[self.tag(RESOLUTION_UNIT, INCH)]
            values = (self.tag(Y_RESOLUTION), self.tag(X_RESOLUTION))
            down, across = (above / below * unit for above, below in values)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None
        return (down, across) if down > 0 and across > 0 else None


def require(format_name: str) -> None:
    """Make sure that the libraries for deep pictures of a format are there.

    Raises:
        PoolError: one is missing.
    """
    _library("imagecodecs")
    if format_name == "tiff":
        _library("tifffile")


def count_pages(stream: BinaryIO) -> int:
    """The number of pages of a TIFF.

    Raises:
        PoolError: tifffile is missing.
    """
    return len(_pages(stream))


def _pages(stream: BinaryIO) -> Any:
    """The pages of a TIFF, as tifffile has them."""
    require("tiff")
    stream.seek(0)
    return _library("tifffile").TiffFile(stream).pages


def open_tiff(stream: BinaryIO, number: int) -> Tiff:
    """A page of a TIFF.

    Raises:
        PoolError: tifffile is missing, or the samples are none that can be pooled.
    """
    page = _pages(stream)[number]
    if (compression := int(page.compression)) not in COMPRESSIONS:
        raise PoolError(
            f"deep TIFF of compression {compression} can't be pooled", "save it with deflate or LZW"
        )
    axes = f"Z{page.axes}" if page.tags.valueof(TILE_DEPTH, 1) != 1 else page.axes
    if axes not in ("YX", "YXS", "SYX") or page.dtype is None:
        raise PoolError(f"TIFF with axes {axes} can't be pooled", "save plain pages")
    dtype, photometric = np.dtype(page.dtype), int(page.photometric)
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise PoolError(f"TIFF with samples of {dtype} can't be pooled", "save integers or floats")
    if page.bitspersample != dtype.itemsize * 8:
        raise PoolError(f"TIFF of {page.bitspersample}-bit samples can't be pooled", "save 16 bits")
    if photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, CIELAB):
        raise PoolError(f"deep TIFF of photometric {photometric} can't be pooled", "save it as RGB")
    if photometric == MIN_IS_WHITE and dtype.kind != "u":
        raise PoolError(f"TIFF of {dtype} with white at 0 can't be pooled", "save black at 0")
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    if not all(isinstance(one, int) and one > 0 for one in (height, width, channels)):
        raise PoolError("its size is no whole number of pixels", "is the file sound?")
    extra = tuple(int(one) for one in page.extrasamples)
    shape = (height, width) if channels == 1 else (height, width, channels)
    layout: dict[str, Any] = {
        "photometric": MIN_IS_BLACK if photometric == MIN_IS_WHITE else photometric
    }
    if extra:
        layout["extrasamples"] = extra
    mode = _tiff_mode(dtype, channels, photometric, extra)
    return Tiff(page, mode, shape, dtype, layout)


def write_tiff(
    array: NDArray[Any],
    mode: str,
    layout: Mapping[str, Any],
    compression: str,
    dpi: tuple[float, float] | None,
    icc_profile: bytes | None,
) -> bytes:
    """A TIFF of any samples, contiguous, in strips."""
    by_mode: dict[str, dict[str, Any]] = {
        "I;16": {"photometric": MIN_IS_BLACK},
        "LA;16": {"photometric": MIN_IS_BLACK, "extrasamples": [UNASSOCIATED]},
        "RGB;16": {"photometric": RGB},
        "RGBA;16": {"photometric": RGB, "extrasamples": [UNASSOCIATED]},
    }
    described = by_mode.get(mode, layout or {"photometric": MIN_IS_BLACK})
    buffer = BytesIO()
    _library("imagecodecs")
    _library("tifffile").imwrite(
        buffer,
        np.ascontiguousarray(array),
        **described,
        planarconfig="contig" if array.ndim == 3 else None,
        compression={"none": None, "deflate": "adobe_deflate"}.get(compression, compression),
        resolution=None if dpi is None else dpi[::-1],
        resolutionunit=None if dpi is None else INCH,
        iccprofile=icc_profile,
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def read_png(stream: BinaryIO) -> NDArray[np.uint16]:
    """The samples of a 16-bit PNG; a transparent key becomes alpha."""
    stream.seek(0)
    array: NDArray[np.uint16] = _library("imagecodecs").png_decode(stream.read())
    return array


def write_png(array: NDArray[np.uint16], level: int, like: bytes) -> bytes:
    """A 16-bit PNG with the ancillary chunks of another PNG."""
    plain: bytes = _library("imagecodecs").png_encode(np.ascontiguousarray(array), level=level)
    parts = list(png_chunks(BytesIO(plain)))
    carried = [one for one in png_chunks(BytesIO(like)) if one[0] not in OWN_CHUNKS]
    return PNG_SIGNATURE + b"".join(png_chunk(*one) for one in (parts[0], *carried, *parts[1:]))


def _tiff_mode(
    dtype: np.dtype[Any], channels: int, photometric: int, extra: tuple[int, ...]
) -> str:
    """The mode that describes such samples fully, else `ARRAY`."""
    if dtype != np.uint16:
        return ARRAY
    colours = 3 if photometric == RGB else 1
    if photometric in (MIN_IS_WHITE, MIN_IS_BLACK, RGB):
        if channels == colours:
            return MODES_16[channels]
        if channels == colours + 1 and extra == (UNASSOCIATED,):
            return MODES_16[channels]
    return ARRAY


def _library(name: str) -> Any:
    """An optional library.

    Raises:
        PoolError: it is missing.
    """
    try:
        return import_module(name)
    except ImportError:
        raise PoolError(
            f"samples of this depth need {name}",
            "install imagecodecs and tifffile, the extra [deep] of poolcli-image",
        ) from None
