"""Check whether the colours of a picture are encoded by the transfer curve of sRGB."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from poolcli.picture import Metadata

SRGB_CICP: Final = bytes((1, 13))
"""The primaries and the transfer curve of sRGB, as numbers of ITU-T H.273."""

SRGB_GAMA: Final = 0.45455
GAMA_SLACK: Final = 0.001
GAMA_UNIT: Final = 100_000


def unlike_srgb(metadata: Metadata) -> str:
    """Return why colours are not encoded by the curve of sRGB; empty if they are."""
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
    """Return the description in a profile; empty if it can't be read."""
    # Imported here because it is slow to load, and few pictures need it.
    from PIL import ImageCms

    try:
        profile = ImageCms.getOpenProfile(BytesIO(icc_profile))
        return ImageCms.getProfileDescription(profile).strip()
    except Exception:  # noqa: BLE001  # a damaged profile may raise almost anything
        return ""
