from __future__ import annotations

import numpy as np
import pytest
import shapely

from geofootprint.guard import find_faults, simple_polygon

HOUSE = shapely.box(0, 0, 20, 12)
NOTCHED = shapely.Polygon([(0, 0), (20, 0), (20, 5), (21, 5), (21, 6), (20, 6), (20, 12), (0, 12)])
NEEDLE = shapely.Polygon([(0, 0), (60, 5), (0, 10), (-20, 5)])


@pytest.mark.parametrize(
    ("polygon", "faulty"),
    [
        (HOUSE, False),
        (NOTCHED, True),
        (NEEDLE, True),
        (shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)]), True),
        (shapely.Polygon(), True),
        (HOUSE - shapely.box(5, 5, 6, 9), True),
        (HOUSE - shapely.box(5, 5, 8, 9), False),
    ],
)
def test_faults_are_found_in_all_rings(polygon: shapely.Polygon, faulty: bool) -> None:
    assert find_faults(np.array([HOUSE, polygon, HOUSE]), 2.0).tolist() == [False, faulty, False]


@pytest.mark.parametrize("polygon", [NOTCHED, NEEDLE, HOUSE - shapely.box(5, 5, 6, 9)])
def test_simple_polygons_have_no_faults_and_nearly_the_area(polygon: shapely.Polygon) -> None:
    simple = simple_polygon(polygon, 2.0)
    assert not find_faults(np.array([simple]), 2.0)[0]
    assert shapely.area(shapely.symmetric_difference(simple, polygon)) < 0.05 * polygon.area


def test_what_is_too_small_stays() -> None:
    tiny = shapely.box(0, 0, 1, 1.5)
    assert simple_polygon(tiny, 2.0).equals(tiny)
