"""A server that has imported all of poolcli and forks a process for each run of it.

Such a process has descriptors, signals and an exit of its own like any other; it only doesn't
spend a quarter of a second on imports. `tests.support.processes.started` starts one from nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

Done = subprocess.CompletedProcess[bytes]
Stream = int | BinaryIO

PROGRAM = "from tests.support.warm import serve; serve({}); from poolcli.cli import main; main()"
ROOT = Path(__file__).parent.parent.parent
MOST_DESCRIPTORS = 16
BEYOND_ALL = 500
"""A descriptor above those that anybody asks for."""


class ForkServer:
    """The side of the tests; leaving its `with` block ends the server."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()
        self._process.wait()

    def run(
        self,
        *words: object,
        cwd: Path,
        variables: Mapping[str, str],
        first: str = "",
        input: bytes = b"",  # noqa: A002  # subprocess calls it so
        stdin: Stream | None = None,
        stdout: Stream | None = None,
        stderr: Stream | None = None,
        pass_fds: Sequence[int] = (),
        timeout: float = 60,
    ) -> Done:
        """Run poolcli to its end; what isn't given a place is captured.

        Args:
            words: its arguments; bytes need not be UTF-8.
            cwd: its working folder.
            variables: its environment.
            first: Python that its process runs beforehand.
            input: what it reads from a pipe; standard input is /dev/null if there is none.
            stdin: where it reads instead.
            stdout: where it writes instead.
            stderr: where it writes instead.
            pass_fds: descriptors that it inherits beside those three.
            timeout: the seconds after which it is killed, as it must hang.
        """
        typed = [os.fsdecode(one if isinstance(one, bytes) else str(one)) for one in words]
        request = {
            "words": typed,
            "cwd": str(cwd),
            "variables": dict(variables),
            "first": first,
            "numbers": [0, 1, 2, *pass_fds],
        }
        with ThreadPoolExecutor(3) as threads, ExitStack() as ends:
            reading = stdin if stdin is not None else ends.enter_context(_fed(threads, input))
            results, places = [], []
            for place in (stdout, stderr):
                if place is None:
                    reader, place = os.pipe()
                    results.append(threads.submit(_all_of, reader))
                    ends.callback(os.close, place)
                else:
                    results.append(threads.submit(bytes))
                places.append(place)
            self._send(request, [reading, *places, *pass_fds])
            ends.close()
            code = self._wait(timeout)
        return Done(typed, code, *(one.result() for one in results))

    def _send(self, request: Mapping[str, Any], streams: Sequence[Stream]) -> None:
        numbers = [one if isinstance(one, int) else one.fileno() for one in streams]
        text = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._link, [text], numbers)
        self._link.sendall(text[sent:])

    def _wait(self, timeout: float) -> int:
        """Return how the process ended."""
        number = int(self._line())
        if not select.select([self._link], [], [], timeout)[0]:
            os.kill(number, signal.SIGKILL)
            self._line()
            raise subprocess.TimeoutExpired("poolcli", timeout)
        return int(self._line())

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self._link.recv(1)
            assert line, "the server has died"
        return line


@contextmanager
def _fed(threads: ThreadPoolExecutor, content: bytes) -> Iterator[int]:
    """Yield the end to read of a pipe that gets some bytes, or /dev/null if there are none."""
    if content:
        reader, writer = os.pipe()
        threads.submit(_feed, writer, content)
    else:
        reader = os.open(os.devnull, os.O_RDONLY)
    yield reader
    os.close(reader)


def _feed(writer: int, content: bytes) -> None:
    with suppress(BrokenPipeError), open(writer, "wb", 0) as pipe:
        while content:
            content = content[pipe.write(content) :]


def _all_of(reader: int) -> bytes:
    with open(reader, "rb") as pipe:
        return pipe.read()


# The side of the server


def serve(number: int) -> None:
    """Fork a process for each request that comes on a socket; return in each of them."""
    import poolcli

    names = [one.name for one in pkgutil.walk_packages(poolcli.__path__, "poolcli.")]
    for name in ("PIL.Image", "rich.progress", "rich.table", "tifffile", "imagecodecs", *names):
        with suppress(ImportError):  # what is optional
            import_module(name) if name != "poolcli.__main__" else None
    sys.modules["PIL.Image"].init()
    link = socket.socket(fileno=number)
    while request := _received(link):
        child = os.fork()
        if not child:
            link.close()
            _become(*request)
            return
        for one in request[1]:
            os.close(one)
        link.sendall(b"%d\n" % child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        link.sendall(b"%d\n" % code)
    os._exit(0)


def _received(link: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    text, descriptors, _, _ = socket.recv_fds(link, 1 << 16, MOST_DESCRIPTORS)
    while text and not text.endswith(b"\n"):
        text += link.recv(1 << 16)
    return (json.loads(text), descriptors) if text else None


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Make this process what is asked for."""
    moved = [fcntl.fcntl(one, fcntl.F_DUPFD, BEYOND_ALL) for one in descriptors]
    for one in descriptors:
        os.close(one)
    for one, number in zip(moved, request["numbers"], strict=True):
        os.dup2(one, number)
        os.close(one)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["variables"])
    os.sync = int  # type: ignore[assignment]  # hundreds of runs would wait for all disks
    sys.argv = ["poolcli", *request["words"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exec(request["first"], {"__name__": "__main__"})  # noqa: S102
