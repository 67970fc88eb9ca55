"""The contract of all executors, the choice between them, and the CPUs that they may use."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from poolcli import cpus, run
from poolcli.cpus import group_quotas, usable_cpus
from poolcli.executors import WORTHWHILE_BYTES, Executor, Serial, choose
from poolcli.executors.dask import Batches, Dask
from poolcli.executors.processes import Processes, RunningTime
from poolcli.executors.schedule import ROUNDS
from poolcli.executors.server import run_together
from poolcli.formats import by_name
from poolcli.plan import Job
from poolcli.report import Outcome
from tests.executor_support import (
    after,
    attempts,
    job,
    mischief,
    never,
    raising,
)
from tests.jobs import work
from tests.support.processes import linux_only, servers_here, until
from tests.support.trees import contents, paint

EXECUTORS: Final[dict[str, Executor]] = {"serial": Serial(), "processes": Processes(2, timeout=120)}
IN_BATCHES: Final = 4
"""How many jobs, of the few in these tests, are in flight on a cluster of two workers."""


@pytest.fixture(params=[*EXECUTORS, "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    """One executor after the other."""
    if request.param in EXECUTORS:
        return EXECUTORS[request.param]
    return dask(request)


def dask(request: pytest.FixtureRequest, timeout: float = 120) -> Executor:
    """Return the executor of the small cluster."""
    address = request.getfixturevalue("small_cluster").address
    return Dask(address, timeout)


@pytest.fixture(params=["one worker", "two workers", "dask"])
def patient(request: pytest.FixtureRequest) -> Executor:
    """One executor with workers after the other, which have time."""
    counts = {"one worker": 1, "two workers": 2}
    if request.param in counts:
        return Processes(counts[request.param])
    return dask(request)


def run_all(executor: Executor, jobs: Sequence[Job], **changes: Any) -> dict[str, Outcome]:
    """Return the outcomes by the names of their inputs, in the order in which they came."""
    with closing(executor.run_all(jobs, work(**changes), stopping=never)) as outcomes:
        listed = list(outcomes)
    named = {os.path.basename(one.input): one for one in listed}
    assert len(named) == len(listed)
    return named


def facts(outcomes: dict[str, Outcome]) -> dict[str, dict[str, Any]]:
    """Return what outcomes say apart from times."""
    times = ("read_seconds", "pool_seconds", "write_seconds")
    return {
        name: {key: value for key, value in vars(one).items() if key not in times}
        for name, one in outcomes.items()
    }


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Six jobs with small pictures."""
    return [
        job(paint(tmp_path / "in" / name, seed=seed), tmp_path / "out" / name)
        for seed, name in enumerate(("a.png", "b.jpg", "c.bmp", "d.gif", "e.png", "f.png"))
    ]


@pytest.fixture
def expected(jobs: list[Job], tmp_path: Path) -> dict[str, bytes]:
    """The bytes that the jobs write when nothing goes wrong."""
    elsewhere = [
        one._replace(target=one.target._replace(path=one.target.path.replace("/out/", "/other/")))
        for one in jobs
    ]
    assert {one.status for one in (run.run_job(one, work()) for one in elsewhere)} == {"done"}
    return contents(tmp_path / "other")


def without(expected: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: octets for name, octets in expected.items() if name not in names}


# Every executor


def test_every_job_has_one_outcome_whatever_runs_it(
    executor: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    jobs[1] = jobs[1]._replace(skip=True)
    jobs[2] = jobs[2]._replace(refusal="no format", remedy="name one")
    alone = {os.path.basename(one.input): one for one in (run.run_job(one, work()) for one in jobs)}
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    executor.prepare()
    outcomes = run_all(executor, jobs)

    assert [outcomes[name].status for name in ("a.png", "b.jpg", "c.bmp")] == [
        "done",
        "skipped",
        "failed",
    ]
    assert facts(outcomes) == facts(alone)
    assert contents(tmp_path / "out") == without(expected, "b.jpg", "c.bmp")


def test_an_executor_can_be_used_again_and_with_nothing_to_do(
    executor: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert run_all(executor, []) == {}
    for _ in range(2):
        assert {one.status for one in run_all(executor, jobs, overwrite=True).values()} == {"done"}
    assert contents(tmp_path / "out") == expected


def failing(folder: Path) -> dict[str, tuple[Job, str]]:
    """Return jobs that fail, by the names of their inputs, and words of their errors."""
    out = folder / "out"
    truncated = paint(folder / "truncated.png", 64)
    truncated.write_bytes(truncated.read_bytes()[:4000])
    (folder / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "deep.png")
    (folder / "folder.png").mkdir()
    paint(out / "taken.png")
    whole = [paint(folder / name) for name in ("taken.png", "below.png", "long.png", "huge.png")]
    below = whole[1] / "out.png"
    failures = {
        "refused.png": (job(folder / "refused.png", out, refusal="no format"), "no format"),
        "missing.png": (job(folder / "missing.png", out / "1.png"), "No such file"),
        "folder.png": (job(folder / "folder.png", out / "2.png"), "it is a folder"),
        "nul\0.png": (job(folder / "nul\0.png", out / "3.png"), "null"),
        "text.png": (job(folder / "text.png", out / "4.png"), "picture"),
        "truncated.png": (job(truncated, out / "5.png"), ""),
        "tiny.png": (job(paint(folder / "tiny.png", 1), out / "6.png"), ""),
        "deep.png": (
            job(folder / "deep.png", out / "7.jpg", format=by_name("jpeg")),
            "JPEG can't hold",
        ),
        "taken.png": (job(whole[0], out / "taken.png"), "it exists already"),
        "below.png": (job(whole[1], below), "can't be written"),
        "long.png": (job(whole[2], out / f"{'x' * 300}.png"), "too long"),
        "huge.png": (job(paint(folder / "huge.png", 100), out / "8.png"), "max-pixels"),
    }
    errors = {
        "MemoryError": "memory",
        "AwkwardError": "AwkwardError: odd",
        "ZeroDivisionError": "ZeroDivisionError",
        "OSError": "No space left",
        "ValueError": "caf\udce9",
    }
    return failures | {name: (raising(name, folder), words) for name, words in errors.items()}


FAULTS: Final = {"AwkwardError", "ZeroDivisionError", "ValueError", "nul\0.png"}
"""The failures that are an error of ours."""


def test_a_failure_of_any_kind_costs_its_own_job_and_is_plain_text(
    executor: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    failures = failing(tmp_path / "failing")
    first, *others = (one for one, _ in failures.values())
    outcomes = run_all(executor, [first, *jobs, *others], max_pixels=9999)

    assert contents(tmp_path / "out") == expected
    assert outcomes.keys() == failures.keys() | expected.keys()
    for name, (_, words) in failures.items():
        outcome = outcomes[name]
        assert outcome.status == "failed"
        assert outcome.error
        assert words in f"{outcome.error} {outcome.remedy}"
        assert outcome.is_fault == (name in FAULTS)
        assert json.loads(outcome.as_json())["error"]["message"] == outcome.error


@pytest.mark.parametrize("number", [0, 2])
def test_once_told_to_stop_no_more_jobs_start_and_those_running_are_finished(
    executor: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path, number: int
) -> None:
    outcomes: list[Outcome] = []
    for one in executor.run_all(jobs, work(), stopping=after(number, outcomes)):
        outcomes.append(one)  # noqa: PERF402  # `stopping` reads it

    done = {os.path.basename(one.output) for one in outcomes}
    assert {one.status for one in outcomes} <= {"done"}
    assert number <= len(outcomes) <= number + (IN_BATCHES if isinstance(executor, Dask) else 1)
    assert number or not outcomes
    assert contents(tmp_path / "out") == {name: expected[name] for name in done}


def test_stopping_at_the_first_failure_leaves_the_rest(executor: Executor, jobs: list[Job]) -> None:
    if isinstance(executor, Dask):  # whose batches in flight are finished
        executor = replace(executor, batches=Batches(pictures=1))
    failed: list[Outcome] = []
    missing = job(Path("missing.png"), Path("out.png"))
    later = 0
    for one in executor.run_all(
        [missing, *jobs * 9], work(overwrite=True), stopping=after(1, failed)
    ):
        later += bool(failed)
        failed += [one] * (one.status == "failed")

    assert [one.input for one in failed] == ["missing.png"]
    assert later <= (IN_BATCHES if isinstance(executor, Dask) else 1)


def test_closing_early_leaves_no_process_and_only_complete_files(
    executor: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    outcomes = executor.run_all(jobs, work(), stopping=never)
    first = next(outcomes)
    outcomes.close()

    assert first.status == "done"
    assert servers_here() == []
    out = tmp_path / "out"
    assert os.path.basename(first.output) in contents(out)
    if isinstance(executor, Dask):  # which waits only some seconds for its workers
        until(lambda: contents(out).items() <= expected.items())
    assert contents(out).items() <= expected.items()


def test_jobs_work_outcomes_and_executors_can_be_pickled(jobs: list[Job]) -> None:
    for one in (
        jobs[0],
        work(),
        run.run_job(jobs[0], work()),
        *EXECUTORS.values(),
        Dask("tcp://127.0.0.1:1"),
    ):
        assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  # our own bytes


# Every executor with workers


@linux_only
def test_the_job_of_a_worker_that_died_is_retried_once_after_all_others(
    patient: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    jobs[0] = mischief("die once", jobs[0])
    outcomes = run_all(patient, jobs)

    assert attempts(jobs[0]) == 2
    # A cluster retries it after the others of its batch.
    assert isinstance(patient, Dask) or [*outcomes][-1] == "a.png"
    assert {one.status for one in outcomes.values()} == {"done"}
    assert contents(tmp_path / "out") == expected


@linux_only
def test_jobs_that_kill_two_workers_fail_alone(
    patient: Executor, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    jobs[0], jobs[3] = mischief("die", jobs[0]), mischief("die", jobs[3])._replace(bytes=7)
    outcomes = run_all(patient, jobs)
    failed = {name for name, one in outcomes.items() if one.status == "failed"}

    assert failed == {"a.png", "d.gif"}
    assert isinstance(patient, Dask) or failed == {*[*outcomes][-2:]}
    assert attempts(jobs[0]) == attempts(jobs[3]) == 2
    assert outcomes["a.png"].error == "its worker died twice (signal 9)"
    assert (outcomes["a.png"].input_bytes, outcomes["d.gif"].input_bytes) == (None, 7)
    assert not outcomes["a.png"].is_fault
    assert contents(tmp_path / "out") == without(expected, "a.png", "d.gif")


@pytest.fixture
def small(tmp_path: Path) -> list[Job]:
    """Jobs of which the first are started four at once, if there are two workers."""
    source = paint(tmp_path / "in" / "a.png", seed=1)
    names = [f"{number:02}.png" for number in range(4 * 2 * ROUNDS)]
    for name in names:
        os.link(source, tmp_path / "in" / name)
    bytes_each = os.stat(source).st_size
    return [
        job(tmp_path / "in" / name, tmp_path / "out" / name)._replace(bytes=bytes_each)
        for name in names
    ]


@linux_only
def test_each_of_several_jobs_that_start_together_has_its_own_outcome(
    small: list[Job], tmp_path: Path
) -> None:
    small[1], small[6] = mischief("die", small[1]), mischief("die once", small[6])
    outcomes = run_all(Processes(2), small)
    failed = {name for name, one in outcomes.items() if one.status == "failed"}

    assert failed == {"01.png"}
    assert len(outcomes) == len(small)
    assert attempts(small[1]) == attempts(small[6]) == 2
    assert {one.error for one in outcomes.values()} == {None, "its worker died twice (signal 9)"}
    assert len({*contents(tmp_path / "out").values()}) == 1
    assert contents(tmp_path / "out").keys() == outcomes.keys() - failed


@linux_only
def test_once_told_to_stop_only_jobs_that_were_started_together_are_finished(
    small: list[Job],
) -> None:
    outcomes: list[Outcome] = []
    for one in Processes(2).run_all(small, work(), stopping=after(1, outcomes)):
        outcomes.append(one)  # noqa: PERF402  # `stopping` reads it

    assert 1 <= len(outcomes) <= 4 + 4 + 4
    assert {one.status for one in outcomes} == {"done"}


def test_jobs_that_start_together_end_at_the_first_failure(small: list[Job]) -> None:
    missing = job(Path("missing.png"), Path("out.png"))
    number, outcomes = run_together([small[0], missing, small[1]], work(), 600)

    assert number == 2
    assert [one.status for one in outcomes] == ["done", "failed"]
    assert run_together(small[2:5], work(), -1)[0] == 1  # it is too late for the others


@linux_only
@pytest.mark.parametrize(("count", "before"), [(1, 0), (2, 5)])
def test_a_job_that_hangs_is_given_up_and_costs_its_own_outcome(
    jobs: list[Job], expected: dict[str, bytes], tmp_path: Path, count: int, before: int
) -> None:
    jobs[0] = mischief("hang", jobs[0])._replace(bytes=7)
    outcomes: list[Outcome] = []

    def clock() -> float:
        """Tell that time is over as soon as no job but the one that hangs is running."""
        return 9.0 if attempts(jobs[0]) and len(outcomes) >= before else 0.0

    executor = Processes(count, timeout=2.5, clock=lambda: clock)
    for one in executor.run_all(jobs, work(), stopping=never):
        outcomes.append(one)  # noqa: PERF402  # `clock` reads it

    (late,) = (one for one in outcomes if one.status != "done")
    assert attempts(jobs[0]) == 1
    assert outcomes.index(late) == before
    assert (late.status, late.input_bytes) == ("failed", 7)
    assert late.error == "it took longer than 2.5 seconds"
    assert len(outcomes) == len(jobs)
    assert contents(tmp_path / "out") == without(expected, "a.png")


def test_a_job_that_hangs_on_a_cluster_is_given_up(
    request: pytest.FixtureRequest, jobs: list[Job], expected: dict[str, bytes], tmp_path: Path
) -> None:
    jobs[0] = mischief("hang", jobs[0])
    outcomes = run_all(dask(request, 2.5), jobs)
    # On a busy machine others may be late too.
    late = {name for name, one in outcomes.items() if one.status == "failed"}

    assert "a.png" in late
    assert {outcomes[name].error for name in late} == {"it took longer than 2.5 seconds"}
    assert outcomes.keys() == expected.keys()
    assert contents(tmp_path / "out") == without(expected, *late)


@linux_only
def test_closing_ends_workers_that_hang(jobs: list[Job]) -> None:
    jobs[0] = mischief("hang", jobs[0])
    outcomes = Processes(2).run_all(jobs, work(), stopping=never)
    next(outcomes)
    until(lambda: attempts(jobs[0]))
    outcomes.close()

    assert servers_here() == []


@pytest.mark.parametrize("seconds", [3e6, 1e12, 1e300])
def test_a_timeout_may_be_as_long_as_a_float(jobs: list[Job], seconds: float) -> None:
    outcomes = run_all(Processes(1, timeout=seconds), jobs[:1])

    assert outcomes["a.png"].status == "done"


class SteppedClock:
    """A clock that shows one time after the other."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0)


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    running = RunningTime(SteppedClock(100.0, 100.25, 100.5, 4100.5, 4100.75))
    assert [running() for _ in range(4)] == [0.25, 0.5, 1.0, 1.25]


# The choice


@pytest.mark.parametrize(
    ("sizes", "count", "timeout", "chosen"),
    [
        ([], 2, 5.0, Serial()),
        ([100, 100], 2, None, Serial()),
        ([499, 500], 2, None, Serial()),
        ([500, 500], 2, None, Processes(2)),
        ([500, 500], 1, None, Serial()),
        ([1000], 8, None, Serial()),
        ([100, 100], 2, 5.0, Processes(2, 5.0)),
        ([100], 1, 5.0, Processes(1, 5.0)),
    ],
)
def test_processes_are_chosen_only_where_they_are_worthwhile(
    sizes: list[int], count: int, timeout: float | None, chosen: Executor
) -> None:
    opened = [job(Path("in.png"), Path("out.png"), bytes=size) for size in sizes]
    settled = [
        job(Path("in.png"), Path("out.png"), bytes=9999, skip=True),
        job(Path("in.png"), Path("out.png"), bytes=9999, refusal="no format"),
    ]

    assert choose([*settled, *opened], count=count, timeout=timeout, worthwhile_bytes=1000) == (
        chosen
    )


def test_as_many_processes_are_chosen_as_there_are_cpus() -> None:
    large = [job(Path("in.png"), Path("out.png"), bytes=WORTHWHILE_BYTES // 2)] * 2
    count = usable_cpus()

    assert choose(large) == (Processes(count) if count > 1 else Serial())
    assert choose(large, timeout=5) == Processes(count, 5)


def test_workers_share_the_cpus_for_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 12)
    monkeypatch.setattr(cpus, "_sharing", 1)
    found = []
    for workers in (1, 4, 12, 30):
        cpus.share(workers)
        found.append(cpus.usable_threads(8))
    assert found == [8, 3, 1, 1]


@linux_only
def test_the_usable_cpus_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cpus() <= len(before)


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        ("0::/", {"cpu.max": "300000 100000"}, [3]),
        ("0::/", {"cpu.max": "max 100000"}, []),
        ("0::/", {}, []),
        ("0::/", {"cpu.max": "50000 100000"}, [1]),
        ("0::/a.slice/b:c", {"a.slice/b:c/cpu.max": "150000 100000"}, [2]),
        ("0::/a.slice/b", {"a.slice/cpu.max": "400000 100000", "a.slice/b/cpu.max": "max 9"}, [4]),
        ("0::/a/b", {"cpu.max": "4 1", "a/cpu.max": "3 1", "a/b/cpu.max": "5 1"}, [5, 3, 4]),
        ("0::/of/the/host", {"cpu.max": "500000 100000"}, [5]),
        ("0::/../..", {"cpu.max": "500000 100000"}, [5]),
        (
            "9:name=systemd:/\n3:cpu,cpuacct:/docker/x\n0::/",
            {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
            [2],
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
    ],
)
def test_the_quota_of_every_control_group_counts(
    tmp_path: Path, groups: str, files: dict[str, str], quotas: list[int]
) -> None:
    (tmp_path / "groups").write_text(f"{groups}\n")
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    found = group_quotas(str(tmp_path / "groups"), str(tmp_path / "root"))
    assert [*dict.fromkeys(found)] == quotas
