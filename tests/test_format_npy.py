"""NPY: what only arrays have: any type, order and version, and hostile headers."""

from __future__ import annotations

import pickle
import struct
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli import avg_pool, max_pool, min_pool
from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.picture import Stored
from tests import jobs
from tests.contract_support import Counting
from tests.pictures import LIMIT, decoded, encoded, first_info, reader_of
from tests.support.processes import Run

DTYPES = ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
SHAPES = ((4, 6), (4, 6, 1), (4, 6, 2), (4, 6, 3), (4, 6, 4), (4, 6, 7))
ANY_DTYPE = pytest.mark.parametrize("dtype", DTYPES)
POOLS = {"max": max_pool, "min": min_pool, "avg": avg_pool}


def noise(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    kind, rng = np.dtype(dtype), np.random.default_rng(len(shape))
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind == "f":
        return rng.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind.newbyteorder("="), endpoint=True)


def npy(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=False)
    return buffer.getvalue()


def raw(header: str, elements: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """A file with any header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + elements


def described(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def loaded(octets: bytes) -> NDArray[Any]:
    return np.asarray(np.load(BytesIO(octets), allow_pickle=False))


# In and out


@pytest.mark.parametrize("shape", SHAPES)
@ANY_DTYPE
def test_an_array_comes_back_as_numpy_itself_writes_it(dtype: str, shape: tuple[int, ...]) -> None:
    octets = npy(noise(dtype, shape))
    assert encoded(decoded(octets, axes="HWC"[: len(shape)]), "npy") == octets


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_any_layout_and_version_of_the_format_is_read_in_any_rows(
    version: tuple[int, int], order: Any, endian: str, shape: tuple[int, ...]
) -> None:
    array = noise("u2", shape)
    octets = npy(np.array(array, np.dtype(endian + "u2"), order=order), version)
    (frame,) = reader_of(octets).frames()
    for start, stop in ((0, 4), (1, 3), (3, 4), (0, 1)):
        np.testing.assert_array_equal(frame.rows(start, stop), array[start:stop])
    again = loaded(encoded(decoded(octets), "npy"))
    assert again.flags.c_contiguous
    np.testing.assert_array_equal(again, array)


def test_only_the_rows_that_are_asked_for_are_read() -> None:
    stream = Counting(npy(noise("u2", (1000, 50))))
    (frame,) = open_reader(stream, Limits(LIMIT)).frames()
    stream.taken = 0
    assert frame.rows(700, 710).shape == (10, 50)
    assert stream.taken == 10 * 50 * 2


@pytest.mark.parametrize(
    ("dtype", "shape", "mode", "stored"),
    [
        ("?", (4, 6), "1", ("unsigned", 1, 1, 1)),
        ("u1", (4, 6), "L", ("unsigned", 8, 255, 1)),
        ("u1", (4, 6, 3), "RGB", ("unsigned", 8, 255, 3)),
        ("u2", (4, 6), "I;16", ("unsigned", 16, 65535, 1)),
        (">u2", (4, 6), "I;16", ("unsigned", 16, 65535, 1)),
        ("u2", (4, 6, 3), "RGB;16", ("unsigned", 16, 65535, 3)),
        ("i4", (4, 6), "I", ("signed", 32, 0, 1)),
        ("f4", (4, 6), "F", ("float", 32, 0, 1)),
        ("u1", (4, 6, 1), "array", ("unsigned", 8, 255, 1)),
        ("u1", (4, 6, 2), "array", ("unsigned", 8, 255, 2)),
        ("u1", (4, 6, 4), "array", ("unsigned", 8, 255, 4)),
        ("?", (4, 6, 3), "array", ("unsigned", 1, 1, 3)),
        ("f8", (4, 6), "array", ("float", 64, 0, 1)),
        ("u4", (4, 6), "array", ("unsigned", 32, 2**32 - 1, 1)),
        ("u8", (4, 6), "array", ("unsigned", 64, 2**64 - 1, 1)),
    ],
)
def test_the_mode_follows_from_type_and_channels_and_no_channel_is_taken_for_alpha(
    dtype: str, shape: tuple[int, ...], mode: str, stored: tuple[Any, ...]
) -> None:
    info = first_info(npy(noise(dtype, shape).astype(dtype)))
    assert (info.mode, info.stored, info.shape) == (mode, Stored(*stored), shape)
    assert info.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("axes", ["HW", "HWC", "CHW", "NCHW", "WH"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u2", "f4", "i8"])
def test_big_endian_elements_come_as_the_machine_has_them(
    dtype: str, order: Literal["C", "F"], axes: str
) -> None:
    array = noise(dtype, (2, 3, 5, 4)[-len(axes) :])
    swapped = np.asarray(array, np.dtype(dtype).newbyteorder(">"), order)
    found, wanted = (decoded(npy(one), axes=axes).array for one in (swapped, array))
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, wanted)


def test_levels_of_a_big_endian_array_are_pooled(run: Run, tmp_path: Path) -> None:
    array = noise("u2", (12, 14))
    np.save(tmp_path / "in.npy", array.astype(">u2"))
    done = run("max", "--levels", "2,3", "in.npy", "out/")
    assert done.returncode == 0, done.stderr
    for level in (2, 3):
        pooled = np.load(tmp_path / "out" / f"in_{level}.npy")
        np.testing.assert_array_equal(pooled, max_pool(array, level))


@ANY_DTYPE
@pytest.mark.parametrize("method", POOLS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_an_array_file_is_pooled_as_by_the_engine(
    method: str, dtype: str, order: str, tmp_path: Path
) -> None:
    array = noise(dtype, (7, 9, 2))
    swapped = np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
    np.save(tmp_path / "in.npy", array if order == "<" else swapped)
    how = jobs.work(method, 3, stride=2)
    outcome = jobs.run(tmp_path / "in.npy", tmp_path / "out.npy", "npy", how)
    assert outcome.status == "done", outcome.error
    seen, wanted = np.load(tmp_path / "out.npy"), POOLS[method](array, size=3, stride=2)
    assert seen.dtype.name == np.dtype(outcome.dtype).name == wanted.dtype.name
    assert seen.shape == outcome.output_shape == wanted.shape
    np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("words", [(), ("--format", "npy")])
def test_an_array_goes_through_a_pipe(run: Run, words: tuple[str, ...]) -> None:
    array = noise("f8", (5, 7, 2))
    done = run("avg", "--size", 2, *words, "-", "-", input=npy(array))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(loaded(done.stdout), avg_pool(array, size=2))


@pytest.mark.parametrize("byte", [2, 128, 255])
def test_any_byte_but_0_is_true(byte: int, tmp_path: Path) -> None:
    octets = raw(described("'|b1'", "(2, 2)"), bytes([byte, 0, 0, 0]))
    (tmp_path / "in.npy").write_bytes(octets)
    outcome = jobs.run(tmp_path / "in.npy", tmp_path / "out.npy", "npy", jobs.work("avg"))
    assert outcome.status == "done"
    assert loaded((tmp_path / "out.npy").read_bytes()).tolist() == [[64]]


# Named axes

ORDERS = ["CHW", "NCHW", "NHWC", "TZYX", "WH", "HCW", "CXNY", "HWN", "nyxs"]


def array_of(axes: str) -> NDArray[Any]:
    extents = {"N": 2, "T": 2, "Z": 3, "C": 3, "S": 3}
    return noise("u2", tuple(extents.get(letter, 9) for letter in axes.upper()))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axes", ORDERS)
def test_an_array_of_any_axes_is_pooled_as_by_the_engine(
    axes: str, order: Any, tmp_path: Path
) -> None:
    array = array_of(axes)
    np.save(tmp_path / "in.npy", np.array(array, order=order))
    how = jobs.work("avg", 3, stride=2, axes=axes)
    outcome = jobs.run(tmp_path / "in.npy", tmp_path / "out.npy", "npy", how)
    assert outcome.status == "done", outcome.error
    pooled = avg_pool(array, 3, 2, axes=axes)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pooled)
    assert np.load(tmp_path / "out.npy").dtype == pooled.dtype


def test_only_the_rows_that_are_asked_for_are_read_of_every_channel_too() -> None:
    stream = Counting(npy(noise("u2", (2, 3, 100, 50))))
    _, frame = open_reader(stream, Limits(LIMIT), "NCHW").frames()
    stream.taken = 0
    assert frame.rows(70, 80).shape == (10, 50, 3)
    assert stream.taken == 3 * 10 * 50 * 2


def test_the_pictures_of_an_array_are_pages_and_one_of_them_is_a_frame(tmp_path: Path) -> None:
    array = array_of("ZYX")
    np.save(tmp_path / "in.npy", array)
    outcome = jobs.run(
        tmp_path / "in.npy", tmp_path / "out.tif", "tiff", jobs.work("max", axes="ZYX")
    )
    assert outcome.status == "done", outcome.error
    with Image.open(tmp_path / "out.tif") as image:
        image.seek(2)
        np.testing.assert_array_equal(np.asarray(image), max_pool(array[2], 2))
    outcome = jobs.run(tmp_path / "in.npy", tmp_path / "out.png", "png", jobs.work(axes="ZYX"))
    assert outcome.error == "PNG can't hold pages, and the input has 3 frames"
    how = jobs.work(axes="ZYX", frame=1)
    for name, format_name in (("out.png", "png"), ("out.npy", "npy")):
        outcome = jobs.run(tmp_path / "in.npy", tmp_path / name, format_name, how)
        assert outcome.status == "done", outcome.error
    assert np.load(tmp_path / "out.npy").shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((3, 12, 16), "give --axes CHW, or --axes HWC if it is (H, W, C)"),
        ((7, 12, 16), "give --axes ZYX, or --axes HWC if it is (H, W, C)"),
        ((2, 3, 12, 16), "give --axes NCHW"),
    ],
)
def test_an_array_that_looks_like_planes_is_refused_without_axes(shape: Any, remedy: str) -> None:
    with pytest.raises(PoolError) as refusal:
        reader_of(npy(noise("u1", shape)))
    assert refusal.value.remedy == remedy


def test_axes_are_refused_where_no_input_is_an_array(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    (tmp_path / "in").write_bytes((tmp_path / "in.png").read_bytes())
    np.save(tmp_path / "in.npy", noise("u1", (3, 12, 16)))
    words = ("max", "--size", 2, "--axes")
    done = run(*words, "CHW", "in.png", "out.png")
    assert (done.returncode, done.stderr.decode()) == (
        2,
        "poolcli: --axes has an effect on arrays only; leave it out\n",
    )
    done = run(*words, "CHW", "in", "out.png")
    assert done.returncode == 1
    assert "it is PNG, whose axes have no letters; leave --axes out" in done.stderr.decode()
    done = run(*words, "CC", "in.npy", "out.npy")
    assert done.returncode == 2
    done = run(*words, "CHW", "in.npy", "in.png", "out/")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "out" / "in.npy").shape == (3, 6, 8)


# Hostile files

WHOLE = npy(noise("u2", (4, 6)))

UNPOOLABLE = (
    *(np.array(7), np.arange(7), np.zeros((2, 2, 2, 2)), np.zeros((0, 4)), np.zeros((4, 4, 0))),
    *(np.zeros((4, 4), one) for one in ("c16", "U3", "S3", "M8[s]", "m8[s]", "V3", "u1,f4")),
    np.zeros((4, 4), np.longdouble),
)
BAD_SHAPES = (
    *("(1000000000000, 1000000000000)", f"({2**63}, {2**63})", f"({2**32}, {2**32})"),
    *("(-1, -1)", "(-2, -2)", "(True, 'x')", "4", "(2.0, 2)"),
)
HOSTILE = {
    "one byte too many": WHOLE + b"\0",
    "two arrays": WHOLE + WHOLE,
    "one byte too few": WHOLE[:-1],
    "no elements": WHOLE[:128],
    **{f"{one.dtype} of shape {one.shape}": npy(one) for one in UNPOOLABLE},
    **{f"shape {one}": raw(described("'|u1'", one), bytes(4)) for one in BAD_SHAPES},
    "objects": raw(described("'|O'", "(1, 1)"), pickle.dumps([1])),
    "objects of 8 bytes": raw(described("'|O'", "(1, 1)"), bytes(8)),
    "an unknown order": raw(described("'|u1'", "(1, 1)", "'yes'"), b"\0"),
    "an unknown type": raw(described("'|q9'", "(1, 1)"), b"\0"),
    "code instead of a header": raw("__import__('os').system('true')", b"\0"),
    "no dictionary": raw("[1, 2]", b"\0"),
    "another key": raw("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1), 'x': 1}", b"\0"),
    "no shape": raw("{'descr': '|u1', 'fortran_order': False}", b"\0"),
    "deep nesting": raw("(" * 9000 + ")" * 9000, b"\0"),
    "a header past 10 kB": raw(described("'|u1'", "(1, 1)") + " " * 20_000, b"\0"),
    "an unknown version": raw(described("'|u1'", "(1, 1)"), b"\0", b"\x09\0"),
    "a header of no length": b"\x93NUMPY\1\0\0\0",
    "only the magic": b"\x93NUMPY",
    "half a magic": b"\x93NUM",
}


@pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_array_is_refused_from_its_header_with_a_remedy(octets: bytes) -> None:
    with pytest.raises(PoolError) as refusal:
        reader_of(octets)
    assert refusal.value.message
    assert refusal.value.remedy


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (marker.write_text, ("ran",))

    for octets in (
        pickle.dumps(Trap()),
        raw(described("'|O'", "(1, 1)"), pickle.dumps(Trap())),
    ):
        with pytest.raises(PoolError):
            decoded(octets)
    assert not marker.exists()


@pytest.mark.parametrize(("channels", "weight"), [(1, 1), (4, 1), (5, 2), (50, 13)])
def test_a_large_array_is_refused_by_its_pixels_of_up_to_four_channels(
    channels: int, weight: int
) -> None:
    octets = npy(np.zeros((10, 10, channels), np.uint8))
    assert reader_of(octets, 100 * weight, "HWC").count == 1
    with pytest.raises(PoolError, match="--max-pixels"):
        reader_of(octets, 100 * weight - 1, "HWC")
