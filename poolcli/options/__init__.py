"""Every shared argument and option, declared once, and the verbs that are made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from poolcli import formats, methods
from poolcli.formats.saving import describe
from poolcli.options.types import (
    NAME_KEYS,
    Extent,
    NameTemplate,
    Padding,
    SaveOption,
    Seconds,
)

MAX_PIXELS: Final = 1_000_000_000


class Group(NamedTuple):
    """Options that belong together, under a title in the help."""

    title: str
    options: tuple[click.Option, ...]


def _save_options_help() -> str:
    """Return every key and what it takes, by format."""
    return "; ".join(
        f"{one.name}: " + ", ".join(f"{key}={describe(kind)}" for key, kind in one.options.items())
        for one in formats.FORMATS
        if one.options
    )


def _quality_help() -> str:
    """Return which formats have a quality, and what it is where none is given."""
    lossy = [one for one in formats.FORMATS if one.quality]
    names = [one.title for one in lossy]
    defaults = "; ".join(f"{one.title} {one.quality}" for one in lossy)
    return f"Quality of {', '.join(names[:-1])} and {names[-1]}, 0 to 100 (default: {defaults})."


def _compressing() -> str:
    """Return the formats that have a level of compression."""
    return " and ".join(one.title for one in formats.FORMATS if one.has_compress_level)


WINDOW: Final = Group(
    "Window",
    (
        click.Option(
            ["-k", "--size"],
            type=Extent(),
            metavar="N|WxH",
            required=True,
            help="Taps of the window, width by height.",
        ),
        click.Option(
            ["-s", "--stride"],
            type=Extent(),
            metavar="N|WxH",
            help="Pixels between windows (default: the size).",
        ),
        click.Option(
            ["-p", "--padding"],
            type=Padding(),
            metavar="N|WxH|L,T,R,B|same|same-lower|valid",
            default="0",
            show_default=True,
            help="Pixels around the picture that take no part; up to what the window spans less 1.",
        ),
        click.Option(
            ["-d", "--dilation"],
            type=Extent(),
            metavar="N|WxH",
            default="1",
            show_default=True,
            help="Pixels between taps.",
        ),
        click.Option(
            ["--ceil-mode"],
            is_flag=True,
            help="Let the last windows hang over the right and bottom.",
        ),
    ),
)

PIXELS: Final = Group(
    "Pixels",
    (
        click.Option(
            ["--allow-depth-loss"],
            is_flag=True,
            help="Round to 8 bits what the output's format can't hold deeper.",
        ),
        click.Option(
            ["--frame"],
            metavar="N",
            type=click.IntRange(0),
            help="Take one frame or page only, counted from 0.",
        ),
        click.Option(
            ["--alpha"],
            type=click.Choice(["weighted", "straight"]),
            default="weighted",
            show_default=True,
            help="Let alpha say how much a colour counts, or treat it as one more channel.",
        ),
        click.Option(
            ["--nan"],
            type=click.Choice(["omit", "propagate"]),
            default="omit",
            show_default=True,
            help="Leave NaN out of its windows, or let it spread.",
        ),
        click.Option(
            ["--background"],
            metavar="COLOR",
            help="Put pictures with alpha on a colour; alpha is gone.",
        ),
    ),
)

OUTPUT: Final = Group(
    "Output",
    (
        click.Option(
            ["--format", "format_name"],
            type=click.Choice(formats.NAMES, case_sensitive=False),
            metavar="FMT",
            help=f"Write this format, whatever the name: {', '.join(formats.NAMES)}.",
        ),
        click.Option(
            ["--quality"],
            type=click.IntRange(0, 100),
            metavar="N",
            help=_quality_help(),
        ),
        click.Option(
            ["--compress-level"],
            type=click.IntRange(0, 9),
            metavar="0-9",
            help=f"Effort of compression in {_compressing()} "
            "(default: 4, or less where more finds nothing).",
        ),
        click.Option(
            ["--save-option", "save_options"],
            type=SaveOption(),
            multiple=True,
            help=f"What else a format can be told: {_save_options_help()}.",
        ),
        click.Option(
            ["--strip"], is_flag=True, help="Leave out all metadata but the colour profile."
        ),
        click.Option(
            ["--preserve"], is_flag=True, help="Give the output the input's time and mode bits."
        ),
    ),
)

BATCH: Final = Group(
    "Batch",
    (
        click.Option(["--no-recursive"], is_flag=True, help="Stay out of the folders in folders."),
        click.Option(
            ["--include"],
            metavar="GLOB",
            multiple=True,
            help="Take only such files from folders, by name, or by path if it has a /.",
        ),
        click.Option(
            ["--exclude"],
            metavar="GLOB",
            multiple=True,
            help="Leave such files out; this one wins.",
        ),
        click.Option(
            ["--files-from"], metavar="FILE|-", help="Read the inputs from a list, one a line."
        ),
        click.Option(["-0", "--null"], is_flag=True, help="The list is separated by NUL."),
        click.Option(
            ["--relative-to"],
            metavar="DIR",
            help="The folder that listed files are relative to (default: the working folder).",
        ),
        click.Option(
            ["--name", "template"],
            type=NameTemplate(),
            metavar="TEMPLATE",
            help="Name of the outputs without suffix: "
            + " ".join(f"{{{key}}}" for key in NAME_KEYS)
            + ".",
        ),
        click.Option(["-f", "--overwrite"], is_flag=True, help="Replace existing outputs."),
        click.Option(
            ["--skip-existing"], is_flag=True, help="Leave out inputs whose output exists."
        ),
        click.Option(
            ["-j", "--jobs"],
            type=click.IntRange(min=1),
            metavar="N",
            envvar="POOLCLI_JOBS",
            help="Pictures at a time (default: the usable processors).",
        ),
        click.Option(["--fail-fast"], is_flag=True, help="Stop after the first failure."),
        click.Option(
            ["--timeout"],
            type=Seconds(),
            metavar="SECONDS",
            envvar="POOLCLI_TIMEOUT",
            help="Give up a picture that takes longer.",
        ),
        click.Option(
            ["--max-pixels"],
            type=click.IntRange(min=1),
            default=MAX_PIXELS,
            metavar="N",
            envvar="POOLCLI_MAX_PIXELS",
            help="Refuse pictures of more pixels (default: 1000 million).",
        ),
    ),
)

REPORT: Final = Group(
    "Report",
    (
        click.Option(["-q", "--quiet"], is_flag=True, help="Print errors only."),
        click.Option(
            ["-v", "--verbose"], count=True, help="Say more; twice: also tracebacks of errors."
        ),
        click.Option(
            ["--json", "as_json"], is_flag=True, help="Print JSON Lines on standard output."
        ),
        click.Option(
            ["-n", "--dry-run"], is_flag=True, help="Read headers and say what would be done."
        ),
        click.Option(
            ["--progress/--no-progress"],
            default=True,
            envvar="POOLCLI_PROGRESS",
            help="Show progress on a terminal.",
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            envvar="POOLCLI_COLOR",
            show_default=True,
            help="Colour of what is printed.",
        ),
    ),
)

SHARED: Final = (WINDOW, PIXELS, OUTPUT, BATCH, REPORT)
"""The groups of every verb; a method's own options stand behind the first."""


class PoolCommand(click.Command):
    """A verb whose help shows its options in groups."""

    def __init__(self, groups: tuple[Group, ...], **settings: Any) -> None:
        """Take the options of all groups, behind the paths."""
        paths = click.Argument(["paths"], nargs=-1, metavar="INPUT... OUTPUT")
        options = [option for group in groups for option in group.options]
        super().__init__(params=[paths, *options], **settings)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, in the order of declaration."""
        for group in self.groups:
            records = (option.get_help_record(ctx) for option in group.options)
            with formatter.section(group.title):
                formatter.write_dl([record for record in records if record])
        with formatter.section("Help"):
            formatter.write_dl([("-h, --help", "Show this and exit.")])


def verb(row: methods.Row, callback: Callable[..., int]) -> click.Command:
    """Return the verb of a method: the shared options and the method's own."""
    window, *others = SHARED
    own = [Group(row.title, tuple(map(_own_option, row.options)))] if row.options else []
    examples = "\n".join(row.examples)
    return PoolCommand(
        (window, *own, *others),
        name=row.name,
        callback=callback,
        help=f"{row.summary}\n\n\b\n{examples}",
    )


def _own_option(option: methods.Option) -> click.Option:
    """Return the declaration of a method's own option."""
    if option.least is None:
        return click.Option([option.flag], is_flag=True, help=option.help)
    number = click.IntRange(min=option.least)
    return click.Option([option.flag], type=number, metavar="N", help=option.help)
