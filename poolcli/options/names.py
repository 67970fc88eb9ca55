"""Make the names of outputs from a template."""

from __future__ import annotations

import os
import re
from typing import Final

from poolcli.engine.window import Window

NAME_KEYS: Final = ("stem", "ext", "parent", "method", "size", "stride", "level")
NAME_KEY: Final = re.compile(r"\{(" + "|".join(NAME_KEYS) + r")\}")


def output_stem(
    path: str,
    level: Window | None,
    template: str,
    method: str,
    size: tuple[int | None, int | None],
    stride: tuple[int, int] | None,
) -> str:
    """Return the name of an output, without suffix, from a template and the input's path.

    Args:
        path: the input.
        level: the window of its level; None without levels.
        template: a text with ``{key}`` of `NAME_KEYS`.
        method: the name of the method.
        size: the size of the window or of the output.
        stride: the stride; None if there is no window.

    >>> output_stem("in/cat.jpg", None, "{stem}-{method}{size}", "max", (2, 3), (2, 3))
    'cat-max3x2'
    """
    if level is not None:
        size, stride = level.size, level.stride
    folder, base = os.path.split(os.path.abspath(path))
    stem, suffix = os.path.splitext(base)
    values = {
        "stem": stem,
        "ext": suffix[1:],
        "parent": os.path.basename(folder),
        "method": method,
        "size": _extent_text(size),
        "stride": _extent_text(stride or size),
        "level": _extent_text(size),
    }
    return NAME_KEY.sub(lambda match: values[match[1]], template)


def _extent_text(extent: tuple[int | None, int | None]) -> str:
    """Return (height, width) as on the command line: one number if square, else ``WxH``."""
    height, width = extent
    return str(width) if height == width else f"{width or ''}x{height or ''}"
