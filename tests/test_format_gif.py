"""GIF: palettes and canvases as they are read, colours as they are approximated, comments."""

from __future__ import annotations

import shutil
import struct
import subprocess
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.picture import Metadata, Stored
from tests.animations import CLEAR, Region, chunks_of, gif_of, read_gif, shown
from tests.contract_support import Counting
from tests.pictures import (
    decoded,
    encoded,
    noise,
    notes_of,
    opened,
    picture,
    pictures_in,
    reader_of,
    saved,
    widened,
    written,
)

GIFTOPNM: Final = shutil.which("giftopnm") or ""
COLOURS, GREYS = bytes([10, 20, 30, 40, 50, 60]), bytes([10, 10, 10, 40, 40, 40])
RAMP: Final = bytes(grey for grey in range(256) for _ in range(3))
COMMENT: Final = b"!\xfe\x05hello\0"


def pixels_of(octets: bytes, mode: str) -> NDArray[Any]:
    return np.asarray(opened(octets).convert(mode))


# Files made by hand


def gif(
    indices: list[int],
    palette: bytes = COLOURS,
    *,
    own: bytes = b"",
    key: int | None = None,
    before: bytes = b"",
    behind: bytes = b"",
    version: bytes = b"GIF89a",
) -> bytes:
    """A GIF of one row, with a global palette and one of its own, and more blocks around it."""
    flags, own_flags = (
        0x80 | (len(one) // 3).bit_length() - 2 if one else 0 for one in (palette, own)
    )
    control = b"" if key is None else b"!\xf9\x04\1\0\0" + bytes([key, 0])
    codes = np.append(np.insert(np.array(indices), 0, 256), 257)
    body = np.packbits(codes[:, None] >> np.arange(9) & 1, bitorder="little").tobytes()
    return b"".join(
        (
            version + struct.pack("<HHBBB", len(indices), 1, flags, 0, 0) + palette,
            before + control,
            b"," + struct.pack("<4HB", 0, 0, len(indices), 1, own_flags) + own,
            b"\x08" + bytes([len(body)]) + body + b"\0" + behind + b";",
        )
    )


# Palettes and the transparent colour


@pytest.mark.parametrize(
    ("octets", "mode", "pixels"),
    [
        (gif([0, 1]), "RGB", [[10, 20, 30], [40, 50, 60]]),
        (gif([0, 1], version=b"GIF87a"), "RGB", [[10, 20, 30], [40, 50, 60]]),
        (gif([0, 1], GREYS), "L", [10, 40]),
        (gif([0, 1], GREYS, own=COLOURS), "RGB", [[10, 20, 30], [40, 50, 60]]),
        (gif([0, 1], b"", own=GREYS), "L", [10, 40]),
        (gif([0, 1], key=0), "RGBA", [[10, 20, 30, 0], [40, 50, 60, 255]]),
        (gif([0, 1], GREYS, key=1), "LA", [[10, 255], [40, 0]]),
        (gif([1, 200]), "RGB", [[40, 50, 60], [0, 0, 0]]),
        (gif([0, 77], b""), "L", [0, 77]),
        (gif([1, 77], RAMP[:12]), "L", [1, 77]),
        (gif([3, 200], RAMP, key=200), "LA", [[3, 255], [200, 0]]),
    ],
    ids=[
        "global",
        "GIF87a",
        "grey",
        "own",
        "own grey",
        "hidden",
        "hidden grey",
        "beyond",
        "no palette",
        "some greys",
        "all greys",
    ],
)
def test_a_palette_is_applied_to_indices(octets: bytes, mode: str, pixels: Any) -> None:
    found = decoded(octets)
    assert (found.info.mode, found.array.tolist()) == (mode, [pixels])
    assert found.info.stored == Stored("unsigned", 8, 255, 1)
    shown_by_pillow = opened(octets)
    if mode == "LA":
        shown_by_pillow = shown_by_pillow.convert("RGBA")
    assert np.asarray(shown_by_pillow.convert(mode)).tolist() == [pixels]


def test_what_is_done_to_the_pixels_is_noted() -> None:
    notes = ("its palette was applied", "its transparent key became alpha")
    assert decoded(gif([0, 1], key=0)).info.notes == notes
    assert decoded(gif([0, 1], RAMP)).info.notes == ()


@pytest.mark.parametrize("interlace", [0, 1])
def test_rows_come_in_order_however_they_are_stored(interlace: int) -> None:
    image = Image.fromarray(noise("L", (37, 41)))
    octets = saved(image, "GIF", interlace=interlace)
    np.testing.assert_array_equal(decoded(octets).array, image)


def test_frames_have_palettes_and_transparent_colours_of_their_own() -> None:
    first, second = (gif([0, 1], one, key=key) for one, key in ((GREYS, None), (COLOURS, 1)))
    both = (
        first[:-1]
        + second[13 + len(COLOURS) : -1].replace(
            struct.pack("<4HB", 0, 0, 2, 1, 0), struct.pack("<4HB", 0, 0, 2, 1, 0x80) + COLOURS
        )
        + b";"
    )
    found = [one.array.tolist() for one in pictures_in(both)]
    assert found == [
        [[[10, 10, 10, 255], [40, 40, 40, 255]]],
        [[[10, 20, 30, 255], [40, 40, 40, 255]]],
    ]


def test_a_first_image_beyond_the_screen_enlarges_the_canvas() -> None:
    regions = [Region(np.full((3, 4, 4), 255, np.uint8), 2, 1)]
    found = decoded(gif_of(regions, 5, 2))
    assert found.info.shape == (4, 6, 4)
    np.testing.assert_array_equal(found.array, shown(regions, 6, 4)[0][0])


@pytest.mark.skipif(not GIFTOPNM, reason="giftopnm is not installed")
def test_netpbm_reads_the_same() -> None:
    array = noise("RGB", (9, 11))
    octets = encoded(picture(array, "RGB"), "gif")
    done = subprocess.run([GIFTOPNM], input=octets, capture_output=True, check=True)
    np.testing.assert_array_equal(pixels_of(done.stdout, "RGB"), array)


# What breaks off


WHOLE: Final = gif([0, 1], before=COMMENT)


@pytest.mark.parametrize("octets", [WHOLE[:cut] for cut in range(6, len(WHOLE) - 1)])
def test_what_breaks_off_is_refused_from_the_blocks(octets: bytes) -> None:
    with pytest.raises(PoolError, match=r"breaks off before its end|has no image") as refusal:
        reader_of(octets)
    assert refusal.value.remedy == "is the file complete?"


def test_only_the_trailer_may_be_missing() -> None:
    np.testing.assert_array_equal(decoded(WHOLE[:-1]).array, decoded(WHOLE).array)


@pytest.mark.parametrize(
    "behind",
    [
        b"\0\0\0",
        b"junk;",
        b"!\xff\x0bXMP DataXMP<x>\1" + bytes(range(255, -1, -1)) + b"\0",
        b"!\1\0",
    ],
)
def test_blocks_without_a_meaning_are_passed_over(behind: bytes) -> None:
    octets = gif([0, 1], before=behind.removesuffix(b";"), behind=behind)
    np.testing.assert_array_equal(decoded(octets).array, decoded(WHOLE).array)


def test_headers_are_read_without_the_pixels() -> None:
    regions = [
        Region(np.dstack((noise("RGB", (90, 2)).repeat(60, axis=1), np.full((90, 120), 255))))
    ]
    octets = gif_of([regions[0]] * 3, 120, 90)
    stream = Counting(octets)
    reader = open_reader(stream, Limits(10**6))
    assert [frame.info.duration for frame in reader.frames()] == [100] * 3
    assert stream.taken < len(octets) / 8


# Comments and plays


@pytest.mark.parametrize(
    ("before", "behind", "comment"),
    [
        (b"", b"", None),
        (COMMENT, b"", b"hello"),
        (b"", COMMENT, b"hello"),
        (b"!\xfe\2he\3llo\0", b"", b"hello"),
        (COMMENT, b"!\xfe\2or\0", b"hello\nor"),
        (COMMENT, COMMENT, b"hello"),
        (b"!\xfe\0", b"", None),
    ],
    ids=["none", "before", "behind", "in parts", "two", "repeated", "empty"],
)
def test_comments_are_found_wherever_they_are(
    before: bytes, behind: bytes, comment: bytes | None
) -> None:
    found = decoded(gif([0, 1], before=before, behind=behind))
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
    assert decoded(gif([0, 1], before=loops)).metadata.plays == 7


# Colours


def coloured(count: int, *, alpha: bool = False) -> NDArray[np.uint8]:
    """A picture of ``count`` colours, twice each; with alpha, once opaque and once not."""
    codes = np.random.default_rng(count).choice(2**24, count, replace=False)
    colours = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=-1).astype(np.uint8)
    both = np.stack((colours, colours))
    on_and_off = np.repeat([[255], [0]], count, axis=1).astype(np.uint8)
    return np.dstack((both, on_and_off)) if alpha else both


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 255, 256])
def test_up_to_256_colours_are_exact(count: int) -> None:
    given = picture(coloured(count), "RGB")
    assert notes_of(given, "gif") == []
    np.testing.assert_array_equal(pixels_of(encoded(given, "gif"), "RGB"), given.array)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_of_any_level_is_exact(mode: str) -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    given = picture(array > 99 if mode == "1" else array, mode)
    assert notes_of(given, "gif") == []
    wanted = widened(given.array, mode, "L")
    np.testing.assert_array_equal(pixels_of(encoded(given, "gif"), "L"), wanted)


@pytest.mark.parametrize("count", [1, 3, 16, 255])
def test_alpha_on_or_off_is_exact(count: int) -> None:
    given = picture(coloured(count, alpha=True), "RGBA")
    assert notes_of(given, "gif") == []
    again = pixels_of(encoded(given, "gif"), "RGBA")
    np.testing.assert_array_equal(again[..., 3], given.array[..., 3])
    np.testing.assert_array_equal(again[0], given.array[0])


def test_grey_with_alpha_on_or_off_is_exact() -> None:
    array = np.dstack((np.full((2, 200), np.arange(200)), [[255] * 200, [0] * 200]))
    given = picture(array.astype(np.uint8), "LA")
    assert notes_of(given, "gif") == []
    again = pixels_of(encoded(given, "gif"), "RGBA")
    np.testing.assert_array_equal(again[0], widened(given.array, "LA", "RGBA")[0])
    assert not again[1, :, 3].any()


def test_colours_that_cannot_be_seen_take_no_place() -> None:
    array = coloured(255, alpha=True)
    array[1, :, :3] = coloured(300)[0, :255]
    given = picture(array, "RGBA")
    assert notes_of(given, "gif") == []
    np.testing.assert_array_equal(pixels_of(encoded(given, "gif"), "RGBA")[0], array[0])


def test_more_colours_are_approximated_and_that_is_noted() -> None:
    y, x = np.indices((40, 50))
    array = np.stack((x * 4, y * 4, 128 + x - y), axis=-1).astype(np.uint8)
    given = picture(array, "RGB")
    assert notes_of(given, "gif") == [
        "GIF holds 256 colours and alpha on or off: the rest is approximated"
    ]
    error = pixels_of(encoded(given, "gif"), "RGB").astype(int) - array
    assert 0 < np.abs(error).mean() < 8


def test_partial_alpha_becomes_on_or_off_and_that_is_noted() -> None:
    array = np.array([[(9, 8, 7, 127), (9, 8, 7, 128), (9, 8, 7, 255), (9, 8, 7, 0)]], np.uint8)
    given = picture(array, "RGBA")
    (note,) = notes_of(given, "gif")
    assert "alpha on or off" in note
    assert pixels_of(encoded(given, "gif"), "RGBA")[0, :, 3].tolist() == [0, 255, 255, 0]


# Animations as they are written


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
    """Left, top, width and height of every image that has a control before it."""
    heads = octets.split(b"!\xf9\x04")[1:]
    return [struct.unpack("<4H", one[6:14]) for one in heads]


def test_a_single_picture_is_a_still_whatever_its_time() -> None:
    region = Region(noise("RGBA", (4, 4)) | np.array([0, 0, 0, 255], np.uint8), dispose=CLEAR)
    octets = encoded(decoded(gif_of([region], 4, 4)), "gif")
    assert b"NETSCAPE" not in octets
    assert "duration" not in Image.open(BytesIO(octets)).info
