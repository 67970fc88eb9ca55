"""Large pictures: in little memory, however large they are, and whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from tests.support import large
from tests.support.processes import Run, environment, linux_only
from tests.support.trees import contents

pytestmark = [linux_only, pytest.mark.slow]

MIB: Final = 1 << 20
LAUNCH: Final = """
import os, sys
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""What starts a process whose peak is its own: one that is forked inherits that of the tests."""


def peak(*words: object) -> int:
    """Return the peak memory of poolcli in bytes: it pools one picture in one process."""
    poolcli = [sys.executable, "-m", "poolcli", *map(str, words), "-q", "--overwrite"]
    command = [sys.executable, "-c", LAUNCH, *poolcli]
    done = subprocess.run(command, capture_output=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr.decode()
    return 1024 * int(done.stdout)


# Every format that is read in bands

LARGE: Final = (31_250, 32_000)
"""1,000 million pixels, which is the default of ``--max-pixels``."""

SMALL: Final = (256, 256)
MOST_MORE: Final = 150_000_000


def packed(compression: str) -> large.Make:
    return partial(large.tiff, packed=large.compressed_tile(compression))


STREAMED: Final[dict[str, large.Make]] = {
    "out.npy": large.npy,
    "out.pgm": large.pgm,
    "out.bmp": large.bmp,
    "out.png": large.png,
    "strips.tif": partial(large.tiff, is_tiled=False),
    "tiles.tif": large.tiff,
    "BigTIFF.tif": partial(large.tiff, is_big=True),
    "deflate.tif": packed("deflate"),
    "LZW.tif": packed("LZW"),
    "Zstandard.tif": packed("Zstandard"),
    "JPEG.tif": packed("JPEG"),
}


@pytest.mark.parametrize("name", STREAMED)
def test_a_thousand_megapixels_take_little_more_memory_than_a_small_picture(
    name: str, tmp_path: Path
) -> None:
    peaks = []
    for height, width in (SMALL, LARGE):
        STREAMED[name](tmp_path / "in", height, width)
        peaks.append(peak("max", "--size", 8, tmp_path / "in", tmp_path / name))
    assert peaks[1] - peaks[0] < MOST_MORE


# Every method and every option that changes what is read or kept

HEIGHTS: Final = (16_000, 64_000)
"""The heights of two pictures, the other side of which is a few thousand pixels."""

PLAIN, WITH_ALPHA, STACK = "plain", "with alpha", "stack"
OPTIONS: Final[dict[str, str]] = {
    "max --size 8": PLAIN,
    "min --size 8": PLAIN,
    "avg --size 8": PLAIN,
    "median --size 8": PLAIN,
    "mode --size 8": PLAIN,
    "median --size 16 --stride 8 --quantile 0.9": PLAIN,
    "avg --size 9 --stride 8 --padding same": PLAIN,
    "max --size 9 --stride 8 --dilation 5": PLAIN,
    "avg --size 65 --stride 8": PLAIN,
    "max --size 7 --ceil-mode": PLAIN,
    "avg --size 8 --nodata 7": PLAIN,
    "avg --output-size 501": PLAIN,
    "max --fit 4001": PLAIN,
    "max --size 16 --indices {}": PLAIN,
    "avg --levels 16,32,64": PLAIN,
    "avg --size 8 --alpha weighted": WITH_ALPHA,
    "max --size 8 --alpha straight": WITH_ALPHA,
    "median --size 8 --alpha weighted": WITH_ALPHA,
    "avg --size 8 --linear": WITH_ALPHA,
    "avg --size 8 --background white": WITH_ALPHA,
    "avg --size 8 --planes 2": STACK,
    "max --size 8 --planes all": STACK,
}


def stack(path: Path, height: int, width: int) -> None:
    """Write an array of four planes, which have the given height together."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (4, height // 4, width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + height * width)


KINDS: Final[dict[str, tuple[large.Make, str, int, tuple[str, ...]]]] = {
    PLAIN: (large.pgm, "pgm", 4000, ()),
    WITH_ALPHA: (large.pam, "pam", 1000, ()),
    STACK: (stack, "npy", 4000, ("--axes", "ZYX")),
}


@pytest.mark.parametrize(("options", "kind"), OPTIONS.items(), ids=OPTIONS)
def test_memory_does_not_grow_with_the_height_whatever_the_options(
    options: str, kind: str, tmp_path: Path
) -> None:
    make, suffix, width, more = KINDS[kind]
    words = options.format(tmp_path / "indices.npz").split()
    source, output = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    if "--levels" in words:
        output = tmp_path / "out"
    peaks = []
    for height in HEIGHTS:
        make(source, height, width)
        peaks.append(peak(*words, *more, source, output))
    assert peaks[1] - peaks[0] < 16 * MIB  # of 192 MB more


# Windows that are large themselves


@pytest.mark.parametrize("stride", [1000, 2000])
def test_large_windows_take_the_memory_of_one_or_two(stride: int, tmp_path: Path) -> None:
    large.pgm(tmp_path / "in", 20_000, 20_000)
    words = ("max", "--size", 2000, "--stride", stride, tmp_path / "in", tmp_path / "out.pgm")
    one = 2000 * 20_000
    assert peak(*words) < 60 * MIB + 4 * one  # eight took 320 MB, and as much again for scratch


# What is written goes to the disk as it comes

CREATED: Final[dict[str, tuple[str, ...]]] = {
    "out.npy": (),
    "out.pgm": (),
    "out.pam": (),
    "out.bmp": (),
    "out.png": ("--save-option", "compress_level=0"),
    "none.tif": ("--save-option", "compression=none"),
    "deflate.tif": (),
    "lzw.tif": ("--save-option", "compression=lzw"),
}
SIDE: Final = 14_000
ROOM: Final = 40 * MIB
"""More than is kept in memory, and less than any of these files needs."""


def noise(path: Path, side: int) -> None:
    """Write a grey picture of which no writer makes much less."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b"P5 %d %d 255\n" % (side, side))
        for _ in range(side):
            file.write(rng.bytes(side))


@pytest.mark.parametrize("name", CREATED)
def test_less_memory_is_taken_than_is_written(name: str, tmp_path: Path) -> None:
    peaks = []
    for side in (100, SIDE):
        noise(tmp_path / "in", side)
        words = ("max", "--size", 1, *CREATED[name], tmp_path / "in", tmp_path / name)
        peaks.append(peak(*words))
    assert (tmp_path / name).stat().st_size > SIDE**2
    # Up to 32 MB are kept in memory before they go to the disk, and copied as they grow.
    assert peaks[1] - peaks[0] < 0.75 * SIDE**2


@pytest.mark.parametrize("name", CREATED)
@pytest.mark.parametrize(
    ("kind", "flag"), [("a full disk", "--overwrite"), ("a limit on files", "--skip-existing")]
)
def test_a_write_that_fails_late_fails_the_picture_and_leaves_nothing(
    kind: str,
    flag: str,
    name: str,
    run: Run,
    tmp_path: Path,
    disk: Callable[..., Path],
) -> None:
    noise(tmp_path / "in", SIDE // 2)
    folder, more = tmp_path / "out", dict[str, Any]()
    if kind == "a full disk":
        folder = disk(size=ROOM)
    else:
        folder.mkdir()
        more["first"] = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({ROOM},) * 2)"
    if flag == "--overwrite":
        (folder / name).write_bytes(b"old")
    before = contents(folder)
    done = run("max", "--size", 1, flag, *CREATED[name], "in", folder / name, **more)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"poolcli: {folder / name}: it can't be written: ")
    assert contents(folder) == before
