"""Run jobs in worker processes, each with one pipe and one job at a time.

`concurrent.futures` neither tells which worker runs a job nor lets one be killed, and the death
of one of its workers fails all jobs that are waiting. Here it costs that worker's job only.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

from poolcli.executors import Serial
from poolcli.executors.schedule import Failure, Schedule, too_slow
from poolcli.report import Outcome

if TYPE_CHECKING:
    from poolcli.plan import Job
    from poolcli.run import Work

LONGEST_WAIT: Final = 3600.0
"""Seconds to wait at a time: the system's calls refuse times as long as a timeout may be."""

READY: Final = "ready"

PRELOADED: Final = ("poolcli.run", "poolcli.cli")
"""What the fork server imports once for all workers: their work, and their main module's needs."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The executor with worker processes: `Executor` states what it promises.

    Attributes:
        count: the most workers at a time.
        timeout: the seconds after which a job is given up and its worker killed.
    """

    count: int
    timeout: float = inf

    def prepare(self) -> None:
        """Start the fork server, which imports NumPy and Pillow for all workers."""
        if _context().get_start_method() == "forkserver":
            from multiprocessing import forkserver

            with _starting():
                forkserver.ensure_running()

    def run_all(
        self, jobs: Sequence[Job], work: Work, *, stopping: Callable[[], bool]
    ) -> Generator[Outcome, None, None]:
        """Run all jobs and yield their outcomes."""
        settled = [job for job in jobs if job.is_settled]
        yield from Serial().run_all(settled, work, stopping=stopping)
        run = _Run(self, work, Schedule(job for job in jobs if not job.is_settled))
        try:
            yield from run.outcomes(stopping)
        finally:
            run.kill_all()


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker process.

    Attributes:
        process: the process.
        pipe: our end of its pipe.
        job: the job that it runs, or None.
        deadline: when it is killed, by the monotonic clock.
        is_ready: whether it has sent that it is ready for jobs.
    """

    process: Any
    pipe: Connection
    job: Job | None = None
    deadline: float = inf
    is_ready: bool = False

    def start(self, job: Job, timeout: float) -> None:
        """Send it a job to run."""
        self.job = job
        self.deadline = time.monotonic() + timeout
        with suppress(OSError):  # it has died, which the next wait on its pipe tells
            self.pipe.send(job)


@dataclass(slots=True)
class _Run:
    """One run with its workers.

    Attributes:
        settings: how many workers there may be, and how long a job may take.
        work: what workers do with every job.
        schedule: the jobs that have not been started.
        workers: those that live.
    """

    settings: Processes
    work: Work
    schedule: Schedule
    workers: list[_Worker] = field(default_factory=list)

    @property
    def running(self) -> int:
        """Return how many workers run a job."""
        return sum(worker.job is not None for worker in self.workers)

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

    def kill_all(self) -> None:
        """End all workers at once."""
        for worker in list(self.workers):
            self._kill(worker)

    def _start_workers(self) -> None:
        """Start as many workers as the schedule has a use for."""
        context = _context()
        while len(self.workers) < self.schedule.workers_needed(self.running, self.settings.count):
            with _starting():
                ours, theirs = context.Pipe()
                process = context.Process(target=_run_worker, args=(theirs, self.work), daemon=True)
                process.start()
                self.workers.append(_Worker(process, ours))
            # The worker has its own copy. With ours open, its death would not end the pipe.
            theirs.close()

    def _start_jobs(self) -> None:
        """Send jobs to workers that are ready for one."""
        for worker in self.workers:
            if worker.is_ready and worker.job is None:
                job = self.schedule.next_job(self.running, self.settings.count)
                if job is not None:
                    worker.start(job, self.settings.timeout)

    def _wait(self) -> Iterator[Outcome]:
        """Wait until a worker has sent a message, has died or is late."""
        deadline = min(worker.deadline for worker in self.workers)
        seconds = max(0.0, min(deadline - time.monotonic(), LONGEST_WAIT))
        answered = wait([worker.pipe for worker in self.workers], seconds)
        for worker in list(self.workers):
            if worker.pipe in answered:
                yield from self._receive(worker)
            elif worker.deadline <= time.monotonic():
                self._kill(worker)
                yield from self._fail(worker, too_slow(self.settings.timeout))

    def _receive(self, worker: _Worker) -> Iterator[Outcome]:
        """Take the message of a worker; the end of its pipe means that it has died."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._kill(worker)
            cause = _cause(worker.process.exitcode)
            failure = self.schedule.worker_died(worker.job, cause, was_ready=worker.is_ready)
            yield from self._fail(worker, failure)
            return
        self.schedule.worker_answered()
        if isinstance(message, Outcome):
            worker.job, worker.deadline = None, inf
            yield message
        else:
            worker.is_ready = True

    def _fail(self, worker: _Worker, failure: Failure | None) -> Iterator[Outcome]:
        """Give up the job of a worker, if there is a reason."""
        from poolcli import run

        if worker.job is not None and failure is not None:
            yield run.given_up(worker.job, self.work, *failure)

    def _kill(self, worker: _Worker) -> None:
        """End a worker at once, and remove what it has not committed."""
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        if worker.job is not None:
            worker.job.target.tidy()
        # Last, so that if Ctrl-C comes in between, `kill_all` does the rest.
        self.workers.remove(worker)


def _context() -> Any:
    """Return the way to start processes, which is never a plain fork of this one.

    A fork would copy the locks of other threads in whatever state they are. The fork server has
    no threads, and starts workers several times sooner than new interpreters do.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@contextmanager
def _starting() -> Iterator[None]:
    """Start processes with Ctrl-C blocked in them, and in this one until they have started.

    Raises:
        RuntimeError: the system refuses, since there are too many processes or open files.
    """
    try:
        with _interrupts_blocked():
            yield
    except OSError as fault:
        raise RuntimeError(f"no worker can be started ({fault.strerror or fault})") from fault


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT, which a terminal sends to all its processes; new processes inherit that.

    Only this process answers Ctrl-C, and does so as soon as the block ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # If it had to be started on the way, it would unblock SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_worker(pipe: Connection, work: Work) -> None:
    """Run one job after the other in a worker process, until its pipe is closed."""
    from poolcli import run

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run.enter_process()
    try:
        pipe.send(READY)
        while True:
            pipe.send(run.run_job(pipe.recv(), work))
    except (EOFError, OSError):
        return


def _cause(code: int | None) -> str:
    """Return how a process ended, in words."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
