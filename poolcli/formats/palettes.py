"""Palettes: the pixels that their indices mean."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ENTRIES: Final = 256
GREY_RAMP: Final = bytes(grey for grey in range(ENTRIES) for _ in range(3))
"""The palette in which every index is a grey of its own number."""

CHANNELS: Final[dict[str, Any]] = {"L": 0, "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}
"""What of red, green, blue and alpha a mode holds; grey modes where the three are equal."""


def palette_mode(entries: bytes, *, has_alpha: bool) -> str:
    """Return the mode of a picture once its palette is applied.

    Args:
        entries: red, green and blue of each entry.
        has_alpha: whether entries may be transparent.
    """
    is_grey = entries[::3] == entries[1::3] == entries[2::3]
    return ("L" if is_grey else "RGB") + ("A" if has_alpha else "")


def palette_pixels(entries: bytes, alphas: bytes, mode: str) -> NDArray[np.uint8]:
    """Return the 256 pixels that indices mean.

    Args:
        entries: red, green and blue of each entry; missing ones are black.
        alphas: of the first entries; the others are opaque.
        mode: a mode of 8 bits.
    """
    count = min(len(entries) // 3, ENTRIES)
    pixels = np.zeros((ENTRIES, 4), np.uint8)
    pixels[:count, :3] = np.frombuffer(entries, np.uint8, 3 * count).reshape(count, 3)
    pixels[:, 3] = 255
    pixels[: len(alphas), 3] = np.frombuffer(alphas[:ENTRIES], np.uint8)
    return np.ascontiguousarray(pixels[:, CHANNELS[mode]])
