"""What an animation's format can't state of durations and plays is clamped or split, and told."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from poolcli.formats.timing import Timing
from poolcli.picture import Metadata, Picture
from tests.animations import CLEAR, KEEP, READERS, RESTORE, Region, apng_of, gif_of
from tests.pictures import noise, picture, ramp, written
from tests.support.memory import Peak
from tests.support.processes import Run
from tests.support.tools import needs

ROOT: Final = Path(__file__).parent.parent
GIFSICLE: Final = shutil.which("gifsicle") or ""
PLAYS: Final = "the number of plays is"
TOO_LONG: Final = "shows a frame for at most"


def two_frames(plays: int = 0, *milliseconds: Fraction | int) -> list[Picture]:
    """Return two frames that differ, each with a duration."""
    first, second = milliseconds or (100, 100)
    return [
        picture(ramp(), "RGB", Metadata(plays=plays), duration=Fraction(first)),
        picture(255 - ramp(), "RGB", Metadata(plays=plays), duration=Fraction(second)),
    ]


MOST_PLAYS: Final = {"gif": 65536, "webp": 65535, "png": 2**31 - 1}


@pytest.mark.parametrize(("name", "most"), MOST_PLAYS.items())
def test_plays_are_kept_up_to_the_most_that_a_format_can_state(name: str, most: int) -> None:
    for plays in (0, 1, 2, most - 1, most, most + 1, 2**32 - 1):
        octets, told = written(two_frames(plays), name)
        found = READERS[name](octets)[1]
        if name == "gif":  # it states the repetitions after the first play
            found = 1 if found is None else found + 1 if found else 0
        assert found == min(plays, most)
        expected = [f"{PLAYS} {plays}"] * (plays > most)
        assert [one.split(",")[0] for one in told if PLAYS in one] == expected


# The longest duration of a frame in milliseconds, and whether a longer one is split.
LONGEST: Final = {
    "gif": (655_350, True),
    "png": (65_535_000, True),
    "webp": (2**24 - 1, False),
    "avif": (2**32 - 1, False),
}


@pytest.mark.parametrize(("name", "longest", "splits"), [(k, *v) for k, v in LONGEST.items()])
def test_durations_are_kept_up_to_the_longest_that_a_format_can_state(
    name: str, longest: int, splits: bool
) -> None:
    for duration in (longest - 10, longest, longest + 10, 3 * longest):
        octets, told = written(two_frames(0, duration, 50), name)
        found = [lasts for _, lasts in READERS[name](octets)[0]]
        is_long = duration > longest
        assert sum(found) == 50 + (duration if splits else min(duration, longest))
        assert max(found) <= longest
        assert bool([one for one in told if TOO_LONG in one]) == is_long


@pytest.mark.parametrize(("name", "unit"), [("gif", 10), ("webp", 1), ("avif", 1)])
def test_durations_below_the_unit_of_a_format_are_told(name: str, unit: int) -> None:
    words = f"states durations in units of {unit} ms: shorter ones became 0"
    for duration in (0, Fraction(unit), Fraction(unit * 5, 3), Fraction(unit, 3)):
        told = written(two_frames(0, duration, duration), name)[1]
        assert any(words in one for one in told) == (0 < duration < unit)


def test_minutes_are_split_into_few_pieces_of_exact_sum() -> None:
    png = Timing(Fraction(1), 65535, 1, coarse=1000)
    assert [*png.pieces(65535)] == [65535]
    assert [*png.pieces(65536)] == [65000, 536]
    assert [*png.pieces(65535 * 1000)] == [65535 * 1000]
    assert [*png.pieces(65535 * 1000 * 2 + 61_001)] == [65535 * 1000] * 2 + [61_001]
    assert [*Timing(Fraction(10), 65535, 1).pieces(65535 * 2 + 1)] == [65535, 65535, 1]
    assert [*png.pieces(0)] == [0]


def test_the_sum_of_durations_is_limited_where_the_encoder_limits_it() -> None:
    day = 2**24 - 1
    frames = two_frames(0, day, day) * 65
    octets, told = written(frames, "webp")
    seen = READERS["webp"](octets)[0]
    assert sum(lasts for _, lasts in seen) == 2**31 - 1
    assert told == ["WebP shows an animation for at most 24.9 days"]


def tiny(milliseconds: int = 100) -> list[Region]:
    """Return two small frames that differ."""
    arrays = (np.full((8, 8, 4), (*rgb, 255), np.uint8) for rgb in ((9, 8, 7), (99, 8, 200)))
    return [Region(array, milliseconds=Fraction(milliseconds)) for array in arrays]


CASES: Final[dict[str, Any]] = {
    "loop-65535.gif": (lambda: gif_of(tiny(), 8, 8, loops=65535), {"webp": PLAYS, "avif": PLAYS}),
    "plays-70000.png": (
        lambda: apng_of(tiny(), 8, 8, plays=70000),
        {"gif": PLAYS, "webp": PLAYS, "avif": PLAYS},
    ),
    "long-frames.png": (
        lambda: apng_of(tiny(65_535_000), 8, 8),
        {"gif": TOO_LONG, "webp": TOO_LONG},
    ),
}


@pytest.mark.parametrize("source", CASES)
def test_a_run_warns_of_what_was_clamped_or_split(run: Run, tmp_path: Path, source: str) -> None:
    make, warnings = CASES[source]
    (tmp_path / source).write_bytes(make())
    for target in ("gif", "png", "webp", "avif"):
        done = run("max", "-k", 1, "--json", source, f"out.{target}")
        assert done.returncode == 0, done.stderr
        told = done.stderr.decode()
        assert (PLAYS in told) == (warnings.get(target) == PLAYS)
        assert (TOO_LONG in told) == (warnings.get(target) == TOO_LONG)
        assert json.loads(done.stdout.splitlines()[0])["status"] == "done"


@needs("gifsicle")
def test_gifsicle_sees_the_most_loops_and_the_sum_of_durations(tmp_path: Path) -> None:
    (tmp_path / "out.gif").write_bytes(written(two_frames(70000, 65_535_000, 40), "gif")[0])
    done = subprocess.run(
        [GIFSICLE, "--info", tmp_path / "out.gif"], capture_output=True, check=True, text=True
    )
    assert "loop count 65535" in done.stdout
    delays = [
        float(line.split("delay ")[1][:-1]) for line in done.stdout.split("\n") if "delay" in line
    ]
    assert sum(delays) == pytest.approx(65_535.04)
    assert len(delays) == 101


def test_pillow_sees_a_frame_of_18_hours_in_a_png() -> None:
    octets, _ = written(two_frames(7, 65_535_000, 1), "png")
    with Image.open(BytesIO(octets)) as image:
        assert (image.n_frames, image.info["loop"]) == (2, 7)  # type: ignore[attr-defined]
        assert image.info["duration"] == 65_535_000


# Memory and time


BYTES_A_PIXEL: Final = 12
"""What the README promises of an animation's canvas, at 8 bits a sample."""


def blocks(side: int, dispose: str) -> list[Region]:
    """Return two frames of blocks of colour, of which some are transparent."""
    shape, random = (side // 50, side // 50), np.random.default_rng(7)
    colours = np.append(noise("RGB", (1, 60))[0], np.full((60, 1), 255, np.uint8), axis=1)
    colours[:9] = 0
    few = (colours[random.integers(0, 60, shape)] for _ in range(2))
    return [Region(one.repeat(50, 0).repeat(50, 1), dispose=dispose) for one in few]


@cache
def made(source: str, side: int, dispose: str) -> bytes:
    """Return a file of two large frames."""
    make = gif_of if source == "gif" else apng_of
    return make(blocks(side, dispose), side, side)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "dispose", "target", "size"),
    [
        *(("gif", dispose, "gif", 1) for dispose in (KEEP, CLEAR, RESTORE)),
        *(("png", dispose, "png", 2) for dispose in (KEEP, CLEAR, RESTORE)),
        *(("gif", RESTORE, target, 2) for target in ("gif", "png")),
        ("png", KEEP, "gif", 2),
    ],
)
def test_an_animation_takes_12_bytes_a_pixel_of_its_canvas(
    peak: Peak, source: str, dispose: str, target: str, size: int
) -> None:
    sides = (700, 1400)
    peaks = [peak(made(source, side, dispose), target, size) for side in sides]
    assert peaks[1] - peaks[0] < BYTES_A_PIXEL * (sides[1] ** 2 - sides[0] ** 2)
