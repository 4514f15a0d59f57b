"""Flat ground for polygons of any CRS: planes in true metres, one for each group of neighbours.

In degrees a right angle is none, and a metre of EPSG:3857 is none either. A plane that touches the ground at the middle
of a group is true to both. All of a group are moved alike, so that equal vertices stay equal to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from geofootprint.errors import VectorError
from geofootprint.unions import connect
from geofootprint.vector import metres_per_degree

__all__ = ["Planes", "group_neighbours", "lay_planes"]

STEPS = (1e-4, 10.0)
"""Lengths over which the scale of a CRS is measured: in degrees, and in units of a projected one; about ten metres."""

GAP = 100.0
"""Metres between two groups on the common strip."""


def group_neighbours(polygons: NDArray[Any], reach: NDArray[np.float64] | float) -> NDArray[np.int64]:
    """Give a number to each group of polygons that are within reach of each other, one by one.

    Parameters
    ----------
    polygons : array of shapely.Polygon
    reach : float, or float array with one value a polygon
        In units of the coordinates.

    Returns
    -------
    int array of the same length
        0, 1, ... in the order of each group's first polygon.
    """
    first, second = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=reach)
    other = first != second
    return connect(len(polygons), first[other], second[other])


@dataclass(frozen=True)
class Planes:
    """The planes of all groups, side by side on one strip, where none meets another; made by `lay_planes`.

    Parameters
    ----------
    centre : float array of shape (groups, 2)
        Point of contact, in map units.
    matrix : float array of shape (groups, 2, 2)
        From map units about the centre to metres.
    start : float array of shape (groups, 2)
        Where the centre lies on the strip, in metres.
    """

    centre: NDArray[np.float64]
    matrix: NDArray[np.float64]
    start: NDArray[np.float64]

    def to_metres(self, polygons: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
        """Return polygons in map units on the strip.

        Parameters
        ----------
        polygons : array of shapely.Polygon
        group : int array of the same length

        Returns
        -------
        array of shapely.Polygon
        """
        xy, owner = shapely.get_coordinates(polygons, return_index=True)
        at = group[owner]
        return _moved(polygons, _apply(self.matrix[at], xy - self.centre[at]) + self.start[at])

    def to_map(self, polygons: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
        """Return polygons on the strip in map units; the reverse of `to_metres`."""
        xy, owner = shapely.get_coordinates(polygons, return_index=True)
        at = group[owner]
        return _moved(polygons, _apply(np.linalg.inv(self.matrix)[at], xy - self.start[at]) + self.centre[at])


def lay_planes(polygons: NDArray[Any], group: NDArray[np.int64], crs: pyproj.CRS) -> Planes:
    """Lay a plane in true metres at the middle of each group.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        In any CRS.
    group : int array of the same length
        0, 1, ...; none is left out.
    crs : pyproj.CRS

    Returns
    -------
    Planes

    Raises
    ------
    VectorError
        If coordinates lie outside the CRS.
    """
    bounds = _bounds_of_groups(polygons, group)
    centre = (bounds[:, :2] + bounds[:, 2:]) / 2
    matrix = metres_per_unit(centre, crs)
    width = (np.abs(matrix[:, 0]) * (bounds[:, 2:] - bounds[:, :2])).sum(axis=1) + GAP
    # Whole metres, so that sums with them are as exact as can be.
    start = np.ceil(np.cumsum(width) - width / 2)
    return Planes(centre, matrix, np.stack([start, np.zeros_like(start)], axis=1))


def metres_per_unit(points: NDArray[np.float64], crs: pyproj.CRS) -> NDArray[np.float64]:
    """Return the matrix from map units to metres eastwards and northwards on the ellipsoid, at each point.

    Parameters
    ----------
    points : float array of shape (n, 2)
    crs : pyproj.CRS

    Returns
    -------
    float array of shape (n, 2, 2)

    Raises
    ------
    VectorError
        If a point lies outside the CRS.
    """
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    step = STEPS[0] if crs.is_geographic else STEPS[1]

    def degrees(shift: tuple[float, float]) -> NDArray[np.float64]:
        return np.stack(to_degrees.transform(*(points + shift).T), axis=1)

    lat = degrees((0, 0))[:, 1]
    apart = (degrees((dx, dy)) - degrees((-dx, -dy)) for dx, dy in ((step, 0), (0, step)))
    # The two points may lie on either side of the antimeridian.
    across, along = (((difference + 180) % 360 - 180) / (2 * step) for difference in apart)
    matrix = np.stack([across, along], axis=2) * metres_per_degree(lat)[:, :, None]
    # Also where a transformation gives numbers without end.
    if not (np.isfinite(matrix).all() and (np.abs(lat) < 90).all() and (np.linalg.det(matrix) != 0).all()):
        raise VectorError(
            f"The footprints have coordinates outside their CRS, {crs.to_string()}; assign the one they were made in."
        )
    return matrix


def _bounds_of_groups(polygons: NDArray[Any], group: NDArray[np.int64]) -> NDArray[np.float64]:
    bounds = shapely.bounds(polygons)
    count = int(group.max(initial=-1)) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, group, bounds[:, :2])
    np.maximum.at(high, group, bounds[:, 2:])
    return np.hstack([low, high])


def _apply(matrix: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    # Written out: a product of matrices may be summed in another order for another number of rows.
    x, y = xy.T
    return np.stack([matrix[:, i, 0] * x + matrix[:, i, 1] * y for i in range(2)], axis=1)


def _moved(polygons: NDArray[Any], xy: NDArray[np.float64]) -> NDArray[Any]:
    return cast("NDArray[Any]", shapely.set_coordinates(polygons.copy(), xy))
