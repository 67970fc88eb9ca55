"""One job from its source to its target, and what became of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from poolcli import codec, colour, storage
from poolcli.colour import Choices
from poolcli.errors import PoolError
from poolcli.formats import Format, Saving, by_name
from poolcli.plan import Job
from poolcli.report import Outcome


class Work(NamedTuple):
    """What is done with every picture of a run.

    Attributes:
        choices: what is computed.
        saving: how it is written.
        max_pixels: the most pixels that a picture may have.
        overwrite: whether existing files may be replaced.
        preserve: whether the times and mode bits of the input are taken over.
        dry_run: whether only headers are read, and nothing is written.
        allow_depth_loss: whether samples may be rounded to 8 bits where nothing else fits.
        frame: the only frame to take, from 0, or None for all.
    """

    choices: Choices
    saving: Saving
    max_pixels: int
    overwrite: bool = False
    preserve: bool = False
    dry_run: bool = False
    allow_depth_loss: bool = False
    frame: int | None = None


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES: Final = 32 << 20
"""What is freed in blocks up to this size, and as much at the end of the heap, stays with us."""


def keep_memory() -> None:
    """Let the next step, and the next picture, have the memory of the last.

    The C library of Linux would give it back to the kernel after each, which has to zero every
    page of it anew: a quarter of the time of a folder of JPEGs of 1 MP.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


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
    """The outcome of a picture that was given up from outside."""
    outcome = _blank(job, work)
    outcome.error, outcome.remedy = message, remedy
    outcome.input_bytes = job.bytes or None
    return outcome


def _blank(job: Job, work: Work) -> Outcome:
    """An outcome that knows what was asked, and nothing else yet."""
    window = work.choices.window
    return Outcome(
        input=job.source.path,
        output=job.target.path,
        method=work.choices.method,
        size=window.size,
        stride=window.stride,
        dilation=window.dilation,
    )


def _fail(outcome: Outcome, message: str, remedy: str) -> None:
    """Note why a picture failed; called while the exception is at hand."""
    import traceback

    outcome.status = "failed"
    outcome.error, outcome.remedy = message, remedy
    outcome.traceback = traceback.format_exc()


def _run(job: Job, work: Work, outcome: Outcome) -> None:
    """Open, decode, pool, encode, write; the outcome is filled in on the way."""
    started = time.perf_counter()
    outcome.input_bytes = job.source.size()
    with job.source.open(codec.check_start) as stream, storage.overheard() as said:
        header = codec.identify(
            stream, work.max_pixels, allow_depth_loss=work.allow_depth_loss, frame=work.frame
        )
        target, taken = job.format or by_name(header.format), header.taken
        if job.format is None:
            work.saving.check(target)
        _foresee_all(header, target, work, outcome)
        if outcome.input_bytes is None:
            outcome.input_bytes = stream.seek(0, 2)
        if work.dry_run:
            outcome.status = "planned"
            return
        outcome.read_seconds, outcome.pool_seconds = time.perf_counter() - started, 0.0
        pooled = _pooled(codec.decode_all(header), target, work, outcome)
        del header
        if taken == 1:
            picture = next(pooled)
            with storage.overheard():
                octets, lost = codec.encode(picture, target, work.saving)
        else:
            octets, lost = codec.encode_all(pooled, taken, target, work.saving)
    _tell(said, outcome)
    outcome.notes += lost
    like = job.source if work.preserve else None
    with job.target.create(overwrite=work.overwrite, like=like, again=job.again) as output:
        output.write(octets)
        outcome.output_bytes = output.commit()
    elapsed = time.perf_counter() - started
    outcome.write_seconds = elapsed - outcome.read_seconds - outcome.pool_seconds
    outcome.status = "done"


def _pooled(
    pictures: Iterator[codec.Decoded], target: Format, work: Work, outcome: Outcome
) -> Iterator[codec.Picture]:
    """Pool one picture after the other, and no sooner than it is asked for."""
    clock = time.perf_counter
    reading = pooling = 0.0
    before = outcome.read_seconds or 0.0
    while True:
        began = clock()
        picture = next(pictures, None)
        decoded = clock()
        reading += decoded - began
        outcome.read_seconds = before + reading
        if picture is None:
            return
        _remark(outcome.warnings, picture.metadata.warnings)
        pooled = colour.pool(picture, work.choices)
        del picture
        if not target.holds(pooled.mode):
            pooled = colour.shallow(pooled)
        pooling += clock() - decoded
        outcome.pool_seconds = pooling
        yield pooled
        del pooled


def _tell(said: list[str], outcome: Outcome) -> None:
    """What a library printed while it decoded a picture all the same."""
    if said:
        outcome.warnings.append("its decoder complained: it may be damaged")
        outcome.notes.append(f"its decoder said: {said[0]}")


def _foresee_all(header: codec.Header, target: Format, work: Work, outcome: Outcome) -> None:
    """What the headers of all frames tell and refuse; the outcome speaks of the first."""
    target.check_frames(by_name(header.format), header.taken)
    for number, page in enumerate(codec.pages(header)):
        if not number:
            _foresee(page, target, work, outcome)
            continue
        other = replace(outcome, warnings=[], notes=[])
        _foresee(page, target, work, other)
        _remark(outcome.warnings, other.warnings)
        _remark(outcome.notes, other.notes)
    outcome.frames, outcome.taken = header.frames, header.taken


def _remark(remarks: list[str], more: Iterable[str]) -> None:
    """Say every thing once."""
    remarks += [one for one in more if one not in remarks]


def _foresee(header: codec.Header, target: Format, work: Work, outcome: Outcome) -> None:
    """What one header tells of the result, and refuses."""
    mode = work.choices.mode(header.mode)
    stored = target.stored_mode(mode, allow_depth_loss=work.allow_depth_loss)
    codec.check_writable(target, stored)
    height, width, *channels = header.shape
    rows, columns = work.choices.window.axes((height, width))
    target.check_extent(rows.out, columns.out)
    rounds = not target.holds(mode)
    if mode != header.mode or rounds:
        channels = [codec.CHANNELS[mode]] if mode in codec.CHANNELS else []
    outcome.input_shape = header.shape
    outcome.output_shape = (rows.out, columns.out, *channels)
    outcome.padding = ((rows.before, rows.after), (columns.before, columns.after))
    outcome.dropped = (rows.dropped, columns.dropped)
    outcome.has_gaps = rows.has_gaps or columns.has_gaps
    if rounds or header.rounded:
        outcome.warnings.append("its samples are rounded to 8 bits")
    if work.choices.linear and (reason := header.unlike_srgb()):
        outcome.warnings.append(f"averaged by the curve of sRGB, but {reason}")
    outcome.notes += header.converted
    outcome.mode = stored
    dtype = codec.DTYPES.get(stored, header.dtype).newbyteorder("=")
    outcome.dtype = "uint8" if dtype.kind == "b" and work.choices.method == "avg" else str(dtype)
