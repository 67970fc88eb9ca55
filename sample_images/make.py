"""Make the sample pictures; run `python sample_images/make.py`.

NumPy and Pillow synthesise every one, from fixed seeds, so each run writes the same bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Field = NDArray[np.float64]
Indices = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Shape = tuple[int, int]
Colour = tuple[int, int, int]
Rng = np.random.Generator

GARISH: Colour = (255, 0, 255)
"""What invisible pixels hold: it must never bleed into a pooled picture."""


# Shared tools


def pixel_grid(shape: Shape) -> tuple[Field, Field]:
    """Return the y and x of every pixel's centre, as a column and a row that broadcast."""
    y, x = (np.arange(n, dtype=np.float64) + 0.5 for n in shape)
    return y[:, None], x[None, :]


def coverage(distance: Field) -> Field:
    """Return how much of each pixel is inside, where the signed distance is negative."""
    return np.clip(0.5 - distance, 0, 1)


def smoothstep(low: float, high: float, value: Field) -> Field:
    """Return a smooth step that is 0 at `low` (and beyond) and 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(below: ArrayLike, above: ArrayLike, amount: Field) -> Field:
    """Blend two colours, or arrays of colours, by a field of amounts."""
    start, end = np.asarray(below, np.float64), np.asarray(above, np.float64)
    return start + (end - start) * amount[..., None]


def to_bytes(values: Field) -> NDArray[np.uint8]:
    """Round values to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def as_field(grey: Image.Image) -> Field:
    """Return an 8-bit grey picture as numbers 0..1."""
    values: Field = np.asarray(grey, np.float64) / 255
    return values


def noise(shape: Shape, cells: Shape, octaves: int, rng: Rng) -> Field:
    """Return multi-octave noise, of mean 0 and deviation 1, that starts from `cells` blobs."""
    total: Field = np.zeros(shape)
    for octave in range(octaves):
        rows, columns = (min(n << octave, limit) for n, limit in zip(cells, shape, strict=True))
        lattice = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        smooth = lattice.resize(shape[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(smooth, np.float64) / 2**octave
    total -= total.mean()
    total /= total.std()
    return total


class Line(NamedTuple):
    """A line of text, placed by its left end and middle height."""

    x: int
    y: int
    size: int
    text: str


def lettering(shape: Shape, lines: Iterable[Line]) -> Field:
    """Return how much of each pixel the text's ink covers, 0..1."""
    ink = Image.new("L", shape[::-1], 0)
    draw = ImageDraw.Draw(ink)
    for x, y, size, text in lines:
        draw.text((x, y), text, fill=255, font=ImageFont.load_default(size), anchor="lm")
    return as_field(ink)


# chart.png

PANEL = 208


def zone_plate() -> Field:
    """Return rings that grow finer outwards, up to one pixel each at the rim."""
    y, x = pixel_grid((PANEL, PANEL))
    radius = np.hypot(x - PANEL / 2, y - PANEL / 2)
    rings = np.cos(np.pi * radius**2 / PANEL)
    return 128 + 127 * coverage(radius - PANEL / 2) * rings


def siemens_star(spokes: int = 36, fine: int = 8) -> Field:
    """Return black spokes that grow finer inwards, anti-aliased by `fine` samples a side."""
    side = PANEL * fine
    y, x = (v - side / 2 for v in pixel_grid((side, side)))
    white = np.cos(spokes * np.arctan2(y, x)) > 0
    star = np.where(np.hypot(x, y) < side / 2, np.where(white, 255, 0), 128)
    means: Field = star.reshape(PANEL, fine, PANEL, fine).mean(axis=(1, 3))
    return means


def checkerboards() -> Field:
    """Return checks of 1, 2, 4 and 8 pixels, a quarter of the panel each."""
    y, x = np.indices((PANEL // 2, PANEL // 2))
    one, two, four, eight = ((y // n + x // n) % 2 * 255.0 for n in (1, 2, 4, 8))
    return np.block([[one, two], [four, eight]])


def line_pairs() -> Field:
    """Return lines 1, 2, 3 and 4 pixels wide, upright above and level below."""
    y, x = np.indices((PANEL // 2, PANEL // 4))
    return np.block([[axis // n % 2 * 255.0 for n in (1, 2, 3, 4)] for axis in (x, y)])


def chart() -> Image.Image:
    """Draw the resolution chart: four framed panels, each with its label."""
    shape = (512, 512)
    page = np.full(shape, 236.0)
    panels = {
        "zone plate": zone_plate(),
        "Siemens star": siemens_star(),
        "checks of 1, 2, 4, 8 px": checkerboards(),
        "lines of 1, 2, 3, 4 px": line_pairs(),
    }
    labels = [Line(32, 16, 13, "poolcli resolution chart, 512 x 512")]
    corners = itertools.product((32, 272), repeat=2)
    for (top, left), (label, panel) in zip(corners, panels.items(), strict=True):
        page[top - 2 : top + PANEL + 2, left - 2 : left + PANEL + 2] = 0
        page[top : top + PANEL, left : left + PANEL] = panel
        labels.append(Line(left, top + PANEL + 14, 13, label))
    return Image.fromarray(to_bytes(page * (1 - lettering(shape, labels))))


# text.png

PROSE = (
    (31, "Which pixel survives?"),
    (20, "Max pooling keeps the brightest of each window:"),
    (17, "thin dark strokes on white paper fade and are gone."),
    (14, "Min pooling keeps the darkest: the same strokes grow bold."),
    (12, "Average pooling keeps neither, and leaves a soft grey ghost of both."),
    (24, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    (20, "abcdefghijklmnopqrstuvwxyz 0123456789"),
    (14, "ABCDEFGHIJKLM abcdefghijklm 0123456789 + - * / = % & ? !"),
    (11, "NOPQRSTUVWXYZ nopqrstuvwxyz 0123456789 ( ) [ ] { } < > @ # $"),
    (9, "The quick window strides over each row, and leaves one pixel where it found four."),
)


def stack(lines: Iterable[tuple[int, str]], left: int, top: int, leading: float) -> list[Line]:
    """Set lines of text one below the other, each as tall as its size times `leading`."""
    placed, y = [], float(top)
    for size, words in lines:
        placed.append(Line(left, round(y + size * leading / 2), size, words))
        y += size * leading
    return placed


def text() -> Image.Image:
    """Draw thin dark text on white, in sizes from easy to tiny."""
    ink = lettering((320, 480), stack(PROSE, left=20, top=18, leading=1.65))
    return Image.fromarray(to_bytes(255 - 235 * ink))


# scene.jpg

SCENE: Shape = (640, 960)
SHORE = 404
SUN = (318.0, 610.0)
SUNLIGHT = (420, 330, 225)  # brighter than white, so that the lake's mirror shows it well
DUSK: Sequence[tuple[float, Colour]] = (
    (0.0, (22, 34, 78)),
    (0.3, (62, 76, 136)),
    (0.55, (148, 118, 160)),
    (0.75, (238, 158, 132)),
    (0.9, (255, 204, 140)),
    (1.0, (255, 222, 168)),
)
RIDGES = (
    # base row, height, humps, haze
    (318, 62, 3, 0.66),
    (346, 42, 4, 0.46),
    (374, 30, 5, 0.26),
    (396, 16, 6, 0.10),
)


class Tree(NamedTuple):
    """A conifer, placed by the foot of its trunk."""

    x: float
    foot: float
    height: float


def ramp(position: Field, stops: Sequence[tuple[float, Colour]]) -> Field:
    """Return the colours of a gradient at each position."""
    places, colours = zip(*stops, strict=True)
    return np.stack([np.interp(position, places, c) for c in np.transpose(colours)], axis=-1)


def spots(shape: Shape, y: Field, x: Field, size: Field | float, light: Field | float) -> Field:
    """Return the sum of round soft spots of light."""
    rows, columns = pixel_grid(shape)
    down = np.exp(-(((rows - y) / size) ** 2)) * light
    along = np.exp(-(((columns.T - x) / size) ** 2))
    return down @ along.T


def recede(texture: Field, nearness: Field) -> Field:
    """Return the rows of a texture found at each row's nearness: 0 is the first, 1 the last."""
    rows = np.clip(nearness, 0, 1) * (len(texture) - 1)
    return texture.take(rows.astype(int).ravel(), axis=0)


def sky(rng: Rng) -> Field:
    """Paint the dusk sky: a gradient, stars, the sun and lit clouds."""
    y, x = pixel_grid(SCENE)
    light = ramp(np.broadcast_to(y / SHORE, SCENE), DUSK)
    far = np.hypot(y - SUN[0], x - SUN[1])
    count = 170
    stars = spots(
        SCENE,
        rng.random(count) ** 1.6 * 230,
        rng.random(count) * SCENE[1],
        rng.uniform(0.6, 1.0, count),
        20 + 235 * rng.random(count) ** 5,
    )
    light += stars[..., None]
    for reach, glow in ((420, (34, 8, -10)), (120, (60, 20, 0)), (42, (50, 32, 36))):
        light += np.exp(-far / reach)[..., None] * np.array(glow)
    light = clouds(np.minimum(light, 255), y, far, rng)
    return mix(light, SUNLIGHT, coverage((far - 21) / 2.5))


def clouds(light: Field, y: Field, far: Field, rng: Rng) -> Field:
    """Lay clouds over the sky, flatter towards the horizon and warmer towards the sun."""
    height = np.maximum(1 - y / SHORE, 0)
    puffs = recede(noise(SCENE, (7, 4), 7, rng)[::-1], 0.9 * height**0.6)
    lit = smoothstep(-0.9, 0.9, puffs - np.roll(puffs, -7, axis=0) + 0.1)
    warmth = np.exp(-far / 330)
    shade = mix((86, 84, 134), (226, 140, 122), warmth)
    gleam = mix((196, 158, 184), (255, 222, 160), warmth)
    amount = smoothstep(0.05, 1.7, puffs) * smoothstep(0, 60, y)
    return mix(light, shade + (gleam - shade) * lit[..., None], 0.85 * amount)


def mountains(picture: Field, rng: Rng) -> Field:
    """Stand ridges before the sky, each nearer, darker and less hazy than the last."""
    y, x = pixel_grid(SCENE)
    haze = mix((206, 158, 158), (255, 206, 150), np.exp(-np.abs(x - SUN[1]) / 260))
    for base, height, humps, veil in RIDGES:
        crest = base - height * (1 - np.abs(noise((1, SCENE[1]), (1, humps), 7, rng)))
        slopes = 0.022 * (1 - veil) * noise(SCENE, (30, 24), 5, rng)
        mist = veil + slopes + 0.4 * smoothstep(base - 1.2 * height, base + 60, y)
        rock = mix((30, 38, 70), haze, np.clip(mist, 0, 1))
        picture = mix(picture, rock, coverage(crest - y))
    return picture


def conifers(trees: Iterable[Tree], rng: Rng, fine: int = 3) -> Field:
    """Return how much of each pixel the trees cover, bough by drooping bough."""
    canvas = Image.new("L", (SCENE[1] * fine, SCENE[0] * fine), 0)
    draw = ImageDraw.Draw(canvas)
    for tree in trees:
        x, foot, height = (fine * v for v in tree)
        trunk = height * 0.012
        draw.polygon([(x, foot - height), (x - trunk, foot), (x + trunk, foot)], fill=255)
        for along in np.linspace(0.02, 0.93, int(10 + tree.height / 7)):
            for side in (-1, 1):
                reach = height * (0.015 + 0.2 * along**0.85) * rng.uniform(0.5, 1.1)
                top, thick = foot - height * (1 - along), height * rng.uniform(0.014, 0.03)
                tip = (x + side * reach, top + reach * rng.uniform(0.2, 0.5))
                draw.polygon([(x, top - thick), tip, (x, top + thick)], fill=255)
    small = canvas.resize((SCENE[1], SCENE[0]), Image.Resampling.BOX)
    return as_field(small)


def far_shore(picture: Field, rng: Rng) -> Field:
    """Line the far shore with small trees and a few lit windows."""
    places = rng.uniform(0, SCENE[1], 330)
    wood = noise((1, SCENE[1]), (1, 7), 3, rng)[0]
    trees = [Tree(x, SHORE + 1, rng.uniform(10, 21) * (1 + 0.35 * wood[int(x)])) for x in places]
    y, _ = pixel_grid(SCENE)
    picture = mix(picture, (24, 30, 46), np.maximum(conifers(trees, rng), coverage(SHORE - 4 - y)))
    x = np.array([238.0, 247.0, 262.0, 301.0, 318.0, 742.0, 760.0, 771.0])
    rows = np.full(x.shape, SHORE - 6.0) - np.array([0, 2, 0, 1, 0, 1, 0, 2])
    lamps = spots(SCENE, rows, x, 1.5, 1.3) + spots(SCENE, rows, x, 7, 0.22)
    picture += lamps[..., None] * np.array((255, 190, 96))
    return picture


def lake(picture: Field, rng: Rng) -> Field:
    """Fill the foot of the picture with its own reflection, rippled and sparkling."""
    y, x = pixel_grid(SCENE)
    below = np.maximum(y - SHORE, 0)
    ripples = recede(noise(SCENE, (80, 12), 4, rng), (below / (SCENE[0] - SHORE)) ** 0.45)
    mirror = np.clip(2 * SHORE - y + ripples * (0.6 + below * 0.055), 0, SHORE - 1).astype(int)
    aside = np.clip(x + ripples * below * 0.012, 0, SCENE[1] - 1).astype(int)
    reflection = picture[mirror, aside] * np.array((0.98, 0.88, 0.9))
    water = mix(reflection, (34, 34, 70), 0.06 + below / 420)
    path = np.exp(-(((x - SUN[1]) / (16 + below * 0.22)) ** 2)) * smoothstep(2, 40, below)
    water = mix(water, (255, 226, 170), 0.9 * path * smoothstep(0.4, 1.9, ripples))
    return mix(picture, water, coverage(SHORE - y))


def near_bank(picture: Field, rng: Rng) -> Field:
    """Frame the view with a dark bank and a few tall trees."""
    y, x = pixel_grid(SCENE)
    rough = noise((1, SCENE[1]), (1, 20), 5, rng)
    bank = 650 - 74 * np.exp(-x / 170) - 56 * np.exp((x - SCENE[1]) / 110) - 3.0 * rough
    trees = [
        Tree(58, 606, 436),
        Tree(134, 622, 306),
        Tree(12, 600, 300),
        Tree(196, 634, 178),
        Tree(918, 622, 262),
        Tree(866, 634, 164),
        Tree(952, 620, 190),
    ]
    return mix(picture, (11, 17, 26), np.maximum(conifers(trees, rng), coverage(bank - y)))


def scene() -> Image.Image:
    """Paint a mountain lake at dusk, with fine film grain."""
    rng = np.random.default_rng(7)
    picture = sky(rng)
    for layer in (mountains, far_shore, lake, near_bank):
        picture = layer(picture, rng)
    grain = rng.normal(0, 2.2, SCENE)
    return Image.fromarray(to_bytes(picture + grain[..., None]))


# depth.png


def sphere(rays: Field, centre: Sequence[float], radius: float) -> Field:
    """Return the depth at which each ray meets a sphere, or infinity."""
    middle = np.asarray(centre)
    a, b = (rays**2).sum(axis=-1), rays @ middle
    under_root = b**2 - a * (middle @ middle - radius**2)
    return np.where(under_root >= 0, (b - np.sqrt(np.abs(under_root))) / a, np.inf)


def box(rays: Field, centre: Sequence[float], half: Sequence[float], turn: float) -> Field:
    """Return the depth at which each ray meets a box turned about its upright, or infinity."""
    cos, sin = np.cos(turn), np.sin(turn)
    spin = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    pace, start = rays @ spin, np.asarray(centre) @ spin
    faces = np.stack([(start - half) / pace, (start + half) / pace])
    enter, leave = faces.min(axis=0).max(axis=-1), faces.max(axis=0).min(axis=-1)
    return np.where(enter <= leave, enter, np.inf)


def depth() -> Image.Image:
    """Cast rays at spheres and boxes on a plane before a wall; keep 16-bit depths, 0 nearest."""
    y, x = pixel_grid((240, 320))
    across, up, ahead = np.broadcast_arrays((x - 160) / 240, (30 - y) / 240, 1.0)
    rays = np.stack([across, up, ahead], axis=-1)
    depths = np.minimum.reduce(
        [
            6.0 / (1 + 0.2 * across - 0.1 * up),
            np.where(up < 0, 1.6 / np.maximum(-up, 1e-9), np.inf),
            sphere(rays, (-0.8, -0.95, 3.0), 0.65),
            sphere(rays, (0.2, -1.26, 2.5), 0.34),
            sphere(rays, (1.9, -0.9, 4.9), 0.7),
            box(rays, (1.1, -1.15, 3.3), (0.4, 0.45, 0.4), 0.6),
            box(rays, (-2.0, -0.9, 5.0), (0.5, 0.7, 0.5), -0.45),
            box(rays, (0.2, -1.25, 4.7), (0.6, 0.35, 0.35), 0.3),
        ]
    )
    scaled = (depths - depths.min()) / np.ptp(depths) * 65535
    return Image.fromarray(np.rint(scaled).astype(np.uint16))


# logo.png

TINTS: Sequence[Colour] = ((242, 108, 79), (250, 188, 64), (52, 168, 150), (74, 110, 206))


class Layers:
    """A stack of soft shapes, kept with premultiplied colour."""

    def __init__(self, shape: Shape) -> None:
        """Start with nothing: every pixel clear."""
        self.colour = np.zeros((*shape, 3))
        self.alpha = np.zeros(shape)

    def add(self, colour: ArrayLike, alpha: Field) -> None:
        """Lay one colour over the rest."""
        self.colour = mix(self.colour, colour, alpha)
        self.alpha = self.alpha + (1 - self.alpha) * alpha

    def flatten(self, hidden: Colour) -> Image.Image:
        """Return the RGBA picture; its invisible pixels hold the colour `hidden`."""
        alpha = to_bytes(self.alpha * 255)
        colour = to_bytes(self.colour / np.maximum(self.alpha, 1e-9)[..., None])
        colour[alpha == 0] = hidden
        return Image.fromarray(np.dstack([colour, alpha]))


def rounded(shape: Shape, centre: tuple[float, float], half: float, corner: float) -> Field:
    """Return the signed distance to a square with round corners."""
    y, x = pixel_grid(shape)
    down, along = (np.abs(v - c) - half + corner for v, c in zip((y, x), centre, strict=True))
    outside = np.hypot(np.maximum(down, 0), np.maximum(along, 0))
    return outside + np.minimum(np.maximum(down, along), 0) - corner


class Tile(NamedTuple):
    """A coloured tile of the logo: where its centre is, half its side, and its colour."""

    y: float
    x: float
    half: float
    colour: Field


def tiles(rng: Rng) -> list[Tile]:
    """Return the tiles before and after max pooling: only the strongest of four stays."""
    laid = []
    for (row, column), tint in zip(np.ndindex(2, 2), TINTS, strict=True):
        strengths = rng.permutation([0.28, 0.46, 0.7, 1.0])
        for (y, x), strength in zip(np.ndindex(2, 2), strengths, strict=True):
            pale = mix((255, 255, 255), tint, strength)
            laid.append(Tile(26 + 70 * row + 35 * y, 26 + 70 * column + 35 * x, 15, pale))
        laid.append(Tile(170 + 50 * row, 170 + 50 * column, 22, np.array(tint, np.float64)))
    return sorted(laid, key=attrgetter("half"))


def funnel(shape: Shape) -> Field:
    """Return a soft beam that narrows from the four by four tiles to the two by two."""
    y, x = pixel_grid(shape)
    along, aside = (x + y) / 2, np.abs(x - y)
    width = np.interp(along, (78, 195, 215), (135, 94, 40))
    return (
        smoothstep(-1, 16, width - aside)
        * smoothstep(60, 110, along)
        * smoothstep(184, 148, np.minimum(x, y))
    )


def logo() -> Image.Image:
    """Draw four by four tiles pooled to two by two, on a clear ground with soft shadows."""
    shape = (256, 256)
    art = Layers(shape)
    art.add(TINTS[-1], 0.3 * funnel(shape))
    for y, x, half, colour in tiles(np.random.default_rng(3)):
        shadow = rounded(shape, (y + 4, x + 2), half, half / 3)
        art.add((20, 24, 48), 0.35 * smoothstep(10, -6, shadow))
        art.add(colour, coverage(rounded(shape, (y, x), half, half / 3)))
    return art.flatten(GARISH)


# palette.png

PALETTE: dict[str, Colour] = {
    ".": GARISH,  # the transparent entry
    "d": (30, 62, 110),  # deep water
    "w": (46, 98, 152),  # water
    "s": (86, 148, 190),  # shallows
    "y": (236, 214, 154),  # sand
    "m": (164, 196, 96),  # meadow
    "g": (110, 164, 78),  # grass
    "f": (62, 122, 70),  # forest
    "h": (150, 124, 88),  # hill
    "r": (122, 112, 116),  # rock
    "l": (168, 162, 164),  # light rock
    "S": (246, 248, 250),  # snow
    "k": (36, 32, 44),  # outline
    "t": (32, 80, 58),  # tree
    "R": (206, 70, 58),  # roof
    "p": (244, 234, 208),  # parchment
}
KEYS = "".join(PALETTE)
BAYER = np.block([[4 * np.array([[0, 2], [3, 1]]) + n for n in row] for row in ((0, 2), (3, 1))])
TREE = (".t.", "ttt", "ttt", ".k.")
HOUSE = ("..k..", ".kRk.", "kRRRk", ".pkp.", ".pkp.")
SHIP = ("...k...", "..pkp..", ".ppkpp.", "...k...", "kRRRRRk", ".kkkkk.")
ROSE = (
    ".....R.....",
    "....RRR....",
    ".....p.....",
    ".....p.....",
    ".p...p...p.",
    "pppppkppppp",
    ".p...p...p.",
    ".....p.....",
    ".....p.....",
    "....ppp....",
    ".....p.....",
)
LANDMARKS = (
    # sprite, top, left
    (HOUSE, 43, 28),
    (HOUSE, 47, 36),
    (HOUSE, 37, 88),
    (SHIP, 76, 85),
    (ROSE, 12, 106),
)


def letters(rows: Sequence[str]) -> Indices:
    """Return the palette indices that rows of the palette's letters stand for."""
    return np.array([[KEYS.index(letter) for letter in row] for row in rows], np.uint8)


def stamp(board: Indices, sprite: Sequence[str], top: int, left: int) -> None:
    """Draw a sprite on the board; its dots are clear."""
    pixels = letters(sprite)
    place = board[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    np.copyto(place, pixels, where=pixels > 0)


def island(shape: Shape, rng: Rng) -> tuple[Indices, Mask]:
    """Return a map of an island, in dithered bands of height, and where a tree could stand."""
    y, x = pixel_grid(shape)
    away = np.hypot((y / shape[0] - 0.5) * 2.2, (x / shape[1] - 0.5) * 2.1)
    height = 0.72 - away + 0.24 * noise(shape, (4, 5), 5, rng)
    dither = np.tile(BAYER, (shape[0] // 4, shape[1] // 4)) / 16 - 0.5
    steps = (-0.3, -0.12, 0.02, 0.09, 0.22, 0.4, 0.58, 0.66, 0.76)
    bands = np.digitize(height + 0.05 * dither, steps)
    slope = height - np.roll(height, (1, 1), (0, 1))
    lit, shaded = letters(("dwsymgfhlS", "dwsymgfhrl"))
    wooded = (height > steps[4]) & (height < steps[6])
    return np.where(slope + 0.02 * dither > 0, lit[bands], shaded[bands]), wooded


def torn(shape: Shape, rng: Rng) -> Mask:
    """Return where a sheet with a torn edge is."""
    y, x = pixel_grid(shape)
    inside = np.minimum(np.minimum(y, shape[0] - y), np.minimum(x, shape[1] - x))
    return inside + 0.8 * noise(shape, (14, 18), 2, rng) > 3.5


def frame(board: Indices, sheet: Mask) -> None:
    """Leave the board clear off the sheet, and put a parchment rim and an outline on it."""
    for letter, rim in (("p", 4), ("k", 1)):
        core = Image.fromarray(sheet).convert("L").filter(ImageFilter.MinFilter(2 * rim + 1))
        board[np.asarray(core) == 0] = KEYS.index(letter)
    board[~sheet] = 0


def palette() -> Image.Image:
    """Draw a pixel-art map with 16 colours; off its torn sheet it is clear."""
    rng = np.random.default_rng(11)
    shape = (96, 128)
    board, wooded = island(shape, rng)
    for top, left in rng.permutation(np.argwhere(wooded))[:40]:
        stamp(board, TREE, top, left)
    for sprite, top, left in LANDMARKS:
        stamp(board, sprite, top, left)
    frame(board, torn(shape, rng))
    image = Image.fromarray(np.kron(board, np.ones((2, 2), np.uint8)))
    image.putpalette(list(itertools.chain(*PALETTE.values())))
    image.info["transparency"] = 0
    return image


# pixelart.png

ENLARGED = 4
SKYLINE = 24
SPRITES = (
    # sprite, top, left
    (SHIP, 21, 24),
    (HOUSE, 20, 3),
    (HOUSE, 21, 11),
    (TREE, 22, 8),
    (TREE, 23, 17),
    (TREE, 21, 0),
)


def pixelart() -> Image.Image:
    """Draw a harbour at night in 36 by 36 pixels, each enlarged to 4 by 4."""
    rng = np.random.default_rng(2)
    side = 36
    board = np.full((side, side), KEYS.index("d"), np.uint8)
    for top, left in rng.integers(0, (SKYLINE - 8, side), (26, 2)):
        board[top, left] = KEYS.index("S")
    y, x = pixel_grid(board.shape)
    board[np.hypot(y - 8, x - 26) < 5] = KEYS.index("p")
    board[np.hypot(y - 6.5, x - 28) < 4] = KEYS.index("d")
    board[SKYLINE:] = KEYS.index("w")
    for top, left in rng.integers((SKYLINE + 1, 0), (side, side - 3), (30, 2)):
        board[top, left : left + 3] = KEYS.index("s")
    shore = SKYLINE + 7 - (x / 4.5) ** 1.35
    board[(y > SKYLINE) & (y < shore)] = KEYS.index("g")
    board[(y >= shore) & (y < shore + 1.5) & (x < 20)] = KEYS.index("y")
    for sprite, top, left in SPRITES:
        stamp(board, sprite, top, left)
    image = Image.fromarray(np.kron(board, np.ones((ENLARGED, ENLARGED), np.uint8)))
    image.putpalette(list(itertools.chain(*PALETTE.values())))
    return image


# labels.png

CLASSES: dict[str, Colour] = {
    "field": (232, 206, 122),
    "meadow": (170, 214, 120),
    "forest": (38, 112, 58),
    "wetland": (122, 196, 170),
    "lake": (44, 104, 190),
    "rock": (150, 142, 140),
    "town": (210, 74, 84),
    "river": (90, 160, 240),
    "road": (60, 60, 66),
    "railway": (150, 60, 170),
}


def labels() -> Image.Image:
    """Draw a map of land cover: indices are classes, some of them only one or two pixels wide."""
    rng = np.random.default_rng(21)
    shape = (192, 256)
    height, wet, built = (noise(shape, (4, 5), octaves, rng) for octaves in (5, 4, 4))
    number = {name: index for index, name in enumerate(CLASSES)}
    board = np.where(wet > 0.2, number["meadow"], number["field"]).astype(np.uint8)
    board[height > 0.35] = number["forest"]
    board[height > 1.5] = number["rock"]
    board[(built > 1.1) & (height < 0.8)] = number["town"]
    board[(height < -1.0) & (wet > -0.4)] = number["wetland"]
    board[height < -1.45] = number["lake"]
    y, x = pixel_grid(shape)
    bends = 26 * np.sin(x / 37) + 9 * np.sin(x / 13)
    board[np.abs(y - 96 - bends) < 1.5] = number["river"]
    board[np.abs(y - 40 - 0.35 * x) < 1] = number["road"]
    board[np.abs(x - 60 - 0.2 * y) < 1] = number["road"]
    board[np.abs(y - 160 + 0.5 * x) < 0.6] = number["railway"]
    image = Image.fromarray(board)
    image.putpalette(list(itertools.chain(*CLASSES.values())))
    return image


# scan.png

SCANNED = (
    (34, "Average, max or min?"),
    (17, "A scanner knows ink and paper only."),
    (17, "A halftone fakes the greys between:"),
    (17, "dots that swell where it is dark."),
    (17, ""),
    (17, "Average pooling gathers the dots"),
    (17, "into grey again. Max pooling keeps"),
    (17, "any white; min pooling, any black."),
    (17, ""),
    (14, "Page 4 of 9, scanned at 72 dpi"),
)


def ball(shape: Shape, centre: tuple[float, float], radius: float) -> tuple[Field, Mask]:
    """Return the light on a ball lit from the upper left, 0..1, and where the ball is."""
    y, x = ((v - c) / radius for v, c in zip(pixel_grid(shape), centre, strict=True))
    bulge = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    return np.clip(0.12 + 0.62 * bulge - 0.38 * (x + y), 0, 1), x * x + y * y < 1


def screen(shape: Shape, pitch: float, angle: float) -> Field:
    """Return a halftone screen, whose thresholds 0..1 form dots `pitch` pixels apart."""
    y, x = (2 * np.pi / pitch * v for v in pixel_grid(shape))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    waves = np.cos(along) + np.cos(across)
    ranks = waves.argsort(axis=None, kind="stable").argsort(kind="stable")
    thresholds: Field = ranks.reshape(shape) / waves.size
    return thresholds


def scan() -> Image.Image:
    """Draw a page of text with a halftone ball, a little askew, as a bilevel scanner sees it."""
    rng = np.random.default_rng(5)
    shape = (400, 600)
    ink = lettering(shape, stack(SCANNED, left=34, top=34, leading=1.75))
    ink[86:88, 34:566] = 1
    page = Image.fromarray(to_bytes(255 * ink)).rotate(0.7, Image.Resampling.BICUBIC)
    dark = as_field(page) + 0.11 * noise(shape, (200, 300), 2, rng)
    _, x = pixel_grid(shape)
    dark += smoothstep(9, 0, x + 1.2 * noise((shape[0], 1), (40, 1), 3, rng))
    light, disc = ball(shape, (236, 458), 104)
    black = np.where(disc, light < screen(shape, 6.5, np.pi / 4), dark > 0.5)
    return Image.fromarray(~black)


def bounce(frames: int = 16) -> list[Image.Image]:
    """Draw a ball that bounces over its shadow, on nothing, in twelve shades."""
    shape, radius = (96, 96), 20.0
    drawn = []
    for height in np.abs(np.sin(np.pi * np.arange(frames) / frames)):
        light, disc = ball(shape, (70 - 46 * height, 48), radius)
        y, x = pixel_grid(shape)
        shadow = ((y - 88) / 5) ** 2 + ((x - 48) / (radius * (1.1 - 0.5 * height))) ** 2 < 1
        shade = np.rint(11 * light)[..., None] / 11
        colours = np.where(disc[..., None], mix((60, 10, 30), (255, 190, 80), shade[..., 0]), 40)
        alpha = np.where(disc | shadow, 255, 0)
        drawn.append(Image.fromarray(np.dstack((to_bytes(colours), to_bytes(alpha)))))
    return drawn


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "chart.png": chart,
    "text.png": text,
    "scene.jpg": scene,
    "depth.png": depth,
    "logo.png": logo,
    "palette.png": palette,
    "pixelart.png": pixelart,
    "labels.png": labels,
    "scan.png": scan,
}


def main() -> None:
    """Write every picture and the animation beside this script, and print their names and bytes."""
    for name, draw in PICTURES.items():
        path = Path(__file__).with_name(name)
        draw().save(path, optimize=True, quality=88)
        print(f"{name:13} {path.stat().st_size:8,} bytes")
    path = Path(__file__).with_name("bounce.gif")
    first, *others = bounce()
    first.save(path, save_all=True, append_images=others, duration=50, loop=0, disposal=2)
    print(f"{path.name:13} {path.stat().st_size:8,} bytes")


if __name__ == "__main__":
    main()
