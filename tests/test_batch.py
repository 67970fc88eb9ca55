"""Folders pooled by real processes: what they make, what they print, and what faults cost."""

from __future__ import annotations

import os
import re
import select
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli.report import JSON_KEYS, SUMMARY_KEYS
from tests.support.output import (
    ODD_NAMES,
    complaints,
    counts,
    has_only_printable_lines,
    objects,
    outcomes,
    statuses,
    summary,
)
from tests.support.processes import (
    EXECUTORS,
    FORCE,
    HALVE,
    Done,
    Process,
    Run,
    Words,
    asleep,
    either_executor,
    environment,
    family,
    finish,
    gone,
    held,
    interrupt_all,
    kill_all,
    linux_only,
    root_only,
    started,
    until,
    workers_of,
)
from tests.support.terminal import CONTROLS, HIDE_CURSOR, SHOW_CURSOR, Terminal
from tests.support.trees import (
    PLACES,
    contents,
    new_folder,
    paint,
    paint_all,
    size_of,
    snapshot,
)
from tests.support.warm import ForkServer

pytestmark = [linux_only, pytest.mark.usefixtures("gallery")]

VARYING: Final = {"status", *(key for key in JSON_KEYS if key.endswith(("_seconds", "_bytes")))}


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO: a run that reads it stands still until it is fed."""
    path = tmp_path / "fifo.png"
    os.mkfifo(path)
    return path


# What becomes of folders


def test_a_folder_is_pooled_as_its_files_alone(run: Run, gallery: Path, tmp_path: Path) -> None:
    done = run(*HALVE, "in", "out")
    pooled = contents(tmp_path / "out")

    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(pooled) == sorted(PLACES)
    for place in PLACES:
        assert run(*HALVE, gallery / place, "-").stdout == pooled[place]
    assert {size_of(tmp_path / "out" / place) for place in PLACES} == {(4, 4)}


def test_the_output_may_lie_in_the_input_again_and_again(run: Run, gallery: Path) -> None:
    for _ in range(2):
        assert run(*HALVE, "--overwrite", "in", "in/small").returncode == 0

    assert sorted(contents(gallery / "small")) == sorted(PLACES)


@pytest.mark.parametrize("words", [("-0", "-print0"), ("-print",)])
def test_what_find_finds_is_taken_from_a_pipe_or_a_descriptor(
    run: Run, gallery: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    *null, action = words
    finding = ["find", ".", "-name", "*.[pw]*", action]
    found = subprocess.run(finding, cwd=gallery, capture_output=True, check=True).stdout
    reader, writer = os.pipe()
    os.write(writer, found)
    os.close(writer)
    listed = (*HALVE, *null, "--files-from")
    piped = run(*listed, "-", "../piped", input=found, cwd=gallery)
    named = run(*listed, f"/dev/fd/{reader}", "../named", pass_fds=(reader,), cwd=gallery)
    os.close(reader)

    assert (piped.returncode, named.returncode) == (0, 0)
    for name in ("piped", "named"):
        assert sorted(contents(tmp_path / name)) == ["a.png", "sub/deep/d.webp"]


def test_a_whole_folder_gets_one_format_and_new_names(run: Run, tmp_path: Path) -> None:
    name = "{parent}-{stem}-{ext}-{method}{size}s{stride}"
    words = ("-k", "2x1", "-s", 2, "--format", "jpeg", "--name", name)

    assert run("avg", *words, "in", "out").returncode == 0
    assert sorted(contents(tmp_path / "out")) == [
        *("in-a-png-avg2x1s2.jpg", "in-b-jpg-avg2x1s2.jpg"),
        *("sub/deep/deep-d-webp-avg2x1s2.jpg", "sub/sub-c-tif-avg2x1s2.jpg"),
    ]
    assert all(one.startswith(b"\xff\xd8") for one in contents(tmp_path / "out").values())


def test_a_folder_keeps_its_times_and_mode_bits(run: Run, gallery: Path, tmp_path: Path) -> None:
    for number, place in enumerate(PLACES):
        (gallery / place).chmod(0o600 + number)
        os.utime(gallery / place, ns=(10**18, 10**18 + number))
    run(*HALVE, "--preserve", "in", "out")

    for number, place in enumerate(PLACES):
        kept = (tmp_path / "out" / place).stat()
        assert (kept.st_mtime_ns, stat.S_IMODE(kept.st_mode)) == (10**18 + number, 0o600 + number)


TELL_OF_SYNC: Final = """
import os
def telling(real):
    return lambda *words: (os.write(1, b"synced"), real(*words))
os.sync, os.fsync = telling(os.sync), telling(os.fsync)
"""


@pytest.mark.parametrize("words", [("in/a.png", "new.png"), ("in/a.png", "out/"), ("in", "out")])
def test_what_was_written_is_synced_to_disk(run: Run, words: Words) -> None:
    done = run(*HALVE, "-q", *words, first=TELL_OF_SYNC)

    assert done.returncode == 0
    assert b"synced" in done.stdout


# Refusals


def test_a_refused_plan_is_told_by_reason_and_touches_nothing(run: Run, tmp_path: Path) -> None:
    paint_all(tmp_path / "own", *(f"{number}.png" for number in range(7)), "x.png", "sub/0.png")
    paint_all(tmp_path / "out", *(f"{number}.png" for number in range(1, 7)))
    os.link(tmp_path / "own/x.png", tmp_path / "out/x.png")
    before = snapshot(tmp_path)
    words = (*HALVE, "--json", "own", "own/sub", "out")
    done, verbose = run(*words), run(*words, "-v")

    assert (done.returncode, done.stdout) == (2, b"")
    assert len(complaints(done)) == 3
    (exists,) = (line for line in complaints(done) if "--overwrite" in line)
    assert "(7)" in exists
    assert [f"out/{number}.png" in exists for number in range(1, 7)] == [True] * 5 + [False]
    assert "out/6.png" in verbose.stderr.decode()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("first", "given", "code", "part"),
    [
        ("import os; os.chdir('empty')", "in", 3, ""),
        ("import os; os.chdir('gone'); os.rmdir('../gone')", "../in", 2, "working folder"),
    ],
    ids=["no pictures", "no working folder"],
)
def test_where_nothing_can_be_planned_one_line_tells_why(
    run: Run, tmp_path: Path, first: str, given: str, code: int, part: str
) -> None:
    for name in ("empty/in", "gone"):
        (tmp_path / name).mkdir(parents=True)
    done = run(*HALVE, "--json", given, "out", first=first)

    (complaint,) = complaints(done)
    assert (done.returncode, done.stdout) == (code, b"")
    assert part in complaint
    assert not [*tmp_path.rglob("out")]


# Faults of single pictures


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such file or directory; check the name and its permissions"),
        ("missing/", "No such file or directory; check the name and its permissions"),
        ("/proc/self/mem", "it can't be read"),  # its size can't be told
    ],
)
def test_an_input_that_cannot_be_read_fails_alone_and_with_its_reason(
    run: Run, tmp_path: Path, name: str, reason: str
) -> None:
    done = run(*HALVE, "--format", "png", "in", name, "out/")

    (complaint,) = complaints(done)
    assert done.returncode == 1
    assert complaint.startswith(f"poolcli: {name}: ")
    assert reason in complaint
    assert len(contents(tmp_path / "out")) == len(PLACES)


def test_odd_things_cost_only_themselves(run: Run, gallery: Path, tmp_path: Path) -> None:
    os.mkfifo(gallery / "fifo.png")
    links = {"loop": "loop.png", "broken": "nowhere.png", "up": "..", "device": "/dev/zero"}
    for name, target in links.items():
        (gallery / f"{name}.png").symlink_to(target)
    (gallery / "up").symlink_to("..")
    for name in ("text.png", "notes"):
        (gallery / name).write_text("no picture")
    (gallery / "empty.png").touch()
    (gallery / "cut.png").write_bytes((gallery / "a.png").read_bytes()[:-40])
    done = run(*HALVE, "--json", "in", "in/notes", "out/")

    failed = {name for name, status in statuses(done).items() if status == "failed"}
    assert done.returncode == 1
    assert failed == {"loop.png", "broken.png", "text.png", "empty.png", "cut.png", "notes"}
    assert len(complaints(done)) == len(failed)
    assert sorted(contents(tmp_path / "out")) == sorted(PLACES)


@pytest.mark.parametrize("flags", [(), FORCE[2:]], ids=EXECUTORS)
def test_a_vanished_input_fails_alone_and_a_new_output_is_not_clobbered(
    gallery: Path, tmp_path: Path, fifo: Path, picture: bytes, flags: Words
) -> None:
    words = (*HALVE, "--json", *flags, "-j", 1, fifo, "in", "out")
    with started(*words, cwd=tmp_path) as process:
        with held(fifo) as descriptor:
            (gallery / "sub/c.tif").unlink()
            (tmp_path / "out").mkdir()
            (tmp_path / "out/b.jpg").write_bytes(b"somebody else's")
            os.write(descriptor, picture)
        done = finish(process)

    assert done.returncode == 1
    assert counts(done) == (3, 0, 2, 0)
    assert [one.split(": ")[1] for one in complaints(done)] == ["out/b.jpg", "in/sub/c.tif"]
    assert (tmp_path / "out/b.jpg").read_bytes() == b"somebody else's"
    assert sorted(contents(tmp_path / "out")) == ["a.png", "b.jpg", "fifo.png", "sub/deep/d.webp"]


BECOME_NOBODY: Final = """
import io, os
from rich.console import Console
from rich.table import Table
Console(file=io.StringIO()).print(Table("→ what is imported late, and may be root's"))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may write to, holding a small tree that everybody may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paint_all(folder, *(f"in/{one}" for one in PLACES), "one/x.png", "two/x.png", "out/a.png")
        (folder / "out/sub").mkdir()
        paths = (folder, *folder.rglob("*"))
        for path in paths:
            path.chmod(0o777)
        yield folder
        for path in paths:
            path.chmod(0o777)


@root_only
@pytest.mark.parametrize(
    ("locked", "mode", "words", "failing"),
    [
        ("in/sub/c.tif", 0, "in out", "in/sub/c.tif"),
        ("in/sub", 0, "in out", "in/sub"),
        ("in/sub", 0, "in new", "in/sub"),
        ("one", 0, "one in out", "one"),
        ("one two", 0, "one two in new", "one two"),
    ],
)
def test_what_may_not_be_read_or_written_fails_alone(
    run: Run, public: Path, locked: str, mode: int, words: str, failing: str
) -> None:
    for name in locked.split():
        (public / name).chmod(mode)
    flags = ("--json", "--overwrite")
    done = run(*HALVE, *flags, *words.split(), cwd=public, first=BECOME_NOBODY)

    pooled = [one["output"] for one in outcomes(done) if one["status"] == "done"]
    assert done.returncode == 1
    assert sorted(line.split(": ")[1] for line in complaints(done)) == failing.split()
    assert all("Permission denied" in line for line in complaints(done))
    assert all((public / one).exists() for one in pooled)
    assert pooled


@root_only
@pytest.mark.parametrize(
    ("locked", "words"),
    [
        ("out", "in/b.jpg in/sub out"),
        (".", "in/a.png in/b.jpg new/deep"),
        ("out", "in/a.png out/new.png"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_found_before_any_picture_is_opened(
    run: Run, public: Path, locked: str, words: str
) -> None:
    old = contents(public / "out")
    (public / locked).chmod(0o555)
    (public / "in/b.jpg").write_bytes(b"no picture")  # nobody looks into it
    done = run(*HALVE, "--json", "--overwrite", *words.split(), cwd=public, first=BECOME_NOBODY)
    assert (done.returncode, done.stdout, contents(public / "out")) == (2, b"", old)
    (line,) = complaints(done)
    assert "no file can be made in the folder" in line
    assert not (public / "new").exists()


@root_only
def test_a_failed_write_names_the_output_and_says_that_the_input_is_untouched(
    run: Run, public: Path
) -> None:
    (public / "out/sub").mkdir(exist_ok=True)
    (public / "out/sub").chmod(0o555)
    done = run(*HALVE, "--json", "--overwrite", "in", "out", cwd=public, first=BECOME_NOBODY)
    assert done.returncode == 1
    assert complaints(done)[0] == (
        "poolcli: out/sub/c.tif: it can't be written: Permission denied; in/sub/c.tif is untouched"
    )


# A full disk

ROOM: Final = 1 << 16
LIMIT_FILES: Final = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM},) * 2)"


@pytest.mark.parametrize("first", ["", LIMIT_FILES], ids=["disk", "limit"])
@pytest.mark.parametrize("flags", [("-j", 1), (*FORCE, "-j", 1)], ids=["process", "worker"])
def test_on_a_full_disk_what_fits_is_written_whole_and_the_rest_not_at_all(
    run: Run, tmp_path: Path, disk: Callable[..., Path], flags: Words, first: str
) -> None:
    if not first:
        disk(size=ROOM)
    paint_all(tmp_path / "own", "a.bmp", "sub/c.bmp")
    paint_all(tmp_path / "own", "b.bmp", "new/d.bmp", "old.bmp", side=500)
    (tmp_path / "disk/out").mkdir()
    (tmp_path / "disk/out/old.bmp").write_bytes(b"old")
    done = run(*HALVE, "--json", "-f", *flags, "own", "disk/out", first=first)

    left = contents(tmp_path / "disk/out")
    assert (done.returncode, counts(done)) == (1, (2, 0, 3, 0))
    assert left.pop("old.bmp") == b"old"
    assert {place: len(one) for place, one in left.items()} == {"a.bmp": 102, "sub/c.bmp": 102}
    assert sorted(os.listdir(tmp_path / "disk/out")) == ["a.bmp", "old.bmp", "sub"]


# Stopping at the first failure


def test_after_the_first_failure_no_more_is_begun(run: Run, gallery: Path, tmp_path: Path) -> None:
    (gallery / "a.png").write_text("no picture")
    finished = run(*HALVE, "--json", "--fail-fast", "-j", 1, "in", "out")

    assert finished.returncode == 1
    assert counts(finished) == (0, 0, 1, 3)
    assert contents(tmp_path / "out") == {}
    assert "3 left" in finished.stderr.decode()


# What is printed


def test_json_comes_as_pictures_are_finished(tmp_path: Path, fifo: Path, picture: bytes) -> None:
    with started(*HALVE, "--json", "in/a.png", fifo, "out", cwd=tmp_path) as process:
        assert process.stdout is not None
        with held(fifo) as descriptor:
            first = process.stdout.readline()
            assert not select.select([process.stdout], [], [], 0.2)[0]
            os.write(descriptor, picture)
        rest = finish(process)

    (outcome,) = objects(first)
    assert (outcome["input"], outcome["status"]) == ("in/a.png", "done")
    assert [set(one) for one in objects(rest.stdout)] == [set(JSON_KEYS), {"summary"}]


def test_json_tells_of_every_picture_and_adds_up(run: Run, gallery: Path, tmp_path: Path) -> None:
    (gallery / "b.jpg").write_text("no picture")
    old = paint(tmp_path / "out/a.png", 2).read_bytes()
    done = run(*HALVE, "--json", "--skip-existing", "in", "in/sub/c.tif", "out")

    totals, pooled = summary(done), [one for one in outcomes(done) if one["status"] == "done"]
    assert (tmp_path / "out/a.png").read_bytes() == old
    assert {tuple(one) for one in outcomes(done)} == {JSON_KEYS}
    assert statuses(done) == {"a.png": "skipped", "b.jpg": "failed"} | dict.fromkeys(
        ("c.tif", "d.webp"), "done"
    )
    assert {one["status"] for one in outcomes(done) if one["error"] is not None} == {"failed"}
    assert set(SUMMARY_KEYS) < set(totals)
    assert totals["exit_code"] == done.returncode == 1
    assert (totals["pixels_in"], totals["pixels_out"]) == (3 * 64, 3 * 16)
    for key, total in (("input", "bytes_in"), ("output", "bytes_out")):
        sizes = [len(contents(tmp_path)[one[key]]) for one in pooled]
        assert [one[f"{key}_bytes"] for one in pooled] == sizes
        assert totals[total] == sum(sizes)


def test_a_log_gets_plain_lines_and_each_failure_at_the_end(run: Run, gallery: Path) -> None:
    assert run(*HALVE, "-q", "in", "good").stderr == b""
    for name in ("b.jpg", "sub/c.tif"):
        (gallery / name).write_text("no picture")
    done, quiet = run(*HALVE, "in", "out"), run(*HALVE, "-q", "in", "quiet")

    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert has_only_printable_lines(text)
    assert "2 done, 2 failed" in text
    assert [line.split(": ")[1] for line in text.splitlines()[-2:]] == ["in/b.jpg", "in/sub/c.tif"]
    assert all("; " in line for line in complaints(done))
    assert quiet.stderr.decode().splitlines() == complaints(quiet) == complaints(done)


def test_verbose_tells_what_became_of_each_picture(run: Run, gallery: Path, tmp_path: Path) -> None:
    paint(tmp_path / "out/a.png", 2)
    paint(gallery / "odd.png", 7)
    words = (*HALVE, "--skip-existing", "in", "out")
    verbose = run(*words, "-v").stderr.decode()
    (tmp_path / "out/odd.png").unlink()
    plain = run(*words).stderr.decode()

    assert "in/a.png: skipped" in verbose
    assert "in/sub/c.tif → out/sub/c.tif" in verbose
    assert "1 row at the bottom" in verbose
    assert "1 row at the bottom" not in plain
    assert "1×" in plain
    assert "dropped" in plain


@pytest.mark.parametrize(("flags", "number"), [((), 1), (("-j", 2), 2)])
def test_the_number_of_workers_comes_from_the_environment_unless_told(
    tmp_path: Path, flags: Words, number: int
) -> None:
    fifos = [tmp_path / f"fifo{one}.png" for one in range(3)]
    for one in fifos:
        os.mkfifo(one)
    words, variables = (*HALVE, *FORCE[2:], *flags, *fifos, "out"), {"POOLCLI_JOBS": "1"}
    with (
        started(*words, cwd=tmp_path, variables=variables) as process,
        held(fifos[number - 1]),
    ):
        assert len(workers_of(process)) == number


def test_a_reader_of_json_may_leave_early(tmp_path: Path, fifo: Path, picture: bytes) -> None:
    words = (*HALVE, "-q", "--json", *FORCE, "-j", 1, "in/a.png", fifo, "in/b.jpg", "out")
    with started(*words, cwd=tmp_path) as process:
        assert process.stdout is not None
        with held(fifo) as descriptor:
            process.stdout.readline()
            process.stdout.close()
            os.write(descriptor, picture)
        process.stdout = None
        done = finish(process)
        until(lambda: gone(process))

    assert (done.returncode, done.stderr) == (141, b"")


# Terminals


def test_a_terminal_shows_progress_while_a_batch_runs_and_the_summary_after_it(
    tmp_path: Path, terminal: Terminal, fifo: Path, picture: bytes
) -> None:
    words = (*HALVE, *FORCE, "in", fifo, "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        with held(fifo) as descriptor:
            until(lambda: "4/5" in terminal.so_far)
            assert "done" not in terminal.so_far
            os.write(descriptor, picture)
        done = finish(process)

    text = terminal.all()
    assert (done.returncode, done.stdout) == (0, b"")
    assert "MP/s" in text
    assert text.count(HIDE_CURSOR) == text.count(SHOW_CURSOR) == 1
    assert "5 done" in text.rpartition(SHOW_CURSOR)[2]


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (("--no-progress",), {}),
        (("-q",), {}),
        ((), {"POOLCLI_PROGRESS": "0"}),
        ((), {"TERM": "dumb"}),
    ],
)
def test_progress_can_be_switched_off(
    run: Run, terminal: Terminal, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = run(*HALVE, *flags, "in", "out", stderr=terminal.theirs, environment=variables)

    text = terminal.all()
    assert done.returncode == 0
    assert HIDE_CURSOR not in text
    assert ("4 done" in text) is ("-q" not in flags)
    assert "\x1b" not in text or "TERM" not in variables


def test_a_long_name_fits_the_progress_bar(run: Run, tmp_path: Path, terminal: Terminal) -> None:
    paint_all(tmp_path / "own", "a.png", "n" * 150 + ".png")
    done = run(*HALVE, "own", "out", stderr=terminal.theirs, environment={"COLUMNS": "60"})

    last = terminal.all().rpartition(SHOW_CURSOR)[0].rpartition("\r\x1b[2K")[2]
    assert done.returncode == 0
    assert re.search("2/2 .* MP/s .*0:00:00.* n+…", last)


def test_no_time_is_estimated_for_what_needs_no_work(
    run: Run, tmp_path: Path, terminal: Terminal, fifo: Path, picture: bytes
) -> None:
    (tmp_path / "in/notes").write_bytes(bytes(10**6))
    assert run(*HALVE, "in", "out").returncode == 0
    words = (*HALVE, "--skip-existing", "in", "in/notes", fifo, "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        with held(fifo) as descriptor:
            os.write(descriptor, picture)
        assert finish(process).returncode == 1

    bar, _, after = terminal.all().rpartition(SHOW_CURSOR)
    assert "0:00:00" in bar
    assert "1 done, 4 skipped, 1 failed" in CONTROLS.sub("", after)


@pytest.mark.parametrize("shared", [False, True])
def test_progress_leaves_stdout_to_json(run: Run, terminal: Terminal, shared: bool) -> None:
    stdout = terminal.theirs if shared else None
    done = run(*HALVE, "--json", "-v", "in", "out", stderr=terminal.theirs, stdout=stdout)

    text = terminal.all()
    lines = text.splitlines() if shared else done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert (HIDE_CURSOR in text) is not shared
    assert [line[:8] for line in lines if "input" in line] == ['{"input"'] * 4


def test_a_second_ctrl_c_stops_at_once_and_restores_the_terminal(
    tmp_path: Path, terminal: Terminal, fifo: Path
) -> None:
    running = started(*HALVE, "in", fifo, "out", cwd=tmp_path, stderr=terminal.theirs)
    with running as process, held(fifo):
        until(lambda: "4/5" in terminal.so_far and asleep(process))
        interrupt_all(process)
        until(lambda: "Ctrl-C again" in terminal.so_far and asleep(process))
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for the picture in hand
            process.wait(0.3)
        interrupt_all(process)
        done = finish(process)

    assert done.returncode == 130
    assert terminal.all().count(SHOW_CURSOR) == 1
    assert "Traceback" not in terminal.all()
    assert sorted(contents(tmp_path / "out")) == sorted(PLACES)


# Names from outside

NAMES: Final = tuple(ODD_NAMES.values())


@pytest.fixture
def oddities(tmp_path: Path, picture: bytes) -> Path:
    """A folder of pictures with odd names, in one with which some look like Rich's markup."""
    folder = os.path.join(os.fsencode(tmp_path), b"odd", b"\x1b[31m\xff\n[bold][")
    os.makedirs(folder)
    for name in NAMES:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(picture)
    return tmp_path / "odd"


def test_odd_names_are_processed_and_shown_safely(run: Run, oddities: Path, tmp_path: Path) -> None:
    done = run(*HALVE, "--json", "-v", *FORCE, "odd", "out")
    outputs = [os.fsencode(one["output"]) for one in outcomes(done)]
    refused = run(*HALVE, "-v", "odd", "out")
    for path in oddities.glob("*/*"):
        path.write_text("no picture")
    failed = run(*HALVE, "-vv", "-f", *FORCE, "odd", "out")

    assert (done.returncode, refused.returncode, failed.returncode) == (0, 2, 1)
    assert contents(tmp_path / "out").keys() == contents(oddities).keys()
    assert sorted(map(os.path.basename, outputs)) == sorted(NAMES)
    assert all(os.path.exists(os.fsencode(tmp_path) + b"/" + one) for one in outputs)
    assert len(refused.stderr.splitlines()) == 1
    assert f"({len(NAMES)})" in refused.stderr.decode()
    assert f"{len(NAMES)} failed" in failed.stderr.decode()
    assert all(has_only_printable_lines(one.stderr.decode()) for one in (done, refused, failed))


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_odd_names_are_shown_safely_on_a_terminal(
    run: Run, oddities: Path, terminal: Terminal, flags: tuple[str, ...]
) -> None:
    next(oddities.glob("*/*")).write_text("no picture")
    done = run(*HALVE, *flags, "odd", "out", stderr=terminal.theirs)

    text = terminal.all()
    assert done.returncode == 1
    assert HIDE_CURSOR in text
    assert not [one for one in ("\x1b[31mred", "new\nline") if one in text]
    assert has_only_printable_lines(CONTROLS.sub("", text))


@pytest.mark.parametrize("null", [True, False])
def test_odd_names_are_listed(run: Run, oddities: Path, tmp_path: Path, null: bool) -> None:
    names = [name for name in NAMES if null or b"\n" not in name]
    given, flags = (b"\0".join(names), ("-0",)) if null else (b"\n".join(names), ())
    words = (*HALVE, "--files-from", "-", *flags, tmp_path / "out")
    done = run(*words, input=given, cwd=next(oddities.iterdir()))

    assert done.returncode == 0
    assert sorted(map(os.fsencode, contents(tmp_path / "out"))) == sorted(names)


# Dry runs


def without_varying(outcome: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs from run to run."""
    return {key: value for key, value in outcome.items() if key not in VARYING}


def test_a_dry_run_of_a_folder_tells_what_the_run_tells_and_writes_nothing(
    run: Run, samples: Path, gallery: Path, tmp_path: Path
) -> None:
    (gallery / "b.jpg").write_text("no picture")
    paint(gallery / "sub/c.tif", 1)
    paint(tmp_path / "out/a.png")
    before = snapshot(tmp_path)
    words = (*HALVE, "--json", "--include", "*.[pjwt][npie][gbf]*", "in", samples, "out")
    refused = run(*words, "-n")
    dry = run(*words, "-n", "--skip-existing")
    untouched = snapshot(tmp_path)

    assert refused.returncode == run(*words).returncode == 2
    real = run(*words, "--skip-existing")
    assert untouched == before
    assert dry.returncode == real.returncode == 1
    assert summary(dry)["planned"] == summary(real)["done"] > 5
    assert [statuses(dry)[name] for name in ("a.png", "b.jpg", "c.tif", "d.webp")] == [
        *("skipped", "failed", "failed", "planned")
    ]
    assert [*map(without_varying, outcomes(dry))] == [*map(without_varying, outcomes(real))]


MODES: Final = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "jpg": ["L", "RGB", "CMYK"],
    "tif": ["1", "L", "RGB", "RGBA", "I;16", "F"],
    "webp": ["RGB", "RGBA"],
    "bmp": ["1", "L", "RGB"],
    "gif": ["L", "P"],
}
KINDS: Final = [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
SIDE: Final = st.integers(1, 9)
PICTURES: Final = st.tuples(st.sampled_from(KINDS), st.tuples(SIDE, SIDE))


OPTIONS: Final = {
    "--stride": (1, 2, 3),
    "--padding": ("same", "valid"),
    "--dilation": (2,),
    "--ceil-mode": ("",),
    "--background": ("#090909",),
    "--format": ("png", "tiff", "jpeg", "gif", "pgm"),
    "--max-pixels": (40,),
}
WORDS: Final = st.tuples(
    st.sampled_from([("max",), ("min",), ("avg",)]),
    st.builds("--size={}x{}".format, st.integers(1, 4), st.integers(1, 4)).map(lambda one: (one,)),
    *(
        st.sampled_from([(), *((flag, one) if one else (flag,) for one in values)])
        for flag, values in OPTIONS.items()
    ),
).map(lambda parts: sum(parts, ()))


@pytest.mark.slow
@settings(max_examples=100)
@given(pictures=st.lists(PICTURES, min_size=1, max_size=4), words=WORDS)
def test_a_dry_run_equals_the_run_on_every_key_but_status_times_and_bytes(
    fork_server: ForkServer,
    pictures: list[tuple[tuple[str, str], tuple[int, int]]],
    words: Words,
) -> None:
    def run(*more: object) -> Done:
        return fork_server.run(*words, "--json", *more, "in", "out", cwd=top, variables={})

    with new_folder() as top:
        (top / "in").mkdir()
        for number, ((suffix, mode), extents) in enumerate(pictures):
            Image.new(mode, extents).save(f"in/{number}.{suffix}")
        before = snapshot(top)
        planned = run("--dry-run")
        untouched = snapshot(top)
        done = run()

    assert untouched == before
    assert planned.returncode == done.returncode
    if done.returncode < 2:
        assert len(outcomes(planned)) == len(outcomes(done)) == len(pictures)
        for dry, real in zip(outcomes(planned), outcomes(done), strict=True):
            assert (dry["status"], real["status"]) in {("planned", "done"), ("failed", "failed")}
            told = {key: (dry.pop(key), real.pop(key)) for key in ("warnings", "notes")}
            assert without_varying(dry) == without_varying(real)
            # Decoders and writers tell more than headers do.
            assert all(set(before) <= set(after) for before, after in told.values())


# Interruptions and kills

MANY: Final = 60
KILLS: Final = 12


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of pictures each of which takes its time."""
    names = [f"{'sub/' * (number % 3)}{number:02}.png" for number in range(MANY)]
    return paint_all(tmp_path_factory.mktemp("many") / "in", *names, side=160)


@pytest.fixture(scope="module")
def expected(many: Path, fork_server: ForkServer) -> dict[str, bytes]:
    """What becomes of all of them if nothing goes wrong."""
    out = many.parent / "expected"
    done = fork_server.run(*HALVE, "-q", "in", out, cwd=many.parent, variables=environment())
    assert (done.returncode, done.stderr) == (0, b"")
    return contents(out)


# A run that tells each outcome into a pipe that nobody reads soon has to wait: none ends before its
# test has done something to it, however late that comes.
HELD_UP: Final[dict[str, Any]] = {"pipesize": 4096, "bufsize": 0}


def read_lines(process: Process, number: int) -> bytes:
    """Read what a process prints of so many pictures, and often wait a moment more."""
    assert process.stdout is not None
    text = b"".join(process.stdout.readline() for _ in range(number))
    assert text.count(b"\n") == number
    time.sleep(max(0, np.random.default_rng().uniform(-0.01, 0.01)))
    return text


@pytest.fixture
def start(many: Path, tmp_path: Path) -> Callable[..., AbstractContextManager[Process]]:
    """Start to pool all of them into a folder called out."""

    def start(*words: object, **options: Any) -> AbstractContextManager[Process]:
        words = (*HALVE, "--json", *words, "in", tmp_path / "out")
        return started(*words, cwd=many.parent, **HELD_UP, **options)

    return start


Start = Callable[..., AbstractContextManager[Process]]


def end(process: Process) -> Done:
    """Wait until nothing of a run is left."""
    done = finish(process)
    until(lambda: gone(process))
    return done


@pytest.mark.slow
@either_executor
def test_whatever_is_killed_whenever_outputs_are_complete_and_the_rest_can_be_caught_up_on(
    start: Start, expected: dict[str, bytes], tmp_path: Path, flags: Words
) -> None:
    numbers = []
    for number in range(KILLS):
        with start("--skip-existing", *flags) as process:
            read_lines(process, number * MANY // KILLS + 1)
            process.kill()
            end(process)
        # A hidden file may stay until the next run; everything with a name of its own is whole.
        every = contents(tmp_path / "out").items()
        left = {place: content for place, content in every if ".poolcli-" not in place}
        numbers.append(len(left))
        assert left.items() <= expected.items()
    with start("--skip-existing", *flags) as process:
        done = end(process)

    assert sum(0 < number < MANY for number in numbers) >= 10
    assert len(set(numbers)) >= KILLS // 3
    assert done.returncode == 0
    assert counts(done) == (MANY - numbers[-1], numbers[-1], 0, 0)
    assert contents(tmp_path / "out") == expected


@pytest.mark.slow
def test_kills_while_outputs_are_replaced_leave_each_old_or_new_and_no_rubbish_in_the_end(
    start: Start, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for place in expected:
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_bytes(b"old")

    def renewed() -> int:
        return sum(len(one) > 3 for place, one in contents(out).items() if place in expected)

    for number in range(1, 4):
        with start("--overwrite", *FORCE) as process:
            until(lambda: renewed() >= number * 2)  # noqa: B023  # called at once
            kill_all(process)
            end(process)
        assert all(contents(out)[place] in (b"old", expected[place]) for place in expected)
    assert renewed() < MANY
    with start("--overwrite", *FORCE) as process:
        assert end(process).returncode == 0
    assert contents(out) == expected


def kill_one_of(processes: set[int]) -> set[int]:
    """Kill one of some processes, and return it, if any is left."""
    for one in np.random.default_rng().permutation(sorted(processes)).tolist():
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
            return {one}
    return set()


@pytest.mark.slow
def test_random_kills_of_workers_lose_and_spoil_nothing(
    many: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    # With names so long that the pipe holds one line, the parent waits until each is read.
    out = tmp_path.joinpath(*["o" * 250] * 7)
    words = (*HALVE, "--json", *FORCE, "in", out)
    killed: set[int] = set()
    text = b""
    with started(*words, cwd=many.parent, **HELD_UP) as process:
        while len(killed) < KILLS:
            workers = set(workers_of(process)) - killed
            text += read_lines(process, 1)
            killed |= kill_one_of(workers)
        done = finish(process)
    *told, totals = objects(text + done.stdout)

    assert sorted(os.path.relpath(one["input"], "in") for one in told) == sorted(expected)
    # The last kill may come so late that it hits a picture at its second try.
    lost = [one for one in told if one["status"] != "done"]
    assert len(lost) <= 1
    assert all("died twice" in one["error"]["message"] for one in lost)
    assert totals["summary"]["left"] == 0
    assert done.returncode == len(lost)
    names = {os.path.relpath(one["input"], "in") for one in lost}
    assert contents(out) == {name: one for name, one in expected.items() if name not in names}


ENDINGS: Final[dict[str, tuple[Words, Callable[[Process], None], int]]] = {
    "one process is interrupted": (("-j", 1), interrupt_all, 130),
    "workers are interrupted": (FORCE, interrupt_all, 130),
    "the parent of workers is": (FORCE, lambda process: process.send_signal(signal.SIGINT), 130),
    "one process is terminated": (("-j", 1), Process.terminate, 143),
    "the parent of workers is terminated": (FORCE, Process.terminate, 143),
}


@pytest.mark.parametrize(("flags", "stop", "code"), ENDINGS.values(), ids=ENDINGS)
def test_a_run_that_is_stopped_leaves_complete_outputs_and_no_processes(
    start: Start,
    expected: dict[str, bytes],
    tmp_path: Path,
    flags: Words,
    stop: Callable[[Process], None],
    code: int,
) -> None:
    with start(*flags) as process:
        read_lines(process, 10)
        stop(process)
        done = end(process)

    text, pooled = done.stderr.decode(), contents(tmp_path / "out")
    assert done.returncode == code
    assert "Traceback" not in text
    assert 10 <= len(pooled) < MANY
    assert pooled.items() <= expected.items()
    if code == 143:  # a picture may be finished and not have been told yet
        number, left = counts(done)[0], counts(done)[-1]
        assert complaints(done)[-1] == "poolcli: terminated; no incomplete file was left"
        assert f"{number} done, {left} left" in text
        assert 10 <= number <= len(pooled)
    else:
        assert f"{len(pooled)} done" in text
        assert f"{MANY - len(pooled)} left" in text
        assert counts(done) == (len(pooled), 0, 0, MANY - len(pooled))
    way_on = "left; the same command with --skip-existing goes on where this run stopped"
    assert text.count(way_on) == 1
    assert summary(done)["exit_code"] == code


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3])
def test_an_interruption_while_workers_start_leaves_the_rest(
    start: Start, expected: dict[str, bytes], tmp_path: Path, delay: float
) -> None:
    with start(*FORCE) as process:
        until(lambda: len(family(process)) > 1)
        time.sleep(delay)
        interrupt_all(process)
        done = end(process)

    text, pooled = done.stderr.decode(), contents(tmp_path / "out")
    assert done.returncode == 130
    assert "Traceback" not in text
    assert f"{MANY - len(pooled)} left" in text
    assert pooled.items() <= expected.items()


@either_executor
def test_where_interruptions_are_ignored_the_run_goes_on(
    start: Start, expected: dict[str, bytes], tmp_path: Path, flags: Words
) -> None:
    first = "signal.signal(signal.SIGINT, signal.SIG_IGN)"  # as a shell does for what ends in &
    with start(*flags, "-q", first=first) as process:
        read_lines(process, 10)
        interrupt_all(process)
        done = end(process)

    assert (done.returncode, done.stderr) == (0, b"")
    assert contents(tmp_path / "out") == expected


# Lists and terminals of other programs


@pytest.mark.parametrize("columns", ["0", "00", "1", "19", "x", ""])
def test_the_summary_is_legible_whatever_the_width_is_said_to_be(
    run: Run, gallery: Path, columns: str
) -> None:
    done = run(*HALVE, gallery, "out", environment={"COLUMNS": columns})
    assert "4 done" in done.stderr.decode()


def windows(text: str) -> str:
    return text.replace("\n", "\r\n")


LISTS: Final[dict[str, Callable[[str], bytes]]] = {
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "lines of Windows, the last without an end": lambda text: text.replace("\n", "\r\n")[
        :-2
    ].encode(),
    "a byte order mark": lambda text: text.encode("utf-8-sig"),
    "all of that": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "PowerShell": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "UTF-16, high byte first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
}


@pytest.mark.parametrize("encode", LISTS.values(), ids=LISTS)
def test_lists_of_other_systems_are_understood(
    run: Run, tmp_path: Path, encode: Callable[[str], bytes]
) -> None:
    names = ("a.png", "caf\xe9.png")
    paint_all(tmp_path, *names)
    (tmp_path / "list").write_bytes(encode("".join(f"{name}\n" for name in names)))
    done = run(*HALVE, "-q", "--files-from", "list", "out")

    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(contents(tmp_path / "out")) == sorted(names)


def test_a_carriage_return_that_not_all_names_have_belongs_to_its_name(
    run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path, "a.png", "b.png")
    os.rename(tmp_path / "b.png", tmp_path / "b\r")
    (tmp_path / "list").write_bytes(b"a.png\nb\r\n")
    done = run(*HALVE, "-q", "--format", "png", "--files-from", "list", "out")

    assert done.returncode == 0
    assert sorted(contents(tmp_path / "out")) == ["a.png", "b\r.png"]


MEASURE: Final = """
import sys, tracemalloc
from poolcli import report, run
code = report.Report.exit_code
def tell(self):
    print(tracemalloc.get_traced_memory()[1])
    return code.fget(self)
report.Report.exit_code = property(tell)
tracemalloc.start()
"""


def test_a_name_of_a_long_list_of_missing_files_takes_few_bytes(run: Run, tmp_path: Path) -> None:
    peaks = []
    for count in (100, 10_100):
        names = (f"photos/2024/holiday/IMG_{number:07}.jpg\n" for number in range(count))
        (tmp_path / "list").write_text("".join(names))
        done = run(*HALVE, "-q", "--files-from", "list", "out", first=MEASURE)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, count)
        peaks.append(int(done.stdout.split()[0]))
    assert (peaks[1] - peaks[0]) / 10_000 < 700
