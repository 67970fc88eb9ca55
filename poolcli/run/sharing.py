"""Share the frames of one reader among several outputs, so that each is decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.picture import Frame

Position: TypeAlias = tuple[int, int]
"""The progress of an output: the number of its frame, and the rows of it that were read."""


class SharedFrame:
    """A frame whose rows are kept until no output needs them any more."""

    def __init__(self, frame: Frame) -> None:
        """Keep the frame; no row is read yet."""
        self.info, self.metadata = frame.info, cache(frame.metadata)
        self._frame, self._stop = frame, 0
        self._bands: list[tuple[int, NDArray[Any]]] = []
        self._fault: Exception | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop, of which none may be forgotten yet.

        Raises:
            Exception: the exception of the decoder, at each call after the first failure too.
        """
        if self._fault is not None:
            raise self._fault
        if stop > self._stop:
            try:
                self._bands.append((self._stop, self._frame.rows(self._stop, stop)))
            except Exception as fault:
                self._fault = fault
                raise
            self._stop = stop
        parts = [
            band[max(0, start - top) : stop - top]
            for top, band in self._bands
            if top < stop and top + len(band) > start
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def release(self) -> None:
        """Release the frame: all outputs are done with it."""
        del self._frame
        self._bands.clear()

    def forget(self, before: int) -> None:
        """Release the rows before a row, which no output will read again."""
        self._bands = [(top, band) for top, band in self._bands if top + len(band) > before]


class SharedFrames:
    """The frames of a reader, which several outputs take in turn."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        """Keep the frames; none is taken yet."""
        self._frames, self._number = frames, -1
        self._frame: SharedFrame | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield all frames; an output must be done with one before any output takes the next."""
        number = 0
        while True:
            if number > self._number:
                if self._frame is not None:
                    self._frame.release()
                frame = next(self._frames, None)
                self._frame = None if frame is None else SharedFrame(frame)
                self._number = number
            if self._frame is None:
                return
            yield self._frame
            number += 1

    def forget(self, position: Position) -> None:
        """Release the rows before the position of the output that is furthest behind."""
        number, row = position
        if self._frame is not None and number == self._number:
            self._frame.forget(row)
