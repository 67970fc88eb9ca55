"""Max pooling: the largest value of every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.extremes import Extreme, extreme
from poolcli.engine.kernels import NanPolicy
from poolcli.engine.places import extreme_places
from poolcli.engine.window import Axes
from poolcli.methods import Alpha
from poolcli.methods.channels import ByChannel, joined


@dataclass(frozen=True)
class Max(ByChannel):
    """Keep the largest value of every window."""

    name: ClassVar[Extreme] = "max"

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and type unchanged: a maximum is a value of the picture."""
        return mode, dtype

    def pool_channels(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",
        weights: NDArray[Any] | None = None,
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Pool the pixels whose weight is not 0; a maximum does not depend on larger weights."""
        where = None if weights is None else weights > 0
        return extreme(self.name, array, axes, nan=nan, where=where, nodata=nodata)

    def pool_with_indices(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        alpha: Alpha | None = None,
        nan: NanPolicy = "omit",
        nodata: float | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Pool a picture; see `Locating.pool_with_indices`."""
        if alpha is None or nodata is None:
            return extreme_places(self.name, array, axes, nan=nan, nodata=nodata)
        colour = extreme_places(self.name, array[..., :-1], axes, nan=nan, nodata=nodata)
        opacity = extreme_places(self.name, array[..., -1], axes, nan=nan)
        return joined(colour[0], opacity[0]), joined(colour[1], opacity[1])
