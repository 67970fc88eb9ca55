"""The records of which a plan is made, and its refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from poolcli.errors import PoolError
from poolcli.formats import Format
from poolcli.formats.saving import Saving
from poolcli.storage import Place


class Job(NamedTuple):
    """One picture to pool: from where to where.

    Attributes:
        source: where the picture is read.
        target: where the result is written.
        format: the format to write, or None for the input's own.
        bytes: the size of the input as far as the plan knows it.
        skip: whether there is nothing to do, since the result exists.
        refusal: why this picture fails without being opened; empty if it doesn't.
        remedy: what to do about that.
        again: whether a worker died while it worked on it, and may have written it already.
    """

    source: Place
    target: Place
    format: Format | None
    bytes: int = 0
    skip: bool = False
    refusal: str = ""
    remedy: str = ""
    again: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known without opening anything."""
        return self.skip or bool(self.refusal)


class Refusal(NamedTuple):
    """One reason for which a plan is refused.

    Attributes:
        reason: what is wrong with all of the names.
        remedy: the option or the change that would allow it.
        names: the paths that it concerns.
    """

    reason: str
    remedy: str
    names: list[str]


class PlanError(PoolError):
    """A plan that is refused for several reasons; nothing was written.

    Attributes:
        refusals: every reason, each with all of its names.
    """

    def __init__(self, refusals: list[Refusal]) -> None:
        """Keep all reasons; the message is that of the first."""
        super().__init__(refusals[0].reason, refusals[0].remedy)
        self.refusals = refusals


class NothingMatchedError(PoolError):
    """A plan without any picture."""


class Policy(NamedTuple):
    """What a plan may do, and how it names outputs.

    Attributes:
        format: the name of the format to write, or None to go by suffixes.
        overwrite: whether existing files may be replaced.
        skip_existing: whether inputs whose output exists are left out.
        recursive: whether folders in folders are walked too.
        include: globs of which a found file must match one, if there are any.
        exclude: globs of which a found file must match none.
        files_from: a file that lists inputs, "-" for standard input, or None.
        null: whether the list is separated by NUL rather than by newlines.
        relative_to: the folder to which listed files are relative; the working folder if None.
        rename: from an input's path to its output's name without suffix; None keeps the name.
        saving: how results are written; checked against the formats.
    """

    format: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    recursive: bool = True
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    files_from: str | None = None
    null: bool = False
    relative_to: str | None = None
    rename: Callable[[str], str] | None = None
    saving: Saving = Saving()
