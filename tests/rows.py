"""Rows of houses with exact truth, and the probabilities that a good model would give them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["probabilities_of", "row_of_houses", "turned"]

FINER = 8
"""Of a pixel, in which polygons are filled."""


def row_of_houses(
    count: int = 8, *, width: float = 30, depth: float = 50, step: float = 0, corner: tuple[float, float] = (20, 20)
) -> NDArray[Any]:
    """Return attached rectangles; every other one stands back by `step`."""
    left, top = corner
    return np.array([
        shapely.box(left + i * width, top + step * (i % 2), left + (i + 1) * width, top + depth + step * (i % 2))
        for i in range(count)
    ])


def turned(polygons: NDArray[Any], degrees: float, margin: float = 15) -> NDArray[Any]:
    """Turn polygons together and shift them to where all coordinates are at least `margin`."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about = shapely.transform(polygons, lambda xy: xy @ np.array([[cos, sin], [-sin, cos]]))
    corner = shapely.total_bounds(about)[:2]
    return np.asarray(shapely.transform(about, lambda xy: xy - corner + margin + 0.37), object)


def probabilities_of(
    polygons: NDArray[Any], *, blur: float = 1.2, noise: float = 8, warp: float = 0.0, seed: int = 0, margin: float = 15
) -> NDArray[np.uint8]:
    """Return building and contour, 0 to 255, of shape (2, height, width).

    Parameters
    ----------
    polygons : array of shapely.Polygon
        In pixels.
    blur, warp : float
        Pixels: standard deviation of the blur, and of a smooth random shift of every place.
    noise : float
        Standard deviation of white noise.
    """
    right, bottom = np.ceil(shapely.total_bounds(polygons)[2:] + margin).astype(int)
    fine = np.zeros((2, bottom * FINER, right * FINER), np.uint8)
    for polygon in polygons:
        rings = [np.rint(shapely.get_coordinates(ring) * FINER - 0.5).astype(np.int32) for ring in shapely.get_rings(polygon)]
        cv2.fillPoly(fine[0], rings, 255)
        cv2.polylines(fine[1], rings, True, 255, thickness=4 * FINER)
    fine[1] &= fine[0]
    fields = np.stack([cv2.resize(band, (int(right), int(bottom)), interpolation=cv2.INTER_AREA) for band in fine])
    random = np.random.default_rng(seed)
    soft = np.stack([cv2.GaussianBlur(_warp(band, warp, random.integers(1 << 30)), (0, 0), blur) for band in fields.astype(np.float32)])
    return np.clip(soft + random.normal(scale=noise, size=soft.shape), 0, 255).astype(np.uint8)


def _warp(band: NDArray[np.float32], size: float, seed: int) -> NDArray[Any]:
    """Shift every place by smooth noise; all bands alike would take the same seed."""
    if size == 0:
        return band
    shifts = np.random.default_rng(seed).normal(size=(2, *band.shape)).astype(np.float32)
    smooth = [cv2.GaussianBlur(shift, (0, 0), 5) for shift in shifts]
    rows, columns = np.indices(band.shape, dtype=np.float32)
    dx, dy = (shift / shift.std() * size for shift in smooth)
    return cv2.remap(band, (columns + dx).astype(np.float32), (rows + dy).astype(np.float32), cv2.INTER_LINEAR)
