"""The command line: three verbs, one frame, one exit."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from poolcli import __version__, options

if TYPE_CHECKING:
    from types import FrameType

    from poolcli.colour import Method
    from poolcli.formats import Saving
    from poolcli.jobs import Job
    from poolcli.report import Outcome
    from poolcli.runner import Work
    from poolcli.window import Window


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
    from poolcli import endpoints, jobs
    from poolcli.console import Console
    from poolcli.errors import PoolError
    from poolcli.formats import Saving
    from poolcli.report import Outcome, Report
    from poolcli.window import Window

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
    policy = jobs.Policy(
        format=given["format_name"],
        overwrite=given["overwrite"],
        skip_existing=given["skip_existing"],
        saving=saving,
    )
    plan = jobs.plan(given["paths"], policy)
    prints = given["as_json"]
    if prints and any(job.target.is_stdout for job in plan):
        raise PoolError("--json and a picture can't share standard output", "name an output file")
    work = _work(method, given, window, saving)
    console = Console(quiet=given["quiet"], verbose=given["verbose"], color=given["color"])
    report = Report()
    for job in plan:
        if job.skip:
            outcome = Outcome(job.source.path, job.target.path, "skipped")
        else:
            outcome = _run(job, work)
        report.add(outcome)
        if prints:
            endpoints.print_line(outcome.as_json())
        console.outcome(outcome, to_stream=job.target.is_stream)
    if prints:
        endpoints.print_line(report.as_json())
    return report.exit_code


def _work(method: Method, given: dict[str, Any], window: Window, saving: Saving) -> Work:
    """Everything that is the same for all pictures."""
    from poolcli.codec import parse_color
    from poolcli.colour import Choices
    from poolcli.runner import Work

    background = given["background"]
    return Work(
        choices=Choices(
            method=method,
            window=window,
            count_include_pad=given.get("count_include_pad", False),
            divisor_override=given.get("divisor_override"),
            alpha=given["alpha"],
            nan=given["nan"],
            background=None if background is None else parse_color(background),
        ),
        saving=saving,
        max_pixels=given["max_pixels"],
        overwrite=given["overwrite"],
        preserve=given["preserve"],
        dry_run=given["dry_run"],
    )


def _run(job: Job, work: Work) -> Outcome:
    """Do one job; imported late, since it brings NumPy and Pillow."""
    from poolcli import runner

    return runner.run(job, work)


def main() -> NoReturn:
    """Run the command line, print what went wrong in one line, and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_exit_code())


def _exit_code() -> int:
    """What every ending means to the shell."""
    from poolcli import console, endpoints, report
    from poolcli.errors import PoolError

    try:
        code = group.main(prog_name="poolcli", standalone_mode=False)
        sys.stdout.flush() if sys.stdout else None
        return code if isinstance(code, int) else report.EXIT_DONE
    except click.exceptions.NoArgsIsHelpError as usage:
        console.plain(usage.format_message())
        return report.EXIT_USAGE
    except click.UsageError as usage:
        verb = usage.ctx.command_path if usage.ctx else "poolcli"
        message = usage.format_message().rstrip(".").replace("\n", " ")
        console.error(message, f"see {verb} --help")
        return report.EXIT_USAGE
    except PoolError as refusal:
        console.error(refusal.message, refusal.remedy)
        return report.EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        console.error("interrupted", "nothing half-written was left")
        return report.EXIT_INTERRUPTED
    except Terminated:
        console.error("terminated", "nothing half-written was left")
        return report.EXIT_TERMINATED
    except BrokenPipeError:
        endpoints.silence_stdout()
        return report.EXIT_READER_GONE
    except OSError as fault:
        console.error(f"standard output can't be written: {fault.strerror}")
        endpoints.silence_stdout()
        return report.EXIT_FAILED
    except Exception as fault:  # the last resort: our own fault, in one line all the same
        console.error(f"poolcli failed: {type(fault).__name__}: {fault}", "please report it")
        if sys.argv.count("-v") > 1 or "-vv" in sys.argv:
            raise
        return report.EXIT_FAULT


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that nothing half-written stays."""
    raise Terminated
