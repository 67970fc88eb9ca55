"""Files of every kind that a format holds, and what several kinds of work make of each."""

from __future__ import annotations

from pathlib import Path

from poolcli.formats.row import Format
from poolcli.run.work import Work
from tests.contract_support import modes_of, noisy_in, sequence
from tests.jobs import run, work
from tests.pictures import written

WORKS = (
    work("max", 2),
    work("avg", 3, stride=2, padding=1),
    work("avg", 2, linear=True),
    work("min", (1, 2), alpha="straight"),
)


def sources(row: Format, folder: Path) -> list[Path]:
    """A still of every mode that the format holds, and frames."""
    pictures = [[noisy_in(mode, (20, 30), at)] for at, mode in enumerate(modes_of(row))]
    if row.frames != "one":
        pictures.append(sequence(row))
    paths = []
    for number, one in enumerate(pictures):
        path = folder / f"in{number}{row.suffixes[0]}"
        path.write_bytes(written(one, row.name)[0])
        paths.append(path)
    return paths


def results(path: Path, folder: Path, row: Format, works: tuple[Work, ...]) -> list[object]:
    """What each kind of work makes of a file, or why it doesn't."""
    found: list[object] = []
    for number, how in enumerate(works):
        target = folder / f"{path.stem}-{number}"
        outcome = run(path, target, row.name, how)
        found.append((outcome.status, outcome.error, outcome.notes, outcome.warnings))
        found.append(target.read_bytes() if target.exists() else None)
    return found
