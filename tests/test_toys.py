"""A format and a method that were added by one file and one row each, and a format that lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli import methods
from poolcli.errors import PoolError
from poolcli.formats.contract import check_depth
from poolcli.formats.row import Format
from poolcli.picture import FrameInfo, Stored
from tests import toys
from tests.contract_support import assert_refused
from tests.jobs import run, work
from tests.pictures import encoded, noise, noisy, opened, saved
from tests.toys.toy_format import ToyFrame
from tests.toys.toy_method import First

ROOT = Path(__file__).parent.parent


def poolcli(folder: Path, *words: object, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command line that knows the toys."""
    command = [sys.executable, "-c", "from tests import toys; toys.main()", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, **more)


# Through the command line


def test_a_format_goes_through_files_folders_and_pipes(tmp_path: Path) -> None:
    def pooled(*words: object, **more: Any) -> bytes:
        done = poolcli(tmp_path, "max", "-k", 1, "-q", *words, **more)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    array = noise("I;16", (6, 8))
    (tmp_path / "in.png").write_bytes(saved(Image.fromarray(array), "PNG"))
    (tmp_path / "in").mkdir()
    pooled("in.png", "in/a.toy")
    octets = (tmp_path / "in/a.toy").read_bytes()
    pooled("-j", 1, "in", "out")
    assert (tmp_path / "out/a.toy").read_bytes() == octets
    assert pooled("-", "-", input=octets) == octets
    assert pooled("--format", "toy", "in.png", "-") == octets
    pooled("out/a.toy", "out.png")
    np.testing.assert_array_equal(opened((tmp_path / "out.png").read_bytes()), array)


def test_the_options_of_a_format_are_known_to_the_command_line(tmp_path: Path) -> None:
    text = poolcli(tmp_path, "max", "--help").stdout.decode()
    assert "toy: level=0-2, order=big|little" in " ".join(text.split())
    (tmp_path / "in.png").write_bytes(encoded(noisy("L"), "png"))
    words = ("max", "-k", 1, "-q", "-f", "in.png", "o.toy", "--save-option")
    for value, code in (("level=2", 0), ("level=3", 2)):
        assert poolcli(tmp_path, *words, value).returncode == code


def test_a_method_pools_and_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PoolError, match="'first'") as refusal:
        methods.make("first")
    assert refusal.value.remedy == f"give {', '.join(row.name for row in methods.METHODS)}"
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, toys.METHOD))
    array = noise("RGBA", (6, 8))
    (tmp_path / "in").write_bytes(encoded(noisy("RGBA", (6, 8)), "npy"))
    assert methods.make("first") == First()
    outcome = run(tmp_path / "in", tmp_path / "out", "npy", work(methods.make("first", at=1), 2))
    assert (outcome.status, outcome.method) == ("done", "first")
    np.testing.assert_array_equal(np.load(tmp_path / "out"), array[::2, 1::2])


def test_a_method_goes_through_the_command_line_both_ways(tmp_path: Path) -> None:
    array = noise("L", (6, 8))
    (tmp_path / "in.npy").write_bytes(encoded(noisy("L", (6, 8)), "npy"))
    done = poolcli(tmp_path, "first", "-k", 2, "--at", 1, "--json", "-q", "in.npy", "out.npy")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.splitlines()[0])["method"] == "first"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), array[::2, 1::2])
    assert toys.METHOD.summary in poolcli(tmp_path, "--help").stdout.decode()
    assert toys.METHOD.options[0].help in poolcli(tmp_path, "first", "--help").stdout.decode()


# Depth

LOST: dict[str, tuple[str, int, str, tuple[str, int, int, int]]] = {
    # What is delivered: dtype, maxval, mode. What the header states: kind, bits, maxval, channels.
    "16 bits as 8": ("uint8", 255, "L", ("unsigned", 16, 65535, 1)),
    "12 bits as 8": ("uint8", 255, "L", ("unsigned", 12, 4095, 1)),
    "9 bits as 8 in colour": ("uint8", 255, "RGB", ("unsigned", 9, 511, 3)),
    "a maxval over 8 bits as 8": ("uint8", 255, "L", ("unsigned", 10, 1000, 1)),
}
"""What may be allowed: it is a matter of rounding."""

REFUSED = {
    "32 bits as 16": ("uint16", 65535, "I;16", ("unsigned", 32, 2**32 - 1, 1)),
    "64 bits as 32": ("uint32", 2**32 - 1, "array", ("unsigned", 64, 2**64 - 1, 1)),
    "fewer channels": ("uint8", 255, "RGB", ("unsigned", 8, 255, 4)),
    "one channel of five": ("uint8", 255, "L", ("unsigned", 8, 255, 5)),
    "fewer channels and bits": ("uint8", 255, "RGB", ("unsigned", 16, 65535, 4)),
    "another maxval": ("uint16", 65535, "I;16", ("unsigned", 16, 1000, 1)),
    "another maxval of the same bits": ("uint16", 4095, "L;M", ("unsigned", 12, 4000, 1)),
    "a maxval that is not stated": ("uint16", 0, "I;16", ("unsigned", 16, 65535, 1)),
    "signed as unsigned": ("uint16", 65535, "I;16", ("signed", 16, 0, 1)),
    "signed 8 bits as unsigned": ("uint8", 255, "L", ("signed", 8, 0, 1)),
    "signed 16 bits as 8": ("int8", 0, "array", ("signed", 16, 0, 1)),
    "unsigned as signed": ("int32", 0, "I", ("unsigned", 32, 2**32 - 1, 1)),
    "unsigned 16 bits as signed": ("int16", 0, "array", ("unsigned", 16, 65535, 1)),
    "floats as integers": ("int32", 0, "I", ("float", 32, 0, 1)),
    "floats as 8 bits": ("uint8", 255, "L", ("float", 16, 0, 1)),
    "float32 as float16": ("float16", 0, "array", ("float", 32, 0, 1)),
    "float64 as float32": ("float32", 0, "F", ("float", 64, 0, 1)),
    "integers as floats": ("float32", 0, "F", ("unsigned", 16, 65535, 1)),
    "8 bits as bilevel": ("bool", 1, "1", ("unsigned", 8, 255, 1)),
}
KEPT = {
    "8 bits": ("uint8", 255, "L", ("unsigned", 8, 255, 1)),
    "1 bit": ("bool", 1, "1", ("unsigned", 1, 1, 1)),
    "1 bit widened": ("uint8", 255, "L", ("unsigned", 1, 1, 1)),
    "2 bits widened": ("uint8", 255, "L", ("unsigned", 2, 3, 1)),
    "4 bits widened": ("uint8", 255, "L", ("unsigned", 4, 15, 1)),
    "4 bits in their own scale": ("uint8", 15, "L;M", ("unsigned", 4, 15, 1)),
    "12 bits in their own scale": ("uint16", 4095, "L;M", ("unsigned", 12, 4095, 1)),
    "a maxval": ("uint16", 1000, "L;M", ("unsigned", 16, 1000, 1)),
    "16 bits": ("uint16", 65535, "RGB;16", ("unsigned", 16, 65535, 3)),
    "a palette": ("uint8", 255, "RGB", ("unsigned", 8, 255, 1)),
    "a palette and a key": ("uint8", 255, "RGBA", ("unsigned", 8, 255, 1)),
    "float16 as float32": ("float32", 0, "F", ("float", 16, 0, 1)),
    "float32": ("float32", 0, "F", ("float", 32, 0, 1)),
    "signed 16 bits as 32": ("int32", 0, "I", ("signed", 16, 0, 1)),
    "signed 8 bits": ("int8", 0, "array", ("signed", 8, 0, 1)),
}
Case = tuple[str, int, str, tuple[Any, int, int, int]]


def info_of(case: Case) -> FrameInfo:
    dtype, maxval, mode, stored = case
    channels = {"RGB": 3, "RGBA": 4, "RGB;16": 3}.get(mode, 1)
    shape = (2, 4, channels) if channels > 1 else (2, 4)
    return FrameInfo(shape, np.dtype(dtype), mode, maxval, Stored(*stored))


def table(*cases: dict[str, Any]) -> pytest.MarkDecorator:
    whole = {name: case for some in cases for name, case in some.items()}
    return pytest.mark.parametrize("case", whole.values(), ids=whole)


ALLOWED = pytest.mark.parametrize("allowed", [False, True])


@table(KEPT)
@ALLOWED
def test_a_frame_that_comes_as_its_file_states_is_taken(case: Case, allowed: bool) -> None:
    assert check_depth(info_of(case), allow_loss=allowed) is False


@table(LOST)
def test_a_loss_of_bits_is_refused_unless_it_is_allowed(case: Case) -> None:
    with pytest.raises(PoolError, match=f"{case[3][1]}-bit") as refusal:
        check_depth(info_of(case), allow_loss=False)
    assert refusal.value.remedy == "give --allow-depth-loss"
    assert check_depth(info_of(case), allow_loss=True) is True


@table(REFUSED)
@ALLOWED
def test_any_other_loss_is_refused_whatever_is_allowed(case: Case, allowed: bool) -> None:
    with pytest.raises(PoolError) as refusal:
        check_depth(info_of(case), allow_loss=allowed)
    assert refusal.value.remedy
    assert "--allow" not in refusal.value.remedy


def lying(case: Case) -> bytes:
    """A file whose header states other samples than it delivers."""
    dtype, maxval, mode, stored = case
    info = info_of(case)
    fields = (info.shape, np.dtype(dtype).str, mode, maxval, stored, None)
    body = bytes(int(np.prod(info.shape)) * info.dtype.itemsize)
    return b"TOY\n" + json.dumps(fields).encode() + b"\n" + body


@table(LOST, REFUSED)
def test_a_format_that_delivers_less_than_it_states_is_refused_by_every_run(
    case: Case, toy_format: Format, tmp_path: Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(lying(case))
    for name, dry_run in product((toy_format.name, "npy"), (True, False)):
        assert_refused(run(source, target, name, work(dry_run=dry_run)))
        assert not target.exists()
    if case in LOST.values():
        outcome = run(source, target, toy_format.name, work(allow_depth_loss=True))
        assert outcome.status == "done", outcome.error
        assert "its samples are rounded to 8 bits" in outcome.warnings


def test_rows_that_come_otherwise_than_their_frame_states_are_a_fault(
    tmp_path: Path, toy_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.toy").write_bytes(encoded(noisy("I;16", (6, 8)), toy_format.name))
    honest = ToyFrame.rows

    def shallow(frame: ToyFrame, start: int, stop: int) -> NDArray[Any]:
        return (honest(frame, start, stop) >> 8).astype(np.uint8)

    monkeypatch.setattr(ToyFrame, "rows", shallow)
    outcome = run(tmp_path / "in.toy", tmp_path / "out.png", "png")
    assert outcome.is_fault
    assert "decoded uint8" in str(outcome.error)
    assert not (tmp_path / "out.png").exists()
