"""Between streams and pictures; alone in importing Pillow, and it opens no path.

`identify` reads the header and refuses what would lose something, `decode` reads the pixels,
`encode` makes the bytes of a file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final

from PIL import Image, ImageColor

from poolcli.codec import deep, modes
from poolcli.codec.encoding import Picture, write_bytes
from poolcli.codec.headers import Header, read_header
from poolcli.codec.modes import CHANNELS, DTYPES
from poolcli.errors import PoolError
from poolcli.formats import Format, Saving

Image.MAX_IMAGE_PIXELS = None  # our own limit, --max-pixels, stands in its place
# A result takes over 16 MB of the decoded picture: pages that need not be given back and zeroed.
Image.core.set_blocks_max(1)  # type: ignore[attr-defined]  # the stub hides it

LAYER: Final = 4
"""Channels of a pixel; what has more counts several times, lest it hold any amount of memory."""

# Without a handler of their own, Python would print their warnings itself.
for _library in ("PIL", "imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def identify(stream: BinaryIO, max_pixels: int, *, allow_depth_loss: bool = False) -> Header:
    """Read the header of a picture, by content; no pixel is decoded.

    Args:
        stream: seekable, at any position.
        max_pixels: the most pixels that a picture may have, of up to four channels each.
        allow_depth_loss: whether samples may be read that only come rounded to 8 bits.

    Raises:
        PoolError: it is no picture of a readable format, is too large, has several frames, or
            its samples don't fit what can be held.
    """
    if not stream.seek(0, 2):
        raise PoolError("the file is empty", "give a picture")
    with _refusing("it can't be read as a picture"):
        header = read_header(stream, allow_depth_loss)
    height, width, *channels = header.shape
    layers = -(-max(channels, default=1) // LAYER)
    if width * height * layers > max_pixels:
        raise PoolError(
            f"it has {width * height / 1e6:.1f} million pixels"
            + (f" of {channels[0]} channels" if layers > 1 else "")
            + f", more than the {max_pixels / 1e6:g} million allowed",
            "raise --max-pixels",
        )
    if header.frames > 1:
        raise PoolError(
            f"it has {header.frames} frames", "save one of them as a picture of its own"
        )
    return header


def decode(header: Header) -> Picture:
    """The upright picture of an identified file.

    Raises:
        PoolError: the pixels can't be decoded.
    """
    with _refusing("it can't be decoded"):
        array = modes.upright(header.read(), header.orientation)
        metadata = header.describe()
    return Picture(array, header.mode, header.maxval, metadata, header.source)


def encode(picture: Picture, target: Format, saving: Saving) -> tuple[memoryview, tuple[str, ...]]:
    """The complete bytes of a file that holds the picture, and what it had to leave out.

    Raises:
        PoolError: the format can't hold the picture, or it can't be written.
    """
    target.check_extent(*picture.array.shape[:2])
    with _refusing(f"it can't be written as {target.name}"):
        octets, notes = write_bytes(picture, target, saving)
    return octets, tuple(notes)


def check_writable(target: Format, stored: str) -> None:
    """Refuse a mode for which an optional library is missing.

    Raises:
        PoolError: naming the library.
    """
    if target.name in ("png", "tiff") and stored not in modes.IMAGE_MODES:
        deep.require(target.name)


def parse_color(text: str) -> tuple[int, int, int]:
    """A colour name, ``#rrggbb`` or ``rgb(…)`` as 8-bit red, green and blue.

    Raises:
        PoolError: it is none of these, or has alpha.
    """
    with suppress(ValueError):
        red, green, blue, *alpha = ImageColor.getrgb(text)
        if not alpha:
            return red, green, blue
    raise PoolError(f"--background is {text!r}", "give an opaque colour like white or #ff8800")


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Whatever a library raises over a stranger's file becomes one `PoolError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PoolError:
        raise
    except MemoryError:
        raise PoolError(f"{what}: not enough memory", "lower --max-pixels to skip it") from None
    except Exception as fault:  # OSError, ValueError, SyntaxError, struct.error …
        raise PoolError(
            f"{what}: {fault or type(fault).__name__}", "is the file complete?"
        ) from fault


__all__ = [
    "CHANNELS",
    "DTYPES",
    "Header",
    "Picture",
    "check_writable",
    "decode",
    "encode",
    "identify",
    "parse_color",
]
