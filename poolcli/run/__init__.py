"""Run one job: open the source, and make each of its outputs."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from poolcli.errors import PoolError
from poolcli.formats import is_one_by_one
from poolcli.formats.contract import Reader, open_reader
from poolcli.plan import Job
from poolcli.process import captured_lines
from poolcli.report import Outcome
from poolcli.run.headers import selected_frames
from poolcli.run.output import Output, Steps
from poolcli.run.sharing import SharedFrames
from poolcli.run.work import Work
from poolcli.storage import Place

if TYPE_CHECKING:
    from poolcli.run.indices import Unpooling


def run_job(job: Job, work: Work) -> Outcome:
    """Pool one picture into one output, and return the outcome; see `run_levels`."""
    return run_levels(job, work)[0]


def run_levels(job: Job, work: Work) -> list[Outcome]:
    """Pool one picture, once for each level, and return the outcomes; it is decoded once.

    Exceptions become a failed outcome, except those that end the whole run: KeyboardInterrupt and
    the like, and BrokenPipeError, which means that the reader of the output stream has closed it.
    """
    outputs = [Output(one._replace(retry=job.retry), work) for one in job.all_levels()]
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
    outcome = Output(job, work).outcome
    outcome.error, outcome.remedy = message, remedy
    outcome.input_bytes = job.bytes or None
    return outcome


def _run(source: Place, outputs: list[Output], work: Work) -> None:
    """Read a picture, pool, write and commit each of its outputs, and fill in their outcomes."""
    clock, unpooling = outputs[0].clock, None
    captured_lines()  # discards what was printed for earlier pictures
    with clock("read"):
        stream = source.open(is_one_by_one)
    with stream:
        with clock("read"):
            reader = open_reader(stream, work.limits, work.axes)
            if work.unpooled_by is not None:
                reader = unpooling = _unpooling(reader, work.unpooled_by, work, outputs)
        outputs = [one for one in outputs if one.is_possible(stream, reader)]
        # A request for the size of an object would take as long as reading it.
        size = stream.seek(0, 2) if stream.seekable() else source.status().size
        for one in outputs:
            one.outcome.input_bytes = size
            one.outcome.status = "planned" if work.dry_run else "failed"
            if unpooling is not None:
                one.outcome.input_shape = unpooling.shape
        if work.dry_run or not outputs:
            return
        # Closing the generator ends the thread of a reader that reads ahead.
        with closing(selected_frames(reader, outputs[0].target, outputs[0].work)) as frames:
            shared = SharedFrames(frames) if len(outputs) > 1 else None
            _make_together([(one, one.steps(reader, shared or frames)) for one in outputs], shared)
        for one in outputs:
            if size is None:
                one.outcome.input_bytes = stream.tell()
            if unpooling is not None:
                one.outcome.input_shape = unpooling.shape


def _unpooling(reader: Reader, place: Place, work: Work, outputs: list[Output]) -> Unpooling:
    """Return the reader of a picture whose values are put back to their places.

    Raises:
        PoolError: the indices can't be read; then their file is named in place of the picture.
    """
    from poolcli.run.indices import Unpooling  # few runs need it, and each import delays the start

    try:
        return Unpooling(reader, place, work.limits)
    except PoolError:
        for one in outputs:
            one.outcome.blamed = place.path
        raise


def _make_together(running: list[tuple[Output, Steps]], shared: SharedFrames | None) -> None:
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
