"""What decoding a picture of N pixels takes in memory, by the peak of a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.pictures import saved
from tests.support.processes import linux_only

pytestmark = [linux_only, pytest.mark.slow]

ROOT: Final = Path(__file__).parent.parent
PROGRAM: Final = """
import re, sys
from tests.jobs import run, work
outcome = run(*sys.argv[1:3], "npy", work("max", 8, max_pixels=10**9))
assert outcome.status == "done", outcome.error
status = open("/proc/self/status").read()
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]))
"""
SIDES: Final = (1000, 3000)


def smooth(side: int, channels: int = 3) -> Any:
    y, x, c = np.indices((side, side, channels))
    return ((x * (c + 1) + y * 2) % 256).astype(np.uint8)


def by_pillow(name: str, channels: int = 3, **more: Any) -> Callable[[int], bytes]:
    return lambda side: saved(Image.fromarray(smooth(side, channels)), name, **more)


def heic(side: int) -> bytes:
    buffer = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth(side))).save(buffer, quality=70)
    return buffer.getvalue()


def deep(encode: Callable[..., Any], bits: int, **more: Any) -> Callable[[int], bytes]:
    return lambda side: bytes(
        encode(smooth(side).astype(np.uint16) << (bits - 8), bitspersample=bits, **more)
    )


def jxl(side: int) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(smooth(side), level=80, effort=3, numthreads=1))


CASES: Final[dict[str, tuple[Callable[[int], bytes], int]]] = {
    "JPEG": (by_pillow("JPEG"), 6),
    "progressive JPEG": (by_pillow("JPEG", progressive=True), 8),
    "progressive JPEG without subsampling": (
        by_pillow("JPEG", progressive=True, subsampling=0),
        12,
    ),
    "12-bit JPEG": (deep(imagecodecs.jpeg8_encode, 12), 12),
    "lossless JPEG": (deep(imagecodecs.jpeg8_encode, 16, lossless=True), 12),
    "WebP": (by_pillow("WEBP", method=0), 14),
    "WebP without loss": (by_pillow("WEBP", 4, lossless=True, method=0), 14),
    "AVIF": (by_pillow("AVIF", speed=10), 14),
    "AVIF with alpha": (by_pillow("AVIF", 4, speed=10), 16),
    "10-bit AVIF": (deep(imagecodecs.avif_encode, 10, speed=10), 18),
    "HEIC": (heic, 10),
    "JPEG XL": (jxl, 10),
}
"""How files are made, and how many bytes a pixel their decoding may take, as the README says."""


@pytest.mark.parametrize("name", CASES)
def test_decoding_takes_no_more_bytes_a_pixel_than_stated(name: str, tmp_path: Path) -> None:
    make, most = CASES[name]
    peaks = []
    for side in SIDES:
        (tmp_path / "in").write_bytes(make(side))
        words = [sys.executable, "-c", PROGRAM, str(tmp_path / "in"), str(tmp_path / f"{side}.npy")]
        peaks.append(int(subprocess.run(words, capture_output=True, check=True, cwd=ROOT).stdout))
    assert (peaks[1] - peaks[0]) / (SIDES[1] ** 2 - SIDES[0] ** 2) < most
