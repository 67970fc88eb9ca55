"""Pictures to bytes and back; what is read back is read by Pillow itself, not by the codec."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin
from poolcli.codec import DTYPES, Picture
from poolcli.codec.headers import Storage

from poolcli import codec
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, READABLE, Saving, by_name
from tests.conftest import SAMPLES, Run
from tests.pictures import (
    GREY,
    MODES,
    PALETTE,
    RGB,
    decoded,
    dtype_of,
    encoded,
    identified,
    maxval_of,
    noise,
    noisy,
    notes_of,
    opened,
    png,
    read_back,
    saved,
    whole_shape,
    widened,
)

LOSSY = ("jpeg", "avif")
PAIRS = [(one.name, mode) for one in FORMATS for mode in one.modes]
REFUSED = [(one.name, mode) for one in FORMATS for mode in MODES if mode not in one.modes]
EXACT = [(name, mode) for name, mode in PAIRS if name not in (*LOSSY, "gif")]


def pairs(of: list[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("name", "mode"), of, ids=[f"{mode} in {name}" for name, mode in of]
    )


def pixels_of(octets: bytes, mode: str | None = None) -> NDArray[Any]:
    image = opened(octets)
    return np.asarray(image if mode is None else image.convert(mode))


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth colour, which lossy formats keep nearly."""
    y, x = np.indices((height, width))
    return np.stack((x * 4, y * 4, 128 + x - y), axis=-1).astype(np.uint8)


# Every mode in every format


@st.composite
def pictures_of(draw: st.DrawFn, mode: str) -> Picture:
    shape = whole_shape(mode, draw(st.tuples(st.integers(1, 9), st.integers(1, 9))))
    values = st.integers(0, maxval_of(mode)) if mode.endswith(";M") else None
    array = draw(hnp.arrays(dtype_of(mode), shape, elements=values))
    return Picture(array, mode, maxval_of(mode))


@pairs(EXACT)
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_a_lossless_format_gives_the_same_pixels_back(
    name: str, mode: str, data: st.DataObject
) -> None:
    picture = data.draw(pictures_of(mode))
    stored = by_name(name).modes[mode]
    seen = read_back(encoded(picture, name), name, stored)
    np.testing.assert_array_equal(seen, widened(picture.array, mode, stored))
    assert name == "tiff" or seen.dtype == dtype_of(stored)


@pairs(EXACT)
def test_what_is_written_without_loss_is_read_again_in_the_mode_of_the_table(
    name: str, mode: str
) -> None:
    stored = by_name(name).modes[mode]
    again = decoded(encoded(noisy(mode), name))
    without_words = {"CMYK": "array", "LA": "array", "RGBA": "array", "YCbCr": "RGB", "LAB": "RGB"}
    without_words |= {"LA;16": "array", "RGBA;16": "array", "L;M": "I;16", "RGB;M": "RGB;16"}
    wanted = without_words.get(stored, stored) if name == "npy" else stored
    assert again.mode == wanted
    np.testing.assert_array_equal(again.array, widened(noise(mode), mode, stored))


@pytest.mark.parametrize(
    ("name", "mode", "magic"),
    [
        ("pnm", "1", b"P4"),
        ("pnm", "L", b"P5"),
        ("pnm", "RGB", b"P6"),
        ("pnm", "I;16", b"P5"),
        ("pbm", "1", b"P4"),
        ("pgm", "1", b"P5"),
        ("pgm", "L", b"P5"),
        ("ppm", "1", b"P6"),
        ("ppm", "L", b"P6"),
        ("ppm", "RGB", b"P6"),
        ("pfm", "F", b"Pf"),
        ("pnm", "L;M", b"P5"),
        ("pgm", "L;M", b"P5"),
        ("pnm", "RGB;M", b"P6"),
        ("ppm", "RGB;16", b"P6"),
    ],
)
def test_a_netpbm_suffix_says_what_is_inside(name: str, mode: str, magic: bytes) -> None:
    assert encoded(noisy(mode), name)[:2] == magic


@pairs(REFUSED)
def test_every_pair_outside_the_table_is_refused_with_a_remedy(name: str, mode: str) -> None:
    with pytest.raises(PoolError, match=f"{name.upper()} can't hold") as refusal:
        encoded(noisy(mode), name)
    assert refusal.value.remedy


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_format_comes_back_near(name: str, mode: str) -> None:
    smooth = ramp(40, 50)
    array = {"1": smooth[..., 0] > 100, "L": smooth[..., 0], "RGB": smooth}[mode]
    stored = by_name(name).modes[mode]
    image = opened(encoded(Picture(array, mode), name))
    error = np.abs(np.asarray(image).astype(int) - widened(array, mode, stored))
    assert image.mode == stored
    assert error.mean() < 3


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_avif_keeps_alpha_near(mode: str) -> None:
    alpha = np.linspace(0, 255, 50).astype(np.uint8)
    colour = ramp(40, 50)[..., :1] if mode == "LA" else ramp(40, 50)
    array = np.dstack((colour, np.tile(alpha, (40, 1))))
    image = opened(encoded(Picture(array, mode), "avif"))
    assert image.mode == "RGBA"
    assert np.abs(np.asarray(image)[..., 3].astype(int) - array[..., -1]).mean() < 3


# WebP


def test_webp_of_a_lossless_source_keeps_colours_that_cannot_be_seen() -> None:
    array = noise("RGBA")
    array[..., 3] = np.arange(35).reshape(5, 7) % 3
    octets = encoded(Picture(array, "RGBA"), "webp")
    assert octets[12:16] == b"VP8L"
    np.testing.assert_array_equal(pixels_of(octets), array)


@pytest.mark.parametrize(
    ("lossy", "saving", "kind"),
    [
        (False, Saving(), b"VP8L"),
        (True, Saving(), b"VP8 "),
        (False, Saving(quality=70), b"VP8 "),
        (True, Saving(quality=70), b"VP8 "),
        (True, Saving(options=(("lossless", "yes"),)), b"VP8L"),
        (False, Saving(options=(("lossless", "no"),)), b"VP8 "),
    ],
)
def test_webp_is_lossless_unless_the_source_or_the_user_says_otherwise(
    lossy: bool, saving: Saving, kind: bytes
) -> None:
    assert (
        encoded(Picture(ramp(9, 9), "RGB", source=Storage(lossy=lossy)), "webp", saving)[12:16]
        == kind
    )


@pytest.mark.parametrize(
    ("pillow", "arguments", "lossy"),
    [
        ("PNG", {}, False),
        ("TIFF", {}, False),
        ("GIF", {}, False),
        ("JPEG", {}, True),
        ("AVIF", {}, True),
        ("WEBP", {"lossless": True}, False),
        ("WEBP", {"lossless": False}, True),
        ("WEBP", {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0VP8 "}, False),
    ],
)
def test_a_source_is_lossy_if_its_format_had_lost_something(
    pillow: str, arguments: dict[str, Any], lossy: bool
) -> None:
    header = identified(saved(Image.fromarray(noise("RGB")), pillow, **arguments))
    assert header.source.lossy == codec.decode(header).source.lossy == lossy


# JPEG from JPEG


def jpeg(subsampling: int, mode: str = "RGB", **arguments: Any) -> bytes:
    image = Image.fromarray(ramp(40, 50)).convert(mode)
    more = {} if mode == "L" else {"subsampling": subsampling}
    return saved(image, "JPEG", quality=37, **more, **arguments)


def jpeg_facts(octets: bytes) -> tuple[Any, int]:
    image = opened(octets)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return image.quantization, JpegImagePlugin.get_sampling(image)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_tables_and_subsampling(mode: str, subsampling: int) -> None:
    source = jpeg(subsampling, mode)
    assert jpeg_facts(encoded(decoded(source), "jpeg")) == jpeg_facts(source)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_quality_replaces_the_tables_of_a_jpeg(mode: str) -> None:
    picture = decoded(jpeg(0, mode))
    asked = jpeg_facts(encoded(picture, "jpeg", Saving(quality=80)))
    plain = saved(Image.fromarray(ramp(40, 50)).convert(mode), "JPEG", quality=80)
    assert asked == jpeg_facts(plain)


def test_a_subsampling_that_is_asked_for_leaves_the_tables_alone() -> None:
    source = jpeg(0)
    saving = Saving(options=(("subsampling", "4:2:0"),))
    assert jpeg_facts(encoded(decoded(source), "jpeg", saving)) == (jpeg_facts(source)[0], 2)


def test_the_tables_of_a_jpeg_are_nothing_to_other_formats() -> None:
    picture = decoded(jpeg(2))
    for name in ("png", "webp", "tiff", "avif"):
        assert opened(encoded(picture, name)).size == (50, 40)


# Save options


EFFECTS: dict[tuple[str, str, str], Callable[[Image.Image], bool]] = {
    ("tiff", "compression", "none"): lambda image: image.info["compression"] == "raw",
    ("tiff", "compression", "lzw"): lambda image: image.info["compression"] == "tiff_lzw",
    ("tiff", "compression", "deflate"): lambda image: "deflate" in image.info["compression"],
    ("tiff", "compression", "packbits"): lambda image: image.info["compression"] == "packbits",
    ("tiff", "compression", "zstd"): lambda image: image.info["compression"] == "zstd",
    ("jpeg", "progressive", "yes"): lambda image: "progressive" in image.info,
    ("jpeg", "progressive", "no"): lambda image: "progressive" not in image.info,
}


def values_of(kind: Any) -> list[str]:
    if isinstance(kind, range):
        return [str(kind[0]), str(kind[-1])]
    return list(kind) if isinstance(kind, tuple) else ["yes", "no"]


OPTIONS = [
    (one.name, key, value)
    for one in FORMATS
    for key, kind in one.options.items()
    for value in values_of(kind)
]


@pytest.mark.parametrize(("name", "key", "value"), OPTIONS)
def test_every_save_option_writes_a_file_that_shows_it(name: str, key: str, value: str) -> None:
    octets = encoded(Picture(ramp(16, 16), "RGB"), name, Saving(options=((key, value),)))
    image = opened(octets)
    shows = EFFECTS.get((name, key, value))
    assert shows is None or shows(image)
    error = np.abs(np.asarray(image).astype(int) - ramp(16, 16))
    assert error.mean() < (4 if name in LOSSY or value == "no" else 0.5)


# Palettes and transparency keys

COLOURS, GREYS = bytes([10, 20, 30, 40, 50, 60]), bytes([10, 10, 10, 40, 40, 40])


def indexed(palette: bytes, *keys: bytes, depth: int = 8) -> bytes:
    """A PNG whose first pixel has the first colour and whose second has the second."""
    row = {8: b"\0\1", 4: b"\x01", 2: b"\x10", 1: b"\x40"}[depth]
    return png(2, [row], depth, PALETTE, (b"PLTE", palette), *((b"tRNS", key) for key in keys))


def seen(octets: bytes) -> tuple[str, Any]:
    """The mode and the pixels, once the header has been found to promise them."""
    header = identified(octets)
    picture = codec.decode(header)
    assert (header.mode, header.shape) == (picture.mode, picture.array.shape)
    assert picture.array.dtype == DTYPES[picture.mode]
    return picture.mode, picture.array.tolist()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("palette", "keys", "mode", "pixels"),
    [
        (COLOURS, [], "RGB", [[10, 20, 30], [40, 50, 60]]),
        (COLOURS, [b"\0"], "RGBA", [[10, 20, 30, 0], [40, 50, 60, 255]]),
        (COLOURS, [b"\xff\0"], "RGBA", [[10, 20, 30, 255], [40, 50, 60, 0]]),
        (COLOURS, [b"\x40\x80"], "RGBA", [[10, 20, 30, 64], [40, 50, 60, 128]]),
        (GREYS, [], "L", [10, 40]),
        (GREYS, [b"\0"], "LA", [[10, 0], [40, 255]]),
        (GREYS, [b"\x40\x80"], "LA", [[10, 64], [40, 128]]),
    ],
    ids=["RGB", "first hidden", "second hidden", "faint", "grey", "grey hidden", "grey faint"],
)
def test_a_palette_is_applied(
    depth: int, palette: bytes, keys: list[bytes], mode: str, pixels: Any
) -> None:
    assert seen(indexed(palette, *keys, depth=depth)) == (mode, [pixels])


@pytest.mark.parametrize("pillow", ["GIF", "TIFF", "BMP"])
@pytest.mark.parametrize(
    ("palette", "mode", "pixels"),
    [(COLOURS, "RGB", [[10, 20, 30], [40, 50, 60]]), (GREYS, "L", [10, 40])],
    ids=["colours", "greys"],
)
def test_a_palette_of_any_format_is_applied(
    pillow: str, palette: bytes, mode: str, pixels: Any
) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette(palette)
    assert seen(saved(image, pillow)) == (mode, [pixels])


def test_the_key_of_a_gif_is_applied() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette(COLOURS)
    mode, ((hidden, visible),) = seen(saved(image, "GIF", transparency=0))
    assert (mode, hidden[3], visible) == ("RGBA", 0, [40, 50, 60, 255])


def keyed_grey(depth: int, key: int, *values: int) -> bytes:
    """A grey PNG of one row with a transparent grey."""
    bits = "".join(f"{value:0{depth}b}" for value in values)
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2)
    row = packed.to_bytes(-(-len(bits) // 8), "big")
    return png(len(values), [row], depth, GREY, (b"tRNS", struct.pack(">H", key)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_transparent_grey_of_a_png_becomes_alpha(depth: int) -> None:
    full = 2**depth - 1
    values = sorted({0, 1, full // 2, full})
    for key in values:
        wanted = [[value * 255 // full, 0 if value == key else 255] for value in values]
        assert seen(keyed_grey(depth, key, *values)) == ("LA", [wanted])


def test_the_transparent_colour_of_a_png_becomes_alpha() -> None:
    key = (b"tRNS", struct.pack(">3H", 1, 2, 3))
    octets = png(3, [bytes([1, 2, 3, 4, 5, 6, 1, 2, 4])], 8, RGB, key)
    assert seen(octets) == ("RGBA", [[[1, 2, 3, 0], [4, 5, 6, 255], [1, 2, 4, 255]]])


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_of_few_bits_is_widened_exactly(depth: int) -> None:
    values = range(2**depth)
    row = sum(value << depth * (len(values) - 1 - value) for value in values)
    octets = png(len(values), [row.to_bytes(len(values) * depth // 8, "big")], depth, GREY)
    assert seen(octets) == ("L", [[value * 255 // (2**depth - 1) for value in values]])


def test_a_key_is_not_written_again() -> None:
    image = opened(encoded(decoded(keyed_grey(8, 7, 0, 7, 255)), "png"))
    assert (image.mode, "transparency" in image.info) == ("LA", False)


# Orientation

UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""EXIF 2.3, tag 274: where the stored rows and columns belong."""

ANY_TURN = pytest.mark.parametrize("turn", UPRIGHT)


def stored_with(turn: int, pillow: str, array: NDArray[Any], **arguments: Any) -> bytes:
    exif = Image.Exif()
    exif[274] = turn
    return saved(Image.fromarray(array), pillow, exif=exif, **arguments)


def assert_upright(octets: bytes, wanted: NDArray[Any]) -> None:
    header = identified(octets)
    picture = codec.decode(header)
    assert header.shape == picture.array.shape == wanted.shape
    np.testing.assert_array_equal(picture.array, wanted)


@ANY_TURN
@pytest.mark.parametrize(
    ("pillow", "arguments"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "lzw"})],
    ids=["PNG", "WebP", "TIFF", "TIFF in LZW"],
)
def test_a_picture_is_turned_upright(pillow: str, arguments: dict[str, Any], turn: int) -> None:
    array = noise("RGB", (3, 5))
    assert_upright(stored_with(turn, pillow, array, **arguments), UPRIGHT[turn](array))


@ANY_TURN
@pytest.mark.parametrize("pillow", ["JPEG", "AVIF"])
def test_a_lossy_picture_is_turned_upright(pillow: str, turn: int) -> None:
    octets = stored_with(turn, pillow, ramp(24, 40))
    assert_upright(octets, UPRIGHT[turn](pixels_of(octets)))


@ANY_TURN
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "I;16"])
def test_a_picture_of_any_mode_is_turned_upright(mode: str, turn: int) -> None:
    array = noise(mode, (3, 5))
    for pillow in ("PNG", "TIFF"):
        assert_upright(stored_with(turn, pillow, array), UPRIGHT[turn](array))


@ANY_TURN
def test_palettes_and_keys_are_turned_upright(turn: int) -> None:
    image = Image.fromarray(np.array([[0, 1, 0], [1, 1, 0]], np.uint8))
    image.putpalette(COLOURS)
    exif = Image.Exif()
    exif[274] = turn
    colours = np.array([[10, 20, 30, 0], [40, 50, 60, 255]], np.uint8)
    octets = saved(image, "PNG", exif=exif, transparency=0)
    assert_upright(octets, UPRIGHT[turn](colours[np.asarray(image)]))


@ANY_TURN
def test_the_orientation_of_xmp_counts_too(turn: int) -> None:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="{turn}"/></x:xmpmeta>'
    array = noise("L", (3, 5))
    octets = saved(Image.fromarray(array).convert("RGB"), "WEBP", lossless=True, xmp=xmp)
    assert_upright(octets, UPRIGHT[turn](widened(array, "L", "RGB")))


@pytest.mark.parametrize("turn", [0, 9, 65535])
@pytest.mark.parametrize("pillow", ["PNG", "TIFF"])
def test_an_orientation_that_means_nothing_is_upright(pillow: str, turn: int) -> None:
    array = noise("L", (3, 5))
    assert_upright(stored_with(turn, pillow, array), array)


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "avif"])
@pytest.mark.parametrize("pillow", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_what_is_written_is_not_turned_again(pillow: str, name: str) -> None:
    octets = encoded(decoded(stored_with(6, pillow, ramp(24, 40))), name)
    with Image.open(BytesIO(octets)) as image:
        assert image.getexif().get(274, 1) == 1
        assert image.size == (24, 40)


# Refusals


@dataclass
class Watched:
    """How often pixels were decoded, and images encoded."""

    decoded: int = 0
    encoded: int = 0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    counts = Watched()
    load, save = ImageFile.ImageFile.load, Image.Image.save

    def counted_load(self: ImageFile.ImageFile) -> Any:
        counts.decoded += 1
        return load(self)

    def counted_save(self: Image.Image, *words: Any, **arguments: Any) -> None:
        counts.encoded += 1
        save(self, *words, **arguments)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted_load)
    monkeypatch.setattr(Image.Image, "save", counted_save)
    return counts


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
NO_PICTURES = {
    "text": b"Dear Sir or Madam,\n",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "all bytes": bytes(range(256)) * 40,
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a PDF": b"%PDF-1.7\n",
    "a PNG's signature": b"\x89PNG\r\n\x1a\n",
    "a JPEG's first marker": b"\xff\xd8\xff",
    "a RIFF of sound": b"RIFF\x24\0\0\0WAVEfmt ",
    "a TIFF without tags": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "a TIFF that points at itself": b"II*\0\0\0\0\0",
    "a PNM without numbers": b"P6\n# nothing else",
}


def test_an_empty_stream_is_refused_as_empty() -> None:
    with pytest.raises(PoolError, match="the file is empty") as refusal:
        identified(b"")
    assert refusal.value.remedy


@pytest.mark.parametrize("octets", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_is_refused_with_a_remedy(octets: bytes) -> None:
    with pytest.raises(PoolError) as refusal:
        identified(octets)
    assert refusal.value.remedy


@pytest.mark.parametrize("pillow", READABLE)
def test_what_a_reader_takes_is_read_to_the_end_from_a_pipe_too(pillow: str) -> None:
    Image.init()
    _, accepts = Image.OPEN[pillow]
    starts = [
        saved(Image.fromarray(ramp(20, 20)), pillow)[:16],
        *(one.ljust(16) for one in TiffImagePlugin.PREFIXES),
    ]
    starts += [bytes((*pair, *bytes(14))) for pair in product(range(256), repeat=2)]
    taken = [start for start in starts if accepts is None or accepts(start)]

    assert starts[0] in taken
    for start in taken:
        codec.check_start(start)


@pytest.mark.parametrize("start", [b"yes\n" * 4, bytes(16), EPS[:16], b"<!DOCTYPE html><html>"])
def test_what_begins_like_no_picture_is_not_read_to_the_end_from_a_pipe(start: bytes) -> None:
    with pytest.raises(PoolError, match="no picture of a known format"):
        codec.check_start(start)


@pytest.mark.parametrize("pillow", ["PDF", "ICO", "JPEG2000", "TGA", "EPS", "PCX", "SGI"])
def test_other_formats_are_not_opened_even_where_pillow_can(pillow: str) -> None:
    with pytest.raises(PoolError, match="no picture of a known format"):
        identified(saved(Image.fromarray(ramp(20, 20)), pillow))


@pytest.fixture
def ghost(tmp_path: Path) -> dict[str, str]:
    """An environment whose `gs` leaves a marker."""
    programs = tmp_path / "programs"
    programs.mkdir()
    fake = programs / "gs"
    fake.write_text(f"#!/bin/sh\necho ran >> '{tmp_path / 'marker'}'\nexit 1\n")
    fake.chmod(0o755)
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(os.name == "nt", reason="the fake Ghostscript is a shell script")
def test_an_eps_under_the_name_of_a_png_never_runs_ghostscript(
    tmp_path: Path, run: Run, ghost: dict[str, str]
) -> None:
    (tmp_path / "picture.png").write_bytes(EPS)
    done = run("max", "--size", 2, "picture.png", "out.png", environment=ghost)
    assert done.returncode == 1
    assert b"no picture of a known format" in done.stderr
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="the fake Ghostscript is a shell script")
def test_pillow_left_to_itself_would_run_ghostscript(tmp_path: Path, ghost: dict[str, str]) -> None:
    (tmp_path / "picture.png").write_bytes(EPS)
    code = "from PIL import Image; Image.open('picture.png').load()"
    environment = {**os.environ, **ghost}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env=environment, timeout=60
    )
    assert done.returncode == 1
    assert (tmp_path / "marker").exists()


WHOLE: dict[str, bytes] = {
    "PNG": saved(Image.fromarray(noise("RGB", (30, 40))), "PNG"),
    "PNG of a palette": saved(Image.fromarray(ramp(30, 40)).quantize(16), "PNG"),
    "JPEG": saved(Image.fromarray(ramp(30, 40)), "JPEG"),
    "progressive JPEG": saved(Image.fromarray(ramp(30, 40)), "JPEG", progressive=True),
    "WebP": saved(Image.fromarray(ramp(30, 40)), "WEBP"),
    "lossless WebP": saved(Image.fromarray(ramp(30, 40)), "WEBP", lossless=True),
    "TIFF": saved(Image.fromarray(noise("RGB", (30, 40))), "TIFF"),
    "TIFF in LZW": saved(Image.fromarray(ramp(30, 40)), "TIFF", compression="tiff_lzw"),
    "GIF": saved(Image.fromarray(ramp(30, 40)), "GIF"),
    "TIFF of a palette": saved(Image.fromarray(ramp(30, 40)).quantize(16), "TIFF"),
    "BMP of a palette": saved(Image.fromarray(ramp(30, 40)).quantize(16), "BMP"),
    "BMP": saved(Image.fromarray(noise("RGB", (30, 40))), "BMP"),
    "PPM": saved(Image.fromarray(noise("RGB", (30, 40))), "PPM"),
    "AVIF": saved(Image.fromarray(ramp(30, 40)), "AVIF"),
}
ANY_FILE = pytest.mark.parametrize("octets", WHOLE.values(), ids=WHOLE)


@ANY_FILE
def test_a_truncated_file_is_refused_or_had_all_its_pixels(octets: bytes) -> None:
    whole = decoded(octets).array
    cuts = {*range(1, len(octets), max(1, len(octets) // 40)), *range(len(octets) - 9, len(octets))}
    refused = 0
    for cut in cuts:
        try:
            part = decoded(octets[:cut]).array
        except PoolError as refusal:
            assert refusal.remedy  # noqa: PT017  # most cuts are refused, some need not be
            refused += 1
        else:
            np.testing.assert_array_equal(part, whole, f"cut at {cut} of {len(octets)}")
    assert refused > len(cuts) / 2


@ANY_FILE
def test_a_damaged_file_raises_nothing_but_a_refusal(octets: bytes) -> None:
    rng, reached = np.random.default_rng(len(octets)), 0
    for _ in range(60):
        damaged = np.frombuffer(octets, np.uint8).copy()
        places = rng.integers(0, len(octets), rng.integers(1, 4))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            header = identified(damaged.tobytes())
            reached += 1
            codec.decode(header)
        except PoolError as refusal:
            assert refusal.message  # noqa: PT017  # some damage does no harm
    assert reached > 18


@ANY_FILE
def test_a_picture_over_the_limit_is_refused_before_it_is_decoded(
    octets: bytes, watched: Watched
) -> None:
    with pytest.raises(PoolError, match="--max-pixels"):
        identified(octets, 30 * 40 - 1)
    assert watched.decoded == 0


@ANY_FILE
def test_a_header_is_read_without_its_pixels(octets: bytes, watched: Watched) -> None:
    header = identified(octets, 30 * 40)
    assert header.shape[:2] == (30, 40)
    assert watched.decoded == 0


def test_the_second_picture_of_a_camera_does_not_count() -> None:
    first, second = Image.fromarray(ramp(24, 40)), Image.fromarray(ramp(8, 8))
    octets = saved(first, "MPO", save_all=True, append_images=[second])
    header = identified(octets)
    assert (header.format, header.frames, header.shape) == ("jpeg", 1, (24, 40, 3))
    picture = codec.decode(header)
    np.testing.assert_array_equal(picture.array, pixels_of(octets))
    assert jpeg_facts(encoded(picture, "jpeg")) == jpeg_facts(octets)


@pytest.mark.parametrize("name", [one.name for one in FORMATS if one.largest_side])
def test_the_largest_side_is_written_and_one_more_is_refused_before_encoding(
    name: str, watched: Watched
) -> None:
    side = by_name(name).largest_side or 0
    assert opened(encoded(Picture(np.zeros((1, side), np.uint8), "L"), name)).size == (side, 1)
    watched.encoded = 0
    for shape in ((1, side + 1), (side + 1, 1)):
        with pytest.raises(PoolError, match=f"at most {side} pixels a side"):
            encoded(Picture(np.zeros(shape, np.uint8), "L"), name)
    assert watched.encoded == 0


# GIF


def coloured(count: int, *, alpha: bool = False) -> NDArray[np.uint8]:
    """A picture of ``count`` colours, twice each; with alpha, once opaque and once not."""
    codes = np.random.default_rng(count).choice(2**24, count, replace=False)
    colours = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=-1).astype(np.uint8)
    both = np.stack((colours, colours))
    on_and_off = np.repeat([[255], [0]], count, axis=1).astype(np.uint8)
    return np.dstack((both, on_and_off)) if alpha else both


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 255, 256])
def test_up_to_256_colours_of_a_gif_are_exact(count: int) -> None:
    picture = Picture(coloured(count), "RGB")
    assert notes_of(picture, "gif") == ()
    np.testing.assert_array_equal(pixels_of(encoded(picture, "gif"), "RGB"), picture.array)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_of_any_level_is_exact_in_a_gif(mode: str) -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Picture(array > 99 if mode == "1" else array, mode)
    assert notes_of(picture, "gif") == ()
    np.testing.assert_array_equal(
        pixels_of(encoded(picture, "gif"), "L"), widened(picture.array, mode, "L")
    )


def test_more_colours_are_approximated_and_that_is_said() -> None:
    picture = Picture(ramp(40, 50), "RGB")
    (note,) = notes_of(picture, "gif")
    assert "256 colours" in note
    error = pixels_of(encoded(picture, "gif"), "RGB").astype(int) - picture.array
    assert 0 < np.abs(error).mean() < 8


@pytest.mark.parametrize("count", [1, 3, 16, 255])
def test_alpha_on_or_off_is_exact_in_a_gif(count: int) -> None:
    picture = Picture(coloured(count, alpha=True), "RGBA")
    assert notes_of(picture, "gif") == ()
    seen_again = pixels_of(encoded(picture, "gif"), "RGBA")
    np.testing.assert_array_equal(seen_again[..., 3], picture.array[..., 3])
    np.testing.assert_array_equal(seen_again[0], picture.array[0])


def test_grey_with_alpha_on_or_off_is_exact_in_a_gif() -> None:
    array = np.dstack((np.full((2, 200), np.arange(200)), [[255] * 200, [0] * 200]))
    picture = Picture(array.astype(np.uint8), "LA")
    assert notes_of(picture, "gif") == ()
    again = pixels_of(encoded(picture, "gif"), "RGBA")
    np.testing.assert_array_equal(again[0], widened(picture.array, "LA", "RGBA")[0])
    assert not again[1, :, 3].any()


def test_partial_alpha_becomes_on_or_off_and_that_is_said() -> None:
    array = np.array([[(9, 8, 7, 127), (9, 8, 7, 128), (9, 8, 7, 255), (9, 8, 7, 0)]], np.uint8)
    picture = Picture(array, "RGBA")
    (note,) = notes_of(picture, "gif")
    assert "alpha on or off" in note
    assert pixels_of(encoded(picture, "gif"), "RGBA")[0, :, 3].tolist() == [0, 255, 255, 0]


def test_colours_that_cannot_be_seen_take_no_place_in_a_gif() -> None:
    array = coloured(255, alpha=True)
    array[1, :, :3] = coloured(300)[0, :255]
    picture = Picture(array, "RGBA")
    assert notes_of(picture, "gif") == ()
    np.testing.assert_array_equal(pixels_of(encoded(picture, "gif"), "RGBA")[0], array[0])


# The rest


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
def test_encoding_leaves_the_picture_alone_and_is_repeatable(name: str) -> None:
    mode = "RGB" if "RGB" in by_name(name).modes else next(iter(by_name(name).modes))
    array = noise(mode)
    array.flags.writeable = False
    picture = Picture(array, mode)
    assert encoded(picture, name) == encoded(picture, name)
    np.testing.assert_array_equal(array, noise(mode))


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::2], np.s_[::2, ::-3]])
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_views_of_any_layout_are_written_as_they_look(mode: str, view: Any) -> None:
    array = noise(mode)[view]
    np.testing.assert_array_equal(pixels_of(encoded(Picture(array, mode), "tiff")), array)


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.[pj][np]g")))
def test_a_sample_picture_is_decoded_as_pillow_shows_it(sample: str) -> None:
    octets = (SAMPLES / sample).read_bytes()
    picture = decoded(octets)
    image = opened(octets)
    turned = UPRIGHT[image.getexif().get(274, 1)](pixels_of(octets, image.mode))
    np.testing.assert_array_equal(
        picture.array if image.mode != "P" else picture.array[..., :1],
        turned if image.mode != "P" else pixels_of(octets, "RGBA")[..., :1],
    )


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        ("#f80", (255, 136, 0)),
        ("#ff8800", (255, 136, 0)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
    ],
)
def test_a_colour_has_a_name_or_a_number(text: str, colour: tuple[int, int, int]) -> None:
    assert codec.parse_color(text) == colour


@pytest.mark.parametrize("text", ["", "whitish", "#ff88", "#ff880080", "rgba(1,2,3,4)", "255"])
def test_anything_else_is_no_opaque_colour(text: str) -> None:
    with pytest.raises(PoolError, match="--background is") as refusal:
        codec.parse_color(text)
    assert refusal.value.remedy


# The effort of PNG's compression


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    return saved(image, "PNG", **({"compress_level": 4} | options))


def grain(side: int = 700) -> Image.Image:
    """What a camera sees: a slope, and noise that never comes twice."""
    slope = np.linspace(0, 200, side)[:, None, None] + np.linspace(0, 30, side)[None, :, None]
    noise = np.random.default_rng(1).normal(0, 6, (side, side, 3))
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8))


def pattern(side: int = 700) -> Image.Image:
    """What a program draws: the same tile of noise again and again."""
    tile = np.random.default_rng(2).integers(0, 256, (20, 20, 3), np.uint8)
    return Image.fromarray(np.tile(tile, (side // 20, side // 20, 1)))


def test_what_repeats_nothing_is_compressed_by_runs_alone() -> None:
    image = grain()
    octets = encoded(Picture(np.asarray(image), "RGB"), "png")
    assert octets == by_pillow(image, compress_type=3)
    assert len(octets) < 1.01 * len(by_pillow(image))


def test_what_repeats_itself_is_compressed_by_matches() -> None:
    image = pattern()
    octets = encoded(Picture(np.asarray(image), "RGB"), "png")
    assert octets == by_pillow(image)
    assert len(octets) < 0.1 * len(by_pillow(image, compress_type=3))


@pytest.mark.parametrize("first", [grain, pattern])
def test_half_a_pattern_is_enough_for_matches(first: Callable[[], Image.Image]) -> None:
    both = [np.asarray(one()) for one in (grain, pattern)]
    halves = both if first is grain else both[::-1]
    image = Image.fromarray(np.concatenate(halves))
    assert encoded(Picture(np.asarray(image), "RGB"), "png") == by_pillow(image)


@pytest.mark.parametrize(
    ("saving", "options"),
    [
        (Saving(compress_level=4), {}),
        (Saving(compress_level=9), {"compress_level": 9}),
        (Saving(options=(("optimize", "yes"),)), {"optimize": True}),
    ],
)
def test_the_effort_that_is_asked_for_is_made(saving: Saving, options: dict[str, Any]) -> None:
    image = grain(300)
    octets = encoded(Picture(np.asarray(image), "RGB"), "png", saving)
    assert octets == by_pillow(image, **options)


@pytest.mark.parametrize("sample", [one.name for one in SAMPLES.glob("*.png")])
def test_no_sample_becomes_larger_than_by_matches(sample: str) -> None:
    image = Image.open(SAMPLES / sample).convert("RGB")
    octets = encoded(Picture(np.asarray(image), "RGB"), "png")
    assert len(octets) <= 1.02 * len(by_pillow(image))
