from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcli import report
from poolcli.report import Outcome, Report
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
    "dropped dtype mode read_seconds pool_seconds write_seconds input_bytes output_bytes error "
    "output_size quantile planes nodata indices warnings notes"
)


def reported(*outcomes: Outcome) -> Report:
    """The report of a run with these outcomes."""
    made = Report()
    for outcome in outcomes:
        made.add(outcome)
    return made


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((), 0),
        ((DONE, SKIPPED, PLANNED), 0),
        ((DONE, FAILED, SKIPPED), 1),
        ((FAULT,), 70),
        ((FAILED, FAULT, DONE), 70),
    ],
)
def test_the_exit_code_tells_the_worst(outcomes: tuple[Outcome, ...], code: int) -> None:
    assert reported(*outcomes).exit_code == code
    codes = {value for name, value in vars(report).items() if name.startswith("EXIT_")}
    assert codes == {0, 1, 2, 3, 70, 129, 130, 141, 143}


def test_totals_count_all_and_add_what_was_done_alone() -> None:
    made = reported(DONE, DONE, PLANNED, SKIPPED, FAILED, FAULT)

    assert (made.done, made.planned, made.skipped, made.failed) == (2, 1, 1, 2)
    assert (made.pixels_in, made.pixels_out) == (48 + 48 + 35, 12 + 12 + 6)
    assert (made.bytes_in, made.bytes_out) == (200, 60)


def test_an_outcome_in_json_has_the_documented_keys_in_order_and_null_for_what_is_unknown() -> None:
    for outcome in (DONE, PLANNED, SKIPPED, FAILED, FAULT):
        (line,) = objects(outcome.as_json())
        assert list(line) == DOCUMENTED.split()
        error = {"message": outcome.error, "remedy": None} if outcome.error else None
        expected: dict[str, Any] = {"status": outcome.status, "error": error}
        expected |= {"warnings": [], "notes": []}
        for key in ("input", "output", "input_bytes", "output_bytes"):
            expected[key] = getattr(outcome, key)
        for key in ("input_shape", "output_shape"):
            expected[key] = list(getattr(outcome, key) or ()) or None
        assert line == dict.fromkeys(line) | expected


def test_values_come_as_json_has_them() -> None:
    window: dict[str, Any] = {"size": (2, 3), "padding": ((0, 1), (2, 3)), "dropped": (4, 5)}
    outcome = Outcome("in.png", "out.png", error="it is broken", remedy="mend it", **window)
    (line,) = objects(outcome.as_json())

    assert (line["size"], line["padding"], line["dropped"]) == ([2, 3], [[0, 1], [2, 3]], [4, 5])
    assert line["error"] == {"message": "it is broken", "remedy": "mend it"}


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_is_never_printed(time: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Outcome("in.png", "out.png", read_seconds=time).as_json()


@given(name=st.binary(min_size=1).map(os.fsdecode), text=st.text())
def test_names_of_any_bytes_come_back_from_json(name: str, text: str) -> None:
    (line,) = objects(Outcome(name, name[::-1], error=text).as_json())

    assert os.fsencode(line["input"]) == os.fsencode(name)
    assert line["error"]["message"] == text


@given(st.lists(st.sampled_from([DONE, PLANNED, SKIPPED, FAILED, FAULT])))
def test_the_summary_counts_every_outcome_once(outcomes: list[Outcome]) -> None:
    made = reported(*outcomes)
    (line,) = objects(made.as_json())
    summary = line["summary"]

    for kind in ("done", "skipped", "failed", "planned"):
        assert summary[kind] == sum(outcome.status == kind for outcome in outcomes)
    assert summary["exit_code"] == made.exit_code
    assert summary["elapsed_seconds"] >= 0
