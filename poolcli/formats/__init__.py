"""List the formats that poolcli reads and writes, and look them up by name, suffix or content.

`FORMATS` has one row for each format. A row names the module that reads and writes the format;
the module is imported only when such a file is opened. It has ``read(stream, limits)``, which
returns a `Reader`, and ``write(file, row, saving, frames)``, which returns a `Writer`. It may have
``end(stream)``, which returns the position after the picture in a file, or None if that is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from os.path import splitext
from typing import Any, Final

from poolcli.formats.row import Extra, Format
from poolcli.picture import ARRAY, MODES

INDICES_SUFFIX: Final = ".npz"
"""The suffix of files of indices; see `poolcli.formats.indices`."""

NODATA: Final = "nodata"
"""Stands in `Format.metadata` for formats that can state the value of samples without data."""

START_BYTES: Final = 64
"""The number of bytes at the start of a file that are matched with the signatures."""

_GREY = {"1": "1", "L": "L"}
_COLOUR = {**_GREY, "RGB": "RGB"}
_ALPHA = {**_COLOUR, "LA": "LA", "RGBA": "RGBA"}
_AS_COLOUR = {"1": "RGB", "L": "RGB", "RGB": "RGB"}
_AS_COLOUR_ALPHA = {**_AS_COLOUR, "LA": "RGBA", "RGBA": "RGBA"}
_DEEP = {"I;16": "I;16", "LA;16": "LA;16", "RGB;16": "RGB;16", "RGBA;16": "RGBA;16"}
_INKS = {"CMYK": "CMYK", "YCbCr": "YCbCr"}
_SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0")
_NETPBM_GREY = {"I;16": "I;16", "L;M": "L;M"}
_NETPBM_COLOUR = {"RGB;16": "RGB;16", "RGB;M": "RGB;M"}
_NETPBM = {**_NETPBM_GREY, **_NETPBM_COLOUR}
_NETPBM_ALPHA = {mode: mode for mode in ("LA;16", "RGBA;16", "LA;M", "RGBA;M")}
_FOR_JXL = {**_ALPHA, **_DEEP, "F": "F"}
_YES_NO = bool


def _netpbm(name: str, modes: Mapping[str, str], signature: bytes = b"") -> Format:
    """Return the row of one of Netpbm's formats, whose pictures simply follow one another."""
    row = Format(name, name.upper(), ".pnm", (f".{name}",), signature, modes)
    return row._replace(frames="pages", one_by_one=rb"P[4-7]\s")


FORMATS: Final = (
    Format(
        name="png",
        title="PNG",
        module=".png",
        suffixes=(".png",),
        signature=rb"\x89PNG\r\n\x1a\n",
        modes={**_ALPHA, **_DEEP},
        options={"compress_level": range(10), "optimize": _YES_NO},
        frames="animation",
        palettes="alpha",
        metadata=("icc_profile", "exif", "resolution", "xmp", "texts", "comment", "colour"),
    ),
    Format(
        name="jpeg",
        title="JPEG",
        module=".jpeg",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        read_suffixes=(".mpo",),
        signature=rb"\xff\xd8\xff",
        modes={"1": "L", "L": "L", "RGB": "RGB", **_INKS},
        options={"progressive": _YES_NO, "optimize": _YES_NO, "subsampling": _SUBSAMPLING},
        metadata=("icc_profile", "exif", "resolution", "xmp", "comment"),
        largest_side=65500,
        compression="lossy",
        quality="as it was in a JPEG, else 90",
    ),
    Format(
        name="webp",
        title="WebP",
        module=".webp",
        suffixes=(".webp",),
        signature=rb"RIFF....WEBP",
        modes=_AS_COLOUR_ALPHA,
        options={"lossless": _YES_NO, "method": range(7), "alpha_quality": range(101)},
        frames="animation",
        metadata=("icc_profile", "exif", "xmp"),
        largest_side=16383,
        compression="either",
        quality="without loss from a lossless picture, else 80",
    ),
    Format(
        name="tiff",
        title="TIFF",
        module=".tiff",
        suffixes=(".tif", ".tiff"),
        signature=rb"II\*\0|MM\0\*|II\0\*|MM\*\0|II\+\0|MM\0\+",
        modes={
            **_ALPHA,
            **_DEEP,
            **_INKS,
            **{mode: mode for mode in ("LAB", "I", "F", "RGB;F", ARRAY)},
        },
        options={"compression": ("none", "lzw", "deflate", "packbits", "zstd")},
        frames="pages",
        palettes="opaque",
        deep_palettes=True,
        metadata=("icc_profile", "exif", "resolution", "xmp", "comment", "place", "nodata"),
        whole_bits=True,
        has_planes=True,
        extra=Extra("deep", ("imagecodecs", "tifffile")),
    ),
    Format(
        name="gif",
        title="GIF",
        module=".gif",
        suffixes=(".gif",),
        signature=rb"GIF8[79]a",
        modes=_ALPHA,
        frames="animation",
        palettes="key",
        metadata=("comment",),
        largest_side=65535,
    ),
    Format(
        name="bmp",
        title="BMP",
        module=".bmp",
        suffixes=(".bmp", ".dib"),
        signature=rb"BM",
        modes={**_COLOUR, "LA": "RGBA", "RGBA": "RGBA"},
        palettes="opaque",
        metadata=("icc_profile", "resolution"),
    ),
    _netpbm("pnm", {**_COLOUR, **_NETPBM}, rb"P[1-6][\s#]"),
    _netpbm("ppm", {**_AS_COLOUR, **_NETPBM_COLOUR}),
    _netpbm("pgm", {"1": "L", "L": "L", **_NETPBM_GREY}),
    _netpbm("pbm", {"1": "1"}),
    _netpbm("pam", {**_ALPHA, **_NETPBM, **_NETPBM_ALPHA}, rb"P7\n"),
    Format("pfm", "PFM", ".pnm", (".pfm",), rb"P[Ff]\s", {"F": "F", "RGB;F": "RGB;F"}),
    Format(
        name="heic",
        title="HEIC",
        module=".heic",
        suffixes=(".heic", ".heif", ".hif"),
        # This row stands before AVIF because both may begin with the general brands mif1 and
        # msf1. Then the list of compatible brands tells which of the two it is.
        signature=rb"....ftyp(?:he(?:i[cxms]|v[cx])|m[is]f1....(?:....)*?he(?:i[cxms]|v[cx]))",
        extra=Extra("heif", ("pillow_heif",)),
    ),
    Format(
        name="avif",
        title="AVIF",
        module=".avif",
        suffixes=(".avif",),
        signature=rb"....ftyp(?:avif|avis|mif1|msf1)",
        modes=_AS_COLOUR_ALPHA,
        options={"speed": range(11), "subsampling": _SUBSAMPLING},
        frames="animation",
        metadata=("icc_profile", "exif", "xmp"),
        largest_side=32768,
        compression="lossy",
        quality="80",
        extra=Extra("deep", ("imagecodecs",)),
    ),
    Format(
        name="jxl",
        title="JPEG XL",
        module=".jxl",
        suffixes=(".jxl",),
        signature=rb"\xff\n|\0\0\0\x0cJXL \r\n\x87\n",
        modes=_FOR_JXL,
        options={"lossless": _YES_NO, "effort": range(1, 10)},
        metadata=("exif", "xmp"),
        compression="either",
        quality="without loss from a lossless picture, else 90",
        extra=Extra("deep", ("imagecodecs",), frozenset(_FOR_JXL)),
    ),
    Format(
        name="npy",
        title="NPY",
        module=".npy",
        suffixes=(".npy",),
        signature=rb"\x93NUMPY",
        modes={mode: mode for mode in MODES},
        has_axes=True,
        has_planes=True,
    ),
)

NAMES: Final = tuple(one.name for one in FORMATS if one.modes)
"""The names of the formats that can be written."""


def by_name(name: str) -> Format:
    """Return the format called ``name``."""
    return next(one for one in FORMATS if one.name == name)


@cache
def module_of(name: str) -> Any:
    """Return the module that reads and writes a format, from its name in the row of the format.

    It is imported when the first such file is opened.
    """
    from importlib import import_module  # `--help` opens no file, and each import delays the start

    return import_module(name, __package__)


def by_suffix(suffix: str) -> Format | None:
    """Return the format that a file suffix stands for, ignoring case, or None."""
    name = suffix.lower()
    return next((one for one in FORMATS if name in (*one.suffixes, *one.read_suffixes)), None)


def may_have_axes(path: str) -> bool:
    """Return whether the axes of a file may be named, as far as its suffix tells."""
    row = by_suffix(splitext(path)[1])
    return row is None or row.has_axes


def may_have_planes(path: str) -> bool:
    """Return whether a file may be a stack, as far as its suffix tells."""
    row = by_suffix(splitext(path)[1])
    return row is None or row.has_planes


def known(start: bytes) -> Format | None:
    """Return the format whose signature matches some bytes, or None."""
    if not start:
        return None
    match = _one_pattern(tuple(row.signature for row in FORMATS)).match(start)
    return FORMATS[int(str(match.lastgroup)[1:])] if match else None


@cache
def _one_pattern(signatures: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """Return one pattern for all signatures that aren't empty, with a group named by the index.

    Folders of tiny pictures take two percent longer if each signature is matched by itself.
    """
    groups = (b"(?P<r%d>%s)" % (at, one) for at, one in enumerate(signatures) if one)
    return re.compile(b"|".join(groups), re.DOTALL)


def by_content(start: bytes) -> Format:
    """Return the format whose signature matches the first bytes of a file.

    Raises:
        PoolError: no signature matches.
    """
    if (row := known(start)) is not None:
        return row
    from poolcli.formats.refusals import unknown_content

    raise unknown_content(start)


def is_one_by_one(start: bytes) -> bool:
    """Return whether a stream that begins with these bytes is to be read picture by picture.

    Raises:
        PoolError: it begins no picture.
    """
    pattern = by_content(start).one_by_one
    return bool(pattern and re.match(pattern, start))


def all_suffixes() -> str:
    """Return the usual suffix of every format that can be written, for messages."""
    return " ".join(one.suffixes[0] for one in FORMATS if one.modes)
