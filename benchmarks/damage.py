"""Damage pictures, as a fuzz needs them: whole samples of every format, and ways to damage them."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLES: Final = Path(__file__).resolve().parent.parent / "sample_images"
Random = np.random.Generator


# Valid files


def samples(side: int = 40) -> dict[str, bytes]:
    """Return tiny valid files of every format and layout, by name: ``PNG of a palette.png``."""
    scene = _small("scene.jpg", side)
    alpha = _small("logo.png", side).convert("RGBA")
    grey, ink = scene.convert("L"), _small("text.png", side).convert("1")
    deep = np.asarray(grey, np.uint16) * 257
    array = np.asarray(scene)
    frames = [scene, scene.rotate(90), scene.rotate(180)]
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a picture"
    found = {
        **_saved("PNG", "png", {"RGB": scene, "RGBA": alpha, "L": grey, "1": ink}),
        **_saved("PNG of a palette", "png", {"P": scene.quantize(16)}, transparency=3),
        **_saved("PNG with EXIF", "png", {"RGB": scene}, exif=exif, dpi=(72, 72)),
        **_saved("PNG of 16 bits", "png", {"L": Image.fromarray(deep)}),
        **_saved("JPEG", "jpg", {"RGB": scene, "L": grey, "CMYK": scene.convert("CMYK")}),
        **_saved("JPEG in steps", "jpg", {"RGB": scene}, progressive=True, exif=exif),
        **_saved("WebP", "webp", {"RGB": scene, "RGBA": alpha}),
        **_saved("WebP without loss", "webp", {"RGBA": alpha}, lossless=True, exif=exif),
        **_saved("GIF", "gif", {"P": scene.quantize(32), "L": grey}),
        **_saved("BMP", "bmp", {"RGB": scene, "P": scene.quantize(16), "1": ink}),
        **_saved("PNM", "pnm", {"RGB": scene, "L": grey, "1": ink}),
        **_saved("PFM", "pfm", {"F": grey.convert("F")}),
        **_saved("AVIF", "avif", {"RGB": scene, "RGBA": alpha}, speed=10),
        **_saved("TIFF", "tif", {"RGB": scene, "L": grey, "F": grey.convert("F")}, exif=exif),
        **_saved("TIFF in fax", "tif", {"1": ink}, compression="group4"),
    }
    for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found |= _saved(f"TIFF in {packed}", "tif", {"RGB": scene}, compression=packed)
    for suffix, kind in (("png", "PNG"), ("gif", "GIF"), ("webp", "WebP"), ("tif", "TIFF")):
        found |= _saved(
            f"{kind} of frames", suffix, {"RGB": scene}, save_all=True, append_images=frames[1:]
        )
    found["PGM of 1000.pgm"] = (
        b"P5\n%d %d\n1000\n" % grey.size + (deep % 1001).astype(">u2").tobytes()
    )
    found["plain PPM.ppm"] = b"P3 %d %d 255\n" % scene.size + b" ".join(
        b"%d" % value for value in array.ravel()
    )
    found |= {f"array of {one.dtype}.npy": _npy(one) for one in (array, deep, array / 255)}
    found["array of columns.npy"] = _npy(np.asfortranarray(deep))
    return found | _deep_samples(array.astype(np.uint16) * 257)


def _small(name: str, side: int) -> Image.Image:
    with Image.open(SAMPLES / name) as image:
        return image.convert("RGBA" if "A" in image.getbands() else "RGB").resize(
            (side, side * 3 // 4)
        )


def _saved(
    title: str, suffix: str, images: dict[str, Image.Image], **arguments: Any
) -> dict[str, bytes]:
    found = {}
    for mode, image in images.items():
        buffer = io.BytesIO()
        name = f"in.{suffix}"
        buffer.name = name
        image.save(buffer, Image.registered_extensions()[f".{suffix}"], **arguments)
        found[f"{title} {mode}.{suffix}"] = buffer.getvalue()
    return found


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _deep_samples(array: NDArray[np.uint16]) -> dict[str, bytes]:
    """Return the files that the optional libraries write; none if they are not installed."""
    try:
        import imagecodecs
        import tifffile
    except ImportError:
        return {}
    found = {"PNG of 16 bits RGB.png": bytes(imagecodecs.png_encode(array))}
    layouts: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 8},
        "tiles": {"tile": (16, 16), "compression": "adobe_deflate"},
        "planes": {"planarconfig": "separate", "compression": "lzw"},
    }
    for name, layout in layouts.items():
        buffer = io.BytesIO()
        pixels = np.moveaxis(array, -1, 0) if name == "planes" else array
        tifffile.imwrite(buffer, pixels, photometric="rgb", metadata=None, **layout)
        found[f"deep TIFF in {name}.tif"] = buffer.getvalue()
    return found


# The positions between the parts of a file


def joints(data: bytes) -> list[int]:
    """Return positions between the chunks or segments of a file, and eight at equal distances."""
    finders: dict[bytes, Callable[[bytes], Iterator[int]]] = {
        b"\x89PNG": _png_joints,
        b"\xff\xd8": _jpeg_joints,
        b"RIFF": _riff_joints,
        b"GIF8": _gif_joints,
        b"II*\0": _tiff_joints,
        b"BM": lambda data: iter((14, 54, *struct.unpack_from("<I", data, 10))),
        b"P": lambda data: (at + 1 for at, one in enumerate(data[:64]) if one in b" \n"),
        b"\x93NUMPY": lambda data: iter((6, 8, 10, 10 + data[8])),
    }
    found = set(range(0, len(data), max(1, len(data) // 8)))
    with contextlib.suppress(struct.error, IndexError):
        found.update(
            next((find(data) for magic, find in finders.items() if data.startswith(magic)), ())
        )
        if data[4:8] == b"ftyp":
            found.update(match.start() - 4 for match in re.finditer(rb"[a-z]{3}[a-zC1]", data))
    return sorted(at for at in found if 0 <= at < len(data))


def _png_joints(data: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4])


def _jpeg_joints(data: bytes) -> Iterator[int]:
    return (match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", data))


def _riff_joints(data: bytes) -> Iterator[int]:
    at = 12
    while at + 8 <= len(data):
        yield at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2


def _gif_joints(data: bytes) -> Iterator[int]:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < len(data):
        yield at
        kind, colours = data[at], data[at + 9] if data[at] == 0x2C else 0
        at += {0x21: 2, 0x2C: 11}.get(kind, len(data))
        at += 3 << (colours & 7) + 1 if colours & 0x80 else 0
        while data[at]:
            at += data[at] + 1
        at += 1


def _tiff_joints(data: bytes) -> Iterator[int]:
    (at,) = struct.unpack_from("<I", data, 4)
    seen = {0}
    while at not in seen:  # damage may lead in a circle
        seen.add(at)
        (count,) = struct.unpack_from("<H", data, at)
        yield from range(at, at + 2 + 12 * count + 1, 12)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            yield struct.unpack_from("<I", data, entry + 8)[0]
        (at,) = struct.unpack_from("<I", data, at + 2 + 12 * count)


# Damage


def flip(rng: Random, data: bytes, _: bytes) -> bytes:
    """Flip one to eight bits."""
    damaged = bytearray(data)
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def stamp(rng: Random, data: bytes, _: bytes) -> bytes:
    """Set one to four bytes to an extreme number, more often near the beginning."""
    size = int(rng.choice([1, 2, 4]))
    at = int(rng.integers(0, rng.choice([64, 256, len(data)]))) % max(1, len(data) - size)
    values = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0"]
    value = values[rng.integers(len(values))]
    return data[:at] + (value * size)[:size] + data[at + size :]


def cut(rng: Random, data: bytes, _: bytes) -> bytes:
    """Truncate the file at a joint, or one byte before or after it."""
    places = joints(data)
    return data[: max(1, places[rng.integers(len(places))] + int(rng.integers(-1, 2)))]


def splice(rng: Random, data: bytes, donor: bytes) -> bytes:
    """Insert a piece of another file at a joint, with or without the piece that was there."""
    begin, end = _piece(rng, data)
    first, last = _piece(rng, donor)
    return data[:begin] + donor[first:last] + data[end if rng.random() < 0.5 else begin :]


def shuffle(rng: Random, data: bytes, _: bytes) -> bytes:
    """Leave out a piece between two joints, double it, or exchange it with the next."""
    begin, end = _piece(rng, data)
    later = min(len(data), 2 * end - begin)
    piece, following = data[begin:end], data[end:later]
    middles = (following, piece + piece + following, following + piece)
    return data[:begin] + middles[rng.integers(3)] + data[later:]


def _piece(rng: Random, data: bytes) -> tuple[int, int]:
    places = [*joints(data), len(data)]
    at = int(rng.integers(len(places) - 1))
    return places[at], places[at + 1]


def repaired(data: bytes) -> bytes:
    """Return a PNG with correct checksums, so that readers decode its damaged chunks."""
    mended = bytearray(data)
    places = list(_png_joints(data))
    for begin, end in itertools.pairwise((*places, len(data))):
        if end - begin >= 12:
            mended[end - 4 : end] = zlib.crc32(data[begin + 4 : end - 4]).to_bytes(4)
    return bytes(mended)


DAMAGES: Final = (flip, flip, flip, stamp, stamp, cut, splice, shuffle)
"""The kinds of damage, as often as they are to be drawn."""

CHOICES: Final = (
    "max -k 2",
    "min -k 2x3 --ceil-mode",
    "avg -k 3 -s 2 --padding 1 --count-include-pad",
    "avg -k 4 --linear",
    "max -k 3 --padding same --dilation 2",
    "avg -k 2 --background white",
    "avg -k 2 --alpha straight --allow-depth-loss --strip",
    "max -k 5 -s 1 --json",
    "min -k 2 --dry-run",
    "avg -k 2 --divisor-override 3",
    "max -k 2 --frame 1",
)
SUFFIXES: Final = ("png", "jpg", "tif", "npy", "webp", "pnm", "gif", "bmp", "avif")


class Case(NamedTuple):
    """A damaged file and the arguments of poolcli; the last two are input and output."""

    number: int
    title: str
    data: bytes
    arguments: list[str]


def case(seed: int, number: int, samples_by_name: dict[str, bytes]) -> Case:
    """Return the case of a number. The samples are taken in turn, so that none is left out."""
    rng = np.random.default_rng((seed, number))
    names = sorted(samples_by_name)
    name = names[number % len(names)]
    suffix = name.rpartition(".")[2]
    kin = [one for one in names if one.endswith(suffix)]
    data, donor = samples_by_name[name], samples_by_name[kin[rng.integers(len(kin))]]
    titles = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        data = damage(rng, data, donor) or b"\0"
        titles.append(damage.__name__)
    if suffix == "png" and rng.random() < 0.75:
        data = repaired(data)
    output = suffix if rng.random() < 0.5 else SUFFIXES[rng.integers(len(SUFFIXES))]
    words = CHOICES[rng.integers(len(CHOICES))].split()
    words += ["--quiet", "--max-pixels", "1000000", f"in.{suffix}", f"out.{output}"]
    return Case(number, f"{name}: {', '.join(titles)}", data, words)
