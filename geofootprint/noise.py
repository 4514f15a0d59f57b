"""How noisy a boundary is, told from the boundary itself.

Residuals of lines understate the noise: it is smooth, and a short line follows most of it. How much of smooth noise is
left after a line was fitted depends on the line's length alone, so that residuals over that share show the noise.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from geofootprint.boundaries import Boundaries
from geofootprint.lines import Chains, Floats, Indices, best_line, first_of_runs, spread
from geofootprint.spans import Walls, cheapest_walls_at, trim

__all__ = ["estimate_noise"]

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


def estimate_noise(boundaries: Boundaries) -> Floats:
    """Return the standard deviation of the boundary of each polygon.

    Parameters
    ----------
    boundaries : Boundaries

    Returns
    -------
    float array of shape (polygons,)
        In samples.
    """
    chains, owner = boundaries.chains, boundaries.owner
    sparse = boundaries.edge > SPARSE
    levels = np.array(LEVELS)[:, None] * np.where(sparse, FINE, 1)
    nodes = boundaries.nodes
    cuts = cheapest_walls_at(nodes, boundaries.errors, levels[:, owner[nodes.chain]])
    looks = np.stack([_shown_noise(chains, walls, owner) for walls in cuts])
    for before, look in pairwise(looks):
        np.minimum(look, GROWTH * before, out=look)
    nearest = np.abs(np.log(looks[0] / levels)).argmin(axis=0)
    shown = np.minimum(looks[nearest, np.arange(len(nearest))], _noise_of_curves(boundaries))
    stretches = np.bincount(owner, boundaries.length) / INDEPENDENT
    weight = np.where(sparse, 1, stretches / (stretches + TRUST))
    return np.asarray(np.maximum(shown, FLOOR) ** weight * USUAL ** (1 - weight), np.float64)


def _noise_of_curves(boundaries: Boundaries) -> Floats:
    """Return what each polygon's best curve shows, where it is round: walls would take the curve for noise."""
    curves = boundaries.curves
    shown = np.full(boundaries.count, CEILING)
    residual = np.sqrt(curves.errors.min(axis=1, initial=np.inf) / boundaries.length[curves.ring])
    np.minimum.at(shown, boundaries.owner[curves.ring], FOLLOWED * residual)
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
