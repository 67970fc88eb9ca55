"""Print messages, tables and progress for people, on standard error."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal

from poolcli.plan import Refusal
from poolcli.plan.left_out import LeftOut
from poolcli.report import Failed, Outcome, Report

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

ColorChoice = Literal["auto", "always", "never"]
UNSAFE_CATEGORIES: Final = ("C", "Zl", "Zp")
"""The Unicode categories of control characters, and of separators of lines and paragraphs."""

FEWEST_COLUMNS, USUAL_COLUMNS = 20, 80

SHOWN_NAMES: Final = 5
"""How many names a refusal lists without ``--verbose``."""


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


def print_line(text: str) -> None:
    """Print one line, or do nothing if standard error is closed or full."""
    try:
        sys.stderr.write(f"{display_name(text)}\n")
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


def error(message: str, remedy: str = "", name: str = "") -> None:
    """Print ``poolcli: NAME: what is wrong; what to do about it``."""
    reason = f"{message}; {remedy}" if remedy else message
    print_line(": ".join(filter(None, ("poolcli", name, reason))))


class Console:
    """Print the outcomes, the progress and the summary of one run.

    Attributes:
        quiet: whether only errors are printed.
        verbose: how often ``--verbose`` was given: 1 prints more, 2 also tracebacks of errors.
        color: whether the output is coloured.
        is_terminal: whether standard error is a terminal.
        shows_progress: whether a batch shows a progress bar.
    """

    def __init__(self, *, quiet: bool, verbose: int, color: ColorChoice, progress: bool) -> None:
        """Store the options, and check once whether standard error is a terminal."""
        self.quiet = quiet
        self.verbose = verbose
        self.color = color
        self.is_terminal = bool(sys.stderr) and sys.stderr.isatty()
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
            print_line(_skipped(outcome))
        elif outcome.status != "failed" and not to_stream:
            self._print_table(_rows(outcome))
        elif outcome.status != "failed" and (self.is_terminal or self.verbose):
            print_line(f"poolcli: {_sentence(outcome)}")

    def batch_outcome(self, outcome: Outcome) -> None:
        """Print the outcome of one picture of many, if ``--verbose`` is given."""
        if self.quiet or not self.verbose:
            return
        if outcome.status in ("done", "planned"):
            self._show_line(f"poolcli: {_sentence(outcome)}")
        elif outcome.status == "skipped":
            self._show_line(_skipped(outcome))
        self._messages(outcome)

    def summary(self, report: Report) -> None:
        """Print the totals of a batch, and each failure with its reason."""
        if not self.quiet:
            self._print_table(_totals(report))
        for failed in report.failures:
            self.failure(failed)

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
        error(failed.error or "it failed", failed.remedy or "", display_path(failed.name))
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
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}/{task.fields[pictures]}", markup=False),
            TextColumn("{task.fields[rate]:.1f} MP/s", markup=False),
            TimeRemainingColumn(),
            # The name gets only the remaining width, so that a long one doesn't hide the others.
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

    def _print_table(self, rows: list[tuple[str, str]]) -> None:
        """Print titles and values side by side, unless standard error is closed or full.

        Rich's own tables would take 6 ms more, a tenth of the time of a small picture.
        """
        from rich.text import Text

        console = self._rich()
        indent = max(len(title) for title, _ in rows) + 4
        with suppress(OSError, ValueError):
            console.print()
            for title, value in rows:
                label = Text(f" {title}".ljust(indent), "bold")
                text = Text(display_name(value), overflow="fold")
                for line in text.wrap(console, console.width - indent):
                    console.print(label + line)
                    label = Text(" " * indent)
            console.print()

    def _rich(self) -> RichConsole:
        """Return a console of Rich that parses no markup and respects NO_COLOR and TERM=dumb."""
        from rich.console import Console as RichConsole

        wants_plain = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
        no_color = self.color == "never" or (wants_plain and self.color == "auto")
        # File names are printed: one such as "[/foo].png" would crash Rich if parsed as markup.
        console = RichConsole(
            stderr=True,
            markup=False,
            highlight=False,
            emoji=False,
            force_terminal=True if self.color == "always" else None,
            color_system=None if no_color else "auto",
        )
        # Some programs set COLUMNS to 0. In so few columns Rich prints nothing legible.
        if console.width < FEWEST_COLUMNS:
            console.width = USUAL_COLUMNS
        return console


def display_path(path: str) -> str:
    """Return the name of an input to print: "stdin" for "-"."""
    return "stdin" if path == "-" else path


def _skipped(outcome: Outcome) -> str:
    """Return the line that tells that a picture was skipped."""
    return f"poolcli: {display_path(outcome.input)}: skipped, {outcome.output} exists already"


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the rows of the summary of one picture: (title, value)."""
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
    """Return the rows of the summary of a batch: (title, value)."""
    names = ("done", "planned", "skipped", "failed", "left")
    counts = [f"{count} {name}" for name in names if (count := getattr(report, name))]
    seconds = max(report.elapsed, 1e-6)
    rows = [
        ("pictures", ", ".join(counts) or "none"),
        ("pixels", f"{report.pixels_in / 1e6:.2f} → {report.pixels_out / 1e6:.2f} million"),
        ("bytes", f"{report.bytes_in / 1e6:.2f} → {report.bytes_out / 1e6:.2f} million"),
        (
            "time",
            f"{seconds:.3f} s, {(report.done + report.planned) / seconds:.1f} images/s, "
            f"{report.pixels_in / 1e6 / seconds:.1f} MP/s",
        ),
    ]
    rows += [("left out", what) for what in report.left_out_words]
    return rows + [(f"{count}×", warning) for warning, count in report.warnings.most_common()]


def _sentence(outcome: Outcome) -> str:
    """Return the summary of one picture in one line."""
    name = display_path(outcome.input)
    parts = [f"{name} → {outcome.output}", _shapes(outcome), _window(outcome)]
    if frames := _frames(outcome):
        parts.insert(1, f"{frames} frames")
    if dropped := _dropped(outcome):
        parts.append(f"dropped {dropped}")
    if outcome.status == "done":
        parts.append(_times(outcome))
    return ", ".join(parts)


def _frames(outcome: Outcome) -> str:
    """Return how many of several frames were pooled; an empty text for a file of one frame."""
    if outcome.frames is None:
        return str(outcome.taken) if outcome.taken > 1 else ""
    return f"{outcome.taken} of {outcome.frames}" if outcome.frames > 1 else ""


def _shapes(outcome: Outcome) -> str:
    """Return the shapes before and after pooling, and the type and mode that are written."""
    before, after = (
        "×".join(map(str, shape or ())) for shape in (outcome.input_shape, outcome.output_shape)
    )
    return f"{before} → {after} ({outcome.dtype}, {outcome.mode})"


def _window(outcome: Outcome) -> str:
    """Return the method and the window, width before height as on the command line."""
    if outcome.output_size is not None:
        return f"{outcome.method} to {_extent(outcome.output_size)}"
    parts = [f"{outcome.method} {_extent(outcome.size)}", f"stride {_extent(outcome.stride)}"]
    if outcome.quantile is not None:
        parts.insert(1, f"quantile {outcome.quantile:g}")
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
    """Return which pixels no window reads, in words; an empty text if there are none."""
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
    """Return the seconds that each step took, in words."""
    steps = (
        ("read", outcome.read_seconds),
        ("pool", outcome.pool_seconds),
        ("write", outcome.write_seconds),
    )
    return ", ".join(f"{name} {seconds or 0:.3f} s" for name, seconds in steps)
