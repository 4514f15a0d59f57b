"""Pictures of a training run: image, label, prediction and error side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from geofootprint.learning.batches import to_batch
from geofootprint.learning.dataset import TileSet, is_building
from geofootprint.learning.validation import predict_probabilities
from geofootprint.report import ONLY_PREDICTED, ONLY_TRUE, Colour, write_png

__all__ = ["COLUMNS", "write_samples"]

ROWS = 4
SIDE = 256
"""Tiles in a picture, and how large each is shown, in pixels."""

GAP = 6
HEAD = 26
"""Between two pictures, and above them for their names."""

COLUMNS = ("image", "truth", "prediction", "error: false orange, missed blue")

COLOURS: tuple[Colour, ...] = ((255, 140, 0), (40, 110, 255), (255, 255, 255))
"""Building, contour and touch, told apart by all kinds of colour sight."""

RIGHT: Colour = (150, 150, 150)
"""Where building is and was found; what matters beside it is what differs."""

LARGEST = 512
"""Pixels a side of the part of a tile that is shown: of more, buildings would be too small to see."""


def write_samples(
    path: str | os.PathLike[str],
    generator: nn.Module,
    tiles: TileSet,
    fabric: Fabric,
    *,
    classes: Sequence[str],
    threshold: float = 0.5,
) -> None:
    """Draw image, label, prediction and error of the tiles with the most buildings, a row each.

    Parameters
    ----------
    path : path
        PNG to write.
    generator : torch.nn.Module
    tiles : TileSet
    fabric : lightning_fabric.Fabric
        Its device and precision.
    classes : sequence of str
        The generator's channels.
    threshold : float
        Probability from which a pixel is building, for the errors.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    parts = [(tile, *_busiest_part(is_building(tile.label))) for tile in tiles.tiles]
    parts.sort(key=lambda part: part[2], reverse=True)
    rows = []
    # Every third, or all rows would show the same dense quarter.
    for tile, part, _ in parts[: 3 * ROWS : 3]:
        batch = to_batch(tile.image[part][None], tile.label[part][None], classes)
        predicted = predict_probabilities(generator, batch, fabric)[0].numpy()
        rows.append(_draw_row(tile.picture[part], batch.target[0].numpy(), predicted, batch.valid[0].numpy() > 0, threshold))
    write_png(path, np.moveaxis(np.vstack([_draw_head(), *rows]), 2, 0))


def _busiest_part(mask: NDArray[np.bool_]) -> tuple[tuple[slice, slice], int]:
    """Return the part of a tile with the most building pixels, and their number."""
    starts = [sorted({*range(0, max(1, length - LARGEST), LARGEST // 2), max(0, length - LARGEST)}) for length in mask.shape]
    parts = [(slice(top, top + LARGEST), slice(left, left + LARGEST)) for top in starts[0] for left in starts[1]]
    counts = [int(mask[part].sum()) for part in parts]
    most = int(np.argmax(counts))
    return parts[most], counts[most]


def _draw_head() -> NDArray[np.uint8]:
    head = Image.new("RGB", (len(COLUMNS) * (SIDE + GAP), HEAD), (255, 255, 255))
    write = ImageDraw.Draw(head)
    for number, name in enumerate(COLUMNS):
        write.text((number * (SIDE + GAP) + 2, HEAD / 2), name, (40, 44, 48), ImageFont.load_default(15), anchor="lm")
    return np.asarray(head)


def _draw_row(
    image: NDArray[np.uint8],
    label: NDArray[np.float32],
    predicted: NDArray[np.float32],
    valid: NDArray[np.bool_],
    threshold: float,
) -> NDArray[np.uint8]:
    image = image[..., [0, 1, 2] if image.shape[2] >= 3 else [0, 0, 0]]
    error = _draw_error(image, label[0] > 0, predicted[0] >= threshold, valid)
    pictures = image, _tint(image, label), _tint(image, predicted), error
    return np.hstack([np.pad(_resize(picture), ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for picture in pictures])


def _resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if max(picture.shape[:2]) > SIDE else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=method), np.uint8)


def _tint(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tint building and contour by their probability over the darkened image."""
    x = image.astype(np.float32) * 0.6
    for probability, colour in zip(maps, COLOURS, strict=False):
        weight = probability[..., None] * 0.6
        x = x * (1 - weight) + np.array(colour, np.float32) * weight
    return x.astype(np.uint8)


def _draw_error(
    image: NDArray[np.uint8], truth: NDArray[np.bool_], found: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Paint what is false and what is missed over the dark image without its colours; unknown pixels stay dark."""
    x = np.repeat(image.mean(axis=2, keepdims=True) * 0.3, 3, axis=2)
    parts: tuple[tuple[NDArray[np.bool_], Colour], ...] = (
        (found & truth, RIGHT), (found & ~truth, ONLY_PREDICTED), (truth & ~found, ONLY_TRUE)
    )
    for mask, colour in parts:
        part = mask & valid
        strength = 0.45 if colour == RIGHT else 0.9
        x[part] = x[part] * (1 - strength) + np.array(colour) * strength
    return x.astype(np.uint8)
