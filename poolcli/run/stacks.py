"""Join frames to stacks of several planes, which are pooled together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.adaptive import plane_count
from poolcli.errors import PoolError
from poolcli.formats.contract import Stack
from poolcli.picture import Encoding, Frame, FrameInfo, Metadata

Planes: TypeAlias = int | Literal["all"]


def count_of(planes: Planes, stack: Stack) -> int:
    """Return how many planes are pooled together.

    Raises:
        PoolError: the stack has fewer.
    """
    try:
        return plane_count(planes, stack.depth)
    except PoolError as fault:
        raise PoolError(f"--{fault.message}", fault.remedy) from None


def joined(frames: Iterator[Frame], stack: Stack, planes: int) -> Iterator[Frame]:
    """Yield a frame for every so many planes; those that are left over at the end are skipped.

    Args:
        frames: all frames of a reader, which stay valid while others are taken.
        stack: how they form stacks.
        planes: the number of planes that are pooled together.

    Raises:
        PoolError: planes differ in size, samples or palette.
    """
    while True:
        for _ in range(stack.depth // planes):
            group = list(islice(frames, planes * stack.step))
            if not group:
                return
            alternating = [group[at :: stack.step] for at in range(stack.step)]
            del group  # so that the rows which a decoder keeps are freed with each of them
            while alternating:
                yield DeepFrame(alternating.pop(0))
        for _ in islice(frames, stack.depth % planes * stack.step):
            pass


class DeepFrame:
    """Several planes of a stack as one frame, whose rows are laid between each other."""

    def __init__(self, planes: Sequence[Frame]) -> None:
        """Keep the planes; only their headers are read.

        Raises:
            PoolError: they differ in size, samples or palette.
        """
        first, *others = (plane.info for plane in planes)
        if any(_samples(first) != _samples(other) for other in others):
            raise PoolError(
                "its pages differ in size, samples or palette",
                "leave --planes out to pool each alone",
            )
        self.info = first._replace(planes=len(planes))
        self._planes = planes

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows start to stop, of which every `FrameInfo.planes` belong together."""
        count = len(self._planes)
        first, last = start // count, -(-stop // count)
        laid = np.stack([plane.rows(first, last) for plane in self._planes], axis=1)
        return laid.reshape(-1, *laid.shape[2:])[start - first * count : stop - first * count]

    def metadata(self) -> Metadata:
        """Return the metadata of the first plane, with the warnings of all."""
        found = [plane.metadata() for plane in self._planes]
        warnings = dict.fromkeys(warning for one in found for warning in one.warnings)
        return found[0]._replace(warnings=tuple(warnings))


def _samples(info: FrameInfo) -> tuple[FrameInfo, bytes]:
    """Return what the planes of a stack must have in common."""
    palette = b"" if info.palette is None else info.palette.tobytes()
    return info._replace(palette=None, encoding=Encoding(), notes=()), palette
