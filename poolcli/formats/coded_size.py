"""Find the sizes for which the decoders of AV1 and HEVC allocate memory.

A file states the size of a picture in a box, and again in the coded data. The decoders allocate
memory by the latter, and the libraries compare the two only afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final

from poolcli.errors import PoolError
from poolcli.formats.boxes import TABLES, Item, find_boxes, read_boxes
from poolcli.picture import Pair

SEQUENCE_HEADER, PARAMETERS = 1, 33
"""The kinds of units that state the size: an OBU of AV1, and a NAL unit of HEVC."""

MOST_UNITS: Final = 1 << 17
MOST_TIMES, ALWAYS_ALLOWED = 4, 1 << 20
"""The factor by which more pixels may be coded than stated, and the pixels that may always be."""

DAMAGED: Final = "its coded data are damaged"


def check_coded(sizes: Iterable[Pair], height: int, width: int) -> None:
    """Refuse a file whose decoder would allocate much more memory than the stated size needs.

    Args:
        sizes: (height, width) of the coded pictures.
        height: the number of rows that the file states.
        width: the number of columns that it states.

    Raises:
        PoolError: a coded picture is much larger.
    """
    for down, across in sizes:
        if down * across > max(MOST_TIMES * height * width, ALWAYS_ALLOWED):
            raise PoolError(
                f"it states {height}×{width} pixels, but {down}×{across} are coded",
                "is the file damaged?",
            )


def av1_sizes(stream: BinaryIO, items: Iterable[Item]) -> Iterator[Pair]:
    """Yield the (height, width) of every sequence header in items and tracks."""
    data = _data(stream, (one for one in items if one.kind == b"av01"))
    for octets in chain(data, _samples(stream)):
        for kind, body in _units(octets):
            if kind == SEQUENCE_HEADER:
                yield _av1_size(_Bits(body))


def hevc_sizes(stream: BinaryIO, items: Iterable[Item]) -> Iterator[Pair]:
    """Yield the (height, width) of every sequence parameter set in items and their properties."""
    coded = [one for one in items if one.kind in (b"hvc1", b"hev1")]
    every = (each for one in coded for each in one.properties)
    # Items may share a property, which is parsed only once.
    sets = dict.fromkeys(content for name, content in every if name == b"hvcC")
    units = (unit for octets in _data(stream, coded) for unit in _nal_units(octets))
    for unit in chain(_parameter_sets(content[23:] for content in sets), units):
        if len(unit) > 1 and unit[0] >> 1 & 63 == PARAMETERS:
            yield _hevc_size(_Bits(unit[2:].replace(b"\0\0\3", b"\0\0")))


class _Bits:
    """The bits of a unit, the highest of each byte first."""

    def __init__(self, octets: bytes) -> None:
        """Begin with the first bit; no size stands after the first 512 bytes."""
        octets = octets[:512]
        self._value, self._left = int.from_bytes(octets, "big"), 8 * len(octets)

    def take(self, count: int = 1) -> int:
        """Return the next ``count`` bits as a number.

        Raises:
            PoolError: there are fewer.
        """
        self._left -= count
        if self._left < 0:
            raise PoolError(DAMAGED, "is the file complete?")
        return self._value >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return the next number in Exp-Golomb code."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _av1_size(bits: _Bits) -> Pair:
    """Return (height, width) from a sequence header (AV1, 5.5.1)."""
    bits.take(4)
    if bits.take():  # a reduced header, for stills
        bits.take(5)
    else:
        _skip_operating_points(bits)
    across, down = 1 + bits.take(4), 1 + bits.take(4)
    width = 1 + bits.take(across)
    return 1 + bits.take(down), width


def _skip_operating_points(bits: _Bits) -> None:
    """Skip timing information and operating points (AV1, 5.5.1 to 5.5.5)."""
    delay_bits = 0
    if bits.take():  # timing information
        bits.take(64)
        if bits.take():
            bits.golomb()
        if bits.take():  # a decoder model
            delay_bits = 1 + bits.take(5)
            bits.take(42)
    has_delay = bits.take()
    for _ in range(1 + bits.take(5)):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take()
        if delay_bits and bits.take():
            bits.take(2 * delay_bits + 1)
        if has_delay and bits.take():
            bits.take(4)


def _hevc_size(bits: _Bits) -> Pair:
    """Return (height, width) from a sequence parameter set (ITU-T H.265, 7.3.2.2 and 7.3.3)."""
    bits.take(4)
    layers = bits.take(3)
    bits.take(97)
    present = [(bits.take(), bits.take()) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for has_profile, has_level in present:
        bits.take(88 * has_profile + 8 * has_level)
    bits.golomb()
    if bits.golomb() == 3:
        bits.take()
    width = bits.golomb()
    return bits.golomb(), width


def _units(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the first bytes of every unit of AV1 (AV1, 5.3)."""
    at = 0
    for _ in range(MOST_UNITS):
        if at >= len(octets):
            return
        head, size, shift = octets[at], 0, 0
        at += 2 if head & 4 else 1
        if not head & 2:  # without a size it is the last one
            size = len(octets) - at
        else:
            while at < len(octets):
                at, size, shift = at + 1, size | (octets[at] & 127) << shift, shift + 7
                if octets[at - 1] < 128 or shift > 56:
                    break
        yield head >> 3 & 15, octets[at : at + min(size, 512)]
        at += size
    raise PoolError(DAMAGED, "is the file damaged?")


def _nal_units(octets: bytes) -> Iterator[bytes]:
    """Yield the first bytes of every unit of HEVC; its length stands before it, in four bytes."""
    at = 0
    for _ in range(MOST_UNITS):
        if at + 4 > len(octets):
            return
        (size,) = struct.unpack_from(">I", octets, at)
        yield octets[at + 4 : at + 4 + min(size, 512)]
        at += 4 + size
    raise PoolError(DAMAGED, "is the file damaged?")


def _parameter_sets(arrays: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the units in the boxes hvcC, from their last fields (ISO/IEC 14496-15, 8.3.3.1)."""
    for octets in arrays:
        at = 0
        while at + 3 <= len(octets):
            (count,) = struct.unpack_from(">H", octets, at + 1)
            at += 3
            while count and at + 2 <= len(octets):
                (size,) = struct.unpack_from(">H", octets, at)
                yield octets[at + 2 : at + 2 + size]
                at, count = at + 2 + size, count - 1


def _data(stream: BinaryIO, items: Iterable[Item]) -> Iterator[bytes]:
    """Yield the data of items; data that several items share is yielded once."""
    room = 2 * stream.seek(0, 2)
    for extents in dict.fromkeys(tuple(one.extents) for one in items):
        parts = []
        for begin, stop in extents:
            stream.seek(begin)
            parts.append(stream.read(max(0, stop - begin)))
            room -= len(parts[-1])
            if room < 0:  # a hostile file could name the same bytes many times
                raise PoolError(DAMAGED, "is the file damaged?")
        yield b"".join(parts)


def _samples(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the coded data of every sample of every track (ISO/IEC 14496-12, 8.7)."""
    sizes = [*read_boxes(stream, *TABLES, b"stsz")]
    runs = [*read_boxes(stream, *TABLES, b"stsc")]
    places = sorted(
        (span, code)
        for name, code in ((b"stco", ">I"), (b"co64", ">Q"))
        for span in find_boxes(stream, *TABLES, name)
    )
    if not len(sizes) == len(runs) == len(places):
        raise PoolError("the tables of its frames are damaged", "is the file complete?")
    room = 2 * stream.seek(0, 2)
    for size, run, ((first, stop), code) in zip(sizes, runs, places, strict=True):
        stream.seek(first)
        chunks = [one for (one,) in struct.iter_unpack(code, stream.read(stop - first)[8:])]
        for begin, length in _sample_places(size, run, chunks):
            stream.seek(begin)
            yield stream.read(length)
            room -= length + 1
            if room < 0:
                raise PoolError("the tables of its frames are damaged", "is the file damaged?")


def _sample_places(sizes: bytes, runs: bytes, chunks: list[int]) -> Iterator[Pair]:
    """Yield the position and the length of each sample."""
    fixed, count = struct.unpack_from(">II", sizes, 4)
    lengths = iter([] if fixed else [one for (one,) in struct.iter_unpack(">I", sizes[12:])])
    steps = {first: each for first, each, _ in struct.iter_unpack(">III", runs[8:])}
    each = 0
    for number, begin in enumerate(chunks, 1):
        each = steps.get(number, each)
        for _ in range(each):
            length = fixed or next(lengths, None)
            if length is None or count <= 0:
                return
            yield begin, length
            begin, count = begin + length, count - 1
