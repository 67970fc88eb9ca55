"""Make and remove the files, hidden or without a name, that outputs are written into at first."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import BinaryIO, Final

from poolcli.storage import ExistsError

try:
    import fcntl
except ImportError:  # Windows has no such locks, so stale hidden files are not removed there
    fcntl = None  # type: ignore[assignment]

TEMPORARY: Final = re.compile(r"\.poolcli-[0-9a-f]{8}\.tmp")

HAS_UNNAMED: Final = hasattr(os, "O_TMPFILE") and hasattr(os, "link")
"""True if this system has an `UnnamedFile`; a file system may still have none."""


class HiddenFile:
    """A new file under a hidden name, which is locked while it is written.

    Attributes:
        name: its path.
        descriptor: the descriptor, open for reading and writing.
    """

    def __init__(self, folder: str, mode: int) -> None:
        """Make the file, with mode bits of which the umask is taken away."""
        self.name, self._names, self.descriptor = "", list[str](), -1
        try:
            self._make(folder, mode)
            if fcntl is not None:
                # Before it was locked, another run may have taken it for a stale one.
                while not os.path.lexists(self.name):
                    self.close()
                    self._make(folder, mode)
                self._names.append(self._proving_name(folder))
                with suppress(OSError):  # then a later run leaves it alone
                    os.rename(self.name, self._names[-1])
                    self.name = self._names[-1]
        except BaseException:
            self.remove()
            raise

    def _make(self, folder: str, mode: int) -> None:
        """Make a file under a random name, and lock it: others remove what nobody has locked."""
        self.name = os.path.join(folder, hidden_name(int.from_bytes(os.urandom(4))))
        self._names = [self.name]
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self.descriptor = os.open(self.name, flags, mode)
        if fcntl is not None:
            with suppress(OSError):  # the file system has no locks
                fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        """Close the file."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def rename(self, path: str, *, overwrite: bool) -> None:
        """Give the file its final name.

        Raises:
            ExistsError: a file of that name exists and may not be replaced.
        """
        if fcntl is None:  # Windows can't rename an open file
            self.close()
        if overwrite:
            os.replace(self.name, path)
        else:
            _name_exclusively(self.name, path)

    def remove(self) -> None:
        """Close the file, and remove it if it still has a hidden name."""
        try:
            for name in self._names:
                with suppress(FileNotFoundError):  # it has been renamed
                    os.unlink(name)
        finally:
            # A renamed file is complete: what a disk may report on close was asked for before.
            with suppress(OSError):
                self.close()

    def _proving_name(self, folder: str) -> str:
        """Return the hidden name by which later runs know a file for one of ours."""
        name = os.path.join(folder, hidden_name(os.fstat(self.descriptor).st_ino))
        # A file that a user has copied or restored may have this name. It must not be replaced.
        return self.name if os.path.lexists(name) else name


class UnnamedFile:
    """A new file without any name, which vanishes if the process dies; Linux alone has these.

    It takes half of the system calls of a `HiddenFile`, and one change of the folder instead of
    four, which were a tenth of the time of tiny pictures. It can't replace a file.

    Attributes:
        descriptor: the descriptor, open for reading and writing.
    """

    def __init__(self, folder: str) -> None:
        """Make the file in the file system of a folder.

        Raises:
            OSError: also if this file system or kernel has no such files.
        """
        self.descriptor = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o666)

    def rename(self, path: str, *, overwrite: bool) -> None:  # noqa: ARG002
        """Give the file its name.

        Raises:
            ExistsError: a file of that name exists.
        """
        try:
            # Without a folder's descriptor, which has no effect here, `os.link` would link the
            # symbolic link of /proc itself.
            own = f"/proc/self/fd/{self.descriptor}"
            os.link(own, path, src_dir_fd=self.descriptor, follow_symlinks=True)
        except FileExistsError:
            raise ExistsError("it exists already", "use --overwrite to replace it") from None

    def remove(self) -> None:
        """Close the file; without a name it vanishes."""
        with suppress(OSError):  # as in `HiddenFile.remove`
            os.close(self.descriptor)


def hidden_name(number: int) -> str:
    """Return the name of a hidden file, from a random number or, later, the one of its inode.

    A file whose name fits its inode was made by a run: a copy or any other file of the user that
    is named like it has another inode. The factor, an odd number as in Fibonacci hashing, maps
    different numbers below 2³² to different names, and small ones to names that look random.
    """
    return f".poolcli-{number * 0x9E3779B1 % (1 << 32):08x}.tmp"


def locked(path: str) -> BinaryIO | None:
    """Open a file and lock it together with others; None if that is impossible."""
    if fcntl is None:
        return None
    with suppress(OSError):  # it can't be read, or the file system has no locks
        file = open(path, "rb", 0)  # noqa: SIM115  # the caller closes it
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return file
    return None


def remove_stale(folder: str) -> None:
    """Remove the hidden files of killed runs from a folder.

    These are named after their own inode, or empty since the run was killed before it named them,
    and nobody has locked them.
    """
    if fcntl is None:
        return
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "r+b", 0) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    status = os.fstat(file.fileno())
                    if not status.st_size or entry.name == hidden_name(status.st_ino):
                        os.unlink(entry.path)


remove_stale_once = cache(remove_stale)


def _name_exclusively(hidden: str, path: str) -> None:
    """Give a file its final name, unless a file of that name exists.

    Raises:
        ExistsError: such a file exists.
    """
    # A link fails if the name exists, which a rename would replace. If it fails for that reason,
    # the second way fails too; if the file system has no hard links, the second way is used.
    with suppress(OSError, AttributeError):
        os.link(hidden, path)
        return
    try:
        # An empty file reserves the name. A signal before the rename would leave that file.
        with _signals_delayed():
            reserved = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.close(reserved)
                os.replace(hidden, path)
            except BaseException:
                os.unlink(path)
                raise
    except FileExistsError:
        raise ExistsError("it exists already", "use --overwrite to replace it") from None


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Delay signals that raise exceptions until the end of the block, except on Windows."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
