"""What only worker processes can do and suffer, seen from outside through the command line."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from PIL import Image

from poolcli.executors import WORTHWHILE_BYTES
from tests.pictures import saved
from tests.support.output import statuses
from tests.support.processes import (
    FORCE,
    HALVE,
    PATIENCE,
    POOLCLI,
    Process,
    Run,
    Words,
    environment,
    family,
    finish,
    gone,
    held,
    linux_only,
    readers_of,
    run_after,
    run_redirected,
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


def test_large_batches_use_allowed_workers_and_leave_none(
    hanging: Path, large: Path, tmp_path: Path
) -> None:
    with started(*HALVE, "-j", 2, large, hanging, "out", cwd=tmp_path) as process:
        with held(hanging):
            until(lambda: len(workers_of(process)) == 2)
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


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder of two pictures that are large enough for workers without a timeout."""
    side = 1 + int((WORTHWHILE_BYTES / 2) ** 0.5)
    (tmp_path / "large").mkdir()
    for name in ("a.pgm", "b.pgm"):
        header = b"P5 %d %d 255\n" % (side, side)
        (tmp_path / "large" / name).write_bytes(header + bytes(side * side))
    return tmp_path / "large"


POOR: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "a temporary folder with a long name": ("", {"TMPDIR": "{folder}/" + 110 * "x"}),
    "no temporary folder": ("", {"TMPDIR": "/nowhere", "HOME": "/nowhere"}),
    "no working folder": ("mkdir gone && cd gone && rmdir ../gone", {}),
    "few descriptors": ("ulimit -n 12", {}),
}


@pytest.mark.parametrize(("prepare", "variables"), POOR.values(), ids=POOR)
def test_workers_need_little_of_the_system(
    large: Path, tmp_path: Path, prepare: str, variables: dict[str, str]
) -> None:
    variables = {key: value.format(folder=tmp_path) for key, value in variables.items()}
    for path in variables.values():
        if path.startswith(str(tmp_path)):
            Path(path).mkdir()
    words = [*POOLCLI, *HALVE, "-j", 2, "--timeout", 600, large, tmp_path / "out"]
    script = f'{prepare or "true"}; exec "$@"'
    command = ["sh", "-c", script, "sh", *map(str, words)]
    options: Any = {"cwd": tmp_path, "env": environment(variables), "capture_output": True}
    done = subprocess.run(command, check=False, timeout=PATIENCE, **options)

    assert done.returncode == 0, done.stderr
    assert b"warning" not in done.stderr
    assert sorted(contents(tmp_path / "out")) == ["a.pgm", "b.pgm"]


REFUSED: Final = """
import errno, os
def fail(*_, **__):
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
os.{} = fail
"""
UNABLE: Final = {
    "no process may be started": (REFUSED.format("posix_spawn"), os.strerror(errno.EAGAIN)),
    "workers may not be forked": (REFUSED.format("fork"), "exit code 71"),
    "workers die at their start": (
        "import os; fork = os.fork; os.fork = lambda: fork() or os._exit(3)",
        "exit code 3",
    ),
}


@pytest.mark.parametrize(("code", "reason"), UNABLE.values(), ids=UNABLE)
def test_without_workers_pictures_are_pooled_in_one_process_with_one_warning(
    run: Run, large: Path, tmp_path: Path, code: str, reason: str
) -> None:
    variables = sabotage(tmp_path, code)
    run(*HALVE, "-q", "-j", 1, large, "expected")
    done = run_after("", *HALVE, "-j", 2, large, "out", cwd=tmp_path, variables=variables)
    warnings = [one for one in done.stderr.decode().splitlines() if "warning" in one]

    assert done.returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")
    assert len(warnings) == 1
    assert warnings[0].startswith("poolcli: warning: no worker can be started (")
    assert reason in warnings[0]

    done = run_after("", *HALVE, *FORCE, large, "none", cwd=tmp_path, variables=variables)
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert reason in line
    assert "--timeout" in line
    assert not (tmp_path / "none").exists()


# Standard streams


CLOSED: Final = [
    " ".join(f"{number}>&-" for number in numbers)
    for count in range(4)
    for numbers in itertools.combinations(range(3), count)
]


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("json", "flags"), [(False, ("-j", 1)), (True, FORCE)])
def test_no_pipe_or_file_takes_the_number_of_a_standard_stream_that_is_closed(
    gallery: Path, expected: dict[str, bytes], tmp_path: Path, closed: str, json: bool, flags: Words
) -> None:
    report = "--json" if json else "-q"
    done = run_redirected(closed, *HALVE, *flags, report, gallery, "out", cwd=tmp_path)
    out = contents(tmp_path / "out")

    if json and "1>" in closed:
        assert done.returncode == 2
        assert b"--json needs standard output, which is closed" in done.stderr or "2>" in closed
        assert out == {}
    else:
        assert (done.returncode, out) == (0, expected)
        assert set(statuses(done).values()) == ({"done"} if json else set())


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


def test_an_animation_that_takes_too_long_is_given_up(run: Run, tmp_path: Path) -> None:
    frame = saved(Image.new("L", (16, 16)), "GIF")
    begin = frame.index(b",")
    (tmp_path / "in.gif").write_bytes(frame[:begin] + frame[begin:-1] * 200_000 + b";")
    done = run(*HALVE, "--timeout", 0.1, "in.gif", "out.gif")

    assert done.returncode == 1
    assert "it took longer than 0.1 seconds" in done.stderr.decode()
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


def kill_parent(process: Process) -> None:
    process.kill()


def kill_server(process: Process) -> None:
    parents = family(process)
    (server,) = {parents[one] for one in workers_of(process)}
    process.kill()
    os.kill(server, signal.SIGKILL)


def signalling(number: signal.Signals) -> Callable[[Process], None]:
    return lambda process: process.send_signal(number)


ENDS: Final[dict[str, tuple[Callable[[Process], None], int]]] = {
    "kill": (kill_parent, -signal.SIGKILL),
    "kill both": (kill_server, -signal.SIGKILL),
    "hang up": (signalling(signal.SIGHUP), 129),
    "terminate": (signalling(signal.SIGTERM), 143),
    "quit": (signalling(signal.SIGQUIT), -signal.SIGQUIT),
}


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_no_process_and_no_folder_outlives_a_parent_whose_worker_waits_for_a_pipe(
    gallery: Path, hanging: Path, tmp_path: Path, end: Callable[[Process], None], code: int
) -> None:
    (tmp_path / "temporary").mkdir()
    variables = {"TMPDIR": str(tmp_path / "temporary")}
    words = (*HALVE, *FORCE, hanging, gallery, "out")
    with started(*words, cwd=tmp_path, variables=variables) as process, held(hanging):
        until(lambda: len(contents(tmp_path / "out")) == len(contents(gallery)))
        end(process)
        until(lambda: gone(process))
    assert process.returncode == code
    assert os.listdir(tmp_path / "temporary") == []


CLOCK_THAT_LEAPS: Final = """
import os, time
def leaping(clock=time.monotonic):
    if not os.path.exists("slept"):
        return clock()
    with open("slept", "ab") as stream:
        stream.write(b".")
    return clock() + 1e6
time.monotonic = leaping
"""
"""A clock on which eleven days pass while a file appears, and which counts who asks it then."""


def test_time_in_which_all_were_stopped_does_not_count_for_the_timeout(
    gallery: Path, hanging: Path, tmp_path: Path
) -> None:
    words = (*HALVE, "--timeout", 600, hanging, gallery / "a.png", "out")
    with started(*words, cwd=tmp_path, first=CLOCK_THAT_LEAPS) as process:
        with held(hanging) as descriptor:
            os.killpg(process.pid, signal.SIGSTOP)
            (tmp_path / "slept").touch()
            os.killpg(process.pid, signal.SIGCONT)
            until(lambda: (tmp_path / "slept").stat().st_size > 4)
            os.write(descriptor, (gallery / "a.png").read_bytes())
        assert finish(process).returncode == 0


# Interruptions from the beginning


INTERRUPTED: Final = """
import os, signal, sys
left = int(os.environ["EVENTS"])
def count_down(event, _):
    global left
    left -= 1
    if not left:
        os.close(os.open("reached", os.O_CREAT | os.O_WRONLY))
        os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(count_down)
"""
"""Interrupt a process after so many imports, openings of files and other events of Python."""


@pytest.mark.slow
def test_an_interruption_at_any_moment_prints_one_line_at_most(tmp_path: Path) -> None:
    paint_all(tmp_path, "in.png")
    variables = sabotage(tmp_path, INTERRUPTED)
    words = [*POOLCLI, *map(str, HALVE), "-qf", "in.png", "out.png"]
    codes = []
    for events in itertools.count(1, 60):
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env=environment(variables | {"EVENTS": str(events)}),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        codes.append(done.returncode)
        assert {*os.listdir(tmp_path)} <= {"in.png", "out.png", "sabotage", "reached"}
        if not (tmp_path / "reached").exists():
            break
        (tmp_path / "reached").unlink()
        # Before our first line runs, Python itself answers.
        if b"poolcli:" in done.stderr or done.returncode == 130:
            assert done.stderr in (b"", b"poolcli: interrupted; no incomplete file was left\n")
            assert done.returncode in (0, 130)
    assert codes.count(130) > len(codes) / 2
    assert codes[-1] == 0


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


LATE_IF_IT_HANGS: Final = """
import os
from poolcli.executors.processes import RunningTime
RunningTime.__call__ = lambda _: 9999.0 * os.path.exists("hangs")
"""
GIVEN_UP: Final[dict[str, tuple[Words, Callable[[Process], None], int]]] = {
    "too late": (FORCE, lambda _: None, 1),
    "interrupted twice": (FORCE, interrupt_twice, 130),
    "terminated": (FORCE, Process.terminate, 143),
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
    words = (*HALVE, "--overwrite", *flags, "-j", 1, gallery, "out")
    first = LATE_IF_IT_HANGS if how == "too late" else ""
    with started(*words, cwd=tmp_path, variables=variables, first=first) as process:
        until(mark.exists)
        disturb(process)
        done = finish(process)
        until(lambda: gone(process))

    assert done.returncode == code
    assert (out / "f.png").read_bytes() == old
    assert [name for name in os.listdir(out) if name.startswith(".")] == []
