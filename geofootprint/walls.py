"""Attached buildings as one coverage: every shared wall is fitted once and ends where it meets another.

The outline of a whole block of houses is regularized as one ring, so that a facade runs straight through many of them.
The walls between the houses are fitted as strokes, straight on through the points where others end, and are lengthened
to what they run into. The faces of this network are the houses: they cannot leave a gap or overlap. A house that
does not come out well puts its own simplified ring into the network, and the block is cut again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.arcs import simplify_together
from geofootprint.polylines import fit_chains
from geofootprint.regularize import MIN_EDGE, regularize_polygons
from geofootprint.strokes import Kind, Stroke, find_strokes
from geofootprint.tidy import tidy

__all__ = ["regularize_block"]

Points = NDArray[np.float64]

GRID = 2.0**-12
"""Pixels between the coordinates of a block: lines nearer than that are one, and all have exactly the same corners."""

REACH = 6.0
"""Pixels by which a wall is lengthened at its ends; what then hangs free is taken off again."""

SHOT = 12.0
"""Pixels that a wall may go on; where it meets nothing there, it also turns to what is nearest."""

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
    """Straight edges of polygons.

    Parameters
    ----------
    start, along : float arrays of shape (n, 2)
        First points and unit vectors.
    length : float array of shape (n,)
    inward : bool array of shape (n,)
        True where the polygon has more than 180 degrees at the first point.
    """

    start: Points
    along: Points
    length: Points
    inward: NDArray[np.bool_]

    @classmethod
    def of(cls, polygons: NDArray[Any]) -> Segments:
        """Take the edges of polygons."""
        xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.orient_polygons(polygons)), return_index=True)
        steps = np.diff(xy, axis=0)
        same = ring[1:] == ring[:-1]
        length = np.hypot(*steps.T)
        before = np.arange(len(steps)) - 1
        edge = np.flatnonzero(same & (length > 0))
        firsts, lasts = np.flatnonzero(np.append(True, ~same)), np.append(np.flatnonzero(~same), len(steps)) - 1
        before[firsts] = lasts
        turn = steps[before, 0] * steps[:, 1] - steps[before, 1] * steps[:, 0]
        return cls(xy[edge], steps[edge] / length[edge, None], length[edge], turn[edge] < 0)

    def corner_near(self, end: Points, ahead: Points) -> Points | None:
        """Return the corner that a line which ends somewhere runs into, the inward ones first."""
        away = self.start - end
        aside = np.abs(away @ np.array([-ahead[1], ahead[0]])) / max(math.hypot(*ahead), 1e-9)
        distance = np.hypot(*away.T)
        near = np.flatnonzero((aside < NEAR) & (distance < np.where(self.inward, REACH, NEAR)))
        if not near.size:
            return None
        return cast("Points", self.start[near[np.argmin(distance[near] - REACH * self.inward[near])]])

    def nearest(self, point: Points) -> Points:
        """Return the corner nearest to a point if it is near, else the nearest point of all."""
        corner = self.start[np.argmin(np.hypot(*(self.start - point).T))]
        if math.dist(corner, point) < REACH:
            return cast("Points", corner)
        edge = np.argmin(self.distances(point))
        place = np.clip((point - self.start[edge]) @ self.along[edge], 0, self.length[edge])
        return cast("Points", self.start[edge] + place * self.along[edge])

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


@dataclass(frozen=True)
class Wall:
    """A fitted wall.

    Parameters
    ----------
    points : float array of shape (n, 2)
    held : (bool, bool)
        Whether it ends there already, at a corner or where others end too; else it goes on to what it meets.
    """

    points: Points
    held: tuple[bool, bool]


def _fit_walls(strokes: Sequence[Stroke], outline: Segments) -> tuple[list[Wall], list[Any]]:
    """Return the fitted open walls and the closed ones."""
    opened = [stroke for stroke in strokes if not stroke.closed]
    main = outline.main_direction
    angles = np.array([_directions(stroke.points, outline, main) for stroke in opened]).reshape(-1, 6)
    fitted = fit_chains([stroke.points for stroke in opened], angles)
    meetings = _meetings(fitted, opened, outline)
    walls = [_end(points, stroke, outline, meetings) for points, stroke in zip(fitted, opened, strict=True)]
    closed = np.array([shapely.Polygon(stroke.points) for stroke in strokes if stroke.closed], object)
    rings = list(shapely.boundary(regularize_polygons(closed).polygons)) if len(closed) else []
    return walls, rings


def _directions(points: Points, outline: Segments, main: float) -> list[float]:
    """Return the angles that a wall may take: those of the outline where it ends, of the block, and diagonal ones."""
    ends = []
    for end in (points[0], points[-1]):
        near = np.flatnonzero((outline.distances(end) < 2 * NEAR) & (outline.length > 4 * NEAR))
        if near.size:
            longest = near[np.argmax(outline.length[near])]
            ends.append((float(outline.length[longest]), math.atan2(outline.along[longest, 1], outline.along[longest, 0])))
    first = max(ends)[1] if ends else main
    quarter = math.pi / 2
    return [first, first + quarter, main, main + quarter, first + quarter / 2, first + 3 * quarter / 2]


def _meetings(fitted: Sequence[Points], strokes: Sequence[Stroke], outline: Segments) -> dict[int, Points]:
    """Return the points where walls meet of which none goes on: in the middle, or where the outline is nearest."""
    ends: dict[int, list[Points]] = defaultdict(list)
    kinds: dict[int, Kind] = {}
    for points, stroke in zip(fitted, strokes, strict=True):
        for end, node, kind in zip((0, -1), stroke.nodes, stroke.kinds, strict=True):
            ends[node].append(points[end])
            kinds[node] = kind
    found = {}
    for node, places in ends.items():
        if len(places) > 1 and kinds[node] is not Kind.PASSING:
            middle = np.mean(places, axis=0)
            found[node] = middle if kinds[node] is Kind.MEETING else outline.nearest(middle)
    return found


def _end(points: Points, stroke: Stroke, outline: Segments, meetings: Mapping[int, Points]) -> Wall:
    """Let a wall end where others end, or in a corner of the outline that it comes near to.

    A straight wall that does so at one end only keeps its direction.
    """
    places = [meetings.get(node) for node in stroke.nodes]
    for number, (end, beyond) in enumerate(((0, 1), (-1, -2))):
        if places[number] is None and stroke.kinds[number] is Kind.OUTLINE:
            corner = outline.corner_near(points[end], points[end] - points[beyond])
            other = places[1 - number]
            # A wall does not begin and end at one corner.
            places[number] = None if corner is None or (other is not None and (corner == other).all()) else corner
    moved = points.copy()
    for end, place in zip((0, -1), places, strict=True):
        if place is None:
            continue
        moved[end] = place
        if len(points) == 2 and places[end + 1] is None:
            moved[-1 - end] += place - points[end]
    return Wall(moved, (places[0] is not None, places[1] is not None))


def _lengthen(walls: Sequence[Wall], covers: NDArray[Any]) -> list[Any]:
    """Return the walls as lines that go on to what they meet, and the shortest ways from those that miss it."""
    walls = [wall for wall in walls if (wall.points[[0, -1]] != wall.points[[1, -2]]).any(axis=1).all()]
    if not walls:
        return []
    lines = np.array([shapely.linestrings(wall.points) for wall in walls], object)
    ends = np.array([wall.points[[0, -1]] for wall in walls])
    ahead = ends - np.array([wall.points[[1, -2]] for wall in walls])
    ahead /= np.linalg.norm(ahead, axis=2, keepdims=True)
    rays = shapely.linestrings(np.stack([ends + 0.01 * ahead, ends + SHOT * ahead], axis=2))
    targets = np.concatenate([shapely.get_rings(covers), lines])
    way = shapely.distance(shapely.points(ends), shapely.intersection(rays, shapely.multilinestrings(targets)))
    held = np.array([wall.held for wall in walls])
    reach = np.where(held, 0, np.fmax(way + 1, REACH))
    goals = ends + reach[:, :, None] * ahead
    longer = [
        shapely.linestrings(np.concatenate([goal[:1], wall.points[1:-1], goal[1:]]))
        for wall, goal in zip(walls, goals, strict=True)
    ]
    missing = zip(*np.nonzero(~held & np.isnan(way)), strict=True)
    return longer + [_shortest_way(ends[number, end], targets, len(targets) - len(walls) + number) for number, end in missing]


def _shortest_way(end: Points, targets: NDArray[Any], own: int) -> Any:
    """Return a line from the end of a wall to the nearest target but itself, and a bit beyond."""
    line = shapely.shortest_line(shapely.Point(end), targets)
    distance = shapely.length(line)
    distance[own] = np.inf
    nearest = shapely.get_coordinates(line[np.argmin(distance)])
    length = max(math.dist(*nearest), 1e-9)
    return shapely.LineString([nearest[0], nearest[1] + (nearest[1] - nearest[0]) / length])


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
