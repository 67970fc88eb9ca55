"""The neutral types that formats, colour and run share: what a frame is, whatever file it is in."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # the tables are read by `--help`, which must not import NumPy
    import numpy as np
    from numpy.typing import NDArray

Pair = tuple[int, int]
Chunks = tuple[tuple[bytes, bytes], ...]


class Mode(NamedTuple):
    """One way in which the numbers of a pixel mean a colour.

    Attributes:
        title: the mode in words, with its article.
        dtype: the type of the samples, or None where it varies from picture to picture.
        channels: samples of a pixel; arrays of one channel have two axes.
        without_alpha: the mode that is left without alpha; empty where there is no alpha.
        rounded: the 8-bit mode that its samples can be rounded to; empty where there is none.
        is_srgb: whether its values are light as encoded by the curve of sRGB.
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
    "RGB;M": Mode("an RGB picture of another depth than 8 or 16 bits", None, 3, rounded="RGB"),
    "I": Mode("a 32-bit integer picture", "int32"),
    "F": Mode("a floating-point picture", "float32"),
    ARRAY: Mode("samples of this type and number", None, 0),
}
"""Every mode by its name: Pillow's names where Pillow has one, with ;16 for 16 bits, and ;M for
samples from 0 to another maximum than that of their type."""


class Stored(NamedTuple):
    """The samples as the file's own header states them.

    Attributes:
        kind: how the bits of a sample are read.
        bits: bits of a sample; of a palette those of its entries; the most where they differ.
        maxval: full scale of unsigned samples; 0 for others.
        channels: samples of a pixel; 1 for a palette.
    """

    kind: Literal["unsigned", "signed", "float"]
    bits: int
    maxval: int
    channels: int


class Encoding(NamedTuple):
    """How the source file is encoded, for a writer of the same format.

    Attributes:
        format: the name of the source's format.
        lossy: whether encoding has changed the pixels.
        details: what a writer of that format repeats, such as JPEG's quantisation tables.
    """

    format: str = ""
    lossy: bool = False
    details: Mapping[str, Any] = MappingProxyType({})


class FrameInfo(NamedTuple):
    """All that is known of a frame before its pixels are decoded.

    Attributes:
        shape: (H, W) or (H, W, C) as stored, a palette applied.
        dtype: the type of a sample, a palette applied.
        mode: a key of `MODES`, a palette applied.
        maxval: full scale of unsigned samples; 0 where there is none.
        stored: the samples as the file's header states them.
        orientation: EXIF's orientation, 1 (upright) to 8, which is still to be applied.
        palette: (N,) or (N, C): the pixel that each index means; None where rows hold pixels.
        duration: how long the frame of an animation is shown, in milliseconds.
        encoding: how the source file is encoded.
        notes: what was done to the pixels on their way from the file, in words.
        unread_colour: why what its colours mean can't be carried over, in words; empty where it
            can.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mode: str
    maxval: int
    stored: Stored
    orientation: int = 1
    palette: NDArray[Any] | None = None
    duration: Fraction = Fraction(0)
    encoding: Encoding = Encoding()
    notes: tuple[str, ...] = ()
    unread_colour: str = ""


def info_in_mode(size: Pair, mode: str, stored: Stored, **more: Any) -> FrameInfo:
    """Return what is known of a frame in a mode whose samples are always of one type.

    Args:
        size: (H, W).
        mode: the mode.
        stored: the samples as the file's header states them.
        more: the other fields of `FrameInfo`.
    """
    import numpy as np

    dtype, channels = np.dtype(MODES[mode].dtype), MODES[mode].channels
    shape = (*size, channels) if channels > 1 else size
    return FrameInfo(shape, dtype, mode, full_scale(dtype), stored, **more)


class Placement(NamedTuple):
    """Where the pixels of a pooled picture lie on the picture that was pooled.

    Attributes:
        scale: pixels of the input from one pixel of the output to the next: (down, across).
        origin: where the output's upper left corner lies on the input, in pixels: (down, across).
    """

    scale: Pair
    origin: tuple[float, float]


class Metadata(NamedTuple):
    """What a file says beside its pixels, without what pooling makes false.

    Attributes:
        icc_profile: the colour profile as it stands in the file, or None.
        exif: EXIF as a TIFF structure, without orientation, sizes, thumbnail and resolution; or
            None.
        dpi: pixels an inch along (height, width), or None.
        xmp: XMP, without the same; or None.
        comment: the comment of a JPEG or GIF, or None.
        texts: the textual chunks of a PNG as they stand in the file: (name, body).
        colour: likewise those that say what its colours mean.
        plays: how often an animation is shown; 0 for ever.
        dropped: what the file says that is never carried over, in words.
        warnings: what could not be read, or would be false.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: Chunks = ()
    colour: Chunks = ()
    plays: int = 0
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def pooled(self, placement: Placement) -> Metadata:
        """Return the metadata of the pooled picture, which keeps its size on paper."""
        if self.dpi is None:
            return self
        down, across = placement.scale
        return self._replace(dpi=(self.dpi[0] / down, self.dpi[1] / across))


class Frame(Protocol):
    """One frame, page or picture of a file; valid until the next one is taken."""

    @property
    def info(self) -> FrameInfo:
        """What the header says of it."""

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop`` as stored, decoding no more than is needed.

        Where ``info.palette`` is given, they hold indices: (rows, W).
        """

    def metadata(self) -> Metadata:
        """Return what the file says beside the pixels; may be asked at any time."""


class Picture(NamedTuple):
    """A whole frame in memory.

    Attributes:
        array: (H, W) or (H, W, C).
        info: what is known of it.
        metadata: what stands beside the pixels.
    """

    array: NDArray[Any]
    info: FrameInfo
    metadata: Metadata = Metadata()


class Upright:
    """A frame turned as its orientation asks; its pixels are held in memory once read."""

    def __init__(self, frame: Frame) -> None:
        """Exchange height and width where the frame lies on its side."""
        info = frame.info
        height, width, *channels = info.shape
        if info.orientation >= 5:
            height, width = width, height
        self.info = info._replace(shape=(height, width, *channels), orientation=1)
        self._frame = frame
        self._array: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows of the upright picture: a view."""
        if self._array is None:
            stored = self._frame.info
            self._array = turned(self._frame.rows(0, stored.shape[0]), stored.orientation)
        return self._array[start:stop]

    def metadata(self) -> Metadata:
        """Return the metadata, the resolution turned too."""
        metadata = self._frame.metadata()
        if metadata.dpi is None or self._frame.info.orientation < 5:
            return metadata
        return metadata._replace(dpi=metadata.dpi[::-1])


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of the array turned as EXIF's orientation (tag 274) asks."""
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
