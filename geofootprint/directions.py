"""Main directions of buildings: the angles, up to quarter turns, that many of their walls share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geofootprint.lines import Chains, Floats, Indices, best_line, first_of_runs, spread
from geofootprint.spans import Walls, trim

if TYPE_CHECKING:
    from geofootprint.corners import Sides

__all__ = ["FRAMES", "Directions", "align", "find_directions"]

FRAMES = 3
"""Main directions of a building, at most."""

VOTERS = 16
"""Longest walls of a building, which choose its directions."""

QUARTER = np.pi / 2

SUPPORT = 0.15
"""Share of the outline's length that a second or third direction must have."""


@dataclass(frozen=True)
class Directions:
    """Main directions of polygons.

    Parameters
    ----------
    frames : float array of shape (polygons, FRAMES)
        Angles in radians; NaN where there are fewer.
    """

    frames: Floats

    @property
    def angles(self) -> Floats:
        """What walls may have: each direction and its perpendicular, then both diagonals of the first."""
        pairs = np.repeat(self.frames, 2, axis=1)
        pairs[:, 1::2] += QUARTER
        return np.concatenate([pairs, self.frames[:, :1] + QUARTER / 2, self.frames[:, :1] + 3 * QUARTER / 2], axis=1)


def find_directions(chains: Chains, walls: Walls, owner: Indices, noise: Floats) -> Directions:
    """Let the longest walls of each polygon vote for its main directions.

    Parameters
    ----------
    chains : Chains
        Rings.
    walls : Walls
        Of any angle.
    owner : int array of shape (chains,)
        Polygon of each ring.
    noise : float array of shape (polygons,)

    Returns
    -------
    Directions
    """
    length, _, _, xx, xy, yy = spread(chains.between(*trim(chains, walls.first, walls.last)))
    angle, _ = best_line(xx, xy, yy)
    polygon = owner[walls.chain]
    order = np.lexsort((-length, polygon))
    begins = first_of_runs(polygon[order])
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    order, rank = order[rank < VOTERS], rank[rank < VOTERS]
    angles, lengths = (np.zeros((len(noise), int(rank.max(initial=0)) + 1)) for _ in range(2))
    angles[polygon[order], rank] = angle[order]
    lengths[polygon[order], rank] = length[order]
    whole = np.bincount(polygon, length, len(noise))
    doubt = np.minimum(np.radians(3) + 22 * noise[:, None] / np.maximum(lengths, 1) ** 1.5, np.radians(15))
    frames = np.full((len(noise), FRAMES), np.nan)
    left = lengths.copy()
    for turn in range(FRAMES):
        frames[:, turn], left, support = _elect(angles, left, lengths, doubt)
        if turn:
            frames[support < SUPPORT * whole, turn] = np.nan
    return Directions(_distinct(frames))


def _elect(angles: Floats, left: Floats, lengths: Floats, doubt: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the direction with most votes, the walls that are left, and the length in its favour beside its best wall."""
    apart = _apart(angles[:, None, :], angles[:, :, None])
    weight = np.exp(-((apart / doubt[:, None, :]) ** 2) / 2) * left[:, None, :]
    rows = np.arange(len(angles))
    best = (weight.sum(axis=2) * (left > 0)).argmax(axis=1)
    near = np.abs(apart[rows, best]) < 2.5 * doubt
    votes = lengths**3 * near * (left > 0)
    mean = angles[rows, best] + (votes * apart[rows, best]).sum(axis=1) / np.maximum(votes.sum(axis=1), 1e-12)
    agree = left * near
    return mean, left * ~near, agree.sum(axis=1) - agree.max(axis=1)


def _apart(angle: Floats, other: Floats) -> Floats:
    """Return the signed difference of angles up to quarter turns."""
    return np.asarray((angle - other + QUARTER / 2) % QUARTER - QUARTER / 2, np.float64)


def _distinct(frames: Floats) -> Floats:
    """Drop directions that the first one, or its diagonal, stands for."""
    near = np.abs((frames[:, 1:] - frames[:, :1] + QUARTER / 4) % (QUARTER / 2) - QUARTER / 4) < np.radians(6)
    frames[:, 1:][near] = np.nan
    return frames


def align(directions: Directions, sides: Sides, owner: Indices) -> Directions:
    """Turn main directions so that all walls that follow them fit best: one total least squares fit for all.

    Parameters
    ----------
    directions : Directions
    sides : Sides
    owner : int array of shape (rings,)
        Polygon of each ring.

    Returns
    -------
    Directions
    """
    _, _, _, xx, xy, yy = spread(sides.sums)
    turned = np.exp(-2j * _offset(sides.kind)) * ((xx - yy) / 2 + 1j * xy)
    frame = np.where(sides.kind >= 2 * FRAMES, 0, sides.kind // 2)
    frames = directions.frames.copy()
    count = len(frames)
    for number in range(FRAMES):
        own = (sides.kind >= 0) & (frame == number)
        polygon = owner[sides.ring[own]]
        total = np.bincount(polygon, turned[own].real, count) + 1j * np.bincount(polygon, turned[own].imag, count)
        better = np.abs(total) > 0
        turn = (np.angle(total) / 2 - frames[:, number] + QUARTER) % np.pi - QUARTER
        frames[:, number] += np.where(better & (np.abs(turn) < np.radians(20)), turn, 0)
    return Directions(frames)


def _offset(kind: Indices) -> Floats:
    """Return the angle of a kind of wall from its main direction."""
    diagonal = kind >= 2 * FRAMES
    return np.where(diagonal, QUARTER / 2 + (kind - 2 * FRAMES) * QUARTER, (kind % 2) * QUARTER)
