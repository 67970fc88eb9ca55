"""What is no picture of ours, or only begins like one; and real pictures, as Pillow shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from poolcli.errors import PoolError
from poolcli.formats import by_content
from poolcli.picture import turned
from tests.pictures import decoded, first_info, noise, opened, reader_of, saved
from tests.support.processes import Run, linux_only
from tests.support.trees import SAMPLES

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
NO_PICTURES = {
    "nothing": b"",
    "text": b"Dear Sir or Madam,\n",
    "one byte": b"\0",
    "zeros": bytes(5000),
    "all bytes": bytes(range(256)) * 40,
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a PDF": b"%PDF-1.7\n",
    "a PNG's signature": b"\x89PNG\r\n\x1a\n",
    "a JPEG's first marker": b"\xff\xd8\xff",
    "a RIFF of sound": b"RIFF\x24\0\0\0WAVEfmt ",
    "a TIFF without tags": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    "a TIFF that points at nothing": b"II*\0\0\0\0\0",
    "a PNM without numbers": b"P6\n# nothing else",
}


@pytest.mark.parametrize("octets", NO_PICTURES.values(), ids=NO_PICTURES)
def test_what_is_no_picture_is_refused_with_a_remedy(octets: bytes) -> None:
    with pytest.raises(PoolError) as refusal:
        first_info(octets)
    assert refusal.value.remedy
    assert octets or "the file is empty" in refusal.value.message


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"Dear Sir or Madam,\n", "it is text, not a picture"),
        ("J\u00fcrgen, ".encode() * 6, "it is text, not a picture"),
        (b"%PDF-1.7\n", "it is no picture of a known format, but looks like a PDF"),
        (b"8BPS\0\1", "but looks like a Photoshop picture"),
        (b"<svg xmlns='x'/>", "but looks like XML or SVG"),
        (b"\0\0\0\x14ftypqt  ", "but looks like a video"),
        (b"\xff\xd8\xff\xe0", "its frame header is missing"),
        (b"\0\0\0 ftypavif" + bytes(50), "it looks like AVIF, but its data are damaged"),
        (bytes(50), "it is no picture of a known format"),
    ],
)
def test_what_a_file_looks_like_is_told(octets: bytes, words: str) -> None:
    with pytest.raises(PoolError) as refusal:
        reader_of(octets)
    assert words in refusal.value.message


@pytest.mark.parametrize("pillow", ["PDF", "ICO", "JPEG2000", "TGA", "EPS", "PCX", "SGI"])
def test_other_formats_are_not_opened_even_where_pillow_can(pillow: str) -> None:
    with pytest.raises(PoolError, match="no picture of a known format"):
        reader_of(saved(Image.fromarray(noise("RGB", (20, 20))), pillow))


@pytest.mark.parametrize("prefix", TiffImagePlugin.PREFIXES)
def test_every_head_of_a_tiff_that_pillow_takes_is_read(prefix: bytes) -> None:
    by_content(prefix)
    array = noise("RGB", (4, 5))
    octets = saved(Image.fromarray(array), "TIFF", big_tiff=43 in prefix)
    if prefix[:2] == b"II":
        np.testing.assert_array_equal(decoded(prefix + octets[4:]).array, array)


@pytest.fixture
def ghost(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose `gs` leaves a marker, beside an EPS under the name of a PNG."""
    (tmp_path / "picture.png").write_bytes(EPS)
    fake = tmp_path / "programs" / "gs"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho ran >> '{tmp_path / 'marker'}'\nexit 1\n")
    fake.chmod(0o755)
    return {"PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}


@linux_only
def test_an_eps_never_runs_ghostscript_as_pillow_left_to_itself_would(
    tmp_path: Path, run: Run, ghost: dict[str, str]
) -> None:
    done = run("max", "--size", 2, "picture.png", "out.png", environment=ghost)
    assert done.returncode == 1
    assert b"no picture of a known format" in done.stderr
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out.png").exists()
    code = "from PIL import Image; Image.open('picture.png').load()"
    command, environment = [sys.executable, "-c", code], {**os.environ, **ghost}
    by_pillow = subprocess.run(command, check=False, cwd=tmp_path, env=environment, timeout=60)
    assert by_pillow.returncode == 1
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.glob("*.[pj][np]g")))
def test_a_sample_picture_is_decoded_as_pillow_shows_it(sample: str) -> None:
    octets = (SAMPLES / sample).read_bytes()
    found, image = decoded(octets), opened(octets)
    pixels = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
    shown = turned(pixels, image.getexif().get(274, 1))
    np.testing.assert_array_equal(found.array, shown[..., : found.array.shape[-1]])
