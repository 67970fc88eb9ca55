"""Completion in real shells, and the files that the wheel installs for shells and `man`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests import share
from tests.support.output import only_line
from tests.support.processes import Run, environment
from tests.support.shells import typed
from tests.support.tools import needs
from tests.support.trees import grow

BIN: Final = Path(os.environ.get("POOLCLI_BIN") or Path(sys.executable).parent)
"""The folder of the installed command, which may be another one than that of the tests."""

INSTALLED: Final = BIN.parent / "share"
MAN: Final = shutil.which("man") or ""
SET_UPS: Final = {
    ("bash", "by the line"): 'eval "$(_POOLCLI_COMPLETE=bash_source poolcli)"',
    ("zsh", "by the line"): 'eval "$(_POOLCLI_COMPLETE=zsh_source poolcli)"',
    ("fish", "by the line"): "_POOLCLI_COMPLETE=fish_source poolcli | source",
    ("bash", "by the file"): f"source {INSTALLED / share.PLACES['bash']}",
    ("zsh", "by the file"): f"fpath=({(INSTALLED / share.PLACES['zsh']).parent} $fpath); "
    "autoload -Uz compinit; compinit -u",
    ("fish", "by the file"): "",
}
COMPLETED: Final = {
    "poolcli med\t": ["median"],
    "poolcli help med\t": ["help", "median"],
    "poolcli avg -k 2 sce\t": ["avg", "-k", "2", "scene.jpg"],
    "poolcli avg -k 2 scan\tpic\t": ["avg", "-k", "2", "scan one.png", "pictures"],
    'poolcli avg -k 2 "scan o\t': ["avg", "-k", "2", "scan one.png"],
    "poolcli avg -k 2 -- -lea\t": ["avg", "-k", "2", "--", "-leading.png"],
    "poolcli avg --files-from Mak\t": ["avg", "--files-from", "Makefile"],
    "poolcli avg --files-from=Mak\t": ["avg", "--files-from=Makefile"],
    "poolcli avg --relative-to pic\t": ["avg", "--relative-to", "pictures"],
    "poolcli avg -t pic\t": ["avg", "-t", "pictures"],
    "poolcli avg --paddi\tval\t": ["avg", "--padding", "valid"],
    "poolcli avg --padding=val\t": ["avg", "--padding=valid"],
    "poolcli avg --form\tweb\t": ["avg", "--format", "webp"],
    "poolcli avg --save-option lossl\ty\t": ["avg", "--save-option", "lossless=yes"],
    "poolcli avg --save-option=subsampling=4:4\t": ["avg", "--save-option=subsampling=4:4:4"],
    "poolcli median --quant\t": ["median", "--quantile"],
}


EACH_SHELL: Final = pytest.mark.parametrize(
    "shell", [pytest.param(one, marks=needs(one)) for one in share.PLACES]
)
installed_only = pytest.mark.skipif(
    not INSTALLED.joinpath("man").is_dir(),
    reason="poolcli was installed before it had these files: install it again",
)


def complete(folder: Path, shell: str, way: str, *lines: str) -> list[list[str]]:
    """Return the words of lines that a shell has completed, without slashes behind folders."""
    grow(folder, "scene.jpg", "scan one.png", "-leading.png", "Makefile", "pictures/")
    variables = environment({"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8"})
    if way == "by the file":
        variables["XDG_DATA_DIRS"] = f"{INSTALLED}:/usr/local/share:/usr/share"
    found = typed(shell, *lines, cwd=folder, variables=variables, set_up=SET_UPS[shell, way])
    return [[word.rstrip("/") for word in words] for words in found]


@EACH_SHELL
def test_a_shell_completes_paths_and_choices(tmp_path: Path, shell: str) -> None:
    found = complete(tmp_path, shell, "by the line", *COMPLETED)

    assert dict(zip(COMPLETED, found, strict=True)) == {
        line: ["poolcli", *words] for line, words in COMPLETED.items()
    }


@installed_only
@EACH_SHELL
def test_a_shell_finds_the_installed_file(tmp_path: Path, shell: str) -> None:
    line = "poolcli avg --paddi\tval\t"
    assert complete(tmp_path, shell, "by the file", line) == [["poolcli", *COMPLETED[line]]]


@installed_only
@needs("man")
def test_man_shows_the_page_of_an_activated_environment(tmp_path: Path) -> None:
    variables = environment({"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8"})
    variables.pop("MANPATH", None)
    variables |= {"MANPAGER": "cat", "MANWIDTH": "80", "HOME": str(tmp_path)}
    done = subprocess.run([MAN, "poolcli"], env=variables, capture_output=True, check=True)
    text = done.stdout.decode()

    assert done.stderr == b""
    for part in ("POOLCLI(1)", "--padding N|WxH", "--count-include-pad", "POOLCLI_JOBS", "143"):
        assert part in text


def test_an_unknown_shell_is_refused(run: Run) -> None:
    done = run(environment={"_POOLCLI_COMPLETE": "csh_source"})
    assert done.returncode == 2
    assert "give one of bash_source, zsh_source, fish_source" in only_line(done)


def test_completion_imports_neither_numpy_nor_pillow_nor_rich() -> None:
    code = "import sys; from poolcli.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    variables = {"_POOLCLI_COMPLETE": "bash_complete", "COMP_LINE": "poolcli avg --"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(variables), capture_output=True, check=True
    )
    assert not {"numpy", "PIL", "rich"} & {*done.stdout.decode().split()}
    assert b"plain\t--size\t" in done.stdout
