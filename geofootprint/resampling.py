"""Resampling of images, weighted by what is valid.

Weights and positions follow from a pixel's number in the whole grid, so a pixel has the same value whatever window
it is read in. GDAL's warper gives no such promise: of a rotated or a geographic raster with a nodata value, a
WarpedVRT of GDAL 3.10 gives most pixels another value in another window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

__all__ = ["Stretch", "Taps", "Warp", "axis_taps", "resample"]

Image = tuple[NDArray[Any], NDArray[np.bool_]]
"""Pixels of shape (bands, height, width), and which of them are valid."""

LEAST_WEIGHT = 0.5
"""A pixel is valid if at least this share of what it is made of is."""

STRIP = 256
"""Output rows that are made at once, at most."""

STRIP_PIXELS = 2**23
"""Source pixels that are read at once, at most: an overview of a large mosaic takes many for each of its own."""

LATTICE = 32
"""Pixels between the positions that are transformed exactly; over 5 m, a map projection bends by less than 1 µm."""

REMAP_STEPS = 32
"""cv2.remap rounds positions to this part of a pixel; rounding them before keeps them apart from the window's origin."""


@dataclass(frozen=True)
class Taps:
    """Which source pixels make each output pixel of one axis.

    Attributes
    ----------
    start, stop : int
        The source pixels needed.
    index : int array of shape (taps, pixels)
        Source pixels, counted from `start`.
    weight : float64 array of shape (taps, pixels)
        Adds up to 1, or to less where an output pixel reaches beyond the source.
    """

    start: int
    stop: int
    index: NDArray[np.intp]
    weight: NDArray[np.float64]

    def of_one(self) -> Taps:
        """Return the same taps for a source of a single pixel, which stands for all of them."""
        return Taps(0, 1, np.zeros_like(self.index), self.weight)


def axis_taps(first: int, count: int, ratio: float, extent: int) -> Taps:
    """Return the taps of `count` output pixels from number `first`; both grids begin at the same edge.

    Coarser pixels average the source over their area, finer ones are interpolated linearly between the centres.

    Parameters
    ----------
    first, count : int
        Output pixels.
    ratio : float
        Source pixels per output pixel.
    extent : int
        Source pixels there are.
    """
    pixels = np.arange(first, first + count)
    if ratio > 1:
        low, high = pixels * ratio, (pixels + 1) * ratio
        index = np.floor(low).astype(np.intp) + np.arange(math.ceil(ratio) + 1)[:, None]
        weight = np.clip(np.minimum(high, index + 1) - np.maximum(low, index), 0, None) / ratio
        weight[index >= extent] = 0
    else:
        centre = (pixels + 0.5) * ratio - 0.5
        left = np.floor(centre).astype(np.intp)
        index = np.stack([left, left + 1])
        weight = np.stack([left + 1 - centre, centre - left])
    index = np.clip(index, 0, extent - 1)
    start, stop = int(index.min()), int(index.max()) + 1
    return Taps(start, stop, index - start, weight)


def resample(pixels: NDArray[Any], valid: NDArray[np.bool_], rows: Taps, columns: Taps) -> Image:
    """Return output pixels and which of them are valid.

    Parameters
    ----------
    pixels : array of shape (bands, rows.stop - rows.start, columns.stop - columns.start)
    valid : bool array of that shape without bands
        Others have no weight.
    rows, columns : Taps

    Returns
    -------
    pixels : array of shape (bands, output rows, output columns), of the same type
        0 where not valid.
    valid : bool array of that shape without bands
    """
    if not valid.any():
        shape = rows.index.shape[1], columns.index.shape[1]
        return np.zeros((len(pixels), *shape), pixels.dtype), np.zeros(shape, np.bool_)
    exact = _exact_type(pixels.dtype)
    source = pixels.astype(exact)
    if valid.all():
        # What the sums give for a source of ones, taken from one pixel of it instead of all.
        weight = _sum(_sum(np.ones((1, 1, 1), exact), rows.of_one(), 1), columns.of_one(), 2)[0]
    else:
        source[:, ~valid] = 0
        weight = _sum(_sum(valid[None].astype(exact), rows, 1), columns, 2)[0]
    return _normalise(_sum(_sum(source, rows, 1), columns, 2), weight, pixels.dtype)


def _exact_type(dtype: Any) -> type[np.floating[Any]]:
    return np.float32 if np.dtype(dtype).itemsize <= 2 else np.float64


def _sum(source: NDArray[Any], taps: Taps, axis: int) -> NDArray[Any]:
    """Return the weighted sums along the rows (1) or the columns (2) of an array of shape (bands, height, width)."""
    weight = taps.weight.astype(source.dtype)
    weight = weight[:, :, None] if axis == 1 else weight[:, None, :]
    shape = list(source.shape)
    shape[axis] = taps.index.shape[1]
    total, part = np.zeros(shape, source.dtype), np.empty(shape, source.dtype)
    for index, share in zip(taps.index, weight, strict=True):
        np.take(source, index, axis=axis, out=part, mode="clip")  # any other mode copies `out` first
        part *= share
        total += part
    return total


def _normalise(sums: NDArray[Any], weight: NDArray[Any], dtype: Any) -> Image:
    """Divide weighted sums by their weight and return them in the image's own type."""
    good = weight >= LEAST_WEIGHT
    sums /= np.where(good, weight, 1)
    sums[:, ~good] = 0
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        sums = np.clip(np.rint(sums, out=sums), limits.min, limits.max, out=sums)
    return sums.astype(dtype), good


@dataclass(frozen=True)
class Stretch:
    """From a grid to one with the same corner and axes and another pixel size.

    Attributes
    ----------
    ratio : (float, float)
        Source pixels per output pixel along rows and columns (height, width).
    extent : (int, int)
        Height and width of the source.
    """

    ratio: tuple[float, float]
    extent: tuple[int, int]

    def read(self, source: Callable[[Window], Image], window: Window) -> Image:
        """Return a window of the output; `source` reads one of the input."""
        columns = axis_taps(int(window.col_off), int(window.width), self.ratio[1], self.extent[1])
        row_pixels = (columns.stop - columns.start) * max(1.0, self.ratio[0])
        strip = max(1, min(STRIP, int(STRIP_PIXELS / row_pixels)))
        strips = []
        for top in range(int(window.row_off), int(window.row_off + window.height), strip):
            height = min(strip, int(window.row_off + window.height) - top)
            rows = axis_taps(top, height, self.ratio[0], self.extent[0])
            needed = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            strips.append(resample(*source(needed), rows, columns))
        pixels, valid = zip(*strips, strict=True)
        return np.concatenate(pixels, axis=1), np.concatenate(valid, axis=0)


@dataclass(frozen=True)
class Warp:
    """From a grid to any other: the source is averaged to about the output's pixel size, then interpolated.

    Attributes
    ----------
    locate : function
        From columns and rows of the output (pixel 0 has its centre at 0.5) to those of the source.
    ratio : float
        Source pixels per output pixel.
    extent : (int, int)
        Height and width of the source.
    """

    locate: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[Any, Any]]
    ratio: float
    extent: tuple[int, int]

    def read(self, source: Callable[[Window], Image], window: Window) -> Image:
        """Return a window of the output; `source` reads one of the input."""
        scale = max(1.0, self.ratio)
        height, width = (math.ceil(extent / scale) for extent in self.extent)
        x, y = (np.rint((at / scale - 0.5) * REMAP_STEPS) / REMAP_STEPS for at in self._positions(window))
        left, right = (int(np.clip(at, 0, width)) for at in (np.floor(x.min()), np.floor(x.max()) + 2))
        top, bottom = (int(np.clip(at, 0, height)) for at in (np.floor(y.min()), np.floor(y.max()) + 2))
        if left >= right or top >= bottom:
            bands, dtype = self._kind(source)
            return np.zeros((bands, *x.shape), dtype), np.zeros(x.shape, np.bool_)
        near = Window(left, top, right - left, bottom - top)
        pixels, valid = source(near) if scale == 1 else Stretch((scale, scale), self.extent).read(source, near)
        exact = pixels.astype(_exact_type(pixels.dtype))
        x, y = (x - left).astype(np.float32), (y - top).astype(np.float32)
        weight = cv2.remap(valid.astype(exact.dtype), x, y, cv2.INTER_LINEAR)
        sums = np.stack([cv2.remap(np.where(valid, band, 0), x, y, cv2.INTER_LINEAR) for band in exact])
        return _normalise(sums, weight, pixels.dtype)

    @staticmethod
    def _kind(source: Callable[[Window], Image]) -> tuple[int, Any]:
        pixels, _ = source(Window(0, 0, 1, 1))
        return len(pixels), pixels.dtype

    def _positions(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the centres of a window's pixels lie in the source, interpolated from a lattice."""
        rows, row_taps = _lattice(int(window.row_off), int(window.height))
        columns, column_taps = _lattice(int(window.col_off), int(window.width))
        located = np.stack(self.locate(*(axis.ravel() for axis in np.meshgrid(columns, rows))))
        corners = located.reshape(2, len(rows), len(columns))
        x, y = _sum(_sum(corners, row_taps, 1), column_taps, 2)
        return x, y


def _lattice(first: int, count: int) -> tuple[NDArray[np.float64], Taps]:
    """Return the lattice's positions around `count` pixels, and the taps that interpolate the pixels' centres."""
    centres = np.arange(first, first + count) + 0.5
    left = np.floor(centres / LATTICE).astype(np.intp)
    start = int(left[0])
    part = centres / LATTICE - left
    positions = np.arange(start, int(left[-1]) + 2, dtype=np.float64) * LATTICE
    taps = Taps(start, start + len(positions), np.stack([left, left + 1]) - start, np.stack([1 - part, part]))
    return positions, taps
