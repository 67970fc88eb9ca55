"""The writer of TIFF: strips as they come, BigTIFF past a limit, any bits, palettes."""

from __future__ import annotations

import struct
import subprocess
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli.formats import by_name
from poolcli.formats.saving import Saving
from poolcli.formats.tiff_writer import TiffWriter
from poolcli.picture import FrameInfo, Metadata, Picture, Resolution, Stored, info_in_mode
from tests import jobs
from tests.contract_support import peak_growth
from tests.exif_support import DETAILS, EXIFTOOL, GPS, exiftool, text
from tests.pictures import decoded, noise, noisy, opened, read_tiff
from tests.support.tools import GDAL_TRANSLATE, GDALINFO, TIFFINFO, VIPS
from tests.tiff_support import block_of, tags_of

COMPRESSIONS = ("none", "lzw", "deflate", "packbits", "zstd")


def write(
    pictures: Sequence[Picture],
    compression: str = "deflate",
    file: BinaryIO | None = None,
    band: int = 3,
    **more: Any,
) -> bytes:
    """Write pages in bands of a few rows."""
    saving, buffer = Saving(options=(("compression", compression),)), BytesIO()
    writer = TiffWriter(file or buffer, by_name("tiff"), saving, **more)
    for picture in pictures:
        writer.begin(picture.info, picture.metadata)
        for top in range(0, len(picture.array), band):
            writer.rows(picture.array[top : top + band])
    assert writer.finish() == []
    return buffer.getvalue()


def pages_of(octets: bytes) -> list[NDArray[Any]]:
    with tifffile.TiffFile(BytesIO(octets)) as file:
        return [page.asarray() for page in file.pages]


# Strips


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["1", "L", "RGBA", "RGB;16", "F", "array"])
def test_strips_of_any_height_hold_the_same_pixels(mode: str, compression: str) -> None:
    given = noisy(mode, (23, 9))
    row_bytes = max(1, given.array[0].nbytes)
    for strip_bytes, band in ((1, 1), (4 * row_bytes, 3), (7 * row_bytes, 23), (1 << 18, 5)):
        octets = write([given], compression, strip_bytes=strip_bytes, band=band)
        tags = tags_of(octets)
        counts = tags[279]
        assert len(counts) == -(-23 // tags[278])
        np.testing.assert_array_equal(read_tiff(octets), given.array)
    assert len(counts) == 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_bytes_are_the_same_for_any_number_of_threads(compression: str) -> None:
    pages = [noisy("RGB", (300, 90)), noisy("L", (200, 50)), noisy("RGB", (7, 9))]
    one, *others = (
        write(pages, compression, strip_bytes=900, threads=threads) for threads in (1, 2, 5)
    )
    assert others == [one] * 2
    for given, seen in zip(pages, pages_of(one), strict=True):
        np.testing.assert_array_equal(seen, given.array)


def test_a_writer_that_is_given_up_leaves_no_thread() -> None:
    given, before = noisy("RGB", (2000, 500)), threading.active_count()
    writer = TiffWriter(BytesIO(), by_name("tiff"), Saving(), threads=4)
    writer.begin(given.info, given.metadata)
    writer.rows(given.array)
    writer.discard()
    assert threading.active_count() == before


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "CMYK", "I;16", "RGB;16", "F"])
def test_vips_and_gdal_and_pillow_read_the_same(
    mode: str, compression: str, tmp_path: Path
) -> None:
    given = noisy(mode, (23, 16))
    octets = write([given], compression, strip_bytes=700)
    (tmp_path / "out.tif").write_bytes(octets)
    array = given.array * np.uint8(255) if mode == "1" else given.array
    if VIPS:
        run(VIPS, "rawsave", tmp_path / "out.tif", tmp_path / "raw")
        seen = np.frombuffer((tmp_path / "raw").read_bytes(), array.dtype)
        np.testing.assert_array_equal(seen.reshape(array.shape), array)
    if GDAL_TRANSLATE and mode not in ("1", "CMYK"):
        run(GDAL_TRANSLATE, "-q", "-of", "ENVI", "-co", "INTERLEAVE=BIP",
            tmp_path / "out.tif", tmp_path / "envi")  # fmt: skip
        seen = np.frombuffer((tmp_path / "envi").read_bytes(), array.dtype)
        np.testing.assert_array_equal(seen.reshape(array.shape), array)
    if mode != "RGB;16":
        np.testing.assert_array_equal(np.asarray(opened(octets)), given.array)
    if TIFFINFO:
        done = subprocess.run(
            [TIFFINFO, "-d", tmp_path / "out.tif"], capture_output=True, check=True
        )
        assert not [line for line in done.stderr.splitlines() if b"Unknown field" not in line]


def run(*words: Any) -> None:
    subprocess.run([str(word) for word in words], capture_output=True, check=True)


def test_memory_does_not_grow_with_the_height() -> None:
    info = info_in_mode((40_000, 1000), "RGB", Stored("unsigned", 8, 255, 3))
    band = noise("RGB", (16, 1000))

    def fill(height: int) -> None:
        with open("/dev/null", "wb") as file:  # it takes any number of bytes
            writer = TiffWriter(
                cast(BinaryIO, _Counted(file)), by_name("tiff"), Saving(options=LZW)
            )
            writer.begin(info._replace(shape=(height, 1000, 3)), Metadata())
            for _ in range(height // 16):
                writer.rows(band)
            writer.finish()

    fill(32)
    assert peak_growth(lambda: fill(40_000)) < 8_000_000  # of 120 MB


LZW = (("compression", "lzw"),)


class _Counted:
    """A file that forgets what is written, but knows how much it was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def write(self, octets: bytes) -> int:
        self._at += len(octets)
        return self._file.write(octets)

    def tell(self) -> int:
        return self._at

    def seek(self, *_: int) -> int:
        return self._at


# BigTIFF

BLOCK = block_of(text(271, "Maker"), (DETAILS, [text(0x9003, "2024:02:29 12:34:56")]),
                 (GPS, [text(1, "N")]))  # fmt: skip


@pytest.mark.parametrize("compression", ["none", "deflate"])
def test_what_exceeds_a_classic_tiff_becomes_a_bigtiff(compression: str, tmp_path: Path) -> None:
    metadata = Metadata(None, BLOCK, Resolution(150, 300), xmp=b"<x/>")
    pages = [noisy(mode, (9, 8), metadata=metadata) for mode in ("RGB", "I;16", "array")]
    classic = write(pages, compression, strip_bytes=50)
    limits = {len(classic) + 500: False, len(classic) - 1: True, 100: True}
    for limit, is_big in limits.items():
        octets = write(pages, compression, strip_bytes=50, most_bytes=limit)
        assert octets[2] == (43 if is_big else 42)
        for page, array in zip(pages, pages_of(octets), strict=True):
            np.testing.assert_array_equal(array, page.array)
        for number in range(3):
            tags = tags_of(octets, number)
            assert (tags[271], tags[700], tags[282]) == ("Maker", b"<x/>", (300, 1))
            assert tags[DETAILS]["DateTimeOriginal"] == "2024:02:29 12:34:56"
            assert tags[GPS]["GPSLatitudeRef"] == "N"
        (tmp_path / "out.tif").write_bytes(octets)
        if GDALINFO:
            run(GDALINFO, tmp_path / "out.tif")
        if EXIFTOOL:
            seen = exiftool(octets)
            assert (
                seen[f"{'ExifOffset' if is_big else 'ExifIFD'}:DateTimeOriginal"]
                == "2024:02:29 12:34:56"
            )
            assert "ExifTool:Warning" not in seen


def test_offsets_past_4_gb_are_written_whole() -> None:
    class Far(BytesIO):
        """A file that says that it is 5 GB further on than it is."""

        def tell(self) -> int:
            return super().tell() + (5 << 30) * (super().tell() > 16)

    file = Far()
    write([noisy("L")], file=file)
    octets = file.getvalue()
    magic, _, _, first = struct.unpack_from("<HHHQ", octets, 2)
    assert magic == 43
    assert first > 5 << 30


# Samples of any bits, palettes


def of_bits(bits: int, channels: int, height: int = 7) -> Picture:
    kind = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    shape = (height, 11, channels) if channels > 1 else (height, 11)
    array = np.random.default_rng(bits).integers(0, 1 << bits, shape, kind)
    array.flat[:2] = 0, (1 << bits) - 1
    full = (1 << bits) - 1
    info = FrameInfo(
        shape, kind, "RGB;M" if channels == 3 else "L;M", full,
        Stored("unsigned", bits, full, channels),
    )  # fmt: skip
    return Picture(array, info)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15])
def test_samples_of_any_bits_are_packed(bits: int, channels: int, tmp_path: Path) -> None:
    given = of_bits(bits, channels)
    octets = write([given], strip_bytes=64)
    assert np.max(tags_of(octets)[258]) == bits
    np.testing.assert_array_equal(read_tiff(octets), given.array)
    if GDAL_TRANSLATE:
        (tmp_path / "out.tif").write_bytes(octets)
        run(GDAL_TRANSLATE, "-q", "-of", "ENVI", "-co", "INTERLEAVE=BIP",
            tmp_path / "out.tif", tmp_path / "envi")  # fmt: skip
        seen = np.frombuffer((tmp_path / "envi").read_bytes(), given.array.dtype)
        np.testing.assert_array_equal(seen.reshape(given.array.shape), given.array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("entries", [2, 3, 4, 16, 200, 256, 300])
def test_a_palette_is_written_entry_for_entry(entries: int, dtype: Any, tmp_path: Path) -> None:
    rng, limit = np.random.default_rng(entries), np.iinfo(dtype).max
    palette = rng.integers(0, limit, (entries, 3), dtype, endpoint=True)
    indices = rng.integers(0, entries, (9, 13), np.uint8 if entries <= 256 else np.uint16)
    mode = "RGB" if dtype == np.uint8 else "RGB;16"
    info = info_in_mode((9, 13), mode, Stored("unsigned", 8, 255, 1))._replace(palette=palette)
    octets = write([Picture(indices, info)])
    tags = tags_of(octets)
    bits = tags[258]
    assert (tags[262], bits) == (3, next(b for b in (1, 2, 4, 8, 16) if entries <= 1 << b))
    wanted = np.zeros((3, 1 << bits), np.uint16)
    wanted[:, :entries] = palette.T.astype(np.uint16) * (257 if dtype == np.uint8 else 1)
    np.testing.assert_array_equal(np.reshape(tags[320], wanted.shape), wanted)
    with tifffile.TiffFile(BytesIO(octets)) as file:
        np.testing.assert_array_equal(file.asarray(), indices)
    if entries <= 256:
        with Image.open(BytesIO(octets)) as image:
            shown = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(shown, palette[indices] >> (8 if dtype == np.uint16 else 0))
    if VIPS and entries in (16, 256) and dtype == np.uint8:
        (tmp_path / "out.tif").write_bytes(octets)
        run(VIPS, "rawsave", tmp_path / "out.tif", tmp_path / "raw")
        seen = np.frombuffer((tmp_path / "raw").read_bytes(), np.uint8)
        np.testing.assert_array_equal(seen.reshape(9, 13, 3), palette[indices])


def test_grey_palettes_are_written_in_three_colours() -> None:
    palette, indices = np.array([7, 200], np.uint8), np.eye(4, dtype=np.uint8)
    info = info_in_mode((4, 4), "L", Stored("unsigned", 8, 255, 1))._replace(palette=palette)
    octets = write([Picture(indices, info)])
    np.testing.assert_array_equal(np.asarray(opened(octets).convert("L")), palette[indices])


@pytest.mark.parametrize("mode", sorted({*by_name("tiff").modes} - {"array"}))
def test_our_reader_finds_every_mode_again(mode: str) -> None:
    given = noisy(mode)
    assert decoded(write([given])).info.mode == mode


# From the command line


@pytest.mark.parametrize(("bits", "channels"), [(12, 1), (10, 3), (3, 1), (15, 3)])
def test_bits_stay_in_a_tiff_and_are_widened_once_elsewhere(
    bits: int, channels: int, tmp_path: Path
) -> None:
    given = of_bits(bits, channels, 8)
    (tmp_path / "in.tif").write_bytes(write([given]))
    wide = np.uint16 if bits > 8 else np.uint8
    full = np.iinfo(wide).max
    pooled = given.array.reshape(4, 2, -1, *given.array.shape[2:]).max(axis=1)
    pooled = np.maximum(pooled[:, 0:10:2], pooled[:, 1:11:2])
    widened = np.rint(pooled.astype(float) * full / ((1 << bits) - 1)).astype(wide)
    for name, wanted in (("tiff", pooled), ("png", widened), ("pnm", pooled)):
        outcome = jobs.run(tmp_path / "in.tif", tmp_path / name, name, jobs.work("max", 2))
        assert outcome.status == "done", outcome.error
        octets = (tmp_path / name).read_bytes()
        if name == "tiff":
            assert np.max(tags_of(octets)[258]) == bits
            np.testing.assert_array_equal(read_tiff(octets), wanted)
        elif name == "png":
            np.testing.assert_array_equal(imagecodecs.png_decode(octets), wanted)
        note = f"its {bits}-bit samples were widened to {8 * wide().itemsize} bits"
        assert (note in outcome.notes) == (name == "png")


def test_a_full_scale_that_bits_cannot_state_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "in.pgm").write_bytes(b"P5 2 2 1000\n" + bytes(8))
    outcome = jobs.run(tmp_path / "in.pgm", tmp_path / "out.tif", "tiff", jobs.work("max", 2))
    assert "another depth than 8 or 16 bits" in str(outcome.error)
    assert ".tif" not in str(outcome.remedy)
    (tmp_path / "in.pgm").write_bytes(b"P5 2 2 1023\n" + bytes([3, 255]) * 4)
    outcome = jobs.run(tmp_path / "in.pgm", tmp_path / "out.tif", "tiff", jobs.work("max", 2))
    assert outcome.status == "done"
    octets = (tmp_path / "out.tif").read_bytes()
    assert (tags_of(octets)[258], read_tiff(octets).tolist()) == (10, [[1023]])
