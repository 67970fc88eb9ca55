"""Makers of work and jobs, for tests that go through `poolcli.run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poolcli import methods
from poolcli.colour import Pixels
from poolcli.engine.window import Window
from poolcli.formats import by_name
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.methods import Method
from poolcli.plan import Job
from poolcli.report import Outcome
from poolcli.run import Work, run_job
from poolcli.storage import Source, Target
from tests.pictures import LIMIT

WINDOW = ("stride", "padding", "dilation", "ceil_mode")
PIXELS = ("alpha", "nan", "background")
OF_AVERAGES = ("count_include_pad", "divisor_override", "linear")


def method_of(name: str, **own: Any) -> Method:
    return methods.make(name, **own)


def work(
    method: str | Method = "max", size: Any = 2, *, max_pixels: int = LIMIT, **more: Any
) -> Work:
    """Work with one window; ``more`` are options of the window, pixels, average or work."""

    def taken(keys: tuple[str, ...]) -> dict[str, Any]:
        return {key: more.pop(key) for key in keys if key in more}

    window, pixels, own = Window.of(size, **taken(WINDOW)), Pixels(**taken(PIXELS)), {}
    if isinstance(method, str):
        own = taken(OF_AVERAGES)
        method = method_of(method, **own)
    saving = more.pop("saving", Saving())
    return Work(method, window, pixels, saving, Limits(max_pixels), **more)


def job(source: Path | str, target: Path | str, name: str) -> Job:
    return Job(Source(str(source)), Target.at(str(target)), by_name(name))


def run(source: Path | str, target: Path | str, name: str, how: Work | None = None) -> Outcome:
    return run_job(job(source, target, name), how or work())
