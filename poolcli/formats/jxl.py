"""JPEG XL through imagecodecs; depth, channels and colours are read from the header by us."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.boxes import find_boxes, read_boxes
from poolcli.formats.contract import DecodedReader, Limits, WholeFrameWriter
from poolcli.formats.exif import EXIF_PREFIX, MOST_XMP_BYTES, describe
from poolcli.formats.extras import library
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Pair, Picture, Stored

CODESTREAM: Final = b"\xff\x0a"
CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
HEADER_BYTES: Final = 1 << 12
"""Bytes of the codestream in which its header ends: a name of up to 1071 bytes may be in it."""

QUALITY: Final = 90
EFFORT: Final = 5
"""The encoder's own 7 takes twice the time of 5 for 2 % fewer bytes; measured."""

Choices: TypeAlias = tuple[Pair, ...]
"""What a number of each of four kinds adds to how many bits (ISO/IEC 18181-1, U32)."""

SIDES: Final[Choices] = ((1, 9), (1, 13), (1, 18), (1, 30))
RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, as a size states them by numbers from 1."""

ENUM: Final[Choices] = ((0, 0), (1, 0), (2, 4), (18, 6))
INTEGER_BITS: Final[Choices] = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS: Final[Choices] = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS: Final[Choices] = ((0, 0), (1, 0), (2, 4), (1, 12))
SHIFTS: Final[Choices] = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTHS: Final[Choices] = ((0, 0), (0, 4), (16, 5), (48, 10))

ALPHA: Final = 0
RGB, GREY = 0, 1
D65, SRGB_PRIMARIES, LINEAR, SRGB_CURVE = 1, 1, 8, 13
FLOATS: Final = {(32, 8): "f4", (16, 5): "f2"}
"""The types of floating-point samples by their bits and those of the exponent."""

USUAL: Final = {8: ("L", "LA", "RGB", "RGBA"), 16: ("I;16", "LA;16", "RGB;16", "RGBA;16")}
"""The modes of the usual depths, by the number of channels."""


class _Header:
    """What the header of a codestream states, up to its colours (ISO/IEC 18181-1, ImageHeader).

    Attributes:
        at: the bit behind all that was read; the lowest bit of each byte comes first.
        size: (height, width) as stored.
        orientation: EXIF's, which is still to be applied.
        depth: of the channels of colour: the bits of a sample and of its exponent, which are 0
            where it is a whole number.
        alpha: likewise of alpha, or None.
        is_lossy: whether colours are stored as XYB, which encoding without loss doesn't do.
        is_grey: whether there is one channel of colour rather than three.
        has_profile: whether a profile describes the colours.
        curve: the number of the transfer function of sRGB's primaries; 0 for any other encoding.
    """

    orientation = 1
    depth: Pair = (8, 0)
    alpha: Pair | None = None
    is_lossy = True
    is_grey = has_profile = False
    curve = SRGB_CURVE

    def __init__(self, octets: bytes) -> None:
        """Read a codestream.

        Raises:
            PoolError: it is damaged, or of a picture that can't be read.
        """
        self.at = 8 * len(CODESTREAM)
        self._bits, self._end = int.from_bytes(octets, "little"), 8 * len(octets)
        self.size = self._size()
        if not self._take():  # all other fields are as usual
            self._read_fields()

    def info(self, *, is_transcoded: bool) -> FrameInfo:
        """Return what is known of the picture before it is decoded.

        Raises:
            PoolError: no mode describes it.
        """
        bits, is_float = self.depth[0], self.depth in FLOATS
        channels = (1 if self.is_grey else 3) + (self.alpha is not None)
        mode = self._mode(channels)
        most = max(self.depth, self.alpha or self.depth)[0]
        stored = Stored("unsigned", most, (1 << most) - 1, channels)
        return FrameInfo(
            (*self.size, channels) if channels > 1 else self.size,
            np.dtype(MODES[mode].dtype or FLOATS.get(self.depth, "u1" if bits <= 8 else "u2")),
            mode,
            0 if is_float else (1 << bits) - 1,
            stored._replace(kind="float", maxval=0) if is_float else stored,
            self.orientation,
            encoding=Encoding("jxl", self.is_lossy or is_transcoded, {"curve": self.curve}),
            notes=() if self.orientation == 1 else ("it was turned upright",),
            unread_colour=self._unread_colour(),
        )

    def _take(self, count: int = 1) -> int:
        """Return the number that the next bits are."""
        if self.at + count > self._end:
            raise PoolError("its header is cut off", "is the file complete?")
        value = self._bits >> self.at & ((1 << count) - 1)
        self.at += count
        return value

    def _number(self, choices: Choices) -> int:
        """Return a number, of which two bits tell the kind."""
        least, count = choices[self._take(2)]
        return least + self._take(count)

    def _size(self) -> Pair:
        """Return height and width, which may be given in eighths, and the width by its ratio."""
        in_eighths = self._take()
        height, ratio = self._side(in_eighths), self._take(3)
        if not ratio:
            return height, self._side(in_eighths)
        across, down = RATIOS[ratio - 1]
        return height, height * across // down

    def _side(self, in_eighths: int) -> int:
        """Return height or width."""
        return 8 * (1 + self._take(5)) if in_eighths else self._number(SIDES)

    def _depth(self) -> Pair:
        """Return the bits of a sample and of its exponent."""
        if self._take():
            return self._number(FLOAT_BITS), 1 + self._take(4)
        return self._number(INTEGER_BITS), 0

    def _read_fields(self) -> None:
        """Read what follows the size."""
        if self._take():
            self.orientation = 1 + self._take(3)
            if self._take():
                self._size()  # at which it should be shown
            if self._take() or self._take():
                raise PoolError(
                    "it is an animation or has a preview, and of JPEG XL only stills can be read",
                    "convert it first to PNG",
                )
        self.depth = self._depth()
        self._take()
        if count := self._number(EXTRA_CHANNELS):
            self._read_alpha(count)
        self.is_lossy = bool(self._take())
        if not self._take():
            self._read_colours()

    def _read_alpha(self, count: int) -> None:
        """Read the depth of alpha, which is all that there may be beside the colours."""
        if count == 1 and self._take():
            self.alpha = 8, 0
            return
        if count == 1 and self._number(ENUM) == ALPHA:
            self.alpha = self._depth()
            self._number(SHIFTS)
            self._take(8 * self._number(NAME_LENGTHS))
            if not self._take():  # nothing is multiplied by it
                return
        raise PoolError(
            "it has channels beside colour and alpha, or its colours are multiplied by alpha",
            "save it with straight alpha alone",
        )

    def _read_colours(self) -> None:
        """Read how colours are encoded, as far as they may be those of sRGB."""
        self.has_profile, space = bool(self._take()), self._number(ENUM)
        self.is_grey, self.curve = space == GREY, 0
        if self.has_profile or space not in (RGB, GREY) or self._number(ENUM) != D65:
            return
        if space == RGB and self._number(ENUM) != SRGB_PRIMARIES:
            return
        if not self._take():  # there is no gamma in the place of a curve with a number
            self.curve = self._number(ENUM)

    def _mode(self, channels: int) -> str:
        """Return the mode of the picture."""
        bits, exponent = self.depth
        if self.depth in FLOATS:
            return "F" if channels == 1 else ARRAY
        if exponent or bits > 16:
            raise PoolError(
                f"samples of {bits} bits, {exponent} of them for an exponent, can't be read",
                "convert it first to 16 bits",
            )
        if bits in USUAL:
            return USUAL[bits][channels - 1]
        if self.alpha:
            raise PoolError(
                f"{bits}-bit samples with alpha can't be pooled", "convert it first to 8 or 16 bits"
            )
        return "RGB;M" if channels == 3 else "1" if bits == 1 else "L;M"

    def _unread_colour(self) -> str:
        """Return why what the colours mean can't be carried over; empty where it can."""
        if self.has_profile:
            return "its colour profile can't be read"
        # Floating-point samples are linear where nothing else is known of them.
        is_usual = self.curve == SRGB_CURVE or (self.curve == LINEAR and self.depth in FLOATS)
        return "" if is_usual else "its colour encoding is not that of sRGB"


def read(stream: BinaryIO, limits: Limits) -> DecodedReader:
    """Open a JPEG XL."""
    codec = library("imagecodecs", "deep")
    header = _Header(_codestream(stream, HEADER_BYTES)[:HEADER_BYTES])
    info = header.info(is_transcoded=any(find_boxes(stream, b"jbrd")))
    limits.check(*info.shape)
    parts = stream, codec, info
    return DecodedReader(info, partial(_decode, *parts), partial(_metadata, *parts))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JxlWriter:
    """Begin to write a JPEG XL."""
    return JxlWriter(file, row, saving)


class JxlWriter(WholeFrameWriter):
    """A JPEG XL that is written: without loss, unless the source had lost something already."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture; a container is only used where something stands beside it."""
        info = picture.info
        held = self.held(info, picture.metadata)
        encoded = self._encoded(picture.array, info)
        codestream = _codestream(BytesIO(encoded))
        # The library calls 16-bit and floating-point samples linear.
        if info.mode in USUAL[16] or info.encoding.details.get("curve") == SRGB_CURVE:
            codestream = _called_srgb(codestream)
        boxes = {
            b"jxll": next(read_boxes(BytesIO(encoded), b"jxll"), b""),
            b"Exif": held.get("exif", b"").replace(EXIF_PREFIX, bytes(4), 1),
            b"xml ": held.get("xmp", b""),
        }
        if not any(boxes.values()):
            self.file.write(codestream)
            return
        self.file.write(CONTAINER)
        for name, content in (*boxes.items(), (b"jxlc", codestream)):
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
            array = _linear(array, info.mode)
        octets: bytes = library("imagecodecs", "deep").jpegxl_encode(
            array.astype(np.uint8) if info.mode == "1" else array,
            level=None if lossless else chosen.get("quality", QUALITY),
            lossless=lossless,
            effort=chosen.get("effort", EFFORT),
            bitspersample=1 if info.mode == "1" else None,
            numthreads=1,
        )
        return octets


def _decode(stream: BinaryIO, codec: Any, info: FrameInfo) -> NDArray[Any]:
    """Return the samples as they are stored."""
    stream.seek(0)
    array: NDArray[Any] = codec.jpegxl_decode(stream.read(), 0, keeporientation=True, numthreads=1)
    return array.astype(info.dtype, copy=False)


def _codestream(stream: BinaryIO, most: int = -1) -> bytes:
    """Return a codestream, which may lie in one box or in several; a bare one up to a length."""
    stream.seek(0)
    octets = stream.read(most)
    if not octets.startswith(CODESTREAM):
        whole = next(read_boxes(stream, b"jxlc"), b"")
        octets = whole or b"".join(part[4:] for part in read_boxes(stream, b"jxlp"))
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
    block = exif[4 + int.from_bytes(exif[:4], "big") :]
    described, _ = describe(block, found[b"xml "], warnings)
    has_jumbf = any(find_boxes(stream, b"jumb"))
    return described._replace(dropped=("JUMBF boxes",) if has_jumbf else ())


def _called_srgb(codestream: bytes) -> bytes:
    """Return a codestream whose header names the curve of sRGB in the place of no curve.

    Both are named by the same number of bits, the last ones that are read of the header.
    """
    head, rest = codestream[:HEADER_BYTES], codestream[HEADER_BYTES:]
    header, (least, count) = _Header(head), ENUM[2]
    if header.curve != LINEAR:
        return codestream
    changed = (LINEAR - least ^ SRGB_CURVE - least) << header.at - count
    return (int.from_bytes(head, "little") ^ changed).to_bytes(len(head), "little") + rest


def _linear(array: NDArray[Any], mode: str) -> NDArray[Any]:
    """Return 16-bit samples as light, rounded to 16 bits, but for alpha (IEC 61966-2-1)."""
    coded = np.arange(1 << 16) / 65535
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear: NDArray[Any] = np.rint(light * 65535).astype(np.uint16)[array]
    if MODES[mode].without_alpha:
        linear[..., -1] = array[..., -1]
    return linear
