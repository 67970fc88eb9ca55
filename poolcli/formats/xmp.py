"""Read the orientation in XMP, and take out what is false of the pooled picture."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, cast
from xml.parsers import expat

ORIENTATION: Final = re.compile(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>)\s*([1-8])\b""")

_FALSE_NAMES: Final = (
    rb"(?:tiff:(?:Orientation|ImageWidth|ImageLength|XResolution|YResolution|ResolutionUnit)"
    rb"|exif:Pixel[XY]Dimension|exif:FocalPlane[XY]Resolution|xmpNote:HasExtendedXMP)"
)
FALSE: Final = re.compile(
    rb"""\s%b\s*=\s*(?:"[^"<]*"|'[^'<]*')|<(%b)\s*>[^<]*</\1\s*>""" % (_FALSE_NAMES, _FALSE_NAMES)
)
SUBJECT: Final = re.compile(rb"<(exif:Subject(?:Area|Location))\s*>.{0,300}?</\1\s*>", re.DOTALL)
"""The place of the subject in pixels; the length is limited because each start is searched from."""

TAG: Final = re.compile(rb"<[^\s/>]+")
ATTRIBUTE: Final = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")

APPENDED: Final = "the files appended to it"
GOOGLE: Final = "http://ns.google.com/photos/"
PARTS: Final = {
    "http://ns.adobe.com/hdr-gain-map/": "its gain map",
    "http://ns.apple.com/HDRGainMap/": "its gain map",
    f"{GOOGLE}1.0/camera/ MotionPhoto": "the video of its motion photo",
    f"{GOOGLE}1.0/camera/ MicroVideo": "the video of its motion photo",
    f"{GOOGLE}1.0/depthmap/": "its depth map",
    f"{GOOGLE}1.0/audio/": "its sound",
    f"{GOOGLE}1.0/image/": APPENDED,
    f"{GOOGLE}1.0/container/": APPENDED,
    f"{GOOGLE}dd/1.0/": APPENDED,
}
"""Parts of a file that are never kept, by the start of the properties that describe them.

A property is written as its namespace, a space and its name.
"""


class Span(NamedTuple):
    """The bytes of a property that describes a part which is not kept."""

    begin: int
    end: int
    part: str


def cleaned(xmp: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """Return XMP without what pooling makes false, and warnings on parts that are not kept.

    Orientation, sizes, resolution, places, thumbnails and the reference to a second block of XMP
    are taken out, and the properties that describe a part of `PARTS`. None is returned for damaged
    XMP that might describe such a part.
    """
    begin, end = xmp.find(b"<xmp:Thumbnails"), xmp.find(b"</xmp:Thumbnails>")
    if 0 <= begin < end:
        xmp = xmp[:begin] + xmp[end + len(b"</xmp:Thumbnails>") :]
    xmp = SUBJECT.sub(b"", FALSE.sub(b"", xmp))
    if not any(part.partition(" ")[0].encode() in xmp for part in PARTS):
        return xmp, ()
    try:
        spans = _Scanner(xmp).spans
    except expat.ExpatError:
        return None, ("its XMP is damaged, and was dropped",)
    found = dict.fromkeys(span.part for span in spans if span.part)
    if len(found) > 1:
        found.pop(APPENDED, None)
    warnings = tuple(
        f"it is written without {part}, and its XMP no longer names it" for part in found
    )
    kept, at = [], 0
    for span in spans:
        if span.begin >= at:  # otherwise it lies within a property that is taken out already
            kept.append(xmp[at : span.begin])
            at = span.end
    return b"".join((*kept, xmp[at:])), warnings


class _Scanner:
    """Find the bytes of all properties that describe a part which is not kept.

    A parser finds them, since prefixes of namespaces are free; regular expressions over nested
    elements would also take quadratic time on hostile XMP.

    Attributes:
        spans: the properties, ordered by their begin.
    """

    def __init__(self, xmp: bytes) -> None:
        """Parse XMP.

        Raises:
            ExpatError: it is not well-formed, or declares entities, which hide positions.
        """
        self.spans: list[Span] = []
        self._xmp, self._parser = xmp, expat.ParserCreate(namespace_separator=" ")
        self._open: list[Span] = []
        self._parser.ordered_attributes = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.Parse(xmp, True)
        self.spans.sort()

    def _refuse(self, *_: object) -> None:
        """Refuse a declaration of the document's type, where entities are declared."""
        raise expat.ExpatError("it declares a document type")

    def _start(self, name: str, attributes: list[str]) -> None:
        """Remember an element, and look through the attributes of its start tag."""
        begin, names = self._parser.CurrentByteIndex, iter(attributes[::2])
        at = cast("re.Match[bytes]", TAG.match(self._xmp, begin)).end()
        while found := ATTRIBUTE.match(self._xmp, at):
            raw, at = found[1], found.end()
            if raw == b"xmlns" or raw.startswith(b"xmlns:"):
                # A declaration goes together with all elements and attributes that need it.
                if _part(f"{(found[2] or found[3] or b'').decode('latin-1')} "):
                    self.spans.append(Span(found.start(), at, ""))
            elif part := _part(next(names, "")):
                self.spans.append(Span(found.start(), at, part))
        self._open.append(Span(begin, self._xmp.index(b">", at) + 1, _part(name)))

    def _end(self, _: str) -> None:
        """Take out the element that ends here if it describes such a part."""
        begin, end, part = self._open.pop()
        if part:
            if (at := self._parser.CurrentByteIndex) != begin:  # else its tag is its end too
                end = self._xmp.index(b">", at) + 1
            self.spans.append(Span(begin, end, part))


def _part(name: str) -> str:
    """Return the part that a property describes, in words; empty if there is none."""
    return next((part for start, part in PARTS.items() if name.startswith(start)), "")
