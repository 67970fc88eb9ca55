"""Many jobs to their outcomes, in this process or in others, behind one contract.

A new executor is one file with one class, and a line in `choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from poolcli.plan import Job
    from poolcli.report import Outcome
    from poolcli.run import Work

WORTHWHILE_BYTES: Final = 8_000_000
"""Inputs that are smaller together are pooled sooner than workers have started; measured."""


class Executor(Protocol):
    """Run the jobs of a plan. It is a small frozen value, and holds nothing between two runs.

    Jobs, work and outcomes can be pickled, and are all that an executor may share with the places
    where jobs run: these may be other processes, or other machines.
    """

    def prepare(self) -> None:
        """Begin to start what the jobs will run in, and don't wait for it; calling it is optional.

        The caller imports what this process needs while that starts.

        Raises:
            RuntimeError: the system refuses to start it.
        """

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes in the order in which they finish.

        - Every job ends in exactly one outcome, those that need no work included, whatever
          happens to it: a failure, a timeout or the death of a worker costs that job only.
        - Jobs are started in the order given. Which outcome a job has, and the bytes it writes,
          depend on the job and the work alone.
        - Before a job is started, ``stopping`` is asked. Once it returns True no job is started,
          those that are running are finished, and the others have no outcome.
        - Closing the generator ends all workers at once. What they have not committed to storage
          is removed.

        Args:
            jobs: what to do.
            work: how to do it, the same for all.
            stopping: whether to start no more jobs; it must return at once.

        Raises:
            RuntimeError: no worker can be started.
        """


@dataclass(frozen=True, slots=True)
class Serial:
    """The executor without workers: `Executor` states what it promises."""

    def prepare(self) -> None:
        """Do nothing, since nothing has to be started."""

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes."""
        from poolcli import run  # imports NumPy, for which `prepare` must not wait

        for job in jobs:
            if stopping():
                return
            yield run.run_job(job, work)


def choose(
    jobs: Sequence[Job],
    *,
    count: int | None = None,
    timeout: float | None = None,
    worthwhile_bytes: int = WORTHWHILE_BYTES,
) -> Executor:
    """Return the executor that suits a plan.

    Worker processes take time to start, so they are used only for several large inputs, or for a
    timeout, which can be enforced only on another process.

    Args:
        jobs: the plan.
        count: the most jobs that run at a time; None for the CPUs that this process may use.
        timeout: the seconds after which a job is given up, or None.
        worthwhile_bytes: the size of all inputs together from which processes are worthwhile.
    """
    sizes = [job.bytes for job in jobs if not job.is_settled]
    is_large = len(sizes) > 1 and sum(sizes) >= worthwhile_bytes
    if not sizes or (timeout is None and not is_large):
        return Serial()
    if count is None:
        from poolcli.executors.cpus import usable_cpus

        count = usable_cpus()
    if timeout is None and count == 1:
        return Serial()
    # multiprocessing takes several milliseconds to import, which most runs can do without.
    from poolcli.executors.processes import Processes

    return Processes(count) if timeout is None else Processes(count, timeout)
