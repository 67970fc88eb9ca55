"""Count what is left out of a folder or a list, so that it can be told."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from typing import NamedTuple

from poolcli.formats import by_name, by_suffix
from poolcli.formats.extras import is_installed
from poolcli.formats.unread import UNREAD

NO_PICTURE = "its suffix names no picture"


class LeftOut(NamedTuple):
    """The files that a plan leaves out.

    Attributes:
        pictures: pictures of formats that are not read: how many, by suffix in lower case.
        outputs: outputs of other inputs, in a run whose folders of inputs and outputs are the same.
        others: everything else: the path, and why it is left out.
    """

    pictures: Counter[str]
    outputs: list[str]
    others: list[tuple[str, str]]

    @classmethod
    def nothing(cls) -> LeftOut:
        """Return the record of a plan that has left out nothing yet."""
        return cls(Counter(), [], [])

    def add(self, path: str, why: str = NO_PICTURE) -> None:
        """Add a file; a picture of a format that is not read is recognised by its suffix."""
        suffix = suffix_of(path)
        if why == NO_PICTURE and (suffix in UNREAD or by_suffix(suffix) is not None):
            self.pictures[suffix] += 1
        else:
            self.others.append((path, why))

    def in_words(self) -> tuple[str, ...]:
        """Return which pictures are left out, and how many outputs of an earlier run."""
        words = []
        if self.pictures:
            counts = ", ".join(f"{count} {suffix}" for suffix, count in self.pictures.most_common())
            names = {row.name for suffix in self.pictures if (row := by_suffix(suffix))}
            cures = [cure for name in sorted(names) if (cure := cure_of(name))]
            words.append(f"{counts} ({'; '.join(['not read', *cures])})")
        if self.outputs:
            words.append(f"{len(self.outputs)} outputs of an earlier run")
        return tuple(words)

    def whole(self) -> str:
        """Return all files that were left out, in words; empty if there are none."""
        count = self.pictures.total() + len(self.outputs) + len(self.others)
        if not count:
            return ""
        others = Counter(suffix_of(path) or "without a suffix" for path, _ in self.others)
        parts = [*self.in_words(), *(f"{number} {what}" for what, number in others.most_common())]
        return f"{count} file{'s' * (count > 1)} left out: {', '.join(parts)}"


def suffix_of(path: str) -> str:
    """Return the suffix of a path in lower case."""
    return os.path.splitext(path)[1].lower()


@cache
def cure_of(name: str, is_converted: bool = False) -> str:
    """Return what makes pictures of a format be pooled, in words; empty if nothing is missing.

    Args:
        name: the format.
        is_converted: whether another format is written.
    """
    row = by_name(name)
    if row.extra is not None and not row.modes and not is_installed(row.extra):
        return f"{row.title} with the extra {row.extra.name}"
    return "" if row.modes or is_converted else f"{row.title} with --format"
