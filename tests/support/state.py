"""What is global to a process, and what jobs and imports must leave alone."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin
from PIL.Image import core  # type: ignore[attr-defined]  # Pillow's blocks of memory


def state() -> dict[str, object]:
    """Return what can be compared before and after."""
    return {
        "Pillow": [
            *(Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK),
            *(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY),
            *(TiffImagePlugin.READ_LIBTIFF, TiffImagePlugin.WRITE_LIBTIFF),
            *(core.get_blocks_max(), core.get_alignment()),
        ],
        "NumPy": np.geterr(),
        "filters": list(warnings.filters),
        "logging": [logging.root.handlers[:], logging.root.level, logging.root.disabled],
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "streams": [sys.stdin, sys.stdout, sys.stderr, sys.__stderr__, os.fstat(2)[:2]],
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "process": [os.getcwd(), dict(os.environ), sys.getrecursionlimit(), sys.excepthook],
    }
