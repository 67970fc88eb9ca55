"""Read and write stills and animations of WebP and AVIF.

Pillow's decoders of these formats draw each frame on its canvas, and its encoders pull the frames.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli.formats.animation import CanvasFrame, DecodedCanvases
from poolcli.formats.contract import WholeFrameWriter
from poolcli.formats.pillow import to_image
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.formats.timing import Timeline, Timing
from poolcli.picture import FrameInfo, Metadata, Picture

Item = TypeVar("Item")
Timed: TypeAlias = tuple[Image.Image, int]
"""An image, and for how many milliseconds it is shown."""


class CanvasReader:
    """The base class of readers that have one decoder for each pass over the frames.

    Attributes:
        format: the name of the format.
        count: the number of frames.
        stream: the file.
        info: the `FrameInfo` of every frame, apart from the duration.
    """

    format = ""

    def __init__(
        self, stream: BinaryIO, info: FrameInfo, metadata: Metadata, durations: Sequence[Fraction]
    ) -> None:
        """Keep the arguments; all frames have the same ``info``, apart from the duration."""
        self.count = len(durations)
        self.stream, self.info = stream, info
        self._metadata, self._durations = metadata, durations

    def frames(self) -> Iterator[CanvasFrame]:
        """Yield the frames; a frame is decoded when its rows are asked for."""
        canvases = DecodedCanvases(self.decoded())
        for number, duration in enumerate(self._durations):
            info = self.info._replace(duration=duration)
            yield CanvasFrame(canvases, number, info, lambda: self._metadata)

    def decoded(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the pixels of each frame, without keeping them."""
        raise NotImplementedError


class PulledWriter(WholeFrameWriter):
    """The base class of writers whose animations Pillow encodes by pulling frame after frame.

    A duration that is too long for a frame is shortened: Pillow must know the number of frames
    beforehand, so that no frame can be written several times.

    Attributes:
        plugin: Pillow's name of the format.
        timing: the durations and the numbers of plays that the format can state.
        frames: the number of frames; None if it is not known yet: then all frames are collected
            in memory first, because Pillow asks for the number at once. They are collected too if
            no thread can be started.
    """

    plugin = ""
    timing: Timing

    def __init__(self, file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> None:
        """Keep the arguments; see `poolcli.formats.contract.open_writer`."""
        super().__init__(file, row, saving)
        self.frames = frames
        self._collected: list[Timed] = []
        self._bridge: Bridge[Timed] | None = None
        self._arguments: dict[str, Any] = {}
        self.timeline = Timeline(self.timing, row.title, self.warn)
        self._buffer = BytesIO()

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return the arguments of Pillow's `save`, by the first frame; note lost metadata."""
        raise NotImplementedError

    def repair(self, content: memoryview, mode: str) -> None:
        """Correct a fault of the encoder in an encoded animation of a mode, in place."""

    def write_frame(self, picture: Picture) -> None:
        """Pass a frame to the encoder, or collect it; the first frame starts the encoder."""
        if not self._arguments:
            self._arguments = self.arguments(picture.info, picture.metadata)
            if self.frames is not None and self.frames > 1:
                with suppress(RuntimeError):  # if the system starts no more threads
                    self._bridge = Bridge(partial(self._encode, self.frames))
        milliseconds = self.timeline.clamped(self.timeline.ticks(picture.info.duration))
        timed = to_image(picture, self.row.modes[picture.info.mode]), milliseconds
        if self._bridge is None:
            self._collected.append(timed)
        else:
            self._bridge.push(timed)

    def write_end(self) -> None:
        """Wait for the encoder, and write the encoded file."""
        if self._bridge is None:
            self._encode(len(self._collected), iter(self._collected))
        else:
            self._bridge.finish()
        self.file.write(self._buffer.getbuffer())

    def discard(self) -> None:
        """Release the current frame, and end the encoder."""
        super().discard()
        if self._bridge is not None:
            self._bridge.discard()

    def _encode(self, count: int, frames: Iterator[Timed]) -> None:
        """Encode all frames; Pillow writes a still if there is only one."""
        image = PulledImage(frames, count)
        more = {"save_all": True, "duration": image.durations}
        image.save(self._buffer, self.plugin, **more, **self._arguments)
        if count > 1:
            self.repair(self._buffer.getbuffer(), image.mode)


class PulledImage(Image.Image):
    """A multi-frame image as Pillow's encoders expect it; it takes its frames from an iterator.

    Attributes:
        n_frames: the number of frames.
        is_animated: whether there are several frames.
        durations: the durations of the frames taken so far, in milliseconds.
    """

    def __init__(self, frames: Iterator[Timed], count: int) -> None:
        """Take the first frame."""
        super().__init__()
        self.n_frames, self.is_animated = count, count > 1
        self.durations: list[int] = []
        self._frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Take the next frame; seeking back has no effect, and Pillow only seeks back to frame 0.

        Raises:
            EOFError: there is no such frame.
        """
        if frame >= self.n_frames:
            raise EOFError("there are no more frames")
        if frame == len(self.durations):
            image, duration = next(self._frames)
            self.im, self._mode, self._size = image.im, image.mode, image.size
            self.durations.append(duration)


class Bridge(Generic[Item]):
    """A bridge from frames that are pushed to an encoder that pulls them from an iterator.

    The encoder runs in a thread. The queue holds one frame, so that memory stays bounded.
    """

    def __init__(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Start the encoder's thread.

        Args:
            encode: encodes all frames of the iterator that it is given.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=1)
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(encode,), daemon=True)
        self._thread.start()

    def push(self, item: Item) -> None:
        """Pass a frame to the encoder; wait until it has taken the previous one.

        Raises:
            Exception: the exception that the encoder raised.
        """
        self._queue.put(item)
        if self._fault is not None:
            self.finish()

    def finish(self) -> None:
        """Wait until the encoder has finished.

        Raises:
            Exception: the exception that the encoder raised.
        """
        self.discard()
        if self._fault is not None:
            raise self._fault

    def discard(self) -> None:
        """End the frames, and wait for the encoder; ignore its exception."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self, encode: Callable[[Iterator[Item]], None]) -> None:
        """Run the encoder, then take the remaining frames."""
        frames = iter(self._queue.get, None)
        try:
            encode(frames)
        except BaseException as fault:  # noqa: BLE001  # `push` and `finish` raise it
            self._fault = fault
        # After a failure `push` would otherwise block for ever on the full queue.
        for _ in frames:
            pass
