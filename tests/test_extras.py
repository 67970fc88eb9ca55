"""The optional libraries: loaded only when a picture needs them, named where they are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from poolcli.errors import PoolError
from poolcli.formats import extras
from poolcli.formats.saving import Saving
from tests.pictures import (
    GREY,
    RGB,
    RGB_ALPHA,
    decoded,
    encoded,
    first_info,
    noisy,
    numbers,
    png,
    read_tiff,
    tiff,
)
from tests.tiff_support import samples, tiff_of

DEEP_PNGS = {
    "RGB": png(1, [numbers(">H", 1, 2, 3)], 16, RGB),
    "RGBA": png(1, [numbers(">H", 1, 2, 3, 4)], 16, RGB_ALPHA),
    "grey with a key": png(1, [b"\1\2"], 16, GREY, (b"tRNS", b"\1\2")),
}
DEEP_FILES = {
    "packed TIFF": tiff(bytes(18), [12] * 3, photometric=2),
    "float TIFF": tiff_of(samples("f8", 1), compression="adobe_deflate"),
    "compressed TIFF": tiff_of(samples("u2", 3), photometric="rgb", compression="lzw"),
}


@pytest.fixture
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no optional library be installed."""
    monkeypatch.setattr(extras, "import_module", Mock(side_effect=ImportError))


@pytest.mark.usefixtures("_without")
@pytest.mark.parametrize("octets", DEEP_FILES.values(), ids=DEEP_FILES)
def test_without_the_extra_a_deep_file_is_refused_from_its_header(octets: bytes) -> None:
    with pytest.raises(PoolError, match="this format or depth needs imagecodecs") as refusal:
        first_info(octets)
    assert "pip install imagecodecs (the extra [deep])" in refusal.value.remedy
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("_without")
@pytest.mark.parametrize(("dtype", "channels"), [("u2", 3), ("f8", 1), ("i4", 5)])
def test_without_the_extra_uncompressed_tiffs_are_read(dtype: str, channels: int) -> None:
    array = samples(dtype, channels)
    np.testing.assert_array_equal(decoded(tiff_of(array, tile=(16, 16))).array, array)


@pytest.mark.usefixtures("_without")
@pytest.mark.parametrize("octets", DEEP_PNGS.values(), ids=DEEP_PNGS)
def test_without_the_extra_deep_pngs_are_read(octets: bytes) -> None:
    assert decoded(octets).array.dtype == "uint16"


@pytest.mark.usefixtures("_without")
def test_without_the_extra_deep_results_are_refused_with_its_name() -> None:
    with pytest.raises(PoolError, match="this format or depth needs imagecodecs") as refusal:
        encoded(noisy("RGB;16"), "jxl")
    assert "[deep]" in refusal.value.remedy


@pytest.mark.usefixtures("_without")
@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("mode", ["RGB;16", "LA;16", "array"])
def test_deep_tiffs_are_written_without_the_extra(mode: str, compression: str) -> None:
    given = noisy(mode)
    octets = encoded(given, "tiff", Saving(options=(("compression", compression),)))
    np.testing.assert_array_equal(read_tiff(octets), given.array)


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


def ran(code: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry run"])
@pytest.mark.parametrize("kind", ["packed TIFF", "compressed TIFF"])
def test_without_the_extra_the_command_tells_so_in_one_line(
    kind: str, dry: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(DEEP_FILES[kind])
    done = ran(BLOCKED, tmp_path, "max", "--size", "1", *dry, "in", "out.tif")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "this format or depth needs imagecodecs; install it: pip install imagecodecs" in line
    assert not (tmp_path / "out.tif").exists()


PLAIN_FILES = {"a.png": "RGB", "b.png": "I;16", "c.tiff": "I;16", "d.ppm": "RGB;M", "e.tiff": "F"}


def test_without_the_extra_all_else_works(tmp_path: Path) -> None:
    for path, mode in PLAIN_FILES.items():
        (tmp_path / path).write_bytes(encoded(noisy(mode), path.rpartition(".")[2]))
    (tmp_path / "results").mkdir()
    done = ran(BLOCKED, tmp_path, "avg", "--size", "2", *PLAIN_FILES, "results")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "results").iterdir()} == set(PLAIN_FILES)


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
    ("path", "mode", "loaded"),
    [
        *((path, mode, []) for path, mode in PLAIN_FILES.items()),
        ("in.tiff", "RGB", []),
        ("in.ppm", "RGB;16", []),
        ("in.png", "RGB;16", []),
        ("in.tiff", "RGB;16", ["imagecodecs", "tifffile"]),
    ],
)
def test_the_extra_is_loaded_only_when_such_a_file_comes(
    path: str, mode: str, loaded: list[str], tmp_path: Path
) -> None:
    (tmp_path / path).write_bytes(encoded(noisy(mode), path.rpartition(".")[2]))
    done = ran(WATCHED, tmp_path, "max", "--size", "2", "-q", path, f"out-{path}")
    assert json.loads(done.stdout) == [0, loaded], done.stderr
