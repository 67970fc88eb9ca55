"""Arrays in NumPy's own format: in and out, as files and in a pipe, and hostile ones."""

from __future__ import annotations

import pickle
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from poolcli import avg_pool, codec, max_pool, min_pool
from poolcli import run as runner
from poolcli.colour import Choices
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import Saving, by_name
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run import Work
from poolcli.storage import Source, Target
from tests.conftest import Run
from tests.pictures import LIMIT, decoded, encoded, identified

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
def test_an_array_comes_back_as_it_was(dtype: str, shape: tuple[int, ...]) -> None:
    array = noise(dtype, shape)
    header, picture = identified(npy(array)), decoded(npy(array))
    assert (header.format, header.shape, header.dtype) == ("npy", shape, array.dtype)
    again = loaded(encoded(picture, "npy"))
    assert (again.shape, again.dtype) == (shape, array.dtype)
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_any_layout_and_version_of_the_format_is_read(
    version: tuple[int, int], order: Any, endian: str, shape: tuple[int, ...]
) -> None:
    array = noise("u2", shape)
    stored = np.array(array, np.dtype(endian + "u2"), order=order)
    picture = decoded(npy(stored, version))
    np.testing.assert_array_equal(picture.array, array)
    again = loaded(encoded(picture, "npy"))
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    ("dtype", "shape", "mode"),
    [
        ("?", (4, 6), "1"),
        ("u1", (4, 6), "L"),
        ("u1", (4, 6, 3), "RGB"),
        ("u2", (4, 6), "I;16"),
        (">u2", (4, 6), "I;16"),
        ("u2", (4, 6, 3), "RGB;16"),
        ("i4", (4, 6), "I"),
        ("f4", (4, 6), "F"),
        ("u1", (4, 6, 1), "array"),
        ("u1", (4, 6, 2), "array"),
        ("u1", (4, 6, 4), "array"),
        ("u2", (4, 6, 4), "array"),
        ("f8", (4, 6), "array"),
        ("u4", (4, 6), "array"),
    ],
)
def test_the_mode_follows_from_type_and_channels_and_no_channel_is_taken_for_alpha(
    dtype: str, shape: tuple[int, ...], mode: str
) -> None:
    array = noise(dtype, shape).astype(dtype)
    assert identified(npy(array)).mode == decoded(npy(array)).mode == mode


@ANY_DTYPE
@pytest.mark.parametrize("method", POOLS)
def test_an_array_file_is_pooled_as_by_the_engine(method: str, dtype: str, tmp_path: Path) -> None:
    array = noise(dtype, (4, 6, 2))
    outcome, octets = pooled(array, method, tmp_path)
    seen, wanted = loaded(octets), POOLS[method](array, size=2)
    assert outcome.status == "done"
    assert (seen.dtype, seen.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(seen, wanted)
    assert (outcome.dtype, outcome.output_shape) == (str(wanted.dtype), wanted.shape)


def pooled(array: NDArray[Any], method: Any, folder: Path) -> tuple[Outcome, bytes]:
    (folder / "in.npy").write_bytes(npy(array))
    work = Work(Choices(method, Window.of(2)), Saving(), LIMIT)
    target = Target.at(str(folder / "out.npy"))
    outcome = runner.run_job(Job(Source(str(folder / "in.npy")), target, by_name("npy")), work)
    return outcome, (folder / "out.npy").read_bytes()


@pytest.mark.parametrize("words", [(), ("--format", "npy")])
def test_an_array_goes_through_a_pipe(run: Run, words: tuple[str, ...]) -> None:
    array = noise("f8", (5, 7, 2))
    done = run("avg", "--size", 2, *words, "-", "-", input=npy(array))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(loaded(done.stdout), avg_pool(array, size=2))


def test_a_picture_becomes_an_array_in_a_pipe(run: Run, samples: Path) -> None:
    source = next(iter(sorted(samples.glob("*.png"))))
    done = run("max", "--size", 2, "--format", "npy", source, "-")
    assert done.returncode == 0, done.stderr
    wanted = max_pool(decoded(source.read_bytes()).array, size=2)
    if decoded(source.read_bytes()).mode not in ("LA", "RGBA"):
        np.testing.assert_array_equal(loaded(done.stdout), wanted)
    assert loaded(done.stdout).shape == wanted.shape


def test_an_array_becomes_a_picture() -> None:
    array = noise("u1", (4, 6, 3))
    again = decoded(encoded(decoded(npy(array)), "png"))
    assert again.mode == "RGB"
    np.testing.assert_array_equal(again.array, array)


@pytest.mark.parametrize(
    ("dtype", "shape", "name", "remedy"),
    [
        ("f8", (4, 6), "png", ".npy"),
        ("u1", (4, 6, 4), "png", ".tif"),
        ("i2", (4, 6), "png", ".tif"),
        ("u2", (4, 6), "jpeg", "--allow-depth-loss"),
        ("u4", (4, 6), "pgm", ".npy"),
    ],
)
def test_an_array_that_a_format_cannot_hold_is_refused_with_a_remedy(
    dtype: str, shape: tuple[int, ...], name: str, remedy: str
) -> None:
    with pytest.raises(PoolError) as refusal:
        encoded(decoded(npy(noise(dtype, shape))), name)
    assert remedy in refusal.value.remedy


def test_nothing_is_stored_in_fortran_order_or_from_the_last_byte_down() -> None:
    array = np.asfortranarray(noise("u2", (4, 6, 3)).astype(">u2"))
    picture = decoded(npy(array))
    np.testing.assert_array_equal(loaded(encoded(picture, "npy")), array)


@pytest.mark.parametrize("byte", [2, 128, 255])
def test_any_byte_but_0_is_true(byte: int, tmp_path: Path) -> None:
    octets = raw(described("'|b1'", "(2, 2)"), bytes([byte, 0, 0, 0]))
    (tmp_path / "in.npy").write_bytes(octets)
    work = Work(Choices("avg", Window.of(2)), Saving(), LIMIT)
    target = Target.at(str(tmp_path / "out.npy"))
    outcome = runner.run_job(Job(Source(str(tmp_path / "in.npy")), target, by_name("npy")), work)
    assert outcome.status == "done"
    assert loaded((tmp_path / "out.npy").read_bytes()).tolist() == [[64]]


# Hostile files

WHOLE = npy(noise("u2", (4, 6)))

HOSTILE = {
    "one byte too many": WHOLE + b"\0",
    "two arrays": WHOLE + WHOLE,
    "one byte too few": WHOLE[:-1],
    "no elements": WHOLE[:128],
    "a huge shape": raw(described("'<u2'", "(1000000000000, 1000000000000)")),
    "a shape past 64 bits": raw(described("'<u2'", f"({2**63}, {2**63})")),
    "a shape that wraps to nothing": raw(described("'<u2'", f"({2**32}, {2**32})")),
    "a negative shape": raw(described("'|u1'", "(-1, -1)"), b"\0"),
    "a shape of booleans": raw(described("'|u1'", "(True, 'x')"), b"\0"),
    "a shape that is a number": raw(described("'|u1'", "4"), b"\0" * 4),
    "a shape with a fraction": raw(described("'|u1'", "(2.0, 2)"), b"\0" * 4),
    "no axes": npy(np.array(7)),
    "one axis": npy(np.arange(7)),
    "four axes": npy(np.zeros((2, 2, 2, 2))),
    "no rows": npy(np.zeros((0, 4))),
    "no channels": npy(np.zeros((4, 4, 0))),
    "complex": npy(np.zeros((4, 4), complex)),
    "text": npy(np.full((4, 4), "abc")),
    "bytes": npy(np.full((4, 4), b"abc")),
    "dates": npy(np.zeros((4, 4), "M8[s]")),
    "spans of time": npy(np.zeros((4, 4), "m8[s]")),
    "records": npy(np.zeros((4, 4), [("a", "u1"), ("b", "f4")])),
    "long floats": npy(np.zeros((4, 4), np.longdouble)),
    "voids": npy(np.zeros((4, 4), "V3")),
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
        identified(octets)
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
            codec.decode(identified(octets))
    assert not marker.exists()


def test_an_array_cut_anywhere_is_refused() -> None:
    for cut in range(len(WHOLE)):
        with pytest.raises(PoolError):
            decoded(WHOLE[:cut])


def test_a_damaged_array_raises_nothing_but_a_refusal() -> None:
    rng, reached = np.random.default_rng(5), 0
    for _ in range(300):
        damaged = np.frombuffer(WHOLE, np.uint8).copy()
        damaged[rng.integers(0, len(WHOLE))] = rng.integers(0, 256)
        try:
            picture = decoded(damaged.tobytes())
            reached += picture.array.size > 0
        except PoolError as refusal:
            assert refusal.remedy  # noqa: PT017  # some damage does no harm
    assert reached > 30


@pytest.mark.parametrize(("channels", "weight"), [(1, 1), (4, 1), (5, 2), (50, 13)])
def test_a_large_array_is_refused_by_its_pixels_of_up_to_four_channels(
    channels: int, weight: int
) -> None:
    octets = npy(np.zeros((10, 10, channels), np.uint8))
    assert identified(octets, 100 * weight).shape == (10, 10, channels)
    with pytest.raises(PoolError, match="--max-pixels"):
        identified(octets, 100 * weight - 1)
