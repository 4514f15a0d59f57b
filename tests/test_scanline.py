from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from numpy.typing import NDArray

from geofootprint.scanline import Axis, Scanner


def identity(x: Axis, y: Axis) -> tuple[Axis, Axis]:
    return x, y


def burn(polygons: list[Any], height: int, width: int, column: int = 0, row: int = 0) -> NDArray[Any]:
    scanner = Scanner(np.array(polygons, dtype=object), identity)
    return scanner.burn(np.arange(len(polygons)), column, row, height, width)


def reference(polygons: list[Any], height: int, width: int) -> NDArray[Any]:
    numbered = zip(polygons, range(1, len(polygons) + 1), strict=True)
    return np.asarray(rasterio.features.rasterize(numbered, (height, width), dtype="int32"))


def some_polygons(seed: int, *, on_centres: bool) -> list[Any]:
    """Return valid polygons, some with holes, that overlap each other and the edge; or with corners on centres."""
    rng = np.random.default_rng(seed)
    polygons: list[Any] = []
    while len(polygons) < 8:
        corners = rng.integers(-8, 80, (rng.integers(3, 9), 2)) * 0.5 if on_centres else rng.uniform(-5, 45, (6, 2))
        hull = shapely.Polygon(corners)
        shape = hull if hull.is_valid else hull.convex_hull
        if shape.geom_type == "Polygon" and shape.area > 4:
            hole = shape.centroid.buffer(1.5, quad_segs=2)
            polygons.append(shape.difference(hole) if hole.within(shape) and len(polygons) % 2 else shape)
    return polygons


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("on_centres", [False, True])
def test_pixels_are_those_of_rasterio(seed: int, on_centres: bool) -> None:
    polygons = some_polygons(seed, on_centres=on_centres)
    assert np.array_equal(burn(polygons, 40, 37), reference(polygons, 40, 37))


@pytest.mark.parametrize("seed", range(20))
def test_right_angles_on_centres_are_those_of_rasterio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = [shapely.box(*(corner := rng.integers(0, 60, 2) / 2), *(corner + rng.integers(2, 20, 2) / 2)) for _ in "abc"]
    joined = shapely.union_all(boxes[:2])
    polygons = [*shapely.get_parts(joined), shapely.reverse(boxes[2]), boxes[0].reverse()]
    assert np.array_equal(burn(polygons, 40, 40), reference(polygons, 40, 40))


@pytest.mark.parametrize("seed", range(5))
def test_windows_agree(seed: int) -> None:
    polygons = some_polygons(seed, on_centres=seed % 2 == 0)
    whole = burn(polygons, 40, 40)
    for column, row in ((0, 0), (7, 13), (39, 39)):
        part = burn(polygons, 10, 12, column, row)
        assert np.array_equal(part[: 40 - row, : 40 - column], whole[row : row + 10, column : column + 12])
    beyond = burn(polygons, 60, 60, -10, -10)
    assert np.array_equal(beyond[10:50, 10:50], whole)


@pytest.mark.parametrize("turned", [False, True])
def test_an_edge_through_centres_belongs_to_one_side(turned: bool) -> None:
    """Two houses that share a wall through pixel centres: none is burnt twice, none is left out."""
    left, right = shapely.box(1.5, 1.5, 4.5, 6.5), shapely.box(4.5, 1.5, 8.5, 6.5)
    upper, lower = (shapely.transform(house, lambda xy: xy[:, ::-1]) for house in (left, right))
    pair = [upper, lower] if turned else [left, right]
    assert np.array_equal(burn(pair, 10, 10), reference(pair, 10, 10))
    assert np.array_equal(burn(pair, 10, 10) > 0, burn([shapely.union_all(pair)], 10, 10) > 0)


def test_the_later_polygon_shows() -> None:
    house, annexe = shapely.box(0, 0, 6, 6), shapely.box(4, 4, 8, 8)
    assert burn([house, annexe], 8, 8)[5, 5] == 2
    assert burn([annexe, house], 8, 8)[5, 5] == 2
    assert burn([house, annexe, house], 8, 8)[5, 5] == 3


def test_chosen_polygons_are_numbered_anew() -> None:
    row = np.array([shapely.box(2 * i, 0, 2 * i + 2, 2) for i in range(5)], dtype=object)
    burnt = Scanner(row, identity).burn(np.array([1, 3]), 0, 0, 2, 10)
    assert burnt[0].tolist() == [0, 0, 1, 1, 0, 0, 2, 2, 0, 0]


def test_numbers_are_of_the_smallest_type_that_holds_them() -> None:
    assert burn([shapely.box(0, 0, 1, 1)] * 255, 2, 2).dtype == np.uint8
    assert burn([shapely.box(0, 0, 1, 1)] * 256, 2, 2).dtype == np.uint16
    crowd = np.array([shapely.box(i % 300, i // 300, i % 300 + 1, i // 300 + 1) for i in range(2**16)], dtype=object)
    burnt = Scanner(crowd, identity).burn(np.arange(len(crowd)), 0, 0, 220, 300)
    assert burnt.dtype == np.int32
    assert len(np.unique(burnt)) == 2**16 + 1


def test_nothing_is_burnt_of_nothing() -> None:
    empty = np.array([], dtype=object)
    assert not Scanner(empty, identity).burn(np.array([], np.intp), 0, 0, 3, 4).any()
    assert not burn([shapely.box(100, 100, 110, 110)], 5, 5).any()
