"""The reference of all options, formats and keys of JSON, generated from the program."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Final

import click

from poolcli import cli, report
from poolcli.formats import FORMATS
from poolcli.formats.row import Format
from poolcli.formats.saving import describe
from poolcli.methods import METHODS
from poolcli.options import Group

HEAD: Final = """\
# Options

Generated from the program by `python -m tests.readme`. `poolcli VERB --help` prints the options of
a verb. On the command line width comes before height; in Python, where options have the same names
with underscores, it is (height, width).
"""
FRAMES: Final = {"one": "", "animation": "animations", "pages": "pages"}


def reference() -> str:
    """Return the text of docs/options.md."""
    return "\n".join([HEAD, *_verbs(), *_shared(), *_environment(), *_formats(), *_json()])


def _commands() -> dict[str, click.Command]:
    """Return the verbs, the methods in the order of their registry first."""
    names = [row.name for row in METHODS]
    others = [name for name in cli.group.commands if name not in names]
    return {name: cli.group.commands[name] for name in (*names, *others)}


def _groups(command: click.Command) -> tuple[Group, ...]:
    """Return the groups of options of a verb."""
    groups: tuple[Group, ...] = getattr(command, "groups", ())
    return groups


def _titles() -> list[str]:
    """Return the titles of the groups that all methods have."""
    titles = [[one.title for one in _groups(_commands()[row.name])] for row in METHODS]
    return [title for title in titles[0] if all(title in others for others in titles)]


def _verbs() -> Iterator[str]:
    """Yield a section for each verb, with its own options."""
    yield "## Verbs\n"
    for name, command in _commands().items():
        summary, _, examples = str(command.help).partition("\n\n\b\n")
        yield f"### {name}\n\n{summary}\n"
        if examples:
            yield f"```text\n{examples.strip()}\n```\n"
        for group in _groups(command):
            if name not in {row.name for row in METHODS} or group.title not in _titles():
                yield from _options(command, group.options)


def _shared() -> Iterator[str]:
    """Yield a section for each group of options that all methods have."""
    command = _commands()[METHODS[0].name]
    for title in _titles():
        group = next(one for one in _groups(command) if one.title == title)
        yield f"## {title}\n"
        yield from _options(command, group.options)


def _options(command: click.Command, options: tuple[click.Option, ...]) -> Iterator[str]:
    """Yield a list of options as the help describes them."""
    context = click.Context(command)
    records = filter(None, (option.get_help_record(context) for option in options))
    yield "".join(f"- `{names}`: {' '.join(text.split())}\n" for names, text in records)


def _environment() -> Iterator[str]:
    """Yield the variables that set defaults."""
    command = _commands()[METHODS[0].name]
    yield "## Environment\n\nThese variables set defaults of the command; none changes a pixel.\n"
    yield "".join(
        f"- `{option.envvar}`: `{max(option.opts, key=len)}`\n"
        for option in command.params
        if isinstance(option, click.Option) and option.envvar
    )


def _formats() -> Iterator[str]:
    """Yield a table of formats."""
    yield "## Formats\n"
    lines = ["| name | format | suffixes | several frames | `--save-option` | needs |"]
    lines += ["|---|---|---|---|---|---|", *map(_format, FORMATS)]
    yield "\n".join(lines) + "\n"
    yield (
        "What needs an extra package is told in [Pictures in detail](pictures.md) under *Depth*. "
        "A format without a name can't be written.\n"
    )


def _format(row: Format) -> str:
    """Return the row of a format in the table."""
    name = f"`{row.name}`" if row.modes else ""
    suffixes = " ".join(f"`{suffix}`" for suffix in (*row.suffixes, *row.read_suffixes))
    options = ", ".join(f"`{key}={describe(kind)}`" for key, kind in row.options.items())
    needs = "" if row.extra is None else f"`{row.extra.name}`"
    if row.extra is not None and row.modes and not row.extra.modes:
        needs = f"{needs} for some files"
    cells = (name, row.title, suffixes, FRAMES[row.frames], options.replace("|", "\\|"), needs)
    return f"| {' | '.join(cells)} |"


def _json() -> Iterator[str]:
    """Yield the keys of the objects that `--json` prints."""
    yield (
        "## JSON\n\n`--json` prints one object for each picture, as it finishes, and at the end "
        '`{"summary": …}`. Unknown values are null. Pairs are [height, width]. In Python the '
        "same are the attributes of an `Outcome`.\n"
    )
    attributes = (inspect.getdoc(report.Outcome) or "").replace("None", "null").replace("``", "`")
    told = dict(re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE))
    yield "".join(f"- `{key}`: {' '.join(told[key].split())}\n" for key in report.JSON_KEYS)
    totals = json.loads(report.Report().as_json())["summary"]
    yield f"The totals are {', '.join(f'`{key}`' for key in totals)}.\n"
