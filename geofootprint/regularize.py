"""From raw rings to regular outlines: walls fitted to all boundary points, corners where walls meet.

A wall's line averages the noise of all its points, so a regular outline is nearer to the truth than the ring it was made
from. Which stretches are walls, which of them follow the building's main directions and whether the whole is rather a
circle is decided by description length: a simpler outline wins unless the points, given their noise, speak against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.boundaries import Boundaries
from geofootprint.carve import carve
from geofootprint.corners import Sides
from geofootprint.curves import NAMES, PARAMETERS, Curves, draw_curve
from geofootprint.directions import align, find_directions
from geofootprint.errors import OptionError
from geofootprint.guard import ALIKE, TOLERANCE, find_faults, overlap, simple_polygon
from geofootprint.lines import SPACING, Chains, Floats, Indices, first_of_runs, neighbours
from geofootprint.nearness import Ruler
from geofootprint.noise import estimate_noise
from geofootprint.spans import CORRELATION, PRICES, REACH, Nodes, Prices, Walls, cheapest_walls_at, cut_into_walls
from geofootprint.splice import splice

__all__ = ["METHODS", "Regularized", "regularize_polygons"]

METHODS = ("rectangle", "right_angles", "angles", "circle", "ellipse", "free", "simplified")
"""How an outline was made: a rectangle; right angles only; also others; a circle or ellipse; without any main direction;
the ring with fewer vertices, where no fit holds. The outer ring tells; a courtyard may be of another kind."""

MIN_EDGE = 2.0
"""Shortest edge, in units of the samples (pixels)."""

AREA_SLACK = 1.05
"""Times the shortest edge that an outline has before it is scaled to its area."""

TRIES = 6
"""Times that a polygon is fitted, until its outline is near its boundary."""

SOFT = 1.3
"""Times the allowed distance that is put up with when all tries are over."""

LESS = 0.6
"""Of the noise where an outline strays, from one try to the next."""

FINER = 0.12
"""Of the noise, at which rings with too many nodes are cut first: the walls that are wanted meet where some of those do.

Nodes of a cut at the noise itself would not do: walls of any angle leave out steps that those along a main direction find.
"""

STRETCH = 8.0
"""Samples around a place that strays in which the boundary is believed more at the next try."""

LIMIT = (2.5, 2.5)
"""Samples, and times the noise, that an outline may be from its boundary."""

SLIM = 0.5
"""Times area over length that the first of the two limits may be."""

THIN = 2.0
"""Area over length, in samples, under which a building may be lost within the limits."""

BATCH = 50_000
"""Vertices in work at once; what is measured of them needs about 4 kB each."""

LARGEST = 50_000
"""Samples of the largest polygon that is fitted. What has more is noise, or a town that grew together: no outline of it
would be worth the time."""

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
    polygons: NDArray[Any],
    *,
    outline: str = "map",
    min_edge: float = MIN_EDGE,
    noise: float | None = None,
    prices: Prices = PRICES,
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
    prices : Prices
        Of walls: the dearer those at any angle are, the more of them follow the main directions.

    Returns
    -------
    Regularized
        As many polygons as were given: where no fit holds, the simplified ring.

    Raises
    ------
    OptionError
        If the outline is unknown, or the noise not more than 0.
    """
    if outline not in ("map", "area"):
        raise OptionError(f"The outline '{outline}' is unknown; use map or area.")
    if noise is not None and not noise > 0:
        raise OptionError(f"The noise must be more than 0, not {noise:g}.")
    polygons = shapely.force_2d(polygons)
    result, methods = polygons.copy(), np.full(len(polygons), "simplified", object)
    samples = shapely.get_num_coordinates(polygons) + shapely.length(polygons) / SPACING
    endless = samples > LARGEST
    result[endless] = shapely.simplify(polygons[endless], TOLERANCE)
    sound = np.flatnonzero((shapely.area(polygons) > 0) & ~endless)
    size = np.cumsum(samples[sound])
    cuts = np.searchsorted(size, np.arange(BATCH, size[-1] if len(size) else 0, BATCH))
    shortest = min_edge * (AREA_SLACK if outline == "area" else 1)
    for own in np.split(sound, cuts):
        if len(own):
            part = _regularize(polygons[own], shortest, noise, prices)
            result[own], methods[own] = part.polygons, part.methods
    if outline == "area":
        result[sound] = _restore_area(result[sound], polygons[sound], min_edge)
    return Regularized(result, methods)


def _regularize(polygons: NDArray[Any], min_edge: float, noise: float | None, prices: Prices) -> Regularized:
    origin = np.floor(shapely.bounds(polygons)[:, :2])
    lines, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(lines, return_index=True)
    local = shapely.linearrings(xy - origin[owner[ring]], indices=ring)
    boundaries = Boundaries.of(local, owner, min_edge=min_edge)
    sigma = estimate_noise(boundaries) if noise is None else np.full(len(polygons), noise)
    doubt = sigma[owner[boundaries.chains.chain]]
    best = _fit(boundaries, sigma, doubt, min_edge, prices)
    own, again = np.arange(len(local)), boundaries
    last = best
    for _ in range(TRIES - 1):
        # Only where it strays, so that a long ring does not get wavy as a whole by one place.
        hopeless = np.isinf(last.excess)[again.chains.chain]
        doubt = np.where(hopeless | _near(again.chains, last.astray), LESS * doubt, doubt)
        strays = np.unique(owner[own[last.excess > 1]])
        chosen = np.isin(owner[own], strays)
        if not chosen.any():
            break
        doubt, own = doubt[chosen[again.chains.chain]], own[chosen]
        again = Boundaries.of(local[own], np.searchsorted(strays, owner[own]), min_edge=min_edge)
        last = _fit(again, sigma[strays], doubt, min_edge, prices)
        best.improve(own, last)
    return _assemble(best, owner, polygons, origin, sigma, min_edge)


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
    astray : (float array of shape (n, 2), int array of shape (n,))
        Places where they are farther apart than allowed, and their rings.
    """

    rings: NDArray[Any]
    kinds: NDArray[Any]
    excess: Floats
    astray: tuple[Floats, Indices]

    def improve(self, number: Indices, other: _Fit) -> None:
        """Take over those of another fit, for some of the rings, that are nearer to their boundaries."""
        better = other.excess < self.excess[number]
        own = number[better]
        self.rings[own], self.kinds[own], self.excess[own] = (
            other.rings[better], other.kinds[better], other.excess[better]
        )


def _fit(boundaries: Boundaries, noise: Floats, doubt: Floats, min_edge: float, prices: Prices) -> _Fit:
    """Fit outlines to rings, given the noise of their polygons, and of the samples of their boundaries."""
    owner, count = boundaries.owner, len(boundaries.rings)
    sigma = noise[owner]
    levels = np.array([1, FINER])[:, None] * doubt[boundaries.nodes.sample]
    walls, finer = cheapest_walls_at(boundaries.nodes, boundaries.errors, levels)
    directions = find_directions(boundaries.chains, walls, owner, noise)
    start = _best_corners(boundaries.chains, walls)
    nodes = _renumbered(boundaries.chains, _thinned(boundaries.nodes, (walls, finer), count), start)
    chains, doubt = boundaries.chains.turned(start), doubt[boundaries.chains.turning(start)]
    walls = cut_into_walls(chains, nodes, directions.angles[owner], doubt, min_edge=min_edge, prices=prices)
    sides = Sides.of(chains, walls)
    outlines = sides.meet(align(directions, sides, owner).angles[owner], min_edge=min_edge)
    limit = _allowed(boundaries.shape.area / boundaries.length, sigma)
    ruler = Ruler(boundaries.rings, chains.xy[nodes.sample], nodes.chain, limit)
    of_corners, of_nodes = ruler.excess(outlines.xy, outlines.ring)
    excess = np.where(outlines.holds, 0, np.inf)
    np.maximum.at(excess, outlines.ring, of_corners)
    np.maximum.at(excess, nodes.chain, of_nodes)
    places = np.concatenate([outlines.xy[of_corners > 1], ruler.nodes[of_nodes > 1]])
    fit = _Fit(
        outlines.rings(), outlines.methods(), excess,
        (places, np.concatenate([outlines.ring[of_corners > 1], nodes.chain[of_nodes > 1]])),
    )
    _prefer_curves(fit, boundaries.curves, walls.energy, sigma, ruler, min_edge)
    return fit


def _allowed(width: Floats, noise: Floats) -> Floats:
    """Return how far outline and boundary may be from each other, of shapes whose area over length is given."""
    return np.asarray(np.minimum(LIMIT[0], SLIM * width) + LIMIT[1] * noise, np.float64)


def _near(chains: Chains, astray: tuple[Floats, Indices]) -> NDArray[np.bool_]:
    """Say which samples of rings are within `STRETCH` of places on the same rings."""
    near = np.zeros(len(chains.xy), np.bool_)
    for place, ring in zip(*astray, strict=True):
        own = slice(chains.starts[ring], chains.ends[ring] + 1)
        distance = np.hypot(*(chains.xy[own] - place).T)
        # A corner may be farther out than that.
        near[own] |= distance < max(STRETCH, 1.5 * distance.min())
    return near


def _best_corners(chains: Chains, walls: Walls) -> Indices:
    """Return the sample of each ring where its walls turn most."""
    step = chains.xy[walls.last] - chains.xy[walls.first]
    runs = first_of_runs(walls.chain)
    before, _ = neighbours(walls.chain)
    length = np.hypot(*step.T)
    cross = np.abs(step[before, 0] * step[:, 1] - step[before, 1] * step[:, 0])
    turn = cross / np.maximum(np.maximum(length, length[before]), 1e-9)
    best = np.lexsort((-turn, walls.chain))[runs]
    start = chains.starts.copy()
    start[walls.chain[runs]] = walls.first[best]
    return np.asarray(start, np.int64)


def _renumbered(chains: Chains, nodes: Nodes, start: Indices) -> Nodes:
    """Return the nodes of rings that begin at other samples."""
    size = chains.ends - chains.starts
    place, chain = _with_ends((nodes.sample - start[nodes.chain]) % size[nodes.chain], nodes.chain, size)
    return Nodes(chains.starts[chain] + place, chain)


def _thinned(nodes: Nodes, cuts: tuple[Walls, ...], rings: int) -> Nodes:
    """Of rings with many more nodes than a wall can run past, leave those at which walls of one of the cuts met."""
    many = np.bincount(nodes.chain, minlength=rings) > 3 * REACH
    kept = ~many[nodes.chain] | np.isin(nodes.sample, np.concatenate([walls.first for walls in cuts]))
    return Nodes(nodes.sample[kept], nodes.chain[kept])


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
    fit: _Fit, curves: Curves, energy: Floats, noise: Floats, ruler: Ruler, min_edge: float
) -> None:
    """Put a curve in the place of walls where it describes a ring more briefly."""
    if not len(curves.ring):
        return
    cost = curves.errors / (2 * CORRELATION * noise[curves.ring] ** 2)[:, None] + PARAMETERS * PRICE
    best = cost.argmin(axis=1)
    drawn = [draw_curve(curves, row, int(column), min_edge=min_edge) for row, column in enumerate(best)]
    excess = ruler.worst(np.concatenate(drawn), np.repeat(curves.ring, [len(points) for points in drawn]))[curves.ring]
    for row in np.flatnonzero((cost.min(axis=1) < energy[curves.ring]) & (excess <= 1)):
        ring, name = curves.ring[row], NAMES[best[row]]
        fit.rings[ring], fit.excess[ring] = drawn[row], excess[row]
        fit.kinds[ring] = name if name in METHODS else "angles"


def _assemble(
    fit: _Fit, owner: Indices, polygons: NDArray[Any], origin: Floats, noise: Floats, min_edge: float
) -> Regularized:
    """Put the rings of each polygon together; what does not hold is spliced or simplified."""
    shells = first_of_runs(owner)
    rings = [points + start for points, start in zip(fit.rings, origin[owner], strict=True)]
    is_hole = np.isin(np.arange(len(owner)), shells, invert=True)
    loose = np.flatnonzero((fit.excess > SOFT) & is_hole)
    for ring, line in zip(loose, shapely.get_rings(polygons)[loose], strict=True):
        rings[ring] = _simple_hole(line, min_edge)
    size = np.array([len(points) for points in rings])
    drawn = size[shells] >= 3
    own = np.flatnonzero(drawn[owner] & (size >= 3))
    xy = np.concatenate([np.zeros((0, 2)), *(rings[ring] for ring in own)])
    lines = shapely.linearrings(xy, indices=np.repeat(np.arange(len(own)), size[own]))
    result = np.full(len(polygons), shapely.Polygon(), object)
    result[drawn] = shapely.polygons(lines, indices=np.unique(owner[own], return_inverse=True)[1])
    methods = fit.kinds[shells].copy()
    methods[(methods == "rectangle") & (np.bincount(owner) > 1)] = "right_angles"
    faulty = find_faults(result, min_edge) | (fit.excess[shells] > SOFT)
    width = shapely.area(polygons) / shapely.length(polygons)
    thin = np.flatnonzero(~faulty & (width < THIN))
    faulty[thin] = overlap(result[thin], polygons[thin]) < ALIKE
    limit = SOFT * _allowed(width, noise)
    for i in np.flatnonzero(faulty):
        simple = simple_polygon(polygons[i], min_edge)
        spliced = splice(result[i], simple, float(limit[i]))
        if spliced is not simple:
            spliced = carve(spliced, np.zeros(0, object), min_edge)
        alike = overlap(spliced, polygons[i]) > ALIKE and not find_faults(np.array([spliced]), min_edge)[0]
        result[i] = spliced if alike else simple
        methods[i] = "angles" if alike and spliced is not simple else "simplified"
    return Regularized(result, methods)


def _simple_hole(line: Any, min_edge: float) -> Floats:
    """Return the simplified corners of a hole; none of one that is too small or thin for such an outline: it is filled."""
    simple = simple_polygon(shapely.Polygon(line), min_edge)
    if find_faults(np.array([simple]), min_edge)[0]:
        return np.zeros((0, 2))
    return np.asarray(shapely.get_coordinates(simple.exterior)[:-1])


def _restore_area(polygons: NDArray[Any], like: NDArray[Any], min_edge: float) -> NDArray[Any]:
    """Scale each polygon about its centroid to the area of another, where its edges stay long enough."""
    factor = np.sqrt(shapely.area(like) / np.maximum(shapely.area(polygons), 1e-12))
    centre = shapely.get_coordinates(shapely.centroid(polygons))
    xy, index = shapely.get_coordinates(polygons, return_index=True)
    scaled = shapely.set_coordinates(polygons.copy(), (xy - centre[index]) * factor[index, None] + centre[index])
    return np.where(find_faults(scaled, min_edge), polygons, scaled)
