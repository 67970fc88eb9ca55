"""What several test modules need: the program as a real process, and an independent oracle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolcli import formats
from tests import toys

SAMPLES = Path(__file__).parent.parent / "sample_images"
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def samples() -> Path:
    """The folder of sample pictures."""
    return SAMPLES


@pytest.fixture
def toy_format(monkeypatch: pytest.MonkeyPatch) -> formats.Format:
    """A format that is registered for one test."""
    for name, value in toys.registered().items():
        monkeypatch.setattr(formats, name, value)
    return toys.FORMAT


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run poolcli as a process in an empty folder: ``run("max", "-k", 2, path, "out.png")``."""

    def run(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options = {"cwd": tmp_path, "capture_output": True, "timeout": 60, **options}
        if "input" not in options and "stdin" not in options:
            options["stdin"] = subprocess.DEVNULL
        environment = {key: value for key, value in os.environ.items() if "POOLCLI" not in key}
        environment |= options.pop("environment", {})
        command = [sys.executable, "-m", "poolcli", *map(os.fsdecode, map(_word, words))]
        return subprocess.run(command, check=False, env=environment, **options)

    return run


def _word(word: object) -> str | bytes:
    return word if isinstance(word, bytes) else str(word)
