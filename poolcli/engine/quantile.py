"""Read a quantile as an exact number, without NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from poolcli.errors import PoolError

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

QuantileLike: TypeAlias = "float | str | Decimal | Fraction"

MOST_DIGITS: Final = 1000
"""The most digits behind the point: the exact fraction of 1e-999999 would fill the memory."""


def exact_quantile(value: Any) -> Fraction:
    """Return a quantile as a fraction.

    Args:
        value: a fraction or a decimal number; a float counts as its shortest decimal form, not as
            the binary fraction nearest to it.

    Raises:
        PoolError: it is no number from 0 to 1.

    >>> exact_quantile(0.07), exact_quantile("0.5")
    (Fraction(7, 100), Fraction(1, 2))
    """
    from decimal import Decimal, InvalidOperation
    from fractions import Fraction

    if isinstance(value, Fraction) and 0 <= value <= 1:
        return value
    try:
        number = Decimal(repr(value) if isinstance(value, bool) else str(value))
        if 0 <= number <= 1 and len(f"{number:f}") <= MOST_DIGITS:
            return Fraction(number)
    except InvalidOperation:
        pass
    raise PoolError(f"quantile is {value!r}", "give a number from 0 to 1")
