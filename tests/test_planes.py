from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from geofootprint.errors import VectorError
from geofootprint.planes import group_neighbours, lay_planes, metres_per_unit

HOUSES = np.array([shapely.box(x, 0, x + 10, 8) for x in (680_000, 680_010, 680_022, 680_200)])
HOUSES = shapely.transform(HOUSES, lambda xy: xy + np.array([0, 5_238_000]))


def test_groups_are_chains_of_neighbours() -> None:
    order = np.array([3, 2, 0, 1])
    assert group_neighbours(HOUSES, 0.0).tolist() == [0, 0, 1, 2]
    assert group_neighbours(HOUSES, 3.0).tolist() == [0, 0, 0, 1]
    assert group_neighbours(HOUSES[order], 3.0).tolist() == [0, 1, 1, 1]
    assert group_neighbours(HOUSES[:0], 3.0).tolist() == []


def test_a_long_chain_is_one_group() -> None:
    row = np.random.default_rng(0).permutation(np.array([shapely.box(x, 0, x + 1, 1) for x in range(2000)]))
    assert not group_neighbours(row, 0.0).any()


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:3857", "EPSG:4326", "EPSG:3035", "EPSG:2056", "EPSG:2263"])
def test_planes_are_true_to_metres_and_lead_back(crs: str) -> None:
    where = {"EPSG:2263": (-74.0, 40.7), "EPSG:2056": (8.2, 46.9)}.get(crs, (11.4, 47.3))
    geod = pyproj.Geod(ellps="WGS84")
    corners = [where, *(geod.fwd(*where, azimuth, length)[:2] for azimuth, length in ((90, 20), (45, 20 * 2**0.5), (0, 20)))]
    squares = gpd.GeoSeries([shapely.Polygon(corners)], crs="EPSG:4326").to_crs(crs)
    shapes, group = np.asarray(squares.array), np.zeros(1, np.int64)
    planes = lay_planes(shapes, group, squares.crs)
    flat = planes.to_metres(shapes, group)
    assert shapely.area(flat)[0] == pytest.approx(400, rel=3e-4)
    chords = np.diff(shapely.get_coordinates(flat), axis=0)
    assert np.hypot(*chords.T) == pytest.approx(20, rel=3e-4)
    assert chords[0] @ chords[1] == pytest.approx(0, abs=0.05)
    back = planes.to_map(flat, group)
    unit = 1e-9 if squares.crs.is_geographic else 1e-6
    assert shapely.get_coordinates(back) == pytest.approx(shapely.get_coordinates(shapes), abs=unit, rel=0)


def test_equal_vertices_stay_equal_and_groups_do_not_meet() -> None:
    group = np.array([0, 0, 1, 2])
    planes = lay_planes(HOUSES, group, pyproj.CRS("EPSG:25832"))
    flat = planes.to_metres(HOUSES, group)
    assert shapely.coverage_is_valid(flat[:2])
    assert shapely.distance(flat[1], flat[2]) > 50
    assert shapely.distance(flat[2], flat[3]) > 50
    assert shapely.coverage_is_valid(planes.to_map(flat, group)[:2])


def test_a_point_outside_the_crs() -> None:
    with pytest.raises(VectorError, match="outside their CRS, EPSG:4326"):
        metres_per_unit(np.array([[680_000.0, 5_238_000.0]]), pyproj.CRS("EPSG:4326"))


def test_beside_the_antimeridian() -> None:
    crs = pyproj.CRS("EPSG:3832")
    middle = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180.0, -17.0)
    assert np.linalg.det(metres_per_unit(np.array([middle]), crs))[0] == pytest.approx(np.cos(np.radians(17)) ** 2, rel=0.01)
