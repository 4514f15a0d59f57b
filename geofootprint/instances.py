"""Which building a pixel belongs to: a watershed from the buildings' insides to the contours between them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["grow", "separate_instances"]

LEVELS = (200, 100, 0)
"""Building less contour probability, -255 to 255, down to which basins are flooded one after the other.

From the surest insides to none at all, since models are unsure of walls between houses: a wall shows as a place that is
less sure than what lies on both sides of it, at whatever level that is.
"""

OUTSIDE = -512
"""Level of what is no building; lower than any difference of probabilities."""


def separate_instances(
    mask: NDArray[np.bool_],
    building: NDArray[np.uint8],
    between: NDArray[np.uint8] | None,
    *,
    marker_size: int = 1,
) -> NDArray[np.int32]:
    """Give a number to each building of a mask; touching ones are told apart by the contour between them.

    The difference of the two probabilities is flooded from its heights down, level by level. A part that rises out
    of the flood marks a building if it has `marker_size` pixels before it meets another one, and else goes to its
    neighbours; the rest of the mask goes to the marker that is nearest on a way inside the level. That is a marker
    watershed (Meyer, Beucher 1990) on a few levels, its markers chosen by their area on each.

    Parameters
    ----------
    mask : bool array of shape (height, width)
        The pixels to be shared out.
    building : uint8 array of shape (height, width)
        Probability of buildings, 0 to 255.
    between : uint8 array of shape (height, width), or None
        Probability of contours, or of what else lies between buildings, 0 to 255; without it, what touches is one
        building.
    marker_size : int
        Pixels of the smallest part that marks a building.

    Returns
    -------
    int32 array of shape (height, width)
        0 outside the mask, else 1, 2, ... in the order of the first pixels row by row. Each building is
        connected by pixel sides.
    """
    whole = _components(mask)
    if between is None:
        return whole
    inside = np.where(mask, np.subtract(building, between, dtype=np.int16), np.int16(OUTSIDE))
    levels = [level for level in LEVELS if _has_markers(inside >= level, marker_size)]
    if not levels:
        return whole
    labels = np.zeros_like(whole)
    for level in levels:
        region = inside >= level
        labels = _flood(labels, region, _components(region), marker_size)
    return _in_order(_flood(labels, mask, whole, marker_size))


def _has_markers(region: NDArray[np.bool_], marker_size: int) -> bool:
    """Say whether several parts of a region are large enough to mark buildings."""
    count, parts = cv2.connectedComponents(region.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count <= 2:  # with the background: most buildings stand alone, and counting pixels takes longer than finding parts
        return False
    return int(np.count_nonzero(np.bincount(parts.ravel())[1:] >= marker_size)) > 1


def _flood(
    basins: NDArray[np.int32], region: NDArray[np.bool_], parts: NDArray[np.int32], marker_size: int
) -> NDArray[np.int32]:
    """Return the basins after the flood has fallen to a region whose connected parts are numbered.

    A part without a basin that is large enough becomes one basin, one with a single such basin is all its own, and
    in the others the basins grow towards each other.
    """
    sizes = np.bincount(basins.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes >= marker_size)
    part_of = np.zeros(sizes.size, np.int64)
    pixels = np.flatnonzero(basins)
    part_of[basins.ravel()[pixels]] = parts.ravel()[pixels]
    held = np.bincount(part_of[large], minlength=int(parts.max(initial=0)) + 1)
    of_part = np.zeros(held.size, np.int32)
    of_part[part_of[large]] = large
    alone = np.flatnonzero(held == 0)[1:]  # the first is what is outside the region
    of_part[alone] = sizes.size + np.arange(alone.size)
    of_part[held > 1] = 0
    kept = np.zeros(sizes.size, np.int32)
    kept[large] = large
    grown = np.where(of_part[parts] > 0, of_part[parts], kept[basins]).astype(np.int32)
    if (held > 1).any():
        grow(grown, region)
    return _in_order(grown)


def _components(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32) if count <= 2 else _in_order(np.asarray(labels, np.int32))


def _in_order(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Renumber by first pixel, without gaps: OpenCV's order depends on where the array was cut."""
    pixels = np.flatnonzero(labels)[::-1]
    first = np.full(int(labels.max(initial=0)) + 1, labels.size, np.int64)
    first[labels.ravel()[pixels]] = pixels  # written backwards, so that the first pixel stays
    numbers = np.zeros(first.size, np.int32)
    present = np.argsort(first)[: np.count_nonzero(first < labels.size)]
    numbers[present] = np.arange(1, present.size + 1)
    return numbers[labels]


def grow(labels: NDArray[np.int32], mask: NDArray[np.bool_]) -> None:
    """Give the mask's unlabelled pixels the label of a neighbour, ring by ring, the smaller label first."""
    padded, unlabelled = np.pad(labels, 1), np.pad(mask & (labels == 0), 1)
    beside = cv2.dilate(unlabelled.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) > 0
    flat, left = padded.ravel(), unlabelled.ravel()
    sides = np.array([-1, 1, -padded.shape[1], padded.shape[1]])
    last = np.empty(flat.size, np.int64)
    ring = np.flatnonzero(beside & (padded > 0))
    while ring.size:
        ring = ring[np.argsort(-flat[ring])]
        reached = (ring[:, None] + sides).ravel()
        given = np.repeat(flat[ring], sides.size)[left[reached]]
        reached = reached[left[reached]]
        flat[reached] = given  # where several reach a pixel, the last one stays: the smallest label
        left[reached] = False
        turn = np.arange(reached.size)
        last[reached] = turn
        ring = reached[last[reached] == turn]  # each once
    labels[:] = padded[1:-1, 1:-1]
