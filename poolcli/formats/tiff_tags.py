"""Directories of tags, of which TIFF, BigTIFF and EXIF consist (TIFF 6.0, section 2).

All three are read; what is written is a classic, little-endian TIFF.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import numpy as np

from poolcli.errors import PoolError

_CLASSIC_CODES: Final = ("B", "B", "H", "I", "2I", "b", "B", "h", "i", "2i", "f", "d", "I")
CODES: Final = {**dict(enumerate(_CLASSIC_CODES, 1)), 16: "Q", 17: "q", 18: "Q"}
"""The `struct` code of a value of each type."""

BYTE, ASCII, LONG, UNDEFINED = 1, 2, 4, 7
VALUE_BYTES: Final = {kind: struct.calcsize(f"<{code}") for kind, code in CODES.items()}
MOST_NUMBERS: Final = 1 << 16
"""The most numbers that are read of a tag: one for each channel, whose number has 16 bits."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
SUBDIRECTORIES: Final = {0: (EXIF, GPS), EXIF: (INTEROPERABILITY,)}
"""The tags that point to a directory, by the tag of the directory they stand in: 0 is a page.

Elsewhere the same numbers are plain values.
"""

PIXEL_OFFSETS: Final = (273, 324)
"""The tags whose values are the offsets of strips and tiles."""

ENTRY_BYTES, PAGE_ALIGNMENT = 12, 16
MOST_BYTES: Final = (1 << 32) - 1
HEADS: Final = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}
"""The head of a classic TIFF whose first directory follows at once, by byte order."""


class Value(NamedTuple):
    """The value of a tag.

    Attributes:
        kind: its type, a key of `CODES`.
        octets: its bytes.
    """

    kind: int
    octets: bytes


Tags: TypeAlias = "dict[int, Value | Tags]"
"""Values by tag; the value of a tag that points to a directory is the tags in it."""


class TagFile:
    """A file of directories.

    Attributes:
        size: the length of the file.
        order: the byte order of its numbers: "<" or ">".
        is_big: whether it is a BigTIFF, whose offsets have 64 bits.
        pointer: the `struct` code of an offset.
        first: where the offset of the first directory stands.
        number_code: the `struct` code of the number of entries, with which a directory begins.
        number_bytes: the length of that number.
        entry_bytes: the length of an entry.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the head of the file."""
        self._stream, self.size = stream, stream.seek(0, 2)
        head = self.read(0, 4)
        self.order = "<" if head[:2] == b"II" else ">"
        self.is_big = 43 in head[2:]
        self.pointer, self.first = ("Q", 8) if self.is_big else ("I", 4)
        self.number_code, self.number_bytes = ("Q", 8) if self.is_big else ("H", 2)
        self.entry_bytes = 20 if self.is_big else ENTRY_BYTES

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at an offset.

        Raises:
            ValueError: they lie outside of the file.
        """
        if not 0 <= offset <= self.size - length:
            last = offset + length - 1
            raise ValueError(f"bytes {offset} to {last} lie outside of the file")
        self._stream.seek(offset)
        return self._stream.read(length)

    def number(self, code: str, offset: int) -> int:
        """Return the whole number of a `struct` code at an offset."""
        code = self.order + code
        (value,) = struct.unpack(code, self.read(offset, struct.calcsize(code)))
        return int(value)

    def page_offsets(self) -> list[int]:
        """Return where the directory of each page begins; nothing else is read of it.

        Raises:
            ValueError: a directory is cut off, or they overlap.
        """
        found: dict[int, None] = {}
        room, place = self.size, self.first
        while (offset := self.number(self.pointer, place)) and offset not in found:
            found[offset] = None
            place = self.end_of_entries(offset)
            # A chain of directories within each other could have as many as the file has bytes.
            room -= place - offset
            if room < 0 and place <= self.size:
                raise ValueError("its directories overlap")
        return [*found]

    def end_of_entries(self, offset: int) -> int:
        """Return where the entries of a directory end; the offset of the next one follows."""
        number = self.number(self.number_code, offset)
        return offset + self.number_bytes + self.entry_bytes * number


class Directory:
    """One directory: its entries, and their values once they are asked for.

    Attributes:
        file: the file that it is in.
        offset: where it begins.
        entries: for each tag its type, the number of its values, and where they stand.
        packed_entries: the bytes of each of these entries, by tag.
    """

    def __init__(self, file: TagFile, offset: int) -> None:
        """Read the entries, but no value.

        Raises:
            ValueError: the directory is cut off.
        """
        self.file, self.offset = file, offset
        self.entries: dict[int, tuple[int, int, int]] = {}
        self.packed_entries: dict[int, bytes] = {}
        head, size = struct.Struct(f"{file.order}HH{file.pointer}"), file.entry_bytes
        begin, end = offset + file.number_bytes, file.end_of_entries(offset)
        table = file.read(begin, end - begin)
        for at in range(0, len(table), size):
            tag, kind, count = head.unpack_from(table, at)
            if kind not in CODES or tag in self.entries:
                continue
            place = begin + at + head.size
            if count * VALUE_BYTES[kind] > size - head.size:  # else it stands in the entry itself
                (place,) = struct.unpack_from(file.order + file.pointer, table, at + head.size)
            self.entries[tag] = kind, count, place
            self.packed_entries[tag] = table[at : at + size]

    def only(self, wanted: Collection[int]) -> bytes:
        """Return a packed directory with some of the entries alone, which no page follows.

        Raises:
            ValueError: the value of one of them lies outside of the file.
        """
        kept = [tag for tag in self.entries if tag in wanted]
        for tag in kept:
            self.octets(tag)
        number = struct.pack(self.file.order + self.file.number_code, len(kept))
        entries = b"".join(self.packed_entries[tag] for tag in kept)
        return number + entries + bytes(struct.calcsize(self.file.pointer))

    def octets(self, tag: int) -> bytes:
        """Return the value of a tag as it stands in the file; empty where there is none.

        Raises:
            ValueError: it lies outside of the file.
        """
        kind, count, place = self.entries.get(tag, (BYTE, 0, 0))
        return self.file.read(place, count * VALUE_BYTES[kind])

    def numbers(self, tag: int) -> tuple[Any, ...]:
        """Return the numbers of a tag; none where it is missing, text, or outside of the file."""
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
        """Return some tags, or all, and those in the directories that they point to.

        Args:
            order: the byte order of what is returned.
            wanted: the tags; None for all.
            parent: the tag that points to this directory; 0 for that of a page.

        Raises:
            ValueError: a value or a directory lies outside of the file, or values overlap.
        """
        chosen = [tag for tag in self.entries if wanted is None or tag in wanted]
        sizes = (VALUE_BYTES[self.entries[tag][0]] * self.entries[tag][1] for tag in chosen)
        if sum(sizes) > self.file.size:
            raise ValueError("its tags overlap")
        pointers = SUBDIRECTORIES.get(parent, ())
        return {
            tag: self._subdirectory(tag, order) if tag in pointers else self._value(tag, order)
            for tag in chosen
        }

    def _value(self, tag: int, order: str) -> Value:
        """Return the value of a tag."""
        kind = self.entries[tag][0]
        unit = struct.calcsize(CODES[kind][-1])
        numbers = np.frombuffer(self.octets(tag), f"{self.file.order}u{unit}")
        return Value(kind, numbers.astype(f"{order}u{unit}").tobytes())

    def _subdirectory(self, tag: int, order: str) -> Tags:
        """Return the tags of the directory that a tag points to."""
        if not isinstance(offset := self.number(tag), int):
            raise ValueError(f"tag {tag} points nowhere")
        return Directory(self.file, offset).tags(order, parent=tag)


def packed(tags: Tags, order: str, at: int) -> bytes:
    """Return a classic directory, what follows it, and the values and directories it points to.

    Args:
        tags: its tags; their values have this byte order already.
        order: the byte order: "<" or ">".
        at: the offset that the directory will have in its file.
    """
    values, table = bytearray(), bytearray(struct.pack(f"{order}H", len(tags)))
    begin = at + 2 + ENTRY_BYTES * len(tags) + 4
    for tag, value in sorted(tags.items()):
        if isinstance(value, dict):
            kind, count, octets = LONG, 1, packed(value, order, begin + len(values))
        else:
            kind, octets = value
            count = len(octets) // VALUE_BYTES[kind]
        field = octets
        if len(octets) > 4:
            field = struct.pack(f"{order}I", begin + len(values))
            values += octets + bytes(len(octets) % 2)
        table += struct.pack(f"{order}HHI4s", tag, kind, count, field)
    return bytes(table + bytes(4) + values)


def append(file: BinaryIO, page: BytesIO, pointer: int) -> int:
    """Append a page to a TIFF; return where the offset of the next page will stand.

    Args:
        file: is empty, or holds the pages so far.
        page: a TIFF of one page; its offsets are changed.
        pointer: what was returned for the page before.

    Raises:
        PoolError: the file becomes too large for offsets of 32 bits.
    """
    single, at = TagFile(page), align(file, PAGE_ALIGNMENT)
    begin = single.number("I", single.first)
    end = single.end_of_entries(begin)
    if at + single.size > MOST_BYTES:
        raise PoolError("the result is larger than the 4 GB that TIFF holds", "pool by more")
    if at:
        _overwrite(file, pointer, at + begin)
        _move(page, begin, end, at)
    file.write(page.getbuffer())
    return at + end


def add(file: BinaryIO, pages: Iterable[Tags]) -> None:
    """Add tags to each page of a file, in place of those of the same number.

    libtiff and tifffile, which write the pixels, take no EXIF and not every type of tag. Each
    directory is written anew at the end of the file, where it has room for more entries.
    """
    written = TagFile(file)
    pointer = written.first
    for tags in pages:
        page = Directory(written, written.number("I", pointer))
        end = written.end_of_entries(page.offset)
        if tags:
            following, at = written.read(end, 4), align(file, 2) + len(HEADS["<"])
            file.write(HEADS["<"] + packed(tags, "<", at))
            written.size = file.tell()
            entries = page.packed_entries | Directory(written, at).packed_entries
            table = b"".join(entries[tag] for tag in sorted(entries))
            begin = align(file, 2)  # directories begin on words
            file.write(struct.pack("<H", len(entries)) + table + following)
            written.size = file.tell()
            _overwrite(file, pointer, begin)
            end = written.end_of_entries(begin)
        pointer = end


def align(file: BinaryIO, unit: int) -> int:
    """Fill a file up to a multiple of some bytes; return where it ends then."""
    end = file.seek(0, 2)
    missing = -end % unit
    file.write(bytes(missing))
    return end + missing


def _move(page: BytesIO, begin: int, end: int, distance: int) -> None:
    """Add a distance to all offsets in the directory of a page, which stands from begin to end."""
    octets = page.getbuffer()
    for field in range(begin + 10, end, ENTRY_BYTES):
        tag, kind, count, place = struct.unpack_from("<HHII", octets, field - 8)
        if VALUE_BYTES[kind] * count > 4:
            struct.pack_into("<I", octets, field, place + distance)
        else:
            place = field
        if tag in PIXEL_OFFSETS:
            offsets = np.frombuffer(octets, "<u4", count, place)
            offsets += distance


def _overwrite(file: BinaryIO, place: int, offset: int) -> None:
    """Overwrite the offset that stands at a place, and go back to the end of the file."""
    file.seek(place)
    file.write(struct.pack("<I", offset))
    file.seek(0, 2)
