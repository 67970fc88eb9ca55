"""Damaged files and random calls, for as long as you like: `python benchmarks/fuzz.py`.

    python benchmarks/fuzz.py --seconds 600          files and calls in turn, from a new seed
    python benchmarks/fuzz.py --cases 5000 --seed 1  so many damaged files, always the same ones
    python benchmarks/fuzz.py --calls 500 --seed 1   so many calls of the engine
    python benchmarks/fuzz.py --seed 1 --only 17     one damaged file again, kept beside

A damaged file must end in exit 0 and an output, or in exit 1, one line and no file; a call of the
engine must give what the nested loop of the tests gives. The cases run in a child process, so that
one that kills it, or takes too long, is a failure like any other: told with its seed and number.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import poolcli  # noqa: E402  # from this clone
from tests.engine_calls import DTYPES, LAYOUTS, TUNINGS, Call, random_values  # noqa: E402

SAMPLES: Final = ROOT / "sample_images"
MEMORY: Final = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108  # no disk to wait for
SECONDS_A_CASE: Final = 20
"""Of the processor, so that a busy machine isn't taken for a fault."""

ADDRESS_SPACE: Final = 6 << 30
MOST_FAILURES: Final = 10
Random = np.random.Generator


# The whole files


def samples(side: int = 40) -> dict[str, bytes]:
    """Make tiny pictures of every format and storage, by name: ``PNG of a palette.png``."""
    scene = _small("scene.jpg", side)
    alpha = _small("logo.png", side).convert("RGBA")
    grey, ink = scene.convert("L"), _small("text.png", side).convert("1")
    deep = np.asarray(grey, np.uint16) * 257
    array = np.asarray(scene)
    frames = [scene, scene.rotate(90), scene.rotate(180)]
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a picture"
    found = {
        **_saved("PNG", "png", {"RGB": scene, "RGBA": alpha, "L": grey, "1": ink}),
        **_saved("PNG of a palette", "png", {"P": scene.quantize(16)}, transparency=3),
        **_saved("PNG with EXIF", "png", {"RGB": scene}, exif=exif, dpi=(72, 72)),
        **_saved("PNG of 16 bits", "png", {"L": Image.fromarray(deep)}),
        **_saved("JPEG", "jpg", {"RGB": scene, "L": grey, "CMYK": scene.convert("CMYK")}),
        **_saved("JPEG in steps", "jpg", {"RGB": scene}, progressive=True, exif=exif),
        **_saved("WebP", "webp", {"RGB": scene, "RGBA": alpha}),
        **_saved("WebP without loss", "webp", {"RGBA": alpha}, lossless=True, exif=exif),
        **_saved("GIF", "gif", {"P": scene.quantize(32), "L": grey}),
        **_saved("BMP", "bmp", {"RGB": scene, "P": scene.quantize(16), "1": ink}),
        **_saved("PNM", "pnm", {"RGB": scene, "L": grey, "1": ink}),
        **_saved("PFM", "pfm", {"F": grey.convert("F")}),
        **_saved("AVIF", "avif", {"RGB": scene, "RGBA": alpha}, speed=10),
        **_saved("TIFF", "tif", {"RGB": scene, "L": grey, "F": grey.convert("F")}, exif=exif),
        **_saved("TIFF in fax", "tif", {"1": ink}, compression="group4"),
    }
    for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        found |= _saved(f"TIFF in {packed}", "tif", {"RGB": scene}, compression=packed)
    for suffix, kind in (("png", "PNG"), ("gif", "GIF"), ("webp", "WebP"), ("tif", "TIFF")):
        found |= _saved(
            f"{kind} of frames", suffix, {"RGB": scene}, save_all=True, append_images=frames[1:]
        )
    found["PGM of 1000.pgm"] = (
        b"P5\n%d %d\n1000\n" % grey.size + (deep % 1001).astype(">u2").tobytes()
    )
    found["plain PPM.ppm"] = b"P3 %d %d 255\n" % scene.size + b" ".join(
        b"%d" % value for value in array.ravel()
    )
    found |= {f"array of {one.dtype}.npy": _npy(one) for one in (array, deep, array / 255)}
    found["array of columns.npy"] = _npy(np.asfortranarray(deep))
    return found | _deep_samples(array.astype(np.uint16) * 257)


def _small(name: str, side: int) -> Image.Image:
    with Image.open(SAMPLES / name) as image:
        return image.convert("RGBA" if "A" in image.getbands() else "RGB").resize(
            (side, side * 3 // 4)
        )


def _saved(
    title: str, suffix: str, images: dict[str, Image.Image], **arguments: Any
) -> dict[str, bytes]:
    found = {}
    for mode, image in images.items():
        buffer = io.BytesIO()
        name = f"in.{suffix}"
        buffer.name = name
        image.save(buffer, Image.registered_extensions()[f".{suffix}"], **arguments)
        found[f"{title} {mode}.{suffix}"] = buffer.getvalue()
    return found


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _deep_samples(array: NDArray[np.uint16]) -> dict[str, bytes]:
    """Make those that the optional libraries write, where they are there."""
    try:
        import imagecodecs
        import tifffile
    except ImportError:
        return {}
    found = {"PNG of 16 bits RGB.png": bytes(imagecodecs.png_encode(array))}
    layouts: dict[str, dict[str, Any]] = {
        "strips": {"rowsperstrip": 8},
        "tiles": {"tile": (16, 16), "compression": "adobe_deflate"},
        "planes": {"planarconfig": "separate", "compression": "lzw"},
    }
    for name, layout in layouts.items():
        buffer = io.BytesIO()
        pixels = np.moveaxis(array, -1, 0) if name == "planes" else array
        tifffile.imwrite(buffer, pixels, photometric="rgb", metadata=None, **layout)
        found[f"deep TIFF in {name}.tif"] = buffer.getvalue()
    return found


# Where files have joints


def joints(octets: bytes) -> list[int]:
    """Where the chunks of a file begin and end, as far as its format is known; all of it else."""
    finders: dict[bytes, Callable[[bytes], Iterator[int]]] = {
        b"\x89PNG": _png_joints,
        b"\xff\xd8": _jpeg_joints,
        b"RIFF": _riff_joints,
        b"GIF8": _gif_joints,
        b"II*\0": _tiff_joints,
        b"BM": lambda octets: iter((14, 54, *struct.unpack_from("<I", octets, 10))),
        b"P": lambda octets: (at + 1 for at, one in enumerate(octets[:64]) if one in b" \n"),
        b"\x93NUMPY": lambda octets: iter((6, 8, 10, 10 + octets[8])),
    }
    found = set(range(0, len(octets), max(1, len(octets) // 8)))
    with contextlib.suppress(struct.error, IndexError):
        found.update(
            next((find(octets) for magic, find in finders.items() if octets.startswith(magic)), ())
        )
        if octets[4:8] == b"ftyp":
            found.update(match.start() - 4 for match in re.finditer(rb"[a-z]{3}[a-zC1]", octets))
    return sorted(at for at in found if 0 <= at < len(octets))


def _png_joints(octets: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(octets):
        yield at
        at += 12 + int.from_bytes(octets[at : at + 4])


def _jpeg_joints(octets: bytes) -> Iterator[int]:
    return (match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", octets))


def _riff_joints(octets: bytes) -> Iterator[int]:
    at = 12
    while at + 8 <= len(octets):
        yield at
        length = int.from_bytes(octets[at + 4 : at + 8], "little")
        at += 8 + length + length % 2


def _gif_joints(octets: bytes) -> Iterator[int]:
    at = 13 + (3 << (octets[10] & 7) + 1 if octets[10] & 0x80 else 0)
    while at < len(octets):
        yield at
        kind, colours = octets[at], octets[at + 9] if octets[at] == 0x2C else 0
        at += {0x21: 2, 0x2C: 11}.get(kind, len(octets))
        at += 3 << (colours & 7) + 1 if colours & 0x80 else 0
        while octets[at]:
            at += octets[at] + 1
        at += 1


def _tiff_joints(octets: bytes) -> Iterator[int]:
    (at,) = struct.unpack_from("<I", octets, 4)
    seen = {0}
    while at not in seen:  # damage may lead in a circle
        seen.add(at)
        (count,) = struct.unpack_from("<H", octets, at)
        yield from range(at, at + 2 + 12 * count + 1, 12)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            yield struct.unpack_from("<I", octets, entry + 8)[0]
        (at,) = struct.unpack_from("<I", octets, at + 2 + 12 * count)


# Damage


def flip(rng: Random, octets: bytes, _: bytes) -> bytes:
    """Some bits turned over."""
    damaged = bytearray(octets)
    for at in rng.integers(0, len(octets), rng.integers(1, 9)):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def stamp(rng: Random, octets: bytes, _: bytes) -> bytes:
    """One to four bytes, near the beginning more often, made the ends of a range."""
    size = int(rng.choice([1, 2, 4]))
    at = int(rng.integers(0, rng.choice([64, 256, len(octets)]))) % max(1, len(octets) - size)
    values = [b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0"]
    value = values[rng.integers(len(values))]
    return octets[:at] + (value * size)[:size] + octets[at + size :]


def cut(rng: Random, octets: bytes, _: bytes) -> bytes:
    """The file up to a joint, or nearly."""
    places = joints(octets)
    return octets[: max(1, places[rng.integers(len(places))] + int(rng.integers(-1, 2)))]


def splice(rng: Random, octets: bytes, donor: bytes) -> bytes:
    """A piece between two joints replaced by one of another file, or put before it."""
    begin, end = _piece(rng, octets)
    first, last = _piece(rng, donor)
    return octets[:begin] + donor[first:last] + octets[end if rng.random() < 0.5 else begin :]


def shuffle(rng: Random, octets: bytes, _: bytes) -> bytes:
    """A piece between two joints left out, doubled, or exchanged with the next."""
    begin, end = _piece(rng, octets)
    later = min(len(octets), 2 * end - begin)
    piece, following = octets[begin:end], octets[end:later]
    middles = (following, piece + piece + following, following + piece)
    return octets[:begin] + middles[rng.integers(3)] + octets[later:]


def _piece(rng: Random, octets: bytes) -> tuple[int, int]:
    places = [*joints(octets), len(octets)]
    at = int(rng.integers(len(places) - 1))
    return places[at], places[at + 1]


def repaired(octets: bytes) -> bytes:
    """A PNG whose checksums are right, so that its chunks are looked into."""
    mended = bytearray(octets)
    places = list(_png_joints(octets))
    for begin, end in itertools.pairwise((*places, len(octets))):
        if end - begin >= 12:
            mended[end - 4 : end] = zlib.crc32(octets[begin + 4 : end - 4]).to_bytes(4)
    return bytes(mended)


DAMAGES: Final = (flip, flip, flip, stamp, stamp, cut, splice, shuffle)
CHOICES: Final = (
    "max -k 2",
    "min -k 2x3 --ceil-mode",
    "avg -k 3 -s 2 --padding 1 --count-include-pad",
    "avg -k 4 --linear",
    "max -k 3 --padding same --dilation 2",
    "avg -k 2 --background white",
    "avg -k 2 --alpha straight --allow-depth-loss --strip",
    "max -k 5 -s 1 --json",
    "min -k 2 --dry-run",
    "avg -k 2 --divisor-override 3",
    "max -k 2 --frame 1",
)
SUFFIXES: Final = ("png", "jpg", "tif", "npy", "webp", "pnm", "gif", "bmp", "avif")


class Case(NamedTuple):
    """A damaged file and what is asked of it."""

    number: int
    title: str
    octets: bytes
    words: list[str]


def case(seed: int, number: int, wholes: dict[str, bytes]) -> Case:
    """A damaged file by its number: the samples in turn, so that none is left out."""
    rng = np.random.default_rng((seed, number))
    names = sorted(wholes)
    name = names[number % len(names)]
    suffix = name.rpartition(".")[2]
    kin = [one for one in names if one.endswith(suffix)]
    octets, donor = wholes[name], wholes[kin[rng.integers(len(kin))]]
    titles = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        octets = damage(rng, octets, donor) or b"\0"
        titles.append(damage.__name__)
    if suffix == "png" and rng.random() < 0.75:
        octets = repaired(octets)
    output = suffix if rng.random() < 0.5 else SUFFIXES[rng.integers(len(SUFFIXES))]
    words = CHOICES[rng.integers(len(CHOICES))].split()
    words += ["--quiet", "--max-pixels", "1000000", f"in.{suffix}", f"out.{output}"]
    return Case(number, f"{name}: {', '.join(titles)}", octets, words)


# One case


class Room:
    """An empty working folder, and two files in the place of standard output and error."""

    def __init__(self, folder: str) -> None:
        """Divert both for good."""
        self.folder = folder
        self.reached = 0
        os.chdir(folder)
        self._files = {}
        for number in (1, 2):
            self._files[number] = os.open(f"{folder}.{number}", os.O_RDWR | os.O_CREAT)
            os.dup2(self._files[number], number)

    def printed(self, number: int) -> str:
        """Return what was printed since the last call on standard output or error."""
        file = self._files[number]
        text = os.pread(file, 1 << 20, 0)
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        return text.decode("utf-8", "replace")

    def run(self, case: Case) -> str:
        """Return what is wrong with how a case ended, in words; empty where nothing is."""
        from poolcli import cli, run
        from poolcli.formats import contract

        source = case.words[-2]
        Path(source).write_bytes(case.octets)
        opened = []

        def counted(*words: Any, real: Callable[..., Any] = contract.open_writer) -> Any:
            opened.append(words)  # all headers are accepted, and pixels are read next
            return real(*words)

        code: Any = None
        with (
            mock.patch.object(sys, "argv", ["poolcli", *case.words]),
            mock.patch.object(run, "open_writer", counted),
        ):
            try:
                cli.main()
            except SystemExit as end:
                code = end.code
            except BaseException:  # noqa: BLE001  # that is what is looked for
                code = traceback.format_exc()
        self.reached += bool(opened)
        left = {one.name for one in os.scandir()} - {source}
        problem = _verdict(case, code, self.printed(1), self.printed(2), left)
        for name in {*left, source}:
            os.unlink(name)
        return problem


def _verdict(case: Case, code: Any, out: str, err: str, left: set[str]) -> str:
    """Return what is wrong with how a case ended."""
    wanted = {case.words[-1]} if code == 0 and "--dry-run" not in case.words else set()
    if code not in (0, 1):
        return f"exit {code}: {err}"
    if left != wanted:
        return f"exit {code}, but the folder holds {sorted(left)}"
    if len(err.splitlines()) != code or not err.startswith("poolcli: "[: 9 * code]):
        return f"exit {code}, but standard error holds {err!r}"
    if "--json" in case.words:
        with contextlib.suppress(ValueError):
            out = "" if [json.loads(line) for line in out.splitlines()][1:] else out
    if out:
        return f"exit {code}, but standard output holds {out!r}"
    if wanted and (size := os.path.getsize(case.words[-1])) < 8:
        return f"the output has {size} bytes"
    return ""


# Calls of the engine


def check_call(rng: Random) -> tuple[bool, str]:
    """Return whether a random call of the engine fits, and how it differs from the nested loop."""
    method = str(rng.choice(["max", "min", "avg"]))
    array = _array(rng)
    geometry, options = _geometry(rng), _options(rng, method, array.shape[:2])
    tuning = TUNINGS[rng.integers(len(TUNINGS))]
    call = Call(method, array, geometry, options, tuning)
    title = f"{method} of {array.shape} {array.dtype.str}, {geometry}, {options}, {tuning}"
    fits = call.fits()
    try:
        differs = call.mismatches() if fits else [f"not refused: {call.run()}"]
    except poolcli.PoolError as refusal:
        differs = [f"refused, {refusal}"] if fits else []
    except Exception:  # noqa: BLE001  # that is what is looked for
        differs = [traceback.format_exc()]
    return fits, f"{title}: {differs[:3]}" if differs else ""


def _array(rng: Random) -> NDArray[Any]:
    """Return few, any or the largest values of any type, order and layout, with NaN or infinity."""
    dtype, shape = DTYPES[rng.integers(len(DTYPES))], tuple(rng.integers(1, 12, rng.integers(2, 4)))
    values = random_values(rng, dtype, str(rng.choice(["few", "any", "ends"])), shape)
    if dtype.kind == "f":
        values[rng.random(shape) < rng.choice([0, 0.1, 0.8])] = rng.choice([np.nan, np.inf])
    if rng.random() < 0.5:
        values = values.astype(dtype.newbyteorder("S"))
    return LAYOUTS[rng.integers(len(LAYOUTS))](values)


def _pair(rng: Random, least: int, most: int) -> Any:
    """Return a number for both axes, or one for each."""
    down, across = (int(value) for value in rng.integers(least, most + 1, 2))
    return down if rng.random() < 0.5 else (down, across)


def _geometry(rng: Random) -> dict[str, Any]:
    """Return the arguments of a window; some do not fit."""
    size, dilation = _pair(rng, 1, 6), _pair(rng, 1, 3 if rng.random() < 0.4 else 1)
    spans = np.broadcast_to(dilation, 2) * (np.broadcast_to(size, 2) - 1)
    paddings = [
        *("valid", "same", "same_lower"),
        0,
        int(rng.integers(0, spans.min() + 1)),
        tuple(tuple(int(one) for one in rng.integers(0, span + 1, 2)) for span in spans),
    ]
    return {
        "size": size,
        "stride": None if rng.random() < 0.4 else _pair(rng, 1, 5),
        "padding": paddings[rng.integers(len(paddings))],
        "dilation": dilation,
        "ceil_mode": bool(rng.random() < 0.5),
    }


def _options(rng: Random, method: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return which pixels take part, or what sums are divided by."""
    options: dict[str, Any] = {"nan": str(rng.choice(["omit", "propagate"]))}
    kind = rng.integers(4)
    if kind in (1, 2):
        options["where"] = rng.random(shape) < rng.choice([0, 0.3, 0.9])
    if method == "avg" and kind == 2:
        weights = rng.integers(0, rng.choice([2, 256]), shape)
        options["weights"] = weights.astype(str(rng.choice(["u1", ">u2", "<u4", "u8"])))
    if method == "avg" and kind == 3:
        options["count_include_pad"] = bool(rng.random() < 0.5)
        options["divisor_override"] = [None, 1, 3, 7, 2**70][rng.integers(5)]
    return options


# Many cases, in a child


class Plan(NamedTuple):
    """Which cases: from the first up to a last or for some seconds."""

    kind: str
    seed: int
    first: int
    most: int | None
    seconds: float | None


def child(plan: Plan, progress: str) -> None:
    """Run cases; each failure is a line of JSON, and the totals are the last one."""
    words = os.fdopen(os.dup(1), "w", 1)
    marker = os.open(progress, os.O_WRONLY)
    wholes = samples() if plan.kind == "files" else {}
    _limit_memory()
    end = None if plan.seconds is None else time.monotonic() + plan.seconds
    done = 0
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        room = Room(folder)
        while (plan.most is None or done < plan.most) and (end is None or time.monotonic() < end):
            number = plan.first + done
            os.pwrite(marker, b"%20d %20d" % (number, room.reached), 0)
            signal.setitimer(signal.ITIMER_PROF, SECONDS_A_CASE)
            problem = _problem(plan, number, room, wholes)
            if problem:
                words.write(json.dumps({"number": number, "problem": problem}) + "\n")
            done += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        words.write(json.dumps({"done": done, "reached": room.reached}) + "\n")
        for number in (1, 2):
            os.unlink(f"{folder}.{number}")
        os.chdir("/")


def _problem(plan: Plan, number: int, room: Room, wholes: dict[str, bytes]) -> str:
    """Return what is wrong with one case, in words; empty where nothing is."""
    try:
        if plan.kind == "calls":
            fits, problem = check_call(np.random.default_rng((plan.seed, number)))
            room.reached += fits
            return problem
        one = case(plan.seed, number, wholes)
        problem = room.run(one)
    except Exception:  # noqa: BLE001  # the fuzz itself is at fault, and says so
        return traceback.format_exc()
    return f"{one.title} ({' '.join(one.words)}): {problem}" if problem else ""


def _limit_memory() -> None:
    """Let a runaway allocation fail rather than take the machine along."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Totals(NamedTuple):
    """What a run found."""

    done: int
    reached: int
    failures: list[dict[str, Any]]


def hunt(plan: Plan) -> Totals:
    """Run cases in a child, and in another one after each that kills it."""
    done, reached = 0, 0
    failures: list[dict[str, Any]] = []
    started = time.monotonic()
    while len(failures) < MOST_FAILURES:
        left = None if plan.seconds is None else plan.seconds - (time.monotonic() - started)
        most = None if plan.most is None else plan.most - done
        rest = plan._replace(first=plan.first + done, most=most, seconds=left)
        lines, death, mark = _one_child(rest)
        found = [json.loads(line) for line in lines]
        failures += [one for one in found if "problem" in one]
        totals = next((one for one in found if "done" in one), None)
        if totals is not None:
            done, reached = done + totals["done"], reached + totals["reached"]
            break
        if not mark:
            raise RuntimeError(f"the child didn't begin: {death}")
        number, more = mark
        failures.append({"number": number, "problem": f"the process died: {death}"})
        done, reached = number + 1 - plan.first, reached + more
    return Totals(done, reached, failures)


def _one_child(plan: Plan) -> tuple[list[str], str, tuple[int, int] | None]:
    """Return what a child printed, how it died, and the last case that it began."""
    with tempfile.NamedTemporaryFile(dir=MEMORY) as progress:
        words = [f"--{key}={value}" for key, value in plan._asdict().items() if value is not None]
        finished = subprocess.run(
            [sys.executable, __file__, "--child", progress.name, *words],
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        mark = progress.read().split()
    code = finished.returncode
    death = f"signal {-code}" if code < 0 else f"exit {code}, {finished.stderr.decode()[-2000:]}"
    return (
        finished.stdout.decode().splitlines(),
        death,
        (int(mark[0]), int(mark[1])) if mark else None,
    )


# The command


def main() -> int:
    """Run what is asked for; 1 if anything was found."""
    args = _parser().parse_args()
    if args.child:
        child(Plan(args.kind, args.seed, args.first, args.most, args.seconds), args.child)
        return 0
    seed = args.seed if args.seed is not None else int(time.time())
    if args.only is not None:
        return _repeat(seed, args.only)
    share = None if args.seconds is None else args.seconds / 2
    plans = [Plan("files", seed, 0, args.cases, share), Plan("calls", seed, 0, args.calls, share)]
    if args.seconds is None:
        plans = [plan for plan in plans if plan.most is not None]
    if not plans:
        _parser().error("give --seconds, --cases or --calls")
    code = 0
    for plan in plans:
        found = hunt(plan)
        for failure in found.failures:
            print(f"FAILED {plan.kind} --seed {seed} --only {failure['number']}")
            print(f"  {failure['problem']}")
        totals = {"kind": plan.kind, "seed": seed, "done": found.done, "reached": found.reached}
        print(json.dumps({**totals, "failures": len(found.failures)}))
        code = code or bool(found.failures)
    return int(code)


def _repeat(seed: int, number: int) -> int:
    """Run one damaged file again as anybody would, and keep it."""
    one = case(seed, number, samples())
    folder = Path(tempfile.mkdtemp(prefix="poolcli-fuzz-"))
    (folder / one.words[-2]).write_bytes(one.octets)
    print(f"{one.title}\ncd {folder} && poolcli {' '.join(one.words)}", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "poolcli", *one.words],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="for so long, files and calls half each")
    parser.add_argument("--cases", type=int, help="so many damaged files")
    parser.add_argument("--calls", type=int, help="so many calls of the engine")
    parser.add_argument("--seed", type=int, help="repeats a run (default: another each time)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one damaged file again")
    for hidden, kind in (("--child", str), ("--kind", str), ("--first", int), ("--most", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
