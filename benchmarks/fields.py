"""Noisy probability fields whose exact outlines are known: what a network might say of buildings of every shape.

The truth is drawn with antialiasing, blurred, bent by a smooth random displacement and covered with white noise, as the
edges of real predictions are blurred, wavy and grainy. Everything is in pixels; whole numbers are pixel edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import rasterio.features
import shapely
import shapely.affinity
from affine import Affine
from numpy.typing import NDArray

__all__ = ["KINDS", "LEVELS", "Field", "Level", "make_field", "make_row"]

CELL = 40.9
"""Metres from one building to the next; 15 by 15 buildings on 2048 pixels of 0.3 m."""

SUBSAMPLES = 8
"""Samples a pixel and axis of the antialiased truth."""

CONTOUR_WIDTH = 2.0
"""Pixels of the contour inside a building, as the labels of the trainer have it."""

SMOOTHNESS = 5.0
"""Pixels, standard deviation of the Gaussian that makes the displacement smooth."""


@dataclass(frozen=True)
class Level:
    """How far a field is from the truth.

    Parameters
    ----------
    blur : float
        Standard deviation of the Gaussian blur, in pixels.
    warp : float
        Standard deviation of each component of the displacement, in pixels.
    noise : float
        Standard deviation of the white noise; probabilities are 0 to 1.
    """

    blur: float
    warp: float
    noise: float = 0.03


LEVELS = {"low": Level(0.8, 0.4), "mid": Level(1.2, 0.8), "hard": Level(2.0, 1.5)}
"""The three levels that every figure is given for."""


@dataclass(frozen=True)
class Field:
    """Probabilities and the outlines that they were made from.

    Parameters
    ----------
    probabilities : uint8 array of shape (2, height, width)
        Building and contour, 0 to 255.
    truth : array of shapely.Polygon
        In pixels.
    kinds : array of str
        Shape of each, one of `KINDS` or "row".
    gsd : float
        Metres of a pixel.
    """

    probabilities: NDArray[np.uint8]
    truth: NDArray[Any]
    kinds: NDArray[np.str_]
    gsd: float


def _rectangle(rng: np.random.Generator) -> Any:
    width, depth = rng.uniform(8, 20), rng.uniform(7, 12)
    return shapely.box(-width / 2, -depth / 2, width / 2, depth / 2)


def _cut(rng: np.random.Generator, left: float, right: float) -> Any:
    """Return a rectangle without a part of its upper side, from `left` to `right` as shares of its width."""
    width, depth, share = rng.uniform(14, 21), rng.uniform(12, 19), rng.uniform(0.35, 0.6)
    body = shapely.box(-width / 2, -depth / 2, width / 2, depth / 2)
    part = shapely.box(left * width - width / 2, depth / 2 - share * depth, right * width - width / 2, depth)
    return body - part


def _l(rng: np.random.Generator) -> Any:
    return _cut(rng, rng.uniform(0.4, 0.6), 2)


def _t(rng: np.random.Generator) -> Any:
    width, depth, stem = rng.uniform(15, 21), rng.uniform(7, 9), rng.uniform(5, 7)
    left = rng.uniform(-0.3, 0.3) * (width - stem) - stem / 2
    return shapely.box(-width / 2, 0, width / 2, depth) | shapely.box(left, -rng.uniform(6, 9), left + stem, depth)


def _u(rng: np.random.Generator) -> Any:
    return _cut(rng, rng.uniform(0.28, 0.36), rng.uniform(0.64, 0.72))


def _courtyard(rng: np.random.Generator) -> Any:
    width, depth, wing = rng.uniform(16, 22), rng.uniform(15, 20), rng.uniform(4, 5.5)
    body = shapely.box(-width / 2, -depth / 2, width / 2, depth / 2)
    return body - shapely.box(wing - width / 2, wing - depth / 2, width / 2 - wing, depth / 2 - wing)


def _regular(sides: int) -> Callable[[np.random.Generator], Any]:
    def make(rng: np.random.Generator) -> Any:
        angle = 2 * np.pi * np.arange(sides) / sides
        return shapely.Polygon(rng.uniform(5, 9.5) * np.stack([np.cos(angle), np.sin(angle)], axis=1))

    return make


def _ellipse(rng: np.random.Generator) -> Any:
    return shapely.affinity.scale(shapely.Point(0, 0).buffer(1, 32), rng.uniform(8, 11), rng.uniform(4.5, 6.5))


def _trapezoid(rng: np.random.Generator) -> Any:
    width, depth = rng.uniform(14, 21), rng.uniform(8, 13)
    top = width * rng.uniform(0.45, 0.7)
    shift = rng.uniform(-0.15, 0.15) * width
    corners = [(-width / 2, 0), (width / 2, 0), (shift + top / 2, depth), (shift - top / 2, depth)]
    return shapely.Polygon(corners)


def _wing(rng: np.random.Generator) -> Any:
    """Return a house with a wing at 25 to 40 degrees."""
    width, depth = rng.uniform(13, 17), rng.uniform(8, 10)
    body = shapely.box(-width, -depth / 2, 0, depth / 2)
    wing = shapely.box(-depth / 2, -depth / 2, rng.uniform(9, 12), depth / 2)
    return body | shapely.affinity.rotate(wing, rng.uniform(25, 40), origin=(0, 0))


def _apse(rng: np.random.Generator) -> Any:
    """Return a hall with a round end."""
    width, radius = rng.uniform(9, 14), rng.uniform(5, 7)
    return shapely.box(-width, -radius, 0, radius) | shapely.Point(0, 0).buffer(radius, 16)


KINDS: dict[str, Callable[[np.random.Generator], Any]] = {
    "rectangle": _rectangle,
    "L": _l,
    "T": _t,
    "U": _u,
    "courtyard": _courtyard,
    "circle": lambda rng: shapely.Point(0, 0).buffer(rng.uniform(5, 9.5), 16),
    "ellipse": _ellipse,
    "hexagon": _regular(6),
    "octagon": _regular(8),
    "trapezoid": _trapezoid,
    "wing": _wing,
    "apse": _apse,
}
"""Makers of buildings about the origin, in metres."""


def make_field(level: Level, *, seed: int = 0, size: int = 2048, gsd: float = 0.3) -> Field:
    """Make separate buildings of every kind, each at its own angle, and a field of them.

    Parameters
    ----------
    level : Level
    seed : int
    size : int
        Pixels of the sides.
    gsd : float
        Metres of a pixel; buildings keep their size in metres, blur and warp theirs in pixels.

    Returns
    -------
    Field
    """
    rng = np.random.default_rng(seed)
    side = int(size * gsd // CELL)
    names = np.array(list(KINDS))[rng.permutation(np.arange(side * side) % len(KINDS))]
    truth = np.empty(side * side, object)
    for i, name in enumerate(names):
        shape = KINDS[name](rng).simplify(0)  # unions leave vertices on straight lines
        shape = shapely.affinity.translate(shape, *-shapely.get_coordinates(shapely.centroid(shape))[0])
        shape = shapely.affinity.rotate(shape, rng.uniform(0, 360), origin=(0, 0))
        row, column = divmod(i, side)
        centre = (np.array([column, row]) + 0.5) * size / side + rng.uniform(-1, 1, 2) / gsd
        truth[i] = shapely.transform(shape, lambda xy, centre=centre: xy / gsd + centre)
    return Field(draw_probabilities(truth, size, level, rng), truth, names, gsd)


def make_row(level: Level, *, seed: int = 0, houses: int = 8, size: int = 1024, gsd: float = 0.3) -> Field:
    """Make one row of attached houses that step back and forth a little, and a field of it.

    Parameters
    ----------
    level, seed, size, gsd
        As of `make_field`.
    houses : int
        Number of houses.

    Returns
    -------
    Field
    """
    rng = np.random.default_rng(seed)
    ends = np.concatenate([[0], np.cumsum(rng.uniform(6, 9, houses))])
    steps, depth = rng.choice([0.0, 0.0, 1.2], houses), rng.uniform(9, 11)
    boxes = shapely.box(ends[:-1], steps, ends[1:], steps + depth)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    middle = np.array([ends[-1], depth]) / 2
    truth = shapely.transform(boxes, lambda xy: (xy - middle) @ turn / gsd + size / 2)
    return Field(draw_probabilities(truth, size, level, rng), truth, np.full(houses, "row"), gsd)


def draw_probabilities(
    truth: NDArray[Any], size: int, level: Level, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw what a network that is as unsure as the level says would make of buildings.

    Parameters
    ----------
    truth : array of shapely.Polygon
        In pixels.
    size : int
        Pixels of the sides.
    level : Level
    rng : numpy.random.Generator

    Returns
    -------
    uint8 array of shape (2, size, size)
        Building and contour, 0 to 255.
    """
    exact = np.zeros((2, size, size), np.float32)
    for polygon in truth:
        _draw(exact[0], polygon)
        _draw(exact[1], polygon - polygon.buffer(-CONTOUR_WIDTH))
    shift = np.stack([_smooth(rng, size) for _ in range(2)]) * level.warp
    rows, columns = np.indices((size, size), np.float32)
    fields = []
    for channel in np.minimum(exact, 1):
        blurred = cv2.GaussianBlur(channel, (0, 0), level.blur)
        bent = cv2.remap(blurred, columns + shift[0], rows + shift[1], cv2.INTER_LINEAR)
        fields.append(bent + rng.normal(0, level.noise, bent.shape))
    return np.asarray(np.round(np.clip(fields, 0, 1) * 255), np.uint8)


def _draw(canvas: NDArray[np.float32], polygon: Any) -> None:
    """Add the share of each pixel that a polygon covers."""
    left, top, right, bottom = (int(v) for v in (*np.floor(polygon.bounds[:2]), *np.ceil(polygon.bounds[2:])))
    left, top = max(0, left), max(0, top)
    right, bottom = min(canvas.shape[1], right), min(canvas.shape[0], bottom)
    shape = ((bottom - top) * SUBSAMPLES, (right - left) * SUBSAMPLES)
    transform = Affine.translation(left, top) * Affine.scale(1 / SUBSAMPLES)
    fine = rasterio.features.rasterize([polygon], out_shape=shape, transform=transform, dtype="uint8")
    canvas[top:bottom, left:right] += cv2.resize(
        fine.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_AREA
    )


def _smooth(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return smooth noise of standard deviation 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), SMOOTHNESS)
    return np.asarray(noise / noise.std(), np.float32)
