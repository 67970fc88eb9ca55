"""TIFF: unusual files, each of which stands for a kind; their pixels are known by construction."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests import jobs
from tests.pictures import read_pnm
from tests.support.tools import needs

CASES = Path(__file__).parent / "cases"
Pixels = NDArray[Any]


def formula(
    height: int, width: int, channels: int = 3, steps: tuple[int, int, int, int] = (41, 13, 67, 256)
) -> Pixels:
    """Samples (a·y + b·x + c·channel) mod m, for steps (a, b, c, m)."""
    y, x, c = np.mgrid[:height, :width, :channels]
    down, across, along, modulus = steps
    array: Pixels = (down * y + across * x + along * c) % modulus
    return array if channels > 1 else array[..., 0]


TEN, TWELVE, SIXTEEN = (161, 53, 67, 1024), (641, 213, 67, 4096), (10007, 3001, 67, 65536)
RGB, GREY = formula(24, 32), formula(24, 32, 1)
MAPPED = np.stack([255 - GREY, GREY, GREY // 2], axis=-1)
FOUR = GREY // 16
MASKED = np.dstack([RGB, 255 * (GREY > 99)])
LARGE = formula(96, 80)
SPARSE = np.where(np.arange(48)[:, None, None] < 16, formula(48, 64), 0)

EIGHT_BITS: dict[str, Pixels] = {
    "big-le": RGB,
    "big-be": RGB,
    "palette-8": MAPPED,
    "palette-4": np.stack([17 * (15 - FOUR), 17 * FOUR, 5 * FOUR], axis=-1),
    "surplus-tiles": MAPPED,
    "mask": MASKED,
    "cog": np.dstack([LARGE, 255 * (LARGE[..., 0] > 99)]),
    "extra-999": np.dstack([GREY, 255 - GREY]),
    "lerc": RGB,
    "jp2k": RGB,
    "jxr": RGB,
    "webp": RGB,
    "png": RGB,
    "lzma": RGB,
    "sparse": SPARSE,
    "tiles-as-strips": RGB,
}


def pooled(name: str, target: Path, **more: Any) -> Any:
    """The outcome of pooling a case by size 1."""
    how = jobs.work(size=1, overwrite=True, **more)
    return jobs.run(
        CASES / f"tiff-{name}.tif", target, target.suffix[1:].replace("tif", "tiff"), how
    )


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_the_pixels_of_unusual_tiffs_come_out_into_tiff_and_png(name: str, tmp_path: Path) -> None:
    tiff, png = tmp_path / "out.tif", tmp_path / "out.png"
    for target in (tiff, png):
        outcome = pooled(name, target)
        assert outcome.status == "done", outcome.error
    with tifffile.TiffFile(tiff) as file:
        assert len(file.pages) == 1
        found = file.pages[0].asarray()
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, EIGHT_BITS[name])
    with Image.open(png) as image:
        np.testing.assert_array_equal(np.asarray(image), EIGHT_BITS[name])


def test_a_mask_is_left_out_with_a_warning_where_alpha_cannot_be_stored(tmp_path: Path) -> None:
    for name, size in (("mask", (32, 24)), ("cog", (80, 96))):
        outcome = pooled(name, tmp_path / "out.ppm")
        assert outcome.warnings == ["its mask was left out: PPM has no alpha"]
        with Image.open(tmp_path / "out.ppm") as image:
            assert (image.mode, image.size) == ("RGB", size)
            np.testing.assert_array_equal(np.asarray(image), EIGHT_BITS[name][..., :3])
        flat = pooled(name, tmp_path / "flat.ppm", background=(0, 0, 0))
        assert not flat.warnings
        with Image.open(tmp_path / "flat.ppm") as image:
            seen = EIGHT_BITS[name][..., 3:] > 0
            np.testing.assert_array_equal(np.asarray(image), EIGHT_BITS[name][..., :3] * seen)


CREDITS = {315: "A. Painter", 33432: "nobody", 271: "Own Bytes", 306: "2021:02:03 04:05:06"}


@pytest.mark.parametrize("suffix", ["tif", "png", "jpeg", "webp"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_a_big_tiff_keeps_its_credits(order: str, suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"out.{suffix}"
    assert pooled(f"big-{order}", target).status == "done"
    with Image.open(target) as image:
        assert image.mode == "RGB"
        found = dict(image.getexif())
    assert CREDITS.items() <= found.items()
    if suffix == "tif":
        assert target.read_bytes()[:4] == b"II*\0"
    else:  # a block that is itself a BigTIFF is read by nobody
        assert b"II*\0" in target.read_bytes() or b"MM\0*" in target.read_bytes()


@needs("exiftool")
@pytest.mark.parametrize("suffix", ["tif", "png", "jpeg", "webp"])
def test_exiftool_reads_the_credits_of_a_big_tiff(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"out.{suffix}"
    assert pooled("big-be", target).status == "done"
    words = ["exiftool", "-s3", "-Artist", "-Copyright", "-Make", "-ModifyDate", str(target)]
    done = subprocess.run(words, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [*CREDITS.values()]


# Other depths

OTHER_BITS: dict[str, tuple[Pixels, int]] = {
    "bits-12": (formula(24, 32, 1, TWELVE), 4095),
    "bits-10-rgb": (formula(24, 32, 3, TEN), 1023),
}


@pytest.mark.parametrize("name", OTHER_BITS)
def test_other_numbers_of_bits_keep_their_scale_or_are_widened_with_a_note(
    name: str, tmp_path: Path
) -> None:
    array, maxval = OTHER_BITS[name]
    assert pooled(name, tmp_path / "out.pnm").status == "done"
    assert read_pnm((tmp_path / "out.pnm").read_bytes())[0] == maxval
    np.testing.assert_array_equal(read_pnm((tmp_path / "out.pnm").read_bytes())[1], array)
    outcome = pooled(name, tmp_path / "out.png")
    assert outcome.status == "done", outcome.error
    assert f"its {maxval.bit_length()}-bit samples were widened to 16 bits" in outcome.notes
    exact = [Fraction(one * 65535, maxval) for one in array.ravel().tolist()]
    wanted = np.array([round(one) for one in exact]).reshape(array.shape)
    found = imagecodecs.png_decode((tmp_path / "out.png").read_bytes())
    np.testing.assert_array_equal(found, wanted)


def test_twelve_bits_of_jpeg_are_read(tmp_path: Path) -> None:
    assert pooled("jpeg-12", tmp_path / "out.pgm").status == "done"
    maxval, found = read_pnm((tmp_path / "out.pgm").read_bytes())
    difference = found.astype(int) - formula(24, 32, 1, TWELVE)
    assert (maxval, np.abs(difference).max() <= 1) == (4095, True)


def test_24_bits_are_read_as_they_are(tmp_path: Path) -> None:
    assert pooled("bits-24", tmp_path / "out.npy").status == "done"
    wanted, found = 199 * formula(24, 32, 1, SIXTEEN), np.load(tmp_path / "out.npy")
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, wanted)
    assert pooled("bits-24", tmp_path / "out.tif").status == "done"
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), wanted)
    assert "can't hold 1 channel of uint32" in str(pooled("bits-24", tmp_path / "out.pnm").error)


def test_samples_of_other_bits_are_written_with_as_many(tmp_path: Path) -> None:
    for name, (array, _) in OTHER_BITS.items():
        assert pooled(name, tmp_path / "out.tif").status == "done"
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), array)


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_each_page_beside_one_of_another_depth_is_taken(frame: int, tmp_path: Path) -> None:
    wanted = (RGB, formula(10, 14, 1, TWELVE), formula(6, 6, 1))[frame]
    assert pooled("odd-page", tmp_path / "out.npy", frame=frame).status == "done"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
