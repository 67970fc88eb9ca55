"""Reading headers, by content: what a file holds, and who can decode it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from poolcli.codec import chunks, deep, modes, npy, pnm, samples
from poolcli.codec import metadata as meta
from poolcli.codec.exif import DESCRIPTIVE, ExifFound, find_exif, hide_xmp
from poolcli.codec.headers import Allowance, Header, Storage, full_scale
from poolcli.codec.metadata import Metadata
from poolcli.codec.modes import CHANNELS, DTYPES
from poolcli.codec.names import OPAQUE, READABLE
from poolcli.errors import PoolError

if TYPE_CHECKING:
    from poolcli.codec.film import Film, Shot

TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DAMAGED: Final = ("its metadata is damaged, and was dropped",)
STARTS: Final = rb"\x89PNG|\xff\xd8|RIFF....WEBP|II|MM|GIF8|BM|P[0-9A-Za-z]|....ftyp|\x93NUMPY"
"""What the formats that are read begin with, more or less: they are told apart later."""

OPTIONAL: Final = ("WEBP", "AVIF")
"""What not every Pillow is built for."""

LOSSY: Final = ("jpeg", "avif")
WITH_ALPHA: Final = {"1": "LA", **{opaque: mode for mode, opaque in OPAQUE.items()}}
"""What a mode becomes where something may be seen through."""


def read_header(stream: BinaryIO, allowed: Allowance) -> Header:
    """The header of a picture or an array, by content.

    Raises:
        PoolError: it is neither, is too large, or its samples don't fit what can be held.
    """
    stream.seek(0)
    magic = stream.read(8)
    if magic.startswith(npy.MAGIC):
        header = _identify_npy(stream)
    else:
        header = _identify_image(stream, allowed, magic)
    allowed.check(*header.shape)
    return header


def check_start(start: bytes) -> None:
    """Refuse what begins like no picture, so that a pipe without end is not read to it.

    Args:
        start: at least twelve bytes.

    Raises:
        PoolError: no format that is read begins so.
    """
    if not re.match(STARTS, start, re.DOTALL):
        raise _unknown()


def _unknown() -> PoolError:
    """What is said of a file that is none of ours."""
    known = ", ".join(READABLE)
    return PoolError("it is no picture of a known format", f"give {known} or NPY")


def _identify_npy(stream: BinaryIO) -> Header:
    """A NumPy array: none of its channels is taken for alpha."""
    head = npy.read_header(stream)
    return Header(
        format="npy",
        mode=modes.array_mode(head.shape, head.dtype),
        dtype=head.dtype,
        shape=head.shape,
        maxval=full_scale(head.dtype),
        frames=1,
        orientation=1,
        read=lambda: npy.read(stream, head),
        describe=Metadata,
        unlike_srgb=str,
        source=Storage(),
    )


def _identify_image(stream: BinaryIO, allowed: Allowance, magic: bytes) -> Header:
    """A picture that Pillow knows, and holds or not."""
    try:
        stream.seek(0)
        image = Image.open(stream, formats=_candidates(magic))
    except UnidentifiedImageError:
        if magic[:4] in TIFF_MAGICS:
            header = _tiff_page(stream, 0, allowed)
            return _with_pages(header, deep.count_pages(stream), stream, None, allowed)
        if core := _without_words(stream, magic):
            header = _identify_image(core, allowed, magic)
            return header._replace(describe=lambda: _damaged(header.describe()))
        raise _unknown() from None
    allowed.check(*image.size[::-1])
    if image.format == "TIFF":
        header = _page_of(image, 0, stream, allowed)
        return _with_pages(header, getattr(image, "n_frames", 1), stream, image, allowed)
    header = _header_of(image, stream)
    if image.format == "PNG" and samples.png_is_deep(image, stream):
        header = _as_deep_png(header, image, stream)
    if image.format == "PPM" and (head := pnm.read_header(stream)) is not None:
        return _as_pnm(header, head, stream)
    if image.format == "AVIF":
        header = header._replace(rounded=samples.avif_is_rounded(stream, allowed.depth_loss))
    if image.format == "MPO" or getattr(image, "n_frames", 1) == 1:
        return _on_canvas(header, stream, allowed) if image.format == "GIF" else header
    return _as_film(header, image, stream, allowed)


def _damaged(metadata: Metadata) -> Metadata:
    """What is left of metadata, some or all of which was damaged."""
    return metadata._replace(warnings=(*dict.fromkeys((*metadata.warnings, *DAMAGED)),))


def _without_words(stream: BinaryIO, magic: bytes) -> BinaryIO | None:
    """The same picture without its metadata; None where that can't be told apart, or is none."""
    if magic == chunks.PNG_SIGNATURE:
        return chunks.without_words(stream)
    return chunks.jpeg_without_words(stream) if magic.startswith(chunks.JPEG_START) else None


def _on_canvas(header: Header, stream: BinaryIO, allowed: Allowance) -> Header:
    """The same, transparent where a GIF of one image leaves its screen bare: not colour 0."""
    from poolcli.codec import gif

    film = gif.split(stream)
    if not film.shows_through:
        return header
    return _as_composite(
        header, film, "RGBA", allowed, lambda still: _read_gif(still, "RGBA")
    ).only(0)


def _as_film(header: Header, image: Image.Image, stream: BinaryIO, allowed: Allowance) -> Header:
    """The same with all its frames."""
    match image.format:
        case "GIF":
            from poolcli.codec import gif

            film, keyed = gif.split(stream), gif.is_keyed(stream)
            mode = "RGBA" if keyed or film.shows_through else "RGB"
            return _as_composite(header, film, mode, allowed, lambda still: _read_gif(still, mode))
        case "PNG":
            from poolcli.codec import apng

            split = apng.split(stream)
            if split is None or (len(split.patches) == 1 and not apng.has_front(stream)):
                return header
            mode = WITH_ALPHA.get(header.mode, header.mode) if split.shows_through else header.mode

            def read(still: BinaryIO) -> NDArray[Any]:
                return _widened(read_header(still, allowed), mode)

            return _as_composite(header, split, mode, allowed, read)
    frames: int = image.n_frames  # type: ignore[attr-defined]  # only moving pictures have it

    from poolcli.codec.film import Shot

    def pillow_film() -> Iterator[Shot]:
        for number in range(frames):
            image.seek(number)
            image.load()
            array = modes.to_array(modes.Bands(image, header.mode))
            yield Shot(array, Fraction(image.info.get("duration", 0)))

    return header._replace(frames=frames, film=pillow_film)


def _as_composite(
    header: Header,
    film: Film,
    mode: str,
    allowed: Allowance,
    read: Callable[[BinaryIO], NDArray[Any]],
) -> Header:
    """The same as a film that is drawn here."""
    from poolcli.codec.film import composite

    allowed.check(film.height, film.width)
    for patch in film.patches:
        allowed.check(patch.height, patch.width)
    channels = (CHANNELS[mode],) if mode in CHANNELS else ()
    extent = (film.width, film.height) if header.orientation >= 5 else (film.height, film.width)
    dtype = DTYPES[mode]
    full = full_scale(dtype) if mode in OPAQUE else 0

    def shots() -> Iterator[Shot]:
        canvas = np.zeros((film.height, film.width, *channels), dtype)
        return composite(film, read, canvas, full)

    return header._replace(
        mode=mode,
        dtype=dtype,
        shape=(*extent, *channels),
        maxval=full_scale(dtype),
        frames=len(film.patches),
        film=shots,
        describe=lambda: header.describe()._replace(plays=film.plays),
    )


def _read_gif(still: BinaryIO, mode: str) -> NDArray[Any]:
    """The pixels of a single GIF."""
    with Image.open(still, formats=["GIF"]) as image:
        return np.asarray(image.convert(mode))


def _widened(header: Header, mode: str) -> NDArray[Any]:
    """The pixels of a still in the mode of its film."""
    array = modes.to_array(header.read())
    if header.mode == mode:
        return array
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    if mode in OPAQUE and header.mode not in OPAQUE:
        colours = array if array.ndim == 3 else array[..., None]
        full = np.full_like(colours[..., :1], full_scale(array.dtype))
        array = np.concatenate((colours, full), axis=-1)
    return array


def _page_of(image: Image.Image, number: int, stream: BinaryIO, allowed: Allowance) -> Header:
    """One page of a TIFF that Pillow knows, and holds or not."""
    image.seek(number)
    if samples.tiff_is_deep(image):
        return _tiff_page(stream, number, allowed, image)
    allowed.check_tile(*samples.tiff_tile(image))
    header = _header_of(image, stream)

    def read() -> modes.Bands | NDArray[Any]:
        image.seek(number)
        hide_xmp(image)
        return header.read()

    return header._replace(read=read)


def _with_pages(
    header: Header,
    count: int,
    stream: BinaryIO,
    image: Image.Image | None,
    allowed: Allowance,
) -> Header:
    """The header of a TIFF with that of each of its pages."""
    if count == 1:
        return header

    def pages() -> Iterator[Header]:
        for number in range(count):
            if image is None:
                page = _tiff_page(stream, number, allowed)
            else:
                page = _page_of(image, number, stream, allowed)
            allowed.check(*page.shape)
            yield page

    return header._replace(frames=count, pages=pages)


def _header_of(image: Image.Image, stream: BinaryIO) -> Header:
    """What Pillow says."""
    found = find_exif(image, stream)
    turned = found.orientation
    is_turned = image.format == "TIFF" and found.is_tag  # by Pillow, when it loads
    name = {"MPO": "jpeg", "PPM": "pfm" if image.mode == "F" else "pnm"}.get(
        image.format or "", (image.format or "").lower()
    )
    mode = modes.picture_mode(image)
    width, height = image.size
    if turned >= 5 and not is_turned:
        height, width = width, height
    channels = (CHANNELS[mode],) if mode in CHANNELS else ()
    lossy = name in LOSSY or (name == "webp" and b"VP8 " in chunks.riff_names(stream))

    def read() -> modes.Bands:
        modes.scale_key(image)
        image.load()
        return modes.Bands(image, mode)

    return Header(
        format=name,
        mode=mode,
        dtype=DTYPES[mode],
        shape=(height, width, *channels),
        maxval=full_scale(DTYPES[mode]),
        frames=1,
        orientation=1 if is_turned else turned,
        read=read,
        describe=lambda: meta.read(image, stream, found, turned=turned >= 5),
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
    return header._replace(
        mode=mode,
        dtype=DTYPES[mode],
        shape=(*header.shape[:2], CHANNELS[mode]),
        maxval=full_scale(DTYPES[mode]),
        read=lambda: deep.read_png(stream),
    )


def _as_pnm(header: Header, head: pnm.Header, stream: BinaryIO) -> Header:
    """The same in the file's own scale, where Pillow would change it."""
    grey = len(head.shape) == 2
    if head.maxval == 255:
        return header
    mode = ("I;16" if grey else "RGB;16") if head.maxval == 65535 else ("L;M" if grey else "RGB;M")
    return header._replace(
        mode=mode,
        dtype=head.dtype.newbyteorder("="),
        shape=head.shape,
        maxval=head.maxval,
        read=lambda: pnm.read(stream, head),
    )


def _tiff_page(
    stream: BinaryIO, number: int, allowed: Allowance, image: Image.Image | None = None
) -> Header:
    """One page of a TIFF, of samples that Pillow can't hold; it may still know the metadata."""
    tiff = deep.open_tiff(stream, number)
    allowed.check_tile(*tiff.tile)
    exif = ExifFound(Image.Exif()) if image is None else find_exif(image, stream)
    turned = tiff.tag(deep.ORIENTATION, 1)
    turned = int(turned) if turned in range(1, 9) else 1
    height, width, *channels = tiff.shape
    if turned >= 5:
        height, width = width, height

    def describe() -> Metadata:
        if image is not None:
            return meta.read(image, stream, exif, turned=turned >= 5)
        dpi = tiff.dpi
        icc_profile = tiff.tag(deep.ICC_PROFILE)
        return Metadata(
            icc_profile=icc_profile if isinstance(icc_profile, bytes) else None,
            dpi=dpi[::-1] if dpi and turned >= 5 else dpi,
            dropped=("descriptive tags",) if any(map(tiff.tag, DESCRIPTIVE)) else (),
        )

    return Header(
        format="tiff",
        mode=tiff.mode,
        dtype=tiff.dtype,
        shape=(height, width, *channels),
        maxval=full_scale(tiff.dtype),
        frames=1,
        orientation=turned,
        read=tiff.read,
        describe=describe,
        unlike_srgb=lambda: (
            "its colour profile was not looked at" if tiff.tag(deep.ICC_PROFILE) else ""
        ),
        source=Storage(tiff_layout=tiff.layout),
    )


def _candidates(magic: bytes) -> list[str]:
    """The formats that a file may have and this Pillow can read.

    What Pillow may lack is asked for by loading it, hence only where the file may need it.
    """
    asked = magic[:4] == b"RIFF" or magic[4:] == b"ftyp"
    return [
        name
        for name in READABLE
        if name not in OPTIONAL or (asked and features.check_module(name.lower()))
    ]


def _jpeg_tables(image: Image.Image) -> dict[str, Any]:
    """The quantisation tables and subsampling of a JPEG, else nothing."""
    tables = getattr(image, "quantization", None)
    if image.format not in ("JPEG", "MPO") or not tables:
        return {}
    from PIL import JpegImagePlugin

    kept: dict[str, Any] = {"qtables": tables}
    subsampling = JpegImagePlugin.get_sampling(image)
    if subsampling >= 0:
        kept["subsampling"] = subsampling
    return kept
