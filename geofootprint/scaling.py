"""From the values of pixels to the 0..1 that networks see, the same in training and at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaling", "measure_scaling"]

TAIL = 0.1
"""Per cent of a band's values that may lie beyond either end: a few glints or dead pixels must not set the range."""


@dataclass(frozen=True)
class Scaling:
    """The range of each band.

    Parameters
    ----------
    offset : tuple of float
        Value that becomes 0.
    divisor : tuple of float
        What the distance from there is divided by to give 0..1.
    """

    offset: tuple[float, ...]
    divisor: tuple[float, ...]

    def apply(self, image: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return pixels as 0..1; what lies beyond the range is cut to it.

        Parameters
        ----------
        image : array of shape (bands, H, W)
        valid : bool array of shape (H, W)
            Others become 0.
        """
        # Doubles where single precision would lose digits: of doubles, and of whole numbers of 32 bits.
        exact = np.result_type(image.dtype, np.float32)
        scaled = image.astype(exact)
        # The lowest float, a usual nodata value, leaves the range of floats where a divisor is below 1.
        with np.errstate(over="ignore"):
            if any(self.offset):
                scaled -= np.array(self.offset, exact)[:, None, None]
            scaled /= np.array(self.divisor, exact)[:, None, None]
        np.clip(scaled, 0, 1, out=scaled)
        if not valid.all():
            scaled[:, ~valid] = 0
        return scaled.astype(np.float32, copy=False)


def measure_scaling(samples: Sequence[NDArray[Any]]) -> Scaling:
    """Return the range that pixels fill, but for the last 0.1 % at either end.

    It begins at 0 for unsigned pixels, so that black stays black, and at the lowest values for others: heights have no
    natural zero, and differences may be negative.

    Parameters
    ----------
    samples : sequence of arrays of shape (bands, pixels)
        Valid pixels, of one type; at least one.
    """
    values = np.concatenate(samples, axis=1)
    low, high = np.percentile(values, (TAIL, 100 - TAIL), axis=1)
    if values.dtype.kind == "u":
        low = np.zeros_like(low)
    span = np.where(high > low, high - low, 1.0)  # a band that is the same everywhere tells nothing
    return Scaling(tuple(map(float, low)), tuple(map(float, span)))
