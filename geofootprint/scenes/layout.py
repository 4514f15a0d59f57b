"""Where things stand in a procedural scene: streets, blocks, fields, water, trees, cars, and the buildings between.

Coordinates are metres from the scene's upper left corner, x to the east and y to the south.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geofootprint.scenes.blocks import Block, Sketch, make_car
from geofootprint.scenes.buildings import Frame
from geofootprint.scenes.fillers import FILLERS, OPEN_GROUND
from geofootprint.scenes.styles import Style

__all__ = ["Layout", "Street", "make_layout"]

MARGIN = 45.0
"""Metres around the image that are laid out too: their shadows, trees and house corners reach into it."""


@dataclass(frozen=True)
class Street:
    """A line of streets' middle and the width of its carriageway in metres."""

    line: NDArray[np.float64]
    width: float
    surface: str
    seed: int


@dataclass
class Layout:
    """All that a scene is painted from.

    Attributes
    ----------
    style : Style
    size : (width, height) of the ground shown, in metres
    streets : list of Street
    sketch : Sketch
        Parcels, trees, buildings and props of the blocks.
    water : list of shapely.Polygon
    """

    style: Style
    size: tuple[float, float]
    streets: list[Street] = field(default_factory=list)
    sketch: Sketch = field(default_factory=Sketch)
    water: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _Warp:
    """Bends the plan's straight streets: a turn, then two long waves."""

    centre: tuple[float, float]
    angle: float
    amplitude: float
    waves: NDArray[np.float64]

    def __call__(self, u: Any, v: Any) -> tuple[Any, Any]:
        bent_u = u + self.amplitude * np.sin(v * self.waves[0] + self.waves[1])
        bent_v = v + self.amplitude * np.sin(u * self.waves[2] + self.waves[3])
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return bent_u * cos - bent_v * sin + self.centre[0], bent_u * sin + bent_v * cos + self.centre[1]

    def frame(self, u: float, v: float) -> Frame:
        """Return the frame at a point of the plan, turned as the plan's u axis is there."""
        x, y = self(u, v)
        ahead, behind = self(u + 1.0, v), self(u - 1.0, v)
        return Frame(float(x), float(y), math.atan2(ahead[1] - behind[1], ahead[0] - behind[0]))


def make_layout(
    size: tuple[float, float], style: Style, rng: np.random.Generator, *, density: float, trees: float
) -> Layout:
    """Lay out a scene.

    Parameters
    ----------
    size : (width, height)
        Of the ground shown, in metres.
    style : Style
    rng : numpy.random.Generator
    density : float
        Share of a full settlement that is built, from 0.
    trees : float
        Factor on the number of trees.

    Returns
    -------
    Layout
    """
    layout = Layout(style, size)
    waves = 2 * math.pi / rng.uniform(180, 420, 4)
    waves[[1, 3]] = rng.uniform(0, 2 * math.pi, 2)
    warp = _Warp((size[0] / 2, size[1] / 2), rng.uniform(-math.pi, math.pi), style.bend * rng.uniform(0.3, 1), waves)
    reach = math.hypot(*size) / 2 + MARGIN
    for block in _split(layout, warp, (-reach, -reach, reach, reach), 0, rng):
        _fill(layout, warp, block, rng, density)
    if rng.random() < style.water:
        layout.water.append(_make_river(size, rng))
    _settle(layout)
    _clear(layout)
    _plant(layout, rng, trees)
    _drive(layout, rng)
    return layout


def _split(
    layout: Layout, warp: _Warp, rect: tuple[float, float, float, float], depth: int, rng: np.random.Generator
) -> list[tuple[float, float, float, float]]:
    """Cut a rectangle of the plan into blocks with streets between them; the streets go to the layout."""
    u0, v0, u1, v1 = rect
    width, height = u1 - u0, v1 - v0
    if not _is_near(layout.size, warp, rect):
        return []
    style = layout.style
    long, short = max(width, height), min(width, height)
    if long < style.block * rng.uniform(1.0, 1.9) or (short < 0.8 * style.block and long < 2.6 * style.block):
        return [rect]
    share = rng.uniform(0.35, 0.65)
    gap = style.main_street if depth < 2 or rng.random() < 0.1 else style.side_street
    street = gap * rng.uniform(0.85, 1.15)
    if width >= height:
        cut = u0 + share * width
        ends = (cut, v0), (cut, v1)
        parts = [(u0, v0, cut - street / 2, v1), (cut + street / 2, v0, u1, v1)]
    else:
        cut = v0 + share * height
        ends = (u0, cut), (u1, cut)
        parts = [(u0, v0, u1, cut - street / 2), (u0, cut + street / 2, u1, v1)]
    _add_street(layout, warp, ends, street, main=gap == style.main_street, rng=rng)
    return [block for part in parts for block in _split(layout, warp, part, depth + 1, rng)]


def _is_near(size: tuple[float, float], warp: _Warp, rect: tuple[float, float, float, float]) -> bool:
    us, vs = np.meshgrid(np.linspace(rect[0], rect[2], 9), np.linspace(rect[1], rect[3], 9))
    xs, ys = warp(us, vs)
    hull = shapely.box(xs.min(), ys.min(), xs.max(), ys.max())
    return bool(hull.intersects(shapely.box(-MARGIN, -MARGIN, size[0] + MARGIN, size[1] + MARGIN)))


def _add_street(
    layout: Layout, warp: _Warp, ends: Any, width: float, *, main: bool, rng: np.random.Generator
) -> None:
    (u0, v0), (u1, v1) = ends
    length = math.hypot(u1 - u0, v1 - v0)
    # It ends within the street that it meets, not at its edge.
    over = layout.style.side_street / 2 / length
    steps = np.linspace(-over, 1 + over, max(2, int(length / 6)))
    line = np.column_stack(warp(u0 + (u1 - u0) * steps, v0 + (v1 - v0) * steps))
    style = layout.style
    surface = style.main_surface if main else style.side_surface[rng.integers(len(style.side_surface))]
    layout.streets.append(Street(line, width * style.carriageway, surface, int(rng.integers(2**31))))


def _fill(
    layout: Layout, warp: _Warp, rect: tuple[float, float, float, float], rng: np.random.Generator, density: float
) -> None:
    """Choose what a block is and let it draw itself."""
    u0, v0, u1, v1 = rect
    width, height = (u1 - u0) * 0.96, (v1 - v0) * 0.96
    frame = warp.frame((u0 + u1) / 2, (v0 + v1) / 2)
    if height > width:
        width, height, frame = height, width, frame.at(0, 0, math.pi / 2)
    style = layout.style
    outline = _bent_outline(warp, rect)
    block = Block(frame, width, height, outline, style, rng)
    kinds = dict(style.blocks)
    if shapely.contains_xy(shapely.Polygon(outline), layout.size[0] / 2, layout.size[1] / 2):
        # Somebody lives in the middle of every scene.
        kinds = {kind: weight for kind, weight in kinds.items() if kind not in OPEN_GROUND}
    kind = "meadow" if rng.random() >= density else block.choose(kinds)
    FILLERS[kind](layout.sketch, block)


def _bent_outline(warp: _Warp, rect: tuple[float, float, float, float]) -> NDArray[np.float64]:
    u0, v0, u1, v1 = rect
    t = np.linspace(0, 1, 9)[:-1]
    us = np.concatenate([u0 + (u1 - u0) * t, np.full(8, u1), u1 - (u1 - u0) * t, np.full(8, u0)])
    vs = np.concatenate([np.full(8, v0), v0 + (v1 - v0) * t, np.full(8, v1), v1 - (v1 - v0) * t])
    return np.column_stack(warp(us, vs))


def _make_river(size: tuple[float, float], rng: np.random.Generator) -> Any:
    """Return the water of a river that crosses the scene, or of a pond."""
    width, height = size
    reach = math.hypot(width, height)
    if rng.random() < 0.4:
        radius = rng.uniform(0.05, 0.11) * min(width, height)
        turns = np.linspace(0, 2 * math.pi, 60, endpoint=False)
        waves = 1 + 0.2 * np.sin(2 * turns + rng.uniform(0, 6)) + 0.1 * np.sin(5 * turns + rng.uniform(0, 6))
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height
        return shapely.Polygon(np.column_stack([x + radius * waves * np.cos(turns), y + radius * waves * np.sin(turns)]))
    along = np.linspace(-reach, reach, 120)
    period = rng.uniform(90, 260)
    across = 0.06 * period * np.sin(2 * math.pi * along / period) + 0.03 * period * np.sin(5.1 * along / period)
    middle = Frame(rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height, rng.uniform(0, math.pi))
    return shapely.LineString(middle.place(np.column_stack([along, across]))).buffer(rng.uniform(2.5, 9))


def _settle(layout: Layout) -> None:
    """Take away buildings that stand in a street, in water or in another building, and those out of sight."""
    buildings = layout.sketch.buildings
    if not buildings:
        return
    shapes = np.array([building.footprint for building in buildings], dtype=object)
    streets = [shapely.LineString(street.line).buffer(street.width / 2) for street in layout.streets]
    keep = np.ones(len(buildings), dtype=bool)
    taken = shapely.STRtree([*streets, *layout.water])
    keep[np.unique(taken.query(shapes, predicate="intersects")[0])] = False
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = first < second
    first, second = first[pairs], second[pairs]
    crossing = shapely.area(shapely.intersection(shapes[first], shapes[second])) > 1e-6
    for one, other in sorted(zip(first[crossing].tolist(), second[crossing].tolist(), strict=True)):
        if keep[one]:
            keep[other] = False
    layout.sketch.buildings = [building for building, kept in zip(buildings, keep, strict=True) if kept]


def _clear(layout: Layout) -> None:
    """Take away walls and parked cars that are in the way of a street, water or a building."""
    props = layout.sketch.props
    if not props:
        return
    streets = [shapely.LineString(street.line).buffer(street.width / 2) for street in layout.streets]
    taken = shapely.STRtree([*streets, *layout.water, *(building.footprint for building in layout.sketch.buildings)])
    shapes = [shapely.Polygon(prop.corners) for prop in props]
    away = set(taken.query(shapes, predicate="intersects")[0].tolist())
    layout.sketch.props = [prop for number, prop in enumerate(props) if number not in away]


def _plant(layout: Layout, rng: np.random.Generator, share: float) -> None:
    """Keep the trees whose trunks have ground to stand on, and as many as wanted."""
    plants = layout.sketch.trees
    if not plants:
        return
    trunks = shapely.points([(tree.x, tree.y) for tree in plants])
    streets = [shapely.LineString(s.line).buffer(s.width / 2 + 0.3) for s in layout.streets]
    ground = [*streets, *layout.water, *(building.footprint for building in layout.sketch.buildings)]
    keep = rng.random(len(plants)) < share
    keep[np.unique(shapely.STRtree(ground).query(trunks, predicate="intersects")[0])] = False
    layout.sketch.trees = [tree for tree, kept in zip(plants, keep, strict=True) if kept]


def _drive(layout: Layout, rng: np.random.Generator) -> None:
    """Put cars on the streets: some drive, some are parked at the kerb."""
    for street in layout.streets:
        if street.width < 3.5:
            continue
        step = np.diff(street.line, axis=0)
        length = np.hypot(step[:, 0], step[:, 1])
        for _ in range(rng.poisson(length.sum() * layout.style.traffic / 100)):
            at = int(rng.choice(len(step), p=length / length.sum()))
            x, y = street.line[at] + step[at] * rng.random()
            side = rng.choice([-1, 1]) * street.width * (0.22 if street.width > 5 else 0.1)
            frame = Frame(float(x), float(y), math.atan2(step[at, 1], step[at, 0])).at(0, float(side))
            layout.sketch.props.extend(make_car(frame, rng))
