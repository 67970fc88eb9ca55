"""Films and pages: every frame composited, pooled, and seen again at its time."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from poolcli.formats.animation import blend
from poolcli.formats.saving import Saving
from tests.films import (
    CLEAR,
    KEEP,
    READERS,
    RESTORE,
    Cel,
    Pixels,
    Seen,
    apng_of,
    assert_looks_the_same,
    chunk,
    chunks_of,
    gif_of,
    read_apng,
    read_gif,
    read_whole,
    shown,
)
from tests.jobs import pool, work
from tests.pictures import decoded, encoded, first_info, picture, pictures_in, saved, written

Run = Callable[..., subprocess.CompletedProcess[bytes]]
ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 9, 7
COLOURS: Final = np.array([[250, 10, 20], [10, 240, 30], [0, 0, 0], [255, 255, 255]], np.uint8)
FFMPEG = shutil.which("ffmpeg") or ""


def pooled(
    octets: bytes, name: str, size: int = 1, method: str = "max", saving: Saving | None = None
) -> tuple[bytes, list[str]]:
    """The file that comes out, and its notes."""
    pictures = [pool(one, work(method, size)) for one in pictures_in(octets)]
    return written(pictures, name, saving)


def seen_in(octets: bytes, name: str) -> Seen:
    """What is seen of a film, by a reader that isn't ours."""
    seen: Seen = READERS[name](octets)[0]
    return seen


# Films of all kinds


@st.composite
def cels(draw: st.DrawFn, *, partial: bool = False, full_first: bool = False) -> list[Cel]:
    """A short film on a canvas of 9×7."""
    frames = []
    for number in range(draw(st.integers(2, 5))):
        whole = full_first and not number
        left = 0 if whole else draw(st.integers(0, WIDTH - 1))
        top = 0 if whole else draw(st.integers(0, HEIGHT - 1))
        shape = (HEIGHT - top, WIDTH - left)
        seed = draw(st.integers(0, 3))
        random = np.random.default_rng(seed)
        alpha = random.choice([0, 255, 255, 128, 3] if partial else [0, 255, 255], shape)
        array = np.dstack((COLOURS[random.integers(0, 4, shape)], alpha)).astype(np.uint8)
        if draw(st.booleans()):
            array[..., 3] = 255
        frames.append(
            Cel(
                array,
                left,
                top,
                Fraction(draw(st.sampled_from([10, 40, 100, 1000]))),
                draw(st.sampled_from([KEEP, CLEAR, RESTORE])),
                draw(st.booleans()) if partial else True,
            )
        )
    return frames


@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("name", ["gif", "png"])
@given(film=cels())
def test_a_gif_looks_the_same_at_every_time(name: str, film: list[Cel]) -> None:
    octets, notes = pooled(gif_of(film, WIDTH, HEIGHT), name)
    assert_looks_the_same(seen_in(octets, name), shown(film, WIDTH, HEIGHT))
    assert notes == []


@settings(deadline=None, max_examples=60)
@given(film=cels(partial=True, full_first=True))
def test_an_animated_png_looks_the_same_at_every_time(film: list[Cel]) -> None:
    octets, notes = pooled(apng_of(film, WIDTH, HEIGHT), "png")
    assert_looks_the_same(read_apng(octets)[0], shown(film, WIDTH, HEIGHT))
    assert notes == []


@pytest.mark.parametrize("dispose", [KEEP, CLEAR, RESTORE])
def test_the_bare_canvas_of_an_opaque_gif_is_transparent(dispose: str) -> None:
    red = np.full((HEIGHT, WIDTH, 4), (250, 10, 20, 255), np.uint8)
    green = np.full((3, 3, 4), (10, 240, 30, 255), np.uint8)
    film = [Cel(red, dispose=dispose), Cel(green, 2, 2)]
    octets, _ = pooled(gif_of(film, WIDTH, HEIGHT), "gif")
    assert_looks_the_same(seen_in(octets, "gif"), shown(film, WIDTH, HEIGHT))


@pytest.mark.parametrize("name", ["gif", "png"])
def test_the_bare_canvas_around_a_single_image_is_transparent(name: str) -> None:
    cel = Cel(np.full((3, 4, 4), (250, 10, 20, 255), np.uint8), 2, 1)
    (one,) = pictures_in(gif_of([cel], WIDTH, HEIGHT))
    ((wanted, _),) = shown([cel], WIDTH, HEIGHT)
    np.testing.assert_array_equal(one.array, wanted)
    assert one.info.mode == "RGBA"
    found = np.array(Image.open(BytesIO(encoded(one, name))).convert("RGBA"))
    np.testing.assert_array_equal(found[..., 3], wanted[..., 3])


@settings(deadline=None, max_examples=20)
@given(film=cels(partial=True, full_first=True))
def test_a_film_looks_the_same_as_a_lossless_webp(film: list[Cel]) -> None:
    octets, _ = pooled(apng_of(film, WIDTH, HEIGHT), "webp")
    found, wanted = read_whole(octets)[0], shown(film, WIDTH, HEIGHT)
    if len(found) == 1:  # a WebP that never changes is a still one
        found = [(found[0][0], sum((lasts for _, lasts in wanted), Fraction(0)))]
    assert_looks_the_same(found, wanted)


def test_the_only_frame_of_a_film_is_taken_rather_than_the_picture_that_hides_it() -> None:
    front, frame = (Image.new("RGB", (8, 6), colour) for colour in ("red", (10, 240, 30)))
    stream = BytesIO()
    front.save(stream, "PNG", save_all=True, append_images=[frame], default_image=True)
    octets, _ = pooled(stream.getvalue(), "png")
    with Image.open(BytesIO(octets)) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (10, 240, 30)


def test_a_webp_whose_canvas_is_only_cleared_between_frames_has_alpha() -> None:
    film = [
        Cel(np.full((HEIGHT, WIDTH, 4), (10, 240, 30, 255), np.uint8), dispose=CLEAR, over=False),
        Cel(np.full((HEIGHT - 2, WIDTH, 4), (0, 0, 0, 255), np.uint8), top=2, over=False),
    ]
    octets, _ = pooled(apng_of(film, WIDTH, HEIGHT), "webp")
    assert_looks_the_same(read_whole(octets)[0], shown(film, WIDTH, HEIGHT))


@settings(deadline=None, max_examples=30)
@given(film=cels(partial=True, full_first=True), size=st.integers(2, 4))
def test_every_frame_is_pooled_as_a_picture_of_its_own(film: list[Cel], size: int) -> None:
    octets, _ = pooled(apng_of(film, WIDTH, HEIGHT), "png", size, "avg")
    wanted = [
        (pool(picture(array, "RGBA"), work("avg", size)).array, lasts)
        for array, lasts in shown(film, WIDTH, HEIGHT)
    ]
    assert_looks_the_same(read_apng(octets)[0], wanted)


def discs(count: int = 5, side: int = 24, lasts: int = 40, background: int = 0) -> list[Cel]:
    """A disc that moves, on a background of some alpha."""
    y, x = np.indices((side, side))
    film = []
    for number in range(count):
        inside = (y - side / 2) ** 2 + (x - 4 - number * side / count) ** 2 < side
        array = np.where(inside[..., None], (250, 10, 20, 255), (10, 240, 30, background))
        film.append(Cel(array.astype(np.uint8), milliseconds=Fraction(lasts), dispose=CLEAR))
    return film


@pytest.mark.parametrize("name", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("source", ["gif", "png", "webp", "avif"])
@pytest.mark.parametrize("background", [0, 255])
def test_films_go_from_format_to_format(source: str, name: str, background: int) -> None:
    film = discs(background=background)
    octets = apng_of(film, 24, 24) if source == "png" else gif_of(film, 24, 24)
    if source in ("webp", "avif"):
        octets, _ = pooled(octets, source)
    result, _ = pooled(octets, name, 2)
    found = seen_in(result, name)
    assert [int(lasts) for _, lasts in found] == [40] * len(film)
    assert {array.shape for array, _ in found} == {(12, 12, 4)}
    if "avif" not in (source, name):
        wanted = [
            (pool(picture(array, "RGBA"), work("max", 2)).array, t)
            for array, t in shown(film, 24, 24)
        ]
        assert_looks_the_same(found, wanted)


@pytest.mark.skipif(not FFMPEG, reason="ffmpeg is not installed")
@pytest.mark.parametrize(("name", "kind"), [("png", "apng"), ("gif", "gif")])
def test_ffmpeg_sees_the_same(tmp_path: Path, name: str, kind: str) -> None:
    film = discs(background=255)
    (tmp_path / "film").write_bytes(pooled(gif_of(film, 24, 24), name)[0])
    done = subprocess.run(
        [
            *(FFMPEG, "-v", "error", "-f", kind, "-i", tmp_path / "film"),
            *("-vsync", "0", "-f", "rawvideo", "-pix_fmt", "rgba", "-"),
        ],
        capture_output=True,
        check=True,
    )
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 24, 24, 4)
    wanted = np.array([array for array, _ in shown(film, 24, 24)])
    np.testing.assert_array_equal(frames[: len(wanted)], wanted)


# Times


@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_frames_that_pooling_makes_equal_are_seen_for_as_long_together(name: str) -> None:
    film = discs(4)
    film = [film[0], film[0], film[1], film[1], film[1], film[2]]
    octets, _ = pooled(gif_of(film, 24, 24), name)
    assert sum(lasts for _, lasts in seen_in(octets, name)) == 240
    assert_looks_the_same(seen_in(octets, name), shown(film, 24, 24))


def test_a_film_that_pooling_makes_still_lasts_as_long() -> None:
    film = [Cel(np.full((4, 4, 4), 255, np.uint8))] * 3
    for name in ("gif", "png"):
        octets, _ = pooled(gif_of(film, 4, 4), name)
        assert [lasts for _, lasts in seen_in(octets, name)] == [300]


@pytest.mark.parametrize(("name", "slack"), [("gif", 10), ("png", 1), ("webp", 1)])
def test_times_that_a_format_cannot_tell_do_not_add_up(name: str, slack: int) -> None:
    film = [
        Cel(one.array, milliseconds=Fraction(1000, 30), over=False) for one in discs(30, lasts=0)
    ]
    octets, _ = pooled(apng_of(film, 24, 24), name)
    assert_looks_the_same(seen_in(octets, name), shown(film, 24, 24), slack)
    assert sum(lasts for _, lasts in seen_in(octets, name)) == pytest.approx(1000, abs=slack)


def test_what_is_seen_for_longer_than_a_gif_can_say_is_said_again() -> None:
    film = [
        Cel(one.array, milliseconds=Fraction(lasts), over=False)
        for one, lasts in zip(discs(2), (2_000_000, 40), strict=True)
    ]
    octets, _ = pooled(apng_of(film, 24, 24), "gif")
    assert_looks_the_same(read_gif(octets)[0], shown(film, 24, 24))


@pytest.mark.parametrize("name", ["gif", "png", "webp"])
@pytest.mark.parametrize(("loops", "plays"), [(None, 1), (0, 0), (1, 2), (7, 8)])
def test_a_film_is_played_as_often(name: str, loops: int | None, plays: int) -> None:
    octets, _ = pooled(gif_of(discs(), 24, 24, loops=loops), name)
    assert READERS[name](octets)[1] == (loops if name == "gif" else plays)


def test_avif_cannot_say_how_often_it_is_played_and_that_is_said() -> None:
    _, notes = pooled(gif_of(discs(), 24, 24, loops=3), "avif")
    assert [note for note in notes if "plays" in note]


# What stands beside the frames


def test_the_picture_in_front_of_a_film_is_no_frame_of_it() -> None:
    film = discs()
    fallback = np.full((24, 24, 4), 77, np.uint8)
    octets, _ = pooled(apng_of(film, 24, 24, fallback=fallback), "png")
    assert_looks_the_same(read_apng(octets)[0], shown(film, 24, 24))


def test_metadata_of_a_film_is_kept(tmp_path: Path) -> None:
    words = b"tEXt", b"Title\0moving"
    octets = apng_of(discs(), 24, 24, more=_chunk(*words) + _chunk(b"gAMA", b"\0\0\xb1\x8f"))
    result, _ = pooled(octets, "png", 2)
    parts = list(chunks_of(result))
    assert words in parts
    assert (b"gAMA", b"\0\0\xb1\x8f") in parts
    names = [name for name, _ in parts]
    assert names.index(b"acTL") < names.index(b"fcTL") < names.index(b"IDAT")
    if pngcheck := shutil.which("pngcheck"):
        (tmp_path / "film.png").write_bytes(result)
        assert (
            b"OK" in subprocess.run([pngcheck, tmp_path / "film.png"], capture_output=True).stdout
        )


def _chunk(name: bytes, body: bytes) -> bytes:
    return chunk(name, body)


def test_a_comment_of_a_film_is_kept() -> None:
    octets, _ = pooled(gif_of(discs(), 24, 24, more=b"!\xfe\x05hello\0"), "gif")
    assert Image.open(BytesIO(octets)).info["comment"] == b"hello"
    assert (b"tEXt", b"Comment\0hello") in chunks_of(pooled(octets, "png")[0])


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_a_film_is_turned_upright(turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    frames = [Image.fromarray(one.array[:, :16]) for one in discs()]
    octets = saved(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, exif=exif
    )
    assert decoded(octets).info.shape[:2] == ((24, 16) if turn == 3 else (16, 24))
    result, _ = pooled(octets, "png")
    turns = {3: 2, 6: 3, 8: 1}[turn]
    wanted = [(np.rot90(one.array[:, :16], turns), one.milliseconds) for one in discs(lasts=0)]
    found = read_apng(result)[0]
    assert len(found) == 1 or [x for x, _ in found]
    visible = np.where(wanted[0][0][..., 3:] > 0, wanted[0][0], 0)
    np.testing.assert_array_equal(np.where(found[0][0][..., 3:] > 0, found[0][0], 0), visible)
    assert 274 not in Image.open(BytesIO(result)).getexif()


# Depth and colour


def test_a_film_of_16_bits_keeps_them() -> None:
    pytest.importorskip("imagecodecs")
    random = np.random.default_rng(0)
    film = [
        Cel(random.integers(0, 65536, (5, 6, 4), np.uint16), over=over)
        for over in (False, True, True)
    ]
    octets, _ = pooled(apng_of(film, 6, 5), "png")
    found = [(one.array, one.info.duration) for one in pictures_in(octets)]
    assert first_info(octets).mode == "RGBA;16"
    assert_looks_the_same(found, shown(film, 6, 5))


@given(data=st.data())
@pytest.mark.parametrize("full", [255, 65535])
def test_pixels_are_laid_over_others_as_exact_arithmetic_says(
    full: int, data: st.DataObject
) -> None:
    value = st.integers(0, full)
    pixel = st.tuples(value, value, value, st.one_of(value, st.sampled_from([0, 1, full])))
    below, above = data.draw(pixel), data.draw(pixel)
    dtype = np.uint8 if full == 255 else np.uint16
    film = [Cel(np.array([[one]], dtype), over=bool(n)) for n, one in enumerate((below, above))]
    array = np.array([[below]], dtype)
    blend(array, np.array([[above]], dtype), full)
    np.testing.assert_array_equal(array, shown(film, 1, 1)[-1][0])


def test_a_gif_of_256_colours_a_frame_keeps_them_all() -> None:
    frames = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        colours = random.integers(0, 256, (256, 3), np.uint8)
        array = colours[random.permutation(np.arange(1024) % 256)].reshape(32, 32, 3)
        frames.append(Cel(np.dstack((array, np.full((32, 32), 255, np.uint8))), over=False))
    octets, notes = pooled(apng_of(frames, 32, 32), "gif")
    assert_looks_the_same(read_gif(octets)[0], shown(frames, 32, 32))
    assert notes == []


def test_colours_beyond_256_are_approximated_and_that_is_said() -> None:
    random = np.random.default_rng(0)
    frames = [Cel(random.integers(0, 256, (40, 40, 4), np.uint8), over=False) for _ in range(2)]
    _, notes = pooled(apng_of(frames, 40, 40), "gif")
    assert [note for note in notes if "256 colours" in note]


# Pages


def tiff_pages() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [
        Image.fromarray(random.integers(0, 256, (40, 30, 3), np.uint8)),
        Image.fromarray(random.integers(0, 256, (8, 90), np.uint8)),
        Image.fromarray(random.integers(0, 65536, (20, 10), np.uint16)),
        Image.fromarray(random.normal(size=(6, 6)).astype(np.float32)),
    ]


# From the command line


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.gif"
    path.write_bytes(gif_of(discs(background=255), 24, 24))
    return path


@pytest.mark.parametrize("number", [0, 3])
def test_one_frame_can_be_taken(run: Run, film: Path, tmp_path: Path, number: int) -> None:
    done = run("max", "-k", 1, "--frame", number, "--background", "white", film, "out.png")
    wanted = shown(discs(background=255), 24, 24)[number][0]
    assert done.returncode == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), wanted[..., :3])


@pytest.mark.parametrize("name", ["out.jpg", "out.bmp", "out.npy", "out.tif"])
def test_a_film_into_a_format_of_single_pictures_is_refused(
    run: Run, film: Path, tmp_path: Path, name: str
) -> None:
    for flags in ((), ("--dry-run",)):
        done = run("max", "-k", 2, *flags, film, name)
        assert done.returncode == 1
        assert b"5 frames; give --frame N" in done.stderr
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("flags", "taken"), [((), 5), (("--frame", 2), 1)])
def test_the_summary_tells_how_many_frames_were_taken(
    run: Run, film: Path, flags: tuple[object, ...], taken: int
) -> None:
    done = run("max", "-k", 2, *flags, film, "out.gif")
    assert f"frames    {taken} of 5" in done.stderr.decode()
    done = run("max", "-k", 2, *flags, "-v", film, "-")
    assert f"{taken} of 5 frames, " in done.stderr.decode()


def test_pages_into_a_film_are_refused(run: Run, tmp_path: Path) -> None:
    first, *others = tiff_pages()
    first.save(tmp_path / "in.tif", save_all=True, append_images=others)
    done = run("max", "-k", 2, "in.tif", "out.gif")
    assert done.returncode == 1
    assert b"GIF can't hold pages" in done.stderr
    assert run("max", "-k", 2, "--frame", 1, "in.tif", "out.gif").returncode == 0


@pytest.mark.parametrize(("number", "what"), [(5, b"5 frames"), (1, b"1 frame;")])
def test_a_frame_that_is_not_there_is_refused(
    run: Run, film: Path, number: int, what: bytes, tmp_path: Path
) -> None:
    if number == 1:
        Image.new("L", (4, 4)).save(film)
    done = run("max", "-k", 1, "--frame", number, film, "out.gif")
    assert done.returncode == 1
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.gif").exists()


@pytest.mark.parametrize("flags", [(), ("--frame", 2)])
def test_a_dry_run_tells_of_films_what_the_run_tells(
    run: Run, film: Path, flags: tuple[object, ...]
) -> None:
    words = ("avg", "-k", 3, "--json", *flags, film)
    planned, done = (
        json.loads(run(*words, *more).stdout.splitlines()[0])
        for more in (("--dry-run", "out.png"), ("out.png",))
    )
    assert done["frames"] == 5
    for key in set(done) - {"status", "output_bytes", "read_seconds", "pool_seconds"}:
        if key != "write_seconds":
            assert planned[key] == done[key]


def test_a_film_through_a_pipe_is_the_same_file(run: Run, film: Path, tmp_path: Path) -> None:
    run("max", "-k", 2, film, "out.gif")
    done = run("max", "-k", 2, "-", "-", input=film.read_bytes())
    assert done.stdout == (tmp_path / "out.gif").read_bytes()


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_a_film_that_breaks_off_is_refused_whole(
    run: Run, film: Path, tmp_path: Path, name: str, keep: float
) -> None:
    octets = film.read_bytes()
    octets = octets if name == "gif" else pooled(octets, name)[0]
    film.write_bytes(octets[: int(len(octets) * keep)])
    done = run("max", "-k", 2, film, "out.gif")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.gif").exists()


@pytest.mark.parametrize("place", ["the screen", "a frame"])
def test_a_bomb_in_a_gif_is_refused_before_it_is_decoded(run: Run, film: Path, place: str) -> None:
    octets = bytearray(film.read_bytes())
    at = 6 if place == "the screen" else octets.rindex(struct.pack("<4H", 0, 0, 24, 24)) + 4
    octets[at : at + 4] = struct.pack("<HH", 65535, 65535)
    film.write_bytes(octets)
    done = run("max", "-k", 2, film, "out.gif")
    assert done.returncode == 1
    assert b"--max-pixels" in done.stderr


def test_a_film_without_end_is_ended_by_the_timeout(run: Run, film: Path, tmp_path: Path) -> None:
    dot = Cel(np.full((1, 1, 4), 255, np.uint8))
    film.write_bytes(gif_of([dot] * 3000, 3000, 3000))
    (tmp_path / "in").mkdir()
    film.rename(tmp_path / "in" / film.name)
    Image.new("L", (4, 4)).save(tmp_path / "in" / "after.png")
    done = run("max", "-k", 2, "-j", 1, "--timeout", 2, "in", "out")
    assert done.returncode == 1
    assert b"film.gif: it took longer than 2 seconds" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["after.png"]


MEMORY: Final = """
import re, sys
from tests.jobs import run, work
octets = open(sys.argv[1], "rb").read()
outcome = run(sys.argv[1], sys.argv[3], sys.argv[2], work(max_pixels=10**9))
assert outcome.status == "done", outcome.error
status = open("/proc/self/status").read()
written = outcome.output_bytes
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) - len(octets) - written)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gif", "png", "webp"])
def test_memory_holds_a_frame_or_two_and_not_the_animation(tmp_path: Path, name: str) -> None:
    side, peaks = 512, []
    for count in (4, 44):
        path = tmp_path / f"{count}.gif"
        path.write_bytes(gif_of([_spot(number, side) for number in range(count)], side, side))
        command = [sys.executable, "-c", MEMORY, str(path), name, str(tmp_path / f"out{count}")]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
        peaks.append(int(done.stdout))
    film_bytes = 40 * (side // 2) ** 2  # of one channel
    assert peaks[1] - peaks[0] < film_bytes


def _spot(number: int, side: int) -> Cel:
    """A whole picture of plain colour with a spot that moves, drawn as little of it as can be."""
    array: Pixels = np.full((side, side, 4), 255, np.uint8)
    if not number:
        return Cel(array)
    edge = side // 2
    array = np.zeros((edge, edge, 4), np.uint8)
    array[...] = (number, 255 - number, 0, 255)
    place = (number * 3) % (side - edge)
    return Cel(array, place, place)
