"""Random crops and changes of colour: what is drawn for a crop, and doing it with OpenCV.

Every crop has a random generator of its own, seeded by the run's seed and the crop's number: a resumed run sees what an
uninterrupted one would have seen. What it draws is kept apart from doing it, which is for a processor here and for a GPU
in `geofootprint.learning.device_batches`.

Images are arrays of shape (H, W, C), as OpenCV wants them, of uint8 or uint16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.config import DataConfig
from geofootprint.labels import NODATA
from geofootprint.learning.dataset import Pixels

__all__ = [
    "COARSER",
    "Changes",
    "Colours",
    "Disturbance",
    "Geometry",
    "Shadow",
    "cut",
    "disturb",
    "draw_changes",
    "draw_colours",
    "draw_disturbance",
    "draw_geometry",
    "recolour",
]

QUARTER_TURNS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))
"""Sine and cosine without rounding; that of math.pi is not 0."""

COARSER = 1.25
"""Source pixels to a crop's pixel from which interpolation would pass over some: they are averaged before."""

MARGIN = 3
"""Source pixels around a crop that its own are made of."""

PENUMBRA = 2.0
"""Standard deviation in pixels of the blur of a shadow's edge."""

DEPTHS = {np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U}
"""What OpenCV calls the pixels' types; it rounds to them and cuts what lies beyond."""


# -- what is drawn


@dataclass(frozen=True)
class Geometry:
    """Where a crop lies in its source: the centre of its pixel (x, y) at ``linear @ (x, y) + offset``.

    Attributes
    ----------
    linear : array of shape (2, 2)
    offset : array of shape (2,)
        In source pixels, which OpenCV counts from the centre of the first.
    """

    linear: NDArray[np.float64]
    offset: NDArray[np.float64]

    @property
    def scale(self) -> float:
        """Source pixels to a crop's pixel."""
        return math.hypot(*self.linear[:, 0])


@dataclass(frozen=True)
class Colours:
    """A change of colours: ``x ** gamma``, then ``matrix @ x + shift + weight * mean(x)`` for each pixel.

    Attributes
    ----------
    gamma : float
    matrix : array of shape (C, C)
        Saturation, contrast and gains.
    shift, weight : array of shape (C,)
        Brightness; and the part of the mean that stays, since contrast is about it.
    """

    gamma: float
    matrix: NDArray[np.float32]
    shift: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class Shadow:
    """A cast shadow.

    Attributes
    ----------
    corners : int array of shape (3 or 4, 2)
        Of a convex polygon, in pixels.
    light : float
        What remains of the light.
    """

    corners: NDArray[np.int32]
    light: float


@dataclass(frozen=True)
class Disturbance:
    """What lies between a roof and its picture.

    Attributes
    ----------
    shadow : Shadow, optional
    blur : float
        Standard deviation of a Gaussian blur in pixels; 0 is none.
    noise : float
        Standard deviation of the noise, of colours of 0 to 1; 0 is none.
    seed : int
        Of the noise.
    quality : int
        Of JPEG compression, 1 to 100; 0 is none.
    """

    shadow: Shadow | None = None
    blur: float = 0.0
    noise: float = 0.0
    seed: int = 0
    quality: int = 0


@dataclass(frozen=True)
class Changes:
    """All that is drawn for one crop of a source."""

    geometry: Geometry
    colours: Colours | None
    disturbance: Disturbance


def draw_changes(rng: np.random.Generator, shape: tuple[int, ...], config: DataConfig) -> Changes:
    """Draw all that makes a crop of a source of shape (H, W, C)."""
    geometry = draw_geometry(
        rng, shape, patch=config.patch, scale=config.scale, rotation=config.rotation, quarter_turns=config.quarter_turns
    )
    colours = draw_colours(rng, shape[2], strength=config.colour)
    disturbance = draw_disturbance(
        rng, config.patch, shadow=config.shadow, blur=config.blur, noise=config.noise, jpeg=config.jpeg
    )
    return Changes(geometry, colours, disturbance)


def draw_geometry(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    patch: int,
    scale: tuple[float, float],
    rotation: float,
    quarter_turns: bool = True,
) -> Geometry:
    """Draw a square crop at a random place, scale, angle and handedness.

    Without scale and rotation, its pixels lie on those of the source.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        Height and width of the source, and what follows.
    patch : int
        Side of the crop in pixels.
    scale : (float, float)
        Range of source pixels to a crop's pixel, drawn log-uniformly.
    rotation : float
        Share of crops at any angle; the others turn by a multiple of 90°.
    quarter_turns : bool
        False leaves these upright.
    """
    factor = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    turns = int(rng.integers(4)) if quarter_turns else 0
    sine, cosine = QUARTER_TURNS[turns]
    if rng.random() < rotation:
        angle = rng.uniform(0, 2 * math.pi)
        sine, cosine = math.sin(angle), math.cos(angle)
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    linear = factor * np.array([[cosine * mirrored, -sine], [sine * mirrored, cosine]])
    reach = factor * patch / 2 * (abs(cosine) + abs(sine))
    centre = [_place(rng, length, reach) for length in (shape[1], shape[0])]
    # OpenCV counts from pixel centres; the crop's middle is at (patch - 1) / 2 there.
    offset = np.array(centre) - 0.5 - linear @ np.full(2, (patch - 1) / 2)
    if factor == 1 and abs(cosine) + abs(sine) == 1:
        offset = np.round(offset)
    return Geometry(linear, offset)


def _place(rng: np.random.Generator, length: int, reach: float) -> float:
    """Return the crop's middle along one axis: inside where it fits, else in the source's middle."""
    low, high = min(reach, length / 2), max(length - reach, length / 2)
    return float(rng.uniform(low, high))


def draw_colours(rng: np.random.Generator, bands: int, *, strength: float) -> Colours | None:
    """Draw a change as cameras and seasons make it: gamma, saturation, contrast, brightness, a gain for each band.

    Saturation is of the first three bands; those beyond, such as near infrared or heights, are not mixed with them.

    Parameters
    ----------
    rng : numpy.random.Generator
    bands : int
    strength : float
        0 is none, 1 is strong.
    """
    if strength == 0:
        return None
    gamma, saturation = math.exp(rng.normal(0, 0.25 * strength)), math.exp(rng.normal(0, 0.3 * strength))
    contrast, brightness = math.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 0.08 * strength)
    gain = np.exp(rng.normal(0, 0.08 * strength, bands))
    mix = np.eye(bands)
    if bands >= 3:
        mix[:3, :3] = saturation * np.eye(3) + (1 - saturation) / 3
    return Colours(
        gamma,
        (contrast * gain[:, None] * mix).astype(np.float32),
        (gain * brightness).astype(np.float32),
        (gain * (1 - contrast)).astype(np.float32),
    )


def draw_disturbance(
    rng: np.random.Generator, patch: int, *, shadow: float, blur: float, noise: float, jpeg: float
) -> Disturbance:
    """Draw a cast shadow, blur, noise and compression.

    Parameters
    ----------
    rng : numpy.random.Generator
    patch : int
        Side of the crop in pixels.
    shadow, blur, noise, jpeg : float
        How probable each is, from 0 to 1.
    """
    return Disturbance(
        shadow=_draw_shadow(rng, patch) if rng.random() < shadow else None,
        blur=rng.uniform(0.3, 1.2) if rng.random() < blur else 0.0,
        noise=rng.uniform(0.005, 0.04) if rng.random() < noise else 0.0,
        seed=int(rng.integers(2**31)),
        quality=int(rng.integers(40, 90)) if rng.random() < jpeg else 0,
    )


def _draw_shadow(rng: np.random.Generator, patch: int) -> Shadow:
    corners = (rng.uniform(-0.2, 1.2, (4, 2)) * patch).astype(np.int32)
    return Shadow(np.asarray(cv2.convexHull(corners), np.int32).reshape(-1, 2), float(rng.uniform(0.4, 0.8)))


# -- doing it


def cut(image: Pixels, label: NDArray[np.uint8], geometry: Geometry, patch: int) -> tuple[Pixels, NDArray[np.uint8]]:
    """Cut a crop from an image and its label.

    Parameters
    ----------
    image : array of shape (H, W, C)
    label : array of shape (H, W)
    geometry : Geometry
    patch : int
        Side of the crop in pixels.

    Returns
    -------
    image : array of shape (patch, patch, C)
        Interpolated; mirrored at the source's edge where the crop reaches beyond it.
    label : array of shape (patch, patch)
        Of the nearest pixel; `NODATA` beyond the source.
    """
    source, offset = image, geometry.offset
    if geometry.scale > COARSER:
        source, offset = _surroundings(image, geometry, patch)
        # The mean of 2 x 2 pixels; OpenCV puts it at the last of the four, half a pixel after its true place.
        source, offset = _with_bands(cv2.blur(source, (2, 2)), source), offset + 0.5
    crop = cv2.warpAffine(
        source, np.column_stack([geometry.linear, offset]), (patch, patch),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
    )
    label_crop = cv2.warpAffine(
        label, np.column_stack([geometry.linear, geometry.offset]), (patch, patch),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT, borderValue=(NODATA,),
    )
    return np.asarray(crop, image.dtype).reshape(patch, patch, image.shape[2]), np.asarray(label_crop, np.uint8)


def _surroundings(image: Pixels, geometry: Geometry, patch: int) -> tuple[Pixels, NDArray[np.float64]]:
    """Return the part of the image that a crop inside it is made of, and the crop's offset there."""
    corners = np.array([(x, y) for x in (0, patch - 1) for y in (0, patch - 1)]) @ geometry.linear.T + geometry.offset
    left, top = (int(value) - MARGIN for value in np.floor(corners.min(axis=0)))
    right, bottom = (int(value) + MARGIN + 1 for value in np.ceil(corners.max(axis=0)))
    if left < 0 or top < 0 or right > image.shape[1] or bottom > image.shape[0]:
        return image, geometry.offset  # what is mirrored there is the image's
    return image[top:bottom, left:right], geometry.offset - (left, top)


def _with_bands(changed: Any, like: Pixels) -> Pixels:
    """Give back the axis of length 1 that OpenCV drops."""
    return np.asarray(changed).reshape(like.shape)


def recolour(image: Pixels, colours: Colours) -> Pixels:
    """Change the colours of an image.

    Parameters
    ----------
    image : array of shape (H, W, C)
    colours : Colours
    """
    full = np.iinfo(image.dtype).max
    curve = (np.linspace(0, 1, full + 1, dtype=np.float32) ** np.float32(colours.gamma)) * np.float32(full)
    # OpenCV's own is four times as fast, and takes bytes alone everywhere.
    x = _with_bands(cv2.LUT(image, curve), image) if image.dtype == np.uint8 else curve[image]
    mean = float(cv2.mean(x.reshape(x.shape[0], -1))[0])
    shift = colours.shift * full + colours.weight * np.float32(mean)
    changed = cv2.transform(x, np.column_stack([colours.matrix, shift]))
    return _round(changed, image)


def _round(x: Any, like: Pixels) -> Pixels:
    """Round to the pixels' type, and cut what lies beyond; OpenCV does it in one pass."""
    nothing: Any = 0.0
    return _with_bands(cv2.add(x.reshape(len(x), -1), nothing, dtype=DEPTHS[like.dtype]), like)


def disturb(image: Pixels, disturbance: Disturbance) -> Pixels:
    """Add a shadow, blur, noise and compression, as drawn.

    Parameters
    ----------
    image : array of shape (H, W, C)
        JPEG is for three bands of uint8 alone.
    disturbance : Disturbance
    """
    depth = DEPTHS[image.dtype]
    if disturbance.shadow is not None:
        light = _light((image.shape[0], image.shape[1]), disturbance.shadow)
        image = _with_bands(cv2.multiply(image, cv2.merge([light] * image.shape[2]), dtype=depth), image)
    if disturbance.blur:
        image = _with_bands(cv2.GaussianBlur(image, (0, 0), disturbance.blur), image)
    if disturbance.noise:
        noise = np.empty(image.shape, np.float32)
        cv2.setRNGSeed(disturbance.seed)  # of this thread alone; three times as fast as numpy's
        cv2.randn(noise, np.zeros(1), np.full(1, disturbance.noise * np.iinfo(image.dtype).max))
        image = _with_bands(cv2.add(image, noise, dtype=depth), image)
    if disturbance.quality and image.dtype == np.uint8 and image.shape[2] == 3:
        image = _compress(image, disturbance.quality)
    return image


def _light(shape: tuple[int, int], shadow: Shadow) -> NDArray[np.float32]:
    """Return what remains of the light under a shadow with soft edges."""
    light = np.ones(shape, np.float32)
    cv2.fillConvexPoly(light, shadow.corners, shadow.light)
    return np.asarray(cv2.GaussianBlur(light, (0, 0), PENUMBRA), np.float32)


def _compress(image: Pixels, quality: int) -> Pixels:
    # OpenCV takes the first band for blue, and JPEG keeps less of blue than of green.
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(decoded), cv2.COLOR_BGR2RGB), np.uint8)
