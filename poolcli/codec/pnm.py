"""PGM and PPM of any maxval: Pillow rescales all but 255, and grey of 65535."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError

HEADER: Final = re.compile(rb"P([2356])" + rb"(?:(?:\s|#[^\r\n]*[\r\n])+(\d{1,10}))" * 3 + rb"\s")
COMMENT: Final = re.compile(rb"#[^\r\n]*")
WORD: Final = re.compile(rb"\S+")
HEAD_BYTES: Final = 4096
PLAIN: Final = (2, 3)
COLOUR: Final = (3, 6)


class Header(NamedTuple):
    """What a PNM says before its samples: see pgm(5) and ppm(5)."""

    kind: int
    width: int
    height: int
    maxval: int
    begin: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a stored sample: two bytes, the first the larger, above 255."""
        return np.dtype(np.uint8 if self.maxval < 256 else ">u2")

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        colour = (3,) if self.kind in COLOUR else ()
        return (self.height, self.width, *colour)


def read_header(stream: BinaryIO) -> Header | None:
    """The header of a PGM or PPM; None if it is none, or a PBM."""
    stream.seek(0)
    match = HEADER.match(stream.read(HEAD_BYTES))
    if match is None:
        return None
    kind, width, height, maxval = (int(number) for number in match.groups())
    return Header(kind, width, height, maxval, match.end())


def read(stream: BinaryIO, header: Header) -> NDArray[Any]:
    """The samples as stored, in 0…maxval.

    Raises:
        PoolError: there are too few, or one is above maxval.
    """
    stream.seek(header.begin)
    content = stream.read()
    count = 1
    for extent in header.shape:
        count *= extent
    if header.kind in PLAIN:
        samples = _numbers(content, count)
    else:
        samples = np.frombuffer(content[: count * header.dtype.itemsize], header.dtype)
    if samples.size < count:
        raise PoolError(f"it ends after {samples.size} of {count} samples", "is the file complete?")
    if samples.size and samples.max() > header.maxval:
        raise PoolError(f"a sample is above the maxval of {header.maxval}", "is the file sound?")
    if samples.size and samples.min() < 0:
        raise PoolError("a sample is negative", "is the file sound?")
    return samples.reshape(header.shape).astype(header.dtype.newbyteorder("="), copy=False)


def _numbers(content: bytes, count: int) -> NDArray[np.int32]:
    """The first samples that are written as words, one by one: a list of all takes much memory."""
    text = COMMENT.sub(b"", content) if b"#" in content else content
    words = (match[0] for match in WORD.finditer(text))
    return np.fromiter(map(int, islice(words, count)), np.int32)


def write(array: NDArray[Any], maxval: int) -> bytes:
    """A binary PGM or PPM of samples in 0…maxval."""
    height, width = array.shape[:2]
    kind = 6 if array.ndim == 3 else 5
    stored = array.astype(np.uint8 if maxval < 256 else ">u2")
    return b"P%d\n%d %d\n%d\n" % (kind, width, height, maxval) + stored.tobytes()
