"""The encoder of PNG: every reader sees the same pixels, for any size of pieces and any CPUs."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.formats import by_name
from poolcli.formats.contract import open_writer
from poolcli.formats.png import STORED_AS, packed_rows
from poolcli.formats.png_encoder import Choice, RowEncoder, Sample
from poolcli.formats.png_filters import AVERAGE, EVERY, PAETH, UP, filtered
from poolcli.formats.saving import Saving
from tests.pictures import chunk, encoded, noise, noisy, picture, png
from tests.png_support import with_data
from tests.support.tools import needs

MODES: Final = tuple(STORED_AS)
EIGHT_BITS: Final = ("1", "L", "LA", "RGB", "RGBA")


def smooth(mode: str, shape: tuple[int, int]) -> NDArray[Any]:
    """Return slopes with a little noise, a plain part, and a part that repeats itself."""
    array = noise(mode, shape)
    if mode == "1":
        return array
    full = int(np.iinfo(array.dtype).max)
    y, x = np.indices(shape)
    slope = (x * 3 + y * 2) * (full // 255) % full
    array //= np.array(40, array.dtype)
    array += slope.reshape((*shape, *(1,) * (array.ndim - 2))).astype(array.dtype)
    array[: shape[0] // 4] = full // 3
    array[shape[0] // 2 :] = array[shape[0] // 2]
    return array


def stream_of(array: NDArray[Any], mode: str, level: int | None = None, **more: int) -> bytes:
    """Return the zlib stream of a picture, whose rows are pushed in uneven bands."""
    depth, _ = STORED_AS[mode]
    rows, written = packed_rows(array), BytesIO()
    pixel_bytes = max(1, depth // 8 * (array.shape[2] if array.ndim == 3 else 1))
    encoder = RowEncoder((len(rows), rows.shape[1]), pixel_bytes, level, written.write, **more)
    for start in range(0, len(rows), 7):
        encoder.rows(rows[start : start + 7])
    encoder.finish()
    return written.getvalue()


def seen_by_libpng(stream: bytes, array: NDArray[Any], mode: str) -> NDArray[Any]:
    depth, kind = STORED_AS[mode]
    octets = with_data(png(array.shape[1], [b""], depth, kind, height=len(array)), stream)
    seen: NDArray[Any] = imagecodecs.png_decode(octets)
    return seen.astype(bool) if mode == "1" else seen


@pytest.mark.parametrize("level", [None, 0, 1, 6])
@pytest.mark.parametrize("mode", MODES)
def test_pixels_survive_pieces_of_any_size(mode: str, level: int | None) -> None:
    for shape in ((1, 1), (3, 1), (1, 50), (61, 43)):
        for array in (smooth(mode, shape), noise(mode, shape)):
            for piece in (1, 300, 4000, 1 << 20):
                stream = stream_of(array, mode, level, piece_bytes=piece)
                np.testing.assert_array_equal(seen_by_libpng(stream, array, mode), array)


@pytest.mark.parametrize("mode", ["RGB", "1"])
def test_the_bytes_are_the_same_for_any_number_of_threads_and_bands(mode: str) -> None:
    array = smooth(mode, (700, 500))
    one, *others = (stream_of(array, mode, piece_bytes=20000, threads=n) for n in (1, 2, 3, 50))
    assert others == [one] * 3
    written = encoded(picture(array, mode), "png")
    assert stream_of(array, mode) in written


def test_each_row_takes_the_filter_with_the_least_differences() -> None:
    rng = np.random.default_rng(0)
    rows, above = rng.integers(0, 256, (9, 30), np.uint8), rng.integers(0, 256, 30, np.uint8)
    made = {one: filtered(rows, above, 3, (one,)) for one in EVERY}
    for number, result in made.items():
        assert (result[:, 0] == number).all()
        np.testing.assert_array_equal(result[:, 1:], by_the_standard(rows, above, 3, number))
    sums = [np.abs(one[:, 1:].view(np.int8).astype(int)).sum(axis=1) for one in made.values()]
    np.testing.assert_array_equal(filtered(rows, above, 3, EVERY)[:, 0], np.argmin(sums, axis=0))


def by_the_standard(
    rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int, number: int
) -> NDArray[np.uint8]:
    """Filter byte by byte (PNG, Third Edition, 9.2)."""
    result = np.empty_like(rows)
    for y, x in np.ndindex(rows.shape):
        over = [int(one) for one in (rows[y - 1] if y else above)]
        a = int(rows[y, x - step]) if x >= step else 0
        b, c = over[x], over[x - step] if x >= step else 0
        guess = {0: 0, 1: a, 2: b, AVERAGE: (a + b) // 2, PAETH: paeth(a, b, c)}[number]
        result[y, x] = (int(rows[y, x]) - guess) % 256
    return result


def paeth(a: int, b: int, c: int) -> int:
    away = [abs(a + b - c - one) for one in (a, b, c)]
    return (a, b, c)[away.index(min(away))]


@pytest.mark.parametrize("shape", [(1, 3_000_000), (10, 300_000), (1_000_000, 3), (500, 3000)])
def test_a_sample_is_small_whatever_the_shape_of_the_rows(shape: tuple[int, int]) -> None:
    piece = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    sample = Sample(piece, np.zeros(shape[1], np.uint8), 3)
    assert 1000 < sample.size <= piece.size // 12 + 3 * shape[1]
    assert sample.size <= 1 << 16
    assert sample.compressed_size(Choice((UP,), 1)) > sample.size  # random bytes


READERS: Final = {
    "pngcheck": ["pngcheck", "-q", "in.png"],
    "convert": ["convert", "in.png", "-depth", "8", "out.ppm"],
    "vips": ["vips", "copy", "in.png", "out.ppm"],
    "ffmpeg": ["ffmpeg", "-v", "error", "-i", "in.png", "-y", "out.ppm"],
}


@pytest.mark.parametrize("name", [pytest.param(one, marks=needs(one)) for one in READERS])
def test_other_programs_read_a_picture_of_several_pieces(name: str, tmp_path: Path) -> None:
    array = smooth("RGB", (1200, 1100))
    octets = encoded(picture(array, "RGB"), "png")
    assert octets.count(b"IDAT") > 1
    (tmp_path / "in.png").write_bytes(octets)
    subprocess.run(READERS[name], cwd=tmp_path, check=True, capture_output=True)
    if name != "pngcheck":
        np.testing.assert_array_equal(Image.open(tmp_path / "out.ppm"), array)


@pytest.mark.parametrize("mode", EIGHT_BITS)
def test_pillow_reads_every_mode_of_8_bits(mode: str) -> None:
    given = noisy(mode, (40, 30))
    image = Image.open(BytesIO(encoded(given, "png")))
    assert image.mode == mode
    np.testing.assert_array_equal(image, given.array)


def test_the_file_grows_while_rows_come() -> None:
    given, file = noisy("RGB", (3000, 1000)), BytesIO()
    writer = open_writer(file, by_name("png"), Saving(), 1)
    writer.begin(given.info, given.metadata)
    writer.rows(given.array[:2900])
    assert len(file.getvalue()) > 2000 * 1000 * 3 - (6 << 21)
    writer.rows(given.array[2900:])
    writer.finish()
    assert file.getvalue().endswith(chunk(b"IEND", b""))
