"""Max and min pooling that also tells which pixels were taken, and its reversal.

The indices are those of PyTorch's ``MaxPool2d(return_indices=True)``, which ``MaxUnpool2d`` takes.
ONNX's MaxPool counts over the whole tensor: its indices minus N·H·W for the plane of number N.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poolcli.engine.adaptive import window_of
from poolcli.engine.arguments import DTYPES, PerPixel, checked
from poolcli.engine.extremes import Extreme
from poolcli.engine.foreign import array_of
from poolcli.engine.kernels import NanPolicy
from poolcli.engine.places import check_range, check_shapes, extreme_places, put
from poolcli.engine.window import Axes, PaddingLike, SizeLike, layout_of, whole_number
from poolcli.errors import PoolError

Indexed: TypeAlias = tuple[NDArray[Any], NDArray[np.int64]]
"""Pooled values, and the flat index of each."""


def max_pool_with_indices(
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
    nodata: float | None = None,
) -> Indexed:
    """Return the maximum of every window, and which pixel it is.

    The index of a pixel is row · W + column in its picture of width W, without padding; each
    channel, and each picture of a batch, is counted on its own. It is always that of a sample
    with the value of the result: of several the first, row by row, among the samples that take
    part. Where all samples are NaN it is the first one; where "propagate" makes a window NaN,
    the first NaN.

    Args:
        array: as in `max_pool`, and so are all arguments.
        size: as in `max_pool`.
        stride: as in `max_pool`.
        padding: as in `max_pool`.
        dilation: as in `max_pool`.
        ceil_mode: as in `max_pool`.
        nan: as in `max_pool`.
        where: as in `max_pool`.
        output_size: as in `max_pool`.
        axes: as in `max_pool`; planes are pictures of a batch.
        nodata: as in `max_pool`.

    Returns:
        The array that `max_pool` returns, and the indices: int64, of the same shape.

    Raises:
        PoolError: as `max_pool`.

    >>> values, indices = max_pool_with_indices(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    >>> indices
    array([[1, 5]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    return _indexed("max", array, window, nan, where, axes, nodata)


def min_pool_with_indices(
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
    nodata: float | None = None,
) -> Indexed:
    """Return the minimum of every window, and which pixel it is.

    Arguments, results and errors are those of `max_pool_with_indices`.

    >>> values, indices = min_pool_with_indices(np.array([[1, 5, 2], [3, 4, 9]]), 2, 1)
    >>> indices
    array([[0, 2]])
    """
    window = window_of(
        size, stride, padding, dilation, ceil_mode=ceil_mode, output_size=output_size
    )
    return _indexed("min", array, window, nan, where, axes, nodata)


def _indexed(
    which: Extreme, array: Any, window: Any, nan: NanPolicy, where: Any, axes: Any, nodata: Any
) -> Indexed:
    """Check the arguments and pool each picture."""
    call = checked(array, window, nan, axes, 1, nodata, where=where)

    def pool(picture: NDArray[Any], axes: Axes, where: PerPixel, _: PerPixel) -> Indexed:
        return extreme_places(which, picture, axes, nan=nan, where=where, nodata=call.nodata)

    values, indices = call.pooled_together(pool, call.array.dtype, np.dtype(np.int64))
    return values, indices


def unpool(
    values: ArrayLike,
    indices: ArrayLike,
    shape: tuple[int, ...],
    *,
    axes: str | None = None,
) -> NDArray[Any]:
    """Put pooled values back to the places that they came from, among zeros.

    Where windows overlapped, an index may occur several times; pooled values are equal there. Of
    other values it is not defined which one is written.

    Args:
        values: (H', W'), (H', W', C) or as ``axes`` says, as `max_pool_with_indices` returns them.
        indices: integers of the same shape, row · W + column in each channel.
        shape: the shape of the array that was pooled.
        axes: as in `max_pool`.

    Returns:
        A new array of ``shape`` with the dtype and byte order of ``values``.

    Raises:
        PoolError: an argument is of the wrong type, the shapes do not fit, or an index is not one
            of ``shape``.

    >>> unpool(np.array([[5, 9]]), np.array([[1, 5]]), (2, 3))
    array([[0, 5, 0],
           [0, 0, 9]])
    """
    values, indices = array_of(values), array_of(indices)
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise PoolError(f"the dtype of the values is {values.dtype}", f"give {DTYPES}")
    if indices.dtype.kind not in "iu":
        raise PoolError(f"the dtype of the indices is {indices.dtype}", "give integers")
    if not isinstance(shape, tuple):
        raise PoolError(f"the shape is {shape!r}", "give (height, width) or (height, width, C)")
    sides = tuple(whole_number("shape", side, 0) for side in shape)
    layout = layout_of(axes, sides)
    check_shapes(values.shape, indices.shape, sides, (layout.height, layout.width))
    check_range(indices, sides[layout.height] * sides[layout.width])
    outer, inner = layout.order()
    order = (*outer, *inner)
    result = np.zeros([sides[number] for number in order], values.dtype)
    sources, places = values.transpose(order), indices.transpose(order)
    for at in np.ndindex(result.shape[: len(outer)]):
        put(sources[at], places[at], result[at])
    return np.ascontiguousarray(result.transpose(np.argsort(order)))
