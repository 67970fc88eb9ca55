"""Count the instructions of the engine: `python benchmarks/instructions.py`; it needs valgrind.

callgrind counts the instructions of many calls and of one call. The difference, for one call, is
divided by the number of values in the input. Unlike seconds, this number does not depend on the
speed and the load of the machine. valgrind has no AVX-512, so the numbers are those of AVX2. OpenCV
is not counted: under valgrind it uses no SIMD instructions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from engine import Work
from measure import ROOT, is_installed

WORKS: Final = (
    Work("max", 2, 2),
    Work("max", 2, 2, 4),
    Work("max", 31, 1),
    Work("avg", 2, 2),
    Work("avg", 4, 4),
    Work("avg", 31, 1, 1),
    Work("avg", 2, 2, 3, "float32"),
)
MEGAPIXELS: Final = 1.0
CALLS: Final = 10
CALL: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from engine import Work, ours, picture
work = Work(sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
call = ours(work, picture({megapixels}, work.channels, work.dtype))
for _ in range(int(sys.argv[7])):
    call()
"""


def counted(work: Work, calls: int) -> int:
    """Return the number of instructions of a process that makes ``calls`` calls."""
    with tempfile.TemporaryDirectory() as folder:
        words = [work.method, work.size, work.stride, work.channels, work.dtype, calls]
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                *(sys.executable, "-c", CALL.format(megapixels=MEGAPIXELS)),
                *(str(Path(__file__).parent), *map(str, words)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
            text=True,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(done.stderr)
    return int(found[1])


def main() -> None:
    """Print the table."""
    if not is_installed("valgrind"):
        sys.exit("valgrind is not installed")
    print("instructions a value of the input, AVX2")
    for work in WORKS:
        values = MEGAPIXELS * 1e6 * work.channels
        mine = (counted(work, CALLS + 1) - counted(work, 1)) / CALLS / values
        print(f"{work.title:24} {mine:6.2f}", flush=True)


if __name__ == "__main__":
    main()
