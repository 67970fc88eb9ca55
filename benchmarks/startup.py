"""Measure how long poolcli takes to start: `python benchmarks/startup.py [--rounds 15]`.

Every row is a ratio of least CPU seconds within one run: those of a command of poolcli, divided by
those in which Python imports the libraries that such a command needs and leaves at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from measure import POOLCLI, least, machine
from PIL import Image

BARE: Final = f"OPENBLAS_NUM_THREADS=1 {sys.executable} -c 'import gc, os; gc.disable(); "
CLICK: Final = f"{BARE}import click; os._exit(0)'"
ALL: Final = f"{BARE}import click, numpy, PIL.Image; os._exit(0)'"
TINY: Final = f"{POOLCLI} max --size 2 --overwrite tiny.png out.png"
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
    ("8 × 8 pixels, --quiet", f"{TINY} --quiet", ALL, 1.35),
    ("8 × 8 pixels", TINY, ALL, 1.5),
)


def main() -> None:
    """Print the table; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(machine())
    print(f"\n{'':22} {'ms':>6} {'imports ms':>11} {'ratio':>6}  at most")
    exceeded = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.new("RGB", (8, 8), (200, 100, 50)).save(folder / "tiny.png")
        for title, command, imports, bound in ROWS:
            costs = least({"ours": command, "imports": imports}, rounds, folder)
            mine, theirs = (costs[side].cpu for side in ("ours", "imports"))
            passed = mine > bound * theirs
            exceeded += [title] * passed
            print(
                f"{title:22} {mine * 1e3:6.0f} {theirs * 1e3:11.0f} {mine / theirs:6.2f}  "
                f"{bound}{'  OVER' if passed else ''}",
                flush=True,
            )
    if exceeded:
        sys.exit(f"over the bound: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
