"""Read options that a Python program gives, by the declarations of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from poolcli.engine.window import per_axis
from poolcli.errors import PoolError
from poolcli.methods import Row
from poolcli.options.commands import verb
from poolcli.options.types import Extent, OutputExtent, Padding, SaveOption

OF_MANY: Final = (
    *("target-directory", "no-recursive", "include", "exclude", "files-from", "null"),
    *("relative-to", "name", "levels", "jobs", "fail-fast", "timeout"),
    *("scheduler", "shared-filesystem"),
    *("quiet", "verbose", "json", "progress", "color"),
)
"""The options that have an effect on several pictures, or on what is printed."""


def params_of(row: Row, values: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the parameters that `request_of` takes, and the names of those that are given.

    The environment is not asked: it sets defaults for the command only.

    Args:
        row: the row of the method.
        values: the options by their names in Python; those that are None count as not given.

    Raises:
        PoolError: there is no such option, or a value is refused.
    """
    params = (one for one in verb(row, int).params if one.expose_value)  # not --help
    options = [one for one in params if isinstance(one, click.Option)]
    context = click.Context(click.Command(row.name))
    read = {str(one.name): one.process_value(context, one.get_default(context)) for one in options}
    own = {python_name(one): one for one in options if _flag(one) not in OF_MANY}
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if name not in own:
            raise PoolError(f"{row.name} has no option {name}", f"there are {', '.join(own)}")
        read[str(own[name].name)] = _read(name, own[name], value)
    return read, frozenset(str(own[name].name) for name in given)


def python_name(option: click.Option) -> str:
    """Return the name of an option in Python: that of its long flag."""
    return _flag(option).replace("-", "_")


def _flag(option: click.Option) -> str:
    """Return the long flag of an option, without dashes at its beginning."""
    return max(option.opts, key=len).lstrip("-")


def _read(name: str, option: click.Option, value: Any) -> Any:
    """Return a value as the command line would parse it; sizes are (height, width).

    Raises:
        PoolError: it is refused.
    """
    match option.type:
        case _ if option.is_flag:
            if not isinstance(value, bool):
                raise PoolError(f"{name} is {value!r}", "give True or False")
            return value
        case OutputExtent() if isinstance(value, tuple) and None in value != (None, None):
            return tuple(None if one is None else per_axis(name, one)[0] for one in value)
        case Extent() | OutputExtent():
            return per_axis(name, value)
        case Padding() if not isinstance(value, str):
            return value  # `Window.of` checks it
        case SaveOption():
            texts = (f"{key}={_word(one)}" for key, one in dict(value).items())
            return tuple(option.type.convert(text, option, None) for text in texts)
    text = str(value)
    try:
        return option.type.convert(text, option, None)
    except PoolError as fault:
        raise PoolError(fault.message.replace(repr(text), repr(value)), fault.remedy) from None


def _word(value: Any) -> str:
    """Return the value of a setting as the command line writes it."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
