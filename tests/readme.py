"""The generated parts of the README; run `python -m tests.readme` to write them anew."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
COMMANDS: Final = {
    "file": ["poolcli max --size 2 --stride 2 scene.jpg out.png"],
    "folder": ["poolcli avg --size 4 photos small/"],
    "pipe": ["cat text.png | poolcli min --size 3 --padding same -v > out.png"],
    "help": ["poolcli avg --help"],
}
SAMPLES: Final = ("chart.png", "depth.png", "logo.png", "scan.png", "scene.jpg", "text.png")
BLOCK: Final = r"(<!-- run: {} -->\n```\w+\n)(.*?)(```\n)"
MEASURED: Final = re.compile(
    r"\d+\.\d{3} s(, [\d.]+ images/s, [\d.]+ MP/s)?|(?<= )[\d.]+ → [\d.]+ million"
)


def rendered(readme: str) -> str:
    """Return the README with every generated block as the program prints it now."""
    for name, commands in COMMANDS.items():
        lines = "".join(f"$ {command}\n{_printed(command)}" for command in commands)
        readme = re.sub(BLOCK.format(name), _replacing(lines), readme, flags=re.S)
    return readme


def without_times(readme: str) -> str:
    """Return the text without what differs between machines: seconds and compressed bytes."""
    return MEASURED.sub("…", readme)


def python_example(readme: str) -> str:
    """Return the Python of the README."""
    match = re.search(BLOCK.format("python"), readme, flags=re.S)
    assert match is not None
    return match[2]


def _replacing(lines: str) -> Callable[[re.Match[str]], str]:
    """Return what `re.sub` takes to put lines between a block's first and last."""
    return lambda match: match[1] + lines + match[3]


def _printed(command: str) -> str:
    """Return what a command line prints to a person, run beside the sample pictures."""
    with _samples() as folder:
        result = subprocess.run(
            [
                "/bin/bash",
                "-c",
                f'poolcli() {{ {shlex.quote(sys.executable)} -m poolcli "$@"; }}; {command}',
            ],
            cwd=folder,
            env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        )
    text = result.stdout.decode()
    return "".join(
        f"{line.rstrip()}\n" for line in text.splitlines() if line.strip() or "help" in command
    )


@contextmanager
def _samples() -> Iterator[str]:
    """Make a folder of links to the sample pictures."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "photos").mkdir()
        for sample in SAMPLES:
            Path(folder, sample).symlink_to(ROOT / "sample_images" / sample)
            Path(folder, "photos", sample).symlink_to(ROOT / "sample_images" / sample)
        yield folder


if __name__ == "__main__":
    README.write_text(rendered(README.read_text("utf-8")), "utf-8")
