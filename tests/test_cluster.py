"""Runs on a Dask cluster: what is refused, and what its faults cost."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from poolcli.errors import PoolError
from poolcli.executors import WORKERS_A_CPU, ClusterLostError
from poolcli.executors.batch import Needs, WorkerError, versions
from poolcli.executors.cluster import insecurity
from poolcli.executors.dask import Batches, Dask
from poolcli.report import Outcome
from poolcli.storage import place_of
from tests.executor_support import attempts, job, mischief, never
from tests.jobs import work
from tests.support.cluster import Cluster, cluster, kill
from tests.support.object_store import SECRETS, Bucket
from tests.support.processes import PATIENCE, Run, finish, sabotage, started, until
from tests.support.tools import extra
from tests.support.trees import contents, paint

extra("distributed", "cluster")

SHARED: Final = "--shared-filesystem"
AVG: Final = ("avg", "--size", 2)
SLOW_WRITES: Final = """
import os, time
link = os.link
def slowly(source, target, **options):
    time.sleep(0.2)
    while "/out/1/" in target and not os.path.exists({gate!r}):
        time.sleep(0.02)
    return link(source, target, **options)
os.link = slowly
"""
"""What makes each picture take longer than 0.2 seconds, so that batches are small, and those of the
second folder as long as a file is missing: so no run ends before a test has disturbed it."""


def paint_many(folder: Path, count: int) -> Path:
    """Make a folder of small pictures of three formats, in two folders."""
    suffixes = ("png", "jpg", "bmp")
    for number in range(count):
        paint(folder / str(number % 2) / f"{number}.{suffixes[number % 3]}", 32, seed=number)
    return folder


def objects(output: bytes) -> list[dict[str, Any]]:
    """Return the objects of a JSON output, without times, in a fixed order."""
    found = [json.loads(line) for line in output.splitlines()]
    for one in found:
        for key in [key for key in one if key.endswith("_seconds")]:
            del one[key]
        one.get("summary", {}).pop("elapsed_seconds", None)
    return sorted(found, key=json.dumps)


@contextmanager
def slow_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose workers take their time for each picture, and wait for a file named gate."""
    variables = sabotage(folder, SLOW_WRITES.format(gate=str(folder / "gate")))
    with cluster(folder / "cluster", 0) as one:
        one.add_workers(2, variables=variables)
        yield one


def done(folder: Path) -> int:
    """Return how many complete pictures are in a folder."""
    return sum(".poolcli-" not in name for name in contents(folder))


def test_a_cluster_writes_and_reports_what_this_machine_does(
    run: Run, small_cluster: Cluster, tmp_path: Path
) -> None:
    paint_many(tmp_path / "in", 60)
    (tmp_path / "in" / "0" / "bad.png").write_text("no picture")
    local = run(*AVG, "--json", "in", "out")
    wanted = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "local")
    there = run(*AVG, "--json", "--scheduler", small_cluster.address, SHARED, "in", "out")

    assert there.returncode == local.returncode == 1
    assert there.stderr.splitlines()[-1] == local.stderr.splitlines()[-1]
    assert objects(there.stdout) == objects(local.stdout)
    assert contents(tmp_path / "out") == wanted
    assert len(wanted) == 60


def test_levels_and_existing_outputs_are_as_on_this_machine(
    run: Run, small_cluster: Cluster, tmp_path: Path
) -> None:
    paint_many(tmp_path / "in", 6)
    words = ("max", "--levels", "2,4", "--json", "in")
    assert run(*words, "local").returncode == 0
    flags = ("--scheduler", small_cluster.address, SHARED)
    first = run(*words, *flags, "out")
    (tmp_path / "out" / "0" / "0_2.png").unlink()
    second = run(*words, *flags, "--skip-existing", "out")

    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    assert first.returncode == second.returncode == 0
    summary = json.loads(second.stdout.splitlines()[-1])["summary"]
    assert (summary["done"], summary["skipped"]) == (1, 11)


def test_faults_of_outputs_name_them_as_they_were_given(
    run: Run, small_cluster: Cluster, tmp_path: Path
) -> None:
    paint_many(tmp_path / "in", 4)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1").write_text("a file where a folder should be")
    words = ("max", "--size", 2, "--overwrite", "in", "out")
    local = run(*words)
    there = run(*words, "--scheduler", small_cluster.address, SHARED)

    assert there.returncode == local.returncode == 1
    ours, theirs = (
        sorted(line for line in one.stderr.splitlines() if line.startswith(b"poolcli: out/1/"))
        for one in (local, there)
    )
    assert [line.split(b":")[1] for line in theirs] == [b" out/1/1.jpg", b" out/1/3.png"]
    assert len(ours) == len(theirs)


def test_indices_are_written_where_this_machine_writes_them(
    run: Run, small_cluster: Cluster, tmp_path: Path
) -> None:
    paint_many(tmp_path / "in", 4)
    words = ("max", "--size", 2, "--json", "in", "out", "--indices", "indices")
    local = run(*words)
    for name in ("out", "indices"):
        (tmp_path / name).rename(tmp_path / f"local-{name}")
    there = run(*words, "--scheduler", small_cluster.address, SHARED)

    assert there.returncode == local.returncode == 0
    assert objects(there.stdout) == objects(local.stdout)
    for name in ("out", "indices"):
        assert contents(tmp_path / name) == contents(tmp_path / f"local-{name}") != {}


LESS_PATIENT: Final = "from poolcli.storage import objects; objects.RETRIES['max_retries'] = 4"


@contextmanager
def bucket_cluster(folder: Path, s3: Bucket) -> Iterator[tuple[str, ...]]:
    """A cluster whose workers reach a bucket; yield the options of a run on it."""
    variables = s3.environment | sabotage(folder, LESS_PATIENT)
    with cluster(folder / "cluster", 0) as one:
        one.add_workers(2, variables=variables)
        yield "--scheduler", one.address


@pytest.mark.slow
def test_a_bucket_is_pooled_into_a_bucket_as_on_this_machine(
    run: Run, s3: Bucket, tmp_path: Path
) -> None:
    for name, content in contents(paint_many(tmp_path / "in", 150)).items():
        s3.put(f"in/{name}", content)
    assert run(*AVG, "-q", "in", "local").returncode == 0
    with bucket_cluster(tmp_path, s3) as flags:
        there = run(*AVG, "-q", *flags, f"{s3.url}/in/", f"{s3.url}/out/")

    assert (there.returncode, there.stderr) == (0, b"")
    wanted = {f"out/{name}": content for name, content in contents(tmp_path / "local").items()}
    assert len(wanted) == 150
    assert {key: one for key, one in s3.objects().items() if key.startswith("out/")} == wanted


@pytest.mark.slow
def test_indices_and_busy_servers_are_as_on_this_machine(
    run: Run, s3: Bucket, tmp_path: Path
) -> None:
    for name, content in contents(paint_many(tmp_path / "in", 4)).items():
        s3.put(f"in/{name}", content)
    words = ("max", "--size", 2, "-q")
    assert run(*words, "in", "out", "--indices", "places").returncode == 0
    wanted = {
        f"{folder}/{name}": content
        for folder in ("in", "out", "places")
        for name, content in contents(tmp_path / folder).items()
    }
    with bucket_cluster(tmp_path, s3) as flags:
        urls = (f"{s3.url}/in/", f"{s3.url}/out/")
        refused = run(*words, *flags, *urls, "--indices", "here")
        # The plan takes the first requests, and the workers meet a busy server. One request alone
        # may be refused each time.
        s3.proxy.busy_after, s3.proxy.busy = 8, 3
        done = run(*words, *flags, *urls, "--indices", f"{s3.url}/places/")
        assert s3.proxy.busy == 0
        written = s3.objects()
        s3.proxy.busy_after, s3.proxy.busy = 2, 10**6
        failed = run(*words, *flags, f"{s3.url}/in/", f"{s3.url}/more/")

    assert refused.returncode == 2
    assert b"is a local path, and --scheduler uses other machines" in refused.stderr
    assert (done.returncode, done.stderr) == (0, b"")
    assert written == wanted
    assert failed.returncode == 1
    assert failed.stderr.count(b"is out of service (503)") == failed.stderr.count(b"\n") == 4
    assert not any(secret.encode() in failed.stderr for secret in (*SECRETS, s3.proxy.url))


@pytest.mark.parametrize(
    ("name", "value"), [("POOLCLI_SCHEDULER", "{}"), ("DASK_SCHEDULER_ADDRESS", "{}")]
)
def test_the_environment_names_a_scheduler(
    run: Run, small_cluster: Cluster, tmp_path: Path, name: str, value: str
) -> None:
    paint(tmp_path / "in.png")
    variables = {name: value.format(small_cluster.address)}
    flags = ("--scheduler", "auto") if name.startswith("DASK") else ()
    refused = run(*AVG, *flags, "in.png", "out.png", environment=variables)
    allowed = run(*AVG, *flags, "-q", SHARED, "in.png", "out.png", environment=variables)

    assert (refused.returncode, allowed.returncode) == (2, 0)
    assert b"in.png is a local path" in refused.stderr
    assert allowed.stderr == b""
    assert (tmp_path / "out.png").exists()


def test_a_number_of_jobs_on_this_machine_wins_over_the_environment(
    run: Run, tmp_path: Path
) -> None:
    paint(tmp_path / "in.png")
    variables = {"POOLCLI_SCHEDULER": "tcp://127.0.0.1:1"}
    assert run(*AVG, "-q", "-j", 1, "in.png", "out.png", environment=variables).returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("in.png", "out.png"), "local path"),
        ((SHARED, "-", "out.png"), "can't use a stream"),
        ((SHARED, "in.png", "-"), "can't use a stream"),
        ((SHARED, "-j", 2, "in.png", "out.png"), "exclude each other"),
        ((SHARED, "in.png", "out.png"), "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (
            (SHARED, "--scheduler", "tls://127.0.0.1:1", "in.png", "out.png"),
            "is that its address? Does Dask's configuration name the right certificates?",
        ),
        (
            (SHARED, "--scheduler", "tcp://me:secret@127.0.0.1:1", "in.png", "out.png"),
            "the scheduler's address holds a user or a password; leave it out",
        ),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_in_one_line(
    run: Run, tmp_path: Path, words: tuple[object, ...], reason: str
) -> None:
    paint(tmp_path / "in.png")
    connecting = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "0.5s"}
    words = (*AVG, "--scheduler", "tcp://127.0.0.1:1", *words)
    refused = run(*words, environment=connecting)

    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.count(b"\n") == 1
    assert reason in refused.stderr.decode()
    assert not (tmp_path / "out.png").exists()


def test_other_refusals_name_their_remedy(run: Run, tmp_path: Path) -> None:
    paint(tmp_path / "in.png")
    paths = (SHARED, "in.png", "out.png")
    without = run(*AVG, *paths)
    nowhere = run(*AVG, "--scheduler", "auto", *paths)
    hidden = "import sys; sys.modules['distributed'] = None"
    missing = run(*AVG, "--scheduler", "auto", *paths, first=hidden)

    assert b"--shared-filesystem has no effect without --scheduler" in without.stderr
    assert b"DASK_SCHEDULER_ADDRESS" in nowhere.stderr
    assert b"install it: pip install distributed (the extra [cluster])" in missing.stderr
    assert {one.returncode for one in (without, nowhere, missing)} == {2}


@pytest.mark.parametrize(
    ("address", "warns"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("localhost:8786", False),
        ("tls://10.0.0.1:8786", False),
        ("tcp://10.0.0.1:8786", True),
        ("10.0.0.1:8786", True),
    ],
)
def test_a_connection_that_others_can_read_is_told(address: str, warns: bool) -> None:
    assert bool(insecurity(address)) == warns


def test_workers_with_other_versions_or_files_are_refused_by_name(tmp_path: Path) -> None:
    here = versions()
    Needs(here, place_of(str(paint(tmp_path / "in.png")))).check()
    for name in ("poolcli", "Python", "NumPy", "Pillow", "imagecodecs"):
        with pytest.raises(WorkerError, match=f"other versions: {name} .* \\(here 0.0.1\\)"):
            Needs(here | {name: "0.0.1"}, None).check()
    with pytest.raises(WorkerError, match=r"can't see .*absent\.png"):
        Needs(here, place_of(str(tmp_path / "absent.png"))).check()


@pytest.mark.parametrize(
    ("batches", "each", "left", "places", "size"),
    [
        (Batches(), 0.0, 1000, 4, 1),  # the speed is unknown
        (Batches(), 0.01, 10_000, 4, 200),  # 2 seconds
        (Batches(), 0.001, 10_000, 4, 256),
        (Batches(), 0.01, 400, 4, 100),  # the rest is shared out
        (Batches(), 0.01, 8, 4, 20),  # but not too finely
        (Batches(), 30.0, 1000, 4, 1),
        (Batches(pictures=16, fewest=16), 0.01, 8, 4, 16),
    ],
)
def test_batches_take_two_seconds(
    batches: Batches, each: float, left: int, places: int, size: int
) -> None:
    assert batches.size(each, left, places) == size


def test_a_worker_reads_several_pictures_from_a_network_at_a_time(
    small_cluster: Cluster, tmp_path: Path
) -> None:
    extra("obstore", "remote")
    picture = paint(tmp_path / "in.png").read_bytes()
    together = threading.Barrier(WORKERS_A_CPU, timeout=PATIENCE)

    class Web(BaseHTTPRequestHandler):
        """A server that answers only when several requests have come."""

        def do_GET(self) -> None:
            together.wait()
            self.send_response(200)
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        jobs = [
            job(tmp_path / "in.png", tmp_path / "out" / f"{number}.png")._replace(
                source=place_of(f"{url}/{number}.png")
            )
            for number in range(WORKERS_A_CPU)
        ]
        batches = Batches(fewest=len(jobs))
        executor = Dask(small_cluster.address, batches=batches)
        outcomes = [*executor.run_all(jobs, work(), stopping=never)]
        server.shutdown()
    assert [one.status for one in outcomes] == ["done"] * len(jobs)


def test_a_batch_holds_at_most_so_many_bytes(small_cluster: Cluster, tmp_path: Path) -> None:
    jobs = [
        job(paint(tmp_path / f"{number}.png"), tmp_path / "out" / f"{number}.png", bytes=40)
        for number in range(5)
    ]
    executor = Dask(small_cluster.address, batches=Batches(pictures=8, fewest=8, bytes=100))
    outcomes = [*executor.run_all(jobs, work(), stopping=never)]

    assert [one.status for one in outcomes] == ["done"] * 5


# Faults


def test_a_run_without_workers_says_so_and_goes_on_when_one_comes(tmp_path: Path) -> None:
    warnings: list[str] = []
    jobs = [job(paint(tmp_path / "in.png"), tmp_path / "out.png")]
    with cluster(tmp_path / "cluster", 0) as one:

        def warn(warning: str) -> None:
            warnings.append(warning)
            one.add_workers(1, "--no-nanny")

        executor = Dask(one.address, warn=warn, patience=0.1)
        outcomes = [*executor.run_all(jobs, work(), stopping=never)]

    assert [outcome.status for outcome in outcomes] == ["done"]
    assert warnings == ["there has been no Dask worker for 0.1 seconds; poolcli waits for one"]


def test_a_run_without_workers_ends_when_it_is_told_to(tmp_path: Path) -> None:
    jobs = [job(paint(tmp_path / "in.png"), tmp_path / "out.png")]
    calls: list[None] = []

    def stopping() -> bool:
        calls.append(None)
        return len(calls) > 2

    with cluster(tmp_path / "cluster", 0) as one:
        outcomes = [*Dask(one.address).run_all(jobs, work(), stopping=stopping)]

    assert outcomes == []


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_picture(tmp_path: Path) -> None:
    paint_many(tmp_path / "in", 30)
    with slow_cluster(tmp_path) as one:
        words = (*AVG, "--scheduler", one.address, SHARED, "--json", "in", "out")
        with started(*words, cwd=tmp_path) as process:
            until(lambda: done(tmp_path / "out") > 8)
            kill(one.workers[0])
            (tmp_path / "gate").touch()
            ended = finish(process)

    summary = json.loads(ended.stdout.splitlines()[-1])["summary"]
    assert ended.returncode == 0, ended.stderr
    assert (summary["done"], summary["failed"], summary["left"]) == (30, 0, 0)
    assert len(contents(tmp_path / "out")) == done(tmp_path / "out") == 30


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_the_run_and_skip_existing_goes_on(
    run: Run, tmp_path: Path
) -> None:
    paint_many(tmp_path / "in", 30)
    with slow_cluster(tmp_path) as one:
        words = (*AVG, "--scheduler", one.address, SHARED, "--json", "in", "out")
        with started(*words, cwd=tmp_path) as process:
            until(lambda: done(tmp_path / "out") > 8)
            kill(one.scheduler)
            ended = finish(process)
        before = done(tmp_path / "out")
    rest = run(*AVG, "--skip-existing", "-q", "in", "out")

    summary = json.loads(ended.stdout.splitlines()[-1])["summary"]
    assert ended.returncode == summary["exit_code"] == 1
    assert summary["left"] > 0
    assert summary["done"] <= before <= 15
    reason = (
        b"poolcli: the Dask scheduler has gone; run it again with --skip-existing for the rest\n"
    )
    assert reason in ended.stderr
    assert b"distributed" not in ended.stderr
    assert (rest.returncode, rest.stderr) == (0, b"")
    assert len(contents(tmp_path / "out")) == done(tmp_path / "out") == 30


@pytest.mark.slow
def test_a_picture_that_kills_dask_workers_fails_alone(tmp_path: Path) -> None:
    jobs = [
        job(paint(tmp_path / f"{number}.png"), tmp_path / "out" / f"{number}.png")
        for number in range(8)
    ]
    jobs[2] = mischief("die in Dask", jobs[2])
    with cluster(tmp_path / "cluster") as one:
        executor = Dask(one.address, batches=Batches(pictures=4, fewest=4))
        outcomes = [*executor.run_all(jobs, work(), stopping=never)]

    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert len(outcomes) == 8
    assert [outcome.input for outcome in failed] == [jobs[2].source.path]
    assert failed[0].error == "the Dask workers that ran it died"
    assert attempts(jobs[2]) == 8
    assert done(tmp_path / "out") == 7


OTHER_VERSION: Final = "import poolcli; poolcli.__version__ = '0.0.1'"


def test_other_versions_are_refused_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    paint_many(tmp_path / "in", 6)
    with cluster(tmp_path / "cluster", 0) as one:
        one.add_workers(1, "--no-nanny", variables=sabotage(tmp_path, OTHER_VERSION))
        one.wait()
        refused = run(*AVG, "--json", "--scheduler", one.address, SHARED, "in", "out")

    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"has other versions: poolcli 0.0.1 (here" in refused.stderr
    assert refused.stderr.count(b"\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_late_worker_with_other_versions_ends_the_run(tmp_path: Path) -> None:
    jobs = [job(paint(tmp_path / "in.png"), tmp_path / "out.png")]
    variables = sabotage(tmp_path, OTHER_VERSION)
    outcomes: list[Outcome] = []
    with cluster(tmp_path / "cluster", 0) as one:

        def add(_warning: str) -> None:
            one.add_workers(1, "--no-nanny", variables=variables)

        executor = Dask(one.address, warn=add, patience=0.1)
        with pytest.raises(ClusterLostError, match=r"has other versions: poolcli 0\.0\.1 .*--skip"):
            outcomes.extend(executor.run_all(jobs, work(), stopping=never))

    assert outcomes == []
    assert not (tmp_path / "out.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_finishes_what_was_sent_and_twice_stops_at_once(tmp_path: Path, times: int) -> None:
    paint_many(tmp_path / "in", 160)
    with slow_cluster(tmp_path) as one:
        words = (*AVG, "--scheduler", one.address, SHARED, "in", "out")
        with started(*words, cwd=tmp_path) as process:
            until(lambda: done(tmp_path / "out") > 8)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"poolcli: finishing")
            if times == 2:
                process.send_signal(signal.SIGINT)
            else:
                (tmp_path / "gate").touch()
            ended = finish(process)
        # The workers live on, and are idle.
        second = Dask(one.address).run_all(
            [job(tmp_path / "in" / "0" / "0.png", tmp_path / "other.png")], work(), stopping=never
        )
        assert [outcome.status for outcome in second] == ["done"]
        # A run that stops at once waits only some seconds for its workers.
        until(lambda: len(contents(tmp_path / "out")) == done(tmp_path / "out"))

    assert ended.returncode == 130
    assert done(tmp_path / "out") < 160
    assert b"left" in ended.stderr


def test_an_executor_that_finds_no_scheduler_raises_an_error_of_ours(tmp_path: Path) -> None:
    jobs = [job(paint(tmp_path / "in.png"), tmp_path / "out.png")]
    with pytest.raises(PoolError, match="no Dask scheduler answers at x://"):
        next(Dask("x://").run_all(jobs, work(), stopping=never))
