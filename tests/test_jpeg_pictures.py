"""JPEG: further pictures in one file, a missing end, other depths than 8 bits."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from poolcli.errors import PoolError
from poolcli.formats.contract import check_depth
from tests.exif_support import MAKE, TURN, exif_block, exiftool, number, text
from tests.jobs import run, work
from tests.pictures import decoded, first_info, noise, opened, pictures_in, ramp, reader_of, saved
from tests.support.processes import Run
from tests.support.tools import needs

TOLD: Final = "only the first of its 2 pictures was taken: --frame reaches the others"
CUT: Final = "it is cut off: samples are missing"
NO_END: Final = "the marker at its end is missing"


# Further pictures


def stereo(**more: Any) -> bytes:
    """An MPO of two pictures of different sizes."""
    first, second = Image.fromarray(ramp()), Image.fromarray(255 - ramp(8, 12))
    return saved(first, "MPO", save_all=True, append_images=[second], quality=95, **more)


def test_an_mpo_is_its_first_picture_unless_another_is_asked_for(tmp_path: Path) -> None:
    octets = stereo()
    (tmp_path / "in.mpo").write_bytes(octets)
    image = Image.open(tmp_path / "in.mpo")
    for number_asked, warnings in ((None, [TOLD]), (0, []), (1, [])):
        image.seek(number_asked or 0)
        how = work(size=1, frame=number_asked)
        outcome = run(
            tmp_path / "in.mpo", tmp_path / "out.png", "png", how._replace(overwrite=True)
        )
        assert (outcome.status, outcome.frames, outcome.warnings) == ("done", 2, warnings)
        np.testing.assert_array_equal(
            opened((tmp_path / "out.png").read_bytes()), np.asarray(image)
        )
    image.close()
    outcome = run(tmp_path / "in.mpo", tmp_path / "no.png", "png", work(frame=2))
    assert outcome.error == "there is no frame 2: it has 2, numbered 0 to 1"


@needs("exiftool")
def test_the_index_of_pictures_is_not_written(tmp_path: Path) -> None:
    octets = stereo(exif=exif_block(text(MAKE, "Two Eyes")))
    assert exiftool(octets)["MPF0:NumberOfImages"] == 2
    (tmp_path / "in").write_bytes(octets)
    run(tmp_path / "in", tmp_path / "out.jpg", "jpeg")
    tags = exiftool((tmp_path / "out.jpg").read_bytes())
    assert not [tag for tag in tags if tag.startswith("MP")]
    assert tags["IFD0:Make"] == "Two Eyes"


def test_an_mpo_is_found_in_folders_and_written_as_a_jpeg(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.MPO").write_bytes(stereo())
    done = run("max", "--size", 2, "in", "out")
    assert done.returncode == 0, done.stderr
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["a.jpg"]


def test_each_picture_has_its_own_metadata_and_limits(tmp_path: Path) -> None:
    exif = exif_block(number(TURN, 6))
    octets = stereo(exif=exif)
    assert [one.info.shape[:2] for one in pictures_in(octets)] == [(50, 40), (12, 8)]
    (tmp_path / "in").write_bytes(octets)
    outcome = run(tmp_path / "in", tmp_path / "out", "png", work(frame=1, max_pixels=50 * 40))
    assert outcome.status == "done"
    outcome = run(tmp_path / "in", tmp_path / "out", "png", work(frame=1, max_pixels=90))
    assert (outcome.error, outcome.remedy) == (
        "it has 2,000 pixels",
        "90 are allowed: raise --max-pixels",
    )


def test_a_smaller_preview_is_no_further_picture() -> None:
    octets = bytearray(stereo())
    index = octets.index(b"MPF\0")
    entry = octets.index(struct.pack("<HHI", 0xB002, 7, 32), index)
    (offset,) = struct.unpack_from("<I", octets, entry + 8)
    for kind, count in ((0x010002, 1), (0x020002, 2)):
        struct.pack_into("<I", octets, index + 4 + offset + 16, kind)
        assert reader_of(bytes(octets)).count == count


def test_a_damaged_index_costs_no_picture() -> None:
    octets = stereo()
    index = octets.index(b"MPF\0") + 4
    for damaged in (octets[:-50], octets[: index + 8] + b"\xff\xff" + octets[index + 10 :]):
        reader = reader_of(damaged)
        assert reader.count == 1
        (found,) = pictures_in(damaged)
        assert "its index of further pictures is damaged" in found.metadata.warnings


# A missing end


KINDS: Final = {
    "baseline": {},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "rows of restarts": {"restart_marker_rows": 1, "subsampling": 0},
    "progressive restarts": {"restart_marker_blocks": 5, "progressive": True},
}


def jpeg(mode: str = "RGB", **more: Any) -> bytes:
    shape = noise("RGB", (40, 50))
    return saved(Image.fromarray(shape).convert(mode), "JPEG", quality=80, **more)


@pytest.mark.parametrize("arguments", KINDS.values(), ids=KINDS)
def test_a_jpeg_that_lacks_only_its_end_is_read_with_a_warning(arguments: dict[str, Any]) -> None:
    octets = jpeg(**arguments)
    for cut in (octets[:-2], octets[:-1]):
        found = decoded(cut)
        np.testing.assert_array_equal(found.array, np.asarray(opened(octets)))
        assert found.metadata.warnings == (NO_END,)
    assert decoded(octets).metadata.warnings == ()
    assert decoded(octets + bytes(100)).metadata.warnings == ()


@pytest.mark.parametrize("arguments", KINDS.values(), ids=KINDS)
def test_any_other_truncation_is_refused(arguments: dict[str, Any]) -> None:
    octets = jpeg(**arguments)
    scan = octets.index(b"\xff\xda")
    cuts = np.random.default_rng(0).integers(scan + 12, len(octets) - 4, 30)
    markers = [at for at in range(scan + 20, len(octets) - 2) if octets[at] == 0xFF]
    for cut in (*cuts, *(at for at in markers if octets[at + 1])):
        with pytest.raises(PoolError, match=r"cut off|frame header is missing"):
            decoded(octets[:cut])


# Other depths


def deep(bits: int, channels: int, lossless: bool) -> tuple[Any, Any]:
    """A JPEG and the samples from which it was made: smooth ones if it is lossy."""
    y, x, c = np.indices((24, 32, channels))
    array = y * 641 + x * 213 + c * 67 if lossless else y * 60 + x * 40 + c * 20
    array = (array % (1 << bits)).astype(np.uint16 if bits > 8 else np.uint8)
    array = np.ascontiguousarray(array[..., 0] if channels == 1 else array)
    how: dict[str, Any] = {} if lossless else {"level": 100, "subsampling": "444"}
    return imagecodecs.jpeg8_encode(array, bitspersample=bits, lossless=lossless, **how), array


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [2, 7, 9, 12, 15, 16])
def test_lossless_jpeg_of_any_depth_is_read_as_it_is(bits: int, channels: int) -> None:
    octets, array = deep(bits, channels, lossless=True)
    found = decoded(octets)
    assert found.info.maxval == found.info.stored.maxval == (1 << bits) - 1
    assert not found.info.encoding.lossy
    assert not check_depth(found.info, allow_loss=False)
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bit_jpeg_is_read_in_12_bits(channels: int) -> None:
    octets, array = deep(12, channels, lossless=False)
    found = decoded(octets)
    assert found.info.stored == ("unsigned", 12, 4095, channels)
    assert found.info.encoding.lossy
    assert np.abs(found.array.astype(int) - array).max() <= 3


def test_lossless_jpeg_of_8_bits_is_a_picture_without_loss() -> None:
    octets, array = deep(8, 3, lossless=True)
    found = decoded(octets)
    np.testing.assert_array_equal(found.array, array)
    assert not found.info.encoding.lossy


@pytest.mark.parametrize("lossless", [True, False])
def test_deep_jpeg_that_is_cut_off_is_refused_as_well(lossless: bool) -> None:
    octets, _ = deep(12, 1, lossless)
    found = decoded(octets[:-2])
    assert found.metadata.warnings == (NO_END,)
    np.testing.assert_array_equal(found.array, decoded(octets).array)
    for cut in (12, 20, 30):
        with pytest.raises(PoolError, match=CUT):
            first_info(octets[:-cut])


def test_deep_jpeg_has_all_its_metadata() -> None:
    octets, _ = deep(12, 3, lossless=False)
    exif = exif_block(number(TURN, 6), text(MAKE, "Deep"))
    parts = ((0xE1, exif), (0xFE, b"a comment"))
    inserted = b"".join(struct.pack(">BBH", 0xFF, at, len(one) + 2) + one for at, one in parts)
    found = decoded(octets[:2] + inserted + octets[2:])
    assert found.info.shape == (32, 24, 3)
    assert found.metadata.comment == b"a comment"
    assert b"Deep" in (found.metadata.exif or b"")


def test_depths_and_frame_headers_that_nobody_reads_are_refused() -> None:
    octets = bytearray(jpeg())
    header = octets.index(b"\xff\xc0")
    for bits in (0, 9, 16):
        octets[header + 4] = bits
        with pytest.raises(PoolError, match=f"its samples have {bits} bits in 3 channels"):
            first_info(bytes(octets))
    octets[header + 4] = 8
    (length,) = struct.unpack_from(">H", octets, header + 2)
    twice = octets[:header] + octets[header : header + 2 + length] + octets[header:]
    with pytest.raises(PoolError, match="it has 2 frame headers"):
        first_info(bytes(twice))


def test_a_second_frame_header_after_the_first_scan_is_refused(tmp_path: Path) -> None:
    small, large = jpeg(), saved(Image.new("RGB", (3000, 3000)), "JPEG")
    (tmp_path / "in").write_bytes(small[:-2] + large[2:])
    outcome = run(tmp_path / "in", tmp_path / "out", "png")
    assert outcome.error == "it can't be decoded: its data are damaged"
