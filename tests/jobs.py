"""Makers of work and jobs, for tests that go through `poolcli.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from poolcli import colour, methods
from poolcli.colour import BAND_BYTES, BAND_SPANS, Pixels
from poolcli.engine.adaptive import OutputSize
from poolcli.engine.window import Window
from poolcli.formats import by_name
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.methods import Method
from poolcli.picture import Picture
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run import run_job
from poolcli.run.work import Work
from poolcli.storage import place_of
from tests.pictures import LIMIT

WINDOW = ("stride", "padding", "dilation", "ceil_mode")
PIXELS = ("alpha", "nan", "background", "nodata")
OF_AVERAGES = ("count_include_pad", "divisor_override", "linear")


def work(
    method: str | Method = "max", size: Any = 2, *, max_pixels: int = LIMIT, **more: Any
) -> Work:
    """Work with one window; ``more`` are options of the window, pixels, average or work."""

    def taken(keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: more.pop(key) for key in keys if key in more}

    window = size if isinstance(size, Window | OutputSize) else Window.of(size, **taken(WINDOW))
    pixels = Pixels(**taken(PIXELS))
    if isinstance(method, str):
        method = methods.make(method, **taken(OF_AVERAGES))
    saving = more.pop("saving", Saving())
    return Work(method, window, pixels, saving, Limits(max_pixels), **more)


def pool(
    picture: Picture, how: Work, *, band_bytes: int = BAND_BYTES, band_spans: int = BAND_SPANS
) -> Picture:
    """Pool a picture in memory, as `poolcli.run` would pool the same frame."""
    info, (method, window, pixels, *_) = picture.info, how
    axes = window.axes((info.shape[0], info.shape[1]))
    result = colour.pooled_info(info, axes, method, pixels)
    bands = colour.pooled_bands(
        info, lambda a, b: picture.array[a:b], axes, method, pixels, band_bytes, band_spans
    )
    metadata = picture.metadata.pooled(colour.placement(axes))
    return Picture(np.concatenate(list(bands)), result, metadata)


def job(source: Path | str, target: Path | str, name: str) -> Job:
    return Job(place_of(str(source)), place_of(str(target)), by_name(name))


def run(source: Path | str, target: Path | str, name: str, how: Work | None = None) -> Outcome:
    return run_job(job(source, target, name), how or work())
