"""The size of the output in place of a window: adaptive pooling."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from poolcli import PoolError, avg_pool, max_pool, output_shape
from poolcli.engine.adaptive import OutputSize
from tests import jobs
from tests.engine_calls import (
    DTYPES,
    METHODS,
    POOLS,
    TUNINGS,
    TUNINGS_OF,
    Call,
    functions_of,
    pool_tuned,
    random_values,
    same,
)
from tests.pictures import noisy
from tests.support.processes import Run

GOLDEN = json.loads((Path(__file__).parent / "golden-adaptive.json").read_text("utf-8"))["cases"]


def windows(n: int, o: int) -> list[range]:
    """The definition of PyTorch's adaptive pooling, in fractions."""
    each = (Fraction(n * index, o) for index in range(o))
    return [range(math.floor(at), math.ceil(at + Fraction(n, o))) for at in each]


def one_by_one(method: str, array: NDArray[Any], out: tuple[int, int], **more: Any) -> Any:
    """Pool every window as a picture of its own."""
    height, width = array.shape[:2]
    rows = []
    for down in windows(height, out[0]):
        row = []
        for across in windows(width, out[1]):
            part = (slice(down.start, down.stop), slice(across.start, across.stop))
            masks = {
                name: mask[part] for name, mask in more.items() if name in ("where", "weights")
            }
            size = len(down), len(across)
            row.append(POOLS[method](array[part], size, axes="HWC", **(more | masks))[0, 0])
        rows.append(row)
    return np.array(rows)


@st.composite
def cases(draw: st.DrawFn) -> Any:
    shape = draw(st.tuples(*[st.integers(1, 23)] * 2, st.integers(1, 5)))
    out = draw(st.tuples(*(st.integers(1, side) for side in shape[:2])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["few", "any", "ends"]))
    array = random_values(rng, draw(st.sampled_from(DTYPES)), kind, shape)
    if array.dtype.kind == "f":
        array = random_values(rng, array.dtype, "few", shape)
        array[rng.random(shape) < 0.1] = np.nan
    more: dict[str, Any] = {"nan": draw(st.sampled_from(["omit", "propagate"]))}
    if draw(st.booleans()):
        more["where"] = rng.random(shape[:2]) < 0.5
    if draw(st.booleans()):
        more["nodata"] = 1
    return array, out, more, draw(st.integers(0, len(TUNINGS) - 1))


@pytest.mark.parametrize("method", METHODS)
def test_every_window_is_pooled_on_its_own(method: str) -> None:
    @settings(max_examples=60)
    @given(cases())
    def check(case: Any) -> None:
        array, out, more, number = case
        pooled = POOLS[method](array, output_size=out, axes="HWC", **more)
        assert same(pooled, one_by_one(method, array, out, **more).astype(pooled.dtype))
        axes, tuning = (
            OutputSize(*out).axes(array.shape[:2]),
            TUNINGS_OF.get(method, TUNINGS)[number],
        )
        if tuning is not None:
            assert same(pool_tuned(method, array, axes, {**more, "tuning": tuning}), pooled)

    check()


def test_where_the_extent_divides_the_plain_kernels_run() -> None:
    array = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    for method in METHODS:
        plain = Call(method, array, {"size": 3})
        adaptive = Call(method, array, {"size": None, "output_size": (20, 30)})
        assert same(plain.run(), adaptive.run())
        assert not any("spans" in name for name in functions_of(adaptive))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["method"])
def test_pytorch_gave_the_same(case: Any) -> None:
    array = np.array(case["input"], np.float64)
    pooled = POOLS[case["method"]](array, output_size=tuple(case["output_size"]))
    np.testing.assert_allclose(pooled, case["output"], rtol=1e-15)


@pytest.mark.parametrize(
    ("extents", "asked", "wanted"),
    [
        ((480, 640), OutputSize(None, 100), (75, 100)),
        ((480, 640), OutputSize(100, None), (100, 133)),
        ((5, 2), OutputSize(None, 1), (2, 1)),  # 2.5 is rounded to the even neighbour
        ((7, 2), OutputSize(None, 1), (4, 1)),
        ((1, 1000), OutputSize(None, 10), (1, 10)),
        ((480, 640), OutputSize(100, 100, fits=True), (75, 100)),
        ((640, 480), OutputSize(100, 100, fits=True), (100, 75)),
        ((480, 640), OutputSize(480, 1000, fits=True), (480, 640)),
        ((480, 640), OutputSize(300, 1000, fits=True), (300, 400)),
        ((480, 640), OutputSize(9, 12, fits=True), (9, 12)),
    ],
)
def test_a_missing_side_keeps_the_aspect_ratio(extents: Any, asked: Any, wanted: Any) -> None:
    assert asked.resolved(extents) == wanted
    assert tuple(axis.out for axis in asked.axes(extents)) == wanted


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (OutputSize(None, 9), "the output's width is 9, but the picture's is 8; give at most 8"),
        (OutputSize(5, None), "the output's height is 5, but the picture's is 4; give at most 4"),
        (OutputSize(None, 10**12), "give at most 8"),
    ],
)
def test_the_side_that_was_given_is_named_if_it_is_too_large(asked: Any, message: str) -> None:
    with pytest.raises(PoolError) as refused:
        asked.axes((4, 8))
    assert message in f"{refused.value.message}; {refused.value.remedy}"


def test_output_shape_takes_it_too() -> None:
    assert output_shape((2, 3, 30, 40), output_size=(7, 9), axes="NCHW") == (2, 3, 7, 9)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({}, "neither size nor output_size is given"),
        ({"size": 2, "output_size": 2}, "both size and output_size are given"),
        *(
            ({"output_size": 2, **more}, "output_size decides the windows itself")
            for more in ({"stride": 2}, {"padding": "same"}, {"dilation": 2}, {"ceil_mode": True})
        ),
        ({"output_size": 2, "count_include_pad": True}, "decides the divisor itself"),
        ({"output_size": 2, "divisor_override": 3}, "decides the divisor itself"),
        ({"output_size": (9, 2)}, "the output's height is 9, but the picture's is 8"),
        ({"output_size": 0}, "output_size is 0"),
        ({"output_size": (2, 2, 2)}, "output_size is (2, 2, 2)"),
    ],
    ids=str,
)
def test_bad_combinations_are_refused(choices: Any, message: str) -> None:
    with pytest.raises(PoolError) as refusal:
        avg_pool(np.zeros((8, 8)), **choices)
    assert message in refusal.value.message
    assert refusal.value.remedy


# Pictures


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "1"])
@pytest.mark.parametrize("method", METHODS)
def test_bands_are_the_same(mode: str, method: str) -> None:
    one, how = noisy(mode, (40, 37)), jobs.work(method, OutputSize(23, 11))
    assert same(jobs.pool(one, how, band_bytes=1, band_spans=1).array, jobs.pool(one, how).array)


def test_the_command_line_takes_output_size_and_fit(run: Run, tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 255, (30, 50, 3)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "in.png", dpi=(100, 100))
    for words, size in (
        (("--output-size", "7x4"), (4, 7)),
        (("--output-size", "7"), (7, 7)),
        (("--output-size", "25x"), (15, 25)),
        (("--output-size", "x15"), (15, 25)),
        (("--fit", "20"), (12, 20)),
        (("--fit", "100x200"), (30, 50)),
    ):
        done = run("max", *words, "--json", "-f", "in.png", "out.png")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "out.png") as image:
            np.testing.assert_array_equal(image, max_pool(array, output_size=size))
        outcome = json.loads(done.stdout.splitlines()[0])
        assert (outcome["size"], outcome["stride"]) == (None, None)
        assert outcome["output_size"] == list(size) == outcome["output_shape"][:2]
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    run("max", "--output-size", "25x6", "-f", "in.png", "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["dpi"] == pytest.approx((50, 20), abs=0.1)
    done = run("max", "--fit", "9", "--name", "{stem}-{size}", "in.png", "small/")
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["in-9.png"]
    assert b"max to 9x5" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no size is given"),
        (("-k", 2, "--fit", 9), "-k and --fit exclude each other"),
        (("--fit", 9, "--output-size", 9), "--output-size and --fit exclude each other"),
        (("--fit", 9, "-s", 2), "-s has no effect with --fit"),
        (("--output-size", 9, "-p", 0), "-p has no effect with --output-size"),
        (("--output-size", 9, "-d", 1), "-d has no effect with --output-size"),
        (("--output-size", 9, "--ceil-mode"), "--ceil-mode has no effect with --output-size"),
        (("--output-size", 9, "--divisor-override", 2), "--divisor-override has no effect"),
        (("--output-size", 9, "--count-include-pad"), "--count-include-pad has no effect"),
        (("--output-size", 9, "--name", "{stride}"), "{stride} has no value with --output-size"),
        *(
            (("--output-size", text), "; give N, WxH, Wx or xH")
            for text in ("x", "0", "0x", "1x2x3", "", "2X3", "-1")
        ),
    ],
    ids=str,
)
def test_bad_options_are_usage(words: Any, message: str, run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    done = run("avg", *words, "in.png", "out/")
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_a_picture_that_is_too_small_fails_alone(run: Run, tmp_path: Path) -> None:
    for side in (8, 20):
        Image.new("L", (side, side)).save(tmp_path / f"{side}.png")
    done = run("avg", "--output-size", 10, "8.png", "20.png", "out/")
    assert done.returncode == 1
    assert b"the output's height is 10, but the picture's is 8; give at most 8" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["20.png"]
