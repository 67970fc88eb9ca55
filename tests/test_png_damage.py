"""Damaged and hostile PNGs give no wrong pixels, and take neither long nor much memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import numpy as np
import pytest

from poolcli.errors import PoolError
from poolcli.formats import png_chunks
from poolcli.formats.contract import Limits, open_reader
from tests.animations import Region, apng_of, chunks_of
from tests.contract_support import Counting, calls_of, peak_growth
from tests.jobs import run, work
from tests.pictures import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk, noise, pictures_in, png
from tests.png_support import ANIMATED, Part, plain, png_with, warnings_of, with_data

PLTE: Final = (b"PLTE", bytes(range(256)) * 3)
CHANNELS: Final = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
KINDS: Final = [
    *((depth, GREY) for depth in (1, 2, 4, 8, 16)),
    *((depth, PALETTE) for depth in (1, 2, 4, 8)),
    *((depth, kind) for kind in (RGB, GREY_ALPHA, RGB_ALPHA) for depth in (8, 16)),
]
FLIPS: Final = 20
PASSES: Final = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The first x and y, and the steps along x and y, of the seven passes."""


def random_png(depth: int, kind: int, seed: int, *, interlaced: bool) -> bytes:
    """Return a picture of random bits whose rows have random filters."""
    rng = np.random.default_rng(seed)
    width, height = (int(one) for one in rng.integers(5, 40, 2))
    sizes = [(width, height)]
    if interlaced:
        sizes = [
            (len(range(x, width, across)), len(range(y, height, down)))
            for x, y, across, down in PASSES
        ]
    rows = [
        bytes([rng.integers(5)]) + rng.bytes((across * CHANNELS[kind] * depth + 7) // 8)
        for across, down in sizes
        for _ in range(down if across else 0)
    ]
    return with_data(
        png(width, [b""], depth, kind, PLTE, interlaced=interlaced, height=height),
        zlib.compress(b"".join(rows)),
    )


def data_of(octets: bytes, name: bytes = b"IDAT") -> bytes:
    return next(body for found, body in chunks_of(octets) if found == name)


def flips(octets: bytes, seed: int = 0) -> Iterator[bytes]:
    """Yield copies with one flipped bit, at places that are spread evenly."""
    rng = np.random.default_rng(seed)
    for start in np.linspace(0, 8 * len(octets), FLIPS, endpoint=False).astype(int):
        at = min(int(start + rng.integers(8 * len(octets) // FLIPS)), 8 * len(octets) - 1)
        yield octets[: at // 8] + bytes([octets[at // 8] ^ 1 << at % 8]) + octets[at // 8 + 1 :]


def is_refused(octets: bytes) -> bool:
    try:
        list(pictures_in(octets))
    except PoolError as refusal:
        assert refusal.remedy in ("is the file damaged?", "is the file complete?")  # noqa: PT017
        return True
    return False


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_one_flipped_bit_of_the_pixels_is_always_refused(
    depth: int, kind: int, interlaced: bool
) -> None:
    whole = random_png(depth, kind, depth + kind, interlaced=interlaced)
    data = data_of(whole)
    assert not is_refused(whole)
    for one in flips(data):
        assert is_refused(whole.replace(data, one))


@pytest.mark.parametrize("interlaced", [False, True], ids=["straight", "interlaced"])
@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_a_flipped_bit_under_a_true_crc_is_refused_or_changes_no_pixel(
    depth: int, kind: int, interlaced: bool
) -> None:
    whole = random_png(depth, kind, 10 + depth - kind, interlaced=interlaced)
    (right,) = pictures_in(whole)
    refused = 0
    for one in flips(data_of(whole), seed=1):
        octets = with_data(whole, one)
        if is_refused(octets):
            refused += 1
        else:  # deflate ignores some bits before an uncompressed block
            (found,) = pictures_in(octets)
            np.testing.assert_array_equal(found.array, right.array)
    assert refused >= FLIPS - 1


def test_the_last_bytes_of_the_pixels_and_every_frame_of_an_animation_are_checked() -> None:
    for octets, name in ((plain(), b"IDAT"), (ANIMATED, b"IDAT"), (ANIMATED, b"fdAT")):
        data = data_of(octets, name)
        for place in range(1, 5):
            wrong = data[:-place] + bytes([data[-place] ^ 1]) + data[len(data) - place + 1 :]
            assert is_refused(octets.replace(data, wrong))
            assert is_refused(with_data(octets, wrong, name))


def rows_of(count: int, more: bytes = b"") -> bytes:
    """Return the picture of `plain`, but with another number of rows."""
    rows = zlib.decompress(data_of(plain())).ljust(91 * count, b"\0")[: 91 * count]
    return with_data(plain(), zlib.compress(rows + more))


def indexed(*parts: Part) -> bytes:
    return png(2, [b"\0\1"], 8, PALETTE, *parts)


COLOURS: Final = (b"PLTE", bytes(6))
WRONG_CRC: Final = plain().replace(chunk(b"IEND", b""), b"")[:-1] + b"\0" + chunk(b"IEND", b"")
REFUSED: Final = {
    "a wrong CRC": (WRONG_CRC, "its IDAT chunk is damaged"),
    "no checksum": (with_data(plain(), data_of(plain())[:-4]), "its pixel data breaks off"),
    "rows missing": (rows_of(17), "fewer rows"),
    "a row too many": (rows_of(21), "more rows"),
    "a bomb behind the rows": (rows_of(20, bytes(1 << 24)), "more rows"),
    "a filter of 5": (with_data(plain(), zlib.compress(b"\5" * 91 * 20)), "unknown filter"),
    "no palette": (indexed(), "no palette"),
    "two palettes": (indexed(COLOURS, COLOURS), "two PLTE chunks"),
    "two palettes for colours": (png_with(COLOURS, COLOURS), "two PLTE chunks"),
    "an empty palette": (indexed((b"PLTE", b"")), "PLTE chunk is damaged"),
    "a third of a colour": (indexed((b"PLTE", bytes(4))), "PLTE chunk is damaged"),
    "too many colours": (indexed((b"PLTE", bytes(771))), "PLTE chunk is damaged"),
    "two headers": (png_with((b"IHDR", plain()[16:29])), "two IHDR chunks"),
    "an unknown critical chunk": (png_with((b"CgBI", bytes(4))), "chunk CgBI is unknown"),
    "a frame without pixels": (
        apng_of([Region(noise("RGBA", (4, 4))), Region(noise("RGBA", (0, 4)))], 4, 4),
        "one of its frames has 0×4 pixels",
    ),
}


@pytest.mark.parametrize(("octets", "words"), REFUSED.values(), ids=REFUSED)
def test_damage_is_refused_and_named(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError, match=words) as refusal:
        list(pictures_in(octets))
    assert refusal.value.remedy


def test_some_bytes_behind_the_rows_and_a_missing_end_do_no_harm() -> None:
    assert warnings_of(rows_of(20, b"surplus")) == ()
    assert warnings_of(with_data(plain(), data_of(plain()) + b"surplus")) == ()
    assert warnings_of(plain()[:-12]) == warnings_of(plain()[:-1] + b"\0")
    assert "its end is missing or damaged" in warnings_of(plain()[:-12])[0]


def test_rows_that_no_window_needs_are_checked_too(tmp_path: Path) -> None:
    data = data_of(plain())
    (tmp_path / "in.png").write_bytes(with_data(plain(), data[:-1] + bytes([data[-1] ^ 1])))
    outcome = run(tmp_path / "in.png", tmp_path / "out.png", "png", work("max", 19))
    assert outcome.error == "its pixel data is damaged"
    assert not (tmp_path / "out.png").exists()


def test_rows_are_the_same_in_any_order() -> None:
    for kind, depth in ((RGB, 8), (RGB_ALPHA, 16), (GREY, 2)):
        octets = random_png(depth, kind, 1, interlaced=False)
        (frame,) = open_reader(BytesIO(octets), Limits(10**6)).frames()
        height = frame.info.shape[0]
        whole = frame.rows(0, height)
        for start, stop in ((0, 2), (1, 4), (2, 3), (0, 1), (height - 1, height), (1, 2)):
            np.testing.assert_array_equal(frame.rows(start, stop), whole[start:stop])


# Bombs


def test_a_header_before_zeros_is_refused_at_once() -> None:
    for size in (10**6, 10**8):
        stream = Counting(plain()[:33] + bytes(size))
        with pytest.raises(PoolError, match="no pixels"):
            open_reader(stream, Limits(10**6))
        assert stream.taken < 1000


def test_more_chunks_than_a_picture_needs_are_refused() -> None:
    head, tail = plain()[:33], plain()[33:]
    most = png_chunks.MOST_CHUNKS
    for part in (
        chunk(b"IDAT", b""),
        chunk(b"fdAT", b""),
        chunk(b"tEXt", b""),
        chunk(b"prVt", b""),
    ):
        stream = Counting(head + part * (most + 1000) + tail)
        with pytest.raises(PoolError, match=r"too many chunks|more than 65536 chunks"):
            open_reader(stream, Limits(10**6))
    assert not is_refused(head + chunk(b"tEXt", b"a\0b") * 1000 + tail)


def test_metadata_takes_bounded_memory() -> None:
    large = chunk(b"tEXt", b"Title\0" + bytes(1 << 23))
    stream = BytesIO(plain()[:33] + large * 20 + plain()[33:])
    stream.name = "in"

    def look() -> None:
        metadata = next(open_reader(stream, Limits(10**6)).frames()).metadata()
        assert metadata.warnings == ("it has too much metadata, and some of it was dropped",)
        assert sum(len(body) for _, body in metadata.texts) <= png_chunks.MOST_METADATA

    assert peak_growth(look) < 2 * png_chunks.MOST_METADATA


def test_texts_that_unpack_to_much_are_unpacked_a_few_times_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(b"\n\n\n" + b"20" * (1 << 20)))
    octets = png_with(*[bomb] * 50)
    unpacking = Mock(wraps=zlib.decompressobj)
    monkeypatch.setattr(zlib, "decompressobj", unpacking)
    open_reader(BytesIO(octets), Limits(10**6))
    assert unpacking.call_count < 10


MEASURED: Final[dict[str, Any]] = {
    "RGB": (8, RGB, 3000, 50, 1),
    "16-bit RGBA": (16, RGB_ALPHA, 2000, 50, 1),
    "1 bit": (1, GREY, 12000, 50, 1),
    "RGB by size 1": pytest.param(8, RGB, 4000, 1, 1, marks=pytest.mark.slow),
    "interlaced RGB": (8, RGB, 2000, 50, 2),
}


@pytest.mark.parametrize(("depth", "kind", "side", "size", "most"), MEASURED.values(), ids=MEASURED)
def test_a_picture_takes_the_memory_of_some_bands(
    depth: int, kind: int, side: int, size: int, most: int, tmp_path: Path
) -> None:
    row = bytes(side * CHANNELS[kind] * depth // 8)
    rows = [row] * side
    if most > 1:  # an interlaced picture is held as a whole
        rows = [
            bytes(len(range(x, side, across)) * CHANNELS[kind])
            for x, y, across, down in PASSES
            for _ in range(y, side, down)
        ]
    octets = png(side, rows, depth, kind, interlaced=most > 1, height=side)
    (tmp_path / "in.png").write_bytes(octets)

    def act() -> None:
        how = work("max", size, max_pixels=side**2)
        assert run(tmp_path / "in.png", tmp_path / "out.png", "png", how).status == "done"

    act()  # imports are made
    (tmp_path / "out.png").unlink()
    assert peak_growth(act) < most * len(row) * side


@pytest.mark.slow
def test_work_is_straight_in_the_number_of_frames_and_memory_is_flat(tmp_path: Path) -> None:
    counts = (9, 10, 40, 70, 3000)
    for count in counts:
        regions = [Region(noise("RGBA", (4, 4), seed), over=False) for seed in range(count)]
        (tmp_path / f"{count}.png").write_bytes(apng_of(regions, 4, 4))

    def pool(count: int) -> None:
        how = work("max", 2, overwrite=True)
        outcome = run(tmp_path / f"{count}.png", tmp_path / "out.png", "png", how)
        assert (outcome.status, outcome.frames) == ("done", count)

    pool(counts[0])  # imports are made
    few, more, most = (calls_of(partial(pool, count)) for count in counts[1:4])
    assert most - more == pytest.approx(more - few, rel=0.05)
    assert peak_growth(partial(pool, counts[4])) < 3000 * counts[4]
