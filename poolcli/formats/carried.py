"""Select the metadata that an output format can store, and note what it can't."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from poolcli.formats.row import Format
from poolcli.picture import MODES, Chunks, Metadata

EXIF_PREFIX: Final = b"Exif\0\0"
XMP_PREFIX: Final = b"http://ns.adobe.com/xap/1.0/\0"
MOST_XMP_BYTES: Final = 1 << 24
WORDS: Final = {
    "icc_profile": "colour profile",
    "colour": "colour chunks",
    "xmp": "XMP",
    "texts": "text",
    "comment": "comment",
    "exif": "EXIF",
    "resolution": "resolution",
}
"""The names of metadata fields in messages, in the order in which their loss is noted."""

NEVER_STRIPPED: Final = ("icc_profile", "colour")
"""The fields that ``--strip`` keeps, because colours would look different without them."""

COLOUR_SPACE: Final = slice(16, 20)
"""The bytes of a profile that name its colour space (ICC.1, 7.2.6)."""

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
    """Return the metadata that a format can store, by field, and notes on the rest.

    ``exif`` is packed with the resolution of the pooled picture.

    Args:
        metadata: the metadata of the pooled picture.
        row: the output format.
        mode: the mode of the picture, before it is converted to a mode of the format.
        strip: whether to keep only `NEVER_STRIPPED`.
        grey_excludes_colour: whether the format forbids an RGB profile for a grey picture; only
            PNG does (Third Edition, 11.3.2.3).
        longest: the most bytes of a field, for fields with such a limit in the format.
    """
    names = NEVER_STRIPPED if strip else tuple(WORDS)
    given = {name: value for name in names if (value := getattr(metadata, name))}
    lost = [] if strip else [*metadata.dropped]
    resolution = metadata.resolution
    # ImageJ's unit is that of a resolution that states none.
    if resolution is not None and resolution.is_plain and not metadata.place:
        given.pop("resolution", None)
        resolution = None
    # EXIF is made for a resolution that has no other place.
    is_needed = (
        "resolution" in given and "exif" in row.metadata and "resolution" not in row.metadata
    )
    if "exif" in given or is_needed:
        from poolcli.formats.exif import PAGE_TAGS, packed_exif  # few pictures need it

        without = () if row.frames == "pages" else PAGE_TAGS
        given["exif"] = packed_exif(metadata.exif or b"", resolution, without, metadata.placement)
    if "texts" in given and "comment" in row.metadata and "texts" not in row.metadata:
        given["comment"], given["texts"] = _comment_among(metadata.texts)
    for name, most in longest.items():
        if len(given.get(name) or b"") > most:
            del given[name]
            lost.append(f"{WORDS[name]}, which is too long")
    held = {name: value for name, value in given.items() if value and name in row.metadata}
    if "exif" in held:  # EXIF stores the resolution too, so it is not lost
        given.pop("resolution", None)
    lost += [WORDS[name] for name, value in given.items() if value and name not in held]
    notes = [no_place(row, what) for what in lost]
    stored = row.modes.get(mode, mode)
    if _is_for_other(held.get("icc_profile", b""), stored, grey_excludes_colour):
        del held["icc_profile"]
        notes.append(f"its colour profile is not for {MODES[stored].title}, and was dropped")
    if stored != mode:
        notes.append(f"it was written as {MODES[stored].title}")
    return held, notes


def _is_for_other(icc_profile: bytes, stored: str, grey_excludes_colour: bool) -> bool:
    """Return whether a grey profile is to be stored with colours, or one for RGB with grey."""
    space, is_grey = icc_profile[COLOUR_SPACE], stored in GREY_MODES
    return (space == b"GRAY" and not is_grey) or (
        space == b"RGB " and is_grey and grey_excludes_colour
    )


def no_place(row: Format, what: str) -> str:
    """Return the note that a format can't store something."""
    return f"{row.title} has no place for the {what}"


def _comment_among(texts: Chunks) -> tuple[bytes | None, Chunks]:
    """Return the text "Comment" among the texts of a PNG, and the other texts."""
    for place, (name, body) in enumerate(texts):
        if name == b"tEXt" and body.startswith(b"Comment\0"):
            return body[8:], texts[:place] + texts[place + 1 :]
    return None, texts
