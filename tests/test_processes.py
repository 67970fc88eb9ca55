"""What only worker processes can do and suffer, seen from outside through the command line."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from PIL import Image

from poolcli.executors import WORTHWHILE_BYTES
from tests.pictures import saved
from tests.support.output import statuses
from tests.support.processes import (
    FORCE,
    HALVE,
    Process,
    Run,
    Words,
    family,
    finish,
    gone,
    held,
    linux_only,
    readers_of,
    run_after,
    sabotage,
    started,
    until,
    workers_of,
)
from tests.support.trees import contents, paint_all

pytestmark = linux_only


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A folder of six small pictures."""
    return paint_all(tmp_path / "in", *(f"{name}.png" for name in "abcdef"))


@pytest.fixture
def expected(run: Run, gallery: Path, tmp_path: Path) -> dict[str, bytes]:
    """What becomes of the gallery in one process."""
    assert run(*HALVE, "-q", "-j", 1, gallery, "expected").returncode == 0
    return contents(tmp_path / "expected")


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """A FIFO to which nobody writes, so that whoever reads it hangs."""
    path = tmp_path / "hanging.png"
    os.mkfifo(path)
    return path


# Starts


def test_large_batches_use_allowed_workers_and_leave_none(hanging: Path, tmp_path: Path) -> None:
    side = 1 + int((WORTHWHILE_BYTES / 2) ** 0.5)
    for name in ("a.pgm", "b.pgm"):
        header = b"P5 %d %d 255\n" % (side, side)
        (tmp_path / name).write_bytes(header + bytes(side * side))
    with started(*HALVE, "-j", 2, "a.pgm", "b.pgm", hanging, "out", cwd=tmp_path) as process:
        with held(hanging):
            assert len(workers_of(process)) == 2
        assert finish(process).returncode == 1
        until(lambda: gone(process))
    assert sorted(contents(tmp_path / "out")) == ["a.pgm", "b.pgm"]


def test_no_more_workers_live_at_a_time_than_were_asked_for(tmp_path: Path) -> None:
    fifos = [tmp_path / f"{number}.png" for number in range(5)]
    for fifo in fifos:
        os.mkfifo(fifo)
    with started(*HALVE, *FORCE, "-j", 3, *fifos, "out", cwd=tmp_path) as process:
        for fifo in fifos:
            with held(fifo):
                assert len(workers_of(process)) <= 3


def test_workers_that_die_at_their_start_are_a_fault(gallery: Path, tmp_path: Path) -> None:
    code = """
import os, multiprocessing.process
multiprocessing.process.BaseProcess._bootstrap = lambda *_, **__: os._exit(3)
"""
    words = (*HALVE, *FORCE, gallery, "out")
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


def test_a_system_without_room_for_workers_is_told(run: Run, gallery: Path, tmp_path: Path) -> None:
    done = run(*HALVE, "-q", *FORCE, gallery, "out", first=NO_ROOM)
    (line,) = done.stderr.decode().splitlines()

    assert done.returncode == 70
    assert f"no worker can be started ({os.strerror(errno.EMFILE)})" in line
    assert not (tmp_path / "out").exists()


# Timeouts


@pytest.mark.parametrize(
    ("flags", "variables"), [(("--timeout", 0.5), {}), ((), {"POOLCLI_TIMEOUT": "0.5"})]
)
def test_a_picture_that_hangs_is_given_up_even_alone(
    run: Run, hanging: Path, tmp_path: Path, flags: Words, variables: dict[str, str]
) -> None:
    done = run(*HALVE, *flags, hanging, "out.png", environment=variables)

    assert done.returncode == 1
    assert "it took longer than 0.5 seconds" in done.stderr.decode()
    assert os.listdir(tmp_path) == [hanging.name]


@pytest.mark.slow
def test_an_animation_that_takes_too_long_is_given_up(run: Run, tmp_path: Path) -> None:
    frame = saved(Image.new("L", (16, 16)), "GIF")
    begin = frame.index(b",")
    (tmp_path / "in.gif").write_bytes(frame[:begin] + frame[begin:-1] * 200_000 + b";")
    done = run(*HALVE, "--timeout", 1, "in.gif", "out.gif")

    assert done.returncode == 1
    assert "1 second" in done.stderr.decode()
    assert os.listdir(tmp_path) == ["in.gif"]


@pytest.mark.parametrize("paths", [("-", "out.png"), ("in/a.png", "-"), ("in/a.png", "/dev/null")])
def test_a_stream_has_no_timeout(run: Run, gallery: Path, paths: tuple[str, str]) -> None:
    picture = (gallery / "a.png").read_bytes()

    refused = run(*HALVE, "--timeout", 5, *paths, input=picture)
    ignored = run(*HALVE, *paths, input=picture, environment={"POOLCLI_TIMEOUT": "5"})
    assert (refused.returncode, ignored.returncode) == (2, 0)
    assert b"--timeout" in refused.stderr
    assert refused.stdout == b""


# Deaths


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
    words = (*HALVE, "--json", *FORCE, gallery, "out")
    done = run_after("", *words, cwd=tmp_path, variables=sabotage(tmp_path, code))

    assert contents(tmp_path / "out") == expected
    assert (done.returncode, set(statuses(done).values())) == (0, {"done"}), done.stderr
    assert list(statuses(done))[-1] == "c.png"


def test_an_idle_worker_that_is_killed_costs_nothing(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    words = (*HALVE, "--json", *FORCE, "-j", 3, hanging, gallery, "out")
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


def test_the_death_of_the_fork_server_is_not_taken_for_an_interruption(
    gallery: Path, hanging: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    words = (*HALVE, *FORCE, "-j", 1, hanging, gallery, "out")
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


HANGS_BEFORE_NAMING: Final = """
import os, time
replace = os.replace
def hang(source, target):
    if os.fsdecode(target).endswith("f.png"):
        open({mark!r}, "w").close()
        time.sleep(1000)
    replace(source, target)
os.replace = hang
"""


def interrupt_twice(process: Process) -> None:
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    while b"Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)


GIVEN_UP: Final[dict[str, tuple[Words, Callable[[Process], None], int]]] = {
    "too late": (("--timeout", 2), lambda _: None, 1),
    "interrupted twice": (FORCE, interrupt_twice, 130),
    "terminated": (FORCE, Process.terminate, 143),
}


@pytest.mark.parametrize(
    "how", [pytest.param("too late", marks=pytest.mark.slow), "interrupted twice", "terminated"]
)
def test_a_picture_that_is_given_up_while_it_is_written_vanishes_whole(
    gallery: Path, tmp_path: Path, how: str
) -> None:
    flags, disturb, code = GIVEN_UP[how]
    out = tmp_path / "out"
    paint_all(out, "f.png", side=2)
    old = (out / "f.png").read_bytes()
    mark = tmp_path / "hangs"
    variables = sabotage(tmp_path, HANGS_BEFORE_NAMING.format(mark=str(mark)))
    words = (*HALVE, "--overwrite", *flags, "-j", 1, gallery, "out")
    with started(*words, cwd=tmp_path, variables=variables) as process:
        until(mark.exists)
        disturb(process)
        done = finish(process)
        until(lambda: gone(process))

    assert done.returncode == code
    assert (out / "f.png").read_bytes() == old
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
