"""Pictures pooled by several threads at the same time are those that one thread pools."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from poolcli.formats import Format
from tests.contract_support import ROWS, each
from tests.thread_support import WORKS, results, sources


@each()
@pytest.mark.usefixtures("toy_format")
def test_threads_pool_what_one_thread_pools(row: Format, tmp_path: Path) -> None:
    names = ("in", "serial", "threads")
    given, serial, threads = (tmp_path / name for name in names)
    for folder in (given, serial, threads):
        folder.mkdir()
    paths = sources(row, given)
    if row.name == "avif":  # its animations hold the second of their making
        paths = paths[:-1]
    wanted = [results(path, serial, row, WORKS) for path in paths]
    count, barrier = 4, Barrier(4, timeout=60)

    def pool(number: int) -> list[list[object]]:
        barrier.wait()
        mine = threads / str(number)
        mine.mkdir()
        order = paths[number:] + paths[:number]
        found = {path: results(path, mine, row, WORKS) for path in order}
        return [found[path] for path in paths]

    with ThreadPoolExecutor(count) as pool_of_threads:
        for found in pool_of_threads.map(pool, range(count)):
            assert found == wanted


@pytest.mark.usefixtures("toy_format")
def test_threads_of_all_formats_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    given, serial, threads = (tmp_path / name for name in ("in", "serial", "threads"))
    for folder in (given, serial, threads):
        folder.mkdir()
    cases = []
    for row in ROWS:
        (given / row.name).mkdir()
        (serial / row.name).mkdir()
        (threads / row.name).mkdir()
        cases += [(path, row) for path in sources(row, given / row.name)[:3]]
    wanted = [results(path, serial / row.name, row, WORKS[:1]) for path, row in cases]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda case: results(case[0], threads / case[1].name, case[1], WORKS[:1]), cases
        )
        assert list(found) == wanted


UNCHANGED = """
import logging, os, signal, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image, ImageFile, PngImagePlugin

def state():
    return [
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK,
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, dict(os.environ),
        list(warnings.filters), logging.getLogger().handlers, logging.getLogger().level,
        {one: signal.getsignal(one) for one in signal.valid_signals()},
        os.fstat(2)[:2], sys.stderr, sys.stdout, sorted(os.listdir("/proc/self/fd")), os.getcwd(),
    ]

from poolcli import formats
from tests import toys
from tests.contract_support import ROWS
from tests.thread_support import WORKS, results, sources
vars(formats).update(toys.registered())
cases = []
for row in ROWS:
    folder = Path(row.name)
    folder.mkdir()
    cases += [(path, row) for path in sources(row, folder)]
before = state()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda case: results(case[0], Path(case[1].name), case[1], WORKS), cases))
for one, other in zip(before, state(), strict=True):
    assert one == other, (one, other)
"""


def test_jobs_in_threads_change_nothing_that_is_global_to_the_process(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", UNCHANGED]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
