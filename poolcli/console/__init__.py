"""Print messages, tables and progress for people, on standard error."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from poolcli.console.words import Row, display_path, rows_of, sentence, skipped, totals
from poolcli.plan import Refusal
from poolcli.plan.left_out import LeftOut
from poolcli.report import Failed, Outcome, Report

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

ColorChoice = Literal["auto", "always", "never"]
UNSAFE_CATEGORIES: Final = ("C", "Zl", "Zp")
"""The Unicode categories of control characters, and of separators of lines and paragraphs."""

FEWEST_COLUMNS, USUAL_COLUMNS, ANY_COLUMNS = 20, 80, 1 << 16
RED: Final = "31"
"""The code of the colour of failures on a terminal."""

PLAIN_SIGNS: Final = str.maketrans({"→": "->", "×": "x", "…": "..."})
"""The plain characters for signs that the encoding of standard error does not have."""

SHOWN_NAMES: Final = 5
"""The number of names that a refusal lists without ``--verbose``."""


def display_name(text: str) -> str:
    r"""Escape the control characters of a text that poolcli did not write, such as a file name.

    Rich passes them on even in plain text, and a terminal would obey them.

    >>> display_name("a\x1b[31m.png")
    'a\\x1b[31m.png'
    """
    if text.isprintable():
        return text
    import unicodedata  # few names need it, and each import delays the start

    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character).startswith(UNSAFE_CATEGORIES)
        else character
        for character in text
    )


def encodable(text: str) -> str:
    """Return a text with plain signs if the encoding of standard error is one of few characters."""
    try:
        text.encode(sys.stderr.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(PLAIN_SIGNS)
    return text


def print_line(text: str, code: str = "") -> None:
    """Print one line, or do nothing if standard error is closed or full.

    Args:
        text: the line.
        code: the code of a colour of terminals; empty for plain text.
    """
    try:
        shown = encodable(display_name(text))
        sys.stderr.write(f"\x1b[{code}m{shown}\x1b[0m\n" if code else f"{shown}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or no stderr at all
        return


def print_line_from_handler(text: str) -> None:
    """Print one line from a signal handler, without Rich.

    The interrupted code may hold a lock of Rich. The handler would wait for that lock for ever.
    """
    # Python sets it to None if standard error was closed at the start: another file may have its
    # number by now.
    if sys.__stderr__ is None:
        return
    # Rich replaces `sys.stderr` while it shows a progress bar, which has to be erased first.
    clear = "\r\x1b[2K" if sys.stderr is not sys.__stderr__ else ""
    with suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno(), f"{clear}{display_name(text)}\n".encode())


def print_lines(text: str) -> None:
    """Print a text of several lines."""
    for one_line in text.splitlines():
        print_line(one_line)


def error(message: str, remedy: str = "", name: str = "", code: str = "") -> None:
    """Print ``poolcli: NAME: what is wrong; what to do about it``, in a colour if there is one."""
    reason = f"{message}; {remedy}" if remedy else message
    print_line(": ".join(filter(None, ("poolcli", name, reason))), code)


class Console:
    """Print the outcomes, the progress and the summary of one run.

    Attributes:
        quiet: whether only errors are printed.
        verbose: how often ``--verbose`` was given: 1 prints more, 2 also tracebacks of errors.
        dry_run: whether it tells what would be done.
        is_terminal: whether standard error is a terminal.
        is_coloured: whether the output is coloured.
        shows_progress: whether a batch shows a progress bar.
    """

    def __init__(
        self,
        *,
        quiet: bool,
        verbose: int,
        color: ColorChoice,
        progress: bool,
        dry_run: bool = False,
    ) -> None:
        """Store the options, and check once whether standard error is a terminal."""
        self.quiet = quiet
        self.verbose = verbose
        self.dry_run = dry_run
        self.is_terminal = bool(sys.stderr) and sys.stderr.isatty()
        self.is_coloured = color == "always" or (
            color == "auto" and _wants_colour(self.is_terminal)
        )
        self.shows_progress = progress and self.is_terminal and not quiet
        self._show_line: Callable[[str], None] = print_line

    def single_outcome(self, outcome: Outcome, *, to_stream: bool) -> None:
        """Print the outcome of the only picture of a run."""
        if outcome.status == "failed":
            self.failure(outcome.failed)
        if self.quiet:
            return
        self._messages(outcome)
        if outcome.status == "skipped":
            print_line(f"poolcli: {skipped(outcome, dry_run=self.dry_run)}")
        elif outcome.status != "failed" and not to_stream:
            self._print_table(rows_of(outcome))
        elif outcome.status != "failed" and (self.is_terminal or self.verbose):
            print_line(f"poolcli: {sentence(outcome)}")

    def batch_outcome(self, outcome: Outcome) -> None:
        """Print the outcome of one picture of many, if ``--verbose`` is given."""
        if self.quiet or not self.verbose:
            return
        if outcome.status in ("done", "planned"):
            self._show_line(f"poolcli: {sentence(outcome)}")
        elif outcome.status == "skipped":
            self._show_line(f"poolcli: {skipped(outcome, dry_run=self.dry_run)}")
        self._messages(outcome)

    def summary(self, report: Report) -> None:
        """Print the totals of a batch, and each failure with its reason."""
        if not self.quiet:
            self._print_table(totals(report))
        for failed in report.failures:
            self.failure(failed)
        if report.interruption and report.left and not self.quiet:
            count = f"{report.left} picture{'s are' if report.left > 1 else ' is'} left"
            print_line(f"poolcli: {count}; {report.way_on}")

    def left_out(self, left_out: LeftOut) -> None:
        """Print why each file that is no picture was left out, if ``--verbose`` is given."""
        if self.verbose and not self.quiet:
            for path, why in left_out.others:
                print_line(f"poolcli: {path}: left out: {why}")

    def left_out_words(self, report: Report) -> None:
        """Print what was left out of a folder with only one picture, which has no totals."""
        for what in () if self.quiet else report.left_out_words:
            print_line(f"poolcli: left out: {what}")

    def failure(self, failed: Failed) -> None:
        """Print why a picture failed, in one line; also the traceback if ``-v -v`` is given."""
        code = RED if self.is_coloured else ""
        error(failed.error or "it failed", failed.remedy or "", display_path(failed.name), code)
        if self.verbose > 1 and failed.traceback:
            print_lines(failed.traceback.rstrip())

    def warning(self, message: str) -> None:
        """Print a warning about the run as a whole."""
        if not self.quiet:
            self._show_line(f"poolcli: warning: {message}")

    def refusal(self, refusal: Refusal) -> None:
        """Print one reason why a plan is refused, the number of paths, and the first of them."""
        names = refusal.names
        if not names:
            error(refusal.reason, refusal.remedy)
            return
        shown = names if self.verbose else names[:SHOWN_NAMES]
        dots = ", …" if len(shown) < len(names) else ""
        error(f"{refusal.reason} ({len(names)}): {', '.join(shown)}{dots}", refusal.remedy)

    @contextmanager
    def listing(self) -> Iterator[Callable[[int], None]]:
        """Show on a terminal how many files a slow listing has found; yield what is called."""
        with ExitStack() as shown:
            update: Callable[[str], None] | None = None

            def count(files: int) -> None:
                nonlocal update
                if not self.shows_progress:
                    return
                if update is None:
                    update = shown.enter_context(self._rich().status("")).update
                update(f"listing: {files:,} files")

            yield count

    @contextmanager
    def progress(self, pictures: int, total_bytes: int) -> Iterator[Callable[[Outcome], None]]:
        """Show a progress bar on a terminal; yield the function to call after each picture.

        Args:
            pictures: the number of pictures.
            total_bytes: the size of all inputs that will be opened. The bar advances by bytes,
                since the time left depends on them more than on the number of pictures.
        """
        if not self.shows_progress:
            yield lambda _: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[count]}/{task.fields[pictures]}", markup=False),
            TextColumn("{task.fields[rate]:.1f} MP/s", markup=False),
            TimeRemainingColumn(),
            # The name shares the rest of the width with the bar: a long one hides nothing.
            TextColumn(
                "{task.fields[name]}", markup=False, table_column=Column(ratio=1, no_wrap=True)
            ),
        )
        with Progress(*columns, console=self._rich(), transient=True, expand=True) as bar:
            task = bar.add_task(
                "", total=max(1, total_bytes), pictures=pictures, count=0, rate=0.0, name=""
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

            self._show_line = lambda text: bar.console.print(display_name(text), soft_wrap=True)
            try:
                yield advance
            finally:
                self._show_line = print_line

    def _messages(self, outcome: Outcome) -> None:
        """Print the warnings of a picture, and its notes if ``--verbose`` is given."""
        for warning in outcome.warnings:
            self._show_line(f"poolcli: {display_path(outcome.input)}: warning: {warning}")
        if self.verbose:
            for note in outcome.notes:
                self._show_line(f"poolcli: {display_path(outcome.input)}: {note}")

    def _print_table(self, rows: list[Row]) -> None:
        """Print titles and values side by side, unless standard error is closed or full."""
        indent = max(len(row.title) for row in rows) + 4
        lines = [f" {row.title}".ljust(indent) + display_name(row.value) for row in rows]
        with suppress(OSError, ValueError, AttributeError):
            if self.is_terminal or self.is_coloured:
                lines = self._wrapped(rows, indent)
            sys.stderr.write(encodable("".join(f"{line.rstrip()}\n" for line in lines)))
            sys.stderr.flush()

    def _wrapped(self, rows: list[Row], indent: int) -> list[str]:
        """Return the lines of a table on a terminal, in colour.

        Rich's own tables would take 6 ms more, a tenth of the time of a small picture.
        """
        from rich.text import Text

        console = self._rich()
        width = console.width - indent
        with console.capture() as captured:
            for row in rows:
                label, value = f" {row.title}".ljust(indent), display_name(row.value)
                text = Text(_shortened(value, width) if row.is_path else value, overflow="fold")
                text.highlight_regex(r"\b\d+ (failed|would fail)\b", "red")
                for line in text.wrap(console, width):
                    line.rstrip()
                    console.print(Text.assemble((label, "bold"), line), soft_wrap=True)
                    label = " " * indent
        return captured.get().splitlines()

    def _rich(self) -> RichConsole:
        """Return a console of Rich that parses no markup; off a terminal it breaks no lines."""
        from rich.console import Console as RichConsole

        # File names are printed: one such as "[/foo].png" would crash Rich if parsed as markup.
        console = RichConsole(
            stderr=True,
            markup=False,
            highlight=False,
            emoji=False,
            force_terminal=True if self.is_coloured else None,
            no_color=not self.is_coloured,
            color_system="auto" if self.is_coloured else None,
        )
        if not self.is_terminal:
            console.width = ANY_COLUMNS
        # Some programs set COLUMNS to 0. In so few columns Rich prints nothing legible.
        elif console.width < FEWEST_COLUMNS:
            console.width = USUAL_COLUMNS
        return console


def _wants_colour(is_terminal: bool) -> bool:
    """Return whether the output is coloured, as far as the environment and the terminal tell."""
    if os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR"):
        return False
    forced = (os.environ.get(name) for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
    return is_terminal or any(value not in (None, "", "0") for value in forced)


def _shortened(path: str, width: int) -> str:
    """Return a path that fits a line: its middle is left out, since its end tells most."""
    from rich.cells import cell_len

    kept, shown = width, path
    while cell_len(shown) > width and kept > 1:
        kept -= 1
        end = kept - kept // 3
        shown = f"{path[: kept // 3]}…{path[-end:]}"
    return shown
