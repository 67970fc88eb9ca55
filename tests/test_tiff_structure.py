"""TIFF: many pages, hostile directories, segments that are missing, too large, or split."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from poolcli.errors import PoolError
from poolcli.formats.refusals import Refusing
from poolcli.formats.tiff_tags import TagFile
from tests import jobs
from tests.contract_support import calls_of, peak_growth
from tests.exif_support import LONG, SHORT, Entry, number
from tests.pictures import decoded, first_info, reader_of
from tests.tiff_support import directory, samples, tiff_of

# Many pages

STACKS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "8 bits": ("u1", 1, {}),
    "16 bits": ("u2", 1, {}),
    "8 bits, LZW": ("u1", 1, {"compression": "lzw"}),
    "16-bit RGB, deflate": ("u2", 3, {"compression": "adobe_deflate", "photometric": "rgb"}),
    "BigTIFF": ("f8", 1, {"bigtiff": True}),
}


def stack(kind: str, pages: int, side: int = 4) -> bytes:
    dtype, channels, more = STACKS[kind]
    return tiff_of(*[samples(dtype, channels, (side, side))] * pages, **more)


@pytest.mark.parametrize("kind", STACKS)
def test_the_work_for_a_stack_grows_with_its_pages_and_no_faster(kind: str, tmp_path: Path) -> None:
    def work_of(pages: int) -> int:
        source = tmp_path / f"{pages}"
        source.write_bytes(stack(kind, pages))
        how = jobs.work(overwrite=True)
        return calls_of(lambda: jobs.run(source, tmp_path / "out", "tiff", how))

    work_of(5)  # imports are made
    few, more, most = map(work_of, (10, 30, 50))
    assert most - more == pytest.approx(more - few, rel=0.05)


@pytest.mark.parametrize("kind", STACKS)
def test_reading_a_stack_of_many_pages_takes_no_more_memory_than_one_of_few(kind: str) -> None:
    def memory_for(pages: int) -> int:
        octets = stack(kind, pages, side=64)
        tracemalloc.start()
        try:
            for frame in reader_of(octets).frames():
                frame.rows(0, 64)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    memory_for(3)
    # Python keeps some freed tuples, and there are 24 bytes of offsets for each page.
    assert memory_for(150) < memory_for(30) + 400_000


# Directories


def chained(*following: int) -> bytes:
    """Directories of one entry each, which follow each other by their numbers; -1 ends."""
    places = [8 + 18 * at for at in range(len(following))]
    tables = (
        struct.pack("<HHHIII", 1, 256, 3, 1, at, places[to] if to >= 0 else 0)
        for at, to in enumerate(following)
    )
    return b"II*\0\x08\0\0\0" + b"".join(tables)


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 9])
@pytest.mark.parametrize("ring", [1, 2, 3, 7, 8])
def test_a_ring_of_directories_ends_where_it_closes(tail: int, ring: int) -> None:
    count = tail + ring
    octets = chained(*range(1, count), tail)
    offsets = TagFile(BytesIO(octets)).page_offsets()
    assert [*offsets] == [8 + 18 * at for at in range(count)]
    assert [*TagFile(BytesIO(chained(*range(1, count), -1))).page_offsets()] == [*offsets]


def test_directories_without_pictures_take_memory_in_proportion_to_the_file() -> None:
    count = 5_000
    octets = chained(*range(1, count), -1)
    reader_of(octets)  # imports are made
    tracemalloc.start()
    try:
        assert reader_of(octets).count == count
        assert tracemalloc.get_traced_memory()[1] < 8 * len(octets) + 100_000
    finally:
        tracemalloc.stop()


LAYOUT = {256: 8, 257: 4, 258: 8, 259: 1, 262: 1, 277: 1, 278: 4, 279: 32}


def page(pixels: bytes = bytes(32), *more: Entry, **tags: int) -> bytes:
    """A grey TIFF of 4×8 pixels; ``tags`` are further numbers by ``t`` and the tag."""
    numbers = LAYOUT | {int(name[1:]): value for name, value in tags.items()}
    entries = [number(tag, value, LONG) for tag, value in numbers.items()]
    stated = {one[0] for one in more}
    entries = [one for one in entries if one[0] not in stated] + [*more]
    if 273 not in stated:
        entries.append(number(273, 8, LONG))
    at = 8 + len(pixels)
    return b"II*\0" + struct.pack("<I", at) + pixels + directory(entries, at)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (page(b"", (273, LONG, 1 << 28, struct.pack("<I", 8))), "tag 273 lies outside"),
        (page(bytes(32), t278=1), "1 of its 4 strips"),
        (page(bytes(32), t256=1 << 20, t257=1 << 20), "--max-pixels"),
        (page(bytes(32), t257=1 << 20, t278=1), "--max-pixels"),
        (page(bytes(32), t259=5, t279=1 << 31), "outside of the file"),
        (page(bytes(32), t322=1 << 20, t323=1 << 20), "--max-pixels"),
        (page(bytes(32), t262=3), "its palette has 0 numbers"),
    ],
)
def test_tables_that_promise_more_than_the_file_has_are_refused_in_little_memory(
    octets: bytes, words: str
) -> None:
    def act() -> None:
        with pytest.raises(PoolError, match=words):
            decoded(octets)

    act()
    assert peak_growth(act) < 4_000_000


def test_a_million_strips_at_one_place_are_read_once_each() -> None:
    height = 50_000
    offsets = (273, LONG, height, struct.pack("<I", 8) * height)
    octets = page(bytes(8 * height), offsets, t257=height, t278=1, t279=8)
    assert not decoded(octets).array.any()


def with_next(octets: bytes, page: int, offset: int, *, is_big: bool) -> bytes:
    """A TIFF with another offset behind the directory of a page."""
    with tifffile.TiffFile(BytesIO(octets)) as file:
        begin = file.pages[page].offset
        number = len(file.pages[page].tags)  # type: ignore[union-attr]
    at = begin + (8 + 20 * number if is_big else 2 + 12 * number)
    changed = bytearray(octets)
    struct.pack_into("<Q" if is_big else "<I", changed, at, offset)
    return bytes(changed)


@pytest.mark.parametrize("is_big", [False, True])
def test_pages_that_can_not_be_found_spoil_no_others(is_big: bool) -> None:
    pages = [samples("u1", 1, (40, 50)), samples("u1", 1, (40, 50)) // 2]
    octets = tiff_of(*pages, bigtiff=is_big)
    pixels = octets.index(pages[0].tobytes())
    stray = [*reader_of(with_next(octets, 1, pixels, is_big=is_big)).frames()]
    np.testing.assert_array_equal([frame.rows(0, 40) for frame in stray], pages)
    assert any("leads to other data" in one for one in stray[0].metadata().warnings)
    assert not stray[1].metadata().warnings
    cut = [*reader_of(with_next(octets, 1, len(octets) + 9, is_big=is_big)).frames()]
    np.testing.assert_array_equal([frame.rows(0, 40) for frame in cut[:2]], pages)
    with pytest.raises(PoolError, match="its list of pages breaks off after 2"):
        assert cut[2].info


def test_the_last_directory_may_end_with_the_file() -> None:
    layout = {256: 4, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 4}
    entries = directory([number(tag, value, LONG) for tag, value in layout.items()], 12)
    octets = b"II*\0" + struct.pack("<I", 12) + b"abcd" + entries
    whole = decoded(octets[:-4])
    np.testing.assert_array_equal(whole.array, [[*b"abcd"]])
    assert not whole.metadata.warnings


# Full size, smaller copies and masks


def test_smaller_copies_are_no_pages_of_their_own() -> None:
    large, small = samples("u1", 1, (8, 8)), samples("u1", 1, (4, 4))
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for array, kind in ((large, 0), (small, 1), (large[::-1], 2), (small, 1)):
            file.write(array, subfiletype=kind, metadata=None, contiguous=False)
    frames = [frame.rows(0, 8) for frame in reader_of(buffer.getvalue()).frames()]
    np.testing.assert_array_equal(frames, [large, large[::-1]])


def test_the_full_size_below_a_smaller_copy_is_the_picture() -> None:
    large, small = samples("u1", 1, (8, 8)), samples("u1", 1, (4, 4))
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(small, subfiletype=1, subifds=1, metadata=None)
        file.write(large, subfiletype=0, metadata=None)
    np.testing.assert_array_equal(decoded(buffer.getvalue()).array, large)
    alone = tiff_of(small, subfiletype=1)
    np.testing.assert_array_equal(decoded(alone).array, small)


def test_a_pyramid_in_subdirectories_is_one_picture() -> None:
    large, small = samples("u1", 3, (32, 32)), samples("u1", 3, (16, 16))
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(large, subifds=1, photometric="rgb", metadata=None, tile=(16, 16))
        file.write(small, subfiletype=1, photometric="rgb", metadata=None, tile=(16, 16))
    assert reader_of(buffer.getvalue()).count == 1
    np.testing.assert_array_equal(decoded(buffer.getvalue()).array, large)


def test_a_mask_that_does_not_fit_is_left_out_with_a_warning() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(samples("u1", 1, (8, 8)), metadata=None)
        file.write(np.ones((4, 4), bool), subfiletype=4, photometric="mask", metadata=None)
    found = decoded(buffer.getvalue())
    assert found.info.mode == "L"
    assert any("its mask was left out" in one for one in found.metadata.warnings)


# Segments


def without_segments(octets: bytes, *numbers: int) -> bytes:
    """A TIFF with 0 as the offsets and the lengths of some of its strips or tiles."""
    sparse = bytearray(octets)
    with tifffile.TiffFile(BytesIO(octets)) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]  # frames are not asked for
        for tag in (tags[324], tags[325]) if 324 in tags else (tags[273], tags[279]):
            size = 2 if tag.dtype == SHORT else 4
            for begin in (tag.valueoffset + size * number for number in numbers):
                sparse[begin : begin + size] = bytes(size)
    return bytes(sparse)


def test_segments_that_are_not_stored_hold_the_nodata_value() -> None:
    array = samples("i2", 1, (32, 48))
    array[:16, 16:32] = -9999
    for compression in (None, "adobe_deflate", "lzw"):
        nodata = (42113, 2, 6, "-9999", True)
        octets = tiff_of(array, tile=(16, 16), extratags=[nodata], compression=compression)
        np.testing.assert_array_equal(decoded(without_segments(octets, 1)).array, array)


@pytest.mark.parametrize("compression", ["lzw", "adobe_deflate", "jpeg"])
def test_missing_tiles_between_others_are_zeros_by_every_decoder(compression: str) -> None:
    array = np.full((32, 48), 200, np.uint8)
    octets = without_segments(tiff_of(array, tile=(16, 16), compression=compression), 1)
    array[:16, 16:32] = 0
    np.testing.assert_array_equal(decoded(octets).array, array)


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
def test_missing_strips_are_zeros_in_their_own_plane(compression: str | None) -> None:
    palette = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
    indices, planes = samples("u1", 1, (24, 40)), samples("u1", 40, (3, 24))
    more: dict[str, Any] = {"rowsperstrip": 8, "compression": compression}
    grey = tiff_of(indices, **more)
    coloured = tiff_of(indices, photometric="palette", colormap=palette, **more)
    separate = tiff_of(planes, photometric="rgb", planarconfig="separate", **more)
    indices[8:16] = 0
    np.testing.assert_array_equal(decoded(without_segments(grey, 1)).array, indices)
    found = decoded(without_segments(coloured, 1)).array
    np.testing.assert_array_equal(found, np.moveaxis(palette[:, indices], 0, -1))
    planes[0, 8:16] = planes[2, :8] = 0
    found = decoded(without_segments(separate, 1, 6)).array
    np.testing.assert_array_equal(found, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_long_uncompressed_strips_are_read_in_parts(rows: int, planar: str) -> None:
    array = samples("u2", 3, (40, 30_000))
    stored = np.moveaxis(array, -1, 0) if planar == "separate" else array
    octets = tiff_of(stored, photometric="rgb", planarconfig=planar, rowsperstrip=rows)
    (frame,) = reader_of(octets, 10**7).frames()

    def act() -> None:
        np.testing.assert_array_equal(frame.rows(17, 18), array[17:18])

    assert peak_growth(act) < array.nbytes // 2
    for start, stop in ((0, 3), (2, 9), (8, 40), (1, 2)):
        np.testing.assert_array_equal(frame.rows(start, stop), array[start:stop])


BOMBS: dict[str, Callable[[bytes], bytes | bytearray]] = {
    "adobe_deflate": lambda octets: zlib.compress(octets, 1),
    "zstd": lambda octets: imagecodecs.zstd_encode(octets),
    "lzma": lambda octets: imagecodecs.lzma_encode(octets, level=0),
}


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("compression", BOMBS)
def test_a_segment_is_unpacked_no_further_than_its_size(compression: str, dtype: str) -> None:
    packed, buffer = BOMBS[compression](bytes(40_000_000)), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(
            iter([bytes(packed)]), shape=(16, 16, 3), dtype=dtype, photometric="rgb", metadata=None,
            tile=(16, 16), compression=compression,
        )  # fmt: skip

    def act() -> None:
        try:
            with Refusing("it can't be decoded"):
                assert not decoded(buffer.getvalue()).array.any()
        except PoolError as refusal:
            assert refusal.remedy  # noqa: PT017  # some decoders refuse what is left over

    act()
    assert peak_growth(act) < 8_000_000


@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_the_checksum_of_deflate_is_verified(dtype: str, tile: tuple[int, int] | None) -> None:
    array = samples(dtype, 1, (16, 16))
    octets = bytearray(tiff_of(array, compression="adobe_deflate", tile=tile))
    checksum = octets.index(zlib.adler32(array.tobytes()).to_bytes(4, "big"))
    with tifffile.TiffFile(BytesIO(octets)) as file:
        page = file.pages[0]
        (length,) = page.databytecounts
        assert checksum + 4 == page.dataoffsets[0] + length
    octets[checksum] ^= 1
    with pytest.raises(PoolError, match="its pixels are damaged") as refusal:
        decoded(bytes(octets))
    assert refusal.value.remedy
    # Some programs leave the checksum out.
    shorter = octets.replace(struct.pack("<I", length), struct.pack("<I", length - 4))
    np.testing.assert_array_equal(decoded(bytes(shorter)).array, array)


CODECS: dict[str, dict[str, Any]] = {
    **{name: {"compression": name} for name in ("png", "jpeg2000", "jpegxr", "jpegxl", "jpeg")},
    "webp": {"compression": "webp", "compressionargs": {"lossless": True}},
    **{f"lerc in {name}": {"compression": "lerc", "compressionargs": {"compression": name}}
       for name in ("deflate", "zstd")},
    "lerc": {"compression": "lerc"},
}  # fmt: skip


@pytest.mark.parametrize("compression", CODECS)
def test_a_picture_in_a_tile_may_not_be_larger_than_the_tile(compression: str) -> None:
    array = samples("u1", 3, (64, 64))
    octets = bytearray(tiff_of(array, photometric="rgb", tile=(64, 64), **CODECS[compression]))
    found = decoded(bytes(octets)).array
    if compression != "jpeg":
        np.testing.assert_array_equal(found, array)
    with tifffile.TiffFile(BytesIO(octets)) as file:
        tags = file.pages[0].tags  # type: ignore[union-attr]  # frames are not asked for
        places = [tags[tag].valueoffset for tag in (256, 257, 322, 323)]
    for place in places:
        struct.pack_into("<H", octets, place, 16)
    with pytest.raises(PoolError), Refusing("it can't be decoded"):
        decoded(bytes(octets))


def test_lerc_is_unwrapped_no_further_than_its_size() -> None:
    blob, buffer = imagecodecs.lerc_encode(samples("u1", 1, (16, 16))), BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(
            iter([zlib.compress(blob + bytes(40_000_000))]), shape=(16, 16), dtype="u1",
            metadata=None, tile=(16, 16), compression="lerc",
        )  # fmt: skip

    def act() -> None:
        np.testing.assert_array_equal(decoded(buffer.getvalue()).array, samples("u1", 1, (16, 16)))

    act()
    assert peak_growth(act) < 8_000_000


def test_deep_palettes_keep_16_bits() -> None:
    rng = np.random.default_rng(5)
    entries, indices = rng.integers(0, 65536, (3, 65536), np.uint16), samples("u2", 1, (6, 9))
    octets = tiff_of(indices, photometric="palette", colormap=entries)
    info = first_info(octets)
    assert (info.mode, info.stored.bits) == ("RGB;16", 16)
    np.testing.assert_array_equal(decoded(octets).array, np.moveaxis(entries[:, indices], 0, -1))
