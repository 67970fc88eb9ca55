"""poolcli: exact max, min, average, median and mode pooling of pictures and arrays."""

# Nothing is imported here, not even `typing`: see `poolcli/__main__.py`.
TYPE_CHECKING = False  # type checkers take it for true

if TYPE_CHECKING:
    from poolcli.engine.adaptive import output_shape
    from poolcli.engine.pooling import avg_pool, max_pool, median_pool, min_pool, mode_pool
    from poolcli.engine.window import Window
    from poolcli.errors import PoolError

__all__ = [
    "PoolError",
    "Window",
    "avg_pool",
    "max_pool",
    "median_pool",
    "min_pool",
    "mode_pool",
    "output_shape",
]
__version__ = "0.1.0"

_MODULES = {
    "PoolError": "errors",
    "Window": "engine.window",
    "output_shape": "engine.adaptive",
    "avg_pool": "engine.pooling",
    "max_pool": "engine.pooling",
    "median_pool": "engine.pooling",
    "min_pool": "engine.pooling",
    "mode_pool": "engine.pooling",
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
    return sorted(set(globals()) | set(__all__))
