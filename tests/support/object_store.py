"""A server of S3 on the loopback, with a proxy in front of it that counts and changes requests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final

import pytest

from poolcli.storage import objects

HOST: Final = "127.0.0.1"
NEEDED: Final = ("obstore", "moto", "boto3", "flask", "flask_cors")
SECRETS: Final = ("AKIDSECRETNAME", "sEcReTkEyOfTheBucket")
HOP_BY_HOP: Final = ("transfer-encoding", "connection", "content-length")
SERVER: Final = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
"""Serve at a free port, which is printed, until the process that started it ends."""

_numbers = count()


@dataclass(eq=False)
class Proxy:
    """What stands between poolcli and the server.

    Attributes:
        port: its own port.
        behind: the port of the server.
        requests: the method and path of each request.
        honours_conditions: whether it passes on the header If-None-Match.
        busy: how many of the next requests are answered with 503.
        busy_after: how many requests are answered before that.
        busy_key: the end of the keys whose writing is always answered with 503.
        delay: the seconds that each request takes beyond the time of the server.
    """

    port: int
    behind: int
    requests: list[tuple[str, str]] = field(default_factory=list)
    honours_conditions: bool = True
    busy: int = 0
    busy_after: int = 0
    busy_key: str = ""
    delay: float = 0.0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(eq=False)
class Bucket:
    """A bucket, and a client of it that is not poolcli's own."""

    name: str
    client: Any
    proxy: Proxy

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which poolcli finds the server."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        where = {"AWS_ENDPOINT_URL": self.proxy.url, "AWS_REGION": "us-east-1", "NO_PROXY": HOST}
        return dict(zip(names, SECRETS, strict=True)) | where

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def objects(self) -> dict[str, bytes]:
        """All objects, by their keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {key: self._bytes(key) for key in keys}

    def _bytes(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content


@contextmanager
def served() -> Iterator[Proxy]:
    """Start the server and its proxy; skip the test if the server isn't installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: install the extra test-remote")
    # Without secrets: they are searched for in all that failing runs print.
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with _ProxyServer((HOST, 0), _Handler) as proxy:
            _Handler.proxy = Proxy(proxy.server_port, port)
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            yield _Handler.proxy
            proxy.shutdown()


@contextmanager
def bucket_on(proxy: Proxy) -> Iterator[Bucket]:
    """Make a bucket; a test finds the proxy as it was in the beginning."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://{HOST}:{proxy.behind}",
        region_name="us-east-1",
        aws_access_key_id="another",
        aws_secret_access_key="client",  # noqa: S106
    )
    name = f"bucket{os.getpid()}x{next(_numbers)}"
    client.create_bucket(Bucket=name)
    proxy.requests.clear()
    objects.store_of.cache_clear()
    yield Bucket(name, client, proxy)
    client.close()
    objects.store_of.cache_clear()
    proxy.honours_conditions, proxy.busy, proxy.busy_after, proxy.delay = True, 0, 0, 0.0
    proxy.busy_key = ""


class _ProxyServer(ThreadingHTTPServer):
    """A server whose clients may wait long until it is their turn."""

    daemon_threads = True
    request_queue_size = 1000


class _Handler(BaseHTTPRequestHandler):
    """Pass on a request to the server, and its answer to the client."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _pass_on(self) -> None:
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy.requests.append((self.command, self.path))
        time.sleep(proxy.delay)
        if self._is_busy():
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        headers = dict(self.headers)
        if not proxy.honours_conditions:
            headers.pop("If-None-Match", headers.pop("if-none-match", None))
        server = HTTPConnection(HOST, proxy.behind)
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        server.close()
        self._answer(answer.status, dict(answer.headers), content)

    def _is_busy(self) -> bool:
        """Count the request, and tell whether it is answered with 503."""
        proxy = self.proxy
        if proxy.busy_key and self.command == "PUT" and self.path.endswith(proxy.busy_key):
            return True
        if proxy.busy_after:
            proxy.busy_after -= 1
            return False
        proxy.busy -= (is_busy := proxy.busy > 0)
        return is_busy

    def _answer(self, code: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(code)
        for name, value in headers.items():
            is_size = name.lower() == "content-length" and self.command == "HEAD"
            if is_size or name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PROPFIND = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass
