"""Rewrite OME-XML, the description of an OME-TIFF, for the pooled pages (OME schema 2016-06)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple
from xml.parsers import expat

from poolcli.picture import FrameInfo, Placement

TYPES: Final = {
    **{name: name for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32")},
    "float32": "float",
    "float64": "double",
    "bool": "bit",
}
"""The names of OME for types of samples."""

REGIONS: Final = ("ROI", "ROIRef")
OF_PAGES: Final = ("TiffData", "Plane")
WANTED: Final = {*REGIONS, *OF_PAGES, "OME", "Pixels", "Channel", "BinaryOnly", "UUID"}
START_TAG: Final = re.compile(rb"""<(?:[^<>"']|"[^"<]*"|'[^'<]*')*>""")
MOST_DIGITS: Final = 9


class Element(NamedTuple):
    """An element of the XML.

    Attributes:
        begin: the position of its start tag.
        inner: the end of its start tag.
        end: the end of the element.
        name: its name without a namespace.
        attributes: its attributes.
    """

    begin: int
    inner: int
    end: int
    name: str
    attributes: Mapping[str, str]

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number among its attributes.

        Args:
            name: the name of the attribute.
            default: the number if it is missing, and the least that is allowed; None if it must
                be there and be at least 1.

        Raises:
            ValueError: it is missing or no such number.
        """
        text = self.attributes.get(name, "" if default is None else str(default))
        is_number = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
        if not is_number or (default is None and not int(text)):
            raise ValueError(f"{name} of its pixels is no number")
        return int(text)


def rewritten(
    xml: bytes, placement: Placement, pages: Sequence[FrameInfo], note: Callable[[str], None]
) -> bytes:
    """Return OME-XML of the pooled file.

    Args:
        xml: that of the source.
        placement: where the pooled pixels lie.
        pages: the pages of the pooled file.
        note: takes a note on what was left out.

    Raises:
        ValueError: it can't be rewritten; the reason is in words for the user.
    """
    elements = sorted(elements_of(xml))
    check_files(xml, elements)
    pictures = [one for one in elements if one.name == "Pixels"]
    counts = [_planes(one, elements) for one in pictures]
    changes: list[tuple[int, int, bytes]] = []
    sizes: dict[str, int] = {}
    if sum(counts) != len(pages):
        sizes = _other_sizes(pictures, elements, len(pages), placement.planes)
        changes += _other_pages(xml, elements, len(pages))
    firsts = accumulate(counts[:-1], initial=0)
    for picture, first in zip(pictures, firsts, strict=False):
        info = pages[min(first, len(pages) - 1)]
        tag = _resized(xml[picture.begin : picture.inner], picture, placement, info, sizes)
        changes.append((picture.begin, picture.inner, tag))
    regions = [one for one in elements if one.name in REGIONS]
    if regions:
        note("its regions of interest were dropped")
    changes += [(one.begin, one.end, b"") for one in regions]
    return b"".join(_changed(xml, sorted(changes)))


def elements_of(xml: bytes) -> list[Element]:
    """Return the elements whose names are in `WANTED`.

    A parser finds them: regular expressions would take quadratic time on hostile comments.

    Raises:
        ValueError: the XML is damaged, or not in UTF-8.
    """
    found: list[Element] = []
    unclosed: list[tuple[int, int, str, dict[str, str]]] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        """Refuse a declaration of the document's type, where entities are declared."""
        raise ValueError("it declares a document type")

    def start(name: str, attributes: dict[str, str]) -> None:
        """Remember an element."""
        begin = parser.CurrentByteIndex
        tag = START_TAG.match(xml, begin)
        if tag is None:
            raise ValueError("it is not UTF-8")
        unclosed.append((begin, tag.end(), name.rpartition(" ")[2], attributes))

    def end(_: str) -> None:
        """Keep the element that ends here if it is wanted."""
        begin, inner, name, attributes = unclosed.pop()
        is_empty = xml[inner - 2 : inner] == b"/>"
        stop = inner if is_empty else xml.index(b">", parser.CurrentByteIndex) + 1
        if name in WANTED:
            found.append(Element(begin, inner, stop, name, attributes))

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(xml, True)
    except expat.ExpatError:
        raise ValueError("it is damaged") from None
    return found


def check_files(xml: bytes, elements: Sequence[Element]) -> None:
    """Refuse XML that describes other files too.

    Raises:
        ValueError: it does.
    """
    own = next((one.attributes.get("UUID") for one in elements if one.name == "OME"), None)
    others = (xml[one.inner : one.end].partition(b"<")[0] for one in elements if one.name == "UUID")
    is_other = any(one.strip().decode("latin-1") != own for one in others)
    if is_other or any(one.name == "BinaryOnly" for one in elements):
        raise ValueError("it describes several files")


def samples_of(picture: Element, elements: Sequence[Element]) -> int:
    """Return the number of channels that share a page of a picture."""
    channels = (one for one in elements if one.name == "Channel" and one.begin > picture.begin)
    first = next(channels, None)
    return first.number("SamplesPerPixel") if first and "SamplesPerPixel" in first.attributes else 1


def _planes(picture: Element, elements: Sequence[Element]) -> int:
    """Return the number of pages of a picture."""
    channels = max(picture.number("SizeC") // samples_of(picture, elements), 1)
    return picture.number("SizeZ") * picture.number("SizeT") * channels


def _other_sizes(
    pictures: Sequence[Element], elements: Sequence[Element], count: int, planes: int
) -> dict[str, int]:
    """Return the counts of a picture of which one page was taken, or planes pooled together.

    Raises:
        ValueError: other pages were taken.
    """
    if len(pictures) != 1:
        raise ValueError("it describes several pictures, of which some were not taken")
    (picture,) = pictures
    if count == 1:
        return {"SizeZ": 1, "SizeT": 1, "SizeC": samples_of(picture, elements)}
    slices = picture.number("SizeZ")
    if _planes(picture, elements) // slices * (slices // planes) != count:
        raise ValueError(f"it counts other pages than the {count} that were written")
    return {"SizeZ": slices // planes}


def _other_pages(
    xml: bytes, elements: Sequence[Element], count: int
) -> Iterator[tuple[int, int, bytes]]:
    """Yield changes after which one element tells where all pages are."""
    is_first = True
    for one in elements:
        if one.name not in OF_PAGES:
            continue
        text = b""
        if one.name == OF_PAGES[0] and is_first:
            name = xml[one.begin + 1 : one.inner].split(None, 1)[0].rstrip(b"/>")
            text, is_first = b'<%b IFD="0" PlaneCount="%d"/>' % (name, count), False
        yield one.begin, one.end, text


def _resized(
    tag: bytes, picture: Element, placement: Placement, info: FrameInfo, sizes: Mapping[str, int]
) -> bytes:
    """Return the start tag of Pixels with the size, type and scale of a pooled page.

    Raises:
        ValueError: OME has no name for the type, or a scale is no number.
    """
    dtype = TYPES.get(info.dtype.name)
    if dtype is None:
        raise ValueError(f"it has no name for samples of {info.dtype.name}")
    height, width = info.shape[:2]
    new = {name: str(number) for name, number in sizes.items()}
    new |= {"SizeX": str(width), "SizeY": str(height), "Type": dtype, "BigEndian": "false"}
    for axis, factor in zip("XYZ", (*placement.scale[::-1], placement.planes), strict=True):
        name = f"PhysicalSize{axis}"
        if text := picture.attributes.get(name):
            try:
                new[name] = repr(float(text) * factor).removesuffix(".0")
            except ValueError:
                raise ValueError(f"{name} of its pixels is no number") from None
    for name, value in new.items():
        pattern = rb"""(\s%b\s*=\s*)(?:"[^"]*"|'[^']*')""" % name.encode()
        tag = re.sub(pattern, rb'\g<1>"%b"' % value.encode(), tag, count=1)
    return tag


def _changed(xml: bytes, changes: Sequence[tuple[int, int, bytes]]) -> Iterator[bytes]:
    """Yield the parts of the XML after some changes, which are in order."""
    at = 0
    for begin, end, text in changes:
        if begin >= at:  # otherwise it lies within an element that was taken out
            yield xml[at:begin] + text
            at = end
    yield xml[at:]
