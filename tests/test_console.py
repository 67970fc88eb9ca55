from __future__ import annotations

import io
import re
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from poolcli import console
from poolcli.console import display_name
from poolcli.report import Outcome
from tests.support.output import has_only_printable_lines, outcomes, summary
from tests.support.processes import Run, environment
from tests.support.terminal import CONTROLS, SHOW_CURSOR, Terminal
from tests.support.trees import paint

Patch = pytest.MonkeyPatch

NAMES = st.text(st.characters(exclude_categories=()) | st.sampled_from("[/]\x1b\n\u202e\udcff"))
DONE = Outcome(
    "in.png",
    "out.png",
    "done",
    method="max",
    size=(2, 3),
    stride=(2, 3),
    dilation=(1, 1),
    padding=((0, 0), (0, 0)),
    input_shape=(6, 8, 3),
    output_shape=(3, 2, 3),
    dropped=(1, 2),
    dtype="uint8",
    mode="RGB",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("soft\u00adhyphen\u200bspace\ufeff", r"soft\xadhyphen\u200bspace\ufeff"),
        ("caf\udce9", r"caf\udce9"),
        ("\ue000\U000f0000", r"\ue000\U000f0000"),
        ("\u0378", r"\u0378"),
        ("\U000e0041", r"\U000e0041"),
    ],
    ids=[
        *("escape codes", "white space", "controls", "bidi", "line separators"),
        *("invisible", "undecodable", "private use", "unassigned", "tags"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert display_name(text) == shown


@pytest.mark.parametrize(
    "text",
    ["in.png", "é", "e\u0301", "漢字", "😀", "Ω ñ ß", "[/foo].png", "a b", "%s{0}", "عربي", ""],
)
def test_what_prints_stays_as_it_is(text: str) -> None:
    assert display_name(text) == text


@given(NAMES)
@example("\x1b]0;title\x07")
@example("\ud83d\ude00")
def test_nothing_that_acts_on_a_terminal_is_ever_shown(name: str) -> None:
    shown = display_name(name)
    with pytest.MonkeyPatch.context() as patch:
        stderr = io.StringIO()
        patch.setattr("sys.stderr", stderr)
        console.error("it is broken", "mend it", name)

    assert has_only_printable_lines(shown)
    assert "\n" not in shown
    assert display_name(shown) == shown
    shown.encode()
    assert stderr.getvalue().endswith("it is broken; mend it\n")
    assert len(stderr.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("broken", "mend it", "in.png"), "poolcli: in.png: broken; mend it\n"),
        (("broken", "", "in.png"), "poolcli: in.png: broken\n"),
        (("broken", "mend it"), "poolcli: broken; mend it\n"),
    ],
)
def test_an_error_is_where_what_and_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], expected: str
) -> None:
    console.error(*arguments)

    assert capsys.readouterr() == ("", expected)


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


def tell(outcome: Outcome, *, quiet: bool = False, verbose: int = 0, stream: bool = False) -> None:
    """Let a console tell of the only picture of a run."""
    speaker = console.Console(quiet=quiet, verbose=verbose, color="never", progress=False)
    speaker.single_outcome(outcome, to_stream=stream)


@pytest.mark.parametrize("stream", [None, Broken()], ids=["none", "full"])
@pytest.mark.parametrize("status", ["done", "failed", "skipped"])
def test_nothing_is_printed_where_nothing_can(monkeypatch: Patch, stream: Any, status: Any) -> None:
    monkeypatch.setattr("sys.stderr", stream)

    tell(Outcome("in.png", "out.png", status, error="it is broken"), verbose=2)


def test_a_summary_shows_names_and_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcome = copy(DONE)
    outcome.input = "[bold]:smile:[/foo]\x1b[31m.png"
    tell(outcome)
    out, text = capsys.readouterr()

    assert out == ""
    for part in (r"[bold]:smile:[/foo]\x1b[31m.png", "6×8×3 → 3×2×3", "uint8", "RGB", "3x2"):
        assert part in text
    assert "1 row " in text
    assert "2 columns " in text


@pytest.mark.parametrize(
    ("flags", "status", "printed"),
    [
        ({"verbose": 0}, "done", ["warning: warned"]),
        ({"verbose": 1}, "done", ["warning: warned", "noted"]),
        ({"quiet": True}, "done", []),
        ({"quiet": True}, "skipped", []),
        ({"quiet": True}, "failed", ["it is broken; mend it"]),
    ],
)
def test_warnings_are_printed_unless_quiet_notes_on_demand_and_failures_always(
    capsys: pytest.CaptureFixture[str], flags: dict[str, Any], status: Any, printed: list[str]
) -> None:
    failure = {"error": "it is broken", "remedy": "mend it"} if status == "failed" else {}
    tell(
        Outcome("-", "-", status, warnings=["warned"], notes=["noted"], **failure),
        stream=True,
        **flags,
    )
    out, text = capsys.readouterr()

    assert out == ""
    parts = ("warning: warned", "noted", "it is broken; mend it")
    assert [one for one in parts if one in text] == printed
    assert text.startswith(f"poolcli: stdin: {printed[0]}\n" if printed else "")
    assert bool(text) is bool(printed)


# The summary as it looks

LONG: Final = "/".join(("far", "away" * 30, "with spaces in it", "cat.png"))


def printed(run: Run, terminal: Terminal, *words: object, **variables: str) -> str:
    """What a run prints on a terminal, without what moves the cursor."""
    run(*words, stderr=terminal.theirs, environment=variables)
    return terminal.all().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_off_a_terminal_no_line_is_broken_filled_or_empty(
    run: Run, tmp_path: Path, columns: str
) -> None:
    paint(tmp_path / LONG)
    paint(tmp_path / "in/a.png")
    out = f"{LONG.removesuffix('cat.png')}small.png"
    one = run("max", "-k", 2, LONG, out, environment={"COLUMNS": columns}).stderr.decode()
    many = run("max", "-k", 2, LONG, "in", "o", environment={"COLUMNS": columns}).stderr.decode()

    assert one.splitlines()[:2] == [f" input     {LONG}", f" output    {out}"]
    for line in (one + many).splitlines():
        assert line
        assert line == line.rstrip()


@pytest.mark.parametrize("columns", [30, 80])
def test_on_a_terminal_long_paths_lose_their_middle(
    run: Run, tmp_path: Path, terminal: Terminal, columns: int
) -> None:
    paint(tmp_path / LONG)
    text = printed(run, terminal, "max", "-k", 2, LONG, "o.png", COLUMNS=str(columns))
    lines = CONTROLS.sub("", text).splitlines()

    assert all(len(line) <= columns and line == line.rstrip() for line in lines)
    assert re.fullmatch(r" input     far/.*….*/cat\.png", lines[0])
    assert len(lines[0]) == columns


@pytest.mark.parametrize(
    ("variables", "flags", "is_coloured"),
    [
        ({}, (), True),
        ({"NO_COLOR": "1"}, (), False),
        ({}, ("--color", "never"), False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
    ],
)
def test_failures_are_red_on_a_terminal(
    run: Run,
    tmp_path: Path,
    terminal: Terminal,
    variables: dict[str, str],
    flags: tuple[str, ...],
    is_coloured: bool,
) -> None:
    paint(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_text("text")
    text = printed(run, terminal, "max", "-k", 2, *flags, "in", "out", **variables)

    assert ("\x1b[31m1 failed\x1b[0m" in text) is is_coloured
    assert ("\x1b[31mpoolcli: in/b.png: it is text" in text) is is_coloured
    assert "poolcli: in/b.png: it is text" in text


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_colour_may_be_forced_off_a_terminal(run: Run, tmp_path: Path, name: str) -> None:
    paint(tmp_path / "a.png")
    words = ("max", "-k", 2, "-f", "a.png", "b.png")

    assert b"\x1b[1m input" in run(*words, environment={name: "1"}).stderr
    assert b"\x1b" not in run(*words, environment={name: "0"}).stderr
    assert b"\x1b" not in run(*words, environment={name: "1", "NO_COLOR": "1"}).stderr


@pytest.mark.parametrize(("columns", "cells"), [("80", range(10, 30)), ("200", range(60, 90))])
def test_the_progress_bar_follows_the_width(
    run: Run, tmp_path: Path, terminal: Terminal, columns: str, cells: range
) -> None:
    for name in "abc":
        paint(tmp_path / f"in/{name}.png")
    text = printed(run, terminal, "max", "-k", 2, "in", "out", COLUMNS=columns)
    last = CONTROLS.sub("", text.rpartition(SHOW_CURSOR)[0].rpartition("\x1b[2K")[2])

    assert last.count("━") in cells


def test_a_dry_run_says_what_would_be_done_and_no_bytes_or_times(run: Run, tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "old.png"):
        paint(tmp_path / "in" / name, 9)
    (tmp_path / "in/text.png").write_text("text")
    paint(tmp_path / "out/old.png")
    words = ("max", "-k", 2, "-n", "--skip-existing")
    plain, verbose = (run(*words, *flags, "in", "out").stderr.decode() for flags in ((), ("-v",)))
    single = run(*words, "in/a.png", "b.png").stderr.decode()
    totals = summary(run(*words, "--json", "in", "out"))

    counts = "2 would be written, 1 would be skipped, 1 would fail"
    assert plain.startswith(f" pictures   {counts}\n output     out\n")
    assert "in/sub/b.png → out/sub/b.png would be written, 9×9×3 → 4×4×3" in verbose
    assert "in/old.png: would be skipped, out/old.png exists already" in verbose
    assert " would write   b.png\n shape         9×9×3 → 4×4×3 (uint8, RGB)\n" in single
    assert (totals["planned"], totals["bytes_out"]) == (2, None)
    for text in (plain, verbose, single):
        assert not re.search(r"bytes|time|MP/s|images/s|\d s\b", text)


def test_json_tells_of_warnings_and_notes_also_if_quiet(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 999, np.uint16)).save(tmp_path / "in.png")
    words = ("max", "-k", 2, "--json", "--allow-depth-loss", "-q", "in.png", "out.jpg")
    (outcome,) = outcomes(run(*words))

    assert outcome["warnings"] == ["its samples are rounded to 8 bits"]
    assert isinstance(outcome["notes"], list)
    assert list(outcome)[-2:] == ["warnings", "notes"]


def test_signs_that_an_encoding_lacks_are_printed_in_plain_letters(tmp_path: Path) -> None:
    paint(tmp_path / "in.png", 8)
    for words in (["in.png", "o.png"], ["-v", "in.png", "o.png", "out/"]):
        # Python reads this variable at its start.
        variables = environment({"PYTHONIOENCODING": "ascii"})
        program = [sys.executable, "-m", "poolcli", "max", "-k", "2", *words]
        done = subprocess.run(
            program, cwd=tmp_path, env=variables, capture_output=True, check=False
        )
        assert done.returncode == 0
        assert b"8x8x3 -> 4x4x3" in done.stderr
        assert b"\\" not in done.stderr


def test_the_summary_and_json_tell_the_same_time(run: Run, tmp_path: Path) -> None:
    for name in "ab":
        paint(tmp_path / f"in/{name}.png")
    done = run("max", "-k", 2, "--json", "in", "out")

    assert f"time       {summary(done)['elapsed_seconds']:.3f} s" in done.stderr.decode()
