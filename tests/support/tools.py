"""Programs that read pictures, as far as they are installed; empty where they are not."""

from __future__ import annotations

import shutil

VIPS = shutil.which("vips") or ""
GDALINFO, GDAL_TRANSLATE = shutil.which("gdalinfo") or "", shutil.which("gdal_translate") or ""
TIFFINFO = shutil.which("tiffinfo") or ""
