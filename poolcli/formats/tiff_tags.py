"""Read and write the tag directories of TIFF, BigTIFF and EXIF (TIFF 6.0, section 2)."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Collection
from contextlib import suppress
from threading import Lock
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import numpy as np

from poolcli.errors import PoolError

_CLASSIC_CODES: Final = ("B", "B", "H", "I", "2I", "b", "B", "h", "i", "2i", "f", "d", "I")
CODES: Final = {**dict(enumerate(_CLASSIC_CODES, 1)), 16: "Q", 17: "q", 18: "Q"}
"""The `struct` code of a value of each TIFF type."""

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, DOUBLE, LONG8 = 1, 2, 3, 4, 5, 7, 12, 16
VALUE_BYTES: Final = {kind: struct.calcsize(f"<{code}") for kind, code in CODES.items()}
MOST_NUMBERS: Final = 1 << 16
"""The most numbers read from a tag: there is one for each channel, counted in 16 bits."""

MOST_ENTRIES: Final = 4096
"""The most entries of a directory after the first one; libtiff takes more for other data."""

COMPLETE, DAMAGED = "is the file complete?", "get another copy of the file"
"""The remedies for damaged directories."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
SUBDIRECTORIES: Final = {0: (EXIF, GPS), EXIF: (INTEROPERABILITY,)}
"""The tags that point to a subdirectory, by the tag of the directory that contains them.

0 stands for the directory of a page. In other directories these tags are plain values.
"""

ENTRY_BYTES: Final = 12
HEADS: Final = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}
"""The header of a classic TIFF whose first directory follows directly, by byte order."""


class Value(NamedTuple):
    """The value of a tag.

    Attributes:
        kind: the TIFF type, a key of `CODES`.
        octets: the bytes.
    """

    kind: int
    octets: bytes


Tags: TypeAlias = "dict[int, Value | Tags]"
"""The value of each tag; for a tag that points to a subdirectory, the tags of the latter."""


class TagFile:
    """A file of tag directories: a TIFF, a BigTIFF or a block of EXIF.

    Attributes:
        size: the length of the file.
        order: the byte order: "<" or ">".
        is_big: whether it is a BigTIFF, whose offsets have 64 bits.
        pointer: the `struct` code of an offset.
        first: the position at which the offset of the first directory is stored.
        number_code: the `struct` code of the number of entries at the start of a directory.
        number_bytes: the length of that number.
        entry_bytes: the length of an entry.
        breaks_off: why a page after the first one can't be found, once `page_offsets` has looked.
        strays: whether the offset of such a page leads to other data.
    """

    breaks_off: PoolError | None = None
    strays = False

    def __init__(self, stream: BinaryIO) -> None:
        """Read the header of the file."""
        self._stream, self.size = stream, stream.seek(0, 2)
        self._lock = Lock()  # threads that decode segments share the position in the stream
        head = self.read(0, 4)
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = 43 in head[2:]
        self.pointer, self.first = ("Q", 8) if self.is_big else ("I", 4)
        self.number_code, self.number_bytes = ("Q", 8) if self.is_big else ("H", 2)
        self.entry_bytes = 20 if self.is_big else ENTRY_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from an offset.

        Raises:
            PoolError: they lie outside of the file.
        """
        if not 0 <= offset <= self.size - length:
            last = offset + length - 1
            raise PoolError(f"bytes {offset} to {last} lie outside of the file", COMPLETE)
        with self._lock:
            self._stream.seek(offset)
            return self._stream.read(length)

    def number(self, code: str, offset: int) -> int:
        """Return the integer at an offset, read by a `struct` code."""
        code = self.order + code
        (value,) = struct.unpack(code, self.read(offset, struct.calcsize(code)))
        return int(value)

    def page_offsets(self) -> array[int]:
        """Return the offset of the directory of each page; the entries are not read.

        A ring of directories ends where it closes (found by Brent's algorithm, which needs no
        memory: a hostile file could chain one directory for every few of its bytes).

        Where the list breaks off after the first page, `breaks_off` or `strays` tells it.

        Raises:
            PoolError: the first directory is cut off, or directories overlap.
        """
        found = array("Q")
        # In a ring, Brent's algorithm walks through a directory up to three times.
        room, anchor = 4 * self.size, 0
        offset = self.number(self.pointer, self.first)
        while offset:
            if found and offset == found[anchor]:
                return _without_repetition(found, len(found) - anchor)
            if len(found) >= 2 * anchor + 1:
                anchor = len(found)
            if found and self._is_stray(offset):
                self.strays = True
                return found
            try:
                following = self._following(offset)
            except PoolError:
                if not found:
                    raise
                words = f"its list of pages breaks off after {len(found)}"
                self.breaks_off = PoolError(words, COMPLETE)
                return found
            found.append(offset)
            room -= self.end_of_entries(offset) - offset
            if room < 0:
                raise PoolError("its directories overlap", DAMAGED)
            offset = following
        return found

    def _is_stray(self, offset: int) -> bool:
        """Return whether the data at an offset inside the file can't be a directory."""
        is_inside = offset + self.number_bytes <= self.size
        return is_inside and not 0 < self.number(self.number_code, offset) <= MOST_ENTRIES

    def _following(self, offset: int) -> int:
        """Return the offset of the directory that follows one; 0 if there is none.

        Some programs leave the 0 out at the end of the file.
        """
        end = self.end_of_entries(offset)
        return 0 if end == self.size else self.number(self.pointer, end)

    def end_of_entries(self, offset: int) -> int:
        """Return the end of a directory's entries, where the next directory's offset is stored."""
        number = self.number(self.number_code, offset)
        return offset + self.number_bytes + self.entry_bytes * number


class Directory:
    """A directory of tags; it reads the entries at once, and values when they are asked for.

    Attributes:
        file: the file that contains it.
        offset: its offset in the file.
        entries: for each tag the type, the number of values, and the offset of the values.
    """

    def __init__(self, file: TagFile, offset: int) -> None:
        """Read the entries.

        Raises:
            PoolError: the directory is cut off.
        """
        self.file, self.offset = file, offset
        self.entries: dict[int, tuple[int, int, int]] = {}
        head, size = struct.Struct(f"{file.order}HH{file.pointer}"), file.entry_bytes
        begin, end = offset + file.number_bytes, file.end_of_entries(offset)
        table = file.read(begin, end - begin)
        for at in range(0, len(table), size):
            tag, kind, count = head.unpack_from(table, at)
            if kind not in CODES or tag in self.entries:
                continue
            place = begin + at + head.size
            # A value that fits is stored in the entry itself, in place of its offset.
            if count * VALUE_BYTES[kind] > size - head.size:
                (place,) = struct.unpack_from(file.order + file.pointer, table, at + head.size)
            self.entries[tag] = kind, count, place

    def octets(self, tag: int) -> bytes:
        """Return the bytes of a tag's value; empty if the tag is missing.

        Raises:
            ValueError: the value lies outside of the file.
        """
        kind, count, place = self.entries.get(tag, (BYTE, 0, 0))
        return self.file.read(place, count * VALUE_BYTES[kind])

    def numbers(self, tag: int) -> tuple[Any, ...]:
        """Return the numbers of a tag; none if it is missing, text, or outside of the file."""
        kind, count, _ = self.entries.get(tag, (ASCII, 0, 0))
        if kind in (ASCII, UNDEFINED) or count > MOST_NUMBERS:
            return ()
        with suppress(ValueError):
            values = struct.iter_unpack(self.file.order + CODES[kind], self.octets(tag))
            return tuple(one[0] / (one[1] or math.nan) if one[1:] else one[0] for one in values)
        return ()

    def number(self, tag: int, default: Any = None) -> Any:
        """Return the first number of a tag, or the default."""
        return next(iter(self.numbers(tag)), default)

    def tags(self, order: str, wanted: Collection[int] | None = None, parent: int = 0) -> Tags:
        """Return the values of tags, and the tags of the subdirectories that they point to.

        Args:
            order: the byte order of the returned values.
            wanted: the tags to return; None for all.
            parent: the tag that points to this directory; 0 for the directory of a page.

        Raises:
            ValueError: a value or a directory lies outside of the file, or values overlap.
        """
        chosen = [tag for tag in self.entries if wanted is None or tag in wanted]
        sizes = (VALUE_BYTES[self.entries[tag][0]] * self.entries[tag][1] for tag in chosen)
        if sum(sizes) > self.file.size:
            raise PoolError("its tags overlap", DAMAGED)
        pointers = SUBDIRECTORIES.get(parent, ())
        return {
            tag: self._subdirectory(tag, order) if tag in pointers else self._value(tag, order)
            for tag in chosen
        }

    def _value(self, tag: int, order: str) -> Value:
        """Return the value of a tag in a byte order."""
        kind = self.entries[tag][0]
        unit = struct.calcsize(CODES[kind][-1])
        numbers = np.frombuffer(self.octets(tag), f"{self.file.order}u{unit}")
        return Value(kind, numbers.astype(f"{order}u{unit}").tobytes())

    def _subdirectory(self, tag: int, order: str) -> Tags:
        """Return the tags of the directory that a tag points to."""
        if not isinstance(offset := self.number(tag), int):
            raise ValueError(f"tag {tag} holds no offset of a directory")
        return Directory(self.file, offset).tags(order, parent=tag)


def _without_repetition(offsets: array[int], period: int) -> array[int]:
    """Return offsets up to the first one that occurs again.

    Args:
        offsets: a walk through a chain that runs into a ring.
        period: the number of directories in the ring.
    """
    begin = next(
        at
        for at, one in enumerate(offsets)
        if at + period >= len(offsets) or one == offsets[at + period]
    )
    return offsets[: begin + period]


def packed(tags: Tags, order: str, at: int, *, is_big: bool = False) -> bytes:
    """Return the bytes of a directory with its values and subdirectories; no page follows.

    Args:
        tags: the tags, whose values are in this byte order already.
        order: the byte order: "<" or ">".
        at: the offset that the directory will have in its file.
        is_big: whether the file is a BigTIFF.
    """
    number, pointer, pointer_kind = ("Q", "Q", LONG8) if is_big else ("H", "I", LONG)
    entry = struct.Struct(f"{order}HH{pointer}{struct.calcsize(pointer)}s")
    values, table = bytearray(), bytearray(struct.pack(order + number, len(tags)))
    begin = at + len(table) + entry.size * len(tags) + struct.calcsize(pointer)
    for tag, value in sorted(tags.items()):
        if isinstance(value, dict):
            octets = packed(value, order, begin + len(values), is_big=is_big)
            kind, count, is_far = pointer_kind, 1, True
        else:
            kind, octets = value
            count, is_far = len(octets) // VALUE_BYTES[kind], len(octets) > struct.calcsize(pointer)
        field = octets
        if is_far:
            field = struct.pack(order + pointer, begin + len(values))
            values += octets + bytes(len(octets) % 2)
        table += entry.pack(tag, kind, count, field)
    return bytes(table + bytes(struct.calcsize(pointer)) + values)
