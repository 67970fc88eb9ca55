"""Exact max, min and average pooling of NumPy arrays: the public functions.

They check every argument and lay a `Window` over the array. `extremes` and `means` then say what
is computed, `tiles` in which order, and `kernels` how.
"""

from __future__ import annotations

import sys
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.extremes import Extreme, extreme_pool
from poolcli.engine.means import Divisors, FloatMean, float_mean, integer_mean
from poolcli.engine.tiles import TUNED, Grid, Tuning, array_reader, table_reader
from poolcli.engine.window import Axis, PaddingLike, SizeLike, Window, whole_number
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
    return extreme("max", *_lay(window, array), nan=nan, where=where)


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
    return extreme("min", *_lay(window, array), nan=nan, where=where)


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
    return average(
        *_lay(window, array),
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
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool like `max_pool` or `min_pool`, with windows that are laid over the array already."""
    values, omit = _checked(array), _omits(nan)
    mask = _where(values, where)
    stack = _stack(values)
    grid, out = _prepare(stack, axes, stack.dtype, tuning)
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
    tuning: Tuning = TUNED,
) -> NDArray[Any]:
    """Pool like `avg_pool`, with windows that are laid over the array already."""
    values, omit = _checked(array), _omits(nan)
    override = _divisor(divisor_override, count_include_pad)
    weights = _combined_weights(values, where, weights)
    if weights is not None and (count_include_pad or override is not None):
        raise PoolError(
            "where and weights decide the divisor themselves",
            "leave out count_include_pad and divisor_override",
        )
    stack = _stack(values)
    grid, out = _prepare(stack, axes, stack.dtype, tuning)
    divisors = Divisors.of(*axes, count_include_pad, override)
    # Casts of integers may warn too: `slide` leaves undefined elements at the end of its rows.
    with np.errstate(all="ignore"):
        if stack.dtype.kind == "f":
            float_mean(FloatMean(array_reader(stack), grid, divisors, omit), weights, out)
        else:
            scale = 255 if values.dtype == np.bool_ else 1
            integer_mean(stack, weights, grid, divisors, scale, out)
    return _like(out, values, stack.dtype)


def table_average(
    array: NDArray[Any],
    table: NDArray[np.float64],
    axes: Axes,
    *,
    count_include_pad: bool = False,
    divisor_override: int | None = None,
    weights: NDArray[Any] | None = None,
    tuning: Tuning = TUNED,
) -> NDArray[np.float64]:
    """Return the average of ``table[array]`` without making that array, which may be large.

    Args:
        array: unsigned integers below the length of the table, (H, W) or (H, W, C).
        table: float64 (N,).
        axes: the windows, laid over the array.
        count_include_pad: as in `avg_pool`.
        divisor_override: as in `avg_pool`.
        weights: as in `avg_pool`.
        tuning: sizes of the working set.

    Returns:
        float64 averages, not rounded, (H', W') or (H', W', C).
    """
    stack = _stack(array)
    grid, out = _prepare(stack, axes, np.dtype(np.float64), tuning)
    divisors = Divisors.of(*axes, count_include_pad, divisor_override)
    with np.errstate(all="ignore"):
        float_mean(FloatMean(table_reader(stack, table), grid, divisors, False), weights, out)
    return out.reshape(out.shape[: array.ndim])


def _lay(window: Window, array: Any) -> tuple[NDArray[Any], Axes]:
    """Check an array and lay the window over it."""
    values = _checked(array)
    height, width = values.shape[:2]
    return values, window.axes((height, width))


def _prepare(
    stack: NDArray[Any], axes: Axes, dtype: np.dtype[Any], tuning: Tuning
) -> tuple[Grid, NDArray[Any]]:
    """Return the grid of windows over (H, W, C) pixels, and memory for the native result."""
    (rows, columns), channels = axes, stack.shape[2]
    out = np.empty((rows.out, columns.out, channels), dtype.newbyteorder("="))
    return Grid(rows, columns, channels, tuning), out


def _checked(array: Any) -> NDArray[Any]:
    """Return ``array`` as an array that can be pooled, or refuse it."""
    # Whoever has a masked array has imported numpy.ma, which takes longer than most pooling.
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        raise PoolError("a masked array's mask would be lost", "pass array.data, where=~array.mask")
    try:
        values = np.asarray(array)
    except ValueError as fault:  # rows of different lengths
        raise PoolError(f"it can't be made an array: {fault}", "give (H, W) or (H, W, C)") from None
    if values.ndim not in (2, 3):
        raise PoolError(f"the array has shape {values.shape}", "give (H, W) or (H, W, C)")
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise PoolError(f"the array's dtype is {values.dtype}", f"give {DTYPES}")
    return values


def _stack(values: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels as (H, W, C) numbers, a view where possible; bools as 0 and 1."""
    numbers = _zeros_and_ones(values) if values.dtype == np.bool_ else values
    return numbers if numbers.ndim == 3 else numbers[..., None]


def _zeros_and_ones(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a mask as 0 and 1: a view, unless its bytes are others, as Pillow makes them."""
    numbers = mask.view(np.uint8)
    return (numbers != 0).view(np.uint8) if numbers.max(initial=0) > 1 else numbers


def _like(out: NDArray[Any], values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the result in a dtype with its byte order, with as many axes as the input."""
    if not dtype.isnative:
        out.byteswap(inplace=True)
    return out.view(dtype).reshape(out.shape[: values.ndim])


def _omits(nan: Any) -> bool:
    """Return whether NaN pixels are left out."""
    if not isinstance(nan, str) or nan not in ("omit", "propagate"):
        raise PoolError(f"nan is {nan!r}", 'give "omit" or "propagate"')
    return bool(nan == "omit")


def _where(values: NDArray[Any], where: Any) -> NDArray[np.bool_] | None:
    """Return the mask, each byte of it 0 or 1, or refuse it."""
    if where is None:
        return None
    return _zeros_and_ones(_per_pixel(values, "where", where, "b", "a bool array")).view(np.bool_)


def _combined_weights(values: NDArray[Any], where: Any, weights: Any) -> NDArray[Any] | None:
    """Return ``where`` and ``weights`` as one array of weights, or None if neither is given."""
    mask = _where(values, where)
    if weights is None:
        return None if mask is None else mask.view(np.uint8)
    _per_pixel(values, "weights", weights, "u", "unsigned integers")
    return np.asarray(weights if mask is None else weights * mask)


def _per_pixel(values: NDArray[Any], name: str, given: Any, kind: str, wanted: str) -> NDArray[Any]:
    """Return an argument if it is an array of that kind with one value for each pixel."""
    if not isinstance(given, np.ndarray) or given.dtype.kind != kind:
        found = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else repr(given)
        raise PoolError(f"{name} is {found}", f"give {wanted} (H, W)")
    if given.shape != values.shape[:2]:
        raise PoolError(
            f"{name} has shape {given.shape}, the array {values.shape}", "give one value a pixel"
        )
    return given


def _divisor(override: Any, count_include_pad: Any) -> int | None:
    """Return the override as an integer of at least 1; check the types of both options."""
    if not isinstance(count_include_pad, bool):
        raise PoolError(f"count_include_pad is {count_include_pad!r}", "give True or False")
    return None if override is None else whole_number("divisor_override", override, 1)
