"""What the contract suite asks of every format is made from the format's own row, here."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from poolcli.formats import FORMATS
from poolcli.formats.contract import Limits, Reader, open_reader
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Frame, Metadata, Picture, Resolution, Upright
from poolcli.report import Outcome
from tests import toys
from tests.pictures import (
    LIMIT,
    dtype_of,
    exif_of,
    maxval_of,
    noise,
    noisy,
    picture,
    whole_shape,
    widened,
)
from tests.support.words import foreign_words

ROWS: Final = (*(one for one in FORMATS if one.modes), toys.FORMAT)
USUAL_MODES: Final = ("RGB", "L", "F", "1")
"""One of these is held by every format; the first is taken where any picture does."""

DURATIONS: Final = tuple(map(Fraction, (40, 100, 20, 1000)))
M_MMAP_THRESHOLD: Final = -3
"""The number of this parameter in glibc's malloc.h."""

CLOSE: Final = 6
"""How far the samples of a lossy format may be off, on average, of 255."""


def modes_of(row: Format) -> list[str]:
    """Every mode that a format holds without loss."""
    return [mode for mode in MODES if mode in row.modes]


def usual_mode(row: Format) -> str:
    return next(mode for mode in USUAL_MODES if mode in row.modes)


def pairs(rows: Sequence[Format] = ROWS) -> pytest.MarkDecorator:
    """A parametrisation over formats and the modes that each holds."""
    cases = [(row, mode) for row in rows for mode in modes_of(row)]
    return pytest.mark.parametrize(
        ("row", "mode"), cases, ids=[f"{mode} in {row.name}" for row, mode in cases]
    )


def each(condition: Callable[[Format], bool] = lambda _: True) -> pytest.MarkDecorator:
    """A parametrisation over the formats of which something is true."""
    rows = [row for row in ROWS if condition(row)]
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


# Pictures


def noisy_in(mode: str, shape: tuple[int, int] = (5, 7), seed: int = 0) -> Picture:
    """Noise; for arrays without a mode signed samples of four channels."""
    if mode != ARRAY:
        return noisy(mode, shape, seed)
    array = np.random.default_rng(seed).integers(-(2**15), 2**15, (*shape, 4), np.int16)
    return picture(array, ARRAY)


def plain(mode: str, shape: tuple[int, int] = (5, 7), seed: int = 0) -> Picture:
    """A picture of four colours, of which one can't be seen where there is alpha."""
    few = noise(mode, (1, 4), seed + 50)[0]
    if MODES[mode].without_alpha:
        few[:, -1] = [0, maxval_of(mode), maxval_of(mode), maxval_of(mode)]
    return picture(few[np.random.default_rng(seed).integers(0, 4, shape)], mode)


def smooth(mode: str, shape: tuple[int, int] = (30, 40)) -> Picture:
    """A gentle ramp in every channel."""
    down, across = np.indices(shape)
    grey = (down * 3 + across * 2 + 20) * maxval_of(mode) // 255
    array = np.broadcast_to(
        grey[(..., *(None,) * (len(whole_shape(mode, shape)) - 2))], whole_shape(mode, shape)
    )
    array = (array % 2 == 1) if mode == "1" else array.astype(dtype_of(mode))
    return picture(np.ascontiguousarray(array), mode)


def sequence(row: Format) -> list[Picture]:
    """An animation of two areas of colour, or pages of several sizes and modes."""
    if row.frames == "pages":
        modes = (modes_of(row) * 4)[:4]
        return [noisy_in(mode, (5 + at, 9 - at), at) for at, mode in enumerate(modes)]
    across = np.indices((24, 32))[1]
    frames = []
    for at, lasts in enumerate(DURATIONS):
        left = across < 8 * at + 8
        array = np.where(left[..., None], (250, 10, 20), (10, 240 - 40 * at, 30))
        frames.append(picture(array.astype(np.uint8), "RGB", Metadata(plays=3), duration=lasts))
    return frames


def whole_pictures(row: Format) -> list[list[Picture]]:
    """A still, and several frames where there may be some."""
    still = [noisy_in(usual_mode(row), (20, 30))]
    return [still] if row.frames == "one" else [still, sequence(row)]


# Reading


def opened_after_headers(octets: bytes, limit: int = LIMIT) -> Reader:
    """A reader whose headers were looked through once, as a run does before it decodes."""
    reader = open_reader(BytesIO(octets), Limits(limit))
    for _ in reader.frames():
        pass
    return reader


def frames_in(octets: bytes) -> Iterator[Frame]:
    for frame in opened_after_headers(octets).frames():
        yield frame if frame.info.orientation == 1 else Upright(frame)


def pixels_of(frame: Frame, stops: Sequence[int] | None = None) -> NDArray[Any]:
    """The pixels of a frame, its palette applied, in one piece or in several."""
    ends = [*(stops or ()), frame.info.shape[0]]
    parts = [frame.rows(a, b).copy() for a, b in zip([0, *ends], ends, strict=False)]
    array = np.concatenate(parts)
    return array if frame.info.palette is None else frame.info.palette[array]


def read_all(octets: bytes) -> list[Picture]:
    return [Picture(pixels_of(one), one.info, one.metadata()) for one in frames_in(octets)]


def visible(array: NDArray[Any], mode: str) -> NDArray[Any]:
    """The pixels without the colours that can't be seen."""
    return np.where(array[..., -1:] == 0, 0, array) if MODES[mode].without_alpha else array


def assert_close(found: Picture, wanted: NDArray[Any]) -> None:
    assert found.array.shape == wanted.shape
    difference = np.abs(found.array.astype(float) - wanted).mean()
    assert difference <= CLOSE * max(1, found.info.maxval / 255)


def assert_shows(found: Picture, wanted: Picture) -> None:
    """The same picture in a mode that may have more channels: close if the file is lossy."""
    info, array, mode = found.info, wanted.array, wanted.info.mode
    if MODES[mode].without_alpha and not MODES[info.mode].without_alpha and info.mode != ARRAY:
        assert (array[..., -1] == wanted.info.maxval).all()
        mode = MODES[mode].without_alpha
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    if (mode, info.mode) == ("YCbCr", "RGB") and info.encoding.lossy:
        array = np.asarray(Image.fromarray(array, "YCbCr").convert("RGB"))
    array = widened(array, mode, info.mode)
    if info.encoding.lossy:
        assert_close(found, array)
    else:
        np.testing.assert_array_equal(visible(found.array, info.mode), visible(array, info.mode))


class Counting(BytesIO):
    """A stream that counts what is read of it."""

    taken = 0

    def _counted(self, octets: bytes) -> bytes:
        self.taken += len(octets)
        return octets

    def read(self, size: int | None = -1) -> bytes:
        return self._counted(super().read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._counted(super().readline(size))

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self.taken += count
        return count


def calls_of(act: Callable[[], object]) -> int:
    """The number of functions that are called, by Python or within it."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def peak_growth(act: Callable[[], object]) -> int:
    """By how many bytes the memory of this process grew at most during an act."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system doesn't forget the peak of a process")
    # After other tests glibc takes large blocks from its heap, where it fills zeroed ones at once;
    # with a fixed threshold they are mapped, and take memory only when they are written to.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 17)
    peaks = []
    for step in (lambda: None, act):
        step()
        peaks += re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * (int(peaks[1]) - int(peaks[0]))


# Metadata


def profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


FIELDS: Final[dict[str, tuple[str, Any]]] = {
    "icc_profile": ("colour profile", profile()),
    "exif": ("EXIF", exif_of({271: "Maker"})),
    "resolution": ("resolution", Resolution(150, 300)),
    "xmp": ("XMP", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"),
    "comment": ("comment", b"hello"),
    "texts": ("text", ((b"tEXt", b"Title\0words"),)),
    "colour": ("colour chunks", ((b"gAMA", b"\0\0\xb1\x8f"),)),
}
"""Every field of metadata: what notes call it, and a value."""


def assert_field(name: str, found: Metadata, wanted: Any) -> None:
    """The field as it was, as far as formats can say it."""
    value = getattr(found, name)
    match name:
        case "resolution":
            assert value[:2] == pytest.approx(wanted[:2], rel=1e-3)
        case "exif":
            assert value is not None
            assert b"Maker" in value
        case "comment":
            texts = [body.partition(b"\0")[2] for _, body in found.texts]
            assert wanted in (value, *texts) or wanted in (found.exif or b"")  # as TIFF's tag 270
        case "texts" | "colour":
            assert set(wanted) <= set(value)
        case _:
            assert value == wanted


SAVINGS: Final = {"quality": (0, 1, 50, 100), "compress_level": range(10)}


def good_savings(row: Format) -> Iterator[Saving]:
    """Every choice that a row promises; of long ranges the ends and the middle."""
    if row.quality:
        yield from (Saving(quality=one) for one in SAVINGS["quality"])
    if "compress_level" in row.options:
        yield from (Saving(compress_level=one) for one in SAVINGS["compress_level"])
    for key, kind in row.options.items():
        values: Sequence[object] = ("yes", "no")
        if isinstance(kind, range):
            values = sorted({kind[0], kind[len(kind) // 2], kind[-1]})
        elif isinstance(kind, tuple):
            values = kind
        yield from (Saving(options=((key, str(one)),)) for one in values)


def bad_savings(row: Format) -> Iterator[Saving]:
    """Values past what each option takes, and options of no use."""
    for key, kind in row.options.items():
        texts = ["", "nonsense", "-1"]
        if isinstance(kind, range):
            texts.append(str(kind.stop))
        yield from (Saving(options=((key, text),)) for text in texts)
    yield Saving(options=(("nothing", "1"),))
    if not row.quality:
        yield Saving(quality=50)
    if "compress_level" not in row.options:
        yield Saving(compress_level=5)


# Refusals


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Failed, in one line with a remedy, and by no fault of ours."""
    assert outcome.status == "failed"
    assert not outcome.is_fault, outcome.traceback
    error = str(outcome.error)
    assert "\n" not in error
    assert "Traceback" not in error
    assert outcome.remedy
    for message in (error, str(outcome.remedy), *outcome.warnings):
        assert not foreign_words(message), message
    for word in words:
        assert word in error
