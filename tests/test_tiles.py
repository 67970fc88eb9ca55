"""How a picture is cut up and reduced: every tile, both kernels, bounded scratch memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli import avg_pool, max_pool
from poolcli.engine.kernels import Reduction
from poolcli.engine.tiles import TUNED, Grid, Tile, Tuning
from poolcli.engine.window import Window
from tests.engine_calls import SEPARABLE, Array, Call, functions_of

MEGABYTE = 1 << 20
KERNELS = {"_fold", "_van_herk"}
ANY_METHOD = pytest.mark.parametrize("method", SEPARABLE)


def grid(
    extents: tuple[int, int], channels: int = 1, tuning: Tuning = TUNED, **window: Any
) -> Grid:
    array = np.broadcast_to(np.uint8(0), (*extents, channels))
    return Grid(array, Window.of(**window).axes(extents), tuning)


def over(array: Array, table: Array | None = None) -> Grid:
    """The windows of one pixel over a picture."""
    return Grid(array, Window.of(1).axes(array.shape[:2]), TUNED, table)


def shape_of(tile: Tile) -> tuple[int, int]:
    return tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start


def picture(dtype: str, shape: tuple[int, ...]) -> Array:
    """Any values of a type; floats are whole, so that sums have no error."""
    rng = np.random.default_rng(7)
    whole = np.dtype(dtype if np.dtype(dtype).kind in "iu" else "i2").newbyteorder("=")
    limits = np.iinfo(whole)
    return rng.integers(limits.min, limits.max, shape, whole, endpoint=True).astype(dtype)


# Tiles


@settings(max_examples=50)
@given(
    *(st.tuples(st.integers(1, most), st.integers(1, most)) for most in (40, 12, 5)),
    st.sampled_from([1, 30, 200, 5000]),
    st.integers(1, 5),
)
def test_every_window_is_in_one_tile(
    extents: Any, size: Any, stride: Any, room: int, channels: int
) -> None:
    laid = grid(extents, channels, Tuning(room, room), size=size, stride=stride, padding="same")
    times = np.zeros((laid.rows.out, laid.columns.out), int)
    for tile in laid.tiles(2):
        assert times[tile].size > 0
        times[tile] += 1
    assert np.all(times == 1)


@pytest.mark.parametrize("size", [2, 3, 15, 101])
@pytest.mark.parametrize("stride", [1, 2, 15])
def test_a_tile_is_as_large_as_its_tuning(size: int, stride: int) -> None:
    for extents in ((3000, 4000), (200, 2_000_000)):
        laid = grid(extents, 3, size=size, stride=stride)
        most = TUNED.tall_tile_bytes if laid.uses_van_herk else TUNED.tile_bytes
        tiles = list(laid.tiles(2))
        bytes_each = [2 * 3 * ((w - 1) * stride + size) * h for h, w in map(shape_of, tiles)]
        assert max(bytes_each) <= most
        assert sum(bytes_each) > len(tiles) * TUNED.tile_bytes / 4 or len(tiles) < 4


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("size", [(2, 2), (3, 4), (5, 5)])
@ANY_METHOD
def test_tiles_of_one_to_three_rows_give_the_same(method: str, size: Any, rows: int) -> None:
    geometry = {"size": size, "stride": 1, "padding": "same"}
    tuning = Tuning(tile_bytes=rows * (40 + 6) * 3 * 2, band_bytes=1)
    tiles = grid((30, 40), 3, tuning, **geometry).tiles(2)
    assert set(map(shape_of, tiles)) == {(rows, 40)}
    assert Call(method, picture("u1", (30, 40, 3)), geometry, {}, tuning).mismatches() == []


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("window", [{"size": 6}, {"size": (9, 4), "padding": "same"}], ids=str)
@ANY_METHOD
def test_bands_of_few_rows_give_the_same(method: str, window: dict[str, Any], rows: int) -> None:
    geometry = {**window, "stride": 1}
    laid = grid((30, 40), 3, **geometry)
    width = (laid.columns.out - 1 + laid.columns.span) * 3
    laid = grid((30, 40), 3, Tuning(band_bytes=rows * width), **geometry)
    (tile,) = laid.tiles(1)
    reduction = Reduction(np.maximum, 0, True, lambda _: np.dtype(np.uint8))
    bands = laid.bands(tile, reduction)
    heights = [len(block) for _, block in bands]
    assert max(heights) == rows
    assert sum(heights) == laid.rows.out
    for itemsize in (1, 2):
        tuning = Tuning(band_bytes=rows * width * itemsize)
        call = Call(method, picture("u1", (30, 40, 3)), geometry, {}, tuning)
        assert call.mismatches() == []
        assert functions_of(call) & KERNELS == {"_van_herk"}


# Kernels


FOLDED: dict[str, dict[str, Any]] = {
    "side by side": {"size": 2},
    "one tap": {"size": 1, "stride": 3},
    "a little overlap": {"size": 3, "stride": 2},
    "five taps": {"size": 5, "stride": 1},
    "few taps apart": {"size": 3, "stride": 1, "dilation": 4},
    "large side by side": {"size": 15, "padding": 7},
}
BY_VAN_HERK: dict[str, dict[str, Any]] = {
    "six taps": {"size": 6, "stride": 1},
    "stride 2": {"size": (12, 3), "stride": (2, 1)},
    "padded": {"size": 15, "stride": 1, "padding": "same"},
    "taps apart": {"size": 9, "stride": 1, "dilation": 2},
    "as the picture": {"size": (24, 2), "stride": 1},
}


@pytest.mark.parametrize("case", FOLDED | BY_VAN_HERK)
@pytest.mark.parametrize("dtype", ["u1", "i8", ">f4"])
@ANY_METHOD
def test_each_kernel_runs_for_its_windows(method: str, dtype: str, case: str) -> None:
    geometry = (FOLDED | BY_VAN_HERK)[case]
    kernel = "_fold" if case in FOLDED else "_van_herk"
    array = picture(dtype, (24, 26))
    if dtype == ">f4":
        array[::7, ::5] = np.nan
    call = Call(method, array, geometry)
    assert call.mismatches() == []
    assert functions_of(call) & KERNELS == {kernel}
    (other,) = KERNELS - {kernel}
    if geometry["size"] == 1:
        return  # van Herk needs two taps
    forced = Tuning(300, 300, 1200, most_folded=0 if kernel == "_fold" else 99)
    call = call.but(tuning=forced)
    assert call.mismatches() == []
    assert functions_of(call) & KERNELS == {other}


@pytest.mark.parametrize("stride", range(1, 8))
def test_van_herk_is_used_where_folding_takes_more_than_four_operations_a_row(stride: int) -> None:
    for size in range(1, 60):
        laid = grid((200, 200), size=size, stride=stride)
        assert laid.uses_van_herk == (size - 1 > 4 * stride)


@pytest.mark.parametrize(("ufunc", "dtype"), [(np.maximum, "u1"), (np.add, "u2")])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (7, 1)])
def test_every_row_is_read_once_a_tile(size: int, stride: int, ufunc: Any, dtype: str) -> None:
    read: list[slice] = []
    array = picture("u1", (40, 30))

    def recorded(rows: slice, columns: slice) -> Array:
        read.append(rows)
        return array[rows, columns]

    laid = grid((40, 30), size=size, stride=stride)
    out = np.empty((laid.rows.out, laid.columns.out, 1), dtype)
    tile = Tile(slice(0, laid.rows.out), slice(0, laid.columns.out))
    reduction = Reduction(ufunc, 0, ufunc is np.maximum, lambda _: out.dtype)
    laid.reading(recorded, 1).reduce(tile, reduction, out)
    assert read == [slice(0, (laid.rows.out - 1) * stride + size)]


# Readers


def test_native_rows_are_viewed_in_place() -> None:
    array = picture("u2", (4, 5, 3))
    for seen in (array, array[::-1], array[::2], array[:, :3], np.concatenate([array] * 2)[1:]):
        block = over(seen).read(slice(0, 2), slice(1, 3))
        assert np.shares_memory(block, seen)
        assert block.tolist() == seen[:2, 1:3].reshape(2, -1).tolist()


def test_other_rows_are_copied_to_native_contiguous_ones() -> None:
    given = picture("u2", (6, 7, 3))
    swapped = given.astype(given.dtype.newbyteorder("S"))
    sliced = (given[:, ::-1], given[..., ::-1], given[:, ::2], given[..., :2])
    for array in (*sliced, swapped, np.asfortranarray(given)):
        block = over(array).read(slice(1, 6, 2), slice(1, 3))
        assert not np.shares_memory(block, array)
        assert block.dtype.isnative
        assert block.flags.c_contiguous
        assert block.tolist() == array[1:6:2, 1:3].reshape(3, -1).tolist()


def test_a_table_is_read_at_the_indices_of_the_pixels() -> None:
    array, table = picture("u1", (6, 7, 3)), np.arange(256) / 2
    block = over(array, table).read(slice(1, 6, 2), slice(1, 3))
    assert np.array_equal(block, array[1:6:2, 1:3].reshape(3, -1) / 2)


# Scratch memory


def scratch(pool: Callable[..., Array], array: Array, *arguments: Any, **choices: Any) -> int:
    """The most bytes that a call holds besides its result."""
    tracemalloc.start()
    try:
        pooled = pool(array, *arguments, **choices)
        return tracemalloc.get_traced_memory()[1] - pooled.nbytes
    finally:
        tracemalloc.stop()


def backwards(height: int, width: int, dtype: str = ">u2") -> Array:
    """A reversed view that costs no memory until it is written to."""
    return np.zeros((height, width), dtype)[::-1, ::-1]


ONES = np.ones((4000, 5000), np.uint8)


PLACES = {"where": ONES.view(np.bool_)}
LARGE: list[tuple[Array, Any, dict[str, Any]]] = [
    *((backwards(6250, 8000), (k, s), {}) for k, s in [(2, 2), (101, 101), (101, 1)]),
    *((np.zeros((2, 8_000_000), np.uint8), (2, 2, padding), {}) for padding in (0, 1)),
    *((np.zeros((8_000_000, 2), np.uint8), (2, 2, padding), {}) for padding in (0, 1)),
    (backwards(5000, 4000), ((5000, 4000),), {}),
    *((backwards(4000, 5000, dtype), (5,), PLACES) for dtype in (">u2", ">f4")),
    *((backwards(4000, 5000, dtype), (5,), {"weights": ONES}) for dtype in (">u2", ">f4")),
    (np.broadcast_to(np.array(np.nan, ">f4"), (6250, 8000)), (25,), {}),
]


@pytest.mark.parametrize(("array", "geometry", "options"), LARGE, ids=range(len(LARGE)))
def test_scratch_memory_is_small_beside_a_picture(
    array: Array, geometry: Any, options: Any
) -> None:
    for pool in (avg_pool,) if "weights" in options else (max_pool, avg_pool):
        assert scratch(pool, array, *geometry, **options) < 16 * MEGABYTE


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_scratch_memory_grows_with_neither_window_nor_picture(pool: Any) -> None:
    for stride in (None, 1):
        small, large = (scratch(pool, backwards(3000, 4000), k, stride) for k in (5, 101))
        assert large < 2 * small + MEGABYTE
    small, large = (scratch(pool, backwards(side, 4000), 7, 3) for side in (2000, 8000))
    assert large < small + MEGABYTE
