"""Convert the palettes of files to pixels and back, and pack palette indices."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ENTRIES: Final = 256
OPAQUE_BLACK: Final = (0, 0, 0, 255)
CHANNELS: Final[dict[str, Any]] = {"L": 0, "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}
"""The channels of RGBA that make a pixel of each mode; grey is taken from red."""


def conversions(has_palette: bool, has_key: bool, orientation: int = 1) -> tuple[str, ...]:
    """Return notes on the conversions that are applied to a picture while it is read.

    Args:
        has_palette: whether a palette is applied by the reader.
        has_key: whether one colour is marked as transparent.
        orientation: EXIF's orientation; 1 is upright.
    """
    notes = {
        "its palette was applied": has_palette,
        "its transparent key became alpha": has_key,
        "it was turned upright": orientation != 1,
    }
    return tuple(note for note, applies in notes.items() if applies)


def palette_mode(entries: bytes, *, has_alpha: bool) -> str:
    """Return the mode of a picture once its palette is applied.

    Args:
        entries: red, green and blue of each entry.
        has_alpha: whether entries may be transparent.
    """
    is_grey = entries[::3] == entries[1::3] == entries[2::3]
    return ("L" if is_grey else "RGB") + ("A" if has_alpha else "")


def colours_and_alphas(
    palette: NDArray[Any],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Return red, green and blue of each entry, (N, 3), and the alphas, (N,), if there are any.

    Args:
        palette: 8-bit pixels: (N,) or (N, C).
    """
    pixels = palette.reshape(len(palette), -1)
    alphas = np.ascontiguousarray(pixels[:, -1]) if pixels.shape[1] in (2, 4) else None
    colours = pixels[:, :3] if pixels.shape[1] > 2 else pixels[:, [0, 0, 0]]
    return np.ascontiguousarray(colours), alphas


def packed_indices(indices: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return rows of palette indices, as many as fit in each byte, the first one highest.

    Args:
        indices: (rows, width).
        bits: 1, 2, 4 or 8 bits for each.
    """
    if bits == 8:
        return np.ascontiguousarray(indices)
    count = 8 // bits
    padded = np.pad(indices, ((0, 0), (0, -indices.shape[1] % count)))
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    shared = padded.reshape(len(indices), -1, count) << shifts
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(shared, axis=2)
    return packed


def palette_pixels(entries: bytes, alphas: bytes, mode: str) -> NDArray[np.uint8]:
    """Return the pixel of each of the 256 palette indices, as an array (256,) or (256, C).

    Args:
        entries: red, green and blue of each entry; missing entries are black.
        alphas: the alpha of the first entries; the others are opaque.
        mode: the mode of the pixels: L, LA, RGB or RGBA.
    """
    pixels = np.full((ENTRIES, 4), OPAQUE_BLACK, np.uint8)
    count = min(len(entries) // 3, ENTRIES)
    pixels[:count, :3] = np.frombuffer(entries, np.uint8, 3 * count).reshape(count, 3)
    pixels[: len(alphas), 3] = np.frombuffer(alphas[:ENTRIES], np.uint8)
    return np.ascontiguousarray(pixels[:, CHANNELS[mode]])
