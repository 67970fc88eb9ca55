"""The contract of storages, held by every one of them, and what is the local files' own."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
from ast import literal_eval
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from poolcli.errors import PoolError
from poolcli.storage import ExistsError, Place, place_at, place_of
from poolcli.storage.hidden import HAS_UNNAMED, HiddenFile, remove_stale
from poolcli.storage.local import LocalFile
from poolcli.storage.remote import Remote
from poolcli.storage.streams import Stream, is_stdout
from tests.storage_support import (
    LargeFile,
    Memory,
    PlaceUnderTest,
    file_in,
    large_file_in,
    object_in_bucket,
    object_in_memory,
    pipe,
    place_in_memory,
    use_memory,
)
from tests.support.processes import Run, linux_only, root_only
from tests.support.trees import paint_all

OLD, NEW = b"old bytes, old bytes", b"the new bytes" * 1000
LONGEST_NAME = "n" * 251 + ".png"
TEMPORARIES = ".poolcli-*.tmp"
Patch = pytest.MonkeyPatch
Call = Callable[..., Any]
in_batch = partial(LocalFile, in_folder=True)
LINK = os.link  # some tests take it away


# The storages, and tools


IN_PROCESS = ["local files", "memory"]
FILES = [*IN_PROCESS, "large local files", "objects in memory", "S3"]


@pytest.fixture(params=[*FILES, "pipes"])
def place(request: Any, tmp_path: Path, monkeypatch: Patch) -> Iterator[PlaceUnderTest]:
    """A free place in every storage."""
    match request.param:
        case "pipes":
            with pipe() as one:
                yield one
        case "local files":
            yield file_in(tmp_path)
        case "large local files":
            yield large_file_in(tmp_path)
        case "memory":
            yield place_in_memory(use_memory(monkeypatch))
        case "objects in memory":
            yield object_in_memory(monkeypatch)
        case _:
            yield object_in_bucket(request.getfixturevalue("s3"))


in_files = pytest.mark.parametrize("place", FILES, indirect=True)


@pytest.fixture(params=["hard links", "no hard links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: Patch) -> None:
    """What the file system of a test supports."""
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", raising(errno.EPERM))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A free name in an empty folder."""
    return tmp_path / "out.png"


@pytest.fixture
def old(path: Path) -> Path:
    """A name that is taken."""
    path.write_bytes(OLD)
    return path


def write(to: Place | Path, content: bytes = NEW, **choices: Any) -> int:
    """Write a result as the program does."""
    with (to if isinstance(to, Place) else place_at(str(to))).create(**choices) as output:
        output.write(content)
        return output.commit()


def contents(folder: Path) -> dict[str, bytes]:
    """Every name in a folder, and the bytes behind it."""
    return {one.name: one.read_bytes() for one in folder.iterdir()}


def mode_bits(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def raising(fault: int | BaseException) -> Call:
    """A function that only fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(fault, os.strerror(fault)) if isinstance(fault, int) else fault

    return fail


def before(call: str, act: Callable[[], object], monkeypatch: Patch) -> None:
    """Let something happen just before the first use of a function of `os`."""
    real = getattr(os, call)
    happened: list[bool] = []

    def acting(*args: Any, **named: Any) -> Any:
        if not happened:
            happened.append(True)
            act()
        return real(*args, **named)

    monkeypatch.setattr(os, call, acting)


@contextmanager
def umask(bits: int) -> Iterator[None]:
    """Another umask for a while."""
    kept = os.umask(bits)
    try:
        yield
    finally:
        os.umask(kept)


# The contract: writing


@pytest.mark.parametrize("content", [NEW, b""], ids=len)
def test_a_result_is_stored_whole_when_committed(place: PlaceUnderTest, content: bytes) -> None:
    with place.target.create() as output:
        assert output.write(content[:5]) == len(content[:5])
        assert output.write(memoryview(content)[5:]) == len(content[5:])
        assert place.stored() == b""
        assert output.commit() == len(content)
    assert place.stored() == content


def test_an_encoder_may_seek_tell_and_read_back(place: PlaceUnderTest) -> None:
    with place.target.create() as output:
        output.write(b"size? pixels")
        assert output.tell() == 12
        output.seek(0)
        assert output.read(5) == b"size?"
        output.seek(0)
        output.write(b"12345")
        output.commit()
    assert place.stored() == b"12345 pixels"


@pytest.mark.parametrize("fault", [None, ZeroDivisionError(), KeyboardInterrupt()], ids=repr)
def test_what_is_not_committed_leaves_nothing(
    place: PlaceUnderTest, fault: BaseException | None
) -> None:
    with suppress(ZeroDivisionError, KeyboardInterrupt), place.target.create() as output:
        output.write(NEW)
        if fault is not None:
            raise fault
        output.close()
    assert place.stored() == b""


def test_a_large_file_is_filled_from_its_end_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.pfm"
    with LargeFile(str(path), in_folder=True).create() as output:
        output.write(b"head")
        output.seek(10)
        output.write(np.arange(2, dtype=">u2")[None].data)
        output.seek(4)
        output.write(b"middle")
        output.seek(0, os.SEEK_END)
        output.write(b"more")
        output.truncate(14)
        assert output.seek(4) == 4
        assert output.read() == b"middle\0\0\0\1"
        output.commit()
    assert contents(path.parent) == {"out.pfm": b"headmiddle\0\0\0\1"}


def test_a_hidden_file_that_cant_be_removed_is_closed(tmp_path: Path, monkeypatch: Patch) -> None:
    file = HiddenFile(str(tmp_path), 0o666)
    descriptor = file.descriptor
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", raising(errno.EACCES))
        with pytest.raises(PermissionError):
            file.remove()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_large_file_that_is_given_up_leaves_no_folder(tmp_path: Path) -> None:
    with LargeFile(str(tmp_path / "new" / "out.png"), in_folder=True).create() as output:
        output.write(NEW)
        assert [*tmp_path.rglob(TEMPORARIES)]
    assert not [*tmp_path.iterdir()]


def test_short_and_blocked_writes_are_continued(place: PlaceUnderTest, monkeypatch: Patch) -> None:
    real, turns = os.write, iter(range(10**6))

    def write_little(descriptor: int, data: memoryview) -> int:
        if next(turns) % 7 == 3:
            raise BlockingIOError(errno.EAGAIN, "not now")
        return real(descriptor, data[:999])

    monkeypatch.setattr(os, "write", write_little)
    assert write(place.target) == len(NEW)
    assert place.stored() == NEW


@in_files
def test_an_existing_file_is_replaced_only_on_demand(place: PlaceUnderTest) -> None:
    with place.target.create() as output:
        place.put(OLD)
        with pytest.raises(PoolError, match="exists"):
            output.commit()  # it appeared meanwhile
    with pytest.raises(ExistsError, match="exists") as caught:
        write(place.target)
    assert "--overwrite" in caught.value.remedy
    assert place.stored() == OLD
    write(place.target, overwrite=True)
    assert place.stored() == NEW
    assert write(place.target, retry=True) == len(NEW)  # the very same bytes are stored already
    with pytest.raises(PoolError, match="exists"):
        write(place.target, NEW[:-1], retry=True)
    assert place.stored() == NEW


@in_files
def test_a_new_file_can_be_withdrawn_and_a_replaced_one_stays(place: PlaceUnderTest) -> None:
    with place.target.create() as output:
        output.write(NEW)
        output.commit()
        assert place.stored() == NEW
        output.withdraw()
    assert place.target.status().kind == "missing"
    place.put(OLD)
    for overwrite in (True, False):
        with place.target.create(overwrite=overwrite, retry=True) as output:
            output.write(NEW)
            output.commit()
            output.withdraw()
        assert place.stored() == NEW


def test_a_local_file_that_may_be_replaced_gets_a_new_time_also_in_a_retry(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(NEW)
    os.utime(path, (1, 1))
    write(LocalFile(str(path)), overwrite=True, retry=True)

    assert path.read_bytes() == NEW
    assert path.stat().st_mtime > 1  # --update would replace it again and again


# The contract: reading and looking


def test_what_is_read_can_seek_and_pipes_are_checked_at_their_start(place: PlaceUnderTest) -> None:
    place.put(OLD)
    starts: list[bytes] = []

    def check(start: bytes) -> bool:
        starts.append(start)
        return False

    with place.source.open(check) as stream:
        assert stream.seek(4) == 4
        assert stream.read() == OLD[4:]
        assert stream.seek(0) == 0
    assert starts == ([OLD] if place.target.is_stream else [])


def test_short_reads_of_a_file_are_continued(path: Path, monkeypatch: Patch) -> None:
    class Short(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1000 if size is None or size < 0 else min(size, 1000)) or b""

    monkeypatch.setattr("poolcli.storage.local.FileIO", Short)
    for count in (2500, 1 << 16, 1 << 17):
        path.write_bytes(bytes(count))
        with LocalFile(str(path)).open() as stream:
            assert stream.read(count) == bytes(count)


def test_a_check_of_the_start_refuses_a_pipe_that_has_no_end() -> None:
    with pipe() as place:
        os.write(int(place.target.path.rpartition("/")[2]), OLD)
        with pytest.raises(PoolError, match="no picture"):
            place.source.open(raising(PoolError("no picture", "name one")))


def test_only_files_have_a_size_and_an_identity_and_all_places_can_be_pickled(
    place: PlaceUnderTest,
) -> None:
    place.put(OLD)
    status, is_file = place.source.status(), not place.target.is_stream
    assert status.kind == ("file" if is_file else "stream")
    assert status.size == (len(OLD) if is_file else None)
    assert (status.identity is not None) == is_file
    assert place.target.existing().identity == status.identity
    assert status.problem == ""
    for end in (place.source, place.target._replace(in_folder=True)):
        again = pickle.loads(pickle.dumps(end))  # noqa: S301  # our own
        assert (again, type(again)) == (end, type(end))


def test_what_is_missing_says_why_and_fails_with_a_remedy(place: PlaceUnderTest) -> None:
    source = place_of("/dev/fd/999") if place.target.is_stream else place.source
    status = source.status()
    assert (status.kind, status.size, status.identity) == ("missing", None, None)
    assert "no such" in status.problem.lower()
    assert source.existing().kind == "missing"
    failing: list[tuple[Call, str]] = [
        (source.open, "[Nn]o such"),
        (place_of(os.curdir).open, "folder"),
    ]
    if not isinstance(place.source, Memory | Remote):  # an empty prefix is no fault
        failing.append((lambda: list(place.source.walk()), "folder can't be read"))
    for act, reason in failing:
        with pytest.raises(PoolError, match=reason) as caught:
            act()
        assert caught.value.remedy


@in_files
def test_a_folder_is_walked_name_by_name_in_order(place: PlaceUnderTest, tmp_path: Path) -> None:
    folder = os.path.dirname(place.target.path)
    for name in ("b.png", "a/below.png", "B.png", "a.png", ".c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(place_of(f"{folder}/{name}"))
    told = dict(place_of(folder).walk())
    found = {name: place_of(f"{folder}/{name}").status() for name in told}
    assert list(told) == [".c", "B.png", "a", "a.png", "b.png"]
    assert told["a"] == found["a"]
    assert [one.kind for one in found.values()] == ["file", "file", "folder", "file", "file"]
    assert all(told[name] in (None, found[name]) for name in told)
    assert place_of(folder).status().kind == "folder"


# The contract: a fault at every call

STEPS_OF_CONTRACT: Final = """
import itertools, os, sys
import poolcli.cli, poolcli.console, poolcli.run
from poolcli.errors import PoolError
from poolcli.storage import SCHEMES, ExistsError, Status
from poolcli.storage.local import LocalFile
from poolcli.storage.local_output import LocalOutput
from tests.storage_support import Memory, MemoryOutput

SCHEMES["memory"] = Memory
OUTPUT, PLACE = (MemoryOutput, Memory) if IN_MEMORY else (LocalOutput, LocalFile)
FAILING = "open", "walk", "lookup", "check_readable", "check_writable"
FAILS = dict.fromkeys(FAILING, PoolError("odd", "do"))
FAILS |= dict.fromkeys(("create", "write", "commit", "sync"), OSError(5, "odd"))
calls = limit = 0
def counted(kind, name):
    real = getattr(kind, name)
    def call(self, *words, **options):
        global calls
        calls += 1
        if calls != limit:
            return real(self, *words, **options)
        if INTERRUPTED:
            raise KeyboardInterrupt
        if name in ("status", "existing"):
            return Status("missing", problem="it can't be read: odd")
        raise FAILS[name]
    setattr(kind, name, call)
for name in ("status", "existing", *FAILS):
    counted(OUTPUT if name in ("write", "commit") else PLACE, name)
os.sync = int
printed = os.dup(1)
for most in itertools.count(1):
    told, tell = os.pipe()
    if not os.fork():
        if IN_MEMORY:
            Memory.files = {path: open(path.rpartition("/")[2], "rb").read() for path in MEMORY}
        else:
            folder = f"run-{most}"
            os.system(f"cp -r before {folder}")
            os.chdir(folder)
        calls, limit = 0, most
        try:
            poolcli.cli.main()
        except SystemExit as end:
            found = {path: bytes.hex(content) for path, content in Memory.files.items()}
            os.write(tell, repr((end.code, calls < limit, found)).encode())
        os._exit(0)
    os.close(tell)
    with open(told, "rb") as stream:
        content = stream.read()
    os.wait()
    os.write(printed, content + b"\\n")
    if not content or eval(content)[1]:
        break
"""


@pytest.mark.parametrize("interrupted", [False, True], ids=["fault", "interrupted"])
@pytest.mark.parametrize("flag", ["--overwrite", "--skip-existing"])
@pytest.mark.parametrize("storage", IN_PROCESS)
def test_a_fault_at_any_call_of_the_contract_is_told_and_leaves_whole_files(
    run: Run, tmp_path: Path, storage: str, flag: str, interrupted: bool
) -> None:
    prefix = "memory://" if storage == "memory" else ""
    paint_all(tmp_path / "before/in", "a.png", "b.png")
    paint_all(tmp_path, "a.png", "b.png")
    run("max", "-k", 2, "-q", "before/in", "expected")
    new = {name: (tmp_path / "expected" / name).read_bytes() for name in ("a.png", "b.png")}
    setup = (
        f"IN_MEMORY, INTERRUPTED = {storage == 'memory'}, {interrupted}\n"
        "MEMORY = 'memory://in/a.png', 'memory://in/b.png'\n"
    )
    words = ("max", "-k", 2, "-q", flag, f"{prefix}in", f"{prefix}out")
    done = run(*words, first=setup + STEPS_OF_CONTRACT)
    *ends, last = [literal_eval(line) for line in done.stdout.decode().splitlines()]

    assert last[:2] == (0, True)
    assert len(ends) > 10
    assert b"Traceback" not in done.stderr
    assert b"poolcli failed" not in done.stderr
    assert {code for code, *_ in ends} <= ({130} if interrupted else {0, 1, 2, 3})
    assert interrupted or {code for code, *_ in ends} >= {1, 2}
    for number, (_, _, found) in enumerate(ends, 1):
        files = {one.removeprefix("memory://"): bytes.fromhex(text) for one, text in found.items()}
        if storage != "memory":
            folder = tmp_path / f"run-{number}"
            files = {
                str(one.relative_to(folder)): one.read_bytes()
                for one in folder.rglob("*")
                if one.is_file()
            }
        inputs = {name: files.pop(f"in/{name}") for name in new}
        assert inputs == {name: (tmp_path / name).read_bytes() for name in new}
        assert files.items() <= {f"out/{name}": octets for name, octets in new.items()}.items()


# Local files: faults; streams

STEPS = {
    ("hard links", False): ("open", "write", "fsync"),  # what link refuses, replace may do
    ("hard links", True): ("open", "write", "fchmod", "fsync", "replace"),
    ("no hard links", False): ("open", "write", "fsync", "replace"),
}
CASES = [(*case, call) for case, calls in STEPS.items() for call in calls]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("file_system", "overwrite", "call"), CASES, indirect=["file_system"])
@pytest.mark.parametrize("kind", [LocalFile, LargeFile], ids=["small", "large"])
@pytest.mark.usefixtures("file_system")
def test_a_fault_at_any_call_leaves_the_folder_as_it_was(
    path: Path, monkeypatch: Patch, kind: type[Place], overwrite: bool, call: str, fault: Any
) -> None:
    (path if overwrite else path.with_name("bystander")).write_bytes(OLD)
    kept, real = contents(path.parent), os.write

    def write_part(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", raising(fault))
        return real(descriptor, data[:5])

    monkeypatch.setattr(os, call, write_part if call == "write" else raising(fault))
    with pytest.raises(OSError if isinstance(fault, int) else KeyboardInterrupt):
        write(kind(str(path)), overwrite=overwrite)
    monkeypatch.undo()
    assert contents(path.parent) == kept


SLASHES: Final = ("//dev/stdout", "///dev/./fd//1")
STDOUT: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", *SLASHES)
OTHER_STREAMS: Final = ("/dev/stdin", "/dev/fd/7", "/proc/self/fd/7", "/dev/null")
NO_STREAMS: Final = ("out.png", "./-", "fd/1", "dev/stdout", "-.png", "c://x", "://")


@pytest.mark.parametrize("name", [*STDOUT, *OTHER_STREAMS, *NO_STREAMS])
def test_streams_are_known_by_name(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    assert type(place_at(name)) is (LocalFile if name in NO_STREAMS else Stream)
    assert (is_stdout(name), place_at(name).is_stream) == (name in STDOUT, name not in NO_STREAMS)


def test_a_fifo_is_read_to_its_end_and_replaced_only_in_a_batch(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for content, read in (
        *((OLD, place_at(str(fifo)).open), (OLD, place_of(str(fifo)).open)),
        (NEW, lambda: fifo.open("rb")),
    ):
        writer = threading.Thread(target=write, args=(fifo, content), daemon=True)
        writer.start()
        with read() as stream:
            assert stream.read() == content
        writer.join()
    assert fifo.is_fifo()
    write(in_batch(str(fifo)), overwrite=True)
    assert contents(tmp_path) == {"fifo": NEW}


@linux_only
def test_a_file_behind_a_descriptor_is_written_where_it_stands(old: Path) -> None:
    with old.open("ab") as log:
        target = place_of(f"/dev/fd/{log.fileno()}")
        write(target)
        assert target.existing().identity == place_of(str(old)).status().identity
    assert contents(old.parent) == {old.name: OLD + NEW}


# Local files: what is there


def test_one_file_has_one_identity_under_all_of_its_names(old: Path, tmp_path: Path) -> None:
    (tmp_path / "hard").hardlink_to(old)
    (tmp_path / "soft").symlink_to(old)
    (tmp_path / "copy").write_bytes(OLD)
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    names = ("hard", "soft", "copy", "none", "broken", "link", "pipe")
    places = [LocalFile(str(tmp_path / one)) for one in names]
    for ask in (LocalFile.status, LocalFile.existing):
        same = [ask(one).identity == ask(LocalFile(str(old))).identity for one in places]
        assert same == [True, True, *[False] * 5]
    kinds = [one.existing().kind for one in places]
    assert kinds == ["file", "link", "file", "missing", "link", "link", "stream"]
    kinds = [one.status().kind for one in places]
    assert kinds == ["file", "file", "file", "missing", "missing", "folder", "stream"]
    told = dict(LocalFile(str(tmp_path)).walk())
    assert [name for name, status in told.items() if status] == ["folder"]


@linux_only
@pytest.mark.parametrize("output", ["in", "new", "new/newer", "123", "IN"])
def test_this_file_system_is_asked_and_does_not_fold(output: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "123").mkdir()
    assert LocalFile(str(tmp_path / output)).folds_names() is False
    assert sorted(os.listdir(tmp_path)) == ["123", "in"]


# Local files: names


@pytest.mark.parametrize("number", [0, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_hard_links_are_done_without(path: Path, monkeypatch: Patch, number: int) -> None:
    if number:
        monkeypatch.setattr(os, "link", raising(number))
    for content in (OLD, NEW):
        write(path.with_name(LONGEST_NAME), content, overwrite=content == NEW)
        assert contents(path.parent) == {LONGEST_NAME: content}


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
@pytest.mark.usefixtures("file_system")
def test_a_file_that_appears_late_stays(path: Path, monkeypatch: Patch, call: str) -> None:
    before(call, lambda: path.write_bytes(OLD), monkeypatch)
    with pytest.raises(PoolError, match="exists"):
        write(path)
    assert contents(path.parent) == {path.name: OLD}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_changes_when_all_is_written(
    path: Path, monkeypatch: Patch, overwrite: bool
) -> None:
    if overwrite:
        path.write_bytes(OLD)
    seen: list[int | bytes] = []

    def look() -> None:
        place_of(str(path)).remove_stale()  # as another run does, which leaves our temporary
        seen.append(len(list(path.parent.glob(TEMPORARIES))))
        seen.append(contents(path.parent).get(path.name, b""))

    for call in ("write", "fsync", "replace" if overwrite else "link"):
        before(call, look, monkeypatch)
    write(path, overwrite=overwrite)
    assert seen == [1, OLD if overwrite else b""] * 3
    assert contents(path.parent) == {path.name: NEW}


@pytest.mark.parametrize("kind", ["broken link", "link", "hard link"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.usefixtures("file_system")
def test_a_link_is_replaced_and_never_written_through(
    path: Path, kind: str, overwrite: bool
) -> None:
    other = path.with_name("other")
    other.write_bytes(OLD)
    if kind == "hard link":
        LINK(other, path)
    else:
        path.symlink_to("other" if kind == "link" else "nowhere")
    with nullcontext() if overwrite else pytest.raises(PoolError, match="exists"):
        write(path, overwrite=overwrite)
    assert path.is_symlink() == ("hard" not in kind and not overwrite)
    assert sorted(os.listdir(path.parent)) == ["other", "out.png"]
    assert other.read_bytes() == OLD


# Local files: permissions, owners, times


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o077])
@pytest.mark.usefixtures("file_system")
def test_a_new_file_has_usual_permissions(path: Path, bits: int) -> None:
    for overwrite in (False, True):
        with umask(bits):
            write(path, overwrite=overwrite)
        assert mode_bits(path) == 0o666 & ~bits
        path.unlink()


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o604, 0o755, 0o444, 0o4755, 0o2755, 0o1755])
@pytest.mark.parametrize("preserves", [False, True])
@pytest.mark.usefixtures("file_system")
def test_mode_bits_are_kept_but_no_rights_of_the_owner_are_lent_and_nobody_reads_before(
    old: Path, monkeypatch: Patch, bits: int, preserves: bool
) -> None:
    old.chmod(bits)
    path = old.with_name("new.png") if preserves else old
    hidden: list[int] = []
    look = old.parent.glob
    before("write", lambda: hidden.extend(map(mode_bits, look(TEMPORARIES))), monkeypatch)
    with umask(0o022):
        write(path, overwrite=True, like=place_of(str(old)) if preserves else None)
    assert hidden == [0o600]
    assert mode_bits(path) == bits & 0o777
    assert path.read_bytes() == NEW


@root_only
def test_overwriting_keeps_the_owner(old: Path) -> None:
    os.chown(old, 12, 34)
    write(old, overwrite=True)
    assert (old.stat().st_uid, old.stat().st_gid) == (12, 34)


@pytest.mark.usefixtures("file_system")
def test_preserving_takes_the_times(path: Path) -> None:
    model = path.with_name("in.png")
    model.write_bytes(OLD)
    os.utime(model, ns=(5 * 10**17, 10**18 + 123))
    for overwrite in (False, True):
        write(path, overwrite=overwrite, like=place_of(str(model)))
        assert path.stat().st_mtime_ns == 10**18 + 123


def test_preserving_a_pipe_takes_nothing(old: Path) -> None:
    old.chmod(0o604)
    new = old.with_name("new.png")
    with pipe() as place, umask(0o022):
        place.put(NEW)
        for path in (old, new):
            write(path, overwrite=True, like=place.source)
    assert (mode_bits(old), mode_bits(new)) == (0o604, 0o644)


# Local files: folders, syncing, runs that are killed


@pytest.mark.parametrize(("call", "taken"), [("mkdir", "new"), ("open", "new/er")])
def test_a_folder_that_is_taken_away_is_made_anew(
    tmp_path: Path, monkeypatch: Patch, call: str, taken: str
) -> None:
    (tmp_path / "new").mkdir()
    before(call, lambda: (tmp_path / taken).rmdir(), monkeypatch)
    write(in_batch(f"{tmp_path}/new/er/out.png"))
    assert contents(tmp_path / "new/er") == {"out.png": NEW}
    (tmp_path / "never").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        write(in_batch(f"{tmp_path}/never/out.png"))
    assert sorted(os.listdir(tmp_path)) == ["never", "new"]


@pytest.mark.parametrize("alone", [True, False])
def test_single_files_are_synced_and_batches_once(
    path: Path, monkeypatch: Patch, alone: bool
) -> None:
    synced: list[object] = []

    def note(descriptor: int) -> None:
        synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
        if synced[-1] == stat.S_IFDIR:
            raise OSError(errno.EINVAL, "some file systems sync no folders")

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    target = place_of(str(path)) if alone else in_batch(str(path))
    write(target)
    target.sync()
    assert synced == [*([stat.S_IFREG, stat.S_IFDIR] if alone else []), "all"]
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("call", ["write", "fsync", "link", "unlink", "replace"])
def test_a_killed_run_leaves_whole_files_and_the_next_tidies_up(old: Path, call: str) -> None:
    new, overwrite = old.with_name("new.png"), call == "replace"
    killed = f"""
import os, signal
from poolcli.storage import place_of
os.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with place_of({str(old if overwrite else new)!r}).create(overwrite={overwrite}) as output:
    output.write({NEW!r})
    output.commit()
"""
    done = subprocess.run([sys.executable, "-c", killed], check=False, timeout=60)
    complete = {new.name: NEW} if call == "unlink" else {}  # only its hidden name is left over
    assert done.returncode == -signal.SIGKILL
    assert len(contents(old.parent)) == 2 + len(complete)
    place_of(str(old)).remove_stale()
    assert contents(old.parent) == {old.name: OLD} | complete


def test_a_file_that_another_run_removes_before_it_is_locked_is_made_anew(
    path: Path, monkeypatch: Patch
) -> None:
    flock, removals = fcntl.flock, list[int]()

    def remove_and_lock(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and len(removals) < 2:
            removals.append(operation)
            remove_stale(str(path.parent))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_and_lock)
    write(LargeFile(str(path)))
    assert len(removals) == 2
    assert contents(path.parent) == {path.name: NEW}


def test_a_killed_batch_leaves_nothing_where_files_need_no_name(path: Path) -> None:
    killed = f"""
import os, signal
from poolcli.storage.local import LocalFile
os.link = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with LocalFile({str(path)!r}, in_folder=True).create() as output:
    output.write({NEW!r})
    output.commit()
"""
    done = subprocess.run([sys.executable, "-c", killed], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    if not HAS_UNNAMED or len(contents(path.parent)):
        pytest.skip("this file system has no files without a name")
    assert contents(path.parent) == {}


@pytest.mark.parametrize("fault", [errno.ENOENT, errno.EPERM, errno.EXDEV])
@pytest.mark.parametrize("call", ["open", "link"])
def test_an_output_of_a_batch_gets_its_name_also_where_all_files_need_one(
    path: Path, monkeypatch: Patch, call: str, fault: int
) -> None:
    real, used = getattr(os, call), []

    def without_unnamed(first: Any, *more: Any, **named: Any) -> Any:
        is_unnamed = (call == "link" and "/proc/" in first) or first == str(path.parent)
        if not is_unnamed:
            return real(first, *more, **named)
        used.append(first)
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, call, without_unnamed)
    write(in_batch(str(path)))
    with pytest.raises(PoolError, match="exists"):
        write(in_batch(str(path)))
    assert contents(path.parent) == {path.name: NEW}
    assert used or not HAS_UNNAMED


def left_by_dead_run(path: Path) -> Path:
    """Let a run be killed just before it names an output; return the hidden file that it left."""
    before_it = set(path.parent.glob(TEMPORARIES))
    killed = f"""
import os, signal
from poolcli.storage import place_of
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with place_of({str(path)!r}).create(overwrite=True) as output:
    output.write({OLD!r})
    output.commit()
"""
    subprocess.run([sys.executable, "-c", killed], check=False, timeout=60)
    (left,) = set(path.parent.glob(TEMPORARIES)) - before_it
    return left


def test_what_a_dead_run_left_stays_if_it_is_kept_copied_or_renamed(path: Path) -> None:
    left = left_by_dead_run(path)
    copy = left.with_name(".poolcli-89abcdef.tmp")
    copy.write_bytes(left.read_bytes())
    kept = place_of(str(left)).keep()
    assert kept is not None
    assert place_of(str(path)).keep() is None
    with kept:
        place_of(str(path)).remove_stale()
        assert set(path.parent.iterdir()) == {left, copy}
    left.rename(path)
    place_of(str(path)).remove_stale()
    assert contents(path.parent) == {path.name: OLD, copy.name: OLD}
    path.rename(left)
    place_of(str(path)).remove_stale()
    assert contents(path.parent) == {copy.name: OLD}


@pytest.mark.parametrize("writes", [True, False])
def test_only_temporaries_of_dead_runs_are_removed(path: Path, writes: bool) -> None:
    names = [
        *(".poolcli-0123abcd.tmp.png", "poolcli-0123abcd.tmp", ".poolcli-0123abc.tmp"),
        *(".poolcli-0123ABCD.tmp", ".poolcli-0123abcz.tmp", ".poolcli-.tmp"),
        *(".poolcli-deadbeef.tmp", ".poolcli-4567cdef.tmp", ".poolcli-00000000.tmp"),
    ]
    living, link = names[-2:]
    for name in names[:-1]:
        path.with_name(name).write_bytes(OLD)
    path.with_name(link).symlink_to(names[0])
    path.with_name(".poolcli-01234567.tmp").touch()  # its run was killed before it wrote
    left_by_dead_run(path)
    path.with_name(".poolcli-11111111.tmp").mkdir()
    with path.with_name(living).open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(path) if writes else place_of(str(path)).remove_stale(once=True)
    left = {*names, ".poolcli-11111111.tmp", *([path.name] if writes else [])}
    assert {*os.listdir(path.parent)} == left
