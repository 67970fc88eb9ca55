"""Keep one tap of every window that lies on the picture, large or small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.window import Axes
from poolcli.methods.channels import ByChannel


@dataclass(frozen=True)
class First(ByChannel):
    at: int | None = None
    name: ClassVar[str] = "first"

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        return mode, dtype

    def pool_channels(
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
