"""A format of uncompressed frames, each behind a line that states all that is known of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from poolcli.errors import PoolError
from poolcli.formats.contract import Limits, WholeFrameWriter
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import MODES, Encoding, FrameInfo, Metadata, Picture, Stored

MAGIC = b"TOY\n"


def read(stream: BinaryIO, limits: Limits) -> ToyReader:
    return ToyReader(stream, limits)


def write(file: BinaryIO, row: Format, saving: Saving, _frames: int | None) -> ToyWriter:
    file.write(MAGIC)
    return ToyWriter(file, row, saving)


class ToyFrame:
    def __init__(self, stream: BinaryIO, at: int, info: FrameInfo, comment: str | None) -> None:
        self.info, self._stream, self._at = info, stream, at
        self._comment = None if comment is None else comment.encode()

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        row = math.prod(self.info.shape[1:]) * self.info.dtype.itemsize
        self._stream.seek(self._at + start * row)
        octets = self._stream.read((stop - start) * row)
        if len(octets) < (stop - start) * row:
            raise PoolError("it ends early", "is the file complete?")
        return np.frombuffer(octets, self.info.dtype).reshape(-1, *self.info.shape[1:])

    def metadata(self) -> Metadata:
        return Metadata(comment=self._comment)


class ToyReader:
    format = "toy"

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._stream, self._frames = stream, []
        size, at = stream.seek(0, 2), len(MAGIC)
        while at < size:
            stream.seek(at)
            line = stream.readline(1000)
            shape, dtype, mode, maxval, stored, comment = json.loads(line)
            limits.check(*shape)
            if not line.endswith(b"\n") or min(shape) < 1 or mode not in MODES:
                raise PoolError("its header is damaged", "is the file complete?")
            kind = np.dtype(dtype)
            encoding = Encoding(self.format)
            info = FrameInfo(tuple(shape), kind, mode, maxval, Stored(*stored), encoding=encoding)
            self._frames.append(ToyFrame(stream, at + len(line), info, comment))
            at += len(line) + math.prod(shape) * kind.itemsize
        if not self._frames or at != size:
            raise PoolError("it ends early", "is the file complete?")
        self.count = len(self._frames)

    def frames(self) -> Iterator[ToyFrame]:
        yield from self._frames


class ToyWriter(WholeFrameWriter):
    def write_frame(self, picture: Picture) -> None:
        info = picture.info
        held = self.held(info, picture.metadata)
        comment = held["comment"].decode() if "comment" in held else None
        self.file.write(header_of(info, comment))
        self.file.write(np.ascontiguousarray(picture.array, info.dtype).tobytes())


def header_of(info: FrameInfo, comment: str | None = None) -> bytes:
    """The line before a frame."""
    channels = info.shape[2] if len(info.shape) == 3 else 1
    kind = {"i": "signed", "f": "float"}.get(info.dtype.kind, "unsigned")
    bits = info.maxval.bit_length() or 8 * info.dtype.itemsize
    stored = (kind, bits, info.maxval, channels)
    fields = (info.shape, info.dtype.str, info.mode, info.maxval, stored, comment)
    return json.dumps(fields).encode() + b"\n"
