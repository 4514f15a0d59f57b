"""What every outline must be: valid, without short edges and without spikes; and the ring that is left when no fit is."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.lines import Floats, neighbours
from geofootprint.nearness import half_sine

__all__ = ["MIN_ANGLE", "find_faults", "simple_polygon"]

MIN_ANGLE = 15.0
"""Degrees of the sharpest corner."""

TOLERANCE = 0.6
"""Of simplified rings, in samples: on fields of known shapes they are then as near to the truth as the raw ring."""

SLACK = 1e-9
"""Share of the shortest edge that rounding may take."""


def find_faults(polygons: NDArray[Any], min_edge: float) -> NDArray[np.bool_]:
    """Say which polygons are invalid or empty, or have an edge under `min_edge` or a corner under `MIN_ANGLE`."""
    faulty = ~shapely.is_valid(polygons) | shapely.is_empty(polygons)
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    open_ = np.append(ring[1:] == ring[:-1], False)[: len(ring)]
    xy, ring = xy[open_], ring[open_]
    _, after = neighbours(ring)
    short = np.hypot(*(xy[after] - xy).T) < min_edge * (1 - SLACK)
    sharp = half_sine(xy, ring) < math.sin(math.radians(MIN_ANGLE / 2))
    faulty[owner[ring[short | sharp]]] = True
    return cast("NDArray[np.bool_]", faulty)


def simple_polygon(polygon: Any, min_edge: float) -> Any:
    """Return a polygon with fewer vertices, without short edges and spikes if that is possible.

    Holes that are too small for that are filled; a polygon that is too small becomes its oriented envelope, or stays as
    it is.
    """
    simple = shapely.simplify(polygon, TOLERANCE)
    rings = [_without_faults(shapely.get_coordinates(ring)[:-1], min_edge) for ring in shapely.get_rings(simple)]
    if rings and rings[0] is not None:
        tidy = shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring is not None])
        if not find_faults(np.array([tidy]), min_edge)[0]:
            return tidy
        tidy = shapely.Polygon(rings[0])  # a hole came through the outside
        if not shapely.get_num_interior_rings(polygon) and not find_faults(np.array([tidy]), min_edge)[0]:
            return tidy
    envelope = shapely.oriented_envelope(polygon)
    is_full = shapely.area(polygon) > 0.75 * shapely.area(envelope)
    if is_full and envelope.geom_type == "Polygon" and not find_faults(np.array([envelope]), min_edge)[0]:
        return envelope
    return simple if shapely.is_valid(simple) and not shapely.is_empty(simple) else polygon


def _without_faults(xy: Floats, min_edge: float) -> Floats | None:
    """Leave out vertices until no edge is short and no corner sharp; None if less than a triangle is left."""
    while len(xy) >= 3:
        before, after = np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0)
        length = np.hypot(*(after - xy).T)
        sharp = half_sine(xy, np.zeros(len(xy), np.int64)) < math.sin(math.radians(MIN_ANGLE / 2))
        short = length < min_edge
        if not sharp.any() and not short.any():
            return xy
        # What a vertex adds to the area tells which end of a short edge matters less.
        (ax, ay), (bx, by) = (before - xy).T, (after - xy).T
        weight = np.abs(ax * by - ay * bx)
        candidate = sharp | short | np.roll(short, 1)
        xy = np.delete(xy, np.where(candidate, weight, np.inf).argmin(), axis=0)
    return None
