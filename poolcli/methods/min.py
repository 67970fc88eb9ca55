"""Min pooling: the smallest value of every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from poolcli.engine.extremes import Extreme
from poolcli.methods.max import Max


@dataclass(frozen=True)
class Min(Max):
    """Keep the smallest value of every window."""

    name: ClassVar[Extreme] = "min"
