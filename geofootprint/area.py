"""The area of an orthophoto that was asked for."""

from __future__ import annotations

import math
import os
from typing import Any

import geopandas as gpd
import shapely
from rasterio.windows import Window

from geofootprint.errors import OptionError, VectorError
from geofootprint.raster import Grid, open_raster
from geofootprint.vector import read_area

__all__ = ["find_area", "widen", "window_of"]


def find_area(
    image: str | os.PathLike[str],
    grid: Grid,
    *,
    aoi: str | os.PathLike[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> Any:
    """Return the area asked for, or None for all.

    Parameters
    ----------
    image : path
        The orthophoto; for its CRS and for messages.
    grid : Grid
        What is read of it.
    aoi : path, optional
        Polygons in any CRS.
    bounds : (west, south, east, north), optional
        In the image's CRS.

    Returns
    -------
    shapely geometry or None
        In the grid's CRS; it meets the grid.

    Raises
    ------
    OptionError
        If the bounds are not in order or miss the image.
    MissingFileError, VectorError
        If the area cannot be read or misses the image.
    """
    area, extent = None, shapely.box(*grid.bounds)
    if bounds is not None:
        area = _box(image, grid, bounds)
        if area.intersection(extent).area == 0:
            raise OptionError(f"The bounds {bounds} miss {os.fspath(image)}; give them in the image's CRS.")
    if aoi is not None:
        polygons = read_area(aoi, grid.crs)
        area = polygons if area is None else area.intersection(polygons)
        if area.intersection(extent).area == 0:
            raise VectorError(f"{os.fspath(aoi)} misses {os.fspath(image)}; give an area that lies on it.")
    return area


def _box(image: str | os.PathLike[str], grid: Grid, bounds: tuple[float, float, float, float]) -> Any:
    """Return bounds in the image's own CRS as a polygon in the grid's."""
    west, south, east, north = bounds
    if not (west < east and south < north and all(map(math.isfinite, bounds))):
        raise OptionError(f"The bounds {bounds} are not west south east north; give them in this order.")
    with open_raster(image) as dataset:
        box = gpd.GeoSeries([shapely.box(*bounds)], crs=dataset.crs)
        if dataset.crs != grid.crs:
            # Straight edges in one CRS are curves in the other.
            box = box.segmentize(max(east - west, north - south) / 32).to_crs(grid.crs)
    return box.iloc[0]


def widen(area: Any, grid: Grid, metres: float) -> Any:
    """Return an area with a margin on the ground, cut to the grid; None stays None."""
    if area is None or metres == 0:
        return area
    units = metres / grid.gsd * math.sqrt(abs(grid.transform.determinant))
    return area.buffer(units).intersection(shapely.box(*grid.bounds))


def window_of(area: Any, grid: Grid) -> Window:
    """Return the pixels of a north-up grid around an area, cut to the grid; all of them without one."""
    if area is None:
        return Window(0, 0, grid.width, grid.height)
    west, south, east, north = area.bounds
    left, top = ~grid.transform * (west, north)
    right, bottom = ~grid.transform * (east, south)
    left, top = max(0, math.floor(left)), max(0, math.floor(top))
    right, bottom = min(grid.width, math.ceil(right)), min(grid.height, math.ceil(bottom))
    return Window(left, top, max(1, right - left), max(1, bottom - top))
