"""Programs and packages that tests use, if they are installed."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

VIPS = shutil.which("vips") or ""
GDALINFO, GDAL_TRANSLATE = shutil.which("gdalinfo") or "", shutil.which("gdal_translate") or ""
TIFFINFO = shutil.which("tiffinfo") or ""
"""The paths of programs, empty where they are not installed."""


def extra(module: str, name: str) -> Any:
    """Import a module of an extra, or skip the test."""
    return pytest.importorskip(module, reason=f"the extra {name} is not installed")


def needs(program: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where a program is not installed."""
    return pytest.mark.skipif(
        not shutil.which(program), reason=f"{program} is not installed, which this test runs"
    )
