from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import poolcli
from poolcli import report
from tests import readme

TEXT = readme.README.read_text("utf-8")
PACKAGE = Path(poolcli.__file__).parent


def test_every_printed_line_is_what_the_program_prints_now() -> None:
    assert readme.without_times(readme.rendered(TEXT)) == readme.without_times(TEXT)


def test_the_python_example_runs_as_it_stands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", readme.python_example(TEXT)], capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines()[0] == "(3, 4, 3) (3, 4, 3)"


def test_every_exit_code_is_in_the_table() -> None:
    codes = {value for name, value in vars(report).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.M)} == codes


def test_every_module_is_in_the_table() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    listed = re.findall(r"^\| `(\w+)` \| [a-z]", TEXT.partition("## How it is built")[2], re.M)
    assert set(listed) == {name for name in modules if not name.startswith("__")}


def test_no_text_says_to_install_somebody_elses_package() -> None:
    assert not re.search(r"pip install ['\"]?poolcli\b(?!-image)", TEXT)
