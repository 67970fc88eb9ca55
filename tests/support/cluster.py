"""A Dask cluster on the loopback: a scheduler and workers that tests start, kill and stop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.processes import PATIENCE, Process, environment, gone, kill_all, until

ROOT: Final = Path(__file__).parent.parent.parent
LOOPBACK: Final = ("--host", "127.0.0.1", "--no-dashboard")


class Cluster:
    """A scheduler and its workers; each worker has one thread and may have a nanny.

    Attributes:
        address: where the scheduler listens.
        scheduler: its process.
        workers: the processes that were started as workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, list[Process]()
        folder.mkdir(parents=True)
        file = folder / "scheduler.json"
        words = ("scheduler", *LOOPBACK, "--port", "0", "--scheduler-file", str(file))
        self.scheduler = self._start(*words)
        self.address: str = until(lambda: _address(file))

    def _start(self, *words: str, variables: Mapping[str, str] = {}) -> Process:
        """Start a command of Dask in a session of its own."""
        settings = {
            "PYTHONPATH": str(ROOT),  # workers unpickle jobs that are defined in tests
            "DASK_TEMPORARY_DIRECTORY": str(self.folder),
            "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED": "false",
        }
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words],
                cwd=self.folder,
                env=environment(settings | dict(variables)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def add_workers(
        self, count: int, *flags: str, variables: Mapping[str, str] = {}
    ) -> list[Process]:
        """Start workers, without waiting for them."""
        words = ("worker", self.address, "--nthreads", "1", "--no-dashboard", *flags)
        started = [self._start(*words, variables=variables) for _ in range(count)]
        self.workers += started
        return started

    def wait(self) -> None:
        """Wait until all workers that were started have reached the scheduler."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=PATIENCE)

    def stop(self) -> None:
        """Kill all processes."""
        for process in (*self.workers, self.scheduler):
            kill(process)


def _address(file: Path) -> str:
    """Return the address that a scheduler has written into its file, or an empty text."""
    with suppress(OSError, ValueError):
        return str(json.loads(file.read_text())["address"])
    return ""


@contextmanager
def cluster(folder: Path, workers: int = 2, *flags: str) -> Iterator[Cluster]:
    """Run a scheduler and workers until the end of the block."""
    one = Cluster(folder)
    try:
        one.add_workers(workers, *flags)
        yield one
    finally:
        one.stop()


def kill(process: Process) -> None:
    """Kill a process without warning, and what it has started, and wait for their ends."""
    kill_all(process)
    until(lambda: gone(process))
