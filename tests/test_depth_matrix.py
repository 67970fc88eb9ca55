"""Modes × formats × verbs as one matrix, file to file; what is refused has a remedy that works."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from poolcli.run import Work
from tests.colour_oracle import METHODS
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
    picture,
    png,
    pnm,
    read_back,
    saved,
    tiff,
    widened,
)

ALPHA = ("LA", "RGBA", "LA;16", "RGBA;16")
SHALLOW = {"I;16": "L", "LA;16": "LA", "RGB;16": "RGB", "RGBA;16": "RGBA"}
SHALLOW |= {"L;M": "L", "RGB;M": "RGB"}

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
    "bmp": PLAIN,
    "pnm": PLAIN | {mode: mode for mode in ("I;16", "RGB;16", "L;M", "RGB;M")},
    "ppm": {"1": "RGB", "L": "RGB", "RGB": "RGB", "RGB;16": "RGB;16", "RGB;M": "RGB;M"},
    "pgm": {"1": "L", "L": "L", "I;16": "I;16", "L;M": "L;M"},
    "pbm": {"1": "1"},
    "pfm": {"F": "F"},
    "avif": COLOUR_ONLY,
    "jxl": WITH_ALPHA | DEEP | {"F": "F"},
    "npy": {mode: mode for mode in (*MODES, "array")},
}
LOSSY = ("jpeg", "avif")
PAIRS = [(mode, name) for mode in (*MODES, "array") for name in HOLDS]
EVERY_PAIR = pytest.mark.parametrize(
    ("mode", "name"), PAIRS, ids=[f"{mode} to {name}" for mode, name in PAIRS]
)


# Files of every mode, not made by us


def array_of(mode: str) -> NDArray[Any]:
    if mode == "array":
        return np.random.default_rng(8).integers(-(2**15), 2**15, (4, 6, 5), np.int16)
    return noise(mode, (4, 6), seed=7)


def file_of(mode: str) -> tuple[str, bytes]:
    """A suffix and a file."""
    array = array_of(mode)
    if mode in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
        return "png", saved(Image.fromarray(array), "PNG")
    if mode in DEEP:
        return "png", bytes(imagecodecs.png_encode(array))
    if mode.endswith(";M"):
        return "pnm", pnm(5 if mode == "L;M" else 6, MAXVAL, array)
    if mode in ("YCbCr", "LAB"):
        raw = array ^ LAB_SIGNS if mode == "LAB" else array
        kind, body = {"YCbCr": 6, "LAB": 8}[mode], raw.tobytes()
        subsampling = (1, 1) if mode == "YCbCr" else None
        return "tif", tiff(body, [8] * 3, width=24, photometric=kind, subsampling=subsampling)
    return "tif", tiff_file(array, "separated" if mode == "CMYK" else "minisblack")


def tiff_file(array: NDArray[Any], photometric: str) -> bytes:
    buffer = BytesIO()
    planar = "contig" if array.ndim == 3 else None
    tifffile.imwrite(
        buffer, array, photometric=photometric, planarconfig=planar, metadata=None, software=False
    )
    return buffer.getvalue()


def as_stored(mode: str) -> NDArray[Any]:
    """The picture that the file holds: two of them are rows of 24 pixels."""
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


# What is expected, window by window


def pooled(array: NDArray[Any], mode: str, how: Work) -> NDArray[Any]:
    height, width = how.window.size
    rows, columns = array.shape[0] // height, array.shape[1] // width
    blocks = array.reshape(rows, height, columns, width, -1).swapaxes(1, 2)
    pixels = blocks.reshape(rows, columns, height * width, -1)
    wanted = [[window(one.tolist(), mode, how.method.name) for one in row] for row in pixels]
    dtype = np.uint8 if (mode, how.method.name) == ("1", "avg") else array.dtype
    return np.array(wanted, dtype).reshape(rows, columns, *array.shape[2:])


def window(pixels: list[list[Any]], mode: str, method: str) -> list[Any]:
    *colours, last = zip(*pixels, strict=True)
    if mode not in ALPHA:
        return [one_of(values, [1] * len(values), mode, method) for values in (*colours, last)]
    weights = last if any(last) else (1,) * len(last)
    if method != "avg":
        weights = tuple(int(weight > 0) for weight in weights)
    straight = (1,) * len(last)
    return [
        *(one_of(values, weights, mode, method) for values in colours),
        one_of(last, straight, mode, method),
    ]


def one_of(values: Sequence[Any], weights: Sequence[int], mode: str, method: str) -> Any:
    if method != "avg":
        seen = [value for value, weight in zip(values, weights, strict=True) if weight]
        return (max if method == "max" else min)(seen)
    scaled = [value * 255 for value in values] if mode == "1" else list(values)
    total = sum(Fraction(v) * w for v, w in zip(scaled, weights, strict=True)) / sum(weights)
    return float(total) if mode == "F" else round(total)


def mode_after(mode: str, method: str) -> str:
    return "L" if (mode, method) == ("1", "avg") else mode


# The matrix


def test_the_matrix_has_every_format_and_mode() -> None:
    assert set(HOLDS) == {one.name for one in FORMATS if one.modes}
    for one in FORMATS:
        assert dict(one.modes) == HOLDS.get(one.name, {})


@EVERY_PAIR
def test_every_mode_in_every_format_by_every_verb_is_exact_or_refused(
    mode: str, name: str, tmp_path: Path
) -> None:
    for method in METHODS:
        how = halving(method, mode)
        outcome = ran(tmp_path, mode, name, how)
        after, target = mode_after(mode, method), tmp_path / f"out.{name}"
        if after not in HOLDS[name]:
            assert outcome.status == "failed"
            assert "can't hold" in (outcome.error or "")
            assert outcome.remedy
            assert not outcome.is_fault
            assert not target.exists()
            continue
        stored = HOLDS[name][after]
        assert (outcome.status, outcome.mode) == ("done", stored), outcome.error
        check(target.read_bytes(), outcome, mode, how)
        target.unlink()


def check(octets: bytes, outcome: Outcome, mode: str, how: Work) -> None:
    """The file as others read it, and what was said of it."""
    name, after = outcome.output.rpartition(".")[2], mode_after(mode, how.method.name)
    stored = HOLDS[name][after]
    wanted = widened(pooled(as_stored(mode), mode, how), after, stored)
    said = " ".join((*outcome.notes, *outcome.warnings))
    assert outcome.input_shape == as_stored(mode).shape
    if name in LOSSY:
        assert opened(octets).size == (wanted.shape[1], wanted.shape[0])
        assert name == "jpeg" or "loss" in said
        return
    seen = read_back(octets, name, stored)
    if name == "gif" and stored in ("LA", "RGBA"):
        assert "alpha on or off" in said
        np.testing.assert_array_equal(seen[..., -1], (wanted[..., -1] >= 128) * np.uint8(255))
        return
    np.testing.assert_array_equal(seen, wanted)
    if name in ("npy", "tiff"):
        assert outcome.output_shape == wanted.shape
        assert outcome.dtype == str(seen.dtype)


NOT_HELD = [(mode, name) for mode, name in PAIRS if mode not in HOLDS[name]]


@pytest.mark.parametrize(
    ("mode", "name"), NOT_HELD, ids=[f"{mode} to {name}" for mode, name in NOT_HELD]
)
def test_the_remedy_of_a_refusal_works(mode: str, name: str, tmp_path: Path) -> None:
    refused = ran(tmp_path, mode, name, halving("max", mode))
    assert refused.status == "failed"
    remedy = refused.remedy or ""
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
def test_fewer_bits_are_rounded_after_pooling_and_that_is_said(
    mode: str, name: str, tmp_path: Path
) -> None:
    stored = HOLDS[name].get(SHALLOW[mode])
    how = halving("avg", mode, allow_depth_loss=True)
    outcome = ran(tmp_path, mode, name, how)
    if mode in HOLDS[name]:
        assert outcome.mode == mode
        assert not [one for one in outcome.warnings if "8 bits" in one]
    elif stored is None:
        assert outcome.status == "failed"
    else:
        assert [one for one in outcome.warnings if "rounded to 8 bits" in one]
        full = maxval_of(mode)
        exact = pooled(array_of(mode), mode, how)
        wanted = np.array(
            [round(Fraction(v * 255, full)) for v in exact.ravel().tolist()], np.uint8
        )
        seen = read_back((tmp_path / f"out.{name}").read_bytes(), name, stored)
        shallow = widened(wanted.reshape(exact.shape), SHALLOW[mode], stored)
        np.testing.assert_array_equal(seen, shallow)
        assert outcome.dtype == "uint8"


@EVERY_PAIR
def test_a_dry_run_foresees_the_mode_and_the_refusal(mode: str, name: str, tmp_path: Path) -> None:
    planned = ran(tmp_path, mode, name, halving("avg", mode, dry_run=True))
    assert not (tmp_path / f"out.{name}").exists()
    done = ran(tmp_path, mode, name, halving("avg", mode))
    assert (planned.status, done.status) in (("planned", "done"), ("failed", "failed"))
    for key in ("mode", "dtype", "input_shape", "output_shape", "error", "remedy", "dropped"):
        assert getattr(planned, key) == getattr(done, key), key


# What is said about light


def light_files() -> dict[str, tuple[bytes, bool]]:
    """PNGs, and whether --linear warns of them."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    plain = Image.new("RGB", (4, 4), (9, 99, 200))
    row = bytes(6)

    def chunked(name: bytes, body: bytes) -> bytes:
        return png(2, [row, row], 8, RGB, (name, body))

    deep = png(1, [bytes(6)] * 2, 16, RGB, (b"gAMA", numbers(">I", 100_000)))
    return {
        "nothing": (saved(plain, "PNG"), False),
        "sRGB profile": (saved(plain, "PNG", icc_profile=srgb), False),
        "sRGB profile of a JPEG": (saved(plain, "JPEG", icc_profile=srgb), False),
        "another profile": (saved(plain, "PNG", icc_profile=lab), True),
        "another profile of a JPEG": (saved(plain, "JPEG", icc_profile=lab), True),
        "another profile of a TIFF": (saved(plain, "TIFF", icc_profile=lab), True),
        "another profile of a WebP": (saved(plain, "WEBP", icc_profile=lab), True),
        "a broken profile": (saved(plain, "PNG", icc_profile=b"no profile"), True),
        "gAMA of sRGB": (chunked(b"gAMA", numbers(">I", 45455)), False),
        "gAMA of 1": (chunked(b"gAMA", numbers(">I", 100_000)), True),
        "gAMA of 1, 16 bits": (deep, True),
        "sRGB": (chunked(b"sRGB", b"\0"), False),
        "cICP of sRGB": (chunked(b"cICP", bytes((1, 13, 0, 1))), False),
        "cICP of PQ": (chunked(b"cICP", bytes((9, 16, 0, 1))), True),
        "cICP of linear light": (chunked(b"cICP", bytes((1, 8, 0, 1))), True),
    }


LIGHT = light_files()


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


def test_a_bilevel_file_is_averaged_in_linear_light(tmp_path: Path) -> None:
    board = np.indices((4, 6)).sum(0) % 2 == 0
    (tmp_path / "in.png").write_bytes(saved(Image.fromarray(board), "PNG"))
    outcome = run(tmp_path / "in.png", tmp_path / "o.png", "png", work("avg", linear=True))
    assert outcome.status == "done", outcome.error
    assert np.asarray(opened((tmp_path / "o.png").read_bytes())).tolist() == [[188] * 3] * 2


# Constant pictures

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
def test_a_constant_picture_stays_constant_through_every_option(mode: str) -> None:
    for options in OPTIONS.values():
        assert_constant(mode, options)


def assert_constant(mode: str, options: dict[str, Any]) -> None:
    first = noise(mode, (1, 1), seed=3)
    constant = np.tile(first, (7, 8, 1) if first.ndim == 3 else (7, 8))
    for method in METHODS:
        if "linear" in options and (method != "avg" or mode not in (*WITH_ALPHA, *DEEP)):
            continue
        result = pool(picture(constant, mode), work(method, 3, **options))
        white = 255 if (mode, method) == ("1", "avg") else 1
        wanted = np.broadcast_to(first * white, result.array.shape)
        np.testing.assert_array_equal(result.array, wanted)


# Thin pictures, as others read them


HELD = [(mode, name) for mode, name in PAIRS if mode in HOLDS[name] and mode != "array"]


@pytest.mark.parametrize(("mode", "name"), HELD, ids=[f"{mode} to {name}" for mode, name in HELD])
def test_thin_pictures_are_written_and_read_again(mode: str, name: str) -> None:
    for shape in ((1, 1), (1, 9), (9, 1)):
        assert_survives(mode, name, shape)


def assert_survives(mode: str, name: str, shape: tuple[int, int]) -> None:
    thin, stored = noisy(mode, shape), HOLDS[name][mode]
    octets = encoded(thin, name)
    if name in LOSSY or (name == "gif" and mode in ALPHA):
        assert opened(octets).size == shape[::-1]
        return
    seen = read_back(octets, name, stored)
    np.testing.assert_array_equal(seen.reshape(-1), widened(thin.array, mode, stored).ravel())
