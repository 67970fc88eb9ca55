"""Between Pillow's images and arrays: palettes, transparency keys, and what a format stores."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageMode

from poolcli.codec.names import ARRAY
from poolcli.errors import PoolError

DTYPES: Final[dict[str, np.dtype[Any]]] = {
    **dict.fromkeys(("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"), np.dtype(np.uint8)),
    **dict.fromkeys(("I;16", "LA;16", "RGB;16", "RGBA;16"), np.dtype(np.uint16)),
    "1": np.dtype(np.bool_),
    "I": np.dtype(np.int32),
    "F": np.dtype(np.float32),
}
"""The modes whose samples are always of one type."""

CHANNELS: Final[dict[str, int]] = {
    **dict.fromkeys(("LA", "LA;16"), 2),
    **dict.fromkeys(("RGB", "YCbCr", "LAB", "RGB;16", "RGB;M"), 3),
    **dict.fromkeys(("RGBA", "CMYK", "RGBA;16"), 4),
}
"""Values a pixel, of the modes whose arrays always have a third axis."""

IMAGE_MODES: Final = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
"""The modes that are Pillow's own too."""

PLAIN: Final = {
    (np.dtype(np.bool_), 1): "1",
    (np.dtype(np.uint8), 1): "L",
    (np.dtype(np.uint8), 3): "RGB",
    (np.dtype(np.uint16), 1): "I;16",
    (np.dtype(np.uint16), 3): "RGB;16",
    (np.dtype(np.int32), 1): "I",
    (np.dtype(np.float32), 1): "F",
}
"""The modes of arrays that come without a word on their channels: (type, channels)."""

LAB_SIGNS: Final = np.array([0, 128, 128], np.uint8)
"""What turns a* and b* from two's complement, as files have them, into an order, and back."""

APPLIED: Final = {"L": "RGB", "LA": "RGBA"}
"""What a grey palette is applied as: Pillow would weigh its equal red, green and blue."""

BAND_BYTES: Final = 1 << 19
"""Bytes of the rows that are copied at a time, so that they stay in the cache; measured."""

GIF_COLOURS: Final = 256
OPAQUE_FROM: Final = 128
OPAQUE_ALPHA: Final = 255


def picture_mode(image: Image.Image) -> str:
    """The mode of the picture that an opened image holds, palettes and keys applied.

    Raises:
        PoolError: the mode is one that can't be pooled.
    """
    keyed = "transparency" in image.info
    if image.mode in ("P", "PA"):
        grey, alpha = _palette_is_grey(image), keyed or image.mode == "PA"
        return ("LA" if grey else "RGBA") if alpha else ("L" if grey else "RGB")
    if image.mode in ("1", "L", "RGB") and keyed:
        return "RGBA" if image.mode == "RGB" else "LA"
    if image.mode in ("I;16B", "I;16L", "I;16N") or (image.mode == "I" and image.format == "PPM"):
        return "I;16"
    if image.mode in DTYPES:
        return image.mode
    raise PoolError(
        f"pictures of mode {image.mode} can't be pooled", "convert it first to RGB or grey"
    )


def array_mode(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """The mode of an array that says nothing of its channels; none of them is taken for alpha."""
    if len(shape) == 3 and shape[2] == 1:
        return ARRAY
    channels = shape[2] if len(shape) == 3 else 1
    return PLAIN.get((dtype.newbyteorder("="), channels), ARRAY)


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The array turned as EXIF's tag 274 asks: a view."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def scale_key(image: Image.Image) -> None:
    """Widen the transparent grey of a 2- or 4-bit PNG as Pillow widens its pixels."""
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    raw_mode = tiles[0].args if tiles else None
    if isinstance(key, int) and raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = key * 255 // (3 if raw_mode == "L;2" else 15)


class Bands:
    """The pixels of a loaded image, copied out of Pillow as they are asked for.

    `numpy.asarray` would make one more picture, from pieces of 64 KB, which takes ten times as
    long; what has to be converted is converted band by band too.

    Attributes:
        shape: (H, W) or (H, W, C) of the mode.
        dtype: the mode's type.
        spare: whether rows come with one more channel, which means nothing: so Pillow keeps RGB,
            and so it is copied, and pooled, faster than three channels.
    """

    def __init__(self, image: Image.Image, mode: str) -> None:
        """Keep the image."""
        width, height = image.size
        channels = (CHANNELS[mode],) if mode in CHANNELS else ()
        self.shape: tuple[int, ...] = (height, width, *channels)
        self.dtype = DTYPES[mode]
        self.spare = mode == image.mode == "RGB"
        self._image, self._mode = image, mode

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Some rows, with the spare channel."""
        top, bottom, _ = rows.indices(self.shape[0])
        array = _rows(self._image, "RGBX" if self.spare else self._mode, top, bottom)
        return array if array.dtype == self.dtype else array.astype(self.dtype)


def to_array(pixels: Bands | NDArray[Any]) -> NDArray[Any]:
    """All pixels, in rows that stay in the cache while they are copied."""
    if not isinstance(pixels, Bands):
        return pixels
    height, width, *channels = pixels.shape
    array = np.empty(pixels.shape, pixels.dtype)
    step = max(1, BAND_BYTES // (width * array.itemsize * math.prod(channels)))
    for top in range(0, height, step):
        rows = pixels[top : top + step]
        array[top : top + step] = rows[..., :-1] if pixels.spare else rows
    return array


def _rows(image: Image.Image, mode: str, top: int, bottom: int) -> NDArray[Any]:
    """Some rows of a loaded image in a mode, or in RGBX."""
    if image.mode in ("P", "PA"):
        colours = _packed(_band(image, top, bottom).convert(APPLIED.get(mode, mode)))
        return {"L": colours[..., 0], "LA": colours[..., ::3]}.get(mode, colours)
    if image.mode != mode and mode in ("LA", "RGBA"):
        return _packed(_band(image, top, bottom).convert(mode))
    rows = _packed(image, top, bottom, mode if mode == "RGBX" else image.mode)
    return rows ^ LAB_SIGNS if mode == "LAB" else rows


def _band(image: Image.Image, top: int, bottom: int) -> Image.Image:
    """A copy of some rows, with the palette and the key of them all."""
    return image.crop((0, top, image.width, bottom))


def _packed(
    image: Image.Image, top: int = 0, bottom: int | None = None, raw_mode: str = ""
) -> NDArray[Any]:
    """The pixels of some rows as Pillow's raw encoder packs them, in one call; read-only."""
    width, bottom = image.width, image.height if bottom is None else bottom
    kind, raw_mode = ImageMode.getmode(image.mode).typestr, raw_mode or image.mode
    if image.mode == "1":
        raw_mode, kind = "L", "u1"
    channels = 4 if raw_mode == "RGBX" else len(image.getbands())
    shape = (bottom - top, width, channels) if channels > 1 else (bottom - top, width)
    encoder = Image._getencoder(image.mode, "raw", (raw_mode, 0, 1))
    encoder.setimage(image.im, (0, top, width, bottom))
    _, _, octets = encoder.encode(math.prod(shape) * np.dtype(kind).itemsize)
    return np.frombuffer(octets, kind).reshape(shape)


def to_image(array: NDArray[Any], mode: str, stored: str) -> Image.Image:
    """A Pillow image of the pixels, in the mode that a format stores."""
    whole = _with_spare(array) if mode == stored == "RGB" else None
    if whole is not None:
        return Image.frombytes("RGB", whole.shape[1::-1], whole, "raw", "RGBX", 0, 1)
    pixels = np.ascontiguousarray(array, DTYPES[mode])
    if mode == "LAB":
        pixels = pixels ^ LAB_SIGNS
    if mode in ("CMYK", "YCbCr", "LAB"):
        image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    else:
        image = Image.fromarray(pixels)
    return image if stored == mode else image.convert(stored)


def _with_spare(array: NDArray[Any]) -> NDArray[Any] | None:
    """The array with one more channel, of which this one is all but the last; None if it is not."""
    base = array.base
    if (
        isinstance(base, np.ndarray)
        and base.shape == (*array.shape[:2], array.shape[-1] + 1)
        and base.flags.c_contiguous
        and base.strides == array.strides
        and base.ctypes.data == array.ctypes.data
    ):
        return base
    return None


def to_palette(image: Image.Image) -> tuple[Image.Image, bool]:
    """What a GIF holds of a picture, and whether that is all of it.

    Up to 256 colours stay themselves; more are approximated by the nearest. Alpha becomes one
    transparent colour for pixels that are less than half opaque.
    """
    if image.mode in ("1", "L"):
        return image, True
    alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
    if alpha is not None and (alpha == OPAQUE_ALPHA).all():
        image, alpha = image.convert(image.mode[:-1]), None
        if image.mode == "L":
            return image, True
    colour = image.convert("RGB") if alpha is None else _without_hidden(image, alpha)
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


def _without_hidden(image: Image.Image, alpha: NDArray[np.uint8]) -> Image.Image:
    """The colours of a picture, those that won't be seen all like one that will."""
    colours = np.array(image.convert("RGB"))
    visible = alpha >= OPAQUE_FROM
    colours[~visible] = colours[visible][0] if visible.any() else 0
    return Image.fromarray(colours)


def _palette_is_grey(image: Image.Image) -> bool:
    """Whether every entry of the palette has equal red, green and blue; nothing is decoded."""
    if image.palette is None:
        return False
    raw_mode, entries = image.palette.getdata()
    if raw_mode.endswith(";L"):  # all reds first, then all greens
        third = len(entries) // 3
        return entries[:third] == entries[third : 2 * third] == entries[2 * third :]
    step = 4 if raw_mode in ("BGRX", "RGBX", "RGBA", "BGRA") else 3
    return entries[::step] == entries[1::step] == entries[2::step]
