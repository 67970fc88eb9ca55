"""How a picture is cut up and reduced: every tile, both kernels, bounded scratch."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from poolcli import Window, avg_pool, max_pool, min_pool
from poolcli.engine import tiles
from poolcli.engine.tiles import Grid, Tile, pixels
from tests import oracle

Array = NDArray[Any]

POOLS: dict[str, Callable[..., Array]] = {"max": max_pool, "min": min_pool, "avg": avg_pool}
METHODS = sorted(POOLS)
MEGABYTE = 1 << 20


def grid(extents: tuple[int, int], channels: int = 1, **choices: Any) -> Grid:
    return Grid(*Window.of(**choices).axes(extents), channels)


def picture(dtype: str, shape: tuple[int, ...]) -> Array:
    """Any values of a type; floats are whole, so that sums have no error."""
    rng = np.random.default_rng(7)
    whole = np.dtype(dtype if np.dtype(dtype).kind in "iu" else "i2").newbyteorder("=")
    limits = np.iinfo(whole)
    return rng.integers(limits.min, limits.max, shape, whole, endpoint=True).astype(dtype)


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Set the bytes of a tile, and of a block that is gone through again and again."""

    def set_budget(tile: int, band: int) -> None:
        monkeypatch.setattr(tiles, "TILE_BYTES", tile)
        monkeypatch.setattr(tiles, "SHARED_BYTES", tile)
        monkeypatch.setattr(tiles, "BAND_BYTES", band)

    return set_budget


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[Tile]:
    """Every tile that is worked on from here."""
    seen: list[Tile] = []
    original = Grid.tiles

    def recorded(grid: Grid, itemsize: int) -> Iterator[Tile]:
        for tile in original(grid, itemsize):
            seen.append(tile)
            yield tile

    monkeypatch.setattr(Grid, "tiles", recorded)
    return seen


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the kernels that reduce rows from here."""
    names: set[str] = set()

    def watch(name: str) -> None:
        original = getattr(Grid, name)

        def watched(*arguments: Any) -> None:
            names.add(name)
            original(*arguments)

        monkeypatch.setattr(Grid, name, watched)

    watch("_share_rows")
    watch("_fold_rows")
    return names


# Tiles


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([1, 30, 200, 5000]),
    st.integers(1, 5),
)
def test_every_window_is_in_one_tile(
    extents: tuple[int, int], size: tuple[int, int], stride: Any, tile_bytes: int, channels: int
) -> None:
    laid = grid(extents, channels, size=size, stride=stride, padding="same")
    times = np.zeros((laid.rows.out, laid.columns.out), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE_BYTES", tile_bytes)
        patch.setattr(tiles, "SHARED_BYTES", tile_bytes)
        for tile in laid.tiles(2):
            assert times[tile].shape == tile.shape
            assert times[tile].size > 0
            times[tile] += 1
    assert np.all(times == 1)


@pytest.mark.parametrize("size", [2, 3, 15, 101])
@pytest.mark.parametrize("stride", [1, 2, 15])
@pytest.mark.parametrize("extents", [(3000, 4000), (200, 2_000_000)])
def test_a_tile_holds_about_its_budget(size: int, stride: int, extents: tuple[int, int]) -> None:
    laid = grid(extents, 3, size=size, stride=stride)
    for tile in laid.tiles(2):
        columns = (tile.shape[1] - 1) * stride + size
        most = tiles.SHARED_BYTES if laid.shares else tiles.TILE_BYTES
        assert 2 * 3 * columns * tile.shape[0] <= most


def test_tiles_are_not_crumbs() -> None:
    assert len(list(grid((3000, 4000), 3, size=2).tiles(1))) <= 40


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("size", [(2, 2), (3, 4), (5, 5)])
def test_tiles_of_one_to_three_rows_give_the_same(
    method: str, rows: int, size: Any, budget: Any, cut: list[Tile]
) -> None:
    array = picture("u1", (30, 40, 3))
    whole = POOLS[method](array, size, 1, "same")
    cut.clear()
    itemsize = 2 if method == "avg" else 1
    budget(rows * (40 + 6) * 3 * itemsize, 1)
    assert np.array_equal(POOLS[method](array, size, 1, "same"), whole)
    assert {tile.shape for tile in cut} == {(rows, 40)}


@pytest.mark.parametrize(
    ("method", "options"),
    [(method, option) for method in METHODS for option in ("", "where")]
    + [("avg", "weights"), ("avg", "count_include_pad")],
)
@pytest.mark.parametrize("dtype", ["u1", ">i4", "u8", "f4"])
def test_tiles_side_by_side_give_what_the_nested_loop_gives(
    method: str, options: str, dtype: str, budget: Any, cut: list[Tile]
) -> None:
    array = picture(dtype, (11, 13, 2))
    if dtype == "f4":
        array[3:6, 4:9] = np.nan
    choice = {"where": picture("u1", (11, 13)) > 200, "weights": picture("u1", (11, 13)) // 90}
    options_given: dict[str, Any] = {options: choice.get(options, True)} if options else {}
    geometry: dict[str, Any] = {
        "size": 3,
        "stride": 2,
        "padding": ((1, 2), (2, 0)),
        "ceil_mode": True,
    }
    budget(1, 1)
    got = POOLS[method](array, **geometry, **options_given)
    wanted = oracle.pool(method, array, **geometry, **options_given)
    assert oracle.mismatches(got, wanted) == []
    assert len({tile.columns.start for tile in cut}) > 2
    assert len({tile.rows.start for tile in cut}) > 2


# Kernels

WINDOWS = [
    pytest.param({"size": 2}, "_fold_rows", id="side by side"),
    pytest.param({"size": 1, "stride": 3}, "_fold_rows", id="one tap"),
    pytest.param({"size": 3, "stride": 2}, "_fold_rows", id="a little overlap"),
    pytest.param({"size": 5, "stride": 1}, "_fold_rows", id="five taps"),
    pytest.param({"size": 3, "stride": 1, "dilation": 4}, "_fold_rows", id="few taps apart"),
    pytest.param({"size": 15, "padding": 7}, "_fold_rows", id="large side by side"),
    pytest.param({"size": 6, "stride": 1}, "_share_rows", id="six taps"),
    pytest.param({"size": (12, 3), "stride": (2, 1)}, "_share_rows", id="stride 2"),
    pytest.param({"size": 15, "stride": 1, "padding": "same"}, "_share_rows", id="padded"),
    pytest.param({"size": 9, "stride": 1, "dilation": 2}, "_share_rows", id="taps apart"),
    pytest.param({"size": (24, 2), "stride": 1}, "_share_rows", id="as high as the picture"),
]


@pytest.mark.parametrize(("choices", "kernel"), WINDOWS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["u1", "i8", ">f4"])
def test_each_kernel_runs_for_its_windows_and_is_right(
    choices: dict[str, Any], kernel: str, method: str, dtype: str, ran: set[str]
) -> None:
    array = picture(dtype, (24, 26))
    wanted = oracle.pool(method, array, **choices)
    assert oracle.mismatches(POOLS[method](array, **choices), wanted) == []
    assert ran == {kernel}


@pytest.mark.parametrize(("choices", "kernel"), WINDOWS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tile_bytes", [1, 300, 1 << 20])
def test_both_kernels_give_the_same(
    choices: dict[str, Any],
    kernel: str,
    method: str,
    tile_bytes: int,
    budget: Any,
    ran: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = picture("f4", (24, 26, 3))
    array[::7, ::5] = np.nan
    budget(tile_bytes, 4 * tile_bytes)
    usual = POOLS[method](array, **choices)
    shares = kernel == "_share_rows"
    monkeypatch.setattr(Grid, "shares", property(lambda _: not shares))
    other = POOLS[method](array, **choices)
    assert np.array_equal(usual, other, equal_nan=True)
    assert ran == {"_fold_rows", "_share_rows"}


@pytest.mark.parametrize("stride", range(1, 8))
def test_rows_are_shared_where_folding_would_take_more_than_four_steps_a_row(stride: int) -> None:
    for size in range(1, 60):
        laid = grid((200, 200), size=size, stride=stride)
        assert laid.shares == (size - 1 > 4 * stride)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("choices", [{"size": 3, "stride": 2}, {"size": 7, "stride": 1}])
def test_every_row_of_the_picture_is_asked_for_once_a_band(
    choices: dict[str, Any], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[slice] = []
    original = tiles.pixels

    def watched(array: Array) -> tiles.Term:
        term = original(array)

        def recorded(rows: slice, columns: slice) -> Array:
            read.append(rows)
            return term(rows, columns)

        return recorded

    for user in ("extremes", "means"):
        monkeypatch.setattr(f"poolcli.engine.{user}.pixels", watched)
    POOLS[method](picture("u1", (40, 30)), **choices)
    if method == "avg" or choices["size"] == 7:
        assert [rows.step for rows in read] == [None]
    else:
        assert [rows.step for rows in read] == [choices["stride"]] * choices["size"]


# Pixels


def test_native_rows_are_seen_in_place() -> None:
    array = picture("u2", (4, 5, 3))
    for seen in (array, array[::-1], array[::2], array[:, :3], np.concatenate([array] * 2)[1:]):
        block = pixels(seen)(slice(0, 2), slice(1, 3))
        assert np.shares_memory(block, seen)
        assert block.tolist() == seen[:2, 1:3].reshape(2, -1).tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda array: array[:, ::-1],
        lambda array: array[..., ::-1],
        lambda array: array.astype(array.dtype.newbyteorder("S")),
        np.asfortranarray,
        lambda array: array[:, ::2],
        lambda array: array[..., :2],
    ],
)
def test_other_rows_are_copied_to_native_contiguous_ones(change: Callable[[Array], Array]) -> None:
    array = change(picture("u2", (6, 7, 3)))
    block = pixels(array)(slice(1, 6, 2), slice(1, 3))
    assert not np.shares_memory(block, array)
    assert block.dtype.isnative
    assert block.flags.c_contiguous
    assert block.tolist() == array[1:6:2, 1:3].reshape(3, -1).tolist()


# Scratch memory


def scratch(pool: Callable[..., Array], array: Array, *arguments: Any, **choices: Any) -> int:
    """The most bytes that a call holds besides its result."""
    tracemalloc.start()
    try:
        pooled = pool(array, *arguments, **choices)
        return tracemalloc.get_traced_memory()[1] - pooled.nbytes
    finally:
        tracemalloc.stop()


def backwards(height: int, width: int, dtype: str) -> Array:
    """A reversed view that costs no memory until it is written to."""
    return np.zeros((height, width), dtype)[::-1, ::-1]


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (101, 101), (101, 1)])
def test_scratch_is_small_beside_50_megapixels_reversed_and_big_endian(
    pool: Callable[..., Array], size: int, stride: int
) -> None:
    assert scratch(pool, backwards(6250, 8000, ">u2"), size, stride) < 16 * MEGABYTE


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize("shape", [(2, 8_000_000), (8_000_000, 2)])
@pytest.mark.parametrize("padding", [0, 1])
def test_scratch_is_small_however_wide_or_tall_a_picture_is(
    pool: Callable[..., Array], shape: tuple[int, int], padding: int
) -> None:
    assert scratch(pool, np.zeros(shape, np.uint8), 2, padding=padding) < 16 * MEGABYTE


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize("stride", [None, 1])
def test_scratch_does_not_grow_with_the_window(
    pool: Callable[..., Array], stride: int | None
) -> None:
    array = backwards(3000, 4000, ">u2")
    small, large = (scratch(pool, array, size, stride) for size in (5, 101))
    assert large < 2 * small + MEGABYTE


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_scratch_does_not_grow_with_the_picture(pool: Callable[..., Array]) -> None:
    small, large = (scratch(pool, backwards(side, 4000, ">u2"), 7, 3) for side in (2000, 8000))
    assert large < small + MEGABYTE


@pytest.mark.parametrize("dtype", [">u2", ">f4"])
@pytest.mark.parametrize(
    ("pool", "name"), [(max_pool, "where"), (avg_pool, "where"), (avg_pool, "weights")]
)
def test_scratch_stays_small_where_pixels_have_weights(
    pool: Callable[..., Array], dtype: str, name: str
) -> None:
    array = backwards(4000, 5000, dtype)
    mask: Array = np.ones(array.shape, np.bool_ if name == "where" else np.uint8)
    assert scratch(pool, array, 5, **{name: mask}) < 16 * MEGABYTE


def test_scratch_stays_small_where_every_pixel_is_nan() -> None:
    array = np.broadcast_to(np.array(np.nan, ">f4"), (6250, 8000))
    assert scratch(avg_pool, array, 25) < 16 * MEGABYTE


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_scratch_is_small_for_one_window_as_large_as_the_picture(
    pool: Callable[..., Array],
) -> None:
    assert scratch(pool, backwards(5000, 4000, ">u2"), (5000, 4000)) < 16 * MEGABYTE
