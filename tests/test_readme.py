"""The documents: every example runs in a fresh clone, and what is generated is up to date."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

import poolcli
from poolcli import report
from tests import readme, share
from tests.reference import reference
from tests.support.tools import needs
from tests.support.trees import contents

TEXT = readme.README.read_text("utf-8")
PACKAGE = Path(poolcli.__file__).parent
DOCUMENTS = [readme.README, *sorted((readme.ROOT / "docs").glob("*.md"))]
EXAMPLES = readme.examples(TEXT)
RUN = {one.text: one for one in EXAMPLES if one.language in ("sh", "crontab")}
PROGRAMS = ("parallel", "make", "jq")
"""What examples use that may not be installed."""

SCHEDULE = re.compile(r"^(?:\S+ ){5}", re.MULTILINE)


def test_every_printed_line_is_what_the_program_prints_now() -> None:
    assert readme.without_bytes(readme.rendered(TEXT)) == readme.without_bytes(TEXT)


def test_the_reference_of_options_is_up_to_date() -> None:
    assert readme.OPTIONS.read_text("utf-8") == reference()


def test_files_for_shells_and_the_manual_page_are_what_the_program_makes_now() -> None:
    for place, text in share.files().items():
        assert (share.SHARE / place).read_text("utf-8") == text, "run python -m tests.readme"


@pytest.mark.parametrize(
    "text",
    [pytest.param(one, marks=[needs(p) for p in PROGRAMS if p in one.split()]) for one in RUN],
)
def test_an_example_runs_in_a_fresh_clone_as_it_stands(text: str) -> None:
    command = SCHEDULE.sub("", text) if RUN[text].language == "crontab" else text
    with readme.clone() as folder:
        before = contents(folder)
        done = readme.in_shell(f"set -e; {command}", folder)
        after = contents(folder)
    assert done.returncode == 0, done.stdout.decode()
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_all_examples_run_one_after_the_other_in_the_same_clone() -> None:
    with readme.clone() as folder:
        for text, example in RUN.items():
            command = SCHEDULE.sub("", text) if example.language == "crontab" else text
            if all(shutil.which(one) for one in PROGRAMS if one in text.split()):
                done = readme.in_shell(f"set -e; {command}", folder)
                assert done.returncode == 0, done.stdout.decode()


def test_the_python_example_prints_what_its_comments_say() -> None:
    (example,) = [one for one in EXAMPLES if one.language == "python"]
    with readme.clone() as folder:
        (folder / "example.py").write_text(example.text, "utf-8")
        done = readme.in_shell(f'"{sys.executable}" -W error example.py', folder)
    expected = re.findall(r"^print\(.*\)  # (.*)$", example.text, re.MULTILINE)
    assert len(expected) > 4
    assert done.stdout.decode().splitlines() == expected


def test_every_block_is_run_or_no_command() -> None:
    marked = [mark for mark, _, _ in readme.BLOCK.findall(TEXT) if mark]
    assert sorted(marked) == sorted(readme.SET_UP)
    assert {one.language for one in EXAMPLES} == {"console", "crontab", "python", "sh", "text"}
    assert not any("poolcli" in one.text for one in EXAMPLES if one.language == "text")


def test_links_lead_to_files_and_titles() -> None:
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        for link in re.findall(r"\]\(([^)]+)\)", text):
            path, _, title = link.partition("#")
            target = document.parent / path if path else document
            assert target.is_file(), link
            titles = (
                re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE) if title else []
            )
            slugs = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in titles]
            assert not title or title in slugs, link


def test_every_exit_code_is_in_the_table() -> None:
    codes = {value for name, value in vars(report).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.M)} == codes


def test_every_module_is_in_the_table() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    listed = re.findall(r"^\| `(\w+)` \| [a-z]", TEXT.partition("## How it is built")[2], re.M)
    assert set(listed) == {name for name in modules if not name.startswith("__")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_text_says_to_install_somebody_elses_package(document: Path) -> None:
    text = document.read_text("utf-8")
    assert not re.search(r"pip install ['\"]?poolcli\b(?!-image)", text)
