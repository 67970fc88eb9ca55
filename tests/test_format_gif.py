"""GIF: palettes and canvases as they are read, colours as they are approximated, comments."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.formats.gif_blocks import read_blocks
from poolcli.picture import Metadata, Picture, Stored
from tests.animations import CLEAR, Region, chunks_of, gif_of, read_gif, shown
from tests.contract_support import Counting
from tests.pictures import (
    decoded,
    encoded,
    noise,
    opened,
    picture,
    pictures_in,
    reader_of,
    saved,
    widened,
    written,
)
from tests.support.tools import needs

GIFTOPNM: Final = shutil.which("giftopnm") or ""
COLOURS, GREYS = bytes([10, 20, 30, 40, 50, 60]), bytes([10, 10, 10, 40, 40, 40])
RAMP: Final = bytes(grey for grey in range(256) for _ in range(3))
COMMENT: Final = b"!\xfe\x05hello\0"
OPAQUE: Final = np.array([0, 0, 0, 255], np.uint8)


def pixels_of(octets: bytes, mode: str) -> NDArray[Any]:
    return np.asarray(opened(octets).convert(mode))


def gif(
    palette: bytes = COLOURS,
    *,
    indices: Sequence[int] = (0, 1),
    own: bytes = b"",
    key: int | None = None,
    before: bytes = b"",
    behind: bytes = b"",
    version: bytes = b"GIF89a",
) -> bytes:
    """Return a GIF of one row, with a global palette and its own, and more blocks around it."""
    flags, own_flags = (
        0x80 | (len(one) // 3).bit_length() - 2 if one else 0 for one in (palette, own)
    )
    control = b"" if key is None else b"!\xf9\x04\1\0\0" + bytes([key, 0])
    codes = np.append(np.insert(np.array(indices), 0, 256), 257)
    body = np.packbits(codes[:, None] >> np.arange(9) & 1, bitorder="little").tobytes()
    head = version + struct.pack("<HHBBB", len(indices), 1, flags, 0, 0) + palette
    place = b"," + struct.pack("<4HB", 0, 0, len(indices), 1, own_flags) + own
    data = b"\x08" + bytes([len(body)]) + body + b"\0"
    return head + before + control + place + data + behind + b";"


TWO: Final = [[10, 20, 30], [40, 50, 60]]
PALETTES: Final = {
    "global": (gif(), "RGB", TWO),
    "GIF87a": (gif(version=b"GIF87a"), "RGB", TWO),
    "grey": (gif(GREYS), "L", [10, 40]),
    "own": (gif(GREYS, own=COLOURS), "RGB", TWO),
    "own grey": (gif(b"", own=GREYS), "L", [10, 40]),
    "hidden": (gif(key=0), "RGBA", [[10, 20, 30, 0], [40, 50, 60, 255]]),
    "hidden grey": (gif(GREYS, key=1), "LA", [[10, 255], [40, 0]]),
    "beyond": (gif(indices=(1, 200)), "RGB", [[40, 50, 60], [0, 0, 0]]),
    "no palette": (gif(b"", indices=(0, 77)), "L", [0, 77]),
    "some greys": (gif(RAMP[:12], indices=(1, 77)), "L", [1, 77]),
    "all greys": (gif(RAMP, indices=(3, 200), key=200), "LA", [[3, 255], [200, 0]]),
}


@pytest.mark.parametrize(("octets", "mode", "pixels"), PALETTES.values(), ids=PALETTES)
def test_a_palette_is_applied_to_indices(octets: bytes, mode: str, pixels: Any) -> None:
    found, seen = decoded(octets), opened(octets)
    assert (found.info.mode, found.array.tolist()) == (mode, [pixels])
    assert found.info.stored == Stored("unsigned", 8, 255, 1)
    seen = seen.convert("RGBA") if mode == "LA" else seen
    assert np.asarray(seen.convert(mode)).tolist() == [pixels]


def test_rows_come_in_order_however_they_are_stored() -> None:
    image = Image.fromarray(noise("L", (37, 41)))
    for interlace in (0, 1):
        octets = saved(image, "GIF", interlace=interlace)
        np.testing.assert_array_equal(decoded(octets).array, image)


def test_frames_have_palettes_and_transparent_colours_of_their_own() -> None:
    first, second = gif(GREYS), gif(b"", own=COLOURS, key=1)
    found = [*pictures_in(first[:-1] + second[13:])]
    assert [one.array.tolist() for one in found] == [
        [[[10, 10, 10], [40, 40, 40]]],
        [[[10, 20, 30], [40, 40, 40]]],
    ]
    # The first image covers the canvas, so that nothing transparent is ever seen.
    assert {one.info.mode for one in found} == {"RGB"}
    seen = [one.info.mode for one in pictures_in(gif(GREYS, key=1)[:-1] + second[13:])]
    assert seen == ["RGBA", "RGBA"]


def test_a_first_image_beyond_the_screen_enlarges_the_canvas() -> None:
    regions = [Region(np.full((3, 4, 4), 255, np.uint8), 2, 1)]
    found = decoded(gif_of(regions, 5, 2))
    assert found.info.shape == (4, 6, 4)
    np.testing.assert_array_equal(found.array, shown(regions, 6, 4)[0][0])


@needs("giftopnm")
def test_netpbm_reads_the_same() -> None:
    array = noise("RGB", (9, 11))
    octets = encoded(picture(array, "RGB"), "gif")
    done = subprocess.run([GIFTOPNM], input=octets, capture_output=True, check=True)
    np.testing.assert_array_equal(pixels_of(done.stdout, "RGB"), array)


WHOLE: Final = gif(before=COMMENT)


@pytest.mark.parametrize("cut", range(6, len(WHOLE) - 1))
def test_what_breaks_off_is_refused_from_the_blocks(cut: int) -> None:
    with pytest.raises(PoolError, match=r"breaks off before its end|has no image") as refusal:
        reader_of(WHOLE[:cut])
    assert refusal.value.remedy == "is the file complete?"


@pytest.mark.parametrize(("end", "remedy"), [(b";", "make the file anew"), (b"", "complete")])
def test_a_whole_file_without_an_image_is_not_called_incomplete(end: bytes, remedy: str) -> None:
    with pytest.raises(PoolError, match="it has no image") as refusal:
        reader_of(b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0, 0, 0) + end)
    assert remedy in str(refusal.value.remedy)


@pytest.mark.parametrize("missing", [1, 8, 12])
def test_data_that_end_early_by_their_own_end_code_are_refused(missing: int) -> None:
    octets = gif_of([Region(noise("RGBA", (3, 4)))], 4, 3)
    at = octets.index(b"\x08", len(octets) - 40)
    bits = np.unpackbits(np.frombuffer(octets[at + 2 : -2], np.uint8), bitorder="little")
    codes = bits[: 14 * 9].reshape(14, 9)  # one that clears the table, 12 pixels, and the end
    kept = np.packbits(np.delete(codes, range(13 - missing, 13), axis=0), bitorder="little")
    short = octets[: at + 1] + bytes([kept.size]) + kept.tobytes() + b"\0;"
    with pytest.raises(PoolError, match="the pixels of an image are damaged"):
        decoded(short)


def test_blocks_without_a_meaning_are_passed_over_and_the_trailer_may_be_missing() -> None:
    xmp = b"!\xff\x0bXMP DataXMP<x>\1" + bytes(range(255, -1, -1)) + b"\0"
    files = [gif(before=one, behind=one) for one in (xmp, b"\0\0\0", b"!\1\0")]
    junk = gif(before=b"junk", behind=b"junk;")
    for octets in (*files, junk, WHOLE[:-1]):
        np.testing.assert_array_equal(decoded(octets).array, decoded(WHOLE).array)


def test_a_missing_trailer_is_warned_of_because_images_may_be_missing() -> None:
    frames = [Region(noise("RGBA", (4, 4), seed) | OPAQUE) for seed in range(3)]
    whole, two = gif_of(frames, 4, 4), gif_of(frames[:2], 4, 4)
    assert decoded(whole).metadata.warnings == ()
    # Between images: behind the second one, and within the extension of the third.
    for cut in (len(two) - 1, len(two) + 3, len(whole) - 1):
        found = [*pictures_in(whole[:cut])]
        assert len(found) == (3 if cut == len(whole) - 1 else 2)
        assert found[0].metadata.warnings == (
            "it ends without a trailer: images at its end may be missing",
        )


class Endless(BytesIO):
    """A stream that repeats a pattern behind its content, and counts the calls of `read`."""

    calls = 0

    def __init__(self, content: bytes, pattern: bytes) -> None:
        super().__init__(content)
        self._pattern, self._at, self._length = pattern, 0, len(content)

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        self.calls += 1
        octets = super().read(size)
        if len(octets) < size:
            start = (self.tell() - self._length + self._at) % len(self._pattern)
            missing = size - len(octets)
            octets += (self._pattern * (2 + missing // len(self._pattern)))[start:][:missing]
            self._at += missing
        return octets

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 1:
            self.read(offset)
            return self._length + self._at
        self._at = 0
        return super().seek(offset, whence)


ENDLESS: Final = {
    "sub-blocks of pixels": (gif()[:-3], b"\x01\x07", "more data than its pixels can need"),
    "comments": (gif(behind=b"!\xfe")[:-1], b"\x01\x07", "extensions have over 4 MB"),
    "extensions": (gif()[:-1], b"!\x01\x01\x07\0", "extensions have over 4 MB"),
}


@pytest.mark.parametrize(("start", "pattern", "words"), ENDLESS.values(), ids=ENDLESS)
def test_data_without_end_is_refused(start: bytes, pattern: bytes, words: str) -> None:
    stream = Endless(start, pattern)
    with pytest.raises(PoolError, match=words):
        read_blocks(stream, most_text=50_000)
    assert stream.calls < 300_000


def test_junk_without_end_ends_the_file() -> None:
    stream = Endless(gif()[:-1], b"\0")
    blocks = read_blocks(stream)
    assert (len(blocks.images), blocks.is_complete) == (1, False)


def empty_image(width: int, height: int) -> bytes:
    """Return an image of so many pixels, none, for 50 ms."""
    control = b"!\xf9\x04" + struct.pack("<BHB", 4, 5, 0) + b"\0"
    return control + b"," + struct.pack("<4HB", 0, 0, width, height, 0) + b"\x02\x01\x2c\0"


def test_an_image_without_pixels_draws_nothing_and_takes_its_time() -> None:
    full = Region(noise("RGBA", (3, 4)) | OPAQUE, milliseconds=Fraction(30))
    empty = b"".join(empty_image(*size) for size in ((0, 3), (4, 0), (0, 0)))
    found = [*pictures_in(gif_of([full], 4, 3)[:-1] + empty + b";")]
    assert [one.info.duration for one in found] == [30, 50, 50, 50]
    for one in found:
        np.testing.assert_array_equal(one.array, full.array[..., :3])
    with pytest.raises(PoolError, match="its images have no pixels"):
        reader_of(gif_of([], 8, 8)[:-1] + empty_image(0, 8) + b";")


def test_times_are_read_without_the_pixels() -> None:
    array = np.dstack((noise("RGB", (90, 2)).repeat(60, axis=1), np.full((90, 120), 255)))
    octets = gif_of([Region(array)] * 3, 120, 90)
    stream = Counting(octets)
    reader = open_reader(stream, Limits(10**6))
    assert [frame.info.duration for frame in reader.frames()] == [100] * 3
    assert stream.taken < len(octets) / 6


COMMENTS: Final = {
    "none": (b"", b"", None),
    "before": (COMMENT, b"", b"hello"),
    "behind": (b"", COMMENT, b"hello"),
    "in parts": (b"!\xfe\2he\3llo\0", b"", b"hello"),
    "two": (COMMENT, b"!\xfe\2or\0", b"hello\nor"),
    "repeated": (COMMENT, COMMENT, b"hello"),
    "empty": (b"!\xfe\0", b"", None),
}


@pytest.mark.parametrize(("before", "behind", "comment"), COMMENTS.values(), ids=COMMENTS)
def test_comments_are_found_wherever_they_are(
    before: bytes, behind: bytes, comment: bytes | None
) -> None:
    found = decoded(gif(before=before, behind=behind))
    assert found.metadata.comment == comment
    if comment is not None:
        assert opened(encoded(found, "gif")).info["comment"] == comment
        assert (b"tEXt", b"Comment\0" + comment) in chunks_of(encoded(found, "png"))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("comment", [b"caf\xe9", b"x" * 700])
def test_a_comment_of_any_length_is_written_once(comment: bytes, count: int) -> None:
    pictures = [
        picture(noise("L", seed=seed), "L", Metadata(comment=comment), duration=Fraction(50))
        for seed in range(count)
    ]
    octets, notes = written(pictures, "gif")
    assert opened(octets).info["comment"] == decoded(octets).metadata.comment == comment
    assert octets.count(b"!\xfe") == 1
    assert notes == []


@pytest.mark.parametrize("name", [b"NETSCAPE2.0", b"ANIMEXTS1.0"])
def test_loops_are_read_by_either_name(name: bytes) -> None:
    loops = b"!\xff\x0b" + name + b"\x03\x01" + struct.pack("<H", 6) + b"\0"
    assert decoded(gif(before=loops)).metadata.plays == 7


def coloured(count: int, *, alpha: bool = False) -> Picture:
    """Return so many colours, twice each; with alpha, once opaque and once not."""
    codes = np.random.default_rng(count).choice(2**24, count, replace=False)
    colours = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=-1).astype(np.uint8)
    both = np.stack((colours, colours))
    on_and_off = np.repeat([[255], [0]], count, axis=1).astype(np.uint8)
    return picture(np.dstack((both, on_and_off)) if alpha else both, "RGBA" if alpha else "RGB")


def hidden_colours() -> Picture:
    """Return 255 colours, and as many that can't be seen."""
    found = coloured(255, alpha=True)
    found.array[1, :, :3] = coloured(300).array[0, :255]
    return found


EVERY_GREY: Final = np.arange(256, dtype=np.uint8).reshape(16, 16)
WITH_ALPHA: Final = np.dstack((np.tile(np.arange(200), (2, 1)), [[255] * 200, [0] * 200]))
EXACT: Final = {
    **{f"{count} colours": coloured(count) for count in (1, 2, 3, 16, 17, 255, 256)},
    **{f"{count} with alpha": coloured(count, alpha=True) for count in (1, 3, 16, 255)},
    "black and white": picture(EVERY_GREY > 99, "1"),
    "grey": picture(EVERY_GREY, "L"),
    "grey with alpha": picture(WITH_ALPHA.astype(np.uint8), "LA"),
    "hidden colours": hidden_colours(),
}


@pytest.mark.parametrize("given", EXACT.values(), ids=EXACT)
def test_up_to_256_colours_and_alpha_on_or_off_are_exact(given: Picture) -> None:
    octets, notes = written([given], "gif")
    assert notes == []
    rgb = widened(widened(given.array, given.info.mode, "L"), given.info.mode, "RGBA")
    wanted = np.asarray(Image.fromarray(rgb).convert("RGBA"))
    seen = pixels_of(octets, "RGBA")
    np.testing.assert_array_equal(seen[..., 3], wanted[..., 3])
    np.testing.assert_array_equal(seen[wanted[..., 3] > 0], wanted[wanted[..., 3] > 0])


def test_more_colours_and_partial_alpha_are_approximated_and_that_is_noted() -> None:
    y, x = np.indices((40, 50))
    array = np.stack((x * 4, y * 4, 128 + x - y), axis=-1).astype(np.uint8)
    octets, notes = written([picture(array, "RGB")], "gif")
    assert notes == ["GIF holds 256 colours and alpha on or off: others were approximated"]
    assert 0 < np.abs(pixels_of(octets, "RGB").astype(int) - array).mean() < 8
    alphas = np.array([[(9, 8, 7, alpha) for alpha in (127, 128, 255, 0)]], np.uint8)
    octets, notes = written([picture(alphas, "RGBA")], "gif")
    assert ["alpha on or off" in note for note in notes] == [True]
    assert pixels_of(octets, "RGBA")[0, :, 3].tolist() == [0, 255, 255, 0]


def test_only_what_changes_is_written_and_all_is_cleared_before_something_is_uncovered() -> None:
    first = np.full((6, 8, 4), (250, 10, 20, 255), np.uint8)
    second = first.copy()
    second[2:4, 3:7] = (10, 240, 30, 255)
    third = second.copy()
    third[0, 0] = 0
    pictures = [
        picture(one, "RGBA", Metadata(plays=1), duration=Fraction(lasts))
        for one, lasts in ((first, 44), (second, 44), (second, 44), (third, 668))
    ]
    octets, _ = written(pictures, "gif")
    seen, loops = read_gif(octets)
    assert [lasts for _, lasts in seen] == [40, 90, 670]
    for (array, _), wanted in zip(seen, (first, second, third), strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert (places_in(octets), loops) == ([(0, 0, 8, 6)] * 3, None)
    octets, _ = written(pictures[:3], "gif")
    assert places_in(octets) == [(0, 0, 8, 6), (3, 2, 4, 2)]


def places_in(octets: bytes) -> list[tuple[int, ...]]:
    """Return left, top, width and height of every image that has a control before it."""
    heads = octets.split(b"!\xf9\x04")[1:]
    return [struct.unpack("<4H", one[6:14]) for one in heads]


def test_a_single_picture_is_a_still_whatever_its_time() -> None:
    region = Region(noise("RGBA", (4, 4)) | np.array([0, 0, 0, 255], np.uint8), dispose=CLEAR)
    octets = encoded(decoded(gif_of([region], 4, 4)), "gif")
    assert b"NETSCAPE" not in octets
    assert "duration" not in opened(octets).info
