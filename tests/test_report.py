from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcli import report
from poolcli.report import Outcome, Report, Status
from tests.support.output import objects

DONE = Outcome(
    "in.png",
    "out.png",
    "done",
    input_shape=(6, 8, 3),
    output_shape=(3, 4, 3),
    input_bytes=100,
    output_bytes=30,
)
PLANNED = Outcome("in.png", "out.png", "planned", input_shape=(5, 7), output_shape=(2, 3))
SKIPPED = Outcome("in.png", "out.png", "skipped", input_bytes=100)
FAILED = Outcome("in.png", "out.png", error="it is broken", input_shape=(6, 8), input_bytes=100)
FAULT = Outcome("in.png", "out.png", error="poolcli failed", is_fault=True)

DOCUMENTED = (
    "input output status method size stride dilation padding frames input_shape output_shape "
    "dropped dtype mode read_seconds pool_seconds write_seconds input_bytes output_bytes error"
)


def reported(*outcomes: Outcome) -> Report:
    """The report of a run with these outcomes."""
    made = Report()
    for outcome in outcomes:
        made.add(outcome)
    return made


def only(text: str) -> dict[str, Any]:
    """The one JSON object in a line."""
    assert "\n" not in text
    (line,) = objects(text)
    return line


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        ((DONE,), 0),
        ((SKIPPED,), 0),
        ((PLANNED,), 0),
        ((DONE, SKIPPED, PLANNED), 0),
        ((FAILED,), 1),
        ((DONE, FAILED, SKIPPED), 1),
        ((FAULT,), 70),
        ((FAILED, FAULT, DONE), 70),
    ],
)
def test_the_exit_code_tells_the_worst(outcomes: tuple[Outcome, ...], code: int) -> None:
    assert reported(*outcomes).exit_code == code


def test_the_exit_codes_are_the_documented_ones() -> None:
    codes = {value for name, value in vars(report).items() if name.startswith("EXIT_")}

    assert codes == {0, 1, 2, 3, 70, 130, 141, 143}


def test_totals_count_all_and_add_what_was_done_alone() -> None:
    made = reported(DONE, DONE, PLANNED, SKIPPED, FAILED, FAULT)

    assert (made.done, made.planned, made.skipped, made.failed) == (2, 1, 1, 2)
    assert (made.pixels_in, made.pixels_out) == (48 + 48 + 35, 12 + 12 + 6)
    assert (made.bytes_in, made.bytes_out) == (200, 60)


def test_an_outcome_in_json_has_the_documented_keys_in_order() -> None:
    for outcome in (DONE, PLANNED, SKIPPED, FAILED, FAULT):
        assert list(only(outcome.as_json())) == DOCUMENTED.split()


def test_what_is_unknown_is_null() -> None:
    line = only(Outcome("in.png", "out.png").as_json())

    assert {key for key, value in line.items() if value is not None} == {
        "input",
        "output",
        "status",
    }
    assert line["status"] == "failed"


def test_values_come_as_json_has_them() -> None:
    outcome = Outcome("in.png", "out.png", size=(2, 3), padding=((0, 1), (2, 3)), dropped=(4, 5))
    line = only(outcome.as_json())
    helped = Outcome("in.png", "out.png", error="it is broken", remedy="mend it")

    assert (line["size"], line["padding"], line["dropped"]) == ([2, 3], [[0, 1], [2, 3]], [4, 5])
    assert only(helped.as_json())["error"] == {"message": "it is broken", "remedy": "mend it"}
    assert only(FAILED.as_json())["error"] == {"message": "it is broken", "remedy": None}


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_is_never_printed(time: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Outcome("in.png", "out.png", read_seconds=time).as_json()


@given(name=st.binary(min_size=1).map(os.fsdecode), text=st.text())
def test_names_of_any_bytes_come_back_from_json(name: str, text: str) -> None:
    outcome = Outcome(name, name[::-1], error=text)
    line = only(outcome.as_json())

    assert os.fsencode(line["input"]) == os.fsencode(name)
    assert line["error"]["message"] == text


@given(st.lists(st.sampled_from([DONE, PLANNED, SKIPPED, FAILED, FAULT])))
def test_the_summary_counts_every_outcome_once(outcomes: list[Outcome]) -> None:
    made = reported(*outcomes)
    summary = only(made.as_json())["summary"]
    kinds: tuple[Status, ...] = ("done", "skipped", "failed", "planned")

    assert [summary[kind] for kind in kinds] == [
        sum(outcome.status == kind for outcome in outcomes) for kind in kinds
    ]
    assert summary["exit_code"] == made.exit_code
    assert summary["elapsed_seconds"] >= 0
