"""Pool NumPy arrays exactly, by maximum, minimum or average: the public functions.

They check the arguments and compute the windows. `extremes` and `means` define the operations,
`tiles` splits the work into tiles that fit the cache, and `kernels` reduces blocks of rows.
"""

from __future__ import annotations

import sys
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.extremes import extreme
from poolcli.engine.kernels import NanPolicy
from poolcli.engine.means import average
from poolcli.engine.tiles import zeros_and_ones
from poolcli.engine.window import Axes, PaddingLike, SizeLike, Window, whole_number
from poolcli.errors import PoolError

PER_PIXEL: Final = {"where": ("b", "a bool array"), "weights": ("u", "unsigned integers")}
DTYPES: Final = "bool, int8…64, uint8…64, float16, float32 or float64"


def max_pool(
    array: NDArray[Any],
    size: SizeLike,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return the maximum of every window, each channel on its own.

    Args:
        array: (H, W) or (H, W, C) of bool, integers or floats of up to 64 bits, in any memory
            layout and byte order.
        size: taps of the window, one number or (height, width).
        stride: pixels between windows, likewise; ``size`` if None.
        padding: pixels around the picture that are never read: one number, (height, width),
            ((top, bottom), (left, right)), "valid", "same" or "same_lower"; see `Window.of`.
        dilation: pixels between taps, one number or (height, width).
        ceil_mode: whether a last window may hang over the end.
        nan: "omit" leaves NaN pixels out; "propagate" makes a window with NaN NaN.
        where: bool (H, W), true where a pixel takes part; a window in which none does is pooled
            as if all did.

    Returns:
        A new array (H', W') or (H', W', C) of the same dtype and byte order; see `output_shape`.

    Raises:
        PoolError: an argument is of the wrong type or shape, or the window does not fit.

    >>> max_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[5, 9]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    values, axes = _check_and_place(array, window, nan)
    return extreme("max", values, axes, nan=nan, where=_per_pixel(values, "where", where))


def min_pool(
    array: NDArray[Any],
    size: SizeLike,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return the minimum of every window, each channel on its own.

    Arguments, result and errors are those of `max_pool`.

    >>> min_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[1, 2]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    values, axes = _check_and_place(array, window, nan)
    return extreme("min", values, axes, nan=nan, where=_per_pixel(values, "where", where))


def avg_pool(
    array: NDArray[Any],
    size: SizeLike,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the average of every window, each channel on its own.

    It is Σwx / Σw over the pixels of the window that take part, w = 1 without ``weights``.
    Integers are summed exactly and rounded once, to nearest, ties to even. Floats are summed and
    divided in float64 and rounded once. A bool array counts as 0 and 255 and gives uint8.

    Args:
        array: as in `max_pool`.
        size: as in `max_pool`.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        nan: as in `max_pool`; pixels that are left out do not count in the divisor.
        where: as in `max_pool`.
        count_include_pad: whether taps on explicit padding count in the divisor.
        divisor_override: divides every sum instead, at least 1; results of integers are clipped
            to their type.
        weights: unsigned integers (H, W); a window whose weights sum to 0 is averaged as if all
            were 1.

    Returns:
        A new array (H', W') or (H', W', C) of the same dtype and byte order (bool: uint8).

    Raises:
        PoolError: as `max_pool`, and for ``where`` or ``weights`` with ``count_include_pad`` or
            ``divisor_override``.

    >>> avg_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[3, 5]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    values, axes = _check_and_place(array, window, nan)
    if not isinstance(count_include_pad, bool):
        raise PoolError(f"count_include_pad is {count_include_pad!r}", "give True or False")
    if divisor_override is not None:
        divisor_override = whole_number("divisor_override", divisor_override, 1)
    weights = _per_pixel(values, "weights", weights)
    mask = _per_pixel(values, "where", where)
    if mask is not None:
        weights = mask.view(np.uint8) if weights is None else weights * mask
    if weights is not None and (count_include_pad or divisor_override is not None):
        raise PoolError(
            "where and weights decide the divisor themselves",
            "leave out count_include_pad and divisor_override",
        )
    return average(
        values,
        axes,
        nan=nan,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        weights=weights,
    )


def _check_and_place(array: Any, window: Window, nan: Any) -> tuple[NDArray[Any], Axes]:
    """Check an array, and return it with its windows along both axes.

    Raises:
        PoolError: the array or ``nan`` is not valid, or the window does not fit.
    """
    if not isinstance(nan, str) or nan not in get_args(NanPolicy):
        raise PoolError(f"nan is {nan!r}", 'give "omit" or "propagate"')
    # numpy.ma is slow to import, and it has been imported already if the array is a masked one.
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise PoolError("a masked array's mask would be lost", "pass array.data, where=~array.mask")
    try:
        values = np.asarray(array)
    except ValueError as fault:  # rows of different lengths
        raise PoolError(f"it is not an array: {fault}", "give (H, W) or (H, W, C)") from None
    if values.ndim not in (2, 3):
        raise PoolError(f"the array has shape {values.shape}", "give (H, W) or (H, W, C)")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise PoolError(f"the array's dtype is {values.dtype}", f"give {DTYPES}")
    height, width = values.shape[:2]
    return values, window.axes((height, width))


def _per_pixel(values: NDArray[Any], name: str, given: Any) -> NDArray[Any] | None:
    """Return the argument ``where`` or ``weights``, or None if it is not given.

    Raises:
        PoolError: it is not an array of the right type with one value for each pixel.
    """
    if given is None:
        return None
    kind, wanted = PER_PIXEL[name]
    if not isinstance(given, np.ndarray) or given.dtype.kind != kind:
        found = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else repr(given)
        raise PoolError(f"{name} is {found}", f"give {wanted} (H, W)")
    if given.shape != values.shape[:2]:
        raise PoolError(
            f"{name} has shape {given.shape}, the array {values.shape}", "give one value a pixel"
        )
    return zeros_and_ones(given).view(np.bool_) if kind == "b" else given
