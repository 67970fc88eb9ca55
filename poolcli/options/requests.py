"""From what was typed to the typed records of the modules below."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from poolcli import methods
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats.saving import Saving
from poolcli.options.types import rename
from poolcli.plan import Job, Policy
from poolcli.storage import DASH

if TYPE_CHECKING:
    from poolcli.run import Work

Record = TypeVar("Record", bound="tuple[Any, ...]")


class Voice(NamedTuple):
    """How a run speaks.

    Attributes:
        quiet: whether only errors are printed.
        verbose: how much more than usual is printed.
        color: whether what is printed is coloured.
        progress: whether progress may be shown.
        as_json: whether outcomes are printed on standard output.
    """

    quiet: bool
    verbose: int
    color: Literal["auto", "always", "never"]
    progress: bool
    as_json: bool


class Pace(NamedTuple):
    """How a batch is worked off.

    Attributes:
        jobs: the most pictures at a time; None for as many as there are processors.
        timeout: seconds after which a picture is given up, or None.
        fail_fast: whether the first failure ends the run.
        timeout_is_default: whether the timeout comes from the environment.
    """

    jobs: int | None
    timeout: float | None
    fail_fast: bool
    timeout_is_default: bool

    def timeout_for(self, plan: list[Job]) -> float | None:
        """Return the seconds for a picture; a stream can't be given up: nobody could read it again.

        Raises:
            PoolError: a timeout is asked of a stream, and not by the environment.
        """
        if self.timeout is None or not any(
            job.target.is_stream or job.source.path == DASH for job in plan
        ):
            return self.timeout
        if self.timeout_is_default:
            return None
        raise PoolError("--timeout can't be kept on a stream", "name files, or leave it out")


class Request(NamedTuple):
    """What the user asks for, as the records that each module takes.

    Attributes:
        paths: inputs and output as typed.
        voice: how the run speaks.
        pace: how a batch is worked off.
        policy: what the plan may do.
        work: returns what is done with every picture; it imports NumPy, which plans don't need.
    """

    paths: tuple[str, ...]
    voice: Voice
    pace: Pace
    policy: Policy
    work: Callable[[], Work]


def request_of(row: methods.Row, typed: dict[str, Any]) -> Request:
    """Build the records from the parameters of a verb.

    Args:
        row: the method's row.
        typed: the parameters, by name.

    Raises:
        PoolError: a choice is refused.
    """
    if typed["overwrite"] and typed["skip_existing"]:
        raise PoolError("--overwrite and --skip-existing exclude each other", "choose one")
    window = Window.of(**{name: typed[name] for name in Window._fields})
    saving = _record(Saving, typed, options=typed["save_options"])
    new_name = partial(
        rename,
        template=typed["template"],
        method=row.name,
        size=window.size,
        stride=window.stride,
    )
    source = click.get_current_context().get_parameter_source("timeout")
    return Request(
        paths=typed["paths"],
        voice=_record(Voice, typed),
        pace=_record(Pace, typed, timeout_is_default=source is ParameterSource.ENVIRONMENT),
        policy=_record(
            Policy,
            typed,
            format=typed["format_name"],
            recursive=not typed["no_recursive"],
            rename=None if typed["template"] is None else new_name,
            saving=saving,
        ),
        work=partial(_work, row, typed, window, saving),
    )


def _work(row: methods.Row, typed: dict[str, Any], window: Window, saving: Saving) -> Work:
    """Return what is done with every picture.

    Raises:
        PoolError: the background is no colour.
    """
    from poolcli.colour import Pixels
    from poolcli.formats.contract import Limits
    from poolcli.formats.pillow import parse_color
    from poolcli.run import Work

    background = None if typed["background"] is None else parse_color(typed["background"])
    return _record(
        Work,
        typed,
        method=row.make(**{one.key: typed[one.key] for one in row.options}),
        window=window,
        pixels=_record(Pixels, typed, background=background),
        saving=saving,
        limits=Limits(typed["max_pixels"]),
    )


def _record(kind: type[Record], typed: dict[str, Any], **others: Any) -> Record:
    """Build a record of the parameters that bear the names of its fields, and of others."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]  # a NamedTuple's
    return kind(**{name: typed[name] for name in fields if name in typed} | others)
