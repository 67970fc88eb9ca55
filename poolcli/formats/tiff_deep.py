"""Write TIFF pages whose samples Pillow can't hold, with the optional tifffile."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any, Final

import numpy as np

from poolcli.formats import by_name
from poolcli.formats.extras import require_all
from poolcli.picture import Picture

MIN_IS_BLACK, RGB = 1, 2
STRAIGHT_ALPHA = (2,)
WORDS: Final = {"none": None, "deflate": "adobe_deflate"}
"""tifffile's names of compressions, where they differ from those of `--save-option`."""

LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "I;16": {"photometric": MIN_IS_BLACK},
    "LA;16": {"photometric": MIN_IS_BLACK, "extrasamples": STRAIGHT_ALPHA},
    "RGB;16": {"photometric": RGB},
    "RGBA;16": {"photometric": RGB, "extrasamples": STRAIGHT_ALPHA},
}
"""The meaning of the channels of each 16-bit mode, as arguments of tifffile."""


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
