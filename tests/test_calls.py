"""Calls on threads: their results come in order, few at a time, and no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import Barrier, Event, Thread

import pytest

from poolcli.threads import Calls, in_order

PATIENCE = 60
"""Seconds after which a test has failed, however busy the machine is."""


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = {*threading.enumerate()}
    yield
    assert {*threading.enumerate()} <= before  # others may end meanwhile


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    assert [*in_order(lambda item: item * item, range(20), threads)] == [n * n for n in range(20)]
    assert not [*in_order(str, [], threads)]


def test_a_later_call_may_end_first() -> None:
    ended = Event()

    def work(item: int) -> int:
        if item:
            ended.set()
        else:
            assert ended.wait(PATIENCE)
        return item

    assert [*in_order(work, range(2), 2)] == [0, 1]


def test_calls_run_side_by_side_up_to_the_number_of_threads() -> None:
    meeting = Barrier(3)
    assert len({*in_order(lambda _: meeting.wait(PATIENCE), range(6), 3)}) == 3


def test_no_more_items_are_taken_than_threads_work_on() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    results = in_order(str, items(), 3)
    for number in range(9):
        assert next(results) == str(number)
        assert len(taken) <= number + 4  # the next one may be taken, but it is not begun


def test_with_one_thread_everything_runs_in_the_calling_thread() -> None:
    seen = {*in_order(lambda _: threading.current_thread(), range(3), 1)}
    assert seen == {threading.current_thread()}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_failure_in_order_is_raised_although_a_later_one_came_before(
    threads: int,
) -> None:
    later = Event()
    done: list[int] = []

    def work(item: int) -> int:
        if item == 2:
            assert threads == 1 or later.wait(PATIENCE)
            raise ValueError("the first")
        if item == 3:
            later.set()
            raise KeyError("a later one")
        return item

    with pytest.raises(ValueError, match="the first"):
        done.extend(in_order(work, range(9), threads))
    assert done == [0, 1]


def test_who_needs_no_more_results_waits_for_the_calls_that_run() -> None:
    begun, ended, go_on = [], [], Event()

    def work(item: int) -> None:
        begun.append(item)
        assert not item or go_on.wait(PATIENCE)
        ended.append(item)

    results = in_order(work, range(9), 3)
    next(results)
    go_on.set()
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert sorted(begun) == sorted(ended)
    assert len(ended) <= 4


def test_calls_run_here_if_the_system_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", start)
    assert [*in_order(str, range(5), 3)] == [*"01234"]


def test_a_call_without_enough_memory_says_so_when_its_result_is_taken() -> None:
    def work() -> None:
        raise MemoryError

    calls = Calls[None](2)
    calls.start(work)
    with pytest.raises(MemoryError):
        calls.take()
    assert not calls
    calls.close()
