"""Buildings of procedural scenes: exact footprints, and roofs as planes over them.

Coordinates are metres from the scene's upper left corner, x to the east and y to the south, as pixels run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["FLAT_MATERIALS", "Building", "Frame", "Prop", "Wing", "block_of_rows", "make_building", "make_outline"]

Box = tuple[float, float, float, float]
"""West, north, east, south in a frame's own metres."""

FLAT_MATERIALS = ("concrete", "gravel", "bitumen", "shell")
"""Roofs without slope; a shell is a house whose walls stand and whose roof is not built yet."""


@dataclass(frozen=True)
class Frame:
    """A place and a direction: where a block, a lot or a house has its own axes.

    Parameters
    ----------
    x, y : float
        Of the frame's origin, in metres.
    angle : float
        From the scene's x axis to the frame's, in radians, clockwise as seen.
    """

    x: float
    y: float
    angle: float

    def place(self, points: Any) -> NDArray[np.float64]:
        """Return the scene's coordinates of points of shape (n, 2).

        Only elementwise products and sums: equal points give equal coordinates to the last bit, so walls stay shared.
        """
        points = np.asarray(points, dtype=np.float64)
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u, v = points[:, 0], points[:, 1]
        return np.column_stack([u * cos - v * sin + self.x, u * sin + v * cos + self.y])

    def at(self, u: float, v: float, turn: float = 0.0) -> Frame:
        """Return a frame whose origin is at (u, v) of this one and which is turned by `turn` radians."""
        ((x, y),) = self.place([(u, v)])
        return Frame(float(x), float(y), self.angle + turn)


@dataclass(frozen=True)
class Wing:
    """A convex piece of a roof.

    Parameters
    ----------
    corners : float array of shape (n, 2)
    pitches : float array of shape (n,)
        Rise per metre inwards from the edge that starts at each corner; 0 for the end of a gable and for flat roofs.
    eave : float
        Height of the lower edge in metres.
    """

    corners: NDArray[np.float64]
    pitches: NDArray[np.float64]
    eave: float

    @property
    def inwards(self) -> NDArray[np.float64]:
        """Unit vectors across the edges, of shape (n, 2), to the inside of corners that run clockwise as seen."""
        along = np.roll(self.corners, -1, axis=0) - self.corners
        along /= np.hypot(along[:, :1], along[:, 1:])
        return cast("NDArray[np.float64]", np.column_stack([-along[:, 1], along[:, 0]]))

    def distances(self, x: Any, y: Any) -> list[Any]:
        """Return how far points lie inside each edge, in metres."""
        edges = zip(self.corners, self.inwards, strict=True)
        return [(x - cx) * nx + (y - cy) * ny for (cx, cy), (nx, ny) in edges]


@dataclass(frozen=True)
class Prop:
    """A small thing on the ground or on a roof: a car, a chimney, a water tank.

    Parameters
    ----------
    corners : float array of shape (n, 2)
    height : float
        Above what it stands on, in metres.
    colour : tuple of float
        Red, green, blue from 0 to 255.
    """

    corners: NDArray[np.float64]
    height: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Building:
    """A footprint and what the camera sees of it.

    Parameters
    ----------
    footprint : shapely.Polygon
    kind : str
        Shape of the footprint.
    wings : tuple of Wing
        The roof is the highest of them at each point.
    height : float
        Of the roof's highest point over the ground, in metres.
    material : str
    seed : int
        Of its textures.
    props : tuple of Prop
    """

    footprint: Any
    kind: str
    wings: tuple[Wing, ...]
    height: float
    material: str
    seed: int
    props: tuple[Prop, ...] = field(default=())


def _box(west: float, north: float, east: float, south: float) -> list[tuple[float, float]]:
    return [(west, north), (east, north), (east, south), (west, south)]


def _disc(radius: float, corners: int) -> list[tuple[float, float]]:
    turns = (np.arange(corners) + 0.5) * (2 * math.pi / corners)
    return [(radius * math.cos(turn), radius * math.sin(turn)) for turn in turns]


def _merge(boxes: Sequence[Box]) -> Any:
    """Return the union of boxes without corners inside its straight edges."""
    union = shapely.union_all([shapely.box(*box) for box in boxes])
    return shapely.Polygon(_without_straight(union.exterior), [_without_straight(ring) for ring in union.interiors])


def _without_straight(ring: Any) -> NDArray[np.float64]:
    points = shapely.get_coordinates(ring)[:-1]
    into, out = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return cast("NDArray[np.float64]", points[np.abs(into[:, 0] * out[:, 1] - into[:, 1] * out[:, 0]) > 1e-9])


def make_outline(kind: str, width: float, depth: float, rng: np.random.Generator) -> tuple[Any, list[Any]]:
    """Return a shape of about `width` by `depth` metres around the origin and the pieces that its roof is made of.

    Parameters
    ----------
    kind : str
        rectangle, L, T, U, courtyard, round or octagon.
    width, depth : float
    rng : numpy.random.Generator

    Returns
    -------
    outline : shapely.Polygon
    pieces : list
        Boxes (west, north, east, south), or one list of corners for shapes without right angles.
    """
    if kind in ("round", "octagon"):
        corners = _disc(min(width, depth) / 2, 8 if kind == "octagon" else 48)
        return shapely.Polygon(corners), [corners]
    x, y = round(width / 2, 2), round(depth / 2, 2)
    wing = round(min(width, depth) * rng.uniform(0.3, 0.42), 2)
    middle = round(rng.uniform(-0.4, 0.4) * (x - wing / 2), 2)
    bodies: dict[str, list[Box]] = {
        "rectangle": [(-x, -y, x, y)],
        "L": [(-x, -y, x, -y + 1.3 * wing), (-x, -y, -x + wing, y)],
        "T": [(-x, -y, x, -y + 1.3 * wing), (middle - wing / 2, -y, middle + wing / 2, y)],
        "U": [(-x, -y, x, -y + wing), (-x, -y, -x + wing, y), (x - wing, -y, x, y - round(rng.uniform(0, wing), 2))],
        "courtyard": [(-x, -y, x, -y + wing), (-x, y - wing, x, y), (-x, -y, -x + wing, y), (x - wing, -y, x, y)],
    }
    boxes = bodies[kind]
    return _merge(boxes), list(boxes)


def make_building(
    kind: str, frame: Frame, width: float, depth: float, height: float, material: str, rng: np.random.Generator
) -> Building:
    """Return a free-standing building with its centre at a frame's origin.

    Parameters
    ----------
    kind : str
        As of `make_outline`.
    frame : Frame
    width, depth : float
        Metres along the frame's axes.
    height : float
        Of the eaves, in metres.
    material : str
        Of the roof.
    rng : numpy.random.Generator

    Returns
    -------
    Building
    """
    outline, pieces = make_outline(kind, width, depth, rng)
    pitch = _pitch(material, rng)
    hipped = kind == "courtyard" or rng.random() < 0.35
    wings = [_wing(piece, frame, pitch, height, hipped=hipped) for piece in pieces]
    return _finish(outline, kind, frame, wings, material, rng)


def _pitch(material: str, rng: np.random.Generator) -> float:
    if material in FLAT_MATERIALS:
        return 0.0
    return float(rng.uniform(0.08, 0.3) if material in ("metal", "blue", "rust") else rng.uniform(0.45, 0.95))


def _wing(piece: Any, frame: Frame, pitch: float, eave: float, *, hipped: bool) -> Wing:
    if isinstance(piece, tuple):
        west, north, east, south = piece
        corners = _box(*piece)
        pitches = np.full(4, pitch)
        if not hipped:
            # The edges run north, east, south, west: a ridge along the longer side leaves the short ends as gables.
            pitches[[1, 3] if east - west >= south - north else [0, 2]] = 0.0
    else:
        corners, pitches = piece, np.full(len(piece), pitch)
    return Wing(frame.place(corners), pitches, eave)


def _finish(
    outline: Any, kind: str, frame: Frame, wings: list[Wing], material: str, rng: np.random.Generator
) -> Building:
    footprint = shapely.transform(outline, frame.place)
    gear = _flat_gear if material in FLAT_MATERIALS else _pitched_gear
    props = gear(wings[0], frame.angle, rng) if material != "shell" else []
    top = round(max(_top(wing) for wing in wings), 2)
    return Building(footprint, kind, tuple(wings), top, material, int(rng.integers(2**31)), tuple(props))


def _top(wing: Wing) -> float:
    """Return the height of the roof over the middle of a wing, where every ridge passes."""
    middle = wing.corners.mean(axis=0)
    rises = [pitch * distance for pitch, distance in zip(wing.pitches, wing.distances(*middle), strict=True) if pitch]
    return wing.eave + float(min(rises, default=0.0))


def _spot(wing: Wing, rng: np.random.Generator, room: float) -> tuple[float, float] | None:
    """Return a random point of a wing at least `room` metres from its edges, if there is one."""
    inner = shapely.Polygon(wing.corners).buffer(-room)
    if inner.is_empty:
        return None
    for _ in range(6):
        west, north, east, south = inner.bounds
        x, y = rng.uniform(west, east), rng.uniform(north, south)
        if shapely.contains_xy(inner, x, y):
            return float(x), float(y)
    return None


def _put(
    props: list[Prop], wing: Wing, angle: float, rng: np.random.Generator, size: tuple[float, float], height: float,
    colour: tuple[float, float, float], *, round_: bool = False,
) -> None:
    spot = _spot(wing, rng, max(size) * 0.75)
    if spot is None:
        return
    width, depth = size
    shape = _disc(width / 2, 12) if round_ else _box(-width / 2, -depth / 2, width / 2, depth / 2)
    props.append(Prop(Frame(*spot, angle).place(shape), height, colour))


def _pitched_gear(wing: Wing, angle: float, rng: np.random.Generator) -> list[Prop]:
    props: list[Prop] = []
    for _ in range(rng.integers(0, 3)):
        _put(props, wing, angle, rng, (0.6, 0.6), 1.1, (125.0, 95.0, 82.0))
    for _ in range(rng.integers(0, 4)):
        _put(props, wing, angle, rng, (0.8, 1.1), 0.08, (88.0, 100.0, 112.0))
    if rng.random() < 0.12:
        _put(props, wing, angle, rng, (rng.uniform(2, 4), rng.uniform(1.5, 2.5)), 0.12, (38.0, 44.0, 66.0))
    return props


CLUTTER: tuple[tuple[float, float, float], ...] = (
    (52, 92, 152), (176, 58, 52), (212, 210, 204), (60, 66, 60), (118, 96, 72), (74, 128, 96), (198, 172, 88),
)


def _flat_gear(wing: Wing, angle: float, rng: np.random.Generator) -> list[Prop]:
    props: list[Prop] = []
    area = shapely.Polygon(wing.corners).area
    if area > 350 and rng.random() < 0.7:
        dome = rng.uniform(1.2, 2.4)
        for _ in range(int(area / 60)):
            _put(props, wing, angle, rng, (dome, 1.5 * dome), 0.45, (186.0, 194.0, 198.0))
    if area > 45 and rng.random() < 0.6:
        shade = rng.uniform(150, 205)
        _put(props, wing, angle, rng, (rng.uniform(2.2, 3.4), rng.uniform(2.4, 4.0)), 2.4, (shade, shade, 0.96 * shade))
    for _ in range(rng.integers(0, 3)):
        colour = ((30.0, 32.0, 34.0), (70.0, 120.0, 175.0), (205.0, 205.0, 198.0))[rng.integers(3)]
        tank = rng.uniform(0.9, 1.5)
        _put(props, wing, angle, rng, (tank, tank), 1.2, colour, round_=True)
    if area > 60 and rng.random() < 0.25:
        _put(props, wing, angle, rng, (rng.uniform(1.8, 5), rng.uniform(1.5, 2.4)), 0.4, (40.0, 46.0, 70.0))
    for _ in range(int(rng.poisson(min(area, 400) / 35))):
        size = (rng.uniform(0.3, 1.1), rng.uniform(0.3, 1.4))
        _put(props, wing, angle + rng.normal(0, 0.2), rng, size, rng.uniform(0.1, 0.7), CLUTTER[rng.integers(len(CLUTTER))])
    return props


def block_of_rows(
    boxes: Sequence[Box], frame: Frame, describe: Callable[[np.random.Generator], tuple[str, float]],
    rng: np.random.Generator,
) -> list[Building]:
    """Return touching houses whose walls share their vertices.

    Parameters
    ----------
    boxes : sequence of (west, north, east, south)
        In the frame's metres; they may touch but must not overlap.
    frame : Frame
    describe : callable
        Gives the material and the height of the eaves for each house.
    rng : numpy.random.Generator

    Returns
    -------
    list of Building
        Of kind "row".
    """
    houses = []
    for box in boxes:
        material, height = describe(rng)
        pitch = _pitch(material, rng)
        wings = [_wing(tuple(box), frame, pitch, height, hipped=False)]
        houses.append(_finish(shapely.Polygon(_noded(box, boxes)), "row", frame, wings, material, rng))
    return houses


def _noded(box: Box, boxes: Sequence[Box]) -> list[tuple[float, float]]:
    """Return the corners of a box and those of other boxes that lie on its edges, in order."""
    west, north, east, south = box
    xs_north, xs_south, ys_west, ys_east = {west, east}, {west, east}, {north, south}, {north, south}
    for w, n, e, s in boxes:
        for x in (w, e):
            if west < x < east:
                xs_north |= {x} if north in (n, s) else set()
                xs_south |= {x} if south in (n, s) else set()
        for y in (n, s):
            if north < y < south:
                ys_west |= {y} if west in (w, e) else set()
                ys_east |= {y} if east in (w, e) else set()
    ring = [(x, north) for x in sorted(xs_north)] + [(east, y) for y in sorted(ys_east)[1:]]
    ring += [(x, south) for x in sorted(xs_south, reverse=True)[1:]]
    return ring + [(west, y) for y in sorted(ys_west, reverse=True)[1:-1]]
