"""Make the errors of all formats, and turn the exceptions of libraries into errors of our own.

What a library says of a damaged file is often a number, an address or the name of a function. Only
a traceback shows it.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from poolcli import formats
from poolcli.errors import PoolError
from poolcli.formats.row import Format, FrameKind
from poolcli.picture import ARRAY, MODES

ENDS_EARLY: Final = ("it ends early", "is the file complete?")
UNKNOWN_KIND: Final = ("it is of a kind that can't be read", "convert it first to PNG or TIFF")
DAMAGED: Final = ("its data are damaged", "get another copy of the file")

EARLY_WORDS: Final = (
    r"(?i)truncat|end of (?:file|data|stream)|unexpected(?:ly)? end|premature|too short|cut off"
    r"|not enough|more bytes|requires a buffer|no more|incomplete|EOF"
)
KIND_WORDS: Final = (
    r"(?i)unsupported|not supported|unknown|unrecogni|cannot handle|not implemented|not been built"
)
"""Words of libraries that tell an early end, or a kind without a decoder, from other damage. They
are compiled when they are needed, which few runs do."""

TEXT: Final = r"[^\0-\x08\x0e-\x1f\x7f]+"
OTHERS: Final = {
    rb"%PDF": "a PDF",
    rb"%!PS": "PostScript",
    rb"8BPS": "a Photoshop picture",
    rb"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51": "JPEG 2000",
    rb"v/1\x01": "OpenEXR",
    rb"#\?R": "a Radiance picture",
    rb"\0\0[\x01\x02]\0": "an icon",
    rb"DDS ": "a DirectDraw surface",
    rb"PK\x03\x04": "a ZIP archive",
    rb"\x1f\x8b": "a gzip archive",
    rb"RIFF....(?:AVI |WAVE)": "a video or sound",
    rb"....ftyp": "a video",
    rb"\s*<(?:\?xml|svg|html|!DOCTYPE)": "XML or SVG",
}
"""Other kinds of files, by a regular expression that matches its start."""


def only_read(row: Format) -> PoolError:
    """Return the error for a format that can only be read."""
    return PoolError(f"{row.title} can only be read", f"give --format {', '.join(formats.NAMES)}")


def mode_not_held(row: Format, mode: str, samples: str, *, is_rounding_allowed: bool) -> PoolError:
    """Return the error for a mode that a format can't store, with the ways to write the picture.

    Args:
        row: the format.
        mode: a key of `MODES`.
        samples: what an array holds, in words.
        is_rounding_allowed: whether the user allows rounding to 8 bits.
    """
    rounded = MODES[mode].rounded
    held = {*row.modes}
    without_alpha = {MODES[one].without_alpha for one in (mode, rounded) if one} & held
    remedies = []
    if without_alpha:
        remedies.append("flatten the alpha with --background COLOR")
    if not is_rounding_allowed and rounded and without_alpha | ({rounded} & held):
        remedies.append("give --allow-depth-loss")
    holders = [other.suffixes[0] for other in formats.FORMATS if mode in other.modes]
    remedies.append(f"write {' or '.join(holders)}")
    title = samples if mode == ARRAY else MODES[mode].title
    return PoolError(f"{row.title} can't hold {title}", ", ".join(remedies))


def frames_not_held(row: Format, kind: FrameKind, found: str, remedy: str) -> PoolError:
    """Return the error for several frames of a kind that a format can't store.

    Args:
        row: the format.
        kind: how the input holds its frames.
        found: what has how many frames.
        remedy: how one of them is chosen.
    """
    holders = [
        one.suffixes[0]
        for one in formats.FORMATS
        if one.modes and one.frames == kind and one.signature
    ]
    titles = {"animation": "an animation", "pages": "pages", "one": "several pictures"}
    return PoolError(
        f"{row.title} can't hold {titles[kind]}, and {found}",
        f"{remedy}, or write {' or '.join(holders)}",
    )


def unknown_content(start: bytes) -> PoolError:
    """Return the error for a file that doesn't begin like a picture of a known format.

    Args:
        start: its first bytes.
    """
    remedy = f"give {', '.join(one.title for one in formats.FORMATS if one.signature)}"
    for signature, words in OTHERS.items():
        if re.match(signature, start, re.DOTALL):
            message = f"it is no picture of a known format, but looks like {words}"
            return PoolError(message, remedy)
    if _is_text(start):
        return PoolError("it is text, not a picture", remedy)
    return PoolError("it is no picture of a known format", remedy)


def _is_text(start: bytes) -> bool:
    """Return whether bytes are text in UTF-8, of which the last character may be cut."""
    try:
        text = start.decode()
    except UnicodeDecodeError as fault:
        text = start[: fault.start].decode() if fault.start > len(start) - 4 else ""
    return re.fullmatch(TEXT, text) is not None


class Refusing:
    """Turn any exception that a library raises on a damaged or hostile file into a `PoolError`.

    It is a context manager. Generators would be shorter, but take a tenth of the time of a small
    picture.
    """

    def __init__(self, what: str) -> None:
        """Keep the beginning of the message, up to the reason."""
        self._what = what

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, fault: BaseException | None, _: object) -> None:
        """Raise a `PoolError` in place of an exception."""
        if fault is None or isinstance(fault, PoolError):
            return
        if isinstance(fault, MemoryError):
            raise PoolError(
                f"{self._what}there is not enough memory", "lower --max-pixels to skip it"
            ) from None
        if isinstance(fault, Exception):  # OSError, ValueError, SyntaxError, struct.error …
            reason, remedy = _reason(fault)
            raise PoolError(self._what + reason, remedy) from fault


class RefusingToWrite:
    """Turn any exception that an encoder raises into a `PoolError`.

    It is a context manager. Errors of the operating system pass: they are those of the output, not
    of the encoder.
    """

    def __init__(self, row: Format) -> None:
        """Keep the format that is written."""
        self._row = row

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, fault: BaseException | None, _: object) -> None:
        """Raise a `PoolError` in place of an exception."""
        if fault is None or isinstance(fault, PoolError):
            return
        what = f"it can't be written as {self._row.title}"
        if isinstance(fault, MemoryError):
            raise PoolError(
                f"{what}: there is not enough memory", "lower --max-pixels to skip it"
            ) from None
        if isinstance(fault, OSError) and fault.errno is not None:
            return
        if isinstance(fault, Exception):
            raise PoolError(f"{what}: the encoder failed", "write another format") from fault


def _reason(fault: Exception) -> tuple[str, str]:
    """Return why a file can't be read, and the remedy."""
    # Only Pillow raises the errors below, and then it has been imported already.
    from PIL import Image

    if isinstance(fault, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            "it has more pixels than Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS, allows in "
            "this process",
            "raise that limit, or set it to None",
        )
    if isinstance(fault, OSError) and fault.errno is not None:
        return fault.strerror or "it can't be read", "try again"
    if isinstance(fault, EOFError | struct.error) or re.search(EARLY_WORDS, str(fault)):
        return ENDS_EARLY
    return UNKNOWN_KIND if re.search(KIND_WORDS, str(fault)) else DAMAGED
