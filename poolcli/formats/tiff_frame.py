"""Choose how a page of a TIFF is decoded, and read it band by band."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats import by_name, tiff_decoders
from poolcli.formats import tiff_layout as tags
from poolcli.formats.extras import is_installed
from poolcli.formats.indexed import conversions
from poolcli.formats.pillow import LAB_SIGNS, NATIVE_16, PILLOW_MODES
from poolcli.formats.tiff_decoders import DecodeRows
from poolcli.formats.tiff_layout import Layout
from poolcli.formats.tiff_segments import DEFLATE, Segments
from poolcli.picture import (
    ARRAY,
    MODES,
    Encoding,
    Frame,
    FrameInfo,
    Metadata,
    Stored,
    info_in_mode,
)

PILLOW_COMPRESSIONS: Final = {1, 2, 3, 4, 5, 7, 8, 32773, 32809, 32946, 34925, 50000}
"""The compressions that the libtiff of Pillow decodes as a rule."""

DEEP_COMPRESSIONS: Final = {
    *(1, 5, 7, 8, 22610, 32773, 32946, 33004, 33005, 34712, 34887, 34925, 34927, 34933, 34934),
    *(50000, 50001, 50002, 52546),
}
"""The compressions that tifffile decodes and whose output is limited to the size of a segment.

For those that hold a whole picture, `poolcli.formats.tiff_codestreams` checks its size first.
"""

FASTER_COMPRESSIONS: Final = {8, 32946, 50000}
"""The compressions that tifffile decodes faster than Pillow: deflate, in half of its time, and
Zstandard. LZW takes it a quarter more."""

FASTER_BYTES: Final = 1 << 24
"""The bytes of the samples of a page from which on that saves more than the import takes."""

HELD_BYTES: Final = 1 << 23
"""The least bytes of compressed strips that are decoded at once, several of them on threads."""

NAMES: Final = {
    6: "old-style JPEG",
    32766: "NeXT",
    33003: "JPEG 2000 of YCbCr",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34892: "lossy JPEG of DNG",
}
"""The names of compressions that can't be read, for messages."""

COLOUR_NAMES: Final = {
    6: "YCbCr",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}
"""The names of photometric interpretations that can't be read, for messages."""

ODD_BITS: Final = {*range(1, 17), 24, 32, 64}
"""The bits of unsigned samples that tifffile reads, and of which all programs think alike."""

DEEP_MODES: Final[dict[tuple[int, tuple[int, ...]], tuple[str, str, str]]] = {
    (tags.BLACK_IS_0, ()): ("L", "I;16", "L;M"),
    (tags.BLACK_IS_0, (tags.STRAIGHT_ALPHA,)): ("LA", "LA;16", "LA;M"),
    (tags.RGB, ()): ("RGB", "RGB;16", "RGB;M"),
    (tags.RGB, (tags.STRAIGHT_ALPHA,)): ("RGBA", "RGBA;16", "RGBA;M"),
    (tags.SEPARATED, ()): ("CMYK", ARRAY, ARRAY),
    (tags.CIELAB, ()): ("LAB", ARRAY, ARRAY),
}
"""The modes of unsigned samples of 8, of 16 and of other bits, by the meaning of the channels."""


class SegmentFrame:
    """A page that is decoded as far as its rows are asked for, by whole rows of segments.

    The rows of segments decoded last stay in memory: neighbouring bands of rows share some. Of
    those before them only the few rows are kept that a band has in common with both.
    """

    def __init__(
        self,
        info: FrameInfo,
        decode: DecodeRows,
        step: int,
        metadata: Callable[[], Metadata],
        least: int = 1,
    ) -> None:
        """Keep the arguments; nothing is decoded yet.

        Args:
            info: the contents of the tags.
            decode: decodes rows of segments.
            step: the number of rows of pixels in a row of segments.
            metadata: reads the metadata.
            least: how many rows of segments are decoded at once at least.
        """
        self.info, self.metadata = info, metadata
        self._decode, self._step, self._least = decode, step, least
        self._above: NDArray[Any] | None = None
        self._held: NDArray[Any] | None = None
        self._top = self._first = self._end = 0

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop."""
        if not self._top <= start < self._end:
            self._above = None
            self._hold(start // self._step, stop)
            self._top = self._first
        elif stop > self._end:
            # A copy, so that the segments can be freed before the next ones are decoded.
            self._above = self._taken(start, self._end).copy()
            self._top = start
            self._hold(self._end // self._step, stop)
        return self._taken(start, stop)

    def _hold(self, first: int, stop: int) -> None:
        """Decode from a row of segments up to a row of pixels."""
        self._held = None
        last = max(-(-stop // self._step), first + self._least)
        held = self._decode(first, min(last, -(-self.info.shape[0] // self._step)))
        self._held, self._first = held, first * self._step
        self._end = self._first + len(held)

    def _taken(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows that are in memory."""
        held, above = self._held, self._above
        if held is None:
            raise RuntimeError("rows were asked for before they were decoded")
        part = held[max(start - self._first, 0) : stop - self._first]
        if start >= self._first or above is None:
            return part
        if stop <= self._first:
            return above[start - self._top : stop - self._top]
        return np.concatenate((above[start - self._top :], part))


class LazyFrame:
    """A frame that is opened when it is asked for, so that one that is skipped can't fail."""

    def __init__(self, open_frame: Callable[[], Frame]) -> None:
        """Keep the function that opens the frame."""
        self._open = cache(open_frame)

    @property
    def info(self) -> FrameInfo:
        """The contents of the tags."""
        return self._open().info

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the rows from start to stop."""
        return self._open().rows(start, stop)

    def metadata(self) -> Metadata:
        """Return the metadata."""
        return self._open().metadata()


def frame_of(layout: Layout, orientation: int, metadata: Callable[[], Metadata]) -> SegmentFrame:
    """Open a page; the tables of its segments are read with its first rows.

    Args:
        layout: the layout of the page.
        orientation: its orientation, which is not applied yet.
        metadata: reads its metadata.

    Raises:
        PoolError: such pages can't be read, or the extra is missing.
    """
    pillow_mode = _mode_of_pillow(layout)
    info = _palette_info(layout) if _is_palette(layout) else _info(layout, pillow_mode)
    is_applied = layout.photometric == tags.PALETTE and info.palette is None
    notes = conversions(is_applied, False, orientation)
    info = info._replace(orientation=orientation, notes=notes, nodata=tags.nodata_of(layout))
    decode = _decoder(layout, info, by_pillow=bool(pillow_mode))
    row_bytes = layout.planes * layout.grid[1] * layout.bytes_of(layout.segment[0])
    # With more blocks than threads, all threads are busy to the end.
    least = 1 if _is_plain(layout, info) else -(-HELD_BYTES // row_bytes)
    return SegmentFrame(info, decode, layout.segment[0], metadata, least)


def _decoder(layout: Layout, info: FrameInfo, *, by_pillow: bool) -> DecodeRows:
    """Return the decoder of a page: NumPy if its samples are plain, else Pillow or tifffile."""
    segments, dtype = Segments(layout), info.dtype
    if info.palette is not None:
        dtype = np.dtype(np.uint8 if layout.bits <= 8 else np.uint16)
    fill = tags.fill_of(layout, dtype, info.maxval)
    is_plain = _is_plain(layout, info)
    if by_pillow and not is_plain:
        if info.mode == "LAB":
            fill = LAB_SIGNS
        decode = tiff_decoders.by_pillow(segments, info, fill)
        if _is_inflated(layout, info):
            one = tiff_decoders.inflated(layout)
            decode = tiff_decoders.by_segment(segments, dtype, fill, one, verify=False)
        if _is_faster_by_tifffile(layout, info):
            one = tiff_decoders.by_tifffile(layout)
            quick = tiff_decoders.by_segment(segments, dtype, fill, one, verify=False)
            decode = tiff_decoders.first_of(quick, decode)
        return tiff_decoders.in_blocks(segments, decode)
    one = tiff_decoders.uncompressed(layout) if is_plain else tiff_decoders.by_tifffile(layout)
    decode = tiff_decoders.by_segment(segments, dtype, fill, one)
    if not is_plain:
        quick = tiff_decoders.by_segment(segments, dtype, fill, one, verify=False)
        decode = tiff_decoders.first_of(quick, decode)
    if info.mode == "LAB":
        decode = tiff_decoders.unsigned_lab(decode)
    if not is_plain:
        return tiff_decoders.in_blocks(segments, decode)
    # They are only read and copied, which several threads don't do faster.
    return tiff_decoders.in_blocks(segments, decode, block_bytes=None)


def _is_inflated(layout: Layout, info: FrameInfo) -> bool:
    """Return whether NumPy decodes deflate, which is verified and decompressed by zlib anyway."""
    return (
        layout.compression in DEFLATE
        and _is_usual(layout, info)
        and layout.directory.number(tiff_decoders.PREDICTOR, 1) in (1, tiff_decoders.DIFFERENCES)
    )


def _is_faster_by_tifffile(layout: Layout, info: FrameInfo) -> bool:
    """Return whether tifffile is installed, and faster than Pillow although it is imported."""
    height, width = layout.size
    extra = by_name("tiff").extra
    return (
        layout.compression in FASTER_COMPRESSIONS
        and _is_usual(layout, info)
        and height * width * layout.channels * info.dtype.itemsize >= FASTER_BYTES
        and extra is not None
        and is_installed(extra)
    )


def _is_usual(layout: Layout, info: FrameInfo) -> bool:
    """Return whether the decompressed samples of grey or RGB are those of the frame already."""
    return (
        layout.bits in (8, 16)
        and layout.photometric in (tags.BLACK_IS_0, tags.RGB)
        and info.dtype == tiff_decoders.sample_type(layout)
        and layout.directory.number(tags.FILL_ORDER, 1) == 1
    )


def _is_plain(layout: Layout, info: FrameInfo) -> bool:
    """Return whether the samples are stored uncompressed, whole bytes each, as NumPy has them."""
    return (
        layout.compression == tags.UNCOMPRESSED
        and layout.bits in (8, 16, 32, 64)
        and layout.directory.number(tags.FILL_ORDER, 1) == 1
        and layout.photometric != tags.YCBCR
        and (info.palette is not None or layout.photometric != tags.PALETTE)
    )


def _is_palette(layout: Layout) -> bool:
    """Return whether the samples are indices of a palette and nothing else."""
    return layout.photometric == tags.PALETTE and layout.channels == 1


def _palette_info(layout: Layout) -> FrameInfo:
    """Return the `FrameInfo` of a page of indices."""
    _check_deep(layout)
    palette = tags.palette_of(layout)
    mode = ("L", "RGB")[palette.ndim - 1]
    if palette.dtype == np.uint16:
        mode = {"L": "I;16", "RGB": "RGB;16"}[mode]
    bits = 8 * palette.itemsize
    stored = Stored("unsigned", bits, (1 << bits) - 1, 1)
    more = {"palette": palette, "entries": len(palette), "encoding": Encoding("tiff")}
    return info_in_mode(layout.size, mode, stored, **more)


def _info(layout: Layout, pillow_mode: str) -> FrameInfo:
    """Return the `FrameInfo` of a page of colours, in Pillow's mode if it has one.

    Raises:
        PoolError: such pages can't be read.
    """
    maxval = (1 << layout.bits) - 1 if layout.kind == "unsigned" else 0
    stored = Stored(layout.kind, layout.bits, maxval, layout.channels)
    if pillow_mode:
        if layout.photometric == tags.PALETTE:
            stored = stored._replace(bits=8, maxval=255)
        return info_in_mode(layout.size, pillow_mode, stored, encoding=Encoding("tiff"))
    _check_deep(layout)
    dtype = tiff_decoders.sample_type(layout)
    if layout.bits in tags.WIDENED and not tiff_decoders.is_bilevel(layout):
        dtype, maxval = np.dtype(np.uint8), 255
    # Black is at 0 once the samples are decoded, and the decoder of JPEG returns RGB.
    photometric = {tags.WHITE_IS_0: tags.BLACK_IS_0, tags.YCBCR: tags.RGB}.get(
        layout.photometric, layout.photometric
    )
    details: dict[str, Any] = {"photometric": photometric}
    if layout.extra:
        details["extrasamples"] = layout.extra
    shape = (*layout.size, layout.channels) if layout.channels > 1 else layout.size
    mode = _deep_mode(dtype, maxval, layout.channels, photometric, layout.extra)
    return FrameInfo(shape, dtype, mode, maxval, stored, encoding=Encoding("tiff", details=details))


def _deep_mode(
    dtype: np.dtype[Any], maxval: int, channels: int, photometric: int, extra: tuple[int, ...]
) -> str:
    """Return the mode that describes such samples completely, or else `ARRAY`."""
    if channels == 1 and photometric == tags.BLACK_IS_0 and dtype.kind in "bif":
        return next((mode for mode in ("1", "I", "F") if MODES[mode].dtype == dtype.name), ARRAY)
    if dtype == np.float32 and (photometric, extra, channels) == (tags.RGB, (), 3):
        return "RGB;F"
    modes = DEEP_MODES.get((photometric, extra))
    if dtype.kind != "u" or modes is None:
        return ARRAY
    mode = modes[{255: 0, 65535: 1}.get(maxval, 2)]
    return mode if dtype.itemsize <= 2 and MODES[mode].channels in (0, channels) else ARRAY


def _mode_of_pillow(layout: Layout) -> str:
    """Return the mode in which Pillow reads all samples exactly; empty if there is none."""
    is_compressed = layout.compression != tags.UNCOMPRESSED
    # Pillow swaps the bytes of compressed 32-bit samples although libtiff has done so already.
    is_swapped = layout.bits == 32 and layout.directory.file.order == ">" and is_compressed
    # Pillow inverts samples with white at 0 only if they have at most 8 bits, and can't do so if
    # the bits of whole bytes are stored in reverse order.
    is_reversed = layout.directory.number(tags.FILL_ORDER, 1) != 1 and not is_compressed
    is_negative = layout.photometric == tags.WHITE_IS_0
    is_negative &= layout.bits > 8 or (layout.bits == 8 and is_reversed)
    # It mixes up grey or indices and alpha if these are two planes, and the signs of CIELAB.
    is_apart = layout.planes == 2 or (layout.planes > 1 and layout.photometric == tags.CIELAB)
    is_premultiplied = tags.ASSOCIATED_ALPHA in layout.extra
    is_known = layout.compression in PILLOW_COMPRESSIONS
    if is_swapped or is_negative or is_apart or is_premultiplied or not is_known:
        return ""
    found = tiff_decoders.mode_of_pillow(tiff_decoders.small_tiff(layout, [b""]))
    if found is None or found[1] != layout.channels:
        return ""
    mode = NATIVE_16.get(found[0], found[0])
    if mode == "P":
        return mode
    if mode == "PA":
        palette = tags.palette_of(layout)
        return ("LA", "RGBA")[palette.ndim - 1] if palette.dtype == np.uint8 else ""
    if mode not in PILLOW_MODES:
        return ""
    dtype = np.dtype(MODES[mode].dtype)
    kind = {"i": "signed", "f": "float"}.get(dtype.kind, "unsigned")
    is_exact = (kind, 8 * dtype.itemsize) == (layout.kind, max(layout.bits, 8))
    return mode if is_exact else ""


def _check_deep(layout: Layout) -> None:
    """Refuse a page that neither NumPy nor tifffile reads exactly.

    Raises:
        PoolError: its compression, depth or photometric interpretation is not supported.
    """
    compression, photometric = layout.compression, layout.photometric
    known = (tags.WHITE_IS_0, tags.BLACK_IS_0, *tags.COLOURS, tags.PALETTE)
    is_ycbcr = photometric == tags.YCBCR and compression != tags.JPEG
    is_unread = compression not in DEEP_COMPRESSIONS
    if photometric not in known or (is_ycbcr and not is_unread):
        name = COLOUR_NAMES.get(photometric, f"photometric interpretation {photometric}")
        raise PoolError(f"its colours can't be read: {name}", "save as RGB or grey")
    if is_unread:
        name = NAMES.get(compression, f"compression {compression}")
        raise PoolError(f"{name} of such samples can't be read", "save with deflate or LZW")
    is_plain_lab = layout.kind != "unsigned" or (layout.bits, layout.extra) == (8, ())
    if photometric == tags.CIELAB and not is_plain_lab:
        raise PoolError("CIELAB of such samples can't be read", "save 8-bit CIELAB, or RGB")
    if layout.extra and photometric == tags.PALETTE:
        raise PoolError("a palette beside alpha can't be read", "save as RGB with alpha")
    bits = {"unsigned": ODD_BITS, "signed": {8, 16, 32, 64}, "float": {16, 32, 64}}[layout.kind]
    if layout.bits not in bits:
        raise PoolError(
            f"{layout.kind} samples of {layout.bits} bits can't be read",
            "save integers or floats of 8, 16, 32 or 64 bits",
        )
    # Programs disagree about the order of the three bytes.
    if layout.bits == 24 and layout.directory.file.order == ">":
        raise PoolError("24-bit samples of a big-endian TIFF can't be read", "save 32 bits")
    # Signed numbers and floats have no full scale from which they could be subtracted.
    if photometric == tags.WHITE_IS_0 and layout.kind != "unsigned":
        raise PoolError(f"{layout.kind} samples with white at 0 can't be pooled", "save black at 0")
