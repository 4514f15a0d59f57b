"""From raw rings to regular outlines: walls fitted to all boundary points, corners where walls meet.

A wall's line averages the noise of all its points, so a regular outline is nearer to the truth than the ring it was made
from. Which stretches are walls, which of them follow the building's main directions and whether the whole is rather a
circle is decided by description length: a simpler outline wins unless the points, given their noise, speak against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.corners import Outlines, Sides
from geofootprint.curves import NAMES, PARAMETERS, RingShape, draw_curve, fit_curves, measure_rings
from geofootprint.directions import align, find_directions
from geofootprint.lines import Chains, Floats, Indices, first_of_runs
from geofootprint.spans import CORRELATION, Nodes, Paths, Walls, cut_into_walls

__all__ = ["METHODS", "Regularized", "fit_chain", "regularize_polygons"]

METHODS = ("rectangle", "right_angles", "angles", "circle", "ellipse", "free", "simplified")
"""How an outline was made: a rectangle; right angles only; also others; a circle or ellipse; without any main direction;
the ring with fewer vertices, where no fit holds."""

MIN_EDGE = 2.0
"""Shortest edge, in units of the samples (pixels)."""

TOLERANCE = 0.6
"""Of the simplified ring, in the same units."""

NODES = 0.5
"""Tolerance of the nodes at which walls may meet."""

LEVELS = (0.15, 0.3, 0.5, 0.8, 1.2, 1.8)
"""Standard deviations of the boundary that are tried, in samples."""

PRIOR = (0.7, 0.5)
"""Median and logarithmic spread of what they are before the boundary is seen."""

TRIES = 3
"""Times that a polygon is fitted, until its outline is near its boundary."""

SOFT = 1.3
"""Times the allowed distance that is put up with when all tries are over."""

LESS = 0.6
"""Of the noise, from one try to the next."""

LIMIT = (2.5, 2.5)
"""Samples, and times the noise, that an outline may be from its boundary."""

BATCH = 100_000
"""Vertices in work at once."""

PRICE = 2.5
"""Of each number that describes a curve."""


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
    size = np.cumsum(shapely.get_num_coordinates(polygons))
    cuts = np.searchsorted(size, np.arange(BATCH, size[-1] if len(size) else 0, BATCH))
    parts = [_regularize(part, min_edge, noise) for part in np.split(polygons, cuts) if len(part)]
    result = np.concatenate([np.zeros(0, object), *(part.polygons for part in parts)])
    methods = np.concatenate([np.zeros(0, object), *(part.methods for part in parts)])
    if outline == "area":
        result = _restore_area(result, polygons)
    return Regularized(result, methods)


def _regularize(polygons: NDArray[Any], min_edge: float, noise: float | None) -> Regularized:
    origin = np.floor(shapely.bounds(polygons)[:, :2])
    lines, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(lines, return_index=True)
    local = shapely.linearrings(xy - origin[owner[ring]], indices=ring)
    best = _Fit.nothing(len(local))
    left, sigma = np.arange(len(polygons)), np.tile(LEVELS if noise is None else [noise], (len(polygons), 1))
    for _ in range(TRIES):
        own = np.flatnonzero(np.isin(owner, left))
        fit, sigma = _fit(local[own], np.searchsorted(left, owner[own]), sigma, min_edge)
        best.improve(own, fit)
        strays = np.isin(left, owner[best.excess > 1])
        if not strays.any():
            break
        left, sigma = left[strays], LESS * sigma[strays]
    return _assemble(best, owner, local, origin)


@dataclass(frozen=True)
class _Fit:
    """Outlines of rings.

    Parameters
    ----------
    rings : array of float arrays of shape (corners, 2)
    kinds : array of str
        Their methods.
    excess : float array of shape (rings,)
        Farthest that outline and boundary are from each other, over what is allowed.
    """

    rings: NDArray[Any]
    kinds: NDArray[Any]
    excess: Floats

    @classmethod
    def nothing(cls, count: int) -> _Fit:
        return cls(np.empty(count, object), np.full(count, "simplified", object), np.full(count, np.inf))

    def improve(self, number: Indices, other: _Fit) -> None:
        """Take over those of another fit, for some of the rings, that are nearer to their boundaries."""
        better = other.excess < self.excess[number]
        own = number[better]
        self.rings[own], self.kinds[own], self.excess[own] = (
            other.rings[better], other.kinds[better], other.excess[better]
        )


def _fit(local: NDArray[Any], owner: Indices, noise: Floats, min_edge: float) -> tuple[_Fit, Floats]:
    """Fit outlines to rings; also return each polygon's noise, of shape (polygons, 1)."""
    chains, shape = _begin_far_out(Chains.of(local))
    nodes = Nodes(*chains.simplified(NODES))
    paths = cut_into_walls(chains, nodes, np.zeros((len(local), 0)), noise[owner], min_edge=min_edge)
    level = _choose_level(paths, chains, owner, noise)
    walls = paths.walls(level[owner])
    directions = find_directions(chains, walls, owner, np.take_along_axis(noise, level[:, None], axis=1)[:, 0])
    chains, nodes = _begin_at_corner(chains, walls, nodes)
    paths = cut_into_walls(chains, nodes, directions.angles[owner], noise[owner], min_edge=min_edge)
    level = _choose_level(paths, chains, owner, noise)
    sigma = np.take_along_axis(noise, level[:, None], axis=1)
    walls = paths.walls(level[owner])
    sides = Sides.of(chains, walls)
    outlines = sides.meet(align(directions, sides, owner).angles[owner], min_edge=min_edge)
    ruler = _Ruler(local, chains.xy[nodes.sample], nodes.chain, LIMIT[0] + LIMIT[1] * sigma[owner, 0])
    fit = _Fit(outlines.rings(), outlines.methods(), np.where(outlines.holds, ruler.excess(outlines.xy, outlines.ring), np.inf))
    _prefer_curves(fit, chains, shape, walls.energy, sigma[owner, 0], ruler, min_edge)
    return fit, sigma


@dataclass(frozen=True)
class _Ruler:
    """Measures how far outlines and boundaries are apart.

    Parameters
    ----------
    local : array of shapely.LinearRing
        Boundaries.
    nodes : float array of shape (n, 2)
        Points of the boundaries that stand out.
    ring : int array of shape (n,)
        Boundary of each.
    limit : float array of shape (rings,)
        How far is allowed.
    """

    local: NDArray[Any]
    nodes: Floats
    ring: Indices
    limit: Floats

    def excess(self, xy: Floats, ring: Indices) -> Floats:
        """Return the greatest distance between each boundary and its outline, over what is allowed.

        A corner may be farther out the sharper it is, since blur takes the more from it.
        """
        worst = np.zeros(len(self.local))
        if not len(xy):
            return worst
        away = shapely.distance(shapely.points(xy), self.local[ring]) / self.limit[ring]
        np.maximum.at(worst, ring, away * np.minimum(_half_sine(xy, ring) / math.sin(math.pi / 4), 1))
        numbers, index = np.unique(ring, return_inverse=True)
        size = np.bincount(index)
        drawn = np.full(len(self.local), None, object)
        whole = size >= 3
        drawn[numbers[whole]] = shapely.linearrings(xy[whole[index]], indices=np.repeat(np.arange(whole.sum()), size[whole]))
        own = ~shapely.is_missing(drawn)[self.ring]
        own[own] = ~shapely.is_missing(drawn[self.ring[own]])
        away = shapely.distance(shapely.points(self.nodes[own]), drawn[self.ring[own]]) / self.limit[self.ring[own]]
        np.maximum.at(worst, self.ring[own], away)
        return worst


def _half_sine(xy: Floats, ring: Indices) -> Floats:
    """Return the sine of half the angle at each corner of rings."""
    begins = first_of_runs(ring)
    ends = np.append(begins[1:], len(ring)) - 1
    before, after = np.arange(len(ring)) - 1, np.arange(len(ring)) + 1
    before[begins], after[ends] = ends, begins
    back, ahead = xy[before] - xy, xy[after] - xy
    lengths = np.maximum(np.hypot(*back.T) * np.hypot(*ahead.T), 1e-12)
    return np.sqrt(np.clip((1 - (back * ahead).sum(axis=1) / lengths) / 2, 0, 1))


def _choose_level(paths: Paths, chains: Chains, owner: Indices, noise: Floats) -> Indices:
    """Return the level of noise of each polygon under which it is described most briefly."""
    energy = np.zeros_like(noise)
    np.add.at(energy, owner, paths.energy)
    length = np.bincount(owner, chains.along[chains.ends], len(noise))
    prior = (np.log(noise / PRIOR[0]) / PRIOR[1]) ** 2 / 2
    total = energy + length[:, None] / CORRELATION * np.log(noise) + prior
    return np.asarray(total.argmin(axis=1), np.int64)


def _begin_far_out(chains: Chains) -> tuple[Chains, Any]:
    """Let each ring begin at the sample farthest from its centre, which is a corner if anything is."""
    shape = measure_rings(chains)
    ring = np.repeat(np.arange(len(chains.starts)), chains.ends - chains.starts + 1)
    far = ((chains.xy - shape.centre[ring]) ** 2).sum(axis=1)
    order = np.lexsort((np.arange(len(far)), -far, ring))
    return chains.turned(order[chains.starts]), shape


def _begin_at_corner(chains: Chains, walls: Walls, nodes: Nodes) -> tuple[Chains, Nodes]:
    """Let each ring begin where its walls turn most, and take its nodes along."""
    step = chains.xy[walls.last] - chains.xy[walls.first]
    runs = first_of_runs(walls.chain)
    before = np.arange(len(step)) - 1
    before[runs] = np.append(runs[1:], len(step)) - 1
    length = np.hypot(*step.T)
    cross = np.abs(step[before, 0] * step[:, 1] - step[before, 1] * step[:, 0])
    turn = cross / np.maximum(np.maximum(length, length[before]), 1e-9)
    best = np.lexsort((-turn, walls.chain))[runs]
    start = chains.starts.copy()
    start[walls.chain[runs]] = walls.first[best]
    size = chains.ends - chains.starts
    place, chain = _with_ends((nodes.sample - start[nodes.chain]) % size[nodes.chain], nodes.chain, size)
    return chains.turned(start), Nodes(chains.starts[chain] + place, chain)


def _with_ends(place: Indices, chain: Indices, size: Indices) -> tuple[Indices, Indices]:
    """Sort places along rings, each once, with the ring's first and last sample."""
    every = np.arange(len(size))
    place = np.concatenate([place, np.zeros(len(size), np.int64), size])
    chain = np.concatenate([chain, every, every])
    order = np.lexsort((place, chain))
    place, chain = place[order], chain[order]
    new = np.append(True, (place[1:] != place[:-1]) | (chain[1:] != chain[:-1]))
    return place[new], chain[new]


def _prefer_curves(
    fit: _Fit, chains: Chains, shape: RingShape, energy: Floats, noise: Floats, ruler: _Ruler, min_edge: float
) -> None:
    """Put a curve in the place of walls where it describes a ring more briefly."""
    curves = fit_curves(chains, shape)
    if not len(curves.ring):
        return
    cost = curves.errors / (2 * CORRELATION * noise[curves.ring] ** 2)[:, None] + PARAMETERS * PRICE
    best = cost.argmin(axis=1)
    drawn = [draw_curve(curves, row, int(column), min_edge=min_edge) for row, column in enumerate(best)]
    excess = ruler.excess(np.concatenate(drawn), np.repeat(curves.ring, [len(points) for points in drawn]))[curves.ring]
    limit = np.where(fit.excess > 1, np.inf, energy)[curves.ring]
    for row in np.flatnonzero((cost.min(axis=1) < limit) & (excess <= 1)):
        ring, name = curves.ring[row], NAMES[best[row]]
        fit.rings[ring], fit.excess[ring] = drawn[row], excess[row]
        fit.kinds[ring] = name if name in METHODS else "angles"


def _assemble(fit: _Fit, owner: Indices, local: NDArray[Any], origin: Floats) -> Regularized:
    """Put the rings of each polygon together; what does not hold is simplified."""
    rings, kinds = fit.rings, fit.kinds
    for i in np.flatnonzero(fit.excess > SOFT):
        rings[i] = shapely.get_coordinates(shapely.simplify(local[i], TOLERANCE))[:-1]
        kinds[i] = "simplified"
    sizes = [len(points) for points in rings]
    ring = np.repeat(np.arange(len(sizes)), sizes)
    xy = np.concatenate(list(rings))
    closed = shapely.linearrings(xy + origin[owner[ring]], indices=ring)
    polygons = shapely.polygons(closed, indices=owner)
    shells = first_of_runs(owner)
    methods = np.array(kinds, object)[shells]
    single = np.bincount(owner) == 1
    methods[(methods == "rectangle") & ~single] = "right_angles"
    for i in np.flatnonzero(~shapely.is_valid(polygons)):
        own = np.flatnonzero(owner == i)
        parts = shapely.transform(shapely.simplify(local[own], TOLERANCE), lambda xy, i=i: xy + origin[i])
        polygons[i] = shapely.Polygon(parts[0], list(parts[1:]))
        methods[i] = "simplified"
    return Regularized(polygons, methods)


def _restore_area(polygons: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Scale each polygon about its centroid to the area of another."""
    factor = np.sqrt(shapely.area(like) / np.maximum(shapely.area(polygons), 1e-12))
    centre = shapely.get_coordinates(shapely.centroid(polygons))
    xy, index = shapely.get_coordinates(polygons, return_index=True)
    scaled = (xy - centre[index]) * factor[index, None] + centre[index]
    return np.asarray(shapely.set_coordinates(polygons.copy(), scaled), object)


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
