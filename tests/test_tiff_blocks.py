"""TIFF: segments that are decoded in blocks, several at the same time."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import tiff_frame
from poolcli.formats.contract import Limits
from poolcli.formats.pillow import open_image
from poolcli.formats.tiff_decoders import in_blocks
from poolcli.formats.tiff_frame import FASTER_BYTES
from poolcli.formats.tiff_layout import layout_of, pictures_of
from poolcli.formats.tiff_segments import Block, Segments
from poolcli.formats.tiff_tags import Directory, TagFile
from tests import jobs
from tests.pictures import decoded, reader_of
from tests.support.processes import linux_only
from tests.tiff_support import samples, tiff_of

LARGE = (1300, 1100)
"""A size at which every row of tiles, and every band of strips, has several blocks."""

MANY = 10**9


def segments_of(octets: bytes) -> Segments:
    file = TagFile(BytesIO(octets))
    return Segments(layout_of(Directory(file, pictures_of(file)[0]), Limits(MANY)))


TILES: dict[str, Any] = {"tile": (128, 96)}
STRIPS: dict[str, Any] = {"rowsperstrip": 37}
LARGE_CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "8-bit deflate tiles, by Pillow": ("u1", 3, {"compression": "adobe_deflate", **TILES}),
    "with a predictor": ("u1", 3, {"compression": "adobe_deflate", "predictor": True, **TILES}),
    "LZW strips, by Pillow": ("u1", 3, {"compression": "lzw", **STRIPS}),
    "Zstandard tiles, by Pillow": ("u1", 4, {"compression": "zstd", "extrasamples": 2, **TILES}),
    "PackBits strips, by Pillow": ("u1", 3, {"compression": "packbits", **STRIPS}),
    "16-bit LZW tiles, by tifffile": ("u2", 3, {"compression": "lzw", **TILES}),
    "float deflate strips, by tifffile": ("f4", 1, {"compression": "adobe_deflate", **STRIPS}),
    "channels in planes, by Pillow": (
        "u1",
        3,
        {"compression": "adobe_deflate", "planarconfig": "separate", **TILES},
    ),
    "channels in planes, by tifffile": (
        "u2",
        3,
        {"compression": "adobe_deflate", "planarconfig": "separate", **TILES},
    ),
    "BigTIFF": ("u1", 3, {"compression": "adobe_deflate", "bigtiff": True, **TILES}),
    "big-endian": ("u2", 1, {"compression": "adobe_deflate", "byteorder": ">", **TILES}),
}


def large(name: str) -> tuple[NDArray[Any], bytes]:
    dtype, channels, more = LARGE_CASES[name]
    array = samples(dtype, channels, LARGE)
    given = np.moveaxis(array, 2, 0) if more.get("planarconfig") == "separate" else array
    return array, tiff_of(given, photometric="rgb" if channels > 1 else "minisblack", **more)


@pytest.mark.parametrize("name", LARGE_CASES)
def test_a_large_picture_is_decoded_as_a_whole_and_band_by_band(name: str) -> None:
    array, octets = large(name)
    assert len([*segments_of(octets).blocks(0, 1, 1 << 18)]) > 1 or "strips" in name
    np.testing.assert_array_equal(decoded(octets, MANY).array, array)
    (frame,) = reader_of(octets, MANY).frames()
    for top in range(0, LARGE[0], 100):
        np.testing.assert_array_equal(frame.rows(top, top + 100), array[top : top + 100])


def test_tiles_of_jpeg_are_those_that_tifffile_decodes() -> None:
    smooth = np.indices(LARGE).sum(axis=0)[..., None] // np.array([8, 12, 16])
    octets = tiff_of(smooth.astype(np.uint8), photometric="rgb", compression="jpeg", **TILES)
    seen = tifffile.imread(BytesIO(octets)).astype(int)
    assert np.abs(decoded(octets, MANY).array - seen).max() <= 2  # of two versions of libjpeg


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("layout", [TILES, STRIPS])
def test_blocks_cover_the_rows_without_overlap(layout: dict[str, Any], planes: int) -> None:
    array = samples("u1", 3, (300, 250))
    more: dict[str, Any] = {"planarconfig": "separate"} if planes > 1 else {}
    given = np.moveaxis(array, 2, 0) if planes > 1 else array
    segments = segments_of(tiff_of(given, photometric="rgb", **layout, **more))
    down, _ = segments.layout.grid
    for most in (1, 50_000, 90_000, 1 << 30, None):
        for first, last in ((0, down), (1, down), (0, 1)):
            seen = np.zeros((300, 250), int)
            for block in segments.blocks(first, last, most):
                seen[block.part] += 1
                parts = np.zeros((*block.layout.size, 3), int)
                for _, _, place in block.places():
                    parts[place] += 1
                assert (parts == 1).all()
                assert len([*segments.read(block)]) == len([*block.places()])
            step = segments.layout.segment[0]
            assert (seen[first * step : last * step] == 1).all()
            assert seen.sum() == 250 * (min(last * step, 300) - first * step)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_bad_block_in_order_is_told(threads: int) -> None:
    segments = segments_of(tiff_of(samples("u1", 1, (64, 320)), tile=(64, 64)))
    late = threading.Event()

    def decode(block: Block) -> NDArray[Any]:
        at = block.columns.start
        if at == 2:  # it fails after the one behind it, if that runs beside it
            assert threads == 1 or late.wait(60)
            raise PoolError("tile 2 is bad", "")
        if at == 3:
            late.set()
            raise PoolError("tile 3 is bad", "")
        return np.zeros(block.layout.size, np.uint8)

    before = {*threading.enumerate()}
    with pytest.raises(PoolError, match="tile 2 is bad"):
        in_blocks(segments, decode, block_bytes=1, threads=threads)(0, 1)
    assert {*threading.enumerate()} <= before  # others may end meanwhile


@linux_only
def test_with_one_cpu_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    array, octets = large("8-bit deflate tiles, by Pillow")

    def start(_: threading.Thread) -> None:
        raise AssertionError("a thread was started")

    usable = os.sched_getaffinity(0)
    monkeypatch.setattr(threading.Thread, "start", start)
    os.sched_setaffinity(0, {min(usable)})
    try:
        np.testing.assert_array_equal(decoded(octets, MANY).array, array)
    finally:
        os.sched_setaffinity(0, usable)


def test_a_damaged_tile_fails_the_picture_and_leaves_no_thread(tmp_path: Path) -> None:
    _, octets = large("8-bit deflate tiles, by Pillow")
    with tifffile.TiffFile(BytesIO(octets)) as file:
        offsets = file.pages[0].dataoffsets
    damaged = bytearray(octets)
    for one in offsets[30:40]:
        damaged[one : one + 8] = bytes(8)
    (tmp_path / "in.tif").write_bytes(damaged)
    before = {*threading.enumerate()}
    outcome = jobs.run(tmp_path / "in.tif", tmp_path / "out.png", "png", jobs.work(max_pixels=MANY))
    assert outcome.status == "failed"
    assert not outcome.is_fault
    assert {*threading.enumerate()} <= before  # others may end meanwhile
    assert [one.name for one in tmp_path.iterdir()] == ["in.tif"]


@pytest.mark.parametrize("photometric", ["rgb", "palette", "planes"])
def test_tiles_that_are_not_stored_are_zero_wherever_they_are(photometric: str) -> None:
    array = samples("u1", 1 if photometric == "palette" else 3, (300, 250))
    more: dict[str, Any] = {"photometric": photometric}
    given = array
    if photometric == "palette":
        more["colormap"] = np.arange(768, dtype=np.uint16).reshape(3, 256) * 80
    if photometric == "planes":
        more = {"photometric": "rgb", "planarconfig": "separate"}
        given = np.moveaxis(array, 2, 0)
    octets = bytearray(tiff_of(given, compression="adobe_deflate", tile=(64, 64), **more))
    missing = {0, 7, *range(8, 12)}  # one tile, the last one of a row, and a whole row
    with tifffile.TiffFile(BytesIO(octets)) as file:
        offsets = file.pages[0].tags[324].valueoffset  # type: ignore[union-attr]  # no frame
    for number in missing:
        octets[offsets + 4 * number : offsets + 4 * number + 4] = bytes(4)
    wanted = array.copy()
    for number in missing:
        top, left = number // 4 * 64, number % 4 * 64
        part = wanted[top : top + 64, left : left + 64]
        part[(..., 0) if photometric == "planes" else ...] = 0
    (frame,) = reader_of(bytes(octets)).frames()
    np.testing.assert_array_equal(frame.rows(0, 300), wanted)
    for top in range(0, 300, 60):
        np.testing.assert_array_equal(frame.rows(top, top + 60), wanted[top : top + 60])


@pytest.mark.parametrize("compression", ["adobe_deflate", "zstd"])
@pytest.mark.parametrize(("dtype", "channels"), [("u1", 3), ("u1", 1), ("u2", 1)])
def test_a_large_page_is_the_same_with_and_without_tifffile(
    dtype: str, channels: int, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = int((FASTER_BYTES / channels / np.dtype(dtype).itemsize) ** 0.5) + 1
    rows = samples(dtype, channels, (64, side))
    array = np.concatenate([rows] * (side // 64 + 1))[:side]
    octets = tiff_of(
        array,
        photometric="rgb" if channels > 1 else "minisblack",
        compression=compression,
        predictor=True,
        compressionargs={"level": 1},
        tile=(256, 256),
    )
    opened = []

    def counted(*given: Any) -> Any:
        opened.append(given)
        return open_image(*given)

    monkeypatch.setattr("poolcli.formats.tiff_decoders.open_image", counted)
    for is_there in (True, False):
        monkeypatch.setattr(tiff_frame, "is_installed", lambda _, found=is_there: found)
        (frame,) = reader_of(octets, MANY).frames()
        assert frame.info.dtype == dtype
        opened.clear()
        for top in range(0, side, 1000):
            stop = min(top + 1000, side)
            np.testing.assert_array_equal(frame.rows(top, stop), array[top:stop])
        assert bool(opened) == (not is_there and compression == "zstd")


def test_the_last_strip_of_a_large_page_may_have_more_rows_than_the_page() -> None:
    side = int((FASTER_BYTES / 3) ** 0.5) + 1
    array = np.concatenate([samples("u1", 3, (64, side))] * (side // 64 + 1))[:side]
    strips: dict[str, Any] = {"compression": "adobe_deflate", "rowsperstrip": 100}
    octets = bytearray(tiff_of(array, photometric="rgb", **strips))
    with tifffile.TiffFile(BytesIO(octets)) as file:
        places, lengths = (file.pages[0].tags[tag] for tag in (273, 279))  # type: ignore[union-attr]
        last = places.count - 1
    rows = np.zeros((100, side, 3), np.uint8)
    rows[: side - 100 * last] = array[100 * last :]
    longer = zlib.compress(rows.tobytes(), 1)
    for table, value in ((places, len(octets)), (lengths, len(longer))):
        struct.pack_into("<I", octets, table.valueoffset + 4 * last, value)
    np.testing.assert_array_equal(decoded(bytes(octets + longer), MANY).array, array)
