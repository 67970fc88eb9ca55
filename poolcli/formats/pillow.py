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
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Picture, Stored, info_in_mode

Plugin = TypeVar("Plugin", bound=ImageFile.ImageFile)

PILLOW_MODES: Final = ("1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
"""The modes of frames that Pillow has too."""

NATIVE_16: Final = {"I;16B": "I;16", "I;16L": "I;16", "I;16N": "I;16"}
ENTRIES: Final = 256
OPAQUE_BLACK: Final = (0, 0, 0, 255)
CHANNELS: Final[dict[str, Any]] = {"L": 0, "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}
"""What of red, green, blue and alpha a mode holds; grey modes where the three are equal."""

LAB_SIGNS: Final = np.array([0, 128, 128], np.uint8)
"""What turns a* and b* from two's complement, as files have them, into an order, and back."""


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


def info_of(
    image: Image.Image, stored: Stored, encoding: Encoding, orientation: int = 1
) -> FrameInfo:
    """Return what is known of an opened image, and of its file's header.

    Args:
        image: the image, not decoded yet.
        stored: the samples as the header states them.
        encoding: how the file is encoded.
        orientation: EXIF's orientation that is still to be applied.

    Raises:
        PoolError: its mode is one that can't be pooled.
    """
    mode, palette = NATIVE_16.get(image.mode, image.mode), None
    has_palette = mode in ("P", "PA")
    if has_palette:
        entries = _entries(image)
        mode = palette_mode(entries, has_alpha=image.mode == "PA")
        palette = palette_pixels(entries, b"", mode) if image.mode == "P" else None
    if mode not in PILLOW_MODES:
        raise PoolError(
            f"pictures of mode {mode} can't be pooled", "convert it first to RGB or grey"
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


def conversions(has_palette: bool, has_key: bool, orientation: int = 1) -> tuple[str, ...]:
    """Return what is done to pixels on their way into a picture, in words."""
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


def palette_pixels(entries: bytes, alphas: bytes, mode: str) -> NDArray[np.uint8]:
    """Return the 256 pixels that indices mean.

    Args:
        entries: red, green and blue of each entry; missing ones are black.
        alphas: of the first entries; the others are opaque.
        mode: a mode of 8 bits.
    """
    pixels = np.full((ENTRIES, 4), OPAQUE_BLACK, np.uint8)
    count = min(len(entries) // 3, ENTRIES)
    pixels[:count, :3] = np.frombuffer(entries, np.uint8, 3 * count).reshape(count, 3)
    pixels[: len(alphas), 3] = np.frombuffer(alphas[:ENTRIES], np.uint8)
    return np.ascontiguousarray(pixels[:, CHANNELS[mode]])


class PillowFrame:
    """A frame whose pixels Pillow decodes, and which are copied out of it band by band.

    `numpy.asarray` would make one more picture, from pieces of 64 KB, which takes ten times as
    long; what has to be converted is converted band by band too.
    """

    def __init__(
        self,
        info: FrameInfo,
        image: Callable[[], Image.Image],
        metadata: Callable[[], Metadata],
        number: int = 0,
    ) -> None:
        """Keep where it is found; nothing is opened yet.

        Args:
            info: what its header says.
            image: returns the opened image, each time the same.
            metadata: reads what stands beside the pixels.
            number: of the frame, if the image shows several in turn, forwards only.
        """
        self.info, self.metadata = info, metadata
        self._image, self._number = image, number

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call decodes the frame and those before it."""
        image = self._image()
        image.seek(self._number)
        image.load()
        if self.info.palette is not None:
            return _packed(image, start, stop)
        return rows_of(image, self.info.mode, start, stop)


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

    def frames(self) -> Iterator[PillowFrame]:
        """Yield the frames; the first rows that are asked for decode."""
        image = cache(self._take)
        for number, duration in enumerate(self._durations):
            info = self._info._replace(duration=duration)
            yield PillowFrame(info, image, lambda: self._metadata, number)

    def _take(self) -> Image.Image:
        """Return the opened image, which is no longer kept here; later open the file again."""
        image, self._image = self._image, None
        return self._reopen() if image is None else image


def rows_of(image: Image.Image, mode: str, start: int, stop: int) -> NDArray[Any]:
    """Return some rows of a decoded image in a mode."""
    if image.mode != mode and mode in ("LA", "RGBA"):
        return _packed(image.crop((0, start, image.width, stop)).convert(mode))
    rows = _packed(image, start, stop)
    if mode == "LAB":
        return rows ^ LAB_SIGNS
    dtype = MODES[mode].dtype
    return rows if rows.dtype == dtype else rows.astype(dtype)


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


def encoded(image: Image.Image, plugin: str, **arguments: Any) -> memoryview:
    """Encode an image in memory."""
    buffer = BytesIO()
    image.save(buffer, plugin, **arguments)
    return buffer.getbuffer()


def save_image(file: BinaryIO, image: Image.Image, plugin: str, **arguments: Any) -> None:
    """Encode an image in memory, and write it: Pillow ignores short writes to real files."""
    file.write(encoded(image, plugin, **arguments))


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


def _entries(image: Image.Image) -> bytes:
    """Return red, green and blue of each entry of a palette; nothing is decoded."""
    probe = Image.new("P", (1, 1))
    probe.putpalette(image.palette or b"")
    return bytes(probe.getpalette() or ())
