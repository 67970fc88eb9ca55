"""One job from its source to its target, and what is told of it."""

from __future__ import annotations

import errno
import gc
import os
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli import colour
from poolcli import run as runner
from poolcli.errors import PoolError
from poolcli.formats import by_name
from poolcli.formats.contract import open_writer
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.methods.max import Max
from poolcli.picture import Metadata, Resolution
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run import headers, output
from poolcli.run.work import Work
from poolcli.storage import place_of
from poolcli.storage.local import LocalFile
from tests import jobs
from tests.jobs import work
from tests.pictures import encoded, noise, noisy, opened, picture, read_back, written
from tests.storage_support import use_memory

Patch = pytest.MonkeyPatch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with in.png, RGB, 6 high and 8 wide."""
    array = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    Image.fromarray(array).save(tmp_path / "in.png")
    return tmp_path


def run(folder: Path, the_work: Work, source: str = "in.png", form: str = "png") -> Outcome:
    """Run one job in a folder."""
    return jobs.run(folder / source, folder / f"out.{form}", form, the_work)


def test_an_outcome_tells_what_was_done(folder: Path) -> None:
    outcome = run(folder, work("avg", (2, 3), stride=(3, 2), dilation=(2, 1), padding="same"))
    steps = (outcome.read_seconds, outcome.pool_seconds, outcome.write_seconds)

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
    assert all(step is not None and 0 < step < 60 for step in steps)


@pytest.mark.parametrize(
    ("more", "dropped", "has_gaps"),
    [
        ({"size": 2}, (0, 0), False),
        ({"size": 4}, (2, 0), False),
        ({"size": 5}, (1, 3), False),
        ({"stride": 3}, (1, 0), True),
        ({"stride": 4, "dilation": 2}, (3, 1), True),
    ],
)
def test_an_outcome_tells_of_pixels_that_no_window_reads(
    folder: Path, more: dict[str, Any], dropped: tuple[int, int], has_gaps: bool
) -> None:
    outcome = run(folder, work(**more))

    assert (outcome.dropped, outcome.has_gaps) == (dropped, has_gaps)


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
    tmp_path: Path, mode: str, method: str, form: str, dtype: str, stored: str
) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "in.png")
    outcome = run(tmp_path, work(method), form=form)

    assert (outcome.status, outcome.dtype, outcome.mode) == ("done", dtype, stored)


@pytest.mark.parametrize(("source", "words"), [("in.png", "spans 9"), ("empty.png", "empty")])
def test_what_cannot_be_pooled_fails_with_a_remedy(folder: Path, source: str, words: str) -> None:
    (folder / "empty.png").touch()
    outcome = run(folder, work(size=9), source)

    assert outcome.status == "failed"
    assert words in str(outcome.error)
    assert outcome.remedy
    assert not outcome.is_fault
    assert "Traceback" in str(outcome.traceback)
    assert sorted(os.listdir(folder)) == ["empty.png", "in.png"]


@pytest.mark.parametrize("after", [0, 12])
def test_an_input_that_cannot_be_read_on_is_not_said_to_be_an_output(
    folder: Path, monkeypatch: Patch, after: int
) -> None:
    octets = (folder / "in.png").read_bytes()
    calls: list[int] = []

    class Breaking(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            calls.append(1)
            if len(calls) > after:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    monkeypatch.setattr(LocalFile, "open", lambda *_: Breaking(octets))
    outcome = run(folder, work())
    assert outcome.status == "failed"
    assert re.match(
        r"it (can't be (read|decoded)|looks like PNG, but).*Input/output error", str(outcome.error)
    )
    assert outcome.remedy


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
    ("module", "step"),
    [
        (runner, "open_reader"),
        (headers, "check_depth"),
        (headers, "pooled_info"),
        (output, "pooled_bands"),
        (output, "open_writer"),
    ],
)
def test_whatever_goes_wrong_costs_one_picture_only(
    folder: Path,
    monkeypatch: Patch,
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
def test_what_ends_the_run_passes(folder: Path, monkeypatch: Patch, raised: BaseException) -> None:
    monkeypatch.setattr(output, "pooled_bands", raising(raised))
    with pytest.raises(type(raised)):
        run(folder, work())


def raising(raised: BaseException) -> Any:
    """A step that goes wrong."""

    def fail(*_: Any, **__: Any) -> Any:
        raise raised

    return fail


@pytest.mark.parametrize("name", ["png", "jpeg", "bmp", "tiff", "webp"])
def test_the_decoded_picture_is_gone_while_the_result_is_encoded(
    name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    extents = (64, 48)
    Image.new("RGB", extents).save(tmp_path / f"in.{name}")
    gc.collect()
    alive: list[int] = []

    def watched(*arguments: Any) -> Any:
        writer = open_writer(*arguments)
        finish = writer.finish

        def counting() -> list[str]:
            alive.append(count())
            return finish()

        monkeypatch.setattr(writer, "finish", counting)
        return writer

    def count() -> int:
        return sum(
            isinstance(one, Image.Image) and one.size == extents and one._im is not None
            for one in gc.get_objects()
        )

    monkeypatch.setattr(output, "open_writer", watched)
    before = count()
    outcome = run(tmp_path, work(), f"in.{name}", name)

    assert outcome.status == "done"
    assert alive == [before]


def test_a_job_asks_nothing_but_the_storages_of_its_paths(folder: Path, monkeypatch: Patch) -> None:
    memory = use_memory(monkeypatch)
    memory["memory://in.png"] = (folder / "in.png").read_bytes()
    run(folder, work())
    job = Job(place_of("memory://in.png"), place_of("memory://out.png"), by_name("png"))
    outcome = runner.run_job(job, work(preserve=True))

    assert outcome.error is None
    assert outcome.input_bytes == len(memory["memory://in.png"])
    assert memory["memory://out.png"] == (folder / "out.png").read_bytes()


# Frames, depth and metadata on their way


def test_frames_are_turned_upright_before_they_are_pooled(tmp_path: Path) -> None:
    array = noise("RGB", (6, 4))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / "in.png", exif=exif, dpi=(50, 100))
    outcome = run(tmp_path, work("max", (1, 2)))

    assert (outcome.input_shape, outcome.output_shape) == ((4, 6, 3), (4, 3, 3))
    assert outcome.notes == ["it was turned upright"]
    found = opened((tmp_path / "out.png").read_bytes())
    wanted = np.rot90(array, -1).reshape(4, 3, 2, 3).max(axis=2)
    np.testing.assert_array_equal(np.asarray(found), wanted)
    assert found.getexif().get(274) is None
    assert found.info["dpi"] == pytest.approx((50, 50), abs=0.1)


def test_several_pages_are_each_pooled_in_their_own_mode(tmp_path: Path) -> None:
    pages = [noisy("L", (4, 6)), noisy("I;16", (8, 2), 1), noisy("RGB", (2, 2), 2)]
    (tmp_path / "in.tif").write_bytes(written(pages, "tiff")[0])
    outcome = run(tmp_path, work(), "in.tif", "tiff")

    assert (outcome.status, outcome.frames, outcome.taken) == ("done", 3, 3)
    assert (outcome.input_shape, outcome.mode, outcome.dtype) == ((4, 6), "L", "uint8")
    with Image.open(tmp_path / "out.tiff") as image:
        for number, page in enumerate(pages):
            image.seek(number)
            height, width = page.array.shape[:2]
            blocks = page.array.reshape(height // 2, 2, width // 2, 2, -1).max(axis=(1, 3))
            np.testing.assert_array_equal(
                np.asarray(image).reshape(blocks.shape), blocks, f"page {number}"
            )


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_that_is_too_small_refuses_the_whole_file(number: int, tmp_path: Path) -> None:
    pages = [noisy("L", (9, 9)), noisy("L", (9, 9))]
    pages[number] = noisy("L", (2, 2))
    (tmp_path / "in.tif").write_bytes(written(pages, "tiff")[0])
    for dry_run in (True, False):
        outcome = run(tmp_path, work(size=3, dry_run=dry_run), "in.tif", "tiff")
        assert outcome.status == "failed"
        assert "spans 3" in str(outcome.error)
    assert [one.name for one in tmp_path.iterdir()] == ["in.tif"]


def test_samples_are_rounded_to_8_bits_where_that_is_allowed_and_told(tmp_path: Path) -> None:
    array = noise("I;16", (4, 6))
    (tmp_path / "in.png").write_bytes(encoded(picture(array, "I;16"), "png"))
    refused = run(tmp_path, work(), form="bmp")
    outcome = run(tmp_path, work(allow_depth_loss=True), form="bmp")

    assert refused.status == "failed"
    assert "give --allow-depth-loss" in str(refused.remedy)
    assert (outcome.status, outcome.mode, outcome.dtype) == ("done", "L", "uint8")
    assert outcome.warnings == ["its samples are rounded to 8 bits"]
    pooled = array.reshape(2, 2, 3, 2).max(axis=(1, 3))
    wanted = np.rint(pooled / 257).astype(np.uint8)
    found = read_back((tmp_path / "out.bmp").read_bytes(), "bmp", "L")
    np.testing.assert_array_equal(found, wanted)


def test_an_input_without_a_named_target_format_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(noisy("RGB"), "webp"))
    job = Job(place_of(str(tmp_path / "in")), place_of(str(tmp_path / "out")), None)
    outcome = runner.run_job(job, work())
    assert outcome.status == "done"
    assert (tmp_path / "out").read_bytes()[8:12] == b"WEBP"
    saving = Saving(compress_level=3)
    refused = runner.run_job(job, work(saving=saving, overwrite=True))
    assert refused.error == "--compress-level has no effect on WebP"


def test_metadata_and_what_is_lost_of_it_are_told(tmp_path: Path) -> None:
    given = noisy(
        "RGB", (8, 8), metadata=Metadata(comment=b"hello", resolution=Resolution(60, 120))
    )
    (tmp_path / "in.jpg").write_bytes(encoded(given, "jpeg"))
    kept, lost = (run(tmp_path, work("max", (4, 2)), "in.jpg", form) for form in ("png", "npy"))
    found = opened((tmp_path / "out.png").read_bytes())
    assert found.info["dpi"] == pytest.approx((60, 15), abs=0.1)
    assert not [one for one in kept.notes if "no place" in one]
    assert [one.partition("for the ")[2] for one in lost.notes] == ["comment", "resolution"]


@pytest.mark.parametrize(
    "settled", [{"skip": True}, {"refusal": "it can't be", "remedy": "leave it"}], ids=str
)
def test_a_job_that_is_settled_opens_nothing(settled: dict[str, Any], tmp_path: Path) -> None:
    source, target = place_of(str(tmp_path / "none")), place_of(str(tmp_path / "out"))
    outcome = runner.run_job(Job(source, target, by_name("png"), **settled), work())
    assert outcome.status == ("skipped" if "skip" in settled else "failed")
    assert (outcome.error, outcome.remedy) == (settled.get("refusal"), settled.get("remedy"))
    assert (outcome.input_bytes, outcome.traceback) == (None, None)


def test_a_job_that_is_given_up_knows_what_was_asked() -> None:
    job = Job(place_of("in.png"), place_of("out.png"), by_name("png"), bytes=123)
    outcome = runner.failed_outcome(
        job, work("min", 3, stride=2), "it took too long", "raise --timeout"
    )
    assert (outcome.status, outcome.error) == ("failed", "it took too long")
    assert (outcome.remedy, outcome.input_bytes) == ("raise --timeout", 123)
    assert (outcome.method, outcome.size, outcome.stride) == ("min", (3, 3), (2, 2))


class Slow(Max):
    """A method that notes how many rows it is given."""

    heights: list[int] = []  # noqa: RUF012  # it is reset by the test

    def pool(self, array: NDArray[Any], axes: Any, **more: Any) -> NDArray[Any]:
        self.heights.append(len(array))
        return super().pool(array, axes, **more)


def test_a_large_picture_is_pooled_band_by_band(tmp_path: Path, toy_format: Format) -> None:
    array = noise("L", (3000, 2000))
    (tmp_path / "in.toy").write_bytes(encoded(picture(array, "L"), toy_format.name))
    Slow.heights.clear()
    outcome = run(tmp_path, work(Slow(), max_pixels=10**7), "in.toy", "npy")
    assert outcome.status == "done"
    np.testing.assert_array_equal(
        np.load(tmp_path / "out.npy"), array.reshape(1500, 2, 1000, 2).max(axis=(1, 3))
    )
    assert len(Slow.heights) > 1
    assert max(Slow.heights) * 2000 <= colour.BAND_BYTES
