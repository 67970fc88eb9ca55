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


_LOSSY: Final = [one for one in formats.FORMATS if one.quality]
_QUALITY: Final = (
    f"Quality of {', '.join(one.title for one in _LOSSY[:-1])} and {_LOSSY[-1].title}, 0 to 100 "
    f"(default: {'; '.join(f'{one.title} {one.quality}' for one in _LOSSY)})."
)
_COMPRESSED: Final = " and ".join(
    one.title for one in formats.FORMATS if "compress_level" in one.options
)
_SAVE_OPTIONS: Final = "; ".join(
    f"{one.name}: {', '.join(f'{key}={describe(kind)}' for key, kind in one.options.items())}"
    for one in formats.FORMATS
    if one.options
)


def _option(
    *names: str, text: str, shown: str = "", choice: tuple[str, ...] = (), **more: Any
) -> click.Option:
    """Declare an option: a value as shown, one of a choice (the default first), or a flag."""
    if choice:
        more |= {"type": click.Choice(choice), "default": choice[0], "show_default": True}
    elif shown:
        more |= {"metavar": shown}
    else:
        more |= {"is_flag": True}
    return click.Option(names, help=text, **more)


WINDOW: Final = Group(
    "Window",
    (
        _option(
            *("-k", "--size"),
            type=Extent(),
            shown="N|WxH",
            required=True,
            text="Taps of the window, width by height.",
        ),
        _option(
            *("-s", "--stride"),
            type=Extent(),
            shown="N|WxH",
            text="Pixels between windows (default: the size).",
        ),
        _option(
            *("-p", "--padding"),
            type=Padding(),
            shown="N|WxH|L,T,R,B|same|same-lower|valid",
            default="0",
            show_default=True,
            text="Pixels around the picture that take no part; up to what the window spans less 1.",
        ),
        _option(
            *("-d", "--dilation"),
            type=Extent(),
            shown="N|WxH",
            default="1",
            show_default=True,
            text="Pixels between taps.",
        ),
        _option("--ceil-mode", text="Let the last windows hang over the right and bottom."),
    ),
)

PIXELS: Final = Group(
    "Pixels",
    (
        _option(
            "--allow-depth-loss", text="Round to 8 bits what the output's format can't hold deeper."
        ),
        _option(
            "--frame",
            type=click.IntRange(0),
            shown="N",
            text="Take one frame or page only, counted from 0.",
        ),
        _option(
            "--alpha",
            choice=("weighted", "straight"),
            text="Let alpha say how much a colour counts, or treat it as one more channel.",
        ),
        _option(
            "--nan",
            choice=("omit", "propagate"),
            text="Leave NaN out of its windows, or let it spread.",
        ),
        _option(
            "--background",
            shown="COLOR",
            text="Put pictures with alpha on a colour; alpha is gone.",
        ),
    ),
)

OUTPUT: Final = Group(
    "Output",
    (
        _option(
            *("--format", "format_name"),
            type=click.Choice(formats.NAMES, case_sensitive=False),
            shown="FMT",
            text=f"Write this format, whatever the name: {', '.join(formats.NAMES)}.",
        ),
        _option("--quality", type=click.IntRange(0, 100), shown="N", text=_QUALITY),
        _option(
            "--compress-level",
            type=click.IntRange(0, 9),
            shown="0-9",
            text=f"Effort of compression in {_COMPRESSED} "
            "(default: 4, or less where more finds nothing).",
        ),
        _option(
            *("--save-option", "save_options"),
            type=SaveOption(),
            shown="KEY=VALUE",
            multiple=True,
            text=f"What else a format can be told: {_SAVE_OPTIONS}.",
        ),
        _option("--strip", text="Leave out all metadata but the colour profile."),
        _option("--preserve", text="Give the output the input's time and mode bits."),
    ),
)

BATCH: Final = Group(
    "Batch",
    (
        _option("--no-recursive", text="Stay out of the folders in folders."),
        _option(
            "--include",
            shown="GLOB",
            multiple=True,
            text="Take only such files from folders, by name, or by path if it has a /.",
        ),
        _option(
            "--exclude", shown="GLOB", multiple=True, text="Leave such files out; this one wins."
        ),
        _option("--files-from", shown="FILE|-", text="Read the inputs from a list, one a line."),
        _option("-0", "--null", text="The list is separated by NUL."),
        _option(
            "--relative-to",
            shown="DIR",
            text="The folder that listed files are relative to (default: the working folder).",
        ),
        _option(
            *("--name", "template"),
            type=NameTemplate(),
            shown="TEMPLATE",
            text="Name of the outputs without suffix: "
            + " ".join(f"{{{key}}}" for key in NAME_KEYS)
            + ".",
        ),
        _option("-f", "--overwrite", text="Replace existing outputs."),
        _option("--skip-existing", text="Leave out inputs whose output exists."),
        _option(
            *("-j", "--jobs"),
            type=click.IntRange(min=1),
            shown="N",
            envvar="POOLCLI_JOBS",
            text="Pictures at a time (default: the usable processors).",
        ),
        _option("--fail-fast", text="Stop after the first failure."),
        _option(
            "--timeout",
            type=Seconds(min=0, min_open=True),
            shown="SECONDS",
            envvar="POOLCLI_TIMEOUT",
            text="Give up a picture that takes longer.",
        ),
        _option(
            "--max-pixels",
            type=click.IntRange(min=1),
            shown="N",
            default=MAX_PIXELS,
            envvar="POOLCLI_MAX_PIXELS",
            text="Refuse pictures of more pixels (default: 1000 million).",
        ),
    ),
)

REPORT: Final = Group(
    "Report",
    (
        _option("-q", "--quiet", text="Print errors only."),
        click.Option(
            ["-v", "--verbose"], count=True, help="Say more; twice: also tracebacks of errors."
        ),
        _option("--json", "as_json", text="Print JSON Lines on standard output."),
        _option("-n", "--dry-run", text="Read headers and say what would be done."),
        click.Option(
            ["--progress/--no-progress"],
            default=True,
            envvar="POOLCLI_PROGRESS",
            help="Show progress on a terminal.",
        ),
        _option(
            "--color",
            choice=("auto", "always", "never"),
            text="Colour of what is printed.",
            envvar="POOLCLI_COLOR",
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
    options = []
    for one in row.options:
        more: dict[str, Any] = {}
        if one.least is not None:
            more = {"shown": "N", "type": click.IntRange(one.least)}
        options.append(_option(one.flag, text=one.help, **more))
    own = [Group(row.title, tuple(options))] if options else []
    return PoolCommand(
        (window, *own, *others),
        name=row.name,
        callback=callback,
        help=f"{row.summary}\n\n\b\n{row.examples}",
    )
