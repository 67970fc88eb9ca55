"""What is said of command lines that can't be understood."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest
from PIL import Image

from poolcli import cli
from poolcli.methods import METHODS
from poolcli.options.words import VERBS, WORDS
from tests.support.output import only_line
from tests.support.processes import Run

SAID = {
    # values
    "avg -k 2 -j auto": "-j is 'auto'; give a whole number of at least 1",
    "avg -k 2 --jobs auto": "--jobs is 'auto'; give a whole number of at least 1",
    "avg -k 2 --jobs=0": "--jobs is '0'; give a whole number of at least 1",
    "avg -k 2 -qj0": "--jobs is '0'; give a whole number of at least 1",
    "avg -k 2 --timeout 5s": "--timeout is '5s'; give a number of seconds above 0",
    "avg -k 2 --timeout inf": "--timeout is 'inf'; give a number of seconds above 0",
    "avg -k 2x2x2": "-k is '2x2x2'; give N or WxH in whole numbers of at least 1",
    "avg -k 2 --quality 101": "--quality is '101'; give a whole number from 0 to 100",
    "avg -k 2 --alpha none": "--alpha is 'none'; give weighted or straight",
    "avg -k 2 --format heic": "--format is 'heic': HEIC can only be read; give png, ",
    "avg -k 2 --axes XX": "--axes is 'XX', which names width twice; give a letter",
    "avg -k 2 --background nix": "--background is 'nix'; give an opaque colour",
    "avg -k 2 --nodata nan": "--nodata is NaN, which is left out of windows anyway; see --nan",
    "avg --levels 2,2": "--levels is '2,2', which has a level twice; give each level once",
    "avg -k 2 --name {stm}": "--name is '{stm}'; give a file name with no braces but {stem}",
    "avg -k 2 --divisor-override 0": "--divisor-override is '0'; give a whole number of at least 1",
    "median -k 2 --quantile 1.5": "--quantile is '1.5'; give a number from 0 to 1",
    "avg -k 2 --save-option quality=80": "but quality has its own option; give --quality 80",
    "avg -k 2 --save-option x=1": "--save-option is 'x=1'; give KEY=VALUE with one of ",
    # variables
    "POOLCLI_JOBS=x avg -k 2": "POOLCLI_JOBS is 'x'; give a whole number of at least 1",
    "POOLCLI_MAX_PIXELS=1e9 avg -k 2": "POOLCLI_MAX_PIXELS is '1e9'; give a whole number",
    "POOLCLI_TIMEOUT=-1 avg -k 2": "POOLCLI_TIMEOUT is '-1'; give a number of seconds above 0",
    "POOLCLI_COLOR=loud avg -k 2": "POOLCLI_COLOR is 'loud'; give auto, always or never",
    "POOLCLI_PROGRESS=x avg -k 2": "POOLCLI_PROGRESS is 'x'; give 1 or 0",
    # options
    "avg --size": "--size has no value; give N or WxH",
    "avg -k 2 --include": "--include has no value; give GLOB",
    "avg -k 2 --strip=yes": "--strip takes no value; leave the value out",
    "avg -k 2 --verbose=2": "--verbose takes no value; leave the value out",
    "avg -k 9999999999": "-k is '9999999999', which is too large; give at most 999999999",
    "avg --dry -k 2": "no option --dry; did you mean --dry-run?",
    "avg --no -k 2": "no option --no; did you mean --nodata, --no-recursive or --no-progress?",
    "avg -k 2 --method max": "no option --method; the verb names the method: max, min",
    "avg -k 2 --version": "no option --version; poolcli --version tells it",
    "max -k 2 --count-include-pad": "--count-include-pad belongs to avg; leave it out, or use avg",
    "max -k 2 --quantile 1": "--quantile belongs to median; leave it out, or use median",
    "avg -k 2 --resume": "no option --resume; --skip-existing goes on where a run stopped",
    "avg --kernel_size 2": "no option --kernel_size; it is --size here",
    "avg -k 2 --lossless": "no option --lossless; give --save-option lossless=yes|no",
    "avg -k 2 --skip_existing": "no option --skip_existing; give --skip-existing",
    "avg -k 2 --overwite": "no option --overwite; did you mean --overwrite?",
    "avg -k 2 --frobnicate": "no option --frobnicate; see poolcli avg --help",
    "avg -size 2": "no option -size; give --size, with two dashes",
    "avg -resize 50%": "no option -resize; give --size, or",
    "avg -k 2 -r": "no option -r; folders are searched",
    "avg -k 2 -leading.png": "-leading.png: a name that begins with - goes after --; give poolcli",
    "avg -kitten.png": "-kitten.png: a name that begins with - goes after --; give poolcli avg",
    # verbs
    "a.jpg b.jpg": "a.jpg is no verb; name a verb first: poolcli avg --size 2 a.jpg b.jpg",
    "./photos": "./photos is no verb; name a verb first: poolcli avg --size 2 ./photos out.png",
    "--size 2 a.jpg b.jpg": "name a verb first: poolcli avg --size 2 a.jpg b.jpg",
    "--size 2 avg": "--size stands before a verb; options go after the verb: poolcli avg ...",
    "median2 -k 2": "there is no verb 'median2'; did you mean median?",
    "sharpen -k 2": "there is no verb 'sharpen'; there are max, min, avg, median, mode and unpool",
    "mean -k 2": "there is no verb 'mean'; avg does that",
    "MaxPool2d -k 2": "there is no verb 'MaxPool2d'; max does that",
    "help avg max": "Got unexpected extra argument (max); see poolcli help --help",
    "help sharpen": "there is no verb 'sharpen'; there are max, min, avg, median, mode and unpool",
    # exclusions
    "avg -k 2 --fit 9": "-k and --fit exclude each other; give one of them",
    "avg --fit 9 -s 2": "-s has no effect with --fit; leave it out",
    "avg -k 2 -f --skip-existing": "-f and --skip-existing exclude each other; choose one",
    "avg": "no size is given; give --size, --output-size, --fit or --levels",
}


@pytest.mark.parametrize("given", SAID)
def test_a_command_line_is_refused_in_words_that_help(run: Run, tmp_path: Path, given: str) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "in.png")
    words = shlex.split(given)
    variables = dict(word.split("=") for word in words if word.startswith("POOLCLI"))
    words = words[len(variables) :]
    if words[0] in {row.name for row in METHODS} and words[-1] not in ("--size", "--include"):
        words += ["in.png", "out.png"]
    done = run(*words, environment=variables)

    assert done.returncode == 2
    assert SAID[given] in only_line(done)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "word", ["resume", "recursive", "out", "resize", "scale", "kernel-size", "threads"], ids=str
)
def test_words_of_other_programs_are_answered(run: Run, word: str) -> None:
    assert WORDS[word] in only_line(run("max", f"--{word}", 2, "in.png", "out.png"))


def test_the_answers_name_options_and_verbs_that_there_are() -> None:
    params = {verb: command.params for verb, command in cli.group.commands.items()}
    flags = {flag for each in params.values() for one in each for flag in one.opts}
    flags |= {flag for each in params.values() for one in each for flag in one.secondary_opts}

    assert set(VERBS.values()) <= set(params)
    for word, answer in WORDS.items():
        named = [one for one in answer.replace(",", " ").split() if one.startswith("--")]
        assert set(named) <= {*flags, "--version"}, answer
        dashes = "-" if len(word) == 1 else "--"
        shared = {flag for row in METHODS for one in params[row.name] for flag in one.opts}
        assert f"{dashes}{word}" not in shared, word


def test_no_message_is_left_to_click() -> None:
    for row in METHODS:
        for option in cli.group.commands[row.name].params[1:]:
            assert isinstance(option, click.Option)
            ours = type(option.type).__module__.startswith("poolcli")
            takes_any = isinstance(option.type, click.types.StringParamType)
            assert ours or takes_any or option.is_flag or option.count
