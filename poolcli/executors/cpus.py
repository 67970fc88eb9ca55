"""Count the CPUs that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

GROUPS: Final = "/proc/self/cgroup"
GROUP_ROOT: Final = "/sys/fs/cgroup"
QUOTA_FILES: Final = {
    1: ("cpu{}/cpu.cfs_quota_us", "cpu{}/cpu.cfs_period_us"),
    2: ("{}/cpu.max",),
}
"""Where a group has its quota and period, for either version of control groups."""


def usable_cpus() -> int:
    """Return the number of CPUs that affinity and control groups leave to this process."""
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
        # A quota holds for all groups below. In a container the path may be the host's, of which
        # only the top exists here.
        for one in (group, *map(str, PurePosixPath(group).parents)):
            paths = (os.path.join(root, name.format(one).lstrip("/")) for name in files)
            with suppress(ValueError):  # no such group, or no quota: "max", or -1
                quota, period = map(int, " ".join(map(_read, paths)).split())
                if quota > 0:
                    yield -(-quota // period)


def _read(path: str) -> str:
    """Return the text of a file of the kernel's, or nothing if there is none."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""
