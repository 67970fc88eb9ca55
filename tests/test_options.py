from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from poolcli import cli, formats
from poolcli.formats import saving
from poolcli.options.types import Extent, Padding, SaveOption
from tests.conftest import Run

VERBS = ["max", "min", "avg"]
NUMBERS = st.integers(1, 999_999_999)
NOT_NUMBERS = [
    *("", "x", "abc", "2x", "x2", "2x2x2", "-1", "+2", "1.5", "1e3", "2X3", "2×3", "2,3"),
    *(" 2", "2 ", "2 x3", "2\n", "1_0", "²", "٢", "２", "9" * 10, "nan", "None", "\x1b[31m"),
]


def commands() -> dict[str, click.Command]:
    return dict(cli.group.commands)


def options(verb: str) -> list[click.Option]:
    return [one for one in commands()[verb].params if isinstance(one, click.Option)]


# Sizes, strides, dilations


@given(width=NUMBERS, height=NUMBERS)
def test_an_extent_is_typed_width_by_height_and_kept_height_first(width: int, height: int) -> None:
    assert Extent().convert(f"{width}x{height}", None, None) == (height, width)


@given(NUMBERS)
def test_one_number_serves_both_axes(number: int) -> None:
    assert Extent().convert(str(number), None, None) == (number, number)
    assert Padding().convert(str(number), None, None) == (number, number)


@pytest.mark.parametrize("text", [*NOT_NUMBERS, "0", "0x10", "2x0", "000", "1,2,3,4", "same"])
def test_an_extent_refuses_anything_else(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        Extent().convert(text, None, None)

    assert repr(text) in caught.value.message


# Padding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, 0)),
        ("3", (3, 3)),
        ("1x2", (2, 1)),
        ("0x5", (5, 0)),
        ("1,2,3,4", ((2, 4), (1, 3))),
        ("0,0,0,0", ((0, 0), (0, 0))),
        ("same", "same"),
        ("same-lower", "same_lower"),
        ("valid", "valid"),
    ],
)
def test_padding_is_typed_as_images_are_and_kept_height_first(text: str, expected: Any) -> None:
    assert Padding().convert(text, None, None) == expected


@given(left=NUMBERS, top=NUMBERS, right=NUMBERS, bottom=NUMBERS)
def test_four_sides_are_left_top_right_bottom(left: int, top: int, right: int, bottom: int) -> None:
    text = f"{left},{top},{right},{bottom}"

    assert Padding().convert(text, None, None) == ((top, bottom), (left, right))


@pytest.mark.parametrize(
    "text",
    [
        *NOT_NUMBERS,
        *("1,2,3", "1,2,3,4,5", "1,2,3,", ",,,", "1,-2,3,4", "1x2,3x4", "1, 2, 3, 4"),
        *("SAME", "same_lower", "half", "full", " same"),
    ],
)
def test_padding_refuses_anything_else(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        Padding().convert(text, None, None)

    assert repr(text) in caught.value.message


# Save options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimize=yes", ("optimize", "yes")),
        ("subsampling=4:2:0", ("subsampling", "4:2:0")),
        ("method=", ("method", "")),
        ("method=a=b", ("method", "a=b")),
    ],
)
def test_a_save_option_is_a_key_and_a_value(text: str, expected: tuple[str, str]) -> None:
    assert SaveOption().convert(text, None, None) == expected


@pytest.mark.parametrize(
    "text", ["", "optimize", "=yes", "nothing=1", "Optimize=yes", "save_all=1"]
)
def test_a_save_option_refuses_anything_else(text: str) -> None:
    with pytest.raises(click.BadParameter, match="optimize"):
        SaveOption().convert(text, None, None)


def test_the_help_lists_every_save_option_of_every_format() -> None:
    (option,) = (one for one in options("max") if "--save-option" in one.opts)
    help_text = str(option.help)

    for form in formats.FORMATS:
        for key, kind in form.options.items():
            assert f"{key}={saving.describe(kind)}" in help_text.partition(f"{form.name}: ")[2]


# The whole


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb: str) -> None:
    assert options(verb)
    for option in options(verb):
        assert option.help, option.opts
        assert option.help.endswith((".", ").")), option.opts
        assert option.help[0].isupper(), option.opts


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_shown_once_in_the_help(verb: str) -> None:
    command = commands()[verb]
    shown = command.get_help(click.Context(command, info_name=verb))

    for option in options(verb):
        names = [*option.opts, *option.secondary_opts]
        rows = [row for row in shown.splitlines() if row.lstrip().startswith(names[0])]
        assert len(rows) == 1, names
        assert all(name in rows[0] for name in names)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_docstring_with_examples(verb: str) -> None:
    text = str(commands()[verb].help)

    assert text.count(f"poolcli {verb} ") >= 2
    assert "| poolcli" in text


def test_the_verbs_share_all_options_but_those_of_averages() -> None:
    named = {verb: {option.name for option in options(verb)} for verb in VERBS}

    assert set(commands()) == set(VERBS)
    assert named["max"] == named["min"] < named["avg"]
    assert {"count_include_pad", "divisor_override"} <= named["avg"] - named["max"]


def test_no_two_options_share_a_name() -> None:
    names = [name for one in options("avg") for name in (*one.opts, *one.secondary_opts)]

    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "names",
    [
        *("-k --size", "-s --stride", "-p --padding", "-d --dilation", "--ceil-mode"),
        *("--count-include-pad", "--divisor-override", "--alpha", "--nan", "--background"),
        *("--format", "--quality", "--compress-level", "--save-option", "--strip", "--preserve"),
        *("-f --overwrite", "--skip-existing", "--max-pixels"),
        *("-q --quiet", "-v --verbose", "--json", "-n --dry-run", "--no-progress", "--color"),
    ],
)
def test_the_documented_options_exist(names: str) -> None:
    assert any(set(names.split()) <= {*one.opts, *one.secondary_opts} for one in options("avg"))


# The environment


@pytest.mark.parametrize(
    ("variable", "flags", "code"),
    [
        ("15", (), 1),
        ("16", (), 0),
        ("15", ("--max-pixels", 16), 0),
        ("16", ("--max-pixels", 15), 1),
        ("abc", (), 2),
        ("0", (), 2),
    ],
)
def test_the_environment_limits_pixels_and_flags_win(
    run: Run, tmp_path: Path, variable: str, flags: tuple[object, ...], code: int
) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "in.png")
    limited = {"POOLCLI_MAX_PIXELS": variable}
    done = run("max", "-k", 2, *flags, "in.png", "out.png", environment=limited)

    assert done.returncode == code
    assert os.path.exists(tmp_path / "out.png") is (code == 0)


def test_a_bad_word_for_colour_in_the_environment_is_refused(run: Run) -> None:
    done = run("max", "-k", 2, "in.png", "out.png", environment={"POOLCLI_COLOR": "loud"})

    assert done.returncode == 2
    assert b"'loud'" in done.stderr


def test_the_environment_never_sets_a_pixel(run: Run, tmp_path: Path, samples: Path) -> None:
    words = ("max", "-k", 2, "-q", samples / "logo.png")
    numbers = ("SIZE", "MAX_SIZE", "STRIDE", "MAX_STRIDE", "PADDING", "MAX_PADDING", "DILATION")
    tempting = {f"POOLCLI_{name}": "1" for name in numbers} | {"POOLCLI_MAX_ALPHA": "straight"}
    run(*words, "plain.png")
    run(*words, "out.png", environment=tempting)

    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
