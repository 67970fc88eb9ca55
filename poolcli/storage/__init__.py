"""Where pictures come from and go to: streams and files, behind one contract."""

from __future__ import annotations

import os
from typing import BinaryIO, Final, NamedTuple

from poolcli.storage.contract import CheckStart, Output, Status, Storage, WriteOptions
from poolcli.storage.local import LocalStorage
from poolcli.storage.streams import (
    DASH,
    STDOUT_FD,
    StreamStorage,
    descriptor_of,
    flush,
    print_line,
    silence_stdout,
    stdout_is_terminal,
)

LOCAL: Final = LocalStorage()
STREAMS: Final = StreamStorage()
SCHEMES: Final[dict[str, Storage]] = {}
"""The storage of each scheme of a URL, without "://"; other schemes are parts of local names."""


class Source(NamedTuple):
    """Where one picture is read.

    Attributes:
        path: the path as given, or "-" for standard input.
    """

    path: str

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input."""
        return self.path == DASH

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Open a stream that can seek; what can't is read whole into memory.

        Args:
            check_start: is called with the first bytes of what can't seek, and raises if its
                end isn't worth waiting for.

        Raises:
            PoolError: it can't be read.
        """
        return storage_of(self.path).open(self.path, check_start)

    def check(self) -> None:
        """Refuse to read from a terminal, or from a standard input that is closed.

        Raises:
            PoolError: it is one of them.
        """
        storage_of(self.path).check_readable(self.path)

    def size(self) -> int | None:
        """Return the bytes of a file, None of a stream."""
        return look(self.path).size


class Target(NamedTuple):
    """Where one picture is written.

    Attributes:
        path: the path as given, or "-" for standard output.
        is_stream: whether bytes go through a descriptor or device, which is never replaced.
        in_folder: whether it belongs to a batch: its folder is made with the first file in it,
            and `sync` makes the batch durable.
    """

    path: str
    is_stream: bool
    in_folder: bool = False

    @classmethod
    def at(cls, path: str) -> Target:
        """Decide once whether a path is a stream."""
        return cls(path, is_stream=storage_of(path) is STREAMS)

    @property
    def is_stdout(self) -> bool:
        """Whether it is standard output, under any of its names."""
        return descriptor_of(self.path) == STDOUT_FD

    @property
    def storage(self) -> Storage:
        """Where it is stored: in a batch even what is named like a FIFO is a file."""
        return STREAMS if self.is_stream else _storage_by_name(self.path)

    def check(self) -> None:
        """Refuse what can't take a picture, as far as that is known without writing.

        Raises:
            PoolError: it is a terminal, a stream that is closed, or in a folder that isn't there.
        """
        self.storage.check_writable(self.path)

    def existing(self) -> Status:
        """Return what stands there already."""
        return self.storage.existing(self.path)

    def create(
        self, *, overwrite: bool = False, like: Source | None = None, again: bool = False
    ) -> Output:
        """Begin the result, which `commit` stores complete.

        Args:
            overwrite: whether a file of that name may be replaced.
            like: whose times and mode bits are taken over.
            again: whether an earlier try may have stored the very same bytes already.
        """
        model = look(like.path) if like is not None else None
        if model is not None and model.permissions is None:
            model = None  # a pipe has nothing to take over
        options = WriteOptions(overwrite, model, again, self.in_folder)
        return self.storage.create(self.path, options)

    def sync(self) -> None:
        """Make durable what the batch to which it belongs has written."""
        self.storage.sync()

    def tidy(self, *, once: bool = False) -> None:
        """Remove what a writer that was killed has left beside the file.

        Args:
            once: whether to do nothing where this process has done so before.
        """
        self.storage.tidy(self.path, once=once)


def storage_of(path: str) -> Storage:
    """Return the storage that reads and writes a path: streams for FIFOs and devices too."""
    storage = _storage_by_name(path)
    return STREAMS if storage.look(path).kind in ("stream", "device") else storage


def look(path: str) -> Status:
    """Return what can be read at a path, asked once."""
    return _storage_by_name(path).look(path)


def absolute(path: str) -> str:
    """Return a path that doesn't depend on the working folder."""
    return os.path.abspath(path) if _storage_by_name(path) in (LOCAL, STREAMS) else path


def folded(name: str) -> str:
    """Return a name as a file system knows it that ignores case and normal form."""
    if name.isascii():
        return name.lower()
    import unicodedata  # few names need it

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _storage_by_name(path: str) -> Storage:
    """Return the storage that a path names without being looked at: a FIFO is a local name."""
    if descriptor_of(path) is not None:
        return STREAMS
    scheme, mark, _ = path.partition("://")
    return SCHEMES.get(scheme, LOCAL) if mark else LOCAL


__all__ = [
    "DASH",
    "Source",
    "Target",
    "absolute",
    "flush",
    "folded",
    "look",
    "print_line",
    "silence_stdout",
    "stdout_is_terminal",
    "storage_of",
]
