"""Median pooling, and any other quantile of the values of a window."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.ranks import rank
from poolcli.engine.window import Axes
from poolcli.methods.channels import ByChannel


@dataclass(frozen=True)
class Median(ByChannel):
    """Take a quantile of the values of every window.

    Attributes:
        quantile: 0 (the minimum) to 1 (the maximum).
    """

    quantile: Fraction = Fraction(1, 2)
    name: ClassVar[str] = "median"

    @property
    def reported_quantile(self) -> float:
        """The quantile as a float."""
        return float(self.quantile)

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and type unchanged: a quantile is a value of the picture."""
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
        """Pool the pixels whose weight is not 0; larger weights have no effect."""
        where = None if weights is None else weights > 0
        return rank(array, axes, self.quantile, nan=nan, where=where, nodata=nodata)
