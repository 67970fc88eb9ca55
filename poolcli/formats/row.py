"""Define a row of the registry: all that is known of a format before a file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from poolcli.errors import PoolError
from poolcli.picture import MODES, FrameInfo

OptionKind: TypeAlias = range | tuple[str, ...] | type[bool]
"""The values that a save option accepts: a range of whole numbers, some words, or yes and no."""

FrameKind: TypeAlias = Literal["one", "animation", "pages"]

MOST_ENTRIES: Final = 256
"""The most entries of a palette whose indices have 8 bits."""


class Extra(NamedTuple):
    """The optional packages that a format needs beside Pillow.

    Attributes:
        name: the name of the extra, as in ``pip install 'poolcli-image[name]'``.
        packages: the packages of this extra that the format uses.
        modes: the modes that can't be written without these packages.
    """

    name: str
    packages: tuple[str, ...]
    modes: frozenset[str] = frozenset()


class Format(NamedTuple):
    """One row of `FORMATS`: the facts about a format that are needed before a file is opened.

    Attributes:
        name: the name in `--format`.
        title: the name in messages.
        module: the module that reads and writes it, relative to `poolcli.formats` if it begins
            with a dot.
        suffixes: its file suffixes, the usual one first.
        signature: a regular expression that matches the start of such a file; empty if another
            row reads these files.
        modes: the modes that it can store without loss: for each mode of a picture, the mode in
            the file. `ARRAY` stands for any type and number of channels. Empty if the format can
            only be read.
        options: the keys of `--save-option`, and the values that each accepts.
        frames: whether a file holds one picture, an animation, or pages.
        one_by_one: a regular expression that matches the start of files in which pictures simply
            follow one another, so that in a pipe each is written before the next one is read. The
            writer must have written a picture completely once it has its last row. Empty if the
            format has no such files.
        metadata: the fields of `poolcli.picture.Metadata` that it can store; "nodata" if it can
            store that field of `poolcli.picture.FrameInfo`.
        palettes: which transparency a palette may have that it can store: none in "opaque", one
            transparent entry in "key", and any in "alpha"; empty if it stores no palettes.
        deep_palettes: whether palettes may have 16 bits and more than 256 entries.
        compression: whether files are lossless, lossy, or what the source or the user's options
            say.
        whole_bits: whether it also stores samples of any number b of bits, as they are: those of
            the modes ";M" whose full scale is 2^b - 1.
        largest_side: the largest height and width in pixels; None if there is no limit.
        quality: the default quality, in words; empty if the format has no quality setting.
        extra: the optional packages that it needs, or None.
        read_suffixes: further suffixes under which such files are found, but not written.
        has_axes: whether the axes of its arrays may be named (`--axes`): its ``read`` takes their
            letters as a third argument.
        has_planes: whether its files may be stacks (`--planes`): its reader is a `StackReader`.
    """

    name: str
    title: str
    module: str
    suffixes: tuple[str, ...]
    signature: bytes = b""
    modes: Mapping[str, str] = {}
    options: Mapping[str, OptionKind] = {}
    frames: FrameKind = "one"
    one_by_one: bytes = b""
    metadata: tuple[str, ...] = ()
    palettes: Literal["", "opaque", "key", "alpha"] = ""
    deep_palettes: bool = False
    compression: Literal["lossless", "lossy", "either"] = "lossless"
    whole_bits: bool = False
    largest_side: int | None = None
    quality: str = ""
    extra: Extra | None = None
    read_suffixes: tuple[str, ...] = ()
    has_axes: bool = False
    has_planes: bool = False

    def refusal(self) -> PoolError:
        """Return the error for a format that can only be read."""
        from poolcli.formats.refusals import only_read

        return only_read(self)

    def holds(self, mode: str, maxval: int) -> bool:
        """Return whether the format can store a mode whose samples have this full scale."""
        is_whole = mode.endswith(";M") and not maxval & (maxval + 1)
        return mode in self.modes or (self.whole_bits and is_whole)

    def holds_palette(self, info: FrameInfo) -> bool:
        """Return whether the format can store the palette of a frame, entry for entry."""
        palette = info.palette
        if palette is None or not self.palettes:
            return False
        if not self.deep_palettes and (palette.itemsize > 1 or info.entries > MOST_ENTRIES):
            return False
        if not MODES[info.mode].without_alpha or self.palettes == "alpha":
            return True
        alphas = palette[: info.entries, -1].tolist()
        return self.palettes == "key" and set(alphas) <= {0, 255} and alphas.count(0) <= 1

    def check_rounding(self, mode: str, *, allowed: bool, samples: str = "") -> None:
        """Refuse a mode that the format can't store, unless it may be rounded to 8 bits.

        Args:
            mode: a key of `MODES` that is not in `modes`.
            allowed: whether the user allows rounding to 8 bits.
            samples: what an array holds, in words.

        Raises:
            PoolError: the mode is refused; the remedy lists the ways to write the picture.
        """
        if not (allowed and MODES[mode].rounded in self.modes):
            from poolcli.formats.refusals import mode_not_held

            raise mode_not_held(self, mode, samples, is_rounding_allowed=allowed)

    def check_result(self, mode: str, height: int, width: int) -> None:
        """Refuse a picture that is too large for the format, or needs a missing package.

        Raises:
            PoolError: a side is too long, or a package is missing, which is named.
        """
        if self.largest_side is not None and max(height, width) > self.largest_side:
            raise PoolError(
                f"{self.title} holds at most {self.largest_side} pixels a side, "
                f"the result has {height}×{width}",
                "give a larger --size or --stride, or write .png or .tif",
            )
        if self.extra is not None and mode in self.extra.modes:
            from poolcli.formats.extras import require_all

            require_all(self.extra)

    def check_frames(
        self,
        kind: FrameKind,
        count: int | None,
        found: str = "the input has",
        remedy: str = "give --frame N for one of them",
    ) -> None:
        """Refuse several frames of a kind that the format can't store.

        Args:
            kind: how the input holds its frames.
            count: the number of frames to write; None if there are several.
            found: what has the frames, for the message.
            remedy: how one of them is chosen.

        Raises:
            PoolError: there are several, and the format does not hold that kind.
        """
        if count != 1 and self.frames != kind:
            from poolcli.formats.refusals import frames_not_held

            raise frames_not_held(self, kind, f"{found} {count or 'several'} frames", remedy)
