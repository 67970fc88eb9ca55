"""State the durations and the number of plays of an animation as its format can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

MILLISECONDS_A_DAY: Final = 86_400_000


class Timing(NamedTuple):
    """The durations and the numbers of plays that a format can state.

    Attributes:
        tick: the unit of durations, in milliseconds.
        longest: the longest duration of a frame, in units.
        most_plays: the largest number of plays; 0 if it can only state endless repetition.
        coarse: the number of ticks in the coarser unit that longer durations may have.
        longest_sum: the longest duration of all frames, in ticks; None if there is no limit.
    """

    tick: Fraction | int
    longest: int
    most_plays: int
    coarse: int = 1
    longest_sum: int | None = None

    def pieces(self, ticks: int) -> Iterator[int]:
        """Split a duration into the longest ones that can be stated; their sum is exact."""
        while True:
            piece = ticks
            if ticks > self.longest:
                piece = min(ticks // self.coarse, self.longest) * self.coarse
            yield piece
            ticks -= piece
            if not ticks:
                return


class Timeline:
    """The durations and the number of plays of an animation, as its format can state them.

    Durations are rounded to whole ticks without changing their sum: the rounding error of a frame
    is carried over to the next.
    """

    def __init__(self, timing: Timing, title: str, warn: Callable[[str], None]) -> None:
        """Keep the arguments.

        Args:
            timing: the limits of the format.
            title: the name of the format in warnings.
            warn: takes a warning for what can't be stated.
        """
        self.timing, self._title, self._warn = timing, title, warn
        self._rounding_error: Fraction | int = 0
        self._sum = 0

    def ticks(self, duration: Fraction | int) -> int:
        """Return the duration of the next frame in ticks; warn if it becomes 0."""
        from fractions import Fraction  # only animations need it

        self._rounding_error += Fraction(duration) / self.timing.tick
        ticks = round(self._rounding_error)
        self._rounding_error -= ticks
        if duration and not ticks:
            # Programs show such frames in a time of their own, such as 100 ms.
            self._warn(
                f"{self._title} states durations in units of {float(self.timing.tick):g} ms: "
                "shorter ones became 0"
            )
        return ticks

    def split(self, ticks: int) -> Iterator[int]:
        """Split a duration that is too long for one frame; warn of it."""
        self._check(ticks, "are written several times")
        return self.timing.pieces(ticks)

    def clamped(self, ticks: int) -> int:
        """Shorten a duration that is too long for one frame or for the animation; warn of it."""
        self._check(ticks, "were shortened")
        ticks = min(ticks, self.timing.longest)
        left = self.timing.longest_sum
        if left is not None and self._sum + ticks > left:
            days = float(left * self.timing.tick) / MILLISECONDS_A_DAY
            self._warn(f"{self._title} shows an animation for at most {days:.1f} days")
            ticks = left - self._sum
        self._sum += ticks
        return ticks

    def plays(self, plays: int) -> int:
        """Return a number of plays that the format can state; warn if it is another one."""
        most = self.timing.most_plays
        if plays > most:
            states = f"at most {most}" if most else "only endless repetition"
            self._warn(f"the number of plays is {plays}, and {self._title} can state {states}")
        return min(plays, most)

    def _check(self, ticks: int, what: str) -> None:
        """Warn of a duration that is too long for one frame."""
        if ticks > self.timing.longest * self.timing.coarse:
            seconds = float(self.timing.longest * self.timing.coarse * self.timing.tick) / 1000
            self._warn(f"{self._title} shows a frame for at most {seconds:g} s: longer ones {what}")
