"""An oracle of stacks: every window as the list of its taps, in exact numbers."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests import oracle


def by_taps(
    method: str, stack: NDArray[Any], planes: int, where: Any = None, **geometry: Any
) -> NDArray[Any]:
    """Pool (Z, H, W) by the list of taps of each window, in exact numbers."""
    rows, columns = oracle.lines(stack.shape[1:], **geometry)
    depth = stack.shape[0] // planes
    result = np.empty((depth, len(rows.windows), len(columns.windows)), stack.dtype)
    for z, y, x in np.ndindex(result.shape):
        down, across = rows.inside(rows.windows[y]), columns.inside(columns.windows[x])
        taps = np.ix_(range(z * planes, (z + 1) * planes), down, across)
        chosen = np.broadcast_to(True if where is None else where, stack.shape)[taps].ravel()
        pairs = zip(stack[taps].ravel().tolist(), chosen, strict=True)
        held = [(one, takes_part) for one, takes_part in pairs if not math.isnan(one)]
        numbers = [one for one, takes_part in held if takes_part] or [one for one, _ in held]
        if not numbers:
            result[z, y, x] = np.nan
        elif method == "avg":
            mean = sum(map(Fraction, numbers)) / len(numbers)
            result[z, y, x] = float(mean) if stack.dtype.kind == "f" else round(mean)
        elif method == "mode":
            counts = Counter(numbers)
            result[z, y, x] = min(one for one in counts if counts[one] == max(counts.values()))
        else:
            places = {"min": 0, "median": (len(numbers) - 1) // 2, "max": len(numbers) - 1}
            result[z, y, x] = sorted(numbers)[places[method]]
    return result
