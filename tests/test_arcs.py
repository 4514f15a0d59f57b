from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geofootprint.arcs import simplify_together


def tessellate(cells: NDArray[np.int64]) -> NDArray[Any]:
    """Return one polygon a value, with a vertex at every pixel corner, as a raw outline has."""
    shapes = []
    for value in np.unique(cells[cells > 0]):
        rows, columns = np.nonzero(cells == value)
        union = shapely.union_all(shapely.box(columns, rows, columns + 1, rows + 1))
        shapes += [shapely.segmentize(part, 1) for part in shapely.get_parts(union)]
    return np.array(shapes, object)


def overlap(polygons: NDArray[Any]) -> float:
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    return float(shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]])).sum())


def vertices(polygon: Any) -> set[tuple[float, float]]:
    return {(float(x), float(y)) for x, y in shapely.get_coordinates(polygon)}


def test_vertices_on_straight_lines_go() -> None:
    (simple,) = simplify_together(np.array([shapely.segmentize(shapely.box(0, 0, 20, 10), 1)]), 0.5)
    assert vertices(simple) == {(0, 0), (20, 0), (20, 10), (0, 10)}


def test_ring_begins_at_a_corner_wherever_it_began_before() -> None:
    ring = shapely.get_coordinates(shapely.segmentize(shapely.box(0, 0, 20, 10), 1))[:-1]
    turned = np.array([shapely.Polygon(np.roll(ring, turn, axis=0)) for turn in range(len(ring))])
    assert len({simplify_together(turned[i : i + 1], 0.5)[0].wkb for i in range(len(turned))}) == 1


def test_shared_wall_is_the_same_in_both() -> None:
    cells = np.ones((12, 12), np.int64)
    cells[:, 6:] = 2
    cells[::2, 6] = 1  # a wall of steps
    first, second = simplify_together(tessellate(cells), 0.8)
    shared = shapely.intersection(first, second)
    assert shapely.length(shared) > 11
    assert overlap(np.array([first, second])) == 0
    assert shapely.area(first) + shapely.area(second) == pytest.approx(144)


def test_building_in_a_courtyard_that_it_fills_shares_the_ring() -> None:
    outer = shapely.segmentize(shapely.box(0, 0, 20, 20) - shapely.box(5, 5, 15, 14), 1)
    inner = shapely.segmentize(shapely.box(5, 5, 15, 14), 1)
    simple = simplify_together(np.array([outer, inner]), 0.8)
    assert vertices(simple[1]) == {(5, 5), (15, 5), (15, 14), (5, 14)}
    assert shapely.coverage_is_valid(simple)
    assert shapely.union_all(simple).equals(shapely.box(0, 0, 20, 20))


def test_neighbours_in_each_others_way_keep_more_vertices() -> None:
    # A narrow tooth of one in a notch of the other, half a pixel apart: at this tolerance both would go straight.
    notched = shapely.Polygon([(0, 0), (20, 0), (20, 10), (11, 10), (10, 8), (9, 10), (0, 10)])
    tooth = shapely.Polygon([(0, 20), (0, 10.2), (9.2, 10.2), (10, 8.6), (10.8, 10.2), (20, 10.2), (20, 20)])
    simple = simplify_together(np.array([notched, tooth]), 1.9)
    assert overlap(simple) == 0
    assert shapely.is_valid(simple).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), tolerance=st.sampled_from([0.3, 0.6, 1.0, 3.0]))
def test_no_overlaps_and_valid_on_random_tessellations(seed: int, tolerance: float) -> None:
    random = np.random.default_rng(seed)
    cells = np.kron(random.integers(0, 5, (6, 6)), np.ones((4, 4), np.int64))
    cells[random.random(cells.shape) < 0.05] = 0
    polygons = tessellate(cells)
    # Corners where polygons touch in a point are no coverage's business: such cells belong to one of them.
    polygons = polygons[shapely.is_valid(polygons)]
    simple = simplify_together(polygons, tolerance)
    assert len(simple) == len(polygons)
    assert shapely.is_valid(simple).all()
    assert overlap(simple) < 1e-9
