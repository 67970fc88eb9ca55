"""The pooling methods: one plain row each, from which the command line makes its verbs.

The module that a row names has ``make(**options)``, which returns a `Method`: a frozen value that
holds the method's own options. It is imported when the method is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from poolcli.errors import PoolError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from poolcli.engine.kernels import NanPolicy
    from poolcli.engine.window import Axes


class Method(Protocol):
    """What is computed of every window."""

    @property
    def name(self) -> str:
        """What the command line calls the method, for reports."""

    @property
    def assumes_srgb(self) -> bool:
        """Whether it takes the values of pixels for light as encoded by the curve of sRGB."""

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return mode and type of the pooled picture, from those of the picture.

        Raises:
            PoolError: such pictures can't be pooled by this method.
        """

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        nan: NanPolicy = "omit",
        weights: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Pool every channel of (H, W) or (H, W, C) on its own.

        Args:
            array: the pixels.
            axes: the windows, laid over the array.
            nan: whether NaN is left out of its windows, or spreads.
            weights: unsigned integers (H, W): how much each pixel counts; one of weight 0 takes
                no part. A window of which all weights are 0 is pooled as if they were 1.
        """

    def for_alpha(self) -> Method:
        """Return the method for an alpha channel, whose values are never light."""


class Option(NamedTuple):
    """An option of one method.

    Attributes:
        flag: as it is typed.
        help: what it does.
        least: the least whole number that it takes; None where it takes no value.
    """

    flag: str
    help: str
    least: int | None = None

    @property
    def key(self) -> str:
        """The name of the argument of ``make`` that it becomes."""
        return self.flag.removeprefix("--").replace("-", "_")


class Row(NamedTuple):
    """All that the command line knows of a method.

    Attributes:
        name: the verb.
        module: the module of `poolcli.methods` that computes it; or any other, in full.
        title: what its own options are headed by.
        summary: what it does, in a sentence.
        examples: what may be typed.
        options: its own options.
    """

    name: str
    module: str
    title: str
    summary: str
    examples: tuple[str, ...]
    options: tuple[Option, ...] = ()


METHODS: Final = (
    Row(
        name="max",
        module="max",
        title="Maximum",
        summary="Keep the largest value of every window, for each channel.",
        examples=(
            "poolcli max --size 2 --stride 2 in.png out.png",
            "poolcli max --size 3x1 --padding same in.png out.png",
            "cat in.png | poolcli max --size 2 - - > out.png",
        ),
    ),
    Row(
        name="min",
        module="min",
        title="Minimum",
        summary="Keep the smallest value of every window, for each channel.",
        examples=(
            "poolcli min --size 2 in.png out.png",
            "poolcli min --size 5 --stride 2 --padding 2 --ceil-mode in.png out.png",
            "cat in.png | poolcli min --size 2 - - > out.png",
        ),
    ),
    Row(
        name="avg",
        module="avg",
        title="Average",
        summary="Take the average of every window, for each channel: exact, rounded once.",
        examples=(
            "poolcli avg --size 4 in.jpg small.jpg",
            "poolcli avg --size 3 --stride 2 --padding 1 --count-include-pad in.png out.png",
            "cat in.png | poolcli avg --size 2 - - > out.png",
        ),
        options=(
            Option("--count-include-pad", "Divide by the taps on padding too."),
            Option("--linear", "Average in linear light, decoded by the curve of sRGB."),
            Option("--divisor-override", "Divide every sum by N.", least=1),
        ),
    ),
)


def make(name: str, **options: Any) -> Method:
    """Return a method by its name, with its own options.

    Raises:
        PoolError: there is no such method.
    """
    for row in METHODS:
        if row.name == name:
            module = row.module if "." in row.module else f"{__name__}.{row.module}"
            method: Method = import_module(module).make(**options)
            return method
    raise PoolError(
        f"there is no method {name!r}", f"give {', '.join(row.name for row in METHODS)}"
    )
