"""Modes × formats × verbs as one matrix, file to file; what is refused has a remedy that works."""

from __future__ import annotations

import re
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from poolcli.formats import FORMATS, by_suffix
from poolcli.report import Outcome
from poolcli.run.work import Work
from tests import oracle as independent
from tests.colour_oracle import FULL, LINEAR, METHODS, SHALLOW, oracle
from tests.contract_support import assert_refused
from tests.jobs import pool, run, work
from tests.pictures import (
    LAB_SIGNS,
    MAXVAL,
    MODES,
    RGB,
    encoded,
    maxval_of,
    noise,
    noisy,
    numbers,
    opened,
    pam,
    picture,
    png,
    read_back,
    saved,
    tiff,
    widened,
)

# What each format holds, from the specification and not from the table under test.

PLAIN = {"1": "1", "L": "L", "RGB": "RGB"}
WITH_ALPHA = PLAIN | {"LA": "LA", "RGBA": "RGBA"}
DEEP = {mode: mode for mode in ("I;16", "LA;16", "RGB;16", "RGBA;16")}
COLOUR_ONLY = {"1": "RGB", "L": "RGB", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}
HOLDS: dict[str, dict[str, str]] = {
    "png": WITH_ALPHA | DEEP,
    "jpeg": {"1": "L", "L": "L", "RGB": "RGB", "CMYK": "CMYK", "YCbCr": "YCbCr"},
    "webp": COLOUR_ONLY,
    "tiff": {mode: mode for mode in (*MODES, "array") if not mode.endswith(";M")},
    "gif": WITH_ALPHA,
    "bmp": PLAIN | {"LA": "RGBA", "RGBA": "RGBA"},
    "pnm": PLAIN | {mode: mode for mode in ("I;16", "RGB;16", "L;M", "RGB;M")},
    "ppm": {"1": "RGB", "L": "RGB", "RGB": "RGB", "RGB;16": "RGB;16", "RGB;M": "RGB;M"},
    "pgm": {"1": "L", "L": "L", "I;16": "I;16", "L;M": "L;M"},
    "pbm": {"1": "1"},
    "pam": WITH_ALPHA | DEEP | {mode: mode for mode in ("L;M", "LA;M", "RGB;M", "RGBA;M")},
    "pfm": {"F": "F", "RGB;F": "RGB;F"},
    "avif": COLOUR_ONLY,
    "jxl": WITH_ALPHA | DEEP | {"F": "F"},
    "npy": {mode: mode for mode in (*MODES, "array")},
}
LOSSY = ("jpeg", "avif")
PAIRS = [(mode, name) for mode in (*MODES, "array") for name in HOLDS]


def over(pairs: list[tuple[str, str]]) -> pytest.MarkDecorator:
    ids = [f"{mode} to {name}" for mode, name in pairs]
    return pytest.mark.parametrize(("mode", "name"), pairs, ids=ids)


def array_of(mode: str) -> NDArray[Any]:
    if mode == "array":
        return np.random.default_rng(8).integers(-(2**15), 2**15, (4, 6, 5), np.int16)
    return noise(mode, (4, 6), seed=7)


def file_of(mode: str) -> tuple[str, bytes]:
    """Return a suffix and a file."""
    array = array_of(mode)
    if mode in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
        return "png", saved(Image.fromarray(array), "PNG")
    if mode in DEEP:
        return "png", bytes(imagecodecs.png_encode(array))
    if mode.endswith(";M"):
        return "pam", pam(mode, MAXVAL, array)
    if mode == "YCbCr":
        rows = array.tobytes()
        return "tif", tiff(rows, [8] * 3, width=24, photometric=6, subsampling=(1, 1))
    if mode == "LAB":
        return "tif", tiff((array ^ LAB_SIGNS).tobytes(), [8] * 3, width=24, photometric=8)
    photometric = {"CMYK": "separated", "RGB;F": "rgb"}.get(mode, "minisblack")
    buffer = BytesIO()
    planar = "contig" if array.ndim == 3 else None
    more: dict[str, Any] = {"planarconfig": planar, "metadata": None, "software": False}
    tifffile.imwrite(buffer, array, photometric=photometric, **more)
    return "tif", buffer.getvalue()


def as_stored(mode: str) -> NDArray[Any]:
    """Return the picture that the file holds: two of them are rows of 24 pixels."""
    array = array_of(mode)
    return array.reshape(1, -1, 3) if mode in ("YCbCr", "LAB") else array


def halving(method: str, mode: str, **more: Any) -> Work:
    size = (1, 2) if mode in ("YCbCr", "LAB") else (2, 2)
    return work(method, size, overwrite=True, **more)


def ran(folder: Path, mode: str, name: str, how: Work) -> Outcome:
    suffix, octets = file_of(mode)
    source = folder / f"in.{suffix}"
    source.write_bytes(octets)
    return run(source, folder / f"out.{name}", name, how)


def pooled(array: NDArray[Any], mode: str, how: Work) -> NDArray[Any]:
    """Pool by exact fractions, window by window."""
    if mode in FULL:
        return oracle(picture(array, mode), how)
    if mode_after(mode, how.method.name) != mode:
        array = array * np.uint8(255)
    exact = independent.pool(how.method.name, array, size=how.window.size).values
    return exact.astype(array.dtype)


def mode_after(mode: str, method: str) -> str:
    return "L" if (mode, method) == ("1", "avg") else mode


def test_the_matrix_has_every_format_and_mode() -> None:
    assert set(HOLDS) == {one.name for one in FORMATS if one.modes}
    for one in FORMATS:
        assert dict(one.modes) == HOLDS.get(one.name, {})


@over(PAIRS)
def test_every_mode_in_every_format_by_every_verb_is_exact_or_refused(
    mode: str, name: str, tmp_path: Path
) -> None:
    for method in METHODS:
        how, target = halving(method, mode), tmp_path / f"out.{name}"
        planned = ran(tmp_path, mode, name, halving(method, mode, dry_run=True))
        assert not target.exists()
        outcome = ran(tmp_path, mode, name, how)
        for key in ("mode", "dtype", "input_shape", "output_shape", "error", "remedy", "dropped"):
            assert getattr(planned, key) == getattr(outcome, key), key
        after = mode_after(mode, method)
        if after in HOLDS[name]:
            assert (planned.status, outcome.status) == ("planned", "done"), outcome.error
            assert outcome.mode == HOLDS[name][after]
            check(target.read_bytes(), outcome, mode, how)
            target.unlink()
        else:
            assert planned.status == "failed"
            assert_refused(outcome, "can't hold")
            assert not target.exists()


def check(octets: bytes, outcome: Outcome, mode: str, how: Work) -> None:
    """Compare a file as others read it, and what its outcome tells."""
    name, after = outcome.output.rpartition(".")[2], mode_after(mode, how.method.name)
    stored = HOLDS[name][after]
    wanted = widened(pooled(as_stored(mode), mode, how), after, stored)
    told = " ".join((*outcome.notes, *outcome.warnings))
    assert outcome.input_shape == as_stored(mode).shape
    if name in LOSSY:
        assert name == "jpeg" or "loss" in told
    if name == "gif" and stored in FULL:
        assert "alpha on or off" in told
    assert_read_back(octets, name, stored, wanted)
    if name in ("npy", "tiff"):
        assert outcome.output_shape == wanted.shape
        assert outcome.dtype == str(read_back(octets, name, stored).dtype)


def assert_read_back(octets: bytes, name: str, stored: str, wanted: NDArray[Any]) -> None:
    if name in LOSSY:
        assert opened(octets).size == (wanted.shape[1], wanted.shape[0])
        return
    seen = read_back(octets, name, stored)
    if name == "gif" and stored in FULL:
        seen, wanted = seen[..., -1], (wanted[..., -1] >= 128) * np.uint8(255)
    np.testing.assert_array_equal(seen, wanted)


@over([(mode, name) for mode, name in PAIRS if mode not in HOLDS[name]])
def test_the_remedy_of_a_refusal_works(mode: str, name: str, tmp_path: Path) -> None:
    remedy = ran(tmp_path, mode, name, halving("max", mode)).remedy or ""
    suffixes = re.findall(r"\.[a-z]+", remedy)
    assert suffixes
    for suffix in suffixes:
        advised = by_suffix(suffix)
        assert advised is not None
        assert ran(tmp_path, mode, advised.name, halving("max", mode)).status == "done"
    background = (255, 255, 255) if "--background" in remedy else None
    allowed = "--allow-depth-loss" in remedy
    if background or allowed:
        how = halving("max", mode, background=background, allow_depth_loss=allowed)
        cured = ran(tmp_path, mode, name, how)
        assert cured.status == "done", cured.error


@pytest.mark.parametrize("mode", SHALLOW)
@pytest.mark.parametrize("name", ["png", "bmp", "pgm", "ppm"])
def test_fewer_bits_are_rounded_after_pooling_and_that_is_told(
    mode: str, name: str, tmp_path: Path
) -> None:
    stored = HOLDS[name].get(SHALLOW[mode])
    how = halving("avg", mode, allow_depth_loss=True)
    outcome = ran(tmp_path, mode, name, how)
    told = [one for one in outcome.warnings if "rounded to 8 bits" in one]
    if mode in HOLDS[name]:
        assert (outcome.mode, told) == (mode, [])
    elif stored is None:
        assert outcome.status == "failed"
    else:
        exact, full = pooled(array_of(mode), mode, how), maxval_of(mode)
        rounded = [round(Fraction(value * 255, full)) for value in exact.ravel().tolist()]
        wanted = np.array(rounded, np.uint8).reshape(exact.shape)
        octets = (tmp_path / f"out.{name}").read_bytes()
        assert_read_back(octets, name, stored, widened(wanted, SHALLOW[mode], stored))
        assert (outcome.dtype, len(told)) == ("uint8", 1)


def profile_of(space: Any) -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())


def with_chunk(name: bytes, body: bytes, depth: int = 8) -> bytes:
    return png(16 // depth, [bytes(6)] * 2, depth, RGB, (name, body))


FLAT = Image.new("RGB", (4, 4), (9, 99, 200))
SRGB, LAB = profile_of("sRGB"), profile_of("LAB")
LIGHT = {
    "nothing": (saved(FLAT, "PNG"), False),
    "sRGB profile": (saved(FLAT, "PNG", icc_profile=SRGB), False),
    "sRGB profile of a JPEG": (saved(FLAT, "JPEG", icc_profile=SRGB), False),
    "another profile": (saved(FLAT, "PNG", icc_profile=LAB), True),
    "another profile of a JPEG": (saved(FLAT, "JPEG", icc_profile=LAB), True),
    "another profile of a TIFF": (saved(FLAT, "TIFF", icc_profile=LAB), True),
    "another profile of a WebP": (saved(FLAT, "WEBP", icc_profile=LAB), True),
    "a broken profile": (saved(FLAT, "PNG", icc_profile=b"no profile"), True),
    "gAMA of sRGB": (with_chunk(b"gAMA", numbers(">I", 45455)), False),
    "gAMA of 1": (with_chunk(b"gAMA", numbers(">I", 100_000)), True),
    "gAMA of 1, 16 bits": (with_chunk(b"gAMA", numbers(">I", 100_000), 16), True),
    "sRGB": (with_chunk(b"sRGB", b"\0"), False),
    "cICP of sRGB": (with_chunk(b"cICP", bytes((1, 13, 0, 1))), False),
    "cICP of PQ": (with_chunk(b"cICP", bytes((9, 16, 0, 1))), True),
    "cICP of linear light": (with_chunk(b"cICP", bytes((1, 8, 0, 1))), True),
}


@pytest.mark.parametrize(("octets", "warns"), LIGHT.values(), ids=LIGHT)
def test_linear_light_warns_of_values_that_are_not_srgb(
    octets: bytes, warns: bool, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(octets)
    for linear in (True, False):
        how = work("avg", 1, linear=linear, overwrite=True)
        outcome = run(tmp_path / "in", tmp_path / "o.png", "png", how)
        assert outcome.status == "done", outcome.error
        found = [one for one in outcome.warnings if "sRGB" in one]
        assert bool(found) == (warns and linear)


OPTIONS: dict[str, dict[str, Any]] = {
    "padded": {"padding": 1},
    "same": {"padding": "same", "stride": 1},
    "same-lower": {"padding": "same_lower", "stride": 2},
    "ceil mode": {"ceil_mode": True, "stride": 3},
    "dilated": {"dilation": 2, "stride": 1},
    "straight": {"alpha": "straight"},
    "propagating NaN": {"nan": "propagate"},
    "linear light": {"linear": True},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_constant_picture_stays_constant(mode: str, options: dict[str, Any]) -> None:
    first = noise(mode, (1, 1), seed=3)
    constant = np.tile(first, (7, 8, 1) if first.ndim == 3 else (7, 8))
    for method in METHODS:
        if "linear" in options and (method != "avg" or mode not in LINEAR):
            continue
        result = pool(picture(constant, mode), work(method, 3, **options)).array
        white = 255 if (mode, method) == ("1", "avg") else 1
        np.testing.assert_array_equal(result, np.broadcast_to(first * white, result.shape))


@over([(mode, name) for mode, name in PAIRS if mode in HOLDS[name] and mode != "array"])
def test_thin_pictures_are_read_by_others(mode: str, name: str) -> None:
    for shape in ((1, 1), (1, 9), (9, 1)):
        thin, stored = noisy(mode, shape), HOLDS[name][mode]
        wanted = widened(thin.array, mode, stored)
        assert_read_back(encoded(thin, name), name, stored, wanted)
