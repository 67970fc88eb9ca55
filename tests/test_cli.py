"""One picture from the command line: files, streams, refusals, and everything that is printed."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from poolcli import __version__
from poolcli.methods import METHODS, Row
from poolcli.report import JSON_KEYS
from tests.support.output import (
    ODD_NAMES,
    has_only_printable_lines,
    objects,
    only_line,
    outcomes,
)
from tests.support.processes import (
    FORCE,
    HALVE,
    TAKE_SIGNALS,
    Process,
    Run,
    Words,
    asleep,
    environment,
    finish,
    linux_only,
    run_after,
    run_redirected,
    started,
    until,
)
from tests.support.terminal import Terminal
from tests.support.trees import SAMPLES, paint_all, pixels, snapshot
from tests.support.warm import ForkServer

Fails = Callable[..., str]

SAMPLE = SAMPLES / "text.png"
MEGABYTE = 1 << 20
PIPE_HOLDS = 1 << 16
SECONDS = [key for key in JSON_KEYS if key.endswith("_seconds")]
SETTLED = [key for key in JSON_KEYS if key != "status" and not key.endswith(("_seconds", "_bytes"))]


@pytest.fixture(autouse=True)
def source(tmp_path: Path) -> Path:
    """Where `run` runs: in.png, a small RGB picture, and clear.png, which has alpha."""
    return make_pictures(tmp_path)


@pytest.fixture(scope="session")
def halved(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> bytes:
    """What `poolcli max --size 2` makes of in.png, from file to file."""
    folder = tmp_path_factory.mktemp("halved")
    make_pictures(folder)
    done = fork_server.run(*HALVE, "in.png", "out.png", cwd=folder, variables=environment())
    assert done.returncode == 0
    return (folder / "out.png").read_bytes()


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of more than a megabyte, however it is compressed."""
    rng = np.random.default_rng(8)
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(rng.integers(0, 256, (700, 700, 3), np.uint8)).save(path, compress_level=0)
    return path


@pytest.fixture
def fails(run: Run, tmp_path: Path) -> Fails:
    """Run poolcli, hold that it fails in one line and changes nothing, and give that line."""

    def fails(code: int, *words: object, **options: object) -> str:
        before = snapshot(tmp_path)
        done = run(*words, **options)
        line = only_line(done)
        assert done.returncode == code, line
        assert snapshot(tmp_path) == before
        return line

    return fails


def make_pictures(folder: Path) -> Path:
    """Make the same pictures every time, and return the path of the first."""
    rng = np.random.default_rng(7)
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(folder / "in.png")
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(folder / "clear.png")
    return folder / "in.png"


# Files and pipes give the same picture


@pytest.mark.parametrize(
    ("verb", "expected"),
    [("max", [[6, 8], [14, 16]]), ("min", [[1, 3], [9, 11]]), ("avg", [[4, 6], [12, 14]])],
)
def test_a_file_is_pooled(run: Run, tmp_path: Path, verb: str, expected: list[list[int]]) -> None:
    array = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(array).save(tmp_path / "in.png")

    done = run(verb, "--size", 2, "--stride", 2, "in.png", "out.png")

    assert (done.returncode, done.stdout) == (0, b"")
    assert pixels(tmp_path / "out.png") == expected


def test_file_pipe_and_bare_pipe_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    words = ("avg", "-k", "3x2", "-s", 2, "-p", "same")
    octets = SAMPLE.read_bytes()
    assert run(*words, SAMPLE, "out.png").returncode == 0
    assert run(*words, "-", "piped.png", input=octets).returncode == 0
    expected = (tmp_path / "out.png").read_bytes()
    assert (tmp_path / "piped.png").read_bytes() == expected
    with SAMPLE.open("rb") as stdin:
        redirected = run(*words, stdin=stdin)
    for done in (
        run(*words, SAMPLE, "-"),
        run(*words, SAMPLE, "/dev/stdout"),
        run(*words, "-", "-", input=octets),
        run(*words, input=octets),
        redirected,
    ):
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_formats_come_from_the_content_of_the_input_and_the_name_of_the_output(
    run: Run, tmp_path: Path, halved: bytes
) -> None:
    jpeg = (SAMPLES / "scene.jpg").read_bytes()
    assert run("avg", "-k", 8, input=jpeg).stdout.startswith(b"\xff\xd8")
    assert run("avg", "-k", 8, "--format", "PNG", input=jpeg).stdout.startswith(b"\x89PNG")

    (tmp_path / "in.png").rename(tmp_path / "really.jpg")
    assert run(*HALVE, "really.jpg", "out.png").returncode == 0
    assert (tmp_path / "out.png").read_bytes() == halved


def test_a_file_lands_in_an_existing_folder_under_its_own_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()

    assert run(*HALVE, "in.png", "small").returncode == 0
    assert (tmp_path / "small/in.png").is_file()


# Streams by name


def test_stdout_is_written_where_it_stands(run: Run, tmp_path: Path, halved: bytes) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before")
    with log.open("ab") as stdout:
        done = run(*HALVE, "in.png", "/dev/stdout", stdout=stdout)

    assert done.returncode == 0
    assert log.read_bytes() == b"before" + halved


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
@linux_only
def test_descriptors_are_read_and_written_by_name(
    run: Run, source: Path, tmp_path: Path, name: str, halved: bytes
) -> None:
    reader, writer = os.pipe()
    os.write(writer, source.read_bytes())
    os.close(writer)
    with (tmp_path / "held.png").open("wb") as held:
        number = held.fileno()
        paths = name.format(reader), name.format(number)
        done = run(*HALVE, "--json", "--format", "png", *paths, pass_fds=(reader, number))
        same_inode = os.fstat(number).st_ino == (tmp_path / "held.png").stat().st_ino
    os.close(reader)

    assert (done.returncode, len(objects(done.stdout)), same_inode) == (0, 2, True)
    assert (tmp_path / "held.png").read_bytes() == halved


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_fifos_and_devices_are_read_and_written_and_never_replaced(
    run: Run, source: Path, tmp_path: Path, flags: tuple[str, ...], halved: bytes
) -> None:
    for name in ("from", "to"):
        os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=(tmp_path / "from").write_bytes, args=(source.read_bytes(),))
    writer.start()
    reader = os.open(tmp_path / "to", os.O_RDWR | os.O_NONBLOCK)
    done = run(*HALVE, *flags, "from", "to")
    received = os.read(reader, PIPE_HOLDS)
    os.close(reader)
    writer.join()
    device = run(*HALVE, *flags, "in.png", "/dev/null")

    assert (done.returncode, received, device.returncode) == (0, halved, 0)
    assert stat.S_ISFIFO((tmp_path / "to").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_streams_that_do_not_block_are_read_and_written_whole(noise: Path, tmp_path: Path) -> None:
    (stdin, feed), (result, stdout) = os.pipe(), os.pipe()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    with started("max", "-k", 1, "-", "-", cwd=tmp_path, stdin=stdin, stdout=stdout) as process:
        os.close(stdin)
        os.close(stdout)
        until(lambda: asleep(process))  # the pipe is empty
        with os.fdopen(feed, "wb") as pipe:
            pipe.write(noise.read_bytes())
        until(lambda: asleep(process))  # the pipe is full
        with os.fdopen(result, "rb") as pipe:
            received = pipe.read()
        done = finish(process)

    assert (done.returncode, done.stderr) == (0, b"")
    assert len(received) > MEGABYTE
    assert received.endswith(b"IEND\xaeB`\x82")


def test_a_socket_serves_as_both_streams(run: Run, source: Path, halved: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(source.read_bytes())
        ours.shutdown(socket.SHUT_WR)
        done = run(*HALVE, stdin=theirs.fileno(), stdout=theirs.fileno())
        received = ours.recv(PIPE_HOLDS)

    assert done.returncode == 0
    assert received == halved


# Readers that go away, disks that are full, streams that are closed


@pytest.mark.parametrize("output", ["-", "fifo.png"])
def test_a_reader_that_leaves_ends_a_run_quietly(noise: Path, tmp_path: Path, output: str) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    reader, writer = os.pipe()
    if output != "-":
        os.close(reader)
        reader = os.open(tmp_path / output, os.O_RDONLY | os.O_NONBLOCK)
    with started("max", "-k", 1, noise, output, cwd=tmp_path, stdout=writer) as process:
        os.close(writer)
        until(lambda: select.select([reader], [], [], 1)[0])
        assert os.read(reader, 8) == b"\x89PNG\r\n\x1a\n"
        os.close(reader)
        done = finish(process)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words",
    [
        (*HALVE, "in.png", "-"),
        (*HALVE, "--json", "in.png", "out.png"),
        ("--help",),
        ("max", "--help"),
        ("--version",),
    ],
    ids=["pixels", "json", "help", "help of a verb", "version"],
)
def test_a_reader_that_was_gone_ends_a_run_quietly(run: Run, words: Words) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*words, stdout=writer)
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    "words",
    [
        (*HALVE, "-q", "in.png", "-"),
        (*HALVE, "-q", "--json", "in.png", "out.png"),
        (*HALVE, "-q", "--json", "pair", "out"),
        (*HALVE, "-q", "in.png", "/dev/full"),
        ("--help",),
    ],
    ids=["pixels", "json", "json of a folder", "a device", "help"],
)
@linux_only
def test_a_full_device_is_one_line(run: Run, tmp_path: Path, words: Words) -> None:
    paint_all(tmp_path / "pair", "a.png", "b.png")
    with Path("/dev/full").open("wb") as full:
        done = run(*words, stdout=full)

    assert done.returncode == 1
    assert "No space left" in only_line(done)


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_file_needs_no_standard_stream(tmp_path: Path, redirections: str, halved: bytes) -> None:
    done = run_redirected(redirections, *HALVE, "in.png", "out.png", cwd=tmp_path)

    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "out.png").read_bytes() == halved


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(1, ("none.png", "out.png")), (2, ("in.png", "out.xyz")), (0, ("--json", "in.png", "o.png"))],
)
def test_exit_codes_survive_without_standard_error(
    tmp_path: Path, redirection: str, code: int, words: tuple[str, ...]
) -> None:
    assert run_redirected(redirection, *HALVE, *words, cwd=tmp_path).returncode == code


@pytest.mark.parametrize(
    ("redirection", "paths", "code", "part"),
    [
        (">&-", ("in.png", "-"), 2, "closed"),
        (">&-", ("--json", "in.png", "o.png"), 2, "closed"),
        ("<&-", ("-", "out.png"), 2, "closed"),
        ("<&-", ("--files-from", "-", "out"), 2, "Bad file descriptor"),
        ("<&-", (), 2, "INPUT"),
        ("</dev/null", (), 2, "INPUT"),
        pytest.param("", ("in.png", "/dev/fd/9"), 2, "", marks=linux_only),
        pytest.param("9</dev/zero", ("in.png", "/dev/fd/9"), 1, "", marks=linux_only),
        ("<in.png", ("--overwrite", "-", "in.png"), 2, "input"),
        ("1<>in.png", ("--overwrite", "in.png", "-"), 2, "input"),
        ("<in.png 1<>in.png", ("--overwrite",), 2, "input"),
    ],
)
def test_streams_that_are_closed_or_that_would_be_written_over_are_refused(
    tmp_path: Path, redirection: str, paths: tuple[str, ...], code: int, part: str
) -> None:
    before = snapshot(tmp_path)
    done = run_redirected(redirection, *HALVE, *paths, cwd=tmp_path)

    assert done.returncode == code
    assert part in only_line(done)
    assert snapshot(tmp_path) == before


# Terminals


def test_pixels_are_not_written_to_a_terminal(fails: Fails, terminal: Terminal) -> None:
    for line in (
        fails(2, *HALVE, "in.png", os.ttyname(terminal.theirs)),
        fails(2, *HALVE, "in.png", "-", stdout=terminal.theirs),
    ):
        assert "terminal" in line
        assert "> out.png" in line
    assert terminal.all() == ""


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("-", "out.png"), ("terminal", "< in.png")),
        (("-", "-"), ("terminal", "< in.png")),
        (("/dev/stdin", "out.png"), ("terminal", "< in.png")),
        (("--format", "png", "/dev/stdin", "out/"), ("terminal", "< in.png")),
        (("--format", "png", "in.png", "/dev/stdin", "out"), ("terminal", "< in.png")),
        ((), ("INPUT",)),
    ],
)
def test_pixels_are_not_read_from_a_terminal(
    fails: Fails, terminal: Terminal, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    line = fails(2, *HALVE, *words, stdin=terminal.theirs)

    assert all(part in line for part in parts)


@pytest.mark.parametrize(
    ("variables", "flags", "on_terminal", "in_log"),
    [
        ({}, (), True, False),
        ({}, ("--color", "auto"), True, False),
        ({}, ("--color", "never"), False, False),
        ({}, ("--color", "always"), True, True),
        ({"NO_COLOR": "1"}, (), False, False),
        ({"TERM": "dumb"}, (), False, False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True, True),
        ({"POOLCLI_COLOR": "always"}, (), True, True),
        ({"POOLCLI_COLOR": "never"}, (), False, False),
        ({"POOLCLI_COLOR": "never"}, ("--color", "always"), True, True),
        ({"POOLCLI_COLOR": "always"}, ("--color", "never"), False, False),
    ],
)
def test_the_summary_has_colour_on_a_terminal_and_none_in_a_log_unless_told_otherwise(
    run: Run,
    terminal: Terminal,
    variables: dict[str, str],
    flags: tuple[str, ...],
    on_terminal: bool,
    in_log: bool,
) -> None:
    words = (*HALVE, *flags, "-f", "in.png", "out.png")
    shown = run(*words, stderr=terminal.theirs, environment=variables)
    logged = run(*words, environment=variables)
    text = terminal.all()

    assert shown.returncode == logged.returncode == 0
    assert "in.png" in text
    assert ("\x1b" in text) is on_terminal
    assert (b"\x1b" in logged.stderr) is in_log


# What is printed


def test_a_file_is_summed_up_on_stderr(run: Run) -> None:
    done = run("avg", "-k", "3x4", "--dilation", 1, "in.png", "out.png")
    text = done.stderr.decode()

    for part in ("in.png", "out.png", "6×8×3 → 1×2×3", "uint8", "RGB", "3x4", "read", "pool"):
        assert part in text
    assert "2 rows" in text
    assert "2 columns" in text
    assert done.stdout == b""


def test_quiet_runs_print_nothing_and_streams_at_most_a_line(run: Run, terminal: Terminal) -> None:
    assert run(*HALVE, "-q", "in.png", "out.png").stderr == b""
    assert run(*HALVE, "in.png", "-").stderr == b""
    assert run(*HALVE, "-v", "in.png", "-").stderr.count(b"\n") == 1
    assert run(*HALVE, "in.png", "-", stderr=terminal.theirs).returncode == 0
    assert terminal.all().count("\n") == 1


@pytest.mark.parametrize("paths", [("bad.png", "out.png"), (*FORCE, "bad", "out")])
def test_a_traceback_is_shown_only_on_demand(run: Run, tmp_path: Path, paths: Words) -> None:
    (tmp_path / "bad").mkdir()
    for name in ("bad.png", "bad/bad.png"):
        (tmp_path / name).write_bytes(b"no picture")
    for flag, traced in (("-q", False), ("-v", False), ("-vv", True)):
        done = run(*HALVE, flag, *paths)
        assert done.returncode == 1
        assert b"poolcli: " in done.stderr
        assert (b"Traceback" in done.stderr) is traced


@pytest.mark.parametrize("verb", [(), *((row.name,) for row in METHODS)])
def test_help_is_printed_on_stdout(run: Run, verb: tuple[str, ...]) -> None:
    done, by_verb = run(*verb, "--help"), run("help", *verb)

    assert (done.returncode, done.stderr, done.stdout) == (0, b"", by_verb.stdout)
    assert done.stdout.startswith(b"Usage: poolcli")
    assert b"poolcli max --size 2 --stride 2" in done.stdout or verb not in {(), ("max",)}


@pytest.mark.parametrize("verb", METHODS, ids=lambda row: str(row.name))
def test_the_short_help_shows_what_most_runs_need_in_thirty_lines(run: Run, verb: Row) -> None:
    done = run(verb.name, "-h", environment={"COLUMNS": "80"})
    text = done.stdout.decode()
    common = "-k -s -p --output-size --fit --levels --format --quality --background --name -f"
    own = [option.flag for option in verb.options]
    shown = [line.split()[0].rstrip(",") for line in text.splitlines() if line[2:3] == "-"]

    assert (done.returncode, done.stderr) == (0, b"")
    assert len(text.splitlines()) <= 30
    assert text.count(f"poolcli {verb.name} ") == 5  # usage, three examples, the way to all options
    assert {*shown} == {*common.split(), "--skip-existing", "-j", "-n", "-q", *own}
    assert f"poolcli {verb.name} --help" in text.splitlines()[-1]


def test_a_verb_alone_shows_two_examples(run: Run) -> None:
    done = run("avg")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().count("\n  poolcli avg --") == 2


def test_versions_are_printed_on_stdout_and_help_on_stderr_without_arguments(run: Run) -> None:
    for flag in ("--version", "-V"):
        version = run(flag)
        lines = version.stdout.decode().splitlines()
        assert (version.returncode, version.stderr) == (0, b"")
        assert lines[:2] == [f"poolcli {__version__}", f"Python {sys.version.split()[0]}"]
        assert lines[2:4] == [f"NumPy {np.__version__}", f"Pillow {PIL.__version__}"]
        optional = [line.split()[0] for line in lines[4:]]
        packages = ["imagecodecs", "tifffile", "pillow_heif", "obstore", "distributed"]
        assert optional == packages
    nothing = run()
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert nothing.stderr.startswith(b"Usage: poolcli")


# JSON


def test_json_tells_all_of_a_file_and_the_totals(run: Run, source: Path, tmp_path: Path) -> None:
    window = ("--size", "3x2", "--stride", "2x3", "--padding", "1,0,2,1", "--dilation", "1x2")
    done = run("avg", *window, "--json", "in.png", "out.png")
    outcome, last = objects(done.stdout)
    octets = source.stat().st_size, (tmp_path / "out.png").stat().st_size
    totals = last["summary"]

    assert done.returncode == 0
    assert tuple(outcome) == JSON_KEYS
    assert all(0 <= outcome.pop(key) < 600 for key in SECONDS)
    assert list(outcome.values()) == [
        *("in.png", "out.png", "done", "avg", [2, 3], [3, 2], [2, 1], [[0, 1], [1, 2]], 1),
        *([6, 8, 3], [2, 5, 3], [0, 0], "uint8", "RGB", *octets, *(None,) * 6, [], []),
    ]
    assert list(last) == ["summary"]
    assert [totals[key] for key in ("done", "skipped", "failed", "planned")] == [1, 0, 0, 0]
    assert (totals["pixels_in"], totals["pixels_out"]) == (48, 10)
    assert (totals["bytes_in"], totals["bytes_out"]) == octets


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ("max", "-k", "3x2", SAMPLES / "scene.jpg", "out.png")),
        (0, ("avg", "-k", 5, "-p", "same", "--background", "white", SAMPLES / "logo.png", "o.png")),
        (0, ("avg", "-k", 4, "--ceil-mode", SAMPLES / "scan.png", "out.png")),
        (0, ("min", "-k", 7, "-s", 9, "-d", 2, SAMPLES / "depth.png", "out.png")),
        (0, ("max", "-k", 3, "--format", "webp", SAMPLES / "palette.png", "out")),
        (1, (*HALVE, "none.png", "out.png")),
        (1, ("max", "--size", "99", "in.png", "out.png")),
        (1, (*HALVE, "clear.png", "out.jpg")),
        (2, (*HALVE, "in.png", "clear.png")),
        (2, (*HALVE, "in.png", "out.xyz")),
    ],
)
def test_a_dry_run_tells_what_the_run_tells_exits_as_it_and_writes_nothing(
    run: Run, tmp_path: Path, code: int, words: Words
) -> None:
    before = snapshot(tmp_path)
    planned, piped = run(*words, "--json", "--dry-run"), run(*words[:-1], "-", "--dry-run")
    after = snapshot(tmp_path)
    done = run(*words, "--json")

    assert planned.returncode == done.returncode == code
    assert (before, piped.stdout) == (after, b"")
    if code < 2:
        (dry,), (real,) = outcomes(planned), outcomes(done)
        assert (dry["status"], real["status"]) == [("planned", "done"), ("failed", "failed")][code]
        assert [dry[key] for key in SETTLED] == [real[key] for key in SETTLED]


# Everything that is refused, once


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--quality 90", "--quality"),
        ("--save-option progressive=yes", "progressive"),
        ("--save-option compress_level=10", "'10'"),
    ],
)
def test_options_without_effect_on_a_stream_are_refused_once_its_format_is_known(
    fails: Fails, words: str, part: str, flags: tuple[str, ...]
) -> None:
    assert part in fails(1, *HALVE, *words.split(), *flags, "in.png", "-")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("blur in.png out.png", "blur"),
        ("max --frob in.png out.png", "--frob"),
        ("max in.png out.png", "--size"),
        ("max --size 0 in.png out.png", "'0'"),
        ("max -k 2 --stride 0 in.png out.png", "'0'"),
        ("max -k 2 --dilation 0 in.png out.png", "'0'"),
        ("max -k 3 --padding 9 in.png out.png", "padding 9 is too large"),
        ("max -k 3 --padding half in.png out.png", "'half'"),
        ("max -k 2 --alpha some in.png out.png", "--alpha"),
        ("max -k 2 --nan drop in.png out.png", "--nan"),
        ("max -k 2 --color loud in.png out.png", "--color"),
        ("max -k 2 --format doc in.png out.png", "--format"),
        ("max -k 2 --max-pixels 0 in.png out.png", "--max-pixels"),
        ("max -k 2 --count-include-pad in.png out.png", "--count-include-pad"),
        ("avg -k 2 --divisor-override 0 in.png out.png", "--divisor-override"),
        ("max -k 2 --quality 101 in.png out.jpg", "--quality"),
        ("max -k 2 --quality 90 in.png out.png", "--quality"),
        ("max -k 2 --quality 90 --format png folder out", "--quality"),
        ("max -k 2 --compress-level 9 in.png out.jpg", "--compress-level"),
        ("max -k 2 --compress-level 10 in.png out.png", "--compress-level"),
        ("max -k 2 --save-option nothing=1 in.png out.png", "'nothing=1'"),
        ("max -k 2 --save-option compression=best in.png out.tif", "'best'"),
        ("max -k 2 --background nonsense in.png out.png", "'nonsense'"),
        ("max -k 2 --background #ff000080 in.png out.png", "opaque"),
        ("max -k 2 -f --skip-existing in.png out.png", "exclude each other"),
        ("max -k 2 -j 0 folder out", "-j is"),
        ("max -k 2 --timeout 0 folder out", "--timeout"),
        ("max -k 2 --timeout inf folder out", "--timeout"),
        ("max -k 2 --name= in.png folder/", "--name"),
        ("max -k 2 --name .. in.png folder/", "--name"),
        ("max -k 2 --name {stem!r} in.png folder/", "--name"),
        ("max -k 2 in.png", "in.png"),
        ("max -k 2 in.png other.png out.png", "out.png"),
        ("max -k 2 in.png out.xyz", ".xyz"),
        ("max -k 2 in.png out", "--format"),
        ("max -k 2 in.png none/out.png", "none"),
        ("max -k 2 folder out.png", "folder"),
        ("max -k 2 in.png taken.png", "--overwrite"),
        ("max -k 2 in.png link.png", "link.png"),
        ("max -k 2 --json in.png -", "--json"),
        ("max -k 2 --json in.png /dev/stdout", "--json"),
        ("max -k 2 --json in.png /dev/fd/1", "--json"),
    ],
)
def test_refused_before_a_file_is_read(fails: Fails, tmp_path: Path, words: str, part: str) -> None:
    (tmp_path / "taken.png").write_bytes(b"old")
    (tmp_path / "other.png").write_bytes((tmp_path / "in.png").read_bytes())
    paint_all(tmp_path / "folder", "a.png")
    (tmp_path / "link.png").symlink_to("leads nowhere")

    line = fails(2, *words.split())

    assert part in line
    assert "; " in line


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--skip-existing",)])
@pytest.mark.parametrize("output", ["in.png", "./in.png", "hard.png", "soft.png"])
def test_an_output_that_is_the_input_is_refused_always(
    fails: Fails, source: Path, tmp_path: Path, output: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "hard.png").hardlink_to(source)
    (tmp_path / "soft.png").symlink_to(source)

    assert "input" in fails(2, *HALVE, *flags, "in.png", output)


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off in its header": lambda whole: whole[:20],
    "cut off in its pixels": lambda whole: whole[:-30],
    "text": lambda _: b"this is no picture\n" * 99,
    "EPS": lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned) = flush\n",
    "nothing but a signature": lambda _: b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("output", ["out.png", "-"])
def test_what_is_no_whole_picture_fails_without_any_output(
    fails: Fails, tmp_path: Path, kind: str, output: str
) -> None:
    content = CONTENTS[kind]((SAMPLES / "logo.png").read_bytes())
    (tmp_path / "odd.png").write_bytes(content)
    for name, line in (
        ("odd.png", fails(1, *HALVE, "odd.png", output)),
        ("stdin", fails(1, *HALVE, "-", output, input=content)),
    ):
        assert line.startswith(f"poolcli: {name}: ")
        assert "; " in line


@pytest.mark.parametrize(
    ("words", "part", "remedies", "shape"),
    [
        (("max", "--size", 9, "in.png", "out.png"), "spans 9", ("--ceil-mode",), (1, 1, 3)),
        (("max", "--size", 9, "in.png", "out.png"), "ceil", ("--padding", "same"), (1, 1, 3)),
        ((*HALVE, "clear.png", "out.jpg"), "--background", ("--background", "white"), (2, 2, 3)),
        (
            (*HALVE, "--max-pixels", 47, "in.png", "out.png"),
            "--max-pixels",
            ("--max-pixels", 48),
            (3, 4, 3),
        ),
        (("avg", "-k", 2, SAMPLES / "scan.png", "out.pbm"), ".pgm", None, ()),
        ((*HALVE, "in.png", "x" * 260 + ".png"), "too long", None, ()),
        ((*HALVE, "none.png", "out.png"), "No such file", None, ()),
    ],
)
def test_what_cannot_be_done_fails_and_its_remedy_works(
    run: Run,
    fails: Fails,
    tmp_path: Path,
    words: Words,
    part: str,
    remedies: Words | None,
    shape: tuple[int, ...],
) -> None:
    assert part in fails(1, *words)
    if remedies is not None:
        assert run(*words, *remedies).returncode == 0
        assert np.shape(pixels(tmp_path / str(words[-1]))) == shape


# Interruptions


@pytest.fixture
def reading(noise: Path, tmp_path: Path) -> Iterator[Process]:
    """A poolcli that has read a part of a picture from its pipe and waits for the rest."""
    words = ("max", "-k", 50, "--quiet", "-", "out.png")
    with started(*words, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(noise.read_bytes()[: 4 * PIPE_HOLDS])  # more than the pipe holds alone
        process.stdin.flush()
        yield process


ENDING = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@ENDING
def test_a_signal_is_one_line(reading: Process, tmp_path: Path, number: int, code: int) -> None:
    before = snapshot(tmp_path)
    reading.send_signal(number)
    done = finish(reading)

    assert done.returncode == code
    assert only_line(done)
    assert snapshot(tmp_path) == before


SIGNAL_AT_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
"""


@ENDING
@pytest.mark.parametrize("module", ["poolcli.storage", "numpy"])
def test_a_signal_during_the_start_ends_it_without_a_traceback(
    tmp_path: Path, module: str, number: int, code: int
) -> None:
    before = snapshot(tmp_path)
    finder = SIGNAL_AT_IMPORT.format(module=module, number=number)
    done = run_after(f"{TAKE_SIGNALS}\n{finder}", *HALVE, "in.png", "out.png", cwd=tmp_path)

    assert b"Traceback" not in done.stderr
    assert done.returncode in (code, -number)
    assert snapshot(tmp_path) == before


def test_a_signal_ends_a_run_that_waits_for_the_reader_of_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")

    def is_opening() -> bool:
        kernel_function = Path(f"/proc/{process.pid}/wchan").read_text()
        return asleep(process) and (
            any(part in kernel_function for part in ("fifo", "wait")) or kernel_function == "0"
        )

    with started(*HALVE, "in.png", "fifo.png", cwd=tmp_path) as process:
        until(is_opening)
        process.terminate()
        done = finish(process)

    assert done.returncode == 143
    assert only_line(done)


# Names from outside


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_odd_names_work_and_are_escaped(run: Run, fails: Fails, tmp_path: Path, kind: str) -> None:
    given, wanted = ODD_NAMES[kind], b"-" + ODD_NAMES[kind]
    refused = fails(2, *HALVE, "--", b"in.png", given + b".xyz")
    failed = fails(1, *HALVE, "--", given, b"out.png")
    (tmp_path / "in.png").rename(tmp_path / os.fsdecode(given))
    done = run(*HALVE, "--json", "--", given, wanted)
    (outcome,) = outcomes(done)

    assert done.returncode == 0
    assert (tmp_path / os.fsdecode(wanted)).is_file()
    assert (os.fsencode(outcome["input"]), os.fsencode(outcome["output"])) == (given, wanted)
    assert has_only_printable_lines(refused + failed + done.stderr.decode())
    assert ".png.xyz" in refused
    assert ".png: " in failed


@pytest.mark.parametrize("option", ["--size", "--padding", "--save-option", "--background"])
def test_odd_values_of_options_are_escaped_in_errors(fails: Fails, option: str) -> None:
    size = () if option == "--size" else ("--size", 2)
    line = fails(2, "max", *size, option, b"\x1b[31m\n\xff[/foo]", "in.png", "out.png")

    assert has_only_printable_lines(line)
    assert "[/foo]" in line
