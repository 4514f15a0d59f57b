"""Simplifying polygons together, so that walls they share stay shared and none runs over another.

Rings are taken apart where the neighbour changes. What lies between is an arc: a wall between two polygons, or a stretch
that belongs to one of them. Each arc is simplified by itself (Douglas-Peucker), a shared one the same way from both
sides. What comes out is checked, and polygons that got in each other's way are done again with a smaller tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.lines import Chains
from geofootprint.polylines import fit_simplified

__all__ = ["Arcs", "simplify_together"]

WALL_SLACK = 1.6
"""Times the tolerance that a shared wall may have: it runs along pixels, in steps that a free edge has not."""

STRAY = 2.0
"""Times the tolerance that a vertex may move to where the lines of its walls meet."""

ROUNDS = 6
"""Times that polygons in each other's way are done again, each time with half the tolerance, the last with none."""


def simplify_together(polygons: NDArray[Any], tolerance: float) -> NDArray[Any]:
    """Simplify polygons that do not overlap; neither do the results.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Valid, without overlaps. A wall between two has the same vertices in both.
    tolerance : float
        Vertices that are left out lie no farther than this from a line between those that stay; on shared walls `WALL_SLACK`
        times. Those that stay move by up to `STRAY` times as much, to where the lines fitted to all between them meet.

    Returns
    -------
    array of shapely.Polygon
        Valid, without overlaps; shared walls still have the same vertices in both.
    """
    arcs = Arcs.of(polygons)
    tolerances = np.full(len(polygons), float(tolerance))
    for turn in range(ROUNDS):
        simple, bad = arcs.simplify(tolerances)
        if simple is not None and not bad.any():
            bad = _in_the_way(simple)
            if not bad.any():
                return simple
        tolerances[bad] *= 0.5 if turn < ROUNDS - 2 else 0
    return polygons


def _in_the_way(polygons: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which polygons are invalid or overlap another one."""
    invalid = ~shapely.is_valid(polygons)
    if invalid.any() or len(polygons) == 1:
        return cast("NDArray[np.bool_]", invalid)
    return cast("NDArray[np.bool_]", ~shapely.is_empty(shapely.coverage_invalid_edges(polygons)))


@dataclass(frozen=True)
class Arcs:
    """The arcs of all rings, one after the other; a shared one is there twice, in the same direction.

    Parameters
    ----------
    lines : array of shapely.LineString
    turned : bool array
        True where a line runs against its ring.
    rings : int array
        Ring of each line.
    owners, others : int arrays
        Polygon of each line, and the one on its other side or -1.
    ring_owners : int array
        Polygon of each ring.
    """

    lines: NDArray[Any]
    turned: NDArray[np.bool_]
    rings: NDArray[np.int64]
    owners: NDArray[np.int64]
    others: NDArray[np.int64]
    ring_owners: NDArray[np.int64]

    @cached_property
    def origin(self) -> NDArray[np.float64]:
        """Whole numbers near all lines: far from 0, squares of coordinates would round what is fitted to them."""
        return cast("NDArray[np.float64]", np.floor(shapely.total_bounds(self.lines)[:2]))

    @cached_property
    def chains(self) -> Chains:
        """Samples of the lines, from the origin."""
        return Chains.of(shapely.transform(self.lines, lambda xy: xy - self.origin))

    @classmethod
    def of(cls, polygons: NDArray[Any]) -> Arcs:
        """Take the rings of polygons apart."""
        closed, ring_owners = shapely.get_rings(polygons, return_index=True)
        xy, ring = shapely.get_coordinates(closed, return_index=True)
        kept = np.append(ring[:-1] == ring[1:], False)  # without the repeated first vertex
        xy, ring = xy[kept], ring[kept]
        starts = np.searchsorted(ring, np.arange(len(closed)))
        lengths = np.diff(np.append(starts, len(ring)))
        partner, node = _neighbours(xy, ring, starts, lengths, ring_owners)
        # Each ring begins at a node, or where both polygons of a wholly shared one begin it.
        first = _first_of_each(ring, ~node, -_distance_from_centre(xy, starts, ring), xy[:, 0], xy[:, 1])
        place = starts[ring] + (np.arange(len(ring)) - starts[ring] + (first - starts)[ring]) % lengths[ring]
        begins = np.flatnonzero(node[place] | (np.arange(len(ring)) == starts[ring]))
        counts = np.diff(np.append(begins, len(ring))) + 1
        arc = np.repeat(np.arange(len(begins)), counts)
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        rings = ring[begins]
        ends = (starts + lengths)[rings]

        def vertex(steps: NDArray[np.int64], arc: NDArray[np.int64]) -> NDArray[np.int64]:
            at = begins[arc] + steps
            return cast("NDArray[np.int64]", place[np.where(at == ends[arc], starts[rings[arc]], at)])

        every = np.arange(len(begins))
        turned = _runs_back(xy[vertex(np.zeros_like(every), every)], xy[vertex(counts - 1, every)], closed[rings])
        points = xy[vertex(np.where(turned[arc], counts[arc] - 1 - step, step), arc)]
        lines = shapely.linestrings(points, indices=arc)
        return cls(lines, turned, rings, ring_owners[rings], partner[place[begins]], ring_owners)

    def simplify(self, tolerances: NDArray[np.float64]) -> tuple[NDArray[Any] | None, NDArray[np.bool_]]:
        """Put the polygons together from simplified arcs.

        Returns
        -------
        polygons : array of shapely.Polygon or None
            None if a ring has no area left.
        bad : bool array
            Polygons with such rings.
        """
        own, other = tolerances[self.owners], tolerances[self.others]
        tolerance = np.where(self.others >= 0, np.minimum(own, other) * WALL_SLACK, own)
        sample, arc = self.chains.simplified(tolerance)
        xy = fit_simplified(self.chains, sample, arc, tolerance * STRAY) + self.origin
        counts = np.bincount(arc, minlength=len(self.lines))
        begins = np.cumsum(counts) - counts
        step = np.arange(len(arc)) - begins[arc]
        xy = xy[np.where(self.turned[arc], begins[arc] + counts[arc] - 1 - step, np.arange(len(arc)))]
        ahead = step < counts[arc] - 1  # the last vertex is the next arc's first
        ring = self.rings[arc[ahead]]
        bad = np.zeros(len(tolerances), np.bool_)
        bad[self.ring_owners[np.bincount(ring, minlength=len(self.ring_owners)) < 3]] = True
        if bad.any():
            return None, bad
        return shapely.polygons(shapely.linearrings(xy[ahead], indices=ring), indices=self.ring_owners), bad


def _neighbours(
    xy: NDArray[np.float64],
    ring: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    ring_owners: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the polygon beyond the edge that leaves each vertex (-1 is none), and whether the vertex is a node."""
    within = np.arange(len(ring)) - starts[ring]
    after = starts[ring] + (within + 1) % lengths[ring]
    before = starts[ring] + (within - 1) % lengths[ring]
    _, same, uses = np.unique(xy[:, 0] + 1j * xy[:, 1], return_inverse=True, return_counts=True)
    low, high = np.minimum(same, same[after]), np.maximum(same, same[after])
    order = np.lexsort((high, low))
    twice = np.flatnonzero((low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1]))
    one, other = order[twice], order[twice + 1]
    partner = np.full(len(ring), -1, np.int64)
    partner[one], partner[other] = ring_owners[ring[other]], ring_owners[ring[one]]
    along_wall = (partner >= 0) & (partner == partner[before])
    return partner, (uses[same] > 1) & ~along_wall


def _distance_from_centre(
    xy: NDArray[np.float64], starts: NDArray[np.int64], ring: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the squared distance of each vertex from the middle of its ring's box: corners are far out."""
    middle = (np.minimum.reduceat(xy, starts) + np.maximum.reduceat(xy, starts)) / 2
    return cast("NDArray[np.float64]", ((xy - middle[ring]) ** 2).sum(axis=1))


def _first_of_each(ring: NDArray[np.int64], *keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the vertex of each ring that comes first when sorted by the keys."""
    order = np.lexsort((*reversed(keys), ring))
    return order[np.flatnonzero(np.diff(ring[order], prepend=-1))]


def _runs_back(first: NDArray[np.float64], last: NDArray[np.float64], closed: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which arcs to turn, so that a shared one has one direction: by its ends, a whole ring by its sense."""
    x, y = (first - last).T
    whole = (x == 0) & (y == 0)
    back: NDArray[np.bool_] = np.where(whole, ~shapely.is_ccw(closed), (x > 0) | ((x == 0) & (y > 0)))
    return back
