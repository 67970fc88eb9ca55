"""Makers of pictures and files, and foreign readers of what comes out."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli import picture as neutral
from poolcli.formats import by_name
from poolcli.formats.contract import Limits, Reader, Writer, open_reader, open_writer
from poolcli.formats.saving import Saving
from poolcli.picture import FrameInfo, Metadata, Picture, Stored, Upright, full_scale

LIMIT = 10**6
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""PNG's colour types."""

MODES = tuple(mode for mode in neutral.MODES if mode != neutral.ARRAY)
"""The modes whose samples have a known number and a known type or scale."""

MAXVAL = 1000
"""The full scale of pictures of another depth."""

LAB_SIGNS = np.array([0, 128, 128], np.uint8)
"""Files hold a* and b* in two's complement, pictures from the least up."""


# Pictures


def dtype_of(mode: str) -> np.dtype[Any]:
    return np.dtype(neutral.MODES[mode].dtype or np.uint16)


def maxval_of(mode: str) -> int:
    return MAXVAL if mode.endswith(";M") else full_scale(dtype_of(mode))


def whole_shape(mode: str, shape: tuple[int, int]) -> tuple[int, ...]:
    channels = neutral.MODES[mode].channels
    return (*shape, channels) if channels > 1 else shape


def noise(mode: str, shape: tuple[int, int] = (5, 7), seed: int = 0) -> NDArray[Any]:
    """Noise over all values that the mode has."""
    rng, dtype, whole = np.random.default_rng(seed), dtype_of(mode), whole_shape(mode, shape)
    if dtype.kind == "b":
        return rng.random(whole) < 0.5
    if dtype.kind == "f":
        return rng.normal(size=whole).astype(dtype)
    least, most = (0, maxval_of(mode)) if dtype.kind == "u" else (-(2**31), 2**31 - 1)
    return rng.integers(least, most, whole, dtype, endpoint=True)


def info_of(array: NDArray[Any], mode: str, maxval: int | None = None, **more: Any) -> FrameInfo:
    """What a file would state that holds an array as it is."""
    dtype, channels = array.dtype, array.shape[2] if array.ndim == 3 else 1
    if maxval is None:
        maxval = full_scale(dtype) if mode == neutral.ARRAY else maxval_of(mode)
    kind: Any = {"i": "signed", "f": "float"}.get(dtype.kind, "unsigned")
    bits = maxval.bit_length() if maxval else 8 * dtype.itemsize
    stored = Stored(kind, bits, maxval, channels)
    return FrameInfo(array.shape, dtype, mode, maxval, stored, **more)


def picture(
    array: NDArray[Any], mode: str, metadata: Metadata | None = None, **more: Any
) -> Picture:
    return Picture(array, info_of(array, mode, **more), metadata or Metadata())


def ramp(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    """Smooth colour, which lossy formats keep nearly."""
    y, x = np.indices((height, width))
    return np.stack((x * 4, y * 4, 128 + x - y), axis=-1).astype(np.uint8)


def noisy(mode: str, shape: tuple[int, int] = (5, 7), seed: int = 0, **more: Any) -> Picture:
    return picture(noise(mode, shape, seed), mode, **more)


# To files and back


def push(writer: Writer, pictures: Iterable[Picture], band: int | None = None) -> list[str]:
    """Push frames in bands that are overwritten as soon as they were taken; return what is told."""
    for one in pictures:
        writer.begin(one.info, one.metadata)
        step = band or len(one.array)
        for top in range(0, len(one.array), step):
            rows = one.array[top : top + step].copy()
            writer.rows(rows)
            rows[...] = 0
    notes = writer.finish()
    return [*writer.warnings, *notes]


def written(
    pictures: Sequence[Picture], name: str, saving: Saving | None = None, band: int | None = None
) -> tuple[bytes, list[str]]:
    """A file of some frames, pushed in bands of so many rows, and its warnings and notes."""
    buffer = BytesIO()
    writer = open_writer(buffer, by_name(name), saving or Saving(), len(pictures))
    notes = push(writer, pictures, band)
    return buffer.getvalue(), notes


def encoded(of: Picture, name: str, saving: Saving | None = None) -> bytes:
    return written([of], name, saving)[0]


def notes_of(of: Picture, name: str, saving: Saving | None = None) -> list[str]:
    return written([of], name, saving)[1]


def reader_of(octets: bytes, max_pixels: int = LIMIT, axes: str | None = None) -> Reader:
    return open_reader(BytesIO(octets), Limits(max_pixels), axes)


def first_info(octets: bytes, max_pixels: int = LIMIT) -> FrameInfo:
    """What the header of the first frame states."""
    return next(reader_of(octets, max_pixels).frames()).info


def pictures_in(
    octets: bytes, max_pixels: int = LIMIT, axes: str | None = None
) -> Iterator[Picture]:
    """Every frame as `poolcli.run` would pool it: upright, its palette applied."""
    reader = reader_of(octets, max_pixels, axes)
    for _ in reader.frames():  # the headers, as a run looks through them before it decodes
        pass
    for frame in reader.frames():
        upright = frame if frame.info.orientation == 1 else Upright(frame)
        info = upright.info
        array = upright.rows(0, info.shape[0]).copy()
        if info.palette is not None:
            array = info.palette[array]
        yield Picture(array, info._replace(palette=None), upright.metadata())


def decoded(octets: bytes, max_pixels: int = LIMIT, axes: str | None = None) -> Picture:
    """The first frame."""
    return next(pictures_in(octets, max_pixels, axes))


def exif_of(tags: dict[int, Any]) -> bytes:
    """EXIF as metadata holds it."""
    exif = Image.Exif()
    exif.update(tags)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def saved(image: Image.Image, pillow: str, **arguments: Any) -> bytes:
    """What Pillow itself makes of an image."""
    buffer = BytesIO()
    image.save(buffer, pillow, **arguments)
    return buffer.getvalue()


def opened(octets: bytes) -> Image.Image:
    """What Pillow itself makes of a file."""
    image = Image.open(BytesIO(octets))
    image.load()
    return image


# What others read


def read_tiff(octets: bytes) -> NDArray[Any]:
    with tifffile.TiffFile(BytesIO(octets)) as file:
        array: NDArray[Any] = file.pages[0].asarray()
    return array


def read_pnm(octets: bytes) -> tuple[int, NDArray[Any]]:
    """The maxval and the samples of a binary PGM or PPM as we write it."""
    kind, extent, maxval, raster = octets.split(b"\n", 3)
    width, height = map(int, extent.split())
    dtype = np.dtype(">u2" if int(maxval) > 255 else "u1")
    samples = np.frombuffer(raster, dtype)
    shape = (height, width, 3) if kind == b"P6" else (height, width)
    return int(maxval), samples.reshape(shape).astype(dtype.newbyteorder("="))


def read_pam(octets: bytes) -> NDArray[Any]:
    """The samples of a PAM as we write it."""
    head, raster = octets.split(b"ENDHDR\n", 1)
    fields = dict(line.split(b" ", 1) for line in head.splitlines()[1:])
    height, width, depth, maxval = (
        int(fields[key]) for key in (b"HEIGHT", b"WIDTH", b"DEPTH", b"MAXVAL")
    )
    samples = np.frombuffer(raster, ">u2" if maxval > 255 else "u1")
    shape = (height, width, depth) if depth > 1 else (height, width)
    return samples.reshape(shape).astype(samples.dtype.newbyteorder("="))


def read_pfm(octets: bytes) -> NDArray[Any]:
    """The samples of a colour PFM as we write it."""
    _, extent, _, raster = octets.split(b"\n", 3)
    width, height = map(int, extent.split())
    return np.frombuffer(raster, "<f4").reshape(height, width, 3)[::-1]


def read_back(octets: bytes, name: str, stored: str) -> NDArray[Any]:
    """The samples of a file in a format and a mode, read by anybody but us."""
    if name == "npy":
        return np.asarray(np.load(BytesIO(octets), allow_pickle=False))
    if name == "tiff" and stored not in ("1", "LAB"):
        return read_tiff(octets)
    if name == "png" and stored in ("LA;16", "RGB;16", "RGBA;16"):
        return np.asarray(imagecodecs.png_decode(octets))
    if name == "jxl":
        return np.asarray(imagecodecs.jpegxl_decode(octets)).astype(dtype_of(stored))
    if name in ("pnm", "pgm", "ppm") and stored != "1":
        return read_pnm(octets)[1]
    if name == "pam":
        array = read_pam(octets)
        return array == 1 if stored == "1" else array
    if stored == "RGB;F":
        return read_pfm(octets)
    if name == "gif":
        if stored == "1":
            return np.asarray(np.asarray(opened(octets).convert("L")) == 255)
        return np.asarray(opened(octets).convert(stored))
    pixels = np.asarray(opened(octets).convert("RGBA") if stored == "RGBA" else opened(octets))
    return np.asarray(np.bitwise_xor(pixels, LAB_SIGNS)) if stored == "LAB" else pixels


def widened(array: NDArray[Any], mode: str, stored: str) -> NDArray[Any]:
    """The same pixels in a mode with more channels or levels."""
    if mode == "1" and stored != "1":
        array = np.where(array, 255, 0).astype(np.uint8)
    if stored == "RGB" and array.ndim == 2:
        return np.stack((array,) * 3, axis=-1)
    if (mode, stored) == ("LA", "RGBA"):
        return array[..., [0, 0, 0, 1]]
    return array


# Files made by hand


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int,
    rows: Sequence[bytes],
    depth: int,
    colour_type: int,
    *extra: tuple[bytes, bytes],
    interlaced: bool = False,
    height: int | None = None,
) -> bytes:
    """A PNG of unfiltered rows of packed samples, with more chunks before its pixels."""
    header = (width, height or len(rows), depth, colour_type, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", *header)),
            *(chunk(name, body) for name, body in extra),
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        )
    )


def tiff(
    pixels: bytes,
    bits: Sequence[int],
    *,
    width: int = 2,
    kind: int | None = None,
    photometric: int = 1,
    extra: int | None = None,
    subsampling: Sequence[int] | None = None,
    order: str = "<",
) -> bytes:
    """An uncompressed TIFF of one row; ``kind`` is 1 unsigned, 2 signed, 3 floating point."""
    entries: list[tuple[int, str, Sequence[int]]] = [
        *((256, "I", [width]), (257, "I", [1]), (258, "H", bits), (259, "H", [1])),
        *((262, "H", [photometric]), (273, "I", [8]), (277, "H", [len(bits)])),
        *((278, "I", [1]), (279, "I", [len(pixels)])),
    ]
    entries += [] if extra is None else [(338, "H", [extra])]
    entries += [] if kind is None else [(339, "H", [kind] * len(bits))]
    entries += [] if subsampling is None else [(530, "H", subsampling)]
    start = 8 + len(pixels) + len(pixels) % 2
    directory, overflow = struct.pack(order + "H", len(entries)), b""
    for tag, code, values in entries:
        value = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(value) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(overflow)
            overflow, value = overflow + value, struct.pack(order + "I", place)
        directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values))
        directory += value.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", start)
    return head + pixels.ljust(start - 8, b"\0") + directory + bytes(4) + overflow


def bmp(rows: Sequence[bytes], width: int, bits: int, masks: Sequence[int] = ()) -> bytes:
    """A BMP of rows from the bottom up; with masks, of bit fields."""
    body = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    fields = struct.pack(f"<{len(masks)}I", *masks)
    header = (40, width, len(rows), 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0)
    offset = 54 + len(fields)
    head = struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
    return head + struct.pack("<IiiHHIIiiII", *header) + fields + body


def pnm(kind: int, maxval: int, array: NDArray[Any]) -> bytes:
    """A PGM or PPM; kinds 2 and 3 are plain text."""
    height, width = array.shape[:2]
    head = f"P{kind}\n{width} {height}\n{maxval}\n".encode()
    if kind in (2, 3):
        return head + "\n".join(map(str, array.ravel().tolist())).encode() + b"\n"
    return head + array.astype(">u2" if maxval > 255 else "u1").tobytes()


def pam(mode: str, maxval: int, array: NDArray[Any]) -> bytes:
    """A PAM with the tuple type of a mode."""
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    kind = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}[channels]
    kind = "BLACKANDWHITE" if mode == "1" else kind
    words = f"WIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {maxval}\nTUPLTYPE {kind}"
    raster = array.astype(">u2" if maxval > 255 else "u1").tobytes()
    return f"P7\n{words}\nENDHDR\n".encode() + raster


def numbers(order: str, *values: float) -> bytes:
    """Packed numbers: the order and type code as in `struct`, then the values."""
    return struct.pack(f"{order[0]}{len(values)}{order[1:]}", *values)


def imagemagick(name: str) -> str:
    """The path of one of ImageMagick's programs, or nothing: others bear the same names."""
    path = shutil.which(name)
    if path is None:
        return ""
    done = subprocess.run([path, "-version"], capture_output=True, check=False)
    return path if done.stdout.startswith(b"Version: ImageMagick") else ""
