"""The files that the wheel installs for shells and `man`, which `tests.readme` writes anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import click

from poolcli import __version__, cli
from poolcli.methods import METHODS
from poolcli.options import SHARED
from poolcli.options.completion import SCRIPTS
from tests.readme import README, ROOT

SHARE: Final = ROOT / "share"
PLACES: Final = {
    "bash": "bash-completion/completions/poolcli",
    "zsh": "zsh/site-functions/_poolcli",
    "fish": "fish/vendor_completions.d/poolcli.fish",
}
EXIT_CODE: Final = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
VARIABLES: Final = (
    ("NO_COLOR, TERM=dumb", "Print no colours."),
    ("FORCE_COLOR, CLICOLOR_FORCE", "Print in colour, also if it is not on a terminal."),
)


def files() -> dict[str, str]:
    """Return the text of each file, by its path below the folder share."""
    return {place: SCRIPTS[shell] for shell, place in PLACES.items()} | {
        "man/man1/poolcli.1": "\n".join(_manual()) + "\n"
    }


def _manual() -> Iterator[str]:
    """Yield the lines of the manual page."""
    yield f'.TH POOLCLI 1 "" "poolcli {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"poolcli \- pool image files: max, min, average, median and mode of windows"
    yield ".SH SYNOPSIS"
    yield r"\fBpoolcli\fR \fIVERB\fR [\fIOPTIONS\fR] \fIINPUT\fR... \fIOUTPUT\fR"
    yield ".SH DESCRIPTION"
    yield _text(str(cli.group.help).partition("\n")[0])
    yield _text("The pooling verbs share most options. A name that begins with - goes after --.")
    yield ".SH VERBS"
    for name, command in cli.group.commands.items():
        yield from _item(f"\\fB{name}\\fR", str(command.help).partition("\n")[0])
    yield ".SH OPTIONS"
    for title, options in _groups().items():
        yield from _options(title, options)
    yield ".SH ENVIRONMENT"
    for option in (option for group in SHARED for option in group.options if option.envvar):
        yield from _item(f"\\fB{option.envvar}\\fR", f"The default of {max(option.opts, key=len)}.")
    for name, text in VARIABLES:
        yield from _item(f"\\fB{name}\\fR", text)
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODE.findall(README.read_text("utf-8")):
        yield from _item(code, meaning)
    yield ".SH EXAMPLES"
    for example in "\n".join(row.examples for row in METHODS).splitlines():
        yield from (".PP", ".nf", _text(example), ".fi")


def _groups() -> dict[str, tuple[click.Option, ...]]:
    """Return the options by the titles of their groups, those of all verbs first."""
    groups: dict[str, tuple[click.Option, ...]] = {one.title: one.options for one in SHARED}
    for command in cli.group.commands.values():
        for group in getattr(command, "groups", ()):
            groups.setdefault(group.title, group.options)
    versions = (one for one in cli.group.params if isinstance(one, click.Option))
    groups["Help"] = (*groups.pop("Help"), *versions)
    return groups


def _options(title: str, options: tuple[click.Option, ...]) -> Iterator[str]:
    """Yield a section of options."""
    yield f".SS {title}"
    for option in options:
        names = ", ".join(
            f"\\fB{_text(name)}\\fR" for name in (*option.opts, *option.secondary_opts)
        )
        value = "" if option.is_flag or option.count else f" \\fI{_text(str(option.metavar))}\\fR"
        yield from _item(names + value, str(option.help))


def _item(title: str, text: str) -> Iterator[str]:
    """Yield a paragraph with a title."""
    yield from (".TP", title, _text(text))


def _text(text: str) -> str:
    """Return a text in the language of manual pages."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


def write() -> None:
    """Write the files."""
    for place, text in files().items():
        path = SHARE / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
