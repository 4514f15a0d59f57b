"""Pictures of a training run: image, label and prediction side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geofootprint.learning.batches import to_batch
from geofootprint.learning.dataset import TileSet, is_building
from geofootprint.learning.validation import predict_probabilities
from geofootprint.output import atomic_path

__all__ = ["write_samples"]

ROWS = 4
SIDE = 256
"""Tiles in a picture, and how large each is shown, in pixels."""

COLOURS = ((255, 140, 0), (40, 110, 255), (255, 255, 255))
"""Building, contour and touch, told apart by all kinds of colour sight."""


def write_samples(
    path: str | os.PathLike[str], generator: nn.Module, tiles: TileSet, fabric: Fabric, *, classes: Sequence[str]
) -> None:
    """Draw image, label and prediction of the tiles with the most buildings, a row each.

    Parameters
    ----------
    path : path
        PNG to write.
    generator : torch.nn.Module
    tiles : TileSet
    fabric : lightning.fabric.Fabric
        Its device and precision.
    classes : sequence of str
        The generator's channels.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    by_buildings = sorted(tiles.tiles, key=lambda tile: int(is_building(tile.label).sum()), reverse=True)
    rows = []
    # Every third, or all rows would show the same dense quarter.
    for tile in by_buildings[: 3 * ROWS : 3]:
        batch = to_batch(tile.image[None], tile.label[None], classes)
        predicted = predict_probabilities(generator, batch, fabric)
        rows.append(_draw_row(tile.picture, batch.target[0].numpy(), predicted[0].numpy()))
    _, encoded = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _draw_row(image: NDArray[np.uint8], label: NDArray[np.float32], predicted: NDArray[np.float32]) -> NDArray[np.uint8]:
    image = image[..., [0, 1, 2] if image.shape[2] >= 3 else [0, 0, 0]]
    return np.hstack([_resize(picture) for picture in (image, _tint(image, label), _tint(image, predicted))])


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
