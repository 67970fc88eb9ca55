from __future__ import annotations

import errno
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli import codec, colour, storage
from poolcli import run as runner
from poolcli.colour import Choices, Method
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import Saving, by_name
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run import Work
from poolcli.storage import Source, Target
from tests.storage_support import MemoryStorage

LIMIT = 10**9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with in.png, RGB, 6 high and 8 wide."""
    array = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    Image.fromarray(array).save(tmp_path / "in.png")
    return tmp_path


def work(method: Method = "max", size: Any = 2, *, max_pixels: int = LIMIT, **more: Any) -> Work:
    """Work with one window; ``more`` goes to the window or to the work."""
    ours = {key: more.pop(key) for key in ("overwrite", "preserve", "dry_run") if key in more}
    choices = Choices(method=method, window=Window.of(size, **more))
    return Work(choices=choices, saving=Saving(), max_pixels=max_pixels, **ours)


def run(folder: Path, the_work: Work, source: str = "in.png", form: str = "png") -> Outcome:
    """Run one job in a folder."""
    target = Target.at(str(folder / f"out.{form}"))
    return runner.run_job(Job(Source(str(folder / source)), target, by_name(form)), the_work)


def test_an_outcome_tells_what_was_done(folder: Path) -> None:
    outcome = run(folder, work("avg", (2, 3), stride=(3, 2), dilation=(2, 1), padding="same"))

    assert outcome.status == "done"
    assert (outcome.input, outcome.output) == (str(folder / "in.png"), str(folder / "out.png"))
    assert (outcome.method, outcome.size) == ("avg", (2, 3))
    assert (outcome.stride, outcome.dilation) == ((3, 2), (2, 1))
    assert outcome.padding == ((0, 0), (0, 1))
    assert (outcome.input_shape, outcome.output_shape) == ((6, 8, 3), (2, 4, 3))
    assert (outcome.dropped, outcome.frames) == ((0, 0), 1)
    assert (outcome.dtype, outcome.mode) == ("uint8", "RGB")
    assert outcome.input_bytes == (folder / "in.png").stat().st_size
    assert outcome.output_bytes == (folder / "out.png").stat().st_size
    assert (outcome.error, outcome.remedy, outcome.traceback) == (None, None, None)


def test_an_outcome_tells_how_long_each_step_took(folder: Path) -> None:
    outcome = run(folder, work())
    steps = (outcome.read_seconds, outcome.pool_seconds, outcome.write_seconds)

    assert all(step is not None and 0 < step < 60 for step in steps)


@pytest.mark.parametrize(
    ("size", "dropped", "gaps"), [(2, (0, 0), False), (4, (2, 0), False), (5, (1, 3), False)]
)
def test_an_outcome_counts_the_pixels_that_no_window_reads(
    folder: Path, size: int, dropped: tuple[int, int], gaps: bool
) -> None:
    outcome = run(folder, work(size=size))

    assert (outcome.dropped, outcome.has_gaps) == (dropped, gaps)


@pytest.mark.parametrize(("stride", "dilation"), [(3, 1), (4, 2)])
def test_an_outcome_tells_of_gaps(folder: Path, stride: int, dilation: int) -> None:
    assert run(folder, work(stride=stride, dilation=dilation)).has_gaps


@pytest.mark.parametrize(
    ("mode", "method", "form", "dtype", "stored"),
    [
        ("L", "max", "png", "uint8", "L"),
        ("1", "max", "png", "bool", "1"),
        ("1", "avg", "png", "uint8", "L"),
        ("LA", "min", "png", "uint8", "LA"),
        ("I;16", "avg", "png", "uint16", "I;16"),
        ("L", "max", "webp", "uint8", "RGB"),
    ],
)
def test_an_outcome_tells_the_type_and_mode_as_written(
    tmp_path: Path, mode: str, method: Method, form: str, dtype: str, stored: str
) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "in.png")
    outcome = run(tmp_path, work(method), form=form)

    assert (outcome.status, outcome.dtype, outcome.mode) == ("done", dtype, stored)


def test_a_dry_run_knows_the_same_and_writes_nothing(folder: Path) -> None:
    foreseen = run(folder, work(size=4, dry_run=True))
    left = os.listdir(folder)
    seen = run(folder, work(size=4))
    settled = ("padding", "frames", "input_shape", "output_shape", "dropped", "dtype", "mode")

    assert (foreseen.status, seen.status) == ("planned", "done")
    assert left == ["in.png"]
    assert [getattr(foreseen, key) for key in settled] == [getattr(seen, key) for key in settled]
    assert (foreseen.output_bytes, foreseen.pool_seconds) == (None, None)


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        ("none.png", {}, "No such file"),
        ("in.png", {"size": 9}, "spans 9"),
        ("in.png", {"max_pixels": 47}, "million"),
        ("text.png", {}, "no picture"),
        ("empty.png", {}, "empty"),
        (".", {}, "folder"),
    ],
)
def test_a_picture_that_cannot_be_pooled_fails_with_a_remedy(
    folder: Path, source: str, more: dict[str, int], says: str
) -> None:
    (folder / "text.png").write_text("this is no picture")
    (folder / "empty.png").touch()
    names = sorted(os.listdir(folder))
    size, limit = more.get("size", 2), more.get("max_pixels", LIMIT)
    outcome = run(folder, work(size=size, max_pixels=limit), source)

    assert outcome.status == "failed"
    assert says in str(outcome.error)
    assert outcome.remedy
    assert not outcome.is_fault
    assert "Traceback" in str(outcome.traceback)
    assert sorted(os.listdir(folder)) == names


def test_an_output_that_appeared_meanwhile_fails_and_stays(folder: Path) -> None:
    (folder / "out.png").write_bytes(b"old")
    outcome = run(folder, work())

    assert outcome.status == "failed"
    assert "--overwrite" in str(outcome.remedy)
    assert (folder / "out.png").read_bytes() == b"old"


def test_overwriting_is_done_when_asked_for(folder: Path) -> None:
    (folder / "out.png").write_bytes(b"old")

    assert run(folder, work(overwrite=True)).status == "done"
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("raised", "says", "is_fault"),
    [
        (PoolError("it is odd", "even it out"), "it is odd", False),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left", False),
        (MemoryError(), "memory", False),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero", True),
        (RecursionError("too deep"), "RecursionError", True),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    ("module", "step"), [(codec, "decode_all"), (colour, "pool"), (codec, "encode")]
)
def test_whatever_goes_wrong_costs_one_picture_only(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    step: str,
    raised: Exception,
    says: str,
    is_fault: bool,
) -> None:
    monkeypatch.setattr(module, step, raising(raised))
    outcome = run(folder, work())

    assert outcome.status == "failed"
    assert says in str(outcome.error)
    assert outcome.is_fault is is_fault
    assert type(raised).__name__ in str(outcome.traceback)
    assert os.listdir(folder) == ["in.png"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), BrokenPipeError(), SystemExit()], ids=repr)
def test_what_ends_the_whole_run_passes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    monkeypatch.setattr(colour, "pool", raising(raised))
    with pytest.raises(type(raised)):
        run(folder, work())


def raising(raised: BaseException) -> Any:
    """A step that goes wrong."""

    def fail(*_: Any, **__: Any) -> Any:
        raise raised

    return fail


@pytest.mark.parametrize("name", ["png", "jpeg", "bmp"])
def test_the_decoded_picture_is_gone_while_the_result_is_encoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extents = (64, 48)
    Image.new("RGB", extents).save(tmp_path / f"in.{name}")
    gc.collect()
    alive: list[int] = []
    encode = codec.encode

    def watched(*arguments: Any) -> Any:
        everything = (one for one in gc.get_objects() if isinstance(one, Image.Image))
        alive.append(sum(one.size == extents for one in everything))
        return encode(*arguments)

    monkeypatch.setattr(codec, "encode", watched)
    before = sum(isinstance(one, Image.Image) and one.size == extents for one in gc.get_objects())
    outcome = run(tmp_path, work(), f"in.{name}", name)

    assert outcome.status == "done"
    assert alive == [before]


def test_a_job_asks_nothing_but_the_storages_of_its_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = MemoryStorage()
    monkeypatch.setitem(storage.SCHEMES, "memory", memory)
    memory.files["memory://in.png"] = (folder / "in.png").read_bytes()
    run(folder, work())
    job = Job(Source("memory://in.png"), Target.at("memory://out.png"), by_name("png"))
    outcome = runner.run_job(job, work(preserve=True))

    assert outcome.error is None
    assert outcome.input_bytes == len(memory.files["memory://in.png"])
    assert memory.files["memory://out.png"] == (folder / "out.png").read_bytes()
