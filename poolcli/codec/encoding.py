"""Pictures as the bytes of a file."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray
from PIL import Image

from poolcli.codec import deep, modes, npy, pnm, tags
from poolcli.codec.headers import Storage
from poolcli.codec.metadata import Metadata
from poolcli.codec.names import MODE_NAMES, PILLOW_NAMES
from poolcli.formats import Format
from poolcli.formats.saving import OptionValue, Saving

DEFAULTS: Final[dict[str, dict[str, OptionValue]]] = {
    "png": {"compress_level": 4},
    "jpeg": {"quality": 90},
    "webp": {"exact": True},
    "tiff": {"compression": "deflate"},
    "avif": {"quality": 80},
}
"""What is asked of Pillow where the user says nothing."""

GREYS: Final = ("1", "L", "LA", "I;16", "LA;16", "I", "F")
COLOUR_SPACE: Final = slice(16, 20)
"""Where a profile says for which channels it is."""

EFFORTS: Final = {"compress_level", "optimize"}
"""The options by which somebody says how hard PNG is compressed."""

RUNS_ALONE: Final = 3
"""zlib's strategy that looks for nothing but runs of a byte: Z_RLE."""

RUNS_SLACK: Final = 1.01
SAMPLE_BYTES: Final = 3 << 14
"""Bytes of neighbouring rows in a sample: more than the 32 KB in which deflate finds matches."""

SAMPLED, LEAST_SAMPLES = 32, 4

POOR_GIF: Final = "GIF holds 256 colours and alpha on or off: the rest is approximated"
COMPRESSIONS: Final = {"none": "raw", "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate"}


class Decoded(NamedTuple):
    """A picture whose pixels may still have to be copied out of Pillow.

    Attributes:
        pixels: (H, W) or (H, W, C), upright.
        mode: as in `Picture`, and so are the others.
        maxval: see there.
        metadata: see there.
        source: see there.
        duration: see there.
    """

    pixels: NDArray[Any] | modes.Bands
    mode: str
    maxval: int
    metadata: Metadata
    source: Storage
    duration: Fraction = Fraction(0)

    @property
    def array(self) -> NDArray[Any]:
        """All pixels."""
        return modes.to_array(self.pixels)


class Picture(NamedTuple):
    """Pixels, and what is needed to write them back.

    Attributes:
        array: (H, W) or (H, W, C), upright.
        mode: a key of `poolcli.formats.MODE_NAMES`.
        maxval: full scale of unsigned samples; 0 where there is none.
        metadata: what the file said beside its pixels.
        source: how the file was stored, for a target of the same format.
        duration: how long it is seen as a frame of a film, in milliseconds.
    """

    array: NDArray[Any]
    mode: str
    maxval: int = 255
    metadata: Metadata = Metadata()
    source: Storage = Storage()
    duration: Fraction = Fraction(0)

    @property
    def pixels(self) -> NDArray[Any]:
        """The array, as of a `Decoded`."""
        return self.array


def write_bytes(
    picture: Picture, target: Format, saving: Saving
) -> tuple[bytes | bytearray | memoryview, list[str]]:
    """The complete file, and what had to be left out or approximated."""
    octets, notes = write_pixels(picture, target, saving)
    if target.name != "tiff" or not len(more := picture.metadata.tags(saving.strip)):
        return octets, notes
    file = bytearray(octets)
    tags.add(file, [more])
    return file, notes


def write_pixels(
    picture: Picture, target: Format, saving: Saving
) -> tuple[bytes | memoryview, list[str]]:
    """The same, but for the tags of a TIFF."""
    stored = target.stored_mode(picture.mode)
    arguments, notes = arguments_of(picture, target, saving)
    if target.name == "npy":
        return npy.write(picture.array).getbuffer(), notes
    if stored in modes.IMAGE_MODES:
        leaves_effort = not EFFORTS & saving.for_format(target).keys()
        return _encode_image(picture, stored, target, arguments, notes, leaves_effort), notes
    return _encode_deep(picture, target, arguments), notes


def arguments_of(
    picture: Picture, target: Format, saving: Saving
) -> tuple[dict[str, Any], list[str]]:
    """What is asked of Pillow, and what has to be left out or approximated."""
    stored = target.stored_mode(picture.mode)
    described, lost = picture.metadata.arguments(target, saving.strip)
    notes = [f"{target.name} has no place for the {what}" for what in lost]
    if _is_of_others(described.get("icc_profile", b""), stored, target):
        del described["icc_profile"]
        notes.append(f"its colour profile is not for {MODE_NAMES[stored]}, and was dropped")
    if stored != picture.mode:
        notes.append(f"it was written as {MODE_NAMES[stored]}")
    if target.name == "avif":
        notes.append("AVIF is written with loss")
    arguments = {
        **DEFAULTS.get(target.name, {}),
        **_kept(picture, target, saving),
        **described,
        **saving.for_format(target),
    }
    return arguments, notes


def _is_of_others(icc_profile: bytes, stored: str, target: Format) -> bool:
    """Whether readers must ignore a profile, being one of grey for colours or the reverse.

    For colours in grey only PNG says so (Third Edition, 11.3.2.3; ICC.1, 7.2.6).
    """
    space, grey = icc_profile[COLOUR_SPACE], stored in GREYS
    return (space == b"GRAY" and not grey) or (space == b"RGB " and grey and target.name == "png")


def _encode_image(
    picture: Picture,
    stored: str,
    target: Format,
    arguments: dict[str, Any],
    notes: list[str],
    leaves_effort: bool,
) -> memoryview:
    """Through Pillow; what it approximates is noted."""
    buffer = BytesIO()
    image = modes.to_image(picture.array, picture.mode, stored)
    if "compression" in arguments:
        word = arguments["compression"]
        # libtiff would turn YCbCr into RGB to compress it
        arguments["compression"] = "raw" if stored == "YCbCr" else COMPRESSIONS.get(word, word)
    if target.name == "png" and leaves_effort and repeats_nothing(image):
        arguments["compress_type"] = RUNS_ALONE
    if target.name == "gif":
        image, complete = modes.to_palette(image)
        if not complete:
            notes.append(POOR_GIF)
    image.save(buffer, PILLOW_NAMES[target.name], **arguments)
    return buffer.getbuffer()


def repeats_nothing(image: Image.Image) -> bool:
    """Whether a sample of rows is as small where deflate looks for runs of bytes alone.

    So it is with photographs, whose noise never comes twice: the whole is compressed more than
    twice as fast then (`benchmarks/levels.py`). Cost: a thirtieth of the picture, both ways.
    """
    width, height = image.size
    row_bytes = width * len(image.getbands()) * (1 + (image.mode == "I;16"))
    rows = -(-SAMPLE_BYTES // row_bytes)
    count = max(LEAST_SAMPLES, height // (rows * SAMPLED))
    if rows * count > height:
        return False
    sizes = [0, 0]
    for number in range(count):
        top = (height - rows) * (2 * number + 1) // (2 * count)  # margins tell nothing
        band = image.crop((0, top, width, top + rows))
        for side, strategy in enumerate(({}, {"compress_type": RUNS_ALONE})):
            buffer = BytesIO()
            band.save(buffer, "PNG", **DEFAULTS["png"], **strategy)
            sizes[side] += buffer.tell()
    usual, runs = sizes
    return runs <= usual * RUNS_SLACK


def _encode_deep(picture: Picture, target: Format, arguments: dict[str, Any]) -> bytes:
    """Samples that Pillow can't hold: PNM by ourselves, PNG and TIFF through the extra."""
    if PILLOW_NAMES[target.name] == "PPM":
        return pnm.write(picture.array, picture.maxval)
    if target.name == "png":
        like = BytesIO()  # its ancillary chunks are what Pillow makes of the metadata
        level = arguments.pop("compress_level")
        Image.new("L", (1, 1)).save(like, "PNG", **arguments)
        return deep.write_png(picture.array, level, like.getvalue())
    return deep.write_tiff(
        picture.array,
        picture.mode,
        picture.source.tiff_layout,
        arguments["compression"],
        picture.metadata.dpi,
        picture.metadata.icc_profile,
    )


def _kept(picture: Picture, target: Format, saving: Saving) -> dict[str, Any]:
    """How the source was compressed, where its own format is written again."""
    if target.name == "webp":
        return {"lossless": not picture.source.lossy and saving.quality is None}
    if target.name == "jpeg" and saving.quality is None and picture.source.jpeg_tables:
        grey = picture.array.ndim == 2
        tables = picture.source.jpeg_tables
        kept = {"qtables": tables["qtables"]} if grey else tables
        return {"quality": -1, **kept}
    return {}
