"""The command line: three verbs, one frame, one exit."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from poolcli import __version__, options

if TYPE_CHECKING:
    from types import FrameType

    from poolcli.colour import Method
    from poolcli.console import Console
    from poolcli.engine.window import Window
    from poolcli.formats import Saving
    from poolcli.plan import Job, Policy
    from poolcli.report import Outcome
    from poolcli.run import Work


class Terminated(BaseException):
    """SIGTERM came."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def group() -> None:
    """Pool pictures: slide a window over them and keep its maximum, minimum or average.

    \b
    poolcli max --size 2 --stride 2 in.png out.png
    poolcli avg --size 4 in.jpg small.jpg
    cat in.png | poolcli min --size 3 --stride 1 --padding same - - > out.png

    See poolcli VERB --help for the options.
    """


@group.command("max", cls=options.PoolCommand)
@options.bundle(options.SHARED)
def max_(**given: Any) -> int:
    """Keep the largest value of every window, for each channel.

    \b
    poolcli max --size 2 --stride 2 in.png out.png
    poolcli max --size 3x1 --padding same in.png out.png
    cat in.png | poolcli max --size 2 - - > out.png
    """
    return pool("max", given)


@group.command("min", cls=options.PoolCommand)
@options.bundle(options.SHARED)
def min_(**given: Any) -> int:
    """Keep the smallest value of every window, for each channel.

    \b
    poolcli min --size 2 in.png out.png
    poolcli min --size 5 --stride 2 --padding 2 --ceil-mode in.png out.png
    cat in.png | poolcli min --size 2 - - > out.png
    """
    return pool("min", given)


@group.command("avg", cls=options.AverageCommand)
@options.bundle(options.GROUPS)
def avg(**given: Any) -> int:
    """Take the average of every window, for each channel: exact, rounded once.

    \b
    poolcli avg --size 4 in.jpg small.jpg
    poolcli avg --size 3 --stride 2 --padding 1 --count-include-pad in.png out.png
    cat in.png | poolcli avg --size 2 - - > out.png
    """
    return pool("avg", given)


def pool(method: Method, given: dict[str, Any]) -> int:
    """The frame of all verbs: check the choices, plan, work, report; the exit code.

    Raises:
        PoolError: a choice or the plan is refused; nothing was written.
    """
    from poolcli import plan as jobs
    from poolcli import storage
    from poolcli.console import Console, shield
    from poolcli.engine.window import Window
    from poolcli.errors import PoolError
    from poolcli.formats import Saving
    from poolcli.report import EXIT_NOTHING, EXIT_USAGE

    shield()
    console = Console(
        quiet=given["quiet"],
        verbose=given["verbose"],
        color=given["color"],
        progress=given["progress"]
        and not (given["as_json"] and storage.stdout_is_terminal()),  # it would be in between
    )
    if given["overwrite"] and given["skip_existing"]:
        raise PoolError("--overwrite and --skip-existing exclude each other", "choose one")
    saving = Saving(
        given["quality"], given["compress_level"], given["save_options"], given["strip"]
    )
    window = Window.of(
        given["size"],
        given["stride"],
        given["padding"],
        given["dilation"],
        ceil_mode=given["ceil_mode"],
    )
    try:
        plan = jobs.make_plan(given["paths"], _policy(method, given, window, saving))
    except jobs.PlanError as refusal:
        for one in refusal.refusals:
            console.refused(one)
        return EXIT_USAGE
    except jobs.NothingMatchedError as nothing:
        console.refused(jobs.Refusal(nothing.message, nothing.remedy, []))
        return EXIT_NOTHING
    except OSError as fault:
        raise PoolError(
            f"the plan can't be made: {fault.strerror}", "is the working folder there?"
        ) from None
    if given["as_json"] and any(job.target.is_stdout for job in plan):
        raise PoolError("--json and a picture can't share standard output", "name an output file")
    pace = _Pace(given["jobs"], _timeout(plan, given), given["fail_fast"])
    with _Interrupts(patient=len(plan) > 1) as interrupts:
        if not pace.is_alone(plan):
            from poolcli.executors import processes as workers

            workers.prepare(plan, count=pace.workers or workers.usable_cpus(), timeout=pace.timeout)
        work = _work(method, given, window, saving)
        _look_for_garbage()
        return _carry_out(plan, work, pace, console, interrupts, as_json=given["as_json"])


def _look_for_garbage() -> None:
    """Let Python begin to (see `main`), but not among what was imported."""
    if not gc.get_freeze_count():
        gc.freeze()
    gc.enable()


class _Pace(NamedTuple):
    """How a batch is worked off: pictures at a time, seconds for each, whether one may fail."""

    workers: int | None
    timeout: float | None
    fail_fast: bool

    def is_alone(self, plan: list[Job]) -> bool:
        """Whether there is one picture, without a clock, which needs no machinery for many."""
        return len(plan) == 1 and self.timeout is None


def _policy(method: Method, given: dict[str, Any], window: Window, saving: Saving) -> Policy:
    """What the plan may do."""
    from poolcli.plan import Policy

    template = given["template"]
    rename = partial(
        options.rename,
        template=template,
        method=method,
        size=window.size,
        stride=window.stride,
    )
    return Policy(
        format=given["format_name"],
        overwrite=given["overwrite"],
        skip_existing=given["skip_existing"],
        recursive=not given["no_recursive"],
        include=given["include"],
        exclude=given["exclude"],
        files_from=given["files_from"],
        null=given["null"],
        relative_to=given["relative_to"],
        rename=None if template is None else rename,
        saving=saving,
    )


def _work(method: Method, given: dict[str, Any], window: Window, saving: Saving) -> Work:
    """Everything that is the same for all pictures."""
    from poolcli.codec import parse_color
    from poolcli.colour import Choices
    from poolcli.run import Work

    background = given["background"]
    return Work(
        choices=Choices(
            method=method,
            window=window,
            count_include_pad=given.get("count_include_pad", False),
            divisor_override=given.get("divisor_override"),
            linear=given.get("linear", False),
            alpha=given["alpha"],
            nan=given["nan"],
            background=None if background is None else parse_color(background),
        ),
        saving=saving,
        max_pixels=given["max_pixels"],
        overwrite=given["overwrite"],
        preserve=given["preserve"],
        dry_run=given["dry_run"],
        allow_depth_loss=given["allow_depth_loss"],
        frame=given["frame"],
    )


def _timeout(plan: list[Job], given: dict[str, Any]) -> float | None:
    """The seconds for a picture; a stream can't be given up, since nobody could read it again."""
    from poolcli.errors import PoolError

    seconds: float | None = given["timeout"]
    if seconds is None or not any(job.target.is_stream or job.source.is_stdin for job in plan):
        return seconds
    source = click.get_current_context().get_parameter_source("timeout")
    if source is click.core.ParameterSource.ENVIRONMENT:
        return None
    raise PoolError("--timeout can't be kept on a stream", "name files, or leave it out")


def _carry_out(
    plan: list[Job],
    work: Work,
    pace: _Pace,
    console: Console,
    interrupts: _Interrupts,
    *,
    as_json: bool,
) -> int:
    """Do the plan and report on it as it goes."""
    from poolcli import storage
    from poolcli.report import EXIT_INTERRUPTED, Report

    report = Report(left=len(plan))
    alone = len(plan) == 1
    with (
        console.progress(
            0 if alone else len(plan), sum(job.bytes for job in plan if not job.is_settled)
        ) as advance,
        closing(_outcomes(plan, work, pace, interrupts)) as outcomes,
    ):
        for outcome in outcomes:
            report.add(outcome)
            if as_json:
                storage.print_line(outcome.as_json())
            if alone:
                console.outcome(outcome, to_stream=plan[0].target.is_stream)
            else:
                console.in_batch(outcome)
                advance(outcome)
            interrupts.stop |= pace.fail_fast and outcome.status == "failed"
    if interrupts.came:
        report.interruption = EXIT_INTERRUPTED
    if report.done and plan[0].target.in_folder:
        plan[0].target.sync()
    if not alone:
        console.summary(report)
    if as_json:
        storage.print_line(report.as_json())
    return report.exit_code


def _outcomes(
    plan: list[Job], work: Work, pace: _Pace, interrupts: _Interrupts
) -> Generator[Outcome, None, None]:
    """What becomes of the jobs."""
    if pace.is_alone(plan):
        from poolcli import run as runner

        runner.keep_memory()
        yield runner.run_job(plan[0], work)
        return
    from poolcli.executors import processes as workers

    yield from workers.run_all(
        plan,
        work,
        count=pace.workers or workers.usable_cpus(),
        timeout=pace.timeout,
        stopping=lambda: interrupts.stop,
    )


class _Interrupts:
    """Ctrl-C in a batch: the first lets the pictures in hand be finished, the second doesn't.

    Attributes:
        stop: whether no more work is handed out, for whatever reason.
        came: whether Ctrl-C was the reason.
    """

    def __init__(self, *, patient: bool) -> None:
        """Leave Ctrl-C alone unless patient, or where it is ignored: as by a shell for `&`."""
        self.stop = self.came = False
        self._patient = patient and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        self._before: Any = None

    def __enter__(self) -> _Interrupts:
        """Take Ctrl-C over."""
        if self._patient:
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        if self._patient:
            signal.signal(signal.SIGINT, self._before)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        """Ask for the end; the next one is not asked."""
        from poolcli import console

        self.stop = self.came = True
        signal.signal(signal.SIGINT, self._before)
        console.interject("poolcli: finishing the pictures in hand; Ctrl-C again stops at once")


def main() -> NoReturn:
    """Run the command line, print what went wrong in one line, and exit.

    What imports make is no garbage: none is looked for while they go on, nor in the end among
    what is given back with the process. That is a tenth of the time of a small picture.
    """
    gc.disable()
    atexit.register(gc.freeze)
    try:
        signal.signal(signal.SIGTERM, _terminate)
        # We multiply no matrices: NumPy's library for that would start a thread for every CPU.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        code = _invoke()
    except click.exceptions.Exit as end:
        code = end.exit_code
    except SystemExit:  # completion's
        raise
    except BaseException as fault:  # noqa: BLE001  # every ending has its code and its line
        code = _ending(fault)
    sys.exit(code)


def _invoke() -> int:
    """Parse and run; Click's own `main` would give pipes and signals endings of its own."""
    if "_POOLCLI_COMPLETE" in os.environ:
        group.main(prog_name="poolcli")
    with group.make_context("poolcli", sys.argv[1:]) as context:
        code = group.invoke(context)
    from poolcli import storage

    storage.flush()
    return code if isinstance(code, int) else 0


def _ending(fault: BaseException) -> int:
    """What an ending means to the shell, said in one line; nothing interrupts it any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    from poolcli import console, report, storage
    from poolcli.errors import PoolError

    match fault:
        case click.exceptions.NoArgsIsHelpError():
            console.plain(fault.format_message())
            return report.EXIT_USAGE
        case click.UsageError():
            verb = fault.ctx.command_path if fault.ctx else "poolcli"
            message = fault.format_message().rstrip(".").replace("\n", " ")
            console.error(message, f"see {verb} --help")
            return report.EXIT_USAGE
        case PoolError():
            console.error(fault.message, fault.remedy)
            return report.EXIT_USAGE
        case KeyboardInterrupt() | click.Abort():
            console.error("interrupted", "nothing half-written was left")
            return report.EXIT_INTERRUPTED
        case Terminated():
            console.error("terminated", "nothing half-written was left")
            return report.EXIT_TERMINATED
        case BrokenPipeError():
            storage.silence_stdout()
            return report.EXIT_READER_GONE
        case OSError():
            console.error(f"standard output can't be written: {fault.strerror}")
            storage.silence_stdout()
            return report.EXIT_FAILED
    console.error(f"poolcli failed: {type(fault).__name__}: {fault}", "please report it")
    if sys.argv.count("-v") > 1 or "-vv" in sys.argv:
        import traceback

        console.plain("".join(traceback.format_exception(fault)))
    return report.EXIT_FAULT


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that nothing half-written stays."""
    raise Terminated
