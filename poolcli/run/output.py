"""Make one output of a picture: pool its frames, write and commit them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from numpy.typing import NDArray

from poolcli.colour import placement, pooled_bands, rescaled
from poolcli.engine.planes import Deep
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, by_name
from poolcli.formats.contract import Reader, Writer, open_writer
from poolcli.formats.refusals import Refusing, RefusingToWrite
from poolcli.formats.row import Format
from poolcli.picture import Frame
from poolcli.plan import Job
from poolcli.process import captured_lines
from poolcli.report import Outcome
from poolcli.run.headers import (
    UNDECODABLE,
    Pooled,
    add_new,
    check_end,
    check_header,
    check_headers,
    result,
    with_frame,
)
from poolcli.run.sharing import Position
from poolcli.run.work import Work
from poolcli.storage import DASH, ExistsError

if TYPE_CHECKING:
    from poolcli.run.indices import IndicesOutput

Steps: TypeAlias = "Generator[Position, None, None]"


class Clock:
    """Measure the seconds that each step takes.

    Steps may be nested: rows are read while they are pooled. The time of an inner step is counted
    for that step only.
    """

    def __init__(self) -> None:
        """Set all times to 0."""
        self.seconds = {"read": 0.0, "pool": 0.0, "write": 0.0}
        self._steps: list[Literal["read", "pool", "write"]] = []
        self._since = 0.0

    def __call__(self, step: Literal["read", "pool", "write"]) -> Clock:
        """Measure a step until the end of the block of ``with``."""
        self._count()
        self._steps.append(step)
        return self

    def __enter__(self) -> None:
        """Do nothing: the step has begun."""

    def __exit__(self, *_: object) -> None:
        """End the step."""
        self._count()
        self._steps.pop()

    def _count(self) -> None:
        """Add the time since the last call to the innermost step."""
        now = time.perf_counter()
        if self._steps:
            self.seconds[self._steps[-1]] += now - self._since
        self._since = now


class Output:
    """One output of a picture, while it is made.

    Attributes:
        job: its job.
        work: the settings of the run, with the window of the job.
        outcome: its outcome.
        clock: measures the seconds of each step.
        target: the format that is written; known when the picture has been opened.
        position: how far it has come.
    """

    def __init__(self, job: Job, work: Work) -> None:
        """Begin with an outcome that has no results yet."""
        self.job = job
        self.work = work if job.window is None else work._replace(window=job.window)
        self.outcome = _new_outcome(job, self.work)
        self.clock = Clock()
        self.target: Format = FORMATS[0]
        self.position: Position = (0, 0)

    def is_settled(self) -> bool:
        """Return whether there is nothing to do, and fill in the outcome then."""
        job, outcome = self.job, self.outcome
        if job.refusal:
            outcome.error, outcome.remedy = job.refusal, job.remedy
        elif job.skip:
            # The killed run that this one resumes may have left hidden files in the folder.
            if not self.work.dry_run:
                job.target.remove_stale(once=True)
            outcome.status = "skipped"
        return job.skip or bool(job.refusal)

    def fail(self, fault: Exception) -> None:
        """Fill in why this output could not be made."""
        if self.work.skip_existing and isinstance(fault, ExistsError):
            self.outcome = _new_outcome(self.job, self.work)
            self.outcome.status = "skipped"
        else:
            _fail(self.outcome, fault)

    def is_possible(self, stream: BinaryIO, reader: Reader) -> bool:
        """Return whether the headers allow this output; otherwise fill in why it fails."""
        job, outcome = self.job, self.outcome
        try:
            with self.clock("read"):
                self.target = target = job.format or by_name(reader.format)
                if not target.modes:
                    raise target.refusal()
                if job.format is None:
                    self.work.saving.check(target)
                self.work = with_frame(reader, self.work, outcome)
                check_end(stream, reader, job, outcome)
                check_headers(reader, target, self.work, outcome)
        except Exception as fault:  # noqa: BLE001  # the other outputs are still made
            self.fail(fault)
            return False
        return True

    def steps(self, reader: Reader, frames: Iterable[Frame]) -> Steps:
        """Pool, write and commit it; yield the position after each band and frame."""
        job, work, outcome, clock = self.job, self.work, self.outcome, self.clock
        with (
            self._indices() as indices,
            job.target.create(
                overwrite=work.overwrite or work.update,
                like=job.source if work.preserve else None,
                retry=job.retry,
            ) as file,
        ):
            writer = open_writer(file, self.target, work.saving, outcome.taken or None)
            try:
                for position in self._pooled_frames(reader, writer, frames, indices):
                    # Indices belong to one picture, which must not be written before them.
                    if self.target.one_by_one and not position[1] and indices is None:
                        with clock("write"):
                            file.pass_on()
                    yield position
            except BaseException:
                writer.discard()
                raise
            with clock("write"):
                outcome.output_bytes = file.commit(None if indices is None else indices.commit)
        outcome.read_seconds, outcome.pool_seconds, outcome.write_seconds = clock.seconds.values()
        outcome.status = "done"

    def _indices(self) -> AbstractContextManager[IndicesOutput | None]:
        """Begin the file of indices, if there is to be one."""
        if self.job.indices is None:
            return nullcontext()
        # Few runs need it, and each import delays the start.
        from poolcli.run.indices import IndicesOutput

        return IndicesOutput(self.job.indices, self.work, self.outcome, retry=self.job.retry)

    def _pooled_frames(
        self,
        reader: Reader,
        writer: Writer,
        frames: Iterable[Frame],
        indices: IndicesOutput | None,
    ) -> Iterator[Position]:
        """Pool the frames one after the other and pass them to a writer; yield each position."""
        target, work, outcome, clock = self.target, self.work, self.outcome, self.clock
        for number, frame in enumerate(frames):
            if reader.count is None:
                check_header(frame, reader, target, work, outcome)
            with clock("read"), Refusing(UNDECODABLE):
                metadata = frame.metadata()
            pooled = result(frame.info, target, work)
            with clock("write"), RefusingToWrite(target):
                place = placement(pooled.axes, frame.info.planes)
                writer.begin(pooled.info, metadata.pooled(place))
            if indices is not None:
                indices.begin(frame.info.shape, pooled)
            for band, rows_read in _bands(frame, pooled, work, clock, outcome.notes, indices):
                with clock("write"), RefusingToWrite(target):
                    writer.rows(band)
                yield number, rows_read
            add_new(outcome.warnings, metadata.warnings)
            yield number + 1, 0
        add_new(outcome.warnings, metadata.warnings)
        if lines := captured_lines():
            add_new(outcome.warnings, ("its decoder printed a complaint: it may be damaged",))
            outcome.notes.append(f"its decoder printed: {lines[0]}")
        # Writers encode in `finish`. The decoded input is freed before, so that it isn't held in
        # memory together with the encoder's buffers.
        del frame, band
        with clock("write"), RefusingToWrite(target):
            outcome.notes += writer.finish()
        add_new(outcome.warnings, writer.warnings)


def _new_outcome(job: Job, work: Work) -> Outcome:
    """Return an outcome with the paths and the window of a job, and without results."""
    place = job.indices or work.unpooled_by
    return Outcome(
        input=job.source.path,
        output=job.target.path,
        method=work.method.name,
        size=work.window.size,
        stride=work.window.stride,
        dilation=work.window.dilation,
        quantile=work.method.reported_quantile,
        indices=None if place is None else place.path,
    )


def _fail(outcome: Outcome, fault: Exception) -> None:
    """Set why a picture failed, with the traceback of the exception."""
    import traceback

    match fault:
        case ExistsError():  # another program has made it meanwhile
            outcome.blamed = outcome.output
            reason = fault.message, fault.remedy
        case PoolError():
            reason = fault.message, fault.remedy
        case OSError():
            # Errors of reading have become a PoolError by now, so that only writing is left.
            outcome.blamed = "stdout" if outcome.output == DASH else outcome.output
            is_pipe = outcome.input == DASH
            remedy = "nothing was changed" if is_pipe else f"{outcome.input} is untouched"
            reason = f"it can't be written: {fault.strerror or fault}", remedy
        case MemoryError():
            reason = "there is not enough memory", "lower --max-pixels to skip such pictures"
        case _:
            outcome.is_fault = True
            reason = f"poolcli failed: {type(fault).__name__}: {fault}", "please report it"
    outcome.status = "failed"
    outcome.error, outcome.remedy = reason
    outcome.traceback = "".join(traceback.format_exception(fault))


def _bands(
    frame: Frame,
    pooled: Pooled,
    work: Work,
    clock: Clock,
    notes: list[str],
    indices: IndicesOutput | None,
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield the pooled bands of a frame, and how many of its rows were read up to each.

    They are scaled if the target can't hold their depth.
    """
    info, rows_read = frame.info, 0
    deep = Deep.of(pooled.axes, info.planes)
    height = info.shape[0] * info.planes

    def read(start: int, stop: int) -> NDArray[Any]:
        nonlocal rows_read
        rows_read = stop
        with clock("read"), Refusing(UNDECODABLE):
            rows = frame.rows(start, stop)
        if info.palette is None and (rows.dtype, rows.shape[1:]) != (info.dtype, info.shape[1:]):
            raise RuntimeError(f"decoded {rows.dtype} {rows.shape}, the header states {info.dtype}")
        return rows

    keeps_palette = pooled.info.palette is not None
    bands = pooled_bands(
        info,
        deep.ordered(read),
        deep.axes,
        work.method,
        work.pixels,
        notes=notes,
        keeps_palette=keeps_palette,
        keep_indices=None if indices is None else indices.rows,
    )
    while True:
        with clock("pool"):
            band = next(bands, None)
            if band is not None and pooled.scaled_from:
                band = rescaled(band, pooled.scaled_from, pooled.info)
        if band is None:
            break
        yield band, rows_read
    if rows_read < height:
        # No window needs the last row, but a checksum behind it covers the other rows too.
        read(height - info.planes, height)
