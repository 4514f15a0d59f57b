"""Random crops and changes of colour, each a function of an array and a random generator.

On uint8 arrays of shape (H, W, C), as OpenCV wants them. Every crop has a generator of its own, seeded by the run's
seed and the crop's number: a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.labels import NODATA

__all__ = ["disturb", "jitter_colours", "random_crop"]

Pixels = NDArray[np.uint8]

QUARTER_TURNS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))
"""Sine and cosine without rounding; that of math.pi is not 0."""

COARSER = 1.25
"""Source pixels to a crop's pixel from which interpolation would pass over some: they are averaged before."""


def random_crop(
    image: Pixels,
    label: Pixels,
    rng: np.random.Generator,
    *,
    patch: int,
    scale: tuple[float, float],
    rotation: float,
    quarter_turns: bool = True,
) -> tuple[Pixels, Pixels]:
    """Cut a square crop at a random place, scale, angle and handedness.

    Without scale and rotation, pixels are copied and not interpolated.

    Parameters
    ----------
    image : array of shape (H, W, C)
    label : array of shape (H, W)
    rng : numpy.random.Generator
    patch : int
        Side of the crop in pixels.
    scale : (float, float)
        Range of source pixels to a crop's pixel, drawn log-uniformly.
    rotation : float
        Share of crops at any angle; the others turn by a multiple of 90°.
    quarter_turns : bool
        False leaves these upright.

    Returns
    -------
    image : array of shape (patch, patch, C)
        Mirrored at the source's edge where the crop reaches beyond it.
    label : array of shape (patch, patch)
        `NODATA` there.
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
    centre = [_place(rng, length, reach) for length in (image.shape[1], image.shape[0])]
    # OpenCV counts from pixel centres; the crop's middle is at (patch - 1) / 2 there.
    offset = np.array(centre) - 0.5 - linear @ np.full(2, (patch - 1) / 2)
    if factor == 1 and abs(cosine) + abs(sine) == 1:
        offset = np.round(offset)
    return _sample_image(image, linear, offset, patch), _sample_label(label, linear, offset, patch)


def _place(rng: np.random.Generator, length: int, reach: float) -> float:
    """Return the crop's middle along one axis: inside where it fits, else in the source's middle."""
    low, high = min(reach, length / 2), max(length - reach, length / 2)
    return float(rng.uniform(low, high))


def _sample_image(image: Pixels, linear: NDArray[np.float64], offset: NDArray[np.float64], patch: int) -> Pixels:
    source = np.asarray(image, np.uint8)
    if math.hypot(*linear[:, 0]) > COARSER:
        # The mean of 2 x 2 pixels; OpenCV puts it at the last of the four, half a pixel after its true place.
        source = np.asarray(cv2.blur(image, (2, 2)), np.uint8).reshape(image.shape)
        offset = offset + 0.5
    crop = cv2.warpAffine(
        source, np.column_stack([linear, offset]), (patch, patch),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(crop, np.uint8).reshape(patch, patch, image.shape[2])  # OpenCV drops an axis of length 1


def _sample_label(label: Pixels, linear: NDArray[np.float64], offset: NDArray[np.float64], patch: int) -> Pixels:
    crop = cv2.warpAffine(
        label, np.column_stack([linear, offset]), (patch, patch),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT, borderValue=(NODATA,),
    )
    return np.asarray(crop, np.uint8)


def jitter_colours(image: Pixels, rng: np.random.Generator, *, strength: float) -> Pixels:
    """Change the colours as cameras and seasons do: gamma, saturation, contrast, brightness, a gain for each band.

    Parameters
    ----------
    image : array of shape (H, W, C)
    rng : numpy.random.Generator
    strength : float
        0 leaves the image as it is, 1 is strong.

    Returns
    -------
    array of shape (H, W, C)
    """
    if strength == 0:
        return image
    x: NDArray[Any] = image.astype(np.float32) / 255
    x **= math.exp(rng.normal(0, 0.25 * strength))
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * math.exp(rng.normal(0, 0.3 * strength))
    mean = float(x.mean())
    contrast, brightness = math.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 0.08 * strength)
    gain = np.exp(rng.normal(0, 0.08 * strength, x.shape[2])).astype(np.float32)
    return _to_bytes(((x - mean) * contrast + mean + brightness) * gain)


def disturb(
    image: Pixels, rng: np.random.Generator, *, shadow: float, blur: float, noise: float, jpeg: float
) -> Pixels:
    """Add what lies between a roof and its picture: a cast shadow, blur, noise and compression.

    Parameters
    ----------
    image : array of shape (H, W, C)
    rng : numpy.random.Generator
    shadow, blur, noise, jpeg : float
        How probable each is, from 0 to 1. JPEG is for three bands alone.

    Returns
    -------
    array of shape (H, W, C)
    """
    if rng.random() < shadow:
        image = _to_bytes(image * (_shadow((image.shape[0], image.shape[1]), rng)[..., None] / 255))
    if rng.random() < blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2)), np.uint8).reshape(image.shape)
    if rng.random() < noise:
        spread = rng.uniform(0.005, 0.04)
        image = _to_bytes(image / np.float32(255) + rng.normal(0, spread, image.shape).astype(np.float32))
    if rng.random() < jpeg and image.shape[2] == 3:
        image = _compress(image, quality=int(rng.integers(40, 90)))
    return image


def _to_bytes(x: NDArray[np.floating[Any]]) -> Pixels:
    return np.asarray(np.clip(np.rint(x * 255), 0, 255), np.uint8)


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return what remains of the light under a shadow of four corners with soft edges."""
    corners = np.stack([rng.uniform(-0.2, 1.2, 4) * shape[1], rng.uniform(-0.2, 1.2, 4) * shape[0]], axis=1)
    factor = np.ones(shape, np.float32)
    cv2.fillConvexPoly(factor, cv2.convexHull(corners.astype(np.int32)), float(rng.uniform(0.4, 0.8)))
    return np.asarray(cv2.GaussianBlur(factor, (0, 0), 2), np.float32)


def _compress(image: Pixels, *, quality: int) -> Pixels:
    # OpenCV takes the first band for blue, and JPEG keeps less of blue than of green.
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
