"""The command line: a verb for each pooling method, and the one exit."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from poolcli import __version__, methods, options

if TYPE_CHECKING:
    from types import FrameType

    from poolcli.console import Console
    from poolcli.executors import Executor
    from poolcli.options.requests import Request
    from poolcli.plan import Job
    from poolcli.run import Work


class Terminated(BaseException):
    """SIGTERM came."""


HELP: Final = """Pool pictures: slide a window over them and keep its maximum, minimum or average.

\b
poolcli max --size 2 --stride 2 in.png out.png
poolcli avg --size 4 in.jpg small.jpg
cat in.png | poolcli min --size 3 --stride 1 --padding same - - > out.png

See poolcli VERB --help for the options.
"""


def pool(row: methods.Row, **typed: Any) -> int:
    """Check the choices, plan, work and report; return the exit code.

    Raises:
        PoolError: a choice or the plan is refused; nothing was written.
    """
    from poolcli import executors, process
    from poolcli.console import Console
    from poolcli.errors import PoolError
    from poolcli.options.requests import request_of
    from poolcli.plan import NothingMatchedError, PlanError, Refusal, make_plan
    from poolcli.report import EXIT_NOTHING, EXIT_USAGE
    from poolcli.storage import streams

    process.enter()
    request = request_of(row, typed)
    voice = request.voice
    console = Console(
        quiet=voice.quiet,
        verbose=voice.verbose,
        color=voice.color,
        # On a terminal JSON Lines would be mixed with the bar.
        progress=voice.progress and not (voice.as_json and streams.stdout_is_terminal()),
    )
    try:
        plan = make_plan(request.paths, request.policy)
    except PlanError as refused:
        for one in refused.refusals:
            console.refused(one)
        return EXIT_USAGE
    except NothingMatchedError as nothing:
        console.refused(Refusal(nothing.message, nothing.remedy, []))
        return EXIT_NOTHING
    except OSError as fault:
        raise PoolError(
            f"the plan can't be made: {fault.strerror}", "is the working folder there?"
        ) from None
    if voice.as_json and any(streams.is_stdout(job.target.path) for job in plan):
        raise PoolError("--json and a picture can't share standard output", "name an output file")
    pace = request.pace
    executor = executors.choose(plan, count=pace.jobs, timeout=pace.timeout_for(plan))
    with _Interrupts(patient=len(plan) > 1) as interrupts:
        executor.prepare()  # what it starts imports NumPy and Pillow while this process does so too
        from poolcli import run

        work = request.work()
        run.enter_process()
        gc.freeze()  # what was imported is no garbage
        gc.enable()
        return _carry_out(plan, work, executor, request, console, interrupts)


group = click.Group(
    commands=[options.verb(row, partial(pool, row)) for row in methods.METHODS],
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")(group)


def _carry_out(
    plan: list[Job],
    work: Work,
    executor: Executor,
    request: Request,
    console: Console,
    interrupts: _Interrupts,
) -> int:
    """Do the plan and report on it as it goes; return the exit code."""
    from poolcli.report import EXIT_INTERRUPTED, Report
    from poolcli.storage import streams

    report, alone, as_json = Report(left=len(plan)), len(plan) == 1, request.voice.as_json
    octets = sum(job.bytes for job in plan if not job.is_settled)
    outcomes = executor.run_all(plan, work, stopping=lambda: interrupts.stop)
    with console.progress(0 if alone else len(plan), octets) as advance, closing(outcomes):
        for outcome in outcomes:
            report.add(outcome)
            if as_json:
                streams.print_line(outcome.as_json())
            if alone:
                console.outcome(outcome, to_stream=plan[0].target.is_stream)
            else:
                console.in_batch(outcome)
                advance(outcome)
            interrupts.stop |= request.pace.fail_fast and outcome.status == "failed"
    if interrupts.came:
        report.interruption = EXIT_INTERRUPTED
    if report.done and plan[0].target.in_folder:
        plan[0].target.sync()
    if not alone:
        console.summary(report)
    if as_json:
        streams.print_line(report.as_json())
    return report.exit_code


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
        """Ask for the end; the next Ctrl-C is answered as usual."""
        from poolcli import console

        self.stop = self.came = True
        signal.signal(signal.SIGINT, self._before)
        console.line_from_handler(
            "poolcli: finishing the pictures in hand; Ctrl-C again stops at once"
        )


def main() -> NoReturn:
    """Run the command line, print what went wrong in one line, and exit.

    Imports make no garbage: none is collected while they go on, nor at the exit among what is
    given back with the process. That is a tenth of the time of a small picture.
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
        code = _end(fault)
    sys.exit(code)


def _invoke() -> int:
    """Parse and run; Click's own `main` would give pipes and signals exit codes of its own."""
    if "_POOLCLI_COMPLETE" in os.environ:
        group.main(prog_name="poolcli")
    with group.make_context("poolcli", sys.argv[1:]) as context:
        code = group.invoke(context)
    return code if isinstance(code, int) else 0


def _end(fault: BaseException) -> int:
    """Say in one line why the program ends, and return its exit code; nothing interrupts it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    from poolcli import console, report
    from poolcli.errors import PoolError
    from poolcli.storage import streams

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
            streams.silence_stdout()
            return report.EXIT_READER_GONE
        case OSError():
            console.error(f"standard output can't be written: {fault.strerror}")
            streams.silence_stdout()
            return report.EXIT_FAILED
    console.error(f"poolcli failed: {type(fault).__name__}: {fault}", "please report it")
    if sys.argv.count("-v") > 1 or "-vv" in sys.argv:
        import traceback

        console.plain("".join(traceback.format_exception(fault)))
    return report.EXIT_FAULT


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that nothing half-written stays."""
    raise Terminated
