"""Chains of boundary points as polylines of fitted walls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely

from geofootprint.lines import SLACK, Chains, Floats, Indices, best_line, first_of_runs, spread
from geofootprint.spans import REACH, Nodes, cut_into_walls, trim

__all__ = ["fit_chains", "fit_simplified"]

NODES = 1.0
"""Samples by which the nodes at which walls may meet are simplified."""

NOISE = 0.8
"""Standard deviation of walls between buildings, in samples: they run in steps along pixels, where a model is unsure."""

SHARP = math.sin(math.radians(20))
"""Sine of the smallest angle at which walls meet in a corner; others go on into each other."""

ASTRAY = 4.0
"""Samples that a corner may be from where its walls part."""

LEAST = 3.0
"""Samples of the shortest stretch whose points tell a direction; a shorter one has that of its ends."""


def fit_simplified(chains: Chains, sample: Indices, chain: Indices, reach: Floats) -> Floats:
    """Move the vertices of simplified chains to where the lines fitted to all points between them meet.

    Douglas and Peucker's method keeps the points that are farthest out, which is where the noise is largest.

    Parameters
    ----------
    chains : Chains
        What was simplified.
    sample, chain : int arrays of shape (n,)
        The samples that were kept, and the chain of each; every chain's first and last are among them.
    reach : float array of shape (chains,)
        Farthest that a vertex of each chain may move; else it stays.

    Returns
    -------
    float array of shape (n, 2)
        The ends of open chains stay where they are.
    """
    xy = chains.xy[sample]
    firsts = first_of_runs(chain)
    lasts = np.append(firsts[1:], len(chain)) - 1
    # The wall that begins at each vertex; at a chain's last one that is the first wall, which only rings use.
    follows = np.arange(len(sample)) + 1
    follows[lasts] = firsts + 1
    centre, along = _walls_between(chains, sample, sample[follows])
    before = np.arange(len(sample)) - 1
    before[firsts] = np.maximum(lasts - 1, firsts)
    after = np.arange(len(sample))
    after[lasts] = firsts
    place = _meetings(xy, (centre[before], along[before]), (centre[after], along[after]))
    open_ends = np.concatenate([firsts, lasts])[~np.tile(chains.closed[chain[firsts]], 2)]
    distance = np.hypot(*(place - xy).T)
    stays = (distance < SLACK) | (distance > reach[chain])  # what is exact already is not rounded
    stays[open_ends] = True
    return np.where(stays[:, None], xy, place)


def _walls_between(chains: Chains, first: Indices, last: Indices) -> tuple[Floats, Floats]:
    """Return a point and the direction of the line that fits each stretch of samples."""
    length, x, y, xx, xy, yy = spread(chains.between(*trim(chains, first, last)))
    angle, _ = best_line(xx, xy, yy)
    chord = chains.xy[last] - chains.xy[first]
    long = length >= LEAST
    centre = np.where(long[:, None], np.stack([x, y], axis=1), chains.xy[first])
    angle = np.where(long, angle, np.arctan2(chord[:, 1], chord[:, 0]))
    return centre, np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _meetings(xy: Floats, one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> Floats:
    """Return where two lines meet, each given by a point and a direction; where they hardly turn, between the feet of xy."""
    (a, u), (b, v) = one, other
    sine = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    gap = b - a
    turns = np.abs(sine) > SHARP
    step = (gap[:, 0] * v[:, 1] - gap[:, 1] * v[:, 0]) / np.where(turns, sine, 1)
    feet = [point + ((xy - point) * way).sum(axis=1)[:, None] * way for point, way in (one, other)]
    return np.where(turns[:, None], a + step[:, None] * u, (feet[0] + feet[1]) / 2)


def fit_chains(chains: Sequence[Floats], angles: Floats, *, min_edge: float = 4.0) -> list[Floats]:
    """Fit walls to open chains of boundary points.

    Parameters
    ----------
    chains : sequence of float arrays of shape (n, 2)
        In order along the boundary, n >= 2.
    angles : float array of shape (chains, k)
        Directions in radians that walls of a chain take where the points agree: pairs of right angles, the last one
        diagonal.
    min_edge : float
        Shortest wall.

    Returns
    -------
    list of float arrays of shape (m, 2)
        Corners, m >= 2; both ends lie on the fitted walls, beside the first and last point.
    """
    if not chains:
        return []
    samples = Chains.of(np.array([shapely.linestrings(chain) for chain in chains], object))
    nodes = Nodes(*samples.simplified(NODES))
    spreads = np.full(len(samples.xy), NOISE)
    walls = cut_into_walls(samples, nodes, angles, spreads, min_edge=min_edge)
    if np.bincount(nodes.chain).max() > REACH:
        # A wall runs past so many nodes at most; now all that are within one are out of the way.
        ends = np.unique(np.concatenate([walls.first, walls.last]))
        nodes = Nodes(ends, np.searchsorted(samples.starts, ends, side="right") - 1)
        walls = cut_into_walls(samples, nodes, angles, spreads, min_edge=min_edge)
    _, x, y, xx, xy, yy = spread(samples.between(*trim(samples, walls.first, walls.last)))
    free, _ = best_line(xx, xy, yy)
    angle = np.where(walls.kind < 0, free, angles[walls.chain, walls.kind])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centre = np.stack([x, y], axis=1)
    begins = np.searchsorted(walls.chain, np.arange(len(chains) + 1))
    return [
        _meet(centre[begin:end], along[begin:end], samples.xy[np.append(walls.first[begin:end], walls.last[end - 1])])
        for begin, end in pairwise(begins.tolist())
    ]


def _meet(centre: Floats, along: Floats, parting: Floats) -> Floats:
    """Return the polyline of walls, from the first to the last of the points where they part."""
    corners = [_foot(parting[0], centre[0], along[0])]
    for number in range(1, len(centre)):
        before, after = along[number - 1], along[number]
        sine = float(before[0] * after[1] - before[1] * after[0])
        place = parting[number]
        if abs(sine) > SHARP:
            gap = centre[number] - centre[number - 1]
            meeting = centre[number - 1] + (gap[0] * after[1] - gap[1] * after[0]) / sine * before
            place = meeting if math.dist(meeting, place) < ASTRAY else place
        corners.append(place)
    corners.append(_foot(parting[-1], centre[-1], along[-1]))
    return np.array(corners)


def _foot(point: Floats, centre: Floats, along: Floats) -> Floats:
    foot: Floats = centre + ((point - centre) @ along) * along
    return foot
