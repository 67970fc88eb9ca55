"""All words for people, on standard error."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

from poolcli.report import Outcome

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

ColorChoice = Literal["auto", "always", "never"]
UNSAFE_CATEGORIES: Final = ("C", "Zl", "Zp")
DTYPE_WORDS: Final = {"bool": "1-bit"}


def display_name(text: str) -> str:
    r"""Text from outside that does nothing to a terminal: what doesn't print is escaped.

    >>> display_name("a\x1b[31m.png")
    'a\\x1b[31m.png'
    """
    return "".join(
        ascii(letter)[1:-1]
        if unicodedata.category(letter).startswith(UNSAFE_CATEGORIES)
        else letter
        for letter in text
    )


def line(text: str) -> None:
    """One line on standard error; where nobody listens, nothing."""
    try:
        sys.stderr.write(f"{display_name(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or no stderr at all
        return


def plain(text: str) -> None:
    """Several lines of our own on standard error."""
    for one in text.splitlines():
        line(one)


def error(message: str, remedy: str = "", name: str = "") -> None:
    """``poolcli: NAME: what is wrong; what to do about it``."""
    line(": ".join(filter(None, ("poolcli", name, f"{message}; {remedy}" if remedy else message))))


class Console:
    """How much is said, and in which colour."""

    def __init__(self, *, quiet: bool, verbose: int, color: ColorChoice) -> None:
        """Ask once whether standard error is a terminal."""
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.is_terminal = bool(sys.stderr) and sys.stderr.isatty()

    def outcome(self, outcome: Outcome, *, to_stream: bool) -> None:
        """What became of the only picture of a run."""
        if outcome.status == "failed":
            self.failure(outcome)
        if self.quiet:
            return
        name = shown(outcome.input)
        for warning in outcome.warnings:
            line(f"poolcli: {name}: warning: {warning}")
        if self.verbose:
            for note in outcome.notes:
                line(f"poolcli: {name}: {note}")
        if outcome.status == "skipped":
            line(f"poolcli: {name}: skipped, {outcome.output} exists already")
        elif outcome.status != "failed" and not to_stream:
            self._table(outcome)
        elif outcome.status != "failed" and (self.is_terminal or self.verbose):
            line(f"poolcli: {_sentence(outcome)}")

    def failure(self, outcome: Outcome) -> None:
        """Why a picture failed, in one line; the traceback only on demand."""
        error(outcome.error or "it failed", outcome.remedy or "", shown(outcome.input))
        if self.verbose > 1 and outcome.traceback:
            plain(outcome.traceback.rstrip())

    def _table(self, outcome: Outcome) -> None:
        """The summary of one file."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for title, value in _rows(outcome):
            table.add_row(title, Text(display_name(value)))
        self._rich().print(table)

    def _rich(self) -> RichConsole:
        """Rich's console, which parses nothing and obeys NO_COLOR and TERM=dumb."""
        from rich.console import Console as RichConsole

        dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
        return RichConsole(
            stderr=True,
            markup=False,
            highlight=False,
            emoji=False,
            force_terminal={"always": True, "never": False}.get(self.color),
            no_color=True if self.color == "never" or (dumb and self.color == "auto") else None,
        )


def shown(path: str) -> str:
    """A path as people call it."""
    return "stdin" if path == "-" else path


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    """The lines of the summary: title and value."""
    rows = [
        ("input", outcome.input),
        ("output", outcome.output + (" (dry run)" if outcome.status == "planned" else "")),
        ("shape", _shapes(outcome)),
        ("window", _window(outcome)),
        ("dropped", _dropped(outcome) or "nothing"),
    ]
    if outcome.status == "done":
        rows.append(("time", _times(outcome)))
    return rows


def _sentence(outcome: Outcome) -> str:
    """The summary in one line."""
    parts = [f"{shown(outcome.input)} → {outcome.output}", _shapes(outcome), _window(outcome)]
    if dropped := _dropped(outcome):
        parts.append(f"dropped {dropped}")
    if outcome.status == "done":
        parts.append(_times(outcome))
    return ", ".join(parts)


def _shapes(outcome: Outcome) -> str:
    """Shape before and after, type and mode."""
    before, after = (
        "×".join(map(str, shape or ())) for shape in (outcome.input_shape, outcome.output_shape)
    )
    return f"{before} → {after} ({outcome.dtype}, {outcome.mode})"


def _window(outcome: Outcome) -> str:
    """Method and window, as the command line writes them: width by height."""
    parts = [f"{outcome.method} {_extent(outcome.size)}", f"stride {_extent(outcome.stride)}"]
    if outcome.dilation != (1, 1):
        parts.append(f"dilation {_extent(outcome.dilation)}")
    (top, bottom), (left, right) = outcome.padding or ((0, 0), (0, 0))
    if top or bottom or left or right:
        parts.append(f"padding left {left}, top {top}, right {right}, bottom {bottom}")
    return ", ".join(parts)


def _extent(pair: tuple[int, int] | None) -> str:
    """(height, width) as ``WxH``."""
    return f"{pair[1]}x{pair[0]}" if pair else ""


def _dropped(outcome: Outcome) -> str:
    """The pixels that no window reads, in words; empty if there are none."""
    rows, columns = outcome.dropped or (0, 0)
    parts = []
    if rows:
        parts.append(f"{rows} row{'s' * (rows > 1)} at the bottom")
    if columns:
        parts.append(f"{columns} column{'s' * (columns > 1)} at the right")
    if outcome.has_gaps:
        parts.append("pixels between windows or taps")
    return ", ".join(parts)


def _times(outcome: Outcome) -> str:
    """Seconds of each step."""
    steps = (
        ("read", outcome.read_seconds),
        ("pool", outcome.pool_seconds),
        ("write", outcome.write_seconds),
    )
    return ", ".join(f"{name} {seconds or 0:.3f} s" for name, seconds in steps)
