"""The contract between run and the formats: readers that are asked, writers that are pushed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

from poolcli.errors import PoolError
from poolcli.formats import START_BYTES, Format, by_content
from poolcli.formats.saving import Saving
from poolcli.picture import Frame, FrameInfo, Metadata, Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS_COUNTED_ONCE: Final = 4
"""Channels of a pixel; what has more counts several times, so that memory is bounded for it too."""

USUAL_TILE: Final = 1 << 20
"""Pixels of a tile that is decoded whatever is allowed: small pictures have tiles too."""

SAMPLE_KINDS: Final = {"unsigned": "bu", "signed": "i", "float": "f"}
"""The kinds of NumPy's types that hold the samples of each kind."""

WIDENED_BELOW: Final = 8
"""Samples of fewer bits may come widened to 0…255: no value is lost."""


class Reader(Protocol):
    """A file that is read."""

    @property
    def count(self) -> int | None:
        """The number of frames; None where only the end tells."""

    @property
    def format(self) -> str:
        """The name of the format that the file is written in if the user names none."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in turn, headers only until their rows are asked for.

        Each is valid until the next one is taken. Another call begins anew.
        """


class Writer(Protocol):
    """A file that is written: for each frame `begin`, then its `rows`; at last `finish`."""

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Begin a frame of ``info.shape`` in a mode that the format holds."""

    def rows(self, band: NDArray[Any]) -> None:
        """Take the next rows of the frame, from top to bottom; the band is not kept."""

    def finish(self) -> list[str]:
        """Complete the file; return what had to be left out or approximated, in words."""

    def discard(self) -> None:
        """Release what is held, after a failure; the file is not complete."""


class Limits(NamedTuple):
    """What a picture may cost.

    Attributes:
        pixels: the most pixels, of up to four channels each, that one frame may have.
    """

    pixels: int

    def check(self, height: int, width: int, channels: int = 1) -> None:
        """Refuse a frame that is too large.

        Raises:
            PoolError: it has more pixels than allowed.
        """
        layers = -(-max(channels, 1) // CHANNELS_COUNTED_ONCE)
        if height * width * layers > self.pixels:
            raise PoolError(
                f"it has {width * height / 1e6:.1f} million pixels"
                + (f" of {channels} channels" if layers > 1 else "")
                + f", more than the {self.pixels / 1e6:g} million allowed",
                "raise --max-pixels",
            )

    def check_tile(self, height: object, width: object, channels: int) -> None:
        """Refuse tiles that would take more memory than the picture may.

        Raises:
            PoolError: they have more pixels than allowed, or no whole number of them.
        """
        if not isinstance(height, int) or not isinstance(width, int):
            raise PoolError("its tiles are no whole number of pixels", "is the file sound?")
        layers = -(-max(channels, 1) // CHANNELS_COUNTED_ONCE)
        if height * width * layers > max(self.pixels, USUAL_TILE):
            raise PoolError(
                f"it has tiles of {height * width / 1e6:.1f} million pixels, "
                f"more than the {self.pixels / 1e6:g} million allowed",
                "raise --max-pixels",
            )


class DecodedFrame:
    """A frame of a decoder that gives all pixels at once."""

    def __init__(
        self,
        info: FrameInfo,
        decode: Callable[[], NDArray[Any]],
        metadata: Callable[[], Metadata] = Metadata,
    ) -> None:
        """Keep what is known of it.

        Args:
            info: what its header says.
            decode: returns the pixels, in the shape of ``info``.
            metadata: reads what stands beside them.
        """
        self.info, self.metadata = info, metadata
        self._decode = decode
        self._array: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call decodes them all.

        Raises:
            PoolError: what was decoded is of another shape than the header states.
        """
        if self._array is None:
            array = self._decode()
            if array.shape != self.info.shape:
                raise PoolError(
                    f"samples of shape {array.shape} were decoded, "
                    f"and its header states {self.info.shape}",
                    "is the file complete?",
                )
            self._array = array
        return self._array[start:stop]


class DecodedReader:
    """The reader of a file of one picture whose decoder gives all pixels at once."""

    count = 1

    def __init__(
        self, info: FrameInfo, decode: Callable[[], NDArray[Any]], metadata: Callable[[], Metadata]
    ) -> None:
        """Keep what a frame is made of; no pixels are kept."""
        self.format, self._parts = info.encoding.format, (info, decode, metadata)

    def frames(self) -> Iterator[DecodedFrame]:
        """Yield the picture."""
        yield DecodedFrame(*self._parts)


class WholeFrameWriter:
    """The base of writers whose encoder takes whole frames: gathers bands until a frame is full.

    A frame is handed on when the next one begins or the file is finished: by then nobody holds
    the decoded picture that it came from.
    """

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Keep what every writer is given."""
        self.file, self.row, self.saving = file, row, saving
        self.notes: dict[str, None] = {}
        self._frame: Picture | None = None
        self._filled = 0

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Begin a frame."""
        import numpy as np

        self._hand_on()
        self._frame = Picture(np.empty(info.shape, info.dtype), info, metadata)
        self._filled = 0

    def rows(self, band: NDArray[Any]) -> None:
        """Copy the next rows."""
        if self._frame is None:
            raise RuntimeError("rows without a frame")
        self._frame.array[self._filled : self._filled + len(band)] = band
        self._filled += len(band)

    def finish(self) -> list[str]:
        """Write the last frame and what follows it."""
        self._hand_on()
        self.write_end()
        return list(self.notes)

    def discard(self) -> None:
        """Forget the frame at hand."""
        self._frame = None

    def note(self, *notes: str) -> None:
        """Note, once, what had to be left out or approximated."""
        self.notes |= dict.fromkeys(notes)

    def held(self, info: FrameInfo, metadata: Metadata, **more: Any) -> dict[str, Any]:
        """Return what the format holds of the metadata of a frame; what is lost is noted.

        Args:
            info: of the frame.
            metadata: of the frame.
            more: further arguments of `poolcli.formats.carried.carried`.
        """
        if metadata._replace(plays=0) == Metadata() and self.row.modes[info.mode] == info.mode:
            return {}
        from poolcli.formats.carried import carried  # with all of EXIF, which few pictures have

        held, notes = carried(metadata, self.row, info.mode, strip=self.saving.strip, **more)
        self.note(*notes)
        return held

    def write_frame(self, picture: Picture) -> None:
        """Write one whole frame."""
        raise NotImplementedError

    def write_end(self) -> None:
        """Write what follows the last frame; most formats have nothing there."""

    def _hand_on(self) -> None:
        """Write the frame that is held, if there is one."""
        frame, self._frame = self._frame, None
        if frame is not None:
            self.write_frame(frame)


def open_reader(stream: BinaryIO, limits: Limits) -> Reader:
    """Open a file by its content; no pixel is decoded.

    Args:
        stream: seekable, at any position.
        limits: what one frame may cost.

    Raises:
        PoolError: it is no picture of a readable format, or its header is refused.
    """
    with refusing("it can't be read as a picture"):
        if not stream.seek(0, 2):
            raise PoolError("the file is empty", "give a picture")
        stream.seek(0)
        row = by_content(stream.read(START_BYTES))
        stream.seek(0)
        reader: Reader = import_module(row.module, __package__).read(stream, limits)
    return reader


def open_writer(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> Writer:
    """Begin to write a file.

    Args:
        file: takes the bytes; seekable, and readable where the format goes back.
        row: the format.
        saving: how it is written.
        frames: how many frames will be pushed; None if only the end tells.
    """
    writer: Writer = import_module(row.module, __package__).write(file, row, saving, frames)
    return writer


def check_depth(info: FrameInfo, *, allow_loss: bool) -> bool:
    """Refuse a frame that comes with less than its file states; return whether it is rounded.

    Raises:
        PoolError: bits, sign, scale or channels would be lost, and it isn't allowed or possible.
    """
    stored, dtype = info.stored, info.dtype
    channels = info.shape[2] if len(info.shape) == 3 else 1
    bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize
    holds = dtype.kind in SAMPLE_KINDS.get(stored.kind, "") and bits >= stored.bits
    is_widened = stored.bits < WIDENED_BELOW and info.maxval == 255
    keeps_scale = stored.kind != "unsigned" or info.maxval == stored.maxval or is_widened
    if holds and keeps_scale and channels >= stored.channels:
        return False
    if channels < stored.channels or stored.kind != "unsigned" or dtype != "uint8":
        raise PoolError(
            f"{stored.channels} channels of {stored.bits}-bit {stored.kind} samples "
            f"would be read as {channels} of {dtype}",
            "convert it first to a format with such samples",
        )
    if not allow_loss:
        raise PoolError(
            f"its {stored.bits}-bit samples can only be read as 8 bits", "give --allow-depth-loss"
        )
    return True


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever a library raises over a stranger's file into one `PoolError`."""
    try:
        yield
    except PoolError:
        raise
    except MemoryError:
        raise PoolError(f"{what}: not enough memory", "lower --max-pixels to skip it") from None
    except Exception as fault:  # OSError, ValueError, SyntaxError, struct.error …
        from PIL import Image  # loaded by now where it matters

        if isinstance(fault, Image.DecompressionBombError | Image.DecompressionBombWarning):
            raise PoolError(
                f"{what}: it has more pixels than Pillow's own limit, "
                "PIL.Image.MAX_IMAGE_PIXELS, allows in this process",
                "raise that limit, or set it to None",
            ) from fault
        raise PoolError(f"{what}: {_reason(fault)}", "is the file complete?") from fault


def _reason(fault: Exception) -> str:
    """Return what went wrong in a library, in words."""
    if isinstance(fault, struct.error) or isinstance(fault.__cause__, struct.error):
        return "its structure is damaged"
    return str(fault) or type(fault).__name__
