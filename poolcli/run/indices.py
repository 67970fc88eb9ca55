"""Write the indices of a pooled picture beside it, and read them to unpool one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poolcli.colour import placement
from poolcli.engine.places import check_range, check_shapes, put
from poolcli.engine.window import Axis, Window
from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, Reader
from poolcli.formats.indices import Indices, IndicesWriter, check_start, read
from poolcli.picture import Frame, Metadata, Placement, Upright
from poolcli.report import Outcome
from poolcli.run.headers import Pooled
from poolcli.run.work import Work
from poolcli.storage import ExistsError, Output, Place


class IndicesOutput:
    """The file of indices beside one output.

    It gets its name when the picture is complete but has none yet. Thus no picture is without its
    indices: not after a full disk, and not if the program is killed between the two.
    """

    def __init__(self, place: Place, work: Work, outcome: Outcome, *, retry: bool) -> None:
        """Begin the file.

        Args:
            place: where it is written.
            work: the settings of the run.
            outcome: gets the name of the file if it can't be written.
            retry: as in `Place.create`.
        """
        self._work, self._outcome = work, outcome
        # A run that was killed may have left indices without their picture. The run that resumes
        # it makes the same ones.
        self._file: Output = place.create(
            overwrite=work.overwrite or work.update, retry=retry or work.skip_existing
        )
        self._writer: IndicesWriter | None = None
        self._others: dict[str, Any] = {}
        self._is_committed = False

    def __enter__(self) -> IndicesOutput:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Discard the file, if the picture could not be made."""
        if kind is not None:
            if self._writer is not None and not self._is_committed:
                self._writer.discard()
            if self._is_committed:
                self._file.withdraw()
        self._file.close()

    def begin(self, input_shape: tuple[int, ...], pooled: Pooled) -> None:
        """Begin the indices of a frame."""
        self._writer = IndicesWriter(self._file, pooled.info.shape)
        rows, columns = pooled.axes
        window = self._work.window
        self._others = {
            "input_shape": input_shape,
            "size": window.size or (),
            "stride": window.stride or (),
            "padding": ((rows.before, rows.after), (columns.before, columns.after)),
            "dilation": window.dilation,
            "ceil_mode": isinstance(window, Window) and window.ceil_mode,
        }

    def rows(self, band: NDArray[np.int64]) -> None:
        """Write the indices of a band."""
        if self._writer is not None:
            self._writer.rows(band)

    def commit(self) -> None:
        """Store the file, unless that is done.

        Raises:
            PoolError: it can't be written, or a file of that name has appeared.
        """
        if self._is_committed:
            return
        if self._writer is not None:
            self._writer.finish(self._others)
        try:
            self._file.commit()
        except (OSError, ExistsError) as fault:
            self._outcome.blamed = self._outcome.indices or ""
            if isinstance(fault, ExistsError):  # no `ExistsError`: that is one of the picture
                raise PoolError(fault.message, fault.remedy) from fault
            reason = f"it can't be written: {fault.strerror or fault}"
            raise PoolError(reason, f"{self._outcome.input} is untouched") from fault
        self._is_committed = True


class Unpooling:
    """The reader of a pooled picture, whose values are put back to their places.

    Attributes:
        shape: the shape of the pooled picture; None until its frame is taken.
    """

    def __init__(self, reader: Reader, place: Place, limits: Limits) -> None:
        """Read the indices.

        Raises:
            PoolError: the file is refused, or there are several pooled pictures.
        """
        self.format, self.count, self._reader = reader.format, reader.count, reader
        self.shape: tuple[int, ...] | None = None
        with place.open(check_start) as stream:
            self._indices = indices = read(stream, limits)
        height, width = indices.input_shape[:2]
        check_range(indices.indices, height * width)

    def frames(self) -> Iterator[Frame]:
        """Yield the picture.

        Raises:
            PoolError: there are several pooled pictures, or the indices do not fit.
        """
        for number, frame in enumerate(self._reader.frames()):
            if number or self.count not in (1, None):
                raise PoolError("it has several pictures", "give one")
            unpooled = Unpooled(frame, self._indices)
            self.shape = unpooled.pooled_shape
            yield unpooled


class Unpooled:
    """A pooled frame whose values are put back to their places, among zeros."""

    def __init__(self, frame: Frame, indices: Indices) -> None:
        """Compare the shapes.

        Raises:
            PoolError: they do not fit.
        """
        if frame.info.orientation != 1:
            frame = Upright(frame)
        shape = frame.info.shape
        check_shapes(shape, indices.indices.shape, indices.input_shape)
        self.info = frame.info._replace(shape=indices.input_shape, palette=None)
        self.pooled_shape = shape
        self._frame, self._indices = frame, indices
        self._array: NDArray[Any] | None = None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return some rows; the first call reads all values."""
        if self._array is None:
            info = self._frame.info
            values = self._frame.rows(0, info.shape[0])
            if info.palette is not None:
                values = np.take(info.palette, values, axis=0)
            self._array = np.zeros(self.info.shape, self.info.dtype)
            put(values, self._indices.indices, self._array)
        return self._array[start:stop]

    def metadata(self) -> Metadata:
        """Return the metadata of the pooled frame, for its smaller pixels."""
        if not self._indices.stride:  # the size of the output was given
            sides = zip(self._frame.info.shape[:2], self.info.shape[:2], strict=True)
            down, across = (out / extent for out, extent in sides)
            return self._frame.metadata().pooled(Placement((down, across), (0, 0)))
        (down, across), (top, left) = placement(_windows(self._indices))[:2]
        inverse = Placement((1 / down, 1 / across), (-top / down, -left / across))
        return self._frame.metadata().pooled(inverse)


def _windows(indices: Indices) -> tuple[Axis, Axis]:
    """Return the windows that were pooled."""
    rows, columns = (
        Axis(
            extent=indices.input_shape[number],
            size=indices.size[number],
            stride=indices.stride[number],
            dilation=indices.dilation[number],
            before=indices.padding[number][0],
            after=indices.padding[number][1],
            out=indices.indices.shape[number],
        )
        for number in (0, 1)
    )
    return rows, columns
