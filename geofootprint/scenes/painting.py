"""Painting of procedural scenes: a layout, seen from above by a camera under a sun.

Ground, roofs, props and trees give every point a colour and a height; the heights cast the shadows.
"""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize

from geofootprint.scenes.blocks import Parcel, Sketch, Tree
from geofootprint.scenes.buildings import Prop
from geofootprint.scenes.canvas import Canvas
from geofootprint.scenes.layout import Layout
from geofootprint.scenes.light import Light, develop
from geofootprint.scenes.roofs import paint_roof
from geofootprint.scenes.styles import GROUNDS
from geofootprint.scenes.textures import make_crown

__all__ = ["paint"]

BLOCK = 1024
"""Pixels painted at once; bounds the memory."""

MARGIN = 6
"""Pixels around a block that its blur may reach."""

REACH = 42.0
"""Longest shadow in metres that still comes from outside a block."""

SEALED = ("asphalt", "dusty asphalt", "paving", "concrete")

VEGETATION = ("lawn", "meadow", "scrub", "forest", "crop")


def paint(layout: Layout, light: Light, shape: tuple[int, int], gsd: float, seed: int) -> NDArray[np.uint8]:
    """Return the image of a layout.

    Parameters
    ----------
    layout : Layout
    light : Light
    shape : (rows, columns)
    gsd : float
        Metres per pixel.
    seed : int
        Of the textures and of the sensor's noise.

    Returns
    -------
    uint8 array of shape (3, rows, columns)
    """
    image = np.empty((*shape, 3), np.uint8)
    for top in range(0, shape[0], BLOCK):
        for left in range(0, shape[1], BLOCK):
            rows, columns = min(BLOCK, shape[0] - top), min(BLOCK, shape[1] - left)
            window = (left, top, columns, rows)
            image[top : top + rows, left : left + columns] = _paint_block(layout, light, window, gsd, seed)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _paint_block(
    layout: Layout, light: Light, window: tuple[int, int, int, int], gsd: float, seed: int
) -> NDArray[np.uint8]:
    left, top, columns, rows = window
    finer = 2 if gsd <= 0.3 else 3
    # Shadows come from the sun's side only: that is where the canvas must see further.
    tallest = max((b.height for b in layout.sketch.buildings), default=0.0)
    reach = min(REACH, max(tallest, 8.0) / math.tan(light.elevation)) / gsd
    sun_x, sun_y = light.direction
    west, east = MARGIN + int(max(0.0, -sun_x) * reach), MARGIN + int(max(0.0, sun_x) * reach)
    north, south = MARGIN + int(max(0.0, -sun_y) * reach), MARGIN + int(max(0.0, sun_y) * reach)
    canvas = Canvas(
        (left - west) * gsd, (top - north) * gsd, gsd / finer,
        ((rows + north + south) * finer, (columns + west + east) * finer), seed, finer,
    )
    _paint_ground(canvas.ground, layout, light, seed)
    canvas.colour = canvas.enlarge(canvas.ground.colour)
    _paint_sharp_ground(canvas, layout, light, seed)
    _paint_streets(canvas, layout)
    _paint_buildings(canvas, layout.sketch, light)
    for prop in layout.sketch.props:
        _paint_prop(canvas, prop)
    for tree in layout.sketch.trees:
        _paint_tree(canvas, tree, light)
    inside = (slice(north - MARGIN, north + rows + MARGIN), slice(west - MARGIN, west + columns + MARGIN))
    picture = develop(canvas, light, finer, inside, [seed, left, top])
    return picture[MARGIN:-MARGIN, MARGIN:-MARGIN]


# Ground


def _tone(parcel: Parcel, light: Light) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    ground = GROUNDS[parcel.ground]
    rng = np.random.default_rng(parcel.seed)
    tone = rng.normal(1, 0.07) * (1 + rng.normal(0, 0.01 if parcel.sharp else 0.02, 3))
    if parcel.ground in VEGETATION:
        tone = tone * light.season
    return np.array(ground.colour) * tone, np.array(ground.other) * tone, ground.roughness


def _paint_ground(canvas: Canvas, layout: Layout, light: Light, seed: int) -> None:
    base = np.zeros((*canvas.shape, 3), np.uint8)
    other = np.zeros_like(base)
    extra = np.zeros((*canvas.shape, 2), np.uint8)
    extra[..., 1] = 128
    whole = canvas.corners()
    soft = [Parcel(whole, layout.style.open_ground[0], seed), *(p for p in layout.sketch.parcels if not p.sharp)]
    for parcel in soft:
        if not canvas.sees(parcel.corners):
            continue
        points = canvas.fixed(parcel.corners)
        colour, second, roughness = _tone(parcel, light)
        cv2.fillPoly(base, points, np.clip(colour, 0, 255).tolist(), shift=4)
        cv2.fillPoly(other, points, np.clip(second, 0, 255).tolist(), shift=4)
        cv2.fillPoly(extra, points, (roughness * 500, 128.0), shift=4)
        if parcel.furrows > 2.2 * canvas.pixel:
            _furrow(canvas, extra, parcel)
    # Furrows stay straight.
    _wear_edges(canvas, (base, other), seed)
    canvas.colour = _mix(canvas, base, other, extra, seed)


def _paint_sharp_ground(canvas: Canvas, layout: Layout, light: Light, seed: int) -> None:
    for parcel in layout.sketch.parcels:
        if parcel.sharp and canvas.sees(parcel.corners):
            _paint_sharp(canvas, parcel, light)
    for number, water in enumerate(layout.water):
        edge = np.asarray(water.exterior.coords)
        bank = np.asarray(water.buffer(1.6).exterior.coords)
        if not canvas.sees(bank):
            continue
        _paint_sharp(canvas, Parcel(bank, "scrub", seed + number), light)
        _paint_sharp(canvas, Parcel(edge, "water", seed + number), light)


def _furrow(canvas: Canvas, extra: NDArray[np.uint8], parcel: Parcel) -> None:
    window, x, y, mask = canvas.inside(parcel.corners)
    across = -x * math.sin(parcel.angle) + y * math.cos(parcel.angle)
    rng = np.random.default_rng(parcel.seed)
    wave = np.sin(across * (2 * math.pi / parcel.furrows)) * rng.uniform(4, 22)
    tracks = np.abs((across / 12) % 1 - 0.5) < 0.02
    extra[window][..., 1][mask] = np.clip(128 + wave - 18 * tracks, 0, 255)[mask].astype(np.uint8)


def _wear_edges(canvas: Canvas, images: tuple[Any, ...], seed: int) -> None:
    """Move the pixels a little, so that no edge between natural grounds is straight."""
    rows, columns = canvas.shape
    noise = [canvas.noise(0.35, slope=1.4, seed=seed + number) for number in (1, 2)]
    far = np.float32(0.5 / canvas.pixel)
    x = noise[0] * far + np.arange(columns, dtype=np.float32)[None]
    y = noise[1] * far + np.arange(rows, dtype=np.float32)[:, None]
    maps = cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)
    for image in images:
        image[:] = cv2.remap(image, maps[0], maps[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _mix(canvas: Canvas, base: Any, other: Any, extra: Any, seed: int) -> NDArray[np.float32]:
    """Mix the two colours of each ground by slow noise and roughen it by fast noise."""
    share = np.clip(0.5 + 0.42 * canvas.slow, 0, 1)
    mixed = cv2.blendLinear(base, other, 1 - share, share)
    roughness, furrows = extra[..., 0].astype(np.float32), extra[..., 1].astype(np.float32)
    factor = canvas.fast * roughness * np.float32(1 / 500)
    factor += 1
    factor += canvas.noise(2.2, slope=1.8, seed=seed + 5) * np.float32(0.05)
    factor *= furrows * np.float32(1 / 128)
    factor = np.maximum(factor, np.float32(0.2))
    return cast("NDArray[np.float32]", cv2.multiply(mixed, cv2.merge([factor] * 3), dtype=cv2.CV_32F))


def _paint_sharp(canvas: Canvas, parcel: Parcel, light: Light) -> None:
    colour, other, roughness = _tone(parcel, light)
    canvas.fill(parcel.corners, colour, other, roughness)


# Streets


def _paint_streets(canvas: Canvas, layout: Layout) -> None:
    style = layout.style
    for street in layout.streets:
        if style.footways and street.surface == "asphalt":
            ground = GROUNDS["paving"]
            canvas.stroke(street.line, street.width + 2.8, ground.colour, ground.other, 0.05)
    # Sealed streets cross over the others, and main ones, which come first in the layout, over their side streets.
    for street in sorted(reversed(layout.streets), key=lambda street: street.surface in SEALED):
        ground = GROUNDS[street.surface]
        tone = np.random.default_rng(street.seed).uniform(0.88, 1.12)
        worn = 0.0 if street.surface in SEALED else 0.5
        canvas.stroke(
            street.line, street.width, np.array(ground.colour) * tone, np.array(ground.other) * tone,
            ground.roughness, worn=worn,
        )
    for street in layout.streets:
        if style.markings and street.surface == "asphalt" and street.width > 5.5 and canvas.pixel < 0.3:
            _mark(canvas, street.line)


def _mark(canvas: Canvas, line: NDArray[np.float64]) -> None:
    """Draw the dashes of a street's middle line: one on every second piece of it, which is about 6 m long."""
    white = np.array((205.0, 205.0, 200.0))
    for start in range(0, len(line) - 1, 2):
        middle = (line[start] + line[start + 1]) / 2
        dash = middle + (line[start : start + 2] - middle) * 0.7
        canvas.stroke(dash, 0.16, white, white, 0.05)


# What stands on the ground


def _paint_buildings(canvas: Canvas, sketch: Sketch, light: Light) -> None:
    seen = [b for b in sketch.buildings if canvas.sees(np.asarray(b.footprint.exterior.coords))]
    if not seen:
        return
    # One raster of numbers for all: every pixel goes to one roof, by its centre, and touching roofs share no pixel.
    numbers = rasterize(
        ((building.footprint, number) for number, building in enumerate(seen, start=1)), out_shape=canvas.shape,
        transform=Affine(canvas.pixel, 0, canvas.x, 0, canvas.pixel, canvas.y), fill=0, dtype="int32",
    )
    for number, building in enumerate(seen, start=1):
        paint_roof(canvas, numbers, number, building, light)
    for building in seen:
        for prop in building.props:
            _paint_prop(canvas, prop)


def _paint_prop(canvas: Canvas, prop: Prop) -> None:
    if not canvas.sees(prop.corners):
        return
    window, _, _, mask = canvas.inside(prop.corners)
    if not mask.any():
        return
    height = canvas.height[window]
    # A panel lies in the roof, a chimney stands level on it; a car's roof (over 1.3 m) is measured from the ground.
    level = height[mask] if prop.height < 0.3 else np.median(height[mask])
    height[mask] = level + prop.height
    canvas.colour[window][mask] = prop.colour
    canvas.slope[window][mask] = 1.0 if prop.height > 0.3 else canvas.slope[window][mask]


LEAVES = {
    "broadleaf": (84.0, 100.0, 58.0), "conifer": (60.0, 78.0, 56.0), "palm": (104.0, 120.0, 66.0),
    "shrub": (90.0, 104.0, 62.0),
}


def _paint_tree(canvas: Canvas, tree: Tree, light: Light) -> None:
    corners = np.array([(tree.x - tree.radius, tree.y - tree.radius), (tree.x + tree.radius, tree.y + tree.radius)])
    if not canvas.sees(corners):
        return
    rng = np.random.default_rng(tree.seed)
    shape = np.rot90(make_crown(tree.species, int(rng.integers(10))), int(rng.integers(4)))
    (left, top), (right, bottom) = np.floor(canvas.pixels(corners)).astype(int)
    rows, columns = max(bottom - top, 2), max(right - left, 2)
    if top >= canvas.shape[0] or left >= canvas.shape[1] or top + rows <= 0 or left + columns <= 0:
        return
    crown: Any = cv2.resize(np.ascontiguousarray(shape), (columns, rows), interpolation=cv2.INTER_AREA)
    # Crowns hang over the ground: their lowest leaves are at a third of the height.
    heights = np.where(crown > 0.12, tree.height * (0.35 + 0.65 * crown), 0).astype(np.float32)
    across = cv2.Sobel(heights, cv2.CV_32F, 1, 0, scale=1 / (8 * canvas.pixel))
    down = cv2.Sobel(heights, cv2.CV_32F, 0, 1, scale=1 / (8 * canvas.pixel))
    # Leaves let light through, so a crown's far side is never as dark as a wall's.
    facing = 0.25 + 0.8 * light.facing(np.clip(-across, -2, 2) * 0.5, np.clip(-down, -2, 2) * 0.5)
    rows_in = slice(max(0, -top), min(rows, canvas.shape[0] - top))
    columns_in = slice(max(0, -left), min(columns, canvas.shape[1] - left))
    window = (slice(top + rows_in.start, top + rows_in.stop), slice(left + columns_in.start, left + columns_in.stop))
    piece = (rows_in, columns_in)
    wins = (heights[piece] > canvas.height[window]) & (crown[piece] > 0.12)
    colour = np.array(LEAVES[tree.species]) * light.season * rng.normal(1, 0.12) * (1 + rng.normal(0, 0.05, 3))
    depth = (0.45 + 0.62 * np.clip(crown[piece], 0, 1))[wins]
    canvas.height[window][wins] = heights[piece][wins]
    canvas.slope[window][wins] = facing[piece][wins]
    canvas.colour[window][wins] = colour[None].astype(np.float32) * depth[:, None]
