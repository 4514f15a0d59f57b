"""Scores of a generator on whole tiles, and the threshold that suits it best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from geofootprint.errors import ModelError
from geofootprint.learning.batches import Batch, to_batch
from geofootprint.learning.dataset import Tile, TileSet
from geofootprint.progress import SILENT, Progress

__all__ = ["Score", "count_levels", "ious", "predict_probabilities", "validate"]

LEVELS = 255
"""Probabilities are counted in steps of 1/255, as they are kept on disk."""

HALF = 128
"""The first level that is at least a probability of 0.5."""

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
        The probability between 0 and 1 at which that is highest.
    contour_iou : float
        Of the contour channel at 0.5; 0 if there is none.
    """

    iou: float
    f1: float
    best_iou: float
    threshold: float
    contour_iou: float


def validate(
    generator: nn.Module, tiles: TileSet, fabric: Fabric, *, classes: Sequence[str], progress: Progress = SILENT
) -> Score:
    """Score a generator on tiles, without gradients and with fixed statistics.

    Parameters
    ----------
    generator : torch.nn.Module
        Returns a channel of logits for each of `classes`.
    tiles : TileSet
    fabric : lightning.fabric.Fabric
        Its device and precision.
    classes : sequence of str
        Building first.
    progress : Progress

    Raises
    ------
    ModelError
        If the generator's output is not finite.
    """
    counts = {name: np.zeros((2, LEVELS + 1), np.int64) for name in classes}
    done, total = 0, len(tiles.tiles)
    for batch in _batches(tiles, classes):
        progress.update("validate", done, total)
        probability = predict_probabilities(generator, batch, fabric)
        if not torch.isfinite(probability).all():
            raise ModelError("The generator's output is not finite; train again with a lower optimizer.learning_rate.")
        for channel, name in enumerate(classes):
            counts[name] += count_levels(probability[:, channel], batch.target[:, channel], batch.valid)
        done += len(batch.image)
    building = ious(counts["building"])
    contour_iou = float(ious(counts["contour"])[HALF]) if "contour" in counts else 0.0
    # Thresholds of 0 and 1 would take all or nothing, whatever the image.
    best = 1 + int(building[1:LEVELS].argmax())
    iou = float(building[HALF])
    return Score(iou, 2 * iou / (1 + iou), float(building[best]), best / LEVELS, contour_iou)


def predict_probabilities(generator: nn.Module, batch: Batch, fabric: Fabric) -> torch.Tensor:
    """Return probabilities of shape (N, K, H, W) in the CPU's memory; the generator keeps its mode."""
    was_training = generator.training
    generator.eval()
    with torch.inference_mode(), fabric.autocast():
        logits = generator(batch.image.to(fabric.device))
    generator.train(was_training)
    return torch.sigmoid(logits.float()).cpu()


def _batches(tiles: TileSet, classes: Sequence[str]) -> Iterator[Batch]:
    """Give tiles of one size together, since a batch is one array."""
    by_size: dict[tuple[int, ...], list[Tile]] = {}
    for tile in tiles.tiles:
        by_size.setdefault(tile.label.shape, []).append(tile)
    for shape, group in by_size.items():
        step = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
        for start in range(0, len(group), step):
            some = group[start : start + step]
            yield to_batch(np.stack([tile.image for tile in some]), np.stack([tile.label for tile in some]), classes)


def count_levels(probability: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> NDArray[np.int64]:
    """Return histograms of the probability over valid pixels.

    Parameters
    ----------
    probability, target, valid : tensors of shape (N, H, W)

    Returns
    -------
    array of shape (2, levels)
        Of the pixels that are of the class, and of those that are not.
    """
    level = (probability * LEVELS).round().long()
    other = 1 - target.long()
    flat = (other * (LEVELS + 1) + level)[valid > 0]
    counts = torch.bincount(flat, minlength=2 * (LEVELS + 1))
    return counts.reshape(2, LEVELS + 1).numpy()


def ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the intersection over union for each threshold level, from the histograms of `count_levels`."""
    predicted_true, predicted_false = (np.cumsum(row[::-1])[::-1] for row in counts)
    union = counts[0].sum() + predicted_false
    return np.asarray(predicted_true / np.maximum(union, 1), np.float64)
