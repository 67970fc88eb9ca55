"""Convert Pillow's images to frames, and pictures to Pillow's images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageMode

from poolcli import process
from poolcli.errors import PoolError
from poolcli.formats.indexed import conversions, palette_mode, palette_pixels
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Picture, Stored, info_in_mode

Plugin = TypeVar("Plugin", bound=ImageFile.ImageFile)

PILLOW_MODES: Final = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
"""The modes of frames that Pillow has too."""

NATIVE_16: Final = {"I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16"}
"""Pillow's names for 16-bit grey in a certain byte order; frames are in the machine's order."""

LAB_SIGNS: Final = np.array([0, 128, 128], np.uint8)
"""The bits to flip in L*, a* and b*: files store a* and b* in two's complement.

With the top bit flipped, unsigned comparison orders them correctly. The same flip undoes it.
"""


def set_up() -> None:
    """Switch off Pillow's pixel limit and log, and let it keep one block of freed memory.

    All of this is global, so that it is done only in a process that poolcli has started.
    `--max-pixels` takes the place of the limit.
    """
    Image.MAX_IMAGE_PIXELS = None
    # A freed block of 16 MB is reused: otherwise the kernel takes it back and zeroes a new one.
    Image.core.set_blocks_max(1)  # type: ignore[attr-defined]  # the stub hides it
    logging.getLogger().addHandler(logging.NullHandler())


process.when_set_up(set_up)


def parse_color(text: str) -> tuple[int, int, int]:
    """Return a colour name, ``#rrggbb`` or ``rgb(…)`` as 8-bit red, green and blue.

    Raises:
        PoolError: the text is not such a colour, or it has alpha.
    """
    from PIL import ImageColor

    with suppress(ValueError):
        red, green, blue, *alpha = ImageColor.getrgb(text)
        if not alpha:
            return red, green, blue
    raise PoolError(f"--background is {text!r}", "give an opaque colour like white or #ff8800")


def info_of(
    image: Image.Image, stored: Stored, encoding: Encoding, orientation: int = 1
) -> FrameInfo:
    """Return the `FrameInfo` of an image that Pillow has opened.

    Args:
        image: the image, not decoded yet.
        stored: the samples as the header states them.
        encoding: how the file is encoded.
        orientation: EXIF's orientation, which is not applied yet.

    Raises:
        PoolError: pictures of its mode can't be pooled.
    """
    mode, palette = NATIVE_16.get(image.mode, image.mode), None
    has_palette = mode in ("P", "PA")
    if has_palette:
        entries = _entries(image)
        mode = palette_mode(entries, has_alpha=image.mode == "PA")
        palette = palette_pixels(entries, b"", mode) if image.mode == "P" else None
    if mode not in PILLOW_MODES:
        raise PoolError(
            f"pictures of Pillow's mode {mode} can't be pooled", "convert it first to RGB or grey"
        )
    return info_in_mode(
        image.size[::-1],
        mode,
        stored,
        orientation=orientation,
        palette=palette,
        encoding=encoding,
        notes=conversions(has_palette, False, orientation),
    )


class PillowFrame:
    """A frame that Pillow decodes at once, and from which bands of rows are copied.

    `numpy.asarray` would copy the whole picture in pieces of 64 KB, which takes ten times as long.
    """

    def __init__(
        self,
        info: FrameInfo,
        image: Callable[[], Image.Image],
        metadata: Callable[[], Metadata],
        number: int = 0,
    ) -> None:
        """Keep the arguments; nothing is opened yet.

        Args:
            info: the contents of the header.
            image: returns the opened image, the same one at each call.
            metadata: reads the metadata.
            number: the number of the frame in the image; frames must be decoded in order.
        """
        self.info, self.metadata = info, metadata
        self._image, self._number = image, number

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop; the first call decodes up to this frame."""
        image = self._image()
        image.seek(self._number)
        image.load()
        if self.info.palette is not None:
            return _packed(image, start, stop)
        return rows_of(image, self.info.mode, start, stop)


class PillowReader:
    """The reader of a file whose frames Pillow decodes in order.

    The decoded image is freed after each pass; another pass opens the file again.
    """

    def __init__(
        self,
        info: FrameInfo,
        metadata: Metadata,
        image: Image.Image,
        reopen: Callable[[], Image.Image],
        durations: Sequence[Fraction] = (Fraction(0),),
    ) -> None:
        """Keep the arguments.

        Args:
            info: the `FrameInfo` of every frame, apart from the duration.
            metadata: the metadata of the file.
            image: the opened image, not decoded yet.
            reopen: opens the same file again.
            durations: how long each frame is shown, in milliseconds.
        """
        self.format, self.count = info.encoding.format, len(durations)
        self._info, self._metadata, self._durations = info, metadata, durations
        self._image: Image.Image | None = image
        self._reopen = reopen

    def frames(self) -> Iterator[PillowFrame]:
        """Yield the frames; a frame is decoded when its rows are asked for."""
        # All frames of a pass share one image, and it is freed together with them.
        image = cache(self._take)
        for number, duration in enumerate(self._durations):
            info = self._info._replace(duration=duration)
            yield PillowFrame(info, image, lambda: self._metadata, number)

    def _take(self) -> Image.Image:
        """Return the opened image and drop our reference; open the file again in later calls."""
        image, self._image = self._image, None
        return self._reopen() if image is None else image


def rows_of(image: Image.Image, mode: str, start: int, stop: int) -> NDArray[Any]:
    """Return the rows from start to stop of a decoded image, converted to a mode."""
    if image.mode != mode and mode in ("LA", "RGBA"):
        return _packed(image.crop((0, start, image.width, stop)).convert(mode))
    rows = _packed(image, start, stop)
    if mode == "LAB":
        return rows ^ LAB_SIGNS
    dtype = MODES[mode].dtype
    return rows if rows.dtype == dtype else rows.astype(dtype)


def to_image(picture: Picture, stored: str) -> Image.Image:
    """Return a picture as a Pillow image, converted to the mode ``stored``."""
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
    """Refuse a format if Pillow was built without it.

    Raises:
        PoolError: the format is not supported.
    """
    if not supported:
        raise PoolError(f"this Pillow was built without {title}", "install Pillow from PyPI")


def open_image(plugin: type[Plugin], stream: Any) -> Plugin:
    """Open a stream with a plugin's class; `Image.open` would apply Pillow's global pixel limit."""
    stream.seek(0)
    return plugin(stream)


def encoded(image: Image.Image, plugin: str, **arguments: Any) -> memoryview:
    """Encode an image in memory; Pillow would ignore short writes to files."""
    buffer = BytesIO()
    image.save(buffer, plugin, **arguments)
    return buffer.getbuffer()


def _packed(image: Image.Image, top: int = 0, bottom: int | None = None) -> NDArray[Any]:
    """Return the pixels of some rows as a read-only array; Pillow's raw encoder packs them at once.

    Args:
        image: a decoded image.
        top: the first row.
        bottom: the row after the last one; None for the height.
    """
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


def _entries(image: Image.Image) -> bytes:
    """Return red, green and blue of each entry of a palette, without decoding the image."""
    # `getpalette` of the image itself would decode it, so its palette is given to another image.
    probe = Image.new("P", (1, 1))
    probe.putpalette(image.palette or b"")
    return bytes(probe.getpalette() or ())
