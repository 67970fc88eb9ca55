"""Find a picture that follows another one in the same file, in formats of one picture."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import BinaryIO

from poolcli.errors import PoolError
from poolcli.formats import START_BYTES, known, module_of
from poolcli.formats.row import Format


def picture_behind(stream: BinaryIO, row: Format) -> Format | None:
    """Return the format of a picture that follows the one in a file; None if none is found.

    Args:
        stream: a seekable file.
        row: its format.
    """
    find_end = getattr(module_of(row.module), "end", None)
    if find_end is None or not stream.seekable():
        return None
    stream.seek(0)
    with suppress(PoolError, OSError, ValueError, struct.error):  # `open_reader` tells such faults
        position = find_end(stream)
        if position is not None:
            stream.seek(position)
            return known(stream.read(START_BYTES))
    return None
