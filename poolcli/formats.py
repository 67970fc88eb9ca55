"""The formats that poolcli writes: one frozen table, and the questions asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from poolcli.errors import PoolError

OptionValue: TypeAlias = int | bool | str
OptionKind: TypeAlias = range | tuple[str, ...] | type[bool]
"""What a save option takes: a whole number in a range, one of some words, or yes and no."""

READABLE: Final = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF")
"""Pillow's names of the formats that are opened, by content; nothing else ever is."""


NO_OPTIONS: Final[Mapping[str, OptionKind]] = {}


class Format(NamedTuple):
    """A format as a target.

    Attributes:
        name: what `--format` calls it.
        pillow: what Pillow calls it; empty where Pillow has no part in it.
        suffixes: the file suffixes that mean it, the usual one first.
        modes: for each mode of a picture the mode it is written in, without loss.
        options: the keys of `--save-option` and what each takes.
        frames: whether it holds one picture, a film, or pages.
        holds_arrays: whether it also holds samples of any type, in any number of channels.
        largest_side: the most pixels along a side, where the format has such a limit.
        has_quality: whether `--quality` means something.
    """

    name: str
    pillow: str
    suffixes: tuple[str, ...]
    modes: Mapping[str, str]
    options: Mapping[str, OptionKind] = NO_OPTIONS
    frames: Literal["one", "film", "pages"] = "one"
    holds_arrays: bool = False
    largest_side: int | None = None
    has_quality: bool = False

    @property
    def has_compress_level(self) -> bool:
        """Whether `--compress-level` means something."""
        return "compress_level" in self.options

    def holds(self, mode: str) -> bool:
        """Whether pictures of a mode can be written without loss."""
        return mode in self.modes or (mode == ARRAY and self.holds_arrays)

    def stored_mode(self, mode: str, *, allow_depth_loss: bool = False) -> str:
        """The mode in which a picture of ``mode`` is written: without loss, unless allowed.

        Raises:
            PoolError: the format can't hold it.
        """
        if self.holds(mode):
            return self.modes.get(mode, mode)
        shallow = SHALLOW.get(mode, "")
        if allow_depth_loss and shallow in self.modes:
            return self.modes[shallow]
        remedies = []
        if OPAQUE.get(mode, "") in self.modes or OPAQUE.get(shallow, "") in self.modes:
            remedies.append("flatten the alpha with --background COLOR")
        if not allow_depth_loss and {shallow, OPAQUE.get(shallow, "")} & set(self.modes):
            remedies.append("give --allow-depth-loss")
        holders = [other.suffixes[0] for other in FORMATS if other.holds(mode)]
        remedies.append(f"write {' or '.join(holders)}")
        raise PoolError(f"{self.name.upper()} can't hold {MODE_NAMES[mode]}", ", ".join(remedies))

    def check_extent(self, height: int, width: int) -> None:
        """Refuse a picture that is too large for the format.

        Raises:
            PoolError: a side is longer than the format can say.
        """
        if self.largest_side is not None and max(height, width) > self.largest_side:
            raise PoolError(
                f"{self.name.upper()} holds at most {self.largest_side} pixels a side, "
                f"the result has {height}×{width}",
                "pool by more, or write .png or .tif",
            )

    def check_frames(self, source: Format, count: int) -> None:
        """Refuse several pictures from a file of another kind than this one.

        Raises:
            PoolError: they can't be held.
        """
        if count == 1 or self.frames == source.frames:
            return
        holders = [one.suffixes[0] for one in FORMATS if one.frames == source.frames]
        kind = {"film": "a moving picture", "pages": "pages"}[source.frames]
        raise PoolError(
            f"{self.name.upper()} can't hold {kind}, and it has {count} frames",
            f"give --frame N for one of them, or write {' or '.join(holders)}",
        )


class Saving(NamedTuple):
    """How results are written, where the format gives a choice.

    Attributes:
        quality: 0 to 100 for lossy formats, or None for the format's own default.
        compress_level: 0 to 9 for PNG, or None.
        options: further save options by key, as written by the user: (key, text).
        strip: whether to leave out all metadata but the colour profile.
    """

    quality: int | None = None
    compress_level: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    strip: bool = False

    def misfits(self, target: Format) -> Iterator[str]:
        """The options that ``target`` has no use for, as typed."""
        if self.quality is not None and not target.has_quality:
            yield "--quality"
        if self.compress_level is not None and not target.has_compress_level:
            yield "--compress-level"
        yield from (f"--save-option {key}" for key, _ in self.options if key not in target.options)

    def check(self, target: Format) -> None:
        """Refuse options for the only format that is written, if it has no use for them.

        Raises:
            PoolError: there is such an option, or its value is not of the option's kind.
        """
        if (misfit := next(self.misfits(target), None)) is not None:
            raise PoolError(f"{misfit} means nothing for {target.name}", "leave it out")
        self.for_format(target)

    def for_format(self, target: Format) -> dict[str, OptionValue]:
        """The keyword arguments for Pillow, of those options that fit the format.

        Raises:
            PoolError: a value is not of the option's kind.
        """
        chosen: dict[str, OptionValue] = {}
        if self.quality is not None and target.has_quality:
            chosen["quality"] = self.quality
        if self.compress_level is not None and target.has_compress_level:
            chosen["compress_level"] = self.compress_level
        for key, text in self.options:
            if key in target.options:
                chosen[key] = parse_option(key, text, target.options[key])
        return chosen


ARRAY: Final = "array"
"""The mode of samples that no other mode describes."""

OPAQUE: Final = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}
"""Modes with alpha, and what is left of them without."""

SHALLOW: Final = {
    "I;16": "L",
    "LA;16": "LA",
    "RGB;16": "RGB",
    "RGBA;16": "RGBA",
    "L;M": "L",
    "RGB;M": "RGB",
}
"""Modes of other depths, and the 8-bit ones that they can be rounded to."""

MODE_NAMES: Final = {
    "1": "a bilevel picture",
    "L": "an 8-bit grey picture",
    "LA": "an 8-bit grey picture with alpha",
    "RGB": "an RGB picture",
    "RGBA": "an RGB picture with alpha",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "LAB": "a CIELAB picture",
    "I;16": "a 16-bit grey picture",
    "LA;16": "a 16-bit grey picture with alpha",
    "RGB;16": "a 16-bit RGB picture",
    "RGBA;16": "a 16-bit RGB picture with alpha",
    "L;M": "a grey picture of another depth than 8 or 16 bits",
    "RGB;M": "an RGB picture of another depth than 8 or 16 bits",
    "I": "a 32-bit integer picture",
    "F": "a floating-point picture",
    ARRAY: "samples of this type and number",
}

_GREY = {"1": "1", "L": "L"}
_COLOUR = {**_GREY, "RGB": "RGB"}
_ALPHA = {**_COLOUR, "LA": "LA", "RGBA": "RGBA"}
_AS_COLOUR = {"1": "RGB", "L": "RGB", "RGB": "RGB"}
_AS_COLOUR_ALPHA = {**_AS_COLOUR, "LA": "RGBA", "RGBA": "RGBA"}
_DEEP = {"I;16": "I;16", "LA;16": "LA;16", "RGB;16": "RGB;16", "RGBA;16": "RGBA;16"}
_INKS = {"CMYK": "CMYK", "YCbCr": "YCbCr"}
_SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0")
_MAXVAL = {"RGB;16": "RGB;16", "L;M": "L;M", "RGB;M": "RGB;M"}
_YES_NO = bool

_EVERY = {mode: mode for mode in MODE_NAMES if mode != ARRAY}

FORMATS: Final = (
    Format(
        "png",
        "PNG",
        (".png",),
        {**_ALPHA, **_DEEP},
        {"compress_level": range(10), "optimize": _YES_NO},
        frames="film",
    ),
    Format(
        "jpeg",
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        {"1": "L", "L": "L", "RGB": "RGB", **_INKS},
        {"progressive": _YES_NO, "optimize": _YES_NO, "subsampling": _SUBSAMPLING},
        largest_side=65500,
        has_quality=True,
    ),
    Format(
        "webp",
        "WEBP",
        (".webp",),
        _AS_COLOUR_ALPHA,
        {"lossless": _YES_NO, "method": range(7), "alpha_quality": range(101)},
        frames="film",
        largest_side=16383,
        has_quality=True,
    ),
    Format(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        {**_ALPHA, **_DEEP, **_INKS, "LAB": "LAB", "I": "I", "F": "F"},
        {"compression": ("none", "lzw", "deflate", "packbits", "zstd")},
        frames="pages",
        holds_arrays=True,
    ),
    Format("gif", "GIF", (".gif",), _ALPHA, frames="film", largest_side=65535),
    Format("bmp", "BMP", (".bmp", ".dib"), _COLOUR),
    Format("pnm", "PPM", (".pnm",), {**_COLOUR, "I;16": "I;16", **_MAXVAL}),
    Format("ppm", "PPM", (".ppm",), {**_AS_COLOUR, "RGB;16": "RGB;16", "RGB;M": "RGB;M"}),
    Format("pgm", "PPM", (".pgm",), {"1": "L", "L": "L", "I;16": "I;16", "L;M": "L;M"}),
    Format("pbm", "PPM", (".pbm",), {"1": "1"}),
    Format("pfm", "PPM", (".pfm",), {"F": "F"}),
    Format(
        "avif",
        "AVIF",
        (".avif",),
        _AS_COLOUR_ALPHA,
        {"speed": range(11), "subsampling": _SUBSAMPLING},
        frames="film",
        largest_side=32768,
        has_quality=True,
    ),
    Format("npy", "", (".npy",), _EVERY, holds_arrays=True),
)

NAMES: Final = tuple(one.name for one in FORMATS)
_BY_SUFFIX: Final = {suffix: one for one in FORMATS for suffix in one.suffixes}


def by_name(name: str) -> Format:
    """The format called ``name``, a member of `NAMES`."""
    return next(one for one in FORMATS if one.name == name)


def by_suffix(suffix: str) -> Format | None:
    """The format that a suffix means, its case ignored, or None."""
    return _BY_SUFFIX.get(suffix.lower())


def all_suffixes() -> str:
    """The usual suffix of every format, for messages."""
    return " ".join(one.suffixes[0] for one in FORMATS)


def describe(kind: OptionKind) -> str:
    """What a save option takes, in words."""
    if isinstance(kind, range):
        return f"{kind.start}-{kind.stop - 1}"
    return "|".join(kind) if isinstance(kind, tuple) else "yes|no"


def parse_option(key: str, text: str, kind: OptionKind) -> OptionValue:
    """The value of a save option from its text.

    Raises:
        PoolError: the text is not of that kind.
    """
    word = text.strip().lower()
    if isinstance(kind, range):
        if word.isascii() and word.isdigit() and int(word) in kind:
            return int(word)
    elif isinstance(kind, tuple):
        if word in kind:
            return word
    elif word in ("yes", "no", "true", "false", "1", "0"):
        return word in ("yes", "true", "1")
    raise PoolError(f"--save-option {key} is {text!r}", f"give {describe(kind)}")
