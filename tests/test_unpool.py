"""The verb that puts pooled values back to their places."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli import max_pool_with_indices, unpool
from poolcli.methods.unpool import Unpool
from tests import jobs
from tests.pictures import noisy
from tests.support.indices import listed, loaded, outcome_of, photograph
from tests.support.output import only_line
from tests.support.processes import Run


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "I;16"])
def test_unpooling_puts_every_value_back(run: Run, tmp_path: Path, mode: str) -> None:
    array = noisy(mode, (22, 31)).array
    Image.fromarray(array).save(tmp_path / "in.png", dpi=(120, 60))
    words = ("-k", 3, "-s", "2x3", "--alpha", "straight", "--indices", "i.npz")
    assert run("max", *words, "in.png", "pooled.png").returncode == 0
    done = run("unpool", "pooled.png", "i.npz", "whole.png", "--json")
    assert done.returncode == 0, done.stderr
    values, indices = max_pool_with_indices(array, 3, (3, 2))
    with Image.open(tmp_path / "whole.png") as whole:
        np.testing.assert_array_equal(whole, unpool(values, indices, array.shape))
        assert whole.info["dpi"] == pytest.approx((120, 60), abs=0.1)
    outcome = outcome_of(done)
    shapes = list(values.shape), list(array.shape)
    assert (outcome["input_shape"], outcome["output_shape"]) == shapes
    assert (outcome["method"], outcome["indices"]) == ("unpool", "i.npz")


def test_values_and_indices_come_from_any_place_and_format(run: Run, tmp_path: Path) -> None:
    photograph(tmp_path / "in.png")
    assert run("min", "-k", 2, "--indices", "i.npz", "in.png", "v.png").returncode == 0
    assert run("unpool", "v.png", "i.npz", "whole.png").returncode == 0
    whole = np.array(Image.open(tmp_path / "whole.png"))
    for name in ("v.tif", "v.ppm", "v.npy"):
        assert run("max", "-k", 1, "v.png", name).returncode == 0
        assert run("unpool", name, "i.npz", "w.bmp", "-f").returncode == 0
        np.testing.assert_array_equal(Image.open(tmp_path / "w.bmp"), whole)
    data = (tmp_path / "v.ppm").read_bytes()
    done = run("unpool", "-", "i.npz", "-", "--format", "png", input=data)
    np.testing.assert_array_equal(Image.open(io.BytesIO(done.stdout)), whole)
    assert run("unpool", "-", "i.npz", "x.png", input=2 * data).returncode == 1
    data = (tmp_path / "i.npz").read_bytes()
    assert run("unpool", "v.png", "-", "w.bmp", "-f", input=data).returncode == 0
    np.savez_compressed(tmp_path / "small.npz", **loaded(tmp_path / "i.npz"))  # type: ignore[arg-type]
    assert run("unpool", "v.png", "small.npz", "w.bmp", "-f").returncode == 0
    np.testing.assert_array_equal(Image.open(tmp_path / "w.bmp"), whole)


def changed(path: Path, **arrays: Any) -> None:
    """Write the file again, with other arrays in it; None takes one out."""
    content = loaded(path) | arrays
    np.savez(path, **{name: one for name, one in content.items() if one is not None})


def packed(array: NDArray[Any]) -> bytes:
    """Return an array as NPY."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def rewrite(path: Path, indices: bytes) -> None:
    """Write the file again, with other bytes in place of the indices, compressed."""
    content = {name: packed(one) for name, one in loaded(path).items()} | {"indices": indices}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(f"{name}.npy", data)


def bomb(path: Path) -> None:
    """State a size of the array that would fill the memory."""
    header = io.BytesIO()
    stated = {"shape": (1 << 20, 1 << 12), "fortran_order": False, "descr": "<i8"}
    np.lib.format.write_array_header_1_0(header, stated)
    rewrite(path, header.getvalue() + bytes(1 << 24))


NOT_OURS = "it holds no indices of a pooled picture"
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:300]), "it can't be read: "),
    "text": (lambda path: path.write_text("PK, but no archive"), "it can't be read: "),
    "picture": (lambda path: Image.new("L", (4, 4)).save(path, "PNG"), NOT_OURS),
    "empty": (lambda path: path.write_bytes(b""), NOT_OURS),
    "pickle": (
        lambda path: changed(path, size=np.array([{"a": 1}], object)),
        "its array size is of type object",
    ),
    "float": (
        lambda path: changed(path, indices=loaded(path)["indices"].astype(float)),
        "its array indices is of type float64",
    ),
    "other arrays": (lambda path: changed(path, stride=None), NOT_OURS),
    "negative": (
        lambda path: changed(path, indices=loaded(path)["indices"] - 50),
        "outside a picture of 693 pixels",
    ),
    "too large": (
        lambda path: changed(path, input_shape=np.array([20, 20, 3])),
        "outside a picture of 400 pixels",
    ),
    "other shape": (
        lambda path: changed(path, indices=loaded(path)["indices"][:-1]),
        "do not fit the shape",
    ),
    "no shape": (lambda path: changed(path, input_shape=np.array([21])), "its input_shape is"),
    "stride 0": (lambda path: changed(path, stride=np.array([0, 2])), "its stride is [0, 2]"),
    "half a window": (
        lambda path: changed(path, stride=np.zeros(0, np.int64)),
        "it has only one of size and stride",
    ),
    "bomb": (bomb, "it has 4,294,967,296 pixels"),
    "long": (
        lambda path: rewrite(path, packed(loaded(path)["indices"]) + bytes(1 << 24)),
        "its array indices has not as many bytes as its header states",
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_file_that_holds_no_such_indices_is_refused(run: Run, tmp_path: Path, how: str) -> None:
    photograph(tmp_path / "in.png")
    assert run("max", "-k", 2, "--indices", "i.npz", "in.png", "v.png").returncode == 0
    spoil, message = SPOILT[how]
    spoil(tmp_path / "i.npz")
    done = run("unpool", "v.png", "i.npz", "whole.png")
    assert done.returncode == 1
    assert message in only_line(done)
    named = "v.png" if how == "other shape" else "i.npz"
    assert only_line(done).startswith(f"poolcli: {named}: ")
    assert not (tmp_path / "whole.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("v.png i.npz", 2, "three paths are needed, not 2; name VALUES, INDICES and OUTPUT"),
        ("v.png i.npz a.png b.png", 2, "three paths are needed, not 4"),
        ("- - a.png", 2, "VALUES and INDICES can't both be standard input"),
        ("v.png i.npz v.png -f", 2, "v.png is the input itself"),
        ("v.png i.npz i.npz -f --format png", 2, "i.npz is the input itself"),
        ("v.png i.npz in.png", 2, "in.png exists already; use --overwrite"),
        ("v.png i.npz whole.xyz", 2, "the suffix .xyz names no format"),
        ("v.png . whole.png", 2, ". is a folder"),
        (". i.npz whole.png", 2, ". is a folder"),
        ("v.png i.npz whole.png --size 2", 2, "there is no option --size"),
        ("v.png missing.npz whole.png", 1, "missing.npz: it can't be read: No such file"),
        ("missing.png i.npz whole.png", 1, "missing.png: it can't be read: No such file"),
        ("in.png i.npz whole.png", 1, "do not fit the shape (21, 33, 3)"),
        ("v.png i.npz whole.png --max-pixels 600", 1, "it has 693 pixels; 600 are allowed"),
    ],
)
def test_bad_command_lines(run: Run, tmp_path: Path, words: str, code: int, message: str) -> None:
    photograph(tmp_path / "in.png")
    assert run("max", "-k", 2, "--indices", "i.npz", "in.png", "v.png").returncode == 0
    before = listed(tmp_path)
    done = run("unpool", *words.split())
    assert done.returncode == code
    assert message in only_line(done)
    assert listed(tmp_path) == before


def corner_and_scale(path: Path) -> tuple[list[float], list[float]]:
    """Return the upper left corner of a map and the size of its pixels, as tifffile reads them."""
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        scale, tie = tags["ModelPixelScaleTag"].value, tags["ModelTiepointTag"].value
    return [tie[3] - tie[0] * scale[0], tie[4] + tie[1] * scale[1]], list(scale[:2])


def test_unpooling_moves_the_place_of_a_map_back(run: Run, tmp_path: Path) -> None:
    source = Path(__file__).parent / "cases" / "tiff-geo-area.tif"
    words = ("-k", 3, "-s", 2, "-p", 1, "--indices", "i.npz")
    assert run("max", *words, source, "v.tif").returncode == 0
    assert run("unpool", "v.tif", "i.npz", "whole.tif").returncode == 0
    for got, wanted in zip(
        corner_and_scale(tmp_path / "whole.tif"), corner_and_scale(source), strict=True
    ):
        assert got == pytest.approx(wanted)
    assert corner_and_scale(tmp_path / "v.tif")[1] == pytest.approx([2 * one for one in wanted])


def test_the_method_keeps_pixels() -> None:
    picture = noisy("RGBA", (5, 6))
    kept = jobs.pool(picture, jobs.work(Unpool(), 1, alpha="straight"))
    np.testing.assert_array_equal(kept.array, picture.array)
