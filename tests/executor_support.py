"""Jobs that raise, hang or kill their worker, for executors of any kind.

Workers import this module to unpickle such jobs: it imports nothing that is slow to import.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from poolcli.formats import by_name
from poolcli.plan import Job
from poolcli.storage import place_of
from poolcli.storage.local import LocalFile


def job(source: Path, target: Path, **changes: Any) -> Job:
    """Return a job from a file to a PNG in a folder."""
    settings: dict[str, Any] = {"format": by_name("png")} | changes
    return Job(place_of(str(source)), LocalFile(str(target), in_folder=True), **settings)


class AwkwardError(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


ERRORS: Final[dict[str, Exception]] = {
    "MemoryError": MemoryError(),
    "AwkwardError": AwkwardError(reason="odd"),
    "ZeroDivisionError": ZeroDivisionError(),
    "OSError": OSError(28, "No space left on device"),
    "ValueError": ValueError("caf\udce9"),
}


class RaisingSource(LocalFile):
    """A source that raises the error that its path names when it is opened."""

    __slots__ = ()

    def open(self, *_: Any, **__: Any) -> NoReturn:
        raise ERRORS[os.path.basename(self.path)]


def raising(error: str, folder: Path) -> Job:
    """Return a job that raises an error when its input is opened."""
    return job(folder, folder / f"{error}.png")._replace(source=RaisingSource(str(folder / error)))


class Mischief(Job):
    """A job that does to the worker that receives it what its remedy says.

    That is one of: die, die once, hang; or "die in Dask", which kills the worker of a cluster that
    passes the job on to its child, where the others take effect.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (self.remedy, _mark(self), tuple(self))


def mischief(what: str, one: Job) -> Job:
    """Return a job that doesn't do what it should, but this."""
    return Mischief(*one)._replace(remedy=what)


def attempts(one: Job) -> int:
    """Return how many workers have received a job of mischief."""
    return os.path.getsize(_mark(one)) if os.path.exists(_mark(one)) else 0


def _mark(one: Job) -> str:
    return f"{one.source.path}.received"


def _receive(what: str, mark: str, content: tuple[Any, ...]) -> Job:
    if (what == "die in Dask") != ("distributed" in sys.modules):
        return Mischief(*content)
    is_first = not os.path.exists(mark)
    with open(mark, "ab") as stream:
        stream.write(b".")
    if what == "hang":
        time.sleep(600)
    elif what.startswith("die") and (is_first or what != "die once"):
        os.kill(os.getpid(), signal.SIGKILL)
    return Job(*content)


def never() -> bool:
    """Go on: what most runs ask before they start a job."""
    return False


def after(number: int, outcomes: list[Any]) -> Callable[[], bool]:
    """Return a question that is answered with yes once there are so many outcomes."""
    return lambda: len(outcomes) >= number
