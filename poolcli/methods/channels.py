"""Pool each channel of a picture on its own, with alpha as the weight of the colours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.window import Axes
from poolcli.methods import Alpha


class ByChannel(ABC):
    """A method that computes every channel without the others."""

    blends: ClassVar[bool] = False
    takes_indices: ClassVar[bool] = False

    @property
    def assumes_srgb(self) -> bool:
        """False: it pools the stored values."""
        return False

    @property
    def reported_quantile(self) -> float | None:
        """None: it takes no quantile."""
        return None

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        alpha: Alpha | None = None,
        nan: NanPolicy = "omit",
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Pool a picture; see `Method.pool`."""
        # Straight alpha that is pooled like the colours is one of the channels, which is several
        # times as fast as taking the channels apart and joining them again.
        is_alike = alpha == "straight" and nodata is None and self.for_alpha() == self
        if alpha is None or is_alike:
            return self.pool_channels(array, axes, nan=nan, nodata=nodata)
        colour, opacity = array[..., :-1], array[..., -1]
        weights = opacity if alpha == "weighted" else None
        pooled = self.pool_channels(colour, axes, nan=nan, weights=weights, nodata=nodata)
        return joined(pooled, self.for_alpha().pool_channels(opacity, axes, nan=nan))

    @abstractmethod
    def pool_channels(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",
        weights: NDArray[Any] | None = None,
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Pool every channel of (H, W) or (H, W, C).

        Args:
            array: the channels.
            axes: the windows of both axes.
            nan: as in `Method.pool`.
            weights: unsigned integers (H, W), the weight of each pixel; pixels of weight 0 are
                left out. A window whose weights are all 0 is pooled as if they were 1.
            nodata: as in `Method.pool`.
        """

    def for_alpha(self) -> ByChannel:
        """Return the method for the alpha channel, whose values have no transfer curve."""
        return self


def joined(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the colour channels and alpha."""
    # `np.concatenate` along the last axis copies pixel by pixel, which is slower.
    array = np.empty((*alpha.shape, colour.shape[-1] + 1), alpha.dtype)
    for channel in range(colour.shape[-1]):
        array[..., channel] = colour[..., channel]
    array[..., -1] = alpha
    return array
