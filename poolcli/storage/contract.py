"""The contract that every storage keeps, and the records in which it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from io import BytesIO
from typing import BinaryIO, Literal, NamedTuple, Protocol, Self, TypeAlias

Bytes: TypeAlias = bytes | bytearray | memoryview
CheckStart: TypeAlias = Callable[[bytes], None]
Identity: TypeAlias = tuple[Hashable, Hashable]
"""Equal for one file under any of its names: where it stands (a device), and which it is there."""

Kind: TypeAlias = Literal["file", "folder", "link", "stream", "device", "missing"]


class Status(NamedTuple):
    """What stands at a path.

    Attributes:
        kind: what it is; "missing" also where it can't be told.
        size: the bytes of a file.
        identity: which file or folder it is; None for streams and where nothing is.
        permissions: the mode bits of a file that another may take over.
        accessed_ns: when a file was last read, in nanoseconds since 1970.
        modified_ns: when a file was last written.
        problem: why it can't be read, as far as that is known without opening it.
    """

    kind: Kind
    size: int | None = None
    identity: Identity | None = None
    permissions: int | None = None
    accessed_ns: int | None = None
    modified_ns: int | None = None
    problem: str = ""


class Entry(NamedTuple):
    """What a folder holds under one name.

    Attributes:
        name: its name in the folder.
        path: the folder's path and its name.
        kind: what it is; a link is a "link", whatever it leads to.
        status: what `Storage.look` would return, if the listing of the folder tells it.
    """

    name: str
    path: str
    kind: Kind
    status: Status | None = None


class WriteOptions(NamedTuple):
    """How a result is stored.

    Attributes:
        overwrite: whether a file of its name may be replaced.
        like: the status of a file whose times and permissions, which it has, are taken over.
        again: whether an earlier try may have stored the very same bytes already; if so, they
            are left as they are.
        in_folder: whether it belongs to a batch, whose folders are made when they are needed and
            which `Storage.sync` makes durable as a whole; other files are synced at once.
    """

    overwrite: bool = False
    like: Status | None = None
    again: bool = False
    in_folder: bool = False


class Output(ABC):
    """A result that is made complete first, and then stored by `commit` or not at all.

    Leaving its `with` block without `commit` discards it.

    Attributes:
        file: the binary file that encoders write; they may seek, tell and read back.
    """

    def __init__(self) -> None:
        """Begin with an empty file."""
        self.file = BytesIO()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard what wasn't committed."""
        self.discard()

    def write(self, data: Bytes) -> int:
        """Write at the file's position; return the number of bytes, which is that of all."""
        return self.file.write(data)

    def commit(self) -> int:
        """Store the file, all of it or nothing; return its number of bytes.

        Raises:
            PoolError: its name is taken.
            OSError: it can't be written; what stood under its name before still does.
        """
        content = self.file.getvalue()  # BytesIO shares its bytes: this copies nothing
        self._store(content)
        return len(content)

    def discard(self) -> None:
        """Forget what was written; of what is committed nothing is lost."""
        self.file.close()

    @abstractmethod
    def _store(self, content: bytes) -> None:
        """Store the complete content."""


class Storage(Protocol):
    """A place of pictures. Paths are the whole ones that were typed, with their scheme if any."""

    def open(self, path: str, check_start: CheckStart | None = None) -> BinaryIO:
        """Open a stream that can seek; what can't is read whole into memory.

        Args:
            path: what is read.
            check_start: is called with the first bytes of what can't seek, and raises if its
                end isn't worth waiting for.

        Raises:
            PoolError: it can't be read.
        """

    def look(self, path: str) -> Status:
        """Return what can be read at a path; links are followed."""

    def existing(self, path: str, below: str = "") -> Status:
        """Return what a new file of that name would replace.

        Args:
            path: the name; if a link has it, the identity is that of what the link leads to.
            below: the output folder of the batch to which the name belongs, so that a storage
                over a network can list it once instead of asking for each name.
        """

    def walk(self, folder: str, without: Identity | None = None) -> Iterator[Entry]:
        """Yield the entries of one folder, sorted by name, one after the other.

        Args:
            folder: its path.
            without: the identity of a folder to leave out.

        Raises:
            PoolError: the folder can't be read.
        """

    def create(self, path: str, options: WriteOptions) -> Output:
        """Begin a result of that name."""

    # A storage need not define what follows.

    def folds_names(self, folder: str) -> bool:  # noqa: ARG002
        """Return whether names that differ only in case are one file there.

        Nothing is written to find out, and the folder need not exist yet.
        """
        return False

    def check_readable(self, path: str) -> None:  # noqa: ARG002
        """Refuse a path of which it is known, without reading, that no picture can come from it.

        Raises:
            PoolError: it is a terminal, or a stream that is closed.
        """
        return

    def check_writable(self, path: str) -> None:  # noqa: ARG002
        """Refuse a path of which it is known, without writing, that it takes no picture.

        Raises:
            PoolError: it is a terminal, a stream that is closed, or in a folder that isn't there.
        """
        return

    def sync(self) -> None:
        """Make durable what a batch has written."""
        return

    def tidy(self, path: str, *, once: bool = False) -> None:  # noqa: ARG002
        """Remove what writers that were killed have left beside a file.

        Args:
            path: the file.
            once: whether to do nothing where this process has done so before.
        """
        return
