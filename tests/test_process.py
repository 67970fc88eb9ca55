"""What is global to a process that is ours: standard error, captured output, warnings, logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from poolcli import process
from tests.pictures import encoded, noisy

ROOT = Path(__file__).parent.parent
PRELUDE = """
import logging, os, sys, warnings
from poolcli import process

def tell(*words):
    print(*words, file=sys.stderr)
"""


def ran(script: str, *, redirected: str = "", **more: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a process of its own, under redirections in the shell's language."""
    command: list[str] = [sys.executable, "-c", PRELUDE + script]
    if redirected:
        command = ["/bin/sh", "-c", f'exec "$@" {redirected}', "sh", *command]
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT, timeout=60, **more)


SCRIPTS: Final[dict[str, tuple[str, str]]] = {
    "what is written to descriptor 2 is captured, and Python goes on printing": (
        """
process.set_up()
os.write(2, b"one\\ntwo\\n")
tell(process.captured_lines(), process.captured_lines())
os.system("echo three >&2")
tell(process.captured_lines())
""",
        "['one', 'two'] []\n['three']\n",
    ),
    "a C library prints into the same place": (
        """
import ctypes
process.set_up()
ctypes.CDLL(None).perror(b"libtiff")
(line,) = process.captured_lines()
tell(line.partition(":")[0])
""",
        "libtiff\n",
    ),
    "only the first lines are taken, and nobody waits for the rest": (
        """
process.set_up()
os.write(2, b"first\\n" + b"x" * (1 << 22))
lines = process.captured_lines()
tell(lines[0], sum(map(len, lines)) <= process.CAPTURED_BYTES, process.captured_lines())
os.write(2, b"\\xff next\\n")
tell(process.captured_lines() == ["\\ufffd next"], os.fstat(2).st_size)
""",
        "first True []\nTrue 0\n",
    ),
    "a process that is not ours is left alone": (
        """
import poolcli.run
os.write(2, b"printed\\n")
tell(process.captured_lines(), process.stderr_descriptor(), len(warnings.filters) > 1)
""",
        "printed\n[] 2 True\n",
    ),
    "entering twice changes nothing more": (
        """
def state():
    return sorted(os.listdir("/proc/self/fd")), process.stderr_descriptor(), sys.stderr
process.set_up()
before = state()
process.set_up()
tell(before == state(), process.stderr_descriptor() > 2)
""",
        "True True\n",
    ),
    "the file that captures has no name, even where the kernel has no such files": (
        """
import tempfile
folder = tempfile.mkdtemp()
tempfile.tempdir = folder
del os.memfd_create
process.set_up()
tell(os.listdir(folder), os.fstat(2).st_nlink)
os.write(2, b"one\\n")
tell(process.captured_lines())
os.rmdir(folder)
""",
        "[] 0\n['one']\n",
    ),
    "a stream that somebody else put in place stays there": (
        """
import io
sys.stderr = io.StringIO()
process.set_up()
assert isinstance(sys.stderr, io.StringIO)
os.write(process.stderr_descriptor(), b"told")
""",
        "told",
    ),
    "the fault handler is not enabled for anybody": (
        "import faulthandler; process.set_up(); tell(faulthandler.is_enabled())",
        "False\n",
    ),
    "warnings and records of libraries are silenced, but for handlers that are there": (
        """
process.set_up()
import poolcli.formats.pillow
logging.getLogger("handled").addHandler(logging.StreamHandler(sys.stderr))
warnings.warn("a warning")
logging.getLogger("library").error("a record")
logging.getLogger("handled").error("handled")
""",
        "handled\n",
    ),
    "Python prints at once, in order, and in its own encoding": (
        """
sys.stderr.write("first|")
process.set_up()
sys.stderr.write("\\xe9\\u4e00|")
os.write(process.stderr_descriptor(), b"then")
os._exit(0)
""",
        "first|\xe9\\u4e00|then",
    ),
}


@pytest.mark.parametrize(("script", "expected"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_prints_what_it_should(script: str, expected: str) -> None:
    done = ran(script, env=os.environ | {"PYTHONIOENCODING": "latin-1:backslashreplace"})
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode("latin-1") == expected
    assert (process.captured_lines(), process.stderr_descriptor()) == (
        [],
        2,
    )  # in this one, nothing


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"])
def test_descriptor_2_is_taken_where_standard_error_is_closed(closed: str, tmp_path: Path) -> None:
    script = f"""
process.set_up()
assert process.stderr_descriptor() == -1
with open({str(tmp_path / "file")!r}, "wb") as file:
    assert file.fileno() != 2
    os.write(2, b"noise\\n")
    lines = process.captured_lines()
with open({str(tmp_path / "told")!r}, "w") as file:
    print(lines, sys.stderr, file=file)
"""
    assert ran(script, redirected=closed).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""
    assert (tmp_path / "told").read_text() == "['noise'] None\n"


def test_the_duplicate_is_none_of_the_three_that_have_a_meaning() -> None:
    done = ran("process.set_up(); tell(process.stderr_descriptor() > 2)", redirected="0<&- 1>&-")
    assert (done.returncode, done.stderr) == (0, b"True\n")


@pytest.mark.parametrize(("left", "number"), [(1, 2), (2, 2), (3, 4)])
def test_where_descriptors_run_out_everything_is_still_printed(left: int, number: int) -> None:
    done = ran(f"""
import resource
held = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (held + {left}, held + {left}))
process.set_up()
tell(process.stderr_descriptor(), process.captured_lines())
os.write(2, b"printed\\n")
""")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().startswith(f"{number} []\n")
    assert done.stderr.endswith(b"printed\n") == (left < 3)


def test_a_traceback_and_what_the_fault_handler_writes_are_seen() -> None:
    done = ran("process.set_up(); raise ValueError('seen')")
    assert b"ValueError: seen" in done.stderr
    done = ran("""
import faulthandler, signal
faulthandler.enable()
process.set_up()
os.kill(os.getpid(), signal.SIGSEGV)
""")
    assert done.returncode < 0
    assert b"Segmentation fault" in done.stderr


# Jobs

JOBS = """
import poolcli.formats
from pathlib import Path

from tests import toys
vars(poolcli.formats).update(toys.registered())
from tests.jobs import run, work
from tests.toys import toy_format

rows = toy_format.ToyFrame.rows
def printing(self, start, stop):
    comment = (self._comment or b"").decode()
    if not start and comment:
        os.write(2, comment.encode() + b"\\nmore\\n")
    if comment == "failing":
        raise ValueError("it fails")
    return rows(self, start, stop)
toy_format.ToyFrame.rows = printing
process.set_up()
for path in sys.argv[1:]:
    outcome = run(path, path + ".out", "toy", work())
    remarks = [*outcome.warnings, *outcome.notes]
    tell(Path(path).stem, outcome.status, "; ".join(remarks))
"""
COMPLAINT = "its decoder printed a complaint: it may be damaged"


def test_what_is_printed_is_told_with_its_picture(tmp_path: Path, toy_format: Any) -> None:
    paths: list[str] = []
    for name in ("one", "", "two", "failing", "", "three"):
        picture = noisy("L", (4, 4))
        metadata = picture.metadata._replace(comment=name.encode() or None)
        path = tmp_path / f"{len(paths)}-{name or 'quiet'}.toy"
        path.write_bytes(encoded(picture._replace(metadata=metadata), toy_format.name))
        paths.append(str(path))
    command = [sys.executable, "-c", PRELUDE + JOBS, *paths]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)

    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        f"0-one done {COMPLAINT}; its decoder printed: one",
        "1-quiet done ",
        f"2-two done {COMPLAINT}; its decoder printed: two",
        "3-failing failed ",
        "4-quiet done ",
        f"5-three done {COMPLAINT}; its decoder printed: three",
    ]
