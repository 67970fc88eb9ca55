"""The results of a run: an `Outcome` for each picture, a `Report` of their totals, exit codes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

OutcomeStatus: TypeAlias = Literal["done", "skipped", "failed", "planned"]
Pair: TypeAlias = tuple[int, int]

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOTHING: Final = 3
EXIT_FAULT: Final = 70
EXIT_HUNG_UP: Final = 129
EXIT_INTERRUPTED: Final = 130
EXIT_READER_GONE: Final = 141
EXIT_TERMINATED: Final = 143
SIGNALS: Final = {
    EXIT_HUNG_UP: "hung up",
    EXIT_INTERRUPTED: "interrupted",
    EXIT_TERMINATED: "terminated",
}
"""The words for the end of a run by a signal: its exit code is 128 and the signal's number."""


class Failed(NamedTuple):
    """The facts of a failed picture for the summary: a whole outcome takes five times the memory.

    Attributes:
        name: the path of what failed.
        error: why it failed.
        remedy: what the user can do about that.
        traceback: the traceback of the exception, if there was one.
    """

    name: str
    error: str | None
    remedy: str | None
    traceback: str | None


# It holds plain strings and numbers only, since workers send it through a pipe. The order of the
# attributes is the order of the keys in JSON. A dataclass of so many fields would delay the start
# of every run by a millisecond.
class Outcome:
    """The outcome of one picture, as `poolcli.pool_file` returns it and ``--json`` prints it.

    None means unknown.

    Attributes:
        input: the path of the input as it was given.
        output: the path of the output.
        status: what became of the picture; "planned" in a dry run.
        method: the name of the method.
        size: (height, width) of the window.
        stride: (height, width).
        dilation: (height, width).
        padding: ((top, bottom), (left, right)) as it was applied.
        frames: the number of frames in the input; None if only reading to the end tells it.
        input_shape: (H, W) or (H, W, C) of the first frame that was pooled.
        output_shape: likewise of the result.
        dropped: the rows and columns at the end that no window reads.
        dtype: the type of the samples that are written.
        mode: the mode that is written, such as "L", "RGB" or "RGBA".
        read_seconds: the time to read and decode.
        pool_seconds: the time to pool.
        write_seconds: the time to encode and write.
        input_bytes: the size of the input.
        output_bytes: the size of the output.
        error: why it failed, or None.
        remedy: what the user can do about that.
        output_size: (height, width) of the result where it was given in place of a window.
        quantile: the quantile of a method that takes one.
        planes: how many planes of a stack are pooled together; None without ``--planes``.
        nodata: the value of samples without data; None also if it is infinite, which JSON has not.
        indices: the path of the indices that are written, or by which the picture is unpooled.
        taken: the number of frames that are pooled.
        dropped_planes: the planes at the end of a stack that no window reads.
        has_gaps: whether windows or their taps leave pixels between them unread.
        warnings: what the user should know, a sentence each.
        notes: harmless remarks, which are printed only with ``--verbose``.
        traceback: the traceback of the exception, if there was one.
        is_fault: whether it failed by a fault of poolcli itself.
        blamed: the name of what failed, if it was not the input; else empty.
    """

    input: str
    output: str
    status: OutcomeStatus
    method: str | None = None
    size: Pair | None = None
    stride: Pair | None = None
    dilation: Pair | None = None
    padding: tuple[Pair, Pair] | None = None
    frames: int | None = None
    input_shape: tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None
    dropped: Pair | None = None
    dtype: str | None = None
    mode: str | None = None
    read_seconds: float | None = None
    pool_seconds: float | None = None
    write_seconds: float | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    error: str | None = None
    remedy: str | None = None
    output_size: Pair | None = None
    quantile: float | None = None
    planes: int | None = None
    nodata: float | None = None
    indices: str | None = None
    taken: int = 1
    dropped_planes: int = 0
    has_gaps: bool = False
    warnings: list[str]
    notes: list[str]
    traceback: str | None = None
    is_fault: bool = False
    blamed: str = ""

    def __init__(
        self,
        input: str,  # noqa: A002  # the key in JSON
        output: str,
        status: OutcomeStatus = "failed",
        **known: Any,
    ) -> None:
        """Set the paths, and the attributes that are known."""
        self.input, self.output, self.status = input, output, status
        self.warnings, self.notes = [], []
        for name, value in known.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        """Return the attributes that are known."""
        known = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Outcome({known})"

    def __eq__(self, other: object) -> bool:
        """Return whether another outcome has the same attributes."""
        return isinstance(other, Outcome) and vars(self) == vars(other)

    @property
    def failed(self) -> Failed:
        """Why it failed."""
        return Failed(self.blamed or self.input, self.error, self.remedy, self.traceback)

    def kinds_of_warning(self) -> Iterator[str]:
        """Yield the warnings that the summary of a batch counts, also those of unread pixels."""
        if self.dropped is not None and any(self.dropped):
            yield "dropped pixels at an edge"
        if self.dropped_planes:
            yield "dropped planes at the end of a stack"
        if self.has_gaps:
            yield "left pixels between windows or taps unread"
        yield from self.warnings

    def as_json(self) -> str:
        """Return one line of JSON in ASCII. Its keys are public: none may be renamed or removed."""
        content = {key: getattr(self, key) for key in JSON_KEYS}
        if self.error is not None:
            content["error"] = {"message": self.error, "remedy": self.remedy or None}
        return _dumped(content)


# The keys of JSON are stable: later ones are added at the end.
_INTERNAL: Final = {
    "remedy",
    "taken",
    "dropped_planes",
    "has_gaps",
    "traceback",
    "is_fault",
    "blamed",
}
JSON_KEYS: Final = tuple(name for name in Outcome.__annotations__ if name not in _INTERNAL)
SUMMARY_KEYS: Final = (
    "done",
    "skipped",
    "failed",
    "planned",
    "left",
    "pixels_in",
    "pixels_out",
    "bytes_in",
    "bytes_out",
)


class Report:
    """The running totals of a run, and its exit code.

    Attributes:
        left: pictures of the plan that have no outcome yet.
        failures: the pictures that failed, in the order in which they did.
        faults: how many of them failed by a fault of poolcli itself.
        warnings: for each kind of warning the number of pictures that have it.
        interruption: the exit code of a run that a signal ended, else 0.
        is_broken_off: whether the run ended since its cluster was lost.
        left_out: how many pictures of formats that are not read were left out, by suffix.
        left_out_words: the same, and other inputs that were left out, in words.
        dry_run: whether nothing is written.
        output: the output folder as it was given.
        way_on: how to go on with pictures that are left.
        started: when the run began, by the monotonic clock.
        ended: when it ended; None until then.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    planned: int = 0
    pixels_in: int = 0
    pixels_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    faults: int = 0
    interruption: int = 0
    is_broken_off: bool = False
    ended: float | None = None

    def __init__(
        self,
        left: int = 0,
        left_out: Mapping[str, int] = MappingProxyType({}),
        left_out_words: tuple[str, ...] = (),
        *,
        dry_run: bool = False,
        output: str = "",
        way_on: str = "",
    ) -> None:
        """Start the clock."""
        self.left, self.left_out, self.left_out_words = left, left_out, left_out_words
        self.dry_run, self.output, self.way_on = dry_run, output, way_on
        self.failures: list[Failed] = []
        self.warnings: Counter[str] = Counter()
        self.started = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Add one picture to the totals."""
        setattr(self, outcome.status, getattr(self, outcome.status) + 1)
        self.left -= 1
        self.warnings.update(outcome.kinds_of_warning())
        if outcome.status == "failed":
            self.failures.append(outcome.failed)
            self.faults += outcome.is_fault
        if outcome.status in ("done", "planned"):
            self.pixels_in += prod((outcome.input_shape or (0,))[:2])
            self.pixels_out += prod((outcome.output_shape or (0,))[:2])
            self.bytes_in += outcome.input_bytes or 0
            self.bytes_out += outcome.output_bytes or 0

    @property
    def exit_code(self) -> int:
        """The exit code: 0 if nothing failed, 1 if a picture did, 70 if poolcli itself did."""
        if self.interruption:
            return self.interruption
        if self.faults:
            return EXIT_FAULT
        return EXIT_FAILED if self.failed or self.is_broken_off else EXIT_DONE

    def as_json(self) -> str:
        """Return the totals as one line of JSON, the last line of a run."""
        totals: dict[str, Any] = {key: getattr(self, key) for key in SUMMARY_KEYS}
        if self.dry_run:
            totals["bytes_out"] = None
        totals["elapsed_seconds"] = round(self.elapsed, 6)
        totals["exit_code"] = self.exit_code
        totals["left_out"] = dict(self.left_out)
        return _dumped({"summary": totals})

    def end(self) -> None:
        """Stop the clock: the summary for people and that in JSON tell the same time."""
        self.ended = time.monotonic()

    @property
    def elapsed(self) -> float:
        """The seconds from the beginning of the run to its end, or until now."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started


def _dumped(content: dict[str, Any]) -> str:
    """Return a record as JSON in ASCII; NaN, which JSON does not have, would raise."""
    import json  # few runs need it, and each import delays the start

    return json.dumps(content, allow_nan=False)
