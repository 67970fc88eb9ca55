"""Start worker processes by a fork server, and exchange messages with them.

The server imports NumPy and Pillow once and forks a worker for each request. This process can't
fork itself: it may have threads, and a copy of a lock that one of them holds would never be
released.

`multiprocessing` has such a server too, but needs a writable temporary folder with a short name,
leaves folders there when it is killed, starts a process more, and its workers outlive a parent
that is killed while they wait for something else.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcli.plan import Job
    from poolcli.report import Outcome
    from poolcli.run.work import Work

READY: Final = "ready"
"""The message of a worker when it can take its first job."""

PROGRAM: Final = """
import sys
number, *sys.path[:] = sys.argv[1:]
from poolcli.executors.server import serve
serve(int(number))
"""
REQUEST: Final = Struct("ci")
"""A request to the server: to start or to end a worker, and the number of that worker."""

ANSWER: Final = Struct("i")
"""The exit code of a worker that was ended; negative for a signal."""

SECONDS_TOGETHER: Final = 0.05
"""The seconds after which a worker starts none of the jobs any more that it received together."""

NOT_STARTED: Final = 71
"""The exit code of a worker that the system refused to fork: EX_OSERR of sysexits.h."""


class Channel:
    """One end of a connection between two processes, over which objects are sent.

    The two take turns: nobody sends two messages in a row. So what is read ahead is never left
    unnoticed in the buffer.
    """

    def __init__(self, end: socket.socket) -> None:
        """Take over a connected socket."""
        self._socket = end
        self._reader = end.makefile("rb")

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send an object.

        Raises:
            OSError: the other process has ended.
        """
        self._socket.sendall(pickle.dumps(message))

    def receive(self) -> Any:
        """Wait for an object and return it.

        Raises:
            EOFError: the other process has ended, perhaps in the middle of a message.
        """
        try:
            return pickle.load(self._reader)  # noqa: S301  # both ends are poolcli's
        except (OSError, pickle.UnpicklingError) as fault:
            raise EOFError from fault

    def close(self) -> None:
        """Close the connection, which ends a worker at the other end."""
        self._reader.close()
        self._socket.close()


class ForkServer:
    """The fork server, as seen by the process that starts it."""

    def __init__(self) -> None:
        """Start the server; it imports what workers need while this process goes on.

        Raises:
            OSError: the system refuses.
        """
        self._workers = 0
        self._control, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            flags = ["-P", "-X", f"utf8={sys.flags.utf8_mode}"] + ["-B"] * sys.dont_write_bytecode
            words = [sys.executable, *flags, "-c", PROGRAM, str(theirs.fileno()), *sys.path]
            # A terminal sends Ctrl-C to all processes of the command, but only this one must
            # handle it. The server inherits the blocked signal, until it ignores it.
            self._pid = os.posix_spawn(
                sys.executable, words, os.environ, setsigmask=[signal.SIGINT]
            )

    def start_worker(self) -> tuple[int, Channel]:
        """Start a worker, and return its number and the connection to it.

        Raises:
            ConnectionError: the server has ended.
            OSError: the system refuses.
        """
        self._workers += 1
        local, remote = socket.socketpair()
        with remote:
            request = REQUEST.pack(b"s", self._workers)
            socket.send_fds(self._control, [request], [remote.fileno()])
        return self._workers, Channel(local)

    def end_worker(self, number: int) -> int | None:
        """Kill a worker if it lives, wait for its end, and return its exit code.

        The result is None if the server has ended, since its workers end with it.
        """
        with suppress(OSError):
            self._control.sendall(REQUEST.pack(b"e", number))
            if answer := self._control.recv(ANSWER.size):
                return int(ANSWER.unpack(answer)[0])
        return None

    def close(self) -> None:
        """End the server and all of its workers."""
        self._control.close()
        with suppress(ChildProcessError):  # the caller has set SIGCHLD to be ignored
            os.waitpid(self._pid, 0)


def serve(number: int) -> NoReturn:
    """Be the fork server, until the process that started it closes the connection or ends.

    Args:
        number: the descriptor of the connection.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import gc

    # All workers share these imports.
    from poolcli import run  # noqa: F401
    from poolcli.formats import pillow  # noqa: F401

    gc.freeze()
    control = socket.socket(fileno=number)
    # Only the server has the other end of this pipe, so that it ends with the server.
    server_end, held = os.pipe()
    workers: dict[int, int] = {}
    while True:
        message, descriptors = socket.recv_fds(control, REQUEST.size, 1)[:2]
        if not message:
            break
        kind, worker = REQUEST.unpack(message)
        if kind == b"s":
            with suppress(OSError):
                # The descriptor is missing if too many files are open.
                for descriptor in descriptors:
                    if not (pid := os.fork()):
                        control.close()
                        os.close(held)
                        _run_worker(Channel(socket.socket(fileno=descriptor)), server_end)
                    workers[worker] = pid
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            control.sendall(ANSWER.pack(_end(workers.pop(worker, None))))
    for pid in workers.values():
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _end(pid: int | None) -> int:
    """Kill a process that this one has forked and not yet waited for; return its exit code."""
    if pid is None:
        return NOT_STARTED
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run_worker(channel: Channel, server_end: int) -> NoReturn:
    """Run the jobs that are received, in a worker process, until its channel is closed."""
    from poolcli import cpus, process

    code: Literal[0, 1] = 1
    try:
        _exit_with(channel.fileno(), server_end)
        process.set_up()
        channel.send(READY)
        work: Any = None
        while True:
            jobs, new_work, sharing = channel.receive()
            work = new_work or work
            cpus.share(sharing)
            channel.send(run_together(jobs, work))
    except (EOFError, OSError):
        code = 0
    finally:
        os._exit(code)


def run_together(
    jobs: Sequence[Job], work: Work, seconds: float = SECONDS_TOGETHER
) -> tuple[int, list[Outcome]]:
    """Run jobs one after the other; return how many were run, and their outcomes.

    After some seconds, and after a failure, none is started any more: other workers may be idle by
    then, or the run may be about to end.
    """
    from poolcli.run import run_levels

    outcomes: list[Outcome] = []
    end = time.monotonic() + seconds
    for number, job in enumerate(jobs, 1):
        found = run_levels(job, work)
        outcomes += found
        if time.monotonic() > end or any(one.status == "failed" for one in found):
            return number, outcomes
    return len(jobs), outcomes


def _exit_with(*descriptors: int) -> None:
    """End this process as soon as the other end of a descriptor is closed, whatever it waits for.

    Without this, a worker that waits for the writer of a FIFO would outlive its killed parent.
    """
    import threading

    ends = select.poll()
    for descriptor in descriptors:
        ends.register(descriptor, 0)  # the end is reported even if nothing is asked for

    def wait() -> NoReturn:
        ends.poll()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
