"""PBM, PGM, PPM and PFM: any maxval, plain and binary, read row by row in the file's own scale."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.picture import Stored
from tests.contract_support import Counting
from tests.jobs import pool, work
from tests.pictures import (
    decoded,
    encoded,
    noisy,
    numbers,
    opened,
    pnm,
    read_pnm,
    reader_of,
    written,
)
from tests.support.tools import needs

SCALES = (1, 2, 15, 100, 254, 255, 256, 1000, 1023, 4095, 65534, 65535)
TO_PLAIN = shutil.which("pnmtoplainpnm") or ""
ANY_SCALE = pytest.mark.parametrize("maxval", SCALES)
ANY_KIND = pytest.mark.parametrize("kind", [2, 3, 5, 6])


def mode_of(kind: int, maxval: int) -> str:
    by_maxval = {255: ("L", "RGB"), 65535: ("I;16", "RGB;16")}
    return by_maxval.get(maxval, ("L;M", "RGB;M"))[kind in (3, 6)]


def pixels_of(kind: int, maxval: int, shape: tuple[int, int] = (4, 6)) -> NDArray[Any]:
    """Noise that holds 0 and maxval."""
    rng = np.random.default_rng(maxval + kind)
    whole = (*shape, 3) if kind in (3, 6) else shape
    array = rng.integers(0, maxval + 1, whole).astype(np.uint8 if maxval < 256 else np.uint16)
    array[0, 0], array[0, 1] = 0, maxval
    return array


# Reading


@ANY_SCALE
@ANY_KIND
def test_any_maxval_is_read_in_its_own_scale(kind: int, maxval: int) -> None:
    array = pixels_of(kind, maxval)
    octets = pnm(kind, maxval, array)
    found, reader = decoded(octets), reader_of(octets)
    channels = 3 if kind in (3, 6) else 1
    assert (reader.format, reader.count) == ("pnm", 1)
    assert found.info.stored == Stored("unsigned", maxval.bit_length(), maxval, channels)
    assert (found.info.mode, found.info.maxval) == (mode_of(kind, maxval), maxval)
    assert found.info.dtype == found.array.dtype == array.dtype
    np.testing.assert_array_equal(found.array, array)


BITS = np.array([[True, False, True, True, True, True, True, True, False]])
FLOATS = np.array([[-2.5], [1.5], [np.inf]], np.float32)


@pytest.mark.parametrize(
    ("octets", "pixels"),
    [
        (b"P1 9 1\n0 1 0 0 0 0 0 0 1\n", BITS),
        (b"P1 9 1\n010000001", BITS),
        (b"P1\n# by hand\n9 1\n# more\n01000\n#\n0001 7", BITS),
        (b"P4 9 1\n\x40\xff", BITS),
        (b"P4 9 1\n\x40\x80", BITS),
        (b"Pf 1 3 -1\n" + numbers("<f", *FLOATS[::-1, 0]), FLOATS),
        (b"Pf\n1 3\n2.5e1\n" + numbers(">f", *FLOATS[::-1, 0]), FLOATS),
    ],
)
def test_bits_and_floats_are_exact(octets: bytes, pixels: NDArray[Any]) -> None:
    found = decoded(octets)
    assert (found.info.mode, reader_of(octets).format) == (
        ("1", "pnm") if pixels.dtype == bool else ("F", "pfm")
    )
    assert found.array.dtype == pixels.dtype
    np.testing.assert_array_equal(found.array, pixels)


@pytest.mark.parametrize(
    "octets",
    [
        b"P5 2 1 100 \x07\x64",
        b"P5\n# by hand\n2 1\n# and on\n100\n\x07\x64",
        b"P5\t2\r\n1\x0b100\n\x07\x64",
        b"P5 2 #wide\n 1\n100\n\x07\x64",
        b"P5#tight\n2#too\n1\n100\n\x07\x64",
        b"P5\n#" + b"long" * 5000 + b"\n2 1\n100\n\x07\x64",
        b"P2 2 1 100\n7 # seven\n100",
        b"P2\n2 1\n100\n007\n\n100\n\n",
        b"P5 2 1 100\n\x07\x64P5 1 1 255\n\x01",
    ],
    ids=range(9),
)
def test_comments_white_space_and_what_follows_have_no_effect(octets: bytes) -> None:
    found = decoded(octets)
    assert (found.info.maxval, found.array.tolist()) == (100, [[7, 100]])
    assert decoded(b"P5 3 1 99\n\x20#\x0a").array.tolist() == [[32, 35, 10]]  # these are samples


CUT_OFF = (b"P5 2 1 100\n\x07", b"P5 2 1 1000\n\x07\x00\x01", b"P2 2 1 100\n7")
NO_SCALES = (b"0", b"0.0e9", b"-")
UNKNOWN = (b"PG 1 1 1\n" + bytes(12), b"P7 332\n#XVVERSION")
BROKEN: dict[str, tuple[bytes, ...]] = {
    "ends after 1 of 2": (*CUT_OFF, b"Pf 1 2 1\n" + bytes(7)),
    "ends after 1 of 3": (b"P6 1 1 1000\n\x00\x01",),
    "of 18": (b"P4 9 2\n\xff\xff\xff",),
    "ends after 2 of 3": (b"P1 3 1\n01",),
    "ends after 0 of 3": (b"P3 1 1 1000\n",),
    "above maxval 100": (b"P5 2 1 100\n\x07\x65", b"P2 1 1 100\n101", b"P2 1 1 100\n70000"),
    "above maxval 1000": (b"P5 1 1 1000\n\x03\xe9", b"P2 1 1 1000\n65537"),
    "above maxval 255": (b"P2 1 1 255\n256",),
    "above maxval 1": (b"P1 1 1\n2",),
    "no whole number": tuple(b"P2 1 1 100\n" + one for one in (b"-1", b"x", b"1.5", b"9" * 20)),
    "its maxval is 0": (b"P5 1 1 0\n\x00",),
    "its maxval is 65536": (b"P5 1 1 65536\n\x00\x00",),
    "no pixels": (b"P5 0 1 100\n",),
    "header": (b"P5 1 1 -5\n\x00", b"P5 1", *(b"Pf 1 1 %b\n\0\0\0\0" % n for n in NO_SCALES)),
    "no picture of a known format|it is text": (*UNKNOWN, b"P0CMYK 1 1 255\n\0\0\0\0"),
    "--max-pixels": (
        b"P5 99999999 99999999 100\n",
        b"P6 9999999999 1 255\n",
        b"PF 9999999999 1 1.0\n",
    ),
}


@pytest.mark.parametrize(
    ("octets", "words"), [(octets, words) for words, many in BROKEN.items() for octets in many]
)
def test_broken_samples_and_headers_are_refused_with_a_remedy(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError, match=words) as refusal:
        decoded(octets)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("mode", "row_bytes"), [("1", 63), ("L", 500), ("RGB;16", 3000), ("F", 2000)]
)
def test_rows_are_read_only_when_they_are_asked_for(mode: str, row_bytes: int) -> None:
    whole = noisy(mode, (300, 500))
    stream = Counting(encoded(whole, "pfm" if mode == "F" else "pnm"))
    (frame,) = open_reader(stream, Limits(10**6)).frames()
    before = stream.taken
    np.testing.assert_array_equal(frame.rows(100, 103), whole.array[100:103])
    assert stream.taken - before == 3 * row_bytes


# Writing


@ANY_SCALE
@ANY_KIND
@pytest.mark.parametrize("method", ["max", "min", "avg"])
def test_pooling_keeps_the_scale(kind: int, maxval: int, method: str) -> None:
    array = pixels_of(kind, maxval)
    result = pool(decoded(pnm(kind, maxval, array)), work(method, 2))
    scale, seen = read_pnm(encoded(result, "pnm"))
    blocks = array.reshape(2, 2, 3, 2, -1).astype(int)
    wanted = {
        "max": blocks.max((1, 3)),
        "min": blocks.min((1, 3)),
        "avg": np.vectorize(lambda total: round(Fraction(int(total), 4)))(blocks.sum((1, 3))),
    }[method]
    assert scale == maxval
    np.testing.assert_array_equal(seen.reshape(wanted.shape), wanted)


@pytest.mark.parametrize(
    ("name", "mode", "magic"),
    [
        *(("pnm", "1", b"P4"), ("pnm", "L", b"P5"), ("pnm", "RGB", b"P6"), ("pnm", "I;16", b"P5")),
        *(("pnm", "L;M", b"P5"), ("pnm", "RGB;M", b"P6"), ("pnm", "RGB;16", b"P6")),
        *(("pbm", "1", b"P4"), ("pgm", "1", b"P5"), ("pgm", "L", b"P5"), ("pgm", "L;M", b"P5")),
        *(("ppm", "1", b"P6"), ("ppm", "L", b"P6"), ("ppm", "RGB", b"P6"), ("pfm", "F", b"Pf")),
    ],
)
def test_the_suffix_says_what_is_inside(name: str, mode: str, magic: bytes) -> None:
    assert encoded(noisy(mode), name)[:2] == magic


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16", "F"])
@pytest.mark.parametrize("band", [1, 2, None])
def test_pillow_reads_the_same(mode: str, band: int | None) -> None:
    wanted = noisy(mode, (5, 13))
    octets, notes = written([wanted], "pfm" if mode == "F" else "pnm", band=band)
    np.testing.assert_array_equal(np.asarray(opened(octets)), wanted.array)
    assert notes == []


@needs("pnmtoplainpnm")
@pytest.mark.parametrize("maxval", [2, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_netpbm_reads_the_same(kind: int, maxval: int) -> None:
    array = pixels_of(kind, maxval)
    octets = encoded(decoded(pnm(kind, maxval, array)), "pnm")
    done = subprocess.run([TO_PLAIN], input=octets, capture_output=True, check=True)
    magic, *samples = done.stdout.split()
    assert magic == b"P%d" % (kind - 3)
    assert list(map(int, samples)) == [6, 4, maxval, *array.ravel().tolist()]
