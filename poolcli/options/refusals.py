"""Say what is wrong with a command line, in words of poolcli instead of Click's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os.path import splitext
from typing import Final

import click

from poolcli.errors import PoolError
from poolcli.formats import by_suffix
from poolcli.methods import METHODS
from poolcli.options.types import any_of
from poolcli.options.words import VERBS, WORDS

NAMES: Final = (*(row.name for row in METHODS), "unpool")
CLOSE: Final = 0.75
"""The least likeness of two names, of at most 1, so that one is offered in place of the other."""


class ExamplesError(click.UsageError):
    """The error of a verb without any words, which shows how it is called."""


@contextmanager
def explained(ctx: click.Context, args: tuple[str, ...]) -> Iterator[None]:
    """Turn an error of parsing into a `PoolError` that says what helps.

    Args:
        ctx: the context of the command.
        args: the words that it parses.
    """
    try:
        yield
    except (click.exceptions.NoArgsIsHelpError, ExamplesError):
        raise
    except (click.UsageError, PoolError) as fault:
        raise _of_dashes(ctx, args) or _explanation(ctx, args, fault) from None


def unknown_verb(args: list[str]) -> PoolError:
    """Return the error for words that don't begin with a verb."""
    name = args[0]
    if _is_path(name):
        return PoolError(f"{name} is no verb", _verb_first(args))
    message = f"there is no verb {name!r}"
    word = name.lower().replace("_", "-").removesuffix("2d").removesuffix("-")
    if likely := VERBS.get(word):
        return PoolError(message, f"{likely} does that")
    close = _close(name, NAMES)
    return PoolError(message, f"did you mean {close[0]}?" if close else f"there are {_and(NAMES)}")


def no_words(ctx: click.Context) -> ExamplesError:
    """Return the error of a verb that was given nothing, with two examples."""
    name = ctx.command_path
    lines = str(ctx.command.help).splitlines()
    examples = [f"  {line}" for line in lines if line.startswith(f"{name} ")][:2]
    first = "poolcli: no pictures are named; for example:"
    return ExamplesError("\n".join([first, *examples, f"See {name} -h."]), ctx)


def _of_dashes(ctx: click.Context, args: tuple[str, ...]) -> PoolError | None:
    """Return the error for a name that begins with a dash, or a long option with only one."""
    words = args[: args.index("--")] if "--" in args else args
    for word in words:
        if not word.startswith("-") or "=" in word or len(word) < 3:
            continue
        if _is_path(word):
            way = f"{ctx.command_path} ... -- {_quoted(word)}"
            return PoolError(f"{word}: a name that begins with - goes after --", f"give {way}")
        if not word.startswith("--") and f"-{word}" in _flags(ctx.command):
            return PoolError(f"there is no option {word}", f"give -{word}, with two dashes")
    return None


def _explanation(
    ctx: click.Context, args: tuple[str, ...], fault: click.UsageError | PoolError
) -> PoolError:
    """Return what Click complains of, in our words."""
    if isinstance(fault, PoolError):
        return fault
    if isinstance(fault, click.NoSuchOption):
        return _unknown_option(ctx, args, fault.option_name)
    if isinstance(fault, click.BadOptionUsage):
        option = _flags(ctx.command)[fault.option_name]
        if option.is_flag or option.count:
            return PoolError(f"{fault.option_name} takes no value", "leave the value out")
        expected = getattr(option.type, "expected", option.metavar)
        return PoolError(f"{fault.option_name} has no value", f"give {expected}")
    message = fault.format_message().rstrip(".").replace("\n", " ")
    return PoolError(message, f"see {ctx.command_path} --help")


def _unknown_option(ctx: click.Context, args: tuple[str, ...], name: str) -> PoolError:
    """Return the error for an option that a command doesn't have."""
    if not name.startswith("--"):  # one letter of a word such as -resize
        name = next((one for one in args if one.startswith(name)), name)
    word = name.lstrip("-").replace("_", "-")
    message = f"there is no option {name}"
    close = _close(name, (flags := _flags(ctx.command)))
    if isinstance(ctx.command, click.Group) and not close:
        return PoolError(f"{name} stands before a verb", _verb_first(list(args)))
    if f"--{word}" in flags:  # --skip_existing
        return PoolError(message, f"give --{word}")
    if owners := [row.name for row in METHODS if word in (one.flag[2:] for one in row.options)]:
        return PoolError(
            f"--{word} belongs to {_and(tuple(owners))}", f"leave it out, or use {owners[0]}"
        )
    if answer := WORDS.get(word) or WORDS.get(word.lower()):
        return PoolError(message, answer)
    likely = [flag for flag in flags if flag.startswith(f"--{word}")] or close
    offer = f"did you mean {any_of(tuple(likely))}?" if likely else ""
    return PoolError(message, offer or f"see {ctx.command_path} --help")


def _verb_first(args: list[str]) -> str:
    """Return how a command line without a verb might be meant."""
    given = next((one for one in args if one in NAMES), None)
    if given:
        return f"options go after the verb: poolcli {given} ..."
    paths = [_quoted(one) for one in args if _is_path(one)]
    names = paths if len(paths) > 1 else [*(paths or ["in.png"]), "out.png"]
    return f"name a verb first: poolcli avg --size 2 {' '.join(names)}"


def _close(name: str, names: Iterable[str]) -> list[str]:
    """Return the name that is most like another one, if one is near enough."""
    from difflib import get_close_matches  # few runs need it, and each import delays the start

    return get_close_matches(name, [*names], 1, CLOSE)


def _quoted(word: str) -> str:
    """Return a word as a shell takes it."""
    from shlex import quote  # few runs need it, and each import delays the start

    return quote(word)


def _is_path(word: str) -> bool:
    """Return whether a word looks like the path of a picture or folder."""
    return word == "-" or "/" in word or by_suffix(splitext(word)[1]) is not None


def _flags(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command by each of their names."""
    options = [one for one in command.params if isinstance(one, click.Option)]
    return {flag: one for one in options for flag in (*one.opts, *one.secondary_opts)}


def _and(words: tuple[str, ...]) -> str:
    """Return words as a list in a sentence."""
    return any_of(words).replace(" or ", " and ")
