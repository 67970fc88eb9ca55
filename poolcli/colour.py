"""A picture pooled: which channels, by which weight, on which background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.codec import Picture
from poolcli.pooling import NanPolicy, avg_pool, max_pool, min_pool
from poolcli.pooling.kernels import rounded_quotient
from poolcli.window import Window

Method: TypeAlias = Literal["max", "min", "avg"]
Alpha: TypeAlias = Literal["weighted", "straight"]
Colour: TypeAlias = tuple[int, int, int]

POOLS: Final = {"max": max_pool, "min": min_pool, "avg": avg_pool}
OPAQUE: Final = {"LA": "L", "RGBA": "RGB"}


@dataclass(frozen=True, slots=True)
class Choices:
    """What is computed.

    Attributes:
        method: "max", "min" or "avg".
        window: the window.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        alpha: "weighted" lets a pixel's alpha say how much its colour counts.
        nan: as in `avg_pool`.
        background: the colour under pictures with alpha, which then lose it.
    """

    method: Method
    window: Window
    count_include_pad: bool = False
    divisor_override: int | None = None
    alpha: Alpha = "weighted"
    nan: NanPolicy = "omit"
    background: Colour | None = None

    def mode(self, mode: str) -> str:
        """The mode of the pooled picture, from that of the picture."""
        if mode == "1" and self.method == "avg":
            return "L"
        if self.background is None or mode not in OPAQUE:
            return mode
        return OPAQUE[mode] if len(set(self.background)) == 1 else "RGB"


def pool(picture: Picture, choices: Choices) -> Picture:
    """The picture pooled; it keeps its depth, its metadata and its size on paper.

    Raises:
        PoolError: the window does not fit the picture.
    """
    array = _pool_array(picture.array, picture.mode, choices)
    if choices.background is not None and picture.mode in OPAQUE:
        array = _flatten(array, choices.background)
    return replace(
        picture,
        array=array,
        mode=choices.mode(picture.mode),
        metadata=picture.metadata.pooled(choices.window.stride),
    )


def _pool_array(array: NDArray[Any], mode: str, choices: Choices) -> NDArray[Any]:
    """Every channel on its own, but for colour under alpha."""
    window = choices.window
    pooled: Callable[..., NDArray[Any]] = partial(
        POOLS[choices.method],
        size=window.size,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        ceil_mode=window.ceil_mode,
        nan=choices.nan,
    )
    plain = pooled
    if choices.method == "avg":
        plain = partial(
            pooled,
            count_include_pad=choices.count_include_pad,
            divisor_override=choices.divisor_override,
        )
    if mode not in OPAQUE or choices.alpha == "straight":
        return plain(array)
    colour, alpha = array[..., :-1], array[..., -1]
    result_alpha = plain(alpha)
    if choices.method == "avg":
        result_colour = pooled(colour, weights=alpha)
    else:
        result_colour = pooled(colour, where=alpha > 0)
    return np.concatenate((result_colour, result_alpha[..., None]), axis=-1)


def _flatten(array: NDArray[Any], background: Colour) -> NDArray[Any]:
    """Colour over a background: c′ = (αc + (A-α)b)/A, rounded once to nearest."""
    full = int(np.iinfo(array.dtype).max)
    alpha = array[..., -1:].astype(np.uint32)
    grey = len(set(background)) == 1 and array.shape[-1] == 2
    under = np.array(background[:1] if grey else background, np.uint32) * (full // 255)
    total = alpha * array[..., :-1] + (full - alpha) * under
    flat = rounded_quotient(total, full).astype(array.dtype)
    return flat[..., 0] if grey else flat
