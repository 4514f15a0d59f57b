"""Random crops and changes of colour, each a function of an array and a random generator.

On uint8 arrays of shape (H, W, C), as OpenCV wants them. Every crop has a generator of its own, seeded by the run's
seed and the crop's number: a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from geofootprint.labels import NODATA

__all__ = ["jitter_colours", "random_crop"]

Pixels = NDArray[np.uint8]


def random_crop(
    image: Pixels, label: Pixels, rng: np.random.Generator, *, patch: int, scale: tuple[float, float], rotation: float
) -> tuple[Pixels, Pixels]:
    """Cut a square crop at a random place, scale, angle and handedness.

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

    Returns
    -------
    image : array of shape (patch, patch, C)
    label : array of shape (patch, patch)
        `NODATA` where the crop reaches beyond the source.
    """
    factor = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    angle = rng.uniform(0, 2 * math.pi) if rng.random() < rotation else rng.integers(4) * math.pi / 2
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
    reach = patch / 2 * (abs(cosine) + abs(sine))
    centre = [_place(rng, length, reach) for length in (image.shape[1], image.shape[0])]
    linear = np.array([[cosine * mirrored, -sine], [sine * mirrored, cosine]])
    # OpenCV counts from pixel centres; (patch - 1) / 2 is the crop's middle there.
    offset = np.array(centre) - 0.5 - linear @ np.full(2, (patch - 1) / 2)
    matrix = np.column_stack([linear, offset])
    if factor > 1.25:  # bilinear sampling sees four pixels: what is finer must go first
        image = cv2.blur(image, (2, 2))
    size, inverse = (patch, patch), cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(
        label, matrix, size, flags=cv2.INTER_NEAREST | inverse, borderMode=cv2.BORDER_CONSTANT, borderValue=(NODATA,)
    )
    return np.asarray(crop, np.uint8), np.asarray(mask, np.uint8)


def _place(rng: np.random.Generator, length: int, reach: float) -> float:
    # Inside where the crop fits; a source smaller than the crop is centred, give or take.
    low, high = min(reach, length / 2), max(length - reach, length / 2)
    return float(rng.uniform(low, high))


def jitter_colours(image: Pixels, rng: np.random.Generator, *, strength: float) -> Pixels:
    """Change what cameras, seasons and compression change.

    Brightness, contrast, gamma, a gain for each band, saturation, a cast shadow, blur, noise and JPEG, each at random.

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
    x = image.astype(np.float32) / 255
    x **= math.exp(rng.normal(0, 0.25 * strength))
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * math.exp(rng.normal(0, 0.3 * strength))
    mean = x.mean()
    contrast, brightness = math.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 0.08 * strength)
    gain = np.exp(rng.normal(0, 0.08 * strength, x.shape[2])).astype(np.float32)
    x = ((x - mean) * contrast + mean + brightness) * gain
    if rng.random() < 0.2 * strength:
        x *= _shadow(x.shape[:2], rng)[..., None]
    if rng.random() < 0.3 * strength:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.2)).reshape(x.shape)
    if rng.random() < 0.3 * strength:
        x += rng.normal(0, rng.uniform(0.005, 0.04), x.shape).astype(np.float32)
    changed = np.clip(x * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.3 * strength and image.shape[2] == 3:
        _, encoded = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 90))])
        changed = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return changed


def _shadow(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    corners = np.stack([rng.uniform(-0.2, 1.2, 4) * shape[1], rng.uniform(-0.2, 1.2, 4) * shape[0]], axis=1)
    factor = np.ones(shape, np.float32)
    hull = cv2.convexHull(corners.astype(np.int32))
    cv2.fillConvexPoly(factor, hull, float(rng.uniform(0.4, 0.8)))
    return np.asarray(cv2.GaussianBlur(factor, (0, 0), 2), np.float32)
