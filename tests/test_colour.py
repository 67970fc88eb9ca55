"""Pictures pooled: colour under alpha, on a background, mode by mode, against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from poolcli import colour
from poolcli.colour import Colour
from poolcli.engine.window import Window
from poolcli.methods import Alpha
from poolcli.picture import MODES as TITLES
from poolcli.picture import Encoding, Metadata, Picture, Placement, Resolution
from tests.colour_oracle import (
    ALPHAS,
    FULL,
    METHODS,
    SHALLOW,
    both_taps,
    oracle,
    picture_of,
    result,
    sides,
    taps,
)
from tests.jobs import pool, work
from tests.pictures import MODES, dtype_of, info_of, maxval_of, noise, noisy, whole_shape
from tests.pictures import picture as made

MODERATE = settings(max_examples=50)
ANY_METHOD = pytest.mark.parametrize("method", METHODS)
BY_CHANNEL = [name for name in METHODS if name != "mode"]
NOT_AVERAGES = [name for name in METHODS if name != "avg"]
ANY_ALPHA = pytest.mark.parametrize("alpha", ALPHAS)


# What is drawn


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Draw a window of up to 3×3 taps with any padding that leaves it a window."""

    def pair(least: int, most: int) -> tuple[int, int]:
        return draw(st.tuples(st.integers(least, most), st.integers(least, most)))

    size, stride, dilation = pair(1, 3), pair(1, 3), pair(1, 2)
    reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    return Window.of(size, stride, (pair(0, reach[0]), pair(0, reach[1])), dilation)


def arrays(mode: str) -> st.SearchStrategy[NDArray[Any]]:
    """Draw small pictures with many transparent, opaque and nearly transparent pixels."""
    extents, full = st.integers(1, 5), FULL[mode]
    usual = st.sampled_from((0, 1, 2, 3, full // 2, full // 2 + 1, full - 1, full))
    each: dict[str, Any] = {"elements": usual | st.integers(0, full), "fill": st.nothing()}
    return st.tuples(extents, extents).flatmap(
        lambda shape: hnp.arrays(dtype_of(mode), whole_shape(mode, shape), **each)
    )


PICTURES = st.sampled_from(tuple(FULL)).flatmap(
    lambda mode: arrays(mode).map(lambda array: made(array, mode))
)


def fits(picture: Picture, window: Window) -> bool:
    """Return if there is a window, and a pixel of the picture in each."""
    return all(one and all(each.inside for each in one) for one in both_taps(picture, window))


# Against the oracle


@MODERATE
@given(PICTURES, windows(), st.sampled_from(ALPHAS), st.booleans(), st.integers(0, 12))
def test_an_average_under_alpha_is_the_rounded_fraction(
    picture: Picture, window: Window, alpha: Alpha, with_padding: bool, override: int
) -> None:
    assume(fits(picture, window))
    more: dict[str, Any] = {"alpha": alpha, "divisor_override": override or None}
    how = work("avg", window, count_include_pad=with_padding, **more)
    np.testing.assert_array_equal(pool(picture, how).array, oracle(picture, how))


@MODERATE
@given(PICTURES, windows(), st.sampled_from(ALPHAS), st.sampled_from(NOT_AVERAGES))
def test_other_results_under_alpha_are_those_of_the_pixels_that_can_be_seen(
    picture: Picture, window: Window, alpha: Alpha, method: str
) -> None:
    assume(fits(picture, window))
    how = work(method, window, alpha=alpha)
    np.testing.assert_array_equal(pool(picture, how).array, oracle(picture, how))


@MODERATE
@given(
    PICTURES,
    windows(),
    st.sampled_from(METHODS),
    st.sampled_from(ALPHAS),
    st.sampled_from(((255, 255, 255), (0, 0, 0), (7, 7, 7), (255, 136, 0), (1, 2, 3))),
)
def test_a_background_shows_through_after_pooling(
    picture: Picture, window: Window, method: str, alpha: Alpha, background: Colour
) -> None:
    assume(fits(picture, window))
    how = work(method, window, alpha=alpha, background=background)
    flat, wanted = pool(picture, how), oracle(picture, how)
    grey, colour = {
        255: ("L", "RGB"),
        1000: ("L;M", "RGB;M"),
        65535: ("I;16", "RGB;16"),
    }[picture.info.maxval]
    assert flat.info.mode == (grey if wanted.shape[2] == 1 else colour)
    np.testing.assert_array_equal(flat.array, wanted[..., 0] if flat.info.mode == grey else wanted)


# Alpha, by example


MIXED = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
FAINT = [[(10, 20, 30, 255), (5, 250, 30, 1)]]
NEARLY_CLEAR = [[(200, 100, 50, 1), (9, 9, 9, 0), (9, 9, 9, 0)]]
ONE = [[(90, 60, 30, 100)]]
PADDED = {"padding": ((1, 0), (1, 0)), "count_include_pad": True}
STRAIGHT_HALF = {"divisor_override": 2, "alpha": "straight"}
EXAMPLES = {
    "a faint constant": ([[(200, 100, 50, 3)] * 2] * 2, "avg", (2, 2), {}, [200, 100, 50, 3]),
    "the average of what is seen": (MIXED, "avg", (1, 2), {}, [10, 20, 30, 128]),
    "the most of what is seen": (MIXED, "max", (1, 2), {}, [10, 20, 30, 255]),
    "the least of what is seen": (MIXED, "min", (1, 2), {}, [10, 20, 30, 0]),
    "the most with the faintest": (FAINT, "max", (1, 2), {}, [10, 250, 30, 255]),
    "the least with the faintest": (FAINT, "min", (1, 2), {}, [5, 20, 30, 1]),
    "a straight average": (MIXED, "avg", (1, 2), {"alpha": "straight"}, [130, 135, 140, 128]),
    "a straight maximum": (MIXED, "max", (1, 2), {"alpha": "straight"}, [250, 250, 250, 255]),
    "a straight minimum": (MIXED, "min", (1, 2), {"alpha": "straight"}, [10, 20, 30, 0]),
    "nothing seen, on average": ([[(10, 0), (20, 0)]], "avg", (1, 2), {}, [15, 0]),
    "nothing seen, at most": ([[(10, 0), (20, 0)]], "max", (1, 2), {}, [20, 0]),
    "nothing seen, at least": ([[(10, 0), (20, 0)]], "min", (1, 2), {}, [10, 0]),
    "an alpha that rounds to 0": (NEARLY_CLEAR, "avg", (1, 3), {}, [200, 100, 50, 0]),
    "a tie up to even": ([[(1, 1), (2, 1)]], "avg", (1, 2), {}, [2, 1]),
    "colour and alpha rounded apart": ([[(2, 1), (3, 2)]], "avg", (1, 2), {}, [3, 2]),
    "a tie down to even": ([[(4, 1), (5, 1)]], "avg", (1, 2), {}, [4, 1]),
    "padding on alpha alone": (ONE, "avg", (2, 2), PADDED, [90, 60, 30, 25]),
    "a divisor on alpha alone": (ONE, "avg", (1, 1), {"divisor_override": 2}, [90, 60, 30, 50]),
    "a divisor on every channel": (ONE, "avg", (1, 1), STRAIGHT_HALF, [45, 30, 15, 50]),
    "linear light of what is seen": (MIXED, "avg", (1, 2), {"linear": True}, [10, 20, 30, 128]),
}


@pytest.mark.parametrize(
    ("pixels", "method", "size", "options", "wanted"), EXAMPLES.values(), ids=EXAMPLES
)
def test_one_window_under_alpha(
    pixels: Any, method: str, size: tuple[int, int], options: dict[str, Any], wanted: list[int]
) -> None:
    assert result(pixels, work(method, size, **options)) == [[wanted]]


@ANY_METHOD
def test_padding_never_enters_a_colour(method: str) -> None:
    how = work(method, 3, stride=1, padding=2)
    picture = made(np.full((4, 5, 4), (200, 100, 50, 3), np.uint8), "RGBA")
    assert (pool(picture, how).array == (200, 100, 50, 3)).all()


# Background, by example


@pytest.mark.parametrize(
    ("pixel", "background", "mode", "wanted"),
    [
        ((128, 100), (255, 255, 255), "L", 205),
        ((128, 100), (0, 0, 0), "L", 50),
        ((128, 100), (255, 0, 10), "RGB", [205, 50, 56]),
        ((255, 0, 100, 0), (7, 7, 7), "RGB", [7, 7, 7]),
    ],
)
def test_grey_stays_grey_on_a_grey_background_only(
    pixel: tuple[int, ...], background: Colour, mode: str, wanted: object
) -> None:
    array = np.full((2, 2, len(pixel)), pixel, np.uint8)
    flat = pool(
        made(array, "LA" if len(pixel) == 2 else "RGBA"), work("avg", background=background)
    )
    assert (flat.info.mode, flat.array[0, 0].tolist()) == (mode, wanted)
    assert (flat.info.shape, flat.info.dtype) == (flat.array.shape, flat.array.dtype)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in FULL])
def test_a_picture_without_alpha_has_no_background(mode: str) -> None:
    picture = picture_of(mode)
    plain, on_red = pool(picture, work()), pool(picture, work(background=(255, 0, 0)))
    assert on_red.info.mode == mode
    np.testing.assert_array_equal(on_red.array, plain.array)


# Modes


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_the_mode_stays_but_for_an_average_of_two_values(mode: str, method: str) -> None:
    wanted = "L" if (mode, method) == ("1", "avg") else mode
    pooled = pool(picture_of(mode), work(method))
    assert pooled.info.mode == wanted
    assert pooled.array.dtype == pooled.info.dtype == dtype_of(wanted)
    assert pooled.info.maxval == (255 if wanted == "L" else maxval_of(wanted))
    assert pooled.array.shape == pooled.info.shape == whole_shape(mode, (2, 3))
    assert pooled.info.stored == picture_of(mode).info.stored


# Laws


@ANY_ALPHA
@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_size_1_is_the_identity_and_leaves_its_picture_alone(
    mode: str, method: str, alpha: Alpha
) -> None:
    picture = picture_of(mode)
    before = picture.array.copy()
    picture.array.flags.writeable = False
    pooled, flat = (
        pool(picture, work(method, 1, alpha=alpha, background=one)) for one in (None, (1, 2, 3))
    )
    white = np.uint8(255) if (mode, method) == ("1", "avg") else before.dtype.type(1)
    np.testing.assert_array_equal(pooled.array, before * white)
    assert pooled.array.dtype == (before * white).dtype
    np.testing.assert_array_equal(picture.array, before)
    assert picture.info.mode == mode
    assert not np.shares_memory(pooled.array, picture.array)
    assert not np.shares_memory(flat.array, picture.array)


@ANY_ALPHA
@pytest.mark.parametrize("method", BY_CHANNEL)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBA;16"])
def test_colour_channels_may_change_places(mode: str, method: str, alpha: Alpha) -> None:
    picture, how = picture_of(mode), work(method, 3, stride=2, padding=1, alpha=alpha)
    pooled = pool(picture, how).array
    for order in permutations(range(3)):
        places = [*order, 3][: picture.array.shape[2]]
        turned = picture._replace(array=picture.array[..., places])
        np.testing.assert_array_equal(pool(turned, how).array, pooled[..., places])


@ANY_METHOD
def test_grey_is_one_of_three_equal_colours_and_opaque_is_without_alpha(method: str) -> None:
    grey, opaque = picture_of("LA"), picture_of("RGB")
    colour = made(grey.array[..., [0, 0, 0, 1]], "RGBA")
    covered = made(np.dstack((opaque.array, np.full((5, 6), 255, np.uint8))), "RGBA")
    how = work(method, 3, stride=1)
    np.testing.assert_array_equal(pool(colour, how).array, pool(grey, how).array[..., [0, 0, 0, 1]])
    np.testing.assert_array_equal(pool(covered, how).array[..., :3], pool(opaque, how).array)


# What stays beside the pixels


def test_the_resolution_is_divided_by_the_stride_and_not_by_the_size() -> None:
    metadata = Metadata(
        icc_profile=b"profile", exif=b"II*\0", resolution=Resolution(300, 120), plays=3
    )
    more = {"encoding": Encoding("jpeg", lossy=True), "duration": Fraction(40), "notes": ("a",)}
    how = work("max", 3, stride=(2, 1))
    pooled = pool(made(noise("RGB"), "RGB", metadata, **more), how)
    placement = Placement((2, 1), (0.5, 1))
    wanted = metadata._replace(resolution=Resolution(150, 120), placement=placement)
    assert pooled.metadata == wanted
    assert {key: getattr(pooled.info, key) for key in more} == more
    assert pool(made(noise("RGB"), "RGB"), how).metadata.resolution is None


@given(windows(), st.integers(5, 20), st.integers(5, 20))
def test_the_origin_is_the_middle_of_the_first_window_less_half_a_stride(
    window: Window, height: int, width: int
) -> None:
    place = colour.placement(window.axes((height, width)))
    for axis, extent in enumerate((height, width)):
        first = taps(extent, window, axis)[0]
        start = -sides(window)[axis][0]
        span = window.dilation[axis] * (window.size[axis] - 1) + 1
        assert first.inside[0] >= start
        middle = Fraction(2 * start + span, 2)
        assert place.origin[axis] == middle - Fraction(window.stride[axis], 2)
        assert place.scale[axis] == window.stride[axis]


# Fewer bits


@pytest.mark.parametrize("mode", SHALLOW)
def test_fewer_bits_are_the_rounded_fraction_of_the_full_scale(mode: str) -> None:
    picture, full = picture_of(mode, (9, 40)), maxval_of(mode)
    info = colour.rounded_info(picture.info)
    less = colour.rescaled(picture.array, full, info)
    assert (info.mode, info.maxval) == (SHALLOW[mode], 255)
    assert less.dtype == info.dtype == np.uint8
    assert less.shape == info.shape == picture.array.shape
    assert less.ravel().tolist() == [
        round(Fraction(value * 255, full)) for value in picture.array.ravel().tolist()
    ]


@pytest.mark.parametrize("maxval", [1, 2, 100, 254, 510, 1020, 65534, 65535])
def test_every_value_of_a_scale_is_rounded_to_nearest_ties_to_even(maxval: int) -> None:
    values = np.arange(maxval + 1, dtype=np.uint16 if maxval > 255 else np.uint8)[None]
    info = colour.rounded_info(noisy("I;16").info)
    less = colour.rescaled(values, maxval, info)[0]
    assert less.tolist() == [round(Fraction(value * 255, maxval)) for value in range(maxval + 1)]


@pytest.mark.parametrize("bits", [*range(2, 8), *range(9, 16)])
def test_other_numbers_of_bits_are_widened_to_nearest_and_keep_all_values(bits: int) -> None:
    maxval, wider = (1 << bits) - 1, 255 if bits < 8 else 65535
    values = np.arange(maxval + 1, dtype=np.uint16 if bits > 8 else np.uint8)[None]
    info = colour.widened_info(info_of(values, "L;M", maxval))
    assert info is not None
    assert (info.mode, info.maxval) == ("L" if bits < 8 else "I;16", wider)
    more = colour.rescaled(values, maxval, info)[0]
    assert more.dtype == info.dtype
    assert more.tolist() == [round(Fraction(one * wider, maxval)) for one in range(maxval + 1)]
    assert len({*more.tolist()}) == maxval + 1
    assert colour.widened_info(info_of(values, "L;M", maxval - 1)) is None


# Thin pictures


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_thin_pictures_are_pooled_along_their_length(mode: str, method: str) -> None:
    for shape in ((1, 1), (1, 7), (7, 1)):
        rows, columns = (min(extent, 3) for extent in shape)
        picture, how = picture_of(mode, shape), work(method, (rows, columns))
        pooled = pool(picture, how).array
        assert pooled.shape[:2] == (shape[0] // rows, shape[1] // columns)
        if mode in FULL:
            np.testing.assert_array_equal(pooled, oracle(picture, how))
        elif method in ("max", "min"):
            first = getattr(picture.array[:rows, :columns], method)(axis=(0, 1))
            np.testing.assert_array_equal(pooled[0, 0], first)


# Bands


GEOMETRIES: list[dict[str, Any]] = [
    {"size": 2},
    {"size": (5, 3), "stride": (2, 1), "padding": ((3, 1), (0, 2))},
    {"size": 3, "stride": 4, "padding": 2, "ceil_mode": True},
    {"size": (3, 2), "stride": 1, "padding": "same", "dilation": (3, 1)},
    {"size": (31, 40), "stride": 1},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize(
    "choice",
    [
        {"method": "max"},
        {"method": "min", "alpha": "straight"},
        {"method": "avg"},
        {"method": "avg", "count_include_pad": True},
        {"method": "avg", "divisor_override": 7, "alpha": "straight"},
        {"method": "avg", "linear": True},
    ],
    ids=str,
)
def test_a_picture_pooled_band_by_band_is_the_same(
    geometry: dict[str, Any], mode: str, choice: dict[str, Any]
) -> None:
    own = dict(choice)
    if not TITLES[mode].is_srgb:
        own.pop("linear", None)
    method, picture = own.pop("method"), made(noise(mode, (40, 41)), mode)
    how = work(method, Window.of(**geometry), **own)
    wanted = pool(picture, how, band_bytes=1 << 30)
    for band_bytes, band_spans in ((1, 1), (2000, 1), (1, 2)):
        found = pool(picture, how, band_bytes=band_bytes, band_spans=band_spans)
        assert found.info == wanted.info
        if picture.array.dtype.kind == "f" or "linear" in own:
            np.testing.assert_allclose(found.array, wanted.array, rtol=1e-6)
        else:
            np.testing.assert_array_equal(found.array, wanted.array)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "RGB;16"])
@pytest.mark.parametrize("method", BY_CHANNEL)
def test_a_palette_is_applied_before_its_colours_are_pooled(mode: str, method: str) -> None:
    palette, indices = noise(mode, (1, 256), seed=2)[0], noise("L", (20, 13), seed=3)
    picture = made(palette[indices], mode)
    paletted = Picture(indices, picture.info._replace(palette=palette))
    how = work(method, 3, stride=2, padding=1)
    found, wanted = pool(paletted, how, band_bytes=1, band_spans=1), pool(picture, how)
    assert found.info == wanted.info
    np.testing.assert_array_equal(found.array, wanted.array)


@pytest.mark.parametrize("spans", [1, 8])
def test_rows_are_read_from_top_to_bottom_and_no_more_than_windows_overlap(spans: int) -> None:
    picture, how, asked = made(noise("L", (97, 5)), "L"), work("max", 3, stride=2), []

    def read(start: int, stop: int) -> NDArray[Any]:
        asked.append((start, stop))
        return picture.array[start:stop]

    axes = how.window.axes((97, 5))
    bands = colour.pooled_bands(picture.info, read, axes, how.method, how.pixels, 1, spans)
    assert sum(len(band) for band in bands) == 48
    assert asked[0][0] == 0
    assert asked[-1][1] == 97
    for (_, stop), (start, _) in pairwise(asked):
        assert start == stop - 1
    assert max(stop - start for start, stop in asked) <= max(3 * spans, 3)
