"""TIFF: pages and their chain, orientation, limits, and what needs the optional libraries."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.formats.refusals import Refusing
from poolcli.picture import Resolution, turned
from tests import jobs
from tests.contract_support import Counting
from tests.pictures import (
    LIMIT,
    decoded,
    encoded,
    first_info,
    noise,
    noisy,
    pictures_in,
    reader_of,
    written,
)
from tests.tiff_support import samples, tags_of, tiff_of

# Limits


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_large_tiles_are_refused_and_usual_ones_need_no_more_pixels_allowed(dtype: str) -> None:
    array = samples(dtype, 3)
    usual = tiff_of(array, photometric="rgb", tile=(1024, 1024), compression="adobe_deflate")
    np.testing.assert_array_equal(decoded(usual, 18 * 22).array, array)
    with pytest.raises(PoolError, match="--max-pixels"):
        first_info(usual, 18 * 22 - 1)
    packed, buffer = zlib.compress(bytes(8000 * 8000 * 3 * array.itemsize), 1), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(
            iter([packed]), shape=(10, 10, 3), dtype=dtype, photometric="rgb", metadata=None,
            tile=(8000, 8000), compression="adobe_deflate",
        )  # fmt: skip
    with pytest.raises(PoolError, match="tiles of 64"):
        first_info(buffer.getvalue())


# Orientation


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16", "RGB;16"])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_pixels_come_as_stored_and_the_tag_says_how_to_turn_them(
    mode: str, turn: int, compression: str | None
) -> None:
    array = noise(mode, (3, 5))
    more: dict[str, Any] = {"extrasamples": [2]} if "A" in mode else {}
    octets = tiff_of(
        array, photometric="rgb" if "RGB" in mode else "minisblack", resolution=(300, 120),
        resolutionunit=2, extratags=[(274, 3, 1, turn, True)],
        compression=None if mode == "1" else compression, **more,
    )  # fmt: skip
    (frame,) = reader_of(octets).frames()
    info, found = frame.info, decoded(octets)
    assert (info.mode, info.shape, info.orientation) == (mode, array.shape, turn)
    assert info.notes == (("it was turned upright",) if turn > 1 else ())
    np.testing.assert_array_equal(frame.rows(0, 3), array)
    assert found.metadata.resolution == (
        Resolution(300, 120) if turn >= 5 else Resolution(120, 300)
    )
    again = encoded(found, "tiff")
    np.testing.assert_array_equal(decoded(again).array, turned(array, turn))
    assert tags_of(again).get(274, 1) == 1


@pytest.mark.parametrize("tag", [None, 1, 3, 9])
def test_the_orientation_of_xmp_counts_where_there_is_no_tag(tag: int | None) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    extra = [(700, 1, len(xmp), xmp, True), *([] if tag is None else [(274, 3, 1, tag, True)])]
    for dtype in ("u1", "u2"):
        info = first_info(tiff_of(samples(dtype, 3), photometric="rgb", extratags=extra))
        assert info.orientation == {None: 6, 9: 1}.get(tag, tag)


# Pages


PAGES = [
    samples("u1", 3, (40, 30)), samples("u1", 1, (8, 90)), samples("u2", 1, (20, 10)),
    samples("f4", 1, (6, 6)), samples("u2", 3, (10, 12)), samples("i2", 5, (6, 8)),
]  # fmt: skip


@pytest.mark.parametrize("layout", [{}, {"compression": "lzw"}, {"byteorder": ">"}, {"bigtiff": 1}])
def test_pages_of_all_sizes_and_depths_come_out_in_order(layout: dict[str, Any]) -> None:
    octets = tiff_of(*PAGES, **layout)
    assert reader_of(octets).count == len(PAGES)
    again = written(list(pictures_in(octets)), "tiff")[0]
    with tifffile.TiffFile(BytesIO(again)) as file:
        for page, array in zip(file.pages, PAGES, strict=True):
            assert page.asarray().dtype == array.dtype
            np.testing.assert_array_equal(page.asarray(), array)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_page_is_turned_on_its_own(turn: int) -> None:
    pages, buffer = [(PAGES[1], 1), (PAGES[2], turn), (PAGES[0], 1), (PAGES[4], turn)], BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for array, tag in pages:
            kind = "rgb" if array.ndim == 3 else "minisblack"
            file.write(array, photometric=kind, metadata=None, extratags=[(274, 3, 1, tag, True)])
    for found, (array, tag) in zip(pictures_in(buffer.getvalue()), pages, strict=True):
        np.testing.assert_array_equal(found.array, turned(array, tag))


@pytest.mark.parametrize("dtype", ["u1", "f8"])
def test_what_is_read_of_a_file_grows_with_its_pages_and_no_faster(dtype: str) -> None:
    def taken(pages: int) -> int:
        stream = Counting(tiff_of(*[samples(dtype, 1, (4, 4))] * pages, compression="lzw"))
        for frame in (reader := open_reader(stream, Limits(LIMIT))).frames():
            assert frame.info.shape == (4, 4)
        assert reader.count == pages
        return stream.taken

    few, more, most = map(taken, (20, 120, 220))
    assert most - more == pytest.approx(more - few, rel=0.05)


def test_an_odd_page_does_not_keep_the_others_from_being_taken(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(tiff_of(PAGES[0], np.zeros((4, 4), complex), PAGES[1]))
    for frame, array in ((0, PAGES[0]), (2, PAGES[1])):
        how = jobs.work(size=1, frame=frame, overwrite=True)
        outcome = jobs.run(tmp_path / "in", tmp_path / "out", "npy", how)
        assert outcome.status == "done", outcome.error
        np.testing.assert_array_equal(np.load(tmp_path / "out"), array)
    assert "complex" in str(jobs.run(tmp_path / "in", tmp_path / "o2", "tiff").error)


def linked(octets: bytes, following: int) -> bytes:
    """A classic TIFF of one page with another offset of the next directory."""
    (begin,) = struct.unpack_from("<I", octets, 4)
    (count,) = struct.unpack_from("<H", octets, begin)
    end = begin + 2 + 12 * count
    return octets[:end] + struct.pack("<I", following) + octets[end + 4 :]


def test_a_ring_of_directories_ends_and_those_that_overlap_are_refused() -> None:
    whole = tiff_of(PAGES[1])
    (begin,) = struct.unpack_from("<I", whole, 4)
    assert reader_of(linked(whole, begin)).count == 1
    entries, steps = 1000, range(1, 1000)
    counts = b"".join(struct.pack("<HI", entries, 0) for _ in steps)
    pointers = b"".join(struct.pack("<IH", 8 + 6 * step, 0) for step in steps)
    with pytest.raises(PoolError, match="overlap"):
        reader_of(b"II*\0\x08\0\0\0" + counts.ljust(2 + 12 * entries, b"\0") + pointers)


# Damage


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_a_file_that_is_cut_anywhere_is_refused_or_whole(
    compression: str | None, tile: tuple[int, int] | None, dtype: str
) -> None:
    array, refused = samples(dtype, 3), 0
    whole = tiff_of(array, photometric="rgb", tile=tile, compression=compression)
    cuts = range(8, len(whole), max(1, len(whole) // 25))
    for cut in cuts:
        try:
            with Refusing("it can't be decoded"):
                part = decoded(whole[:cut]).array
        except PoolError as refusal:
            assert refusal.remedy  # noqa: PT017  # most cuts are refused
            refused += 1
        else:
            np.testing.assert_array_equal(part, array)
    assert refused > len(cuts) / 2


# Read by others


def test_pillow_walks_through_the_pages_that_are_written() -> None:
    pages = [noisy(mode, (5 + at, 9), at) for at, mode in enumerate(("RGB", "L", "I;16", "F", "L"))]
    octets = written(pages, "tiff")[0]
    with Image.open(BytesIO(octets)) as image:
        assert isinstance(image, TiffImageFile)
        assert image.n_frames == len(pages)
        for place, page in enumerate(pages):
            image.seek(place)
            np.testing.assert_array_equal(np.asarray(image), page.array)
