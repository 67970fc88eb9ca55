"""Folders pooled by real processes: what they make, what they say, and what faults cost."""

from __future__ import annotations

import os
import re
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli import plan as jobs
from poolcli import run as runner
from poolcli.engine.window import Window
from poolcli.plan import Policy
from poolcli.report import JSON_KEYS, SUMMARY_KEYS, Outcome
from poolcli.run import Work
from tests.batch_support import (
    BECOME_NOBODY,
    HALVE,
    Done,
    Process,
    asleep,
    contents,
    environment,
    family,
    finish,
    gone,
    has_only_printable_lines,
    held,
    kill_all,
    linux_only,
    new_folder,
    objects,
    paint,
    paint_all,
    root_only,
    run_after,
    snapshot,
    started,
    statuses,
    until,
    workers_of,
)
from tests.conftest import Run
from tests.jobs import work
from tests.terminal_support import HIDE_CURSOR, SHOW_CURSOR, STEERING, Terminal

pytestmark = linux_only

FORCE: Final = ("--timeout", 60)
"""What makes a small batch use workers."""
CROWDS: Final = {"in this process": ("-j", 1), "by two workers": ("-j", 2, *FORCE)}
VARYING: Final = {"status", *(key for key in JSON_KEYS if key.endswith(("_seconds", "_bytes")))}


# Tools


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A small tree of pictures called in."""
    return paint_all(tmp_path / "in", "a.png", "b.jpg", "sub/c.tif", "sub/deep/d.webp")


PLACES: Final = ["a.png", "b.jpg", "sub/c.tif", "sub/deep/d.webp"]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO: a run that reads it stands still until it is fed."""
    path = tmp_path / "fifo.png"
    os.mkfifo(path)
    return path


@pytest.fixture(scope="module")
def picture() -> bytes:
    """The bytes of a picture."""
    with tempfile.TemporaryDirectory() as name:
        return paint(Path(name, "picture.png")).read_bytes()


def summary(done: Done) -> dict[str, Any]:
    """The last line of a run's JSON."""
    totals: dict[str, Any] = objects(done.stdout)[-1]["summary"]
    return totals


def counts(done: Done) -> tuple[int, int, int, int]:
    """How many pictures were done, skipped, failed and left."""
    totals = summary(done)
    return totals["done"], totals["skipped"], totals["failed"], totals["left"]


def json_of(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is printed."""
    (content,) = objects(outcome.as_json().encode())
    return content


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def complaints(done: Done) -> list[str]:
    """The lines on stderr that tell of failures."""
    return [line for line in done.stderr.decode().splitlines() if line.startswith("poolcli: ")]


# What becomes of folders


@pytest.mark.usefixtures("gallery")
def test_a_folder_is_pooled_and_its_tree_mirrored(run: Run, tmp_path: Path) -> None:
    done = run(*HALVE, "in", "out")

    assert done.returncode == 0
    assert done.stdout == b""
    assert sorted(contents(tmp_path / "out")) == PLACES
    assert {size_of(tmp_path / "out" / place) for place in PLACES} == {(4, 4)}


@pytest.mark.usefixtures("gallery")
def test_each_picture_of_a_folder_is_what_it_would_be_alone(run: Run, tmp_path: Path) -> None:
    run(*HALVE, "in", "out")
    run(*HALVE, "in/sub/c.tif", "alone.tif")

    assert (tmp_path / "out/sub/c.tif").read_bytes() == (tmp_path / "alone.tif").read_bytes()


def test_the_output_folder_may_lie_in_the_input_folder_again_and_again(
    run: Run, gallery: Path
) -> None:
    for _ in range(2):
        assert run(*HALVE, "--overwrite", "in", "in/small").returncode == 0

    assert sorted(contents(gallery / "small")) == PLACES


@pytest.mark.parametrize("words", [("-0", "-print0"), ("-print",)])
def test_what_find_finds_is_taken_from_a_pipe(
    run: Run, gallery: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    *null, action = words
    finding = ["find", ".", "-name", "*.[pw]*", action]
    found = subprocess.run(finding, cwd=gallery, capture_output=True, check=True).stdout
    done = run(*HALVE, "--files-from", "-", *null, "../out", input=found, cwd=gallery)

    assert done.returncode == 0
    assert sorted(contents(tmp_path / "out")) == ["a.png", "sub/deep/d.webp"]


@pytest.mark.usefixtures("gallery")
def test_a_list_may_come_from_a_substituted_command(run: Run, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"in/a.png\nin/sub/c.tif\n")
    os.close(theirs)
    words = ("--relative-to", "in", "--files-from", f"/dev/fd/{ours}")
    done = run(*HALVE, *words, "out", pass_fds=(ours,))
    os.close(ours)

    assert done.returncode == 0
    assert sorted(contents(tmp_path / "out")) == ["a.png", "sub/c.tif"]


@pytest.mark.usefixtures("gallery")
def test_a_list_from_a_closed_standard_input_is_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "poolcli", *map(str, HALVE), "--files-from", "-", "out"]
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment({}), capture_output=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert len(complaints(done)) == 1


@pytest.mark.usefixtures("gallery")
def test_a_whole_folder_gets_one_format(run: Run, tmp_path: Path) -> None:
    run(*HALVE, "--format", "jpeg", "in", "out")

    found = {}
    for place in contents(tmp_path / "out"):
        with Image.open(tmp_path / "out" / place) as image:
            found[place] = image.format
    assert found == dict.fromkeys(("a.jpg", "b.jpg", "sub/c.jpg", "sub/deep/d.jpg"), "JPEG")


@pytest.mark.usefixtures("gallery")
def test_a_whole_folder_is_renamed(run: Run, tmp_path: Path) -> None:
    template = "{parent}-{stem}-{ext}-{method}{size}s{stride}"
    done = run("avg", "-k", "2x1", "-s", 2, "--name", template, "in", "out")

    assert done.returncode == 0
    assert sorted(contents(tmp_path / "out")) == [
        *("in-a-png-avg2x1s2.png", "in-b-jpg-avg2x1s2.jpg"),
        *("sub/deep/deep-d-webp-avg2x1s2.webp", "sub/sub-c-tif-avg2x1s2.tif"),
    ]


@pytest.mark.parametrize("template", ["", "..", "a/b", "{stem!r}"])
@pytest.mark.usefixtures("gallery")
def test_a_template_that_names_nothing_is_refused(run: Run, tmp_path: Path, template: str) -> None:
    done = run(*HALVE, "--json", "--name", template, "in/a.png", "out/")

    assert (done.returncode, done.stdout) == (2, b"")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_whole_folder_keeps_its_times_and_mode_bits(
    run: Run, gallery: Path, tmp_path: Path, crowd: str
) -> None:
    for number, place in enumerate(PLACES):
        (gallery / place).chmod(0o600 + number)
        os.utime(gallery / place, ns=(10**18, 10**18 + number))
    run(*HALVE, *CROWDS[crowd], "--preserve", "in", "out")

    kept = [(tmp_path / "out" / place).stat() for place in PLACES]
    assert [one.st_mtime_ns - 10**18 for one in kept] == [0, 1, 2, 3]
    assert [stat.S_IMODE(one.st_mode) for one in kept] == [0o600, 0o601, 0o602, 0o603]


@pytest.mark.usefixtures("gallery")
def test_existing_outputs_are_skipped_or_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/sub/c.tif").write_bytes(b"old")

    skipping = run(*HALVE, "--json", "--skip-existing", "in", "out")
    assert counts(skipping) == (3, 1, 0, 0)
    assert (tmp_path / "out/sub/c.tif").read_bytes() == b"old"
    replacing = run(*HALVE, "--json", "--overwrite", "in", "out")
    assert counts(replacing) == (4, 0, 0, 0)
    assert size_of(tmp_path / "out/sub/c.tif") == (4, 4)


TELL_OF_SYNC: Final = """
import os
def telling(name, ask):
    def tell(*words):
        os.write(1, b"synced\\n")
        return ask(*words)
    return tell
os.sync, os.fsync = telling("sync", os.sync), telling("fsync", os.fsync)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("in/a.png", "new.png"),
        ("in/a.png", "out/"),
        ("in", "out"),
        (*CROWDS["by two workers"], "in", "out"),
    ],
)
@pytest.mark.usefixtures("gallery")
def test_what_was_written_is_synced_to_disk(tmp_path: Path, words: tuple[object, ...]) -> None:
    done = run_after(TELL_OF_SYNC, *HALVE, "-q", *words, cwd=tmp_path)

    assert done.returncode == 0
    assert b"synced" in done.stdout


# Refusals


def test_a_refused_plan_is_told_by_reason_with_the_first_names_and_touches_nothing(
    run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path / "in", *(f"{number}.png" for number in range(7)), "x.png", "sub/0.png")
    paint_all(tmp_path / "out", *(f"{number}.png" for number in range(1, 7)))
    os.link(tmp_path / "in/x.png", tmp_path / "out/x.png")
    before = snapshot(tmp_path)
    words = (*HALVE, "--json", "in", "in/sub", "out")
    done, verbose = run(*words), run(*words, "-v")

    assert (done.returncode, done.stdout) == (2, b"")
    assert len(complaints(done)) == 3
    (exists,) = (line for line in complaints(done) if "--overwrite" in line)
    assert "(7)" in exists
    assert [f"out/{number}.png" in exists for number in range(1, 7)] == [True] * 5 + [False]
    assert "out/6.png" in verbose.stderr.decode()
    assert snapshot(tmp_path) == before


def test_a_folder_without_pictures_is_exit_3(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    before = snapshot(tmp_path)
    done = run(*HALVE, "--json", "in", "out")

    assert (done.returncode, done.stdout) == (3, b"")
    assert len(complaints(done)) == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--overwrite", "--skip-existing"), "exclude each other"),
        (("--quality", 5, "--format", "png"), "--quality"),
        (("-j", 0), "--jobs"),
        (("--timeout", 0), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--timeout", "inf"), "--timeout"),
    ],
)
@pytest.mark.usefixtures("gallery")
def test_flags_that_make_no_sense_are_usage(
    run: Run, tmp_path: Path, flags: tuple[object, ...], word: str
) -> None:
    done = run(*HALVE, "--json", *flags, "in", "out")

    assert (done.returncode, done.stdout) == (2, b"")
    assert word in complaints(done)[0]
    assert not (tmp_path / "out").exists()


# Faults of single pictures


@pytest.mark.usefixtures("gallery")
def test_a_working_folder_that_is_gone_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    first = "import os; os.rmdir('../gone')"
    done = run_after(first, *HALVE, "../in", "out", cwd=tmp_path / "gone")

    assert (done.returncode, done.stdout) == (2, b"")
    assert "working folder" in complaints(done)[0]


def test_a_file_whose_size_cannot_be_told_is_one_that_cannot_be_read(run: Run) -> None:
    done = run(*HALVE, "/proc/self/mem", "out.png")

    assert done.returncode == 1
    assert "it can't be read" in complaints(done)[0]


@pytest.mark.parametrize("name", ["missing", "missing/"])
@pytest.mark.usefixtures("gallery")
def test_a_missing_input_fails_alone_and_says_why(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    done = run(*HALVE, "in", name, "out")

    assert done.returncode == 1
    (complaint,) = complaints(done)
    assert complaint.startswith(f"poolcli: {name}: ")
    assert complaint.endswith("No such file or directory; check the name and its permissions")
    assert sorted(contents(tmp_path / "out")) == PLACES


@pytest.mark.parametrize("crowd", CROWDS)
def test_odd_things_in_a_folder_cost_only_themselves(
    run: Run, gallery: Path, tmp_path: Path, crowd: str
) -> None:
    os.mkfifo(gallery / "fifo.png")
    (gallery / "loop.png").symlink_to("loop.png")
    (gallery / "broken.png").symlink_to("nowhere.png")
    (gallery / "up").symlink_to("..")
    (gallery / "up.png").symlink_to("..")
    (gallery / "device.png").symlink_to("/dev/zero")
    (gallery / "text.png").write_text("no picture")
    (gallery / "empty.png").touch()
    (gallery / "cut.png").write_bytes((gallery / "a.png").read_bytes()[:-40])
    (gallery / "notes").write_text("no picture")
    done = run(*HALVE, "--json", *CROWDS[crowd], "in", "in/notes", "out/")

    failed = {name for name, status in statuses(done).items() if status == "failed"}
    assert done.returncode == 1
    assert failed == {"loop.png", "broken.png", "text.png", "empty.png", "cut.png", "notes"}
    assert len(complaints(done)) == len(failed)
    assert sorted(contents(tmp_path / "out")) == PLACES


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_vanished_input_fails_alone_and_a_new_output_is_not_clobbered(
    gallery: Path, tmp_path: Path, fifo: Path, picture: bytes, crowd: str
) -> None:
    words = (*HALVE, "--json", *CROWDS[crowd][2:], "-j", 1, fifo, "in", "out")
    with started(*words, cwd=tmp_path) as process:
        with held(fifo) as descriptor:
            (gallery / "sub/c.tif").unlink()
            (tmp_path / "out").mkdir()
            (tmp_path / "out/b.jpg").write_bytes(b"somebody else's")
            os.write(descriptor, picture)
        done = finish(process)

    assert done.returncode == 1
    assert counts(done) == (3, 0, 2, 0)
    assert [one.split(": ")[1] for one in complaints(done)] == ["in/b.jpg", "in/sub/c.tif"]
    assert (tmp_path / "out/b.jpg").read_bytes() == b"somebody else's"
    assert sorted(contents(tmp_path / "out")) == ["a.png", "b.jpg", "fifo.png", "sub/deep/d.webp"]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may write to, holding a small tree that everybody may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        paint_all(folder / "in", "a.png", "b.jpg", "sub/c.tif", "sub/deep/d.webp")
        yield folder
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)


def as_nobody(*words: object, cwd: Path) -> Done:
    """A batch in one process that may do what nobody may."""
    return run_after(BECOME_NOBODY, *HALVE, "--json", *words, cwd=cwd)


@root_only
@pytest.mark.parametrize(
    ("locked", "existing"), [("in/sub/c.tif", "out/sub"), ("in/sub", "out"), ("in/sub", "out/sub")]
)
def test_what_may_not_be_read_fails_alone(public: Path, locked: str, existing: str) -> None:
    (public / existing).mkdir(parents=True)
    for path in (public / "out").rglob("*"):
        path.chmod(0o777)
    (public / "out").chmod(0o777)
    (public / locked).chmod(0)
    done = as_nobody("in", "out", cwd=public)

    (complaint,) = complaints(done)
    assert done.returncode == 1
    assert complaint.startswith(f"poolcli: {locked}: ")
    assert "Permission denied" in complaint
    assert {"a.png", "b.jpg"} <= set(contents(public / "out"))


@root_only
@pytest.mark.parametrize(("locked", "output"), [(["one"], "old"), (["one", "two"], "new")])
def test_named_folders_that_may_not_be_read_fail_alone(
    public: Path, locked: list[str], output: str
) -> None:
    for name in locked:
        paint_all(public / name, "x.png").chmod(0)
    (public / "old").mkdir()
    (public / "old").chmod(0o777)
    done = as_nobody(*locked, "in", output, cwd=public)

    assert done.returncode == 1
    assert [line.split(": ")[1] for line in complaints(done)] == locked
    assert sorted(contents(public / output)) == PLACES


@root_only
@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_an_output_folder_that_takes_no_files_fails_picture_by_picture(
    public: Path, flags: tuple[str, ...]
) -> None:
    paint_all(public / "out", "a.png", side=2)
    (public / "out/sub").mkdir()
    (public / "out/sub").chmod(0o777)
    (public / "out").chmod(0o555)
    before = (public / "out/a.png").read_bytes()
    done = as_nobody(*flags, "in/b.jpg", "in/sub", *(["in/a.png"] * len(flags)), "out", cwd=public)

    assert done.returncode == 1
    assert {one["status"] for one in objects(done.stdout)[:-1]} == {"failed"}
    assert all("Permission denied" in line for line in complaints(done))
    assert (public / "out/a.png").read_bytes() == before
    assert sorted(os.listdir(public / "out")) == ["a.png", "sub"]


@root_only
def test_where_no_output_folder_can_be_made_every_picture_fails(public: Path) -> None:
    public.chmod(0o555)
    done = as_nobody("in", "out/new", cwd=public)

    assert (done.returncode, counts(done)) == (1, (0, 0, 4, 0))
    assert not (public / "out").exists()


# A full disk

ROOM: Final = 1 << 16


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[str]:
    """A folder called disk that holds no more than `ROOM`, and Python to run beforehand."""
    (tmp_path / "disk").mkdir()
    size = f"size={ROOM}"
    mounting = ["mount", "-t", "tmpfs", "-o", size, "poolcli-tests", str(tmp_path / "disk")]
    if os.geteuid() == 0 and subprocess.run(mounting, check=False).returncode == 0:
        yield ""
        unmounting = ["umount", "--lazy", str(tmp_path / "disk")]
        subprocess.run(unmounting, check=True)
    else:
        yield f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM}, {ROOM}))"


@pytest.mark.parametrize("crowd", CROWDS)
def test_on_a_full_disk_what_fits_is_written_whole_and_the_rest_not_at_all(
    tmp_path: Path, full_disk: str, crowd: str
) -> None:
    paint_all(tmp_path / "in", "a.bmp", "sub/c.bmp")
    paint(tmp_path / "in/b.bmp", 500)
    paint(tmp_path / "in/new/d.bmp", 500)
    words = (*HALVE, "--json", *CROWDS[crowd], "in", "disk/out")
    done = run_after(full_disk, *words, cwd=tmp_path)

    assert (done.returncode, counts(done)) == (1, (2, 0, 2, 0))
    assert {place: len(one) for place, one in contents(tmp_path / "disk/out").items()} == {
        "a.bmp": 102,
        "sub/c.bmp": 102,
    }
    assert sorted(os.listdir(tmp_path / "disk/out")) == ["a.bmp", "sub"]


def test_on_a_full_disk_old_outputs_stay_as_they_were(tmp_path: Path, full_disk: str) -> None:
    paint(tmp_path / "in/a.bmp", 500)
    paint(tmp_path / "in/b.bmp")
    (tmp_path / "disk/a.bmp").write_bytes(b"old")
    done = run_after(full_disk, *HALVE, "--json", "-f", "in", "disk", cwd=tmp_path)

    assert statuses(done) == {"a.bmp": "failed", "b.bmp": "done"}
    assert (tmp_path / "disk/a.bmp").read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path / "disk")) == ["a.bmp", "b.bmp"]


# Stopping at the first failure


@pytest.mark.parametrize("crowd", CROWDS)
def test_after_the_first_failure_no_more_is_begun_if_asked(
    run: Run, gallery: Path, tmp_path: Path, crowd: str
) -> None:
    (gallery / "a.png").write_text("no picture")
    paint_all(tmp_path / "more", *(f"{number}.png" for number in range(200)))
    words = (*HALVE, "--json", "--fail-fast", *CROWDS[crowd], "in", "more", "out")
    finished = run(*words)

    done, _, failed, left = counts(finished)
    assert finished.returncode == 1
    assert (done + left, failed) == (203, 1)
    assert left > 10
    assert len(contents(tmp_path / "out")) == done
    assert f"{left} left" in finished.stderr.decode()


# What is said


@pytest.mark.usefixtures("gallery")
def test_json_comes_line_by_line_as_pictures_are_finished(
    tmp_path: Path, fifo: Path, picture: bytes
) -> None:
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


def test_json_tells_of_every_picture_with_the_same_keys(
    run: Run, gallery: Path, tmp_path: Path
) -> None:
    (gallery / "b.jpg").write_text("no picture")
    paint(tmp_path / "out/a.png", 2)
    done = run(*HALVE, "--json", "--skip-existing", "in", "in/sub/c.tif", "out")

    *outcomes, _ = objects(done.stdout)
    assert {tuple(one) for one in outcomes} == {JSON_KEYS}
    assert {one["input"]: one["status"] for one in outcomes} == {
        "in/a.png": "skipped",
        "in/b.jpg": "failed",
        "in/sub/c.tif": "done",
        "in/sub/deep/d.webp": "done",
    }
    assert [one["error"] is not None for one in outcomes] == [
        one["status"] == "failed" for one in outcomes
    ]
    assert set(SUMMARY_KEYS) < set(summary(done))
    assert summary(done)["exit_code"] == done.returncode == 1


@pytest.mark.usefixtures("gallery")
def test_the_summary_adds_up(run: Run, tmp_path: Path) -> None:
    done = run(*HALVE, "--json", "in", "out")

    *outcomes, _ = objects(done.stdout)
    totals = summary(done)
    assert (totals["pixels_in"], totals["pixels_out"]) == (4 * 64, 4 * 16)
    for key in ("input_bytes", "output_bytes"):
        total = {"input_bytes": "bytes_in", "output_bytes": "bytes_out"}[key]
        assert totals[total] == sum(one[key] for one in outcomes)
    assert totals["bytes_out"] == sum(map(len, contents(tmp_path / "out").values()))


def test_a_log_gets_plain_lines_and_each_failure_at_the_end(run: Run, gallery: Path) -> None:
    for name in ("b.jpg", "sub/c.tif"):
        (gallery / name).write_text("no picture")
    done = run(*HALVE, "in", "out")

    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert has_only_printable_lines(text)
    assert "2 done, 2 failed" in text
    assert [line.split(": ")[1] for line in text.splitlines()[-2:]] == ["in/b.jpg", "in/sub/c.tif"]
    assert all("; " in line for line in complaints(done))


def test_quiet_says_only_what_failed(run: Run, gallery: Path) -> None:
    assert run(*HALVE, "-q", "in", "good").stderr == b""
    (gallery / "b.jpg").write_text("no picture")
    done = run(*HALVE, "-q", "in", "bad")

    assert done.stderr.decode().splitlines() == complaints(done)
    assert [line.split(": ")[1] for line in complaints(done)] == ["in/b.jpg"]


def test_verbose_says_what_became_of_each_picture(run: Run, gallery: Path, tmp_path: Path) -> None:
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


def test_tracebacks_are_shown_only_on_demand(run: Run, gallery: Path) -> None:
    (gallery / "b.jpg").write_text("no picture")

    for flag, shown in (("-v", False), ("-vv", True)):
        done = run(*HALVE, flag, "-f", *CROWDS["by two workers"], "in", "out")
        assert (b"Traceback" in done.stderr) is shown


@pytest.mark.parametrize(("flags", "hired"), [((), 1), (("-j", 2), 2)])
@pytest.mark.usefixtures("gallery")
def test_the_number_of_workers_comes_from_the_environment_unless_told(
    tmp_path: Path, flags: tuple[object, ...], hired: int
) -> None:
    fifos = [tmp_path / f"fifo{number}.png" for number in range(3)]
    for one in fifos:
        os.mkfifo(one)
    with (
        started(
            *(*HALVE, *FORCE, *flags, *fifos, "out"), cwd=tmp_path, variables={"POOLCLI_JOBS": "1"}
        ) as process,
        held(fifos[hired - 1]),
    ):
        assert len(workers_of(process)) == hired


@pytest.mark.usefixtures("gallery")
def test_a_reader_of_json_that_leaves_ends_the_run_quietly(
    tmp_path: Path, fifo: Path, picture: bytes
) -> None:
    words = (*HALVE, "-q", "--json", "-j", 1, *FORCE, "in/a.png", fifo, "in/b.jpg", "out")
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


@pytest.mark.usefixtures("gallery")
def test_json_into_a_full_device_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = run_after("", *HALVE, "-q", "--json", "in", "out", cwd=tmp_path, stdout=full)

    assert done.returncode == 1
    assert len(complaints(done)) == len(done.stderr.splitlines()) == 1


# Terminals


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A new terminal."""
    terminal = Terminal()
    yield terminal
    terminal.all()
    os.close(terminal.ours)


@pytest.mark.usefixtures("gallery")
def test_a_terminal_shows_progress_while_a_batch_runs_and_the_summary_after_it(
    tmp_path: Path, terminal: Terminal, fifo: Path, picture: bytes
) -> None:
    words = (*HALVE, *CROWDS["by two workers"], "in", fifo, "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        with held(fifo) as descriptor:
            until(lambda: "4/5" in terminal.so_far)
            assert "done" not in terminal.so_far
            os.write(descriptor, picture)
        done = finish(process)

    said = terminal.all()
    assert done.returncode == 0
    assert done.stdout == b""
    assert "MP/s" in said
    assert said.count(HIDE_CURSOR) == said.count(SHOW_CURSOR) == 1
    assert "5 done" in said.rpartition(SHOW_CURSOR)[2]


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (("--no-progress",), {}),
        (("-q",), {}),
        ((), {"POOLCLI_PROGRESS": "0"}),
        ((), {"TERM": "dumb"}),
    ],
)
@pytest.mark.usefixtures("gallery")
def test_progress_can_be_switched_off(
    tmp_path: Path, terminal: Terminal, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    words = (*HALVE, *flags, "in", "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs, variables=variables) as process:
        assert finish(process).returncode == 0

    said = terminal.all()
    assert HIDE_CURSOR not in said
    assert ("4 done" in said) is ("-q" not in flags)
    assert "\x1b" not in said or "TERM" not in variables


def test_a_long_name_pushes_nothing_out_of_the_progress_bar(
    tmp_path: Path, terminal: Terminal
) -> None:
    paint_all(tmp_path / "in", "a.png", "n" * 150 + ".png")
    words, variables = (*HALVE, "in", "out"), {"COLUMNS": "60"}
    with started(*words, cwd=tmp_path, stderr=terminal.theirs, variables=variables) as process:
        assert finish(process).returncode == 0

    last = terminal.all().rpartition(SHOW_CURSOR)[0].rpartition("\r\x1b[2K")[2]
    assert re.search("2/2 .* MP/s .*0:00:00.* n+…", last)


@pytest.mark.usefixtures("gallery")
def test_no_time_is_foretold_for_what_needs_no_work(
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
    assert "1 done, 4 skipped, 1 failed" in after


@pytest.mark.usefixtures("gallery")
def test_progress_leaves_stdout_to_json(tmp_path: Path, terminal: Terminal) -> None:
    words = (*HALVE, "--json", "-v", "in", "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        done = finish(process)

    assert counts(done) == (4, 0, 0, 0)
    assert HIDE_CURSOR in terminal.all()


@pytest.mark.usefixtures("gallery")
def test_progress_stays_out_of_json_on_the_same_terminal(
    tmp_path: Path, terminal: Terminal
) -> None:
    streams: dict[str, Any] = {"stdout": terminal.theirs, "stderr": terminal.theirs}
    with started(*HALVE, "--json", "in", "out", cwd=tmp_path, **streams) as process:
        assert finish(process).returncode == 0

    said = terminal.all()
    assert HIDE_CURSOR not in said
    assert [line[:8] for line in said.splitlines() if "input" in line] == ['{"input"'] * 4


@pytest.mark.usefixtures("gallery")
def test_an_interruption_leaves_the_terminal_as_it_was(
    tmp_path: Path, terminal: Terminal, fifo: Path
) -> None:
    running = started(*HALVE, "in", fifo, "out", cwd=tmp_path, stderr=terminal.theirs)
    with running as process, held(fifo):
        until(lambda: "4/5" in terminal.so_far and asleep(process))
        process.send_signal(signal.SIGINT)
        until(lambda: "Ctrl-C again" in terminal.so_far and asleep(process))
        process.send_signal(signal.SIGINT)
        done = finish(process)

    assert done.returncode == 130
    assert terminal.all().count(SHOW_CURSOR) == 1
    assert "Traceback" not in terminal.all()


# Names from outside

NAMES: Final = [
    b"-rf.png",
    b"  a b\t.png",
    b"%s{0}{stem}\\n.png",
    b"foo].png",
    b"\x1b[31mred\x07.png",
    "\x9b31m.png".encode(),
    "a\u2028b\u2029c.png".encode(),
    b"caf\xe9\xff.png",
    b"new\nline.png",
    "\u202egnp.exe\u2066.png".encode(),
    "é漢字😀.png".encode(),
]
HARMFUL: Final = (
    "\x1b[31mred",
    "\x07",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "new\nline",
)


@pytest.fixture
def oddities(tmp_path: Path, picture: bytes) -> Path:
    """A folder of pictures with odd names, in one with which some look like Rich's markup."""
    folder = os.path.join(os.fsencode(tmp_path), b"in", b"\x1b[31m\xff\n[bold][")
    os.makedirs(folder)
    for name in NAMES:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(picture)
    return tmp_path / "in"


def test_odd_names_are_processed_correctly_and_shown_safely(
    run: Run, oddities: Path, tmp_path: Path
) -> None:
    done = run(*HALVE, "--json", "-v", *CROWDS["by two workers"], "in", "out")

    *outcomes, _ = objects(done.stdout)
    assert done.returncode == 0
    assert contents(tmp_path / "out").keys() == contents(oddities).keys()
    assert sorted(os.path.basename(os.fsencode(one["output"])) for one in outcomes) == sorted(NAMES)
    assert all(os.path.exists(os.fsencode(tmp_path / one["output"])) for one in outcomes)
    assert has_only_printable_lines(done.stderr.decode())


def test_odd_names_are_shown_safely_where_they_fail(run: Run, oddities: Path) -> None:
    for path in oddities.glob("*/*"):
        path.write_text("no picture")
    done = run(*HALVE, "-vv", *CROWDS["by two workers"], "in", "out")

    assert done.returncode == 1
    assert f"{len(NAMES)} failed" in done.stderr.decode()
    assert has_only_printable_lines(done.stderr.decode())


@pytest.mark.usefixtures("oddities")
def test_odd_names_are_shown_safely_where_a_plan_is_refused(run: Run) -> None:
    run(*HALVE, "-q", "in", "out")
    done = run(*HALVE, "-v", "in", "out")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"({len(NAMES)})" in done.stderr.decode()
    assert has_only_printable_lines(done.stderr.decode())


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_odd_names_are_shown_safely_on_a_terminal(
    oddities: Path, tmp_path: Path, terminal: Terminal, flags: tuple[str, ...]
) -> None:
    (next(oddities.glob("*/*"))).write_text("no picture")
    words = (*HALVE, *flags, "in", "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        done = finish(process)

    said = terminal.all()
    assert done.returncode == 1
    assert HIDE_CURSOR in said
    assert not [one for one in HARMFUL if one in said]
    assert has_only_printable_lines(STEERING.sub("", said))


@pytest.mark.parametrize("null", [True, False])
def test_odd_names_are_listed(run: Run, oddities: Path, tmp_path: Path, null: bool) -> None:
    names = [name for name in map(os.fsencode, oddities.glob("*/*")) if null or b"\n" not in name]
    separator, flags = (b"\0", ("-0",)) if null else (b"\n", ())
    given = separator.join(names) if null else b"\n".join(NAMES[:4])
    cwd = tmp_path if null else next(oddities.iterdir())
    done = run(*HALVE, "--files-from", "-", *flags, tmp_path / "out", input=given, cwd=cwd)

    assert done.returncode == 0
    assert len(contents(tmp_path / "out")) == (len(NAMES) if null else 4)


# Dry runs


def without_varying(outcome: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in outcome.items() if key not in VARYING}


def test_a_dry_run_of_a_folder_says_what_the_run_says_and_writes_nothing(
    run: Run, samples: Path, tmp_path: Path
) -> None:
    before = snapshot(tmp_path)
    words = (*HALVE, "--json", "--include", "*.[pj][np]g", samples, "out")
    dry = run(*words, "--dry-run")
    untouched = snapshot(tmp_path)
    real = run(*words)

    assert untouched == before
    assert dry.returncode == real.returncode == 0
    assert summary(dry)["planned"] == summary(real)["done"] > 5
    assert list(map(without_varying, objects(dry.stdout)[:-1])) == list(
        map(without_varying, objects(real.stdout)[:-1])
    )


def test_a_dry_run_exits_as_the_run_would(run: Run, gallery: Path, tmp_path: Path) -> None:
    (gallery / "b.jpg").write_text("no picture")
    paint(gallery / "sub/c.tif", 1)
    paint(tmp_path / "out/a.png")
    words = (*HALVE, "--json", "in", "out")

    assert run(*words, "-n").returncode == run(*words).returncode == 2
    dry, real = run(*words, "-n", "--skip-existing"), run(*words, "--skip-existing")
    assert dry.returncode == real.returncode == 1
    assert [one["error"] for one in objects(dry.stdout)[:-1]] == [
        one["error"] for one in objects(real.stdout)[:-1]
    ]
    assert statuses(dry)["d.webp"] == "planned"
    assert statuses(dry)["a.png"] == "skipped"


MODES: Final = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "jpg": ["L", "RGB", "CMYK"],
    "tif": ["1", "L", "RGB", "RGBA", "I;16", "F"],
    "webp": ["RGB", "RGBA"],
    "bmp": ["1", "L", "RGB"],
    "gif": ["L", "P"],
}
PICTURES = st.sampled_from(sorted(MODES)).flatmap(
    lambda suffix: st.tuples(
        st.just(suffix), st.sampled_from(MODES[suffix]), st.integers(1, 9), st.integers(1, 9)
    )
)
WINDOWS = st.builds(
    Window.of,
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 4),
    st.sampled_from([0, "same", "valid"]),
    st.integers(1, 2),
    ceil_mode=st.booleans(),
)
WORKS = st.builds(
    lambda method, window, background, most: work(
        method, window, background=background, max_pixels=most
    ),
    st.sampled_from(["max", "min", "avg"]),
    WINDOWS,
    st.sampled_from([None, (9, 9, 9)]),
    st.sampled_from([10**9, 40]),
)


@settings(max_examples=60, deadline=None)
@given(
    pictures=st.lists(PICTURES, min_size=1, max_size=4),
    how=WORKS,
    format_=st.sampled_from([None, None, "png", "tiff", "jpeg", "gif", "pgm"]),
)
def test_a_dry_run_equals_the_run_on_every_key_but_status_times_and_bytes(
    pictures: list[tuple[str, str, int, int]], how: Work, format_: str | None
) -> None:
    with new_folder() as top:
        (top / "in").mkdir()
        for number, (suffix, mode, height, width) in enumerate(pictures):
            Image.new(mode, (width, height)).save(f"in/{number}.{suffix}")
        plan = jobs.make_plan(("in", "out"), Policy(format=format_))
        before = snapshot(top)
        foretold = [runner.run_job(job, how._replace(dry_run=True)) for job in plan]
        untouched = snapshot(top)
        outcomes = [runner.run_job(job, how) for job in plan]

    assert untouched == before
    assert len(outcomes) == len(pictures)
    for dry, real in zip(foretold, outcomes, strict=True):
        assert (dry.status, real.status) in {("planned", "done"), ("failed", "failed")}
        assert without_varying(json_of(dry)) == without_varying(json_of(real))


# Interruptions and kills

MANY: Final = 60
KILLS: Final = 12
DAMAGE: Final[dict[str, tuple[tuple[object, ...], Callable[[Process], None]]]] = {
    "the only process": (("-j", 1), Process.kill),
    "the parent of workers": (("-j", 2, *FORCE), Process.kill),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of pictures each of which takes its time."""
    names = [f"{'sub/' * (number % 3)}{number:02}.png" for number in range(MANY)]
    return paint_all(tmp_path_factory.mktemp("many") / "in", *names, side=300)


@pytest.fixture(scope="module")
def expected(many: Path) -> dict[str, bytes]:
    """What becomes of all of them if nothing goes wrong."""
    out = many.parent / "expected"
    done = run_after("", *HALVE, "-q", "in", out, cwd=many.parent)
    assert (done.returncode, done.stderr) == (0, b"")
    return contents(out)


# Who tells each outcome into a pipe that nobody reads is soon held up: no run ends before its test
# has done something to it, however late that comes.
HELD_UP: Final[dict[str, Any]] = {"pipesize": 4096, "bufsize": 0}


def hear(process: Process, number: int) -> bytes:
    """What a process says of so many pictures, and often a moment more."""
    assert process.stdout is not None
    said = b"".join(process.stdout.readline() for _ in range(number))
    assert said.count(b"\n") == number
    time.sleep(max(0, np.random.default_rng().uniform(-0.01, 0.01)))
    return said


@pytest.mark.parametrize("victims", DAMAGE)
def test_whatever_is_killed_whenever_outputs_are_complete_and_the_rest_can_be_caught_up_on(
    many: Path, expected: dict[str, bytes], tmp_path: Path, victims: str
) -> None:
    flags, kill = DAMAGE[victims]
    out = tmp_path / "out"
    words = (*HALVE, "--skip-existing", *flags, "--json", "in", out)
    numbers = []
    for number in range(KILLS):
        with started(*words, cwd=many.parent, **HELD_UP) as process:
            hear(process, number * MANY // KILLS + 1)
            kill(process)
            until(lambda: gone(process))  # called at once
        left = contents(out)
        numbers.append(len(left))
        assert left.items() <= expected.items()
    done = run_after("", *words, cwd=many.parent)

    assert sum(0 < number < MANY for number in numbers) >= 10
    assert len(set(numbers)) >= KILLS // 2
    assert done.returncode == 0
    assert counts(done) == (MANY - numbers[-1], numbers[-1], 0, 0)
    assert contents(out) == expected


def test_kills_while_outputs_are_replaced_leave_each_old_or_new_and_no_rubbish_in_the_end(
    many: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for place in expected:
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_bytes(b"old")
    words = (*HALVE, "--overwrite", "--json", "-j", 2, *FORCE, "in", out)

    def renewed() -> int:
        return sum(len(one) > 3 for place, one in contents(out).items() if place in expected)

    for number in range(1, 4):
        with started(*words, cwd=many.parent, **HELD_UP) as process:
            until(lambda: renewed() >= number * 2)  # noqa: B023  # called at once
            kill_all(process)
            until(lambda: gone(process))
        assert all(contents(out)[place] in (b"old", expected[place]) for place in expected)
    assert renewed() < MANY
    done = run_after("", *words, cwd=many.parent)

    assert done.returncode == 0
    assert contents(out) == expected


STEP_BY_STEP: Final = """
import itertools, os, shutil, sys
import poolcli.cli, poolcli.console, poolcli.run
from PIL import Image
Image.init()
NAMES = "mkdir open write link replace rename unlink fchmod utime fsync close".split()
real = {name: getattr(os, name) for name in NAMES}
calls, limit = 0, 1 << 30
def counted(name):
    def call(*words, **options):
        global calls
        calls += 1
        if calls > limit:
            os.kill(os.getpid(), 9)
        if name == "write":
            words = words[0], words[1][:40]
        return real[name](*words, **options)
    return call
for name in NAMES:
    setattr(os, name, counted(name))
os.sync = int  # dozens of runs would wait for the whole machine's disks
def run(out, most):
    global calls, limit
    child = os.fork()
    if not child:
        calls, limit = 0, most
        sys.argv[-1] = out
        poolcli.cli.main()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
for most in itertools.count():
    killed, again = f"killed-{most:03}", f"again-{most:03}"
    if os.path.isdir("old"):
        shutil.copytree("old", killed)
    code = run(killed, most)
    if os.path.isdir(killed):
        shutil.copytree(killed, again)
    if run(again, 1 << 30) != 0 or code >= 0:
        sys.exit(code)
"""


@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
def test_a_kill_between_any_two_steps_leaves_nothing_half_and_nothing_that_hinders(
    tmp_path: Path, flag: str
) -> None:
    paint_all(tmp_path / "in", "a.png", "sub/b.png", side=16)
    run_after("", *HALVE, "-q", "in", "expected", cwd=tmp_path)
    expected = contents(tmp_path / "expected")
    if flag == "--overwrite":
        paint_all(tmp_path / "old", "a.png", "sub/b.png", side=2)
    old = contents(tmp_path / "old")
    done = run_after(STEP_BY_STEP, *HALVE, "-q", flag, "in", "out", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    left = [contents(one) for one in sorted(tmp_path.glob("killed-*"))]
    assert len(left) > 10
    assert left[-1] == expected
    for one in left:
        for place, octets in one.items():
            if not re.search(r"\.poolcli-[0-9a-f]{8}\.tmp$", place):
                assert octets in (expected[place], old.get(place))
        assert one.keys() >= old.keys()
    again = [contents(one) for one in sorted(tmp_path.glob("again-*"))]
    assert again == [expected] * len(again)
    assert len(again) > 10


def kill_one_of(processes: set[int]) -> set[int]:
    """The process that was killed, if any was left."""
    for one in map(int, np.random.default_rng().permutation(sorted(processes))):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
            return {one}
    return set()


def test_random_kills_of_workers_lose_and_spoil_nothing(
    many: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    # With names so long that the pipe holds one line, the parent waits for each to be heard.
    out = tmp_path.joinpath(*["o" * 250] * 7)
    words = (*HALVE, "--json", "-j", 2, *FORCE, "in", out)
    killed: set[int] = set()
    said = b""
    with started(*words, cwd=many.parent, **HELD_UP) as process:
        while len(killed) < KILLS:
            workers = set(workers_of(process)) - killed
            said += hear(process, 1)
            killed |= kill_one_of(workers)
        done = finish(process)
    *outcomes, totals = objects(said + done.stdout)

    assert sorted(os.path.relpath(one["input"], "in") for one in outcomes) == sorted(expected)
    # The last kill may come so late that it hits a picture at its second try.
    lost = [one for one in outcomes if one["status"] != "done"]
    assert len(lost) <= 1
    assert all("died twice" in one["error"]["message"] for one in lost)
    assert totals["summary"]["left"] == 0
    assert done.returncode == len(lost)
    names = {os.path.relpath(one["input"], "in") for one in lost}
    assert contents(out) == {name: one for name, one in expected.items() if name not in names}


def to_all(process: Process) -> None:
    """What a terminal does on Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


def to_parent(process: Process) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("crowd", "interrupt"),
    [("in this process", to_all), ("by two workers", to_all), ("by two workers", to_parent)],
)
def test_after_an_interruption_what_was_begun_is_finished_and_the_rest_is_left(
    many: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    crowd: str,
    interrupt: Callable[[Process], None],
) -> None:
    out = tmp_path / "out"
    words = (*HALVE, "--json", *CROWDS[crowd], "in", out)
    with started(*words, cwd=many.parent, **HELD_UP) as process:
        hear(process, 10)
        interrupt(process)
        done = finish(process)
        until(lambda: gone(process))

    number, _, failed, left = counts(done)
    assert (done.returncode, summary(done)["exit_code"], failed) == (130, 130, 0)
    assert 10 <= number < MANY
    assert left == MANY - number
    assert len(contents(out)) == number
    assert contents(out).items() <= expected.items()
    text = done.stderr.decode()
    assert f"{number} done, {left} left" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("crowd", CROWDS)
def test_where_interruptions_are_ignored_the_run_goes_on(
    many: Path, expected: dict[str, bytes], tmp_path: Path, crowd: str
) -> None:
    out = tmp_path / "out"
    first = "signal.signal(signal.SIGINT, signal.SIG_IGN)"  # as a shell does for what ends in &
    words = (*HALVE, *CROWDS[crowd], "--json", "-q", "in", out)
    with started(*words, cwd=many.parent, first=first, **HELD_UP) as process:
        hear(process, 10)
        to_all(process)
        done = finish(process)

    assert (done.returncode, done.stderr) == (0, b"")
    assert contents(out) == expected


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_second_interruption_stops_at_once(
    many: Path, expected: dict[str, bytes], tmp_path: Path, fifo: Path, crowd: str
) -> None:
    out = tmp_path / "out"
    with started(*HALVE, *CROWDS[crowd], "in", fifo, out, cwd=many.parent) as process:
        assert process.stderr is not None
        with held(fifo):
            until(lambda: asleep(process))
            to_all(process)
            assert b"Ctrl-C again" in process.stderr.readline()
            with pytest.raises(subprocess.TimeoutExpired):  # it waits for the picture in hand
                process.wait(0.3)
            to_all(process)
            done = finish(process)
        until(lambda: gone(process))

    assert done.returncode == 130
    assert b"Traceback" not in done.stderr
    assert contents(out) == expected


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_terminated_run_leaves_complete_outputs_and_no_processes(
    many: Path, expected: dict[str, bytes], tmp_path: Path, crowd: str
) -> None:
    out = tmp_path / "out"
    words = (*HALVE, *CROWDS[crowd], "--json", "in", out)
    with started(*words, cwd=many.parent, **HELD_UP) as process:
        hear(process, 10)
        process.terminate()
        done = finish(process)
        until(lambda: gone(process))

    assert done.returncode == 143
    assert len(complaints(done)) == len(done.stderr.splitlines()) == 1
    assert 10 <= len(contents(out)) < MANY
    assert contents(out).items() <= expected.items()


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3])
def test_an_interruption_while_workers_start_is_told_like_any_other(
    many: Path, expected: dict[str, bytes], tmp_path: Path, delay: float
) -> None:
    out = tmp_path / "out"
    words = (*HALVE, "--json", "-j", 2, *FORCE, "in", out)
    with started(*words, cwd=many.parent, **HELD_UP) as process:
        until(lambda: len(family(process)) > 1)
        time.sleep(delay)
        to_all(process)
        done = finish(process)
        until(lambda: gone(process))

    text = done.stderr.decode()
    assert done.returncode == 130
    assert "Traceback" not in text
    assert f"{MANY - len(contents(out))} left" in text
    assert contents(out).items() <= expected.items()
