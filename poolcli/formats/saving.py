"""Hold and check the user's options for writing: quality, compression, save options, strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from poolcli.errors import PoolError
from poolcli.formats.row import Format, OptionKind
from poolcli.picture import Encoding

OptionValue: TypeAlias = int | bool | str


class Saving(NamedTuple):
    """The user's options for writing a file.

    Attributes:
        quality: 0 to 100 for lossy formats, or None for the format's default.
        compress_level: 0 to 9 for formats with such a level, or None for the default.
        options: the `--save-option` pairs as typed: (key, text).
        strip: whether to leave out all metadata except the colour profile.
    """

    quality: int | None = None
    compress_level: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    strip: bool = False

    def misfits(self, target: Format) -> Iterator[str]:
        """Yield the options that have no effect on a format, as typed."""
        if self.quality is not None and not target.quality:
            yield "--quality"
        if self.compress_level is not None and "compress_level" not in target.options:
            yield "--compress-level"
        yield from (f"--save-option {key}" for key, _ in self.options if key not in target.options)

    def check(self, target: Format) -> None:
        """Refuse options that have no effect on the format, if all outputs have this format.

        Raises:
            PoolError: an option has no effect, or its value is not valid.
        """
        if (misfit := next(self.misfits(target), None)) is not None:
            raise PoolError(f"{misfit} has no effect on {target.title}", "leave it out")
        self.for_format(target)

    def for_format(self, target: Format) -> dict[str, OptionValue]:
        """Return the values of the options that have an effect on a format, by key.

        Raises:
            PoolError: a value is not valid.
        """
        chosen: dict[str, OptionValue] = {}
        if self.quality is not None and target.quality:
            chosen["quality"] = self.quality
        if self.compress_level is not None and "compress_level" in target.options:
            chosen["compress_level"] = self.compress_level
        for key, text in self.options:
            if key in target.options:
                chosen[key] = parse_option(key, text, target.options[key])
        return chosen

    def is_lossless(self, target: Format, encoding: Encoding) -> bool:
        """Return whether a picture is written without loss.

        Args:
            target: the format of the output.
            encoding: how the source file is encoded.
        """
        if target.compression != "either":
            return target.compression == "lossless"
        chosen = self.for_format(target)
        return bool(chosen.get("lossless", "quality" not in chosen and not encoding.lossy))


def describe(kind: OptionKind) -> str:
    """Return the values that a save option accepts, in words."""
    if isinstance(kind, range):
        return f"{kind.start}-{kind.stop - 1}"
    return "|".join(kind) if isinstance(kind, tuple) else "yes|no"


def values_of(kind: OptionKind | None) -> tuple[str, ...]:
    """Return the values that a save option accepts, one by one; none without an option."""
    if isinstance(kind, range):
        return tuple(map(str, kind))
    return kind if isinstance(kind, tuple) else ("yes", "no") if kind else ()


def parse_option(key: str, text: str, kind: OptionKind) -> OptionValue:
    """Parse the text of a save option.

    Raises:
        PoolError: the text is not one of the accepted values.
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
