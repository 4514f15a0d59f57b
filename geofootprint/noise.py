"""How noisy a boundary is, told from the boundary itself.

Residuals of lines understate the noise: it is smooth, and a short line follows most of it. How much of smooth noise is
left after a line was fitted depends on the line's length alone, so that residuals over that share show the noise.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.curves import RingShape, fit_curves, measure_rings
from geofootprint.lines import Chains, Floats, Indices, best_line, first_of_runs, spread
from geofootprint.spans import Nodes, Walls, cheapest_walls, trim, wall_errors

__all__ = ["NODES", "begin_far_out", "estimate_noise"]

NODES = 0.5
"""Tolerance of the nodes at which walls may meet, in samples."""

LEVELS = (0.15, 0.3, 0.5)
"""Noise that walls are cut for to be looked at; the second look takes the level nearest to the first look's answer."""

LENGTHS = np.array([0.0, 4, 8, 12, 16, 20, 30, 40, 60, 100])
SHARES = np.array([0.0, 0.025, 0.091, 0.173, 0.259, 0.341, 0.501, 0.605, 0.724, 0.829])
"""Standard deviation that is left of smooth noise after a line of such a length was fitted to it.

For a Gaussian process whose correlation is that of white noise smoothed by a Gaussian of 5 samples.
"""

GROWTH = 1.5
"""Times that the noise may seem larger from one level to the next: more is the shape of a curve."""

INDEPENDENT = 18.0
"""Samples after which smooth noise is independent."""

GRAIN = 0.1
"""Samples of a contour line's own grain, which is not smooth."""

FLOOR, CEILING = 0.1, 2.5
"""Least and largest answer."""

USUAL, TRUST = 0.6, 3.0
"""Noise where a boundary says nothing, and how many of its independent stretches weigh as much."""

SPARSE, FINE = 2.5, 0.3
"""Mean edge, in samples, from which vertices are no samples: they were chosen, and there is no usual noise; and how much
closer such a boundary is looked at."""

FOLLOWED = 1.3
"""Times the residual of a curve that the noise is: the curve follows some of it."""


def begin_far_out(chains: Chains) -> tuple[Chains, RingShape]:
    """Let each ring begin at the sample farthest from its centre, which is a corner if anything is."""
    shape = measure_rings(chains)
    ring = np.repeat(np.arange(len(chains.starts)), chains.ends - chains.starts + 1)
    far = ((chains.xy - shape.centre[ring]) ** 2).sum(axis=1)
    order = np.lexsort((np.arange(len(far)), -far, ring))
    return chains.turned(order[chains.starts]), shape


def estimate_noise(rings: NDArray[Any], owner: Indices) -> Floats:
    """Return the standard deviation of the boundary of each polygon.

    Parameters
    ----------
    rings : array of shapely.LinearRing
        Of all polygons.
    owner : int array of shape (rings,)
        Polygon of each; sorted.

    Returns
    -------
    float array of shape (polygons,)
        In samples.
    """
    chains, shape = begin_far_out(Chains.of(rings))
    nodes = Nodes(*chains.simplified(NODES))
    errors = wall_errors(chains, nodes, np.zeros((len(rings), 0)), min_edge=2)
    length = np.bincount(owner, chains.along[chains.ends])
    sparse = length > SPARSE * np.bincount(owner, shapely.get_num_coordinates(rings))
    levels = np.array(LEVELS)[:, None] * np.where(sparse, FINE, 1)
    looks = np.stack([_shown_noise(chains, cheapest_walls(nodes, errors, level[owner]), owner) for level in levels])
    for before, look in pairwise(looks):
        np.minimum(look, GROWTH * before, out=look)
    nearest = np.abs(np.log(looks[0] / levels)).argmin(axis=0)
    shown = np.minimum(looks[nearest, np.arange(len(nearest))], _noise_of_curves(chains, shape, owner))
    stretches = length / INDEPENDENT
    weight = np.where(sparse, 1, stretches / (stretches + TRUST))
    return np.asarray(np.maximum(shown, FLOOR) ** weight * USUAL ** (1 - weight), np.float64)


def _noise_of_curves(chains: Chains, shape: RingShape, owner: Indices) -> Floats:
    """Return what each polygon's best curve shows, where it is round: walls would take the curve for noise."""
    curves = fit_curves(chains, shape)
    shown = np.full(owner[-1] + 1, CEILING)
    residual = np.sqrt(curves.errors.min(axis=1, initial=np.inf) / chains.along[chains.ends][curves.ring])
    np.minimum.at(shown, owner[curves.ring], FOLLOWED * residual)
    return shown


def _shown_noise(chains: Chains, walls: Walls, owner: Indices) -> Floats:
    """Return the median over a polygon's boundary of what its walls show."""
    length, _, _, xx, xy, yy = spread(chains.between(*trim(chains, walls.first, walls.last)))
    share = np.interp(length, LENGTHS, SHARES) ** 2 + GRAIN**2
    shown = np.sqrt(best_line(xx, xy, yy)[1] / (length * share))
    polygon = owner[walls.chain]
    order = np.lexsort((shown, polygon))
    weight = np.cumsum((length * share)[order])
    begins = first_of_runs(polygon[order])
    before = np.append(0, weight)[begins]
    after = np.append(before[1:], weight[-1])
    # A little less than half, so that rounding does not choose between equal halves.
    middle = np.searchsorted(weight, before + (0.5 - 1e-9) * (after - before))
    return np.asarray(np.clip(shown[order][middle], FLOOR, CEILING), np.float64)
