from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geofootprint.tidy import tidy


def places(polygon: Any) -> set[tuple[float, float]]:
    return {(float(x), float(y)) for x, y in shapely.get_coordinates(polygon)}


def test_flat_corner_goes_but_not_where_a_wall_ends() -> None:
    facade = shapely.Polygon([(0, 0), (10, 0), (30, 0), (30, 10), (15, 10), (0, 10)])
    one, other = shapely.Polygon([(0, 0), (10, 0), (10, -10), (0, -10)]), shapely.box(10, -10, 30, 0)
    tidied = tidy(np.array([facade, one, other]), 2)
    assert places(tidied[0]) == {(0, 0), (10, 0), (30, 0), (30, 10), (0, 10)}
    assert shapely.coverage_is_valid(tidied)


def test_wall_beside_a_corner_moves_into_it_in_all_polygons() -> None:
    left = shapely.Polygon([(-100, 0), (19, 0), (19, 20), (-100, 20)])
    right = shapely.Polygon([(19, 0), (20, 0), (20, -10), (140, -10), (140, 20), (19, 20)])
    tidied = tidy(np.array([left, right]), 2)
    assert shapely.coverage_is_valid(tidied)
    assert (20, 0) in places(tidied[0])
    assert (19, 0) not in places(tidied[0]) | places(tidied[1])


def test_spike_goes() -> None:
    (tidied,) = tidy(np.array([shapely.Polygon([(0, 0), (20, 0), (21, 30), (22, 0), (40, 0), (40, -120), (0, -120)])]), 2)
    assert tidied.equals(shapely.box(0, -120, 40, 0))


def test_corners_of_fixed_polygons_stay() -> None:
    jog = shapely.Polygon([(0, 0), (10, 0), (10, 1), (20, 1), (20, 20), (0, 20)])
    (loose,), (firm,) = tidy(np.array([jog]), 2), tidy(np.array([jog]), 2, fixed=np.array([True]))
    assert len(places(loose)) == 4, "the step is gone"
    assert loose.area == jog.area
    assert places(firm) == places(jog)


def test_what_would_vanish_stays() -> None:
    sliver = shapely.box(0, 0, 1, 1)
    (tidied,) = tidy(np.array([sliver]), 5)
    assert tidied.is_valid
    assert not tidied.is_empty


def cells(seed: int, side: float = 40) -> NDArray[Any]:
    points = np.random.default_rng(seed).uniform(0, side, (25, 2))
    faces = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(points)))
    clipped = shapely.intersection(faces, shapely.box(0, 0, side, side))
    edges = shapely.union_all(shapely.boundary(clipped), grid_size=2.0**-12)
    return np.asarray(shapely.get_parts(shapely.polygonize([edges])), object)


def count_short(polygons: NDArray[Any]) -> int:
    edges = [np.hypot(*np.diff(shapely.get_coordinates(polygon), axis=0).T) for polygon in polygons]
    return int((np.concatenate(edges) < 2).sum())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_coverage_stays_one_and_nothing_is_lost(seed: int) -> None:
    polygons = cells(seed)
    tidied = tidy(polygons, 2)
    assert len(tidied) == len(polygons)
    assert shapely.is_valid(tidied).all()
    assert not shapely.is_empty(tidied).any()
    assert shapely.coverage_is_valid(tidied)
    assert count_short(tidied) <= count_short(polygons)


def test_short_edges_go_where_polygons_keep_their_areas() -> None:
    before = after = 0
    for seed in range(40):
        polygons = cells(seed, 400)
        tidied = tidy(polygons, 2)
        before, after = before + count_short(polygons), after + count_short(tidied)
        change = np.abs(shapely.area(tidied) - shapely.area(polygons))
        assert (change < 0.05 * shapely.area(polygons) + 8).all()
    # Only at nodes of three here, where areas have to change a little; what is left is cut off by itself later.
    assert after < before / 2
