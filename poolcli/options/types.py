"""Parse the values of options.

The command line writes width before height, as image programs do. All other code has height before
width, as NumPy does. Only this module exchanges the two.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any, Final

import click

from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, NAMES, by_suffix

NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
NAME_KEYS: Final = ("stem", "ext", "parent", "method", "size", "stride", "level")
NAME_KEY: Final = re.compile(r"\{(" + "|".join(NAME_KEYS) + r")\}")


class Extent(click.ParamType[tuple[int, int]]):
    """Parse ``N`` or ``WxH`` into (height, width)."""

    name = "N|WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse the text."""
        if isinstance(value, tuple):
            return value
        numbers = whole_numbers(value, "x")
        if numbers is None or len(numbers) > 2 or min(numbers) < 1:
            self.fail(f"{value!r} is not N or WxH in whole numbers of at least 1", param, ctx)
        return numbers[-1], numbers[0]


class OutputExtent(click.ParamType[tuple[int | None, int | None]]):
    """Parse ``N``, ``WxH``, ``Wx`` or ``xH`` into (height, width), with None for a missing side."""

    name = "N|WxH|Wx|xH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, int | None]:
        """Parse the text."""
        if isinstance(value, tuple):
            return value
        width, cross, height = value.partition("x")
        sides = whole_numbers("x".join(side for side in (width, height) if side), "x")
        if not sides or min(sides) < 1 or len(sides) > 2:
            self.fail(
                f"{value!r} is not N, WxH, Wx or xH in whole numbers of at least 1", param, ctx
            )
        if len(sides) == 2 or not cross:
            return sides[-1], sides[0]
        return (None, sides[0]) if width else (sides[0], None)


class Levels(click.ParamType[tuple[int, ...]]):
    """Parse ``L,L,…`` into different whole numbers."""

    name = "L,L,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse the text."""
        if isinstance(value, tuple):
            return value
        numbers = whole_numbers(value, ",")
        if numbers is None or min(numbers) < 1:
            self.fail(f"{value!r} is not whole numbers of at least 1, such as 2,4,8", param, ctx)
        if len({*numbers}) < len(numbers):
            self.fail(f"{value!r} has a level twice", param, ctx)
        return tuple(numbers)


class FormatName(click.Choice[str]):
    """Parse the name of a format that can be written, or one of its suffixes without the dot."""

    def __init__(self) -> None:
        """Offer the names."""
        super().__init__(NAMES, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        row = by_suffix(f".{value}")
        is_suffix = row is not None and bool(row.modes) and value.lower() not in NAMES
        return super().convert(row.name if is_suffix and row else value, param, ctx)


class Padding(click.ParamType[Any]):
    """Parse ``N``, ``WxH``, ``LEFT,TOP,RIGHT,BOTTOM`` or a name into what `Window.of` takes."""

    name = "N|WxH|L,T,R,B|same|same-lower|valid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if not isinstance(value, str):
            return value
        name = value.lower().replace("_", "-")  # other programs write SAME, same_lower
        if name in ("same", "same-lower", "valid"):
            return name.replace("-", "_")
        sides = whole_numbers(value, ",")
        if sides is not None and len(sides) == 4:
            left, top, right, bottom = sides
            return (top, bottom), (left, right)
        numbers = whole_numbers(value, "x")
        if numbers is None or len(numbers) > 2:
            self.fail(
                f"{value!r} is not N, WxH, LEFT,TOP,RIGHT,BOTTOM, same, same-lower or valid",
                param,
                ctx,
            )
        return numbers[-1], numbers[0]


class Parsed(click.ParamType[Any]):
    """Parse a value by a function that raises `PoolError`."""

    name = "value"

    def __init__(self, read: Callable[[str], Any]) -> None:
        """Keep the function."""
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        try:
            return self.read(value) if isinstance(value, str) else value
        except PoolError as fault:
            self.fail(f"{fault.message}; {fault.remedy}", param, ctx)


class Seconds(click.FloatRange):
    """Parse a finite number of seconds."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse the text."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):  # Click takes "nan" and "inf" for numbers
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


class NodataText(click.ParamType[str]):
    """Check that a text is a number or ``none``; the type of the samples is not known yet."""

    name = "V|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text without spaces."""
        from decimal import Decimal, InvalidOperation  # few runs need it

        text = str(value).strip().lower()
        if text.lstrip("+-") == "nan":
            self.fail("it is NaN, which is left out of windows anyway: see --nan", param, ctx)
        try:
            Decimal("0" if text == "none" else text)
        except InvalidOperation:
            self.fail(f"{value!r} is neither a number nor none", param, ctx)
        return text


class SaveOption(click.ParamType[tuple[str, str]]):
    """Parse ``KEY=VALUE``, with a key that at least one format has."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split the text at its first equals sign."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        known = {key for row in FORMATS for key in row.options}
        if not equals or key not in known:
            self.fail(
                f"{value!r} is not KEY=VALUE with one of {', '.join(sorted(known))}", param, ctx
            )
        return key, text


class NameTemplate(click.ParamType[str]):
    """Check a template of output names, a text with ``{key}`` of `NAME_KEYS`.

    Keys are replaced as plain text: `str.format` would allow attributes and format codes.
    """

    name = "TEMPLATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse unknown keys, single braces, slashes and NUL."""
        text = str(value)
        rest = NAME_KEY.sub("", text)
        if set("{}/\0") & set(rest):
            keys = " ".join(f"{{{key}}}" for key in NAME_KEYS)
            self.fail(f"{text!r} is not a file name with no braces but {keys}", param, ctx)
        return text


def whole_numbers(text: str, separator: str) -> list[int] | None:
    """Return the whole numbers between separators, or None if there is anything else."""
    parts = text.split(separator)
    return [int(part) for part in parts] if all(map(NUMBER.fullmatch, parts)) else None


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
