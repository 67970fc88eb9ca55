"""Pool one file from a Python program, as the command does."""

from __future__ import annotations

import os
import re
from typing import Any, Final, NoReturn

from poolcli.errors import PoolError
from poolcli.methods import row_of
from poolcli.options.python import params_of
from poolcli.options.requests import request_of
from poolcli.plan import kept_inputs, make_plan
from poolcli.report import Outcome
from poolcli.run import run_job
from poolcli.storage import place_of

FLAG: Final = re.compile(r"(?<!\S)--([a-z][a-z-]+)")


def pool_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    method: str,
    size: int | tuple[int, int] | None = None,
    **options: Any,
) -> Outcome:
    """Pool a picture in a file into another file, as the command ``poolcli METHOD`` does.

    The target is written whole or not at all, and an existing one is not replaced by default.
    Nothing is printed, and nothing that is global to the process is changed; the variables of the
    environment that set defaults of the command have no effect.

    Args:
        source: the path of the picture.
        target: the path of the result, whose suffix chooses the format; or a folder.
        method: "max", "min", "avg", "median" or "mode".
        size: taps of the window, one number or (height, width); this, or ``output_size`` or
            ``fit`` among the options.
        options: the options of the command by their names with underscores, such as
            ``overwrite=True``, ``quality=80``, ``stride=(2, 3)``, ``padding="same"``,
            ``format="webp"``, ``background="white"``, ``frame=0``, ``max_pixels=10**8``,
            ``save_option={"lossless": True}``, ``dry_run=True``. Pairs are (height, width). None
            counts as not given. Options for many pictures or for what is printed are refused.

    Returns:
        What became of the picture: its status ("done"; "skipped" with ``skip_existing`` or
        ``update``; "planned" with ``dry_run``), shapes, warnings and more; see `Outcome`.

    Raises:
        PoolError: an option is refused, or the picture can't be read, pooled or written.
        RuntimeError: poolcli itself is at fault.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     numpy.save(f"{folder}/in.npy", numpy.eye(6))
    ...     outcome = pool_file(f"{folder}/in.npy", f"{folder}/out.npy", "max", size=(2, 3))
    >>> outcome.status, outcome.output_shape
    ('done', (3, 2))
    """
    paths = os.fspath(source), os.fspath(target)
    try:
        row = row_of(method)
        params, given = params_of(row, {"size": size} | options)
        request = request_of(row, params | {"paths": paths}, given)
        if place_of(paths[0]).status().kind == "folder":
            raise PoolError(f"{paths[0]} is a folder", "name a file")
        plan = make_plan(request.paths, request.policy)
        with kept_inputs(plan):
            outcome = run_job(plan[0], request.work())
        if outcome.status == "done" and plan[0].target.in_folder:
            plan[0].target.sync()
    except PoolError as fault:
        raise PoolError(_in_python(fault.message), _in_python(fault.remedy)) from None
    if outcome.status == "failed":
        _raise(outcome)
    return outcome


def _raise(outcome: Outcome) -> NoReturn:
    """Raise what a failed outcome tells.

    Raises:
        PoolError: the picture can't be read, pooled or written.
        RuntimeError: poolcli itself is at fault.
    """
    failed = outcome.failed
    if outcome.is_fault:
        raise RuntimeError(f"{failed.name}: {failed.error}\n{failed.traceback}")
    message = _in_python(f"{failed.name}: {failed.error}")
    raise PoolError(message, _in_python(failed.remedy or ""))


def _in_python(text: str) -> str:
    """Return a message with the names of options in Python.

    >>> _in_python("use --overwrite, --skip-existing or --update")
    'use overwrite, skip_existing or update'
    """
    return FLAG.sub(lambda match: match[1].replace("-", "_"), text)
