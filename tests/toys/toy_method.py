"""Keep one tap of every window that lies on the picture, large or small."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.window import Axes


class First(NamedTuple):
    at: int | None = None
    name: str = "first"
    assumes_srgb: bool = False
    blends: bool = False

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        return mode, dtype

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",  # noqa: ARG002
        weights: NDArray[Any] | None = None,  # noqa: ARG002
        nodata: float | None = None,  # noqa: ARG002
    ) -> NDArray[Any]:
        rows, columns = axes
        down = np.clip(np.arange(rows.out) * rows.stride - rows.before, 0, len(array) - 1)
        across = np.arange(columns.out) * columns.stride - columns.before + (self.at or 0)
        return array[down][:, np.clip(across, 0, array.shape[1] - 1)]

    def for_alpha(self) -> First:
        return self
