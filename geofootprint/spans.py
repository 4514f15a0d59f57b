"""The best way to cut chains of boundary points into walls: exact minimisation of a description length.

Every stretch between two nodes may be a wall, along one of the building's directions or free. It costs its squared error
in units of the noise, and a price for the numbers that describe it (Rissanen 1978). The cheapest sequence of walls is a
shortest path (Perez and Vidal 1994), found for all chains and several levels of noise at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geofootprint.lines import Chains, Floats, Indices, best_line, error_along, spread

__all__ = ["CORRELATION", "PRICES", "Nodes", "Paths", "Prices", "Walls", "cut_into_walls", "trim"]

CORRELATION = 10.0
"""Length, in samples, over which the noise of a boundary says one thing only."""

TRIM = 2.0
"""Samples at both ends of a wall that do not count: blur rounds corners."""

REACH = 24
"""Nodes that a wall may run past; longer walls are put together in a second round."""

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
        """Return the price of each kind of wall at each noise, the more the finer its numbers have to be told.

        The shape is (chains, levels, kinds + 1).
        """
        price = np.array([self.main] * (kinds - 2) + [self.diagonal] * min(2, kinds) + [self.free])
        numbers = np.array([1.0] * kinds + [2.0])
        return np.asarray(price - G * numbers * np.log(noise / 0.6)[:, :, None], np.float64)


PRICES = Prices()
G = 0.5


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


@dataclass(frozen=True)
class Paths:
    """The cheapest ways through all chains, one for each level of noise.

    Parameters
    ----------
    nodes : Nodes
    energy : float array of shape (chains, levels)
        Description length.
    kind, back, came : int arrays
        How to walk back: last kind of shape (chains, levels); wall's length in nodes and kind before, of shape
        (nodes, levels, kinds).
    """

    nodes: Nodes
    energy: Floats
    kind: Indices
    back: Indices
    came: Indices

    def walls(self, level: Indices) -> Walls:
        """Return the walls of each chain at one level of noise."""
        starts = self.nodes.starts(len(level))
        node = np.append(starts[1:], len(self.nodes.sample)) - 1
        chain = np.flatnonzero(node > starts)
        node, kind, level_ = node[chain], self.kind[chain, level[chain]], level[chain]
        found: list[NDArray[np.int64]] = []
        while len(chain):
            first = node - self.back[node, level_, kind]
            found.append(np.stack([chain, first, node, kind]))
            kind = self.came[first, level_, kind]
            open_ = first > starts[chain]
            chain, node, kind, level_ = chain[open_], first[open_], kind[open_], level_[open_]
        walls = np.concatenate([np.zeros((4, 0), np.int64), *found[::-1]], axis=1)
        chain, first, last, kind = walls[:, np.argsort(walls[0], kind="stable")]
        kind = np.where(kind == self.back.shape[2] - 1, -1, kind)
        energy = self.energy[np.arange(len(level)), level]
        return Walls(chain, self.nodes.sample[first], self.nodes.sample[last], kind, energy)


def cut_into_walls(
    chains: Chains, nodes: Nodes, angles: Floats, noise: Floats, *, min_edge: float, prices: Prices = PRICES
) -> Paths:
    """Cut each chain at some of its nodes so that the description length is least.

    Parameters
    ----------
    chains : Chains
    nodes : Nodes
    angles : float array of shape (chains, n)
        Directions in radians that walls of a chain may have: pairs of main directions, the last pair diagonal; NaN where
        there are fewer.
    noise : float array of shape (chains, levels)
        Standard deviation of the boundary: several to choose from.
    min_edge : float
        Shortest wall.
    prices : Prices

    Returns
    -------
    Paths
    """
    starts = nodes.starts(len(chains.starts))
    counts = np.diff(np.append(starts, len(nodes.sample)))
    errors = _errors(chains, nodes, starts, angles, int(min(REACH, max(counts.max() - 1, 1))), min_edge)
    order = np.argsort(-counts, kind="stable")
    scale = 1 / (2 * CORRELATION * noise**2)
    total, back, came = _forward(errors, prices.of(angles.shape[1], noise)[order], starts[order], counts[order], scale[order])
    ends = total[starts + counts - 1]
    return Paths(nodes, ends.min(axis=2), ends.argmin(axis=2), back, came)


def _errors(
    chains: Chains, nodes: Nodes, starts: Indices, angles: Floats, reach: int, min_edge: float
) -> Floats:
    """Return the squared error of the wall of each kind that ends at a node and began 1, 2, ... nodes before.

    The shape is (nodes, reach, kinds).
    """
    number = np.arange(len(nodes.sample))
    before = number[:, None] - np.arange(1, reach + 1)
    exists = before >= starts[nodes.chain][:, None]
    begin = nodes.sample[np.maximum(before, 0)]
    end = np.broadcast_to(nodes.sample[:, None], begin.shape)
    first, last = trim(chains, begin, end)
    length, _, _, xx, xy, yy = spread(chains.between(first, np.maximum(last, first)))
    whole = chains.along[end] - chains.along[begin]
    allowed = exists & (whole >= min_edge / 2)
    scale = np.where(allowed, whole / length, 0)
    count = angles.shape[1]
    errors = np.empty((*begin.shape, count + 1))
    for kind in range(count):
        angle = angles[nodes.chain, kind][:, None]
        errors[..., kind] = error_along(xx, xy, yy, np.nan_to_num(angle)) * scale + np.where(np.isnan(angle), NEVER, 0)
    errors[..., count] = best_line(xx, xy, yy)[1] * scale
    errors += np.where(allowed, 0, NEVER)[..., None]
    return errors


def _forward(
    errors: Floats, price: Floats, starts: Indices, counts: Indices, scale: Floats
) -> tuple[Floats, Indices, Indices]:
    """Return for each node, level and kind the least energy up to it, the wall's length in nodes, and the kind before.

    Chains must come longest first.
    """
    (size, reach, kinds), levels = errors.shape, scale.shape[1]
    total = np.full((size, levels, kinds), NEVER)
    back = np.ones((size, levels, kinds), np.int64)
    came = np.zeros((size, levels, kinds), np.int64)
    ahead = np.zeros((size, levels, kinds))  # least energy before a wall of a kind that begins here
    turn = np.zeros((kinds, kinds))
    turn[np.arange(kinds - 1), np.arange(kinds - 1)] = NEVER  # parallel walls do not meet
    steps = np.arange(1, reach + 1)
    for step in range(1, int(counts.max(initial=0))):
        active = np.searchsorted(-counts, -step)
        node, near = starts[:active] + step, min(reach, step)
        cost = errors[node, :near, None, :] * scale[:active, None, :, None]
        cost += ahead[node[:, None] - steps[:near]]
        best = cost.argmin(axis=1)
        total[node] = np.take_along_axis(cost, best[:, None], axis=1)[:, 0] + price[:active]
        back[node] = best + 1
        cost = total[node][:, :, :, None] + turn
        came[node] = cost.argmin(axis=2)
        ahead[node] = cost.min(axis=2)
    return total, back, came
