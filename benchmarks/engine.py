"""The engine against its peers, in one run: `python benchmarks/engine.py [--megapixels 12]`.

Every row is one thread, the same array, the minimum of several rounds taken in turn, and a
ratio: ours divided by theirs. Results are compared before anything is timed. Peers that are not
installed are left out by name; Pillow always is there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version

from poolcli import avg_pool, max_pool

Array = NDArray[Any]
ROUNDS: Final = 7

try:
    import cv2
except ImportError:
    cv2 = None


class Row(NamedTuple):
    """One comparison.

    Attributes:
        title: what is computed, and against what.
        ours: our call.
        theirs: the peer's call.
        bound: the ratio it must stay under, or None where none is promised yet.
        off_by: the most that single pixels may differ (peers round differently).
    """

    title: str
    ours: Callable[[], Array]
    theirs: Callable[[], Array]
    bound: float | None
    off_by: int | None


def picture(megapixels: float) -> Array:
    """A smooth scene with noise, (H, W, 3) uint8, 4:3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    generator = np.random.default_rng(1)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    noise = generator.integers(0, 56, (height, width, 3))
    return (ramp + noise).astype(np.uint8)


def rows(array: Array) -> list[Row]:
    """All comparisons that the machine can make."""
    copy = np.empty_like(array)

    def copied() -> Array:
        np.copyto(copy, array)
        return copy

    image = Image.fromarray(array)
    found = [Row("max 2/2 RGB / copyto", lambda: max_pool(array, 2), copied, 2.5, None)]
    for size, bound in ((2, 1.5), (3, None), (4, None), (15, None)):
        title = f"avg {size}/{size} RGB / Pillow reduce"
        ours = partial(avg_pool, _whole(array, size), size)
        found.append(Row(title, ours, partial(_reduced, image, size), bound, 1))
    return found + (_opencv_rows(array) if cv2 is not None else [])


def _opencv_rows(array: Array) -> list[Row]:
    """Against dilation and picking, and INTER_AREA, on one thread."""
    cv2.setNumThreads(1)

    def dilated(size: int, stride: int) -> Array:
        kernel = np.ones((size, size), np.uint8)
        wide = cv2.dilate(array, kernel, anchor=(0, 0))
        return np.ascontiguousarray(wide[: 1 - size : stride, : 1 - size : stride])

    found = [
        Row(
            f"max {size}/{stride} RGB / OpenCV dilate",
            partial(max_pool, array, size, stride),
            partial(dilated, size, stride),
            None,
            0,
        )
        for size, stride in ((2, 2), (3, 2), (15, 15), (31, 1), (101, 1))
    ]
    height, width, _ = array.shape
    found.append(
        Row(
            "avg 2/2 RGB / OpenCV INTER_AREA",
            lambda: avg_pool(array, 2),
            lambda: cv2.resize(array, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
            None,
            1,
        )
    )
    return found


def _reduced(image: Image.Image, size: int) -> Array:
    """Pillow's average, without the windows that hang over."""
    width, height = image.size
    return np.asarray(image.reduce(size))[: height // size, : width // size]


def _whole(array: Array, size: int) -> Array:
    """The part of a picture that windows tile without rest."""
    return array[: array.shape[0] // size * size, : array.shape[1] // size * size]


def compare(row: Row) -> None:
    """Stop if both sides don't compute the same."""
    if row.off_by is None:
        return
    ours, theirs = row.ours().astype(int), row.theirs().astype(int)
    if ours.shape != theirs.shape or abs(ours - theirs).max() > row.off_by:
        raise SystemExit(f"{row.title}: the results differ")


def ratio(row: Row) -> tuple[float, float]:
    """Minimum seconds of ours, and ours divided by theirs; both run in turn."""
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for side, call in enumerate((row.ours, row.theirs)):
            started = time.perf_counter()
            call()
            best[side] = min(best[side], time.perf_counter() - started)
    return best[0], best[0] / best[1]


def main() -> None:
    """Print one table; exit 1 if a promised bound is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=12)
    array = picture(parser.parse_args().megapixels)
    opencv = cv2.__version__ if cv2 is not None else "missing"
    print(f"NumPy {np.__version__}, Pillow {pillow_version}, OpenCV {opencv}, {array.shape}")
    passed = []
    for row in rows(array):
        compare(row)
        seconds, measured = ratio(row)
        bound = f"at most {row.bound}" if row.bound else ""
        print(f"{row.title:34} {seconds * 1e3:7.1f} ms  ratio {measured:5.2f}  {bound}")
        if row.bound and measured > row.bound:
            passed.append(row.title)
    if passed:
        sys.exit(f"over the bound: {', '.join(passed)}")


if __name__ == "__main__":
    main()
