"""Every argument and option, declared once, and the types of their values.

The command line follows images, width before height; the rest of poolcli follows NumPy, height
before width. The turn is made here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias

import click

from poolcli import formats

Callback: TypeAlias = Callable[..., int]
Decorator: TypeAlias = Callable[[Callback], Callback]

NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
MAX_PIXELS: Final = 1_000_000_000


class Extent(click.ParamType[tuple[int, int]]):
    """``N`` or ``WxH``: becomes (height, width)."""

    name = "N|WxH"

    def __init__(self, least: int = 1) -> None:
        """Take numbers from ``least`` on."""
        self.least = least

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse the text."""
        if isinstance(value, tuple):
            return value
        numbers = whole_numbers(value, "x")
        if numbers is None or len(numbers) > 2 or min(numbers) < self.least:
            self.fail(
                f"{value!r} is not N or WxH in whole numbers of at least {self.least}", param, ctx
            )
        return numbers[-1], numbers[0]


class Padding(click.ParamType[Any]):
    """``N``, ``WxH``, ``LEFT,TOP,RIGHT,BOTTOM`` or a name: becomes what `Window.of` takes."""

    name = "N|WxH|L,T,R,B|same|same-lower|valid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the text."""
        if not isinstance(value, str):
            return value
        if value in ("same", "same-lower", "valid"):
            return value.replace("-", "_")
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


class SaveOption(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE`` with a key that some format knows."""

    name = "KEY=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split the text at its first equals sign."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        known = {key for one in formats.FORMATS for key in one.options}
        if not equals or key not in known:
            self.fail(
                f"{value!r} is not KEY=VALUE with one of {', '.join(sorted(known))}", param, ctx
            )
        return key, text


def whole_numbers(text: str, separator: str) -> list[int] | None:
    """Numbers between separators, or None if there is anything else."""
    parts = text.split(separator)
    return [int(part) for part in parts] if all(map(NUMBER.fullmatch, parts)) else None


class Group(NamedTuple):
    """Options that belong together, under a title in the help."""

    title: str
    options: tuple[Decorator, ...]


def _save_options_help() -> str:
    """Every key and what it takes, by format."""
    return "; ".join(
        f"{one.name}: "
        + ", ".join(f"{key}={formats.describe(kind)}" for key, kind in one.options.items())
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
            help="Effort of PNG's compression (default: 4).",
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
        click.option("-f", "--overwrite", is_flag=True, help="Replace existing outputs."),
        click.option("--skip-existing", is_flag=True, help="Leave out inputs whose output exists."),
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
