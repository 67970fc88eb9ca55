"""PNG and animated PNG: every depth, palettes, refusals, animations, compression."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, open_reader
from poolcli.formats.refusals import Refusing
from poolcli.formats.saving import Saving
from poolcli.picture import Metadata, Resolution, Stored
from tests.animations import CLEAR, Region, apng_of, chunks_of, read_apng
from tests.contract_support import Counting
from tests.pictures import (
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    chunk,
    decoded,
    encoded,
    exif_of,
    imagemagick,
    noise,
    noisy,
    opened,
    picture,
    pictures_in,
    png,
    reader_of,
    saved,
    written,
)
from tests.png_support import (
    ANIMATED,
    COLOUR,
    MAKE,
    PROFILE,
    SIDE,
    TEXTS,
    TURN,
    flipped,
    plain,
    png_with,
)
from tests.support.tools import needs
from tests.support.trees import SAMPLES

CONVERT = imagemagick("convert")
DEEP: Final = ("LA;16", "RGB;16", "RGBA;16")


def packed(samples: NDArray[Any], depth: int) -> list[bytes]:
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in samples]
    rows = samples.reshape(len(samples), -1)
    bits = rows[..., None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
    return [np.packbits(row).tobytes() for row in bits.reshape(len(rows), -1)]


KINDS: Final = [
    *((depth, GREY, "L") for depth in (1, 2, 4, 8, 16)),
    *((depth, RGB, "RGB") for depth in (8, 16)),
    *((depth, GREY_ALPHA, "LA") for depth in (8, 16)),
    *((depth, RGB_ALPHA, "RGBA") for depth in (8, 16)),
]


@pytest.mark.parametrize(("depth", "kind", "mode"), KINDS)
def test_samples_of_every_depth_and_colour_type_are_exact(depth: int, kind: int, mode: str) -> None:
    dtype, full = np.dtype(np.uint16 if depth == 16 else np.uint8), (1 << depth) - 1
    samples = np.random.default_rng(depth).integers(0, 1 << depth, (5, 11, len(mode)), dtype)
    samples = samples if len(mode) > 1 else samples[..., 0]
    wanted = samples if depth in (1, 16) else (samples.astype(int) * 255 // full).astype(np.uint8)
    deep_mode = "I;16" if mode == "L" else f"{mode};16"
    found = decoded(png(11, packed(samples, depth), depth, kind))
    assert found.info.mode == {1: "1", 16: deep_mode}.get(depth, mode)
    assert found.info.stored == Stored("unsigned", depth, full, len(mode))
    assert found.array.dtype == (np.bool_ if depth == 1 else dtype)
    np.testing.assert_array_equal(found.array, wanted)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
"""The first x and y, and the steps along x and y, of six of the seven passes."""


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (9, 10)])
def test_an_interlaced_picture_is_read(shape: tuple[int, int], depth: int) -> None:
    channels = 1 if depth == 8 else 3
    pixels = np.arange(shape[0] * shape[1] * channels, dtype=f"u{depth // 8}").reshape(*shape, -1)
    passes = [pixels[y::down, x::across] for x, y, across, down in (*ADAM7, (0, 1, 1, 2))]
    rows = [row for each in passes if each.size for row in packed(each, depth)]
    kind = GREY if channels == 1 else RGB
    octets = png(shape[1], rows, depth, kind, interlaced=True, height=shape[0])
    np.testing.assert_array_equal(decoded(octets).array.reshape(pixels.shape), pixels)


COLOURS, GREYS = bytes([10, 20, 30, 40, 50, 60]), bytes([10, 10, 10, 40, 40, 40])
COLOUR_KEY: Final = (b"tRNS", struct.pack(">3H", 1, 2, 3))
PALETTES: Final = {
    "colour": (COLOURS, [], "RGB", [[10, 20, 30], [40, 50, 60]]),
    "first hidden": (COLOURS, [b"\0"], "RGBA", [[10, 20, 30, 0], [40, 50, 60, 255]]),
    "second hidden": (COLOURS, [b"\xff\0"], "RGBA", [[10, 20, 30, 255], [40, 50, 60, 0]]),
    "faint": (COLOURS, [b"\x40\x80"], "RGBA", [[10, 20, 30, 64], [40, 50, 60, 128]]),
    "opaque": (COLOURS, [b""], "RGBA", [[10, 20, 30, 255], [40, 50, 60, 255]]),
    "grey": (GREYS, [], "L", [10, 40]),
    "grey hidden": (GREYS, [b"\0"], "LA", [[10, 0], [40, 255]]),
    "grey faint": (GREYS, [b"\x40\x80"], "LA", [[10, 64], [40, 128]]),
}


def indexed(palette: bytes, *alphas: bytes, depth: int = 8) -> bytes:
    """Return a picture of two pixels that have the first and the second colour."""
    row = {8: b"\0\1", 4: b"\x01", 2: b"\x10", 1: b"\x40"}[depth]
    return png(2, [row], depth, PALETTE, (b"PLTE", palette), *((b"tRNS", one) for one in alphas))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize(("palette", "alphas", "mode", "pixels"), PALETTES.values(), ids=PALETTES)
def test_a_palette_is_applied_to_indices(
    depth: int, palette: bytes, alphas: list[bytes], mode: str, pixels: Any
) -> None:
    octets = indexed(palette, *alphas, depth=depth)
    (frame,) = reader_of(octets).frames()
    assert frame.rows(0, 1).tolist() == [[0, 1]]
    assert frame.info.stored == Stored("unsigned", 8, 255, 1)
    assert (frame.info.mode, frame.info.entries) == (mode, len(palette) // 3)
    assert decoded(octets).array.tolist() == [pixels]


def test_indices_beyond_the_palette_are_shown_as_pillow_shows_them() -> None:
    octets = png(4, [bytes([0, 1, 2, 200])], 8, PALETTE, (b"PLTE", COLOURS))
    np.testing.assert_array_equal(decoded(octets).array, opened(octets).convert("RGB"))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_becomes_alpha_and_is_not_written_again(depth: int) -> None:
    full = 2**depth - 1
    values, most = sorted({0, 1, full // 2, full}), max(full, 255)
    for key in values:
        part = (b"tRNS", struct.pack(">H", key))
        rows = packed(np.array([values], np.uint16), depth)
        found = decoded(png(len(values), rows, depth, GREY, part))
        wanted = [[value * most // full, 0 if value == key else most] for value in values]
        assert found.info.mode == ("LA;16" if depth == 16 else "LA")
        assert found.array.tolist() == [wanted]
        assert found.info.notes == ("its transparent key became alpha",)
        assert b"tRNS" not in dict(chunks_of(encoded(found, "png")))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_alpha(depth: int) -> None:
    samples, full = np.array([[[1, 2, 3], [4, 5, 6], [1, 2, 4]]], np.uint16), 2**depth - 1
    found = decoded(png(3, packed(samples, depth), depth, RGB, COLOUR_KEY)).array
    assert found.tolist() == [[[1, 2, 3, 0], [4, 5, 6, full], [1, 2, 4, full]]]


def test_transparency_has_no_effect_beside_alpha_and_behind_the_pixels() -> None:
    alpha = decoded(png(2, [bytes([1, 1, 2, 255])], 8, GREY_ALPHA, COLOUR_KEY))
    behind = decoded(png_with(behind=[COLOUR_KEY]))
    assert alpha.array.tolist() == [[[1, 1], [2, 255]]]
    assert (alpha.info.notes, behind.info.notes, behind.info.mode) == ((), (), "RGB")


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1)])
def test_palettes_and_deep_samples_are_turned_upright(orientation: int, turns: int) -> None:
    exif, array = (b"eXIf", exif_of({TURN: orientation})), noise("RGB;16", (2, 3))
    deep = decoded(png(3, packed(array, 16), 16, RGB, exif))
    np.testing.assert_array_equal(deep.array, np.rot90(array, turns))
    few = png(3, [b"\0\1\0", b"\1\1\0"], 8, PALETTE, (b"PLTE", GREYS), exif)
    np.testing.assert_array_equal(decoded(few).array, np.rot90([[10, 40, 10], [40, 40, 10]], turns))


def header(*fields: int) -> bytes:
    return png_with(
        octets=b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", *fields)) + plain()[33:]
    )


def announced(octets: bytes, count: int) -> bytes:
    """Return an animation of three frames that announces another number of them."""
    parts = [chunk(b"acTL", struct.pack(">2I", number, 0)) for number in (3, count)]
    return octets.replace(parts[0], parts[1])


REFUSED: Final = {
    "a signature": (b"\x89PNG\r\n\x1a\n", "no pixels"),
    "a header alone": (plain()[:33], "no pixels"),
    "no header": (plain()[:8] + plain()[33:], "IHDR chunk is damaged or missing"),
    "no width": (header(0, 20, 8, 2, 0, 0, 0), "20×0 pixels"),
    "a depth of 3": (header(30, 20, 3, 0, 0, 0, 0), "3-bit samples of colour type 0"),
    "a colour type of 5": (header(30, 20, 8, 5, 0, 0, 0), "8-bit samples of colour type 5"),
    "a compression": (header(30, 20, 8, 2, 1, 0, 0), "no compression, filter and interlace"),
    "filters": (header(30, 20, 8, 2, 0, 64, 0), "no compression, filter and interlace"),
    "no palette": (png(2, [b"\0\1"], 8, PALETTE), "no palette"),
    "half a key": (png_with((b"tRNS", b"\0\1")), "transparent colour is too short"),
    "a damaged header": (flipped(plain(), b"IHDR"), "IHDR chunk is damaged"),
    "a damaged palette": (flipped(indexed(COLOURS), b"PLTE"), "PLTE chunk is damaged"),
    "damaged alphas": (flipped(indexed(COLOURS, b"\0"), b"tRNS"), "tRNS chunk is damaged"),
    "a damaged count of frames": (flipped(ANIMATED, b"acTL"), "acTL chunk is damaged"),
    "a damaged frame": (flipped(ANIMATED, b"fcTL"), "fcTL chunk is damaged"),
    "a missing frame": (announced(ANIMATED, 4), "breaks off after 3 frames"),
    "an animation without its end": (ANIMATED[:-12], "breaks off after 3 frames"),
}


@pytest.mark.parametrize(("octets", "words"), REFUSED.values(), ids=REFUSED)
def test_what_no_picture_can_have_is_refused_from_the_chunks(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError, match=words) as refusal:
        reader_of(octets)
    assert refusal.value.remedy


@pytest.mark.parametrize("cut", [40, 60, 100, -20, -13])
def test_a_deep_picture_that_is_cut_off_is_refused(cut: int) -> None:
    octets = encoded(noisy("RGB;16", SIDE), "png")
    with pytest.raises(PoolError) as refusal, Refusing("it can't be decoded"):
        decoded(octets[:cut])
    assert refusal.value.remedy


def test_chunks_behind_the_pixels_are_read_without_the_pixels() -> None:
    whole = saved(Image.fromarray(noise("RGB", (300, 400))), "PNG")
    stream = Counting(png_with(TEXTS[0], behind=[TEXTS[1]], octets=whole))
    (frame,) = open_reader(stream, Limits(10**6)).frames()
    assert len(frame.metadata().texts) == 2
    assert stream.taken < 2000


CONTROL: Final = struct.Struct(">5I2H2B")


def parts_of(octets: bytes, name: bytes) -> list[bytes]:
    return [body for found, body in chunks_of(octets) if found == name]


def test_a_single_frame_is_a_still_unless_another_picture_hides_it() -> None:
    region = Region(noise("RGBA", (4, 5)), over=False)
    for fallback in (None, np.zeros((4, 5, 4), np.uint8)):
        octets = apng_of([region], 5, 4, fallback=fallback)
        (found,) = pictures_in(octets)
        np.testing.assert_array_equal(found.array, region.array)
        assert b"acTL" not in encoded(found, "png")


def test_frames_beyond_those_that_are_announced_are_left_out_and_large_regions_refused() -> None:
    octets = announced(ANIMATED, 2)
    assert reader_of(octets).count == len(list(pictures_in(octets))) == 2
    octets = apng_of([Region(np.zeros((one, one, 4), np.uint8)) for one in (4, 9)], 4, 4)
    assert reader_of(octets, 81).count == 2
    with pytest.raises(PoolError, match="are allowed"):
        reader_of(octets, 80)


def numbered(body: bytes, change: int) -> bytes:
    (number,) = struct.unpack(">I", body[:4])
    return struct.pack(">I", number + change) + body[4:]


DISORDER: Final[dict[str, Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]]] = {
    "two acTL": lambda parts: [*parts[:2], *parts[1:]],
    "it begins with 1": lambda parts: [
        (name, numbered(body, 1) if name in (b"fcTL", b"fdAT") else body) for name, body in parts
    ],
    "a number twice": lambda parts: [*parts[:5], (b"fdAT", numbered(parts[5][1], -1)), *parts[6:]],
    "data before its control": lambda parts: [*parts[:4], parts[5], parts[4], *parts[6:]],
}


@pytest.mark.parametrize("is_frame", [True, False])
@pytest.mark.parametrize("change", DISORDER.values(), ids=DISORDER)
def test_only_the_still_picture_of_a_disordered_animation_is_taken(
    change: Callable[[Any], Any], is_frame: bool, tmp_path: Path
) -> None:
    regions = [Region(noise("RGBA", (4, 5), seed)) for seed in range(3)]
    still = noise("RGBA", (4, 5), 7)
    octets = apng_of(regions, 5, 4, fallback=None if is_frame else still)
    assert reader_of(octets).count == 3
    octets = octets[:8] + b"".join(chunk(*one) for one in change([*chunks_of(octets)]))
    (found,) = pictures_in(octets)
    wanted = regions[0].array if is_frame else still
    np.testing.assert_array_equal(found.array, wanted)
    assert found.metadata.warnings == (
        "the chunks of its animation are not in order: only its still picture was taken",
    )
    if CONVERT:
        (tmp_path / "in.png").write_bytes(octets)
        subprocess.run([CONVERT, "in.png", "out.ppm"], cwd=tmp_path, check=True)
        seen = np.asarray(Image.open(tmp_path / "out.ppm"))
        np.testing.assert_array_equal(seen, wanted[..., :3])


@pytest.mark.parametrize("dispose", ["keep", "restore"])
def test_damage_below_the_canvas_is_found(dispose: Any) -> None:
    regions = [Region(noise("RGBA", (side, 4), side), dispose=dispose) for side in (4, 9)]
    octets = apng_of(regions, 4, 4)
    assert len([*pictures_in(octets)]) == 2
    parts = [*chunks_of(octets)]
    data = zlib.compress(zlib.decompress(parts[5][1][4:])[:-1])
    parts[5] = b"fdAT", parts[5][1][:4] + data
    octets = octets[:8] + b"".join(chunk(*one) for one in parts)
    with pytest.raises(PoolError, match="fewer rows"):
        [*pictures_in(octets)]


@pytest.mark.parametrize(
    ("mode", "canvas"),
    [("1", "LA"), ("L", "LA"), ("RGB", "RGBA"), ("P", "RGBA"), ("I;16", "LA;16")],
)
@pytest.mark.parametrize("is_cleared", [False, True])
def test_a_canvas_that_is_cleared_gains_alpha(mode: str, canvas: str, is_cleared: bool) -> None:
    image = Image.fromarray(noise("I;16" if mode == "I;16" else "RGB", (6, 8)))
    if mode != "I;16":
        image = image.quantize(8) if mode == "P" else image.convert(mode)
    still = saved(image, "PNG")

    first, second = pictures_in(shown_twice(still, is_cleared=is_cleared))

    one = decoded(still)
    assert first.info.mode == (canvas if is_cleared else one.info.mode)
    assert first.info.duration == Fraction(40)
    array = one.array * np.uint8(255) if is_cleared and mode == "1" else one.array
    for found in (first, second):
        colours = found.array[..., :-1] if is_cleared else found.array
        np.testing.assert_array_equal(colours.reshape(array.shape), array)
        assert not is_cleared or (found.array[..., -1] == found.info.maxval).all()


def shown_twice(still: bytes, *, is_cleared: bool) -> bytes:
    """Return an animation of a still of 6×8 pixels, whose second frame is in two chunks."""
    parts = list(chunks_of(still))
    data = b"".join(body for name, body in parts if name == b"IDAT")
    half = len(data) // 2
    animation = [
        (b"acTL", struct.pack(">2I", 2, 0)),
        *(one for one in parts if one[0] in (b"PLTE", b"tRNS")),
        (b"fcTL", CONTROL.pack(0, 8, 6, 0, 0, 1, 25, is_cleared, 0)),
        (b"IDAT", data),
        (b"fcTL", CONTROL.pack(1, 8, 6, 0, 0, 1, 25, 0, 0)),
        (b"fdAT", struct.pack(">I", 2) + data[:half]),
        (b"tEXt", b"a\0between"),
        (b"fdAT", struct.pack(">I", 3) + data[half:]),
        (b"IEND", b""),
    ]
    return still[:8] + b"".join(chunk(*one) for one in (parts[0], *animation))


def test_only_what_changes_is_written_and_equal_frames_become_one() -> None:
    frames = [noise("RGB;16", (6, 8)) for _ in range(4)]
    frames[2][2:4, 3:7] ^= 1
    frames[3] = frames[2]
    metadata = Metadata(plays=5, texts=TEXTS[:1])
    pictures = [
        picture(one, "RGB;16", metadata, duration=Fraction(lasts))
        for one, lasts in zip(frames, (10, 20, 30, 40), strict=True)
    ]
    octets, notes = written(pictures, "png")
    assert parts_of(octets, b"acTL") == [struct.pack(">2I", 2, 5)]
    assert [CONTROL.unpack(one) for one in parts_of(octets, b"fcTL")] == [
        (0, 8, 6, 0, 0, 30, 1000, 0, 0),
        (1, 4, 2, 3, 2, 70, 1000, 0, 0),
    ]
    assert (parts_of(octets, b"tEXt"), notes) == ([TEXTS[0][1]], [])
    found = [one.array for one in pictures_in(octets)]
    np.testing.assert_array_equal(found, [frames[0], frames[2]])


def test_save_options_have_an_effect_on_every_frame() -> None:
    frames = [Region(np.full((90, 90, 4), one, np.uint8), dispose=CLEAR) for one in (40, 200)]
    pictures = list(pictures_in(apng_of(frames, 90, 90)))
    loose, tight = (written(pictures, "png", Saving(compress_level=one))[0] for one in (0, 9))
    assert len(loose) > 2 * 90 * 90 * 4 > 20 * len(tight)
    for octets in (loose, tight):
        assert [array.tolist() for array, _ in read_apng(octets)[0]] == [
            one.array.tolist() for one in frames
        ]


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    return saved(image, "PNG", **({"compress_level": 4} | options))


def ours(image: Image.Image, saving: Saving | None = None) -> bytes:
    return encoded(picture(np.asarray(image), "RGB"), "png", saving)


def grain(side: int = 700) -> Image.Image:
    """Return a slope with noise that never repeats, as a photograph has it."""
    slope = np.linspace(0, 200, side)[:, None, None] + np.linspace(0, 30, side)[None, :, None]
    noise = np.random.default_rng(1).normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8))


def pattern(side: int = 700) -> Image.Image:
    """Return a tile of noise that is repeated."""
    tile = np.random.default_rng(2).integers(0, 256, (20, 20, 3), np.uint8)
    return Image.fromarray(np.tile(tile, (side // 20, side // 20, 1)))


def test_what_repeats_itself_is_compressed_by_matches_and_the_rest_by_runs() -> None:
    noisy_image, tiled = grain(), pattern()
    assert len(ours(noisy_image)) < 1.01 * len(by_pillow(noisy_image, compress_type=3))
    assert len(ours(noisy_image)) < 1.01 * len(by_pillow(noisy_image))
    assert len(ours(tiled)) < 1.03 * len(by_pillow(tiled))
    assert len(ours(tiled)) < 0.1 * len(by_pillow(tiled, compress_type=3))


@pytest.mark.parametrize(
    "saving", [Saving(compress_level=9), Saving(options=(("optimize", "yes"),))], ids=str
)
def test_the_effort_that_is_asked_for_is_made(saving: Saving) -> None:
    for image in (grain(300), pattern(300)):
        assert len(ours(image, saving)) <= 1.01 * len(by_pillow(image, compress_level=9))
    sizes = [len(ours(pattern(300), Saving(compress_level=level))) for level in (0, 1, 9)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 300 * 300 * 3


@pytest.mark.parametrize("sample", [one.name for one in SAMPLES.glob("*.png")])
def test_no_sample_becomes_larger_than_by_matches(sample: str) -> None:
    image = Image.open(SAMPLES / sample).convert("RGB")
    assert len(ours(image)) <= 1.02 * len(by_pillow(image))


def test_deep_samples_take_a_compress_level() -> None:
    given = picture(np.zeros((50, 60, 3), np.uint16), "RGB;16")
    for level in (0, 1, 9):
        octets = encoded(given, "png", Saving(compress_level=level))
        np.testing.assert_array_equal(decoded(octets).array, given.array)
        assert (len(octets) > given.array.nbytes) == (level == 0)


def test_metadata_of_deep_samples_are_kept() -> None:
    exif = exif_of({MAKE: "Works"})
    metadata = Metadata(PROFILE, exif, resolution=Resolution(150, 300), texts=TEXTS, colour=COLOUR)
    octets = encoded(picture(noise("RGBA;16"), "RGBA;16", metadata), "png")
    for again in (octets, encoded(decoded(octets), "png")):
        image = opened(again)
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[MAKE] == "Works"
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)
        assert {*TEXTS, COLOUR[0], COLOUR[3]} <= set(chunks_of(again))


@needs("convert")
@pytest.mark.parametrize("mode", ["I;16", *DEEP])
def test_imagemagick_reads_the_same_16_bits(mode: str, tmp_path: Path) -> None:
    array, path = noise(mode, (6, 8)), tmp_path / "out.png"
    path.write_bytes(encoded(picture(array, mode), "png"))
    assert path.read_bytes()[24] == 16
    command = [CONVERT, str(path), "-depth", "16", "-endian", "LSB", "rgba:-"]
    done = subprocess.run(command, capture_output=True, check=True)
    seen = np.frombuffer(done.stdout, "<u2").reshape(6, 8, 4)
    shown = array.reshape(6, 8, -1)
    colours = shown[..., :1] if mode in ("I;16", "LA;16") else shown[..., :3]
    np.testing.assert_array_equal(seen[..., :3], np.broadcast_to(colours, (6, 8, 3)))
    alpha = shown[..., -1] if mode in ("LA;16", "RGBA;16") else 65535
    np.testing.assert_array_equal(seen[..., 3], alpha)
