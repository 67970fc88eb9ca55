"""Run one job: open the source; pool, write and commit each output."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

from numpy.typing import NDArray

from poolcli.colour import (
    Nodata,
    Pixels,
    nodata_of,
    placement,
    pooled_bands,
    pooled_info,
    rescaled,
    rounded_info,
    widened_info,
)
from poolcli.engine.adaptive import OutputSize
from poolcli.engine.window import Axes, Axis, Window
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, NODATA, Format, by_name, is_one_by_one, may_have_axes
from poolcli.formats.contract import (
    Limits,
    Reader,
    Writer,
    check_depth,
    open_reader,
    open_writer,
)
from poolcli.formats.following import picture_behind
from poolcli.formats.refusals import refusing, refusing_to_write
from poolcli.formats.saving import Saving
from poolcli.methods import Method
from poolcli.picture import MODES, Frame, FrameInfo, Opaque, Upright
from poolcli.plan import Job
from poolcli.process import captured_lines, set_up
from poolcli.report import Outcome
from poolcli.sharing import Position, SharedFrames
from poolcli.storage import DASH, ExistsError, Place

UNREADABLE = "it can't be read: "
UNDECODABLE = "it can't be decoded: "
Steps: TypeAlias = "Generator[Position, None, None]"

PALETTE = "P"
"""What the summary calls the mode of pictures that keep their palette."""
ROUNDED = "its samples are rounded to 8 bits"


class Work(NamedTuple):
    """The settings that are the same for every picture of a run.

    Attributes:
        method: what is computed of every window.
        window: size, stride, padding and dilation of the windows, or the size of the output.
        pixels: how alpha and NaN are treated.
        saving: how results are encoded.
        limits: how large a picture may be.
        overwrite: whether existing files may be replaced.
        update: whether outputs that are older than their inputs are replaced.
        exact: whether a picture fails of which pixels are unread, or whose windows take padding.
        skip_existing: whether a picture is skipped whose output another program has made meanwhile.
        preserve: whether outputs get the times and mode bits of their inputs.
        dry_run: whether only headers are read, and nothing is written.
        allow_depth_loss: whether samples may be rounded to 8 bits if the target or the decoder
            can't hold them.
        frame: the number of the only frame to pool, from 0; None for all frames.
        axes: the letters of the axes of arrays, as in `poolcli.layout`; None for (H, W[, C]).
    """

    method: Method
    window: Window | OutputSize
    pixels: Pixels
    saving: Saving
    limits: Limits
    overwrite: bool = False
    update: bool = False
    exact: bool = False
    skip_existing: bool = False
    preserve: bool = False
    dry_run: bool = False
    allow_depth_loss: bool = False
    frame: int | None = None
    axes: str | None = None


class Pooled(NamedTuple):
    """What is known of a pooled frame before any pixel is decoded.

    Attributes:
        info: the pooled frame as the writer gets it.
        axes: the windows of both axes.
        scaled_from: the full scale of samples that are scaled to that of ``info``, else 0.
    """

    info: FrameInfo
    axes: Axes
    scaled_from: int = 0

    @property
    def is_rounded(self) -> bool:
        """Whether samples lose some of their bits."""
        return self.scaled_from > self.info.maxval


class _Clock:
    """Measure the seconds that each step takes.

    Steps may be nested: rows are read while they are pooled. The time of an inner step is counted
    for that step only.
    """

    def __init__(self) -> None:
        """Set all times to 0."""
        self.seconds = {"read": 0.0, "pool": 0.0, "write": 0.0}
        self._inner = 0.0

    @contextmanager
    def __call__(self, step: Literal["read", "pool", "write"]) -> Iterator[None]:
        """Add the time of the block to a step, without the time of steps inside the block."""
        began, outer, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            elapsed = time.perf_counter() - began
            self.seconds[step] += elapsed - self._inner
            self._inner = outer + elapsed


def set_up_process() -> None:
    """Set up the process of the command or of a worker, before its first job.

    Other programs that call `run_job` do not call this: it changes global state.
    """
    from poolcli.formats import pillow

    set_up()
    pillow.lift_limits()


@dataclass(eq=False, slots=True)
class _Output:
    """One output of a picture, while it is made.

    Attributes:
        job: its job.
        work: the settings of the run, with the window of the job.
        outcome: its outcome.
        clock: measures the seconds of each step.
        target: the format that is written; known when the picture has been opened.
        position: how far it has come.
    """

    job: Job
    work: Work
    outcome: Outcome
    clock: _Clock = field(default_factory=_Clock)
    target: Format = FORMATS[0]
    position: Position = (0, 0)

    @classmethod
    def of(cls, job: Job, work: Work) -> _Output:
        """Return the output of a job, with an outcome that has no results yet."""
        work = work if job.window is None else work._replace(window=job.window)
        return cls(job, work, _new_outcome(job, work))

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


def run_job(job: Job, work: Work) -> Outcome:
    """Pool one picture into one output, and return the outcome; see `run_levels`."""
    return run_levels(job, work)[0]


def run_levels(job: Job, work: Work) -> list[Outcome]:
    """Pool one picture, once for each level, and return the outcomes; it is decoded once.

    Exceptions become a failed outcome, except those that end the whole run: KeyboardInterrupt and
    the like, and BrokenPipeError, which means that the reader of the output stream has closed it.
    """
    outputs = [_Output.of(one._replace(retry=job.retry), work) for one in job.all_levels()]
    active = [one for one in outputs if not one.is_settled()]
    if active:
        try:
            _run(job.source, active, work)
        except BrokenPipeError:
            raise
        except Exception as fault:  # noqa: BLE001  # the other pictures are still pooled
            for one in active:
                if one.outcome.status == "failed" and one.outcome.error is None:
                    one.fail(fault)
    return [one.outcome for one in outputs]


def failed_outcome(job: Job, work: Work, message: str, remedy: str) -> Outcome:
    """Return the outcome of a job that an executor gave up: its worker died or took too long."""
    outcome = _Output.of(job, work).outcome
    outcome.error, outcome.remedy = message, remedy
    outcome.input_bytes = job.bytes or None
    return outcome


def _new_outcome(job: Job, work: Work) -> Outcome:
    """Return an outcome with the paths and the window of a job, and without results."""
    return Outcome(
        input=job.source.path,
        output=job.target.path,
        method=work.method.name,
        size=work.window.size,
        stride=work.window.stride,
        dilation=work.window.dilation,
        quantile=work.method.reported_quantile,
    )


def _fail(outcome: Outcome, fault: Exception) -> None:
    """Set why a picture failed, with the traceback of the exception."""
    import traceback

    match fault:
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


def _run(source: Place, outputs: list[_Output], work: Work) -> None:
    """Read a picture, pool, write and commit each of its outputs, and fill in their outcomes."""
    clock = outputs[0].clock
    size = source.status().size
    captured_lines()  # discards what was printed for earlier pictures
    with clock("read"):
        stream = source.open(is_one_by_one)
    with stream:
        with clock("read"):
            reader = open_reader(stream, work.limits, work.axes)
        outputs = [one for one in outputs if _is_possible(one, stream, reader)]
        if size is None and stream.seekable():
            size = stream.seek(0, 2)
        for one in outputs:
            one.outcome.input_bytes = size
            one.outcome.status = "planned" if work.dry_run else "failed"
        if work.dry_run or not outputs:
            return
        frames = _selected_frames(reader, outputs[0].target, outputs[0].work)
        shared = SharedFrames(frames) if len(outputs) > 1 else None
        _make_together([(one, _steps(one, reader, shared or frames)) for one in outputs], shared)
        for one in outputs:
            if size is None:
                one.outcome.input_bytes = stream.tell()


def _is_possible(output: _Output, stream: BinaryIO, reader: Reader) -> bool:
    """Return whether the headers allow an output; otherwise fill in why it fails."""
    job, outcome = output.job, output.outcome
    try:
        with output.clock("read"):
            output.target = target = job.format or by_name(reader.format)
            if not target.modes:
                raise target.refusal()
            if job.format is None:
                output.work.saving.check(target)
            output.work = _with_frame(reader, output.work, outcome)
            _check_end(stream, reader, job, outcome)
            _check_headers(reader, target, output.work, outcome)
    except Exception as fault:  # noqa: BLE001  # the other outputs are still made
        output.fail(fault)
        return False
    return True


def _make_together(running: list[tuple[_Output, Steps]], shared: SharedFrames | None) -> None:
    """Make several outputs of one picture; always go on with the one that is furthest behind.

    Args:
        running: each output, and the steps by which it is made.
        shared: the frames that they share; None if there is one output.
    """
    with ExitStack() as unfinished:
        for _, steps in running:
            unfinished.callback(steps.close)
        while running:
            output, steps = nearest = min(running, key=lambda one: one[0].position)
            try:
                output.position = next(steps)
            except StopIteration:
                running.remove(nearest)
            except BrokenPipeError:
                raise
            except Exception as fault:  # noqa: BLE001  # the other outputs are still made
                output.fail(fault)
                running.remove(nearest)
            if shared is not None and running:
                shared.forget(min(one.position for one, _ in running))


def _steps(output: _Output, reader: Reader, frames: Iterable[Frame]) -> Steps:
    """Pool, write and commit one output; yield the position after each band and frame."""
    job, work, outcome, clock = output.job, output.work, output.outcome, output.clock
    with job.target.create(
        overwrite=work.overwrite or work.update,
        like=job.source if work.preserve else None,
        retry=job.retry,
    ) as file:
        writer = open_writer(file, output.target, work.saving, outcome.taken or None)
        try:
            for position in _pooled_frames(output, reader, writer, frames):
                if output.target.one_by_one and not position[1]:
                    with clock("write"):
                        file.pass_on()
                yield position
        except BaseException:
            writer.discard()
            raise
        with clock("write"):
            outcome.output_bytes = file.commit()
    outcome.read_seconds, outcome.pool_seconds, outcome.write_seconds = clock.seconds.values()
    outcome.status = "done"


def _check_end(stream: BinaryIO, reader: Reader, job: Job, outcome: Outcome) -> None:
    """Refuse a stream in which another picture follows; add a warning for such a file.

    Raises:
        PoolError: another picture follows in a stream.
    """
    if (other := picture_behind(stream, by_name(reader.format))) is None:
        return
    if job.source.is_stream:
        row = next(row for row in FORMATS if row.one_by_one)
        raise PoolError(
            f"another picture, in {other.title}, follows in the stream",
            f"send one picture, or several in {row.title}",
        )
    outcome.warnings.append(f"another picture, in {other.title}, follows it and was left out")


def _with_frame(reader: Reader, work: Work, outcome: Outcome) -> Work:
    """Return the work for the first picture, if a format of one picture holds further ones."""
    source = by_name(reader.format)
    if work.frame is not None or reader.count == 1 or source.frames != "one" or source.has_axes:
        return work
    outcome.warnings.append(
        f"only the first of its {reader.count} pictures was taken: --frame reaches the others"
    )
    return work._replace(frame=0)


def _pooled_frames(
    output: _Output, reader: Reader, writer: Writer, frames: Iterable[Frame]
) -> Iterator[Position]:
    """Pool the frames one after the other and pass them to a writer; yield each position."""
    target, work, outcome, clock = output.target, output.work, output.outcome, output.clock
    for number, frame in enumerate(frames):
        if reader.count is None:
            _check_header(frame, reader, target, work, outcome)
        with clock("read"), refusing(UNDECODABLE):
            metadata = frame.metadata()
        pooled = _result(frame.info, target, work)
        with clock("write"), refusing_to_write(target):
            writer.begin(pooled.info, metadata.pooled(placement(pooled.axes)))
        for band, rows_read in _bands(frame, pooled, work, clock, outcome.notes):
            with clock("write"), refusing_to_write(target):
                writer.rows(band)
            yield number, rows_read
        _add_new(outcome.warnings, metadata.warnings)
        yield number + 1, 0
    _add_new(outcome.warnings, metadata.warnings)
    if lines := captured_lines():
        _add_new(outcome.warnings, ("its decoder printed a complaint: it may be damaged",))
        outcome.notes.append(f"its decoder printed: {lines[0]}")
    # Writers encode in `finish`. The decoded input is freed before, so that it isn't held in
    # memory together with the encoder's buffers.
    del frame, band
    with clock("write"), refusing_to_write(target):
        outcome.notes += writer.finish()
    _add_new(outcome.warnings, writer.warnings)


def _bands(
    frame: Frame, pooled: Pooled, work: Work, clock: _Clock, notes: list[str]
) -> Iterator[tuple[NDArray[Any], int]]:
    """Yield the pooled bands of a frame, and how many of its rows were read up to each.

    They are scaled if the target can't hold their depth.
    """
    info, rows_read = frame.info, 0

    def read(start: int, stop: int) -> NDArray[Any]:
        nonlocal rows_read
        rows_read = stop
        with clock("read"), refusing(UNDECODABLE):
            rows = frame.rows(start, stop)
        if info.palette is None and (rows.dtype, rows.shape[1:]) != (info.dtype, info.shape[1:]):
            raise RuntimeError(f"decoded {rows.dtype} {rows.shape}, the header states {info.dtype}")
        return rows

    keeps_palette = pooled.info.palette is not None
    bands = pooled_bands(
        info,
        read,
        pooled.axes,
        work.method,
        work.pixels,
        notes=notes,
        keeps_palette=keeps_palette,
    )
    while True:
        with clock("pool"):
            band = next(bands, None)
            if band is not None and pooled.scaled_from:
                band = rescaled(band, pooled.scaled_from, pooled.info)
        if band is None:
            break
        yield band, rows_read
    if rows_read < info.shape[0]:
        # No window needs the last row, but a checksum behind it covers the other rows too.
        read(info.shape[0] - 1, info.shape[0])


def _selected_frames(reader: Reader, target: Format, work: Work) -> Iterator[Frame]:
    """Yield all frames, or only the one of ``--frame``, upright and without unstorable masks.

    Raises:
        PoolError: there is no frame of that number, or one can't be read.
    """
    number, found, frames = work.frame, 0, reader.frames()
    while number is None or found <= number:
        with refusing(UNREADABLE):
            frame = next(frames, None)
            # Frames may be opened only when they are looked at: those that are skipped can't fail.
            if frame is not None and number in (None, found) and frame.info.orientation != 1:
                frame = Upright(frame)
        if frame is None:
            break
        if number in (None, found):
            yield frame if _holds_mask(target, frame.info, work) else Opaque(frame)
        found += 1
    if number is not None and found <= number:
        frames_text = "1 frame" if found == 1 else f"{found} frames"
        raise PoolError(f"it has {frames_text}, none with number {number}", "--frame counts from 0")


def _holds_mask(target: Format, info: FrameInfo, work: Work) -> bool:
    """Return whether the mask of a frame, if it has one, can be stored as alpha or is flattened."""
    mode, _ = work.method.result(info.mode, info.dtype)
    rounded_mode = MODES[mode].rounded if work.allow_depth_loss else mode
    is_flattened = work.pixels.background is not None
    return not info.has_mask or is_flattened or bool({mode, rounded_mode} & {*target.modes})


def _check_headers(reader: Reader, target: Format, work: Work, outcome: Outcome) -> None:
    """Check the headers of all frames, and fill in what they tell of the result.

    All are checked before the first pixel is decoded, so that no animation fails in the middle.
    The frames of a pipe are checked as they come, in a dry run only the first one.

    Raises:
        PoolError: a frame can't be pooled by this work, or not be written to this format.
    """
    outcome.frames, outcome.taken = reader.count, 0
    source = by_name(reader.format)
    if work.axes is not None and not source.has_axes and may_have_axes(outcome.input):
        raise PoolError(f"it is {source.title}, whose axes have no letters", "leave --axes out")
    if reader.count is None and not work.dry_run:
        return
    for frame in _selected_frames(reader, target, work):
        _check_header(frame, reader, target, work, outcome)
        if reader.count is None:
            return


def _check_header(
    frame: Frame, reader: Reader, target: Format, work: Work, outcome: Outcome
) -> None:
    """Check the header of the next frame, and fill in what it tells of the result.

    Raises:
        PoolError: the frame can't be pooled by this work, or not be written to this format.
    """
    outcome.taken += 1
    _check_number(reader, target, work, outcome.taken)
    info = frame.info
    work.limits.check(*info.shape)
    if info.unread_colour and not work.saving.strip:
        raise PoolError(info.unread_colour, "give --strip to take its colours for sRGB")
    rounds = check_depth(info, allow_loss=work.allow_depth_loss)
    pooled = _result(info, target, work)
    if work.exact:
        _check_exact(pooled.axes)
    target.check_result(pooled.info.mode, *pooled.info.shape[:2])
    if rounds or pooled.is_rounded:
        _add_new(outcome.warnings, (ROUNDED,))
    elif pooled.scaled_from:
        bits, wider = pooled.scaled_from.bit_length(), 8 * pooled.info.dtype.itemsize
        _add_new(outcome.notes, (f"its {bits}-bit samples were widened to {wider} bits",))
    if work.method.assumes_srgb:
        _add_new(outcome.warnings, _srgb_warnings(frame))
    _check_labels(info, pooled.info, target, work, outcome)
    if isinstance(frame, Opaque):
        _add_new(outcome.warnings, (f"its mask was left out: {target.title} has no alpha",))
    nodata = nodata_of(info, work.pixels)
    _add_new(outcome.notes, (*info.notes, *_nodata_notes(nodata, target)))
    if outcome.taken == 1:
        outcome.nodata = None if nodata.value in (inf, -inf) else nodata.value
        if isinstance(work.window, OutputSize):
            outcome.output_size = pooled.info.shape[0], pooled.info.shape[1]
        _describe(outcome, info, pooled, target)


def _check_labels(
    info: FrameInfo, pooled: FrameInfo, target: Format, work: Work, outcome: Outcome
) -> None:
    """Tell if a palette is applied, or if labels are written to a lossy file."""
    if info.palette is not None and pooled.palette is None:
        _add_new(outcome.notes, ("its palette was applied",))
    if work.method.takes_indices and not work.saving.is_lossless(target, info.encoding):
        lossy = f"{target.title} is written with loss, which changes labels"
        _add_new(outcome.warnings, (lossy,))


def _check_number(reader: Reader, target: Format, work: Work, taken: int) -> None:
    """Refuse several frames of a kind that the target can't store.

    Args:
        reader: the source.
        target: the format to write.
        work: the settings of the run.
        taken: how many frames were found up to now.
    """
    source = by_name(reader.format)
    # The pictures of one array are pages where another format is written.
    kind = "pages" if source.has_axes and source is not target else source.frames
    is_only = work.frame is not None or (reader.count is None and taken == 1)
    target.check_frames(kind, 1 if is_only else reader.count)


def _check_exact(axes: Axes) -> None:
    """Refuse windows that leave pixels unread, or extend beyond the picture.

    Raises:
        PoolError: they do.
    """
    for axis, name in zip(axes, ("rows", "columns"), strict=True):
        if not isinstance(axis, Axis):  # the size of the output is given, and no pixel is left out
            continue
        overhang = axis.start(axis.out - 1) + axis.span - axis.extent
        reasons = {
            f"the last {axis.dropped} {name} are read by no window": axis.dropped,
            f"some {name} between windows or taps are read by none": axis.has_gaps,
            f"its windows extend beyond its {axis.extent} {name}": axis.before or overhang > 0,
        }
        for reason, applies in reasons.items():
            if applies:
                raise PoolError(reason, "leave --exact out, or choose another size")


def _describe(outcome: Outcome, info: FrameInfo, pooled: Pooled, target: Format) -> None:
    """Fill in what the header of a frame tells of the result.

    Frames may differ in shape; an outcome has room for one, so it describes the first.
    """
    rows, columns = pooled.axes
    outcome.input_shape, outcome.output_shape = info.shape, pooled.info.shape
    outcome.padding = ((rows.before, rows.after), (columns.before, columns.after))
    outcome.dropped = (rows.dropped, columns.dropped)
    outcome.has_gaps = rows.has_gaps or columns.has_gaps
    outcome.mode = target.modes.get(pooled.info.mode, pooled.info.mode)
    outcome.dtype = MODES[outcome.mode].dtype or str(pooled.info.dtype.newbyteorder("="))
    if pooled.info.palette is not None:
        outcome.mode, outcome.output_shape = PALETTE, pooled.info.shape[:2]


def _result(info: FrameInfo, target: Format, work: Work) -> Pooled:
    """Return what is known of the pooled frame, from the header of a frame.

    Raises:
        PoolError: the window doesn't fit, or the format can't hold the result.
    """
    height, width = info.shape[:2]
    axes = work.window.axes((height, width))
    keeps = work.method.takes_indices and work.pixels.background is None
    keeps = keeps and target.holds_palette(info)
    pooled = pooled_info(info, axes, work.method, work.pixels, keeps_palette=keeps)
    if target.holds(pooled.mode, pooled.maxval):
        return Pooled(pooled, axes)
    wide = widened_info(pooled)
    if wide is not None and wide.mode in target.modes:
        return Pooled(wide, axes, pooled.maxval)
    target.check_rounding(pooled.mode, allowed=work.allow_depth_loss)
    return Pooled(rounded_info(pooled), axes, pooled.maxval)


def _nodata_notes(nodata: Nodata, target: Format) -> Iterator[str]:
    """Yield what becomes of a frame's nodata value, if it is not used or can't be stored."""
    if nodata.note:
        yield nodata.note
    if nodata.text and NODATA not in target.metadata:
        from poolcli.formats.carried import no_place

        yield no_place(target, "nodata value")


def _srgb_warnings(frame: Frame) -> Iterator[str]:
    """Yield a warning if a frame's profile states another transfer curve than that of sRGB."""
    from poolcli.formats.profiles import unlike_srgb

    with refusing(UNDECODABLE):
        reason = unlike_srgb(frame.metadata())
    if reason:
        yield f"--linear decodes it by the curve of sRGB, but {reason}"


def _add_new(messages: list[str], more: Iterable[str]) -> None:
    """Append the messages that are not in the list yet: frames often repeat each other's."""
    messages += [message for message in more if message not in messages]
