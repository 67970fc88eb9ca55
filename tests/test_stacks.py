"""Stacks in files: --planes, read back by tifffile."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli import PoolError, avg_pool, max_pool, mode_pool, pool_file
from poolcli.formats import FORMATS
from poolcli.formats.contract import Limits, StackReader, open_reader
from tests.contract_support import peak_growth
from tests.engine_calls import METHODS, POOLS, same
from tests.pictures import ramp, saved
from tests.support.processes import Run
from tests.support.stacks import by_taps

OME_ORDERS = ["".join(one) for one in permutations("TZC")]
SCALES = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 1.5}
HOW: dict[str, Any] = {"photometric": "minisblack"}


def numbers(*shape: int, dtype: str = "u2") -> NDArray[Any]:
    return np.random.default_rng(len(shape)).integers(0, 250, shape).astype(dtype)


def imagej(path: Path, array: NDArray[Any], axes: str) -> None:
    metadata = {"axes": axes, "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(path, array, imagej=True, resolution=(2, 4), metadata=metadata)


def ome(path: Path, array: NDArray[Any], axes: str) -> None:
    tifffile.imwrite(path, array, ome=True, metadata={"axes": axes, **SCALES}, **HOW)


def pages(path: Path, *arrays: NDArray[Any], **more: Any) -> None:
    with tifffile.TiffWriter(path) as file:
        for array in arrays:
            file.write(array, metadata=None, contiguous=False, **(HOW | more))


def read_stack(path: Path, axes: str) -> NDArray[Any]:
    """Read a stack with tifffile, by its own idea of the axes."""
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        found = series.asarray()
        assert sorted(series.axes) == sorted(axes)
        return found.transpose([series.axes.index(letter) for letter in axes])


@pytest.mark.parametrize("method", METHODS)
def test_the_pages_of_a_file_are_planes(tmp_path: Path, method: str) -> None:
    stack = numbers(7, 11, 9)
    pages(tmp_path / "in.tif", *stack, compression="zlib", rowsperstrip=3)
    geometry: dict[str, Any] = {"size": (3, 2), "stride": (2, 1), "padding": ((1, 0), (1, 1))}
    outcome = pool_file(tmp_path / "in.tif", tmp_path / "out.tif", method, planes=3, **geometry)
    assert same(tifffile.imread(tmp_path / "out.tif"), by_taps(method, stack, 3, **geometry))
    assert (outcome.planes, outcome.frames, outcome.taken) == (3, 7, 2)
    assert outcome.notes == ["planes left out at the end: 1 of 7"]


@pytest.mark.parametrize("options", [{"dilation": 2, "padding": 1}, {"ceil_mode": True}])
def test_padding_dilation_and_ceil_mode_are_those_of_a_plane(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    stack = numbers(4, 300, 40)
    pages(tmp_path / "in.tif", *stack, rowsperstrip=7)
    pool_file(
        *(tmp_path / "in.tif", tmp_path / "out.tif", "avg", 3),
        **{"stride": 2, "planes": 2, "count_include_pad": True, **options},
    )
    wanted = avg_pool(stack, 3, 2, axes="ZYX", planes=2, count_include_pad=True, **options)
    assert same(tifffile.imread(tmp_path / "out.tif"), wanted)


@pytest.mark.parametrize("axes", [f"{order}YX" for order in OME_ORDERS])
@pytest.mark.parametrize("planes", [2, "all"])
def test_ome_tells_which_pages_are_planes(tmp_path: Path, axes: str, planes: Any) -> None:
    stack = numbers(2, 5, 3, 8, 10)
    ome(tmp_path / "in.ome.tif", stack.transpose(["TZCYX".index(one) for one in axes]), axes)
    pool_file(tmp_path / "in.ome.tif", tmp_path / "out.ome.tif", "max", 2, planes=planes)
    depth = 5 if planes == "all" else 2
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as file:
        pixels = tifffile.xml2dict(str(file.ome_metadata))["OME"]["Image"]["Pixels"]
        assert pixels["SizeZ"] == 5 // depth
        assert [pixels[name] for name in SCALES] == [1, 0.5, 1.5 * depth]
    wanted = max_pool(stack, 2, axes="TZCYX", planes=planes)
    names = "TZCYX"
    if planes == "all":
        # tifffile leaves out axes of extent 1.
        names, axes, wanted = "TCYX", axes.replace("Z", ""), wanted[:, 0]
    found = read_stack(tmp_path / "out.ome.tif", axes)
    assert same(found, wanted.transpose([names.index(one) for one in axes]))


@pytest.mark.parametrize("axes", ["TZCYX", "ZCYX", "TZYX", "ZYX", "ZYXS"])
def test_imagej_tells_which_pages_are_planes(tmp_path: Path, axes: str) -> None:
    extents = {"T": 2, "Z": 5, "C": 3, "Y": 8, "X": 10, "S": 3}
    dtype = "u1" if "S" in axes else "u2"
    stack = numbers(*(extents[one] for one in axes), dtype=dtype)
    imagej(tmp_path / "in.tif", stack, axes)
    outcome = pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "avg", 2, planes=2)
    assert same(read_stack(tmp_path / "out.tif", axes), avg_pool(stack, 2, axes=axes, planes=2))
    assert outcome.warnings == []
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["spacing"] == 5
        assert file.imagej_metadata["slices"] == 2
        assert file.pages.first.tags["XResolution"].value == (1, 1)


def test_a_page_of_ome_may_hold_all_channels(tmp_path: Path) -> None:
    stack = numbers(2, 4, 8, 10, 3, dtype="u1")
    metadata = {"axes": "TZYXS"}
    tifffile.imwrite(tmp_path / "in.tif", stack, ome=True, metadata=metadata, photometric="rgb")
    pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "min", 2, planes=2)
    found = read_stack(tmp_path / "out.tif", "TZYXS")
    assert same(found, POOLS["min"](stack, 2, axes="TZYXS", planes=2))


@pytest.mark.parametrize("axes", ["ZYX", "TZYX", "ZYXC", "NCZHW", "YZXC", "HWZ"])
@pytest.mark.parametrize("planes", [2, "all"])
def test_an_array_has_planes_by_its_axes(tmp_path: Path, axes: str, planes: Any) -> None:
    extents = {"Z": 5, "C": 3, "T": 2, "N": 2, "Y": 8, "H": 8, "X": 10, "W": 10}
    array = numbers(*(extents[one] for one in axes), dtype="i4")
    np.save(tmp_path / "in.npy", array)
    pool_file(tmp_path / "in.npy", tmp_path / "out.npy", "max", 3, planes=planes, axes=axes)
    wanted = max_pool(array, 3, axes=axes, planes=planes)
    assert same(np.load(tmp_path / "out.npy"), wanted)


def test_a_projection_is_one_picture_that_any_format_holds(run: Run, tmp_path: Path) -> None:
    stack = numbers(6, 8, 10, dtype="u1")
    pages(tmp_path / "in.tif", *stack)
    done = run("max", "-k", 1, "--planes", "all", "--json", "in.tif", "out.png")
    (line, _) = done.stdout.splitlines()
    assert json.loads(line)["planes"] == 6
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), stack.max(0))


def test_labels_in_palettes_and_colours_under_alpha_go_through_planes(tmp_path: Path) -> None:
    indices = numbers(2, 6, 8, dtype="u1") % 5
    palette = [*range(0, 255, 17)]
    frames = [Image.fromarray(one, "P") for one in indices]
    for frame in frames:
        frame.putpalette(palette)
    frames[0].save(tmp_path / "in.tif", save_all=True, append_images=frames[1:])
    pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "mode", 2, planes=2)
    with Image.open(tmp_path / "out.tif") as image:
        found = np.array(image)
        assert image.mode == "P"
    assert same(found, mode_pool(indices, 2, axes="ZYX", planes=2)[0])

    colours = numbers(2, 6, 8, 4, dtype="u1")
    pages(tmp_path / "rgba.tif", *colours, photometric="rgb", extrasamples=["unassalpha"])
    pool_file(tmp_path / "rgba.tif", tmp_path / "deep.png", "avg", 2, planes=2)
    # Rows of both planes between each other, under windows that are twice as high.
    laid = np.moveaxis(colours, 0, 1).reshape(12, 8, 4)
    (tmp_path / "laid.png").write_bytes(saved(Image.fromarray(laid, "RGBA"), "PNG"))
    pool_file(tmp_path / "laid.png", tmp_path / "flat.png", "avg", (4, 2))
    found, wanted = (np.array(Image.open(tmp_path / f"{one}.png")) for one in ("deep", "flat"))
    assert same(found, wanted)


def test_nan_and_what_the_file_states_to_be_no_data_take_no_part(tmp_path: Path) -> None:
    stack = numbers(4, 9, 8, dtype="f4")
    stack[np.random.default_rng(0).random(stack.shape) < 0.4] = 7
    stack[:2, :4, :4] = np.nan
    pages(tmp_path / "in.tif", *stack, extratags=[(42113, "s", 2, "7", True)])
    pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "min", 2, planes=2)
    wanted = POOLS["min"](stack, 2, axes="ZYX", planes=2, nodata=7)
    assert np.isnan(wanted).any()
    assert same(tifffile.imread(tmp_path / "out.tif"), wanted)


def test_a_stack_in_a_pipe_has_the_bytes_of_one_in_a_file(run: Run, tmp_path: Path) -> None:
    imagej(tmp_path / "in.tif", numbers(4, 3, 8, 10), "ZCYX")
    words = ("avg", "-k", 2, "--planes", 2)
    assert run(*words, "in.tif", "out.tif").returncode == 0
    piped = run(*words, "-", "-", input=(tmp_path / "in.tif").read_bytes())
    assert piped.stdout == (tmp_path / "out.tif").read_bytes()


def test_levels_of_a_stack_have_the_bytes_of_separate_runs(run: Run, tmp_path: Path) -> None:
    pages(tmp_path / "in.tif", *numbers(5, 40, 30), compression="zlib", rowsperstrip=7)
    assert run("avg", "--levels", "2,5", "--planes", 2, "in.tif", "out").returncode == 0
    for level in (2, 5):
        assert run("avg", "-k", level, "--planes", 2, "in.tif", f"{level}.tif").returncode == 0
        found = (tmp_path / f"out/in_{level}.tif").read_bytes()
        assert found == (tmp_path / f"{level}.tif").read_bytes()


def test_planes_that_are_left_over_are_told_or_refused(run: Run, tmp_path: Path) -> None:
    pages(tmp_path / "in.tif", *numbers(5, 8, 10))
    assert b"2 planes at the end" in run("max", "-k", 2, "--planes", 3, "in.tif", "o.tif").stderr
    done = run("max", "-k", 2, "--planes", 3, "--exact", "in.tif", "exact.tif")
    assert done.returncode == 1
    assert b"planes at the end that no window reads: 2 of 5" in done.stderr
    assert not (tmp_path / "exact.tif").exists()
    assert run("max", "-k", 2, "--planes", 5, "--exact", "in.tif", "exact.tif").returncode == 0


XML = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
PIXELS = (
    '<Image><Pixels DimensionOrder="{}" SizeX="10" SizeY="8" SizeC="1" SizeT="{}" SizeZ="{}" '
    'Type="uint16">{}</Pixels></Image>'
)


def described(text: str, count: int = 4) -> Callable[[Path], None]:
    return lambda path: pages(path, *numbers(count, 8, 10), description=text)


OTHER_ORDER = '<TiffData IFD="0" FirstZ="1"/><TiffData IFD="1" FirstZ="0"/>'
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "other sizes": (lambda path: pages(path, *(numbers(8, 9 + at) for at in range(2))), "differ"),
    "other depths": (
        lambda path: pages(path, *(numbers(8, 9, dtype=one) for one in ("u1", "u2"))),
        "differ in size, samples or palette",
    ),
    "fewer planes": (lambda path: pages(path, numbers(8, 9)), "planes is 2, but there are 1"),
    "ImageJ without Z": (lambda path: imagej(path, numbers(4, 8, 10), "TYX"), "no Z axis"),
    "OME without Z": (lambda path: ome(path, numbers(4, 8, 10), "TYX"), "no Z axis"),
    "missing pages": (described("ImageJ=1.11a\nimages=9\nslices=9\n"), "9 pages, but it has 4"),
    "a plain stack of ImageJ": (described("ImageJ=1.11a\nimages=9\n"), "9 pages, but it has 4"),
    "two pictures": (described(XML.format(2 * PIXELS.format("XYZCT", 1, 2, ""))), "2 pictures"),
    "another order": (
        described(XML.format(PIXELS.format("XYZCT", 1, 4, OTHER_ORDER))),
        "in another order than its axes",
    ),
    "no order": (described(XML.format(PIXELS.format("XYZ", 1, 4, ""))), "names no order"),
    "no size": (described(XML.format(PIXELS.format("XYZCT", 1, "x", ""))), "SizeZ of its pixels"),
    "no number": (
        described(XML.format(PIXELS.format("XYZCT", 1, 4, '<TiffData IFD="x"/>'))),
        "IFD of its pixels is no number",
    ),
    "damaged XML": (described(XML.format("<Pixels>")), "doesn't tell which pages are planes"),
    "an animation": (
        lambda path: Image.fromarray(ramp()).save(path, "GIF"),
        "it is GIF, which holds no planes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_no_stack_is_refused_in_words(tmp_path: Path, name: str, dry_run: bool) -> None:
    write, message = REFUSED[name]
    write(tmp_path / "in.tif")
    with pytest.raises(PoolError) as refusal:
        pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "max", 2, planes=2, dry_run=dry_run)
    assert message in refusal.value.message
    assert refusal.value.remedy
    assert not (tmp_path / "out.tif").exists()


def test_other_palettes_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(numbers(6, 8, dtype="u1"), "P") for _ in range(2)]
    for at, frame in enumerate(frames):
        frame.putpalette([at, *range(1, 250)])
    frames[0].save(tmp_path / "in.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(PoolError, match="palette"):
        pool_file(tmp_path / "in.tif", tmp_path / "out.tif", "max", 2, planes=2)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--planes", 2, "in.png", "out.png"), 2, "--planes has an effect on TIFF and NPY only"),
        (("--planes", 2, "--frame", 0, "in.tif", "o.tif"), 2, "--frame and --planes exclude each"),
        (("--planes", 0, "in.tif", "o.tif"), 2, "--planes is '0'; give a whole number of at least"),
        (("--planes", "some", "in.tif", "o.tif"), 2, "--planes is 'some'; give a whole number"),
        (("--planes", 2, "in.tif", "o.png"), 1, "the result has 2 frames; give --planes all"),
        (("--planes", 2, "in.npy", "o.npy"), 1, "no axis of the array has planes"),
    ],
)
def test_what_planes_can_not_do_is_refused(
    run: Run, tmp_path: Path, words: tuple[object, ...], code: int, message: str
) -> None:
    (tmp_path / "in.png").write_bytes(saved(Image.fromarray(ramp()), "PNG"))
    pages(tmp_path / "in.tif", *numbers(5, 8, 10))
    np.save(tmp_path / "in.npy", numbers(8, 10, 3))
    done = run("max", "-k", 2, *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert message in done.stderr.decode()


def test_planes_can_be_read_side_by_side(tmp_path: Path) -> None:
    stack = numbers(4, 30, 10, dtype="u1")
    pages(tmp_path / "in.tif", *stack, compression="zlib", rowsperstrip=3)
    np.save(tmp_path / "in.npy", stack)
    holders = [row for row in FORMATS if row.has_planes]
    for row in holders:
        axes = "ZYX" if row.has_axes else None
        octets = (tmp_path / f"in{row.suffixes[0]}").read_bytes()
        reader = open_reader(BytesIO(octets), Limits(10**6), axes)
        assert isinstance(reader, StackReader)
        frames = [*reader.frames()]
        parts = [[frame.rows(at, at + 10).copy() for frame in frames] for at in (0, 10, 20)]
        assert np.array_equal(np.concatenate(parts, axis=1), stack)
    assert len(holders) == 2


@pytest.mark.parametrize("name", ["in.npy", "rows.tif", "strips.tif"])
def test_only_a_few_planes_are_in_memory(tmp_path: Path, name: str) -> None:
    count, side = 20, 1000
    plane = np.zeros((side, side), np.uint16)
    if name == "in.npy":
        np.save(tmp_path / name, np.broadcast_to(plane, (count, side, side)))
    else:
        packed = {"compression": "zlib", "rowsperstrip": side} if name == "strips.tif" else {}
        pages(tmp_path / name, *[plane] * count, **packed)
    more: dict[str, Any] = {"axes": "ZYX"} if name == "in.npy" else {}
    target = tmp_path / "out.tif"
    pool_file(tmp_path / name, target, "max", 2, planes=2, dry_run=True, **more)  # to import all

    grown = peak_growth(lambda: pool_file(tmp_path / name, target, "max", 2, planes=2, **more))
    assert grown < 8 * plane.nbytes < count * plane.nbytes / 2
    assert len(tifffile.imread(target)) == count // 2
