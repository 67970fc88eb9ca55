"""Animations: every frame composited, pooled, and seen again at its time."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli.formats.animation import blend
from tests.animations import (
    CLEAR,
    KEEP,
    READERS,
    RESTORE,
    Pixels,
    Region,
    apng_of,
    assert_looks_the_same,
    chunks_of,
    gif_of,
    read_apng,
    shown,
)
from tests.jobs import pool, work
from tests.pictures import chunk, encoded, first_info, noise, picture, pictures_in, written
from tests.support.memory import Peak
from tests.support.processes import Run, Words
from tests.support.tools import needs

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 9, 7
MAKERS: Final[dict[str, Callable[..., bytes]]] = {"gif": gif_of, "png": apng_of}
FFMPEG = shutil.which("ffmpeg") or ""
COLOURS: Final = np.array([[250, 10, 20], [10, 240, 30], [0, 0, 0], [255, 255, 255]], np.uint8)
FORMATS = pytest.mark.parametrize("name", ["gif", "png", "webp"])


def pooled(octets: bytes, name: str, size: int = 1, method: str = "max") -> tuple[bytes, list[str]]:
    """Return the file that comes out, and its notes."""
    return written([pool(one, work(method, size)) for one in pictures_in(octets)], name)


def coloured(rgba: tuple[int, ...], height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    return np.full((height, width, 4), rgba, np.uint8)


def discs(
    count: int = 5, side: int = 24, lasts: Fraction | int = 40, alpha: int = 0
) -> list[Region]:
    """Return a disc that moves, on a background of some alpha."""
    y, x = np.indices((side, side))
    frames = []
    for number in range(count):
        inside = (y - side / 2) ** 2 + (x - 4 - number * side / count) ** 2 < side
        array = np.where(inside[..., None], (250, 10, 20, 255), (10, 240, 30, alpha))
        frames.append(Region(array.astype(np.uint8), milliseconds=Fraction(lasts), dispose=CLEAR))
    return frames


# Canvases


@st.composite
def animations(draw: st.DrawFn, *, partial: bool) -> list[Region]:
    """Draw 2 to 5 regions of a canvas of 9×7; with partial alpha the first is the whole canvas."""
    frames = []
    for number in range(draw(st.integers(2, 5))):
        is_whole = partial and not number
        left = 0 if is_whole else draw(st.integers(0, WIDTH - 1))
        top = 0 if is_whole else draw(st.integers(0, HEIGHT - 1))
        shape = (HEIGHT - top, WIDTH - left)
        random = np.random.default_rng(draw(st.integers(0, 3)))
        alpha = random.choice([0, 255, 255, 128, 3] if partial else [0, 255, 255], shape)
        array = np.dstack((COLOURS[random.integers(0, 4, shape)], alpha)).astype(np.uint8)
        if draw(st.booleans()):
            array[..., 3] = 255
        lasts = Fraction(draw(st.sampled_from([10, 40, 100, 1000])))
        dispose = draw(st.sampled_from([KEEP, CLEAR, RESTORE]))
        over = draw(st.booleans()) if partial else True
        frames.append(Region(array, left, top, lasts, dispose, over))
    return frames


def assert_kept(source: str, name: str, regions: list[Region], width: int, height: int) -> None:
    """Convert an animation, and compare what is seen of it by a reader that isn't ours."""
    octets, notes = pooled(MAKERS[source](regions, width, height), name)
    found, wanted = READERS[name](octets)[0], shown(regions, width, height)
    if name == "webp" and len(found) == 1:  # one that never changes is a still
        found = [(found[0][0], sum((lasts for _, lasts in wanted), Fraction(0)))]
    assert_looks_the_same(found, wanted)
    assert [one for one in notes if "shows a frame for at most" not in one] == []


@settings(max_examples=40)
@pytest.mark.parametrize(
    ("source", "name"), [("gif", "gif"), ("gif", "png"), ("png", "png"), ("png", "webp")]
)
@given(data=st.data())
def test_an_animation_looks_the_same(source: str, name: str, data: st.DataObject) -> None:
    regions = data.draw(animations(partial=source == "png"))
    assert_kept(source, name, regions, WIDTH, HEIGHT)


@settings(max_examples=30)
@given(regions=animations(partial=True), size=st.integers(2, 4))
def test_every_frame_is_pooled_as_a_picture_of_its_own(regions: list[Region], size: int) -> None:
    octets, _ = pooled(apng_of(regions, WIDTH, HEIGHT), "png", size, "avg")
    wanted = [
        (pool(picture(array, "RGBA"), work("avg", size)).array, lasts)
        for array, lasts in shown(regions, WIDTH, HEIGHT)
    ]
    assert_looks_the_same(read_apng(octets)[0], wanted)


RED, GREEN, BLACK = (250, 10, 20, 255), (10, 240, 30, 255), (0, 0, 0, 255)
FIRST, SECOND, THIRD = discs(4, 9)[:3]
EXAMPLES: Final[dict[str, tuple[str, list[Region]]]] = {
    **{
        f"the bare canvas of an opaque GIF is transparent: {dispose}": (
            "gif",
            [Region(coloured(RED), dispose=dispose), Region(coloured(GREEN, 3, 3), 2, 2)],
        )
        for dispose in (KEEP, CLEAR, RESTORE)
    },
    "a canvas that is only cleared between frames has alpha": (
        "png",
        [
            Region(coloured(GREEN), dispose=CLEAR, over=False),
            Region(coloured(BLACK, HEIGHT - 2), top=2, over=False),
        ],
    ),
    "equal frames": ("gif", [FIRST, FIRST, SECOND, SECOND, SECOND, THIRD]),
    "frames that are all equal": ("gif", [Region(coloured(GREEN))] * 3),
    "a frame that is shown for longer than GIF can state": (
        "png",
        [
            Region(coloured(RED), milliseconds=Fraction(2_000_000), over=False),
            Region(coloured(GREEN), milliseconds=Fraction(40), over=False),
        ],
    ),
    "256 colours a frame": (
        "png",
        [
            Region(np.dstack((noise("RGB", (16, 16), seed), coloured(BLACK, 16, 16)[..., 3])))
            for seed in range(3)
        ],
    ),
}


@FORMATS
@pytest.mark.parametrize(("source", "regions"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_odd_animation_looks_the_same(source: str, regions: list[Region], name: str) -> None:
    height, width = max(one.array.shape[:2] for one in regions)
    assert_kept(source, name, regions, max(width, WIDTH), max(height, HEIGHT))


@pytest.mark.parametrize("name", ["gif", "png"])
def test_the_bare_canvas_around_a_single_image_is_transparent(name: str) -> None:
    region = Region(coloured(RED, 3, 4), 2, 1)
    (one,) = pictures_in(gif_of([region], WIDTH, HEIGHT))
    ((wanted, _),) = shown([region], WIDTH, HEIGHT)
    np.testing.assert_array_equal(one.array, wanted)
    assert one.info.mode == "RGBA"
    found = np.array(Image.open(BytesIO(encoded(one, name))).convert("RGBA"))
    np.testing.assert_array_equal(found[..., 3], wanted[..., 3])


def test_the_only_frame_is_taken_rather_than_the_picture_that_hides_it() -> None:
    front, frame = (Image.new("RGB", (8, 6), colour) for colour in ("red", GREEN[:3]))
    stream = BytesIO()
    front.save(stream, "PNG", save_all=True, append_images=[frame], default_image=True)
    with Image.open(BytesIO(pooled(stream.getvalue(), "png")[0])) as image:
        assert image.convert("RGB").getpixel((0, 0)) == GREEN[:3]


@pytest.mark.parametrize("name", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("source", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("alpha", [0, 255])
def test_animations_go_from_format_to_format(source: str, name: str, alpha: int) -> None:
    frames = discs(alpha=alpha)
    octets = MAKERS.get(source, gif_of)(frames, 24, 24)
    if source not in MAKERS:
        octets, _ = pooled(octets, source)
    found = READERS[name](pooled(octets, name, 2)[0])[0]
    assert [int(lasts) for _, lasts in found] == [40] * len(frames)
    assert {array.shape for array, _ in found} == {(12, 12, 4)}
    if "avif" not in (source, name):
        wanted = [
            (pool(picture(array, "RGBA"), work("max", 2)).array, lasts)
            for array, lasts in shown(frames, 24, 24)
        ]
        assert_looks_the_same(found, wanted)


@needs("ffmpeg")
@pytest.mark.parametrize(("name", "kind"), [("png", "apng"), ("gif", "gif")])
def test_ffmpeg_sees_the_same(tmp_path: Path, name: str, kind: str) -> None:
    regions = discs(alpha=255)
    (tmp_path / "in").write_bytes(pooled(gif_of(regions, 24, 24), name)[0])
    words = ("-v", "error", "-f", kind, "-i", str(tmp_path / "in"), "-vsync", "0")
    command = [FFMPEG, *words, "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 24, 24, 4)
    wanted = np.array([array for array, _ in shown(regions, 24, 24)])
    np.testing.assert_array_equal(frames[: len(wanted)], wanted)


# Times, plays and chunks


@pytest.mark.parametrize(("name", "slack"), [("gif", 10), ("png", 1), ("webp", 1)])
def test_times_that_a_format_cannot_state_do_not_add_up(name: str, slack: int) -> None:
    regions = discs(30, lasts=Fraction(1000, 30))
    octets, _ = pooled(apng_of(regions, 24, 24), name)
    seen = READERS[name](octets)[0]
    assert_looks_the_same(seen, shown(regions, 24, 24), slack)
    assert sum(lasts for _, lasts in seen) == pytest.approx(1000, abs=slack)


@FORMATS
@pytest.mark.parametrize(("loops", "plays"), [(None, 1), (0, 0), (1, 2), (7, 8)])
def test_an_animation_is_played_as_often(name: str, loops: int | None, plays: int) -> None:
    octets, _ = pooled(gif_of(discs(), 24, 24, loops=loops), name)
    assert READERS[name](octets)[1] == (loops if name == "gif" else plays)


def test_the_picture_in_front_of_an_animation_is_no_frame_and_chunks_are_kept() -> None:
    kept = [(b"tEXt", b"Title\0moving"), (b"gAMA", b"\0\0\xb1\x8f")]
    more, fallback = b"".join(chunk(*one) for one in kept), coloured((77, 77, 77, 77), 24, 24)
    octets, _ = pooled(apng_of(discs(), 24, 24, fallback=fallback, more=more), "png")
    assert_looks_the_same(read_apng(octets)[0], shown(discs(), 24, 24))
    parts = list(chunks_of(octets))
    assert {*kept} <= {*parts}
    names = [name for name, _ in parts]
    assert names.index(b"acTL") < names.index(b"fcTL") < names.index(b"IDAT")


# Depth and colour


def test_an_animation_of_16_bits_keeps_them() -> None:
    regions = [Region(noise("RGBA;16", (5, 6), seed), over=seed > 0) for seed in range(3)]
    octets, _ = pooled(apng_of(regions, 6, 5), "png")
    assert first_info(octets).mode == "RGBA;16"
    found = [(one.array, Fraction(one.info.duration)) for one in pictures_in(octets)]
    assert_looks_the_same(found, shown(regions, 6, 5))


@given(data=st.data())
@pytest.mark.parametrize("full", [255, 65535])
def test_pixels_are_blended_as_exact_arithmetic_says(full: int, data: st.DataObject) -> None:
    value = st.integers(0, full)
    pixel = st.tuples(value, value, value, st.one_of(value, st.sampled_from([0, 1, full])))
    dtype = np.uint8 if full == 255 else np.uint16
    below, above = (np.array([[data.draw(pixel)]], dtype) for _ in range(2))
    wanted = shown([Region(below, over=False), Region(above)], 1, 1)[-1][0]
    blend(below, above, full)
    np.testing.assert_array_equal(below, wanted)


def test_colours_beyond_256_are_approximated_and_that_is_noted() -> None:
    regions = [Region(noise("RGBA", (40, 40), seed), over=False) for seed in range(2)]
    _, notes = pooled(apng_of(regions, 40, 40), "gif")
    assert [note for note in notes if "256 colours" in note]


# From the command line


@pytest.fixture
def gif(tmp_path: Path) -> Path:
    """Five opaque frames in in.gif."""
    path = tmp_path / "in.gif"
    path.write_bytes(gif_of(discs(alpha=255), 24, 24))
    return path


def test_one_frame_goes_into_a_still_and_five_do_not(run: Run, gif: Path, tmp_path: Path) -> None:
    words = ("max", "-k", 1, "--background", "white", gif)
    for flags in ((), ("--dry-run",)):
        done = run(*words, *flags, "out.jpg")
        assert done.returncode == 1
        assert b"5 frames; give --frame N" in done.stderr
        assert not (tmp_path / "out.jpg").exists()
    assert run(*words, "--frame", 3, "out.png").returncode == 0
    wanted = shown(discs(alpha=255), 24, 24)[3][0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), wanted[..., :3])


@pytest.mark.parametrize(("flags", "taken"), [((), 5), (("--frame", 2), 1)])
def test_files_pipes_and_dry_runs_agree_on_frames(
    run: Run, gif: Path, tmp_path: Path, flags: Words, taken: int
) -> None:
    words = ("max", "-k", 2, *flags)
    filed = run(*words, "--json", gif, "out.gif")
    assert f"frames    {taken} of 5" in filed.stderr.decode()
    piped = run(*words, "-v", "-", "-", input=gif.read_bytes())
    assert f"{taken} of 5 frames, " in piped.stderr.decode()
    assert piped.stdout == (tmp_path / "out.gif").read_bytes()
    planned = run(*words, "--json", "--dry-run", "-f", gif, "out.gif")
    told, other = (json.loads(one.stdout.splitlines()[0]) for one in (filed, planned))
    assert told["frames"] == 5
    varying = {"status", "output_bytes", "read_seconds", "pool_seconds", "write_seconds"}
    assert {key for key in told if told[key] != other[key]} <= varying


@pytest.mark.slow
@FORMATS
def test_memory_holds_a_frame_or_two_and_not_the_animation(peak: Peak, name: str) -> None:
    few, many = (peak(_spots(count), name) for count in (30, 70))
    assert many - few < 40 * 256**2  # the frames in one channel


@cache
def _spots(count: int) -> bytes:
    """Return a GIF of frames of 512×512 pixels."""
    return gif_of([_spot(number, 512) for number in range(count)], 512, 512)


def _spot(number: int, side: int) -> Region:
    """Return a plain canvas, or a spot that moves over it."""
    if not number:
        return Region(coloured((255, 255, 255, 255), side, side))
    place = (number * 3) % (side // 2)
    return Region(coloured((number, 255 - number, 0, 255), side // 2, side // 2), place, place)
