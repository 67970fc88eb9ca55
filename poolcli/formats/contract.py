"""Define the contract between `run` and the formats: `Reader`, `Writer` and their base classes.

`run` takes frames from a reader, and pushes bands of rows to a writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol, runtime_checkable

from poolcli.errors import PoolError
from poolcli.formats import FORMATS, START_BYTES, by_content, module_of
from poolcli.formats.refusals import Refusing
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import Frame, FrameInfo, Metadata, Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS_COUNTED_ONCE: Final = 4
"""Channels that a pixel may have to count once against `--max-pixels`.

A pixel of 5 to 8 channels counts twice, and so on: memory is bounded for many channels too.
"""

USUAL_TILE: Final = 1 << 20
"""Pixels of a tile that are always allowed.

A tile may be larger than its picture, so a small `--max-pixels` must not refuse ordinary tiles.
"""

SAMPLE_KINDS: Final = {"unsigned": "bu", "signed": "i", "float": "f"}
"""The `dtype.kind` codes of NumPy that hold each kind of samples."""

WIDENED_BELOW: Final = 8
"""A decoder may widen samples of fewer bits than this to 0…255, because no value is lost."""


class Reader(Protocol):
    """The reader of one open file."""

    @property
    def count(self) -> int | None:
        """The number of frames; None if it is only known at the end of the file."""

    @property
    def format(self) -> str:
        """The name of the format to write if the user names none."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order; their pixels are decoded when their rows are asked for.

        A frame that can't be read may raise here or when its ``info`` is first looked at; the
        latter lets the frames behind it be taken.

        A frame is valid until the next one is taken. Another call starts again at the first frame.
        """


@runtime_checkable
class StackReader(Reader, Protocol):
    """The reader of a format with `Format.has_planes`.

    Its frames stay valid while others are taken, so that several planes can be read side by side.
    """

    def stack(self) -> Stack:
        """Return how the frames form stacks.

        Raises:
            PoolError: no axis of the file has planes, or its description doesn't fit the frames.
        """


class Stack(NamedTuple):
    """A description of the stacks that the frames of a file form, one after the other.

    Attributes:
        depth: the number of planes of a stack.
        step: the number of frames from a plane to the next one of the same stack; so many stacks
            alternate with each other.
    """

    depth: int
    step: int = 1


class Writer(Protocol):
    """The writer of one file: call `begin` and then `rows` for each frame, and `finish` once."""

    @property
    def warnings(self) -> Iterable[str]:
        """Sentences that the user should know of the file; complete after `finish`."""

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Begin a frame of ``info.shape``; the format must be able to store its mode."""

    def rows(self, band: NDArray[Any]) -> None:
        """Take the next rows of the frame, from top to bottom; the caller may reuse the band."""

    def finish(self) -> list[str]:
        """Complete the file; return notes on what was left out or approximated."""

    def discard(self) -> None:
        """Release threads and memory after a failure; the file stays incomplete."""


class Limits(NamedTuple):
    """The limits on the memory that a picture may take.

    Attributes:
        pixels: the largest number of pixels of a frame; more than `CHANNELS_COUNTED_ONCE`
            channels count several times.
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
                f"it has {height * width:,} pixels"
                + (f" of {channels} channels" if layers > 1 else ""),
                self._remedy(self.pixels),
            )

    def check_tile(self, height: object, width: object, channels: int) -> None:
        """Refuse tiles that are larger than a frame may be.

        Raises:
            PoolError: they have more pixels than allowed, or their size is not a whole number.
        """
        if not isinstance(height, int) or not isinstance(width, int):
            raise PoolError(f"the size of its tiles is {height}×{width}", "is the file damaged?")
        layers = -(-max(channels, 1) // CHANNELS_COUNTED_ONCE)
        if height * width * layers > (limit := max(self.pixels, USUAL_TILE)):
            raise PoolError(f"it has tiles of {height * width:,} pixels", self._remedy(limit))

    @staticmethod
    def _remedy(limit: int) -> str:
        """Return how many pixels are allowed, and the option that says so."""
        return f"{limit:,} are allowed: raise --max-pixels"


class DecodedFrame:
    """A frame whose decoder returns all rows at once."""

    def __init__(
        self,
        info: FrameInfo,
        decode: Callable[[], NDArray[Any]],
        metadata: Callable[[], Metadata] = Metadata,
    ) -> None:
        """Keep the arguments; nothing is decoded yet.

        Args:
            info: the contents of the header.
            decode: returns all pixels, in the shape of ``info``.
            metadata: reads the metadata.
        """
        self.info, self.metadata = info, metadata
        self._decode = decode
        self._array: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop; the first call decodes all rows.

        Raises:
            PoolError: the decoded array has another shape than the header states.
        """
        if self._array is None:
            array = self._decode()
            if array.shape != self.info.shape:
                raise PoolError(
                    f"its pixels have the shape {array.shape}, "
                    f"but its header states {self.info.shape}",
                    "is the file complete?",
                )
            self._array = array
        return self._array[start:stop]


class DecodedReader:
    """The reader of a file with one picture whose decoder returns all rows at once."""

    count = 1

    def __init__(
        self, info: FrameInfo, decode: Callable[[], NDArray[Any]], metadata: Callable[[], Metadata]
    ) -> None:
        """Keep the arguments of `DecodedFrame`; the reader itself keeps no pixels."""
        self.format, self._parts = info.encoding.format, (info, decode, metadata)

    def frames(self) -> Iterator[DecodedFrame]:
        """Yield the picture."""
        yield DecodedFrame(*self._parts)


class FurtherReader:
    """The reader of a file of one picture and of further ones, which only ``--frame`` reaches."""

    def __init__(self, first: Reader, further: Sequence[Callable[[], Reader]]) -> None:
        """Keep the reader of the first picture, and functions that open each of the others."""
        self.format, self.count = first.format, 1 + len(further)
        self._first, self._further = first, further

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures; each is opened when it is reached."""
        yield from self._first.frames()
        for open_next in self._further:
            yield from open_next().frames()


class FrameWriter:
    """The base class of writers: it keeps what is told at the end of the file."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Keep the arguments that every writer takes."""
        self.file, self.row, self.saving = file, row, saving
        self.notes: dict[str, None] = {}
        self.warnings: dict[str, None] = {}

    def note(self, *notes: str) -> None:
        """Add notes on what was left out or approximated; each is kept once."""
        self.notes |= dict.fromkeys(notes)

    def warn(self, *warnings: str) -> None:
        """Add warnings on what the format can't state as it was; each is kept once."""
        self.warnings |= dict.fromkeys(warnings)

    def held(self, info: FrameInfo, metadata: Metadata, **more: Any) -> dict[str, Any]:
        """Return the metadata that the format can store; note the rest as lost.

        Args:
            info: of the frame.
            metadata: of the frame.
            more: further arguments of `poolcli.formats.carried.carried`.
        """
        is_empty = metadata._replace(plays=0, warnings=()) == Metadata()
        if is_empty and self.row.modes.get(info.mode, info.mode) == info.mode:
            return {}
        # Imported here because it loads the EXIF modules, and few pictures have EXIF.
        from poolcli.formats.carried import carried, no_place

        held, notes = carried(metadata, self.row, info.mode, strip=self.saving.strip, **more)
        self.note(*notes)
        if not self.saving.strip and "place" not in self.row.metadata:
            self.warn(*(no_place(self.row, what) for what in metadata.place))
        return held

    def discard(self) -> None:
        """Release threads and memory after a failure; most writers hold none."""


class WholeFrameWriter(FrameWriter):
    """The base class of writers whose encoder takes whole frames; it collects the bands of each.

    A frame is encoded only when the next one begins or the file is finished. By then the decoded
    source frame has been freed, so that it and the encoder's memory are never needed together.
    """

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        """Begin without a frame."""
        super().__init__(file, row, saving)
        self._frame: Picture | None = None
        self._filled = 0

    def begin(self, info: FrameInfo, metadata: Metadata) -> None:
        """Write the previous frame, and allocate the next one."""
        import numpy as np

        self._flush()
        shape = info.shape if info.palette is None else info.shape[:2]  # of indices
        self._frame = Picture(np.empty(shape, info.dtype), info, metadata)
        self._filled = 0

    def rows(self, band: NDArray[Any]) -> None:
        """Copy the next rows into the current frame."""
        if self._frame is None:
            raise RuntimeError("rows() was called before begin()")
        self._frame.array[self._filled : self._filled + len(band)] = band
        self._filled += len(band)

    def finish(self) -> list[str]:
        """Write the last frame and the end of the file; return the notes."""
        self._flush()
        self.write_end()
        return list(self.notes)

    def discard(self) -> None:
        """Release the current frame."""
        self._frame = None
        super().discard()

    def write_frame(self, picture: Picture) -> None:
        """Write one whole frame."""
        raise NotImplementedError

    def write_end(self) -> None:
        """Write what follows the last frame; most formats have nothing there."""

    def _flush(self) -> None:
        """Write the collected frame, if there is one, and release it."""
        frame, self._frame = self._frame, None
        if frame is not None:
            self.write_frame(frame)


def open_reader(stream: BinaryIO, limits: Limits, axes: str | None = None) -> Reader:
    """Open a file by its content; no pixel is decoded.

    Args:
        stream: seekable and at any position; or a pipe that is read on demand, at its start.
        limits: the limits on the size of a frame.
        axes: the letters of the axes of an array, or None; they are ignored for pictures.

    Raises:
        PoolError: it is not a picture of a known format, or its header is refused.
    """
    with Refusing("it can't be read: "):
        if stream.seekable():
            stream.seek(0)
            start = stream.read(START_BYTES)
            stream.seek(0)
        else:
            start = stream.peek(START_BYTES)  # type: ignore[attr-defined]  # see `Place.open`
        if not start:
            raise PoolError("the file is empty", "give a picture")
        row = by_content(start)
    with Refusing(f"it looks like {row.title}, but "):
        named = (axes,) if row.has_axes else ()
        reader: Reader = module_of(row.module).read(stream, limits, *named)
    return reader


def open_writer(file: BinaryIO, row: Format, saving: Saving, frames: int | None) -> Writer:
    """Return the writer of a file.

    Args:
        file: the output; seekable, and readable for formats that read back what they wrote.
        row: the format.
        saving: the user's options for writing.
        frames: the number of frames that will follow; None if it is not known yet.
    """
    writer: Writer = module_of(row.module).write(file, row, saving, frames)
    return writer


def check_depth(info: FrameInfo, *, allow_loss: bool) -> bool:
    """Refuse a frame whose decoder loses depth or channels; return whether it rounds samples.

    Args:
        info: the frame; ``info.stored`` holds the samples as the file states them.
        allow_loss: whether unsigned samples may be rounded to 8 bits.

    Raises:
        PoolError: bits, sign, scale or channels would be lost, and this loss is not allowed.
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
        message = f"its {stored.bits}-bit samples can only be read as 8 bits"
        raise PoolError(message, _install(info.encoding.format) + "give --allow-depth-loss")
    return True


def _install(name: str) -> str:
    """Return the advice to install the extra of a format; empty if it is installed already."""
    from poolcli.formats.extras import is_installed

    extra = next((one.extra for one in FORMATS if one.name == name), None)
    if extra is None or is_installed(extra):
        return ""
    return f"install the extra [{extra.name}] of poolcli-image, or "
