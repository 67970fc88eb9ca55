"""Write ``tests/golden-modes.json``: modes of small windows by SciPy, of ties the smallest.

Run in an environment that holds scipy and numpy: ``python benchmarks/golden_modes.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden-modes.json"


def main() -> None:
    """Take the mode of windows side by side, for several types and sizes."""
    rng, cases = np.random.default_rng(20261126), []
    for dtype in ("uint8", "int16", "uint32", "int64", "float32"):
        for size, values in ((2, 3), (3, 4), (4, 5), (5, 40)):
            array = rng.integers(0, values, (3 * size, 4 * size)) - values // 2 * (dtype[0] != "u")
            image = array.astype(dtype)
            blocks = image.reshape(3, size, 4, size).swapaxes(1, 2).reshape(3, 4, -1)
            modes: Any = stats.mode(blocks, axis=-1).mode
            case = {"dtype": dtype, "size": size, "input": image.tolist(), "output": modes.tolist()}
            cases.append(case)
    lines = ",\n".join(json.dumps(case) for case in cases)
    TARGET.write_text(f'{{"cases": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
