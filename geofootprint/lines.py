"""Chains of boundary points, and the straight lines that fit any stretch of them.

The sums that a total least squares line needs are kept as running totals along the chain, so that the line of any stretch
and its squared error take the same few operations however long it is (Pavlidis and Horowitz 1974 fitted outlines from such
totals). They are exact integrals along the edges, not sums over points, so dense and sparse outlines are treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["SLACK", "SPACING", "Chains", "Floats", "Indices", "best_line", "error_along", "first_of_runs", "neighbours", "spread"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SPACING = 1.5
"""Longest edge between two samples: what a stretch may begin and end at."""


APART = 1000.0
"""From one chain's clock to the next."""

SLACK = 1e-6
"""Samples; decides where exact and rounded lengths would differ."""


@dataclass(frozen=True)
class Chains:
    """Many chains of samples, one after the other.

    Parameters
    ----------
    xy : float array of shape (samples, 2)
        A closed ring ends with its first sample.
    starts, ends : int arrays of shape (chains,)
        First and last sample of each chain.
    along : float array of shape (samples,)
        Length of the chain up to the sample.
    totals : float array of shape (6, samples)
        Integrals of 1, x, y, xx, xy, yy along the chain up to the sample.
    clock : float array of shape (samples,)
        `along` with each chain begun at a number larger than all before, so that all can be searched at once.
    """

    xy: Floats
    starts: Indices
    ends: Indices
    along: Floats
    totals: Floats
    clock: Floats

    @classmethod
    def of(cls, lines: NDArray[Any]) -> Chains:
        """Take samples of lines or rings: their vertices, and more on long edges."""
        xy, chain = shapely.get_coordinates(shapely.segmentize(lines, SPACING), return_index=True)
        starts = np.searchsorted(chain, np.arange(len(lines)))
        return cls.of_samples(xy, starts)

    @classmethod
    def of_samples(cls, xy: Floats, starts: Indices) -> Chains:
        """Put chains together from samples that lie one chain after the other."""
        ends = np.append(starts[1:], len(xy)) - 1
        step = np.diff(xy, axis=0)
        middle = xy[:-1] + step / 2
        length = np.hypot(step[:, 0], step[:, 1])
        length[ends[:-1]] = 0  # from one chain to the next
        (dx, dy), (x, y) = step.T, middle.T
        totals = np.zeros((6, len(xy)))
        totals[0, 1:] = length
        totals[1, 1:] = length * x
        totals[2, 1:] = length * y
        totals[3, 1:] = length * (x * x + dx * dx / 12)
        totals[4, 1:] = length * (x * y + dx * dy / 12)
        totals[5, 1:] = length * (y * y + dy * dy / 12)
        for start, end in zip(starts, ends, strict=True):  # each by itself, so that rounding does not depend on the others
            np.cumsum(totals[:, start : end + 1], axis=1, out=totals[:, start : end + 1])
        begin = np.cumsum(np.append(0, np.ceil(totals[0, ends[:-1]]) + APART))
        clock = totals[0] + np.repeat(begin, ends - starts + 1)
        return cls(xy, starts, ends, totals[0], totals, clock)

    @property
    def closed(self) -> NDArray[np.bool_]:
        """Say which chains are rings."""
        return np.asarray((self.xy[self.starts] == self.xy[self.ends]).all(axis=1), np.bool_)

    def turned(self, first: Indices) -> Chains:
        """Return the same rings, each beginning at another sample."""
        return Chains.of_samples(self.xy[self.turning(first)], self.starts)

    def turning(self, first: Indices) -> Indices:
        """Return which sample comes where in rings that begin at other samples."""
        size = self.ends - self.starts + 1
        chain = np.repeat(np.arange(len(size)), size)
        within = np.arange(len(self.xy)) - self.starts[chain]
        within = (within + (first - self.starts)[chain]) % (size - 1)[chain]
        return np.asarray(self.starts[chain] + within, np.int64)

    @property
    def chain(self) -> Indices:
        """Return the chain of each sample."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts + 1)

    def simplified(self, tolerance: Floats | float) -> tuple[Indices, Indices]:
        """Return the samples that Douglas and Peucker's method keeps, and the chain of each."""
        size = self.ends - self.starts + 1
        chain = np.repeat(np.arange(len(size)), size)
        numbered = np.column_stack([self.xy, np.arange(len(self.xy))])
        lines = shapely.linestrings(numbered, indices=chain)
        kept = shapely.simplify(lines, tolerance, preserve_topology=False)
        found, chain = shapely.get_coordinates(kept, include_z=True, return_index=True)
        return found[:, 2].astype(np.int64), chain

    def first_after(self, sample: Indices, distance: float) -> Indices:
        """Return the first sample that is at least a distance further along the chain."""
        found = np.searchsorted(self.clock, self.clock[sample] + (distance - SLACK))
        return np.minimum(found, len(self.clock) - 1)  # beyond the end of the last chain

    def last_before(self, sample: Indices, distance: float) -> Indices:
        """Return the last sample that is at least a distance back along the chain."""
        return np.searchsorted(self.clock, self.clock[sample] - (distance - SLACK), side="right") - 1

    def between(self, first: Indices, last: Indices) -> Floats:
        """Return the integrals over stretches as an array of shape (6, ...)."""
        return np.asarray(self.totals[:, last] - self.totals[:, first], np.float64)


def spread(sums: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return length, centre (x, y) and central second moments (xx, xy, yy) of integrals of shape (6, ...)."""
    length = np.maximum(sums[0], 1e-12)
    x, y = sums[1] / length, sums[2] / length
    xx = np.maximum(sums[3] - sums[1] * x, 0)
    xy = sums[4] - sums[1] * y
    yy = np.maximum(sums[5] - sums[2] * y, 0)
    return length, x, y, xx, xy, yy


def best_line(xx: Floats, xy: Floats, yy: Floats) -> tuple[Floats, Floats]:
    """Return angle and squared error of the total least squares line of central second moments."""
    half = (xx - yy) / 2
    error = np.maximum((xx + yy) / 2 - np.hypot(half, xy), 0)
    return np.arctan2(xy, half) / 2, error


def error_along(xx: Floats, xy: Floats, yy: Floats, angle: Floats) -> Floats:
    """Return the squared error of the line through the centre at a given angle."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(np.maximum(xx * sine**2 - 2 * xy * sine * cosine + yy * cosine**2, 0), np.float64)


def first_of_runs(group: Indices) -> Indices:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else np.zeros(0, np.int64)


def neighbours(ring: Indices) -> tuple[Indices, Indices]:
    """Return the position before and after each of the things on rings, which lie ring after ring."""
    begins = first_of_runs(ring)
    ends = np.append(begins[1:], len(ring)) - 1
    before, after = np.arange(len(ring)) - 1, np.arange(len(ring)) + 1
    if len(ring):
        before[begins], after[ends] = ends, begins
    return before, after
