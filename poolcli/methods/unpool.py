"""The method of `unpool`: its frames hold what is to be written already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.window import Axes
from poolcli.methods import Alpha


@dataclass(frozen=True)
class Unpool:
    """Keep every pixel; windows have one pixel each."""

    name: ClassVar[str] = "unpool"
    assumes_srgb: ClassVar[bool] = False
    blends: ClassVar[bool] = False
    takes_indices: ClassVar[bool] = False
    reported_quantile: ClassVar[float | None] = None

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and type unchanged."""
        return mode, dtype

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,  # noqa: ARG002  # of windows of one pixel
        *,
        alpha: Alpha | None = None,  # noqa: ARG002
        nan: NanPolicy = "omit",  # noqa: ARG002
        nodata: float | None = None,  # noqa: ARG002
    ) -> NDArray[Any]:
        """Return the picture itself."""
        return array
