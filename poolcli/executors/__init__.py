"""Run many jobs, in this process or in others, behind one contract.

A new executor is one file with one class, and a line in `choose`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from poolcli.errors import PoolError

if TYPE_CHECKING:
    from poolcli.plan import Job
    from poolcli.report import Outcome
    from poolcli.run.work import Work

WORTHWHILE_BYTES: Final = 8_000_000
"""The total size of inputs from which worker processes save more time than their start takes; the
value was measured."""

USUAL_BYTES: Final = 1_000_000
"""The size to expect of an input on another machine, if it wasn't asked for its size."""

WORKERS_A_CPU: Final = 4
"""The number of workers for each CPU if inputs or outputs are on another machine, since they mostly
wait for it: 100 pictures took 0.5 to 0.6 of the time if each request took 30 ms."""

Warn: TypeAlias = Callable[[str], object]


def ignore(_warning: str) -> None:
    """Do nothing with a warning."""


class NoWorkersError(PoolError):
    """Raised if no worker can be started."""

    @classmethod
    def because(cls, reason: str) -> NoWorkersError:
        """Return the error for a reason."""
        remedy = "leave out --timeout (or POOLCLI_TIMEOUT), which needs one"
        return cls(f"no worker can be started ({reason})", remedy)


class ClusterLostError(NoWorkersError):
    """Raised if a cluster can't be used any more, in the middle of a run."""


class Executor(Protocol):
    """Run the jobs of a plan. An executor is a frozen value: it keeps no state between two runs.

    Jobs, work and outcomes can be pickled, and are all that an executor may share with the places
    where jobs run: these may be other processes, or other machines.
    """

    def prepare(self) -> None:
        """Begin to start worker processes, without waiting for them; calling it is optional.

        While they start, the caller imports the modules that its own process needs.
        """

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes in the order in which they finish.

        - Every job has exactly one outcome, or one for each of its levels, also if it needs no
          work. A failure, a timeout or the death of a worker affects that job only.
        - Jobs are started in the order given. Their outcomes and the bytes they write depend on
          the job and the work alone, not on the executor or the number of workers.
        - Before a job is started, ``stopping`` is called. Once it returns True no job is started,
          those that are running are finished, and the others have no outcome. Small jobs may be
          started together: as many as a worker begins in a twentieth of a second.
        - Closing the generator ends all workers at once, and removes the files that they have not
          committed to storage.

        Args:
            jobs: the jobs.
            work: the settings that are the same for all jobs.
            stopping: returns, without waiting, whether no more jobs should be started.

        Raises:
            NoWorkersError: no worker can be started, and there is a timeout, for which jobs can't
                be run in this process; or a cluster is lost. The jobs that have no outcome yet may
                have been run.
        """


@dataclass(frozen=True, slots=True)
class Serial:
    """Run jobs one after the other in this process; see `Executor` for the contract."""

    def prepare(self) -> None:
        """Do nothing, since there are no workers."""

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes."""
        # It imports NumPy, which has to wait until workers are starting.
        from poolcli.run import run_levels

        for job in jobs:
            if stopping():
                return
            yield from run_levels(job, work)


def choose(
    jobs: Sequence[Job],
    *,
    count: int | None = None,
    timeout: float | None = None,
    scheduler: str | None = None,
    is_shared: bool = False,
    warn: Warn = ignore,
    worthwhile_bytes: int = WORTHWHILE_BYTES,
) -> Executor:
    """Return the fastest executor for a plan.

    Worker processes take time to start, so they are used only for several large inputs, or for a
    timeout: only a job in another process can be ended at any moment.

    Args:
        jobs: the plan.
        count: how many jobs run at the same time, at most; None for the usable CPUs.
        timeout: the seconds that a job may take, or None.
        scheduler: the address of the scheduler of a Dask cluster, or None for this machine.
        is_shared: whether all machines of the cluster see the same local files.
        warn: called with a sentence if the executor can't run jobs as it should.
        worthwhile_bytes: the total size of inputs from which worker processes are used.

    Raises:
        PoolError: the plan can't be carried out by the cluster.
    """
    if scheduler is not None:
        from poolcli.executors.cluster import check_places
        from poolcli.executors.dask import Dask

        check_places(jobs, is_shared=is_shared)
        return Dask(scheduler, inf if timeout is None else timeout, warn)
    if timeout is None and len(jobs) == 1:
        return Serial()
    active = [job for job in jobs if not job.is_settled]
    sizes = [job.bytes or USUAL_BYTES * job.source.is_remote for job in active]
    is_large = len(sizes) > 1 and sum(sizes) >= worthwhile_bytes
    if not sizes or (timeout is None and not is_large):
        return Serial()
    if count is None:
        from poolcli.cpus import usable_cpus

        count = usable_cpus() * workers_a_cpu(active)
    if timeout is None and (count == 1 or not hasattr(os, "fork")):
        return Serial()
    # The import of sockets takes several milliseconds, and most runs don't need it.
    from poolcli.executors.processes import Processes

    return Processes(count, inf if timeout is None else timeout, warn)


def workers_a_cpu(jobs: Sequence[Job]) -> int:
    """Return how many worker processes share a CPU: several if they mostly wait for a network."""
    is_remote = any(job.source.is_remote or job.target.is_remote for job in jobs)
    return WORKERS_A_CPU if is_remote else 1
