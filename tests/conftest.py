"""The fixtures that several test files use."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from poolcli import formats
from poolcli.formats.row import Format
from tests import toys
from tests.support import object_store
from tests.support.cluster import Cluster, cluster
from tests.support.memory import Peak, run_measured
from tests.support.object_store import Bucket, Proxy
from tests.support.processes import Done, Run, environment
from tests.support.terminal import Terminal
from tests.support.tools import extra
from tests.support.trees import PLACES, SAMPLES, paint, paint_all
from tests.support.warm import ForkServer

# Every run tries the same examples, however long they take: `--hypothesis-profile default` searches
# for others.
settings.register_profile(
    "poolcli", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("poolcli")


@pytest.fixture(scope="session", autouse=True)
def disks_are_not_waited_for() -> Iterator[None]:
    """Replace what syncs files, which takes longer than all else that most tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", int)
        patch.setattr(os, "sync", int)
        yield


@pytest.fixture
def samples() -> Path:
    """The folder of sample pictures."""
    return SAMPLES


@pytest.fixture
def toy_format(monkeypatch: pytest.MonkeyPatch) -> Format:
    """A format that is registered for one test."""
    for name, value in toys.registered().items():
        monkeypatch.setattr(formats, name, value)
    return toys.FORMAT


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """What starts processes of poolcli quickly."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="session")
def small_cluster() -> Iterator[Cluster]:
    """A Dask cluster of two workers, which tests leave as it is."""
    extra("distributed", "cluster")
    with tempfile.TemporaryDirectory() as name, cluster(Path(name, "cluster")) as one:
        yield one


@pytest.fixture
def run(tmp_path: Path, fork_server: ForkServer) -> Run:
    """Run poolcli as a process in an empty folder: ``run("max", "-k", 2, path, "out.png")``.

    ``environment`` are variables that it has beside those of every run; see `ForkServer.run` for
    the other options.
    """

    def run(*words: object, **options: Any) -> Done:
        variables = environment(options.pop("environment", {}))
        return fork_server.run(*words, variables=variables, **{"cwd": tmp_path, **options})

    return run


@pytest.fixture
def peak(fork_server: ForkServer, tmp_path: Path) -> Peak:
    """Pool a file, and return the most bytes that its process takes: `peak(octets, "png")`."""

    def peak(octets: bytes, target: str, size: int = 2) -> int:
        (tmp_path / "in").write_bytes(octets)
        words = ("max", "-k", size, "-q", "-f", "--max-pixels", 10**9, "--format", target)
        done, most = run_measured(fork_server, tmp_path, *words, "in", "out")
        assert done.returncode == 0, done.stderr
        return most

    return peak


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Proxy]:
    """A server of S3 on the loopback, behind a proxy that counts and changes requests."""
    with object_store.served() as proxy:
        yield proxy


@pytest.fixture
def s3(s3_server: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, to whose server this process and those of `run` are directed."""
    with object_store.bucket_on(s3_server) as bucket:
        for name, value in bucket.environment.items():
            monkeypatch.setenv(name, value)
        yield bucket


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """A small tree of pictures called in."""
    return paint_all(tmp_path / "in", *PLACES)


@pytest.fixture(scope="session")
def picture() -> bytes:
    """The bytes of a picture of 8×8 pixels."""
    with tempfile.TemporaryDirectory() as name:
        return paint(Path(name, "picture.png")).read_bytes()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A new terminal."""
    terminal = Terminal()
    yield terminal
    terminal.all()
    os.close(terminal.ours)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system in memory: ``disk(size=65536)``."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(**limits: int) -> Path:
        options = ",".join(f"{name}={value}" for name, value in limits.items())
        words = ["mount", "-t", "tmpfs", "-o", options, "poolcli-tests", str(folder)]
        done = subprocess.run(words, check=False, capture_output=True)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
        return folder

    yield mount
    if folder.is_mount():
        unmounting = ["umount", "--lazy", str(folder)]
        subprocess.run(unmounting, check=True)
