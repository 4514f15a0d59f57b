from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.strokes import Kind, find_strokes


def dense(*boxes: Any) -> NDArray[Any]:
    """Give polygons a vertex at every unit, as raw rings have along walls."""
    return np.asarray(shapely.transform(shapely.segmentize(np.array(boxes, object), 1), np.round), object)


def ends(points: NDArray[np.float64]) -> set[tuple[float, float]]:
    return {(float(x), float(y)) for x, y in points[[0, -1]]}


def test_wall_between_two_ends_on_the_outline() -> None:
    (stroke,) = find_strokes(dense(shapely.box(0, 0, 10, 20), shapely.box(10, 0, 20, 20)))
    assert ends(stroke.points) == {(10, 0), (10, 20)}
    assert stroke.kinds == (Kind.OUTLINE, Kind.OUTLINE)
    assert not stroke.closed


def test_wall_goes_straight_on_where_another_ends() -> None:
    houses = dense(shapely.box(0, 0, 15, 20), shapely.box(15, 0, 40, 20), shapely.box(0, 20, 40, 40))
    # The wall below is whole in the raw ring of the third house only if the others' corners are in it too.
    strokes = sorted(find_strokes(houses), key=lambda stroke: len(stroke.points))
    assert [ends(stroke.points) for stroke in strokes] == [{(15, 0), (15, 20)}, {(0, 20), (40, 20)}]
    assert set(strokes[0].kinds) == {Kind.OUTLINE, Kind.PASSING}


def test_three_that_meet_at_wide_angles_end_in_one_node() -> None:
    circle = shapely.Point(0, 0).buffer(30, 64)
    sectors = [
        shapely.Polygon([(0, 0), *((60 * np.cos(a), 60 * np.sin(a)) for a in np.radians(np.arange(start, start + 121, 30)))])
        for start in (0, 120, 240)
    ]
    net = shapely.union_all([circle.boundary, *(s.boundary for s in sectors)], grid_size=2.0**-12)
    parts = [part for part in shapely.get_parts(shapely.polygonize([net])) if part.within(circle.buffer(0.1))]
    strokes = find_strokes(np.array(parts))
    assert len(strokes) == 3
    assert len({stroke.nodes[stroke.kinds.index(Kind.MEETING)] for stroke in strokes}) == 1


def test_enclosed_building_has_a_closed_stroke() -> None:
    outer = shapely.box(0, 0, 40, 40) - shapely.box(10, 10, 30, 30)
    (stroke,) = find_strokes(dense(outer, shapely.box(10, 10, 30, 30)))
    assert stroke.closed
    assert shapely.Polygon(stroke.points).equals(shapely.box(10, 10, 30, 30))


def test_short_walls_between_nodes_are_none() -> None:
    # Four houses meet in two points that are 2 apart.
    houses = dense(shapely.box(0, 0, 20, 20), shapely.box(20, 0, 40, 20), shapely.box(0, 20, 22, 40), shapely.box(22, 20, 40, 40))
    strokes = find_strokes(houses)
    assert len(strokes) == 2
    assert min(np.hypot(*(stroke.points[-1] - stroke.points[0])) for stroke in strokes) >= 38
