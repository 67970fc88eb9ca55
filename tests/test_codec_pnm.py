"""PGM and PPM of any maxval: read, pooled and written in their own scale."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from poolcli.codec import Picture

from poolcli import colour
from poolcli.colour import Choices, Method
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from tests.pictures import decoded, encoded, identified, read_pnm

SCALES = (1, 2, 15, 100, 254, 255, 256, 1000, 1023, 4095, 65534, 65535)
KINDS = (2, 3, 5, 6)
TO_PLAIN = shutil.which("pnmtoplainpnm") or ""


def mode_of(kind: int, maxval: int) -> str:
    grey = kind in (2, 5)
    by_maxval = {255: ("L", "RGB"), 65535: ("I;16", "RGB;16")}
    return by_maxval.get(maxval, ("L;M", "RGB;M"))[not grey]


def pixels_of(kind: int, maxval: int, shape: tuple[int, int] = (4, 6)) -> NDArray[Any]:
    """Noise that holds 0 and maxval."""
    rng = np.random.default_rng(maxval + kind)
    whole = (*shape, 3) if kind in (3, 6) else shape
    array = rng.integers(0, maxval + 1, whole).astype(np.uint8 if maxval < 256 else np.uint16)
    array[0, 0], array[0, 1] = 0, maxval
    return array


def pnm(kind: int, maxval: int, array: NDArray[Any]) -> bytes:
    """A file made by hand."""
    height, width = array.shape[:2]
    head = f"P{kind}\n{width} {height}\n{maxval}\n".encode()
    if kind in (2, 3):
        return head + "\n".join(map(str, array.ravel().tolist())).encode() + b"\n"
    return head + array.astype(">u2" if maxval > 255 else "u1").tobytes()


ANY_SCALE = pytest.mark.parametrize("maxval", SCALES)
ANY_KIND = pytest.mark.parametrize("kind", KINDS)


@ANY_SCALE
@ANY_KIND
def test_any_maxval_is_read_in_its_own_scale(kind: int, maxval: int) -> None:
    array = pixels_of(kind, maxval)
    header = identified(pnm(kind, maxval, array))
    picture = decoded(pnm(kind, maxval, array))
    mode = mode_of(kind, maxval)
    assert (header.format, header.mode, header.maxval) == ("pnm", mode, maxval)
    assert (header.shape, header.dtype) == (array.shape, array.dtype)
    assert (picture.mode, picture.maxval, picture.array.dtype) == (mode, maxval, array.dtype)
    np.testing.assert_array_equal(picture.array, array)


@ANY_SCALE
@pytest.mark.parametrize("name", ["pnm", "own"])
@pytest.mark.parametrize("kind", [5, 6])
def test_any_maxval_is_written_as_it_was_read(kind: int, maxval: int, name: str) -> None:
    array = pixels_of(kind, maxval)
    suffix = {"own": {5: "pgm", 6: "ppm"}[kind]}.get(name, name)
    octets = encoded(decoded(pnm(kind, maxval, array)), suffix)
    assert octets[:2] == b"P%d" % kind
    again = read_pnm(octets)
    assert again[0] == maxval
    np.testing.assert_array_equal(again[1], array)


@ANY_SCALE
@ANY_KIND
@pytest.mark.parametrize("method", ["max", "min", "avg"])
def test_any_maxval_is_pooled_in_its_own_scale(kind: int, maxval: int, method: Method) -> None:
    array = pixels_of(kind, maxval)
    pooled = colour.pool(decoded(pnm(kind, maxval, array)), Choices(method, Window.of(2)))
    scale, seen = read_pnm(encoded(pooled, "pnm"))
    blocks = array.reshape(2, 2, 3, 2, -1).astype(int)
    wanted = {
        "max": blocks.max((1, 3)),
        "min": blocks.min((1, 3)),
        "avg": np.vectorize(lambda total: round(Fraction(int(total), 4)))(blocks.sum((1, 3))),
    }[method]
    assert scale == maxval
    np.testing.assert_array_equal(seen.reshape(wanted.shape), wanted)


@pytest.mark.skipif(not TO_PLAIN, reason="netpbm's pnmtoplainpnm is not installed")
@pytest.mark.parametrize("maxval", [2, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_netpbm_reads_the_same(kind: int, maxval: int) -> None:
    array = pixels_of(kind, maxval)
    octets = encoded(decoded(pnm(kind, maxval, array)), "pnm")
    done = subprocess.run([TO_PLAIN], input=octets, capture_output=True, check=True)
    magic, *numbers = done.stdout.split()
    assert magic == b"P%d" % (kind - 3)
    assert list(map(int, numbers)) == [6, 4, maxval, *array.ravel().tolist()]


@pytest.mark.parametrize(
    "octets",
    [
        b"P5 2 1 100 \x07\x64",
        b"P5\n# by hand\n2 1\n# and on\n100\n\x07\x64",
        b"P5\t2\r\n1\x0b100\n\x07\x64",
        b"P5 2 #wide\n 1\n100\n\x07\x64",
        b"P2 2 1 100\n7 # seven\n100",
        b"P2\n2 1\n100\n007\n\n100\n\n",
    ],
)
def test_comments_and_white_space_mean_nothing(octets: bytes) -> None:
    picture = decoded(octets)
    assert (picture.maxval, picture.array.tolist()) == (100, [[7, 100]])


def test_a_sample_may_look_like_white_space_or_a_comment() -> None:
    assert decoded(b"P5 3 1 99\n\x20#\x0a").array.tolist() == [[32, 35, 10]]


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"P5 2 1 100\n\x07", "ends after 1 of 2"),
        (b"P5 2 1 1000\n\x07\x00\x01", "2 samples|ends after 1 of 2|can't be decoded"),
        (b"P6 1 1 1000\n\x00\x01", "ends after 1 of 3"),
        (b"P2 2 1 100\n7", "ends after 1 of 2"),
        (b"P3 1 1 1000\n", "ends after 0 of 3"),
        (b"P5 2 1 100\n\x07\x65", "above the maxval of 100"),
        (b"P5 1 1 1000\n\x03\xe9", "above the maxval of 1000"),
        (b"P2 1 1 100\n101", "above the maxval of 100"),
        (b"P2 1 1 255\n256", ""),
        (b"P2 1 1 100\n70000", "above the maxval of 100"),
        (b"P2 1 1 1000\n65537", "above the maxval of 1000"),
        (b"P2 1 1 100\n-1", ""),
        (b"P2 1 1 100\nx", ""),
        (b"P2 1 1 100\n1.5", ""),
        (b"P5 1 1 0\n\x00", ""),
        (b"P5 1 1 65536\n\x00\x00", ""),
        (b"P5 0 1 100\n", ""),
        (b"P5 1 1 -5\n\x00", ""),
    ],
)
def test_broken_samples_and_headers_are_refused_with_a_remedy(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError, match=words or None) as refusal:
        decoded(octets)
    assert refusal.value.remedy


def test_a_huge_extent_is_refused_before_anything_is_read() -> None:
    with pytest.raises(PoolError, match="--max-pixels"):
        identified(b"P5 99999999 99999999 100\n")


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 65535), st.data())
def test_whatever_the_scale_a_picture_survives(maxval: int, data: st.DataObject) -> None:
    dtype = np.uint8 if maxval < 256 else np.uint16
    values = data.draw(st.lists(st.integers(0, maxval), min_size=1, max_size=9))
    mode = mode_of(5, maxval)
    picture = Picture(np.array([values], dtype), mode, maxval)
    again = decoded(encoded(picture, "pgm"))
    assert (again.mode, again.maxval, again.array.tolist()) == (mode, maxval, [values])


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "gif", "bmp", "avif"])
def test_other_formats_refuse_a_scale_of_its_own_and_say_how_to_give_it_up(name: str) -> None:
    with pytest.raises(PoolError, match="another depth than 8 or 16 bits") as refusal:
        encoded(decoded(pnm(5, 1000, pixels_of(5, 1000))), name)
    assert {"--allow-depth-loss", ".pgm"} <= set(refusal.value.remedy.replace(",", "").split())
