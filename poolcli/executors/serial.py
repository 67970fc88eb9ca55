"""Run jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcli.plan import Job
    from poolcli.report import Outcome
    from poolcli.run import Work


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
