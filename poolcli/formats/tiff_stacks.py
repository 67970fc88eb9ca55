"""Find out which pages of a TIFF are the planes of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Final

from poolcli.errors import PoolError
from poolcli.formats.contract import Stack
from poolcli.formats.tiff_ome import OF_PAGES, Element, check_files, elements_of, samples_of
from poolcli.formats.tiff_place import (
    IMAGEJ,
    description_in,
    imagej_counts,
    imagej_values,
)
from poolcli.formats.tiff_tags import Directory

PLANES: Final = "Z"
IMAGEJ_ORDER: Final = {"C": "channels", "Z": "slices", "T": "frames"}
"""The axes over which ImageJ counts pages, the one that changes fastest first."""

NO_AXIS: Final = "leave --planes out, or name the axis Z where the file is made"


def stack_of(page: Directory, pages: int) -> Stack:
    """Return how the pages of a file form stacks.

    Args:
        page: the first page, whose description may be that of ImageJ or OME-XML.
        pages: the number of pages; without such a description they are the planes of one stack.

    Raises:
        PoolError: the description names no Z axis, or doesn't fit the pages.
    """
    name, description = "", b""
    with suppress(ValueError):  # a damaged description is told where metadata are read
        name, description = description_in(page)
    if not name:
        return Stack(pages)
    try:
        sizes = (_imagej_sizes if name == IMAGEJ else _ome_sizes)(description.rstrip(b"\0"))
    except ValueError as fault:
        message = f"its {name} doesn't tell which pages are planes: {fault}"
        raise PoolError(message, "save it without that description") from None
    if sizes.get(PLANES, 1) == 1:
        raise PoolError(f"its {name} names no Z axis", NO_AXIS)
    if prod(sizes.values()) != pages:
        message = f"its {name} counts {prod(sizes.values())} pages, but it has {pages}"
        raise PoolError(message, "save a page for each plane")
    faster = [*sizes][: [*sizes].index(PLANES)]
    return Stack(sizes[PLANES], prod(sizes[axis] for axis in faster))


def _imagej_sizes(description: bytes) -> dict[str, int]:
    """Return the extents of the axes over which ImageJ counts pages, the fastest axis first."""
    counts = imagej_counts(imagej_values(description))
    if not counts.keys() & {*IMAGEJ_ORDER.values()}:  # a plain stack
        return {PLANES: counts.get("images", 1)}
    return {axis: counts.get(key, 1) for axis, key in IMAGEJ_ORDER.items()}


def _ome_sizes(xml: bytes) -> dict[str, int]:
    """Return the extents of the axes over which OME-XML counts pages, the fastest axis first.

    Raises:
        ValueError: it can't be read, or tells of several pictures or of another order.
    """
    elements = sorted(elements_of(xml))
    check_files(xml, elements)
    pictures = [one for one in elements if one.name == "Pixels"]
    if len(pictures) != 1:
        raise ValueError(f"it describes {len(pictures)} pictures")
    (picture,) = pictures
    order = picture.attributes.get("DimensionOrder", "")
    if sorted(order) != sorted("XYCZT") or not order.startswith("XY"):
        raise ValueError("it names no order of its axes")
    samples = samples_of(picture, elements)
    sizes = {axis: picture.number(f"Size{axis}") for axis in order[2:]}
    sizes["C"] = max(sizes["C"] // samples, 1)
    _check_order(sizes, samples, elements)
    return sizes


def _check_order(sizes: Mapping[str, int], samples: int, elements: Sequence[Element]) -> None:
    """Refuse OME-XML whose pages stand in another order than that of its axes.

    Args:
        sizes: the extents of the axes, the fastest axis first.
        samples: the number of channels that share a page.
        elements: the elements of the XML.

    Raises:
        ValueError: they do.
    """
    for one in elements:
        if one.name != OF_PAGES[0]:
            continue
        place, step = 0, 1
        for axis, extent in sizes.items():
            at = one.number(f"First{axis}", 0) // (samples if axis == "C" else 1)
            place, step = place + at * step, step * extent
        if one.number("IFD", 0) != place:
            raise ValueError("its pages are in another order than its axes")
