from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from poolcli import cli, formats
from poolcli.errors import PoolError
from poolcli.formats.saving import describe
from poolcli.methods import METHODS
from poolcli.options.types import Extent, Padding, SaveOption
from tests.support.processes import Run, Words

VERBS = [row.name for row in METHODS]
NUMBERS = st.integers(1, 999_999_999)
NOT_NUMBERS = [
    *("", "x", "abc", "2x", "x2", "2x2x2", "-1", "+2", "1.5", "1e3", "2X3", "2×3", "2,3"),
    *(" 2", "2 ", "2 x3", "2\n", "1_0", "²", "٢", "２", "9" * 10, "nan", "None", "\x1b[31m"),
]


def options(verb: str) -> list[click.Option]:
    return [one for one in cli.group.commands[verb].params if isinstance(one, click.Option)]


# Sizes, strides, dilations, padding


@given(width=NUMBERS, height=NUMBERS, right=NUMBERS, bottom=NUMBERS)
def test_width_first_becomes_height_first(width: int, height: int, right: int, bottom: int) -> None:
    sides = f"{width},{height},{right},{bottom}"  # left, top, right, bottom

    assert Extent().convert(f"{width}x{height}", None, None) == (height, width)
    assert Padding().convert(f"{width}x{height}", None, None) == (height, width)
    assert Padding().convert(sides, None, None) == ((height, bottom), (width, right))
    for kind in (Extent(), Padding()):
        assert kind.convert(str(width), None, None) == (width, width)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, 0)),
        ("0x5", (5, 0)),
        ("0,0,0,0", ((0, 0), (0, 0))),
        ("same", "same"),
        ("same-lower", "same_lower"),
        ("SAME", "same"),
        ("SAME_UPPER", "same"),
        ("same_lower", "same_lower"),
        ("Valid", "valid"),
        ("valid", "valid"),
    ],
)
def test_padding_may_be_nothing_or_a_name(text: str, expected: Any) -> None:
    assert Padding().convert(text, None, None) == expected


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((kind, text) for kind in (Extent(), Padding()) for text in NOT_NUMBERS),
        *((Extent(), text) for text in ("0", "0x10", "2x0", "000", "1,2,3,4", "same")),
        *((Padding(), text) for text in ("1,2,3", "1,2,3,4,5", "1,2,3,", ",,,", "1,-2,3,4")),
        *((Padding(), text) for text in ("1x2,3x4", "1, 2, 3, 4", "SAME_UP", "samelower")),
        *((Padding(), text) for text in ("half", "full", " same")),
    ],
)
def test_extents_and_padding_refuse_anything_else(kind: click.ParamType[Any], text: str) -> None:
    with pytest.raises(PoolError) as caught:
        kind.convert(text, None, None)

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
    for wrong in ("", "optimize", "=yes", "nothing=1", "Optimize=yes", "save_all=1"):
        with pytest.raises(PoolError, match="optimize"):
            SaveOption().convert(wrong, None, None)


def test_the_help_lists_every_save_option_of_every_format() -> None:
    (option,) = (one for one in options("max") if "--save-option" in one.opts)
    help_text = str(option.help)

    for form in formats.FORMATS:
        for key, kind in form.options.items():
            assert f"{key}={describe(kind)}" in help_text.partition(f"{form.name}: ")[2]


# The whole


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_has_a_help_text_and_is_shown_once(verb: str) -> None:
    command = cli.group.commands[verb]
    lines = command.get_help(click.Context(command, info_name=verb)).splitlines()

    assert str(command.help).count(f"poolcli {verb} ") >= 2
    assert "| poolcli" in str(command.help)
    assert options(verb)
    for option in options(verb):
        names = [*option.opts, *option.secondary_opts]
        (row,) = (line for line in lines if line.lstrip().startswith(names[0]))
        assert all(name in row for name in names)
        assert option.help, names
        assert option.help.endswith((".", ").")), names
        assert option.help[0].isupper(), names


def test_the_verbs_share_all_options_but_their_own_and_no_two_share_a_name() -> None:
    named = {verb: {option.name for option in options(verb)} for verb in VERBS}
    shared = set.intersection(*named.values())

    assert set(cli.group.commands) == {*VERBS, "unpool", "help"}
    for row in METHODS:
        assert named[row.name] - shared == {option.key for option in row.options}
        flags = [flag for one in options(row.name) for flag in (*one.opts, *one.secondary_opts)]
        assert sorted(flags) == sorted(set(flags))


# The environment


@pytest.mark.parametrize(
    ("name", "value", "flags", "code", "part"),
    [
        ("MAX_PIXELS", "15", (), 1, "--max-pixels"),
        ("MAX_PIXELS", "16", (), 0, ""),
        ("MAX_PIXELS", "15", ("--max-pixels", 16), 0, ""),
        ("MAX_PIXELS", "16", ("--max-pixels", 15), 1, "--max-pixels"),
        ("MAX_PIXELS", "abc", (), 2, "'abc'"),
        ("MAX_PIXELS", "0", (), 2, "0"),
        ("COLOR", "loud", (), 2, "'loud'"),
    ],
)
def test_the_environment_sets_limits_and_colours_and_flags_win(
    run: Run, tmp_path: Path, name: str, value: str, flags: Words, code: int, part: str
) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "in.png")
    variables = {f"POOLCLI_{name}": value}
    done = run("max", "-k", 2, *flags, "in.png", "out.png", environment=variables)

    assert done.returncode == code
    assert part in done.stderr.decode()
    assert (tmp_path / "out.png").exists() is (code == 0)


def test_the_environment_never_sets_a_pixel(run: Run, tmp_path: Path, samples: Path) -> None:
    words = ("max", "-k", 2, "-q", samples / "logo.png")
    numbers = ("SIZE", "MAX_SIZE", "STRIDE", "MAX_STRIDE", "PADDING", "MAX_PADDING", "DILATION")
    tempting = {f"POOLCLI_{name}": "1" for name in numbers} | {"POOLCLI_MAX_ALPHA": "straight"}
    run(*words, "plain.png")
    run(*words, "out.png", environment=tempting)

    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
