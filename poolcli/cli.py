"""The command line: a verb for each pooling method, and the only place where the program exits."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

from poolcli import __version__, signals
from poolcli.methods import METHODS, Row
from poolcli.options.commands import PoolGroup, help_width, unpool_verb, verb, version_option

if TYPE_CHECKING:
    from poolcli.console import Console
    from poolcli.executors import Executor
    from poolcli.options.requests import Request
    from poolcli.plan import Job, Policy
    from poolcli.report import Outcome, Report
    from poolcli.run.work import Work


HELP: Final = """Pool pictures: slide a window over them and keep one value of it.

It is the maximum, the minimum, the average, the median or another quantile, or the mode.

\b
poolcli max --size 2 --stride 2 in.png out.png
poolcli avg --size 4 in.jpg small.jpg
cat in.png | poolcli min --size 3 --stride 1 --padding same - - > out.png

See poolcli VERB --help for the options.
"""


def pool(row: Row, **params: Any) -> int:
    """Pool the pictures that a command line names, report on them, and return the exit code.

    Args:
        row: the row of the method.
        params: the parameters of the command line, by name.

    Raises:
        PoolError: an option or the plan is refused; nothing was written.
    """
    # Imported here, not above: `--help` and completion need Click alone.
    from poolcli.options.requests import request_of
    from poolcli.process import set_up

    set_up()
    context = click.get_current_context()
    sources = {name: context.get_parameter_source(name) for name in params}
    request = request_of(
        row,
        params,
        frozenset(name for name, one in sources.items() if one is not ParameterSource.DEFAULT),
        frozenset(name for name, one in sources.items() if one is ParameterSource.ENVIRONMENT),
    )
    return _plan_and_run(request)


def unpool(**params: Any) -> int:
    """Put the values of a pooled picture back to their places, and return the exit code.

    Args:
        params: the parameters of the command line, by name.

    Raises:
        PoolError: an option or the plan is refused; nothing was written.
    """
    from poolcli.options.requests import unpool_request
    from poolcli.process import set_up

    set_up()
    return _plan_and_run(unpool_request(params))


def _plan_and_run(request: Request) -> int:
    """Plan the jobs of a request, run them, report on them, and return the exit code.

    Raises:
        PoolError: the plan is refused; nothing was written.
    """
    from poolcli.console import Console, print_line_from_handler
    from poolcli.errors import PoolError
    from poolcli.executors import choose
    from poolcli.plan import (
        NothingMatchedError,
        PlanError,
        Refusal,
        check_room,
        kept_inputs,
        make_plan,
    )
    from poolcli.plan.left_out import LeftOut
    from poolcli.report import EXIT_NOTHING, EXIT_USAGE, Report
    from poolcli.storage import DASH, place_of, streams

    display = request.display
    console = Console(
        quiet=display.quiet,
        verbose=display.verbose,
        color=display.color,
        dry_run=display.dry_run,
        # On a terminal JSON Lines and the progress bar would be mixed.
        progress=display.progress and not (display.as_json and streams.stdout_is_terminal()),
    )
    left_out = LeftOut.nothing()
    try:
        with console.listing() as progress:
            plan = make_plan(request.paths, request.policy, left_out, progress)
    except PlanError as fault:
        for refusal in fault.refusals:
            console.refusal(refusal)
        return EXIT_USAGE
    except NothingMatchedError as fault:
        console.refusal(Refusal(fault.message, fault.remedy, []))
        return EXIT_NOTHING
    if display.as_json and place_of(DASH).existing().kind == "missing":
        raise PoolError("--json needs standard output, which is closed", "redirect it to a file")
    if display.as_json and any(streams.is_stdout(job.target.path) for job in plan):
        raise PoolError("--json and a picture can't share standard output", "name an output file")
    if not display.dry_run:
        check_room(plan)
    execution = request.execution
    executor = choose(
        plan,
        count=execution.jobs,
        timeout=execution.timeout_for(plan),
        scheduler=execution.scheduler,
        is_shared=execution.shared_filesystem,
        warn=console.warning,
    )
    handling = signals.interrupts_of(is_batch=len(plan) > 1, tell=print_line_from_handler)
    with kept_inputs(plan), handling as interrupts:
        # The fork server imports NumPy and Pillow while this process imports them too, by the
        # import of `run` in `request.work`.
        executor.prepare()
        work = request.work()
        # What was imported stays until the exit: the garbage collector need not look at it.
        gc.freeze()
        gc.enable()
        console.left_out(left_out)
        report = Report(
            left=sum(1 + len(job.levels) for job in plan),
            left_out=left_out.pictures,
            left_out_words=left_out.in_words(),
            dry_run=display.dry_run,
            output=request.paths[-1] if request.paths else "-",
            way_on=request.way_on,
        )
        return _carry_out(plan, work, executor, request, console, interrupts, report)


group = PoolGroup(
    [*(verb(row, partial(pool, row)) for row in METHODS), unpool_verb(unpool)],
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)
group.params.append(version_option(__version__))


def _carry_out(
    plan: list[Job],
    work: Work,
    executor: Executor,
    request: Request,
    console: Console,
    interrupts: signals.Interrupts,
    report: Report,
) -> int:
    """Run the jobs of a plan, report each outcome and the totals, and return the exit code."""
    from poolcli.report import EXIT_INTERRUPTED
    from poolcli.storage import streams

    count, as_json = report.left, request.display.as_json
    is_single = count == 1
    progress: AbstractContextManager[Callable[[Outcome], None]] = nullcontext(lambda _: None)
    if not is_single:
        progress = console.progress(count, _total_bytes(plan))
    outcomes = executor.run_all(plan, work, stopping=lambda: interrupts.stop)
    try:
        # Closing the generator ends the workers, also when an exception leaves the block.
        with _until_lost(report), progress as advance, closing(outcomes):
            for outcome in outcomes:
                if signals.ending:
                    raise signals.ending[-1]
                report.add(outcome)
                _check_protection(outcome, report, request.policy, console)
                if as_json:
                    streams.write_line(outcome.as_json())
                if is_single:
                    console.single_outcome(outcome, to_stream=plan[0].target.is_stream)
                else:
                    console.batch_outcome(outcome)
                    advance(outcome)
                interrupts.stop |= request.execution.fail_fast and outcome.status == "failed"
    except BaseException:
        if signals.ending and not is_single:
            report.interruption = signals.exit_code(signals.ending[-1])
            _tell_totals(report, console, is_single=False, as_json=as_json)
        raise
    if interrupts.interrupted:
        report.interruption = EXIT_INTERRUPTED
    if report.done and plan[0].target.in_folder:
        plan[0].target.sync()
    _tell_totals(report, console, is_single=is_single, as_json=as_json)
    return report.exit_code


def _tell_totals(report: Report, console: Console, *, is_single: bool, as_json: bool) -> None:
    """Tell what became of all pictures."""
    from poolcli.storage import streams

    report.end()
    if is_single:
        console.left_out_words(report)
    else:
        console.summary(report)
    if as_json:
        streams.write_line(report.as_json())


def _total_bytes(plan: list[Job]) -> int:
    """Return the size of all inputs that will be opened, each as often as it has outputs."""
    return sum(job.bytes * len(job.all_levels()) for job in plan if not job.is_settled)


def _check_protection(outcome: Outcome, report: Report, policy: Policy, console: Console) -> None:
    """Warn once, after the first output, if its storage would replace files unasked."""
    from poolcli.storage import place_of

    is_first = outcome.status == "done" and report.done == 1
    if is_first and not policy.replaces and place_of(outcome.output).is_unprotected():
        console.warning(
            "this storage ignores the condition that an object must not exist: outputs that "
            "another program writes during this run may be replaced"
        )


@contextmanager
def _until_lost(report: Report) -> Iterator[None]:
    """Print the error if a cluster is lost in the block; the summary tells what is left."""
    from poolcli.console import error
    from poolcli.executors import ClusterLostError

    try:
        yield
    except ClusterLostError as fault:
        report.is_broken_off = True
        error(fault.message, fault.remedy)


def main() -> NoReturn:
    """Run the command line, print an error in one line, and exit with its code.

    The garbage collector is off during the imports, which make no garbage.
    """
    gc.disable()
    sys.unraisablehook = signals.ignore_signals
    try:
        signal.signal(signal.SIGTERM, signals.terminate)
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, signals.terminate)  # `nohup` lets it be ignored
        # poolcli multiplies no matrices. NumPy's library for that, OpenBLAS, would still start a
        # thread for every CPU when NumPy is imported.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        code = _invoke()
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as end:
        code = end.exit_code
    except BaseException as fault:  # noqa: BLE001  # each kind has its exit code and its message
        code = _end(signals.ending[-1] if signals.ending else fault)
    sys.exit(code)


def _invoke() -> int:
    """Parse the command line and run the verb; return the exit code.

    Click's own `main` is not used: it would exit with 1 after Ctrl-C and after a closed pipe.
    """
    if instruction := os.environ.get("_POOLCLI_COMPLETE"):
        from poolcli.options.completion import completion

        click.echo(completion(group, instruction), nl=False)
        return 0
    with group.make_context("poolcli", sys.argv[1:], terminal_width=help_width()) as context:
        code = group.invoke(context)
    return code if isinstance(code, int) else 0


def _end(fault: BaseException) -> int:
    """Print in one line why the program ends, and return its exit code.

    Signals are ignored meanwhile, so that the message and the exit code fit each other.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from poolcli import console, report
    from poolcli.errors import PoolError
    from poolcli.executors import NoWorkersError
    from poolcli.storage import streams

    match fault:
        case click.UsageError():  # the help, or examples; others have become a PoolError
            console.print_lines(fault.format_message())
            return report.EXIT_USAGE
        case PoolError():
            console.error(fault.message, fault.remedy)
            is_late = isinstance(fault, NoWorkersError)
            return report.EXIT_FAILED if is_late else report.EXIT_USAGE
        case KeyboardInterrupt() | click.Abort() | signals.Terminated():
            code = signals.exit_code(fault)
            console.error(report.SIGNALS[code], "no incomplete file was left")
            return code
        case BrokenPipeError():
            streams.silence_stdout()
            return report.EXIT_READER_GONE
        case OSError():
            reason = f"standard output can't be written: {fault.strerror}"
            console.error(reason, "redirect it to another place")
            streams.silence_stdout()
            return report.EXIT_FAILED
        case ImportError() | MemoryError():  # what NumPy says of a failed import fills a page
            is_memory = isinstance(fault, MemoryError)
            reason = "there is not enough memory" if is_memory else "a library can't be loaded"
            console.error(reason, "allow more memory (ulimit -v), or install poolcli anew")
            return report.EXIT_FAILED
    console.error(f"poolcli failed: {type(fault).__name__}: {fault}", "please report it")
    if sys.argv.count("-v") > 1 or "-vv" in sys.argv:
        import traceback

        console.print_lines("".join(traceback.format_exception(fault)))
    return report.EXIT_FAULT
