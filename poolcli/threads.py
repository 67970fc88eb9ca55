"""Run calls on threads side by side, or an iterator on a thread, and take the results in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from queue import Queue

Item = TypeVar("Item")
Result = TypeVar("Result")


class Calls(Generic[Result]):
    """Calls that run on threads, and whose results are taken in the order of the calls.

    Each call has a thread of its own, which takes 0.05 ms to start: calls of some milliseconds are
    worth it, and no thread is left that waits for further ones.
    """

    def __init__(self, threads: int) -> None:
        """Begin without calls.

        Args:
            threads: how many threads are useful; with one, calls run in the calling thread.
        """
        self.threads = threads
        self._started: deque[_Call[Result]] = deque()

    def __len__(self) -> int:
        """Return the number of calls whose results were not taken yet."""
        return len(self._started)

    def start(self, function: Callable[..., Result], *arguments: Any) -> None:
        """Begin a call; run it at once if the system starts no more threads."""
        call = _Call(function, arguments)
        self._started.append(call)
        if self.threads > 1:
            with suppress(RuntimeError):
                call.start()
                return
        call.run()

    def take(self) -> Result:
        """Wait for the oldest call, and return its result.

        Raises:
            Exception: the exception of the call.
        """
        return self._started.popleft().result()

    def close(self) -> None:
        """Wait for the end of all calls; their results are dropped."""
        while self._started:
            self._started.popleft().wait()


class _Call(Generic[Result]):
    """One call, in a thread of its own or, by `run`, in the calling one."""

    def __init__(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> None:
        """Keep the arguments."""
        self._function, self._arguments = function, arguments
        self._results: list[Result] = []
        self._fault: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin the call in a thread.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        self._thread = thread

    def run(self) -> None:
        """Keep the result or the exception of the call: a thread would print its traceback."""
        try:
            self._results.append(self._function(*self._arguments))
        except Exception as fault:  # noqa: BLE001  # `result` raises it
            self._fault = fault

    def wait(self) -> None:
        """Wait for the end of the thread, if there is one."""
        if self._thread is not None:
            self._thread.join()

    def result(self) -> Result:
        """Wait for the end of the call, and return its result.

        Raises:
            Exception: the exception of the call.
        """
        self.wait()
        if self._fault is not None:
            raise self._fault
        return self._results.pop()


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield the result of a function for each item, in order; compute several at the same time.

    Args:
        function: the function.
        items: its arguments, each taken when its turn comes.
        threads: how many results are computed at the same time at most. So many are in memory.

    Raises:
        Exception: the exception of the first item in order that has one; later ones are dropped.
    """
    calls = Calls[Result](threads)
    try:
        for item in items:
            if len(calls) >= threads:
                yield calls.take()
            calls.start(function, item)
        while calls:
            yield calls.take()
    finally:
        calls.close()


def ahead(items: Iterator[Item], most: int) -> Generator[Item, None, None]:
    """Yield the items of an iterator, of which a thread takes some before they are needed.

    The thread starts with the first item, and has ended when the generator is exhausted or closed.
    `Calls` would begin a new thread for each item, and only one of them could wait: that took a
    tenth longer for a large PNG.

    Args:
        items: the iterator; only the thread takes from it.
        most: how many items wait at the same time at most.

    Raises:
        Exception: the exception of the iterator, after the items before it.
    """
    # Small pictures need no thread, and each import delays the start.
    from queue import Empty, Queue

    found: Queue[Item | _End] = Queue(most)
    stopping = threading.Event()
    thread = threading.Thread(target=_take, args=(items, found, stopping), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system starts no more threads
        yield from items
        return
    try:
        while not isinstance(item := found.get(), _End):
            yield item
        if item.fault is not None:
            raise item.fault
    finally:
        stopping.set()
        with suppress(Empty):
            while True:  # the thread may wait for room in the queue
                found.get_nowait()
        thread.join()


class _End:
    """The end of the items, and the exception that ended them, if one did."""

    def __init__(self, fault: BaseException | None = None) -> None:
        """Keep the exception."""
        self.fault = fault


def _take(items: Iterator[Item], found: Queue[Item | _End], stopping: threading.Event) -> None:
    """Pass the items to a queue until they end, or until nobody wants them any more."""
    end = _End()
    try:
        for item in items:
            found.put(item)
            if stopping.is_set():
                return
    except BaseException as fault:  # noqa: BLE001  # `ahead` raises it
        end = _End(fault)
    found.put(end)
