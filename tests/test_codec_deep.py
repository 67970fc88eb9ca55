"""Deep PNG and TIFF through the optional extra: exact, foreign-checked, loaded only when needed."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from poolcli.codec import deep
from poolcli.codec.chunks import png_chunks
from poolcli.codec.metadata import Metadata

from poolcli import codec, colour
from poolcli.colour import Choices, Method
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats import Saving
from tests.pictures import (
    GREY,
    RGB,
    RGB_ALPHA,
    decoded,
    encoded,
    identified,
    imagemagick,
    noise,
    noisy,
    numbers,
    opened,
    picture,
    png,
    read_back,
    read_tiff,
    saved,
    tiff,
)

CONVERT = imagemagick("convert")
VIPS = shutil.which("vips") or ""
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DEEP_MODES = ("LA;16", "RGB;16", "RGBA;16")
TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
CHANNELS = (1, 2, 3, 4, 5, 7)


def samples(dtype: str, channels: int, shape: tuple[int, int] = (18, 22)) -> NDArray[Any]:
    """Noise with the extremes of its type."""
    rng, kind = np.random.default_rng(channels), np.dtype(dtype)
    whole = shape if channels == 1 else (*shape, channels)
    if kind.kind == "f":
        return (rng.normal(size=whole) * 100).astype(kind)
    limits = np.iinfo(kind)
    array = rng.integers(limits.min, limits.max, whole, kind, endpoint=True)
    array[0, 0], array[0, 1] = limits.min, limits.max
    return array


def tiff_of(array: NDArray[Any], **more: Any) -> bytes:
    """What tifffile writes, its samples described as they are."""
    buffer = BytesIO()
    described: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    if array.ndim == 3 and "planarconfig" not in more:
        described["planarconfig"] = "contig"
    tifffile.imwrite(buffer, array, **(described | more))
    return buffer.getvalue()


def pooled(octets: bytes, method: Method = "max", size: int = 2, **more: Any) -> codec.Picture:
    return colour.pool(decoded(octets), Choices(method, Window.of(size), **more))


def block_extreme(array: NDArray[Any], method: Method) -> NDArray[Any]:
    blocks = array.reshape(array.shape[0] // 2, 2, array.shape[1] // 2, 2, *array.shape[2:])
    extreme: NDArray[Any] = getattr(blocks, method)(axis=(1, 3))
    return extreme


# TIFF of any samples


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", TYPES)
def test_any_samples_are_read_pooled_and_written_at_full_depth(dtype: str, channels: int) -> None:
    array = samples(dtype, channels)
    octets = tiff_of(array)
    header = identified(octets)
    assert (header.shape, header.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(decoded(octets).array, array)
    written = encoded(pooled(octets, "min"), "tiff")
    seen = read_tiff(written)
    assert seen.dtype == array.dtype
    np.testing.assert_array_equal(seen, block_extreme(array, "min"))
    again = decoded(written)
    assert (again.mode, again.array.dtype) == (header.mode, array.dtype)


LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "LZW": {"compression": "lzw"},
    "deflate": {"compression": "adobe_deflate"},
    "LZW, predicted": {"compression": "lzw", "predictor": True},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "tiles in deflate, predicted": {
        "tile": (16, 16),
        "compression": "adobe_deflate",
        "predictor": True,
    },
    "planes": {"planarconfig": "separate"},
    "planes in LZW strips": {"planarconfig": "separate", "compression": "lzw", "rowsperstrip": 4},
    "planes in tiles": {"planarconfig": "separate", "tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "big-endian tiles in LZW": {"byteorder": ">", "tile": (16, 16), "compression": "lzw"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("dtype", ["u2", "i2", "i4", "f4"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_is_read_exactly(layout: dict[str, Any], dtype: str) -> None:
    for channels in (1, 3, 5):
        array = samples(dtype, channels)
        if layout.get("planarconfig") == "separate":
            if channels == 1:
                continue
            octets = tiff_of(np.moveaxis(array, -1, 0), **layout)
        else:
            octets = tiff_of(array, **layout)
        assert identified(octets).shape == array.shape
        np.testing.assert_array_equal(decoded(octets).array, array)


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
        ("f4", {"photometric": "rgb"}, 3, "array"),
        ("u1", {"photometric": "rgb", "extrasamples": [1]}, 4, "array"),
        ("u1", {"photometric": "rgb", "extrasamples": [2, 0]}, 5, "array"),
    ],
)
def test_what_the_channels_mean_is_kept(
    dtype: str, more: dict[str, Any], channels: int, mode: str
) -> None:
    octets = tiff_of(samples(dtype, channels), **more)
    written = encoded(pooled(octets), "tiff")
    assert identified(octets).mode == identified(written).mode == mode
    assert meaning(written) == meaning(octets)


def meaning(octets: bytes) -> tuple[int, tuple[int, ...], int]:
    with tifffile.TiffFile(BytesIO(octets)) as file:
        page = file.pages.first
        extra = tuple(int(one) for one in page.extrasamples)
        return int(page.photometric), extra, page.samplesperpixel


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("mode", ["RGB;16", "array"])
def test_deep_tiff_takes_every_compression(mode: str, compression: str) -> None:
    array = noise("RGB;16", (40, 50)) if mode == "RGB;16" else samples("f4", 5)
    given = codec.Picture(array, mode, 65535 if mode == "RGB;16" else 0)
    octets = encoded(given, "tiff", Saving(options=(("compression", compression),)))
    with tifffile.TiffFile(BytesIO(octets)) as file:
        names = {"none": "NONE", "deflate": "ADOBE_DEFLATE"}
        assert tifffile.COMPRESSION(file.pages.first.compression).name == names.get(
            compression, compression.upper()
        )
    np.testing.assert_array_equal(read_tiff(octets), array)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_deep_tiff_is_turned_upright(turn: int) -> None:
    array = samples("u2", 3, (3, 5))
    octets = tiff_of(
        array,
        photometric="rgb",
        resolution=(300, 120),
        resolutionunit=2,
        extratags=[(274, 3, 1, turn, True)],
    )
    upright = array.swapaxes(0, 1) if turn >= 5 else array
    upright = upright[:, ::-1] if turn in (2, 3, 6, 7) else upright
    upright = upright[::-1] if turn in (3, 4, 7, 8) else upright
    assert identified(octets).shape == upright.shape
    again = encoded(decoded(octets), "tiff")
    np.testing.assert_array_equal(read_tiff(again), upright)
    with tifffile.TiffFile(BytesIO(again)) as file:
        page = file.pages.first
        assert page.tags.valueof(274, 1) == 1
        across, down = page.get_resolution(2)
        assert (across, down) == pytest.approx((120, 300) if turn >= 5 else (300, 120))


def test_the_profile_and_the_resolution_of_a_deep_tiff_stay() -> None:
    octets = tiff_of(
        samples("u2", 3), photometric="rgb", iccprofile=PROFILE, resolution=(100, 50),
        resolutionunit=3,
    )  # fmt: skip
    result = colour.pool(decoded(octets), Choices("max", Window.of((2, 4), (2, 4))))
    for name in ("tiff", "png"):
        image = opened(encoded(result, name)) if name == "png" else None
        if image is not None:
            assert image.info["icc_profile"] == PROFILE
            assert image.info["dpi"] == pytest.approx((63.5, 63.5), abs=0.02)
            continue
        with tifffile.TiffFile(BytesIO(encoded(result, name))) as file:
            assert file.pages.first.iccprofile == PROFILE
            assert file.pages.first.get_resolution(2) == pytest.approx((63.5, 63.5), abs=0.01)


def test_texts_of_a_deep_tiff_are_carried_over() -> None:
    octets = tiff_of(samples("u2", 3), photometric="rgb", description="mine", software="ours")
    result, notes = codec.encode(pooled(octets), codec_format("tiff"), Saving())
    with tifffile.TiffFile(BytesIO(result)) as file:
        tags = file.pages.first.tags
        assert (tags.valueof(270), tags.valueof(305)) == ("mine", "ours")
    assert notes == ()


def codec_format(name: str) -> Any:
    return importlib.import_module("poolcli.formats").by_name(name)


@pytest.mark.parametrize(
    "octets",
    [
        tiff_of(np.zeros((4, 4), np.complex64)),
        tiff_of(np.zeros((4, 4, 4, 3), "u2"), volumetric=True, photometric="rgb", tile=(16,) * 3),
        tiff(bytes(3), [12]),
        tiff(numbers("<e", 1, 2), [16], kind=3, photometric=0),
        tiff(bytes(12), [16] * 3, photometric=6),
    ],
    ids=["complex", "a volume", "12 bits", "white at 0", "16-bit YCbCr"],
)  # fmt: skip
def test_other_deep_samples_are_refused_with_a_remedy(octets: bytes) -> None:
    with pytest.raises(PoolError) as refusal:
        identified(octets)
    assert refusal.value.remedy


@pytest.mark.parametrize("layout", ["uncompressed", "LZW", "tiles in deflate, predicted"])
def test_a_damaged_or_cut_deep_tiff_is_refused_or_whole(layout: str) -> None:
    whole = tiff_of(samples("u2", 3), photometric="rgb", **LAYOUTS[layout])
    rng, refused = np.random.default_rng(1), 0
    for cut in range(8, len(whole), max(1, len(whole) // 25)):
        try:
            part = decoded(whole[:cut]).array
        except PoolError as refusal:
            assert refusal.remedy  # noqa: PT017  # most cuts are refused
            refused += 1
        else:
            np.testing.assert_array_equal(part, samples("u2", 3))
    for _ in range(25):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(8, len(whole), 2)] = rng.integers(0, 256, 2)
        try:
            decoded(damaged.tobytes())
        except PoolError as refusal:
            assert refusal.message  # noqa: PT017  # some damage does no harm
    assert refused > 12


# PNG of 16 bits


@pytest.mark.parametrize("mode", DEEP_MODES)
@pytest.mark.parametrize("method", ["max", "min"])
def test_a_deep_png_is_pooled_at_full_depth(mode: str, method: Method) -> None:
    array = noise(mode, (6, 8))
    result = pooled(encoded(picture(array, mode), "png"), method, alpha="straight")
    octets = encoded(result, "png")
    assert (octets[24], result.mode) == (16, mode)
    np.testing.assert_array_equal(read_back(octets, "png", mode), block_extreme(array, method))


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_deep_png_takes_a_compress_level(level: int) -> None:
    given = picture(np.zeros((50, 60, 3), np.uint16), "RGB;16")
    octets = encoded(given, "png", Saving(compress_level=level))
    np.testing.assert_array_equal(decoded(octets).array, given.array)
    assert (len(octets) > given.array.nbytes) == (level == 0)


def test_the_metadata_of_a_deep_png_stays() -> None:
    exif = Image.Exif()
    exif[271] = "Camera Works"
    metadata = Metadata(icc_profile=PROFILE, exif=exif, dpi=(150, 300))
    octets = encoded(picture(noise("RGBA;16"), "RGBA;16", metadata=metadata), "png")
    for again in (octets, encoded(decoded(octets), "png")):
        image = opened(again)
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[271] == "Camera Works"
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_a_deep_png_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6
    body = saved(Image.new("L", (1, 1)), "PNG", exif=exif)
    (chunk,) = [body for name, body in png_chunks(BytesIO(body)) if name == b"eXIf"]
    array = noise("RGB;16", (2, 3))
    rows = [row.astype(">u2").tobytes() for row in array]
    octets = png(3, rows, 16, RGB, (b"eXIf", chunk))
    assert identified(octets).shape == (3, 2, 3)
    np.testing.assert_array_equal(decoded(octets).array, np.rot90(array, -1))


@pytest.mark.parametrize("cut", [40, 60, 100, -20, -13])
def test_a_cut_deep_png_is_refused(cut: int) -> None:
    octets = encoded(noisy("RGB;16", (20, 20)), "png")
    with pytest.raises(PoolError) as refusal:
        decoded(octets[:cut])
    assert refusal.value.remedy


# Read by others


@pytest.mark.skipif(not CONVERT, reason="ImageMagick's convert is not installed")
@pytest.mark.parametrize("mode", ["I;16", *DEEP_MODES])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_imagemagick_reads_the_same(mode: str, name: str, tmp_path: Path) -> None:
    array = noise(mode, (6, 8))
    path = tmp_path / f"out.{name}"
    path.write_bytes(encoded(picture(array, mode), name))
    command = [CONVERT, str(path), "-depth", "16", "-endian", "LSB", "rgba:-"]
    done = subprocess.run(command, capture_output=True, check=True)
    seen = np.frombuffer(done.stdout, "<u2").reshape(6, 8, 4)
    shown = array[..., None] if array.ndim == 2 else array
    colours = shown[..., :1] if mode in ("I;16", "LA;16") else shown[..., :3]
    np.testing.assert_array_equal(seen[..., :3], np.broadcast_to(colours, (6, 8, 3)))
    np.testing.assert_array_equal(
        seen[..., 3], array[..., -1] if mode in ("LA;16", "RGBA;16") else 65535
    )


@pytest.mark.skipif(not VIPS, reason="vips is not installed")
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "f4"])
def test_vips_reads_the_same(dtype: str, channels: int, tmp_path: Path) -> None:
    array = samples(dtype, channels)
    source, raw = tmp_path / "out.tif", tmp_path / "out.raw"
    source.write_bytes(encoded(decoded(tiff_of(array)), "tiff"))
    subprocess.run([VIPS, "rawsave", source, raw], capture_output=True, check=True)
    seen = np.frombuffer(raw.read_bytes(), dtype).reshape(array.shape)
    np.testing.assert_array_equal(seen, array)


@pytest.mark.parametrize("packed", ["lzw", "adobe_deflate", "packbits", "lzma", "zstd"])
def test_deep_tiffs_are_read_however_they_are_compressed(packed: str) -> None:
    array = samples("u2", 3)
    octets = tiff_of(array, photometric="rgb", compression=packed)
    np.testing.assert_array_equal(codec.decode(identified(octets)).array, array)


@pytest.mark.parametrize("packed", ["jpeg2000", "png", "jpegxl"])
def test_pictures_inside_a_deep_tiff_are_refused(packed: str) -> None:
    octets = tiff_of(samples("u2", 3), photometric="rgb", compression=packed)
    with pytest.raises(PoolError, match="deep TIFF of compression"):
        identified(octets)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_tiff_that_is_smaller_than_a_usual_tile_needs_no_more_pixels_allowed(dtype: str) -> None:
    array = samples(dtype, 3)
    octets = tiff_of(array, photometric="rgb", tile=(1024, 1024), compression="adobe_deflate")
    header = codec.identify(BytesIO(octets), array.shape[0] * array.shape[1])
    np.testing.assert_array_equal(codec.decode(header).array, array)


# The extra


DEEP_FILES = {
    "RGB PNG": png(1, [numbers(">H", 1, 2, 3)], 16, RGB),
    "RGBA PNG": png(1, [numbers(">H", 1, 2, 3, 4)], 16, RGB_ALPHA),
    "grey PNG with a key": png(1, [b"\1\2"], 16, GREY, (b"tRNS", b"\1\2")),
    "RGB TIFF": tiff(bytes(12), [16] * 3, photometric=2),
    "float TIFF": tiff_of(samples("f8", 1)),
    "compressed TIFF": tiff_of(samples("u2", 3), photometric="rgb", compression="lzw"),
}


@pytest.mark.parametrize("octets", DEEP_FILES.values(), ids=DEEP_FILES)
def test_without_the_extra_a_deep_file_is_refused_from_its_header(
    octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(deep, "import_module", missing)
    with pytest.raises(PoolError, match="samples of this depth need") as refusal:
        identified(octets)
    assert "imagecodecs and tifffile" in refusal.value.remedy
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_without_the_extra_deep_results_are_refused_with_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(deep, "import_module", missing)
    with pytest.raises(PoolError, match="samples of this depth need") as refusal:
        encoded(noisy("RGB;16"), name)
    assert "[deep]" in refusal.value.remedy


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("imagecodecs", "tifffile"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from poolcli.cli import main
main()
"""


def blocked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED, *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize("kind", ["RGB PNG", "RGB TIFF"])
def test_without_the_extra_the_command_says_so_in_one_line(
    kind: str, dry: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(DEEP_FILES[kind])
    done = blocked(tmp_path, "max", "--size", "1", *dry, "in", "out.tif")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "install imagecodecs and tifffile" in line
    assert not (tmp_path / "out.tif").exists()


def test_without_the_extra_all_else_works(tmp_path: Path) -> None:
    for number, (mode, name) in enumerate(
        [("RGB", "png"), ("I;16", "png"), ("I;16", "tiff"), ("RGB;M", "ppm"), ("F", "tiff")]
    ):
        (tmp_path / f"{number}.{name}").write_bytes(encoded(noisy(mode), name))
    (tmp_path / "results").mkdir()
    inputs = sorted(path.name for path in tmp_path.glob("*.*"))
    done = blocked(tmp_path, "avg", "--size", "2", *inputs, "results")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == inputs


WATCHED = """
import json, sys
from poolcli.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted({"imagecodecs", "tifffile"} & set(sys.modules))]))
"""


@pytest.mark.parametrize(
    ("mode", "name", "loaded"),
    [
        ("RGB", "png", []),
        ("I;16", "png", []),
        ("RGB;16", "ppm", []),
        ("RGB;16", "png", ["imagecodecs"]),
        ("RGB;16", "tiff", ["imagecodecs", "tifffile"]),
    ],
)
def test_the_extra_is_loaded_only_when_such_a_file_comes(
    mode: str, name: str, loaded: list[str], tmp_path: Path
) -> None:
    (tmp_path / f"in.{name}").write_bytes(encoded(noisy(mode), name))
    command = [sys.executable, "-c", WATCHED, "max", "--size", "2", "-q", f"in.{name}", f"o.{name}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, loaded], done.stderr
