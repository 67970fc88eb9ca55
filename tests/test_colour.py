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
from poolcli.colour import Alpha, Colour
from poolcli.engine.window import Window
from poolcli.picture import MODES as TITLES
from poolcli.picture import Encoding, Metadata, Picture, Placement
from tests.colour_oracle import (
    ALPHAS,
    FULL,
    METHODS,
    VISIBLE,
    oracle,
    picture_of,
    result,
    sides,
    taps,
)
from tests.jobs import pool, work
from tests.pictures import MODES, dtype_of, maxval_of, noise, whole_shape
from tests.pictures import picture as made

MODERATE = settings(deadline=None, max_examples=50)
ANY_METHOD = pytest.mark.parametrize("method", METHODS)
MODES_UNDER_ALPHA = pytest.mark.parametrize(
    ("mode", "alpha"),
    [(mode, alpha) for mode in MODES for alpha in ALPHAS if mode in FULL or alpha == "weighted"],
)
ANY_ALPHA = pytest.mark.parametrize("alpha", ALPHAS)


# What is drawn


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """A window of up to 3×3 taps with any padding that leaves it a window."""

    def pair(least: int, most: int) -> tuple[int, int]:
        return draw(st.tuples(st.integers(least, most), st.integers(least, most)))

    size, stride, dilation = pair(1, 3), pair(1, 3), pair(1, 2)
    reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    return Window.of(size, stride, (pair(0, reach[0]), pair(0, reach[1])), dilation)


def arrays(mode: str) -> st.SearchStrategy[NDArray[Any]]:
    """Small pictures with many transparent, opaque and nearly transparent pixels."""
    extents, full = st.integers(1, 5), FULL[mode]
    value = st.sampled_from((0, 1, 2, 3, full // 2, full // 2 + 1, full - 1, full))
    return st.tuples(extents, extents).flatmap(
        lambda shape: hnp.arrays(
            dtype_of(mode),
            whole_shape(mode, shape),
            elements=value | st.integers(0, full),
            fill=st.nothing(),
        )
    )


def pictures() -> st.SearchStrategy[Picture]:
    """Pictures with alpha."""
    return st.sampled_from(tuple(FULL)).flatmap(
        lambda mode: arrays(mode).map(lambda array: made(array, mode))
    )


def fits(picture: Picture, window: Window) -> bool:
    """Whether there is a window, and a pixel of the picture in each."""
    both = [taps(picture.array.shape[axis], window, axis) for axis in (0, 1)]
    return all(one and all(each.inside for each in one) for one in both)


# Against the oracle


@MODERATE
@given(pictures(), windows(), st.sampled_from(ALPHAS), st.booleans(), st.integers(0, 12))
def test_an_average_under_alpha_is_the_rounded_fraction(
    picture: Picture, window: Window, alpha: Alpha, count_include_pad: bool, override: int
) -> None:
    assume(fits(picture, window))
    how = work(
        "avg",
        window,
        count_include_pad=count_include_pad,
        divisor_override=override or None,
        alpha=alpha,
    )
    np.testing.assert_array_equal(pool(picture, how).array, oracle(picture, how))


@MODERATE
@given(pictures(), windows(), st.sampled_from(ALPHAS), st.sampled_from(("max", "min")))
def test_an_extreme_under_alpha_is_that_of_the_pixels_that_can_be_seen(
    picture: Picture, window: Window, alpha: Alpha, method: str
) -> None:
    assume(fits(picture, window))
    how = work(method, window, alpha=alpha)
    np.testing.assert_array_equal(pool(picture, how).array, oracle(picture, how))


@MODERATE
@given(
    pictures(),
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
    flat = pool(picture, how)
    wanted = oracle(picture, how)
    grey, colour = {255: ("L", "RGB"), 65535: ("I;16", "RGB;16")}[picture.info.maxval]
    assert flat.info.mode == (grey if wanted.shape[2] == 1 else colour)
    np.testing.assert_array_equal(flat.array, wanted[..., 0] if flat.info.mode == grey else wanted)


# Alpha, by example


def test_a_faint_constant_colour_stays_that_colour() -> None:
    faint = [[(200, 100, 50, 3)] * 4] * 4
    assert result(faint, work("avg")) == [[[200, 100, 50, 3]] * 2] * 2


def test_a_pixel_that_cannot_be_seen_lends_no_colour() -> None:
    pixels = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
    assert result(pixels, work("avg", (1, 2))) == [[[10, 20, 30, 128]]]
    assert result(pixels, work("max", (1, 2))) == [[[10, 20, 30, 255]]]
    assert result(pixels, work("min", (1, 2))) == [[[10, 20, 30, 0]]]


def test_the_faintest_pixel_that_can_be_seen_lends_its_whole_colour_to_an_extreme() -> None:
    pixels = [[(10, 20, 30, 255), (5, 250, 30, 1)]]
    assert result(pixels, work("max", (1, 2))) == [[[10, 250, 30, 255]]]
    assert result(pixels, work("min", (1, 2))) == [[[5, 20, 30, 1]]]


def test_straight_alpha_is_one_more_channel() -> None:
    pixels = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
    assert result(pixels, work("avg", (1, 2), alpha="straight")) == [[[130, 135, 140, 128]]]
    assert result(pixels, work("max", (1, 2), alpha="straight")) == [[[250, 250, 250, 255]]]
    assert result(pixels, work("min", (1, 2), alpha="straight")) == [[[10, 20, 30, 0]]]


@pytest.mark.parametrize(("method", "colour"), [("avg", 15), ("max", 20), ("min", 10)])
def test_where_nothing_can_be_seen_the_colours_are_pooled_straight(
    method: str, colour: int
) -> None:
    assert result([[(10, 0), (20, 0)]], work(method, (1, 2))) == [[[colour, 0]]]


def test_an_alpha_that_rounds_to_0_keeps_its_colour() -> None:
    pixels = [[(200, 100, 50, 1), (9, 9, 9, 0), (9, 9, 9, 0)]]
    assert result(pixels, work("avg", (1, 3))) == [[[200, 100, 50, 0]]]


def test_colour_and_alpha_are_each_rounded_once_with_ties_to_even() -> None:
    assert result([[(1, 1), (2, 1)]], work("avg", (1, 2))) == [[[2, 1]]]
    assert result([[(2, 1), (3, 2)]], work("avg", (1, 2))) == [[[3, 2]]]
    assert result([[(4, 1), (5, 1)]], work("avg", (1, 2))) == [[[4, 1]]]


def test_padding_and_the_divisor_act_on_alpha_alone() -> None:
    pixels = [[(90, 60, 30, 100)]]
    padded = work("avg", 2, padding=((1, 0), (1, 0)), count_include_pad=True)
    assert result(pixels, padded) == [[[90, 60, 30, 25]]]
    assert result(pixels, work("avg", 1, divisor_override=2)) == [[[90, 60, 30, 50]]]


def test_under_straight_alpha_padding_and_the_divisor_act_on_every_channel() -> None:
    pixels = [[(90, 60, 30, 100)]]
    how = work("avg", 1, divisor_override=2, alpha="straight")
    assert result(pixels, how) == [[[45, 30, 15, 50]]]


@ANY_METHOD
def test_padding_never_enters_a_colour(method: str) -> None:
    how = work(method, 3, stride=1, padding=2)
    picture = made(np.full((4, 5, 4), (200, 100, 50, 3), np.uint8), "RGBA")
    assert (pool(picture, how).array == (200, 100, 50, 3)).all()


# Background, by example


@pytest.mark.parametrize(
    ("background", "mode", "pixel"),
    [
        ((255, 255, 255), "L", 205),
        ((0, 0, 0), "L", 50),
        ((255, 0, 10), "RGB", [205, 50, 56]),
    ],
)
def test_grey_stays_grey_on_a_grey_background_only(
    background: Colour, mode: str, pixel: object
) -> None:
    picture = made(np.full((2, 2, 2), (128, 100), np.uint8), "LA")
    flat = pool(picture, work("avg", background=background))
    assert flat.info.mode == mode
    assert flat.array[0, 0].tolist() == pixel


def test_a_colour_on_a_grey_background_stays_a_colour() -> None:
    picture = made(np.full((2, 2, 4), (255, 0, 100, 0), np.uint8), "RGBA")
    flat = pool(picture, work("max", background=(7, 7, 7)))
    assert (flat.info.mode, flat.array.tolist()) == ("RGB", [[[7, 7, 7]]])


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in FULL])
def test_a_picture_without_alpha_has_no_background(mode: str) -> None:
    plain, on_red = work("max"), work("max", background=(255, 0, 0))
    picture = picture_of(mode)
    assert pool(picture, on_red).info.mode == mode
    np.testing.assert_array_equal(pool(picture, on_red).array, pool(picture, plain).array)


# Modes


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_the_mode_stays_but_for_an_average_of_two_values(mode: str, method: str) -> None:
    how = work(method)
    wanted = "L" if (mode, method) == ("1", "avg") else mode
    pooled = pool(picture_of(mode), how)
    assert pooled.info.mode == wanted
    assert pooled.array.dtype == pooled.info.dtype == dtype_of(wanted)
    assert pooled.info.maxval == (255 if wanted == "L" else maxval_of(wanted))
    assert pooled.array.shape == pooled.info.shape == whole_shape(mode, (2, 3))
    assert pooled.info.stored == picture_of(mode).info.stored


def test_an_average_of_black_and_white_is_grey() -> None:
    picture = made(np.array([[True, False], [False, False]]), "1")
    grey = pool(picture, work("avg"))
    assert (grey.info.mode, grey.array.tolist()) == ("L", [[64]])


@pytest.mark.parametrize(
    ("background", "modes"),
    [
        (None, {mode: mode for mode in FULL}),
        ((9, 9, 9), VISIBLE),
        ((9, 9, 8), {**VISIBLE, "LA": "RGB", "LA;16": "RGB;16"}),
    ],
)
def test_the_mode_is_known_before_the_pixels_are(
    background: Colour | None, modes: dict[str, str]
) -> None:
    for method in METHODS:
        how = work(method, background=background)
        for mode in modes:
            pooled = pool(picture_of(mode), how)
            assert pooled.info.mode == modes[mode]
            assert pooled.info.shape == pooled.array.shape
            assert pooled.info.dtype == pooled.array.dtype


# Laws


@ANY_ALPHA
@ANY_METHOD
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "1"])
def test_size_1_is_the_identity(mode: str, method: str, alpha: Alpha) -> None:
    picture = picture_of(mode)
    pooled = pool(picture, work(method, 1, alpha=alpha))
    np.testing.assert_array_equal(pooled.array, picture.array)
    assert pooled.array.dtype == picture.array.dtype


@ANY_METHOD
def test_size_1_is_the_identity_for_black_and_white_too(method: str) -> None:
    picture = picture_of("1")
    white = 255 if method == "avg" else True
    pooled = pool(picture, work(method, 1))
    np.testing.assert_array_equal(pooled.array, picture.array * white)


@MODES_UNDER_ALPHA
@ANY_METHOD
def test_a_constant_picture_stays_constant(mode: str, method: str, alpha: Alpha) -> None:
    first = picture_of(mode, seed=9).array[:1, :1]
    constant = np.tile(first, (7, 8, 1) if first.ndim == 3 else (7, 8))
    how = work(method, (3, 2), stride=2, padding=1, alpha=alpha)
    pooled = pool(made(constant, mode), how).array
    white = 255 if (mode, method) == ("1", "avg") else 1
    np.testing.assert_array_equal(pooled, np.broadcast_to(first * white, pooled.shape))


@ANY_ALPHA
@ANY_METHOD
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBA;16"])
def test_colour_channels_may_change_places(mode: str, method: str, alpha: Alpha) -> None:
    picture, how = picture_of(mode), work(method, 3, stride=2, padding=1, alpha=alpha)
    pooled = pool(picture, how).array
    for order in permutations(range(3)):
        places = [*order, 3][: picture.array.shape[2]]
        turned = picture._replace(array=picture.array[..., places])
        np.testing.assert_array_equal(pool(turned, how).array, pooled[..., places])


@ANY_METHOD
def test_a_single_grey_is_one_of_three_equal_colours(method: str) -> None:
    grey = picture_of("LA")
    colour = made(grey.array[..., [0, 0, 0, 1]], "RGBA")
    how = work(method, 3, stride=1)
    np.testing.assert_array_equal(pool(colour, how).array, pool(grey, how).array[..., [0, 0, 0, 1]])


@ANY_METHOD
def test_an_opaque_picture_is_pooled_as_if_it_had_no_alpha(method: str) -> None:
    opaque = picture_of("RGB")
    full = np.full((*opaque.array.shape[:2], 1), 255, np.uint8)
    covered = made(np.concatenate((opaque.array, full), axis=-1), "RGBA")
    how = work(method, 3, stride=2)
    np.testing.assert_array_equal(pool(covered, how).array[..., :3], pool(opaque, how).array)


@MODES_UNDER_ALPHA
@ANY_METHOD
def test_the_picture_given_is_not_touched(mode: str, method: str, alpha: Alpha) -> None:
    picture = picture_of(mode)
    before = picture.array.copy()
    picture.array.flags.writeable = False
    how = work(method, 1, alpha=alpha, background=(1, 2, 3))
    pooled = pool(picture, how)
    np.testing.assert_array_equal(picture.array, before)
    assert picture.info.mode == mode
    assert not np.shares_memory(pooled.array, picture.array)


# What stays beside the pixels


def test_the_resolution_is_divided_by_the_stride_and_not_by_the_size() -> None:
    metadata = Metadata(icc_profile=b"profile", exif=b"II*\0", dpi=(300, 120), plays=3)
    more = {"encoding": Encoding("jpeg", lossy=True), "duration": Fraction(40), "notes": ("a",)}
    picture = made(noise("RGB"), "RGB", metadata, **more)
    pooled = pool(picture, work("max", 3, stride=(2, 1)))
    assert pooled.metadata == metadata._replace(dpi=(150, 120))
    assert {key: getattr(pooled.info, key) for key in more} == more


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_resolution_that_is_not_stated_stays_unstated(down: int, across: int) -> None:
    place = Placement((down, across), (0, 0))
    assert Metadata().pooled(place).dpi is None
    assert Metadata(dpi=(down, across)).pooled(place).dpi == (1, 1)


@settings(deadline=None)
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


SHALLOW = {"I;16": "L", "LA;16": "LA", "RGB;16": "RGB", "RGBA;16": "RGBA"}
SHALLOW |= {"L;M": "L", "RGB;M": "RGB"}


@pytest.mark.parametrize("mode", SHALLOW)
def test_fewer_bits_are_the_rounded_fraction_of_the_full_scale(mode: str) -> None:
    picture = picture_of(mode, (9, 40))
    less, info = colour.rounded(picture.array, maxval_of(mode)), colour.rounded_info(picture.info)
    full = maxval_of(mode)
    wanted = [round(Fraction(value * 255, full)) for value in picture.array.ravel().tolist()]
    assert (info.mode, info.maxval) == (SHALLOW[mode], 255)
    assert less.dtype == info.dtype == np.uint8
    assert less.shape == info.shape == picture.array.shape
    assert less.ravel().tolist() == wanted


@pytest.mark.parametrize("maxval", [1, 2, 100, 254, 510, 1020, 65534, 65535])
def test_every_value_of_a_scale_is_rounded_to_nearest_ties_to_even(maxval: int) -> None:
    values = np.arange(maxval + 1, dtype=np.uint16 if maxval > 255 else np.uint8)[None]
    less = colour.rounded(values, maxval)[0]
    assert less.tolist() == [round(Fraction(value * 255, maxval)) for value in range(maxval + 1)]


# Thin pictures


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_thin_pictures_are_pooled_along_their_length(mode: str, method: str) -> None:
    for shape in ((1, 1), (1, 7), (7, 1)):
        assert_pooled_along(mode, shape, method)


def assert_pooled_along(mode: str, shape: tuple[int, int], method: str) -> None:
    size = (min(shape[0], 3), min(shape[1], 3))
    how = work(method, size)
    pooled = pool(picture_of(mode, shape), how)
    assert pooled.array.shape[:2] == (shape[0] // size[0], shape[1] // size[1])
    if mode in FULL:
        np.testing.assert_array_equal(pooled.array, oracle(picture_of(mode, shape), how))
    elif method != "avg":
        whole = picture_of(mode, shape).array
        first = getattr(whole[: size[0], : size[1]], method)(axis=(0, 1))
        np.testing.assert_array_equal(pooled.array[0, 0], first)


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
@ANY_METHOD
def test_a_palette_is_applied_before_its_colours_are_pooled(mode: str, method: str) -> None:
    palette = noise(mode, (1, 256), seed=2)[0]
    indices = noise("L", (20, 13), seed=3)
    picture = made(palette[indices], mode)
    paletted = Picture(indices, picture.info._replace(palette=palette))
    how = work(method, 3, stride=2, padding=1)
    found = pool(paletted, how, band_bytes=1, band_spans=1)
    wanted = pool(picture, how)
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
