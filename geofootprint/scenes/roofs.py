"""Roofs of procedural scenes: planes, tiles, sheets, slabs with parapets."""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.scenes.buildings import FLAT_MATERIALS, Building, Wing
from geofootprint.scenes.canvas import Canvas, Window
from geofootprint.scenes.light import Light
from geofootprint.scenes.styles import ROOFS, Roof
from geofootprint.scenes.textures import noise_at

__all__ = ["paint_roof"]

Values = NDArray[Any]


def paint_roof(canvas: Canvas, numbers: NDArray[np.int32], number: int, building: Building, light: Light) -> None:
    """Paint one roof where a raster of numbers has its number.

    Parameters
    ----------
    canvas : Canvas
    numbers : int32 array of the canvas's shape
    number : int
    building : Building
    light : Light
    """
    window = canvas.window(building.footprint.exterior.coords)
    mask = numbers[window] == number
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return
    x_row, y_column = canvas.centres(window)
    x, y = x_row[0, columns], y_column[rows, 0]
    rng = np.random.default_rng(building.seed)
    roof = ROOFS[building.material]
    colour = np.array(roof.colours[rng.integers(len(roof.colours))]) * rng.normal(1, 0.06) * (1 + rng.normal(0, 0.02, 3))
    if building.material in FLAT_MATERIALS:
        height, facing, paint = _flat(canvas, building, mask, (rows, columns), x, y, colour, rng)
    else:
        height, facing, paint = _pitched(canvas, building, x, y, colour, light, rng)
    stains = 1 + roof.stains * 0.5 * noise_at(x, y, 0.16, slope=1.4, seed=building.seed)
    _put(canvas, window, (rows, columns), height, facing, paint * np.clip(stains, 0.5, 1.3)[:, None])


def _put(canvas: Canvas, window: Window, at: Any, height: Values, facing: Values, paint: Values) -> None:
    canvas.height[window][at] = height
    canvas.slope[window][at] = facing
    canvas.colour[window][at] = paint


# Flat roofs


def _flat(
    canvas: Canvas, building: Building, mask: NDArray[np.bool_], at: Any, x: Values, y: Values, colour: Values,
    rng: np.random.Generator,
) -> tuple[Values, Values, Values]:
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    edge = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1][at] * canvas.pixel
    eave = building.wings[0].eave
    shell = building.material == "shell"
    width = rng.uniform(0.2, 0.32)
    wall = edge < max(width, 1.2 * canvas.pixel)
    if shell:
        wall |= _inner_walls(building.wings[0], x, y, width)
    rim = 0.0 if shell else rng.choice([0.15, 0.5, 0.9])
    height = np.where(wall, eave + rim, max(0.3, eave - 1.8) if shell else eave)
    paint = np.broadcast_to(colour, (len(x), 3)).copy()
    if not shell:
        # Rain leaves darker patches away from the edge, and slabs were poured in pieces.
        paint *= (1 - 0.05 * np.clip(edge / 2, 0, 1))[:, None]
        paint *= (1 + 0.05 * noise_at(x, y, 0.06, slope=0.5, seed=building.seed + 5))[:, None]
        if rng.random() < 0.4:
            cast_, patch = rng.normal(0, 0.06, 3), noise_at(x, y, 0.35, slope=1.8, seed=building.seed + 9) > 0.6
            paint[patch] *= 1 + rng.uniform(-0.18, 0.14) + cast_
    painted = ((204.0, 202.0, 196.0), (150.0, 92.0, 80.0), tuple(colour * 0.85), tuple(colour * 1.12))
    masonry = np.array((186.0, 172.0, 154.0) if shell else painted[rng.integers(len(painted))])
    paint[wall] = masonry * (1 + 0.05 * noise_at(x, y, 0.1, slope=0.7)[wall])[:, None]
    return height, np.ones(len(x)), paint


def _inner_walls(wing: Wing, x: Values, y: Values, width: float) -> NDArray[np.bool_]:
    """Return where the inner walls of an unfinished house stand: on thirds and halves between its outer walls."""
    distance = wing.distances(x, y)
    if len(distance) != 4:
        return np.zeros(len(x), np.bool_)
    across, along = distance[0] / (distance[0] + distance[2]), distance[1] / (distance[1] + distance[3])
    long, wide = float(np.ptp(distance[1]) + 1), float(np.ptp(distance[0]) + 1)
    walls = np.abs(across - 0.5) * wide < width / 2
    for share in (1 / 3, 2 / 3):
        walls |= np.abs(along - share) * long < width / 2
    return cast("NDArray[np.bool_]", walls)


# Pitched roofs


def _pitched(
    canvas: Canvas, building: Building, x: Values, y: Values, colour: Values, light: Light, rng: np.random.Generator
) -> tuple[Values, Values, Values]:
    count = len(x)
    height = np.full(count, building.wings[0].eave)
    facing, down, along, ridge = np.ones(count), np.zeros(count), np.zeros(count), np.ones(count)
    for wing in building.wings:
        planes = _planes(wing, x, y)
        if planes is None:
            continue
        rise, plane, between, inside = planes
        wins = inside & (wing.eave + rise > height - 1e-9)
        inwards = wing.inwards
        normals = -inwards * wing.pitches[:, None]
        lit = light.facing(normals[:, 0], normals[:, 1])
        height[wins] = (wing.eave + rise)[wins]
        facing[wins] = lit[plane[wins]]
        ridge[wins] = between[wins]
        for edge in np.unique(plane[wins]):
            here = wins & (plane == edge)
            (nx, ny), (cx, cy) = inwards[edge], wing.corners[edge]
            down[here] = (x[here] - cx) * nx + (y[here] - cy) * ny
            along[here] = (x[here] - cx) * ny - (y[here] - cy) * nx + 17.3 * edge
    paint = _cover(ROOFS[building.material], colour, along, down, canvas.pixel, rng)
    cap = ridge < max(0.16, 0.6 * canvas.pixel)
    paint[cap] *= rng.choice([0.86, 1.1])
    paint[down < max(0.14, 0.5 * canvas.pixel)] *= 0.88
    return height, facing, paint


def _planes(wing: Wing, x: Values, y: Values) -> tuple[Values, Values, Values, Values] | None:
    """Return each point's rise over the eave, its plane, metres to the next plane's line, and whether it is inside."""
    distances = np.array(wing.distances(x, y))
    sloped = np.flatnonzero(wing.pitches)
    if not len(sloped):
        return None
    rises = distances[sloped] * wing.pitches[sloped, None]
    lowest = rises.argmin(axis=0)
    rise = rises[lowest, np.arange(len(x))]
    between = np.full(len(x), 1.0)
    if len(sloped) > 1:
        between = (np.partition(rises, 1, axis=0)[1] - rise) / (2 * float(wing.pitches.max()))
    inside = np.asarray((distances > -0.05).all(axis=0))
    return rise, sloped[lowest], between, inside


def _cover(
    roof: Roof, colour: Values, along: Values, down: Values, pixel: float, rng: np.random.Generator
) -> Values:
    """Return the colours of a covering laid from the eave up: rows of tiles, or sheets."""
    table = rng.standard_normal(1024)
    if roof.pattern == "rows":
        tile, row = 0.26, 0.36
        factor = 1 + roof.spread * _table(table, along / tile, down / row) * min(1.0, tile / pixel / 2)
        if row > 2.2 * pixel:
            factor += 0.07 * np.sin(down * (2 * math.pi / row))
    else:
        factor = 1 + roof.spread * _table(table, along / rng.uniform(0.8, 1.1), down / rng.uniform(2.2, 3.4))
        wave = rng.choice([0.22, 0.33, 0.6])
        if wave > 2.2 * pixel:
            factor += 0.05 * np.sin(along * (2 * math.pi / wave))
    paint = colour * np.clip(factor, 0.4, 1.5)[:, None]
    if roof.spread > 0.1:
        # Old sheets: some are newer and grey, rust creeps in from others.
        newer = _table(table[::-1], along / 0.9, down / 2.4) > 1.25
        paint[newer] = paint[newer] * 0.35 + np.array((168.0, 172.0, 172.0)) * 0.65
    return cast("Values", paint)


def _table(table: Values, columns: Values, rows: Values) -> Values:
    cells = np.floor(columns).astype(np.int64) * 73 + np.floor(rows).astype(np.int64) * 179
    return cast("Values", table[cells & 1023])
