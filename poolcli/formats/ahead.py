"""Read ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Queue
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End(Generic[Item]):
    """The end of the items, and the exception that ended them, if one did."""

    def __init__(self, fault: BaseException | None = None) -> None:
        """Keep the exception."""
        self.fault = fault


def read_ahead(items: Iterator[Item], most: int) -> Generator[Item, None, None]:
    """Yield the items of an iterator, of which a thread takes some before they are needed.

    The thread starts with the first item. It has ended when the generator is exhausted or closed.

    Args:
        items: the iterator; only the thread takes from it.
        most: the number of items that wait at the same time, at most.

    Raises:
        Exception: the exception of the iterator, after the items before it.
    """
    found: Queue[Item | _End[Item]] = Queue(most)
    stopping = threading.Event()
    thread = threading.Thread(target=_take, args=(items, found, stopping), daemon=True)
    thread.start()
    try:
        while not isinstance(item := found.get(), _End):
            yield item
        if item.fault is not None:
            raise item.fault
    finally:
        stopping.set()
        try:
            while True:  # the thread may wait for room in the queue
                found.get_nowait()
        except Empty:
            thread.join()


def _take(
    items: Iterator[Item], found: Queue[Item | _End[Item]], stopping: threading.Event
) -> None:
    """Pass the items to a queue until they end, or until nobody wants them any more."""
    end: _End[Item] = _End()
    try:
        for item in items:
            found.put(item)
            if stopping.is_set():
                return
    except BaseException as fault:  # noqa: BLE001  # `read_ahead` raises it
        end = _End(fault)
    found.put(end)
