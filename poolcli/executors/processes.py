"""Run jobs in worker processes, each of which has a pipe and gets one job at a time.

`concurrent.futures` does not tell which worker runs a job, can't kill a worker, and fails all
waiting jobs when a worker dies. Here only the job of that worker fails.
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
"""The longest wait, in seconds. A timeout may be longer than the system's calls allow."""

READY: Final = "ready"
"""What a worker sends when it can take its first job."""

PRELOADED: Final = ("poolcli.run", "poolcli.cli")
"""The modules that the fork server imports once for all workers. A worker also imports the main
module of its parent, which needs `poolcli.cli`."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Run jobs in worker processes; see `Executor` for the contract.

    Attributes:
        count: how many workers there are at the same time, at most.
        timeout: the seconds that a job may take; then its worker is killed and the job fails.
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
        pipe: this process's end of its pipe.
        job: the job that it runs, or None.
        deadline: the time at which it is killed, by the monotonic clock.
        is_ready: whether it has sent `READY`.
    """

    process: Any
    pipe: Connection
    job: Job | None = None
    deadline: float = inf
    is_ready: bool = False

    def start(self, job: Job, timeout: float) -> None:
        """Send a job to the worker."""
        self.job = job
        self.deadline = time.monotonic() + timeout
        with suppress(OSError):  # the worker has died; `_receive` will find the end of its pipe
            self.pipe.send(job)


@dataclass(slots=True)
class _Run:
    """The state of one run.

    Attributes:
        settings: how many workers there may be, and how long a job may take.
        work: the settings that are the same for all jobs.
        schedule: the jobs that have not been started.
        workers: the living workers.
    """

    settings: Processes
    work: Work
    schedule: Schedule
    workers: list[_Worker] = field(default_factory=list)

    @property
    def running(self) -> int:
        """The number of workers that run a job."""
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
        """Start as many workers as the schedule needs."""
        context = _context()
        while len(self.workers) < self.schedule.workers_needed(self.running, self.settings.count):
            with _starting():
                local, remote = context.Pipe()
                process = context.Process(target=_run_worker, args=(remote, self.work), daemon=True)
                process.start()
                self.workers.append(_Worker(process, local))
            # The worker has its own copy of this end. The death of the worker ends the pipe only
            # if the copy in this process is closed.
            remote.close()

    def _start_jobs(self) -> None:
        """Send jobs to the workers that are ready and idle."""
        for worker in self.workers:
            if worker.is_ready and worker.job is None:
                job = self.schedule.next_job(self.running, self.settings.count)
                if job is not None:
                    worker.start(job, self.settings.timeout)

    def _wait(self) -> Iterator[Outcome]:
        """Wait until a worker has sent a message, has died or has exceeded its deadline."""
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
        """Receive the message of a worker; the end of its pipe means that the worker has died."""
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
        """Yield a failed outcome for the job of a worker, unless the job will be retried."""
        from poolcli import run

        if worker.job is not None and failure is not None:
            yield run.failed_outcome(worker.job, self.work, *failure)

    def _kill(self, worker: _Worker) -> None:
        """Kill a worker, and remove the hidden files that it has not committed."""
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        if worker.job is not None:
            worker.job.target.remove_stale()
        # This comes last: if Ctrl-C interrupts the lines above, `kill_all` repeats them.
        self.workers.remove(worker)


def _context() -> Any:
    """Return the start method of multiprocessing: forkserver, or spawn where that is missing.

    A fork of this process would copy locks that other threads hold, and nobody would release
    them. The fork server has no threads. It starts two workers in 140 ms, spawn takes 255 ms.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@contextmanager
def _starting() -> Iterator[None]:
    """Start processes in this block: they ignore Ctrl-C, and this process delays it meanwhile.

    Raises:
        RuntimeError: the system refuses, for instance because too many files are open.
    """
    try:
        with _interrupts_blocked():
            yield
    except OSError as fault:
        raise RuntimeError(f"no worker can be started ({fault.strerror or fault})") from fault


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT until the end of the block; processes that are started inherit the mask.

    A terminal sends Ctrl-C to all processes of the command, but only this one must handle it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # multiprocessing unblocks SIGINT when it starts the resource tracker, so it is started before.
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
    run.set_up_process()
    try:
        pipe.send(READY)
        while True:
            pipe.send(run.run_job(pipe.recv(), work))
    except (EOFError, OSError):
        return


def _cause(code: int | None) -> str:
    """Return how a process ended, in words, from its exit code."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
