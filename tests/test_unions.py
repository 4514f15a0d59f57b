from __future__ import annotations

import numpy as np

from geofootprint.unions import connect

NOTHING = np.zeros(0, np.int64)


def test_numbers_follow_what_comes_first() -> None:
    assert connect(6, np.array([5, 4]), np.array([1, 5])).tolist() == [0, 1, 2, 3, 1, 1]


def test_nothing_is_linked() -> None:
    assert connect(3, NOTHING, NOTHING).tolist() == [0, 1, 2]
    assert connect(0, NOTHING, NOTHING).tolist() == []


def test_a_long_chain_in_any_order_is_one() -> None:
    links = np.random.default_rng(0).permutation(50_000)
    assert not connect(50_001, links, links + 1).any()
