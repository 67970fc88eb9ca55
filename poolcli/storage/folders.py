"""Find out whether files can be written in a local folder, before pictures are decoded for it."""

from __future__ import annotations

import errno
import os
from typing import Final

from poolcli.errors import PoolError

BLOCK: Final = bytes(1 << 12)
"""Bytes that any file system has to store outside of its tables."""

FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def nearest_folder(path: str) -> str:
    """Return the folder, among a missing one and those that it would lie in, that exists.

    Args:
        path: the absolute path of the missing folder.

    Raises:
        PoolError: a file stands in the place of a folder.
    """
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise PoolError(f"{path} is no folder", "choose another output folder")
    return path


def is_full(folder: str) -> bool:
    """Return whether the disk or a quota has no room for a file, as far as that can be tried.

    The free space that a system states is no measure: some state 0 where they don't know it.
    """
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag:
        return False
    try:
        descriptor = os.open(folder, flag | os.O_WRONLY, 0o600)  # it never has a name
        try:
            os.write(descriptor, BLOCK)
        finally:
            os.close(descriptor)
    except OSError as fault:
        return fault.errno in FULL
    return False
