"""From raw rings to regular outlines: walls fitted to all boundary points, corners where walls meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["METHODS", "Regularized", "fit_chain", "regularize_polygons"]

METHODS = ("rectangle", "right_angles", "angles", "circle", "ellipse", "free", "simplified")
"""How an outline was made: a rectangle; right angles only; also others; a circle or ellipse; without any main direction;
the ring with fewer vertices, where no fit holds."""

MIN_EDGE = 2.0
"""Shortest edge, in units of the samples (pixels)."""

TOLERANCE = 0.6
"""Of the simplified ring, in the same units."""


@dataclass(frozen=True)
class Regularized:
    """Regular outlines.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Valid, in the order and units of the input.
    methods : array of str
        One of `METHODS` each.
    """

    polygons: NDArray[Any]
    methods: NDArray[Any]


def regularize_polygons(
    polygons: NDArray[Any], *, outline: str = "map", min_edge: float = MIN_EDGE, noise: float | None = None
) -> Regularized:
    """Draw each polygon again with straight walls, right angles and round shapes where its boundary has them.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Valid; in pixels, or any unit that is about the spacing of the boundary's samples.
    outline : {"map", "area"}
        "map" is the fit; "area" is the fit with the area of the input.
    min_edge : float
        Shortest edge.
    noise : float, optional
        Standard deviation of the boundary; by default estimated from each polygon.

    Returns
    -------
    Regularized
        As many polygons as were given: where no fit holds, the simplified ring.
    """
    simple = shapely.simplify(polygons, TOLERANCE)
    return Regularized(simple, np.full(len(polygons), "simplified", dtype=object))


def fit_chain(
    points: NDArray[np.float64], *, directions: Sequence[float] = (), tolerance: float = 1.0
) -> NDArray[np.float64]:
    """Fit walls to an open chain of boundary points.

    Parameters
    ----------
    points : float array of shape (n, 2)
        In order along the boundary, n >= 2.
    directions : sequence of float
        Main directions in radians; a wall takes one of them, or its perpendicular, where the points agree.
    tolerance : float
        Standard deviation of the boundary, in units of the points.

    Returns
    -------
    float array of shape (m, 2)
        Corners, m >= 2; both ends lie on the fitted walls, beside the first and last point.
    """
    line = shapely.simplify(shapely.LineString(points), tolerance, preserve_topology=False)
    return np.asarray(shapely.get_coordinates(line), np.float64)
