"""Check the headers of a picture before its pixels are decoded, and describe the result."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from math import inf
from typing import BinaryIO, NamedTuple

from poolcli.colour import Nodata, nodata_of, pooled_info, rounded_info, widened_info
from poolcli.engine.adaptive import OutputSize
from poolcli.engine.window import Axes, Axis
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, NODATA, by_name, may_have_axes
from poolcli.formats.contract import Reader, StackReader, check_depth
from poolcli.formats.following import picture_behind
from poolcli.formats.refusals import Refusing
from poolcli.formats.row import Format
from poolcli.picture import MODES, Frame, FrameInfo, Opaque, Upright
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run.stacks import Planes, count_of, joined
from poolcli.run.work import Work

UNREADABLE = "it can't be read: "
UNDECODABLE = "it can't be decoded: "
PALETTE = "P"
"""The summary's name for the mode of pictures that keep their palette."""
INEXACT = "leave --exact out, or choose another size"
ROUNDED = "its samples are rounded to 8 bits"


class Pooled(NamedTuple):
    """The facts of a pooled frame that are known before any pixel is decoded.

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
        """Return whether samples lose some of their bits."""
        return self.scaled_from > self.info.maxval


def with_frame(reader: Reader, work: Work, outcome: Outcome) -> Work:
    """Return the work for the first picture, if a format of one picture holds further ones."""
    source = by_name(reader.format)
    if work.frame is not None or reader.count == 1 or source.frames != "one" or source.has_axes:
        return work
    outcome.warnings.append(
        f"only the first of its {reader.count} pictures was taken: --frame reaches the others"
    )
    return work._replace(frame=0)


def check_end(stream: BinaryIO, reader: Reader, job: Job, outcome: Outcome) -> None:
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


def selected_frames(reader: Reader, target: Format, work: Work) -> Generator[Frame, None, None]:
    """Yield the frames to pool, upright and without unstorable masks.

    With ``--planes`` the frames of several planes are joined to one.

    Raises:
        PoolError: there is no frame of that number, or one can't be read.
    """
    frames = _upright_frames(reader, work)
    if work.planes is not None and isinstance(reader, StackReader):
        stack = reader.stack()
        frames = joined(frames, stack, count_of(work.planes, stack))
    for frame in frames:
        yield frame if _holds_mask(target, frame.info, work) else Opaque(frame)


def _upright_frames(reader: Reader, work: Work) -> Iterator[Frame]:
    """Yield all frames, or only the one of ``--frame``, upright.

    Raises:
        PoolError: there is no frame of that number, or one can't be read.
    """
    number, found, frames = work.frame, 0, reader.frames()
    while number is None or found <= number:
        with Refusing(UNREADABLE):
            frame = next(frames, None)
            # Frames may be opened only when they are looked at: those that are skipped can't fail.
            if frame is not None and number in (None, found) and frame.info.orientation != 1:
                frame = Upright(frame)
        if frame is None:
            break
        if number in (None, found):
            yield frame
        found += 1
    if number is not None and found <= number:
        numbers = "one, with number 0" if found == 1 else f"{found}, numbered 0 to {found - 1}"
        raise PoolError(f"there is no frame {number}: it has {numbers}", "choose another --frame")


def _holds_mask(target: Format, info: FrameInfo, work: Work) -> bool:
    """Return whether the mask of a frame, if it has one, can be stored as alpha or is flattened."""
    mode, _ = work.method.result(info.mode, info.dtype)
    rounded_mode = MODES[mode].rounded if work.allow_depth_loss else mode
    is_flattened = work.pixels.background is not None
    return not info.has_mask or is_flattened or bool({mode, rounded_mode} & {*target.modes})


def check_headers(reader: Reader, target: Format, work: Work, outcome: Outcome) -> None:
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
    if work.planes is not None:
        _check_planes(reader, work.planes, work, outcome)
    if reader.count is None and not work.dry_run:
        return
    for frame in selected_frames(reader, target, work):
        check_header(frame, reader, target, work, outcome)
        if reader.count is None:
            return


def _check_planes(reader: Reader, planes: Planes, work: Work, outcome: Outcome) -> None:
    """Fill in how many planes are pooled together.

    Raises:
        PoolError: the file is no stack, has fewer planes, or some are left over.
    """
    if not isinstance(reader, StackReader):
        title = by_name(reader.format).title
        raise PoolError(f"it is {title}, which holds no planes", "leave --planes out")
    stack = reader.stack()
    outcome.planes = count_of(planes, stack)
    outcome.dropped_planes = rest = stack.depth % outcome.planes
    if rest and work.exact:
        raise PoolError(f"planes at the end that no window reads: {rest} of {stack.depth}", INEXACT)
    if rest:
        outcome.notes.append(f"planes left out at the end: {rest} of {stack.depth}")


def check_header(
    frame: Frame, reader: Reader, target: Format, work: Work, outcome: Outcome
) -> None:
    """Check the header of the next frame, and fill in what it tells of the result.

    Raises:
        PoolError: the frame can't be pooled by this work, or not be written to this format.
    """
    outcome.taken += 1
    if work.with_indices:
        _check_indices(frame.info, reader, work, outcome.taken)
    _check_number(reader, target, work, outcome.taken)
    info = frame.info
    work.limits.check(*info.shape)
    if info.unread_colour and not work.saving.strip:
        raise PoolError(info.unread_colour, "give --strip to take its colours for sRGB")
    rounds = check_depth(info, allow_loss=work.allow_depth_loss)
    pooled = result(info, target, work)
    if work.exact:
        _check_exact(pooled.axes)
    target.check_result(pooled.info.mode, *pooled.info.shape[:2])
    if rounds or pooled.is_rounded:
        add_new(outcome.warnings, (ROUNDED,))
    elif pooled.scaled_from:
        bits, wider = pooled.scaled_from.bit_length(), 8 * pooled.info.dtype.itemsize
        add_new(outcome.notes, (f"its {bits}-bit samples were widened to {wider} bits",))
    if work.method.assumes_srgb:
        add_new(outcome.warnings, _srgb_warnings(frame))
    _check_labels(info, pooled.info, target, work, outcome)
    if isinstance(frame, Opaque):
        add_new(outcome.warnings, (f"its mask was left out: {target.title} has no alpha",))
    nodata = nodata_of(info, work.pixels)
    add_new(outcome.notes, (*info.notes, *_nodata_notes(nodata, target)))
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
        add_new(outcome.notes, ("its palette was applied",))
    if work.method.takes_indices and not work.saving.is_lossless(target, info.encoding):
        lossy = f"{target.title} is written with loss, which changes labels"
        add_new(outcome.warnings, (lossy,))


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
    if work.planes is None or not isinstance(reader, StackReader):
        target.check_frames(kind, 1 if is_only else reader.count)
        return
    stack, count = reader.stack(), reader.count or 1
    pooled = count // stack.depth * (stack.depth // count_of(work.planes, stack))
    target.check_frames(kind, pooled, "the result has", "give --planes all")


def _check_indices(info: FrameInfo, reader: Reader, work: Work, taken: int) -> None:
    """Refuse what has no indices of its own: several frames, and values that several pixels make.

    Raises:
        PoolError: the frame is one of several, or alpha weights or flattens its colours.
    """
    if work.frame is None and (taken > 1 or reader.count not in (1, None)):
        found = f"it has {reader.count or 'several'} frames"
        raise PoolError(f"--indices takes one frame, and {found}", "choose one with --frame N")
    if MODES[info.mode].without_alpha:
        if work.pixels.alpha == "weighted":
            raise PoolError("it has alpha, which weights its colours", "give --alpha straight")
        if work.pixels.background is not None:
            raise PoolError("--background changes the values of --indices", "leave it out")


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
                raise PoolError(reason, INEXACT)


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


def result(info: FrameInfo, target: Format, work: Work) -> Pooled:
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
    target.check_rounding(pooled.mode, allowed=work.allow_depth_loss, samples=pooled.samples)
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

    with Refusing(UNDECODABLE):
        reason = unlike_srgb(frame.metadata())
    if reason:
        yield f"--linear decodes it by the curve of sRGB, but {reason}"


def add_new(messages: list[str], more: Iterable[str]) -> None:
    """Append the messages that are not in the list yet: frames often repeat each other's."""
    messages += [message for message in more if message not in messages]
