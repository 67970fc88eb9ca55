"""Import the optional packages when a picture needs them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from poolcli.errors import PoolError, missing
from poolcli.formats import FORMATS
from poolcli.formats.row import Extra


def library(name: str, extra: str, what: str = "this format or depth") -> Any:
    """Import an optional package.

    Args:
        name: the package.
        extra: the extra that installs it, which the message names.
        what: what needs it, in words.

    Raises:
        PoolError: the package is not installed.
    """
    try:
        return import_module(name)
    except ImportError:
        raise missing(what, name.replace("_", "-"), extra) from None


def require_all(extra: Extra | None) -> None:
    """Refuse a picture if a package of an extra is missing.

    Raises:
        PoolError: a package is not installed.
    """
    if extra is not None:
        for name in extra.packages:
            library(name, extra.name)


def is_installed(extra: Extra) -> bool:
    """Return whether all packages of an extra can be imported."""
    try:
        require_all(extra)
    except PoolError:
        return False
    return True


def versions(*others: str) -> Iterator[tuple[str, str]]:
    """Yield names and versions: of NumPy, Pillow, the packages of formats, and others."""
    from importlib import metadata  # few runs need it, and each import delays the start

    extras = [row.extra for row in FORMATS if row.extra is not None]
    names = dict.fromkeys(name for extra in extras for name in extra.packages)
    for name in ("NumPy", "Pillow", *names, *others):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
