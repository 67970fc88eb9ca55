"""JPEG XL through imagecodecs; depth, channels and colours are read from the header by us."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.boxes import Span, find_boxes, read_boxes
from poolcli.formats.carried import carried
from poolcli.formats.contract import DecodedReader, Limits, WholeFrameWriter
from poolcli.formats.exif import EXIF_PREFIX, MOST_XMP_BYTES, describe
from poolcli.formats.extras import library
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Picture, Stored

CODESTREAM: Final = b"\xff\x0a"
CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
HEADER_BYTES: Final = 1 << 12
"""Bytes of the codestream in which its header ends: a name of up to 1071 bytes may be in it."""

QUALITY: Final = 90
EFFORT: Final = 5
"""The encoder's own 7 takes twice the time of 5 for 2 % fewer bytes; measured."""

Choices = tuple[tuple[int, int], ...]
"""What a number of each of four kinds adds to how many bits (ISO/IEC 18181-1, U32)."""

SIDES: Final[Choices] = ((1, 9), (1, 13), (1, 18), (1, 30))
EIGHTHS: Final[Choices] = ((1, 5),)
PREVIEW_SIDES: Final[Choices] = ((1, 6), (65, 8), (321, 10), (1345, 12))
PREVIEW_EIGHTHS: Final[Choices] = ((16, 0), (32, 0), (1, 5), (33, 9))
RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, as a size states them by numbers from 1."""

ENUM: Final[Choices] = ((0, 0), (1, 0), (2, 4), (18, 6))
INTEGER_BITS: Final[Choices] = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS: Final[Choices] = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS: Final[Choices] = ((0, 0), (1, 0), (2, 4), (1, 12))
SHIFTS: Final[Choices] = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTHS: Final[Choices] = ((0, 0), (0, 4), (16, 5), (48, 10))
COORDINATES: Final[Choices] = ((0, 19), (524288, 19), (1048576, 20), (2097152, 21))

ALPHA: Final = 0
GREY, XYB = 1, 2
D65, SRGB_PRIMARIES, CUSTOM = 1, 1, 2
LINEAR, SRGB_CURVE = 8, 13
FLOATS: Final = {(32, 8): "f4", (16, 5): "f2"}
"""The types of floating-point samples by their bits and those of the exponent."""

USUAL: Final = {8: ("L", "LA", "RGB", "RGBA"), 16: ("I;16", "LA;16", "RGB;16", "RGBA;16")}
"""The modes of the usual depths, by the number of channels."""


class _Depth(NamedTuple):
    """How many bits a sample has; those of the exponent are 0 where it is a whole number."""

    bits: int = 8
    exponent: int = 0


class _Colours(NamedTuple):
    """How colours are encoded.

    Attributes:
        grey: whether there is one channel of colour rather than three.
        curve: the number of the transfer function of sRGB's primaries; 0 for any other encoding.
        curve_end: where the number of the transfer function ends, in bits.
        has_profile: whether a profile describes them.
    """

    grey: bool = False
    curve: int = SRGB_CURVE
    curve_end: int = 0
    has_profile: bool = False


class _Header(NamedTuple):
    """What the header of a codestream states.

    Attributes:
        height: as stored.
        width: as stored.
        orientation: EXIF's, which is still to be applied.
        depth: of the channels of colour.
        alpha: the depth of alpha, or None.
        colours: how colours are encoded.
        is_lossy: whether encoding has changed the pixels; true where that can't be told.
    """

    height: int
    width: int
    orientation: int = 1
    depth: _Depth = _Depth()
    alpha: _Depth | None = None
    colours: _Colours = _Colours()
    is_lossy: bool = True

    def info(self) -> FrameInfo:
        """Return what is known of the picture before it is decoded.

        Raises:
            PoolError: no mode describes it.
        """
        bits, whole = self.depth.bits, not self.depth.exponent
        channels = (1 if self.colours.grey else 3) + (self.alpha is not None)
        mode = self._mode(channels)
        sample = FLOATS.get(self.depth) or ("u1" if bits <= 8 else "u2" if bits <= 16 else "f4")
        most = max(self.depth, self.alpha or self.depth).bits
        stored = Stored("unsigned", most, (1 << most) - 1, channels)
        return FrameInfo(
            (self.height, self.width, channels) if channels > 1 else (self.height, self.width),
            np.dtype(MODES[mode].dtype or sample),
            mode,
            (1 << bits) - 1 if whole else 0,
            stored if whole else Stored("float", most, 0, channels),
            self.orientation,
            encoding=Encoding("jxl", self.is_lossy, {"curve": self.colours.curve}),
            notes=() if self.orientation == 1 else ("it was turned upright",),
            unread_colour=self._unread_colour(),
        )

    def _mode(self, channels: int) -> str:
        """Return the mode of the picture."""
        bits, exponent = self.depth
        if exponent or bits > 16:
            return "F" if channels == 1 else ARRAY
        if bits in USUAL:
            return USUAL[bits][channels - 1]
        if self.alpha:
            raise PoolError(
                f"{bits}-bit samples with alpha can't be pooled", "convert it first to 8 or 16 bits"
            )
        return "RGB;M" if channels == 3 else "1" if bits == 1 else "L;M"

    def _unread_colour(self) -> str:
        """Return why what the colours mean can't be carried over; empty where it can."""
        if self.colours.has_profile:
            return "its colour profile can't be read"
        # Floating-point samples are linear where nothing else is known of them.
        usual = (SRGB_CURVE, LINEAR) if self.depth.exponent else (SRGB_CURVE,)
        if self.colours.curve in usual:
            return ""
        return "its colour encoding is not that of sRGB"


class _Bits:
    """The bits of a codestream, the lowest of each byte first."""

    def __init__(self, octets: bytes) -> None:
        """Begin behind the signature."""
        self.at = 8 * len(CODESTREAM)
        self._bits, self._end = int.from_bytes(octets, "little"), 8 * len(octets)

    def take(self, count: int = 1) -> int:
        """Return the number that the next bits are."""
        if self.at + count > self._end:
            raise PoolError("its header is cut off", "is the file complete?")
        value = self._bits >> self.at & ((1 << count) - 1)
        self.at += count
        return value

    def number(self, choices: Choices) -> int:
        """Return a number, of which two bits tell the kind where there are several."""
        least, count = choices[self.take(2) if len(choices) > 1 else 0]
        return least + self.take(count)

    def size(self, eighths: Choices, sides: Choices) -> tuple[int, int]:
        """Return height and width, which may be given in eighths, and the width by its ratio."""
        scale, choices = (8, eighths) if self.take() else (1, sides)
        height, ratio = scale * self.number(choices), self.take(3)
        if not ratio:
            return height, scale * self.number(choices)
        across, down = RATIOS[ratio - 1]
        return height, height * across // down

    def depth(self) -> _Depth:
        """Return how many bits a sample has."""
        if not self.take():
            return _Depth(self.number(INTEGER_BITS))
        depth = _Depth(self.number(FLOAT_BITS), 1 + self.take(4))
        if depth not in FLOATS:
            raise PoolError(
                "its floating-point samples have {} bits, {} of them for the exponent, "
                "and can't be read".format(*depth),
                "convert it first to 32 bits",
            )
        return depth

    def alpha(self) -> _Depth | None:
        """Return the depth of alpha or None; refuse other channels and premultiplied colours."""
        count = self.number(EXTRA_CHANNELS)
        if count == 0:
            return None
        if count == 1 and self.take():
            return _Depth()
        if count > 1 or self.number(ENUM) != ALPHA:
            raise PoolError(
                "it has channels beside colour and alpha, which can't be read",
                "convert it first to one without them",
            )
        depth = self.depth()
        self.number(SHIFTS)
        self.take(8 * self.number(NAME_LENGTHS))
        if self.take():
            raise PoolError("its colours are multiplied by alpha", "save it with straight alpha")
        return depth

    def colours(self) -> _Colours:
        """Return how colours are encoded."""
        if self.take():
            return _Colours()
        has_profile, space = bool(self.take()), self.number(ENUM)
        if has_profile:
            return _Colours(space == GREY, 0, has_profile=True)
        if space == XYB:
            self.number(ENUM)
            return _Colours(curve=0)
        is_srgb = self.is_standard(D65, points=1)
        if space != GREY:
            is_srgb &= self.is_standard(SRGB_PRIMARIES, points=3)
        has_gamma = self.take()
        curve = self.take(24) * 0 if has_gamma else self.number(ENUM)
        end = self.at
        self.number(ENUM)  # the rendering intent, which no pixel depends on
        return _Colours(space == GREY, curve if is_srgb else 0, end)

    def is_standard(self, standard: int, *, points: int) -> bool:
        """Return whether the standard is named; anything else may be given by points."""
        named = self.number(ENUM)
        for _ in range(2 * points if named == CUSTOM else 0):
            self.number(COORDINATES)
        return named == standard

    def begins_modular(self) -> bool:
        """Return whether the first frame, behind the header, is coded without a transform."""
        has_extensions, usual_transform = self.take(2), self.take()
        if has_extensions or not usual_transform:
            return False
        self.at += -self.at % 8
        return not self.take() and bool(self.take(3) & 0b100)


def _parse(octets: bytes) -> _Header:
    """Read the header of a codestream (ISO/IEC 18181-1, ImageHeader).

    Raises:
        PoolError: it is damaged, or of a picture that can't be read.
    """
    bits = _Bits(octets)
    height, width = bits.size(EIGHTHS, SIDES)
    if bits.take():
        return _Header(height, width)
    orientation = 1
    if has_more := bits.take():
        orientation = 1 + bits.take(3)
        if bits.take():
            bits.size(EIGHTHS, SIDES)  # at which it should be shown
        if bits.take():
            bits.size(PREVIEW_EIGHTHS, PREVIEW_SIDES)
        if bits.take():
            raise PoolError(
                "it is an animation, and of JPEG XL only stills can be read",
                "convert it first to an animated PNG",
            )
    depth = bits.depth()
    bits.take()
    alpha, in_xyb, colours = bits.alpha(), bits.take(), bits.colours()
    if has_more and not bits.take():
        bits.take(3 * 16 + 1)  # how its brightness is mapped to a display
    is_lossy = bool(in_xyb) or colours.has_profile or not bits.begins_modular()
    return _Header(height, width, orientation, depth, alpha, colours, is_lossy)


def read(stream: BinaryIO, limits: Limits) -> DecodedReader:
    """Open a JPEG XL."""
    codec = _codec()
    info = _parse(_codestream(stream, HEADER_BYTES)).info()
    limits.check(*info.shape)
    parts = stream, codec, info
    return DecodedReader("jxl", info, partial(_decode, *parts), partial(_metadata, *parts))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JxlWriter:
    """Begin to write a JPEG XL."""
    return JxlWriter(file, row, saving)


class JxlWriter(WholeFrameWriter):
    """A JPEG XL that is written: without loss, unless the source had lost something already."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture; a container is only used where something stands beside it."""
        info = picture.info
        held, notes = carried(picture.metadata, self.row, info.mode, strip=self.saving.strip)
        self.note(*notes)
        encoded = self._encoded(picture.array, info)
        codestream = _codestream(BytesIO(encoded), len(encoded))
        curve = info.encoding.details.get("curve") if info.encoding.format == "jxl" else LINEAR
        if info.mode in USUAL[16] or curve == SRGB_CURVE:
            codestream = _told_as_srgb(codestream)
        beside = {
            b"jxll": next(read_boxes(BytesIO(encoded), b"jxll"), b""),
            b"Exif": held.get("exif", b"").replace(EXIF_PREFIX, bytes(4), 1),
            b"xml ": held.get("xmp", b""),
        }
        if not any(beside.values()):
            self.file.write(codestream)
            return
        self.file.write(CONTAINER)
        for name, content in (*beside.items(), (b"jxlc", codestream)):
            if content:
                self.file.write(struct.pack(">I4s", 8 + len(content), name) + content)

    def _encoded(self, array: NDArray[Any], info: FrameInfo) -> bytes:
        """Return the picture as the library encodes it."""
        chosen = self.saving.for_format(self.row)
        lossless = chosen.get("lossless", "quality" not in chosen and not info.encoding.lossy)
        if info.dtype.kind == "f" and not lossless:
            self.note("floating-point samples were written without loss")
            lossless = True
        if info.mode in USUAL[16] and not lossless:
            array = _linear(array, has_alpha=bool(MODES[info.mode].without_alpha))
        octets: bytes = _codec().jpegxl_encode(
            array.astype(np.uint8) if info.mode == "1" else array,
            level=None if lossless else chosen.get("quality", QUALITY),
            lossless=lossless,
            effort=chosen.get("effort", EFFORT),
            bitspersample=1 if info.mode == "1" else None,
            numthreads=1,
        )
        return octets


def _codec() -> Any:
    """Return imagecodecs, or refuse one that was built without JPEG XL."""
    codec = library("imagecodecs", "deep")
    if not codec.JPEGXL.available:
        raise PoolError("this imagecodecs was built without JPEG XL", "install it from PyPI")
    return codec


def _decode(stream: BinaryIO, codec: Any, info: FrameInfo) -> NDArray[Any]:
    """Return the samples as they are stored."""
    stream.seek(0)
    array = codec.jpegxl_decode(stream.read(), 0, keeporientation=True, numthreads=1)
    samples: NDArray[Any] = array.astype(info.dtype, copy=False)
    return samples


def _codestream(stream: BinaryIO, most: int) -> bytes:
    """Return the first bytes of the codestream, which may lie in one box or in several."""
    stream.seek(0)
    octets = stream.read(most)
    if not octets.startswith(CODESTREAM):
        whole = list(find_boxes(stream, b"jxlc"))[:1]
        numbered = (Span(begin + 4, stop) for begin, stop in find_boxes(stream, b"jxlp"))
        octets = b""
        for begin, stop in whole or numbered:
            stream.seek(begin)
            octets += stream.read(max(0, min(stop - begin, most - len(octets))))
    if not octets.startswith(CODESTREAM):
        raise PoolError("its codestream is missing", "is the file complete?")
    return octets


def _metadata(stream: BinaryIO, codec: Any, info: FrameInfo) -> Metadata:
    """Collect what stands in the boxes beside the codestream."""
    found = {name: next(read_boxes(stream, name), b"") for name in (b"Exif", b"xml ")}
    warnings = [f"{info.unread_colour}; it was taken for sRGB"] if info.unread_colour else []
    for packed in read_boxes(stream, b"brob"):
        if (name := packed[:4]) in found:
            try:
                found[name] = bytes(codec.brotli_decode(packed[4:], out=MOST_XMP_BYTES))
            except Exception:  # noqa: BLE001  # its type only exists once imagecodecs is imported
                warnings.append("its compressed metadata are damaged or too long")
    exif = found[b"Exif"]
    described = describe(exif[4 + int.from_bytes(exif[:4], "big") :], found[b"xml "], warnings)
    return Metadata(
        exif=described.exif,
        dpi=described.dpi,
        xmp=described.xmp,
        dropped=("JUMBF boxes",) if any(find_boxes(stream, b"jumb")) else (),
        warnings=described.warnings,
    )


def _told_as_srgb(codestream: bytes) -> bytes:
    """Return a codestream whose header names the curve of sRGB in the place of no curve.

    The library calls 16-bit samples linear. Both curves are named by the same number of bits.
    """
    head, rest = codestream[:HEADER_BYTES], codestream[HEADER_BYTES:]
    colours = _parse(head).colours
    if colours.curve != LINEAR:
        return codestream
    least, count = ENUM[2]
    changed = (LINEAR - least ^ SRGB_CURVE - least) << colours.curve_end - count
    return (int.from_bytes(head, "little") ^ changed).to_bytes(len(head), "little") + rest


def _linear(array: NDArray[Any], *, has_alpha: bool) -> NDArray[Any]:
    """Return 16-bit samples as light, rounded to 16 bits, but for alpha (IEC 61966-2-1)."""
    coded = np.arange(1 << 16) / 65535
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear: NDArray[Any] = np.rint(light * 65535).astype(np.uint16)[array]
    if has_alpha:
        linear[..., -1] = array[..., -1]
    return linear
