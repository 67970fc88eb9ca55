"""Compare a Dask cluster with this machine: `python benchmarks/cluster.py [--s3]`.

A scheduler and workers of the extra `cluster` are started on the loopback. The table has the CPU
time of all processes together, those of Dask included, in ms a picture: what the first picture of
a run costs, the connection for example, is measured on its own and left out. With `--s3` pictures
are read from and written to a server on the loopback, whose own time isn't counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from measure import machine, photograph
from PIL import Image
from remote import BUCKET, bucket

from poolcli import methods
from poolcli.colour import Pixels
from poolcli.engine.window import Window
from poolcli.executors import Executor
from poolcli.executors.dask import Batches, Dask
from poolcli.executors.processes import Processes
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.plan import Job, Policy, make_plan
from poolcli.run.work import Work

BOUND: Final = 1.3
"""The largest promised ratio to the CPU time of this machine, with 16 pictures a batch or more."""

BATCHES: Final = {
    "1": Batches(pictures=1),
    "16": Batches(pictures=16, fewest=16),
    "adaptive": Batches(),
}
WORK: Final = Work(
    methods.make("avg"), Window.of(2), Pixels(), Saving(), Limits(10**9), overwrite=True
)


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start a command of Dask in a session of its own."""
    silent = subprocess.DEVNULL
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, start_new_session=True, stdout=silent, stderr=silent)


def cpu_seconds(sessions: list[int]) -> float:
    """Return the CPU seconds of this process, and of all processes of some sessions."""
    ticks = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            fields = Path("/proc", name, "stat").read_text("utf-8", "replace").rpartition(")")[2]
        except OSError:  # it has ended
            continue
        state = fields.split()
        if int(state[3]) in sessions:
            ticks += sum(map(int, state[11:15]))
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in own) + ticks / os.sysconf("SC_CLK_TCK")


def cost(executor: Executor, jobs: list[Job], sessions: list[int]) -> float:
    """Run jobs and return the CPU seconds that they took."""
    began = cpu_seconds(sessions)
    with closing(executor.run_all(jobs, WORK, stopping=lambda: False)) as outcomes:
        if any(one.status != "done" for one in outcomes):
            raise SystemExit("a picture failed")
    return cpu_seconds(sessions) - began


def per_picture(executor: Executor, jobs: list[Job], rounds: int, sessions: list[int]) -> float:
    """Return the CPU milliseconds that each picture beyond the first takes."""
    cost(executor, jobs[:64], sessions)  # the children of all workers start
    one = min(cost(executor, jobs[:1], sessions) for _ in range(rounds))
    return min(cost(executor, jobs, sessions) - one for _ in range(rounds)) / (len(jobs) - 1) * 1e3


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """Start a scheduler and workers; yield the address and the sessions of the processes."""
    file = folder / "scheduler.json"
    host = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    started = [start("scheduler", *host)]
    try:
        while not file.exists():
            time.sleep(0.1)
        address = str(json.loads(file.read_text("utf-8"))["address"])
        words = ("worker", address, "--nthreads", "1", "--no-dashboard")
        started += [start(*words, "--local-directory", str(folder)) for _ in range(workers)]
        yield address, [one.pid for one in started]
    finally:
        for one in reversed(started):
            one.terminate()
            one.wait()
        file.unlink(missing_ok=True)


def paint(folder: Path, content: bytes, count: int, client: Any) -> str:
    """Store copies of a picture in a folder, or in the bucket of a client; return its path."""
    (folder / "in").mkdir()
    for number in range(count):
        if client:
            client.put_object(Bucket=BUCKET, Key=f"in/{number}.jpg", Body=content)
        else:
            (folder / "in" / f"{number}.jpg").write_bytes(content)
    return f"s3://{BUCKET}" if client else str(folder)


def main() -> None:
    """Measure, print a table, and exit with 1 if the bound is exceeded."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--s3", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        buffer = BytesIO()
        Image.fromarray(photograph(768, 576)).save(buffer, "JPEG", quality=90)
        client = stack.enter_context(bucket()) if options.s3 else None
        root = paint(Path(name), buffer.getvalue(), options.pictures, client)
        jobs = make_plan((f"{root}/in/", f"{root}/out/"), Policy(overwrite=True))
        size = len(buffer.getvalue()) / 1e3
        where = "S3 → S3" if options.s3 else "disk → disk"
        print(f"{machine()}; {len(jobs)} JPEGs of {size:.0f} KB, `avg 2`, {where}")
        print("workers  batch     CPU ms a picture  ratio  at most")
        local = per_picture(Processes(2, timeout=600), jobs, options.rounds, [])
        print(f"here, 2                      {local:5.2f}   1.00")
        over = []
        for workers in (1, 2):
            with cluster(Path(name), workers) as (address, sessions):
                for title, batches in BATCHES.items():
                    taken = per_picture(
                        Dask(address, batches=batches), jobs, options.rounds, sessions
                    )
                    bound = "" if title == "1" else f"{BOUND:9}"
                    row = f"Dask, {workers}  {title:<21}{taken:5.2f}  {taken / local:5.2f}{bound}"
                    print(row)
                    if bound and taken > BOUND * local:
                        over.append(f"{workers}, {title}")
    if over:
        raise SystemExit(f"over the bound: {'; '.join(over)}")


if __name__ == "__main__":
    main()
