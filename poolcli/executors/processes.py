"""Run jobs in worker processes, each of which receives jobs over its own connection.

A worker has one job at a time, or a few small ones. `concurrent.futures` does not tell which worker
runs a job, can't kill a worker, and fails all waiting jobs when a worker dies. Here only the job of
that worker fails.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcli.executors import NoWorkersError, Serial, Warn, ignore
from poolcli.executors.schedule import Failure, Schedule, too_slow
from poolcli.executors.server import READY, Channel, ForkServer
from poolcli.report import Outcome

if TYPE_CHECKING:
    from poolcli.plan import Job
    from poolcli.run.work import Work

LONGEST_WAIT: Final = 3600.0
"""The longest wait, in seconds. A timeout may be longer than the system's calls allow."""

LONGEST_STEP: Final = 0.5
"""The longest wait, in seconds, while a job has a deadline; see `RunningTime`."""


class RunningTime:
    """Measure the seconds in which this process ran.

    Time in which it was stopped, by Ctrl-Z or because the machine slept, must not count for
    timeouts. Between two calls at most `LONGEST_STEP` seconds are counted, so that calls must
    follow each other more often than that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin at 0, by a clock that may run on while this process is stopped."""
        self._clock, self._last, self._total = clock, clock(), 0.0

    def __call__(self) -> float:
        """Return the seconds since the beginning."""
        now = self._clock()
        self._total += min(now - self._last, LONGEST_STEP)
        self._last = now
        return self._total


@dataclass(frozen=True, slots=True)
class Processes:
    """Run jobs in worker processes; see `Executor` for the contract.

    Attributes:
        count: how many workers there are at the same time, at most.
        timeout: the seconds that a job may take; then its worker is killed and the job fails.
        warn: called with a sentence if jobs are run in this process instead.
        keeps_workers: whether idle workers are kept for the next run of this process.
        clock: makes the clock of a run, by which jobs exceed the timeout.
    """

    count: int
    timeout: float = inf
    warn: Warn = ignore
    keeps_workers: bool = False
    clock: Callable[[], Callable[[], float]] = RunningTime

    def prepare(self) -> None:
        """Start the fork server, which imports NumPy and Pillow for all workers."""
        with suppress(OSError):  # `run_all` tries again, and tells if it fails too
            _crews.append(_Crew(ForkServer()))

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes."""
        settled = [job for job in jobs if job.is_settled]
        yield from Serial().run_all(settled, work, stopping=stopping)
        sharing = min(self.count, len(jobs) - len(settled))
        run = _Run(self, work, Schedule(job for job in jobs if not job.is_settled), sharing)
        try:
            yield from run.outcomes(stopping)
            return
        except NoWorkersError as fault:
            if self.timeout < inf:  # only a job in another process can be given up
                raise
            reason = fault.message
        finally:
            run.end()
        self.warn(f"{reason}; pictures are pooled in one process")
        # A job whose worker has died might end this process too.
        for job in run.schedule.retries:
            failure = Failure(f"its worker died, and {reason}", "run it again")
            yield from run.failed(job, failure)
        yield from Serial().run_all([*run.schedule.first], work, stopping=stopping)


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker process.

    Attributes:
        number: its number, by which the fork server knows it.
        channel: the connection to it.
        server: the fork server that has started it.
        jobs: the jobs that it has received and not answered.
        work: the settings that it has received, or None.
        deadline: the time at which it is killed, by the clock of the run.
        is_ready: whether it has sent `READY`.
    """

    number: int
    channel: Channel
    server: ForkServer
    jobs: Sequence[Job] = ()
    work: Work | None = None
    deadline: float = inf
    is_ready: bool = False

    def start(self, jobs: Sequence[Job], work: Work, sharing: int, deadline: float) -> None:
        """Send jobs to the worker, and the work unless it has it already."""
        self.jobs, self.deadline = jobs, deadline
        new_work, self.work = None if work is self.work else work, work
        with suppress(OSError):  # the worker has died; `_receive` will find the end of the channel
            self.channel.send((jobs, new_work, sharing))


class _Crew(NamedTuple):
    """A fork server and its idle workers, which wait for a run.

    Attributes:
        server: the server.
        workers: the workers.
    """

    server: ForkServer
    workers: tuple[_Worker, ...] = ()


_crews: list[_Crew] = []
"""Workers that `Processes.prepare` has started, or that earlier runs have kept. Threads may share
the list: each run removes the crew that it takes."""


@dataclass(slots=True)
class _Run:
    """The state of one run.

    Attributes:
        settings: how many workers there may be, and how long a job may take.
        work: the settings that are the same for all jobs.
        schedule: the jobs that have not been started.
        sharing: how many workers share the CPUs.
        most: how many workers there may be, which is fewer if the system refuses to start them.
        server: the fork server, or None before it is needed.
        workers: the living workers.
        clock: the time by which deadlines are set.
    """

    settings: Processes
    work: Work
    schedule: Schedule
    sharing: int
    most: int = 0
    server: ForkServer | None = None
    workers: list[_Worker] = field(default_factory=list)
    clock: Callable[[], float] = field(init=False)

    def __post_init__(self) -> None:
        """Take over the server, and workers, that were prepared or kept."""
        self.most, self.clock = self.settings.count, self.settings.clock()
        with suppress(IndexError):
            self.server, workers = _crews.pop()
            self.workers = list(workers)

    @property
    def running(self) -> int:
        """The number of workers that run jobs."""
        return sum(bool(worker.jobs) for worker in self.workers)

    def outcomes(self, stopping: Callable[[], bool]) -> Iterator[Outcome]:
        """Start jobs and yield outcomes until no job is waiting or running."""
        while True:
            if stopping():
                self.schedule.stop()
            self._start_workers()
            self._start_jobs()
            if not self.running and self.schedule.is_empty:
                return
            yield from self._wait()

    def end(self) -> None:
        """End all workers and the server at once, apart from those that are kept."""
        keeps = self.settings.keeps_workers
        for worker in list(self.workers):
            if not keeps or worker.jobs or worker.server is not self.server:
                self._kill(worker)
        if keeps and self.server is not None:
            _crews.append(_Crew(self.server, tuple(self.workers)))
        else:
            self._end_server()

    def _end_server(self) -> None:
        """End the fork server, if there is one; the next worker needs another."""
        if self.server is not None:
            self.server.close()
            self.server = None

    def _start_workers(self) -> None:
        """Start as many workers as the schedule needs and the system allows."""
        while len(self.workers) < self.schedule.workers_needed(self.running, self.most):
            try:
                if self.server is None:
                    self.server = ForkServer()
                number, channel = self.server.start_worker()
                self.workers.append(_Worker(number, channel, self.server))
            except ConnectionError:
                self._end_server()
                self._receive_death((), None, was_ready=False)
            except OSError as fault:
                self._manage_with_fewer(NoWorkersError.because(fault.strerror or str(fault)))

    def _manage_with_fewer(self, fault: NoWorkersError) -> None:
        """Start no more workers after a fault, or raise it if there are none."""
        self.most = len(self.workers)
        if not self.most:
            raise fault

    def _start_jobs(self) -> None:
        """Send jobs to the workers that are ready and idle."""
        for worker in self.workers:
            if worker.is_ready and not worker.jobs:
                jobs = self._next_jobs()
                if jobs:
                    deadline = self.clock() + self.settings.timeout
                    worker.start(jobs, self.work, self.sharing, deadline)

    def _next_jobs(self) -> list[Job]:
        """Remove the jobs that a worker receives next from the schedule, and return them."""
        if self.settings.timeout == inf:
            return self.schedule.next_jobs(self.running, self.most)
        # Nothing tells which of several jobs has exceeded the timeout.
        job = self.schedule.next_job(self.running, self.most)
        return [] if job is None else [job]

    def _wait(self) -> Iterator[Outcome]:
        """Wait until a worker has sent a message, has died or has exceeded its deadline."""
        deadline = min(worker.deadline for worker in self.workers)
        longest = LONGEST_WAIT if deadline == inf else LONGEST_STEP
        seconds = max(0.0, min(deadline - self.clock(), longest))
        answers = select.poll()
        for worker in self.workers:
            answers.register(worker.channel, select.POLLIN)
        answered = {descriptor for descriptor, _ in answers.poll(ceil(seconds * 1000))}
        now = self.clock()
        for worker in list(self.workers):
            if worker.channel.fileno() in answered:
                yield from self._receive(worker)
            elif worker.deadline <= now:
                self._kill(worker)
                for job in worker.jobs:
                    yield from self.failed(job, too_slow(self.settings.timeout))

    def _receive(self, worker: _Worker) -> Iterator[Outcome]:
        """Receive the message of a worker; the end of its channel means that it has died."""
        try:
            message = worker.channel.receive()
        except EOFError:
            code = self._kill(worker)
            yield from self._receive_death(worker.jobs, code, was_ready=worker.is_ready)
            return
        self.schedule.worker_answered()
        if message == READY:
            worker.is_ready = True
            return
        number, outcomes = message
        self.schedule.give_back(worker.jobs[number:])
        worker.jobs, worker.deadline = (), inf
        yield from outcomes

    def _receive_death(
        self, jobs: Sequence[Job], code: int | None, *, was_ready: bool
    ) -> list[Outcome]:
        """Return failed outcomes for the jobs of a dead worker, apart from those to be retried.

        All jobs that it had received are retried: it may have run some of them before it died.
        """
        outcomes: list[Outcome] = []
        for job in jobs or (None,):
            try:
                failure = self.schedule.worker_died(job, _cause(code), was_ready=was_ready)
            except NoWorkersError as fault:
                self._manage_with_fewer(fault)
                return []
            if job is not None and failure is not None:
                outcomes += self.failed(job, failure)
        return outcomes

    def failed(self, job: Job, failure: Failure) -> Iterator[Outcome]:
        """Yield the outcomes of a job that is given up."""
        from poolcli import run

        for one in job.all_levels():
            yield run.failed_outcome(one, self.work, *failure)

    def _kill(self, worker: _Worker) -> int | None:
        """Kill a worker, remove the hidden files that it has not committed; return its exit code.

        The exit code is None if the fork server has died: then the next worker needs a new one.
        """
        code = worker.server.end_worker(worker.number)
        if code is None and worker.server is self.server:
            self._end_server()
        worker.channel.close()
        targets = [one.target for job in worker.jobs for one in job.all_levels()]
        for target in {os.path.dirname(one.path): one for one in targets}.values():
            target.remove_stale()
        # This comes last: if Ctrl-C interrupts the lines above, `end` repeats them.
        self.workers.remove(worker)
        return code


def _cause(code: int | None) -> str:
    """Return how a process ended, in words, from its exit code."""
    if code is None:
        return "together with the process that starts workers"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
