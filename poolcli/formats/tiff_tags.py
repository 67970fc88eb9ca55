"""Directories of tags, of which TIFF, BigTIFF and EXIF consist (TIFF 6.0, section 2)."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from poolcli.errors import PoolError

_CLASSIC_CODES: Final = ("B", "B", "H", "I", "2I", "b", "B", "h", "i", "2i", "f", "d", "I")
CODES: Final = {**dict(enumerate(_CLASSIC_CODES, 1)), 16: "Q", 17: "q", 18: "Q"}
"""How a value of each type is packed, as `struct` has it."""

BYTE, ASCII, LONG, RATIONAL, UNDEFINED, SIGNED_RATIONAL = 1, 2, 4, 5, 7, 10
VALUE_BYTES: Final = {kind: struct.calcsize(f"<{code}") for kind, code in CODES.items()}
MOST_NUMBERS: Final = 1 << 16
"""The most numbers that are read of a tag: one for each channel, whose number has 16 bits."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
BRANCHES: Final = {0: (EXIF, GPS), EXIF: (INTEROPERABILITY,)}
"""The tags that point to a directory, by the directory they stand in; elsewhere they are values."""

PIXEL_OFFSETS: Final = (273, 324)
"""Tags whose values say where strips and tiles are."""

ENTRY_BYTES, PAGE_ALIGNMENT = 12, 16
MOST_BYTES: Final = (1 << 32) - 1
HEADS: Final = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}
"""How a TIFF begins whose first directory follows at once, by the order of its bytes."""


class Value(NamedTuple):
    """The value of a tag, as it stands in a file.

    Attributes:
        kind: its type, a key of `CODES`.
        octets: all of its bytes.
    """

    kind: int
    octets: bytes


Tags: TypeAlias = "dict[int, Value | Tags]"
"""Values by their tags; a tag that points to a directory has the tags in it."""


class TagFile:
    """A file of directories.

    Attributes:
        order: of the bytes of its numbers: "<" or ">".
        is_big: whether it is a BigTIFF, whose offsets have 64 bits.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read how the file begins."""
        self._stream, self.size = stream, stream.seek(0, 2)
        head = self.read(0, 4)
        self.order = order_of(head)
        self.is_big = 43 in head[2:]
        self.pointer = "Q" if self.is_big else "I"
        self.first = 8 if self.is_big else 4

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes at a place.

        Raises:
            ValueError: they lie outside of the file.
        """
        self.check(offset, length)
        self._stream.seek(offset)
        return self._stream.read(length)

    def check(self, offset: int, length: int) -> None:
        """Refuse a place for bytes that lies outside of the file.

        Raises:
            ValueError: it does.
        """
        if not 0 <= offset <= self.size - length:
            last = offset + length - 1
            raise ValueError(f"bytes {offset} to {last} lie outside of the file")

    def number(self, code: str, offset: int) -> int:
        """Return a whole number, packed as `struct` says."""
        code = self.order + code
        (value,) = struct.unpack(code, self.read(offset, struct.calcsize(code)))
        return int(value)

    def page_offsets(self) -> list[int]:
        """Return where the directory of each page begins; nothing else of it is read.

        Raises:
            ValueError: one is cut off, or they overlap: reading them could take for ever.
        """
        found: dict[int, None] = {}
        room, place = self.size, self.first
        while (offset := self.number(self.pointer, place)) and offset not in found:
            found[offset] = None
            place = self.end_of_entries(offset)
            room -= place - offset
            if room < 0 and place <= self.size:
                raise ValueError("its directories overlap")
        return [*found]

    def end_of_entries(self, offset: int) -> int:
        """Return where the entries of a directory end; the offset of the next one follows."""
        if self.is_big:
            return offset + 8 + 20 * self.number("Q", offset)
        return offset + 2 + ENTRY_BYTES * self.number("H", offset)


class Directory:
    """One directory: what stands where.

    Attributes:
        file: the file that it is in.
        offset: where it begins.
        begin: where its entries begin.
        entries: for each tag its type, the number of its values, and where they stand.
    """

    def __init__(self, file: TagFile, offset: int) -> None:
        """Read the entries, but no value.

        Raises:
            ValueError: it is cut off.
        """
        self.file, self.offset = file, offset
        entry = struct.Struct(f"{file.order}HH{file.pointer}{struct.calcsize(file.pointer)}s")
        self.begin, end = offset + (8 if file.is_big else 2), file.end_of_entries(offset)
        self._table = file.read(self.begin, end - self.begin)
        self.entries: dict[int, tuple[int, int, int]] = {}
        for number, (tag, kind, count, field) in enumerate(entry.iter_unpack(self._table)):
            if kind not in CODES:
                continue
            place = self.begin + (number + 1) * entry.size - len(field)
            if count * VALUE_BYTES[kind] > len(field):  # else it stands in the entry itself
                (place,) = struct.unpack(file.order + file.pointer, field)
            self.entries.setdefault(tag, (kind, count, place))

    def only(self, wanted: Collection[int]) -> bytes:
        """Return the entries as they stand in the file, those of other tags zeroed.

        The offset behind them is 0: no page follows.

        Raises:
            ValueError: the value of one of the tags lies outside of the file.
        """
        for tag, (kind, count, place) in self.entries.items():
            if tag in wanted:
                self.file.check(place, count * VALUE_BYTES[kind])
        size = 20 if self.file.is_big else ENTRY_BYTES
        parts = (self._table[at : at + size] for at in range(0, len(self._table), size))
        number = struct.Struct(f"{self.file.order}H")
        shown = (one if number.unpack_from(one)[0] in wanted else bytes(size) for one in parts)
        return b"".join(shown) + bytes(struct.calcsize(self.file.pointer))

    def packed_offset(self) -> bytes:
        """Return where it begins, as the head of the file would state it."""
        return struct.pack(self.file.order + self.file.pointer, self.offset)

    def octets(self, tag: int) -> bytes:
        """Return the value of a tag as it stands in the file; empty where there is none.

        Raises:
            ValueError: it lies outside of the file.
        """
        kind, count, place = self.entries.get(tag, (BYTE, 0, 0))
        return self.file.read(place, count * VALUE_BYTES[kind])

    def numbers(self, tag: int) -> tuple[Any, ...]:
        """Return the numbers of a tag: none where it is missing, or text.

        Raises:
            ValueError: they lie outside of the file.
        """
        kind, count, _ = self.entries.get(tag, (ASCII, 0, 0))
        if kind in (ASCII, UNDEFINED) or count > MOST_NUMBERS:
            return ()
        octets, code = self.octets(tag), CODES[kind][-1]
        many = len(octets) // struct.calcsize(code)
        values = struct.unpack(f"{self.file.order}{many}{code}", octets)
        if kind not in (RATIONAL, SIGNED_RATIONAL):
            return values
        pairs = zip(values[::2], values[1::2], strict=True)
        return tuple(Fraction(above, below) if below else math.nan for above, below in pairs)

    def number(self, tag: int, default: Any = None) -> Any:
        """Return the first number of a tag, or the default."""
        return next(iter(self.numbers(tag)), default)

    def tags(self, order: str, wanted: Collection[int] | None = None, branch: int = 0) -> Tags:
        """Return some tags, or all, and those in the directories that they point to.

        Args:
            order: of the bytes of the numbers that are returned.
            wanted: the tags; None for all.
            branch: the tag that points to this directory; 0 for that of a page.

        Raises:
            ValueError: a value or a directory lies outside of the file, or values overlap.
        """
        chosen = [tag for tag in self.entries if wanted is None or tag in wanted]
        sizes = (VALUE_BYTES[self.entries[tag][0]] * self.entries[tag][1] for tag in chosen)
        if sum(sizes) > self.file.size:
            raise ValueError("its tags overlap")
        return {tag: self._value(tag, order, branch) for tag in chosen}

    def _value(self, tag: int, order: str, branch: int) -> Value | Tags:
        """Return the value of a tag, or the tags of the directory that it points to."""
        if tag not in BRANCHES.get(branch, ()):
            kind = self.entries[tag][0]
            return Value(kind, _in_order(self.octets(tag), kind, order != self.file.order))
        offset = self.number(tag)
        if not isinstance(offset, int):
            raise ValueError(f"tag {tag} points nowhere")
        return Directory(self.file, offset).tags(order, None, tag)


def packed(tags: Tags, order: str, at: int) -> bytes:
    """Return a classic directory, what follows it, and the values and directories it points to.

    Args:
        tags: what it holds; numbers are in this order already.
        order: of the bytes.
        at: where in its file it will stand.
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


def order_of(page: bytes | memoryview) -> str:
    """Return the order of the bytes in a TIFF: "<" or ">"."""
    return "<" if bytes(page[:2]) == b"II" else ">"


def append(file: BinaryIO, page: bytes | memoryview, pointer: int) -> int:
    """Append a page to a TIFF; return where the offset of the next page will stand.

    Args:
        file: is empty, or holds the pages so far.
        page: a TIFF of one page, classic, in the same order of bytes.
        pointer: what was returned for the page before.

    Raises:
        PoolError: the file becomes too large for offsets of 32 bits.
    """
    at, order = file.seek(0, 2), order_of(page)
    if at + len(page) > MOST_BYTES:
        raise PoolError("the result is larger than the 4 GB that TIFF holds", "pool by more")
    (begin,) = struct.unpack_from(f"{order}I", page, 4)
    (count,) = struct.unpack_from(f"{order}H", page, begin)
    if at:
        at += align(file, PAGE_ALIGNMENT)
        _overwrite(file, pointer, struct.pack(f"{order}I", at + begin))
    file.write(_moved(bytearray(page), order, begin, at) if at else page)
    end: int = at + begin + 2 + ENTRY_BYTES * count
    return end


def add(file: BinaryIO, pages: Iterable[Tags]) -> None:
    """Add tags to each page of a classic TIFF, instead of those of the same number.

    What writes the pixels, libtiff or tifffile, takes no EXIF and not every type of tag.
    """
    written = TagFile(file)
    pointer = written.first
    for tags in pages:
        begin = written.number("I", pointer)
        if tags:
            begin = _rewritten(file, written, begin, tags)
            _overwrite(file, pointer, struct.pack(f"{written.order}I", begin))
            written.size = file.seek(0, 2)
        pointer = written.end_of_entries(begin)


def align(file: BinaryIO, unit: int) -> int:
    """Fill a file up to a multiple of some bytes; return how many were added."""
    missing = -file.seek(0, 2) % unit
    file.write(bytes(missing))
    return missing


def _rewritten(file: BinaryIO, written: TagFile, begin: int, tags: Tags) -> int:
    """Append a directory with more tags than the one at a place; return where it begins."""
    order, end = written.order, written.end_of_entries(begin)
    entries = _entries(written.read(begin + 2, end - begin - 2))
    following = written.read(end, 4)
    at = written.size + align(file, 2)  # directories begin on words
    block = HEADS[order] + packed(tags, order, at + len(HEADS[order]))
    entries |= _entries(block[10 : 10 + ENTRY_BYTES * len(tags)])
    file.write(block)
    begin = at + len(block) + align(file, 2)
    numbers = sorted(entries, key=lambda tag: struct.unpack(f"{order}H", tag))
    table = b"".join(tag + entries[tag] for tag in numbers)
    file.write(struct.pack(f"{order}H", len(entries)) + table + following)
    return begin


def _moved(page: bytearray, order: str, begin: int, distance: int) -> bytearray:
    """Add a distance to all offsets in the directory of a page."""
    (count,) = struct.unpack_from(f"{order}H", page, begin)
    for entry in range(begin + 2, begin + 2 + ENTRY_BYTES * count, ENTRY_BYTES):
        tag, kind, number, offset = struct.unpack_from(f"{order}HHII", page, entry)
        place = entry + 8
        if VALUE_BYTES[kind] * number > 4:
            struct.pack_into(f"{order}I", page, place, offset + distance)
            place = offset
        if tag in PIXEL_OFFSETS:
            if kind != LONG:
                raise ValueError("offsets of other than 32 bits can't be moved")
            offsets = struct.unpack_from(f"{order}{number}I", page, place)
            moved = (one + distance for one in offsets)
            struct.pack_into(f"{order}{number}I", page, place, *moved)
    return page


def _entries(table: bytes) -> dict[bytes, bytes]:
    """Return the entries of a classic directory by their tags."""
    starts = range(0, len(table), ENTRY_BYTES)
    return {table[at : at + 2]: table[at + 2 : at + ENTRY_BYTES] for at in starts}


def _overwrite(file: BinaryIO, offset: int, octets: bytes) -> None:
    """Write over what stands at a place, and go back to the end."""
    file.seek(offset)
    file.write(octets)
    file.seek(0, 2)


def _in_order(octets: bytes, kind: int, swaps: bool) -> bytes:
    """Return the bytes of a value, those of each number reversed if the order is another."""
    unit = struct.calcsize(CODES[kind][-1])
    if not swaps or unit == 1:
        return octets
    numbers = [octets[at : at + unit][::-1] for at in range(0, len(octets), unit)]
    return b"".join(numbers)
