"""What every outline must be: valid, without short edges and without spikes; and the ring that is left when no fit is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.lines import Floats, neighbours
from geofootprint.nearness import half_sine

__all__ = [
    "ALIKE", "MIN_ANGLE", "TOLERANCE", "count_faults", "find_faults", "largest_polygon", "overlap", "polygons_in",
    "simple_polygon",
]

MIN_ANGLE = 15.0
"""Degrees of the sharpest corner."""

TOLERANCE = 0.6
"""Of simplified rings, in samples: on fields of known shapes they are then as near to the truth as the raw ring."""

COARSER = (TOLERANCE, 1.2, 2.4, 4.8)
"""Tolerances that are tried one after the other."""

ALIKE = 0.6
"""Intersection over union from which an outline stands for a polygon."""

PART = 50_000
"""Polygons that are looked at in one go; the angles of a whole layer would take more memory than the layer."""

SLACK = 1e-9
"""Share of the shortest edge that rounding may take."""


def find_faults(polygons: NDArray[Any], min_edge: float) -> NDArray[np.bool_]:
    """Say which polygons are invalid or empty, or have an edge under `min_edge` or a corner under `MIN_ANGLE`."""
    faulty = ~shapely.is_valid(polygons) | shapely.is_empty(polygons)
    for start in range(0, len(polygons), PART):
        faulty[start + _owners_of_faults(polygons[start : start + PART], min_edge)] = True
    return cast("NDArray[np.bool_]", faulty)


def count_faults(polygon: Any, min_edge: float) -> int:
    """Return how many edges of a polygon are under `min_edge` and how many corners under `MIN_ANGLE`."""
    return len(_owners_of_faults(np.array([polygon]), min_edge))


def _owners_of_faults(polygons: NDArray[Any], min_edge: float) -> NDArray[np.int64]:
    """Return the polygon of each short edge and each sharp corner."""
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    open_ = np.append(ring[1:] == ring[:-1], False)[: len(ring)]
    xy, ring = xy[open_], ring[open_]
    _, after = neighbours(ring)
    short = np.hypot(*(xy[after] - xy).T) < min_edge * (1 - SLACK)
    sharp = half_sine(xy, ring) < math.sin(math.radians(MIN_ANGLE / 2))
    return cast("NDArray[np.int64]", owner[ring[np.concatenate([np.flatnonzero(short), np.flatnonzero(sharp)])]])


def simple_polygon(polygon: Any, min_edge: float) -> Any:
    """Return a polygon with fewer vertices, without short edges and spikes if that is possible.

    Holes that are too small for that are filled, and thin parts cut off if nothing else helps. A polygon that is too small
    or too thin for such an outline stays as it is, but for vertices within `TOLERANCE`.
    """
    for start in _starts(polygon):
        rings = [_without_faults(shapely.get_coordinates(ring)[:-1], min_edge) for ring in shapely.get_rings(start)]
        if not rings or rings[0] is None:
            continue
        tidy = shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring is not None])
        if not find_faults(np.array([tidy]), min_edge)[0] and overlap(tidy, polygon) > ALIKE:
            return tidy
    simple = shapely.simplify(polygon, TOLERANCE)
    return simple if overlap(simple, polygon) > ALIKE else polygon


def _starts(polygon: Any) -> Iterator[Any]:
    """Yield ever coarser versions of a polygon."""
    for tolerance in COARSER:
        yield shapely.simplify(polygon, tolerance)
    opened = shapely.get_parts(shapely.buffer(shapely.buffer(polygon, -1), 1, join_style="mitre"))
    for part in sorted(opened, key=shapely.area)[-1:]:
        for tolerance in COARSER:
            yield shapely.simplify(part, tolerance)
    yield shapely.oriented_envelope(polygon)


def overlap(first: Any, second: Any) -> Any:
    """Return the intersection over union of polygons, or arrays of them."""
    shared = shapely.area(shapely.intersection(first, second))
    return shared / np.maximum(shapely.area(first) + shapely.area(second) - shared, 1e-12)


def polygons_in(geometries: Any) -> NDArray[Any]:
    """Return the polygons of geometries that may be collections, with lines where outlines only touch."""
    parts = shapely.get_parts(shapely.get_parts(geometries))
    return np.asarray(parts[shapely.get_dimensions(parts) == 2], object)


def largest_polygon(geometry: Any) -> Any:
    """Return the largest polygon of a geometry, an empty one if it has none."""
    return max(polygons_in(geometry), key=shapely.area, default=shapely.Polygon())


def _without_faults(xy: Floats, min_edge: float) -> Floats | None:
    """Change vertices until no edge is short and no corner sharp; None if less than a triangle is left."""
    while len(xy) >= 3:
        before, after = np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0)
        half = half_sine(xy, np.zeros(len(xy), np.int64))
        sharp = half < math.sin(math.radians(MIN_ANGLE / 2))
        length = np.hypot(*(after - xy).T)
        short = length < min_edge
        if not sharp.any() and not short.any():
            return xy
        back = min_edge * (1 + 1e-6) / (2 * np.maximum(half, 1e-9))
        blunt = sharp & (np.minimum(length, np.roll(length, 1)) > back + min_edge)
        if blunt.any():
            xy = _blunted(xy, int(blunt.argmax()), back)
            continue
        # What a vertex adds to the area tells which end of a short edge matters less.
        (ax, ay), (bx, by) = (before - xy).T, (after - xy).T
        weight = np.where(sharp | short | np.roll(short, 1), np.abs(ax * by - ay * bx), np.inf)
        least = (weight < np.roll(weight, 1)) & (weight <= np.roll(weight, -1)) & np.isfinite(weight)
        if not least.any():  # all weigh the same
            least[weight.argmin()] = True
        xy = xy[~least]  # never two that are side by side
    return None


def _blunted(xy: Floats, corner: int, back: Floats) -> Floats:
    """Cut off a sharp corner, a distance back on both of its edges."""
    ends = []
    for neighbour in (xy[corner - 1], xy[(corner + 1) % len(xy)]):
        step = neighbour - xy[corner]
        ends.append(xy[corner] + step * (back[corner] / math.hypot(*step)))
    return np.concatenate([xy[:corner], ends, xy[corner + 1 :]])
