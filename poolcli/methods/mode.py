"""Mode pooling: the most frequent pixel of every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.votes import vote
from poolcli.engine.window import Axes
from poolcli.methods import Alpha


@dataclass(frozen=True)
class Vote:
    """Keep the most frequent pixel of every window, all its channels together.

    Under weighted alpha all pixels of alpha 0 are one candidate, because they look the same.
    """

    name: ClassVar[str] = "mode"
    assumes_srgb: ClassVar[bool] = False
    blends: ClassVar[bool] = False
    takes_indices: ClassVar[bool] = True
    reported_quantile: ClassVar[float | None] = None

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and type unchanged: the result is a pixel of the picture."""
        return mode, dtype

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
        return vote(
            array,
            axes,
            nan=nan,
            nodata=nodata,
            has_alpha=alpha is not None,
            merges_clear=alpha == "weighted",
        )
