"""Taking flat corners, short edges and spikes out of polygons that share walls, without taking the walls apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.guard import MIN_ANGLE
from geofootprint.lines import neighbours

__all__ = ["tidy"]

FLAT = 0.05
"""Units; the square is the area of a triangle that is too flat to be a corner."""

EXACT = 1e-3
"""The same where corners have to stay."""

CHANGE = 0.01
"""Share of its area that a polygon may win or lose at once."""

FAR = 8.0
"""Times the shortest edge that the tip of a spike may be moved where it is a corner of other polygons too."""

STEEP = 0.05
"""Sine of the least angle of a line with another that both are cut with each other."""

ASIDE = 3.0
"""Times its length that the point which stands for a short edge may be from its ends."""

ROUNDS = 8
"""Times that what became short or sharp by the last change is looked for."""


def tidy(polygons: NDArray[Any], min_edge: float, *, fixed: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Take out flat corners, edges shorter than `min_edge` and corners sharper than `MIN_ANGLE`.

    Both ends of such an edge become one point in all polygons that have them, so that no area changes where no other wall
    meets there (Kronenfeld et al. 2020), and so does the tip of a spike with its nearer neighbour.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        A valid coverage: no overlaps, and where two touch both have the same vertices.
    min_edge : float
        In units of the coordinates.
    fixed : bool array with one value a polygon, optional
        True for polygons whose corners all stay.

    Returns
    -------
    array of shapely.Polygon
        A valid coverage too. A short edge or a spike stays only where taking it out would make polygons overlap or
        vanish.
    """
    fixed = np.zeros(len(polygons), np.bool_) if fixed is None else fixed
    flat = EXACT if fixed.any() else FLAT
    polygons = shapely.coverage_simplify(polygons, flat)
    kept = {complex(*place) for place in shapely.get_coordinates(polygons[fixed])}
    refused: set[tuple[complex, complex]] = set()
    for _ in range(ROUNDS):
        corners = _Corners.of(polygons)
        moves = corners.moves(min_edge, kept, refused)
        if not moves:
            break
        moved = corners.move(moves)
        bad = _in_the_way(moved) | _changed(moved, polygons, min_edge**2 / 4)
        if bad.any():
            here = {complex(*place) for place in shapely.get_coordinates(polygons[bad])}
            suspects = [pair for pair in moves.items() if not here.isdisjoint(pair)]
            refused |= set(suspects[len(suspects) // 2 :])  # the longer half, until it is clear which one does the harm
            moved = corners.move(dict(moves.items() - set(suspects)))
            bad = _in_the_way(moved) | _changed(moved, polygons, min_edge**2 / 4)
        if not bad.any():
            polygons = shapely.coverage_simplify(moved, flat)
    return polygons


def _in_the_way(polygons: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which polygons are invalid or overlap another one."""
    bad = ~shapely.is_valid(polygons) | shapely.is_empty(polygons)
    if not bad.any() and len(polygons) > 1:
        bad = ~shapely.is_empty(shapely.coverage_invalid_edges(polygons))
    return cast("NDArray[np.bool_]", bad)


def _changed(polygons: NDArray[Any], before: NDArray[Any], least: float) -> NDArray[np.bool_]:
    """Say which polygons are no longer of about the area that they had."""
    area = shapely.area(before)
    return cast("NDArray[np.bool_]", np.abs(shapely.area(polygons) - area) > np.maximum(CHANGE * area, least))


@dataclass(frozen=True)
class _Corners:
    """The vertices of all rings as complex numbers, with those before and after.

    Parameters
    ----------
    place, before, after : complex arrays
    ring : int array
        Ring of each vertex.
    owner : int array
        Polygon of each ring.
    """

    place: NDArray[np.complex128]
    before: NDArray[np.complex128]
    after: NDArray[np.complex128]
    ring: NDArray[np.int64]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, polygons: NDArray[Any]) -> _Corners:
        rings, owner = shapely.get_rings(polygons, return_index=True)
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        place = xy @ np.array([1, 1j])
        inner = np.append(ring[1:] == ring[:-1], False)  # without the repeated first vertex
        first = np.append(True, ring[1:] != ring[:-1])
        last = np.flatnonzero(~inner)
        after = place[np.minimum(np.arange(len(place)) + 1, len(place) - 1)]
        before = place[np.arange(len(place)) - 1]
        before[first] = place[last - 1]
        return cls(place[inner], before[inner], after[inner], ring[inner], owner)

    def moves(
        self, min_edge: float, kept: set[complex], refused: set[tuple[complex, complex]]
    ) -> dict[complex, complex]:
        """Return which vertices go where: each at most once, and none that others go to.

        Those that are kept do not go, and nothing goes where it was refused before; it may go the other way.
        """
        ahead, back = self.after - self.place, self.before - self.place
        angle = np.abs(np.angle(ahead * back.conj()))
        uses = self._uses()
        alone = np.array([uses[place] == 1 for place in self.place.tolist()], np.bool_)
        close = np.minimum(np.abs(ahead), np.abs(back)) < FAR * min_edge
        sharp = np.flatnonzero((angle < math.radians(MIN_ANGLE)) & (alone | close))
        short = np.flatnonzero(np.abs(ahead) < min_edge)
        nearer = np.where(np.abs(ahead) < np.abs(back), self.after, self.before)[sharp]
        one = np.concatenate([self.place[sharp], self.place[short]])
        other = np.concatenate([nearer, self.after[short]])
        middles = self._middles(short, uses)
        found: dict[complex, complex] = {}
        taken: set[complex] = set(kept)
        for index in np.lexsort((one.imag, one.real, other.imag, other.real, np.abs(other - one))):
            pair = complex(one[index]), complex(other[index])
            if not taken.isdisjoint(pair):
                continue
            if index >= len(sharp):
                # Where walls meet there are more edges to turn: the other vertex stays, which is a plain corner.
                pair = min(pair, pair[::-1], key=lambda ends: (-uses[ends[0]], ends[0].real, ends[0].imag))
                point = middles.get(int(short[index - len(sharp)]))
                if point is not None and refused.isdisjoint((end, point) for end in pair):
                    found |= dict.fromkeys(pair, point)
                    taken |= {*pair, point}
                    continue
            if pair in refused:
                pair = pair[::-1]
            if pair not in refused:
                found[pair[0]] = pair[1]
                taken |= set(pair)
        return found

    def _middles(self, edges: NDArray[np.int64], uses: Mapping[complex, int]) -> dict[int, complex]:
        """Return the points that short edges may shrink to without a change of area: of those that end in plain corners."""
        found = {}
        _, following = neighbours(self.ring)
        twins = Counter(frozenset(ends) for ends in zip(self.place[edges].tolist(), self.after[edges].tolist(), strict=True))
        for edge in edges.tolist():
            one, other = complex(self.place[edge]), complex(self.after[edge])
            if uses[one] == uses[other] == twins[frozenset((one, other))]:
                point = _shrunk(complex(self.before[edge]), one, other, complex(self.after[following[edge]]))
                if point is not None:
                    found[edge] = point
        return found

    def _uses(self) -> dict[complex, int]:
        places, counts = np.unique(self.place, return_counts=True)
        return dict(zip(places.tolist(), counts.tolist(), strict=True))

    def move(self, moves: dict[complex, complex]) -> NDArray[Any]:
        """Return the polygons with vertices moved; a ring without area is left out."""
        place = np.array([moves.get(point, point) for point in self.place.tolist()])
        polygons = np.full(int(self.owner.max(initial=-1)) + 1, shapely.Polygon(), object)
        shells: dict[int, list[Any]] = {}
        collapsed: set[int] = set()  # their holes would become buildings
        for points, owner in zip(np.split(place, np.flatnonzero(np.diff(self.ring)) + 1), self.owner, strict=True):
            ring = points[points != np.roll(points, 1)]
            is_shell = owner not in shells
            shells.setdefault(int(owner), [])
            if is_shell and len(ring) < 3:
                collapsed.add(int(owner))
            if len(ring) >= 3 and owner not in collapsed:
                shells[int(owner)].append(np.stack([ring.real, ring.imag], axis=1))
        for owner, rings in shells.items():
            if rings:
                polygons[owner] = shapely.Polygon(rings[0], rings[1:])
        return polygons


def _shrunk(a: complex, b: complex, c: complex, d: complex) -> complex | None:
    """Return the point that may stand for b and c between a and d so that the area stays; None where a and d are one.

    It lies on one of the lines through a, b and through c, d (Kronenfeld et al. 2020, segment collapse), or in the middle
    between b and c where that would be far off.
    """
    base = d - a
    length = abs(base)
    if length == 0:
        return None
    turn = base.conjugate() / length  # base becomes the real axis
    one, other = (b - a) * turn, (c - a) * turn
    height = other.imag - (one.real * other.imag - one.imag * other.real) / length  # twice the area, over the base
    on_first = abs(one.imag) > abs(other.imag) if one.imag * other.imag > 0 else height * one.imag > 0
    start, step = (0j, one) if on_first else (complex(length), other - length)
    middle = complex((one + other).real / 2, height)
    point = start + step * (height / step.imag) if abs(step.imag) > STEEP * abs(step) else middle
    if max(abs(point - one), abs(point - other)) > ASIDE * abs(other - one):
        point = middle
    return a + point / turn
