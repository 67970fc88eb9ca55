"""Everything that is printed for people, on standard error."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from poolcli.plan import Refusal
from poolcli.report import Outcome, Report

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table as RichTable

ColorChoice = Literal["auto", "always", "never"]
UNSAFE_CATEGORIES: Final = ("C", "Zl", "Zp")
SHOWN_NAMES: Final = 5
"""How many names a refusal lists, unless more is asked for."""


def display_name(text: str) -> str:
    r"""Escape what doesn't print in a text from outside, so that it does nothing to a terminal.

    >>> display_name("a\x1b[31m.png")
    'a\\x1b[31m.png'
    """
    if text.isprintable():
        return text
    import unicodedata  # few names need it

    return "".join(
        ascii(letter)[1:-1]
        if unicodedata.category(letter).startswith(UNSAFE_CATEGORIES)
        else letter
        for letter in text
    )


def line(text: str) -> None:
    """Print one line; nothing where standard error is closed or full."""
    try:
        sys.stderr.write(f"{display_name(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or no stderr at all
        return


def line_from_handler(text: str) -> None:
    """Print one line from a signal handler: Rich may hold locks that the handler would wait for."""
    if sys.__stderr__ is None:  # its descriptor may be any file by now
        return
    clear = "\r\x1b[2K" if sys.stderr is not sys.__stderr__ else ""  # over a progress bar
    with suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno(), f"{clear}{display_name(text)}\n".encode())


def plain(text: str) -> None:
    """Print several lines of our own."""
    for one in text.splitlines():
        line(one)


def error(message: str, remedy: str = "", name: str = "") -> None:
    """Print ``poolcli: NAME: what is wrong; what to do about it``."""
    line(": ".join(filter(None, ("poolcli", name, f"{message}; {remedy}" if remedy else message))))


class Console:
    """What is printed during one run, how much of it, and in which colour."""

    def __init__(self, *, quiet: bool, verbose: int, color: ColorChoice, progress: bool) -> None:
        """Keep the choices, and ask once whether standard error is a terminal."""
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.is_terminal = bool(sys.stderr) and sys.stderr.isatty()
        self.shows_progress = progress and self.is_terminal and not quiet
        self._print_line: Callable[[str], None] = line

    def outcome(self, outcome: Outcome, *, to_stream: bool) -> None:
        """Print the outcome of the only picture of a run."""
        if outcome.status == "failed":
            self.failure(outcome)
        if self.quiet:
            return
        self._remarks(outcome)
        if outcome.status == "skipped":
            line(f"poolcli: {shown(outcome.input)}: skipped, {outcome.output} exists already")
        elif outcome.status != "failed" and not to_stream:
            self._print_table(_table(_rows(outcome)))
        elif outcome.status != "failed" and (self.is_terminal or self.verbose):
            line(f"poolcli: {_sentence(outcome)}")

    def in_batch(self, outcome: Outcome) -> None:
        """Print the outcome of one picture of many, if that is asked for."""
        if self.quiet or not self.verbose:
            return
        if outcome.status in ("done", "planned"):
            self._print_line(f"poolcli: {_sentence(outcome)}")
        elif outcome.status == "skipped":
            self._print_line(f"poolcli: {outcome.input}: skipped, {outcome.output} exists already")
        self._remarks(outcome)

    def summary(self, report: Report) -> None:
        """Print the totals of a batch, and each failure with its reason."""
        if not self.quiet:
            self._print_table(_table(_totals(report)))
        for outcome in report.failures:
            self.failure(outcome)

    def failure(self, outcome: Outcome) -> None:
        """Print why a picture failed, in one line; the traceback only if it is asked for."""
        error(outcome.error or "it failed", outcome.remedy or "", shown(outcome.input))
        if self.verbose > 1 and outcome.traceback:
            plain(outcome.traceback.rstrip())

    def refused(self, refusal: Refusal) -> None:
        """Print one reason for which a plan is refused: how many names, and the first of them."""
        names = refusal.names
        if not names:
            error(refusal.reason, refusal.remedy)
            return
        some = names if self.verbose else names[:SHOWN_NAMES]
        dots = ", …" if len(some) < len(names) else ""
        error(f"{refusal.reason} ({len(names)}): {', '.join(some)}{dots}", refusal.remedy)

    @contextmanager
    def progress(self, pictures: int, octets: int) -> Iterator[Callable[[Outcome], None]]:
        """Show a bar while a batch runs on a terminal; yield what is called after each picture.

        Args:
            pictures: how many there are, 0 if there shall be no bar.
            octets: the bytes of those that will be opened, from which the time left is estimated.
        """
        if not self.shows_progress or not pictures:
            yield lambda _: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}/{task.fields[pictures]}", markup=False),
            TextColumn("{task.fields[rate]:.1f} MP/s", markup=False),
            TimeRemainingColumn(),
            # The name gets the width that is left, so that a long one pushes nothing out.
            TextColumn(
                "{task.fields[name]}", markup=False, table_column=Column(ratio=1, no_wrap=True)
            ),
        )
        with Progress(*columns, console=self._rich(), transient=True, expand=True) as bar:
            task = bar.add_task(
                "", total=max(1, octets), pictures=pictures, count=0, rate=0.0, name=""
            )
            started, count, pixels = time.monotonic(), 0, 0

            def advance(outcome: Outcome) -> None:
                nonlocal count, pixels
                count += 1
                pixels += math.prod((outcome.input_shape or (0,))[:2])
                bar.update(
                    task,
                    advance=outcome.input_bytes or 0,
                    count=count,
                    rate=pixels / 1e6 / max(time.monotonic() - started, 1e-3),
                    name=display_name(os.path.basename(outcome.input)),
                )

            self._print_line = lambda text: bar.console.print(display_name(text), soft_wrap=True)
            try:
                yield advance
            finally:
                self._print_line = line

    def _remarks(self, outcome: Outcome) -> None:
        """Print warnings, and what is harmless if that is asked for."""
        for warning in outcome.warnings:
            self._print_line(f"poolcli: {shown(outcome.input)}: warning: {warning}")
        if self.verbose:
            for note in outcome.notes:
                self._print_line(f"poolcli: {shown(outcome.input)}: {note}")

    def _print_table(self, table: RichTable) -> None:
        """Print a table, unless standard error is closed or full."""
        with suppress(OSError, ValueError):
            self._rich().print(table)

    def _rich(self) -> RichConsole:
        """Return Rich's console, which parses no markup and obeys NO_COLOR and TERM=dumb."""
        from rich.console import Console as RichConsole

        plain_asked = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
        no_color = self.color == "never" or (plain_asked and self.color == "auto")
        return RichConsole(
            stderr=True,
            markup=False,
            highlight=False,
            emoji=False,
            force_terminal=True if self.color == "always" else None,
            color_system=None if no_color else "auto",
        )


def _table(rows: list[tuple[str, str]]) -> RichTable:
    """Return a table of titles and values, side by side."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in rows:
        table.add_row(title, Text(display_name(value)))
    return table


def shown(path: str) -> str:
    """Return a path as people call it."""
    return "stdin" if path == "-" else path


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the rows of the summary: title and value."""
    rows = [
        ("input", outcome.input),
        ("output", outcome.output + (" (dry run)" if outcome.status == "planned" else "")),
        ("shape", _shapes(outcome)),
        ("window", _window(outcome)),
        ("dropped", _dropped(outcome) or "nothing"),
    ]
    if frames := _frames(outcome):
        rows.insert(2, ("frames", frames))
    if outcome.status == "done":
        rows.append(("time", _times(outcome)))
    return rows


def _totals(report: Report) -> list[tuple[str, str]]:
    """Return the rows of a batch's summary."""
    counts = ("done", "planned", "skipped", "failed", "left")
    seconds = max(report.elapsed, 1e-6)
    rows = [
        (
            "pictures",
            ", ".join(f"{getattr(report, one)} {one}" for one in counts if getattr(report, one))
            or "none",
        ),
        ("pixels", f"{report.pixels_in / 1e6:.2f} → {report.pixels_out / 1e6:.2f} million"),
        ("bytes", f"{report.bytes_in / 1e6:.2f} → {report.bytes_out / 1e6:.2f} million"),
        (
            "time",
            f"{seconds:.3f} s, {(report.done + report.planned) / seconds:.1f} images/s, "
            f"{report.pixels_in / 1e6 / seconds:.1f} MP/s",
        ),
    ]
    rows += [(f"{count}×", remark) for remark, count in report.remarks.most_common()]
    return rows


def _sentence(outcome: Outcome) -> str:
    """Return the summary in one line."""
    parts = [f"{shown(outcome.input)} → {outcome.output}", _shapes(outcome), _window(outcome)]
    if frames := _frames(outcome):
        parts.insert(1, f"{frames} frames")
    if dropped := _dropped(outcome):
        parts.append(f"dropped {dropped}")
    if outcome.status == "done":
        parts.append(_times(outcome))
    return ", ".join(parts)


def _frames(outcome: Outcome) -> str:
    """Return how many frames were taken, where the file has several; else nothing."""
    return f"{outcome.taken} of {outcome.frames}" if (outcome.frames or 1) > 1 else ""


def _shapes(outcome: Outcome) -> str:
    """Return shape before and after, type and mode."""
    before, after = (
        "×".join(map(str, shape or ())) for shape in (outcome.input_shape, outcome.output_shape)
    )
    return f"{before} → {after} ({outcome.dtype}, {outcome.mode})"


def _window(outcome: Outcome) -> str:
    """Return method and window, as the command line writes them: width by height."""
    parts = [f"{outcome.method} {_extent(outcome.size)}", f"stride {_extent(outcome.stride)}"]
    if outcome.dilation != (1, 1):
        parts.append(f"dilation {_extent(outcome.dilation)}")
    (top, bottom), (left, right) = outcome.padding or ((0, 0), (0, 0))
    if top or bottom or left or right:
        parts.append(f"padding left {left}, top {top}, right {right}, bottom {bottom}")
    return ", ".join(parts)


def _extent(pair: tuple[int, int] | None) -> str:
    """Return (height, width) as ``WxH``."""
    return f"{pair[1]}x{pair[0]}" if pair else ""


def _dropped(outcome: Outcome) -> str:
    """Return how many pixels no window reads, in words; nothing if there are none."""
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
    """Return the seconds of each step."""
    steps = (
        ("read", outcome.read_seconds),
        ("pool", outcome.pool_seconds),
        ("write", outcome.write_seconds),
    )
    return ", ".join(f"{name} {seconds or 0:.3f} s" for name, seconds in steps)
