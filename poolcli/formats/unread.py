"""List the suffixes of pictures that poolcli does not read."""

from __future__ import annotations

from typing import Final

_RAW = (
    *("3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "iiq", "kdc", "mef", "mos", "mrw"),
    *("nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "sr2", "srf", "x3f"),
)
_OTHERS = (
    *("ai", "bpg", "cur", "dcm", "dds", "djvu", "dpx", "emf", "eps", "exr", "fit", "fits", "flif"),
    *("hdr", "icns", "ico", "j2c", "j2k", "jp2", "jpc", "jpf", "jpm", "jpx", "jxr", "kra", "mng"),
    *("pcx", "psb", "psd", "qoi", "ras", "sgi", "svg", "svgz", "tga", "wbmp", "wdp", "wmf"),
    *("xbm", "xcf", "xpm"),
)
UNREAD: Final = frozenset(f".{name}" for name in (*_RAW, *_OTHERS))
"""The suffixes of pictures that are not read, of cameras' raw files and others: they are counted
where a folder is searched."""
