"""Colour profiles: for which pictures they are, and whether they are sRGB's."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from poolcli.picture import Metadata

COLOUR_SPACE: Final = slice(16, 20)
"""Where a profile says for which channels it is (ICC.1, 7.2.6)."""

GREY_MODES: Final = ("1", "L", "LA", "I;16", "LA;16", "I", "F")
SRGB_CICP: Final = bytes((1, 13))
"""Primaries and transfer of sRGB, by ITU-T H.273."""

SRGB_GAMA: Final = 0.45455
GAMA_SLACK: Final = 0.001
GAMA_UNIT: Final = 100_000


def is_for_others(icc_profile: bytes, stored: str, *, grey_excludes_colour: bool) -> bool:
    """Return whether readers must ignore a profile: one of grey for colours, or the reverse.

    Args:
        icc_profile: the profile.
        stored: the mode of the picture that it would be written with.
        grey_excludes_colour: whether the format forbids profiles of colour for grey pictures, as
            only PNG does (Third Edition, 11.3.2.3).
    """
    space, grey = icc_profile[COLOUR_SPACE], stored in GREY_MODES
    return (space == b"GRAY" and not grey) or (space == b"RGB " and grey and grey_excludes_colour)


def unlike_srgb(metadata: Metadata) -> str:
    """Return why values are not light as encoded by the curve of sRGB; empty where they are."""
    colour = dict(metadata.colour)
    if b"cICP" in colour:
        return "" if colour[b"cICP"][:2] == SRGB_CICP else "its cICP names another curve"
    if metadata.icc_profile:
        name = _description(metadata.icc_profile)
        return "" if "srgb" in name.lower() else f"its colour profile is {name or 'unreadable'}"
    gamma = int.from_bytes(colour.get(b"gAMA", b""), "big") / GAMA_UNIT
    if gamma and b"sRGB" not in colour and abs(gamma - SRGB_GAMA) > GAMA_SLACK:
        return f"its gAMA is {gamma:g}"
    return ""


def _description(icc_profile: bytes) -> str:
    """Return the name that a profile gives itself; empty where it can't be read."""
    from PIL import ImageCms  # slow to load, and needed by few

    try:
        profile = ImageCms.getOpenProfile(BytesIO(icc_profile))
        return ImageCms.getProfileDescription(profile).strip()
    except Exception:  # noqa: BLE001  # profiles from strangers
        return ""
