from __future__ import annotations

import io
from copy import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poolcli import console
from poolcli.console import display_name
from poolcli.report import Outcome
from tests.support.output import has_only_printable_lines

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
