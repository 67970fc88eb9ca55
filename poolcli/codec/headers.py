"""What a file's header says, before any pixel is decoded; what would be lost is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.codec.metadata import Metadata
from poolcli.errors import PoolError

if TYPE_CHECKING:
    from poolcli.codec.film import Shot
    from poolcli.codec.modes import Bands

LAYER: Final = 4
"""Channels of a pixel; what has more counts several times, lest it hold any amount of memory."""


USUAL_TILE: Final = 1 << 20
"""Pixels of a tile that is decoded whatever is allowed: small pictures have tiles too."""


class Allowance(NamedTuple):
    """What a picture may cost.

    Attributes:
        pixels: the most that it, or one frame of it, may have.
        depth_loss: whether samples may be read that only come rounded to 8 bits.
    """

    pixels: int
    depth_loss: bool = False

    def check(self, height: int, width: int, channels: int = 1) -> None:
        """Refuse what is too large.

        Raises:
            PoolError: it has more pixels than allowed.
        """
        layers = _layers(channels)
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
        if height * width * _layers(channels) > max(self.pixels, USUAL_TILE):
            raise PoolError(
                f"it has tiles of {height * width / 1e6:.1f} million pixels, "
                f"more than the {self.pixels / 1e6:g} million allowed",
                "raise --max-pixels",
            )


def _layers(channels: int) -> int:
    """How many times a pixel of so many channels counts."""
    return -(-max(channels, 1) // LAYER)


class Storage(NamedTuple):
    """How a file stores its picture.

    Attributes:
        lossy: whether something was lost already when it was written.
        jpeg_tables: the quantisation tables and subsampling of a JPEG, as Pillow's arguments.
        tiff_layout: how the channels of a deep TIFF are meant, as tifffile's arguments.
    """

    lossy: bool = False
    jpeg_tables: Mapping[str, Any] = MappingProxyType({})
    tiff_layout: Mapping[str, Any] = MappingProxyType({})


class Header(NamedTuple):
    """What a file's header says of its picture.

    Attributes:
        format: the name of its format in `poolcli.formats`.
        mode: the mode of the picture, palettes and transparency keys applied.
        dtype: the type of its samples.
        shape: (H, W) or (H, W, C) of the upright picture.
        maxval: full scale of unsigned samples; 0 where there is none.
        frames: the number of frames in the file.
        orientation: EXIF's for the pixels as `read` gives them; 1 where these are upright.
        read: decodes the pixels; those that Pillow decoded are still to be copied.
        describe: reads what stands beside them; called after `read`.
        unlike_srgb: says why the values aren't sRGB's code for light; empty where they are.
        source: how the file is stored.
        converted: what is done to its pixels before they are pooled, in words.
        rounded: whether they only come rounded to 8 bits.
        film: composites the frames in turn, as stored; None where there is one picture.
        pages: the header of each page in turn; None where there is one picture.
    """

    format: str
    mode: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    maxval: int
    frames: int
    orientation: int
    read: Callable[[], Bands | NDArray[Any]]
    describe: Callable[[], Metadata]
    unlike_srgb: Callable[[], str]
    source: Storage
    converted: tuple[str, ...] = ()
    rounded: bool = False
    film: Callable[[], Iterator[Shot]] | None = None
    pages: Callable[[], Iterator[Header]] | None = None

    @property
    def taken(self) -> int:
        """How many of the frames are taken."""
        return self.frames if self.film or self.pages else 1

    def only(self, frame: int) -> Header:
        """The header of one frame.

        Raises:
            PoolError: there is no such frame.
        """
        if frame >= self.frames:
            some = "1 frame" if self.frames == 1 else f"{self.frames} frames"
            raise PoolError(f"it has {some}", "--frame counts from 0")
        if self.pages is not None:
            return next(islice(self.pages(), frame, None))._replace(frames=self.frames)
        film = self.film
        if film is None:
            return self
        return self._replace(film=None, read=lambda: next(islice(film(), frame, None)).array)


def full_scale(dtype: np.dtype[Any]) -> int:
    """The largest value of an unsigned type; 1 for bool, 0 for others."""
    if dtype.kind == "b":
        return 1
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else 0
