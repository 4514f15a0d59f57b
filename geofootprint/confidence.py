"""How sure a building is: the share of buildings like it that match a true one.

A building is described by a few numbers that anybody can check on the probabilities, and a logistic regression turns them
into the probability that a true building overlaps it with an intersection over union of 0.5 or more.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["COEFFICIENTS", "FEATURES", "confidence", "describe_buildings"]

FEATURES = ("mean", "attached", "compactness", "size", "at_edge")
"""Names of a building's numbers, in the order of the columns that `describe_buildings` returns.

mean
    Mean building probability inside, 0 to 1.
attached
    Share of the outline along other buildings.
compactness
    4 pi area / perimeter²: 1 for a disc, about 0.8 for a square, less for what is long or ragged.
size
    Natural logarithm of the area in square metres, at most that of `LARGE`.
at_edge
    1 where it touches the image's edge or pixels without data, else 0.

The 5th percentile of the probability inside and its fall across the outline were tried too, and told nothing more.
"""

BAND = 1 << 20
"""Pixels that are looked at at once."""

LARGE = 55.0
"""Square metres from which a larger building is no surer."""

COEFFICIENTS = {
    "intercept": -27.6641,
    "mean": 12.5633,
    "attached": -2.1876,
    "compactness": 2.0626,
    "size": 4.1524,
    "at_edge": 0.0,
}
"""Weights of the regression, as scripts/fit_confidence.py fitted them to the default model."""


def confidence(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that each building matches a true one.

    Parameters
    ----------
    features : float array of shape (n, len(FEATURES))
        From `describe_buildings`.

    Returns
    -------
    float array of shape (n,)
        0 to 1.
    """
    weights = np.array([COEFFICIENTS[name] for name in FEATURES])
    # Summed column by column: a product of matrices may add up differently for another number of rows.
    score = COEFFICIENTS["intercept"] + (features * weights).sum(axis=1)
    return cast("NDArray[np.float64]", 1 / (1 + np.exp(-score)))


def describe_buildings(
    building: NDArray[np.uint8], labels: NDArray[np.int32], *, pixel_area: float
) -> NDArray[np.float64]:
    """Describe each building of a label array by its numbers.

    Parameters
    ----------
    building : uint8 array of shape (height, width)
        Building probability, 0 to 255.
    labels : int32 array of shape (height, width)
        1, 2, ... in buildings, 0 on the background, less where there are no data or other groups. The outermost pixels
        belong to no building.
    pixel_area : float
        Square metres of a pixel.

    Returns
    -------
    float array of shape (labels.max(), len(FEATURES))
        Row i is of label i + 1; NaN for a label that is missing.
    """
    count = max(0, int(labels.max(initial=0))) + 1
    sums = np.zeros((6, count))
    step = max(1, BAND // labels.shape[1])
    for top in range(0, labels.shape[0], step):
        sums[:2] += _sum_up(building[top : top + step], labels[top : top + step], count)
        sums[2:] += _look_across(labels[top : top + step + 1], count)
    size, total, sides, walls, edges, corners = sums
    # Crofton's formula for four directions, in which lines are 1 and sqrt(1/2) pixels apart.
    perimeter = np.pi / 8 * (sides + corners / np.sqrt(2))
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = (
            total / size / 255,
            walls / sides,
            4 * np.pi * size / perimeter**2,
            np.log(np.minimum(size * pixel_area, LARGE)),
            edges > 0,
        )
    table = np.stack(columns, axis=1, dtype=np.float64)
    table[size == 0] = np.nan
    return table[1:]


def _sum_up(building: NDArray[np.uint8], labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Return the number of pixels of each label, and the sum of their values."""
    inside = labels > 0
    numbers = labels[inside]
    return np.stack([np.bincount(numbers, minlength=count), np.bincount(numbers, building[inside], count)])


def _look_across(labels: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """Count the neighbours of other labels that each label's pixels have.

    The first row's with the second belong here, the last row's only with the one above: so bands that share a row add up.

    Returns
    -------
    float array of shape (4, count)
        All beside, those in other buildings, those without data, and all across a corner.
    """
    counts = np.zeros((4, count))
    upper, lower = labels[:-1], labels[1:]
    for one, other in ((upper[:, :-1], upper[:, 1:]), (upper, lower)):
        here, beyond = _differing(one, other)
        counts[0] += np.bincount(here, minlength=count)
        counts[1] += np.bincount(here[beyond > 0], minlength=count)
        counts[2] += np.bincount(here[beyond < 0], minlength=count)
    for one, other in ((upper[:, :-1], lower[:, 1:]), (upper[:, 1:], lower[:, :-1])):
        here, _ = _differing(one, other)
        counts[3] += np.bincount(here, minlength=count)
    return counts


def _differing(one: NDArray[np.int32], other: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the labels of buildings that have another label opposite, and these; each pair from both sides."""
    differs = one != other
    first, second = one[differs], other[differs]
    here, beyond = np.concatenate([first, second]), np.concatenate([second, first])
    return here[here > 0], beyond[here > 0]
