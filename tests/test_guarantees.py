"""What every layer of outlines must be, from probabilities and from anybody's polygons."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rows import probabilities_of, row_of_houses, turned

from geofootprint.clean import clean_footprints
from geofootprint.guard import find_faults
from geofootprint.raster import Grid
from geofootprint.vectorize import find_outlines

PIXEL = 0.3
SLACK = 1 - 1e-6
"""Of the shortest edge, for coordinates of millions of metres."""


def overlap(polygons: NDArray[Any]) -> float:
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = first < second
    return float(shapely.area(shapely.intersection(polygons[first[pairs]], polygons[second[pairs]])).max(initial=0))


@pytest.mark.parametrize("kind", ["map", "area"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_and_blocks_under_noise(seed: int, kind: str) -> None:
    row = row_of_houses(6, width=24, depth=30, step=5 * (seed % 2))
    behind = row_of_houses(5, width=29, depth=26, corner=(20, 50))
    behind = np.array([house - shapely.union_all(row) for house in behind])
    houses = turned(np.concatenate([row, behind]), 11 + 20 * seed)
    bands = probabilities_of(houses, warp=1.2, noise=10, seed=seed)
    valid = np.ones(bands.shape[1:], np.bool_)
    valid[:, :40] = False  # so that some are cut by what has no data
    grid = Grid(CRS.from_epsg(25832), Affine(PIXEL, 0, 680_000, 0, -PIXEL, 5_238_000), bands.shape[2], bands.shape[1])
    found = find_outlines(bands, valid, grid, outline=kind)
    polygons = np.asarray(found.geometry.array, object)
    assert len(polygons) > 4
    assert not find_faults(polygons, 2 * PIXEL * SLACK).any()
    assert overlap(polygons) < 1e-6
    again = find_outlines(bands, valid, grid, outline=kind)
    assert again.geometry.to_wkb().tolist() == found.geometry.to_wkb().tolist()


@pytest.mark.parametrize("seed", range(3))
def test_drawn_polygons_that_overlap_by_slivers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    houses = []
    for x in np.arange(0, 120, 12.0):
        for y in (0, 15, 40):
            shift, size = rng.uniform(-0.4, 0.4, 2), rng.uniform(-0.5, 0.5, 2) + np.array([12, 15])
            left, bottom = x + shift[0], y + shift[1]
            house = shapely.box(left, bottom, left + size[0], bottom + size[1])
            houses.append(shapely.affinity.rotate(house, rng.uniform(-1.5, 1.5)))
    drawn = shapely.transform(np.array(houses), lambda xy: xy + np.array([680_000, 5_238_000]))
    tolerance = 0.5
    cleaned = clean_footprints(gpd.GeoDataFrame(geometry=drawn, crs="EPSG:25832"), tolerance=tolerance)
    polygons = np.asarray(cleaned.geometry.array, object)
    assert overlap(polygons) < 1e-6
    # Metres of the ellipsoid, of which the CRS has a few in ten thousand less.
    assert not find_faults(polygons, tolerance * 0.999).any()
    assert len(polygons) > 25
