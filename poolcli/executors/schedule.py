"""Decide which job is started next, and what follows when a worker dies. No processes here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from poolcli.plan import Job

MOST_FAILED_STARTS: Final = 3
"""How many workers may die in a row before they are ready, until that is a fault of ours."""


class Failure(NamedTuple):
    """Why a job is given up, and what can be done about it."""

    message: str
    remedy: str


class Schedule:
    """The jobs of a run that have not been started yet, and those that are retried.

    A job whose worker died is retried once, after all others and alone: where several needed more
    memory together than there is, one may have enough, and no other job is lost if it kills its
    worker again.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Begin with all jobs of a run, in the order in which they are started."""
        self._first = deque(jobs)
        self._retries: deque[Job] = deque()
        self._failed_starts = 0

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no job to start."""
        return not self._first and not self._retries

    def stop(self) -> None:
        """Start no more jobs."""
        self._first.clear()
        self._retries.clear()

    def workers_needed(self, running: int, most: int) -> int:
        """Return how many workers are needed while some jobs are running."""
        if self._first:
            return min(most, running + len(self._first))
        return running or min(1, len(self._retries))

    def next_job(self, running: int, most: int) -> Job | None:
        """Take the job that may start while others are running, or None if none may."""
        if self._first:
            return self._first.popleft() if running < most else None
        return self._retries.popleft() if self._retries and not running else None

    def worker_answered(self) -> None:
        """Take note that workers can start, since one has sent a message."""
        self._failed_starts = 0

    def worker_died(self, job: Job | None, cause: str, *, was_ready: bool) -> Failure | None:
        """Retry the job of a dead worker, or return why it fails.

        Args:
            job: the job that it ran, or None.
            cause: how it ended, in words.
            was_ready: whether it had sent that it was ready for jobs.

        Raises:
            RuntimeError: too many workers in a row have died before they were ready.
        """
        if job is not None:
            if job.again:
                return Failure(f"its worker died twice ({cause})", "is there memory?")
            self._retries.append(job._replace(again=True))
        elif not was_ready:
            self._failed_starts += 1
            if self._failed_starts == MOST_FAILED_STARTS:
                raise RuntimeError(f"workers die at their start ({cause})")
        return None


def too_slow(timeout: float) -> Failure:
    """Return why a job that ran into a timeout fails. It is not retried: it would be as slow."""
    unit = "second" if timeout == 1 else "seconds"
    return Failure(f"it took longer than {timeout:g} {unit}", "raise --timeout")
