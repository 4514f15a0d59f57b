"""Light and camera of procedural scenes: sun, shadows, haze, blur, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.scenes.canvas import Canvas

__all__ = ["Light", "develop", "make_light"]


@dataclass(frozen=True)
class Light:
    """How a scene is lit and photographed.

    Parameters
    ----------
    azimuth, elevation : float
        Of the sun in radians, the azimuth clockwise from north.
    sky : float
        Share of the light that comes from the sky and so reaches shadows.
    season : float array of shape (3,)
        Tint of all that grows.
    cast : float array of shape (3,)
        Gains of red, green and blue.
    haze, contrast, saturation : float
    blur : float
        Sigma in pixels.
    noise : float
        Sigma in grey values.
    quality : int
        Of the JPEG that the image once was.
    """

    azimuth: float
    elevation: float
    sky: float
    season: NDArray[np.float64]
    cast: NDArray[np.float64]
    haze: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: int

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector towards the sun, x to the east and y to the south."""
        return math.sin(self.azimuth), -math.cos(self.azimuth)

    def facing(self, across: Any, down: Any) -> Any:
        """Return the sunlight on planes as a multiple of what level ground gets.

        Parameters
        ----------
        across, down : arrays
            Horizontal part of the planes' normals where the vertical part is 1.
        """
        x, y = self.direction
        horizontal = (x * across + y * down) / math.tan(self.elevation)
        return np.maximum(0.0, 1 + horizontal) / np.sqrt(1 + across**2 + down**2)


SEASONS = ((1.0, 1.0, 1.0), (0.96, 1.05, 0.92), (1.14, 1.02, 0.92), (1.08, 1.04, 0.94), (0.94, 0.98, 0.98))


def make_light(rng: np.random.Generator) -> Light:
    """Draw a day and a camera."""
    return Light(
        azimuth=math.radians(rng.uniform(95, 265)),
        elevation=math.radians(rng.uniform(32, 66)),
        sky=float(rng.uniform(0.38, 0.78)),
        season=np.array(SEASONS[rng.integers(len(SEASONS))]) * (1 + rng.normal(0, 0.03, 3)),
        cast=(1 + rng.normal(0, 0.025, 3)) * rng.uniform(0.94, 1.22),
        haze=float(rng.beta(1.3, 7) * 0.35),
        contrast=float(rng.uniform(0.95, 1.2)),
        saturation=float(rng.uniform(0.6, 0.95)),
        blur=float(rng.uniform(0.35, 0.75)),
        noise=float(rng.uniform(0.8, 3.2)),
        quality=int(rng.integers(72, 95)),
    )


def develop(
    canvas: Canvas, light: Light, finer: int, inside: tuple[slice, slice], seed: list[int]
) -> NDArray[np.uint8]:
    """Return the photograph of a canvas.

    Parameters
    ----------
    canvas : Canvas
    light : Light
    finer : int
        Pixels of the canvas along a side of one of the photograph.
    inside : (rows, columns)
        Of the photograph wanted, counted from the canvas's corner.
    seed : list of int
        Of the sensor's noise.

    Returns
    -------
    uint8 array of shape (rows, columns, 3)
    """
    lit = light_up(canvas, light)
    rows, columns = canvas.shape
    picture = cv2.resize(lit, (columns // finer, rows // finer), interpolation=cv2.INTER_AREA)[inside]
    picture = cv2.GaussianBlur(cv2.transform(picture, _colour_matrix(light)), (0, 0), light.blur)
    noise = np.random.default_rng(seed).standard_normal(picture.shape, dtype=np.float32)
    # A colour filter array spreads each grain of noise over its neighbours.
    picture += cv2.GaussianBlur(noise, (3, 3), 0.6) * np.float32(light.noise * 1.9)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, light.quality])[1]
    return cast("NDArray[np.uint8]", cv2.imdecode(coded, cv2.IMREAD_UNCHANGED))


def _colour_matrix(light: Light) -> NDArray[np.float64]:
    """Return saturation, colour cast, contrast and haze as one affine map of (red, green, blue, 1)."""
    gains = np.full((3, 3), (1 - light.saturation) / 3) + np.eye(3) * light.saturation
    gains = gains * light.cast[:, None] * light.contrast * (1 - light.haze)
    middle = 118 * (1 - light.contrast) * (1 - light.haze) + np.array((206.0, 212.0, 220.0)) * light.haze
    return np.column_stack([gains, middle])


def light_up(canvas: Canvas, light: Light) -> NDArray[np.float32]:
    """Return the canvas's colours in sun and shadow."""
    direct = (1 - cast_shadows(canvas.height, canvas.pixel, light)) * canvas.slope * np.float32(1 - light.sky)
    # Places below their surroundings see less of the sky.
    size = 2 * int(1.6 / canvas.pixel) + 1
    sunk = cv2.blur(canvas.height, (size, size)) - canvas.height
    sky = np.clip(1 - np.float32(0.07) * sunk, np.float32(0.55), np.float32(1)) * np.float32(light.sky)
    tints = ((0.93, 1.03), (0.98, 1.0), (1.09, 0.96))
    lights = [cv2.addWeighted(sky, blue_sky, direct, yellow_sun, 0) for blue_sky, yellow_sun in tints]
    return cast("NDArray[np.float32]", cv2.multiply(canvas.colour, cv2.merge(lights)))


def cast_shadows(height: NDArray[np.float32], pixel: float, light: Light) -> NDArray[np.float32]:
    """Return how much of the sun is hidden at each point of a surface.

    The highest ray that passes over a point, seen towards the sun, doubles its reach with every step.

    Parameters
    ----------
    height : float32 array of shape (rows, columns)
        In metres.
    pixel : float
        Metres per pixel.
    light : Light

    Returns
    -------
    float32 array of the same shape
        From 0, in the sun, to 1.
    """
    x, y = light.direction
    drop = pixel * math.tan(light.elevation)
    ray = _towards(height, x, y) - drop
    step = 1
    while step * drop < float(height.max()):
        ray = np.maximum(ray, _towards(ray, step * x, step * y) - step * drop)
        step *= 2
    hidden = np.clip((ray - height - 0.12) / 0.25, 0, 1)
    return cast("NDArray[np.float32]", cv2.blur(hidden, (3, 3)))


def _towards(values: NDArray[np.float32], x: float, y: float) -> NDArray[np.float32]:
    matrix = np.array([[1, 0, x], [0, 1, y]])
    return cast(
        "NDArray[np.float32]",
        cv2.warpAffine(
            values, matrix, values.shape[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT, borderValue=-1000,
        ),
    )
