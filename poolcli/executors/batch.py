"""Run a batch of jobs on a worker of a Dask cluster, in child processes of that worker.

Only there a job can be ended at any moment, a decoder that crashes costs one picture and no Dask
worker, descriptor 2 belongs to one picture, and the worker may have any number of threads. Dask is
not imported here: it hands its workers plain bytes.
"""

from __future__ import annotations

import pickle
import socket
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcli import __version__
from poolcli.errors import PoolError
from poolcli.executors import workers_a_cpu
from poolcli.executors.processes import Processes
from poolcli.formats import extras
from poolcli.storage import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcli.plan import Job
    from poolcli.report import Outcome
    from poolcli.run.work import Work

MOST_SECONDS: Final = 1e9
"""The timeout if none is given. With a timeout the executor looks twice a second whether the run
was ended, and never runs a job in the process of the Dask worker."""

MOST_ENDED: Final = 1000
"""The number of ended runs that a worker remembers; it may live for months."""

_ended: dict[str, None] = {}
"""The runs whose batches are no longer wanted, the oldest first."""


class WorkerError(PoolError):
    """Raised if a Dask worker can't run batches as the client would."""


class EndedError(Exception):
    """Raised on a Dask worker if its run was ended by the user."""


class Results(NamedTuple):
    """The results of a batch.

    Attributes:
        outcomes: the outcomes of its jobs.
        seconds: the time that it took.
    """

    outcomes: list[Outcome]
    seconds: float


@dataclass(frozen=True, slots=True)
class Needs:
    """The requirements that a Dask worker must meet to run jobs as the client would.

    Attributes:
        versions: the client's versions of poolcli and of the libraries, by name.
        sample: one of the inputs that must be there, or None if no input is a local file.
    """

    versions: dict[str, str]
    sample: Place | None

    def check(self) -> None:
        """Refuse this process if it lacks something.

        Raises:
            WorkerError: it has other versions, or doesn't see the client's files.
        """
        host = socket.gethostname()
        here = versions()
        differing = [
            f"{name} {here[name]} (here {version})"
            for name, version in self.versions.items()
            if here[name] != version
        ]
        if differing:
            raise WorkerError(
                f"a Dask worker on {host} has other versions: {', '.join(differing)}",
                "install the same versions on all workers",
            )
        if self.sample is not None and self.sample.status().kind != "file":
            raise WorkerError(
                f"a Dask worker on {host} can't see {self.sample.path}",
                "mount the same folders on all workers",
            )


@cache
def versions() -> dict[str, str]:
    """Return the versions of what decides the bytes of results; releases of one Python agree."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"poolcli": __version__, "Python": python, **dict(extras.versions())}


def packed(jobs: Sequence[Job], work: Work) -> bytes:
    """Return a batch as `run_batch` takes it."""
    return pickle.dumps((list(jobs), work))


def run_batch(run: str, needs: Needs, timeout: float, batch: bytes) -> bytes:
    """Run a batch in child processes of this Dask worker, and return its pickled `Results`.

    There is one, or several if they mostly wait for a network. They are kept for the next batch.
    If one dies, another one retries the job, once.

    Args:
        run: the name of the run, by which `end_run` ends it.
        needs: what this worker must have in common with the client.
        timeout: the seconds that a job may take.
        batch: the jobs and the work, packed.

    Raises:
        WorkerError: this worker lacks something.
        NoWorkersError: no child can be started.
        EndedError: the run was ended.
    """
    needs.check()
    began = time.perf_counter()

    def stopping() -> bool:
        if run in _ended:
            raise EndedError
        return False

    jobs, work = pickle.loads(batch)  # noqa: S301  # it comes from the client of this run
    executor = Processes(
        workers_a_cpu(jobs), timeout=min(timeout, MOST_SECONDS), keeps_workers=True
    )
    with closing(executor.run_all(jobs, work, stopping=stopping)) as outcomes:
        results = Results(list(outcomes), 0)
    return pickle.dumps(results._replace(seconds=time.perf_counter() - began))


def end_run(run: str) -> None:
    """End the batches of a run on this worker, those that are running and those that are not."""
    _ended[run] = None
    while len(_ended) > MOST_ENDED:
        _ended.pop(next(iter(_ended)))
