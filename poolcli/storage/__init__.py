"""Where pictures come from and go to: files, streams and other storages, behind one contract."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from io import BytesIO
from typing import BinaryIO, ClassVar, Final, Literal, NamedTuple, TypeAlias

from poolcli.errors import PoolError

DASH: Final = "-"
CheckStart: TypeAlias = Callable[[bytes], object]
Kind: TypeAlias = Literal["file", "folder", "link", "stream", "device", "missing"]


class Status(NamedTuple):
    """What stands at a place.

    Attributes:
        kind: what it is; "missing" also where it can't be told.
        size: the bytes of a file.
        identity: which file or folder it is, equal under all of its names; None for streams and
            where nothing is.
        problem: why it can't be read, as far as that is known without opening it.
        attributes: the times and mode bits of a file, which others may take over.
    """

    kind: Kind
    size: int | None = None
    identity: Hashable | None = None
    problem: str = ""
    attributes: os.stat_result | None = None


class Output(BytesIO, ABC):
    """A file that is made complete first, and then stored by `commit` or not at all.

    Encoders write it; they may seek and read back. Closing it, as at the end of its `with` block,
    discards what wasn't committed.
    """

    @abstractmethod
    def commit(self) -> int:
        """Store the file, all of it or nothing; return its number of bytes.

        Raises:
            PoolError: its name is taken.
            OSError: it can't be written; what stood under its name before still does.
        """


class _Fields(NamedTuple):
    path: str
    in_folder: bool = False


class Place(_Fields, ABC):
    """A path and the storage that it leads to: a class of places for each.

    Attributes:
        path: the whole path as it was typed, with its scheme if any.
        in_folder: whether it is written as one of a batch: its folder is made with the first file
            in it, and `sync` makes all durable together; other files are synced at once.
        is_stream: whether it is written in place, and never replaced.
    """

    __slots__ = ()
    is_stream: ClassVar[bool] = False

    @abstractmethod
    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Open a stream that can seek; what can't is read whole into memory.

        Args:
            check_start: is called with the first bytes of what can't seek, and raises if its
                end isn't worth waiting for.

        Raises:
            PoolError: it can't be read.
        """

    @abstractmethod
    def look(self) -> Status:
        """Return what can be read there; links are followed."""

    @abstractmethod
    def existing(self) -> Status:
        """Return what a new file would replace; a link's identity is that of what it leads to."""

    @abstractmethod
    def create(
        self, *, overwrite: bool = False, like: Place | None = None, again: bool = False
    ) -> Output:
        """Begin a result.

        Args:
            overwrite: whether a file of its name may be replaced.
            like: whose times and mode bits are taken over, if it has any.
            again: whether an earlier try may have stored the very same bytes already; if so, they
                are left as they are.
        """

    # A storage need not define what follows.

    def walk(self) -> Iterator[tuple[str, Status | None]]:
        """Yield what is in a folder, sorted by name: names, and what the listing tells of each.

        That is the status of folders, but not of links to them; None if `look` would have to ask.

        Raises:
            PoolError: the folder can't be read.
        """
        raise PoolError("a folder can't be read through it", "name the folder itself")

    def absolute(self) -> str:
        """Return the path as it is in any working folder."""
        return self.path

    def folds_names(self) -> bool:
        """Return whether names in a folder that differ only in case are one file.

        Nothing is written to find out, and the folder need not exist yet.
        """
        return False

    def check_readable(self) -> None:
        """Refuse what can't be read, as far as that must be known before the first picture.

        Raises:
            PoolError: it is a terminal, or a stream that is closed.
        """

    def check_writable(self) -> None:
        """Refuse what takes no picture, as far as that is known without writing.

        Raises:
            PoolError: it is a terminal, a stream that is closed, or in a folder that isn't there.
        """

    def sync(self) -> None:
        """Make durable what the batch to which it belongs has written."""

    def tidy(self, *, once: bool = False) -> None:
        """Remove what writers that were killed have left beside the file.

        Args:
            once: whether to do nothing where this process has done so before.
        """


SCHEMES: Final[dict[str, type[Place]]] = {}
"""The places of each scheme of a URL, without "://"; other schemes are parts of local names."""


def place_of(path: str) -> Place:
    """Return the place that a path names without being looked at: a FIFO is a local file."""
    from poolcli.storage.local import LocalFile  # which builds on this module

    if path == DASH or "/dev/" in path or "/proc/" in path:
        from poolcli.storage.streams import Stream, descriptor_of  # few runs need them

        if descriptor_of(path) is not None:
            return Stream(path)
    scheme, mark, _ = path.partition("://")
    return SCHEMES.get(scheme, LocalFile)(path) if mark else LocalFile(path)


def place_at(path: str) -> Place:
    """Return the place that a path names: a stream if a FIFO or device stands there."""
    place = place_of(path)
    if place.look().kind in ("stream", "device"):
        from poolcli.storage.streams import Stream

        return Stream(path)
    return place
