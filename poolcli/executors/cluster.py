"""Connect to a Dask cluster that exists, and make plans fit for its machines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from poolcli.errors import PoolError, missing
from poolcli.executors.batch import Needs, versions
from poolcli.storage import Place
from poolcli.storage.local import LocalFile

if TYPE_CHECKING:
    from distributed import Client

    from poolcli.plan import Job

AUTO: Final = "auto"
"""The address that stands for the one in Dask's own configuration."""

LOOPBACK: Final = ("127.", "localhost", "[::1]")


def check_places(jobs: Sequence[Job], *, is_shared: bool) -> None:
    """Refuse a plan that other machines can't carry out.

    Args:
        jobs: the plan.
        is_shared: whether the user says that all machines see the same local files.

    Raises:
        PoolError: it has streams, or local files that are not shared.
    """
    _import()
    places = [place for job in jobs for one in job.all_levels() for place in places_of(one)]
    if stream := next((place for place in places if place.is_stream), None):
        raise PoolError(f"{stream.path}: a cluster can't use a stream", "name files")
    local = next((place for place in places if isinstance(place, LocalFile)), None)
    if local and not is_shared:
        raise PoolError(
            f"{local.path} is a local path, and --scheduler uses other machines",
            "name URLs, or give --shared-filesystem if all of them see the same files",
        )


def connect(address: str) -> Client:
    """Return a client of the scheduler, which prints nothing.

    Raises:
        PoolError: distributed is not installed, or the scheduler can't be reached.
    """
    distributed = _import()
    if address == AUTO:
        import dask

        if not (address := dask.config.get("scheduler-address", None) or ""):
            raise PoolError(
                "Dask's own configuration names no scheduler",
                "give --scheduler its address, or set DASK_SCHEDULER_ADDRESS",
            )
    if "@" in address:  # it is not printed: it may hold a password
        raise PoolError("the scheduler's address holds a user or a password", "leave it out")
    try:
        client: Client = distributed.Client(address, set_as_default=False)
    except Exception:  # noqa: BLE001  # it depends on the protocol
        remedy = "is it running, and is that its address?"
        if address.startswith("tls://"):
            remedy = f"{remedy} Does Dask's configuration name the right certificates?"
        raise PoolError(f"no Dask scheduler answers at {address}", remedy) from None
    return client


def _import() -> Any:
    """Import distributed, and silence what it would print about its connections.

    Raises:
        PoolError: it is not installed.
    """
    try:
        import distributed
    except ImportError:
        what = "--scheduler (or POOLCLI_SCHEDULER)"
        raise missing(what, "distributed", "cluster") from None
    # Its loggers have levels and handlers of their own, which print tracebacks.
    for name in logging.root.manager.loggerDict:
        if name.startswith(("distributed", "tornado")):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return distributed


def insecurity(address: str) -> str:
    """Return a warning if others can read and join a connection, or an empty text."""
    protocol, _, host = address.rpartition("://")
    if protocol not in ("", "tcp") or host.startswith(LOOPBACK):
        return ""
    return f"the connection to {address} is not encrypted, and nobody is authenticated"


def needs_of(jobs: Sequence[Job]) -> Needs:
    """Return what all workers must have; of the inputs one local file stands for all."""
    files = (for_worker(job).source for job in jobs if isinstance(job.source, LocalFile))
    sample = next((place for place in files if place.status().kind == "file"), None)
    return Needs(versions(), sample and LocalFile(sample.path))


def places_of(job: Job) -> list[Place]:
    """Return the places of a job, without those of its other levels."""
    return [value for value in job if isinstance(value, Place)]


def for_worker(job: Job) -> Job:
    """Return a job for a worker, whose working folder is another, and which may be the second."""
    changes: dict[str, Any] = {
        name: value._replace(path=value.absolute())
        for name, value in zip(job._fields, job, strict=True)
        if isinstance(value, Place)
    }
    return job._replace(**changes, levels=tuple(map(for_worker, job.levels)), retry=True)
