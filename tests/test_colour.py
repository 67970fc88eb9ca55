"""Pictures pooled: colour under alpha, on a background, mode by mode, against exact fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from poolcli import colour
from poolcli.codec import CHANNELS, DTYPES, Decoded, Picture, modes
from poolcli.codec.headers import Storage
from poolcli.codec.metadata import Metadata
from poolcli.colour import Alpha, Choices, Colour, Method, pool, shallow
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import MODE_NAMES
from tests.pictures import MODES, dtype_of, maxval_of, noise, noisy

METHODS: tuple[Method, ...] = get_args(Method)
ALPHAS: tuple[Alpha, ...] = get_args(Alpha)
FULL = {"LA": 255, "RGBA": 255, "LA;16": 65535, "RGBA;16": 65535}
VISIBLE = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}
Pixel = tuple[int, ...]

MODERATE = settings(deadline=None, max_examples=50)
ANY_METHOD = pytest.mark.parametrize("method", METHODS)
MODES_UNDER_ALPHA = pytest.mark.parametrize(
    ("mode", "alpha"),
    [(mode, alpha) for mode in MODES for alpha in ALPHAS if mode in FULL or alpha == "weighted"],
)
ANY_ALPHA = pytest.mark.parametrize("alpha", ALPHAS)


# An oracle of its own geometry, over lists of pixels


class Taps(NamedTuple):
    """One window along one axis: the pixels it reads, and how many taps count with padding."""

    inside: list[int]
    padded: int


def taps(extent: int, window: Window, axis: int) -> list[Taps]:
    """Every window along an axis, padding in numbers."""
    (before, after), size = sides(window)[axis], window.size[axis]
    stride, dilation = window.stride[axis], window.dilation[axis]
    span = dilation * (size - 1) + 1
    starts = range(-before, extent + after - span + 1, stride)
    reads = [range(start, start + span, dilation) for start in starts]
    return [Taps([at for at in one if 0 <= at < extent], len(one)) for one in reads]


def sides(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    assert isinstance(window.padding, tuple)
    rows, columns = window.padding
    assert isinstance(rows, tuple)
    assert isinstance(columns, tuple)
    return rows, columns


def oracle(picture: Picture, choices: Choices) -> NDArray[Any]:
    """Every window of an (H, W, C) picture with alpha, by fractions."""
    array, full = picture.array, FULL[picture.mode]
    pixels = array.tolist()
    rows = taps(array.shape[0], choices.window, 0)
    columns = taps(array.shape[1], choices.window, 1)
    return np.array(
        [
            [
                pooled(
                    [tuple(pixels[y][x]) for y in row.inside for x in column.inside],
                    row.padded * column.padded,
                    choices,
                    full,
                )
                for column in columns
            ]
            for row in rows
        ],
        array.dtype,
    )


def pooled(window: list[Pixel], padded: int, choices: Choices, full: int) -> Pixel:
    """One window: its pixels on the picture, and the taps that count with the padding."""
    if choices.method == "avg":
        result = averaged(window, padded, choices, full)
    else:
        result = extreme(window, choices)
    return result if choices.background is None else flattened(result, choices.background, full)


def averaged(window: list[Pixel], padded: int, choices: Choices, full: int) -> Pixel:
    divisor = choices.divisor_override or (padded if choices.count_include_pad else len(window))
    *colours, alphas = zip(*window, strict=True)
    alpha = min(rounded(sum(alphas), divisor), full)
    if choices.alpha == "straight":
        return (*(min(rounded(sum(one), divisor), full) for one in colours), alpha)
    weights = alphas if any(alphas) else (1,) * len(window)
    sums = [sum(a * c for a, c in zip(weights, one, strict=True)) for one in colours]
    return (*(rounded(one, sum(weights)) for one in sums), alpha)


def rounded(dividend: int, divisor: int) -> int:
    """The quotient to nearest, ties to even."""
    return round(Fraction(dividend, divisor))


def extreme(window: list[Pixel], choices: Choices) -> Pixel:
    pick = max if choices.method == "max" else min
    seen = window
    if choices.alpha == "weighted":
        seen = [one for one in window if one[-1]] or window
    *colours, _ = zip(*seen, strict=True)
    return (*map(pick, colours), pick(one[-1] for one in window))


def flattened(pixel: Pixel, background: Colour, full: int) -> Pixel:
    *colour, alpha = pixel
    under = [value * full // 255 for value in background]
    if len(colour) == 1 and len(set(background)) == 1:
        under = under[:1]
    over = colour * len(under) if len(colour) == 1 else colour
    mixed = zip(over, under, strict=True)
    return tuple(rounded(alpha * c + (full - alpha) * b, full) for c, b in mixed)


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
            DTYPES[mode],
            (*shape, CHANNELS[mode]),
            elements=value | st.integers(0, full),
            fill=st.nothing(),
        )
    )


def pictures() -> st.SearchStrategy[Picture]:
    """Pictures with alpha."""
    return st.sampled_from(tuple(FULL)).flatmap(
        lambda mode: arrays(mode).map(lambda array: Picture(array, mode, FULL[mode]))
    )


def fits(picture: Picture, window: Window) -> bool:
    """Whether there is a window, and a pixel of the picture in each."""
    both = [taps(picture.array.shape[axis], window, axis) for axis in (0, 1)]
    return all(one and all(each.inside for each in one) for one in both)


def picture_of(mode: str, shape: tuple[int, int] = (5, 6), seed: int = 1) -> Picture:
    """Noise in any mode."""
    return noisy(mode, shape, seed)


def choices_of(method: Method, size: Any = 2, stride: Any = None, **more: Any) -> Choices:
    padding = more.pop("padding", 0)
    return Choices(method, Window.of(size, stride, padding), **more)


def result(pixels: Sequence[Sequence[Pixel]], choices: Choices) -> Any:
    """The pooled pixels as lists."""
    mode = {2: "LA", 4: "RGBA"}[len(pixels[0][0])]
    return pool(Picture(np.array(pixels, np.uint8), mode), choices).array.tolist()


# Against the oracle


@MODERATE
@given(pictures(), windows(), st.sampled_from(ALPHAS), st.booleans(), st.integers(0, 12))
def test_an_average_under_alpha_is_the_rounded_fraction(
    picture: Picture, window: Window, alpha: Alpha, count_include_pad: bool, override: int
) -> None:
    assume(fits(picture, window))
    choices = Choices(
        "avg",
        window,
        count_include_pad=count_include_pad,
        divisor_override=override or None,
        alpha=alpha,
    )
    np.testing.assert_array_equal(pool(picture, choices).array, oracle(picture, choices))


@MODERATE
@given(pictures(), windows(), st.sampled_from(ALPHAS), st.sampled_from(("max", "min")))
def test_an_extreme_under_alpha_is_that_of_the_pixels_that_can_be_seen(
    picture: Picture, window: Window, alpha: Alpha, method: Method
) -> None:
    assume(fits(picture, window))
    choices = Choices(method, window, alpha=alpha)
    np.testing.assert_array_equal(pool(picture, choices).array, oracle(picture, choices))


@MODERATE
@given(
    pictures(),
    windows(),
    st.sampled_from(METHODS),
    st.sampled_from(ALPHAS),
    st.sampled_from(((255, 255, 255), (0, 0, 0), (7, 7, 7), (255, 136, 0), (1, 2, 3))),
)
def test_a_background_shows_through_after_pooling(
    picture: Picture, window: Window, method: Method, alpha: Alpha, background: Colour
) -> None:
    assume(fits(picture, window))
    choices = Choices(method, window, alpha=alpha, background=background)
    flat = pool(picture, choices)
    wanted = oracle(picture, choices)
    grey, colour = {255: ("L", "RGB"), 65535: ("I;16", "RGB;16")}[picture.maxval]
    assert flat.mode == (grey if wanted.shape[2] == 1 else colour)
    np.testing.assert_array_equal(flat.array, wanted[..., 0] if flat.mode == grey else wanted)


# Alpha, by example


def test_a_faint_constant_colour_stays_that_colour() -> None:
    faint = [[(200, 100, 50, 3)] * 4] * 4
    assert result(faint, choices_of("avg")) == [[[200, 100, 50, 3]] * 2] * 2


def test_a_pixel_that_cannot_be_seen_lends_no_colour() -> None:
    pixels = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
    assert result(pixels, choices_of("avg", (1, 2))) == [[[10, 20, 30, 128]]]
    assert result(pixels, choices_of("max", (1, 2))) == [[[10, 20, 30, 255]]]
    assert result(pixels, choices_of("min", (1, 2))) == [[[10, 20, 30, 0]]]


def test_the_faintest_pixel_that_can_be_seen_lends_its_whole_colour_to_an_extreme() -> None:
    pixels = [[(10, 20, 30, 255), (5, 250, 30, 1)]]
    assert result(pixels, choices_of("max", (1, 2))) == [[[10, 250, 30, 255]]]
    assert result(pixels, choices_of("min", (1, 2))) == [[[5, 20, 30, 1]]]


def test_straight_alpha_is_one_more_channel() -> None:
    pixels = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
    assert result(pixels, choices_of("avg", (1, 2), alpha="straight")) == [[[130, 135, 140, 128]]]
    assert result(pixels, choices_of("max", (1, 2), alpha="straight")) == [[[250, 250, 250, 255]]]
    assert result(pixels, choices_of("min", (1, 2), alpha="straight")) == [[[10, 20, 30, 0]]]


@pytest.mark.parametrize(("method", "colour"), [("avg", 15), ("max", 20), ("min", 10)])
def test_where_nothing_can_be_seen_the_colours_are_pooled_straight(
    method: Method, colour: int
) -> None:
    assert result([[(10, 0), (20, 0)]], choices_of(method, (1, 2))) == [[[colour, 0]]]


def test_an_alpha_that_rounds_to_0_keeps_its_colour() -> None:
    pixels = [[(200, 100, 50, 1), (9, 9, 9, 0), (9, 9, 9, 0)]]
    assert result(pixels, choices_of("avg", (1, 3))) == [[[200, 100, 50, 0]]]


def test_colour_and_alpha_are_each_rounded_once_with_ties_to_even() -> None:
    assert result([[(1, 1), (2, 1)]], choices_of("avg", (1, 2))) == [[[2, 1]]]
    assert result([[(2, 1), (3, 2)]], choices_of("avg", (1, 2))) == [[[3, 2]]]
    assert result([[(4, 1), (5, 1)]], choices_of("avg", (1, 2))) == [[[4, 1]]]


def test_padding_and_the_divisor_act_on_alpha_alone() -> None:
    pixels = [[(90, 60, 30, 100)]]
    padded = choices_of("avg", 2, padding=((1, 0), (1, 0)), count_include_pad=True)
    assert result(pixels, padded) == [[[90, 60, 30, 25]]]
    assert result(pixels, choices_of("avg", 1, divisor_override=2)) == [[[90, 60, 30, 50]]]


def test_under_straight_alpha_padding_and_the_divisor_act_on_every_channel() -> None:
    pixels = [[(90, 60, 30, 100)]]
    choices = choices_of("avg", 1, divisor_override=2, alpha="straight")
    assert result(pixels, choices) == [[[45, 30, 15, 50]]]


@ANY_METHOD
def test_padding_never_enters_a_colour(method: Method) -> None:
    choices = choices_of(method, 3, 1, padding=2)
    picture = Picture(np.full((4, 5, 4), (200, 100, 50, 3), np.uint8), "RGBA")
    assert (pool(picture, choices).array == (200, 100, 50, 3)).all()


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
    picture = Picture(np.full((2, 2, 2), (128, 100), np.uint8), "LA")
    flat = pool(picture, choices_of("avg", background=background))
    assert flat.mode == mode
    assert flat.array[0, 0].tolist() == pixel


def test_a_colour_on_a_grey_background_stays_a_colour() -> None:
    picture = Picture(np.full((2, 2, 4), (255, 0, 100, 0), np.uint8), "RGBA")
    flat = pool(picture, choices_of("max", background=(7, 7, 7)))
    assert (flat.mode, flat.array.tolist()) == ("RGB", [[[7, 7, 7]]])


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in FULL])
def test_a_picture_without_alpha_has_no_background(mode: str) -> None:
    plain, on_red = choices_of("max"), choices_of("max", background=(255, 0, 0))
    picture = picture_of(mode)
    assert pool(picture, on_red).mode == mode
    np.testing.assert_array_equal(pool(picture, on_red).array, pool(picture, plain).array)


# Modes


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_the_mode_stays_but_for_an_average_of_two_values(mode: str, method: Method) -> None:
    choices = choices_of(method)
    wanted = "L" if (mode, method) == ("1", "avg") else mode
    pooled = pool(picture_of(mode), choices)
    assert choices.mode(mode) == pooled.mode == wanted
    assert pooled.array.dtype == dtype_of(wanted)
    assert pooled.maxval == (255 if wanted == "L" else maxval_of(wanted))
    assert pooled.array.shape == (2, 3, *((CHANNELS[mode],) if mode in CHANNELS else ()))


def test_an_average_of_black_and_white_is_grey() -> None:
    picture = Picture(np.array([[True, False], [False, False]]), "1")
    grey = pool(picture, choices_of("avg"))
    assert (grey.mode, grey.array.tolist()) == ("L", [[64]])


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
        choices = choices_of(method, background=background)
        for mode in modes:
            assert choices.mode(mode) == modes[mode] == pool(picture_of(mode), choices).mode


# Laws


@ANY_ALPHA
@ANY_METHOD
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "1"])
def test_size_1_is_the_identity(mode: str, method: Method, alpha: Alpha) -> None:
    picture = picture_of(mode)
    pooled = pool(picture, choices_of(method, 1, alpha=alpha))
    np.testing.assert_array_equal(pooled.array, picture.array)
    assert pooled.array.dtype == picture.array.dtype


@ANY_METHOD
def test_size_1_is_the_identity_for_black_and_white_too(method: Method) -> None:
    picture = picture_of("1")
    white = 255 if method == "avg" else True
    pooled = pool(picture, choices_of(method, 1))
    np.testing.assert_array_equal(pooled.array, picture.array * white)


@MODES_UNDER_ALPHA
@ANY_METHOD
def test_a_constant_picture_stays_constant(mode: str, method: Method, alpha: Alpha) -> None:
    first = picture_of(mode, seed=9).array[:1, :1]
    constant = np.tile(first, (7, 8, 1) if first.ndim == 3 else (7, 8))
    choices = choices_of(method, (3, 2), 2, padding=1, alpha=alpha)
    pooled = pool(Picture(constant, mode, maxval_of(mode)), choices).array
    white = 255 if (mode, method) == ("1", "avg") else 1
    np.testing.assert_array_equal(pooled, np.broadcast_to(first * white, pooled.shape))


@ANY_ALPHA
@ANY_METHOD
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBA;16"])
def test_colour_channels_may_change_places(mode: str, method: Method, alpha: Alpha) -> None:
    picture, choices = picture_of(mode), choices_of(method, 3, 2, padding=1, alpha=alpha)
    pooled = pool(picture, choices).array
    for order in permutations(range(3)):
        places = [*order, 3][: CHANNELS[mode]]
        turned = picture._replace(array=picture.array[..., places])
        np.testing.assert_array_equal(pool(turned, choices).array, pooled[..., places])


@ANY_METHOD
def test_a_single_grey_is_one_of_three_equal_colours(method: Method) -> None:
    grey = picture_of("LA")
    colour = Picture(grey.array[..., [0, 0, 0, 1]], "RGBA")
    choices = choices_of(method, 3, 1)
    np.testing.assert_array_equal(
        pool(colour, choices).array, pool(grey, choices).array[..., [0, 0, 0, 1]]
    )


@ANY_METHOD
def test_an_opaque_picture_is_pooled_as_if_it_had_no_alpha(method: Method) -> None:
    opaque = picture_of("RGB")
    full = np.full((*opaque.array.shape[:2], 1), 255, np.uint8)
    covered = Picture(np.concatenate((opaque.array, full), axis=-1), "RGBA")
    choices = choices_of(method, 3, 2)
    np.testing.assert_array_equal(
        pool(covered, choices).array[..., :3], pool(opaque, choices).array
    )


@MODES_UNDER_ALPHA
@ANY_METHOD
def test_the_picture_given_is_not_touched(mode: str, method: Method, alpha: Alpha) -> None:
    picture = picture_of(mode)
    before = picture.array.copy()
    picture.array.flags.writeable = False
    choices = choices_of(method, 1, alpha=alpha, background=(1, 2, 3))
    pooled = pool(picture, choices)
    np.testing.assert_array_equal(picture.array, before)
    assert picture.mode == mode
    assert not np.shares_memory(pooled.array, picture.array)


# What stays beside the pixels


def test_the_resolution_is_divided_by_the_stride_and_not_by_the_size() -> None:
    metadata = Metadata(icc_profile=b"profile", exif=Image.Exif(), dpi=(300, 120))
    source = Storage(lossy=True, jpeg_tables={"qtables": 1}, tiff_layout={"photometric": 2})
    picture = picture_of("RGB")._replace(metadata=metadata, source=source)
    pooled = pool(picture, choices_of("max", 3, (2, 1)))
    assert pooled.metadata == metadata._replace(dpi=(150, 120))
    assert pooled.source == source


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_resolution_that_is_not_stated_stays_unstated(down: int, across: int) -> None:
    assert Metadata().pooled((down, across)).dpi is None
    assert Metadata(dpi=(down, across)).pooled((down, across)).dpi == (1, 1)


# Fewer bits


SHALLOW = {"I;16": "L", "LA;16": "LA", "RGB;16": "RGB", "RGBA;16": "RGBA"}
SHALLOW |= {"L;M": "L", "RGB;M": "RGB"}


@pytest.mark.parametrize("mode", SHALLOW)
def test_fewer_bits_are_the_rounded_fraction_of_the_full_scale(mode: str) -> None:
    picture = picture_of(mode, (9, 40))
    less = shallow(picture)
    full = maxval_of(mode)
    wanted = [round(Fraction(value * 255, full)) for value in picture.array.ravel().tolist()]
    assert (less.mode, less.maxval) == (SHALLOW[mode], 255)
    assert less.array.dtype == np.uint8
    assert less.array.shape == picture.array.shape
    assert less.array.ravel().tolist() == wanted


@pytest.mark.parametrize("maxval", [1, 2, 100, 254, 510, 1020, 65534, 65535])
def test_every_value_of_a_scale_is_rounded_to_nearest_ties_to_even(maxval: int) -> None:
    values = np.arange(maxval + 1, dtype=np.uint16 if maxval > 255 else np.uint8)[None]
    less = shallow(Picture(values, "L;M", maxval)).array[0]
    assert less.tolist() == [round(Fraction(value * 255, maxval)) for value in range(maxval + 1)]


# Linear light

LINEAR = {"1": 255, "L": 255, "LA": 255, "RGB": 255, "RGBA": 255}
LINEAR |= {"I;16": 65535, "LA;16": 65535, "RGB;16": 65535, "RGBA;16": 65535}


def light(code: int, full: int) -> float:
    """IEC 61966-2-1, in Python's own floats."""
    value = code / full
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def code(mean: float, full: int) -> int:
    value = mean * 12.92 if mean <= 0.0031308 else 1.055 * mean ** (1 / 2.4) - 0.055
    return round(min(value, 1.0) * full)


def linear_oracle(picture: Picture, choices: Choices) -> NDArray[Any]:
    """Every window in linear light, summed exactly, channel by channel."""
    array, full = picture.array, LINEAR[picture.mode]
    array = array * np.uint8(255) if picture.mode == "1" else array
    shaped = array[..., None] if array.ndim == 2 else array
    alpha = shaped[..., -1].tolist() if picture.mode in FULL else None
    rows = taps(array.shape[0], choices.window, 0)
    columns = taps(array.shape[1], choices.window, 1)
    wanted = [
        [linear_window(shaped, alpha, row, column, choices, full) for column in columns]
        for row in rows
    ]
    return np.array(wanted, array.dtype).reshape(len(rows), len(columns), *array.shape[2:])


def linear_window(
    array: NDArray[Any], alpha: Any, row: Taps, column: Taps, choices: Choices, full: int
) -> list[int]:
    places = [(y, x) for y in row.inside for x in column.inside]
    padded = row.padded * column.padded
    divisor = choices.divisor_override or (padded if choices.count_include_pad else len(places))
    weights, weight = [1] * len(places), divisor
    if alpha is not None and choices.alpha == "weighted":
        seen = [alpha[y][x] for y, x in places]
        weights = seen if any(seen) else weights
        weight = sum(weights)
    found = []
    for channel in range(array.shape[2] - (alpha is not None)):
        values = [light(int(array[y, x, channel]), full) for y, x in places]
        total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
        found.append(code(total / weight, full))
    if alpha is not None:
        found.append(min(rounded(sum(alpha[y][x] for y, x in places), divisor), full))
    return found


def assert_nearly_equal(pooled: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Equal, but for one in a thousand whose fraction lies within rounding of a half."""
    error = np.abs(pooled.astype(int) - wanted.astype(int))
    assert error.max() <= 1
    assert (error > 0).sum() <= error.size // 1000


@ANY_ALPHA
@pytest.mark.parametrize(
    ("options", "padding"),
    [({}, 0), ({}, 1), ({"count_include_pad": True}, 1), ({"divisor_override": 3}, 1)],
    ids=["plain", "padded", "counting the padding", "divided by 3"],
)
@pytest.mark.parametrize("mode", LINEAR)
def test_linear_light_is_the_mean_of_decoded_values(
    mode: str, options: dict[str, Any], padding: int, alpha: Alpha
) -> None:
    picture = picture_of(mode, (8, 9), seed=3)
    if mode in FULL:
        picture.array[::3, ::2, -1] = 0
    sides = ((padding, padding), (padding, padding))
    choices = choices_of("avg", 3, 2, padding=sides, linear=True, alpha=alpha, **options)
    pooled = pool(picture, choices)
    assert pooled.mode == ("L" if mode == "1" else mode)
    assert_nearly_equal(pooled.array, linear_oracle(picture, choices))


@pytest.mark.parametrize(("mode", "linear", "plain"), [("L", 188, 128), ("I;16", 48192, 32768)])
def test_a_checkerboard_of_black_and_white_is_half_the_light(
    mode: str, linear: int, plain: int
) -> None:
    board = np.indices((6, 8)).sum(0) % 2 * maxval_of(mode)
    picture = Picture(board.astype(dtype_of(mode)), mode, maxval_of(mode))
    for is_linear, grey in ((True, linear), (False, plain)):
        pooled = pool(picture, choices_of("avg", linear=is_linear))
        np.testing.assert_array_equal(pooled.array, np.full((3, 4), grey))


def test_a_checkerboard_of_two_values_is_half_the_light() -> None:
    board = np.indices((6, 8)).sum(0) % 2 == 0
    pooled = pool(Picture(board, "1", 1), choices_of("avg", linear=True))
    assert (pooled.mode, pooled.array.tolist()) == ("L", [[188] * 4] * 3)


@pytest.mark.parametrize("mode", [mode for mode in LINEAR if mode != "1"])
def test_every_value_survives_linear_light(mode: str) -> None:
    full = maxval_of(mode)
    values = np.arange(full + 1).reshape(-1, 1).repeat(2, axis=1).astype(dtype_of(mode))
    array = values if mode not in CHANNELS else np.dstack([values] * CHANNELS[mode])
    pooled = pool(Picture(array, mode, full), choices_of("avg", (1, 2), linear=True))
    np.testing.assert_array_equal(pooled.array, array[:, :1])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "I", "F", "L;M", "RGB;M", "array"])
def test_linear_light_means_nothing_for_other_modes(mode: str) -> None:
    choices = choices_of("avg", linear=True)
    with pytest.raises(PoolError, match="--linear means nothing for") as refusal:
        choices.mode(mode)
    assert MODE_NAMES[mode] in refusal.value.message
    assert refusal.value.remedy
    if mode != "array":
        with pytest.raises(PoolError, match="--linear"):
            pool(picture_of(mode), choices)


def test_colour_that_cannot_be_seen_lends_no_light() -> None:
    pixels = [[(10, 20, 30, 255), (250, 250, 250, 0)]]
    assert result(pixels, choices_of("avg", (1, 2), linear=True)) == [[[10, 20, 30, 128]]]


# Thin pictures


@ANY_METHOD
@pytest.mark.parametrize("mode", MODES)
def test_thin_pictures_are_pooled_along_their_length(mode: str, method: Method) -> None:
    for shape in ((1, 1), (1, 7), (7, 1)):
        assert_pooled_along(mode, shape, method)


def assert_pooled_along(mode: str, shape: tuple[int, int], method: Method) -> None:
    size = (min(shape[0], 3), min(shape[1], 3))
    choices = choices_of(method, size)
    pooled = pool(picture_of(mode, shape), choices)
    assert pooled.array.shape[:2] == (shape[0] // size[0], shape[1] // size[1])
    if mode in FULL:
        np.testing.assert_array_equal(pooled.array, oracle(picture_of(mode, shape), choices))
    elif method != "avg":
        whole = picture_of(mode, shape).array
        first = getattr(whole[: size[0], : size[1]], method)(axis=(0, 1))
        np.testing.assert_array_equal(pooled.array[0, 0], first)


# Slabs


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
def test_a_picture_pooled_slab_by_slab_is_the_same(
    geometry: dict[str, Any], mode: str, choice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = Choices(window=Window.of(**geometry), **choice)
    choices = choices._replace(linear=choices.linear and mode in colour.LINEAR)
    array = noise(mode, (40, 41))
    bands = modes.Bands(modes.to_image(array, mode, mode), mode)
    decoded = Decoded(bands, mode, 255, Metadata(), Storage())
    wanted = pool(Picture(array, mode), choices)
    monkeypatch.setattr(colour, "SLAB_BYTES", 1)
    monkeypatch.setattr(colour, "SLAB_SPANS", 1)
    found = pool(decoded, choices)

    assert found.mode == wanted.mode
    assert found.array.dtype == wanted.array.dtype
    if array.dtype.kind == "f" or choices.linear:
        np.testing.assert_allclose(found.array, wanted.array, rtol=1e-6)
    else:
        np.testing.assert_array_equal(found.array, wanted.array)
