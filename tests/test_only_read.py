"""A format that is read and not written: what a run says where it would have to write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poolcli import formats
from poolcli.errors import PoolError
from poolcli.plan import Policy, make_plan
from poolcli.plan.left_out import LeftOut
from poolcli.run import run_job
from tests import toys
from tests.jobs import run, work
from tests.pictures import encoded, first_info, noisy

SEEN = toys.FORMAT._replace(name="seen", title="SEEN", suffixes=(".seen",), modes={}, options={})


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Register a format that is only read, in a working folder with files of it and of another.

    It is called by its suffix only; its reader is the toy's.
    """
    for name, value in toys.registered().items():
        monkeypatch.setattr(formats, name, value)
    octets = encoded(noisy("RGB"), "toy")
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS[:-1], SEEN, formats.FORMATS[-1]))
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.png").write_bytes(encoded(noisy("RGB"), "png"))
    Path("in/b.seen").write_bytes(octets)


def refusals(**policy: Any) -> dict[str, str]:
    jobs = make_plan(("in", "out/"), Policy(**policy))
    return {job.source.path: job.refusal for job in jobs}


def test_it_is_named_by_nothing_that_says_what_can_be_written() -> None:
    assert "seen" not in formats.NAMES
    assert ".seen" not in formats.all_suffixes()
    assert formats.by_suffix(".seen") is SEEN
    with pytest.raises(PoolError) as refusal:
        formats.by_name("png").check_frames(SEEN.frames, 3)
    assert ".tif" in refusal.value.remedy
    assert ".seen" not in refusal.value.remedy


def test_in_a_folder_it_is_left_out_and_told_unless_a_format_is_given(tmp_path: Path) -> None:
    left_out = LeftOut.nothing()
    assert [job.source.path for job in make_plan(("in", "out/"), Policy(), left_out)] == [
        "in/a.png"
    ]
    assert left_out.in_words() == ("1 .seen (not read; SEEN with --format)",)
    (job,) = make_plan(("in/b.seen", "out/"), Policy())
    assert job.remedy.startswith("give --format png, jpeg")
    outcome = run_job(job, work())
    assert (outcome.status, outcome.error) == ("failed", "SEEN can only be read")
    assert set(refusals(format="png").values()) == {""}
    (given,) = make_plan(("in/b.seen", "out/"), Policy(format="png"))
    assert given.target.path == "out/b.png"
    assert first_info(Path("in/b.seen").read_bytes()).mode == "RGB"
    assert run("in/b.seen", tmp_path / "out", "png").status == "done"


def test_an_output_that_is_called_like_it_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(PoolError, match=r"out\.seen: SEEN can only be read") as refusal:
        make_plan(("in/a.png", "out.seen"), Policy())
    assert ".png" in refusal.value.remedy
    (job,) = make_plan(("in/a.png", "out.seen"), Policy(format="png"))
    assert job.format is formats.by_name("png")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_stream_that_would_have_to_be_written_like_it_is_refused(
    dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcli.run.output.by_name", lambda _name: SEEN)
    (job,) = make_plan(("in/b.seen", "-"), Policy())
    assert job.format is None
    outcome = run_job(job, work(dry_run=dry_run))
    assert (outcome.status, outcome.error) == ("failed", "SEEN can only be read")
    assert str(outcome.remedy).startswith("give --format png")
