"""What a run prints, for people and for programs."""

from __future__ import annotations

import json
import os
import unicodedata
from typing import Any, Final, NoReturn

from tests.support.processes import Done

ODD_NAMES: Final = {
    "a newline": b"new\nline.png",
    "escape codes": b"\x1b[31mred\x07.png",
    "C1 controls": "\x9b31m.png".encode(),
    "bidi": "\u202egnp.exe\u2066.png".encode(),
    "line separators": "a\u2028b\u2029c.png".encode(),
    "markup": b"[bold]foo].png",
    "a dash": b"-rf.png",
    "bytes that are not UTF-8": b"caf\xe9\xff.png",
    "other scripts": "é漢字😀.png".encode(),
    "format codes": b"%s{0}{stem}\\n.png",
    "spaces": b"  a b\t.png",
}


def objects(text: bytes | str) -> list[dict[str, Any]]:
    """Parse JSON Lines strictly: ASCII, no NaN, no empty line."""
    text = text if isinstance(text, str) else text.decode("ascii")
    assert text.isascii()
    return [json.loads(line, parse_constant=_refuse) for line in text.splitlines()]


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


def outcomes(done: Done) -> list[dict[str, Any]]:
    """Return the JSON of each picture of a run."""
    return objects(done.stdout)[:-1]


def summary(done: Done) -> dict[str, Any]:
    """Return the totals in the JSON of a run."""
    totals: dict[str, Any] = objects(done.stdout)[-1]["summary"]
    return totals


def counts(done: Done) -> tuple[int, int, int, int]:
    """Return how many pictures were done, skipped, failed and left."""
    totals = summary(done)
    return totals["done"], totals["skipped"], totals["failed"], totals["left"]


def statuses(done: Done) -> dict[str, str]:
    """Return the status of each input, by the name of its file."""
    return {os.path.basename(one["input"]): one["status"] for one in outcomes(done)}


def complaints(done: Done) -> list[str]:
    """Return the lines on stderr that tell of failures."""
    return [line for line in done.stderr.decode().splitlines() if line.startswith("poolcli: ")]


def only_line(done: Done) -> str:
    """Return the one line on stderr of a run that failed as it should, with nothing on stdout."""
    text = done.stderr.decode()
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert text.endswith("\n")
    assert lines[0].startswith("poolcli: ")
    assert "Traceback" not in text
    assert not done.stdout
    return lines[0]


def has_only_printable_lines(text: str) -> bool:
    """Return whether nothing in a text could do anything to a terminal."""
    return not any(
        unicodedata.category(letter).startswith(("C", "Zl", "Zp"))
        for letter in text
        if letter != "\n"
    )
