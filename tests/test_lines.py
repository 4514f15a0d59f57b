from __future__ import annotations

import numpy as np
import pytest
import shapely

from geofootprint.lines import Chains, best_line, error_along, neighbours, spread


def rings() -> Chains:
    return Chains.of(np.array([shapely.box(0, 0, 30, 10).exterior, shapely.box(5, 5, 9, 8).exterior]))


def test_line_of_a_stretch_is_the_total_least_squares_line_of_its_points() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 40, 4001)
    points = np.stack([x, 0.3 * x + np.cumsum(rng.normal(size=x.size)) * 0.001], axis=1)
    chains = Chains.of(np.array([shapely.LineString(points)]))
    length, cx, cy, xx, xy, yy = spread(chains.between(np.array([500]), np.array([3500])))
    angle, error = best_line(xx, xy, yy)
    part = points[500:3501]
    middle = part.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((part - middle).T))
    assert (cx[0], cy[0]) == pytest.approx(middle, abs=0.01)
    assert np.tan(angle[0]) == pytest.approx(vectors[1, 1] / vectors[0, 1], abs=1e-3)
    assert error[0] / length[0] == pytest.approx(values[0], rel=0.02)
    assert error_along(xx, xy, yy, angle) == pytest.approx(error, rel=1e-6)


def test_dense_and_sparse_boundaries_have_the_same_sums() -> None:
    ring = shapely.box(1, 2, 31, 12).exterior
    sparse, dense = Chains.of(np.array([ring])), Chains.of(np.array([shapely.segmentize(ring, 0.1)]))
    assert sparse.between(sparse.starts, sparse.ends) == pytest.approx(dense.between(dense.starts, dense.ends))


def test_places_along_one_chain_never_lie_on_another() -> None:
    chains = rings()
    assert chains.along[chains.ends] == pytest.approx([80, 14])
    for start, end in zip(chains.starts, chains.ends, strict=True):
        sample = np.array([start])
        there = chains.first_after(sample, 5.0)
        assert start < there[0] <= end
        assert chains.along[there] - chains.along[sample] == pytest.approx(5, abs=1.5)
        assert chains.last_before(there, 5.0)[0] == start


def test_turned_rings_are_the_same_rings() -> None:
    chains = rings()
    turned = chains.turned(chains.starts + 7)
    assert (turned.xy[turned.starts] == chains.xy[chains.starts + 7]).all()
    assert (turned.xy[turned.ends] == turned.xy[turned.starts]).all()
    for start, end in zip(chains.starts, chains.ends, strict=True):
        before, after = (shapely.Polygon(c.xy[start : end + 1]) for c in (chains, turned))
        assert before.equals(after)


def test_neighbours_go_round_each_ring() -> None:
    before, after = neighbours(np.array([0, 0, 0, 4, 4]))
    assert before.tolist() == [2, 0, 1, 4, 3]
    assert after.tolist() == [1, 2, 0, 4, 3]
