"""What every format keeps to, asked of each row of the registry through the public door."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from poolcli import formats
from poolcli.errors import PoolError
from poolcli.formats import by_content, by_suffix
from poolcli.formats.contract import Limits, check_depth, open_reader, open_writer
from poolcli.formats.row import Format
from poolcli.formats.saving import Saving
from poolcli.picture import ARRAY, MODES, Metadata, Picture
from tests.contract_support import (
    FIELDS,
    ROWS,
    Counting,
    assert_field,
    assert_refused,
    assert_shows,
    each,
    frames_in,
    noisy_in,
    opened_after_headers,
    pairs,
    peak_growth,
    pixels_of,
    plain,
    read_all,
    sequence,
    smooth,
    usual_mode,
    whole_pictures,
)
from tests.jobs import run, work
from tests.pictures import LIMIT, encoded, push, written

pytestmark = pytest.mark.usefixtures("toy_format")
LOSSY = [row for row in ROWS if row.quality]
SHAPES = ((5, 7), (1, 1), (1, 9), (9, 1), (17, 3))
MANY = each(lambda row: row.frames != "one")
MOVING = each(lambda row: row.frames == "animation")


# Pixels


@pairs()
def test_pictures_of_size_1_are_the_same_when_read_again(row: Format, mode: str) -> None:
    for shape in SHAPES:
        wanted = noisy_in(mode, shape)
        octets, notes = written([wanted], row.name)
        (found,) = read_all(octets)
        assert found.info.shape[:2] == shape
        if found.info.encoding.lossy:
            assert found.array.dtype == found.info.dtype
        elif [one for one in notes if "written as" not in one]:  # approximated, and that is told
            octets, notes = written([plain(mode, shape)], row.name)
            assert not [one for one in notes if "written as" not in one]
            assert_shows(read_all(octets)[0], plain(mode, shape))
        else:
            assert_shows(found, wanted)


@pairs(LOSSY)
def test_a_lossy_format_comes_back_close(row: Format, mode: str) -> None:
    wanted = smooth(mode)
    for quality in (None, 90):
        (found,) = read_all(encoded(wanted, row.name, Saving(quality=quality)))
        assert_shows(found, wanted)


STATES_NO_MODE = {"npy"}


@pairs()
def test_samples_are_as_the_row_promises_and_the_header_states(row: Format, mode: str) -> None:
    given = noisy_in(mode)
    (frame,) = frames_in(encoded(given, row.name))
    info, stored, rows = frame.info, frame.info.stored, frame.rows(0, frame.info.shape[0])
    assert not check_depth(info, allow_loss=False)
    assert stored.kind == {"i": "signed", "f": "float"}.get(info.dtype.kind, "unsigned")
    assert stored.maxval == info.maxval
    assert info.maxval.bit_length() <= stored.bits <= 8 * info.dtype.itemsize
    if info.palette is None:
        assert (rows.shape, rows.dtype) == (info.shape, info.dtype)
        assert stored.channels == (info.shape[2] if len(info.shape) == 3 else 1)
    else:
        assert (rows.shape, rows.dtype, stored.channels) == (info.shape[:2], np.dtype(np.uint8), 1)
        assert info.palette.dtype == info.dtype
        assert info.palette.shape == (256, *info.shape[2:])
    promised = row.modes.get(mode, mode)
    if (info.mode, stored.channels, mode) == ("L", 1, "1"):
        return  # palettes hold black and white too
    assert info.dtype == (MODES[promised].dtype or given.info.dtype)
    if row.name in STATES_NO_MODE or (row.quality and promised == "YCbCr"):
        return  # a bare array, or a colour space that every decoder undoes
    assert info.mode == promised
    if mode not in ("1", ARRAY):
        assert info.maxval == given.info.maxval


@each()
def test_rows_in_any_pieces_are_the_whole(row: Format) -> None:
    for pictures in whole_pictures(row):
        octets, _ = written(pictures, row.name)
        wholes = [one.array for one in read_all(octets)]
        for frame, whole in zip(frames_in(octets), wholes, strict=True):
            height = len(whole)
            for step in (1, 2, 3, height):
                pieces = pixels_of(frame, range(step, height, step))
                np.testing.assert_array_equal(pieces, whole)
            for top in range(0, height - 3, 2):  # as windows that overlap are read
                band = frame.rows(top, top + 3)
                band = band if frame.info.palette is None else frame.info.palette[band]
                np.testing.assert_array_equal(band, whole[top : top + 3])


@each()
def test_a_file_is_the_same_in_whatever_bands_it_is_written(row: Format) -> None:
    for pictures in whole_pictures(row):
        one, *others = (written(pictures, row.name, None, step) for step in (None, 1, 2, 3))
        assert others == [one] * 3


@each()
def test_two_outputs_of_one_decode_are_those_of_two_runs(row: Format) -> None:
    for pictures in whole_pictures(row):
        targets = [row, *(one for one in ROWS if one.frames == row.frames)][:3]
        targets = [one for one in targets if all(p.info.mode in one.modes for p in pictures)]
        feed = partial(fed_together, written(pictures, row.name)[0])
        assert feed([targets]) == feed([[one] for one in targets])


def fed_together(octets: bytes, groups: list[list[Format]]) -> list[bytes]:
    """Push every band of one decode to several writers, for each group of them on its own."""
    files = [[BytesIO() for _ in targets] for targets in groups]
    for targets, outputs in zip(groups, files, strict=True):
        reader = opened_after_headers(octets)
        pairs_ = zip(outputs, targets, strict=True)
        writers = [open_writer(file, one, Saving(), reader.count) for file, one in pairs_]
        for frame in reader.frames():
            array = pixels_of(frame)
            for writer in writers:
                writer.begin(frame.info._replace(palette=None), frame.metadata())
            for top, writer in product(range(0, len(array), 4), writers):
                writer.rows(array[top : top + 4])
        for writer in writers:
            writer.finish()
    return [file.getvalue() for outputs in files for file in outputs]


# Headers


@each()
def test_a_file_is_known_by_its_content_and_its_suffix(row: Format) -> None:
    assert by_suffix(row.suffixes[0]) is row
    for pictures in whole_pictures(row):
        octets, _ = written(pictures, row.name)
        assert by_content(octets[: formats.START_BYTES]) is row or not row.signature
        reader = opened_after_headers(octets)
        found = formats.by_name(reader.format)
        assert found.frames == row.frames
        for frame in reader.frames():
            assert frame.info.encoding.format == reader.format
            assert frame.info.mode in found.modes


@each()
def test_streams_are_taken_at_any_position_and_left_open(row: Format) -> None:
    for pictures in whole_pictures(row):
        file = BytesIO()
        push(open_writer(file, row, Saving(), len(pictures)), pictures)
        file.seek(3)
        reader = open_reader(file, Limits(LIMIT))
        assert [pixels_of(one).shape for one in reader.frames()]
        assert not file.closed


FLAT = (1200, 2000)


@each()
def test_headers_are_read_and_bombs_refused_in_little_memory(row: Format, tmp_path: Path) -> None:
    mode, path = usual_mode(row), tmp_path / "in"
    flat = Picture(np.zeros_like(noisy_in(mode, FLAT).array), noisy_in(mode, FLAT).info)
    fast = Saving(options=(("speed", "10"),) if "speed" in row.options else ())
    path.write_bytes(encoded(flat, row.name, fast))
    opened_after_headers(encoded(noisy_in(mode), row.name))  # imports are made
    pixels = FLAT[0] * FLAT[1]

    def look() -> None:
        with path.open("rb") as stream:
            info = next(open_reader(stream, Limits(pixels)).frames()).info
        assert info.shape[:2] == FLAT

    def refuse() -> None:
        with path.open("rb") as stream, pytest.raises(PoolError, match="--max-pixels"):
            _ = [one.info for one in open_reader(stream, Limits(pixels - 1)).frames()]

    for act in (look, refuse):
        assert peak_growth(act) < flat.array.nbytes // 2


@each()
def test_a_header_takes_less_of_a_pipe_than_the_pixels_would(row: Format) -> None:
    octets = encoded(noisy_in(usual_mode(row), (600, 900)), row.name)
    stream = Counting(octets)
    frames = open_reader(stream, Limits(LIMIT)).frames()
    assert next(frames).info.shape[:2] == (600, 900)
    if row.name not in READ_TO_THE_END:
        assert stream.taken < len(octets) / 2


READ_TO_THE_END = {"avif", "webp", "gif"}
"""Their library takes the whole file at once, or their frames are counted one by one: the list
only shrinks."""


# Metadata


@pytest.mark.parametrize("field", FIELDS)
@each()
def test_metadata_is_kept_as_the_row_says_or_told_to_be_lost(row: Format, field: str) -> None:
    name, value = FIELDS[field]
    picture = noisy_in(usual_mode(row))._replace(metadata=Metadata(**{field: value}))
    octets, notes = written([picture], row.name)
    (frame,) = frames_in(octets)
    told = [one for one in notes if name in one]
    # A format without a resolution of its own may state it in EXIF.
    if field in row.metadata or (field == "resolution" and "exif" in row.metadata):
        assert_field(field, frame.metadata(), value)
        assert not told
    else:
        assert not getattr(frame.metadata(), field)
        assert told == [f"{row.title} has no place for the {name}"]


def test_every_field_of_metadata_is_asked_for() -> None:
    assert {*FIELDS, "plays", "place", "placement", "dropped", "warnings"} == set(Metadata._fields)
    assert set().union(*(row.metadata for row in ROWS)) <= {*FIELDS, "place", "nodata"}


@each()
def test_stripping_leaves_the_colour_profile_alone_and_tells_nothing(row: Format) -> None:
    values = {field: value for field, (_, value) in FIELDS.items() if field != "colour"}
    picture = noisy_in(usual_mode(row))._replace(metadata=Metadata(**values))
    octets, notes = written([picture], row.name, Saving(strip=True))
    (frame,) = frames_in(octets)
    kept = {"icc_profile"} & {*row.metadata}
    found = frame.metadata()
    assert {one for one, value in values.items() if getattr(found, one) == value} == kept
    assert found.exif is found.xmp is found.comment is None
    assert len([one for one in notes if "no place" in one]) == 1 - len(kept)


@each()
def test_metadata_may_be_asked_for_before_and_after_the_pixels(row: Format) -> None:
    values = {field: FIELDS[field][1] for field in row.metadata if field in FIELDS}
    picture = noisy_in(usual_mode(row))._replace(metadata=Metadata(**values))
    (frame,), (late,) = (frames_in(encoded(picture, row.name)) for _ in range(2))
    before = frame.metadata()
    for stop in (1, frame.info.shape[0]):
        frame.rows(0, stop)
        assert frame.metadata() == before
    late.rows(0, late.info.shape[0])
    assert late.metadata() == before


# Animations and pages


@MANY
def test_frames_come_in_their_order_with_their_times(row: Format) -> None:
    wanted = sequence(row)
    octets, _ = written(wanted, row.name)
    reader = opened_after_headers(octets)
    assert reader.count == len(wanted)
    found = read_all(octets)
    for one, other in zip(found, wanted, strict=True):
        assert_shows(one, other)
    assert [one.info.duration for one in found] == [one.info.duration for one in wanted]


@MOVING
@pytest.mark.parametrize("plays", [0, 1, 2, 100])
def test_an_animation_is_played_as_often_or_that_is_told(row: Format, plays: int) -> None:
    frames = [one._replace(metadata=Metadata(plays=plays)) for one in sequence(row)]
    octets, notes = written(frames, row.name)
    if [one for one in notes if "plays" in one]:
        assert plays
    else:
        assert {one.metadata.plays for one in read_all(octets)} == {plays}


@MANY
def test_every_frame_is_held_to_the_limit_before_decoding(row: Format, tmp_path: Path) -> None:
    wanted = sequence(row)
    (tmp_path / "in").write_bytes(written(wanted, row.name)[0])
    most = max(one.info.shape[0] * one.info.shape[1] for one in wanted)
    for limit, status in ((most, "planned"), (most - 1, "failed")):
        how = work(size=1, max_pixels=limit, dry_run=True)
        outcome = run(tmp_path / "in", tmp_path / "out", row.name, how)
        assert outcome.status == status, outcome.error
    assert str(outcome.remedy).endswith(" are allowed: raise --max-pixels")


@MOVING
def test_times_do_not_add_up_and_equal_frames_are_shown_as_long_together(row: Format) -> None:
    third = Fraction(1000, 30)  # which formats round
    first, second, *_ = shown = sequence(row)
    frames = [one._replace(info=one.info._replace(duration=third)) for one in shown]
    total = sum(one.info.duration for one in read_all(written(frames, row.name)[0]))
    assert abs(total - 4 * third) <= 10
    frames = [first, first, second, second, second, first]
    found = read_all(written(frames, row.name)[0])
    assert len(found) in (3, 6)
    assert sum(one.info.duration for one in found) == sum(one.info.duration for one in frames)


@MANY
def test_frames_may_be_gone_through_again_after_a_pass_that_was_given_up(row: Format) -> None:
    reader = open_reader(BytesIO(written(sequence(row), row.name)[0]), Limits(LIMIT))
    pixels_of(next(reader.frames()))
    first, *passes = [
        [
            (one.info._replace(palette=None), pixels_of(one).tolist(), one.metadata())
            for one in reader.frames()
        ]
        for _ in range(3)
    ]
    assert passes == [first, first]


@each()
def test_one_frame_can_be_taken_if_it_is_there(row: Format, tmp_path: Path) -> None:
    wanted = whole_pictures(row)[-1]
    source, target, count = tmp_path / "in", tmp_path / "out", len(wanted)
    source.write_bytes(written(wanted, row.name)[0])
    for number in {0, count // 2, count - 1}:
        outcome = run(source, target, row.name, work(size=1, frame=number, overwrite=True))
        assert (outcome.status, outcome.frames, outcome.taken) == ("done", count, 1), outcome.error
        (found,) = read_all(target.read_bytes())
        if count > 1:
            assert_shows(found, wanted[number])
    outcome = run(source, target, row.name, work(frame=count, overwrite=True))
    numbers = f"{count}, numbered 0 to {count - 1}" if count > 1 else "one, with number 0"
    assert_refused(outcome, f"there is no frame {count}: it has {numbers}")


@MANY
def test_frames_of_another_kind_are_refused(row: Format, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(written(sequence(row), row.name)[0])
    for other in ROWS:
        if other.frames != row.frames:
            outcome = run(tmp_path / "in", tmp_path / "out", other.name)
            assert_refused(outcome, f"{other.title} can't hold")
            assert "--frame N" in str(outcome.remedy)
            # Of formats that share their files, the one that holds most is named.
            assert row.suffixes[0] in str(outcome.remedy) or not row.signature
            assert not (tmp_path / "out").exists()
