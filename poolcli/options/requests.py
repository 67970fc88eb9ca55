"""Build the typed records of the other modules from the parameters of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from poolcli.engine.adaptive import OutputSize
from poolcli.engine.window import Window
from poolcli.errors import PoolError
from poolcli.formats.saving import Saving
from poolcli.methods import Row
from poolcli.options.names import output_stem
from poolcli.options.types import given_as
from poolcli.plan import Job, Policy
from poolcli.storage import DASH, Place, place_at, place_of

if TYPE_CHECKING:
    from poolcli.run.work import Work

LEVEL_NAME: Final = "{stem}_{level}"
"""The names of outputs with ``--levels``, unless a template is given."""

EXISTING: Final = ("overwrite", "skip_existing", "update")
"""The options that say what becomes of existing outputs."""

WAYS_ON: Final = {
    "overwrite": "the same command replaces all outputs again",
    "skip_existing": "the same command goes on where this run stopped",
    "update": "the same command goes on where this run stopped",
    "": "the same command with --skip-existing goes on where this run stopped",
}
"""The ways to go on after an interruption, by the option about existing outputs."""

Record = TypeVar("Record", bound="tuple[Any, ...]")


class Display(NamedTuple):
    """The things that a run prints.

    Attributes:
        quiet: whether only errors are printed.
        verbose: how often ``--verbose`` was given.
        color: whether messages are coloured.
        progress: whether a progress bar may be shown.
        as_json: whether outcomes are printed as JSON Lines on standard output.
        dry_run: whether it tells what would be done.
    """

    quiet: bool
    verbose: int
    color: Literal["auto", "always", "never"]
    progress: bool
    as_json: bool
    dry_run: bool


class Execution(NamedTuple):
    """The execution of the jobs of a run.

    Attributes:
        jobs: how many pictures are pooled at the same time, at most; None for the usable CPUs.
        timeout: the seconds that a picture may take, or None.
        fail_fast: whether the first failure ends the run.
        is_env_timeout: whether the timeout comes from the environment.
        scheduler: the address of the scheduler of a Dask cluster, or None.
        shared_filesystem: whether all machines of the cluster see the same local files.
    """

    jobs: int | None
    timeout: float | None
    fail_fast: bool
    is_env_timeout: bool = False
    scheduler: str | None = None
    shared_filesystem: bool = False

    def timeout_for(self, plan: list[Job]) -> float | None:
        """Return the seconds that a picture of this plan may take, or None.

        A picture that takes too long is given up by killing its worker. What that worker has read
        from a stream could not be read again, so there is no timeout for streams.

        Raises:
            PoolError: ``--timeout`` is given for a stream; the environment variable is ignored.
        """
        if self.timeout is None or not any(
            job.target.is_stream or job.source.path == DASH for job in plan
        ):
            return self.timeout
        if self.is_env_timeout:
            return None
        raise PoolError("--timeout can't be used with a stream", "name files, or leave it out")


class Request(NamedTuple):
    """A parsed command line, divided into the records that other modules take.

    Attributes:
        paths: the inputs and the output as they were given.
        way_on: how to go on after an interruption.
        display: what the run prints.
        execution: how the jobs are executed.
        policy: how the plan is made.
        work: returns the settings that are the same for every picture. It is a function because
            it imports NumPy, which must wait until the plan is made and workers are starting.
    """

    paths: tuple[str, ...]
    way_on: str
    display: Display
    execution: Execution
    policy: Policy
    work: Callable[[], Work]


def request_of(
    row: Row,
    params: dict[str, Any],
    given: frozenset[str],
    from_environment: frozenset[str] = frozenset(),
) -> Request:
    """Build the records from the parameters of a verb.

    Args:
        row: the row of the method.
        params: the parameters of the command line, by name.
        given: the names of those that were given, also if they have the default value.
        from_environment: the names of those that environment variables give.

    Raises:
        PoolError: an option is refused.
    """
    chosen = [name for name in EXISTING if params[name]]
    if len(chosen) > 1:
        raise PoolError(f"{' and '.join(map(given_as, chosen))} exclude each other", "choose one")
    if params["planes"] is not None and params["frame"] is not None:
        both = " and ".join(map(given_as, ("frame", "planes")))
        raise PoolError(f"{both} exclude each other", "give one of them")
    _check_indices(params)
    levels = tuple(Window.of(level) for level in params["levels"] or ())
    window = _window(row, params, given)
    template = LEVEL_NAME if levels and params["template"] is None else params["template"]
    if not levels and template is not None and "{level}" in template:
        raise PoolError("{level} in --name needs --levels", "use {size}, or give levels")
    saving = _record(Saving, params, options=params["save_options"])
    name_of = partial(
        output_stem,
        template=template or "",
        method=row.name,
        size=params["size"] or params["output_size"] or params["fit"] or (None, None),
        stride=window.stride,
    )
    return Request(
        paths=_paths(params["paths"], params["target_directory"], params["files_from"]),
        way_on=WAYS_ON["".join(chosen)],
        display=_record(Display, params),
        execution=_record(
            Execution,
            params,
            scheduler=_scheduler(params, given - from_environment),
            is_env_timeout="timeout" in from_environment,
        ),
        policy=_record(
            Policy,
            params,
            format=params["format_name"],
            recursive=not params["no_recursive"],
            output_stem=None if template is None else name_of,
            levels=levels,
            saving=saving,
        ),
        work=partial(_work, row, params, window, saving),
    )


def _scheduler(params: dict[str, Any], typed: frozenset[str]) -> str | None:
    """Return the address of a scheduler, unless a number of jobs on this machine is typed.

    Args:
        params: the parameters of the command line, by name.
        typed: the names of those that were typed.

    Raises:
        PoolError: both are typed, or an option has no effect without a scheduler.
    """
    address: str | None = params["scheduler"] or None
    if address is None and params["shared_filesystem"]:
        raise PoolError("--shared-filesystem has no effect without --scheduler", "leave it out")
    if {"jobs", "scheduler"} <= typed:
        raise PoolError("--jobs and --scheduler exclude each other", "choose one")
    return None if "jobs" in typed else address


def unpool_request(params: dict[str, Any]) -> Request:
    """Build the records of the verb that puts pooled values back to their places.

    Args:
        params: the parameters of the command line, by name.

    Raises:
        PoolError: the paths are not those of two files and an output.
    """
    paths = params["paths"]
    if len(paths) != 3:
        raise PoolError(
            f"three paths are needed, not {len(paths)}", "name VALUES, INDICES and OUTPUT"
        )
    values, indices, output = paths
    if "" in paths:
        raise PoolError("a path is empty", "name a file, or - for a pipe")
    if values == indices == DASH:
        raise PoolError("VALUES and INDICES can't both be standard input", "name a file")
    place = place_at(indices)
    for path in (values, indices):
        if place_of(path).status().kind == "folder":
            raise PoolError(f"{path} is a folder", "name a file")
    identity = place.status().identity
    if identity is not None and identity == place_of(output).existing().identity:
        raise PoolError(f"{output} is the input itself", "choose another name for the output")
    saving = _record(Saving, params, options=params["save_options"])
    return Request(
        paths=(values, output),
        display=_record(Display, params),
        execution=Execution(jobs=1, timeout=None, fail_fast=False),
        policy=_record(
            Policy,
            params,
            format=params["format_name"],
            saving=saving,
            existing_remedy="use --overwrite",
        ),
        work=partial(_unpool_work, params, place, saving),
        way_on="",
    )


def _unpool_work(params: dict[str, Any], indices: Place, saving: Saving) -> Work:
    """Return the settings of `unpool`: windows of one pixel, and nothing that is left out."""
    from poolcli.colour import NO_NODATA, Pixels
    from poolcli.formats.contract import Limits
    from poolcli.methods.unpool import Unpool
    from poolcli.run.work import Work

    return _record(
        Work,
        params,
        method=Unpool(),
        window=OutputSize(sys.maxsize, sys.maxsize, fits=True),
        pixels=Pixels(alpha="straight", nodata=NO_NODATA),
        saving=saving,
        limits=Limits(params["max_pixels"]),
        unpooled_by=indices,
    )


def _check_indices(params: dict[str, Any]) -> None:
    """Refuse what has no indices of its own.

    Raises:
        PoolError: indices are asked for together with levels, planes, or channels before pixels.
    """
    if params.get("indices") is None:
        return
    for name in ("levels", "planes"):
        if params.get(name) is not None:
            raise PoolError(f"--indices can't be used with {given_as(name)}", "leave one out")
    if params["axes"] is not None and params["axes"].upper() not in ("HW", "HWC", "YX", "YXC"):
        raise PoolError(
            "--indices takes arrays with the axes HW and HWC",
            "use max_pool_with_indices in Python",
        )


def _window(row: Row, params: dict[str, Any], given: frozenset[str]) -> Window | OutputSize:
    """Return the window of ``--size`` or the first level, or the size of the output.

    Args:
        row: the row of the method.
        params: the parameters of the command line, by name.
        given: the names of those that were given.

    Raises:
        PoolError: not one of them is given, or an option that has no effect on the output's size.
    """
    names = ("size", "output_size", "fit", "levels")
    kinds = [name for name in names if params[name] is not None]
    flags = [given_as(name) for name in kinds]
    if not kinds:
        raise PoolError("no size is given", "give --size, --output-size, --fit or --levels")
    if len(kinds) > 1:
        raise PoolError(f"{' and '.join(flags)} exclude each other", "give one of them")
    if params["size"] is not None:
        return Window.of(**{name: params[name] for name in Window._fields})
    levels = params["levels"]
    of_method = (option.key for option in row.options if option.needs_window and not levels)
    exact = () if levels else ("exact",)
    for name in ("stride", "padding", "dilation", "ceil_mode", *exact, *of_method):
        if name in given:
            raise PoolError(f"{given_as(name)} has no effect with {flags[0]}", "leave it out")
    if levels:
        return Window.of(levels[0])
    if "{stride}" in (params["template"] or ""):
        raise PoolError(f"{{stride}} has no value with {flags[0]}", "choose another --name")
    height, width = params[kinds[0]]
    return OutputSize(height, width, fits=kinds == ["fit"])


def _paths(
    paths: tuple[str, ...], target_directory: str | None, files_from: str | None
) -> tuple[str, ...]:
    """Return the inputs and last the output, which may be given by ``--target-directory``.

    Raises:
        PoolError: there is an output folder, but no input.
    """
    if target_directory is None:
        return paths
    if not paths and files_from is None:
        raise PoolError("no picture is named", "name the INPUTs too, or a list with --files-from")
    return (*paths, os.path.join(target_directory, ""))


def _work(row: Row, params: dict[str, Any], window: Window | OutputSize, saving: Saving) -> Work:
    """Return the settings that are the same for every picture.

    Raises:
        PoolError: the background is no colour.
    """
    from poolcli.colour import Pixels
    from poolcli.formats.contract import Limits
    from poolcli.run.work import Work

    if (background := params["background"]) is not None:
        from poolcli.formats.pillow import parse_color

        background = parse_color(background)
    return _record(
        Work,
        params,
        method=row.make(**{one.key: params[one.key] for one in row.options if not one.is_output}),
        with_indices=params.get("indices") is not None,
        window=window,
        pixels=_record(Pixels, params, background=background),
        saving=saving,
        limits=Limits(params["max_pixels"]),
    )


def _record(kind: type[Record], params: dict[str, Any], **others: Any) -> Record:
    """Build a record: each field from the parameter of the same name, or from ``others``."""
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]  # kind is a NamedTuple
    return kind(**{name: params[name] for name in fields if name in params} | others)
