from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geofootprint.carve import carve, carve_faulty
from geofootprint.guard import find_faults
from geofootprint.metrics import count_vertices

EDGE = 2.0
NOBODY = np.zeros(0, object)
HOUSE = shapely.box(0, 0, 30, 20)


def overlap(polygons: NDArray[Any]) -> float:
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    return float(shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]])).max(initial=0))


def is_sound(polygon: Any) -> bool:
    return not find_faults(np.array([polygon]), EDGE)[0]


@pytest.mark.parametrize(
    "polygon",
    [
        HOUSE | shapely.Polygon([(10, 20), (11, 60), (12, 20)]),  # a spike outwards
        HOUSE - shapely.Polygon([(10, 20), (11, 2), (12, 20)]),  # and inwards
        HOUSE | shapely.box(30, 5, 31, 15),  # a step
        HOUSE - shapely.box(29, 19, 30, 20),  # a corner cut off
        shapely.Polygon([(0, 0), (30, 0), (30, 20), (29, 20), (0, 20)]),  # a vertex on a wall
        HOUSE - shapely.box(10, 10, 14, 11),  # a flat hole
        shapely.box(0, 0, 60, 1.5),  # thinner than the shortest edge
    ],
)
def test_faults_go_and_little_else(polygon: Any) -> None:
    mended = carve(polygon, NOBODY, EDGE)
    assert is_sound(mended)
    assert shapely.area(shapely.symmetric_difference(mended, polygon)) < 0.08 * polygon.area


def test_what_is_sound_is_the_same_object() -> None:
    polygons = np.array([HOUSE, shapely.box(40, 0, 60, 9)])
    assert carve_faulty(polygons, EDGE) is polygons


def test_neighbours_are_not_entered() -> None:
    notched = HOUSE - shapely.box(10, 19, 14, 20)
    beside = shapely.box(10, 19, 14, 40)
    mended = carve_faulty(np.array([notched, beside]), EDGE)
    assert not find_faults(mended, EDGE).any()
    assert overlap(mended) < 1e-9


def test_the_border_is_not_crossed() -> None:
    cut = HOUSE - shapely.box(29, 0, 40, 19)  # the best without a border is the whole rectangle, or nearly so
    inside = shapely.box(0, 0, 29.5, 20)
    mended = carve(cut & inside, NOBODY, EDGE, within=inside)
    assert is_sound(mended)
    assert shapely.area(shapely.difference(mended, inside)) < 1e-9


def test_what_cannot_be_mended_stays() -> None:
    speck = shapely.box(0, 0, 0.5, 0.5)
    assert carve(speck, NOBODY, EDGE) is speck


def test_holes_that_are_too_small_are_filled_but_not_where_somebody_lives() -> None:
    hole = shapely.box(10, 8, 11.5, 9.5)
    yard = HOUSE - hole
    assert carve(yard, NOBODY, EDGE).equals(HOUSE)
    filled, small = carve_faulty(np.array([yard, hole]), EDGE)
    assert is_sound(filled)
    assert small.equals(hole)
    assert overlap(np.array([filled, small])) < 1e-9


def town(seed: int) -> NDArray[Any]:
    """Return a coverage of random cells of which some are left out, cut by slivers: short edges and needles everywhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 90, (30, 2))
    faces = shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(points)))
    faces = shapely.intersection(faces, shapely.box(0, 0, 90, 90))[rng.random(len(faces)) < 0.8]
    start, angle = rng.uniform(0, 90, (3, 2)), rng.uniform(0, np.pi, 3)
    ends = start + 60 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for line in shapely.linestrings(np.stack([start, ends], axis=1)):
        sliver = shapely.buffer(line, rng.uniform(0.1, 0.8), cap_style="flat")
        faces = shapely.get_parts(shapely.difference(faces, sliver))
    # As small as a building may be at 0.3 m.
    return np.asarray(faces[shapely.area(faces) > 89], object)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_any_town_of_buildings_is_mended_without_overlaps(seed: int) -> None:
    polygons = town(seed)
    mended = carve_faulty(polygons, EDGE)
    assert not find_faults(mended, EDGE).any()
    assert overlap(mended) < 1e-6
    assert (shapely.area(shapely.intersection(mended, polygons)) > 0.6 * shapely.area(polygons)).all()
    again = carve_faulty(polygons, EDGE)
    assert shapely.to_wkb(again).tolist() == shapely.to_wkb(mended).tolist()


@pytest.mark.parametrize("twice", range(4))
def test_a_vertex_that_is_there_twice(twice: int) -> None:
    square = [(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)]
    doubled = shapely.Polygon([*square[: twice + 1], *square[twice:]])
    (carved,) = carve_faulty(np.array([doubled]), 2.0)
    assert shapely.equals(carved, shapely.Polygon(square))
    assert count_vertices(np.array([carved]))[0] == 4


def test_thin_parts_that_fill_the_room_between_neighbours() -> None:
    thin = shapely.from_wkt(
        "POLYGON ((108.05 -0.13, 120 0.06, 120.25 15.05, 108.03 15.158, 107.526 15.158, 107.519 22.56, 107.438 15.246,"
        " 96.436 15.079, 108.436 14.927, 108.05 -0.13))"
    )
    box = shapely.box(80, -10, 130, 40)
    neighbours = shapely.get_parts(box.difference(thin))
    mended = carve(thin, neighbours, 0.5)
    assert not find_faults(np.array([mended]), 0.5)[0]
    assert shapely.area(shapely.difference(mended, thin)) < 1e-6
    assert shapely.area(shapely.difference(thin, mended)) < 6


def test_mending_does_not_depend_on_where_a_ring_begins() -> None:
    house = shapely.Polygon([(0, 0), (20, 0), (20.4, 0.9), (20, 14), (9, 14), (8.6, 22), (8.2, 14), (0, 13.5)])
    xy = shapely.get_coordinates(house)[:-1]
    mended = [carve(shapely.Polygon(np.roll(xy, -first, axis=0)), NOBODY, EDGE) for first in range(len(xy))]
    assert max(shapely.area(shapely.symmetric_difference(mended[0], other)) for other in mended) < 1e-9
