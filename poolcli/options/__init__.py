"""Every argument and option, declared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import click

from poolcli import formats
from poolcli.formats.saving import describe
from poolcli.options.types import (
    NAME_KEYS,
    Extent,
    NameTemplate,
    Padding,
    SaveOption,
    Seconds,
    rename,
)

Callback: TypeAlias = Callable[..., int]
Decorator: TypeAlias = Callable[[Callback], Callback]

MAX_PIXELS: Final = 1_000_000_000


class Group(NamedTuple):
    """Options that belong together, under a title in the help."""

    title: str
    options: tuple[Decorator, ...]


def _save_options_help() -> str:
    """Every key and what it takes, by format."""
    return "; ".join(
        f"{one.name}: " + ", ".join(f"{key}={describe(kind)}" for key, kind in one.options.items())
        for one in formats.FORMATS
        if one.options
    )


WINDOW: Final = Group(
    "Window",
    (
        click.option(
            "-k",
            "--size",
            type=Extent(),
            metavar="N|WxH",
            required=True,
            help="Taps of the window, width by height.",
        ),
        click.option(
            "-s",
            "--stride",
            type=Extent(),
            metavar="N|WxH",
            help="Pixels between windows (default: the size).",
        ),
        click.option(
            "-p",
            "--padding",
            type=Padding(),
            metavar="N|WxH|L,T,R,B|same|same-lower|valid",
            default="0",
            show_default=True,
            help="Pixels around the picture that take no part; up to what the window spans less 1.",
        ),
        click.option(
            "-d",
            "--dilation",
            type=Extent(),
            metavar="N|WxH",
            default="1",
            show_default=True,
            help="Pixels between taps.",
        ),
        click.option(
            "--ceil-mode", is_flag=True, help="Let the last windows hang over the right and bottom."
        ),
    ),
)

AVERAGE: Final = Group(
    "Average",
    (
        click.option(
            "--count-include-pad", is_flag=True, help="Divide by the taps on padding too."
        ),
        click.option(
            "--linear", is_flag=True, help="Average light rather than its code (sRGB's curve)."
        ),
        click.option(
            "--divisor-override",
            type=click.IntRange(min=1),
            metavar="N",
            help="Divide every sum by N.",
        ),
    ),
)

PIXELS: Final = Group(
    "Pixels",
    (
        click.option(
            "--allow-depth-loss",
            is_flag=True,
            help="Round to 8 bits what the output's format can't hold deeper.",
        ),
        click.option(
            "--frame",
            metavar="N",
            type=click.IntRange(0),
            help="Take one frame or page only, counted from 0.",
        ),
        click.option(
            "--alpha",
            type=click.Choice(["weighted", "straight"]),
            default="weighted",
            show_default=True,
            help="Let alpha say how much a colour counts, or treat it as one more channel.",
        ),
        click.option(
            "--nan",
            type=click.Choice(["omit", "propagate"]),
            default="omit",
            show_default=True,
            help="Leave NaN out of its windows, or let it spread.",
        ),
        click.option(
            "--background",
            metavar="COLOR",
            help="Put pictures with alpha on a colour; alpha is gone.",
        ),
    ),
)

OUTPUT: Final = Group(
    "Output",
    (
        click.option(
            "--format",
            "format_name",
            type=click.Choice(formats.NAMES, case_sensitive=False),
            metavar="FMT",
            help=f"Write this format, whatever the name: {', '.join(formats.NAMES)}.",
        ),
        click.option(
            "--quality",
            type=click.IntRange(0, 100),
            metavar="N",
            help="Quality of JPEG, WebP and AVIF, 0 to 100 (default: JPEG from JPEG as it was, "
            "else 90; WebP without loss from a lossless picture; AVIF 80).",
        ),
        click.option(
            "--compress-level",
            type=click.IntRange(0, 9),
            metavar="0-9",
            help="Effort of PNG's compression (default: 4, or less where more finds nothing).",
        ),
        click.option(
            "--save-option",
            "save_options",
            type=SaveOption(),
            multiple=True,
            help=f"What else a format can be told: {_save_options_help()}.",
        ),
        click.option(
            "--strip", is_flag=True, help="Leave out all metadata but the colour profile."
        ),
        click.option(
            "--preserve", is_flag=True, help="Give the output the input's time and mode bits."
        ),
    ),
)

BATCH: Final = Group(
    "Batch",
    (
        click.option("--no-recursive", is_flag=True, help="Stay out of the folders in folders."),
        click.option(
            "--include",
            metavar="GLOB",
            multiple=True,
            help="Take only such files from folders, by name, or by path if it has a /.",
        ),
        click.option(
            "--exclude", metavar="GLOB", multiple=True, help="Leave such files out; this one wins."
        ),
        click.option(
            "--files-from", metavar="FILE|-", help="Read the inputs from a list, one a line."
        ),
        click.option("-0", "--null", is_flag=True, help="The list is separated by NUL."),
        click.option(
            "--relative-to",
            metavar="DIR",
            help="Where the paths of listed files begin (default: the working folder).",
        ),
        click.option(
            "--name",
            "template",
            type=NameTemplate(),
            metavar="TEMPLATE",
            help="Name of the outputs without suffix: "
            + " ".join(f"{{{key}}}" for key in NAME_KEYS)
            + ".",
        ),
        click.option("-f", "--overwrite", is_flag=True, help="Replace existing outputs."),
        click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
        click.option(
            "-j",
            "--jobs",
            type=click.IntRange(min=1),
            metavar="N",
            envvar="POOLCLI_JOBS",
            help="Pictures at a time (default: the usable processors).",
        ),
        click.option("--fail-fast", is_flag=True, help="Stop after the first failure."),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            envvar="POOLCLI_TIMEOUT",
            help="Give a picture up after so long.",
        ),
        click.option(
            "--max-pixels",
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
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option(
            "-v", "--verbose", count=True, help="Say more; twice: tracebacks of errors as well."
        ),
        click.option(
            "--json", "as_json", is_flag=True, help="Print JSON Lines on standard output."
        ),
        click.option(
            "-n", "--dry-run", is_flag=True, help="Read headers and say what would be done."
        ),
        click.option(
            "--progress/--no-progress",
            default=True,
            envvar="POOLCLI_PROGRESS",
            help="Show progress on a terminal.",
        ),
        click.option(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            envvar="POOLCLI_COLOR",
            show_default=True,
            help="Colour of what is printed.",
        ),
    ),
)

SHARED: Final = (WINDOW, PIXELS, OUTPUT, BATCH, REPORT)
GROUPS: Final = (WINDOW, AVERAGE, PIXELS, OUTPUT, BATCH, REPORT)


class PoolCommand(click.Command):
    """A verb whose help shows its options in groups."""

    groups: tuple[Group, ...] = SHARED

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section a group, in the order of declaration."""
        parameters = [one for one in self.get_params(ctx) if one.get_help_record(ctx)]
        for group in self.groups:
            names = {_declared(option) for option in group.options}
            rows = [
                record
                for one in parameters
                if one.name in names and (record := one.get_help_record(ctx))
            ]
            with formatter.section(group.title):
                formatter.write_dl(rows)
        with formatter.section("Help"):
            formatter.write_dl([("-h, --help", "Show this and exit.")])


class AverageCommand(PoolCommand):
    """The verb that has a divisor."""

    groups = GROUPS


def bundle(groups: tuple[Group, ...]) -> Decorator:
    """All paths and the options of some groups, as one decorator."""

    def decorate(command: Callback) -> Callback:
        for group in reversed(groups):
            for option in reversed(group.options):
                command = option(command)
        return click.argument("paths", nargs=-1, metavar="INPUT... OUTPUT")(command)

    return decorate


def _declared(option: Decorator) -> str | None:
    """The name of the parameter that an option decorator declares."""

    def bare() -> int:
        return 0

    declared: list[click.Parameter] = vars(option(bare))["__click_params__"]
    return declared[0].name


__all__ = [
    "AverageCommand",
    "Extent",
    "NameTemplate",
    "Padding",
    "PoolCommand",
    "SaveOption",
    "Seconds",
    "bundle",
    "rename",
]
