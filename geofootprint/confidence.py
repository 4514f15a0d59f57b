"""How sure a building is: the share of buildings like it that match a true one.

A building is described by a few numbers that anybody can check on the probabilities, and a logistic regression turns them
into the probability that a true building overlaps it with an intersection over union of 0.5 or more.
"""

from __future__ import annotations

from collections.abc import Iterator
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

SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
DIAGONALS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps in rows and columns to the neighbours of a pixel."""

LARGE = 55.0
"""Square metres from which a larger building is no surer."""

COEFFICIENTS = {
    "intercept": -15.7868,
    "mean": 9.4155,
    "attached": -1.8983,
    "compactness": 2.4734,
    "size": 1.6197,
    "at_edge": -1.0112,
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
    inside = labels > 0
    size = np.bincount(labels[inside], minlength=count)
    total = np.bincount(labels[inside], building[inside], count)
    sides, walls, edges = _count_sides(labels, count)
    corners = sum(np.bincount(here, minlength=count) for here, _ in _borders(labels, DIAGONALS))
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


def _count_sides(
    labels: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return for each label how many pixel sides are on its outline, along other buildings, and where data end."""
    sides, walls, edges = np.zeros((3, count), np.int64)
    for here, beyond in _borders(labels, SIDES):
        sides += np.bincount(here, minlength=count)
        walls += np.bincount(here[beyond > 0], minlength=count)
        edges += np.bincount(here[beyond < 0], minlength=count)
    return sides, walls, edges


def _borders(
    labels: NDArray[np.int32], steps: tuple[tuple[int, int], ...]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Yield, for each step to a neighbour, the labels of pixels that have another one there, and that other label."""
    height, width = labels.shape
    for down, right in steps:
        here = labels[1:-1, 1:-1]
        beyond = labels[1 + down : height - 1 + down, 1 + right : width - 1 + right]
        outer = (here > 0) & (beyond != here)
        yield here[outer], beyond[outer]
