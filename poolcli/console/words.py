"""Put outcomes and totals into words."""

from __future__ import annotations

from typing import NamedTuple

from poolcli.report import Outcome, Report


class Row(NamedTuple):
    """A row of a summary.

    Attributes:
        title: its title.
        value: its text.
        is_path: whether the text is a path, which is not broken into lines.
    """

    title: str
    value: str
    is_path: bool = False


def display_path(path: str) -> str:
    """Return the name of an input to print: "stdin" for "-"."""
    return "stdin" if path == "-" else path


def skipped(outcome: Outcome, *, dry_run: bool) -> str:
    """Return why a picture was skipped, or would be."""
    what = "would be skipped" if dry_run else "skipped"
    return f"{display_path(outcome.input)}: {what}, {outcome.output} exists already"


def rows_of(outcome: Outcome) -> list[Row]:
    """Return the rows of the summary of one picture."""
    is_planned = outcome.status == "planned"
    rows = [
        Row("input", outcome.input, is_path=True),
        Row("would write" if is_planned else "output", outcome.output, is_path=True),
        Row("shape", _shapes(outcome)),
        Row("window", _window(outcome)),
        Row("dropped", _dropped(outcome) or "nothing"),
    ]
    if frames := _frames(outcome):
        rows.insert(2, Row("frames", frames))
    if outcome.indices is not None:
        rows.insert(2, Row("indices", outcome.indices, is_path=True))
    if outcome.status == "done":
        rows.append(Row("time", _times(outcome)))
    return rows


def totals(report: Report) -> list[Row]:
    """Return the rows of the summary of a batch."""
    seconds = max(report.elapsed, 1e-6)
    pixels = f"{report.pixels_in / 1e6:.2f} → {report.pixels_out / 1e6:.2f} million"
    rows = [Row("pictures", _counts(report))]
    if report.dry_run:  # only the run itself tells bytes and times
        rows += [Row("output", report.output, is_path=True)]
        rows += [Row("pixels", pixels)] if report.planned else []
    elif not report.done:
        rows += [Row("time", f"{seconds:.3f} s")]
    else:
        rows += [
            Row("pixels", pixels),
            Row("bytes", f"{report.bytes_in / 1e6:.2f} → {report.bytes_out / 1e6:.2f} million"),
            Row(
                "time",
                f"{seconds:.3f} s, {report.done / seconds:.1f} images/s, "
                f"{report.pixels_in / 1e6 / seconds:.1f} MP/s",
            ),
        ]
    rows += [Row("left out", what) for what in report.left_out_words]
    return rows + [Row(f"{count}×", what) for what, count in report.warnings.most_common()]


def _counts(report: Report) -> str:
    """Return how many pictures have which status."""
    names = {"done": "done", "skipped": "skipped", "failed": "failed", "left": "left"}
    if report.dry_run:
        names = {
            "planned": "would be written",
            "skipped": "would be skipped",
            "failed": "would fail",
            "left": "left",
        }
    counts = [
        f"{count} {words}" for name, words in names.items() if (count := getattr(report, name))
    ]
    return ", ".join(counts) or "none"


def sentence(outcome: Outcome) -> str:
    """Return the summary of one picture in one line."""
    name = display_path(outcome.input)
    target = outcome.output + (" would be written" if outcome.status == "planned" else "")
    parts = [f"{name} → {target}", _shapes(outcome), _window(outcome)]
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
    if outcome.planes is not None:
        return f"{outcome.frames} → {outcome.taken}"
    return f"{outcome.taken} of {outcome.frames}" if outcome.frames > 1 else ""


def _shapes(outcome: Outcome) -> str:
    """Return the shapes before and after pooling, and the type and mode that are written."""
    before, after = (
        "×".join(map(str, shape or ())) for shape in (outcome.input_shape, outcome.output_shape)
    )
    return f"{before} → {after} ({outcome.dtype}, {outcome.mode})"


def _window(outcome: Outcome) -> str:
    """Return the method and the window, width before height as on the command line."""
    planes = "" if outcome.planes is None else f" of {outcome.planes} planes"
    if outcome.output_size is not None:
        return f"{outcome.method} to {_extent(outcome.output_size)}{planes}"
    method = f"{outcome.method} {_extent(outcome.size)}{planes}"
    parts = [method, f"stride {_extent(outcome.stride)}"]
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
    if planes := outcome.dropped_planes:
        parts.append(f"{planes} plane{'s' * (planes > 1)} at the end")
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
