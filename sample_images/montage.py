"""Make pooled.png, the README's first picture; run `python sample_images/montage.py`.

Each row shows a part of a sample picture, then what max, min and avg keep of it, enlarged again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import poolcli

HERE: Final = Path(__file__).parent
PANEL: Final = (216, 144)
GAP: Final = 8
TITLE: Final = 26
SIZE: Final = 3
POOLS: Final = {"max": poolcli.max_pool, "min": poolcli.min_pool, "avg": poolcli.avg_pool}
PARTS: Final = {"text.png": (14, 20), "scene.jpg": (560, 240), "chart.png": (268, 28)}
"""The left and top corner of what is shown of each sample."""


def part_of(name: str) -> NDArray[np.uint8]:
    """One panel's worth of a sample, (H, W, 3)."""
    left, top = PARTS[name]
    width, height = PANEL
    with Image.open(HERE / name) as image:
        return np.asarray(image.convert("RGB"))[top : top + height, left : left + width]


def panels(name: str) -> list[NDArray[np.uint8]]:
    """The part as it is, and pooled by each method, at one size."""
    part = part_of(name)
    pooled = (pool(part, SIZE) for pool in POOLS.values())
    return [part, *(one.repeat(SIZE, axis=0).repeat(SIZE, axis=1) for one in pooled)]


def main() -> None:
    """Lay the panels out and save them."""
    titles = ["before", *(f"{name} --size {SIZE}" for name in POOLS)]
    width = len(titles) * (PANEL[0] + GAP) + GAP
    height = len(PARTS) * (PANEL[1] + GAP) + TITLE + GAP
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for column, title in enumerate(titles):
        left = GAP + column * (PANEL[0] + GAP)
        draw.text((left, GAP // 2), title, "black", font)
        for row, name in enumerate(PARTS):
            sheet.paste(
                Image.fromarray(panels(name)[column]), (left, TITLE + GAP + row * (PANEL[1] + GAP))
            )
    sheet.quantize(256, dither=Image.Dither.NONE).save(HERE / "pooled.png", optimize=True)


if __name__ == "__main__":
    main()
