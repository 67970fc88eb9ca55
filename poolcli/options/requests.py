"""From what was typed to the typed records of the modules below."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click
from click.core import ParameterSource

from poolcli import methods
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats.saving import Saving
from poolcli.options.types import rename
from poolcli.plan import Job, Policy

if TYPE_CHECKING:
    from poolcli.run import Work


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
        timeout_is_default: whether the timeout comes from the environment, which can't be asked
            of streams.
        fail_fast: whether the first failure ends the run.
    """

    jobs: int | None
    timeout: float | None
    timeout_is_default: bool
    fail_fast: bool

    def timeout_for(self, plan: list[Job]) -> float | None:
        """Return the seconds for a picture; a stream can't be given up: nobody could read it again.

        Raises:
            PoolError: a timeout is asked of a stream.
        """
        if self.timeout is None:
            return None
        if not any(job.target.is_stream or job.source.is_stdin for job in plan):
            return self.timeout
        if self.timeout_is_default:
            return None
        raise PoolError("--timeout can't be kept on a stream", "name files, or leave it out")


class Request:
    """What the user asks for, as the records that each module takes.

    Attributes:
        paths: inputs and output as typed.
        voice: how the run speaks.
        pace: how a batch is worked off.
        policy: what the plan may do.
    """

    def __init__(self, row: methods.Row, typed: dict[str, Any]) -> None:
        """Check what was typed, and build the records that a plan needs.

        Args:
            row: the method's row.
            typed: the parameters of its verb, by name.

        Raises:
            PoolError: a choice is refused.
        """
        if typed["overwrite"] and typed["skip_existing"]:
            raise PoolError("--overwrite and --skip-existing exclude each other", "choose one")
        self.paths: tuple[str, ...] = typed["paths"]
        self.voice = Voice(*(typed[field] for field in Voice._fields))
        self.pace = _pace(typed)
        self._row, self._typed = row, typed
        self._window = _window(typed)
        self._saving = _saving(typed)
        self.policy = _policy(row, typed, self._window, self._saving)

    def check_streams(self, plan: list[Job]) -> None:
        """Refuse to mix outcomes and pixels on standard output.

        Raises:
            PoolError: both would be written there.
        """
        if self.voice.as_json and any(job.target.is_stdout for job in plan):
            raise PoolError(
                "--json and a picture can't share standard output", "name an output file"
            )

    def work(self) -> Work:
        """Return what is done with every picture; imports NumPy.

        Raises:
            PoolError: a choice is refused.
        """
        from poolcli.colour import Pixels
        from poolcli.formats.contract import Limits
        from poolcli.formats.pillow import parse_color
        from poolcli.run import Work

        typed = self._typed
        background = typed["background"]
        own = {option.key: typed[option.key] for option in self._row.options}
        return Work(
            method=methods.make(self._row.name, **own),
            window=self._window,
            pixels=Pixels(
                alpha=typed["alpha"],
                nan=typed["nan"],
                background=None if background is None else parse_color(background),
            ),
            saving=self._saving,
            limits=Limits(typed["max_pixels"]),
            overwrite=typed["overwrite"],
            preserve=typed["preserve"],
            dry_run=typed["dry_run"],
            allow_depth_loss=typed["allow_depth_loss"],
            frame=typed["frame"],
        )


def _window(typed: dict[str, Any]) -> Window:
    """Return the window."""
    return Window.of(
        typed["size"],
        typed["stride"],
        typed["padding"],
        typed["dilation"],
        ceil_mode=typed["ceil_mode"],
    )


def _saving(typed: dict[str, Any]) -> Saving:
    """Return how results are written."""
    return Saving(typed["quality"], typed["compress_level"], typed["save_options"], typed["strip"])


def _pace(typed: dict[str, Any]) -> Pace:
    """Return how a batch is worked off."""
    source = click.get_current_context().get_parameter_source("timeout")
    return Pace(
        jobs=typed["jobs"],
        timeout=typed["timeout"],
        timeout_is_default=source is ParameterSource.ENVIRONMENT,
        fail_fast=typed["fail_fast"],
    )


def _policy(row: methods.Row, typed: dict[str, Any], window: Window, saving: Saving) -> Policy:
    """Return what the plan may do."""
    template = typed["template"]
    new_name = partial(
        rename, template=template, method=row.name, size=window.size, stride=window.stride
    )
    return Policy(
        format=typed["format_name"],
        overwrite=typed["overwrite"],
        skip_existing=typed["skip_existing"],
        recursive=not typed["no_recursive"],
        include=typed["include"],
        exclude=typed["exclude"],
        files_from=typed["files_from"],
        null=typed["null"],
        relative_to=typed["relative_to"],
        rename=None if template is None else new_name,
        saving=saving,
    )
