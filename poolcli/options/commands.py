"""Make the verbs from the declared options: their parsing, their short and their whole help."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import click

from poolcli.formats.extras import versions
from poolcli.methods import Row
from poolcli.options import BATCH, OUTPUT, REPORT, SHARED, Group, declared
from poolcli.options.refusals import explained, no_words, unknown_verb
from poolcli.options.types import GIVEN, OneOf, Parsed, PathText

SHORT: Final = (
    *("size", "stride", "padding", "output_size", "fit", "levels", "format_name", "quality"),
    *("background", "template", "overwrite", "skip_existing", "jobs", "dry_run", "quiet"),
)
"""The options that the short help shows, by the names of their parameters."""

UNPOOL_HELP: Final = """Put pooled values back to the pixels that they came from, among zeros.

VALUES is the picture that max or min has made, INDICES the file of its --indices.
"""
UNPOOL_EXAMPLES: Final = """poolcli unpool small.png indices.npz out.png
cat small.png | poolcli unpool - indices.npz - > out.png
"""

OTHERS: Final = ("obstore", "distributed")
"""The optional packages that no format needs."""

SHORT_NAMES, SHORT_TEXT = 15, 47
"""The most letters of a placeholder and of a text in the short help, so that a line fits."""


WIDEST, NARROWEST, MARGIN, USUAL_COLUMNS = 100, 50, 2, 80
"""The most columns of a terminal that the help uses, the least width of the help, the columns that
it leaves free, and the columns where there is no terminal."""


def help_width() -> int:
    """Return the width of the help on this terminal, by Click's own rule.

    Click imports `shutil` for it, which takes a twentieth of the time of `poolcli --help`.
    """
    stated = os.environ.get("COLUMNS", "")
    columns = int(stated) if stated.isdecimal() else 0
    if not columns:
        with suppress(OSError):  # stdout is no terminal
            columns = os.get_terminal_size().columns
    return max(min(columns or USUAL_COLUMNS, WIDEST) - MARGIN, NARROWEST)


class PoolCommand(click.Command):
    """A verb whose help shows its options in groups."""

    def __init__(
        self, groups: tuple[Group, ...], shown_paths: str = "INPUT... OUTPUT", **settings: Any
    ) -> None:
        """Declare the paths and the options of all groups."""
        help_group = Group("Help", (_help_option("-h", whole=False), _help_option("--help")))
        self.groups = (*groups, help_group)
        paths = click.Argument(["paths"], nargs=-1, metavar=shown_paths, type=PathText())
        options = [option for group in self.groups for option in group.options]
        super().__init__(params=[paths, *options], add_help_option=False, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words behind the verb; errors are those of poolcli."""
        ctx.meta[GIVEN] = tuple(args)
        if not args and not ctx.resilient_parsing:
            raise no_words(ctx)
        with explained(ctx, tuple(args)):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, in their order."""
        for group in self.groups:
            records = (option.get_help_record(ctx) for option in group.options)
            with formatter.section(group.title):
                formatter.write_dl([record for record in records if record])

    def short_help_text(self, ctx: click.Context) -> str:
        """Return the usage, examples, the options that most runs need, and the verb's own."""
        *groups, _ = self.groups
        chosen = [one for group in groups for one in group.options if one.name in SHORT]
        own = [one for group in groups if group not in SHARED for one in group.options]
        own = [one for one in own if one not in chosen]
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        for options in filter(None, (chosen, own)):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_dl([*map(_short_record, options)])
        formatter.write_paragraph()
        formatter.write(f"  All options: {ctx.command_path} --help")
        return formatter.getvalue().rstrip("\n")


class PoolGroup(click.Group):
    """The program: the verbs, and `help`."""

    def __init__(self, verbs: list[click.Command], **settings: Any) -> None:
        """Add the verbs, and `help` for these."""
        super().__init__(commands=verbs, options_metavar="", **settings)
        self.subcommand_metavar = "VERB [OPTIONS] INPUT... OUTPUT"
        self.add_command(HelpCommand(self))

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the verbs in their order, and "help"."""
        return [*self.commands]

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each verb does, without cutting it off."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, str(one.short_help)) for name, one in self.commands.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words before the verb; errors are those of poolcli."""
        with explained(ctx, tuple(args)):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb of a command line, its command and the other words."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise unknown_verb(args)
        return super().resolve_command(ctx, args)


def verb(row: Row, callback: Callable[..., int]) -> click.Command:
    """Return the verb of a method, with the shared options and the method's own."""
    window, *others = SHARED
    options = []
    for option in row.options:
        more: dict[str, Any] = {}
        if option.is_output:
            more = {"shown": option.shown, "type": PathText()}
        elif option.shown:
            more = {"shown": option.shown, "type": Parsed(option.read), "default": option.default}
            more["show_default"] = option.default is not None
        options.append(declared(option.flag, text=option.help, **more))
    own = [Group(row.title, tuple(options))] if options else []
    return PoolCommand(
        (window, *own, *others),
        name=row.name,
        callback=callback,
        short_help=row.summary,
        help=f"{row.summary}\n\n\b\n{row.examples}",
    )


def unpool_verb(callback: Callable[..., int]) -> click.Command:
    """Return the verb that puts pooled values back to their places."""
    existing = (one for one in BATCH.options if one.name in ("overwrite", "max_pixels"))
    return PoolCommand(
        (OUTPUT, Group("Files", tuple(existing)), REPORT),
        "VALUES INDICES OUTPUT",
        name="unpool",
        callback=callback,
        short_help=UNPOOL_HELP.partition("\n")[0],
        help=f"{UNPOOL_HELP}\n\b\n{UNPOOL_EXAMPLES}",
    )


def version_option(version: str) -> click.Option:
    """Return the option that prints the versions of poolcli, Python and the libraries."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        """Print the versions, if they are wanted, and end the program."""
        if wanted and not ctx.resilient_parsing:
            python = sys.version.split()[0]
            for name, number in (("poolcli", version), ("Python", python), *versions(*OTHERS)):
                click.echo(f"{name} {number}")
            ctx.exit()

    more: dict[str, Any] = {"is_eager": True, "expose_value": False, "callback": show}
    return declared("-V", "--version", text="Show the versions and exit.", **more)


class _Verb(OneOf):
    """Take any text for a verb: `PoolGroup` refuses those that there are not."""

    def parse(self, text: str) -> str:
        """Return the text."""
        return text


class HelpCommand(click.Command):
    """The command `poolcli help VERB`."""

    def __init__(self, program: click.Group) -> None:
        """Declare the verb, of which the names are completed."""
        self.program = program
        verb = click.Argument(["verb"], required=False, type=_Verb(*program.commands))
        text = "Show the help of a verb."
        super().__init__("help", params=[verb], help=text, short_help=text)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the verb; errors are those of poolcli."""
        with explained(ctx, tuple(args)):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        """Print the help of the verb, or without one that of the program."""
        parent, verb = ctx.parent or ctx, ctx.params["verb"]
        if verb is None:
            click.echo(self.program.get_help(parent))
        else:
            _, command, _ = self.program.resolve_command(parent, [verb])
            if command is not None:
                click.echo(command.get_help(click.Context(command, parent, verb)))


def _help_option(name: str, *, whole: bool = True) -> click.Option:
    """Return an option that shows the whole or the short help and ends the program."""

    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        """Print the help, if it is wanted."""
        if wanted and not ctx.resilient_parsing:
            command = ctx.command
            if isinstance(command, PoolCommand) and not whole:
                click.echo(command.short_help_text(ctx))
            else:
                click.echo(command.get_help(ctx))
            ctx.exit()

    text = "Show all options and exit." if whole else "Show the options that most runs need."
    return declared(name, text=text, is_eager=True, expose_value=False, callback=show)


def _short_record(option: click.Option) -> tuple[str, str]:
    """Return the names of an option and a text that fits a line."""
    shown = "" if option.is_flag else str(option.metavar)
    if len(shown) > SHORT_NAMES:
        shown = "|".join((*shown.split("|")[:2], "..."))
    text = re.split(r"[;:(]", str(option.help))[0].strip(" .")
    while len(text) > SHORT_TEXT and ", " in text:
        text = text.rpartition(", ")[0]
    return f"{', '.join(option.opts)} {shown}".strip(), f"{text}."
