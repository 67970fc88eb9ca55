"""What is global to a process that is ours: standard error, captured output, warnings, logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    """A script in a process of its own; redirections of the shell may come behind it."""
    command: list[str] = [sys.executable, "-c", PRELUDE + script]
    if redirected:
        command = ["/bin/sh", "-c", f'exec "$@" {redirected}', "sh", *command]
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT, timeout=60, **more)


def told(script: str, **more: Any) -> str:
    """What a script prints on standard error that ends well."""
    done = ran(script, **more)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b""
    return done.stderr.decode()


def test_what_is_written_to_descriptor_2_is_captured_and_python_goes_on_printing() -> None:
    said = told("""
process.enter()
os.write(2, b"one\\ntwo\\n")
tell(process.printed(), process.printed())
os.system("echo three >&2")
tell(process.printed())
""")
    assert said.splitlines() == ["['one', 'two'] []", "['three']"]


def test_a_c_library_prints_into_the_same_place() -> None:
    said = told("""
import ctypes
process.enter()
ctypes.CDLL(None).perror(b"libtiff")
(line,) = process.printed()
tell(line.partition(":")[0])
""")
    assert said == "libtiff\n"


def test_only_the_first_lines_are_taken_and_nobody_waits_for_the_rest() -> None:
    said = told("""
process.enter()
os.write(2, b"first\\n" + b"x" * (1 << 22))
lines = process.printed()
tell(lines[0], sum(map(len, lines)) <= process.PRINTED_BYTES, process.printed())
os.write(2, b"\\xff next\\n")
tell(process.printed() == ["\\ufffd next"], os.fstat(2).st_size)
""")
    assert said.splitlines() == ["first True []", "True 0"]


def test_a_process_that_is_not_ours_is_left_alone() -> None:
    said = told("""
import poolcli.run
os.write(2, b"printed\\n")
tell(process.printed(), process.stderr_descriptor(), len(warnings.filters) > 1)
""")
    assert said == "printed\n[] 2 True\n"
    assert process.printed() == []
    assert process.stderr_descriptor() == 2


def test_entering_twice_changes_nothing_more() -> None:
    said = told("""
process.enter()
before = sorted(os.listdir("/proc/self/fd")), process.stderr_descriptor(), sys.stderr
process.enter()
after = sorted(os.listdir("/proc/self/fd")), process.stderr_descriptor(), sys.stderr
tell(before == after, process.stderr_descriptor() > 2)
""")
    assert said == "True True\n"


def test_the_file_that_captures_has_no_name_even_where_the_kernel_has_no_such_files() -> None:
    said = told("""
import tempfile
folder = tempfile.mkdtemp()
tempfile.tempdir = folder
del os.memfd_create
process.enter()
tell(os.listdir(folder), os.fstat(2).st_nlink)
os.write(2, b"one\\n")
tell(process.printed())
os.rmdir(folder)
""")
    assert said == "[] 0\n['one']\n"


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 2>&-", "0<&- 1>&- 2>&-"])
def test_where_standard_error_is_closed_descriptor_2_is_taken_all_the_same(
    closed: str, tmp_path: Path
) -> None:
    script = f"""
process.enter()
assert process.stderr_descriptor() == -1
with open({str(tmp_path / "file")!r}, "wb") as file:
    assert file.fileno() != 2
    os.write(2, b"noise\\n")
    lines = process.printed()
with open({str(tmp_path / "said")!r}, "w") as file:
    print(lines, sys.stderr, file=file)
"""
    assert ran(script, redirected=closed).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""
    assert (tmp_path / "said").read_text() == "['noise'] None\n"


def test_the_duplicate_is_none_of_the_three_that_have_a_meaning() -> None:
    done = ran("process.enter(); tell(process.stderr_descriptor() > 2)", redirected="0<&- 1>&-")
    assert (done.returncode, done.stderr) == (0, b"True\n")


@pytest.mark.parametrize(("left", "number"), [(1, 2), (2, 2), (3, 4)])
def test_where_descriptors_run_out_everything_is_still_printed(left: int, number: int) -> None:
    said = told(
        f"LEFT = {left}"
        + """
import resource
held = os.open(os.devnull, os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (held + LEFT, held + LEFT))
process.enter()
tell(process.stderr_descriptor(), process.printed())
os.write(2, b"printed\\n")
"""
    )
    assert said.startswith(f"{number} []\n")
    assert said.endswith("printed\n") == (left < 3)


def test_python_prints_at_once_and_in_its_own_encoding() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1:backslashreplace"}
    said = ran(
        """
process.enter()
sys.stderr.write("\\xe9\\u4e00|")
os.write(process.stderr_descriptor(), b"then")
os._exit(0)
""",
        env=environment,
    )
    assert said.stderr == b"\xe9\\u4e00|then"


def test_a_stream_that_somebody_else_put_in_place_stays_there() -> None:
    said = told("""
import io
sys.stderr = io.StringIO()
process.enter()
assert isinstance(sys.stderr, io.StringIO)
os.write(process.stderr_descriptor(), b"told")
""")
    assert said == "told"


def test_a_traceback_and_what_the_fault_handler_writes_are_seen() -> None:
    done = ran("process.enter(); raise ValueError('seen')")
    assert b"ValueError: seen" in done.stderr
    done = ran("""
import faulthandler, signal
faulthandler.enable()
process.enter()
os.kill(os.getpid(), signal.SIGSEGV)
""")
    assert done.returncode < 0
    assert b"Segmentation fault" in done.stderr


def test_the_fault_handler_is_not_enabled_for_anybody() -> None:
    said = told("import faulthandler; process.enter(); tell(faulthandler.is_enabled())")
    assert said == "False\n"


def test_warnings_and_records_of_libraries_are_silenced_but_for_handlers_that_are_there() -> None:
    said = told("""
process.enter()
logging.getLogger("handled").addHandler(logging.StreamHandler(sys.stderr))
warnings.warn("a warning")
logging.getLogger("library").error("a record")
logging.getLogger("handled").error("handled")
""")
    assert said == "handled\n"


# Jobs

JOBS = """
import poolcli.formats
from pathlib import Path
from poolcli import run as runner
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
runner.enter_process()
for path in sys.argv[1:]:
    outcome = run(path, path + ".out", "toy", work())
    remarks = [*outcome.warnings, *outcome.notes]
    tell(Path(path).stem, outcome.status, "; ".join(remarks))
"""
COMPLAINT = "its decoder complained: it may be damaged"


def test_what_is_printed_is_told_with_the_picture_that_it_was_printed_for(
    tmp_path: Path, toy_format: Any
) -> None:
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


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"])
def test_a_picture_goes_to_the_standard_error_of_the_process(name: str, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(encoded(noisy("L", (4, 4)), "png"))
    for target in ("out.png", name):
        command = [sys.executable, "-m", "poolcli", "max", "-k", "2", "-q", "-f", "--format", "png"]
        done = subprocess.run(
            [*command, "in.png", target], capture_output=True, check=True, cwd=tmp_path
        )
    assert done.stderr == (tmp_path / "out.png").read_bytes()


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2"])
def test_a_closed_standard_error_takes_no_picture(name: str, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(encoded(noisy("L", (4, 4)), "png"))
    command = f'exec "{sys.executable}" -m poolcli max -k 2 --format png in.png {name} 2>&-'
    done = subprocess.run(["/bin/sh", "-c", command], check=False, cwd=tmp_path, timeout=60)
    assert done.returncode in (1, 2)
    assert [one.name for one in tmp_path.iterdir()] == ["in.png"]
