"""One job from its source to its target: read, for each frame pool and write, commit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from poolcli import colour, process
from poolcli.colour import Pixels
from poolcli.engine.window import Axes, Window
from poolcli.errors import PoolError
from poolcli.formats import Format, by_content, by_name
from poolcli.formats.contract import (
    Limits,
    Reader,
    Writer,
    check_depth,
    open_reader,
    open_writer,
    refusing,
)
from poolcli.formats.saving import Saving
from poolcli.methods import Method
from poolcli.picture import MODES, Frame, FrameInfo, Upright
from poolcli.plan import Job
from poolcli.report import Outcome

UNREADABLE = "it can't be read as a picture"
UNDECODABLE = "it can't be decoded"
ROUNDED = "its samples are rounded to 8 bits"


class Work(NamedTuple):
    """What is done with every picture of a run.

    Attributes:
        method: what is computed of every window.
        window: the window.
        pixels: how pixels are taken.
        saving: how results are written.
        limits: what a picture may cost.
        overwrite: whether existing files may be replaced.
        preserve: whether the times and mode bits of the input are taken over.
        dry_run: whether only headers are read, and nothing is written.
        allow_depth_loss: whether samples may be rounded to 8 bits where nothing else fits.
        frame: the only frame to take, from 0, or None for all.
    """

    method: Method
    window: Window
    pixels: Pixels
    saving: Saving
    limits: Limits
    overwrite: bool = False
    preserve: bool = False
    dry_run: bool = False
    allow_depth_loss: bool = False
    frame: int | None = None


class Pooled(NamedTuple):
    """What the header of a frame tells of its result.

    Attributes:
        info: the pooled frame as the writer gets it.
        axes: the windows, laid over the frame.
        rounded_from: the full scale of samples that are rounded to 8 bits, else 0.
    """

    info: FrameInfo
    axes: Axes
    rounded_from: int = 0


class _Clock:
    """The seconds that each step of a run takes; steps may lie in each other."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds = {"read": 0.0, "pool": 0.0, "write": 0.0}
        self._inner = 0.0

    @contextmanager
    def __call__(self, step: Literal["read", "pool", "write"]) -> Iterator[None]:
        """Count the time until the end of the block, but what a step inside it takes."""
        began, outer, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            self.seconds[step] += elapsed - self._inner
            self._inner = outer + elapsed


def enter_process() -> None:
    """Set up what is global to a process that is ours, before its first job."""
    from poolcli.formats import pillow

    process.enter()
    pillow.lift_limits()


def run_job(job: Job, work: Work) -> Outcome:
    """Pool one picture.

    No exception escapes but those that end the whole run: an interruption, and a reader that
    closed the output stream (BrokenPipeError).
    """
    outcome = _blank(job, work)
    if job.refusal:
        outcome.error, outcome.remedy = job.refusal, job.remedy
        return outcome
    if job.skip:
        if not work.dry_run:  # a run that was killed may have left more than this complete file
            job.target.tidy(once=True)
        outcome.status = "skipped"
        return outcome
    try:
        _run(job, work, outcome)
    except PoolError as fault:
        _fail(outcome, fault.message, fault.remedy)
    except BrokenPipeError:
        raise
    except OSError as fault:
        _fail(outcome, f"it can't be written: {fault.strerror or fault}", "nothing was changed")
    except MemoryError:
        _fail(outcome, "there is not enough memory", "lower --max-pixels to skip such pictures")
    except Exception as fault:  # noqa: BLE001  # our own fault must cost one picture only
        outcome.is_fault = True
        _fail(outcome, f"poolcli failed: {type(fault).__name__}: {fault}", "please report it")
    return outcome


def given_up(job: Job, work: Work, message: str, remedy: str) -> Outcome:
    """Return the outcome of a picture that was given up from outside."""
    outcome = _blank(job, work)
    outcome.error, outcome.remedy = message, remedy
    outcome.input_bytes = job.bytes or None
    return outcome


def _blank(job: Job, work: Work) -> Outcome:
    """Return an outcome that knows what was asked, and nothing else yet."""
    return Outcome(
        input=job.source.path,
        output=job.target.path,
        method=work.method.name,
        size=work.window.size,
        stride=work.window.stride,
        dilation=work.window.dilation,
    )


def _fail(outcome: Outcome, message: str, remedy: str) -> None:
    """Note why a picture failed; called while the exception is at hand."""
    import traceback

    outcome.status = "failed"
    outcome.error, outcome.remedy = message, remedy
    outcome.traceback = traceback.format_exc()


def _run(job: Job, work: Work, outcome: Outcome) -> None:
    """Read, pool, write and commit; the outcome is filled in on the way."""
    clock = _Clock()
    outcome.input_bytes = job.source.look().size
    process.printed()  # what earlier pictures left
    with clock("read"):
        stream = job.source.open(by_content)
    with stream:
        with clock("read"):
            reader = open_reader(stream, work.limits)
            target = job.format or by_name(reader.format)
            if not target.modes:
                raise target.refusal()
            if job.format is None:
                work.saving.check(target)
            _check_headers(reader, target, work, outcome)
        if outcome.input_bytes is None:
            outcome.input_bytes = stream.seek(0, 2)
        if work.dry_run:
            outcome.status = "planned"
            return
        with job.target.create(
            overwrite=work.overwrite,
            like=job.source if work.preserve else None,
            again=job.again,
        ) as output:
            writer = open_writer(output, target, work.saving, outcome.taken)
            try:
                _pool_frames(reader, writer, target, work, outcome, clock)
            except BaseException:
                writer.discard()
                raise
            with clock("write"):
                outcome.output_bytes = output.commit()
    outcome.read_seconds, outcome.pool_seconds, outcome.write_seconds = clock.seconds.values()
    outcome.status = "done"


def _pool_frames(
    reader: Reader, writer: Writer, target: Format, work: Work, outcome: Outcome, clock: _Clock
) -> None:
    """Pool one frame after the other into a writer."""
    for frame in _chosen(reader, work.frame):
        with clock("read"), refusing(UNDECODABLE):
            metadata = frame.metadata()
        _remark(outcome.warnings, metadata.warnings)
        pooled = _result(frame.info, target, work)
        with clock("write"), refusing(f"it can't be written as {target.title}"):
            writer.begin(pooled.info, metadata.pooled(colour.placement(pooled.axes)))
        for band in _bands(frame, pooled, work, clock):
            with clock("write"), refusing(f"it can't be written as {target.title}"):
                writer.rows(band)
    if lines := process.printed():
        _remark(outcome.warnings, ("its decoder complained: it may be damaged",))
        outcome.notes.append(f"its decoder printed: {lines[0]}")
    del frame, band  # while a whole picture is encoded, nobody holds the one that it came from
    with clock("write"), refusing(f"it can't be written as {target.title}"):
        outcome.notes += writer.finish()


def _bands(frame: Frame, pooled: Pooled, work: Work, clock: _Clock) -> Iterator[NDArray[Any]]:
    """Pool the bands of a frame, and round them where the target holds 8 bits only."""
    info = frame.info

    def read(start: int, stop: int) -> NDArray[Any]:
        with clock("read"), refusing(UNDECODABLE):
            rows = frame.rows(start, stop)
        if info.palette is None and (rows.dtype, rows.shape[1:]) != (info.dtype, info.shape[1:]):
            raise RuntimeError(f"rows come as {rows.dtype} {rows.shape}, stated was {info.dtype}")
        return rows

    bands = colour.pooled_bands(info, read, pooled.axes, work.method, work.pixels)
    while True:
        with clock("pool"):
            band = next(bands, None)
            if band is not None and pooled.rounded_from:
                band = colour.rounded(band, pooled.rounded_from)
        if band is None:
            return
        yield band


def _chosen(reader: Reader, number: int | None) -> Iterator[Frame]:
    """Yield all frames, or the only one that is asked for; upright.

    Raises:
        PoolError: there is no such frame, or one can't be read.
    """
    if number is not None and reader.count is not None and number >= reader.count:
        some = "1 frame" if reader.count == 1 else f"{reader.count} frames"
        raise PoolError(f"it has {some}", "--frame counts from 0")
    frames = reader.frames()
    if number is not None:
        frames = islice(frames, number, number + 1)
    while True:
        with refusing(UNREADABLE):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame if frame.info.orientation == 1 else Upright(frame)


def _check_headers(reader: Reader, target: Format, work: Work, outcome: Outcome) -> None:
    """Note what the headers of all frames tell of the result, or refuse it."""
    outcome.frames = reader.count
    outcome.taken = 1 if work.frame is not None or reader.count is None else reader.count
    source = by_name(reader.format)
    if target.frames != source.frames:
        target.check_frames(source.frames, outcome.taken)
    for number, frame in enumerate(_chosen(reader, work.frame)):
        info = frame.info
        work.limits.check(*info.shape)
        if info.unread_colour and not work.saving.strip:
            raise PoolError(info.unread_colour, "give --strip to take its colours for sRGB")
        rounds = check_depth(info, allow_loss=work.allow_depth_loss)
        pooled = _result(info, target, work)
        target.check_result(pooled.info.mode, *pooled.info.shape[:2])
        if rounds or pooled.rounded_from:
            _remark(outcome.warnings, (ROUNDED,))
        if work.method.assumes_srgb:
            _remark(outcome.warnings, _srgb_warnings(frame))
        _remark(outcome.notes, info.notes)
        if number:
            continue
        # An outcome speaks of its first frame.
        rows, columns = pooled.axes
        outcome.input_shape, outcome.output_shape = info.shape, pooled.info.shape
        outcome.padding = ((rows.before, rows.after), (columns.before, columns.after))
        outcome.dropped = (rows.dropped, columns.dropped)
        outcome.has_gaps = rows.has_gaps or columns.has_gaps
        outcome.mode = target.modes[pooled.info.mode]
        outcome.dtype = MODES[outcome.mode].dtype or str(pooled.info.dtype.newbyteorder("="))


def _result(info: FrameInfo, target: Format, work: Work) -> Pooled:
    """Derive from a frame's header what its result is, or refuse it."""
    height, width = info.shape[:2]
    axes = work.window.axes((height, width))
    pooled = colour.pooled_info(info, axes, work.method, work.pixels)
    if pooled.mode in target.modes:
        return Pooled(pooled, axes)
    target.check_rounding(pooled.mode, allowed=work.allow_depth_loss)
    return Pooled(colour.rounded_info(pooled), axes, pooled.maxval)


def _srgb_warnings(frame: Frame) -> Iterator[str]:
    """Yield a warning where a frame's values are not light as encoded by the curve of sRGB."""
    from poolcli.formats.profiles import unlike_srgb

    with refusing(UNDECODABLE):
        reason = unlike_srgb(frame.metadata())
    if reason:
        yield f"averaged by the curve of sRGB, but {reason}"


def _remark(remarks: list[str], more: Iterable[str]) -> None:
    """Add remarks that are not there yet."""
    remarks += [one for one in more if one not in remarks]
