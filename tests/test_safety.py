"""Nothing breaks it: noise, faults at every step, bombs, full disks and poor systems."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.batch_support import (
    HALVE,
    Done,
    contents,
    environment,
    finish,
    has_only_printable_lines,
    linux_only,
    paint,
    paint_all,
    run_after,
    started,
    statuses,
)
from tests.conftest import Run
from tests.pictures import chunk, noise, png, saved
from tests.terminal_support import HIDE_CURSOR, STEERING, Terminal

pytestmark = linux_only

FORCE: Final = ("-j", 2, "--timeout", 60)
"""What makes a small batch use workers."""


# A pipe without end


def test_a_pipe_without_end_that_begins_like_no_picture_is_not_read_on(run: Run) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "exec yes"], stdout=subprocess.PIPE) as endless:
        done = run(*HALVE, "-", "out.png", stdin=endless.stdout)
        endless.kill()

    assert done.returncode == 1
    assert done.stderr.startswith(b"poolcli: stdin: it is no picture of a known format; give PNG, ")


# The noise of C libraries


def fax(seed: int) -> bytes:
    """A damaged fax that is decoded all the same, while libtiff complains on descriptor 2."""
    octets = bytearray(
        saved(Image.fromarray(noise("1", (64, 64), seed)), "TIFF", compression="group4")
    )
    tags = Image.open(BytesIO(octets)).tag_v2  # type: ignore[attr-defined]  # TIFF's own
    middle = tags[273][0] + tags[279][0] // 2
    octets[middle : middle + 8] = b"\0\xff" * 4
    return bytes(octets)


COMPLAINT: Final = "Fax4Decode"
WARNING: Final = "its decoder complained: it may be damaged"


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


def test_what_a_library_prints_becomes_one_warning(run: Run, faxes: Path) -> None:
    done = run(*HALVE, faxes / "fax0.tif", "out.png")
    first, *others = done.stderr.decode().splitlines()

    assert done.returncode == 0
    assert first == f"poolcli: {faxes / 'fax0.tif'}: warning: {WARNING}"
    assert COMPLAINT not in "".join(others)


def test_what_a_library_printed_first_is_told_on_demand(run: Run, faxes: Path) -> None:
    done = run(*HALVE, "-v", faxes / "fax0.tif", "out.png")
    assert f"its decoder printed: {COMPLAINT}" in done.stderr.decode()


def test_a_quiet_run_is_quiet_whatever_a_library_prints(run: Run, faxes: Path) -> None:
    done = run(*HALVE, "-q", faxes / "fax0.tif", "out.png")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("packed", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_a_failure_is_one_line_whatever_a_library_prints(
    run: Run, tmp_path: Path, packed: str
) -> None:
    octets = bytearray(saved(Image.fromarray(noise("RGB", (40, 40))), "TIFF", compression=packed))
    octets[12:600] = bytes(range(98)) * 6
    (tmp_path / "in.tif").write_bytes(octets)
    done = run(*HALVE, "in.tif", "out.png")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(b"poolcli: in.tif: it can't be decoded")


def test_what_libraries_log_is_not_printed(run: Run, tmp_path: Path) -> None:
    octets = bytearray(saved(Image.fromarray(noise("RGB", (8, 8))), "TIFF"))
    entry = octets.index(struct.pack("<HHI", 277, 3, 1))
    octets[entry + 8 : entry + 10] = struct.pack("<H", 515)  # Pillow logs "More samples …"
    (tmp_path / "in.tif").write_bytes(octets)
    done = run(*HALVE, "in.tif", "out.png")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("crowd", [("-j", 1), FORCE], ids=["in this process", "by workers"])
def test_a_batch_counts_what_libraries_complain_of(
    run: Run, faxes: Path, crowd: tuple[object, ...]
) -> None:
    done = run(*HALVE, *crowd, faxes, "out")
    said = done.stderr.decode()

    assert done.returncode == 0
    assert COMPLAINT not in said
    assert f"4×         {WARNING}" in said


@pytest.mark.parametrize("crowd", [("-j", 1), FORCE], ids=["in this process", "by workers"])
def test_the_progress_display_shows_no_noise(
    faxes: Path, tmp_path: Path, crowd: tuple[object, ...]
) -> None:
    terminal = Terminal()
    words = (*HALVE, *crowd, faxes, "out")
    with started(*words, cwd=tmp_path, stderr=terminal.theirs) as process:
        assert finish(process).returncode == 0
    said = terminal.all()
    os.close(terminal.ours)

    assert HIDE_CURSOR in said
    assert COMPLAINT not in said
    assert has_only_printable_lines(STEERING.sub("", said))


@pytest.mark.parametrize("crowd", [("-j", 1), FORCE], ids=["in this process", "by workers"])
def test_without_standard_error_the_noise_lands_in_no_file_and_no_pipe(
    run: Run, faxes: Path, tmp_path: Path, crowd: tuple[object, ...]
) -> None:
    run(*HALVE, faxes, "expected")
    words = [sys.executable, "-m", "poolcli", *HALVE, *crowd, "--json", faxes, "out"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *map(str, words)],
        cwd=tmp_path,
        env=environment({}),
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert set(statuses(Done([], 0, done.stdout)).values()) == {"done"}
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_picture_on_standard_error_holds_no_noise(run: Run, faxes: Path, tmp_path: Path) -> None:
    run(*HALVE, faxes / "fax0.tif", "expected.tif")
    done = run(*HALVE, "-q", faxes / "fax0.tif", "/dev/stderr")

    assert done.returncode == 0
    assert done.stderr == (tmp_path / "expected.tif").read_bytes()


# Faults and signals at every step of the write path

STEPS: Final = """
import errno, itertools, os, shutil, signal, sys
import poolcli.cli, poolcli.console, poolcli.run
from PIL import Image
Image.init()
NAMES = "mkdir open write link replace fchmod utime fsync dup close".split()
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
said = os.dup(1)
for most in itertools.count(1):
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
    os.write(said, b"%d\\n" % code)
    if code == 99:
        break
"""
NEVER_REACHED: Final = 99
LINKS: Final = {"with hard links": True, "without hard links": False}


def steps(tmp_path: Path, fault: int, links: bool, *words: object) -> list[tuple[int, Path]]:
    """The exit code and folder of one run for each call, at which a fault or signal comes."""
    first = f"FAULT, LINKS = {fault}, {links}\n{STEPS}"
    done = run_after(first, *words, cwd=tmp_path)
    codes = [int(line) for line in done.stdout.split()]
    assert codes.pop() == NEVER_REACHED, done.stderr
    folders = [tmp_path / f"run-{number:03}" for number in range(1, len(codes) + 1)]
    return list(zip(codes, folders, strict=True))


FILE_OR_FOLDER: Final = {"a file": "out.png", "a folder": "deep/er/in.png"}


def before_and_after(tmp_path: Path, place: str, old: bool) -> list[dict[str, bytes]]:
    """What a folder called before holds, with an old output if there is one, and held once done."""
    paint(tmp_path / "before/in.png", 16)
    run_after("", *HALVE, "-q", "before/in.png", "new.png", cwd=tmp_path)
    if old:
        paint(tmp_path / "before" / place)
    before = contents(tmp_path / "before")
    return [before, before | {place: (tmp_path / "new.png").read_bytes()}]


def places(folder: Path) -> set[str]:
    return {str(one.relative_to(folder)) for one in folder.rglob("*")}


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EACCES], ids=os.strerror)
@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
@pytest.mark.parametrize("place", FILE_OR_FOLDER.values(), ids=FILE_OR_FOLDER)
def test_a_fault_at_any_step_leaves_the_old_as_it_was_and_nothing_else(
    tmp_path: Path, fault: int, links: bool, flag: str, place: str
) -> None:
    before, after = before_and_after(tmp_path, place, flag == "--overwrite")
    output = place.removesuffix("in.png")
    runs = steps(tmp_path, fault, links, *HALVE, "-q", flag, "in.png", output)

    assert [code for code, _ in runs].count(1) >= 4
    for code, folder in runs:
        assert code in (0, 1)
        assert contents(folder) == (before if code else after)
        if code:
            assert places(folder) == places(tmp_path / "before")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("flag", ["--skip-existing", "--overwrite"])
@pytest.mark.parametrize("place", FILE_OR_FOLDER.values(), ids=FILE_OR_FOLDER)
def test_a_signal_at_any_step_leaves_old_or_new_and_nothing_else(
    tmp_path: Path, number: signal.Signals, links: bool, flag: str, place: str
) -> None:
    old_and_new = before_and_after(tmp_path, place, flag == "--overwrite")
    output = place.removesuffix("in.png")
    runs = steps(tmp_path, -number, links, *HALVE, "-q", flag, "in.png", output)

    assert len(runs) > 4
    for code, folder in runs:
        assert code == 128 + number
        assert contents(folder) in old_and_new
        if contents(folder) == old_and_new[0]:
            assert places(folder) == places(tmp_path / "before")


# Disks that are really full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory: ``disk(size=65536)``."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(**limits: int) -> Path:
        options = ",".join(f"{name}={value}" for name, value in limits.items())
        words = ["mount", "-t", "tmpfs", "-o", options, "poolcli-tests", str(folder)]
        done = subprocess.run(words, check=False, capture_output=True)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
        return folder

    yield mount
    if folder.is_mount():
        unmounting = ["umount", "--lazy", str(folder)]
        subprocess.run(unmounting, check=True)


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


@pytest.mark.parametrize("limits", [{"size": 1 << 16}, {"nr_inodes": 2}], ids=["blocks", "names"])
def test_a_disk_without_any_room_is_one_line(
    run: Run, tmp_path: Path, disk: Callable[..., Path], limits: dict[str, int]
) -> None:
    folder = disk(**limits)
    paint(tmp_path / "in.png")
    with (folder / "filler").open("wb", 0) as filler, suppress(OSError):
        while "size" in limits and filler.write(bytes(4096)):
            pass
    before = contents(folder)
    done = run(*HALVE, "in.png", folder / "out.png")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert contents(folder) == before


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


def sparse(path: Path, *shape: int) -> None:
    """An array of zeros that takes no room on disk."""
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


BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "PNG.png": bits,
    "zTXt.png": lambda: texts(b"zTXt", b"Comment\0\0", 1, 200 * MIB),
    "iTXt.png": lambda: texts(b"iTXt", b"Comment\0\1\0\0\0", 1, 200 * MIB),
    "iCCP.png": lambda: texts(b"iCCP", b"profile\0\0", 1, 200 * MIB),
    "many texts.png": lambda: texts(b"zTXt", b"Comment\0\0", 300, 900_000),
    "TIFF.tif": lambda: saved(Image.new("L", (9000, 9000)), "TIFF", compression="tiff_deflate"),
    "channels.tif": many_channels,
    "tile.tif": lambda: large_tile(np.uint8),
    "deep tile.tif": lambda: large_tile(np.uint16),
    "PNG in TIFF.tif": picture_in_tiff,
    "GIF.gif": lambda: saved(Image.new("P", (8000, 8000)), "GIF"),
    "frame.gif": large_frame,
    "WebP.webp": lambda: saved(
        Image.new("RGB", (8000, 8000)), "WEBP", lossless=True, method=0, quality=0
    ),
    "AVIF.avif": lambda: saved(Image.new("RGB", (4000, 3000)), "AVIF", speed=10),
}
ROOM: Final = 24 * MIB
"""What a refusal may take beyond a run on a tiny picture."""


TELL_PEAK: Final = """
import atexit, re
def tell():
    with open("/proc/self/status") as status, open("peak", "w") as stream:
        stream.write(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
atexit.register(tell)
"""


def peak(cwd: Path, *words: object) -> tuple[int, int, bytes]:
    """The exit code, the most memory in bytes, and the standard error of a run."""
    done = run_after(TELL_PEAK, *words, cwd=cwd)
    return done.returncode, int((cwd / "peak").read_text()) * 1024, done.stderr


@pytest.fixture(scope="module")
def usual_peak(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The memory of a run on a tiny picture."""
    folder = tmp_path_factory.mktemp("usual")
    paint(folder / "in.tif")
    code, memory, _ = peak(folder, *HALVE, "-q", "in.tif", "out.tif")
    assert code == 0
    return memory


def assert_refused_lightly(folder: Path, name: str, usual: int) -> bytes:
    words = (*HALVE, "-q", "--max-pixels", 1_000_000, name, "out.npy")
    code, memory, said = peak(folder, *words)

    assert code == 1
    assert len(said.splitlines()) == 1
    assert memory < usual + ROOM
    assert not (folder / "out.npy").exists()
    return said


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(
    tmp_path: Path, usual_peak: int, name: str
) -> None:
    (tmp_path / name).write_bytes(BOMBS[name]())
    assert_refused_lightly(tmp_path, name, usual_peak)


@pytest.mark.parametrize("shape", [(100_000, 100_000), (1000, 1000, 2000)])
def test_an_array_that_takes_no_room_on_disk_is_refused_before_it_takes_memory(
    tmp_path: Path, usual_peak: int, shape: tuple[int, ...]
) -> None:
    sparse(tmp_path / "in.npy", *shape)
    said = assert_refused_lightly(tmp_path, "in.npy", usual_peak)
    assert b"--max-pixels" in said


BYTES_A_PIXEL: Final = 40
"""Ours, Pillow's and an encoder's copies of up to four 8-bit channels, and some."""


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "gif", "bmp", "npy"])
def test_memory_is_bounded_by_the_pixels_that_are_allowed(
    tmp_path: Path, usual_peak: int, suffix: str
) -> None:
    pixels = np.tile(noise("RGB", (200, 200)), (10, 10, 1))
    if suffix == "npy":
        np.save(tmp_path / "in.npy", pixels)
    else:
        Image.fromarray(pixels).save(tmp_path / f"in.{suffix}")
    words = ("avg", "-k", 2, "-q", "--max-pixels", 4_000_000, f"in.{suffix}", f"out.{suffix}")
    code, memory, _ = peak(tmp_path, *words)

    assert code == 0
    assert memory < usual_peak + ROOM + BYTES_A_PIXEL * 4_000_000


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_memory_does_not_grow_with_the_frames_of_an_animation(
    tmp_path: Path, usual_peak: int, suffix: str
) -> None:
    frames = [Image.new("RGB", (1000, 1000), (number, 0, 0)) for number in range(60)]
    options: dict[str, Any] = {"lossless": True, "method": 0} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"in.{suffix}", save_all=True, append_images=frames[1:], **options)
    words = (*HALVE, "-q", "--max-pixels", 1_000_000, f"in.{suffix}", f"out.{suffix}")
    code, memory, _ = peak(tmp_path, *words)

    assert code == 0
    assert memory < usual_peak + ROOM + BYTES_A_PIXEL * 1_000_000 < usual_peak + 60 * 3_000_000


def film_of_glass() -> bytes:
    """An animated PNG whose frames are half-transparent, one over the other."""
    first, *others = (Image.fromarray(noise("RGBA", (1000, 1000), seed)) for seed in range(3))
    return saved(first, "PNG", save_all=True, append_images=others, blend=1, compress_level=1)


def plain_pixmap() -> bytes:
    """A PPM in words, of a maxval that Pillow would rescale."""
    words = b" ".join(b"%d" % value for value in noise("RGB", (1000, 1000)).ravel().tolist())
    return b"P3 1000 1000 1000 " + words


@pytest.mark.parametrize(("suffix", "paint_it"), [("png", film_of_glass), ("ppm", plain_pixmap)])
def test_memory_is_bounded_where_pixels_are_reckoned_with(
    tmp_path: Path, usual_peak: int, suffix: str, paint_it: Callable[[], bytes]
) -> None:
    octets = paint_it()
    (tmp_path / f"in.{suffix}").write_bytes(octets)
    words = (*HALVE, "-q", "--max-pixels", 1_000_000, f"in.{suffix}", f"out.{suffix}")
    code, memory, _ = peak(tmp_path, *words)

    assert code == 0
    assert memory < usual_peak + ROOM + BYTES_A_PIXEL * 1_000_000 + len(octets)


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
def test_no_program_is_run_for_a_strangers_file(tmp_path: Path, octets: bytes) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin64c", "djpeg", "cjpeg", "convert", "ppmtogif", "open", "xdg-open"):
        (programs / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
        (programs / name).chmod(0o755)
    suffixes = ("eps", "ps", "pdf", "png", "jpg", "tif", "gif", "webp", "ppm", "avif", "npy")
    for suffix in suffixes:
        (tmp_path / f"in.{suffix}").write_bytes(octets)
    named = [f"in.{suffix}" for suffix in suffixes]
    path = os.pathsep.join((str(programs), os.environ["PATH"]))
    words = (*HALVE, "-q", "--format", "png", "--name", "{stem}-{ext}", "--json", *named, "out")
    done = run_after("", *words, cwd=tmp_path, variables={"PATH": path})

    assert done.returncode == 1
    assert statuses(done) == dict.fromkeys(named, "failed")
    assert not (tmp_path / "ran").exists()


# Systems that have less


POOR: Final = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in (
    "sync O_NOCTTY O_NONBLOCK O_NOFOLLOW link fchmod fchown sched_getaffinity "
    "set_blocking geteuid"
).split():
    delattr(os, name)
import multiprocessing.util
del signal.pthread_sigmask
import multiprocessing
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""
NO_MOVES_OF_OPEN_FILES: Final = """
def refusing(real):
    def call(name, *more, **options):
        if os.path.realpath(name) in {os.path.realpath(f"/proc/self/fd/{one}")
                                      for one in os.listdir("/proc/self/fd")}:
            raise PermissionError(13, "it is open")
        return real(name, *more, **options)
    return call
os.replace, os.unlink = refusing(os.replace), refusing(os.unlink)
"""


@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--preserve",), ("--skip-existing",)])
@pytest.mark.parametrize("inputs", [["in/a.png", "out/a.png"], ["in", "out"]], ids=len)
@pytest.mark.parametrize("more", ["", NO_MOVES_OF_OPEN_FILES], ids=["poor", "like Windows"])
def test_a_poor_system_still_writes(
    tmp_path: Path, flags: tuple[str, ...], inputs: list[str], more: str
) -> None:
    paint_all(tmp_path / "in", "a.png", "sub/b.tif")
    (tmp_path / "out").mkdir()
    if "--overwrite" in flags:
        (tmp_path / "out/a.png").write_bytes(b"old")
    run_after("", *HALVE, "in", "expected", cwd=tmp_path)
    done = run_after(POOR + more, *HALVE, *flags, "-q", *inputs, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, b"")
    written = contents(tmp_path / "out")
    assert written == {place: contents(tmp_path / "expected")[place] for place in written}
    assert len(written) == (2 if inputs == ["in", "out"] else 1)


def test_workers_work_on_a_poor_system(tmp_path: Path) -> None:
    paint_all(tmp_path / "in", "a.png", "b.png", "c.png")
    (tmp_path / "in/b.png").write_text("no picture")
    done = run_after(POOR, *HALVE, *FORCE, "--json", "in", "out", cwd=tmp_path)

    assert statuses(done) == {"a.png": "done", "b.png": "failed", "c.png": "done"}


def test_an_existing_file_is_not_clobbered_on_a_poor_system(tmp_path: Path) -> None:
    paint(tmp_path / "in.png")
    appears = """
import poolcli.run
begin = poolcli.run.open_writer
def slow(*words):
    open("out.png", "wb").write(b"somebody else's")
    return begin(*words)
poolcli.run.open_writer = slow
"""
    done = run_after(POOR + appears, *HALVE, "-q", "in.png", "out.png", cwd=tmp_path)

    assert done.returncode == 1
    assert (tmp_path / "out.png").read_bytes() == b"somebody else's"
    assert places(tmp_path) == {"in.png", "out.png"}


# Load


def test_the_load_benchmark_keeps_its_bounds_on_a_small_scale() -> None:
    script = Path(__file__).parent.parent / "benchmarks/load.py"
    done = subprocess.run(
        [sys.executable, script, "--scale", "0.002"], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert done.stdout.decode().count("| yes |") >= 9
