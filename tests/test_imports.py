"""Hold the module table: who imports whom, what is quoted where, and what imports leave alone."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import poolcli
from poolcli import formats, methods
from tests.support.processes import Run
from tests.support.trees import SAMPLES

PACKAGE = Path(poolcli.__file__).parent
ROWS = {
    "cli": 1,
    "files": 1,
    "options": 2,
    "console": 2,
    "executors": 3,
    "run": 4,
    "plan": 5,
    "report": 5,
    "colour": 6,
    "methods": 7,
    "formats": 8,
    "engine": 8,
    "storage": 8,
    "picture": 9,
    "layout": 9,
    "errors": 10,
    "process": 10,
    "signals": 10,
    "cpus": 10,
    "threads": 10,
}
THIRD_PARTY = {
    "cli": {"click"},
    "options": {"click"},
    "console": {"rich"},
    "executors": {"dask", "distributed"},
    "run": {"numpy"},
    "colour": {"numpy"},
    "methods": {"numpy"},
    "formats": {"PIL", "numpy", "imagecodecs", "tifffile", "isal"},
    "engine": {"numpy"},
    "storage": {"obstore"},
    "picture": {"numpy"},
}
STREAMS = {
    "__main__": {"__stderr__"},  # nothing else is imported yet when Ctrl-C comes
    "cli": {"stdout"},  # flushed at the end, which is all that it does with it
    "storage": {"stdin", "stdout"},
    "console": {"stderr", "__stderr__"},
    "process": {"stderr", "__stderr__"},
}
COMPUTES_NAMES = {"formats", "methods"}
"""What imports the modules that rows name, and optional libraries."""

DOORS = {"__init__", "__main__"}
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("numpy", "PIL", "rich")
ids = [str(path.relative_to(PACKAGE)) for path in SOURCES]
every_source = pytest.mark.parametrize("path", SOURCES, ids=ids)


def module_of(path: Path) -> str:
    """The row of the table that a file belongs to; a folder is one module."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text("utf-8")))]


def imported(path: Path) -> Iterator[str]:
    """Yield every imported name of a file, in full: nested, relative and for type checkers too."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["poolcli", *path.relative_to(PACKAGE).parent.parts]
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*start, node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_modules(path: Path) -> set[str]:
    """Return the modules of the table that a file imports, its own apart."""
    names = [name.split(".") for name in imported(path) if name.split(".")[0] == "poolcli"]
    return {name[1] if len(name) > 1 else "__init__" for name in names} - {module_of(path)}


def foreign_packages(path: Path) -> set[str]:
    """Return the packages that a file imports which come neither with Python nor with us."""
    return {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"poolcli"}


def streams_of(path: Path) -> set[str]:
    """Return the standard streams that a file takes from `sys`."""
    return {
        node.attr
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "sys"
        and node.attr.strip("_") in ("stdin", "stdout", "stderr")
    }


def test_every_module_is_in_the_table() -> None:
    assert {module_of(path) for path in SOURCES} - DOORS <= set(ROWS)


def test_the_walk_sees_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    inside = tmp_path / "formats" / "one.py"
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


@every_source
def test_a_module_imports_only_from_rows_below_its_own(path: Path) -> None:
    module = module_of(path)
    if module == "__main__":
        assert own_modules(path) == {"cli"}
    elif path != SOURCES[0]:  # the door hands out everything, lazily
        below = {name for name, row in ROWS.items() if row > ROWS[module]}
        assert own_modules(path) <= below | {"__version__"}
        assert "__import__" not in path.read_text("utf-8")
        computes = [name for name in imported(path) if name.startswith(("importlib", "runpy"))]
        assert not computes or module in COMPUTES_NAMES


@every_source
def test_a_module_takes_only_the_packages_and_streams_of_its_row(path: Path) -> None:
    assert foreign_packages(path) <= THIRD_PARTY.get(module_of(path), set())
    assert streams_of(path) <= STREAMS.get(module_of(path), set())


# What is quoted where

FORMAT_WORDS = {
    word.lower()
    for row in formats.FORMATS
    for word in (row.name, row.title, *(suffix[1:] for suffix in row.suffixes))
}
FORMAT_WORD = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(FORMAT_WORDS))})(?!\w)", re.IGNORECASE)
EXAMPLE = re.compile(r"\b(?:in|out|small)\.\w+")
"""File names in examples of what may be typed."""


def formats_named(path: Path) -> set[str]:
    """Return the string constants of a file, docstrings excepted, in which a format is named."""
    bare = {id(one.value) for one in nodes(path) if isinstance(one, ast.Expr)}
    return {
        node.value
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in bare
        and FORMAT_WORD.search(EXAMPLE.sub("", node.value))
    }


@every_source
def test_formats_and_methods_are_named_in_their_folders_only(path: Path) -> None:
    assert module_of(path) == "formats" or formats_named(path) == set()
    assert module_of(path) in KNOWS_METHODS or methods_asked_for(path) == []


def test_the_look_for_names_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        '"""PNG in a docstring."""\nX = 1\n"""TIFF after an attribute."""\n# GIF in a comment\n'
        'a = "write .png", f"{X} as JPEG", "pngs", "format", b"png"\n'
        'b = x == "tiff", "poolcli max in.png out.png", "no webp_options", "a (GIF)"\n'
    )
    assert formats_named(path) == {"write .png", " as JPEG", "tiff", "a (GIF)"}
    path = tmp_path / "other.py"
    path.write_text(
        'a = method == "max"\nb = work.name in ("min", "other")\nc = "maximum" == d\n'
        'match a:\n    case "avg":\n        pass\ne = f["min"]\ng = "max"\n'
    )
    assert methods_asked_for(path) == [1, 2, 5, 7]


METHOD_NAMES = {row.name for row in methods.METHODS}
KNOWS_METHODS = {"methods", "engine"}
"""The engine's kernels are for the larger and for the smaller of two values."""


def methods_asked_for(path: Path) -> list[int]:
    """Return the lines of a file in which something is compared with the name of a method."""
    found = []
    for node in nodes(path):
        asked: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        inside = [one for outer in asked for one in ast.walk(outer)]
        if any(isinstance(one, ast.Constant) and one.value in METHOD_NAMES for one in inside):
            found.append(getattr(node, "lineno", 0))
    return sorted(found)


# What imports leave alone

LEFT_ALONE = """
import importlib, sys
from tests.support.state import state

before = state()
for words in sys.argv[1:]:
    name, *public = words.split()
    module = importlib.import_module(name)
    for one in public:
        getattr(module, one)
    after = state()
    for key in before:
        assert before[key] == after[key], (name, key, before[key], after[key])
"""
LIBRARY = [
    " ".join(("poolcli", *dir(poolcli))),
    *("poolcli.formats.contract", "poolcli.formats.pillow", "poolcli.engine.pooling"),
    *("poolcli.run", "poolcli.process"),
    *(row.module for row in methods.METHODS),
    *sorted({f"poolcli.formats{row.module}" for row in formats.FORMATS}),
]


def test_importing_changes_nothing_that_is_global_to_the_process() -> None:
    command = [sys.executable, "-c", LEFT_ALONE, *LIBRARY]
    done = subprocess.run(command, capture_output=True, cwd=PACKAGE.parent)

    assert (done.returncode, done.stderr.decode()) == (0, "")


# The door


@pytest.mark.parametrize("name", ["poolcli", "poolcli.__main__"])
def test_the_door_opens_nothing_by_itself(name: str) -> None:
    loaded = (
        f"import sys; before = {{*sys.modules}}; import {name}; print(*({{*sys.modules}} - before))"
    )
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)

    assert {*done.stdout.decode().split()} == {"poolcli", name}


def test_nothing_else_is_behind_the_door() -> None:
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
        ((), {"_POOLCLI_COMPLETE": "bash_complete", "COMP_WORDS": "poolcli max --"}),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_help_and_completion_are_light(words: tuple[str, ...], variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *words],
        capture_output=True,
        check=False,
        env=os.environ | {"COMP_CWORD": "2"} | variables,
    )
    modules = json.loads(done.stderr.splitlines()[-1])

    assert done.returncode == (0 if words or variables else 2)
    assert done.stdout or not (words or variables)
    assert "poolcli.cli" in modules
    assert [name for name in modules if name.split(".")[0] in HEAVY] == []


ASK_FOR_GARBAGE = """
import gc
from poolcli import run as runner
run = runner.run_levels
def asking(*words):
    print(gc.isenabled())
    return run(*words)
runner.run_levels = asking
"""


def test_garbage_is_collected_while_pictures_are_pooled(run: Run) -> None:
    done = run("max", "-k", "2", "-q", SAMPLES / "logo.png", "out.png", first=ASK_FOR_GARBAGE)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"True\n", b"")
