"""Read and write the headers of PBM, PGM, PPM, PAM and PFM.

See pbm(5), pgm(5), ppm(5), pam(5) and pfm(5) of Netpbm.
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from poolcli.errors import PoolError
from poolcli.picture import (
    ARRAY,
    MODES,
    Encoding,
    FrameInfo,
    Pair,
    Stored,
    full_scale,
    info_in_mode,
)

PLAIN: Final = (b"P1", b"P2", b"P3")
"""The formats whose samples are decimal numbers."""

PBM: Final = b"P4"
BITS: Final = (b"P1", PBM)
RGB: Final = (b"P3", b"P6")
FLOATS: Final = {b"Pf": "F", b"PF": "RGB;F"}
PAM: Final = b"P7"
BINARY: Final = (b"P4", b"P5", b"P6", PAM)
"""The formats of which a file may hold several pictures in a row."""

HEADER_BYTES: Final = 1 << 16
"""The longest header that is read; comments can make it long."""

SPACE: Final = b" \t\n\v\f\r"
"""The characters of white space."""

NUMBER: Final = re.compile(rb"\d{1,10}")
SCALE: Final = re.compile(rb"[-+]?(?=[.\d]*[1-9])[.\d]+(?:[eE][-+]?\d+)?")
"""The scale of a PFM, which is not 0; its sign states the order of bytes."""

PAM_NUMBERS: Final = (b"HEIGHT", b"WIDTH", b"DEPTH", b"MAXVAL")
MODE_OF: Final = {
    (b"BLACKANDWHITE_ALPHA", 2): "LA",
    (b"GRAYSCALE_ALPHA", 2): "LA",
    (b"RGB_ALPHA", 4): "RGBA",
}
"""The mode of 8-bit samples, for the tuple types of PAM that have alpha and their channels."""

TYPE_OF: Final = {
    "1": "BLACKANDWHITE",
    "L": "GRAYSCALE",
    "LA": "GRAYSCALE_ALPHA",
    "RGB": "RGB",
    "RGBA": "RGB_ALPHA",
}
"""The tuple type of PAM for each mode, without its depth."""

LETTERS: Final = {"1": "P4", "L": "P5", "RGB": "P6", "F": "Pf", "RGB;F": "PF"}
"""The first letters of the binary formats that hold each mode, without its depth."""


class Header(NamedTuple):
    """The header of one picture.

    Attributes:
        magic: the two letters that name the format.
        info: what is known of the picture.
        sample: the NumPy type of a sample in the file; PBM packs eight into a byte.
    """

    magic: bytes
    info: FrameInfo
    sample: np.dtype[Any]

    @property
    def row(self) -> np.dtype[Any]:
        """The NumPy type of a whole row in the file."""
        shape = self.info.shape[1:]
        if self.magic == PBM:
            shape = (-(-shape[0] // 8),)
        return np.dtype((self.sample, shape))

    @property
    def octets(self) -> int:
        """The number of bytes of all samples."""
        return self.info.shape[0] * self.row.itemsize


def read_header(stream: BinaryIO, magic: bytes) -> Header:
    """Read a header up to the first byte of the samples, and not a byte more.

    Args:
        stream: the file, behind the magic letters.
        magic: these letters.

    Raises:
        PoolError: it is damaged, or states samples that can't be pooled.
    """
    words = _Words(stream)
    if magic == PAM:
        return _pam(words)
    width, height = words.number(), words.number()
    if magic in FLOATS:
        return _floats(magic, (height, width), words.take())
    if magic in BITS:
        return _integers(magic, (height, width), "1", 1)
    return _integers(magic, (height, width), "RGB" if magic in RGB else "L", words.number())


def header_of(info: FrameInfo, stored: str, maxval: int, row: str) -> bytes:
    """Return the header of a picture that is written.

    Args:
        info: the picture.
        stored: the mode in the file.
        maxval: the largest value in the file.
        row: the name of the format.
    """
    height, width = info.shape[:2]
    if not maxval:
        scale = info.encoding.details.get("scale", "1.0")
        return f"{LETTERS[stored]}\n{width} {height}\n-{scale}\n".encode()
    base = "L" if stored == "I;16" else stored.partition(";")[0]
    if row == "pam":
        depth = f"DEPTH {MODES[stored].channels}\nMAXVAL {maxval}\nTUPLTYPE {TYPE_OF[base]}"
        return f"P7\nWIDTH {width}\nHEIGHT {height}\n{depth}\nENDHDR\n".encode()
    scale = "" if base == "1" else f"{maxval}\n"
    return f"{LETTERS[base]}\n{width} {height}\n{scale}".encode()


class _Words:
    """The words of a header, between white space and comments."""

    def __init__(self, stream: BinaryIO) -> None:
        """Begin behind the magic letters."""
        self._stream = stream
        self._left = HEADER_BYTES

    def take(self) -> bytes:
        """Return the next word, and read the one character of white space behind it."""
        word = b""
        while (letter := self._letter()) not in SPACE or not word:
            word += letter.strip(SPACE)
        return word

    def number(self) -> int:
        """Return the next word as a whole number.

        Raises:
            PoolError: it is none.
        """
        word = self.take()
        if not NUMBER.fullmatch(word):
            raise _damaged()
        return int(word)

    def line(self) -> list[bytes]:
        """Return the words of the next line; a comment has none."""
        text = self._stream.readline(self._left)
        self._left -= len(text)
        if not text.endswith(b"\n"):
            raise _damaged()
        return [] if text.startswith(b"#") else text.split()

    def _letter(self) -> bytes:
        """Return the next character; a comment counts as the end of its line."""
        letter = self._byte()
        if letter == b"#":
            while letter not in b"\n\r":
                letter = self._byte()
        return letter

    def _byte(self) -> bytes:
        """Return the next byte.

        Raises:
            PoolError: there is none, or the header is too long.
        """
        # A pipe must not be read beyond the header: nothing may come until this picture is out.
        byte = self._stream.read(1)
        self._left -= 1
        if not byte or self._left < 0:
            raise _damaged()
        return byte


def _pam(words: _Words) -> Header:
    """Read the rest of the header of a PAM.

    Raises:
        PoolError: a line is missing, or its samples can't be pooled.
    """
    fields: dict[bytes, list[bytes]] = {}
    while (line := words.line()) != [b"ENDHDR"]:
        if line:  # the values of repeated lines are joined
            fields.setdefault(line[0], []).extend(line[1:])
    texts = [b" ".join(fields.get(key, [])) for key in PAM_NUMBERS]
    if not all(map(NUMBER.fullmatch, texts)):
        raise _damaged()
    height, width, channels, maxval = map(int, texts)
    kind = b" ".join(fields.get(b"TUPLTYPE", []))
    mode = MODE_OF.get((kind, channels)) or {1: "L", 3: "RGB"}.get(channels, ARRAY)
    if (kind, channels, maxval) == (b"BLACKANDWHITE", 1, 1):
        mode = "1"
    return _integers(PAM, (height, width), mode, maxval, channels)


def _integers(
    magic: bytes, size: Pair, mode: str, maxval: int, channels: int | None = None
) -> Header:
    """Return the header of a picture of unsigned samples.

    Args:
        magic: the letters that name the format.
        size: (H, W).
        mode: the mode if maxval were 255; "1" for bilevel.
        maxval: the largest value.
        channels: samples of a pixel; None if the mode tells.

    Raises:
        PoolError: maxval is out of range.
    """
    if not 0 < maxval < 1 << 16:
        raise PoolError(f"its maxval is {maxval}", "it must be from 1 to 65535")
    dtype = np.dtype(bool if mode == "1" else np.uint8 if maxval < 256 else np.uint16)
    if mode == ARRAY and maxval != full_scale(dtype):
        raise PoolError(
            f"its {channels} channels have no known meaning, and its maxval is {maxval}",
            "convert it first to a maxval of 255 or 65535",
        )
    if mode not in ("1", ARRAY) and maxval != 255:
        mode = f"{mode};{'16' if maxval == full_scale(np.dtype(np.uint16)) else 'M'}"
        mode = {"L;16": "I;16"}.get(mode, mode)
    channels = channels or MODES[mode].channels
    shape = (*size, channels) if channels > 1 else size
    stored = Stored("unsigned", maxval.bit_length(), maxval, channels)
    encoding = Encoding("pam" if magic == PAM else "pnm")
    info = FrameInfo(shape, dtype, mode, maxval, stored, encoding=encoding)
    return Header(magic, info, np.dtype(np.uint8 if maxval < 256 else ">u2"))


def _floats(magic: bytes, size: Pair, scale: bytes) -> Header:
    """Return the header of a PFM.

    Raises:
        PoolError: the scale is 0 or no number.
    """
    if not SCALE.fullmatch(scale):
        raise _damaged()
    mode = FLOATS[magic]
    stored = Stored("float", 32, 0, MODES[mode].channels)
    encoding = Encoding("pfm", details={"scale": scale.decode().lstrip("+-")})
    info = info_in_mode(size, mode, stored, encoding=encoding)
    order = "<" if scale.startswith(b"-") else ">"
    return Header(magic, info, np.dtype(f"{order}f4"))


def _damaged() -> PoolError:
    """Return the error for a header that can't be read."""
    return PoolError("its header can't be read", "is the file damaged?")
