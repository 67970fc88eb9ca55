"""Check the arguments of the public functions, and pool an array picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import OutputSize, plane_count
from poolcli.engine.foreign import array_of
from poolcli.engine.kernels import NanPolicy
from poolcli.engine.nodata import nodata_value
from poolcli.engine.planes import Deep
from poolcli.engine.tiles import zeros_and_ones
from poolcli.engine.window import Axes, Window, layout_of
from poolcli.errors import PoolError
from poolcli.layout import Layout

PER_PIXEL: Final = {"where": ("b", "a bool array"), "weights": ("u", "unsigned integers")}
DTYPES: Final = "bool, int8…64, uint8…64, float16, float32 or float64"

PerPixel: TypeAlias = NDArray[Any] | None
"""The argument ``where`` or ``weights``, one value for each pixel; None if it is not given."""

PoolPicture: TypeAlias = Callable[[NDArray[Any], Axes, PerPixel, PerPixel], NDArray[Any]]
"""A function (picture, windows, where, weights) → result, from (H, W) or (H, W, C), and (H, W)."""


class Arguments(NamedTuple):
    """The checked arguments of a public function.

    Attributes:
        array: the array as it was given.
        layout: the meaning of its axes.
        axes: the windows along height and width.
        planes: the number of planes of a window.
        nodata: the value of samples without data, or None.
        where: bool (…, H, W), behind as many batch axes as it has; or None.
        weights: unsigned integers, likewise; or None.
    """

    array: NDArray[Any]
    layout: Layout
    axes: Axes
    planes: int = 1
    nodata: float | None = None
    where: PerPixel = None
    weights: PerPixel = None

    def pooled(
        self, pool: PoolPicture, dtype: np.dtype[Any], *, whole_pixels: bool = False
    ) -> NDArray[Any]:
        """Pool each picture of the array, and return the results in the order of its axes.

        Args:
            pool: pools one picture.
            dtype: the type of the result.
            whole_pixels: whether the channels of a pixel can't be pooled apart.
        """
        return self.pooled_together(
            lambda *picture: (pool(*picture),), dtype, whole_pixels=whole_pixels
        )[0]

    def pooled_together(
        self,
        pool: Callable[[NDArray[Any], Axes, PerPixel, PerPixel], tuple[NDArray[Any], ...]],
        *dtypes: np.dtype[Any],
        whole_pixels: bool = False,
    ) -> tuple[NDArray[Any], ...]:
        """Pool each picture like `pooled`, into several results.

        Args:
            pool: pools one picture, and returns all results.
            dtypes: the type of each result.
            whole_pixels: as in `pooled`.
        """
        outer, inner = self.layout.order(whole_pixels=whole_pixels)
        if (*outer, *inner) == tuple(range(self.array.ndim)) and not outer:
            return pool(self.array, self.axes, self.where, self.weights)
        rows, columns = self.axes
        depth, stack = self.planes, self.layout.planes
        shape = self.layout.result_shape(self.array.shape, rows.out, columns.out, depth)
        results = tuple(np.empty(shape, dtype) for dtype in dtypes)
        deep = None if depth == 1 or stack is None else Deep.of(self.axes, depth)
        if deep is not None and stack is not None:
            outer = (*(axis for axis in outer if axis != stack), stack)
        axes = self.axes if deep is None else deep.axes
        pictures, *targets = (one.transpose(*outer, *inner) for one in (self.array, *results))
        for place in np.ndindex(targets[0].shape[: len(outer)]):
            masks = (_of_picture(mask, place, deep) for mask in (self.where, self.weights))
            picture = _of_picture(pictures, place, deep, len(inner))
            for target, pooled in zip(targets, pool(picture, axes, *masks), strict=True):
                target[place] = pooled
        return results


def _of_picture(
    array: NDArray[Any] | None, place: tuple[int, ...], deep: Deep | None, axes: int = 2
) -> NDArray[Any] | Any:
    """Return the part of an array, or of a mask, that belongs to one picture of the result.

    Args:
        array: (…, H, W) or (…, H, W, C), with as many of the outer axes as it has; or None.
        place: the place of the picture along the outer axes.
        deep: the windows over several planes, which are the last of the outer axes; or None.
        axes: the number of axes of a picture.
    """
    if array is None:
        return None
    lead = array.ndim - axes
    if deep is None:
        return array[place[:lead]]
    if not lead:
        return deep.laid(array)
    first = place[-1] * deep.planes
    return deep.laid(array[place[: lead - 1]][first : first + deep.planes])


def checked(
    array: Any,
    window: Window | OutputSize,
    nan: Any,
    axes: Any,
    planes: Any,
    nodata: Any,
    **masks: Any,
) -> Arguments:
    """Check the arguments that all public functions have.

    Raises:
        PoolError: an argument is not valid, or the window does not fit.
    """
    if not isinstance(nan, str) or nan not in get_args(NanPolicy):
        raise PoolError(f"nan is {nan!r}", 'give "omit" or "propagate"')
    values = array_of(array)
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise PoolError(f"the array's dtype is {values.dtype}", f"give {DTYPES}")
    layout = layout_of(axes, values.shape)
    extents = values.shape[layout.height], values.shape[layout.width]
    per_pixel = {name: _mask(values, layout, name, mask) for name, mask in masks.items()}
    value = None if nodata is None else nodata_value(nodata, values.dtype)
    depth = plane_count(planes, None if layout.planes is None else values.shape[layout.planes])
    return Arguments(values, layout, window.axes(extents), depth, value, **per_pixel)


def _mask(values: NDArray[Any], layout: Layout, name: str, given: Any) -> PerPixel:
    """Return the argument ``where`` or ``weights``, or None if it is not given.

    Returns:
        (H, W) for all pictures, or one for each, behind the batch axes.

    Raises:
        PoolError: it is not an array of the right type with one value for each pixel.
    """
    if given is None:
        return None
    kind, wanted = PER_PIXEL[name]
    if not (hasattr(given, "__array__") or hasattr(given, "__dlpack__")):
        raise PoolError(f"{name} is {given!r}", f"give {wanted} (H, W)")
    given = array_of(given)
    if given.dtype.kind != kind:
        raise PoolError(f"{name} is an array of {given.dtype}", f"give {wanted} (H, W)")
    mask = zeros_and_ones(given).view(np.bool_) if kind == "b" else given
    axes = [number for number in range(values.ndim) if number != layout.channels]
    if given.shape == tuple(values.shape[number] for number in axes):
        outer = [number for number in layout.order()[0] if number != layout.channels]
        return mask.transpose([axes.index(at) for at in (*outer, layout.height, layout.width)])
    if given.shape == (values.shape[layout.height], values.shape[layout.width]):
        return mask
    raise PoolError(
        f"{name} has shape {given.shape}, the array {values.shape}", "give one value a pixel"
    )
