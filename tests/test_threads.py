"""Pictures pooled by several threads at the same time are those that one thread pools."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from poolcli.formats.row import Format
from tests.contract_support import ROWS, each
from tests.thread_support import WORKS, results, sources


def folders(at: Path, *names: str) -> list[Path]:
    """Make empty folders."""
    made = [at / name for name in names]
    for folder in made:
        folder.mkdir(parents=True)
    return made


@each()
@pytest.mark.usefixtures("toy_format")
def test_threads_pool_what_one_thread_pools(row: Format, tmp_path: Path) -> None:
    given, serial, *threads = folders(tmp_path, "in", "serial", *"123")
    paths = sources(row, given)
    wanted = [results(path, serial, row, WORKS) for path in paths]
    barrier = Barrier(len(threads), timeout=60)

    def pool(folder: Path) -> list[list[object]]:
        barrier.wait()
        number = threads.index(folder)
        order = paths[number:] + paths[:number]
        found = {path: results(path, folder, row, WORKS) for path in order}
        return [found[path] for path in paths]

    with ThreadPoolExecutor(len(threads)) as pool_of_threads:
        for found in pool_of_threads.map(pool, threads):
            assert found == wanted


@pytest.mark.usefixtures("toy_format")
def test_threads_of_all_formats_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    cases = []
    for row in ROWS:
        given, serial, threads = folders(tmp_path / row.name, "in", "serial", "threads")
        cases += [(path, row, serial, threads) for path in sources(row, given)[:3]]
    wanted = [results(path, serial, row, WORKS[:1]) for path, row, serial, _ in cases]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda case: results(case[0], case[3], case[1], WORKS[:1]), cases)
        assert list(found) == wanted


UNCHANGED = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from poolcli import formats
from tests import toys
from tests.contract_support import ROWS
from tests.support.state import state
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
after = state()
for key in before:
    assert before[key] == after[key], (key, before[key], after[key])
"""


def test_jobs_in_threads_change_nothing_that_is_global_to_the_process(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", UNCHANGED]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
