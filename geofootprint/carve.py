"""The last resort against short edges and spikes: cut them off one by one, and never into a neighbour.

Fitting and tidying leave few of them, where several buildings meet, where one had to give way, or where a building is too
thin for its walls. Here nothing has to stay shared any more, so that each polygon can be mended by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.guard import ALIKE, MIN_ANGLE, count_faults, find_faults, largest_polygon, overlap, polygons_in
from geofootprint.lines import Floats

__all__ = ["carve", "carve_faulty"]

ROOM = 4.0
"""Times the shortest edge within which neighbours are looked for."""

SPARE = 1 + 1e-6
"""Times the shortest edge that a new edge has, so that rounding does not make it too short."""

SMALL = 4.0
"""Times the square of the shortest edge under which a hole may be filled."""

LARGE = 500
"""Vertices from which only the part of a neighbour is looked at that is near."""

MOST = 100
"""Faults of a polygon that are mended; one with more is no building but noise, and would take long."""

ROUNDS = 2
"""Times that polygons are mended: the change to one may make room for another."""

DETOURS = 8
"""Changes that may leave as many faults as there were."""

SLIGHT = 1e-9
"""Times the shortest edge by which buffers round the corners that they leave."""

NOTHING = 1e-9
"""Share of a squared shortest edge that an overlap may have: what rounding makes of none."""


@dataclass(frozen=True)
class _Land:
    """Where a polygon may grow.

    Parameters
    ----------
    others : array of shapely.Polygon
        Its neighbours.
    surroundings : shapely.Polygon
        A box beyond which nothing is known of them.
    within : shapely geometry, optional
        What it may not leave.
    """

    others: NDArray[Any]
    surroundings: Any
    within: Any = None

    @classmethod
    def around(cls, polygon: Any, others: NDArray[Any], within: Any, margin: float) -> _Land:
        """Look at what is near a polygon."""
        box = shapely.bounds(polygon) + margin * np.array([-1, -1, 1, 1])
        others = others[~shapely.is_empty(others)]
        large = shapely.get_num_coordinates(others) > LARGE
        if large.any():  # each look at it would take as long as the whole of it
            near = polygons_in(shapely.intersection(others[large], shapely.box(*box)))
            others = np.concatenate([others[~large], near])
        return cls(others, shapely.box(*box), within)

    def is_free(self, added: Any, min_edge: float) -> bool:
        """Say whether something lies in no neighbour, and not outside."""
        added = shapely.multipolygons(polygons_in(added))
        if shapely.is_empty(added):
            return True
        if not shapely.covers(self.surroundings, added):
            return False
        beyond = 0.0 if self.within is None else shapely.area(shapely.difference(added, self.within))
        taken = shapely.area(shapely.intersection(added, self.others))
        return bool(max(beyond, taken.max(initial=0)) <= NOTHING * min_edge**2)


def carve_faulty(polygons: NDArray[Any], min_edge: float, *, within: Any = None) -> NDArray[Any]:
    """Mend those of polygons without overlaps that have short edges or spikes.

    Parameters
    ----------
    polygons : array of shapely.Polygon
    min_edge : float
        In units of the coordinates.
    within : shapely geometry, optional
        What no polygon may leave.

    Returns
    -------
    array of shapely.Polygon
        Without overlaps; the same objects where there was nothing to mend.
    """
    faulty = np.flatnonzero(find_faults(polygons, min_edge) & ~shapely.is_empty(polygons))
    if not len(faulty):
        return polygons
    polygons = polygons.copy()
    margin = ROOM * min_edge * np.array([-1, -1, 1, 1])
    for _ in range(ROUNDS):
        tree = shapely.STRtree(polygons)
        for i in faulty:
            near = np.sort(tree.query(shapely.box(*(shapely.bounds(polygons[i]) + margin))))
            polygons[i] = carve(polygons[i], polygons[near[near != i]], min_edge, within=within)
        faulty = faulty[find_faults(polygons[faulty], min_edge)]
    return polygons


def carve(polygon: Any, others: NDArray[Any], min_edge: float, *, within: Any = None) -> Any:
    """Change a polygon until no edge is short and no corner sharp.

    The change to its worst fault that leaves fewest faults and moves least is made again and again: a vertex is left out,
    slid along one of its edges, put where the edges beside a short one meet, or a spike is cut off.

    Parameters
    ----------
    polygon : shapely.Polygon
        Valid.
    others : array of shapely.Polygon
        Neighbours, which it must not overlap afterwards more than before.
    min_edge : float
    within : shapely geometry, optional
        What it may not leave.

    Returns
    -------
    shapely.Polygon
        The polygon itself if nothing helps that is still like it.
    """
    if count_faults(polygon, min_edge) > MOST:
        return polygon
    land = _Land.around(polygon, others, within, ROOM * min_edge)
    for start in _starts(shapely.orient_polygons(polygon), min_edge):
        if land.is_free(shapely.difference(start, polygon), min_edge):
            mended = _mended(start, land, min_edge)
            if mended is not None and overlap(mended, polygon) > ALIKE:
                return mended
    return polygon


def _starts(polygon: Any, min_edge: float) -> Iterator[Any]:
    """Yield what may be mended: the polygon, and where that was in vain the same without its thinnest parts."""
    yield polygon
    yield _opened(polygon, min_edge)


def _mended(polygon: Any, land: _Land, min_edge: float) -> Any:
    """Return a polygon without faults, None if that takes too many changes."""
    for _ in range(count_faults(polygon, min_edge) + DETOURS):
        if polygon is None or not count_faults(polygon, min_edge):
            return polygon
        polygon = _best_change(polygon, land, min_edge)
    return None


def _opened(polygon: Any, min_edge: float) -> Any:
    """Return a polygon without its parts that are thinner than half the shortest edge, which may hide each other's ends."""
    inner = shapely.buffer(polygon, -min_edge / 4, join_style="mitre")
    opened = shapely.make_valid(shapely.buffer(inner, min_edge / 4, join_style="mitre"))
    return largest_polygon(shapely.simplify(opened, SLIGHT * min_edge))


def _best_change(polygon: Any, land: _Land, min_edge: float) -> Any:
    """Return the polygon after the best change to its worst fault that can be mended; None if there is none."""
    rings = [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(polygon)]
    now = count_faults(polygon, min_edge)
    detour = None
    for number, fault in _faults(rings, min_edge):
        choices = []
        versions = _changes(rings[number], fault, min_edge)
        if number and shapely.area(shapely.Polygon(rings[number])) < SMALL * min_edge**2:
            versions = chain([rings[number][:0]], versions)
        for changed in versions:
            made = _put_together([*rings[:number], changed, *rings[number + 1 :]])
            left = now + 1 if made is None else count_faults(made, min_edge)
            if left <= now:
                moved = _between(rings[number], changed)
                choices.append((left, shapely.area(moved), moved, made))
        for left, _, moved, made in sorted(choices, key=lambda choice: choice[:2]):
            if (left < now or detour is None) and land.is_free(shapely.difference(moved, polygon), min_edge):
                if left < now:
                    return made
                detour = made
    return detour


def _between(before: Floats, after: Floats) -> Any:
    """Return what lies between two versions of a ring, whose vertices differ in one stretch."""
    if len(after) < 3:
        return shapely.Polygon(before)
    if (before[0] != after[0]).any() and (before[-1] != after[-1]).any():  # across the seam: let both begin opposite to it
        opposite = len(before) // 2
        there = np.flatnonzero((after == before[opposite]).all(axis=1))
        if len(there) != 1:
            return shapely.symmetric_difference(*shapely.make_valid([shapely.Polygon(before), shapely.Polygon(after)]))
        before, after = np.roll(before, -opposite, axis=0), np.roll(after, -int(there[0]), axis=0)
    most = min(len(before), len(after))
    ahead = _count_same(before[:most], after[:most])
    behind = min(most - ahead, _count_same(before[::-1][:most], after[::-1][:most]))
    old, new = (xy.take(np.arange(ahead - 1, len(xy) - behind + 1), axis=0, mode="wrap") for xy in (before, after))
    return shapely.multipolygons(polygons_in(shapely.make_valid(shapely.Polygon(np.concatenate([old, new[::-1]])))))


def _count_same(one: Floats, other: Floats) -> int:
    """Return how many vertices at the beginning are the same."""
    same = (one == other).all(axis=1)
    return len(same) if same.all() else int(same.argmin())


def _put_together(rings: list[Floats]) -> Any:
    """Return a polygon of rings, without holes that vanished; None if it is none."""
    if len(rings[0]) < 3:
        return None
    made = shapely.Polygon(rings[0], [hole for hole in rings[1:] if len(hole) >= 3])
    return made if made.is_valid and made.area > 0 else None


def _faults(rings: list[Floats], min_edge: float) -> Iterator[tuple[int, tuple[str, int]]]:
    """Yield the ring, kind and vertex of each fault: spikes first, then edges from the shortest on."""
    found = []
    for number, xy in enumerate(rings):
        place = xy @ np.array([1, 1j])
        ahead, back = np.roll(place, -1) - place, np.roll(place, 1) - place
        angle, length = np.abs(np.angle(ahead * back.conj())), np.abs(ahead)
        found += [(-1.0, number, "spike", int(i)) for i in np.flatnonzero(angle < math.radians(MIN_ANGLE) * (1 + 1e-9))]
        found += [(float(length[i]), number, "edge", int(i)) for i in np.flatnonzero(length < min_edge)]
    for _, number, kind, i in sorted(found):
        yield number, (kind, i)


def _changes(xy: Floats, fault: tuple[str, int], min_edge: float) -> Iterator[Floats]:
    """Yield versions of a ring without one of its short edges or spikes."""
    count = len(xy)
    place = xy @ np.array([1, 1j])
    kind, i = fault
    j = (i + 1) % count
    yield np.delete(xy, i, axis=0)  # of a hole with three vertices nothing is left
    if kind == "spike":
        yield from _without_spike(place, i, place[j] - place[i], place[i - 1] - place[i], min_edge)
    else:
        yield np.delete(xy, j, axis=0)
        yield from _without_short_edge(place, i, j, min_edge)


def _without_spike(
    place: NDArray[np.complex128], i: int, ahead: complex, back: complex, min_edge: float
) -> Iterator[Floats]:
    """Cut a spike off where it is wide enough; or widen it, to one side or the other."""
    if not abs(ahead) or not abs(back):
        return  # a vertex that is there twice
    sine = abs(math.sin(np.angle(ahead * np.conj(back)) / 2))
    reach = SPARE * min_edge / (2 * max(sine, 1e-9))
    for share in (1.0, 1.5):
        if share * reach < min(abs(ahead), abs(back)):
            ends = [place[i] + share * reach * back / abs(back), place[i] + share * reach * ahead / abs(ahead)]
            yield _ring([*place[:i], *ends, *place[i + 1 :]])
    # As seen from the tip, across the spike.
    across = 1j * (ahead / abs(ahead) + back / abs(back))
    across *= SPARE * min_edge / max(abs(across), 1e-12)
    for step in (across, -across):
        yield _ring([*place[:i], place[i], place[i] + step, *place[i + 1 :]])
        yield _ring([*place[:i], place[i] + step, place[i], *place[i + 1 :]])


def _without_short_edge(place: NDArray[np.complex128], i: int, j: int, min_edge: float) -> Iterator[Floats]:
    """Put one vertex in the place of a short edge, or slide one of its ends along its other edge until it is long."""
    before, after = place[i - 1], place[(j + 1) % len(place)]
    one, other = place[i], place[j]
    middle = _replaced(place, i, j, (one + other) / 2)
    yield middle
    mitre = _meeting(before, one, other, after)
    if mitre is not None and abs(mitre - one) < 4 * min_edge:
        yield _replaced(place, i, j, mitre)
    for end, fixed, away, number in ((one, other, before, i), (other, one, after, j)):
        along = end - away
        if not abs(along):
            continue
        along /= abs(along)
        # |end + t along - fixed| = min_edge
        gap = end - fixed
        half = (along.conjugate() * gap).real
        root = math.sqrt(max(half**2 - abs(gap) ** 2 + (SPARE * min_edge) ** 2, 0))
        for t in (-half - root, -half + root):
            moved = place.copy()
            moved[number] = end + t * along
            if (moved[number] - away) * along.conjugate() != 0 and ((moved[number] - away) / along).real > 0:
                yield _ring(moved)


def _replaced(place: NDArray[np.complex128], i: int, j: int, point: complex) -> Floats:
    moved = place.copy()
    moved[i] = point
    return _ring(np.delete(moved, j))


def _meeting(a: complex, b: complex, c: complex, d: complex) -> complex | None:
    """Return where the lines through a, b and through c, d cross; None if they are nearly parallel."""
    one, other = b - a, d - c
    cross = (one.conjugate() * other).imag
    if abs(cross) <= math.sin(math.radians(MIN_ANGLE)) * abs(one) * abs(other):
        return None
    return a + one * (((c - a).conjugate() * other).imag / cross)


def _ring(place: Any) -> Floats:
    points = np.asarray(place)
    return np.stack([points.real, points.imag], axis=1)
