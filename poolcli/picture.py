"""Describe a frame independently of its file format: modes, headers, metadata, orientation.

Formats, `colour` and `run` exchange these types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # the tables are read by `--help`, which must not import NumPy
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

Pair = tuple[int, int]
Chunks = tuple[tuple[bytes, bytes], ...]

ResolutionUnit = Literal["inch", "cm", ""]
"""The unit of a resolution; the empty one means that only a ratio is known."""

CM_IN_AN_INCH: Final = 2.54
METRES_IN_AN_INCH: Final = 0.0254


class Mode(NamedTuple):
    """A pixel format: the number, the type and the meaning of the samples of a pixel.

    Attributes:
        title: the mode in words, for messages, with its article.
        dtype: the type of the samples; None if it differs from picture to picture.
        channels: samples of a pixel, 0 if it differs from picture to picture; arrays of one
            channel have two axes.
        without_alpha: the mode without the alpha channel; empty if there is none.
        rounded: the 8-bit mode that samples can be rounded to; empty if there is none.
        is_srgb: whether values are encoded by the transfer curve of sRGB.
    """

    title: str
    dtype: str | None
    channels: int = 1
    without_alpha: str = ""
    rounded: str = ""
    is_srgb: bool = False


ARRAY: Final = "array"
"""The mode of samples that no other mode describes."""

MODES: Final[Mapping[str, Mode]] = {
    "1": Mode("a bilevel picture", "bool", is_srgb=True),
    "L": Mode("an 8-bit grey picture", "uint8", is_srgb=True),
    "LA": Mode("an 8-bit grey picture with alpha", "uint8", 2, "L", is_srgb=True),
    "RGB": Mode("an RGB picture", "uint8", 3, is_srgb=True),
    "RGBA": Mode("an RGB picture with alpha", "uint8", 4, "RGB", is_srgb=True),
    "CMYK": Mode("a CMYK picture", "uint8", 4),
    "YCbCr": Mode("a YCbCr picture", "uint8", 3),
    "LAB": Mode("a CIELAB picture", "uint8", 3),
    "I;16": Mode("a 16-bit grey picture", "uint16", rounded="L", is_srgb=True),
    "LA;16": Mode("a 16-bit grey picture with alpha", "uint16", 2, "I;16", "LA", True),
    "RGB;16": Mode("a 16-bit RGB picture", "uint16", 3, "", "RGB", True),
    "RGBA;16": Mode("a 16-bit RGB picture with alpha", "uint16", 4, "RGB;16", "RGBA", True),
    "L;M": Mode("a grey picture of another depth than 8 or 16 bits", None, rounded="L"),
    "LA;M": Mode(
        "a grey picture with alpha of another depth than 8 or 16 bits", None, 2, "L;M", "LA"
    ),
    "RGB;M": Mode("an RGB picture of another depth than 8 or 16 bits", None, 3, rounded="RGB"),
    "RGBA;M": Mode(
        "an RGB picture with alpha of another depth than 8 or 16 bits", None, 4, "RGB;M", "RGBA"
    ),
    "I": Mode("a 32-bit integer picture", "int32"),
    "F": Mode("1 channel of float32", "float32"),
    "RGB;F": Mode("3 channels of float32", "float32", 3),
    ARRAY: Mode("samples of this type and number", None, 0),
}
"""Every mode by its name. The names are Pillow's as far as Pillow has the mode; ";16" marks 16
bits, ";M" samples whose maximum is not that of their type, such as 1000 in a PGM, and ";F"
floating-point numbers."""


class Stored(NamedTuple):
    """The samples as the file's own header states them.

    `run` compares them with what the decoder delivers, so that no decoder can lose bits unnoticed.

    Attributes:
        kind: unsigned integers, signed integers or floating-point numbers.
        bits: bits of a sample; for a palette, bits of an entry's sample; the largest number if
            channels differ.
        maxval: the largest value that unsigned samples may have (full scale); 0 for others.
        channels: samples of a pixel; 1 for a palette.
    """

    kind: Literal["unsigned", "signed", "float"]
    bits: int
    maxval: int
    channels: int


class Encoding(NamedTuple):
    """The encoding of the source file, for a writer of the same format.

    Attributes:
        format: the name of the source's format.
        lossy: whether the encoding is lossy.
        details: settings that a writer of that format uses again, such as JPEG's quantisation
            tables.
    """

    format: str = ""
    lossy: bool = False
    details: Mapping[str, Any] = MappingProxyType({})


class FrameInfo(NamedTuple):
    """All that is known of a frame before its pixels are decoded.

    Attributes:
        shape: (H, W) or (H, W, C) before turning, with the palette applied.
        dtype: the type of a sample, with the palette applied.
        mode: a key of `MODES`, with the palette applied.
        maxval: the largest value that unsigned samples may have (full scale); 0 for others.
        stored: the samples as the file's header states them.
        orientation: EXIF's orientation, 1 (upright) to 8, which is not applied yet.
        palette: (N,) or (N, C): the pixel of each index; None if rows hold pixels.
        entries: the number of entries of the palette in the file; others are black.
        duration: how long the frame of an animation is shown, in milliseconds.
        encoding: how the source file is encoded.
        notes: how the decoder has changed the samples, in words.
        unread_colour: why the meaning of the colours can't be carried over, in words; empty if it
            can.
        nodata: the value of samples without data, in decimal digits as the file states it (GDAL's
            tag 42113), or as ``--nodata`` does for a writer; empty if there is none.
        has_mask: whether alpha is a mask, which may be left out where alpha can't be stored.
        planes: the number of planes of a stack that are pooled together. A frame of several has
            the shape of one plane, and its rows are those of all planes: row y of plane z is its
            row y·planes + z.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mode: str
    maxval: int
    stored: Stored
    orientation: int = 1
    palette: NDArray[Any] | None = None
    entries: int = 0
    duration: Fraction | int = 0
    encoding: Encoding = Encoding()
    notes: tuple[str, ...] = ()
    unread_colour: str = ""
    nodata: str = ""
    has_mask: bool = False
    planes: int = 1

    @property
    def samples(self) -> str:
        """The number of channels and their type, in words."""
        count = self.shape[2] if len(self.shape) > 2 else 1
        return f"{count} channel{'s' * (count > 1)} of {self.dtype.name}"


def info_in_mode(size: Pair, mode: str, stored: Stored, **more: Any) -> FrameInfo:
    """Return the `FrameInfo` of a frame in a mode that has a fixed type.

    Args:
        size: (H, W).
        mode: a key of `MODES`.
        stored: the samples as the file's header states them.
        more: other fields of `FrameInfo`.
    """
    import numpy as np

    dtype, channels = np.dtype(MODES[mode].dtype), MODES[mode].channels
    shape = (*size, channels) if channels > 1 else size
    return FrameInfo(shape, dtype, mode, full_scale(dtype), stored, **more)


class Placement(NamedTuple):
    """Where the pixels of a pooled picture lie on the input.

    Attributes:
        scale: the distance of neighbouring output pixels, in pixels of the input: (down, across).
        origin: the upper left corner of the output, in pixels of the input: (down, across).
        planes: the number of planes of a stack that are pooled together.
    """

    scale: tuple[float, float]
    origin: tuple[float, float]
    planes: int = 1

    def then(self, other: Placement) -> Placement:
        """Return where pixels lie that are pooled from these."""
        scale = self.scale[0] * other.scale[0], self.scale[1] * other.scale[1]
        origin = (
            self.origin[0] + self.scale[0] * other.origin[0],
            self.origin[1] + self.scale[1] * other.origin[1],
        )
        return Placement(scale, origin, self.planes * other.planes)


class Resolution(NamedTuple):
    """Pixels per unit of length, or only the ratio of the two if the unit is not known.

    Attributes:
        down: pixels per unit along the height.
        across: pixels per unit along the width.
        unit: the unit; empty if there is none.
    """

    down: float
    across: float
    unit: ResolutionUnit = "inch"

    @property
    def is_plain(self) -> bool:
        """Return whether it only says that pixels are square, as they are without a resolution."""
        return not self.unit and self.down == self.across

    def per_inch(self) -> Resolution:
        """Return it in pixels per inch; one without a unit stays as it is."""
        if self.unit != "cm":
            return self
        return Resolution(self.down * CM_IN_AN_INCH, self.across * CM_IN_AN_INCH)

    def pooled(self, placement: Placement) -> Resolution:
        """Return the resolution of the pooled picture, whose size on paper stays the same."""
        down, across = placement.scale
        return self._replace(down=self.down / down, across=self.across / across)


class Metadata(NamedTuple):
    """The metadata of a file, without what pooling makes false.

    Attributes:
        icc_profile: the colour profile, byte for byte, or None.
        exif: EXIF as a TIFF structure, without orientation, sizes, thumbnail and resolution; or
            None.
        resolution: the resolution, or None.
        xmp: XMP, without the same properties as in EXIF; or None.
        comment: the comment of a JPEG or GIF, or None.
        texts: the text chunks of a PNG, byte for byte: (name, body).
        colour: the chunks of a PNG that define its colours, likewise.
        plays: how often an animation is played; 0 means for ever.
        place: what the file says of the place and scale of its pixels beside the resolution, by the
            words of messages. Only writers of the same format understand the values.
        placement: where the pooled pixels lie, which writers apply to ``place`` and ``exif``.
        dropped: metadata that is never carried over, in words.
        warnings: metadata that could not be read or would be false, in words. A decoder may add
            what it finds to a list, until all rows of the last frame are read.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    resolution: Resolution | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: Chunks = ()
    colour: Chunks = ()
    plays: int = 0
    place: Mapping[str, Any] = MappingProxyType({})
    placement: Placement = Placement((1, 1), (0, 0))
    dropped: tuple[str, ...] = ()
    warnings: Sequence[str] = ()

    def pooled(self, placement: Placement) -> Metadata:
        """Return the metadata of the pooled picture."""
        resolution = self.resolution and self.resolution.pooled(placement)
        placement = self.placement.then(placement)
        is_placed = self.place or self.exif
        return self._replace(
            resolution=resolution, placement=placement if is_placed else self.placement
        )


class Frame(Protocol):
    """One frame, page or picture of a file; valid until the reader yields the next one."""

    @property
    def info(self) -> FrameInfo:
        """Return the facts that are known before its pixels are decoded."""

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop``, not turned, decoding no more than is needed.

        If ``info.palette`` is given, they hold indices: (rows, W). `run` always asks for the last
        row, so that checksums behind the pixels are checked.
        """

    def metadata(self) -> Metadata:
        """Return the metadata; it may be called before, between and after calls of `rows`."""


class Picture(NamedTuple):
    """A whole frame in memory.

    Attributes:
        array: (H, W) or (H, W, C).
        info: its shape, type, mode and so on.
        metadata: its metadata.
    """

    array: NDArray[Any]
    info: FrameInfo
    metadata: Metadata = Metadata()


class Upright:
    """A frame turned upright by EXIF's orientation.

    The first row of a turned frame may be a column of the stored one, so all pixels are read at
    once and kept in memory.
    """

    def __init__(self, frame: Frame) -> None:
        """Exchange height and width if the orientation exchanges the axes."""
        info = frame.info
        height, width, *channels = info.shape
        if info.orientation >= 5:
            height, width = width, height
        self.info = info._replace(shape=(height, width, *channels), orientation=1)
        self._frame = frame
        self._array: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return a view of rows of the upright picture."""
        if self._array is None:
            stored = self._frame.info
            self._array = turned(self._frame.rows(0, stored.shape[0]), stored.orientation)
        return self._array[start:stop]

    def metadata(self) -> Metadata:
        """Return the metadata of the upright picture.

        The two resolutions are exchanged if the axes are, and its place is left out.
        """
        metadata = self._frame.metadata()
        if metadata.place:
            names = " and ".join(metadata.place)
            warning = f"its {names} can't be turned with the picture: left out"
            metadata = metadata._replace(place={}, warnings=(*metadata.warnings, warning))
        resolution = metadata.resolution
        if resolution is None or self._frame.info.orientation < 5:
            return metadata
        exchanged = resolution._replace(down=resolution.across, across=resolution.down)
        return metadata._replace(resolution=exchanged)


class Opaque:
    """A frame without its alpha channel."""

    def __init__(self, frame: Frame) -> None:
        """Take alpha out of the shape and the mode."""
        info = frame.info
        mode = MODES[info.mode].without_alpha
        channels = MODES[mode].channels
        shape = (*info.shape[:2], channels) if channels > 1 else info.shape[:2]
        stored = info.stored._replace(channels=channels)
        self.info = info._replace(shape=shape, mode=mode, stored=stored, has_mask=False)
        self._frame, self.metadata = frame, frame.metadata

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return a view of the colours of some rows."""
        colours = self._frame.rows(start, stop)[..., :-1]
        return colours if len(self.info.shape) == 3 else colours[..., 0]


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of the array, turned upright from EXIF's orientation (tag 274)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def full_scale(dtype: np.dtype[Any]) -> int:
    """Return the largest value of an unsigned type; 1 for bool, 0 for others."""
    if dtype.kind == "b":
        return 1
    return (1 << 8 * dtype.itemsize) - 1 if dtype.kind == "u" else 0
