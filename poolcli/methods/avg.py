"""Average pooling, of the stored values or of linear light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import NanPolicy
from poolcli.engine.means import average
from poolcli.engine.tiles import zeros_and_ones
from poolcli.engine.window import Axes
from poolcli.errors import PoolError
from poolcli.methods.channels import ByChannel
from poolcli.picture import MODES

SRGB_DECODE_FROM: Final = 0.04045
SRGB_ENCODE_FROM: Final = 0.0031308
ENCODED_ROWS: Final = 8
"""Rows that are encoded at a time, so that intermediate arrays of float64 stay in the cache."""


@dataclass(frozen=True)
class Average(ByChannel):
    """Take the average of every window.

    Attributes:
        count_include_pad: whether explicit padding counts in the divisor.
        divisor_override: the divisor of every sum, or None for the number of pixels.
        linear: whether linear light is averaged, decoded and encoded by the curve of sRGB.
    """

    count_include_pad: bool = False
    divisor_override: int | None = None
    linear: bool = False
    name: ClassVar[str] = "avg"
    blends: ClassVar[bool] = True

    @property
    def assumes_srgb(self) -> bool:
        """Return whether values are decoded by the curve of sRGB."""
        return self.linear

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and type unchanged, except for bilevel, whose average is 8-bit grey.

        Raises:
            PoolError: ``--linear`` is given for a mode that is not encoded by the curve of sRGB.
        """
        if self.linear and not MODES[mode].is_srgb:
            raise PoolError(f"--linear has no effect on {MODES[mode].title}", "leave it out")
        if dtype != np.bool_:
            return mode, dtype
        return "L" if mode == "1" else mode, np.dtype(np.uint8)

    def pool_channels(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",
        weights: NDArray[Any] | None = None,
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Average the pixels. If weights are given, their sum is the divisor.

        The options about the divisor then apply to the alpha channel alone, which is pooled
        without weights.
        """
        options: dict[str, Any] = (
            {"weights": weights}
            if weights is not None
            else {
                "count_include_pad": self.count_include_pad,
                "divisor_override": self.divisor_override,
            }
        )
        if self.linear:
            return linear_average(array, axes, nodata=nodata, **options)
        return average(array, axes, nan=nan, nodata=nodata, **options)

    def for_alpha(self) -> Average:
        """Return this average without the curve."""
        return replace(self, linear=False)


def linear_average(array: NDArray[Any], axes: Axes, **options: Any) -> NDArray[Any]:
    """Decode pixels to linear light by a table, average in float64, encode and round once.

    Args:
        array: bool, uint8 or uint16, (H, W) or (H, W, C).
        axes: the windows of both axes.
        options: the arguments of `poolcli.engine.means.average` about weights, the divisor and
            nodata.

    Returns:
        An array of the same type; uint8 if the input is bool.
    """
    if array.dtype == np.bool_:  # the average of a bilevel picture is 8-bit grey
        array, table, full = zeros_and_ones(array), np.array([0.0, 1.0]), 255
    else:
        full = int(np.iinfo(array.dtype).max)
        table = srgb_decoded(np.arange(full + 1) / full)
    light = average(array, axes, table=table, **options)
    result = np.empty(light.shape, array.dtype)
    for top in range(0, len(light), ENCODED_ROWS):
        # `divisor_override` may make the light brighter than white, so it is clipped.
        rows = slice(top, top + ENCODED_ROWS)
        np.rint(np.clip(srgb_encoded(light[rows]), 0, 1) * full, out=result[rows], casting="unsafe")
    return result


def srgb_decoded(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear light from sRGB values, both in 0…1 (IEC 61966-2-1)."""
    return np.where(code <= SRGB_DECODE_FROM, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def srgb_encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB values from linear light, both in 0…1 (IEC 61966-2-1)."""
    return np.where(light <= SRGB_ENCODE_FROM, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
