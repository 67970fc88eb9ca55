"""A format and a method that are no part of poolcli: one file and one row each.

``python -c "from tests import toys; toys.main()"`` is the command line with both of them.
"""

from __future__ import annotations

from poolcli import formats, methods
from poolcli.formats.row import Format
from poolcli.methods import Option, Row
from poolcli.picture import MODES

FORMAT = Format(
    name="toy",
    title="TOY",
    module="tests.toys.toy_format",
    suffixes=(".toy",),
    signature=rb"TOY\n",
    modes={mode: mode for mode in MODES},
    options={"level": range(3), "order": ("big", "little"), "padded": bool},
    frames="pages",
    metadata=("comment",),
    largest_side=5000,
)
METHOD = Row(
    name="first",
    module="tests.toys.toy_method",
    type="First",
    title="First",
    summary="Keep the first value of every window, or the value at a number.",
    examples="poolcli first --size 2 in.png out.png",
    options=(Option("--at", "The number of the tap, from 0.", "N", int),),
)


def registered() -> dict[str, object]:
    """What the registry of formats holds with one row more."""
    return {
        "FORMATS": (*formats.FORMATS, FORMAT),
        "NAMES": (*formats.NAMES, FORMAT.name),
    }


def main() -> None:
    """Run the command line with both."""
    for name, value in registered().items():
        setattr(formats, name, value)
    vars(methods)["METHODS"] = (*methods.METHODS, METHOD)
    from poolcli.cli import main as poolcli

    poolcli()
