"""Hold the module table: who imports whom, what is quoted where, and what imports leave alone."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import poolcli
from poolcli import formats, methods

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
    "formats": 8,
    "engine": 8,
    "storage": 8,
    "picture": 9,
    "errors": 10,
    "process": 10,
}
THIRD_PARTY = {
    "cli": {"click"},
    "options": {"click"},
    "console": {"rich"},
    "run": {"numpy"},  # for the types of arrays
    "colour": {"numpy"},
    "methods": {"numpy"},
    "formats": {"PIL", "numpy", "imagecodecs", "tifffile"},
    "engine": {"numpy"},
    "picture": {"numpy"},
}
COMPUTES_NAMES = {"formats", "methods"}
"""What imports the modules that rows name, and optional libraries."""

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


@every_room
def test_a_module_imports_only_from_rows_below_its_own(path: Path) -> None:
    module = module_of(path)
    if module == "__main__":
        assert own_modules(path) == {"cli"}
        return
    above = {name for name in own_modules(path) - {"__version__"} if ROWS[name] <= ROWS[module]}

    assert not above


@every_source
def test_a_module_imports_only_the_packages_of_its_row(path: Path) -> None:
    assert foreign_packages(path) <= THIRD_PARTY.get(module_of(path), set())


@every_room
def test_only_modules_of_rows_and_optional_libraries_are_imported_by_computed_names(
    path: Path,
) -> None:
    computes = {name for name in imported(path) if name.startswith(("importlib", "runpy"))}

    assert not computes or module_of(path) in COMPUTES_NAMES
    assert "__import__" not in path.read_text("utf-8")


@every_source
def test_the_standard_streams_have_one_home_each(path: Path) -> None:
    both = {"stderr", "__stderr__"}
    homes = {"storage": {"stdin", "stdout"}, "console": both, "process": both}

    assert touched(path) <= homes.get(module_of(path), set())


# What is quoted where

FORMAT_WORDS = {
    word.lower()
    for row in formats.FORMATS
    for word in (row.name, row.title, *(suffix[1:] for suffix in row.suffixes))
}
FORMAT_WORD = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(FORMAT_WORDS))})(?!\w)", re.IGNORECASE)
EXAMPLE = re.compile(r"\b(?:in|out|small)\.\w+")
"""File names in examples of what may be typed."""


def constants(path: Path) -> Iterator[ast.Constant]:
    """The string constants of a file, docstrings excepted."""
    tree = ast.parse(path.read_text("utf-8"))
    bare = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node


def formats_named(path: Path) -> set[str]:
    """The strings of a file in which a format is named."""
    texts = (str(one.value) for one in constants(path))
    return {text for text in texts if FORMAT_WORD.search(EXAMPLE.sub("", text))}


@pytest.mark.parametrize("path", [one for one in SOURCES if module_of(one) != "formats"], ids=str)
def test_formats_are_named_in_their_folder_only(path: Path) -> None:
    assert formats_named(path) == set()


def test_the_look_for_formats_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        '"""PNG in a docstring."""\nX = 1\n"""TIFF after an attribute."""\n# GIF in a comment\n'
        'a = "write .png", f"{X} as JPEG", "pngs", "format", b"png"\n'
        'b = x == "tiff", "poolcli max in.png out.png", "no webp_options", "a (GIF)"\n'
    )
    assert formats_named(path) == {"write .png", " as JPEG", "tiff", "a (GIF)"}


METHOD_NAMES = {row.name for row in methods.METHODS}
KNOWS_METHODS = {"methods", "engine"}
"""The engine's kernels are for the larger and for the smaller of two values."""


def methods_asked_for(path: Path) -> list[int]:
    """The lines of a file in which something is compared with the name of a method."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
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


@pytest.mark.parametrize(
    "path", [one for one in SOURCES if module_of(one) not in KNOWS_METHODS], ids=str
)
def test_nothing_asks_for_the_name_of_a_method(path: Path) -> None:
    assert methods_asked_for(path) == []


def test_the_look_for_methods_sees_what_it_should(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(
        'a = method == "max"\nb = work.name in ("min", "other")\nc = "maximum" == d\n'
        'match a:\n    case "avg":\n        pass\ne = f["min"]\ng = "max"\n'
    )
    assert methods_asked_for(path) == [1, 2, 5, 7]


# What imports leave alone

LEFT_ALONE = """
import importlib, logging, os, signal, sys, warnings
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin
import numpy

def state():
    return {
        "Pillow": [
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK,
            PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY,
            TiffImagePlugin.READ_LIBTIFF, TiffImagePlugin.WRITE_LIBTIFF,
            Image.core.get_blocks_max(), Image.core.get_alignment(),
        ],
        "NumPy": numpy.geterr(),
        "filters": list(warnings.filters),
        "logging": [logging.root.handlers[:], logging.root.level, logging.root.disabled],
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "streams": [sys.stdin, sys.stdout, sys.stderr, sys.__stderr__, os.fstat(2)[:2]],
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "process": [os.getcwd(), dict(os.environ), sys.getrecursionlimit(), sys.excepthook],
    }

before = state()
module = importlib.import_module(sys.argv[1])
for name in sys.argv[2:]:
    getattr(module, name)
after = state()
for key in before:
    assert before[key] == after[key], (key, before[key], after[key])
"""
LIBRARY = [
    ("poolcli", *poolcli.__all__),
    ("poolcli.formats.contract",),
    ("poolcli.formats.pillow",),
    ("poolcli.engine.pooling",),
    ("poolcli.run",),
    ("poolcli.process",),
    *((row.module,) for row in methods.METHODS),
    *sorted({(f"poolcli.formats{row.module}",) for row in formats.FORMATS}),
]


@pytest.mark.parametrize("words", LIBRARY, ids=lambda words: words[0])
def test_importing_changes_nothing_that_is_global_to_the_process(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_ALONE, *words], capture_output=True)

    assert (done.returncode, done.stderr.decode()) == (0, "")


# The door


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
