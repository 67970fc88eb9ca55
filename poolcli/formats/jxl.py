"""Read and write JPEG XL with imagecodecs.

Depth, channels and colour encoding are parsed from the header here: imagecodecs does not tell.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.boxes import WITHOUT_GAIN_MAP, find_boxes, read_boxes
from poolcli.formats.boxes import end as end_of_boxes
from poolcli.formats.carried import EXIF_PREFIX, MOST_XMP_BYTES
from poolcli.formats.contract import DecodedReader, Limits, WholeFrameWriter
from poolcli.formats.exif import describe
from poolcli.formats.extras import library
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Encoding, FrameInfo, Metadata, Pair, Picture, Stored

CODESTREAM: Final = b"\xff\x0a"
CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
HEADER_BYTES: Final = 1 << 12
"""More bytes than the header takes; the name of its alpha channel may have up to 1071."""

MOST_TRIED: Final = 8
"""The number of places with the bytes of the header that are tried as the start of a picture."""

QUALITY: Final = 90
EFFORT: Final = 5
"""The default effort. The encoder's default, 7, takes twice as long for 2 % fewer bytes."""

Choices: TypeAlias = tuple[Pair, ...]
"""The four encodings of a number: (offset, bits), selected by two bits (ISO/IEC 18181-1, U32)."""

SIDES: Final[Choices] = ((1, 9), (1, 13), (1, 18), (1, 30))
RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""The aspect ratios, width to height, that a size refers to by numbers from 1."""

ENUM: Final[Choices] = ((0, 0), (1, 0), (2, 4), (18, 6))
INTEGER_BITS: Final[Choices] = ((8, 0), (10, 0), (12, 0), (1, 6))
FLOAT_BITS: Final[Choices] = ((32, 0), (16, 0), (24, 0), (1, 6))
EXTRA_CHANNELS: Final[Choices] = ((0, 0), (1, 0), (2, 4), (1, 12))
SHIFTS: Final[Choices] = ((0, 0), (3, 0), (4, 0), (1, 3))
NAME_LENGTHS: Final[Choices] = ((0, 0), (0, 4), (16, 5), (48, 10))

ALPHA, RGB, GREY = 0, 0, 1
D65, SRGB_PRIMARIES, LINEAR, SRGB_CURVE = 1, 1, 8, 13
FLOATS: Final = {(32, 8): "f4", (16, 5): "f2"}
"""The types of floating-point samples, by (bits, bits of the exponent)."""

USUAL: Final = {8: ("L", "LA", "RGB", "RGBA"), 16: ("I;16", "LA;16", "RGB;16", "RGBA;16")}
"""The modes of 8-bit and 16-bit samples, for 1 to 4 channels."""


class _Header:
    """The header of a codestream, up to its colour encoding (ISO/IEC 18181-1, ImageHeader).

    Attributes:
        at: the number of bits read so far; the lowest bit of each byte comes first.
        size: (height, width) as stored.
        orientation: EXIF's orientation, which is not applied yet.
        depth: (bits, bits of the exponent) of a colour sample; the latter is 0 for integers.
        alpha: the same for alpha, or None if there is no alpha.
        is_lossy: whether colours are stored as XYB, which only lossy encoding does.
        is_grey: whether there is one colour channel rather than three.
        has_profile: whether an ICC profile describes the colours.
        curve: the number of the transfer function if the primaries are those of sRGB, else 0.
    """

    orientation = 1
    depth: Pair = (8, 0)
    alpha: Pair | None = None
    is_lossy = True
    is_grey = has_profile = False
    curve = SRGB_CURVE

    def __init__(self, octets: bytes) -> None:
        """Parse the header at the start of a codestream.

        Raises:
            PoolError: the header is cut off, or such pictures can't be read.
        """
        self.at = 8 * len(CODESTREAM)
        self._bits, self._end = int.from_bytes(octets, "little"), 8 * len(octets)
        self.size = self._size()
        if not self._take():  # 1 means that all other fields have their default values
            self._read_fields()

    def info(self, *, is_transcoded: bool) -> FrameInfo:
        """Return the `FrameInfo` of the picture.

        Args:
            is_transcoded: whether the file was made losslessly from a JPEG.

        Raises:
            PoolError: samples of such a depth can't be read or pooled.
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
        """Read the next ``count`` bits as a number.

        Raises:
            PoolError: the header is cut off.
        """
        if self.at + count > self._end:
            raise PoolError("its header is cut off", "is the file complete?")
        value = self._bits >> self.at & ((1 << count) - 1)
        self.at += count
        return value

    def _number(self, choices: Choices) -> int:
        """Read a number in one of four encodings, which the next two bits select."""
        least, count = choices[self._take(2)]
        return least + self._take(count)

    def _size(self) -> Pair:
        """Read (height, width); both may be stored in units of 8, and the width as a ratio."""
        in_eighths = self._take()
        height, ratio = self._side(in_eighths), self._take(3)
        if not ratio:
            return height, self._side(in_eighths)
        across, down = RATIOS[ratio - 1]
        return height, height * across // down

    def _side(self, in_eighths: int) -> int:
        """Read a height or width."""
        return 8 * (1 + self._take(5)) if in_eighths else self._number(SIDES)

    def _depth(self) -> Pair:
        """Read (bits, bits of the exponent) of a sample."""
        if self._take():
            return self._number(FLOAT_BITS), 1 + self._take(4)
        return self._number(INTEGER_BITS), 0

    def _read_fields(self) -> None:
        """Read the fields after the size.

        Raises:
            PoolError: it is an animation, or has a preview or unsupported channels.
        """
        if self._take():
            self.orientation = 1 + self._take(3)
            if self._take():
                self._size()  # the recommended size on the screen, which we ignore
            if self._take() or self._take():
                raise PoolError(
                    "it is an animation or has a preview, but JPEG XL can only be read as a still",
                    "convert it first to PNG",
                )
        self.depth = self._depth()
        self._take()  # whether 16-bit buffers suffice for decoding
        if count := self._number(EXTRA_CHANNELS):
            self._read_alpha(count)
        self.is_lossy = bool(self._take())
        if not self._take():
            self._read_colours()

    def _read_alpha(self, count: int) -> None:
        """Read the depth of alpha, the only extra channel that is supported.

        Raises:
            PoolError: there are other extra channels, or alpha is premultiplied.
        """
        if count == 1 and self._take():
            self.alpha = 8, 0
            return
        if count == 1 and self._number(ENUM) == ALPHA:
            self.alpha = self._depth()
            self._number(SHIFTS)
            self._take(8 * self._number(NAME_LENGTHS))
            if not self._take():  # 0 means straight alpha
                return
        raise PoolError(
            "it has channels beside colour and alpha, or its colours are multiplied by alpha",
            "save it with straight alpha alone",
        )

    def _read_colours(self) -> None:
        """Read the colour encoding; stop at the first field that differs from sRGB."""
        self.has_profile, space = bool(self._take()), self._number(ENUM)
        self.is_grey, self.curve = space == GREY, 0
        if self.has_profile or space not in (RGB, GREY) or self._number(ENUM) != D65:
            return
        if space == RGB and self._number(ENUM) != SRGB_PRIMARIES:
            return
        if not self._take():  # 1 means that a gamma value follows instead of a curve's number
            self.curve = self._number(ENUM)

    def _mode(self, channels: int) -> str:
        """Return the mode of the picture.

        Raises:
            PoolError: samples of such a depth can't be read or pooled.
        """
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
        if self.alpha not in (None, self.depth):
            raise PoolError(
                f"{bits}-bit samples with alpha of {self.alpha[0]} bits can't be read",
                "convert it first to 8 or 16 bits",
            )
        return "1" if bits == channels == 1 else USUAL[8][channels - 1] + ";M"

    def _unread_colour(self) -> str:
        """Return why the colour encoding can't be kept; empty if it is sRGB or linear floats."""
        if self.has_profile:
            return "its colour profile can't be read"
        # poolcli takes floating-point samples for linear unless their encoding is stated.
        is_usual = self.curve == SRGB_CURVE or (self.curve == LINEAR and self.depth in FLOATS)
        return "" if is_usual else "its colour encoding is not that of sRGB"


def read(stream: BinaryIO, limits: Limits) -> DecodedReader:
    """Open a JPEG XL."""
    codec = library("imagecodecs", "deep", "it is JPEG XL, which")
    header = _Header(_codestream(stream, HEADER_BYTES)[:HEADER_BYTES])
    info = header.info(is_transcoded=any(find_boxes(stream, b"jbrd")))
    limits.check(*info.shape)
    parts = stream, codec, info
    return DecodedReader(info, partial(_decode, *parts), partial(_metadata, *parts))


def size_of(octets: bytes) -> Pair:
    """Return (height, width) of a picture in memory, as its header states them."""
    return _Header(_codestream(BytesIO(octets))[:HEADER_BYTES]).size


def end(stream: BinaryIO) -> int | None:
    """Return the position of another picture that follows; None if none is found.

    A codestream without a container states its length nowhere, so only another one with the same
    header is found. As such bytes may also be compressed data, the part before it must be whole.
    """
    octets = stream.read()
    if not octets.startswith(CODESTREAM):
        return end_of_boxes(stream)
    codec = library("imagecodecs", "deep", "it is JPEG XL, which")
    head = octets[: _Header(octets[:HEADER_BYTES]).at // 8]
    for again in islice(re.finditer(re.escape(head), octets), 1, MOST_TRIED):
        at = again.start()
        with suppress(Exception):  # imagecodecs, an optional package, has its own type
            codec.jpegxl_decode(octets[:at], numthreads=1)
            return at
    return None


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> JxlWriter:
    """Return the writer of a JPEG XL."""
    return JxlWriter(file, row, saving)


class JxlWriter(WholeFrameWriter):
    """The writer of a JPEG XL; by default it is lossless unless the source was lossy."""

    def write_frame(self, picture: Picture) -> None:
        """Encode the picture, in a container only if there is metadata or a level to store."""
        info = picture.info
        held = self.held(info, picture.metadata)
        encoded = self._encoded(picture.array, info)
        codestream = _codestream(BytesIO(encoded))
        # imagecodecs labels 16-bit and floating-point samples as linear.
        if info.mode in USUAL[16] or info.encoding.details.get("curve") == SRGB_CURVE:
            codestream = _labelled_srgb(codestream)
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
        """Encode the picture with imagecodecs."""
        chosen = self.saving.for_format(self.row)
        lossless = self.saving.is_lossless(self.row, info.encoding)
        if info.dtype.kind == "f" and not lossless:
            self.note("floating-point samples were written without loss")
            lossless = True
        if info.mode in USUAL[16] and not lossless:
            array = _linear_light(array, info.mode)
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
    """Decode the samples as they are stored, without applying the orientation."""
    stream.seek(0)
    array: NDArray[Any] = codec.jpegxl_decode(stream.read(), 0, keeporientation=True, numthreads=1)
    return array.astype(info.dtype, copy=False)


def _codestream(stream: BinaryIO, most: int = -1) -> bytes:
    """Return the codestream of a file, from one or several boxes if there is a container.

    Args:
        stream: the file.
        most: the most bytes to return if there is no container; -1 for all.

    Raises:
        PoolError: there is none.
    """
    stream.seek(0)
    octets = stream.read(most)
    if not octets.startswith(CODESTREAM):
        whole = next(read_boxes(stream, b"jxlc"), b"")
        octets = whole or b"".join(part[4:] for part in read_boxes(stream, b"jxlp"))
    if not octets.startswith(CODESTREAM):
        raise PoolError("its codestream is missing", "is the file complete?")
    return octets


def _metadata(stream: BinaryIO, codec: Any, info: FrameInfo) -> Metadata:
    """Return the metadata from the boxes beside the codestream."""
    found = {name: next(read_boxes(stream, name), b"") for name in (b"Exif", b"xml ")}
    warnings = [f"{info.unread_colour}; it was taken for sRGB"] if info.unread_colour else []
    warnings += [WITHOUT_GAIN_MAP] * any(find_boxes(stream, b"jhgm"))
    for packed in read_boxes(stream, b"brob"):
        if (name := packed[:4]) in found:
            try:
                found[name] = bytes(codec.brotli_decode(packed[4:], out=MOST_XMP_BYTES))
            except Exception:  # noqa: BLE001  # imagecodecs, an optional package, has its own type
                warnings.append("its compressed metadata is damaged or too long, and was dropped")
    exif = found[b"Exif"]
    block = exif[4 + int.from_bytes(exif[:4], "big") :]
    described, _ = describe(block, found[b"xml "], warnings)
    has_jumbf = any(find_boxes(stream, b"jumb"))
    return described._replace(dropped=("JUMBF boxes",) if has_jumbf else ())


def _labelled_srgb(codestream: bytes) -> bytes:
    """Return a codestream whose header names the curve of sRGB instead of the linear one.

    Both numbers take the same bits, and these are the last ones that `_Header` has read.
    """
    head, rest = codestream[:HEADER_BYTES], codestream[HEADER_BYTES:]
    header, (least, count) = _Header(head), ENUM[2]
    if header.curve != LINEAR:
        return codestream
    changed = (LINEAR - least ^ SRGB_CURVE - least) << header.at - count
    return (int.from_bytes(head, "little") ^ changed).to_bytes(len(head), "little") + rest


def _linear_light(array: NDArray[Any], mode: str) -> NDArray[Any]:
    """Return 16-bit sRGB samples as linear light, rounded to 16 bits (IEC 61966-2-1).

    Alpha is unchanged.
    """
    coded = np.arange(1 << 16) / 65535
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear: NDArray[Any] = np.rint(light * 65535).astype(np.uint16)[array]
    if MODES[mode].without_alpha:
        linear[..., -1] = array[..., -1]
    return linear
