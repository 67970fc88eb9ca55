"""Declare every shared argument and option once, and make the verbs from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from poolcli.formats import FORMATS, NAMES
from poolcli.formats.saving import describe
from poolcli.methods import Row
from poolcli.options.types import (
    NAME_KEYS,
    Extent,
    FormatName,
    Levels,
    NameTemplate,
    NodataText,
    OutputExtent,
    Padding,
    Parsed,
    SaveOption,
    Seconds,
)

MAX_PIXELS: Final = 1_000_000_000


class Group(NamedTuple):
    """Options that the help shows together under a title."""

    title: str
    options: tuple[click.Option, ...]


# The help names formats from the registry, so that those added later appear in it too.
_LOSSY: Final = [row for row in FORMATS if row.quality]
_QUALITY: Final = (
    f"Quality of {', '.join(row.title for row in _LOSSY[:-1])} and {_LOSSY[-1].title}, 0 to 100 "
    f"(default: {'; '.join(f'{row.title} {row.quality}' for row in _LOSSY)})."
)
_COMPRESSED: Final = " and ".join(row.title for row in FORMATS if "compress_level" in row.options)
_SAVE_OPTIONS: Final = "; ".join(
    f"{row.name}: {', '.join(f'{key}={describe(kind)}' for key, kind in row.options.items())}"
    for row in FORMATS
    if row.options
)


def _option(
    *names: str, text: str, shown: str = "", choice: tuple[str, ...] = (), **more: Any
) -> click.Option:
    """Declare an option: one of a choice, an option with a value, or a flag.

    Args:
        names: as `click.Option` takes them.
        text: the help text.
        shown: the placeholder of the value in the help; empty for a flag.
        choice: the allowed values, the default first; empty for other options.
        more: other arguments of `click.Option`.
    """
    if choice:
        more |= {"type": click.Choice(choice), "default": choice[0], "show_default": True}
    elif shown:
        more = {"default": None, "metavar": shown} | more
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
            text="Pixels that a window reads, width by height; this, --output-size, --fit or "
            "--levels is required.",
        ),
        _option(
            *("-s", "--stride"),
            type=Extent(),
            shown="N|WxH",
            text="Step from one window to the next (default: the size).",
        ),
        _option(
            *("-p", "--padding"),
            type=Padding(),
            shown="N|WxH|L,T,R,B|same|same-lower|valid",
            default="0",
            show_default=True,
            text="Pixels around the picture, without a value; at most dilation x (size - 1).",
        ),
        _option(
            *("-d", "--dilation"),
            type=Extent(),
            shown="N|WxH",
            default="1",
            show_default=True,
            text="Step from one pixel of a window to the next.",
        ),
        _option(
            "--levels",
            type=Levels(),
            shown="L,L,...",
            text="Pool by each of these sizes, in place of a window, into a folder.",
        ),
        _option("--ceil-mode", text="Let the last windows extend beyond the right and bottom."),
        _option(
            "--output-size",
            type=OutputExtent(),
            shown="N|WxH|Wx|xH",
            text="Pixels of the output, in place of a window; a side that is left out keeps the "
            "aspect ratio.",
        ),
        _option(
            "--fit",
            type=Extent(),
            shown="N|WxH",
            text="Make the output as large as fits into this box, and never larger than the input.",
        ),
        _option(
            "--exact",
            text="Refuse pictures if pixels would be left out, or windows extend beyond them.",
        ),
    ),
)

PIXELS: Final = Group(
    "Pixels",
    (
        _option(
            "--allow-depth-loss", text="Round to 8 bits if the output can't hold the input's depth."
        ),
        _option(
            "--frame",
            type=click.IntRange(0),
            shown="N",
            text="Pool only this frame or page, counted from 0.",
        ),
        _option(
            "--alpha",
            choice=("weighted", "straight"),
            text="Weight colours by alpha, or pool alpha as one more channel.",
        ),
        _option(
            "--background",
            shown="COLOR",
            text="Flatten pictures with alpha onto this colour; alpha is removed.",
        ),
    ),
)

ARRAYS: Final = Group(
    "Arrays and stacks",
    (
        _option(
            "--axes",
            shown="LETTERS",
            text="Axes of an array, such as CHW or NHWC: H or Y, W or X, C or S for channels, "
            "others for a batch (default: HW or HWC).",
        ),
        _option(
            "--nodata",
            type=NodataText(),
            shown="V|none",
            text="The value of samples without data, which take no part (default: as the file "
            "states).",
        ),
        _option(
            "--nan",
            choice=("omit", "propagate"),
            text="Leave NaN out of its windows, or make them NaN.",
        ),
    ),
)

OUTPUT: Final = Group(
    "Output",
    (
        _option(
            *("--format", "format_name"),
            type=FormatName(),
            shown="FMT",
            text=f"Write this format, whatever OUTPUT's suffix is: {', '.join(NAMES)}.",
        ),
        _option("--quality", type=click.IntRange(0, 100), shown="N", text=_QUALITY),
        _option(
            "--compress-level",
            type=click.IntRange(0, 9),
            shown="0-9",
            text=f"Effort of compression in {_COMPRESSED} (default: what suits the picture).",
        ),
        _option(
            *("--save-option", "save_options"),
            type=SaveOption(),
            shown="KEY=VALUE",
            multiple=True,
            text=f"Other settings of a format: {_SAVE_OPTIONS}.",
        ),
        _option("--strip", text="Leave out all metadata but the colour profile."),
        _option("--preserve", text="Give the output the input's times and mode bits."),
    ),
)

# Only options that never change a pixel may come from the environment, so each variable is named
# here. Click's `auto_envvar_prefix` would let the environment set all options.
BATCH: Final = Group(
    "Batch",
    (
        _option(
            *("-t", "--target-directory"),
            shown="DIR",
            text="The output folder; then all paths are INPUTs.",
        ),
        _option("--no-recursive", text="Don't search the folders inside an INPUT folder."),
        _option(
            "--include",
            shown="GLOB",
            multiple=True,
            text="Pool only matching files in folders; a glob with a / is matched to the path.",
        ),
        _option(
            "--exclude", shown="GLOB", multiple=True, text="Leave these out, even if included."
        ),
        _option("--files-from", shown="FILE|-", text="Read the inputs from a list, one per line."),
        _option("-0", "--null", text="The paths in the list are separated by NUL."),
        _option(
            "--relative-to",
            shown="DIR",
            text="The folder that listed files are relative to (default: the working folder).",
        ),
        _option(
            *("--name", "template"),
            type=NameTemplate(),
            shown="TEMPLATE",
            text="Names of the outputs, without suffix: "
            + " ".join(f"{{{key}}}" for key in NAME_KEYS)
            + ".",
        ),
        _option("-f", "--overwrite", text="Replace existing outputs."),
        _option("--skip-existing", text="Skip inputs whose output exists."),
        _option("--update", text="Replace outputs that are older than their input; skip others."),
        _option(
            *("-j", "--jobs"),
            type=click.IntRange(min=1),
            shown="N",
            envvar="POOLCLI_JOBS",
            text="Pictures to pool at the same time (default: one per usable CPU).",
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
            text="Refuse pictures with more pixels (default: 1000 million).",
        ),
    ),
)

REPORT: Final = Group(
    "Report",
    (
        _option("-q", "--quiet", text="Print errors only."),
        click.Option(
            ["-v", "--verbose"], count=True, help="Print more; twice: also tracebacks of errors."
        ),
        _option("--json", "as_json", text="Print JSON Lines on standard output."),
        _option("-n", "--dry-run", text="Read only headers, and print what would be done."),
        click.Option(
            ["--progress/--no-progress"],
            default=True,
            envvar="POOLCLI_PROGRESS",
            help="Show progress on a terminal.",
        ),
        _option(
            "--color",
            choice=("auto", "always", "never"),
            text="Print in colour; auto: only on a terminal.",
            envvar="POOLCLI_COLOR",
        ),
    ),
)

SHARED: Final = (WINDOW, PIXELS, ARRAYS, OUTPUT, BATCH, REPORT)
"""The groups of every verb; the help shows a method's own options after the first group."""


class PoolCommand(click.Command):
    """A verb whose help shows its options in groups."""

    def __init__(self, groups: tuple[Group, ...], **settings: Any) -> None:
        """Declare the paths and the options of all groups."""
        paths = click.Argument(["paths"], nargs=-1, metavar="INPUT... OUTPUT")
        options = [option for group in groups for option in group.options]
        super().__init__(params=[paths, *options], **settings)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, in their order."""
        for group in self.groups:
            records = (option.get_help_record(ctx) for option in group.options)
            with formatter.section(group.title):
                formatter.write_dl([record for record in records if record])
        with formatter.section("Help"):
            formatter.write_dl([("-h, --help", "Show this and exit.")])


def verb(row: Row, callback: Callable[..., int]) -> click.Command:
    """Return the verb of a method, with the shared options and the method's own."""
    window, *others = SHARED
    options = []
    for option in row.options:
        more: dict[str, Any] = {}
        if option.shown:
            more = {"shown": option.shown, "type": Parsed(option.read), "default": option.default}
            more["show_default"] = option.default is not None
        options.append(_option(option.flag, text=option.help, **more))
    own = [Group(row.title, tuple(options))] if options else []
    return PoolCommand(
        (window, *own, *others),
        name=row.name,
        callback=callback,
        help=f"{row.summary}\n\n\b\n{row.examples}",
    )
