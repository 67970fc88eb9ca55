"""`ahead`: the items and the exceptions of an iterator, taken by a thread that always ends."""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats import png_pixels
from poolcli.formats.contract import Limits
from poolcli.formats.png import PngReader, PngWriter
from poolcli.threads import ahead
from tests.jobs import run
from tests.pictures import chunk
from tests.support.tools import extra

ROWS, COLUMNS = 1500, 1024
"""A grey picture of several megabytes, which is decompressed in several blocks."""


def grey() -> bytes:
    """Return a PNG of random grey pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 2 * COLUMNS), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert [one for one in threading.enumerate() if one not in before] == []


@pytest.fixture(params=["zlib", "isal.isal_zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decompress by a library, whichever is installed."""
    module = extra(request.param, "fast")
    monkeypatch.setattr(png_pixels, "fast_zlib", lambda: module)


def png_of(compressed: bytes | bytearray) -> bytes:
    """Return a PNG like `grey`, with these compressed pixels and right CRCs."""
    octets = grey()
    begin = octets.index(b"IDAT") - 4
    return octets[:begin] + chunk(b"IDAT", bytes(compressed)) + chunk(b"IEND", b"")


def counting(stop: int, taken: list[int]) -> Iterator[int]:
    """Yield numbers, and write down which ones were taken."""
    for number in range(stop):
        taken.append(number)
        yield number


@pytest.mark.parametrize("most", [1, 2, 100])
def test_all_items_come_in_order_and_the_thread_ends(most: int) -> None:
    assert list(ahead(iter(range(50)), most)) == list(range(50))
    assert list(ahead(iter(()), most)) == []


def test_no_more_items_are_taken_than_may_wait() -> None:
    taken: list[int] = []
    items = ahead(counting(100, taken), 3)
    assert not taken
    for expected in range(20):
        assert next(items) == expected
        # Beside those that wait, one may have been handed over, and one is not yet in the queue.
        assert len(taken) <= expected + 1 + 3 + 1
    items.close()


def test_an_exception_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise PoolError("the sixth is missing")

    items = ahead(failing(), 2)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(PoolError, match="the sixth is missing"):
        next(items)
    assert list(items) == []


def test_the_items_come_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert list(ahead(iter(range(5)), 2)) == list(range(5))


def test_closing_ends_a_thread_that_waits_for_room() -> None:
    full = threading.Event()

    def watched() -> Iterator[int]:
        for number in range(100):
            if number == 3:  # the first was taken, one waits, and there is no room for this one
                full.set()
            yield number

    items = ahead(watched(), 1)
    next(items)
    next(items)
    assert full.wait(60)
    items.close()


@pytest.mark.usefixtures("library")
def test_the_pixels_of_a_png_are_read_ahead() -> None:
    octets = grey()
    with Image.open(io.BytesIO(octets)) as image:
        wanted = np.asarray(image)
    reader = PngReader(io.BytesIO(octets), Limits(1 << 30))
    for _ in range(2):
        for frame in reader.frames():
            bands = [frame.rows(top, top + 100) for top in range(0, ROWS, 100)]
            np.testing.assert_array_equal(np.concatenate(bands), wanted)
            np.testing.assert_array_equal(frame.rows(3, 20), wanted[3:20])


@pytest.mark.usefixtures("library")
def test_a_frame_that_is_given_up_leaves_no_thread() -> None:
    reader = PngReader(io.BytesIO(grey()), Limits(1 << 30))
    frames = reader.frames()
    next(frames).rows(0, 10)
    frames.close()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("at", [0, 1, 40, 2000, -4, -1])
def test_damage_is_told_each_time_that_the_rows_are_read(at: int) -> None:
    body = bytearray(zlib.compress(bytes(ROWS * (1 + 2 * COLUMNS))))
    body[at] ^= 0x10
    frames = PngReader(io.BytesIO(png_of(body)), Limits(1 << 30)).frames()
    frame = next(frames)
    for _ in range(2):
        with pytest.raises(PoolError, match="its pixel data is damaged"):
            frame.rows(0, ROWS)
    frames.close()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("rows", "cut", "message"),
    [(ROWS, -3, "breaks off"), (ROWS - 1, None, "fewer rows"), (ROWS + 1, None, "more rows")],
)
def test_missing_and_surplus_pixels_are_refused(rows: int, cut: int | None, message: str) -> None:
    body = zlib.compress(bytes(rows * (1 + 2 * COLUMNS)))[:cut]
    (frame,) = PngReader(io.BytesIO(png_of(body)), Limits(1 << 30)).frames()
    with pytest.raises(PoolError, match=message):
        frame.rows(0, ROWS)


def test_a_picture_that_can_not_be_written_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_writer: PngWriter, _band: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(PngWriter, "rows", refuse)
    (tmp_path / "in.png").write_bytes(grey())
    outcome = run(tmp_path / "in.png", tmp_path / "out.png", "png")
    assert outcome.status == "failed"
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
