from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import shapely
from affine import Affine

from geofootprint.area import find_area, widen, window_of
from geofootprint.errors import OptionError, VectorError
from geofootprint.raster import Grid, open_image

MakeImage = Callable[..., Path]


def ground(top: float, left: float, bottom: float, right: float) -> Any:
    """Return a box on the ground from rows and columns of the image."""
    return shapely.box(680_000 + 0.15 * left, 5_238_000 - 0.15 * bottom, 680_000 + 0.15 * right, 5_238_000 - 0.15 * top)


def grid_of(image: Path) -> Grid:
    with open_image(image) as reader:
        return reader.grid


@pytest.fixture
def image(make_image: MakeImage) -> Path:
    return make_image(size=(300, 300))


def test_nothing_asked_for_is_all(image: Path) -> None:
    grid = grid_of(image)
    assert find_area(image, grid) is None
    assert widen(None, grid, 10) is None
    assert window_of(None, grid).flatten() == (0, 0, 300, 300)


def test_bounds_and_their_margin(image: Path) -> None:
    grid = grid_of(image)
    area = find_area(image, grid, bounds=ground(100, 100, 110, 120).bounds)
    assert window_of(area, grid).flatten() == pytest.approx((100, 100, 20, 10), abs=1)
    assert widen(area, grid, 0) is area
    wide = widen(area, grid, 3.0)
    assert window_of(wide, grid).flatten() == pytest.approx((80, 80, 60, 50), abs=1)
    assert wide.area < 1.001 * ground(80, 80, 130, 140).area
    assert shapely.box(*grid.bounds).buffer(1e-6).covers(widen(area, grid, 1000))


def test_margin_is_in_metres_on_the_ground(make_image: MakeImage) -> None:
    image = make_image(crs="EPSG:3857", transform=Affine(0.3, 0, 1_265_000, 0, -0.3, 8_399_738))  # 60 degrees north
    grid = grid_of(image)
    area = find_area(image, grid, bounds=(1_265_030, 8_399_700, 1_265_032, 8_399_702))
    west, _, east, _ = widen(area, grid, 3.0).bounds
    assert east - west == pytest.approx(2 + 2 * 3 / 0.5, rel=0.01)


def test_area_of_interest_in_another_crs_within_bounds(image: Path, tmp_path: Path) -> None:
    wanted = ground(100, 100, 110, 120)
    gpd.GeoSeries([wanted], crs=25832).to_crs(4326).to_file(tmp_path / "aoi.geojson")
    grid = grid_of(image)
    area = find_area(image, grid, aoi=tmp_path / "aoi.geojson")
    assert area.symmetric_difference(wanted).area < 0.01
    both = find_area(image, grid, aoi=tmp_path / "aoi.geojson", bounds=ground(0, 0, 300, 110).bounds)
    assert both.area == pytest.approx(wanted.area / 2, rel=0.01)


def test_areas_that_miss(image: Path, tmp_path: Path) -> None:
    grid = grid_of(image)
    with pytest.raises(OptionError, match="miss"):
        find_area(image, grid, bounds=(1, 2, 3, 4))
    with pytest.raises(OptionError, match="west south east north"):
        find_area(image, grid, bounds=(3, 4, 1, 2))
    gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "far.geojson")
    with pytest.raises(VectorError, match=r"far\.geojson misses"):
        find_area(image, grid, aoi=tmp_path / "far.geojson")
