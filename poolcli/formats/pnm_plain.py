"""Parse the samples of plain PBM, PGM and PPM, which are decimal numbers.

NumPy parses a megabyte of text at a time: a loop over the words takes many times as long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.pnm_header import SPACE
from poolcli.picture import FrameInfo

PART_BYTES: Final = 1 << 20
"""The number of bytes of text that are parsed at a time."""

LEFT_OUT: Final = "bytes that follow the last picture were left out"
COMMENT: Final = re.compile(rb"#[^\r\n]*")
IS_SPACE: Final = np.isin(np.arange(256), np.frombuffer(SPACE, np.uint8))
ZERO: Final = np.uint8(ord("0"))
MOST_DIGITS: Final = 9
"""The longest number that fits the 32 bits in which it is computed; samples need 5 digits."""


def plain_samples(
    stream: BinaryIO,
    begin: int,
    info: FrameInfo,
    warnings: list[str],
    part_bytes: int = PART_BYTES,
) -> NDArray[Any]:
    """Parse all samples of a picture; the bits of a PBM need no white space between them.

    Args:
        stream: the file.
        begin: the position of the text.
        info: the contents of the header.
        warnings: gets a warning if more bytes follow.
        part_bytes: how many bytes are parsed at a time, roughly.

    Raises:
        PoolError: a sample is missing, out of range, or not a number.
    """
    stream.seek(begin)
    is_bits = info.mode == "1"
    samples = np.empty(math.prod(info.shape), info.dtype)
    filled, rest = 0, b""
    parts = _parts(stream, part_bytes, at_spaces=not is_bits)
    for text in parts:
        octets = np.frombuffer(text, np.uint8)
        starts, stops = _words(octets, each_byte=is_bits)
        left = samples.size - filled
        if left and len(starts):
            found = _numbers(octets, starts[:left], stops[:left])
            check_range(found, info)
            samples[filled : filled + len(found)] = found == 0 if is_bits else found
            filled += len(found)
        if filled == samples.size:
            rest = text[stops[left - 1] :] + next(parts, b"")
            break
    if filled < samples.size:
        raise too_short(filled, info)
    if rest.strip(SPACE):
        warnings.append(LEFT_OUT)
    return samples.reshape(info.shape)


def check_range(samples: NDArray[Any], info: FrameInfo) -> None:
    """Refuse samples above maxval.

    Raises:
        PoolError: there is such a sample.
    """
    if (most := samples.max()) > info.maxval:
        raise PoolError(f"a sample is {most}, above maxval {info.maxval}", "is the file damaged?")


def too_short(found: int, info: FrameInfo) -> PoolError:
    """Return the error for a file in which samples are missing."""
    return PoolError(
        f"it ends after {found} of {math.prod(info.shape)} samples", "is the file complete?"
    )


def _parts(stream: BinaryIO, part_bytes: int, *, at_spaces: bool) -> Iterator[bytes]:
    """Yield the text without comments in parts, which end at white space if that is asked for."""
    rest = b""
    while part := stream.read(part_bytes):
        if b"#" in part:  # the comment must not be cut
            part = COMMENT.sub(b"", part + stream.readline())
        text = rest + part
        stop = max(map(text.rfind, (SPACE[i : i + 1] for i in range(len(SPACE))))) + 1
        if not at_spaces or (not stop and len(text) > part_bytes):
            stop = len(text)
        rest = text[stop:]
        yield text[:stop]
    if rest:
        yield rest


def _words(octets: NDArray[np.uint8], *, each_byte: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where each word of a text starts and stops.

    Args:
        octets: the text.
        each_byte: whether each byte that is no white space is a word.
    """
    solid = ~IS_SPACE[octets]
    if each_byte:
        starts = np.flatnonzero(solid)
        return starts, starts + 1
    edges = np.flatnonzero(np.diff(solid, prepend=False, append=False))
    return edges[::2], edges[1::2]


def _numbers(
    octets: NDArray[np.uint8], starts: NDArray[Any], stops: NDArray[Any]
) -> NDArray[np.uint32]:
    """Return the words of a text as numbers.

    Raises:
        PoolError: a word is no whole number, or too long.
    """
    digits, lengths = octets - ZERO, stops - starts
    longest = int(lengths.max())
    numbers = np.zeros(len(starts), np.uint32)
    is_wrong = lengths > MOST_DIGITS
    for place in range(min(longest, MOST_DIGITS)):
        # Words that are shorter get the digit 0; any index is valid for them.
        has_digit = lengths > place
        digit = np.where(has_digit, digits[stops - 1 - place], 0)
        is_wrong |= digit > 9
        numbers += digit * np.uint32(10**place)
    if is_wrong.any():
        first = int(is_wrong.argmax())
        word = octets[starts[first] : stops[first]].tobytes()[: 2 * MOST_DIGITS]
        raise PoolError(
            f"its sample {word.decode('latin-1')} is no whole number", "is the file damaged?"
        )
    return numbers
