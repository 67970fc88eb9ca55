"""Pool pictures and arrays exactly, as in convolutional networks.

A window slides over the rows and columns, and of every window one value is kept: the maximum, the
minimum, the average, the median or another quantile, or the most frequent value.

>>> import numpy as np
>>> import poolcli
>>> poolcli.max_pool(np.array([[1, 5, 2, 0], [3, 4, 9, 7]]), size=2)
array([[5, 9]])

Arrays are (height, width) or (height, width, channels), or as ``axes="NCHW"`` says:

    max_pool, min_pool, avg_pool, median_pool, mode_pool   pool an array
    max_pool_with_indices, min_pool_with_indices           also tell which pixels were taken
    unpool                                                 put them back to their places
    output_shape                                           the shape of the result

Files of all formats are pooled as by the command `poolcli`:

    pool_file("in.jpg", "small.png", "avg", size=2, overwrite=True)

It returns an `Outcome`. Everything raises `PoolError`, a ValueError whose message says what is
wrong and what to do about it.
"""

# Nothing is imported here, not even `typing`: see `poolcli/__main__.py`.
TYPE_CHECKING = False  # type checkers take it for true

if TYPE_CHECKING:
    from poolcli.engine.adaptive import output_shape
    from poolcli.engine.indices import max_pool_with_indices, min_pool_with_indices, unpool
    from poolcli.engine.pooling import avg_pool, max_pool, median_pool, min_pool, mode_pool
    from poolcli.errors import PoolError as PoolError
    from poolcli.files import pool_file
    from poolcli.report import Outcome as Outcome

# The two classes are public too. They are not listed here because `help(poolcli)` would show
# everything that they inherit before it came to the first function.
__all__ = [
    "avg_pool",
    "max_pool",
    "max_pool_with_indices",
    "median_pool",
    "min_pool",
    "min_pool_with_indices",
    "mode_pool",
    "output_shape",
    "pool_file",
    "unpool",
]
__version__ = "0.1.0"

_MODULES = {
    "Outcome": "report",
    "PoolError": "errors",
    "avg_pool": "engine.pooling",
    "max_pool": "engine.pooling",
    "max_pool_with_indices": "engine.indices",
    "median_pool": "engine.pooling",
    "min_pool": "engine.pooling",
    "min_pool_with_indices": "engine.indices",
    "mode_pool": "engine.pooling",
    "output_shape": "engine.adaptive",
    "pool_file": "files",
    "unpool": "engine.indices",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use, so that `--help` runs without NumPy."""
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted(_MODULES)
