"""A server that has imported all of poolcli and forks a process for each run of it.

Such a process has descriptors, signals and an exit of its own like any other; it only doesn't
spend a quarter of a second on imports. `tests.support.processes.started` starts one from nothing.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

Done = subprocess.CompletedProcess[bytes]
Stream = int | BinaryIO

PROGRAM = """
from tests.support.warm import end, serve
serve({})
from poolcli.cli import main
try:
    main()
except SystemExit as exit:
    end(exit.code)
"""
ROOT = Path(__file__).parent.parent.parent
MOST_DESCRIPTORS = 16
PATIENCE = 120
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
    ) -> Done:
        """Run poolcli to its end; a stream that isn't given is captured, or fed with ``input``.

        ``first`` is Python that its process runs beforehand, ``variables`` its environment;
        ``pass_fds`` are descriptors that it inherits beside the streams. Words that are bytes need
        not be UTF-8.
        """
        typed = [os.fsdecode(one if isinstance(one, bytes) else str(one)) for one in words]
        request = [typed, str(cwd), dict(variables), first, [0, 1, 2, *pass_fds]]
        with ThreadPoolExecutor(3) as threads, ExitStack() as ends:
            streams, captured = [stdin, stdout, stderr], []
            if stdin is None and input:
                streams[0], writer = os.pipe()
                threads.submit(_feed, writer, input)
            elif stdin is None:
                streams[0] = os.open(os.devnull, os.O_RDONLY)
            for number in (1, 2):
                if streams[number] is None:
                    reader, streams[number] = os.pipe()
                    captured.append(threads.submit(_all_of, reader))
                else:
                    captured.append(threads.submit(bytes))
            numbers = [one if isinstance(one, int) else one.fileno() for one in streams if one]
            for given, number in zip((stdin, stdout, stderr), numbers, strict=True):
                if given is None:
                    ends.callback(os.close, number)
            text = json.dumps(request).encode() + b"\n"
            socket.send_fds(self._link, [text], [*numbers, *pass_fds])
            ends.close()
            code = int(self._link.recv(100))
        return Done(typed, code, *(one.result() for one in captured))


def _feed(writer: int, content: bytes) -> None:
    with suppress(BrokenPipeError), open(writer, "wb") as pipe:
        pipe.write(content)


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
            return _become(*request)
        for one in request[1]:
            os.close(one)
        link.sendall(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def _received(link: socket.socket) -> tuple[list[Any], list[int]] | None:
    text, descriptors, _, _ = socket.recv_fds(link, 1 << 16, MOST_DESCRIPTORS)
    while text and not text.endswith(b"\n"):
        text += link.recv(1 << 16)
    return (json.loads(text), descriptors) if text else None


def _become(request: list[Any], descriptors: list[int]) -> None:
    """Make this process what is asked for."""
    words, folder, variables, first, numbers = request
    moved = [fcntl.fcntl(one, fcntl.F_DUPFD, BEYOND_ALL) for one in descriptors]
    for one in descriptors:
        os.close(one)
    for one, number in zip(moved, numbers, strict=True):
        os.dup2(one, number)
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    os.sync = os.fsync = int  # type: ignore[assignment]  # hundreds of runs would wait for disks
    sys.argv = ["poolcli", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(PATIENCE)  # ends a run that hangs
    exec(first, {"__name__": "__main__"})  # noqa: S102


def end(code: Any) -> None:
    """End this process without freeing all objects, which would copy every page of the server."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code or 0)
