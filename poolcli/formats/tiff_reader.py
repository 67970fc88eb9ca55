"""Read the pictures of a TIFF, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, Stack
from poolcli.formats.tiff_frame import LazyFrame, SegmentFrame, frame_of
from poolcli.formats.tiff_layout import layout_of, pictures_of
from poolcli.formats.tiff_stacks import stack_of
from poolcli.formats.tiff_tags import Directory, TagFile
from poolcli.picture import MODES, Frame, Metadata

ReadMetadata = Callable[[Directory], Metadata]
ReadOrientation = Callable[[Directory], int]
LEFT_OUT = "its mask was left out: "
STRAYS = "its list of pages leads to other data: pages may be missing"


class TiffReader:
    """The reader of the pictures of a TIFF."""

    format = "tiff"

    def __init__(
        self,
        stream: BinaryIO,
        limits: Limits,
        orientation: ReadOrientation,
        metadata: ReadMetadata,
    ) -> None:
        """Walk through the directories once; only their kinds are read.

        Args:
            stream: the file.
            limits: the limits on the size of a page.
            orientation: reads the orientation of a page.
            metadata: reads the metadata of a page.

        Raises:
            PoolError: the file has no pages.
            ValueError: a directory is cut off, or directories overlap.
        """
        self._file, self._limits = TagFile(stream), limits
        self._orientation, self._metadata = orientation, metadata
        self._pictures = pictures_of(self._file)
        self._stack: Stack | None = None
        # A page that can't be found is one that can't be read, so that the others can be taken.
        self.count = len(self._pictures) // 2 + bool(self._file.breaks_off)
        if not self.count:
            raise PoolError("it has no pages", "is the file complete?")

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures in order; the tags of each are read when it is looked at."""
        for at in range(0, len(self._pictures), 2):
            yield LazyFrame(partial(self._picture, *self._pictures[at : at + 2]))
        if self._file.breaks_off:
            yield LazyFrame(self._missing_page)

    def stack(self) -> Stack:
        """Return how the pages form stacks."""
        if self._stack is None:
            self._stack = stack_of(Directory(self._file, self._pictures[0]), self.count)
        return self._stack

    def _missing_page(self) -> Frame:
        """Raise the reason why the pages break off."""
        raise self._file.breaks_off or RuntimeError("no page is missing")

    def _picture(self, offset: int, mask: int) -> Frame:
        """Open a page, with its mask as alpha if it has one that fits."""
        page = self._page(offset)
        if not mask:
            return page
        try:
            return MaskedFrame(page, self._page(mask))
        except PoolError as fault:
            page.metadata = partial(_with_warning, page.metadata, LEFT_OUT + fault.message)
            return page

    def _page(self, offset: int) -> SegmentFrame:
        """Open a page."""
        directory = Directory(self._file, offset)
        layout = layout_of(directory, self._limits)
        metadata = partial(self._metadata, directory)
        if self._file.strays and offset == self._pictures[0]:
            metadata = partial(_with_warning, metadata, STRAYS)
        return frame_of(layout, self._orientation(directory), metadata)


class MaskedFrame:
    """A page with its mask page as alpha."""

    def __init__(self, page: SegmentFrame, mask: SegmentFrame) -> None:
        """Keep both pages.

        Raises:
            PoolError: the mask doesn't fit the page, or there is no such mode with alpha.
        """
        info, other = page.info, mask.info
        mode = next((name for name, one in MODES.items() if one.without_alpha == info.mode), "")
        if not mode:
            raise PoolError(f"{MODES[info.mode].title} can't have one", "save alpha as a channel")
        if other.shape != info.shape[:2] or other.maxval not in (1, 255):
            raise PoolError("it has another size or depth", "save alpha as a channel")
        self._page, self._mask, self.metadata = page, mask, page.metadata
        channels = MODES[mode].channels
        stored = info.stored._replace(channels=channels)
        self.info = info._replace(
            shape=(*info.shape[:2], channels), mode=mode, stored=stored, palette=None, has_mask=True
        )

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop, with alpha."""
        info, palette = self.info, self._page.info.palette
        rows, mask = self._page.rows(start, stop), self._mask.rows(start, stop)
        array = np.empty((stop - start, *info.shape[1:]), info.dtype)
        colours = rows if palette is None else np.take(palette, rows, axis=0)
        array[..., :-1] = colours.reshape(*rows.shape[:2], -1)
        array[..., -1] = mask.astype(info.dtype) * (info.maxval // self._mask.info.maxval)
        return array


def _with_warning(metadata: Callable[[], Metadata], warning: str) -> Metadata:
    """Return the metadata with one more warning."""
    found = metadata()
    return found._replace(warnings=(*found.warnings, warning))
