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
from geofootprint.guard import TOLERANCE
from geofootprint.polylines import fit_chains
from geofootprint.regularize import MIN_EDGE, regularize_polygons
from geofootprint.spans import Prices
from geofootprint.strokes import Kind, Stroke, find_strokes
from geofootprint.tidy import tidy

__all__ = ["BLOCK_PRICES", "regularize_block"]

Points = NDArray[np.float64]

GRID = 2.0**-12
"""Pixels between the coordinates of a block: lines nearer than that are one, and all have exactly the same corners."""

REACH = 6.0
"""Pixels by which a wall is lengthened at its ends; what then hangs free is taken off again."""

SHOT = 12.0
"""Pixels that a wall may go on; where it meets nothing there, it also turns to what is nearest."""

NEAR = 2.5
"""Pixels by which a wall may be moved to run into another one that it continues, or into a corner."""

BLOCK_PRICES = Prices(main=2.0, diagonal=20.0, free=30.0)
"""Of a block's walls: its houses step back and forth more than one house does, but turn less.

With the prices of single houses, facades with small steps became slanted walls, and the IoU of rows of houses fell under
that of their raw rings.
"""

ASTRAY = 0.8
"""Pixels that the outline of a house may be from its raw ring, on the average."""

SOUND = (0.6, 0.9)
"""Limits of the IoU of a house with its raw ring that follows from that."""

STROKES = 6
"""Walls for each house, of which a real block has two or three; with more of them it is noise that is not worth a fit."""

THREADS = 1.6
"""Pixels of area over length of all boundaries under which a block is a web of a few pixels, that is noise: real blocks have
more than 2, and a fit would take time that grows with the square of the web."""

RIM = 0.45
"""Share of the outline of a face without owner that is open to the outside; a face that is more closed in is a gap."""

TOUCHING = 0.05
"""Pixels from what it ends at under which a wall needs no way to it: it is lengthened anyway."""

ROUNDS = 4
"""Times that houses which did not come out well are put back with their own rings."""


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
    polygons: NDArray[Any], covers: NDArray[Any], *, fixed: NDArray[np.bool_]
) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
    """Regularize attached buildings together.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Raw, without overlaps, a wall between two with the same vertices in both; in pixels.
    covers : array of shapely.Polygon
        Regularized outlines of what is attached; they may overlap.
    fixed : bool array with one value a polygon
        True where no line may be fitted: the ring runs along pixels without data, and is exact.

    Returns
    -------
    houses : array of shapely.Polygon or None
        In the order of the polygons, valid, without overlaps; corners and ends of walls have the same coordinates in
        all. None if that cannot be had.
    fitted : bool array
        False for houses that kept their own simplified ring.
    """
    # By whole pixels, so that nothing depends on where in the raster the block lies.
    origin = np.floor(shapely.bounds(polygons)[:, :2].min(axis=0))
    houses, fitted = _regularize_block(_moved(polygons, -origin), _moved(covers, -origin), fixed)
    return None if houses is None else _moved(houses, origin), fitted


def _moved(polygons: NDArray[Any], shift: Points) -> NDArray[Any]:
    return cast("NDArray[Any]", shapely.transform(polygons, lambda xy: xy + shift))


def _regularize_block(
    polygons: NDArray[Any], covers: NDArray[Any], fixed: NDArray[np.bool_]
) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
    if shapely.area(polygons).sum() < THREADS * shapely.length(polygons).sum():
        return None, np.zeros(len(polygons), np.bool_)
    strokes = find_strokes(polygons)
    if len(strokes) > STROKES * len(polygons):
        return None, np.zeros(len(polygons), np.bool_)
    rough = _roughen(polygons)
    plan = _Plan.of(covers, strokes)
    houses, bad = plan.cut(rough)
    whole = np.zeros(len(polygons), np.bool_)
    bad = bad | fixed
    simple = simplify_together(polygons, TOLERANCE) if bad.any() else polygons
    for _ in range(ROUNDS):
        if not (bad & ~whole).any():
            break
        whole |= bad
        houses, bad = plan.cut(np.where(whole, simple, rough), simple[whole])
    houses = _largest_parts(houses)
    if shapely.is_empty(houses).any():
        return None, np.zeros(len(polygons), np.bool_)
    return tidy(houses, MIN_EDGE, fixed=fixed), ~whole


def _largest_parts(houses: NDArray[Any]) -> NDArray[Any]:
    """Return the largest polygon of each geometry; what else it has is a sliver beyond a neighbour's corner."""
    houses = houses.copy()
    for number in np.flatnonzero(shapely.get_num_geometries(houses) > 1):
        parts = shapely.get_parts(houses[number])
        houses[number] = parts[np.argmax(shapely.area(parts))]
    return houses


def _are_single(houses: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which geometries are one polygon."""
    return cast("NDArray[np.bool_]", (shapely.get_type_id(houses) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(houses))


@dataclass(frozen=True)
class _Plan:
    """What a block is cut out of, and along which lines.

    Parameters
    ----------
    covers : array of shapely.Polygon
    lines : list of shapely.LineString
        The walls, and the boundaries of the covers.
    """

    covers: NDArray[Any]
    lines: list[Any]

    @classmethod
    def of(cls, covers: NDArray[Any], strokes: Sequence[Stroke]) -> _Plan:
        """Fit the walls to the covers."""
        walls, rings = _fit_walls(strokes, Segments.of(covers))
        return cls(covers, [*shapely.boundary(covers), *_lengthen(walls, covers), *rings])

    def cut(self, polygons: NDArray[Any], rings: NDArray[Any] | tuple[()] = ()) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Give each house the faces that are mostly its own.

        Parameters
        ----------
        polygons : array of shapely.Polygon
            Where the houses are.
        rings : array of shapely.Polygon, optional
            Houses that are cut out along their own rings; then faces that are mostly no house's are left out, unless they
            lie between houses.

        Returns
        -------
        houses : array of shapely geometries
        bad : bool array
            True where a house is no single polygon, or far from where it is.
        """
        cover = shapely.union_all([*self.covers, *rings])
        noded = shapely.union_all([*self.lines, *shapely.boundary(rings)], grid_size=GRID)
        faces = shapely.get_parts(shapely.polygonize([noded]))
        shapely.prepare(cover)
        faces = faces[shapely.contains_properly(cover, shapely.point_on_surface(faces))]
        face, house, shared = _owners(faces, polygons, cover if len(rings) else None)
        houses = np.array(
            [shapely.coverage_union_all(faces[face[house == number]]) for number in range(len(polygons))], object
        )
        common = np.bincount(house, shared, len(polygons))
        area = shapely.area(polygons)
        sound = np.clip(1 - ASTRAY * shapely.length(polygons) / area, *SOUND)
        return houses, ~_are_single(houses) | (common < sound * (area + shapely.area(houses) - common))


def _owners(
    faces: NDArray[Any], polygons: NDArray[Any], cover: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return each face that has an owner, the polygon that has most of it, and the area of that.

    With a cover, faces along its rim that are mostly no polygon's have none.
    """
    face, house = shapely.STRtree(polygons).query(faces)
    shared = shapely.area(shapely.intersection(faces[face], polygons[house]))
    if cover is not None:
        strange = np.flatnonzero(np.bincount(face, shared, len(faces)) < 0.5 * shapely.area(faces))
        owned = ~np.isin(face, strange[_along(faces[strange], shapely.boundary(cover)) > RIM])
        face, house, shared = face[owned], house[owned], shared[owned]
    order = np.lexsort((shared, face))
    last = order[np.append(face[order][1:] != face[order][:-1], True)[: len(order)]]
    return face[last], house[last], shared[last]


def _along(faces: NDArray[Any], line: Any) -> NDArray[np.float64]:
    """Return the share of each face's outline that is along a line, which begins and ends at the faces' corners."""
    rings, face = shapely.get_rings(faces, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    edge = ring[1:] == ring[:-1]
    middle, length = (xy[1:] + xy[:-1])[edge] / 2, np.hypot(*(xy[1:] - xy[:-1])[edge].T)
    shapely.prepare(line)
    near = shapely.dwithin(line, shapely.points(middle), 4 * GRID)
    owner = face[ring[1:][edge]]
    total = np.bincount(owner, length, len(faces))
    return np.bincount(owner, length * near, len(faces)) / np.maximum(total, GRID)


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
    ways = [_shortest_way(ends[number, end], targets, len(targets) - len(walls) + number) for number, end in missing]
    return longer + [line for line in ways if line is not None]


def _shortest_way(end: Points, targets: NDArray[Any], own: int) -> Any:
    """Return a line from the end of a wall to the nearest target but itself, and a bit beyond; None where it lies there."""
    line = shapely.shortest_line(shapely.Point(end), targets)
    distance = shapely.length(line)
    distance[own] = np.inf
    nearest = shapely.get_coordinates(line[np.argmin(distance)])
    length = math.dist(*nearest)
    if length < TOUCHING:
        return None
    return shapely.LineString([nearest[0], nearest[1] + (nearest[1] - nearest[0]) / length])


def _roughen(polygons: NDArray[Any]) -> NDArray[Any]:
    """Return polygons with few vertices that are good enough to see which face is whose."""
    rough = shapely.simplify(polygons, TOLERANCE, preserve_topology=False)
    return np.where(shapely.is_valid(rough) & ~shapely.is_empty(rough), rough, polygons)
