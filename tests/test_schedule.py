"""The order of jobs, and what follows the death of a worker, without any process."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcli.executors import NoWorkersError
from poolcli.executors.schedule import (
    BYTES_TOGETHER,
    MOST_FAILED_STARTS,
    MOST_TOGETHER,
    ROUNDS,
    Failure,
    Schedule,
    too_slow,
)
from poolcli.plan import Job
from poolcli.storage import place_of
from poolcli.storage.local import LocalFile


def jobs(number: int) -> list[Job]:
    return [Job(place_of(str(one)), LocalFile(str(one)), None) for one in range(number)]


@given(
    deaths=st.lists(st.integers(0, 2), max_size=9),
    most=st.integers(1, 4),
    random=st.randoms(use_true_random=False),
)
def test_whatever_dies_every_job_ends_once_and_retries_are_last_and_alone(
    deaths: list[int], most: int, random: Random
) -> None:
    schedule = Schedule(jobs(len(deaths)))
    left = dict(enumerate(deaths))
    running: list[Job] = []
    started: list[Job] = []
    ended: Counter[tuple[int, bool]] = Counter()
    while running or not schedule.is_empty:
        assert len(running) <= schedule.workers_needed(len(running), most) <= most
        while (job := schedule.next_job(len(running), most)) is not None:
            running.append(job)
            started.append(job)
            assert not job.retry or len(running) == 1
        assert len(running) == min(most, schedule.workers_needed(len(running), most))
        job = running.pop(random.randrange(len(running)))
        number = int(job.source.path)
        left[number] -= 1
        if left[number] < 0:
            ended[number, True] += 1
        elif schedule.worker_died(job, "signal 9", was_ready=True):
            ended[number, False] += 1

    assert ended == {(number, times < 2): 1 for number, times in enumerate(deaths)}
    first = [job for job in started if not job.retry]
    assert first == jobs(len(deaths)) == started[: len(deaths)]


@pytest.mark.parametrize("retry", [False, True])  # on a cluster it is set for the first try too
def test_the_reason_of_a_second_death_tells_how_the_worker_ended(retry: bool) -> None:
    schedule = Schedule(job._replace(retry=retry) for job in jobs(1))
    job = schedule.next_job(0, 2)

    assert job is not None
    assert schedule.worker_died(job, "signal 9", was_ready=True) is None
    again = schedule.next_job(0, 2)
    assert again == job._replace(retry=True)
    assert schedule.worker_died(again, "exit code 3", was_ready=True) == Failure(
        "its worker died twice (exit code 3)", "is there enough memory?"
    )
    assert schedule.is_empty


@given(
    sizes=st.lists(st.sampled_from([0, 1, BYTES_TOGETHER // 3, BYTES_TOGETHER + 1]), max_size=99),
    most=st.integers(1, 3),
    random=st.randoms(use_true_random=False),
)
def test_small_jobs_start_together_in_order_and_come_back_in_order(
    sizes: list[int], most: int, random: Random
) -> None:
    every = [job._replace(bytes=size) for job, size in zip(jobs(len(sizes)), sizes, strict=True)]
    schedule = Schedule(every)
    done: list[Job] = []
    while together := schedule.next_jobs(0, most):
        assert len(together) <= max(1, (len(every) - len(done)) // (ROUNDS * most))
        assert len(together) <= MOST_TOGETHER
        if len(together) > 1:
            assert all(job.bytes for job in together)
            assert sum(job.bytes for job in together) <= BYTES_TOGETHER
        number = random.randint(1, len(together))
        done += together[:number]
        schedule.give_back(together[number:])

    assert done == every


def test_a_job_that_is_retried_starts_alone() -> None:
    schedule = Schedule(job._replace(bytes=1) for job in jobs(32))
    together = schedule.next_jobs(0, 1)
    schedule.first.clear()
    for job in together:
        schedule.worker_died(job, "signal 9", was_ready=True)

    assert len(together) == 4
    assert schedule.next_jobs(0, 1) == [together[0]._replace(retry=True)]


def test_once_stopped_nothing_starts_and_nothing_is_retried() -> None:
    schedule = Schedule(jobs(3))
    job = schedule.next_job(0, 1)
    schedule.worker_died(job, "signal 9", was_ready=True)
    schedule.stop()

    assert schedule.is_empty
    assert schedule.workers_needed(0, 4) == 0
    assert schedule.next_job(0, 4) is None


def test_as_many_deaths_in_a_row_before_workers_are_ready_are_a_fault() -> None:
    schedule = Schedule(jobs(1))
    for _ in range(2):
        for _ in range(MOST_FAILED_STARTS - 1):
            assert schedule.worker_died(None, "exit code 3", was_ready=False) is None
        schedule.worker_answered()
    for _ in range(MOST_FAILED_STARTS):
        assert schedule.worker_died(None, "signal 9", was_ready=True) is None
    for _ in range(MOST_FAILED_STARTS - 1):
        schedule.worker_died(None, "exit code 3", was_ready=False)

    with pytest.raises(NoWorkersError, match=r"\(they die at their start: exit code 3\)"):
        schedule.worker_died(None, "exit code 3", was_ready=False)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.0, "1 second"), (0.5, "0.5 seconds"), (90.0, "90 seconds")]
)
def test_a_timeout_is_told_in_seconds(seconds: float, words: str) -> None:
    assert too_slow(seconds) == Failure(f"it took longer than {words}", "raise --timeout")
