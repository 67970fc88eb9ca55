"""Several pictures in a row: in a pipe each is pooled and written as it comes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from poolcli.formats import by_name
from poolcli.plan import Job
from poolcli.run import run_job
from poolcli.storage import place_at
from tests.contract_support import peak_growth
from tests.jobs import work
from tests.pictures import MAXVAL, encoded, noise, noisy, opened, pam, pnm, saved
from tests.support.processes import POOLCLI, Run, environment, finish, held, started
from tests.support.tools import needs

PNMFILE = shutil.which("pnmfile") or ""
FFMPEG = shutil.which("ffmpeg") or ""
TAKE = ("max", "-k", 1)
GREY, COLOUR, DEEP = noise("L", (4, 6)), noise("RGB", (6, 4)), noise("L;M", (3, 5))
BITS = b"P4\n8 2\n\xaa\x55"
IN_A_ROW = {
    "three of one kind": [pnm(5, 255, noise("L", (4, 6), seed)) for seed in range(3)],
    "of all kinds": [
        pnm(5, 255, GREY),
        pnm(6, 255, COLOUR),
        BITS,
        pnm(5, MAXVAL, DEEP),
    ],
    "with alpha": [
        pam("RGBA", 255, noise("RGBA")),
        pam("LA;16", 65535, noise("LA;16")),
        pam("1", 1, noise("1")),
    ],
}
rows_of_pictures = pytest.mark.parametrize("pictures", IN_A_ROW.values(), ids=IN_A_ROW)


def halved(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = array.shape[0] // 2, array.shape[1] // 2
    blocks = array.reshape(height, 2, width, 2, -1)
    return np.asarray(blocks.max((1, 3)), np.uint8)


@rows_of_pictures
@pytest.mark.parametrize("through", ["a file", "a pipe"])
def test_all_pictures_come_out_in_their_order(
    pictures: list[bytes], through: str, run: Run, tmp_path: Path
) -> None:
    source = tmp_path / "in.pnm"
    source.write_bytes(b"".join(pictures))
    if through == "a file":
        done = run(*TAKE, source, "out.pam" if pictures[0].startswith(b"P7") else "out.pnm")
        result = next(tmp_path.glob("out.*")).read_bytes()
    else:
        done = run(*TAKE, "-", "-", input=source.read_bytes())
        result = done.stdout
    assert done.returncode == 0, done.stderr
    assert result == source.read_bytes()


@needs("pnmfile")
def test_netpbm_sees_every_picture(run: Run, tmp_path: Path) -> None:
    pictures = b"".join(IN_A_ROW["of all kinds"])
    done = run("max", "-k", 2, "-", "-", input=pictures)
    (tmp_path / "out").write_bytes(done.stdout)
    seen = subprocess.run(
        [PNMFILE, "-allimages", tmp_path / "out"], capture_output=True, text=True, check=True
    )
    kinds = [line.partition("\t")[2] for line in seen.stdout.splitlines()]
    for line, words in zip(
        kinds,
        ["PGM raw, 3 by 2", "PPM raw, 2 by 3", "PBM raw, 4 by 1", "PGM raw, 2 by 1"],
        strict=True,
    ):
        assert words in line


FIRST, SECOND = (pnm(6, 255, noise("RGB", (40, 60), seed)) for seed in (1, 2))
WANTED = [pnm(6, 255, halved(noise("RGB", (40, 60), seed))) for seed in (1, 2)]


def test_a_picture_is_out_before_the_next_is_in(tmp_path: Path) -> None:
    pipes: Any = {"stdin": subprocess.PIPE, "bufsize": 0}
    with started("max", "-k", 2, "-", "-", cwd=tmp_path, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for octets, wanted in zip((FIRST, SECOND), WANTED, strict=True):
            process.stdin.write(octets)
            assert read_exactly(process.stdout.fileno(), len(wanted)) == wanted
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait() == 0


def test_fifos_stay_open_between_the_pictures(tmp_path: Path) -> None:
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    words = ("max", "-k", 2, "--format", "ppm", "in", "out")
    with started(*words, cwd=tmp_path) as process, held(tmp_path / "in") as writes:
        os.write(writes, FIRST)
        reads = os.open(tmp_path / "out", os.O_RDONLY)
        assert read_exactly(reads, len(WANTED[0])) == WANTED[0]
        os.write(writes, SECOND + b"P")  # a picture that is cut off
        assert read_exactly(reads, len(WANTED[1])) == WANTED[1]
        os.close(reads)
        assert process.poll() is None


def read_exactly(descriptor: int, count: int) -> bytes:
    found = b""
    while len(found) < count and (part := os.read(descriptor, count - len(found))):
        found += part
    return found


def test_memory_does_not_grow_with_the_number_of_pictures() -> None:
    picture = pnm(6, 255, noise("RGB", (500, 700)))
    reads, writes = os.pipe()

    def feed() -> None:
        with open(writes, "wb") as stream:
            for _ in range(100):
                stream.write(picture)

    def pool_all() -> None:
        job = Job(place_at(f"/dev/fd/{reads}"), place_at("/dev/null"), by_name("ppm"))
        outcome = run_job(job, work())
        assert (outcome.status, outcome.taken) == ("done", 100), outcome.error

    feeder = Thread(target=feed)
    feeder.start()
    assert peak_growth(pool_all) < 10 * len(picture)
    feeder.join()
    os.close(reads)


@needs("ffmpeg")
def test_ffmpeg_sends_and_takes_them(tmp_path: Path) -> None:
    source = "testsrc2=size=64x48:rate=5:duration=2"
    quiet = f"{FFMPEG} -v error -nostdin"
    pool = f"{sys.executable} {' '.join(POOLCLI[1:])} avg --size 2 - -"
    line = (
        f"{quiet} -f lavfi -i {source} -f image2pipe -c:v ppm - | {pool} | "
        f"{quiet} -f image2pipe -i - -f rawvideo -pix_fmt rgb24 out.rgb"
    )
    subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "out.rgb").stat().st_size == 10 * 32 * 24 * 3


@pytest.mark.parametrize("through", ["a file", "a pipe"])
def test_a_format_of_one_picture_needs_frame(through: str, run: Run, tmp_path: Path) -> None:
    pictures = b"".join(IN_A_ROW["of all kinds"])
    (tmp_path / "in.pnm").write_bytes(pictures)
    given: Any = ("in.pnm", {}) if through == "a file" else ("-", {"input": pictures})
    done = run(*TAKE, given[0], "out.png", **given[1])
    assert done.returncode == 1
    assert b"PNG can't hold pages" in done.stderr
    assert b"give --frame N" in done.stderr
    assert not (tmp_path / "out.png").exists()
    assert run(*TAKE, "--frame", 1, given[0], "out.png", **given[1]).returncode == 0
    np.testing.assert_array_equal(opened((tmp_path / "out.png").read_bytes()), COLOUR)
    done = run(*TAKE, "--frame", 4, given[0], "none.png", **given[1])
    assert done.returncode == 1
    assert b"it has 4, numbered 0 to 3" in done.stderr
    assert run(*TAKE, given[0], "all.tif", **given[1]).returncode == 1  # TIFF has no such depth


def test_a_stream_of_one_picture_goes_into_any_format(run: Run, tmp_path: Path) -> None:
    assert run(*TAKE, "-", "out.png", input=pnm(6, 255, COLOUR)).returncode == 0
    np.testing.assert_array_equal(opened((tmp_path / "out.png").read_bytes()), COLOUR)
    row = b"".join(IN_A_ROW["three of one kind"])
    assert run(*TAKE, "-", "out.tif", input=row).returncode == 0
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert len(file.pages) == 3


DAMAGED = {
    "samples are missing": (pnm(5, 255, GREY)[:-1], "it ends after 23 of 24 samples"),
    "its header is cut": (b"P6\n4", "its header can't be read"),
    "a sample is too large": (b"P5 1 1 7\n\x09", "above maxval 7"),
    "it is of another format": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture in PNG follows"),
}


@pytest.mark.parametrize(("bad", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_picture_ends_the_stream_after_a_whole_one(
    bad: bytes, words: str, run: Run, tmp_path: Path
) -> None:
    good = pnm(5, 255, GREY) + BITS
    done = run(*TAKE, "-", "-", input=good + bad)
    assert (done.returncode, done.stdout) == (1, good)
    assert words.encode() in done.stderr
    assert run(*TAKE, "-", "out.pnm", input=good + bad).returncode == 1
    assert not (tmp_path / "out.pnm").exists()
    (tmp_path / "in.pnm").write_bytes(good + bad)
    done = run(*TAKE, "--frame", 1, "in.pnm", "out.pnm")  # the others are as they were
    assert (done.returncode, (tmp_path / "out.pnm").read_bytes()) == (0, BITS)


@pytest.mark.parametrize("first", ["P2 1 1 9\n7\n", "P5 1 1 9\n\x07", "Pf 1 1 -1\n\0\0\0\0"])
@pytest.mark.parametrize("through", ["a file", "a pipe"])
def test_other_bytes_behind_the_last_picture_are_left_out_with_a_warning(
    first: str, through: str, run: Run, tmp_path: Path
) -> None:
    for rest, is_told in ((b"", False), (b"\n \n", False), (b"more", True)):
        (tmp_path / "in.pnm").write_bytes(first.encode() + rest)
        given: Any = (
            ("in.pnm", {}) if through == "a file" else ("-", {"input": first.encode() + rest})
        )
        done = run(*TAKE, "-q", "-f", given[0], "out.npy", **given[1])
        assert (done.returncode, done.stderr) == (0, b"")
        done = run(*TAKE, "-f", given[0], "out.npy", **given[1])
        assert (b"bytes that follow the last picture were left out" in done.stderr) == is_told


def test_a_dry_run_does_not_wait_for_more_than_a_header(tmp_path: Path) -> None:
    streams: Any = {"stdin": subprocess.PIPE}
    with started(*TAKE, "--dry-run", "-v", "-", "-", cwd=tmp_path, **streams) as process:
        assert process.stdin is not None
        process.stdin.write(b"P5\n600 400\n255\n....")
        process.stdin.flush()
        assert process.wait() == 0
        assert b"400\xc3\x97600" in finish(process).stderr


def tiff(kind: str) -> Callable[[int], bytes]:
    def make(seed: int) -> bytes:
        buffer = BytesIO()
        pixels, big = noise("RGB", (41, 37), seed), kind.startswith("big")
        if kind == "Pillow":
            return encoded(noisy("RGB", (41, 37), seed), "tiff")
        more: Any = {"compression": "zlib", "tile": (16, 16)} if kind == "big tiles" else {}
        tifffile.imwrite(buffer, pixels, photometric="rgb", bigtiff=big, **more)
        return buffer.getvalue()

    return make


def jxl(seed: int) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(noise("RGB", (9, 8), seed), lossless=True, level=None))


def jpeg(progressive: bool) -> Callable[[int], bytes]:
    return lambda seed: saved(
        Image.fromarray(noise("RGB", (40, 8), seed)), "JPEG", progressive=progressive
    )


ONE_AND_ONE: dict[str, tuple[Callable[[int], bytes], Callable[[int], bytes]]] = {
    **{f"TIFF by {kind}": (tiff(kind),) * 2 for kind in ("Pillow", "tifffile", "big tiles")},
    "JPEG XL": (jxl, jxl),
    "JPEG and PNG": (jpeg(False), lambda seed: encoded(noisy("L", (8, 8), seed), "png")),
    "progressive JPEG and GIF": (jpeg(True), lambda seed: encoded(noisy("L", (8, 8), seed), "gif")),
    "AVIF and JPEG": (lambda seed: encoded(noisy("RGB", (8, 8), seed), "avif"), jpeg(False)),
    "TIFF and JPEG XL": (tiff("Pillow"), jxl),
}


@pytest.mark.parametrize("names", ONE_AND_ONE)
def test_every_format_notices_a_picture_of_any_other_that_follows(
    names: str, run: Run, tmp_path: Path
) -> None:
    first, second = (make(seed) for seed, make in enumerate(ONE_AND_ONE[names]))
    done = run(*TAKE, "-", "-", input=first + second)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"follows in the stream; send one picture, or several in PNM" in done.stderr
    (tmp_path / "two").write_bytes(first + second)
    assert b"follows it and was left out" in run(*TAKE, "two", "two.npy").stderr
    done = run(*TAKE, "-", "one.npy", input=first)
    assert (done.returncode, b"follows" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp", "avif"])
def test_another_format_in_a_row_is_refused_in_a_pipe_and_told_of_a_file(
    name: str, run: Run, tmp_path: Path
) -> None:
    octets = [encoded(noisy("RGB", (8, 8), seed), name) for seed in (1, 2)]
    done = run(*TAKE, "-", "-", input=b"".join(octets))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"follows in the stream; send one picture, or several in PNM" in done.stderr
    (tmp_path / f"two.{name}").write_bytes(b"".join(octets))
    (tmp_path / f"one.{name}").write_bytes(octets[0] + b"no picture")
    for number, is_told in (("one", False), ("two", True)):
        done = run(*TAKE, f"{number}.{name}", f"{number}.npy")
        assert done.returncode == 0, done.stderr
        assert (b"follows it and was left out" in done.stderr) == is_told
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()
