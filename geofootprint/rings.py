"""From the probabilities of a group of buildings to sub-pixel polygons, in pixels.

A ring is the contour line of the probability field, right at pixel centres. Where two buildings touch, and at
the edge of the data, there is no field to follow: there the ring runs exactly between the pixels, so that
both neighbours get the same vertices, and simplifying them together keeps every shared wall shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import contourpy
import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.confidence import confidence, describe_buildings
from geofootprint.instances import grow, separate_instances

__all__ = ["Rings", "Rule", "draw_rings"]

OUTSIDE = -1
"""Label of pixels that are no background of this group: no data, beyond the raster, another group's."""

FAR = -256.0
"""Value of another building's pixels in a building's field: so low that no saddle joins corners across."""

BAND = 1 << 20
"""Pixels that are measured at once."""

RAW = "raw"
"""Method of an outline that is the contour line itself."""

ENDLESS = 1e9
"""Upper level of the contour lines: more than any probability."""

UNMASKED: Any = np.ma.nomask
"""Mask of a field that is valid everywhere."""

CONTOURS: Any = {
    "corner_mask": True,
    "line_type": contourpy.LineType.Separate,
    "fill_type": contourpy.FillType.OuterOffset,
    "quad_as_tri": False,
    "z_interp": contourpy.ZInterp.Linear,
}
"""How contour lines are drawn: as `contourpy.contour_generator` does, which looks for masked values for longer than the
line itself takes."""


@dataclass(frozen=True)
class Rule:
    """What counts as a building and how its outline is drawn.

    Parameters
    ----------
    level : float
        Building probability, 0 to 255, that the ring follows; a half, so that no pixel has this value.
    peak : float
        A building without any pixel of at least this probability is a speck and left out.
    min_size : float
        Area in square pixels under which an outline is left out.
    min_hole : float
        Area in square pixels under which a courtyard is filled.
    min_gap : float
        Area in square pixels under which a hole between attached buildings is shared out among them.
    marker_size : int
        Pixels of the smallest interior that tells touching buildings apart.
    outline : {"map", "area", "raw"}
        How the outline is made of the ring.
    extent : (left, top, right, bottom)
        Of the raster, in its pixels; no outline goes beyond.
    pixel_area : float
        Square metres of a pixel.
    """

    level: float
    peak: float
    min_size: float
    min_hole: float
    min_gap: float
    marker_size: int
    outline: str
    extent: tuple[float, float, float, float]
    pixel_area: float


@dataclass(frozen=True)
class Rings:
    """Buildings of one group; arrays with one value a building, in the order of their first pixels.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        In pixels of the raster: x is the column, y the row, whole numbers are pixel edges.
    confidence : float array
        Probability that a true building is there (`geofootprint.confidence`).
    at_edge : bool array
        True where it touches the raster's edge or pixels without data.
    first : int array of shape (buildings, 2)
        Row and column of the first pixel.
    methods : array of str
        How the outline was made.
    blocks : int array
        Number of the block, within the group: buildings whose outlines were made together do not overlap.
    """

    polygons: NDArray[Any]
    confidence: NDArray[np.float64]
    at_edge: NDArray[np.bool_]
    first: NDArray[np.int64]
    methods: NDArray[Any]
    blocks: NDArray[np.int64]

    @classmethod
    def joined(cls, groups: Sequence[Rings]) -> Rings:
        """Put groups together; their blocks get numbers that no other group has."""
        before = accumulate((int(group.blocks.max(initial=-1)) + 1 for group in groups), initial=0)
        blocks = (group.blocks + start for group, start in zip(groups, before, strict=False))  # the last start is the next one's
        return cls(
            np.concatenate([np.zeros(0, object), *(group.polygons for group in groups)]),
            np.concatenate([np.zeros(0), *(group.confidence for group in groups)]),
            np.concatenate([np.zeros(0, np.bool_), *(group.at_edge for group in groups)]),
            np.concatenate([np.zeros((0, 2), np.int64), *(group.first for group in groups)]),
            np.concatenate([np.zeros(0, object), *(group.methods for group in groups)]),
            np.concatenate([np.zeros(0, np.int64), *blocks]),
        )


def draw_rings(
    probabilities: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    own: NDArray[np.bool_],
    rule: Rule,
    *,
    origin: tuple[int, int] = (0, 0),
) -> Rings:
    """Outline the buildings of one group by raw rings.

    Parameters
    ----------
    probabilities : uint8 array of shape (1 to 3, height, width)
        Building, contour and touch, 0 to 255. The outermost pixels must not belong to the group.
    valid : bool array of shape (height, width)
        False where there is no data.
    own : bool array of shape (height, width)
        The group's building pixels.
    rule : Rule
    origin : (row, column)
        Of the arrays in the raster.

    Returns
    -------
    Rings
    """
    building = probabilities[0]
    between = probabilities[1:].max(axis=0) if len(probabilities) > 1 else None
    labels = separate_instances(own, building, between, marker_size=rule.marker_size)
    labels[~valid | (~own & (building > rule.level))] = OUTSIDE
    filled = _fill_between(labels, rule.min_gap)
    found = _measure(building, labels, ~valid, rule.peak)
    sure = confidence(describe_buildings(building, labels, pixel_area=rule.pixel_area))
    building = np.where(filled, np.uint8(255), building)
    # Half the area, since a ring may enclose more than its pixels and the exact filter comes later.
    kept = np.flatnonzero((found.size >= max(1.0, rule.min_size / 2)) & (found.peaks > 0))
    polygons = _fill(_trace(building, labels, kept, found.boxes[kept], rule.level), rule.min_hole)
    shift = np.array([origin[1] + 0.5, origin[0] + 0.5])  # contour lines count from the first pixel's centre
    return Rings(
        shapely.transform(polygons, lambda xy: xy + shift),
        sure[kept - 1],
        found.edges[kept] > 0,
        found.first[kept] + origin,
        np.full(len(kept), RAW, object),
        np.zeros(len(kept), np.int64),
    )


def _fill_between(labels: NDArray[np.int32], min_gap: float) -> NDArray[np.bool_]:
    """Share out the small holes between and in buildings among them, and return which pixels these are."""
    background = (labels <= 0).view(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(background, connectivity=8, ltype=cv2.CV_32S)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < min_gap
    small[0] = False  # the buildings
    small[parts[labels == OUTSIDE]] = False
    small[parts[0, 0]] = False
    filled: NDArray[np.bool_] = small[parts]
    if filled.any():
        grow(labels, filled)
    return filled


@dataclass(frozen=True)
class _Found:
    """What is known of each label: pixels, how many are peaks and at the edge, box, first pixel."""

    size: NDArray[np.float64]
    peaks: NDArray[np.float64]
    edges: NDArray[np.float64]
    boxes: NDArray[np.int64]
    first: NDArray[np.int64]


def _measure(
    building: NDArray[np.uint8], labels: NDArray[np.int32], empty: NDArray[np.bool_], peak: float
) -> _Found:
    height, width = labels.shape
    count = max(0, int(labels.max())) + 1
    sums = np.zeros((3, count))
    first, left = np.full((2, count), labels.size)
    last, right = np.full((2, count), -1)
    beside_edge = cv2.dilate(empty.view(np.uint8), np.ones((3, 3), np.uint8))
    step = max(1, BAND // width)
    for start in range(0, height, step):
        band = slice(start, start + step)
        rows, columns = np.nonzero(labels[band] > 0)
        numbers = labels[band][rows, columns]
        values = building[band][rows, columns]
        for row, weights in enumerate((None, values >= peak, beside_edge[band][rows, columns])):
            sums[row] += np.bincount(numbers, weights, count)
        pixels = (rows + start) * width + columns
        np.minimum.at(first, numbers, pixels)
        np.maximum.at(last, numbers, pixels)
        np.minimum.at(left, numbers, columns)
        np.maximum.at(right, numbers, columns)
    boxes = np.stack([first // width, left, last // width + 1, right + 1], axis=1)
    size, peaks, edges = sums
    return _Found(size, peaks, edges, boxes, np.stack(np.divmod(first, width), axis=1))


def _trace(
    building: NDArray[np.uint8],
    labels: NDArray[np.int32],
    kept: NDArray[np.int64],
    boxes: NDArray[np.int64],
    level: float,
) -> NDArray[Any]:
    """Return the polygon of each kept label, in pixels counted from the centre of the first pixel."""
    polygons = np.empty(len(kept), object)
    for i, (label, (top, left, bottom, right)) in enumerate(zip(kept, boxes, strict=True)):
        part = (slice(top - 1, bottom + 1), slice(left - 1, right + 1))
        points, offsets = _ring(np.subtract(building[part], level, dtype=np.float64), labels[part], int(label))
        points += np.array([left - 1, top - 1])
        parts = (offsets, np.array([0, len(offsets) - 1]))
        polygons[i] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, parts)[0]
    return polygons


def _ring(
    field: NDArray[np.float64], labels: NDArray[np.int32], label: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    other = (labels != 0) & (labels != label)
    touches = bool(other.any())
    if touches:
        field[other] = FAR
    places = np.indices(field.shape).astype(np.float64)
    lines = contourpy.SerialContourGenerator(places[1], places[0], field, UNMASKED, **CONTOURS)
    found: Any = lines.filled(0.0, ENDLESS)
    (points,), (offsets,) = found[:2]  # a label is connected by pixel sides, so it has one outer ring
    # contourpy interpolates both axes, also the one that is a whole number.
    whole = np.round(points)
    points = np.where(np.abs(points - whole) < 1e-6, whole, points)
    if touches:
        before, after = np.floor(points).astype(np.intp), np.ceil(points).astype(np.intp)
        one, two = labels[before[:, 1], before[:, 0]], labels[after[:, 1], after[:, 0]]
        wall = (one != 0) & (two != 0)
        points[wall] = (before[wall] + after[wall]) / 2
        beyond = np.where(wall, np.where(one == label, two, one), 0)
        return _with_corners(points, offsets.astype(np.int64), beyond)
    return points, offsets.astype(np.int64)


def _with_corners(
    points: NDArray[np.float64], offsets: NDArray[np.int64], beyond: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Add the corners of pixels where a wall to one neighbour meets that to another, or the edge of the data.

    The ring would cut them off, from the middle of one pixel's side to that of the next.

    Parameters
    ----------
    points : float array of shape (n, 2)
        Whole numbers are pixel centres.
    offsets : int array
        Where the rings begin and end.
    beyond : int array of shape (n,)
        What is on the other side of a wall, 0 where there is none.
    """
    meets = (beyond[1:] != beyond[:-1]) & (beyond[1:] != 0) & (beyond[:-1] != 0)
    meets[offsets[1:-1] - 1] = False  # from one ring to the next
    (here,) = np.nonzero(meets)
    one, two = points[here], points[here + 1]
    # Each wall runs through the middle of a pixel's side, which is upright where x is no whole number.
    upright, other_upright = one[:, 0] % 1 == 0.5, two[:, 0] % 1 == 0.5
    middle = (one + two) / 2  # straight on
    corners = np.where((upright & ~other_upright)[:, None], np.stack([one[:, 0], two[:, 1]], axis=1), middle)
    corners = np.where((~upright & other_upright)[:, None], np.stack([two[:, 0], one[:, 1]], axis=1), corners)
    _, number, uses = np.unique(np.concatenate([corners, points]), axis=0, return_inverse=True, return_counts=True)
    once = uses[number.ravel()[: len(corners)]] == 1  # elsewhere the ring would touch itself
    here, corners = here[once], corners[once]
    return np.insert(points, here + 1, corners, axis=0), offsets + np.searchsorted(here, offsets - 1)


def _fill(polygons: NDArray[Any], min_hole: float) -> NDArray[Any]:
    """Leave out the holes that are smaller than `min_hole`."""
    for i in np.flatnonzero(shapely.get_num_interior_rings(polygons) > 0):
        holes = shapely.get_rings(polygons[i])[1:]
        large = shapely.area(shapely.polygons(holes)) >= min_hole
        polygons[i] = shapely.Polygon(shapely.get_exterior_ring(polygons[i]), list(holes[large]))
    return polygons
