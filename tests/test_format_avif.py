"""AVIF: depth, channels and durations as its boxes state them, and the boxes themselves."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import imagecodecs
import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

from poolcli.errors import PoolError
from poolcli.formats import extras
from poolcli.formats.boxes import find_boxes, read_boxes, read_items
from poolcli.formats.coded_size import av1_sizes
from poolcli.picture import Metadata, Stored, turned
from tests.exif_support import TURN, XMP, exif_block, number
from tests.jobs import run, work
from tests.pictures import (
    decoded,
    encoded,
    first_info,
    noise,
    opened,
    picture,
    pictures_in,
    ramp,
    reader_of,
    saved,
    written,
)
from tests.support.boxes import with_item
from tests.support.tools import needs

FFPROBE, AVIFENC = shutil.which("ffprobe") or "", shutil.which("avifenc") or ""
CASES = Path(__file__).parent / "cases"


def animation(durations: list[int], mode: str = "RGB") -> bytes:
    colours = [(7 * n, 9, 9, 99)[: len(mode)] for n in range(len(durations))]
    first, *others = (Image.new(mode, (12, 8), colour) for colour in colours)
    more: dict[str, Any] = {"append_images": others, "duration": durations, "speed": 10}
    return saved(first, "AVIF", save_all=True, **more)


# Depth


def deep(bits: int, channels: int = 3) -> tuple[bytes, Any]:
    """A lossless AVIF of 10 or 12 bits, which Pillow can't write."""
    array = np.random.default_rng(bits).integers(0, 1 << bits, (24, 32, channels), np.uint16)
    array = array[..., 0] if channels == 1 else array
    return bytes(imagecodecs.avif_encode(array, level=100, bitspersample=bits)), array


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [10, 12])
def test_more_than_8_bits_are_read_in_their_depth(bits: int, channels: int, tmp_path: Path) -> None:
    octets, array = deep(bits, channels)
    if channels == 2:
        array, channels = array[..., [0, 0, 0, 1]], 4
    found = decoded(octets)
    assert found.info.stored == Stored("unsigned", bits, 2**bits - 1, channels)
    assert found.info.maxval == 2**bits - 1
    np.testing.assert_array_equal(found.array, array)
    (tmp_path / "in").write_bytes(octets)
    done = run(tmp_path / "in", tmp_path / "out", "webp", work(size=1, allow_depth_loss=True))
    assert (done.status, done.warnings) == ("done", ["its samples are rounded to 8 bits"])


def test_without_the_extra_more_than_8_bits_are_refused_or_rounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "import_module", Mock(side_effect=ImportError))
    (tmp_path / "in").write_bytes(deep(10)[0])
    refused = run(tmp_path / "in", tmp_path / "out", "png", work(size=1))
    assert refused.error == "its 10-bit samples can only be read as 8 bits"
    assert refused.remedy == (
        "install the extra [deep] of poolcli-image, or give --allow-depth-loss"
    )
    done = run(tmp_path / "in", tmp_path / "out", "png", work(size=1, allow_depth_loss=True))
    assert (done.status, done.warnings) == ("done", ["its samples are rounded to 8 bits"])


# Files of another encoder: samples (41·y + 13·x + 67·c) mod 256 of 32×48 pixels


def given() -> Any:
    y, x, c = np.indices((32, 48, 3))
    return (41 * y + 13 * x + 67 * c) % 256


def test_the_clean_aperture_is_cut_out_before_turning_and_mirroring() -> None:
    found = decoded((CASES / "avif-clap.avif").read_bytes())
    np.testing.assert_array_equal(found.array, given()[8:24, 12:36])
    found = decoded((CASES / "avif-clap-irot-imir.avif").read_bytes())
    # First a quarter to the left, then top and bottom are swapped.
    np.testing.assert_array_equal(found.array, np.rot90(given()[10:26, 8:32])[::-1])


def test_a_picture_that_follows_changes_neither_depth_nor_pixels() -> None:
    shallow, deep = (CASES / f"avif-{name}.avif" for name in ("clap", "10-bit"))
    found = decoded(shallow.read_bytes() + deep.read_bytes())
    np.testing.assert_array_equal(found.array, decoded(shallow.read_bytes()).array)
    assert decoded(deep.read_bytes() + shallow.read_bytes()).info.maxval == 1023


def test_a_10_bit_file_of_another_encoder_is_read_in_its_depth() -> None:
    found = decoded((CASES / "avif-10-bit.avif").read_bytes())
    assert found.info.maxval == 1023
    assert np.abs(found.array - given() * 1023 / 255).max() <= 2


def test_a_gain_map_is_told_to_be_left_out() -> None:
    octets = (CASES / "avif-clap.avif").read_bytes()
    assert not decoded(octets).metadata.warnings
    found = decoded(with_item(octets, b"tmap"))
    assert found.metadata.warnings == ("it is written without its gain map",)


def test_an_aperture_outside_of_the_picture_is_refused() -> None:
    octets = (CASES / "avif-clap.avif").read_bytes()
    at = octets.index(b"clap") + 4
    for field, value in ((0, 49), (1, 0), (4, 13), (0, 0)):
        changed = bytearray(octets)
        struct.pack_into(">I", changed, at + 4 * field, value)
        with pytest.raises(PoolError, match="its clean aperture lies outside of the picture"):
            reader_of(bytes(changed))


# Colour and size


@needs("avifenc")
def test_a_colour_encoding_unlike_srgb_goes_to_png(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(saved(Image.fromarray(ramp()), "PNG"))
    for numbers, chunks in (("9/16/9", ((b"cICP", b"\x09\x10\0\1"),)), ("1/13/6", ())):
        command = [AVIFENC, "--cicp", numbers, "in.png", "out.avif"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        found = decoded((tmp_path / "out.avif").read_bytes())
        assert found.metadata.colour == chunks
        assert (b"cICP\x09\x10\0\1" in encoded(found, "png")) == bool(chunks)


def test_a_size_that_differs_from_the_coded_one_is_refused_before_decoding() -> None:
    octets = saved(Image.new("RGB", (1100, 1000)), "AVIF", speed=10)
    stated = struct.pack(">II", 1100, 1000)
    assert octets.count(stated) == 1
    small = octets.replace(stated, struct.pack(">II", 16, 16))
    with pytest.raises(PoolError, match="it states 16×16 pixels, but 1000×1100 are coded"):
        reader_of(small)


def test_the_coded_sizes_of_stills_alpha_and_frames_are_found() -> None:
    still = saved(Image.new("RGBA", (50, 40), (1, 2, 3, 4)), "AVIF", speed=10)
    moving = animation([10, 20, 30], "RGBA")
    for octets, size, least in (
        (still, (40, 50), 2),
        (moving, (8, 12), 2),
        (deep(12)[0], (24, 32), 1),
    ):
        stream = BytesIO(octets)
        _, items = read_items(stream)
        found = list(av1_sizes(stream, items.values()))
        assert len(found) >= least
        assert set(found) == {size}


def test_coded_data_is_parsed_once_however_many_items_name_it() -> None:
    stream = BytesIO(saved(Image.new("RGB", (50, 40)), "AVIF", speed=10))
    _, items = read_items(stream)
    (item,) = (one for one in items.values() if one.kind == b"av01")
    once = list(av1_sizes(stream, [item]))
    assert list(av1_sizes(stream, [item] * 1000)) == once
    ((begin, stop),) = item.extents
    many = [item._replace(extents=[(begin, stop), (at, at)]) for at in range(1000)]
    with pytest.raises(PoolError, match="coded data are damaged"):
        list(av1_sizes(stream, many))


def test_tracks_may_state_positions_in_32_and_64_bits() -> None:
    stream = BytesIO(saved(Image.new("RGB", (50, 40)), "AVIF", speed=10))
    ((begin, stop),) = (
        one.extents[0] for one in read_items(stream)[1].values() if one.kind == b"av01"
    )
    data = stream.getvalue()[begin:stop]
    file = box(b"ftyp", b"avis" + bytes(4)) + box(b"mdat", data)
    at, tracks = len(file) - len(data), b""
    for name, code in ((b"co64", ">IIQ"), (b"stco", ">III")):
        tables = box(b"stsz", struct.pack(">IIII", 0, 0, 1, len(data)))
        tables += box(b"stsc", struct.pack(">5I", 0, 1, 1, 1, 1))
        tables += box(name, struct.pack(code, 0, 1, at))
        for outer in (b"stbl", b"minf", b"mdia", b"trak"):
            tables = box(outer, tables)
        tracks += tables
    assert list(av1_sizes(BytesIO(file + box(b"moov", tracks)), [])) == [(40, 50)] * 2


def test_a_depth_is_stated_by_its_box_alone() -> None:
    exif = Image.Exif()
    exif[271] = "av1C\x81\x7f\x7f"
    octets = saved(Image.new("RGB", (4, 4)), "AVIF")
    for one in (octets, saved(Image.new("RGB", (4, 4)), "AVIF", exif=exif)):
        assert first_info(one).stored.bits == 8
    with pytest.raises(PoolError):  # libavif wants the box too
        reader_of(octets.replace(b"av1C", b"free"))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_channels_are_those_of_the_boxes(mode: str, channels: int) -> None:
    for octets in (animation([10, 20], mode), saved(Image.new(mode, (4, 4)), "AVIF")):
        info = first_info(octets)
        assert info.stored == Stored("unsigned", 8, 255, channels)
        assert (info.mode, info.encoding.lossy) == (mode, True)


# Animations and orientation


@pytest.mark.parametrize("timescale", [None, 30, 90_000])
@pytest.mark.parametrize("durations", [[10, 20], [40] * 5, [1, 1, 1000, 7, 7, 7], [5, 100_000]])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_durations_are_those_of_decoding(
    durations: list[int], mode: str, timescale: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = bytearray(animation(durations, mode))
    for place, _ in find_boxes(BytesIO(octets), b"moov", b"trak", b"mdia", b"mdhd"):
        version = octets[place]
        if timescale is not None:
            struct.pack_into(">I", octets, place + (20 if version else 12), timescale)
    image, seen = opened(bytes(octets)), []
    for at in range(len(durations)):
        image.seek(at)
        image.load()
        seen.append(image.info["duration"])
    monkeypatch.setattr(AvifImagePlugin.AvifImageFile, "load", None)  # nothing is decoded
    reader = reader_of(bytes(octets))
    assert [frame.info.duration for frame in reader.frames()] == seen
    assert seen == durations or timescale is not None
    assert reader.count == len(durations)


@pytest.mark.parametrize(
    ("entries", "wanted"),
    [
        *(([], [1, 1, 1]), ([(1, 10)], [10, 10, 10]), ([(2, 10), (1, 20)], [10, 10, 20])),
        *(([(99, 5)], [5, 5, 5]), ([(0, 7), (1, 8)], [8, 8, 8])),
    ],
)
def test_frames_beyond_the_table_last_as_its_last(entries: Any, wanted: list[int]) -> None:
    octets = bytearray(animation([1, 2, 3]))
    ((begin, stop),) = find_boxes(BytesIO(octets), *b"moov trak mdia minf stbl stts".split())
    body = struct.pack(">II", 0, len(entries)) + b"".join(struct.pack(">II", *e) for e in entries)
    assert len(body) + 8 <= stop - begin or len(body) == stop - begin
    rest = stop - begin - len(body)
    filler = struct.pack(">I4s", rest, b"free").ljust(rest, b"\0") if rest else b""
    octets[begin:stop] = body + filler
    struct.pack_into(">I", octets, begin - 8, len(body) + 8)
    found = [frame.info.duration for frame in reader_of(bytes(octets)).frames()]
    assert found == wanted


@needs("ffprobe")
def test_ffprobe_sees_the_frames_at_their_times(tmp_path: Path) -> None:
    array = noise("RGB", (16, 16))
    frames = [picture(array, "RGB", duration=Fraction(one)) for one in (40, 100, 20)]
    (tmp_path / "out.avif").write_bytes(written(frames, "avif")[0])
    words = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time"]
    done = subprocess.run(
        [FFPROBE, *words, "-of", "csv=p=0", tmp_path / "out.avif"], capture_output=True, check=True
    )
    times = sorted({float(one.strip(b",")) for one in done.stdout.split()})
    assert times == pytest.approx([0, 0.04, 0.14])


def test_the_number_of_plays_is_told_to_be_lost_where_there_is_one() -> None:
    frames = [picture(ramp(), "RGB", Metadata(plays=3), duration=Fraction(9))] * 2
    for_ever = [one._replace(metadata=Metadata()) for one in frames]
    for count in (1, 2):
        told = [one for one in written(frames[:count], "avif")[1] if "plays" in one]
        wanted = "the number of plays is 3, and AVIF can state only endless repetition"
        assert told == [wanted] * (count > 1)
    assert written(for_ever, "avif")[1] == ["AVIF is written with loss"]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["box", "XMP"])
def test_a_picture_is_turned_upright(turn: int, kind: str) -> None:
    image = Image.fromarray(ramp(24, 40))
    exif, xmp = exif_block(number(TURN, turn)), XMP % b" tiff:Orientation='%d'" % turn
    octets = saved(image, "AVIF", **({"exif": exif} if kind == "box" else {"xmp": xmp}))
    found = decoded(octets)
    np.testing.assert_array_equal(found.array, turned(np.asarray(opened(octets)), turn))
    result = encoded(found, "avif")
    assert opened(result).getexif().get(TURN, 1) == 1
    assert next(pictures_in(result)).info.notes == ()


def test_an_animation_holds_no_time_of_its_making() -> None:
    frames = [picture(noise("RGBA", (9, 9), seed), "RGBA", duration=Fraction(9)) for seed in (1, 2)]
    octets = written(frames, "avif")[0]
    assert [octets.count(name) for name in (b"mvhd", b"tkhd", b"mdhd")] == [1, 2, 2]  # with alpha
    for found in re.finditer(b"mvhd|tkhd|mdhd", octets):
        version = found.end()
        assert octets[version] == 1
        assert octets[version + 4 : version + 20] == bytes(16)
    with Image.open(BytesIO(octets)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]  # animations have it


# Boxes


def box(name: bytes, content: bytes, *, wide: bool = False, open_ended: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, name, len(content) + 16) + content
    return struct.pack(">I4s", 0 if open_ended else len(content) + 8, name) + content


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("open_ended", [False, True])
def test_boxes_are_found_at_their_path_alone(wide: bool, open_ended: bool) -> None:
    wanted = box(b"av1C", b"one", wide=wide) + box(b"av1C", b"two")
    meta = bytes(4) + box(b"free", wanted) + box(b"iprp", box(b"ipco", wanted, wide=wide))
    octets = box(b"ftyp", b"avif") + box(b"meta", meta, wide=wide, open_ended=open_ended)
    path = (b"meta", b"iprp", b"ipco", b"av1C")
    assert list(read_boxes(BytesIO(octets), *path)) == [b"one", b"two"]
    assert list(read_boxes(BytesIO(octets), b"av1C")) == []
    assert [stop for _, stop in find_boxes(BytesIO(octets), b"meta")] == [len(octets)]


def test_boxes_that_are_cut_off_or_too_long_end_the_search() -> None:
    sizes = (struct.pack(">I", 3), struct.pack(">I", 2**32 - 1))
    wide = (b"", struct.pack(">Q", 3), struct.pack(">Q", 2**64 - 1))
    broken = [b"", b"\0\0\0", box(b"meta", b"\0\0"), *(size + b"meta" for size in sizes)]
    for octets in (*broken, *(struct.pack(">I4s", 1, b"meta") + one for one in wide)):
        assert list(read_boxes(BytesIO(octets), b"meta", b"iprp")) == []


def test_every_beginning_of_a_file_can_be_searched() -> None:
    octets = animation([10, 20])
    path = b"moov trak mdia minf stbl stsd av01 av1C".split()
    whole = list(read_boxes(BytesIO(octets), *path))
    assert len(whole) == 1
    for cut in range(len(octets)):
        found = list(read_boxes(BytesIO(octets[:cut]), *path))
        assert all(whole[0].startswith(one) for one in found)
