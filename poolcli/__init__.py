"""poolcli: exact max, min and average pooling of pictures and arrays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolcli.errors import PoolError
    from poolcli.pooling import avg_pool, max_pool, min_pool
    from poolcli.window import Window, output_shape

__all__ = ["PoolError", "Window", "avg_pool", "max_pool", "min_pool", "output_shape"]
__version__ = "0.1.0"

_HOMES = {
    "PoolError": "errors",
    "Window": "window",
    "output_shape": "window",
    "avg_pool": "pooling",
    "max_pool": "pooling",
    "min_pool": "pooling",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `--help` needs no NumPy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
