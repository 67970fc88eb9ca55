"""Between streams and pictures; alone in importing Pillow, and it opens no path.

`identify` reads the header and refuses what would lose something, `decode` reads the pixels,
`encode` makes the bytes of a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, JpegImagePlugin, UnidentifiedImageError, features

from poolcli.codec import metadata as meta
from poolcli.codec import modes, samples
from poolcli.codec.metadata import Metadata
from poolcli.codec.modes import CHANNELS, DTYPES
from poolcli.errors import PoolError
from poolcli.formats import READABLE, Format, OptionValue, Saving

Image.MAX_IMAGE_PIXELS = None  # our own limit, --max-pixels, stands in its place

LOSSY: Final = ("jpeg", "avif")
DEFAULTS: Final[dict[str, dict[str, OptionValue]]] = {
    "png": {"compress_level": 4},
    "jpeg": {"quality": 90},
    "webp": {"exact": True},
    "tiff": {"compression": "deflate"},
    "avif": {"quality": 80},
}
"""What is asked of Pillow where the user says nothing."""

COMPRESSIONS: Final = {"none": "raw", "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, and what is needed to write them back.

    Attributes:
        array: (H, W) or (H, W, C), upright.
        mode: "1", "L", "LA", "RGB", "RGBA", "I;16", "I" or "F".
        metadata: what the file said beside its pixels.
        lossy: whether the file's format had lost something already.
        jpeg_tables: the quantisation tables and subsampling of a JPEG, as Pillow's arguments.
    """

    array: NDArray[Any]
    mode: str
    metadata: Metadata = field(default_factory=Metadata)
    lossy: bool = False
    jpeg_tables: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says of its picture.

    Attributes:
        format: the name of its format in `poolcli.formats`.
        mode: the mode of the picture, palettes and transparency keys applied.
        shape: (H, W) or (H, W, C) of the upright picture.
        frames: the number of frames.
        orientation: EXIF's, 1 where the pixels are stored upright.
        lossy: whether the format has lost something already.
        image: Pillow's image, not loaded.
    """

    format: str
    mode: str
    shape: tuple[int, ...]
    frames: int
    orientation: int
    lossy: bool
    image: Image.Image


def identify(stream: BinaryIO, max_pixels: int) -> Header:
    """Read the header of a picture, by content; no pixel is decoded.

    Args:
        stream: seekable, at any position.
        max_pixels: the most pixels that a picture may have.

    Raises:
        PoolError: it is no picture of a readable format, is too large, has several frames, or
            its samples don't fit what can be held.
    """
    if not stream.seek(0, 2):
        raise PoolError("the file is empty", "give a picture")
    stream.seek(0)
    with _refusing("it can't be read as a picture"):
        try:
            image = Image.open(stream, formats=[name for name in READABLE if _has(name)])
        except UnidentifiedImageError:
            raise PoolError(
                "it is no picture of a known format", f"give {', '.join(READABLE)}"
            ) from None
        turned = meta.orientation(image)
        width, height = image.size
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if width * height > max_pixels:
        raise PoolError(
            f"it has {width * height / 1e6:.1f} million pixels, more than the "
            f"{max_pixels / 1e6:g} million allowed",
            "raise --max-pixels",
        )
    if frames > 1:
        raise PoolError(f"it has {frames} frames", "save one of them as a picture of its own")
    with _refusing("its header can't be read"):
        mode = modes.picture_mode(image)
        samples.check(image, stream)
    if turned >= 5 and image.format != "TIFF":  # Pillow shows a TIFF's size upright already
        height, width = width, height
    channels = (CHANNELS[mode],) if mode in CHANNELS else ()
    name = {"MPO": "jpeg", "PPM": "pfm" if mode == "F" else "pnm"}.get(
        image.format or "", (image.format or "").lower()
    )
    lossy = name in LOSSY or (name == "webp" and _is_lossy_webp(stream))
    return Header(name, mode, (height, width, *channels), frames, turned, lossy, image)


def decode(header: Header) -> Picture:
    """The upright picture of an identified file.

    Raises:
        PoolError: the pixels can't be decoded.
    """
    image = header.image
    with _refusing("it can't be decoded"):
        modes.scale_key(image)
        image.load()
        metadata = meta.read(image, header.orientation)
        if header.orientation != 1 and header.format != "tiff":  # Pillow turned a TIFF already
            image = ImageOps.exif_transpose(image)
        array = modes.to_array(image, header.mode)
    return Picture(
        array=array,
        mode=header.mode,
        metadata=metadata,
        lossy=header.lossy,
        jpeg_tables=_jpeg_tables(header.image),
    )


def encode(picture: Picture, target: Format, saving: Saving) -> tuple[memoryview, tuple[str, ...]]:
    """The complete bytes of a file that holds the picture, and what it had to leave out.

    Raises:
        PoolError: the format can't hold the picture, or Pillow can't write it.
    """
    stored = target.stored_mode(picture.mode)
    target.check_extent(*picture.array.shape[:2])
    notes = [f"{target.name} has no place for the {what}" for what in picture.metadata.lost(target)]
    buffer = BytesIO()
    with _refusing(f"it can't be written as {target.name}"):
        image = modes.to_image(picture.array, picture.mode, stored)
        arguments = {
            **DEFAULTS.get(target.name, {}),
            **_kept(picture, target, saving),
            **picture.metadata.arguments(target, saving.strip),
            **saving.for_format(target),
        }
        if "compression" in arguments:
            word = arguments["compression"]
            arguments["compression"] = COMPRESSIONS.get(word, word)
        if target.name == "gif":
            image, complete = modes.to_palette(image)
            if not complete:
                notes.append("GIF holds 256 colours and alpha on or off: the rest is approximated")
        image.save(buffer, target.pillow, **arguments)
    return buffer.getbuffer(), tuple(notes)


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


def _has(name: str) -> bool:
    """Whether this Pillow can read a format at all."""
    return name not in ("WEBP", "AVIF") or bool(features.check_module(name.lower()))


def _kept(picture: Picture, target: Format, saving: Saving) -> dict[str, Any]:
    """How the source was compressed, where its own format is written again."""
    if target.name == "webp":
        return {"lossless": not picture.lossy and saving.quality is None}
    if target.name == "jpeg" and saving.quality is None and picture.jpeg_tables:
        grey = picture.array.ndim == 2
        tables = picture.jpeg_tables
        kept = {"qtables": tables["qtables"]} if grey else tables
        return {"quality": -1, **kept}
    return {}


def _jpeg_tables(image: Image.Image) -> dict[str, Any]:
    """The quantisation tables and subsampling of a JPEG, else nothing."""
    tables = getattr(image, "quantization", None)
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not tables:
        return {}
    kept: dict[str, Any] = {"qtables": tables}
    subsampling = JpegImagePlugin.get_sampling(image)
    if subsampling >= 0:
        kept["subsampling"] = subsampling
    return kept


def _is_lossy_webp(stream: BinaryIO) -> bool:
    """Whether a WebP holds a VP8 chunk, the lossy kind, rather than VP8L."""
    stream.seek(0)
    return b"VP8 " in stream.read()


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
    "decode",
    "encode",
    "identify",
    "parse_color",
]
