"""Samples without data: the values that a type can hold, colours, notes, and GDAL's own results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli import PoolError, avg_pool, max_pool, min_pool
from poolcli.colour import nodata_of, widened_info
from poolcli.engine.nodata import nodata_value
from tests import jobs, oracle
from tests.engine_calls import BY_CHANNEL, METHODS, POOLS, Call
from tests.pictures import picture
from tests.support.processes import Run
from tests.support.tools import needs


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        *(("255.0", "u1", 255), (255.0, "u1", 255), ("-9999", "i2", -9999), (" 7e2 ", ">i4", 700)),
        ("18446744073709551615", "u8", 2**64 - 1),
        (np.float32(-9999), "i4", -9999),
        *((True, "?", 1), ("0", "?", 0)),
        ("-3.40282346600000016e+38", "f4", float(np.finfo("f4").min)),
        ("-1.7976931348623158e+308", "f8", float(np.finfo("f8").min)),
        ("0.1", "f4", float(np.float32(0.1))),
        ("-inf", "f4", -np.inf),
    ],
)
def test_a_value_is_one_of_the_type_and_for_floats_the_nearest(
    value: Any, dtype: str, wanted: Any
) -> None:
    found = nodata_value(value, np.dtype(dtype))
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *(("256", "u1"), ("-1", "u2"), ("0.5", "i4"), ("2", "?"), ("inf", "i8"), (1e300, "i8")),
        *(("1e999999", "u8"), ("1e39", "f4"), ("-1e999", "f8"), ("65520", "f2")),
        *(("nan", "f4"), (float("nan"), "f8"), ("", "u1"), ("1_0", "u1"), ("x", "f4"), ([1], "u1")),
    ],
)
def test_any_other_value_is_refused(value: Any, dtype: str) -> None:
    with pytest.raises(PoolError, match="nodata is") as refusal:
        nodata_value(value, np.dtype(dtype))
    assert refusal.value.remedy
    with pytest.raises(PoolError, match="nodata is"):
        max_pool(np.zeros((4, 4), dtype), 2, nodata=value)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("window", "wanted"),
    [
        ([9, 9, 9, 9], (9, 9, 9)),
        ([9, 1, 2, 9], (2, 1, 1.5)),
        ([9, NAN, 9, 9], (9, 9, 9)),
        ([9, NAN, 9, 1], (1, 1, 1)),
        ([NAN] * 4, (NAN, NAN, NAN)),
        ([9, INF, 1, 1], (INF, 1, INF)),
        ([9, 6, 12, 9], (12, 6, 9)),
        ([-0.0, 9, 9, 9], (0, 0, 0)),
    ],
    ids=str,
)
def test_one_window(window: Any, wanted: Any) -> None:
    array = np.array(window, np.float32).reshape(2, 2)
    found = [pool(array, 2, nodata=9).item() for pool in (max_pool, min_pool, avg_pool)]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("method", METHODS)
def test_under_propagate_nan_makes_a_window_nan_and_nodata_does_not(method: str) -> None:
    array = np.array([[9, NAN, 9, 1]], np.float64)
    pooled = POOLS[method](array, (1, 2), nodata=9, nan="propagate")
    np.testing.assert_array_equal(pooled, [[NAN, 1]])


@pytest.mark.parametrize("method", METHODS)
def test_where_comes_first_and_a_window_that_it_empties_is_pooled_as_if_it_was_absent(
    method: str,
) -> None:
    array = np.array([[9, 3, 9, 3, 9, 9]], np.uint8)
    where = np.array([[True, False, False, False, False, False]])
    assert POOLS[method](array, (1, 2), nodata=9, where=where).tolist() == [[9, 3, 9]]


def test_nodata_leaves_the_divisor_like_nan() -> None:
    array = np.array([[1, 9], [2, 4]], np.float32)
    for dtype in ("f4", "u1"):
        choices: dict[str, Any] = {"padding": ((1, 0), (1, 0)), "count_include_pad": True}
        call = Call("avg", array.astype(dtype), {"size": 3, "padding": ((1, 0), (1, 0))})
        call = call.but(options={"count_include_pad": True, "nodata": 9})
        assert call.mismatches() == []
        assert avg_pool(array, 3, nodata=9, **choices).item() == np.float32(7 / 8)
        assert avg_pool(array, 2, nodata=9, divisor_override=2).item() == 3.5


def test_a_bool_may_be_nodata() -> None:
    array = np.array([[True, False, True, True]])
    assert max_pool(array, (1, 2), nodata=True).tolist() == [[False, True]]
    assert avg_pool(array, (1, 2), nodata=True).tolist() == [[0, 255]]


# Pictures


def test_alpha_is_never_nodata_and_colours_without_data_weigh_nothing() -> None:
    rng = np.random.default_rng(1)
    array = rng.choice(np.array([0, 7, 200, 255], np.uint8), (6, 8, 4))
    one = picture(array, "RGBA")
    for method in BY_CHANNEL:
        for alpha in ("weighted", "straight"):
            pooled = jobs.pool(one, jobs.work(method, 2, alpha=alpha, nodata="255"))
            weights = {"avg": "weights"}.get(method, "where")
            mask = array[..., 3] if method == "avg" else array[..., 3] > 0
            more: Any = {weights: mask} if alpha == "weighted" else {}
            wanted = oracle.pool(method, array[..., :3], size=2, nodata=255, **more)
            assert oracle.mismatches(pooled.array[..., :3], wanted) == []
            straight = oracle.pool(method, array[..., 3], size=2)
            assert oracle.mismatches(pooled.array[..., 3], straight) == []


def test_linear_light_leaves_nodata_out_too() -> None:
    array = np.array([[255, 255, 255, 100], [255, 255, 30, 255]], np.uint8)
    pooled = jobs.pool(picture(array, "L"), jobs.work("avg", 2, linear=True, nodata="255"))
    pair = picture(np.array([[100, 30]], np.uint8), "L")
    mean = jobs.pool(pair, jobs.work("avg", (1, 2), linear=True)).array.item()
    assert pooled.array.tolist() == [[255, mean]]


@pytest.mark.parametrize("linear", [False, True])
def test_true_in_a_bilevel_array_may_have_any_byte(linear: bool) -> None:
    """Pillow's arrays have 255."""
    array = np.array([[0, 255], [255, 0]], np.uint8).view(np.bool_)
    pooled = jobs.pool(picture(array, "1"), jobs.work("avg", 2, linear=linear, nodata="1"))
    assert pooled.array.tolist() == [[0]]


@pytest.mark.parametrize(
    ("stated", "option", "value", "text", "notes"),
    [
        ("7", None, 7, "7", 0),
        ("7.0", None, 7, "7.0", 0),
        ("7", "none", None, "7", 0),
        ("7", "9", 9, "9", 0),
        ("", "9", 9, "9", 0),
        ("", None, None, "", 0),
        ("-9999", None, None, "-9999", 1),
        ("nan", None, None, "nan", 0),
        ("x", None, None, "x", 1),
    ],
)
def test_the_option_comes_before_the_file(
    stated: str, option: Any, value: Any, text: str, notes: int
) -> None:
    one = picture(np.full((4, 4), 7, np.uint8), "L", nodata=stated)
    found = nodata_of(one.info, jobs.work(nodata=option).pixels)
    assert (found.value, found.text, bool(found.note)) == (value, text, bool(notes))
    assert jobs.pool(one, jobs.work(nodata=option)).info.nodata == text


def test_the_nodata_value_of_widened_samples_is_widened() -> None:
    one = picture(np.zeros((4, 4), np.uint8), "L", nodata="15")
    info = one.info._replace(stored=one.info.stored._replace(bits=4, maxval=15))
    assert nodata_of(info, jobs.work().pixels)[:2] == (255, "255")


@pytest.mark.parametrize(("bits", "dtype", "text"), [(4, np.uint8, ""), (12, np.uint16, "65535")])
def test_a_nodata_value_of_more_bits_than_the_samples_is_no_value_of_the_result(
    bits: int, dtype: Any, text: str
) -> None:
    """Samples of 4 bits are widened to 8 by the decoder, those of 12 by the writer to 16."""
    mode, stated, maxval = ("L", "200", 255) if bits == 4 else ("L;M", "65535", 4095)
    info = picture(np.zeros((4, 4), dtype), mode, maxval=maxval, nodata=stated).info
    info = info._replace(stored=info.stored._replace(bits=bits, maxval=(1 << bits) - 1))
    found = nodata_of(info, jobs.work().pixels)
    assert found.note == f"its nodata value {stated} is no {bits}-bit sample: it was ignored"
    assert (found.value, found.text) == (None, text)
    wide = widened_info(info)
    assert wide is None or wide.nodata == ""


def test_an_average_that_happens_to_be_nodata_stays_and_is_told(run: Run, tmp_path: Path) -> None:
    for name, values, told in (
        ("a", [[2, 4]], True),
        ("b", [[3, 3]], False),
        ("c", [[3, 5]], False),
    ):
        np.save(tmp_path / f"{name}.npy", np.array(values, np.uint8))
        done = run("avg", "-k", "2x1", "--nodata", 3, "-v", f"{name}.npy", f"{name}-out.npy")
        assert done.returncode == 0
        assert (b"happen to be the nodata value" in done.stderr) == told
    assert np.load(tmp_path / "a-out.npy").item() == 3


def test_a_value_outside_of_the_type_is_refused_and_no_number_is_usage(
    run: Run, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    done = run("max", "-k", 2, "--nodata", 256, "a.npy", "o.npy")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"--nodata is 256, which is no uint8; give a value of type uint8" in done.stderr
    for text in ("x", "nan", ""):
        assert run("max", "-k", 2, "--nodata", text, "a.npy", "o.npy").returncode == 2
    done = run("max", "-k", 2, "--nodata", 0, "--json", "a.npy", "o.npy")
    assert json.loads(done.stdout.splitlines()[0])["nodata"] == 0


@needs("gdalwarp")
@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_gdal_pools_aligned_windows_likewise(dtype: str, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    array = rng.integers(0, 60, (24, 36)).astype(dtype)
    array[rng.random(array.shape) < 0.5] = 77
    array[:6, :6] = 77
    Image.fromarray(array).save(tmp_path / "plain.tif")
    place = ("-a_ullr", "0", "24", "36", "0", "-a_srs", "EPSG:32632", "-a_nodata", "77")
    _gdal(tmp_path, "gdal_translate", *place, "plain.tif", "in.tif")
    for method, name in (("max", "max"), ("min", "min"), ("avg", "average")):
        if (method, dtype) == ("avg", "u1"):
            continue  # GDAL rounds half up
        _gdal(tmp_path, "gdalwarp", "-r", name, "-tr", "3", "3", "in.tif", f"{name}.tif")
        done = run(method, "-k", 3, "--nodata", 77, "in.tif", f"{method}.npy")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / f"{name}.tif") as image:
            wanted = np.asarray(image)
            np.testing.assert_allclose(np.load(tmp_path / f"{method}.npy"), wanted, rtol=1e-6)


def _gdal(folder: Path, *words: str) -> None:
    subprocess.run([*words, "-q"], cwd=folder, check=True, capture_output=True)
