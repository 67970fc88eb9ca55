"""Count the CPUs that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

GROUPS: Final = "/proc/self/cgroup"
GROUP_ROOT: Final = "/sys/fs/cgroup"
QUOTA_FILES: Final = {
    1: ("cpu{}/cpu.cfs_quota_us", "cpu{}/cpu.cfs_period_us"),
    2: ("{}/cpu.max",),
}
"""The files of a group that hold its quota and period in µs, by version of control groups."""


_sharing = 1


def share(processes: int) -> None:
    """Leave an equal part of the CPUs to each of some processes; for the entry of a worker."""
    global _sharing
    _sharing = processes


def usable_threads(most: int) -> int:
    """Return how many threads this process may keep busy at the same time, at most ``most``."""
    return max(1, min(most, usable_cpus() // _sharing))


def usable_cpus() -> int:
    """Return the number of CPUs that affinity and control groups allow this process to use.

    A container may have a quota of 2 CPUs on a host of 64: as many workers would only wait.
    """
    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    return max(1, min([usable, *group_quotas()]))


def group_quotas(groups: str = GROUPS, root: str = GROUP_ROOT) -> Iterator[int]:
    """Yield the CPUs, rounded up, of each control group of this process that has a quota.

    Args:
        groups: the file in which the kernel lists the groups of this process.
        root: the folder where control groups are mounted.
    """
    for line in _read(groups).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        files = QUOTA_FILES[1 if controllers else 2]
        # The quota of a group limits the groups inside it too, so all parents are read. In a
        # container the path may be that of the host, of which only the root exists here.
        names = group.rstrip("/").split("/")
        for path in ("/".join(names[:end]) for end in range(len(names), 0, -1)):
            paths = (os.path.join(root, name.format(path).lstrip("/")) for name in files)
            with suppress(ValueError):  # there is no such group, or no quota: "max" in version 2
                quota, period = map(int, " ".join(map(_read, paths)).split())
                if quota > 0:  # version 1 writes -1 for no quota
                    yield -(-quota // period)


def _read(path: str) -> str:
    """Return the text of a file, or an empty text if it can't be read."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""
