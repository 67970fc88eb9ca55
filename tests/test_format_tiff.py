"""TIFF: any samples in any layout, by Pillow or by tifffile, page after page."""

from __future__ import annotations

import shutil
import struct
import subprocess
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, check_depth, open_reader
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, Stored
from tests import jobs
from tests.exif_support import LONG, SHORT, number
from tests.pictures import (
    LAB_SIGNS,
    LIMIT,
    decoded,
    encoded,
    first_info,
    imagemagick,
    noise,
    numbers,
    picture,
    read_tiff,
    reader_of,
    saved,
    tiff,
)
from tests.support.tools import needs
from tests.tiff_support import directory, samples, tags_of, tiff_of

CONVERT, VIPS = imagemagick("convert"), shutil.which("vips") or ""
TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


# Samples


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("dtype", TYPES)
def test_any_samples_are_read_and_written_at_full_depth(dtype: str, channels: int) -> None:
    array = samples(dtype, channels)
    found = decoded(tiff_of(array))
    info, kind = found.info, np.dtype(dtype)
    assert (info.shape, info.dtype, info.stored.channels) == (array.shape, kind, channels)
    assert info.stored.bits == 8 * kind.itemsize
    assert info.stored.kind == {"u": "unsigned", "i": "signed", "f": "float"}[kind.kind]
    np.testing.assert_array_equal(found.array, array)
    octets = encoded(found, "tiff")
    seen = read_tiff(octets)
    assert seen.dtype == kind
    np.testing.assert_array_equal(seen, array)
    assert first_info(octets)._replace(encoding=info.encoding) == info


LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "LZW": {"compression": "lzw"},
    "deflate": {"compression": "adobe_deflate"},
    "LZW, predicted": {"compression": "lzw", "predictor": True},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "tiles, predicted": {"tile": (16, 16), "compression": "adobe_deflate", "predictor": True},
    "planes": {"planarconfig": "separate"},
    "planes in LZW strips": {"planarconfig": "separate", "compression": "lzw", "rowsperstrip": 4},
    "planes in tiles": {"planarconfig": "separate", "tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "big-endian tiles in LZW": {"byteorder": ">", "tile": (16, 16), "compression": "lzw"},
    "BigTIFF": {"bigtiff": True},
    "big-endian BigTIFF in LZW": {"bigtiff": True, "byteorder": ">", "compression": "lzw"},
    "PackBits": {"compression": "packbits"},
    "LZMA": {"compression": "lzma"},
    "Zstandard": {"compression": "zstd"},
}


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_is_read_exactly_from_a_disk_and_from_a_pipe(
    layout: dict[str, Any], dtype: str, tmp_path: Path
) -> None:
    for channels in (1, 3, 5):
        array = samples(dtype, channels)
        planes = layout.get("planarconfig") == "separate" and channels > 1
        more = layout if planes else {**layout, "planarconfig": "contig" if channels > 1 else None}
        octets = tiff_of(np.moveaxis(array, -1, 0) if planes else array, **more)
        np.testing.assert_array_equal(decoded(octets).array, array)
        (tmp_path / "in").write_bytes(octets)
        with (tmp_path / "in").open("rb") as stream:
            (frame,) = open_reader(stream, Limits(LIMIT)).frames()
            assert frame.rows(0, 1).dtype == frame.info.dtype == array.dtype
            np.testing.assert_array_equal(frame.rows(3, 18), array[3:])


@pytest.mark.parametrize("photometric", [0, 1])
def test_a_fax_may_have_its_bits_in_reverse_order(photometric: int) -> None:
    image = Image.fromarray(samples("u1", 1, (40, 50)) > 99)
    with tifffile.TiffFile(BytesIO(saved(image, "TIFF", compression="group4"))) as file:
        page = file.pages[0]
        file.filehandle.seek(page.dataoffsets[0])
        packed = file.filehandle.read(page.databytecounts[0])
        is_same = page.tags[262].value == photometric  # type: ignore[union-attr]
    turned = packed.translate(bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256)))
    tags = {256: 50, 257: 40, 258: 1, 259: 4, 262: photometric, 266: 2, 273: 8, 277: 1, 278: 40}
    begin = 8 + len(turned) + len(turned) % 2
    entries = [number(tag, value, LONG) for tag, value in {**tags, 279: len(turned)}.items()]
    octets = b"II*\0" + struct.pack("<I", begin) + turned.ljust(begin - 8, b"\0")
    found = decoded(octets + directory(entries, begin)).array
    np.testing.assert_array_equal(found, np.asarray(image) == is_same)


MEANINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "LA": (2, {"extrasamples": [2]}),
    "LAB": (3, {"photometric": "cielab"}),
    "RGB": (3, {"photometric": "rgb"}),
    "RGBA": (4, {"photometric": "rgb", "extrasamples": [2]}),
    "CMYK": (4, {"photometric": "separated"}),
}


@pytest.mark.parametrize("mode", MEANINGS)
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "packbits"])
def test_channels_of_any_meaning_are_read_in_planes_too(
    mode: str, compression: str | None, tmp_path: Path
) -> None:
    channels, meaning = MEANINGS[mode]
    array = samples("u1", channels, (40, 50))
    wanted = array ^ LAB_SIGNS if mode == "LAB" else array
    for planes, tile in product((False, True), (None, (16, 16))):
        more = {**meaning, "compression": compression, "tile": tile, "rowsperstrip": 16}
        more |= {"planarconfig": "separate"} if planes else {}
        octets = tiff_of(np.moveaxis(array, -1, 0) if planes else array, **more)
        found = decoded(octets)
        assert found.info.mode == mode
        np.testing.assert_array_equal(found.array, wanted)
        (tmp_path / "in").write_bytes(octets)
        how = jobs.work(size=1, overwrite=True)
        assert jobs.run(tmp_path / "in", tmp_path / "out", "tiff", how).status == "done"
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out"), array)


@pytest.mark.parametrize("photometric", [0, 1])
def test_bits_may_be_stored_in_reverse_order(photometric: int) -> None:
    tags = {
        256: 2,
        257: 1,
        258: 8,
        259: 1,
        262: photometric,
        266: 2,
        273: 8,
        277: 1,
        278: 1,
        279: 2,
    }
    entries = [number(tag, value, LONG) for tag, value in tags.items()]
    octets = b"II*\0" + struct.pack("<I", 10) + b"\x80\x50" + directory(entries, 10)
    stored = [1, 10]
    wanted = stored if photometric else [255 - one for one in stored]
    assert decoded(octets).array.tolist() == [wanted]


GREY_16, WIDE, FOUR = (1, 65534), (1, 256, 513, 65534, 4660, 65535), (1, 256, 65534, 65535)
EXACT: dict[str, tuple[bytes, str, Any, str]] = {
    "RGB, 16 bits": (tiff(numbers("<H", *WIDE), [16] * 3, photometric=2), "RGB;16", WIDE, "u2"),
    "RGBA, 16 bits": (
        tiff(numbers(">H", *FOUR), [16] * 4, width=1, photometric=2, extra=2, order=">"),
        *("RGBA;16", FOUR, "u2"),
    ),
    "RGBA, 16 bits, premultiplied": (
        tiff(numbers("<H", *FOUR), [16] * 4, width=1, photometric=2, extra=1),
        *(ARRAY, FOUR, "u2"),
    ),
    "RGBA, premultiplied": (
        tiff(bytes(range(8)), [8] * 4, photometric=2, extra=1),
        *(ARRAY, range(8), "u1"),
    ),
    "grey and alpha, 16 bits": (tiff(numbers("<H", *FOUR), [16] * 2, extra=2), "LA;16", FOUR, "u2"),
    "uint32": (tiff(numbers("<I", 1, 2**32 - 1), [32], kind=1), ARRAY, (1, 2**32 - 1), "u4"),
    "uint32 without a kind": (tiff(numbers("<I", 1, 9), [32]), ARRAY, (1, 9), "u4"),
    "int8": (tiff(numbers("<b", 1, -3), [8], kind=2), ARRAY, (1, -3), "i1"),
    "int16": (tiff(numbers(">h", 1, -3), [16], kind=2, order=">"), ARRAY, (1, -3), "i2"),
    "float16": (tiff(numbers("<e", 1, -2.5), [16], kind=3), ARRAY, (1, -2.5), "f2"),
    "float64": (tiff(numbers("<d", 1e300, -2.5), [64], kind=3), ARRAY, (1e300, -2.5), "f8"),
    "RGB and an extra sample": (
        tiff(bytes(range(8)), [8] * 4, photometric=2, extra=0),
        *(ARRAY, range(8), "u1"),
    ),
    "grey and an extra sample": (tiff(bytes(4), [8] * 2, extra=0), ARRAY, bytes(4), "u1"),
    "16 bits with white at 0": (
        tiff(numbers("<H", 0, 65534), [16], photometric=0),
        *("I;16", (65535, 1), "u2"),
    ),
    "CMYK": (tiff(bytes(range(8)), [8] * 4, photometric=5), "CMYK", range(8), "u1"),
    "YCbCr": (
        tiff(bytes([1, 2, 3, 250, 251, 252]), [8] * 3, photometric=6, subsampling=(1, 1)),
        *("YCbCr", (1, 2, 3, 250, 251, 252), "u1"),
    ),
    "LAB, from the least a* and b* up": (
        tiff(bytes([1, 128, 0, 250, 127, 255]), [8] * 3, photometric=8),
        *("LAB", (1, 0, 128, 250, 255, 127), "u1"),
    ),
    "uint16": (tiff(numbers("<H", *GREY_16), [16]), "I;16", GREY_16, "u2"),
    "uint16, big-endian": (tiff(numbers(">H", *GREY_16), [16], order=">"), "I;16", GREY_16, "u2"),
    "int32": (tiff(numbers("<i", -(2**31), 9), [32], kind=2), "I", (-(2**31), 9), "i4"),
    "int32, big-endian": (tiff(numbers(">i", 1, -3), [32], kind=2, order=">"), "I", (1, -3), "i4"),
    "float32": (tiff(numbers("<f", 0.5, np.inf), [32], kind=3), "F", (0.5, np.inf), "f4"),
    "RGB": (tiff(bytes(range(6)), [8] * 3, photometric=2), "RGB", range(6), "u1"),
    "RGBA": (tiff(bytes(range(8)), [8] * 4, photometric=2, extra=2), "RGBA", range(8), "u1"),
    "grey and alpha": (tiff(bytes(range(4)), [8] * 2, extra=2), "LA", range(4), "u1"),
    "2 bits": (tiff(b"\x1b", [2], width=4), "L", (0, 85, 170, 255), "u1"),
    "4 bits": (tiff(b"\x1b", [4]), "L", (17, 187), "u1"),
    "8 bits with white at 0": (tiff(b"\0\1", [8], photometric=0), "L", (255, 254), "u1"),
    "2 bits with white at 0": (
        tiff(b"\x1b", [2], width=4, photometric=0),
        *("L", (255, 170, 85, 0), "u1"),
    ),
    "bilevel with white at 0": (tiff(b"\x60", [1], width=4, photometric=0), "1", (1, 0, 0, 1), "?"),
}


@pytest.mark.parametrize(("octets", "mode", "pixels", "dtype"), EXACT.values(), ids=EXACT)
def test_samples_come_out_exact_and_as_the_tags_state_them(
    octets: bytes, mode: str, pixels: Any, dtype: str
) -> None:
    found = decoded(octets)
    assert (found.info.mode, found.array.dtype) == (mode, np.dtype(dtype))
    assert found.array.ravel().tolist() == np.array([*pixels], dtype).tolist()
    tags = tags_of(octets)
    bits, kind = tags[258], {2: "signed", 3: "float"}.get(np.max(tags.get(339, 1)), "unsigned")
    most = int(np.max(bits))
    maxval = 2**most - 1 if kind == "unsigned" else 0
    assert found.info.stored == Stored(kind, most, maxval, tags[277])  # type: ignore[arg-type]
    assert not check_depth(found.info, allow_loss=False)


REFUSED = {
    "33 bits": (tiff(bytes(9), [33]), "samples of 33 bits"),
    "24 bits whose order is not agreed": (tiff(bytes(6), [24], order=">"), "24-bit samples"),
    "channels of different depths": (tiff(bytes(4), [5, 6, 5], photometric=2), "5, 6, 5"),
    "complex": (tiff(bytes(16), [64], kind=6), "complex numbers"),
    "white at 0 in floats": (tiff(bytes(8), [32], kind=3, photometric=0), "white at 0"),
    "white at 0 in short floats": (tiff(bytes(4), [16], kind=3, photometric=0), "white at 0"),
    "YCbCr of 16 bits": (tiff(bytes(12), [16] * 3, photometric=6), "YCbCr"),
    "a colour filter array": (tiff(bytes(4), [16], photometric=32803), "a colour filter array"),
    "CIELAB of 16 bits": (tiff(bytes(12), [16] * 3, photometric=8), "CIELAB"),
    "old-style JPEG": (
        tiff_of(samples("u1", 3), photometric="ycbcr", compression="jpeg").replace(
            struct.pack("<HHII", 259, 3, 1, 7), struct.pack("<HHII", 259, 3, 1, 6)
        ),
        "old-style JPEG",
    ),
    "a volume": (
        tiff_of(np.zeros((4, 4, 4, 3), "u2"), volumetric=True, photometric="rgb", tile=(16,) * 3),
        "volumes",
    ),
    "NeXT": (
        tiff(bytes(2), [2]).replace(
            struct.pack("<HHIHH", 259, 3, 1, 1, 0), struct.pack("<HHIHH", 259, 3, 1, 32766, 0)
        ),
        "NeXT of such samples",
    ),
    "no tags": (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "no whole number of pixels"),
    "no pages": (b"II*\0\0\0\0\0", "no pages"),
}


@pytest.mark.parametrize(("octets", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_pooled_is_refused_from_its_tags_with_a_remedy(
    octets: bytes, words: str
) -> None:
    with pytest.raises(PoolError, match=words) as refusal:
        first_info(octets)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("dtype", "more", "channels", "mode"),
    [
        ("u2", {"photometric": "rgb"}, 3, "RGB;16"),
        ("u2", {"photometric": "rgb", "extrasamples": [2]}, 4, "RGBA;16"),
        ("u2", {"photometric": "rgb", "extrasamples": [1]}, 4, "array"),
        ("u2", {"photometric": "rgb", "extrasamples": [0]}, 4, "array"),
        ("u2", {"photometric": "rgb", "extrasamples": [2, 0]}, 5, "array"),
        ("u2", {"extrasamples": [2]}, 2, "LA;16"),
        ("u2", {"extrasamples": [0]}, 2, "array"),
        ("u2", {"photometric": "separated"}, 4, "array"),
        ("u4", {"photometric": "rgb", "extrasamples": [2]}, 4, "array"),
        ("f4", {"photometric": "rgb"}, 3, "RGB;F"),
        ("u1", {"photometric": "rgb", "extrasamples": [1]}, 4, "array"),
        ("u1", {"photometric": "rgb", "extrasamples": [2, 0]}, 5, "array"),
    ],
)
def test_what_the_channels_mean_is_kept(
    dtype: str, more: dict[str, Any], channels: int, mode: str
) -> None:
    octets = tiff_of(samples(dtype, channels), **more)
    result = encoded(jobs.pool(decoded(octets), jobs.work("max")), "tiff")
    assert first_info(octets).mode == first_info(result).mode == mode
    one, other = (
        {tag: tags_of(each).get(tag) for tag in (262, 277, 338)} for each in (octets, result)
    )
    assert one == other


def test_an_array_of_one_channel_in_three_axes_is_written_as_grey() -> None:
    array = samples("i2", 1)[..., None]
    np.testing.assert_array_equal(read_tiff(encoded(picture(array, ARRAY), "tiff")), array[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_read_as_indices(bits: int) -> None:
    rng, count = np.random.default_rng(bits), 1 << bits
    entries = rng.integers(0, 256, (count, 3))
    indices = rng.integers(0, count, (5, 16), np.uint8)
    packed = np.packbits(np.unpackbits(indices[..., None], axis=2)[..., -bits:].reshape(5, -1), 1)
    octets = palette_tiff(packed.tobytes(), bits, (5, 16), entries)
    (frame,) = reader_of(octets).frames()
    assert frame.info.stored == Stored("unsigned", 8, 255, 1)
    assert frame.info.entries == count
    np.testing.assert_array_equal(frame.rows(1, 5), indices[1:])
    assert frame.info.palette is not None
    np.testing.assert_array_equal(frame.info.palette[:count], entries)
    with Image.open(BytesIO(octets)) as image:
        np.testing.assert_array_equal(decoded(octets).array, np.asarray(image.convert("RGB")))
    greys = palette_tiff(packed.tobytes(), bits, (5, 16), entries[:, :1].repeat(3, axis=1))
    assert first_info(greys).mode == "L"
    np.testing.assert_array_equal(decoded(greys).array, entries[indices][..., 0])


def palette_tiff(packed: bytes, bits: int, shape: tuple[int, int], colours: NDArray[Any]) -> bytes:
    height, width = shape
    layout = {256: width, 257: height, 258: bits, 259: 1, 262: 3, 273: 8, 277: 1, 278: height}
    entries = [number(tag, value, LONG) for tag, value in layout.items()]
    entries += [number(279, len(packed), LONG)]
    colormap = (colours.T * 257).astype("<u2")
    entries += [(320, SHORT, colormap.size, colormap.tobytes())]
    begin = 8 + len(packed)
    return b"II*\0" + struct.pack("<I", begin) + packed + directory(entries, begin)


# Read by others


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("mode", ["RGB", "1", "YCbCr", "RGB;16", "array"])
def test_every_compression_is_the_one_that_was_asked_for(mode: str, compression: str) -> None:
    array = samples("f4", 5) if mode == ARRAY else noise(mode, (40, 50))
    saving = Saving(options=(("compression", compression),))
    octets = encoded(picture(array, mode), "tiff", saving)
    names = {"none": "NONE", "deflate": "ADOBE_DEFLATE"}
    wanted = "NONE" if mode == "YCbCr" else names.get(compression, compression.upper())
    assert tifffile.COMPRESSION(tags_of(octets)[259]).name == wanted
    np.testing.assert_array_equal(decoded(octets).array, array)
    if mode not in ("1", "YCbCr"):
        np.testing.assert_array_equal(read_tiff(octets), array)


@needs("convert")
@pytest.mark.parametrize("mode", ["I;16", "LA;16", "RGB;16", "RGBA;16"])
def test_imagemagick_reads_the_same(mode: str, tmp_path: Path) -> None:
    array = noise(mode, (6, 8))
    (tmp_path / "out.tif").write_bytes(encoded(picture(array, mode), "tiff"))
    words = [CONVERT, str(tmp_path / "out.tif"), "-depth", "16", "-endian", "LSB", "rgba:-"]
    done = subprocess.run(words, capture_output=True, check=True)
    seen = np.frombuffer(done.stdout, "<u2").reshape(6, 8, 4)
    shown = array[..., None] if array.ndim == 2 else array
    colours = shown[..., : 1 if mode in ("I;16", "LA;16") else 3]
    np.testing.assert_array_equal(seen[..., :3], np.broadcast_to(colours, (6, 8, 3)))
    np.testing.assert_array_equal(seen[..., 3], array[..., -1] if "A" in mode else 65535)


@needs("vips")
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "f4"])
def test_vips_reads_the_same(dtype: str, channels: int, tmp_path: Path) -> None:
    array = samples(dtype, channels)
    source, raw = tmp_path / "out.tif", tmp_path / "out.raw"
    source.write_bytes(encoded(decoded(tiff_of(array)), "tiff"))
    subprocess.run([VIPS, "rawsave", source, raw], capture_output=True, check=True)
    seen = np.frombuffer(raw.read_bytes(), dtype).reshape(array.shape)
    np.testing.assert_array_equal(seen, array)
