"""Take the arrays of other libraries as NumPy arrays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError


def array_of(given: Any) -> NDArray[Any]:
    """Return an array, nested lists, or an object that offers ``__array__`` or DLPack, as an array.

    Memory is shared where the other library allows it.

    Raises:
        PoolError: it is none of these, or its memory can't be read by this process.
    """
    # numpy.ma is slow to import, and it has been imported already if the array is a masked one.
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(given, masked.MaskedArray):
        raise PoolError("a masked array's mask would be lost", "pass array.data, where=~array.mask")
    try:
        if hasattr(given, "__dlpack__") and not hasattr(given, "__array__"):
            return np.from_dlpack(given)
        return np.asarray(given)
    except Exception as fault:
        if isinstance(given, list | tuple):  # rows of different lengths
            raise PoolError(f"it is not an array: {fault}", "give (H, W) or (H, W, C)") from None
        kind = type(given)
        raise PoolError(
            f"a {kind.__name__} of {kind.__module__.partition('.')[0]} can't be read as it is",
            "copy it into main memory, without gradients, in a type that NumPy has",
        ) from fault
