"""Pictures of a training run: image, label and prediction side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geofootprint.learning.dataset import Batch, TileSet, to_targets

__all__ = ["write_samples"]

ROWS = 4
SIDE = 256
"""Tiles in a picture, and how large each is shown, in pixels."""

ORANGE, BLUE = (255, 140, 0), (40, 110, 255)
"""Building and contour, told apart by all kinds of colour sight."""


def write_samples(path: Path, generator: nn.Module, tiles: TileSet, fabric: Fabric) -> None:
    """Draw image, label and prediction of the tiles with the most buildings, a row each.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    generator : torch.nn.Module
    tiles : TileSet
    fabric : lightning.fabric.Fabric
        Its device and precision.
    """
    by_buildings = sorted(tiles.tiles, key=lambda tile: int(((tile.label == 1) | (tile.label == 2)).sum()), reverse=True)
    # Every third, or all rows would show the same dense quarter.
    rows = []
    for tile in by_buildings[: 3 * ROWS : 3]:
        batch = to_targets(tile.image[None], tile.label[None])
        rows.append(_row(batch, _predict(generator, batch, fabric)))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _predict(generator: nn.Module, batch: Batch, fabric: Fabric) -> torch.Tensor:
    was_training = generator.training
    generator.eval()
    with torch.inference_mode(), fabric.autocast():
        logits = generator(batch.image.to(fabric.device))
    generator.train(was_training)
    return torch.sigmoid(logits.float()).cpu()


def _row(batch: Batch, predicted: torch.Tensor) -> NDArray[np.uint8]:
    bands = batch.image[0, [0, 1, 2] if batch.image.shape[1] >= 3 else [0, 0, 0]]
    image = (bands.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    pictures = [image, _overlay(image, batch.target[0].numpy()), _overlay(image, predicted[0].numpy())]
    return np.hstack([np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8) for picture in pictures])


def _overlay(image: NDArray[np.uint8], maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tint building and contour by their probability over the darkened image."""
    x = image.astype(np.float32) * 0.6
    for probability, colour in zip(maps, (ORANGE, BLUE), strict=True):
        weight = probability[..., None] * 0.6
        x = x * (1 - weight) + np.array(colour, np.float32) * weight
    return x.astype(np.uint8)
