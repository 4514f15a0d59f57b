"""From raw rings to regular outlines: walls fitted to all boundary points, corners where walls meet.

A wall's line averages the noise of all its points, so a regular outline is nearer to the truth than the ring it was made
from. Which stretches are walls, which of them follow the building's main directions and whether the whole is rather a
circle is decided by description length: a simpler outline wins unless the points, given their noise, speak against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.corners import Outlines, Sides
from geofootprint.curves import NAMES, PARAMETERS, draw_curve, fit_curves, measure_rings
from geofootprint.directions import align, find_directions
from geofootprint.lines import Chains, Floats, Indices, best_line, first_of_runs, spread
from geofootprint.spans import CORRELATION, Prices, Walls, cut_into_walls, trim

__all__ = ["METHODS", "Regularized", "fit_chain", "regularize_polygons"]

METHODS = ("rectangle", "right_angles", "angles", "circle", "ellipse", "free", "simplified")
"""How an outline was made: a rectangle; right angles only; also others; a circle or ellipse; without any main direction;
the ring with fewer vertices, where no fit holds."""

MIN_EDGE = 2.0
"""Shortest edge, in units of the samples (pixels)."""

TOLERANCE = 0.6
"""Of the simplified ring, in the same units."""

COARSE = 3.0
"""Tolerance of the coarse fit that shows the noise; a close fit follows it and shows nothing."""

NODES = 0.5
"""Tolerance of the nodes at which walls may meet."""

FACTORS = (1.0, 0.6, 0.36)
"""Of the noise, for the first try and for what strayed from its boundary."""

LIMIT = (2.0, 4.0)
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
    chains = Chains.of(local)
    sigma = _noise(chains, owner, len(polygons)) if noise is None else np.full(len(polygons), noise)
    rings: list[Floats | None] = [None] * len(local)
    kinds = ["simplified"] * len(local)
    left = np.arange(len(polygons))
    for factor in FACTORS:
        own = np.flatnonzero(np.isin(owner, left))
        if not len(own):
            break
        fit_rings, fit_kinds = _fit(local[own], np.searchsorted(left, owner[own]), sigma[left] * factor, min_edge)
        for i, points, kind in zip(own, fit_rings, fit_kinds, strict=True):
            rings[i], kinds[i] = points, kind
        left = np.unique(owner[[i for i in own if rings[i] is None]])
    return _assemble(rings, kinds, owner, local, origin)


def _fit(
    local: NDArray[Any], owner: Indices, sigma: Floats, min_edge: float
) -> tuple[list[Floats | None], list[str]]:
    """Return corners and method of each ring; None for one that has no outline near its boundary."""
    chains, shape = _begin_far_out(Chains.of(local))
    nodes, node_chain = chains.simplified(NODES)
    free = np.zeros((len(local), 0))
    prices = Prices()
    walls = cut_into_walls(chains, nodes, node_chain, free, sigma[owner], min_edge=min_edge, prices=prices)
    frames = find_directions(chains, walls, owner, sigma)
    chains, nodes, node_chain = _begin_at_corner(chains, walls, nodes, node_chain)
    walls = cut_into_walls(
        chains, nodes, node_chain, frames.angles[owner], sigma[owner], min_edge=min_edge, prices=prices
    )
    sides = Sides.of(chains, walls)
    frames = align(frames, sides, owner)
    outlines = sides.meet(frames.angles[owner], min_edge=min_edge)
    near = _is_near(outlines, local, chains.xy[nodes], node_chain, LIMIT[0] + LIMIT[1] * sigma[owner])
    outlines = replace(outlines, holds=outlines.holds & near)
    return _choose(chains, shape, walls, outlines, sigma[owner], min_edge)


def _is_near(
    outlines: Outlines, local: NDArray[Any], nodes: Floats, node_ring: Indices, limit: Floats
) -> NDArray[np.bool_]:
    """Say which outlines and boundaries are nowhere farther from each other than a limit."""
    holds = outlines.holds.copy()
    own = holds[outlines.ring]
    xy, ring = outlines.xy[own], outlines.ring[own]
    away = shapely.distance(shapely.points(xy), local[ring])
    holds[ring[away > limit[ring]]] = False
    own = holds[outlines.ring]
    numbers, ring = np.unique(outlines.ring[own], return_inverse=True)
    closed = np.full(len(holds), None, object)
    closed[numbers] = shapely.linearrings(outlines.xy[own], indices=ring)
    own = holds[node_ring]
    away = shapely.distance(shapely.points(nodes[own]), closed[node_ring[own]])
    holds[node_ring[own][away > limit[node_ring[own]]]] = False
    return holds


def _begin_far_out(chains: Chains) -> tuple[Chains, Any]:
    """Let each ring begin at the sample farthest from its centre, which is a corner if anything is."""
    shape = measure_rings(chains)
    ring = np.repeat(np.arange(len(chains.starts)), chains.ends - chains.starts + 1)
    far = ((chains.xy - shape.centre[ring]) ** 2).sum(axis=1)
    order = np.lexsort((np.arange(len(far)), -far, ring))
    return chains.turned(order[chains.starts]), shape


def _begin_at_corner(
    chains: Chains, walls: Walls, nodes: Indices, node_chain: Indices
) -> tuple[Chains, Indices, Indices]:
    """Let each ring begin where its walls turn most, and take its nodes along."""
    first, last = trim(chains, walls.first, walls.last)
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
    place = (nodes - start[node_chain]) % size[node_chain]
    place = np.where(nodes == chains.ends[node_chain], size[node_chain] * (start == chains.starts)[node_chain], place)
    place, chain = _with_ends(place, node_chain, size)
    return chains.turned(start), chains.starts[chain] + place, chain


def _with_ends(place: Indices, chain: Indices, size: Indices) -> tuple[Indices, Indices]:
    """Sort places along rings, each once, with the ring's first and last sample."""
    every = np.arange(len(size))
    place = np.concatenate([place, np.zeros(len(size), np.int64), size])
    chain = np.concatenate([chain, every, every])
    order = np.lexsort((place, chain))
    place, chain = place[order], chain[order]
    new = np.append(True, (place[1:] != place[:-1]) | (chain[1:] != chain[:-1]))
    return place[new], chain[new]


def _noise(chains: Chains, owner: Indices, count: int) -> Floats:
    """Return the standard deviation of each polygon's boundary about a coarse fit, robustly."""
    nodes, chain = chains.simplified(COARSE)
    begins = np.flatnonzero(np.append(chain[1:] == chain[:-1], False))
    first, last = trim(chains, nodes[begins], nodes[begins + 1])
    _, x, y, xx, xy, yy = spread(chains.between(first, last))
    angle, _ = best_line(xx, xy, yy)
    size = last - first + 1
    wall = np.repeat(np.arange(len(size)), size)
    sample = np.arange(size.sum()) + np.repeat(first - np.cumsum(size) + size, size)
    dx, dy = (chains.xy[sample] - np.stack([x, y], axis=1)[wall]).T
    away = np.abs(dy * np.cos(angle)[wall] - dx * np.sin(angle)[wall])
    polygon = owner[chain[begins]][wall]
    order = np.lexsort((away, polygon))
    counts = np.bincount(polygon, minlength=count)
    middle = np.cumsum(counts) - counts + counts // 2
    noise = 1.4826 * away[order][np.minimum(middle, len(order) - 1)]
    return np.clip(np.where(counts > 0, noise, 0), 0.15, None)


def _choose(
    chains: Chains, shape: Any, walls: Walls, outlines: Outlines, noise: Floats, min_edge: float
) -> tuple[list[Floats | None], list[str]]:
    """Return the best outline of each ring, None where there is none, and its method."""
    curves = fit_curves(chains, shape)
    unit = CORRELATION * noise[curves.ring] ** 2
    energy = curves.errors / unit[:, None] + PARAMETERS * PRICE
    best = energy.argmin(axis=1)
    limit = np.where(outlines.holds, walls.energy, np.inf)[curves.ring]
    rings, kinds = outlines.rings(), outlines.methods()
    for row in np.flatnonzero(energy.min(axis=1) < limit):
        ring, name = curves.ring[row], NAMES[best[row]]
        rings[ring] = draw_curve(curves, row, int(best[row]), min_edge=min_edge)
        kinds[ring] = name if name in METHODS else "angles"
    return rings, kinds


def _assemble(
    rings: list[Floats | None], kinds: list[str], owner: Indices, local: NDArray[Any], origin: Floats
) -> Regularized:
    """Put the rings of each polygon together; what does not hold is simplified."""
    simple = shapely.simplify(local, TOLERANCE)
    for i, points in enumerate(rings):
        if points is None:
            rings[i] = shapely.get_coordinates(simple[i])[:-1]
            kinds[i] = "simplified"
    sizes = [len(points) for points in rings if points is not None]
    ring = np.repeat(np.arange(len(sizes)), sizes)
    xy = np.concatenate([points for points in rings if points is not None])
    closed = shapely.linearrings(xy + origin[owner[ring]], indices=ring)
    polygons = shapely.polygons(closed, indices=owner)
    shells = first_of_runs(owner)
    methods = np.array(kinds, object)[shells]
    single = np.bincount(owner) == 1
    methods[(methods == "rectangle") & ~single] = "right_angles"
    for i in np.flatnonzero(~shapely.is_valid(polygons)):
        own = np.flatnonzero(owner == i)
        parts = shapely.transform(simple[own], lambda xy, i=i: xy + origin[i])
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
