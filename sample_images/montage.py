"""Make pooled.png, the README's first picture; run `python sample_images/montage.py`.

Each row shows a part of a sample picture, and what each method keeps of it, enlarged again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import poolcli
from poolcli.methods import METHODS

HERE: Final = Path(__file__).parent
PANEL: Final = 144
GAP: Final = 8
TITLE: Final = 26
SIZE: Final = 3
PARTS: Final = {
    "text.png": (14, 20),
    "scene.jpg": (560, 240),
    "chart.png": (268, 28),
    "labels.png": (16, 26),
    "pixelart.png": (0, 0),
}
"""The left and top corner of what is shown of each sample."""

SPECKLED: Final = "scene.jpg"
"""The sample to which specks are added, such as dust and dead pixels make."""


def part_of(name: str) -> Image.Image:
    """Return one panel's worth of a sample, in the sample's own mode."""
    left, top = PARTS[name]
    with Image.open(HERE / name) as image:
        part = image.crop((left, top, left + PANEL, top + PANEL))
    if name == SPECKLED:
        rng = np.random.default_rng(1)
        chance = rng.random((PANEL, PANEL, 1))
        pixels = np.where(chance < 0.02, 0, np.where(chance > 0.98, 255, np.asarray(part)))
        part = Image.fromarray(pixels.astype(np.uint8))
    return part


def panels(name: str) -> list[Image.Image]:
    """Return the part as it is, and as the command pools it by each method, at one size."""
    part, side = part_of(name), (PANEL, PANEL)
    shown = [part.convert("RGB")]
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.png", f"{folder}/out.png"
        part.save(source)
        for row in METHODS:
            poolcli.pool_file(source, target, row.name, SIZE, overwrite=True)
            with Image.open(target) as pooled:
                shown.append(pooled.convert("RGB").resize(side, Image.Resampling.NEAREST))
    return shown


def main() -> None:
    """Lay the panels out and save them."""
    titles = ["before", *(f"{row.name} --size {SIZE}" for row in METHODS)]
    step = PANEL + GAP
    sheet = Image.new("RGB", (len(titles) * step + GAP, len(PARTS) * step + TITLE + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for column, title in enumerate(titles):
        draw.text((GAP + column * step, GAP // 2), title, "black", font)
    for row, name in enumerate(PARTS):
        for column, panel in enumerate(panels(name)):
            sheet.paste(panel, (GAP + column * step, TITLE + GAP + row * step))
    sheet.quantize(256, dither=Image.Dither.NONE).save(HERE / "pooled.png", optimize=True)


if __name__ == "__main__":
    main()
