"""A fit that is good but for a few places: there, and only there, the simplified ring stands for it.

Large blocks of houses always have such places, where two roofs leave an alley of a pixel or a garden grew over a wall.
Simplifying the whole block for their sake would give up all its straight walls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.guard import largest_polygon, polygons_in

__all__ = ["splice"]

GRID = 2.0**-12
"""Samples between coordinates of the result, so that the seams close."""


def splice(fit: Any, simple: Any, limit: float) -> Any:
    """Put a simplified outline in the place of a fit where they are far apart or the fit crosses itself.

    The two outlines cross each other every few samples. Of the pieces between them, those that reach farther than the limit
    are added to the fit or taken from it, so that the seams are where the outlines meet anyway.

    Parameters
    ----------
    fit : shapely.Polygon
        Need not be valid; may be empty.
    simple : shapely.Polygon
        Valid.
    limit : float
        Farthest that the two outlines may be apart.

    Returns
    -------
    shapely.Polygon
        Valid; may have short edges at seams. `simple` itself where nothing is left of the fit.
    """
    fit = largest_polygon(shapely.make_valid(fit, method="structure", keep_collapsed=False))
    if shapely.is_empty(fit):
        return simple
    # Rounding to a grid may leave lines beside polygons, of which no further overlay can be made.
    over = polygons_in(shapely.difference(fit, simple, grid_size=GRID))
    under = polygons_in(shapely.difference(simple, fit, grid_size=GRID))
    outlines = shapely.boundary(np.array([fit, simple], object))
    taken = shapely.union_all(over[_reach_far(over, outlines, limit)])
    rest = polygons_in(shapely.difference(fit, taken, grid_size=GRID))
    spliced = largest_polygon(shapely.union_all([*rest, *under[_reach_far(under, outlines, limit)]], grid_size=GRID))
    return simple if shapely.hausdorff_distance(spliced, simple) < 2 * GRID else spliced


def _reach_far(pieces: NDArray[Any], outlines: NDArray[Any], limit: float) -> NDArray[np.bool_]:
    """Say which pieces have a vertex that is beyond the limit of one of two outlines."""
    xy, piece = shapely.get_coordinates(pieces, return_index=True)
    points = shapely.points(xy)
    shapely.prepare(outlines)
    near = shapely.dwithin(outlines[0], points, limit) & shapely.dwithin(outlines[1], points, limit)
    return np.bincount(piece[~near], minlength=len(pieces)) > 0
