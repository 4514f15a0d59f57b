"""Corners: where the walls of a ring meet, without short edges and spikes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.guard import MIN_ANGLE
from geofootprint.lines import Chains, Floats, Indices, best_line, first_of_runs, neighbours, spread
from geofootprint.spans import Walls, trim

__all__ = ["Outlines", "Sides"]

PARALLEL = math.sin(math.radians(10))
"""Sine of the angle under which walls are too parallel to be cut with each other."""

SPIKE = math.cos(math.radians(MIN_ANGLE))
"""Cosine of the smallest angle of a corner."""

ROUNDS = 12
"""Times that walls may be taken from a ring before it is given up."""


@dataclass(frozen=True)
class Outlines:
    """Corners of rings, one ring after the other.

    Parameters
    ----------
    xy : float array of shape (corners, 2)
    ring : int array of shape (corners,)
    kind : int array of shape (corners,)
        Of the wall that begins at the corner, as in `Walls`.
    holds : bool array of shape (rings,)
        False where there is no outline without a short edge or a spike.
    """

    xy: Floats
    ring: Indices
    kind: Indices
    holds: NDArray[np.bool_]

    def rings(self) -> NDArray[Any]:
        """Return the corners of each ring."""
        found = np.empty(len(self.holds), object)
        found[:] = np.split(self.xy, np.searchsorted(self.ring, np.arange(1, len(self.holds))))
        return found

    def methods(self) -> NDArray[Any]:
        """Return how each ring was made."""
        count = len(self.holds)
        corners = np.bincount(self.ring, minlength=count)
        main = np.bincount(self.ring, (self.kind == 0) | (self.kind == 1), count)
        free = np.bincount(self.ring, self.kind < 0, count)
        is_free = (free == corners) & (corners > 6)
        names = np.where(main == corners, np.where(corners == 4, "rectangle", "right_angles"), "angles")
        return np.where(is_free, "free", names).astype(object)


@dataclass(frozen=True)
class Sides:
    """Walls of closed rings with all that their lines need.

    Parameters
    ----------
    ring : int array of shape (sides,)
    kind : int array of shape (sides,)
        As in `Walls`.
    sums : float array of shape (6, sides)
        Integrals along each, as in `Chains`.
    begin : float array of shape (sides, 2)
        Where it begins on the boundary.
    count : int
        Number of rings.
    """

    ring: Indices
    kind: Indices
    sums: Floats
    begin: Floats
    count: int

    @classmethod
    def of(cls, chains: Chains, walls: Walls) -> Sides:
        """Take the walls of rings."""
        first, last = trim(chains, walls.first, walls.last)
        sides = cls(
            walls.chain, walls.kind, chains.between(first, last), chains.xy[walls.first], len(chains.starts)
        )
        return sides._joined()

    def _joined(self) -> Sides:
        """Make one of neighbouring sides of the same direction."""
        before, _ = neighbours(self.ring)
        same = (self.kind >= 0) & (self.kind == self.kind[before])
        if not same.any():
            return self
        begins = first_of_runs(self.ring)
        same[begins[np.logical_and.reduceat(same, begins)]] = False  # a ring of one direction begins somewhere
        group = np.cumsum(~same) - 1
        ends = np.append(begins[1:], len(self.ring)) - 1
        for begin, end in zip(begins[same[begins]], ends[same[begins]], strict=True):
            run = begin  # the ring begins inside of a side
            while same[run]:
                group[run] = group[end]
                run += 1
        sums = np.stack([np.bincount(group, row).astype(np.float64) for row in self.sums])
        first = np.flatnonzero(~same)
        return replace(self, ring=self.ring[first], kind=self.kind[first], sums=sums, begin=self.begin[first])

    def without(self, dropped: NDArray[np.bool_]) -> Sides:
        """Leave out sides; their neighbours grow together."""
        kept = ~dropped
        _, after = neighbours(self.ring)
        begin = self.begin.copy()
        gap = np.flatnonzero(dropped)  # what follows it begins in its middle
        begin[after[gap]] = (self.begin[gap] + self.begin[after[gap]]) / 2
        return replace(
            self, ring=self.ring[kept], kind=self.kind[kept], sums=self.sums[:, kept], begin=begin[kept]
        )._joined()

    def corners(self, angles: Floats) -> Floats:
        """Return where each side meets the one before, as an array of shape (sides, 2)."""
        cosine, sine, offset = self._lines(angles)
        before, _ = neighbours(self.ring)
        cross = cosine[before] * sine - sine[before] * cosine
        flat = np.abs(cross) < PARALLEL
        safe = np.where(flat, 1, cross)
        px = (offset[before] * cosine - offset * cosine[before]) / safe
        py = (offset[before] * sine - offset * sine[before]) / safe
        # Nearly parallel sides have no point in common: take the middle of the two points beside the boundary's.
        bx, by = self.begin.T
        away = by * cosine - bx * sine - offset
        away_before = by * cosine[before] - bx * sine[before] - offset[before]
        mx = bx + (away * sine + away_before * sine[before]) / 2
        my = by - (away * cosine + away_before * cosine[before]) / 2
        return np.stack([np.where(flat, mx, px), np.where(flat, my, py)], axis=1)

    def _lines(self, angles: Floats) -> tuple[Floats, Floats, Floats]:
        """Return cosine, sine and offset of each side's line: y cos - x sin = offset."""
        _, x, y, xx, xy, yy = spread(self.sums)
        free, _ = best_line(xx, xy, yy)
        angle = np.where(self.kind < 0, free, angles[self.ring, self.kind]) if angles.shape[1] else free
        cosine, sine = np.cos(angle), np.sin(angle)
        return cosine, sine, y * cosine - x * sine

    def meet(self, angles: Floats, *, min_edge: float) -> Outlines:
        """Cut neighbouring sides with each other, and leave out those that are too short.

        Parameters
        ----------
        angles : float array of shape (rings, n)
            Of each kind of wall.
        min_edge : float

        Returns
        -------
        Outlines
        """
        sides, xy = self, self.corners(angles)
        for _ in range(ROUNDS):
            worst = sides._worst_nearby(sides._faults(xy, min_edge))
            if not worst.any():
                break
            sides = sides.without(worst)
            xy = sides.corners(angles)
        return sides._outlines(xy, min_edge)

    def _faults(self, xy: Floats, min_edge: float) -> Floats:
        """Return how bad each side is: 0 for a good one."""
        before, after = neighbours(self.ring)
        step = xy[after] - xy
        length = np.hypot(*step.T)
        wanted = self.begin[after] - self.begin
        backwards = (step * wanted).sum(axis=1) < 0
        unit = step / np.maximum(length, 1e-12)[:, None]
        spiky = -(unit * unit[before]).sum(axis=1) > SPIKE  # at the corner where the side begins
        shorter = length <= length[before]
        spiky_side = (spiky & shorter) | (spiky & ~shorter)[after]
        score = np.where(length < min_edge, min_edge / np.maximum(length, 1e-3), 0)
        score = np.where(spiky_side, 1e4, score)
        return np.where(backwards, 1e5 / np.maximum(np.hypot(*wanted.T), 1e-3), score)

    def _worst_nearby(self, bad: Floats) -> NDArray[np.bool_]:
        """Say which bad sides are worse than the two on either hand: what becomes of these is clear only without it."""
        before, after = neighbours(self.ring)
        worst = bad > 0
        order = np.arange(len(bad))
        rank = np.empty(len(bad), np.int64)
        rank[np.lexsort((-order, bad))] = order  # of equal ones the first, so that each ring has a worst one
        for earlier, later in ((before, after), (before[before], after[after])):
            worst &= ((rank > rank[earlier]) | (earlier == order)) & ((rank > rank[later]) | (later == order))
        return worst

    def _outlines(self, xy: Floats, min_edge: float) -> Outlines:
        holds = np.bincount(self.ring, minlength=self.count) >= 3
        if len(self.ring):
            holds[self.ring[self._faults(xy, min_edge) > 0]] = False
        return Outlines(xy, self.ring, self.kind, holds)

