"""Pool a folder of strangers' pictures and compare them with other readers.

    python benchmarks/corpus.py FOLDER

Every file that begins like a picture is pooled at size 1 and 2 (`max`, its first frame, into NPY).
The result of size 1 is compared with what other readers at hand show: Pillow, tifffile, imagecodecs
and OpenCV in this process, vips and ImageMagick as programs. It is "different" if one of them reads
the file and none agrees; pictures of 10 million pixels at most are compared, and lossy ones may
differ by 3 %. Refusals are grouped by message.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from poolcli.formats import START_BYTES, known  # noqa: E402  # from this clone

Array = NDArray[Any]
Reader = Callable[[str], Array]

SLOW_SECONDS, SLOW_SECONDS_A_MEGAPIXEL = 1.0, 0.5
LOSSY: Final = ("JPEG", "WebP", "AVIF", "HEIC", "JPEG XL", "TIFF")
CLOSE, CLOSE_IF_LOSSY = 0.003, 0.03
"""How far samples may be off, of the full scale, on average: rounding, and other decoders."""

SECONDS_A_FILE, MOST_PIXELS = 60, 200_000_000
MOST_COMPARED = 10_000_000
"""The pixels of the largest picture that is compared with other readers."""

NAME: Final = "{stem}.{ext}"


class Result(NamedTuple):
    """The outcome of a file, and the readers that disagree if none agrees."""

    kind: str
    path: str
    status: str
    message: str
    seconds: float
    unlike: tuple[str, ...] = ()


# Other readers


def readers() -> dict[str, Reader]:
    """Return the readers at hand, by name."""
    found: dict[str, Reader] = {"Pillow": _by_pillow}
    for name, reader in (("tifffile", _by_tifffile), ("imagecodecs", _by_imagecodecs)):
        with suppress(ImportError):
            import_module(name)
            found[name] = reader
    with suppress(ImportError):
        import_module("cv2")
        found["OpenCV"] = _by_opencv
    for title, program, arguments in (
        ("vips", "vips", ["copy", "{}[0]", "{}"]),
        ("ImageMagick", "convert", ["{}[0]", "-auto-orient", "{}"]),
    ):
        if shutil.which(program):
            found[title] = _by_program(program, arguments)
    return found


def _by_pillow(path: str) -> Array:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.seek(1 if image.info.get("default_image") else 0)  # else no frame of an animated PNG
        if image.mode in ("P", "PA") or "transparency" in image.info:
            return np.asarray(ImageOps.exif_transpose(image.convert("RGBA")))
        return np.asarray(ImageOps.exif_transpose(image))


def _by_tifffile(path: str) -> Array:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        array = np.asarray(page.asarray())
        is_planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and array.ndim == 3
        return np.moveaxis(array, 0, -1) if is_planar else array


def _by_imagecodecs(path: str) -> Array:
    import imagecodecs

    with open(path, "rb") as file:
        return np.asarray(imagecodecs.imread(file.read()))


def _by_opencv(path: str) -> Array:
    cv2 = import_module("cv2")
    array = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError(path)
    return np.asarray(array[..., [2, 1, 0, 3][: array.shape[2]]] if array.ndim == 3 else array)


def _by_program(program: str, arguments: list[str]) -> Reader:
    """Return a reader that lets a program write a PNG."""

    def read(path: str) -> Array:
        with tempfile.TemporaryDirectory() as folder:
            names, target = iter((path, "out.png")), os.path.join(folder, "out.png")
            words = [word.format(next(names)) if "{}" in word else word for word in arguments]
            subprocess.run(
                [program, *words],
                check=True,
                capture_output=True,
                timeout=SECONDS_A_FILE,
                cwd=folder,
            )
            import imagecodecs

            with open(target, "rb") as file:
                return np.asarray(imagecodecs.png_decode(file.read()))

    return read


# Comparison


def agrees(ours: Array, theirs: Array, close: float) -> bool:
    """Return whether two arrays show the same picture, whatever their channels and depths."""
    if ours.dtype.kind == "f":
        return ours.shape == theirs.shape and np.allclose(ours, theirs, 1e-3, 1e-3, equal_nan=True)
    if ours.shape[:2] != theirs.shape[:2]:
        return False
    if np.array_equal(ours, theirs):
        return True
    wanted = _rgba(theirs, _full_scale(theirs))
    scales = {_full_scale(ours), _full_scale(theirs)}
    # Samples of other depths are stored in 8 or 16 bits.
    scales |= {(1 << bits) - 1 for bits in range(2, 8 * ours.dtype.itemsize)}
    return any(_differ(_rgba(ours, scale), wanted) <= close for scale in scales)


def _differ(ours: Array, theirs: Array) -> float:
    """Return the mean difference of two RGBA pictures; colours of α = 0 have no effect."""
    alpha = np.abs(ours[..., 3] - theirs[..., 3]).mean()
    colour = (np.abs(ours[..., :3] - theirs[..., :3]) * theirs[..., 3:]).mean()
    return float(max(alpha, colour))


def _full_scale(array: Array) -> int:
    return 1 if array.dtype.kind == "b" else int(np.iinfo(array.dtype).max)


def _rgba(array: Array, scale: int) -> Array:
    """Return a picture as RGBA from 0 to 1."""
    pixels = np.atleast_3d(array.astype(np.float32) / scale)
    channels = pixels.shape[2]
    alpha = pixels[..., -1:] if channels in (2, 4) else np.ones_like(pixels[..., :1])
    colour = pixels[..., :3] if channels >= 3 else pixels[..., [0, 0, 0]]
    return np.concatenate([colour, alpha], axis=-1)


def unlike(path: str, result: str, kind: str, others: dict[str, Reader]) -> tuple[str, ...]:
    """Return the readers that read a file otherwise than poolcli, if none agrees."""
    ours, seen = np.load(result), []
    for name, read in others.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = read(os.path.abspath(path))
                if ours.dtype.kind == "f" and theirs.dtype.kind != "f":
                    continue  # it was rounded
                same = agrees(ours, theirs, CLOSE_IF_LOSSY if kind in LOSSY else CLOSE)
            except Exception:  # noqa: BLE001, S112  # they raise what they like
                continue
        if same:
            return ()
        seen.append(name)
    return tuple(seen)


# The run


def pictures(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the format of all files that begin like a picture."""
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    row = known(file.read(START_BYTES))
                if row is not None:
                    yield path, row.title


def pooled(paths: list[str], size: int, folder: str) -> dict[str, dict[str, Any]]:
    """Pool files by the command; return its JSON object for each path."""
    words = [
        "max",
        "--max-pixels",
        "200000000",
        "--size",
        str(size),
        "--frame",
        "0",
        "--format",
        "npy",
        "--json",
        "-q",
    ]
    words += ["--files-from", "-", "-0", "--relative-to", "/", "--timeout", str(SECONDS_A_FILE)]
    done = subprocess.run(
        [sys.executable, "-m", "poolcli", *words, "--name", NAME, "--ceil-mode", folder],
        input="\0".join(map(os.path.abspath, paths)).encode(errors="surrogateescape"),
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    objects = map(json.loads, done.stdout.splitlines())
    return {one["input"]: one for one in objects if "input" in one}


def results(folder: str) -> Iterator[Result]:
    """Yield the result of every picture in a folder."""
    kinds, others = dict(pictures(folder)), readers()
    with tempfile.TemporaryDirectory() as target:
        runs = [pooled([*kinds], size, f"{target}/{size}/") for size in (1, 2)]
        for path, kind in kinds.items():
            one, two = (run.get(os.path.abspath(path), {"status": "lost"}) for run in runs)
            seconds = sum(one.get(f"{step}_seconds") or 0 for step in ("read", "pool", "write"))
            if one["status"] != "done":
                yield Result(kind, path, one["status"], _message(one), seconds)
                continue
            shape, half = one["output_shape"], two.get("output_shape")
            if half != [-(-shape[0] // 2), -(-shape[1] // 2), *shape[2:]]:
                yield Result(kind, path, "failed", f"size 2: {_message(two)}", seconds)
                continue
            # Others convert LAB; and comparing takes 100 bytes a pixel.
            is_compared = one["mode"] != "LAB" and shape[0] * shape[1] <= MOST_COMPARED
            different = unlike(path, one["output"], kind, others) if is_compared else ()
            slow = seconds > max(SLOW_SECONDS, SLOW_SECONDS_A_MEGAPIXEL * shape[0] * shape[1] / 1e6)
            status = "different" if different else "slow" if slow else "done"
            yield Result(kind, path, status, "", seconds, different)


def _message(outcome: dict[str, Any]) -> str:
    """Return the message of a failed outcome, with its numbers left out so that they group."""
    return re.sub(r"\d+(?:[.,×]\d+)*", "N", (outcome.get("error") or {}).get("message", "nothing"))


def main() -> None:
    """Print the table, and then each difference, slow file and group of refusals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    found = list(results(parser.parse_args().folder))
    print(f"{'':10} {'files':>6} {'done':>6} {'refused':>8} {'different':>10} {'slow':>5}")
    for kind in (*sorted({one.kind for one in found}), "all"):
        counts = Counter(one.status for one in found if kind in (one.kind, "all"))
        refused = counts["failed"] + counts["lost"]
        print(
            f"{kind:10} {counts.total():6} {counts['done']:6} {refused:8}"
            f" {counts['different']:10} {counts['slow']:5}"
        )
    for one in found:
        if one.status in ("different", "slow"):
            print(f"{one.status}: {one.path} {' '.join(one.unlike)} {one.seconds:.1f} s")
    groups: dict[tuple[str, str], list[str]] = {}
    for one in found:
        if one.status in ("failed", "lost"):
            groups.setdefault((one.kind, one.message), []).append(one.path)
    for (kind, message), paths in sorted(groups.items(), key=lambda group: -len(group[1])):
        print(f"refused: {len(paths)} × {kind}: {message} ({os.path.basename(paths[0])} …)")


if __name__ == "__main__":
    main()
