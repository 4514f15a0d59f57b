"""Where the patches of a raster lie along an axis, how they are blended, and what lies beyond the axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["WEIGHT_BITS", "PatchAxis", "mirror_axis"]

WEIGHT_BITS = 8
"""Weights along an axis sum to 2**8: with 8 bits of probability, two axes fit 32 bit integers."""


@dataclass(frozen=True)
class PatchAxis:
    """Patches along one axis of a raster.

    The first starts at 0; the last may reach beyond the end, where pixels are mirrored.

    Parameters
    ----------
    size : int
        Pixels of the raster.
    patch, overlap, context : int
        Pixels of a patch; those shared with the next, at most half of it; those at its ends that get no weight,
        less than half of the overlap. At the raster's own ends a patch has full weight to its last pixel.
    """

    size: int
    patch: int
    overlap: int
    context: int

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return self.patch - self.overlap

    @property
    def count(self) -> int:
        """Number of patches."""
        return max(1, math.ceil((self.size - self.overlap) / self.stride))

    def weights(self, index: int) -> NDArray[np.uint32]:
        """Return the weight of each pixel of a patch; those of all patches sum to 2**WEIGHT_BITS everywhere.

        They are integers, so that the sum is exact whatever its order.
        """
        return _ramps(self.patch, self.overlap, self.context, index > 0, index < self.count - 1)

    def touching(self, start: int, stop: int) -> range:
        """Return the patches that have weight in the pixels from `start` to before `stop`."""
        first = (start - self.patch + self.context) // self.stride + 1
        last = (stop - 1 - self.context) // self.stride
        return range(min(max(0, first), self.count - 1), max(0, min(self.count - 1, last)) + 1)

    def shared(self, index: int, start: int, size: int) -> tuple[slice, slice]:
        """Return what a patch shares with `size` pixels from `start`: counted in these, and in the patch."""
        own = index * self.stride
        first, last = max(start, own), min(start + size, own + self.patch)
        return slice(first - start, last - start), slice(first - own, last - own)


@lru_cache
def _ramps(patch: int, overlap: int, context: int, rises: bool, falls: bool) -> NDArray[np.uint32]:
    one = 2**WEIGHT_BITS
    length = overlap - 2 * context
    ramp = ((np.arange(length) + 0.5) / max(length, 1) * one).round().astype(np.uint32)
    rise = np.concatenate([np.zeros(context, np.uint32), ramp, np.full(context, one, np.uint32)])
    weights = np.full(patch, one, np.uint32)
    if rises:
        weights[:overlap] = rise
    if falls:
        weights[patch - overlap :] = one - rise
    weights.flags.writeable = False  # shared by all callers
    return weights


def mirror_axis(start: int, length: int, size: int) -> tuple[NDArray[np.intp], int, int]:
    """Continue an axis beyond its ends as in a mirror.

    Parameters
    ----------
    start, length : int
        Pixels wanted; they may lie beyond the axis.
    size : int
        Pixels that there are, from 0.

    Returns
    -------
    index : int array of shape (length,)
        For each wanted pixel its place among those to read.
    first, count : int
        Which pixels to read.
    """
    position = np.arange(start, start + length) % (2 * size)
    source = np.where(position < size, position, 2 * size - 1 - position)
    first = int(source.min())
    return source - first, first, int(source.max()) + 1 - first
