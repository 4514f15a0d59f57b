"""Ground between the streets of procedural scenes, and what may be put on it: parcels, trees, hedges, cars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.scenes.buildings import Box, Building, Frame, Prop
from geofootprint.scenes.styles import Style

__all__ = [
    "Block",
    "Parcel",
    "Sketch",
    "Tree",
    "add_wall",
    "box_corners",
    "cut",
    "inner_box",
    "lay",
    "make_car",
    "plant",
    "plant_hedge",
]


@dataclass(frozen=True)
class Parcel:
    """Ground of one kind.

    Parameters
    ----------
    corners : float array of shape (n, 2)
    ground : str
        One of `GROUNDS`.
    seed : int
        Of its own tone.
    furrows : float
        Metres from one furrow to the next; 0 for none.
    angle : float
        Of the furrows, in radians.
    sharp : bool
        True for built ground; the edge of other ground is worn.
    """

    corners: NDArray[np.float64]
    ground: str
    seed: int
    furrows: float = 0.0
    angle: float = 0.0
    sharp: bool = False


@dataclass(frozen=True)
class Tree:
    """A crown: its middle, radius and top in metres, its species and the seed of its shape and colour."""

    x: float
    y: float
    radius: float
    height: float
    species: str
    seed: int


@dataclass
class Sketch:
    """What blocks have drawn so far."""

    parcels: list[Parcel] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    props: list[Prop] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    """Ground between streets.

    Parameters
    ----------
    frame : Frame
        At its middle, u along the longer side.
    width, height : float
        Along u and v, in metres.
    outline : float array of shape (n, 2)
        As the streets bend it.
    style : Style
    rng : numpy.random.Generator
    """

    frame: Frame
    width: float
    height: float
    outline: NDArray[np.float64]
    style: Style
    rng: np.random.Generator

    def choose(self, names: Any) -> str:
        """Return one of several names, or of a mapping from names to weights."""
        if isinstance(names, Mapping):
            weights = np.array(list(names.values()), dtype=float)
            return str(list(names)[self.rng.choice(len(weights), p=weights / weights.sum())])
        return str(names[self.rng.integers(len(names))])

    def seed(self) -> int:
        """Return a fresh seed."""
        return int(self.rng.integers(2**31))

    def eaves(self) -> float:
        """Return a height of eaves that the style knows, in metres."""
        fewest, most = self.style.storeys
        return float(2.9 * self.rng.integers(fewest, most + 1) + self.rng.uniform(0, 0.8))

    def roof(self) -> str:
        """Return a roof's material."""
        return self.choose(self.style.roofs)


def box_corners(u0: float, v0: float, u1: float, v1: float) -> list[tuple[float, float]]:
    """Return the corners of a box, clockwise as seen."""
    return [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]


def lay(sketch: Sketch, block: Block, ground: str, box: Box | None = None, *, sharp: bool = False) -> None:
    """Put ground under a box of the block's frame, or under the whole block."""
    corners = block.outline if box is None else block.frame.place(box_corners(*box))
    sketch.parcels.append(Parcel(corners, ground, block.seed(), sharp=sharp))


def plant(
    sketch: Sketch, block: Block, frame: Frame, box: Box, count: float, *, species: str | None = None
) -> None:
    """Scatter trees over a box; the species' own sizes vary."""
    rng = block.rng
    for _ in range(rng.poisson(count)):
        ((x, y),) = frame.place([(rng.uniform(box[0], box[2]), rng.uniform(box[1], box[3]))])
        kind = species or block.choose(block.style.plants)
        radius, height = _tree_size(kind, rng)
        sketch.trees.append(Tree(float(x), float(y), radius, height, kind, block.seed()))


def _tree_size(species: str, rng: np.random.Generator) -> tuple[float, float]:
    small, large, slender = {
        "broadleaf": (1.6, 5.4, 1.9), "conifer": (1.2, 3.0, 3.4), "palm": (1.8, 3.4, 2.4), "shrub": (0.5, 1.7, 1.2),
    }[species]
    radius = small + (large - small) * float(rng.beta(1.6, 2.1))
    return radius, radius * slender * float(rng.uniform(0.8, 1.2))


def plant_hedge(
    sketch: Sketch, block: Block, frame: Frame, start: tuple[float, float], end: tuple[float, float]
) -> None:
    """Plant a row of clipped shrubs between two points of a frame."""
    length = math.dist(start, end)
    steps = np.arange(0, length, 0.55)[:, None] / max(length, 0.1)
    points = frame.place(np.array(start) + (np.array(end) - np.array(start)) * steps)
    height = block.rng.uniform(1.0, 2.0)
    for x, y in points + block.rng.normal(0, 0.08, points.shape):
        sketch.trees.append(Tree(float(x), float(y), float(block.rng.uniform(0.5, 0.75)), height, "shrub", block.seed()))


CAR_COLOURS: tuple[tuple[float, float, float], ...] = (
    (222, 222, 220), (190, 192, 194), (62, 64, 68), (32, 33, 36), (120, 30, 32), (40, 62, 112), (150, 152, 150),
)


def make_car(frame: Frame, rng: np.random.Generator) -> list[Prop]:
    """Return the body, the windows and the roof of a car at a frame's origin."""
    colour = CAR_COLOURS[rng.integers(len(CAR_COLOURS))]
    length, width = rng.uniform(3.8, 4.8), rng.uniform(1.65, 1.85)
    parts = [(0.0, length, width, 0.9, colour), (-0.1, 0.55 * length, 0.86 * width, 0.4, (58.0, 66.0, 74.0))]
    parts.append((-0.15, 0.33 * length, 0.8 * width, 0.05, colour))
    return [
        Prop(frame.place(box_corners(shift - long / 2, -wide / 2, shift + long / 2, wide / 2)), height, paint)
        for shift, long, wide, height, paint in parts
    ]


def add_wall(sketch: Sketch, block: Block, frame: Frame, box: Box) -> None:
    """Build a garden wall around a box of a frame, with a gate on one side."""
    u0, v0, u1, v1 = box
    thick, height, shade = 0.22, block.rng.uniform(1.0, 2.0), block.rng.uniform(120, 190)
    sides = [(u0, v0, u1 - 2.5, v0 + thick), (u0, v1 - thick, u1, v1), (u0, v0, u0 + thick, v1), (u1 - thick, v0, u1, v1)]
    for side in sides:
        sketch.props.append(Prop(frame.place(box_corners(*side)), height, (shade, 0.97 * shade, 0.92 * shade)))


def cut(box: Box, target: float, rng: np.random.Generator) -> list[Box]:
    """Cut a box into cells of about `target` metres; coordinates are centimetres, so that cells touch exactly."""
    u0, v0, u1, v1 = box
    width, height = u1 - u0, v1 - v0
    if max(width, height) < target * rng.uniform(1.1, 1.9):
        return [box]
    share = rng.uniform(0.36, 0.64)
    if width >= height:
        line = round(u0 + share * width, 2)
        return cut((u0, v0, line, v1), target, rng) + cut((line, v0, u1, v1), target, rng)
    line = round(v0 + share * height, 2)
    return cut((u0, v0, u1, line), target, rng) + cut((u0, line, u1, v1), target, rng)


def inner_box(block: Block, inset: float) -> Box:
    """Return a block's box less `inset` metres on each side."""
    u, v = round(block.width / 2 - inset, 2), round(block.height / 2 - inset, 2)
    return -u, -v, u, v
