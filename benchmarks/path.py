"""Count the files and functions of poolcli that pool one picture, and the lines of its code.

    python benchmarks/path.py

A function is a ``def`` of the package that is called at least once while one picture is pooled
from file to file, from the command line to its exit; a file has at least one of them.
"""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tempfile
import tokenize
from contextlib import suppress
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final
from unittest import mock

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "poolcli"
PICTURES: Final = {"PNG": "chart.png", "GIF": "bounce.gif"}
NO_CODE: Final = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}


def main() -> None:
    """Print a table: for each picture a row of counts; then the lines of code."""
    for name, picture in PICTURES.items():
        visited = called_functions(ROOT / "sample_images" / picture)
        files = {file for file, _, _ in visited}
        print(f"{name}: {len(files)} files, {len(visited)} functions")
    total = sum(map(lines_of_code, PACKAGE.rglob("*.py")))
    print(f"poolcli/: {total} lines of code")


def called_functions(picture: Path) -> set[tuple[str, int, str]]:
    """Pool a picture in a new process, and return the functions that were called."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(picture), str(Path(folder) / picture.name)]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return {(file, line, name) for file, line, name in json.loads(done.stdout)}


def trace(picture: str, target: str) -> None:
    """Pool a picture in this process, and print file, line and name of each called function."""
    visited: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and _is_ours(code):
            visited.add(code)

    words = ["poolcli", "max", "--size", "2", "-q", "-f", picture, target]
    with mock.patch.object(sys, "argv", words):
        sys.setprofile(note)
        with suppress(SystemExit):
            from poolcli.cli import main

            main()
        sys.setprofile(None)
    print(json.dumps([(one.co_filename, one.co_firstlineno, one.co_name) for one in visited]))


def lines_of_code(path: Path) -> int:
    """Return the number of lines that hold code, not counting comments and docstrings."""
    source = path.read_text("utf-8")
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def _is_ours(code: CodeType) -> bool:
    """Return whether a code object is a ``def`` of the package, not a lambda or a class body."""
    is_function = bool(code.co_flags & CO_OPTIMIZED) and not code.co_name.startswith("<")
    return is_function and code.co_filename.startswith(str(PACKAGE))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        trace(*sys.argv[1:])
    else:
        main()
