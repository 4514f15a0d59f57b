"""Which pixels' centres lie in which polygon: GDAL's rule, for thousands of polygons at once.

`rasterio.features.rasterize` hands over one polygon after the other through Python objects; for buildings, which are
many and small, that takes ten times as long as burning them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Axis", "Scanner"]

Axis = NDArray[np.float64]

BITS = 21
"""Of a row, and of a column, in the sorting key of a crossing; a window has less than two million of either."""


class Scanner:
    """Burns the numbers of polygons into windows of a grid.

    The crossings of edges and pixel rows are found in the coordinates of the whole grid, so that windows agree. As in
    GDAL, a pixel belongs to a polygon if its centre does, and a centre on an edge if that is a left or an upper one.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        In map coordinates.
    to_pixels : function
        From x and y to column and row, 0 at the outer edge of the first.
    """

    def __init__(self, polygons: NDArray[Any], to_pixels: Callable[[Axis, Axis], tuple[Axis, Axis]]) -> None:
        x, y = to_pixels(*shapely.get_coordinates(polygons).T)
        # Edges from a corner to the next of its ring, but for those along a row: they cross none.
        is_edge = np.zeros(len(y), np.bool_)
        is_edge[:-1] = y[1:] != y[:-1]
        is_edge[np.cumsum(_count_corners(polygons)) - 1] = False
        edge = np.flatnonzero(is_edge)
        falls = y[edge] < y[edge + 1]
        upper, lower = edge + ~falls, edge + falls
        self._x, self._y = x[upper], y[upper]
        self._dx, self._dy = x[lower] - x[upper], y[lower] - y[upper]
        self._first, self._beyond = (np.ceil(y[end] - 0.5).astype(np.intp) for end in (upper, lower))
        # A polygon's edges follow each other: these are where they begin, and where the last ends.
        self._edges = np.searchsorted(edge, np.append(0, np.cumsum(shapely.get_num_coordinates(polygons))))

    def burn(self, chosen: NDArray[np.intp], column: int, row: int, height: int, width: int) -> NDArray[Any]:
        """Return 1 where the first of the chosen polygons is, 2 for the second, ...; 0 where there is none.

        Parameters
        ----------
        chosen : int array
            Numbers of the polygons. Where they overlap, the later one shows.
        column, row, height, width : int
            The window, which may reach beyond the grid.

        Returns
        -------
        array of shape (height, width), of the smallest of uint8, uint16 and int32 that holds the numbers
        """
        number, edge = _ranges(self._edges[chosen], self._edges[chosen + 1])
        polygon, first, last = _runs_between(self._cross(number, edge, column, row, height, width), width)
        dtype = np.uint8 if len(chosen) < 2**8 else np.uint16 if len(chosen) < 2**16 else np.int32
        return _paint(polygon.astype(dtype) + dtype(1), first, last, height * width).reshape(height, width)

    def _cross(
        self, number: NDArray[np.intp], edge: NDArray[np.intp], column: int, row: int, height: int, width: int
    ) -> NDArray[np.int64]:
        """Return the sorted keys of number, row and column where edges cross the rows' centre lines."""
        first = np.clip(self._first[edge], row, row + height)
        chosen, at = _ranges(first, np.clip(self._beyond[edge], row, row + height))
        x, y, dx, dy = (of_edge[edge][chosen] for of_edge in (self._x, self._y, self._dx, self._dy))
        # In GDAL's order of operations: another rounds a few crossings to the other side of a pixel's centre.
        crossing = (at + 0.5 - y) * dx / dy + x
        pixel = np.floor(crossing + 0.5)
        pixel -= column
        key: NDArray[np.int64] = np.clip(pixel, 0, width, out=pixel).astype(np.int64)
        at <<= BITS
        key += at
        key += ((number << 2 * BITS) - (row << BITS))[chosen]
        # An edge's crossings are in their order already, and merging such runs is the one thing that timsort does.
        key.sort(kind="stable")
        return key


def _count_corners(polygons: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of corners of each ring, the first counted again as the last.

    `shapely.to_ragged_array` copies every ring to count them, which takes ten times as long; so this does it only
    where a polygon has holes.
    """
    rings = shapely.get_num_interior_rings(polygons) + 1
    corners = np.repeat(shapely.get_num_coordinates(polygons), rings)
    has_holes = rings > 1
    corners[np.repeat(has_holes, rings)] = shapely.get_num_coordinates(shapely.get_rings(polygons[has_holes]))
    return corners


def _ranges(starts: NDArray[np.intp], stops: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for many ranges one after the other, each member's range and the member."""
    lengths = np.maximum(stops - starts, 0)
    number = np.repeat(np.arange(len(starts)), lengths)
    before = np.cumsum(lengths) - lengths
    return number, np.arange(len(number)) + (starts - before)[number]


def _runs_between(
    keys: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return polygon, first and last + 1 pixel, counted through all rows, of the runs between crossings."""
    # Rings are closed: each polygon crosses each row an even number of times.
    left, right = keys[0::2], keys[1::2]
    low = (1 << BITS) - 1
    seen = left < right
    left, right = left[seen], right[seen]
    line = ((left >> BITS) & low) * width
    return left >> (2 * BITS), line + (left & low), line + (right & low)


def _paint(number: NDArray[Any], first: NDArray[np.int64], last: NDArray[np.int64], size: int) -> NDArray[Any]:
    """Return a row of pixels with the runs painted, where they overlap those of the greater number."""
    # As above: here a polygon's runs are in their order.
    order = np.argsort(first, kind="stable")
    number, first, last = number[order], first[order], last[order]
    if not (first[1:] < last[:-1]).any():
        return _paint_lone(number, first, last, size)
    overlaps = np.zeros(len(order), np.bool_)
    overlaps[1:] = first[1:] < np.maximum.accumulate(last)[:-1]
    overlaps[:-1] |= first[1:] < last[:-1]
    painted = _paint_lone(number[~overlaps], first[~overlaps], last[~overlaps], size)
    for run in np.flatnonzero(overlaps)[np.argsort(number[overlaps], kind="stable")]:
        painted[first[run] : last[run]] = number[run]
    return painted


def _paint_lone(number: NDArray[Any], first: NDArray[np.int64], last: NDArray[np.int64], size: int) -> NDArray[Any]:
    """Return a row of pixels with runs in their order that do not overlap: gap and run follow each other."""
    ends = np.zeros(2 * len(first) + 2, np.int64)
    ends[1:-1:2], ends[2:-1:2], ends[-1] = first, last, size
    values = np.zeros(2 * len(first) + 1, number.dtype)
    values[1::2] = number
    return np.repeat(values, ends[1:] - ends[:-1])
