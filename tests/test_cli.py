from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from poolcli import __version__
from tests.conftest import SAMPLES, Run

Done = subprocess.CompletedProcess[bytes]
Fails = Callable[..., str]

POOLCLI = (sys.executable, "-m", "poolcli")
HALVE = ("max", "--size", 2)
SAMPLE = SAMPLES / "text.png"
MEGABYTE = 1 << 20
PIPE_HOLDS = 1 << 16
KEYS = [
    *("input", "output", "status", "method", "size", "stride", "dilation", "padding", "frames"),
    *("input_shape", "output_shape", "dropped", "dtype", "mode"),
    *("read_seconds", "pool_seconds", "write_seconds", "input_bytes", "output_bytes", "error"),
]
SETTLED = [key for key in KEYS if key != "status" and not key.endswith(("_seconds", "_bytes"))]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux's /proc and /dev")


# Tools


@pytest.fixture(autouse=True)
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `run` runs: in.png, a small RGB picture, and clear.png, which has alpha."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # processes start sooner
    draw_pictures(tmp_path)
    return tmp_path / "in.png"


@pytest.fixture(scope="session")
def halved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `poolcli max --size 2` makes of in.png, from file to file."""
    folder = tmp_path_factory.mktemp("halved")
    draw_pictures(folder)
    done = finish(start(*HALVE, "in.png", "out.png", cwd=folder))
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

    def fails(code: int, *words: object, **options: Any) -> str:
        before = listing(tmp_path)
        done = run(*words, **options)
        line = only_line(done)
        assert done.returncode == code, line
        assert listing(tmp_path) == before
        return line

    return fails


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a new terminal: ours, and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for descriptor in (ours, theirs):
        os.close(descriptor)


def draw_pictures(folder: Path) -> None:
    """The same pictures every time."""
    rng = np.random.default_rng(7)
    Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).save(folder / "in.png")
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(folder / "clear.png")


def listing(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether anything in a folder was touched."""
    statuses = {path.name: path.lstat() for path in folder.iterdir()}
    return {
        name: (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ino)
        for name, one in statuses.items()
    }


def only_line(done: Done) -> str:
    """The one line on stderr of a run that failed decently, with nothing on stdout."""
    text = done.stderr.decode()
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert text.endswith("\n")
    assert lines[0].startswith("poolcli: ")
    assert "Traceback" not in text
    assert not done.stdout
    return lines[0]


def pixels(path: Path) -> list[Any]:
    """The pixels of a file, as somebody else reads them."""
    with Image.open(path) as image:
        return np.asarray(image).tolist()  # type: ignore[no-any-return]


def environment(**more: str) -> dict[str, str]:
    """Our environment without what would colour the answer."""
    ours = ("POOLCLI", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_", "CLICOLOR")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"TERM": "xterm-256color"} | more


def start(*words: object, first: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """Start poolcli and don't wait; ``first`` is Python that its process runs beforehand."""
    program: Sequence[str] = POOLCLI
    if first:
        program = (sys.executable, "-c", f"{first}\nfrom poolcli.cli import main\nmain()")
    options = {"env": environment(), "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*program, *map(str, words)], **options)


def finish(process: subprocess.Popen[bytes], given: bytes | None = None) -> Done:
    """Wait for a process; kill it rather than hang."""
    try:
        out, err = process.communicate(given, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out or b"", err or b"")


def run_after(first: str, *words: object, **options: Any) -> Done:
    """Run poolcli in a process that runs some Python beforehand."""
    options = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return finish(start(*words, first=first, **options))


def run_redirected(redirections: str, *words: object, **options: Any) -> Done:
    """Run poolcli from a shell, under redirections in its language."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", *POOLCLI, *map(str, words)]
    options = {"stdin": subprocess.DEVNULL, **options}
    return subprocess.run(
        command, capture_output=True, check=False, timeout=60, env=environment(), **options
    )


def said_on(ours: int) -> str:
    """What has been printed on a terminal whose programs have ended."""
    said = b""
    while select.select([ours], [], [], 0.05)[0]:
        try:
            said += os.read(ours, PIPE_HOLDS)
        except OSError:  # Linux's way to say that it is over
            break
    return said.decode()


def objects(text: bytes) -> list[dict[str, Any]]:
    """JSON Lines, strictly: ASCII, no NaN, no empty line."""
    return [json.loads(line, parse_constant=never) for line in text.decode("ascii").splitlines()]


def never(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def has_only_printable_lines(text: str) -> bool:
    """Whether nothing in a text could do anything to a terminal."""
    return not any(
        unicodedata.category(letter).startswith(("C", "Zl", "Zp"))
        for letter in text
        if letter > "\n"
    ) and not any(letter < "\n" for letter in text)


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
    filed = run(*words, SAMPLE, "out.png")
    piped = run(*words, "-", "-", input=SAMPLE.read_bytes())
    bare = run(*words, input=SAMPLE.read_bytes())

    assert [one.returncode for one in (filed, piped, bare)] == [0, 0, 0]
    assert piped.stdout == bare.stdout == (tmp_path / "out.png").read_bytes()
    assert piped.stderr == bare.stderr == b""


def test_no_paths_with_stdin_from_a_file_mean_a_pipe(
    run: Run, picture: Path, halved: bytes
) -> None:
    with picture.open("rb") as stdin:
        bare = run(*HALVE, stdin=stdin)

    assert (bare.returncode, bare.stdout) == (0, halved)


def test_two_poolclis_in_a_row_equal_two_steps_through_a_file(run: Run, tmp_path: Path) -> None:
    with SAMPLE.open("rb") as stdin:
        first = start("max", "-k", 3, stdin=stdin, stdout=subprocess.PIPE)
        second = start("avg", "-k", 2, "-", "-", stdin=first.stdout, stdout=subprocess.PIPE)
    assert first.stdout is not None
    first.stdout.close()
    last = finish(second)
    run("max", "-k", 3, SAMPLE, "between.png")
    run("avg", "-k", 2, "between.png", "out.png")

    assert (finish(first).returncode, last.returncode) == (0, 0)
    assert last.stdout == (tmp_path / "out.png").read_bytes()


def test_a_file_is_pooled_into_a_pipe_and_a_pipe_into_a_file(
    run: Run, picture: Path, tmp_path: Path, halved: bytes
) -> None:
    to_pipe = run(*HALVE, "in.png", "-")
    to_file = run(*HALVE, "-", "out.png", input=picture.read_bytes())

    assert (to_pipe.returncode, to_file.returncode) == (0, 0)
    assert to_pipe.stdout == (tmp_path / "out.png").read_bytes() == halved


def test_a_stream_is_written_in_the_format_of_its_input_unless_told(run: Run) -> None:
    jpeg = (SAMPLES / "scene.jpg").read_bytes()

    assert run("avg", "-k", 8, input=jpeg).stdout.startswith(b"\xff\xd8")
    assert run("avg", "-k", 8, "--format", "PNG", input=jpeg).stdout.startswith(b"\x89PNG")


def test_a_single_file_lands_in_an_existing_folder_under_its_own_name(
    run: Run, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()

    assert run(*HALVE, "in.png", "small").returncode == 0
    assert (tmp_path / "small" / picture.name).is_file()


# Streams by name


def test_dev_stdout_is_standard_output(run: Run, halved: bytes) -> None:
    assert run(*HALVE, "in.png", "/dev/stdout").stdout == halved


def test_standard_output_is_written_in_place_where_it_stands(
    run: Run, tmp_path: Path, halved: bytes
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before")
    with log.open("ab") as stdout:
        done = run(*HALVE, "in.png", "/dev/stdout", stdout=stdout, capture_output=False)

    assert done.returncode == 0
    assert log.read_bytes() == b"before" + halved


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
@linux_only
def test_a_descriptor_is_written_by_name(
    run: Run, tmp_path: Path, name: str, halved: bytes
) -> None:
    with (tmp_path / "held.png").open("wb") as held:
        number = held.fileno()
        done = run(*HALVE, "in.png", name.format(number), pass_fds=(number,))
        same_inode = os.fstat(number).st_ino == (tmp_path / "held.png").stat().st_ino

    assert (done.returncode, done.stdout, same_inode) == (0, b"", True)
    assert (tmp_path / "held.png").read_bytes() == halved


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
@linux_only
def test_what_a_shell_substitutes_is_read_by_name(
    run: Run, picture: Path, name: str, halved: bytes
) -> None:
    reader, writer = os.pipe()
    os.write(writer, picture.read_bytes())
    os.close(writer)
    done = run(*HALVE, name.format(reader), "-", pass_fds=(reader,))
    os.close(reader)

    assert done.returncode == 0
    assert done.stdout == halved


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


def test_a_fifo_is_read(run: Run, picture: Path, tmp_path: Path, halved: bytes) -> None:
    os.mkfifo(tmp_path / "fifo")
    content = picture.read_bytes()
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(content,), daemon=True)
    writer.start()
    done = run(*HALVE, "fifo", "-")
    writer.join(timeout=10)

    assert done.returncode == 0
    assert done.stdout == halved


def test_a_device_is_written_and_never_replaced(run: Run) -> None:
    done = run(*HALVE, "--overwrite", "in.png", "/dev/null")

    assert done.returncode == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_streams_that_do_not_block_are_written_whole(noise: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = start("max", "-k", 1, noise, "-", stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stdout:
        received = stdout.read()

    assert finish(process).returncode == 0
    assert len(received) > MEGABYTE
    assert received.endswith(b"IEND\xaeB`\x82")


def test_streams_that_do_not_block_are_read_whole(noise: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = start("max", "-k", 50, "-", "-", stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    late = ["sh", "-c", 'sleep 0.6; exec cat "$1"', "sh", str(noise)]
    subprocess.run(late, stdout=writer, stderr=subprocess.DEVNULL, check=False, timeout=60)
    os.close(writer)
    done = finish(process)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"\x89PNG")


def test_a_socket_serves_as_both_streams(run: Run, picture: Path, halved: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(picture.read_bytes())
        ours.shutdown(socket.SHUT_WR)
        done = run(*HALVE, stdin=theirs, stdout=theirs, capture_output=False)
        received = ours.recv(PIPE_HOLDS)

    assert done.returncode == 0
    assert received == halved


# Readers that go away, disks that are full, streams that are closed


def test_a_reader_that_leaves_early_ends_the_run_quietly(noise: Path) -> None:
    process = start("max", "-k", 1, noise, "-", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(8) == b"\x89PNG\r\n\x1a\n"
    process.stdout.close()
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
    tmp_path: Path, words: tuple[object, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*words, stdout=writer, cwd=tmp_path)
    os.close(writer)
    done = finish(process)

    assert (done.returncode, done.stderr) == (141, b"")


def test_a_reader_of_a_fifo_that_leaves_ends_the_run_quietly(noise: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    reader = os.open(tmp_path / "fifo.png", os.O_RDONLY | os.O_NONBLOCK)
    process = start("max", "-k", 1, noise, tmp_path / "fifo.png")
    assert select.select([reader], [], [], 60)[0]
    os.close(reader)
    done = finish(process)

    assert (done.returncode, done.stderr) == (141, b"")


@linux_only
def test_a_full_device_is_one_line(fails: Fails) -> None:
    assert "No space left" in fails(1, *HALVE, "in.png", "/dev/full")


@pytest.mark.parametrize(
    "words", [("in.png", "-"), ("--json", "in.png", "out.png")], ids=["pixels", "json"]
)
@linux_only
def test_a_full_standard_output_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run_redirected(">/dev/full", *HALVE, "--quiet", *words, cwd=tmp_path)

    assert done.returncode == 1
    assert "No space left" in only_line(done)


@linux_only
def test_help_into_a_full_device_is_one_line() -> None:
    done = run_redirected(">/dev/full", "--help")

    assert done.returncode == 1
    assert "No space left" in only_line(done)


def test_a_closed_standard_output_is_refused_for_pixels(tmp_path: Path) -> None:
    before = listing(tmp_path)
    done = run_redirected(">&-", *HALVE, "in.png", "-", cwd=tmp_path)

    assert done.returncode == 2
    assert "closed" in only_line(done)
    assert listing(tmp_path) == before


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


def test_a_closed_standard_input_is_refused(tmp_path: Path) -> None:
    done = run_redirected("<&-", *HALVE, "-", "out.png", cwd=tmp_path)

    assert done.returncode == 2
    assert only_line(done)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null"])
def test_no_paths_without_a_pipe_are_usage(tmp_path: Path, redirection: str) -> None:
    done = run_redirected(redirection, *HALVE, cwd=tmp_path)

    assert done.returncode == 2
    assert "INPUT" in only_line(done)


@linux_only
@pytest.mark.parametrize("redirection", ["", "9</dev/zero"], ids=["closed", "only readable"])
def test_a_descriptor_that_takes_nothing_is_one_line(tmp_path: Path, redirection: str) -> None:
    before = listing(tmp_path)
    done = run_redirected(redirection, *HALVE, "in.png", "/dev/fd/9", cwd=tmp_path)

    assert done.returncode == (1 if redirection else 2)
    assert only_line(done)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"garbage " * 99], ids=["empty", "garbage"])
@pytest.mark.parametrize("output", ["-", "out.png"])
def test_stdin_without_a_picture_is_one_line_and_no_output(
    fails: Fails, content: bytes, output: str
) -> None:
    line = fails(1, *HALVE, "-", output, input=content)

    assert line.startswith("poolcli: stdin: ")
    assert "; " in line


# Terminals


def test_pixels_are_not_written_to_a_terminal(tmp_path: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    before = listing(tmp_path)
    done = finish(start(*HALVE, "in.png", "-", stdout=theirs, cwd=tmp_path))

    assert done.returncode == 2
    assert "> out.png" in only_line(done)
    assert said_on(ours) == ""
    assert listing(tmp_path) == before


def test_pixels_are_not_written_to_a_terminal_called_by_name(
    fails: Fails, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal

    assert "terminal" in fails(2, *HALVE, "in.png", os.ttyname(theirs))
    assert said_on(ours) == ""


@pytest.mark.parametrize(
    "words",
    [
        ("-", "out.png"),
        ("-", "-"),
        ("/dev/stdin", "out.png"),
        ("--format", "png", "/dev/stdin", "out/"),
        ("--format", "png", "in.png", "/dev/stdin", "out"),
    ],
)
def test_pixels_are_not_read_from_a_terminal(
    fails: Fails, terminal: tuple[int, int], words: tuple[str, ...]
) -> None:
    _, theirs = terminal

    line = fails(2, *HALVE, *words, stdin=theirs, timeout=5)

    assert "terminal" in line
    assert "< in.png" in line


def test_no_paths_at_a_terminal_are_usage(fails: Fails, terminal: tuple[int, int]) -> None:
    assert "INPUT" in fails(2, *HALVE, stdin=terminal[1])


@pytest.mark.parametrize(
    ("variables", "flags", "colourful"),
    [
        ({}, (), True),
        ({}, ("--color", "auto"), True),
        ({}, ("--color", "never"), False),
        ({"NO_COLOR": "1"}, (), False),
        ({"TERM": "dumb"}, (), False),
        ({"NO_COLOR": "1"}, ("--color", "always"), True),
        ({"POOLCLI_COLOR": "never"}, (), False),
        ({"POOLCLI_COLOR": "never"}, ("--color", "always"), True),
    ],
)
def test_the_summary_on_a_terminal_has_colour_unless_told_otherwise(
    tmp_path: Path,
    terminal: tuple[int, int],
    variables: dict[str, str],
    flags: tuple[str, ...],
    colourful: bool,
) -> None:
    ours, theirs = terminal
    process = start(
        *HALVE,
        *flags,
        "in.png",
        "out.png",
        stderr=theirs,
        cwd=tmp_path,
        env=environment(**variables),
    )
    done = finish(process)
    said = said_on(ours)

    assert done.returncode == 0
    assert "in.png" in said
    assert ("\x1b" in said) is colourful


@pytest.mark.parametrize(
    ("variables", "flags", "colourful"),
    [
        ({}, (), False),
        ({}, ("--color", "always"), True),
        ({"POOLCLI_COLOR": "always"}, (), True),
        ({"POOLCLI_COLOR": "always"}, ("--color", "never"), False),
    ],
)
def test_the_summary_in_a_log_has_no_colour_unless_told_otherwise(
    tmp_path: Path, variables: dict[str, str], flags: tuple[str, ...], colourful: bool
) -> None:
    process = start(*HALVE, *flags, "in.png", "out.png", cwd=tmp_path, env=environment(**variables))

    assert (b"\x1b" in finish(process).stderr) is colourful


def test_a_stream_is_summed_up_in_one_line_if_somebody_is_there(
    tmp_path: Path, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    process = start(*HALVE, "in.png", "-", stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path)
    done = finish(process)

    assert done.returncode == 0
    assert said_on(ours).count("\n") == 1


# What is said


def test_a_file_is_summed_up_on_stderr(run: Run) -> None:
    done = run("avg", "-k", "3x4", "--dilation", 1, "in.png", "out.png")
    said = done.stderr.decode()

    for part in ("in.png", "out.png", "6×8×3 → 1×2×3", "uint8", "RGB", "3x4", "read", "pool"):
        assert part in said
    assert "2 rows" in said
    assert "2 columns" in said
    assert done.stdout == b""


def test_quiet_says_nothing_of_what_went_well(run: Run) -> None:
    assert run(*HALVE, "--quiet", "in.png", "out.png").stderr == b""


def test_quiet_says_what_went_wrong(fails: Fails) -> None:
    assert "none.png" in fails(1, *HALVE, "--quiet", "none.png", "out.png")


def test_a_stream_says_nothing_in_a_log_but_one_line_when_verbose(run: Run) -> None:
    assert run(*HALVE, "in.png", "-").stderr == b""
    assert run(*HALVE, "-v", "in.png", "-").stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("flags", "traced"), [((), False), (("-v",), False), (("-v", "-v"), True), (("-vv",), True)]
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
def test_the_version_is_printed_on_stdout(run: Run, flag: str) -> None:
    done = run(flag)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"poolcli {__version__}\n"


def test_no_arguments_show_the_help_on_stderr(run: Run) -> None:
    done = run()

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Usage: poolcli")


# JSON


def test_json_says_all_there_is_to_say_of_a_file(run: Run, picture: Path, tmp_path: Path) -> None:
    done = run(
        *("avg", "--size", "3x2", "--stride", "2x3", "--padding", "1,0,2,1"),
        *("--dilation", "1x2", "--json", "in.png", "out.png"),
    )
    outcome, summary = objects(done.stdout)

    assert done.returncode == 0
    assert list(outcome) == KEYS
    assert list(summary) == ["summary"]
    assert outcome | dict.fromkeys(KEYS[14:17]) == {
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
        "read_seconds": None,
        "pool_seconds": None,
        "write_seconds": None,
        "input_bytes": picture.stat().st_size,
        "output_bytes": (tmp_path / "out.png").stat().st_size,
        "error": None,
    }
    assert all(0 <= outcome[key] < 60 for key in KEYS[14:17])


def test_json_resolves_padding_and_counts_what_is_dropped(run: Run) -> None:
    same = objects(run("max", "-k", 4, "-p", "same", "--json", "in.png", "same.png").stdout)[0]
    valid = objects(run("max", "-k", 4, "-p", "valid", "--json", "in.png", "valid.png").stdout)[0]

    assert (same["padding"], same["dropped"]) == ([[1, 1], [0, 0]], [0, 0])
    assert (valid["padding"], valid["dropped"]) == ([[0, 0], [0, 0]], [2, 0])


def test_the_summary_comes_last_and_counts(run: Run) -> None:
    totals = objects(run(*HALVE, "--json", "in.png", "out.png").stdout)[-1]["summary"]

    assert [totals[key] for key in ("done", "skipped", "failed", "planned")] == [1, 0, 0, 0]
    assert (totals["pixels_in"], totals["pixels_out"]) == (48, 12)
    assert totals["bytes_in"] > 0 < totals["bytes_out"]


def test_json_says_why_a_picture_failed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    done = run(*HALVE, "--json", "bad.png", "out.png")
    outcome, summary = objects(done.stdout)

    assert done.returncode == 1
    assert list(outcome) == KEYS
    assert outcome["status"] == "failed"
    assert set(outcome["error"]) == {"message", "remedy"}
    assert "no picture" in outcome["error"]["message"]
    assert summary["summary"]["failed"] == 1
    assert done.stderr.count(b"\n") == 1


def test_json_tells_of_a_skipped_picture(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    done = run(*HALVE, "--json", "--skip-existing", "in.png", "out.png")
    outcome, summary = objects(done.stdout)

    assert done.returncode == 0
    assert (list(outcome), outcome["status"]) == (KEYS, "skipped")
    assert summary["summary"]["skipped"] == 1
    assert (tmp_path / "out.png").read_bytes() == b"old"


def test_json_has_no_nan_for_a_picture_of_nan(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    done = run("avg", "-k", 2, "--json", "nan.tif", "out.tif")

    assert done.returncode == 0
    assert objects(done.stdout)[0]["dtype"] == "float32"


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
def test_json_and_pixels_do_not_share_stdout(fails: Fails, output: str) -> None:
    assert "--json" in fails(2, *HALVE, "--json", "in.png", output)


@linux_only
def test_json_goes_with_pixels_on_another_descriptor(run: Run) -> None:
    reader, writer = os.pipe()
    done = run(*HALVE, "--json", "in.png", f"/dev/fd/{writer}", pass_fds=(writer,))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        received = pipe.read()

    assert [len(objects(done.stdout)), done.returncode] == [2, 0]
    assert received.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scene.jpg", ("max", "-k", "3x2")),
        ("logo.png", ("avg", "-k", 5, "-p", "same", "--background", "white")),
        ("scan.png", ("avg", "-k", 4, "--ceil-mode")),
        ("depth.png", ("min", "-k", 7, "-s", 9, "-d", 2)),
        ("palette.png", ("max", "-k", 3, "--format", "webp")),
    ],
)
def test_a_dry_run_says_what_the_run_says(
    run: Run, tmp_path: Path, name: str, words: tuple[object, ...]
) -> None:
    before = listing(tmp_path)
    planned = run(*words, "--json", "--dry-run", SAMPLES / name, "out.png")
    after = listing(tmp_path)
    done = run(*words, "--json", SAMPLES / name, "out.png")
    foreseen, seen = objects(planned.stdout)[0], objects(done.stdout)[0]

    assert (planned.returncode, done.returncode) == (0, 0)
    assert before == after
    assert (foreseen["status"], seen["status"]) == ("planned", "done")
    assert [foreseen[key] for key in SETTLED] == [seen[key] for key in SETTLED]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ("in.png", "out.png")),
        (0, ("in.png", "-")),
        (1, ("none.png", "out.png")),
        (1, ("--size", "99", "in.png", "out.png")),
        (1, ("clear.png", "out.jpg")),
        (2, ("in.png", "clear.png")),
        (2, ("in.png", "out.xyz")),
    ],
)
def test_a_dry_run_exits_as_the_run_and_writes_nothing(
    run: Run, tmp_path: Path, code: int, words: tuple[str, ...]
) -> None:
    before = listing(tmp_path)
    planned = run(*HALVE, "--dry-run", *words)

    assert (planned.returncode, planned.stdout) == (code, b"")
    assert listing(tmp_path) == before
    assert run(*HALVE, *words).returncode == code


# Everything that is refused, once


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--quality 90", "--quality"),
        ("--save-option progressive=yes", "progressive"),
        ("--save-option compress_level=10", "'10'"),
    ],
)
@pytest.mark.usefixtures("picture")
def test_options_without_use_for_a_stream_are_refused_once_its_format_is_known(
    fails: Fails, words: str, says: str, flags: tuple[str, ...]
) -> None:
    assert says in fails(1, *HALVE, *words.split(), *flags, "in.png", "-")


@pytest.mark.parametrize(
    ("words", "says"),
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
        ("max -k 2 --compress-level 9 in.png out.jpg", "--compress-level"),
        ("max -k 2 --compress-level 10 in.png out.png", "--compress-level"),
        ("max -k 2 --save-option optimize in.png out.png", "'optimize'"),
        ("max -k 2 --save-option nothing=1 in.png out.png", "'nothing=1'"),
        ("max -k 2 --save-option progressive=yes in.png out.png", "progressive"),
        ("max -k 2 --save-option optimize=perhaps in.png out.png", "'perhaps'"),
        ("max -k 2 --save-option compression=best in.png out.tif", "'best'"),
        ("max -k 2 --background nonsense in.png out.png", "'nonsense'"),
        ("max -k 2 --background #ff000080 in.png out.png", "opaque"),
        ("max -k 2 -f --skip-existing in.png out.png", "--skip-existing"),
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
    fails: Fails, picture: Path, tmp_path: Path, words: str, says: str
) -> None:
    (tmp_path / "taken.png").write_bytes(b"old")
    (tmp_path / "other.png").write_bytes(picture.read_bytes())
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to("leads nowhere")

    line = fails(2, *words.split())

    assert says in line
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
    fails: Fails, picture: Path, tmp_path: Path, output: str, flags: tuple[str, ...]
) -> None:
    (tmp_path / "hard.png").hardlink_to(picture)
    (tmp_path / "soft.png").symlink_to(picture)

    assert "input" in fails(2, *HALVE, *flags, "in.png", output)


@pytest.mark.parametrize(
    ("redirection", "paths"),
    [("<in.png", ("-", "in.png")), ("1<>in.png", ("in.png", "-")), ("<in.png 1<>in.png", ())],
    ids=["stdin is the output", "stdout is the input", "stdin is stdout"],
)
def test_an_output_that_is_the_input_is_refused_behind_a_redirection_too(
    picture: Path, tmp_path: Path, redirection: str, paths: tuple[str, ...]
) -> None:
    before = picture.read_bytes()
    done = run_redirected(redirection, *HALVE, "--overwrite", *paths, cwd=tmp_path)

    assert done.returncode == 2
    assert "input" in only_line(done)
    assert picture.read_bytes() == before


def test_a_missing_input_fails(fails: Fails) -> None:
    line = fails(1, *HALVE, "none.png", "out.png")

    assert line.startswith("poolcli: none.png: ")
    assert "; " in line


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off in its header": lambda whole: whole[:20],
    "cut off in its pixels": lambda whole: whole[:-30],
    "text": lambda _: b"this is no picture\n",
    "EPS": lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(pwned) = flush\n",
    "nothing but a signature": lambda _: b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_that_is_no_whole_picture_fails(fails: Fails, tmp_path: Path, kind: str) -> None:
    content = CONTENTS[kind]((SAMPLES / "logo.png").read_bytes())
    (tmp_path / "odd.png").write_bytes(content)

    line = fails(1, *HALVE, "odd.png", "out.png")

    assert line.startswith("poolcli: odd.png: ")
    assert "; " in line


def test_a_failure_leaves_an_output_stream_empty(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes((SAMPLES / "logo.png").read_bytes()[:-30])

    assert "cut.png" in fails(1, *HALVE, "cut.png", "-")


def test_an_input_is_read_by_its_content_whatever_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "really.jpg").write_bytes(SAMPLE.read_bytes())

    assert run(*HALVE, "really.jpg", "out.png").returncode == 0
    assert run(*HALVE, SAMPLE, "-").stdout == (tmp_path / "out.png").read_bytes()


def test_a_window_larger_than_the_picture_fails_and_both_cures_work(
    run: Run, fails: Fails, tmp_path: Path
) -> None:
    line = fails(1, "max", "--size", 9, "in.png", "out.png")
    cures = [("--ceil-mode", "ceil.png"), ("--padding", "same", "same.png")]
    cured = [run("max", "--size", 9, "-q", "in.png", *cure).returncode for cure in cures]

    assert "spans 9" in line
    assert "ceil" in line
    assert "same" in line
    assert cured == [0, 0]
    assert pixels(tmp_path / "ceil.png") == pixels(tmp_path / "same.png")
    assert np.shape(pixels(tmp_path / "same.png")) == (1, 1, 3)


def test_alpha_into_jpeg_fails_and_a_background_cures_it(
    run: Run, fails: Fails, tmp_path: Path
) -> None:
    line = fails(1, *HALVE, "clear.png", "out.jpg")
    cured = run(*HALVE, "--background", "white", "clear.png", "out.jpg")

    assert "--background" in line
    assert cured.returncode == 0
    assert np.shape(pixels(tmp_path / "out.jpg")) == (2, 2, 3)


def test_a_picture_of_too_many_pixels_fails(run: Run, fails: Fails) -> None:
    assert "--max-pixels" in fails(1, *HALVE, "--max-pixels", 47, "in.png", "out.png")
    assert run(*HALVE, "--max-pixels", 48, "in.png", "out.png").returncode == 0


def test_an_average_of_black_and_white_does_not_fit_a_bitmap(fails: Fails) -> None:
    assert ".pgm" in fails(1, "avg", "-k", 2, SAMPLES / "scan.png", "out.pbm")


def test_an_output_name_that_is_too_long_fails(fails: Fails) -> None:
    assert "too long" in fails(1, *HALVE, "in.png", "x" * 260 + ".png")


# Permissions, full disks, interruptions

DROP_PRIVILEGES = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""
"""What lets root read and write everything goes; the files of root are still its own."""

AS_ANYBODY = DROP_PRIVILEGES if os.geteuid() == 0 else ""


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_somebody_without_privileges_can_pool(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = run_after(AS_ANYBODY, *HALVE, "-q", *flags, "in.png", "out.png", cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    assert np.shape(pixels(tmp_path / "out.png")) == (3, 4, 3)


def test_an_unreadable_input_fails(picture: Path, tmp_path: Path) -> None:
    picture.chmod(0)
    before = listing(tmp_path)
    done = run_after(AS_ANYBODY, *HALVE, "in.png", "out.png", cwd=tmp_path)

    assert done.returncode == 1
    assert "Permission denied" in only_line(done)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(("flags", "output"), [((), "out.png"), (("--overwrite",), "clear.png")])
def test_a_folder_that_takes_no_files_fails(
    tmp_path: Path, flags: tuple[str, ...], output: str
) -> None:
    tmp_path.chmod(0o555)
    before = listing(tmp_path)
    done = run_after(AS_ANYBODY, *HALVE, *flags, "in.png", output, cwd=tmp_path)
    tmp_path.chmod(0o755)

    assert done.returncode == 1
    assert "Permission denied" in only_line(done)
    assert listing(tmp_path) == before


LIMIT_FILES = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({PIPE_HOLDS},) * 2)"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_full_disk_leaves_nothing_behind(noise: Path, tmp_path: Path, suffix: str) -> None:
    before = listing(tmp_path)
    done = run_after(LIMIT_FILES, "max", "-k", 1, noise, tmp_path / f"out{suffix}")

    assert done.returncode == 1
    assert os.strerror(errno.EFBIG) in only_line(done)
    assert listing(tmp_path) == before


def test_a_full_disk_leaves_the_old_file_as_it_was(noise: Path, tmp_path: Path) -> None:
    (tmp_path / "out.png").write_bytes(b"old")
    before = listing(tmp_path)
    done = run_after(LIMIT_FILES, "max", "-k", 1, "--overwrite", noise, tmp_path / "out.png")

    assert done.returncode == 1
    assert only_line(done)
    assert listing(tmp_path) == before


HEAR_SIGNALS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


@pytest.fixture
def reading(noise: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A poolcli that has read a part of a picture from its pipe and waits for the rest."""
    process = start(
        *("max", "-k", 50, "--quiet", "-", "out.png"),
        first=HEAR_SIGNALS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdin is not None
    process.stdin.write(noise.read_bytes()[: 4 * PIPE_HOLDS])  # more than the pipe holds alone
    process.stdin.flush()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_one_line(
    reading: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    before = listing(tmp_path)
    reading.send_signal(number)
    done = finish(reading)

    assert done.returncode == code
    assert only_line(done)
    assert listing(tmp_path) == before


SIGNAL_AT_IMPORT = """
import os, sys
class Bell:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Bell())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["poolcli.storage", "poolcli.plan", "numpy", "PIL.Image"])
def test_a_signal_during_the_start_ends_it_without_a_traceback(
    tmp_path: Path, module: str, number: signal.Signals, code: int
) -> None:
    before = listing(tmp_path)
    bell = SIGNAL_AT_IMPORT.format(module=module, number=int(number))
    done = run_after(f"{HEAR_SIGNALS}\n{bell}", *HALVE, "in.png", "out.png", cwd=tmp_path)

    assert b"Traceback" not in done.stderr
    assert done.returncode in (code, -number)
    assert listing(tmp_path) == before


def test_a_file_that_appears_during_the_run_stays(
    reading: subprocess.Popen[bytes], noise: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.png").write_bytes(b"somebody else's")
    before = listing(tmp_path)
    done = finish(reading, noise.read_bytes()[4 * PIPE_HOLDS :])

    assert done.returncode == 1
    assert "--overwrite" in only_line(done)
    assert listing(tmp_path) == before


def test_a_signal_ends_a_run_that_waits_for_the_reader_of_a_fifo(
    picture: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    ours, theirs = os.pipe()
    process = start(*HALVE, f"/dev/fd/{ours}", "fifo.png", cwd=tmp_path, pass_fds=(ours,))
    os.close(ours)
    os.write(theirs, picture.read_bytes())
    os.close(theirs)
    time.sleep(1)  # nothing shows from outside that it waits
    process.terminate()
    done = finish(process)

    assert done.returncode == 143
    assert only_line(done)


# Names from outside

NAMES = {
    "a newline": b"new\nline.png",
    "escape codes": b"\x1b[31mred\x07.png",
    "C1 controls": "\x9b31m.png".encode(),
    "bidi": "\u202egnp.exe\u2066.png".encode(),
    "line separators": "a\u2028b\u2029c.png".encode(),
    "markup": b"[bold][/foo].png",
    "a dash": b"-rf.png",
    "bytes that are not UTF-8": b"caf\xe9\xff.png",
    "other scripts": "é漢字😀.png".encode(),
    "format codes": b"%s{0}\\n.png",
    "spaces": b"  a b\t.png",
}


@pytest.mark.parametrize("kind", NAMES)
def test_odd_names_work_and_are_shown_escaped(
    run: Run, picture: Path, tmp_path: Path, kind: str
) -> None:
    source, target = NAMES[kind], b"-" + NAMES[kind]
    for name in (source, target):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).parent.mkdir(exist_ok=True)
    picture.rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + source))

    done = run(*HALVE, "--json", "--", source, target)
    outcome = objects(done.stdout)[0]

    assert done.returncode == 0
    assert os.path.isfile(os.fsencode(tmp_path) + b"/" + target)
    assert (os.fsencode(outcome["input"]), os.fsencode(outcome["output"])) == (source, target)
    assert has_only_printable_lines(done.stderr.decode())


@pytest.mark.parametrize("kind", NAMES)
def test_odd_names_are_escaped_where_they_are_refused(fails: Fails, kind: str) -> None:
    line = fails(2, *HALVE, "--", b"in.png", NAMES[kind] + b".xyz")

    assert has_only_printable_lines(line)
    assert ".png.xyz" in line


@pytest.mark.parametrize("kind", ["escape codes", "markup", "bytes that are not UTF-8"])
def test_odd_names_are_escaped_where_they_fail(fails: Fails, kind: str) -> None:
    line = fails(1, *HALVE, "--", NAMES[kind], b"out.png")

    assert has_only_printable_lines(line)
    assert ".png: " in line


@pytest.mark.parametrize("option", ["--size", "--padding", "--save-option", "--background"])
def test_odd_values_of_options_are_escaped_in_errors(fails: Fails, option: str) -> None:
    size = () if option == "--size" else ("--size", 2)
    line = fails(2, "max", *size, option, b"\x1b[31m\n\xff[/foo]", "in.png", "out.png")

    assert has_only_printable_lines(line)
    assert "[/foo]" in line


# What the output keeps of the input


def test_preserve_takes_the_time_and_mode_bits_of_the_input(
    run: Run, picture: Path, tmp_path: Path
) -> None:
    picture.chmod(0o640)
    os.utime(picture, ns=(10**18, 10**18 + 1))
    run(*HALVE, "-q", "--preserve", "in.png", "out.png")
    kept = (tmp_path / "out.png").stat()

    assert (kept.st_mtime_ns, stat.S_IMODE(kept.st_mode)) == (10**18 + 1, 0o640)


@pytest.mark.parametrize("output", ["-", "out.png"])
def test_preserve_with_a_pipe_has_nothing_to_take_and_says_or_ignores_it(
    run: Run, picture: Path, output: str
) -> None:
    done = run(*HALVE, "--preserve", "-", output, input=picture.read_bytes())

    assert done.returncode == 0 or (done.returncode == 2 and "--preserve" in only_line(done))


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path, umask: int) -> None:
    run_after(f"import os; os.umask({umask})", *HALVE, "in.png", "out.png", cwd=tmp_path)

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
