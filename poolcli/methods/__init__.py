"""The pooling methods: one plain row each, from which the command line makes its verbs.

The class that a row names is a `Method`: its instances are frozen values that hold the method's own
options. Its module is imported when the method is used.
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
        """The name of the field of the method that it sets."""
        return self.flag.removeprefix("--").replace("-", "_")


class Row(NamedTuple):
    """All that the command line knows of a method.

    Attributes:
        name: the verb.
        module: the module that computes it.
        type: the class in that module.
        title: what its own options are headed by.
        summary: what it does, in a sentence.
        examples: what may be typed, a line each.
        options: its own options.
    """

    name: str
    module: str
    type: str
    title: str
    summary: str
    examples: str
    options: tuple[Option, ...] = ()

    def make(self, **options: Any) -> Method:
        """Return the method with its own options."""
        method: Method = getattr(import_module(self.module), self.type)(**options)
        return method


METHODS: Final = (
    Row(
        "max",
        "poolcli.methods.max",
        "Max",
        "Maximum",
        "Keep the largest value of every window, for each channel.",
        "poolcli max --size 2 --stride 2 in.png out.png\n"
        "poolcli max --size 3x1 --padding same in.png out.png\n"
        "cat in.png | poolcli max --size 2 - - > out.png",
    ),
    Row(
        "min",
        "poolcli.methods.min",
        "Min",
        "Minimum",
        "Keep the smallest value of every window, for each channel.",
        "poolcli min --size 2 in.png out.png\n"
        "poolcli min --size 5 --stride 2 --padding 2 --ceil-mode in.png out.png\n"
        "cat in.png | poolcli min --size 2 - - > out.png",
    ),
    Row(
        "avg",
        "poolcli.methods.avg",
        "Average",
        "Average",
        "Take the average of every window, for each channel: exact, rounded once.",
        "poolcli avg --size 4 in.jpg small.jpg\n"
        "poolcli avg --size 3 --stride 2 --padding 1 --count-include-pad in.png out.png\n"
        "cat in.png | poolcli avg --size 2 - - > out.png",
        (
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
            return row.make(**options)
    raise PoolError(
        f"there is no method {name!r}", f"give {', '.join(row.name for row in METHODS)}"
    )
