"""Read the value of samples without data, in text or as a number, as a value of their type."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from poolcli.errors import PoolError

NUMBER: Final = r"(?ia)[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,6})?|[+-]?inf(inity)?"


def nodata_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a nodata value as a Python number that an array of ``dtype`` can hold.

    Args:
        value: a number, or its decimal digits; NaN is refused.
        dtype: a type of samples. For floats the nearest value is taken, for integers and bool the
            number must be whole, such as "255.0".

    Raises:
        PoolError: it is no number, or the type can't hold it.

    >>> nodata_value("255.0", np.dtype("u1")), nodata_value("1e39", np.dtype("f8"))
    (255, 1e+39)
    """
    from decimal import Decimal  # few pictures have such a value

    name = dtype.name
    text = str(value.item() if isinstance(value, np.generic | np.ndarray) else value).strip()
    if isinstance(value, bool | np.bool_):
        text = str(int(value))
    if text.lower().lstrip("+-") == "nan":
        raise PoolError("nodata is NaN", "NaN is left out anyway: see nan")
    if not re.fullmatch(NUMBER, text):
        raise PoolError(f"nodata is {value!r}", f"give a number of type {name}")
    number = Decimal(text)
    unfit = PoolError(f"nodata is {text}, which is no {name}", f"give a value of type {name}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            nearest = float(dtype.type(float(number)))
        if np.isinf(nearest) and not number.is_infinite():
            raise unfit
        return nearest
    least, most = (0, 1) if dtype.kind == "b" else _limits(dtype)
    # The range is checked first: "1e999999" as an integer would fill the memory.
    if number.is_infinite() or not least <= number <= most or number != int(number):
        raise unfit
    return int(number)


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the least and the largest value of a type of integers."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
