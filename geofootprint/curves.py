"""Round buildings: circles, ellipses and regular polygons fitted to whole rings.

Hexagons and circles differ by less than the noise of a small building's boundary, but the noise of a boundary is smooth and
the sixth wave around a hexagon is not: which of the two a ring is, is read from its Fourier series about the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofootprint.lines import Chains, Floats, Indices

__all__ = ["NAMES", "Curves", "RingShape", "draw_curve", "fit_curves", "measure_rings"]

NAMES = ("circle", "ellipse", "hexagon", "octagon")
"""What `fit_curves` knows, in this order."""

SIDES = {2: 6, 3: 8}
"""Sides of the regular polygons, by their position in `NAMES`."""

PARAMETERS = np.array([3, 5, 4, 4])
"""Numbers that describe each."""

ROUND = 0.98
"""Area over the area of the ellipse with the same second moments, from which a ring may be round: a rectangle has 0.955,
a hexagon 0.992."""

OVAL = 1.2
"""Length over width from which a ring is no circle."""

LONG = 1.1
"""Length over width from which a ring is no regular polygon."""

SAG = 0.06
"""Farthest that a drawn curve may be from the true one, in samples."""


@dataclass(frozen=True)
class RingShape:
    """Moments of the area inside of rings.

    Parameters
    ----------
    area : float array of shape (rings,)
    centre : float array of shape (rings, 2)
    moments : float array of shape (rings, 3)
        Central second moments xx, xy, yy over the area.
    """

    area: Floats
    centre: Floats
    moments: Floats

    @property
    def roundness(self) -> Floats:
        """Area over that of the ellipse with these moments: 1 for ellipses, less for all else."""
        xx, xy, yy = self.moments.T
        return np.asarray(self.area / (4 * math.pi * np.sqrt(np.maximum(xx * yy - xy**2, 1e-12))), np.float64)


@dataclass(frozen=True)
class Curves:
    """Fits of some rings; one column a name of `NAMES`.

    Parameters
    ----------
    ring : int array of shape (n,)
        The rings that may be round.
    errors : float array of shape (n, 4)
        Integral of the squared distance along the ring.
    centre : float array of shape (n, 2)
    radius : float array of shape (n, 4)
        Of the circle, 0, and apothems of the regular polygons.
    axes : float array of shape (n, 2)
        Half axes of the ellipse.
    angle : float array of shape (n, 4)
        Of the ellipse's long axis, and of a regular polygon's first corner.
    """

    ring: Indices
    errors: Floats
    centre: Floats
    radius: Floats
    axes: Floats
    angle: Floats


def measure_rings(chains: Chains) -> RingShape:
    """Return the moments of the area inside of closed rings, by Green's theorem."""
    x, y = chains.xy.T
    x0, y0, x1, y1 = x[:-1], y[:-1], x[1:], y[1:]
    cross = x0 * y1 - x1 * y0
    cross[chains.ends[:-1]] = 0
    terms = np.stack([
        cross / 2,
        cross * (x0 + x1) / 6,
        cross * (y0 + y1) / 6,
        cross * (x0 * x0 + x0 * x1 + x1 * x1) / 12,
        cross * (x0 * y1 + 2 * x0 * y0 + 2 * x1 * y1 + x1 * y0) / 24,
        cross * (y0 * y0 + y0 * y1 + y1 * y1) / 12,
    ])
    sums = np.add.reduceat(terms, chains.starts, axis=1)
    sums *= np.sign(sums[0])
    area = np.maximum(sums[0], 1e-12)
    centre = sums[1:3] / area
    xx, xy, yy = sums[3:] / area
    cx, cy = centre
    return RingShape(area, centre.T, np.stack([xx - cx * cx, xy - cx * cy, yy - cy * cy], axis=1))


def fit_curves(chains: Chains, shape: RingShape) -> Curves:
    """Fit every curve to the rings that may be round.

    Parameters
    ----------
    chains : Chains
        Closed rings.
    shape : RingShape
        Their moments.

    Returns
    -------
    Curves
    """
    ring = np.flatnonzero(shape.roundness > ROUND)
    size = (chains.ends - chains.starts)[ring]
    group = np.repeat(np.arange(len(ring)), size)
    place = np.arange(size.sum()) + np.repeat(chains.starts[ring] - np.cumsum(size) + size, size)
    weight = chains.along[place + 1] - chains.along[place]
    middle = (chains.xy[place] + chains.xy[place + 1]) / 2 - shape.centre[ring][group]
    total = np.bincount(group, weight, len(ring))

    def mean(values: Floats) -> Floats:
        return np.bincount(group, weight * values, len(ring)) / total

    distance, bearing = np.hypot(*middle.T), np.arctan2(middle[:, 1], middle[:, 0])
    count = len(ring)
    errors, radius, angle = (np.zeros((count, len(NAMES))) for _ in range(3))
    radius[:, 0] = mean(distance)
    errors[:, 0] = mean((distance - radius[group, 0]) ** 2)
    axes, angle[:, 1] = _axes(shape, ring)
    errors[:, 1] = mean(_beside_ellipse(middle, axes[group], angle[group, 1]) ** 2)
    for column, sides in SIDES.items():
        wave = mean(distance * np.cos(sides * bearing)) + 1j * mean(distance * np.sin(sides * bearing))
        angle[:, column] = np.angle(wave) / sides
        sector = 2 * np.pi / sides
        from_wall = (bearing - angle[group, column]) % sector - sector / 2
        reach = distance * np.cos(from_wall)
        radius[:, column] = mean(reach)
        errors[:, column] = mean((reach - radius[group, column]) ** 2)
        is_wave = _stands_out(np.abs(wave), sides, radius[:, 0], distance, bearing, mean)
        is_regular = is_wave & (axes[:, 0] < LONG * axes[:, 1])
        errors[~is_regular, column] = np.inf
        errors[is_regular, 0] = np.inf
    errors[axes[:, 0] > OVAL * axes[:, 1], 0] = np.inf
    return Curves(ring, errors * total[:, None], shape.centre[ring], radius, axes, angle)


def _stands_out(
    wave: Floats, sides: int, radius: Floats, distance: Floats, bearing: Floats, mean: Any
) -> NDArray[np.bool_]:
    """Say where a wave is at least half of a regular polygon's, and more than its neighbours of the noise."""
    full = radius * _wave_of_polygon(sides)
    beside = [np.abs(mean(distance * np.exp(1j * n * bearing).real) + 1j * mean(distance * np.sin(n * bearing)))
              for n in (sides - 1, sides + 1)]
    noise = np.hypot(*beside) / math.sqrt(2)
    return np.asarray((wave > full / 2) & (wave > 1.5 * noise), np.bool_)


def _wave_of_polygon(sides: int) -> float:
    """Return the amplitude of a regular polygon's own wave, as a share of its mean radius, averaged along its outline."""
    half = math.pi / sides
    angle = np.linspace(-half, half, 1001)
    distance = 1 / np.cos(angle)
    weight = distance**2  # length along the wall for a step of the angle
    return float(abs(np.average(distance * np.cos(sides * angle), weights=weight)) / np.average(distance, weights=weight))


def _axes(shape: RingShape, ring: Indices) -> tuple[Floats, Floats]:
    """Return half axes and angle of the ellipses with the area and the proportions of the moments."""
    xx, xy, yy = shape.moments[ring].T
    half, middle = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
    ratio = np.sqrt(np.sqrt((middle + half) / np.maximum(middle - half, 1e-12)))
    radius = np.sqrt(shape.area[ring] / math.pi)
    return np.stack([radius * ratio, radius / ratio], axis=1), np.arctan2(xy, (xx - yy) / 2) / 2


def _beside_ellipse(points: Floats, axes: Floats, angle: Floats) -> Floats:
    """Return distances from ellipses about the origin, to first order (Sampson 1982)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x = (points[:, 0] * cosine + points[:, 1] * sine) / axes[:, 0]
    y = (points[:, 1] * cosine - points[:, 0] * sine) / axes[:, 1]
    level = np.hypot(x, y)
    slope = np.hypot(x / axes[:, 0], y / axes[:, 1])
    return np.asarray((level - 1) * level / np.maximum(slope, 1e-12), np.float64)


def draw_curve(curves: Curves, row: int, column: int, *, min_edge: float) -> Floats:
    """Return the vertices of a fitted curve, without closing it.

    A circle or ellipse gets as few as keep it within `SAG` of the curve, and the curve's area.
    """
    centre = curves.centre[row]
    sides = SIDES.get(column)
    if sides:
        radius = curves.radius[row, column] / math.cos(math.pi / sides)
        angle = curves.angle[row, column] + 2 * np.pi * np.arange(sides) / sides
        return np.asarray(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.float64)
    axes = curves.axes[row] if column else np.repeat(curves.radius[row, 0], 2)
    count = _vertices_of_curve(float(axes.max()), min_edge * float(axes.max() / axes.min()))
    turn = 2 * np.pi * np.arange(count) / count
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1) * axes
    around *= math.sqrt(2 * math.pi / (count * math.sin(2 * math.pi / count)))
    cosine, sine = math.cos(curves.angle[row, column]), math.sin(curves.angle[row, column])
    return np.asarray(centre + around @ np.array([[cosine, sine], [-sine, cosine]]), np.float64)


def _vertices_of_curve(radius: float, min_edge: float) -> int:
    smooth = math.pi / math.acos(max(0.5, 1 - 2 * SAG / radius))
    longest = math.pi / math.asin(min(1.0, 0.52 * min_edge / radius))
    return max(8, 4 * math.ceil(min(smooth, longest, 128) / 4 - 1e-9) if smooth < longest else 4 * int(min(longest, 128) // 4))

