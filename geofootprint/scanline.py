"""Which pixels' centres lie in which polygon: GDAL's rule, for thousands of polygons at once.

`rasterio.features.rasterize` hands over one polygon after the other through Python objects; for buildings, which are
many and small, that takes ten times as long as burning them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Scanner"]

BITS = 21
"""Of a row, and of a column, in the sorting key of a crossing; a window has less than two million of either."""


class Scanner:
    """Burns the numbers of polygons into windows of a grid.

    The crossings of edges and pixel rows are found in the coordinates of the whole grid, so that windows agree. As in
    GDAL, a pixel belongs to a polygon if its centre does; a centre on an edge, if that is a left or an upper one; an
    edge along a row of centres counts if it runs leftwards.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        In pixels: column and row, 0 at the outer edge of the first.
    """

    def __init__(self, polygons: NDArray[Any]) -> None:
        rings, polygon_of_ring = shapely.get_rings(polygons, return_index=True)
        corners, ring_of_corner = shapely.get_coordinates(rings, return_index=True)
        is_edge = ring_of_corner[1:] == ring_of_corner[:-1]
        self._from = corners[:-1][is_edge]
        self._to = corners[1:][is_edge]
        owner = polygon_of_ring[ring_of_corner[:-1][is_edge]]
        # A polygon's edges follow each other: these are where they begin, and where the last ends.
        self._edges = np.searchsorted(owner, np.arange(len(polygons) + 1))

    def burn(self, chosen: NDArray[np.intp], column: int, row: int, height: int, width: int) -> NDArray[np.int32]:
        """Return 1 where the first of the chosen polygons is, 2 for the second, ...; 0 where there is none.

        Parameters
        ----------
        chosen : int array
            Numbers of the polygons. Where they overlap, the later one shows.
        column, row, height, width : int
            The window, which may reach beyond the grid.

        Returns
        -------
        int32 array of shape (height, width)
        """
        number, edge = _ranges(self._edges[chosen], self._edges[chosen + 1])
        start, stop = self._from[edge], self._to[edge]
        spans = [
            _spans_between(number, start, stop, column, row, height, width),
            _spans_along(number, start, stop, column, row, height, width),
        ]
        polygon, first, last = np.concatenate(spans, axis=1)
        return _paint(polygon, first, last, height * width).reshape(height, width)


def _ranges(starts: NDArray[np.intp], stops: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for many ranges one after the other, each member's range and the member."""
    lengths = np.maximum(stops - starts, 0)
    number = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return number, np.arange(len(number)) + (starts - before)[number]


def _spans_between(
    number: NDArray[np.intp], start: NDArray[Any], stop: NDArray[Any], column: int, row: int, height: int, width: int
) -> NDArray[np.int64]:
    """Return polygon, first and last + 1 pixel of the runs between two crossings of a row's centre line."""
    flip = start[:, 1] > stop[:, 1]
    upper, lower = np.where(flip[:, None], stop, start), np.where(flip[:, None], start, stop)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), row, row + height).astype(np.intp)
    beyond = np.clip(np.ceil(lower[:, 1] - 0.5), row, row + height).astype(np.intp)
    edge, at = _ranges(first, beyond)
    (x1, y1), (x2, y2) = upper[edge].T, lower[edge].T
    # In GDAL's order of operations: another rounds a few crossings to the other side of a pixel's centre.
    crossing = (at + 0.5 - y1) * (x2 - x1) / (y2 - y1) + x1
    pixel = np.clip(np.floor(crossing + 0.5) - column, 0, width).astype(np.int64)
    key = ((number[edge] << BITS) + (at - row) << BITS) + pixel
    key.sort()
    # Rings are closed: each polygon crosses each row an even number of times.
    left, right = key[0::2], key[1::2]
    low = (1 << BITS) - 1
    line = ((left >> BITS) & low) * width
    return np.stack([left >> (2 * BITS), line + (left & low), line + (right & low)])


def _spans_along(
    number: NDArray[np.intp], start: NDArray[Any], stop: NDArray[Any], column: int, row: int, height: int, width: int
) -> NDArray[np.int64]:
    """Return the same for the edges that run leftwards along a row's centre line."""
    y = start[:, 1]
    along = (y == stop[:, 1]) & (start[:, 0] > stop[:, 0]) & (y - np.floor(y) == 0.5)
    along &= (y > row) & (y < row + height)
    ends = np.stack([stop[along, 0], start[along, 0]])
    first, last = np.clip(np.floor(ends + 0.5) - column, 0, width).astype(np.int64)
    line = (np.floor(y[along]).astype(np.int64) - row) * width
    return np.stack([number[along], line + first, line + last])


def _paint(
    polygon: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64], size: int
) -> NDArray[np.int32]:
    """Return a row of pixels with the runs painted, where they overlap those of the later polygon."""
    order = np.argsort(first)
    order = order[last[order] > first[order]]
    polygon, first, last = polygon[order] + 1, first[order], last[order]
    reached = np.maximum.accumulate(last)
    overlaps = np.zeros(len(order), np.bool_)
    overlaps[1:] = first[1:] < reached[:-1]
    overlaps[:-1] |= first[1:] < last[:-1]
    # Without overlaps, gap and run follow each other, which one call paints.
    lone = ~overlaps
    edges = np.stack([first[lone], last[lone]], axis=1).ravel()
    values = np.zeros(len(edges) + 1, np.int32)
    values[1::2] = polygon[lone]
    painted = np.repeat(values, np.diff(edges, prepend=0, append=size))
    for number in np.flatnonzero(overlaps)[np.argsort(polygon[overlaps], kind="stable")]:
        painted[first[number] : last[number]] = polygon[number]
    return painted
