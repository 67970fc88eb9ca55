"""Run jobs on a Dask cluster that exists, in batches.

Every task costs Dask some CPU time, whatever it does, and a task for each picture would cost about
as much as the picture.
"""

from __future__ import annotations

import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from poolcli.errors import PoolError
from poolcli.executors import ClusterLostError, Serial, Warn, ignore
from poolcli.executors.batch import Needs, Results, end_run, packed, run_batch
from poolcli.executors.cluster import (
    connect,
    for_worker,
    insecurity,
    needs_of,
    places_of,
)
from poolcli.report import Outcome

if TYPE_CHECKING:
    from distributed import Client, Future

    from poolcli.plan import Job
    from poolcli.run.work import Work

ANSWERING: Final = 30.0
"""Seconds in which the scheduler must answer a request while it is connected."""

CONNECTING: Final = 10.0
"""Seconds in which it must answer while the connection may be lost."""

ENDING: Final = 3.0
"""Seconds that are waited, at most, for the end of running batches after a second Ctrl-C."""

STEP: Final = 1.0
"""Seconds after which the connection and the number of workers are looked at again."""

IN_FLIGHT: Final = 2
"""The number of batches for each thread of a worker: one that it runs, and the next one."""

REMEDY: Final = "run it again with --skip-existing for the rest"


@dataclass(frozen=True, slots=True)
class Batches:
    """The limits of the size of batches.

    Attributes:
        seconds: the time that a batch should take.
        pictures: the largest number of pictures.
        bytes: the largest size of the inputs together.
        fewest: the smallest number of pictures, which is taken while their speed is unknown.
    """

    seconds: float = 2.0
    pictures: int = 256
    bytes: int = 64_000_000
    fewest: int = 1

    def size(self, seconds_each: float, left: int, places: int) -> int:
        """Return the number of pictures of the next batch.

        Args:
            seconds_each: the seconds that a picture takes; 0 if that is unknown.
            left: how many pictures are left.
            places: how many batches are in flight at the same time.
        """
        if not seconds_each:
            return self.fewest
        # Near the end batches get smaller, down to a tenth, so that all workers end together.
        most = self.seconds / seconds_each
        wanted = min(most, max(left / places, most / 10), self.pictures)
        return max(self.fewest, ceil(wanted))


@dataclass(frozen=True, slots=True)
class Dask:
    """Run jobs on a Dask cluster; see `Executor` for the contract.

    A job may run more than once: Dask repeats the batches of a worker that died.

    Attributes:
        address: the address of the scheduler, or `AUTO`.
        timeout: the seconds that a job may take, without the time that it waits for a worker.
        warn: called with a sentence if the cluster can't run jobs as it should.
        batches: how large batches are.
        patience: the seconds after which the lack of workers is told.
    """

    address: str
    timeout: float = inf
    warn: Warn = ignore
    batches: Batches = Batches()
    patience: float = 30.0

    def prepare(self) -> None:
        """Do nothing, since the workers exist."""

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes."""
        settled = [job for job in jobs if job.is_settled]
        others = [job for job in jobs if not job.is_settled]
        if not others:
            yield from Serial().run_all(settled, work, stopping=stopping)
            return
        client = connect(self.address)
        run = _Run(self, client, work, needs_of(others), deque(others))
        try:
            if warning := insecurity(client.scheduler.address):
                self.warn(warning)
            run.check_workers()
            yield from Serial().run_all(settled, work, stopping=stopping)
            yield from run.outcomes(stopping)
        finally:
            run.end()
            # Workers remove what their children leave, but not what is left if they are killed.
            # They may have come and gone between two looks at the cluster, so all runs do it.
            for job in others:
                job.target.remove_stale(once=True)


class _Batch(NamedTuple):
    """Some jobs that are sent together.

    Attributes:
        jobs: the jobs, with the paths as they were given.
        is_retry: whether it is a single job whose first workers have died.
    """

    jobs: list[Job]
    is_retry: bool = False

    def named(self, outcomes: list[Outcome]) -> Iterator[Outcome]:
        """Yield outcomes with the paths as they were given in place of absolute ones."""
        given = {one.target.absolute(): one for job in self.jobs for one in job.all_levels()}
        for outcome in outcomes:
            places = places_of(given[outcome.output])
            names = {place.absolute(): place.path for place in places}
            for key in ("input", "output", "indices", "blamed"):
                if (name := getattr(outcome, key)) in names:
                    setattr(outcome, key, names[name])
            yield outcome


@dataclass(slots=True)
class _Run:
    """The state of one run.

    Attributes:
        settings: the executor.
        client: the connection to the scheduler.
        work: the settings that are the same for all jobs.
        needs: what all workers must have.
        first: the jobs that have not been sent.
        retries: the jobs of batches whose workers died several times. They are sent one by one,
            after all others, so that only those fail that end their worker on their own.
        name: the name of the run.
        running: the batches that were sent.
        finished: the futures of batches that have ended in some way.
        lost: futures whose results were lost with a worker, and are computed again.
        workers: how many threads each worker has, by its address.
        seconds_each: the seconds that a picture takes; 0 before that is known.
        looked: when the cluster was looked at last.
        alone_since: since when there has been no worker; infinite after that was told.
        silent_since: since when the scheduler has not answered, or None.
    """

    settings: Dask
    client: Client
    work: Work
    needs: Needs
    first: deque[Job]
    retries: deque[Job] = field(default_factory=deque)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    running: dict[Future[bytes], _Batch] = field(default_factory=dict)
    finished: SimpleQueue[Future[bytes]] = field(default_factory=SimpleQueue)
    lost: list[Future[bytes]] = field(default_factory=list)
    workers: dict[str, int] = field(default_factory=dict)
    seconds_each: float = 0.0
    looked: float = -inf
    alone_since: float = field(default_factory=time.monotonic)
    silent_since: float | None = None

    def check_workers(self) -> None:
        """Refuse the run, before anything is written, if a worker lacks something.

        Workers that come later check themselves before each batch.

        Raises:
            PoolError: a worker lacks something.
        """
        try:
            self._ask(self.client.run, Needs.check, self.needs)
        except OSError:  # also of time: a worker is dying or busy
            return
        except Exception as fault:  # noqa: BLE001  # unpickling may fail in any way
            raise _unfit(fault) from None

    def outcomes(self, stopping: Callable[[], bool]) -> Iterator[Outcome]:
        """Send batches and yield outcomes until no job is waiting or running."""
        while True:
            is_stopping = stopping()
            if is_stopping:
                self.first.clear()
                self.retries.clear()
            self._look()
            self._send_batches()
            is_stuck = is_stopping and not self.workers
            if is_stuck or not (self.running or self.first or self.retries):
                return
            for future in self._wait():
                yield from self._receive(future)

    def end(self) -> None:
        """End all batches at once, and close the connection."""
        with suppress(Exception):  # the scheduler may be gone
            if self.running and self.client.status == "running":
                self._ask(self.client.run, end_run, self.name, seconds=ENDING)
                end = time.monotonic() + ENDING
                while self.running and (rest := end - time.monotonic()) > 0:
                    self.running.pop(self.finished.get(timeout=rest), None)
        with suppress(Exception):  # the scheduler cancels what its client leaves
            self.client.close(timeout=ENDING)

    def _ask(self, request: Callable[..., Any], *args: Any, seconds: float = ANSWERING) -> Any:
        """Ask the scheduler, and wait for its answer only so long."""
        return self.client.sync(request, *args, callback_timeout=seconds)

    def _look(self) -> None:
        """Look whether the scheduler and workers are there, once for each `STEP`.

        Raises:
            ClusterLostError: the scheduler has gone.
        """
        now = time.monotonic()
        if now < self.looked + STEP:
            return
        self.looked = now
        if self.client.status not in ("running", "connecting"):
            raise ClusterLostError("the Dask scheduler has gone", REMEDY)
        for future in self.lost:
            self._watch(future)
        self.lost.clear()
        try:
            if self.client.status == "running":
                self.workers = self._ask(self.client.nthreads, seconds=CONNECTING)
                self.silent_since = None
        except Exception:  # noqa: BLE001  # the connection is being lost: the next look tells
            self.silent_since = self.silent_since or now
            if now > self.silent_since + ANSWERING:
                raise ClusterLostError("the Dask scheduler doesn't answer", REMEDY) from None
        if self.workers:
            self.alone_since = now
        elif now > self.alone_since + self.settings.patience:
            self.alone_since = inf
            self.settings.warn(
                f"there has been no Dask worker for {self.settings.patience:g} seconds; "
                "poolcli waits for one"
            )

    def _send_batches(self) -> None:
        """Send as many batches as the workers can use."""
        if self.client.status != "running":
            return
        # Without a worker some are sent too: an adaptive cluster starts workers for them.
        places = IN_FLIGHT * max(sum(self.workers.values()), 1)
        while self.first and len(self.running) < places:
            self._send(_Batch(self._next_jobs(places)))
        if self.retries and not self.running:
            self._send(_Batch([self.retries.popleft()], is_retry=True))

    def _next_jobs(self, places: int) -> list[Job]:
        """Remove and return the jobs of the next batch."""
        batches = self.settings.batches
        count = batches.size(self.seconds_each, len(self.first), places)
        jobs = [self.first.popleft()]
        size = jobs[0].bytes
        while self.first and len(jobs) < count and size + self.first[0].bytes <= batches.bytes:
            jobs.append(self.first.popleft())
            size += jobs[-1].bytes
        return jobs

    def _send(self, batch: _Batch) -> None:
        """Send a batch to the scheduler."""
        content = packed([for_worker(job) for job in batch.jobs], self.work)
        timeout = self.settings.timeout
        future = self.client.submit(run_batch, self.name, self.needs, timeout, content, pure=False)
        self.running[future] = batch
        self._watch(future)

    def _watch(self, future: Future[bytes]) -> None:
        """Put a future into `finished` as soon as it has ended in some way."""
        future.add_done_callback(self.finished.put)

    def _wait(self) -> Iterator[Future[bytes]]:
        """Wait until batches have ended, or for one `STEP`; yield their futures."""
        with suppress(Empty):
            yield self.finished.get(timeout=STEP)
            while True:
                yield self.finished.get_nowait()

    def _receive(self, future: Future[bytes]) -> Iterator[Outcome]:
        """Yield the outcomes of a batch that has ended, or send its jobs again."""
        if future not in self.running:
            return
        status = future.status
        if status == "finished":
            yield from self._read(future)
        elif status == "error":
            yield from self._fail(self.running.pop(future), future.exception(timeout=ANSWERING))
        elif status == "cancelled":  # the connection was lost, or somebody restarts the workers
            self.first.extendleft(reversed(self.running.pop(future).jobs))
        else:
            self.lost.append(future)

    def _read(self, future: Future[bytes]) -> Iterator[Outcome]:
        """Yield the outcomes of a batch, and release its future."""
        try:
            results: Results = pickle.loads(future.result(timeout=ANSWERING))  # noqa: S301
        except Exception:  # noqa: BLE001  # its worker is being lost: Dask computes it again
            self.lost.append(future)
            return
        batch = self.running.pop(future)
        future.release()
        each = results.seconds / len(batch.jobs)
        self.seconds_each = (self.seconds_each + each) / 2 if self.seconds_each else each
        yield from batch.named(results.outcomes)

    def _fail(self, batch: _Batch, fault: BaseException | None) -> Iterator[Outcome]:
        """Yield failed outcomes for a job that has ended workers twice; else send it again.

        Raises:
            ClusterLostError: a worker can't run batches at all.
        """
        from distributed import KilledWorker

        if not isinstance(fault, KilledWorker):
            unfit = _unfit(fault)
            raise ClusterLostError(unfit.message, f"{unfit.remedy}, and {REMEDY}") from None
        if not batch.is_retry:
            self.retries.extend(batch.jobs)
            return
        from poolcli import run

        died = "the Dask workers that ran it died"
        for job in batch.jobs:
            for one in job.all_levels():
                yield run.failed_outcome(one, self.work, died, "is there enough memory?")


def _unfit(fault: BaseException | None) -> PoolError:
    """Return the error for a fault of a worker that can't run batches."""
    if isinstance(fault, PoolError):
        return fault
    text = f"{type(fault).__name__}: {fault}".partition("\n")[0]
    return PoolError(
        f"a Dask worker can't run poolcli ({text})", "install the same poolcli on all workers"
    )
