"""Decide what becomes of outputs that exist already, and check the places of indices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from poolcli.errors import PoolError
from poolcli.formats import INDICES_SUFFIX
from poolcli.storage import Place, Status, place_at, place_of

if TYPE_CHECKING:
    from poolcli.plan import Job, Policy

Look: TypeAlias = Callable[[Place], Status]


def existing_outputs(
    job: Job, look: Look | None = None, look_at_indices: Look | None = None
) -> dict[str, Status]:
    """Return the status of the output of a job and of its indices, as far as they exist.

    Args:
        job: the job.
        look: finds the status of an output, as `Place.lookup` returns it; None to ask each place.
        look_at_indices: likewise for indices.
    """
    places = ((job.target, look), (job.indices, look_at_indices))
    found = {
        place.path: place.existing() if look is None else look(place)
        for place, look in places
        if place is not None and not place.is_stream
    }
    return {path: status for path, status in found.items() if status.kind != "missing"}


def skips(job: Job, policy: Policy, existing: dict[str, Status], modified: int | None) -> bool:
    """Return whether a job has nothing to do, since all of its outputs exist.

    Args:
        job: the job.
        policy: what becomes of existing outputs.
        existing: the status of those that exist.
        modified: when the input was last changed.
    """
    if len(existing) < 1 + (job.indices is not None):
        return False
    if policy.skip_existing:
        return True
    return policy.update and all(_is_up_to_date(modified, one) for one in existing.values())


def kept(job: Job, policy: Policy, existing: dict[str, Status]) -> list[str]:
    """Return the outputs of a job that exist and may not be replaced.

    Under ``--skip-existing`` a picture without its indices is one. Indices without their picture
    are not: a killed run may have left them, and this run makes the same ones.
    """
    if policy.replaces:
        return []
    return [path for path in existing if path == job.target.path or not policy.skip_existing]


def _is_up_to_date(source: int | None, existing: Status) -> bool:
    """Return whether an output is not older than its input, which was modified at a time."""
    if source is None or existing.modified is None:
        return False
    return existing.modified >= source


def indices_file(path: str, target: Place, source: Status) -> Place:
    """Return the place of the indices of a single output.

    Args:
        path: as it was given.
        target: the output.
        source: the status of the input.

    Raises:
        PoolError: it is no name for such a file, or that of the input or the output.
    """
    place = place_at(path)
    if place.is_stream or place.status().kind == "folder" or not _names_indices(path):
        raise PoolError(
            f"--indices {path} names no {INDICES_SUFFIX} file", f"end it in {INDICES_SUFFIX}"
        )
    identity = place.existing().identity
    is_same = identity is not None and identity in (source.identity, target.existing().identity)
    if is_same or place.absolute() == target.absolute():
        raise PoolError(f"--indices {path} is the input or output itself", "choose another name")
    place.check_writable()
    return place


def indices_folder(path: str) -> Place:
    """Return the folder of the indices of many outputs.

    Raises:
        PoolError: it is a file, or looks like the name of one.
    """
    place = place_of(path.rstrip(os.sep) or os.sep)
    kind = place.status().kind
    if kind not in ("folder", "missing"):
        raise PoolError(f"--indices {path} is a file", "name a folder, as OUTPUT is one")
    if kind == "missing" and _names_indices(path):
        raise PoolError(f"--indices {path} looks like a file", f"end it in {os.sep}")
    return place


def _names_indices(path: str) -> bool:
    """Return whether a path has the suffix of indices."""
    return os.path.splitext(path)[1].lower() == INDICES_SUFFIX
