"""Add boxes to AVIF and HEIC files of one picture, as no encoder at hand writes them."""

from __future__ import annotations

import struct


def appended(octets: bytes, path: tuple[bytes, ...], content: bytes) -> bytes:
    """Append bytes to the box at a path; the places of the data after it are put right."""
    changed, at = bytearray(octets), 0
    for name in path:
        at = changed.index(name, at) - 4
        (size,) = struct.unpack_from(">I", changed, at)
        struct.pack_into(">I", changed, at, size + len(content))
        end = at + size
        at += 8
    changed[end:end] = content
    _shift(changed, len(content))
    return bytes(changed)


def with_item(octets: bytes, kind: bytes) -> bytes:
    """Add an item of some kind, without data."""
    entry = bytes((2, 0, 0, 0)) + struct.pack(">HH4sx", 99, 0, kind)
    changed = bytearray(appended(octets, (b"meta", b"iinf"), _box(b"infe", entry)))
    changed[changed.index(b"iinf") + 9] += 1  # the number of items
    return bytes(changed)


def with_property(octets: bytes, name: bytes, content: bytes) -> bytes:
    """Add a property to the last item that has some."""
    begin = octets.index(b"ipco") - 4
    at, end, count = begin + 8, begin + struct.unpack_from(">I", octets, begin)[0], 1
    while at < end:
        at, count = at + struct.unpack_from(">I", octets, at)[0], count + 1
    outer = (b"meta", b"iprp")
    changed = appended(octets, (*outer, b"ipco"), _box(name, content))
    changed = appended(changed, (*outer, b"ipma"), bytes([0x80 | count]))
    table = bytearray(changed)
    at = table.index(b"ipma") + 8
    assert table[at - 1] == 0  # one byte for each property
    (entries,), at = struct.unpack_from(">I", table, at), at + 4
    for _ in range(entries - 1):
        at += 3 + table[at + 2]
    table[at + 2] += 1
    return bytes(table)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _shift(octets: bytearray, distance: int) -> None:
    """Add a distance to the places of all items."""
    at = octets.index(b"iloc") + 4
    version, sizes = octets[at], bytes(octets[at + 4 : at + 6])
    assert version < 2
    assert sizes in (b"\x44\0", b"\x44\x40")  # without or with one base for all data of an item
    (count,) = struct.unpack_from(">H", octets, at + 6)
    at += 8
    for _ in range(count):
        at += 6 if version else 4
        if sizes[1]:
            _add(octets, at, distance)
            at += 4
        (extents,) = struct.unpack_from(">H", octets, at)
        for number in range(extents):
            if not sizes[1]:
                _add(octets, at + 2 + 8 * number, distance)
        at += 2 + 8 * extents


def _add(octets: bytearray, at: int, distance: int) -> None:
    """Add a distance to the place that is stored at a position."""
    (place,) = struct.unpack_from(">I", octets, at)
    struct.pack_into(">I", octets, at, place + distance)
