"""Write ``tests/golden-adaptive.json``: small pictures pooled adaptively by PyTorch.

Run from any directory in an environment that holds torch::

    python benchmarks/golden_adaptive.py

The tests read the table, as that of ``golden.py``.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch

SEED = 20261126
CASES = 12
TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden-adaptive.json"


def main() -> None:
    """Draw pictures and output sizes, and write what PyTorch makes of them."""
    rng = random.Random(SEED)
    cases = []
    for number in range(CASES):
        height, width = rng.randint(2, 13), rng.randint(2, 13)
        size = rng.randint(1, height), rng.randint(1, width)
        image = [[rng.randint(-50, 50) for _ in range(width)] for _ in range(height)]
        method = ("max", "min", "avg")[number % 3]
        sign = -1 if method == "min" else 1
        planes = sign * torch.tensor(image, dtype=torch.float64)[None, None]
        functional = torch.nn.functional
        pool = functional.adaptive_avg_pool2d if method == "avg" else functional.adaptive_max_pool2d
        output = (sign * pool(planes, size))[0, 0].tolist()
        cases.append({"method": method, "output_size": size, "input": image, "output": output})
    head = json.dumps(
        {"made_by": "python benchmarks/golden_adaptive.py", "torch": torch.__version__}
    )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    TARGET.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
