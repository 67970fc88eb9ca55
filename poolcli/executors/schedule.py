"""Decide which job is started next, and whether the job of a dead worker is retried.

It starts no processes itself, so that every order of events can be tested quickly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcli.executors import NoWorkersError

if TYPE_CHECKING:
    from poolcli.plan import Job

MOST_FAILED_STARTS: Final = 3
"""The number of workers in a row that may die before they are ready. Then the run ends, since
workers seem unable to start at all, and would be started for ever."""


MOST_TOGETHER: Final = 16
"""The most small jobs that a worker receives at once. Its process and this one then wake each other
less often: it saves an eighth of the time of tiny pictures, of which 8 save nearly as much."""

BYTES_TOGETHER: Final = 1 << 16
"""The most bytes of the inputs of such jobs."""

ROUNDS: Final = 8
"""Every worker receives jobs at least so many times, if there are as many, so that all of them end
at about the same time."""


class Failure(NamedTuple):
    """Why a job is given up, and what can be done about it."""

    message: str
    remedy: str


class Schedule:
    """The jobs of a run that have not been started yet, and those that are retried.

    A job whose worker died is retried once, after all others, while no other job runs. If memory
    was short because several jobs ran together, it may be enough for one; if it is not, no other
    job is lost.

    Attributes:
        first: the jobs that no worker has received.
        retries: the jobs whose worker has died.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Store all jobs of a run, in the order in which they will be started."""
        self.first = deque(jobs)
        self.retries: deque[Job] = deque()
        self._retried: Job | None = None
        self._failed_starts = 0

    @property
    def is_empty(self) -> bool:
        """Return whether there is no job to start."""
        return not self.first and not self.retries

    def stop(self) -> None:
        """Remove all jobs that have not been started."""
        self.first.clear()
        self.retries.clear()

    def workers_needed(self, running: int, most: int) -> int:
        """Return how many workers there should be.

        Args:
            running: the number of jobs that are running.
            most: the largest number of workers.
        """
        if self.first:
            return min(most, running + len(self.first))
        return running or min(1, len(self.retries))

    def next_job(self, running: int, most: int) -> Job | None:
        """Remove and return the next job, or return None if none may start now.

        Args:
            running: the number of jobs that are running.
            most: the largest number of workers.
        """
        if self.first:
            return self.first.popleft() if running < most else None
        if not self.retries or running:
            return None
        self._retried = self.retries.popleft()
        return self._retried

    def next_jobs(self, running: int, most: int) -> list[Job]:
        """Remove and return the jobs that a worker receives next; none if none may start now.

        They are one job, or several small ones whose sizes are known.

        Args:
            running: the number of workers that run jobs.
            most: the largest number of workers.
        """
        count = min(MOST_TOGETHER, len(self.first) // (ROUNDS * most))
        job = self.next_job(running, most)
        if job is None:
            return []
        jobs, room = [job], BYTES_TOGETHER - job.bytes
        while job.bytes and len(jobs) < count and 0 < self.first[0].bytes <= room:
            jobs.append(self.first.popleft())
            room -= jobs[-1].bytes
        return jobs

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Take back jobs that a worker has received but not started; they are started next."""
        self.first.extendleft(reversed(jobs))

    def worker_answered(self) -> None:
        """Reset the count of failed starts, since a worker has sent a message."""
        self._failed_starts = 0

    def worker_died(self, job: Job | None, cause: str, *, was_ready: bool) -> Failure | None:
        """Schedule the job of a dead worker for a retry, or return why the job fails.

        Args:
            job: the job that the worker ran, or None.
            cause: how the worker ended, in words.
            was_ready: whether the worker had sent that it was ready for jobs.

        Raises:
            NoWorkersError: too many workers in a row have died before they were ready.
        """
        if job is not None:
            # `job.retry` doesn't tell: on a cluster it is set for the first try too.
            if job is self._retried:
                return Failure(f"its worker died twice ({cause})", "is there enough memory?")
            self.retries.append(job._replace(retry=True))
        elif not was_ready:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise NoWorkersError.because(f"they die at their start: {cause}")
        return None


def too_slow(timeout: float) -> Failure:
    """Return why a job fails that exceeded the timeout. A retry would exceed it again."""
    unit = "second" if timeout == 1 else "seconds"
    return Failure(f"it took longer than {timeout:g} {unit}", "raise --timeout")
