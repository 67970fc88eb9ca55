"""Between streams and pictures; alone in importing Pillow, and it opens no path.

`identify` reads the header and refuses what would lose something, `decode` reads the pixels,
`encode` makes the bytes of a file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeAlias

from PIL import Image, PngImagePlugin

from poolcli.codec import deep, modes
from poolcli.codec.encoding import Decoded, Picture, write_bytes
from poolcli.codec.headers import Allowance, Header
from poolcli.codec.identify import check_start, read_header
from poolcli.codec.modes import CHANNELS, DTYPES
from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.saving import Saving

Image.MAX_IMAGE_PIXELS = None  # our own limit, --max-pixels, stands in its place
# Profiles of printers have several megabytes; of all texts together Pillow takes 64.
PngImagePlugin.MAX_TEXT_CHUNK = 1 << 22
# A result takes over 16 MB of the decoded picture: pages that need not be given back and zeroed.
Image.core.set_blocks_max(1)  # type: ignore[attr-defined]  # the stub hides it

Octets: TypeAlias = bytes | bytearray | memoryview

# Without a handler of their own, Python would print their warnings itself.
for _library in ("PIL", "imagecodecs", "tifffile"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


def identify(
    stream: BinaryIO, max_pixels: int, *, allow_depth_loss: bool = False, frame: int | None = None
) -> Header:
    """Read the header of a picture, by content; no pixel is decoded.

    Args:
        stream: seekable, at any position.
        max_pixels: the most pixels, of up to four channels each, that one frame may have.
        allow_depth_loss: whether samples may be read that only come rounded to 8 bits.
        frame: the only frame to take, from 0, or None for all.

    Raises:
        PoolError: it is no picture of a readable format, is too large, has no such frame, or
            its samples don't fit what can be held.
    """
    with _refusing("it can't be read as a picture"), _limited(max_pixels):
        if not stream.seek(0, 2):
            raise PoolError("the file is empty", "give a picture")
        header = read_header(stream, Allowance(max_pixels, allow_depth_loss))
        return header if frame is None else header.only(frame)


def pages(header: Header) -> Iterator[Header]:
    """The header of each page; of what is not pages, the one there is.

    Raises:
        PoolError: a page is refused, as `identify` says.
    """
    if header.pages is None:
        yield header
        return
    headers = header.pages()
    for _ in range(header.taken):
        with _refusing("it can't be read as a picture"):
            page = next(headers)
        yield page


def decode(header: Header) -> Picture:
    """The upright picture of an identified file.

    Raises:
        PoolError: the pixels can't be decoded.
    """
    one = _decoded(header)
    return Picture(one.array, one.mode, one.maxval, one.metadata, one.source)


def _decoded(header: Header) -> Decoded:
    """The same; unless it had to be turned, its pixels are still to be copied."""
    with _refusing("it can't be decoded"):
        pixels = header.read()
        if header.orientation != 1:
            pixels = modes.upright(modes.to_array(pixels), header.orientation)
        metadata = header.describe()
    return Decoded(pixels, header.mode, header.maxval, metadata, header.source)


def decode_all(header: Header) -> Iterator[Decoded]:
    """The upright pictures of all frames, one at a time.

    Raises:
        PoolError: the pixels can't be decoded.
    """
    if header.pages is None and header.film is None:
        only = [header]
        del header
        yield _decoded(only.pop())  # while it is encoded, nobody holds the image it came from
        return
    if header.film is None:
        yield from map(_decoded, pages(header))
        return
    with _refusing("it can't be decoded"):
        metadata, shots = header.describe(), header.film()
    for _ in range(header.taken):
        with _refusing("it can't be decoded"):
            shot = next(shots)
            array = modes.upright(shot.array, header.orientation)
        yield Decoded(array, header.mode, header.maxval, metadata, header.source, shot.duration)


def encode(picture: Picture, target: Format, saving: Saving) -> tuple[Octets, tuple[str, ...]]:
    """The complete bytes of a file that holds the picture, and what it had to leave out.

    Raises:
        PoolError: the format can't hold the picture, or it can't be written.
    """
    target.check_extent(*picture.array.shape[:2])
    with _refusing(f"it can't be written as {target.name}"):
        octets, notes = write_bytes(picture, target, saving)
    return octets, tuple(notes)


def encode_all(
    pictures: Iterator[Picture], frames: int, target: Format, saving: Saving
) -> tuple[Octets, tuple[str, ...]]:
    """The complete bytes of a file that holds several pictures, and what it had to leave out.

    Args:
        pictures: taken one at a time.
        frames: how many they are.
        target: a format that holds several.
        saving: how they are written.

    Raises:
        PoolError: as `encode`, or whatever the iterator raises.
    """
    from poolcli.codec.sequences import write_all

    with _refusing(f"it can't be written as {target.name}"):
        octets, notes = write_all(pictures, frames, target, saving)
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
    from PIL import ImageColor

    with suppress(ValueError):
        red, green, blue, *alpha = ImageColor.getrgb(text)
        if not alpha:
            return red, green, blue
    raise PoolError(f"--background is {text!r}", "give an opaque colour like white or #ff8800")


@contextmanager
def _limited(max_pixels: int) -> Iterator[None]:
    """Let Pillow refuse what it would allocate for a header alone, as for a WebP's canvas."""
    Image.MAX_IMAGE_PIXELS = max(1, max_pixels // 2)  # it refuses twice what it is told
    try:
        yield
    except Image.DecompressionBombError:
        raise PoolError(
            f"it has more than the {max_pixels / 1e6:g} million pixels allowed",
            "raise --max-pixels",
        ) from None
    finally:
        Image.MAX_IMAGE_PIXELS = None


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
    "Decoded",
    "Header",
    "Picture",
    "check_start",
    "check_writable",
    "decode",
    "decode_all",
    "encode",
    "encode_all",
    "identify",
    "pages",
    "parse_color",
]
