"""Average pooling: of the values as they are, or of the light that they encode."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.means import average
from poolcli.engine.window import Axes
from poolcli.errors import PoolError
from poolcli.picture import MODES

SRGB_DECODE_FROM: Final = 0.04045
SRGB_ENCODE_FROM: Final = 0.0031308
ENCODED_ROWS: Final = 64
"""Rows that are encoded at a time, so that the steps of the curve stay in the cache."""


class Average(NamedTuple):
    """Take the average of every window.

    Attributes:
        count_include_pad: whether taps on explicit padding count in the divisor.
        divisor_override: divides every sum, where given.
        linear: whether light is averaged, decoded and encoded by the curve of sRGB.
    """

    count_include_pad: bool = False
    divisor_override: int | None = None
    linear: bool = False
    name: str = "avg"

    @property
    def assumes_srgb(self) -> bool:
        """Whether values are decoded by the curve of sRGB."""
        return self.linear

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return mode and type unchanged, but 8-bit grey for bilevel: averages lie between.

        Raises:
            PoolError: the mode's values are not light by the curve of sRGB, which is asked for.
        """
        if self.linear and not MODES[mode].is_srgb:
            raise PoolError(f"--linear has no effect on {MODES[mode].title}", "leave it out")
        if dtype != np.bool_:
            return mode, dtype
        return "L" if mode == "1" else mode, np.dtype(np.uint8)

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",
        weights: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Average the pixels; weights are the divisor themselves, whatever the options say."""
        divisor: dict[str, Any] = (
            {"weights": weights}
            if weights is not None
            else {
                "count_include_pad": self.count_include_pad,
                "divisor_override": self.divisor_override,
            }
        )
        if self.linear:
            return linear_average(array, axes, **divisor)
        return average(array, axes, nan=nan, **divisor)

    def for_alpha(self) -> Average:
        """Return the average without the curve: alpha is no light."""
        return self._replace(linear=False)


def linear_average(array: NDArray[Any], axes: Axes, **divisor: Any) -> NDArray[Any]:
    """Average light: decoded by a table, averaged in float64, encoded, rounded once.

    Args:
        array: bool, uint8 or uint16, (H, W) or (H, W, C).
        axes: the windows, laid over the array.
        divisor: as in `poolcli.engine.means.average`.

    Returns:
        An array of the same type; of a bool one uint8.
    """
    if array.dtype == np.bool_:
        array, table, full = array.view(np.uint8), np.array([0.0, 1.0]), 255
    else:
        full = int(np.iinfo(array.dtype).max)
        table = srgb_decoded(np.arange(full + 1) / full)
    light = average(array, axes, table=table, **divisor)
    result = np.empty(light.shape, array.dtype)
    for top in range(0, len(light), ENCODED_ROWS):
        rows = slice(top, top + ENCODED_ROWS)
        np.rint(np.clip(srgb_encoded(light[rows]), 0, 1) * full, out=result[rows], casting="unsafe")
    return result


def srgb_decoded(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return light from its sRGB code, both in 0…1 (IEC 61966-2-1)."""
    return np.where(code <= SRGB_DECODE_FROM, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def srgb_encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sRGB code of light, both in 0…1 (IEC 61966-2-1)."""
    return np.where(light <= SRGB_ENCODE_FROM, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
