from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from poolcli import storage
from poolcli.errors import PoolError
from poolcli.storage import Source, Target

OLD, NEW = b"old bytes", b"the new bytes" * 1000
LONGEST_NAME = "n" * 251 + ".png"
Patch = pytest.MonkeyPatch
Call = Callable[..., Any]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux's /proc and /dev")


# Tools


@pytest.fixture(params=["unnamed temporaries", "named temporaries", "no hard links"])
def file_system(request: pytest.FixtureRequest, monkeypatch: Patch) -> str:
    """What the file system of a test knows."""
    if request.param != "unnamed temporaries":
        refuse_unnamed(monkeypatch, errno.EOPNOTSUPP)
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", raising(errno.EPERM))
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A free name in an empty folder."""
    return tmp_path / "out.png"


@pytest.fixture
def old(path: Path) -> Path:
    """A name that is taken."""
    path.write_bytes(OLD)
    return path


def write(path: Path, octets: bytes = NEW, **choices: Any) -> None:
    """Write a file as the program does."""
    Target.at(str(path)).write(octets, **choices)


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


def refuse_unnamed(monkeypatch: Patch, number: int) -> None:
    """Make `os.open` refuse O_TMPFILE as file systems and old kernels do."""
    real, flag = os.open, getattr(os, "O_TMPFILE", 0)

    def open_named(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flag and flags & flag == flag:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", open_named)


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


# Which paths are streams


@pytest.mark.parametrize(
    ("name", "is_stdout"),
    [
        ("-", True),
        ("/dev/stdout", True),
        ("/dev/fd/1", True),
        ("/proc/self/fd/1", True),
        ("//dev/stdout", True),
        ("///dev/./fd//1", True),
        ("/dev/stdin", False),
        ("/dev/fd/7", False),
        ("/proc/self/fd/7", False),
        ("/dev/null", False),
    ],
)
def test_streams_are_known_by_name(name: str, is_stdout: bool) -> None:
    target = Target.at(name)

    assert target.is_stream
    assert target.is_stdout is is_stdout


@pytest.mark.parametrize("name", ["out.png", "./-", "fd/1", "dev/stdout", "-.png"])
def test_other_names_are_files(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)

    assert not Target.at(name).is_stream


def test_an_existing_fifo_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert Target.at(str(tmp_path / "fifo")).is_stream


@linux_only
def test_a_stream_is_written_through_its_descriptor_where_it_stands(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        log.write(OLD)
        log.flush()
        Target.at(f"/dev/fd/{log.fileno()}").write(NEW)

    assert contents(tmp_path) == {"log": OLD + NEW}


# Reading


def test_a_file_is_opened_to_be_read_and_sought(old: Path) -> None:
    with Source(str(old)).open() as stream:
        assert stream.seek(4) == 4
        assert stream.read() == OLD[4:]


def test_what_cannot_seek_is_read_whole_and_can_be_sought(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    content = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(OLD,), daemon=True)
    content.start()
    with Source(str(tmp_path / "fifo")).open() as stream:
        assert stream.seek(4) == 4
        assert stream.read() == OLD[4:]
    content.join()


@pytest.mark.parametrize(("name", "says"), [("none", "No such file"), (".", "folder")])
def test_what_cannot_be_read_is_an_error_with_a_remedy(
    tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(PoolError, match=says) as caught:
        Source(str(tmp_path / name)).open()

    assert caught.value.remedy


def test_only_regular_files_have_a_size(old: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    assert Source(str(old)).size() == len(OLD)
    assert [Source(str(tmp_path / one)).size() for one in ("fifo", "none", ".")] == [None] * 3


def test_one_file_under_two_names_is_the_same(old: Path, tmp_path: Path) -> None:
    (tmp_path / "hard").hardlink_to(old)
    (tmp_path / "soft").symlink_to(old)
    (tmp_path / "copy").write_bytes(OLD)
    names = ("hard", "soft", "copy", "none")
    statuses = [Source(str(tmp_path / one)).status() for one in names]

    assert [storage.same_file(Source(str(old)).status(), one) for one in statuses] == [
        *(True, True, False, False)
    ]


# Creating


def test_a_new_file_holds_every_byte_and_stands_alone(file_system: str, path: Path) -> None:
    write(path)

    assert contents(path.parent) == {path.name: NEW}, file_system


@pytest.mark.parametrize("overwrite", [False, True])
def test_short_and_blocked_writes_are_continued(
    file_system: str, path: Path, monkeypatch: Patch, overwrite: bool
) -> None:
    real, turns = os.write, iter(range(10**6))

    def write_little(descriptor: int, octets: memoryview) -> int:
        if next(turns) % 7 == 3:
            raise BlockingIOError(errno.EAGAIN, "not now")
        return real(descriptor, octets[:999])

    monkeypatch.setattr(os, "write", write_little)
    write(path, overwrite=overwrite)

    assert contents(path.parent) == {path.name: NEW}, file_system


def test_an_existing_file_is_never_clobbered(file_system: str, old: Path) -> None:
    with pytest.raises(PoolError, match="exists") as caught:
        write(old)

    assert "--overwrite" in caught.value.remedy
    assert contents(old.parent) == {old.name: OLD}, file_system


@pytest.mark.parametrize("leads_to", ["nowhere", "pointed"])
def test_a_link_is_not_written_through(file_system: str, path: Path, leads_to: str) -> None:
    (path.parent / "pointed").write_bytes(OLD)
    path.symlink_to(leads_to)
    with pytest.raises(PoolError, match="exists"):
        write(path)

    assert path.readlink() == Path(leads_to), file_system
    assert sorted(os.listdir(path.parent)) == ["out.png", "pointed"]
    assert (path.parent / "pointed").read_bytes() == OLD


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_file_that_appears_meanwhile_stays(
    file_system: str, path: Path, monkeypatch: Patch, call: str
) -> None:
    before(call, lambda: path.write_bytes(OLD), monkeypatch)
    with pytest.raises(PoolError, match="exists"):
        write(path)

    assert contents(path.parent) == {path.name: OLD}, file_system


@pytest.mark.parametrize("bits", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_new_file_has_the_permissions_of_any_new_file(
    file_system: str, path: Path, bits: int, overwrite: bool
) -> None:
    with umask(bits):
        write(path, overwrite=overwrite)

    assert mode_bits(path) == 0o666 & ~bits, file_system


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_longest_name_can_be_written(file_system: str, path: Path, overwrite: bool) -> None:
    longest = path.with_name(LONGEST_NAME)
    if overwrite:
        longest.write_bytes(OLD)
    write(longest, overwrite=overwrite)

    assert contents(path.parent) == {LONGEST_NAME: NEW}, file_system


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_unnamed_temporaries_are_done_without(path: Path, monkeypatch: Patch, number: int) -> None:
    refuse_unnamed(monkeypatch, number)
    write(path)

    assert contents(path.parent) == {path.name: NEW}


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.parametrize("unnamed", [False, True])
def test_hard_links_are_done_without(
    path: Path, monkeypatch: Patch, number: int, unnamed: bool
) -> None:
    if not unnamed:
        refuse_unnamed(monkeypatch, errno.EOPNOTSUPP)
    monkeypatch.setattr(os, "link", raising(number))
    write(path)

    assert contents(path.parent) == {path.name: NEW}


@linux_only
def test_a_new_file_never_shows_before_it_is_complete(path: Path, monkeypatch: Patch) -> None:
    seen: list[list[str]] = []
    before("fsync", lambda: seen.append(os.listdir(path.parent)), monkeypatch)
    write(path)

    assert seen == [[]]


# Overwriting


def test_overwriting_replaces_the_bytes(file_system: str, old: Path) -> None:
    write(old, overwrite=True)

    assert contents(old.parent) == {old.name: NEW}, file_system


def test_overwriting_leaves_what_other_names_lead_to(old: Path) -> None:
    hard = old.with_name("hard.png")
    hard.hardlink_to(old)
    write(old, overwrite=True)

    assert (old.read_bytes(), hard.read_bytes()) == (NEW, OLD)


@pytest.mark.parametrize("leads_to", ["nowhere", "pointed"])
def test_overwriting_a_link_replaces_it_by_a_file(path: Path, leads_to: str) -> None:
    (path.parent / "pointed").write_bytes(OLD)
    path.symlink_to(leads_to)
    write(path, overwrite=True)

    assert not path.is_symlink()
    assert contents(path.parent) == {path.name: NEW, "pointed": OLD}


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o604, 0o755, 0o444])
def test_overwriting_keeps_the_mode_bits(old: Path, bits: int) -> None:
    old.chmod(bits)
    with umask(0o077):
        write(old, overwrite=True)

    assert mode_bits(old) == bits
    assert old.read_bytes() == NEW


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o1755])
def test_the_rights_of_an_owner_are_not_lent(path: Path, bits: int, overwrite: bool) -> None:
    model = path.with_name("model")
    for one in [model, path] if overwrite else [model]:
        one.write_bytes(OLD)
        one.chmod(bits)
    write(path, overwrite=overwrite, like=None if overwrite else model.stat())

    assert mode_bits(path) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_overwriting_keeps_the_owner(old: Path) -> None:
    os.chown(old, 12, 34)
    write(old, overwrite=True)

    assert (old.stat().st_uid, old.stat().st_gid) == (12, 34)


def test_a_private_file_is_private_while_it_is_replaced(old: Path, monkeypatch: Patch) -> None:
    old.chmod(0o600)
    seen: list[int] = []
    before("write", lambda: seen.extend(map(mode_bits, old.parent.iterdir())), monkeypatch)
    with umask(0o022):
        write(old, overwrite=True)

    assert seen == [0o600, 0o600]


def test_a_replaced_file_is_the_old_one_until_it_is_the_new_one(
    old: Path, monkeypatch: Patch
) -> None:
    seen: list[bytes] = []
    for call in ("write", "fsync", "replace"):
        before(call, lambda: seen.append(old.read_bytes()), monkeypatch)
    write(old, overwrite=True)

    assert seen == [OLD] * 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_preserving_takes_time_and_mode_bits(file_system: str, path: Path, overwrite: bool) -> None:
    model = path.with_name("in.png")
    model.write_bytes(OLD)
    model.chmod(0o604)
    os.utime(model, ns=(5 * 10**17, 10**18 + 123))
    if overwrite:
        path.write_bytes(OLD)
    write(path, overwrite=overwrite, like=model.stat())

    assert (mode_bits(path), path.stat().st_mtime_ns) == (0o604, 10**18 + 123), file_system


# Faults

FAULTS = [
    ("unnamed temporaries", False, ("open", "write", "fsync", "link")),
    ("named temporaries", False, ("open", "write", "fsync", "link")),
    ("no hard links", False, ("write", "fsync", "replace")),
    ("unnamed temporaries", True, ("open", "write", "fchmod", "fsync", "replace")),
]
CASES = [
    pytest.param(system, overwrite, call, id=f"{call}, {system}{', overwriting' * overwrite}")
    for system, overwrite, calls in FAULTS
    for call in calls
]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(("file_system", "overwrite", "call"), CASES, indirect=["file_system"])
def test_a_fault_at_any_call_leaves_the_folder_as_it_was(
    file_system: str,
    path: Path,
    monkeypatch: Patch,
    overwrite: bool,
    call: str,
    fault: int | BaseException,
) -> None:
    (path if overwrite else path.with_name("bystander")).write_bytes(OLD)
    kept = contents(path.parent)
    monkeypatch.setattr(os, call, failing_once_written(call, fault))
    expected = OSError if isinstance(fault, int) else KeyboardInterrupt
    with pytest.raises(expected):
        write(path, overwrite=overwrite)
    monkeypatch.undo()

    assert contents(path.parent) == kept, file_system


def failing_once_written(call: str, fault: int | BaseException) -> Call:
    """A fault; where it strikes writing, a part has been written before."""
    real, fail, calls = os.write, raising(fault), iter(range(10**6))

    def write_part(descriptor: int, octets: memoryview) -> int:
        return real(descriptor, octets[:5]) if next(calls) == 0 else int(fail())

    return write_part if call == "write" else fail


@linux_only
@pytest.mark.parametrize(
    ("call", "taken"), [("mkdir", "new"), ("open", "new/er"), ("link", "new/er")]
)
def test_a_folder_that_another_worker_takes_away_again_is_made_anew(
    tmp_path: Path, monkeypatch: Patch, call: str, taken: str
) -> None:
    (tmp_path / "new").mkdir()
    before(call, lambda: (tmp_path / taken).rmdir(), monkeypatch)
    target = Target(str(tmp_path / "new/er/out.png"), is_stream=False, in_folder=True)
    target.write(NEW)

    assert contents(tmp_path / "new/er") == {"out.png": NEW}


def test_a_folder_that_can_never_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to("nowhere")
    target = Target(str(tmp_path / "new/out.png"), is_stream=False, in_folder=True)
    with pytest.raises(FileNotFoundError):
        target.write(NEW)

    assert os.listdir(tmp_path) == ["new"]


def test_a_folder_that_cannot_be_synced_is_no_fault(path: Path, monkeypatch: Patch) -> None:
    real = os.fsync

    def sync_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not here")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files)
    write(path)

    assert path.read_bytes() == NEW


def test_a_file_alone_and_its_name_are_synced_to_disk(path: Path, monkeypatch: Patch) -> None:
    real, synced = os.fsync, []

    def note(descriptor: int) -> None:
        synced.append(stat.S_IFMT(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write(path)

    assert synced == [stat.S_IFREG, stat.S_IFDIR]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_run_that_is_killed_leaves_the_old_bytes_and_the_next_one_tidies_up(
    old: Path, call: str
) -> None:
    killed = f"""
import os, signal
from poolcli.storage import Target
os.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
Target.at({str(old)!r}).write(b"new", overwrite=True)
"""
    done = subprocess.run([sys.executable, "-c", killed], check=False, timeout=60)

    assert done.returncode == -signal.SIGKILL
    assert old.read_bytes() == OLD
    write(old, overwrite=True)
    assert contents(old.parent) == {old.name: NEW}


# Temporaries of other runs


def test_temporaries_of_dead_runs_are_removed(path: Path) -> None:
    path.with_name(".poolcli-0123abcd.tmp").write_bytes(OLD)
    write(path)

    assert contents(path.parent) == {path.name: NEW}


def test_a_temporary_of_a_living_run_is_left_alone(path: Path) -> None:
    living = path.with_name(".poolcli-0123abcd.tmp")
    with living.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write(path)

    assert sorted(contents(path.parent)) == [living.name, path.name]


def test_our_own_temporary_is_locked_while_it_is_written(old: Path, monkeypatch: Patch) -> None:
    refusals: list[int | None] = []

    def steal() -> None:
        for one in old.parent.glob(".poolcli-*.tmp"):
            with one.open("r+b") as stream, pytest.raises(BlockingIOError) as caught:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            refusals.append(caught.value.errno)

    before("write", steal, monkeypatch)
    write(old, overwrite=True)

    assert refusals == [errno.EAGAIN]


@pytest.mark.parametrize(
    "name",
    [
        ".poolcli-0123abcd.tmp.png",
        "poolcli-0123abcd.tmp",
        ".poolcli-0123abc.tmp",
        ".poolcli-0123ABCD.tmp",
        ".poolcli-0123abcz.tmp",
        ".poolcli-.tmp",
    ],
)
def test_files_that_only_look_like_temporaries_are_left_alone(path: Path, name: str) -> None:
    path.with_name(name).write_bytes(OLD)
    write(path)

    assert contents(path.parent) == {path.name: NEW, name: OLD}


def test_links_and_folders_named_like_temporaries_are_left_alone(path: Path) -> None:
    (path.parent / "kept").write_bytes(OLD)
    path.with_name(".poolcli-00000000.tmp").symlink_to("kept")
    path.with_name(".poolcli-11111111.tmp").mkdir()
    write(path)

    assert sorted(os.listdir(path.parent)) == [
        *(".poolcli-00000000.tmp", ".poolcli-11111111.tmp", "kept", "out.png")
    ]
