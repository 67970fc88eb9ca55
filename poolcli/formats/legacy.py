"""An adapter that serves the old codec through the new contract, until every format has left it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli import codec
from poolcli.codec import headers, metadata
from poolcli.formats import Format
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, FrameInfo, Metadata, Picture, Stored, full_scale


def read(stream: BinaryIO, limits: Limits) -> LegacyReader:
    """Open a file by the old codec."""
    return LegacyReader(codec.identify(stream, limits.pixels, allow_depth_loss=True))


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> LegacyWriter:
    """Begin to write a file by the old codec."""
    return LegacyWriter(file, row, saving)


class LegacyReader:
    """A file that the old codec reads."""

    def __init__(self, header: codec.Header) -> None:
        self.count, self.format, self._header = header.frames, header.format, header
        self._passes = 0

    def frames(self) -> Iterator[LegacyFrame]:
        """Yield each frame; durations are known in the second pass only."""
        self._passes += 1
        header = self._header
        if header.film is None:
            for page in codec.pages(header):
                yield LegacyFrame(page)
            return
        if self._passes == 1:
            for _ in range(header.frames):
                yield LegacyFrame(header)
            return
        for decoded in codec.decode_all(header):
            yield LegacyFrame(header, decoded)


@dataclass
class LegacyFrame:
    """A frame that the old codec reads; it comes upright."""

    header: codec.Header
    decoded: Any = None

    @property
    def info(self) -> FrameInfo:
        header = self.header
        channels = header.shape[2] if len(header.shape) == 3 else 1
        kind: Any = {"i": "signed", "f": "float"}.get(header.dtype.kind, "unsigned")
        bits = (
            16 if header.rounded else 1 if header.dtype.kind == "b" else 8 * header.dtype.itemsize
        )
        maxval = 65535 if header.rounded else header.maxval
        details = header.source.jpeg_tables or header.source.tiff_layout
        return FrameInfo(
            header.shape,
            header.dtype,
            header.mode,
            header.maxval,
            Stored(kind, bits, maxval, channels),
            duration=self.decoded.duration if self.decoded else Fraction(0),
            encoding=Encoding(header.format, header.source.lossy, details),
            notes=header.converted,
        )

    def _decode(self) -> Any:
        if self.decoded is None:
            self.decoded = next(codec.decode_all(self.header))
        return self.decoded

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        pixels = self._decode().pixels
        if isinstance(pixels, np.ndarray):
            return pixels[start:stop]
        rows: NDArray[Any] = pixels[start:stop]
        return rows[..., :-1] if pixels.spare else rows

    def metadata(self) -> Metadata:
        old = self._decode().metadata
        return Metadata(
            old.icc_profile,
            None if old.exif is None else old.exif.tobytes().removeprefix(b"Exif\0\0"),
            *old[2:],
        )


class LegacyWriter(WholeFrameWriter):
    """A file that the old codec writes."""

    def __init__(self, file: BinaryIO, row: Format, saving: Saving) -> None:
        super().__init__(file, row, saving)
        self._pictures: list[codec.Picture] = []

    def write_frame(self, picture: Picture) -> None:
        info, carried = picture.info, picture.metadata
        exif = None
        if carried.exif is not None:
            exif = Image.Exif()
            exif.load(carried.exif)
        encoding, own = info.encoding, info.encoding.format == self.row.name
        source = headers.Storage(
            encoding.lossy,
            encoding.details if own and self.row.name == "jpeg" else {},
            encoding.details if own and self.row.name == "tiff" else {},
        )
        self._pictures.append(
            codec.Picture(
                picture.array,
                info.mode,
                info.maxval or full_scale(info.dtype),
                metadata.Metadata(carried.icc_profile, exif, *carried[2:]),
                source,
                info.duration,
            )
        )

    def write_end(self) -> None:
        pictures = self._pictures
        if len(pictures) == 1:
            octets, notes = codec.encode(pictures[0], self.row, self.saving)
        else:
            octets, notes = codec.encode_all(iter(pictures), len(pictures), self.row, self.saving)
        self.file.write(octets)
        self.note(*notes)
