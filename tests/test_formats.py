"""The table of formats, and the questions asked of it."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from poolcli import formats
from poolcli.errors import PoolError
from poolcli.formats import FORMATS, by_name, by_suffix
from poolcli.formats.row import Format, OptionKind
from poolcli.formats.saving import Saving, describe, parse_option
from poolcli.picture import MODES, Metadata
from tests.colour_oracle import FULL, SHALLOW, VISIBLE

ANY = pytest.mark.parametrize("target", FORMATS, ids=lambda one: one.name)
OPTIONS = ("--background", "--allow-depth-loss")
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"]) - {"test", "dev"}


def refusal_of(target: Format, mode: str, *, allowed: bool = False) -> PoolError:
    with pytest.raises(PoolError, match="can't hold") as refusal:
        target.check_rounding(mode, allowed=allowed, samples=MODES[mode].title)
    return refusal.value


def test_no_two_formats_share_a_name_or_a_suffix_and_every_mode_has_one() -> None:
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    written = [one for one in FORMATS if one.modes]
    assert len(set(suffixes)) == len(suffixes)
    assert len({one.name for one in FORMATS}) == len(FORMATS)
    assert [one.name for one in written] == list(formats.NAMES)
    assert formats.all_suffixes().split() == [one.suffixes[0] for one in written]
    assert {mode for one in FORMATS for mode in one.modes} == set(MODES)


@ANY
def test_a_format_is_found_by_its_name_and_by_its_suffixes_in_any_case(target: Format) -> None:
    assert by_name(target.name) is target
    assert target.suffixes
    for suffix in target.suffixes:
        assert suffix == suffix.lower()
        assert suffix.rfind(".") == 0
        assert by_suffix(suffix) is by_suffix(suffix.upper()) is target


@pytest.mark.parametrize("suffix", ["", ".", "png", ".svg", ".png ", ".mpx", ".eps"])
def test_any_other_suffix_means_no_format(suffix: str) -> None:
    assert by_suffix(suffix) is None


@ANY
def test_no_mode_is_stored_in_one_that_holds_less(target: Format) -> None:
    grey, kept = {"1", "L", "LA"}, set(MODES) - {"1", "L", "LA", "RGB", "RGBA"}
    for mode, stored in target.modes.items():
        assert (mode in FULL) == (stored in FULL)
        assert (stored == mode) if mode in kept else (stored not in kept)
        assert mode in grey or stored not in grey
        assert stored != "1" or mode == "1"


@ANY
def test_a_row_names_nothing_that_is_not_known_elsewhere(target: Format) -> None:
    assert set(target.modes.values()) <= set(MODES)
    assert set(target.metadata) <= {*Metadata._fields, "nodata"}
    if target.extra is not None:
        assert target.extra.name in EXTRAS
        assert target.extra.modes <= set(target.modes)
    module = import_module(target.module, "poolcli.formats")
    assert callable(module.read)
    assert hasattr(module, "write") == bool(target.modes)


@pytest.mark.parametrize(
    "start", [b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF", b"8BPS", b"P7 ", b"<svg", b"", b"\0" * 64]
)
def test_what_begins_like_no_format_is_refused_by_naming_those_that_are_read(start: bytes) -> None:
    with pytest.raises(PoolError, match=r"no picture of a known format|it is text") as refusal:
        formats.by_content(start)
    titles = ", ".join(one.title for one in FORMATS if one.signature)
    assert refusal.value.remedy == f"give {titles}"


def test_no_start_belongs_to_two_formats() -> None:
    starts = [
        *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\n\r\0\0WEBP", b"II*\0", b"MM\0*"),
        *(b"II+\0", b"GIF89a", b"GIF87a", b"BM", b"P1\n", b"P6#", b"Pf\n", b"\x93NUMPY"),
        *(b"P7\n", b"PF\n"),
        *(b"\0\0\0\x20ftypavif", b"\0\0\0\x20ftypavis", b"\xff\x0a\0", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ]
    for start in starts:
        found = [one for one in FORMATS if one.signature and re.match(one.signature, start, re.S)]
        assert [one.name for one in found] == [formats.by_content(start).name], start


@ANY
def test_a_mode_that_would_lose_something_is_refused_with_remedies_that_help(
    target: Format,
) -> None:
    for mode in set(MODES) - set(target.modes):
        refusal = refusal_of(target, mode)
        assert target.title in refusal.message
        assert MODES[mode].title in refusal.message
        words = refusal.remedy.replace(",", "").split()
        advised = [by_suffix(word) for word in words if word.startswith(".")]
        assert advised
        assert all(one is not None and mode in one.modes for one in advised)
        flat = VISIBLE.get(mode, mode)
        ways = {
            OPTIONS[:1]: flat != mode and flat in target.modes,
            OPTIONS[1:]: SHALLOW.get(mode) in target.modes,
            OPTIONS: flat != mode and SHALLOW.get(flat) in target.modes,
        }
        useful = {option for options, helps in ways.items() if helps for option in options}
        assert {one for one in OPTIONS if one in str(refusal)} == useful


@ANY
def test_a_depth_is_given_up_only_where_it_may_be_and_helps(target: Format) -> None:
    for mode in set(MODES) - set(target.modes):
        if SHALLOW.get(mode) in target.modes:
            target.check_rounding(mode, allowed=True)
        else:
            refusal = refusal_of(target, mode, allowed=True)
            assert mode in SHALLOW or OPTIONS[1] not in refusal.remedy


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("jpeg", "RGBA", "JPEG can't hold an RGB picture with alpha; flatten"),
        ("bmp", "I;16", "BMP can't hold a 16-bit grey picture; give --allow-depth-loss"),
        ("png", "F", "PNG can't hold 1 channel of float32; write .tif or .pfm"),
        ("png", "I", "PNG can't hold a 32-bit integer picture; write .tif"),
        ("pbm", "L", "PBM can't hold an 8-bit grey picture; write .png"),
    ],
)
def test_a_refusal_tells_what_and_what_to_do(name: str, mode: str, words: str) -> None:
    refusal = refusal_of(by_name(name), mode)
    assert str(refusal).startswith(words)
    assert name != "pbm" or ".pgm" in refusal.remedy.split()


def test_the_largest_side_is_that_of_the_specification() -> None:
    sides = {one.name: one.largest_side for one in FORMATS}
    assert (sides["jpeg"], sides["webp"], sides["gif"]) == (65500, 16383, 65535)
    by_name("png").check_result("RGB", 2**31, 2**31)
    for height, width in ((16384, 1), (1, 16384)):
        with pytest.raises(PoolError, match="at most 16383 pixels a side") as refusal:
            by_name("webp").check_result("RGB", height, width)
        assert f"{height}×{width}" in refusal.value.message


COMPRESSIONS = ("none", "lzw")
WRONG: dict[OptionKind, tuple[str, list[str]]] = {
    range(10): ("0-9", ["", " ", "5.0", "+5", "-0", "0x5", "1_0", "٣", "²", "yes", "5 6"]),
    range(3, 8): ("3-7", ["2", "8", "-3", "300"]),
    COMPRESSIONS: ("none|lzw", ["", "lz", "none|lzw", "raw"]),
    bool: ("yes|no", ["", "on", "2", "maybe", "y"]),
}


@pytest.mark.parametrize("kind", WRONG, ids=str)
def test_a_value_of_another_kind_is_refused_with_those_that_are_taken(kind: OptionKind) -> None:
    words, texts = WRONG[kind]
    assert describe(kind) == words
    for text in texts:
        with pytest.raises(PoolError, match=re.escape(f"option is '{text}'; give {words}")):
            parse_option("option", text, kind)


@pytest.mark.parametrize(
    ("kind", "texts", "value"),
    [
        (range(3, 8), ["3", " 3\n"], 3),
        (range(3, 8), ["7"], 7),
        (COMPRESSIONS, ["lzw", "LZW", " Lzw "], "lzw"),
        (bool, ["yes", "true", "1", "YES"], True),
        (bool, ["no", "False", "0"], False),
    ],
)
def test_a_value_is_taken_with_spaces_and_in_any_case(
    kind: OptionKind, texts: list[str], value: object
) -> None:
    assert {parse_option("option", text, kind) for text in texts} == {value}


def test_options_that_fit_become_arguments() -> None:
    saving = Saving(quality=0, options=(("progressive", "yes"), ("subsampling", "4:2:2")))
    wanted = {"quality": 0, "progressive": True, "subsampling": "4:2:2"}
    assert list(saving.misfits(by_name("jpeg"))) == []
    assert saving.for_format(by_name("jpeg")) == wanted
    assert Saving(compress_level=0).for_format(by_name("png")) == {"compress_level": 0}


def test_options_that_do_not_fit_are_named_as_typed_and_left_out() -> None:
    saving = Saving(quality=70, compress_level=3, options=(("method", "4"), ("speed", "2")))
    flags = ["--quality", "--compress-level", "--save-option method", "--save-option speed"]
    assert list(saving.misfits(by_name("bmp"))) == flags
    assert saving.for_format(by_name("bmp")) == {}
    assert list(saving.misfits(by_name("webp"))) == flags[1::2]
    assert saving.for_format(by_name("webp")) == {"quality": 70, "method": 4}
    with pytest.raises(PoolError, match="--save-option method is '9'; give 0-6"):
        Saving(options=(("method", "9"),)).for_format(by_name("webp"))


@ANY
def test_quality_and_compress_level_fit_where_the_table_says(target: Format) -> None:
    has_quality, has_level = bool(target.quality), "compress_level" in target.options
    assert has_quality == (target.name in ("jpeg", "webp", "avif", "jxl"))
    assert has_level == (target.name == "png")
    assert list(Saving(quality=0).misfits(target)) == ["--quality"] * (not has_quality)
    assert list(Saving(compress_level=0).misfits(target)) == ["--compress-level"] * (not has_level)
    assert list(Saving().misfits(target)) == []
    assert Saving().for_format(target) == {}
