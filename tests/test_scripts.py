"""What scripts need: output folders, outputs up to date, what is left out, other spellings."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.output import only_line
from tests.support.processes import Run
from tests.support.trees import paint, paint_all

HALVE = ("avg", "-k", 2)


def names_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


# The output folder


def test_a_target_directory_stands_before_any_number_of_inputs(run: Run, tmp_path: Path) -> None:
    paint_all(tmp_path, "a.png", "b.png", "in/c.png")
    for words in (["a.png"], ["b.png", "in"]):
        assert run(*HALVE, "-t", "small", *words).returncode == 0
    (tmp_path / "list").write_text("a.png\n")
    assert run(*HALVE, "--target-directory", "other", "--files-from", "list").returncode == 0
    assert names_in(tmp_path / "small") == ["a.png", "b.png", "c.png"]
    assert names_in(tmp_path / "other") == ["a.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["-t", "small"], b"no picture is named"), (["-t", "a.png", "b.png"], b"a.png is no folder")],
)
def test_a_target_directory_without_inputs_or_that_is_a_file_is_refused(
    words: list[str], said: bytes, run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path, "a.png", "b.png")
    done = run(*HALVE, *words, input=b"")
    assert done.returncode == 2
    assert said in done.stderr


# Outputs that exist


@pytest.mark.parametrize("many", [False, True])
def test_only_outputs_that_are_older_than_their_input_are_replaced(
    many: bool, run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path / "in", "a.png", "b.png")
    paths = [("in", "out")] if many else [("in/a.png", "out/a.png"), ("in/b.png", "out/b.png")]
    paint_all(tmp_path / "out", "a.png", "b.png")
    for name, seconds in (
        ("in/a.png", 100),
        ("out/a.png", 99),
        ("in/b.png", 50),
        ("out/b.png", 50),
    ):
        os.utime(tmp_path / name, (seconds, seconds))
    before = (tmp_path / "out/b.png").read_bytes()
    statuses = []
    for source, target in paths:
        done = run(*HALVE, "--update", "--json", source, target)
        assert done.returncode == 0, done.stderr
        statuses += [json.loads(line).get("status") for line in done.stdout.splitlines()]
    assert list(filter(None, statuses)) == ["done", "skipped"]
    assert (tmp_path / "out/b.png").read_bytes() == before
    assert (tmp_path / "out/a.png").read_bytes() != before
    assert run(*HALVE, "--update", "-f", "in", "out").returncode == 2


def test_outputs_beside_their_inputs_are_left_out_of_the_next_run(run: Run, tmp_path: Path) -> None:
    paint_all(tmp_path / "in", "a.png", "b.jpg")
    for flags in (("--name", "{stem}-small"), ("--format", "webp")):
        for folder in ("in", "./in/"):
            done = run(*HALVE, "--skip-existing", *flags, "in", folder)
            assert done.returncode == 0, done.stderr
        assert b"2 outputs of an earlier run" in done.stderr
        assert b"2 skipped" in done.stderr
        for one in (*(tmp_path / "in").glob("*-small*"), *(tmp_path / "in").glob("*.webp")):
            one.unlink()
    assert run(*HALVE, "in", "in").returncode == 2


# What is left out


def test_pictures_that_are_not_read_are_told_by_suffix(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "iphone"
    for name in ("a.heic", "b.HEIC", "c.cr2", "d.psd", "e.jp2", "f.txt", ".hidden.png"):
        paint(folder / "x.png").with_name(name).write_bytes(b"")
    (folder / "x.png").unlink()
    done = run(*HALVE, "iphone", "out")
    assert done.returncode == 3
    assert b"no picture was found in iphone: 7 files left out: 2 .heic, 1 .cr2," in done.stderr
    assert b"(not read; HEIC with" in done.stderr
    paint_all(folder, "x.png", "y.png")
    for exclude in ("nothing", "y.png"):  # two pictures, and one alone
        done = run(*HALVE, "-f", "-v", "--json", "--exclude", exclude, "iphone", "out")
        assert done.returncode == 0, done.stderr
        left_out = json.loads(done.stdout.splitlines()[-1])["summary"]["left_out"]
        assert left_out == {".heic": 2, ".cr2": 1, ".jp2": 1, ".psd": 1}
        assert b"2 .heic, 1 .cr2" in done.stderr.replace(b"\n", b" ")
        assert b"iphone/f.txt: left out: its suffix names no picture" in done.stderr
        assert b"iphone/.hidden.png: left out: a hidden name" in done.stderr
    assert names_in(tmp_path / "out") == ["x.png", "y.png"]


def test_the_verbose_output_tells_why_each_entry_of_a_folder_is_left_out(
    run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path / "in", "x.png", "sub/y.png")
    (tmp_path / "in/to-folder").symlink_to("sub")
    (tmp_path / "in/to-folder.png").symlink_to("sub")
    os.mkfifo(tmp_path / "in/fifo.png")
    (tmp_path / "in/notes").touch()
    done = run(*HALVE, "-v", "--no-recursive", "in", "out")
    told = [line for line in done.stderr.decode().splitlines() if "left out" in line]
    assert sorted(told) == [
        "poolcli: in/fifo.png: left out: a FIFO or socket",
        "poolcli: in/notes: left out: its suffix names no picture",
        "poolcli: in/sub: left out: a folder in a folder",
        "poolcli: in/to-folder.png: left out: a link to a folder",
        "poolcli: in/to-folder: left out: a link to a folder",
    ]


def test_an_empty_list_and_a_folder_as_a_list_are_refused_by_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list").touch()
    done = run(*HALVE, "--files-from", "list", "out")
    assert done.returncode == 3
    assert only_line(done) == "poolcli: no picture was found in the list list; check what it names"
    done = run(*HALVE, "--files-from", ".", "out")
    assert done.returncode == 2
    assert only_line(done) == "poolcli: --files-from . is a folder; give it as INPUT"


def test_a_file_in_the_place_of_the_output_folder_is_found_at_once(
    run: Run, tmp_path: Path
) -> None:
    paint_all(tmp_path / "in", "x.png", "y.png")
    (tmp_path / "file").write_bytes(b"mine")
    for words in (["in", "file/out"], ["-t", "file", "in"], ["in/x.png", "file/out.png"]):
        done = run(*HALVE, *words)
        assert done.returncode == 2
        assert "file is no folder; " in only_line(done)
    assert (tmp_path / "file").read_bytes() == b"mine"


# Other spellings


def test_spellings_of_other_programs_are_understood(run: Run, tmp_path: Path) -> None:
    paint_all(tmp_path / "in", "IMG_0001.JPG", "b.png")
    assert run(*HALVE, "--include", "*.jpg", "in", "out").returncode == 0
    assert names_in(tmp_path / "out") == ["IMG_0001.JPG"]
    for name, start in (("jpg", b"\xff\xd8"), ("TIF", b"II"), ("jpeg", b"\xff\xd8")):
        done = run(*HALVE, "--format", name, "--padding", "SAME", "in/b.png", "-")
        assert done.stdout.startswith(start), done.stderr
    assert run(*HALVE, "--format", "heic", "in/b.png", "-").returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-k 2", ""),
        ("-k 3 -s 1", ""),
        ("-k 3", "the last 2 rows are read by no window"),
        ("-k 1 -s 7", "some rows between windows or taps are read by none"),
        ("-k 2 -s 2 -p 1", "its windows extend beyond its 8 rows"),
        ("-k 3 --ceil-mode", "its windows extend beyond its 8 rows"),
    ],
)
def test_exact_refuses_windows_that_do_not_fit(
    words: str, said: str, run: Run, tmp_path: Path
) -> None:
    paint(tmp_path / "a.png")
    done = run("max", *words.split(), "--exact", "a.png", "b.png")
    assert done.returncode == bool(said)
    assert said.encode() in done.stderr
    assert (tmp_path / "b.png").exists() == (not said)
