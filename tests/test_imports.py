"""Hold the module table: who imports whom, and what the help doesn't import."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import poolcli

PACKAGE = Path(poolcli.__file__).parent
ROWS = {
    "cli": 1,
    "options": 2,
    "console": 2,
    "executors": 3,
    "run": 4,
    "plan": 5,
    "report": 5,
    "colour": 6,
    "methods": 7,
    "codec": 8,
    "formats": 8,
    "engine": 8,
    "storage": 8,
    "picture": 9,
    "errors": 10,
}
EXCEPTIONS = {("codec", "formats")}
"""Imports against the table that the rebuilding has still to remove: the list only shrinks."""

THIRD_PARTY = {
    "cli": {"click"},
    "options": {"click"},
    "console": {"rich"},
    "colour": {"numpy"},
    "codec": {"PIL", "numpy", "imagecodecs", "tifffile"},
    "engine": {"numpy"},
}
DOORS = {"__init__", "__main__"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numpy", "PIL", "rich")
ids = [str(path.relative_to(PACKAGE)) for path in SOURCES]
every_source = pytest.mark.parametrize("path", SOURCES, ids=ids)
every_room = pytest.mark.parametrize("path", SOURCES[1:], ids=ids[1:])
"""All but the door, which hands out everything, lazily."""


def module_of(path: Path) -> str:
    """The row of the table that a file belongs to; a folder is one module."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def dotted(path: Path) -> list[str]:
    """The package that a file's relative imports start from."""
    return ["poolcli", *path.relative_to(PACKAGE).parent.parts]


def imported(path: Path) -> Iterator[str]:
    """Every imported name of a file, in full: nested, relative and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = dotted(path)[: len(dotted(path)) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*start, node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_modules(path: Path) -> set[str]:
    """The modules of the table that a file imports; its own folder apart."""
    names = [name.split(".") for name in imported(path) if name.split(".")[0] == "poolcli"]
    return {name[1] if len(name) > 1 else "__init__" for name in names} - {module_of(path)}


def foreign_packages(path: Path) -> set[str]:
    """The packages that a file imports which come neither with Python nor with us."""
    return {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"poolcli"}


def touched(path: Path) -> set[str]:
    """The standard streams that a file takes from `sys`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
        and node.attr.strip("_") in ("stdin", "stdout", "stderr")
    }


def test_every_module_is_in_the_table() -> None:
    assert {module_of(path) for path in SOURCES} - DOORS <= set(ROWS)


def test_the_walk_sees_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    inside = tmp_path / "codec" / "modes.py"
    inside.parent.mkdir()
    inside.write_text(
        "import numpy.typing as npt, os\n"
        "from poolcli import plan\n"
        "from . import samples\n"
        "from .. import colour\n"
        "from ..engine.window import Window\n"
        "if TYPE_CHECKING:\n    from rich import box\n"
        "def late():\n    import poolcli.cli\n"
    )

    assert own_modules(inside) == {"plan", "colour", "engine", "cli"}
    assert foreign_packages(inside) == {"numpy", "rich"}


@every_room
def test_a_module_imports_only_from_rows_below_its_own(path: Path) -> None:
    module = module_of(path)
    if module == "__main__":
        assert own_modules(path) == {"cli"}
        return
    above = {name for name in own_modules(path) - {"__version__"} if ROWS[name] <= ROWS[module]}

    assert not {(module, name) for name in above} - EXCEPTIONS


@every_source
def test_a_module_imports_only_the_packages_of_its_row(path: Path) -> None:
    assert foreign_packages(path) <= THIRD_PARTY.get(module_of(path), set())


@every_room
def test_only_the_optional_codecs_are_imported_by_computed_names(path: Path) -> None:
    computes = {name for name in imported(path) if name.startswith(("importlib", "runpy"))}

    assert not computes or module_of(path) == "codec"
    assert "__import__" not in path.read_text("utf-8")


@every_source
def test_the_standard_streams_have_one_home_each(path: Path) -> None:
    homes = {"storage": {"stdin", "stdout"}, "console": {"stderr", "__stderr__"}}

    assert touched(path) <= homes.get(module_of(path), set())


def test_the_door_opens_nothing_by_itself() -> None:
    loaded = "import sys, poolcli; print(*sorted(m for m in sys.modules if 'poolcli' in m))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)

    assert done.stdout.decode().split() == ["poolcli"]


@pytest.mark.parametrize("name", poolcli.__all__)
def test_every_public_name_is_behind_the_door(name: str) -> None:
    assert getattr(poolcli, name).__name__ == name
    assert name in dir(poolcli)


def test_other_names_are_not_behind_the_door() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = poolcli.nothing


LIST_MODULES = """
import json, sys
sys.argv[0] = "poolcli"
from poolcli.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ((), {}),
        (("--help",), {}),
        (("max", "--help"), {}),
        (("avg", "-h"), {}),
        (("--version",), {}),
        ((), {"_POOLCLI_COMPLETE": "bash_source"}),
        ((), {"_POOLCLI_COMPLETE": "zsh_source"}),
        (
            (),
            {
                "_POOLCLI_COMPLETE": "bash_complete",
                "COMP_WORDS": "poolcli max --",
                "COMP_CWORD": "2",
            },
        ),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_help_and_completion_import_nothing_heavy(
    words: tuple[str, ...], variables: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *words],
        capture_output=True,
        check=False,
        env=os.environ | variables,
    )
    modules = json.loads(done.stderr.splitlines()[-1])

    assert done.returncode == (0 if words or variables else 2)
    assert done.stdout or not (words or variables)
    assert "poolcli.cli" in modules
    assert [name for name in modules if name.split(".")[0] in HEAVY] == []


ASK_FOR_GARBAGE = """
import gc
from poolcli import run as runner
run = runner.run_job
def asking(*words):
    print(gc.isenabled())
    return run(*words)
runner.run_job = asking
from poolcli.cli import main
main()
"""


def test_garbage_is_looked_for_while_pictures_are_pooled(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "in.png")
    command = [sys.executable, "-c", ASK_FOR_GARBAGE, "max", "-k", "2", "-q", "in.png", "out.png"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)

    assert (done.stdout, done.stderr) == (b"True\n", b"")
