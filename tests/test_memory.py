"""What decoding a picture of N pixels takes in memory, by the peak of a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from tests.pictures import saved
from tests.support.memory import Peak
from tests.support.processes import linux_only

pytestmark = [linux_only, pytest.mark.slow]

SIDES: Final = (800, 2000)


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
    "AVIF": (by_pillow("AVIF", speed=10), 10),
    "AVIF with alpha": (by_pillow("AVIF", 4, speed=10), 13),
    "10-bit AVIF": (deep(imagecodecs.avif_encode, 10, speed=10), 18),
    "HEIC": (heic, 10),
    "JPEG XL": (jxl, 10),
}
"""How files are made, and how many bytes a pixel their decoding may take, as the README says."""


@pytest.mark.parametrize("name", CASES)
def test_decoding_takes_no_more_bytes_a_pixel_than_stated(name: str, peak: Peak) -> None:
    make, most = CASES[name]
    peaks = [peak(make(side), "npy", 8) for side in SIDES]
    assert (peaks[1] - peaks[0]) / (SIDES[1] ** 2 - SIDES[0] ** 2) < most


def animation(name: str, frames: int, side: int) -> bytes:
    images = [
        Image.new("RGB", (side, side), (number % 256, number // 256, 9)) for number in range(frames)
    ]
    more: dict[str, Any] = {"method": 0} if name == "WEBP" else {"speed": 10}
    return saved(images[0], name, save_all=True, append_images=images[1:], duration=40, **more)


@pytest.mark.parametrize(
    ("name", "size", "most"),
    [("WEBP", 8, 12.5), ("AVIF", 8, 12.5), ("WEBP", 2, 14.5), ("AVIF", 2, 13.5)],
)
def test_an_animation_takes_the_memory_of_a_few_frames_however_many_it_has(
    name: str, size: int, most: float, peak: Peak
) -> None:
    peaks = [peak(animation(name, 3, side), "png", size) for side in SIDES]
    assert (peaks[1] - peaks[0]) / (SIDES[1] ** 2 - SIDES[0] ** 2) < most
    peaks = [peak(animation(name, frames, 16), "png", 8) for frames in (300, 3000)]
    assert peaks[1] - peaks[0] < 2700 * 2000


@pytest.mark.parametrize(("name", "target", "most"), [("GIF", "png", 400), ("PNG", "png", 800)])
def test_a_frame_takes_little_memory_until_it_is_shown(
    name: str, target: str, most: int, peak: Peak
) -> None:
    peaks = [peak(frames(name, count), target, 2) for count in (500, 5500)]
    assert peaks[1] - peaks[0] < 5000 * most  # the output is in memory


def frames(name: str, count: int) -> bytes:
    images = [Image.new("RGB", (16, 16), (one % 256, one // 256, 9)) for one in range(count)]
    return saved(images[0], name, save_all=True, append_images=images[1:], duration=40)


def stack(pages: int, side: int) -> bytes:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for number in range(pages):
            file.write(np.full((side, side), number, np.uint16), metadata=None)
    return buffer.getvalue()


def test_a_page_of_a_stack_takes_no_memory_when_it_is_written(peak: Peak) -> None:
    peaks = [peak(stack(pages, 256), "tiff", 1) for pages in (100, 500)]
    assert peaks[1] - peaks[0] < 8 << 20  # of 52 MB of pixels more
    peaks = [peak(stack(pages, 4), "tiff", 1) for pages in (1000, 11000)]
    assert peaks[1] - peaks[0] < 10000 * 700  # the output, of 170 bytes a page, is in memory


def array(name: str, height: int) -> bytes:
    """A grey picture, 4000 pixels wide, without compression."""
    pixels = np.tile(smooth(4000, 1)[:1000, :, 0], (height // 1000, 1))
    if name == "NPY":
        buffer = BytesIO()
        np.save(buffer, pixels)
        return buffer.getvalue()
    return saved(Image.fromarray(pixels), name)


@pytest.mark.parametrize("name", ["NPY", "PPM", "BMP", "TIFF"])
def test_memory_does_not_grow_with_pictures_without_compression(name: str, peak: Peak) -> None:
    target = {"NPY": "npy", "PPM": "pnm", "BMP": "bmp", "TIFF": "tiff"}[name]
    peaks = [peak(array(name, height), target, 1) for height in (9000, 18000)]
    assert peaks[1] - peaks[0] < 16 << 20  # of 36 MB more
