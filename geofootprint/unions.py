"""What hangs together: groups of numbered things that are linked by pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["connect"]


def connect(count: int, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.int64]:
    """Give all of 0, 1, ... that are linked, directly or by others, one number.

    A union-find with path halving (Tarjan, van Leeuwen 1984).

    Parameters
    ----------
    count : int
        How many there are.
    one, other : int arrays of the same length
        The pairs that are linked.

    Returns
    -------
    int array of shape (count,)
        Again 0, 1, ... in the order of what comes first of each group.
    """
    parents = list(range(count))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    for first, second in zip(one.tolist(), other.tolist(), strict=True):
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    roots = np.array([root(number) for number in range(count)], np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
