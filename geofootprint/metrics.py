"""Scores of pixels and of polygons: pure functions on arrays.

Pixels are counted once over everything, not averaged over images. Polygons are paired one to one, as in
SpaceNet's building challenges, and the outlines of the pairs are measured in the unit of their coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = [
    "Counts",
    "Matches",
    "Overlaps",
    "count_covering",
    "count_pixels",
    "count_vertices",
    "find_overlaps",
    "find_pixel_overlaps",
    "inner_band",
    "match_polygons",
    "polis",
]

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]

CHUNK = 100_000
"""Pairs of polygons in work at once: their intersections are geometries, and a country has millions."""


@dataclass(frozen=True)
class Counts:
    """How often prediction and truth agree, in pixels or in objects; adds up over windows.

    A ratio without a denominator is 1 if there was nothing to find and nothing was found, and 0 otherwise:
    who predicts nothing where buildings stand has no precision to boast of.

    Parameters
    ----------
    true_positive, false_positive, false_negative : int
        In both; only predicted; only in the truth.
    """

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return self._share(self.true_positive + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Share of what was predicted that is true."""
        return self._share(self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the truth that was predicted."""
        return self._share(self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, for pixels also called Dice."""
        return 2 * self.iou / (1 + self.iou)

    def _share(self, denominator: int) -> float:
        if denominator:
            return self.true_positive / denominator
        return float(not (self.false_positive or self.false_negative))


def count_pixels(predicted: Mask, truth: Mask, *, within: Mask | None = None) -> Counts:
    """Compare two masks.

    Parameters
    ----------
    predicted, truth : bool arrays of one shape
        True where building.
    within : bool array of that shape, optional
        True where pixels count; everywhere by default.

    Returns
    -------
    Counts
    """
    if within is not None:
        predicted, truth = predicted & within, truth & within
    both = int(np.count_nonzero(predicted & truth))
    return Counts(both, int(np.count_nonzero(predicted)) - both, int(np.count_nonzero(truth)) - both)


def inner_band(mask: Mask, width: int) -> Mask:
    """Return the pixels of a mask that are at most `width` pixels from its outside.

    The intersection over union of two such bands is the boundary IoU of Cheng et al. (CVPR 2021): unlike
    that of the masks, it does not forgive a poor outline because the building is large. As in the authors'
    code distance is counted in steps to any of 8 neighbours, and what is beyond the array is outside.

    Parameters
    ----------
    mask : bool array of shape (H, W)
    width : int
        In pixels, at least 1.

    Returns
    -------
    bool array of shape (H, W)
    """
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band: Mask = mask & (inside == 0)
    return band


@dataclass(frozen=True)
class Overlaps:
    """Every pair of a predicted and a true polygon that share area.

    Parameters
    ----------
    predicted, truth : int arrays of shape (n,)
        Positions of the two in their arrays.
    area : float array of shape (n,)
        Shared area, in squared units of the coordinates.
    iou : float array of shape (n,)
        Intersection over union.
    """

    predicted: Indices
    truth: Indices
    area: Floats
    iou: Floats


def find_overlaps(predicted: NDArray[Any], truth: NDArray[Any]) -> Overlaps:
    """Return all pairs that share area, sorted by predicted and then true polygon.

    Parameters
    ----------
    predicted, truth : arrays of shapely.Polygon or shapely.MultiPolygon
        Valid, in one CRS that is true to area.

    Returns
    -------
    Overlaps
    """
    first, second = shapely.STRtree(truth).query(predicted, predicate="intersects")
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    area = _in_chunks(lambda a, b: shapely.area(shapely.intersection(a, b)), predicted[first], truth[second])
    kept = area > 0
    first, second, area = first[kept], second[kept], area[kept]
    union = shapely.area(predicted[first]) + shapely.area(truth[second]) - area
    return Overlaps(first, second, area, np.minimum(area / union, 1.0))


def _in_chunks(measure: Callable[..., Floats], *arrays: NDArray[Any]) -> Floats:
    starts = range(0, len(arrays[0]), CHUNK)
    parts = [measure(*(array[start : start + CHUNK] for array in arrays)) for start in starts]
    return np.concatenate([np.empty(0), *parts])


def find_pixel_overlaps(predicted: NDArray[np.int32], truth: NDArray[np.int32]) -> Overlaps:
    """Return all pairs of numbered objects that share pixels, sorted by predicted and then true object.

    Parameters
    ----------
    predicted, truth : int32 arrays of one shape
        The number of the object that a pixel belongs to, from 1 without gaps; 0 where there is none.

    Returns
    -------
    Overlaps
        Object n is at position n - 1, areas are in pixels.
    """
    count = int(truth.max(initial=0)) + 1
    held = np.flatnonzero((predicted > 0) & (truth > 0))
    pair, area = np.unique(predicted.ravel()[held].astype(np.int64) * count + truth.ravel()[held], return_counts=True)
    first, second = pair // count, pair % count
    union = np.bincount(predicted.ravel())[first] + np.bincount(truth.ravel())[second] - area
    return Overlaps(first - 1, second - 1, area.astype(np.float64), area / union)


@dataclass(frozen=True)
class Matches:
    """Predicted and true polygons paired one to one.

    Parameters
    ----------
    predicted, truth : int arrays of shape (n,)
        Positions of the two partners.
    iou : float array of shape (n,)
        Their intersection over union.
    """

    predicted: Indices
    truth: Indices
    iou: Floats


def match_polygons(
    overlaps: Overlaps, *, confidence: NDArray[Any] | None = None, threshold: float = 0.5
) -> Matches:
    """Pair predicted and true polygons, each at most once.

    The most confident prediction chooses first, and of equal ones the pair with the largest intersection over
    union. Where neither layer overlaps itself and the threshold is above 0.5 the order makes no difference.

    Parameters
    ----------
    overlaps : Overlaps
        From `find_overlaps`.
    confidence : float array with one value a prediction, optional
        NaN is the lowest; all alike by default.
    threshold : float
        Smallest intersection over union of a pair.

    Returns
    -------
    Matches
        Sorted by predicted polygon.
    """
    candidates = np.flatnonzero(overlaps.iou >= threshold)
    iou = overlaps.iou[candidates]
    rank = np.zeros(len(candidates))
    if confidence is not None:
        rank = np.nan_to_num(np.asarray(confidence, np.float64), nan=-np.inf)[overlaps.predicted[candidates]]
    chosen: list[int] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for pair in candidates[np.lexsort((-iou, -rank))]:
        first, second = int(overlaps.predicted[pair]), int(overlaps.truth[pair])
        if first not in taken[0] and second not in taken[1]:
            taken[0].add(first)
            taken[1].add(second)
            chosen.append(int(pair))
    pairs = np.array(sorted(chosen), dtype=np.intp)
    return Matches(overlaps.predicted[pairs], overlaps.truth[pairs], overlaps.iou[pairs])


def count_covering(cover: Indices, covered: Indices, area: Floats, covered_size: Floats) -> int:
    """Count the polygons that hold more than half of each of several others.

    With the predictions as `cover` these are merges, several buildings drawn as one; with the truth, splits.

    Parameters
    ----------
    cover, covered : int arrays of shape (n,)
        Pairs that share area.
    area : float array of shape (n,)
        Shared area.
    covered_size : float array
        Area of every polygon that `covered` points into.

    Returns
    -------
    int
    """
    held = cover[area > 0.5 * covered_size[covered]]
    return int(np.count_nonzero(np.unique(held, return_counts=True)[1] > 1))


def polis(predicted: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """Return the PoLiS distance of each pair of polygons.

    The mean of two means: from each vertex of one to the nearest point of the other's outline, and back
    (Avbelj, Müller, Bamler 2015). As in the paper a ring's closing vertex is not counted twice, which a much
    copied implementation does, and holes are left out.

    Parameters
    ----------
    predicted, truth : arrays of shapely.Polygon, of one length
        Partners at the same position, in one CRS true to length.

    Returns
    -------
    float array of shape (n,)
        In units of the coordinates; 0 for equal outlines.
    """
    return _in_chunks(_polis, shapely.get_exterior_ring(predicted), shapely.get_exterior_ring(truth))


def _polis(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    return (_mean_distance(first, second) + _mean_distance(second, first)) / 2


def _mean_distance(from_rings: NDArray[Any], to_rings: NDArray[Any]) -> Floats:
    """Mean distance of each ring's vertices to the partner ring."""
    coordinates, ring = shapely.get_coordinates(from_rings, return_index=True)
    is_closing = np.append(ring[1:] != ring[:-1], True)[: len(ring)]
    coordinates, ring = coordinates[~is_closing], ring[~is_closing]
    distances = shapely.distance(shapely.points(coordinates), to_rings[ring])
    counts = np.bincount(ring, minlength=len(from_rings))
    means: Floats = np.bincount(ring, weights=distances, minlength=len(from_rings)) / counts
    return means


def count_vertices(polygons: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of vertices of each polygon: all rings, without the closing vertices.

    Parameters
    ----------
    polygons : array of shapely.Polygon

    Returns
    -------
    int array of the same shape
    """
    rings = shapely.get_num_interior_rings(polygons) + 1
    return np.asarray(shapely.get_num_coordinates(polygons) - rings, np.int64)
