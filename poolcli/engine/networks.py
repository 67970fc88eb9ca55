"""Sort or select with networks of comparisons, which NumPy runs on whole arrays at a time.

A network compares values in an order that does not depend on them: each step is the minimum or
the maximum of two arrays. It is built from Batcher's odd-even merges of sorted lists of any
lengths (Knuth, The Art of Computer Programming, volume 3, 5.3.4), without the steps that the
wanted results do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poolcli.engine.kernels import Scratch

LOWER_AND_HIGHER: Final[tuple[np.ufunc, np.ufunc]] = (np.minimum, np.maximum)


class Comparison(NamedTuple):
    """Write the minimum or maximum of two slots to a slot."""

    is_max: int
    one: int
    other: int
    into: int


class Network(NamedTuple):
    """The steps that select some of the sorted values.

    Slots are numbered; the first ones hold the inputs.

    Attributes:
        inputs: the inputs that are needed, by number.
        steps: what is computed, in this order.
        results: the slots that hold the wanted values at the end.
    """

    inputs: tuple[int, ...]
    steps: tuple[Comparison, ...]
    results: tuple[int, ...]


@cache
def selection(lengths: tuple[int, ...], wanted: tuple[int, ...], overwrite: bool) -> Network:
    """Return a network that merges sorted lists and selects values of the merged list.

    Args:
        lengths: the length of each list. The inputs are numbered list by list.
        wanted: the positions in the merged list of the values to select.
        overwrite: whether slots of inputs may be reused for results.
    """
    count = sum(lengths)
    nodes: list[tuple[int, int, int]] = []  # (is_max, one, other); their numbers follow the inputs

    def compare(one: int, other: int) -> tuple[int, int]:
        nodes.extend(((0, one, other), (1, one, other)))
        return count + len(nodes) - 2, count + len(nodes) - 1

    def merge(one: list[int], other: list[int]) -> list[int]:
        if not one or not other:
            return one or other
        if len(one) == len(other) == 1:
            return list(compare(one[0], other[0]))
        first, *evens = merge(one[::2], other[::2])
        odds = merge(one[1::2], other[1::2])
        pairs = [compare(*pair) for pair in zip(odds, evens, strict=False)]
        rest = odds[len(evens) :] or evens[len(odds) :]
        return [first, *(value for pair in pairs for value in pair), *rest]

    numbers = iter(range(count))
    lists = [[next(numbers) for _ in range(length)] for length in lengths]
    while len(lists) > 1:
        pairs = [merge(*lists[at : at + 2]) for at in range(0, len(lists) - 1, 2)]
        lists = pairs + lists[len(pairs) * 2 :]
    results = [lists[0][at] for at in wanted]
    return _allocated(nodes, count, results, overwrite)


def _allocated(
    nodes: list[tuple[int, int, int]], count: int, results: list[int], overwrite: bool
) -> Network:
    """Leave out nodes that no result needs, and give each value a slot until its last use."""
    needed = set(results)
    for at in reversed(range(len(nodes))):
        if count + at in needed:
            needed.update(nodes[at][1:])
    last = {value: len(nodes) for value in results}
    for at in reversed(range(len(nodes))):
        if count + at in needed:
            for operand in nodes[at][1:]:
                last.setdefault(operand, at)
    slot = {value: value for value in range(count)}
    free: list[int] = []
    used, steps = count, []
    for at, (is_max, one, other) in enumerate(nodes):
        if count + at not in needed:
            continue
        # NumPy computes in place without a copy if an operand is exactly the output.
        ended = {slot[value] for value in (one, other) if last[value] == at}
        free += sorted(place for place in ended if overwrite or place >= count)
        if not free:
            free, used = [used], used + 1
        slot[count + at] = free.pop()
        steps.append(Comparison(is_max, slot[one], slot[other], slot[count + at]))
    inputs = tuple(value for value in range(count) if value in needed)
    return Network(inputs, tuple(steps), tuple(slot[value] for value in results))


def run(
    network: Network, inputs: Sequence[NDArray[Any]], scratch: Scratch, name: str
) -> list[NDArray[Any]]:
    """Return the wanted values of a network, arrays of the shape of the inputs.

    Args:
        network: a network.
        inputs: an array for each input; only those in `Network.inputs` are read. They are
            overwritten if the network was built for that.
        scratch: memory for other slots.
        name: the name of that memory.
    """
    slots = list(inputs)
    model = inputs[network.inputs[0]]
    for is_max, one, other, into in network.steps:
        while len(slots) <= into:
            slots.append(scratch.take(f"{name} {len(slots)}", model.shape, model.dtype))
        LOWER_AND_HIGHER[is_max](slots[one], slots[other], out=slots[into])
    return [slots[slot] for slot in network.results]
