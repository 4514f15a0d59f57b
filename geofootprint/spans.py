"""The best way to cut chains of boundary points into walls: exact minimisation of a description length.

Every stretch between two nodes may be a wall, along one of the building's directions or free. It costs its squared error
in units of the noise, and a price for the numbers that describe it (Rissanen 1978). The cheapest sequence of walls is a
shortest path (Perez and Vidal 1994), found for all chains at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geofootprint.lines import Chains, Floats, Indices, best_line, error_along, spread

__all__ = [
    "CORRELATION",
    "PRICES",
    "REACH",
    "Nodes",
    "Prices",
    "Walls",
    "cheapest_walls",
    "cheapest_walls_at",
    "cut_into_walls",
    "trim",
    "wall_errors",
]

CORRELATION = 10.0
"""Length, in samples, over which the noise of a boundary says one thing only."""

TRIM = 2.0
"""Samples at both ends of a wall that do not count: blur rounds corners."""

SMOOTH = 30.0
"""Length, in samples, under which a wall's error counts more: a short line follows smooth noise, and has less error left."""

REACH = 24
"""Nodes that a wall may run past; longer walls are put together in a second round."""

HALF = 0.499
"""Share of a ring that one wall may be: less than half, since the others have to come back."""

FINENESS, USUAL = 0.5, 0.6
"""How much the price of a number falls with the logarithm of the noise, and the noise at which it is as it stands."""

NEVER = 1e9
"""Energy of what is forbidden; finite, so that there always is a cheapest way."""


@dataclass(frozen=True)
class Prices:
    """What a wall costs besides its error.

    Parameters
    ----------
    main : float
        Along a main direction: one number, its offset.
    diagonal : float
        At 45 degrees to the first direction.
    free : float
        At any angle: two numbers.
    """

    main: float = 3.0
    diagonal: float = 6.0
    free: float = 8.0

    def of(self, kinds: int, noise: Floats) -> Floats:
        """Return the price of each kind of wall at each noise, the higher the finer its numbers have to be told.

        The shape is (noises, kinds + 1).
        """
        price = np.array([self.main] * (kinds - 2) + [self.diagonal] * min(2, kinds) + [self.free])
        numbers = np.array([1.0] * kinds + [2.0])
        return np.asarray(price - FINENESS * numbers * np.log(noise / USUAL)[:, None], np.float64)


PRICES = Prices()


@dataclass(frozen=True)
class Walls:
    """Stretches of chains, in order.

    Parameters
    ----------
    chain : int array of shape (walls,)
    first, last : int arrays of shape (walls,)
        Samples at which it begins and ends.
    kind : int array of shape (walls,)
        Position in the chain's angles, or -1 for a free one.
    energy : float array of shape (chains,)
        Description length of each chain.
    """

    chain: Indices
    first: Indices
    last: Indices
    kind: Indices
    energy: Floats


def trim(chains: Chains, first: Indices, last: Indices) -> tuple[Indices, Indices]:
    """Return the samples between which a wall from `first` to `last` is fitted."""
    short = chains.along[last] - chains.along[first] < 4 * TRIM
    inner_first = np.where(short, first, chains.first_after(first, TRIM))
    inner_last = np.where(short, last, chains.last_before(last, TRIM))
    return inner_first, inner_last


@dataclass(frozen=True)
class Nodes:
    """Samples at which walls may meet, chain after chain.

    Parameters
    ----------
    sample : int array of shape (nodes,)
        The first and the last sample of each chain are among them.
    chain : int array of shape (nodes,)
    """

    sample: Indices
    chain: Indices

    def starts(self, chains: int) -> Indices:
        """Return the position of each chain's first node."""
        return np.searchsorted(self.chain, np.arange(chains))


def cut_into_walls(
    chains: Chains, nodes: Nodes, angles: Floats, noise: Floats, *, min_edge: float, prices: Prices = PRICES
) -> Walls:
    """Cut each chain at some of its nodes so that the description length is least.

    Parameters
    ----------
    chains : Chains
    nodes : Nodes
    angles : float array of shape (chains, n)
        Directions in radians that walls of a chain may have: pairs of main directions, the last pair diagonal; NaN where
        there are fewer.
    noise : float array of shape (samples,)
        Standard deviation of the boundary at each sample.
    min_edge : float
        Shortest wall.
    prices : Prices

    Returns
    -------
    Walls
    """
    errors = wall_errors(chains, nodes, angles, min_edge=min_edge)
    return cheapest_walls(nodes, errors, noise[nodes.sample], prices=prices)


def cheapest_walls(nodes: Nodes, errors: Floats, noise: Floats, *, prices: Prices = PRICES) -> Walls:
    """Do the second part of `cut_into_walls`, for errors from `wall_errors` and the noise at each node."""
    starts = nodes.starts(int(nodes.chain[-1]) + 1)
    counts = np.diff(np.append(starts, len(nodes.sample)))
    kinds = errors.shape[2] - 1
    energy = errors * _certainty(noise, errors.shape[1])[:, :, None]
    energy += prices.of(kinds, noise)[:, None]
    order = np.argsort(-counts, kind="stable")
    total, back, came = _forward(energy, starts[order], counts[order])
    chain, first, last, kind = _backward(total, back, came, starts, counts)
    kind = np.where(kind == kinds, -1, kind)
    return Walls(chain, nodes.sample[first], nodes.sample[last], kind, total[starts + counts - 1].min(axis=1))


def cheapest_walls_at(nodes: Nodes, errors: Floats, noise: Floats) -> list[Walls]:
    """Cut the same chains at several levels of noise, of shape (levels, nodes), in one go."""
    levels, chains = len(noise), int(nodes.chain[-1]) + 1
    chain = np.concatenate([nodes.chain + chains * level for level in range(levels)])
    every = Nodes(np.tile(nodes.sample, levels), chain)
    walls = cheapest_walls(every, np.tile(errors, (levels, 1, 1)), noise.ravel())
    cuts = []
    for level in range(levels):
        own = walls.chain // chains == level
        energy = walls.energy[chains * level : chains * (level + 1)]
        cuts.append(Walls(walls.chain[own] % chains, walls.first[own], walls.last[own], walls.kind[own], energy))
    return cuts


def _certainty(noise: Floats, reach: int) -> Floats:
    """Return what a squared error costs, on the mean over the nodes of walls that end at a node and began 1, 2, ... before."""
    weight = 1 / (2 * CORRELATION * noise**2)
    total, result = weight.copy(), np.empty((len(noise), reach))
    for back in range(1, reach + 1):
        total[back:] += weight[:-back]
        result[:, back - 1] = total / (back + 1)
    return result


def wall_errors(chains: Chains, nodes: Nodes, angles: Floats, *, min_edge: float) -> Floats:
    """Return the squared error of the wall of each kind that ends at a node and began 1, 2, ... nodes before.

    Parameters are as of `cut_into_walls`; the shape is (nodes, reach, kinds), and the last kind is free.
    """
    starts = nodes.starts(len(chains.starts))
    counts = np.diff(np.append(starts, len(nodes.sample)))
    reach = int(min(REACH, max(counts.max() - 1, 1)))
    number = np.arange(len(nodes.sample))
    before = number[:, None] - np.arange(1, reach + 1)
    exists = before >= starts[nodes.chain][:, None]
    begin = nodes.sample[np.maximum(before, 0)]
    end = np.broadcast_to(nodes.sample[:, None], begin.shape)
    first, last = trim(chains, begin, end)
    length, _, _, xx, xy, yy = spread(chains.between(first, np.maximum(last, first)))
    whole = chains.along[end] - chains.along[begin]
    longest = np.where(chains.closed, HALF * chains.along[chains.ends], np.inf)[nodes.chain]
    allowed = exists & (whole >= min_edge / 2) & (whole <= longest[:, None])
    scale = np.where(allowed, whole / length * (1 + SMOOTH / np.maximum(whole, 1)), 0)
    spreads = xx * scale, xy * scale, yy * scale
    count = angles.shape[1]
    errors = np.empty((*begin.shape, count + 1))
    for kind in range(count):
        angle = angles[nodes.chain, kind][:, None]
        errors[..., kind] = error_along(*spreads, np.nan_to_num(angle))
        errors[np.isnan(angle[:, 0]), :, kind] = NEVER
    errors[..., count] = best_line(*spreads)[1]
    errors[~allowed] = NEVER
    return errors


def _forward(energy: Floats, starts: Indices, counts: Indices) -> tuple[Floats, Indices, Indices]:
    """Return for each node and kind the least energy up to it, the wall's length in nodes, and the kind before it.

    Chains must come longest first.
    """
    size, reach, kinds = energy.shape
    total = np.full((size, kinds), NEVER)
    back = np.ones((size, kinds), np.int64)
    came = np.zeros((size, kinds), np.int64)
    ahead = np.zeros((size, kinds))  # least energy before a wall of a kind that begins here
    turn = np.zeros((kinds, kinds))
    turn[np.arange(kinds - 1), np.arange(kinds - 1)] = NEVER  # parallel walls do not meet
    steps = np.arange(1, reach + 1)
    for step in range(1, int(counts.max(initial=0))):
        node, near = starts[: np.searchsorted(-counts, -step)] + step, min(reach, step)
        cost = ahead[node[:, None] - steps[:near]] + energy[node, :near]
        back[node] = cost.argmin(axis=1) + 1
        total[node] = least = np.minimum.reduce(cost, axis=1)
        if kinds == 1:
            ahead[node] = least
            continue
        cost = least[:, :, None] + turn
        came[node] = cost.argmin(axis=1)
        ahead[node] = np.minimum.reduce(cost, axis=1)
    return total, back, came


def _backward(
    total: Floats, back: Indices, came: Indices, starts: Indices, counts: Indices
) -> tuple[Indices, Indices, Indices, Indices]:
    """Return chain, first node, last node and kind of the walls on the cheapest ways."""
    chain = np.flatnonzero(counts > 1)
    node = (starts + counts - 1)[chain]
    kind = total[node].argmin(axis=1)
    found: list[NDArray[np.int64]] = []
    while len(chain):
        first = node - back[node, kind]
        found.append(np.stack([chain, first, node, kind]))
        kind = came[first, kind]
        open_ = first > starts[chain]
        chain, node, kind = chain[open_], first[open_], kind[open_]
    walls = np.concatenate([np.zeros((4, 0), np.int64), *found[::-1]], axis=1)
    chain, first, last, kind = walls[:, np.argsort(walls[0], kind="stable")]
    return chain, first, last, kind
