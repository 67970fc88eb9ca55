"""Pictures and files of indices, for the tests of both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.processes import Done


def photograph(path: Path, shape: tuple[int, ...] = (21, 33, 3)) -> NDArray[Any]:
    """Write a picture of random pixels, and return these."""
    array = np.random.default_rng(len(shape)).integers(1, 256, shape).astype(np.uint8)
    Image.fromarray(array).save(path)
    return array


def loaded(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, as NumPy reads them."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def listed(folder: Path) -> list[str]:
    """Return the paths of all files below a folder."""
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def outcome_of(done: Done) -> Any:
    """Return the JSON of the first picture."""
    return json.loads(done.stdout.splitlines()[0])
