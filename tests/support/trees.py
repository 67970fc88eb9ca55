"""Trees of small pictures and of empty files, and what is left of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

SAMPLES: Final = Path(__file__).parent.parent.parent / "sample_images"
PLACES: Final = ("a.png", "b.jpg", "sub/c.tif", "sub/deep/d.webp")
MEMORY: Final = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  # no disk to wait for


def paint(path: Path, side: int = 8, mode: str = "RGB", seed: int | None = None) -> Path:
    """Make a picture of noise, and the folder for it."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(seed if seed is not None else len(str(path)))
    shape = (side, side) if channels == 1 else (side, side, channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode).save(path)
    return path


def paint_all(folder: Path, *names: str, side: int = 8) -> Path:
    """Make a folder of different pictures."""
    for seed, name in enumerate(names):
        paint(folder / name, side, seed=seed)
    return folder


def grow(folder: Path, *names: str) -> Path:
    """Make empty files and, where a name ends in a slash, empty folders."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, by its path; nothing if there is no such folder."""
    found = {}
    for path in filter(Path.is_file, folder.rglob("*")):
        with suppress(FileNotFoundError):  # a run has renamed it since
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells whether anything below a folder was touched."""
    statuses = {str(path): path.lstat() for path in folder.rglob("*")}
    return {
        path: (one.st_mode, one.st_size, one.st_mtime_ns, one.st_ino)
        for path, one in statuses.items()
    }


def pixels(path: Path) -> list[Any]:
    """Return the pixels of a file, as Pillow reads them."""
    with Image.open(path) as image:
        return np.asarray(image).tolist()  # type: ignore[no-any-return]


def size_of(path: Path) -> tuple[int, int]:
    """Return the width and height of a picture."""
    with Image.open(path) as image:
        return image.size


@contextmanager
def new_folder() -> Iterator[Path]:
    """Work in a new folder for a while, in memory where that can be had."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)
