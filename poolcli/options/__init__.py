"""Declare every shared argument and option once."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import click

from poolcli.formats import FORMATS, NAMES
from poolcli.formats.saving import describe
from poolcli.options.names import NAME_KEYS
from poolcli.options.types import (
    AxesLetters,
    Extent,
    FormatName,
    Levels,
    NameTemplate,
    NodataText,
    OneOf,
    OutputExtent,
    Padding,
    PathText,
    PlaneCount,
    SaveOption,
    Seconds,
    Whole,
    YesNo,
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


def declared(
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
        more |= {"type": OneOf(*choice), "default": choice[0], "show_default": True}
        more["metavar"] = f"[{'|'.join(choice)}]"
    elif shown:
        more = {"default": None, "metavar": shown} | more
    else:
        more |= {"is_flag": True}
    return click.Option(names, help=text, **more)


WINDOW: Final = Group(
    "Window",
    (
        declared(
            *("-k", "--size"),
            type=Extent(),
            shown="N|WxH",
            text="Size of the window or kernel, width by height; required unless "
            "--output-size, --fit or --levels is given.",
        ),
        declared(
            *("-s", "--stride"),
            type=Extent(),
            shown="N|WxH",
            text="Step from one window to the next (default: the size).",
        ),
        declared(
            *("-p", "--padding"),
            type=Padding(),
            shown="N|WxH|L,T,R,B|same|same-lower|valid",
            default="0",
            show_default=True,
            text="Pixels around the picture, without a value; at most dilation x (size - 1).",
        ),
        declared(
            *("-d", "--dilation"),
            type=Extent(),
            shown="N|WxH",
            default="1",
            show_default=True,
            text="Step from one pixel of a window to the next.",
        ),
        declared(
            "--levels",
            type=Levels(),
            shown="L,L,...",
            text="Pool by each of these sizes, in place of a window, into a folder.",
        ),
        declared("--ceil-mode", text="Let the last windows extend beyond the right and bottom."),
        declared(
            "--output-size",
            type=OutputExtent(),
            shown="N|WxH|Wx|xH",
            text="Pixels of the output, in place of a window; a side that is left out keeps the "
            "aspect ratio.",
        ),
        declared(
            "--fit",
            type=Extent(),
            shown="N|WxH",
            text="Make the output as large as fits into this box, and never larger than the input.",
        ),
        declared(
            "--exact",
            text="Refuse pictures if pixels would be left out, or windows extend beyond them.",
        ),
    ),
)

PIXELS: Final = Group(
    "Pixels",
    (
        declared(
            "--allow-depth-loss", text="Round to 8 bits if the output can't hold the input's depth."
        ),
        declared(
            "--frame",
            type=Whole(0),
            shown="N",
            text="Pool only this frame or page, counted from 0.",
        ),
        declared(
            "--alpha",
            choice=("weighted", "straight"),
            text="Weight colours by alpha, or pool alpha as one more channel.",
        ),
        declared(
            "--background",
            shown="COLOR",
            text="Flatten pictures with alpha onto this colour; alpha is removed.",
        ),
    ),
)

ARRAYS: Final = Group(
    "Arrays and stacks",
    (
        declared(
            "--axes",
            type=AxesLetters(),
            shown="LETTERS",
            text="Axes of an array, such as CHW or NHWC: H or Y, W or X, C or S for channels, "
            "Z or D for planes, others for a batch (default: HW or HWC).",
        ),
        declared(
            "--planes",
            type=PlaneCount(),
            shown="K|all",
            text="Make windows so many planes of a stack deep: of an array with Z in --axes, or "
            "of the pages of a file.",
        ),
        declared(
            "--nodata",
            type=NodataText(),
            shown="V|none",
            text="The value of samples without data, which take no part (default: as the file "
            "states).",
        ),
        declared(
            "--nan",
            choice=("omit", "propagate"),
            text="Leave NaN out of its windows, or make them NaN.",
        ),
    ),
)

OUTPUT: Final = Group(
    "Output",
    (
        declared(
            *("--format", "format_name"),
            type=FormatName(),
            shown="FMT",
            text=f"Write this format, whatever OUTPUT's suffix is: {', '.join(NAMES)}.",
        ),
        declared("--quality", type=Whole(0, 100), shown="N", text=_QUALITY),
        declared(
            "--compress-level",
            type=Whole(0, 9),
            shown="0-9",
            text=f"Effort of compression in {_COMPRESSED} (default: what suits the picture).",
        ),
        declared(
            *("--save-option", "save_options"),
            type=SaveOption(),
            shown="KEY=VALUE",
            multiple=True,
            text=f"Other settings of a format: {_SAVE_OPTIONS}.",
        ),
        declared("--strip", text="Leave out all metadata but the colour profile."),
        declared("--preserve", text="Give the output the input's times and mode bits."),
    ),
)

# Only options that never change a pixel may come from the environment, so each variable is named
# here. Click's `auto_envvar_prefix` would let the environment set all options.
BATCH: Final = Group(
    "Batch",
    (
        declared(
            *("-t", "--target-directory"),
            type=PathText("dir"),
            shown="DIR",
            text="The output folder; then all paths are INPUTs.",
        ),
        declared("--no-recursive", text="Don't search the folders inside an INPUT folder."),
        declared(
            "--include",
            shown="GLOB",
            multiple=True,
            text="Pool only matching files in folders; a glob with a / is matched to the path.",
        ),
        declared(
            "--exclude", shown="GLOB", multiple=True, text="Leave these out, even if included."
        ),
        declared(
            "--files-from",
            type=PathText(),
            shown="FILE|-",
            text="Read the inputs from a list, one per line.",
        ),
        declared("-0", "--null", text="The paths in the list are separated by NUL."),
        declared(
            "--relative-to",
            type=PathText("dir"),
            shown="DIR",
            text="The folder that listed files are relative to (default: the working folder).",
        ),
        declared(
            *("--name", "template"),
            type=NameTemplate(),
            shown="TEMPLATE",
            text="Names of the outputs, without suffix: "
            + " ".join(f"{{{key}}}" for key in NAME_KEYS)
            + ".",
        ),
        declared("-f", "--overwrite", text="Replace existing outputs."),
        declared("--skip-existing", text="Skip inputs whose output exists."),
        declared("--update", text="Replace outputs that are older than their input; skip others."),
        declared(
            *("-j", "--jobs"),
            type=Whole(1),
            shown="N",
            envvar="POOLCLI_JOBS",
            text="Pictures to pool at the same time (default: one per usable CPU, four with URLs).",
        ),
        declared(
            "--scheduler",
            shown="ADDRESS|auto",
            envvar="POOLCLI_SCHEDULER",
            text="Pool on the Dask cluster of this scheduler; auto: the one that Dask's own "
            "configuration names.",
        ),
        declared(
            "--shared-filesystem",
            text="All machines of the cluster see the same local files.",
        ),
        declared("--fail-fast", text="Stop after the first failure."),
        declared(
            "--timeout",
            type=Seconds(),
            shown="SECONDS",
            envvar="POOLCLI_TIMEOUT",
            text="Give up a picture that takes longer.",
        ),
        declared(
            "--max-pixels",
            type=Whole(1),
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
        declared("-q", "--quiet", text="Print errors only."),
        click.Option(
            ["-v", "--verbose"], count=True, help="Print more; twice: also tracebacks of errors."
        ),
        declared("--json", "as_json", text="Print JSON Lines on standard output."),
        declared("-n", "--dry-run", text="Read only headers, and print what would be done."),
        click.Option(
            ["--progress/--no-progress"],
            type=YesNo(),
            default=True,
            envvar="POOLCLI_PROGRESS",
            help="Show progress on a terminal.",
        ),
        declared(
            "--color",
            choice=("auto", "always", "never"),
            text="Print in colour; auto: only on a terminal.",
            envvar="POOLCLI_COLOR",
        ),
    ),
)

SHARED: Final = (WINDOW, PIXELS, ARRAYS, OUTPUT, BATCH, REPORT)
"""The groups of every verb; the help shows a method's own options after the first group."""
