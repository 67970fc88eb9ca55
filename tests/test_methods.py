"""The methods: what each promises of modes and types, and averages of light."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from poolcli import methods
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.methods import Alpha
from poolcli.methods.avg import Average
from poolcli.methods.channels import ByChannel
from poolcli.picture import MODES as TITLES
from tests import oracle as independent
from tests.colour_oracle import (
    ALPHAS,
    FULL,
    LINEAR,
    METHODS,
    linear_oracle,
    picture_of,
)
from tests.jobs import pool, work
from tests.pictures import dtype_of, maxval_of, noise
from tests.pictures import picture as made

VALUES = {"--divisor-override": "3", "--quantile": "0.25"}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_frozen_value_that_can_be_sent_to_a_worker(name: str) -> None:
    method, same = methods.make(name), methods.make(name)
    assert method.name == name
    assert pickle.loads(pickle.dumps(method)) == method == same  # noqa: S301
    assert hash(method) == hash(same)
    with pytest.raises(AttributeError):
        method.name = "other"  # type: ignore[misc]
    assert not method.assumes_srgb


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("mode", TITLES)
def test_a_method_tells_mode_and_type_of_what_it_returns(name: str, mode: str) -> None:
    array = noise(mode, (4, 6)) if mode != "array" else noise("RGB", (4, 6)).astype(np.int16)
    result_mode, dtype = methods.make(name).result(mode, array.dtype)
    assert methods.make(name).pool(array, Window.of(2).axes((4, 6))).dtype == dtype
    assert result_mode == ("L" if (name, mode) == ("avg", "1") else mode)


def test_alpha_is_never_light() -> None:
    linear = Average(linear=True, divisor_override=3)
    assert linear.assumes_srgb
    assert linear.for_alpha() == Average(divisor_override=3)


@pytest.mark.parametrize("row", methods.METHODS, ids=lambda row: row.name)
def test_every_option_of_a_row_is_one_of_its_method(row: methods.Row) -> None:
    for option in row.options:
        if option.is_output:
            continue
        key = option.flag.removeprefix("--").replace("-", "_")
        value = option.read(VALUES[option.flag]) if option.shown else True
        assert methods.make(row.name, **{key: value}) != methods.make(row.name)
    for example in row.examples.splitlines():
        assert example.startswith("poolcli ") or "| poolcli" in example


@pytest.mark.parametrize("name", [name for name in METHODS if name != "mode"])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3)])
def test_pixels_without_weight_take_no_part(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    array, weights = rng.integers(0, 256, shape, np.uint8), rng.integers(0, 3, (7, 9), np.uint8)
    method = methods.make(name)
    assert isinstance(method, ByChannel)
    found = method.pool_channels(array, Window.of(3, 2).axes((7, 9)), weights=weights)
    taken: dict[str, Any] = {"weights": weights} if name == "avg" else {"where": weights > 0}
    wanted = independent.pool(name, array, size=3, stride=2, **taken)
    assert not independent.mismatches(found, wanted)


@pytest.mark.parametrize("alpha", ALPHAS)
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
    how = work("avg", 3, stride=2, padding=sides, linear=True, alpha=alpha, **options)
    pooled = pool(picture, how)
    assert pooled.info.mode == ("L" if mode == "1" else mode)
    error = np.abs(pooled.array.astype(int) - linear_oracle(picture, how).astype(int))
    assert error.max() <= 1
    assert (error > 0).sum() <= error.size // 1000  # their fraction may lie at a half


@pytest.mark.parametrize(
    ("mode", "linear", "plain"), [("1", 188, 128), ("L", 188, 128), ("I;16", 48192, 32768)]
)
def test_a_checkerboard_of_black_and_white_is_half_the_light(
    mode: str, linear: int, plain: int
) -> None:
    board = np.indices((6, 8)).sum(0) % 2 * maxval_of(mode)
    picture = made(board.astype(dtype_of(mode)), mode)
    for is_linear, grey in ((True, linear), (False, plain)):
        pooled = pool(picture, work("avg", linear=is_linear))
        assert pooled.info.mode == ("L" if mode == "1" else mode)
        np.testing.assert_array_equal(pooled.array, np.full((3, 4), grey))


@pytest.mark.parametrize("mode", [mode for mode in LINEAR if mode != "1"])
def test_every_value_survives_linear_light(mode: str) -> None:
    full = maxval_of(mode)
    values = np.arange(full + 1).reshape(-1, 1).repeat(2, axis=1).astype(dtype_of(mode))
    channels = TITLES[mode].channels
    array = values if channels == 1 else np.dstack([values] * channels)
    pooled = pool(made(array, mode), work("avg", (1, 2), linear=True))
    np.testing.assert_array_equal(pooled.array, array[:, :1])


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "I", "F", "L;M", "RGB;M", "array"])
def test_linear_light_has_no_effect_on_other_modes_and_is_refused(mode: str) -> None:
    with pytest.raises(PoolError, match="--linear has no effect on") as refusal:
        pool(made(noise("L"), mode), work("avg", linear=True))
    assert TITLES[mode].title in refusal.value.message
    assert refusal.value.remedy
