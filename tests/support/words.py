"""Words in messages to people that are not ours: of Python, of a library, or a bare number."""

from __future__ import annotations

import re
from typing import Final

FOREIGN: Final = re.compile(
    r"""<[^>]*\ at\ 0x | \b0x[0-9a-f]+ | \bobjects?\b | \bb['"] | [:(]\ ?-?\d+\)?(?:;|$)
    | \b(?:Traceback|[A-Z]\w+(?:Error|Exception|Warning)|Errno|NoneType|None|ndarray|StopIteration)
    | out\ of\ range | unpack | bytes-like | buffer | literal | argument | iterable | subscript
    | [cC]annot\b | \bint\(\) | not\ identified | divi(?:de|sion)\ by | failed\ to""",
    re.VERBOSE,
)
ALLOWED: Final = re.compile(r"raise that limit, or set it to None")


def foreign_words(message: str) -> list[str]:
    """Return what a message says in words that aren't ours."""
    return [found[0] for found in FOREIGN.finditer(ALLOWED.sub("", message))]
