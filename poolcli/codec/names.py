"""Names of the old codec."""

from poolcli.picture import ARRAY, MODES

OPAQUE = {name: mode.without_alpha for name, mode in MODES.items() if mode.without_alpha}
SHALLOW = {name: mode.rounded for name, mode in MODES.items() if mode.rounded}
MODE_NAMES = {name: mode.title for name, mode in MODES.items()}
READABLE = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF")
PILLOW_NAMES = {
    **{one: one.upper() for one in ("png", "jpeg", "webp", "tiff", "gif", "bmp", "avif")},
    **dict.fromkeys(("pnm", "ppm", "pgm", "pbm", "pfm"), "PPM"),
    "npy": "",
}
__all__ = ["ARRAY", "MODE_NAMES", "OPAQUE", "PILLOW_NAMES", "READABLE", "SHALLOW"]
