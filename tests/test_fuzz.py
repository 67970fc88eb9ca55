"""Thousands of damaged files and random calls: see `benchmarks/fuzz.py`, which runs for longer."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import imagecodecs
import pytest
import tifffile

from poolcli.formats import by_content
from tests.pictures import noise
from tests.support.processes import Done, Run, linux_only, sabotage

pytestmark = linux_only

SEED: Final = 1
ROOT: Final = Path(__file__).parent.parent
damage: Any = import_module("benchmarks.damage")


def hunt(*words: object, variables: Mapping[str, str] = {}) -> tuple[Done, list[dict[str, Any]]]:
    """A fuzz as people run it, and the totals that it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/fuzz.py", *map(str, words)],
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
    )
    lines = done.stdout.decode().splitlines()
    return done, [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("--cases", 300),
        ("--calls", 200),
        pytest.param("--cases", 2000, marks=pytest.mark.slow),
        pytest.param("--calls", 6000, marks=pytest.mark.slow),
    ],
)
def test_damaged_files_and_random_calls_end_as_they_should(kind: str, number: int) -> None:
    done, (totals,) = hunt(kind, number, "--seed", SEED)

    assert done.returncode == 0, done.stdout.decode()
    assert totals["done"] == number
    assert totals["reached"] >= 0.3 * number


def test_the_fuzz_begins_with_whole_pictures_of_every_format() -> None:
    formats = {by_content(octets).name for octets in damage.samples().values()}

    assert formats == {
        *("png", "jpeg", "webp", "tiff", "gif", "bmp", "pnm", "pfm", "avif", "npy"),
    }


def test_a_case_is_the_same_every_time_and_no_two_are() -> None:
    wholes = damage.samples()
    cases = [damage.case(SEED, number, wholes) for number in range(300)]

    assert [damage.case(SEED, number, wholes) for number in range(300)] == cases
    assert len({case.data for case in cases}) > 290
    assert sum(case.data in wholes.values() for case in cases) < 10


def test_the_joints_of_pages_in_a_circle_are_found_once() -> None:
    circle = struct.pack("<4sIHI", b"II*\0", 8, 0, 8)

    assert {8, 10} <= set(damage.joints(circle))


DEADLY: Final = """
import os
real, calls = os.pwrite, 0
def pwrite(descriptor, octets, at):
    global calls
    calls += 1
    written = real(descriptor, octets, at)
    if octets.split()[0] == b"3":
        os.kill(os.getpid(), 11)
    return written
os.pwrite = pwrite
"""


def test_a_case_that_kills_the_process_is_told_with_its_number(tmp_path: Path) -> None:
    variables = sabotage(tmp_path, DEADLY)
    done, (totals,) = hunt("--cases", 9, "--seed", SEED, variables=variables)
    failure = f"FAILED files --seed {SEED} --only 3\n  the process died: signal 11"

    assert done.returncode == 1
    assert failure in done.stdout.decode()
    assert (totals["done"], totals["failures"]) == (9, 1)


# What a fuzz has found


def deep_tiff() -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, noise("RGB;16", (8, 8)), photometric="rgb", metadata=None)
    return buffer.getvalue()


def with_count(octets: bytes, tag: int, count: int) -> bytes:
    """A TIFF in which a tag has another number of values."""
    heads = [struct.pack("<HHI", tag, kind, 1) for kind in (3, 4)]
    (entry,) = (at for at in range(len(octets)) if octets[at : at + 8] in heads)
    return octets[: entry + 4] + struct.pack("<I", count) + octets[entry + 8 :]


def interlaced_by_nothing() -> bytes:
    """A PNG of 16 bits whose IHDR names an interlacing that doesn't exist."""
    octets = bytes(imagecodecs.png_encode(noise("RGB;16", (8, 8))))
    return bytes(damage.repaired(octets[:28] + b"\7" + octets[29:]))


FOUND: Final = {
    "two heights.tif": with_count(deep_tiff(), 257, 2),
    "no width.tif": with_count(deep_tiff(), 256, 0),
    "odd interlacing.png": interlaced_by_nothing(),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_a_fuzz_has_found_is_one_line_now(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FOUND[name])
    done = run("avg", "-k", 2, name, "out.npy")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == [name]
