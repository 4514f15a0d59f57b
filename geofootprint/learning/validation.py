"""Scores of a generator on whole tiles, and the threshold that suits it best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geofootprint.learning.dataset import Batch, TileSet, to_targets

__all__ = ["Score", "validate"]

LEVELS = 255
"""Probabilities are counted in steps of 1/255, as they are kept on disk."""

PIXELS_AT_ONCE = 2**20
"""Tiles are predicted in batches of about so many pixels."""


@dataclass(frozen=True)
class Score:
    """How well buildings were predicted, over all valid pixels of all tiles.

    Attributes
    ----------
    iou, f1 : float
        Intersection over union and F1 of the building channel at probability 0.5.
    best_iou : float
        The intersection over union at `threshold`.
    threshold : float
        The probability at which that is highest.
    contour_iou : float
        Of the contour channel at 0.5.
    """

    iou: float
    f1: float
    best_iou: float
    threshold: float
    contour_iou: float


def validate(generator: nn.Module, tiles: TileSet, fabric: Fabric) -> Score:
    """Score a generator on tiles, without gradients and with fixed statistics.

    Parameters
    ----------
    generator : torch.nn.Module
        Returns logits of building and contour.
    tiles : TileSet
    fabric : lightning.fabric.Fabric
        Its device and precision.
    """
    was_training = generator.training
    generator.eval()
    counts = np.zeros((2, 2, LEVELS + 1), np.int64)
    with torch.inference_mode():
        for batch in _batches(tiles):
            with fabric.autocast():
                logits = generator(batch.image.to(fabric.device))
            probability = torch.sigmoid(logits.float()).cpu()
            for channel in (0, 1):
                counts[channel] += _count(probability[:, channel], batch.target[:, channel], batch.valid)
    generator.train(was_training)
    building, contour = _ious(counts[0]), _ious(counts[1])
    half = round(LEVELS / 2)
    best = int(building.argmax())
    iou = float(building[half])
    return Score(iou, 2 * iou / (1 + iou), float(building[best]), best / LEVELS, float(contour[half]))


def _batches(tiles: TileSet) -> Iterator[Batch]:
    """Give tiles of one size together, since a batch is one array."""
    by_size: dict[tuple[int, ...], list[Any]] = {}
    for tile in tiles.tiles:
        by_size.setdefault(tile.label.shape, []).append(tile)
    for shape, group in by_size.items():
        step = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(group), step):
            some = group[start : start + step]
            yield to_targets(np.stack([tile.image for tile in some]), np.stack([tile.label for tile in some]))


def _count(probability: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> NDArray[np.int64]:
    """Return histograms of the probability over valid pixels that are, and are not, of the class: shape (2, levels)."""
    level = (probability * LEVELS).round().long()
    truth = 1 - target.long()
    flat = (truth * (LEVELS + 1) + level)[valid > 0]
    counts = torch.bincount(flat, minlength=2 * (LEVELS + 1))
    return counts.reshape(2, LEVELS + 1).numpy()


def _ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the intersection over union for each threshold level, from the histograms of `_count`."""
    predicted_true, predicted_false = (np.cumsum(row[::-1])[::-1] for row in counts)
    union = counts[0].sum() + predicted_false
    return np.asarray(predicted_true / np.maximum(union, 1), np.float64)
