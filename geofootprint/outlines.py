"""From raw rings to outlines: buildings that stand alone by themselves, attached ones as one block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.arcs import Arcs, simplify_together
from geofootprint.carve import carve_faulty
from geofootprint.guard import TOLERANCE
from geofootprint.regularize import MIN_EDGE, Regularized, regularize_polygons
from geofootprint.rings import Rings, Rule
from geofootprint.spans import PRICES
from geofootprint.unions import connect
from geofootprint.vector import clean_polygons
from geofootprint.walls import BLOCK_PRICES, regularize_block

__all__ = ["ATTACHED", "SIMPLIFIED", "give_way", "largest_part", "name_changed", "regularize_rings", "settle", "unfold"]

ATTACHED = "attached"
"""Method of a building whose outline was made together with those that it touches."""

SIMPLIFIED = "simplified"
"""Method of a building whose ring has only fewer vertices, since no fit holds."""

BATCH = 1000
"""Buildings whose outlines are made in one go; NumPy's calls cost more than the work on one building."""


def regularize_rings(groups: Iterable[Rings], rule: Rule) -> Iterator[Rings]:
    """Turn the raw rings of many groups into outlines, as the rule says; groups keep their order.

    Each group gets the same result alone and together with others.
    """
    batch: list[Rings] = []
    count = 0
    for group in groups:
        batch.append(group)
        count += len(group.polygons)
        if count >= BATCH:
            yield from _regularize(batch, rule)
            batch, count = [], 0
    if batch:
        yield from _regularize(batch, rule)


def _regularize(groups: Sequence[Rings], rule: Rule) -> Iterator[Rings]:
    if rule.outline == "raw" or not groups:
        yield from groups
        return
    plots = [_divide(group.polygons) for group in groups]
    covers = np.concatenate([np.zeros(0, object), *(plot.covers for plot in plots)])
    shared = np.concatenate([np.zeros(0, np.bool_), *(plot.are_shared for plot in plots)])
    fits = _fit(covers, shared, rule)
    ends = np.cumsum([len(plot.covers) for plot in plots])[:-1]
    parts = zip(np.split(fits.polygons, ends), np.split(fits.methods, ends), strict=True)
    for group, plot, (polygons, methods) in zip(groups, plots, parts, strict=True):
        yield _outline(group, replace(plot, covers=polygons), methods, rule)


def _fit(covers: NDArray[Any], shared: NDArray[np.bool_], rule: Rule) -> Regularized:
    """Regularize single buildings, and what several share with the prices of blocks."""
    fits = Regularized(covers.copy(), np.full(len(covers), SIMPLIFIED, object))
    # Scaled to its area about its centre, a block would lose its walls at both ends.
    for own, outline, prices in ((~shared, rule.outline, PRICES), (shared, "map", BLOCK_PRICES)):
        part = regularize_polygons(covers[own], outline=outline, min_edge=MIN_EDGE, prices=prices)
        fits.polygons[own], fits.methods[own] = part.polygons, part.methods
    return fits


@dataclass(frozen=True)
class _Plot:
    """The blocks of one group.

    Parameters
    ----------
    covers : array of shapely.Polygon
        Unions of the attached buildings.
    blocks : int array with one value a cover
        A block that meets itself in a point only has several covers.
    members : int array with one value a building
        Its block.
    """

    covers: NDArray[Any]
    blocks: NDArray[np.int64]
    members: NDArray[np.int64]

    @property
    def are_shared(self) -> NDArray[np.bool_]:
        """Say which covers are of several buildings."""
        return np.bincount(self.members, minlength=1)[self.blocks] > 1


def _divide(polygons: NDArray[Any]) -> _Plot:
    """Find out which buildings share walls."""
    if len(polygons) < 2:
        number = np.zeros(len(polygons), np.int64)
        return _Plot(polygons, number, number)
    arcs = Arcs.of(polygons)
    shared = arcs.others >= 0
    members = connect(len(polygons), arcs.owners[shared], arcs.others[shared])
    unions = [shapely.coverage_union_all(polygons[members == block]) for block in range(int(members.max()) + 1)]
    covers, blocks = shapely.get_parts(unions, return_index=True)
    return _Plot(covers, blocks, members)


def _outline(group: Rings, plot: _Plot, methods: NDArray[Any], rule: Rule) -> Rings:
    """Return a group with the outlines of its buildings, whose covers are regular already."""
    at_border = group.at_edge & _reaches(group.polygons, rule.extent)
    fixed = group.at_edge & ~at_border
    covers = plot.covers
    if at_border.any():
        covers = shapely.intersection(covers, shapely.box(*rule.extent))
    covers, of_cover = shapely.get_parts(covers, return_index=True)
    cover_blocks = plot.blocks[of_cover]
    merged = connect(int(plot.blocks.max(initial=-1)) + 1, *_overlapping(covers, cover_blocks))
    outlines, how = group.polygons.copy(), np.full(len(group.polygons), SIMPLIFIED, object)
    for block in range(int(merged.max(initial=-1)) + 1):
        houses = np.flatnonzero(merged[plot.members] == block)
        own = np.flatnonzero(merged[cover_blocks] == block)
        if len(houses) == 1 and len(own) == 1 and not group.at_edge[houses[0]]:
            outlines[houses], how[houses] = covers[own], methods[of_cover[own]]
            continue
        found, fitted = regularize_block(group.polygons[houses], covers[own], fixed=fixed[houses])
        if found is None:
            found = simplify_together(group.polygons[houses], TOLERANCE)
        if at_border[houses].any():
            found = _clipped(found, rule.extent)
        outlines[houses], how[houses[fitted]] = found, ATTACHED
    return replace(group, polygons=outlines, methods=how, blocks=merged[plot.members])


def _reaches(polygons: NDArray[Any], extent: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Say which polygons reach the border of the raster."""
    left, top, right, bottom = shapely.bounds(polygons).T
    reaches: NDArray[np.bool_] = (left <= extent[0]) | (top <= extent[1]) | (right >= extent[2]) | (bottom >= extent[3])
    return reaches


def _clipped(polygons: NDArray[Any], extent: tuple[float, float, float, float]) -> NDArray[Any]:
    """Return polygons without what lies outside of the raster."""
    box = shapely.box(*extent)
    beyond = np.flatnonzero(~shapely.covers(box, polygons))
    for i in beyond:
        polygons[i] = largest_part(shapely.intersection(polygons[i], box))
    return polygons


def _overlapping(covers: NDArray[Any], blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of blocks whose covers overlap."""
    if len(covers) < 2:
        return blocks[:0], blocks[:0]
    first, second = shapely.STRtree(covers).query(covers, predicate="intersects")
    pairs = blocks[first] < blocks[second]
    return blocks[first[pairs]], blocks[second[pairs]]


def settle(
    polygons: NDArray[Any], methods: NDArray[Any], blocks: NDArray[np.int64], *, within: Any = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Take overlaps, short edges and spikes out of the outlines of a whole layer, in pixels.

    Parameters
    ----------
    polygons : array of shapely.Polygon
    methods : array of str
    blocks : int array of the same length
        Within a block there are no overlaps.
    within : shapely geometry, optional
        What no outline may leave.

    Returns
    -------
    polygons : array of shapely.Polygon
        Empty where nothing is left of one.
    methods : array of str
        `SIMPLIFIED` where an outline that was made by itself is no longer as it was made.
    """
    settled = carve_faulty(give_way(polygons, blocks), MIN_EDGE, within=within)
    return settled, name_changed(methods, polygons, settled)


def name_changed(methods: NDArray[Any], before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """Return the methods of polygons of which some were changed after they were made."""
    same = np.fromiter((one is other for one, other in zip(before, after, strict=True)), np.bool_, len(before))
    return np.where(same | (methods == ATTACHED), methods, SIMPLIFIED).astype(object)


def give_way(polygons: NDArray[Any], blocks: NDArray[np.int64]) -> NDArray[Any]:
    """Cut overlaps between polygons of different blocks out of the smaller one, whose edges may get short by that.

    Parameters
    ----------
    polygons : array of shapely.Polygon
    blocks : int array of the same length
        Within a block there are no overlaps.

    Returns
    -------
    array of shapely.Polygon
        The largest part where a polygon falls apart; empty where nothing is left of it.
    """
    polygons = polygons.copy()
    first, second = shapely.STRtree(polygons).query(polygons)
    pairs = (first < second) & (blocks[first] != blocks[second])
    order = np.lexsort((second[pairs], first[pairs]))  # the tree's own depends on what else is in it
    first, second = first[pairs][order], second[pairs][order]
    overlap = shapely.area(shapely.intersection(polygons[first], polygons[second])) > 0
    areas = shapely.area(polygons)
    for i, j in zip(first[overlap], second[overlap], strict=True):
        small, large = (i, j) if areas[i] < areas[j] else (j, i)
        polygons[small] = largest_part(shapely.difference(polygons[small], polygons[large]))
    return polygons


def unfold(polygons: NDArray[Any]) -> NDArray[Any]:
    """Repair, in place, the few polygons that rounding to map coordinates folded; return the array."""
    for i in np.flatnonzero(~shapely.is_valid(polygons)):
        polygons[i] = largest_part(polygons[i])
    return polygons


def largest_part(geometry: Any) -> Any:
    """Return the largest polygon of a geometry, an empty polygon if it has none."""
    parts = clean_polygons(np.array([geometry]))
    return max(parts, key=shapely.area, default=shapely.Polygon())
