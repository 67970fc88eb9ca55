"""The engine: exact max, min and average pooling of NumPy arrays.

Three functions, one door: every choice is checked here, and a `Window` is laid over the array;
`extremes` and `means` say what is computed, `tiles` in which order, `kernels` how.
"""

from __future__ import annotations

import operator
import sys
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.extremes import Extreme, extreme_pool
from poolcli.engine.means import (
    Divisors,
    float_mean,
    integer_mean,
    weighted_float_mean,
    weighted_integer_mean,
)
from poolcli.engine.tiles import Grid, Term, looked_up, pixels
from poolcli.engine.window import Axis, PaddingLike, SizeLike, Window
from poolcli.errors import PoolError

__all__ = ["average", "avg_pool", "extreme", "max_pool", "min_pool", "table_average"]

NanPolicy: TypeAlias = Literal["omit", "propagate"]
Axes: TypeAlias = tuple[Axis, Axis]
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
    """The maximum of every window, each channel on its own.

    Args:
        array: (H, W) or (H, W, C) of bool, integers or floats up to 64 bits, any memory layout.
        size: taps of the window, one number or (height, width).
        stride: pixels between windows; ``size`` if None.
        padding: pixels around the picture that no window reads: a number, (h, w),
            ((top, bottom), (left, right)), "valid", "same" or "same_lower".
        dilation: pixels between taps.
        ceil_mode: whether windows may hang over the end.
        nan: "omit" leaves NaN pixels out, "propagate" lets one NaN make its window NaN.
        where: bool (H, W), the pixels that take part; a window in which none does is pooled as
            if all did.

    Returns:
        A new array (H', W') or (H', W', C) of the same dtype; see `output_shape`.

    Raises:
        PoolError: an argument is of the wrong kind, or the window does not fit.

    >>> max_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[5, 9]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    return extreme("max", *_laid(window, array), nan=nan, where=where)


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
    """The minimum of every window, each channel on its own; all else as `max_pool`.

    >>> min_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[1, 2]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    return extreme("min", *_laid(window, array), nan=nan, where=where)


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
    """The average of every window, each channel on its own: Σwx/Σw over pixels that take part.

    Integers are exact and rounded once, to nearest, ties to even. Floats are summed and divided
    in float64 and rounded once. A bool array counts as 0 and 255 and gives uint8. The first
    eight arguments are those of `max_pool`.

    Args:
        array: as in `max_pool`.
        size: as in `max_pool`.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        nan: as in `max_pool`; omitted pixels are not counted in the divisor.
        where: as in `max_pool`.
        count_include_pad: divide by the taps on explicit padding too.
        divisor_override: divide every sum by this number; integers are clipped to their type.
        weights: unsigned integers (H, W); a window whose weights sum to 0 is averaged as if
            all were 1.

    Returns:
        A new array (H', W') or (H', W', C) of the same dtype (bool: uint8).

    Raises:
        PoolError: as `max_pool`; ``where`` or ``weights`` with another divisor.

    >>> avg_pool(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    array([[3, 5]])
    """
    window = Window.of(size, stride, padding, dilation, ceil_mode=ceil_mode)
    return average(
        *_laid(window, array),
        nan=nan,
        where=where,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
        weights=weights,
    )


def extreme(
    which: Extreme,
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """What `max_pool` or `min_pool` gives for a window that is laid over the array already."""
    values, omit = _checked(array), _omits(nan)
    mask = _where(values, where)
    stack, (rows, columns) = _stack(values), axes
    grid = Grid(rows, columns, stack.shape[2])
    out = np.empty((rows.out, columns.out, stack.shape[2]), stack.dtype.newbyteorder("="))
    if out.size:
        with np.errstate(all="ignore"):
            extreme_pool(stack, grid, which, omit, mask, out)
    return _like(out, values, values.dtype)


def average(
    array: NDArray[Any],
    axes: Axes,
    *,
    nan: NanPolicy = "omit",
    where: NDArray[np.bool_] | None = None,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """What `avg_pool` gives for a window that is laid over the array already."""
    values, omit = _checked(array), _omits(nan)
    override = _divisor(divisor_override, count_include_pad)
    taking_part = _weights(values, where, weights)
    if taking_part is not None and (count_include_pad or override is not None):
        raise PoolError(
            "where and weights decide the divisor themselves",
            "leave out count_include_pad and divisor_override",
        )
    scale = 255 if values.dtype == np.bool_ else 1
    stack, (rows, columns) = _stack(values), axes
    grid = Grid(rows, columns, stack.shape[2])
    out = np.empty((rows.out, columns.out, stack.shape[2]), stack.dtype.newbyteorder("="))
    divisors = Divisors.of(rows, columns, count_include_pad, override)
    if not out.size:
        return _like(out, values, stack.dtype)
    with np.errstate(all="ignore"):  # integers too: what a slide leaves without meaning is cast
        if stack.dtype.kind == "f":
            _float_mean(pixels(stack), taking_part, grid, divisors, omit, out)
        elif taking_part is None:
            integer_mean(stack, grid, divisors, out, scale)
        else:
            weighted_integer_mean(stack, taking_part, grid, out, scale)
    return _like(out, values, stack.dtype)


def table_average(
    array: NDArray[Any],
    table: NDArray[np.float64],
    axes: Axes,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """The average of ``table[array]``, as `average` would of that array, which is never made.

    Args:
        array: unsigned integers below the length of the table, (H, W) or (H, W, C).
        table: float64 (N,).
        axes: the window, laid over the array.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        weights: as in `avg_pool`; the two choices before mean nothing with it.

    Returns:
        float64 averages, not rounded, (H', W') or (H', W', C).
    """
    stack, (rows, columns) = _stack(array), axes
    grid = Grid(rows, columns, stack.shape[2])
    divisors = Divisors.of(rows, columns, count_include_pad, divisor_override)
    out = np.empty((rows.out, columns.out, stack.shape[2]))
    with np.errstate(all="ignore"):
        _float_mean(looked_up(stack, table), weights, grid, divisors, False, out)
    return out.reshape(out.shape[: array.ndim])


def _float_mean(
    every: Term,
    weights: NDArray[Any] | None,
    grid: Grid,
    divisors: Divisors,
    omit: bool,
    out: NDArray[Any],
) -> None:
    """The average of floats, weighted or not."""
    if weights is None:
        float_mean(every, grid, divisors, omit, out)
    else:
        weighted_float_mean(every, weights, grid, omit, out)


def _laid(window: Window, array: Any) -> tuple[NDArray[Any], Axes]:
    """An array that can be pooled, and the window laid over it."""
    values = _checked(array)
    height, width = values.shape[:2]
    return values, window.axes((height, width))


def _checked(array: Any) -> NDArray[Any]:
    """The array, if it is one that can be pooled."""
    masked = sys.modules.get("numpy.ma")  # to import it takes longer than to pool most pictures
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise PoolError("a masked array's mask would be lost", "pass array.data, where=~array.mask")
    try:
        values = np.asarray(array)
    except ValueError as fault:  # rows of different lengths
        raise PoolError(f"it is no array: {fault}", "give (H, W) or (H, W, C)") from None
    if values.ndim not in (2, 3):
        raise PoolError(f"the array has shape {values.shape}", "give (H, W) or (H, W, C)")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise PoolError(f"the array's dtype is {values.dtype}", f"give {DTYPES}")
    return values


def _stack(values: NDArray[Any]) -> NDArray[Any]:
    """The same pixels as (H, W, C) numbers: a view, but of a bool whose bytes aren't 0 and 1."""
    numbers = _ones(values) if values.dtype == np.bool_ else values
    return numbers if numbers.ndim == 3 else numbers[..., None]


def _ones(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask as 0 and 1: a view, but of one whose bytes are others, as foreign code may make."""
    numbers = mask.view(np.uint8)
    return (numbers != 0).view(np.uint8) if numbers.max(initial=0) > 1 else numbers


def _like(out: NDArray[Any], values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The result in the array's own dtype, byte order and number of axes."""
    if not dtype.isnative:
        out.byteswap(inplace=True)
    return out.view(dtype).reshape(out.shape[: values.ndim])


def _omits(nan: Any) -> bool:
    """Whether NaN pixels are left out."""
    if not isinstance(nan, str) or nan not in ("omit", "propagate"):
        raise PoolError(f"nan is {nan!r}", 'give "omit" or "propagate"')
    return bool(nan == "omit")


def _where(values: NDArray[Any], where: Any) -> NDArray[np.bool_] | None:
    """The mask, if it is one of this picture."""
    if where is None:
        return None
    if not isinstance(where, np.ndarray) or where.dtype != np.bool_:
        raise PoolError(f"where is {_kind(where)}", "give a bool array (H, W)")
    if where.shape != values.shape[:2]:
        raise PoolError(
            f"where has shape {where.shape}, the array {values.shape}", "give one value a pixel"
        )
    return _ones(where).view(np.bool_)


def _weights(values: NDArray[Any], where: Any, weights: Any) -> NDArray[Any] | None:
    """``where`` and ``weights`` as one array of weights, or None if neither is given."""
    mask = _where(values, where)
    if weights is None:
        return None if mask is None else mask.view(np.uint8)
    if not isinstance(weights, np.ndarray) or weights.dtype.kind != "u":
        raise PoolError(f"weights are {_kind(weights)}", "give unsigned integers (H, W)")
    if weights.shape != values.shape[:2]:
        raise PoolError(
            f"weights have shape {weights.shape}, the array {values.shape}",
            "give one value a pixel",
        )
    return weights if mask is None else weights * mask


def _kind(value: Any) -> str:
    """What a wrong argument is."""
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)


def _divisor(override: Any, count_include_pad: Any) -> int | None:
    """The override as an integer of at least 1; both options' types are checked."""
    if not isinstance(count_include_pad, bool):
        raise PoolError(f"count_include_pad is {count_include_pad!r}", "give True or False")
    if override is None:
        return None
    try:
        number = operator.index(override)
    except TypeError:
        number = 0
    if isinstance(override, bool) or number < 1:
        raise PoolError(f"divisor_override is {override!r}", "give a whole number of at least 1")
    return number
