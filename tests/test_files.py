"""One file from Python: it becomes what the command makes of it, or an error says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from poolcli import Outcome, PoolError, pool_file
from poolcli.methods import METHODS
from poolcli.options.python import OF_MANY, params_of
from tests.support.processes import Run
from tests.support.trees import SAMPLES, paint, snapshot

SAME_AS: list[tuple[str, str, dict[str, Any], str]] = [
    ("max", "out.png", {"size": (3, 2)}, "--size 2x3"),
    ("min", "out.png", {"size": 3, "stride": (1, 2), "padding": "same"}, "-k 3 -s 2x1 -p SAME"),
    ("max", "out.png", {"size": 3, "padding": ((0, 1), (2, 0))}, "-k 3 -p 2,0,0,1"),
    ("avg", "out.png", {"size": 3, "dilation": 2, "linear": True}, "-k 3 -d 2 --linear"),
    ("avg", "out.png", {"size": 2, "divisor_override": 5}, "-k 2 --divisor-override 5"),
    ("median", "out.png", {"size": 3, "quantile": 0.07}, "-k 3 --quantile 0.07"),
    ("mode", "out.gif", {"size": 2, "ceil_mode": True}, "-k 2 --ceil-mode"),
    ("avg", "out.png", {"output_size": (None, 7)}, "--output-size 7x"),
    ("avg", "out.png", {"fit": 9}, "--fit 9"),
    ("avg", "out.jpg", {"size": 2, "quality": 30, "background": "red"}, "-k 2 --quality 30 "
     "--background red"),
    ("avg", "out.webp", {"size": 2, "save_option": {"lossless": True, "method": 0}},
     "-k 2 --save-option lossless=yes --save-option method=0"),
    ("max", "out", {"size": 2, "format": "tif", "strip": True}, "-k 2 --format tif --strip"),
    ("max", "out.png", {"size": 2, "nodata": 7, "alpha": "straight"}, "-k 2 --nodata 7 "
     "--alpha straight"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "name", "options", "words"), SAME_AS, ids=lambda one: str(one))
def test_it_does_what_the_command_does(
    method: str, name: str, options: dict[str, Any], words: str, tmp_path: Path, run: Run
) -> None:
    source = paint(tmp_path / "in.png", 20, mode="RGBA")

    done = run(method, *words.split(), "-q", source, name)
    by_command = (tmp_path / name).read_bytes()
    outcome = pool_file(source, tmp_path / name, method, overwrite=True, **options)

    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / name).read_bytes() == by_command
    assert (outcome.status, outcome.output_bytes) == ("done", len(by_command))
    assert (outcome.method, outcome.input_shape) == (method, (20, 20, 4))


def test_every_option_of_one_file_has_its_name_in_python() -> None:
    for row in METHODS:
        names = {row.name for row in METHODS} - {row.name}
        params, given = params_of(row, {"size": 2, "padding": None})
        assert given == {"size"}
        assert (params["padding"], params["jobs"], params["frame"]) == ((0, 0), None, None)
        with pytest.raises(PoolError, match=f"{row.name} has no option nothing"):
            params_of(row, dict.fromkeys(names, None) | {"nothing": 1})
        for flag in OF_MANY:
            with pytest.raises(PoolError, match="has no option"):
                params_of(row, {flag.replace("-", "_"): "x"})


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "no size is given"),
    ({"size": "3x2"}, "size is '3x2'"),
    ({"size": 0}, "size is 0"),
    ({"size": 2, "padding": -1}, "padding is -1"),
    ({"size": 2, "padding": "none"}, "padding is 'none'"),
    ({"size": 2, "overwrite": "yes"}, "overwrite is 'yes'; give True or False"),
    ({"size": 2, "quality": 80.5}, "quality is 80.5"),
    ({"size": 2, "frame": True}, "frame is True"),
    ({"size": 2, "linear": True}, "max has no option linear"),
    ({"size": 2, "levels": (2, 4)}, "max has no option levels"),
    ({"size": 2, "save_option": {"nothing": 1}}, "nothing=1"),
    ({"fit": 9, "stride": 2}, "stride has no effect with fit"),
    ({"output_size": (None, None)}, "output_size is None"),
    ({"output_size": (1, 2, 3)}, r"output_size is \(1, 2, 3\)"),
    ({"size": 100}, "in.png: the window spans 100 pixels"),
    ({"size": 2, "max_pixels": 10}, "in.png: "),
    ({"size": 2, "frame": 3}, "in.png: "),
    ({"size": 2, "background": "nothing"}, "background"),
    ({"size": 2, "skip_existing": True, "overwrite": True}, "overwrite and skip_existing exclude"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda one: str(one))
def test_what_the_command_refuses_raises_and_leaves_nothing(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = paint(tmp_path / "in.png", 20)
    before = snapshot(tmp_path)

    with pytest.raises(PoolError, match=message) as error:
        pool_file(source, tmp_path / "out.png", "max", **options)

    assert "--" not in str(error.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "indices"),
    [("a\0b.png", None), ("a\0b/", None), ("out.png", "a\0b.npz"), ("%00.png", None)],
)
def test_names_with_nul_are_refused(name: str, indices: str | None, tmp_path: Path) -> None:
    source = paint(tmp_path / "in.png", 20)
    before = snapshot(tmp_path)
    target = f"file://{tmp_path}/{name}" if "%" in name else f"{tmp_path}/{name}"
    places = indices and f"{tmp_path}/{indices}"

    with pytest.raises(PoolError, match="no name has a NUL character; choose another name"):
        pool_file(source, target, "max", 2, indices=places)

    assert snapshot(tmp_path) == before


def test_a_working_folder_that_was_removed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = paint(tmp_path / "in.png", 20), tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    with pytest.raises(PoolError, match="does the working folder exist"):
        pool_file(source, "out.png", "max", 2)


def test_files_that_exist_folders_and_strangers_are_refused(tmp_path: Path) -> None:
    source = paint(tmp_path / "in.png", 20)
    text = tmp_path / "text.png"
    text.write_text("hello")

    for first, second, method, message in (
        (source, text, "max", "text.png exists already; use overwrite, skip_existing or update"),
        (source, source, "max", "is the input itself"),
        (tmp_path, tmp_path / "out.png", "max", "is a folder"),
        (text, tmp_path / "out.png", "max", "text.png: "),
        (tmp_path / "missing", tmp_path / "out.png", "max", "missing: it can't be read"),
        (source, tmp_path / "out.xyz", "max", "names no format"),
        (source, tmp_path / "no" / "out.png", "max", "no"),
        (source, tmp_path / "out.png", "maximum", "there is no method 'maximum'; give max"),
    ):
        with pytest.raises(PoolError, match=message):
            pool_file(first, second, method, 2)


def test_the_outcome_tells_what_was_skipped_or_would_be_done(tmp_path: Path) -> None:
    source, target = paint(tmp_path / "in.png", 9), tmp_path / "out.png"

    assert pool_file(source, target, "max", 2, dry_run=True).status == "planned"
    assert not target.exists()
    done = pool_file(str(source), str(target), "max", 2)
    assert isinstance(done, Outcome)
    assert (done.status, done.output_shape, done.dropped) == ("done", (4, 4, 3), (1, 1))
    assert repr(done).startswith(
        f"Outcome(input={str(source)!r}, output={str(target)!r}, status='d"
    )
    assert pool_file(source, target, "max", 2, skip_existing=True).status == "skipped"
    assert pool_file(source, target, "max", 2, update=True).status == "skipped"
    folder = pool_file(source, f"{tmp_path}/new/", "max", 2)
    assert (folder.output, folder.status) == (f"{tmp_path}/new/in.png", "done")


def test_stacks_and_indices_are_pooled_too(tmp_path: Path) -> None:
    stack = np.arange(5 * 6 * 8, dtype=np.uint16).reshape(5, 6, 8)
    np.save(tmp_path / "in.npy", stack)
    target, indices = tmp_path / "out.npy", tmp_path / "indices.npz"

    outcome = pool_file(tmp_path / "in.npy", target, "max", 2, axes="ZYX", planes="all")
    assert (outcome.planes, np.load(target).tolist()) == (5, stack[-1:, 1::2, 1::2].tolist())
    np.save(tmp_path / "plane.npy", stack[0])
    pool_file(tmp_path / "plane.npy", target, "max", 2, indices=indices, overwrite=True)
    with np.load(indices) as found:
        assert np.array_equal(stack[0].ravel()[found["indices"]], np.load(target))


def test_the_environment_has_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOLCLI_MAX_PIXELS", "1")
    monkeypatch.setenv("POOLCLI_JOBS", "x")
    source = paint(tmp_path / "in.png", 9)

    assert pool_file(source, tmp_path / "out.png", "max", 2).status == "done"


UNCHANGED = """
import sys
from poolcli import PoolError, pool_file
pool_file(sys.argv[1], "warm.png", "max", 2)  # imports what is opened once
from tests.support.state import state
before = state()
for suffix in ("png", "jpg", "webp", "gif", "tif", "bmp", "pam", "npy"):
    pool_file(sys.argv[1], f"out.{suffix}", "avg", 2)
    pool_file(f"out.{suffix}", f"again.{suffix}", "median", 2)
    try:
        pool_file("missing", "out.png", "max", 2)
    except PoolError:
        pass
after = state()
for key in before:
    assert before[key] == after[key], (key, before[key], after[key])
"""


def test_nothing_that_is_global_to_the_process_is_changed(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    program = f"import sys; sys.path.insert(0, {str(root)!r})\n{UNCHANGED}"
    done = subprocess.run(
        [sys.executable, "-c", program, SAMPLES / "scan.png"], capture_output=True, cwd=tmp_path
    )

    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", "")
    with Image.open(tmp_path / "out.png") as picture:
        assert np.asarray(picture).ndim == 2
