"""Pages of a TIFF whose samples Pillow can't hold, through the optional tifffile."""

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
from poolcli.picture import ARRAY, Encoding, FrameInfo, Metadata, Picture, Stored, full_scale

MODES_16: Final = {1: "I;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
MIN_IS_WHITE, MIN_IS_BLACK, RGB, SEPARATED, CIELAB = 0, 1, 2, 5, 8
UNASSOCIATED, INCH, TILE_DEPTH = 2, 2, 32998
COMPRESSIONS: Final = {1, 5, 8, 32773, 32946, 34925, 50000}
"""None, LZW, deflate (twice), PackBits, LZMA and Zstandard: what can't unpack to more than asked.

The others, such as JPEG 2000, are pictures of their own in the TIFF, of whatever size.
"""

WORDS: Final = {"none": None, "deflate": "adobe_deflate"}
"""The words of compressions for which tifffile has others."""

LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "LA;16": {"photometric": MIN_IS_BLACK, "extrasamples": [UNASSOCIATED]},
    "RGB;16": {"photometric": RGB},
    "RGBA;16": {"photometric": RGB, "extrasamples": [UNASSOCIATED]},
}
"""What says how the channels of a mode are meant, as tifffile's arguments."""


class DeepPages:
    """A TIFF as tifffile opens it, once and only when a page is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        """Keep the file."""
        self._stream = stream
        self._file: Any = None

    def frame(
        self, offset: int, stored: Stored, orientation: int, metadata: Callable[[], Metadata]
    ) -> DecodedFrame:
        """Open the page whose directory begins at an offset.

        Raises:
            PoolError: tifffile is missing, or the samples are none that can be pooled.
        """
        if self._file is None:
            self._stream.seek(0)
            self._file = _tifffile().TiffFile(self._stream)
        self._file.filehandle.seek(offset)
        page = _tifffile().TiffPage(self._file, 0)
        _check(page)
        height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
        dtype = np.dtype(page.dtype)
        info = FrameInfo(
            shape=(height, width) if channels == 1 else (height, width, channels),
            dtype=dtype,
            mode=_mode(page),
            maxval=full_scale(dtype),
            stored=stored,
            orientation=orientation,
            encoding=Encoding("tiff", details=_layout(page)),
            notes=conversions(False, False, orientation),
        )
        return DecodedFrame(info, partial(_decode, page, info.shape), metadata)


def encode(picture: Picture, compression: str, held: Mapping[str, Any]) -> memoryview:
    """Encode a page of any samples, contiguous, in strips.

    Args:
        picture: the page.
        compression: as `--save-option` has it.
        held: what the format holds of its metadata, as `poolcli.formats.carried` returns it.
    """
    encoding = picture.info.encoding
    own = encoding.details if encoding.format == "tiff" else {}
    layout = LAYOUTS.get(picture.info.mode) or own or {"photometric": MIN_IS_BLACK}
    dpi, buffer = held.get("dpi"), BytesIO()
    array = picture.array[..., 0] if picture.array.shape[2:] == (1,) else picture.array
    _tifffile().imwrite(
        buffer,
        np.ascontiguousarray(array),
        **layout,
        planarconfig="contig" if array.ndim == 3 else None,
        compression=WORDS.get(compression, compression),
        resolution=dpi,
        resolutionunit=None if dpi is None else INCH,
        iccprofile=held.get("icc_profile"),
        metadata=None,
        software=False,
    )
    return buffer.getbuffer()


def _tifffile() -> Any:
    """Return tifffile, if all that it needs is there.

    Raises:
        PoolError: something is missing.
    """
    require_all(by_name("tiff").extra)
    return import_module("tifffile")


def _decode(page: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the samples of a page, black at 0."""
    array: NDArray[Any] = page.asarray()
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(shape)
    return np.iinfo(array.dtype).max - array if int(page.photometric) == MIN_IS_WHITE else array


def _check(page: Any) -> None:
    """Refuse a page that can't be pooled.

    Raises:
        PoolError: naming what stands against it.
    """
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
    extents = page.imagelength, page.imagewidth, page.samplesperpixel
    if not all(isinstance(one, int) and one > 0 for one in extents):
        raise PoolError("its size is no whole number of pixels", "is the file sound?")


def _layout(page: Any) -> dict[str, Any]:
    """Return what says how the channels of a page are meant, once black is at 0."""
    photometric, extra = int(page.photometric), tuple(int(one) for one in page.extrasamples)
    layout: dict[str, Any] = {"photometric": photometric or MIN_IS_BLACK}
    return {**layout, "extrasamples": extra} if extra else layout


def _mode(page: Any) -> str:
    """Return the mode that describes the samples of a page fully, else `ARRAY`."""
    photometric, channels = int(page.photometric), page.samplesperpixel
    if page.dtype != np.uint16 or photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB):
        return ARRAY
    colours, extra = 3 if photometric == RGB else 1, tuple(page.extrasamples)
    if channels == colours or (channels == colours + 1 and extra == (UNASSOCIATED,)):
        return MODES_16[channels]
    return ARRAY
