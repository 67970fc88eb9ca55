"""Many jobs, in this process or in worker processes; outcomes come as they are finished.

A worker is one process with one pipe and one job in its hand, so that one that dies or takes
too long costs its own picture only.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

from poolcli.plan import Job
from poolcli.report import Outcome

if TYPE_CHECKING:
    from poolcli.run import Work

WORTHWHILE_BYTES: Final = 8_000_000
"""Inputs that are smaller together are pooled sooner than workers have started; measured."""

STARTS: Final = 3
"""How often in a row a worker may die before it is ready, until that is called a fault."""

LONGEST_WAIT: Final = 3600.0
"""Seconds for which is waited at a time: systems know no end of time as far off as a float's."""

CGROUPS: Final = "/proc/self/cgroup"
CGROUP_ROOT: Final = "/sys/fs/cgroup"
CGROUP_QUOTAS: Final = {
    1: ("cpu{}/cpu.cfs_quota_us", "cpu{}/cpu.cfs_period_us"),
    2: ("{}/cpu.max",),
}
"""Where a group has its quota and period, in either version of control groups."""

READY: Final = "ready"

PRELOADED: Final = ("poolcli.run", "poolcli.cli")
"""What is imported once for all workers: their work, and what their main module asks for."""


def prepare(jobs: Sequence[Job], *, count: int, timeout: float | None = None) -> None:
    """Let what workers are forked from import NumPy and Pillow while this process does so too.

    Without it `run_all` does the same, later. The arguments are those of `run_all`.
    """
    opened = [job for job in jobs if not job.is_settled]
    if _are_worthwhile(opened, count, timeout) and _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _starting():
            forkserver.ensure_running()


def run_all(
    jobs: Sequence[Job],
    work: Work,
    *,
    count: int,
    timeout: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Do all jobs and yield what becomes of each, in the order in which they finish.

    Args:
        jobs: what to do, in this order.
        work: how to do it.
        count: the most workers at a time.
        timeout: seconds after which a picture is given up and its worker killed, or None.
        stopping: asked before a job is handed out; once it says yes no more are, and those in
            hand are finished.
    """
    settled = [job for job in jobs if job.is_settled]
    opened = deque(job for job in jobs if not job.is_settled)
    if not _are_worthwhile(opened, count, timeout):
        yield from _here(jobs, work, stopping)
        return
    yield from _here(settled, work, stopping)
    crew = _Crew(work, timeout)
    try:
        yield from crew.finish(opened, count, stopping)
        yield from crew.finish(crew.bereaved, 1, stopping, last_try=True)
    finally:
        crew.dismiss()


def _are_worthwhile(opened: Collection[Job], count: int, timeout: float | None) -> bool:
    """Whether jobs are done in worker processes rather than in this one."""
    if timeout is not None:
        return True
    large = sum(job.bytes for job in opened) >= WORTHWHILE_BYTES
    return large and min(count, len(opened)) > 1


def _here(jobs: Sequence[Job], work: Work, stopping: Callable[[], bool]) -> Iterator[Outcome]:
    """Do jobs in this process, one after the other."""
    from poolcli import run as runner

    runner.enter_process()
    for job in jobs:
        if stopping():
            return
        yield runner.run_job(job, work)


def usable_cpus() -> int:
    """The processors that this process may use, by affinity and by its cgroup's quota."""
    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    return max(1, min([usable, *_quotas()]))


def _quotas() -> Iterator[int]:
    """The processors that each control group of this process is given, where it has a quota."""
    for line in _text_of(CGROUPS).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = CGROUP_QUOTAS[1 if controllers else 2]
        while group:  # in a container its path may be the host's, of which only the top is there
            group = group.rstrip("/")
            text = " ".join(
                _text_of(os.path.join(CGROUP_ROOT, name.format(group).lstrip("/")))
                for name in names
            )
            with suppress(ValueError):  # no such group, or no quota: "max", or -1
                quota, period = map(int, text.split())
                if quota > 0:
                    yield -(-quota // period)
            group = group and os.path.dirname(group)


def _text_of(path: str) -> str:
    """What a file of the kernel's says; nothing if there is none."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""


@dataclass(eq=False, slots=True)
class _Worker:
    """A process, its pipe, and the job in its hand.

    Attributes:
        process: the process.
        pipe: our end of its pipe.
        job: what it does now, or None.
        deadline: when it is killed, by the monotonic clock, or None.
        ready: whether it has said that it is.
    """

    process: Any
    pipe: Connection
    job: Job | None = None
    deadline: float | None = None
    ready: bool = False


@dataclass(slots=True)
class _Crew:
    """The workers of one run.

    Attributes:
        work: what they do with every job.
        timeout: seconds for a picture, or None.
        bereaved: jobs whose worker died, each to be tried once more, alone.
        workers: those alive.
        failed_starts: how many died before they were ready since any worker was last heard.
    """

    work: Work
    timeout: float | None
    bereaved: deque[Job] = field(default_factory=deque)
    workers: list[_Worker] = field(default_factory=list)
    failed_starts: int = 0

    def finish(
        self, jobs: deque[Job], count: int, stopping: Callable[[], bool], last_try: bool = False
    ) -> Iterator[Outcome]:
        """Hand out jobs until none is left, in queue or hand, and yield the outcomes."""
        while True:
            if stopping():
                jobs.clear()
            while len(self.workers) < min(count, len(jobs) + self._busy):
                self.workers.append(self._hired())
            for worker in self.workers:
                if worker.ready and worker.job is None and jobs and self._busy < count:
                    self._hand_out(worker, jobs.popleft())
            if not self._busy and not jobs:
                return
            yield from self._listen(last_try)

    @property
    def _busy(self) -> int:
        """How many workers have a job in hand."""
        return sum(worker.job is not None for worker in self.workers)

    def _hired(self) -> _Worker:
        """A new worker, which says when it is ready."""
        context = _context()
        with _starting():
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.work), daemon=True)
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _hand_out(self, worker: _Worker, job: Job) -> None:
        """Give a ready worker a job, and set its clock."""
        worker.job = job
        worker.deadline = None if self.timeout is None else time.monotonic() + self.timeout
        with suppress(OSError):  # it has died: `_listen` will see it
            worker.pipe.send(job)

    def _listen(self, last_try: bool) -> Iterator[Outcome]:
        """Wait for the next word, death or deadline."""
        from poolcli import run as runner

        deadlines = [one.deadline for one in self.workers if one.deadline is not None]
        patience = None
        if deadlines:
            patience = min(max(0.0, min(deadlines) - time.monotonic()), LONGEST_WAIT)
        heard = wait([worker.pipe for worker in self.workers], patience)
        for worker in list(self.workers):
            if worker.pipe in heard:
                yield from self._hear(worker, last_try)
            elif worker.deadline is not None and worker.deadline <= time.monotonic():
                self._kill(worker)
                yield runner.given_up(
                    _job(worker),
                    self.work,
                    f"it took longer than {self.timeout:g} second{'s' * (self.timeout != 1)}",
                    "raise --timeout",
                )

    def _hear(self, worker: _Worker, last_try: bool) -> Iterator[Outcome]:
        """An outcome, a word that it is ready, or the silence of the dead."""
        try:
            word = worker.pipe.recv()
        except (EOFError, OSError):
            self._kill(worker)
            yield from self._mourn(worker, last_try)
            return
        self.failed_starts = 0
        if isinstance(word, Outcome):
            worker.job = worker.deadline = None
            yield word
        else:
            worker.ready = True

    def _mourn(self, worker: _Worker, last_try: bool) -> Iterator[Outcome]:
        """Keep the job of a dead worker for a second try, or give it up after that."""
        from poolcli import run as runner

        if worker.job is None:
            if not worker.ready:
                self.failed_starts += 1
            if self.failed_starts >= STARTS:
                raise RuntimeError(f"workers die at their start ({_death(worker)})")
        elif last_try:
            yield runner.given_up(
                worker.job,
                self.work,
                f"its worker died twice ({_death(worker)})",
                "is there memory?",
            )
        else:
            self.bereaved.append(worker.job._replace(again=True))

    def _kill(self, worker: _Worker) -> None:
        """End a worker at once; what it had not named yet vanishes with it."""
        self.workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        if worker.job is not None:
            worker.job.target.tidy()

    def dismiss(self) -> None:
        """End all workers, at once."""
        for worker in list(self.workers):
            self._kill(worker)


def _context() -> Any:
    """How processes are started: never by a plain fork of this one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@contextmanager
def _starting() -> Iterator[None]:
    """Start what the work is done by, deaf to Ctrl-C.

    Raises:
        RuntimeError: the system has no room for it.
    """
    try:
        with _deaf_to_interrupts():
            yield
    except OSError as fault:  # too many processes or open files
        raise RuntimeError(f"no worker can be started ({fault.strerror or fault})") from fault


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let children start with Ctrl-C blocked: it is the parent that answers it, a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would open our ears again on its own start
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, work: Work) -> None:
    """The life of a worker: say ready, take a job, do it, tell; until the pipe closes."""
    from poolcli import run as runner

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runner.enter_process()
    try:
        pipe.send(READY)
        while True:
            pipe.send(runner.run_job(pipe.recv(), work))
    except (EOFError, OSError):
        return


def _job(worker: _Worker) -> Job:
    """What a busy worker has in hand."""
    if worker.job is None:
        raise RuntimeError("an idle worker has no job")
    return worker.job


def _death(worker: _Worker) -> str:
    """How a worker died, in words."""
    code = worker.process.exitcode
    if code is not None and code < 0:
        return f"signal {-code}"
    return f"exit code {code}"
