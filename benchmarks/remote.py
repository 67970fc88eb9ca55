"""Compare object storage with local files: `python benchmarks/remote.py [--pictures 200]`.

A server of S3 (moto, of the extra `test-remote`) is started on the loopback. The table has the CPU
time of poolcli alone, in ms a picture: the start of the program is measured by one picture, and
left out.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from measure import machine, photograph
from PIL import Image

HOST: Final = "127.0.0.1"
BUCKET: Final = "bucket"
AVG: Final = ("avg", "--size", "2", "-q", "--overwrite", "--timeout", "600")
"""A timeout makes poolcli use workers, whose start is the same for one picture and for many."""


def cpu_seconds(*words: str) -> float:
    """Run poolcli and return its CPU seconds, with those of its workers."""
    command = [sys.executable, "-m", "poolcli", *AVG, "-j", "2", *words]
    pid = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"it failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime


def per_picture(pictures: int, rounds: int, *paths: str) -> float:
    """Return the CPU milliseconds that each picture beyond the first takes."""
    all_of_them = min(cpu_seconds(*paths) for _ in range(rounds))
    one = min(cpu_seconds("--include", "0.jpg", *paths) for _ in range(rounds))
    return (all_of_them - one) / (pictures - 1) * 1e3


@contextmanager
def bucket() -> Iterator[Any]:
    """Start a server with a bucket, to which the environment leads; yield a client of it."""
    import boto3  # the benchmark of a cluster needs it only for S3

    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    url = f"http://{HOST}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "key"}
    os.environ.update(keys, AWS_ENDPOINT_URL=url, AWS_REGION="us-east-1", NO_PROXY=HOST)
    words = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            with suppress(OSError), socket.create_connection((HOST, port)):
                break
            time.sleep(0.1)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket=BUCKET)
        yield client
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with bucket() as client, tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        Image.fromarray(photograph(768, 576)).save(folder / "0.jpg", quality=90)
        content = (folder / "0.jpg").read_bytes()
        for number in range(options.pictures):
            (folder / f"{number}.jpg").write_bytes(content)
            client.put_object(Bucket=BUCKET, Key=f"in/{number}.jpg", Body=content)
        local, remote = f"{folder}/", f"s3://{BUCKET}/in/"
        print(f"{machine()}; {options.pictures} JPEGs of {len(content) / 1e3:.0f} KB, `avg 2`")
        print("from  to     CPU ms a picture")
        for title, source, target in (
            ("disk  disk", local, f"{name}/out/"),
            ("disk  S3", local, f"s3://{BUCKET}/out/"),
            ("S3    disk", remote, f"{name}/out/"),
            ("S3    S3", remote, f"s3://{BUCKET}/out/"),
        ):
            taken = per_picture(options.pictures, options.rounds, source, target)
            print(f"{title:<12} {taken:.2f}")


if __name__ == "__main__":
    main()
