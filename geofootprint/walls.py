"""Attached buildings as one coverage: every shared wall is fitted once and ends where it meets another.

The outline of a whole block of houses is regularized as one ring, so that a facade runs straight through many of them.
The walls between the houses are fitted as strokes, straight on through the points where others end, and are lengthened
to what they run into. The faces of this network are the houses: they cannot leave a gap or overlap. A house that
does not come out well puts its own simplified ring into the network, and the block is cut again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.arcs import simplify_together
from geofootprint.regularize import MIN_EDGE, fit_chain, regularize_polygons
from geofootprint.strokes import Stroke, find_strokes
from geofootprint.tidy import tidy

__all__ = ["regularize_block"]

Points = NDArray[np.float64]

GRID = 2.0**-12
"""Pixels between the coordinates of a block: lines nearer than that are one, and all have exactly the same corners."""

REACH = 6.0
"""Pixels by which a wall is lengthened at its ends; what then hangs free is taken off again."""

SHOT = 40.0
"""Pixels that a wall may go to meet something where nothing is within `REACH`."""

NEAR = 2.5
"""Pixels by which a wall may be moved to run into another one that it continues, or into a corner."""

SOUND = 0.75
"""Smallest IoU of a house with its raw ring."""

ROUNDS = 3
"""Times that houses which did not come out well are put back with their own rings."""

TOLERANCE = 0.6
"""Pixels that the own ring of a house may be from the raw one."""


@dataclass(frozen=True)
class Segments:
    """Straight edges: their first points, unit vectors and lengths."""

    start: Points
    along: Points
    length: Points

    @classmethod
    def of(cls, polygons: NDArray[Any]) -> Segments:
        """Take the edges of polygons."""
        xy, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
        edge = np.flatnonzero(ring[1:] == ring[:-1])
        steps = xy[edge + 1] - xy[edge]
        length = np.hypot(*steps.T)
        edge, steps, length = edge[length > 0], steps[length > 0], length[length > 0]
        return cls(xy[edge], steps / length[:, None], length)

    def offsets(self, point: Points) -> Points:
        """Return the distances of a point from the endless lines."""
        away = point - self.start
        return cast("Points", np.abs(away[:, 0] * self.along[:, 1] - away[:, 1] * self.along[:, 0]))

    def distances(self, point: Points) -> Points:
        """Return the distances of a point from the edges."""
        place = np.clip(((point - self.start) * self.along).sum(axis=1), 0, self.length)
        return cast("Points", np.hypot(*(point - self.start - place[:, None] * self.along).T))

    @property
    def main_direction(self) -> float:
        """Angle of the edges, in radians modulo a right angle, weighted by their lengths."""
        return float(np.angle((self.length * (self.along @ np.array([1, 1j])) ** 4).sum()) / 4)


def regularize_block(
    polygons: NDArray[Any], covers: NDArray[Any], *, own: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
    """Regularize attached buildings together.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Raw, without overlaps, a wall between two with the same vertices in both; in pixels.
    covers : array of shapely.Polygon
        Regularized outlines of what is attached; they may overlap.
    own : bool array with one value a polygon, optional
        True for those that must keep their own simplified ring.

    Returns
    -------
    houses : array of shapely.Polygon or None
        In the order of the polygons, valid, without overlaps; corners and ends of walls have the same coordinates in
        all. None if that cannot be had.
    fitted : bool array
        False for houses that kept their own simplified ring.
    """
    whole = np.zeros(len(polygons), np.bool_) if own is None else own
    fitted, rings = _fit_walls(find_strokes(polygons), Segments.of(covers))
    lines, cover, outlines = [*_lengthen(fitted, covers), *rings], shapely.union_all(covers), [*shapely.boundary(covers)]
    rough, simple = _roughen(polygons), polygons
    for _ in range(ROUNDS):
        if whole.any():
            simple = simplify_together(polygons, TOLERANCE) if simple is polygons else simple
            cover = shapely.union_all([*covers, *simple[whole]])
        net = [*outlines, *lines, *shapely.boundary(simple[whole])]
        houses, bad = _cut(net, cover, rough, bounded=bool(whole.any()))
        if not bad.any():
            return tidy(houses, MIN_EDGE), ~whole
        if whole[bad].all():
            break
        whole = whole | bad
    return None, ~whole


def _fit_walls(strokes: Sequence[Stroke], outline: Segments) -> tuple[list[Any], list[Any]]:
    """Return the fitted open walls, lengthened to what they meet, and the closed ones."""
    main = outline.main_direction
    fitted = [_fit_open(stroke.points, outline, main) for stroke in strokes if not stroke.closed]
    _join_at_nodes(fitted, [stroke.nodes for stroke in strokes if not stroke.closed])
    closed = np.array([shapely.Polygon(stroke.points) for stroke in strokes if stroke.closed], object)
    rings = list(shapely.boundary(regularize_polygons(closed).polygons)) if len(closed) else []
    return fitted, rings


def _fit_open(points: Points, outline: Segments, main: float) -> Points:
    """Fit one wall in the directions of the outline where it ends, and let it run into corners and edges there."""
    directions = [main]
    for end in (points[0], points[-1]):
        near = np.flatnonzero((outline.distances(end) < 2 * NEAR) & (outline.length > 4 * NEAR))
        if near.size:
            longest = near[np.argmax(outline.length[near])]
            directions.append(math.atan2(outline.along[longest, 1], outline.along[longest, 0]))
    wall = fit_chain(points, directions=directions)
    return _snap(wall, outline) if len(wall) == 2 else wall


def _snap(wall: Points, outline: Segments) -> Points:
    """Move a straight wall onto an edge of the outline that it continues, or to a corner."""
    along = wall[1] - wall[0]
    length = math.hypot(*along)
    if length == 0:
        return wall
    along = along / length
    parallel = np.abs(along[0] * outline.along[:, 1] - along[1] * outline.along[:, 0]) < 0.1
    best: tuple[float, int] | None = None
    for end in wall:
        offsets = outline.offsets(end)
        for edge in np.flatnonzero(parallel & (offsets < NEAR) & (outline.distances(end) < 2 * NEAR)):
            if best is None or offsets[edge] < best[0]:
                best = float(offsets[edge]), int(edge)
    if best is None:
        return wall
    start, line = outline.start[best[1]], outline.along[best[1]]
    return cast("Points", start + ((wall - start) @ line)[:, None] * line)


def _join_at_nodes(walls: list[Points], nodes: Sequence[tuple[int, int]]) -> None:
    """Let walls end in one point where at least three meet and none goes on."""
    meeting: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, ends in enumerate(nodes):
        for end, node in enumerate(ends):
            if node >= 0:
                meeting[node].append((number, -end))
    for ends in meeting.values():
        if len(ends) < 2:
            continue
        place = np.mean([walls[number][end] for number, end in ends], axis=0)
        for number, end in ends:
            walls[number][end] = place


def _lengthen(walls: Sequence[Points], covers: NDArray[Any]) -> list[Any]:
    """Return the walls as lines that go on to what they meet."""
    walls = [wall for wall in walls if math.dist(wall[0], wall[1]) > 0 and math.dist(wall[-1], wall[-2]) > 0]
    if not walls:
        return []
    ends = np.array([end for wall in walls for end in (wall[0], wall[-1])])
    inner = np.array([end for wall in walls for end in (wall[1], wall[-2])])
    ahead = (ends - inner) / np.hypot(*(ends - inner).T)[:, None]
    rays = shapely.linestrings(np.stack([ends + 0.01 * ahead, ends + SHOT * ahead], axis=1))
    targets = shapely.multilinestrings([*shapely.get_rings(covers), *(shapely.linestrings(wall) for wall in walls)])
    way = shapely.distance(shapely.points(ends), shapely.intersection(rays, targets))
    way = np.where(np.isfinite(way) & (way > REACH), way + 1, REACH)
    ends = ends + way[:, None] * ahead
    return [
        shapely.linestrings(np.concatenate([ends[2 * number : 2 * number + 1], wall[1:-1], ends[2 * number + 1 : 2 * number + 2]]))
        for number, wall in enumerate(walls)
    ]


def _roughen(polygons: NDArray[Any]) -> NDArray[Any]:
    """Return polygons with few vertices that are good enough to see which face is whose."""
    rough = shapely.simplify(polygons, TOLERANCE, preserve_topology=False)
    return np.where(shapely.is_valid(rough) & ~shapely.is_empty(rough), rough, polygons)


def _cut(
    net: Sequence[Any], cover: Any, polygons: NDArray[Any], *, bounded: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Cut what is covered along a net of lines, and give each house the faces that are mostly its own.

    Parameters
    ----------
    net : sequence of shapely.LineString
    cover : shapely.Polygon or shapely.MultiPolygon
    polygons : array of shapely.Polygon
        Where the houses are.
    bounded : bool
        True to leave out faces that are mostly no house's.

    Returns
    -------
    houses : array of shapely geometries
    bad : bool array
        True where a house is no single polygon, or far from where it is.
    """
    noded = shapely.union_all(net, grid_size=GRID)
    faces = shapely.get_parts(shapely.polygonize([noded]))
    shapely.prepare(cover)
    faces = faces[shapely.contains_properly(cover, shapely.point_on_surface(faces))]
    face, house = shapely.STRtree(polygons).query(faces)
    shared = shapely.area(shapely.intersection(faces[face], polygons[house]))
    if bounded:
        covered = np.bincount(face, shared, len(faces)) > 0.5 * shapely.area(faces)
        face, house, shared = face[covered[face]], house[covered[face]], shared[covered[face]]
    order = np.lexsort((shared, face))
    last = order[np.append(face[order][1:] != face[order][:-1], True)[: len(order)]]
    face, house, shared = face[last], house[last], shared[last]
    houses = np.array([shapely.coverage_union_all(faces[face[house == number]]) for number in range(len(polygons))], object)
    common = np.bincount(house, shared, len(polygons))
    union = shapely.area(polygons) + shapely.area(houses) - common
    single = (shapely.get_type_id(houses) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(houses)
    return houses, ~single | (common < SOUND * union)
