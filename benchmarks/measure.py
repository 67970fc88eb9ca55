"""Share pictures, the measuring of processes, and the versions of tools among the benchmarks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array: TypeAlias = NDArray[Any]
ROOT: Final = Path(__file__).resolve().parent.parent
SCENE: Final = ROOT / "sample_images" / "scene.jpg"
POOLCLI: Final = f"{sys.executable} -m poolcli"
MIB: Final = 1 << 20
VERSIONS: Final = {
    "vips": "vips --version",
    "vipsthumbnail": "vipsthumbnail --version",
    "convert": "convert -version",
    "mogrify": "mogrify -version",
    "gm": "gm version",
    "pamscale": "pamscale --version",
    "gdal_translate": "gdal_translate --version",
    "ffmpeg": "ffmpeg -version",
}


class Cost(NamedTuple):
    """The cost of a process.

    Attributes:
        seconds: the time from its start to its end.
        cpu: the seconds that CPUs worked for it and for the processes that it waited for.
        peak: the largest resident memory in bytes, of it or of a process that it waited for.
    """

    seconds: float
    cpu: float
    peak: int


LAUNCH: Final = """
import os, sys, time
if sys.argv[2:]:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
began = time.perf_counter()
process = os.posix_spawn("/bin/sh", ["/bin/sh", "-c", sys.argv[1]], os.environ)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
"""Start a command and print its cost. A small Python process runs this: on Linux the peak memory
of a process includes that of its parent before `exec`, which here is large."""


def cost(command: str, folder: Path | None = None, *, one_cpu: bool = False) -> Cost:
    """Run a shell command, wait for its end, and return its cost.

    Args:
        command: the command.
        folder: its working folder.
        one_cpu: whether all its threads and processes share one CPU (Linux only).

    Raises:
        RuntimeError: it failed.
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    # An installed package is compiled once, so this must not be compiled at each start.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-I", "-c", LAUNCH, command, *["one CPU"] * one_cpu],
        cwd=folder,
        capture_output=True,
        check=False,
        env=variables,
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    seconds, cpu, peak = done.stdout.split()[-3:]
    return Cost(float(seconds), float(cpu), int(peak))


def least(
    commands: Mapping[str, str], rounds: int, folder: Path | None = None, *, one_cpu: bool = False
) -> dict[str, Cost]:
    """Return the least of each cost of each command; they are run in turn."""
    found: dict[str, list[Cost]] = {title: [] for title in commands}
    for _ in range(rounds):
        for title, command in commands.items():
            found[title].append(cost(command, folder, one_cpu=one_cpu))
    return {title: Cost(*map(min, zip(*costs, strict=True))) for title, costs in found.items()}


def version(tool: str) -> str:
    """Return the version of a tool, from the first line with a digit, or "missing"."""
    if not shutil.which(tool):
        return f"{tool}: missing"
    if tool not in VERSIONS:
        return tool
    done = subprocess.run(VERSIONS[tool].split(), capture_output=True, check=False)
    lines = (done.stdout or done.stderr).decode().splitlines()
    line = next((line for line in lines if any(map(str.isdigit, line))), tool)
    return " ".join(line.replace("Version: ", "").split()[:4])


def is_installed(tool: str) -> bool:
    """Return whether a program or package is there; ``convert`` may be not ImageMagick's."""
    if shutil.which(tool) is None:
        return find_spec(tool) is not None
    return tool != "convert" or "ImageMagick" in version(tool)


def machine() -> str:
    """Return the processor, and the versions of Python, NumPy and Pillow, in one line."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ", ".join(f"{name} {_package(name)}" for name in ("numpy", "pillow"))
    return f"{len(names)} × {names[0]}, Python {sys.version.split()[0]}, {packages}"


def _package(name: str) -> str:
    from importlib import metadata

    return metadata.version(name)


def photograph(width: int, height: int, seed: int = 0) -> Array:
    """Return the synthetic sample scene in RGB, enlarged, with noise like that of a sensor."""
    with Image.open(SCENE) as scene:
        large = np.asarray(scene.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = np.random.default_rng(seed).normal(0, 4, large.shape).astype(np.int16)
    noisy: Array = np.clip(large + grain, 0, 255).astype(np.uint8)
    return noisy
