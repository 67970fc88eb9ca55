"""Workers: one process, one pipe, one picture in hand; a fault costs that picture only."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from poolcli import codec
from poolcli import run as runner
from poolcli.colour import Choices
from poolcli.engine.window import Window
from poolcli.executors import processes as workers
from poolcli.formats import Saving, by_name
from poolcli.plan import Job
from poolcli.run import Work
from poolcli.storage import Source, Target
from tests.batch_support import (
    HALVE,
    Process,
    contents,
    family,
    finish,
    gone,
    held,
    linux_only,
    paint,
    paint_all,
    readers_of,
    run_after,
    sabotage,
    started,
    statuses,
    until,
    workers_of,
)
from tests.conftest import Run
from tests.pictures import saved

pytestmark = linux_only

FORCE = ("--timeout", 60)
"""What makes a small batch use workers."""


# Tools


def work(size: int = 2, **changes: Any) -> Work:
    settings: dict[str, Any] = {"saving": Saving(), "max_pixels": 10**9} | changes
    return Work(choices=Choices(method="max", window=Window.of(size)), **settings)


def job(source: Path, target: Path, **changes: Any) -> Job:
    settings: dict[str, Any] = {"format": by_name("png")} | changes
    return Job(
        Source(str(source)), Target(str(target), is_stream=False, in_folder=True), **settings
    )


def lines(process: Process) -> Iterator[dict[str, Any]]:
    """The JSON of a running process, line by line as it comes."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A folder of six small pictures."""
    return paint_all(tmp_path / "in", *(f"{name}.png" for name in "abcdef"))


@pytest.fixture
def expected(gallery: Path, tmp_path: Path) -> dict[str, bytes]:
    """What becomes of the gallery if nothing goes wrong."""
    for path in gallery.iterdir():
        assert runner.run_job(job(path, tmp_path / "expected" / path.name), work()).status == "done"
    return contents(tmp_path / "expected")


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A FIFO to which nobody writes, so that whoever reads it hangs."""
    path = tmp_path / "hanging.png"
    os.mkfifo(path)
    return path


# Outcomes


class AwkwardError(Exception):
    """It can be pickled and not be unpickled."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(reason)


def raising(fault: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise fault

    return fail


def _truncated(folder: Path) -> Job:
    path = paint(folder / "a.png", 64)
    path.write_bytes(path.read_bytes()[:4000])
    return job(path, folder / "out.png")


def _text(folder: Path) -> Job:
    (folder / "a.png").write_text("no picture")
    return job(folder / "a.png", folder / "out.png")


def _taken(folder: Path) -> Job:
    (folder / "out.png").write_text("taken")
    return job(paint(folder / "a.png"), folder / "out.png")


def _under_a_file(folder: Path) -> Job:
    return job(paint(folder / "a.png"), folder / "a.png" / "out.png")


def _one_pixel(folder: Path) -> Job:
    return job(paint(folder / "a.png", 1), folder / "out.png")


def _deep_into_jpeg(folder: Path) -> Job:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "a.png")
    return job(folder / "a.png", folder / "out.jpg", format=by_name("jpeg"))


def _whole(folder: Path) -> Job:
    return job(paint(folder / "a.png"), folder / "out.png")


FAILURES: Final[dict[str, tuple[Callable[[Path], Job], dict[str, Any], str]]] = {
    "refused by the plan": (lambda folder: job(folder, folder, refusal="no format"), {}, "no form"),
    "missing": (lambda folder: job(folder / "a.png", folder / "out.png"), {}, "No such file"),
    "a folder": (lambda folder: job(folder, folder / "out.png"), {}, "it is a folder"),
    "a name with NUL": (lambda folder: job(folder / "\0", folder / "out.png"), {}, "null"),
    "no picture": (_text, {}, ""),
    "truncated": (_truncated, {}, ""),
    "smaller than the window": (_one_pixel, {}, ""),
    "more than its format holds": (_deep_into_jpeg, {}, "JPEG can't hold"),
    "too many pixels": (_whole, {"max_pixels": 63}, "max-pixels"),
    "an output that exists": (_taken, {}, "it exists already"),
    "an output below a file": (_under_a_file, {}, "can't be written"),
    "an output whose name is too long": (
        lambda folder: job(paint(folder / "a.png"), folder / f"{'x' * 300}.png"),
        {},
        "too long",
    ),
}


@pytest.mark.parametrize("way", FAILURES)
def test_every_failure_is_plain_text_that_survives_the_pipe(way: str, tmp_path: Path) -> None:
    make, changes, words = FAILURES[way]

    outcome = runner.run_job(make(tmp_path), work(**changes))

    assert pickle.loads(pickle.dumps(outcome)) == outcome  # noqa: S301  # our own bytes
    assert outcome.status == "failed"
    assert outcome.error
    assert words in f"{outcome.error} {outcome.remedy}"
    assert json.loads(outcome.as_json())["error"]["message"] == outcome.error


FAULTS: Final = {
    "out of memory": (MemoryError(), "memory", False),
    "an error of ours": (AwkwardError(reason="odd"), "AwkwardError: odd", True),
    "an error without words": (ZeroDivisionError(), "ZeroDivisionError", True),
    "a full disk": (OSError(28, "No space left on device"), "No space left", False),
    "a name that is not UTF-8": (ValueError("caf\udce9"), "caf\udce9", True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_plain_text_that_survives_the_pipe(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exception, words, is_fault = FAULTS[fault]
    monkeypatch.setattr(codec, "decode_all", raising(exception))

    outcome = runner.run_job(_whole(tmp_path), work())

    assert pickle.loads(pickle.dumps(outcome)) == outcome  # noqa: S301  # our own bytes
    assert (outcome.status, outcome.is_fault) == ("failed", is_fault)
    assert words in (outcome.error or "")
    assert json.loads(outcome.as_json())["status"] == "failed"


def test_what_is_given_up_from_outside_counts_its_bytes(tmp_path: Path) -> None:
    given_up = job(tmp_path / "a.png", tmp_path / "out.png", bytes=7)

    assert runner.given_up(given_up, work(), "it took longer", "wait").input_bytes == 7


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), BrokenPipeError(), SystemExit()])
def test_what_ends_the_run_is_no_outcome(
    fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "decode_all", raising(fault))

    with pytest.raises(type(fault)):
        runner.run_job(_whole(tmp_path), work())


def test_what_a_worker_is_given_and_what_it_gives_back_survive_the_pipe(tmp_path: Path) -> None:
    whole = _whole(tmp_path)
    outcome = runner.run_job(whole, work())

    assert outcome.status == "done"
    for one in (whole, work(), outcome):
        assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301  # our own bytes


# In this process or in others


class _WorkersError(Exception):
    """Workers would have been started."""


@pytest.mark.parametrize(
    ("sizes", "count", "timeout", "uses_workers"),
    [
        ([100, 100], 2, None, False),
        ([workers.WORTHWHILE_BYTES // 2 - 1] * 2, 2, None, False),
        ([workers.WORTHWHILE_BYTES // 2] * 2, 2, None, True),
        ([workers.WORTHWHILE_BYTES // 2] * 2, 1, None, False),
        ([workers.WORTHWHILE_BYTES], 8, None, False),
        ([100, 100], 2, 5.0, True),
        ([100], 1, 5.0, True),
    ],
)
def test_workers_are_started_only_where_they_are_worth_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
    count: int,
    timeout: float | None,
    uses_workers: bool,
) -> None:
    jobs = [
        job(paint(tmp_path / f"{number}.png"), tmp_path / "out" / f"{number}.png", bytes=size)
        for number, size in enumerate(sizes)
    ]
    monkeypatch.setattr(workers, "_Crew", raising(_WorkersError()))
    outcomes = workers.run_all(jobs, work(), count=count, timeout=timeout)

    if uses_workers:
        with pytest.raises(_WorkersError):
            list(outcomes)
    else:
        assert [one.status for one in outcomes] == ["done"] * len(jobs)


def test_pictures_that_need_no_work_count_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_Crew", raising(_WorkersError()))
    huge = {"bytes": workers.WORTHWHILE_BYTES}
    jobs = [
        job(tmp_path / "a.png", tmp_path / "out.png", skip=True, **huge),
        job(tmp_path / "b.png", tmp_path / "out.png", refusal="no", **huge),
        _whole(tmp_path),
    ]

    outcomes = workers.run_all(jobs, work(), count=8)
    assert sorted(one.status for one in outcomes) == ["done", "failed", "skipped"]


def test_once_told_to_stop_no_more_is_handed_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    jobs = [job(paint(tmp_path / f"{number}.png"), out / f"{number}.png") for number in range(5)]

    outcomes = workers.run_all(jobs, work(), count=1, stopping=lambda: len(contents(out)) > 1)
    assert [one.status for one in outcomes] == ["done", "done"]
    assert sorted(contents(out)) == ["0.png", "1.png"]


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(["fork", "spawn", "forkserver"], "forkserver"), (["spawn"], "spawn")],
)
def test_processes_are_never_plainly_forked(
    monkeypatch: pytest.MonkeyPatch, methods: list[str], expected: str
) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)

    assert workers._context().get_start_method() == expected


def test_the_usable_processors_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert workers.usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= workers.usable_cpus() <= len(before)


@pytest.mark.parametrize(
    ("group", "quotas", "expected"),
    [
        ("0::/", {"cpu.max": "300000 100000"}, 3),
        ("0::/", {"cpu.max": "max 100000"}, 64),
        ("0::/", {}, 64),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/a.slice/b:c", {"a.slice/b:c/cpu.max": "150000 100000"}, 2),
        ("0::/a.slice/b", {"a.slice/cpu.max": "400000 100000", "a.slice/b/cpu.max": "max 9"}, 4),
        ("0::/of/the/host", {"cpu.max": "500000 100000"}, 5),
        ("0::/../..", {"cpu.max": "500000 100000"}, 5),
        (
            "9:name=systemd:/\n3:cpu,cpuacct:/docker/x\n0::/",
            {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
    ],
)
def test_the_quota_of_every_control_group_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    quotas: dict[str, str],
    expected: int,
) -> None:
    (tmp_path / "groups").write_text(f"{group}\n")
    for name, text in quotas.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    monkeypatch.setattr(workers, "CGROUPS", str(tmp_path / "groups"))
    monkeypatch.setattr(workers, "CGROUP_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    assert workers.usable_cpus() == expected


# The same whoever does it


SPAWN = "import multiprocessing as one; one.get_all_start_methods = lambda: ['spawn']"


@pytest.mark.parametrize("flags", [("-j", 1), ("-j", 3, *FORCE)])
def test_outputs_do_not_depend_on_the_number_of_workers(
    run: Run, gallery: Path, tmp_path: Path, expected: dict[str, bytes], flags: tuple[object, ...]
) -> None:
    done = run(*HALVE, *flags, gallery, "out")

    assert done.returncode == 0
    assert contents(tmp_path / "out") == expected


TELL_OF_WORKERS = """
import poolcli.executors.processes
hired = poolcli.executors.processes._Crew._hired
def telling(crew):
    print("hired", flush=True)
    return hired(crew)
poolcli.executors.processes._Crew._hired = telling
"""


def test_large_batches_use_workers_of_their_own_accord(gallery: Path, tmp_path: Path) -> None:
    first = TELL_OF_WORKERS + "poolcli.executors.processes.WORTHWHILE_BYTES = 1"

    done = run_after(first, *HALVE, "-j", 2, gallery, "out", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.decode().split() == ["hired", "hired"]


def test_where_there_is_no_fork_server_workers_are_spawned(
    gallery: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    done = run_after(SPAWN, *HALVE, "-j", 2, *FORCE, gallery, "out", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == expected


def test_no_more_workers_live_at_a_time_than_were_asked_for(tmp_path: Path) -> None:
    fifos = [tmp_path / f"{number}.png" for number in range(5)]
    for fifo in fifos:
        os.mkfifo(fifo)
    with started(*HALVE, "-j", 3, *FORCE, *fifos, "out", cwd=tmp_path) as process:
        for fifo in fifos[:3]:
            with held(fifo):
                assert len(workers_of(process)) <= 3
        for fifo in fifos[3:]:
            with held(fifo):
                assert len(workers_of(process)) <= 3


def test_no_process_is_left_at_the_end(gallery: Path, tmp_path: Path) -> None:
    with started(*HALVE, "-j", 2, *FORCE, gallery, "out", cwd=tmp_path) as process:
        assert finish(process).returncode == 0
        until(lambda: gone(process))


# Time runs out


@pytest.mark.parametrize("count", [1, 2])
def test_a_hanging_picture_is_given_up_and_the_next_one_is_done_soon(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes], count: int
) -> None:
    words = (*HALVE, "--json", "-j", count, "--timeout", 1, hanging, gallery, "out")
    times = {}
    with started(*words, cwd=tmp_path) as process:
        for one in lines(process):
            times[os.path.basename(one.get("input", "summary"))] = time.monotonic()
            if one.get("input") == str(hanging):
                failure = one
            elif "summary" in one:
                summary = one["summary"]
        done = finish(process)

    assert done.returncode == 1
    assert failure["status"] == "failed"
    assert failure["error"]["message"] == "it took longer than 1 second"
    assert "--timeout" in failure["error"]["remedy"]
    assert (summary["done"], summary["failed"], summary["left"]) == (6, 1, 0)
    assert contents(tmp_path / "out") == expected
    if count == 1:
        assert times["a.png"] - times[hanging.name] < 5  # a second, and patience for a busy machine


def test_one_picture_alone_can_time_out_too(run: Run, hanging: Path, tmp_path: Path) -> None:
    done = run(*HALVE, "--timeout", 0.5, hanging, "out.png")

    assert done.returncode == 1
    assert "0.5 seconds" in done.stderr.decode()
    assert os.listdir(tmp_path) == [hanging.name]


def test_a_film_without_end_is_given_up(run: Run, tmp_path: Path) -> None:
    frame = saved(Image.new("L", (16, 16)), "GIF")
    begin = frame.index(b",")
    (tmp_path / "in.gif").write_bytes(frame[:begin] + frame[begin:-1] * 200_000 + b";")
    done = run(*HALVE, "--timeout", 1, "in.gif", "out.gif")

    assert done.returncode == 1
    assert "1 second" in done.stderr.decode()
    assert os.listdir(tmp_path) == ["in.gif"]


@pytest.mark.parametrize("seconds", ["30", "3e6", "1e12", "1e300"])
def test_pictures_in_time_do_not_time_out(run: Run, gallery: Path, seconds: str) -> None:
    assert run(*HALVE, "--timeout", seconds, gallery, "out").returncode == 0


@pytest.mark.parametrize("paths", [("-", "out.png"), ("in/a.png", "-"), ("in/a.png", "/dev/null")])
def test_a_stream_has_no_timeout(run: Run, gallery: Path, paths: tuple[str, str]) -> None:
    picture = (gallery / "a.png").read_bytes()

    refused = run(*HALVE, "--timeout", 5, *paths, input=picture)
    ignored = run(*HALVE, *paths, input=picture, environment={"POOLCLI_TIMEOUT": "5"})
    assert (refused.returncode, ignored.returncode) == (2, 0)
    assert b"--timeout" in refused.stderr
    assert refused.stdout == b""


def test_the_environment_can_set_the_timeout(run: Run, gallery: Path, hanging: Path) -> None:
    done = run(*(*HALVE, "--json", hanging, gallery, "out"), environment={"POOLCLI_TIMEOUT": "0.5"})

    assert done.returncode == 1
    assert statuses(done)["hanging.png"] == "failed"


# Workers die


DIES = """
import os
link = os.link
def fatal(source, target, **options):
    if os.fsdecode(target).endswith({name!r}) and not os.path.exists({mark!r}):
        {before}
        os.kill(os.getpid(), 9)
    link(source, target, **options)
os.link = fatal
"""


@pytest.mark.parametrize(("count", "name"), [(1, "a.png"), (2, "c.png"), (2, "f.png")])
def test_the_picture_of_a_worker_that_died_is_tried_once_more(
    gallery: Path, tmp_path: Path, expected: dict[str, bytes], count: int, name: str
) -> None:
    mark = str(tmp_path / "died")
    code = DIES.format(name=name, mark=mark, before=f"open({mark!r}, 'w').close()")
    words = (*HALVE, "--json", "-j", count, *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))

    assert os.path.exists(mark)
    assert done.returncode == 0, done.stderr
    assert set(statuses(done).values()) == {"done"}
    assert list(statuses(done))[-1] == name  # alone, after all others
    assert contents(tmp_path / "out") == expected


def test_a_picture_of_which_two_workers_die_fails_alone(
    gallery: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    code = DIES.format(name="c.png", mark="/nowhere", before="pass")
    words = (*HALVE, "--json", "-j", 2, *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))
    del expected["c.png"]

    assert done.returncode == 1
    assert [name for name, status in statuses(done).items() if status == "failed"] == ["c.png"]
    assert len(statuses(done)) == 6
    assert b"signal 9" in done.stderr
    assert contents(tmp_path / "out") == expected


def test_a_picture_that_was_written_when_its_worker_died_is_done(
    gallery: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    code = """
import os
link = os.link
def fatal(source, target, **options):
    link(source, target, **options)
    if os.fsdecode(target).endswith("c.png"):
        os.kill(os.getpid(), 9)
os.link = fatal
"""
    words = (*HALVE, "--json", "-j", 2, *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))

    assert contents(tmp_path / "out") == expected
    assert (done.returncode, set(statuses(done).values())) == (0, {"done"}), done.stderr


def test_an_error_that_does_not_unpickle_costs_its_own_picture_only(
    gallery: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    code = """
import os
class AwkwardError(Exception):
    def __init__(self, *, reason):
        super().__init__(reason)
link = os.link
def fail(source, target, **options):
    if os.fsdecode(target).endswith("c.png"):
        raise AwkwardError(reason="odd")
    link(source, target, **options)
os.link = fail
"""
    words = (*HALVE, "-j", 2, *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))
    del expected["c.png"]

    assert done.returncode == 70
    assert b"AwkwardError: odd" in done.stderr
    assert contents(tmp_path / "out") == expected


def test_a_killed_worker_is_replaced_and_its_picture_is_tried_again_after_the_others(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    words = (*HALVE, "--json", "-j", 1, *FORCE, hanging, gallery, "out")
    with started(*words, cwd=tmp_path) as process:
        for _ in range(2):
            with held(hanging):
                (worker,) = until(lambda: readers_of(hanging, process))
                os.kill(worker, signal.SIGKILL)
                until(lambda: worker not in family(process))  # noqa: B023  # called at once
        done = finish(process)

    assert done.returncode == 1
    assert statuses(done) == {"hanging.png": "failed"} | dict.fromkeys(expected, "done")
    assert list(statuses(done))[-1] == "hanging.png"
    assert b"died twice (signal 9)" in done.stderr
    assert contents(tmp_path / "out") == expected


def test_an_idle_worker_that_is_killed_costs_nothing(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    words = (*HALVE, "--json", "-j", 3, *FORCE, hanging, gallery, "out")
    with started(*words, cwd=tmp_path) as process:
        with held(hanging) as descriptor:
            until(lambda: contents(tmp_path / "out") == expected)
            idle = set(workers_of(process)) - set(readers_of(hanging, process))
            for one in idle:
                os.kill(one, signal.SIGKILL)
            os.write(descriptor, (gallery / "a.png").read_bytes())
        done = finish(process)

    assert idle
    assert done.returncode == 0
    assert set(statuses(done).values()) == {"done"}


def test_workers_that_die_at_their_start_end_the_run_as_a_fault(
    gallery: Path, tmp_path: Path
) -> None:
    code = """
import os, multiprocessing.process
multiprocessing.process.BaseProcess._bootstrap = lambda *_, **__: os._exit(3)
"""
    words = (*HALVE, "-j", 2, *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))

    assert done.returncode == 70
    assert b"exit code 3" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


NO_ROOM: Final = """
import errno, os
from multiprocessing import forkserver
def fail(*_):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
forkserver.ensure_running = fail
"""


def test_a_system_without_room_for_workers_is_told_as_such(gallery: Path, tmp_path: Path) -> None:
    done = run_after(NO_ROOM, *HALVE, "-q", "--timeout", 60, gallery, "out", cwd=tmp_path)
    (said,) = done.stderr.decode().splitlines()

    assert done.returncode == 70
    assert f"no worker can be started ({os.strerror(errno.EMFILE)})" in said
    assert not (tmp_path / "out").exists()


def test_the_death_of_the_fork_server_is_not_taken_for_an_interruption(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    words = (*HALVE, "-j", 1, *FORCE, hanging, gallery, "out")
    with started(*words, cwd=tmp_path) as process:
        with held(hanging):
            (worker,) = until(lambda: readers_of(hanging, process))
            server = family(process)[worker]
            for one in (server, worker):
                os.kill(one, signal.SIGKILL)
        until(lambda: process.poll() is not None or contents(tmp_path / "out") == expected)
        code = process.poll()

    assert code in (None, 70)


# Nothing is left of what was given up


HANGS_BEFORE_NAMING = """
import os, time
replace = os.replace
def hang(source, target):
    if os.fsdecode(target).endswith("f.png"):
        open({mark!r}, "w").close()
        time.sleep(1000)
    replace(source, target)
os.replace = hang
"""


def _interrupt_twice(process: Process) -> None:
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    while b"Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)


GIVEN_UP: Final[dict[str, tuple[tuple[object, ...], Callable[[Process], None], int]]] = {
    "too late": (("--timeout", 1), lambda _: None, 1),
    "interrupted twice": (FORCE, _interrupt_twice, 130),
    "terminated": (FORCE, lambda process: process.send_signal(signal.SIGTERM), 143),
}


@pytest.mark.parametrize("how", GIVEN_UP)
def test_a_picture_that_is_given_up_while_it_is_written_vanishes_whole(
    gallery: Path, tmp_path: Path, how: str
) -> None:
    flags, disturb, code = GIVEN_UP[how]
    out = tmp_path / "out"
    paint_all(out, "f.png", side=2)
    old = (out / "f.png").read_bytes()
    mark = tmp_path / "hangs"
    variables = sabotage(tmp_path, HANGS_BEFORE_NAMING.format(mark=str(mark)))
    words = (*HALVE, "--overwrite", "-j", 1, *flags, gallery, "out")
    with started(*words, cwd=tmp_path, variables=variables) as process:
        until(mark.exists)
        disturb(process)
        done = finish(process)
        until(lambda: gone(process))

    assert done.returncode == code
    assert (out / "f.png").read_bytes() == old
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
