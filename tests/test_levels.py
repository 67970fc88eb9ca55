"""Several levels from one decode: the bytes of separate runs, each with an outcome of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.picture import Frame, Picture
from poolcli.run.sharing import SharedFrame, SharedFrames
from tests.animations import Region, gif_of
from tests.pictures import encoded, noise, opened, picture, ramp, written
from tests.support.processes import Done, Run


def animation(count: int = 3) -> bytes:
    """Return a GIF of some frames, of which one restores what was below it."""
    frames = []
    for seed in range(count):
        few = noise("RGB", (21, 17), seed) & np.uint8(0xC0)
        frames.append(Region(np.dstack((few, np.full((21, 17), 255, np.uint8)))))
    frames[1] = Region(frames[1].array[:9, :9], 2, 3, Fraction(70), dispose="restore")
    return gif_of(frames, 17, 21)


def pages() -> list[Picture]:
    """Return pages of several sizes and modes."""
    return [picture(noise(mode, (20 + n, 30 - n)), mode) for n, mode in enumerate(("RGB", "L"))]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Return a folder with pictures of several formats."""
    folder = tmp_path / "in"
    folder.mkdir()
    turned = picture(ramp(40, 50), "RGB")
    for name in ("png", "jpeg", "webp", "bmp", "npy"):
        (folder / f"{name}.{name}").write_bytes(encoded(turned, name))
    (folder / "moving.gif").write_bytes(animation())
    (folder / "pages.tif").write_bytes(written(pages(), "tiff")[0])
    return folder


@pytest.mark.parametrize("verb", ["max", "avg"])
@pytest.mark.parametrize("jobs", [(), ("-j", 2, "--timeout", 60)])
def test_levels_have_the_bytes_of_separate_runs(
    run: Run, inputs: Path, tmp_path: Path, verb: str, jobs: tuple[Any, ...]
) -> None:
    done = run(verb, "--levels", "2,3,7", *jobs, "in", "out")
    assert done.returncode == 0, done.stderr
    for level in (2, 3, 7):
        assert run(verb, "-k", level, "in", f"out{level}").returncode == 0
        for path in sorted((tmp_path / f"out{level}").iterdir()):
            found = tmp_path / "out" / f"{path.stem}_{level}{path.suffix}"
            assert found.read_bytes() == path.read_bytes(), found
    assert len([*(tmp_path / "out").iterdir()]) == 3 * len([*inputs.iterdir()])


def objects(done: Done) -> list[dict[str, Any]]:
    """Return the JSON objects of pictures."""
    return [json.loads(line) for line in done.stdout.splitlines()[:-1]]


def test_every_level_has_an_outcome_and_one_that_does_not_fit_fails_alone(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(noise("RGB", (9, 12)), "RGB"), "png"))
    done = run("max", "--levels", "2,10,3", "--json", "a.png", "out")
    assert done.returncode == 1
    assert b"a.png" in done.stderr
    assert b"picture's height is 9" in done.stderr
    found = objects(done)
    assert [(one["size"], one["stride"], one["status"]) for one in found] == [
        ([2, 2], [2, 2], "done"),
        ([10, 10], [10, 10], "failed"),
        ([3, 3], [3, 3], "done"),
    ]
    assert [one["output"] for one in found] == [f"out/a_{level}.png" for level in (2, 10, 3)]
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["failed"] == 1
    sizes = [opened((tmp_path / f"out/a_{level}.png").read_bytes()).size for level in (2, 3)]
    assert sizes == [(6, 4), (4, 3)]


def test_existing_outputs_are_decided_level_by_level(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(noise("RGB", (9, 12)), "RGB"), "png"))
    assert run("max", "--levels", "2", "a.png", "out").returncode == 0
    before = (tmp_path / "out/a_2.png").stat().st_ino
    refused = run("max", "--levels", "3,2", "a.png", "out")
    assert refused.returncode == 2
    assert b"exists already" in refused.stderr
    assert not (tmp_path / "out/a_3.png").exists()
    done = run("max", "--levels", "3,2", "--skip-existing", "--json", "a.png", "out")
    assert [one["status"] for one in objects(done)] == ["done", "skipped"]
    assert (tmp_path / "out/a_2.png").stat().st_ino == before


def test_a_dry_run_tells_every_level(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(noise("RGB", (9, 12)), "RGB"), "png"))
    done = run("max", "--levels", "2,10", "-n", "--json", "a.png", "out")
    assert [one["status"] for one in objects(done)] == ["planned", "failed"]
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_damaged_pixels_fail_every_level_and_leave_nothing(run: Run, tmp_path: Path) -> None:
    octets = encoded(picture(noise("RGB", (300, 400)), "RGB"), "png")
    damaged = bytearray(octets)
    damaged[-2000] ^= 1
    (tmp_path / "a.png").write_bytes(damaged)
    done = run("avg", "--levels", "2,4", "--json", "a.png", "out")
    assert done.returncode == 1
    assert len({one["error"]["message"] for one in objects(done)}) == 1
    assert [*(tmp_path / "out").glob("*")] == []


REFUSED = {
    "a size": (
        ("--levels", "2,4", "-k", "2", "a.png", "out"),
        "-k and --levels exclude",
    ),
    "padding": (
        ("--levels", "2,4", "-p", "same", "a.png", "out"),
        "-p has no effect",
    ),
    "ceil mode": (
        ("--levels", "2", "--ceil-mode", "a.png", "out"),
        "--ceil-mode has no effect",
    ),
    "a level twice": (("--levels", "2,4,2", "a.png", "out"), "a level twice"),
    "no number": (("--levels", "2,x", "a.png", "out"), "whole numbers"),
    "zero": (("--levels", "0", "a.png", "out"), "whole numbers"),
    "a file": (("--levels", "2,4", "a.png", "out.png"), "looks like a picture"),
    "a stream": (("--levels", "2,4", "a.png", "-"), "--levels needs a folder"),
    "one name": (("--levels", "2,4", "--name", "x", "a.png", "out"), "inputs with one output"),
    "no levels": (("-k", "2", "--name", "{stem}{level}", "a.png", "out/"), "needs --levels"),
    "neither": (("a.png", "out/"), "--levels"),
}


@pytest.mark.parametrize(("words", "told"), REFUSED.values(), ids=REFUSED)
def test_levels_that_cannot_be_are_refused(
    run: Run, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(ramp(), "RGB"), "png"))
    done = run("max", *words)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert not (tmp_path / "out").exists()


def test_names_may_hold_the_level(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(ramp(), "RGB"), "png"))
    words = ("--levels", "2,5", "--name", "{stem}-{method}-{level}-{size}")
    assert run("max", *words, "a.png", "out").returncode == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a-max-2-2.png", "a-max-5-5.png"]


class Counted:
    """A frame that counts the rows that are asked for, and never goes back."""

    def __init__(self, array: NDArray[Any]) -> None:
        whole = picture(array, "L")
        self.info, self._array, self.read = whole.info, array, 0

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        assert start == self.read
        self.read = stop
        return self._array[start:stop].copy()

    def metadata(self) -> Any:
        return None


def test_rows_are_decoded_once_and_released_when_no_output_needs_them() -> None:
    array = noise("L", (100, 3))
    counted = Counted(array)
    shared = SharedFrame(counted)
    for step in range(0, 100, 20):
        np.testing.assert_array_equal(shared.rows(step, step + 20), array[step : step + 20])
        for top in range(step, step + 20, 5):
            np.testing.assert_array_equal(shared.rows(top, top + 5), array[top : top + 5])
        np.testing.assert_array_equal(shared.rows(step + 3, step + 20), array[step + 3 : step + 20])
        shared.forget(step + 20)
        assert shared._bands == []
    assert counted.read == 100


def test_a_fault_of_the_decoder_is_that_of_every_output() -> None:
    class Failing(Counted):
        def rows(self, start: int, stop: int) -> NDArray[Any]:
            if stop > 10:
                raise ValueError("damaged")
            return super().rows(start, stop)

    shared = SharedFrame(Failing(noise("L", (20, 3))))
    shared.rows(0, 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="damaged"):
            shared.rows(0, 12)


def test_a_frame_is_released_when_the_next_one_is_taken() -> None:
    def two() -> Iterator[Frame]:
        for seed in range(2):
            yield Counted(noise("L", (4, 4), seed))

    frames = SharedFrames(two())
    first, second = iter(frames), iter(frames)
    one = next(first)
    assert next(second) is one
    one.rows(0, 4)
    other = next(second)
    assert other is not one
    assert next(first) is other
    assert isinstance(one, SharedFrame)
    assert one._bands == []
    assert next(first, None) is next(second, None) is None
