"""The pooling methods: one row each, from which the command line makes its verbs.

A new method is one row in `METHODS` and one module with a class that implements `Method`. Its
instances are frozen values that hold the method's own options. The module is imported when the
method is used, so that `--help` runs without NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from poolcli.engine.quantile import exact_quantile
from poolcli.engine.window import positive
from poolcli.errors import PoolError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from poolcli.engine.kernels import NanPolicy
    from poolcli.engine.window import Axes


Alpha: TypeAlias = Literal["weighted", "straight"]


class Method(Protocol):
    """Compute one value of every window."""

    @property
    def name(self) -> str:
        """The name of the verb, for reports."""

    @property
    def assumes_srgb(self) -> bool:
        """Return whether it decodes pixels by the transfer curve of sRGB."""

    @property
    def reported_quantile(self) -> float | None:
        """The quantile that it takes, for reports; None if it takes none."""

    @property
    def takes_indices(self) -> bool:
        """Return whether pictures with a palette are pooled by their indices, which are labels."""

    @property
    def blends(self) -> bool:
        """Return whether a result may be a value that no sample of its window has."""

    def result(self, mode: str, dtype: np.dtype[Any]) -> tuple[str, np.dtype[Any]]:
        """Return the mode and the type of the pooled picture.

        Args:
            mode: the mode of the input, a key of `poolcli.picture.MODES`.
            dtype: the type of its samples.

        Raises:
            PoolError: this method can't pool pictures of this mode.
        """

    def pool(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        alpha: Alpha | None = None,
        nan: NanPolicy = "omit",
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Pool a picture (H, W) or (H, W, C).

        Args:
            array: the pixels.
            axes: the windows of both axes.
            alpha: how the last channel, which is alpha, is treated: "weighted" weights the colour
                of a pixel by it, "straight" pools it as one more channel; None if there is none.
            nan: "omit" leaves NaN pixels out of their windows; with "propagate" a window that
                holds NaN becomes NaN.
            nodata: the value of samples that take no part; a window of these alone, or beside
                NaN, becomes this value. Alpha is never compared with it.
        """


class Locating(Method, Protocol):
    """A method whose results are pixels of their windows, and that tells which."""

    def pool_with_indices(
        self,
        array: NDArray[Any],
        axes: Axes,
        *,
        alpha: Alpha | None = None,
        nan: NanPolicy = "omit",
        nodata: float | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Pool like `pool`, with alpha "straight", and return the indices of the results too.

        The index of a pixel is row · W + column, in each channel.
        """


class Option(NamedTuple):
    """An option of one method.

    Attributes:
        flag: its name on the command line, with the dashes.
        help: the help text.
        shown: the placeholder of its value in the help; empty if it takes none.
        read: returns the value from the text, or raises `PoolError`.
        default: the value if it isn't given.
        needs_window: whether it is refused where the size of the output is given instead.
        is_output: whether it is the path of a further output, which is planned like OUTPUT,
            instead of a field of the method's class.
    """

    flag: str
    help: str
    shown: str = ""
    read: Callable[[str], Any] = str
    default: str | None = None
    needs_window: bool = False
    is_output: bool = False

    @property
    def key(self) -> str:
        """The name of the field that it sets in the method's class."""
        return self.flag.removeprefix("--").replace("-", "_")


class Row(NamedTuple):
    """All that the command line knows of a method.

    Attributes:
        name: the name of the verb.
        module: the module of its class.
        type: the name of its class, which implements `Method`.
        title: the title of its own options in the help.
        summary: what it does, in one sentence.
        examples: command lines, one per line.
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
        """Import the class of the method, and return it with its own options."""
        method: Method = getattr(import_module(self.module), self.type)(**options)
        return method


_INDICES: Final = Option(
    "--indices",
    "Also write which pixel each value is, to this .npz; a folder if OUTPUT is one.",
    "PATH",
    is_output=True,
)

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
        (_INDICES,),
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
        (_INDICES,),
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
            Option(
                "--count-include-pad",
                "Count the pixels of the padding in the divisor too.",
                needs_window=True,
            ),
            Option("--linear", "Average in linear light, decoded by the curve of sRGB."),
            Option(
                "--divisor-override", "Divide every sum by N.", "N", positive, needs_window=True
            ),
        ),
    ),
    Row(
        "median",
        "poolcli.methods.median",
        "Median",
        "Median",
        "Take the median, or another quantile, of every window, for each channel.",
        "poolcli median --size 3 --stride 1 --padding same in.png out.png\n"
        "poolcli median --size 5 --quantile 0.95 in.tif out.tif\n"
        "cat in.png | poolcli median --size 2 - - > out.png",
        (
            Option(
                "--quantile",
                "The quantile: 0 is the minimum, 0.5 the lower median, 1 the maximum.",
                "Q",
                exact_quantile,
                "0.5",
            ),
        ),
    ),
    Row(
        "mode",
        "poolcli.methods.mode",
        "Vote",
        "Mode",
        "Keep the most frequent pixel of every window, all channels together.",
        "poolcli mode --size 2 in.png out.png\n"
        "poolcli mode --size 5 --stride 2 --padding same in.png out.png\n"
        "cat in.png | poolcli mode --size 2 - - > out.png",
    ),
)


def make(name: str, **options: Any) -> Method:
    """Return the method of a name, with its own options.

    Raises:
        PoolError: there is no such method.
    """
    return row_of(name).make(**options)


def row_of(name: str) -> Row:
    """Return the row of a method.

    Raises:
        PoolError: there is no such method.
    """
    for row in METHODS:
        if row.name == name:
            return row
    raise PoolError(
        f"there is no method {name!r}", f"give {', '.join(row.name for row in METHODS)}"
    )
