"""What every format refuses, and what it makes of damage: each row through the public door."""

from __future__ import annotations

import threading
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import open_writer
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.methods.max import Max
from poolcli.picture import ARRAY, MODES, Picture
from poolcli.report import Outcome
from tests import toys
from tests.contract_support import (
    ROWS,
    assert_refused,
    assert_shows,
    bad_savings,
    each,
    good_savings,
    noisy_in,
    read_all,
    sequence,
    smooth,
    usual_mode,
    whole_pictures,
)
from tests.jobs import run, work
from tests.pictures import encoded, push, written

pytestmark = pytest.mark.usefixtures("toy_format")
MANY = each(lambda row: row.frames != "one")
NOT_HELD = [(row, mode) for row in ROWS for mode in MODES if mode not in row.modes]


# Refusals


@pytest.mark.parametrize(
    ("row", "mode"), NOT_HELD, ids=[f"{mode} in {row.name}" for row, mode in NOT_HELD]
)
def test_a_mode_that_would_lose_is_refused(row: Format, mode: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(encoded(noisy_in(mode), toys.FORMAT.name))
    outcome = run(tmp_path / "in", tmp_path / "out", row.name)
    title = "4 channels of int16" if mode == ARRAY else MODES[mode].title
    assert_refused(outcome, f"{row.title} can't hold {title}")
    assert not (tmp_path / "out").exists()


@each(lambda row: row.largest_side is not None)
def test_the_largest_side_is_written_but_no_more(row: Format, tmp_path: Path) -> None:
    side, mode = row.largest_side or 0, usual_mode(row)
    for extent, across in product((side, side + 1), (False, True)):
        shape = (1, extent) if across else (extent, 1)
        picture = noisy_in(mode, shape)
        (tmp_path / "in").write_bytes(encoded(picture, "npy"))
        outcome = run(tmp_path / "in", tmp_path / "out", row.name, work(size=1))
        if extent > side:
            assert_refused(outcome, f"{row.title} holds at most {side} pixels a side")
        else:
            assert outcome.status == "done", outcome.error
            assert read_all((tmp_path / "out").read_bytes())[0].info.shape[:2] == shape
        (tmp_path / "out").unlink(missing_ok=True)


@each()
def test_every_save_option_is_taken_within_its_bounds_and_refused_beyond(row: Format) -> None:
    picture = smooth(usual_mode(row))
    for saving in good_savings(row):
        saving.check(row)
        (found,) = read_all(encoded(picture, row.name, saving))
        assert found.info.shape == picture.info.shape
        if not found.info.encoding.lossy:
            assert_shows(found, picture)
    for saving in bad_savings(row):
        with pytest.raises(PoolError) as refusal:
            saving.check(row)
        assert refusal.value.remedy


# Damage


def outcomes_of(
    damaged: list[bytes], row: Format, folder: Path
) -> list[tuple[Outcome, list[Picture]]]:
    """What a run says of each file, and what it writes of those that it can read."""
    name = row.name if row.frames != "one" else "npy"
    found = []
    for octets in damaged:
        (folder / "in").write_bytes(octets)
        (folder / "out").unlink(missing_ok=True)
        outcome = run(folder / "in", folder / "out", name, work(size=1))
        if outcome.status == "done":
            found.append((outcome, read_all((folder / "out").read_bytes())))
        else:
            assert_refused(outcome)
            assert not (folder / "out").exists()
            found.append((outcome, []))
    return found


@each()
def test_a_truncated_file_is_refused_or_its_frames_are_whole(row: Format, tmp_path: Path) -> None:
    for pictures in whole_pictures(row):
        octets, _ = written(pictures, row.name)
        length = len(octets)
        cuts = sorted({*range(0, length, max(1, length // 25)), *range(length - 5, length)})
        ((_, whole),) = outcomes_of([octets], row, tmp_path)
        found = outcomes_of([octets[:cut] for cut in cuts], row, tmp_path)
        for cut, (_, parts) in zip(cuts, found, strict=True):
            for part, one in zip(parts, whole, strict=False):  # it may end between two frames
                np.testing.assert_array_equal(part.array, one.array, f"cut at {cut} of {length}")
        assert sum(not parts for _, parts in found) > len(cuts) / 2


@each()
@pytest.mark.parametrize("count", [25, pytest.param(150, marks=pytest.mark.slow)])
def test_damage_ends_in_pictures_or_in_one_line(row: Format, count: int, tmp_path: Path) -> None:
    """Change a few bytes of whole files: half of them in their first two hundred."""
    rng = np.random.default_rng(count)
    for pictures in whole_pictures(row):
        octets = np.frombuffer(written(pictures, row.name)[0], np.uint8)
        damaged = []
        for number in range(count):
            changed, until = octets.copy(), min(len(octets), 200 if number % 2 else len(octets))
            places = rng.integers(0, until, rng.integers(1, 4))
            changed[places] = rng.integers(0, 256, len(places))
            damaged.append(changed.tobytes())
        outcomes_of(damaged, row, tmp_path)


@each()
@pytest.mark.parametrize("step", [43, pytest.param(11, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_header_ends_in_a_picture_or_in_plain_words(
    row: Format, step: int, tmp_path: Path
) -> None:
    for pictures in whole_pictures(row):
        octets = written(pictures, row.name)[0]
        flipped = []
        for place in range(0, 8 * min(len(octets), 300), step):
            changed = bytearray(octets)
            changed[place // 8] ^= 1 << place % 8
            flipped.append(bytes(changed))
        outcomes_of(flipped, row, tmp_path)


# Failures


class Failing(Max):
    """A method that fails at its second band."""

    calls: list[int] = []  # noqa: RUF012  # it is reset by each test

    def pool(self, array: NDArray[Any], axes: Any, **more: Any) -> NDArray[Any]:
        self.calls.append(1)
        if len(self.calls) > 1:
            raise PoolError("it fails", "nothing to be done")
        return super().pool(array, axes, **more)


@MANY
def test_a_failure_between_frames_leaves_no_thread_and_no_file(row: Format, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(written(sequence(row), row.name)[0])
    Failing.calls.clear()
    before = {*threading.enumerate()}
    outcome = run(tmp_path / "in", tmp_path / "out", row.name, work(Failing()))
    assert_refused(outcome, "it fails")
    assert {*threading.enumerate()} <= before  # others may end meanwhile
    assert [one.name for one in tmp_path.iterdir()] == ["in"]


@each()
@pytest.mark.parametrize("frames", [0, 1, 3])
@pytest.mark.parametrize("complete", [False, True])
def test_a_writer_may_be_discarded_at_any_time(row: Format, frames: int, complete: bool) -> None:
    before = {*threading.enumerate()}
    pictures = (sequence(row) if row.frames != "one" else [noisy_in(usual_mode(row))])[:frames]
    writer = open_writer(BytesIO(), row, Saving(), max(frames, 1))
    for one in pictures:
        writer.begin(one.info, one.metadata)
        writer.rows(one.array[: None if complete else 2])
    writer.discard()
    writer.discard()
    assert {*threading.enumerate()} <= before  # others may end meanwhile


class Full(BytesIO):
    """A file on a disk that is full."""

    def write(self, _: Any) -> NoReturn:
        raise OSError(28, "No space left on device")


@each()
def test_a_full_disk_is_an_error_and_leaves_no_thread(row: Format) -> None:
    before = {*threading.enumerate()}
    for pictures in whole_pictures(row):
        writer = None
        with pytest.raises(OSError, match="No space"):  # noqa: PT012  # which step is theirs
            writer = open_writer(Full(), row, Saving(), len(pictures))
            push(writer, pictures)
        if writer is not None:
            writer.discard()
    assert {*threading.enumerate()} <= before  # others may end meanwhile
