"""Convert the metadata chunks of a PNG to `Metadata`, and back."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from poolcli.formats.carried import EXIF_PREFIX, MOST_XMP_BYTES, XMP_PREFIX
from poolcli.formats.png_chunks import COLOUR, Chunks, chunk
from poolcli.picture import METRES_IN_AN_INCH, Metadata, Resolution

XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
MOST_BYTES: Final = MOST_XMP_BYTES
"""The most bytes of an unpacked profile or text: profiles of printers have several megabytes."""

PER_METRE: Final = 1
"""The only unit of pHYs: pixels per metre."""

DENSITIES: Final = range(1, 1 << 31)
"""The numbers of pixels that pHYs can store."""

RAW_PROFILE: Final = b"Raw profile type "
"""The prefix of the keywords under which ImageMagick stores EXIF and XMP in hexadecimal."""

MOST_PROFILES: Final = 4
"""The most raw profiles that are unpacked: a small file may hold very many large ones."""

FALSE_TEXT: Final = re.compile(
    rb"(?:exif|tiff):(?:Orientation|Image(?:Width|Length)|Pixel[XY]Dimension"
    rb"|[XY]Resolution|ResolutionUnit|thumbnail:[^\0]*)\0"
)
"""The copies of EXIF tags that ImageMagick stores as text, and that pooling makes false."""


def metadata_of(chunks: Chunks) -> tuple[Metadata, int]:
    """Return the metadata of a file, and its EXIF orientation."""
    warnings: list[str] = []
    block = _read_or_warn(_exif_block, chunks, "EXIF", warnings)
    xmp = _read_or_warn(_xmp_packet, chunks, "XMP", warnings)
    described, orientation = Metadata(warnings=tuple(warnings)), 1
    if block or xmp:
        from poolcli.formats import exif  # few PNGs need it, and its import is slow

        described, orientation = exif.describe(block, xmp, warnings)
    warnings = [*described.warnings]
    icc_profile = _read_or_warn(_profile, chunks, "colour profile", warnings)
    warnings += chunks.warnings
    metadata = described._replace(
        icc_profile=icc_profile,
        resolution=_resolution(chunks, described.resolution),
        texts=tuple(one for one in chunks.texts if not _is_redundant(one[1])),
        colour=tuple(one for one in chunks.bodies.items() if one[0] in COLOUR),
        warnings=tuple(warnings),
    )
    return metadata, orientation


def ancillary_chunks(held: Mapping[str, Any]) -> bytes:
    """Return the chunks that store metadata.

    Args:
        held: the fields that PNG can store, as `poolcli.formats.carried.carried` returns them.
    """
    parts: list[tuple[bytes, bytes]] = []
    if profile := held.get("icc_profile"):
        parts.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    # The standard forbids sRGB together with iCCP (11.3.2.5).
    parts += [one for one in held.get("colour", ()) if not (profile and one[0] == b"sRGB")]
    parts += held.get("texts", ())
    if xmp := held.get("xmp"):
        parts.append((b"iTXt", XMP_KEYWORD + bytes(5) + xmp))
    if comment := held.get("comment"):
        parts.append(_comment(comment))
    if (resolution := held.get("resolution")) and (numbers := density(resolution)):
        parts.append((b"pHYs", struct.pack(">IIB", *numbers)))
    if block := held.get("exif"):
        parts.append((b"eXIf", block.removeprefix(EXIF_PREFIX)))
    return b"".join(chunk(*one) for one in parts)


def density(resolution: Resolution) -> tuple[int, int, int] | None:
    """Return across, down and the unit for pHYs; None if it can't store the resolution."""
    if not resolution.unit:
        from poolcli.formats import exif

        return *exif.whole_ratio(resolution, DENSITIES[-1]), 0
    inch = resolution.per_inch()
    across, down = (int(one / METRES_IN_AN_INCH + 0.5) for one in (inch.across, inch.down))
    return (across, down, PER_METRE) if across in DENSITIES and down in DENSITIES else None


def _read_or_warn(
    read: Callable[[Chunks], bytes | None], chunks: Chunks, what: str, warnings: list[str]
) -> bytes | None:
    """Return the result of ``read``, or None with a warning if the data is damaged."""
    try:
        return read(chunks)
    except (ValueError, zlib.error):
        warnings.append(f"its {what} is damaged, and was dropped")
        return None


def _profile(chunks: Chunks) -> bytes | None:
    """Return the colour profile; None if it is missing or empty."""
    if b"iCCP" not in chunks.bodies:
        return None
    _, _, packed = chunks.bodies[b"iCCP"].partition(b"\0")
    profile = _unpacked(packed)
    if len(profile) > MOST_BYTES:
        raise ValueError("it is too long")
    return profile or None


def _exif_block(chunks: Chunks) -> bytes | None:
    """Return EXIF from its own chunk, or else from ImageMagick's raw profile."""
    if b"eXIf" in chunks.bodies:
        return chunks.bodies[b"eXIf"]
    profiles = _raw_profiles(chunks, b"exif", b"APP1")
    return next((one for one in profiles if not one.startswith(XMP_PREFIX)), None)


def _xmp_packet(chunks: Chunks) -> bytes | None:
    """Return XMP from its own text chunk, or else from ImageMagick's raw profile."""
    for name, body in chunks.texts:
        if name == b"iTXt" and body.startswith(XMP_KEYWORD + b"\0"):
            rest = body[len(XMP_KEYWORD) + 1 :]
            is_packed, method = rest[:1] == b"\1", rest[1:2]
            _, _, text = rest[2:].split(b"\0", 2)  # a language and a translated keyword
            return _unpacked(method + text) if is_packed else text
    profiles = _raw_profiles(chunks, b"xmp", b"APP1")
    xmp = next((one for one in profiles if not one.startswith(EXIF_PREFIX)), None)
    return None if xmp is None else xmp.removeprefix(XMP_PREFIX)


def _raw_profiles(chunks: Chunks, *kinds: bytes) -> Iterator[bytes]:
    """Yield the contents of ImageMagick's raw profiles of some kinds.

    Raises:
        ValueError: a profile is damaged or too long.
    """
    keywords, found = [RAW_PROFILE + kind for kind in kinds], 0
    for name, body in chunks.texts:
        keyword, _, text = body.partition(b"\0")
        if keyword in keywords:
            found += 1
            if found > MOST_PROFILES:
                return
            if name == b"zTXt":
                text = _unpacked(text)
            if len(text) > MOST_BYTES:
                raise ValueError("it is too long")
            # The hexadecimal digits follow an empty line, the kind and the length.
            yield bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode())


def _unpacked(packed: bytes) -> bytes:
    """Decompress deflate data after its method byte; return at most `MOST_BYTES` + 1 bytes.

    Raises:
        ValueError: the method is unknown, or the data is cut off.
    """
    if packed[:1] != b"\0":
        raise ValueError("it is compressed in an unknown way")
    unpacking = zlib.decompressobj()
    octets = unpacking.decompress(packed[1:], MOST_BYTES + 1)
    if not unpacking.eof and len(octets) <= MOST_BYTES:
        raise ValueError("it is cut off")
    return octets


def _resolution(chunks: Chunks, other: Resolution | None) -> Resolution | None:
    """Return the resolution that pHYs states, or else ``other``, that of EXIF."""
    if b"pHYs" not in chunks.bodies:
        return other
    from poolcli.formats import exif

    across, down, unit = struct.unpack(">IIB", chunks.bodies[b"pHYs"])
    if unit == PER_METRE:
        own = exif.checked_resolution(across * METRES_IN_AN_INCH, down * METRES_IN_AN_INCH)
    else:
        own = exif.checked_resolution(across, down, "")
    return other if own is None or (own.is_plain and other) else own


def _is_redundant(body: bytes) -> bool:
    """Return whether a text is read as XMP or EXIF already, or would be false after pooling."""
    raw = tuple(RAW_PROFILE + kind for kind in (b"exif", b"xmp", b"APP1"))
    return body.startswith((XMP_KEYWORD, *raw)) or FALSE_TEXT.match(body) is not None


def _comment(comment: bytes) -> tuple[bytes, bytes]:
    """Return a comment as a text chunk: tEXt if Latin-1 can store it, else iTXt in UTF-8.

    Args:
        comment: UTF-8 or Latin-1.
    """
    try:
        latin = comment.decode().encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", b"Comment" + bytes(5) + comment
    except UnicodeDecodeError:
        latin = comment
    return b"tEXt", b"Comment\0" + latin
