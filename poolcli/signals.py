"""Handle signals: Ctrl-C, SIGTERM and SIGHUP end a run without leaving incomplete files."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


class Terminated(BaseException):
    """Raised by the handler of SIGTERM and SIGHUP. Like KeyboardInterrupt, it is no `Exception`.

    Attributes:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        """Store the number."""
        super().__init__(number)
        self.number = number


ending: list[BaseException] = []
"""The exceptions that handlers of signals have raised. A library, such as an import that fails, may
turn them into others, or drop them."""


def exit_code(fault: BaseException) -> int:
    """Return the exit code of an exception that the handler of a signal has raised."""
    return 128 + int(getattr(fault, "number", signal.SIGINT))


class Interrupts:
    """The end of a run before its plan is done.

    Attributes:
        stop: whether no more pictures are started, because of Ctrl-C or of ``--fail-fast``.
        interrupted: whether Ctrl-C was pressed.
    """

    stop = interrupted = False


@contextmanager
def interrupts_of(*, is_batch: bool, tell: Callable[[str], None]) -> Iterator[Interrupts]:
    """Handle Ctrl-C while pictures are pooled.

    It raises KeyboardInterrupt; but in a batch the first one lets the started pictures be finished.
    A shell lets background commands, those that end in ``&``, ignore Ctrl-C: so it stays.

    Args:
        is_batch: whether there are several pictures.
        tell: prints a line; it is called in a handler of a signal.
    """
    interrupts, previous = Interrupts(), signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN:
        yield interrupts
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        """Ask for the end of the run; the next Ctrl-C raises KeyboardInterrupt as usual."""
        interrupts.stop = interrupts.interrupted = True
        signal.signal(signal.SIGINT, terminate)
        tell("poolcli: finishing the started pictures; press Ctrl-C again to stop at once")

    signal.signal(signal.SIGINT, handle if is_batch else terminate)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


def terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """Raise an exception, so that `finally` blocks remove incomplete files."""
    ending.append(KeyboardInterrupt() if number == signal.SIGINT else Terminated(number))
    raise ending[-1]


def ignore_signals(lost: sys.UnraisableHookArgs) -> None:
    """Print no traceback if a signal came while Python ran a callback, whose exceptions it drops.

    The exception is in `ending`.
    """
    if not isinstance(lost.exc_value, KeyboardInterrupt | Terminated):
        sys.__unraisablehook__(lost)
