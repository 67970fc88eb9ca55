"""The files of indices beside pooled pictures: `--indices`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli import PoolError, max_pool_with_indices, min_pool_with_indices, pool_file
from poolcli.storage import ExistsError
from poolcli.storage.local_output import LocalOutput
from tests.support.indices import listed, loaded, outcome_of, photograph
from tests.support.output import only_line
from tests.support.processes import Run

KEYS = ("indices", "input_shape", "size", "stride", "padding", "dilation", "ceil_mode")


@pytest.mark.parametrize("shape", [(21, 33), (21, 33, 3), (21, 33, 4)])
@pytest.mark.parametrize(
    ("verb", "pool"), [("max", max_pool_with_indices), ("min", min_pool_with_indices)]
)
def test_a_file_holds_what_numpy_finds_in_it(
    run: Run, tmp_path: Path, verb: str, pool: Any, shape: tuple[int, ...]
) -> None:
    array = photograph(tmp_path / "in.png", shape)
    words = ("-k", "3x2", "-s", "2x3", "-p", "1,0,2,1", "-d", "1x2", "--ceil-mode")
    options = {"stride": (3, 2), "padding": ((0, 1), (1, 2)), "dilation": (2, 1)}
    done = run(
        verb, *words, "--alpha", "straight", "--indices", "i.npz", "in.png", "out.png", "--json"
    )
    assert done.returncode == 0, done.stderr
    values, indices = pool(array, (2, 3), ceil_mode=True, **options)
    found = loaded(tmp_path / "i.npz")
    assert tuple(found) == KEYS
    np.testing.assert_array_equal(found["indices"], indices)
    np.testing.assert_array_equal(Image.open(tmp_path / "out.png"), values)
    wanted = (*shape,), (2, 3), (3, 2), ((0, 1), (1, 2)), (2, 1)
    for name, value in zip(KEYS[1:-1], wanted, strict=True):
        assert found[name].tolist() == np.array(value).tolist()
        assert found[name].dtype == np.int64
    assert (found["ceil_mode"].dtype, found["ceil_mode"].item()) == (np.dtype(np.bool_), True)
    assert json.loads(done.stdout.splitlines()[0])["indices"] == "i.npz"


def test_the_bands_of_a_picture_are_counted_from_its_first_row(run: Run, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, (3000, 500, 3)).astype(np.uint8)
    np.save(tmp_path / "in.npy", array)
    assert run("max", "-k", 3, "-s", 2, "--indices", "i.npz", "in.npy", "out.npy").returncode == 0
    values, indices = max_pool_with_indices(array, 3, 2)
    np.testing.assert_array_equal(loaded(tmp_path / "i.npz")["indices"], indices)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), values)


def test_without_a_window_its_size_and_stride_are_empty(run: Run, tmp_path: Path) -> None:
    array = photograph(tmp_path / "in.png")
    assert run("max", "--fit", 10, "--indices", "i.npz", "in.png", "out.png").returncode == 0
    found = loaded(tmp_path / "i.npz")
    assert (found["size"].shape, found["stride"].shape) == ((0,), (0,))
    _, indices = max_pool_with_indices(array, output_size=(6, 10))
    np.testing.assert_array_equal(found["indices"], indices)
    assert run("unpool", "out.png", "i.npz", "whole.png").returncode == 0
    with Image.open(tmp_path / "whole.png") as whole:
        assert whole.size == (33, 21)


def test_a_palette_is_applied_and_a_turned_picture_is_upright(run: Run, tmp_path: Path) -> None:
    array = photograph(tmp_path / "in.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    assert run("max", "-k", 2, "--indices", "t.npz", "turned.png", "out.png").returncode == 0
    upright = np.rot90(array, -1)
    _, indices = max_pool_with_indices(upright, 2)
    np.testing.assert_array_equal(loaded(tmp_path / "t.npz")["indices"], indices)
    Image.fromarray(array).quantize(50).save(tmp_path / "palette.png")
    assert run("max", "-k", 2, "--indices", "p.npz", "palette.png", "p.png").returncode == 0
    coloured = np.array(Image.open(tmp_path / "palette.png").convert("RGB"))
    _, indices = max_pool_with_indices(coloured, 2)
    np.testing.assert_array_equal(loaded(tmp_path / "p.npz")["indices"], indices)


def test_nodata_is_no_alpha(run: Run, tmp_path: Path) -> None:
    array = np.full((2, 2, 4), 200, np.uint8)
    array[0, 0, 0], array[1, 1, 3] = 7, 255
    array[0, 1, 3] = 100
    Image.fromarray(array).save(tmp_path / "in.png")
    words = ("--alpha", "straight", "--nodata", 200, "--indices", "i.npz")
    assert run("max", "-k", 2, *words, "in.png", "out.png").returncode == 0
    assert loaded(tmp_path / "i.npz")["indices"].tolist() == [[[0, 0, 0, 3]]]


# Names and existing files


def test_a_folder_of_indices_mirrors_the_output(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    photograph(tmp_path / "in" / "a.png")
    photograph(tmp_path / "in" / "sub" / "b.png", (9, 9))
    words = ("max", "-k", 2, "--indices", "places", "-j", 2, "--timeout", 600, "in", "out")
    assert run(*words).returncode == 0
    assert listed(tmp_path / "places") == ["a.npz", "sub/b.npz"]
    assert loaded(tmp_path / "places/sub/b.npz")["input_shape"].tolist() == [9, 9]
    done = run(*words)
    assert done.returncode == 2
    assert b"exists already (4): out/a.png, places/a.npz" in done.stderr
    assert run(*words, "--skip-existing").returncode == 0
    assert run(*words, "--update").returncode == 0
    before = (tmp_path / "places/a.npz").read_bytes()
    assert run(*words, "-f").returncode == 0
    assert (tmp_path / "places/a.npz").read_bytes() == before


def test_two_pictures_can_not_share_their_indices(run: Run, tmp_path: Path) -> None:
    photograph(tmp_path / "a.png")
    photograph(tmp_path / "a.bmp")
    words = ("max", "-k", 2, "--indices", "places/", "a.png", "a.bmp", "out/")
    done = run(*words)
    assert done.returncode == 2
    assert b"inputs with one output (1): a.png and a.bmp" in done.stderr
    assert run(*words[:-3], "--name", "{stem}-{ext}", *words[-3:]).returncode == 0
    assert listed(tmp_path / "places") == ["a-bmp.npz", "a-png.npz"]


def test_an_existing_pair_is_one_thing(run: Run, tmp_path: Path) -> None:
    photograph(tmp_path / "in.png")
    out, places = tmp_path / "out.png", tmp_path / "i.npz"
    words = ("max", "-k", 2, "--indices", "i.npz", "in.png", "out.png", "--json")
    assert run(*words).returncode == 0
    pair = out.read_bytes(), places.read_bytes()
    assert outcome_of(run(*words, "--skip-existing"))["status"] == "skipped"
    assert outcome_of(run(*words, "--update"))["status"] == "skipped"
    # Indices without their picture, as a killed run leaves them, are those of the next run.
    out.unlink()
    assert only_line(run(*words)).startswith("poolcli: i.npz exists already")
    assert outcome_of(run(*words, "--skip-existing"))["status"] == "done"
    assert (out.read_bytes(), places.read_bytes()) == pair
    # Other ones are not replaced.
    out.unlink()
    places.write_bytes(b"mine")
    done = run(*words, "--skip-existing")
    assert done.returncode == 1
    assert b"i.npz: it exists already; use --overwrite to replace it" in done.stderr
    assert (out.exists(), places.read_bytes()) == (False, b"mine")
    # A picture without its indices is not skipped silently.
    assert run(*words, "-f").returncode == 0
    places.unlink()
    assert "exists without its indices (1): out.png" in only_line(run(*words, "--skip-existing"))
    assert outcome_of(run(*words, "--update"))["status"] == "done"
    assert (out.read_bytes(), places.read_bytes()) == pair
    os.utime(places, (1, 1))
    assert outcome_of(run(*words, "--update"))["status"] == "done"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--indices i.png in.png out.png", 2, "--indices i.png names no .npz file"),
        ("--indices - in.png out.png", 2, "--indices - names no .npz file"),
        ("--indices d.npz in.png out.png", 2, "--indices d.npz names no .npz file"),
        ("--indices no/i.npz in.png out.png", 2, "no/i.npz: there is no folder no"),
        ("--indices o.npz --format png in.png o.npz", 2, "is the input or output itself"),
        ("--indices l.npz in.png out.png -f", 2, "is the input or output itself"),
        ("--indices i.npz in.png out/", 2, "--indices i.npz looks like a file"),
        ("--indices in.png in.png out/", 2, "--indices in.png is a file"),
        ("--indices i/ --levels 2,3 in.png out/", 2, "--indices can't be used with --levels"),
        ("--indices i.npz --axes CHW in.npy o.npy", 2, "takes arrays with the axes HW and HWC"),
        ("--indices i.npz alpha.png out.png", 1, "give --alpha straight"),
        ("--indices i.npz --alpha straight --background red alpha.png out.png", 1, "--background"),
        ("--indices i.npz two.gif out.gif", 1, "takes one frame, and it has 2 frames"),
    ],
)
def test_what_has_no_indices_is_refused(
    run: Run, tmp_path: Path, words: str, code: int, message: str
) -> None:
    photograph(tmp_path / "in.png")
    photograph(tmp_path / "alpha.png", (8, 8, 4))
    np.save(tmp_path / "in.npy", np.zeros((3, 8, 8)))
    (tmp_path / "l.npz").symlink_to("in.png")
    (tmp_path / "d.npz").mkdir()
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    before = listed(tmp_path)
    size = () if "--levels" in words else ("-k", 2)
    done = run("max", *size, *words.split())
    assert done.returncode == code
    assert message in only_line(done)
    assert listed(tmp_path) == before


def test_one_frame_of_several_has_indices(run: Run, tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    words = ("max", "-k", 2, "--frame", 1, "--indices", "i.npz", "two.gif", "out.png")
    done = run(*words)
    assert done.returncode == 0
    assert ["indices", "i.npz"] in [line.split() for line in done.stderr.decode().splitlines()]
    assert loaded(tmp_path / "i.npz")["indices"].shape[:2] == (4, 4)


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_pipe_of_several_pictures_has_none(run: Run, tmp_path: Path, pictures: int) -> None:
    photograph(tmp_path / "in.ppm")
    data = (tmp_path / "in.ppm").read_bytes() * pictures
    done = run("max", "-k", 2, "--indices", "i.npz", "-", "-", input=data)
    assert (done.returncode, (tmp_path / "i.npz").exists()) == ((0, True), (1, False))[pictures - 1]
    assert bool(done.stdout) == (pictures == 1)


def test_what_can_not_be_stored_leaves_no_half_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photograph(tmp_path / "in.png")
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    indices = tmp_path / "i.npz"
    commit = LocalOutput.commit

    def full(self: LocalOutput, before: Any = None) -> int:
        if self.path.endswith(".npz"):
            raise OSError(28, "No space left on device")
        return commit(self, before)

    monkeypatch.setattr(LocalOutput, "commit", full)
    with pytest.raises(PoolError, match=r"i\.npz: it can't be written: No space"):
        pool_file(source, target, "max", 2, indices=indices)
    monkeypatch.setattr(LocalOutput, "commit", commit)
    assert listed(tmp_path) == ["in.png"]
    monkeypatch.setattr("poolcli.storage.hidden._name_exclusively", _appeared)
    with pytest.raises(PoolError, match="it exists already"):
        pool_file(source, target, "max", 2, indices=indices)
    assert listed(tmp_path) == ["in.png", "out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"another"


def _appeared(hidden: str, path: str) -> None:
    """Name a file, but find that another one has got the name of the picture meanwhile."""
    if path.endswith(".npz"):
        os.link(hidden, path)
        return
    Path(path).write_bytes(b"another")
    raise ExistsError("it exists already", "use --overwrite to replace it")
