"""What a file's header says, before any pixel is decoded; what would be lost is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError, features

from poolcli.codec import chunks, deep, modes, npy, pnm, samples
from poolcli.codec import metadata as meta
from poolcli.codec.metadata import Metadata
from poolcli.codec.modes import CHANNELS, DTYPES
from poolcli.errors import PoolError
from poolcli.formats import READABLE

TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LOSSY: Final = ("jpeg", "avif")


@dataclass(frozen=True, slots=True)
class Storage:
    """How a file stores its picture.

    Attributes:
        lossy: whether something was lost already when it was written.
        jpeg_tables: the quantisation tables and subsampling of a JPEG, as Pillow's arguments.
        tiff_layout: how the channels of a deep TIFF are meant, as tifffile's arguments.
    """

    lossy: bool = False
    jpeg_tables: dict[str, Any] = field(default_factory=dict)
    tiff_layout: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says of its picture.

    Attributes:
        format: the name of its format in `poolcli.formats`.
        mode: the mode of the picture, palettes and transparency keys applied.
        dtype: the type of its samples.
        shape: (H, W) or (H, W, C) of the upright picture.
        maxval: full scale of unsigned samples; 0 where there is none.
        frames: the number of frames.
        orientation: EXIF's for the pixels as `read` gives them; 1 where these are upright.
        read: decodes the pixels.
        describe: reads what stands beside them; called after `read`.
        unlike_srgb: says why the values aren't sRGB's code for light; empty where they are.
        source: how the file is stored.
        converted: what is done to its pixels before they are pooled, in words.
        rounded: whether they only come rounded to 8 bits.
    """

    format: str
    mode: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    maxval: int
    frames: int
    orientation: int
    read: Callable[[], NDArray[Any]]
    describe: Callable[[], Metadata]
    unlike_srgb: Callable[[], str]
    source: Storage
    converted: tuple[str, ...] = ()
    rounded: bool = False


def read_header(stream: BinaryIO, allow_depth_loss: bool) -> Header:
    """The header of a picture or an array, by content.

    Raises:
        PoolError: it is neither, or its samples don't fit what can be held.
    """
    stream.seek(0)
    magic = stream.read(8)
    if magic.startswith(npy.MAGIC):
        return _identify_npy(stream)
    return _identify_image(stream, allow_depth_loss, magic)


def _identify_npy(stream: BinaryIO) -> Header:
    """A NumPy array: none of its channels is taken for alpha."""
    head = npy.read_header(stream)
    return Header(
        format="npy",
        mode=modes.array_mode(head.shape, head.dtype),
        dtype=head.dtype,
        shape=head.shape,
        maxval=_full_scale(head.dtype),
        frames=1,
        orientation=1,
        read=lambda: npy.read(stream, head),
        describe=Metadata,
        unlike_srgb=str,
        source=Storage(),
    )


def _identify_image(stream: BinaryIO, allow_depth_loss: bool, magic: bytes) -> Header:
    """A picture that Pillow knows, and holds or not."""
    try:
        stream.seek(0)
        image = Image.open(stream, formats=[name for name in READABLE if _has(name)])
    except UnidentifiedImageError:
        if magic[:4] in TIFF_MAGICS:
            return _identify_tiff(stream)
        raise PoolError(
            "it is no picture of a known format", f"give {', '.join(READABLE)} or NPY"
        ) from None
    if image.format == "TIFF" and samples.tiff_is_deep(image):
        return _identify_tiff(stream)
    header = _header_of(image, stream)
    if image.format == "PNG" and samples.png_is_deep(image, stream):
        return _as_deep_png(header, image, stream)
    if image.format == "PPM" and (head := pnm.read_header(stream)) is not None:
        return _as_pnm(header, head, stream)
    if image.format == "AVIF":
        return replace(header, rounded=samples.avif_is_rounded(stream, allow_depth_loss))
    return header


def _header_of(image: Image.Image, stream: BinaryIO) -> Header:
    """What Pillow says."""
    found = meta.find_exif(image, stream)
    turned = found.orientation
    name = {"MPO": "jpeg", "PPM": "pfm" if image.mode == "F" else "pnm"}.get(
        image.format or "", (image.format or "").lower()
    )
    mode = modes.picture_mode(image)
    width, height = image.size
    # Pillow turns a TIFF itself when it loads, and shows its size upright already.
    if turned >= 5 and name != "tiff":
        height, width = width, height
    channels = (CHANNELS[mode],) if mode in CHANNELS else ()
    lossy = name in LOSSY or (name == "webp" and b"VP8 " in chunks.riff_names(stream))

    def read() -> NDArray[Any]:
        modes.scale_key(image)
        image.load()
        return modes.to_array(image, mode)

    return Header(
        format=name,
        mode=mode,
        dtype=DTYPES[mode],
        shape=(height, width, *channels),
        maxval=_full_scale(DTYPES[mode]),
        frames=1 if image.format == "MPO" else getattr(image, "n_frames", 1),
        orientation=1 if name == "tiff" else turned,
        read=read,
        describe=lambda: meta.read(image, found, turned=turned >= 5),
        unlike_srgb=lambda: meta.find_light(image, stream),
        source=Storage(lossy=lossy, jpeg_tables=_jpeg_tables(image)),
        converted=tuple(_converted(image, turned)),
    )


def _converted(image: Image.Image, orientation: int) -> Iterator[str]:
    """What is done to the pixels of an image on their way into a picture, in words."""
    if image.mode in ("P", "PA"):
        yield "its palette was applied"
    if "transparency" in image.info:
        yield "its transparent key became alpha"
    if orientation != 1:
        yield "it was turned upright"


def _as_deep_png(header: Header, image: Image.Image, stream: BinaryIO) -> Header:
    """The same with all 16 bits; Pillow still knows the metadata."""
    grey = image.tile[0].args in ("I;16B", "LA;16B")  # type: ignore[attr-defined]  # ImageFile's
    deep.require("png")
    alpha = "transparency" in image.info or image.tile[0].args != "RGB;16B"  # type: ignore[attr-defined]
    mode = ("LA;16" if grey else "RGBA;16") if alpha else "RGB;16"
    return replace(
        header,
        mode=mode,
        dtype=DTYPES[mode],
        shape=(*header.shape[:2], CHANNELS[mode]),
        maxval=_full_scale(DTYPES[mode]),
        read=lambda: deep.read_png(stream),
    )


def _as_pnm(header: Header, head: pnm.Header, stream: BinaryIO) -> Header:
    """The same in the file's own scale, where Pillow would change it."""
    grey = len(head.shape) == 2
    if head.maxval == 255:
        return header
    mode = ("I;16" if grey else "RGB;16") if head.maxval == 65535 else ("L;M" if grey else "RGB;M")
    return replace(
        header,
        mode=mode,
        dtype=head.dtype.newbyteorder("="),
        shape=head.shape,
        maxval=head.maxval,
        read=lambda: pnm.read(stream, head),
    )


def _identify_tiff(stream: BinaryIO) -> Header:
    """A TIFF of samples that Pillow can't hold."""
    tiff, pages = deep.open_tiff(stream)
    turned = int(tiff.tag(deep.ORIENTATION, 1))
    turned = turned if turned in range(1, 9) else 1
    height, width, *channels = tiff.shape
    if turned >= 5:
        height, width = width, height

    def describe() -> Metadata:
        dpi = tiff.dpi
        icc_profile = tiff.tag(deep.ICC_PROFILE)
        return Metadata(
            icc_profile=icc_profile if isinstance(icc_profile, bytes) else None,
            dpi=dpi[::-1] if dpi and turned >= 5 else dpi,
            dropped=("descriptive tags",) if any(map(tiff.tag, meta.TIFF_TAGS)) else (),
        )

    return Header(
        format="tiff",
        mode=tiff.mode,
        dtype=tiff.dtype,
        shape=(height, width, *channels),
        maxval=_full_scale(tiff.dtype),
        frames=pages,
        orientation=turned,
        read=tiff.read,
        describe=describe,
        unlike_srgb=lambda: (
            "its colour profile was not looked at" if describe().icc_profile else ""
        ),
        source=Storage(tiff_layout=tiff.layout),
    )


def _full_scale(dtype: np.dtype[Any]) -> int:
    """The largest value of an unsigned type; 1 for bool, 0 for others."""
    if dtype.kind == "b":
        return 1
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 0


def _has(name: str) -> bool:
    """Whether this Pillow can read a format at all."""
    return name not in ("WEBP", "AVIF") or bool(features.check_module(name.lower()))


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
