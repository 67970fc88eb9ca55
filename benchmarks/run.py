"""Run all benchmarks and write their tables: `python benchmarks/run.py [engine processes ...]`.

It sets up `benchmarks/.venv` with poolcli and the libraries of `peers.txt`, runs each script there,
and writes what it prints between the marks in `benchmarks/README.md`. Other programs are compared
only if they are installed. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
README: Final = HERE / "README.md"
VENV: Final = HERE / ".venv"
PYTHON: Final = VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
PARTS: Final = {
    "engine": ["engine.py"],
    "plumbing": ["plumbing.py"],
    "processes": ["processes.py"],
    "folders": ["folders.py"],
    "startup": ["startup.py"],
    "levels": ["levels.py"],
    "growth": ["growth.py", "--plot", str(HERE / "growth.svg")],
    "load": ["load.py"],
    "instructions": ["instructions.py"],
}
BLOCK: Final = r"(<!-- {} -->\n```text\n).*?(```\n)"


def set_up() -> None:
    """Make the environment, or update it."""
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([PYTHON, *arguments, "-e", HERE.parent, "-r", HERE / "peers.txt"], check=True)


def output_of(script: list[str]) -> str:
    """Run a script and return its output, which is also printed at once.

    A script that exceeds a bound exits with 1 after its table; another failure ends the run.
    """
    lines = []
    command = [str(PYTHON), "-u", str(HERE / script[0]), *script[1:]]
    with subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(f"{line.rstrip()}\n")
    if process.returncode and not any("over the bound" in line for line in lines):
        raise SystemExit(f"{script[0]} failed")
    return "".join(lines).lstrip("\n")


def with_part(readme: str, name: str, text: str) -> str:
    """Return the README with a new text between the marks of a part."""

    def replaced(match: re.Match[str]) -> str:
        return match[1] + text + match[2]

    changed, count = re.subn(BLOCK.format(name), replaced, readme, flags=re.S)
    if count != 1:
        raise SystemExit(f"{README.name} has no place for {name}")
    return changed


def main() -> None:
    """Run the benchmarks, and write the README after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parts = parser.parse_args().parts or list(PARTS)
    set_up()
    for name in parts:
        print(f"\n== {name}", flush=True)
        text = output_of(PARTS[name])
        README.write_text(with_part(README.read_text("utf-8"), name, text), "utf-8")


if __name__ == "__main__":
    main()
