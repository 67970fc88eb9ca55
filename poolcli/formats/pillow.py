"""Between Pillow's images and frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any, BinaryIO, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageMode

from poolcli.errors import PoolError
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Picture, Stored, full_scale

Plugin = TypeVar("Plugin", bound=ImageFile.ImageFile)

PILLOW_MODES: Final = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
"""The modes of frames that Pillow has too."""

NATIVE_16: Final = {"I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16"}
KEYED: Final = {"1": "LA", "L": "LA", "RGB": "RGBA"}
"""What a mode becomes where one of its colours is transparent."""

APPLIED: Final = {"L": "RGB", "LA": "RGBA"}
"""As what a grey palette is applied: Pillow would weigh its equal red, green and blue."""

LAB_SIGNS: Final = np.array([0, 128, 128], np.uint8)
"""What turns a* and b* from two's complement, as files have them, into an order, and back."""

COPIED_BYTES: Final = 1 << 19
"""Bytes that are copied out of Pillow at a time, so that they stay in the cache; measured."""


def lift_limits() -> None:
    """Put our own limit, `--max-pixels`, in the place of Pillow's; for a process that is ours.

    A result takes over 16 MB of the decoded picture at a time: pages that need not be given back
    and zeroed.
    """
    Image.MAX_IMAGE_PIXELS = None
    Image.core.set_blocks_max(1)  # type: ignore[attr-defined]  # the stub hides it


def parse_color(text: str) -> tuple[int, int, int]:
    """Return a colour name, ``#rrggbb`` or ``rgb(…)`` as 8-bit red, green and blue.

    Raises:
        PoolError: it is none of these, or has alpha.
    """
    from PIL import ImageColor

    with suppress(ValueError):
        red, green, blue, *alpha = ImageColor.getrgb(text)
        if not alpha:
            return red, green, blue
    raise PoolError(f"--background is {text!r}", "give an opaque colour like white or #ff8800")


def mode_of(image: Image.Image) -> str:
    """Return the mode of the picture in an opened image, palette and transparent key applied.

    Raises:
        PoolError: the mode is one that can't be pooled.
    """
    keyed = "transparency" in image.info
    if image.mode in ("P", "PA"):
        grey, alpha = _palette_is_grey(image), keyed or image.mode == "PA"
        return ("LA" if grey else "RGBA") if alpha else ("L" if grey else "RGB")
    if keyed and image.mode in KEYED:
        return KEYED[image.mode]
    mode = NATIVE_16.get(image.mode, image.mode)
    if mode not in PILLOW_MODES:
        raise PoolError(
            f"pictures of mode {mode} can't be pooled", "convert it first to RGB or grey"
        )
    return mode


def notes_of(image: Image.Image, orientation: int = 1) -> tuple[str, ...]:
    """Return what is done to the pixels of an image on their way into a picture, in words."""
    return conversions(image.mode in ("P", "PA"), "transparency" in image.info, orientation)


def conversions(has_palette: bool, has_key: bool, orientation: int = 1) -> tuple[str, ...]:
    """Return what is done to pixels on their way into a picture, in words."""
    notes = {
        "its palette was applied": has_palette,
        "its transparent key became alpha": has_key,
        "it was turned upright": orientation != 1,
    }
    return tuple(note for note, applies in notes.items() if applies)


def shape_of(image: Image.Image, mode: str) -> tuple[int, ...]:
    """Return (H, W) or (H, W, C) of an image in a mode."""
    width, height = image.size
    channels = MODES[mode].channels
    return (height, width, channels) if channels > 1 else (height, width)


def palette_of(image: Image.Image, mode: str) -> NDArray[np.uint8] | None:
    """Return the 256 pixels that the indices of a palette image mean, in a mode; else None."""
    if image.mode != "P" or image.palette is None:
        return None
    ramp = Image.frombytes("P", (256, 1), bytes(range(256)))
    ramp.palette = image.palette.copy()
    ramp.palette.dirty = 1
    if "transparency" in image.info:
        ramp.info["transparency"] = image.info["transparency"]
    ramp.load()
    return _reduced(np.asarray(ramp.convert(APPLIED.get(mode, mode)))[0], mode)


def info_of(
    image: Image.Image, stored: Stored, encoding: Encoding, orientation: int = 1
) -> FrameInfo:
    """Return what is known of an opened image, and of its file's header.

    Args:
        image: the image, not decoded yet.
        stored: the samples as the header states them.
        encoding: how the file is encoded.
        orientation: EXIF's orientation that is still to be applied.
    """
    mode = mode_of(image)
    dtype = np.dtype(MODES[mode].dtype)
    return FrameInfo(
        shape_of(image, mode),
        dtype,
        mode,
        full_scale(dtype),
        stored,
        orientation,
        palette_of(image, mode),
        encoding=encoding,
        notes=notes_of(image, orientation),
    )


class PillowFrame:
    """A frame whose pixels Pillow decodes, and which are copied out of it band by band.

    `numpy.asarray` would make one more picture, from pieces of 64 KB, which takes ten times as
    long; what has to be converted is converted band by band too.
    """

    def __init__(
        self,
        image: Image.Image,
        info: FrameInfo,
        metadata: Callable[[], Metadata] = Metadata,
    ) -> None:
        """Keep an opened image, which is not decoded yet.

        Args:
            image: the image; it may be at one of several frames.
            info: what its header says.
            metadata: reads what stands beside the pixels.
        """
        self.info, self.metadata = info, metadata
        self._image = image

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call decodes the image."""
        self._image.load()
        if self.info.palette is not None:
            return _packed(self._image, start, stop)
        return rows_of(self._image, self.info.mode, start, stop)


class PillowReader:
    """A file whose frames Pillow decodes in turn; between two passes no decoded image is kept."""

    def __init__(
        self,
        info: FrameInfo,
        metadata: Metadata,
        image: Image.Image,
        reopen: Callable[[], Image.Image],
        durations: Sequence[Fraction] = (Fraction(0),),
    ) -> None:
        """Keep an opened image until it is decoded.

        Args:
            info: what all frames have in common.
            metadata: what stands beside the pixels.
            image: the opened image, not decoded yet.
            reopen: opens the same file again.
            durations: how long each frame is shown, in milliseconds.
        """
        self.format, self.count = info.encoding.format, len(durations)
        self._info, self._metadata, self._durations = info, metadata, durations
        self._image: Image.Image | None = image
        self._reopen = reopen

    def frames(self) -> Iterator[SeekedFrame]:
        """Yield the frames; the first rows that are asked for decode."""
        image = cache(self._take)
        for number, duration in enumerate(self._durations):
            info = self._info._replace(duration=duration)
            yield SeekedFrame(image, number, info, self._metadata)

    def _take(self) -> Image.Image:
        """Return the opened image, which is no longer kept here; later open the file again."""
        image, self._image = self._image, None
        return self._reopen() if image is None else image


class SeekedFrame:
    """One of the frames of an image that Pillow shows in turn, forwards only."""

    def __init__(
        self, image: Callable[[], Image.Image], number: int, info: FrameInfo, metadata: Metadata
    ) -> None:
        """Keep where it is found; nothing is opened yet."""
        self.info = info
        self._image, self._number, self._metadata = image, number, metadata

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call decodes the frame and those before it."""
        image = self._image()
        image.seek(self._number)
        return PillowFrame(image, self.info).rows(start, stop)

    def metadata(self) -> Metadata:
        """Return what stands beside the pixels."""
        return self._metadata


def rows_of(image: Image.Image, mode: str, start: int, stop: int) -> NDArray[Any]:
    """Return some rows of a decoded image in a mode."""
    if image.mode in ("P", "PA"):
        band = image.crop((0, start, image.width, stop))
        return _reduced(_packed(band.convert(APPLIED.get(mode, mode))), mode)
    if image.mode != mode and mode in ("LA", "RGBA"):
        return _packed(image.crop((0, start, image.width, stop)).convert(mode))
    rows = _packed(image, start, stop)
    if mode == "LAB":
        return rows ^ LAB_SIGNS
    dtype = MODES[mode].dtype
    return rows if rows.dtype == dtype else rows.astype(dtype)


def array_of(image: Image.Image, mode: str) -> NDArray[Any]:
    """Return a whole decoded image in a mode, copied in bands that stay in the cache."""
    shape, dtype = shape_of(image, mode), np.dtype(MODES[mode].dtype)
    array = np.empty(shape, dtype)
    step = max(1, COPIED_BYTES // (dtype.itemsize * math.prod(shape[1:])))
    for top in range(0, shape[0], step):
        array[top : top + step] = rows_of(image, mode, top, min(top + step, shape[0]))
    return array


def to_image(picture: Picture, stored: str) -> Image.Image:
    """Return a Pillow image of a picture, in the mode that its target stores."""
    mode = picture.info.mode
    pixels = np.ascontiguousarray(picture.array, MODES[mode].dtype)
    if mode == "LAB":
        pixels = pixels ^ LAB_SIGNS
    if mode in ("CMYK", "YCbCr", "LAB"):
        image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    else:
        image = Image.fromarray(pixels)
    return image if stored == mode else image.convert(stored)


def require_support(title: str, *, supported: bool) -> None:
    """Refuse a format that this Pillow was built without.

    Raises:
        PoolError: it was.
    """
    if not supported:
        raise PoolError(f"this Pillow was built without {title}", "install Pillow from PyPI")


def open_image(plugin: type[Plugin], stream: Any) -> Plugin:
    """Open a stream by a plugin's own class: `Image.open` would ask Pillow's global limit."""
    stream.seek(0)
    return plugin(stream)


def save_image(file: BinaryIO, image: Image.Image, plugin: str, **arguments: Any) -> None:
    """Encode an image in memory, and write it: Pillow ignores short writes to real files."""
    buffer = BytesIO()
    image.save(buffer, plugin, **arguments)
    file.write(buffer.getbuffer())


def _packed(image: Image.Image, top: int = 0, bottom: int | None = None) -> NDArray[Any]:
    """Return the pixels of some rows as Pillow's raw encoder packs them in one call; read-only."""
    width, bottom = image.width, image.height if bottom is None else bottom
    kind, raw_mode = ImageMode.getmode(image.mode).typestr, image.mode
    if image.mode == "1":
        raw_mode, kind = "L", "u1"
    channels = len(image.getbands())
    shape = (bottom - top, width, channels) if channels > 1 else (bottom - top, width)
    encoder = Image._getencoder(image.mode, "raw", (raw_mode, 0, 1))
    encoder.setimage(image.im, (0, top, width, bottom))
    _, _, octets = encoder.encode(math.prod(shape) * np.dtype(kind).itemsize)
    return np.frombuffer(octets, kind).reshape(shape)


def _reduced(colours: NDArray[Any], mode: str) -> NDArray[Any]:
    """Return the channels of a grey mode from equal red, green and blue; others unchanged."""
    return {"L": colours[..., 0], "LA": colours[..., ::3]}.get(mode, colours)


def _palette_is_grey(image: Image.Image) -> bool:
    """Return whether every palette entry has equal red, green and blue; nothing is decoded."""
    if image.palette is None:
        return False
    raw_mode, entries = image.palette.getdata()
    if raw_mode.endswith(";L"):  # all reds first, then all greens
        third = len(entries) // 3
        return entries[:third] == entries[third : 2 * third] == entries[2 * third :]
    step = 4 if raw_mode in ("BGRX", "RGBX", "RGBA", "BGRA") else 3
    return entries[::step] == entries[1::step] == entries[2::step]
