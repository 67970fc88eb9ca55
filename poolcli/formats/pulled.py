"""Writers of stills and animations for encoders of Pillow that pull their frames."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias

from PIL import Image

from poolcli.formats import Format
from poolcli.formats.animation import Bridge
from poolcli.formats.contract import WholeFrameWriter
from poolcli.formats.pillow import save_image, to_image
from poolcli.formats.saving import Saving
from poolcli.picture import FrameInfo, Metadata, Picture

Timed: TypeAlias = tuple[Image.Image, int]
"""An image, and for how many milliseconds it is shown."""


class PulledWriter(WholeFrameWriter):
    """The base of writers of which Pillow encodes the animations: it pulls frame after frame.

    Attributes:
        plugin: Pillow's name of the format.
    """

    plugin = ""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> None:
        """Begin a file of so many frames; where only the end tells, all are gathered first."""
        super().__init__(file, row, saving)
        self._frames = frames
        self._owed = Fraction(0)
        self._waiting: list[Timed] = []
        self._first: tuple[FrameInfo, Metadata] | None = None
        self._arguments: dict[str, Any] = {}
        self._bridge: Bridge[Timed] | None = None
        self._buffer = BytesIO()

    def arguments(self, info: FrameInfo, metadata: Metadata) -> dict[str, Any]:
        """Return what Pillow is asked for, by the first frame; note what is left out."""
        raise NotImplementedError

    def animation_arguments(self, metadata: Metadata) -> dict[str, Any]:
        """Return what Pillow is asked for besides if there are several frames."""
        raise NotImplementedError

    def repair(self, content: memoryview, info: FrameInfo) -> None:
        """Repair in place what the encoder of an animation gets wrong."""

    def write_frame(self, picture: Picture) -> None:
        """Hand on a frame; it goes to the encoder when the next one has come."""
        if self._first is None:
            self._first = picture.info, picture.metadata
            self._arguments = self.arguments(*self._first)
        image = to_image(picture, self.row.modes[picture.info.mode])
        self._owed += picture.info.duration
        milliseconds = round(self._owed)
        self._owed -= milliseconds
        if self._waiting and self._frames is not None:
            self._push(self._started(self._frames, self._first[1]))
        self._waiting.append((image, milliseconds))

    def write_end(self) -> None:
        """Write a still, or what the encoder has made of the frames."""
        if self._first is None:
            raise RuntimeError("there is no frame")
        if self._bridge is None and len(self._waiting) == 1:
            save_image(self.file, self._waiting[0][0], self.plugin, **self._arguments)
            return
        bridge = self._started(self._frames or len(self._waiting), self._first[1])
        self._push(bridge)
        bridge.finish()
        content = self._buffer.getbuffer()
        self.repair(content, self._first[0])
        self.file.write(content)

    def discard(self) -> None:
        """Forget the frame at hand, and end the encoder."""
        super().discard()
        if self._bridge is not None:
            self._bridge.discard()

    def _started(self, count: int, metadata: Metadata) -> Bridge[Timed]:
        """Return the way to the encoder, which is started for the first frame."""
        if self._bridge is None:
            more = self.animation_arguments(metadata)
            self._bridge = Bridge(partial(self._encode, count, more))
        return self._bridge

    def _push(self, bridge: Bridge[Timed]) -> None:
        """Give the encoder the frames that wait for it."""
        for item in self._waiting:
            bridge.push(item)
        self._waiting.clear()

    def _encode(self, count: int, more: dict[str, Any], frames: Iterator[Timed]) -> None:
        """Encode an animation."""
        animation = PulledAnimation(frames, count)
        animation.save(
            self._buffer,
            self.plugin,
            save_all=True,
            duration=animation.durations,
            **more,
            **self._arguments,
        )


class PulledAnimation(Image.Image):
    """An animation as Pillow takes it: an image that shows one frame after the other.

    Attributes:
        n_frames: the number of frames.
        is_animated: that there are several.
        durations: in milliseconds, of the frames shown so far.
    """

    def __init__(self, frames: Iterator[Timed], count: int) -> None:
        """Show the first frame."""
        super().__init__()
        self.n_frames = count
        self.is_animated = True
        self.durations: list[int] = []
        self._frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Show the next frame; to ask for one that is over has no effect, as Pillow does at last.

        Raises:
            EOFError: there is no such frame.
        """
        if frame >= self.n_frames:
            raise EOFError("there are no more frames")
        if frame < len(self.durations):
            return
        image, duration = next(self._frames)
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self.durations.append(duration)

    def tell(self) -> int:
        """Return the number of the frame that is shown."""
        return len(self.durations) - 1
