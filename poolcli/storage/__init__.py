"""Read inputs and write outputs: files, streams and other storages, behind one contract.

A new storage is one module with a subclass of `Place`, and an entry in `SCHEMES`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from io import BytesIO
from typing import BinaryIO, ClassVar, Final, Literal, NamedTuple, TypeAlias

from poolcli.errors import PoolError

DASH: Final = "-"
CheckStart: TypeAlias = Callable[[bytes], bool]
Progress: TypeAlias = Callable[[int], object]
"""Called now and then with the number of files that a listing has found so far."""
BeforeName: TypeAlias = Callable[[], object] | None
Kind: TypeAlias = Literal["file", "folder", "link", "stream", "device", "missing"]


def ignore(_count: int) -> None:
    """Do nothing with the progress of a listing."""


class ExistsError(PoolError):
    """Raised by `Output.commit` if a file of that name exists and may not be replaced."""


class Status(NamedTuple):
    """The status of a place, as `os.stat` tells it of a local file.

    Attributes:
        kind: what it is; "missing" also if that can't be found out.
        size: the bytes of a file, or None.
        identity: a value that is equal for all names of the same file or folder, such as links;
            None for streams and missing files.
        problem: why it can't be read, as far as that is known without opening it.
        attributes: the times and mode bits of a file, to be copied to others.
        modified: when a file was last changed, in nanoseconds since 1970; None if unknown.
    """

    kind: Kind
    size: int | None = None
    identity: Hashable | None = None
    problem: str = ""
    attributes: os.stat_result | None = None
    modified: int | None = None


class Output(BytesIO, ABC):
    """A file in memory that is stored as a whole by `commit`.

    Encoders write into it; they may seek and read back. Closing it, as at the end of its `with`
    block, discards it if it was not committed. Pillow's encoders get no real file since some of
    them report success on a full disk.
    """

    def pass_on(self) -> None:
        """Write what is there so far, if the output is a stream: it is one of several pictures.

        Raises:
            OSError: it can't be written.
        """

    def withdraw(self) -> None:
        """Remove the file that `commit` has stored under a new name; one that was replaced stays.

        A storage may leave this out.
        """

    @abstractmethod
    def commit(self, before: BeforeName = None) -> int:
        """Store the whole file and return its number of bytes.

        Args:
            before: called when all bytes are stored, and the file is about to get its name. If it
                raises, the file gets none. It may be called again if the name could not be given.

        Raises:
            ExistsError: a file of that name exists and may not be replaced.
            OSError: it can't be written; an existing file of that name is unchanged.
        """


class _Fields(NamedTuple):
    """The fields of `Place`, which can't be a NamedTuple and an abstract class itself."""

    path: str
    in_folder: bool = False


class Place(_Fields, ABC):
    """A path in a storage. Each storage is a subclass.

    Attributes:
        path: the path as it was given, with its scheme if it has one.
        in_folder: whether it is an output of a batch. Then missing folders are made, and `sync`
            writes all outputs to the disk at the end of the batch; a single output is synced at
            once and its folder must exist.
        is_stream: whether it is written in place and never replaced.
        is_remote: whether it is on another machine, where each question takes long, and files
            have no mode bits and no times that can be set.
    """

    __slots__ = ()
    is_stream: ClassVar[bool] = False
    is_remote: ClassVar[bool] = False

    @abstractmethod
    def open(self, check_start: CheckStart | None = None) -> BinaryIO:
        """Return a seekable stream; a stream that can't seek is usually read into memory.

        Args:
            check_start: called with the first bytes of a stream that can't seek. It raises if
                they begin no picture: the end of such a stream might never come. It returns
                whether the stream is to be read on demand: then the result is not seekable, but
                it has the method `peek` of `io.BufferedReader`.

        Raises:
            PoolError: it can't be read.
        """

    @abstractmethod
    def status(self) -> Status:
        """Return the status of what would be read; links are followed."""

    @abstractmethod
    def existing(self) -> Status:
        """Return the status of what an output would replace.

        A link is of kind "link", since the link is replaced and not the file that it points to;
        its identity is that of this file.
        """

    @abstractmethod
    def create(
        self, *, overwrite: bool = False, like: Place | None = None, retry: bool = False
    ) -> Output:
        """Begin an output.

        Args:
            overwrite: whether an existing file may be replaced.
            like: the place whose times and mode bits are copied to the output, or None.
            retry: whether an earlier try may have stored the output already. If a file with the
                same bytes exists, `commit` leaves it as it is and succeeds.
        """

    # A storage may leave out the methods below: these defaults are right for many.

    @property
    def name(self) -> str:
        """The name of a file, without the folders."""
        return os.path.basename(self.path.rstrip(os.sep))

    def walk(
        self,
        *,
        deep: bool = False,  # noqa: ARG002
        progress: Progress = ignore,  # noqa: ARG002
    ) -> Iterator[tuple[str, Status | None]]:
        """Yield the names in a folder, sorted, and the status of each one that is a folder.

        The status of files and links may be None: in local folders finding it out would take one
        more system call for each, also for those that are left out by their names.

        Args:
            deep: whether the folders inside will be walked before the next name is asked for, so
                that a storage may find out at once what all of them hold.
            progress: called if the listing takes long.

        Raises:
            PoolError: the folder can't be read.
        """
        raise PoolError("a folder can't be read through this path", "name the folder itself")

    def listed(self) -> Status:
        """Return the status of an input that a list names.

        A storage where the status of each would take too long may presume that it is a file.
        """
        return self.status()

    def lookup(self, progress: Progress = ignore) -> Callable[[Place], Status]:  # noqa: ARG002
        """Return a function that does what `existing` does, for all outputs in this folder.

        A storage where the status of each would take too long lists the folder once.

        Args:
            progress: called if the listing takes long.
        """
        return type(self).existing

    def absolute(self) -> str:
        """Return the absolute path."""
        return self.path

    def folds_names(self) -> bool:
        """Return whether names in this folder that differ only in case are one file.

        The answer must be found without writing; the folder may be missing.
        """
        return False

    def check_readable(self) -> None:
        """Refuse a place that can't be read, as far as that is known without opening it.

        Raises:
            PoolError: it is a terminal, or a stream that is closed.
        """

    def check_writable(self) -> None:
        """Refuse a place that can't be written, as far as that is known without writing.

        Raises:
            PoolError: it is a terminal, a stream that is closed, or in a folder that is missing.
        """

    def keep(self) -> BinaryIO | None:
        """Keep this input from being removed as a stale hidden file, by this run or another.

        Returns:
            a file that keeps it until it is closed, or None if it can't be taken for a hidden file.
        """
        return None

    def check_folder(self) -> None:
        """Refuse an output folder, or the folder of an output, in which no file may be made.

        Raises:
            PoolError: the folder that exists can't be written to, as far as that is known.
        """

    def check_room(self) -> None:
        """Refuse an output for which no space is left; unlike `check_folder` it tries to write.

        Raises:
            PoolError: the disk or a quota is full, as far as that can be tried.
        """

    def is_unprotected(self) -> bool:
        """Return whether another output of this name would replace this one without `overwrite`.

        It is asked once in a run, for the first output, as soon as that has been written.
        """
        return False

    def sync(self) -> None:
        """Write all outputs of the batch to the disk, so that they survive a power loss."""

    def remove_stale(self, *, once: bool = False) -> None:
        """Remove the hidden files that killed runs have left in the folder of this file.

        Args:
            once: whether to skip a folder where this process has done so before.
        """


def _local_place(url: str) -> Place:
    """Return the place of a URL of a local file."""
    from urllib.parse import unquote  # few runs need it, and each import delays the start

    from poolcli.storage.local import LocalFile

    host, slash, path = url.partition("://")[2].partition("/")
    if host not in ("", "localhost"):
        raise PoolError(f"{url} is a file on the host {host}", "write file:///PATH")
    return LocalFile(unquote(slash + path, errors="surrogateescape"))


def _remote_place(url: str) -> Place:
    """Return the place of an object in object storage, or on a web server."""
    from poolcli.storage.remote import remote_place

    return remote_place(url)


SCHEMES: Final[dict[str, Callable[[str], Place]]] = {
    "file": _local_place,
    **dict.fromkeys(("s3", "gs", "az", "http", "https"), _remote_place),
}
"""Returns the place of a URL, for each scheme, such as "s3" for "s3://bucket/name". Names with
other schemes are local files."""


def place_of(path: str) -> Place:
    """Return the place of a path by its name alone; an existing FIFO is a `LocalFile`."""
    from poolcli.storage.local import LocalFile  # here, since it imports this module

    if path == DASH or "/dev/" in path or "/proc/" in path:
        from poolcli.storage.streams import Stream, descriptor_of  # few runs need it

        if descriptor_of(path) is not None:
            return Stream(path)
    scheme, mark, _ = path.partition("://")
    return SCHEMES.get(scheme.lower(), LocalFile)(path) if mark else LocalFile(path)


def place_at(path: str) -> Place:
    """Return the place of a path by its name and status: an existing FIFO or device is a stream."""
    place = place_of(path)
    if not place.is_remote and place.status().kind in ("stream", "device"):
        from poolcli.storage.streams import Stream

        return Stream(place.path)
    return place
