"""Make requests to object storages and web servers by the optional package obstore.

Its errors and the text of its stores hold endpoints and credentials: only the class of an error,
the status code of the server and poolcli's own words are shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Iterator
from datetime import datetime, timedelta
from functools import cache, partial
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

from poolcli.errors import PoolError
from poolcli.storage import Progress, Status, ignore

Answer = TypeVar("Answer")

READ_ONLY: Final = ("http", "https")
PAGE: Final = 1000
"""The number of objects that a listing returns at a time, as servers do."""

ODD_SEGMENTS: Final = ("", ".", "..")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
STATUS_CODE: Final = re.compile(r"status code: (\d{3})\b")

CLIENT: Final = {"connect_timeout": "3s", "read_timeout": "15s", "timeout": "1h"}
"""The limit of a whole request, by default 30 s, would end the reading of large objects."""

RETRIES: Final = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=4)},
}
"""By default an endpoint that doesn't answer is tried for 180 s."""

CAUSES: Final = {
    400: "the request is refused; are the region and the credentials right?",
    401: "the credentials are refused",
    403: "access is denied, or there is no such bucket",
    404: "there is no such object, or no such bucket",
    405: "this web server lists no folders",
    429: "the server asks for fewer requests",
    503: "the server asks for fewer requests, or is out of service",
}
"""The meanings of status codes. Servers that hide which buckets exist answer 403."""

WEB_CAUSES: Final = {
    401: "the server asks for a password",
    403: "access is denied",
    404: "there is no such file",
}
"""The meanings of status codes that differ for web servers."""

CODES: Final = {
    "FileNotFoundError": 404,
    "NotFoundError": 404,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
}
"""The status codes of obstore's classes of errors, whose texts differ between storages."""

INTERNAL_ERROR: Final = 500
"""The first of the status codes that tell that the server fails."""

CHECK: Final = "check the name, the credentials and the endpoint"
CHECK_WEB: Final = "check the URL, or download the picture"
TAKEN: Final = "AlreadyExistsError"
ODD_KEY: Final = "InvalidPathError"


class RemoteError(PoolError):
    """Raised if a request fails.

    Attributes:
        cause: what is wrong.
        kind: the name of the class of obstore's error.
        code: the status code of the server's answer; 0 if there was no answer.
    """

    def __init__(self, cause: str, remedy: str = CHECK, kind: str = "", code: int = 0) -> None:
        """Store the cause, and use it as the message."""
        super().__init__(f"it can't be read: {cause}", remedy)
        self.cause, self.kind, self.code = cause, kind, code

    @classmethod
    def of(cls, fault: BaseException, scheme: str) -> RemoteError:
        """Return the error for one of obstore, of whose text only the status code is used."""
        kind = type(fault).__name__
        if kind == ODD_KEY:
            return cls(
                "the key of an object has an empty segment, . or .., so that none can be listed",
                "name the objects with --files-from",
                kind,
            )
        found = STATUS_CODE.search(str(fault))
        code = int(found[1]) if found else CODES.get(kind, 0)
        other = "no answer that is understood"
        if code:
            failed = code >= INTERNAL_ERROR
            other = "the server fails" if failed else "the server refuses the request"
        cause, remedy = CAUSES.get(code, other), CHECK
        if scheme in READ_ONLY:
            cause, remedy = WEB_CAUSES.get(code, cause), CHECK_WEB
        return cls(f"{cause} ({code or kind})", remedy, kind, code)

    def about(self, path: str) -> PoolError:
        """Return an error that names the path: it ends the whole plan."""
        return PoolError(f"{path}: {self.message}", self.remedy)


class Address(NamedTuple):
    """The parts of a URL.

    Attributes:
        scheme: the scheme in lower case.
        bucket: the bucket or container; the host and port of a web server.
        key: the name of the object, without a slash at the end.
        is_folder: whether the URL ends in a slash or names a whole bucket.
    """

    scheme: str
    bucket: str
    key: str
    is_folder: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Return the parts of a URL; keys are taken as they are typed, but decoded for the web."""
        scheme, _, rest = url.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme.lower() in READ_ONLY:
            from urllib.parse import unquote  # few runs need it, and each import delays the start

            key = unquote(key)
        return cls(scheme.lower(), bucket, key.removesuffix("/"), not key or key.endswith("/"))

    @property
    def identity(self) -> Hashable:
        """A value that is equal for two URLs of the same object or prefix."""
        return self[:3]

    @property
    def oddity(self) -> str:
        """Why no object can have this key, in words; empty if one can."""
        for segment in self.key.split("/") if self.key else ():
            if segment in ODD_SEGMENTS:
                return f"its key has {f'the segment {segment}' if segment else 'an empty segment'}"
        return "its key is not valid UTF-8" if SURROGATE.search(self.key) else ""


def content_of(address: Address) -> bytes:
    """Return all bytes of an object."""
    return _answer_of(address, lambda: bytes(_call("get", address).bytes()))


def request(name: str, address: Address, *words: Any, **options: Any) -> Any:
    """Call a function of obstore for an object and return its result.

    Raises:
        RemoteError: it fails.
    """
    return _answer_of(address, lambda: _call(name, address, *words, **options))


def _call(name: str, address: Address, *words: Any, **options: Any) -> Any:
    """Call a function of obstore; its errors are those of obstore."""
    if address.oddity:
        raise RemoteError(address.oddity, "rename it")
    import obstore

    call = getattr(obstore, name)
    return call(store_of(address.scheme, address.bucket), address.key, *words, **options)


def _answer_of(address: Address, call: Callable[[], Answer]) -> Answer:
    """Return the result of a call, made in a thread so that a signal ends the wait for a server.

    Raises:
        RemoteError: the call fails; nothing is shown of the text of the error.
    """
    answers: list[Answer] = []
    faults: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(call())
        except BaseException as fault:  # noqa: BLE001  # Rust's panics are no `Exception`
            faults.append(fault)

    thread = Thread(target=ask, daemon=True)  # the exit doesn't wait for a daemon either
    thread.start()
    thread.join()
    for fault in faults:
        if isinstance(fault, PoolError | MemoryError):
            raise fault
        raise RemoteError.of(fault, address.scheme) from None
    return answers[0]


@cache
def store_of(scheme: str, bucket: str) -> Any:
    """Return obstore's store of a bucket; its credentials come from the environment.

    Processes can't share it: after a fork its threads would be missing.
    """
    client = CLIENT | {"allow_http": _allows_http(scheme)}
    options: Any = {"client_options": client, "retry_config": RETRIES}
    if scheme == "s3" and "AWS_PROFILE" in os.environ and "AWS_ACCESS_KEY_ID" not in os.environ:
        options["credential_provider"] = _profile()
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    try:
        return from_url(f"{scheme}://{bucket}", **options)
    except BaseError as fault:
        reason = f"{scheme}://{bucket} can't be opened ({type(fault).__name__})"
        raise PoolError(reason, "check the name, and the account in the environment") from None


def _allows_http(scheme: str) -> bool:
    """Return whether requests may be made without encryption: the user has asked for that."""
    variables = os.environ.items()
    endpoints = [value for name, value in variables if "ENDPOINT" in name]
    emulator = os.environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower()
    return (
        scheme == "http"
        or any(value.startswith("http://") for value in endpoints)
        or emulator in ("1", "true", "yes", "on")
    )


def _profile() -> Any:
    """Return what reads the credentials of AWS_PROFILE, which obstore itself ignores.

    Raises:
        PoolError: boto3 is missing, or there are no such credentials.
    """
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider

        return Boto3CredentialProvider()
    except ImportError:
        raise PoolError("AWS_PROFILE needs boto3", "install it: pip install boto3") from None
    except Exception as fault:  # noqa: BLE001  # boto3 has dozens of classes
        reason = f"AWS_PROFILE gives no credentials ({type(fault).__name__})"
        raise PoolError(reason, "check the profile: aws configure list") from None


def pages_of(address: Address) -> Iterator[list[dict[str, Any]]]:
    """Yield what a server lists below a prefix, page by page."""
    listing = request("list", address, chunk_size=PAGE)
    while True:
        page = _answer_of(address, partial(next, listing, None))
        if page is None:
            return
        yield page


def listed_objects(
    address: Address, progress: Progress = ignore
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key of each object below a prefix, and what a listing tells of it."""
    count = 0
    for page in pages_of(address):
        count += len(page)
        progress(count)
        for meta in page:
            yield meta["path"], meta


def status_of(meta: dict[str, Any], identity: Hashable) -> Status:
    """Return the status of an object from what the server tells of it."""
    time: datetime = meta["last_modified"]
    modified = int(time.timestamp() * 1e6) * 1000
    return Status("file", meta["size"], identity, modified=modified)
