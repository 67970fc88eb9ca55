"""Read and write objects in object storage, and read files from web servers."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from typing import BinaryIO, ClassVar, Final, TypeAlias

from poolcli.errors import PoolError, missing
from poolcli.storage import (
    BeforeName,
    CheckStart,
    ExistsError,
    Output,
    Place,
    Progress,
    Status,
    ignore,
)
from poolcli.storage.objects import (
    INTERNAL_ERROR,
    READ_ONLY,
    TAKEN,
    Address,
    RemoteError,
    content_of,
    listed_objects,
    pages_of,
    request,
    status_of,
)

Tree: TypeAlias = "dict[str, tuple[Status, Tree | None]]"
"""The content of a folder: the status of each object by its name, and of each folder by its name
and a slash, with the content of that."""

PORT: Final = re.compile(r":\d+$|\]$")
"""The end of the name of a host that has a colon: a port, or the bracket of an IPv6 address."""

SIGNATURE: Final = re.compile(
    r"[?&](sig|signature|x-(amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid)=", re.IGNORECASE
)
"""A word in the query of signed URLs of S3, Google and Azure; keys may have a question mark."""

_tree_of_next: dict[str, Tree] = {}
"""The content of the folder that `Remote.walk` has just yielded, by its URL."""


class Remote(Place):
    """An object, or the prefix of several, which is treated as a folder."""

    __slots__ = ()
    is_remote: ClassVar[bool] = True

    @property
    def address(self) -> Address:
        """The parts of the URL."""
        return Address.of(self.path)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.address.key.rpartition("/")[2]

    def open(self, check_start: CheckStart | None = None) -> BinaryIO:  # noqa: ARG002
        """Read a whole object into memory."""
        return BytesIO(content_of(self.address))

    def status(self) -> Status:
        """Return the status of an object, or of a prefix that ends in a slash or has objects.

        Raises:
            PoolError: the server doesn't answer, or fails.
        """
        address = self.address
        if address.oddity:
            return Status("missing", problem=address.oddity)
        if address.is_folder:
            return Status("folder", identity=address.identity)
        missing = Status("missing")
        for ask in (_file_status, _folder_status):
            try:
                if (status := ask(address)) is not None:
                    return status
            except RemoteError as fault:
                # Without an answer it isn't known whether there is such an object.
                if not fault.code or fault.code >= INTERNAL_ERROR:
                    raise fault.about(self.path) from None
                missing = Status("missing", problem=missing.problem or fault.message)
        return missing

    def existing(self) -> Status:
        """Return the status of the object that would be replaced."""
        return self.status()

    def listed(self) -> Status:
        """Presume that a list names an object, since the status of each would take a request."""
        address = self.address
        if address.oddity or address.is_folder:
            return self.status()
        return Status("file", identity=address.identity)

    def walk(
        self, *, deep: bool = False, progress: Progress = ignore
    ) -> Iterator[tuple[str, Status | None]]:
        """Yield the names below a prefix, sorted, and the status of each.

        One listing serves a whole tree. There may be as many folders as objects, and a request for
        each folder would take hours.
        """
        folder = self.path.removesuffix("/")
        tree = _tree_of_next.pop(folder, None)
        try:
            if tree is None:
                tree = _tree(self.address, progress) if deep else _names(self.address)
        except RemoteError as fault:
            raise PoolError(f"the folder can't be read: {fault.cause}", fault.remedy) from None
        for name in sorted(tree, key=lambda one: one.removesuffix("/")):
            status, inside = tree[name]
            url = f"{folder}/{name.removesuffix('/')}"
            if inside is not None:
                _tree_of_next[url] = inside
            try:
                yield name.removesuffix("/"), status
            finally:
                _tree_of_next.pop(url, None)

    def lookup(self, progress: Progress = ignore) -> Callable[[Place], Status]:
        """Return a function that tells what exists, from one listing of this prefix."""
        self.check_folder()
        address = self.address
        try:
            found = {
                key: status_of(meta, address._replace(key=key).identity)
                for key, meta in listed_objects(address, progress)
            }
        except RemoteError as fault:
            raise fault.about(self.path) from None
        missing = Status("missing", problem="there is no such object")
        return lambda target: found.get(Address.of(target.path).key, missing)

    def check_writable(self) -> None:
        """Refuse a web server, and a key that no object can have."""
        address = self.address
        if address.scheme in READ_ONLY:
            raise PoolError(f"{self.path}: web servers are only read", "name another OUTPUT")
        if address.oddity:
            raise PoolError(f"{self.path}: {address.oddity}", "choose another OUTPUT")

    def check_folder(self) -> None:
        """Refuse what `check_writable` refuses."""
        self.check_writable()

    def create(
        self,
        *,
        overwrite: bool = False,
        like: Place | None = None,  # noqa: ARG002
        retry: bool = False,
    ) -> Output:
        """Begin an object. Its attributes can't be copied, which the plan refuses."""
        return RemoteOutput(self, overwrite, retry)

    def is_unprotected(self) -> bool:
        """Write the same bytes again on the condition that there is no object of this name.

        Some servers ignore the condition and replace the object.
        """
        try:
            request("put", self.address, content_of(self.address), mode="create")
        except RemoteError:
            return False
        return True


class RemoteOutput(Output):
    """An object that is written by one request, or not at all."""

    def __init__(self, place: Remote, overwrite: bool, retry: bool) -> None:
        """Store the arguments of `Remote.create`."""
        super().__init__()
        self.address, self.overwrite, self.retry = place.address, overwrite, retry
        self._is_new = False

    def withdraw(self) -> None:
        """Delete the object, if it replaced none; whoever may only write keeps it."""
        if self._is_new:
            with suppress(RemoteError):
                request("delete", self.address)

    def commit(self, before: BeforeName = None) -> int:
        """Write the object; unless it may replace another, on the condition that there is none."""
        if before is not None:
            before()
        content = self.getvalue()
        mode = "overwrite" if self.overwrite else "create"
        try:
            request("put", self.address, content, mode=mode)
            self._is_new = not self.overwrite
        except RemoteError as fault:
            if fault.kind != TAKEN:
                raise OSError(errno.EIO, fault.cause) from None
            if not self.retry or content_of(self.address) != content:
                raise ExistsError("it exists already", "use --overwrite to replace it") from None
        return len(content)


def remote_place(url: str) -> Remote:
    """Return the place of a URL.

    Raises:
        PoolError: the extra is missing, the URL holds a secret, or it names no bucket.
    """
    scheme, bucket, *_ = Address.of(url)
    try:
        import obstore  # noqa: F401  # whether it is installed is found out before the work begins
    except ImportError:
        raise missing(f"{scheme}://", "obstore", "remote") from None
    _refuse_secrets(scheme, bucket, url)
    if not bucket:
        raise PoolError(f"{url} names no {'host' if scheme in READ_ONLY else 'bucket'}", "add it")
    return Remote(url)


def _refuse_secrets(scheme: str, bucket: str, url: str) -> None:
    """Refuse a URL that may hold a password or a signature, and don't print it.

    Raises:
        PoolError: it may hold one.
    """
    is_web = scheme in READ_ONLY
    remedy = "give credentials by the environment, such as AWS_ACCESS_KEY_ID"
    if is_web:
        remedy = "download the picture, and name the file"
    # A slash in a password ends what looks like the bucket. Buckets have no colon, hosts a port.
    if "@" in bucket or (":" in bucket and not (is_web and PORT.search(bucket))):
        raise PoolError(f"a URL holds a user or a password ({scheme}://…@…)", remedy)
    if is_web and ("?" in url or "#" in url):
        raise PoolError(f"a URL has a query or a fragment ({scheme}://{bucket}/…?…)", remedy)
    if SIGNATURE.search(url):
        raise PoolError(f"a URL holds a signature ({scheme}://{bucket}/…?…)", remedy)


def _file_status(address: Address) -> Status:
    """Return the status of an object."""
    return status_of(request("head", address), address.identity)


def _folder_status(address: Address) -> Status | None:
    """Return the status of a prefix, or None if there are no objects below it."""
    is_empty = address.scheme in READ_ONLY or next(pages_of(address), None) is None
    return None if is_empty else Status("folder", identity=address.identity)


def _tree(address: Address, progress: Progress) -> Tree:
    """List all objects below a prefix, and return them as a tree."""
    root: Tree = {}
    begin = f"{address.key}/" if address.key else ""
    for key, meta in listed_objects(address, progress):
        if not key.startswith(begin):
            continue  # the object with the name of the folder itself, which consoles make
        tree, end = root, len(begin)
        *folders, name = key[len(begin) :].split("/")
        for folder in folders:
            end += len(folder) + 1
            if f"{folder}/" not in tree:
                identity = address._replace(key=key[: end - 1]).identity
                tree[f"{folder}/"] = Status("folder", identity=identity), {}
            inside = tree[f"{folder}/"][1]
            assert inside is not None  # noqa: S101
            tree = inside
        tree[name] = status_of(meta, address._replace(key=key).identity), None
    return root


def _names(address: Address) -> Tree:
    """List the objects and the folders that are directly below a prefix."""
    found = request("list_with_delimiter", address)
    tree: Tree = {}
    for key in found["common_prefixes"]:
        identity = address._replace(key=key).identity
        tree[f"{key.rpartition('/')[2]}/"] = Status("folder", identity=identity), None
    for meta in found["objects"]:
        key = meta["path"]
        if len(key) > len(address.key):
            identity = address._replace(key=key).identity
            tree[key.rpartition("/")[2]] = status_of(meta, identity), None
    return tree
