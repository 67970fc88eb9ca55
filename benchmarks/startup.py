"""Measure how long poolcli takes to start: `python benchmarks/startup.py [--rounds 15]`.

Every row is a ratio of least times within one run: the time of a command of poolcli, divided by
the time in which Python imports the libraries that this command needs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from measure import POOLCLI, least, machine
from PIL import Image

CLICK: Final = f"{sys.executable} -c 'import click'"
ALL: Final = f"{sys.executable} -c 'import click, numpy, PIL.Image, rich.console, rich.table'"
ROWS: Final = (
    ("--help", f"{POOLCLI} --help", CLICK, 1.4),
    ("max --help", f"{POOLCLI} max --help", CLICK, 1.4),
    ("--version", f"{POOLCLI} --version", CLICK, 1.4),
    (
        "completion",
        f"COMP_WORDS='poolcli max --si' COMP_CWORD=2 _POOLCLI_COMPLETE=bash_complete {POOLCLI}",
        CLICK,
        1.4,
    ),
    ("a picture of 8 × 8", f"{POOLCLI} max --size 2 --overwrite tiny.png out.png", ALL, 1.2),
)


def main() -> None:
    """Print the table; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(machine())
    print(f"\n{'':20} {'ms':>6} {'imports ms':>11} {'ratio':>6}  at most")
    exceeded = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (8, 8), (200, 100, 50)).save(folder / "tiny.png")
        for title, command, imports, bound in ROWS:
            costs = least({"ours": command, "imports": imports}, rounds, folder)
            mine, theirs = (costs[side].seconds for side in ("ours", "imports"))
            passed = mine > bound * theirs
            exceeded += [title] * passed
            print(
                f"{title:20} {mine * 1e3:6.0f} {theirs * 1e3:11.0f} {mine / theirs:6.2f}  "
                f"{bound}{'  OVER' if passed else ''}",
                flush=True,
            )
    if exceeded:
        sys.exit(f"over the bound: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
