"""Boundaries of polygons with all that is measured on them once, before walls are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.curves import Curves, RingShape, fit_curves, measure_rings
from geofootprint.lines import Chains, Floats, Indices
from geofootprint.spans import Nodes, wall_errors

__all__ = ["NODES", "Boundaries"]

NODES = 0.5
"""Tolerance of the nodes at which walls may meet, in samples."""


@dataclass(frozen=True)
class Boundaries:
    """Rings of polygons.

    Parameters
    ----------
    rings : array of shapely.LinearRing
        Near the origin, so that sums of squares lose no digits.
    owner : int array of shape (rings,)
        Polygon of each, sorted, from 0 without gaps.
    chains : Chains
        The rings, each begun far out.
    shape : RingShape
    curves : Curves
    nodes : Nodes
        Where walls may meet.
    errors : float array
        Of walls at any angle, from `wall_errors`.
    """

    rings: NDArray[Any]
    owner: Indices
    chains: Chains
    shape: RingShape
    curves: Curves
    nodes: Nodes
    errors: Floats

    @classmethod
    def of(cls, rings: NDArray[Any], owner: Indices, *, min_edge: float) -> Boundaries:
        """Measure rings."""
        chains = Chains.of(rings)
        shape = measure_rings(chains)
        chains = chains.turned(_farthest(chains, shape))
        nodes = Nodes(*chains.simplified(NODES))
        errors = wall_errors(chains, nodes, np.zeros((len(rings), 0)), min_edge=min_edge)
        return cls(rings, owner, chains, shape, fit_curves(chains, shape), nodes, errors)

    @property
    def count(self) -> int:
        """Return the number of polygons."""
        return int(self.owner[-1]) + 1

    @property
    def length(self) -> Floats:
        """Return the length of each ring."""
        return self.chains.along[self.chains.ends]

    @property
    def edge(self) -> Floats:
        """Return the mean length of the edges of each polygon."""
        vertices = np.bincount(self.owner, shapely.get_num_coordinates(self.rings))
        return np.asarray(np.bincount(self.owner, self.length) / vertices, np.float64)


def _farthest(chains: Chains, shape: RingShape) -> Indices:
    """Return the sample of each ring that is farthest from its centre, which is a corner if anything is."""
    ring = np.repeat(np.arange(len(chains.starts)), chains.ends - chains.starts + 1)
    far = ((chains.xy - shape.centre[ring]) ** 2).sum(axis=1)
    return np.lexsort((np.arange(len(far)), -far, ring))[chains.starts]
