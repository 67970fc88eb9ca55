"""The table of formats, and the questions asked of it."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli import formats
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, Format, OptionKind, by_name, by_suffix
from poolcli.formats.saving import Saving, describe, parse_option
from poolcli.picture import ARRAY, Metadata
from poolcli.picture import MODES as TITLES

ANY = pytest.mark.parametrize("target", FORMATS, ids=lambda one: one.name)
ALPHA = ("LA", "RGBA", "LA;16", "RGBA;16")
OPTIONS = ("--background", "--allow-depth-loss")
OPAQUE = {"LA": "L", "RGBA": "RGB", "LA;16": "I;16", "RGBA;16": "RGB;16"}
SHALLOW = {"I;16": "L", "LA;16": "LA", "RGB;16": "RGB", "RGBA;16": "RGBA"}
SHALLOW |= {"L;M": "L", "RGB;M": "RGB"}
MODES = tuple(TITLES)
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"]) - {"test", "dev"}
REFUSED = [(one, mode) for one in FORMATS for mode in MODES if mode not in one.modes]
UNFIT = pytest.mark.parametrize("target", FORMATS, ids=lambda one: one.name)


def unfit(target: Format) -> list[str]:
    return [mode for one, mode in REFUSED if one is target]


# The table


def test_no_two_formats_share_a_name_or_a_suffix() -> None:
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert len({one.name for one in FORMATS}) == len(FORMATS)
    assert [one.name for one in FORMATS if one.modes] == list(formats.NAMES)


@ANY
def test_suffixes_are_lower_case_and_begin_with_a_dot(target: Format) -> None:
    assert target.suffixes
    assert all(one == one.lower() and one.rfind(".") == 0 for one in target.suffixes)


@ANY
def test_a_format_is_found_by_its_name_and_by_its_suffixes_in_any_case(target: Format) -> None:
    assert by_name(target.name) is target
    for suffix in target.suffixes:
        assert by_suffix(suffix) is by_suffix(suffix.upper()) is target


@pytest.mark.parametrize("suffix", ["", ".", "png", ".svg", ".png ", ".mpo", ".eps"])
def test_any_other_suffix_means_no_format(suffix: str) -> None:
    assert by_suffix(suffix) is None


@ANY
def test_every_mode_of_the_table_is_a_mode_of_pictures(target: Format) -> None:
    assert set(target.modes) | set(target.modes.values()) <= set(MODES)


def test_every_mode_of_pictures_has_a_format() -> None:
    for mode in MODES:
        assert any(mode in one.modes for one in FORMATS)


@ANY
def test_no_mode_is_stored_in_one_that_holds_less(target: Format) -> None:
    grey, kept = {"1", "L", "LA"}, set(MODES) - {"1", "L", "LA", "RGB", "RGBA"}
    for mode, stored in target.modes.items():
        assert (mode in ALPHA) == (stored in ALPHA)
        assert (stored == mode) if mode in kept else (stored not in kept)
        assert mode in grey or stored not in grey
        assert stored != "1" or mode == "1"


@ANY
def test_a_row_says_nothing_that_is_not_known_elsewhere(target: Format) -> None:
    assert set(target.metadata) <= set(Metadata._fields)
    assert target.extra is None or target.extra.name in EXTRAS
    assert target.extra is None or target.extra.modes <= set(target.modes)
    module = import_module(target.module, "poolcli.formats")
    assert callable(module.read)
    assert hasattr(module, "write") == bool(target.modes)


@pytest.mark.parametrize(
    "start", [b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF", b"8BPS", b"P7\n", b"<svg", b"", b"\0" * 64]
)
def test_what_begins_like_no_format_is_refused_by_naming_those_that_are_read(start: bytes) -> None:
    with pytest.raises(PoolError, match="no picture of a known format") as refusal:
        formats.by_content(start)
    titles = ", ".join(one.title for one in FORMATS if one.signature)
    assert refusal.value.remedy == f"give {titles}"


def test_no_start_belongs_to_two_formats() -> None:
    starts = [
        *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\n\r\0\0WEBP", b"II*\0", b"MM\0*"),
        *(b"II+\0", b"GIF89a", b"GIF87a", b"BM", b"P1\n", b"P6#", b"Pf\n", b"\x93NUMPY"),
        *(b"\0\0\0\x20ftypavif", b"\0\0\0\x20ftypavis", b"\xff\x0a\0", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ]
    for start in starts:
        found = [one for one in FORMATS if one.signature and re.match(one.signature, start, re.S)]
        assert [one.name for one in found] == [formats.by_content(start).name], start


def test_all_suffixes_names_every_format_once() -> None:
    written = [one.suffixes[0] for one in FORMATS if one.modes]
    assert formats.all_suffixes().split() == written


# Modes


@UNFIT
def test_a_mode_that_would_lose_something_is_refused_with_a_remedy(target: Format) -> None:
    for mode in unfit(target):
        with pytest.raises(PoolError) as refusal:
            target.check_rounding(mode, allowed=False)
        assert target.title in refusal.value.message
        assert TITLES[mode].title in refusal.value.message
        assert refusal.value.remedy


@UNFIT
def test_the_remedy_names_formats_that_hold_the_mode(target: Format) -> None:
    for mode in unfit(target):
        with pytest.raises(PoolError) as refusal:
            target.check_rounding(mode, allowed=False)
        words = refusal.value.remedy.replace(",", "").split()
        advised = [by_suffix(word) for word in words if word.startswith(".")]
        assert advised
        for one in advised:
            assert one is not None
            assert mode in one.modes


@UNFIT
def test_flattening_and_fewer_bits_are_advised_where_they_help(
    target: Format,
) -> None:
    for mode in unfit(target):
        with pytest.raises(PoolError) as refusal:
            target.check_rounding(mode, allowed=False)
        flat = OPAQUE.get(mode, mode)
        ways = {
            OPTIONS[:1]: flat != mode and flat in target.modes,
            OPTIONS[1:]: SHALLOW.get(mode) in target.modes,
            ("--background", "--allow-depth-loss"): flat != mode
            and SHALLOW.get(flat) in target.modes,
        }
        useful = {option for options, helps in ways.items() if helps for option in options}
        advised = {
            one for one in ("--background", "--allow-depth-loss") if one in str(refusal.value)
        }
        assert advised == useful


@ANY
def test_a_depth_is_given_up_only_where_it_may_be_and_helps(target: Format) -> None:
    for mode, shallow in SHALLOW.items():
        if mode in target.modes:
            continue
        if shallow in target.modes:
            target.check_rounding(mode, allowed=True)
        else:
            with pytest.raises(PoolError, match="can't hold"):
                target.check_rounding(mode, allowed=True)


@pytest.mark.parametrize("mode", ["I", "F", ARRAY])
@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "gif", "bmp", "ppm", "pgm", "avif"])
def test_signed_and_float_samples_have_no_8_bit_form(name: str, mode: str) -> None:
    with pytest.raises(PoolError, match="can't hold") as refusal:
        by_name(name).check_rounding(mode, allowed=True)
    assert "--allow-depth-loss" not in refusal.value.remedy


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("jpeg", "RGBA", "JPEG can't hold an RGB picture with alpha; flatten"),
        (
            "bmp",
            "I;16",
            "BMP can't hold a 16-bit grey picture; give --allow-depth-loss",
        ),
        ("png", "F", "PNG can't hold a floating-point picture; write .tif or .pfm"),
        ("png", "I", "PNG can't hold a 32-bit integer picture; write .tif"),
        ("pbm", "L", "PBM can't hold an 8-bit grey picture; write .png"),
    ],
)
def test_the_refusal_says_what_and_what_to_do(name: str, mode: str, words: str) -> None:
    with pytest.raises(PoolError) as refusal:
        by_name(name).check_rounding(mode, allowed=False)
    assert str(refusal.value).startswith(words)


def test_an_average_of_a_bilevel_picture_is_sent_from_pbm_to_pgm() -> None:
    with pytest.raises(PoolError) as refusal:
        by_name("pbm").check_rounding("L", allowed=False)
    assert ".pgm" in refusal.value.remedy.split()


# Extents


@pytest.mark.parametrize(("name", "side"), [("jpeg", 65500), ("webp", 16383), ("gif", 65535)])
def test_the_largest_side_is_allowed_and_one_more_is_not(name: str, side: int) -> None:
    target = by_name(name)
    target.check_result("RGB", side, side)
    for height, width in ((side + 1, 1), (1, side + 1)):
        with pytest.raises(PoolError, match=f"at most {side} pixels a side") as refusal:
            target.check_result("RGB", height, width)
        assert f"{height}×{width}" in refusal.value.message
        assert refusal.value.remedy


@pytest.mark.parametrize("name", ["png", "tiff", "pgm"])
def test_formats_without_a_limit_allow_any_extent(name: str) -> None:
    assert by_name(name).largest_side is None
    by_name(name).check_result("RGB", 2**31, 2**31)


# Save options


@settings(deadline=None, max_examples=50)
@given(st.integers(-300, 300), st.integers(0, 50), st.integers(1, 60))
def test_a_number_is_taken_within_its_range_only(value: int, start: int, length: int) -> None:
    kind = range(start, start + length)
    if value in kind:
        assert parse_option("level", f" {value}\n", kind) == value
    else:
        with pytest.raises(PoolError, match=f"level is '{value}'; give {start}-{kind[-1]}"):
            parse_option("level", str(value), kind)


@pytest.mark.parametrize("text", ["", " ", "5.0", "+5", "-0", "0x5", "1_0", "٣", "²", "yes", "5 6"])
def test_nothing_else_is_a_number(text: str) -> None:
    with pytest.raises(PoolError, match="give 0-9"):
        parse_option("compress_level", text, range(10))


@pytest.mark.parametrize("text", ["lzw", "LZW", " Lzw "])
def test_a_word_is_taken_in_any_case(text: str) -> None:
    assert parse_option("compression", text, ("none", "lzw")) == "lzw"


@pytest.mark.parametrize("text", ["", "lz", "none|lzw", "raw"])
def test_no_other_word_is_taken(text: str) -> None:
    with pytest.raises(PoolError, match=r"compression is .*; give none\|lzw"):
        parse_option("compression", text, ("none", "lzw"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("true", True),
        ("1", True),
        ("YES", True),
        ("no", False),
        ("False", False),
        ("0", False),
    ],
)
def test_yes_and_no_have_three_spellings(text: str, value: bool) -> None:
    assert parse_option("optimize", text, bool) is value


@pytest.mark.parametrize("text", ["", "on", "2", "maybe", "y"])
def test_anything_else_is_neither_yes_nor_no(text: str) -> None:
    with pytest.raises(PoolError, match=r"give yes\|no"):
        parse_option("optimize", text, bool)


@pytest.mark.parametrize(
    ("kind", "words"), [(range(7), "0-6"), (("none", "lzw"), "none|lzw"), (bool, "yes|no")]
)
def test_a_kind_is_described_in_words(kind: OptionKind, words: str) -> None:
    assert describe(kind) == words


# Saving


def test_options_that_fit_become_arguments() -> None:
    saving = Saving(quality=70, options=(("progressive", "yes"), ("subsampling", "4:2:2")))
    assert list(saving.misfits(by_name("jpeg"))) == []
    assert saving.for_format(by_name("jpeg")) == {
        "quality": 70,
        "progressive": True,
        "subsampling": "4:2:2",
    }


def test_options_that_do_not_fit_are_named_as_typed_and_left_out() -> None:
    saving = Saving(quality=70, compress_level=3, options=(("method", "4"), ("speed", "2")))
    assert list(saving.misfits(by_name("bmp"))) == [
        "--quality",
        "--compress-level",
        "--save-option method",
        "--save-option speed",
    ]
    assert saving.for_format(by_name("bmp")) == {}
    assert list(saving.misfits(by_name("webp"))) == ["--compress-level", "--save-option speed"]
    assert saving.for_format(by_name("webp")) == {"quality": 70, "method": 4}


@ANY
def test_saying_nothing_fits_every_format(target: Format) -> None:
    assert list(Saving().misfits(target)) == []
    assert Saving().for_format(target) == {}


@ANY
def test_quality_and_compress_level_fit_where_the_table_says(target: Format) -> None:
    assert bool(target.quality) == (target.name in ("jpeg", "webp", "avif", "jxl"))
    assert ("compress_level" in target.options) == (target.name == "png")
    assert list(Saving(quality=0).misfits(target)) == ["--quality"] * (not target.quality)
    assert list(Saving(compress_level=0).misfits(target)) == (
        ["--compress-level"] * ("compress_level" not in target.options)
    )


def test_a_quality_of_0_is_a_choice_and_not_silence() -> None:
    assert Saving(quality=0).for_format(by_name("jpeg")) == {"quality": 0}
    assert Saving(compress_level=0).for_format(by_name("png")) == {"compress_level": 0}


def test_a_value_of_the_wrong_kind_is_refused_where_it_fits() -> None:
    saving = Saving(options=(("method", "9"),))
    with pytest.raises(PoolError, match="--save-option method is '9'; give 0-6"):
        saving.for_format(by_name("webp"))
