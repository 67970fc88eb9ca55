"""Between Pillow's images and arrays: palettes, transparency keys, and what a format stores."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli.errors import PoolError

DTYPES: Final = {
    "1": np.dtype(np.bool_),
    "L": np.dtype(np.uint8),
    "LA": np.dtype(np.uint8),
    "RGB": np.dtype(np.uint8),
    "RGBA": np.dtype(np.uint8),
    "I;16": np.dtype(np.uint16),
    "I": np.dtype(np.int32),
    "F": np.dtype(np.float32),
}
"""The modes of pictures and the type of their samples."""

CHANNELS: Final = {"LA": 2, "RGB": 3, "RGBA": 4}
"""Values a pixel, of the modes whose arrays have a third axis."""

GIF_COLOURS: Final = 256
OPAQUE_FROM: Final = 128


def picture_mode(image: Image.Image) -> str:
    """The mode of the picture that an opened image holds, palettes and keys applied.

    Raises:
        PoolError: the mode is one that poolcli doesn't pool yet.
    """
    keyed = "transparency" in image.info
    if image.mode == "P":
        grey = _palette_is_grey(image)
        return ("LA" if grey else "RGBA") if keyed else ("L" if grey else "RGB")
    if image.mode in ("1", "L", "RGB") and keyed:
        return "RGBA" if image.mode == "RGB" else "LA"
    if image.mode in ("I;16B", "I;16L", "I;16N"):
        return "I;16"
    if image.mode == "I" and image.format == "PPM":
        return "I;16"
    if image.mode in DTYPES:
        return image.mode
    raise PoolError(
        f"pictures of mode {image.mode} can't be pooled", "convert it first to RGB or grey"
    )


def scale_key(image: Image.Image) -> None:
    """Widen the transparent grey of a 2- or 4-bit PNG as Pillow widens its pixels."""
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    raw_mode = tiles[0].args if tiles else None
    if isinstance(key, int) and raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * 255 // (3 if raw_mode == "L;2" else 15)


def to_array(image: Image.Image, mode: str) -> NDArray[Any]:
    """The pixels of a loaded image as (H, W) or (H, W, C) of the mode's type."""
    if image.mode == "P":
        colours = np.asarray(image.convert("RGBA" if mode in ("LA", "RGBA") else "RGB"))
        return {"L": colours[..., 0], "LA": colours[..., ::3]}.get(mode, colours)
    if image.mode != mode and mode in ("LA", "RGBA"):
        image = image.convert(mode)
    return np.asarray(image).astype(DTYPES[mode], copy=False)


def to_image(array: NDArray[Any], mode: str, stored: str) -> Image.Image:
    """A Pillow image of the pixels, in the mode that a format stores."""
    image = Image.fromarray(np.ascontiguousarray(array, DTYPES[mode]))
    return image if stored == mode else image.convert(stored)


def to_palette(image: Image.Image) -> tuple[Image.Image, bool]:
    """What a GIF holds of a picture, and whether that is all of it.

    Up to 256 colours stay themselves; more are approximated by the nearest. Alpha becomes one
    transparent colour for pixels that are less than half opaque.
    """
    if image.mode in ("1", "L"):
        return image, True
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
    colour = image.convert("RGB")
    opaque = GIF_COLOURS if alpha is None else GIF_COLOURS - 1
    fits = colour.getcolors(opaque) is not None
    palette = colour.quantize(opaque, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    if alpha is None:
        return palette, fits
    indices = np.array(palette)
    indices[alpha < OPAQUE_FROM] = opaque
    keyed = Image.frombytes("P", palette.size, indices.tobytes())
    keyed.putpalette(palette.getpalette() or [])
    keyed.info["transparency"] = opaque
    return keyed, fits and bool(np.isin(alpha, (0, 255)).all())


def _palette_is_grey(image: Image.Image) -> bool:
    """Whether every entry of the palette has equal red, green and blue."""
    entries = image.getpalette("RGB") or []
    return entries[::3] == entries[1::3] == entries[2::3]
