"""Parse the values of options.

The command line writes width before height, as image programs do. All other code has height before
width, as NumPy does. Only this module exchanges the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import click
from click.core import ParameterSource

from poolcli.errors import PoolError
from poolcli.formats import FORMATS, NAMES, by_suffix
from poolcli.formats.saving import Saving, values_of
from poolcli.layout import Layout
from poolcli.options.names import NAME_KEY, NAME_KEYS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DIGITS: Final = 9
NUMBER: Final = re.compile(rf"[0-9]{{1,{DIGITS}}}", re.ASCII)
GIVEN: Final = "poolcli.given"
"""The key in `click.Context.meta` of the words of a command line, as they were given."""

T = TypeVar("T")


def given_as(name: str) -> str:
    """Return the name by which an option was given, from the name of its parameter."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:  # it is given by a Python program
        return f"--{name.replace('_', '-')}"
    return given_name(next(one for one in ctx.command.params if one.name == name), ctx)


def given_name(param: click.Parameter | None, ctx: click.Context | None) -> str:
    """Return the name by which an option was given: a variable's, a short one or a long one."""
    if not isinstance(param, click.Option):
        return "it"
    names = [*param.opts, *param.secondary_opts]
    if ctx is None:
        return max(names, key=len)
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    for word in reversed(ctx.meta.get(GIVEN, ())):
        for name in names:
            # A value may be glued to a name: --size=2, -k2.
            glued = f"{name}=" if name.startswith("--") else name
            if word == name or word.startswith(glued):
                return name
    return max(names, key=len)


def _completed(words: Iterable[str], kind: str = "plain") -> list[CompletionItem]:
    """Return words for a shell; of the kinds "file" and "dir" it completes them by itself."""
    from click.shell_completion import CompletionItem  # each import delays the start of all runs

    return [CompletionItem(one, type=kind) for one in words]


class Value(click.ParamType[T], Generic[T]):
    """Parse the text of an option; errors name the option as it was given.

    Attributes:
        expected: what may be given, in words.
        choices: the values to complete a beginning to.
    """

    name = "value"
    expected: str
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> T:
        """Return the value of a text.

        Raises:
            PoolError: it is none; the message continues the name of the option.
            ValueError: it is none, and ``expected`` tells what is.
        """
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return the value of what was given; defaults may have been parsed before."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return self.parse(value)
        except PoolError as fault:
            raise PoolError(f"{given_name(param, ctx)} {fault.message}", fault.remedy) from None
        except ValueError:
            name = given_name(param, ctx)
            raise PoolError(f"{name} is {value!r}", f"give {self.expected}") from None

    def shell_complete(
        self, _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the choices that begin like the incomplete word."""
        return _completed(one for one in self.choices if one.startswith(incomplete.lower()))


class PathText(click.ParamType[str]):
    """Take any text for a path, of which shells complete the beginning."""

    name = "path"

    def __init__(self, kind: str = "file") -> None:
        """Store what is completed: "file", also through folders, or "dir"."""
        self.kind = kind

    def convert(self, value: Any, _: click.Parameter | None, __: click.Context | None) -> str:
        """Return the text."""
        return str(value)

    def shell_complete(
        self, _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete the path."""
        return _completed([incomplete], self.kind)


class Whole(Value[int]):
    """Parse a whole number."""

    def __init__(self, least: int, most: int | None = None) -> None:
        """Store the range."""
        self.least, self.most = least, most
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        self.expected = f"a whole number {limits}"

    def parse(self, text: str) -> int:
        """Parse the digits."""
        number = int(text) if text.isascii() and text.isdigit() else self.least - 1
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError
        return number


class PlaneCount(Value[int | Literal["all"]]):
    """Parse a number of planes or ``all``."""

    expected = "a whole number of at least 1, or all"
    choices = ("all",)

    def parse(self, text: str) -> int | Literal["all"]:
        """Parse the digits."""
        return "all" if text.lower() == "all" else Whole(1).parse(text)


class OneOf(Value[str]):
    """Parse one of several words."""

    def __init__(self, *choices: str) -> None:
        """Store the words."""
        self.choices = choices
        self.expected = any_of(choices)

    def parse(self, text: str) -> str:
        """Return the word in lower case."""
        if text.lower() not in self.choices:
            raise ValueError
        return text.lower()


class YesNo(click.types.BoolParamType):
    """Parse the value of a flag that comes from the environment."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the value of a text such as ``1``, ``no`` or ``true``."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise PoolError(f"{given_name(param, ctx)} is {value!r}", "give 1 or 0") from None


class Extent(Value[tuple[int, int]]):
    """Parse ``N`` or ``WxH`` into (height, width)."""

    expected = "N or WxH in whole numbers of at least 1"

    def parse(self, text: str) -> tuple[int, int]:
        """Parse one or two numbers."""
        numbers = whole_numbers(text, "x")
        if len(numbers) > 2 or min(numbers) < 1:
            raise ValueError
        return numbers[-1], numbers[0]


class OutputExtent(Value[tuple[int | None, int | None]]):
    """Parse ``N``, ``WxH``, ``Wx`` or ``xH`` into (height, width), with None for a missing side."""

    expected = "N, WxH, Wx or xH in whole numbers of at least 1"

    def parse(self, text: str) -> tuple[int | None, int | None]:
        """Parse one or two numbers."""
        width, cross, height = text.partition("x")
        sides = whole_numbers("x".join(side for side in (width, height) if side), "x")
        if min(sides) < 1 or len(sides) > 2:
            raise ValueError
        if len(sides) == 2 or not cross:
            return sides[-1], sides[0]
        return (None, sides[0]) if width else (sides[0], None)


class Levels(Value[tuple[int, ...]]):
    """Parse ``L,L,…`` into different whole numbers."""

    expected = "whole numbers of at least 1, such as 2,4,8"

    def parse(self, text: str) -> tuple[int, ...]:
        """Parse the numbers."""
        numbers = whole_numbers(text, ",")
        if min(numbers) < 1:
            raise ValueError
        if len({*numbers}) < len(numbers):
            raise PoolError(f"is {text!r}, which has a level twice", "give each level once")
        return tuple(numbers)


class FormatName(OneOf):
    """Parse the name of a format that can be written, or one of its suffixes without the dot."""

    def __init__(self) -> None:
        """Offer the names."""
        super().__init__(*NAMES)

    def parse(self, text: str) -> str:
        """Return the name."""
        row = by_suffix(f".{text}")
        is_suffix = row is not None and bool(row.modes) and text.lower() not in NAMES
        if row is not None and not row.modes:
            raise PoolError(f"is {text!r}: {row.refusal().message}", f"give {self.expected}")
        return super().parse(row.name if is_suffix and row else text)


class Padding(Value[Any]):
    """Parse ``N``, ``WxH``, ``LEFT,TOP,RIGHT,BOTTOM`` or a name into what `Window.of` takes."""

    expected = "N, WxH, LEFT,TOP,RIGHT,BOTTOM, same, same-lower or valid"
    choices = ("same", "same-lower", "valid")

    def parse(self, text: str) -> Any:
        """Parse one, two or four numbers, or a name."""
        # Other programs write SAME, same_lower, and ONNX SAME_UPPER.
        name = text.lower().replace("_", "-").removesuffix("-upper")
        if name in self.choices:
            return name.replace("-", "_")
        if "," in text:
            left, top, right, bottom = whole_numbers(text, ",")
            return (top, bottom), (left, right)
        numbers = whole_numbers(text, "x")
        if len(numbers) > 2:
            raise ValueError
        return numbers[-1], numbers[0]


class Parsed(Value[Any]):
    """Parse a value by a function that raises `PoolError`."""

    def __init__(self, read: Callable[[str], Any], expected: str = "") -> None:
        """Store the function, and what it expects in words."""
        self.read = read
        self.expected = expected

    def parse(self, text: str) -> Any:
        """Call the function."""
        try:
            return self.read(text)
        except PoolError as fault:
            raise PoolError(f"is {text!r}", fault.remedy) from None


class Seconds(Value[float]):
    """Parse a finite number of seconds."""

    expected = "a number of seconds above 0"

    def parse(self, text: str) -> float:
        """Parse the number; Python takes "nan" and "inf" for numbers too."""
        seconds = float(text)
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError
        return seconds


class AxesLetters(Value[str]):
    """Check the letters of axes, as far as they can be checked without an array."""

    expected = "a letter for each axis, such as CHW"

    def parse(self, text: str) -> str:
        """Return the text."""
        try:
            Layout.of(text, (1,) * len(text))
        except PoolError as fault:
            raise PoolError(fault.message.removeprefix("axes "), fault.remedy) from None
        return text


class NodataText(Value[str]):
    """Check that a text is a number or ``none``; the type of the samples is not known yet."""

    expected = "a number or none"
    choices = ("none",)

    def parse(self, text: str) -> str:
        """Return the text without spaces."""
        from decimal import Decimal, InvalidOperation  # few runs need it

        word = text.strip().lower()
        if word.lstrip("+-") == "nan":
            raise PoolError("is NaN, which is left out of windows anyway", "see --nan")
        try:
            Decimal("0" if word == "none" else word)
        except InvalidOperation:
            raise ValueError from None
        return word


class SaveOption(Value[tuple[str, str]]):
    """Parse ``KEY=VALUE``, with a key that at least one format has."""

    def __init__(self) -> None:
        """Offer the keys and values of all formats."""
        rows = [row.options for row in FORMATS]
        self.keys = {key: kind for options in rows for key, kind in options.items()}
        self.expected = f"KEY=VALUE with one of {', '.join(sorted(self.keys))}"

    def parse(self, text: str) -> tuple[str, str]:
        """Split the text at its first equals sign."""
        key, equals, value = text.partition("=")
        if key in Saving._fields and key not in self.keys:
            flag = f"--{key.replace('_', '-')}"
            raise PoolError(f"is {text!r}, but {key} has its own option", f"give {flag} {value}")
        if not equals or key not in self.keys:
            raise ValueError
        return key, value

    def shell_complete(
        self, _: click.Context, __: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the keys, or the values of a whole key."""
        words = [f"{one}=" for one in sorted(self.keys)]
        if "=" in incomplete:
            key = incomplete.partition("=")[0]
            values = {one for row in FORMATS for one in values_of(row.options.get(key))}
            words = [f"{key}={value}" for value in sorted(values)]
        return _completed(one for one in words if one.startswith(incomplete))


class NameTemplate(Value[str]):
    """Check a template of output names, a text with ``{key}`` of `NAME_KEYS`.

    Keys are replaced as plain text: `str.format` would allow attributes and format codes.
    """

    expected = f"a file name with no braces but {' '.join(f'{{{key}}}' for key in NAME_KEYS)}"

    def parse(self, text: str) -> str:
        """Refuse unknown keys, single braces, slashes and NUL."""
        if set("{}/\0") & set(NAME_KEY.sub("", text)):
            raise ValueError
        return text


def any_of(words: tuple[str, ...]) -> str:
    """Return words as an alternative.

    >>> any_of(("a", "b", "c"))
    'a, b or c'
    """
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def whole_numbers(text: str, separator: str) -> list[int]:
    """Return the whole numbers between separators.

    Raises:
        PoolError: one has too many digits.
        ValueError: there is anything else.
    """
    parts = text.split(separator)
    if any(one.isascii() and one.isdigit() and len(one) > DIGITS for one in parts):
        raise PoolError(f"is {text!r}, which is too large", f"give at most {10**DIGITS - 1}")
    if not all(map(NUMBER.fullmatch, parts)):
        raise ValueError
    return [int(part) for part in parts]
