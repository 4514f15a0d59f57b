"""How far outlines are from the boundaries that they were fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.lines import Floats, Indices, neighbours

__all__ = ["Ruler", "half_sine"]

MANY = 2000
"""Vertices from which distances would take too long."""


@dataclass(frozen=True)
class Ruler:
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

    def excess(self, xy: Floats, ring: Indices) -> tuple[Floats, Floats]:
        """Return how far each corner is from its boundary, and each node from its outline, over what is allowed.

        A corner may be farther out the sharper it is, since blur takes the more from it.
        """
        of_nodes = np.zeros(len(self.nodes))
        if not len(xy):
            return np.zeros(0), of_nodes
        blunt = np.clip(half_sine(xy, ring) / math.sin(math.pi / 4), 0.1, 1)
        of_corners = _distance(xy, self.local[ring], self.limit[ring] / blunt)
        numbers, index = np.unique(ring, return_inverse=True)
        size = np.bincount(index)
        drawn = np.full(len(self.local), None, object)
        whole = size >= 3
        drawn[numbers[whole]] = shapely.linearrings(xy[whole[index]], indices=np.repeat(np.arange(whole.sum()), size[whole]))
        own = ~shapely.is_missing(drawn)[self.ring]
        of_nodes[own] = _distance(self.nodes[own], drawn[self.ring[own]], self.limit[self.ring[own]])
        return of_corners, of_nodes

    def worst(self, xy: Floats, ring: Indices) -> Floats:
        """Return the greatest excess of each ring."""
        worst = np.zeros(len(self.local))
        for excess, owner in zip(self.excess(xy, ring), (ring, self.ring), strict=True):
            np.maximum.at(worst, owner, excess)
        return worst


def _distance(xy: Floats, lines: NDArray[Any], limit: Floats) -> Floats:
    """Return the distance of points from lines over the limit; of lines with many vertices only whether it is more."""
    long = shapely.get_num_coordinates(lines) > MANY
    points = shapely.points(xy)
    distance = np.zeros(len(xy))
    distance[~long] = shapely.distance(points[~long], lines[~long]) / limit[~long]
    if long.any():
        shapely.prepare(lines[long])  # makes dwithin fast, not distance
        distance[long] = np.where(shapely.dwithin(lines[long], points[long], limit[long]), 0.5, 2.0)
    return distance


def half_sine(xy: Floats, ring: Indices) -> Floats:
    """Return the sine of half the angle at each corner of rings."""
    before, after = neighbours(ring)
    back, ahead = xy[before] - xy, xy[after] - xy
    lengths = np.maximum(np.hypot(*back.T) * np.hypot(*ahead.T), 1e-12)
    return np.asarray(np.sqrt(np.clip((1 - (back * ahead).sum(axis=1) / lengths) / 2, 0, 1)), np.float64)
