"""Textures of procedural scenes: noise that repeats far away, and shapes of tree crowns."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["fractal_noise", "make_crown", "noise_at", "noise_over"]

SIZE = 512
"""Cells of a noise tile along each side; a power of two, so that a mask wraps its indices."""

CROWN = 72
"""Pixels of a crown's shape along each side."""


@lru_cache(maxsize=8)
def fractal_noise(slope: float, seed: int = 0) -> NDArray[np.float32]:
    """Return periodic noise whose amplitude falls with frequency.

    Parameters
    ----------
    slope : float
        Exponent of the fall: 0 is white noise, 1 has equal detail at all scales, 2 is smooth.
    seed : int

    Returns
    -------
    float32 array of shape (512, 512)
        Mean 0, standard deviation 1.
    """
    rows, columns = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((SIZE, SIZE)))
    noise = np.fft.irfft2(spectrum / frequency**slope, (SIZE, SIZE))
    return cast("NDArray[np.float32]", (noise / noise.std()).astype(np.float32))


def noise_over(
    origin: tuple[float, float], shape: tuple[int, int], pixel: float, cell: float, *, slope: float = 1.0, seed: int = 0
) -> NDArray[np.float32]:
    """Return noise over a raster of metres, the same at a place wherever the raster begins.

    Parameters
    ----------
    origin : (x, y)
        Upper left corner in metres.
    shape : (rows, columns)
    pixel, cell : float
        Metres of a pixel and of a cell of the noise.
    slope, seed
        As of `fractal_noise`; the seed also shifts it.

    Returns
    -------
    float32 array of `shape`
    """
    tile = fractal_noise(slope)
    cell = max(cell, pixel)
    shift = np.random.default_rng(seed).uniform(0, SIZE, 2)
    x, y = origin[0] / cell + shift[0], origin[1] / cell + shift[1]
    column, row = math.floor(x) - 1, math.floor(y) - 1
    columns = np.arange(column, column + math.ceil(shape[1] * pixel / cell) + 4) % SIZE
    rows = np.arange(row, row + math.ceil(shape[0] * pixel / cell) + 4) % SIZE
    step = pixel / cell
    matrix = np.array([[step, 0, x - column - 0.5 + step / 2], [0, step, y - row - 0.5 + step / 2]])
    return cast(
        "NDArray[np.float32]",
        cv2.warpAffine(
            tile[rows][:, columns], matrix, shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
    )


def noise_at(x: Any, y: Any, cell: float, *, slope: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    """Return noise at points in metres, the nearest cell's value."""
    shift = seed % SIZE, (seed // SIZE) % SIZE
    columns = (np.floor(x / cell).astype(np.int32) + shift[0]) & (SIZE - 1)
    rows = (np.floor(y / cell).astype(np.int32) + shift[1]) & (SIZE - 1)
    return cast("NDArray[np.float32]", fractal_noise(slope)[rows, columns])


@lru_cache(maxsize=64)
def make_crown(species: str, variant: int) -> NDArray[np.float32]:
    """Return the shape of a crown seen from above.

    Parameters
    ----------
    species : str
        broadleaf, conifer, palm or shrub.
    variant : int
        One of a few of each species.

    Returns
    -------
    float32 array of shape (72, 72)
        Height from 0 to 1; 0 where there is no crown.
    """
    rng = np.random.default_rng([variant, *species.encode()])
    axis = (np.arange(CROWN, dtype=np.float32) + 0.5) / CROWN * 2 - 1
    x, y = np.meshgrid(axis, axis)
    if species == "palm":
        return _palm(x, y, rng)
    if species == "conifer":
        return _conifer(x, y, rng)
    return _boughs(x, y, rng, count=46 if species == "broadleaf" else 20)


def _boughs(x: Any, y: Any, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Many balls of leaves on a dome."""
    crown = np.zeros_like(x)
    for _ in range(count):
        distance, turn = 0.78 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        size = rng.uniform(0.16, 0.34) * (1.15 - 0.5 * distance)
        top = 0.35 + 0.45 * math.sqrt(1 - distance**2) + rng.uniform(-0.08, 0.08)
        squared = (x - distance * math.cos(turn)) ** 2 + (y - distance * math.sin(turn)) ** 2
        ball = np.where(squared < size**2, top + np.sqrt(np.maximum(size**2 - squared, 0)) * 0.8 - size * 0.4, 0)
        crown = np.maximum(crown, ball)
    leaves = fractal_noise(0.5)[: 2 * CROWN : 2, : 2 * CROWN : 2] * 0.035
    return cast("NDArray[np.float32]", np.where(crown > 0, np.clip(crown + leaves, 0.05, 1.1), 0).astype(np.float32))


def _conifer(x: Any, y: Any, rng: np.random.Generator) -> NDArray[np.float32]:
    distance, turn = np.hypot(x, y), np.arctan2(y, x)
    spikes = 0.14 * np.sin(turn * rng.integers(7, 12) + rng.uniform(0, 6)) + 0.07 * np.sin(turn * 19 + rng.uniform(0, 6))
    crown = 1 - distance / (0.85 + spikes)
    return cast("NDArray[np.float32]", np.where(crown > 0, 0.15 + 0.85 * crown, 0).astype(np.float32))


def _palm(x: Any, y: Any, rng: np.random.Generator) -> NDArray[np.float32]:
    crown = np.zeros_like(x)
    fronds = int(rng.integers(9, 15))
    for number in range(fronds):
        turn = 2 * math.pi * (number + rng.uniform(-0.25, 0.25)) / fronds
        along, across = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
        across = across - 0.18 * rng.uniform(-1, 1) * along**2
        length = rng.uniform(0.75, 0.98)
        width = 0.12 * np.maximum(np.sin(np.clip(along / length, 0, 1) * math.pi), 0) ** 0.6 + 0.015
        inside = (along > 0) & (along < length) & (np.abs(across) < width)
        crown = np.maximum(crown, np.where(inside, 0.95 - 0.55 * along**2 - np.abs(across), 0))
    return cast("NDArray[np.float32]", crown.astype(np.float32))
