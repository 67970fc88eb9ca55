"""Nothing breaks it: noise, faults at every step, bombs, full disks and poor systems."""

from __future__ import annotations

import errno
import itertools
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from poolcli.storage.hidden import hidden_name
from tests.pictures import chunk, noise, png, saved
from tests.support.memory import run_measured
from tests.support.output import has_only_printable_lines, only_line, statuses
from tests.support.processes import (
    EXECUTORS,
    HALVE,
    Done,
    Run,
    Words,
    either_executor,
    linux_only,
    run_after,
    run_redirected,
)
from tests.support.terminal import CONTROLS, HIDE_CURSOR, Terminal
from tests.support.trees import contents, paint, paint_all
from tests.support.warm import ForkServer

pytestmark = linux_only


# A pipe without end


def test_a_pipe_without_end_that_begins_like_no_picture_is_not_read_on(run: Run) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "exec yes"], stdout=subprocess.PIPE) as endless:
        done = run(*HALVE, "-", "out.png", stdin=endless.stdout)
        endless.kill()

    assert done.returncode == 1
    assert done.stderr.startswith(b"poolcli: stdin: it is text, not a picture; give PNG, ")


# What C libraries print


def fax(seed: int) -> bytes:
    """Return a damaged fax that is decoded all the same, while libtiff prints on descriptor 2."""
    octets = bytearray(
        saved(Image.fromarray(noise("1", (64, 64), seed)), "TIFF", compression="group4")
    )
    tags = Image.open(BytesIO(octets)).tag_v2  # type: ignore[attr-defined]  # TIFF's own
    middle = tags[273][0] + tags[279][0] // 2
    octets[middle : middle + 8] = b"\0\xff" * 4
    return bytes(octets)


COMPLAINT: Final = "Fax4Decode"
WARNING: Final = "its decoder printed a complaint: it may be damaged"


@pytest.fixture
def faxes(tmp_path: Path) -> Path:
    """A folder of four faxes that are damaged, and two good pictures."""
    paint_all(tmp_path / "in", "a.png", "z.bmp")
    for number in range(4):
        (tmp_path / f"in/fax{number}.tif").write_bytes(fax(number))
    return tmp_path / "in"


def test_pillow_left_to_itself_lets_libtiff_print(faxes: Path) -> None:
    code = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    done = subprocess.run(
        [sys.executable, "-c", code, faxes / "fax0.tif"], capture_output=True, check=True
    )
    assert COMPLAINT.encode() in done.stderr


@pytest.mark.parametrize(
    ("flag", "parts"),
    [("", (WARNING,)), ("-v", (WARNING, f"its decoder printed: {COMPLAINT}")), ("-q", ())],
)
def test_what_a_library_prints_becomes_one_warning(
    run: Run, faxes: Path, flag: str, parts: tuple[str, ...]
) -> None:
    done = run(*HALVE, *flag.split(), faxes / "fax0.tif", "out.png")
    text = done.stderr.decode()

    assert done.returncode == 0
    assert all(part in text for part in parts)
    assert text.startswith(f"poolcli: {faxes / 'fax0.tif'}: warning: {WARNING}\n" if parts else "")
    assert text.count(COMPLAINT) == len(parts[1:])
    assert bool(text) is bool(parts)


def damaged_tiff(packed: str | None) -> bytes:
    """Return a TIFF whose decoder complains, or, if it isn't packed, one that makes Pillow log."""
    octets = bytearray(saved(Image.fromarray(noise("RGB", (40, 40))), "TIFF", compression=packed))
    if packed:
        octets[12:600] = bytes(range(98)) * 6
    else:
        entry = octets.index(struct.pack("<HHI", 277, 3, 1))  # Pillow logs "More samples …"
        octets[entry + 8 : entry + 10] = struct.pack("<H", 515)
    return bytes(octets)


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        ("tiff_lzw", "it can't be decoded"),
        ("tiff_adobe_deflate", "its pixels are damaged"),
        ("jpeg", "it can't be decoded"),
        (None, ""),
    ],
)
def test_a_failure_prints_one_line_only(
    run: Run, tmp_path: Path, packed: str | None, said: str
) -> None:
    (tmp_path / "in.tif").write_bytes(damaged_tiff(packed))
    done = run(*HALVE, "in.tif", "out.png")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"poolcli: in.tif: {said}".encode())


BEFORE_POOLING: Final = """
import os
import poolcli.run.output as making
def changed(*words, real=making.pooled_bands, **more):
    {}
    return real(*words, **more)
making.pooled_bands = changed
"""


def test_a_library_may_print_more_than_a_pipe_holds(run: Run, tmp_path: Path) -> None:
    paint(tmp_path / "in.png")
    printing = BEFORE_POOLING.format('os.write(2, b"noise\\n" * 200_000)')
    done = run(*HALVE, "-v", "in.png", "out.png", first=printing)

    assert done.returncode == 0
    assert done.stderr.count(b"noise") == 1


@either_executor
def test_a_batch_counts_what_libraries_complain_of(
    run: Run, faxes: Path, terminal: Terminal, flags: Words
) -> None:
    logged = run(*HALVE, *flags, faxes, "log")
    shown = run(*HALVE, *flags, faxes, "terminal", stderr=terminal.theirs)
    text, log = terminal.all(), logged.stderr.decode()

    assert (logged.returncode, shown.returncode) == (0, 0)
    assert f"4×         {WARNING}" in log
    assert HIDE_CURSOR in text
    assert COMPLAINT not in log + text
    assert has_only_printable_lines(CONTROLS.sub("", text))


@either_executor
def test_without_standard_error_what_libraries_print_lands_in_no_file_and_no_pipe(
    run: Run, faxes: Path, tmp_path: Path, flags: Words
) -> None:
    run(*HALVE, faxes, "expected")
    done = run_redirected("2>&-", *HALVE, *flags, "--json", faxes, "out", cwd=tmp_path)

    assert done.returncode == 0
    assert set(statuses(done).values()) == {"done"}
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


@pytest.mark.parametrize("name", ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"])
def test_a_picture_on_stderr_holds_no_text(
    run: Run, faxes: Path, tmp_path: Path, name: str
) -> None:
    run(*HALVE, faxes / "fax0.tif", "expected.tif")
    done = run(*HALVE, "-q", "--format", "tiff", faxes / "fax0.tif", name)
    closed = run_redirected("2>&-", *HALVE, "--format", "png", "in/a.png", name, cwd=tmp_path)

    assert done.returncode == 0
    assert done.stderr == (tmp_path / "expected.tif").read_bytes()
    assert closed.returncode in (1, 2)
    assert sorted(os.listdir(tmp_path)) == ["expected.tif", "in"]


# Faults and signals at every step of the write path

STEPS: Final = """
import errno, itertools, os, shutil, signal, sys
import poolcli.cli, poolcli.console, poolcli.run
from PIL import Image
Image.init()
NAMES = "mkdir open write link rename replace fchmod utime fsync dup close".split()
real = {name: getattr(os, name) for name in NAMES}
calls, limit = 0, 1 << 30
def counted(name):
    def call(*words, **options):
        global calls
        calls += 1
        if name == "write" and words[0] > 2:
            words = words[0], words[1][:40]
        if calls != limit:
            return real[name](*words, **options)
        if FAULT > 0:
            raise OSError(FAULT, os.strerror(FAULT))
        try:
            return real[name](*words, **options)
        finally:
            os.kill(os.getpid(), -FAULT)
    return call
for name in NAMES:
    setattr(os, name, counted(name))
if not LINKS:
    def refuse(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    real["link"] = refuse
os.sync = int
printed = os.dup(1)
for most in itertools.count(1):
    signal.alarm(120)  # for this step alone
    folder = f"run-{most:03}"
    shutil.copytree("before", folder)
    child = os.fork()
    if not child:
        os.chdir(folder)
        calls, limit = 0, most
        try:
            poolcli.cli.main()
        finally:
            os._exit(99 if calls < limit else sys.exception().code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(printed, b"%d\\n" % code)
    if code == 99:
        break
"""
NEVER_REACHED: Final = 99


def steps(
    run: Run, tmp_path: Path, fault: int, links: bool, *words: object
) -> list[tuple[int, Path]]:
    """Let a fault or signal come at each call in turn; return exit code and folder of each run."""
    done = run(*words, first=f"FAULT, LINKS = {fault}, {links}\n{STEPS}")
    codes = [int(line) for line in done.stdout.split()]
    assert codes.pop() == NEVER_REACHED, done.stderr
    return [(code, tmp_path / f"run-{number:03}") for number, code in enumerate(codes, 1)]


def places(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


FAULTS: Final = (errno.ENOSPC, errno.EIO, errno.EACCES, -signal.SIGTERM, -signal.SIGINT)
WAYS: Final = [
    *itertools.product(FAULTS, (True, False), ("-f", "--skip-existing"), ("out.png", "deep/in.png"))
]
QUICK: Final = {(errno.ENOSPC, "-f", "out.png"), (-signal.SIGTERM, "-f", "out.png")}


@pytest.mark.parametrize(
    ("fault", "links", "flag", "place"),
    [
        pytest.param(*one, marks=() if (one[0], *one[2:]) in QUICK else pytest.mark.slow)
        for one in WAYS
    ],
)
def test_a_fault_or_signal_at_any_step_leaves_old_or_new_and_nothing_else(
    run: Run, tmp_path: Path, fault: int, links: bool, flag: str, place: str
) -> None:
    paint(tmp_path / "before/in.png", 16)
    run(*HALVE, "-q", "before/in.png", "new.png")
    if flag == "-f":
        paint(tmp_path / "before" / place)
    old = contents(tmp_path / "before")
    new = old | {place: (tmp_path / "new.png").read_bytes()}
    output = place.removesuffix("in.png")
    runs = steps(run, tmp_path, fault, links, *HALVE, "-q", flag, "in.png", output)

    codes = [code for code, _ in runs]
    assert len(runs) > 4
    if fault > 0:
        assert set(codes) <= {0, 1, *[2] * (fault == errno.ENOSPC)}  # 2: no room to begin with
        assert codes.count(1) >= 2  # a file without a name needs fewer calls that can fail
    else:
        assert set(codes) == {128 - fault}
    for code, folder in runs:
        left = contents(folder)
        assert left in (old, new)
        assert fault < 0 or left == (old if code else new)
        if left == old:
            assert places(folder) == places(tmp_path / "before")


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
def test_a_kill_at_any_step_leaves_nothing_half(run: Run, tmp_path: Path, flag: str) -> None:
    pictures = ("a.png", "sub/b.png")
    paint_all(tmp_path / "before/in", *pictures, side=16)
    run(*HALVE, "-q", "before/in", "expected")
    expected, old = contents(tmp_path / "expected"), {}
    if flag == "--overwrite":
        old = contents(paint_all(tmp_path / "before/out", *pictures, side=2))
    words = (*HALVE, "-q", flag, "in", "out")
    runs = steps(run, tmp_path, -signal.SIGKILL, True, *words)

    assert len(runs) > 10
    for code, folder in runs:
        left = contents(folder / "out")
        assert code == -signal.SIGKILL
        assert left.keys() >= old.keys()
        for place, octets in left.items():
            if not re.search(r"\.poolcli-[0-9a-f]{8}\.tmp$", place):
                assert octets in (expected[place], old.get(place))
        assert run(*words, cwd=folder).returncode == 0
        assert contents(folder / "out") == expected


@pytest.mark.parametrize("flags", [*EXECUTORS.values()], ids=EXECUTORS)
def test_an_input_that_is_named_like_a_hidden_file_is_pooled_and_stays(
    run: Run, tmp_path: Path, flags: Words
) -> None:
    out = tmp_path / "out"
    paint_all(out, "z.png", "real.png")
    names = [".poolcli-deadbeef.tmp", left_name(out / "real.png")]
    (out / "z.png").rename(out / names[0])
    (out / "real.png").rename(out / names[1])
    pictures = contents(out)
    inputs = [out / name for name in names]
    options = (*HALVE, *flags, "--format", "png")
    single = run(*options, *inputs[1:], out / "alone.png")
    batch = run(*options, *inputs, paint(tmp_path / "a.png"), out)

    assert (single.returncode, batch.returncode) == (0, 0)
    assert contents(out).items() >= pictures.items()
    assert len(contents(out)) == 2 + 1 + 3


def test_an_input_that_is_redirected_or_linked_stays_too(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    paint_all(out, "z.png")
    hidden = (out / "z.png").rename(out / left_name(out / "z.png"))
    octets = hidden.read_bytes()
    (tmp_path / "link.png").symlink_to(hidden)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "to-link.png").symlink_to(tmp_path / "link.png")
    with hidden.open("rb") as stdin:
        done = [
            run(*HALVE, "-", out / "redirected.png", stdin=stdin),
            run(*HALVE, "link.png", out / "linked.png", cwd=tmp_path),
            run(*HALVE, "links", out, cwd=tmp_path),
        ]

    assert [one.returncode for one in done] == [0, 0, 0]
    assert hidden.read_bytes() == octets
    assert len(contents(out)) == 4


def left_name(path: Path) -> str:
    """Return the name that a run would give to a hidden file of this inode."""
    return hidden_name(path.stat().st_ino)


@pytest.mark.parametrize("paths", [("in.png", "out.png"), ("in.png", "in.png", "out/")])
def test_an_output_that_another_run_makes_meanwhile_is_skipped_if_asked(
    run: Run, tmp_path: Path, paths: Words
) -> None:
    paint(tmp_path / "in.png")
    (tmp_path / "out").mkdir()
    output = tmp_path / ("out.png" if len(paths) == 2 else "out/in.png")
    first = BEFORE_POOLING.format(f"open({str(output)!r}, 'wb').write(b'another')")
    done = run(*HALVE, "--skip-existing", "--json", *paths, first=first)

    assert (done.returncode, set(statuses(done).values())) == (0, {"skipped"})
    assert output.read_bytes() == b"another"
    assert run(*HALVE, *paths, first=first.replace("'wb'", "'ab'")).returncode in (1, 2)


def test_a_lost_race_blames_the_output(run: Run, tmp_path: Path) -> None:
    paint(tmp_path / "in.png")
    made = f"open({str(tmp_path / 'out.png')!r}, 'wb').write(b'another')"
    done = run(*HALVE, "in.png", "out.png", first=BEFORE_POOLING.format(made))

    assert done.returncode == 1
    assert only_line(done) == "poolcli: out.png: it exists already; use --overwrite to replace it"


# Disks that are really full


@pytest.mark.parametrize("name", ["out.bmp", "out.png", "out.tif", "out.npy", "out.webp"])
@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
def test_a_disk_that_is_full_keeps_what_it_has(
    run: Run, tmp_path: Path, disk: Callable[..., Path], name: str, flag: str
) -> None:
    folder = disk(size=1 << 16)
    paint(tmp_path / "in.png", 500)
    if flag == "--overwrite":
        (folder / name).write_bytes(b"old")
    before = contents(folder)
    done = run(*HALVE, flag, "in.png", folder / name)

    assert done.returncode == 1
    assert os.strerror(errno.ENOSPC).encode() in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(folder) == before


@pytest.mark.parametrize("paths", [("in.png", "in.png", "{}/new/"), ("in.png", "{}/out.png")])
def test_a_disk_without_any_room_is_found_before_pictures_are_opened(
    run: Run, tmp_path: Path, disk: Callable[..., Path], paths: Words
) -> None:
    folder = disk(size=1 << 16)
    (tmp_path / "in.png").write_bytes(b"no picture")  # nobody looks into it
    with suppress(OSError), (folder / "filler").open("wb", 0) as filler:
        while filler.write(bytes(1 << 12)):
            pass
    words = [str(one).format(folder) for one in paths]
    done = run(*HALVE, *words)

    assert done.returncode == 2
    assert f"no space is left in the folder {folder}; choose another output" in only_line(done)
    assert {*os.listdir(folder)} == {"filler"}


# Bombs


ENORMOUS: Final = 40_000
MIB: Final = 1 << 20


def bits() -> bytes:
    """A PNG of 1,600 million pixels in 200 kB."""
    packer = zlib.compressobj(9)
    rows = bytes(ENORMOUS // 8 + 1) * 100
    packed = b"".join(packer.compress(rows) for _ in range(ENORMOUS // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", ENORMOUS, ENORMOUS, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


def texts(name: bytes, head: bytes, count: int, size: int) -> bytes:
    """A PNG of 4 pixels with texts that unpack to something large."""
    packed = head + zlib.compress(bytes(size), 9)
    return png(2, [bytes(6)] * 2, 8, 2, *[(name, packed)] * count)


def large_frame() -> bytes:
    """A GIF of 8×8 pixels whose frame has 64 million."""
    octets = bytearray(saved(Image.new("P", (8000, 8000)), "GIF"))
    octets[6:10] = struct.pack("<HH", 8, 8)
    return bytes(octets)


def sparse(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array of zeros that takes no room on disk."""
    with path.open("wb") as stream:
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, head)
        stream.truncate(stream.tell() + int(np.prod(shape, dtype=object)))


def many_channels() -> bytes:
    """A TIFF of a million pixels and a gigabyte, in a megabyte."""
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        packed = zlib.compress(bytes(10 * 1000 * 1000), 9)
        writer.write(
            (packed for _ in range(100)),
            shape=(1000, 1000, 1000),
            dtype=np.uint8,
            photometric="minisblack",
            planarconfig="contig",
            compression="adobe_deflate",
            rowsperstrip=10,
            metadata=None,
        )
    return buffer.getvalue()


def packed_tiff(packed: bytes, *shape: int, **layout: Any) -> bytes:
    """A deep TIFF whose only strip or tile is already packed."""
    buffer = BytesIO()
    options = {"dtype": np.uint16, "planarconfig": "contig", "metadata": None, **layout}
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(iter([packed]), shape=shape, photometric="rgb", **options)
    return buffer.getvalue()


def large_tile(dtype: type[np.unsignedinteger[Any]]) -> bytes:
    """A TIFF of 10×10 pixels in one tile of 64 million."""
    packed = zlib.compress(bytes(8000 * 8000 * 3), 9)
    layout = {"dtype": dtype, "tile": (8000, 8000), "compression": "adobe_deflate"}
    return packed_tiff(packed, 10, 10, 3, **layout)


def picture_in_tiff() -> bytes:
    """A TIFF of 10×10 pixels, packed as a PNG that has 16 million."""
    large = bytes(imagecodecs.png_encode(np.zeros((4000, 4000, 3), np.uint16)))
    return packed_tiff(large, 10, 10, 3, compression="png", rowsperstrip=10)


def blank(mode: str, side: int, title: str, **options: Any) -> bytes:
    """A square of one colour, as Pillow saves it."""
    return saved(Image.new(mode, (side, side)), title, **options)


BOMBS: Final[dict[str, Callable[[], bytes] | tuple[int, ...]]] = {
    "PNG.png": bits,
    "TIFF.tif": lambda: blank("L", 8000, "TIFF", compression="tiff_deflate"),
    "channels.tif": many_channels,
    "tile.tif": lambda: large_tile(np.uint8),
    "deep tile.tif": lambda: large_tile(np.uint16),
    "PNG in TIFF.tif": picture_in_tiff,
    "GIF.gif": lambda: blank("P", 8000, "GIF"),
    "frame.gif": large_frame,
    "WebP.webp": lambda: blank("RGB", 6000, "WEBP", lossless=True, method=0, quality=0),
    "AVIF.avif": lambda: blank("RGB", 3500, "AVIF", speed=10),
    "square.npy": (100_000, 100_000),
    "channels.npy": (1000, 1000, 2000),
}
"""Makers of files, or the shapes of arrays that are mostly a hole in the file."""
PACKED_METADATA: Final[dict[str, tuple[bytes, bytes, int, int]]] = {
    "zTXt.png": (b"zTXt", b"Comment\0\0", 1, 100 * MIB),
    "iTXt.png": (b"iTXt", b"Comment\0\1\0\0\0", 1, 100 * MIB),
    "iCCP.png": (b"iCCP", b"profile\0\0", 1, 100 * MIB),
    "many texts.png": (b"zTXt", b"Comment\0\0", 300, 900_000),
}
ROOM: Final = 24 * MIB
"""What a refusal may take beyond a run on a tiny picture."""


Growth = Callable[..., tuple[Done, int]]


@pytest.fixture(scope="module")
def usual(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The most memory of a run on a tiny picture."""
    folder = tmp_path_factory.mktemp("tiny")
    paint(folder / "in.tif")
    done, peak = run_measured(fork_server, folder, *HALVE, "-q", "in.tif", "out.npy")
    assert done.returncode == 0
    return peak


@pytest.fixture
def growth(fork_server: ForkServer, tmp_path: Path, usual: int) -> Growth:
    """Run poolcli, and tell how many bytes more it takes than on a tiny picture."""

    def growth(*words: object) -> tuple[Done, int]:
        done, peak = run_measured(fork_server, tmp_path, *HALVE, "-q", *words)
        return done, peak - usual

    return growth


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(
    tmp_path: Path, growth: Growth, name: str
) -> None:
    bomb = BOMBS[name]
    if isinstance(bomb, tuple):
        sparse(tmp_path / name, bomb)
    else:
        (tmp_path / name).write_bytes(bomb())
    axes = ("--axes", "HWC") if name == "channels.npy" else ()
    done, memory = growth("--max-pixels", 1_000_000, *axes, name, "out.npy")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert memory < ROOM
    assert b"--max-pixels" in done.stderr or not name.endswith(".npy")
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("name", PACKED_METADATA)
def test_packed_metadata_takes_little_memory(tmp_path: Path, growth: Growth, name: str) -> None:
    (tmp_path / name).write_bytes(texts(*PACKED_METADATA[name]))
    done, memory = growth(name, "out.png")

    assert done.returncode == 0
    assert memory < ROOM + (16 * MIB if name == "iCCP.png" else 0)  # profiles may be so large
    assert (tmp_path / "out.png").stat().st_size < MIB


BYTES_A_PIXEL: Final = 40
"""Ours, Pillow's and an encoder's copies of up to four 8-bit channels, and some."""


def large(suffix: str) -> bytes:
    """A picture of 4 million pixels."""
    pixels = np.tile(noise("RGB", (200, 200)), (10, 10, 1))
    if suffix == "npy":
        buffer = BytesIO()
        np.save(buffer, pixels)
        return buffer.getvalue()
    return saved(Image.fromarray(pixels), Image.registered_extensions()[f".{suffix}"])


LARGE: Final = ("png", "jpg", "webp", "tif", "gif", "bmp", "npy")


def long_animation(suffix: str) -> bytes:
    """60 frames of a million pixels."""
    first, *others = (Image.new("RGB", (1000, 1000), (number, 0, 0)) for number in range(60))
    options: dict[str, Any] = {"lossless": True, "method": 0} if suffix == "webp" else {}
    title = Image.registered_extensions()[f".{suffix}"]
    return saved(first, title, save_all=True, append_images=others, **options)


def translucent_animation() -> bytes:
    """An animated PNG whose frames are half-transparent, one over the other."""
    first, *others = (Image.fromarray(noise("RGBA", (1000, 1000), seed)) for seed in range(3))
    return saved(first, "PNG", save_all=True, append_images=others, blend=1, compress_level=1)


def plain_pixmap() -> bytes:
    """A PPM in words, of a maxval that Pillow would rescale."""
    words = b" ".join(b"%d" % value for value in noise("RGB", (1000, 1000)).ravel().tolist())
    return b"P3 1000 1000 1000 " + words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "make", "millions"),
    [
        *((one, partial(large, one), 4) for one in LARGE),
        *((one, partial(long_animation, one), 1) for one in ("png", "webp", "tif")),
        ("png", translucent_animation, 1),
        ("ppm", plain_pixmap, 1),
    ],
)
def test_memory_is_bounded_by_the_pixels_that_are_allowed(
    tmp_path: Path, growth: Growth, suffix: str, make: Callable[[], bytes], millions: int
) -> None:
    octets = make()
    (tmp_path / f"in.{suffix}").write_bytes(octets)
    words = ("--max-pixels", millions * 1_000_000, f"in.{suffix}", f"out.{suffix}")
    done, memory = growth(*words)

    in_memory = len(octets) if suffix == "ppm" else 0
    assert done.returncode == 0
    assert memory < ROOM + BYTES_A_PIXEL * millions * 1_000_000 + in_memory


# Ghostscript


EPS: Final = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
POSTSCRIPT: Final = {
    "EPS": EPS,
    "EPS for DOS": struct.pack("<4s6IH", b"\xc5\xd0\xd3\xc6", 30, len(EPS), 0, 0, 0, 0, 0xFFFF)
    + EPS,
    "PDF": b"%PDF-1.4\n" + EPS,
    "EPS after a TIFF": b"II*\0\x08\0\0\0\0\0\0\0\0\0" + EPS,
}


@pytest.mark.parametrize("octets", POSTSCRIPT.values(), ids=POSTSCRIPT)
def test_no_program_is_run_for_a_strangers_file(run: Run, tmp_path: Path, octets: bytes) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin64c", "djpeg", "cjpeg", "convert", "ppmtogif", "open", "xdg-open"):
        (programs / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        (programs / name).chmod(0o755)
    suffixes = ("eps", "ps", "pdf", "png", "jpg", "tif", "gif", "webp", "ppm", "avif", "npy")
    named = [f"in.{suffix}" for suffix in suffixes]
    for name in named:
        (tmp_path / name).write_bytes(octets)
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    words = (*HALVE, "-q", "--format", "png", "--name", "{stem}-{ext}", "--json", *named, "out")
    done = run(*words, environment={"PATH": path})

    assert done.returncode == 1
    assert statuses(done) == dict.fromkeys(named, "failed")
    assert not (tmp_path / "ran").exists()


# Systems that have less


POOR: Final = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in (
    "sync O_NOCTTY O_NONBLOCK O_NOFOLLOW fork link fchmod fchown sched_getaffinity "
    "set_blocking geteuid"
).split():
    delattr(os, name)
del signal.pthread_sigmask
def refusing(real):
    def call(name, *more, **options):
        if os.path.realpath(name) in {os.path.realpath(f"/proc/self/fd/{one}")
                                      for one in os.listdir("/proc/self/fd")}:
            raise PermissionError(13, "it is open")
        return real(name, *more, **options)
    return call
os.replace, os.unlink = refusing(os.replace), refusing(os.unlink)
"""
"""A system that has little of POSIX, and moves and removes no open file, like Windows."""


@pytest.mark.parametrize(
    ("flag", "paths"),
    [
        ("-q", ("in/a.png", "out/a.png")),
        ("--overwrite", ("in/a.png", "out/a.png")),
        ("--preserve", ("in", "out")),
        ("--overwrite", ("in", "out")),
        ("--skip-existing", ("in", "out")),
    ],
)
def test_poor_systems_write(run: Run, tmp_path: Path, flag: str, paths: tuple[str, str]) -> None:
    paint_all(tmp_path / "in", "a.png", "sub/b.tif")
    (tmp_path / "out").mkdir()
    if flag == "--overwrite":
        (tmp_path / "out/a.png").write_bytes(b"old")
    run(*HALVE, "in", "expected")
    done = run_after(POOR, *HALVE, flag, "-q", *paths, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    written, expected = contents(tmp_path / "out"), contents(tmp_path / "expected")
    assert written == {place: expected[place] for place in written}
    assert len(written) == (2 if paths == ("in", "out") else 1)


def test_a_batch_is_pooled_in_one_process_on_a_poor_system(tmp_path: Path) -> None:
    paint_all(tmp_path / "in", "a.png", "b.png", "c.png")
    (tmp_path / "in/b.png").write_text("no picture")
    done = run_after(POOR, *HALVE, "-j", 2, "--json", "in", "out", cwd=tmp_path)
    assert statuses(done) == {"a.png": "done", "b.png": "failed", "c.png": "done"}


def test_an_existing_file_is_not_clobbered_on_a_poor_system(tmp_path: Path) -> None:
    paint(tmp_path / "in.png")
    first = POOR + BEFORE_POOLING.format("open('out.png', 'wb').write(b'another')")
    done = run_after(first, *HALVE, "-q", "in.png", "out.png", cwd=tmp_path)

    assert done.returncode == 1
    assert (tmp_path / "out.png").read_bytes() == b"another"
    assert places(tmp_path) == {"in.png", "out.png"}


# Load


@pytest.mark.slow
def test_interruptions_and_kills_at_random_moments_leave_nothing() -> None:
    script = Path(__file__).parent.parent / "benchmarks/faults.py"
    done = subprocess.run([sys.executable, script, "--scale", "0.008"], capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout.decode().count("| interruptions") == 4


@pytest.mark.slow
def test_the_load_benchmark_keeps_its_bounds_on_a_small_scale() -> None:
    script = Path(__file__).parent.parent / "benchmarks/load.py"
    done = subprocess.run(
        [sys.executable, script, "--scale", "0.002"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout.decode().count("| yes |") >= 9
