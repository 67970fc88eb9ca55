"""What of a picture's metadata goes along into a file of another format, and what can't."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from poolcli.formats import Format
from poolcli.formats.exif import PAGE_TAGS, packed_exif
from poolcli.picture import MODES, Chunks, Metadata

WORDS: Final = {
    "icc_profile": "colour profile",
    "colour": "colour chunks",
    "xmp": "XMP",
    "texts": "text",
    "comment": "comment",
    "exif": "EXIF",
    "dpi": "resolution",
}
"""The fields of metadata in words, in the order in which their loss is noted."""

NEVER_STRIPPED: Final = ("icc_profile", "colour")
"""The fields without which colours would look different."""

COLOUR_SPACE: Final = slice(16, 20)
"""Where a profile says for which channels it is (ICC.1, 7.2.6)."""

GREY_MODES: Final = ("1", "L", "LA", "I;16", "LA;16", "I", "F")


def carried(
    metadata: Metadata,
    row: Format,
    mode: str,
    *,
    strip: bool,
    grey_excludes_colour: bool = False,
    longest: Mapping[str, int] = MappingProxyType({}),
) -> tuple[dict[str, Any], list[str]]:
    """Return what a format holds of a picture's metadata, by field, and notes on what it doesn't.

    ``exif`` comes as a block with the resolution as it is now, ``dpi`` as (across, down), which
    is the order of every format.

    Args:
        metadata: of the pooled picture.
        row: the format that is written.
        mode: the mode of the picture, not yet as stored.
        strip: whether only the colour profile goes along.
        grey_excludes_colour: whether the format forbids profiles of colour for grey pictures, as
            only PNG does (Third Edition, 11.3.2.3).
        longest: the most bytes of those fields for which the format has such a limit.
    """
    names = NEVER_STRIPPED if strip else tuple(WORDS)
    given = {name: value for name in names if (value := getattr(metadata, name))}
    lost = [] if strip else [*metadata.dropped]
    if "exif" in given:
        without = () if row.frames == "pages" else PAGE_TAGS
        given["exif"] = packed_exif(given["exif"], metadata.dpi, without)
    if "dpi" in given:
        given["dpi"] = given["dpi"][::-1]
    if "texts" in given and "comment" in row.metadata and "texts" not in row.metadata:
        given["comment"], given["texts"] = _comment_among(metadata.texts)
    for name, most in longest.items():
        if len(given.get(name) or b"") > most:
            del given[name]
            lost.append(f"{WORDS[name]}, which is too long")
    held = {name: value for name, value in given.items() if value and name in row.metadata}
    if "exif" in held:  # it says the resolution too
        given.pop("dpi", None)
    lost += [WORDS[name] for name, value in given.items() if value and name not in held]
    notes = [no_place(row, what) for what in lost]
    stored = row.modes[mode]
    space, is_grey = held.get("icc_profile", b"")[COLOUR_SPACE], stored in GREY_MODES
    # Readers must ignore a profile of grey for colours, or the reverse.
    if (space == b"GRAY" and not is_grey) or (
        space == b"RGB " and is_grey and grey_excludes_colour
    ):
        del held["icc_profile"]
        notes.append(f"its colour profile is not for {MODES[stored].title}, and was dropped")
    if stored != mode:
        notes.append(f"it was written as {MODES[stored].title}")
    return held, notes


def no_place(row: Format, what: str) -> str:
    """Say that a format can't hold something."""
    return f"{row.title} has no place for the {what}"


def _comment_among(texts: Chunks) -> tuple[bytes | None, Chunks]:
    """Return the plain comment among the texts of a PNG, and the other texts."""
    for place, (name, body) in enumerate(texts):
        if name == b"tEXt" and body.startswith(b"Comment\0"):
            return body[8:], texts[:place] + texts[place + 1 :]
    return None, texts
