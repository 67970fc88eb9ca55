"""One picture from the command line: files, streams, refusals, and everything that is printed."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolcli import __version__
from tests.support.output import (
    ODD_NAMES,
    has_only_printable_lines,
    objects,
    only_line,
    outcomes,
    summary,
)
from tests.support.processes import (
    HALVE,
    POOLCLI,
    TAKE_SIGNALS,
    Process,
    Run,
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
KEYS = [
    *("input", "output", "status", "method", "size", "stride", "dilation", "padding", "frames"),
    *("input_shape", "output_shape", "dropped", "dtype", "mode"),
    *("read_seconds", "pool_seconds", "write_seconds", "input_bytes", "output_bytes", "error"),
]
SECONDS = [key for key in KEYS if key.endswith("_seconds")]
SETTLED = [key for key in KEYS if key != "status" and not key.endswith(("_seconds", "_bytes"))]


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
def test_a_file_is_pooled_into_a_file(
    run: Run, tmp_path: Path, verb: str, expected: list[list[int]]
) -> None:
    array = np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(array).save(tmp_path / "in.png")

    done = run(verb, "--size", 2, "--stride", 2, "in.png", "out.png")

    assert (done.returncode, done.stdout) == (0, b"")
    assert pixels(tmp_path / "out.png") == expected


def test_file_pipe_and_bare_pipe_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    words = ("avg", "-k", "3x2", "-s", 2, "-p", "same")
    octets = SAMPLE.read_bytes()
    filed = run(*words, SAMPLE, "out.png")
    from_pipe = run(*words, "-", "piped.png", input=octets)
    to_pipe = run(*words, SAMPLE, "-")
    named = run(*words, SAMPLE, "/dev/stdout")
    piped = run(*words, "-", "-", input=octets)
    bare = run(*words, input=octets)
    with SAMPLE.open("rb") as stdin:
        redirected = run(*words, stdin=stdin)
    expected = (tmp_path / "out.png").read_bytes()

    assert {
        one.returncode for one in (filed, from_pipe, to_pipe, named, piped, bare, redirected)
    } == {0}
    assert (tmp_path / "piped.png").read_bytes() == expected
    assert {one.stdout for one in (to_pipe, named, piped, bare, redirected)} == {expected}
    assert {one.stderr for one in (to_pipe, named, piped, bare, redirected)} == {b""}


def test_two_poolclis_in_a_row_equal_two_steps_through_a_file(run: Run, tmp_path: Path) -> None:
    command = '"$@" max -k 3 | "$@" avg -k 2 - -'
    with SAMPLE.open("rb") as stdin:
        piped = subprocess.run(
            ["/bin/sh", "-c", command, "sh", *POOLCLI], stdin=stdin, capture_output=True, check=True
        )
    run("max", "-k", 3, SAMPLE, "between.png")
    run("avg", "-k", 2, "between.png", "out.png")

    assert piped.stderr == b""
    assert piped.stdout == (tmp_path / "out.png").read_bytes()


def test_a_stream_is_written_in_the_format_of_its_input_unless_told(run: Run) -> None:
    jpeg = (SAMPLES / "scene.jpg").read_bytes()

    assert run("avg", "-k", 8, input=jpeg).stdout.startswith(b"\xff\xd8")
    assert run("avg", "-k", 8, "--format", "PNG", input=jpeg).stdout.startswith(b"\x89PNG")


def test_a_single_file_lands_in_an_existing_folder_under_its_own_name(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()

    assert run(*HALVE, "in.png", "small").returncode == 0
    assert (tmp_path / "small/in.png").is_file()


# Streams by name


def test_standard_output_is_written_in_place_where_it_stands(
    run: Run, tmp_path: Path, halved: bytes
) -> None:
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
def test_a_fifo_is_written_and_stays_a_fifo(
    run: Run, tmp_path: Path, flags: tuple[str, ...], halved: bytes
) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    reader = os.open(tmp_path / "fifo.png", os.O_RDWR | os.O_NONBLOCK)
    done = run(*HALVE, *flags, "in.png", "fifo.png")
    received = os.read(reader, PIPE_HOLDS)
    os.close(reader)

    assert done.returncode == 0
    assert received == halved
    assert stat.S_ISFIFO((tmp_path / "fifo.png").stat().st_mode)


def test_a_fifo_is_read(run: Run, source: Path, tmp_path: Path, halved: bytes) -> None:
    os.mkfifo(tmp_path / "fifo")
    content = source.read_bytes()
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(content,), daemon=True)
    writer.start()
    done = run(*HALVE, "fifo", "-")
    writer.join()

    assert (done.returncode, done.stdout) == (0, halved)


def test_a_device_is_written_and_never_replaced(run: Run) -> None:
    done = run(*HALVE, "--overwrite", "in.png", "/dev/null")

    assert done.returncode == 0
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
def test_a_reader_that_leaves_early_ends_the_run_quietly(
    noise: Path, tmp_path: Path, output: str
) -> None:
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
def test_a_reader_that_was_gone_before_the_first_write_ends_the_run_quietly(
    run: Run, words: tuple[object, ...]
) -> None:
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
def test_a_full_device_is_one_line(tmp_path: Path, words: tuple[object, ...]) -> None:
    paint_all(tmp_path / "pair", "a.png", "b.png")
    done = run_redirected(">/dev/full", *words, cwd=tmp_path)

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


@pytest.mark.parametrize("content", [b"", b"garbage " * 99], ids=["empty", "garbage"])
@pytest.mark.parametrize("output", ["-", "out.png"])
def test_stdin_without_a_picture_is_one_line_and_no_output(
    fails: Fails, content: bytes, output: str
) -> None:
    line = fails(1, *HALVE, "-", output, input=content)

    assert line.startswith("poolcli: stdin: ")
    assert "; " in line


# Terminals


@pytest.mark.parametrize("named", [False, True])
def test_pixels_are_not_written_to_a_terminal(
    fails: Fails, terminal: Terminal, named: bool
) -> None:
    if named:
        line = fails(2, *HALVE, "in.png", os.ttyname(terminal.theirs))
    else:
        line = fails(2, *HALVE, "in.png", "-", stdout=terminal.theirs)

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


def test_a_stream_is_summed_up_in_one_line_if_somebody_is_there(
    run: Run, terminal: Terminal
) -> None:
    assert run(*HALVE, "in.png", "-", stderr=terminal.theirs).returncode == 0
    assert terminal.all().count("\n") == 1


# What is printed


def test_a_file_is_summed_up_on_stderr(run: Run) -> None:
    done = run("avg", "-k", "3x4", "--dilation", 1, "in.png", "out.png")
    text = done.stderr.decode()

    for part in ("in.png", "out.png", "6×8×3 → 1×2×3", "uint8", "RGB", "3x4", "read", "pool"):
        assert part in text
    assert "2 rows" in text
    assert "2 columns" in text
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("words", "lines"),
    [(("-q", "in.png", "out.png"), 0), (("in.png", "-"), 0), (("-v", "in.png", "-"), 1)],
)
def test_quiet_runs_print_nothing_and_streams_one_line_when_verbose(
    run: Run, words: tuple[str, ...], lines: int
) -> None:
    assert run(*HALVE, *words).stderr.count(b"\n") == lines


@pytest.mark.parametrize(
    ("flags", "traced"),
    [(("-q",), False), ((), False), (("-v",), False), (("-v", "-v"), True), (("-vv",), True)],
)
def test_a_traceback_is_shown_only_when_asked_for_twice(
    run: Run, tmp_path: Path, flags: tuple[str, ...], traced: bool
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = run(*HALVE, *flags, "bad.png", "out.png")

    assert done.returncode == 1
    assert done.stderr.startswith(b"poolcli: bad.png: ")
    assert (b"Traceback" in done.stderr) is traced


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("verb", [(), ("max",), ("min",), ("avg",)])
def test_help_is_printed_on_stdout(run: Run, verb: tuple[str, ...], flag: str) -> None:
    done = run(*verb, flag)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage: poolcli")
    assert b"poolcli max --size 2 --stride 2" in done.stdout or verb in {("min",), ("avg",)}
    assert done.stdout.index(b"--size") < done.stdout.index(b"-h, --help")


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_printed_on_stdout_and_help_on_stderr_without_arguments(
    run: Run, flag: str
) -> None:
    version, nothing = run(flag), run()

    assert (version.returncode, version.stderr) == (0, b"")
    assert version.stdout.decode() == f"poolcli {__version__}\n"
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert nothing.stderr.startswith(b"Usage: poolcli")


# JSON


def test_json_tells_all_of_a_file_and_then_the_totals(
    run: Run, source: Path, tmp_path: Path
) -> None:
    done = run(
        *("avg", "--size", "3x2", "--stride", "2x3", "--padding", "1,0,2,1"),
        *("--dilation", "1x2", "--json", "in.png", "out.png"),
    )
    outcome, last = objects(done.stdout)
    octets = source.stat().st_size, (tmp_path / "out.png").stat().st_size
    totals = last["summary"]

    assert done.returncode == 0
    assert list(outcome) == KEYS
    assert all(0 <= outcome[key] < 600 for key in SECONDS)
    assert outcome | dict.fromkeys(SECONDS) == {
        "input": "in.png",
        "output": "out.png",
        "status": "done",
        "method": "avg",
        "size": [2, 3],
        "stride": [3, 2],
        "dilation": [2, 1],
        "padding": [[0, 1], [1, 2]],
        "frames": 1,
        "input_shape": [6, 8, 3],
        "output_shape": [2, 5, 3],
        "dropped": [0, 0],
        "dtype": "uint8",
        "mode": "RGB",
        **dict.fromkeys(SECONDS),
        "input_bytes": octets[0],
        "output_bytes": octets[1],
        "error": None,
    }
    assert list(last) == ["summary"]
    assert [totals[key] for key in ("done", "skipped", "failed", "planned")] == [1, 0, 0, 0]
    assert (totals["pixels_in"], totals["pixels_out"]) == (48, 10)
    assert (totals["bytes_in"], totals["bytes_out"]) == octets


def test_json_resolves_padding_and_counts_what_is_dropped(run: Run) -> None:
    (same,) = outcomes(run("max", "-k", 4, "-p", "same", "--json", "in.png", "same.png"))
    (valid,) = outcomes(run("max", "-k", 4, "-p", "valid", "--json", "in.png", "valid.png"))

    assert (same["padding"], same["dropped"]) == ([[1, 1], [0, 0]], [0, 0])
    assert (valid["padding"], valid["dropped"]) == ([[0, 0], [0, 0]], [2, 0])


@pytest.mark.parametrize(
    ("name", "flag", "status"),
    [
        ("bad.png", "--json", "failed"),
        ("in.png", "--skip-existing", "skipped"),
        ("nan.tif", "--overwrite", "done"),
    ],
)
def test_json_tells_of_any_ending_with_the_same_keys(
    run: Run, tmp_path: Path, name: str, flag: str, status: str
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    if status != "failed":
        (tmp_path / "out.tif").write_bytes(b"old")
    done = run(*HALVE, "--json", flag, name, "out.tif")
    (outcome,) = outcomes(done)

    assert done.returncode == (status == "failed")
    assert (list(outcome), outcome["status"]) == (KEYS, status)
    assert summary(done)[status] == 1
    if status == "failed":
        assert set(outcome["error"]) == {"message", "remedy"}
        assert "no picture" in outcome["error"]["message"]
        assert done.stderr.count(b"\n") == 1
    elif status == "skipped":
        assert (tmp_path / "out.tif").read_bytes() == b"old"
    else:
        assert outcome["dtype"] == "float32"


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
def test_json_and_pixels_do_not_share_stdout(fails: Fails, output: str) -> None:
    assert "--json" in fails(2, *HALVE, "--json", "in.png", output)


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
    run: Run, tmp_path: Path, code: int, words: tuple[object, ...]
) -> None:
    before = snapshot(tmp_path)
    planned = run(*words, "--json", "--dry-run")
    after = snapshot(tmp_path)
    done = run(*words, "--json")

    assert planned.returncode == done.returncode == code
    assert before == after
    if code < 2:
        (dry,), (real,) = outcomes(planned), outcomes(done)
        assert (dry["status"], real["status"]) == [("planned", "done"), ("failed", "failed")][code]
        assert [dry[key] for key in SETTLED] == [real[key] for key in SETTLED]


def test_a_dry_run_writes_no_pixels_into_a_pipe(run: Run) -> None:
    done = run(*HALVE, "--dry-run", "in.png", "-")

    assert (done.returncode, done.stdout) == (0, b"")


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
        ("max --size abc in.png out.png", "'abc'"),
        ("max --size 2x in.png out.png", "'2x'"),
        ("max --size 2x2x2 in.png out.png", "'2x2x2'"),
        ("max --size -2 in.png out.png", "'-2'"),
        ("max --size 1.5 in.png out.png", "'1.5'"),
        ("max -k 2 --stride -1 in.png out.png", "'-1'"),
        ("max -k 2 --stride 0 in.png out.png", "'0'"),
        ("max -k 2 --dilation 0 in.png out.png", "'0'"),
        ("max -k 3 --padding 9 in.png out.png", "padding 9 is too large"),
        ("max -k 3 --padding 1,2,3 in.png out.png", "'1,2,3'"),
        ("max -k 3 --padding -1 in.png out.png", "'-1'"),
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
        ("max -k 2 --save-option optimize in.png out.png", "'optimize'"),
        ("max -k 2 --save-option nothing=1 in.png out.png", "'nothing=1'"),
        ("max -k 2 --save-option progressive=yes in.png out.png", "progressive"),
        ("max -k 2 --save-option optimize=perhaps in.png out.png", "'perhaps'"),
        ("max -k 2 --save-option compression=best in.png out.tif", "'best'"),
        ("max -k 2 --background nonsense in.png out.png", "'nonsense'"),
        ("max -k 2 --background #ff000080 in.png out.png", "opaque"),
        ("max -k 2 -f --skip-existing in.png out.png", "exclude each other"),
        ("max -k 2 -j 0 folder out", "--jobs"),
        ("max -k 2 --timeout 0 folder out", "--timeout"),
        ("max -k 2 --timeout nan folder out", "--timeout"),
        ("max -k 2 --timeout inf folder out", "--timeout"),
        ("max -k 2 --name= in.png folder/", "--name"),
        ("max -k 2 --name .. in.png folder/", "--name"),
        ("max -k 2 --name a/b in.png folder/", "--name"),
        ("max -k 2 --name {stem!r} in.png folder/", "--name"),
        ("max -k 2 in.png", "in.png"),
        ("max -k 2 in.png other.png out.png", "out.png"),
        ("max -k 2 in.png out.xyz", ".xyz"),
        ("max -k 2 in.png out", "--format"),
        ("max -k 2 in.png none/out.png", "none"),
        ("max -k 2 folder out.png", "folder"),
        ("max -k 2 in.png taken.png", "taken.png"),
        ("max -k 2 in.png link.png", "link.png"),
    ],
)
def test_refused_before_anything_is_read(
    fails: Fails, source: Path, tmp_path: Path, words: str, part: str
) -> None:
    (tmp_path / "taken.png").write_bytes(b"old")
    (tmp_path / "other.png").write_bytes(source.read_bytes())
    paint_all(tmp_path / "folder", "a.png")
    (tmp_path / "link.png").symlink_to("leads nowhere")

    line = fails(2, *words.split())

    assert part in line
    assert "; " in line


def test_an_existing_output_is_named_with_the_option_that_replaces_it(
    run: Run, fails: Fails, tmp_path: Path
) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    line = fails(2, *HALVE, "in.png", "out.png")

    assert "out.png" in line
    assert "--overwrite" in line
    assert run(*HALVE, "--overwrite", "in.png", "out.png").returncode == 0
    assert np.shape(pixels(tmp_path / "out.png")) == (3, 4, 3)


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
    "text": lambda _: b"this is no picture\n",
    "EPS": lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned) = flush\n",
    "nothing but a signature": lambda _: b"\x89PNG\r\n\x1a\n",
    "missing": lambda _: b"",
}


@pytest.mark.parametrize("output", ["out.png", "-"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_that_is_no_whole_picture_fails_without_any_output(
    fails: Fails, tmp_path: Path, kind: str, output: str
) -> None:
    if kind != "missing":
        content = CONTENTS[kind]((SAMPLES / "logo.png").read_bytes())
        (tmp_path / "odd.png").write_bytes(content)

    line = fails(1, *HALVE, "odd.png", output)

    assert line.startswith("poolcli: odd.png: ")
    assert "; " in line


def test_an_input_is_read_by_its_content_whatever_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "really.jpg").write_bytes((tmp_path / "in.png").read_bytes())

    assert run(*HALVE, "really.jpg", "out.png").returncode == 0
    assert run(*HALVE, "in.png", "-").stdout == (tmp_path / "out.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "parts", "remedies", "shape"),
    [
        (
            ("max", "--size", 9, "in.png", "out.png"),
            ("spans 9", "ceil", "same"),
            [("--ceil-mode",), ("--padding", "same")],
            (1, 1, 3),
        ),
        (
            (*HALVE, "clear.png", "out.jpg"),
            ("--background",),
            [("--background", "white")],
            (2, 2, 3),
        ),
        (
            (*HALVE, "--max-pixels", 47, "in.png", "out.png"),
            ("--max-pixels",),
            [("--max-pixels", 48)],
            (3, 4, 3),
        ),
        (("avg", "-k", 2, SAMPLES / "scan.png", "out.pbm"), (".pgm",), [], ()),
        ((*HALVE, "in.png", "x" * 260 + ".png"), ("too long",), [], ()),
    ],
    ids=["window", "alpha", "pixels", "bitmap", "name"],
)
def test_what_cannot_be_done_fails_and_its_remedies_work(
    run: Run,
    fails: Fails,
    tmp_path: Path,
    words: tuple[object, ...],
    parts: tuple[str, ...],
    remedies: list[tuple[object, ...]],
    shape: tuple[int, ...],
) -> None:
    line = fails(1, *words)
    results = []
    for remedy in remedies:
        assert run(*words, "-f", *remedy).returncode == 0
        results.append(pixels(tmp_path / str(words[-1])))

    assert all(part in line for part in parts)
    assert all(one == results[0] and np.shape(one) == shape for one in results)


# Permissions, full disks, interruptions

DROP_PRIVILEGES = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""
"""What lets root read and write everything goes; the files of root are still its own."""

AS_ANYBODY = DROP_PRIVILEGES if os.geteuid() == 0 else ""


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_somebody_without_privileges_can_pool(
    run: Run, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    done = run(*HALVE, "-q", *flags, "in.png", "out.png", first=AS_ANYBODY)

    assert (done.returncode, done.stderr) == (0, b"")
    assert np.shape(pixels(tmp_path / "out.png")) == (3, 4, 3)


@pytest.mark.parametrize(
    ("locked", "mode", "flags", "output"),
    [
        ("in.png", 0, (), "out.png"),
        (".", 0o555, (), "out.png"),
        (".", 0o555, ("--overwrite",), "clear.png"),
    ],
)
def test_what_may_not_be_read_or_written_fails(
    fails: Fails, tmp_path: Path, locked: str, mode: int, flags: tuple[str, ...], output: str
) -> None:
    (tmp_path / locked).chmod(mode)
    line = fails(1, *HALVE, *flags, "in.png", output, first=AS_ANYBODY)
    (tmp_path / locked).chmod(0o755)

    assert "Permission denied" in line


LIMIT_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({PIPE_HOLDS},) * 2)"


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        *(("out.png", ()), ("out.jpg", ()), ("out.tif", ()), ("out.bmp", ())),
        ("old.png", ("--overwrite",)),
    ],
)
def test_a_file_that_may_not_grow_further_leaves_nothing_behind(
    fails: Fails, noise: Path, tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    line = fails(1, "max", "-k", 1, *flags, noise, name, first=LIMIT_FILES)

    assert os.strerror(errno.EFBIG) in line


@pytest.fixture
def reading(noise: Path, tmp_path: Path) -> Iterator[Process]:
    """A poolcli that has read a part of a picture from its pipe and waits for the rest."""
    words = ("max", "-k", 50, "--quiet", "-", "out.png")
    with started(*words, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(noise.read_bytes()[: 4 * PIPE_HOLDS])  # more than the pipe holds alone
        process.stdin.flush()
        yield process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_one_line(
    reading: Process, tmp_path: Path, number: signal.Signals, code: int
) -> None:
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["poolcli.storage", "poolcli.plan", "numpy", "PIL.Image"])
def test_a_signal_during_the_start_ends_it_without_a_traceback(
    tmp_path: Path, module: str, number: signal.Signals, code: int
) -> None:
    before = snapshot(tmp_path)
    finder = SIGNAL_AT_IMPORT.format(module=module, number=int(number))
    done = run_after(f"{TAKE_SIGNALS}\n{finder}", *HALVE, "in.png", "out.png", cwd=tmp_path)

    assert b"Traceback" not in done.stderr
    assert done.returncode in (code, -number)
    assert snapshot(tmp_path) == before


def test_a_file_that_appears_during_the_run_stays(
    reading: Process, noise: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.png").write_bytes(b"somebody else's")
    before = snapshot(tmp_path)
    done = finish(reading, noise.read_bytes()[4 * PIPE_HOLDS :])

    assert done.returncode == 1
    assert "--overwrite" in only_line(done)
    assert snapshot(tmp_path) == before


def test_a_signal_ends_a_run_that_waits_for_the_reader_of_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    with started(*HALVE, "in.png", "fifo.png", cwd=tmp_path) as process:
        until(lambda: waits_for_a_reader(process))
        process.terminate()
        done = finish(process)

    assert done.returncode == 143
    assert only_line(done)


def waits_for_a_reader(process: Process) -> bool:
    """Return whether a process sleeps in the kernel's `open` of a FIFO, where that can be told."""
    waiting = Path(f"/proc/{process.pid}/wchan").read_text()
    return asleep(process) and ("fifo" in waiting or "wait" in waiting or waiting == "0")


# Names from outside


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_odd_names_work_and_are_shown_escaped(
    run: Run, source: Path, tmp_path: Path, kind: str
) -> None:
    given, wanted = ODD_NAMES[kind], b"-" + ODD_NAMES[kind]
    source.rename(tmp_path / os.fsdecode(given))

    done = run(*HALVE, "--json", "--", given, wanted)
    (outcome,) = outcomes(done)

    assert done.returncode == 0
    assert (tmp_path / os.fsdecode(wanted)).is_file()
    assert (os.fsencode(outcome["input"]), os.fsencode(outcome["output"])) == (given, wanted)
    assert has_only_printable_lines(done.stderr.decode())


@pytest.mark.parametrize("kind", ODD_NAMES)
def test_odd_names_are_escaped_where_they_are_refused_or_fail(fails: Fails, kind: str) -> None:
    refused = fails(2, *HALVE, "--", b"in.png", ODD_NAMES[kind] + b".xyz")
    failed = fails(1, *HALVE, "--", ODD_NAMES[kind], b"out.png")

    assert has_only_printable_lines(refused + failed)
    assert ".png.xyz" in refused
    assert ".png: " in failed


@pytest.mark.parametrize("option", ["--size", "--padding", "--save-option", "--background"])
def test_odd_values_of_options_are_escaped_in_errors(fails: Fails, option: str) -> None:
    size = () if option == "--size" else ("--size", 2)
    line = fails(2, "max", *size, option, b"\x1b[31m\n\xff[/foo]", "in.png", "out.png")

    assert has_only_printable_lines(line)
    assert "[/foo]" in line


# What the output keeps of the input


def test_preserve_takes_the_time_and_mode_bits_of_the_input(
    run: Run, source: Path, tmp_path: Path
) -> None:
    source.chmod(0o640)
    os.utime(source, ns=(10**18, 10**18 + 1))
    run(*HALVE, "-q", "--preserve", "in.png", "out.png")
    kept = (tmp_path / "out.png").stat()

    assert (kept.st_mtime_ns, stat.S_IMODE(kept.st_mode)) == (10**18 + 1, 0o640)


@pytest.mark.parametrize("output", ["-", "out.png"])
def test_preserve_with_a_pipe_has_nothing_to_take_and_is_refused_or_ignored(
    run: Run, source: Path, output: str
) -> None:
    done = run(*HALVE, "--preserve", "-", output, input=source.read_bytes())

    assert done.returncode == 0 or (done.returncode == 2 and "--preserve" in only_line(done))


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(
    run: Run, tmp_path: Path, umask: int
) -> None:
    run(*HALVE, "in.png", "out.png", first=f"import os; os.umask({umask})")

    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o666 & ~umask


def test_overwriting_keeps_the_permissions_and_breaks_the_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pointed.png").write_bytes(b"old")
    (tmp_path / "pointed.png").chmod(0o604)
    (tmp_path / "out.png").symlink_to("pointed.png")
    done = run(*HALVE, "-f", "in.png", "out.png")

    assert done.returncode == 0
    assert (tmp_path / "pointed.png").read_bytes() == b"old"
    assert not (tmp_path / "out.png").is_symlink()
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o604


def test_temporaries_of_dead_runs_go_and_those_of_living_ones_stay(
    run: Run, tmp_path: Path
) -> None:
    dead, living = tmp_path / ".poolcli-00000000.tmp", tmp_path / ".poolcli-ffffffff.tmp"
    dead.write_bytes(b"left")
    with living.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(*HALVE, "in.png", "out.png")

    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path)) == [living.name, "clear.png", "in.png", "out.png"]
