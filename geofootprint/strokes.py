"""The walls between attached buildings as strokes: on straight through the points where other walls end."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.arcs import Arcs
from geofootprint.unions import connect

__all__ = ["Kind", "Stroke", "find_strokes"]

Points = NDArray[np.float64]
End = tuple[int, int]
"""Number of a wall, and 0 for its first point or 1 for its last."""

class Kind(Enum):
    """What is at an end of a stroke."""

    OUTLINE = "the outline of the block"
    PASSING = "a stroke that goes on, or its own beginning"
    MEETING = "others that end there too"


SHORT = 4.0
"""Pixels up to which a wall between two meeting points is none: the points are one."""

STRAIGHT = math.cos(math.radians(35))
"""Of the angle by which a wall may turn at a point where others end."""

CHORD = 8
"""Points from the end of a wall that tell its direction there."""


@dataclass(frozen=True)
class Stroke:
    """One or several walls that follow each other.

    Parameters
    ----------
    points : float array of shape (n, 2)
        Of the raw walls, n >= 2; the first is the last too if it is closed.
    nodes : (int, int)
        Numbers of the points where it begins and ends.
    kinds : (Kind, Kind)
        What is there.
    closed : bool
        True if it goes around a building.
    """

    points: Points
    nodes: tuple[int, int]
    kinds: tuple[Kind, Kind]
    closed: bool


def find_strokes(polygons: NDArray[Any]) -> list[Stroke]:
    """Return the walls that polygons share.

    Parameters
    ----------
    polygons : array of shapely.Polygon
        Without overlaps; a wall between two has the same vertices in both.

    Returns
    -------
    list of Stroke
        Every shared stretch is in exactly one, but for those up to `SHORT` between points where walls meet.
    """
    arcs = Arcs.of(polygons)
    shared = (arcs.others >= 0) & (arcs.owners < arcs.others)
    walls = [shapely.get_coordinates(line) for line in arcs.lines[shared]]
    outer = {place for line in arcs.lines[arcs.others < 0] for place in _places(shapely.get_coordinates(line))}
    nodes, on_outline = _number_nodes(walls, outer)
    ends: dict[int, list[End]] = defaultdict(list)
    for number, (first, last) in nodes.items():
        ends[first].append((number, 0))
        ends[last].append((number, 1))
    links: dict[End, End] = {}
    kinds = dict.fromkeys(on_outline, Kind.OUTLINE)
    for node, here in ends.items():
        if node not in on_outline:
            pairs = _straight_on(walls, here)
            links |= pairs
            kinds[node] = Kind.PASSING if pairs else Kind.MEETING
    whole = [Stroke(wall, (-1, -1), (Kind.PASSING, Kind.PASSING), closed=True) for wall in walls if (wall[0] == wall[-1]).all()]
    return [*_follow(walls, nodes, links, kinds), *whole]


def _places(points: Points) -> Iterator[tuple[float, float]]:
    for x, y in (points[0], points[-1]):
        yield float(x), float(y)


def _number_nodes(
    walls: list[Points], outer: set[tuple[float, float]]
) -> tuple[dict[int, tuple[int, int]], set[int]]:
    """Return the nodes at the ends of each wall that counts, and which nodes lie on the outline of the block.

    Nodes with a short wall between them are one, and the wall is left out, unless it is all that parts two
    buildings.
    """
    numbers: dict[tuple[float, float], int] = {}
    ends = [tuple(numbers.setdefault(place, len(numbers)) for place in _places(wall)) for wall in walls]
    on_outline = {number for place, number in numbers.items() if place in outer}
    kept: list[int] = []
    short: list[int] = []
    for number, (wall, (first, last)) in enumerate(zip(walls, ends, strict=True)):
        if first == last:
            continue
        parts = math.dist(wall[0], wall[-1]) > SHORT or (first in on_outline and last in on_outline)
        (kept if parts else short).append(number)
    joined = np.array([ends[number] for number in short], np.int64).reshape(-1, 2)
    nodes = connect(len(numbers), joined[:, 0], joined[:, 1]).tolist()
    return {number: (nodes[ends[number][0]], nodes[ends[number][1]]) for number in kept}, {nodes[node] for node in on_outline}


def _straight_on(walls: list[Points], ends: list[End]) -> dict[End, End]:
    """Pair the ends at one node that go on in each other's direction, the straightest first."""
    directions = {end: _direction(walls[end[0]], end[1]) for end in ends}
    pairs = sorted(
        (float(directions[one] @ directions[other]), one, other)
        for place, one in enumerate(ends)
        for other in ends[place + 1 :]
    )
    links: dict[End, End] = {}
    for cosine, one, other in pairs:
        if cosine < -STRAIGHT and one not in links and other not in links:
            links[one], links[other] = other, one
    return links


def _direction(wall: Points, end: int) -> Points:
    """Return the unit vector from an end of a wall into it."""
    points = wall[::-1] if end else wall
    chord = points[min(len(points) - 1, CHORD)] - points[0]
    length = math.hypot(*chord)
    return cast("Points", chord / length) if length > 0 else chord


def _follow(
    walls: list[Points], nodes: Mapping[int, tuple[int, int]], links: Mapping[End, End], kinds: Mapping[int, Kind]
) -> Iterator[Stroke]:
    """Yield chains of linked walls: first those with two ends, then rings of several walls."""
    used: set[int] = set()
    begins = [(number, end) for number in nodes for end in (0, 1) if (number, end) not in links]
    for number, end in [*begins, *((number, 0) for number in nodes)]:
        if number in used:
            continue
        chain, last = _chain(walls, links, (number, end), used)
        closed = (number, end) in links
        first, final = nodes[number][end], nodes[last[0]][last[1]]
        points = np.concatenate([chain, chain[:1]]) if closed else chain
        yield Stroke(points, (first, final), (kinds[first], kinds[final]), closed)


def _chain(walls: list[Points], links: Mapping[End, End], begin: End, used: set[int]) -> tuple[Points, End]:
    """Return the points from one end on, and the end where they stop."""
    parts = []
    number, end = begin
    while True:
        used.add(number)
        parts.append(walls[number][::-1] if end else walls[number])
        beyond = links.get((number, 1 - end))
        if beyond is None or beyond[0] in used:
            return np.concatenate(parts), (number, 1 - end)
        number, end = beyond
