from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from geofootprint.rings import Rings, Rule, draw_rings

RULE = Rule(
    level=127.5, peak=150, min_size=4, min_hole=3, min_gap=3, marker_size=1, outline="raw", extent=(0, 0, 1000, 1000),
    pixel_area=1.0,
)


def draw(building: NDArray[Any], *, contour: NDArray[Any] | None = None, rule: Rule = RULE) -> Rings:
    """Draw the outlines of an array that gets a margin of one pixel without data."""
    bands = np.stack([building] if contour is None else [building, contour]).astype(np.uint8)
    valid = np.pad(np.ones(building.shape, np.bool_), 1)
    padded = np.pad(bands, ((0, 0), (1, 1), (1, 1)))
    return draw_rings(padded, valid, valid & (padded[0] > rule.level), rule, origin=(-1, -1))


def test_ring_is_the_contour_line_right_at_pixel_centres() -> None:
    field = np.zeros((20, 20))
    # The probability falls by 50 a pixel, so it passes the level 0.45 px beyond the centre of column 12.
    field[5:15, :] = np.clip(150 - 50 * (np.arange(20) - 12), 0, 255)
    field[:, :5] = 0
    (polygon,) = draw(field).polygons
    _, _, right, _ = polygon.bounds
    assert right == pytest.approx(12.5 + (150 - 127.5) / 50)


def test_ring_ends_at_the_edge_of_the_data() -> None:
    field = np.zeros((8, 8))
    field[:, :3] = 255
    rings = draw(field)
    left, top, right, bottom = rings.polygons[0].bounds
    assert (left, top, bottom) == (0, 0, 8)
    assert 2.9 < right < 3.1
    assert rings.at_edge.all()


def test_touching_buildings_share_the_wall_between_the_pixels() -> None:
    field = np.zeros((12, 16))
    field[2:10, 2:14] = 200
    field[2:10, 2:5] = 140  # a weak building has the same wall as a strong one
    contour = np.zeros((12, 16))
    contour[2:10, 7:9] = 255
    weak, strong = draw(field, contour=contour).polygons
    wall = shapely.intersection(weak, strong)
    assert shapely.area(wall) == 0
    assert set(shapely.get_coordinates(wall)[:, 0]) == {8.0}
    assert shapely.coverage_is_valid([weak, strong])


def test_three_buildings_meet_in_a_corner_without_a_gap() -> None:
    field, contour = np.full((12, 16), 200), np.zeros((12, 16))
    contour[5:7] = contour[7:, 7:9] = 255
    parts = draw(field, contour=contour).polygons
    assert len(parts) == 3
    assert shapely.coverage_is_valid(parts)
    union = shapely.union_all(parts)
    assert len(union.interiors) == 0
    # Where the wall reaches the edge of the data both end in the pixel's corner; those of the raster itself are cut off.
    assert union.symmetric_difference(shapely.box(0, 0, 16, 12)).area == pytest.approx(4 * 0.125)


def test_corners_of_two_buildings_in_a_checkerboard_do_not_cross() -> None:
    field = np.zeros((10, 10))
    field[1:5, 1:5] = field[5:9, 5:9] = 255
    first, second = draw(field).polygons
    assert shapely.area(shapely.intersection(first, second)) == 0


def test_small_holes_are_filled_and_large_ones_kept() -> None:
    field = np.full((20, 20), 255)
    field[3, 3] = 0
    field[10:14, 10:14] = 0
    (polygon,) = draw(field).polygons
    assert len(polygon.interiors) == 1
    assert shapely.area(shapely.Polygon(polygon.interiors[0])) == pytest.approx(16, abs=1)


def test_specks_small_and_weak_buildings_are_left_out() -> None:
    field = np.zeros((20, 20))
    field[2, 2] = 255  # too small
    field[5:9, 5:9] = 140  # nowhere sure
    field[12:16, 12:16] = 160
    rings = draw(field)
    assert rings.first.tolist() == [[12, 12]]
    field[12:16, 12:16] = 250
    assert rings.confidence[0] < draw(field).confidence[0]


def test_small_hole_between_attached_buildings_is_shared_out() -> None:
    field = np.zeros((14, 20))
    field[2:12, 2:18] = 255
    field[6, 9:11] = 0
    contour = np.zeros((14, 20))
    contour[2:12, 9:11] = 255
    first, second = draw(field, contour=contour).polygons
    assert shapely.coverage_is_valid([first, second])
    assert shapely.union_all([first, second]).interiors[:] == []
