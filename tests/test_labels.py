"""Pictures with a palette under `mode`: the indices vote, and the palette stays as it is."""

from __future__ import annotations

import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli import mode_pool
from tests.jobs import run, work
from tests.support.tools import needs

SUFFIXES = {"png": "PNG", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP"}
RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (21, 3)).astype(np.uint8)
COLOURS[5] = COLOURS[2]  # two labels of one colour
LABELS = RNG.integers(0, 21, (24, 37)).astype(np.uint8)


def labelled(labels: NDArray[Any], colours: NDArray[np.uint8], **more: Any) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(colours.tobytes())
    image.info.update(more)
    return image


def saved(image: Image.Image, name: str, **more: Any) -> bytes:
    file = BytesIO()
    if name == "gif":
        more["optimize"] = False  # Pillow renumbers the entries otherwise
    image.save(file, SUFFIXES[name], **more)
    return file.getvalue()


def pooled(tmp_path: Path, octets: bytes, name: str, how: Any) -> tuple[Image.Image, Any]:
    source, target = tmp_path / "in", tmp_path / f"out.{name}"
    source.write_bytes(octets)
    target.unlink(missing_ok=True)
    outcome = run(source, target, name, how)
    assert outcome.status == "done", outcome.error
    image = Image.open(BytesIO(target.read_bytes()))
    image.load()
    return image, outcome


@pytest.mark.parametrize("source", SUFFIXES)
@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("count", [2, 3, 16, 21])
def test_indices_vote_and_the_palette_stays(
    source: str, target: str, count: int, tmp_path: Path
) -> None:
    labels = LABELS % count
    octets = saved(labelled(labels, COLOURS[:count]), source)
    image, outcome = pooled(tmp_path, octets, target, work("mode", 3))
    assert (image.mode, outcome.mode, outcome.dtype) == ("P", "P", "uint8")
    assert outcome.output_shape == (8, 12)
    np.testing.assert_array_equal(np.asarray(image), mode_pool(labels, 3))
    before = Image.open(BytesIO(octets)).getpalette() or []
    after = image.getpalette() or []
    assert after[: 3 * count] == before[: 3 * count]
    assert not any(after[len(before) :])
    assert "its palette was applied" not in outcome.notes


@pytest.mark.parametrize("name", ["png", "gif"])
def test_the_transparency_of_a_palette_stays_and_its_entries_are_labels(
    name: str, tmp_path: Path
) -> None:
    labels = LABELS % 4
    octets = saved(labelled(labels, COLOURS[:4]), name, transparency=2)
    image, _ = pooled(tmp_path, octets, name, work("mode", 3))
    np.testing.assert_array_equal(np.asarray(image), mode_pool(labels, 3))
    assert image.getpalette()[:12] == COLOURS[:4].ravel().tolist()  # type: ignore[index]
    alphas = np.asarray(image.convert("RGBA"))[..., 3]
    np.testing.assert_array_equal(alphas == 0, mode_pool(labels, 3) == 2)


def test_any_alphas_of_a_palette_stay_in_png_and_are_applied_elsewhere(tmp_path: Path) -> None:
    labels = LABELS % 4
    octets = saved(labelled(labels, COLOURS[:4]), "png", transparency=bytes((255, 128, 0, 7)))
    image, _ = pooled(tmp_path, octets, "png", work("mode", 3))
    assert image.info["transparency"] == bytes((255, 128, 0, 7))
    colours = np.concatenate([COLOURS[:4], [[255], [128], [0], [7]]], axis=1).astype(np.uint8)
    image, outcome = pooled(tmp_path, octets, "tiff", work("mode", 3))
    np.testing.assert_array_equal(np.asarray(image), colours[mode_pool(labels, 3)])
    assert outcome.mode == "RGBA"
    assert "its palette was applied" in outcome.notes


def test_other_methods_and_a_background_apply_the_palette(tmp_path: Path) -> None:
    octets = saved(labelled(LABELS % 4, COLOURS[:4]), "png", transparency=2)
    for how in (work("max", 3), work("mode", 3, background=(1, 2, 3))):
        image, outcome = pooled(tmp_path, octets, "png", how)
        assert image.mode in ("RGB", "RGBA")
        assert "its palette was applied" in outcome.notes


@pytest.mark.parametrize("entries", [256, 65536])
def test_a_palette_of_16_bits_stays_in_tiff(entries: int, tmp_path: Path) -> None:
    dtype = np.uint8 if entries == 256 else np.uint16
    labels = RNG.integers(0, entries, (12, 16)).astype(dtype)
    labels[::2] = labels[1::2]
    colours = RNG.integers(0, 1 << 16, (3, entries)).astype(np.uint16)
    file = BytesIO()
    tifffile.imwrite(file, labels, photometric="palette", colormap=colours)
    (tmp_path / "in.tif").write_bytes(file.getvalue())
    outcome = run(tmp_path / "in.tif", tmp_path / "out.tif", "tiff", work("mode", 2))
    assert outcome.status == "done", outcome.error
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        (page,) = written.pages
        np.testing.assert_array_equal(page.asarray(), mode_pool(labels, 2))
        np.testing.assert_array_equal(page.colormap, colours)  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ["u2", "u4", "i4", "u8", "i8"])
def test_labels_of_any_integer_type_vote_in_arrays_and_tiff(dtype: str, tmp_path: Path) -> None:
    labels = (LABELS.astype(dtype) << 5) * (3 if dtype == "u2" else 70001)
    np.save(tmp_path / "in.npy", labels)
    for name in ("npy", "tiff"):
        outcome = run(tmp_path / "in.npy", tmp_path / f"out.{name}", name, work("mode", 3))
        assert outcome.status == "done", outcome.error
        path = tmp_path / f"out.{name}"
        found = np.load(path) if name == "npy" else tifffile.imread(path)
        np.testing.assert_array_equal(found, mode_pool(labels, 3))
        assert found.dtype == labels.dtype


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif"])
def test_a_lossy_output_is_warned_of(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(saved(labelled(LABELS, COLOURS), "png"))
    outcome = run(tmp_path / "in", tmp_path / "out", name, work("mode", 3))
    assert outcome.status == "done"
    assert any("changes labels" in one for one in outcome.warnings) == (name != "webp")


def test_size_1_keeps_a_palette_picture_as_it_is(tmp_path: Path) -> None:
    octets = saved(labelled(LABELS, COLOURS), "png")
    image, _ = pooled(tmp_path, octets, "png", work("mode", 1))
    np.testing.assert_array_equal(np.asarray(image), LABELS)
    chunks = (tmp_path / "out.png").read_bytes()
    at = chunks.index(b"PLTE")
    assert struct.unpack(">I", chunks[at - 4 : at]) == (63,)
    assert chunks[at + 4 : at + 67] == COLOURS.tobytes()


@needs("pngcheck")
@pytest.mark.parametrize("count", [1, 2, 4, 16, 17])
def test_libpng_accepts_palettes_of_any_size(count: int, tmp_path: Path) -> None:
    octets = saved(labelled(LABELS % count, COLOURS[:count]), "png", transparency=0)
    pooled(tmp_path, octets, "png", work("mode", 2))
    command = ["pngcheck", "-q", str(tmp_path / "out.png")]
    assert subprocess.run(command, check=False).returncode == 0
