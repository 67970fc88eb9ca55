"""What of a picture's metadata goes along into a file of another format, and what can't."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from poolcli.formats import Format
from poolcli.formats.exif import PAGE_TAGS, packed_exif
from poolcli.formats.profiles import is_for_others
from poolcli.picture import MODES, Chunks, Metadata

WORDS: Final = {
    "icc_profile": "colour profile",
    "exif": "EXIF",
    "dpi": "resolution",
    "xmp": "XMP",
    "texts": "text",
    "comment": "comment",
    "colour": "colour chunks",
}
"""The fields of metadata, in words."""


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
        grey_excludes_colour: see `poolcli.formats.profiles.is_for_others`.
        longest: the most bytes of those fields for which the format has such a limit.
    """
    given: dict[str, Any] = {"icc_profile": metadata.icc_profile, "colour": metadata.colour}
    lost: list[str] = []
    if not strip:
        given |= {"xmp": metadata.xmp, "texts": metadata.texts, "comment": metadata.comment}
        given["exif"] = _exif(metadata, row)
        given["dpi"] = None if metadata.dpi is None else metadata.dpi[::-1]
        lost += metadata.dropped
    if "comment" in row.metadata and "texts" not in row.metadata and given.get("texts"):
        given["comment"], given["texts"] = comment_among(metadata.texts)
    for name, most in longest.items():
        if len(given.get(name) or b"") > most:
            del given[name]
            lost.append(f"{WORDS[name]}, which is too long")
    held = {name: value for name, value in given.items() if value and name in row.metadata}
    repeated = {"dpi"} if "exif" in held else set()  # EXIF says the resolution too
    lost += [
        WORDS[name]
        for name, value in given.items()
        if value and name not in held and name not in repeated
    ]
    notes = [no_place(row, what) for what in lost]
    stored = row.stored_mode(mode)
    if is_for_others(
        held.get("icc_profile", b""), stored, grey_excludes_colour=grey_excludes_colour
    ):
        del held["icc_profile"]
        notes.append(f"its colour profile is not for {MODES[stored].title}, and was dropped")
    if stored != mode:
        notes.append(f"it was written as {MODES[stored].title}")
    return held, notes


def no_place(row: Format, what: str) -> str:
    """Say that a format can't hold something."""
    return f"{row.title} has no place for the {what}"


def comment_among(texts: Chunks) -> tuple[bytes | None, Chunks]:
    """Return the plain comment among the texts of a PNG, and the other texts."""
    for place, (name, body) in enumerate(texts):
        if name == b"tEXt" and body.startswith(b"Comment\0"):
            return body[8:], texts[:place] + texts[place + 1 :]
    return None, texts


def as_text(octets: bytes) -> str:
    """Decode the text of a file that doesn't say how it is encoded."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _exif(metadata: Metadata, row: Format) -> bytes | None:
    """Return EXIF for a format; tags of a page only go where there are pages."""
    if metadata.exif is None:
        return None
    return packed_exif(
        metadata.exif, metadata.dpi, without=() if row.frames == "pages" else PAGE_TAGS
    )
