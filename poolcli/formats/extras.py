"""The optional libraries, imported only when a picture needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from poolcli.errors import PoolError
from poolcli.formats import Extra


def library(name: str, extra: str) -> Any:
    """Return an optional library.

    Raises:
        PoolError: it is missing; the extra that installs it is named.
    """
    try:
        return import_module(name)
    except ImportError:
        raise PoolError(
            f"such samples need {name}", f"install it: the extra [{extra}] of poolcli-image"
        ) from None


def require_all(extra: Extra | None) -> None:
    """Refuse to go on without the libraries of an extra.

    Raises:
        PoolError: one is missing.
    """
    if extra is not None:
        for name in extra.packages:
            library(name, extra.name)
