"""The generated parts of the documents; run `python -m tests.readme` to write them anew.

In README.md these are the outputs of the commands that follow a ``$``; docs/options.md is generated
as a whole, and so are the files in share.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.reference import reference
from tests.support.processes import environment

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
OPTIONS: Final = ROOT / "docs" / "options.md"
SET_UP: Final = ("set-up", "tests")
"""The marks of the blocks that install something, which `.ci/run` runs."""

BLOCK: Final = re.compile(r"(?:<!-- ([\w-]+) -->\n)?```(\w+)\n(.*?)```\n", re.DOTALL)
TIMES: Final = {
    r"read \d+\.\d{3} s": "read 0.025 s",
    r"pool \d+\.\d{3} s": "pool 0.002 s",
    r"write \d+\.\d{3} s": "write 0.020 s",
    r"\d+\.\d{3} s, [\d.]+ images/s, [\d.]+ MP/s": "0.200 s, 55.0 images/s, 9.0 MP/s",
}
"""What differs from run to run is printed as these values: a document changes if words do."""

BYTES: Final = re.compile(r"(?<= )[\d.]+ → [\d.]+ million")
"""The bytes of compressed files depend on the versions of libraries."""


class Example(NamedTuple):
    """A block of code in the README.

    Attributes:
        language: the word after the fence.
        text: the lines between the fences.
    """

    language: str
    text: str


def examples(readme: str) -> list[Example]:
    """Return the blocks that can be run in a clone that is set up."""
    return [Example(*found[1:]) for found in BLOCK.findall(readme) if found[0] not in SET_UP]


def rendered(readme: str) -> str:
    """Return the README with the output of every command as the program prints it now."""

    def replaced(match: re.Match[str]) -> str:
        _, language, text = match.groups()
        return match[0].replace(text, recorded(text)) if language == "console" else match[0]

    return BLOCK.sub(replaced, readme)


def recorded(text: str) -> str:
    """Return the commands of a block, each with its output and without the times of this run."""
    lines = []
    for line in text.splitlines():
        if line.startswith("$ "):
            with clone() as folder:
                done = in_shell(line[2:], folder)
            output = [one.rstrip() for one in done.stdout.decode().splitlines()]
            lines += [line, *filter(None, output)]
    whole = "".join(f"{line}\n" for line in lines)
    for pattern, value in TIMES.items():
        whole = re.sub(pattern, value, whole)
    return whole


def without_bytes(readme: str) -> str:
    """Return the text without what depends on the versions of libraries."""
    return BYTES.sub("…", readme)


def in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command as in a clone whose environment is activated; both streams are captured."""
    variables = {
        "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}",
        "HOME": str(folder.parent),
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@contextmanager
def clone() -> Iterator[Path]:
    """Make what the examples find in a fresh clone that is set up: the samples, and poolcli."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home, "poolcli")
        shutil.copytree(ROOT / "sample_images", folder / "sample_images")
        for name, words in (("poolcli", "-m poolcli"), ("python", "")):
            program = folder / ".venv/bin" / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o755)
        yield folder


if __name__ == "__main__":
    from tests import share  # which takes the exit codes from the README

    share.write()
    README.write_text(rendered(README.read_text("utf-8")), "utf-8")
    OPTIONS.parent.mkdir(exist_ok=True)
    OPTIONS.write_text(reference(), "utf-8")
