"""The plan of a folder run, which comes from names and `stat` alone."""

from __future__ import annotations

import ast
import os
import shlex
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli import plan as jobs
from poolcli.errors import PoolError
from poolcli.formats.saving import Saving
from poolcli.options.names import output_stem
from poolcli.plan import Job, NothingMatchedError, PlanError, Policy, Refusal
from poolcli.storage import DASH
from poolcli.storage.local import LocalFile
from tests.storage_support import use_memory
from tests.support.processes import linux_only
from tests.support.trees import grow, new_folder, snapshot

# Tools


@pytest.fixture(autouse=True)
def top() -> Iterator[Path]:
    """The empty working folder in which every test plans."""
    with new_folder() as folder:
        yield folder


def plan(*paths: str, **policy: Any) -> list[Job]:
    return jobs.make_plan(paths, Policy(**policy))


def planned(*paths: str, **policy: Any) -> dict[str, str]:
    """From each input's path to its output's."""
    return {job.source.path: job.target.path for job in plan(*paths, **policy)}


def sources(*paths: str, **policy: Any) -> list[str]:
    """The inputs, in the order of the plan."""
    return [job.source.path for job in plan(*paths, **policy)]


def outcome_of_planning(*paths: str, **policy: Any) -> list[Job] | tuple[Refusal, ...]:
    """The jobs of a plan, none if nothing matched, or why it is refused."""
    try:
        return plan(*paths, **policy)
    except PlanError as refused:
        return tuple(refused.refusals)
    except NothingMatchedError:
        return []
    except PoolError as refused:
        return (Refusal(refused.message, refused.remedy, []),)


def refusals(*paths: str, **policy: Any) -> tuple[Refusal, ...]:
    """Why a plan is refused."""
    found = outcome_of_planning(*paths, **policy)
    assert isinstance(found, tuple)
    return found


def named(template: str) -> Callable[[str], str]:
    """What --name does with a template."""
    return partial(output_stem, template=template, method="max", size=(3, 2), stride=(2, 2))


def here(*names: str) -> None:
    grow(Path(), *names)


def listed(*paths: str, separator: str = "\n") -> str:
    """The name of a list of files."""
    Path("list.txt").write_bytes(separator.join(paths).encode())
    return "list.txt"


# What a command line means


TREE: Final = (
    *("in/a.png", "in/sub/b.jpg", "in/sub/deep/c.TIF", "other/d.png"),
    *("above/in/e.png", "above/f.png"),
)
BELOW: Final = "in/sub/b.jpg>out/sub/b.jpg in/sub/deep/c.TIF>out/sub/deep/c."
EVERY_KEY: Final = "{parent}-{stem}-{ext}-{method}{size}@{stride}"
MEANINGS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "a folder is mirrored": ("in out", {}, f"in/a.png>out/a.png {BELOW}TIF"),
    "slashes at the end": ("in/sub/deep/ out/", {}, "in/sub/deep/c.TIF>out/c.TIF"),
    "one folder alone": ("in out", {"recursive": False}, "in/a.png>out/a.png"),
    "several files": ("in/a.png in/sub/b.jpg o", {}, "in/a.png>o/a.png in/sub/b.jpg>o/b.jpg"),
    "files and folders": ("other in/sub/b.jpg o", {}, "other/d.png>o/d.png in/sub/b.jpg>o/b.jpg"),
    "folders are merged": ("other above/in o", {}, "other/d.png>o/d.png above/in/e.png>o/e.png"),
    "one file into a name with a slash": ("in/a.png new/", {}, "in/a.png>new/a.png"),
    "one file into a folder": ("in/a.png other", {}, "in/a.png>other/a.png"),
    "one file into a file": ("in/a.png out.png", {}, "in/a.png>out.png"),
    "new folders may be deep": ("other new/er/est", {}, "other/d.png>new/er/est/d.png"),
    "a dot is no picture's": ("other small.v2", {}, "other/d.png>small.v2/d.png"),
    "a picture's name with a slash": ("other out.png/", {}, "other/d.png>out.png/d.png"),
    "an output above the input": ("above/in above", {}, "above/in/e.png>above/e.png"),
    "a file that is in the output": ("above/in/e.png above", {}, "above/in/e.png>above/e.png"),
    "another format": ("in out", {"format": "jpeg"}, f"in/a.png>out/a.jpg {BELOW}jpg"),
    "the same format": ("in/sub/deep out", {"format": "tiff"}, "in/sub/deep/c.TIF>out/c.TIF"),
    "names by a template": (
        "other in/sub out",
        {"output_stem": named(EVERY_KEY), "format": "png"},
        "other/d.png>out/other-d-png-max2x3@2.png in/sub/b.jpg>out/sub-b-jpg-max2x3@2.png "
        "in/sub/deep/c.TIF>out/deep/deep-c-TIF-max2x3@2.png",
    ),
}


@pytest.mark.parametrize("meaning", MEANINGS)
def test_paths_mean_what_they_say(meaning: str) -> None:
    here(*TREE)
    paths, policy, expected = MEANINGS[meaning]
    found = planned(*paths.split(), **policy)
    assert [">".join(pair) for pair in found.items()] == expected.split()


SUFFIXED: Final = "jpeg a.JPEG a.JPEG|jpeg a.jfif a.jfif|tiff a.Tiff a.Tiff|bmp a.dib a.dib"
RENAMED: Final = "bmp a.png a.bmp|bmp a.xyz a.bmp|bmp noext noext.bmp"


@pytest.mark.parametrize("case", f"{SUFFIXED}|{RENAMED}".split("|"))
def test_with_a_format_every_named_file_gets_one_of_its_suffixes(case: str) -> None:
    written, spelled, expected = case.split()
    here(spelled)
    assert planned(spelled, "out/", format=written) == {spelled: f"out/{expected}"}


@linux_only
def test_names_that_are_not_utf_8_are_planned_byte_for_byte() -> None:
    here("in/")
    Path(os.fsdecode(b"in/caf\xe9\xff.png")).touch()
    found = [os.fsencode(one) for pair in planned("in", "out").items() for one in pair]
    assert found == [b"in/caf\xe9\xff.png", b"out/caf\xe9\xff.png"]


def test_inputs_are_taken_in_sorted_order_whole_folder_by_whole_folder() -> None:
    here("in/b.png", "in/a/z.png", "in/c/a.png", "in/a.png", "in/B.png", "in/a0.png", "x.png")
    Path("in/a.png").write_bytes(b"12345")
    found = plan("x.png", "in", "out")
    assert " ".join(job.source.path for job in found) == (
        "x.png in/B.png in/a/z.png in/a.png in/a0.png in/b.png in/c/a.png"
    )
    assert [job.bytes for job in found] == [0, 0, 0, 5, 0, 0, 0]
    assert found[2].target == LocalFile("out/a/z.png", in_folder=True)


# What a walk finds


@linux_only
def test_a_walk_takes_regular_files_with_a_suffix_of_pictures_but_no_dot_names() -> None:
    wanted = ["in/a.png", "in/b.PNG", "in/c.Jpeg", "in/e.webp", "in/sub.png/f.avif"]
    here("in/notes.txt", "in/png", "in/.hidden.png", "in/.git/d.png", "in/e.png~", *wanted)
    here("in/folder.png/")
    os.mkfifo("in/fifo.png")
    Path("in/device.png").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket.png")
        assert sources("in", "out") == wanted


LINKED: Final = (
    *(("link.png", "a.png"), ("up", ".."), ("self", "."), ("up.png", "..")),
    *(("elsewhere", "../elsewhere"), ("sub/elsewhere.png", "../../elsewhere")),
)


def test_a_walk_takes_links_to_pictures_and_enters_no_links_to_folders() -> None:
    here("in/a.png", "in/sub/b.png", "elsewhere/c.png")
    for name, goal in LINKED:
        Path("in", name).symlink_to(goal)
    assert sources("in", "out") == ["in/a.png", "in/link.png", "in/sub/b.png"]
    Path("link").symlink_to("in/sub")  # which is named
    assert planned("link", "out") == {"link/b.png": "out/b.png"}
    for goal in ("nowhere.png", "loop.png"):
        Path("in/loop.png").symlink_to(goal)
        assert "in/a.png" in sources("in", "out")
        Path("in/loop.png").unlink()


def test_a_tree_may_be_deeper_than_python_likes_to_recurse() -> None:
    made = ["in"]
    while len(made) <= 1.1 * sys.getrecursionlimit():
        made.append(f"{made[-1]}/d")
    for one in made:
        Path(one).mkdir()
    picture = Path(made[-1], "a.png")
    picture.touch()
    assert planned("in", "out") == {str(picture): f"out{str(picture).removeprefix('in')}"}
    picture.unlink()
    for one in reversed(made):  # what shutil removes, it recurses into
        Path(one).rmdir()


@linux_only
@pytest.mark.parametrize("name", ["notes.txt", "noext", ".hidden.png", "fifo.png"])
def test_what_is_named_is_always_tried_whatever_it_is_called(name: str) -> None:
    os.mkfifo(name) if "fifo" in name else here(name)
    (job,) = plan(name, "out/", include=("*.jpg",), exclude=("*",), format="png")
    assert (job.source.path, job.refusal, job.bytes) == (name, "", 0)


# Include and exclude


FOUND: Final = ("in/a.png", "in/b.jpg", "in/raw/a.png", "in/raw/b.png", "in/raw/deep/c.png")


GLOBS: Final = {
    "*.jpg": "b.jpg",
    "a.*": "a.png raw/a.png",
    "a.* b.*": "a.png b.jpg raw/a.png raw/b.png",
    "[!a].png": "raw/b.png raw/deep/c.png",
    "?.jpg c.???": "b.jpg raw/deep/c.png",
    "raw/a.png": "raw/a.png",
    "raw/*": "raw/a.png raw/b.png raw/deep/c.png",
    "*/deep/*": "raw/deep/c.png",
    "but raw/*": "a.png b.jpg",
    "but a.png c.png": "b.jpg raw/b.png",
    "*.png but raw/*": "a.png",
    **dict.fromkeys(["a.png but *.png nothing", "a", "in/*"], ""),
}


@pytest.mark.parametrize("globs", GLOBS)
def test_globs_choose_by_name_or_by_path_and_exclude_wins(globs: str) -> None:
    here(*FOUND)
    include, _, exclude = globs.partition("but ")
    found = outcome_of_planning("in", "out", include=include.split(), exclude=exclude.split())
    names = [job.source.path for job in found if isinstance(job, Job)]
    assert names == [f"in/{name}" for name in GLOBS[globs].split()]


def test_globs_leave_out_nothing_that_is_named_or_listed() -> None:
    here("in/a.png", "in/b.png")
    policy = {"include": ("nothing",), "exclude": ("*",)}
    assert sources("in/a.png", "in/b.png", "out", **policy) == ["in/a.png", "in/b.png"]
    assert sources("out", files_from=listed("in/b.png"), **policy) == ["in/b.png"]


def test_folders_without_pictures_and_empty_lists_match_nothing() -> None:
    here("in/notes/", "in/notes.txt", "other/")
    for paths in (("in", "out"), ("in/notes", "other", "out")):
        with pytest.raises(NothingMatchedError):
            plan(*paths)
    with pytest.raises(NothingMatchedError):
        plan("out", files_from=listed())


# Lists, and the output's own folder


def test_a_listed_file_keeps_its_path_also_below_another_folder(top: Path) -> None:
    here("in/a.png", "in/sub/b.png", "c.png")
    paths = ["in/sub/b.png", "./c.png", "in/../in/a.png", ""]
    kept = ["out/in/sub/b.png", "out/c.png", "out/in/a.png"]
    assert planned("out", files_from=listed(*paths)) == dict(zip(paths, kept, strict=False))
    for base in ("in", "./in/", f"{top}/in"):
        for path in ("in/sub/b.png", f"{top}/in/sub/b.png"):
            found = planned("out", files_from=listed(path), relative_to=base)
            assert found == {path: "out/sub/b.png"}


def test_a_list_separated_by_nul_holds_every_name() -> None:
    names = [os.fsdecode(one) for one in (b"new\nline.png", b"caf\xe9.png", b" a .png", b"\r.png")]
    here(*names)
    Path("list").write_bytes(b"\0".join(map(os.fsencode, names)) + b"\0")
    assert sources("out", files_from="list", null=True) == names


def test_a_list_keeps_its_order_and_takes_each_file_once() -> None:
    here("b.png", "a.png", "small/x.png")
    names = listed("b.png", "a.png", "./b.png", "b.png", "small/x.png")
    assert sources("small", files_from=names) == ["b.png", "a.png"]  # not what the output holds


def test_a_list_may_name_a_file_called_dash_but_none_outside() -> None:
    here("-", "in/a.png")
    (job,) = plan("out", files_from=listed("-"), format="png")
    assert job.source.path != DASH
    assert os.path.samefile(job.source.path, "-")
    (refusal,) = refusals("out", files_from=listed("/etc/a.png", "in/a.png", "../b.png"))
    assert refusal.names == ["/etc/a.png", "../b.png"]
    assert "--relative-to" in refusal.remedy


UNREADABLE: Final = ("it can't be read: No such file", "check the name")
FAILING: Final = {
    **dict.fromkeys(["missing", "missing.png", "missing/"], UNREADABLE),
    **dict.fromkeys(["folder", "folder.png"], ("it is a folder", "name the pictures")),
    "notes.txt": ("the suffix .txt names no format", "give --format"),
    "noext": ("it has no suffix", "give --format"),
}
WAYS_TO_FAIL: Final = [  # a folder that is named would be walked
    (one, name) for one in (True, False) for name in FAILING if one or "folder" not in name
]


@pytest.mark.parametrize("output", ["new/", "old/"])
@pytest.mark.parametrize(("is_listed", "name"), WAYS_TO_FAIL)
def test_what_fails_unopened_fails_alone_and_says_what_helps(
    is_listed: bool, name: str, output: str
) -> None:
    here("a.png", "folder/", "folder.png/", "noext", "notes.txt", "old/")
    policy = {"files_from": listed(name, "a.png")} if is_listed else {}
    jobs_ = plan(*([] if is_listed else [name, "a.png"]), output, **policy)
    assert [job.source.path for job in jobs_] == [name, "a.png"]
    assert [bool(job.refusal) for job in jobs_] == [True, False]
    reason, remedy = FAILING[name]
    assert jobs_[0].refusal.startswith(reason)
    assert remedy in jobs_[0].remedy


OUTPUTS: Final = ("in/small", "in/sub/small", "in/small/", "./in/sub/../small", "link")


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_output_folder_is_not_walked_where_it_lies_in_the_input(output: str) -> None:
    here("in/a.png", "in/small/old.png", "in/sub/small/old.png", "in/sub/b.png")
    Path("link").symlink_to("in/small")
    other = {"in/small/old.png", "in/sub/small/old.png"}
    inside = {one for one in other if not os.path.samefile(Path(one).parent, output)}
    assert set(sources("in", output)) == {"in/a.png", "in/sub/b.png"} | inside


@pytest.mark.parametrize("output", ["in", "in/", "./in", "link", "in/sub/.."])
def test_one_folder_is_not_both_input_and_output(output: str) -> None:
    here("in/a.png", "in/sub/")
    Path("link").symlink_to("in")
    assert "both input and output" in refusals("in", output, overwrite=True)[0].reason


# Refusals


def saved(key: str, value: str) -> dict[str, Saving]:
    return {"saving": Saving(options=((key, value),))}


REFUSED: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "one path": ("in", {}, "name the output"),
    "several inputs into a file": ("in/a.png b.png file", {}, "file is a file"),
    "a folder into a file": ("in file", {}, "file is a file"),
    "a list into a file": ("file", {"files_from": "list"}, "file is a file"),
    "several inputs into a picture's name": ("in/a.png b.png new.png", {}, "end it in /"),
    "a folder into a picture's name": ("in new.JPG", {}, "end it in /"),
    "a list into a picture's name": ("new.tif", {"files_from": "list"}, "end it in /"),
    "inputs beside a list": ("b.png out", {"files_from": "list"}, "--files-from needs one path"),
    "a list without an output": ("", {"files_from": "list"}, "--files-from needs one path"),
    "a separator without a list": ("b.png out/", {"null": True}, "--null"),
    "a list's folder without a list": ("b.png out/", {"relative_to": "in"}, "--relative-to"),
    "an output in no folder": ("b.png 'my pictures/c.png'", {}, "mkdir -p 'my pictures'"),
    "a list that is missing": ("out", {"files_from": "nowhere"}, "nowhere"),
    "a list that is a folder": ("out", {"files_from": "in"}, "--files-from in"),
    "a folder into a stream": ("in -", {}, "takes one picture"),
    "several inputs into a stream": ("in/a.png b.png /dev/null", {}, "takes one picture"),
    "a list into a stream": ("-", {"files_from": "list"}, "takes one picture"),
    "standard input into a folder": ("- out/", {}, "- is one picture"),
    "standard input among others": ("b.png - out", {}, "- is one picture"),
    "a name for one file": ("b.png c.png", {"output_stem": named("{stem}")}, "--name"),
    "a name for a stream": ("b.png -", {"output_stem": named("{stem}")}, "--name"),
    "an option without use": ("in out", {"saving": Saving(quality=9)}, "--quality"),
    "a level without use": ("in o", {"saving": Saving(None, 9), "format": "jpeg"}, "--compress-"),
    "an option of another format": ("in o", saved("progressive", "yes"), "option progressive"),
    "an option's value": ("in out", saved("optimize", "maybe"), "yes|no"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_plan_that_makes_no_sense_is_refused_with_a_remedy(case: str) -> None:
    here("in/a.png", "b.png", "file")
    Path("list").write_text("b.png")
    paths, policy, words = REFUSED[case]
    (refusal,) = refusals(*shlex.split(paths), **policy)
    assert words in f"{refusal.reason}; {refusal.remedy}"
    assert refusal.remedy


def test_an_option_that_fits_some_of_the_formats_is_taken() -> None:
    here("in/a.png", "in/b.jpg")
    assert len(plan("in", "out", saving=Saving(quality=9, compress_level=1))) == 2


def test_outputs_that_exist_are_refused_replaced_or_skipped_on_demand() -> None:
    here("in/a.png", "in/b.png", "in/c.png", "in/d.png", "out/a.png", "out/c.png/")
    Path("out/d.png").symlink_to("nowhere")
    (refusal,) = refusals("in", "out")
    assert refusal.names == ["out/a.png", "out/c.png", "out/d.png"]
    assert "--overwrite" in refusal.remedy
    assert "--skip-existing" in refusal.remedy
    Path("out/c.png").rmdir()
    for flag in ("overwrite", "skip_existing"):
        skipped = [job.target.path for job in plan("in", "out", **{flag: True}) if job.skip]
        assert skipped == (["out/a.png", "out/d.png"] if flag == "skip_existing" else [])


PAIR: Final = "pair/x.jpg and pair/x.png"
CLASHES: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "the same base name": ("in/a.png in/sub/a.png out", {}, "in/a.png and in/sub/a.png"),
    "two folders": ("in in/sub out", {}, "in/a.png and in/sub/a.png"),
    "one format": ("pair out", {"format": "webp"}, PAIR),
    "a template": ("pair out", {"output_stem": named("{method}"), "format": "png"}, PAIR),
    "a listed pair": ("out", {"files_from": "list", "format": "png"}, PAIR),
}


@pytest.mark.parametrize("case", CLASHES)
@pytest.mark.parametrize("flag", ["", "overwrite", "skip_existing"])
def test_two_inputs_with_one_output_are_refused(case: str, flag: str) -> None:
    here("in/a.png", "in/sub/a.png", "pair/x.jpg", "pair/x.png")
    Path("list").write_text("pair/x.jpg\npair/x.png")
    paths, policy, names = CLASHES[case]
    (refusal,) = refusals(*paths.split(), **policy, **({flag: True} if flag else {}))
    assert refusal.names == [names]
    assert "--name" in refusal.remedy


@pytest.mark.parametrize(
    "paths", ["in/a.png in/a.png", "in/a.png in", "in in", "in/a.png ./in/a.png"]
)
def test_an_input_that_is_named_twice_is_not_written_twice(paths: str) -> None:
    here("in/a.png")
    found = outcome_of_planning(*paths.split(), "out")
    if isinstance(found, tuple):  # to refuse it is as good
        assert [one.reason for one in found] == ["inputs with one output"]
    else:
        assert [job.target.path for job in found] == ["out/a.png"]


@pytest.mark.parametrize("names", ["a.png A.PNG", "straße.png STRASSE.png", "é.png e\u0301.png"])
@pytest.mark.parametrize("folds", [True, False])
def test_names_clash_where_the_storage_folds_them(
    monkeypatch: Any, names: str, folds: bool
) -> None:
    one, other = names.split()
    paths = (f"memory://in/{one}", f"memory://in/sub/{other}")
    use_memory(monkeypatch, *paths, folds=folds)
    if folds:
        assert refusals(*paths, "memory://out")[0].names == [" and ".join(paths)]
    else:
        assert len(plan(*paths, "memory://out")) == 2


LINKS: Final[dict[str, Callable[[str, str], None]]] = {
    "a hard link": os.link,
    "a link": lambda source, target: os.symlink(os.path.abspath(source), target),
}


@pytest.mark.parametrize("kind", LINKS)
@pytest.mark.parametrize("flag", ["", "overwrite", "skip_existing"])
def test_an_output_that_is_an_input_is_refused_always(kind: str, flag: str) -> None:
    here("in/a.png", "in/b.png", "out/")
    LINKS[kind]("in/b.png", "out/a.png")
    found = refusals("in", "out", **({flag: True} if flag else {}))
    itself = [one for one in found if "input" in one.reason]
    assert [one.names for one in itself] == [["out/a.png"]]
    assert "--overwrite" not in itself[0].remedy
    found = refusals("in", files_from=listed("in/a.png"), relative_to="in", overwrite=True)
    assert found[0].names == ["in/a.png"]


def test_all_refusals_come_together_each_with_all_of_its_names() -> None:
    here(*(f"in/{number}.png" for number in range(9)), "more/0.png", "in/x.png", "out/")
    here(*(f"out/{number}.png" for number in range(1, 9)))
    os.link("in/x.png", "out/x.png")
    found = {one.reason: one.names for one in refusals("in", "more", "out")}
    assert sorted(map(len, found.values())) == [1, 1, 9]
    assert [f"out/{number}.png" for number in range(1, 9)] == found["exists already"][:8]


@pytest.mark.parametrize("words", ["--quality", "yes|no", "outside"])
def test_an_existing_output_hides_no_other_refusal(words: str) -> None:
    maybe = Saving(options=(("optimize", "maybe"),))
    policy: dict[str, Any] = {"saving": Saving(quality=9) if words == "--quality" else maybe}
    policy = {"files_from": "list"} if words == "outside" else policy
    here("a.png", "b.png", "out/a.png")
    Path("list").write_text("a.png\n../b.png")
    paths = ("out",) if "files_from" in policy else ("a.png", "b.png", "out")
    text = " ".join(f"{one.reason} {one.remedy}" for one in refusals(*paths, **policy))
    assert "exists already" in text
    assert words in text


@pytest.mark.parametrize("template", ["", ".", "..", "{ext}", "x" * 252, "{stem}{stem}"])
def test_a_template_that_makes_no_file_name_is_refused(template: str) -> None:
    name = f"in/{'n' * 200}"
    here("in/a.png" if template == "{ext}" else f"{name}.png", "in/b.png")
    if template == "{ext}":
        here("noext")
        assert refusals("noext", "out/", output_stem=named(template), format="png")
    else:
        assert refusals(f"{name}.png", "out/", output_stem=named(template))


NAMES_MADE: Final = "{stem} cat|... ...|{stem}_{ext} cat_jpg|{parent} in|{method}{size} max2x3"
TEMPLATES: Final = f"{NAMES_MADE}|{{stride}} 2|-{{stem}} -cat|{'x' * 251} {'x' * 251}".split("|")


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_names_outputs_by_plain_substitution(case: str) -> None:
    here("in/cat.jpg")
    template, made = case.split()
    found = planned("in", "out", output_stem=named(template))
    assert found == {"in/cat.jpg": f"out/{made}.jpg"}


@pytest.mark.parametrize("name", ["{ext}", "{0}", "{stem.__class__}", "%s", "{stem", "a{b}c"])
def test_what_looks_like_a_key_in_an_input_s_name_is_not_substituted(name: str) -> None:
    here(f"in/{name}.png")
    found = planned("in", "out", output_stem=named("{stem}-{method}"))
    assert found == {f"in/{name}.png": f"out/{name}-max.png"}


# Properties


FOLDERS = st.lists(st.sampled_from(["", "a", "b", "a/b", "a/small", ".git", "é"]), max_size=4)
STEMS = st.sampled_from(["x", "y", "X", "-", "[/a]", "new\nline", "\udcff"])
SUFFIXES = st.sampled_from([".png", ".JPG", ".tif", ".txt", ""])
NAMES = st.builds(lambda folder, stem, suffix: (folder, stem + suffix), FOLDERS, STEMS, SUFFIXES)
TREES = st.lists(NAMES, max_size=12).map(
    lambda names: sorted({os.path.join("in", *folder, name) for folder, name in names})
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "format": st.sampled_from(["png", "jpeg"]),
        "recursive": st.booleans(),
        "overwrite": st.booleans(),
        "include": st.sampled_from([("*.png",), ("a/*",)]),
        "exclude": st.sampled_from([("x*",), ("*/b/*",)]),
        "output_stem": st.sampled_from([named("{stem}-{ext}"), named("{method}")]),
    },
)
WATCHED: Final = (
    *("open", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"),
    *("os.rmdir", "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "subprocess.Popen"),
)
watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event in WATCHED:
        watching[-1].append(f"{event} {arguments[:1]}")


sys.addaudithook(_hook)


def grown(names: list[str]) -> None:
    """A tree whose names come into being in the order that is given."""
    Path("in").mkdir()
    for name in names:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if not os.path.lexists(name):
            Path(name).touch()


@settings(max_examples=60)
@given(names=TREES, policy=POLICIES)
def test_planning_opens_and_changes_nothing(names: list[str], policy: dict[str, Any]) -> None:
    with new_folder():
        watching.append([])
        try:
            grown(names)
            assert bool(names) <= bool(watching[-1])  # the hook sees what is made
            before = snapshot(Path())
            watching[-1].clear()
            outcome_of_planning("in", "in/a/small", **policy)
        finally:
            seen = watching.pop()
        assert seen == []
        assert snapshot(Path()) == before


@settings(max_examples=60)
@given(TREES, POLICIES, st.randoms(use_true_random=False))
def test_a_plan_is_a_function_of_the_tree(names: list[str], policy: Any, random: Any) -> None:
    plans = []
    for order in (names, names[::-1], random.sample(names, len(names))):
        with new_folder():
            grown(order)
            plans.append(outcome_of_planning("in", "in/a/small", **policy))
    assert plans[0] == plans[1] == plans[2]
    targets = [job.target.path for job in plans[0] if isinstance(job, Job)]
    assert len(set(targets)) == len(targets)
    assert all(target.startswith("in/a/small/") for target in targets)


# Size


MANY: Final = 2000
WAYS: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "walked": (("in", "out"), {}),
    "to be skipped": (("in", "out"), {"skip_existing": True}),
    "listed": (("out",), {"files_from": "list.txt"}),
}


@pytest.mark.parametrize("folders", [1, 50])
@pytest.mark.parametrize("way", WAYS)
def test_a_plan_takes_less_than_a_kilobyte_a_file(folders: int, way: str) -> None:
    paths, policy = WAYS[way]
    names = [f"in/folder-{one % folders:02}/picture-{one:06}.png" for one in range(MANY)]
    with new_folder():
        here(*names, *(name.replace("in", "out", 1) for name in names if "skip" in way))
        listed(*names)
        tracemalloc.start()
        try:
            found = plan(*paths, **policy)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [job.skip for job in found] == [way == "to be skipped"] * MANY
    assert peak / MANY < 1024


@linux_only
@pytest.mark.parametrize("flag", ["skip_existing", "overwrite"])
def test_a_plan_asks_of_each_file_once(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    here(*(f"{folder}/{one}.png" for folder in ("in", "out") for one in range(MANY)))
    asked: list[str] = []

    def noting(real: Callable[..., os.stat_result], path: str, **more: Any) -> os.stat_result:
        asked.append(path)
        return real(path, **more)

    for call in ("stat", "lstat"):
        monkeypatch.setattr(os, call, partial(noting, getattr(os, call)))
    plan("in", "out", **{flag: True})
    assert len(asked) <= 2 * MANY + 10


def test_a_plan_asks_nothing_but_the_storages_of_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("in/a.png", "in/notes.txt", "in/sub/b.jpg", "in/small/a.png", "other/c.png")
    use_memory(monkeypatch, *(f"memory://{one}" for one in files))["memory://in/a.png"] = b"12345"
    here("local/d.png")
    inputs = ("memory://in", "memory://other/c.png", "local", "memory://none.png")
    jobs_ = plan(*inputs, "memory://in/small", skip_existing=True)
    assert [(one.source.path, one.target.path, one.bytes, one.skip) for one in jobs_] == [
        ("memory://in/a.png", "memory://in/small/a.png", 5, True),
        ("memory://in/sub/b.jpg", "memory://in/small/sub/b.jpg", 0, False),
        ("memory://other/c.png", "memory://in/small/c.png", 0, False),
        ("local/d.png", "memory://in/small/d.png", 0, False),
        ("memory://none.png", "memory://in/small/none.png", 0, False),
    ]
    assert [one.refusal for one in jobs_ if one.refusal] == ["there is no such object"]
    assert refusals("memory://in", "memory://in", overwrite=True)[0].reason.endswith("output")
    assert refusals("memory://in/a.png", "memory://in/a.png")[0].reason.endswith("itself")
    assert planned("memory://in/a.png", "new.png") == {"memory://in/a.png": "new.png"}
    Path("list.txt").write_text("memory://in/sub/b.jpg")
    found = planned("out", files_from="list.txt", relative_to="memory://in")
    assert found == {"memory://in/sub/b.jpg": "out/sub/b.jpg"}


ABOUT_NAMES: Final = {
    *("sep", "curdir", "pardir", "fsencode", "fsdecode"),
    *("path", "join", "split", "splitext", "basename", "dirname"),
}
"""What of `os` and `os.path` works on text alone."""


@pytest.mark.parametrize("path", sorted(Path(jobs.__file__).parent.glob("*.py")), ids=str)
def test_no_function_about_files_is_used_and_no_particular_storage(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    of_os = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "os.path")
    }
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    modules = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert of_os <= ABOUT_NAMES
    assert not {node.id for node in nodes if isinstance(node, ast.Name)} & {"open"}
    assert not (names | modules) & {"stat", "pathlib", "shutil", "glob", "io", "LOCAL", "STREAMS"}
    assert not modules & {"os", "poolcli.storage.local", "poolcli.storage.streams"}


def test_planning_imports_neither_numpy_nor_pillow() -> None:
    here("in/a.png")
    code = (
        "import sys; from poolcli import plan as jobs; jobs.make_plan(('in', 'out'), jobs.Policy())"
        ";print([one for one in ('numpy', 'PIL', 'rich') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().strip() == "[]"
