"""The package as Python users meet it: its help, its names, and arrays of other libraries."""

from __future__ import annotations

import pydoc
from typing import Any

import numpy as np
import pytest

import poolcli
from poolcli import PoolError
from tests.engine_calls import POOLS

PICTURE = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(7, 9, 3)


def test_the_help_begins_with_an_example_and_then_tells_the_functions() -> None:
    text = pydoc.plain(pydoc.render_doc(poolcli))
    described, _, functions = text.partition("\nFUNCTIONS\n")

    assert "Pool pictures and arrays exactly" in described
    assert ">>> poolcli.max_pool(" in described
    assert len(described.splitlines()) < 60
    assert "CLASSES" not in described
    for name in poolcli.__all__:
        assert name in described
        assert f"\n    {name}(" in f"\n{functions}"
    assert "_make" not in text


def test_only_public_names_are_listed() -> None:
    assert set(dir(poolcli)) == {*poolcli.__all__, "Outcome", "PoolError"}
    for name in dir(poolcli):
        assert getattr(poolcli, name).__name__ == name
        assert getattr(poolcli, name).__doc__


class Offering:
    """An object that isn't an array, but can be read as one."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array


class ByArray(Offering):
    """It offers what Dask, xarray and PyTorch do."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._array, dtype=dtype, copy=copy)


class ByDlpack(Offering):
    """It offers DLPack alone."""

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


class OnDevice(Offering):
    """Its memory can't be read from here."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("it is at 0x7fff")


@pytest.mark.parametrize("kind", [ByArray, ByDlpack, lambda array: array.tolist()])
@pytest.mark.parametrize("method", sorted(POOLS))
def test_arrays_of_other_libraries_are_taken(method: str, kind: Any) -> None:
    array = PICTURE.astype(np.int64)
    pooled = POOLS[method](kind(array), (2, 3), 2)

    assert isinstance(pooled, np.ndarray)
    assert np.array_equal(pooled, POOLS[method](array, (2, 3), 2))


@pytest.mark.parametrize("kind", [ByArray, ByDlpack])
def test_where_and_weights_may_come_from_other_libraries_too(kind: Any) -> None:
    where = PICTURE[..., 0] % 5 > 1
    weights = PICTURE[..., 1]

    assert np.array_equal(
        poolcli.max_pool(PICTURE, 2, where=kind(where)), poolcli.max_pool(PICTURE, 2, where=where)
    )
    assert np.array_equal(
        poolcli.avg_pool(PICTURE, 2, weights=kind(weights)),
        poolcli.avg_pool(PICTURE, 2, weights=weights),
    )


def test_an_array_that_cannot_be_read_here_is_refused_in_our_words() -> None:
    with pytest.raises(PoolError, match="a OnDevice of tests can't be read as it is") as error:
        poolcli.max_pool(OnDevice(PICTURE), 2)
    assert "0x7fff" not in str(error.value)
