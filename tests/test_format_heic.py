"""HEIC, which is only read: what its boxes state, and what the library makes of it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from poolcli.errors import PoolError
from poolcli.formats import by_content
from poolcli.formats.contract import check_depth
from poolcli.formats.saving import Saving
from poolcli.picture import Resolution, turned
from tests.jobs import run, work
from tests.pictures import decoded, exif_of, first_info, noise, reader_of, saved
from tests.support.boxes import with_item, with_property
from tests.support.tools import needs

EXACT = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
"""What makes the encoder keep every sample."""

RGB = noise("RGB", (30, 40))
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
VIPS = shutil.which("vips") or ""


def heic(array: NDArray[Any], mode: str, **more: Any) -> bytes:
    """A file of samples of 8 bits, or of 16 of which the highest are kept."""
    buffer = BytesIO()
    size = (array.shape[1], array.shape[0])
    pillow_heif.encode(mode, size, array.tobytes(), buffer, **{**EXACT, **more})
    return buffer.getvalue()


@pytest.fixture(params=[10, 12])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The depth in which the encoder writes samples of 16 bits."""
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", request.param == 12)
    return int(request.param)


# Sizes


def test_a_size_that_differs_from_the_coded_one_is_refused_before_decoding() -> None:
    octets = heic(np.zeros((1000, 1100, 3), np.uint8), "RGB")
    stated = struct.pack(">II", 1100, 1000)
    assert octets.count(b"ispe" + bytes(4) + stated) == 1
    small = octets.replace(stated, struct.pack(">II", 16, 16))
    with pytest.raises(PoolError, match="it states 16×16 pixels, but 1000×1104 are coded"):
        reader_of(small)


# Samples


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("shape", [(30, 40), (64, 64), (17, 65)])
def test_samples_of_8_bits_come_as_they_were_encoded(mode: str, shape: tuple[int, int]) -> None:
    array = noise(mode, shape)
    found = decoded(heic(array, mode))
    assert (found.info.mode, found.info.shape, found.info.maxval) == (mode, array.shape, 255)
    assert found.info.stored == ("unsigned", 8, 255, array.shape[2] if array.ndim == 3 else 1)
    assert found.info.encoding.lossy
    assert not check_depth(found.info, allow_loss=False)
    np.testing.assert_array_equal(found.array, array)


def test_deeper_samples_come_with_their_own_full_scale(bits: int) -> None:
    for mode, wanted in (("I;16", "L;M"), ("RGB;16", "RGB;M"), ("RGBA;16", "RGBA;M")):
        array = noise(mode, (30, 40))
        found = decoded(heic(array, mode))
        assert (found.info.mode, found.info.maxval) == (wanted, (1 << bits) - 1)
        assert found.info.stored[:3] == ("unsigned", bits, (1 << bits) - 1)
        assert not check_depth(found.info, allow_loss=False)
        np.testing.assert_array_equal(found.array, array >> (16 - bits))


def test_a_picture_that_follows_changes_neither_depth_nor_pixels(bits: int) -> None:
    deep = noise("RGB;16", (30, 40))
    whole = heic(RGB, "RGB")
    np.testing.assert_array_equal(decoded(whole + heic(deep, "RGB;16")).array, RGB)
    np.testing.assert_array_equal(decoded(whole + heic(255 - RGB, "RGB")).array, RGB)
    array = decoded(heic(deep, "RGB;16") + whole).array
    np.testing.assert_array_equal(array, deep >> (16 - bits))


def test_deep_samples_never_come_out_as_8_bits_unasked(bits: int, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(heic(noise("RGB;16", (30, 40)), "RGB;16"))
    outcome = run(tmp_path / "in", tmp_path / "out", "webp")
    assert outcome.status == "failed"
    assert "--allow-depth-loss" in str(outcome.remedy)
    outcome = run(tmp_path / "in", tmp_path / "wide", "png")
    assert (outcome.status, outcome.dtype) == ("done", "uint16")
    outcome = run(tmp_path / "in", tmp_path / "out", "webp", work(allow_depth_loss=True))
    assert (outcome.status, outcome.dtype) == ("done", "uint8")
    outcome = run(tmp_path / "in", tmp_path / "deep", "pnm")
    assert outcome.status == "done"
    assert f"\n{(1 << bits) - 1}\n".encode() in (tmp_path / "deep").read_bytes()[:20]


def test_the_clean_aperture_is_applied(tmp_path: Path) -> None:
    aperture = struct.pack(">IIIIiIiI", 24, 1, 16, 1, 2, 1, -1, 1)
    octets = with_property(heic(RGB, "RGB"), b"clap", aperture)
    array = decoded(octets).array
    np.testing.assert_array_equal(array, RGB[6:22, 10:34])
    (tmp_path / "in.heic").write_bytes(octets)
    command = [VIPS, "copy", "in.heic", "out.png"]
    if VIPS and not subprocess.run(command, cwd=tmp_path, check=False).returncode:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), array)


def test_a_gain_map_is_told_to_be_left_out() -> None:
    found = decoded(with_item(heic(RGB, "RGB"), b"tmap"))
    assert found.metadata.warnings == ("it is written without its gain map",)


def test_alpha_comes_with_colour_that_is_not_multiplied_by_it() -> None:
    array = noise("LA", (30, 40))
    found = decoded(heic(array, "LA"))
    assert (found.info.stored.channels, found.info.mode) == (2, "RGBA")
    np.testing.assert_array_equal(found.array, array[..., [0, 0, 0, 1]])
    with pytest.raises(PoolError, match="multiplied by alpha"):
        first_info(heic(noise("RGBA", (30, 40)), "RGBa"))


@needs("vips")
def test_another_program_sees_the_same_picture(tmp_path: Path) -> None:
    array = np.asarray(Image.linear_gradient("L").convert("RGB").resize((64, 48)))
    (tmp_path / "in.heic").write_bytes(heic(array, "RGB", exif=b"Exif\0\0" + exif_of({274: 6})))
    done = subprocess.run(
        [VIPS, "autorot", "in.heic", "out.tif"], cwd=tmp_path, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this vips reads no HEIC")
    np.testing.assert_array_equal(
        decoded((tmp_path / "in.heic").read_bytes()).array, imagecodecs.imread(tmp_path / "out.tif")
    )


# Headers


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int) -> None:
    exif = b"Exif\0\0" + exif_of({271: "Maker", 274: orientation})
    found = decoded(heic(RGB, "RGB", exif=exif))
    assert found.info.orientation == 1
    np.testing.assert_array_equal(found.array, turned(RGB, orientation))
    assert found.metadata.exif is not None
    assert b"Maker" in found.metadata.exif
    with Image.open(BytesIO(saved(Image.new("L", (1, 1)), "PNG", exif=found.metadata.exif))) as one:
        assert 274 not in one.getexif()


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"])
def test_files_are_known_by_their_brands(brand: bytes) -> None:
    assert by_content(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1").name == "heic"
    assert by_content(b"\0\0\0\x1cftypavif\0\0\0\0mif1" + brand).name == "avif"
    for general in (b"mif1", b"msf1"):
        start = b"\0\0\0\x1cftyp" + general + b"\0\0\0\0miaf"
        assert (by_content(start + brand).name, by_content(start + b"avif").name) == (
            "heic",
            "avif",
        )


def test_a_real_file_with_a_general_brand_is_read() -> None:
    octets = heic(RGB, "RGB")
    assert octets[8:12] in (b"heic", b"heix")
    general = octets[:8] + b"mif1" + octets[12:16] + octets[8:12] + octets[20:]
    np.testing.assert_array_equal(decoded(general).array, RGB)


def test_the_primary_one_of_several_pictures_is_taken_and_the_others_by_number(
    tmp_path: Path,
) -> None:
    arrays = [noise("RGB", (30, 40), 1), noise("RGB", (20, 24), 2)]
    file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]
    for one in arrays:
        file.add_frombytes("RGB", one.shape[1::-1], one.tobytes())
    buffer = BytesIO()
    file.save(buffer, primary_index=1, **EXACT)
    (tmp_path / "in").write_bytes(buffer.getvalue())
    told = ["only the first of its 2 pictures was taken: --frame reaches the others"]
    for number, array, warnings in (
        (None, arrays[1], told),
        (0, arrays[1], []),
        (1, arrays[0], []),
    ):
        how = work(size=1, frame=number, overwrite=True)
        outcome = run(tmp_path / "in", tmp_path / "out.npy", "npy", how)
        assert (outcome.frames, outcome.warnings) == (2, warnings)
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), array.astype(int), atol=1)


def test_a_grey_primary_picture_beside_one_in_colour_is_grey() -> None:
    grey, colour = noise("L", (30, 40)), noise("RGB", (20, 24))
    file = pillow_heif.HeifFile()  # type: ignore[no-untyped-call]
    for mode, one in (("L", grey), ("RGB", colour)):
        file.add_frombytes(mode, one.shape[1::-1], one.tobytes())
    buffer = BytesIO()
    file.save(buffer, primary_index=0, **EXACT)
    found = decoded(buffer.getvalue())
    assert (found.info.mode, found.info.stored.channels) == ("L", 1)


def test_headers_are_read_without_decoding_and_frames_may_be_gone_through_again() -> None:
    octets = heic(RGB, "RGB")
    reader = reader_of(octets)
    passes = [[(one.info, one.rows(3, 9).tolist()) for one in reader.frames()] for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]
    cut = octets[: octets.index(b"mdat") + 4] + bytes(len(octets) - octets.index(b"mdat") - 4)
    assert first_info(cut).shape == (30, 40, 3)
    with pytest.raises(PoolError, match=r"it has 1,200 pixels; 1,000 are allowed"):
        reader_of(octets, 1000)


# Metadata, damage and writing


def test_profile_exif_and_xmp_are_carried(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = b"Exif\0\0" + exif_of({271: "Maker", 282: 300.0, 283: 150.0, 296: 2})
    octets = heic(RGB, "RGB", exif=exif, xmp=XMP, icc_profile=profile)
    frame = next(reader_of(octets).frames())
    before = frame.metadata()
    frame.rows(0, 30)
    assert before == frame.metadata()
    assert (before.icc_profile, before.xmp, before.resolution) == (
        profile,
        XMP,
        Resolution(150, 300),
    )
    (tmp_path / "in").write_bytes(octets)
    assert run(tmp_path / "in", tmp_path / "out", "jpeg").status == "done"
    with Image.open(tmp_path / "out", formats=["JPEG"]) as image:
        assert image.info["icc_profile"] == profile
        assert image.getexif()[271] == "Maker"


def test_other_colours_are_refused_unless_stripped(tmp_path: Path) -> None:
    wide = {"color_primaries": 9, "transfer_characteristics": 16}
    (tmp_path / "in").write_bytes(heic(RGB, "RGB", **wide))
    outcome = run(tmp_path / "in", tmp_path / "out", "png")
    assert outcome.error == "its colour encoding is not that of sRGB"
    assert "--strip" in str(outcome.remedy)
    outcome = run(tmp_path / "in", tmp_path / "out", "png", work(saving=Saving(strip=True)))
    assert outcome.status == "done"
    assert outcome.warnings == ["its colour encoding is not that of sRGB; it was taken for sRGB"]


def test_damage_ends_in_pictures_or_in_one_line(tmp_path: Path) -> None:
    octets = np.frombuffer(heic(RGB, "RGB"), np.uint8)
    rng = np.random.default_rng(0)
    for number in range(80):
        changed = octets.copy()
        if number % 2:
            changed = changed[: rng.integers(len(octets))]
        else:
            changed[rng.integers(12, 600 if number % 4 else len(octets), 3)] = rng.integers(256)
        (tmp_path / "in").write_bytes(changed.tobytes())
        outcome = run(tmp_path / "in", tmp_path / "out", "npy", work(size=1, overwrite=True))
        assert not outcome.is_fault, outcome.traceback
        assert outcome.status == "done" or outcome.remedy


def test_it_is_not_written_but_by_another_format(tmp_path: Path) -> None:
    before = dict(Image.OPEN)
    (tmp_path / "in.heic").write_bytes(heic(RGB, "RGB"))
    outcome = run(tmp_path / "in.heic", tmp_path / "out.heic", "heic")
    assert outcome.error == "HEIC can only be read"
    assert not (tmp_path / "out.heic").exists()
    assert run(tmp_path / "in.heic", tmp_path / "out.jpg", "jpeg").status == "done"
    assert first_info((tmp_path / "out.jpg").read_bytes()).shape == (15, 20, 3)
    assert before == Image.OPEN  # nothing is registered with Pillow
