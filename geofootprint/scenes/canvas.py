"""What procedural scenes are painted on: colour, height and slope of the ground in metres' coordinates."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.scenes.textures import noise_over

__all__ = ["Canvas"]

Window = tuple[slice, slice]


class Canvas:
    """A piece of ground being painted.

    Parameters
    ----------
    x, y : float
        Upper left corner in metres.
    pixel : float
        Metres per pixel.
    shape : (rows, columns)
        Multiples of `finer`.
    seed : int
        Of its noise.
    finer : int
        Pixels along a side of one of the final image; soft ground and noise need no more than the image's own.

    Attributes
    ----------
    colour : float32 array of shape (rows, columns, 3)
        Red, green, blue from 0 to 255 in even light.
    height : float32 array of shape (rows, columns)
        Metres over the ground.
    slope : float32 array of shape (rows, columns)
        Sunlight received there as a multiple of what level ground gets.
    """

    def __init__(self, x: float, y: float, pixel: float, shape: tuple[int, int], seed: int, finer: int = 1) -> None:
        self._seed, self.finer = seed, finer
        self.x, self.y, self.pixel, self.shape = x, y, pixel, shape
        self.colour = np.zeros((*shape, 3), np.float32)
        self.height = np.zeros(shape, np.float32)
        self.slope = np.ones(shape, np.float32)

    def pixels(self, points: Any) -> NDArray[np.float64]:
        """Return columns and rows of points in metres; 0 is the upper left corner of the first pixel."""
        return (np.asarray(points, dtype=np.float64) - (self.x, self.y)) / self.pixel

    def fixed(self, points: Any) -> list[NDArray[np.int32]]:
        """Return points as OpenCV's polygons take them: pixel centres are whole, four bits of fraction."""
        return [np.round((self.pixels(points) - 0.5) * 16).astype(np.int32)]

    def corners(self) -> NDArray[np.float64]:
        """Return the canvas's own corners in metres."""
        east, south = self.x + self.shape[1] * self.pixel, self.y + self.shape[0] * self.pixel
        return np.array([(self.x, self.y), (east, self.y), (east, south), (self.x, south)])

    def noise(self, cell: float, *, slope: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
        """Return noise over the canvas, as of `noise_over`."""
        return noise_over((self.x, self.y), self.shape, self.pixel, cell, slope=slope, seed=seed)

    def window(self, points: Any, pad: float = 0.0) -> Window:
        """Return the rows and columns that points and `pad` metres around them cover."""
        places = self.pixels(points)
        (left, top), (right, bottom) = places.min(axis=0), places.max(axis=0)
        rim = pad / self.pixel + 1
        rows, columns = self.shape
        return (
            slice(max(0, math.floor(top - rim)), max(0, min(rows, math.ceil(bottom + rim)))),
            slice(max(0, math.floor(left - rim)), max(0, min(columns, math.ceil(right + rim)))),
        )

    def sees(self, points: Any, pad: float = 0.0) -> bool:
        """Return whether any of what points span may be on the canvas."""
        rows, columns = self.window(points, pad)
        return bool(rows.stop > rows.start and columns.stop > columns.start)

    def centres(self, window: Window) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return x as a row and y as a column of a window's pixel centres, in metres."""
        rows, columns = window
        x = self.x + (np.arange(columns.start, columns.stop) + 0.5) * self.pixel
        y = self.y + (np.arange(rows.start, rows.stop) + 0.5) * self.pixel
        return x[None], y[:, None]

    def inside(self, points: Any) -> tuple[Window, Any, Any, NDArray[np.bool_]]:
        """Return the window of a polygon, its pixel centres, and the mask that is True within the polygon."""
        window = self.window(points)
        x, y = self.centres(window)
        mask = np.zeros((y.shape[0], x.shape[1]), np.uint8)
        offset = (window[1].start * 16, window[0].start * 16)
        cv2.fillPoly(mask, [self.fixed(points)[0] - offset], 1, shift=4)
        return window, x, y, mask.view(np.bool_)

    def fill(self, points: Any, colour: Any, other: Any, roughness: float) -> None:
        """Paint a polygon with smooth edges in two colours that noise mixes."""
        window = self.window(points)
        shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        cover = np.zeros(shape, np.uint8)
        offset = (window[1].start * 16, window[0].start * 16)
        cv2.fillPoly(cover, [(self.fixed(points)[0] - offset).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
        self._blend(window, cover, colour, other, roughness)

    def stroke(
        self, line: Any, width: float, colour: Any, other: Any, roughness: float, *, worn: float = 0.0
    ) -> None:
        """Paint a line of `width` metres; `worn` is the width in metres over which its edges fade."""
        if not self.sees(line, width):
            return
        window = self.window(line, width)
        shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        cover = np.zeros(shape, np.uint8)
        offset = (window[1].start * 16, window[0].start * 16)
        points = (self.fixed(line)[0] - offset).astype(np.int32)
        cv2.polylines(cover, [points], False, 255, max(1, round(width / self.pixel)), cv2.LINE_AA, shift=4)
        if worn:
            cover = self._wear(window, cover, worn)
        self._blend(window, cover, colour, other, roughness)

    def _wear(self, window: Window, cover: NDArray[np.uint8], worn: float) -> NDArray[np.uint8]:
        size = 2 * int(worn / self.pixel) + 1
        soft = cv2.blur(cover, (size, size)).astype(np.float32)
        edge = (soft - 128) * 2.5 + 128 + 60 * self.slow[window] * (soft > 0)
        return cast("NDArray[np.uint8]", np.clip(edge, 0, 255).astype(np.uint8))

    @cached_property
    def ground(self) -> Canvas:
        """The same place with the final image's pixels."""
        shape = (self.shape[0] // self.finer, self.shape[1] // self.finer)
        return Canvas(self.x, self.y, self.pixel * self.finer, shape, self._seed)

    def enlarge(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image of the ground with this canvas's pixels."""
        return cast("NDArray[Any]", cv2.resize(image, self.shape[::-1], interpolation=cv2.INTER_NEAREST))

    @cached_property
    def slow(self) -> NDArray[np.float32]:
        """Noise of some metres, for patches."""
        if self.finer > 1:
            return self.enlarge(self.ground.slow)
        return self.noise(0.45, slope=1.5, seed=self._seed + 1) + 0.5 * self.noise(0.12, seed=self._seed + 2)

    @cached_property
    def fast(self) -> NDArray[np.float32]:
        """Noise of some decimetres, for grain."""
        if self.finer > 1:
            return self.enlarge(self.ground.fast)
        fine = self.noise(0.07, slope=0.7, seed=self._seed + 3)
        return fine + 0.6 * self.noise(0.3, slope=0.9, seed=self._seed + 4)

    def _blend(self, window: Window, cover: NDArray[np.uint8], colour: Any, other: Any, roughness: float) -> None:
        rows, columns = np.nonzero(cover)
        if not len(rows):
            return
        share = np.clip(0.5 + 0.35 * self.slow[window][rows, columns, None], 0, 1)
        rough = 1 + roughness * self.fast[window][rows, columns, None]
        first, second = np.asarray(colour, np.float32), np.asarray(other, np.float32)
        paint = (first + (second - first) * share) * rough
        opaque = cover[rows, columns, None] * np.float32(1 / 255)
        target = self.colour[window]
        under = target[rows, columns]
        target[rows, columns] = under + (paint - under) * opaque
