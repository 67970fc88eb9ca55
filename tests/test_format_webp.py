"""WebP: loss only where there was some, alpha and durations as the chunks state them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, WebPImagePlugin

from poolcli.errors import PoolError
from poolcli.formats import by_name
from poolcli.formats.contract import open_writer
from poolcli.formats.refusals import Refusing
from poolcli.formats.saving import Saving
from poolcli.picture import Encoding, Picture, Stored, turned
from tests.exif_support import TURN, exif_block, number
from tests.jobs import run, work
from tests.pictures import (
    decoded,
    encoded,
    first_info,
    noise,
    noisy,
    opened,
    picture,
    pictures_in,
    push,
    reader_of,
    saved,
    written,
)

COLOUR, COLOUR_ALPHA = Stored("unsigned", 8, 255, 3), Stored("unsigned", 8, 255, 4)


def images(count: int, mode: str = "RGB", shape: tuple[int, int] = (12, 16)) -> list[Image.Image]:
    return [Image.fromarray(noise(mode, shape, seed)) for seed in range(count)]


def animation(durations: Iterable[int], mode: str = "RGB", **more: Any) -> bytes:
    lasts = list(durations)
    first, *others = images(len(lasts), mode)
    more = {"lossless": True, "loop": 0, "duration": lasts, **more}
    return saved(first, "WEBP", save_all=True, append_images=others, **more)


# Loss


def test_it_is_lossless_unless_the_source_or_the_user_says_otherwise() -> None:
    for lossy, saving, kind in (
        (False, Saving(), b"VP8L"),
        (True, Saving(), b"VP8 "),
        (False, Saving(quality=70), b"VP8 "),
        (True, Saving(quality=70), b"VP8 "),
        (True, Saving(options=(("lossless", "yes"),)), b"VP8L"),
        (False, Saving(options=(("lossless", "no"),)), b"VP8 "),
    ):
        given = noisy("RGB", encoding=Encoding("anything", lossy=lossy))
        assert encoded(given, "webp", saving)[12:16] == kind


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0VP8 "])
def test_a_source_is_lossy_if_its_pixels_are(exif: bytes, lossy: bool) -> None:
    more: dict[str, Any] = {"lossless": not lossy, "exif": exif}
    assert first_info(saved(images(1)[0], "WEBP", **more)).encoding == Encoding("webp", lossy)
    assert first_info(animation([10, 20], **more)).encoding.lossy == lossy
    for pillow in ("PNG", "TIFF", "GIF", "BMP", "JPEG", "AVIF"):
        found = first_info(saved(images(1)[0], pillow)).encoding
        assert found.lossy == (pillow in ("JPEG", "AVIF"))


def test_colours_that_cannot_be_seen_are_kept_and_full_alpha_is_none() -> None:
    array = noise("RGBA")
    array[..., 3] = np.arange(35).reshape(5, 7) % 3
    octets = encoded(picture(array, "RGBA"), "webp")
    assert octets[12:16] == b"VP8L"
    np.testing.assert_array_equal(np.asarray(opened(octets)), array)
    array[..., 3] = 255
    found = decoded(encoded(picture(array, "RGBA"), "webp"))
    assert (found.info.mode, found.info.stored) == ("RGB", COLOUR)


# Headers


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("exif", [b"", exif_block(number(TURN, 1))], ids=["plain", "extended"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_alpha_is_as_the_header_states(mode: str, exif: bytes, lossless: bool) -> None:
    more: dict[str, Any] = {"lossless": lossless, "exif": exif}
    still, moving = saved(images(1, mode)[0], "WEBP", **more), animation([10, 20], mode, **more)
    for octets in (still, moving):
        found = decoded(octets)
        assert found.info.mode == mode == opened(octets).mode
        assert found.info.stored == (COLOUR_ALPHA if mode == "RGBA" else COLOUR)
        assert found.info.shape == (12, 16, len(mode))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What Pillow decodes, one number for each frame."""
    seen: list[int] = []
    step = WebPImagePlugin.WebPImageFile._get_next

    def noted(self: WebPImagePlugin.WebPImageFile) -> Any:
        seen.append(len(seen))
        return step(self)

    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "_get_next", noted)
    return seen


@pytest.mark.parametrize("durations", [[10, 20], [0, 7, 100_000], [40] * 5, [16_777_215, 1]])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_durations_are_those_of_decoding(durations: list[int], mode: str, loads: list[int]) -> None:
    octets = animation(durations, mode)
    reader = reader_of(octets)
    found = [frame.info.duration for frame in reader.frames()]
    assert loads == []
    seen, image = [], opened(octets)
    for at in range(len(durations)):
        image.seek(at)
        image.load()
        seen.append(image.info["duration"])
    assert found == seen == durations
    assert reader.count == len(durations)


def test_only_frames_that_are_asked_for_are_decoded_and_none_is_kept(loads: list[int]) -> None:
    reader = reader_of(animation([10, 20, 30, 40]))
    for at, frame in enumerate(reader.frames()):
        if at in (1, 2):
            whole = frame.rows(0, 12)
            np.testing.assert_array_equal(whole[3:5], frame.rows(3, 5))
            np.testing.assert_array_equal(whole, noise("RGB", (12, 16), at))
    assert loads == [0, 1, 2]
    assert not [one for one in vars(reader).values() if isinstance(one, ImageFile.ImageFile)]


def test_a_single_frame_of_an_animation_is_a_still() -> None:
    octets = bytearray(animation([10, 20]))
    second = octets.index(b"ANMF", octets.index(b"ANMF") + 4)
    octets[4:8] = (second - 8).to_bytes(4, "little")
    reader = reader_of(bytes(octets[:second]))
    (frame,) = reader.frames()
    assert reader.count == 1
    assert frame.info.duration == 0


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_all_frames_are_turned_upright(turn: int) -> None:
    octets = animation([10, 20], exif=exif_block(number(TURN, turn)))
    found = list(pictures_in(octets))
    for seed, one in enumerate(found):
        np.testing.assert_array_equal(one.array, turned(noise("RGB", (12, 16), seed), turn))
        assert one.info.notes == ("it was turned upright",)
    assert TURN not in opened(written(found, "webp")[0]).getexif()


# Limits


def claiming(octets: bytes, side: int) -> bytes:
    """The same with a canvas of another size in its extended header."""
    changed = bytearray(octets)
    assert changed[12:16] == b"VP8X"
    changed[24:30] = 2 * (side - 1).to_bytes(3, "little")
    return bytes(changed)


@pytest.mark.parametrize("more", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}])
def test_a_canvas_over_the_limit_is_never_allocated(more: Any, monkeypatch: Any) -> None:
    octets = saved(images(1)[0], "WEBP", **more)
    reader_of(octets, 12 * 16)
    monkeypatch.setattr(WebPImagePlugin, "_webp", None)
    for bomb in (octets, *([claiming(octets, 16_000)] if "exif" in more else [])):
        with pytest.raises(PoolError, match="--max-pixels"):
            reader_of(bomb, 12 * 16 - 1)


def test_pillows_own_limit_is_named_where_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = saved(images(1)[0], "WEBP")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    with (
        pytest.raises(PoolError, match=r"PIL\.Image\.MAX_IMAGE_PIXELS") as refusal,
        Refusing("it can't be decoded"),
    ):
        decoded(octets)
    assert "None" in refusal.value.remedy
    for kind in (Image.DecompressionBombError, Image.DecompressionBombWarning):
        with pytest.raises(PoolError, match="MAX_IMAGE_PIXELS"), Refusing("it can't be read"):
            raise kind("too large")


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_a_pillow_that_was_built_without_a_format_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = {"webp": WebPImagePlugin, "avif": __import__("PIL.AvifImagePlugin").AvifImagePlugin}
    octets = encoded(noisy("RGB"), name)
    monkeypatch.setattr(plugin[name], "SUPPORTED", False)
    for source, target in ((octets, "png"), (encoded(noisy("RGB"), "png"), name)):
        (tmp_path / "in").write_bytes(source)
        outcome = run(tmp_path / "in", tmp_path / "out", target, work(size=1))
        assert outcome.error == f"this Pillow was built without {by_name(name).title}"
        assert outcome.remedy
        assert not (tmp_path / "out").exists()


# Animations are written as they come


def frames_of(count: int) -> list[Picture]:
    third, shape = Fraction(100, 3), (12, 16)
    return [picture(noise("RGB", shape, seed), "RGB", duration=third) for seed in range(count)]


@pytest.mark.parametrize("name", ["webp", "avif"])
@pytest.mark.parametrize("count", [1, 4])
def test_frames_whose_number_only_the_end_tells_are_written_the_same(name: str, count: int) -> None:
    frames, buffer = frames_of(count), BytesIO()
    octets, notes = written(frames, name)
    assert push(open_writer(buffer, by_name(name), Saving(), None), frames) == notes
    found, wanted = (list(pictures_in(one)) for one in (buffer.getvalue(), octets))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
    assert [one.info.duration for one in found] == ([33, 34, 33, 33] if count > 1 else [0])


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_frames_are_written_the_same_if_no_thread_can_be_started(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    wanted = written(frames_of(4), name)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert written(frames_of(4), name) == wanted


@pytest.mark.parametrize("name", ["webp", "avif"])
def test_what_an_encoder_raises_comes_out_where_frames_are_pushed(name: str) -> None:
    frames = frames_of(4)
    writer = open_writer(BytesIO(), by_name(name), Saving(), 4)
    frames[1] = picture(noise("RGB", (5, 5)), "RGB")  # all frames have one size
    with pytest.raises((ValueError, OSError, RuntimeError)):
        push(writer, frames)
    writer.discard()


def test_a_canvas_smaller_than_its_frame_is_refused_without_decoding(tmp_path: Path) -> None:
    octets = bytearray(saved(Image.new("RGBA", (300, 200), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0"))
    assert octets[12:16] == b"VP8X"
    octets[24:30] = bytes((15, 0, 0)) * 2
    (tmp_path / "in").write_bytes(octets)
    outcome = run(tmp_path / "in", tmp_path / "out", "png")
    assert outcome.error == "it can't be decoded: its data are damaged"
