"""Pool NumPy arrays exactly: the public functions.

They check the arguments and compute the windows. `extremes`, `means`, `ranks` and `votes` define
the operations, `tiles` splits the work into tiles that fit the cache, `kernels` reduces blocks of
rows, and `gather` copies the taps of windows for operations that need all of them at once.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolcli.engine.adaptive import window_of
from poolcli.engine.arguments import PerPixel, checked
from poolcli.engine.extremes import extreme
from poolcli.engine.kernels import NanPolicy
from poolcli.engine.means import average
from poolcli.engine.quantile import QuantileLike, exact_quantile
from poolcli.engine.ranks import rank
from poolcli.engine.votes import vote
from poolcli.engine.window import Axes, PaddingLike, SizeLike, whole_number
from poolcli.errors import PoolError


def max_pool(
    array: ArrayLike,
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Return the maximum of every window, each channel on its own.

    Args:
        array: (H, W), (H, W, C) or as ``axes`` says, of bool, integers or floats of up to 64
            bits, in any memory layout and byte order. An object that offers ``__array__`` or
            DLPack is taken too: a tensor of PyTorch, an array of xarray or Dask.
        size: taps of the window, one number or (height, width); either this or ``output_size``.
        stride: pixels between windows, likewise; ``size`` if None.
        padding: pixels around the picture, which take no part: one number, (height, width),
            ((top, bottom), (left, right)), at most dilation · (size - 1); or a name: "valid" is
            0; "same" and "same_lower" give ⌈extent / stride⌉ windows, an odd pixel of padding
            after or before the picture.
        dilation: pixels between taps, one number or (height, width).
        ceil_mode: whether a last window may hang over the end.
        nan: "omit" leaves NaN pixels out; "propagate" makes a window with NaN NaN.
        where: an array of bool, true where a pixel takes part; a window in which none does is
            pooled as if all did. It is (H, W), or has the shape of the array without its channels.
        output_size: rows and columns of the result, one number or (height, width), in place of
            a window. Of o windows over n pixels, window i reads from ⌊i·n/o⌋ to ⌈(i+1)·n/o⌉, as
            in PyTorch's ``AdaptiveMaxPool2d``: where o does not divide n, neighbours share pixels.
        axes: a letter for each axis of the array, such as "NCHW": H or Y for the height, W or X
            for the width, C or S for the channels; other axes are those of a batch, whose
            pictures are pooled one by one. By default it is "HW" or "HWC"; an array that looks
            like (C, H, W) needs it. Z or D are planes, see ``planes``.
        planes: how many planes a window is deep, or "all"; the step from one window to the next
            is as large, and planes that are left over at the end are dropped.
        nodata: the value of samples without data, which take no part; a window of these alone, or
            beside NaN, becomes this value. For floats the nearest value of their type is taken.

    Returns:
        A new array of the same dtype and byte order, with the axes in the same order; see
        `output_shape`.

    Raises:
        PoolError: an argument is of the wrong type or shape, or the window does not fit.

    >>> max_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[5, 9]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    call = checked(array, window, nan, axes, planes, nodata, where=where)

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, _: PerPixel) -> NDArray[Any]:
        return extreme("max", picture, axes, nan=nan, where=where, nodata=call.nodata)

    return call.pooled(pool, call.array.dtype)


def min_pool(
    array: ArrayLike,
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Return the minimum of every window, each channel on its own.

    Arguments, result and errors are those of `max_pool`.

    >>> min_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[1, 2]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    call = checked(array, window, nan, axes, planes, nodata, where=where)

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, _: PerPixel) -> NDArray[Any]:
        return extreme("min", picture, axes, nan=nan, where=where, nodata=call.nodata)

    return call.pooled(pool, call.array.dtype)


def avg_pool(
    array: ArrayLike,
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
    nodata: float | None = None,
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
        output_size: as in `max_pool`; the options about the divisor are refused with it.
        axes: as in `max_pool`.
        planes: as in `max_pool`.
        nodata: as in `max_pool`; such samples do not count in the divisor.
        count_include_pad: whether taps on explicit padding count in the divisor.
        divisor_override: divides every sum instead, at least 1; results of integers are clipped
            to their type.
        weights: unsigned integers, in a shape that ``where`` may have; a window whose weights
            sum to 0 is averaged as if all were 1.

    Returns:
        A new array of the same dtype and byte order (bool: uint8), as from `max_pool`.

    Raises:
        PoolError: as `max_pool`, and for ``where`` or ``weights`` with ``count_include_pad`` or
            ``divisor_override``.

    >>> avg_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[3, 5]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    call = checked(array, window, nan, axes, planes, nodata, where=where, weights=weights)
    if not isinstance(count_include_pad, bool):
        raise PoolError(f"count_include_pad is {count_include_pad!r}", "give True or False")
    if divisor_override is not None:
        divisor_override = whole_number("divisor_override", divisor_override, 1)
    has_divisor = count_include_pad or divisor_override is not None
    if has_divisor and output_size is not None:
        raise PoolError(
            "output_size decides the divisor itself",
            "leave out count_include_pad and divisor_override",
        )
    is_weighted = where is not None or weights is not None
    if is_weighted and has_divisor:
        raise PoolError(
            "where and weights decide the divisor themselves",
            "leave out count_include_pad and divisor_override",
        )

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, weights: PerPixel) -> NDArray[Any]:
        if where is not None:
            weights = where.view(np.uint8) if weights is None else weights * where
        return average(
            picture,
            axes,
            nan=nan,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
            weights=weights,
            nodata=call.nodata,
        )

    is_bool = call.array.dtype == np.bool_
    return call.pooled(pool, np.dtype(np.uint8) if is_bool else call.array.dtype)


def median_pool(
    array: ArrayLike,
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
    nodata: float | None = None,
    quantile: QuantileLike = 0.5,
) -> NDArray[Any]:
    """Return the median, or another quantile, of every window, each channel on its own.

    Of the n values of a window that take part, sorted, it is the one at index
    max(0, ⌈quantile·n⌉ - 1): a value of the window, for an even n the lower one of the two in the
    middle (``numpy.quantile`` with ``method="inverted_cdf"``).

    Args:
        array: as in `max_pool`, and so are all arguments but the last.
        size: as in `max_pool`.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        nan: as in `max_pool`.
        where: as in `max_pool`.
        output_size: as in `max_pool`.
        axes: as in `max_pool`.
        planes: as in `max_pool`.
        nodata: as in `max_pool`.
        quantile: 0 (the minimum) to 1 (the maximum), read as an exact decimal number: a float
            counts as its shortest decimal form, so that 0.07 of 100 values is the seventh.

    Returns:
        A new array as from `max_pool`.

    Raises:
        PoolError: as `max_pool`, and for a quantile that is not a number from 0 to 1.

    >>> median_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[3, 4]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    call = checked(array, window, nan, axes, planes, nodata, where=where)
    exact = exact_quantile(quantile)

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, _: PerPixel) -> NDArray[Any]:
        return rank(picture, axes, exact, nan=nan, where=where, nodata=call.nodata)

    return call.pooled(pool, call.array.dtype)


def mode_pool(
    array: ArrayLike,
    size: SizeLike | None = None,
    stride: SizeLike | None = None,
    padding: PaddingLike = 0,
    dilation: SizeLike = 1,
    *,
    ceil_mode: bool = False,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    output_size: SizeLike | None = None,
    axes: str | None = None,
    planes: int | Literal["all"] = 1,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Return the most frequent pixel of every window, all its channels together.

    Of several equally frequent pixels it is the smallest, compared channel by channel in their
    order. -0.0 counts as 0.0 and is returned as 0.0.

    Args:
        array: as in `max_pool`, and so are all arguments.
        size: as in `max_pool`.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        nan: as in `max_pool`, for pixels with NaN in any channel.
        where: as in `max_pool`.
        output_size: as in `max_pool`.
        axes: as in `max_pool`.
        planes: as in `max_pool`.
        nodata: as in `max_pool`, for pixels all of whose channels have this value.

    Returns:
        A new array as from `max_pool`.

    Raises:
        PoolError: as `max_pool`.

    >>> mode_pool(np.array([[7, 5, 2], [5, 9, 2]]), 2, 1)
    array([[5, 2]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    call = checked(array, window, nan, axes, planes, nodata, where=where)

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, _: PerPixel) -> NDArray[Any]:
        return vote(picture, axes, nan=nan, where=where, nodata=call.nodata)

    return call.pooled(pool, call.array.dtype, whole_pixels=True)
